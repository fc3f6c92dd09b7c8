//! How a graph may be cut along the rows of its batch: which values follow row by
//! row, which are sums over the rows, and the graph of a part of the rows, node
//! for node that of all of them.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::rules::{self, Operand, Values};
use crate::error::{Error, Result};
use crate::graph::{Graph, Kind, Lowering, Meaning, Node, NodeId, Op, Role, Target};
use crate::ops::{layout, reduce};
use crate::run::Feeds;
use crate::shape::Shape;
use crate::tensor::Tensor;

/// What a value of the whole batch is, in terms of its parts'.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Joined {
    /// It does not depend on the batch: every part has it.
    Shared,
    /// The parts' values one behind the other along axis 0.
    Rows,
    /// The sum of the parts' values.
    Total,
}

/// A graph that may be cut along axis 0 of some of its leaves.
#[derive(Debug)]
pub struct Split<'g> {
    graph: &'g Graph,
    outputs: Vec<NodeId>,
    rows: usize,
    batched: BTreeSet<String>,
    values: Vec<Values>,
    /// Nodes of which a part has its rows only, or all of it. A value that is the
    /// same for each row may be wanted in both ways.
    cut: Vec<bool>,
    whole: Vec<bool>,
}

/// The graph of a part of the rows.
#[derive(Debug)]
pub struct Part {
    /// The graph; its leaves have the labels of the whole graph's.
    pub graph: Graph,
    /// The rows that it is for.
    pub rows: usize,
    nodes: Vec<Option<NodeId>>,
}

impl Part {
    /// The node that is, for these rows, what `id` is in the whole graph.
    ///
    /// # Errors
    /// The outputs that the graph was split for do not need `id`.
    pub fn node(&self, id: NodeId) -> Result<NodeId> {
        let found = self.nodes.get(id.index()).copied().flatten();
        found.ok_or_else(|| {
            Error::Graph(format!(
                "node {id} is in no part of the batch: name it among the outputs to split for"
            ))
        })
    }

    /// The node of the whole graph for which `id` stands, if it is one of this part's.
    pub fn whole(&self, split: &Split<'_>, id: NodeId) -> Option<NodeId> {
        let all = split.graph.nodes().zip(&self.nodes);
        let mut found = all.filter(|(_, own)| **own == Some(id));
        found.next().map(|((whole, _), _)| whole)
    }

    /// [`node`](Part::node) of each.
    ///
    /// # Errors
    /// As [`node`](Part::node).
    pub fn nodes(&self, ids: &[NodeId]) -> Result<Vec<NodeId>> {
        ids.iter().map(|&id| self.node(id)).collect()
    }
}

