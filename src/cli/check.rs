//! `wgrad check`: cases from elsewhere.

use std::path::PathBuf;

use clap::Args;
use serde_json::json;
use wgrad::check::cases::{self, Verdict};
use wgrad::number::escaped;
use wgrad::{Error, Result};

use super::{EngineArgs, Outcome, output};

/// What to check.
#[derive(Args)]
pub struct CheckArgs {
    /// A folder with cases.json and cases.safetensors
    #[arg(long, value_name = "DIR")]
    cases: PathBuf,

    /// Cases whose operator wgrad does not have do not fail the run
    #[arg(long)]
    allow_unsupported: bool,
}

pub fn run(args: &CheckArgs, engine: &EngineArgs, as_json: bool) -> Result<Outcome> {
    let folder = cases::Folder::read(&args.cases)?;
    let Some(gpu) = engine.open()? else {
        return Err(Error::Text(
            "--cpu has nothing to check: the cases hold the GPU's gradients against PyTorch's"
                .to_string(),
        ));
    };
    let mut results = Vec::with_capacity(folder.cases.len());
    for case in &folder.cases {
        let verdict = pollster::block_on(folder.run(case, &gpu))?;
        if !as_json {
            output::data(&line(&case.name, &verdict))?;
        }
        results.push((case, verdict));
    }
    let count = |wanted: fn(&Verdict) -> bool| results.iter().filter(|(_, v)| wanted(v)).count();
    let passed = count(|v| matches!(v, Verdict::Passed { .. }));
    let failed = count(|v| matches!(v, Verdict::Failed { .. }));
    let unsupported = count(|v| matches!(v, Verdict::Unsupported(_)));
    let good = failed == 0 && (unsupported == 0 || args.allow_unsupported);
    if as_json {
        let list: Vec<_> = results
            .iter()
            .map(|(case, verdict)| match verdict {
                Verdict::Passed { values } => {
                    json!({ "case": case.name, "op": case.op, "verdict": "passed", "values": values })
                }
                Verdict::Failed { reasons } => {
                    json!({ "case": case.name, "op": case.op, "verdict": "failed", "reasons": reasons })
                }
                Verdict::Unsupported(reason) => {
                    json!({ "case": case.name, "op": case.op, "verdict": "unsupported", "reason": reason })
                }
            })
            .collect();
        output::json(&json!({
            "adapter": wgrad::report::json::adapter(gpu.adapter()),
            "source": folder.source,
            "cases": list,
            "passed": passed,
            "failed": failed,
            "unsupported": unsupported,
        }))?;
    } else {
        let word = if good { "PASS" } else { "FAIL" };
        output::data(&format!(
            "{word} {passed}/{} cases on {}: {failed} failed, {unsupported} unsupported\n",
            results.len(),
            gpu.adapter()
        ))?;
    }
    Ok(if good {
        Outcome::Good
    } else {
        Outcome::Differs
    })
}

fn line(name: &str, verdict: &Verdict) -> String {
    let text = match verdict {
        Verdict::Passed { values } => format!("ok           {name}  {values} values"),
        Verdict::Unsupported(reason) => format!("unsupported  {name}  {reason}"),
        Verdict::Failed { reasons } => format!("FAILED       {name}  {}", reasons.join("; ")),
    };
    // Names come from the file.
    format!("{}\n", escaped(&text))
}
