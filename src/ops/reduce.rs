//! `sum` and `mean` over axes, in a fixed order: the same bits on every run.
//!
//! A long sum is taken in passes. Each pass cuts it into chunks and adds each
//! chunk in a fixed tree, until one value is left; so the error grows with the
//! depth of the tree and not with the number of terms, and no invocation loops
//! for long (some drivers stop a loop after 65,535 turns without a word).

mod passes;

use std::fmt;
use std::sync::Arc;

use ndarray::{ArrayD, ArrayViewD, Axis};

use super::Family;
use super::map::{FLUSH, ULP, expect_inputs};
use crate::error::{Result, ShapeError};
use crate::graph::{
    Bounded, Cotangent, Graph, Lowering, Meaning, NodeId, Op, Operand, Rule, Sample, Target, Values,
};
use crate::number;
use crate::shape::Shape;

pub(crate) use passes::{depth, merge, strides, sum_calls};

const SOURCE: &str = include_str!("../../shaders/reduce.wgsl");

/// This file's ops.
pub static FAMILY: Family = Family {
    name: "reduce",
    ops: &["sum", "mean"],
    source: SOURCE,
    samples,
};

/// What a sum is divided by.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Divisor {
    /// Nothing: a sum.
    One,
    /// The number of its terms: a mean.
    Terms,
    /// This number: the part that some terms have in a mean of so many.
    Number(usize),
}

/// `sum[axes=..]`, `mean[axes=..]` or `mean[axes=.., of=N]`; the axes are removed
/// from the shape.
#[derive(Clone, Debug)]
struct Reduce {
    divisor: Divisor,
    /// Ascending, without repetition.
    axes: Vec<usize>,
}

impl fmt::Display for Reduce {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (name, axes) = (self.name(), &self.axes);
        match self.divisor {
            Divisor::Number(n) => write!(f, "{name}[axes={axes:?}, of={n}]"),
            _ => write!(f, "{name}[axes={axes:?}]"),
        }
    }
}

impl Reduce {
    fn count(&self, dims: &[usize]) -> usize {
        self.axes.iter().map(|&a| dims[a]).product()
    }

    /// What the sum over a tensor of shape `dims` is divided by; `None` for a sum.
    fn divisor(&self, dims: &[usize]) -> Option<usize> {
        match self.divisor {
            Divisor::One => None,
            Divisor::Terms => Some(self.count(dims)),
            Divisor::Number(n) => Some(n),
        }
    }
}

/// The part that the terms along `axes` have in the mean of `of` terms, as an op.
pub(crate) fn mean_by(axes: &[usize], of: usize) -> Arc<dyn Op> {
    Arc::new(Reduce {
        divisor: Divisor::Number(of),
        axes: axes.to_vec(),
    })
}

fn sum_axes(array: &ArrayViewD<'_, f64>, axes: &[usize]) -> ArrayD<f64> {
    let mut result = array.to_owned();
    for &axis in axes.iter().rev() {
        result = result.sum_axis(Axis(axis));
    }
    result
}

