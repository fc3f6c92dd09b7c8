//! The assembly that RADV gives, as LLVM's disassembler writes it: labels of basic
//! blocks at the beginning of a line, an instruction on each indented line, its bytes
//! behind a semicolon.

use std::cmp::Reverse;
use std::collections::HashMap;
use std::ops::Range;

use crate::kind::Kind;

/// One instruction.
#[derive(Clone, PartialEq, Debug)]
pub struct Instruction {
    /// What it is for.
    pub kind: Kind,
    /// Its name.
    pub name: String,
    /// What follows the name.
    pub operands: String,
}

/// A kernel's instructions, in the order of the text.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Listing {
    pub code: Vec<Instruction>,
    /// Dual instructions, each of which is two in `code`.
    pub dual: u64,
    /// The place of the first instruction behind each label.
    labels: HashMap<String, usize>,
}

/// How the line begins that tells how often the instruction above it stands there again.
const REPEATED: &str = "(then repeated ";

impl Listing {
    /// Reads the text. A dual instruction becomes its two halves.
    pub fn parse(text: &str) -> Listing {
        let mut listing = Listing::default();
        let mut last: Vec<Instruction> = Vec::new();
        for line in text.lines() {
            let line = line.split(';').next().unwrap_or_default();
            let body = line.trim();
            if let Some(label) = body.strip_suffix(':') {
                listing.labels.insert(label.to_string(), listing.code.len());
            } else if let Some(rest) = body.strip_prefix(REPEATED) {
                let times: Option<usize> = rest.split(' ').next().and_then(|n| n.parse().ok());
                for _ in 0..times.unwrap_or(0) {
                    listing.add(&last);
                }
            } else if line.starts_with([' ', '\t']) && !body.is_empty() {
                last = body.split("::").map(Instruction::parse).collect();
                listing.add(&last);
            }
        }
        listing
    }

    fn add(&mut self, line: &[Instruction]) {
        self.dual += u64::from(line.len() > 1);
        self.code.extend_from_slice(line);
    }

    /// Where the loops lie in `code`: from the target of a branch that leads back to the
    /// last branch to it.
    pub fn loops(&self) -> Vec<Range<usize>> {
        let mut ends: HashMap<usize, usize> = HashMap::new();
        for (at, instruction) in self.code.iter().enumerate() {
            let target = instruction
                .target()
                .and_then(|label| self.labels.get(label));
            if let Some(&start) = target.filter(|&&start| start <= at) {
                let end = ends.entry(start).or_default();
                *end = (*end).max(at + 1);
            }
        }
        let mut loops: Vec<_> = ends.into_iter().map(|(start, end)| start..end).collect();
        loops.sort_by_key(|range| (range.start, range.end));
        loops
    }

    /// Instructions on the shortest way through a loop that makes most of its loads: what
    /// a turn takes where no rare case is met. A loop within it is gone through once, and
    /// of an `if` with an `else`, which both have a branch past them for when no lane takes
    /// them, one is.
    pub fn shortest_turn(&self, range: &Range<usize>) -> usize {
        // For each place, from the last: the loads and instructions that are left.
        let mut left: Vec<Option<(usize, usize)>> = vec![None; range.end + 1];
        let loops = self.loops();
        // The first branch of a loop, to what is behind it.
        let leaves_at_once = |at: usize, to: usize| {
            let inner = |l: &&Range<usize>| range.start < l.start && l.contains(&at) && to >= l.end;
            let no_branch = |l: &Range<usize>| {
                let before = &self.code[l.start..at];
                before.iter().all(|i| i.target().is_none())
            };
            loops.iter().filter(inner).any(no_branch)
        };
        for at in range.clone().rev() {
            let instruction = &self.code[at];
            let label = instruction.target();
            let ahead = match label.and_then(|label| self.labels.get(label)) {
                Some(&to) if to == range.start => Some((0, 0)),
                Some(&to) if to > at && to + 2 < range.end && self.is_else(to) => {
                    left[to + 2].map(|(loads, length)| (loads, length + 2))
                }
                Some(&to) if to > at && to < range.end && !leaves_at_once(at, to) => left[to],
                _ => None,
            };
            let next = match instruction.goes_on() {
                true => left[at + 1],
                false => None,
            };
            let load = usize::from(instruction.kind == Kind::Load);
            let ways = [ahead, next].into_iter().flatten();
            let best = ways.max_by_key(|&(loads, length)| (loads, Reverse(length)));
            left[at] = best.map(|(loads, length)| (loads + load, length + 1));
        }
        left[range.start].map_or(range.len(), |(_, length)| length)
    }

