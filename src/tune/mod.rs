//! Tuning: which kernel is the fastest for a product on this very device. A
//! kernel is timed only after its values have passed, so the choice may be slow
//! on another day but never wrong: one that disagrees with the float64
//! reference anywhere is put in quarantine and not used again.
//!
//! What was found is kept in a file ([`Tuned`]) and read by later runs, which
//! take it as [`Target::choices`] and [`Target::quarantined`].

mod file;
mod pick;
mod problem;
mod trial;

use std::collections::BTreeMap;

pub use file::{Product, Quarantined, Tuned};
pub use pick::{MARGIN, pick};
pub use problem::{parse, products};

use crate::error::{Error, Result};
use crate::graph::{Graph, NodeId, Target};
use crate::ops::matmul::{self, Candidate, Problem};
use crate::plan::{Plan, PlanOptions, Prologues};
use crate::run::gpu::Gpu;

/// What the tuner chooses from.
pub trait Kernels {
    /// The kernels for a problem on a device like `target`, the default first.
    fn candidates(&self, problem: &Problem, target: &Target) -> Vec<Candidate>;

    /// A plan for `output` with the kernels that `target` asks for; `candidate`
    /// is the one that the product takes.
    ///
    /// # Errors
    /// As [`Plan::with_target`].
    fn plan(
        &self,
        graph: &Graph,
        output: NodeId,
        target: &Target,
        candidate: Candidate,
    ) -> Result<Plan>;
}

/// The kernels of this library, as they are.
#[derive(Clone, Copy, Debug)]
pub struct Own;

impl Kernels for Own {
    fn candidates(&self, problem: &Problem, target: &Target) -> Vec<Candidate> {
        matmul::candidates(problem, target)
    }

    fn plan(
        &self,
        graph: &Graph,
        output: NodeId,
        target: &Target,
        _candidate: Candidate,
    ) -> Result<Plan> {
        // A row or workgroup program has no product of its own to judge. What stands
        // before a product is to be in its kernel, whether it pays at this size or not.
        let options = PlanOptions {
            rows: false,
            workgroup: false,
            prologues: Prologues::All,
            ..PlanOptions::default()
        };
        Plan::with_options(graph, &[output], target, &options)
    }
}

/// How long to measure.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Options {
    /// Seconds of timing for each problem, shared by its kernels.
    pub seconds: f64,
    /// Rounds, at least, in which each kernel has a turn that may be the fastest.
    pub rounds: usize,
}

impl Default for Options {
    fn default() -> Options {
        Options {
            seconds: 1.0,
            rounds: 12,
        }
    }
}

/// One problem, its kernels, and what came of them.
#[derive(Clone, PartialEq, Debug)]
pub struct Outcome {
    /// The problem.
    pub problem: Problem,
    /// Its kernels in the order of [`Kernels::candidates`].
    pub trials: Vec<Trial>,
    /// The kernel to take, by its place; `None` if all are wrong.
    pub chosen: Option<usize>,
}

/// What came of one kernel.
#[derive(Clone, PartialEq, Debug)]
pub struct Trial {
    /// The kernel.
    pub candidate: Candidate,
    /// Values compared with the reference so far, for this problem and at the
    /// edges of the kernel's tiles.
    pub values: usize,
    /// Its time, or why it has none.
    pub verdict: Verdict,
}

/// A kernel's time, or why it has none.
#[derive(Clone, PartialEq, Debug)]
pub enum Verdict {
    /// It is right.
    Timed {
        /// Its time in seconds: the median.
        seconds: f64,
        /// That as a share of the first right kernel's, by rounds.
        share: f64,
    },
    /// It is wrong.
    Wrong(Quarantined),
}

/// Checks and times the kernels for one problem after the other.
pub struct Tuner<'a, K> {
    gpu: &'a Gpu,
    kernels: &'a K,
    options: Options,
    /// What each kernel came to at the edges of its tiles, which problems of
    /// the same layout share.
    edges: BTreeMap<(String, bool, bool), trial::Checked>,
}

