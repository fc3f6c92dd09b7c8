//! Elementwise ops as a table: one [`Row`] says all there is to know of one,
//! and [`Map`] makes an `Op` of it. Inputs broadcast as in PyTorch, and the
//! cotangent of a broadcast input is summed back to its shape, here and once.

use std::fmt;

use ndarray::{ArrayD, ArrayViewD, IxDyn};

use crate::error::{Result, ShapeError};
use crate::graph::{
    Bounded, Cotangent, Graph, Lowering, MapCall, NodeId, Op, Rule, Target, Values,
};
use crate::number;
use crate::shape::Shape;

/// All about one elementwise op.
pub struct Row {
    /// Its name, which is also its function's name in `source`.
    pub name: &'static str,
    /// Its operands' names.
    pub inputs: &'static [&'static str],
    /// The WGSL file with its function.
    pub source: &'static str,
    /// The files of `shaders/lib/` which that needs.
    pub libs: &'static [&'static str],
    /// The definition: operands, then the op's setting (1 if it has none).
    pub eval: fn(&[f64], f64) -> f64,
    /// The sum of the absolute values of the terms that are added last:
    /// rounding is relative to this, not to a result after cancellation.
    pub magnitude: fn(&[f64], f64) -> f64,
    /// The kernel's own rounding, in ULPs of `magnitude`.
    pub ulps: f64,
    /// Where each operand may lie; error bounds are not looked for outside.
    pub domain: &'static [(f64, f64)],
    /// The vector-Jacobian product, cotangents in the shape of the output.
    pub vjp: fn(&mut Graph, &Vjp<'_>) -> Result<Vec<Cotangent>>,
    /// The formula; `{0}` is the first operand, `{c}` the setting.
    pub formula: &'static str,
    /// The local derivative by each operand.
    pub derivatives: &'static [&'static str],
}

impl Row {
    /// The call of its WGSL function, without a setting.
    pub(crate) fn call(&self) -> MapCall {
        MapCall {
            function: self.name,
            source: self.source,
            libs: self.libs,
            constant: None,
            exact: self.ulps == 0.0,
        }
    }
}

/// All of the reals.
pub const REAL: (f64, f64) = (f64::NEG_INFINITY, f64::INFINITY);
/// Probabilities.
pub const UNIT: (f64, f64) = (0.0, 1.0);

/// What a row's vjp starts from.
pub struct Vjp<'a> {
    /// The operands.
    pub inputs: &'a [NodeId],
    /// The op's own node.
    pub output: NodeId,
    /// The cotangent of the output.
    pub cotangent: NodeId,
    /// The op's setting.
    pub constant: f64,
}

/// A row as an op, with its setting if it takes one.
#[derive(Clone, Copy)]
pub struct Map {
    row: &'static Row,
    constant: Option<f64>,
}

impl Map {
    /// The op of a row without a setting.
    pub fn new(row: &'static Row) -> Map {
        Map {
            row,
            constant: None,
        }
    }

    /// The op of a row with a setting (the factor of `scale`).
    pub fn with(row: &'static Row, constant: f64) -> Map {
        Map {
            row,
            constant: Some(constant),
        }
    }

    fn setting(&self) -> f64 {
        self.constant.unwrap_or(1.0)
    }
}

impl fmt::Display for Map {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.constant {
            Some(c) => write!(f, "{}[{c:?}]", self.row.name),
            None => write!(f, "{}", self.row.name),
        }
    }
}

impl fmt::Debug for Map {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// The values of `inputs` at each element of `shape`, broadcast, in order.
fn zip_broadcast<'a>(
    inputs: &'a [ArrayViewD<'a, f64>],
    shape: &[usize],
    mut each: impl FnMut(&[f64]),
) {
    // `infer` has made sure that every input broadcasts to the output's shape.
    let mut iters: Vec<_> = inputs
        .iter()
        .filter_map(|input| input.broadcast(IxDyn(shape)))
        .map(|view| view.into_iter())
        .collect();
    let mut row = vec![0.0; iters.len()];
    for _ in 0..shape.iter().product::<usize>() {
        for (slot, iter) in row.iter_mut().zip(&mut iters) {
            *slot = iter.next().copied().unwrap_or(f64::NAN);
        }
        each(&row);
    }
}

