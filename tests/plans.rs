//! Plans and shaders, without any device: what runs is plain data.

use wgrad::bench::Work;
use wgrad::check::steps;
use wgrad::graph::Target;
use wgrad::nn::{Loss, Network};
use wgrad::plan::{MAX_WORKGROUPS, Plan, PlanOptions};
use wgrad::{Graph, NodeId, gradient, ops, vjp};

fn validate(plan: &Plan) {
    for kernel in &plan.kernels {
        let module = naga::front::wgsl::parse_str(&kernel.source)
            .unwrap_or_else(|e| panic!("{}: {}", kernel.label, e.emit_to_string(&kernel.source)));
        naga::valid::Validator::new(
            naga::valid::ValidationFlags::all(),
            // Asked for where a kernel uses subgroups, and nowhere else.
            if kernel.source.contains("subgroup_invocation_id") {
                naga::valid::Capabilities::SUBGROUP
            } else {
                naga::valid::Capabilities::empty()
            },
        )
        .validate(&module)
        .unwrap_or_else(|e| panic!("{}: {e:?}", kernel.label));
        let entry = module.entry_points.iter().find(|e| e.name == kernel.entry);
        let entry = entry.unwrap_or_else(|| panic!("{} has no entry point", kernel.label));
        let size: u32 = entry.workgroup_size.iter().product();
        assert!(
            size > 1 && size <= 256,
            "{}: {size} invocations",
            kernel.label
        );
    }
    for step in &plan.steps {
        assert!(
            step.grid
                .iter()
                .all(|&g| g > 0 && u64::from(g) <= MAX_WORKGROUPS)
        );
        assert!(
            !step.inputs.iter().any(|i| step.outputs.contains(i)),
            "a step reads what it writes"
        );
    }
}

#[test]
fn every_generated_shader_is_valid_wgsl() {
    let mut kernels = 0;
    for family in ops::ALL {
        for sample in &(family.samples)() {
            let mut g = Graph::new();
            let leaves: Vec<_> = sample
                .shapes
                .iter()
                .enumerate()
                .map(|(i, dims)| g.input(&format!("x{i}"), dims).unwrap())
                .collect();
            let y = (sample.build)(&mut g, &leaves).unwrap();
            let dims = g.shape(y).unwrap().dims().to_vec();
            let c = g.input("c", &dims).unwrap();
            let mut wanted = vec![y];
            for &leaf in &leaves {
                if let Ok(grads) = vjp(&mut g, y, c, &[leaf]) {
                    wanted.extend(grads);
                }
            }
            let plan = Plan::new(&g, &wanted).unwrap();
            validate(&plan);
            kernels += plan.kernels.len();
        }
    }
    assert!(kernels > 100, "only {kernels} kernels were validated");
}

fn exercise() -> (Graph, Vec<wgrad::NodeId>) {
    let mut g = Graph::new();
    let x = g.input("x", &[1, 4]).unwrap();
    let w1 = g.parameter("0.weight", &[2, 4]).unwrap();
    let w2 = g.parameter("2.weight", &[1, 2]).unwrap();
    let y = g.input("y", &[1, 1]).unwrap();
    let z1 = g.linear(x, w1, None).unwrap();
    let h = g.relu(z1).unwrap();
    let z2 = g.linear(h, w2, None).unwrap();
    let s = g.sigmoid(z2).unwrap();
    let l = g.bce(s, y).unwrap();
    let loss = g.mean_all(l).unwrap();
    let grads = gradient(&mut g, loss, &[w1, w2]).unwrap();
    (g, vec![loss, grads[0], grads[1]])
}

#[test]
fn the_exercise_as_graph_and_plan() {
    let (g, wanted) = exercise();
    insta::assert_snapshot!("exercise_graph", g.to_string());
    let plan = Plan::new(&g, &wanted).unwrap();
    insta::assert_snapshot!("exercise_row_program_plan", plan.to_string());
    insta::assert_snapshot!("exercise_row_program", plan.kernels[0].source);
    validate(&plan);
    let options = PlanOptions {
        fuse: false,
        ..PlanOptions::default()
    };
    let plan = Plan::with_options(&g, &wanted, &Target::default(), &options).unwrap();
    insta::assert_snapshot!("exercise_plan", plan.to_string());
    validate(&plan);
}

