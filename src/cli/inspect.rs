//! `wgrad inspect`: what a file of tensors holds. Nothing in it is executed.

use std::path::Path;

use serde_json::json;
use wgrad::number::printable;
use wgrad::report::text;
use wgrad::{Result, io};

use super::{Outcome, grad, output};

pub fn run(path: &Path, as_json: bool) -> Result<Outcome> {
    grad::reading(path);
    let file = io::read(path)?;
    for notice in &file.notices {
        output::notice(notice);
    }
    if as_json {
        let list: Vec<_> = file
            .tensors
            .iter()
            .map(|t| json!({ "key": t.key, "shape": t.shape, "dtype": t.dtype.to_string() }))
            .collect();
        output::json(&json!({ "format": file.format.to_string(), "tensors": list }))?;
        return Ok(Outcome::Good);
    }
    let mut table = text::plain_table();
    table.set_header(vec!["key", "shape", "dtype", "elements"]);
    for t in &file.tensors {
        let elements: usize = t.shape.iter().product();
        table.add_row(vec![
            printable(&t.key).into_owned(),
            format!("{:?}", t.shape),
            t.dtype.to_string(),
            elements.to_string(),
        ]);
    }
    let mut out = format!("{}: {} tensors\n", file.format, file.tensors.len());
    text::write_table(&mut out, &table);
    output::data(&out)?;
    Ok(Outcome::Good)
}
