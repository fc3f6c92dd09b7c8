//! Every op of the list, on every sample: the GPU against the float64
//! reference, and the rules against central differences.

mod common;

use std::collections::{BTreeMap, BTreeSet};

use common::{Random, gpu};
use ndarray::{ArrayD, IxDyn};
use wgrad::check::{compare, difference};
use wgrad::graph::Sample;
use wgrad::run::cpu;
use wgrad::{Feeds, Graph, NodeId, Tensor, ops, vjp};

/// The sample's graph: leaves `x0`, `x1`, ..., the op, and a cotangent.
fn build(sample: &Sample) -> (Graph, Vec<NodeId>, NodeId) {
    let mut g = Graph::new();
    let leaves: Vec<_> = sample
        .shapes
        .iter()
        .enumerate()
        .map(|(i, dims)| g.input(&format!("x{i}"), dims).unwrap())
        .collect();
    let y = (sample.build)(&mut g, &leaves).unwrap();
    (g, leaves, y)
}

fn op_of(g: &Graph, y: NodeId) -> String {
    match g.node(y).unwrap().op() {
        Some(op) => op.to_string(),
        None => "identity".to_string(),
    }
}

/// Values for the leaves: random, or each leaf cycling through its edges at
/// its own pace so that the edges meet in all combinations.
fn values(sample: &Sample, edges: bool, random: &mut Random) -> Vec<Tensor> {
    let mut pace = 1;
    let mut all = Vec::new();
    for (i, dims) in sample.shapes.iter().enumerate() {
        all.push(if edges {
            let list = &sample.edges[i];
            let count: usize = dims.iter().product();
            let data = (0..count).map(|k| list[(k / pace) % list.len()]).collect();
            pace *= list.len();
            Tensor::new(dims, data).unwrap()
        } else {
            random.tensor(dims, sample.ranges[i])
        });
    }
    all
}

fn feeds(values: &[Tensor]) -> Feeds {
    let named = values.iter().enumerate();
    named.map(|(i, v)| (format!("x{i}"), v.clone())).collect()
}

fn judge(g: &Graph, feeds: &Feeds, wanted: &[NodeId], what: &str) {
    let reference = cpu::evaluate(g, feeds, wanted).unwrap();
    let mut program = gpu().compile(g, wanted).unwrap();
    program.set_all(feeds).unwrap();
    let outputs = program.run().unwrap();
    for &id in wanted {
        let label = &g.node(id).unwrap().label;
        let c = compare(label, outputs.get(id).unwrap(), reference.get(id).unwrap()).unwrap();
        assert!(c.passed(), "{what}: {c:#?}");
    }
}

#[test]
fn every_op_forward_and_backward_is_within_its_bound_on_the_gpu() {
    let mut random = Random::new(1);
    for family in ops::ALL {
        for (n, sample) in (family.samples)().iter().enumerate() {
            let (mut g, leaves, y) = build(sample);
            let what = format!(
                "{} sample {n}: {} of {:?}",
                family.name,
                op_of(&g, y),
                sample.shapes
            );
            let cotangent_dims = g.shape(y).unwrap().dims().to_vec();
            let cotangent = g.input("cotangent", &cotangent_dims).unwrap();
            let mut wanted = vec![y];
            // A rule that is missing is an error only for who asks for it.
            for &leaf in &leaves {
                match vjp(&mut g, y, cotangent, &[leaf]) {
                    Ok(grads) => wanted.extend(grads),
                    Err(e) => assert!(e.to_string().contains("no gradient"), "{what}: {e}"),
                }
            }
            for edges in [false, true] {
                let mut given = feeds(&values(sample, edges, &mut random));
                let c = random.tensor(&cotangent_dims, (-1.5, 1.5));
                given.insert("cotangent".to_string(), c);
                let targets = if edges { &wanted[..1] } else { &wanted[..] };
                judge(&g, &given, targets, &format!("{what}, edges: {edges}"));
            }
        }
    }
}

