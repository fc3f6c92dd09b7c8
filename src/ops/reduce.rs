//! `sum` and `mean` over axes, in a fixed order: the same bits on every run.
//!
//! A long sum is taken in passes. Each pass cuts it into chunks and adds each
//! chunk in a fixed tree, until one value is left; so the error grows with the
//! depth of the tree and not with the number of terms, and no invocation loops
//! for long (some drivers stop a loop after 65,535 turns without a word).

use std::fmt;
use std::sync::Arc;

use ndarray::{ArrayD, ArrayViewD, Axis};

use super::Family;
use super::map::{FLUSH, ULP, expect_inputs};
use super::shader_lib::{EPILOGUE, GRID, SUMS};
use crate::error::{Result, ShapeError};
use crate::graph::{
    Bounded, Call, Cotangent, Graph, Kernel, Lowering, Meaning, NodeId, Op, Operand, Rule, Sample,
    Target, Values,
};
use crate::number;
use crate::shape::{MAX_RANK, Shape};

const SOURCE: &str = include_str!("../../shaders/reduce.wgsl");
const FOURS: &str = include_str!("../../shaders/reduce_fours.wgsl");

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

/// Terms that one workgroup (`sum_tree`) or one invocation (`sum_serial`) adds
/// in a pass. The shader has the same numbers.
const TREE_CHUNK: usize = 2048;
const SERIAL_CHUNK: usize = 256;
const WORKGROUP: usize = 64;

/// Terms that an invocation of `sum_rows` and `sum_columns` adds at most, and
/// invocations of their workgroups.
const LONG_CHUNK: usize = 4096;
const FOURS_WORKGROUP: u64 = 16;
/// Elements that one core has added by the time that a second pass takes.
const SMALL_SUM: usize = 8192;

/// The longest path from a term to the result, in additions, for any of the
/// ways in which `n` terms are added: 32 in a row and 6 levels of a tree, or
/// 16 blocks of 16, in each pass. Up to 4,096 terms in fours are 16 sums of 16
/// blocks of 16: 48 additions, in place of two such passes (tested).
pub(crate) fn depth(n: usize) -> usize {
    let mut depth = 0;
    let mut left = n;
    while left > 1 {
        depth += 38;
        left = left.div_ceil(SERIAL_CHUNK);
    }
    depth.min(n.saturating_sub(1))
}

/// The calls that sum a contiguous row-major tensor of shape `dims` over
/// `axes`, dividing by `divisor`.
pub(crate) fn sum_calls(
    dims: &[usize],
    axes: &[usize],
    divisor: usize,
    [from, to]: [Operand; 2],
    first_scratch: usize,
    target: &Target,
) -> (Vec<usize>, Vec<Call>) {
    let all = strides(dims);
    let split = |wanted: bool| -> Vec<(usize, usize)> {
        let list = (0..dims.len())
            .filter(|axis| axes.contains(axis) == wanted)
            .map(|axis| (dims[axis], all[axis]));
        merge(list.collect())
    };
    let mut kept = split(false);
    let mut reduced = split(true);
    let outputs: usize = kept.iter().map(|d| d.0).product();
    let mut terms: usize = reduced.iter().map(|d| d.0).product();
    let mut scratch = Vec::new();
    let mut calls = Vec::new();
    let mut input = from;
    loop {
        let way = Way::of(&kept, &reduced, target);
        let chunk = way.chunk(outputs, terms);
        let chunks = terms.div_ceil(chunk).max(1);
        let last = chunks == 1;
        let output = if last {
            to
        } else {
            scratch.push(chunks * outputs);
            Operand::Scratch(first_scratch + scratch.len() - 1)
        };
        calls.push(Call {
            kernel: way.kernel(chunk),
            params: params(
                &kept,
                &reduced,
                outputs,
                terms,
                chunks,
                if last { divisor } else { 1 },
            ),
            inputs: vec![input],
            output,
            workgroups: way.workgroups(outputs as u64 * chunks as u64),
            epilogue: last,
        });
        if last {
            return (scratch, calls);
        }
        // The partial sums lie as [chunks, outputs].
        input = output;
        terms = chunks;
        kept = merge(vec![(outputs, 1)]);
        reduced = merge(vec![(chunks, outputs)]);
    }
}

