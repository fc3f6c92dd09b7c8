//! The plan: what a GPU does to evaluate a graph, as plain printable data.
//! Made without a device, so that it can be read, tested and compared anywhere.
//!
//! One step is one dispatch. All steps go into one submission, in this order:
//! the forward walk, then the reverse walk.

mod access;
mod chain;
mod chain_text;
mod count;
mod cse;
mod epilogue;
mod fence;
mod fold;
mod fuse;
mod hooks;
pub mod image;
mod lifetimes;
mod masks;
mod nodes;
mod order;
mod planner;
mod prologue;
mod rows;
#[cfg(not(target_arch = "wasm32"))]
pub(crate) mod single;
mod wgsl;
mod workgroup;

use std::fmt;

pub use count::Nonfinite;
use planner::Planner;

use crate::error::Result;
use crate::graph::{Graph, NodeId, Role, Target};
use crate::shape::Shape;
use crate::tensor::Tensor;

/// The most workgroups that a dispatch may have along one axis, on every
/// adapter that wgpu offers.
pub const MAX_WORKGROUPS: u64 = 65_535;

/// A buffer of one plan.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct BufferId(pub u32);

impl BufferId {
    /// The buffer's place in [`Plan::buffers`].
    pub fn index(self) -> usize {
        self.0 as usize
    }
}

/// What a buffer starts with.
#[derive(Clone, PartialEq, Debug)]
pub enum Content {
    /// A leaf's value, given before a run.
    Fed,
    /// A constant.
    Constant(Tensor),
    /// Nothing: a step writes it.
    Computed,
}

/// One buffer: whose value it holds, and how many float32 elements.
#[derive(Clone, PartialEq, Debug)]
pub struct BufferSpec {
    /// The label of the node, or of all whose values it holds in turn.
    pub label: String,
    /// Elements that carry values.
    pub elements: usize,
    /// What it starts with.
    pub content: Content,
    /// The buffer that this one is a part of, and its first element there (a
    /// multiple of [`SLICE`]); `None` if it has memory of its own.
    pub part_of: Option<(BufferId, usize)>,
    /// Elements from the value of one replica to that of the next, where each
    /// replica has a stretch of its own; this is then the first's. A buffer with an
    /// image has such values in the image alone.
    pub apart: Option<usize>,
}

/// Parts of a buffer start at multiples of this many elements: 256 bytes, which
/// every adapter can bind.
pub const SLICE: usize = 64;

impl BufferSpec {
    /// Its size in bytes: whole blocks of 16, at least one, so that kernels
    /// may load four elements at a time.
    pub fn bytes(&self) -> u64 {
        (self.elements.max(1) as u64 * 4).next_multiple_of(16)
    }
}

/// A complete WGSL program with one entry point.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct KernelSource {
    /// A short name, for profiles and errors.
    pub label: String,
    /// The entry point.
    pub entry: String,
    /// The WGSL text. The parameters are binding 0, then come the buffers
    /// read, then the buffers written.
    pub source: String,
    /// How many buffers it reads.
    pub reads: usize,
    /// Which of its buffers have images ([`crate::graph::image`]), by their order.
    /// The image of one that it reads takes the buffer's place. One that it
    /// writes has an image beside it, for the kernel to read and write: its binding
    /// comes after all others.
    pub images: Vec<usize>,
    /// How many buffers it writes.
    pub writes: usize,
}

/// One dispatch.
#[derive(Clone, PartialEq, Debug)]
pub struct Step {
    /// The label of the node that it computes, the last if it computes several.
    pub label: String,
    /// The node's op; of several nodes all ops in order.
    pub op: String,
    /// The nodes whose values it computes, in order: none where it only ends what
    /// a step before it began. Of several dispatches for one op each has its node.
    pub nodes: Vec<NodeId>,
    /// Part of the forward or of the reverse walk.
    pub role: Role,
    /// Which of [`Plan::kernels`].
    pub kernel: usize,
    /// The kernel's parameters, in 32-bit words.
    pub params: Vec<u32>,
    /// The buffers it reads.
    pub inputs: Vec<BufferId>,
    /// The buffers it writes.
    pub outputs: Vec<BufferId>,
    /// Workgroups along x and y.
    pub grid: [u32; 2],
}

