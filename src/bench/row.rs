//! One row of the benchmark: a work is built, compiled, checked, and then, if
//! it is right, timed in every way.

use std::time::Instant;

use super::count::{Cost, cost};
use super::host::Host;
use super::stats::{Budget, Summary, median_of, sample, time};
use super::verdict::Verdict;
use super::wake::wake;
use super::work::{Step, Work};
use super::{Options, Tamper};
use crate::check::rounding::{self, Gap, Rounding};
use crate::check::ulps;
use crate::error::{Error, Result};
use crate::graph::NodeId;
use crate::run::cpu::{self, Reference};
use crate::run::gpu::{Gpu, Program};
use crate::tensor::Tensor;

/// What was measured of one work. Times are in seconds.
#[derive(Clone, PartialEq, Debug)]
pub struct Row {
    /// The sizes of the network's layers.
    pub net: String,
    /// The network, as PyTorch prints it.
    pub network: String,
    /// The loss.
    pub loss: String,
    /// Rows of the batch.
    pub batch: usize,
    /// Networks computed side by side.
    pub replicas: usize,
    /// Gradient values that a step gives.
    pub gradients: u64,
    /// What a step takes at least.
    pub cost: Cost,
    /// Dispatches of a step.
    pub dispatches: usize,
    /// Kernels of the step's plan.
    pub kernels: usize,
    /// Bytes of all buffers of the step's plan: its peak memory on the device.
    pub plan_bytes: u64,
    /// Planning, pipelines and buffers, up to the first step's end.
    pub first_step_s: f64,
    /// Is it right?
    pub verdict: Verdict,
    /// How far its gradients are from exact ones, where products are rounded.
    pub rounding: Option<Rounding>,
    /// The figures, if it is.
    pub times: Option<Times>,
}

/// The times of one work, in seconds.
#[derive(Clone, PartialEq, Debug)]
pub struct Times {
    /// One step a submission, the loss read back.
    pub step: Summary,
    /// The same of a plan that computes the loss alone.
    pub forward: Summary,
    /// A step without its forward part: the difference of the medians.
    pub backward_s: f64,
    /// Steps queued in one submission.
    pub queued: Option<Queued>,
    /// The host records the commands (medians from here on).
    pub encode_s: f64,
    /// The host submits them.
    pub submit_s: f64,
    /// The host waits for the device's answer.
    pub wait_s: f64,
    /// The host copies what was read.
    pub read_s: f64,
    /// The device's own time by its timestamps.
    pub gpu_s: Option<f64>,
    /// A step on the CPU in float32, for networks that it is written for.
    pub cpu_f32: Option<Summary>,
}

/// Several steps in one submission.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Queued {
    /// How many.
    pub steps: u32,
    /// Seconds for each: the submission's median divided by their number.
    pub step_s: f64,
}

impl Row {
    /// Steps per second, where it was timed.
    pub fn steps_per_s(&self) -> Option<f64> {
        self.times.as_ref().map(|t| 1.0 / t.step.median)
    }

    /// Gradient values per second.
    pub fn gradients_per_s(&self) -> Option<f64> {
        Some(self.steps_per_s()? * self.gradients as f64)
    }

    /// Floating-point operations per second, of the work as counted.
    pub fn flops_per_s(&self) -> Option<f64> {
        Some(self.steps_per_s()? * self.cost.flops as f64)
    }

    /// Bytes per second, of the work as counted.
    pub fn bytes_per_s(&self) -> Option<f64> {
        Some(self.steps_per_s()? * self.cost.bytes as f64)
    }
}

/// A submission stays below this, in seconds: systems reset busy devices.
const LONGEST_SUBMISSION: f64 = 0.25;
/// Steps are queued until a submission takes about this long, in seconds.
const QUEUE_FOR: f64 = 0.05;
const MOST_QUEUED: f64 = 1000.0;

