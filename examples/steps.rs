//! Where the time of a network's step goes, as a Markdown table: every dispatch
//! of its plan run by itself, with its time, what it computes and moves, as a
//! share of what the adapter can do at best, and what the first run took more
//! (on a driver in software, its compiler).
//!
//! ```sh
//! cargo run --release --example steps -- \
//!     'Sequential(Linear(784, 512), ReLU(), Linear(512, 1), Sigmoid())' 256 [CHOICE=KERNEL ..]
//! ```

use std::error::Error;
use std::time::Instant;

use wgrad::Gpu;
use wgrad::bench::{Options, Results, Work};
use wgrad::nn::{Loss, Network};
use wgrad::plan::{Plan, Step};
use wgrad::tensor::Tensor;

/// Seconds of timing for each dispatch.
const SECONDS: f64 = 0.3;
/// Runs at least, however long they take.
const LEAST: usize = 5;

fn main() -> Result<(), Box<dyn Error>> {
    let mut words = std::env::args().skip(1);
    let (Some(network), Some(batch)) = (words.next(), words.next()) else {
        return Err("usage: steps NETWORK BATCH [CHOICE=KERNEL ..]".into());
    };
    let work = Work {
        network: Network::parse(&network)?,
        loss: Loss::parse("BCELoss")?,
        batch: batch.parse()?,
        replicas: 1,
    };
    let gpu = Gpu::new()?;
    let mut target = gpu.target().clone();
    for word in words {
        let (problem, kernel) = word.split_once('=').ok_or("a choice is PROBLEM=KERNEL")?;
        target
            .choices
            .insert(problem.to_string(), kernel.to_string());
    }
    let plan = work.plan(&target)?;
    let peaks = Results::new(&gpu, &Options::full())?.peaks;
    println!("{} with batch {batch} on {}", work.name(), gpu.adapter());
    println!(
        "peaks: {:.0} GFLOP/s, {:.1} GB/s read, {:.1} GB/s copied\n",
        peaks.flops_per_s * 1e-9,
        peaks.read_bytes_per_s * 1e-9,
        peaks.copy_bytes_per_s * 1e-9
    );
    println!("| op | kernel | sizes | ms | step | GFLOP/s | peak | MB | GB/s | first, ms |");
    println!("| --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |");
    let mut rows = Vec::new();
    for step in &plan.steps {
        rows.push((step, measure(&gpu, &plan, step)?));
    }
    let total: f64 = rows.iter().map(|(_, time)| time.best).sum();
    for (step, time) in &rows {
        let flops = products(&plan, step);
        let moved = bytes(&plan, step);
        println!(
            "| {} | {} | {} | {:.3} | {:.1}% | {:.1} | {:.1}% | {:.2} | {:.1} | {:.0} |",
            step.op,
            plan.kernels[step.kernel].entry,
            sizes(&plan, step),
            time.best * 1e3,
            100.0 * time.best / total,
            flops / time.best * 1e-9,
            100.0 * flops / time.best / peaks.flops_per_s,
            moved * 1e-6,
            moved / time.best * 1e-9,
            time.first * 1e3,
        );
    }
    println!("\n{:.2} ms, all dispatches one by one", total * 1e3);
    let mut all = plan.clone();
    all.outputs.clear();
    let time = time(&gpu, all)?;
    println!("{:.2} ms, the whole step", time.best * 1e3);
    Ok(())
}

/// Seconds of a dispatch: the shortest, and what the first took more.
struct Time {
    best: f64,
    first: f64,
}

fn measure(gpu: &Gpu, plan: &Plan, step: &Step) -> Result<Time, Box<dyn Error>> {
    let mut alone = plan.clone();
    alone.steps = vec![step.clone()];
    alone.kernels = vec![plan.kernels[step.kernel].clone()];
    alone.steps[0].kernel = 0;
    alone.outputs.clear();
    time(gpu, alone)
}

fn time(gpu: &Gpu, plan: Plan) -> Result<Time, Box<dyn Error>> {
    let feeds = plan.feeds.clone();
    let start = Instant::now();
    let mut program = pollster::block_on(gpu.compile_plan(plan))?;
    let made = start.elapsed().as_secs_f64();
    for feed in &feeds {
        let data = (0..feed.shape.numel()).map(|i| (i % 97) as f32 / 97.0 - 0.5);
        program.set(
            &feed.label,
            &Tensor::new(feed.shape.dims(), data.collect())?,
        )?;
    }
    let first = program.time_steps(1, &[])?;
    let mut best = f64::INFINITY;
    let begin = Instant::now();
    let mut steps = 1;
    let mut runs = 0;
    while runs < LEAST || begin.elapsed().as_secs_f64() < SECONDS {
        runs += 1;
        let timing = program.time_steps(steps, &[])?;
        let took = timing.gpu_s.unwrap_or_else(|| timing.total_s());
        best = best.min(took / f64::from(steps));
        if took < 0.01 {
            steps *= 2;
        }
    }
    let first = first.gpu_s.unwrap_or_else(|| first.total_s());
    Ok(Time {
        best,
        first: made + first - best,
    })
}

/// Operations of a product of matrices, two for each multiplication.
fn products(plan: &Plan, step: &Step) -> f64 {
    if !plan.kernels[step.kernel].entry.starts_with("matmul") {
        return 0.0;
    }
    let word = |i: usize| f64::from(step.params[i]);
    2.0 * word(0) * word(1) * word(2) * word(11)
}

/// Rows, columns and inner size of a product, elements of any other step.
fn sizes(plan: &Plan, step: &Step) -> String {
    if plan.kernels[step.kernel].entry.starts_with("matmul") {
        let [m, n, k] = [0, 1, 2].map(|i| step.params[i]);
        return format!("{m}x{n}x{k}, {} workgroups", step.grid[0] * step.grid[1]);
    }
    let elements = |id: &wgrad::plan::BufferId| plan.buffers[id.index()].elements.to_string();
    let from: Vec<_> = step.inputs.iter().map(elements).collect();
    let to: Vec<_> = step.outputs.iter().map(elements).collect();
    format!("{} to {}", from.join(", "), to.join(", "))
}

/// Bytes of the buffers that it reads and writes, each once.
fn bytes(plan: &Plan, step: &Step) -> f64 {
    let bound = step.inputs.iter().chain(&step.outputs);
    let sizes = bound.map(|id| {
        let spec = &plan.buffers[id.index()];
        4.0 * spec.elements as f64
    });
    sizes.sum()
}
