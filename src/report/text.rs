//! A report as text for a terminal: the worked solution step by step, or a
//! table of what was computed, and one closing line.

use std::fmt::Write;

use super::palette::{GOOD, HEADING, MISMATCH, PLAIN, walk};
pub use super::table::{
    hanging, plain_table, write_described, write_paragraph, write_table, write_verdicts,
};
use super::{Report, adapter_lines};
use crate::exercise::Match;
use crate::graph::Role;
use crate::number;
use crate::solution::{Engine, SHOWN_ELEMENTS, Step};
use crate::tensor::Tensor;
use crate::trace::Finding;

// Writing to a `String` cannot fail, so the results of `write!` are dropped.

/// What ran, in a line or two.
pub fn heading(report: &Report) -> String {
    let solution = &report.solution;
    let mut out = String::new();
    match &solution.engine {
        Engine::Gpu(d) => out.push_str(&adapter_lines(d)),
        Engine::Reference => {
            let _ = writeln!(
                out,
                "engine   the CPU reference alone (float64); no GPU was used"
            );
        }
    }
    // As print(model) shows it, over several lines.
    let network = solution.network.replace('\n', "\n         ");
    let _ = writeln!(out, "network  {network}");
    let _ = writeln!(out, "loss     {}", solution.loss);
    if let Some(rounding) = &solution.rounding {
        out.push_str(&super::precision_line(rounding.precision));
    }
    if let Some(cut) = &solution.cut {
        let _ = writeln!(out, "split    {cut},\n         since {}", cut.reason);
    }
    out
}

/// The worked solution: every step with its rule, the numbers put in, and its
/// value side by side with what it is held against.
pub fn worked_solution(report: &Report) -> String {
    let mut out = String::new();
    let _ = writeln!(out, "\n{HEADING}GIVEN{PLAIN}\n");
    for leaf in &report.solution.leaves {
        let _ = writeln!(
            out,
            "  {} = {}    {}",
            leaf.symbol,
            inline(&leaf.value),
            leaf.label
        );
    }
    for (role, title) in [(Role::Forward, "FORWARD"), (Role::Backward, "BACKWARD")] {
        let _ = writeln!(out, "\n{HEADING}{}{title}{PLAIN}", walk(role));
        for step in report.solution.steps.iter().filter(|s| s.role == role) {
            write_step(&mut out, report, step);
        }
    }
    out
}

fn write_step(out: &mut String, report: &Report, step: &Step) {
    let _ = writeln!(
        out,
        "\n  {}{}{PLAIN}    {}, shape {}",
        walk(step.role),
        step.rule,
        step.label,
        step.value.shape()
    );
    let cells = indices(&step.value);
    for (index, numbers) in cells.iter().zip(&step.numbers) {
        let _ = writeln!(out, "    {}{index} = {numbers}", step.symbol);
    }
    if step.value.data().len() > SHOWN_ELEMENTS {
        let _ = writeln!(out, "    {}", summary(&step.value));
        if let Some(most) = report.max_ulps(step) {
            let _ = writeln!(out, "    largest difference: {} ULP", ulp_text(most));
        }
        return;
    }
    let on_gpu = matches!(report.solution.engine, Engine::Gpu(_));
    let pytorch = report.pytorch_of(step);
    let known = pytorch.is_some();
    let mut table = plain_table();
    let mut header = vec![
        "",
        if on_gpu { "GPU" } else { "CPU, float32" },
        "CPU reference (f64)",
    ];
    if known {
        header.push("PyTorch");
    }
    if on_gpu || known {
        header.push("ULP");
    }
    table.set_header(header);
    for (i, &value) in step.value.data().iter().enumerate() {
        let wide = step
            .reference
            .as_ref()
            .and_then(|r| r.value.iter().nth(i).copied());
        let torch = pytorch.and_then(|v| v.get(i).copied());
        let held_against = [wide.filter(|_| on_gpu), torch.map(f64::from)];
        let distances = held_against.into_iter().flatten();
        let most = distances
            .map(|want| crate::check::ulps(value, want))
            .reduce(f64::max);
        let mut row = vec![
            cells[i].clone(),
            number::show(value),
            wide.map_or("-".to_string(), number::show_wide),
        ];
        if known {
            row.push(torch.map_or("-".to_string(), number::show));
        }
        if on_gpu || known {
            row.push(most.map_or("-".to_string(), ulp_text));
        }
        table.add_row(row);
    }
    write_table(out, &table);
}