#[test]
fn what_is_not_asked_for_is_not_planned() {
    let (g, wanted) = exercise();
    let options = PlanOptions {
        fuse: false,
        ..PlanOptions::default()
    };
    let plan = |wanted| Plan::with_options(&g, wanted, &Target::default(), &options).unwrap();
    let forward = plan(&wanted[..1]);
    let all = plan(&wanted);
    // The mean of one takes no step.
    assert_eq!(forward.steps.len(), 5);
    assert!(all.steps.len() > forward.steps.len());
    // The gradient by the input was not asked for.
    assert!(!all.steps.iter().any(|s| s.label == "d/d x"));
}

#[test]
fn the_same_kernel_serves_many_shapes() {
    let mut g = Graph::new();
    let a = g.input("a", &[3, 5]).unwrap();
    let b = g.input("b", &[100_000]).unwrap();
    let ra = g.relu(a).unwrap();
    let rb = g.relu(b).unwrap();
    let plan = Plan::new(&g, &[ra, rb]).unwrap();
    assert_eq!((plan.steps.len(), plan.kernels.len()), (2, 1));
}

#[test]
fn the_largest_tensors_have_a_grid() {
    // Nearly as many elements as a tensor may have, four an invocation: it
    // takes two axes of workgroups.
    let mut g = Graph::new();
    let a = g.input("a", &[65_535, 1]).unwrap();
    let b = g.input("b", &[1, 65_535]).unwrap();
    let c = g.mul(a, b).unwrap();
    let plan = Plan::new(&g, &[c]).unwrap();
    let [x, y] = plan.steps[0].grid;
    assert!(u64::from(x) * u64::from(y) * 64 * 4 >= 65_535 * 65_535);
}

/// A step of a network with ReLU, biases, a sigmoid and a mean BCE, as figures:
/// (steps, kernels, bytes).
fn figures(sizes: &[usize], batch: usize, options: &PlanOptions) -> (usize, usize, u64) {
    let mut g = Graph::new();
    let mut h = g.input("x", &[batch, sizes[0]]).unwrap();
    let mut weights = Vec::new();
    for (i, pair) in sizes.windows(2).enumerate() {
        let w = g.parameter(&format!("{i}.weight"), &[pair[1], pair[0]]);
        let b = g.parameter(&format!("{i}.bias"), &[pair[1]]);
        weights.extend([w.unwrap(), b.unwrap()]);
        let [.., w, b] = weights[..] else { panic!() };
        h = g.linear(h, w, Some(b)).unwrap();
        if i + 2 < sizes.len() {
            h = g.relu(h).unwrap();
        }
    }
    let p = g.sigmoid(h).unwrap();
    let y = g.input("y", &[batch, 1]).unwrap();
    let l = g.bce(p, y).unwrap();
    let loss = g.mean_all(l).unwrap();
    let mut outputs = vec![loss];
    outputs.extend(gradient(&mut g, loss, &weights).unwrap());
    let plan = Plan::with_options(&g, &outputs, &Target::default(), options).unwrap();
    validate(&plan);
    assert!(plan.peak_bytes <= plan.bytes());
    eprintln!("{sizes:?}, batch {batch}: {plan}");
    (plan.steps.len(), plan.kernels.len(), plan.bytes())
}

#[test]
fn what_the_passes_save() {
    let none = PlanOptions {
        fuse: false,
        rows: false,
        workgroup: false,
        share: false,
        replicas: 1,
        count_nonfinite: false,
        prologues: wgrad::plan::Prologues::Paying,
    };
    let fused = PlanOptions {
        rows: false,
        workgroup: false,
        ..PlanOptions::default()
    };
    for (sizes, batch) in [
        (&[4, 2, 1][..], 1),
        (&[4, 2, 1], 65_536),
        (&[64, 64, 64, 1], 64),
        (&[784, 512, 256, 1], 256),
    ] {
        let before = figures(sizes, batch, &none);
        let after = figures(sizes, batch, &fused);
        let all = figures(sizes, batch, &PlanOptions::default());
        eprintln!("{sizes:?}, batch {batch}: {before:?} to {after:?}, by default {all:?}");
        assert!(after.0 < before.0 && after.2 < before.2);
    }
}

