//! `wgrad` alone: the exercise, worked out.

use wgrad::report::{Report, json, text};
use wgrad::solution::{Detail, solve};
use wgrad::{Result, exercise};

use super::{EngineArgs, Outcome, output};

pub fn run(engine: &EngineArgs, as_json: bool) -> Result<Outcome> {
    let gpu = engine.open()?;
    let prepared = exercise::problem()?.prepare()?;
    let detail = Detail {
        every_step: true,
        check: true,
    };
    let mut report = Report::new(solve(&prepared, gpu.as_ref(), detail)?);
    let (pytorch, version) = exercise::pytorch()?;
    report.pytorch = pytorch;
    report.pytorch_version = Some(version);
    report.figures = exercise::figures(&report.solution)?;
    if as_json {
        output::json(&json::report(&report))?;
    } else {
        output::data(&text::heading(&report))?;
        output::data(&text::worked_solution(&report))?;
        output::data(&text::sheet(&report))?;
        output::data(&text::failures(&report))?;
        output::data(&format!("\n{}", text::closing(&report)))?;
    }
    Ok(if report.tally().passed() {
        Outcome::Good
    } else {
        Outcome::Differs
    })
}
