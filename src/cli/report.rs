//! `wgrad report`: the worked solution as one HTML file.

use std::path::PathBuf;

use clap::Args;
use wgrad::report::page::{self, Made};
use wgrad::solution::Detail;
use wgrad::{Result, report};

use super::export::Export;
use super::output::Sort;
use super::problem::ProblemArgs;
use super::{EngineArgs, Outcome, grad, output, progress, tune};

/// What to work out.
#[derive(Args)]
pub struct ReportArgs {
    #[command(flatten)]
    problem: ProblemArgs,

    /// Write to this file, not to stdout
    #[arg(long, short, value_name = "FILE.html")]
    output: Option<PathBuf>,

    /// The page's title
    #[arg(long, value_name = "TEXT")]
    title: Option<String>,
}

pub fn run(args: &ReportArgs, engine: &EngineArgs, as_json: bool) -> Result<Outcome> {
    let file = args.output.as_deref().map(Export::to).transpose()?;
    let (problem, prepared, gpu) = engine.prepare(args.problem.read()?)?;
    let detail = Detail {
        every_step: true,
        check: true,
    };
    let cut = grad::cut(&prepared, gpu.as_ref(), detail, false)?;
    let solution = grad::solve(&prepared, gpu.as_ref(), detail, cut)?;
    for warning in &solution.warnings {
        output::notice(warning);
    }
    let report = args.problem.report(solution)?;
    progress::doing("writing the page");
    let text = match as_json {
        true => format!("{:#}\n", report::json::report(&report)),
        false => {
            let title = args.title.clone();
            let made = Made {
                title: title.unwrap_or_else(|| args.problem.title(&problem)),
                date: tune::today(),
                command: command(),
            };
            page::page(&prepared, &report, &made)?
        }
    };
    match as_json {
        true => output::sorted(file, &text, Sort::Json)?,
        false => output::text(file, &text)?,
    }
    Ok(match report.tally().passed() {
        true => Outcome::Good,
        false => Outcome::Differs,
    })
}

/// The command line as one may type it into a shell.
pub(super) fn command() -> String {
    let arguments = std::env::args_os().skip(1);
    let parts = arguments.map(|a| quoted(&a.to_string_lossy()));
    std::iter::once("wgrad".to_string())
        .chain(parts)
        .collect::<Vec<_>>()
        .join(" ")
}

fn quoted(argument: &str) -> String {
    let plain = |c: char| c.is_alphanumeric() || "_-./:=,+%@".contains(c);
    match !argument.is_empty() && argument.chars().all(plain) {
        true => argument.to_string(),
        false => format!("'{}'", argument.replace('\'', "'\\''")),
    }
}

#[cfg(test)]
mod tests {
    use super::quoted;

    #[test]
    fn commands_can_be_typed_again() {
        assert_eq!(quoted("--input=x.npy"), "--input=x.npy");
        assert_eq!(quoted("Linear(4, 2)"), "'Linear(4, 2)'");
        assert_eq!(quoted("a'b"), "'a'\\''b'");
        assert_eq!(quoted(""), "''");
    }
}
