//! Where the values of a workgroup program lie: one buffer for all, in which
//! values that are not needed at the same time share their place.

use super::Step;
use crate::error::Result;
use crate::graph::{Graph, NodeId};
use crate::plan::SLICE;
use crate::plan::nodes::Nodes;

pub(super) struct Arena {
    /// Each stored value and its first element, a multiple of [`SLICE`].
    pub values: Vec<(NodeId, usize)>,
    pub elements: usize,
}

impl Arena {
    pub fn new(graph: &Graph, nodes: &Nodes<'_>, steps: &[Step]) -> Result<Arena> {
        // The last phase that needs each value; outputs are needed for ever.
        let mut last = vec![0; graph.len()];
        for (i, Step { phase, .. }) in steps.iter().enumerate() {
            for id in phase.reads.iter().chain(&phase.writes) {
                last[id.index()] = i;
            }
        }
        let mut free = Free::default();
        let mut arena = Arena {
            values: Vec::new(),
            elements: 0,
        };
        let mut alive: Vec<(usize, usize, NodeId)> = Vec::new();
        for (i, Step { phase, .. }) in steps.iter().enumerate() {
            for &id in &phase.writes {
                let size = graph.shape(id)?.numel().next_multiple_of(SLICE);
                let first = free.take(size, &mut arena.elements);
                arena.values.push((id, first));
                alive.push((first, size, id));
            }
            alive.retain(|&(first, size, id)| {
                let done = last[id.index()] <= i && !nodes.is_output(id);
                if done {
                    free.give(first, size);
                }
                !done
            });
        }
        Ok(arena)
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
