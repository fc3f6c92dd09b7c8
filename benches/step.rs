//! How long a step takes (forward, loss and every weight gradient, loss read
//! back) and how long a plan takes to make. `cargo bench`; figures count only
//! beside others of the same run.

use std::hint::black_box;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use wgrad::nn::Reduction;
use wgrad::plan::Plan;
use wgrad::{Feeds, Gpu, Graph, NodeId, Tensor, gradient};

/// A network of `Linear` layers with ReLU between, a sigmoid and BCELoss.
fn network(sizes: &[usize], batch: usize) -> wgrad::Result<(Graph, Vec<NodeId>, Feeds)> {
    let mut g = Graph::new();
    let mut feeds = Feeds::new();
    let mut leaf = |g: &mut Graph, label: &str, dims: &[usize], scale: f32| {
        let count: usize = dims.iter().product();
        // Any values do: no kernel's time depends on them.
        let data = (0..count)
            .map(|i| scale * ((i % 17) as f32 - 8.0) / 8.0)
            .collect();
        feeds.insert(label.to_string(), Tensor::new(dims, data)?);
        g.parameter(label, dims)
    };
    let mut h = leaf(&mut g, "x", &[batch, sizes[0]], 1.0)?;
    let mut weights = Vec::new();
    for (i, pair) in sizes.windows(2).enumerate() {
        let scale = 1.0 / (pair[0] as f32).sqrt();
        let w = leaf(&mut g, &format!("{i}.weight"), &[pair[1], pair[0]], scale)?;
        let b = leaf(&mut g, &format!("{i}.bias"), &[pair[1]], scale)?;
        weights.extend([w, b]);
        h = g.linear(h, w, Some(b))?;
        if i + 2 < sizes.len() {
            h = g.relu(h)?;
        }
    }
    let p = g.sigmoid(h)?;
    let y = leaf(&mut g, "y", &[batch, 1], 0.0)?;
    let loss = g.bce_loss(p, y, None, Reduction::Mean)?;
    let grads = gradient(&mut g, loss, &weights)?;
    // Everything is computed; only the loss is read back.
    let mut outputs = vec![loss];
    outputs.extend(grads);
    Ok((g, outputs, feeds))
}

fn steps(c: &mut Criterion) {
    let gpu = match Gpu::new() {
        Ok(gpu) => gpu,
        Err(error) => panic!("a benchmark needs an adapter: {error}"),
    };
    eprintln!("adapter: {}", gpu.adapter());
    let mut group = c.benchmark_group("step");
    for (name, sizes, batches) in [
        ("4-2-1", &[4, 2, 1][..], &[1, 64, 1024, 65_536][..]),
        ("64-64-64-1", &[64, 64, 64, 1][..], &[64][..]),
        ("784-512-256-1", &[784, 512, 256, 1][..], &[256][..]),
    ] {
        for &batch in batches {
            let (g, outputs, feeds) = network(sizes, batch).expect("the network is sound");
            let mut program = gpu.compile(&g, &outputs).expect("the plan compiles");
            program
                .set_all(&feeds)
                .expect("the shapes are the network's");
            group.throughput(Throughput::Elements(batch as u64));
            group.bench_function(BenchmarkId::new(name, batch), |b| {
                b.iter(|| {
                    black_box(program.run().expect("the run succeeds"));
                });
            });
        }
    }
    group.finish();
}

fn plans(c: &mut Criterion) {
    let (g, outputs, _) = network(&[784, 512, 256, 1], 256).expect("the network is sound");
    c.bench_function("plan 784-512-256-1", |b| {
        b.iter(|| black_box(Plan::new(&g, &outputs).expect("the graph is sound")));
    });
}

criterion_group! {
    name = benches;
    config = Criterion::default().sample_size(20);
    targets = steps, plans
}
criterion_main!(benches);
