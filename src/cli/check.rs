//! `wgrad check`: the card of an adapter, and cases from elsewhere.

use std::path::PathBuf;

use clap::Args;
use serde_json::json;
use wgrad::check::card::{self, Card, Options};
use wgrad::check::cases::{Case, Folder, Verdict};
use wgrad::number::escaped;
use wgrad::report::card as report;
use wgrad::report::palette::{self, GOOD, MISMATCH, NOTICE, PLAIN};
use wgrad::run::gpu::{AdapterDescription, Selection};
use wgrad::{Error, Gpu, Result};

use super::export::Export;
use super::progress::Teller;
use super::tune::today;
use super::{EngineArgs, Outcome, grad, output, progress};

/// What to check.
#[derive(Args)]
pub struct CheckArgs {
    /// A folder with cases.json and cases.safetensors: alone only these are run;
    /// with --card, or any option of the card, they are a part of it
    #[arg(long, value_name = "DIR")]
    cases: Option<PathBuf>,

    /// Cases whose operator wgrad does not have do not fail the run
    #[arg(long, requires = "cases")]
    allow_unsupported: bool,

    /// Examine the adapter, as without --cases
    #[arg(long)]
    card: bool,

    /// The checks to make: ops, functions and networks by name
    #[arg(long, value_name = "NAME,NAME..", value_delimiter = ',')]
    only: Vec<String>,

    /// A short card: fewer sizes, kernels and repetitions
    #[arg(long)]
    quick: bool,

    /// Every float32 for each elementary function: minutes a function
    /// (it goes on where it was interrupted, if the cache folder can be used)
    #[arg(long, conflicts_with = "quick")]
    exhaustive: bool,

    /// With --exhaustive: begin at the first float all the same
    #[arg(long, requires = "exhaustive")]
    restart: bool,

    /// Examine every adapter, one after the other
    #[arg(long, conflicts_with_all = ["adapter", "cpu"])]
    all_adapters: bool,

    /// Write the card as Markdown
    #[arg(long, value_name = "FILE")]
    markdown: Option<PathBuf>,
}

impl CheckArgs {
    /// Whether the adapter is to be examined.
    fn wants_card(&self) -> bool {
        self.cases.is_none()
            || self.card
            || self.quick
            || self.exhaustive
            || self.all_adapters
            || self.markdown.is_some()
            || !self.only.is_empty()
    }
}

pub fn run(args: &CheckArgs, engine: &EngineArgs, as_json: bool) -> Result<Outcome> {
    if let Some(folder) = &args.cases {
        engine.needs_f32("cases from elsewhere are held to PyTorch's float32 rule")?;
        grad::reading(folder);
    }
    let folder = args.cases.as_deref().map(Folder::read).transpose()?;
    match folder {
        Some(folder) if !args.wants_card() => run_cases(args, &folder, engine, as_json),
        folder => run_card(args, folder.as_ref(), engine, as_json),
    }
}

fn nothing_to_check(what: &str) -> Error {
    Error::Text(format!("--cpu has nothing to check: {what}"))
}

fn run_card(
    args: &CheckArgs,
    folder: Option<&Folder>,
    engine: &EngineArgs,
    as_json: bool,
) -> Result<Outcome> {
    // What would fail at the end fails before anything is examined.
    let markdown = args.markdown.as_deref().map(Export::to).transpose()?;
    let options = Options {
        quick: args.quick,
        exhaustive: args.exhaustive,
        state: engine.cache_folder(),
        restart: args.restart,
        only: args.only.clone(),
        ..Options::default()
    };
    options.verify()?;
    let mut cards = Vec::new();
    let mut unopened = Vec::new();
    // Whether an adapter was opened and failed otherwise than by wrong values.
    let mut broken = false;
    for (adapter, gpu) in devices(args, engine)? {
        let opened = gpu.is_ok();
        let made = gpu.and_then(|gpu| {
            progress::doing(&format!("examining {}", gpu.adapter()));
            let mut teller = Teller::default();
            let options = Options {
                precision: engine.precision_on(Some(&gpu)),
                ..options.clone()
            };
            let mut card = card::examine(&gpu, &options, &mut |told| teller.tell(told))?;
            card.date = Some(today());
            if let Some(folder) = folder {
                let results = all_cases(folder, &gpu, |_, _| Ok(()))?;
                let named = results.iter().map(|(case, v)| (case.name.as_str(), v));
                card.add_cases(named, args.allow_unsupported);
            }
            Ok(card)
        });
        let card = match (adapter, made) {
            (_, Ok(card)) => card,
            // One of several may lack what is needed (OpenGL without compute shaders), and
            // is no reason not to examine the others.
            (Some(adapter), Err(error)) => {
                output::notice(&format!("{adapter} is not examined: {error}"));
                broken |= opened;
                unopened.push((adapter, error));
                continue;
            }
            (None, Err(error)) => return Err(error),
        };
        if !as_json {
            output::data(&report::text(&card))?;
        }
        cards.push(card);
    }
    if cards.is_empty()
        && let Some((_, error)) = unopened.pop()
    {
        return Err(error);
    }
    if as_json {
        let mut all: Vec<_> = cards.iter().map(report::json).collect();
        all.extend(unopened.iter().map(|(adapter, error)| {
            json!({
                "adapter": wgrad::report::json::adapter(adapter),
                "not_examined": error.to_string(),
            })
        }));
        match args.all_adapters {
            true => output::json(&json!(all))?,
            // There is one.
            false => output::json(&all.pop().unwrap_or_default())?,
        }
    }
    if let Some(file) = markdown {
        let pages: Vec<_> = cards.iter().map(report::markdown).collect();
        file.write(&pages.join("\n"))?;
    }
    Ok(match !broken && cards.iter().all(Card::passed) {
        true => Outcome::Good,
        false => Outcome::Differs,
    })
}

