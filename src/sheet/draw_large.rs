//! Random exercises for a program: inputs in halves, weights of three decimals (more
//! where layers are very wide) that keep the values of each layer about as large as
//! those of the one before, ReLUs of which some are dead, sigmoids that are not
//! saturated.

use std::collections::BTreeMap;

use ndarray::{Array2, ArrayView1, ArrayView2, Axis};

use super::draw::{Draws, with_targets};
use super::pick::picks;
use super::settings::Settings;
use super::show::mistakes_show;
use super::work::{Picks, Work};
use crate::error::{Error, Result};
use crate::solution::Problem;
use crate::tensor::Tensor;

/// How often whole sheets, the elements that are asked for, the weights of a layer, and
/// those of a unit, are drawn anew.
const SHEETS: usize = 20;
const ASKED: usize = 10;
const LAYERS: usize = 50;
const UNITS: usize = 300;
/// How near to 0 the input of an activation may be. What a ReLU makes of it must not
/// hang on the order in which a sum is taken.
const LEAST: f64 = 1e-4;
/// The largest input of a sigmoid: its output is from 0.018 to 0.982.
const SIGMOID: f64 = 4.0;
/// A ReLU layer that is as wide has a live unit on every row; of a narrower one, where
/// that may take luck beyond all draws, half of the rows have one.
const WIDE: usize = 16;

/// Draws a problem for a program, and what is asked for.
pub(super) fn problem(settings: &Settings) -> Result<(Problem, Picks)> {
    let mut draws = Draws::new(settings);
    for _ in 0..SHEETS {
        let Some((input, weights)) = numbers(settings, &mut draws)? else {
            continue;
        };
        let problem = with_targets(settings, input, weights, &mut draws)?;
        let mut work = Work::unasked(&problem, true)?;
        for _ in 0..ASKED {
            let picks = picks(&work, &mut draws);
            work.ask(&picks)?;
            if mistakes_show(&work) {
                return Ok((problem, picks));
            }
        }
    }
    Err(Error::Unsupported(format!(
        "no numbers were found in {SHEETS} draws with which every mistake shows in layers {:?} \
         with batch {}; take another seed, or wider ReLU layers",
        settings.layers, settings.batch
    )))
}

/// The batch and the weights, if the activations are as they should be.
fn numbers(
    settings: &Settings,
    draws: &mut Draws,
) -> Result<Option<(Tensor, BTreeMap<String, Tensor>)>> {
    let takes = settings.layers[0];
    let input: Vec<f32> = (0..settings.batch * takes)
        .map(|_| draws.signed(4) as f32 / 2.0)
        .collect();
    let wide = input.iter().map(|v| f64::from(*v)).collect();
    let Ok(mut rows) = Array2::from_shape_vec((settings.batch, takes), wide) else {
        return Ok(None);
    };
    let mut weights = BTreeMap::new();
    for (i, gives) in settings.layers.iter().skip(1).enumerate() {
        let relu = settings.is_relu(i);
        let scale = Scale::of(settings, i);
        let drawn = (0..LAYERS).find_map(|_| layer(&rows.view(), *gives, relu, scale, draws));
        let Some((weight, out)) = drawn else {
            return Ok(None);
        };
        let takes = settings.layers[i];
        weights.insert(
            format!("{}.weight", 2 * i),
            // Every weight was made as a float32.
            Tensor::new(&[*gives, takes], weight.iter().map(|w| *w as f32).collect())?,
        );
        rows = out.mapv(|z| match relu {
            true => z.max(0.0),
            false => 1.0 / (1.0 + (-z).exp()),
        });
    }
    let input = Tensor::new(&[settings.batch, takes], input)?;
    Ok(Some((input, weights)))
}

/// Weights in steps of `1 / parts`, of at most `most` steps.
#[derive(Clone, Copy)]
struct Scale {
    most: u32,
    parts: f64,
}

impl Scale {
    /// The scale of a layer. Inputs of mean square q make sums of variance
    /// `takes * q * s^2 / 3` with weights spread evenly from -s to s: the mean square is
    /// 1.9 of the batch, about 0.7 behind a ReLU and 0.3 behind a sigmoid. The sums come
    /// to about 1.2 before a ReLU and 0.9 before a sigmoid.
    fn of(settings: &Settings, layer: usize) -> Scale {
        let square = match layer.checked_sub(1).map(|before| settings.is_relu(before)) {
            None => 1.9,
            Some(true) => 0.7,
            Some(false) => 0.3,
        };
        let sum = if settings.is_relu(layer) { 1.2 } else { 0.9 };
        let takes = settings.layers[layer] as f64;
        let most = sum * (3.0 / (takes * square)).sqrt();
        let parts = match most {
            most if most >= 0.03 => 1e3,
            most if most >= 0.003 => 1e4,
            _ => 1e5,
        };
        Scale {
            most: (most * parts).round().max(1.0) as u32,
            parts,
        }
    }

    /// A weight: the float32 next to its decimals.
    fn draw(self, draws: &mut Draws) -> f64 {
        f64::from((f64::from(draws.signed(self.most)) / self.parts) as f32)
    }
}

/// The weights of a layer, and what it makes of the rows. Units with a value too near
/// to 0, or a saturated one, are drawn anew.
fn layer(
    rows: &ArrayView2<'_, f64>,
    gives: usize,
    relu: bool,
    scale: Scale,
    draws: &mut Draws,
) -> Option<(Array2<f64>, Array2<f64>)> {
    let most = if relu { f64::INFINITY } else { SIGMOID };
    // Behind a layer that is dead on a row all is 0 there, in any order.
    let lost = rows.map_axis(Axis(1), |row| row.iter().all(|a| *a == 0.0));
    let fine = |out: ArrayView1<'_, f64>| {
        let mut pairs = out.iter().zip(&lost);
        pairs.all(|(z, lost)| *lost || (LEAST..=most).contains(&z.abs()))
    };
    let takes = rows.ncols();
    let mut weight = Array2::from_shape_simple_fn((gives, takes), || scale.draw(draws));
    let mut out = rows.dot(&weight.t());
    for unit in 0..gives {
        let mut tries = 0;
        while !fine(out.column(unit)) {
            tries += 1;
            if tries > UNITS {
                return None;
            }
            weight.row_mut(unit).mapv_inplace(|_| scale.draw(draws));
            let again = rows.dot(&weight.row(unit));
            out.column_mut(unit).assign(&again);
        }
    }
    if relu {
        let alive = |row: ArrayView1<'_, f64>| row.iter().any(|z| *z > 0.0);
        let live = out.axis_iter(Axis(0)).filter(|r| alive(*r)).count();
        let enough = match gives >= WIDE {
            true => live == out.nrows(),
            false => 2 * live >= out.nrows(),
        };
        if !enough || out.iter().all(|z| *z > 0.0) {
            return None;
        }
    }
    Some((weight, out))
}
