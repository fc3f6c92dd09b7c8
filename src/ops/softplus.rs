//! `softplus`: log(1 + exp(x)), the building block of the loss on logits.

use super::Family;
use super::map::{Map, REAL, Row, shapes_for};
use super::shader_lib::{EXP, FLOAT, LOG, SIGMOID, TARGET};
use crate::error::Result;
use crate::graph::{Cotangent, Graph, NodeId, Sample};

const SOURCE: &str = include_str!("../../shaders/softplus.wgsl");

/// This file's ops.
pub static FAMILY: Family = Family {
    name: "softplus",
    ops: &["softplus"],
    source: SOURCE,
    samples,
};

/// The definition, stable on both sides.
pub(crate) fn softplus(x: f64) -> f64 {
    if x.is_nan() {
        return x;
    }
    x.max(0.0) + (-x.abs()).exp().ln_1p()
}

static SOFTPLUS: Row = Row {
    name: "softplus",
    inputs: &["x"],
    source: SOURCE,
    libs: &[FLOAT, TARGET, EXP, LOG, SIGMOID],
    eval: |x, _| softplus(x[0]),
    magnitude: |x, _| softplus(x[0]),
    ulps: 4.0,
    domain: &[REAL],
    vjp: |g, v| {
        let slope = g.sigmoid(v.inputs[0])?;
        Ok(vec![Cotangent::Node(g.mul(v.cotangent, slope)?)])
    },
    formula: "log(1 + exp({0}))",
    derivatives: &["sigmoid({0})"],
};

impl Graph {
    /// `log(1 + exp(x))` element by element (PyTorch's `Softplus` without its
    /// linear threshold: accurate for every x).
    pub fn softplus(&mut self, x: NodeId) -> Result<NodeId> {
        self.apply(Map::new(&SOFTPLUS), &[x])
    }
}

fn samples() -> Vec<Sample> {
    let sample = |shapes| Sample {
        build: Box::new(|g: &mut Graph, x: &[NodeId]| g.softplus(x[0])),
        shapes,
        ranges: vec![(-6.0, 6.0)],
        edges: vec![vec![
            0.0,
            20.0,
            -20.0,
            88.0,
            -87.0,
            1e30,
            -1e30,
            f32::INFINITY,
            f32::NEG_INFINITY,
            f32::NAN,
        ]],
    };
    shapes_for(1).into_iter().map(sample).collect()
}
