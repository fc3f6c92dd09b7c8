//! What the passes know of each node: how it is computed, what it reads, where
//! its value is, who reads that. Made once, read by every pass.

use std::collections::HashMap;

use super::order::{Item, Order};
use super::rows::Region;
use super::{cse, masks};
use crate::error::{Error, Result};
use crate::graph::{Graph, Kind, Lowering, Meaning, Node, NodeId, Precision, Target};
use crate::ops::arithmetic::MUL;
use crate::shape::Shape;

/// The nodes of a graph that a plan needs.
pub(super) struct Nodes<'g> {
    graph: &'g Graph,
    order: Order,
    lowering: Vec<Option<Lowering>>,
    holder: Vec<NodeId>,
    output: Vec<bool>,
    /// What nodes read in place of their inputs.
    better: HashMap<NodeId, Vec<NodeId>>,
    readers: Vec<Vec<NodeId>>,
}

impl<'g> Nodes<'g> {
    /// Lowers each op of `order` for `target`, finds what is computed twice and, if `fuse`, what is better read.
    pub fn new(
        graph: &'g Graph,
        outputs: &[NodeId],
        target: &Target,
        order: Order,
        fuse: bool,
    ) -> Result<Nodes<'g>> {
        let lowering = lower(graph, &order, target, fuse)?;
        let holder = cse::holders(graph, &order, &lowering);
        let mut output = vec![false; graph.len()];
        for id in outputs {
            output[holder[id.index()].index()] = true;
        }
        let mut nodes = Nodes {
            graph,
            order,
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
        let held: Vec<NodeId> = self.held().map(|(id, _)| id).collect();
        for id in held {
            for input in self.inputs(id).to_vec() {
                self.add_reader(input, id);
            }
        }
    }

    fn add_reader(&mut self, input: NodeId, reader: NodeId) {
        let readers = &mut self.readers[self.holder[input.index()].index()];
        if readers.last() != Some(&reader) {
            readers.push(reader);
        }
    }

    /// Counts a row program among the readers of what it reads.
    pub fn add_readers(&mut self, region: &Region) {
        let Some(reader) = region.members().next() else {
            return;
        };
        for &input in region.leaves.iter().chain(&region.shared) {
            self.add_reader(input, reader);
        }
    }

    /// What is to be done, in order.
    pub fn items(&self) -> &[Item] {
        &self.order.items
    }

    /// When a node is computed, for comparing.
    pub fn time(&self, id: NodeId) -> usize {
        self.order.time(id)
    }

    /// The nodes whose values a plan must have: needed, no view, not equal to
    /// an earlier one, and not computed by a row program. In order.
    pub fn held(&self) -> impl DoubleEndedIterator<Item = (NodeId, &'g Node)> {
        self.order.items.iter().filter_map(|item| match *item {
            Item::Node(id) if self.holds(id) => Some((id, self.graph.node(id).ok()?)),
            _ => None,
        })
    }

    /// Nodes of the graph, needed or not.
    pub fn len(&self) -> usize {
        self.holder.len()
    }

    /// Whether the node holds its own value.
    pub fn holds(&self, id: NodeId) -> bool {
        self.holder[id.index()] == id
    }

    /// Whether the node is a leaf.
    pub fn is_leaf(&self, id: NodeId) -> bool {
        self.graph.node(id).is_ok_and(|node| node.op().is_none())
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

fn lower(
    graph: &Graph,
    order: &Order,
    target: &Target,
    fuse: bool,
) -> Result<Vec<Option<Lowering>>> {
    let mut all = vec![None; graph.len()];
    for &item in &order.items {
        let Item::Node(id) = item else { continue };
        let node = graph.node(id)?;
        let Kind::Op(op) = &node.kind else { continue };
        let mut shapes = Vec::with_capacity(node.inputs.len());
        for &input in &node.inputs {
            shapes.push(graph.shape(input)?);
        }
        let mut lowering = op.lower(&shapes, &node.shape, target);
        if is_one_term(&lowering, &shapes) {
            lowering = Lowering::View;
        } else if fuse && is_outer_product(&lowering, &shapes) {
            lowering = Lowering::Map(MUL.call());
        }
        if lowering == Lowering::View && node.inputs.is_empty() {
            let label = &node.label;
            return Err(Error::Graph(format!("`{label}` is a view of nothing")));
        }
        all[id.index()] = Some(lowering);
    }
    Ok(all)
}

/// Whether an op is a sum of one term (over a batch of one row), which is that
/// term.
fn is_one_term(lowering: &Lowering, inputs: &[&Shape]) -> bool {
    let Lowering::Calls {
        meaning: Meaning::Sum { axes, divisor },
        ..
    } = lowering
    else {
        return false;
    };
    let [input] = inputs else { return false };
    let sizes = axes.iter().map(|&axis| input.dims().get(axis).copied());
    *divisor == 1 && sizes.into_iter().all(|size| size == Some(1))
}

/// Whether an op is a product of a column and a row: one multiplication an
/// element, which the ops around it may share a kernel with.
fn is_outer_product(lowering: &Lowering, inputs: &[&Shape]) -> bool {
    let Lowering::Calls {
        meaning:
            Meaning::Product {
                transpose_a: false,
                transpose_b: false,
                precision: Precision::F32,
            },
        ..
    } = lowering
    else {
        return false;
    };
    let inner = inputs.iter().zip([1, 2]).all(|(shape, from_end)| {
        let dims = shape.dims();
        dims.len() >= 2 && dims[dims.len() - from_end] == 1
    });
    inner && inputs.len() == 2
}
