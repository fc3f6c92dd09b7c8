//! A picture of a graph: its nodes with what they read, the gradient of each, and
//! where wanted values and a plan's kernels and buffers. Data; the files beside
//! this one write it as SVG, DOT, Mermaid, JSON and text.

mod dot;
mod json;
mod layout;
mod mermaid;
mod svg;
mod text;

use std::collections::BTreeMap;

pub use dot::dot;
pub use json::json;
pub use mermaid::mermaid;
pub use svg::svg;
pub(super) use svg::{Frame, drawing};
pub use text::{coloured, text};

use crate::error::Result;
use crate::graph::{Graph, Kind, NodeId, Role};
use crate::number;
use crate::plan::{Content, Plan};
use crate::solution::{Prepared, Solution};
use crate::tensor::Tensor;

/// What sort of node a picture shows.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Sort {
    /// A value given at each run.
    Input,
    /// A weight or a bias.
    Parameter,
    /// A fixed value.
    Constant,
    /// A value computed from others.
    Op,
}

/// A node of a picture.
#[derive(Clone, Debug)]
pub struct Node {
    /// The node's place in the graph.
    pub id: usize,
    /// Its symbol in formulas (`h0`, `dL/dh0`).
    pub symbol: String,
    /// Its label in the graph.
    pub label: String,
    /// What sort it is.
    pub sort: Sort,
    /// Its op (`matmul[transpose_b]`), or what sort of leaf it is.
    pub op: String,
    /// Its shape (`[1, 4]`).
    pub shape: String,
    /// Part of the forward or of the reverse walk.
    pub role: Role,
    /// The nodes that it reads, in the op's order.
    pub inputs: Vec<usize>,
    /// The node that is the loss's gradient by it, where the picture has one.
    pub gradient: Option<usize>,
    /// Its value, where values are shown.
    pub value: Option<Tensor>,
    /// Which of [`Picture::kernels`] compute it.
    pub kernels: Vec<usize>,
    /// The buffer in which it is given or read back, by [`Picture::buffers`].
    pub buffer: Option<usize>,
}

/// One dispatch of a plan.
#[derive(Clone, Debug)]
pub struct Kernel {
    /// The kernel's name.
    pub name: String,
    /// Workgroups along x and y.
    pub grid: [u32; 2],
    /// The nodes that it computes; several are a fused group.
    pub nodes: Vec<usize>,
    /// The buffers that it reads.
    pub reads: Vec<usize>,
    /// The buffers that it writes.
    pub writes: Vec<usize>,
}

/// One buffer of a plan.
#[derive(Clone, Debug)]
pub struct Buffer {
    /// Whose value it holds.
    pub label: String,
    /// Its size.
    pub bytes: u64,
    /// `given`, `constant` or `computed`.
    pub content: &'static str,
    /// The buffer that it is a part of.
    pub part_of: Option<usize>,
}

/// A picture of a graph, or of a part of it.
#[derive(Clone, Debug, Default)]
pub struct Picture {
    /// The nodes, each after those that it reads.
    pub nodes: Vec<Node>,
    /// The dispatches in order; empty if no plan is shown.
    pub kernels: Vec<Kernel>,
    /// The plan's buffers.
    pub buffers: Vec<Buffer>,
}

impl Picture {
    /// What `roots` need of a graph. `symbols` has one for each node; the
    /// gradient of a node is the one named after it (`d/d LABEL`).
    ///
    /// # Errors
    /// A root of another graph.
    pub fn new(graph: &Graph, symbols: &[String], roots: &[NodeId]) -> Result<Picture> {
        let needed = graph.reachable(roots)?;
        let mut nodes = Vec::new();
        for (id, node) in graph.nodes().filter(|(id, _)| needed[id.index()]) {
            let (sort, op) = match &node.kind {
                Kind::Input => (Sort::Input, "input".to_string()),
                Kind::Parameter => (Sort::Parameter, "parameter".to_string()),
                Kind::Constant(_) => (Sort::Constant, "constant".to_string()),
                Kind::Op(op) => (Sort::Op, op.to_string()),
            };
            let gradient = graph.find(&format!("d/d {}", node.label));
            nodes.push(Node {
                id: id.index(),
                symbol: symbols
                    .get(id.index())
                    .cloned()
                    .unwrap_or_else(|| node.label.clone()),
                label: node.label.clone(),
                sort,
                op,
                shape: node.shape.to_string(),
                role: node.role,
                inputs: node.inputs.iter().map(|i| i.index()).collect(),
                gradient: gradient.map(NodeId::index).filter(|i| needed[*i]),
                value: None,
                kernels: Vec::new(),
                buffer: None,
            });
        }
        Ok(Picture {
            nodes,
            ..Picture::default()
        })
    }

    /// The graph of a problem: up to the loss, or with every gradient.
    ///
    /// # Errors
    /// None in practice: the nodes are the graph's own.
    pub fn of_problem(prepared: &Prepared, backward: bool) -> Result<Picture> {
        let named = prepared.named.iter().map(|(_, id)| *id);
        let roots: Vec<NodeId> = match backward {
            true => named.collect(),
            false => vec![prepared.loss_node],
        };
        let mut picture = Picture::new(&prepared.graph, &prepared.symbols()?, &roots)?;
        let of: BTreeMap<usize, usize> = prepared.gradients().collect();
        let shown: Vec<usize> = picture.nodes.iter().map(|n| n.id).collect();
        for node in &mut picture.nodes {
            let gradient = of.get(&node.id).filter(|g| shown.contains(g));
            node.gradient = node.gradient.or(gradient.copied());
        }
        Ok(picture)
    }

