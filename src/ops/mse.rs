//! Squared error.

use super::Family;
use super::map::{Map, REAL, Row, shapes_for};
use crate::error::Result;
use crate::graph::{Cotangent, Graph, NodeId, Sample};

const SOURCE: &str = include_str!("../../shaders/mse.wgsl");

/// This file's ops.
pub static FAMILY: Family = Family {
    name: "mse",
    ops: &["mse", "mse_backward"],
    source: SOURCE,
    samples,
};

static MSE: Row = Row {
    name: "mse",
    inputs: &["a", "y"],
    source: SOURCE,
    libs: &[],
    eval: |x, _| (x[0] - x[1]) * (x[0] - x[1]),
    magnitude: |x, _| (x[0] - x[1]) * (x[0] - x[1]),
    ulps: 2.0,
    domain: &[REAL, REAL],
    vjp: |g, v| {
        let da = g.mse_backward(v.cotangent, v.inputs[0], v.inputs[1])?;
        let dy = g.neg(da)?;
        Ok(vec![Cotangent::Node(da), Cotangent::Node(dy)])
    },
    formula: "({0} - {1})^2",
    derivatives: &["2 * ({0} - {1})", "-2 * ({0} - {1})"],
};

static BACKWARD: Row = Row {
    name: "mse_backward",
    inputs: &["g", "a", "y"],
    source: SOURCE,
    libs: &[],
    eval: |x, _| x[0] * 2.0 * (x[1] - x[2]),
    magnitude: |x, _| x[0] * 2.0 * (x[1] - x[2]),
    ulps: 1.5,
    domain: &[REAL, REAL, REAL],
    vjp: |g, v| {
        let dg = g.mse_backward(v.cotangent, v.inputs[1], v.inputs[2])?;
        let cg = g.mul(v.cotangent, v.inputs[0])?;
        let da = g.scale(cg, 2.0)?;
        let dy = g.scale(cg, -2.0)?;
        Ok([dg, da, dy].map(Cotangent::Node).to_vec())
    },
    formula: "{0} * 2 * ({1} - {2})",
    derivatives: &["2 * ({1} - {2})", "2 * {0}", "-2 * {0}"],
};

impl Graph {
    /// `(a - y)^2` element by element: PyTorch's `MSELoss(reduction='none')`.
    pub fn mse(&mut self, a: NodeId, y: NodeId) -> Result<NodeId> {
        self.apply(Map::new(&MSE), &[a, y])
    }

    /// The cotangent of `mse`'s input: `g * 2 (a - y)`.
    pub fn mse_backward(&mut self, g: NodeId, a: NodeId, y: NodeId) -> Result<NodeId> {
        self.apply(Map::new(&BACKWARD), &[g, a, y])
    }
}

fn samples() -> Vec<Sample> {
    let edge = vec![0.0, 1.0, -1.5, 1e18, -1e18, 1e-20];
    let mut all = Vec::new();
    for shapes in shapes_for(2) {
        all.push(Sample {
            build: Box::new(|g, x| g.mse(x[0], x[1])),
            shapes,
            ranges: vec![(-3.0, 3.0); 2],
            edges: vec![edge.clone(), vec![0.0, 1.0]],
        });
    }
    for shapes in shapes_for(3) {
        all.push(Sample {
            build: Box::new(|g, x| g.mse_backward(x[0], x[1], x[2])),
            shapes,
            ranges: vec![(-3.0, 3.0); 3],
            edges: vec![vec![1.0, -2.0], edge.clone(), vec![0.0, 1.0]],
        });
    }
    all
}
