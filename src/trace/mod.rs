//! Where NaN and infinity come from: the first value that is not finite, the
//! numbers that it was made of, and the likely reason in words.
//!
//! Leaves are looked at first. Then the graph runs with a kernel for each op, and
//! behind each the GPU counts what is not finite in its value
//! ([`PlanOptions::count_nonfinite`]): three words an op come back, no tensor.
//! Only of the op that is found are operands read, in a second run that computes
//! no more than these.

mod parts;
mod reason;

pub use parts::{nonfinite_in_parts, nonfinite_sum};

use crate::error::Result;
use crate::graph::{Graph, Kind, Lowering, Node, NodeId, Target};
use crate::number;
use crate::plan::{Nonfinite, Plan, PlanOptions};
use crate::run::Feeds;
use crate::run::gpu::Gpu;
use crate::shape::Shape;
use crate::tensor::Tensor;

/// The first value that is not finite.
#[derive(Clone, PartialEq, Debug)]
pub struct Finding {
    /// The node that has it.
    pub node: NodeId,
    /// Its label.
    pub label: String,
    /// Its op; `None` if the value was given.
    pub op: Option<String>,
    /// Its shape.
    pub shape: Shape,
    /// How many NaN the node's value holds.
    pub nan: u32,
    /// And how many infinities.
    pub infinite: u32,
    /// The first element that is not finite.
    pub index: Vec<usize>,
    /// What it is.
    pub value: f32,
    /// What the op read.
    pub operands: Vec<Operand>,
    /// The rule, with the operands' labels; empty if the value was given.
    pub rule: String,
    /// The rule of this element with the numbers put in; empty if given.
    pub numbers: String,
    /// The likely reason, and what to do.
    pub reason: String,
    /// Of a value that was given: the first op whose value it spoils.
    pub reaches: Option<String>,
}

/// What an op read to compute an element.
#[derive(Clone, PartialEq, Debug)]
pub struct Operand {
    /// The label of the node.
    pub label: String,
    /// Its shape.
    pub shape: Shape,
    /// For an elementwise op: the one element that was read, and its value.
    pub element: Option<(Vec<usize>, f32)>,
    /// The largest magnitude in it.
    pub largest: f32,
}

/// Finds the first value that is not finite among those that `outputs` need,
/// in the order of computing, as `gpu` computes them; `None` if all are finite.
///
/// # Errors
/// As [`Gpu::compile_plan`] and a run.
pub async fn nonfinite(
    gpu: &Gpu,
    graph: &Graph,
    feeds: &Feeds,
    outputs: &[NodeId],
) -> Result<Option<Finding>> {
    let given = first_leaf(graph, feeds, outputs)?;
    let computed = first_op(gpu, graph, feeds, outputs).await?;
    match (given, computed) {
        (Some(finding), computed) => Ok(Some(Finding {
            reaches: match computed {
                Some((id, _)) => Some(graph.node(id)?.label.clone()),
                None => None,
            },
            ..finding
        })),
        (None, Some((id, count))) => {
            let shift = |_: NodeId, _: &mut Vec<usize>| Ok(());
            explain(gpu, graph, feeds, id, count, shift).await.map(Some)
        }
        (None, None) => Ok(None),
    }
}

/// The plan that counts, behind each op, what is not finite.
///
/// # Errors
/// As [`Plan::with_options`].
pub fn plan(graph: &Graph, outputs: &[NodeId], target: &Target) -> Result<Plan> {
    let options = PlanOptions {
        count_nonfinite: true,
        ..PlanOptions::default()
    };
    Plan::with_options(graph, outputs, target, &options)
}

/// The first op with a value that is not finite.
async fn first_op(
    gpu: &Gpu,
    graph: &Graph,
    feeds: &Feeds,
    outputs: &[NodeId],
) -> Result<Option<(NodeId, Nonfinite)>> {
    let plan = plan(graph, outputs, gpu.target())?;
    let ids: Vec<_> = plan.outputs.iter().map(|o| o.node).collect();
    if ids.is_empty() {
        return Ok(None);
    }
    let mut program = gpu.compile_plan(plan).await?;
    program.set_all(feeds)?;
    let counts = program.run_async().await?;
    for (id, (_, count)) in ids.into_iter().zip(counts.iter()) {
        let count = Nonfinite::read(count)?;
        if count.first.is_some() {
            return Ok(Some((id, count)));
        }
    }
    Ok(None)
}

/// What was given and is not finite, if anything is.
fn first_leaf(graph: &Graph, feeds: &Feeds, outputs: &[NodeId]) -> Result<Option<Finding>> {
    let needed = graph.reachable(outputs)?;
    for (id, node) in graph.nodes().filter(|(id, _)| needed[id.index()]) {
        let Some(value) = held(node, feeds) else {
            continue;
        };
        let count = Nonfinite::of(value.data());
        let Some(first) = count.first else { continue };
        let index = place(&node.shape, first);
        return Ok(Some(Finding {
            node: id,
            label: node.label.clone(),
            op: None,
            shape: node.shape.clone(),
            nan: count.nan,
            infinite: count.infinite,
            value: value.data()[first],
            operands: Vec::new(),
            rule: String::new(),
            numbers: String::new(),
            reason: reason::of_leaf(&node.label, &index),
            reaches: None,
            index,
        }));
    }
    Ok(None)
}

/// The value of a leaf.
fn held<'a>(node: &'a Node, feeds: &'a Feeds) -> Option<&'a Tensor> {
    match &node.kind {
        Kind::Constant(value) => Some(value),
        Kind::Input | Kind::Parameter => feeds.get(&node.label),
        Kind::Op(_) => None,
    }
}

