//! What the host spends on a compiled plan, apart from waiting: the time to
//! record one dispatch, and the time of a submission that does next to nothing.

mod common;

use std::hint::black_box;
use std::time::Duration;

use criterion::{Criterion, SamplingMode, Throughput, criterion_group, criterion_main};
use wgrad::{Graph, Tensor};

/// Dispatches that are recorded for one figure.
const DISPATCHES: u32 = 1000;

fn overhead(c: &mut Criterion) {
    let gpu = common::gpu();
    let mut g = Graph::new();
    let x = g.input("x", &[2]).expect("the shape is sound");
    let y = g.relu(x).expect("relu takes any shape");
    let mut program = gpu.compile(&g, &[y]).expect("the plan compiles");
    let value = Tensor::new(&[2], vec![1.0, -1.0]).expect("two values");
    program.set("x", &value).expect("the shape is the leaf's");
    let per_step = program.plan().steps.len() as u32;

    let steps = DISPATCHES / per_step;
    let mut group = c.benchmark_group("host");
    // The device takes far longer to run them than the host to record them,
    // and only the latter counts as measured: so little of it is asked for.
    group
        .measurement_time(Duration::from_millis(40))
        .warm_up_time(Duration::from_millis(20))
        .sampling_mode(SamplingMode::Flat)
        .throughput(Throughput::Elements(u64::from(steps * per_step)));
    group.bench_function(format!("encode {DISPATCHES} dispatches"), |b| {
        b.iter_custom(|count| {
            let timed = (0..count).map(|_| {
                let timing = program.time_steps(steps, &[]);
                timing.expect("the run succeeds").encode_s
            });
            Duration::from_secs_f64(timed.sum())
        });
    });
    group.finish();
    let mut group = c.benchmark_group("host");
    group.bench_function("submit, wait and read 8 bytes", |b| {
        b.iter(|| {
            black_box(program.run_steps(1, &[y]).expect("the run succeeds"));
        });
    });
    group.finish();
}

criterion_group! {
    name = benches;
    config = common::criterion();
    targets = overhead
}
criterion_main!(benches);
