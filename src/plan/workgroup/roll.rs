//! Phases of one kind in turn become a loop: layers of one size are one piece of
//! text, and a driver's compiler takes no longer for many than for one.

use super::phase::Phase;
use crate::graph::NodeId;

/// So many phases may repeat together.
const LONGEST_PERIOD: usize = 8;

/// Phases `first` to `first + period * repeats`: the same kinds of phase in the
/// same order, so many times.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Block {
    pub first: usize,
    pub period: usize,
    pub repeats: usize,
}

impl Block {
    /// Its phases' numbers.
    pub fn range(&self) -> std::ops::Range<usize> {
        self.first..self.first + self.period * self.repeats
    }

    /// The same phases as blocks of at most `most` repeats.
    pub fn cut(self, most: usize) -> Vec<Block> {
        let mut blocks = Vec::new();
        let mut done = 0;
        while done < self.repeats {
            let repeats = most.min(self.repeats - done);
            blocks.push(Block {
                first: self.first + done * self.period,
                period: self.period,
                repeats,
            });
            done += repeats;
        }
        blocks
    }
}

/// An order of the phases in which those whose results no other reads come last,
/// kind by kind, if there are several of a kind: weight gradients, mostly.
/// `kinds` says of which kind each phase is.
pub(super) fn sinks_last(phases: &[Phase], kinds: &[usize]) -> Vec<usize> {
    let read = |id: &NodeId| phases.iter().any(|p| p.reads.contains(id));
    let is_sink: Vec<bool> = phases.iter().map(|p| !p.writes.iter().any(read)).collect();
    let of_kind = |kind: usize| {
        let all = 0..phases.len();
        all.filter(move |&i| kinds[i] == kind)
    };
    let moves = |i: usize| is_sink[i] && of_kind(kinds[i]).filter(|&j| is_sink[j]).count() > 1;
    let mut order: Vec<usize> = (0..phases.len()).filter(|&i| !moves(i)).collect();
    let mut last: Vec<usize> = (0..phases.len()).filter(|&i| moves(i)).collect();
    last.sort_by_key(|&i| (kinds[i], i));
    order.append(&mut last);
    order
}

/// The phases as blocks, in order: at each place the repetition that saves most.
pub(super) fn roll(kinds: &[usize]) -> Vec<Block> {
    let mut blocks = Vec::new();
    let mut at = 0;
    while at < kinds.len() {
        let mut best = Block {
            first: at,
            period: 1,
            repeats: 1,
        };
        for period in 1..=LONGEST_PERIOD.min(kinds.len() - at) {
            let pattern = &kinds[at..at + period];
            let repeats = kinds[at..].chunks(period).take_while(|c| *c == pattern);
            let repeats = repeats.count();
            if period * (repeats - 1) > best.period * (best.repeats - 1) {
                best = Block {
                    first: at,
                    period,
                    repeats,
                };
            }
        }
        at = best.range().end;
        blocks.push(best);
    }
    blocks
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn repeated_kinds_are_one_block() {
        let shape = |kinds: &[usize]| -> Vec<(usize, usize)> {
            let blocks = roll(kinds);
            let mut next = 0;
            for b in &blocks {
                assert_eq!(b.first, next);
                next = b.range().end;
            }
            assert_eq!(next, kinds.len());
            blocks.iter().map(|b| (b.period, b.repeats)).collect()
        };
        assert_eq!(shape(&[]), []);
        assert_eq!(shape(&[0, 1, 2]), [(1, 1), (1, 1), (1, 1)]);
        assert_eq!(shape(&[5, 5, 5]), [(1, 3)]);
        assert_eq!(shape(&[0, 1, 0, 1, 0, 1, 2]), [(2, 3), (1, 1)]);
        assert_eq!(shape(&[9, 0, 1, 0, 1, 0]), [(1, 1), (2, 2), (1, 1)]);
        assert_eq!(shape(&[0, 0, 1, 0, 0, 1]), [(3, 2)]);
    }
}