/// A device, and its adapter where it is one of several.
type Device = (Option<AdapterDescription>, Result<Gpu>);

/// The devices to examine, each opened when its turn comes.
fn devices<'a>(
    args: &CheckArgs,
    engine: &'a EngineArgs,
) -> Result<Box<dyn Iterator<Item = Device> + 'a>> {
    if !args.all_adapters {
        let gpu = engine
            .open()?
            .ok_or_else(|| nothing_to_check("a card is an adapter's"))?;
        return Ok(Box::new(std::iter::once((None, Ok(gpu)))));
    }
    let (adapters, chosen) = engine.list()?;
    chosen?;
    let backends = engine.selection()?.backends;
    let all: Vec<AdapterDescription> = adapters.descriptions().cloned().collect();
    Ok(Box::new(all.into_iter().map(move |adapter| {
        let selection = Selection {
            adapter: Some(adapter.index.to_string()),
            backends: backends.clone(),
        };
        let gpu = engine.open_selected(selection);
        (Some(adapter), gpu.map(|gpu| engine.with_tuned(gpu)))
    })))
}

type Results<'f> = Vec<(&'f Case, Verdict)>;

/// Every case of the folder; `each` is told of one when it is done.
fn all_cases<'f>(
    folder: &'f Folder,
    gpu: &Gpu,
    each: impl Fn(&Case, &Verdict) -> Result<()>,
) -> Result<Results<'f>> {
    let mut results = Vec::with_capacity(folder.cases.len());
    for (i, case) in folder.cases.iter().enumerate() {
        progress::doing(&format!("case {}", case.name));
        progress::done(i as u64, folder.cases.len() as u64);
        let verdict = pollster::block_on(folder.run(case, gpu))?;
        each(case, &verdict)?;
        results.push((case, verdict));
    }
    Ok(results)
}

fn run_cases(
    args: &CheckArgs,
    folder: &Folder,
    engine: &EngineArgs,
    as_json: bool,
) -> Result<Outcome> {
    let gpu = engine
        .open()?
        .ok_or_else(|| nothing_to_check("the cases hold the GPU's gradients against PyTorch's"))?;
    let results = all_cases(folder, &gpu, |case, verdict| match as_json {
        true => Ok(()),
        false => output::data(&line(&case.name, verdict)),
    })?;
    let count = |wanted: fn(&Verdict) -> bool| results.iter().filter(|(_, v)| wanted(v)).count();
    let passed = count(|v| matches!(v, Verdict::Passed { .. }));
    let failed = count(|v| matches!(v, Verdict::Failed { .. }));
    let unsupported = count(|v| matches!(v, Verdict::Unsupported(_)));
    let good = failed == 0 && (unsupported == 0 || args.allow_unsupported);
    if as_json {
        let list: Vec<_> = results
            .iter()
            .map(|(case, verdict)| match verdict {
                Verdict::Passed { values, beyond } => json!({
                    "case": case.name, "op": case.op, "verdict": "passed", "values": values,
                    "beyond_rule": beyond,
                }),
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
        output::data(&palette::verdicts(&format!(
            "{word} {passed}/{} cases on {}: {failed} failed, {unsupported} unsupported\n",
            results.len(),
            gpu.adapter()
        )))?;
    }
    Ok(if good {
        Outcome::Good
    } else {
        Outcome::Differs
    })
}

fn line(name: &str, verdict: &Verdict) -> String {
    let (colour, word, text) = match verdict {
        Verdict::Passed { values, beyond: 0 } => (GOOD, "ok", format!("{name}  {values} values")),
        Verdict::Passed { values, beyond } => (
            GOOD,
            "ok",
            format!(
                "{name}  {values} values, {beyond} past PyTorch's rule and within the bound of \
                 float32 sums"
            ),
        ),
        Verdict::Unsupported(reason) => (NOTICE, "unsupported", format!("{name}  {reason}")),
        Verdict::Failed { reasons } => (
            MISMATCH,
            "FAILED",
            format!("{name}  {}", reasons.join("; ")),
        ),
    };
    // Names come from the file.
    format!(
        "{colour}{word}{PLAIN}{:gap$}{}\n",
        "",
        escaped(&text),
        gap = 13 - word.len()
    )
}
