//! The elementary functions over a sweep of all floats, and over every float
//! near the spots that are hard for them.

use std::time::Instant;

use super::functions::{FUNCTIONS, Function, NANS, source};
use super::resume::Resume;
use super::{Check, Examiner, Failure, Progress, Section, facts};
use crate::check::ulps;
use crate::error::{Error, Result};
use crate::graph::NodeId;
use crate::number;
use crate::ops::shader_lib::GRID;
use crate::plan::Plan;
use crate::plan::single::single;
use crate::run::gpu::Program;
use crate::tensor::Tensor;

const SWEEP: &str = include_str!("../../../shaders/sweep.wgsl");
const WORKGROUP: usize = 64;

/// Primes, so that the low bits of the inputs take every value.
const STRIDE: u32 = 4093;
const QUICK_STRIDE: u32 = 65_537;
/// Floats of one run: of a sweep, and around a hard spot.
const CHUNK: usize = 1 << 20;
const SPOT: usize = 1 << 13;

pub(super) fn examine(examiner: &mut Examiner<'_>) -> Result<Section> {
    let mut section = Section::new(
        "functions",
        "elementary functions over all floats, by promised ULP",
    );
    let (stride, part) = match (examiner.options.exhaustive, examiner.options.quick) {
        (true, _) => (1, "every float"),
        (_, true) => (QUICK_STRIDE, "every 65,537th float"),
        _ => (STRIDE, "every 4,093rd float"),
    };
    let flushes = facts::flushes_copies(examiner.gpu)?;
    let mut sweeps = Vec::new();
    for function in &FUNCTIONS {
        if !examiner.wants(function.name) {
            continue;
        }
        examiner.progress(&format!("{} of {part}", function.name));
        let judge = Judge { function, flushes };
        let all = match examiner.options.floats {
            Some(few) if stride == 1 => few,
            _ => inputs(stride),
        };
        let plan = Sweep::plan(examiner, function, CHUNK.min(all as usize))?;
        let mut resume = (stride == 1).then(|| Resume::new(examiner, function.name, &plan.0, all));
        let mut chunk = Sweep::new(examiner, plan)?;
        let check = section.check(function.name, part);
        let (restart, tell) = (examiner.options.restart, &mut *examiner.tell);
        let start = match &resume {
            Some(resume) => resume.take_up(check, all, restart, tell),
            None => 0,
        };
        let started = Instant::now();
        for at in (start..all).step_by(CHUNK) {
            let first = (at * u64::from(stride)) as u32;
            judge.all(check, chunk.run(first, stride)?, first, stride);
            let Some(resume) = &mut resume else { continue };
            let done = all.min(at + CHUNK as u64);
            resume.keep(check, done, all, tell);
            let each = started.elapsed().as_secs_f64() / (done - start) as f64;
            tell(Progress::Sweep {
                name: function.name,
                done,
                of: all,
                left_s: each * (all - done) as f64,
            });
            if examiner.options.interrupt.is_some_and(|at| done >= at) {
                return Err(Error::Text("interrupted".to_string()));
            }
        }
        sweeps.extend(resume);
        let mut spot = Sweep::new(examiner, Sweep::plan(examiner, function, SPOT)?)?;
        let check = section.check(function.name, "every float near hard spots");
        for x in function.hard_spots {
            // Below a zero's bits this would leave its sign, so it starts there.
            let bits = x.to_bits();
            let first = bits - (SPOT as u32 / 2).min(bits & 0x7fff_ffff);
            judge.all(check, spot.run(first, 1)?, first, 1);
        }
        let check = section.check(function.name, "special values");
        let nans = NANS.iter().map(|&bits| (bits, bits));
        for (input, want) in function.special.iter().copied().chain(nans) {
            let got = spot.run(input, 0)?[0].to_bits();
            judge.special(check, input, got, want);
        }
    }
    // Only now: of several functions those that are done are not done again.
    sweeps.into_iter().for_each(Resume::done);
    Ok(section)
}

