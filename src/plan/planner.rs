//! Makes plans: passes over the graph, each of which decides one thing.

use std::collections::HashMap;

use super::{
    BufferId, BufferSpec, Content, Feed, KernelSource, MAX_WORKGROUPS, Output, Plan, PlanOptions,
    SLICE, Step, map_kernel,
    rows::{self, Region, RowProgram, SharedAt},
};
use crate::error::{Error, Result};
use crate::graph::{Call, Graph, Kind, Lowering, NodeId, Operand, Target};
use crate::ops::template;

/// A plan in the making.
pub(super) struct Planner<'g> {
    graph: &'g Graph,
    target: &'g Target,
    options: &'g PlanOptions,
    plan: Plan,
    kernel_index: HashMap<(String, String), usize>,
    /// Ops that no step computes yet.
    todo: Vec<bool>,
    place: Vec<Option<BufferId>>,
}

impl<'g> Planner<'g> {
    pub(super) fn new(graph: &'g Graph, target: &'g Target, options: &'g PlanOptions) -> Self {
        Planner {
            graph,
            target,
            options,
            plan: Plan {
                buffers: Vec::new(),
                kernels: Vec::new(),
                steps: Vec::new(),
                feeds: Vec::new(),
                outputs: Vec::new(),
            },
            kernel_index: HashMap::new(),
            todo: Vec::new(),
            place: vec![None; graph.len()],
        }
    }

    /// The plan that computes `outputs`.
    pub(super) fn plan(mut self, outputs: &[NodeId]) -> Result<Plan> {
        let needed = self.graph.reachable(outputs)?;
        let mut kept = vec![false; self.graph.len()];
        for &id in outputs {
            kept[id.index()] = true;
        }
        let is_op = |id: NodeId| self.graph.node(id).is_ok_and(|n| n.op().is_some());
        let all = self.graph.nodes().map(|(id, _)| id);
        self.todo = all.map(|id| needed[id.index()] && is_op(id)).collect();
        let regions = if self.options.fuse {
            rows::find_all(self.graph, &self.todo, &kept, self.target)
        } else {
            Vec::new()
        };

        self.leaves(&needed, &regions)?;
        for region in &regions {
            for id in region.members() {
                self.todo[id.index()] = false;
            }
        }
        for region in &regions {
            self.lower_ready()?;
            self.rows(region)?;
        }
        self.lower_ready()?;
        self.outputs(outputs)?;
        Ok(self.plan)
    }

    fn outputs(&mut self, outputs: &[NodeId]) -> Result<()> {
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
        Ok(())
    }

    /// Gives every leaf its place. Small leaves that row programs read as
    /// shared values lie together, so that they take one binding.
    fn leaves(&mut self, needed: &[bool], regions: &[Region]) -> Result<()> {
        let mut together = vec![false; self.graph.len()];
        for id in regions.iter().flat_map(|r| &r.shared) {
            together[id.index()] = self.graph.node(*id)?.op().is_none();
        }
        let pack = together
            .contains(&true)
            .then(|| self.buffer("shared values", 0, Content::Computed));
        for (id, node) in self.graph.nodes() {
            let content = match &node.kind {
                Kind::Input | Kind::Parameter => Content::Fed,
                Kind::Constant(value) => Content::Constant(value.clone()),
                Kind::Op(_) => continue,
            };
            if !needed[id.index()] {
                continue;
            }
            let buffer = match pack {
                Some(pack) if together[id.index()] => {
                    self.append(&node.label, node.shape.numel(), content, pack)
                }
                _ => self.buffer(&node.label, node.shape.numel(), content),
            };
            if node.is_fed() {
                self.plan.feeds.push(Feed {
                    label: node.label.clone(),
                    shape: node.shape.clone(),
                    buffer,
                });
            }
            self.place[id.index()] = Some(buffer);
        }
        Ok(())
    }

