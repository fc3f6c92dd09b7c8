//! A benchmark as Markdown, for a page or an issue.

use super::{COUNTED, Column, columns, peaks, precision, sheets, wrong};
use crate::bench::Results;

/// The tables, with the adapter and what was counted.
pub fn markdown(results: &Results) -> String {
    let mut out = format!(
        "Adapter: {}. Peaks in this run: {}.\n",
        results.adapter,
        peaks(results)
    );
    if precision(results).is_half() {
        let text = precision(results).describe();
        out.push_str(&format!("\nMatrix products: {text}.\n"));
    }
    for sheet in sheets(results) {
        let columns: Vec<&Column> = columns(results, sheet);
        out.push_str(&format!("\n**{}**\n\n", sheet.title));
        let heads: Vec<_> = columns.iter().map(|c| c.head.to_string()).collect();
        out.push_str(&line(&heads));
        let rules: Vec<_> = columns.iter().map(|_| "---:".to_string()).collect();
        out.push_str(&line(&rules));
        for row in &results.rows {
            let cells: Vec<_> = columns.iter().map(|c| (c.cell)(results, row)).collect();
            out.push_str(&line(&cells));
        }
    }
    for text in wrong(results) {
        out.push_str(&format!("\n{text}\n"));
    }
    out.push_str(&format!("\nCounted: {COUNTED}.\n"));
    out
}

fn line(cells: &[String]) -> String {
    format!("| {} |\n", cells.join(" | "))
}
