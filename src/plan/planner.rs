//! Makes plans: passes over the graph, each of which decides one thing.

use std::collections::HashMap;

use super::{
    BufferId, BufferSpec, Content, Feed, KernelSource, MAX_WORKGROUPS, Output, Plan, Step,
    map_kernel,
};
use crate::error::{Error, Result};
use crate::graph::{Call, Graph, Kind, Lowering, NodeId, Operand, Target};
use crate::ops::template;

/// A plan in the making.
pub(super) struct Planner<'g> {
    graph: &'g Graph,
    target: &'g Target,
    plan: Plan,
    kernel_index: HashMap<(String, String), usize>,
    place: Vec<Option<BufferId>>,
}

impl<'g> Planner<'g> {
    pub(super) fn new(graph: &'g Graph, target: &'g Target) -> Self {
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

    /// The plan that computes `outputs`.
    pub(super) fn plan(mut self, outputs: &[NodeId]) -> Result<Plan> {
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
                    let kernel = self.kernel(written_by_hand(&call)?);
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

fn written_by_hand(call: &Call) -> Result<KernelSource> {
    let kernel = &call.kernel;
    let text = join(kernel.libs, kernel.source);
    Ok(KernelSource {
        label: kernel.entry.to_string(),
        entry: kernel.entry.to_string(),
        source: template::expand(&text, &kernel.settings)
            .map_err(|e| Error::Graph(format!("kernel `{}`: {e}", kernel.entry)))?,
        reads: call.inputs.len(),
    })
}

/// WGSL has no include: the files one after the other.
pub(super) fn join(libs: &[&str], source: &str) -> String {
    let mut text = String::new();
    for lib in libs {
        text.push_str(lib);
        text.push('\n');
    }
    text.push_str(source);
    text
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