/// Builds, checks and times `work`.
pub(super) fn measure(gpu: &Gpu, work: &Work, options: &Options) -> Result<Row> {
    let step = work.step()?;
    let exact = match work.precision().is_half() {
        true => Some(work.exact().step()?),
        false => None,
    };
    let outputs = step.outputs();
    let feeds = step.all_feeds()?;
    let start = Instant::now();
    let compile = |outputs: &[NodeId]| {
        let plan = work.plan_of(&step.graph, outputs, gpu.target())?;
        pollster::block_on(gpu.compile_plan(plan))
    };
    let mut program = compile(&outputs)?;
    program.set_all(&feeds)?;
    program.run_steps(1, &[step.loss])?;
    let first_step_s = start.elapsed().as_secs_f64();
    log::info!("the step's plan: {}", program.plan().summary());
    let mut forward = compile(&[step.loss])?;
    forward.set_all(&feeds)?;
    let verdict = judge(&step, &mut program, &mut forward, options.tamper)?;
    let times = match verdict.passed() {
        true => {
            let measure = exact.as_ref().unwrap_or(&step);
            let programs = [&mut program, &mut forward];
            Some(times(gpu, work, &step, measure, programs, options)?)
        }
        false => None,
    };
    let rounding = match &exact {
        Some(exact) => Some(rounding(work, &step, exact, &mut program)?),
        None => None,
    };
    let plan = program.plan();
    let mut gradients = 0;
    for (_, id) in &step.gradients {
        gradients += step.graph.shape(*id)?.numel() as u64;
    }
    Ok(Row {
        net: work.name(),
        network: work.network.to_string(),
        loss: work.loss.to_string(),
        batch: work.batch,
        replicas: work.replicas,
        gradients: gradients * work.replicas as u64,
        cost: cost(&step.graph, &outputs)?.times(work.replicas as u64),
        dispatches: plan.steps.len(),
        kernels: plan.kernels.len(),
        plan_bytes: plan.bytes(),
        first_step_s,
        verdict,
        rounding,
        times,
    })
}

/// How far the loss and the gradients are from those with exact products, in the
/// replica where that is most.
fn rounding(work: &Work, step: &Step, exact: &Step, program: &mut Program) -> Result<Rounding> {
    let mut found = Rounding::new(&step.graph, work.precision());
    let got = program.run()?;
    for (r, feeds) in exact.feeds.iter().enumerate() {
        let want = rounding::exact(&exact.graph, feeds, &exact.outputs())?;
        for (i, (id, want)) in step.outputs().into_iter().zip(&want).enumerate() {
            let key = i.checked_sub(1).and_then(|i| step.gradients.get(i));
            let name = key.map_or("loss".to_string(), |(key, _)| format!("d/d {key}"));
            let gap = Gap::between(&name, &step.own(got.get(id)?, r)?, want);
            match found.gaps.get_mut(i) {
                Some(known) => *known = known.clone().or_larger(gap),
                None => found.gaps.push(gap),
            }
        }
    }
    Ok(found)
}

/// Checks every output of the step, after one step and after several in one
/// submission, and the loss of the forward plan; all of each replica.
fn judge(
    step: &Step,
    program: &mut Program,
    forward: &mut Program,
    tamper: Option<Tamper>,
) -> Result<Verdict> {
    let mut verdict = Verdict::default();
    let outputs = step.outputs();
    let once = program.run()?.clone();
    let loss = forward.run()?.get(step.loss)?;
    for (r, feeds) in step.feeds.iter().enumerate() {
        let reference = cpu::evaluate(&step.graph, feeds, &outputs)?;
        for &id in &outputs {
            let mut got = step.own(once.get(id)?, r)?;
            if let Some(tamper) = tamper {
                tamper(&step.graph.node(id)?.label, &mut got);
            }
            verdict.judge(&step.graph, &reference, id, &got)?;
        }
        verdict.judge(&step.graph, &reference, step.loss, &step.own(loss, r)?)?;
    }
    // Fixed order: more steps in one submission give the same bits.
    let again = program.run_steps(3, &outputs)?;
    for id in outputs {
        let bits = |t: &Tensor| t.data().iter().map(|v| v.to_bits()).collect::<Vec<_>>();
        if bits(again.get(id)?) != bits(once.get(id)?) {
            verdict.failures += 1;
            let label = &step.graph.node(id)?.label;
            let reason = format!("`{label}` changes when steps are queued");
            verdict.wrong.get_or_insert(reason);
        }
    }
    Ok(verdict)
}

