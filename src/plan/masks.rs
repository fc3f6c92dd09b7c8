//! Operands that may be read after an op in place of before it, without a
//! change of a single bit. ReLU's backward asks only whether its operand is
//! above zero (or NaN), and ReLU's result answers that as well: so the value
//! before the ReLU need not be kept for the backward walk, and is often not
//! stored at all.

use std::collections::HashMap;

use super::nodes::Nodes;
use crate::graph::{Graph, Kind, NodeId};

/// (an op, one of its operands, the op whose result does as well).
const SAME_AFTER: [(&str, usize, &str); 1] = [("relu_backward", 1, "relu")];

/// The inputs of those nodes that are better read after the op, if that is
/// computed anyway, before them. A value that is read back stays what is read:
/// then each op is judged on the operands that it has in the graph.
pub(super) fn better_inputs(graph: &Graph, nodes: &Nodes<'_>) -> HashMap<NodeId, Vec<NodeId>> {
    let mut after: HashMap<(&str, NodeId), NodeId> = HashMap::new();
    let mut better = HashMap::new();
    for (id, node) in nodes.held() {
        let Kind::Op(op) = &node.kind else { continue };
        for (name, operand, other) in SAME_AFTER {
            if op.name() == other {
                after.insert((other, nodes.holder(node.inputs[0])), id);
            }
            if op.name() != name {
                continue;
            }
            let before = node.inputs[operand];
            let holder = nodes.holder(before);
            if let Some(&result) = after.get(&(other, holder))
                && !nodes.is_output(holder)
                && graph.shape(before).ok() == graph.shape(result).ok()
            {
                let mut inputs = node.inputs.clone();
                inputs[operand] = result;
                better.insert(id, inputs);
            }
        }
    }
    better
}

#[cfg(test)]
mod tests {
    use crate::autodiff::gradient;
    use crate::graph::Graph;
    use crate::plan::without_rows;

    #[test]
    fn what_comes_before_a_relu_is_not_kept_for_the_backward_walk() {
        let mut g = Graph::new();
        let x = g.input("x", &[5, 3]).unwrap();
        let w = g.parameter("w", &[4, 3]).unwrap();
        let b = g.parameter("b", &[4]).unwrap();
        let v = g.parameter("v", &[2, 4]).unwrap();
        let z = g.linear(x, w, Some(b)).unwrap();
        let h = g.relu(z).unwrap();
        let o = g.linear(h, v, None).unwrap();
        let loss = g.sum_all(o).unwrap();
        let grads = gradient(&mut g, loss, &[w, b, v]).unwrap();
        let plan = without_rows(&g, &grads).unwrap();
        let find = |op: &str| plan.steps.iter().find(|s| s.op.contains(op)).unwrap();
        let (forward, backward) = (find("add, relu"), find("relu_backward"));
        assert_eq!(forward.outputs.len(), 1);
        assert!(backward.inputs.contains(&forward.outputs[0]), "{plan}");
        // Read back, it is what the backward reads.
        let plan = without_rows(&g, &[z, grads[0]]).unwrap();
        let backward = plan
            .steps
            .iter()
            .find(|s| s.op.contains("relu_backward"))
            .unwrap();
        let read = plan.outputs[0].buffer;
        assert!(backward.inputs.contains(&read), "{plan}");
    }
}
