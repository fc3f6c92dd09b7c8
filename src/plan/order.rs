//! The order in which a plan computes: that of building, but for row programs.
//! One of these computes many nodes at once, when all that it reads is there;
//! what reads its results comes after it, whenever it was built.

use super::rows::Region;
use crate::error::{Error, Result};
use crate::graph::{Graph, NodeId};

/// One thing to do.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Item {
    /// A leaf, or an op that no row program computes.
    Node(NodeId),
    /// Row program number i.
    Region(usize),
}

/// All that is to be done, in order, and when each node is there.
pub(super) struct Order {
    pub items: Vec<Item>,
    time: Vec<usize>,
    /// Whether a row program computes the node.
    claimed: Vec<bool>,
}

impl Order {
    /// `regions` are in an order in which they can be computed.
    pub fn new(graph: &Graph, needed: &[bool], regions: &[Region]) -> Result<Order> {
        let mut order = Order {
            items: Vec::new(),
            time: vec![usize::MAX; graph.len()],
            claimed: vec![false; graph.len()],
        };
        for id in regions.iter().flat_map(Region::members) {
            order.claimed[id.index()] = true;
        }
        for (i, region) in regions.iter().enumerate() {
            order.add_ready(graph, needed);
            order.add_region(i, region);
        }
        order.add_ready(graph, needed);
        for (id, node) in graph.nodes() {
            if needed[id.index()] && order.time[id.index()] == usize::MAX {
                return Err(Error::Graph(format!(
                    "`{}` waits for something that waits for it",
                    node.label
                )));
            }
        }
        Ok(order)
    }

    /// Every node whose inputs are there.
    fn add_ready(&mut self, graph: &Graph, needed: &[bool]) {
        for (id, node) in graph.nodes() {
            let is_there = |i: &NodeId| self.time[i.index()] != usize::MAX;
            if needed[id.index()]
                && !self.claimed[id.index()]
                && !is_there(&id)
                && node.inputs.iter().all(is_there)
            {
                self.time[id.index()] = self.items.len();
                self.items.push(Item::Node(id));
            }
        }
    }

    fn add_region(&mut self, i: usize, region: &Region) {
        for id in region.members() {
            self.time[id.index()] = self.items.len();
        }
        self.items.push(Item::Region(i));
    }

    /// When a node is computed, for comparing.
    pub fn time(&self, id: NodeId) -> usize {
        self.time[id.index()]
    }
}