/// A plan and a gradient take time in proportion to the nodes: were one of them
/// quadratic, this would take minutes.
#[test]
fn ten_thousand_nodes() {
    let mut g = Graph::new();
    let w = g.parameter("w", &[3, 3]).unwrap();
    let mut h = g.input("x", &[2, 3]).unwrap();
    let mut nodes = Vec::new();
    while g.len() < 10_000 {
        let z = g.matmul(h, w).unwrap();
        let s = g.sigmoid(z).unwrap();
        let r = g.relu(s).unwrap();
        h = g.add(r, h).unwrap();
        nodes.extend([z, s, r, h]);
    }
    let forward = g.len();
    let loss = g.sum_all(h).unwrap();
    let dw = gradient(&mut g, loss, &[w]).unwrap()[0];
    // At most two vjps and a sum for each.
    assert!(g.len() - forward < 3 * forward, "{} nodes", g.len());
    let plan = Plan::new(&g, &[loss, dw]).unwrap();
    assert!(plan.steps.len() < g.len());
    let computed: usize = plan.steps.iter().map(|s| s.op.split(", ").count()).sum();
    assert!(computed < 2 * g.len(), "{computed}");
    // Every node read back; and a leaf and a reader for each.
    nodes.push(dw);
    assert_eq!(Plan::new(&g, &nodes).unwrap().outputs.len(), nodes.len());
    let mut g = Graph::new();
    let mut parts = Vec::new();
    let x = g.input("x", &[2]).unwrap();
    for i in 0..5000 {
        let y = g.input(&format!("y{i}"), &[2]).unwrap();
        parts.push(g.mul(x, y).unwrap());
    }
    let mut total = parts[0];
    for &part in &parts[1..] {
        total = g.add(total, part).unwrap();
    }
    let loss = g.sum_all(total).unwrap();
    let dx = gradient(&mut g, loss, &[x]).unwrap()[0];
    let plan = Plan::new(&g, &[dx]).unwrap();
    assert_eq!(plan.feeds.len(), 5000, "x itself is not read");
}

/// The exercise's network with biases, and everything that a step computes.
fn with_biases(batch: usize) -> (Graph, Vec<NodeId>) {
    let text = "Sequential(Linear(4, 2), ReLU(), Linear(2, 1), Sigmoid())";
    let work = Work {
        network: Network::parse(text).unwrap(),
        loss: Loss::parse("BCELoss").unwrap(),
        batch,
        replicas: 1,
    };
    work.graph().unwrap()
}

#[test]
fn eight_buffers_are_enough_for_the_row_program_of_a_small_network() {
    let (g, wanted) = with_biases(64);
    let plan = Plan::new(&g, &wanted).unwrap();
    assert_eq!(plan.steps.len(), 1, "{plan}");
    let step = &plan.steps[0];
    assert!(step.inputs.len() + step.outputs.len() <= 8, "{plan}");
    validate(&plan);
}

#[test]
fn stored_values_that_cannot_be_bound_together_lie_apart() {
    let batch = 3_000_000;
    let (g, wanted) = with_biases(batch);
    let all = steps::nodes(&g, &wanted).unwrap();
    let plan = Plan::new(&g, &all).unwrap();
    let most = Target::default().binding_bytes;
    for spec in &plan.buffers {
        assert!(spec.bytes() <= most, "{}: {}", spec.label, spec.bytes());
    }
}

#[test]
fn every_op_in_a_row_program_is_fenced() {
    let (g, wanted) = with_biases(64);
    let plan = Plan::new(&g, &wanted).unwrap();
    let source = &plan.kernels[0].source;
    // One that all rows share, one of four rows, one product.
    for (kept, value) in [
        ("kept", "scale("),
        ("kept4", "sigmoid4("),
        ("kept4", "x0_0 * "),
    ] {
        let lines = || source.lines().filter(|l| l.contains(&format!("= {value}")));
        assert_eq!(lines().count(), 0, "{:?}", lines().collect::<Vec<_>>());
        assert!(source.contains(&format!("= {kept}({value}")), "{source}");
    }
}