    /// Whether the lanes change here to those that were left out, for an `else`.
    fn is_else(&self, at: usize) -> bool {
        let turns = |i: &Instruction| {
            let names = ["s_andn2_b", "s_and_not1_b"];
            names.iter().any(|name| i.name.starts_with(name)) && i.operands.starts_with("exec")
        };
        let skips = |i: &Instruction| i.name == "s_cbranch_execz";
        self.code.get(at).is_some_and(turns) && self.code.get(at + 1).is_some_and(skips)
    }

    /// The loop of most instructions, of those that read memory and hold no other that
    /// does. (One within it that reads nothing belongs to its work: in a row program that
    /// is the loss, whose loop takes one turn for a class.) Where no loop reads memory,
    /// any is as good as one that does.
    pub fn hottest(&self) -> Option<Range<usize>> {
        let mut loops = self.loops();
        let reads = |l: &Range<usize>| self.code[l.clone()].iter().any(|i| i.kind == Kind::Load);
        if loops.iter().any(reads) {
            loops.retain(reads);
        }
        let holds = |outer: &Range<usize>, inner: &Range<usize>| {
            outer != inner && outer.start <= inner.start && inner.end <= outer.end
        };
        let innermost = |l: &&Range<usize>| !loops.iter().any(|other| holds(l, other));
        loops
            .iter()
            .filter(innermost)
            .max_by_key(|l| l.len())
            .cloned()
    }
}

impl Instruction {
    fn parse(text: &str) -> Instruction {
        let text = text.trim();
        let (name, operands) = text.split_once(char::is_whitespace).unwrap_or((text, ""));
        Instruction {
            kind: Kind::of(name),
            name: name.to_string(),
            operands: operands.trim().to_string(),
        }
    }

    /// The label that it may go on at.
    fn target(&self) -> Option<&str> {
        let jumps = self.name.starts_with("s_branch") || self.name.starts_with("s_cbranch");
        jumps.then_some(self.operands.as_str())
    }

    /// Whether the instruction below it may be the next one.
    fn goes_on(&self) -> bool {
        let leaves = ["s_branch", "s_endpgm", "s_setpc"];
        !leaves.iter().any(|name| self.name.starts_with(name))
    }

