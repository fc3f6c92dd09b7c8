//! Workgroup programs: whole steps in one workgroup, on every kind of target,
//! judged op by op and from end to end.

mod common;

use std::collections::BTreeMap;

use common::{Random, gpu};
use wgrad::check::{Comparison, compare, steps};
use wgrad::graph::Target;
use wgrad::plan::{Plan, PlanOptions};
use wgrad::run::cpu;
use wgrad::{Feeds, Graph, NodeId, gradient};

/// The adapter's own target, and three that take other kernels.
fn targets() -> Vec<Target> {
    let software = Target {
        software: true,
        ..Target::default()
    };
    let buffers = Target {
        image_side: None,
        ..gpu().target().clone()
    };
    vec![gpu().target().clone(), Target::default(), software, buffers]
}

/// Without row programs, which would take a part of the network.
fn options() -> PlanOptions {
    PlanOptions {
        rows: false,
        ..PlanOptions::default()
    }
}

struct Subject {
    graph: Graph,
    wanted: Vec<NodeId>,
    feeds: Feeds,
}

/// A network with ReLUs and biases, its BCE loss and all gradients.
fn network(sizes: &[usize], batch: usize) -> Subject {
    let mut g = Graph::new();
    let mut random = Random::new(batch as u64);
    let mut feeds = Feeds::new();
    let mut h = g.input("x", &[batch, sizes[0]]).unwrap();
    feeds.insert("x".into(), random.tensor(&[batch, sizes[0]], (-1.0, 1.0)));
    let mut parameters = Vec::new();
    for (i, pair) in sizes.windows(2).enumerate() {
        let scale = 1.5 / (pair[0] as f32).sqrt();
        let mut leaf = |name: &str, dims: &[usize]| {
            let label = format!("{i}.{name}");
            let id = g.parameter(&label, dims).unwrap();
            feeds.insert(label, random.tensor(dims, (-scale, scale)));
            id
        };
        let w = leaf("weight", &[pair[1], pair[0]]);
        let b = leaf("bias", &[pair[1]]);
        parameters.extend([w, b]);
        h = g.linear(h, w, Some(b)).unwrap();
        if i + 2 < sizes.len() {
            h = g.relu(h).unwrap();
        }
    }
    let p = g.sigmoid(h).unwrap();
    let last = *sizes.last().unwrap();
    let y = g.input("y", &[batch, last]).unwrap();
    feeds.insert("y".into(), random.tensor(&[batch, last], (0.0, 1.0)));
    let l = g.bce(p, y).unwrap();
    let loss = g.mean_all(l).unwrap();
    let mut wanted = vec![loss];
    wanted.extend(gradient(&mut g, loss, &parameters).unwrap());
    Subject {
        graph: g,
        wanted,
        feeds,
    }
}

impl Subject {
    fn plan(&self, outputs: &[NodeId], target: &Target) -> Plan {
        let plan = Plan::with_options(&self.graph, outputs, target, &options()).unwrap();
        let all = plan.steps.iter().map(|s| &plan.kernels[s.kernel].label);
        let mut all = all.filter(|label| !label.starts_with("workgroup["));
        assert_eq!(all.next(), None, "{plan}");
        plan
    }

    /// Every value as the plan computes it.
    fn values(&self, plan: Plan) -> BTreeMap<NodeId, wgrad::Tensor> {
        let ids: Vec<NodeId> = plan.outputs.iter().map(|o| o.node).collect();
        let mut program = pollster::block_on(gpu().compile_plan(plan)).unwrap();
        program.set_all(&self.feeds).unwrap();
        let outputs = program.run().unwrap();
        let value = |&id: &NodeId| (id, outputs.get(id).unwrap().clone());
        ids.iter().map(value).collect()
    }

    /// The comparisons, op by op, that failed.
    fn failures(&self, plan: Plan) -> Vec<Comparison> {
        let values = self.values(plan);
        let all = steps::verify(&self.graph, &self.feeds, &values).unwrap();
        all.into_values().filter(|c| !c.passed()).collect()
    }

