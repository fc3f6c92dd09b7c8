//! Checks are worth what they catch. Each test plants a fault, in a shader, a
//! plan, a rule or a value, and the check that guards it must say no.

mod common;

use std::collections::BTreeMap;

use common::{Random, gpu};
use ndarray::{ArrayD, IxDyn};
use wgrad::bench::Work;
use wgrad::check::{Comparison, compare, difference, steps};
use wgrad::graph::Target;
use wgrad::nn::{Loss, Network};
use wgrad::plan::{Plan, PlanOptions};
use wgrad::run::cpu;
use wgrad::{Feeds, Graph, NodeId, Tensor, gradient};

/// A small network that uses every kind of kernel, with odd sizes.
struct Subject {
    graph: Graph,
    feeds: Feeds,
    nodes: Vec<NodeId>,
    outputs: Vec<NodeId>,
}

const BATCH: usize = 37;

fn subject() -> Subject {
    let mut random = Random::new(21);
    let mut g = Graph::new();
    let mut feeds = Feeds::new();
    let mut leaf = |g: &mut Graph, label: &str, dims: &[usize], range| {
        feeds.insert(label.to_string(), random.tensor(dims, range));
        g.parameter(label, dims).unwrap()
    };
    let x = leaf(&mut g, "x", &[BATCH, 19], (-1.0, 1.0));
    let w = leaf(&mut g, "w", &[23, 19], (-0.5, 0.5));
    let b = leaf(&mut g, "b", &[23], (-0.5, 0.5));
    let v = leaf(&mut g, "v", &[1, 23], (-0.5, 0.5));
    let y = leaf(&mut g, "y", &[BATCH, 1], (0.0, 1.0));
    let z = g.linear(x, w, Some(b)).unwrap();
    let h = g.relu(z).unwrap();
    let o = g.linear(h, v, None).unwrap();
    let p = g.sigmoid(o).unwrap();
    let l = g.bce(p, y).unwrap();
    let loss = g.mean_all(l).unwrap();
    let mut outputs = vec![loss];
    outputs.extend(gradient(&mut g, loss, &[x, w, b, v]).unwrap());
    // Products for the other kernels: long, slim, and tall.
    for (label, m, n, k) in [
        ("long", 20, 21, 130),
        ("slim", 6, 70, 70),
        ("product", 3, 5, 300),
    ] {
        let left = leaf(&mut g, &format!("{label} left"), &[m, k], (-1.0, 1.0));
        let right = leaf(&mut g, &format!("{label} right"), &[k, n], (-1.0, 1.0));
        let node = g.matmul(left, right).unwrap();
        outputs.push(g.name(node, label).unwrap());
    }
    // One target exactly on each edge of the clamps, one pre-activation at 0.
    feeds.get_mut("y").unwrap().data_mut()[0] = 0.0;
    let nodes = steps::nodes(&g, &outputs).unwrap();
    Subject {
        graph: g,
        feeds,
        nodes,
        outputs,
    }
}

impl Subject {
    /// Runs a plan and returns the comparisons that failed.
    fn failures(&self, plan: Plan) -> Vec<Comparison> {
        let mut program = pollster::block_on(gpu().compile_plan(plan)).unwrap();
        program.set_all(&self.feeds).unwrap();
        let outputs = program.run().unwrap();
        let values: BTreeMap<_, _> = self
            .nodes
            .iter()
            .map(|&id| (id, outputs.get(id).unwrap().clone()))
            .collect();
        let all = steps::verify(&self.graph, &self.feeds, &values).unwrap();
        all.into_values().filter(|c| !c.passed()).collect()
    }

    /// A kernel for each op.
    fn plan(&self) -> Plan {
        let options = PlanOptions {
            fuse: false,
            ..PlanOptions::default()
        };
        Plan::with_options(&self.graph, &self.nodes, &Target::default(), &options).unwrap()
    }

    /// The plan that a run takes.
    fn fused(&self) -> Plan {
        Plan::with_target(&self.graph, &self.nodes, gpu().target()).unwrap()
    }
}

/// Replaces text in the kernels whose label starts with `kernel`.
fn plant(mut plan: Plan, kernel: &str, from: &str, to: &str) -> Plan {
    let mut planted = 0;
    for k in plan
        .kernels
        .iter_mut()
        .filter(|k| k.label.starts_with(kernel))
    {
        planted += k.source.matches(from).count();
        k.source = k.source.replace(from, to);
    }
    assert!(
        planted > 0,
        "`{from}` is not in {kernel}: the fault was not planted"
    );
    plan
}

