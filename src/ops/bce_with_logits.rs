//! Binary cross entropy on logits: sigmoid and loss in one, so that nothing
//! saturates. With `pos_weight` w:
//!
//! L = (1 - y) softplus(x) + w y softplus(-x)
//!
//! which equals PyTorch's formula and, unlike it, has no term to cancel.

use super::Family;
use super::map::{Map, REAL, Row, shapes_for};
use super::shader_lib::{EXP, FLOAT, LOG, SIGMOID, TARGET};
use super::sigmoid::sigmoid;
use super::softplus::softplus;
use crate::error::Result;
use crate::graph::{Cotangent, Graph, NodeId, Sample};

const SOURCE: &str = include_str!("../../shaders/bce_with_logits.wgsl");
const LIBS: &[&str] = &[FLOAT, TARGET, EXP, LOG, SIGMOID];

/// This file's ops.
pub static FAMILY: Family = Family {
    name: "bce_with_logits",
    ops: &[
        "bce_with_logits",
        "bce_with_logits_backward",
        "bce_with_logits_weighted",
        "bce_with_logits_weighted_backward",
    ],
    source: SOURCE,
    samples,
};

fn loss(x: f64, y: f64, w: f64) -> [f64; 2] {
    [(1.0 - y) * softplus(x), w * y * softplus(-x)]
}

fn slope(x: f64, y: f64, w: f64) -> [f64; 2] {
    [(1.0 - y) * sigmoid(x), -w * y * sigmoid(-x)]
}

fn sum(terms: [f64; 2]) -> f64 {
    terms[0] + terms[1]
}

fn size(terms: [f64; 2]) -> f64 {
    terms[0].abs() + terms[1].abs()
}

static PLAIN: Row = Row {
    name: "bce_with_logits",
    inputs: &["x", "y"],
    source: SOURCE,
    libs: LIBS,
    eval: |v, _| sum(loss(v[0], v[1], 1.0)),
    magnitude: |v, _| size(loss(v[0], v[1], 1.0)),
    ulps: 6.0,
    domain: &[REAL, REAL],
    vjp: |g, v| {
        let [x, y] = [v.inputs[0], v.inputs[1]];
        let dx = g.bce_with_logits_backward(v.cotangent, x, y)?;
        // softplus(-x) - softplus(x) = -x
        let gx = g.mul(v.cotangent, x)?;
        let dy = g.neg(gx)?;
        Ok(vec![Cotangent::Node(dx), Cotangent::Node(dy)])
    },
    formula: "(1 - {1}) * log(1 + exp({0})) + {1} * log(1 + exp(-{0}))",
    derivatives: &["sigmoid({0}) - {1}", "-{0}"],
};

static PLAIN_BACKWARD: Row = Row {
    name: "bce_with_logits_backward",
    inputs: &["g", "x", "y"],
    source: SOURCE,
    libs: LIBS,
    eval: |v, _| v[0] * sum(slope(v[1], v[2], 1.0)),
    magnitude: |v, _| v[0] * size(slope(v[1], v[2], 1.0)),
    ulps: 6.0,
    domain: &[REAL, REAL, REAL],
    vjp: |g, v| {
        let [up, x, y] = [v.inputs[0], v.inputs[1], v.inputs[2]];
        let dg = g.bce_with_logits_backward(v.cotangent, x, y)?;
        let cg = g.mul(v.cotangent, up)?;
        let s = g.sigmoid(x)?;
        let dx = g.sigmoid_backward(cg, s)?;
        let dy = g.neg(cg)?;
        Ok(vec![
            Cotangent::Node(dg),
            Cotangent::Node(dx),
            Cotangent::Node(dy),
        ])
    },
    formula: "{0} * (sigmoid({1}) - {2})",
    derivatives: &[
        "sigmoid({1}) - {2}",
        "{0} * sigmoid({1}) * (1 - sigmoid({1}))",
        "-{0}",
    ],
};

static WEIGHTED: Row = Row {
    name: "bce_with_logits_weighted",
    inputs: &["x", "y", "w"],
    source: SOURCE,
    libs: LIBS,
    eval: |v, _| sum(loss(v[0], v[1], v[2])),
    magnitude: |v, _| size(loss(v[0], v[1], v[2])),
    ulps: 6.0,
    domain: &[REAL, REAL, REAL],
    vjp: |g, v| {
        let [x, y, w] = [v.inputs[0], v.inputs[1], v.inputs[2]];
        let dx = g.bce_with_logits_weighted_backward(v.cotangent, x, y, w)?;
        let minus = g.neg(x)?;
        let when_one = g.softplus(minus)?;
        let when_zero = g.softplus(x)?;
        // by y: w softplus(-x) - softplus(x); by w: y softplus(-x)
        let weighted = g.mul(w, when_one)?;
        let by_y = g.sub(weighted, when_zero)?;
        let dy = g.mul(v.cotangent, by_y)?;
        let by_w = g.mul(y, when_one)?;
        let dw = g.mul(v.cotangent, by_w)?;
        Ok(vec![
            Cotangent::Node(dx),
            Cotangent::Node(dy),
            Cotangent::Node(dw),
        ])
    },
    formula: "(1 - {1}) * log(1 + exp({0})) + {2} * {1} * log(1 + exp(-{0}))",
    derivatives: &[
        "(1 - {1}) * sigmoid({0}) - {2} * {1} * sigmoid(-{0})",
        "{2} * log(1 + exp(-{0})) - log(1 + exp({0}))",
        "{1} * log(1 + exp(-{0}))",
    ],
};

