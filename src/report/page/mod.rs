//! The worked solution as one HTML file: the graph, then every step with its
//! formula, the numbers put in and the values side by side. It loads nothing, and
//! without scripts it is all there; a script lets one walk through it.

mod chain;
#[cfg(not(target_arch = "wasm32"))]
mod sheet;
mod view;

#[cfg(not(target_arch = "wasm32"))]
pub use sheet::sheet;

use std::collections::BTreeMap;

use serde_json::json;

use super::picture::{Frame, Picture, drawing};
use super::{Report, templates};
use crate::check::rounding::Rounding;
use crate::error::Result;
use crate::exercise::Match;
use crate::solution::{Engine, Prepared, SHOWN_ELEMENTS};

/// What the page says of its making.
#[derive(Clone, PartialEq, Debug)]
pub struct Made {
    /// The title.
    pub title: String,
    /// The day, as `2026-11-25`.
    pub date: String,
    /// The command that makes it again.
    pub command: String,
}

/// The page of a report. `report.solution` must be of `prepared`, and with every
/// step.
///
/// # Errors
/// None in practice: the templates are fixed, and the nodes are the graph's own.
pub fn page(prepared: &Prepared, report: &Report, made: &Made) -> Result<String> {
    let solution = &report.solution;
    let mut picture = Picture::of_problem(prepared, true)?;
    picture.set_values(prepared, solution);
    let graph = drawing(
        &picture,
        &format!("The graph of {}", made.title),
        Frame::Page,
    )?;
    let symbols = prepared.symbols()?;
    let gradients: BTreeMap<usize, usize> = picture
        .nodes
        .iter()
        .filter_map(|n| Some((n.gradient?, n.id)))
        .collect();
    let mut steps = Vec::with_capacity(solution.steps.len());
    for (i, step) in solution.steps.iter().enumerate() {
        steps.push(view::step(prepared, report, &symbols, &gradients, i, step)?);
    }
    let mut given = Vec::with_capacity(solution.leaves.len());
    for leaf in &solution.leaves {
        given.push(view::given(prepared, leaf, SHOWN_ELEMENTS)?);
    }
    let engine = match &solution.engine {
        Engine::Gpu(d) => json!({
            "name": d.name,
            "kind": d.kind.to_string(),
            "backend": d.backend.to_string(),
            "driver": d.driver,
        }),
        Engine::Reference => json!({
            "name": "the CPU reference alone (float64); no GPU was used",
            "kind": "",
            "backend": "",
            "driver": "",
        }),
    };
    let figures: Vec<_> = (report.figures.iter())
        .map(|f| {
            json!({
                "name": f.name,
                "index": view::bracket(&f.index),
                "sheet": f.sheet,
                "engine": f.engine,
                "reference": f.reference,
                "met": match f.met {
                    Match::Engine => "same digits".to_string(),
                    Match::Reference => format!("{} ULP beside; float64 has the digits", f.ulps),
                    Match::Bound => format!("{} ULP beside, within the bound", f.ulps),
                    Match::No => "differs".to_string(),
                },
            })
        })
        .collect();
    let cut = solution.cut.as_ref();
    let split = cut.map(|cut| format!("the batch was split, {cut}: {}", cut.reason));
    let rounding = solution.rounding.as_ref().map(Rounding::sentence);
    let tally = report.tally();
    let (good, all) = tally.total();
    let verdict = match all {
        0 => "not compared with anything".to_string(),
        _ => format!("{good} of {all} comparisons hold"),
    };
    templates::render(
        "report.html",
        &json!({
            "title": made.title,
            "date": made.date,
            "command": made.command,
            "network": solution.network,
            "loss": solution.loss,
            "version": env!("CARGO_PKG_VERSION"),
            "pytorch": report.pytorch_version,
            "on_gpu": matches!(solution.engine, Engine::Gpu(_)),
            "warnings": prepared.warnings.iter().chain(&solution.warnings).chain(&split)
                .chain(&rounding).collect::<Vec<_>>(),
            "some_heat": given.iter().any(view::Given::is_heat) || steps.iter().any(view::Step::is_heat),
            "passed": tally.passed(),
            "engine": engine,
            "figures": figures,
            "figures_met": tally.sheet.0,
            "verdict": verdict,
            "tally": json!({
                "reference": [tally.reference.0, tally.reference.1],
                "pytorch": [tally.pytorch.0, tally.pytorch.1],
                "sheet": [tally.sheet.0, tally.sheet.1],
                "sheet_digits": tally.sheet_digits,
            }),
            "graph": graph,
            "given": given,
            "steps": steps,
        }),
    )
}
