//! `wgrad` alone: the exercise, worked out.

use wgrad::solution::{Detail, solve};
use wgrad::{Result, exercise};

use super::{EngineArgs, Outcome, output, problem, progress};

pub fn run(engine: &EngineArgs, as_json: bool) -> Result<Outcome> {
    let (_, prepared, gpu) = engine.prepare(exercise::problem()?)?;
    let detail = Detail {
        every_step: true,
        check: true,
    };
    progress::doing("solving the exercise");
    let solution = pollster::block_on(solve(&prepared, gpu.as_ref(), detail))?;
    let report = problem::of_exercise(solution)?;
    output::report(
        &report,
        as_json,
        output::Parts {
            worked: true,
            overview: false,
        },
    )
}
