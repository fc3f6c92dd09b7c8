//! Row programs: a whole small network, forward and backward, in one kernel.
//!
//! Where values share a batch axis and the rest of their shape is small (a
//! 4-2-1 network over 65,536 rows), one invocation carries a few rows through
//! all ops in registers. The batch is read once, and what is left of it is the
//! sums over the rows (parameter gradients, the loss), which a fixed tree adds
//! up: within an invocation, then a workgroup, then in a finishing kernel over
//! the workgroups. The kernel is written from the graph for any such region.

mod elements;
mod region;
mod schedule;
mod text;

pub use region::Region;
pub use schedule::{Lanes, Schedule};
pub use text::SharedAt;

use super::wgsl::join;
use super::{KernelSource, SLICE, stride};
use crate::graph::{Graph, NodeId, Target, image};
use crate::ops::shader_lib::{DIVIDE, GRID};
use crate::shape::Shape;

/// Images that one kernel reads: WebGPU promises so many.
const MOST_IMAGES: usize = 4;

const FINISH: &str = include_str!("../../../shaders/rows/finish.wgsl");
const FINISH_TREE: &str = include_str!("../../../shaders/rows/finish_tree.wgsl");

/// A row program: its kernels with their parameters, and where its results lie.
pub struct RowProgram {
    /// The kernel that walks the rows.
    pub kernel: KernelSource,
    /// Its parameters.
    pub params: Vec<u32>,
    /// Its workgroups.
    pub workgroups: u64,
    /// The finishing passes, in order.
    pub finish: Vec<Finish>,
    /// Where each sum over the batch starts in the buffer of sums.
    pub sums: Vec<(NodeId, usize)>,
    /// Elements of the buffer of sums.
    pub sums_elements: usize,
    /// Where each stored value by row starts in the buffer of those.
    pub stores: Vec<(NodeId, usize)>,
    /// Elements of the buffer of stored values.
    pub stores_elements: usize,
}

/// One pass of the finishing kernel.
pub struct Finish {
    /// The kernel.
    pub kernel: KernelSource,
    /// Its parameters.
    pub params: Vec<u32>,
    /// Its workgroups.
    pub workgroups: u64,
    /// Elements that it reads.
    pub parts: usize,
}

/// The regions of the nodes marked `todo`, in an order in which they can be
/// computed. `kept` marks the nodes whose values are asked for.
pub fn find_all(graph: &Graph, todo: &[bool], kept: &[bool], target: &Target) -> Vec<Region> {
    // A search takes time in proportion to the graph.
    const MOST_SEARCHES: usize = 16;
    let mut regions = Vec::new();
    let mut left = MOST_SEARCHES;
    split(graph, todo, kept, target, &mut left, &mut regions);
    regions
}

/// The best region of `todo`, between those of what comes before it and those
/// of what comes after: so that no region waits for one that waits for it.
fn split(
    graph: &Graph,
    todo: &[bool],
    kept: &[bool],
    target: &Target,
    left: &mut usize,
    regions: &mut Vec<Region>,
) {
    if *left == 0 || !todo.contains(&true) {
        return;
    }
    *left -= 1;
    let Some(region) = region::find(graph, todo, kept, target) else {
        return;
    };
    let mut after = vec![false; graph.len()];
    for id in region.members() {
        after[id.index()] = true;
    }
    let own = after.clone();
    for (id, node) in graph.nodes() {
        if node.inputs.iter().any(|i| after[i.index()]) {
            after[id.index()] = true;
        }
    }
    let pick = |wanted: bool| -> Vec<bool> {
        (0..todo.len())
            .map(|i| todo[i] && !own[i] && after[i] == wanted)
            .collect()
    };
    let (earlier, later) = (pick(false), pick(true));
    let mut kept_earlier = kept.to_vec();
    for (id, node) in graph.nodes() {
        if todo[id.index()] && !earlier[id.index()] {
            for input in &node.inputs {
                kept_earlier[input.index()] = true;
            }
        }
    }
    split(graph, &earlier, &kept_earlier, target, left, regions);
    regions.push(region);
    split(graph, &later, kept, target, left, regions);
}

impl RowProgram {
    /// Whether one workgroup does a region's whole batch.
    pub fn is_alone(graph: &Graph, region: &Region, target: &Target) -> bool {
        let sums = region.sums.iter().map(|m| graph.shape(m.node));
        let count = sums.map(|shape| shape.map_or(0, Shape::numel)).sum();
        Schedule::new(region.rows, count, target).workgroups == 1
    }

