//! Where the time of a step goes, dispatch by dispatch: a network with its loss on
//! a batch is checked, run a number of times with a timestamp at both ends of each
//! dispatch and copy, and each is held against what the adapter can do at best.
//!
//! A step is what `bench` times: forward, loss and every weight gradient, the loss
//! read back. Where the adapter has no timestamps each dispatch is submitted alone and
//! the host's clock is around it, which [`Profile::unstamped`] says.

mod align;
mod item;
mod roofline;
mod step;

pub use align::Alignment;
pub use item::Item;
pub use roofline::{Bound, Roofline};
pub use step::{Parts, Step};

use std::time::Instant;

use crate::bench::{self, Summary, Tamper, Verdict, Work};
use crate::error::{Error, Result};
use crate::graph::{Graph, NodeId, Precision};
use crate::plan::Plan;
use crate::run::gpu::{AdapterDescription, Gpu, Outputs, Program, Timing};
use crate::run::{Feeds, cpu};
use crate::solution::Problem;
use crate::tensor::Tensor;

/// How to profile.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// Steps to run, after the one that is checked; at least 1.
    pub steps: usize,
    /// Seconds for measuring what the adapter can do at best.
    pub seconds: f64,
    /// Use the host's clock even where the adapter has timestamps.
    pub host_clock: bool,
    /// A planted fault, so that tests can show that a wrong step is found.
    #[doc(hidden)]
    pub tamper: Option<Tamper>,
}

impl Default for Options {
    fn default() -> Self {
        Options {
            steps: 10,
            seconds: 0.5,
            host_clock: false,
            tamper: None,
        }
    }
}

/// Something that the host did once, before the steps.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Lap {
    /// What it is called.
    pub name: &'static str,
    /// When it began, in seconds since the profile's zero.
    pub begin_s: f64,
    /// When it had ended.
    pub end_s: f64,
}

/// What was found. Times are seconds of the host's clock since the profile's zero,
/// which is when planning began.
#[derive(Clone, PartialEq, Debug)]
pub struct Profile {
    /// The adapter.
    pub adapter: AdapterDescription,
    /// The sizes of the network's layers (`784-512-1`).
    pub net: String,
    /// The network, as PyTorch prints it.
    pub network: String,
    /// The loss.
    pub loss: String,
    /// Of the network's products of matrices.
    pub precision: Precision,
    /// Rows of the batch.
    pub batch: usize,
    /// What the adapter can do at best, measured before the steps.
    pub roofline: Roofline,
    /// Is the step right?
    pub verdict: Verdict,
    /// Planning, compiling, the first step, its check.
    pub setup: Vec<Lap>,
    /// What the device does in a step, in order.
    pub items: Vec<Item>,
    /// Why the times of items are not by the device's timestamps, if they are not:
    /// each was then submitted alone, and they are by the host's clock, from its
    /// submission to the answer.
    pub unstamped: Option<String>,
    /// The steps; none if the values are wrong.
    pub steps: Vec<Step>,
    /// How the device's clock was laid over the host's.
    pub alignment: Alignment,
    /// The same step as it is without stamps, in one pass, as often: what tracing
    /// costs can be seen by it.
    pub plain: Vec<Timing>,
}

/// The graph of a step and the values of its leaves.
struct Subject {
    graph: Graph,
    feeds: Feeds,
    loss: NodeId,
    /// The loss and the gradient of each parameter.
    outputs: Vec<NodeId>,
}

impl Subject {
    fn new(problem: &Problem) -> Result<Subject> {
        let prepared = problem.prepare()?;
        let mut outputs = vec![prepared.loss_node];
        for key in problem.weights.keys() {
            let name = format!("grad.{key}");
            let found = prepared.named.iter().find(|(known, _)| *known == name);
            outputs.extend(found.map(|(_, id)| *id));
        }
        Ok(Subject {
            loss: prepared.loss_node,
            graph: prepared.graph,
            feeds: prepared.feeds,
            outputs,
        })
    }
}

/// Checks a step of `problem` on `gpu`, and profiles it if it is right.
///
/// # Errors
/// No steps; a problem that makes no sense or does not fit the adapter; the device
/// failed. Wrong values are no error but the profile's verdict.
pub fn profile(gpu: &Gpu, problem: &Problem, options: &Options) -> Result<Profile> {
    if options.steps == 0 {
        return Err(Error::Text(
            "a profile of 0 steps shows nothing; ask for 1 or more".to_string(),
        ));
    }
    let subject = Subject::new(problem)?;
    let planned = || Plan::with_target(&subject.graph, &subject.outputs, gpu.target());
    // What will not fit is told before anything is measured.
    gpu.check(&planned()?)?;
    let peaks = bench::peaks(gpu, options.seconds)?;
    let mut host_clock = options.host_clock || !gpu.has_timestamps();
    let mut unstamped = match (options.host_clock, host_clock) {
        (true, _) => Some("the host's clock was asked for"),
        (_, true) => Some("this adapter offers no timestamps, as it was opened"),
        _ => None,
    };
    let mut clock = Laps::new();
    let plan = clock.lap("plan", planned)?;
    let items = item::items(&subject.graph, &plan)?;
    let mut program = clock.lap("compile", || {
        let mut program = pollster::block_on(gpu.compile_plan(plan))?;
        program.set_all(&subject.feeds)?;
        Ok(program)
    })?;
    let first = clock.lap("first step", || Ok(program.run()?.clone()))?;
    // The step that is traced must give the same.
    let origin = clock.origin;
    clock.lap("traced step", || {
        let mut trace = |host| program.trace_step(&subject.outputs, origin, host);
        if trace(host_clock)?.spans.is_empty() {
            host_clock = true;
            unstamped = Some("the driver's timestamps run backwards or stand still");
            trace(host_clock)?;
        }
        Ok(())
    })?;
    let verdict = clock.lap("check against float64", || {
        subject.judge(&first, program.outputs(), options.tamper)
    })?;
    let launch_s = clock.lap("time of a launch", || bench::launch(gpu, host_clock))?;
    let work = Work {
        network: problem.network.clone(),
        loss: problem.loss.clone(),
        batch: match problem.input.dims() {
            [] | [_] => 1,
            [rows, ..] => *rows,
        },
        replicas: 1,
    };
    let mut made = Profile {
        adapter: gpu.adapter().clone(),
        net: work.name(),
        network: work.network.to_string(),
        loss: work.loss.to_string(),
        precision: work.precision(),
        batch: work.batch,
        roofline: Roofline { peaks, launch_s },
        verdict,
        setup: Vec::new(),
        items,
        unstamped: unstamped.map(str::to_string),
        steps: Vec::new(),
        alignment: Alignment::default(),
        plain: Vec::new(),
    };
    if made.verdict.passed() {
        made.run(gpu, &mut program, subject.loss, &mut clock, options.steps)?;
    }
    made.setup = clock.laps;
    Ok(made)
}

