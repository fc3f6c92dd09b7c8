//! The plan: what a GPU does to evaluate a graph, as plain printable data.
//! Made without a device, so that it can be read, tested and compared anywhere.
//!
//! One step is one dispatch. All steps go into one submission, in this order:
//! the forward walk, then the reverse walk.

mod map_kernel;

use std::collections::HashMap;
use std::fmt;

use crate::error::{Error, Result};
use crate::graph::{Call, Graph, Kind, Lowering, NodeId, Operand, Role, Target};
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
    /// The label of the node.
    pub label: String,
    /// Elements that carry values.
    pub elements: usize,
    /// What it starts with.
    pub content: Content,
}

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
    /// read, then the buffer written.
    pub source: String,
    /// How many buffers it reads.
    pub reads: usize,
}

/// One dispatch.
#[derive(Clone, PartialEq, Debug)]
pub struct Step {
    /// The label of the node that it computes.
    pub label: String,
    /// The node's op.
    pub op: String,
    /// Part of the forward or of the reverse walk.
    pub role: Role,
    /// Which of [`Plan::kernels`].
    pub kernel: usize,
    /// The kernel's parameters, in 32-bit words.
    pub params: Vec<u32>,
    /// The buffers it reads.
    pub inputs: Vec<BufferId>,
    /// The buffer it writes.
    pub output: BufferId,
    /// Workgroups along x and y.
    pub grid: [u32; 2],
}

/// A leaf whose value a run must be given.
#[derive(Clone, PartialEq, Debug)]
pub struct Feed {
    /// The leaf's label.
    pub label: String,
    /// Its shape.
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
    /// Its shape.
    pub shape: Shape,
    /// Where it is.
    pub buffer: BufferId,
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
}

impl Plan {
    /// The plan that computes `outputs` of `graph`, and nothing that they do
    /// not need, on any device.
    pub fn new(graph: &Graph, outputs: &[NodeId]) -> Result<Plan> {
        Plan::with_target(graph, outputs, &Target::default())
    }

    /// As [`new`](Plan::new), with the kernels that suit `target`.
    pub fn with_target(graph: &Graph, outputs: &[NodeId], target: &Target) -> Result<Plan> {
        Planner::new(graph, target).plan(outputs)
    }

    /// The bytes of all buffers together.
    pub fn bytes(&self) -> u64 {
        self.buffers.iter().map(BufferSpec::bytes).sum()
    }
}

struct Planner<'g> {
    graph: &'g Graph,
    target: &'g Target,
    plan: Plan,
    kernel_index: HashMap<(String, String), usize>,
    place: Vec<Option<BufferId>>,
}

impl<'g> Planner<'g> {
    fn new(graph: &'g Graph, target: &'g Target) -> Self {
        Planner {
            graph,
            target,
            plan: Plan {
                buffers: Vec::new(),
                kernels: Vec::new(),
                steps: Vec::new(),
                feeds: Vec::new(),
                outputs: Vec::new(),
            },
            kernel_index: HashMap::new(),
            place: vec![None; graph.len()],
        }
    }

    fn plan(mut self, outputs: &[NodeId]) -> Result<Plan> {
        let needed = self.graph.reachable(outputs)?;
        for (id, node) in self.graph.nodes() {
            if needed[id.index()] {
                let place = match &node.kind {
                    Kind::Input | Kind::Parameter => self.feed(id)?,
                    Kind::Constant(value) => self.buffer(
                        &node.label,
                        value.shape().numel(),
                        Content::Constant(value.clone()),
                    ),
                    Kind::Op(_) => self.lower(id)?,
                };
                self.place[id.index()] = Some(place);
            }
        }
        for &id in outputs {
            let node = self.graph.node(id)?;
            if self.plan.outputs.iter().any(|o| o.node == id) {
                continue;
            }
            self.plan.outputs.push(Output {
                node: id,
                label: node.label.clone(),
                shape: node.shape.clone(),
                buffer: self.at(id)?,
            });
        }
        Ok(self.plan)
    }

    fn at(&self, id: NodeId) -> Result<BufferId> {
        self.place[id.index()]
            .ok_or_else(|| Error::Graph(format!("node {id} is used before it is computed")))
    }

    fn buffer(&mut self, label: &str, elements: usize, content: Content) -> BufferId {
        self.plan.buffers.push(BufferSpec {
            label: label.to_string(),
            elements,
            content,
        });
        BufferId(self.plan.buffers.len() as u32 - 1)
    }

    fn feed(&mut self, id: NodeId) -> Result<BufferId> {
        let node = self.graph.node(id)?;
        let buffer = self.buffer(&node.label, node.shape.numel(), Content::Fed);
        self.plan.feeds.push(Feed {
            label: node.label.clone(),
            shape: node.shape.clone(),
            buffer,
        });
        Ok(buffer)
    }