    /// The program of a region; `shared` says where each of `region.shared`
    /// is found. Several `replicas` take a region of which
    /// [`is_alone`](RowProgram::is_alone) holds.
    pub fn new(
        graph: &Graph,
        region: &Region,
        shared: &[SharedAt],
        target: &Target,
        replicas: usize,
    ) -> RowProgram {
        let numel = |id: NodeId| graph.shape(id).map_or(0, Shape::numel);
        let all = |id: NodeId| match replicas {
            1 => numel(id),
            n => n * stride(numel(id)),
        };
        let (sums, sums_elements) = slices(region.sums.iter().map(|m| m.node), all);
        let (stores, stores_elements) = slices(region.stores.iter().copied(), all);
        let count: usize = sums.iter().map(|&(id, _)| numel(id)).sum();
        let schedule = Schedule::new(region.rows, count, target);
        let ragged = !region.rows.is_multiple_of(schedule::ROWS);
        let images = images(graph, region, target, replicas);
        let forms = [ragged, target.software];
        let text = text::write(graph, region, &schedule, forms, shared, &images, replicas);

        let mut place = Vec::with_capacity(count);
        let mut divisor = Vec::with_capacity(count);
        for (m, &(id, first)) in region.sums.iter().zip(&sums) {
            let by = match m.act {
                region::Act::Sum { divisor, .. } => divisor,
                _ => 1,
            };
            for e in 0..numel(id) {
                place.push((first + e) as u32);
                divisor.push((by as f32).to_bits());
            }
        }
        place.resize(region::MOST_SUMS, 0);
        divisor.resize(region::MOST_SUMS, 1.0_f32.to_bits());
        let mut tables = [place, divisor].concat();
        if replicas > 1 {
            let of = |&(id, _): &(NodeId, usize)| vec![stride(numel(id)) as u32; numel(id)];
            let mut each: Vec<u32> = sums.iter().flat_map(of).collect();
            each.resize(region::MOST_SUMS, 0);
            tables.extend(each);
        }

        let only = schedule.workgroups == 1;
        // `one` and `unit`, of which only GPUs make use.
        let one = 1.0_f32.to_bits();
        let mut params = vec![
            region.rows as u32,
            schedule.quads as u32,
            schedule.blocks as u32,
            u32::from(only),
            0,
            one,
            one,
            0,
        ];
        params.extend(&tables);
        let pad = |words: &mut Vec<u32>| words.resize(words.len().next_multiple_of(4), 0);
        params.extend(text.constants.iter().map(|c| c.to_bits()));
        pad(&mut params);
        params.extend(stores.iter().map(|&(_, first)| first as u32));
        pad(&mut params);

        let buffers = shared.iter().map(|at| at.buffer + 1).max().unwrap_or(0);
        let kernel = KernelSource {
            label: format!("rows[{} ops]", region.size()),
            entry: "rows".to_string(),
            source: text.source,
            reads: region.leaves.len() + buffers,
            images,
            writes: 1 + usize::from(!stores.is_empty()),
        };
        let finish = if count == 0 {
            Vec::new()
        } else {
            finish(&schedule, count, &tables)
        };
        RowProgram {
            kernel,
            params,
            workgroups: (replicas * schedule.workgroups) as u64,
            finish,
            sums,
            sums_elements,
            stores,
            stores_elements,
        }
    }
}

/// The leaves that the kernel reads as images, where the adapter has them: those
/// that the host gives. What a step computes would have to be copied first, between
/// two passes.
fn images(graph: &Graph, region: &Region, target: &Target, replicas: usize) -> Vec<usize> {
    let Some(side) = target
        .image_side
        .filter(|_| !text::is_long(graph, region, target.software))
    else {
        return Vec::new();
    };
    let numel = |id: NodeId| graph.shape(id).map_or(0, Shape::numel);
    let fits = |id: NodeId| image::fits(replicas * stride(numel(id)), side);
    let given = |id: NodeId| graph.node(id).is_ok_and(|node| node.op().is_none());
    let leaves = region.leaves.iter().enumerate();
    leaves
        .filter(|&(_, &id)| given(id) && fits(id))
        .map(|(i, _)| i)
        .take(MOST_IMAGES)
        .collect()
}

/// Places values one after the other, each at a place that can be bound.
fn slices(
    ids: impl Iterator<Item = NodeId>,
    numel: impl Fn(NodeId) -> usize,
) -> (Vec<(NodeId, usize)>, usize) {
    let mut next = 0;
    let mut places = Vec::new();
    for id in ids {
        places.push((id, next));
        next = (next + numel(id)).next_multiple_of(SLICE);
    }
    (places, next)
}

fn finish(schedule: &Schedule, sums: usize, tables: &[u32]) -> Vec<Finish> {
    let passes = schedule.passes();
    let last = passes.len().saturating_sub(1);
    let (entry, source) = match schedule.tree {
        true => ("rows_finish_tree", FINISH_TREE),
        false => ("rows_finish", FINISH),
    };
    let fours = (region::MOST_SUMS / 4).to_string();
    let source = join(&[GRID, DIVIDE], source).replace("{FOURS}", &fours);
    let pass = |(i, &parts): (usize, &usize)| {
        let mut params = vec![sums as u32, parts as u32, u32::from(i == last), 0];
        params.extend(tables);
        let workgroups = match schedule.tree {
            true => sums,
            false => parts.div_ceil(schedule::CHUNK),
        };
        Finish {
            kernel: KernelSource {
                label: entry.to_string(),
                entry: entry.to_string(),
                source: source.clone(),
                reads: 1,
                images: Vec::new(),
                writes: 1,
            },
            params,
            workgroups: workgroups as u64,
            parts: parts * sums,
        }
    };
    passes.iter().enumerate().map(pass).collect()
}
