//! Poison: a plan that is as it should be shows nothing, and of one that is not
//! the kernel and the element are named.

mod common;

use common::{Random, gpu};
use wgrad::Graph;
use wgrad::bench::Work;
use wgrad::check::poison::{Found, examine};
use wgrad::graph::{NodeId, Target};
use wgrad::nn::{Loss, Network};
use wgrad::plan::{Plan, PlanOptions};
use wgrad::run::Feeds;

/// A graph with its outputs and the values of its leaves.
struct Subject {
    graph: Graph,
    outputs: Vec<NodeId>,
    feeds: Feeds,
}

impl Subject {
    /// A sum of so many terms, in chunks, by the kernels of a GPU.
    fn sum(terms: usize) -> Subject {
        let mut graph = Graph::new();
        let x = graph.input("x", &[terms]).unwrap();
        let outputs = vec![graph.sum_all(x).unwrap()];
        let value = Random::new(1).tensor(&[terms], (-1.0, 1.0));
        let feeds = [("x".to_string(), value)].into();
        Subject {
            graph,
            outputs,
            feeds,
        }
    }

    /// A step of a small network.
    fn step(batch: usize) -> Subject {
        let text = "Sequential(Linear(4, 3), ReLU(), Linear(3, 1), Sigmoid())";
        let work = Work {
            network: Network::parse(text).unwrap(),
            loss: Loss::parse("BCELoss").unwrap(),
            batch,
            replicas: 1,
        };
        let (graph, outputs) = work.graph().unwrap();
        let mut random = Random::new(2);
        let mut feeds = Feeds::new();
        for (_, node) in graph.nodes().filter(|(_, n)| n.is_fed()) {
            let range = match node.label.as_str() {
                "input" => (-1.0, 1.0),
                "target" => (0.0, 1.0),
                _ => (-0.5, 0.5),
            };
            feeds.insert(node.label.clone(), random.tensor(node.shape.dims(), range));
        }
        Subject {
            graph,
            outputs,
            feeds,
        }
    }

    fn plan(&self, options: &PlanOptions) -> Plan {
        let target = Target::default();
        Plan::with_options(&self.graph, &self.outputs, &target, options).unwrap()
    }

    fn look(&self, plan: Plan) -> Found {
        examine(gpu(), plan, &self.feeds).unwrap()
    }
}

fn edit(plan: &mut Plan, from: &str, to: &str) {
    for kernel in &mut plan.kernels {
        assert!(kernel.source.contains(from), "{}", kernel.source);
        kernel.source = kernel.source.replace(from, to);
    }
}

/// The plan shows nothing, and the damaged one a mistake with these words and
/// this kernel.
fn is_caught(
    subject: &Subject,
    options: &PlanOptions,
    damage: impl Fn(&mut Plan),
    what: &str,
    kernel: &str,
) {
    let mut plan = subject.plan(options);
    let healthy = subject.look(plan.clone());
    assert_eq!((healthy.wrong, &healthy.first), (0, &None), "{plan}");
    assert!(healthy.words > 1000);
    damage(&mut plan);
    let found = subject.look(plan.clone());
    assert!(found.wrong > 0, "{what}: not caught in {plan}");
    let first = found.first.unwrap();
    let named = first.kernel.as_deref().unwrap_or("nothing");
    assert!(first.what.contains(what), "{} ({named})", first.what);
    assert!(named.contains(kernel), "{named}: {}", first.what);
    eprintln!("{named}: {}", first.what);
}

