//! The two engines. [`cpu`] evaluates a graph in float64 and is the reference;
//! [`gpu`] runs a plan. Neither stands in for the other: which one computed a
//! value is always said.

pub mod cpu;
pub mod gpu;
pub mod host;

use std::collections::BTreeMap;

use crate::error::{Error, Result, ShapeError};
use crate::shape::Shape;
use crate::tensor::Tensor;

/// The values of the leaves, by label.
pub type Feeds = BTreeMap<String, Tensor>;

/// Refuses a value that does not have its leaf's shape.
fn check_feed(label: &str, want: &Shape, value: &Tensor) -> Result<()> {
    if value.shape() == want {
        return Ok(());
    }
    let mut error = ShapeError::new(
        "feed",
        format!(
            "the graph wants shape {want}, the value given has {}; {}",
            value.shape(),
            match value.shape().numel() == want.numel() {
                true => "reshape the value",
                false => "give a value of that shape, or build the graph for another",
            }
        ),
    );
    error.node = Some(label.to_string());
    Err(Error::Shape(error))
}

fn missing_feed(label: &str, shape: &Shape) -> Error {
    Error::Graph(format!(
        "no value was given for `{label}` (shape {shape}); set it before the run"
    ))
}
