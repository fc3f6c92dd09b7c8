//! `wgrad trace`: where the time of a step goes, as tables and as a file for a viewer.

use std::path::PathBuf;

use clap::Args;
use wgrad::profile::{self, Options, Profile};
use wgrad::report::profile as report;
use wgrad::{Error, Result};

use super::export::Export;
use super::problem::ProblemArgs;
use super::{EngineArgs, Outcome, output, progress};

/// What to trace, and where to write it.
#[derive(Args)]
pub struct TraceArgs {
    #[command(flatten)]
    problem: ProblemArgs,

    /// Steps to trace, after one that is checked
    #[arg(long, value_name = "N", default_value = "10", value_parser = clap::value_parser!(u32).range(1..=1000))]
    steps: u32,

    /// The trace: open it in ui.perfetto.dev or chrome://tracing
    #[arg(long, short, value_name = "FILE", default_value = "trace.json")]
    output: PathBuf,
}

pub fn run(args: &TraceArgs, engine: &EngineArgs, as_json: bool) -> Result<Outcome> {
    let file = Export::to(&args.output)?;
    let (problem, _, gpu) = engine.prepare(args.problem.read()?)?;
    let Some(gpu) = gpu else {
        return Err(Error::Text(
            "--cpu has nothing to trace: a trace shows what an adapter does when; leave --cpu out"
                .to_string(),
        ));
    };
    progress::doing("measuring the adapter, then the step");
    let options = Options {
        steps: args.steps as usize,
        ..Options::default()
    };
    let made = profile::profile(&gpu, &problem, &options)?;
    if let Some(reason) = &made.unstamped {
        output::notice(&format!("no GPU timestamps: {reason}"));
    }
    if as_json {
        output::json(&report::json(&made))?;
    } else {
        output::data(&report::text(&made))?;
    }
    finish(&made, file)
}

/// Writes the trace of a step that is right. There is none of a wrong one.
fn finish(made: &Profile, file: Export) -> Result<Outcome> {
    if !made.passed() {
        return Ok(Outcome::Differs);
    }
    let path = file.path().display().to_string();
    file.write(&report::trace(made))?;
    output::notice(&format!(
        "wrote {path}: open it in ui.perfetto.dev or chrome://tracing"
    ));
    Ok(Outcome::Good)
}

#[cfg(test)]
mod tests {
    use super::*;
    use wgrad::{Gpu, exercise};

    /// No option can plant a fault, so this does it behind the command line.
    #[test]
    fn a_wrong_step_is_told_and_has_no_trace() {
        let gpu = Gpu::new().unwrap();
        let problem = exercise::problem().unwrap();
        let mut options = Options {
            steps: 2,
            seconds: 0.05,
            ..Options::default()
        };
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("t.json");
        let right = profile::profile(&gpu, &problem, &options).unwrap();
        assert!(finish(&right, Export::to(&path).unwrap()).unwrap() == Outcome::Good);
        assert!(path.is_file());
        std::fs::remove_file(&path).unwrap();
        options.tamper = Some(|label, value| {
            if label == "d/d 2.weight" {
                value.data_mut()[1] += 1e-3;
            }
        });
        let wrong = profile::profile(&gpu, &problem, &options).unwrap();
        assert!(wrong.steps.is_empty() && wrong.plain.is_empty());
        assert!(finish(&wrong, Export::to(&path).unwrap()).unwrap() == Outcome::Differs);
        assert!(!path.exists());
        let text = report::text(&wrong);
        let line = text.lines().find(|l| l.contains("WRONG")).unwrap();
        assert!(
            line.contains("1 of 11 values; `d/d 2.weight` [0, 1]"),
            "{line}"
        );
        let json = report::json(&wrong);
        assert_eq!(json["correct"], false);
        assert!(json["step_s"].is_null() && json["kernels"][0]["time_s"].is_null());
    }
}
