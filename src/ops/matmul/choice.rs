//! Which kernel computes a product, from its sizes and the target, and which
//! others could.

use std::fmt;

use crate::graph::{Precision, Target};

/// One product of two matrices, as far as the choice of a kernel goes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Problem {
    /// Rows of C.
    pub m: usize,
    /// Columns of C.
    pub n: usize,
    /// The inner size.
    pub k: usize,
    /// Whether A lies in memory with the inner axis first.
    pub transpose_a: bool,
    /// Whether B lies in memory with the inner axis last.
    pub transpose_b: bool,
    /// How the operands are taken.
    pub precision: Precision,
}

/// The problem's name in [`Target::choices`]: `matmul 256x512x784 nt`, and `f16`
/// or `f16,units` behind it where operands are rounded.
impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let turn = |on: bool| if on { 't' } else { 'n' };
        let (a, b) = (turn(self.transpose_a), turn(self.transpose_b));
        write!(f, "matmul {}x{}x{} {a}{b}", self.m, self.n, self.k)?;
        match self.precision {
            Precision::F32 => Ok(()),
            other => write!(f, " {other}"),
        }
    }
}

/// One way of computing a product: a kernel and the sizes of its tiles.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Candidate {
    /// `matmul_subgroup`: tiles of 4 * lanes * blocks.
    Subgroup {
        /// Invocations of a subgroup.
        lanes: u32,
        /// Blocks of four rows a lane.
        row_blocks: u32,
        /// Blocks of four columns a lane.
        column_blocks: u32,
        /// Whether it reads its operands as images, where these are of whole
        /// fours.
        images: bool,
    },
    /// `matmul_tiled`: tiles of 4 * lanes * blocks.
    Tiled {
        /// Invocations of a workgroup, down and across its tile.
        lanes: [u32; 2],
        /// Blocks of four by four of an invocation, down and across.
        blocks: [u32; 2],
    },
    /// `matmul_cooperative`: blocks of 16 by 16 by an adapter's matrix units.
    Cooperative {
        /// Subgroups of a workgroup, down and across its tile.
        subgroups: [u32; 2],
        /// Blocks of a subgroup, down and across.
        blocks: [u32; 2],
        /// How much of the inner axis a slice has: 32 or 64.
        depth: u32,
    },
    /// `matmul_16`: tiles of 16 by 16, an element an invocation.
    Small,
    /// `matmul_rows`: a row an invocation, at most 4 columns.
    Rows,
    /// `matmul_vector`: a matrix and a vector, four rows an invocation.
    Vector {
        /// Invocations of a workgroup.
        lanes: u32,
    },
    /// `matmul_outer`: an inner axis of at most four.
    Outer,
    /// `matmul_tall`: 4 by 4 elements a workgroup, a long inner axis.
    Tall,
}

impl fmt::Display for Candidate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [rows, columns] = self.tile();
        match self {
            Candidate::Subgroup { images, .. } => {
                let images = if *images { "_images" } else { "" };
                write!(f, "matmul_subgroup{images} {rows}x{columns}")
            }
            Candidate::Tiled { blocks, .. } => {
                let [down, across] = blocks.map(|b| 4 * b);
                write!(f, "matmul_tiled {rows}x{columns} by {down}x{across}")
            }
            Candidate::Cooperative { depth, .. } => {
                write!(f, "matmul_cooperative {rows}x{columns}x{depth}")
            }
            _ => f.write_str(self.entry()),
        }
    }
}

