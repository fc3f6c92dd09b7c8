//! How long single ops take on the device, nothing read back: products of
//! matrices (throughput in flops), sums and elementwise functions (in bytes
//! that must be read and written).

mod common;

use std::hint::black_box;

use criterion::{
    BenchmarkId, Criterion, SamplingMode, Throughput, criterion_group, criterion_main,
};
use wgrad::{Gpu, Graph, NodeId};

/// Measures what `build` makes of leaves of the shapes `dims`.
fn op(
    c: &mut Criterion,
    gpu: &Gpu,
    id: BenchmarkId,
    group: &str,
    amount: Throughput,
    dims: &[&[usize]],
    build: impl Fn(&mut Graph, &[NodeId]) -> wgrad::Result<NodeId>,
) {
    let mut g = Graph::new();
    let mut leaves = Vec::new();
    for (i, dims) in dims.iter().enumerate() {
        leaves.push(g.input(&format!("x{i}"), dims).expect("the shape is sound"));
    }
    let output = build(&mut g, &leaves).expect("the shapes fit");
    let mut program = gpu.compile(&g, &[output]).expect("the plan compiles");
    for (i, dims) in dims.iter().enumerate() {
        let value = common::tensor(dims, 1.0);
        program
            .set(&format!("x{i}"), &value)
            .expect("the shape is the leaf's");
    }
    let mut group = c.benchmark_group(group);
    group.throughput(amount);
    group.sampling_mode(SamplingMode::Flat);
    group.bench_function(id, |b| {
        b.iter(|| {
            black_box(program.run_steps(1, &[]).expect("the run succeeds"));
        });
    });
    group.finish();
}

fn products(c: &mut Criterion) {
    let gpu = common::gpu();
    for n in [64, 128, 256, 512, 1024] {
        let flops = Throughput::Elements(2 * (n as u64).pow(3));
        for (form, ta, tb) in [
            ("NN", false, false),
            ("NT", false, true),
            ("TN", true, false),
        ] {
            // The transposes at one size: they are the same kernel with other strides.
            if form != "NN" && n != 256 {
                continue;
            }
            let id = BenchmarkId::new(form, n);
            op(
                c,
                &gpu,
                id,
                "matmul",
                flops.clone(),
                &[&[n, n], &[n, n]],
                |g, x| g.matmul_with(x[0], x[1], ta, tb),
            );
        }
    }
}

fn memory(c: &mut Criterion) {
    let gpu = common::gpu();
    for n in [1 << 16, 1 << 22] {
        let once = Throughput::Bytes(4 * n as u64);
        let twice = Throughput::Bytes(8 * n as u64);
        let thrice = Throughput::Bytes(12 * n as u64);
        let one: &[&[usize]] = &[&[n]];
        let rows: &[&[usize]] = &[&[n / 64, 64]];
        let two: &[&[usize]] = &[&[n], &[n]];
        let id = |name: &str| BenchmarkId::new(name, n);
        op(c, &gpu, id("all"), "sum", once.clone(), one, |g, x| {
            g.sum_all(x[0])
        });
        op(c, &gpu, id("rows"), "sum", once.clone(), rows, |g, x| {
            g.sum(x[0], &[0])
        });
        op(c, &gpu, id("columns"), "sum", once, rows, |g, x| {
            g.sum(x[0], &[1])
        });
        op(c, &gpu, id("relu"), "map", twice.clone(), one, |g, x| {
            g.relu(x[0])
        });
        op(c, &gpu, id("sigmoid"), "map", twice, one, |g, x| {
            g.sigmoid(x[0])
        });
        op(c, &gpu, id("add"), "map", thrice, two, |g, x| {
            g.add(x[0], x[1])
        });
    }
}

criterion_group! {
    name = benches;
    config = common::criterion();
    targets = products, memory
}
criterion_main!(benches);
