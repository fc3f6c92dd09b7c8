//! Step by step: each value that an engine computed is recomputed in float64
//! from the very numbers which the engine put in. Nothing is carried over from
//! step to step, so the bound is that of one op alone, and tight; and if every
//! step is right, so is the whole.

use std::collections::BTreeMap;

use super::{Comparison, compare};
use crate::error::{Error, Result};
use crate::graph::{Graph, Kind, NodeId};
use crate::run::Feeds;
use crate::run::cpu::{self, RefValue};
use crate::tensor::Tensor;

/// Every op node that `outputs` need, in order: what [`verify`] wants the
/// values of.
pub fn nodes(graph: &Graph, outputs: &[NodeId]) -> Result<Vec<NodeId>> {
    let needed = graph.reachable(outputs)?;
    let all = graph.nodes();
    Ok(all
        .filter(|(id, node)| needed[id.index()] && node.op().is_some())
        .map(|(id, _)| id)
        .collect())
}

/// Compares each of `values` with float64 arithmetic on its own operands.
///
/// # Errors
/// A value is there and one of its operands is not.
pub fn verify(
    graph: &Graph,
    feeds: &Feeds,
    values: &BTreeMap<NodeId, Tensor>,
) -> Result<BTreeMap<NodeId, Comparison>> {
    let mut result = BTreeMap::new();
    each(graph, feeds, values, |id, value, reference| {
        result.insert(id, compare(&graph.node(id)?.label, value, &reference)?);
        Ok(())
    })?;
    Ok(result)
}

/// Hands each of `values` to `then`, with float64 arithmetic on its own operands.
///
/// # Errors
/// As [`verify`], and those of `then`.
pub fn each(
    graph: &Graph,
    feeds: &Feeds,
    values: &BTreeMap<NodeId, Tensor>,
    mut then: impl FnMut(NodeId, &Tensor, RefValue) -> Result<()>,
) -> Result<()> {
    for (&id, value) in values {
        let node = graph.node(id)?;
        let Some(op) = node.op() else { continue };
        let mut operands = Vec::with_capacity(node.inputs.len());
        for &input in &node.inputs {
            let of = graph.node(input)?;
            let operand = match &of.kind {
                Kind::Constant(tensor) => Some(tensor),
                Kind::Op(_) => values.get(&input),
                Kind::Input | Kind::Parameter => feeds.get(&of.label),
            };
            operands.push(operand.ok_or_else(|| {
                Error::Graph(format!(
                    "`{}` cannot be verified: the value of `{}` was not kept; give it too",
                    node.label, of.label
                ))
            })?);
        }
        then(id, value, cpu::apply(op, &operands))?;
    }
    Ok(())
}