/// A table of all values with a public name.
pub fn overview(report: &Report) -> String {
    let mut table = plain_table();
    table.set_header(vec![
        "value",
        "shape",
        "norm",
        "max ULP",
        "of step's bound",
        "",
    ]);
    for (name, _) in &report.solution.named {
        let Some(value) = report.solution.value(name) else {
            continue;
        };
        let step = report.solution.step(name);
        let compared = step.and_then(|s| s.comparison.as_ref());
        let local = step.and_then(|s| s.local.as_ref());
        let bad: usize = step.map_or(0, |s| {
            s.comparisons().map(|c| c.failures).max().unwrap_or(0)
        });
        table.add_row(vec![
            name.clone(),
            value.shape().to_string(),
            number::show(norm(value) as f32),
            compared.map_or("-".to_string(), |c| ulp_text(c.max_ulps)),
            local.map_or("-".to_string(), |c| percent(c.max_share)),
            match (compared, bad) {
                (None, _) => "not compared".to_string(),
                (Some(_), 0) => "ok".to_string(),
                (Some(_), bad) => format!("{bad} OUTSIDE"),
            },
        ]);
    }
    let mut out = String::from("\n");
    write_verdicts(&mut out, &table, 1);
    out
}

/// How far a network with rounded products is from the exact one; empty where none
/// are rounded.
pub fn rounding(report: &Report) -> String {
    let Some(rounding) = &report.solution.rounding else {
        return String::new();
    };
    let mut out = format!("\n{HEADING}PRODUCTS IN FLOAT16, HOW FAR FROM EXACT ONES{PLAIN}\n\n");
    if rounding.products == 0 {
        out.push_str("  there is no product of matrices in this network: nothing is rounded\n");
        return out;
    }
    if let Some(reason) = &rounding.unknown {
        let _ = writeln!(out, "  not known: {reason}");
        return out;
    }
    let mut table = plain_table();
    table.set_header(vec!["value", "largest difference", "of its largest value"]);
    for gap in &rounding.gaps {
        table.add_row(vec![
            gap.name.clone(),
            format!("{:.2e}", gap.difference),
            number::share(gap.share()),
        ]);
    }
    write_table(&mut out, &table);
    out
}

/// The first value that is not finite, and what it was made of; empty if nobody
/// looked for it.
pub fn nonfinite(report: &Report) -> String {
    match &report.nonfinite {
        None => String::new(),
        Some(None) => format!("\n{HEADING}ALL VALUES ARE FINITE{PLAIN}\n"),
        Some(Some(finding)) => format!(
            "\n{HEADING}{MISMATCH}THE FIRST VALUE THAT IS NOT FINITE{PLAIN}\n\n{}",
            found(finding)
        ),
    }
}

fn found(f: &Finding) -> String {
    let mut out = String::new();
    let op = f.op.as_deref().unwrap_or("given");
    let at = bracket(&f.index);
    let _ = writeln!(
        out,
        "  `{}`{at} is {}    {op}, shape {}: {} NaN, {} infinite",
        f.label,
        number::show(f.value),
        f.shape,
        f.nan,
        f.infinite
    );
    if !f.rule.is_empty() {
        let _ = writeln!(out, "    {}", f.rule);
        let _ = writeln!(out, "    {}{at} = {}", f.label, f.numbers);
    }
    for operand in &f.operands {
        let read = match &operand.element {
            Some((at, value)) => format!("{} = {}", bracket(at), number::show(*value)),
            None => format!(" of shape {}", operand.shape),
        };
        let _ = writeln!(
            out,
            "    reads `{}`{read}; the largest magnitude in it is {}",
            operand.label,
            number::show(operand.largest)
        );
    }
    if let Some(label) = &f.reaches {
        let _ = writeln!(out, "    the first computed value that is not: `{label}`");
    }
    let _ = writeln!(out, "    reason: {}", f.reason);
    out
}

/// What differs, element by element, worst first; empty if nothing does.
pub fn failures(report: &Report) -> String {
    let mut out = String::new();
    for step in &report.solution.steps {
        let kinds = [
            ("in this step", &step.local),
            ("end to end", &step.comparison),
        ];
        for (kind, comparison) in kinds {
            let Some(c) = comparison.as_ref().filter(|c| !c.passed()) else {
                continue;
            };
            let _ = writeln!(
                out,
                "{MISMATCH}{}{PLAIN} ({}): {} of {} values are outside their bound {kind}",
                c.label, step.op, c.failures, c.elements
            );
            if let Some(w) = &c.worst {
                let _ = writeln!(
                    out,
                    "  worst at {:?}: got {}, reference {}, bound {:.3e}",
                    w.index,
                    number::show(w.got),
                    number::show_wide(w.want),
                    w.bound
                );
            }
        }
    }
    out
}

