//! `matmul` with both transposes as settings and broadcast batch axes: closed
//! under its own vjp, so it needs no backward kernel.
//!
//! A long inner axis is cut into parts which are multiplied separately and
//! then summed by the reduction of `sum`: the error stays small, no invocation
//! loops for long, and a tall product (a weight gradient over a large batch)
//! has work for every core.

mod choice;
mod half;
mod kernel;

use std::fmt;

use ndarray::{ArrayD, ArrayView2, ArrayViewD, Axis, IxDyn, Zip};

use super::Family;
use super::map::{FLUSH, ULP, expect_inputs};
use super::reduce;
use crate::error::{Result, ShapeError};
use crate::graph::{
    Bounded, Call, Cotangent, Graph, Lowering, Meaning, NodeId, Op, Operand, Precision, Rule,
    Sample, Target, Values,
};
use crate::number;
use crate::shape::{MAX_RANK, Shape};

pub use choice::{Candidate, Problem, candidates};
use kernel::turn_length;
pub(crate) use kernel::{BLOCK, depth};
use kernel::{Side, choose, kernel, part_length, repeats, roundings};

const SOURCE: &str = include_str!("../../shaders/matmul.wgsl");

/// This file's ops.
pub static FAMILY: Family = Family {
    name: "matmul",
    ops: &["matmul"],
    source: SOURCE,
    samples,
};

/// `matmul[transpose_a,transpose_b,f16]` of the last two axes.
#[derive(Clone, Copy, Debug)]
struct Matmul {
    transpose_a: bool,
    transpose_b: bool,
    precision: Precision,
}

impl fmt::Display for Matmul {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let precision = self.precision.to_string();
        let settings = [
            (self.transpose_a, "transpose_a"),
            (self.transpose_b, "transpose_b"),
            (self.precision.is_half(), &precision),
        ];
        let on = settings.iter().filter(|(on, _)| *on);
        let on: Vec<&str> = on.map(|(_, name)| *name).collect();
        match on[..] {
            [] => write!(f, "matmul"),
            _ => write!(f, "matmul[{}]", on.join(",")),
        }
    }
}

/// Sizes of one product, once transposes are applied.
struct Sizes {
    batch: Shape,
    m: usize,
    n: usize,
    k: usize,
}

/// The fix for inner sizes that differ, if a transpose is one.
fn turn([m, ka]: [usize; 2], [kb, n]: [usize; 2]) -> &'static str {
    if ka == n {
        "transpose the right operand"
    } else if m == kb {
        "transpose the left operand"
    } else {
        "make them equal"
    }
}

impl Matmul {
    fn sizes(&self, a: &[usize], b: &[usize]) -> Result<Sizes, ShapeError> {
        let wrong = |reason: &str, fix: &str| {
            let reason = format!("{reason}, lhs: {a:?}, rhs: {b:?}; {fix}");
            ShapeError::new(self.to_string(), reason)
        };
        let ([batch_a @ .., a0, a1], [batch_b @ .., b0, b1]) = (a, b) else {
            let fix = "reshape a vector to one row or column";
            return Err(wrong("both operands need two axes or more", fix));
        };
        let (m, ka) = if self.transpose_a {
            (*a1, *a0)
        } else {
            (*a0, *a1)
        };
        let (kb, n) = if self.transpose_b {
            (*b1, *b0)
        } else {
            (*b0, *b1)
        };
        if ka != kb {
            let reason = format!("inner sizes {ka} and {kb} differ");
            return Err(wrong(&reason, turn([m, ka], [kb, n])));
        }
        let batch = Shape::new(batch_a)?
            .broadcast(&Shape::new(batch_b)?)
            .ok_or_else(|| {
                wrong(
                    "batch axes do not broadcast",
                    "each size must be equal or 1",
                )
            })?;
        Ok(Sizes { batch, m, n, k: ka })
    }

    fn problem(&self, m: usize, n: usize, k: usize) -> Problem {
        Problem {
            m,
            n,
            k,
            transpose_a: self.transpose_a,
            transpose_b: self.transpose_b,
            precision: self.precision,
        }
    }