/// How one pass adds: a kernel of shaders/reduce.wgsl or reduce_fours.wgsl.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Way {
    /// A workgroup a chunk.
    Tree,
    /// An invocation a chunk.
    Serial,
    /// An invocation a chunk, four terms at a time.
    Rows,
    /// An invocation a chunk of four outputs.
    Columns,
}

impl Way {
    /// Neighbouring invocations should read neighbouring elements: along the
    /// terms if these are contiguous (a tree), else along the outputs. A driver
    /// in software reads for each invocation by itself, and best in fours.
    fn of(kept: &[(usize, usize)], reduced: &[(usize, usize)], target: &Target) -> Way {
        let product = |axes: &[(usize, usize)]| axes.iter().map(|d| d.0).product::<usize>();
        let (outputs, terms) = (product(kept), product(reduced));
        let contiguous = |axes: &[(usize, usize)]| axes.last().is_some_and(|d| d.1 == 1);
        let fours = kept.iter().chain(reduced).all(|&(size, stride)| {
            let step = if stride == 1 { size } else { stride };
            step.is_multiple_of(4)
        });
        if target.software && fours && contiguous(reduced) {
            return Way::Rows;
        }
        if target.software && fours && contiguous(kept) {
            return Way::Columns;
        }
        let many = outputs >= WORKGROUP;
        if terms <= 16 || (many && (contiguous(kept) || target.software)) {
            Way::Serial
        } else {
            Way::Tree
        }
    }

    /// The terms that are added in one piece.
    fn chunk(self, outputs: usize, terms: usize) -> usize {
        let jobs = |outputs: usize| outputs * terms.div_ceil(LONG_CHUNK);
        match self {
            Way::Tree => TREE_CHUNK,
            Way::Serial => SERIAL_CHUNK,
            // Long, unless that leaves cores idle over a sum that is worth it.
            Way::Rows | Way::Columns => {
                let each = if self == Way::Columns { 4 } else { 1 };
                let idle = jobs(outputs / each) < WORKGROUP;
                if idle && outputs * terms > SMALL_SUM {
                    SERIAL_CHUNK
                } else {
                    LONG_CHUNK
                }
            }
        }
    }

    /// Workgroups for so many chunks.
    fn workgroups(self, chunks: u64) -> u64 {
        match self {
            Way::Tree => chunks,
            Way::Serial => chunks.div_ceil(WORKGROUP as u64),
            Way::Rows => chunks.div_ceil(FOURS_WORKGROUP),
            Way::Columns => (chunks / 4).div_ceil(FOURS_WORKGROUP),
        }
    }

    fn kernel(self, chunk: usize) -> Kernel {
        let rows = self == Way::Rows;
        let settings = vec![
            ("ROWS", u32::from(rows)),
            ("CHUNK", chunk as u32),
            ("TERMS", if rows { 4 } else { 1 }),
        ];
        let (entry, source) = match self {
            Way::Tree => ("sum_tree", SOURCE),
            Way::Serial => ("sum_serial", SOURCE),
            Way::Rows => ("sum_rows", FOURS),
            Way::Columns => ("sum_columns", FOURS),
        };
        Kernel {
            entry,
            source,
            libs: &[GRID, EPILOGUE, SUMS],
            settings,
            images: Vec::new(),
        }
    }
}

/// Strides of a contiguous row-major tensor.
pub(crate) fn strides(dims: &[usize]) -> Vec<usize> {
    let mut strides = vec![1; dims.len()];
    for i in (1..dims.len()).rev() {
        strides[i - 1] = strides[i] * dims[i].max(1);
    }
    strides
}

