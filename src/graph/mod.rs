//! The computation graph: nodes with shapes, in the order they were built.
//! Nothing is computed here; a graph is what autodiff extends, the planner
//! lowers, and both engines evaluate.
//!
//! A graph only grows, and every node's inputs come before it, so the order of
//! building is a topological order and walking it backwards is a reverse one.

pub mod image;
mod op;
mod precision;
mod text;

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

pub use op::{
    Bounded, Builder, Call, Cotangent, Kernel, Lowering, MapCall, Meaning, Op, Operand, Rule,
    Sample, Target, Values,
};
pub use precision::Precision;

use crate::error::{Error, Result, ShapeError};
use crate::shape::Shape;
use crate::tensor::Tensor;

/// A node of one graph. An id knows its graph, so that one used with another
/// graph is an error and never a silently wrong node.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct NodeId {
    graph: u32,
    index: u32,
}

impl NodeId {
    /// The node's place in the order of building.
    pub fn index(self) -> usize {
        self.index as usize
    }

    /// Whether both are nodes of one graph.
    pub(crate) fn is_beside(self, other: NodeId) -> bool {
        self.graph == other.graph
    }
}

impl fmt::Debug for NodeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "%{}", self.index)
    }
}

impl fmt::Display for NodeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "%{}", self.index)
    }
}

/// What a node is: one of the three kinds of leaf, or an operation.
#[derive(Clone, Debug)]
pub enum Kind {
    /// A value given anew at each run (a batch, a target).
    Input,
    /// A value that training changes (a weight, a bias).
    Parameter,
    /// A value fixed when the graph is built.
    Constant(Tensor),
    /// A value computed from other nodes.
    Op(Arc<dyn Op>),
}

/// Which of the two walks a node belongs to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Role {
    /// Built by the user: part of the forward computation.
    Forward,
    /// Built by [`gradient`](crate::autodiff::gradient).
    Backward,
}

/// One node: what it is, what it reads, the shape of its value, its name.
#[derive(Clone, Debug)]
pub struct Node {
    /// Leaf or operation.
    pub kind: Kind,
    /// The nodes it reads, in the operation's order.
    pub inputs: Vec<NodeId>,
    /// The shape of its value.
    pub shape: Shape,
    /// Its name, unique in the graph: given by the user, or made from the
    /// operation's name and the node's number.
    pub label: String,
    /// Forward or backward.
    pub role: Role,
}

impl Node {
    /// The operation, if the node is no leaf.
    pub fn op(&self) -> Option<&dyn Op> {
        match &self.kind {
            Kind::Op(op) => Some(op.as_ref()),
            _ => None,
        }
    }

    /// Whether a run must be given the node's value.
    pub fn is_fed(&self) -> bool {
        matches!(self.kind, Kind::Input | Kind::Parameter)
    }
}

/// A directed acyclic graph of tensors and operations.
///
/// ```
/// use wgrad::Graph;
///
/// let mut g = Graph::new();
/// let x = g.input("x", &[3, 2])?;
/// let w = g.parameter("w", &[2, 1])?;
/// let z = g.matmul(x, w)?;
/// let s = g.sigmoid(z)?;
/// assert_eq!(g.shape(s)?.dims(), &[3, 1]);
/// assert!(g.matmul(w, x).unwrap_err().to_string().contains("matmul"));
/// # Ok::<(), wgrad::Error>(())
/// ```
///
/// There is no `Clone`: ids made after it would mean one node here and another
/// there.
#[derive(Debug)]
pub struct Graph {
    id: u32,
    nodes: Vec<Node>,
    labels: HashMap<String, NodeId>,
    role: Role,
    precision: Precision,
}

impl Default for Graph {
    fn default() -> Self {
        Graph::new()
    }
}

impl Graph {
    /// An empty graph.
    pub fn new() -> Graph {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        Graph {
            id: NEXT.fetch_add(1, Ordering::Relaxed),
            nodes: Vec::new(),
            labels: HashMap::new(),
            role: Role::Forward,
            precision: Precision::F32,
        }
    }

    /// An empty graph whose products of matrices are of this precision, those of
    /// gradients included. All else stays in float32.
    ///
    /// ```
    /// use wgrad::graph::{Graph, Precision};
    ///
    /// let mut g = Graph::with_precision(Precision::F16);
    /// let x = g.input("x", &[3, 2])?;
    /// let w = g.parameter("w", &[5, 2])?;
    /// let z = g.linear(x, w, None)?;
    /// let product = g.node(z)?.op().unwrap().to_string();
    /// assert_eq!(product, "matmul[transpose_b,f16]");
    /// # Ok::<(), wgrad::Error>(())
    /// ```
    pub fn with_precision(precision: Precision) -> Graph {
        Graph {
            precision,
            ..Graph::new()
        }
    }

