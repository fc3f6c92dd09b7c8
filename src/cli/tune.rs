//! `wgrad tune`: which kernels are the fastest here, each checked first.

use std::collections::BTreeSet;
use std::fmt::Write;
use std::time::{SystemTime, UNIX_EPOCH};

use clap::Args;
use serde_json::{Value, json};
use wgrad::bench::Work;
use wgrad::graph::{Graph, NodeId, Target};
use wgrad::nn::{Loss, Network};
use wgrad::number::escaped;
use wgrad::ops::matmul::{Candidate, Problem};
use wgrad::plan::Plan;
use wgrad::report::palette::{MISMATCH, PLAIN};
use wgrad::report::text;
use wgrad::run::gpu::AdapterDescription;
use wgrad::tune::{self, Kernels, MARGIN, Options, Own, Quarantined, Tuned, Tuner, Verdict};
use wgrad::{Error, Gpu, Result};

use super::{EngineArgs, Outcome, output, progress};

/// What to tune, and what to do with what was found.
#[derive(Args)]
pub struct TuneArgs {
    /// The network, as for grad; without it, those of wgrad bench
    #[arg(long, value_name = "TEXT|FILE", requires = "loss")]
    net: Option<std::ffi::OsString>,

    /// The loss, as for bench
    #[arg(long, requires = "net")]
    loss: Option<String>,

    /// Rows of each batch [default: those of wgrad bench]
    #[arg(long, value_name = "N,N..", value_delimiter = ',', value_parser = super::count::<u32>, requires = "net")]
    batch: Option<Vec<u32>>,

    /// This product instead of a network's: rows, columns and inner size, and n
    /// or t for each operand, as '256x512x784 nt'; several times for several
    #[arg(long, value_name = "PRODUCT", conflicts_with = "net", value_parser = tune::parse)]
    problem: Vec<Problem>,

    /// Try this kernel alone; several times for several
    #[arg(long, value_name = "NAME", requires = "dry_run")]
    kernel: Vec<String>,

    /// Seconds of timing for each product
    #[arg(long, value_name = "S", default_value_t = 1.0, value_parser = seconds)]
    seconds: f64,

    /// Measure, and keep nothing
    #[arg(long)]
    dry_run: bool,

    /// Forget what was found on this adapter, and measure nothing
    #[arg(long, conflicts_with_all = ["net", "problem", "dry_run"])]
    clear: bool,
}

fn seconds(text: &str) -> Result<f64, String> {
    match text.parse() {
        Ok(s) if (0.0..=600.0).contains(&s) => Ok(s),
        _ => Err("not a number from 0 to 600".to_string()),
    }
}

pub fn run(args: &TuneArgs, engine: &EngineArgs, as_json: bool) -> Result<Outcome> {
    let Some(gpu) = engine.open_untuned()? else {
        return Err(Error::Text(
            "--cpu has nothing to tune: the choice is between kernels of an adapter; leave it out"
                .to_string(),
        ));
    };
    let adapter = gpu.adapter();
    let folder = match (engine.cache_folder(), args.dry_run) {
        (Some(folder), _) => Some(folder),
        (None, true) => None,
        (None, false) => {
            return Err(Error::Text(
                "there is no folder to keep the result in: give --cache-dir DIR, or --dry-run to \
                 keep nothing"
                    .to_string(),
            ));
        }
    };
    if args.clear {
        let was = match &folder {
            Some(folder) => Tuned::clear(folder, adapter)?,
            None => false,
        };
        output::notice(match was {
            true => "forgotten: plain runs take the defaults again",
            false => "nothing was kept for this adapter",
        });
        return Ok(Outcome::Good);
    }
    // Earlier results stay, for other products. What cannot be used is replaced.
    let mut tuned = folder
        .as_deref()
        .and_then(|folder| Tuned::load(folder, adapter).ok().flatten())
        .unwrap_or_else(|| Tuned::new(adapter));
    let problems = problems(args, engine, &gpu)?;
    if problems.is_empty() {
        output::notice("no product here has more than one kernel: nothing to tune");
    }
    let options = Options {
        seconds: args.seconds,
        ..Options::default()
    };
    let date = today();
    let only = Only(&args.kernel);
    only.are_known(&problems, gpu.target())?;
    let mut tuner = Tuner::new(&gpu, &only, options);
    let mut found = Vec::new();
    for (i, problem) in problems.iter().enumerate() {
        let (number, of) = (i as u64, problems.len() as u64);
        progress::doing(&format!("{} of {of}: {problem}", i + 1));
        progress::done(number, of);
        let outcome = tuner.tune(*problem)?;
        tuned.add(&outcome, &date);
        if !as_json {
            output::data(&result(&outcome))?;
        }
        found.push(outcome);
    }
    let kept = match folder.filter(|_| !args.dry_run && !found.is_empty()) {
        Some(folder) => Some(tuned.save(&folder, adapter)?),
        None => None,
    };
    let wrong: Vec<&Quarantined> = found.iter().flat_map(tune::Outcome::wrong).collect();
    if as_json {
        output::json(&json!({
            "adapter": wgrad::report::json::adapter(adapter),
            "products": found.iter().map(as_value).collect::<Vec<_>>(),
            "tuned": tuned,
            "file": kept,
        }))?;
    } else {
        output::data(&closing(&tuned, &wrong, adapter))?;
    }
    if let Some(path) = kept {
        output::notice(&format!("kept in {}", path.display()));
    }
    Ok(verdict(&wrong))
}