/// The times of `step`; the CPU's float32 step is held against `measure`, the same
/// with exact products.
fn times(
    gpu: &Gpu,
    work: &Work,
    step: &Step,
    measure: &Step,
    [program, forward]: [&mut Program; 2],
    options: &Options,
) -> Result<Times> {
    let at_least = |least: usize, share: f64| Budget {
        seconds: share * options.seconds,
        least,
    };
    let budget = |share| at_least(options.least.min(3), share);
    let read = [step.loss];
    wake(gpu, program)?;
    let whole = time(at_least(options.least, 0.4), || {
        program.run_steps(1, &read).map(drop)
    })?;
    let part = time(budget(0.2), || forward.run_steps(1, &read).map(drop))?;
    let queued = queued(program, whole.median, budget(0.15), &read)?;
    let (parts, _) = sample(at_least(2, 0.1), || program.time_steps(1, &read))?;
    let median = |of: fn(&crate::run::gpu::Timing) -> f64| {
        median_of(&parts, |t| Some(of(t))).unwrap_or_default()
    };
    let cpu_f32 = match Host::new(work, measure)? {
        Some(mut host) => {
            let [feeds, ..] = &measure.feeds[..] else {
                return Err(Error::Graph("a step of no network".to_string()));
            };
            let reference = cpu::evaluate(&measure.graph, feeds, &measure.outputs())?;
            check_host(&mut host, measure, &reference)?;
            // As many networks, one after the other.
            Some(time(budget(0.15), || {
                for _ in 0..work.replicas {
                    std::hint::black_box(host.step());
                }
                Ok(())
            })?)
        }
        None => None,
    };
    Ok(Times {
        backward_s: (whole.median - part.median).max(0.0),
        step: whole,
        forward: part,
        queued,
        encode_s: median(|t| t.encode_s),
        submit_s: median(|t| t.submit_s),
        wait_s: median(|t| t.wait_s),
        read_s: median(|t| t.read_s),
        gpu_s: median_of(&parts, |t| t.gpu_s),
        cpu_f32,
    })
}

/// As many steps in a submission as keep it short; `None` if not even two do.
fn queued(
    program: &mut Program,
    step_s: f64,
    budget: Budget,
    read: &[NodeId],
) -> Result<Option<Queued>> {
    let steps = (QUEUE_FOR / step_s).clamp(2.0, MOST_QUEUED) as u32;
    if f64::from(steps) * step_s > LONGEST_SUBMISSION {
        return Ok(None);
    }
    let summary = time(budget, || program.run_steps(steps, read).map(drop))?;
    Ok(Some(Queued {
        steps,
        step_s: summary.median / f64::from(steps),
    }))
}

/// The CPU's float32 step must compute the same thing, or it is no measure.
fn check_host(host: &mut Host, step: &Step, reference: &Reference) -> Result<()> {
    const ALLOWED: f64 = 1e-4;
    let off = |key: &str| {
        Error::Graph(format!(
            "the CPU's float32 step disagrees with the reference on `{key}`: a defect of wgrad, \
             please report it"
        ))
    };
    let loss = host.step();
    let want = reference.rounded(step.loss)?.item().unwrap_or(f32::NAN);
    if ulps(loss, f64::from(want)) > 1000.0 {
        return Err(off("loss"));
    }
    for (key, id) in &step.gradients {
        let got = host.gradient(key).ok_or_else(|| off(key))?;
        let want = &reference.get(*id)?.value;
        let (mut error, mut size) = (0.0, 0.0);
        for (&got, &want) in got.iter().zip(want) {
            error += (f64::from(got) - want).powi(2);
            size += want * want;
        }
        if error.is_nan() || error > ALLOWED * ALLOWED * size || got.len() != want.len() {
            return Err(off(key));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::nn::{Loss, Network};

    /// Activations first, twice in a row and last; a lone layer; each loss.
    #[test]
    fn the_cpus_float32_step_is_the_same_work() {
        for network in [
            "Sequential(Linear(5, 4), ReLU(), Linear(4, 3, bias=False), Sigmoid())",
            "Sequential(Sigmoid(), Linear(5, 3), ReLU(), Sigmoid())",
            "Sequential(Linear(5, 3), Identity(), Sigmoid(), ReLU(), Linear(3, 3), Sigmoid())",
            "Linear(5, 3)",
            "Sequential(Linear(5, 6), Linear(6, 3), Sigmoid())",
        ] {
            for loss in ["BCELoss", "BCEWithLogitsLoss(reduction='sum')", "MSELoss"] {
                // BCELoss wants probabilities.
                if loss == "BCELoss" && !network.ends_with("Sigmoid())") {
                    continue;
                }
                let work = Work {
                    network: Network::parse(network).unwrap(),
                    loss: Loss::parse(loss).unwrap(),
                    batch: 33,
                    replicas: 1,
                };
                let step = work.step().unwrap();
                let reference =
                    cpu::evaluate(&step.graph, &step.feeds[0], &step.outputs()).unwrap();
                let mut host = Host::new(&work, &step).unwrap().unwrap();
                // The second step starts from what the first left behind.
                check_host(&mut host, &step, &reference).unwrap();
                check_host(&mut host, &step, &reference).unwrap();
            }
        }
    }
}