    /// The product over broadcast batches, given that of two matrices.
    fn batched(&self, a: &ArrayViewD<'_, f64>, b: &ArrayViewD<'_, f64>) -> ArrayD<f64> {
        // `infer` has made sure that the shapes fit.
        let sizes = self
            .sizes(a.shape(), b.shape())
            .expect("shapes fit, as inferred");
        let batch = sizes.batch.dims();
        let full = |x: &ArrayViewD<'_, f64>| -> Vec<usize> {
            [batch, &x.shape()[x.ndim() - 2..]].concat()
        };
        let a = a
            .broadcast(IxDyn(&full(a)))
            .expect("batch broadcasts, as inferred");
        let b = b
            .broadcast(IxDyn(&full(b)))
            .expect("batch broadcasts, as inferred");
        let mut out = ArrayD::zeros(IxDyn(&[batch, &[sizes.m, sizes.n]].concat()));
        for_each_batch(batch, |at| {
            let left = turned(matrix(a.view(), at), self.transpose_a);
            let right = turned(matrix(b.view(), at), self.transpose_b);
            let mut slot = out.view_mut();
            for &i in at {
                slot = slot.index_axis_move(Axis(0), i);
            }
            slot.assign(&left.dot(&right).into_dyn());
        });
        out
    }
}

fn matrix<'a>(mut array: ArrayViewD<'a, f64>, at: &[usize]) -> ArrayView2<'a, f64> {
    for &i in at {
        array = array.index_axis_move(Axis(0), i);
    }
    // Two axes are left once the batch axes are fixed.
    array.into_dimensionality().expect("two axes are left")
}