/// A leaf whose value a run must be given.
#[derive(Clone, PartialEq, Debug)]
pub struct Feed {
    /// The leaf's label.
    pub label: String,
    /// Its shape; with replicas that of one.
    pub shape: Shape,
    /// Where it goes.
    pub buffer: BufferId,
}

/// A value that is read back after a run.
#[derive(Clone, PartialEq, Debug)]
pub struct Output {
    /// The node.
    pub node: NodeId,
    /// Its label.
    pub label: String,
    /// Its shape; with replicas that of one.
    pub shape: Shape,
    /// Where it is.
    pub buffer: BufferId,
}

/// Elements from the value of one replica to that of the next: whole blocks of
/// four.
pub fn stride(numel: usize) -> usize {
    numel.next_multiple_of(4)
}

/// Which elementwise ops a product of matrices computes as it reads its operands.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Prologues {
    /// None: their values are stored first.
    None,
    /// Those that cost less so than a dispatch and the value's trip through memory.
    #[default]
    Paying,
    /// All that can be, whatever they cost: for tests and measurements.
    All,
}

/// What a planner may do; all of it by default. No result depends on it, but
/// for what a compiler makes of a longer kernel.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct PlanOptions {
    /// Let one kernel compute several ops.
    pub fuse: bool,
    /// Let one be a row program: a small network, forward and backward. Only
    /// where kernels are fused.
    pub rows: bool,
    /// Let one be a workgroup program: a whole small step in one workgroup. Only
    /// where kernels are fused.
    pub workgroup: bool,
    /// Which elementwise ops a product of matrices may compute as it reads its
    /// operands. Only where kernels are fused.
    pub prologues: Prologues,
    /// Let values share memory that are not needed at the same time.
    pub share: bool,
    /// So many networks of the graph's shape side by side, each with leaves of
    /// its own: a leaf's value and an output get a leading axis of this size.
    /// Constants are the same for all. More than one takes a step that fits one
    /// workgroup, of which each network then gets one.
    pub replicas: usize,
    /// Give each op a kernel of its own, count behind it what is not finite in
    /// its value, and read back these counts ([`Nonfinite`]) in place of the
    /// outputs: one for each op that the outputs need, in the order of the plan.
    pub count_nonfinite: bool,
}

impl Default for PlanOptions {
    fn default() -> Self {
        PlanOptions {
            fuse: true,
            rows: true,
            workgroup: true,
            prologues: Prologues::Paying,
            share: true,
            replicas: 1,
            count_nonfinite: false,
        }
    }
}

/// Everything that a device needs to know to evaluate a graph.
#[derive(Clone, PartialEq, Debug)]
pub struct Plan {
    /// Every buffer, by [`BufferId`].
    pub buffers: Vec<BufferSpec>,
    /// Every kernel, each once.
    pub kernels: Vec<KernelSource>,
    /// Every dispatch, in order.
    pub steps: Vec<Step>,
    /// The leaves to be given.
    pub feeds: Vec<Feed>,
    /// The values to be read back.
    pub outputs: Vec<Output>,
    /// Networks side by side, see [`PlanOptions::replicas`].
    pub replicas: usize,
    /// The most bytes that are alive at any step: leaves and outputs always,
    /// other values from the step that writes them to the last that reads them.
    pub peak_bytes: u64,
}

impl Plan {
    /// The plan that computes `outputs` of `graph`, and nothing that they do
    /// not need, on any device.
    pub fn new(graph: &Graph, outputs: &[NodeId]) -> Result<Plan> {
        Plan::with_target(graph, outputs, &Target::default())
    }

