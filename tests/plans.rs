//! Plans and shaders, without any device: what runs is plain data.

use wgrad::graph::Target;
use wgrad::plan::{MAX_WORKGROUPS, Plan, PlanOptions};
use wgrad::{Graph, gradient, ops, vjp};

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
    let options = PlanOptions { fuse: false };
    let plan = Plan::with_options(&g, &wanted, &Target::default(), &options).unwrap();
    insta::assert_snapshot!("exercise_plan", plan.to_string());
    validate(&plan);
}

#[test]
fn what_is_not_asked_for_is_not_planned() {
    let (g, wanted) = exercise();
    let options = PlanOptions { fuse: false };
    let plan = |wanted| Plan::with_options(&g, wanted, &Target::default(), &options).unwrap();
    let forward = plan(&wanted[..1]);
    let all = plan(&wanted);
    assert_eq!(forward.steps.len(), 6);
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
    // One element an invocation, the worst case, and nearly as many elements
    // as a tensor may have: it takes two axes of workgroups.
    let mut g = Graph::new();
    let a = g.input("a", &[65_535, 1]).unwrap();
    let b = g.input("b", &[1, 65_535]).unwrap();
    let c = g.mul(a, b).unwrap();
    let plan = Plan::new(&g, &[c]).unwrap();
    let [x, y] = plan.steps[0].grid;
    assert!(u64::from(x) * u64::from(y) * 64 >= 65_535 * 65_535);
}