/// The edge values themselves, in every combination, whatever the shapes.
#[test]
fn every_op_at_the_edges_of_its_domain_in_all_combinations() {
    for family in ops::ALL {
        if family.name == "matmul" || family.name == "reduce" || family.name == "layout" {
            continue; // not elementwise: the sample shapes above have their edges
        }
        let mut seen = BTreeSet::new();
        for mut sample in (family.samples)() {
            let (g, _, y) = build(&sample);
            if !seen.insert(op_of(&g, y)) {
                continue;
            }
            let count: usize = sample.edges.iter().map(Vec::len).product();
            for dims in &mut sample.shapes {
                *dims = vec![count];
            }
            let (g, _, y) = build(&sample);
            let given = feeds(&values(&sample, true, &mut Random::new(0)));
            judge(&g, &given, &[y], &format!("{} at its edges", op_of(&g, y)));
        }
    }
}

/// Of a class one logarithm counts, and its argument is reduced in a way of its own
/// (shaders/bce.wgsl): probabilities of every size, and densely where that way changes.
#[test]
fn the_loss_of_a_class_is_one_logarithm_to_the_last_place() {
    let bits = |p: f32| p.to_bits();
    let mut probabilities: Vec<f32> = (0..=bits(1.0)).step_by(4093).map(f32::from_bits).collect();
    for p in [1e-38, 2f32.powi(-25), 0.25, 0.5, 0.75, 1.0] {
        let around = bits(p).saturating_sub(2048)..=bits(p) + 2048;
        probabilities.extend(around.map(f32::from_bits).filter(|&p| p <= 1.0));
    }
    probabilities.extend((0..64).map(f32::from_bits));
    let n = probabilities.len();
    let mut g = Graph::new();
    let p = g.input("p", &[n]).unwrap();
    let y = g.input("y", &[n]).unwrap();
    let loss = g.bce(p, y).unwrap();
    let mut program = gpu().compile(&g, &[loss]).unwrap();
    let given = Tensor::new(&[n], probabilities.clone()).unwrap();
    program.set("p", &given).unwrap();
    for class in [0.0_f32, 1.0] {
        let all = Tensor::new(&[n], vec![class; n]).unwrap();
        program.set("y", &all).unwrap();
        let got = program.run().unwrap().get(loss).unwrap().clone();
        for (&p, &got) in probabilities.iter().zip(got.data()) {
            let wide = f64::from(p);
            let log = if class == 0.0 {
                (-wide).ln_1p()
            } else {
                wide.ln()
            };
            let exact = -log.max(-100.0);
            let error = (f64::from(got) - exact).abs();
            let place = exact.abs().max(f64::from(f32::MIN_POSITIVE)).log2().floor();
            // Below the normal numbers a device may take 0.
            let least = f64::from(f32::MIN_POSITIVE);
            let allowed = if exact < least {
                least
            } else {
                2f64.powi(place as i32 - 23)
            };
            assert!(
                error <= allowed,
                "p = {p:e}, class {class}: {got:e}, not {exact:e}"
            );
        }
    }
}

/// `relu` and its backward keep bits: of every 4,099th float, of all next to where the rule
/// changes, and of subnormals, which arithmetic may take for zero and these must not.
#[test]
fn relu_keeps_bits_of_every_kind_of_float() {
    let mut floats: Vec<f32> = (0..=u32::MAX).step_by(4099).map(f32::from_bits).collect();
    for edge in [
        0u32,
        0x0080_0000,
        0x7f80_0000,
        0x8000_0000,
        0x8080_0000,
        0xff80_0000,
    ] {
        let around = (-64..64).map(|d| edge.wrapping_add_signed(d));
        floats.extend(around.map(f32::from_bits));
    }
    // Whole fours, as the kernels for fours take them, and then three more.
    floats.truncate(floats.len() / 4 * 4 - 1);
    let n = floats.len();
    let mut g = Graph::new();
    let x = g.input("x", &[n]).unwrap();
    let cotangent = g.input("g", &[n]).unwrap();
    let y = g.relu(x).unwrap();
    let dx = g.relu_backward(cotangent, x).unwrap();
    let mut program = gpu().compile(&g, &[y, dx]).unwrap();
    let tensor = |data| Tensor::new(&[n], data).unwrap();
    program.set("x", &tensor(floats.clone())).unwrap();
    program.set("g", &tensor(vec![2.0; n])).unwrap();
    let run = program.run().unwrap();
    let (y, dx) = (run.get(y).unwrap(), run.get(dx).unwrap());
    for ((&x, &y), &dx) in floats.iter().zip(y.data()).zip(dx.data()) {
        // NaN is not `<= 0`, and stays NaN, whichever.
        let (value, slope) = if x <= 0.0 { (0.0, 0.0) } else { (x, 2.0) };
        let same = y.to_bits() == value.to_bits() || value.is_nan() && y.is_nan();
        let right = same && dx == slope;
        assert!(right, "x = {x:e} ({:#x}): {y:e} and {dx}", x.to_bits());
    }
}

