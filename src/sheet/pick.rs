//! Which elements of a large value are asked for: a few, spread over it, in which the
//! known mistakes can show.

use ndarray::{Array2, ArrayD, Ix2};

use super::draw::Draws;
use super::work::{Picks, Work};

/// Values of more elements are asked for in part.
const WHOLE: usize = 64;
/// How many elements of such a value are asked for.
const PICKS: usize = 8;
/// How often an element is drawn anew.
const TRIES: usize = 200;
/// An element that is asked for is this share of the largest, or more, but for the one
/// behind a dead ReLU.
const SIZEABLE: f64 = 0.1;

/// Draws the elements that are asked for of each value of more than 64. They are spread
/// along its longer axis. One has a dead ReLU, where there are any: it is 0. Of a
/// weight's gradient every other one is at an index that the transpose has, too, so that
/// a product in the wrong order gives a number there.
pub(super) fn picks(work: &Work, draws: &mut Draws) -> Picks {
    let mut all = Picks::new();
    let large = |dims: &[usize]| dims.iter().product::<usize>() > WHOLE;
    for asked in work.asked.iter().filter(|a| large(&a.dims)) {
        let node = asked.node.index();
        let value = in_rows(&work.values()[node].value);
        let of_weight = work.is_of_weight(node);
        let mut picks: Vec<[usize; 2]> = Vec::with_capacity(PICKS);
        picks.extend(dead(work, node, &value, draws));
        while picks.len() < PICKS {
            let Some(index) = one(&value, of_weight, &picks, draws) else {
                break;
            };
            picks.push(index);
        }
        picks.sort_unstable();
        let index = |[i, j]: [usize; 2]| match asked.dims.len() {
            1 => vec![j],
            _ => vec![i, j],
        };
        all.insert(asked.name.clone(), picks.into_iter().map(index).collect());
    }
    all
}

/// A value as rows; the values of a drawn sheet have two axes.
fn in_rows(value: &ArrayD<f64>) -> Array2<f64> {
    let whole = value.clone().into_dimensionality::<Ix2>();
    whole.unwrap_or_else(|_| {
        let flat: Vec<f64> = value.iter().copied().collect();
        Array2::from_shape_fn((1, flat.len()), |(_, j)| flat[j])
    })
}

/// An element that is 0 because its ReLU is dead; of a gradient one at which something
/// came back, so that a forgotten mask shows.
fn dead(work: &Work, node: usize, value: &Array2<f64>, draws: &mut Draws) -> Option<[usize; 2]> {
    let (_, of) = work.prepared.graph.nodes().nth(node)?;
    let came = match of.op()?.name() {
        "relu" => None,
        "relu_backward" => Some(in_rows(&work.values()[of.inputs.first()?.index()].value)),
        _ => return None,
    };
    let largest = |a: &Array2<f64>| a.iter().fold(0.0, |m: f64, v| m.max(v.abs()));
    let least = came.as_ref().map_or(0.0, |g| SIZEABLE * largest(g));
    (0..TRIES).find_map(|_| {
        let (rows, columns) = value.dim();
        let at = [below(draws, 0..rows), below(draws, 0..columns)];
        let back = came.as_ref().is_none_or(|g| g[at].abs() >= least);
        (value[at] == 0.0 && back).then_some(at)
    })
}

/// The next element, in its part of the longer axis; the largest of those that were
/// drawn where none is large enough. `None` where all that were drawn are taken.
fn one(
    value: &Array2<f64>,
    of_weight: bool,
    taken: &[[usize; 2]],
    draws: &mut Draws,
) -> Option<[usize; 2]> {
    let (rows, columns) = value.dim();
    let both = rows.min(columns);
    let place = taken.len();
    let (rows, columns) = match of_weight && both > 1 && place.is_multiple_of(2) {
        true => (both, both),
        false => (rows, columns),
    };
    let part = |size: usize| place * size / PICKS..((place + 1) * size / PICKS).max(1);
    let largest = value.iter().fold(0.0, |m: f64, v| m.max(v.abs()));
    let mut best: Option<[usize; 2]> = None;
    for _ in 0..TRIES {
        let at = match rows >= columns {
            true => [below(draws, part(rows)), below(draws, 0..columns)],
            false => [below(draws, 0..rows), below(draws, part(columns))],
        };
        // On the diagonal a transpose has the same number.
        if taken.contains(&at) || of_weight && at[0] == at[1] {
            continue;
        }
        if value[at].abs() >= SIZEABLE * largest {
            return Some(at);
        }
        if best.is_none_or(|b| value[b].abs() < value[at].abs()) {
            best = Some(at);
        }
    }
    best
}

/// A number from a range; its start where that is empty.
fn below(draws: &mut Draws, range: std::ops::Range<usize>) -> usize {
    // A sheet's values have far fewer elements than 2^32.
    range.start + draws.below(range.len().max(1) as u32) as usize
}
