//! A card as text for a terminal, as JSON, and as Markdown. All three end, where
//! something is wrong, with what to do about it.

use std::fmt::Write;

use serde_json::{Value, json as make};

use super::json::adapter;
#[cfg(feature = "cli")]
use super::palette::{self, HEADING, MISMATCH, PLAIN};
#[cfg(feature = "cli")]
use super::text::{hanging, plain_table, write_paragraph, write_verdicts};
use crate::check::card::{Card, Check, Section};

// Writing to a `String` cannot fail, so the results of `write!` are dropped.

const HEADS: [&str; 6] = ["", "check", "values", "no bound", "max ULP", "of bound"];

fn word(passed: bool) -> &'static str {
    if passed { "PASS" } else { "FAIL" }
}

/// The cells of a check's line.
fn cells(check: &Check) -> [String; 6] {
    let share = match check.max_share {
        s if s.is_infinite() => "beyond".to_string(),
        s if s > 10.0 => format!("{s:.0}x"),
        s => format!("{:.0}%", 100.0 * s),
    };
    let ulps = match check.max_ulps {
        // Where terms cancel, ULPs of the result say little.
        u if u >= 1e4 => format!("{u:.0e}"),
        u => format!("{u:.2}"),
    };
    [
        word(check.passed()).to_string(),
        format!("{} {}", check.name, check.part),
        check.values.to_string(),
        check.unbounded.to_string(),
        ulps,
        share,
    ]
}

/// The first line of a card: how it ended.
pub fn verdict(card: &Card) -> String {
    let all = card.checks().count();
    let bad = card.checks().filter(|(_, c)| !c.passed()).count();
    let values: u64 = card.checks().map(|(_, c)| c.values).sum();
    let count = match bad {
        0 => format!("{all} checks"),
        n => format!("{n} of {all} checks failed"),
    };
    let count = match card.skipped.len() {
        0 => count,
        n => format!("{count}, {n} skipped"),
    };
    let kind = match (card.partial, card.quick) {
        (true, _) => ", of the checks that were asked for",
        (_, true) => ", of a short card",
        _ => "",
    };
    let half = match card.precision.is_half() {
        true => ", products in float16",
        false => "",
    };
    format!(
        "{} {count}, {values} values{kind}{half}, on {}",
        word(card.passed()),
        card.adapter
    )
}

/// The command that makes the checks of this name alone.
fn alone(card: &Card, section: &Section, check: &Check) -> String {
    if section.name == "cases" {
        return "wgrad check --cases DIR, with this case alone in its cases.json".to_string();
    }
    let quick = if card.quick { " --quick" } else { "" };
    let half = if card.precision.is_half() {
        " --precision f16"
    } else {
        ""
    };
    format!(
        "wgrad check{quick}{half} --only {} --adapter {}",
        check.name, card.adapter.index
    )
}

/// What is wrong, one paragraph a check: heading and lines.
fn wrong(card: &Card) -> Vec<(String, Vec<String>)> {
    let failed = card.checks().filter(|(_, c)| !c.passed());
    let one = |(section, check): (&Section, &Check)| {
        let head = format!(
            "{}: {} {}: {} of {} values are wrong",
            section.name, check.name, check.part, check.failures, check.values
        );
        let mut lines = Vec::new();
        if let Some(failure) = &check.failure {
            lines.push(format!("first   {}", failure.what));
            lines.push(match &failure.kernel {
                Some(kernel) => format!("kernel  {kernel}"),
                None => "kernel  none: a rule of wgrad, whatever the adapter".to_string(),
            });
        }
        lines.push(format!(
            "driver  {}, {}",
            card.adapter.driver, card.adapter.backend
        ));
        lines.push(format!("alone   {}", alone(card, section, check)));
        (head, lines)
    };
    failed.map(one).collect()
}

const WHAT_TO_DO: &str = "\
do not trust this adapter's numbers where a check above failed. See whether another driver, or a \
newer one, passes (wgrad adapters lists what there is; --adapter takes another); wgrad --cpu \
computes without an adapter. If it fails with the newest driver, report the card (--json) to \
wgrad: it names adapter, driver and kernel.";

/// The column where what was found of a driver begins.
#[cfg(feature = "cli")]
const FACT: usize = 27;

/// For a terminal.
#[cfg(feature = "cli")]
pub fn text(card: &Card) -> String {
    let mut out = super::adapter_lines(&card.adapter);
    out.push_str(&super::precision_line(card.precision));
    for section in &card.sections {
        let name = section.name.to_uppercase();
        let _ = writeln!(out, "\n{HEADING}{name}{PLAIN}  {}\n", section.title);
        let mut table = plain_table();
        table.set_header(HEADS);
        for check in &section.checks {
            table.add_row(cells(check));
        }
        write_verdicts(&mut out, &table, 2);
    }
    let _ = writeln!(
        out,
        "\n{HEADING}DRIVER{PLAIN}  what it does, and what wgrad does about it\n"
    );
    for fact in &card.facts {
        let found = hanging(&fact.found, FACT);
        let answer = hanging(&format!("({})", fact.answer), FACT);
        let _ = writeln!(out, "   {:<23} {found}", fact.name);
        let _ = writeln!(out, "   {:<23} {answer}", "");
    }
    if !card.skipped.is_empty() {
        let _ = writeln!(
            out,
            "\n{HEADING}SKIPPED{PLAIN}  what was not checked, and why\n"
        );
        for skip in &card.skipped {
            let text = format!("{}: {}", skip.what, skip.reason);
            let _ = writeln!(out, "   {}", hanging(&text, 3));
        }
    }
    let wrong = wrong(card);
    if !wrong.is_empty() {
        let _ = writeln!(out, "\n{HEADING}WHAT IS WRONG{PLAIN}");
        for (head, lines) in &wrong {
            let _ = writeln!(out, "\n   {MISMATCH}{head}{PLAIN}");
            for line in lines {
                // Under the words: each line has a name of eight columns.
                let (name, text) = line.split_at(line.len().min(8));
                let _ = writeln!(out, "      {name}{}", hanging(text, 14));
            }
        }
        out.push('\n');
        write_paragraph(&mut out, &format!("what to do: {WHAT_TO_DO}"));
    }
    let _ = writeln!(out, "\n{}", palette::verdicts(&verdict(card)));
    out
}

