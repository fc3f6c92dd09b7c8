//! Workgroup programs: a whole small step in one dispatch of one workgroup.
//!
//! Where a network is small, a dispatch costs more than what it computes. Here
//! the ops follow one another in one kernel, as *phases* with a barrier between
//! those that depend on each other. Values go from phase to phase in memory, so
//! layers may be as wide as the work allows; unlike in a row program, a weight
//! gradient is not held in registers.
//!
//! One workgroup uses one core of a device. What is larger than [`MOST_COST`] is
//! faster in a dispatch for each op, which uses all of them.

mod arena;
mod function;
mod phase;
mod roll;
mod text;

use std::collections::HashMap;

pub(super) use arena::Room;
use arena::{Arena, Value};
use function::{Function, Put};
use phase::Phase;
use roll::Block;
use text::Form;

use super::fold;
use super::fuse::Groups;
use super::nodes::Nodes;
use super::order::Item;
use super::rows::Lanes;
use super::{KernelSource, SLICE, stride};
use crate::error::Result;
use crate::graph::{Graph, Kind, Lowering, NodeId, Target, image};
use crate::tensor::Tensor;

/// The work of a plan, in multiply-adds of a fast product for each phase, from
/// which on a dispatch for each op is faster: measured on a driver in software
/// of two cores (docs/PERFORMANCE.md). On a GPU a dispatch costs less, and a
/// workgroup is a smaller part of it; that number is not measured.
const MOST_COST_SOFTWARE: usize = 600_000;
const MOST_COST: usize = 200_000;
/// Below so many dispatches saved, ops keep kernels of their own.
const FEWEST_PHASES: usize = 3;
/// Phases of a plan: above, it is cut into too many kernels to be worth it.
const MOST_PHASES: usize = 256;
/// Text of one kernel, see [`Phase::weight`]: a driver's compiler takes more than
/// proportionally long. What is longer goes into another kernel.
const MOST_WEIGHT: usize = 700;
/// Iterations of all loops that one invocation may make in one kernel. Some
/// drivers stop after 65,535, without a word.
const MOST_ITERATIONS: usize = 50_000;

/// Repeated constants, known before any run.
type Constants = Vec<(NodeId, Tensor)>;

/// The workgroup for a target.
fn lanes(target: &Target) -> Lanes {
    match target.subgroup_size {
        // Barriers of a driver in software cost by the subgroup.
        Some(size @ (4 | 8)) if target.software => Lanes {
            count: size as usize,
            subgroup: true,
        },
        _ => {
            let most = if target.software { 16 } else { 256 };
            // A tree adds up the lanes: their number is a power of two.
            let most = target.workgroup_invocations.clamp(1, most);
            Lanes {
                count: 1 << most.ilog2(),
                subgroup: false,
            }
        }
    }
}

/// How the values of replicas lie.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Spread {
    /// One value for all.
    Same,
    /// One behind the other, so many blocks of four apart: leaves and outputs.
    Behind(usize),
    /// Each in the stretch of its replica.
    Apart,
}

impl Spread {
    fn of(graph: &Graph, nodes: &Nodes<'_>, constants: &Constants, id: NodeId) -> Result<Spread> {
        let node = graph.node(id)?;
        let constant = matches!(node.kind, Kind::Constant(_));
        Ok(if constant || constants.iter().any(|(c, _)| *c == id) {
            Spread::Same
        } else if node.op().is_none() || nodes.is_output(id) {
            Spread::Behind(stride(node.shape.numel()) / 4)
        } else {
            Spread::Apart
        })
    }
}

/// A phase and how it is called.
struct Step {
    phase: Phase,
    /// Phases of one kind differ only in the places of their values.
    kind: usize,
    /// Its function's number.
    function: usize,
    /// Blocks of four from one replica's value to the next's, of all that it
    /// reads and writes; 0 if all have the same.
    each: Vec<usize>,
}

/// A plan's ops as phases, and where their values lie.
pub(super) struct WorkgroupProgram {
    steps: Vec<Step>,
    functions: Vec<Function>,
    form: Form,
    /// Repeated constants, which are leaves here.
    pub constants: Constants,
    arena: Arena,
}

/// One kernel with what it computes.
pub(super) struct Made {
    pub kernel: KernelSource,
    pub params: Vec<u32>,
    pub members: Vec<NodeId>,
}