impl<'g> Split<'g> {
    /// Looks at what `outputs` need. Axis 0 of the leaves `batched` is the batch.
    ///
    /// # Errors
    /// [`Error::Unsupported`], naming the node: it mixes rows otherwise than by a
    /// sum over all of them. [`Error::Graph`] if there is no such leaf, or the
    /// leaves do not agree on the number of rows.
    pub fn new(graph: &'g Graph, outputs: &[NodeId], batched: &[&str]) -> Result<Split<'g>> {
        let needed = graph.reachable(outputs)?;
        let rows = rows_of(graph, batched)?;
        let mut split = Split {
            graph,
            outputs: outputs.to_vec(),
            rows,
            batched: batched.iter().map(|label| label.to_string()).collect(),
            values: vec![Values::Shared; graph.len()],
            cut: vec![false; graph.len()],
            whole: vec![false; graph.len()],
        };
        for (id, node) in graph.nodes().filter(|(id, _)| needed[id.index()]) {
            split.values[id.index()] = match &node.kind {
                Kind::Input | Kind::Parameter if split.batched.contains(&node.label) => {
                    Values::Rows
                }
                Kind::Input | Kind::Parameter => Values::Shared,
                Kind::Constant(value) => match split.may_be_cut(&node.shape) && is_even(value) {
                    true => Values::Repeated,
                    false => Values::Shared,
                },
                Kind::Op(_) => split.of_op(id)?,
            };
        }
        split.find_forms(&needed)?;
        Ok(split)
    }

    /// The rows of the whole batch.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// What the value of `id` is in terms of the parts'.
    pub fn joined(&self, id: NodeId) -> Joined {
        match self.values.get(id.index()) {
            Some(Values::Rows) => Joined::Rows,
            Some(Values::Repeated) if self.cut[id.index()] => Joined::Rows,
            Some(Values::Total) => Joined::Total,
            _ => Joined::Shared,
        }
    }

    /// Where the value of `id` for the rows from `first` on begins along axis 0 of
    /// that for all rows; 0 if it does not go by rows.
    ///
    /// # Errors
    /// A node of another graph.
    pub fn offset(&self, id: NodeId, first: usize) -> Result<usize> {
        let dims = self.graph.shape(id)?.dims();
        Ok(match (self.joined(id), dims.first()) {
            (Joined::Rows, Some(size)) => size / self.rows * first,
            _ => 0,
        })
    }

    /// The outputs that it is split for.
    pub fn outputs(&self) -> &[NodeId] {
        &self.outputs
    }

    /// The graph that is split.
    pub fn graph(&self) -> &'g Graph {
        self.graph
    }

    /// The graph of `rows` of the rows.
    ///
    /// # Errors
    /// [`Error::Graph`] for no row, or more than there are.
    pub fn part(&self, rows: usize) -> Result<Part> {
        if rows == 0 || rows > self.rows {
            return Err(Error::Graph(format!(
                "a part of {rows} rows of a batch of {}; it takes 1 row or more, and no more than \
                 there are",
                self.rows
            )));
        }
        let mut graph = Graph::new();
        let mut made = Forms {
            cut: vec![None; self.graph.len()],
            whole: vec![None; self.graph.len()],
        };
        let ids: Vec<NodeId> = self.graph.nodes().map(|(id, _)| id).collect();
        for id in ids {
            let i = id.index();
            if self.whole[i] {
                let shape = self.graph.shape(id)?;
                made.whole[i] = Some(self.copy(id, shape, None, &mut graph, &made)?);
            }
            if self.cut[i] {
                let shape = self.shape(id, rows)?;
                made.cut[i] = Some(self.copy(id, &shape, Some(rows), &mut graph, &made)?);
            }
        }
        let pairs = made.cut.into_iter().zip(made.whole);
        let part = Part {
            graph,
            rows,
            nodes: pairs.map(|(cut, whole)| cut.or(whole)).collect(),
        };
        if cfg!(debug_assertions) {
            part.graph.verify()?;
        }
        Ok(part)
    }

    /// The values of the leaves for `rows` rows from `first` on.
    ///
    /// # Errors
    /// A batched leaf has fewer rows than that.
    pub fn feeds(&self, feeds: &Feeds, first: usize, rows: usize) -> Result<Feeds> {
        let mut part = Feeds::new();
        for (label, value) in feeds {
            let value = match self.batched.contains(label) {
                true => slice(label, value, first, rows)?,
                false => value.clone(),
            };
            part.insert(label.clone(), value);
        }
        Ok(part)
    }

    /// Whether rows of the batch may lie along axis 0 of this shape.
    fn may_be_cut(&self, shape: &Shape) -> bool {
        let first = shape.dims().first();
        first.is_some_and(|&size| size > 0 && size.is_multiple_of(self.rows))
    }

    /// The shape of `rows` rows of a value.
    fn shape(&self, id: NodeId, rows: usize) -> Result<Shape> {
        let mut dims = self.graph.shape(id)?.dims().to_vec();
        let is_cut = matches!(self.values[id.index()], Values::Rows | Values::Repeated);
        if let Some(first) = dims.first_mut().filter(|_| is_cut) {
            *first = *first / self.rows * rows;
        }
        Ok(Shape::new(&dims)?)
    }