impl Candidate {
    /// The kernel's entry point.
    pub fn entry(&self) -> &'static str {
        match self {
            Candidate::Subgroup { .. } => "matmul_subgroup",
            Candidate::Tiled { .. } => "matmul_tiled",
            Candidate::Cooperative { .. } => "matmul_cooperative",
            Candidate::Small => "matmul_16",
            Candidate::Rows => "matmul_rows",
            Candidate::Vector { .. } => "matmul_vector",
            Candidate::Outer => "matmul_outer",
            Candidate::Tall => "matmul_tall",
        }
    }

    /// Rows and columns of the tile that a workgroup owns. (`matmul_rows` owns
    /// whole rows.)
    pub fn tile(&self) -> [usize; 2] {
        let [rows, columns] = match *self {
            Candidate::Subgroup {
                lanes,
                row_blocks,
                column_blocks,
                ..
            } => [4 * lanes * row_blocks, 4 * lanes * column_blocks],
            Candidate::Tiled { lanes, blocks } => [0, 1].map(|i| 4 * lanes[i] * blocks[i]),
            Candidate::Cooperative {
                subgroups, blocks, ..
            } => [0, 1].map(|i| 16 * subgroups[i] * blocks[i]),
            Candidate::Small => [16, 16],
            Candidate::Rows => [64, 4],
            Candidate::Vector { lanes } => [4 * lanes, 1],
            Candidate::Outer => [32, 32],
            Candidate::Tall => [4, 4],
        };
        [rows as usize, columns as usize]
    }

    /// Whether the thinner operand must come second: the product is then
    /// computed as its transpose.
    pub(super) fn thin(&self) -> bool {
        matches!(
            self,
            Candidate::Rows | Candidate::Tall | Candidate::Vector { .. }
        )
    }

    /// Bytes of workgroup memory that the slices of a tiled kernel take, if it keeps
    /// one of each operand: lines of 17 vectors for each four rows and columns.
    pub(super) fn slice_bytes(&self) -> u32 {
        let [rows, columns] = self.tile().map(|size| size as u32);
        17 * 4 * (rows + columns)
    }

    /// Whether `target` can run it.
    fn runs_on(&self, target: &Target) -> bool {
        match *self {
            Candidate::Subgroup { .. } => true, // made only for a known subgroup size
            Candidate::Tiled { lanes, .. } => {
                target.workgroup_invocations >= lanes[0] * lanes[1]
                    && target.workgroup_bytes >= self.slice_bytes()
            }
            Candidate::Cooperative {
                subgroups, depth, ..
            } => {
                let [rows, columns] = self.tile().map(|size| size as u32);
                let subgroups = subgroups[0] * subgroups[1];
                // Slices with two vectors after each line, at most where lines are along
                // the inner axis, and a block of C for each subgroup.
                let bytes = 8 * (depth / 4 + 2) * (rows + columns) + 1024 * subgroups;
                target.matrix_units
                    && target.workgroup_invocations >= 32 * subgroups
                    && target.workgroup_bytes >= bytes
            }
            Candidate::Small => target.workgroup_invocations >= 256,
            Candidate::Rows | Candidate::Tall | Candidate::Vector { .. } | Candidate::Outer => true,
        }
    }
}

/// The multiplications from which on operands are read as images.
const IMAGES_FROM: usize = 1 << 24;

/// The kernels that can solve the problem on `target`, the one to take unless
/// measurement says otherwise first.
pub fn candidates(problem: &Problem, target: &Target) -> Vec<Candidate> {
    let &Problem { m, n, k, .. } = problem;
    let (thin, other) = (m.min(n), m.max(n));
    let mut list = Vec::new();
    let mut add = |candidate: Candidate| {
        if candidate.runs_on(target) && !list.contains(&candidate) {
            list.push(candidate);
        }
    };
    // A driver in software has no fast memory to share among many invocations,
    // and its barriers are dear; but its subgroup is a vector register.
    let vector = match target.subgroup_size {
        Some(lanes @ (4 | 8)) if target.software => Some(lanes),
        _ => None,
    };
    // Tiles would be nearly empty. A tree where the inner axis is long and
    // there are too few outputs to keep all cores busy, else a row each. Tiles
    // of a subgroup are worth it from 5 rows on (10x64x1024 on lavapipe: 0.36
    // ms, the tree 1.5 ms).
    let tall = thin <= 16 && other <= 64 && k >= 256;
    if tall && (thin <= 4 || vector.is_none()) {
        add(Candidate::Tall);
    }
    if let Some(lanes) = vector
        && thin == 1
        && k > 0
        && in_fours(problem)
    {
        add(Candidate::Vector { lanes });
    }
    if thin <= 4 {
        add(Candidate::Rows);
    }
    if vector.is_some() && (1..=4).contains(&k) && thin > 4 {
        add(Candidate::Outer);
    }
    if let Some(lanes) = vector {
        // Images are read in half of the time, but what was computed has to be
        // copied first, which small products do not make good.
        let large = m.saturating_mul(n).saturating_mul(k) >= IMAGES_FROM;
        if target.image_side.is_some() && large {
            add(Candidate::Subgroup {
                lanes,
                row_blocks: 1,
                column_blocks: 1,
                images: true,
            });
        }
        // The smallest tile is as fast as larger ones to within a few percent
        // and is compiled in half of the time; but not where B is large and is
        // read across its lines: lines 4 KiB apart share a few places of the
        // caches, and a tile of twice the width reads half as many pieces.
        let across = !problem.transpose_b && n >= 1024 && m.min(k) >= 256;
        let shapes = if across {
            [(1, 2), (1, 1), (2, 1)]
        } else {
            [(1, 1), (1, 2), (2, 1)]
        };
        for (row_blocks, column_blocks) in shapes {
            add(Candidate::Subgroup {
                lanes,
                row_blocks,
                column_blocks,
                images: false,
            });
            if target.image_side.is_some() {
                add(Candidate::Subgroup {
                    lanes,
                    row_blocks,
                    column_blocks,
                    images: true,
                });
            }
        }
    }
    if tall {
        add(Candidate::Tall);
    }
    if thin <= 16 {
        add(Candidate::Small);
    }
    if problem.precision == Precision::F16Units && units_fit(problem) {
        for candidate in units(m, n) {
            add(candidate);
        }
    }
    for candidate in tiles(m, n) {
        // Two forms of one tile are for GPUs to choose from.
        if !target.software || candidate != SQUARE {
            add(candidate);
        }
    }
    add(Candidate::Small);
    without_quarantined(list, target)
}

