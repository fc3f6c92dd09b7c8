//! The file of blank answers: what is given, and null for each number to work out.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::{Asked, INPUT, Picks, Sheet, TARGET, Work};
use crate::nn::{Loss, Network};
use crate::number::printable;
use crate::solution::Problem;
use crate::tensor::Tensor;

/// The blank answers of a sheet.
pub(super) fn write(sheet: &Sheet, work: &Work) -> String {
    let mut answers = serde_json::Map::new();
    for asked in &work.asked {
        answers.insert(asked.name.clone(), blank(asked));
    }
    let problem = &sheet.problem;
    let [x, y] = match sheet.for_program {
        true => [json!(INPUT), json!(TARGET)],
        false => [&problem.input, &problem.target].map(|t| nested(t.dims(), t.data())),
    };
    let whole = json!({
        "sheet": sheet.about,
        "network": problem.network.to_string(),
        "loss": problem.loss.to_string(),
        "given": { "x": x, "y": y },
        "answers": answers,
    });
    format!("{}\n", in_lines(&whole, 1))
}

/// What is given of a batch.
enum Given {
    Numbers(Tensor),
    /// In the file of this name.
    File(&'static str),
}

/// A template that was read, without what its files hold.
pub(super) struct Parts {
    about: Value,
    network: Network,
    loss: Loss,
    input: Given,
    target: Given,
    picks: Picks,
}

/// Reads a template.
pub(super) fn parse(text: &str) -> Result<Parts, String> {
    let all: Value = serde_json::from_str(text).map_err(|e| e.to_string())?;
    let word = |key: &str| {
        let text = all.get(key).and_then(Value::as_str);
        text.ok_or_else(|| format!("there is no text \"{key}\" in it; draw it again"))
    };
    let given = |key: &str, file: &'static str| {
        let value = all.get("given").and_then(|g| g.get(key));
        let value = value.ok_or_else(|| format!("there is no \"{key}\" given in it"))?;
        match value.as_str() {
            // No other file is ever read.
            Some(name) if name == file => Ok(Given::File(file)),
            _ => tensor(value)
                .map(Given::Numbers)
                .map_err(|reason| format!("`{key}`: {reason}")),
        }
    };
    let mut picks = Picks::new();
    let answers = all.get("answers").and_then(Value::as_object);
    for (name, of) in answers.into_iter().flatten() {
        let Some(of) = of.as_object() else { continue };
        let indices = of.keys().map(|key| {
            index(key).ok_or_else(|| {
                format!(
                    "`{}`: `{}` is no index as [3, 17]; draw it again",
                    printable(name),
                    printable(key)
                )
            })
        });
        picks.insert(name.clone(), indices.collect::<Result<_, _>>()?);
    }
    Ok(Parts {
        about: all.get("sheet").cloned().unwrap_or(Value::Null),
        network: Network::parse(word("network")?).map_err(|e| e.to_string())?,
        loss: Loss::parse(word("loss")?).map_err(|e| e.to_string())?,
        input: given("x", INPUT)?,
        target: given("y", TARGET)?,
        picks,
    })
}

impl Parts {
    /// The files of the batch that it names.
    pub fn files(&self) -> Vec<&'static str> {
        let given = [&self.input, &self.target];
        let name = |g: &Given| match g {
            Given::File(name) => Some(*name),
            Given::Numbers(_) => None,
        };
        given.into_iter().filter_map(name).collect()
    }

    /// The sheet, with the weights by key and the files' arrays by name.
    pub fn with(
        self,
        weights: BTreeMap<String, Tensor>,
        batch: &BTreeMap<String, Tensor>,
    ) -> Result<Sheet, String> {
        let for_program = !self.files().is_empty();
        let array = |given: Given| match given {
            Given::Numbers(tensor) => Ok(tensor),
            Given::File(name) => {
                let array = batch.get(name).cloned();
                array.ok_or_else(|| format!("{name} is not there; draw it again"))
            }
        };
        Ok(Sheet {
            about: self.about,
            problem: Problem {
                network: self.network,
                loss: self.loss,
                input: array(self.input)?,
                target: array(self.target)?,
                weights,
            },
            for_program,
            picks: self.picks,
        })
    }
}

/// An index from its text, `[3, 17]`, as `{:?}` writes it.
pub(super) fn index(text: &str) -> Option<Vec<usize>> {
    let inner = text.trim().strip_prefix('[')?.strip_suffix(']')?;
    let parts = inner.split(',').map(|part| part.trim().parse().ok());
    match inner.trim().is_empty() {
        true => Some(Vec::new()),
        false => parts.collect(),
    }
}

/// A list with a space after each comma.
fn on_a_line(value: &Value) -> String {
    let Value::Array(items) = value else {
        return value.to_string();
    };
    let items: Vec<_> = items.iter().map(on_a_line).collect();
    format!("[{}]", items.join(", "))
}

/// JSON with each entry of an object on a line, and each list on one.
fn in_lines(value: &Value, depth: usize) -> String {
    let Value::Object(map) = value else {
        return on_a_line(value);
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

/// Null for each number: in lists of the value's shape, or by index.
fn blank(asked: &Asked) -> Value {
    if asked.picks.is_some() {
        let entry = |i| (format!("{:?}", asked.index(i)), Value::Null);
        return Value::Object((0..asked.count()).map(entry).collect());
    }
    asked
        .dims
        .iter()
        .rev()
        .fold(Value::Null, |inner, size| Value::Array(vec![inner; *size]))
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