/// A network that is one row program: enough rows for several workgroups, and
/// a last load that is not full.
fn small_network() -> Subject {
    let mut random = Random::new(22);
    let text = "Sequential(Linear(4, 2), ReLU(), Linear(2, 1), Sigmoid())";
    let work = Work {
        network: Network::parse(text).unwrap(),
        loss: Loss::parse("BCELoss").unwrap(),
        batch: 5003,
        replicas: 1,
    };
    let (g, outputs) = work.graph().unwrap();
    let mut feeds = Feeds::new();
    for (_, node) in g.nodes().filter(|(_, n)| n.is_fed()) {
        let range = if node.label == "target" {
            (0.0, 1.0)
        } else {
            (-1.0, 1.0)
        };
        feeds.insert(node.label.clone(), random.tensor(node.shape.dims(), range));
    }
    let nodes = steps::nodes(&g, &outputs).unwrap();
    Subject {
        graph: g,
        feeds,
        nodes,
        outputs,
    }
}

#[test]
fn the_subjects_themselves_pass() {
    for s in [subject(), small_network()] {
        assert_eq!(s.failures(s.plan()), []);
        assert_eq!(s.failures(s.fused()), []);
    }
}

#[test]
fn faults_in_row_programs_are_caught() {
    let s = small_network();
    // With the batch in buffers, as on a GPU, and in images where there are any.
    let buffers = Target {
        image_side: None,
        ..gpu().target().clone()
    };
    let fused = |target| Plan::with_target(&s.graph, &s.nodes, target).unwrap();
    let mut plans = vec![fused(&buffers)];
    if gpu().target().image_side.is_some() {
        plans.push(s.fused());
    }
    for (plan, images) in plans.iter().zip([false, true]) {
        let any = plan.kernels.iter().any(|k| !k.images.is_empty());
        assert_eq!(any, images, "{plan}");
    }
    let faults = [
        // rows that are not there are counted, and one that is there is not
        (
            "rows",
            " < vec4<u32>(row_count)",
            " < vec4<u32>(row_count + 4u)",
        ),
        (
            "rows",
            " < vec4<u32>(row_count)",
            " + 1u < vec4<u32>(row_count)",
        ),
        // a block that is never added, or never cleared
        ("rows", "total[1u] += block[1u];", "total[1u] = block[1u];"),
        ("rows", "block[1u] = 0.0;", ""),
        // loads and stores in the wrong place
        (
            "rows",
            "next * 4u + 1u, arrayLength",
            "next * 4u + 2u, arrayLength",
        ),
        ("rows", "texel(quad * 4u + 1u)", "texel(quad * 4u + 2u)"),
        ("rows", "(i % 512u, i / 512u)", "(i % 256u, i / 512u)"),
        ("rows", "[params.stores[0].y /", "[params.stores[0].z /"),
        ("rows", "params.stores[0].y +", "params.stores[0].z +"),
        // a sum in the place of another
        ("rows", "block[1] +=", "block[2] +="),
        // parts that are left out, and a mean that is not divided
        ("rows_finish", "p < stop", "p + 1u < stop"),
        ("rows_finish", "return sum / divisor;", "return sum;"),
    ];
    // Stores are written in one of two forms, and loads in one of two.
    let forms = ["stores", "arrayLength", "texel", "512u"];
    let mut planted = vec![0; faults.len()];
    for plan in plans.iter().cloned() {
        for (i, (kernel, from, to)) in faults.into_iter().enumerate() {
            let there = plan.kernels.iter().any(|k| k.source.contains(from));
            if !there && forms.iter().any(|form| from.contains(form)) {
                continue;
            }
            planted[i] += 1;
            let failures = s.failures(plant(plan.clone(), kernel, from, to));
            assert!(!failures.is_empty(), "{kernel}: {to} was not caught");
        }
    }
    let never = planted.iter().filter(|&&times| times == 0).count();
    let images = plans.len() == 2;
    assert_eq!(never, if images { 1 } else { 3 });
}

