//! What rounded products cost a solution.

use super::{Detail, Prepared, Solution};
use crate::check::rounding::{Gap, Rounding, exact as exact_values};
use crate::error::Result;
use crate::watch::Watch;

/// How far the loss and the gradients of a network with rounded products are from
/// those with exact ones.
pub(super) fn of(
    prepared: &Prepared,
    solution: &Solution,
    detail: Detail,
) -> Result<Option<Rounding>> {
    let Some(exact) = &prepared.exact else {
        return Ok(None);
    };
    let mut found = Rounding::new(&prepared.graph, exact.precision);
    if found.products == 0 {
        return Ok(Some(found));
    }
    let unknown = match (&solution.cut, detail.check) {
        (_, false) => Some("values were not compared"),
        (Some(_), _) => {
            Some("the batch ran in sub-batches, and the exact values are of a whole one")
        }
        (None, true) => None,
    };
    if let Some(reason) = unknown {
        found.unknown = Some(reason.to_string());
        return Ok(Some(found));
    }
    let watch = Watch::start();
    let values = exact_values(&exact.graph, &prepared.feeds, &exact.nodes)?;
    log::info!("the exact values took {watch}");
    for ((name, _), want) in prepared.named.iter().zip(&values) {
        let told = name == "loss" || name.starts_with("grad.");
        if let Some(got) = solution.value(name).filter(|_| told) {
            found.gaps.push(Gap::between(name, got, want));
        }
    }
    Ok(Some(found))
}
