//! Elementwise ops before a product of matrices: computed by the product's kernel as
//! it reads (a prologue), or stored by a kernel of their own. Both plans in turn, as a
//! Markdown table.
//!
//! ```sh
//! cargo bench --bench prologue [-- NAME]
//! ```

mod common;

use std::time::Instant;

use wgrad::plan::{Plan, PlanOptions, Prologues};
use wgrad::{Feeds, Gpu, Graph, NodeId, Program, gradient};

const ROUNDS: usize = 25;
/// Seconds that a turn takes at least.
const TURN: f64 = 0.01;

/// A product of `[m, k]` and `[k, n]`, what comes before which operand, and how many
/// products read what comes of it.
struct Case {
    sizes: [usize; 3],
    chain: &'static str,
    second: bool,
    readers: usize,
}

/// A graph, what is asked for, and the values of its leaves.
type Made = (Graph, Vec<NodeId>, Feeds);

/// What a chain makes of `x`.
fn chain(g: &mut Graph, feeds: &mut Feeds, x: NodeId, chain: &str) -> wgrad::Result<NodeId> {
    let mut value = x;
    for op in chain.split('+') {
        let dims = g.shape(x)?.dims().to_vec();
        let mut leaf = |g: &mut Graph, label: &str, dims: &[usize]| {
            feeds.insert(label.to_string(), common::tensor(dims, 0.5));
            g.input(label, dims)
        };
        value = match op {
            "relu" => g.relu(value)?,
            "scale" => g.scale(value, 0.5)?,
            "neg" => g.neg(value)?,
            "row" => {
                let row = leaf(g, "row", &dims[1..])?;
                g.add(value, row)?
            }
            "column" => {
                let column = leaf(g, "column", &[dims[0], 1])?;
                g.mul(value, column)?
            }
            "mask" => {
                let mask = leaf(g, "mask", &dims)?;
                g.relu_backward(mask, value)?
            }
            _ => panic!("no chain has `{op}`"),
        };
    }
    Ok(value)
}

fn graph(case: &Case) -> wgrad::Result<Made> {
    let [m, n, k] = case.sizes;
    let mut g = Graph::new();
    let mut feeds = Feeds::new();
    let [of_x, of_w] = match case.second {
        true => [[n, k], [m, k]],
        false => [[m, k], [n, k]],
    };
    let x = g.input("x", &of_x)?;
    let w = g.input("w", &of_w)?;
    for (label, id) in [("x", x), ("w", w)] {
        feeds.insert(label.to_string(), common::tensor(g.shape(id)?.dims(), 1.0));
    }
    let value = chain(&mut g, &mut feeds, x, case.chain)?;
    let mut outputs = vec![match case.second {
        true => g.matmul_with(w, value, false, true)?,
        false => g.matmul_with(value, w, false, true)?,
    }];
    if case.readers == 2 {
        // As a weight's gradient has it: the cotangent's transpose by the value.
        let y = g.input("y", &[m, n])?;
        feeds.insert("y".to_string(), common::tensor(&[m, n], 1.0));
        outputs.push(g.matmul_with(y, value, true, false)?);
    }
    Ok((g, outputs, feeds))
}

/// A training step of a network with what stands before its first layer: the loss
/// and the weights' gradients.
fn network(batch: usize, sizes: &[usize]) -> wgrad::Result<Made> {
    let mut g = Graph::new();
    let mut feeds = Feeds::new();
    let x = g.input("x", &[batch, sizes[0]])?;
    feeds.insert("x".to_string(), common::tensor(&[batch, sizes[0]], 1.0));
    let mut h = chain(&mut g, &mut feeds, x, "scale+relu")?;
    let mut weights = Vec::new();
    for (i, pair) in sizes.windows(2).enumerate() {
        let label = format!("{i}.weight");
        feeds.insert(label.clone(), common::tensor(&[pair[1], pair[0]], 0.1));
        let w = g.parameter(&label, &[pair[1], pair[0]])?;
        h = g.linear(h, w, None)?;
        h = g.relu(h)?;
        weights.push(w);
    }
    let loss = g.mean_all(h)?;
    let mut outputs = vec![loss];
    outputs.extend(gradient(&mut g, loss, &weights)?);
    Ok((g, outputs, feeds))
}

fn program(
    gpu: &Gpu,
    (g, outputs, feeds): &Made,
    prologues: Prologues,
) -> wgrad::Result<(Program, f64)> {
    let options = PlanOptions {
        rows: false,
        workgroup: false,
        prologues,
        ..PlanOptions::default()
    };
    let mut plan = Plan::with_options(g, outputs, gpu.target(), &options)?;
    plan.outputs.clear();
    let mut program = pollster::block_on(gpu.compile_plan(plan))?;
    program.set_all(feeds)?;
    let start = Instant::now();
    program.run_steps(1, &[])?;
    Ok((program, start.elapsed().as_secs_f64()))
}