impl WorkgroupProgram {
    /// The program for all ops of `nodes`; `None` if they are too much for it,
    /// too little, or not of its kind.
    pub fn find(
        graph: &Graph,
        nodes: &Nodes<'_>,
        groups: &Groups,
        target: &Target,
        room: Room,
    ) -> Result<Option<WorkgroupProgram>> {
        let replicas = room.replicas;
        let lanes = lanes(target);
        let Some((phases, constants)) = phases(graph, nodes, groups, lanes)? else {
            return Ok(None);
        };
        if !fits(&phases, lanes, target, replicas) {
            return Ok(None);
        }
        let mut functions: Vec<Function> = Vec::new();
        let mut known: Vec<(usize, Vec<Spread>)> = Vec::new();
        let mut kinds = Vec::with_capacity(phases.len());
        let form = Form {
            lanes,
            replicas,
            image: has_image(graph, nodes, &phases, &constants, target, replicas)?,
        };
        for phase in &phases {
            let puts = puts(nodes, &phases, phase, form.image);
            let function = position(&mut functions, Function::of(&phase.work, lanes, &puts)?);
            let values = phase.reads.iter().chain(&phase.writes);
            let spreads = values.map(|&id| match replicas {
                1 => Ok(Spread::Same),
                _ => Spread::of(graph, nodes, &constants, id),
            });
            let spreads = spreads.collect::<Result<Vec<_>>>()?;
            kinds.push(position(&mut known, (function, spreads)));
        }
        let order = roll::sinks_last(&phases, &kinds);
        let mut phases: Vec<Option<Phase>> = phases.into_iter().map(Some).collect();
        let ordered = order
            .iter()
            .filter_map(|&i| Some((phases[i].take()?, kinds[i])));
        let (phases, kinds): (Vec<Phase>, Vec<usize>) = ordered.unzip();
        let arena = Arena::new(graph, nodes, &phases, room, form.image)?;
        let step = |(phase, kind): (Phase, usize)| {
            let (function, spreads) = &known[kind];
            let each = spreads.iter().map(|spread| match spread {
                Spread::Same => 0,
                Spread::Behind(fours) => *fours,
                Spread::Apart => arena.stretch / 4,
            });
            Step {
                phase,
                kind,
                function: *function,
                each: each.collect(),
            }
        };
        let steps = phases.into_iter().zip(kinds).map(step).collect();
        // Leaves and values are one buffer. With replicas their number is at
        // fault if it is too large, which is checked elsewhere.
        let leaves = nodes.held().filter(|(_, node)| node.op().is_none());
        let leaves = leaves.map(|(_, node)| node.shape.numel());
        let folded = constants.iter().map(|(_, value)| value.shape().numel());
        let elements = leaves.chain(folded).map(|n| n.next_multiple_of(SLICE));
        let elements = elements.sum::<usize>() + arena.elements;
        if elements as u64 * 4 > target.binding_bytes && replicas == 1 {
            return Ok(None);
        }
        Ok(Some(WorkgroupProgram {
            steps,
            functions,
            form,
            constants,
            arena,
        }))
    }

    /// Elements that the values take.
    pub fn elements(&self) -> usize {
        self.arena.elements
    }

    /// Elements from one replica's own values to the next's.
    pub fn stretch(&self) -> usize {
        self.arena.stretch
    }

    /// Each stored value and where it lies among the values.
    pub fn values(&self) -> &[Value] {
        &self.arena.values
    }

    /// The kernels, in order. `places` says at which element each leaf and each
    /// value starts, a multiple of four.
    pub fn kernels(&self, graph: &Graph, places: &HashMap<NodeId, usize>) -> Result<Vec<Made>> {
        let places = places.iter().map(|(&id, &first)| (id, first / 4)).collect();
        let chunks = self.chunks();
        let part = if chunks.len() > 1 { " of a part" } else { "" };
        let mut made = Vec::with_capacity(chunks.len());
        for blocks in chunks {
            let (steps, functions) = (&self.steps, &self.functions);
            let text = text::write(graph, steps, functions, &blocks, self.form, &places)?;
            let all = blocks.iter().flat_map(Block::range);
            let members = all
                .clone()
                .flat_map(|i| self.steps[i].phase.members.clone());
            made.push(Made {
                kernel: KernelSource {
                    label: format!("workgroup[{} phases{part}]", all.clone().count()),
                    entry: "phases".to_string(),
                    source: text.source,
                    reads: 0,
                    images: if self.form.image { vec![0] } else { Vec::new() },
                    writes: 1,
                },
                params: text.params,
                members: members.collect(),
            });
        }
        Ok(made)
    }

