//! Batches in sub-batches: the values of the whole batch, however it is cut. Values
//! by row keep their bits where the same kernels compute them; sums over the rows
//! are within the bounds, which are those of the whole batch and half a ULP.

mod common;

use common::{Random, gpu};
use wgrad::batches::{self, Cut, Joined, Split};
use wgrad::nn::{Loss, Network};
use wgrad::run::cpu;
use wgrad::solution::{self, Detail, Prepared, Problem, Solution, solve, solve_cut, solve_telling};
use wgrad::{Error, Feeds, Gpu, GpuOptions, Graph, NodeId, Tensor, gradient};

const SMALL: &str = "Sequential(Linear(4, 2), ReLU(), Linear(2, 1), Sigmoid())";
const MIDDLE: &str = "Sequential(Linear(20, 33), ReLU(), Linear(33, 3), Sigmoid())";
const WIDE: &str = "Sequential(Linear(200, 40), ReLU(), Linear(40, 1))";

const CHECKED: Detail = Detail {
    every_step: false,
    check: true,
};

fn problem(net: &str, loss: &str, input: &[usize], outputs: usize) -> Prepared {
    let mut random = Random::new(77);
    let network = Network::parse(net).unwrap();
    let mut target = input.to_vec();
    *target.last_mut().unwrap() = outputs;
    let problem = Problem {
        loss: Loss::parse(loss).unwrap(),
        weights: network.init(5).unwrap(),
        network,
        input: random.tensor(input, (-2.0, 2.0)),
        target: random.tensor(&target, (0.0, 1.0)),
    };
    problem.prepare().unwrap()
}

fn cut(sizes: &[usize]) -> Option<Cut> {
    Some(Cut {
        sizes: sizes.to_vec(),
        reason: "a test asks for it".to_string(),
    })
}

fn solved(prepared: &Prepared, gpu: Option<&Gpu>, sizes: &[usize]) -> Solution {
    let detail = CHECKED;
    pollster::block_on(solve_cut(prepared, gpu, detail, cut(sizes))).unwrap()
}

fn whole(prepared: &Prepared, gpu: Option<&Gpu>) -> Solution {
    let solution = pollster::block_on(solve(prepared, gpu, CHECKED)).unwrap();
    assert!(solution.cut.is_none());
    solution
}

#[test]
fn how_far_it_is_is_told_after_each_sub_batch() {
    let prepared = problem(SMALL, "BCELoss", &[12, 4], 1);
    for gpu in [Some(gpu()), None] {
        let mut told = Vec::new();
        let mut tell = |done, of| told.push((done, of));
        let sizes = cut(&[5, 5, 2]);
        let solving = solve_telling(&prepared, gpu, CHECKED, sizes, &mut tell);
        pollster::block_on(solving).unwrap();
        assert_eq!(told, [(5, 12), (10, 12), (12, 12)]);
    }
}

/// 1, 2, 3 and many sub-batches, even and uneven, of one row, too.
fn cuts(rows: usize) -> [Vec<usize>; 5] {
    let mut many = vec![1, 7, 64, 3, 130];
    let rest = rows - many.iter().sum::<usize>();
    many.push(rest - 1);
    many.push(1);
    [
        vec![rows],
        vec![rows / 2, rows - rows / 2],
        vec![64, rows - 65, 1],
        many,
        vec![1; rows],
    ]
}

/// How many values by row have the very bits of the whole batch's, and how many not.
struct Bits {
    same: usize,
    other: usize,
}

