//! Elementwise ops that a product's kernel computes as it reads (prologues) against
//! the same ops in kernels of their own: the same functions in the same order, so the
//! same bits where a compiler keeps to them, and the derived bounds everywhere.

mod common;

use common::{Random, gpu};
use wgrad::check::compare;
use wgrad::check::poison::examine;
use wgrad::graph::{Precision, Target};
use wgrad::ops::matmul::{Candidate, Problem, candidates};
use wgrad::plan::{Plan, PlanOptions, Prologues};
use wgrad::run::cpu;
use wgrad::{Feeds, Graph, NodeId, Tensor, gradient};

/// What stands before an operand. Of the first two the function of 0 is not 0.
const CHAINS: [&str; 5] = ["row", "row+relu", "relu", "scale+column", "mask+neg"];

/// A graph in the making, with the values of its leaves.
struct Maker {
    g: Graph,
    feeds: Feeds,
    random: Random,
}

impl Maker {
    fn new(seed: u64) -> Maker {
        Maker {
            g: Graph::new(),
            feeds: Feeds::new(),
            random: Random::new(seed),
        }
    }

    fn leaf(&mut self, dims: &[usize]) -> NodeId {
        let label = format!("x{}", self.feeds.len());
        let value = self.random.tensor(dims, (-1.0, 1.0));
        self.feeds.insert(label.clone(), value);
        self.g.input(&label, dims).unwrap()
    }

    /// What `chain` makes of `x`; nothing of it where the chain is empty.
    fn chain(&mut self, x: NodeId, chain: &str) -> NodeId {
        let dims = self.g.shape(x).unwrap().dims().to_vec();
        let mut value = x;
        for op in chain.split('+').filter(|op| !op.is_empty()) {
            value = match op {
                "relu" => self.g.relu(value),
                "neg" => self.g.neg(value),
                "scale" => self.g.scale(value, 0.75),
                "row" => {
                    let row = self.leaf(&dims[dims.len() - 1..]);
                    self.g.add(value, row)
                }
                "column" => {
                    let rows = dims[dims.len() - 2];
                    let column = self.leaf(&[rows, 1]);
                    self.g.mul(value, column)
                }
                "mask" => {
                    let mask = self.leaf(&dims);
                    self.g.relu_backward(mask, value)
                }
                _ => panic!("no chain has `{op}`"),
            }
            .unwrap();
        }
        value
    }

    fn plan(&self, outputs: &[NodeId], target: &Target, prologues: Prologues) -> Plan {
        let options = PlanOptions {
            rows: false,
            workgroup: false,
            prologues,
            ..PlanOptions::default()
        };
        Plan::with_options(&self.g, outputs, target, &options).unwrap()
    }

    fn run(&self, plan: Plan, outputs: &[NodeId]) -> Vec<Tensor> {
        let mut program = pollster::block_on(gpu().compile_plan(plan)).unwrap();
        program.set_all(&self.feeds).unwrap();
        let values = program.run().unwrap();
        let get = |&id: &NodeId| values.get(id).unwrap().clone();
        outputs.iter().map(get).collect()
    }

    /// Whether all values are within the bounds of the reference.
    fn passes(&self, outputs: &[NodeId], values: &[Tensor]) -> bool {
        let reference = cpu::evaluate(&self.g, &self.feeds, outputs).unwrap();
        outputs.iter().zip(values).all(|(&id, value)| {
            compare("", value, reference.get(id).unwrap())
                .unwrap()
                .passed()
        })
    }

    /// Compares a plan with prologues with one without, and both with the reference.
    fn agree(&self, outputs: &[NodeId], target: &Target, what: &str) -> [Plan; 2] {
        let plans = [Prologues::All, Prologues::None].map(|p| self.plan(outputs, target, p));
        let values = plans.clone().map(|plan| self.run(plan, outputs));
        for values in &values {
            assert!(self.passes(outputs, values), "{what}\n{}", plans[0]);
        }
        // Observed on lavapipe. A GPU may contract a product and a sum.
        if gpu().adapter().name.contains("llvmpipe") {
            let [read, stored] = values.map(|v| v.iter().map(bits).collect::<Vec<_>>());
            assert_eq!(read, stored, "{what}\n{}", plans[0]);
        }
        plans
    }
}

