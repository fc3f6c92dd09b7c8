//! The values that a program reads back, found by node or label.

use std::collections::HashMap;
use std::sync::Arc;

use super::of_all;
use crate::error::{Error, Result};
use crate::graph::NodeId;
use crate::plan::Plan;
use crate::tensor::Tensor;

/// The values that a program reads back, filled anew by each run.
#[derive(Clone, Debug)]
pub struct Outputs {
    pub(super) values: Vec<Tensor>,
    /// Shared by all copies.
    index: Arc<Index>,
}

/// Where each output is.
#[derive(Debug)]
struct Index {
    labels: Vec<String>,
    nodes: HashMap<NodeId, usize>,
    /// Of outputs with one label the first is meant.
    by_label: HashMap<String, usize>,
}

impl Outputs {
    /// What a plan reads back, all 0.
    pub(super) fn of(plan: &Plan) -> Result<Outputs> {
        let count = plan.outputs.len();
        let mut index = Index {
            labels: Vec::with_capacity(count),
            nodes: HashMap::with_capacity(count),
            by_label: HashMap::with_capacity(count),
        };
        let mut values = Vec::with_capacity(count);
        for (i, output) in plan.outputs.iter().enumerate() {
            let shape = of_all(&output.shape, plan.replicas)?;
            values.push(Tensor::full(&shape, 0.0));
            index.labels.push(output.label.clone());
            index.nodes.entry(output.node).or_insert(i);
            index.by_label.entry(output.label.clone()).or_insert(i);
        }
        Ok(Outputs {
            values,
            index: Arc::new(index),
        })
    }

    /// The place of a node.
    pub(super) fn place(&self, node: NodeId) -> Result<usize> {
        let place = self.index.nodes.get(&node).copied();
        place.ok_or_else(|| {
            Error::Graph(format!(
                "node {node} is not among the outputs that this program was compiled for; name it \
                 when you compile"
            ))
        })
    }

    /// The value of a node that the program was compiled to read back.
    ///
    /// # Errors
    /// It was not.
    pub fn get(&self, node: NodeId) -> Result<&Tensor> {
        Ok(&self.values[self.place(node)?])
    }

    /// The value of the node with this label.
    pub fn find(&self, label: &str) -> Option<&Tensor> {
        let place = self.index.by_label.get(label)?;
        Some(&self.values[*place])
    }

    /// All values with their labels, in the order of compiling.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (&str, &Tensor)> {
        let labels = self.index.labels.iter().map(String::as_str);
        labels.zip(&self.values)
    }
}
