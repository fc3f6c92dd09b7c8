//! A group of elementwise ops as the epilogue of the op that it reads: two
//! functions through which that op's kernel passes what it would store
//! (`shaders/lib/epilogue.wgsl`). The op's own value then makes no trip through
//! memory.
//!
//! It may be done where nothing else reads that value, where all else that the
//! group reads is there before the op, and where the functions are short: a
//! kernel has a copy of them for each element of a tile.

use super::KernelSource;
use super::access::Access;
use super::chain::Chain;
use super::chain_text;
use super::fuse::{self, Group, Groups};
use super::nodes::Nodes;
use crate::error::{Error, Result};
use crate::graph::{Call, Graph, NodeId, Operand, Target};

/// The most ops in an epilogue.
const MOST_LINKS: usize = 8;

/// What a kernel is given to end with a group.
#[derive(Debug)]
pub(super) struct Epilogue {
    /// The ops' functions, `struct Epilogue`, its buffers and the two functions.
    pub source: String,
    /// The words of `struct Epilogue`, whole blocks of four.
    pub params: Vec<u32>,
    /// The holders of the buffers that it reads, in the order of bindings: after
    /// the kernel's own and before the output.
    pub reads: Vec<NodeId>,
    /// The nodes that it computes, in order.
    pub members: Vec<NodeId>,
    /// The ops' names.
    names: String,
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
    let Some(at) = product_load(&chain, &loads, product) else {
        return Ok(None);
    };
    let mut reads = loads;
    reads.remove(at);
    // Leaves are there from the start.
    let before = |&load: &NodeId| {
        nodes.is_leaf(load) || nodes.time(groups.stored_at(load)) < nodes.time(product)
    };
    let is_there = reads.iter().all(before);
    let is_short = chain.links.iter().all(|link| fuse::is_cheap(&link.call));
    let buffers = call.inputs.len() + reads.len() + 1;
    if !is_there || !is_short || buffers > target.storage_buffers as usize || chain.elements == 0 {
        return Ok(None);
    }
    Ok(Some(made(&chain, at, group, reads, call.inputs.len() + 1)))
}

fn made(
    chain: &Chain,
    product: usize,
    group: &Group,
    reads: Vec<NodeId>,
    first_binding: usize,
) -> Epilogue {
    Epilogue {
        source: chain_text::epilogue(chain, product, first_binding),
        params: chain.params(chain.elements as u32, true),
        reads,
        members: group.members.clone(),
        names: chain.names(),
    }
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

    /// A kernel with its text in place: room for the parameters, and the output
    /// after the buffers that it reads.
    pub fn added_to(&self, mut kernel: KernelSource) -> Result<KernelSource> {
        let wrong = |what: &str| Error::Graph(format!("kernel `{}` has {what}", kernel.entry));
        let output = |reads: usize| format!("@binding({}) var<storage, read_write>", reads + 1);
        let own = output(kernel.reads);
        if kernel.source.matches(&own).count() != 1 {
            return Err(wrong("no output after what it reads"));
        }
        let reads = kernel.reads + self.reads.len();
        let mut source = kernel.source.replace(&own, &output(reads));
        let end = source
            .find("struct Params {")
            .and_then(|start| Some(start + source[start..].find("\n}")? + 1))
            .ok_or_else(|| wrong("no struct Params"))?;
        source.insert_str(end, "    @align(16) epilogue: Epilogue,\n");
        kernel.label = format!("{}+{}", kernel.label, self.names);
        kernel.source = source;
        kernel.reads = reads;
        Ok(kernel)
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
        assert_eq!(
            ops(&plan),
            ["matmul", "scale[3.0]", "matmul, add"],
            "{plan}"
        );
    }
}