/// Holds a split run against one of the whole batch.
fn agree(prepared: &Prepared, split: &Solution, whole: &Solution) -> Bits {
    let how = Split::new(
        &prepared.graph,
        &whole.steps.iter().map(|s| s.node).collect::<Vec<_>>(),
        &["input", "target"],
    )
    .unwrap();
    assert!(split.passed(), "{:?}", split.cut);
    assert_eq!(split.steps.len(), whole.steps.len());
    assert_eq!(split.named.len(), whole.named.len());
    let mut bits = Bits { same: 0, other: 0 };
    for (a, b) in split.steps.iter().zip(&whole.steps) {
        assert_eq!((a.node, &a.label, &a.rule), (b.node, &b.label, &b.rule));
        assert_eq!(a.value.shape(), b.value.shape());
        let (Some(of_split), Some(of_whole)) = (&a.comparison, &b.comparison) else {
            panic!("`{}` was not compared", a.label);
        };
        assert_eq!(of_split.elements, of_whole.elements, "{}", a.label);
        assert_eq!(a.local.as_ref().unwrap().elements, of_whole.elements);
        let total = how.joined(a.node) == Joined::Total;
        if !total {
            for (x, y) in a.value.data().iter().zip(b.value.data()) {
                match x.to_bits() == y.to_bits() {
                    true => bits.same += 1,
                    false => bits.other += 1,
                }
            }
        }
        let (Some(x), Some(y)) = (&a.reference, &b.reference) else {
            // Large values by row are compared, and their reference dropped.
            assert!(!total && a.value.data().len() > 10_000, "{}", a.label);
            continue;
        };
        let values = a.value.data().iter().zip(b.value.data());
        let truths = x
            .value
            .iter()
            .zip(&y.value)
            .zip(x.error.iter().zip(&y.error));
        for ((got, want), ((v, w), (e, f))) in values.zip(truths) {
            // The two references are one, but for the order of float64 sums.
            assert!(
                (v - w).abs() <= 1e-12 * w.abs().max(1.0),
                "{}: {v} {w}",
                a.label
            );
            // The bound is no wider than that of the whole batch.
            let half_ulp = 2f64.powi(-24) * v.abs();
            assert!(
                *e <= f * (1.0 + 1e-9) + half_ulp,
                "{}: {e:e} {f:e}",
                a.label
            );
            let apart = (f64::from(*got) - f64::from(*want)).abs();
            assert!(apart <= e + f + half_ulp, "{}: {got} {want}", a.label);
        }
    }
    bits
}

#[test]
fn a_split_batch_has_the_values_of_the_whole() {
    let [one, two, three, many, rows] = cuts(300);
    for (loss, cuts) in [
        ("BCELoss", vec![one, two, many]),
        ("BCELoss(reduction='sum')", vec![three.clone()]),
        ("BCELoss(reduction='none')", vec![three]),
        ("MSELoss", vec![rows]),
    ] {
        let prepared = problem(SMALL, loss, &[300, 4], 1);
        let of_whole = whole(&prepared, Some(gpu()));
        for sizes in cuts {
            let bits = agree(
                &prepared,
                &solved(&prepared, Some(gpu()), &sizes),
                &of_whole,
            );
            assert!(bits.same > 0);
            // Each row is computed by the same expressions of a row program; what a
            // compiler makes of them is the same in drivers in software.
            if gpu().target().software {
                assert_eq!(bits.other, 0, "{loss} {sizes:?}");
            }
        }
    }
}

#[test]
fn wider_networks_and_more_axes() {
    let [_, two, _, many, _] = cuts(300);
    for (net, loss, input, outputs) in [
        (MIDDLE, "BCEWithLogitsLoss", vec![300, 20], 3),
        (MIDDLE, "BCELoss(reduction='sum')", vec![300, 3, 20], 3),
        (WIDE, "MSELoss", vec![300, 200], 1),
    ] {
        let prepared = problem(net, loss, &input, outputs);
        let of_whole = whole(&prepared, Some(gpu()));
        for sizes in [&two, &many] {
            let bits = agree(&prepared, &solved(&prepared, Some(gpu()), sizes), &of_whole);
            eprintln!(
                "{net} {sizes:?}: of the values by row {} have the same bits, {} others",
                bits.same, bits.other
            );
        }
    }
}

#[test]
fn the_reference_alone_runs_in_sub_batches_too() {
    for (loss, sizes) in [
        ("BCELoss", vec![100, 200]),
        ("MSELoss(reduction='none')", vec![299, 1]),
    ] {
        let prepared = problem(SMALL, loss, &[300, 4], 1);
        let (split, of_whole) = (solved(&prepared, None, &sizes), whole(&prepared, None));
        for (a, b) in split.steps.iter().zip(&of_whole.steps) {
            for (x, y) in a.value.data().iter().zip(b.value.data()) {
                assert!(
                    (x - y).abs() <= f32::EPSILON * y.abs(),
                    "{}: {x} {y}",
                    a.label
                );
            }
        }
    }
}

