//! Which values share memory.
//!
//! A computed buffer is alive from the first step that touches it to the last.
//! Two that are never alive together may be one. The walk goes along the steps
//! and gives each buffer, when it is first touched, the smallest free piece of
//! memory that is large enough, or the largest there is, grown, or a new one.
//! Pieces become free after the step that touches them last, so what a step
//! writes never lies on what it reads. Parts of a buffer live and move with it.
//! Feeds, constants and outputs keep memory
//! of their own: runs to come need the first two, the caller the last.

use std::collections::BTreeSet;

use super::{BufferId, BufferSpec, Content, Plan, image};

/// Labels that a shared buffer shows.
const MOST_LABELS: usize = 3;

/// Lets the computed buffers of `plan` share memory if `share`, and finds the
/// most bytes that are alive at any step.
pub(super) fn apply(plan: &mut Plan, share: bool) {
    let lives = lives(plan);
    plan.peak_bytes = peak(plan, &lives);
    if share {
        let elements: Vec<usize> = plan.buffers.iter().map(|b| b.elements).collect();
        let mut piece = pieces(plan, &lives);
        list(plan, &mut piece, &elements);
        merge(plan, &piece);
    }
    // Images are alive always: what is read as one is read often.
    plan.peak_bytes += image::bytes(plan);
}

/// The first and the last step that touch a buffer which may share its memory.
#[derive(Clone, Copy)]
struct Life {
    first: usize,
    last: usize,
}

/// `None` for what keeps memory of its own, and for parts, which have none.
fn lives(plan: &Plan) -> Vec<Option<Life>> {
    let mut lives: Vec<Option<Life>> = vec![None; plan.buffers.len()];
    for (at, step) in plan.steps.iter().enumerate() {
        for id in step.inputs.iter().chain(&step.outputs) {
            let whole = whole(plan, *id);
            let first = lives[whole].map_or(at, |life| life.first);
            lives[whole] = Some(Life { first, last: at });
        }
    }
    for (i, spec) in plan.buffers.iter().enumerate() {
        if spec.content != Content::Computed {
            lives[whole(plan, BufferId(i as u32))] = None;
        }
    }
    for output in &plan.outputs {
        lives[whole(plan, output.buffer)] = None;
    }
    lives
}

/// The buffer whose memory `id` is in.
fn whole(plan: &Plan, id: BufferId) -> usize {
    let part_of = plan.buffers[id.index()].part_of;
    part_of.map_or(id, |(whole, _)| whole).index()
}

/// The buffers that each step touches first, and those that it touches last.
fn events(plan: &Plan, lives: &[Option<Life>]) -> Vec<(Vec<usize>, Vec<usize>)> {
    let mut events = vec![(Vec::new(), Vec::new()); plan.steps.len()];
    for (buffer, life) in lives.iter().enumerate() {
        if let Some(life) = life {
            events[life.first].0.push(buffer);
            events[life.last].1.push(buffer);
        }
    }
    events
}

/// The most bytes that are alive at a step: what no sharing can go below.
fn peak(plan: &Plan, lives: &[Option<Life>]) -> u64 {
    let bytes = |buffer: &usize| plan.buffers[*buffer].bytes();
    let own = |&b: &usize| lives[b].is_none() && plan.buffers[b].part_of.is_none();
    let always = (0..lives.len()).filter(own);
    let mut alive: u64 = always.map(|b| bytes(&b)).sum();
    let mut most = alive;
    for (begin, end) in events(plan, lives) {
        alive += begin.iter().map(bytes).sum::<u64>();
        most = most.max(alive);
        alive -= end.iter().map(bytes).sum::<u64>();
    }
    most
}

/// For each buffer the first of those whose memory it shares: itself, unless it
/// shares.
fn pieces(plan: &mut Plan, lives: &[Option<Life>]) -> Vec<usize> {
    let mut piece: Vec<usize> = (0..plan.buffers.len()).collect();
    let mut elements: Vec<usize> = plan.buffers.iter().map(|b| b.elements).collect();
    // Free pieces by size, then by number.
    let mut free: BTreeSet<(usize, usize)> = BTreeSet::new();
    for (begin, end) in events(plan, lives) {
        for buffer in begin {
            let want = elements[buffer];
            let fits = free.range((want, 0)..).next().copied();
            let Some(found) = fits.or_else(|| free.last().copied()) else {
                continue;
            };
            free.remove(&found);
            piece[buffer] = found.1;
            elements[found.1] = elements[found.1].max(want);
        }
        for buffer in end {
            free.insert((elements[piece[buffer]], piece[buffer]));
        }
    }
    for (spec, elements) in plan.buffers.iter_mut().zip(elements) {
        spec.elements = elements;
    }
    piece
}

