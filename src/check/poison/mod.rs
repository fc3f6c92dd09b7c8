//! Poison: does a plan write all that it must, and nothing else?
//!
//! All memory of a plan is filled with a pattern before a run, with guard zones
//! around each buffer (`layout`). Afterwards a word that still holds the pattern
//! was never written, and a guard that does not was written by mistake. The run is
//! made with three patterns. Where a result differs between them, a kernel has
//! read what nobody wrote and made use of it.
//!
//! The first pattern is a signalling NaN, which no arithmetic leaves behind: all
//! make a quiet one of it. The others are a large number of either sign: a NaN
//! may get lost in a comparison, on the same side of it each time.

mod layout;
mod verdict;

use layout::Guarded;

use crate::error::Result;
use crate::plan::Plan;
use crate::run::Feeds;
use crate::run::gpu::Gpu;
use crate::tensor::Tensor;

/// What memory is filled with, as bits: a signalling NaN, 1.9e19 and -3.1e19.
pub const PATTERNS: [u32; 3] = [0x7fa5_3c96, 0x5f84_d2b7, 0xdfd7_19e3];

/// What the runs of a plan showed.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Found {
    /// Words of memory looked at.
    pub words: u64,
    /// Words that are wrong.
    pub wrong: u64,
    /// The first mistake in the order of the plan.
    pub first: Option<Mistake>,
}

/// A mistake, and the kernel that made it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Mistake {
    /// Which word, and what is wrong with it.
    pub what: String,
    /// The kernel, with its step.
    pub kernel: Option<String>,
}

/// Runs `plan` with guard zones and with each of [`PATTERNS`]. `feeds` are the
/// values of its leaves; with replicas those of all along a leading axis, or one
/// for all.
///
/// # Errors
/// A leaf without a value; the device failed. A mistake is no error.
pub fn examine(gpu: &Gpu, plan: Plan, feeds: &Feeds) -> Result<Found> {
    let most = gpu.target().binding_bytes;
    let guarded = Guarded::new(plan, feeds, most)?;
    let steps = guarded.plan.steps.len();
    let runs = Runs::new(gpu, &guarded, steps, false)?;
    let mut found = Found {
        words: guarded.memories.iter().map(|m| m.words as u64).sum(),
        wrong: verdict::count(&guarded, &runs),
        first: None,
    };
    if found.wrong > 0 {
        // What did not happen again is told as it was seen.
        let again = first(gpu, &guarded)?;
        found.first = again.or_else(|| verdict::first(&guarded, &runs, steps));
    }
    Ok(found)
}

/// The first mistake: the plan is cut off after each step in turn.
fn first(gpu: &Gpu, guarded: &Guarded) -> Result<Option<Mistake>> {
    for done in 0..=guarded.plan.steps.len() {
        let runs = Runs::new(gpu, guarded, done, true)?;
        if let Some(mistake) = verdict::first(guarded, &runs, done) {
            return Ok(Some(mistake));
        }
    }
    Ok(None)
}

/// What all memories held before and after each run.
struct Runs {
    before: Vec<Vec<Tensor>>,
    after: Vec<Vec<Tensor>>,
    /// After the last run made once more; nothing if it was not.
    again: Vec<Tensor>,
}

impl Runs {
    /// Runs the first steps of a plan, the last time `twice` if need be.
    fn new(gpu: &Gpu, guarded: &Guarded, steps: usize, twice: bool) -> Result<Runs> {
        let mut plan = guarded.plan.clone();
        plan.steps.truncate(steps);
        let mut program = pollster::block_on(gpu.compile_plan(plan))?;
        let mut run = |pattern: u32| -> Result<[Vec<Tensor>; 2]> {
            let mut before = Vec::new();
            for (label, words) in guarded.filled(pattern) {
                let value = Tensor::new(&[words.len()], words)?;
                program.set(&label, &value)?;
                before.push(value);
            }
            // Images come last, and are not read back.
            before.truncate(guarded.memories.len());
            let after = program.run()?.iter();
            Ok([before, after.map(|(_, value)| value.clone()).collect()])
        };
        let (mut before, mut after) = (Vec::new(), Vec::new());
        for pattern in PATTERNS {
            let [given, left] = run(pattern)?;
            before.push(given);
            after.push(left);
        }
        let again = match (twice, PATTERNS.last()) {
            (true, Some(&pattern)) => run(pattern)?[1].clone(),
            _ => Vec::new(),
        };
        Ok(Runs {
            before,
            after,
            again,
        })
    }
}