/// The shape to which all inputs broadcast.
fn broadcast_all(name: &str, inputs: &[&Shape]) -> Result<Shape, ShapeError> {
    let mut shape = Shape::scalar();
    for input in inputs {
        shape = shape.broadcast(input).ok_or_else(|| {
            let list: Vec<_> = inputs.iter().map(|s| s.to_string()).collect();
            let list = list.join(" and ");
            // Two shapes fit each other and are still refused if the common
            // one is too large.
            let why = match fits(input, &shape) {
                true => "together they have more than 2^32 - 1 elements; split one of them",
                false => "aligned at the last axis, sizes must be equal or 1; reshape one of them",
            };
            ShapeError::new(name, format!("shapes {list} do not broadcast: {why}"))
        })?;
    }
    Ok(shape)
}

/// Whether sizes, aligned at the last axis, are equal or 1.
fn fits(a: &Shape, b: &Shape) -> bool {
    let pairs = a.dims().iter().rev().zip(b.dims().iter().rev());
    pairs.into_iter().all(|(&a, &b)| a == b || a == 1 || b == 1)
}

/// Refuses a wrong number of inputs.
pub(crate) fn expect_inputs(name: &str, inputs: &[&Shape], count: usize) -> Result<(), ShapeError> {
    if inputs.len() == count {
        return Ok(());
    }
    let word = if count == 1 { "input" } else { "inputs" };
    let reason = format!(
        "takes {count} {word}, got {} ({inputs:?}); give as many as it takes",
        inputs.len()
    );
    Err(ShapeError::new(name, reason))
}

fn shape_of(shapes: &[&[usize]]) -> Vec<usize> {
    let rank = shapes.iter().map(|s| s.len()).max().unwrap_or(0);
    let mut out = vec![1; rank];
    for shape in shapes {
        for (o, &d) in out[rank - shape.len()..].iter_mut().zip(*shape) {
            if d != 1 {
                *o = d;
            }
        }
    }
    out
}

/// One ULP of float32, relative: the spacing of values just above 1.
pub(crate) const ULP: f64 = f32::EPSILON as f64;
/// What a device that flushes subnormals to zero may lose.
pub(crate) const FLUSH: f64 = f32::MIN_POSITIVE as f64;