/// Where a buffer with parts shares its memory with one that has none, lists that
/// one as a part, too: a buffer with parts holds them and nothing else.
fn list(plan: &mut Plan, piece: &mut Vec<usize>, elements: &[usize]) {
    let mut has_parts = vec![false; plan.buffers.len()];
    let mut mixed = vec![false; plan.buffers.len()];
    for (whole, _) in plan.buffers.iter().filter_map(|b| b.part_of) {
        has_parts[whole.index()] = true;
        mixed[piece[whole.index()]] = true;
    }
    let is_part = |i: usize| plan.buffers[i].part_of.is_some();
    let alone = |&i: &usize| mixed[piece[i]] && !has_parts[i] && !is_part(i);
    let alone: Vec<usize> = (0..piece.len()).filter(alone).collect();
    for i in alone {
        plan.buffers.push(BufferSpec {
            elements: elements[i],
            part_of: Some((BufferId(i as u32), 0)),
            ..plan.buffers[i].clone()
        });
        piece.push(plan.buffers.len() - 1);
    }
}

/// Makes one buffer of those that share, and renumbers all.
fn merge(plan: &mut Plan, piece: &[usize]) {
    let mut number = vec![BufferId(0); plan.buffers.len()];
    let mut labels: Vec<Vec<String>> = Vec::new();
    let mut kept: Vec<BufferSpec> = Vec::new();
    for (i, spec) in plan.buffers.drain(..).enumerate() {
        if piece[i] == i {
            number[i] = BufferId(kept.len() as u32);
            labels.push(vec![spec.label.clone()]);
            kept.push(spec);
        } else {
            // A piece begins with its first buffer, which comes before.
            number[i] = number[piece[i]];
            labels[number[i].index()].push(spec.label);
        }
    }
    for (spec, labels) in kept.iter_mut().zip(labels) {
        spec.label = joined(&labels);
    }
    plan.buffers = kept;
    let renumber = |id: &mut BufferId| *id = number[id.index()];
    for (whole, _) in plan.buffers.iter_mut().filter_map(|b| b.part_of.as_mut()) {
        renumber(whole);
    }
    for step in &mut plan.steps {
        step.inputs.iter_mut().for_each(renumber);
        step.outputs.iter_mut().for_each(renumber);
    }
    for feed in &mut plan.feeds {
        renumber(&mut feed.buffer);
    }
    for output in &mut plan.outputs {
        renumber(&mut output.buffer);
    }
}

