//! How long a step takes: forward, loss and every weight gradient, the loss
//! read back. One a submission, and (throughput in steps) a hundred queued in
//! one. Figures count only beside others of the same run; `wgrad bench` checks
//! values and splits the time.

mod common;

use std::hint::black_box;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};

fn steps(c: &mut Criterion) {
    let gpu = common::gpu();
    for (name, sizes, batches) in [
        ("4-2-1", &[4, 2, 1][..], &[1, 64, 1024, 65_536][..]),
        ("64-64-64-1", &[64, 64, 64, 1][..], &[64][..]),
        ("784-512-256-1", &[784, 512, 256, 1][..], &[256][..]),
    ] {
        for &batch in batches {
            let (g, outputs, feeds) = common::network(sizes, batch).expect("the network is sound");
            let read = [outputs[0]];
            let mut program = gpu.compile(&g, &outputs).expect("the plan compiles");
            program
                .set_all(&feeds)
                .expect("the shapes are the network's");
            let mut group = c.benchmark_group("step");
            group.throughput(Throughput::Elements(batch as u64));
            group.bench_function(BenchmarkId::new(name, batch), |b| {
                b.iter(|| {
                    black_box(program.run_steps(1, &read).expect("the run succeeds"));
                });
            });
            group.finish();
            if batch > 1024 || sizes.len() > 3 {
                continue;
            }
            const QUEUED: u32 = 100;
            let mut group = c.benchmark_group("queued steps");
            group.throughput(Throughput::Elements(u64::from(QUEUED)));
            group.bench_function(BenchmarkId::new(name, batch), |b| {
                b.iter(|| {
                    black_box(program.run_steps(QUEUED, &read).expect("the run succeeds"));
                });
            });
            group.finish();
        }
    }
}

criterion_group! {
    name = benches;
    config = common::criterion();
    targets = steps
}
criterion_main!(benches);