    /// Judges every op by itself, and the outputs from end to end.
    fn check(&self) {
        let all = steps::nodes(&self.graph, &self.wanted).unwrap();
        let reference = cpu::evaluate(&self.graph, &self.feeds, &self.wanted).unwrap();
        for target in targets() {
            let failed = self.failures(self.plan(&all, &target));
            assert!(failed.is_empty(), "{target:?}: {failed:#?}");
            for (id, value) in self.values(self.plan(&self.wanted, &target)) {
                let c = compare("", &value, reference.get(id).unwrap()).unwrap();
                assert!(c.passed(), "{target:?}: {c:#?}");
            }
        }
    }
}

#[test]
fn networks_of_every_width() {
    for (sizes, batch) in [
        (&[64, 64, 64, 1][..], 64),
        // Sizes that are no multiple of four, or of a tile.
        (&[5, 7, 3, 1], 9),
        (&[33, 20, 12, 2], 40),
        (&[16, 48, 20, 4], 20),
        (&[36, 36, 8], 17),
        // One row, and inner axes longer than a block of sums.
        (&[130, 66, 1], 1),
        (&[200, 24, 24, 1], 132),
        (&[4, 4, 4], 4),
    ] {
        network(sizes, batch).check();
    }
}

#[test]
fn sums_and_broadcasts_of_every_kind() {
    let mut g = Graph::new();
    let mut random = Random::new(3);
    let mut feeds = Feeds::new();
    let mut input = |g: &mut Graph, label: &str, dims: &[usize]| {
        feeds.insert(label.into(), random.tensor(dims, (-1.0, 1.0)));
        g.input(label, dims).unwrap()
    };
    let x = input(&mut g, "x", &[6, 7, 5]);
    let row = input(&mut g, "row", &[5]);
    let column = input(&mut g, "column", &[6, 7, 1]);
    let middle = input(&mut g, "middle", &[7, 1]);
    let wide = input(&mut g, "wide", &[300, 8]);
    let eight = input(&mut g, "eight", &[8]);
    let one = input(&mut g, "one", &[1]);
    let a = g.mul(x, row).unwrap();
    let b = g.add(a, column).unwrap();
    let c = g.mul(b, middle).unwrap();
    let d = g.sub(c, one).unwrap();
    let mut outputs = Vec::new();
    for axes in [&[0][..], &[1], &[2], &[0, 1], &[0, 2], &[1, 2], &[0, 1, 2]] {
        outputs.push(g.sum(d, axes).unwrap());
        outputs.push(g.mean(d, axes).unwrap());
    }
    let w = g.mul(wide, eight).unwrap();
    outputs.push(g.sum(w, &[0]).unwrap());
    outputs.push(g.mean(w, &[1]).unwrap());
    outputs.push(g.mean_all(w).unwrap());
    let subject = Subject {
        graph: g,
        wanted: outputs,
        feeds,
    };
    subject.check();
}

/// Layers of one size are one piece of text, and a long program is cut.
#[test]
fn deep_networks_stay_short() {
    let functions = |layers: usize| {
        let sizes = vec![16; layers + 1];
        let subject = network(&sizes, 16);
        let plan = subject.plan(&subject.wanted, &Target::default());
        let text: String = plan.kernels.iter().map(|k| k.source.as_str()).collect();
        (plan.steps.len(), text.matches("\nfn phase").count())
    };
    let (few, many) = (functions(4), functions(24));
    assert_eq!(few, many);
    network(&[16; 13], 16).check();

    // No two layers alike.
    let sizes: Vec<usize> = (0..16).map(|i| 16 + 4 * i).collect();
    let subject = network(&sizes, 20);
    let plan = subject.plan(&subject.wanted, gpu().target());
    assert!(plan.steps.len() > 1, "{plan}");
    subject.check();
}

#[test]
fn the_same_bits_every_time() {
    let subject = network(&[16, 48, 20, 4], 20);
    for target in targets() {
        let plan = subject.plan(&subject.wanted, &target);
        let mut program = pollster::block_on(gpu().compile_plan(plan)).unwrap();
        program.set_all(&subject.feeds).unwrap();
        let bits = |outputs: &wgrad::run::gpu::Outputs| -> Vec<u32> {
            let values = outputs.iter().flat_map(|(_, t)| t.data().to_vec());
            values.map(f32::to_bits).collect()
        };
        let first = bits(program.run().unwrap());
        for _ in 0..10 {
            let again = program.run_steps(3, &subject.wanted).unwrap();
            assert_eq!(bits(again), first);
        }
    }
}

