//! Where the values of a workgroup program lie: one stretch for all, in which
//! values that are not needed at the same time share their place.
//!
//! Replicas run side by side, one perhaps a phase ahead of the other, so none may
//! ever write where another reads: outputs come first, those of all replicas
//! behind each other, then a stretch for each replica with all its other values.

use super::phase::Phase;
use crate::error::Result;
use crate::graph::{Graph, NodeId};
use crate::plan::nodes::Nodes;
use crate::plan::{SLICE, stride};

/// For whom there is room.
#[derive(Clone, Copy, Debug)]
pub(in crate::plan) struct Room {
    /// Networks side by side.
    pub replicas: usize,
    /// Whether values may share a place.
    pub share: bool,
}

pub(super) struct Arena {
    pub values: Vec<Value>,
    /// Elements of everything.
    pub elements: usize,
    /// Elements of one replica's stretch.
    pub stretch: usize,
}

/// A stored value.
#[derive(Clone, Copy, Debug)]
pub(in crate::plan) struct Value {
    pub node: NodeId,
    /// Its first element, a multiple of [`SLICE`]; that of the first replica.
    pub first: usize,
    /// Whether it lies in the stretches, and not with its like.
    pub apart: bool,
}

impl Arena {
    pub fn new(
        graph: &Graph,
        nodes: &Nodes<'_>,
        phases: &[Phase],
        room: Room,
        image: bool,
    ) -> Result<Arena> {
        let replicas = room.replicas;
        // Whether outputs lie together, before everything else.
        let first_outputs = replicas > 1 || image;
        // The last phase that needs each value; outputs are needed for ever.
        let mut last = vec![0; graph.len()];
        for (i, phase) in phases.iter().enumerate() {
            for id in phase.reads.iter().chain(&phase.writes) {
                last[id.index()] = i;
            }
        }
        let mut free = Free::default();
        let mut outputs = 0;
        let mut stretch = 0;
        let mut values = Vec::new();
        let mut alive: Vec<(usize, usize, NodeId)> = Vec::new();
        for (i, phase) in phases.iter().enumerate() {
            for &node in &phase.writes {
                let own = stride(graph.shape(node)?.numel());
                let apart = first_outputs && !nodes.is_output(node);
                let first = if first_outputs && !apart {
                    let first = outputs;
                    outputs += (replicas * own).next_multiple_of(SLICE);
                    first
                } else {
                    let size = own.next_multiple_of(SLICE);
                    let first = free.take(size, &mut stretch);
                    alive.push((first, size, node));
                    first
                };
                values.push(Value { node, first, apart });
            }
            alive.retain(|&(first, size, id)| {
                let done = last[id.index()] <= i && !nodes.is_output(id);
                if done && room.share {
                    free.give(first, size);
                }
                !done
            });
        }
        for value in values.iter_mut().filter(|v| v.apart) {
            value.first += outputs;
        }
        Ok(Arena {
            values,
            elements: outputs + replicas * stretch,
            stretch,
        })
    }
}

/// Free pieces as (first element, size), by place; neighbours are one.
#[derive(Default)]
struct Free {
    pieces: Vec<(usize, usize)>,
}

impl Free {
    /// The first piece that is large enough, or new elements at the end.
    fn take(&mut self, size: usize, end: &mut usize) -> usize {
        if let Some(i) = self.pieces.iter().position(|p| p.1 >= size) {
            let (first, left) = self.pieces[i];
            if left == size {
                self.pieces.remove(i);
            } else {
                self.pieces[i] = (first + size, left - size);
            }
            return first;
        }
        // A free piece at the end grows.
        let first = match self.pieces.last() {
            Some(&(first, left)) if first + left == *end => {
                self.pieces.pop();
                first
            }
            _ => *end,
        };
        *end = first + size;
        first
    }

    fn give(&mut self, first: usize, size: usize) {
        let at = self.pieces.partition_point(|p| p.0 < first);
        self.pieces.insert(at, (first, size));
        let joins = |a: (usize, usize), b: (usize, usize)| a.0 + a.1 == b.0;
        if at + 1 < self.pieces.len() && joins(self.pieces[at], self.pieces[at + 1]) {
            self.pieces[at].1 += self.pieces.remove(at + 1).1;
        }
        if at > 0 && joins(self.pieces[at - 1], self.pieces[at]) {
            self.pieces[at - 1].1 += self.pieces.remove(at).1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_never_overlap_and_are_used_again() {
        let (mut free, mut end) = (Free::default(), 0);
        let mut held: Vec<(usize, usize)> = Vec::new();
        let mut seed = 1_u32;
        let mut total = 0;
        for _ in 0..2000 {
            seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            let size = 1 + (seed >> 24) as usize;
            if held.len() < 8 {
                let first = free.take(size, &mut end);
                assert!(first + size <= end);
                let apart = |&(f, s): &(usize, usize)| f + s <= first || first + size <= f;
                assert!(held.iter().all(apart));
                held.push((first, size));
                total += size;
            } else {
                let (first, size) = held.swap_remove(seed as usize % held.len());
                free.give(first, size);
            }
        }
        assert!(end < total / 20, "{end} of {total}");
        for (first, size) in held.drain(..) {
            free.give(first, size);
        }
        assert_eq!(free.pieces, [(0, end)]);
    }
}
