//! Every kernel for matrix products that the adapter may be given, each forced,
//! around the edges of its tiles; and sums and products that are longer than
//! drivers let a loop or a grid be.

use super::run::{Subject, Way};
use super::values::{Filling, Random};
use super::{Examiner, Section};
use crate::error::Result;
use crate::graph::{Graph, Sample, Target};
use crate::ops::matmul::{Problem, candidates};
use crate::run::Feeds;

type Sizes = ([usize; 3], &'static [usize]);

/// Rows, columns and inner size, and batch axes of A.
const SIZES: [Sizes; 16] = [
    ([1, 1, 1], &[]),
    ([3, 70, 5], &[]),
    ([31, 32, 33], &[]),
    ([65, 63, 66], &[]),
    ([36, 40, 1], &[]),
    ([33, 70, 3], &[]),
    ([40, 1, 132], &[]),
    ([1, 36, 68], &[]),
    ([5, 6, 300], &[]),
    ([20, 24, 0], &[]),
    ([68, 72, 44], &[]),
    ([129, 136, 20], &[]),
    ([33, 36, 8], &[3]),
    ([3, 9, 260], &[2, 1]),
    ([33, 20, 4097], &[]),
    ([3, 40, 9001], &[]),
];

/// Of these, what a short card has.
const QUICK: usize = 4;

/// Of these, what is tried with a bias added to either operand and a bias and a ReLU
/// behind, all in the product's kernel: the first so many, of a short card one.
const FUSED: usize = 4;
const FUSED_QUICK: usize = 2;

/// Just above 65,535: the longest loop that some drivers run, and the widest
/// grid.
const LONG: usize = 65_537;

const TURNS: [[bool; 2]; 4] = [[false, false], [false, true], [true, false], [true, true]];

pub(super) fn examine(examiner: &mut Examiner<'_>) -> Result<Section> {
    let mut section = Section::new(
        "kernels",
        "every kernel that this adapter may take for a product, and the longest sums",
    );
    let mut random = Random::new(2);
    if examiner.wants("matmul") {
        examiner.progress("kernels for products of matrices");
        let quick = examiner.options.quick;
        let sizes = &SIZES[..if quick { QUICK } else { SIZES.len() }];
        for (i, &(sizes, batch)) in sizes.iter().enumerate() {
            for (k, turn) in TURNS.into_iter().enumerate() {
                // A short card turns each product in one way.
                if !quick || k == (i + 1) % TURNS.len() {
                    let fused = if quick { i == FUSED_QUICK } else { i < FUSED };
                    for fused in [false, true].into_iter().take(1 + usize::from(fused)) {
                        let case = Case {
                            sizes,
                            batch,
                            turn,
                            fused,
                        };
                        each_kernel(examiner, &mut section, &case, &mut random)?;
                    }
                }
            }
        }
    }
    if !examiner.options.quick {
        examiner.progress("sums and products over 65,537 terms");
        for (name, part, sample) in long() {
            if examiner.wants(name) {
                one(examiner, &mut section, (name, part), &sample, &mut random)?;
            }
        }
    }
    Ok(section)
}

/// A product: sizes, batch axes of A, which operands are transposed, and whether
/// there are ops before and behind it.
struct Case<'a> {
    sizes: [usize; 3],
    batch: &'a [usize],
    turn: [bool; 2],
    fused: bool,
}

