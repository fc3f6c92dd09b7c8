//! What the adapter can do at best, measured beside the works: a copy, a read
//! and multiply-adds that do nothing else (`shaders/bench.wgsl`). Each is
//! checked, run in several forms, and the fastest form counts.

use std::time::Instant;

use super::stats::Summary;
use super::wake::wake;
use crate::error::{Error, Result};
use crate::graph::NodeId;
use crate::ops::shader_lib::GRID;
use crate::plan::single::single;
use crate::run::gpu::Gpu;
use crate::tensor::Tensor;

const SOURCE: &str = include_str!("../../shaders/bench.wgsl");

/// An adapter's measured best.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Peaks {
    /// Bytes per second of a copy, read and written both counted.
    pub copy_bytes_per_s: f64,
    /// Bytes per second that a kernel which does little else reads.
    pub read_bytes_per_s: f64,
    /// Float32 operations per second of multiply-adds, two for each.
    pub flops_per_s: f64,
}

/// Invocations of a workgroup in the shader.
const WORKGROUP: usize = 64;
/// Seconds of one submission, enough that starting it does not count.
const LONG_ENOUGH: f64 = 0.02;

/// Measures the adapter, for about `seconds`.
///
/// # Errors
/// The device failed, or a kernel gave a wrong value.
pub fn measure(gpu: &Gpu, seconds: f64) -> Result<Peaks> {
    let each = seconds / 6.0;
    let elements = elements(gpu);
    let bytes = 4.0 * elements as f64;
    let copy_1 = Run::copying(gpu, "copy_1", elements, 1)?.best(gpu, each)?;
    let copy_4 = Run::copying(gpu, "copy_4", elements, 4)?.best(gpu, each)?;
    let read_8 = Run::copying(gpu, "read_8", elements, 8)?.best(gpu, each)?;
    let mut flops_per_s: f64 = 0.0;
    for (entry, chains) in [
        ("multiply_add_2", 2),
        ("multiply_add_4", 4),
        ("multiply_add_8", 8),
    ] {
        let (run, flops) = Run::adding(gpu, entry, chains)?;
        flops_per_s = flops_per_s.max(flops / run.best(gpu, each)?);
    }
    Ok(Peaks {
        copy_bytes_per_s: 2.0 * bytes / copy_1.min(copy_4),
        read_bytes_per_s: bytes / read_8,
        flops_per_s,
    })
}

/// Seconds that a dispatch takes which has next to nothing to do, as
/// [`Program::trace_step`](crate::Program::trace_step) sees it, by the same clock:
/// the median of several. What takes no longer is bound by this alone.
///
/// # Errors
/// As [`measure`].
pub fn launch(gpu: &Gpu, host_clock: bool) -> Result<f64> {
    const STEPS: usize = 21;
    let mut run = Run::copying(gpu, "copy_1", 4 * WORKGROUP, 1)?;
    wake(gpu, &mut run.program)?;
    let origin = Instant::now();
    let mut samples = Vec::with_capacity(STEPS);
    for _ in 0..STEPS {
        let timeline = run.program.trace_step(&[], origin, host_clock)?;
        samples.extend(timeline.spans.first().map(|s| s.end_s - s.begin_s));
    }
    Ok(Summary::of(samples, 0).median)
}

/// Elements of the buffer that is copied: more than the caches hold, where the
/// adapter binds as much and there is memory for it, its copy and what is read back.
fn elements(gpu: &Gpu) -> usize {
    let target = gpu.target();
    let bytes: u64 = if target.software { 64 << 20 } else { 512 << 20 };
    let memory = gpu.memory().unwrap_or(u64::MAX);
    let bytes = bytes.min(target.binding_bytes).min(memory / 4);
    // Whole workgroups of eight vec4 an invocation, for every form.
    let unit = 8 * 4 * WORKGROUP as u64;
    ((bytes / 4 / unit).max(1) * unit) as usize
}

/// One kernel as a program of its own.
struct Run {
    program: crate::run::gpu::Program,
    output: NodeId,
    label: &'static str,
}