#[test]
fn faults_in_shaders_are_caught_and_named() {
    let s = subject();
    // (kernel, the line, the fault, a label that must be named)
    let faults = [
        // rows whose last column is taken for outside
        (
            "matmul_rows",
            "column < j.n",
            "column + 1u < j.n",
            "matmul_8",
        ),
        // an inner axis that stops one short
        (
            "matmul_tiled",
            "k + 2u < j.k_end",
            "k + 3u < j.k_end",
            "matmul_5",
        ),
        (
            "matmul_rows",
            "k < j.k_end;",
            "k + 1u < j.k_end;",
            "matmul_8",
        ),
        // swapped strides
        (
            "matmul_tiled",
            "row * j.a_m + k * j.a_k",
            "row * j.a_k + k * j.a_m",
            "matmul_5",
        ),
        (
            "matmul_rows",
            "row * j.c_m + column * j.c_n",
            "row * j.c_n + column * j.c_m",
            "d/d",
        ),
        // a tree that leaves out a branch
        ("matmul_tall", "lane + half]", "lane]", "product"),
        (
            "matmul_tall",
            "var half = 32u;",
            "var half = 16u;",
            "product",
        ),
        // blocks that are never added to the total
        ("matmul_tiled", "turn_0_2_0 += sum_0_2_0;", "", "long"),
        ("matmul_16", "total += block;", "", "slim"),
        // a missing 1/N
        (
            "sum_tree",
            "return sum / f32(params.divisor);",
            "return sum;",
            "mean",
        ),
        // a chunk that leaves out its last term
        ("sum_tree", "t < end", "t + 1u < end", "d/d b"),
        // an upstream cotangent that is dropped
        (
            "bce_backward",
            "return g * ((p - y)",
            "return ((p - y)",
            "d/d sigmoid",
        ),
        (
            "sigmoid_backward",
            "return g * (1.0 - s) * s",
            "return (1.0 - s) * s",
            "d/d",
        ),
        // a mask that is forgotten
        ("relu_backward", "select(g, 0.0,", "select(g, g,", "d/d add"),
        // a sign
        (
            "bce.",
            "loss -= select(y, 1.0 - y, other)",
            "loss -= select(-y, 1.0 - y, other)",
            "bce",
        ),
        // a function that is off by a few ULP more than promised
        (
            "sigmoid.",
            "sigmoid_f32(x)",
            "0.999999 * sigmoid_f32(x)",
            "sigmoid",
        ),
        // a tail that nobody writes
        (
            "relu.",
            "item < params.items",
            "item + 1u < params.items",
            "relu",
        ),
    ];
    for (kernel, from, to, label) in faults {
        let failures = s.failures(plant(s.plan(), kernel, from, to));
        assert!(!failures.is_empty(), "{kernel}: {to} was not caught");
        assert!(
            failures.iter().any(|c| c.label.contains(label)),
            "{kernel}: {to} was blamed on {:?}",
            failures.iter().map(|c| &c.label).collect::<Vec<_>>()
        );
    }
}

/// Sums and products in fours, and products of images, which only drivers in
/// software are given.
#[test]
fn faults_in_kernels_for_software_are_caught() {
    let mut random = Random::new(23);
    let mut g = Graph::new();
    let mut feeds = Feeds::new();
    let mut outputs = Vec::new();
    let mut leaf = |g: &mut Graph, label: String, dims: &[usize]| {
        feeds.insert(label.clone(), random.tensor(dims, (-1.0, 1.0)));
        g.input(&label, dims).unwrap()
    };
    let x = leaf(&mut g, "x".to_string(), &[64, 4100]);
    for axis in [0, 1] {
        let sum = g.sum(x, &[axis]).unwrap();
        outputs.push(g.name(sum, &format!("sum {axis}")).unwrap());
    }
    for (label, m, n, k) in [
        ("large", 68, 72, 44),
        ("vector", 40, 1, 132),
        ("outer", 12, 20, 3),
    ] {
        let left = leaf(&mut g, format!("{label} left"), &[m, k]);
        let right = leaf(&mut g, format!("{label} right"), &[k, n]);
        let node = g.matmul(left, right).unwrap();
        outputs.push(g.name(node, label).unwrap());
    }
    let s = Subject {
        nodes: steps::nodes(&g, &outputs).unwrap(),
        graph: g,
        feeds,
        outputs,
    };
    let mut target = gpu().target().clone();
    if !target.software || !matches!(target.subgroup_size, Some(4 | 8)) {
        eprintln!("skipped: this adapter is no driver in software with subgroups of 4 or 8");
        return;
    }
    let mut faults = vec![
        ("sum_rows", "i < stop", "i + 1u < stop", "sum 1"),
        ("sum_rows", "(sum.z + sum.w)", "sum.z", "sum 1"),
        ("sum_rows", "total += sum;", "total = sum;", "sum 1"),
        ("sum_columns", "sum += block;", "sum = block;", "sum 0"),
        ("sum_columns", "i < stop", "i + 1u < stop", "sum 0"),
        ("matmul_vector", "total += sum;", "total = sum;", "vector"),
        ("matmul_vector", "block[3] * four.w", "four.w", "vector"),
        (
            "matmul_outer",
            "row + 3u, column",
            "row + 2u, column",
            "outer",
        ),
    ];
    if target.image_side.is_some() {
        let choice = ("matmul 68x72x44 nn", "matmul_subgroup_images 32x32");
        target.choices = [(choice.0.to_string(), choice.1.to_string())].into();
        // The gap at the end of each row, read as if it were values.
        faults.push(("matmul_subgroup", "i % 512u", "i % 516u", "large"));
        faults.push(("matmul_subgroup", "i / 512u", "i / 516u", "large"));
    }
    let plan = || Plan::with_target(&s.graph, &s.nodes, &target).unwrap();
    assert_eq!(s.failures(plan()), []);
    for (kernel, from, to, label) in faults {
        let failures = s.failures(plant(plan(), kernel, from, to));
        assert!(
            failures.iter().any(|c| c.label.contains(label)),
            "{kernel}: {to} was not caught in {label}: {failures:#?}"
        );
    }
}

