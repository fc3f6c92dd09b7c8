//! A group of elementwise ops as the epilogue of the op that it reads: two
//! functions through which that op's kernel passes what it would store
//! (`shaders/lib/epilogue.wgsl`). The op's own value then makes no trip through
//! memory.
//!
//! It may be done where nothing else reads that value, where all else that the
//! group reads is there before the op, and where the functions are short: a
//! kernel has a copy of them for each element of a tile.

use super::access::Access;
use super::chain::Chain;
use super::fuse::{self, Group, Groups};
use super::nodes::Nodes;
use crate::error::Result;
use crate::graph::{Call, Graph, NodeId, Operand, Target};

/// The most ops in an epilogue, and in a prologue.
pub(super) const MOST_LINKS: usize = 8;

/// What a kernel is given to end with a group.
#[derive(Debug)]
pub(super) struct Epilogue {
    /// The ops.
    pub chain: Chain,
    /// The load that is the product's value.
    pub given: usize,
    /// The holders of the buffers that it reads besides, in order.
    pub reads: Vec<NodeId>,
    /// The nodes that it computes, in order.
    pub members: Vec<NodeId>,
}

/// The epilogue of `product`, which `calls` compute, if a group can be that.
pub(super) fn of(
    graph: &Graph,
    nodes: &Nodes<'_>,
    groups: &Groups,
    product: NodeId,
    calls: &[Call],
    target: &Target,
) -> Result<Option<Epilogue>> {
    let (Some(group), Some(call)) = (
        groups.only(nodes.readers(product)),
        calls.iter().find(|call| has_hook(call)),
    ) else {
        return Ok(None);
    };
    if nodes.is_output(product) || group.stores.len() > 1 || group.members.len() > MOST_LINKS {
        return Ok(None);
    }
    let (chain, loads) = fuse::chain(graph, nodes, group)?;
    let Some(given) = product_load(&chain, &loads, product) else {
        return Ok(None);
    };
    let mut reads = loads;
    reads.remove(given);
    // Leaves are there from the start.
    let before = |&load: &NodeId| {
        nodes.is_leaf(load) || nodes.time(groups.stored_at(load)) < nodes.time(product)
    };
    let is_there = reads.iter().all(before);
    let buffers = call.inputs.len() + reads.len() + 1;
    if !is_there
        || !is_short(&chain, group)
        || buffers > target.storage_buffers as usize
        || chain.elements == 0
    {
        return Ok(None);
    }
    Ok(Some(Epilogue {
        chain,
        given,
        reads,
        members: group.members.clone(),
    }))
}

/// Whether a kernel may have a copy of the ops for each element of a tile.
pub(super) fn is_short(chain: &Chain, group: &Group) -> bool {
    let cheap = |link: &super::chain::Link| fuse::is_cheap(&link.call);
    group.members.len() <= MOST_LINKS && chain.links.iter().all(cheap)
}

/// Whether a call stores the op's value through the functions.
fn has_hook(call: &Call) -> bool {
    call.epilogue && call.output == Operand::Output
}

/// The load that is the product, if it is read as it lies and in no other way.
fn product_load(chain: &Chain, loads: &[NodeId], product: NodeId) -> Option<usize> {
    let mut found = (0..loads.len()).filter(|&i| loads[i] == product);
    let first = found.next()?;
    let alone = found.next().is_none() && chain.loads[first] == Access::Same;
    alone.then_some(first)
}

impl Epilogue {
    /// The node whose value the kernel stores now.
    pub fn output(&self) -> Option<NodeId> {
        self.members.last().copied()
    }

    /// Whether it is the end of this call.
    pub fn ends(&self, call: &Call) -> bool {
        has_hook(call)
    }
}

#[cfg(test)]
mod tests {
    use crate::graph::{Graph, NodeId};
    use crate::plan::{Plan, without_rows};

    fn ops(plan: &Plan) -> Vec<&str> {
        plan.steps.iter().map(|s| s.op.as_str()).collect()
    }

    fn product(g: &mut Graph) -> (NodeId, NodeId, NodeId) {
        let x = g.input("x", &[6, 20]).unwrap();
        let w = g.input("w", &[20, 8]).unwrap();
        let z = g.matmul(x, w).unwrap();
        (x, w, z)
    }

    #[test]
    fn a_bias_and_a_relu_follow_a_product_in_its_kernel() {
        let mut g = Graph::new();
        let (_, _, z) = product(&mut g);
        let b = g.input("b", &[8]).unwrap();
        let a = g.add(z, b).unwrap();
        let h = g.relu(a).unwrap();
        let plan = without_rows(&g, &[h]).unwrap();
        assert_eq!(ops(&plan), ["matmul, add, relu"], "{plan}");
        assert_eq!((plan.kernels[0].reads, plan.kernels[0].writes), (3, 1));
        assert!(plan.kernels[0].label.ends_with("+add+relu"), "{plan}");
        assert_eq!(plan.steps[0].params.len() % 4, 0);
        // A value that is read back, or by others, has to be stored.
        assert_eq!(without_rows(&g, &[z, h]).unwrap().steps.len(), 2);
        let s = g.sum_all(z).unwrap();
        assert_eq!(without_rows(&g, &[s, h]).unwrap().steps.len(), 3);
    }

    #[test]
    fn sums_have_epilogues_too() {
        let mut g = Graph::new();
        let x = g.input("x", &[6, 20]).unwrap();
        let s = g.sum(x, &[1]).unwrap();
        let y = g.scale(s, 0.5).unwrap();
        let plan = without_rows(&g, &[y]).unwrap();
        assert_eq!(ops(&plan), ["sum[axes=[1]], scale[0.5]"], "{plan}");
    }

    #[test]
    fn what_is_long_or_waits_for_others_is_none() {
        let mut g = Graph::new();
        let (_, _, z) = product(&mut g);
        let s = g.sigmoid(z).unwrap();
        let plan = without_rows(&g, &[s]).unwrap();
        assert_eq!(ops(&plan), ["matmul", "sigmoid"], "{plan}");

        let mut g = Graph::new();
        let (x, w, z) = product(&mut g);
        let t = g.scale(x, 3.0).unwrap();
        let later = g.matmul(t, w).unwrap();
        let a = g.add(z, later).unwrap();
        let plan = without_rows(&g, &[a]).unwrap();
        assert_eq!(ops(&plan), ["matmul", "scale[3.0], matmul, add"], "{plan}");
    }
}
