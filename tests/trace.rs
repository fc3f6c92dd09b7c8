//! Where NaN and infinity come from: planted in each kind of leaf and produced
//! by overflow, each is named with its element, its numbers and its reason.

mod common;

use common::{Random, gpu};
use wgrad::plan::{Nonfinite, Plan, PlanOptions};
use wgrad::trace::{Finding, nonfinite};
use wgrad::{Feeds, Graph, NodeId, Tensor, gradient};

/// 4-3-1 with MSE on 5 rows, every gradient.
fn network() -> (Graph, Vec<NodeId>, Feeds) {
    let mut random = Random::new(21);
    let mut g = Graph::new();
    let x = g.input("x", &[5, 4]).unwrap();
    let first = g.parameter("0.weight", &[3, 4]).unwrap();
    let second = g.parameter("1.weight", &[1, 3]).unwrap();
    let y = g.input("y", &[5, 1]).unwrap();
    let h = g.linear(x, first, None).unwrap();
    let h = g.relu(h).unwrap();
    let out = g.linear(h, second, None).unwrap();
    let l = g.mse(out, y).unwrap();
    let loss = g.mean_all(l).unwrap();
    let mut wanted = vec![loss];
    wanted.extend(gradient(&mut g, loss, &[x, first, second]).unwrap());
    let feeds = [
        ("x", 5, 4),
        ("0.weight", 3, 4),
        ("1.weight", 1, 3),
        ("y", 5, 1),
    ];
    let feeds = feeds.map(|(label, rows, columns)| {
        let value = random.tensor(&[rows, columns], (0.1, 1.0));
        (label.to_string(), value)
    });
    (g, wanted, Feeds::from(feeds))
}

fn look(g: &Graph, feeds: &Feeds, wanted: &[NodeId]) -> Option<Finding> {
    pollster::block_on(nonfinite(gpu(), g, feeds, wanted)).unwrap()
}

fn plant(feeds: &mut Feeds, label: &str, at: usize, value: f32) {
    feeds.get_mut(label).unwrap().data_mut()[at] = value;
}

#[test]
fn where_all_is_finite_nothing_is_found() {
    let (g, wanted, feeds) = network();
    assert_eq!(look(&g, &feeds, &wanted), None);
}

#[test]
fn what_was_given_is_found_first() {
    for (label, at, index, place, reaches) in [
        ("x", 13, [3, 1], "row 3, column 1", true),
        ("0.weight", 11, [2, 3], "row 2, column 3", true),
        ("1.weight", 2, [0, 2], "row 0, column 2", true),
        ("y", 4, [4, 0], "row 4, column 0", true),
    ] {
        for value in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
            let (g, wanted, mut feeds) = network();
            plant(&mut feeds, label, at, value);
            let f = look(&g, &feeds, &wanted).unwrap();
            assert_eq!((f.label.as_str(), &f.op), (label, &None));
            assert_eq!(f.index, index);
            assert_eq!(f.value.to_bits(), value.to_bits());
            assert_eq!((f.nan + f.infinite, f.value.is_nan()), (1, f.nan == 1));
            assert!(f.reason.contains(place), "{}", f.reason);
            assert_eq!(f.reaches.is_some(), reaches);
        }
    }
}

#[test]
fn a_product_that_overflows() {
    let (g, wanted, mut feeds) = network();
    // 1e30 * 1e30 in row 2 of the first layer, elsewhere all is finite.
    for (label, at) in [("x", 8), ("0.weight", 4)] {
        plant(&mut feeds, label, at, 1e30);
    }
    let f = look(&g, &feeds, &wanted).unwrap();
    assert_eq!(f.op.as_deref(), Some("matmul[transpose_b]"), "{f:?}");
    assert_eq!(f.index, [2, 1]);
    assert_eq!((f.value, f.nan, f.infinite), (f32::INFINITY, 0, 1));
    assert!(
        f.reason.contains("overflow") && f.reason.contains("e60"),
        "{f:?}"
    );
    assert!(f.numbers.contains("1e30*1e30"), "{f:?}");
    assert_eq!(f.operands[0].label, "x");
    assert_eq!(
        (f.operands[0].largest, &f.operands[0].element),
        (1e30, &None)
    );
    assert_eq!(f.reaches, None);
}

#[test]
fn a_square_that_overflows_names_the_one_element() {
    let (g, wanted, mut feeds) = network();
    plant(&mut feeds, "y", 3, -3e38);
    let f = look(&g, &feeds, &wanted).unwrap();
    assert_eq!(f.op.as_deref(), Some("mse"));
    assert_eq!(f.index, [3, 0]);
    assert_eq!(f.operands[1].element, Some((vec![3, 0], -3e38)));
    assert!(f.reason.contains("a square passes"), "{}", f.reason);
}

/// Infinity less infinity: the NaN is not the first.
#[test]
fn the_first_of_several_is_named_and_not_the_nan_after_it() {
    let mut g = Graph::new();
    let x = g.input("x", &[70, 3]).unwrap();
    let large = g.mul(x, x).unwrap();
    let nan = g.sub(large, large).unwrap();
    let mut feeds = Feeds::from([(
        "x".to_string(),
        Tensor::new(&[70, 3], vec![1.0; 210]).unwrap(),
    )]);
    assert_eq!(look(&g, &feeds, &[nan]), None);
    plant(&mut feeds, "x", 100, -1e20);
    plant(&mut feeds, "x", 205, 1e20);
    let f = look(&g, &feeds, &[nan]).unwrap();
    assert_eq!(f.node, large);
    assert_eq!(
        (f.index.as_slice(), f.infinite, f.nan),
        (&[33, 1][..], 2, 0)
    );
    assert_eq!(f.numbers, "(-1e20) * (-1e20)");
}

