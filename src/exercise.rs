//! The exercise that wgrad was born from, embedded: `Linear(4, 2) -> ReLU ->
//! Linear(2, 1) -> Sigmoid`, BCELoss, one row. With it come PyTorch's values
//! and the figures that the printed sheet shows.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::Value;

use crate::error::{Error, Result};
use crate::nn::{Loss, Network};
use crate::number;
use crate::solution::{Problem, Solution};
use crate::tensor::Tensor;

/// The network, as one would write it in PyTorch.
pub const NETWORK: &str =
    "Sequential(Linear(4, 2, bias=False), ReLU(), Linear(2, 1, bias=False), Sigmoid())";
/// The loss.
pub const LOSS: &str = "BCELoss()";

const EXPECTED: &str = include_str!("../data/exercise/expected.json");

#[derive(Deserialize)]
struct Expected {
    weights: BTreeMap<String, Value>,
    printed_by_the_exercise: serde_json::Map<String, Value>,
    pytorch_float32: Run,
    pytorch_version: String,
}

#[derive(Deserialize)]
struct Run {
    forward: BTreeMap<String, Value>,
    loss: f64,
    grad: BTreeMap<String, Value>,
}

fn expected() -> Result<Expected> {
    serde_json::from_str(EXPECTED)
        .map_err(|e| Error::file("data/exercise/expected.json", e.to_string()))
}

/// The numbers of a nested list, in order.
fn numbers(value: &Value) -> Vec<f64> {
    match value {
        Value::Array(list) => list.iter().flat_map(numbers).collect(),
        Value::Number(n) => n.as_f64().into_iter().collect(),
        _ => Vec::new(),
    }
}

/// The sizes of a nested list.
fn sizes(value: &Value) -> Vec<usize> {
    let mut dims = Vec::new();
    let mut at = value;
    while let Value::Array(list) = at {
        dims.push(list.len());
        match list.first() {
            Some(first) => at = first,
            None => break,
        }
    }
    dims
}

fn tensor(value: &Value) -> Result<Tensor> {
    let data = numbers(value).into_iter().map(|v| v as f32).collect();
    Ok(Tensor::new(&sizes(value), data)?)
}

/// The exercise as a problem.
pub fn problem() -> Result<Problem> {
    let expected = expected()?;
    let mut weights = BTreeMap::new();
    for (key, value) in &expected.weights {
        weights.insert(key.clone(), tensor(value)?);
    }
    let row = expected.pytorch_float32.forward.get("in_features");
    Ok(Problem {
        network: Network::parse(NETWORK)?,
        loss: Loss::parse(LOSS)?,
        weights,
        input: tensor(row.unwrap_or(&Value::Null))?,
        target: Tensor::new(&[1, 1], vec![1.0])?,
    })
}

/// PyTorch's values, by the public names of a solution, and its version.
pub fn pytorch() -> Result<(BTreeMap<String, Vec<f32>>, String)> {
    let expected = expected()?;
    let run = &expected.pytorch_float32;
    let mut values = BTreeMap::from([("loss".to_string(), vec![run.loss as f32])]);
    let mut add = |name: String, value: &Value| {
        values.insert(name, numbers(value).into_iter().map(|v| v as f32).collect());
    };
    // PyTorch's keys are "0 (Linear)" for layers and "0.weight" for parameters.
    let layer = |key: &str| key.split_once(" (").map(|(index, _)| index.to_string());
    for (key, value) in &run.forward {
        if let Some(index) = layer(key) {
            add(format!("value.{index}"), value);
        }
    }
    for (key, value) in &run.grad {
        match layer(key) {
            Some(index) => add(format!("grad.{index}"), value),
            None if key == "in_features" => add("grad.input".to_string(), value),
            None => add(format!("grad.{key}"), value),
        }
    }
    Ok((values, expected.pytorch_version))
}

/// How a figure of the sheet was met.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Match {
    /// The engine's value prints the same digits.
    Engine,
    /// The float64 reference, rounded to float32, prints the same digits; the
    /// engine's value is another float32 within the bound.
    Reference,
    /// Neither prints the same digits, and the engine's value is within the
    /// bound: the sheet was computed on another machine in another order.
    Bound,
    /// The figure is wrong, or the engine's value is.
    No,
}

