//! The same for a batch that runs in sub-batches: the first op in the order of
//! computing, and of it the first row, wherever in the batch that is.

use super::{Finding, explain, first_leaf, place, plan};
use crate::batches::{Cut, Joined, Part, Split, each};
use crate::error::{Error, Result};
use crate::graph::{Graph, NodeId};
use crate::number;
use crate::plan::Nonfinite;
use crate::run::Feeds;
use crate::run::gpu::Gpu;
use crate::tensor::Tensor;

/// What was counted of one op so far.
struct Counted {
    /// Its place in the order of computing.
    rank: usize,
    /// Over all sub-batches.
    nan: u32,
    infinite: u32,
    /// The first sub-batch that has any: rows and counts.
    first: usize,
    rows: usize,
    own: Nonfinite,
}

/// As [`nonfinite`](super::nonfinite), for a batch that is cut: indices, shapes and
/// counts are those of the whole batch, magnitudes those of the sub-batch in which
/// the value was found.
///
/// A sum over the rows is looked at in each sub-batch; their sum is made later
/// ([`nonfinite_sum`]).
///
/// # Errors
/// As [`nonfinite`](super::nonfinite).
pub async fn nonfinite_in_parts(
    gpu: &Gpu,
    split: &Split<'_>,
    cut: &Cut,
    feeds: &Feeds,
    outputs: &[NodeId],
) -> Result<Option<Finding>> {
    let given = first_leaf(split.graph(), feeds, outputs)?;
    let found = count(gpu, split, cut, feeds, outputs).await?;
    if let Some(finding) = given {
        let reaches = match &found {
            Some(found) => {
                let part = split.part(found.rows)?;
                let ids = order(gpu, &part, outputs)?;
                let id = ids.get(found.rank).copied();
                id.map(|id| Ok::<_, Error>(part.graph.node(id)?.label.clone()))
                    .transpose()?
            }
            None => None,
        };
        return Ok(Some(Finding { reaches, ..finding }));
    }
    let Some(found) = found else { return Ok(None) };
    let part = split.part(found.rows)?;
    let Some(&id) = order(gpu, &part, outputs)?.get(found.rank) else {
        return Ok(None);
    };
    let own = split.feeds(feeds, found.first, found.rows)?;
    let shift = |id: NodeId, index: &mut Vec<usize>| {
        if let (Some(whole), Some(row)) = (part.whole(split, id), index.first_mut()) {
            *row += split.offset(whole, found.first)?;
        }
        Ok(())
    };
    let mut finding = explain(gpu, &part.graph, &own, id, found.own, shift).await?;
    if let Some(whole) = part.whole(split, id) {
        let node = split.graph().node(whole)?;
        let operands = finding.operands.iter_mut().zip(&node.inputs);
        for (operand, &input) in operands {
            operand.shape = split.graph().shape(input)?.clone();
        }
        (finding.node, finding.shape) = (whole, node.shape.clone());
        if split.joined(whole) == Joined::Total {
            finding.reason = format!(
                "{} (the sum over rows {} to {} of the batch, which ran in sub-batches)",
                finding.reason,
                found.first,
                found.first + found.rows - 1
            );
        }
    }
    (finding.nan, finding.infinite) = (found.nan, found.infinite);
    Ok(Some(finding))
}

/// The first op, in the order of computing, with a value that is not finite in any
/// sub-batch.
async fn count(
    gpu: &Gpu,
    split: &Split<'_>,
    cut: &Cut,
    feeds: &Feeds,
    outputs: &[NodeId],
) -> Result<Option<Counted>> {
    let mut found: Option<Counted> = None;
    let make = |part: &Part| plan(&part.graph, &part.nodes(outputs)?, gpu.target());
    each(gpu, split, cut, feeds, make, |done| {
        // The order of computing is that of the graph, whatever the rows.
        for (rank, (_, value)) in done.outputs.iter().enumerate() {
            let own = Nonfinite::read(value)?;
            if own.first.is_none() {
                continue;
            }
            match &mut found {
                Some(known) if known.rank < rank => {}
                Some(known) if known.rank == rank => {
                    known.nan += own.nan;
                    known.infinite += own.infinite;
                }
                _ => {
                    found = Some(Counted {
                        rank,
                        nan: own.nan,
                        infinite: own.infinite,
                        first: done.first,
                        rows: done.part.rows,
                        own,
                    });
                }
            }
            break;
        }
        Ok(())
    })
    .await?;
    Ok(found)
}

/// The ops of a part in the order of computing, which is that of the graph.
fn order(gpu: &Gpu, part: &Part, outputs: &[NodeId]) -> Result<Vec<NodeId>> {
    let plan = plan(&part.graph, &part.nodes(outputs)?, gpu.target())?;
    Ok(plan.outputs.iter().map(|o| o.node).collect())
}

/// Of a sum over sub-batches that are all finite: the first element past float32's
/// range. `id` is a node of `graph`, the whole batch's.
///
/// # Errors
/// A node of another graph.
pub fn nonfinite_sum(graph: &Graph, id: NodeId, value: &Tensor) -> Result<Option<Finding>> {
    let node = graph.node(id)?;
    let count = Nonfinite::of(value.data());
    let Some(first) = count.first else {
        return Ok(None);
    };
    let index = place(&node.shape, first);
    Ok(Some(Finding {
        node: id,
        label: node.label.clone(),
        op: node.op().map(|op| op.to_string()),
        shape: node.shape.clone(),
        nan: count.nan,
        infinite: count.infinite,
        index,
        value: value.data()[first],
        operands: Vec::new(),
        rule: format!("{} = the sum of the sub-batches' values", node.label),
        numbers: "each of them is finite".to_string(),
        reason: format!(
            "overflow: the sum over the sub-batches passes float32's largest number, {}; scale the \
             batch or the weights",
            number::show(f32::MAX)
        ),
        reaches: None,
    }))
}