#[test]
fn terms_that_cancel_overflow_on_the_way() {
    let mut g = Graph::new();
    let x = g.input("x", &[4]).unwrap();
    let total = g.sum_all(x).unwrap();
    let data = vec![3e38, 3e38, -3e38, -3e38];
    let feeds = Feeds::from([("x".to_string(), Tensor::new(&[4], data).unwrap())]);
    // Whether it overflows is the kernel's order of adding.
    if let Some(f) = look(&g, &feeds, &[total]) {
        assert!(
            f.reason.starts_with("overflow on the way: a sum is 0"),
            "{f:?}"
        );
    }
    let data = vec![3e38, 3e38, 3e38, -3e38];
    let feeds = Feeds::from([("x".to_string(), Tensor::new(&[4], data).unwrap())]);
    let f = look(&g, &feeds, &[total]).unwrap();
    assert!(f.reason.starts_with("overflow"), "{f:?}");
}

#[test]
fn the_mean_of_nothing_and_logs_outside_their_domain() {
    let mut g = Graph::new();
    let x = g.input("x", &[0, 2]).unwrap();
    let mean = g.mean_all(x).unwrap();
    let feeds = Feeds::from([("x".to_string(), Tensor::new(&[0, 2], vec![]).unwrap())]);
    let f = look(&g, &feeds, &[mean]).unwrap();
    assert!(f.reason.contains("the mean of no values"), "{f:?}");

    let mut g = Graph::new();
    let p = g.input("p", &[2]).unwrap();
    let y = g.input("y", &[2]).unwrap();
    let l = g.bce(p, y).unwrap();
    let cotangent = g.input("g", &[2]).unwrap();
    let dp = g.bce_backward(cotangent, p, y).unwrap();
    let value = |data: [f32; 2]| Tensor::new(&[2], data.to_vec()).unwrap();
    let mut feeds = Feeds::from([
        ("p".to_string(), value([0.5, 1e30])),
        ("y".to_string(), value([0.0, 1.0])),
        ("g".to_string(), value([1.0, 1e30])),
    ]);
    let f = look(&g, &feeds, &[dp]).unwrap();
    assert_eq!((f.index.as_slice(), f.infinite), (&[1][..], 1));
    assert!(
        f.reason.contains("p is 1e30 at [1], outside [0, 1]") && f.reason.contains("Sigmoid()"),
        "{f:?}"
    );
    // The clamps keep p = 0 finite; the derivative there is up to 1e12 times what
    // comes from above.
    feeds.insert("p".to_string(), value([0.5, 0.0]));
    assert_eq!(look(&g, &feeds, &[l]), None);
    let f = look(&g, &feeds, &[dp]).unwrap();
    assert!(
        f.reason.contains("log of 0 in BCELoss: p is exactly 0")
            && f.reason.contains("BCEWithLogitsLoss"),
        "{f:?}"
    );
}

/// The kernel that counts, against the host: every place in a block, bits of
/// every kind, more blocks than one workgroup looks at, and anew in each run.
#[test]
fn counts_are_exact() {
    let options = PlanOptions {
        count_nonfinite: true,
        ..PlanOptions::default()
    };
    let nan = |bits| f32::from_bits(bits);
    for n in [1, 2, 3, 4, 5, 255, 2048, 2049, 70_001] {
        let mut g = Graph::new();
        let x = g.input("x", &[n]).unwrap();
        // Every bit pattern that is not NaN comes through a negation.
        let y = g.neg(x).unwrap();
        let z = g.neg(y).unwrap();
        let plan = Plan::with_options(&g, &[z], gpu().target(), &options).unwrap();
        let mut program = pollster::block_on(gpu().compile_plan(plan)).unwrap();
        let plain = vec![f32::MAX; n];
        for places in [vec![], vec![n - 1], vec![0, n / 2], (0..n).collect()] {
            let mut data = plain.clone();
            let kinds = [
                f32::INFINITY,
                nan(0x7f80_0001),
                f32::NEG_INFINITY,
                nan(0xffff_ffff),
            ];
            for (i, &place) in places.iter().enumerate() {
                data[place] = kinds[i % 4];
            }
            let want = Nonfinite::of(&data);
            assert_eq!(want.first, places.first().copied());
            program.set("x", &Tensor::new(&[n], data).unwrap()).unwrap();
            let outputs = program.run().unwrap();
            for node in [y, z] {
                let got = Nonfinite::read(outputs.get(node).unwrap()).unwrap();
                assert_eq!(got, want, "{n} values");
            }
        }
    }
    assert!(Nonfinite::read(&Tensor::scalar(0.0)).is_err());
}

#[test]
fn a_counted_plan_has_a_step_and_a_count_for_each_op() {
    let (g, wanted, _) = network();
    let options = PlanOptions {
        count_nonfinite: true,
        ..PlanOptions::default()
    };
    let plan = Plan::with_options(&g, &wanted, gpu().target(), &options).unwrap();
    let count = "count what is not finite";
    let counting = plan.steps.iter().filter(|s| s.op == count).count();
    assert_eq!(counting, plan.outputs.len(), "{plan}");
    assert_eq!(plan.steps[0].op, "clear");
    // Each behind the op whose value it looks at.
    for pair in plan.steps.windows(2).filter(|pair| pair[1].op == count) {
        assert_eq!(pair[0].outputs, pair[1].inputs, "{plan}");
    }
    let many = PlanOptions {
        replicas: 2,
        ..options
    };
    assert!(Plan::with_options(&g, &wanted, gpu().target(), &many).is_err());
}