/// `sum(relu(x w^T))` and its gradients.
fn sums(rows: usize) -> (Graph, Vec<NodeId>, Feeds) {
    let mut random = Random::new(3);
    let mut g = Graph::new();
    let x = g.input("x", &[rows, 6]).unwrap();
    let w = g.parameter("w", &[5, 6]).unwrap();
    let h = g.linear(x, w, None).unwrap();
    let h = g.relu(h).unwrap();
    let loss = g.mean_all(h).unwrap();
    let mut outputs = vec![loss, h];
    outputs.extend(gradient(&mut g, loss, &[w, x]).unwrap());
    let feeds = Feeds::from([
        ("x".to_string(), random.tensor(&[rows, 6], (-1.0, 1.0))),
        ("w".to_string(), random.tensor(&[5, 6], (-1.0, 1.0))),
    ]);
    (g, outputs, feeds)
}

#[test]
fn a_graph_runs_in_as_few_sub_batches_as_the_memory_allows() {
    let (g, outputs, feeds) = sums(12_000);
    let truth = cpu::evaluate(&g, &feeds, &outputs).unwrap();
    let mut counts = Vec::new();
    for most in [1 << 30, 800_000, 240_000] {
        let gpu = pollster::block_on(Gpu::open(GpuOptions {
            max_memory: Some(most),
            ..GpuOptions::default()
        }))
        .unwrap();
        let run = pollster::block_on(batches::run(&gpu, &g, &feeds, &outputs, &["x"])).unwrap();
        for &id in &outputs {
            let label = &g.node(id).unwrap().label;
            let c = wgrad::check::compare(label, run.get(id).unwrap(), truth.get(id).unwrap());
            let c = c.unwrap();
            assert!(c.passed(), "{label}: {c:?}");
        }
        counts.push(run.cut.map_or(1, |cut| {
            assert_eq!(cut.rows(), 12_000);
            assert!(
                cut.reason.contains("of memory on the device"),
                "{}",
                cut.reason
            );
            cut.sizes.len()
        }));
    }
    assert!(
        counts[0] == 1 && 1 < counts[1] && counts[1] < counts[2],
        "{counts:?}"
    );
    // Even one row is too much.
    let gpu = pollster::block_on(Gpu::open(GpuOptions {
        max_memory: Some(100),
        ..GpuOptions::default()
    }))
    .unwrap();
    let error = pollster::block_on(batches::run(&gpu, &g, &feeds, &outputs, &["x"])).unwrap_err();
    let Error::Limit(text) = &error else {
        panic!("{error}")
    };
    assert!(text.contains("not even one row fits"), "{text}");
}

/// A graph on `x` of 6 rows and `w` of 6 by 4, which mixes them in some way.
fn refused(build: impl Fn(&mut Graph, NodeId, NodeId) -> wgrad::Result<NodeId>) -> String {
    let mut g = Graph::new();
    let x = g.input("x", &[6, 4]).unwrap();
    let w = g.parameter("w", &[6, 4]).unwrap();
    let out = build(&mut g, x, w).unwrap();
    match Split::new(&g, &[out], &["x"]) {
        Err(Error::Unsupported(text)) => text,
        other => panic!("{other:?}"),
    }
}

#[test]
fn what_mixes_rows_is_refused() {
    for text in [
        // Products of rows with each other.
        refused(|g, x, _| g.matmul_with(x, x, false, true)),
        // Rows along the second axis.
        refused(|g, x, w| g.matmul_with(w, x, false, true)),
        // A weight for each row.
        refused(|g, x, w| g.mul(x, w)),
        refused(|g, x, w| g.matmul_with(x, w, true, false)),
        // Rows in no axis of their own.
        refused(|g, x, _| g.reshape(x, &[4, 6])),
    ] {
        assert!(text.contains("mixes the rows"), "{text}");
    }
    for text in [
        refused(|g, x, _| {
            let sum = g.sum_all(x)?;
            g.sigmoid(sum)
        }),
        // Each row less the mean of all.
        refused(|g, x, _| {
            let mean = g.mean(x, &[0])?;
            g.sub(x, mean)
        }),
        // A penalty counts once and not once a sub-batch.
        refused(|g, x, w| {
            let (sum, penalty) = (g.sum_all(x)?, g.sum_all(w)?);
            g.add(sum, penalty)
        }),
    ] {
        assert!(text.contains("a sum over all rows"), "{text}");
    }
}

