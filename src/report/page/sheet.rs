//! An exercise sheet to be filled in: the graph, what is given, room for each answer.

use serde::Serialize;
use serde_json::json;

use super::view;
use crate::error::Result;
use crate::graph::Role;
use crate::report::picture::{Frame, Picture, drawing, pretty};
use crate::report::{math, templates};
use crate::shape::Shape;
use crate::sheet::{Asked, INPUT, MODEL, Sheet, TARGET, TEMPLATE, Work, weight_file};
use crate::solution::{Leaf, SHOWN_ELEMENTS};

/// Room for an answer.
#[derive(Serialize)]
struct Blank {
    name: String,
    symbol: String,
    spoken: String,
    of: String,
    shape: String,
    rows: usize,
    columns: usize,
    /// The elements that are asked for, if not all are.
    elements: Option<String>,
}

/// What is given, with the file that has it.
#[derive(Serialize)]
struct Given {
    #[serde(flatten)]
    leaf: view::Given,
    file: Option<String>,
}

/// The sheet as one HTML file that loads nothing. `work` must be of `sheet`.
///
/// # Errors
/// None in practice: the template is fixed, and the nodes are the graph's own.
pub fn sheet(sheet: &Sheet, work: &Work, title: &str) -> Result<String> {
    let prepared = &work.prepared;
    let picture = Picture::of_problem(prepared, false)?;
    let graph = drawing(&picture, &format!("The graph of {title}"), Frame::Page)?;
    // What one works with by hand is there in digits.
    let most = match sheet.for_program {
        true => SHOWN_ELEMENTS,
        false => usize::MAX,
    };
    let mut given = Vec::new();
    for (id, label, value) in prepared.leaves() {
        let leaf = Leaf {
            label: label.to_string(),
            symbol: work.symbols[id.index()].clone(),
            value: value.clone(),
        };
        given.push(Given {
            leaf: view::given(prepared, &leaf, most)?,
            file: sheet.for_program.then(|| match &*leaf.symbol {
                "x" => INPUT.to_string(),
                "y" => TARGET.to_string(),
                _ => weight_file(&leaf.label),
            }),
        });
    }
    let (mut forward, mut backward) = (Vec::new(), Vec::new());
    for asked in &work.asked {
        let node = prepared.graph.node(asked.node)?;
        let blanks = match node.role {
            Role::Forward => &mut forward,
            Role::Backward => &mut backward,
        };
        blanks.push(blank(asked, &node.label, &node.shape));
    }
    templates::render(
        "sheet.html",
        &json!({
            "title": title,
            "network": prepared.network,
            "loss": prepared.loss,
            "version": env!("CARGO_PKG_VERSION"),
            "graph": graph,
            "given": given,
            "for_program": sheet.for_program,
            "some_heat": given.iter().any(|g| g.leaf.is_heat()),
            "model": MODEL,
            "files": { "input": INPUT, "target": TARGET },
            "template": TEMPLATE,
            "about": sheet.about.to_string(),
            "parts": [
                { "title": "Forward", "blanks": forward },
                { "title": "Backward", "blanks": backward },
            ],
        }),
    )
}

fn blank(asked: &Asked, label: &str, shape: &Shape) -> Blank {
    let columns = asked.dims.last().copied().unwrap_or(1);
    Blank {
        symbol: format!("<math>{}</math>", math::symbol(&asked.name)),
        spoken: pretty(&asked.name),
        name: asked.name.clone(),
        of: match label.strip_prefix("d/d ") {
            Some(of) => format!("the gradient of {of}"),
            None => label.to_string(),
        },
        shape: shape.to_string(),
        rows: asked.count() / columns.max(1),
        columns,
        elements: asked.picks.is_some().then(|| {
            let index = |i| view::bracket(&asked.index(i));
            (0..asked.count()).map(index).collect::<Vec<_>>().join(" ")
        }),
    }
}
