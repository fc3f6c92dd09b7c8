//! Makes plans: passes over the graph, each of which decides one thing.

mod counting;
mod in_workgroup;
mod row_program;

use std::collections::{HashMap, HashSet};

use super::epilogue::{self, Epilogue};
use super::fuse::{self, Group, Groups};
use super::hooks::Hooks;
use super::nodes::Nodes;
use super::order::{Item, Order};
use super::prologue;
use super::rows::{self, Region, RowProgram};
use super::{
    BufferId, BufferSpec, Content, Feed, KernelSource, MAX_WORKGROUPS, Output, Plan, PlanOptions,
    SLICE, Step, fold, lifetimes, stride,
};
use crate::error::{Error, Result};
use crate::graph::{Call, Graph, Kind, Lowering, NodeId, Operand, Target};
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
                replicas: options.replicas,
                peak_bytes: 0,
            },
            kernel_index: HashMap::new(),
            place: vec![None; graph.len()],
        }
    }

    /// The plan that computes `outputs`.
    pub(super) fn plan(mut self, outputs: &[NodeId]) -> Result<Plan> {
        if self.options.replicas == 0 {
            return Err(Error::Graph(
                "0 replicas compute nothing; ask for 1 or more".to_string(),
            ));
        }
        if self.options.replicas > 1 && self.options.count_nonfinite {
            return Err(Error::Graph(
                "what is not finite is counted for one network at a time; ask for 1 replica"
                    .to_string(),
            ));
        }
        let needed = self.graph.reachable(outputs)?;
        let regions = self.regions(&needed, outputs);
        let replicas = self.options.replicas;
        let rows = self.is_one_row_program(&needed, &regions);
        let alone = |region| replicas == 1 || RowProgram::is_alone(self.graph, region, self.target);
        // A row program that does it all keeps more in registers.
        if rows && regions.iter().all(alone) {
            self.op_by_op(&needed, &regions, outputs)?;
        } else if !self.in_a_workgroup(&needed, outputs)? {
            if replicas > 1 {
                return Err(Error::Limit(format!(
                    "{replicas} networks side by side take one workgroup each, and this one's \
                     step does not fit one: make the batch or the layers smaller, or run the \
                     networks one after the other"
                )));
            }
            self.op_by_op(&needed, &regions, outputs)?;
        }
        if replicas > 1 {
            self.check_replicas()?;
        }
        lifetimes::apply(&mut self.plan, self.options.share);
        Ok(self.plan)
    }

    /// Plans row programs, and a kernel for every other op or group of ops.
    fn op_by_op(&mut self, needed: &[bool], regions: &[Region], outputs: &[NodeId]) -> Result<()> {
        let order = Order::new(self.graph, needed, regions)?;
        let fuse = self.fuse();
        let mut nodes = Nodes::new(self.graph, outputs, self.target, order, fuse)?;
        for region in regions {
            nodes.add_readers(region);
        }
        let groups = fuse::groups(self.graph, &nodes, self.target, fuse)?;
        let joined = self.joined(&nodes, &groups)?;
        self.leaves(&nodes, &shared_leaves(&nodes, regions), "shared values");
        let counts = (self.options.count_nonfinite)
            .then(|| self.buffer("counts of what is not finite", 0, Content::Computed));
        for &item in nodes.items() {
            match item {
                Item::Node(id) => self.compute(&nodes, &groups, &joined, id)?,
                Item::Region(i) => self.rows(&nodes, &regions[i])?,
            }
            if let (Some(counts), Item::Node(id)) = (counts, item)
                && nodes.holds(id)
                && !nodes.is_leaf(id)
            {
                self.count(id, counts)?;
            }
        }
        match counts {
            Some(counts) => self.clear(counts),
            None => self.read_back(&nodes, outputs),
        }
    }

    /// The groups that kernels of other ops compute.
    fn joined(&self, nodes: &Nodes<'_>, groups: &Groups) -> Result<Joined> {
        let mut joined = Joined::default();
        if !self.fuse() {
            return Ok(joined);
        }
        for (id, _) in nodes.held() {
            if let Some(Lowering::Calls { calls, .. }) = nodes.lowering(id) {
                let epilogue = epilogue::of(self.graph, nodes, groups, id, calls, self.target)?;
                joined.epilogues.extend(epilogue.map(|e| (id, e)));
            }
        }
        joined.prologues = prologue::find(
            self.graph,
            nodes,
            groups,
            &joined.epilogues,
            self.target,
            self.options.prologues,
        )?;
        Ok(joined)
    }

    /// Whether a kernel may compute several ops.
    fn fuse(&self) -> bool {
        self.options.fuse && !self.options.count_nonfinite
    }

    /// Whether one row program computes everything.
    fn is_one_row_program(&self, needed: &[bool], regions: &[Region]) -> bool {
        let is_op = |&id: &NodeId| self.graph.node(id).is_ok_and(|n| n.op().is_some());
        let ids = self.graph.nodes().map(|(id, _)| id);
        let ops = ids.filter(|id| needed[id.index()]).filter(is_op).count();
        matches!(regions, [region] if region.members().count() == ops)
    }

    /// The parts of the graph that row programs do.
    fn regions(&self, needed: &[bool], outputs: &[NodeId]) -> Vec<Region> {
        if !self.fuse() || !self.options.rows {
            return Vec::new();
        }
        let mut kept = vec![false; self.graph.len()];
        for &id in outputs {
            kept[id.index()] = true;
        }
        let ops = self
            .graph
            .nodes()
            .map(|(id, node)| needed[id.index()] && node.op().is_some());
        let todo: Vec<bool> = ops.collect();
        rows::find_all(self.graph, &todo, &kept, self.target)
    }

    /// Gives an op's value a place, and the steps that it takes.
    fn compute(
        &mut self,
        nodes: &Nodes<'_>,
        groups: &Groups,
        joined: &Joined,
        id: NodeId,
    ) -> Result<()> {
        if !nodes.holds(id) {
            return Ok(()); // a view, or equal to another
        }
        match nodes.lowering(id) {
            Some(Lowering::Map(_)) => match groups.ending_at(id) {
                // Computed already, as an epilogue.
                Some(_) if self.place[id.index()].is_some() => Ok(()),
                // To be computed, as a prologue.
                Some(_) if joined.prologues.computes(id) => Ok(()),
                Some(group) => self.group(nodes, group),
                None => Ok(()), // inside a group that ends later
            },
            Some(Lowering::Calls { scratch, calls, .. }) => {
                self.calls(nodes, id, scratch, calls, joined)
            }
            // Leaves have their places; a view is held by what it views.
            Some(Lowering::View) | None => Ok(()),
        }
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

    /// Gives every leaf its place. Those that are to lie `together` are parts of
    /// one buffer with this label, so that they take one binding.
    fn leaves(&mut self, nodes: &Nodes<'_>, together: &[bool], label: &str) -> Option<BufferId> {
        let pack = together
            .contains(&true)
            .then(|| self.buffer(label, 0, Content::Computed));
        for (id, node) in nodes.held() {
            let content = match &node.kind {
                Kind::Input | Kind::Parameter => Content::Fed,
                Kind::Constant(value) => Content::Constant(value.clone()),
                Kind::Op(_) => continue,
            };
            let elements = match content {
                Content::Constant(_) => node.shape.numel(),
                _ => self.of_all(node.shape.numel()),
            };
            let buffer = match pack {
                Some(pack) if together[id.index()] => {
                    self.append(&node.label, elements, content, pack)
                }
                _ => self.buffer(&node.label, elements, content),
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
        pack
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
            apart: None,
        });
        BufferId(self.plan.buffers.len() as u32 - 1)
    }

    /// Elements that the values of all replicas take, of `numel` each.
    fn of_all(&self, numel: usize) -> usize {
        match self.options.replicas {
            1 => numel,
            n => n * stride(numel),
        }
    }

    fn constant(&mut self, label: &str, value: Tensor) -> BufferId {
        self.buffer(label, value.shape().numel(), Content::Constant(value))
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
        let elements = self.of_all(node.shape.numel());
        let part = self.buffer(&node.label, elements, Content::Computed);
        self.plan.buffers[part.index()].part_of = Some((whole, first));
        Ok(part)
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

    /// The steps of an op with kernels written by hand, and of the groups that these
    /// compute.
    fn calls(
        &mut self,
        nodes: &Nodes<'_>,
        id: NodeId,
        scratch: &[usize],
        calls: &[Call],
        joined: &Joined,
    ) -> Result<()> {
        let node = self.graph.node(id)?;
        let epilogue = joined.epilogues.get(&id);
        let stored = epilogue.and_then(Epilogue::output).unwrap_or(id);
        let label = &self.graph.node(stored)?.label;
        let output = self.buffer(label, node.shape.numel(), Content::Computed);
        self.place[stored.index()] = Some(output);
        let part = |(i, &elements): (usize, &usize)| {
            let label = format!("{} (part {i})", node.label);
            self.buffer(&label, elements, Content::Computed)
        };
        let scratch: Vec<_> = scratch.iter().enumerate().map(part).collect();
        for call in calls.iter().filter(|c| c.workgroups > 0) {
            let hooks = Hooks::new(call, joined.prologues.of(id), epilogue);
            let find = |operand: Operand| match operand {
                Operand::Input(i) => self.at(nodes.holder(nodes.inputs(id)[i])),
                Operand::Output => Ok(output),
                Operand::Scratch(i) => Ok(scratch[i]),
            };
            let mut reads = Vec::with_capacity(call.inputs.len());
            for (i, &input) in call.inputs.iter().enumerate() {
                reads.push(match hooks.given(i) {
                    Some(given) => self.at(given)?,
                    None => find(input)?,
                });
            }
            for read in hooks.reads() {
                reads.push(self.at(read)?);
            }
            let writes = vec![find(call.output)?];
            let kernel = self.kernel(hooks.kernel()?);
            self.step(
                &hooks.nodes(id),
                kernel,
                hooks.params(),
                reads,
                writes,
                call.workgroups,
            )?;
        }
        Ok(())
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
            nodes: ids.to_vec(),
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

/// What is computed in the kernels of other ops, by the op.
#[derive(Default)]
struct Joined {
    epilogues: HashMap<NodeId, Epilogue>,
    prologues: prologue::Found,
}

/// The small leaves that row programs read as values shared by all rows.
fn shared_leaves(nodes: &Nodes<'_>, regions: &[Region]) -> Vec<bool> {
    let mut shared = vec![false; nodes.len()];
    for id in regions.iter().flat_map(|r| &r.shared) {
        let holder = nodes.holder(*id);
        shared[holder.index()] = nodes.is_leaf(holder);
    }
    shared
}

/// A line of workgroups folded into rows: as few rows as fit, evenly long.
fn fold(workgroups: u64) -> Option<[u32; 2]> {
    let rows = workgroups.div_ceil(MAX_WORKGROUPS).max(1);
    if rows > MAX_WORKGROUPS {
        return None;
    }
    Some([workgroups.div_ceil(rows) as u32, rows as u32])
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