/// Axes as (size, stride) with sizes of 1 dropped and neighbours merged that
/// are contiguous with each other.
pub(crate) fn merge(axes: Vec<(usize, usize)>) -> Vec<(usize, usize)> {
    let mut merged: Vec<(usize, usize)> = Vec::new();
    for (size, stride) in axes.into_iter().filter(|a| a.0 != 1) {
        match merged.last_mut() {
            Some(outer) if outer.1 == size * stride => *outer = (outer.0 * size, stride),
            _ => merged.push((size, stride)),
        }
    }
    merged
}

/// The words of `Params` in `shaders/reduce.wgsl`.
fn params(
    kept: &[(usize, usize)],
    reduced: &[(usize, usize)],
    outputs: usize,
    terms: usize,
    chunks: usize,
    divisor: usize,
) -> Vec<u32> {
    let mut words = vec![
        outputs as u32,
        terms as u32,
        chunks as u32,
        divisor as u32,
        kept.len() as u32,
        reduced.len() as u32,
        // A mean of nothing is NaN. The bits travel as data, since a compiler
        // may assume that its own arithmetic makes no NaN.
        f32::NAN.to_bits(),
        0,
    ];
    for axes in [kept, reduced] {
        for part in [|a: &(usize, usize)| a.0, |a: &(usize, usize)| a.1] {
            let mut list: Vec<u32> = axes.iter().map(|a| part(a) as u32).collect();
            list.resize(MAX_RANK, 0);
            words.extend(list);
        }
    }
    words
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

#[cfg(test)]
mod tests {
    use super::*;

    /// The longest path through a loop that adds `n` terms in groups of `sizes`,
    /// each group's sum to the next: the first of each is added to 0.
    fn nested(n: usize, sizes: &[usize]) -> usize {
        match sizes {
            [] => n.saturating_sub(1),
            [size, rest @ ..] => n.min(*size).saturating_sub(1) + nested(n.div_ceil(*size), rest),
        }
    }

    /// The longest path of a call, and the terms that it leaves.
    fn path(call: &Call) -> (usize, usize) {
        let (terms, chunks) = (call.params[1] as usize, call.params[2] as usize);
        let settings = &call.kernel.settings;
        let chunk = settings.iter().find(|s| s.0 == "CHUNK").map_or(0, |s| s.1) as usize;
        let most = terms.min(chunk);
        let path = match call.kernel.entry {
            "sum_rows" => nested(most.div_ceil(4), &[16, 16]) + 2,
            "sum_columns" => nested(most, &[16, 16]),
            "sum_serial" => nested(most, &[16]),
            _ => nested(most.div_ceil(WORKGROUP), &[]) + most.min(WORKGROUP).ilog2() as usize + 1,
        };
        (path, chunks)
    }

    /// The bound knows no target and no layout, so it must hold for all.
    #[test]
    fn no_way_of_adding_is_deeper_than_the_bound() {
        let mut ways = Vec::new();
        for software in [false, true] {
            let target = Target {
                software,
                ..Target::default()
            };
            for n in (2..600).chain([1024, 4096, 4097, 4100, 65_536, 65_540, 1 << 20, 1 << 26]) {
                for (dims, axis) in [
                    (vec![n], 0),
                    (vec![n, 3], 0),
                    (vec![n, 8], 0),
                    (vec![n, 1024], 0),
                    (vec![8, n], 1),
                    (vec![100, n], 1),
                    (vec![4096, n], 1),
                ] {
                    let ends = [Operand::Input(0), Operand::Output];
                    let (_, calls) = sum_calls(&dims, &[axis], 1, ends, 0, &target);
                    let mut whole = 0;
                    let mut left = n;
                    for call in &calls {
                        assert_eq!(call.params[1] as usize, left);
                        let (path, chunks) = path(call);
                        whole += path;
                        left = chunks;
                        if !ways.contains(&call.kernel.entry) {
                            ways.push(call.kernel.entry);
                        }
                    }
                    assert_eq!(left, 1);
                    assert!(whole <= depth(n), "{dims:?} over {axis}: {whole}");
                }
            }
        }
        assert_eq!(ways.len(), 4, "{ways:?}");
    }
}