#[test]
fn what_is_too_large_or_too_small_has_a_kernel_for_each_op() {
    let labels = |sizes: &[usize], batch| {
        let subject = network(sizes, batch);
        let target = Target::default();
        let plan = Plan::with_options(&subject.graph, &subject.wanted, &target, &options());
        let plan = plan.unwrap();
        let kernels = plan.kernels.iter().map(|k| k.label.clone());
        kernels.filter(|l| l.starts_with("workgroup[")).count()
    };
    assert_eq!(labels(&[64, 64, 64, 1], 64), 1);
    assert_eq!(labels(&[784, 512, 256, 1], 256), 0);
    assert_eq!(labels(&[64, 64, 1], 100_000), 0);

    let mut g = Graph::new();
    let a = g.input("a", &[8, 8]).unwrap();
    let b = g.matmul(a, a).unwrap();
    let plan = Plan::new(&g, &[b]).unwrap();
    assert!(plan.kernels[0].label.starts_with("matmul"), "{plan}");
}

#[test]
fn the_kernel_is_there_to_be_read() {
    let subject = network(&[64, 64, 64, 1], 64);
    let plan = subject.plan(&subject.wanted, &Target::default());
    let text = &plan.kernels[0].source;
    let entry = text.find("@compute").unwrap();
    insta::assert_snapshot!("workgroup_program", text[entry..]);
}

/// Networks side by side, each with leaves of its own: every one is checked
/// against the reference, and the bits are those that it has alone.
#[test]
fn replicas_are_networks_of_their_own() {
    for (sizes, batch, replicas, rows) in [
        (&[5, 7, 3, 1][..], 9, 13, false),
        (&[32, 32, 32, 4], 32, 3, false),
        // Row programs: whole fours, a rest, one row, and rows one by one.
        (&[4, 2, 1], 64, 9, true),
        (&[4, 2, 1], 7, 70, true),
        (&[3, 2, 1], 1, 5, true),
        (&[8, 6, 3, 2], 22, 4, true),
    ] {
        let mut random = Random::new(7);
        let Subject {
            graph,
            wanted,
            feeds,
        } = network(sizes, batch);
        let mut all = Feeds::new();
        for (label, value) in &feeds {
            let dims = [&[replicas], value.dims()].concat();
            let range = if label == "y" {
                (0.0, 1.0)
            } else {
                (-0.5, 0.5)
            };
            all.insert(label.clone(), random.tensor(&dims, range));
        }
        // One value for all.
        let x = feeds["x"].clone();
        all.insert("x".into(), x.clone());
        for target in targets() {
            let plan = |replicas| {
                let options = PlanOptions {
                    rows,
                    replicas,
                    ..options()
                };
                let plan = Plan::with_options(&graph, &wanted, &target, &options).unwrap();
                assert_eq!(plan.steps.len(), 1, "{plan}");
                let name = if rows { "rows[" } else { "workgroup[" };
                assert!(plan.kernels[0].label.starts_with(name), "{plan}");
                plan
            };
            let run = |plan: Plan, feeds: &Feeds| {
                let mut program = pollster::block_on(gpu().compile_plan(plan)).unwrap();
                program.set_all(feeds).unwrap();
                program.run().unwrap();
                program.run_steps(2, &wanted).unwrap().clone()
            };
            let together = run(plan(replicas), &all);
            for r in 0..replicas {
                let own = |(label, value): (&String, &wgrad::Tensor)| {
                    let dims = feeds[label].dims();
                    let numel: usize = dims.iter().product();
                    let first = if label == "x" { 0 } else { r * numel };
                    let data = value.data()[first..first + numel].to_vec();
                    (label.clone(), wgrad::Tensor::new(dims, data).unwrap())
                };
                let own: Feeds = all.iter().map(own).collect();
                let alone = run(plan(1), &own);
                let reference = cpu::evaluate(&graph, &own, &wanted).unwrap();
                for &id in &wanted {
                    let one = alone.get(id).unwrap();
                    let numel = one.data().len();
                    let value = together.get(id).unwrap();
                    assert_eq!(value.dims()[0], replicas);
                    let data = value.data()[r * numel..(r + 1) * numel].to_vec();
                    let value = wgrad::Tensor::new(one.dims(), data).unwrap();
                    let c = compare("", &value, reference.get(id).unwrap()).unwrap();
                    assert!(c.passed(), "{r}: {c:#?}");
                    let bits = |t: &wgrad::Tensor| -> Vec<u32> {
                        t.data().iter().map(|v| v.to_bits()).collect()
                    };
                    assert_eq!(bits(&value), bits(one), "{r}");
                }
            }
        }
    }
}