/// A device on which every kernel is wrong has nothing better than the first;
/// the checks of its values will say so.
fn without_quarantined(list: Vec<Candidate>, target: &Target) -> Vec<Candidate> {
    let good = |c: &&Candidate| !target.quarantined.contains(&c.to_string());
    match target.quarantined.is_empty() || !list.iter().any(|c| good(&c)) {
        true => list,
        false => list.iter().filter(good).copied().collect(),
    }
}

/// Whether a matrix and a vector can both be read in fours.
fn in_fours(problem: &Problem) -> bool {
    let &Problem { m, n, k, .. } = problem;
    let line = match n {
        1 if problem.transpose_a => m,
        1 => k,
        _ if problem.transpose_b => k,
        _ => n,
    };
    line.is_multiple_of(4) && k.is_multiple_of(4)
}

/// A tile of 64 by 64 with few invocations and much to do for each.
const SQUARE: Candidate = Candidate::Tiled {
    lanes: [8, 8],
    blocks: [2, 2],
};

/// Tiles from which on each core of a large GPU has one.
const ENOUGH_TILES: usize = 128;

/// Tiles of `matmul_tiled`, the default first. A large tile reads less from
/// memory for each product and keeps its core busier, but a few of them leave
/// most of a GPU idle (an H200 at 1024^3: 64 tiles of 128x128 0.098 ms, 128 of
/// 128x64 0.104, 256 of 64x64 by 8x8 0.081, by 4x4 0.098).
fn tiles(m: usize, n: usize) -> [Candidate; 4] {
    let tile = |lanes, blocks| Candidate::Tiled { lanes, blocks };
    let small = tile([16, 16], [1, 1]);
    let large = tile([16, 8], [2, 2]);
    let largest = tile([16, 16], [2, 2]);
    let count = |size| m.div_ceil(size) * n.div_ceil(size);
    if count(128) >= ENOUGH_TILES {
        [largest, large, SQUARE, small]
    } else if count(64) >= ENOUGH_TILES {
        [SQUARE, small, largest, large]
    } else {
        [small, SQUARE, large, largest]
    }
}

/// Whether matrix units have enough to do for their kernel to be offered, whatever
/// the target: half of a unit's block in each direction.
pub(super) fn units_fit(problem: &Problem) -> bool {
    let &Problem { m, n, k, .. } = problem;
    m.min(n) >= 8 && k >= 8
}

