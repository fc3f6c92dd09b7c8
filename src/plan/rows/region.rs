//! Which part of a graph one row program can do: every value that has one
//! small row for each element of the batch, and the sums over the batch.
//!
//! The batch is a leading axis. A value is *by row* if row b of it follows from
//! row b of other values and from values that all rows share; it is a *sum* if
//! it adds something up over all rows. What depends on a sum must wait for the
//! last row, so it comes after the program. What depends on none of this comes
//! before it.

use std::collections::HashMap;

use crate::graph::{Graph, Kind, Lowering, MapCall, Meaning, NodeId, Precision, Target};
use crate::ops::shader_lib::TARGET;
use crate::plan::SLICE;
use crate::shape::Shape;

/// Elements of a row that a program may carry for one value. Wider rows would
/// not stay in registers.
const WIDEST_ROW: usize = 16;
/// Elements of a value that all rows share (a weight).
const LARGEST_SHARED: usize = 256;
/// Elements of a value that every invocation computes for itself from shared
/// ones, instead of taking a dispatch for it.
const LARGEST_INLINE: usize = 4;
/// Running sums an invocation may keep, all sums together: what the kernels' tables
/// have room for, ...
pub(super) const MOST_SUMS: usize = 176;
/// ... and where registers are few (a GPU has 255 at most, and each sum takes two) or
/// values by row are stored, too.
const FEWER_SUMS: usize = 96;
/// Multiplications, additions and calls for one row: bounds the length of the
/// kernel and the time that a driver takes to compile it.
const MOST_WORK: usize = 4000;
/// The same where values by row are stored, which compilers take much longer for.
const MOST_WORK_WITH_STORES: usize = 1200;

/// What a row program does with a node.
#[derive(Clone, Debug)]
pub enum Act {
    /// The same elements under another shape.
    View,
    /// An elementwise function.
    Map(MapCall),
    /// A matrix product within the row, or one that adds up over the rows.
    Product {
        transpose_a: bool,
        transpose_b: bool,
    },
    /// A sum over axes of the row, of the batch, or of both.
    Sum { axes: Vec<usize>, divisor: usize },
}

/// A node of the program with what it does.
#[derive(Clone, Debug)]
pub struct Member {
    pub node: NodeId,
    pub act: Act,
}

/// The part of a graph that one row program does.
#[derive(Clone, Debug)]
pub struct Region {
    /// Rows of the batch.
    pub rows: usize,
    /// Values by row that are read from memory.
    pub leaves: Vec<NodeId>,
    /// Shared values that are read from memory.
    pub shared: Vec<NodeId>,
    /// Shared values that each invocation computes.
    pub inline: Vec<Member>,
    /// Values by row, in order.
    pub body: Vec<Member>,
    /// Sums over the batch.
    pub sums: Vec<Member>,
    /// Members of `body` that are needed outside, and so are stored.
    pub stores: Vec<NodeId>,
    /// Members of `inline` that are needed outside too, and so are computed
    /// there once more.
    pub twice: Vec<NodeId>,
}

/// How a node stands to the program that is being put together.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Class {
    /// Computed before, or not at all.
    Before,
    Inline,
    Row,
    Sum,
    After,
}

/// The largest region for any batch size, of the nodes marked `todo`; `None`
/// if there is none worth a kernel of its own. Nodes that are not `todo` have
/// values already.
pub fn find(graph: &Graph, todo: &[bool], kept: &[bool], target: &Target) -> Option<Region> {
    let mut best: Option<Region> = None;
    for rows in batch_sizes(graph, todo) {
        let region = Search { graph, todo, rows }.region(kept);
        let better = |r: &Region| best.as_ref().is_none_or(|b| r.size() > b.size());
        if region.fits(graph, target) && better(&region) {
            best = Some(region);
        }
    }
    best
}

