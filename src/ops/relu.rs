//! `relu`: max(0, x), with PyTorch's rule at zero (the derivative is 0) and
//! NaN passed through.

use super::Family;
use super::map::{Map, REAL, Row, shapes_for};
use crate::error::Result;
use crate::graph::{Cotangent, Graph, NodeId, Sample};

const SOURCE: &str = include_str!("../../shaders/relu.wgsl");

/// This file's ops.
pub static FAMILY: Family = Family {
    name: "relu",
    ops: &["relu", "relu_backward"],
    source: SOURCE,
    samples,
};

static RELU: Row = Row {
    name: "relu",
    inputs: &["x"],
    source: SOURCE,
    libs: &[],
    eval: |x, _| if x[0] <= 0.0 { 0.0 } else { x[0] },
    magnitude: |_, _| 0.0,
    ulps: 0.0,
    domain: &[REAL],
    vjp: |g, v| {
        let dx = g.relu_backward(v.cotangent, v.inputs[0])?;
        Ok(vec![Cotangent::Node(dx)])
    },
    formula: "max(0, {0})",
    derivatives: &["1 where {0} > 0, else 0"],
};

// PyTorch: threshold_backward, x <= 0 ? 0 : g, so NaN in x lets g through.
static BACKWARD: Row = Row {
    name: "relu_backward",
    inputs: &["g", "x"],
    source: SOURCE,
    libs: &[],
    eval: |x, _| if x[1] <= 0.0 { 0.0 } else { x[0] },
    magnitude: |_, _| 0.0,
    ulps: 0.0,
    domain: &[REAL, REAL],
    vjp: |g, v| {
        let dg = g.relu_backward(v.cotangent, v.inputs[1])?;
        Ok(vec![
            Cotangent::Node(dg),
            Cotangent::Zero("relu's derivative is piecewise constant"),
        ])
    },
    formula: "{0} * [{1} > 0]",
    derivatives: &["1 where {1} > 0, else 0", "0"],
};

impl Graph {
    /// `max(0, x)` element by element (PyTorch's `ReLU`).
    pub fn relu(&mut self, x: NodeId) -> Result<NodeId> {
        self.apply(Map::new(&RELU), &[x])
    }

    /// The cotangent of `relu`'s input: `g` where `x > 0`, else 0.
    pub fn relu_backward(&mut self, g: NodeId, x: NodeId) -> Result<NodeId> {
        self.apply(Map::new(&BACKWARD), &[g, x])
    }
}

fn samples() -> Vec<Sample> {
    let edge = vec![
        0.0,
        -0.0,
        1e-38,
        -1e-38,
        3e38,
        -3e38,
        f32::INFINITY,
        f32::NAN,
    ];
    let mut all = Vec::new();
    for shapes in shapes_for(1) {
        all.push(Sample {
            build: Box::new(|g, x| g.relu(x[0])),
            shapes,
            ranges: vec![(-3.0, 3.0)],
            edges: vec![edge.clone()],
        });
    }
    for shapes in shapes_for(2) {
        all.push(Sample {
            build: Box::new(|g, x| g.relu_backward(x[0], x[1])),
            shapes,
            ranges: vec![(-3.0, 3.0); 2],
            edges: vec![vec![2.0, -3.0, 0.5], edge.clone()],
        });
    }
    all
}
