//! Random graphs with fan-out, diamonds and broadcasting: every step on the GPU
//! against float64, and every gradient against central differences.

mod common;

use std::collections::BTreeMap;

use common::{Random, gpu};
use ndarray::{ArrayD, IxDyn};
use wgrad::check::{difference, steps};
use wgrad::graph::Target;
use wgrad::plan::{Plan, PlanOptions};
use wgrad::run::cpu;
use wgrad::{Feeds, Graph, NodeId, Tensor, gradient};

const GRAPHS: u64 = 60;
const OPS: usize = 14;

struct Case {
    graph: Graph,
    leaves: Vec<NodeId>,
    /// Inputs of ReLUs, whose kinks central differences must not straddle.
    kinks: Vec<NodeId>,
    loss: NodeId,
    feeds: Feeds,
}

fn pick<T: Copy>(random: &mut Random, list: &[T]) -> T {
    list[(random.bits() % list.len() as u64) as usize]
}

/// Adds one random op; `None` if the operands drawn do not fit it.
fn grow(
    g: &mut Graph,
    pool: &[NodeId],
    random: &mut Random,
    kinks: &mut Vec<NodeId>,
) -> Option<NodeId> {
    let (a, b) = (pick(random, pool), pick(random, pool));
    let dims = g.shape(a).unwrap().dims().to_vec();
    let made = match random.bits() % 13 {
        0 => g.add(a, b),
        1 => g.sub(a, b),
        2 => g.mul(a, b),
        3 => {
            kinks.push(a);
            g.relu(a)
        }
        4 => g.sigmoid(a),
        5 => g.softplus(a),
        6 => g.neg(a),
        7 => g.matmul(a, b),
        8 if dims.len() == 2 => {
            let (ta, tb) = (random.flag(), random.flag());
            g.matmul_with(a, b, ta, tb)
        }
        9 if !dims.is_empty() => g.mean(a, &[(random.bits() % dims.len() as u64) as usize]),
        10 if !dims.is_empty() => g.sum(a, &[(random.bits() % dims.len() as u64) as usize]),
        11 => g.expand(a, &[&[2], &dims[..]].concat()),
        12 => g.reshape(a, &[dims.iter().product()]),
        _ => g.mse(a, b),
    };
    let made = made.ok()?;
    if g.shape(made).unwrap().numel() > 200 || g.shape(made).unwrap().rank() > 4 {
        return None;
    }
    // Sums and products grow; halving keeps the values in a sane range.
    g.scale(made, 0.5).ok()
}

fn case(seed: u64) -> Case {
    let mut random = Random::new(seed);
    let mut g = Graph::new();
    let mut feeds = Feeds::new();
    let mut leaves = Vec::new();
    for (i, dims) in [&[3, 4][..], &[4, 3], &[4], &[3, 1], &[]]
        .iter()
        .enumerate()
    {
        let label = format!("x{i}");
        leaves.push(g.input(&label, dims).unwrap());
        feeds.insert(label, random.tensor(dims, (-1.5, 1.5)));
    }
    let mut pool = leaves.clone();
    let mut kinks = Vec::new();
    let mut tries = 0;
    while pool.len() < leaves.len() + OPS && tries < 1000 {
        tries += 1;
        let mut own = Vec::new();
        if let Some(node) = grow(&mut g, &pool, &mut random, &mut own) {
            pool.push(node);
            kinks.extend(own);
        }
    }
    // The last nodes, each with a random cotangent, so that all of it counts.
    let mut loss = g.constant(Tensor::scalar(0.0));
    for &node in &pool[leaves.len()..] {
        let dims = g.shape(node).unwrap().dims().to_vec();
        let weight = g.constant(random.tensor(&dims, (-1.0, 1.0)));
        let weighted = g.mul(node, weight).unwrap();
        let part = g.sum_all(weighted).unwrap();
        loss = g.add(loss, part).unwrap();
    }
    Case {
        graph: g,
        leaves,
        kinks,
        loss,
        feeds,
    }
}

fn wide(tensor: &Tensor) -> ArrayD<f64> {
    let data = tensor.data().iter().map(|&v| f64::from(v)).collect();
    ArrayD::from_shape_vec(IxDyn(tensor.dims()), data).unwrap()
}

#[test]
fn values_and_gradients_of_random_graphs() {
    let mut at_a_kink = 0;
    for seed in 0..GRAPHS {
        let Case {
            graph: mut g,
            leaves,
            kinks,
            loss,
            feeds,
        } = case(seed);
        let grads = gradient(&mut g, loss, &leaves).unwrap();
        g.verify().unwrap();

        let mut wanted = vec![loss];
        wanted.extend(&grads);
        let nodes = steps::nodes(&g, &wanted).unwrap();
        // In turn with a kernel for each op, as a run has it, and with each way
        // to fuse by itself.
        let options = PlanOptions {
            fuse: seed % 4 != 0,
            rows: seed % 4 != 2,
            workgroup: seed % 4 != 3,
            ..PlanOptions::default()
        };
        // With the kernels for this device, and every third with those that a GPU gets.
        let hardware = Target {
            software: false,
            ..gpu().target().clone()
        };
        let targets = [gpu().target(), &hardware];
        for target in &targets[..if seed % 3 == 0 { 2 } else { 1 }] {
            let plan = Plan::with_options(&g, &nodes, target, &options).unwrap();
            let mut program = pollster::block_on(gpu().compile_plan(plan)).unwrap();
            program.set_all(&feeds).unwrap();
            let outputs = program.run().unwrap();
            let values: BTreeMap<_, _> = nodes
                .iter()
                .map(|&id| (id, outputs.get(id).unwrap().clone()))
                .collect();
            for c in steps::verify(&g, &feeds, &values).unwrap().values() {
                assert!(c.passed(), "graph {seed}: {c:#?}\n{g}");
            }
        }

        let given: BTreeMap<_, _> = feeds.iter().map(|(k, v)| (k.clone(), wide(v))).collect();
        let near_kink = |id: &NodeId| {
            let value = cpu::evaluate_wide(&g, &given, &[*id]).unwrap().remove(0);
            value.iter().any(|v| *v != 0.0 && v.abs() < 5e-3)
        };
        if kinks.iter().any(near_kink) {
            at_a_kink += 1;
            continue;
        }
        for (i, &grad) in grads.iter().enumerate() {
            let label = format!("x{i}");
            let got = cpu::evaluate_wide(&g, &given, &[grad]).unwrap().remove(0);
            let want = difference::gradient(&g, &given, loss, &label).unwrap();
            for (got, want) in got.iter().zip(&want) {
                assert!(
                    approx::relative_eq!(got, want, epsilon = 1e-6, max_relative = 1e-6),
                    "graph {seed}, {label}: the rules give {got}, differences {want}\n{g}"
                );
            }
        }
    }
    eprintln!("{at_a_kink} of {GRAPHS} graphs not differenced: a ReLU's input is close to 0");
    assert!(
        at_a_kink <= GRAPHS / 3,
        "{at_a_kink} of {GRAPHS} graphs were not differenced"
    );
}
