//! The chain rule behind a gradient: of each op that reads a value the gradient
//! that came back to it, times that op's local derivative; where several read it,
//! the sum.

use serde::Serialize;

use crate::error::Result;
use crate::graph::{Graph, NodeId, Role};
use crate::report::math;

/// The chain rule for one gradient.
#[derive(Serialize, PartialEq, Debug)]
pub(super) struct Chain {
    /// The rule as MathML, a sum where several ops read the value; empty where it
    /// is the local derivative alone.
    pub rule: String,
    /// The local derivatives that occur in it.
    pub locals: Vec<Local>,
    /// How many parts the sum has.
    pub parts: usize,
}

/// The derivative of one op by one of its operands.
#[derive(Serialize, PartialEq, Debug)]
pub(super) struct Local {
    /// The op's name.
    pub op: String,
    /// What it is the derivative of, and by what, and the derivative, as MathML.
    pub formula: String,
    /// Whether the formula is the whole part and not a factor of it: a derivative
    /// of a matrix by a matrix is not written down.
    pub product: bool,
}

/// The chain rule for the gradient of the loss by `primal`. `None` where nothing
/// that leads to `loss` reads it.
pub(super) fn chain(
    graph: &Graph,
    symbols: &[String],
    loss: NodeId,
    primal: NodeId,
) -> Result<Option<Chain>> {
    let on_path = graph.reachable(&[loss])?;
    let name = |id: NodeId| symbols[id.index()].as_str();
    let mut terms = Vec::new();
    let mut direct = false;
    let mut locals: Vec<Local> = Vec::new();
    for (id, node) in graph.nodes() {
        let Some(op) = node
            .op()
            .filter(|_| on_path[id.index()] && node.role == Role::Forward)
        else {
            continue;
        };
        let rule = op.explain();
        for (place, &input) in node.inputs.iter().enumerate() {
            if input != primal {
                continue;
            }
            let local = format!(
                "<mfrac><mrow><mo>\u{2202}</mo>{}</mrow><mrow><mo>\u{2202}</mo>{}</mrow></mfrac>",
                math::symbol(name(id)),
                math::symbol(name(primal))
            );
            let derivative = rule.derivatives.get(place).map_or("?", String::as_str);
            let right = math::formula(derivative, &|at| match at {
                "out" => name(id).to_string(),
                "g" if id == loss => "1".to_string(),
                "g" => format!("dL/d{}", name(id)),
                _ => {
                    let input = at.parse().ok().and_then(|i: usize| node.inputs.get(i));
                    input.map_or("?".to_string(), |i| name(*i).to_string())
                }
            });
            let product = derivative.contains("{g}");
            // The loss's gradient by itself, 1, is no factor to write down.
            let part = match id == loss {
                true => {
                    direct = true;
                    local.clone()
                }
                false => {
                    let back = math::symbol(&format!("dL/d{}", name(id)));
                    format!("{back}<mo>\u{22c5}</mo>{local}")
                }
            };
            let left = match product {
                true => part.clone(),
                false => local,
            };
            terms.push(part);
            locals.push(Local {
                op: op.to_string(),
                formula: format!("<math><mrow>{left}<mo>=</mo>{right}</mrow></math>"),
                product,
            });
        }
    }
    if terms.is_empty() {
        return Ok(None);
    }
    let parts = terms.len();
    let whole = || {
        let sum = terms.join("<mo>+</mo>");
        math::equation(&format!("dL/d{}", name(primal)), &sum, true)
    };
    Ok(Some(Chain {
        rule: match direct && parts == 1 {
            true => String::new(),
            false => whole(),
        },
        locals,
        parts,
    }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::autodiff::gradient;

    #[test]
    fn what_several_ops_read_gets_a_sum() {
        let mut g = Graph::new();
        let x = g.input("x", &[2]).unwrap();
        let s = g.sigmoid(x).unwrap();
        let p = g.mul(s, x).unwrap();
        let q = g.sum_all(p).unwrap();
        gradient(&mut g, q, &[x]).unwrap();
        let symbols: Vec<String> = g.nodes().map(|(_, n)| n.label.clone()).collect();
        // x is read by the sigmoid and by the product.
        let of_x = chain(&g, &symbols, q, x).unwrap().unwrap();
        assert_eq!((of_x.parts, of_x.locals.len()), (2, 2));
        assert_eq!(of_x.rule.matches("<mo>+</mo>").count(), 1, "{}", of_x.rule);
        assert!(
            of_x.locals[0]
                .formula
                .contains("<mtext>sigmoid_1</mtext><mo>\u{22c5}</mo><mrow>")
        );
        // s by the product alone, whose derivative is x.
        let of_s = chain(&g, &symbols, q, s).unwrap().unwrap();
        assert_eq!(of_s.parts, 1);
        assert!(
            of_s.locals[0]
                .formula
                .ends_with("<mo>=</mo><mi>x</mi></mrow></math>")
        );
        assert_eq!(chain(&g, &symbols, q, q).unwrap(), None);
    }

    #[test]
    fn an_operand_read_twice_by_one_op_has_two_parts() {
        let mut g = Graph::new();
        let x = g.input("x", &[]).unwrap();
        let y = g.mul(x, x).unwrap();
        gradient(&mut g, y, &[x]).unwrap();
        let symbols: Vec<String> = g.nodes().map(|(_, n)| n.label.clone()).collect();
        assert_eq!(chain(&g, &symbols, y, x).unwrap().unwrap().parts, 2);
    }
}
