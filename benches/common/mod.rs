//! What the benchmarks share: an adapter, and a network to measure on it.

#![allow(dead_code)] // each benchmark uses a part

use std::time::Duration;

use criterion::Criterion;
use wgrad::nn::Reduction;
use wgrad::{Feeds, Gpu, Graph, NodeId, Tensor, gradient};

/// The device to measure, named on stderr.
pub fn gpu() -> Gpu {
    match Gpu::new() {
        Ok(gpu) => {
            eprintln!("adapter: {}", gpu.adapter());
            gpu
        }
        Err(error) => panic!("a benchmark needs an adapter: {error}"),
    }
}

/// Short enough that all benchmarks together stay below ten minutes.
pub fn criterion() -> Criterion {
    Criterion::default()
        .sample_size(15)
        .warm_up_time(Duration::from_millis(500))
        .measurement_time(Duration::from_secs(2))
}

/// Values that are not all alike; no kernel's time depends on them.
pub fn tensor(dims: &[usize], scale: f32) -> Tensor {
    let count: usize = dims.iter().product();
    let data = (0..count)
        .map(|i| scale * ((i % 17) as f32 - 8.0) / 8.0)
        .collect();
    Tensor::new(dims, data).expect("one value an element")
}

/// A network of `Linear` layers with ReLU between, a sigmoid and BCELoss: the
/// graph, its loss and gradients, and the values of its leaves.
pub fn network(sizes: &[usize], batch: usize) -> wgrad::Result<(Graph, Vec<NodeId>, Feeds)> {
    let mut g = Graph::new();
    let mut feeds = Feeds::new();
    let mut leaf = |g: &mut Graph, label: &str, dims: &[usize], scale: f32| {
        feeds.insert(label.to_string(), tensor(dims, scale));
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
    let mut outputs = vec![loss];
    outputs.extend(gradient(&mut g, loss, &weights)?);
    Ok((g, outputs, feeds))
}
