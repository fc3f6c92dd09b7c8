//! How long a loop does something else while its loads from memory are under way.
//!
//! Loads end in the order in which they begin, and `s_waitcnt vmcnt(n)` waits until at
//! most n of them are under way: it waits for a load behind which at most n others have
//! begun. The text is followed line by line, as if no branch were taken but the one
//! that leads back.

use serde::{Deserialize, Serialize};

use crate::kind::Kind;
use crate::listing::Instruction;

/// What lies between the loads of a loop and the first wait for each.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Overlap {
    /// Instructions, for the load that is waited for soonest.
    pub least: usize,
    /// And for that which is waited for last.
    pub most: usize,
    /// Float products and sums at full rate among them, for the load with fewest.
    pub least_arithmetic: usize,
    /// And for that with most.
    pub most_arithmetic: usize,
    /// Loads that nothing in the loop waits for.
    pub unwaited: usize,
}

impl Overlap {
    /// Of a loop's instructions; nothing if it loads nothing. `stores_count` says that
    /// the same counter counts stores (AMD GPUs before RDNA).
    pub fn of(code: &[Instruction], stores_count: bool) -> Option<Overlap> {
        let loads = (0..code.len()).filter(|&at| code[at].kind == Kind::Load);
        let gaps: Vec<_> = loads.map(|at| gap(code, at, stores_count)).collect();
        let waited = || gaps.iter().flatten();
        if gaps.is_empty() {
            return None;
        }
        Some(Overlap {
            least: waited().map(|g| g.0).min().unwrap_or_default(),
            most: waited().map(|g| g.0).max().unwrap_or_default(),
            least_arithmetic: waited().map(|g| g.1).min().unwrap_or_default(),
            most_arithmetic: waited().map(|g| g.1).max().unwrap_or_default(),
            unwaited: gaps.len() - waited().count(),
        })
    }
}

/// Instructions from the load at `at` to the first wait for it, and arithmetic among
/// them; nothing if one turn of the loop does not wait for it.
fn gap(code: &[Instruction], at: usize, stores_count: bool) -> Option<(usize, usize)> {
    let (mut between, mut arithmetic, mut begun_later) = (0, 0, 0);
    for instruction in code[at + 1..].iter().chain(&code[..at]) {
        if allowed(instruction).is_some_and(|n| n <= begun_later) {
            return Some((between, arithmetic));
        }
        between += 1;
        arithmetic += usize::from(instruction.kind.is_arithmetic());
        begun_later += usize::from(is_counted(instruction, stores_count));
    }
    None
}

/// Whether it is among those that a wait for loads counts.
fn is_counted(instruction: &Instruction, stores_count: bool) -> bool {
    match instruction.kind {
        Kind::Load => true,
        Kind::Store => stores_count,
        Kind::Scratch => stores_count || instruction.name.contains("load"),
        _ => false,
    }
}

/// How many loads may be under way behind this wait.
fn allowed(instruction: &Instruction) -> Option<usize> {
    let Instruction { name, operands, .. } = instruction;
    if name.starts_with("s_wait_loadcnt") {
        let count = operands.split_whitespace().next()?;
        return match count.strip_prefix("0x") {
            Some(hex) => usize::from_str_radix(hex, 16).ok(),
            None => count.parse().ok(),
        };
    }
    if name != "s_waitcnt" {
        return None;
    }
    let (_, rest) = operands.split_once("vmcnt(")?;
    rest.split(')').next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::listing::Listing;

    fn overlap(text: &str, stores_count: bool) -> Option<Overlap> {
        let indented: String = text.lines().map(|l| format!("\t{}\n", l.trim())).collect();
        Overlap::of(&Listing::parse(&indented).code, stores_count)
    }

    #[test]
    fn a_wait_for_all_but_one_waits_for_the_older_load() {
        let found = overlap(
            "buffer_load_b32 v1
             buffer_load_b32 v2
             v_fma_f32 v3
             v_mov_b32 v4
             s_waitcnt vmcnt(1)
             v_add_f32 v5
             s_waitcnt lgkmcnt(0) vmcnt(0)
             s_branch BB0",
            false,
        );
        let want = Overlap {
            least: 3,
            most: 4,
            least_arithmetic: 1,
            most_arithmetic: 2,
            unwaited: 0,
        };
        assert_eq!(found, Some(want));
    }

    #[test]
    fn the_wait_may_come_in_the_next_turn() {
        let found = overlap(
            "s_waitcnt vmcnt(0)
             v_fma_f32 v1
             global_load_b32 v2
             v_fma_f32 v3
             s_branch BB0",
            false,
        );
        assert_eq!(found.map(|o| (o.least, o.least_arithmetic)), Some((2, 1)));
    }

    #[test]
    fn waits_for_something_else_are_no_waits_for_loads() {
        let found = overlap(
            "image_load v1
             s_waitcnt lgkmcnt(0)
             s_waitcnt_vscnt null, 0x0
             s_waitcnt_depctr 0xfff
             v_nop
             s_wait_loadcnt 0x0",
            false,
        );
        assert_eq!(found.map(|o| o.least), Some(4));
    }

    #[test]
    fn stores_are_counted_where_the_counter_counts_them() {
        let text = "buffer_load_dword v1
             buffer_store_dword v2
             v_nop
             s_waitcnt vmcnt(1)
             v_nop
             s_waitcnt vmcnt(0)";
        assert_eq!(overlap(text, true).map(|o| o.least), Some(2));
        assert_eq!(overlap(text, false).map(|o| o.least), Some(4));
    }

    #[test]
    fn reloads_of_registers_are_counted() {
        let text = "buffer_load_b32 v1
             scratch_load_b32 v2
             scratch_store_b32 v3
             s_waitcnt vmcnt(2)
             s_waitcnt vmcnt(1)
             s_waitcnt vmcnt(0)";
        assert_eq!(overlap(text, false).map(|o| o.least), Some(3));
    }

    #[test]
    fn a_load_that_nothing_waits_for_is_told() {
        let found = overlap("buffer_load_b32 v1\ns_waitcnt vmcnt(3)", false);
        assert_eq!(found.map(|o| (o.unwaited, o.least)), Some((1, 0)));
        assert_eq!(overlap("v_nop\ns_waitcnt vmcnt(0)", false), None);
    }
}
