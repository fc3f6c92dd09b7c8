//! How a product runs: the parts of a long inner axis, how deep their sums are, and
//! the kernel of a candidate.

use super::SOURCE;
use super::choice::{Candidate, Problem, candidates, units_fit};
use crate::graph::{Kernel, Precision, Target, image};
use crate::ops::reduce;
use crate::ops::shader_lib::{BLOCKS, EPILOGUE, GRID, HALF, PRODUCT, PROLOGUE, UNITS};
use crate::shape::{MAX_RANK, Shape};

const SUBGROUP: &str = include_str!("../../../shaders/matmul_subgroup.wgsl");
const VECTOR: &str = include_str!("../../../shaders/matmul_vector.wgsl");
const OUTER: &str = include_str!("../../../shaders/matmul_outer.wgsl");
const COOPERATIVE: &str = include_str!("../../../shaders/matmul_cooperative.wgsl");
const TILED: &str = include_str!("../../../shaders/matmul_tiled.wgsl");

/// The longest part of the inner axis that one workgroup handles: short where
/// there are few outputs, long where partial products would fill the memory.
const SHORT_PART: usize = 4096;
const LONG_PART: usize = 32_768;
const MANY_OUTPUTS: usize = 1 << 20;

/// The shaders add products in fours, at most 16 such sums in a row, and then
/// the sums of 64.
pub(crate) const BLOCK: usize = 64;
const FOUR: usize = 4;
/// The inner size of a slice of `matmul_tiled`, DEPTH of its shader.
const SLICE: u32 = 16;
/// How often at most `matmul_tiled` adds to C.
const MOST_TURNS: usize = 4;

/// The workgroups that a GPU should have to work on, and the shortest part
/// that is worth a second pass for it.
const MANY_WORKGROUPS: usize = 256;
const LEAST_PART: usize = 256;

/// One operand as the shader reads it: its own axis, the inner axis, batches.
pub(super) struct Side {
    /// The size of its own axis, and of the inner axis.
    pub size: usize,
    pub depth: usize,
    /// Strides along its own and along the inner axis.
    pub own: usize,
    pub inner: usize,
    /// Whether the inner axis comes before its own in memory.
    pub inner_first: bool,
    /// Whether its lines in memory are of whole fours.
    pub fours: bool,
    /// Elements of the whole operand.
    pub elements: usize,
    /// Strides along the batch axes.
    pub batch: Vec<u32>,
}

impl Side {
    /// `inner_first` says that the inner axis comes before its own in memory.
    pub fn of(shape: &Shape, inner_first: bool, batch: &Shape, size: usize) -> Side {
        let (lead, matrix) = shape.dims().split_at(shape.rank() - 2);
        let columns = matrix[1].max(1);
        let (own, inner) = if inner_first {
            (1, columns)
        } else {
            (columns, 1)
        };
        let step: usize = matrix.iter().product();
        let strides = Shape::new(lead)
            .ok()
            .and_then(|lead| lead.strides_as(batch));
        let mut words: Vec<u32> = strides
            .unwrap_or_default()
            .iter()
            .map(|&s| (s * step) as u32)
            .collect();
        words.resize(MAX_RANK, 0);
        Side {
            size,
            depth: step / size.max(1),
            own,
            inner,
            inner_first,
            fours: matrix[1].is_multiple_of(FOUR),
            elements: shape.numel(),
            batch: words,
        }
    }
}

fn longest_part(outputs: usize) -> usize {
    if outputs < MANY_OUTPUTS {
        SHORT_PART
    } else {
        LONG_PART
    }
}

/// The length of a part, of whole blocks, where the tiles of C are `jobs`
/// workgroups. Few workgroups leave most of a GPU idle; a driver in software
/// has few cores, and a second pass costs it more.
pub(super) fn part_length(k: usize, outputs: usize, jobs: usize, target: &Target) -> usize {
    let longest = longest_part(outputs);
    if target.software || jobs >= MANY_WORKGROUPS {
        return longest;
    }
    let parts = (MANY_WORKGROUPS / jobs.max(1)).clamp(1, (k / LEAST_PART).max(1));
    let part = k.div_ceil(parts).next_multiple_of(BLOCK);
    part.clamp(LEAST_PART, longest)
}

