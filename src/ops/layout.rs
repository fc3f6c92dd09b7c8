//! Ops that compute nothing: `reshape` (the same data under another shape) and
//! `expand` (a tensor repeated along broadcast axes).

use std::fmt;
use std::sync::Arc;

use ndarray::{ArrayD, ArrayViewD, IxDyn};

use super::Family;
use super::map::{broadcast_element, expect_inputs};
use crate::error::{Result, ShapeError};
use crate::graph::{
    Bounded, Cotangent, Graph, Lowering, MapCall, NodeId, Op, Rule, Sample, Target, Values,
};
use crate::number;
use crate::shape::Shape;

const SOURCE: &str = include_str!("../../shaders/layout.wgsl");

/// This file's ops.
pub static FAMILY: Family = Family {
    name: "layout",
    ops: &["reshape", "expand"],
    source: SOURCE,
    samples,
};

/// The rule, for those who broke it.
const BROADCAST: &str =
    "aligned at the last axis, each size must be 1 or the one there, and no axis may be left over";

/// `reshape[shape=..]`: row-major order kept, no data moved.
#[derive(Clone, Debug)]
struct Reshape {
    to: Shape,
}

/// `expand[shape=..]`: broadcast to a shape.
#[derive(Clone, Debug)]
struct Expand {
    to: Shape,
}

impl fmt::Display for Reshape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "reshape[shape={}]", self.to)
    }
}

impl fmt::Display for Expand {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "expand[shape={}]", self.to)
    }
}

/// `reshape` to this shape, as an op.
pub(crate) fn reshape_to(to: &Shape) -> Arc<dyn Op> {
    Arc::new(Reshape { to: to.clone() })
}

/// `expand` to this shape, as an op.
pub(crate) fn expand_to(to: &Shape) -> Arc<dyn Op> {
    Arc::new(Expand { to: to.clone() })
}

fn reshaped<T: Clone>(array: &ArrayViewD<'_, T>, to: &Shape) -> ArrayD<T> {
    let values: Vec<T> = array.iter().cloned().collect();
    // `infer` has made sure that the counts agree.
    ArrayD::from_shape_vec(IxDyn(to.dims()), values).expect("as many elements as before")
}

fn expanded(array: &ArrayViewD<'_, f64>, to: &Shape) -> ArrayD<f64> {
    // `infer` has made sure that the shapes broadcast.
    let view = array.broadcast(IxDyn(to.dims()));
    view.expect("broadcasts, as inferred").to_owned()
}

