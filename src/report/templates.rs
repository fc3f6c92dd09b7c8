//! The templates of pictures and pages (`templates/`), part of the program. All
//! text that is put into one is escaped, unless it was made here as markup.

use minijinja::syntax::SyntaxConfig;
use minijinja::value::Serde;
use minijinja::{AutoEscape, Environment};
use serde_json::Value;

use crate::error::{Error, Result};

const FILES: [(&str, &str); 7] = [
    ("graph.css", include_str!("../../templates/graph.css")),
    ("graph.svg", include_str!("../../templates/graph.svg")),
    ("heat.html", include_str!("../../templates/heat.html")),
    ("report.css", include_str!("../../templates/report.css")),
    ("report.html", include_str!("../../templates/report.html")),
    ("report.js", include_str!("../../templates/report.js")),
    ("sheet.html", include_str!("../../templates/sheet.html")),
];

/// The text of a template with `values` put in.
///
/// # Errors
/// None in practice: the templates are fixed, and tested.
pub(super) fn render(name: &str, values: &Value) -> Result<String> {
    let mut all = Environment::new();
    all.set_auto_escape_callback(
        |name| match name.ends_with(".svg") || name.ends_with(".html") {
            true => AutoEscape::Html,
            false => AutoEscape::None,
        },
    );
    let fault = |e: minijinja::Error| Error::Graph(format!("template {name}: {e:#}"));
    let mut syntax = SyntaxConfig::builder();
    syntax
        .trim_blocks(true)
        .lstrip_blocks(true)
        .keep_trailing_newline(true);
    all.set_syntax(syntax.build().map_err(fault)?);
    all.set_undefined_behavior(minijinja::UndefinedBehavior::Strict);
    for (file, text) in FILES {
        all.add_template(file, text).map_err(fault)?;
    }
    let template = all.get_template(name).map_err(fault)?;
    template.render(Serde(clean(values))).map_err(fault)
}

/// The same with a mark in place of characters that markup must not have.
fn clean(value: &Value) -> Value {
    match value {
        Value::String(text) => Value::String(text.chars().map(allowed).collect()),
        Value::Array(list) => list.iter().map(clean).collect(),
        Value::Object(map) => map.iter().map(|(k, v)| (k.clone(), clean(v))).collect(),
        other => other.clone(),
    }
}

fn allowed(c: char) -> char {
    match c {
        '\n' | '\t' => c,
        '\u{fffe}' | '\u{ffff}' => '\u{fffd}',
        c if c.is_control() => '\u{fffd}',
        c => c,
    }
}

/// Text as it stands in markup, inside an element or a quoted attribute.
pub(super) fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            c => out.push(allowed(c)),
        }
    }
    out
}