    /// Puts the values of a solution, and those of constants, into the nodes.
    pub fn set_values(&mut self, prepared: &Prepared, solution: &Solution) {
        let steps: BTreeMap<usize, &Tensor> = (solution.steps.iter())
            .map(|s| (s.node.index(), &s.value))
            .collect();
        let graph: Vec<_> = prepared.graph.nodes().map(|(_, node)| node).collect();
        for node in &mut self.nodes {
            let value = match &graph[node.id].kind {
                Kind::Constant(value) => Some(value),
                Kind::Op(_) => steps.get(&node.id).copied(),
                _ => prepared.feeds.get(&node.label),
            };
            node.value = value.cloned();
        }
    }

    /// Puts the kernels and buffers of a plan for the same graph in.
    pub fn set_plan(&mut self, plan: &Plan) {
        self.buffers = (plan.buffers.iter())
            .map(|b| Buffer {
                label: b.label.clone(),
                bytes: b.bytes(),
                content: match b.content {
                    Content::Fed => "given",
                    Content::Constant(_) => "constant",
                    Content::Computed => "computed",
                },
                part_of: b.part_of.map(|(whole, _)| whole.index()),
            })
            .collect();
        let places = |list: &[crate::plan::BufferId]| list.iter().map(|b| b.index()).collect();
        self.kernels = (plan.steps.iter())
            .map(|s| {
                let mut nodes: Vec<usize> = s.nodes.iter().map(|id| id.index()).collect();
                nodes.sort_unstable();
                Kernel {
                    name: plan.kernels[s.kernel].label.clone(),
                    grid: s.grid,
                    nodes,
                    reads: places(&s.inputs),
                    writes: places(&s.outputs),
                }
            })
            .collect();
        for node in &mut self.nodes {
            let computing = |(i, k): (usize, &Kernel)| k.nodes.contains(&node.id).then_some(i);
            node.kernels = self
                .kernels
                .iter()
                .enumerate()
                .filter_map(computing)
                .collect();
            let output = plan.outputs.iter().find(|o| o.node.index() == node.id);
            let feed = plan.feeds.iter().find(|f| f.label == node.label);
            let buffer = output.map(|o| o.buffer).or(feed.map(|f| f.buffer));
            node.buffer = buffer.map(|b| b.index());
        }
    }

    /// The node of this place in the graph.
    pub fn node(&self, id: usize) -> Option<&Node> {
        let place = self.nodes.binary_search_by_key(&id, |n| n.id).ok()?;
        self.nodes.get(place)
    }

    /// The way of the gradient to a node: its gradient (or itself, if it is one)
    /// and all of the reverse walk that this was made from.
    pub fn path(&self, id: usize) -> Vec<usize> {
        let Some(node) = self.node(id) else {
            return Vec::new();
        };
        let start = match node.role {
            Role::Backward => Some(node),
            Role::Forward => node.gradient.and_then(|g| self.node(g)),
        };
        let mut found: Vec<usize> = start.iter().map(|n| n.id).collect();
        let mut at = 0;
        while let Some(&next) = found.get(at) {
            at += 1;
            let inputs = self.node(next).map_or(&[][..], |n| &n.inputs);
            for &input in inputs {
                let of_the_walk = self.node(input).is_some_and(|n| n.role == Role::Backward);
                if of_the_walk && !found.contains(&input) {
                    found.push(input);
                }
            }
        }
        found
    }
}

/// `dL/dh0` with the sign of a partial derivative.
pub(super) fn pretty(symbol: &str) -> String {
    match symbol.strip_prefix("dL/d") {
        Some(by) => format!("\u{2202}L/\u{2202}{by}"),
        None => symbol.to_string(),
    }
}

/// A value in few characters, for a small place.
fn short(value: f32) -> String {
    let size = value.abs();
    if value == 0.0 || !value.is_finite() {
        return number::show(value);
    }
    match (1e-4..1e4).contains(&size) {
        true => format!("{value:.4}"),
        false => format!("{value:.1e}"),
    }
}

/// The rows of a tensor that is small enough to be written out in a node.
fn rows(tensor: &Tensor) -> Option<Vec<&[f32]>> {
    const MOST: usize = 4;
    let (columns, down) = match tensor.dims() {
        [] => (1, 1),
        [lead @ .., last] => (*last, lead.iter().product()),
    };
    let fits = (1..=MOST).contains(&columns) && (1..=MOST).contains(&down);
    fits.then(|| tensor.data().chunks(columns).collect())
}

/// A value in one line: `[[0.1646, 0.6559]]`, or what can be said of a large one.
fn line(tensor: &Tensor) -> String {
    match rows(tensor) {
        Some(rows) => {
            let rows: Vec<_> = (rows.iter())
                .map(|row| row.iter().map(|v| short(*v)).collect::<Vec<_>>().join("  "))
                .collect();
            rows.join("; ")
        }
        None => {
            let data = tensor.data();
            let ends = |pick: fn(f32, f32) -> f32| data.iter().copied().reduce(pick);
            match (ends(f32::min), ends(f32::max)) {
                (Some(least), Some(most)) => {
                    format!("{} values, {} to {}", data.len(), short(least), short(most))
                }
                _ => "no values".to_string(),
            }
        }
    }
}
