//! `add`, `sub`, `mul` with broadcasting; `neg`, and `scale` by a fixed number.

use super::Family;
use super::map::{Map, REAL, Row, shapes_for};
use crate::error::Result;
use crate::graph::{Cotangent, Graph, NodeId, Sample};

const SOURCE: &str = include_str!("../../shaders/arithmetic.wgsl");

/// This file's ops.
pub static FAMILY: Family = Family {
    name: "arithmetic",
    ops: &["add", "sub", "mul", "neg", "scale"],
    source: SOURCE,
    samples,
};

static ADD: Row = Row {
    name: "add",
    inputs: &["a", "b"],
    source: SOURCE,
    libs: &[],
    eval: |x, _| x[0] + x[1],
    magnitude: |x, _| x[0] + x[1],
    ulps: 0.5,
    domain: &[REAL, REAL],
    vjp: |_, v| {
        Ok(vec![
            Cotangent::Node(v.cotangent),
            Cotangent::Node(v.cotangent),
        ])
    },
    formula: "{0} + {1}",
    derivatives: &["1", "1"],
};

static SUB: Row = Row {
    name: "sub",
    inputs: &["a", "b"],
    source: SOURCE,
    libs: &[],
    eval: |x, _| x[0] - x[1],
    magnitude: |x, _| x[0] - x[1],
    ulps: 0.5,
    domain: &[REAL, REAL],
    vjp: |g, v| {
        Ok(vec![
            Cotangent::Node(v.cotangent),
            Cotangent::Node(g.neg(v.cotangent)?),
        ])
    },
    formula: "{0} - {1}",
    derivatives: &["1", "-1"],
};

pub(crate) static MUL: Row = Row {
    name: "mul",
    inputs: &["a", "b"],
    source: SOURCE,
    libs: &[],
    eval: |x, _| x[0] * x[1],
    magnitude: |x, _| x[0] * x[1],
    ulps: 0.5,
    domain: &[REAL, REAL],
    vjp: |g, v| {
        let a = g.mul(v.cotangent, v.inputs[1])?;
        let b = g.mul(v.cotangent, v.inputs[0])?;
        Ok(vec![Cotangent::Node(a), Cotangent::Node(b)])
    },
    formula: "{0} * {1}",
    derivatives: &["{1}", "{0}"],
};

static NEG: Row = Row {
    name: "neg",
    inputs: &["a"],
    source: SOURCE,
    libs: &[],
    eval: |x, _| -x[0],
    magnitude: |_, _| 0.0,
    ulps: 0.0,
    domain: &[REAL],
    vjp: |g, v| Ok(vec![Cotangent::Node(g.neg(v.cotangent)?)]),
    formula: "-{0}",
    derivatives: &["-1"],
};

// The factor itself is rounded to float32 (half a ULP), then the product.
static SCALE: Row = Row {
    name: "scale",
    inputs: &["a"],
    source: SOURCE,
    libs: &[],
    eval: |x, c| x[0] * c,
    magnitude: |x, c| x[0] * c,
    ulps: 1.0,
    domain: &[REAL],
    vjp: |g, v| Ok(vec![Cotangent::Node(g.scale(v.cotangent, v.constant)?)]),
    formula: "{c} * {0}",
    derivatives: &["{c}"],
};

impl Graph {
    /// `a + b`, broadcast as in PyTorch.
    pub fn add(&mut self, a: NodeId, b: NodeId) -> Result<NodeId> {
        self.apply(Map::new(&ADD), &[a, b])
    }

    /// `a - b`, broadcast as in PyTorch.
    pub fn sub(&mut self, a: NodeId, b: NodeId) -> Result<NodeId> {
        self.apply(Map::new(&SUB), &[a, b])
    }

    /// `a * b` element by element, broadcast as in PyTorch.
    pub fn mul(&mut self, a: NodeId, b: NodeId) -> Result<NodeId> {
        self.apply(Map::new(&MUL), &[a, b])
    }

    /// `-a`.
    pub fn neg(&mut self, a: NodeId) -> Result<NodeId> {
        self.apply(Map::new(&NEG), &[a])
    }

    /// `factor * a`; the GPU uses the factor rounded to float32.
    pub fn scale(&mut self, a: NodeId, factor: f64) -> Result<NodeId> {
        self.apply(Map::with(&SCALE, factor), &[a])
    }
}

fn samples() -> Vec<Sample> {
    type Binary = fn(&mut Graph, NodeId, NodeId) -> Result<NodeId>;
    let binary: [Binary; 3] = [Graph::add, Graph::sub, Graph::mul];
    let unary: [fn(&mut Graph, NodeId) -> Result<NodeId>; 2] =
        [Graph::neg, |g, a| g.scale(a, 1.0 / 3.0)];
    let edge = vec![0.0, -0.0, 1.0, -1.0, 3.0e38, -3.0e38, 1e-38];
    let mut all = Vec::new();
    for op in binary {
        for shapes in shapes_for(2) {
            all.push(Sample {
                build: Box::new(move |g, x| op(g, x[0], x[1])),
                shapes,
                ranges: vec![(-4.0, 4.0); 2],
                edges: vec![edge.clone(), vec![1.0, -2.0, 0.0]],
            });
        }
    }
    for op in unary {
        for shapes in shapes_for(1) {
            all.push(Sample {
                build: Box::new(move |g, x| op(g, x[0])),
                shapes,
                ranges: vec![(-4.0, 4.0)],
                edges: vec![edge.clone()],
            });
        }
    }
    all
}
