//! A benchmark as text for a terminal.

use std::fmt::Write;

use super::{COUNTED, columns, peaks, precision, seconds, sheets, wrong};
use crate::bench::Results;
use crate::bench::baseline::{Baseline, Moved};
use crate::report::palette::{HEADING, MISMATCH, PLAIN};
use crate::report::text::{plain_table, write_paragraph, write_table, write_verdicts};
use crate::report::{adapter_lines, precision_line};

// Writing to a `String` cannot fail, so the results of `write!` are dropped.

/// The tables.
pub fn text(results: &Results) -> String {
    let mut out = adapter_lines(&results.adapter);
    let _ = writeln!(out, "peaks    {}", peaks(results));
    out.push_str(&precision_line(precision(results)));
    for sheet in sheets(results) {
        let columns = columns(results, sheet);
        let _ = writeln!(out, "\n{HEADING}{}{PLAIN}\n", sheet.title);
        let mut table = plain_table();
        table.set_header(columns.iter().map(|c| c.head).collect::<Vec<_>>());
        for row in &results.rows {
            let cells: Vec<_> = columns.iter().map(|c| (c.cell)(results, row)).collect();
            table.add_row(cells);
        }
        write_verdicts(&mut out, &table, 1);
    }
    out.push('\n');
    write_paragraph(&mut out, &format!("counted: {COUNTED}"));
    for line in wrong(results) {
        let _ = writeln!(out, "\n{MISMATCH}{line}{PLAIN}");
    }
    out
}

/// What became of the rows since an earlier run.
pub fn moved(baseline: &Baseline, results: &Results, moved: &[Moved]) -> String {
    let mut out = format!("\n{HEADING}SINCE THE BASELINE{PLAIN}\n\n");
    if !baseline.same_adapter(results) {
        let _ = writeln!(
            out,
            "   the baseline is of another adapter or driver ({}, {}): the machine moved, too\n",
            baseline.adapter, baseline.driver
        );
    }
    let mut table = plain_table();
    table.set_header(vec!["net", "batch", "step then", "step now", ""]);
    for row in moved {
        table.add_row(vec![
            row.net.clone(),
            row.batch.to_string(),
            seconds(row.before_s),
            seconds(row.now_s),
            row.change.to_string(),
        ]);
    }
    write_table(&mut out, &table);
    out
}
