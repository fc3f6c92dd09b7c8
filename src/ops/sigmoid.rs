//! `sigmoid`: 1 / (1 + exp(-x)).

use super::Family;
use super::map::{Map, REAL, Row, UNIT, shapes_for};
use super::shader_lib::{EXP, FLOAT, LOG, SIGMOID, TARGET};
use crate::error::Result;
use crate::graph::{Cotangent, Graph, NodeId, Sample};

const SOURCE: &str = include_str!("../../shaders/sigmoid.wgsl");
const LIBS: &[&str] = &[FLOAT, TARGET, EXP, LOG, SIGMOID];

/// This file's ops.
pub static FAMILY: Family = Family {
    name: "sigmoid",
    ops: &["sigmoid", "sigmoid_backward"],
    source: SOURCE,
    samples,
};

/// The definition, stable on both sides.
pub(crate) fn sigmoid(x: f64) -> f64 {
    if x >= 0.0 {
        1.0 / (1.0 + (-x).exp())
    } else {
        let e = x.exp();
        e / (1.0 + e)
    }
}

static SIGMOID_ROW: Row = Row {
    name: "sigmoid",
    inputs: &["x"],
    source: SOURCE,
    libs: LIBS,
    eval: |x, _| sigmoid(x[0]),
    magnitude: |x, _| sigmoid(x[0]),
    ulps: 3.0,
    domain: &[REAL],
    vjp: |g, v| {
        let dx = g.sigmoid_backward(v.cotangent, v.output)?;
        Ok(vec![Cotangent::Node(dx)])
    },
    formula: "1 / (1 + exp(-{0}))",
    derivatives: &["{out} * (1 - {out})"],
};

// Four correctly rounded operations in a row.
static BACKWARD: Row = Row {
    name: "sigmoid_backward",
    inputs: &["g", "s"],
    source: SOURCE,
    libs: LIBS,
    eval: |x, _| x[0] * x[1] * (1.0 - x[1]),
    magnitude: |x, _| x[0] * x[1] * (1.0 - x[1]),
    ulps: 2.0,
    domain: &[REAL, UNIT],
    vjp: |g, v| {
        // d/ds of g s (1 - s) is g (1 - 2 s).
        let dg = g.sigmoid_backward(v.cotangent, v.inputs[1])?;
        let cg = g.mul(v.cotangent, v.inputs[0])?;
        let cgs = g.mul(cg, v.inputs[1])?;
        let twice = g.scale(cgs, 2.0)?;
        let ds = g.sub(cg, twice)?;
        Ok(vec![Cotangent::Node(dg), Cotangent::Node(ds)])
    },
    formula: "{0} * {1} * (1 - {1})",
    derivatives: &["{1} * (1 - {1})", "{0} * (1 - 2 * {1})"],
};

impl Graph {
    /// `1 / (1 + exp(-x))` element by element (PyTorch's `Sigmoid`).
    pub fn sigmoid(&mut self, x: NodeId) -> Result<NodeId> {
        self.apply(Map::new(&SIGMOID_ROW), &[x])
    }

    /// The cotangent of `sigmoid`'s input from that of its output `s`:
    /// `g * s * (1 - s)`, PyTorch's `sigmoid_backward`.
    pub fn sigmoid_backward(&mut self, g: NodeId, s: NodeId) -> Result<NodeId> {
        self.apply(Map::new(&BACKWARD), &[g, s])
    }
}

fn samples() -> Vec<Sample> {
    let mut all = Vec::new();
    for shapes in shapes_for(1) {
        all.push(Sample {
            build: Box::new(|g, x| g.sigmoid(x[0])),
            shapes,
            ranges: vec![(-6.0, 6.0)],
            edges: vec![vec![
                0.0,
                -0.0,
                17.0,
                -17.0,
                88.0,
                -87.0,
                1e30,
                -1e30,
                f32::INFINITY,
                f32::NEG_INFINITY,
                f32::NAN,
                1e-38,
            ]],
        });
    }
    for shapes in shapes_for(2) {
        all.push(Sample {
            build: Box::new(|g, x| g.sigmoid_backward(x[0], x[1])),
            shapes,
            ranges: vec![(-3.0, 3.0), (0.01, 0.99)],
            edges: vec![
                vec![2.0, -1.0, 1e12],
                vec![0.0, 1.0, 0.5, 1e-30, 0.999_999_9],
            ],
        });
    }
    all
}