impl Op for Map {
    fn name(&self) -> &'static str {
        self.row.name
    }

    fn infer(&self, inputs: &[&Shape]) -> Result<Shape, ShapeError> {
        expect_inputs(self.row.name, inputs, self.row.inputs.len())?;
        broadcast_all(self.row.name, inputs)
    }

    fn eval(&self, inputs: &[ArrayViewD<'_, f64>]) -> ArrayD<f64> {
        let shapes: Vec<_> = inputs.iter().map(|i| i.shape()).collect();
        let shape = shape_of(&shapes);
        let mut values = Vec::with_capacity(shape.iter().product());
        let c = self.setting();
        zip_broadcast(inputs, &shape, |x| values.push((self.row.eval)(x, c)));
        // One value was pushed for each element of `shape`.
        ArrayD::from_shape_vec(IxDyn(&shape), values).expect("one value an element")
    }

    fn error(&self, inputs: &[Bounded<'_>], output: &ArrayD<f64>) -> ArrayD<f64> {
        let n = inputs.len();
        let mut views: Vec<_> = inputs.iter().map(|i| i.value.view()).collect();
        views.extend(inputs.iter().map(|i| i.error.view()));
        let mut errors = Vec::with_capacity(output.len());
        let mut outputs = output.iter();
        zip_broadcast(&views, output.shape(), |row| {
            let y = outputs.next().copied().unwrap_or(f64::NAN);
            errors.push(self.element_error(&row[..n], &row[n..], y));
        });
        // One value was pushed for each element of `output`.
        ArrayD::from_shape_vec(output.raw_dim(), errors).expect("one value an element")
    }

    fn vjp(&self, g: &mut Graph, node: NodeId, cotangent: NodeId) -> Result<Vec<Cotangent>> {
        let inputs = g.node(node)?.inputs.clone();
        let parts = (self.row.vjp)(
            g,
            &Vjp {
                inputs: &inputs,
                output: node,
                cotangent,
                constant: self.setting(),
            },
        )?;
        let mut result = Vec::with_capacity(parts.len());
        for (part, &input) in parts.into_iter().zip(&inputs) {
            result.push(match part {
                Cotangent::Node(id) => {
                    let shape = g.shape(input)?.clone();
                    Cotangent::Node(g.sum_to(id, &shape)?)
                }
                other => other,
            });
        }
        Ok(result)
    }

    fn lower(&self, _inputs: &[&Shape], _output: &Shape, _target: &Target) -> Lowering {
        Lowering::Map(MapCall {
            constant: self.constant.map(|c| c as f32),
            ..self.row.call()
        })
    }

    fn explain(&self) -> Rule {
        let c = number::show(self.setting() as f32);
        Rule {
            formula: self.row.formula.replace("{c}", &c),
            derivatives: self
                .row
                .derivatives
                .iter()
                .map(|d| d.replace("{c}", &c))
                .collect(),
        }
    }

    fn substitute(&self, inputs: &[Values<'_>], index: &[usize]) -> String {
        let numbers: Vec<_> = inputs
            .iter()
            .map(|input| number::show_factor(broadcast_element(input, index)))
            .collect();
        number::fill(&self.explain().formula, &numbers)
    }
}

/// The element of `input` that broadcasting puts at `index`.
pub(crate) fn broadcast_element(input: &Values<'_>, index: &[usize]) -> f32 {
    let lead = index.len().saturating_sub(input.ndim());
    let own: Vec<_> = index[lead..]
        .iter()
        .zip(input.shape())
        .map(|(&i, &size)| if size == 1 { 0 } else { i })
        .collect();
    input.get(IxDyn(&own)).copied().unwrap_or(f32::NAN)
}

impl Map {
    /// The error bound of one element. The carried part is the largest change
    /// of the definition over the corners of the box in which the operands
    /// lie: exact for functions that are monotone in each operand, which every
    /// row is, or nearly so where its derivative vanishes.
    fn element_error(&self, x: &[f64], e: &[f64], y: f64) -> f64 {
        let c = self.setting();
        let mut carried: f64 = 0.0;
        let mut magnitude = (self.row.magnitude)(x, c).abs();
        if e.iter().any(|&e| e != 0.0) {
            let mut corner = x.to_vec();
            for mask in 0..1_u32 << x.len() {
                for (i, slot) in corner.iter_mut().enumerate() {
                    let (low, high) = self.row.domain[i];
                    let sign = if mask >> i & 1 == 0 { -1.0 } else { 1.0 };
                    *slot = (x[i] + sign * e[i]).clamp(low, high);
                }
                let change = ((self.row.eval)(&corner, c) - y).abs();
                // NaN: the box reaches somewhere the function is not defined.
                carried = if change.is_nan() {
                    f64::INFINITY
                } else {
                    carried.max(change)
                };
                magnitude = magnitude.max((self.row.magnitude)(&corner, c).abs());
            }
        }
        carried + self.row.ulps * ULP * magnitude + FLUSH
    }
}

/// Samples that suit most rows: odd sizes, broadcasting, a scalar, nothing.
pub(crate) fn shapes_for(inputs: usize) -> Vec<Vec<Vec<usize>>> {
    let same = |dims: &[usize]| vec![dims.to_vec(); inputs];
    let mut all = vec![
        same(&[]),
        same(&[1]),
        same(&[7]),
        same(&[3, 5]),
        same(&[2, 0, 3]),
    ];
    if inputs > 1 {
        let mut outer = same(&[4, 1, 3]);
        outer[1] = vec![5, 1];
        let mut scalar = same(&[2, 3]);
        scalar[1] = vec![];
        all.extend([outer, scalar]);
    }
    all
}