/// Leading sizes of the values that nodes to be done read or make.
fn batch_sizes(graph: &Graph, todo: &[bool]) -> Vec<usize> {
    let mut sizes: Vec<usize> = graph
        .nodes()
        .filter(|(id, _)| todo[id.index()])
        .filter_map(|(_, node)| node.shape.dims().first().copied())
        .filter(|&rows| rows > 0)
        .collect();
    sizes.sort_unstable();
    let mut counted: Vec<(usize, usize)> = Vec::new();
    for size in sizes {
        match counted.last_mut() {
            Some((count, last)) if *last == size => *count += 1,
            _ => counted.push((1, size)),
        }
    }
    // The most frequent few: a search takes time in proportion to the graph.
    counted.sort_by(|a, b| b.cmp(a));
    counted.into_iter().take(4).map(|(_, size)| size).collect()
}

impl Region {
    /// Ops that it does.
    pub fn size(&self) -> usize {
        self.inline.len() + self.body.len() + self.sums.len()
    }

    /// The nodes that need not be computed elsewhere.
    pub fn members(&self) -> impl Iterator<Item = NodeId> {
        let all = self.inline.iter().chain(&self.body).chain(&self.sums);
        all.map(|m| m.node).filter(|id| !self.twice.contains(id))
    }

    /// Whether it is worth a kernel and fits one.
    fn fits(&self, graph: &Graph, target: &Target) -> bool {
        let numel = |id: NodeId| graph.shape(id).map_or(usize::MAX, Shape::numel);
        let sums: usize = self.sums.iter().map(|m| numel(m.node)).sum();
        // The parameters are in a uniform buffer. Then come the leaves, one
        // buffer each; the shared values, of which those that are leaves of the
        // graph lie together; all sums; all stores.
        let computed = |&&id: &&NodeId| graph.node(id).is_ok_and(|n| n.op().is_some());
        let apart = self.shared.iter().filter(computed).count();
        let together = usize::from(apart < self.shared.len());
        let stores = usize::from(!self.stores.is_empty());
        let buffers = self.leaves.len() + apart + together + 1 + stores;
        let stored: u64 = self
            .stores
            .iter()
            .map(|&id| numel(id).next_multiple_of(SLICE) as u64 * 4)
            .sum();
        let steps = |m: &&Member| !matches!(m.act, Act::View);
        let ops = self.body.iter().chain(&self.sums).filter(steps).count();
        let most_sums = match target.software && stores == 0 {
            true => MOST_SUMS,
            false => FEWER_SUMS,
        };
        let most_work = match stores {
            0 => MOST_WORK,
            _ => MOST_WORK_WITH_STORES,
        };
        ops >= 2
            && sums <= most_sums
            && buffers <= target.storage_buffers as usize
            && stored <= target.binding_bytes
            && self.work(graph) <= most_work
    }

    /// Operations for one row, roughly.
    pub fn work(&self, graph: &Graph) -> usize {
        let numel = |id: NodeId| graph.shape(id).map_or(0, Shape::numel);
        let of = |m: &Member| {
            let Ok(node) = graph.node(m.node) else {
                return 0;
            };
            let by_row = (numel(m.node) / self.rows.max(1)).max(1);
            match &m.act {
                Act::View => 0,
                Act::Map(call) => {
                    // The more files of arithmetic a function needs, the longer it is.
                    let files = call.libs.iter().filter(|&&file| file != TARGET);
                    by_row * (4 + 8 * files.count())
                }
                Act::Product { transpose_b, .. } => {
                    let dims = node.inputs.get(1).and_then(|&b| graph.shape(b).ok());
                    let inner = dims.map_or(1, |d| inner_size(d, *transpose_b));
                    by_row * inner
                }
                Act::Sum { .. } => node
                    .inputs
                    .first()
                    .map_or(0, |&i| numel(i) / self.rows.max(1)),
            }
        };
        let sums: usize = self.sums.iter().map(|m| numel(m.node)).sum();
        self.body.iter().map(of).sum::<usize>() + 2 * sums
    }