#[test]
fn leaves_that_are_no_batch_are_refused() {
    let mut g = Graph::new();
    let x = g.input("x", &[6, 4]).unwrap();
    let y = g.input("y", &[5, 4]).unwrap();
    let c = g.input("c", &[]).unwrap();
    let none = g.input("none", &[0, 4]).unwrap();
    let all = [x, y, c, none];
    for (labels, why) in [
        (vec!["x", "y"], "has 6 rows and `y` has 5"),
        (vec!["c"], "scalar"),
        (vec!["none"], "no rows"),
        (vec!["z"], "no leaf `z`"),
        (vec![], "no leaf is named"),
    ] {
        let error = Split::new(&g, &all, &labels).unwrap_err().to_string();
        assert!(error.contains(why), "{error}");
    }
    let split = Split::new(&g, &[x], &["x"]).unwrap();
    for rows in [0, 7] {
        let error = split.part(rows).unwrap_err().to_string();
        assert!(error.contains("takes 1 row or more"), "{error}");
    }
}

/// As many rows as the weights, and constants of that size, are no matter.
#[test]
fn sizes_that_are_equal_by_chance_are_told_apart() {
    let mut random = Random::new(8);
    let mut g = Graph::new();
    let x = g.input("x", &[6, 6]).unwrap();
    let w = g.parameter("w", &[6, 6]).unwrap();
    let ones = g.constant(Tensor::new(&[6, 6], vec![1.0; 36]).unwrap());
    let half = g.constant(Tensor::new(&[6], vec![0.5; 6]).unwrap());
    // The same constant for the rows, for a weight and as a factor.
    let shifted = g.add(x, ones).unwrap();
    let scaled = g.mul(w, ones).unwrap();
    let h = g.matmul(shifted, scaled).unwrap();
    let h = g.matmul(h, ones).unwrap();
    let h = g.mul(h, half).unwrap();
    let loss = g.sum_all(h).unwrap();
    let mut outputs = vec![loss, h, scaled];
    outputs.extend(gradient(&mut g, loss, &[w, x]).unwrap());
    let feeds = Feeds::from(["x", "w"].map(|label| {
        let value = random.tensor(&[6, 6], (-1.0, 1.0));
        (label.to_string(), value)
    }));
    let truth = cpu::evaluate(&g, &feeds, &outputs).unwrap();
    let split = Split::new(&g, &outputs, &["x"]).unwrap();
    let joined: Vec<_> = outputs.iter().map(|&id| split.joined(id)).collect();
    use Joined::{Rows, Shared, Total};
    assert_eq!(joined, [Total, Rows, Shared, Total, Rows]);
    for sizes in [vec![6], vec![2, 4], vec![1; 6]] {
        let mut joiners: Vec<_> = outputs
            .iter()
            .map(|&id| batches::Joiner::new(split.joined(id), g.shape(id).unwrap()))
            .collect();
        let mut first = 0;
        for rows in sizes {
            let part = split.part(rows).unwrap();
            let own = part.nodes(&outputs).unwrap();
            let feeds = split.feeds(&feeds, first, rows).unwrap();
            let reference = cpu::evaluate(&part.graph, &feeds, &own).unwrap();
            for (joiner, id) in joiners.iter_mut().zip(own) {
                joiner.add(&reference.rounded(id).unwrap());
            }
            first += rows;
        }
        for (joiner, &id) in joiners.into_iter().zip(&outputs) {
            let value = joiner.finish().unwrap();
            let want = truth.rounded(id).unwrap();
            for (a, b) in value.data().iter().zip(want.data()) {
                assert!((a - b).abs() <= 1e-5 * b.abs().max(1.0), "{a} {b}");
            }
        }
    }
}