impl<'a, K: Kernels> Tuner<'a, K> {
    /// A tuner for one device.
    pub fn new(gpu: &'a Gpu, kernels: &'a K, options: Options) -> Tuner<'a, K> {
        Tuner {
            gpu,
            kernels,
            options,
            edges: BTreeMap::new(),
        }
    }

    /// Checks every kernel for `problem`, times those that are right, and
    /// chooses.
    ///
    /// # Errors
    /// The device failed, or the problem does not fit it. Wrong values are no
    /// error but a verdict.
    pub fn tune(&mut self, problem: Problem) -> Result<Outcome> {
        // As if nothing had been measured before.
        let fresh = self.gpu.with_target(|target| {
            target.choices.clear();
            target.quarantined.clear();
        });
        let candidates = self.kernels.candidates(&problem, fresh.target());
        let mut trials = Vec::new();
        let mut right = Vec::new();
        for (place, &candidate) in candidates.iter().enumerate() {
            let edges = self.at_the_edges(&fresh, &problem, candidate)?;
            let mut checked = edges.clone();
            if checked.wrong.is_none() {
                let subject = trial::Subject::new(problem, false)?;
                let more = subject.check(&fresh, self.kernels, candidate)?;
                checked.values += more.values;
                checked.wrong = more.wrong;
            }
            trials.push(Trial {
                candidate,
                values: checked.values,
                verdict: match checked.wrong {
                    Some(wrong) => Verdict::Wrong(wrong),
                    None => {
                        right.push((place, candidate));
                        Verdict::Timed {
                            seconds: f64::NAN,
                            share: f64::NAN,
                        }
                    }
                },
            });
        }
        let subject = trial::Subject::new(problem, false)?;
        let rounds = subject.race(&fresh, self.kernels, &right, &self.options)?;
        for ((place, _), times) in right.iter().zip(&rounds) {
            trials[*place].verdict = Verdict::Timed {
                seconds: pick::median(times),
                share: pick::ratio(times, &rounds[0]),
            };
        }
        let chosen = pick(&rounds).map(|winner| right[winner].0);
        Ok(Outcome {
            problem,
            trials,
            chosen,
        })
    }

    fn at_the_edges(
        &mut self,
        gpu: &Gpu,
        problem: &Problem,
        candidate: Candidate,
    ) -> Result<&trial::Checked> {
        let key = (
            candidate.to_string(),
            problem.transpose_a,
            problem.transpose_b,
        );
        if !self.edges.contains_key(&key) {
            let mut all = trial::Checked::default();
            for (edge, followed) in problem::edges(problem, candidate) {
                // Some kernels are for some sizes only.
                let offered = self.kernels.candidates(&edge, gpu.target());
                if !offered.contains(&candidate) {
                    continue;
                }
                let subject = trial::Subject::new(edge, followed)?;
                let checked = subject.check(gpu, self.kernels, candidate)?;
                all.values += checked.values;
                all.wrong = checked.wrong;
                if all.wrong.is_some() {
                    break;
                }
            }
            self.edges.insert(key.clone(), all);
        }
        self.edges
            .get(&key)
            .ok_or_else(|| Error::Graph("a kernel's edges were not kept".to_string()))
    }
}

impl Outcome {
    /// The kernel taken without tuning.
    pub fn default_kernel(&self) -> Option<&Trial> {
        self.trials.first()
    }

    /// The kernel to take.
    pub fn chosen_kernel(&self) -> Option<&Trial> {
        self.trials.get(self.chosen?)
    }

    /// The kernels that are wrong.
    pub fn wrong(&self) -> impl Iterator<Item = &Quarantined> {
        self.trials.iter().filter_map(|trial| match &trial.verdict {
            Verdict::Wrong(wrong) => Some(wrong),
            Verdict::Timed { .. } => None,
        })
    }
}

impl Trial {
    /// Its time in seconds, if it is right.
    pub fn seconds(&self) -> Option<f64> {
        match self.verdict {
            Verdict::Timed { seconds, .. } => Some(seconds),
            Verdict::Wrong(_) => None,
        }
    }
}