fn joined(labels: &[String]) -> String {
    let shown = labels.len().min(MOST_LABELS);
    let mut text = labels[..shown].join(" | ");
    if labels.len() > shown {
        text.push_str(&format!(" | {} more", labels.len() - shown));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::autodiff::gradient;
    use crate::graph::{Graph, NodeId, Target};
    use crate::plan::{PlanOptions, Prologues};

    fn plan(g: &Graph, outputs: &[NodeId], fuse: bool, share: bool) -> Plan {
        let options = PlanOptions {
            fuse,
            share,
            rows: false,
            workgroup: false,
            replicas: 1,
            count_nonfinite: false,
            prologues: Prologues::Paying,
        };
        Plan::with_options(g, outputs, &Target::default(), &options).unwrap()
    }

    #[test]
    fn a_long_chain_needs_two_buffers() {
        let mut g = Graph::new();
        let x = g.input("x", &[7, 3]).unwrap();
        let mut y = x;
        for _ in 0..100 {
            y = g.sigmoid(y).unwrap();
        }
        let z = g.relu(y).unwrap();
        // x, the two that take turns, z: 21 elements take 96 bytes.
        let alone = plan(&g, &[z], false, true);
        assert_eq!((alone.steps.len(), alone.buffers.len()), (101, 4));
        assert_eq!((alone.bytes(), alone.peak_bytes), (4 * 96, 4 * 96));
        let unshared = plan(&g, &[z], false, false);
        assert_eq!((unshared.bytes(), unshared.peak_bytes), (102 * 96, 4 * 96));
        let fused = plan(&g, &[z], true, true);
        assert!(
            fused.buffers.len() <= 4 && fused.steps.len() < 20,
            "{fused}"
        );
        let text = alone.to_string();
        let head = "plan: 101 steps, 2 kernels, 4 buffers, 384 bytes (384 alive at once)";
        assert!(text.starts_with(head), "{text}");
        assert!(text.contains("| 47 more\""), "{text}");
    }

    #[test]
    fn the_best_fit_is_taken_and_what_is_alive_is_not() {
        // Products of matrices, so that nothing is fused. Sizes in elements:
        // a 64 (steps 0-1), b 16 (1-2), c 64 (2-4), d 16 (3-4), output.
        let mut g = Graph::new();
        let x = g.input("x", &[8, 8]).unwrap();
        let w = g.input("w", &[8, 2]).unwrap();
        let a = g.matmul(x, x).unwrap();
        let b = g.matmul(a, w).unwrap();
        let c = g.matmul_with(b, w, false, true).unwrap();
        let d = g.matmul(x, w).unwrap();
        let e = g.matmul(c, d).unwrap();
        let plan = plan(&g, &[e], true, true);
        let at = |label: &str| {
            let step = plan.steps.iter().find(|s| s.label == label).unwrap();
            step.outputs[0]
        };
        let label = |id: NodeId| g.node(id).unwrap().label.clone();
        assert_eq!(at(&label(c)), at(&label(a)), "{plan}");
        assert_eq!(at(&label(d)), at(&label(b)), "{plan}");
        // x 256, w 64, a and c 256, b and d 64, e 64.
        assert_eq!((plan.bytes(), plan.peak_bytes), (704, 704));
        assert_eq!(plan.buffers.len(), 5);
    }

    #[test]
    fn a_piece_grows_when_none_is_large_enough() {
        let mut g = Graph::new();
        let x = g.input("x", &[2, 2]).unwrap();
        let w = g.input("w", &[2, 8]).unwrap();
        let a = g.matmul(x, x).unwrap();
        let b = g.matmul(a, x).unwrap();
        let c = g.matmul(b, w).unwrap();
        let d = g.matmul_with(c, c, true, false).unwrap();
        let plan = plan(&g, &[d], true, true);
        // c (16 elements) lies where a was (4).
        let shared = plan.buffers.iter().find(|b| b.label.contains('|')).unwrap();
        assert_eq!(shared.elements, 16, "{plan}");
        // x 16, w 64, a and c 64, b 16, d 256: all at once in the third step.
        assert_eq!((plan.bytes(), plan.peak_bytes), (416, 416), "{plan}");
    }

    /// A deep network: what the backward walk needs is kept, the rest shared.
    #[test]
    fn a_training_step_keeps_one_value_a_layer() {
        const LAYERS: usize = 20;
        let mut g = Graph::new();
        let mut h = g.input("x", &[16, 16]).unwrap();
        let mut weights = Vec::new();
        for i in 0..LAYERS {
            let w = g.parameter(&format!("{i}"), &[16, 16]).unwrap();
            weights.push(w);
            let z = g.linear(h, w, None).unwrap();
            h = g.sigmoid(z).unwrap();
        }
        let loss = g.sum_all(h).unwrap();
        let mut outputs = vec![loss];
        outputs.extend(gradient(&mut g, loss, &weights).unwrap());
        let shared = plan(&g, &outputs, true, true);
        let all = plan(&g, &outputs, true, false);
        // In units of 1 KiB: x, the weights, their gradients, the values of
        // the hidden layers; and two that take turns, forward as the products
        // and backward as the cotangents. The loss and its cotangent are small.
        let most = 1 + LAYERS + LAYERS + LAYERS + 2;
        assert!(shared.bytes() <= most as u64 * 1024 + 64, "{shared}");
        assert_eq!(shared.peak_bytes, all.peak_bytes);
        assert!(shared.peak_bytes <= shared.bytes());
        assert!(
            all.bytes() > shared.bytes() + (LAYERS as u64) * 2 * 1024,
            "{all}"
        );
    }

    /// A value shares the memory of sums, of which there is a part: both are parts
    /// of it then.
    #[test]
    fn what_shares_memory_with_parts_is_a_part() {
        let mut g = Graph::new();
        let x = g.input("x", &[10, 10]).unwrap();
        let mut y = x;
        for _ in 0..3 {
            y = g.matmul(y, x).unwrap();
        }
        let mut plan = plan(&g, &[y], false, false);
        let [a, b] = [plan.steps[0].outputs[0], plan.steps[1].outputs[0]];
        // The second product becomes a part of a buffer, and the first is not needed
        // any more when it is written.
        plan.steps[1].inputs[0] = plan.feeds[0].buffer;
        let whole = BufferId(plan.buffers.len() as u32);
        plan.buffers.push(BufferSpec {
            label: "sums".to_string(),
            ..plan.buffers[b.index()].clone()
        });
        plan.buffers[b.index()].part_of = Some((whole, 0));
        plan.buffers[a.index()].elements = 70;
        apply(&mut plan, true);
        let shared = plan.buffers.iter().position(|s| s.label.contains("sums"));
        let shared = BufferId(shared.unwrap() as u32);
        assert_eq!(plan.buffers[shared.index()].elements, 100, "{plan}");
        let parts = plan
            .buffers
            .iter()
            .filter(|s| s.part_of == Some((shared, 0)));
        let sizes: Vec<_> = parts.map(|s| s.elements).collect();
        assert_eq!(sizes, [100, 70], "{plan}");
    }

    #[test]
    fn what_is_read_back_is_never_shared() {
        let mut g = Graph::new();
        let x = g.input("x", &[4, 4]).unwrap();
        let mut y = x;
        let mut all = Vec::new();
        for _ in 0..10 {
            y = g.matmul(y, x).unwrap();
            all.push(y);
        }
        let shared = plan(&g, &all, true, true);
        assert_eq!(shared, plan(&g, &all, true, false));
        assert_eq!(shared.bytes(), shared.peak_bytes);
    }
}
