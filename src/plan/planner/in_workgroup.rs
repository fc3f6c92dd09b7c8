//! Everything in one kernel of one workgroup, and networks side by side.

use std::collections::HashMap;

use super::Planner;
use crate::error::{Error, Result};
use crate::graph::NodeId;
use crate::plan::nodes::Nodes;
use crate::plan::order::Order;
use crate::plan::workgroup::{Room, WorkgroupProgram};
use crate::plan::{Content, SLICE, fuse};

impl Planner<'_> {
    /// Refuses more networks than a buffer has room for.
    pub(super) fn check_replicas(&self) -> Result<()> {
        let (replicas, most) = (self.options.replicas as u64, self.target.binding_bytes);
        let large = self.plan.buffers.iter().max_by_key(|b| b.bytes());
        match large {
            Some(spec) if spec.bytes() > most => Err(Error::Limit(format!(
                "{replicas} networks side by side need {} bytes in one buffer (\"{}\"), but this \
                 adapter binds at most {most}; make it {} networks or fewer",
                spec.bytes(),
                spec.label,
                most / spec.bytes().div_ceil(replicas)
            ))),
            _ => Ok(()),
        }
    }

    /// Plans a workgroup program for everything, if it is worth it; says whether
    /// it did.
    pub(super) fn in_a_workgroup(&mut self, needed: &[bool], outputs: &[NodeId]) -> Result<bool> {
        let replicas = self.options.replicas;
        if !self.fuse() || (!self.options.workgroup && replicas == 1) {
            return Ok(false);
        }
        let order = Order::new(self.graph, needed, &[])?;
        let nodes = Nodes::new(self.graph, outputs, self.target, order, true)?;
        let groups = fuse::groups(self.graph, &nodes, self.target, true)?;
        let room = Room {
            replicas,
            share: self.options.share,
        };
        let found = WorkgroupProgram::find(self.graph, &nodes, &groups, self.target, room)?;
        let Some(program) = found else {
            return Ok(false);
        };
        let all = vec![true; self.graph.len()];
        let Some(data) = self.leaves(&nodes, &all, "leaves and values") else {
            return Ok(false);
        };
        for (id, value) in &program.constants {
            let label = &self.graph.node(*id)?.label;
            let content = Content::Constant(value.clone());
            let part = self.append(label, value.shape().numel(), content, data);
            self.place[id.index()] = Some(part);
        }
        let values = self.plan.buffers[data.index()]
            .elements
            .next_multiple_of(SLICE);
        self.plan.buffers[data.index()].elements = values + program.elements();
        let mut places = HashMap::new();
        for value in program.values() {
            places.insert(value.node, values + value.first);
            if value.apart {
                // Nothing else reads it: it is listed, and not to be bound.
                let node = self.graph.node(value.node)?;
                let part = self.buffer(&node.label, node.shape.numel(), Content::Computed);
                let spec = &mut self.plan.buffers[part.index()];
                spec.part_of = Some((data, values + value.first));
                spec.apart = Some(program.stretch());
            } else {
                let part = self.slice(value.node, data, values + value.first)?;
                self.place[value.node.index()] = Some(part);
            }
        }
        for (id, _) in self.graph.nodes() {
            let part = self.place[id.index()].map(|b| self.plan.buffers[b.index()].part_of);
            if let Some(Some((_, first))) = part {
                places.insert(id, first);
            }
        }
        for made in program.kernels(self.graph, &places)? {
            let kernel = self.kernel(made.kernel);
            self.step(
                &made.members,
                kernel,
                made.params,
                Vec::new(),
                vec![data],
                replicas as u64,
            )?;
        }
        self.read_back(&nodes, outputs)?;
        Ok(true)
    }
}