    /// As [`new`](Plan::new), with the kernels that suit `target`.
    pub fn with_target(graph: &Graph, outputs: &[NodeId], target: &Target) -> Result<Plan> {
        Plan::with_options(graph, outputs, target, &PlanOptions::default())
    }

    /// As [`with_target`](Plan::with_target), with or without its passes.
    pub fn with_options(
        graph: &Graph,
        outputs: &[NodeId],
        target: &Target,
        options: &PlanOptions,
    ) -> Result<Plan> {
        Planner::new(graph, target, options).plan(outputs)
    }

    /// The bytes of all buffers and images together: what a run takes. At least
    /// [`peak_bytes`](Plan::peak_bytes), and little more.
    pub fn bytes(&self) -> u64 {
        let whole = self.buffers.iter().filter(|b| b.part_of.is_none());
        whole.map(BufferSpec::bytes).sum::<u64>() + image::bytes(self)
    }
}

impl Plan {
    /// What there is how often, in a line: steps, kernels, buffers and bytes.
    fn counts(&self) -> String {
        format!(
            "{}{} steps, {} kernels, {} buffers, {} bytes ({} alive at once)",
            match self.replicas {
                1 => String::new(),
                n => format!("{n} replicas, "),
            },
            self.steps.len(),
            self.kernels.len(),
            self.buffers.len(),
            self.bytes(),
            self.peak_bytes
        )
    }

    /// The plan in a line: what there is how often, and by which kernels it computes.
    pub fn summary(&self) -> String {
        let mut names: Vec<(&str, usize)> = Vec::new();
        for step in &self.steps {
            let label = self.kernels[step.kernel].label.as_str();
            match names.iter_mut().find(|(name, _)| *name == label) {
                Some((_, count)) => *count += 1,
                None => names.push((label, 1)),
            }
        }
        let names = names.iter().map(|(name, count)| match count {
            1 => (*name).to_string(),
            n => format!("{n} x {name}"),
        });
        let names: Vec<_> = names.collect();
        format!("{}: {}", self.counts(), names.join(", "))
    }
}

impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "plan: {}", self.counts())?;
        let imaged = image::imaged(self);
        for (i, b) in self.buffers.iter().enumerate() {
            let content = match b.content {
                Content::Fed => "fed",
                Content::Constant(_) => "constant",
                Content::Computed => "computed",
            };
            let part = match b.part_of {
                Some((whole, first)) => format!(", in b{} from {first}", whole.0),
                None => String::new(),
            };
            writeln!(
                f,
                "  b{i}: {} x f32, {content}{part}{}  \"{}\"",
                b.elements,
                if imaged[i] { ", with an image" } else { "" },
                b.label
            )?;
        }
        for step in &self.steps {
            let list = |ids: &[BufferId]| -> String {
                let names: Vec<_> = ids.iter().map(|b| format!("b{}", b.0)).collect();
                names.join(", ")
            };
            let mark = match step.role {
                Role::Forward => ' ',
                Role::Backward => '~',
            };
            writeln!(
                f,
                " {mark}{} = {}({}) on {}x{}  {} \"{}\"",
                list(&step.outputs),
                self.kernels[step.kernel].label,
                list(&step.inputs),
                step.grid[0],
                step.grid[1],
                step.op,
                step.label
            )?;
        }
        for output in &self.outputs {
            writeln!(f, "  read b{} \"{}\"", output.buffer.0, output.label)?;
        }
        Ok(())
    }
}

/// For tests of the other passes.
#[cfg(test)]
fn without_rows(graph: &Graph, outputs: &[NodeId]) -> Result<Plan> {
    let options = PlanOptions {
        rows: false,
        workgroup: false,
        ..PlanOptions::default()
    };
    Plan::with_options(graph, outputs, &Target::default(), &options)
}
