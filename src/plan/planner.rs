//! Makes plans: passes over the graph, each of which decides one thing.

use std::collections::{HashMap, HashSet};

use super::fuse::{self, Group, Groups};
use super::nodes::Nodes;
use super::{
    BufferId, BufferSpec, Content, Feed, KernelSource, MAX_WORKGROUPS, Output, Plan, PlanOptions,
    Step, fold, lifetimes,
};
use crate::error::{Error, Result};
use crate::graph::{Call, Graph, Kind, Lowering, Node, NodeId, Operand, Target};
use crate::tensor::Tensor;

/// A plan in the making.
pub(super) struct Planner<'g> {
    graph: &'g Graph,
    target: &'g Target,
    options: &'g PlanOptions,
    plan: Plan,
    kernel_index: HashMap<(String, String), usize>,
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
                peak_bytes: 0,
            },
            kernel_index: HashMap::new(),
            place: vec![None; graph.len()],
        }
    }

    /// The plan that computes `outputs`.
    pub(super) fn plan(mut self, outputs: &[NodeId]) -> Result<Plan> {
        let nodes = Nodes::new(self.graph, outputs, self.target, self.options.fuse)?;
        let groups = fuse::groups(self.graph, &nodes, self.target, self.options.fuse)?;
        for (id, node) in nodes.held() {
            self.compute(&nodes, &groups, id, node)?;
        }
        self.read_back(&nodes, outputs)?;
        lifetimes::apply(&mut self.plan, self.options.share);
        Ok(self.plan)
    }

    /// Gives a node's value a place, and the steps that it takes.
    fn compute(
        &mut self,
        nodes: &Nodes<'_>,
        groups: &Groups,
        id: NodeId,
        node: &Node,
    ) -> Result<()> {
        let place = match (&node.kind, nodes.lowering(id)) {
            (Kind::Input | Kind::Parameter, _) => self.feed(node),
            (Kind::Constant(value), _) => self.constant(&node.label, value.clone()),
            (Kind::Op(_), Some(Lowering::Map(_))) => {
                return match groups.ending_at(id) {
                    Some(group) => self.group(nodes, group),
                    None => Ok(()), // inside a group that ends later
                };
            }
            (Kind::Op(_), Some(Lowering::Calls { scratch, calls, .. })) => {
                self.calls(nodes, id, scratch, calls)?
            }
            // A view is held by what it views.
            (Kind::Op(_), Some(Lowering::View) | None) => return Ok(()),
        };
        self.place[id.index()] = Some(place);
        Ok(())
    }

    /// Lists what is read back, each node once.
    fn read_back(&mut self, nodes: &Nodes<'_>, outputs: &[NodeId]) -> Result<()> {
        let mut listed = HashSet::new();
        for &id in outputs.iter().filter(|&&id| listed.insert(id)) {
            let node = self.graph.node(id)?;
            self.plan.outputs.push(Output {
                node: id,
                label: node.label.clone(),
                shape: node.shape.clone(),
                buffer: self.at(nodes.holder(id))?,
            });
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
        });
        BufferId(self.plan.buffers.len() as u32 - 1)
    }

    fn constant(&mut self, label: &str, value: Tensor) -> BufferId {
        self.buffer(label, value.shape().numel(), Content::Constant(value))
    }

    fn feed(&mut self, node: &Node) -> BufferId {
        let buffer = self.buffer(&node.label, node.shape.numel(), Content::Fed);
        self.plan.feeds.push(Feed {
            label: node.label.clone(),
            shape: node.shape.clone(),
            buffer,
        });
        buffer
    }

    /// The step of a group of elementwise ops.
    fn group(&mut self, nodes: &Nodes<'_>, group: &Group) -> Result<()> {
        if let Some(value) = fold::repeated_constant(self.graph, nodes, group)? {
            for &id in &group.stores {
                let label = &self.graph.node(id)?.label;
                self.place[id.index()] = Some(self.constant(label, value.clone()));
            }
            return Ok(());
        }
        let (chain, loads) = fuse::chain(self.graph, nodes, group)?;
        let mut inputs = Vec::with_capacity(loads.len());
        for load in loads {
            inputs.push(self.at(load)?);
        }
        let mut stores = Vec::with_capacity(group.stores.len());
        for &store in &group.stores {
            let node = self.graph.node(store)?;
            let buffer = self.buffer(&node.label, node.shape.numel(), Content::Computed);
            self.place[store.index()] = Some(buffer);
            stores.push(buffer);
        }
        if chain.elements > 0 {
            let made = chain.kernel();
            let kernel = self.kernel(made.kernel);
            self.step(
                &group.members,
                kernel,
                made.params,
                inputs,
                stores,
                made.workgroups,
            )?;
        }
        Ok(())
    }

    /// The steps of an op with kernels written by hand.
    fn calls(
        &mut self,
        nodes: &Nodes<'_>,
        id: NodeId,
        scratch: &[usize],
        calls: &[Call],
    ) -> Result<BufferId> {
        let node = self.graph.node(id)?;
        let mut inputs = Vec::with_capacity(node.inputs.len());
        for &input in nodes.inputs(id) {
            inputs.push(self.at(nodes.holder(input))?);
        }
        let output = self.buffer(&node.label, node.shape.numel(), Content::Computed);
        let part = |(i, &elements): (usize, &usize)| {
            let label = format!("{} (part {i})", node.label);
            self.buffer(&label, elements, Content::Computed)
        };
        let scratch: Vec<_> = scratch.iter().enumerate().map(part).collect();
        let find = |operand: Operand| match operand {
            Operand::Input(i) => inputs[i],
            Operand::Output => output,
            Operand::Scratch(i) => scratch[i],
        };
        for call in calls.iter().filter(|c| c.workgroups > 0) {
            let reads: Vec<_> = call.inputs.iter().map(|&i| find(i)).collect();
            let writes = vec![find(call.output)];
            let kernel = self.kernel(written_by_hand(call));
            let params = call.params.clone();
            self.step(&[id], kernel, params, reads, writes, call.workgroups)?;
        }
        Ok(output)
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
        ids: &[NodeId],
        kernel: usize,
        params: Vec<u32>,
        inputs: Vec<BufferId>,
        outputs: Vec<BufferId>,
        workgroups: u64,
    ) -> Result<()> {
        let mut ops = Vec::with_capacity(ids.len());
        for &id in ids {
            ops.extend(self.graph.node(id)?.op().map(|op| op.to_string()));
        }
        let Some(&last) = ids.last() else {
            return Err(Error::Graph("a step computes no node".to_string()));
        };
        let node = self.graph.node(last)?;
        self.plan.steps.push(Step {
            label: node.label.clone(),
            op: ops.join(", "),
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

fn written_by_hand(call: &Call) -> KernelSource {
    KernelSource {
        label: call.kernel.entry.to_string(),
        entry: call.kernel.entry.to_string(),
        source: join(call.kernel.libs, call.kernel.source),
        reads: call.inputs.len(),
        writes: 1,
    }
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