fn bits(t: &Tensor) -> Vec<u32> {
    t.data().iter().map(|v| v.to_bits()).collect()
}

/// The device's own target, and the others that it can run kernels of.
fn targets() -> [Target; 2] {
    [false, true].map(|software| Target {
        software,
        ..gpu().target().clone()
    })
}

/// A product with what stands before its operands.
#[derive(Clone, Debug)]
struct Case {
    sizes: [usize; 3],
    batch: [&'static [usize]; 2],
    turned: [bool; 2],
    chains: [&'static str; 2],
    followed: bool,
    precision: Precision,
}

impl Case {
    fn make(&self, seed: u64) -> (Maker, NodeId) {
        let mut maker = Maker::new(seed);
        let [m, n, k] = self.sizes;
        let [ta, tb] = self.turned;
        let dims = [
            if ta { [k, m] } else { [m, k] },
            if tb { [n, k] } else { [k, n] },
        ];
        let mut operands = [0, 1].map(|i| maker.leaf(&[self.batch[i], &dims[i]].concat()));
        for (operand, chain) in operands.iter_mut().zip(self.chains) {
            *operand = maker.chain(*operand, chain);
        }
        let [a, b] = operands;
        let mut c = maker.g.matmul_in(self.precision, [a, b], [ta, tb]).unwrap();
        if self.followed {
            let bias = maker.leaf(&[n]);
            c = maker.g.add(c, bias).unwrap();
            c = maker.g.relu(c).unwrap();
        }
        (maker, c)
    }

    fn problem(&self) -> Problem {
        let [m, n, k] = self.sizes;
        let [transpose_a, transpose_b] = self.turned;
        Problem {
            m,
            n,
            k,
            transpose_a,
            transpose_b,
            precision: self.precision,
        }
    }

    /// The targets that force each kernel for it, with the kernel's name.
    fn forced(&self) -> Vec<(Target, String)> {
        let mut all = Vec::new();
        for target in targets() {
            for candidate in candidates(&self.problem(), &target) {
                let name = candidate.to_string();
                // The same lines as smaller tiles, more often; long to compile.
                let blocks = match candidate {
                    Candidate::Subgroup {
                        row_blocks,
                        column_blocks,
                        ..
                    } => row_blocks * column_blocks,
                    Candidate::Tiled { blocks, .. } => blocks[0] * blocks[1],
                    _ => 1,
                };
                if blocks > 1 {
                    continue;
                }
                let mut target = target.clone();
                target.choices = [("matmul".to_string(), name.clone())].into();
                if !all.iter().any(|(t, _)| *t == target) {
                    all.push((target, name));
                }
            }
        }
        all
    }
}

const TURNS: [[bool; 2]; 4] = [[false, false], [false, true], [true, false], [true, true]];

/// Every third case takes operands that are rounded to float16.
fn precision(i: usize) -> Precision {
    match i % 3 {
        2 => Precision::F16,
        _ => Precision::F32,
    }
}

/// Runs the case with each kernel that is offered for it.
fn try_all(case: &Case, seed: u64, seen: &mut Vec<String>) {
    let (maker, c) = case.make(seed);
    for (target, name) in case.forced() {
        let what = format!("{name} {case:?}");
        let [read, stored] = maker.agree(&[c], &target, &what);
        // What lies outside comes to nothing, whatever it is.
        let found = examine(gpu(), read.clone(), &maker.feeds).unwrap();
        assert_eq!((found.wrong, &found.first), (0, &None), "{what}\n{read}");
        let before = case.chains.iter().filter(|chain| !chain.is_empty()).count();
        assert_eq!(
            read.steps.len() + before,
            stored.steps.len(),
            "{what}\n{read}\n{stored}"
        );
        if !seen.contains(&name) {
            seen.push(name);
        }
    }
}

#[test]
fn every_kernel_at_the_edges_of_its_tiles() {
    let mut seen = Vec::new();
    let sizes = [
        [3, 70, 5],
        [31, 32, 33],
        [36, 64, 64],
        [65, 63, 66],
        [5, 6, 300],
        [40, 1, 132],
        [1, 36, 68],
        [33, 70, 3],
        [12, 8, 4],
    ];
    for (i, sizes) in sizes.into_iter().enumerate() {
        for (j, turned) in TURNS.into_iter().enumerate() {
            // Each chain before either operand, and before both; at several sizes.
            let chain = |shift: usize| CHAINS[(i + j + shift) % CHAINS.len()];
            let chains = match (i + j) % 3 {
                0 => [chain(0), ""],
                1 => ["", chain(1)],
                _ => [chain(2), chain(3)],
            };
            let case = Case {
                sizes,
                batch: [&[], &[]],
                turned,
                chains,
                followed: j % 2 == 0,
                precision: precision(i),
            };
            try_all(&case, 100 + i as u64, &mut seen);
        }
    }
    for kernel in [
        "matmul_tiled 64x64 by 4x4",
        "matmul_16",
        "matmul_rows",
        "matmul_tall",
    ] {
        assert!(seen.iter().any(|s| s == kernel), "{kernel} was not run");
    }
    if matches!(gpu().target().subgroup_size, Some(4 | 8)) {
        for kernel in ["matmul_vector", "matmul_outer"] {
            assert!(seen.iter().any(|s| s == kernel), "{kernel} was not run");
        }
        let count = seen.iter().filter(|s| s.contains("subgroup")).count();
        assert_eq!(
            count,
            1 + usize::from(gpu().target().image_side.is_some()),
            "{seen:?}"
        );
    } else {
        eprintln!("skipped matmul_subgroup: no subgroups of 4 or 8 on this adapter");
    }
}

#[test]
fn every_kernel_over_broadcast_batches_and_long_inner_axes() {
    let mut seen = Vec::new();
    let none: [&'static [usize]; 2] = [&[], &[]];
    for (i, (sizes, batch)) in [
        ([33, 36, 8], [&[3][..], &[][..]]),
        ([35, 33, 7], [&[], &[2]]),
        ([3, 9, 260], [&[2, 1], &[3]]),
        ([8, 1, 12], [&[], &[2]]),
        ([7, 8, 2], [&[3], &[1]]),
        ([33, 20, 4097], none),
        ([12, 1, 8200], none),
        ([3, 40, 4100], none),
    ]
    .into_iter()
    .enumerate()
    {
        let case = Case {
            sizes,
            batch,
            turned: TURNS[i % 4],
            chains: ["row+relu", ["scale+column", "row", ""][i % 3]],
            followed: i % 2 == 0,
            precision: precision(i),
        };
        try_all(&case, 200 + i as u64, &mut seen);
    }
}

/// What lies past the end of the inner axis counts as 0 after the functions. A kernel
/// that makes it 0 before them adds f(0) g(0) for each.
#[test]
fn a_function_of_what_lies_outside_is_found() {
    let mut found = Vec::new();
    for sizes in [[33, 37, 66], [3, 40, 301], [12, 13, 262]] {
        let case = Case {
            sizes,
            batch: [&[], &[]],
            turned: [false, true],
            chains: ["row", "row"],
            followed: false,
            precision: Precision::F32,
        };
        let (mut maker, c) = case.make(7);
        // Rows of 1: f(0) = 1 in either operand.
        for row in maker.feeds.values_mut().filter(|v| v.dims().len() == 1) {
            row.data_mut().fill(1.0);
        }
        for (target, name) in case.forced() {
            if name == "matmul_tall" {
                continue; // reads nothing past the end
            }
            let mut plan = maker.plan(&[c], &target, Prologues::All);
            assert!(maker.passes(&[c], &maker.run(plan.clone(), &[c])), "{name}");
            let source = &mut plan.kernels[0].source;
            let wrong = zero_before(source);
            assert_ne!(*source, wrong, "{name}: nothing to plant");
            *source = wrong;
            assert!(
                !maker.passes(&[c], &maker.run(plan, &[c])),
                "{name} {case:?}"
            );
            found.push(name.split(' ').next().unwrap().to_string());
        }
    }
    for kernel in ["matmul_tiled", "matmul_16", "matmul_rows"] {
        assert!(found.iter().any(|f| f == kernel), "{found:?}");
    }
    let subgroups = matches!(gpu().target().subgroup_size, Some(4 | 8));
    assert_eq!(found.iter().any(|f| f == "matmul_subgroup"), subgroups);
}

/// The kernel with zeros put in before the functions, each of which makes 1 of 0.
fn zero_before(source: &str) -> String {
    let mut text = source.to_string();
    for x in ["a", "b"] {
        text = text.replace(
            &format!("select(0.0, prologue_{x}({x}[at], at), inside)"),
            &format!("prologue_{x}(select(0.0, {x}[at], inside), at)"),
        );
        for r in 0..4 {
            let inside = if x == "a" {
                "inside".to_string()
            } else {
                format!("inside[{r}]")
            };
            text = text.replace(
                &format!("{x}0[{r}] = select(vec4<f32>(), {x}0[{r}], {inside});"),
                &format!("{x}0[{r}] = select(vec4<f32>(1.0), {x}0[{r}], {inside});"),
            );
        }
    }
    for (i, k) in ["k", "k + 1u", "k + 2u", "k + 3u"].into_iter().enumerate() {
        text = text.replace(
            &format!("select(zero, block[{i}], {k} < j.k_end)"),
            &format!("select(zero + 1.0, block[{i}], {k} < j.k_end)"),
        );
    }
    text
}

/// Products and elementwise ops in any order, with their gradients.
#[test]
fn random_graphs_and_their_gradients() {
    let shapes: [&[usize]; 6] = [&[7, 7], &[7, 7], &[7], &[7, 1], &[], &[2, 7, 7]];
    let mut saved = 0;
    for seed in 0..12 {
        let mut maker = Maker::new(3000 + seed);
        let mut pool: Vec<NodeId> = shapes.iter().map(|dims| maker.leaf(dims)).collect();
        let leaves = pool.clone();
        for _ in 0..16 {
            let mut pick = || pool[(maker.random.bits() % pool.len() as u64) as usize];
            let (a, b) = (pick(), pick());
            let [ta, tb] = TURNS[(maker.random.bits() % 4) as usize];
            let dims = maker.g.shape(a).unwrap().dims().to_vec();
            let g = &mut maker.g;
            let made = match maker.random.bits() % 10 {
                0 => g.add(a, b),
                1 => g.mul(a, b),
                2 => g.relu(a),
                3 => g.sigmoid(a),
                4 => g.scale(a, 0.75),
                5 => g.reshape(a, &[dims.iter().product::<usize>() / 7, 7]),
                6 => g.matmul_with(a, b, ta, tb),
                // Where neither fits, nothing is made.
                7 => g.neg(a).and_then(|y| g.matmul_with(y, b, ta, tb)),
                8 => g.scale(b, 1.5).and_then(|y| g.matmul_with(a, y, ta, tb)),
                _ => g.relu(a).and_then(|y| g.matmul_with(y, b, ta, tb)),
            };
            match made {
                Ok(id) if g.shape(id).unwrap().numel() <= 1000 => pool.push(id),
                _ => {}
            }
        }
        let made = &pool[leaves.len()..];
        let mut loss = maker.g.constant(Tensor::scalar(0.0));
        for &id in made.iter().rev().take(5) {
            let dims = maker.g.shape(id).unwrap().dims().to_vec();
            let weight = maker.leaf(&dims);
            let m = maker.g.mul(id, weight).unwrap();
            let s = maker.g.sum_all(m).unwrap();
            loss = maker.g.add(loss, s).unwrap();
        }
        let mut outputs = vec![loss];
        // Half of the graphs go backward, too: there values have more readers.
        if seed % 2 == 0 {
            outputs.extend(gradient(&mut maker.g, loss, &leaves).unwrap());
        }
        outputs.extend(made.last());
        // Some gradients are zeros, constants.
        outputs.retain(|&id| maker.g.node(id).unwrap().op().is_some());
        for target in [gpu().target(), &Target::default()] {
            let [read, stored] = maker.agree(&outputs, target, &format!("seed {seed}"));
            saved += stored.steps.len() - read.steps.len();
        }
    }
    eprintln!("{saved} dispatches fewer");
    assert!(saved > 25, "only {saved} dispatches were saved");
}
