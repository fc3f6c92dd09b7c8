//! Reverse-mode differentiation, graph to graph: one short walk that asks each
//! op for its vjp. Backward is graph: what this appends is ordinary nodes, so
//! a gradient can be differentiated again.

use crate::error::{Error, Result};
use crate::graph::{Cotangent, Graph, Kind, NodeId, Role};
use crate::tensor::Tensor;

/// The gradients of a scalar `loss` by each node of `wrt`, appended to the
/// graph as nodes of the same shapes. The cotangent of the loss is 1.
///
/// A node that does not influence the loss has a gradient of zeros.
///
/// ```
/// use wgrad::{Graph, gradient};
///
/// let mut g = Graph::new();
/// let x = g.input("x", &[3])?;
/// let y = g.mul(x, x)?;
/// let loss = g.sum_all(y)?;
/// let dx = gradient(&mut g, loss, &[x])?[0];
/// assert_eq!(g.shape(dx)?.dims(), &[3]);
/// # Ok::<(), wgrad::Error>(())
/// ```
pub fn gradient(g: &mut Graph, loss: NodeId, wrt: &[NodeId]) -> Result<Vec<NodeId>> {
    g.operand("gradient", loss)?;
    let node = g.node(loss)?;
    if node.shape.numel() != 1 {
        return Err(Error::Graph(format!(
            "gradient needs a scalar, but `{}` has shape {}; reduce it with sum_all or mean_all, \
             or give a cotangent to vjp",
            node.label, node.shape
        )));
    }
    let ones = Tensor::full(&node.shape.clone(), 1.0);
    let seed = g.backward(|g| {
        let seed = g.constant(ones);
        named(g, seed, loss)
    })?;
    vjp(g, loss, seed, wrt)
}

/// The vector-Jacobian products of `output` with `cotangent` by each node of
/// `wrt`: as [`gradient`], for an output of any shape.
pub fn vjp(
    g: &mut Graph,
    output: NodeId,
    cotangent: NodeId,
    wrt: &[NodeId],
) -> Result<Vec<NodeId>> {
    let (of, with) = (g.operand("vjp", output)?, g.operand("vjp", cotangent)?);
    for &node in wrt {
        g.operand("vjp", node)?;
    }
    if of != with {
        return Err(Error::Graph(format!(
            "the cotangent of `{}` must have its shape {of}, got {with}; reshape or expand it",
            g.node(output)?.label
        )));
    }
    let on_path = influences(g, output, wrt)?;
    g.backward(|g| {
        let count = on_path.len();
        // The parts of each node's cotangent; it is their sum.
        let mut parts: Vec<Vec<NodeId>> = vec![Vec::new(); count];
        parts[output.index()].push(cotangent);
        let order: Vec<NodeId> = g.nodes().map(|(id, _)| id).take(count).collect();
        let mut done: Vec<Option<NodeId>> = vec![None; count];
        for &id in order.iter().rev() {
            if !on_path[id.index()] || parts[id.index()].is_empty() {
                continue;
            }
            let total = accumulate(g, &parts[id.index()])?;
            done[id.index()] = Some(named(g, total, id)?);
            let node = g.node(id)?;
            let Kind::Op(op) = node.kind.clone() else {
                continue;
            };
            let inputs = node.inputs.clone();
            if !inputs.iter().any(|i| on_path[i.index()]) {
                continue;
            }
            let rules = op.vjp(g, id, total)?;
            for (input, rule) in inputs.into_iter().zip(rules) {
                if !on_path[input.index()] {
                    continue;
                }
                match rule {
                    Cotangent::Node(part) => parts[input.index()].push(part),
                    Cotangent::Zero(_) => {}
                    Cotangent::Missing(reason) => {
                        return Err(Error::Unsupported(format!(
                            "no gradient of {op} by `{}`: {reason}",
                            g.node(input)?.label
                        )));
                    }
                }
            }
        }
        if cfg!(debug_assertions) {
            g.verify()?;
        }
        wrt.iter()
            .map(|&id| match done[id.index()] {
                Some(node) => Ok(node),
                None => {
                    let zeros = Tensor::full(&g.shape(id)?.clone(), 0.0);
                    Ok(g.constant(zeros))
                }
            })
            .collect()
    })
}