impl Subject {
    /// Holds the values of a plain step against the reference, and the bits of a
    /// traced one against those.
    fn judge(&self, first: &Outputs, traced: &Outputs, tamper: Option<Tamper>) -> Result<Verdict> {
        let mut verdict = Verdict::default();
        let reference = cpu::evaluate(&self.graph, &self.feeds, &self.outputs)?;
        let bits = |t: &Tensor| t.data().iter().map(|v| v.to_bits()).collect::<Vec<_>>();
        for &id in &self.outputs {
            let label = &self.graph.node(id)?.label;
            let mut value = first.get(id)?.clone();
            let same = bits(traced.get(id)?) == bits(&value);
            if let Some(tamper) = tamper {
                tamper(label, &mut value);
            }
            verdict.judge(&self.graph, &reference, id, &value)?;
            if !same {
                verdict.failures += 1;
                let reason = format!("`{label}` changes when the step is traced");
                verdict.wrong.get_or_insert(reason);
            }
        }
        Ok(verdict)
    }
}

impl Profile {
    /// Runs the steps, plain ones and then traced ones.
    fn run(
        &mut self,
        gpu: &Gpu,
        program: &mut Program,
        loss: NodeId,
        clock: &mut Laps,
        steps: usize,
    ) -> Result<()> {
        clock.lap("wait for the device's clock", || bench::wake(gpu, program))?;
        self.plain = clock.lap("steps without stamps", || {
            // The first ones make the clock, and learn how long a wait is.
            for _ in 0..2 {
                program.time_steps(1, &[loss])?;
            }
            (0..steps)
                .map(|_| program.time_steps(1, &[loss]))
                .collect::<Result<_>>()
        })?;
        let mut timelines = Vec::with_capacity(steps);
        for _ in 0..steps {
            let timeline = program.trace_step(&[loss], clock.origin, !self.stamped())?;
            if timeline.spans.is_empty() {
                return Err(Error::Gpu(
                    "the driver's timestamps ran backwards in one of the steps; profile again, or \
                     with the host's clock"
                        .to_string(),
                ));
            }
            timelines.push(timeline);
        }
        self.alignment = match self.stamped() {
            true => Alignment::of(&timelines),
            false => Alignment::default(),
        };
        let aligned = timelines.into_iter().enumerate();
        self.steps = aligned
            .map(|(i, timeline)| Step::new(timeline, self.alignment.shift(i)))
            .collect();
        Ok(())
    }

    /// Whether the times of items are by the device's timestamps.
    pub fn stamped(&self) -> bool {
        self.unstamped.is_none()
    }

    /// Whether the step is right.
    pub fn passed(&self) -> bool {
        self.verdict.passed()
    }

    /// The times of the item at this place, in seconds, over all steps.
    pub fn times(&self, item: usize) -> Summary {
        let times = self.steps.iter().filter_map(|s| s.spans.get(item));
        Summary::of(times.map(|[begin, end]| end - begin).collect(), 0)
    }

    /// The median of a part of a step, in seconds.
    pub fn median(&self, part: impl Fn(&Parts) -> f64) -> f64 {
        let parts = self.steps.iter().map(|step| step.parts(&self.items));
        Summary::of(parts.map(|p| part(&p)).collect(), 0).median
    }

    /// The places of the items, the costliest first by their medians.
    pub fn costliest(&self) -> Vec<usize> {
        let mut places: Vec<(usize, f64)> = (0..self.items.len())
            .map(|i| (i, self.times(i).median))
            .collect();
        places.sort_by(|a, b| b.1.total_cmp(&a.1));
        places.into_iter().map(|(i, _)| i).collect()
    }
}

/// The host's clock, from its zero on.
struct Laps {
    origin: Instant,
    laps: Vec<Lap>,
}

impl Laps {
    fn new() -> Laps {
        Laps {
            origin: Instant::now(),
            laps: Vec::new(),
        }
    }

    fn lap<T>(&mut self, name: &'static str, work: impl FnOnce() -> Result<T>) -> Result<T> {
        let begin_s = self.origin.elapsed().as_secs_f64();
        let made = work()?;
        self.laps.push(Lap {
            name,
            begin_s,
            end_s: self.origin.elapsed().as_secs_f64(),
        });
        Ok(made)
    }
}