impl Op for Reduce {
    fn name(&self) -> &'static str {
        match self.divisor {
            Divisor::One => "sum",
            Divisor::Terms | Divisor::Number(_) => "mean",
        }
    }

    fn infer(&self, inputs: &[&Shape]) -> Result<Shape, ShapeError> {
        expect_inputs(self.name(), inputs, 1)?;
        let rank = inputs[0].rank();
        for (i, &axis) in self.axes.iter().enumerate() {
            if axis >= rank || self.axes[..i].contains(&axis) {
                let allowed = match rank {
                    0 => "a scalar has no axis to name: give none".to_string(),
                    _ => format!("each must be below {rank} and named once"),
                };
                let reason = format!("axes {:?} of {}: {allowed}", self.axes, inputs[0]);
                return Err(ShapeError::new(self.name(), reason));
            }
        }
        if self.divisor == Divisor::Number(0) {
            let reason = "there is no mean of 0 terms of which these are a part; give their number";
            return Err(ShapeError::new(self.name(), reason));
        }
        let kept = (0..rank).filter(|axis| !self.axes.contains(axis));
        let dims: Vec<_> = kept.map(|axis| inputs[0].dims()[axis]).collect();
        Shape::new(&dims)
    }

    fn eval(&self, inputs: &[ArrayViewD<'_, f64>]) -> ArrayD<f64> {
        let sum = sum_axes(&inputs[0], &self.axes);
        match self.divisor(inputs[0].shape()) {
            Some(divisor) => sum / divisor as f64,
            None => sum,
        }
    }

    fn error(&self, inputs: &[Bounded<'_>], output: &ArrayD<f64>) -> ArrayD<f64> {
        let n = self.count(inputs[0].value.shape());
        let carried = sum_axes(&inputs[0].error.view(), &self.axes);
        let sizes = inputs[0].value.mapv(f64::abs);
        let sizes = sum_axes(&sizes.view(), &self.axes) + &carried;
        let rounding = depth(n) as f64 * ULP / 2.0;
        let mut error = carried + sizes * rounding;
        if let Some(divisor) = self.divisor(inputs[0].value.shape()).filter(|&d| d > 0) {
            // The division: 2.5 ULP is all that WGSL promises. A divisor above 2^24
            // may itself be rounded.
            let by = divisor as f64;
            let rounded = (f64::from(divisor as f32) / by - 1.0).abs();
            error = error / by + output.mapv(f64::abs) * (2.5 * ULP + 2.0 * rounded);
        }
        error + FLUSH
    }

    fn vjp(&self, g: &mut Graph, node: NodeId, cotangent: NodeId) -> Result<Vec<Cotangent>> {
        let input = g.node(node)?.inputs[0];
        let shape = g.shape(input)?.clone();
        let mut up = cotangent;
        if let Some(divisor) = self.divisor(shape.dims()).filter(|&d| d != 1) {
            up = g.scale(up, 1.0 / divisor as f64)?;
        }
        let mut keep = shape.dims().to_vec();
        for &axis in &self.axes {
            keep[axis] = 1;
        }
        let up = g.reshape(up, &keep)?;
        Ok(vec![Cotangent::Node(g.expand(up, shape.dims())?)])
    }

    fn lower(&self, inputs: &[&Shape], _output: &Shape, target: &Target) -> Lowering {
        let dims = inputs[0].dims();
        let divisor = self.divisor(dims).unwrap_or(1);
        let (scratch, calls) = sum_calls(
            dims,
            &self.axes,
            divisor,
            [Operand::Input(0), Operand::Output],
            0,
            target,
        );
        Lowering::Calls {
            scratch,
            calls,
            meaning: Meaning::Sum {
                axes: self.axes.clone(),
                divisor,
            },
        }
    }

    fn explain(&self) -> Rule {
        let axes: Vec<_> = self.axes.iter().map(|a| a.to_string()).collect();
        let over = axes.join(", ");
        let (formula, derivative) = match self.divisor {
            Divisor::One => (format!("sum of {{0}} over axis {over}"), "1".to_string()),
            Divisor::Terms => (
                format!("mean of {{0}} over axis {over}"),
                "1 / N".to_string(),
            ),
            Divisor::Number(n) => (
                format!("sum of {{0}} over axis {over} / {n}"),
                format!("1 / {n}"),
            ),
        };
        let is_itself = self.axes.is_empty() && !matches!(self.divisor, Divisor::Number(_));
        Rule {
            formula: if is_itself {
                "{0}".to_string()
            } else {
                formula
            },
            derivatives: vec![derivative],
        }
    }

    fn substitute(&self, inputs: &[Values<'_>], index: &[usize]) -> String {
        let mut view = inputs[0].view();
        let mut at = index.iter();
        // Fix the kept axes, from the last to the first so that the numbers of
        // those before stay what they are.
        let kept: Vec<_> = (0..view.ndim())
            .filter(|a| !self.axes.contains(a))
            .collect();
        let places: Vec<_> = kept
            .iter()
            .filter_map(|&a| at.next().map(|&i| (a, i)))
            .collect();
        for &(axis, i) in places.iter().rev() {
            if i >= view.shape()[axis] {
                return String::new();
            }
            view = view.index_axis_move(Axis(axis), i);
        }
        let values: Vec<f32> = view.iter().copied().collect();
        let sum = number::show_sum(values.iter().map(|&v| number::show(v)));
        match (self.divisor, values.len()) {
            (Divisor::One, _) | (Divisor::Terms, 1) => sum,
            (Divisor::Terms, n) | (Divisor::Number(n), _) => format!("({sum}) / {n}"),
        }
    }
}

impl Graph {
    /// The sum over `axes`, which are removed from the shape.
    pub fn sum(&mut self, x: NodeId, axes: &[usize]) -> Result<NodeId> {
        self.reduce(x, axes, Divisor::One)
    }

    /// The mean over `axes`, which are removed from the shape; NaN over
    /// nothing, as in PyTorch.
    pub fn mean(&mut self, x: NodeId, axes: &[usize]) -> Result<NodeId> {
        self.reduce(x, axes, Divisor::Terms)
    }

    /// The sum over `axes`, divided by `of`: the part that these terms have in a
    /// mean of `of` terms, of which a graph has only some.
    ///
    /// # Errors
    /// [`Error::Shape`](crate::Error::Shape) for axes that are not there, and for
    /// `of` 0.
    pub fn mean_of(&mut self, x: NodeId, axes: &[usize], of: usize) -> Result<NodeId> {
        self.reduce(x, axes, Divisor::Number(of))
    }

    /// The sum of all elements, a scalar.
    pub fn sum_all(&mut self, x: NodeId) -> Result<NodeId> {
        let axes: Vec<_> = (0..self.operand("sum_all", x)?.rank()).collect();
        self.sum(x, &axes)
    }

    /// The mean of all elements, a scalar.
    pub fn mean_all(&mut self, x: NodeId) -> Result<NodeId> {
        let axes: Vec<_> = (0..self.operand("mean_all", x)?.rank()).collect();
        self.mean(x, &axes)
    }

    fn reduce(&mut self, x: NodeId, axes: &[usize], divisor: Divisor) -> Result<NodeId> {
        let mut axes = axes.to_vec();
        axes.sort_unstable();
        self.apply(Reduce { divisor, axes }, &[x])
    }
}

fn samples() -> Vec<Sample> {
    let cases: [(&[usize], &'static [usize]); 20] = [
        (&[], &[]),
        (&[1], &[0]),
        (&[7], &[0]),
        (&[3, 5], &[0]),
        (&[3, 5], &[1]),
        (&[3, 5], &[0, 1]),
        (&[2, 3, 5], &[1]),
        (&[2, 3, 4, 5], &[0, 2]),
        (&[0, 3], &[0]),
        (&[3, 0], &[0]),
        (&[2049], &[0]),
        (&[257, 65], &[0]),
        (&[5, 2047], &[1]),
        (&[70_001], &[0]),
        // In fours along the terms or the outputs, with and without a second
        // pass.
        (&[8, 20], &[1]),
        (&[300, 12], &[0]),
        (&[2, 4100], &[1]),
        (&[4100, 8], &[0]),
        (&[3, 4, 5, 8], &[1, 3]),
        (&[3, 4, 5, 8], &[0, 2]),
    ];
    let mut all = Vec::new();
    for (divisor, cases) in [
        (Divisor::One, &cases[..]),
        (Divisor::Terms, &cases[..]),
        (Divisor::Number(100_001), &cases[2..8]),
    ] {
        for &(dims, axes) in cases {
            all.push(Sample {
                build: Box::new(move |g, x| g.reduce(x[0], axes, divisor)),
                shapes: vec![dims.to_vec()],
                ranges: vec![(-1.0, 1.0)],
                edges: vec![vec![1.0, -1.0, 1e20, -1e20, 0.5]],
            });
        }
    }
    all
}