    /// The precision of its products of matrices.
    pub fn precision(&self) -> Precision {
        self.precision
    }

    /// Runs `build` with every new product of this precision.
    pub(crate) fn in_precision<T>(
        &mut self,
        precision: Precision,
        build: impl FnOnce(&mut Graph) -> Result<T>,
    ) -> Result<T> {
        let before = std::mem::replace(&mut self.precision, precision);
        let result = build(self);
        self.precision = before;
        result
    }

    /// A leaf whose value is given at each run.
    pub fn input(&mut self, label: &str, dims: &[usize]) -> Result<NodeId> {
        self.leaf(Kind::Input, label, dims)
    }

    /// A leaf that training changes.
    pub fn parameter(&mut self, label: &str, dims: &[usize]) -> Result<NodeId> {
        self.leaf(Kind::Parameter, label, dims)
    }

    /// A leaf with a fixed value.
    pub fn constant(&mut self, value: Tensor) -> NodeId {
        let label = self.free_label("constant");
        let shape = value.shape().clone();
        self.push(Kind::Constant(value), Vec::new(), shape, label)
    }

    fn leaf(&mut self, kind: Kind, label: &str, dims: &[usize]) -> Result<NodeId> {
        if self.labels.contains_key(label) {
            return Err(Error::Graph(format!(
                "there is a node `{label}` already, and labels are unique in a graph; choose another, or \
                 use another graph"
            )));
        }
        let shape = Shape::new(dims).map_err(|mut e| {
            e.node = Some(label.to_string());
            e
        })?;
        Ok(self.push(kind, Vec::new(), shape, label.to_string()))
    }

    /// A node that applies `op` to `inputs`. The op's own `infer` is the only
    /// shape check; its error is given the label the node would have had.
    pub fn apply(&mut self, op: impl Op, inputs: &[NodeId]) -> Result<NodeId> {
        self.apply_shared(Arc::new(op), inputs)
    }

    /// As [`apply`](Graph::apply), for an op that other nodes may have, too.
    pub(crate) fn apply_shared(&mut self, op: Arc<dyn Op>, inputs: &[NodeId]) -> Result<NodeId> {
        let label = self.free_label(op.name());
        let mut shapes = Vec::with_capacity(inputs.len());
        for &input in inputs {
            shapes.push(self.operand(op.name(), input)?);
        }
        let shape = op.infer(&shapes).map_err(|mut e| {
            e.node = Some(label.clone());
            Error::Shape(e)
        })?;
        Ok(self.push(Kind::Op(op), inputs.to_vec(), shape, label))
    }

    /// The shape of an operand of `op`; an error names the op.
    pub(crate) fn operand(&self, op: &str, id: NodeId) -> Result<&Shape> {
        self.shape(id)
            .map_err(|e| Error::Graph(format!("{op}: {e}")))
    }

    /// An error of an op that is made of others and so has no node yet: it
    /// names the node that the op was applied to.
    pub(crate) fn misfit(&self, op: &str, reason: String, to: NodeId) -> Result<Error> {
        let label = &self.node(to)?.label;
        Ok(ShapeError::new(op, format!("{reason} (applied to `{label}`)")).into())
    }

    fn push(&mut self, kind: Kind, inputs: Vec<NodeId>, shape: Shape, label: String) -> NodeId {
        let id = NodeId {
            graph: self.id,
            index: self.nodes.len() as u32,
        };
        self.labels.insert(label.clone(), id);
        self.nodes.push(Node {
            kind,
            inputs,
            shape,
            label,
            role: self.role,
        });
        id
    }

    fn free_label(&self, stem: &str) -> String {
        let mut label = format!("{stem}_{}", self.nodes.len());
        while self.labels.contains_key(&label) {
            label.push('_');
        }
        label
    }

    /// Renames a node. The new label must be free.
    pub fn name(&mut self, id: NodeId, label: &str) -> Result<NodeId> {
        let old = self.node(id)?.label.clone();
        if old == label {
            return Ok(id);
        }
        if self.labels.contains_key(label) {
            return Err(Error::Graph(format!(
                "cannot name node `{old}` `{label}`: another node has that label; choose another"
            )));
        }
        self.labels.remove(&old);
        self.labels.insert(label.to_string(), id);
        self.nodes[id.index()].label = label.to_string();
        Ok(id)
    }

    /// A node by its id.
    pub fn node(&self, id: NodeId) -> Result<&Node> {
        if id.graph != self.id {
            return Err(Error::Graph(format!(
                "node {id} belongs to another graph; build and use it with the same `Graph`"
            )));
        }
        self.nodes
            .get(id.index())
            .ok_or_else(|| Error::Graph(format!("there is no node {id}")))
    }