/// The figures of the sheet.
pub fn sheet(report: &Report) -> String {
    if report.figures.is_empty() {
        return String::new();
    }
    let mut table = plain_table();
    table.set_header(vec![
        "figure of the sheet",
        "",
        "sheet",
        "GPU",
        "f64 rounded",
        "",
    ]);
    for f in &report.figures {
        table.add_row(vec![
            f.name.clone(),
            bracket(&f.index),
            f.sheet.clone(),
            f.engine.clone(),
            f.reference.clone(),
            match f.met {
                Match::Engine => "same digits".to_string(),
                Match::Reference => format!("{} ULP beside; f64 has the digits", f.ulps),
                Match::Bound => format!("{} ULP beside, within the bound", f.ulps),
                Match::No => "DIFFERS".to_string(),
            },
        ]);
    }
    let mut out = format!("\n{HEADING}THE SHEET'S FIGURES{PLAIN}\n\n");
    write_verdicts(&mut out, &table, 1);
    out
}

/// The closing line.
pub fn closing(report: &Report) -> String {
    let tally = report.tally();
    let (good, all) = tally.total();
    if all == 0 {
        return format!("{HEADING}NOT COMPARED{PLAIN} with anything\n");
    }
    let mut parts = Vec::new();
    if tally.reference.1 > 0 {
        let worst = report
            .solution
            .steps
            .iter()
            .filter_map(|s| s.local.as_ref())
            .map(|c| c.max_share)
            .fold(0.0, f64::max);
        parts.push(format!(
            "{} within the derived bounds of the f64 reference (each step at most {} of its own)",
            tally.reference.0,
            percent(worst)
        ));
    }
    if tally.unbounded > 0 {
        parts.push(format!("{} of these have no bound", tally.unbounded));
    }
    if tally.pytorch.1 > 0 {
        parts.push(format!(
            "{}/{} as PyTorch",
            tally.pytorch.0, tally.pytorch.1
        ));
    }
    if tally.sheet.1 > 0 {
        parts.push(format!(
            "{}/{} figures of the sheet, {} digit for digit",
            tally.sheet.0, tally.sheet.1, tally.sheet_digits
        ));
    }
    let rounded = report.solution.rounding.as_ref();
    if rounded.is_some_and(|r| r.products > 0) {
        parts.push("matrix products in float16, by that definition".to_string());
    }
    let (colour, word) = if tally.passed() {
        (GOOD, "PASS")
    } else {
        (MISMATCH, "FAIL")
    };
    format!(
        "{HEADING}{colour}{word}{PLAIN} {good}/{all} values: {}\n",
        parts.join("; ")
    )
}

fn indices(tensor: &Tensor) -> Vec<String> {
    let each = ndarray::indices(ndarray::IxDyn(tensor.dims())).into_iter();
    each.map(|index| bracket(ndarray::Dimension::slice(&index)))
        .collect()
}

fn bracket(index: &[usize]) -> String {
    if index.is_empty() {
        return String::new();
    }
    let parts: Vec<_> = index.iter().map(usize::to_string).collect();
    format!("[{}]", parts.join(","))
}

/// A small tensor as nested lists, a large one as its summary.
fn inline(tensor: &Tensor) -> String {
    if tensor.data().len() > SHOWN_ELEMENTS {
        return summary(tensor);
    }
    fn nested(dims: &[usize], data: &[f32]) -> String {
        let [size, rest @ ..] = dims else {
            return data.first().map_or("[]".to_string(), |v| number::show(*v));
        };
        let step: usize = rest.iter().product();
        let parts: Vec<_> = (0..*size)
            .map(|i| nested(rest, data.get(i * step..).unwrap_or(&[])))
            .collect();
        format!("[{}]", parts.join(", "))
    }
    nested(tensor.dims(), tensor.data())
}

fn summary(tensor: &Tensor) -> String {
    let first: Vec<_> = tensor
        .data()
        .iter()
        .take(4)
        .map(|v| number::show(*v))
        .collect();
    format!(
        "{} values: {}, ...; norm {}",
        tensor.data().len(),
        first.join(", "),
        number::show(norm(tensor) as f32)
    )
}

fn norm(tensor: &Tensor) -> f64 {
    let squares = tensor.data().iter().map(|v| f64::from(*v) * f64::from(*v));
    // The sum of no floats is -0, which would be shown.
    (0.0 + squares.sum::<f64>()).sqrt()
}

fn ulp_text(ulps: f64) -> String {
    if ulps.is_infinite() {
        "inf".to_string()
    } else if ulps < 100.0 {
        format!("{ulps:.1}")
    } else {
        format!("{ulps:.0}")
    }
}

fn percent(share: f64) -> String {
    if share.is_infinite() {
        "inf".to_string()
    } else {
        format!("{:.0}%", share * 100.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_norm_of_nothing_has_no_sign() {
        let nothing = Tensor::new(&[0, 4], vec![]).unwrap();
        assert_eq!(number::show(norm(&nothing) as f32), "0");
    }
}