#[test]
fn replicas_that_cannot_be_are_errors() {
    let subject = network(&[5, 7, 3, 1], 9);
    let error = |subject: &Subject, replicas| {
        let options = PlanOptions {
            replicas,
            ..options()
        };
        let target = Target::default();
        let plan = Plan::with_options(&subject.graph, &subject.wanted, &target, &options);
        plan.unwrap_err().to_string()
    };
    assert!(error(&subject, 0).contains("1 or more"));
    let many = error(&subject, 10_000_000);
    assert!(many.contains("networks or fewer"), "{many}");
    let large = error(&network(&[784, 512, 1], 4096), 2);
    assert!(large.contains("one workgroup each"), "{large}");

    let options = PlanOptions {
        replicas: 3,
        ..options()
    };
    let plan = Plan::with_options(&subject.graph, &subject.wanted, gpu().target(), &options);
    let mut program = pollster::block_on(gpu().compile_plan(plan.unwrap())).unwrap();
    let two = wgrad::Tensor::new(&[2, 9, 5], vec![0.0; 90]).unwrap();
    let error = program.set("x", &two).unwrap_err().to_string();
    assert!(error.contains("[3, 9, 5]"), "{error}");
}

/// A check that cannot fail proves nothing.
#[test]
fn planted_faults_are_found() {
    // Two layers of one size are a loop; the large ones are multiplied in tiles.
    let subject = network(&[32, 32, 32, 4], 32);
    let all = steps::nodes(&subject.graph, &subject.wanted).unwrap();
    let mut targets = vec![Target::default()];
    if gpu().target().image_writes {
        targets.push(gpu().target().clone());
    }
    let mut planted = 0;
    for (from, to) in [
        // Only where values lie in an image: texels, and outputs beside it.
        ("(i % 512u, i / 512u)", "(i % 256u, i / 512u)"),
        ("    give(i, four);", ""),
        // Only where they lie in a buffer.
        ("storageBarrier();", ""),
        ("workgroupBarrier();", ""),
        ("var i = lane;", "var i = lane + 1u;"),
        ("u * turn)", "u)"),
        ("sum += block;", "sum = block;"),
        ("sum2 += ", "sum2 = "),
        ("block += (p0 + p1)", "block += (p0 - p1)"),
    ] {
        let plans = targets.iter().map(|target| subject.plan(&all, target));
        // A workgroup that is one subgroup walks in step, with barriers or without. So may
        // any on a GPU: a race need not show.
        let in_step = |plan: &Plan| {
            !gpu().target().software || plan.kernels[0].source.contains("subgroupBroadcast(")
        };
        let has = |plan: &Plan| {
            let any = plan.kernels.iter().any(|k| k.source.contains(from));
            any && !(from.contains("Barrier") && in_step(plan))
        };
        for mut plan in plans.filter(has) {
            planted += 1;
            for kernel in &mut plan.kernels {
                kernel.source = kernel.source.replace(from, to);
            }
            assert!(!subject.failures(plan).is_empty(), "not found: {from}");
        }
    }
    // Each in one of the two at least, if there are two.
    let barriers = if gpu().target().software { 0 } else { 2 };
    assert!(planted + barriers >= if targets.len() == 2 { 9 } else { 7 });
}
