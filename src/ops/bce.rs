//! Binary cross entropy on probabilities, with PyTorch's clamps: each log is at
//! least -100, and the backward's denominator at least 1e-12.
//!
//! `bce` is the loss of each element (PyTorch's `reduction='none'`); weights
//! and reductions are composed from `mul`, `sum` and `mean`.

use super::Family;
use super::map::{Map, REAL, Row, UNIT, shapes_for};
use super::shader_lib::{EXP, FLOAT, LOG, TARGET};
use crate::error::Result;
use crate::graph::{Cotangent, Graph, NodeId, Sample};

const SOURCE: &str = include_str!("../../shaders/bce.wgsl");
const LIBS: &[&str] = &[FLOAT, TARGET, EXP, LOG];

/// This file's ops.
pub static FAMILY: Family = Family {
    name: "bce",
    ops: &[
        "bce",
        "bce_backward",
        "bce_logit",
        "bce_slope",
        "bce_slope_backward",
    ],
    source: SOURCE,
    samples,
};

/// PyTorch's lower bound on p (1 - p) in the backward pass.
const EPSILON: f64 = 1e-12;

fn clamped_log(p: f64) -> f64 {
    p.ln().max(-100.0)
}

fn clamped_log1p_neg(p: f64) -> f64 {
    (-p).ln_1p().max(-100.0)
}

fn spread(p: f64) -> f64 {
    ((1.0 - p) * p).max(EPSILON)
}

static BCE: Row = Row {
    name: "bce",
    inputs: &["p", "y"],
    source: SOURCE,
    libs: LIBS,
    eval: |x, _| {
        let [p, y] = [x[0], x[1]];
        // `max` drops NaN, so it is let through here; infinity is no probability either.
        if !p.is_finite() {
            return f64::NAN;
        }
        (y - 1.0) * clamped_log1p_neg(p) - y * clamped_log(p)
    },
    magnitude: |x, _| {
        let [p, y] = [x[0], x[1]];
        ((y - 1.0) * clamped_log1p_neg(p)).abs() + (y * clamped_log(p)).abs()
    },
    ulps: 4.0,
    domain: &[UNIT, REAL],
    vjp: |g, v| {
        let [p, y] = [v.inputs[0], v.inputs[1]];
        let dp = g.bce_backward(v.cotangent, p, y)?;
        let logit = g.bce_logit(p)?;
        let dy = g.mul(v.cotangent, logit)?;
        Ok(vec![Cotangent::Node(dp), Cotangent::Node(dy)])
    },
    formula: "-({1} * log({0}) + (1 - {1}) * log(1 - {0}))",
    derivatives: &[
        "({0} - {1}) / max({0} * (1 - {0}), 1e-12)",
        "log(1 - {0}) - log({0})",
    ],
};

static BACKWARD: Row = Row {
    name: "bce_backward",
    inputs: &["g", "p", "y"],
    source: SOURCE,
    libs: LIBS,
    eval: |x, _| x[0] * (x[1] - x[2]) / spread(x[1]),
    magnitude: |x, _| x[0] * (x[1] - x[2]) / spread(x[1]),
    ulps: 5.0,
    domain: &[REAL, UNIT, REAL],
    vjp: |g, v| {
        let [up, p, y] = [v.inputs[0], v.inputs[1], v.inputs[2]];
        let dg = g.bce_backward(v.cotangent, p, y)?;
        let cg = g.mul(v.cotangent, up)?;
        let slope = g.bce_slope(cg, p)?;
        let diff = g.sub(p, y)?;
        let cgd = g.mul(cg, diff)?;
        let bend = g.bce_slope_backward(cgd, p)?;
        let dp = g.add(slope, bend)?;
        let dy = g.neg(slope)?;
        Ok(vec![
            Cotangent::Node(dg),
            Cotangent::Node(dp),
            Cotangent::Node(dy),
        ])
    },
    formula: "{0} * ({1} - {2}) / max({1} * (1 - {1}), 1e-12)",
    derivatives: &[
        "({1} - {2}) / ({1} * (1 - {1}))",
        "{0} * ({1}^2 - 2 * {1} * {2} + {2}) / ({1} * (1 - {1}))^2",
        "-{0} / ({1} * (1 - {1}))",
    ],
};

// The derivative of bce by its target: that of the clamped formula itself.
static LOGIT: Row = Row {
    name: "bce_logit",
    inputs: &["p"],
    source: SOURCE,
    libs: LIBS,
    eval: |x, _| {
        if !x[0].is_finite() {
            return f64::NAN;
        }
        clamped_log1p_neg(x[0]) - clamped_log(x[0])
    },
    magnitude: |x, _| clamped_log1p_neg(x[0]).abs() + clamped_log(x[0]).abs(),
    ulps: 2.5,
    domain: &[UNIT],
    vjp: |g, v| {
        let slope = g.bce_slope(v.cotangent, v.inputs[0])?;
        Ok(vec![Cotangent::Node(g.neg(slope)?)])
    },
    formula: "log(1 - {0}) - log({0})",
    derivatives: &["-1 / ({0} * (1 - {0}))"],
};