    /// Whether it goes to a place that the text does not tell: a loop that ends so is
    /// not seen.
    pub fn is_far_jump(&self) -> bool {
        self.name.starts_with("s_setpc") || self.name.starts_with("s_swappc")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(listing: &Listing) -> Vec<&str> {
        listing.code.iter().map(|i| i.name.as_str()).collect()
    }

    #[test]
    fn lines_are_instructions_labels_or_nothing() {
        let listing = Listing::parse(
            "BB0:\n\ts_mov_b32 s9, 7     ; 00000000\n\tv_nop\n\t(then repeated 2 times)\n\n\
             BB3:\n\tv_dual_mul_f32 v1, v2, v3 :: v_dual_mov_b32 v4, 0 ; 0 0\n\
             \t(then repeated 1 times)\n\
             \t(invalid instruction) ; ff\n\ts_endpgm\n\n/* data */\n[000000] 00 11\n",
        );
        let want = [
            "s_mov_b32",
            "v_nop",
            "v_nop",
            "v_nop",
            "v_dual_mul_f32",
            "v_dual_mov_b32",
            "v_dual_mul_f32",
            "v_dual_mov_b32",
            "(invalid",
            "s_endpgm",
        ];
        assert_eq!(names(&listing), want);
        assert_eq!(listing.dual, 2);
        assert_eq!(listing.code[0].operands, "s9, 7");
        assert_eq!(listing.code[4].kind, Kind::MultiplyOrAdd);
        assert_eq!(listing.code[8].kind, Kind::Unknown);
        assert_eq!(listing.labels["BB3"], 4);
        assert_eq!(listing.hottest(), None);
    }

    /// An outer loop around one of two instructions and one of four, and a branch ahead.
    const NESTED: &str = "BB0:\n\ts_nop 0\nBB1:\n\tv_nop\nBB2:\n\tv_nop\n\ts_cbranch_scc0 BB2\n\
        BB4:\n\tv_nop\n\tv_nop\n\tv_nop\n\ts_cbranch_vccnz BB4\nBB6:\n\ts_cbranch_execz BB7\n\
        \ts_branch BB1\nBB7:\n\tv_nop\n\t(then repeated 30 times)\n\ts_endpgm\n";

    #[test]
    fn the_hottest_loop_is_the_longest_that_holds_no_other() {
        let listing = Listing::parse(NESTED);
        assert_eq!(listing.loops(), [1..10, 2..4, 4..8]);
        assert_eq!(listing.hottest(), Some(4..8));
    }

    #[test]
    fn a_loop_that_reads_nothing_is_a_part_of_the_one_that_reads() {
        let text = NESTED.replace(
            "BB1:\n\tv_nop",
            "BB1:\n\tbuffer_load_dword v0, v1, s[0:3], 0",
        );
        assert_eq!(Listing::parse(&text).hottest(), Some(1..10));
        let inner = text.replace("BB2:\n\tv_nop", "BB2:\n\tglobal_load_dword v0, v[2:3], off");
        assert_eq!(Listing::parse(&inner).hottest(), Some(2..4));
    }

    #[test]
    fn two_branches_to_one_label_are_one_loop() {
        let listing =
            Listing::parse("BB1:\n\tv_nop\n\ts_cbranch_scc1 BB1\nBB2:\n\tv_nop\n\ts_branch BB1\n");
        assert_eq!(listing.loops(), std::iter::once(0..4).collect::<Vec<_>>());
    }

    #[test]
    fn the_shortest_turn_leaves_out_what_is_rare_and_no_load() {
        let turn = |text: &str| {
            let listing = Listing::parse(text);
            let range = listing.hottest().unwrap();
            (range.len(), listing.shortest_turn(&range))
        };
        // Past all: an empty turn. Through the loads: one of two ways, or a loop in one.
        let text = "BB1:\n\ts_cbranch_execz BB9\n\tglobal_load_dword v0, v[2:3], off\n\
            \ts_cbranch_vccz BB5\nBB3:\n\tv_nop\n\tv_nop\n\ts_cbranch_scc1 BB3\n\ts_branch BB7\n\
            BB5:\n\tv_nop\nBB7:\n\tglobal_load_dword v1, v[2:3], off\nBB9:\n\ts_cbranch_scc0 BB1\n\
            \ts_endpgm\n";
        assert_eq!(turn(text), (10, 6));
        // The short way without a load is none.
        let text = text.replace("BB5:\n\tv_nop\n", "BB5:\n");
        assert_eq!(turn(&text), (9, 5));
        let text = text.replace(
            "\tv_nop\n\tv_nop",
            "\tv_nop\n\tglobal_load_dword v5, v[2:3], off",
        );
        let range = 0..9;
        assert_eq!(Listing::parse(&text).shortest_turn(&range), 9);
        // Of an `if` of three instructions with an `else` of two, the `else`.
        let text = "BB1:\n\tglobal_load_dword v0, v[2:3], off\n\ts_cbranch_execz BB3\nBB2:\n\tv_nop\n\
            \tv_nop\n\tv_nop\nBB3:\n\ts_andn2_b64 exec, s[4:5], exec\n\ts_cbranch_execz BB5\nBB4:\n\
            \tv_nop\n\tv_nop\nBB5:\n\ts_cbranch_scc0 BB1\n";
        assert_eq!(turn(text), (10, 7));
        // A loop that asks at its head whether to end, and can only later.
        let text = "BB1:\n\tglobal_load_dword v0, v[2:3], off\nBB2:\n\ts_cmp_eq_i32 s0, 0\n\
            \ts_cbranch_scc1 BB4\n\tv_nop\n\ts_cbranch_vccz BB4\n\ts_branch BB2\nBB4:\n\
            \ts_cbranch_scc0 BB1\n";
        assert_eq!(turn(text), (7, 6));
        // Nothing but the way back.
        assert_eq!(turn("BB5:\n\ts_branch BB5\n"), (1, 1));
    }

    #[test]
    fn a_block_may_lead_to_itself() {
        let listing = Listing::parse("BB5:\n\ts_branch BB5\n");
        assert_eq!(listing.hottest(), Some(0..1));
    }

    #[test]
    fn a_far_jump_is_seen() {
        let listing = Listing::parse("BB0:\n\ts_setpc_b64 s[0:1]\n\ts_branch BB0\n");
        let far: Vec<_> = listing.code.iter().map(Instruction::is_far_jump).collect();
        assert_eq!(far, [true, false]);
    }
}