    /// The phases as loops, cut where a kernel would become too long.
    fn chunks(&self) -> Vec<Vec<Block>> {
        let kinds: Vec<usize> = self.steps.iter().map(|s| s.kind).collect();
        let mut chunks = vec![Vec::new()];
        let (mut weight, mut iterations) = (0, 0);
        let turns = |steps: std::ops::Range<usize>| -> usize {
            steps
                .map(|i| self.steps[i].phase.iterations(self.form.lanes))
                .sum()
        };
        // A loop goes on in another kernel where it would turn too often.
        let cut = |block: Block| {
            let each = 1 + turns(block.first..block.first + block.period);
            block.cut((MOST_ITERATIONS / each).max(1))
        };
        for block in roll::roll(&kinds).into_iter().flat_map(cut) {
            let text = block.first..block.first + block.period;
            let own: usize = text
                .map(|i| self.steps[i].phase.weight(self.form.lanes))
                .sum();
            let turns = block.repeats + turns(block.range());
            if (weight + own > MOST_WEIGHT || iterations + turns > MOST_ITERATIONS) && weight > 0 {
                chunks.push(Vec::new());
                (weight, iterations) = (0, 0);
            }
            weight += own;
            iterations += turns;
            // There is always a last one.
            if let Some(chunk) = chunks.last_mut() {
                chunk.push(block);
            }
        }
        chunks
    }
}

/// Every op as a phase, but for repeated constants; `None` if there are too many, or one that is not of the kind.
fn phases(
    graph: &Graph,
    nodes: &Nodes<'_>,
    groups: &Groups,
    lanes: Lanes,
) -> Result<Option<(Vec<Phase>, Constants)>> {
    let mut phases: Vec<Phase> = Vec::new();
    let mut constants = Vec::new();
    for &item in nodes.items() {
        let Item::Node(id) = item else {
            return Ok(None);
        };
        if !nodes.holds(id) {
            continue;
        }
        let phase = match nodes.lowering(id) {
            Some(Lowering::Map(_)) => {
                let Some(group) = groups.ending_at(id) else {
                    continue; // inside a group that ends later
                };
                if let Some(value) = fold::repeated_constant(graph, nodes, group)? {
                    let all = group.stores.iter();
                    constants.extend(all.map(|&id| (id, value.clone())));
                    continue;
                }
                Phase::chain(graph, nodes, group)?
            }
            Some(Lowering::Calls { meaning, .. }) => {
                Phase::calls(graph, nodes, id, meaning, lanes)?
            }
            Some(Lowering::View) | None => continue,
        };
        match phase {
            Some(phase) if phases.len() < MOST_PHASES => phases.push(phase),
            _ => return Ok(None),
        }
    }
    Ok(Some((phases, constants)))
}

/// Whether phases read and write an image of the buffer: where the adapter has
/// images that kernels write, and one that is large enough.
fn has_image(
    graph: &Graph,
    nodes: &Nodes<'_>,
    phases: &[Phase],
    constants: &Constants,
    target: &Target,
    replicas: usize,
) -> Result<bool> {
    let Some(side) = target.image_side.filter(|_| target.image_writes) else {
        return Ok(false);
    };
    let slice = |numel: usize| (replicas * stride(numel)).next_multiple_of(SLICE);
    let leaves = nodes.held().filter(|(_, node)| node.op().is_none());
    let mut elements: usize = leaves.map(|(_, node)| slice(node.shape.numel())).sum();
    elements += constants
        .iter()
        .map(|(_, value)| slice(value.shape().numel()))
        .sum::<usize>();
    for id in phases.iter().flat_map(|phase| &phase.writes) {
        elements += slice(graph.shape(*id)?.numel());
    }
    Ok(image::fits(elements, side))
}

/// Where a phase's values go.
fn puts(nodes: &Nodes<'_>, phases: &[Phase], phase: &Phase, image: bool) -> Vec<Put> {
    let read = |id: &NodeId| phases.iter().any(|other| other.reads.contains(id));
    let put = |id: &NodeId| match (image && nodes.is_output(*id), read(id)) {
        (false, _) => Put::Here,
        (true, false) => Put::Away,
        (true, true) => Put::Both,
    };
    phase.writes.iter().map(put).collect()
}

/// Whether one workgroup can do the phases, and is worth it.
fn fits(phases: &[Phase], lanes: Lanes, target: &Target, replicas: usize) -> bool {
    let cost: usize = phases.iter().map(|p| p.cost(lanes)).sum();
    let most = if target.software {
        MOST_COST_SOFTWARE
    } else {
        MOST_COST
    };
    // Many networks keep all cores busy, each in a workgroup of its own.
    let worth = replicas > 1 || (phases.len() >= FEWEST_PHASES && cost <= most * phases.len());
    let can = |p: &Phase| p.iterations(lanes) <= MOST_ITERATIONS && p.is_shallow(lanes);
    worth && !phases.is_empty() && phases.iter().all(can)
}

/// The place of `wanted` in a list, to which it is added if it is new.
fn position<T: PartialEq>(list: &mut Vec<T>, wanted: T) -> usize {
    let known = list.iter().position(|item| *item == wanted);
    known.unwrap_or_else(|| {
        list.push(wanted);
        list.len() - 1
    })
}
