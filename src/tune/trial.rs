//! One problem on one device: its values with each kernel against the float64
//! reference, and its time.

use std::time::Instant;

use rand_mt::Mt;

use super::file::Quarantined;
use super::{Kernels, Options};
use crate::bench::wake;
use crate::check::compare;
use crate::error::{Error, Result};
use crate::graph::{Graph, NodeId};
use crate::ops::matmul::{Candidate, Problem};
use crate::run::Feeds;
use crate::run::cpu::{self, Reference};
use crate::run::gpu::{Gpu, Program};
use crate::tensor::Tensor;

/// A submission takes about so many seconds, so that what surrounds it weighs
/// little; far below what systems allow.
const SUBMISSION: f64 = 0.01;
const MOST_STEPS: f64 = 256.0;
/// Rounds, at most: past them the median does not move.
const MOST_ROUNDS: usize = 200;

/// A kernel that once takes so many times as long as the fastest has no turns:
/// far beyond what noise does.
const HOPELESS: f64 = 4.0;

/// What came of a comparison.
#[derive(Clone, Default, Debug)]
pub(super) struct Checked {
    /// Values compared.
    pub values: usize,
    pub wrong: Option<Quarantined>,
}

/// A product of two matrices of fixed values, and what it must give.
pub(super) struct Subject {
    problem: Problem,
    /// Whether a bias is added to either operand, and a bias and a ReLU follow, which
    /// the kernel then computes, too.
    followed: bool,
    graph: Graph,
    output: NodeId,
    feeds: Feeds,
    reference: Reference,
}

impl Subject {
    pub fn new(problem: Problem, followed: bool) -> Result<Subject> {
        let Problem { m, n, k, .. } = problem;
        let turned = |on: bool, dims: [usize; 2]| if on { [dims[1], dims[0]] } else { dims };
        let mut graph = Graph::new();
        let a = graph.input("a", &turned(problem.transpose_a, [m, k]))?;
        let b = graph.input("b", &turned(problem.transpose_b, [k, n]))?;
        let mut leaves = vec![("a", a), ("b", b)];
        let mut operands = [a, b];
        if followed {
            for (operand, label) in operands.iter_mut().zip(["bias of a", "bias of b"]) {
                let columns = graph.shape(*operand)?.dims()[1];
                let bias = graph.input(label, &[columns])?;
                leaves.push((label, bias));
                *operand = graph.add(*operand, bias)?;
            }
        }
        let turns = [problem.transpose_a, problem.transpose_b];
        let mut output = graph.matmul_in(problem.precision, operands, turns)?;
        if followed {
            let bias = graph.input("bias", &[n])?;
            leaves.push(("bias", bias));
            output = graph.add(output, bias)?;
            output = graph.relu(output)?;
        }
        // The same values each time, so that a failure repeats.
        let mut draws = Mt::new(17);
        let mut feeds = Feeds::new();
        for (label, id) in leaves {
            let shape = graph.shape(id)?.clone();
            let mut value = Tensor::full(&shape, 0.0);
            for v in value.data_mut() {
                *v = (draws.next_u32() >> 8) as f32 / (1 << 23) as f32 - 1.0;
            }
            feeds.insert(label.to_string(), value);
        }
        let reference = cpu::evaluate(&graph, &feeds, &[output])?;
        Ok(Subject {
            problem,
            followed,
            graph,
            output,
            feeds,
            reference,
        })
    }

    fn program(&self, gpu: &Gpu, kernels: &impl Kernels, candidate: Candidate) -> Result<Program> {
        let choice = (self.problem.to_string(), candidate.to_string());
        let gpu = gpu.with_target(|target| target.choices = [choice].into());
        let plan = kernels.plan(&self.graph, self.output, gpu.target(), candidate)?;
        // What is judged must be what was asked for.
        if !plan.kernels.iter().any(|k| k.entry == candidate.entry()) {
            return Err(Error::Graph(format!(
                "the plan for `{}` does not take `{candidate}`: a defect of wgrad, please report it",
                self.problem
            )));
        }
        let mut program = pollster::block_on(gpu.compile_plan(plan))?;
        program.set_all(&self.feeds)?;
        Ok(program)
    }

    /// Compares every value with the reference, twice: the second run must give
    /// the same bits.
    pub fn check(
        &self,
        gpu: &Gpu,
        kernels: &impl Kernels,
        candidate: Candidate,
    ) -> Result<Checked> {
        let mut program = self.program(gpu, kernels, candidate)?;
        let first = program.run()?.get(self.output)?.clone();
        let compared = compare("product", &first, self.reference.get(self.output)?)?;
        let second = program.run()?.get(self.output)?;
        let same = |(a, b): (&f32, &f32)| a.to_bits() == b.to_bits();
        let repeats = first.data().iter().zip(second.data()).all(same);
        let reason = match (&compared.worst, compared.passed(), repeats) {
            (_, true, true) => None,
            (_, true, false) => Some("a second run gives other bits".to_string()),
            (Some(worst), false, _) => Some(format!(
                "{} of {} values are wrong, the worst at {:?}: got {}, want {}, allowed {:.3e}",
                compared.failures,
                compared.elements,
                worst.index,
                worst.got,
                worst.want,
                worst.bound
            )),
            (None, false, _) => Some(format!("{} values are wrong", compared.failures)),
        };
        Ok(Checked {
            values: compared.elements,
            wrong: reason.map(|reason| Quarantined {
                kernel: candidate.to_string(),
                problem: self.problem.to_string(),
                followed: self.followed,
                reason,
            }),
        })
    }

    /// The times of the kernels in seconds, in rounds in which each has a turn.
    /// A kernel that is hopeless has no more than one time.
    pub fn race(
        &self,
        gpu: &Gpu,
        kernels: &impl Kernels,
        candidates: &[(usize, Candidate)],
        options: &Options,
    ) -> Result<Vec<Vec<f64>>> {
        let mut runners = Vec::with_capacity(candidates.len());
        let mut best = f64::INFINITY;
        for &(_, candidate) in candidates {
            let mut program = self.program(gpu, kernels, candidate)?;
            // The first run may compile; the second says how many steps fill a
            // submission.
            program.run_steps(1, &[])?;
            let once = timed(&mut program, 1)?;
            best = once.min(best);
            runners.push((program, once, Vec::new()));
        }
        if let Some((program, ..)) = runners.first_mut() {
            wake(gpu, program)?;
        }
        let start = Instant::now();
        for round in 0..MOST_ROUNDS {
            if round >= options.rounds && start.elapsed().as_secs_f64() >= options.seconds {
                break;
            }
            for (i, (program, once, times)) in runners.iter_mut().enumerate() {
                let steps = (SUBMISSION / *once).clamp(1.0, MOST_STEPS) as u32;
                // The default always runs: the others are held against it.
                if i == 0 || *once <= HOPELESS * best {
                    times.push(timed(program, steps)?);
                } else if round == 0 {
                    times.push(*once);
                }
            }
        }
        Ok(runners.into_iter().map(|(_, _, times)| times).collect())
    }
}

/// Seconds of a step, of so many in one submission.
fn timed(program: &mut Program, steps: u32) -> Result<f64> {
    let start = Instant::now();
    program.run_steps(steps, &[])?;
    Ok(start.elapsed().as_secs_f64() / f64::from(steps))
}
