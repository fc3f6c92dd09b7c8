//! What the passes know of each node: how it is computed, what it reads, where
//! its value is, who reads that. Made once, read by every pass.

use std::collections::HashMap;

use super::{cse, masks};
use crate::error::{Error, Result};
use crate::graph::{Graph, Kind, Lowering, Node, NodeId, Target};
use crate::shape::Shape;

/// The nodes of a graph that a plan needs.
pub(super) struct Nodes<'g> {
    graph: &'g Graph,
    needed: Vec<bool>,
    lowering: Vec<Option<Lowering>>,
    holder: Vec<NodeId>,
    output: Vec<bool>,
    /// What nodes read in place of their inputs.
    better: HashMap<NodeId, Vec<NodeId>>,
    readers: Vec<Vec<NodeId>>,
}

impl<'g> Nodes<'g> {
    /// Finds what `outputs` need, lowers each op for `target`, finds what is
    /// computed twice and, if `fuse`, what is better read.
    pub fn new(
        graph: &'g Graph,
        outputs: &[NodeId],
        target: &Target,
        fuse: bool,
    ) -> Result<Nodes<'g>> {
        let needed = graph.reachable(outputs)?;
        let lowering = lower(graph, &needed, target)?;
        let holder = cse::holders(graph, &needed, &lowering);
        let mut output = vec![false; graph.len()];
        for id in outputs {
            output[holder[id.index()].index()] = true;
        }
        let mut nodes = Nodes {
            graph,
            needed,
            lowering,
            holder,
            output,
            better: HashMap::new(),
            readers: vec![Vec::new(); graph.len()],
        };
        if fuse {
            nodes.better = masks::better_inputs(graph, &nodes);
        }
        nodes.find_readers();
        Ok(nodes)
    }

    fn find_readers(&mut self) {
        for (id, node) in self.graph.nodes() {
            if !self.holds(id) {
                continue;
            }
            for &input in self.better.get(&id).unwrap_or(&node.inputs) {
                let readers = &mut self.readers[self.holder[input.index()].index()];
                if readers.last() != Some(&id) {
                    readers.push(id);
                }
            }
        }
    }

    /// The nodes whose values a plan must have: needed, no view, not equal to
    /// an earlier one. In the order of building.
    pub fn held(&self) -> impl DoubleEndedIterator<Item = (NodeId, &'g Node)> {
        self.graph.nodes().filter(|(id, _)| self.holds(*id))
    }

    fn holds(&self, id: NodeId) -> bool {
        self.needed[id.index()] && self.holder[id.index()] == id
    }

    /// The node that holds the value of `id`.
    pub fn holder(&self, id: NodeId) -> NodeId {
        self.holder[id.index()]
    }

    /// Whether the value is read back, under this or another node's name.
    pub fn is_output(&self, holder: NodeId) -> bool {
        self.output[holder.index()]
    }

    /// The ops that read a value, through views or not, in the order of
    /// building.
    pub fn readers(&self, holder: NodeId) -> &[NodeId] {
        &self.readers[holder.index()]
    }

    /// What the node reads.
    pub fn inputs(&self, id: NodeId) -> &[NodeId] {
        match (self.better.get(&id), self.graph.node(id)) {
            (Some(inputs), _) => inputs,
            (None, Ok(node)) => &node.inputs,
            (None, Err(_)) => &[], // of another graph
        }
    }

    /// How the node is computed; `None` for leaves.
    pub fn lowering(&self, id: NodeId) -> Option<&Lowering> {
        self.lowering[id.index()].as_ref()
    }
}

fn lower(graph: &Graph, needed: &[bool], target: &Target) -> Result<Vec<Option<Lowering>>> {
    let lower = |(id, node): (NodeId, &Node)| -> Result<Option<Lowering>> {
        let Kind::Op(op) = &node.kind else {
            return Ok(None);
        };
        if !needed[id.index()] {
            return Ok(None);
        }
        let shapes = shapes(graph, node)?;
        let lowering = op.lower(&shapes, &node.shape, target);
        if lowering == Lowering::View && node.inputs.is_empty() {
            return Err(Error::Graph(format!(
                "`{}` is a view of nothing",
                node.label
            )));
        }
        Ok(Some(lowering))
    };
    graph.nodes().map(lower).collect()
}

/// The shapes of what a node reads.
fn shapes<'g>(graph: &'g Graph, node: &Node) -> Result<Vec<&'g Shape>> {
    node.inputs.iter().map(|&id| graph.shape(id)).collect()
}