    /// Lowers, in order, every node that is to be done and has its inputs.
    fn lower_ready(&mut self) -> Result<()> {
        for (id, node) in self.graph.nodes() {
            let ready = |i: &NodeId| self.place[i.index()].is_some();
            if self.todo[id.index()] && node.inputs.iter().all(ready) {
                self.todo[id.index()] = false;
                self.place[id.index()] = Some(self.lower(id)?);
            }
        }
        Ok(())
    }

    /// One row program: its kernel, its finishing passes, its results' places.
    fn rows(&mut self, region: &Region) -> Result<()> {
        let mut buffers: Vec<BufferId> = Vec::new();
        let mut shared = Vec::with_capacity(region.shared.len());
        for &id in &region.shared {
            let place = self.at(id)?;
            let (buffer, first) = match self.plan.buffers[place.index()].part_of {
                Some(part) => part,
                None => (place, 0),
            };
            let known = buffers.iter().position(|&b| b == buffer);
            let buffer = known.unwrap_or_else(|| {
                buffers.push(buffer);
                buffers.len() - 1
            });
            shared.push(SharedAt { buffer, first });
        }
        let program = RowProgram::new(self.graph, region, &shared, self.target);
        let mut reads = Vec::with_capacity(region.leaves.len() + buffers.len());
        for &leaf in &region.leaves {
            reads.push(self.at(leaf)?);
        }
        reads.extend(buffers);

        let sums = self.buffer(
            "sums over the rows",
            program.sums_elements,
            Content::Computed,
        );
        for &(id, first) in &program.sums {
            self.place[id.index()] = Some(self.slice(id, sums, first)?);
        }
        let mut stores = Vec::new();
        if !program.stores.is_empty() {
            let buffer = self.buffer("values by row", program.stores_elements, Content::Computed);
            for &(id, first) in &program.stores {
                self.place[id.index()] = Some(self.slice(id, buffer, first)?);
            }
            stores.push(buffer);
        }

        // The node that a failure is reported for: the last that it computes.
        let Some(id) = region.members().max() else {
            return Ok(());
        };
        let parts: Vec<BufferId> = program
            .finish
            .iter()
            .map(|pass| self.buffer("sums of workgroups", pass.parts, Content::Computed))
            .collect();
        let first = parts.first().copied().unwrap_or(sums);
        let kernel = self.kernel(program.kernel);
        let writes = [vec![first], stores].concat();
        self.step(
            id,
            kernel,
            program.params,
            reads,
            writes,
            program.workgroups,
        )?;
        for (i, pass) in program.finish.into_iter().enumerate() {
            let to = parts.get(i + 1).copied().unwrap_or(sums);
            let kernel = self.kernel(pass.kernel);
            self.step(
                id,
                kernel,
                pass.params,
                vec![parts[i]],
                vec![to],
                pass.workgroups,
            )?;
        }
        Ok(())
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
            part_of: None,
        });
        BufferId(self.plan.buffers.len() as u32 - 1)
    }

    /// A new part at the end of `whole`, which grows by it.
    fn append(
        &mut self,
        label: &str,
        elements: usize,
        content: Content,
        whole: BufferId,
    ) -> BufferId {
        let first = self.plan.buffers[whole.index()]
            .elements
            .next_multiple_of(SLICE);
        self.plan.buffers[whole.index()].elements = first + elements;
        let part = self.buffer(label, elements, content);
        self.plan.buffers[part.index()].part_of = Some((whole, first));
        part
    }

    /// The value of `id` as a part of `whole`.
    fn slice(&mut self, id: NodeId, whole: BufferId, first: usize) -> Result<BufferId> {
        let node = self.graph.node(id)?;
        let part = self.buffer(&node.label, node.shape.numel(), Content::Computed);
        self.plan.buffers[part.index()].part_of = Some((whole, first));
        Ok(part)
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
                    self.step(
                        id,
                        kernel,
                        made.params,
                        inputs,
                        vec![output],
                        made.workgroups,
                    )?;
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
                    self.step(
                        id,
                        kernel,
                        call.params,
                        reads,
                        vec![writes],
                        call.workgroups,
                    )?;
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
        outputs: Vec<BufferId>,
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
            outputs,
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
        writes: 1,
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