/// A cut that is not one of the whole batch gives no value.
#[test]
fn a_sub_batch_that_is_missing_is_seen() {
    let prepared = problem(SMALL, "MSELoss(reduction='sum')", &[300, 4], 1);
    let all = solved(&prepared, Some(gpu()), &[100, 100, 100]);
    assert!(all.passed());
    // Two thirds of the rows: what is by row is not whole.
    let some = cut(&[100, 100]);
    let error = pollster::block_on(solve_cut(&prepared, Some(gpu()), CHECKED, some));
    assert!(error.unwrap_err().to_string().contains("elements"));
    let some = cut(&[200, 200]);
    let error = pollster::block_on(solve_cut(&prepared, Some(gpu()), CHECKED, some));
    assert!(error.unwrap_err().to_string().contains("300 rows"));
}

#[test]
fn what_is_not_finite_is_found_in_the_whole_batch() {
    use wgrad::trace::nonfinite_in_parts;
    let find = |prepared: &Prepared, sizes: &[usize]| {
        let split = solution::split(prepared, CHECKED).unwrap();
        let cut = cut(sizes).unwrap();
        let outputs = split.outputs();
        let looking = nonfinite_in_parts(gpu(), &split, &cut, &prepared.feeds, outputs);
        pollster::block_on(looking).unwrap()
    };
    let named = |prepared: &Prepared| {
        let ids: Vec<_> = prepared.named.iter().map(|(_, id)| *id).collect();
        let looking = wgrad::trace::nonfinite(gpu(), &prepared.graph, &prepared.feeds, &ids);
        pollster::block_on(looking).unwrap()
    };
    let sizes = [128, 128, 44];
    let mut prepared = problem(MIDDLE, "MSELoss", &[300, 20], 3);
    assert_eq!(find(&prepared, &sizes), None);
    // In a later op of the first sub-batch, and an earlier one of the third: the
    // earlier op is the first. Indices are those of the whole batch.
    let target = prepared.feeds.get_mut("target").unwrap();
    target.data_mut()[5] = 3e38;
    let input = prepared.feeds.get_mut("input").unwrap();
    for (row, value) in [(260, 3e38), (280, -3e38)] {
        input.data_mut()[20 * row..20 * (row + 1)].fill(value);
    }
    let (found, want) = (find(&prepared, &sizes).unwrap(), named(&prepared).unwrap());
    assert_eq!((&found.label, &found.op), (&want.label, &want.op));
    assert_eq!((found.node, &found.index), (want.node, &want.index));
    assert_eq!(found.index[0], 260);
    assert_eq!((found.nan, found.infinite), (want.nan, want.infinite));
    assert_eq!((&found.shape, &found.reason), (&want.shape, &want.reason));
    // A leaf, by its own index, and what it spoils.
    prepared.feeds.get_mut("input").unwrap().data_mut()[20 * 299 + 7] = f32::NAN;
    let (found, want) = (find(&prepared, &sizes).unwrap(), named(&prepared).unwrap());
    assert_eq!(
        (&found.index, &found.label),
        (&vec![299, 7], &"input".to_string())
    );
    assert_eq!(
        (&found.reaches, &found.reason),
        (&want.reaches, &want.reason)
    );
}

#[test]
fn a_sum_that_overflows_only_over_the_sub_batches_is_found() {
    let mut prepared = problem("Linear(1, 1)", "MSELoss(reduction='sum')", &[4, 1], 1);
    for label in ["0.weight", "weight"] {
        if let Some(w) = prepared.feeds.get_mut(label) {
            w.data_mut().fill(0.0);
        }
    }
    // (1.5e19)^2 is 2.25e38: two are past float32's range, and so is a gradient.
    prepared
        .feeds
        .get_mut("target")
        .unwrap()
        .data_mut()
        .fill(1.5e19);
    let solution = solved(&prepared, Some(gpu()), &[1, 1, 1, 1]);
    let loss = solution.step("loss").unwrap();
    assert_eq!(loss.value.data(), [f32::INFINITY]);
    assert!(solution.passed());
    let found = wgrad::trace::nonfinite_sum(&prepared.graph, loss.node, &loss.value);
    let found = found.unwrap().unwrap();
    assert!(
        found.reason.contains("sum over the sub-batches"),
        "{}",
        found.reason
    );
    assert_eq!((found.infinite, found.label.as_str()), (1, "loss"));
}