/// Tiles of `matmul_cooperative`, the default first, as in [`tiles`]. (An H200 at
/// 1024^3, nt and tn: 64x64x32 0.064 and 0.060 ms, 128x128x32 0.072 and 0.064,
/// 128x128x64 0.130 and 0.109.)
fn units(m: usize, n: usize) -> [Candidate; 4] {
    let small = |depth| Candidate::Cooperative {
        subgroups: [2, 2],
        blocks: [2, 2],
        depth,
    };
    let large = |depth| Candidate::Cooperative {
        subgroups: [2, 4],
        blocks: [4, 2],
        depth,
    };
    match m.div_ceil(128) * n.div_ceil(128) >= ENOUGH_TILES {
        true => [large(32), large(64), small(32), small(64)],
        false => [small(32), small(64), large(32), large(64)],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn problem(m: usize, n: usize, k: usize) -> Problem {
        Problem {
            m,
            n,
            k,
            transpose_a: false,
            transpose_b: true,
            precision: Precision::F32,
        }
    }

    fn first(m: usize, n: usize, k: usize, target: &Target) -> String {
        candidates(&problem(m, n, k), target)[0].to_string()
    }

    #[test]
    fn the_choice_by_size_and_target() {
        let gpu = Target::default();
        let lavapipe = Target {
            software: true,
            subgroup_size: Some(8),
            ..Target::default()
        };
        let few = Target {
            workgroup_invocations: 128,
            ..lavapipe.clone()
        };
        for (m, n, k, on_gpu, in_software) in [
            (
                1024,
                1024,
                1024,
                "matmul_tiled 64x64 by 8x8",
                "matmul_subgroup 32x32",
            ),
            (
                256,
                512,
                784,
                "matmul_tiled 64x64 by 4x4",
                "matmul_subgroup 32x32",
            ),
            (1, 1, 1, "matmul_rows", "matmul_rows"),
            (65_536, 2, 4, "matmul_rows", "matmul_rows"),
            (4, 2, 65_536, "matmul_tall", "matmul_tall"),
            (10, 100, 300, "matmul_16", "matmul_subgroup 32x32"),
            (10, 64, 1024, "matmul_tall", "matmul_subgroup 32x32"),
            (256, 1, 256, "matmul_rows", "matmul_vector"),
            (1, 256, 256, "matmul_rows", "matmul_vector"),
            (256, 1, 254, "matmul_rows", "matmul_rows"),
            (256, 256, 1, "matmul_tiled 64x64 by 4x4", "matmul_outer"),
            (4, 256, 1, "matmul_rows", "matmul_rows"),
        ] {
            assert_eq!(first(m, n, k, &gpu), on_gpu, "{m} {n} {k}");
            assert_eq!(first(m, n, k, &lavapipe), in_software, "{m} {n} {k}");
            assert_eq!(first(m, n, k, &few), in_software, "{m} {n} {k}");
        }
        let across = Problem {
            transpose_b: false,
            ..problem(1024, 1024, 1024)
        };
        let wide = candidates(&across, &lavapipe)[0].to_string();
        assert_eq!(wide, "matmul_subgroup 32x64");
        let images = Target {
            image_side: Some(16_384),
            ..lavapipe
        };
        let quick = "matmul_subgroup_images 32x32";
        assert_eq!(candidates(&across, &images)[0].to_string(), quick);
        assert_eq!(first(256, 512, 784, &images), quick);
        // A copy of the operands costs more than it saves.
        assert_eq!(first(64, 64, 64, &images), "matmul_subgroup 32x32");
        assert_eq!(across.to_string(), "matmul 1024x1024x1024 nn");
    }

    #[test]
    fn matrix_units_are_for_rounded_products_that_may_use_them() {
        let with_units = Target {
            subgroup_size: Some(32),
            workgroup_bytes: 48 << 10,
            matrix_units: true,
            ..Target::default()
        };
        let few_bytes = Target {
            workgroup_bytes: 16 << 10,
            ..with_units.clone()
        };
        let all = |[m, n, k]: [usize; 3], precision, target: &Target| -> Vec<String> {
            let problem = Problem {
                precision,
                ..problem(m, n, k)
            };
            let all = candidates(&problem, target);
            all.iter().map(Candidate::to_string).collect()
        };
        let large = [1024, 1024, 1024];
        let middle = [256, 512, 784];
        let names = all(large, Precision::F16Units, &with_units);
        assert_eq!(names[0], "matmul_cooperative 64x64x32");
        let names = all([2048; 3], Precision::F16Units, &with_units);
        assert_eq!(names[0], "matmul_cooperative 128x128x32");
        let names = all(middle, Precision::F16Units, &with_units);
        assert_eq!(names[0], "matmul_cooperative 64x64x32");
        let names = all(large, Precision::F16Units, &few_bytes);
        assert_eq!(names[0], "matmul_cooperative 64x64x32");
        assert!(!names[1..].iter().any(|name| name.contains("cooperative")));
        // The bound of the others says nothing of units.
        for (sizes, precision, target) in [
            (large, Precision::F16, &with_units),
            (large, Precision::F32, &with_units),
            (large, Precision::F16Units, &Target::default()),
            ([7, 512, 784], Precision::F16Units, &with_units),
            ([256, 512, 7], Precision::F16Units, &with_units),
        ] {
            let names = all(sizes, precision, target);
            let plain = all(sizes, Precision::F32, target);
            assert_eq!(names, plain, "{sizes:?} {precision}");
        }
    }

    #[test]
    fn what_is_in_quarantine_is_not_offered_while_there_is_another() {
        let mut target = Target::default();
        let all = candidates(&problem(256, 512, 784), &target);
        assert!(all.len() > 2);
        target.quarantined = [all[0].to_string()].into();
        assert_eq!(candidates(&problem(256, 512, 784), &target), all[1..]);
        target.quarantined = all.iter().map(Candidate::to_string).collect();
        assert_eq!(candidates(&problem(256, 512, 784), &target), all);
    }

    #[test]
    fn every_target_has_a_kernel_for_every_size() {
        let wide = Target {
            subgroup_size: Some(32),
            ..Target::default()
        };
        for target in [Target::default(), wide] {
            for m in [0, 1, 4, 5, 16, 17, 64, 65, 5000] {
                for n in [0, 1, 4, 5, 16, 17, 64, 65, 5000] {
                    for k in [0, 1, 255, 256, 100_000] {
                        assert!(!candidates(&problem(m, n, k), &target).is_empty());
                    }
                }
            }
        }
    }
}
