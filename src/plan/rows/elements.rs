//! The elements of values as WGSL expressions: which elements of its inputs an
//! element of a member follows from, with all indices worked out. Where the
//! kernel takes four rows at a time, the element of a value by row is a vector
//! with a part for each of them; what all rows share is a number.

use std::collections::HashMap;

use super::region::{Act, Member};
use crate::graph::{Graph, MapCall, Node, NodeId};
use crate::shape::Shape;

/// The components of a vector.
pub(super) const PART: [&str; 4] = ["x", "y", "z", "w"];

/// What a row adds to a sum.
pub(super) enum Term {
    Value(String),
    Product(String, String),
}

/// What the elements of each value are called.
pub(super) struct Elements<'g> {
    graph: &'g Graph,
    /// Whether the elements of values by row are those of four rows.
    four: bool,
    /// Those of one row of each value by row.
    pub rows: HashMap<NodeId, Vec<String>>,
    /// Those of each shared value.
    pub shared: HashMap<NodeId, Vec<String>>,
    /// The settings used so far, which travel in the parameters.
    pub constants: Vec<f32>,
}

impl<'g> Elements<'g> {
    pub fn new(graph: &'g Graph, four: bool) -> Self {
        Elements {
            graph,
            four,
            rows: HashMap::new(),
            shared: HashMap::new(),
            constants: Vec::new(),
        }
    }