/// Floats that lie `stride` apart.
fn inputs(stride: u32) -> u64 {
    (1_u64 << 32).div_ceil(u64::from(stride))
}

/// A kernel that computes a function for so many floats.
struct Sweep {
    program: Program,
    output: NodeId,
}

impl Sweep {
    /// The plan for so many floats, and the node of the results.
    fn plan(examiner: &Examiner<'_>, function: &Function, count: usize) -> Result<(Plan, NodeId)> {
        let subject = format!(
            "fn subject(x: f32) -> f32 {{\n    return {}(x);\n}}\n",
            function.wgsl
        );
        let source = [GRID, &source(), SWEEP, &subject].concat();
        let workgroups = count.div_ceil(WORKGROUP);
        let (plan, output) = single("sweep", source, vec![0; 4], [2, count], workgroups)?;
        Ok((examiner.tampered(plan), output))
    }

    fn new(examiner: &Examiner<'_>, (plan, output): (Plan, NodeId)) -> Result<Sweep> {
        let program = pollster::block_on(examiner.gpu.compile_plan(plan))?;
        Ok(Sweep { program, output })
    }

    fn run(&mut self, first: u32, stride: u32) -> Result<&[f32]> {
        let given = [first, stride].map(f32::from_bits).to_vec();
        self.program.set("given", &Tensor::new(&[2], given)?)?;
        Ok(self.program.run()?.get(self.output)?.data())
    }
}

struct Judge<'a> {
    function: &'a Function,
    /// Whether the device turns a subnormal into zero even where it only copies
    /// it; then none of these functions can see one, nor return one.
    flushes: bool,
}

impl Judge<'_> {
    fn all(&self, check: &mut Check, results: &[f32], first: u32, stride: u32) {
        let mut bits = first;
        for (i, &got) in results.iter().enumerate() {
            // A sweep ends where the bits begin again.
            if i > 0 && stride > 1 && bits < stride {
                break;
            }
            self.one(check, bits, got);
            bits = bits.wrapping_add(stride);
        }
    }

    fn one(&self, check: &mut Check, bits: u32, got: f32) {
        let x = f32::from_bits(bits);
        let exact = (self.function.exact)(f64::from(x));
        check.values += 1;
        let off = ulps(got, exact);
        let wrong = off > self.function.bound;
        if off <= check.max_ulps && !wrong {
            return;
        }
        if self.flushes && (x.is_subnormal() || (exact as f32).is_subnormal()) {
            let at_zero = (self.function.exact)(f64::copysign(0.0, f64::from(x)));
            if got == 0.0 || f64::from(got) == at_zero {
                return;
            }
        }
        let what = || {
            format!(
                "{}({x:e}) (bits 0x{bits:08x}) is {}, exactly {}: {off:.2} ULP, promised {}",
                self.function.name,
                number::show(got),
                number::show_wide(exact),
                self.function.bound
            )
        };
        if off > check.max_ulps {
            check.max_ulps = off;
            check.max_share = off / self.function.bound;
            check.worst = Some(what());
        }
        if wrong {
            check.failures += 1;
            check.failure.get_or_insert_with(|| Failure {
                what: what(),
                kernel: Some(self.kernel()),
            });
        }
    }

    /// A result that is exact by definition.
    fn special(&self, check: &mut Check, input: u32, got: u32, want: u32) {
        let number = f32::from_bits;
        let subnormal = |bits: u32| number(bits).is_subnormal();
        let nans = number(got).is_nan() && number(want).is_nan();
        let flushed = self.flushes && (subnormal(input) || subnormal(want));
        if got == want || nans || flushed {
            check.values += 1;
            return;
        }
        let what = format!(
            "{}({:e}) (bits 0x{input:08x}) is {:e}, not {:e}",
            self.function.name,
            number(input),
            number(got),
            number(want)
        );
        check.fail(what, Some(self.kernel()));
    }

    fn kernel(&self) -> String {
        format!("sweep of {}", self.function.wgsl)
    }
}