fn wide(tensor: &Tensor) -> ArrayD<f64> {
    let data = tensor.data().iter().map(|&v| f64::from(v)).collect();
    ArrayD::from_shape_vec(IxDyn(tensor.dims()), data).unwrap()
}

/// Mid-graph, fan-out 2, random cotangent: L = sum(c * (f(x) + k f(x) * f(x))).
#[test]
fn every_rule_agrees_with_central_differences() {
    let mut random = Random::new(2);
    for family in ops::ALL {
        for (n, sample) in (family.samples)().iter().enumerate() {
            let size: usize = sample
                .shapes
                .iter()
                .map(|d| d.iter().product::<usize>())
                .sum();
            if size == 0 || size > 200 {
                continue; // nothing to differ, or too slow: the rule does not see sizes
            }
            let (mut g, leaves, y) = build(sample);
            let what = format!("{} sample {n}: {}", family.name, op_of(&g, y));
            let dims = g.shape(y).unwrap().dims().to_vec();
            let c = g.input("c", &dims).unwrap();
            let square = g.mul(y, y).unwrap();
            let part = g.scale(square, 0.25).unwrap();
            let total = g.add(y, part).unwrap();
            let weighted = g.mul(total, c).unwrap();
            let loss = g.sum_all(weighted).unwrap();
            let mut given = feeds(&values(sample, false, &mut random));
            given.insert("c".to_string(), random.tensor(&dims, (-1.0, 1.0)));
            let given: BTreeMap<_, _> = given.iter().map(|(k, v)| (k.clone(), wide(v))).collect();
            for (i, &leaf) in leaves.iter().enumerate() {
                let Ok(grads) = wgrad::gradient(&mut g, loss, &[leaf]) else {
                    continue; // a rule written down as missing
                };
                let rule = cpu::evaluate_wide(&g, &given, &grads).unwrap().remove(0);
                let want = difference::gradient(&g, &given, loss, &format!("x{i}")).unwrap();
                for (got, want) in rule.iter().zip(&want) {
                    assert!(
                        approx::relative_eq!(got, want, epsilon = 1e-7, max_relative = 1e-6),
                        "{what} by x{i}: the rule gives {got}, differences {want}"
                    );
                }
            }
        }
    }
}