/// JSON has no infinity, and a share of nothing is one.
fn finite(value: f64) -> Value {
    match value.is_finite() {
        true => make!(value),
        false => make!("inf"),
    }
}

/// For a program: everything, also where each check was worst.
pub fn json(card: &Card) -> Value {
    let one = |section: &Section, check: &Check| {
        let failure = check.failure.as_ref();
        make!({
            "name": check.name,
            "part": check.part,
            "passed": check.passed(),
            "values": check.values,
            "wrong": check.failures,
            "without_bound": check.unbounded,
            "max_ulp": finite(check.max_ulps),
            "max_share_of_bound": finite(check.max_share),
            "worst": check.worst,
            "first_wrong": failure.map(|f| &f.what),
            "kernel": failure.and_then(|f| f.kernel.as_ref()),
            "alone": failure.map(|_| alone(card, section, check)),
        })
    };
    let sections = card.sections.iter().map(|section| {
        let checks = section.checks.iter().map(|check| one(section, check));
        make!({
            "name": section.name,
            "title": section.title,
            "checks": checks.collect::<Vec<_>>(),
        })
    });
    let skipped = card
        .skipped
        .iter()
        .map(|s| make!({ "what": s.what, "reason": s.reason }));
    let facts = card
        .facts
        .iter()
        .map(|f| make!({ "name": f.name, "found": f.found, "wgrad": f.answer }));
    let mut all = make!({
        "adapter": adapter(&card.adapter),
        "wgrad": env!("CARGO_PKG_VERSION"),
        "date": card.date,
        "quick": card.quick,
        "partial": card.partial,
        "passed": card.passed(),
        "checks": card.checks().count(),
        "failed": card.checks().filter(|(_, c)| !c.passed()).count(),
        "sections": sections.collect::<Vec<_>>(),
        "skipped": skipped.collect::<Vec<_>>(),
        "driver": facts.collect::<Vec<_>>(),
        "what_to_do": (!card.passed()).then_some(WHAT_TO_DO),
    });
    if card.precision.is_half() {
        all["precision"] = super::json::precision(card.precision);
    }
    all
}

/// A cell of a Markdown table.
fn cell(text: &str) -> String {
    text.replace('|', "\\|")
}

/// For a page or an issue.
pub fn markdown(card: &Card) -> String {
    let mut out = format!(
        "# Card of {}\n\n{}\n\nwgrad {}{}\n",
        card.adapter.name,
        verdict(card),
        env!("CARGO_PKG_VERSION"),
        card.date
            .as_ref()
            .map_or(String::new(), |date| format!(", {date}"))
    );
    if card.precision.is_half() {
        let _ = writeln!(out, "\nMatrix products: {}.", card.precision.describe());
    }
    for section in &card.sections {
        let _ = writeln!(out, "\n## {}\n\n{}\n", section.name, section.title);
        let _ = writeln!(out, "| {} | worst |", HEADS.join(" | "));
        let _ = writeln!(out, "| --- | --- | ---: | ---: | ---: | ---: | --- |");
        for check in &section.checks {
            let worst = check.worst.as_deref().unwrap_or("");
            let cells = cells(check).map(|text| cell(&text));
            let _ = writeln!(out, "| {} | {} |", cells.join(" | "), cell(worst));
        }
    }
    out.push_str("\n## Driver\n\n| asked | found | what wgrad does |\n| --- | --- | --- |\n");
    for fact in &card.facts {
        let _ = writeln!(
            out,
            "| {} | {} | {} |",
            cell(fact.name),
            cell(&fact.found),
            fact.answer
        );
    }
    if !card.skipped.is_empty() {
        out.push_str("\n## Skipped\n\n| not checked | why |\n| --- | --- |\n");
        for skip in &card.skipped {
            let _ = writeln!(out, "| {} | {} |", cell(skip.what), cell(&skip.reason));
        }
    }
    let wrong = wrong(card);
    if !wrong.is_empty() {
        out.push_str("\n## What is wrong\n");
        for (head, lines) in wrong {
            let _ = writeln!(out, "\n{head}\n");
            for line in lines {
                let _ = writeln!(out, "- {line}");
            }
        }
        let _ = writeln!(out, "\nWhat to do: {WHAT_TO_DO}");
    }
    out
}
