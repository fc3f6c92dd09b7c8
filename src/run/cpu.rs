//! The CPU reference: the same graph, evaluated node by node in float64 with
//! each op's definition. Beside each value goes a bound on how far a float32
//! evaluation may be from it, carried from op to op: the yardstick by which
//! the GPU is judged, derived and not guessed.

use std::collections::BTreeMap;

use ndarray::{ArrayD, IxDyn};

use super::{Feeds, check_feed, missing_feed};
use crate::error::{Error, Result};
use crate::graph::{Bounded, Graph, Kind, Node, NodeId, Op};
use crate::tensor::Tensor;

/// A reference value and the bound on its float32 error, element by element.
#[derive(Clone, Debug)]
pub struct RefValue {
    /// The value in float64.
    pub value: ArrayD<f64>,
    /// The bound; infinite or NaN where nothing can be promised.
    pub error: ArrayD<f64>,
}

/// The reference values of the nodes of one graph.
#[derive(Debug)]
pub struct Reference {
    values: Vec<Option<RefValue>>,
    /// A node of the graph that was evaluated, if any was asked for.
    of: Option<NodeId>,
}

impl Reference {
    /// The value of a node that was asked for, or that one of those needed.
    pub fn get(&self, id: NodeId) -> Result<&RefValue> {
        // The same number in another graph is another node.
        let value = match self.of.is_some_and(|of| of.is_beside(id)) {
            true => self.values.get(id.index()).and_then(Option::as_ref),
            false => None,
        };
        value.ok_or_else(|| {
            Error::Graph(format!(
                "the reference was not asked for node {id}; name it, of the same graph, among \
                 the outputs to evaluate"
            ))
        })
    }

    /// The value rounded to float32.
    pub fn rounded(&self, id: NodeId) -> Result<Tensor> {
        let value = &self.get(id)?.value;
        let data = value.iter().map(|&v| v as f32).collect();
        Ok(Tensor::new(value.shape(), data)?)
    }
}

/// The values in float64.
pub(crate) fn widened(tensor: &Tensor) -> ArrayD<f64> {
    let values = tensor.data().iter().map(|&v| f64::from(v)).collect();
    // A tensor holds as many values as its shape has elements.
    ArrayD::from_shape_vec(IxDyn(tensor.dims()), values).expect("one value an element")
}

/// Evaluates `outputs` of `graph`, and all they need, in float64, with bounds
/// on the error of a float32 evaluation.
///
/// # Errors
/// A leaf without a value, or with one of the wrong shape.
pub fn evaluate(graph: &Graph, feeds: &Feeds, outputs: &[NodeId]) -> Result<Reference> {
    let values = walk(
        graph,
        outputs,
        |node| {
            let tensor = feeds
                .get(&node.label)
                .ok_or_else(|| missing_feed(&node.label, &node.shape))?;
            check_feed(&node.label, &node.shape, tensor)?;
            Ok(exact(widened(tensor)))
        },
        apply_bounded,
        |constant| exact(widened(constant)),
    )?;
    Ok(Reference {
        values,
        of: outputs.first().copied(),
    })
}

/// As [`evaluate`], from leaves in float64 and without bounds: what central
/// differences need. The values of `outputs`, in order.
pub fn evaluate_wide(
    graph: &Graph,
    feeds: &BTreeMap<String, ArrayD<f64>>,
    outputs: &[NodeId],
) -> Result<Vec<ArrayD<f64>>> {
    let values = walk(
        graph,
        outputs,
        |node| {
            let value = feeds
                .get(&node.label)
                .ok_or_else(|| missing_feed(&node.label, &node.shape))?;
            if value.shape() != node.shape.dims() {
                return Err(Error::Graph(format!(
                    "`{}` wants shape {}, got {:?}; reshape the value",
                    node.label,
                    node.shape,
                    value.shape()
                )));
            }
            Ok(value.clone())
        },
        |op, inputs| {
            let views: Vec<_> = inputs.iter().map(|v| v.view()).collect();
            op.eval(&views)
        },
        widened,
    )?;
    outputs
        .iter()
        .map(|id| {
            values[id.index()]
                .clone()
                .ok_or_else(|| Error::Graph(format!("node {id} was not evaluated")))
        })
        .collect()
}

/// The bytes of the host's memory that it takes to [`evaluate`] `outputs` and to
/// compare each op's value step by step: an estimate from the shapes. All values
/// that `outputs` need are held with their bounds; the largest op needs copies of
/// its operands, and of their sizes.
///
/// # Errors
/// A node of another graph.
pub fn bytes(graph: &Graph, outputs: &[NodeId]) -> Result<u64> {
    const VALUE_AND_BOUND: u64 = 16;
    const COPIES: u64 = 3;
    let needed = graph.reachable(outputs)?;
    let (mut all, mut largest) = (0, 0);
    for (_, node) in graph.nodes().filter(|(id, _)| needed[id.index()]) {
        let own = node.shape.numel() as u64;
        let mut read = 0;
        for &input in &node.inputs {
            read += graph.shape(input)?.numel() as u64;
        }
        all += own;
        largest = largest.max(own + read);
    }
    Ok(VALUE_AND_BOUND * (all + COPIES * largest))
}

/// One op in float64 on exact operands, with the bound of its own rounding.
pub fn apply(op: &dyn Op, operands: &[&Tensor]) -> RefValue {
    let operands: Vec<_> = operands.iter().map(|t| exact(widened(t))).collect();
    apply_bounded(op, &operands.iter().collect::<Vec<_>>())
}

/// One op in float64, with the error of its operands carried through it.
pub(crate) fn apply_bounded(op: &dyn Op, inputs: &[&RefValue]) -> RefValue {
    let views: Vec<_> = inputs.iter().map(|v| v.value.view()).collect();
    let value = op.eval(&views);
    let bounded: Vec<_> = inputs
        .iter()
        .map(|v| Bounded {
            value: v.value.view(),
            error: v.error.view(),
        })
        .collect();
    let error = op.error(&bounded, &value);
    RefValue { value, error }
}

/// A float32 value as it is. A device may read a subnormal number as zero, so
/// that much is uncertain about it.
fn exact(value: ArrayD<f64>) -> RefValue {
    let least = f64::from(f32::MIN_POSITIVE);
    let error = value.mapv(|v| if v.abs() < least { v.abs() } else { 0.0 });
    RefValue { value, error }
}

/// The walk itself: every node that `outputs` need, inputs first.
fn walk<V>(
    graph: &Graph,
    outputs: &[NodeId],
    leaf: impl Fn(&Node) -> Result<V>,
    apply: impl Fn(&dyn Op, &[&V]) -> V,
    constant: impl Fn(&Tensor) -> V,
) -> Result<Vec<Option<V>>> {
    let needed = graph.reachable(outputs)?;
    let mut values: Vec<Option<V>> = (0..graph.len()).map(|_| None).collect();
    for (id, node) in graph.nodes() {
        if !needed[id.index()] {
            continue;
        }
        let value = match &node.kind {
            Kind::Input | Kind::Parameter => leaf(node)?,
            Kind::Constant(tensor) => constant(tensor),
            Kind::Op(op) => {
                // Inputs come before their node, and are needed if it is.
                let inputs: Vec<&V> = node
                    .inputs
                    .iter()
                    .filter_map(|i| values[i.index()].as_ref())
                    .collect();
                apply(op.as_ref(), &inputs)
            }
        };
        values[id.index()] = Some(value);
    }
    Ok(values)
}