impl Op for Reshape {
    fn name(&self) -> &'static str {
        "reshape"
    }

    fn infer(&self, inputs: &[&Shape]) -> Result<Shape, ShapeError> {
        expect_inputs("reshape", inputs, 1)?;
        if inputs[0].numel() != self.to.numel() {
            let reason = format!(
                "{} has {} elements, {} has {}; give sizes whose product is {}",
                inputs[0],
                inputs[0].numel(),
                self.to,
                self.to.numel(),
                inputs[0].numel()
            );
            return Err(ShapeError::new("reshape", reason));
        }
        Ok(self.to.clone())
    }

    fn eval(&self, inputs: &[ArrayViewD<'_, f64>]) -> ArrayD<f64> {
        reshaped(&inputs[0], &self.to)
    }

    fn error(&self, inputs: &[Bounded<'_>], _output: &ArrayD<f64>) -> ArrayD<f64> {
        reshaped(&inputs[0].error, &self.to)
    }

    fn vjp(&self, g: &mut Graph, node: NodeId, cotangent: NodeId) -> Result<Vec<Cotangent>> {
        let input = g.node(node)?.inputs[0];
        let shape = g.shape(input)?.clone();
        Ok(vec![Cotangent::Node(g.reshape(cotangent, shape.dims())?)])
    }

    fn lower(&self, _inputs: &[&Shape], _output: &Shape, _target: &Target) -> Lowering {
        Lowering::View
    }

    fn explain(&self) -> Rule {
        Rule {
            formula: format!("{{0}} as {}", self.to),
            derivatives: vec!["1".to_string()],
        }
    }

    fn substitute(&self, inputs: &[Values<'_>], index: &[usize]) -> String {
        let strides = self.to.strides();
        let place: usize = index.iter().zip(&strides).map(|(i, s)| i * s).sum();
        let value = inputs[0].iter().nth(place).copied().unwrap_or(f32::NAN);
        number::show(value)
    }
}

impl Op for Expand {
    fn name(&self) -> &'static str {
        "expand"
    }

    fn infer(&self, inputs: &[&Shape]) -> Result<Shape, ShapeError> {
        expect_inputs("expand", inputs, 1)?;
        if inputs[0].strides_as(&self.to).is_none() {
            let reason = format!(
                "{} does not broadcast to {}; {BROADCAST}",
                inputs[0], self.to
            );
            return Err(ShapeError::new("expand", reason));
        }
        Ok(self.to.clone())
    }

    fn eval(&self, inputs: &[ArrayViewD<'_, f64>]) -> ArrayD<f64> {
        expanded(&inputs[0], &self.to)
    }

    fn error(&self, inputs: &[Bounded<'_>], _output: &ArrayD<f64>) -> ArrayD<f64> {
        expanded(&inputs[0].error, &self.to)
    }

    fn vjp(&self, g: &mut Graph, node: NodeId, cotangent: NodeId) -> Result<Vec<Cotangent>> {
        let input = g.node(node)?.inputs[0];
        let shape = g.shape(input)?.clone();
        Ok(vec![Cotangent::Node(g.sum_to(cotangent, &shape)?)])
    }

    fn lower(&self, _inputs: &[&Shape], _output: &Shape, _target: &Target) -> Lowering {
        Lowering::Map(MapCall {
            function: "expand",
            source: SOURCE,
            libs: &[],
            constant: None,
            exact: true,
        })
    }

    fn explain(&self) -> Rule {
        Rule {
            formula: format!("{{0}} repeated to {}", self.to),
            derivatives: vec!["1".to_string()],
        }
    }

    fn substitute(&self, inputs: &[Values<'_>], index: &[usize]) -> String {
        number::show(broadcast_element(&inputs[0], index))
    }
}

impl Graph {
    /// The same elements, row-major, under another shape. No data moves.
    pub fn reshape(&mut self, x: NodeId, dims: &[usize]) -> Result<NodeId> {
        let own = self.operand("reshape", x)?;
        let to = match Shape::new(dims) {
            Ok(to) => to,
            Err(e) => return Err(self.misfit("reshape", e.reason, x)?),
        };
        if *own == to {
            return Ok(x);
        }
        self.apply(Reshape { to }, &[x])
    }

    /// `x` repeated along broadcast axes to shape `dims` (PyTorch's `expand`).
    pub fn expand(&mut self, x: NodeId, dims: &[usize]) -> Result<NodeId> {
        let own = self.operand("expand", x)?;
        let to = match Shape::new(dims) {
            Ok(to) => to,
            Err(e) => return Err(self.misfit("expand", e.reason, x)?),
        };
        if *own == to {
            return Ok(x);
        }
        self.apply(Expand { to }, &[x])
    }

    /// The adjoint of broadcasting: `x` summed over the axes along which a
    /// tensor of `shape` was repeated, with the shape `shape`.
    pub fn sum_to(&mut self, x: NodeId, shape: &Shape) -> Result<NodeId> {
        let from = self.operand("sum_to", x)?.clone();
        if from == *shape {
            return Ok(x);
        }
        if shape.strides_as(&from).is_none() {
            let reason = format!("{shape} does not broadcast to {from}; {BROADCAST}");
            return Err(self.misfit("sum_to", reason, x)?);
        }
        let axes = shape.broadcast_axes(&from);
        let summed = self.sum(x, &axes)?;
        self.reshape(summed, shape.dims())
    }
}

fn samples() -> Vec<Sample> {
    type Shapes<'a> = (&'a [usize], &'static [usize]);
    let reshapes: [Shapes<'_>; 4] = [
        (&[6], &[2, 3]),
        (&[1, 1], &[]),
        (&[3, 5], &[5, 1, 3]),
        (&[2, 0], &[0, 7]),
    ];
    let expands: [Shapes<'_>; 5] = [
        (&[], &[3, 2]),
        (&[1], &[7]),
        (&[5, 1], &[5, 3]),
        (&[3, 1, 2], &[2, 3, 5, 2]),
        (&[1, 3], &[0, 3]),
    ];
    let mut all = Vec::new();
    for (from, to) in reshapes {
        all.push(Sample {
            build: Box::new(move |g, x| g.reshape(x[0], to)),
            shapes: vec![from.to_vec()],
            ranges: vec![(-2.0, 2.0)],
            edges: vec![vec![f32::NAN, 1.0]],
        });
    }
    for (from, to) in expands {
        all.push(Sample {
            build: Box::new(move |g, x| g.expand(x[0], to)),
            shapes: vec![from.to_vec()],
            ranges: vec![(-2.0, 2.0)],
            edges: vec![vec![f32::NAN, 1.0]],
        });
    }
    all
}