/// Which nodes lie on a path from one of `wrt` to `output`.
fn influences(g: &Graph, output: NodeId, wrt: &[NodeId]) -> Result<Vec<bool>> {
    let mut from = vec![false; g.len()];
    for &id in wrt {
        g.node(id)?;
        from[id.index()] = true;
    }
    for (id, node) in g.nodes() {
        if node.inputs.iter().any(|i| from[i.index()]) {
            from[id.index()] = true;
        }
    }
    let to = g.reachable(&[output])?;
    Ok(from.iter().zip(to).map(|(&a, b)| a && b).collect())
}

fn accumulate(g: &mut Graph, parts: &[NodeId]) -> Result<NodeId> {
    let mut total = parts[0];
    for &part in &parts[1..] {
        total = g.add(total, part)?;
    }
    Ok(total)
}

/// Names a cotangent after its primal. A node that is the cotangent of several
/// keeps its first name, and a node that the user made is never renamed.
fn named(g: &mut Graph, cotangent: NodeId, primal: NodeId) -> Result<NodeId> {
    let label = format!("d/d {}", g.node(primal)?.label);
    let node = g.node(cotangent)?;
    let ours = node.role == Role::Backward && !node.label.starts_with("d/d ");
    if ours && g.find(&label).is_none() {
        g.name(cotangent, &label)?;
    }
    Ok(cotangent)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_does_not_influence_the_loss_has_a_gradient_of_zeros() {
        let mut g = Graph::new();
        let x = g.input("x", &[2, 3]).unwrap();
        let other = g.input("other", &[4]).unwrap();
        let loss = g.sum_all(x).unwrap();
        let grads = gradient(&mut g, loss, &[other, x]).unwrap();
        let Kind::Constant(zeros) = &g.node(grads[0]).unwrap().kind else {
            panic!("{g}");
        };
        assert_eq!(zeros.data(), [0.0; 4]);
        assert_eq!(g.shape(grads[1]).unwrap().dims(), [2, 3]);
        // The loss's gradient by itself is its cotangent.
        let own = gradient(&mut g, loss, &[loss]).unwrap();
        assert_eq!(g.shape(own[0]).unwrap().rank(), 0);
    }

    #[test]
    fn a_gradient_needs_a_scalar_and_a_cotangent_its_shape() {
        let mut g = Graph::new();
        let x = g.input("x", &[2]).unwrap();
        let y = g.relu(x).unwrap();
        let error = gradient(&mut g, y, &[x]).unwrap_err().to_string();
        assert!(
            error.contains("`relu_1` has shape [2]") && error.contains("sum_all"),
            "{error}"
        );
        let c = g.input("c", &[3]).unwrap();
        let error = vjp(&mut g, y, c, &[x]).unwrap_err().to_string();
        assert!(
            error.contains("must have its shape [2], got [3]"),
            "{error}"
        );
    }

    #[test]
    fn the_users_nodes_keep_their_names_and_the_walk_marks_its_own() {
        let mut g = Graph::new();
        let x = g.input("x", &[2]).unwrap();
        let c = g.input("c", &[2]).unwrap();
        let y = g.add(x, x).unwrap();
        let before = g.len();
        vjp(&mut g, y, c, &[x]).unwrap();
        assert_eq!(g.find("c"), Some(c));
        for (id, node) in g.nodes() {
            let backward = node.role == Role::Backward;
            assert_eq!(backward, id.index() >= before, "{g}");
        }
        assert!(g.find("d/d x").is_some());
    }

    #[test]
    fn a_rule_that_is_missing_is_an_error_only_for_who_asks() {
        let mut g = Graph::new();
        let h = g.input("h", &[2]).unwrap();
        let p = g.input("p", &[2]).unwrap();
        let y = g.bce_slope_backward(h, p).unwrap();
        let loss = g.sum_all(y).unwrap();
        gradient(&mut g, loss, &[h]).unwrap();
        let error = gradient(&mut g, loss, &[p]).unwrap_err().to_string();
        assert!(
            error.contains("by `p`") && error.contains("third derivative"),
            "{error}"
        );
    }
}
