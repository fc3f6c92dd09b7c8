//! Whether the known mistakes show: on a sheet in which one does not, it could not be
//! told from a right answer.

use std::collections::BTreeSet;

use super::mistakes::SLIPS;
use super::work::{Edit, Work};

/// What a mistake must change: a share of the largest element that is asked for.
const SHOWS: f64 = 0.03;
/// And on a sheet to work by hand, with four decimals, this much.
const SHOWS_BY_HAND: f64 = 1e-3;

/// Whether each mistake that can be made changes the next value that is asked for, and
/// differently from the others, at the elements that are asked for.
pub(super) fn mistakes_show(work: &Work) -> bool {
    let right = work.base(&Default::default(), &[], None);
    let stops: BTreeSet<usize> = work.asked.iter().map(|a| a.node.index()).collect();
    let sites: Vec<_> = (0..SLIPS.len()).map(|slip| work.sites(slip)).collect();
    let least = if work.for_program { 0.0 } else { SHOWS_BY_HAND };
    work.asked.iter().all(|asked| {
        let node = asked.node.index();
        let mut others = stops.clone();
        others.remove(&node);
        let [region, _] = work.behind(node, &others);
        let mut wrong: Vec<(usize, Vec<f64>)> = Vec::new();
        for (slip, sites) in sites.iter().enumerate() {
            for at in sites.intersection(&region) {
                let edit = Edit {
                    slip,
                    sites: BTreeSet::from([*at]),
                };
                let value = work.with(&right, &edit, node);
                wrong.push((slip, asked.of(&value.value)));
            }
        }
        let right = asked.of(&right.values[node].value);
        wrong.iter().enumerate().all(|(i, (slip, value))| {
            // A vector's transpose has the same numbers in the same order. What a wrong
            // rule has no number for is NaN.
            if value.iter().zip(&right).all(|(a, b)| a == b || a.is_nan()) {
                return true;
            }
            let before = wrong[..i]
                .iter()
                .filter(|(s, _)| SLIPS[*s].mistake != SLIPS[*slip].mistake);
            differs(value, &right, least)
                && before
                    .into_iter()
                    .all(|(_, other)| differs(value, other, least))
        })
    })
}

/// Whether a number differs clearly. NaN differs from nothing: it is no evidence.
fn differs(a: &[f64], b: &[f64], least: f64) -> bool {
    let largest = b.iter().fold(0.0, |m: f64, v| m.max(v.abs()));
    let mut pairs = a.iter().zip(b);
    pairs.any(|(a, b)| (a - b).abs() > SHOWS * largest && (a - b).abs() > least)
}