/// Seconds of a step, of so many in one submission.
fn timed(program: &mut Program, steps: u32) -> wgrad::Result<f64> {
    let start = Instant::now();
    program.run_steps(steps, &[])?;
    Ok(start.elapsed().as_secs_f64() / f64::from(steps))
}

fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

fn measure(gpu: &Gpu, name: &str, made: &Made) -> wgrad::Result<()> {
    let (mut stored, first_stored) = program(gpu, made, Prologues::None)?;
    let (mut read, first_read) = program(gpu, made, Prologues::All)?;
    let (paying, _) = program(gpu, made, Prologues::Paying)?;
    let count = |program: &Program| program.plan().steps.len();
    assert!(count(&read) < count(&stored), "{}", read.plan());
    let once = timed(&mut stored, 1)?.min(timed(&mut stored, 1)?);
    let steps = (TURN / once).clamp(1.0, 200.0) as u32;
    let mut times = Vec::new();
    for round in 0..ROUNDS {
        // Who comes first takes turns, too.
        let mut a = 0.0;
        if round % 2 == 0 {
            a = timed(&mut stored, steps)?;
        }
        let b = timed(&mut read, steps)?;
        if round % 2 == 1 {
            a = timed(&mut stored, steps)?;
        }
        times.push((a, b));
    }
    println!(
        "| {name} | {} | {:.3} | {:.3} | {:.2} | {} | {:.0} | {:.0} |",
        read.plan().kernels[0].label,
        1e3 * median(times.iter().map(|t| t.0)),
        1e3 * median(times.iter().map(|t| t.1)),
        median(times.iter().map(|t| t.1 / t.0)),
        match count(&stored) - count(&paying) {
            0 => "no",
            _ => "yes",
        },
        1e3 * first_stored,
        1e3 * first_read,
    );
    Ok(())
}

fn main() {
    let wanted: Vec<String> = std::env::args()
        .skip(1)
        .filter(|a| a != "--bench")
        .collect();
    let gpu = common::gpu();
    println!(
        "| step | first kernel | stored, ms | prologue, ms | ratio | taken | \
         first stored, ms | first prologue, ms |"
    );
    println!("| --- | --- | --- | --- | --- | --- | --- | --- |");
    let is_wanted =
        |name: &str| wanted.is_empty() || wanted.iter().any(|w| name.contains(w.as_str()));
    let sizes = [
        [16, 16, 16],
        [64, 64, 64],
        [64, 512, 64],
        [256, 128, 256],
        [256, 512, 784],
        [256, 1, 1024],
        [4096, 1, 1024],
        [1024, 2, 512],
        [8, 512, 512],
        [512, 512, 512],
        [1024, 1024, 1024],
        [2048, 32, 1024],
        [100, 70, 50],
        [255, 127, 333],
        [16, 1024, 16],
        [64, 2048, 64],
        [128, 1, 256],
        [1024, 1, 256],
        [64, 64, 2],
        [512, 512, 3],
        [16, 16, 1024],
        [4, 48, 4096],
        [512, 2, 36],
        [33, 67, 129],
        [128, 128, 128],
    ];
    for sizes in sizes {
        for (chain, second, readers) in [
            ("relu", false, 1),
            ("scale+relu", false, 1),
            ("scale+relu", true, 1),
            ("row+relu", false, 1),
            ("mask", false, 1),
            ("scale+relu", false, 2),
        ] {
            let case = Case {
                sizes,
                chain,
                second,
                readers,
            };
            let [m, n, k] = sizes;
            let operand = if second { "B" } else { "A" };
            let name = format!("{m}x{n}x{k}, {chain} before {operand}, {readers} reading");
            if is_wanted(&name) {
                let made = graph(&case).expect("the shapes fit");
                measure(&gpu, &name, &made).expect("the plans run");
            }
        }
    }
    for (batch, sizes) in [
        (64, &[300, 200, 10][..]),
        (256, &[784, 512, 256, 16]),
        (1024, &[64, 64, 64]),
    ] {
        let layers: Vec<_> = sizes.iter().map(usize::to_string).collect();
        let name = format!("training {} at batch {batch}", layers.join("-"));
        if is_wanted(&name) {
            let made = network(batch, sizes).expect("the shapes fit");
            measure(&gpu, &name, &made).expect("the plans run");
        }
    }
}