#[test]
fn a_wrong_operand_in_the_plan_is_caught() {
    let s = subject();
    let mut plan = s.plan();
    // relu_backward masks with its own output instead of relu's input.
    let step = plan
        .steps
        .iter_mut()
        .find(|step| step.op == "relu_backward")
        .unwrap();
    let wrong = step.inputs[0];
    step.inputs[1] = wrong;
    assert!(s.failures(plan).iter().any(|c| c.label == "d/d add_6"));
}

#[test]
fn steps_in_the_wrong_order_are_caught() {
    let s = subject();
    let mut plan = s.plan();
    let last = plan.steps.len() - 1;
    plan.steps.swap(0, last);
    assert!(!s.failures(plan).is_empty());
}

#[test]
fn one_wrong_element_among_many_is_caught() {
    let s = subject();
    let reference = cpu::evaluate(&s.graph, &s.feeds, &s.outputs).unwrap();
    for &id in &s.outputs {
        let want = reference.get(id).unwrap();
        let right = reference.rounded(id).unwrap();
        assert!(compare("x", &right, want).unwrap().passed());
        let last = right.data().len() - 1;
        for at in [0, last / 2, last] {
            let mut wrong = right.clone();
            let bound = want.error.iter().nth(at).unwrap();
            wrong.data_mut()[at] += 2.5 * *bound as f32;
            let c = compare("x", &wrong, want).unwrap();
            assert_eq!(c.failures, 1, "{c:?}");
            let mut wrong = right.clone();
            wrong.data_mut()[at] = f32::NAN;
            assert_eq!(compare("x", &wrong, want).unwrap().failures, 1);
        }
    }
}

fn wide(tensor: &Tensor) -> ArrayD<f64> {
    let data = tensor.data().iter().map(|&v| f64::from(v)).collect();
    ArrayD::from_shape_vec(IxDyn(tensor.dims()), data).unwrap()
}

/// Wrong rules, built as graphs, against central differences.
#[test]
fn wrong_rules_are_caught_by_central_differences() {
    type Rule = fn(&mut Graph, NodeId, NodeId, NodeId) -> wgrad::Result<NodeId>;
    // L = sum(c * (x @ x)), dL/dx = g x^T + x^T g with g = c.
    let rules: [(&str, bool, Rule); 5] = [
        ("the right rule", true, |g, x, c, _| {
            let a = g.matmul_with(c, x, false, true)?;
            let b = g.matmul_with(x, c, true, false)?;
            g.add(a, b)
        }),
        ("a swapped axis", false, |g, x, c, _| {
            let a = g.matmul_with(c, x, false, false)?;
            let b = g.matmul_with(x, c, true, false)?;
            g.add(a, b)
        }),
        ("only one of two consumers", false, |g, x, c, _| {
            g.matmul_with(c, x, false, true)
        }),
        ("a dropped cotangent", false, |g, x, _, ones| {
            let a = g.matmul_with(ones, x, false, true)?;
            let b = g.matmul_with(x, ones, true, false)?;
            g.add(a, b)
        }),
        ("a missing 1/N", false, |g, x, c, _| {
            let a = g.matmul_with(c, x, false, true)?;
            let b = g.matmul_with(x, c, true, false)?;
            let sum = g.add(a, b)?;
            g.scale(sum, 9.0)
        }),
    ];
    let mut random = Random::new(22);
    let mut g = Graph::new();
    let x = g.input("x", &[3, 3]).unwrap();
    let c = g.input("c", &[3, 3]).unwrap();
    let ones = g.constant(Tensor::new(&[3, 3], vec![1.0; 9]).unwrap());
    let square = g.matmul(x, x).unwrap();
    let weighted = g.mul(c, square).unwrap();
    let loss = g.sum_all(weighted).unwrap();
    let feeds = BTreeMap::from([
        ("x".to_string(), wide(&random.tensor(&[3, 3], (-1.0, 1.0)))),
        ("c".to_string(), wide(&random.tensor(&[3, 3], (-1.0, 1.0)))),
    ]);
    let want = difference::gradient(&g, &feeds, loss, "x").unwrap();
    for (what, right, rule) in rules {
        let dx = rule(&mut g, x, c, ones).unwrap();
        let got = cpu::evaluate_wide(&g, &feeds, &[dx]).unwrap().remove(0);
        let agrees = got.iter().zip(&want).all(|(g, w)| (g - w).abs() <= 1e-7);
        assert_eq!(agrees, right, "{what}");
    }
}