fn verdict(wrong: &[&Quarantined]) -> Outcome {
    match wrong.is_empty() {
        true => Outcome::Good,
        false => Outcome::Differs,
    }
}

/// The kernels of these names; all if there are none.
struct Only<'a>(&'a [String]);

impl Only<'_> {
    fn are_known(&self, problems: &[Problem], target: &Target) -> Result<()> {
        let names = |p: &Problem| Own.candidates(p, target).into_iter().map(|c| c.to_string());
        let known: BTreeSet<String> = problems.iter().flat_map(names).collect();
        match self.0.iter().find(|name| !known.contains(*name)) {
            None => Ok(()),
            Some(name) => Err(Error::Text(format!(
                "no kernel `{name}` for these products; there are {}",
                known.into_iter().collect::<Vec<_>>().join(", ")
            ))),
        }
    }
}

impl Kernels for Only<'_> {
    fn candidates(&self, problem: &Problem, target: &Target) -> Vec<Candidate> {
        let mut all = Own.candidates(problem, target);
        all.retain(|c| self.0.is_empty() || self.0.contains(&c.to_string()));
        all
    }

    fn plan(
        &self,
        graph: &Graph,
        output: NodeId,
        target: &Target,
        candidate: Candidate,
    ) -> Result<Plan> {
        Own.plan(graph, output, target, candidate)
    }
}

/// The products to tune, each once.
fn problems(args: &TuneArgs, engine: &EngineArgs, gpu: &Gpu) -> Result<Vec<Problem>> {
    let mut problems = args.problem.clone();
    for problem in problems.iter_mut().filter(|p| !p.precision.is_half()) {
        problem.precision = engine.precision_on(Some(gpu));
    }
    if problems.is_empty() {
        for mut work in works(args)? {
            work.network = engine.with_precision(work.network, Some(gpu));
            let (graph, outputs) = work.graph()?;
            problems.extend(tune::products(&graph, &outputs, gpu.target())?);
        }
    }
    let mut seen = Vec::new();
    problems.retain(|p| {
        !seen.contains(p) && {
            seen.push(*p);
            true
        }
    });
    Ok(problems)
}

fn works(args: &TuneArgs) -> Result<Vec<Work>> {
    let (Some(net), Some(loss)) = (&args.net, &args.loss) else {
        // clap lets neither come without the other.
        return Work::defaults(None);
    };
    let network = Network::parse(&super::text_or_file(net)?)?;
    let loss = Loss::parse(loss)?;
    let batches: Vec<usize> = match &args.batch {
        Some(list) => list.iter().map(|&n| n as usize).collect(),
        None => wgrad::bench::BATCHES.to_vec(),
    };
    Ok(Work::on(&network, &loss, &batches))
}

/// The kernels for one product, and which is taken.
fn result(outcome: &tune::Outcome) -> String {
    let mut table = text::plain_table();
    table.set_header(vec!["kernel", "values", "time", "of default", ""]);
    for (i, trial) in outcome.trials.iter().enumerate() {
        let remark = match (outcome.chosen == Some(i), i) {
            (true, 0) => "default, taken",
            (true, _) => "taken",
            (false, 0) => "default",
            (false, _) => "",
        };
        let (time, share) = match &trial.verdict {
            Verdict::Wrong(_) => ("WRONG".to_string(), String::new()),
            Verdict::Timed { seconds, share } => (
                format!("{:.3} ms", seconds * 1e3),
                format!("{:.0}%", 100.0 * share),
            ),
        };
        table.add_row(vec![
            trial.candidate.to_string(),
            trial.values.to_string(),
            time,
            share,
            remark.to_string(),
        ]);
    }
    let mut out = format!("{}\n\n", outcome.problem);
    text::write_verdicts(&mut out, &table, 1);
    out.push('\n');
    out
}

/// What was found in all, and what is wrong with which line shows it again.
fn closing(tuned: &Tuned, wrong: &[&Quarantined], adapter: &AdapterDescription) -> String {
    let mut out = String::new();
    for q in wrong {
        // A String takes every write.
        let _ = writeln!(
            out,
            "{MISMATCH}WRONG{PLAIN} {} on {}{}: {}; it is not used any more\n  shows it again: wgrad tune \
             --dry-run --adapter {} --problem '{}' --kernel '{}'\n",
            q.kernel,
            q.problem,
            if q.followed { ", biases, ReLU" } else { "" },
            escaped(&q.reason),
            adapter.index,
            q.problem.trim_start_matches("matmul "),
            q.kernel,
        );
    }
    let _ = writeln!(out, "{}", summary(tuned));
    let _ = writeln!(
        out,
        "   a kernel is taken in place of the default if it is right everywhere it was tried and \
         more than {:.0}% faster",
        100.0 * MARGIN
    );
    out
}