    pub fn node(&self, id: NodeId) -> &'g Node {
        // Members and their inputs are nodes of this graph.
        self.graph.node(id).expect("a member is a node")
    }

    pub fn shape(&self, id: NodeId) -> &'g Shape {
        &self.node(id).shape
    }

    /// Elements of one row.
    pub fn row_size(&self, id: NodeId) -> usize {
        self.shape(id).dims()[1..].iter().product()
    }

    /// Element `e` of a row of `m`.
    pub fn of_row(&mut self, m: &Member, e: usize) -> String {
        let node = self.node(m.node);
        let at = unravel(e, &node.shape.dims()[1..]);
        match &m.act {
            Act::View => self.row_of(node.inputs[0])[e].clone(),
            Act::Map(call) => {
                // Row 0 stands for all: only the row's own axes matter.
                let full = [&[0], &at[..]].concat();
                self.call(call, node, &full, true)
            }
            Act::Product {
                transpose_a,
                transpose_b,
            } => self.product(node, &at, *transpose_a, *transpose_b),
            Act::Sum { axes, divisor } => {
                let sum = self.added(&self.terms(node.inputs[0], axes, &at));
                if *divisor == 1 {
                    return sum;
                }
                let by = self.setting(*divisor as f32);
                format!("divided{}({sum}, {by})", self.suffix())
            }
        }
    }

    /// Element `e` of a member that each invocation computes from shared values.
    pub fn of_shared(&mut self, m: &Member, e: usize) -> String {
        let node = self.node(m.node);
        match &m.act {
            Act::Map(call) => {
                let at = unravel(e, node.shape.dims());
                self.call(call, node, &at, false)
            }
            // The search takes nothing else but views.
            _ => self.shared_of(node.inputs[0])[e].clone(),
        }
    }

    /// What a row adds to element `e` of a sum over the batch.
    pub fn summed(&self, m: &Member, e: usize) -> Term {
        let node = self.node(m.node);
        let at = unravel(e, node.shape.dims());
        match &m.act {
            Act::Sum { axes, .. } => {
                Term::Value(self.added(&self.terms(node.inputs[0], axes, &at)))
            }
            // The search takes nothing else but products of two matrices.
            _ => {
                let of = |input: usize| self.row_of(node.inputs[input])[at[input]].clone();
                Term::Product(of(0), of(1))
            }
        }
    }

    fn row_of(&self, id: NodeId) -> &[String] {
        // The search has put every input of a member into one of the two.
        self.rows.get(&id).expect("an input by row is known")
    }

    fn shared_of(&self, id: NodeId) -> &[String] {
        self.shared.get(&id).expect("a shared input is known")
    }

    /// A setting, from the parameters.
    fn setting(&mut self, value: f32) -> String {
        let i = self.constants.len();
        self.constants.push(value);
        format!("params.settings[{}].{}", i / 4, PART[i % 4])
    }

    /// The call of an elementwise function for the element at `at` of `node`,
    /// which is a value by row or a shared one.
    fn call(&mut self, call: &MapCall, node: &Node, at: &[usize], by_row: bool) -> String {
        let four = by_row && self.four;
        // What all four rows share.
        let same = |shared: String| match four {
            true => format!("vec4<f32>({shared})"),
            false => shared,
        };
        let mut arguments: Vec<String> = node
            .inputs
            .iter()
            .map(|&input| {
                let own = by_row && self.is_by_row(input, node);
                let element = self.broadcast(input, at, own);
                if own { element } else { same(element) }
            })
            .collect();
        if let Some(c) = call.constant {
            arguments.push(same(self.setting(c)));
        }
        let suffix = if four { "4" } else { "" };
        format!("{}{suffix}({})", call.function, arguments.join(", "))
    }

    /// What the names of functions of the elements by row end with.
    fn suffix(&self) -> &'static str {
        if self.four { "4" } else { "" }
    }

    /// Whether `node` reads this input row by row: its leading axis is then that
    /// of `node`.
    fn is_by_row(&self, input: NodeId, node: &Node) -> bool {
        self.rows.contains_key(&input) && self.shape(input).rank() == node.shape.rank()
    }

    /// The element of an input that broadcasting puts at `at` of the output.
    fn broadcast(&self, id: NodeId, at: &[usize], by_row: bool) -> String {
        let dims = self.shape(id).dims();
        let lead = at.len() - dims.len();
        let sizes = dims.iter().zip(&at[lead..]);
        let own: Vec<usize> = sizes
            .map(|(&size, &i)| if size == 1 { 0 } else { i })
            .collect();
        self.element(id, &own, by_row)
    }

    /// The element at this index of a value; of a value by row, the leading
    /// axis does not count.
    fn element(&self, id: NodeId, index: &[usize], by_row: bool) -> String {
        let dims = self.shape(id).dims();
        if by_row {
            self.row_of(id)[ravel(&index[1..], &dims[1..])].clone()
        } else {
            self.shared_of(id)[ravel(index, dims)].clone()
        }
    }

    /// A product within the row.
    fn product(&self, node: &Node, at: &[usize], ta: bool, tb: bool) -> String {
        let [a, b] = [node.inputs[0], node.inputs[1]];
        // The output's index: batch axes, then row and column of the matrix.
        // For a product of two matrices the batch axis is the matrix's rows.
        let full = [&[0], at].concat();
        let (lead, matrix) = full.split_at(full.len() - 2);
        let (row_a, row_b) = if node.shape.rank() == 2 {
            (true, false)
        } else {
            (self.is_by_row(a, node), self.is_by_row(b, node))
        };
        let operand = |id: NodeId, by_row: bool, i: usize, j: usize| {
            let dims = self.shape(id).dims();
            let batch = dims.len() - 2;
            let own = &lead[lead.len().saturating_sub(batch)..];
            let mut index: Vec<usize> = dims[..batch]
                .iter()
                .zip(own)
                .map(|(&size, &i)| if size == 1 { 0 } else { i })
                .collect();
            index.extend([i, j]);
            self.element(id, &index, by_row)
        };
        let inner = {
            let dims = self.shape(b).dims();
            dims[dims.len() - if tb { 1 } else { 2 }]
        };
        let turned = |turn: bool, i: usize, j: usize| if turn { (j, i) } else { (i, j) };
        let terms: Vec<String> = (0..inner)
            .map(|k| {
                let (i, j) = turned(ta, matrix[0], k);
                let left = operand(a, row_a, i, j);
                let (i, j) = turned(tb, k, matrix[1]);
                format!("{left} * {}", operand(b, row_b, i, j))
            })
            .collect();
        let sum = self.added(&terms);
        match self.four && !row_a && !row_b {
            true => format!("vec4<f32>({sum})"),
            false => sum,
        }
    }

    /// The sum of these terms by row.
    fn added(&self, terms: &[String]) -> String {
        match terms {
            [] if self.four => "vec4<f32>()".to_string(),
            [] => "0.0".to_string(),
            _ => added(terms),
        }
    }

    /// The elements of a row of `id` that lie on `axes`, at `at` of the axes
    /// that are kept. The batch axis is not among either.
    fn terms(&self, id: NodeId, axes: &[usize], at: &[usize]) -> Vec<String> {
        let dims = self.shape(id).dims();
        let kept: Vec<usize> = (1..dims.len())
            .filter(|axis| !axes.contains(axis))
            .collect();
        let names = self.row_of(id);
        (0..names.len())
            .filter(|&e| {
                let index = unravel(e, &dims[1..]);
                kept.iter().zip(at).all(|(&axis, &i)| index[axis - 1] == i)
            })
            .map(|e| names[e].clone())
            .collect()
    }
}

/// A sum of terms: up to four in a row, then groups of four, so that a long sum
/// is no deeper than the bound of a matrix product allows.
fn added(terms: &[String]) -> String {
    match terms.len() {
        ..=4 => terms.join(" + "),
        _ => {
            let groups: Vec<String> = terms
                .chunks(4)
                .map(|group| format!("({})", group.join(" + ")))
                .collect();
            groups.join(" + ")
        }
    }
}

fn unravel(mut e: usize, dims: &[usize]) -> Vec<usize> {
    let mut index = vec![0; dims.len()];
    for (axis, &size) in dims.iter().enumerate().rev() {
        index[axis] = e % size.max(1);
        e /= size.max(1);
    }
    index
}

fn ravel(index: &[usize], dims: &[usize]) -> usize {
    let axes = index.iter().zip(dims);
    axes.fold(0, |at, (&i, &size)| at * size + i)
}
