//! A GPU that has nothing to do turns its clock down and takes a while to turn it up
//! again. What is timed meanwhile says nothing: an NVIDIA H200 fell from 1980 to 345 MHz
//! within a second or two of idling (a check against the CPU's reference is enough), and
//! steps timed right after it took four to six times as long.

use std::time::Instant;

use crate::error::Result;
use crate::run::gpu::{Gpu, Program};

/// Seconds of work after which a clock is up, with some to spare: it took 0.3 to 0.5.
const WAKES_IN: f64 = 0.75;
/// Seconds of one submission.
const SUBMISSION: f64 = 0.01;
const MOST_STEPS: u32 = 1 << 12;

/// Keeps the device busy with steps of `program` until its clock is up. A driver in
/// software has no clock of its own, and nothing is done.
///
/// # Errors
/// The device failed.
pub fn wake(gpu: &Gpu, program: &mut Program) -> Result<()> {
    if gpu.target().software {
        return Ok(());
    }
    let start = Instant::now();
    let mut steps = 1;
    while start.elapsed().as_secs_f64() < WAKES_IN {
        let before = Instant::now();
        program.run_steps(steps, &[])?;
        if before.elapsed().as_secs_f64() < SUBMISSION && steps < MOST_STEPS {
            steps *= 2;
        }
    }
    Ok(())
}