/// A leaf used twice by the same op, f(x, x), and in a diamond.
#[test]
fn fan_out_accumulates() {
    let mut random = Random::new(3);
    for family in ops::ALL {
        for sample in &(family.samples)() {
            let same = sample.shapes.windows(2).all(|w| w[0] == w[1]);
            let small = sample.shapes[0].iter().product::<usize>() <= 15;
            if sample.shapes.len() < 2 || !same || !small {
                continue;
            }
            // The narrowest range serves every operand.
            let low = sample.ranges.iter().map(|r| r.0).fold(f32::MIN, f32::max);
            let high = sample.ranges.iter().map(|r| r.1).fold(f32::MAX, f32::min);
            let mut g = Graph::new();
            let x = g.input("x", &sample.shapes[0]).unwrap();
            let y = (sample.build)(&mut g, &vec![x; sample.shapes.len()]).unwrap();
            let op = op_of(&g, y);
            let loss = g.sum_all(y).unwrap();
            let Ok(grads) = wgrad::gradient(&mut g, loss, &[x]) else {
                continue;
            };
            let value = random.tensor(&sample.shapes[0], (low, high));
            let given = BTreeMap::from([("x".to_string(), wide(&value))]);
            let got = cpu::evaluate_wide(&g, &given, &grads).unwrap().remove(0);
            let want = difference::gradient(&g, &given, loss, "x").unwrap();
            for (got, want) in got.iter().zip(&want) {
                assert!(
                    (got - want).abs() <= 1e-7 + 1e-6 * want.abs(),
                    "{op}: {got} {want}"
                );
            }
            let given = Feeds::from([("x".to_string(), value)]);
            judge(&g, &given, &[y, grads[0]], &format!("{op}(x, x)"));
        }
    }
}

#[test]
fn every_op_that_is_listed_has_a_sample() {
    let mut names = BTreeSet::new();
    for family in ops::ALL {
        let mut built = BTreeSet::new();
        for sample in &(family.samples)() {
            let (g, _, y) = build(sample);
            if let Some(op) = g.node(y).unwrap().op() {
                built.insert(op.name());
            }
        }
        for op in family.ops {
            assert!(built.contains(op), "{op} of {} has no sample", family.name);
            assert!(names.insert(*op), "{op} is listed twice");
        }
        let extra: Vec<_> = built.iter().filter(|b| !family.ops.contains(b)).collect();
        assert!(extra.is_empty(), "{} does not list {extra:?}", family.name);
    }
}

/// The dedicated backward kernels equal the composition of plain ops.
#[test]
fn backward_kernels_equal_the_composed_rules() {
    let mut random = Random::new(4);
    let mut g = Graph::new();
    let dims = [7, 5];
    let up = g.input("g", &dims).unwrap();
    let x = g.input("x", &dims).unwrap();
    let p = g.input("p", &dims).unwrap();
    let y = g.input("y", &dims).unwrap();
    let one = g.constant(Tensor::scalar(1.0));

    let relu = g.relu_backward(up, x).unwrap();
    // Away from 0, the sigmoid of a large multiple of x is the step function.
    let steep = g.scale(x, 1e6).unwrap();
    let mask = g.sigmoid(steep).unwrap();
    let relu_composed = g.mul(up, mask).unwrap();

    let sigmoid = g.sigmoid_backward(up, p).unwrap();
    let q = g.sub(one, p).unwrap();
    let pq = g.mul(p, q).unwrap();
    let sigmoid_composed = g.mul(up, pq).unwrap();

    let bce = g.bce_backward(up, p, y).unwrap();
    let diff = g.sub(p, y).unwrap();
    let gd = g.mul(up, diff).unwrap();
    let bce_times_pq = g.mul(bce, pq).unwrap();

    let pairs = [
        (relu, relu_composed),
        (sigmoid, sigmoid_composed),
        (bce_times_pq, gd),
    ];
    let wanted: Vec<_> = pairs.iter().flat_map(|p| [p.0, p.1]).collect();
    let given = Feeds::from([
        ("g".to_string(), random.tensor(&dims, (-2.0, 2.0))),
        ("x".to_string(), random.tensor(&dims, (-2.0, 2.0))),
        ("p".to_string(), random.tensor(&dims, (0.05, 0.95))),
        ("y".to_string(), random.tensor(&dims, (0.0, 1.0))),
    ]);
    let mut program = gpu().compile(&g, &wanted).unwrap();
    program.set_all(&given).unwrap();
    let outputs = program.run().unwrap();
    for (kernel, composed) in pairs {
        let (a, b) = (outputs.get(kernel).unwrap(), outputs.get(composed).unwrap());
        for (a, b) in a.data().iter().zip(b.data()) {
            approx::assert_relative_eq!(a, b, epsilon = 1e-7, max_relative = 8.0 * f32::EPSILON);
        }
    }
}