    /// Registers that four rows side by side take at once, roughly: the leaves' elements,
    /// also those read ahead, the values that are still needed, and the sums.
    pub fn registers(&self, graph: &Graph) -> usize {
        let numel = |id: NodeId| graph.shape(id).map_or(0, Shape::numel);
        let four_rows = |id: NodeId| 4 * (numel(id) / self.rows.max(1)).max(1);
        let values = self.body.iter().map(|m| (m, true));
        let mut members: Vec<_> = values.chain(self.sums.iter().map(|m| (m, false))).collect();
        members.sort_by_key(|(m, _)| m.node);
        // A view is the value that it shows.
        let mut shown: HashMap<NodeId, NodeId> = HashMap::new();
        let mut needed_until: HashMap<NodeId, usize> = HashMap::new();
        for (at, (m, _)) in members.iter().enumerate() {
            let inputs = graph.node(m.node).map_or(&[][..], |node| &node.inputs);
            for input in inputs {
                let value = *shown.get(input).unwrap_or(input);
                needed_until.insert(value, at);
                if matches!(m.act, Act::View) {
                    shown.insert(m.node, value);
                }
            }
        }
        for id in &self.stores {
            needed_until.insert(*shown.get(id).unwrap_or(id), members.len());
        }
        let alive = |at: usize| -> usize {
            let values = members[..=at].iter().filter(|(_, by_row)| *by_row);
            let needed = |id: NodeId| needed_until.get(&id).is_some_and(|&until| until > at);
            let still = values.filter(|(m, _)| needed(m.node));
            still.map(|(m, _)| four_rows(m.node)).sum()
        };
        let most = (0..members.len()).map(alive).max().unwrap_or(0);
        let leaves: usize = self.leaves.iter().map(|&id| four_rows(id)).sum();
        let sums: usize = self.sums.iter().map(|m| numel(m.node)).sum();
        most + 2 * leaves + sums
    }
}

fn inner_size(b: &Shape, transpose_b: bool) -> usize {
    let [.., rows, columns] = b.dims() else {
        return 1;
    };
    if transpose_b { *columns } else { *rows }
}

struct Search<'g> {
    graph: &'g Graph,
    todo: &'g [bool],
    rows: usize,
}