/// How much of a part `matmul_tiled` adds up before it adds to another sum, in software
/// one of its own, on a GPU the one in C: as much as leaves the path from a product to the
/// result no longer than the bound takes it for. Products are added one by one within a
/// slice, then the slices of a turn, then the turns.
pub(super) fn turn_length(part: usize, target: &Target) -> usize {
    let slice = SLICE as usize;
    if target.software {
        return BLOCK;
    }
    let slices = part.div_ceil(slice).max(1);
    let turn = |turns| slices.div_ceil(turns);
    let fits = |&turns: &usize| slice - 1 + turn(turns) - 1 + turns - 1 <= within(part);
    // A short part is added up by fours, which needs no turns.
    let turns = (1..MOST_TURNS).find(fits).unwrap_or(MOST_TURNS);
    match part < BLOCK {
        true => slices * slice,
        false => turn(turns) * slice,
    }
}

/// The longest path from a product to the sum of a part, in additions.
fn within(part: usize) -> usize {
    2 + BLOCK.min(part).div_ceil(FOUR) + part.div_ceil(BLOCK)
}

/// The longest path from a product to the result, in additions, for parts of
/// this length.
fn depth_with(k: usize, part: usize) -> usize {
    let part = part.min(k);
    let parts = k.div_ceil(part.max(1));
    (within(part) + reduce::depth(parts)).min(k)
}

/// The longest path for any target: shorter parts make it shorter (tested).
pub(crate) fn depth(k: usize, outputs: usize) -> usize {
    depth_with(k, longest_part(outputs))
}

/// What a matrix unit does to one product, in units of u, at most: it adds four
/// products or more at a time to a running sum, cutting off each term, and then the
/// result, below the last bit of the largest (2u each): 6 terms for 4 products
/// (docs/NUMERICS.md).
const UNIT_ERROR: usize = 3;
/// The inner size of a unit's own block; what is past the end is 0.
const UNIT_SIZE: usize = 16;

/// The bound on the error of a product, in units of u times the sum of sizes: of
/// each term on the longest path.
pub(super) fn roundings(problem: &Problem, outputs: usize) -> usize {
    let k = problem.k;
    match problem.precision {
        // One rounding for the product, one for each addition on the path.
        Precision::F32 => depth(k, outputs) + 1,
        // A product of two float16 numbers is a float32.
        Precision::F16 => depth(k, outputs),
        Precision::F16Units if units_fit(problem) => units_depth(k, longest_part(outputs)),
        Precision::F16Units => depth(k, outputs),
    }
}

/// As [`roundings`], where matrix units add up the blocks, for parts of this
/// length. No kernel without units has a longer path.
fn units_depth(k: usize, part: usize) -> usize {
    let part = part.min(k);
    let block = BLOCK.min(part.next_multiple_of(UNIT_SIZE));
    let parts = k.div_ceil(part.max(1));
    UNIT_ERROR * block + part.div_ceil(BLOCK) + reduce::depth(parts)
}

/// The kernel to take: the target's choice if it is one of the candidates,
/// else the first of them.
pub(super) fn choose(problem: &Problem, target: &Target) -> Candidate {
    let all = candidates(problem, target);
    let wish = target
        .choices
        .get(&problem.to_string())
        .or_else(|| target.choices.get("matmul"));
    let wished = wish.and_then(|name| all.iter().find(|c| c.to_string() == *name));
    *wished.unwrap_or(&all[0])
}

/// How many times the candidate's kernel reads each element of either operand, at
/// most: once for each tile that it goes into, and more often where invocations of
/// a tile read it each for themselves.
pub(super) fn repeats(candidate: Candidate, left: &Side, right: &Side, batches: usize) -> [u64; 2] {
    let [rows, columns] = candidate.tile();
    let tiles = [left.size.div_ceil(rows), right.size.div_ceil(columns)];
    let [of_left, of_right] = match candidate {
        Candidate::Subgroup { .. }
        | Candidate::Tiled { .. }
        | Candidate::Cooperative { .. }
        | Candidate::Small
        | Candidate::Tall => [tiles[1], tiles[0]],
        // Each row reads all columns.
        Candidate::Rows => [1, left.size],
        // Once for four rows, but in every lane the same.
        Candidate::Vector { .. } => [1, left.size],
        Candidate::Outer => [right.size.div_ceil(FOUR), left.size.div_ceil(FOUR)],
    };
    // Matrices of the operand that are read again for each of several results.
    let again = |side: &Side| {
        let own = side.elements / (side.size * side.depth).max(1);
        (batches / own.max(1)).max(1)
    };
    [
        (of_left * again(left)) as u64,
        (of_right * again(right)) as u64,
    ]
}

