//! Every kernel for matrix products, each forced, at sizes around the edges of
//! its tiles: within the bounds of the reference, and the same bits each time.

mod common;

use common::{Random, gpu};
use wgrad::check::compare;
use wgrad::graph::{Precision, Target};
use wgrad::ops::matmul::{Candidate, Problem, candidates};
use wgrad::plan::{Plan, PlanOptions};
use wgrad::run::cpu;
use wgrad::{Feeds, Graph};

/// A product, its operands' batch axes, and whether they are transposed.
struct Case {
    sizes: [usize; 3],
    batch: [&'static [usize]; 2],
    transpose: [bool; 2],
}

impl Case {
    fn problem(&self) -> Problem {
        let [m, n, k] = self.sizes;
        let [transpose_a, transpose_b] = self.transpose;
        Problem {
            m,
            n,
            k,
            transpose_a,
            transpose_b,
            precision: Precision::F32,
        }
    }

    fn graph(&self) -> (Graph, wgrad::NodeId, [Vec<usize>; 2]) {
        let [m, n, k] = self.sizes;
        let [ta, tb] = self.transpose;
        let a = [self.batch[0], &if ta { [k, m] } else { [m, k] }].concat();
        let b = [self.batch[1], &if tb { [n, k] } else { [k, n] }].concat();
        let mut g = Graph::new();
        let x = g.input("a", &a).unwrap();
        let y = g.input("b", &b).unwrap();
        let c = g.matmul_with(x, y, ta, tb).unwrap();
        (g, c, [a, b])
    }
}

/// The device's own target, and the others that it can run kernels of.
fn targets() -> Vec<Target> {
    let own = gpu().target().clone();
    [false, true]
        .map(|software| Target {
            software,
            ..own.clone()
        })
        .to_vec()
}

/// The larger tiles: the same lines as the smaller, more often; they take long
/// to compile on a driver in software.
const LARGE: [&str; 5] = [
    "64x32",
    "32x64",
    "64x64 by 8x8",
    "128x64 by 8x8",
    "128x128 by 8x8",
];

/// Runs the case with every kernel that is offered for it; those with large
/// tiles only if asked for.
fn try_all(case: &Case, large: bool, random: &mut Random, seen: &mut Vec<String>) {
    let (g, c, [a, b]) = case.graph();
    let feeds = Feeds::from([
        ("a".to_string(), random.tensor(&a, (-1.0, 1.0))),
        ("b".to_string(), random.tensor(&b, (-1.0, 1.0))),
    ]);
    let reference = cpu::evaluate(&g, &feeds, &[c]).unwrap();
    for mut target in targets() {
        for candidate in candidates(&case.problem(), &target) {
            let name = candidate.to_string();
            if !large && LARGE.iter().any(|tile| name.ends_with(tile)) {
                continue;
            }
            target.choices = [("matmul".to_string(), name.clone())].into();
            // Fused, an inner size of 1 is elementwise.
            let options = PlanOptions {
                fuse: false,
                ..PlanOptions::default()
            };
            let plan = Plan::with_options(&g, &[c], &target, &options).unwrap();
            assert_eq!(plan.kernels[0].label, candidate.entry());
            let mut program = pollster::block_on(gpu().compile_plan(plan)).unwrap();
            program.set_all(&feeds).unwrap();
            let first = program.run().unwrap().get(c).unwrap().clone();
            let got = compare("c", &first, reference.get(c).unwrap()).unwrap();
            let what = format!(
                "{name} of {:?} {:?} {:?}",
                case.sizes, case.batch, case.transpose
            );
            assert!(got.passed(), "{what}: {got:#?}");
            let second = program.run().unwrap().get(c).unwrap().clone();
            let bits =
                |t: &wgrad::Tensor| -> Vec<u32> { t.data().iter().map(|v| v.to_bits()).collect() };
            assert_eq!(bits(&first), bits(&second), "{what}: other bits");
            if !seen.contains(&name) {
                seen.push(name);
            }
        }
    }
}

const TURNS: [[bool; 2]; 4] = [[false, false], [false, true], [true, false], [true, true]];

#[test]
fn every_kernel_at_the_edges_of_its_tiles() {
    let mut random = Random::new(31);
    let mut seen = Vec::new();
    for (sizes, large) in [
        ([1, 1, 1], false),
        ([3, 70, 5], false),
        ([31, 32, 33], false),
        ([36, 64, 64], true),
        ([65, 63, 66], false),
        ([132, 127, 65], true),
        ([129, 136, 20], false),
        ([5, 6, 300], false),
        ([20, 24, 0], false),
        // Operands of several rows of an image, the last of them ragged.
        ([68, 72, 44], false),
        ([40, 516, 36], false),
        // A vector, and a short inner axis.
        ([40, 1, 132], false),
        ([1, 36, 68], false),
        ([1, 1, 64], false),
        ([36, 40, 1], false),
        ([33, 70, 3], false),
        ([6, 5, 4], false),
    ] {
        for transpose in TURNS {
            let case = Case {
                sizes,
                batch: [&[], &[]],
                transpose,
            };
            try_all(&case, large, &mut random, &mut seen);
        }
    }
    for kernel in [
        "matmul_tiled 64x64 by 4x4",
        "matmul_tiled 64x64 by 8x8",
        "matmul_tiled 128x64 by 8x8",
        "matmul_tiled 128x128 by 8x8",
    ]
    .into_iter()
    .chain(["matmul_16", "matmul_rows", "matmul_tall"])
    {
        assert!(seen.iter().any(|s| s == kernel), "{kernel} was not run");
    }
    if matches!(gpu().target().subgroup_size, Some(4 | 8)) {
        let count = seen.iter().filter(|s| s.contains("subgroup")).count();
        let kinds = 1 + usize::from(gpu().target().image_side.is_some());
        assert_eq!(count, 3 * kinds, "{seen:?}");
        for kernel in ["matmul_vector", "matmul_outer"] {
            assert!(seen.iter().any(|s| s == kernel), "{kernel} was not run");
        }
    } else {
        eprintln!("skipped matmul_subgroup: no subgroups of 4 or 8 on this adapter");
    }
}

#[test]
fn every_kernel_over_broadcast_batches() {
    let mut random = Random::new(32);
    let mut seen = Vec::new();
    let batches: [[&'static [usize]; 2]; 3] = [[&[3], &[]], [&[], &[2]], [&[2, 1], &[3]]];
    for (batch, transpose) in batches.into_iter().zip([TURNS[0], TURNS[1], TURNS[2]]) {
        for sizes in [
            [33, 36, 8],
            [35, 33, 7],
            [3, 9, 260],
            [8, 1, 12],
            [1, 12, 8],
            [7, 8, 2],
        ] {
            let case = Case {
                sizes,
                batch,
                transpose,
            };
            try_all(&case, false, &mut random, &mut seen);
        }
    }
}

/// Parts of the inner axis, with a last one that is shorter.
#[test]
fn every_kernel_with_a_long_inner_axis() {
    let mut random = Random::new(33);
    let mut seen = Vec::new();
    for (sizes, transpose) in [
        ([33, 20, 4097], TURNS[0]),
        ([33, 20, 8200], TURNS[2]),
        ([3, 40, 9001], TURNS[1]),
        ([12, 1, 8200], TURNS[0]),
        ([1, 8, 4100], TURNS[0]),
    ] {
        let case = Case {
            sizes,
            batch: [&[], &[]],
            transpose,
        };
        try_all(&case, false, &mut random, &mut seen);
    }
}

/// Where workgroup memory has room for one slice of each operand only, two barriers a
/// slice keep them apart.
#[test]
fn tiles_with_room_for_one_slice_or_for_two() {
    let mut random = Random::new(34);
    for (sizes, transpose) in [([65, 63, 66], TURNS[1]), ([33, 20, 4097], TURNS[2])] {
        let case = Case {
            sizes,
            batch: [&[], &[]],
            transpose,
        };
        let (g, c, [a, b]) = case.graph();
        let feeds = Feeds::from([
            ("a".to_string(), random.tensor(&a, (-1.0, 1.0))),
            ("b".to_string(), random.tensor(&b, (-1.0, 1.0))),
        ]);
        let reference = cpu::evaluate(&g, &feeds, &[c]).unwrap();
        for (bytes, barriers) in [(16 << 10, 2), (32 << 10, 1)] {
            if bytes > gpu().target().workgroup_bytes {
                eprintln!("skipped two slices: workgroups have less than {bytes} bytes here");
                continue;
            }
            let name = "matmul_tiled 64x64 by 4x4".to_string();
            let target = Target {
                workgroup_bytes: bytes,
                choices: [("matmul".to_string(), name)].into(),
                ..Target::default()
            };
            let plan = Plan::with_target(&g, &[c], &target).unwrap();
            let source = &plan.kernels[0].source;
            assert_eq!(source.matches("workgroupBarrier();").count(), barriers);
            let mut program = pollster::block_on(gpu().compile_plan(plan)).unwrap();
            program.set_all(&feeds).unwrap();
            for _ in 0..2 {
                let run = program.run().unwrap();
                let got = compare("c", run.get(c).unwrap(), reference.get(c).unwrap()).unwrap();
                assert!(got.passed(), "{bytes} bytes, {sizes:?}: {got:#?}");
            }
        }
    }
}

/// What is not offered for a problem is not taken, whoever asks for it.
#[test]
fn a_choice_that_does_not_fit_is_not_taken() {
    let case = Case {
        sizes: [40, 50, 60],
        batch: [&[], &[]],
        transpose: TURNS[0],
    };
    let (g, c, _) = case.graph();
    let label = |choices: &[(&str, &str)]| {
        let list = choices.iter();
        let target = Target {
            choices: list.map(|(k, v)| (k.to_string(), v.to_string())).collect(),
            ..Target::default()
        };
        let plan = Plan::with_target(&g, &[c], &target).unwrap();
        plan.kernels[0].label.clone()
    };
    let first = candidates(&case.problem(), &Target::default())[0];
    assert!(matches!(first, Candidate::Tiled { .. }));
    assert_eq!(label(&[]), "matmul_tiled");
    assert_eq!(label(&[("matmul", "matmul_rows")]), "matmul_tiled");
    assert_eq!(
        label(&[("matmul", "matmul_subgroup 32x32")]),
        "matmul_tiled"
    );
    assert_eq!(label(&[("matmul 40x50x60 nn", "matmul_16")]), "matmul_16");
    assert_eq!(
        label(&[("matmul 40x50x60 nt", "matmul_16")]),
        "matmul_tiled"
    );
}