    /// What an op makes of the values that it reads.
    fn of_op(&self, id: NodeId) -> Result<Values> {
        let node = self.graph.node(id)?;
        let Some(op) = node.op() else {
            return Ok(Values::Shared);
        };
        let operands = self.operands(node)?;
        let cut = self.may_be_cut(&node.shape);
        let lowering = lowering(op, &operands, &node.shape);
        rules::of_op(op.name(), &lowering, &operands, &node.shape, cut).map_err(|why| {
            Error::Unsupported(format!(
                "the batch cannot be split: `{}` ({op}, shape {}) {why}; make the batch smaller",
                node.label, node.shape
            ))
        })
    }

    fn operands(&self, node: &Node) -> Result<Vec<Operand<'g>>> {
        let each = node.inputs.iter().map(|&input| {
            Ok(Operand {
                values: self.values[input.index()],
                shape: self.graph.shape(input)?,
            })
        });
        each.collect()
    }

    /// Decides which nodes a part has by rows, and which whole.
    fn find_forms(&mut self, needed: &[bool]) -> Result<()> {
        for id in &self.outputs {
            match self.values[id.index()] {
                Values::Shared => self.whole[id.index()] = true,
                _ => self.cut[id.index()] = true,
            }
        }
        let nodes = self.graph.nodes().rev();
        for (id, node) in nodes.filter(|(id, _)| needed[id.index()]) {
            for (place, &input) in node.inputs.iter().enumerate() {
                if self.whole[id.index()] {
                    self.whole[input.index()] = true;
                }
                if self.cut[id.index()] {
                    match self.reads_rows(node, place)? {
                        true => self.cut[input.index()] = true,
                        false => self.whole[input.index()] = true,
                    }
                }
            }
        }
        Ok(())
    }

    /// Whether a node that is there by rows reads its operand so.
    fn reads_rows(&self, node: &Node, place: usize) -> Result<bool> {
        let operands = self.operands(node)?;
        Ok(match operands[place].values {
            Values::Shared => false,
            Values::Rows | Values::Total => true,
            Values::Repeated => match node.op() {
                Some(op) => {
                    let lowering = lowering(op, &operands, &node.shape);
                    rules::reads_rows(&lowering, &operands, place, &node.shape)
                }
                None => false,
            },
        })
    }

    /// Appends the node to a part's graph, for so many rows, or whole.
    fn copy(
        &self,
        id: NodeId,
        shape: &Shape,
        rows: Option<usize>,
        graph: &mut Graph,
        made: &Forms,
    ) -> Result<NodeId> {
        let node = self.graph.node(id)?;
        let mut inputs = Vec::with_capacity(node.inputs.len());
        for (place, &input) in node.inputs.iter().enumerate() {
            let by_rows = rows.is_some() && self.reads_rows(node, place)?;
            let forms = if by_rows { &made.cut } else { &made.whole };
            let found = forms[input.index()].ok_or_else(|| {
                Error::Graph(format!("node {input} is needed before it is in the part"))
            })?;
            inputs.push(found);
        }
        let own = match &node.kind {
            Kind::Input => graph.input(&node.label, shape.dims())?,
            Kind::Parameter => graph.parameter(&node.label, shape.dims())?,
            Kind::Constant(value) => graph.constant(match *shape == node.shape {
                true => value.clone(),
                false => Tensor::full(shape, value.data().first().copied().unwrap_or_default()),
            }),
            Kind::Op(op) => {
                let op = match rows {
                    Some(rows) if rows < self.rows => self.op_of_part(node, op, shape)?,
                    _ => Arc::clone(op),
                };
                match node.role {
                    Role::Forward => graph.apply_shared(op, &inputs)?,
                    Role::Backward => graph.backward(|g| g.apply_shared(op, &inputs))?,
                }
            }
        };
        // Only a node that is there in both forms finds its name taken.
        if !node.is_fed() && graph.find(&node.label).is_none() {
            graph.name(own, &node.label)?;
        }
        Ok(own)
    }

    /// The op that does to some rows what `op` does to all.
    fn op_of_part(&self, node: &Node, op: &Arc<dyn Op>, shape: &Shape) -> Result<Arc<dyn Op>> {
        let operands = self.operands(node)?;
        let over_rows = operands.iter().any(|o| o.values == Values::Rows);
        Ok(match op.name() {
            "reshape" => layout::reshape_to(shape),
            "expand" => layout::expand_to(shape),
            // The number of all terms still divides it.
            "mean" if self.values_of(node) == Values::Total && over_rows => {
                match lowering(op.as_ref(), &operands, &node.shape) {
                    Lowering::Calls {
                        meaning: Meaning::Sum { axes, divisor },
                        ..
                    } => reduce::mean_by(&axes, divisor),
                    _ => Arc::clone(op),
                }
            }
            _ => Arc::clone(op),
        })
    }

    fn values_of(&self, node: &Node) -> Values {
        let id = self.graph.find(&node.label);
        id.map_or(Values::Shared, |id| self.values[id.index()])
    }
}

