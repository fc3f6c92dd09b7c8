//! Short names for formulas: `x`, `y`, `W0`, `b0`, `h0`, `L`, `dL/dW0`.

use super::problem::{INPUT, Prepared, TARGET};
use crate::error::Result;
use crate::graph::Kind;
use crate::number;

/// A symbol for each node of the graph.
pub(super) fn assign(prepared: &Prepared) -> Result<Vec<String>> {
    let graph = &prepared.graph;
    let mut symbols: Vec<String> = graph.nodes().map(|(_, node)| node.label.clone()).collect();
    for (id, node) in graph.nodes() {
        let symbol = match &node.kind {
            Kind::Input if node.label == INPUT => Some("x".to_string()),
            Kind::Input if node.label == TARGET => Some("y".to_string()),
            Kind::Parameter => Some(of_parameter(&node.label)),
            Kind::Constant(value) => match value.data() {
                [first, rest @ ..] if rest.iter().all(|v| v == first) => Some(number::show(*first)),
                _ => None,
            },
            _ => None,
        };
        if let Some(symbol) = symbol {
            symbols[id.index()] = symbol;
        }
    }
    for (i, (_, id)) in prepared.layers.iter().enumerate() {
        symbols[id.index()] = format!("h{i}");
    }
    symbols[prepared.loss_node.index()] = "L".to_string();
    // What a mean or a sum makes the loss of: the losses of single elements.
    let loss = graph.node(prepared.loss_node)?;
    if let (Some("mean" | "sum"), [each]) = (loss.op().map(|op| op.name()), &loss.inputs[..])
        && prepared.layers.iter().all(|(_, id)| id != each)
        && graph.node(*each)?.op().is_some()
    {
        symbols[each.index()] = "ℓ".to_string();
    }
    // Cotangents are labelled after their primals, which come before them.
    for (id, node) in graph.nodes() {
        let primal = node
            .label
            .strip_prefix("d/d ")
            .and_then(|of| graph.find(of));
        if let (Some(primal), Kind::Op(_)) = (primal, &node.kind) {
            symbols[id.index()] = format!("dL/d{}", symbols[primal.index()]);
        }
    }
    Ok(symbols)
}

/// `0.weight` is `W0`, `fc1.bias` is `b_fc1`.
fn of_parameter(key: &str) -> String {
    let (layer, name) = key.rsplit_once('.').unwrap_or(("", key));
    let letter = match name {
        "weight" => "W",
        "bias" => "b",
        other => return format!("{other}_{layer}"),
    };
    if layer.chars().all(|c| c.is_ascii_digit()) {
        format!("{letter}{layer}")
    } else {
        format!("{letter}_{layer}")
    }
}

#[cfg(test)]
mod tests {
    use super::of_parameter;

    #[test]
    fn parameters_have_short_names() {
        assert_eq!(of_parameter("0.weight"), "W0");
        assert_eq!(of_parameter("fc1.bias"), "b_fc1");
        assert_eq!(of_parameter("weight"), "W");
    }
}