/// One line on what was found on an adapter.
pub fn summary(tuned: &Tuned) -> String {
    let quarantined = match tuned.quarantined.len() {
        0 => String::new(),
        1 => ", 1 kernel in quarantine".to_string(),
        n => format!(", {n} kernels in quarantine"),
    };
    format!(
        "tuned: {} of {} products take another kernel than the default{quarantined} ({})",
        tuned.changed().count(),
        tuned.products.len(),
        escaped(&tuned.date)
    )
}

/// The choices one by one, and what is in quarantine.
pub fn choices(tuned: &Tuned) -> String {
    let mut out = String::new();
    for p in tuned.changed() {
        let line = format!("{}: {} in place of {}", p.problem, p.kernel, p.default);
        let _ = writeln!(out, "      {}", escaped(&line));
    }
    for q in &tuned.quarantined {
        let line = format!("not used: {}, wrong on {}", q.kernel, q.problem);
        let _ = writeln!(out, "      {}", escaped(&line));
    }
    out
}

fn as_value(outcome: &tune::Outcome) -> Value {
    let kernels: Vec<_> = outcome
        .trials
        .iter()
        .map(|trial| {
            json!({
                "kernel": trial.candidate.to_string(),
                "values": trial.values,
                "seconds": trial.seconds(),
                "wrong": match &trial.verdict {
                    Verdict::Wrong(q) => json!(q),
                    Verdict::Timed { .. } => Value::Null,
                },
            })
        })
        .collect();
    json!({
        "problem": outcome.problem.to_string(),
        "kernels": kernels,
        "taken": outcome.chosen_kernel().map(|t| t.candidate.to_string()),
    })
}

/// The day by the system's clock, in UTC.
pub(super) fn today() -> String {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    day(now.map_or(0, |since| since.as_secs() / 86_400))
}

/// The date of a day, counted from 1970-01-01: years from March, so that the
/// leap day is the last; 400 of them have 146,097 days.
fn day(since_1970: u64) -> String {
    let days = since_1970 + 719_468;
    let (era, of_era) = (days / 146_097, days % 146_097);
    let year = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year + year / 4 - year / 100);
    let month = (5 * of_year + 2) / 153;
    let day = of_year - (153 * month + 2) / 5 + 1;
    let month = if month < 10 { month + 3 } else { month - 9 };
    let year = 400 * era + year + u64::from(month <= 2);
    format!("{year}-{month:02}-{day:02}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use wgrad::run::gpu::{Backend, DeviceKind};

    fn trial(candidate: Candidate, verdict: Verdict) -> tune::Trial {
        tune::Trial {
            candidate,
            values: 4321,
            verdict,
        }
    }

    fn timed(seconds: f64, share: f64) -> Verdict {
        Verdict::Timed { seconds, share }
    }

    /// No option can plant a fault, so this does it behind the command line.
    #[test]
    fn a_wrong_kernel_is_named_with_the_line_that_shows_it() {
        let adapter = AdapterDescription {
            index: 2,
            name: "a card".to_string(),
            kind: DeviceKind::Discrete,
            backend: Backend::Vulkan,
            driver: "driver 1".to_string(),
            max_binding: 1,
            max_buffer: 1,
            max_invocations: 1,
            workgroup_memory: 1,
        };
        let wrong = Quarantined {
            kernel: Candidate::Small.to_string(),
            problem: "matmul 17x17x67 nt".to_string(),
            followed: true,
            reason: "2 of 289 values are wrong, the worst at [1, 2]: got 3, want 2, allowed \
                     1.000e-6"
                .to_string(),
        };
        let outcome = tune::Outcome {
            problem: tune::parse("3x36x400 nt").unwrap(),
            trials: vec![
                trial(Candidate::Tall, timed(0.002, 1.0)),
                trial(Candidate::Rows, timed(0.0015, 0.74)),
                trial(Candidate::Small, Verdict::Wrong(wrong.clone())),
            ],
            chosen: Some(1),
        };
        let mut tuned = Tuned::new(&adapter);
        tuned.add(&outcome, "2026-11-25");
        let text = result(&outcome) + &closing(&tuned, &[&wrong], &adapter) + &choices(&tuned);
        let text = anstream::adapter::strip_str(&text).to_string();
        insta::assert_snapshot!(text);
        assert!(verdict(&[&wrong]) == Outcome::Differs && verdict(&[]) == Outcome::Good);
        let value = as_value(&outcome);
        assert_eq!(value["kernels"][2]["wrong"]["kernel"], "matmul_16");
        assert_eq!(value["taken"], "matmul_rows");
    }

    #[test]
    fn days_have_dates() {
        for (days, date) in [
            (0, "1970-01-01"),
            (59, "1970-03-01"),
            (11_016, "2000-02-29"),
            (11_017, "2000-03-01"),
            (20_782, "2026-11-25"),
            (47_540, "2100-02-28"),
            (47_541, "2100-03-01"),
        ] {
            assert_eq!(day(days), date);
        }
    }
}
