//! `wgrad` alone: the exercise, worked out.

use wgrad::report::Report;
use wgrad::solution::{Detail, solve};
use wgrad::{Result, exercise};

use super::{EngineArgs, Outcome, output, progress};

pub fn run(engine: &EngineArgs, as_json: bool) -> Result<Outcome> {
    let (_, prepared, gpu) = engine.prepare(exercise::problem()?)?;
    let detail = Detail {
        every_step: true,
        check: true,
    };
    progress::doing("solving the exercise");
    let mut report = Report::new(pollster::block_on(solve(&prepared, gpu.as_ref(), detail))?);
    let (pytorch, version) = exercise::pytorch()?;
    report.pytorch = pytorch;
    report.pytorch_version = Some(version);
    report.figures = exercise::figures(&report.solution)?;
    output::report(
        &report,
        as_json,
        output::Parts {
            worked: true,
            overview: false,
        },
    )
}