/// The numbers behind the first element of `id` that is not finite. Where the graph
/// is that of a part of the rows, `shift` makes an index of a node's value one of
/// the whole batch's.
async fn explain(
    gpu: &Gpu,
    graph: &Graph,
    feeds: &Feeds,
    id: NodeId,
    count: Nonfinite,
    shift: impl Fn(NodeId, &mut Vec<usize>) -> Result<()>,
) -> Result<Finding> {
    let node = graph.node(id)?;
    // Each op by itself, as when it was counted.
    let options = PlanOptions {
        fuse: false,
        ..PlanOptions::default()
    };
    let mut wanted = vec![id];
    for &input in &node.inputs {
        if graph.node(input)?.op().is_some() && !wanted.contains(&input) {
            wanted.push(input);
        }
    }
    let plan = Plan::with_options(graph, &wanted, gpu.target(), &options)?;
    let mut program = gpu.compile_plan(plan).await?;
    program.set_all(feeds)?;
    let values = program.run_async().await?;

    let index = place(&node.shape, count.first.unwrap_or_default());
    let mut tensors = Vec::with_capacity(node.inputs.len());
    let mut names = Vec::with_capacity(node.inputs.len());
    for &input in &node.inputs {
        let of = graph.node(input)?;
        tensors.push(match held(of, feeds) {
            Some(value) => value,
            None => values.get(input)?,
        });
        names.push(of.label.clone());
    }
    let value = element(values.get(id)?, &index);
    let elementwise = is_elementwise(graph, node, gpu.target())?;
    let operand = |(tensor, label): (&&Tensor, &String)| {
        let of = |at: Vec<usize>| (at.clone(), element(tensor, &at));
        Operand {
            label: label.clone(),
            shape: tensor.shape().clone(),
            element: elementwise.then(|| of(broadcast(&index, tensor.shape()))),
            largest: tensor.data().iter().fold(0.0, |most, v| v.abs().max(most)),
        }
    };
    let mut operands: Vec<Operand> = tensors.iter().zip(&names).map(operand).collect();
    for (operand, &input) in operands.iter_mut().zip(&node.inputs) {
        if let Some((at, _)) = &mut operand.element {
            shift(input, at)?;
        }
    }
    let (mut op_text, mut rule, mut numbers, mut why) = Default::default();
    if let Some(op) = node.op() {
        let mut views = Vec::with_capacity(tensors.len());
        for tensor in &tensors {
            views.push(
                ndarray::ArrayViewD::from_shape(ndarray::IxDyn(tensor.dims()), tensor.data())
                    .map_err(|e| crate::Error::Graph(e.to_string()))?,
            );
        }
        op_text = Some(op.to_string());
        rule = format!(
            "{} = {}",
            node.label,
            number::fill(&op.explain().formula, &names)
        );
        numbers = op.substitute(&views, &index);
        why = reason::of_op(op, &views, &operands, &index);
    }
    let mut index = index;
    shift(id, &mut index)?;
    Ok(Finding {
        node: id,
        label: node.label.clone(),
        op: op_text,
        shape: node.shape.clone(),
        nan: count.nan,
        infinite: count.infinite,
        index,
        value,
        operands,
        rule,
        numbers,
        reason: why,
        reaches: None,
    })
}

/// Whether an op reads one element of each operand for one of its own.
fn is_elementwise(graph: &Graph, node: &Node, target: &Target) -> Result<bool> {
    let mut shapes = Vec::with_capacity(node.inputs.len());
    for &input in &node.inputs {
        shapes.push(graph.shape(input)?);
    }
    let lowering = node.op().map(|op| op.lower(&shapes, &node.shape, target));
    Ok(matches!(lowering, Some(Lowering::Map(_))))
}

/// A row-major index as one for each axis.
fn place(shape: &Shape, flat: usize) -> Vec<usize> {
    let strides = shape.strides();
    let axes = strides.iter().zip(shape.dims());
    axes.map(|(stride, size)| flat / stride % size).collect()
}

/// The element of an operand of `shape` that broadcasts to `index`.
fn broadcast(index: &[usize], shape: &Shape) -> Vec<usize> {
    let own = &index[index.len().saturating_sub(shape.rank())..];
    let axes = own.iter().zip(shape.dims());
    axes.map(|(&i, &size)| if size == 1 { 0 } else { i })
        .collect()
}

/// The element at an index that lies in the tensor.
fn element(tensor: &Tensor, index: &[usize]) -> f32 {
    let strides = tensor.shape().strides();
    let flat: usize = strides.iter().zip(index).map(|(s, i)| s * i).sum();
    tensor.data().get(flat).copied().unwrap_or(f32::NAN)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_and_what_broadcasts_to_them() {
        let shape = Shape::new(&[2, 3, 4]).unwrap();
        assert_eq!(place(&shape, 0), [0, 0, 0]);
        assert_eq!(place(&shape, 23), [1, 2, 3]);
        assert_eq!(place(&Shape::scalar(), 0), [] as [usize; 0]);
        let of = |dims: &[usize]| broadcast(&[1, 2, 3], &Shape::new(dims).unwrap());
        assert_eq!(of(&[2, 3, 4]), [1, 2, 3]);
        assert_eq!(of(&[3, 1]), [2, 0]);
        assert_eq!(of(&[4]), [3]);
        assert_eq!(of(&[]), [] as [usize; 0]);
        let t = Tensor::new(&[2, 2], vec![0.0, 1.0, 2.0, 3.0]).unwrap();
        assert_eq!(element(&t, &[1, 0]), 2.0);
    }
}
