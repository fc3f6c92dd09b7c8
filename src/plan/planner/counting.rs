//! The steps that count, behind each op, what is not finite in its value.

use super::Planner;
use crate::error::Result;
use crate::graph::{NodeId, Role};
use crate::plan::{BufferId, Content, Output, count};
use crate::shape::Shape;

impl Planner<'_> {
    /// Counts what is not finite in the value of `id`, into a part of `counts`.
    pub(super) fn count(&mut self, id: NodeId, counts: BufferId) -> Result<()> {
        let node = self.graph.node(id)?;
        let numel = node.shape.numel();
        let value = self.at(id)?;
        let own = self.append(&node.label, count::WORDS, Content::Computed, counts);
        self.plan.outputs.push(Output {
            node: id,
            label: node.label.clone(),
            shape: Shape::new(&[count::WORDS])?,
            buffer: own,
        });
        if numel == 0 {
            return Ok(());
        }
        let kernel = self.kernel(count::counting());
        let words = vec![numel as u32, 0, 0, 0];
        let workgroups = numel.div_ceil(count::VALUES) as u64;
        self.step(&[id], kernel, words, vec![value], vec![own], workgroups)?;
        self.call_last("count what is not finite");
        Ok(())
    }

    /// Sets all of `counts` to 0 before the first step: each run counts anew.
    pub(super) fn clear(&mut self, counts: BufferId) -> Result<()> {
        let Some(last) = self.plan.outputs.last().map(|o| o.node) else {
            return Ok(());
        };
        let words = self.plan.buffers[counts.index()].elements;
        let kernel = self.kernel(count::clearing());
        let workgroups = words.div_ceil(count::CLEARED) as u64;
        let params = vec![words as u32, 0, 0, 0];
        self.step(
            &[last],
            kernel,
            params,
            Vec::new(),
            vec![counts],
            workgroups,
        )?;
        self.call_last("clear");
        self.plan.steps.rotate_right(1);
        self.plan.steps[0].role = Role::Forward;
        Ok(())
    }

    /// Names what the last step does, where that is no op and no node's value.
    fn call_last(&mut self, what: &str) {
        if let Some(step) = self.plan.steps.last_mut() {
            step.op = what.to_string();
            step.nodes.clear();
        }
    }
}
