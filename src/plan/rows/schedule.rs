//! How many invocations share the rows of a batch, and in which order their
//! sums are added up: always the same for the same batch and target.

use crate::graph::Target;

/// Rows of one load.
pub const ROWS: usize = 4;
/// Quads (four rows each) whose terms are added in a row, at most: in software, ...
const QUADS: usize = 4;
/// ... and on a GPU, whose blocks are longer only where it is busy without that.
const MOST_QUADS: usize = 16;
/// Parts that one workgroup of the finishing kernel in software adds up; CHUNK and
/// BLOCK of `shaders/rows/finish.wgsl`.
pub const CHUNK: usize = 256;
/// LANES of `shaders/rows/finish_tree.wgsl`.
#[cfg(test)]
const TREE_LANES: usize = 128;
/// Workgroups that keep the processors of a driver in software busy.
const FEW: usize = 16;
/// Workgroups that keep a GPU busy: several for each of its cores. (An H200, 2^22 rows of
/// 4-2-1 in blocks of four, a step with its answer: 512 of 128 lanes 94 us, 2048 of them
/// 99; 2048 of 64 lanes 97; 1024 of 256 lanes 106.)
const MANY: usize = 512;
#[cfg(test)]
const FINISH_BLOCK: usize = 16;

/// A workgroup of a generated program.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Lanes {
    /// Its invocations.
    pub count: usize,
    /// Whether it is one subgroup.
    pub subgroup: bool,
}

/// How a batch is cut up.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Schedule {
    pub lanes: Lanes,
    pub quads: usize,
    /// Quads whose terms an invocation adds in a row: a block.
    pub block: usize,
    /// Blocks that each invocation takes.
    pub blocks: usize,
    pub workgroups: usize,
    /// Whether a workgroup adds up the parts of each sum; otherwise
    /// an invocation does, in passes.
    pub tree: bool,
}

impl Schedule {
    /// The schedule for so many rows and sums.
    pub fn new(rows: usize, sums: usize, target: &Target) -> Schedule {
        let quads = rows.div_ceil(ROWS);
        let lanes = lanes(sums, target);
        // Below this a second dispatch costs more than it spreads; above it
        // each workgroup takes enough rows to be worth its start.
        let alone = if target.software { 16 } else { 1 };
        let blocks_alone = quads.div_ceil(lanes.count * QUADS).max(1);
        let (block, blocks) = if blocks_alone <= alone {
            (QUADS.min(quads.div_ceil(lanes.count)), blocks_alone)
        } else if target.software {
            // Starting a workgroup takes half a microsecond.
            (QUADS, blocks_alone.div_ceil(FEW).clamp(4, 32))
        } else {
            let each = quads.div_ceil(lanes.count * MANY);
            let blocks = each.div_ceil(MOST_QUADS).min(32);
            (each.div_ceil(blocks).min(MOST_QUADS), blocks)
        };
        let block = block.max(1);
        Schedule {
            lanes,
            quads,
            block,
            blocks,
            workgroups: quads.div_ceil(lanes.count * block * blocks).max(1),
            // A GPU waits long for each load, and has other invocations to do meanwhile.
            tree: !target.software,
        }
    }

    /// Passes of the finishing kernel: the parts that each one adds up.
    pub fn passes(&self) -> Vec<usize> {
        let mut passes = Vec::new();
        let mut parts = self.workgroups;
        while parts > 1 {
            passes.push(parts);
            parts = if self.tree { 1 } else { parts.div_ceil(CHUNK) };
        }
        passes
    }

    /// The longest path from a row's term to the result, in additions. The
    /// error bounds of `matmul` and `sum` allow for at least as much.
    #[cfg(test)]
    fn depth(&self) -> usize {
        let quads = self.quads.div_ceil(self.lanes.count);
        let block = ROWS * self.block.min(quads) - 1;
        let lanes = self.lanes.count.min(self.quads).max(1);
        let tree = lanes.next_power_of_two().ilog2() as usize;
        let finish: usize = self
            .passes()
            .iter()
            .map(|&parts| {
                let (parts, lanes) = match self.tree {
                    true => (parts.div_ceil(TREE_LANES), TREE_LANES.min(parts)),
                    false => (parts.min(CHUNK), 1),
                };
                let tree = lanes.next_power_of_two().ilog2() as usize;
                parts.min(FINISH_BLOCK) - 1 + parts.div_ceil(FINISH_BLOCK) - 1 + tree
            })
            .sum();
        block + self.blocks - 1 + tree + finish
    }
}

fn lanes(sums: usize, target: &Target) -> Lanes {
    if target.software
        && let Some(size) = target.subgroup_size
    {
        // No barrier, and as many lanes as the vectors have.
        return Lanes {
            count: size as usize,
            subgroup: true,
        };
    }
    let mut count = if target.software { 16 } else { 128 };
    let fits = |count: usize| sums * count * 4 <= target.workgroup_bytes as usize;
    while !fits(count) && count > 8 {
        count /= 2;
    }
    Lanes {
        count,
        subgroup: false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn targets() -> [Target; 4] {
        let with = |software, subgroup_size| Target {
            software,
            subgroup_size,
            ..Target::default()
        };
        [
            with(false, None),
            with(false, Some(32)),
            with(true, None),
            with(true, Some(8)),
        ]
    }

    #[test]
    fn sums_are_no_deeper_than_the_bounds_of_the_ops_allow() {
        for target in targets() {
            for rows in (1..5000).chain([65_535, 65_536, 100_000, 1 << 20, 1 << 22, 1 << 24]) {
                let s = Schedule::new(rows, 14, &target);
                let depth = s.depth().min(rows - 1);
                let product = crate::ops::matmul::depth(rows, 14);
                // A row of 16 terms is added first: four and four.
                let wide = crate::ops::reduce::depth(16 * rows);
                assert!(depth + 6 <= wide, "{rows}: {depth} + 6, {wide}, {s:?}");
                let sum = crate::ops::reduce::depth(rows);
                assert!(
                    depth <= product.min(sum),
                    "{rows}: {depth}, {product}, {sum}, {s:?}"
                );
            }
        }
    }

    #[test]
    fn a_schedule_covers_all_rows() {
        for target in targets() {
            for rows in [1, 3, 4, 5, 64, 511, 512, 513, 2048, 2049, 65_536, 1 << 22] {
                let s = Schedule::new(rows, 14, &target);
                let covered = s.workgroups * s.lanes.count * s.blocks * s.block * ROWS;
                assert!(covered >= rows, "{rows}: {s:?}");
                let one_less = (s.workgroups - 1) * s.lanes.count * s.blocks * s.block * ROWS;
                assert!(one_less < rows, "{rows}: {s:?}");
            }
        }
    }
}
