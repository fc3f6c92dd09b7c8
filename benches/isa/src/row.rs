//! What is told of a kernel: the driver's statistics, and what its hottest loop is of.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::Failure;
use crate::kind::Counts;
use crate::listing::{Instruction, Listing};
use crate::vulkan::Compiled;
use crate::waits::Overlap;
use crate::works::{self, Kernel};

/// A kernel on one family.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Row {
    pub kernel: String,
    pub entry: String,
    /// The works that it is for.
    pub problems: Vec<String>,
    /// The time of the driver's compiler.
    pub compile_ms: f64,
    /// Invocations of a subgroup.
    pub subgroup: u32,
    /// All that the driver counts, by its names.
    pub statistics: BTreeMap<String, u64>,
    /// Instructions of the whole kernel in the assembly.
    pub whole: Counts,
    /// Instructions of the hottest loop ([`Listing::hottest`]).
    pub hottest: Option<Loop>,
    /// How many instructions the assembly has where the driver tells another number:
    /// then it was not read as it was meant.
    pub listed_otherwise: Option<u64>,
    /// Jumps whose target the text does not tell: loops may be missed.
    pub far_jumps: usize,
}

/// The hottest loop.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Loop {
    pub instructions: usize,
    pub counts: Counts,
    /// The share of multiply-adds in a product of matrices.
    pub multiply_add_share: Option<f64>,
    /// Instructions on the shortest way through it ([`Listing::shortest_turn`]).
    pub shortest_turn: usize,
    /// Those for a row of the batch in a row program.
    pub instructions_a_row: Option<f64>,
    /// From its loads to the first waits for them.
    pub overlap: Option<Overlap>,
}

impl Row {
    /// Reads what the driver made of a kernel. `stores_count`: see [`Overlap::of`].
    pub fn of(kernel: &Kernel, compiled: &Compiled, stores_count: bool) -> Result<Row, Failure> {
        let listing = Listing::parse(&compiled.assembly);
        if listing.code.is_empty() {
            let why = "the driver gives no assembly that this program can read: that takes a \
                       family of GCN 3 or later (TONGA is the first) and a Mesa built with LLVM, \
                       whose disassembler it uses";
            return Err(Failure::Usage(why.to_string()));
        }
        let count = |code: &[Instruction]| Counts::of(code.iter().map(|i| i.kind));
        let hottest = listing.hottest().map(|range| {
            let shortest_turn = listing.shortest_turn(&range);
            let code = &listing.code[range];
            let (length, counts) = (code.len(), count(code));
            Loop {
                instructions: length,
                counts,
                shortest_turn,
                multiply_add_share: works::is_product(&kernel.entry)
                    .then(|| counts.multiply_add as f64 / length as f64),
                // A loop that reads nothing is not the one of the rows.
                instructions_a_row: works::rows_a_turn(kernel)
                    .filter(|_| counts.load > 0)
                    .map(|rows| shortest_turn as f64 / rows as f64),
                overlap: Overlap::of(code, stores_count),
            }
        });
        Ok(Row {
            kernel: kernel.label.clone(),
            entry: kernel.entry.clone(),
            problems: kernel.problems.clone(),
            compile_ms: compiled.milliseconds,
            subgroup: compiled.subgroup,
            statistics: compiled.statistics.clone(),
            whole: count(&listing.code),
            hottest,
            listed_otherwise: listed_otherwise(&listing, compiled),
            far_jumps: listing.code.iter().filter(|i| i.is_far_jump()).count(),
        })
    }

    /// One of the driver's figures.
    pub fn statistic(&self, name: &str) -> Option<u64> {
        self.statistics.get(name).copied()
    }
}

/// The number of instructions in the assembly, if it is not what the driver tells. The
/// driver counts before it puts in an `s_nop` here and there, for a fault of NAVI10, and
/// a dual instruction once.
fn listed_otherwise(listing: &Listing, compiled: &Compiled) -> Option<u64> {
    let told = *compiled.statistics.get("Instructions")?;
    let listed = listing.code.len() as u64 - listing.dual;
    let nops = listing.code.iter().filter(|i| i.name == "s_nop").count() as u64;
    (!(listed - nops..=listed).contains(&told)).then_some(listed)
}

#[cfg(test)]
mod tests {
    use super::*;

    const LOOP: &str = "BB0:\n\tv_mov_b32 v0, 0\nBB1:\n\tbuffer_load_b32 v1, v0\n\tv_fma_f32 v2\n\
        \tv_fma_f32 v2\n\ts_waitcnt vmcnt(0)\n\tv_fma_f32 v3\n\tds_load_b32 v4\n\
        \ts_add_u32 s0\n\ts_cbranch_scc1 BB1\nBB2:\n\ts_endpgm\n";

    fn row(entry: &str, assembly: &str) -> Result<Row, Failure> {
        told(entry, assembly, None)
    }

    fn told(entry: &str, assembly: &str, told: Option<u64>) -> Result<Row, Failure> {
        let kernel = Kernel {
            label: entry.to_string(),
            entry: entry.to_string(),
            source: String::new(),
            problems: Vec::new(),
        };
        let compiled = Compiled {
            milliseconds: 1.0,
            subgroup: 64,
            statistics: told
                .map(|n| ("Instructions".to_string(), n))
                .into_iter()
                .collect(),
            assembly: assembly.to_string(),
        };
        Row::of(&kernel, &compiled, false)
    }

    #[test]
    fn a_product_has_its_share_and_a_row_program_its_rows() {
        let product = row("matmul_tiled", LOOP).unwrap().hottest.unwrap();
        assert_eq!(product.multiply_add_share, Some(3.0 / 8.0));
        assert_eq!(product.instructions_a_row, None);
        assert_eq!(product.overlap.unwrap().least_arithmetic, 2);
        let rows = row("rows", LOOP).unwrap().hottest.unwrap();
        assert_eq!(rows.instructions_a_row, Some(2.0));
        assert_eq!(rows.multiply_add_share, None);
        let text = LOOP.replace("buffer_load_b32", "v_mov_b32");
        let rows = row("rows", &text).unwrap().hottest.unwrap();
        assert_eq!(rows.instructions_a_row, None);
    }

    #[test]
    fn the_kinds_of_a_loop_are_all_of_it() {
        let row = row("main", LOOP).unwrap();
        let want = Counts {
            multiply_add: 3,
            load: 1,
            lds: 1,
            scalar: 1,
            branch: 1,
            wait: 1,
            ..Counts::default()
        };
        let found = row.hottest.unwrap();
        assert_eq!((found.instructions, found.counts), (8, want));
        assert_eq!((row.whole.vector, row.whole.branch), (1, 2));
    }

    #[test]
    fn a_text_without_instructions_is_an_error() {
        let error = row("main", "nothing\n").unwrap_err().to_string();
        assert!(error.contains("LLVM"), "{error}");
        assert_eq!(row("main", "\ts_endpgm\n").unwrap().hottest, None);
    }

    #[test]
    fn the_assembly_is_held_against_what_the_driver_counts() {
        let text = "\ts_nop 0\n\tv_dual_mov_b32 v0, 0 :: v_dual_mov_b32 v1, 0\n\ts_endpgm\n";
        let otherwise = |n| told("main", text, Some(n)).unwrap().listed_otherwise;
        assert_eq!([1, 2, 3, 4].map(otherwise), [Some(3), None, None, Some(3)]);
        assert_eq!(row("main", text).unwrap().listed_otherwise, None);
    }
}