fn each_kernel(
    examiner: &Examiner<'_>,
    section: &mut Section,
    case: &Case<'_>,
    random: &mut Random,
) -> Result<()> {
    let ([m, n, k], batch) = (case.sizes, case.batch);
    let [transpose_a, transpose_b] = case.turn;
    let a = [batch, &if transpose_a { [k, m] } else { [m, k] }].concat();
    let b = if transpose_b { [n, k] } else { [k, n] };
    let mut graph = Graph::with_precision(examiner.options.precision);
    let mut feeds = Feeds::new();
    let mut leaf = |graph: &mut Graph, dims: &[usize]| {
        let label = format!("x{}", feeds.len());
        feeds.insert(label.clone(), random.tensor(dims, (-1.0, 1.0))?);
        graph.input(&label, dims)
    };
    let mut x = leaf(&mut graph, &a)?;
    let mut y = leaf(&mut graph, &b)?;
    if case.fused {
        let before = [
            leaf(&mut graph, &a[a.len() - 1..])?,
            leaf(&mut graph, &b[1..])?,
        ];
        x = graph.add(x, before[0])?;
        y = graph.add(y, before[1])?;
    }
    let mut c = graph.matmul_with(x, y, transpose_a, transpose_b)?;
    if case.fused {
        let behind = leaf(&mut graph, &[n])?;
        c = graph.add(c, behind)?;
        c = graph.relu(c)?;
    }
    let problem = Problem {
        m,
        n,
        k,
        transpose_a,
        transpose_b,
        precision: graph.precision(),
    };
    for candidate in candidates(&problem, examiner.gpu.target()) {
        let target = Target {
            choices: [("matmul".to_string(), candidate.to_string())].into(),
            ..examiner.gpu.target().clone()
        };
        let subject = Subject {
            name: "matmul",
            graph: &graph,
            parts: &[(candidate.to_string(), c)],
            feeds: &feeds,
            target: &target,
            what: &format!(
                "{problem}, batch {batch:?}{}",
                if case.fused { ", biases, ReLU" } else { "" }
            ),
            memory: true,
        };
        let way = if case.fused { Way::Fused } else { Way::Each };
        examiner.judge(&subject, &[way], section)?;
    }
    Ok(())
}

/// Sums, products and batches of [`LONG`].
fn long() -> Vec<(&'static str, &'static str, Sample)> {
    let range = [(-1.0, 1.0); 2];
    let sample = |build: crate::graph::Builder, shapes: Vec<Vec<usize>>| Sample {
        build,
        edges: vec![vec![1.0]; shapes.len()],
        ranges: range[..shapes.len()].to_vec(),
        shapes,
    };
    let mut all = Vec::new();
    for (dims, axis) in [
        (vec![LONG], 0),
        (vec![LONG, 3], 0),
        (vec![LONG + 3, 4], 0),
        (vec![3, LONG], 1),
        (vec![4, LONG + 3], 1),
        (vec![LONG, 3], 1),
    ] {
        let build: crate::graph::Builder = Box::new(move |g, x| g.sum(x[0], &[axis]));
        all.push(("sum", "65,537 terms or rows", sample(build, vec![dims])));
    }
    for (a, b, part) in [
        (vec![1, LONG], vec![LONG, 1], "an inner size of 65,537"),
        (vec![5, LONG], vec![LONG, 6], "an inner size of 65,537"),
        (vec![LONG, 2, 3], vec![3, 2], "a batch of 65,537"),
        (vec![LONG, 3], vec![3, 2], "65,537 rows"),
    ] {
        let build: crate::graph::Builder = Box::new(|g, x| g.matmul(x[0], x[1]));
        all.push(("matmul", part, sample(build, vec![a, b])));
    }
    all
}

fn one(
    examiner: &Examiner<'_>,
    section: &mut Section,
    (name, part): (&str, &str),
    sample: &Sample,
    random: &mut Random,
) -> Result<()> {
    let built = super::ops::Built::new(sample, examiner.options.precision)?;
    for filling in [Filling::Random, Filling::Swamped] {
        let feeds = filling.feeds(sample, random)?;
        let subject = Subject {
            name,
            graph: &built.graph,
            parts: &[(part.to_string(), built.output)],
            feeds: &feeds,
            target: examiner.gpu.target(),
            what: &format!("{:?}, {}", sample.shapes, filling.name()),
            memory: filling == Filling::Random,
        };
        examiner.judge(&subject, &[Way::Each], section)?;
    }
    Ok(())
}