static SLOPE: Row = Row {
    name: "bce_slope",
    inputs: &["g", "p"],
    source: SOURCE,
    libs: LIBS,
    eval: |x, _| x[0] / spread(x[1]),
    magnitude: |x, _| x[0] / spread(x[1]),
    ulps: 4.0,
    domain: &[REAL, UNIT],
    vjp: |g, v| {
        let dg = g.bce_slope(v.cotangent, v.inputs[1])?;
        let cg = g.mul(v.cotangent, v.inputs[0])?;
        let dp = g.bce_slope_backward(cg, v.inputs[1])?;
        Ok(vec![Cotangent::Node(dg), Cotangent::Node(dp)])
    },
    formula: "{0} / max({1} * (1 - {1}), 1e-12)",
    derivatives: &[
        "1 / ({1} * (1 - {1}))",
        "-{0} * (1 - 2 * {1}) / ({1} * (1 - {1}))^2",
    ],
};

// Where the clamp holds, the denominator is constant: the derivative is 0.
static SLOPE_BACKWARD: Row = Row {
    name: "bce_slope_backward",
    inputs: &["g", "p"],
    source: SOURCE,
    libs: LIBS,
    eval: |x, _| {
        let [g, p] = [x[0], x[1]];
        if (1.0 - p) * p < EPSILON {
            return 0.0;
        }
        -g * (1.0 - 2.0 * p) / (spread(p) * spread(p))
    },
    // 1 - 2p cancels near p = 1/2: its rounding is relative to 1.
    magnitude: |x, _| x[0] / (spread(x[1]) * spread(x[1])),
    ulps: 8.0,
    domain: &[REAL, UNIT],
    vjp: |g, v| {
        let dg = g.bce_slope_backward(v.cotangent, v.inputs[1])?;
        Ok(vec![
            Cotangent::Node(dg),
            Cotangent::Missing("the third derivative of bce by its input has no rule"),
        ])
    },
    formula: "-{0} * (1 - 2 * {1}) / ({1} * (1 - {1}))^2",
    derivatives: &["-(1 - 2 * {1}) / ({1} * (1 - {1}))^2", "no rule"],
};

impl Graph {
    /// `-(y log p + (1 - y) log(1 - p))` element by element, each log at least
    /// -100: PyTorch's `BCELoss(reduction='none')`. `p` must lie in [0, 1].
    pub fn bce(&mut self, p: NodeId, y: NodeId) -> Result<NodeId> {
        self.apply(Map::new(&BCE), &[p, y])
    }

    /// The cotangent of `bce`'s input: `g (p - y) / max(p (1 - p), 1e-12)`,
    /// PyTorch's `binary_cross_entropy_backward`.
    pub fn bce_backward(&mut self, g: NodeId, p: NodeId, y: NodeId) -> Result<NodeId> {
        self.apply(Map::new(&BACKWARD), &[g, p, y])
    }

    /// `log(1 - p) - log(p)`, each log at least -100: the derivative of `bce`
    /// by its target. (PyTorch's own rule for it has no clamp: infinite at 0
    /// and 1, where this gives 100 and -100.)
    pub fn bce_logit(&mut self, p: NodeId) -> Result<NodeId> {
        self.apply(Map::new(&LOGIT), &[p])
    }

    /// `g / max(p (1 - p), 1e-12)`.
    pub fn bce_slope(&mut self, g: NodeId, p: NodeId) -> Result<NodeId> {
        self.apply(Map::new(&SLOPE), &[g, p])
    }

    /// The cotangent of `bce_slope`'s `p`, given the product of `g` with the
    /// cotangent of its output.
    pub fn bce_slope_backward(&mut self, g: NodeId, p: NodeId) -> Result<NodeId> {
        self.apply(Map::new(&SLOPE_BACKWARD), &[g, p])
    }
}

fn samples() -> Vec<Sample> {
    type Binary = fn(&mut Graph, NodeId, NodeId) -> Result<NodeId>;
    let g_edge = vec![1.0, -2.0, 0.0, 1.7e-3];
    // 2^-30 has p (1 - p) well above the clamp, 1e-13 below it.
    let p_edge = vec![
        0.0,
        1.0,
        0.5,
        1e-13,
        9.313_226e-10,
        0.999_999_94,
        1e-38,
        3e-40,
    ];
    let y_edge = vec![0.0, 1.0];
    let p_range = (0.05, 0.95);
    let mut all = Vec::new();
    for shapes in shapes_for(2) {
        all.push(Sample {
            build: Box::new(|g, x| g.bce(x[0], x[1])),
            shapes: shapes.clone(),
            ranges: vec![p_range, (0.0, 1.0)],
            edges: vec![p_edge.clone(), y_edge.clone()],
        });
        let more: [Binary; 2] = [Graph::bce_slope, Graph::bce_slope_backward];
        for op in more {
            all.push(Sample {
                build: Box::new(move |g, x| op(g, x[0], x[1])),
                shapes: shapes.clone(),
                ranges: vec![(-2.0, 2.0), p_range],
                edges: vec![g_edge.clone(), p_edge.clone()],
            });
        }
    }
    for shapes in shapes_for(3) {
        all.push(Sample {
            build: Box::new(|g, x| g.bce_backward(x[0], x[1], x[2])),
            shapes,
            ranges: vec![(-2.0, 2.0), p_range, (0.0, 1.0)],
            edges: vec![g_edge.clone(), p_edge.clone(), y_edge.clone()],
        });
    }
    for shapes in shapes_for(1) {
        all.push(Sample {
            build: Box::new(|g, x| g.bce_logit(x[0])),
            shapes,
            ranges: vec![p_range],
            edges: vec![p_edge.clone()],
        });
    }
    all
}
