//! Exercise sheets: a random network with numbers that can be worked by hand, what it
//! asks for, and marks for answers. The same settings give the same sheet.

mod answers;
mod draw;
mod grade;
mod mistakes;
mod work;

use std::collections::BTreeMap;
use std::path::Path;

use serde_json::{Value, json};

pub use answers::{Answer, Written, parse as parse_answers, read as read_answers};
pub use draw::{Activation, Settings};
pub use grade::{Element, Found, Mark, Verdict, grade};
pub use mistakes::Mistake;
pub use work::{Asked, Work};

use crate::error::{Error, Result};
use crate::io;
use crate::nn::{Loss, Network};
use crate::number::printable;
use crate::solution::Problem;
use crate::tensor::Tensor;

/// The file of blank answers in a sheet's folder, which also says what is given.
pub const TEMPLATE: &str = "answers.template.json";
/// The file of weights in a sheet's folder.
pub const MODEL: &str = "model.pth";
/// The longest template, in bytes.
const MOST_BYTES: u64 = 1 << 20;

/// A sheet: a problem, and what it says of itself.
#[derive(Clone, Debug)]
pub struct Sheet {
    /// What tells it from others: seed, layers, activation, batch.
    pub about: Value,
    /// The problem.
    pub problem: Problem,
}

impl Sheet {
    /// Draws a sheet.
    ///
    /// # Errors
    /// [`Error::Text`]: settings for which there is no sheet.
    /// [`Error::Unsupported`]: no numbers were found that can be worked by hand.
    pub fn draw(settings: &Settings) -> Result<Sheet> {
        Ok(Sheet {
            about: settings.about(),
            problem: draw::problem(settings)?,
        })
    }

    /// The blank answers: the sheet's data, and null for every number that it asks for.
    pub fn template(&self, work: &Work) -> String {
        let mut answers = serde_json::Map::new();
        for asked in &work.asked {
            answers.insert(asked.name.clone(), blank(&asked.dims));
        }
        let whole = json!({
            "sheet": self.about,
            "network": self.problem.network.to_string(),
            "loss": self.problem.loss.to_string(),
            "given": {
                "x": nested(self.problem.input.dims(), self.problem.input.data()),
                "y": nested(self.problem.target.dims(), self.problem.target.data()),
            },
            "answers": answers,
        });
        format!("{}\n", in_lines(&whole, 1))
    }

    /// Reads a sheet from its folder: [`TEMPLATE`] and [`MODEL`].
    ///
    /// # Errors
    /// [`Error::File`], for a network or a loss that does not parse, too.
    pub fn read(folder: &Path) -> Result<Sheet> {
        let path = folder.join(TEMPLATE);
        let text = io::read_text(&path, MOST_BYTES).map_err(|e| match e {
            Error::File { path, reason } => Error::file(
                path,
                format!("{reason}; --sheet takes the folder that wgrad sheet wrote"),
            ),
            other => other,
        })?;
        let mut weights = BTreeMap::new();
        for stored in io::read(&folder.join(MODEL))?.tensors {
            weights.insert(stored.key.clone(), stored.to_tensor()?.tensor);
        }
        Sheet::from_template(&text, weights).map_err(|reason| Error::file(&path, reason))
    }

    /// As [`read`](Sheet::read), from the text of the template and the weights by key.
    ///
    /// # Errors
    /// What is wrong with the text.
    pub fn from_template(text: &str, weights: BTreeMap<String, Tensor>) -> Result<Sheet, String> {
        let all: Value = serde_json::from_str(text).map_err(|e| e.to_string())?;
        let word = |key: &str| {
            let text = all.get(key).and_then(Value::as_str);
            text.ok_or_else(|| format!("there is no text \"{key}\" in it; draw it again"))
        };
        let given = |key: &str| {
            let value = all.get("given").and_then(|g| g.get(key));
            let value = value.ok_or_else(|| format!("there is no \"{key}\" given in it"))?;
            tensor(value).map_err(|reason| format!("`{key}`: {reason}"))
        };
        let network = Network::parse(word("network")?).map_err(|e| e.to_string())?;
        let loss = Loss::parse(word("loss")?).map_err(|e| e.to_string())?;
        Ok(Sheet {
            about: all.get("sheet").cloned().unwrap_or(Value::Null),
            problem: Problem {
                loss,
                input: given("x")?,
                target: given("y")?,
                network,
                weights,
            },
        })
    }

    /// Writes [`MODEL`] into a folder.
    ///
    /// # Errors
    /// [`Error::File`].
    pub fn write_model(&self, folder: &Path) -> Result<()> {
        let keys = self.problem.network.parameters();
        let tensors: Vec<(&str, &Tensor)> = keys
            .iter()
            .filter_map(|(key, _)| Some((key.as_str(), self.problem.weights.get(key)?)))
            .collect();
        io::save_pth(&folder.join(MODEL), &tensors)
    }
}

/// JSON with each entry of an object on a line, and each list on one.
fn in_lines(value: &Value, depth: usize) -> String {
    let Value::Object(map) = value else {
        return match value {
            Value::Array(_) => value.to_string().replace(',', ", "),
            _ => value.to_string(),
        };
    };
    let indent = "  ".repeat(depth);
    let entries: Vec<_> = map
        .iter()
        .map(|(k, v)| format!("{indent}{}: {}", json!(k), in_lines(v, depth + 1)))
        .collect();
    format!("{{\n{}\n{}}}", entries.join(",\n"), "  ".repeat(depth - 1))
}

fn nested(dims: &[usize], data: &[f32]) -> Value {
    let [size, rest @ ..] = dims else {
        // The digits of a float32 and not those of the float64 beside it.
        let value: Option<f64> = data
            .first()
            .and_then(|v| crate::number::show(*v).parse().ok());
        return json!(value);
    };
    let step: usize = rest.iter().product();
    let parts = (0..*size).map(|i| nested(rest, data.get(i * step..).unwrap_or(&[])));
    Value::Array(parts.collect())
}

fn blank(dims: &[usize]) -> Value {
    match dims {
        [] => Value::Null,
        [size, rest @ ..] => Value::Array(vec![blank(rest); *size]),
    }
}

/// A matrix of numbers.
fn tensor(value: &Value) -> Result<Tensor, String> {
    let wrong = || {
        format!(
            "a list of rows of numbers is wanted, got {}",
            printable(&value.to_string())
        )
    };
    let rows = value.as_array().ok_or_else(wrong)?;
    let mut data = Vec::new();
    let mut across = None;
    for row in rows {
        let row = row.as_array().ok_or_else(wrong)?;
        if *across.get_or_insert(row.len()) != row.len() {
            return Err("its rows are of several lengths".to_string());
        }
        for number in row {
            data.push(number.as_f64().ok_or_else(wrong)? as f32);
        }
    }
    Tensor::new(&[rows.len(), across.unwrap_or(0)], data).map_err(|e| e.to_string())
}
