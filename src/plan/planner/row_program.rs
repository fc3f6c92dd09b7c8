//! The steps and buffers of a row program.

use super::Planner;
use crate::error::Result;
use crate::plan::nodes::Nodes;
use crate::plan::rows::{Region, RowProgram, SharedAt};
use crate::plan::{BufferId, Content, stride};

impl Planner<'_> {
    /// One row program: its kernel, its finishing passes, its results' places.
    pub(super) fn rows(&mut self, nodes: &Nodes<'_>, region: &Region) -> Result<()> {
        let mut buffers: Vec<BufferId> = Vec::new();
        let mut shared = Vec::with_capacity(region.shared.len());
        for &id in &region.shared {
            let place = self.at(nodes.holder(id))?;
            let (buffer, first) = match self.plan.buffers[place.index()].part_of {
                Some(part) => part,
                None => (place, 0),
            };
            let known = buffers.iter().position(|&b| b == buffer);
            let buffer = known.unwrap_or_else(|| {
                buffers.push(buffer);
                buffers.len() - 1
            });
            let leaf = self.graph.node(nodes.holder(id))?;
            let own = self.options.replicas > 1 && leaf.is_fed();
            shared.push(SharedAt {
                buffer,
                first,
                each: if own { stride(leaf.shape.numel()) } else { 0 },
            });
        }
        let program = RowProgram::new(
            self.graph,
            region,
            &shared,
            self.target,
            self.options.replicas,
        );
        let mut reads = Vec::with_capacity(region.leaves.len() + buffers.len());
        for &leaf in &region.leaves {
            reads.push(self.at(nodes.holder(leaf))?);
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
            &[id],
            kernel,
            program.params,
            reads,
            writes,
            program.workgroups,
        )?;
        if let Some(step) = self.plan.steps.last_mut() {
            step.nodes = region.members().collect();
        }
        for (i, pass) in program.finish.into_iter().enumerate() {
            let to = parts.get(i + 1).copied().unwrap_or(sums);
            let kernel = self.kernel(pass.kernel);
            self.step(
                &[id],
                kernel,
                pass.params,
                vec![parts[i]],
                vec![to],
                pass.workgroups,
            )?;
            // It ends the sums of that kernel, which has their nodes.
            if let Some(step) = self.plan.steps.last_mut() {
                step.nodes.clear();
            }
        }
        Ok(())
    }
}