impl Run {
    fn new(
        gpu: &Gpu,
        label: &'static str,
        params: [u32; 2],
        given: &Tensor,
        made: usize,
        workgroups: usize,
    ) -> Result<Run> {
        let sizes = [given.data().len(), made];
        let source = format!("{GRID}\n{SOURCE}");
        let params = vec![params[0], params[1], 0, 0];
        let (plan, output) = single(label, source, params, sizes, workgroups)?;
        let mut program = pollster::block_on(gpu.compile_plan(plan))?;
        program.set("given", given)?;
        Ok(Run {
            program,
            output,
            label,
        })
    }

    /// A kernel that reads `elements`, `slices` vec4 an invocation.
    fn copying(gpu: &Gpu, label: &'static str, elements: usize, slices: usize) -> Result<Run> {
        let given: Vec<f32> = (0..elements).map(|i| (i % 8191) as f32).collect();
        let slice = elements / 4 / slices;
        let sums = label == "read_8";
        let made = if sums { slice * 4 } else { elements };
        // Sums of eight small integers are exact, in any order.
        let want = |i: usize| match sums {
            true => (0..slices).map(|s| given[i + s * slice * 4]).sum(),
            false => given[i],
        };
        let workgroups = slice / WORKGROUP;
        let tensor = Tensor::new(&[elements], given.clone())?;
        let mut run = Run::new(gpu, label, [0, slice as u32], &tensor, made, workgroups)?;
        run.check(|i, got| got == want(i))?;
        Ok(run)
    }

    /// A kernel of multiply-adds, and the operations of one dispatch.
    fn adding(gpu: &Gpu, label: &'static str, chains: usize) -> Result<(Run, f64)> {
        let (workgroups, turns) = match gpu.target().software {
            true => (256, 64),
            false => (8192, 512),
        };
        // What they leave must fit, and its copy for the host.
        let memory = gpu.memory().unwrap_or(u64::MAX) / 4;
        let fit = memory / (4 * 4 * WORKGROUP as u64);
        let workgroups = workgroups
            .min(usize::try_from(fit).unwrap_or(usize::MAX))
            .max(1);
        let per_turn = if chains == 8 { 4 } else { 8 / chains };
        // A fixed point of 1: x * 0.5 + 0.5 stays near it, and never overflows.
        let mut given = vec![0.5; 8];
        given.extend((0..4 * WORKGROUP).map(|i| 1.0 + (i % 7) as f32 / 8.0));
        let tensor = Tensor::new(&[given.len()], given)?;
        let made = workgroups * WORKGROUP * 4;
        let mut run = Run::new(gpu, label, [turns as u32, 0], &tensor, made, workgroups)?;
        run.check(|_, got| (got - chains as f32).abs() < 1e-4)?;
        let steps = (turns * per_turn * chains * 4 * workgroups * WORKGROUP) as f64;
        Ok((run, 2.0 * steps))
    }

    fn check(&mut self, right: impl Fn(usize, f32) -> bool) -> Result<()> {
        let values = self.program.run()?.get(self.output)?.data();
        let wrong = values.iter().enumerate().find(|(i, v)| !right(*i, **v));
        match wrong {
            Some((i, v)) => Err(Error::Gpu(format!(
                "the kernel `{}`, which measures the adapter, gave {v} at {i}; nothing measured \
                 on this adapter would count",
                self.label
            ))),
            None => Ok(()),
        }
    }

    /// The shortest time of one dispatch in seconds, among submissions of as
    /// many as take long enough.
    fn best(mut self, gpu: &Gpu, seconds: f64) -> Result<f64> {
        wake(gpu, &mut self.program)?;
        let start = Instant::now();
        let mut count = 1;
        let mut best = f64::INFINITY;
        loop {
            let before = Instant::now();
            self.program.run_steps(count, &[])?;
            let took = before.elapsed().as_secs_f64();
            best = best.min(took / f64::from(count));
            if start.elapsed().as_secs_f64() > seconds {
                return Ok(best);
            }
            if took < LONG_ENOUGH && count < 1 << 16 {
                count *= 2;
            }
        }
    }
}
