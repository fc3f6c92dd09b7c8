//! Central differences in float64: the gradient from the definition alone, to
//! hold the rules against. Slow, and only for small graphs.

use std::collections::BTreeMap;

use ndarray::ArrayD;

use crate::error::{Error, Result};
use crate::graph::{Graph, NodeId};
use crate::run::cpu::evaluate_wide;

/// Leaves in float64, by label.
pub type WideFeeds = BTreeMap<String, ArrayD<f64>>;

/// The gradient of the scalar `loss` by the leaf `label`, by differences of
/// fourth order with step `1e-4 * max(1, |x|)`: exact to about 1e-9 where the
/// function is smooth.
///
/// # Errors
/// No value for `label`, and as [`evaluate_wide`].
pub fn gradient(
    graph: &Graph,
    feeds: &WideFeeds,
    loss: NodeId,
    label: &str,
) -> Result<ArrayD<f64>> {
    let mut feeds = feeds.clone();
    let base = feeds.get(label).cloned().ok_or_else(|| {
        let known: Vec<_> = feeds.keys().map(String::as_str).collect();
        Error::Graph(format!(
            "no value was given for `{label}`; those given are for {}",
            known.join(", ")
        ))
    })?;
    let mut result = ArrayD::zeros(base.raw_dim());
    for i in 0..base.len() {
        let x = base.iter().nth(i).copied().unwrap_or_default();
        let h = 1e-4 * x.abs().max(1.0);
        let mut at = |dx: f64| -> Result<f64> {
            if let Some(slot) = feeds.get_mut(label).and_then(|a| a.iter_mut().nth(i)) {
                *slot = x + dx;
            }
            let value = evaluate_wide(graph, &feeds, &[loss])?;
            Ok(value[0].iter().sum())
        };
        let near = at(h)? - at(-h)?;
        let far = at(2.0 * h)? - at(-2.0 * h)?;
        at(0.0)?;
        if let Some(slot) = result.iter_mut().nth(i) {
            *slot = (8.0 * near - far) / (12.0 * h);
        }
    }
    Ok(result)
}