impl Search<'_> {
    fn region(&self, kept: &[bool]) -> Region {
        let mut class = vec![Class::Before; self.graph.len()];
        let mut region = Region {
            rows: self.rows,
            leaves: Vec::new(),
            shared: Vec::new(),
            inline: Vec::new(),
            body: Vec::new(),
            sums: Vec::new(),
            stores: Vec::new(),
            twice: Vec::new(),
        };
        for (id, node) in self.graph.nodes() {
            let Kind::Op(op) = &node.kind else { continue };
            if !self.todo[id.index()] {
                continue;
            }
            let shapes: Vec<_> = node.inputs.iter().map(|&i| self.shape(i)).collect();
            // The default target: the meaning of an op is the same on all.
            let act = act_of(op.lower(&shapes, &node.shape, &Target::default()));
            let own = self.classify(act.as_ref(), &node.inputs, &node.shape, &class);
            class[id.index()] = own;
            // What a program does not do, it leaves outside.
            let Some(act) = act else { continue };
            let member = Member { node: id, act };
            match own {
                Class::Inline => region.inline.push(member),
                Class::Row => region.body.push(member),
                Class::Sum => region.sums.push(member),
                Class::Before | Class::After => {}
            }
        }
        self.finish(&mut region, &class, kept);
        region
    }

    fn shape(&self, id: NodeId) -> &Shape {
        // Inputs of a node are nodes of its graph.
        &self.graph.node(id).expect("an input is a node").shape
    }

    fn classify(
        &self,
        act: Option<&Act>,
        inputs: &[NodeId],
        output: &Shape,
        class: &[Class],
    ) -> Class {
        let of = |id: NodeId| class[id.index()];
        let outside = if inputs
            .iter()
            .any(|&i| matches!(of(i), Class::Row | Class::Sum | Class::After))
        {
            Class::After
        } else {
            Class::Before
        };
        if inputs
            .iter()
            .any(|&i| matches!(of(i), Class::Sum | Class::After))
        {
            return outside;
        }
        let Some(act) = act else { return outside };
        let by_row = |id: NodeId| self.is_by_row(self.shape(id), of(id));
        let shared = |id: NodeId| self.is_shared(self.shape(id), of(id));
        // Shared by all rows *and* read the same by all under broadcasting.
        let broadcast = |id: NodeId| {
            let shape = self.shape(id);
            shared(id) && (shape.rank() < output.rank() || shape.dims().first() == Some(&1))
        };
        let all_shared = inputs.iter().all(|&i| shared(i));
        match act {
            Act::Map(_) | Act::View => {
                let inline = all_shared && output.numel() <= LARGEST_INLINE;
                // With one row, a value that comes of the batch is by row, and
                // one that does not may as well be shared.
                let own = !inputs.iter().any(|&i| self.is_batch_leaf(i));
                if inline && own && (self.rows == 1 || !self.is_row_shape(output)) {
                    Class::Inline
                } else {
                    self.elementwise(act, inputs, output, outside, &by_row, &broadcast)
                }
            }
            Act::Product {
                transpose_a,
                transpose_b,
            } => {
                let [a, b] = inputs else { return outside };
                let (sa, sb) = (self.shape(*a), self.shape(*b));
                if output.rank() == 2 && sa.rank() == 2 && sb.rank() == 2 {
                    if *transpose_a && !*transpose_b && by_row(*a) && by_row(*b) {
                        return Class::Sum;
                    }
                    if !*transpose_a && by_row(*a) && shared(*b) && self.is_row_shape(output) {
                        return Class::Row;
                    }
                    return outside;
                }
                // The leading axis is one of the product's batch axes.
                let fits = |id: NodeId| {
                    (by_row(id) && self.shape(id).rank() == output.rank()) || broadcast(id)
                };
                if self.is_row_shape(output) && fits(*a) && fits(*b) {
                    Class::Row
                } else {
                    outside
                }
            }
            Act::Sum { axes, .. } => {
                let [x] = inputs else { return outside };
                if !by_row(*x) {
                    outside
                } else if axes.contains(&0) {
                    Class::Sum
                } else {
                    Class::Row
                }
            }
        }
    }

    fn elementwise(
        &self,
        act: &Act,
        inputs: &[NodeId],
        output: &Shape,
        outside: Class,
        by_row: &dyn Fn(NodeId) -> bool,
        broadcast: &dyn Fn(NodeId) -> bool,
    ) -> Class {
        let fits = |&id: &NodeId| match act {
            // A reshape must leave the batch axis alone.
            Act::View => by_row(id),
            _ => (by_row(id) && self.shape(id).rank() == output.rank()) || broadcast(id),
        };
        if self.is_row_shape(output) && inputs.iter().all(fits) {
            Class::Row
        } else {
            outside
        }
    }

    /// A leading batch axis and a row short enough to carry.
    fn is_row_shape(&self, shape: &Shape) -> bool {
        let numel = shape.numel();
        shape.dims().first() == Some(&self.rows) && numel > 0 && numel <= self.rows * WIDEST_ROW
    }

    fn is_by_row(&self, shape: &Shape, class: Class) -> bool {
        match class {
            Class::Row => true,
            Class::Before => self.is_row_shape(shape),
            Class::Inline | Class::Sum | Class::After => false,
        }
    }

    fn is_shared(&self, shape: &Shape, class: Class) -> bool {
        match class {
            Class::Inline => true,
            Class::Before => (1..=LARGEST_SHARED).contains(&shape.numel()),
            Class::Row | Class::Sum | Class::After => false,
        }
    }

    /// An input that holds the batch.
    fn is_batch_leaf(&self, id: NodeId) -> bool {
        let node = self.graph.node(id);
        node.is_ok_and(|n| matches!(n.kind, Kind::Input) && self.is_row_shape(&n.shape))
    }

    /// Which values are read from memory, and which are stored.
    fn finish(&self, region: &mut Region, class: &[Class], kept: &[bool]) {
        // Inline values count only where a row reads them.
        let mut used = vec![false; self.graph.len()];
        for m in region.sums.iter().chain(region.body.iter()) {
            for input in &self.inputs(m.node) {
                used[input.index()] = true;
            }
        }
        for m in region.inline.iter().rev() {
            if used[m.node.index()] {
                for input in &self.inputs(m.node) {
                    used[input.index()] = true;
                }
            }
        }
        region.inline.retain(|m| used[m.node.index()]);

        let mut seen = [vec![false; self.graph.len()], vec![false; self.graph.len()]];
        let members: Vec<Member> = region
            .inline
            .iter()
            .chain(&region.body)
            .chain(&region.sums)
            .cloned()
            .collect();
        for m in &members {
            let inputs = self.inputs(m.node);
            for (place, &input) in inputs.iter().enumerate() {
                if class[input.index()] != Class::Before {
                    continue;
                }
                let by_row = self.reads_by_row(m, place, class);
                let before = std::mem::replace(&mut seen[usize::from(by_row)][input.index()], true);
                match (before, by_row) {
                    (true, _) => {}
                    (false, true) => region.leaves.push(input),
                    (false, false) => region.shared.push(input),
                }
            }
        }
        let mut needed = kept.to_vec();
        for (id, node) in self.graph.nodes() {
            if self.todo[id.index()] && matches!(class[id.index()], Class::Before | Class::After) {
                for input in &node.inputs {
                    needed[input.index()] = true;
                }
            }
        }
        // Inline values that no row reads are computed outside.
        for (id, node) in self.graph.nodes().rev() {
            let outside = class[id.index()] == Class::Inline && !used[id.index()];
            if self.todo[id.index()] && outside {
                for input in &node.inputs {
                    needed[input.index()] = true;
                }
            }
        }
        let body = region.body.iter().map(|m| m.node);
        region.stores = body.filter(|n| needed[n.index()]).collect();
        for m in region.inline.iter().rev() {
            if needed[m.node.index()] {
                region.twice.push(m.node);
                for input in self.inputs(m.node) {
                    needed[input.index()] = true;
                }
            }
        }
    }

    fn inputs(&self, id: NodeId) -> Vec<NodeId> {
        self.graph
            .node(id)
            .map_or_else(|_| Vec::new(), |n| n.inputs.clone())
    }

    /// Whether member `m` reads its input number `place` row by row (or else
    /// as a value that all rows share).
    fn reads_by_row(&self, m: &Member, place: usize, class: &[Class]) -> bool {
        if class[m.node.index()] == Class::Inline {
            return false;
        }
        let node = self.graph.node(m.node).expect("a member is a node");
        let shape = self.shape(node.inputs[place]);
        match &m.act {
            Act::Product { transpose_a, .. } if node.shape.rank() == 2 => {
                *transpose_a || place == 0
            }
            Act::Product { .. } | Act::Map(_) => {
                self.is_row_shape(shape) && shape.rank() == node.shape.rank()
            }
            Act::View | Act::Sum { .. } => true,
        }
    }
}

/// What a program does of a node; nothing of a product of rounded operands, which
/// has kernels of its own.
fn act_of(lowering: Lowering) -> Option<Act> {
    Some(match lowering {
        Lowering::View => Act::View,
        Lowering::Map(call) => Act::Map(call),
        Lowering::Calls { meaning, .. } => match meaning {
            Meaning::Product {
                transpose_a,
                transpose_b,
                precision: Precision::F32,
            } => Act::Product {
                transpose_a,
                transpose_b,
            },
            Meaning::Product { .. } => return None,
            Meaning::Sum { axes, divisor } => Act::Sum { axes, divisor },
        },
    })
}