/// One printed figure of the sheet.
#[derive(Clone, PartialEq, Debug)]
pub struct Figure {
    /// What the sheet calls it.
    pub name: String,
    /// Its element.
    pub index: Vec<usize>,
    /// As the sheet prints it.
    pub sheet: String,
    /// The engine's value, printed likewise.
    pub engine: String,
    /// The reference's value, printed likewise.
    pub reference: String,
    /// The distance of the engine's value from the figure, in ULPs; 0 if the
    /// digits agree.
    pub ulps: u64,
    /// The verdict.
    pub met: Match,
}

/// Where the sheet's figures stand in a solution.
const PLACES: [(&str, &str); 12] = [
    ("W1", "0.weight"),
    ("W2", "2.weight"),
    ("first Linear", "value.0"),
    ("after ReLU (4 decimals)", "value.1"),
    ("second Linear", "value.2"),
    ("sigmoid", "value.3"),
    ("loss", "loss"),
    ("dL/d sigmoid_out", "grad.3"),
    ("dL/d second Linear", "grad.2"),
    ("dL/dW2 (4 decimals)", "grad.2.weight"),
    ("dL/d ReLU out", "grad.1"),
    ("dL/dW1 (4 decimals)", "grad.0.weight"),
];

/// Holds every figure that the sheet prints against a solution.
///
/// # Errors
/// The sheet prints a figure that this does not know: none is left out.
pub fn figures(solution: &Solution) -> Result<Vec<Figure>> {
    let mut all = Vec::new();
    for (name, printed) in &expected()?.printed_by_the_exercise {
        let place = PLACES.iter().find(|(known, _)| known == name);
        let Some((_, place)) = place else {
            return Err(Error::Data(format!(
                "the sheet's figure `{name}` has no place"
            )));
        };
        let leaf = solution.leaves.iter().find(|leaf| leaf.label == *place);
        let step = solution.step(place);
        let value = leaf.map(|l| &l.value).or(step.map(|s| &s.value));
        let value = value.ok_or_else(|| Error::Data(format!("`{place}` was not computed")))?;
        let printed_values = numbers(printed);
        if printed_values.len() != value.data().len() {
            return Err(Error::Data(format!(
                "the sheet prints {} figures for `{name}`, the solution has {}",
                printed_values.len(),
                value.data().len()
            )));
        }
        // Weights are printed to four decimals without saying so.
        let short = leaf.is_some() || name.contains("4 decimals");
        let reference = step.and_then(|s| s.reference.as_ref());
        let strides = value.shape().strides();
        for (i, (&sheet, &engine)) in printed_values.iter().zip(value.data()).enumerate() {
            let (wide, bound) = match reference {
                Some(r) => (
                    r.value.iter().nth(i).copied().unwrap_or(f64::NAN),
                    r.error.iter().nth(i).copied().unwrap_or(f64::NAN),
                ),
                None => (f64::from(engine), 0.0),
            };
            // Printed to four decimals, as a float32, or as the float64 with
            // the same value (Python's `item()`).
            let long = !short && format!("{sheet}") != number::show(sheet as f32);
            let digits = |v: f64| match (short, long) {
                (true, _) => format!("{v:.4}"),
                (_, true) => format!("{}", f64::from(v as f32)),
                _ => number::show(v as f32),
            };
            let [sheet_text, engine_text, reference_text] =
                [sheet, f64::from(engine), wide].map(digits);
            // Two float32 evaluations, ours and the sheet's, may each be one
            // bound away from the truth.
            let met = if engine_text == sheet_text {
                Match::Engine
            } else if (f64::from(engine) - sheet).abs() > 2.0 * bound {
                Match::No
            } else if reference_text == sheet_text {
                Match::Reference
            } else {
                Match::Bound
            };
            all.push(Figure {
                name: name.clone(),
                index: strides
                    .iter()
                    .zip(value.dims())
                    .map(|(s, d)| i / s % d)
                    .collect(),
                sheet: sheet_text,
                engine: engine_text,
                reference: reference_text,
                ulps: if met == Match::Engine {
                    0
                } else {
                    number::ulps_between(engine, sheet as f32)
                },
                met,
            });
        }
    }
    Ok(all)
}