/// Two passes: three partial sums, then their sum.
#[test]
fn faults_of_a_sum_are_caught_and_named() {
    let subject = Subject::sum(5000);
    let options = PlanOptions::default();
    let caught = |damage: fn(&mut Plan), what: &str, kernel: &str| {
        is_caught(&subject, &options, damage, what, kernel);
    };
    caught(
        |plan| plan.steps[0].grid[0] -= 1,
        "element 2 of 3 of `sum_1 (part 0)` was never written",
        "sum_tree (step 1 of 2",
    );
    let store = "        output[job] = ";
    fn also(plan: &mut Plan, at: &str) {
        let store = "        output[job] = ";
        edit(
            plan,
            store,
            &format!("        output[{at}] = 1.5;\n{store}"),
        );
    }
    assert!(subject.plan(&options).kernels[0].source.contains(store));
    caught(
        |plan| also(plan, "params.outputs * params.chunks"),
        "word 0 behind the 3 elements of `sum_1 (part 0)` was written",
        "sum_tree (step 1 of 2",
    );
    caught(
        |plan| also(plan, "job + 1000u"),
        "in the guard zone, was written: it held NaN",
        "sum_tree (step 1 of 2",
    );
    // In place of what it should write.
    caught(
        |plan| {
            edit(
                plan,
                "        output[job] = ",
                "        output[job + 0x10000000u] = ",
            )
        },
        "`sum_1 (part 0)`",
        "sum_tree (step 1 of 2",
    );
    caught(
        |plan| plan.steps.swap(0, 1),
        "element 0 of 1 of `sum_1` is NaN",
        "sum_serial (step 1 of 2",
    );
    // One term more than there are.
    caught(
        |plan| plan.steps[0].params[1] += 1,
        "element 2 of 3 of `sum_1 (part 0)` is NaN",
        "sum_tree (step 1 of 2",
    );
}

#[test]
fn faults_of_networks_side_by_side_are_caught_and_named() {
    let subject = Subject::step(9);
    for (rows, share, kernel) in [
        (true, true, "rows["),
        (false, true, "workgroup["),
        (false, false, "workgroup["),
    ] {
        let options = PlanOptions {
            replicas: 3,
            rows,
            share,
            ..PlanOptions::default()
        };
        // The last network's workgroup.
        let damage = |plan: &mut Plan| plan.steps[0].grid[0] -= 1;
        is_caught(
            &subject,
            &options,
            damage,
            "of replica 2 was never written",
            kernel,
        );
    }
    let options = PlanOptions::default();
    // Where the first sum goes.
    let damage = |plan: &mut Plan| plan.steps[0].params[8] += 900;
    is_caught(
        &subject,
        &options,
        damage,
        "in the guard zone, was written",
        "rows[",
    );
}

/// On the adapter's own target, with all kernels that it takes, large products
/// and their images among them.
#[test]
fn sound_plans_show_nothing() {
    let mut graph = Graph::new();
    let a = graph.input("a", &[260, 256]).unwrap();
    let b = graph.input("b", &[256, 256]).unwrap();
    let c = graph.matmul(a, b).unwrap();
    let d = graph.relu(c).unwrap();
    let e = graph.matmul(d, b).unwrap();
    let f = graph.matmul_with(e, e, true, false).unwrap();
    let mut random = Random::new(3);
    let feeds: Feeds = [
        ("a".to_string(), random.tensor(&[260, 256], (-1.0, 1.0))),
        ("b".to_string(), random.tensor(&[256, 256], (-1.0, 1.0))),
    ]
    .into();
    let products = Subject {
        graph,
        outputs: vec![f],
        feeds,
    };
    for subject in [products, Subject::step(1030)] {
        for (fuse, rows, share) in [
            (true, true, true),
            (true, false, true),
            (true, false, false),
            (false, false, true),
            (false, false, false),
        ] {
            let options = PlanOptions {
                fuse,
                rows,
                share,
                ..PlanOptions::default()
            };
            let (graph, outputs) = (&subject.graph, &subject.outputs);
            let plan = Plan::with_options(graph, outputs, gpu().target(), &options).unwrap();
            let found = subject.look(plan.clone());
            assert_eq!((found.wrong, found.first), (0, None), "{plan}");
        }
    }
}

#[test]
fn a_leaf_without_a_value_is_an_error() {
    let subject = Subject::sum(5);
    let plan = subject.plan(&PlanOptions::default());
    let error = examine(gpu(), plan, &Feeds::new()).unwrap_err().to_string();
    assert!(
        error.contains("no value of 5 elements was given for `x`"),
        "{error}"
    );
}