static WEIGHTED_BACKWARD: Row = Row {
    name: "bce_with_logits_weighted_backward",
    inputs: &["g", "x", "y", "w"],
    source: SOURCE,
    libs: LIBS,
    eval: |v, _| v[0] * sum(slope(v[1], v[2], v[3])),
    magnitude: |v, _| v[0] * size(slope(v[1], v[2], v[3])),
    ulps: 6.0,
    domain: &[REAL, REAL, REAL, REAL],
    vjp: |g, v| {
        let [up, x, y, w] = [v.inputs[0], v.inputs[1], v.inputs[2], v.inputs[3]];
        let dg = g.bce_with_logits_weighted_backward(v.cotangent, x, y, w)?;
        let cg = g.mul(v.cotangent, up)?;
        let s = g.sigmoid(x)?;
        let minus = g.neg(x)?;
        let t = g.sigmoid(minus)?;
        // by x: s (1 - s) ((1 - y) + w y)
        let wy = g.mul(w, y)?;
        let wy_less_y = g.sub(wy, y)?;
        let one = g.constant(crate::Tensor::scalar(1.0));
        let factor = g.add(one, wy_less_y)?;
        let scaled = g.mul(cg, factor)?;
        let dx = g.sigmoid_backward(scaled, s)?;
        // by y: -(sigmoid(x) + w sigmoid(-x)); by w: -y sigmoid(-x)
        let wt = g.mul(w, t)?;
        let total = g.add(s, wt)?;
        let by_y = g.mul(cg, total)?;
        let dy = g.neg(by_y)?;
        let yt = g.mul(y, t)?;
        let by_w = g.mul(cg, yt)?;
        let dw = g.neg(by_w)?;
        Ok([dg, dx, dy, dw].map(Cotangent::Node).to_vec())
    },
    formula: "{0} * ((1 - {2}) * sigmoid({1}) - {3} * {2} * sigmoid(-{1}))",
    derivatives: &[
        "(1 - {2}) * sigmoid({1}) - {3} * {2} * sigmoid(-{1})",
        "{0} * (1 - {2} + {3} * {2}) * sigmoid({1}) * sigmoid(-{1})",
        "-{0} * (sigmoid({1}) + {3} * sigmoid(-{1}))",
        "-{0} * {2} * sigmoid(-{1})",
    ],
};

impl Graph {
    /// Binary cross entropy of logits `x` and targets `y`, element by element:
    /// PyTorch's `BCEWithLogitsLoss(reduction='none')`.
    pub fn bce_with_logits(&mut self, x: NodeId, y: NodeId) -> Result<NodeId> {
        self.apply(Map::new(&PLAIN), &[x, y])
    }

    /// The cotangent of `bce_with_logits`' input: `g (sigmoid(x) - y)`.
    pub fn bce_with_logits_backward(&mut self, g: NodeId, x: NodeId, y: NodeId) -> Result<NodeId> {
        self.apply(Map::new(&PLAIN_BACKWARD), &[g, x, y])
    }

    /// As `bce_with_logits`, positive examples weighted by `w` (PyTorch's
    /// `pos_weight`, which broadcasts).
    pub fn bce_with_logits_weighted(&mut self, x: NodeId, y: NodeId, w: NodeId) -> Result<NodeId> {
        self.apply(Map::new(&WEIGHTED), &[x, y, w])
    }

    /// The cotangent of `bce_with_logits_weighted`'s input:
    /// `g ((1 - y) sigmoid(x) - w y sigmoid(-x))`.
    pub fn bce_with_logits_weighted_backward(
        &mut self,
        g: NodeId,
        x: NodeId,
        y: NodeId,
        w: NodeId,
    ) -> Result<NodeId> {
        self.apply(Map::new(&WEIGHTED_BACKWARD), &[g, x, y, w])
    }
}

fn samples() -> Vec<Sample> {
    let g_edge = vec![1.0, -2.0, 0.0];
    let x_edge = vec![0.0, 20.0, -20.0, 100.0, -80.0, 1e30, -1e30];
    let y_edge = vec![0.0, 1.0];
    let w_edge = vec![3.0, 0.25, 1.0];
    let (g, x, y, w) = ((-2.0, 2.0), (-5.0, 5.0), (0.0, 1.0), (0.5, 3.0));
    let mut all = Vec::new();
    for shapes in shapes_for(2) {
        all.push(Sample {
            build: Box::new(|g, v| g.bce_with_logits(v[0], v[1])),
            shapes,
            ranges: vec![x, y],
            edges: vec![x_edge.clone(), y_edge.clone()],
        });
    }
    for shapes in shapes_for(3) {
        all.push(Sample {
            build: Box::new(|g, v| g.bce_with_logits_backward(v[0], v[1], v[2])),
            shapes: shapes.clone(),
            ranges: vec![g, x, y],
            edges: vec![g_edge.clone(), x_edge.clone(), y_edge.clone()],
        });
        all.push(Sample {
            build: Box::new(|g, v| g.bce_with_logits_weighted(v[0], v[1], v[2])),
            shapes,
            ranges: vec![x, y, w],
            edges: vec![x_edge.clone(), y_edge.clone(), w_edge.clone()],
        });
    }
    for shapes in shapes_for(4) {
        all.push(Sample {
            build: Box::new(|g, v| g.bce_with_logits_weighted_backward(v[0], v[1], v[2], v[3])),
            shapes,
            ranges: vec![g, x, y, w],
            edges: vec![
                g_edge.clone(),
                x_edge.clone(),
                y_edge.clone(),
                w_edge.clone(),
            ],
        });
    }
    all
}