/// The candidate's kernel for operands that lie like these.
pub(super) fn kernel(
    candidate: Candidate,
    [left, right]: [&Side; 2],
    problem: &Problem,
    target: &Target,
) -> Kernel {
    let half = problem.precision.is_half();
    let (thin, wide): (&'static [&'static str], &'static [&'static str]) = match half {
        false => (
            &[GRID, EPILOGUE, PROLOGUE, PRODUCT],
            &[GRID, EPILOGUE, PROLOGUE, PRODUCT, BLOCKS],
        ),
        true => (
            &[GRID, EPILOGUE, PROLOGUE, PRODUCT, HALF],
            &[GRID, EPILOGUE, PROLOGUE, PRODUCT, HALF, BLOCKS],
        ),
    };
    let mut settings = vec![
        ("A_FOURS", left.fours),
        ("B_FOURS", right.fours),
        ("C_FOURS", right.size.is_multiple_of(FOUR)),
        ("A_ALONG_K", !left.inner_first),
        ("B_ALONG_K", !right.inner_first),
    ]
    .into_iter()
    .map(|(name, on)| (name, u32::from(on)))
    .collect::<Vec<_>>();
    let mut images = Vec::new();
    let (source, libs) = match candidate {
        Candidate::Subgroup {
            lanes,
            row_blocks,
            column_blocks,
            images: wanted,
        } => {
            let side = target.image_side.filter(|_| wanted).unwrap_or(0);
            for (i, operand) in [left, right].into_iter().enumerate() {
                if operand.fours && image::fits(operand.elements, side) {
                    images.push(i);
                }
            }
            settings.extend([
                ("LANES", lanes),
                ("ROW_BLOCKS", row_blocks),
                ("COLUMN_BLOCKS", column_blocks),
                ("K_ODD", u32::from(!problem.k.is_multiple_of(FOUR))),
            ]);
            (SUBGROUP, wide)
        }
        Candidate::Tiled { lanes, blocks } => {
            let [rows, columns] = candidate.tile().map(|size| size as u32);
            let slices = (rows + columns) * SLICE / 16;
            // A driver in software takes long to compile what is written out.
            let written_out = !target.software;
            let two = written_out && target.workgroup_bytes >= 2 * candidate.slice_bytes();
            settings.extend([
                ("LANES_M", lanes[0]),
                ("LANES_N", lanes[1]),
                ("ROW_BLOCKS", blocks[0]),
                ("COLUMN_BLOCKS", blocks[1]),
                ("LOADS", slices.div_ceil(lanes[0] * lanes[1])),
                ("SHORT", u32::from(problem.k < BLOCK)),
                ("WIDE", u32::from(written_out)),
                ("TWO_BUFFERS", u32::from(two)),
                ("GROUPS", if written_out { SLICE / 4 } else { 1 }),
            ]);
            (TILED, wide)
        }
        Candidate::Cooperative {
            subgroups: [down, across],
            blocks: [rows, columns],
            depth,
        } => {
            settings.extend([
                ("SUBGROUPS_M", down),
                ("SUBGROUPS_N", across),
                ("BLOCKS_M", rows),
                ("BLOCKS_N", columns),
                ("DEPTH", depth),
                ("COPIES", depth / 32),
            ]);
            let libs: &'static [&'static str] =
                &[UNITS, GRID, EPILOGUE, PROLOGUE, PRODUCT, HALF, BLOCKS];
            (COOPERATIVE, libs)
        }
        Candidate::Vector { lanes } => {
            // A vector lies in fours however it is turned.
            settings = vec![
                ("A_FOURS", 1),
                ("B_FOURS", 1),
                ("C_FOURS", 0),
                ("A_ALONG_K", u32::from(!left.inner_first)),
                ("B_ALONG_K", 1),
                ("LANES", lanes),
            ];
            (VECTOR, wide)
        }
        Candidate::Outer => {
            let fours = u32::from(right.fours && right.inner_first);
            settings = vec![
                ("A_FOURS", 0),
                ("B_FOURS", fours),
                ("C_FOURS", u32::from(right.size.is_multiple_of(FOUR))),
                ("A_ALONG_K", 0),
                ("B_ALONG_K", 0),
            ];
            (OUTER, wide)
        }
        Candidate::Small | Candidate::Rows | Candidate::Tall => {
            // These read single elements, by strides.
            settings = vec![("A_FOURS", 0), ("B_FOURS", 0), ("C_FOURS", 0)];
            (SOURCE, thin)
        }
    };
    settings.extend([
        ("A_IMAGE", u32::from(images.contains(&0))),
        ("B_IMAGE", u32::from(images.contains(&1))),
        ("IMAGE_WIDTH", image::WIDTH),
        ("HALF", u32::from(half)),
    ]);
    Kernel {
        entry: candidate.entry(),
        source,
        libs,
        settings,
        images,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The path through `matmul_tiled` is within the bound, for every length of a part.
    #[test]
    fn turns_keep_the_path_short() {
        let slice = SLICE as usize;
        let software = Target {
            software: true,
            ..Target::default()
        };
        let both = [Target::default(), software];
        for (part, target) in (1..70_000).flat_map(|part| both.each_ref().map(|t| (part, t))) {
            let turn = turn_length(part, target);
            assert!(turn.is_multiple_of(slice) && turn > 0);
            let turns = part.div_ceil(turn).max(1);
            assert!(target.software || turns <= MOST_TURNS, "{part}");
            // The first term of each sum is added to 0, which is exact.
            let path = match part < BLOCK {
                true => (FOUR - 1) + part.div_ceil(FOUR).saturating_sub(1),
                false => (slice - 1) + (turn.min(part).div_ceil(slice) - 1) + (turns - 1),
            };
            assert!(path <= within(part), "{part}: {path}, turns of {turn}");
        }
    }

    /// The error bound knows no target, so it must hold for all.
    #[test]
    fn shorter_parts_do_not_deepen_the_sum() {
        let target = Target::default();
        for outputs in [1, 1000, MANY_OUTPUTS] {
            for jobs in [0, 1, 2, 3, 10, 100, 255, 256, 10_000] {
                for k in (0..5000).chain([5001, 32_768, 65_537, 100_000, 1_000_001, 1 << 26]) {
                    let part = part_length(k, outputs, jobs, &target);
                    assert!(part.is_multiple_of(BLOCK) && part >= LEAST_PART);
                    assert!(
                        depth_with(k, part) <= depth(k, outputs),
                        "{k} in parts of {part}, {jobs} jobs"
                    );
                    let longest = units_depth(k, longest_part(outputs));
                    assert!(units_depth(k, part) <= longest);
                    assert!(depth(k, outputs) <= longest);
                }
            }
        }
    }

    #[test]
    fn rounded_products_have_bounds_of_their_own() {
        let of = |[m, n, k]: [usize; 3], precision| {
            let problem = Problem {
                m,
                n,
                k,
                transpose_a: false,
                transpose_b: false,
                precision,
            };
            roundings(&problem, m * n)
        };
        for k in [8, 16, 63, 64, 65, 1024, 5000, 100_000] {
            let [exact, half, units] = [Precision::F32, Precision::F16, Precision::F16Units]
                .map(|precision| of([64, 64, k], precision));
            // The product of two float16 numbers is exact.
            assert_eq!(half + 1, exact);
            assert!(units > exact, "{k}: {units} and {exact}");
        }
        // What the kernel for units is not offered for keeps the narrower bound.
        for sizes in [[7, 64, 64], [64, 7, 64], [64, 64, 7]] {
            let [half, units] = [Precision::F16, Precision::F16Units].map(|p| of(sizes, p));
            assert_eq!(half, units);
        }
        assert_eq!(of([64, 64, 1024], Precision::F16Units), 3 * 64 + 1024 / 64);
    }
}
