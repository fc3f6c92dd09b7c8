//! What a step costs at least: the arithmetic in its graph, and the bytes that
//! must pass whoever computes it. Counted from the graph, so that two ways of
//! computing one thing are held against the same work.

use crate::error::Result;
use crate::graph::{Graph, Kind, Lowering, Meaning, NodeId, Target};

/// The work in a graph.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Cost {
    /// Floating-point operations: 2mnk for a product of matrices, one for each
    /// element that an elementwise op writes (whatever function it is), one
    /// for each element that a sum or mean reads.
    pub flops: u64,
    /// Bytes of the leaves and of the outputs, each once. What lies between
    /// need not be stored and is not counted.
    pub bytes: u64,
}

impl Cost {
    /// That of so many of the same.
    pub fn times(self, n: u64) -> Cost {
        Cost {
            flops: self.flops * n,
            bytes: self.bytes * n,
        }
    }
}

/// The arithmetic of one node.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Arithmetic {
    /// As [`Cost::flops`].
    pub flops: u64,
    /// Whether it may take several dispatches, which share it: an op with kernels
    /// of its own. An elementwise op is done whole in each dispatch that lists it.
    pub shared: bool,
}

/// What it takes to compute the node `id` from its inputs; nothing for a leaf.
///
/// # Errors
/// A node of another graph.
pub fn arithmetic(graph: &Graph, id: NodeId) -> Result<Arithmetic> {
    let node = graph.node(id)?;
    let mut made = Arithmetic {
        flops: 0,
        shared: false,
    };
    let Kind::Op(op) = &node.kind else {
        return Ok(made);
    };
    let mut shapes = Vec::with_capacity(node.inputs.len());
    for &input in &node.inputs {
        shapes.push(graph.shape(input)?);
    }
    let own = node.shape.numel() as u64;
    match op.lower(&shapes, &node.shape, &Target::default()) {
        Lowering::View => {}
        Lowering::Map(_) => made.flops = own,
        Lowering::Calls { meaning, .. } => {
            made.shared = true;
            made.flops = match meaning {
                Meaning::Product { transpose_a, .. } => {
                    let dims = shapes[0].dims();
                    let from_end = if transpose_a { 2 } else { 1 };
                    2 * own * dims[dims.len() - from_end] as u64
                }
                Meaning::Sum { .. } => shapes[0].numel() as u64,
            };
        }
    }
    Ok(made)
}

/// What it takes to compute `outputs`.
///
/// # Errors
/// A node of another graph.
pub fn cost(graph: &Graph, outputs: &[NodeId]) -> Result<Cost> {
    let needed = graph.reachable(outputs)?;
    let mut cost = Cost::default();
    for (id, node) in graph.nodes().filter(|(id, _)| needed[id.index()]) {
        if node.op().is_none() || outputs.contains(&id) {
            cost.bytes += 4 * node.shape.numel() as u64;
        }
        cost.flops += arithmetic(graph, id)?.flops;
    }
    Ok(cost)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::autodiff::gradient;

    #[test]
    fn products_sums_and_maps_are_counted() {
        let mut g = Graph::new();
        let x = g.input("x", &[8, 4]).unwrap();
        let w = g.parameter("w", &[3, 4]).unwrap();
        let z = g.linear(x, w, None).unwrap();
        let h = g.relu(z).unwrap();
        let loss = g.sum_all(h).unwrap();
        let forward = cost(&g, &[loss]).unwrap();
        assert_eq!(forward.flops, 2 * 8 * 3 * 4 + 24 + 24);
        assert_eq!(forward.bytes, 4 * (32 + 12 + 1));
        let dw = gradient(&mut g, loss, &[w]).unwrap()[0];
        let both = cost(&g, &[loss, dw]).unwrap();
        // The mask, and one product for the weights; none for the input.
        assert!(both.flops >= forward.flops + 24 + 2 * 8 * 3 * 4);
        assert!(both.flops < forward.flops + 24 + 2 * 2 * 8 * 3 * 4);
        assert!(both.bytes >= forward.bytes + 4 * 12);
    }
}