    fn lower(&mut self, id: NodeId) -> Result<BufferId> {
        let node = self.graph.node(id)?;
        let Some(op) = node.op() else {
            return Err(Error::Graph(format!("node `{}` is a leaf", node.label)));
        };
        let mut shapes = Vec::with_capacity(node.inputs.len());
        let mut inputs = Vec::with_capacity(node.inputs.len());
        for &input in &node.inputs {
            shapes.push(self.graph.shape(input)?);
            inputs.push(self.at(input)?);
        }
        match op.lower(&shapes, &node.shape, self.target) {
            Lowering::View => Ok(inputs[0]),
            Lowering::Map(call) => {
                let output = self.buffer(&node.label, node.shape.numel(), Content::Computed);
                if node.shape.numel() > 0 {
                    let made = map_kernel::make(&call, &shapes, &node.shape)?;
                    let kernel = self.kernel(made.kernel);
                    self.step(id, kernel, made.params, inputs, output, made.workgroups)?;
                }
                Ok(output)
            }
            Lowering::Calls { scratch, calls, .. } => {
                let output = self.buffer(&node.label, node.shape.numel(), Content::Computed);
                let scratch: Vec<_> = scratch
                    .into_iter()
                    .enumerate()
                    .map(|(i, elements)| {
                        let label = format!("{} (part {i})", node.label);
                        self.buffer(&label, elements, Content::Computed)
                    })
                    .collect();
                let find = |operand: Operand| match operand {
                    Operand::Input(i) => inputs[i],
                    Operand::Output => output,
                    Operand::Scratch(i) => scratch[i],
                };
                for call in calls.into_iter().filter(|c| c.workgroups > 0) {
                    let reads: Vec<_> = call.inputs.iter().map(|&i| find(i)).collect();
                    let writes = find(call.output);
                    let kernel = self.kernel(written_by_hand(&call));
                    self.step(id, kernel, call.params, reads, writes, call.workgroups)?;
                }
                Ok(output)
            }
        }
    }

    fn kernel(&mut self, kernel: KernelSource) -> usize {
        let key = (kernel.entry.clone(), kernel.source.clone());
        *self.kernel_index.entry(key).or_insert_with(|| {
            self.plan.kernels.push(kernel);
            self.plan.kernels.len() - 1
        })
    }

    fn step(
        &mut self,
        id: NodeId,
        kernel: usize,
        params: Vec<u32>,
        inputs: Vec<BufferId>,
        output: BufferId,
        workgroups: u64,
    ) -> Result<()> {
        let node = self.graph.node(id)?;
        let op = node.op().map_or(String::new(), |op| op.to_string());
        self.plan.steps.push(Step {
            label: node.label.clone(),
            op,
            role: node.role,
            kernel,
            params,
            inputs,
            output,
            grid: fold(workgroups).ok_or_else(|| {
                Error::Limit(format!(
                    "`{}` of shape {} needs {workgroups} workgroups, more than a dispatch may have; \
                     split the batch",
                    node.label, node.shape
                ))
            })?,
        });
        Ok(())
    }
}

/// A line of workgroups folded into rows: as few rows as fit, evenly long.
fn fold(workgroups: u64) -> Option<[u32; 2]> {
    let rows = workgroups.div_ceil(MAX_WORKGROUPS).max(1);
    if rows > MAX_WORKGROUPS {
        return None;
    }
    Some([workgroups.div_ceil(rows) as u32, rows as u32])
}

fn written_by_hand(call: &Call) -> KernelSource {
    KernelSource {
        label: call.kernel.entry.to_string(),
        entry: call.kernel.entry.to_string(),
        source: join(call.kernel.libs, call.kernel.source),
        reads: call.inputs.len(),
    }
}

/// WGSL has no include: the files one after the other.
fn join(libs: &[&str], source: &str) -> String {
    let mut text = String::new();
    for lib in libs {
        text.push_str(lib);
        text.push('\n');
    }
    text.push_str(source);
    text
}

impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "plan: {} steps, {} kernels, {} buffers, {} bytes",
            self.steps.len(),
            self.kernels.len(),
            self.buffers.len(),
            self.bytes()
        )?;
        for (i, b) in self.buffers.iter().enumerate() {
            let content = match b.content {
                Content::Fed => "fed",
                Content::Constant(_) => "constant",
                Content::Computed => "computed",
            };
            writeln!(
                f,
                "  b{i}: {} x f32, {content}  \"{}\"",
                b.elements, b.label
            )?;
        }
        for step in &self.steps {
            let reads: Vec<_> = step.inputs.iter().map(|b| format!("b{}", b.0)).collect();
            let mark = match step.role {
                Role::Forward => ' ',
                Role::Backward => '~',
            };
            writeln!(
                f,
                " {mark}b{} = {}({}) on {}x{}  {} \"{}\"",
                step.output.0,
                self.kernels[step.kernel].label,
                reads.join(", "),
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_lines_of_workgroups_are_folded() {
        assert_eq!(fold(1), Some([1, 1]));
        assert_eq!(fold(65_535), Some([65_535, 1]));
        assert_eq!(fold(65_536), Some([32_768, 2]));
        assert_eq!(fold(65_535 * 65_535), Some([65_535, 65_535]));
        assert_eq!(fold(65_535 * 65_535 + 1), None);
        for n in [65_537, 1_000_003, 16_777_216] {
            let [x, y] = fold(n).unwrap();
            assert!(u64::from(x) * u64::from(y) >= n);
        }
    }
}