fn turned(matrix: ArrayView2<'_, f64>, transpose: bool) -> ArrayView2<'_, f64> {
    if transpose {
        matrix.reversed_axes()
    } else {
        matrix
    }
}

fn for_each_batch(batch: &[usize], mut each: impl FnMut(&[usize])) {
    for index in ndarray::indices(IxDyn(batch)) {
        each(ndarray::Dimension::slice(&index));
    }
}

impl Op for Matmul {
    fn name(&self) -> &'static str {
        "matmul"
    }

    fn infer(&self, inputs: &[&Shape]) -> Result<Shape, ShapeError> {
        expect_inputs("matmul", inputs, 2)?;
        let sizes = self.sizes(inputs[0].dims(), inputs[1].dims())?;
        Shape::new(&[sizes.batch.dims(), &[sizes.m, sizes.n]].concat())
    }

    fn eval(&self, inputs: &[ArrayViewD<'_, f64>]) -> ArrayD<f64> {
        let [a, b] = [0, 1].map(|i| half::taken(self.precision, &inputs[i]));
        self.batched(&a.view(), &b.view())
    }

    fn error(&self, inputs: &[Bounded<'_>], output: &ArrayD<f64>) -> ArrayD<f64> {
        let [a, b] = inputs else {
            return ArrayD::from_elem(output.raw_dim(), f64::INFINITY);
        };
        // Sizes as `infer` found them.
        let (m, n, k) = self
            .sizes(a.value.shape(), b.value.shape())
            .map_or((0, 0, 0), |sizes| (sizes.m, sizes.n, sizes.k));
        let size_a = half::taken(self.precision, &a.value).mapv_into(f64::abs);
        let size_b = half::taken(self.precision, &b.value).mapv_into(f64::abs);
        let error_a = half::error(self.precision, a);
        let error_b = half::error(self.precision, b);
        let exact = self.batched(&size_a.view(), &size_b.view());
        let is_exact = |error: &ArrayD<f64>| error.iter().all(|&e| e == 0.0);
        let largest = if is_exact(&error_a) && is_exact(&error_b) {
            exact.clone()
        } else {
            let most_a = &size_a + &error_a;
            let most_b = &size_b + &error_b;
            self.batched(&most_a.view(), &most_b.view())
        };
        let problem = self.problem(m, n, k);
        let rounding = roundings(&problem, output.len()) as f64 * ULP / 2.0;
        let mut error = exact;
        Zip::from(&mut error).and(&largest).for_each(|e, &most| {
            *e = (most - *e).max(0.0) + most * rounding + k as f64 * FLUSH;
        });
        error
    }

    fn vjp(&self, g: &mut Graph, node: NodeId, cotangent: NodeId) -> Result<Vec<Cotangent>> {
        let inputs = g.node(node)?.inputs.clone();
        let (a, b) = (inputs[0], inputs[1]);
        let (ta, tb) = (self.transpose_a, self.transpose_b);
        // C = op(A) op(B): dop(A) = dC op(B)^T, dop(B) = op(A)^T dC.
        let da = if ta {
            g.matmul_in(self.precision, [b, cotangent], [tb, true])?
        } else {
            g.matmul_in(self.precision, [cotangent, b], [false, !tb])?
        };
        let db = if tb {
            g.matmul_in(self.precision, [cotangent, a], [true, ta])?
        } else {
            g.matmul_in(self.precision, [a, cotangent], [!ta, false])?
        };
        let shape_a = g.shape(a)?.clone();
        let shape_b = g.shape(b)?.clone();
        Ok(vec![
            Cotangent::Node(g.sum_to(da, &shape_a)?),
            Cotangent::Node(g.sum_to(db, &shape_b)?),
        ])
    }

    fn lower(&self, inputs: &[&Shape], output: &Shape, target: &Target) -> Lowering {
        let (a, b) = (inputs[0], inputs[1]);
        // The node exists, so `infer` has accepted these shapes.
        let sizes = self
            .sizes(a.dims(), b.dims())
            .expect("shapes fit, as inferred");
        let Sizes { batch, m, n, k } = sizes;
        let outputs = output.numel();
        let problem = self.problem(m, n, k);
        let candidate = choose(&problem, target);
        let mut sides = [
            Side::of(a, self.transpose_a, &batch, m),
            Side::of(b, !self.transpose_b, &batch, n),
        ];
        let mut order = [0, 1];
        let mut c_strides = [n, 1];
        // The thin kernels want the thin side second: C is then computed as its
        // transpose, op(B)^T op(A)^T, and stored with swapped strides.
        if candidate.thin() && m < n {
            sides.swap(0, 1);
            order.swap(0, 1);
            c_strides.swap(0, 1);
        }
        let [left, right] = &sides;
        let [rows, columns] = candidate.tile();
        let tiles = [left.size.div_ceil(rows), right.size.div_ceil(columns)];
        let jobs = tiles[0] * tiles[1] * batch.numel();
        let part = part_length(k, outputs, jobs, target);
        let parts = k.div_ceil(part).max(1);
        let mut sizes_of_batch: Vec<u32> = batch.dims().iter().map(|&d| d as u32).collect();
        sizes_of_batch.resize(MAX_RANK, 1);
        let words = [
            [left.size, right.size, k, part],
            [left.own, left.inner, right.inner, right.own],
            [tiles[0], tiles[1], batch.rank(), batch.numel()],
            [
                parts,
                c_strides[0],
                c_strides[1],
                turn_length(part.min(k), target),
            ],
        ];
        let mut params: Vec<u32> = words.as_flattened().iter().map(|&w| w as u32).collect();
        params.extend(sizes_of_batch);
        params.extend(&left.batch);
        params.extend(&right.batch);

        let whole = parts == 1;
        let mut scratch = if whole { vec![] } else { vec![parts * outputs] };
        let product = if whole {
            Operand::Output
        } else {
            Operand::Scratch(0)
        };
        let mut calls = vec![Call {
            kernel: kernel(candidate, [left, right], &problem, target),
            params,
            inputs: order.map(Operand::Input).to_vec(),
            output: product,
            workgroups: jobs as u64 * parts as u64,
            epilogue: whole,
            repeats: Some(repeats(candidate, left, right, batch.numel())),
        }];
        if !whole {
            let (more, sums) = reduce::sum_calls(
                &[parts, outputs],
                &[0],
                1,
                [product, Operand::Output],
                1,
                target,
            );
            scratch.extend(more);
            calls.extend(sums);
        }
        Lowering::Calls {
            scratch,
            calls,
            meaning: Meaning::Product {
                transpose_a: self.transpose_a,
                transpose_b: self.transpose_b,
                precision: self.precision,
            },
        }
    }

    fn explain(&self) -> Rule {
        let side = |slot: &str, transpose: bool| {
            let mark = if transpose { "ᵀ" } else { "" };
            match self.precision.is_half() {
                true => format!("f16({{{slot}}}){mark}"),
                false => format!("{{{slot}}}{mark}"),
            }
        };
        let (ta, tb) = (self.transpose_a, self.transpose_b);
        // As in `vjp`: the cotangent times the other side, turned where it must be.
        let by_a = match ta {
            true => format!("{} @ {}", side("1", tb), side("g", true)),
            false => format!("{} @ {}", side("g", false), side("1", !tb)),
        };
        let by_b = match tb {
            true => format!("{} @ {}", side("g", true), side("0", ta)),
            false => format!("{} @ {}", side("0", !ta), side("g", false)),
        };
        Rule {
            formula: format!("{} @ {}", side("0", ta), side("1", tb)),
            derivatives: vec![by_a, by_b],
        }
    }

    fn substitute(&self, inputs: &[Values<'_>], index: &[usize]) -> String {
        let [a, b] = inputs else {
            return String::new();
        };
        let [batch @ .., row, column] = index else {
            return String::new();
        };
        let element = |x: &Values<'_>, transpose: bool, i: usize, j: usize| {
            let (i, j) = if transpose { (j, i) } else { (i, j) };
            let lead = batch.len().saturating_sub(x.ndim() - 2);
            let mut at: Vec<_> = batch[lead..]
                .iter()
                .zip(x.shape())
                .map(|(&i, &size)| if size == 1 { 0 } else { i })
                .collect();
            at.extend([i, j]);
            let value = x.get(IxDyn(&at)).copied().unwrap_or(f32::NAN);
            match self.precision.is_half() {
                // A float16 is a float32.
                true => half::round(f64::from(value)) as f32,
                false => value,
            }
        };
        let k = a.shape()[a.ndim() - if self.transpose_a { 2 } else { 1 }];
        number::show_sum((0..k).map(|i| {
            let left = element(a, self.transpose_a, *row, i);
            let right = element(b, self.transpose_b, i, *column);
            format!(
                "{}*{}",
                number::show_factor(left),
                number::show_factor(right)
            )
        }))
    }
}

impl Graph {
    /// The matrix product, as `torch.matmul` defines it: the last two axes are
    /// matrices, those before broadcast, and an operand of rank 1 is a vector.
    pub fn matmul(&mut self, a: NodeId, b: NodeId) -> Result<NodeId> {
        let (dims_a, dims_b) = (
            self.operand("matmul", a)?.dims().to_vec(),
            self.operand("matmul", b)?.dims().to_vec(),
        );
        if dims_a.is_empty() || dims_b.is_empty() {
            let reason = format!(
                "scalars have no matrix product, lhs: {dims_a:?}, rhs: {dims_b:?}; use mul"
            );
            return Err(self.misfit("matmul", reason, a)?);
        }
        if dims_a.len() > 1 && dims_b.len() > 1 {
            return self.matmul_with(a, b, false, false);
        }
        if *dims_a.last().unwrap_or(&0) != dims_b[dims_b.len().saturating_sub(2)] {
            let reason = format!(
                "inner sizes differ, lhs: {dims_a:?}, rhs: {dims_b:?}; a vector must be as long \
                 as the other operand's inner axis"
            );
            return Err(self.misfit("matmul", reason, a)?);
        }
        let left = if dims_a.len() == 1 {
            self.reshape(a, &[1, dims_a[0]])?
        } else {
            a
        };
        let right = if dims_b.len() == 1 {
            self.reshape(b, &[dims_b[0], 1])?
        } else {
            b
        };
        let product = self.matmul_with(left, right, false, false)?;
        let mut dims = self.shape(product)?.dims().to_vec();
        if dims_b.len() == 1 {
            dims.pop();
        }
        if dims_a.len() == 1 {
            dims.remove(dims.len() - if dims_b.len() == 1 { 1 } else { 2 });
        }
        self.reshape(product, &dims)
    }

    /// The matrix product with the last two axes of either operand swapped
    /// first. Both need two axes or more.
    pub fn matmul_with(
        &mut self,
        a: NodeId,
        b: NodeId,
        transpose_a: bool,
        transpose_b: bool,
    ) -> Result<NodeId> {
        self.matmul_in(self.precision(), [a, b], [transpose_a, transpose_b])
    }

    /// As [`matmul_with`](Graph::matmul_with), in another precision than that of
    /// the graph.
    pub fn matmul_in(
        &mut self,
        precision: Precision,
        operands: [NodeId; 2],
        [transpose_a, transpose_b]: [bool; 2],
    ) -> Result<NodeId> {
        let op = Matmul {
            transpose_a,
            transpose_b,
            precision,
        };
        self.apply(op, &operands)
    }
}

fn samples() -> Vec<Sample> {
    let cases: [(&[usize], &[usize]); 12] = [
        (&[1, 1], &[1, 1]),
        (&[3, 4], &[4, 2]),
        (&[5, 0], &[0, 3]),
        (&[0, 5], &[5, 3]),
        (&[16, 16], &[16, 17]),
        (&[65, 63], &[63, 33]),
        (&[17, 129], &[129, 66]),
        (&[2, 3, 4], &[4, 5]),
        (&[3, 4], &[5, 4, 2]),
        (&[2, 1, 3, 4], &[5, 4, 2]),
        (&[2, 4097], &[4097, 3]),
        (&[1, 9000], &[9000, 1]),
    ];
    let flip = |dims: &[usize], on: bool| {
        let mut dims = dims.to_vec();
        if on {
            let n = dims.len();
            dims.swap(n - 1, n - 2);
        }
        dims
    };
    let mut all = Vec::new();
    for (a, b) in cases {
        for (ta, tb) in [(false, false), (true, false), (false, true), (true, true)] {
            all.push(Sample {
                build: Box::new(move |g, x| g.matmul_with(x[0], x[1], ta, tb)),
                shapes: vec![flip(a, ta), flip(b, tb)],
                ranges: vec![(-1.0, 1.0); 2],
                edges: vec![vec![0.0, 1e18, -1e18, 1.0], vec![1.0, -1.0, 1e18, 1e-20]],
            });
        }
    }
    all
}