/// The nodes of a part that stand for those of the whole graph.
struct Forms {
    cut: Vec<Option<NodeId>>,
    whole: Vec<Option<NodeId>>,
}

fn lowering(op: &dyn Op, operands: &[Operand<'_>], output: &Shape) -> Lowering {
    let shapes: Vec<&Shape> = operands.iter().map(|o| o.shape).collect();
    op.lower(&shapes, output, &Target::default())
}

/// The rows on which the batched leaves agree.
pub(super) fn rows_of(graph: &Graph, batched: &[&str]) -> Result<usize> {
    let mut found: Option<(usize, &str)> = None;
    for &label in batched {
        let id = graph.find(label);
        let leaf = id.and_then(|id| graph.node(id).ok()).filter(|n| n.is_fed());
        let Some(leaf) = leaf else {
            return Err(Error::Graph(format!(
                "there is no leaf `{label}` to split; name inputs of the graph"
            )));
        };
        let Some(&rows) = leaf.shape.dims().first() else {
            return Err(Error::Graph(format!(
                "`{label}` is a scalar and has no rows to split; give it an axis for the batch"
            )));
        };
        match found {
            Some((other, of)) if other != rows => {
                return Err(Error::Graph(format!(
                    "`{of}` has {other} rows and `{label}` has {rows}; a batch has as many of each"
                )));
            }
            _ => found = Some((rows, label)),
        }
    }
    match found {
        Some((rows, _)) if rows > 0 => Ok(rows),
        Some((_, label)) => Err(Error::Graph(format!(
            "`{label}` has no rows to split; give it one or more"
        ))),
        None => Err(Error::Graph(
            "no leaf is named whose rows are to be split; name one or more".to_string(),
        )),
    }
}

/// Some rows of a value.
fn slice(label: &str, value: &Tensor, first: usize, rows: usize) -> Result<Tensor> {
    let [all, rest @ ..] = value.dims() else {
        return Err(Error::Graph(format!(
            "`{label}` is a scalar: it has no rows"
        )));
    };
    if first + rows > *all {
        return Err(Error::Graph(format!(
            "`{label}` has {all} rows; there are no {rows} from {first} on"
        )));
    }
    let each: usize = rest.iter().product();
    let data = value.data()[first * each..(first + rows) * each].to_vec();
    Ok(Tensor::new(&[&[rows], rest].concat(), data)?)
}

/// Whether all values are one, bit for bit.
fn is_even(value: &Tensor) -> bool {
    let mut bits = value.data().iter().map(|v| v.to_bits());
    let first = bits.next();
    bits.all(|b| Some(b) == first)
}
