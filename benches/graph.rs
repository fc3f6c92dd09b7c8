//! What happens before a device is asked: differentiation and planning. Both
//! must grow with the number of nodes and no faster, so the throughput (nodes
//! per second) of 1,000, 3,000 and 10,000 nodes should be one figure.

mod common;

use std::hint::black_box;

use criterion::{BatchSize, BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use wgrad::plan::Plan;
use wgrad::{Graph, NodeId, gradient};

/// A deep graph of about `count` nodes, in which a node is read by the next
/// and by one a few nodes on, so that cotangents are sums.
fn deep(count: usize) -> (Graph, NodeId, NodeId) {
    let build = || -> wgrad::Result<(Graph, NodeId, NodeId)> {
        let mut g = Graph::new();
        let x = g.input("x", &[4, 8])?;
        let (mut before, mut last) = (x, x);
        while g.len() + 1 < count {
            let next = match g.len() % 4 {
                0 => g.relu(last)?,
                1 => g.add(last, before)?,
                2 => g.mul(last, before)?,
                _ => g.sigmoid(last)?,
            };
            (before, last) = (last, next);
        }
        let loss = g.sum_all(last)?;
        Ok((g, x, loss))
    };
    build().expect("the shapes fit")
}

fn autodiff(c: &mut Criterion) {
    let mut group = c.benchmark_group("gradient");
    for count in [1000, 3000, 10_000] {
        group.throughput(Throughput::Elements(count as u64));
        group.bench_function(BenchmarkId::from_parameter(count), |b| {
            b.iter_batched(
                || deep(count),
                |(mut g, x, loss)| {
                    black_box(gradient(&mut g, loss, &[x]).expect("every rule exists"));
                    g
                },
                BatchSize::LargeInput,
            );
        });
    }
    // One node that all others read: its cotangent has as many parts.
    for count in [1000, 3000, 10_000] {
        group.throughput(Throughput::Elements(count as u64));
        group.bench_function(BenchmarkId::new("one node read by all", count), |b| {
            b.iter_batched(
                || {
                    let (mut g, x, mut last) = deep(4);
                    while g.len() < count {
                        last = g.add(last, x).expect("the shapes broadcast");
                    }
                    let loss = g.sum_all(last).expect("there are axes");
                    (g, x, loss)
                },
                |(mut g, x, loss)| {
                    black_box(gradient(&mut g, loss, &[x]).expect("every rule exists"));
                    g
                },
                BatchSize::LargeInput,
            );
        });
    }
    group.finish();
}

fn plans(c: &mut Criterion) {
    let mut group = c.benchmark_group("plan");
    for count in [1000, 3000, 10_000] {
        let (mut g, x, loss) = deep(count);
        let dx = gradient(&mut g, loss, &[x]).expect("every rule exists")[0];
        group.throughput(Throughput::Elements(g.len() as u64));
        group.bench_function(BenchmarkId::new("deep", count), |b| {
            b.iter(|| black_box(Plan::new(&g, &[loss, dx]).expect("the graph is sound")));
        });
    }
    for sizes in [&[4, 2, 1][..], &[784, 512, 256, 1]] {
        let (g, outputs, _) = common::network(sizes, 256).expect("the network is sound");
        let name: Vec<_> = sizes.iter().map(usize::to_string).collect();
        group.throughput(Throughput::Elements(g.len() as u64));
        group.bench_function(BenchmarkId::new("network", name.join("-")), |b| {
            b.iter(|| black_box(Plan::new(&g, &outputs).expect("the graph is sound")));
        });
    }
    group.finish();
}

criterion_group! {
    name = benches;
    config = common::criterion();
    targets = autodiff, plans
}
criterion_main!(benches);
