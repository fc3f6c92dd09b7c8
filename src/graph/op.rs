//! What an operation is: the trait that every op implements, and the plain
//! data in which it answers. One op, one file: everything wgrad knows about an
//! operation is said in its `impl Op`.

use std::any::Any;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::{Debug, Display};

use ndarray::{ArrayD, ArrayViewD};

use super::{Graph, NodeId, Precision};
use crate::error::{Result, ShapeError};
use crate::shape::Shape;

/// One differentiable operation.
///
/// `Display` (`sum[axes=1]`) is the op's identity: two ops that print the same
/// compute the same. There are no default bodies: a missing rule is a compile
/// error and never a surprise at run time.
pub trait Op: Any + Debug + Display + Send + Sync {
    /// The op's name without its settings (`sum`), as in
    /// [`ops::ALL`](crate::ops::ALL).
    fn name(&self) -> &'static str;

    /// The output's shape, or why these inputs are wrong. The only shape check.
    fn infer(&self, inputs: &[&Shape]) -> Result<Shape, ShapeError>;

    /// The definition, in float64. Every kernel is judged against it.
    fn eval(&self, inputs: &[ArrayViewD<'_, f64>]) -> ArrayD<f64>;

    /// How far a float32 evaluation may be from [`eval`](Op::eval), element by
    /// element, when its inputs are off by at most `inputs[i].error`: the error
    /// carried over from the inputs plus the op's own rounding.
    fn error(&self, inputs: &[Bounded<'_>], output: &ArrayD<f64>) -> ArrayD<f64>;

    /// The vector-Jacobian product: appends to the graph the cotangent of each
    /// input, given the cotangent of `node`.
    fn vjp(&self, g: &mut Graph, node: NodeId, cotangent: NodeId) -> Result<Vec<Cotangent>>;

    /// How a GPU like `target` does it, as plain data.
    fn lower(&self, inputs: &[&Shape], output: &Shape, target: &Target) -> Lowering;

    /// The rule in symbols, for people.
    fn explain(&self) -> Rule;

    /// The numbers put in: how element `index` of the output follows from
    /// `inputs`, as text (`-2*0.1433 + 0.3*0.2529`).
    fn substitute(&self, inputs: &[Values<'_>], index: &[usize]) -> String;
}

/// A reference value with a bound on the float32 error it has so far.
pub struct Bounded<'a> {
    /// The value, in float64.
    pub value: ArrayViewD<'a, f64>,
    /// `|float32 value - value|` is at most this.
    pub error: ArrayViewD<'a, f64>,
}

/// The values of an operand, for showing.
pub type Values<'a> = ArrayViewD<'a, f32>;

/// What a vjp says about one input.
#[derive(Clone, Copy, PartialEq, Debug)]
pub enum Cotangent {
    /// The cotangent is this node's value; its shape is the input's.
    Node(NodeId),
    /// The derivative is zero wherever it exists, for this reason.
    Zero(&'static str),
    /// There is a derivative, and no rule for it here; asking for it is an
    /// error that gives this reason.
    Missing(&'static str),
}

/// How a GPU does an op.
#[derive(Clone, PartialEq, Debug)]
pub enum Lowering {
    /// No data moves: the output is input 0 under another shape.
    View,
    /// An elementwise WGSL function; the planner writes the kernel around it.
    Map(MapCall),
    /// Hand-written kernels, called in this order.
    Calls {
        /// Elements of each scratch buffer that the calls pass data through.
        scratch: Vec<usize>,
        /// The calls.
        calls: Vec<Call>,
        /// What they compute, for a planner that writes a kernel of its own
        /// around several ops.
        meaning: Meaning,
    },
}

/// What hand-written kernels compute, in terms of indices.
#[derive(Clone, PartialEq, Debug)]
pub enum Meaning {
    /// The matrix product of inputs 0 and 1 over their last two axes, each
    /// swapped first if so marked; the axes before broadcast.
    Product {
        /// Swap the last two axes of input 0.
        transpose_a: bool,
        /// Swap the last two axes of input 1.
        transpose_b: bool,
        /// How the elements of both are taken.
        precision: Precision,
    },
    /// The sum of input 0 over `axes`, which are removed from the shape.
    Sum {
        /// The axes, ascending.
        axes: Vec<usize>,
        /// What the sum is divided by: the number of terms for a mean (0 terms
        /// have the mean NaN), 1 for a sum.
        divisor: usize,
    },
}

/// What a plan must know of the device that will run it. The default is what
/// every WebGPU implementation has.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Target {
    /// Invocations of every subgroup, where kernels may use subgroups and all
    /// have one size.
    pub subgroup_size: Option<u32>,
    /// A driver in software: few cores, vectors over invocations, and loads
    /// that cost as much as in any program.
    pub software: bool,
    /// Invocations that a workgroup may have.
    pub workgroup_invocations: u32,
    /// Bytes of workgroup memory.
    pub workgroup_bytes: u32,
    /// Storage buffers that a kernel may bind.
    pub storage_buffers: u32,
    /// Bytes that one binding may span.
    pub binding_bytes: u64,
    /// The longest side of an image, where kernels may read images of float32
    /// and that is quicker than reading a buffer.
    pub image_side: Option<u32>,
    /// Whether kernels may write these images too, and read what they wrote.
    pub image_writes: bool,
    /// Whether kernels may use matrix units that multiply 16 by 16 float16 numbers
    /// by as many and add float32 sums; subgroups then have 32 invocations.
    pub matrix_units: bool,
    /// Kernels to take in place of an op's own choice, as measured for this
    /// device: the op's name for a problem (`matmul 256x512x784 nt`, or `matmul`
    /// for all) and its name for the kernel. What an op does not offer for a
    /// problem is not taken.
    pub choices: BTreeMap<String, String>,
    /// Kernels that gave wrong values on this device, by name. They are not
    /// offered while there is another.
    pub quarantined: BTreeSet<String>,
}

impl Default for Target {
    fn default() -> Self {
        Target {
            subgroup_size: None,
            software: false,
            workgroup_invocations: 256,
            workgroup_bytes: 16_384,
            storage_buffers: 8,
            binding_bytes: 128 << 20,
            image_side: None,
            image_writes: false,
            matrix_units: false,
            choices: BTreeMap::new(),
            quarantined: BTreeSet::new(),
        }
    }
}

/// An elementwise WGSL function: `fn name(x0: f32, x1: f32, ...) -> f32`.
#[derive(Clone, PartialEq, Debug)]
pub struct MapCall {
    /// The function's name in `source`.
    pub function: &'static str,
    /// The WGSL file that holds it.
    pub source: &'static str,
    /// The files of `shaders/lib/` that it needs, in order.
    pub libs: &'static [&'static str],
    /// A setting passed after the operands, if the function takes one.
    pub constant: Option<f32>,
    /// Whether it rounds nothing: its value is that of an operand, but for the sign, or
    /// a constant.
    pub exact: bool,
}

/// A kernel: shader, entry point and settings. Shapes are not part of it; they
/// travel in the parameters, so that one pipeline serves them all.
#[derive(Clone, PartialEq, Debug)]
pub struct Kernel {
    /// The entry point.
    pub entry: &'static str,
    /// The WGSL file that holds it.
    pub source: &'static str,
    /// The files of `shaders/lib/` that it needs, in order.
    pub libs: &'static [&'static str],
    /// Numbers for a source or libs with markers (`//: repeat i in COUNT`):
    /// tile sizes, and how operands are read.
    pub settings: Vec<(&'static str, u32)>,
    /// Which of the call's inputs it reads as images ([`image`](super::image)).
    pub images: Vec<usize>,
}

/// One call of a kernel by an op.
#[derive(Clone, PartialEq, Debug)]
pub struct Call {
    /// What to run.
    pub kernel: Kernel,
    /// The kernel's parameters, 32-bit words as its `Params` struct lays them
    /// out.
    pub params: Vec<u32>,
    /// What it reads, binding by binding.
    pub inputs: Vec<Operand>,
    /// What it writes.
    pub output: Operand,
    /// Workgroups, counted along one line; a kernel finds its place with
    /// `workgroup_index` of `shaders/lib/grid.wgsl`.
    pub workgroups: u64,
    /// Whether every element of the output passes through the `epilogue` of
    /// `shaders/lib/epilogue.wgsl` just before it is stored, so that other
    /// functions of that name may follow the op at no cost.
    pub epilogue: bool,
    /// Where every element that the kernel reads passes through `prologue_a` (of
    /// the first that it reads) or `prologue_b` (of the second;
    /// `shaders/lib/prologue.wgsl`), so that other functions of these names may
    /// come before the op: how many times the kernel reads each element of the
    /// two, at most. `None` where there are no such functions.
    pub repeats: Option<[u64; 2]>,
}

/// A buffer, as an op's calls see it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Operand {
    /// The op's input number i.
    Input(usize),
    /// The op's output.
    Output,
    /// Scratch buffer number i.
    Scratch(usize),
}

/// An op's rule, for people. `{0}`, `{1}` stand for the operands' names.
#[derive(Clone, PartialEq, Debug)]
pub struct Rule {
    /// The formula (`1 / (1 + exp(-{0}))`).
    pub formula: String,
    /// The local derivative by each input, in words where no formula is short
    /// enough. `{out}` is the op's own value (`{out} * (1 - {out})`). A rule with
    /// `{g}`, the cotangent of the output, is not the derivative alone but what
    /// becomes of the cotangent (`{g} @ {1}`).
    pub derivatives: Vec<String>,
}

/// Applies an op to its inputs in a graph.
pub type Builder = Box<dyn Fn(&mut Graph, &[NodeId]) -> Result<NodeId> + Send + Sync>;

/// An op with input shapes and value ranges that are worth testing.
pub struct Sample {
    /// Applies the op to its inputs in a graph.
    pub build: Builder,
    /// The inputs' shapes.
    pub shapes: Vec<Vec<usize>>,
    /// The range that each input's random values are drawn from.
    pub ranges: Vec<(f32, f32)>,
    /// Values that each input must also be tested with, at the edges of its
    /// domain; not used for central differences, which need a neighbourhood.
    pub edges: Vec<Vec<f32>>,
}