    /// The shape of a node's value.
    pub fn shape(&self, id: NodeId) -> Result<&Shape> {
        Ok(&self.node(id)?.shape)
    }

    /// The node with this label.
    pub fn find(&self, label: &str) -> Option<NodeId> {
        self.labels.get(label).copied()
    }

    /// All nodes with their ids, in the order of building.
    pub fn nodes(&self) -> impl DoubleEndedIterator<Item = (NodeId, &Node)> + ExactSizeIterator {
        self.nodes.iter().enumerate().map(|(i, node)| {
            let id = NodeId {
                graph: self.id,
                index: i as u32,
            };
            (id, node)
        })
    }

    /// The number of nodes.
    pub fn len(&self) -> usize {
        self.nodes.len()
    }

    /// Whether the graph has no node.
    pub fn is_empty(&self) -> bool {
        self.nodes.is_empty()
    }

    /// What `roots` need: a flag for each node of the graph.
    pub fn reachable(&self, roots: &[NodeId]) -> Result<Vec<bool>> {
        let mut needed = vec![false; self.nodes.len()];
        for &root in roots {
            self.operand("output", root)?;
            needed[root.index()] = true;
        }
        for i in (0..self.nodes.len()).rev() {
            if needed[i] {
                for input in &self.nodes[i].inputs {
                    needed[input.index()] = true;
                }
            }
        }
        Ok(needed)
    }

    /// Runs `build` with every new node marked as part of the backward walk.
    pub(crate) fn backward<T>(&mut self, build: impl FnOnce(&mut Graph) -> Result<T>) -> Result<T> {
        let before = std::mem::replace(&mut self.role, Role::Backward);
        let result = build(self);
        self.role = before;
        result
    }

    /// Checks what every pass relies on: inputs come first, and each stored
    /// shape is the one that the op infers.
    pub fn verify(&self) -> Result<()> {
        for (id, node) in self.nodes() {
            for input in &node.inputs {
                if input.graph != self.id || input.index >= id.index {
                    return Err(Error::Graph(format!(
                        "node `{}` reads {input}, which does not come before it",
                        node.label
                    )));
                }
            }
            if let Kind::Op(op) = &node.kind {
                let shapes: Vec<_> = node
                    .inputs
                    .iter()
                    .map(|i| &self.nodes[i.index()].shape)
                    .collect();
                let shape = op.infer(&shapes)?;
                if shape != node.shape {
                    return Err(Error::Graph(format!(
                        "node `{}` has shape {}, but {op} gives {shape}",
                        node.label, node.shape
                    )));
                }
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_are_unique_and_found() {
        let mut g = Graph::new();
        let x = g.input("x", &[2]).unwrap();
        let error = g.parameter("x", &[3]).unwrap_err().to_string();
        assert!(error.contains("`x`"), "{error}");
        let y = g.relu(x).unwrap();
        assert!(g.name(y, "x").is_err());
        g.name(y, "h").unwrap();
        assert_eq!(
            (g.find("h"), g.find("relu_1"), g.find("x")),
            (Some(y), None, Some(x))
        );
        assert_eq!(g.name(y, "h").unwrap(), y);
        // A made label never takes one that a user gave.
        g.input("relu_3", &[]).unwrap();
        let z = g.relu(x).unwrap();
        assert_eq!(g.node(z).unwrap().label, "relu_3_");
    }

    #[test]
    fn nodes_of_another_graph_are_refused() {
        let mut g = Graph::new();
        let x = g.input("x", &[2]).unwrap();
        let mut other = Graph::new();
        other.input("y", &[2]).unwrap();
        for error in [
            other.relu(x).unwrap_err(),
            other.name(x, "z").unwrap_err(),
            other.reachable(&[x]).unwrap_err(),
        ] {
            assert!(error.to_string().contains("another graph"), "{error}");
        }
    }

    #[test]
    fn errors_name_op_shapes_and_node() {
        let mut g = Graph::new();
        let a = g.input("a", &[2, 3]).unwrap();
        let b = g.input("b", &[4, 5]).unwrap();
        assert_eq!(
            g.matmul(a, b).unwrap_err().to_string(),
            "matmul: inner sizes 3 and 4 differ, lhs: [2, 3], rhs: [4, 5]; make them equal (at node \
             `matmul_2`)"
        );
        let error = g.add(a, b).unwrap_err().to_string();
        assert!(
            error.starts_with("add: shapes [2, 3] and [4, 5] do not broadcast"),
            "{error}"
        );
        let error = g.sum(a, &[2]).unwrap_err().to_string();
        assert!(error.contains("axes [2] of [2, 3]"), "{error}");
        let error = g.reshape(a, &[5]).unwrap_err().to_string();
        assert!(error.contains("has 6 elements"), "{error}");
        assert!(g.input("huge", &[1 << 20, 1 << 20]).is_err());
    }
}
