//! Random exercises that can be worked by hand: inputs in halves, weights in tenths,
//! ReLUs of which some are dead, sigmoids that are not saturated, and gradients in which
//! every known mistake shows.

use std::collections::BTreeMap;

use rand_mt::Mt;

use super::settings::Settings;
use super::show::mistakes_show;
use super::work::Work;
use crate::error::{Error, Result};
use crate::nn::{Loss, Network};
use crate::solution::Problem;
use crate::tensor::Tensor;

/// How often whole sheets, and the weights of one unit, are drawn anew.
const SHEETS: usize = 2_000;
const UNITS: usize = 300;
/// Where the inputs of sigmoids lie: an output from 0.11 to 0.89.
const SIGMOID: std::ops::RangeInclusive<f64> = 0.05..=2.1;
/// Where those of ReLUs lie, above and below 0.
const RELU: std::ops::RangeInclusive<f64> = 0.04..=4.5;

/// Whole numbers at random. The top bits of the generator's words are used.
pub(super) struct Draws(Mt);

impl Draws {
    pub(super) fn new(settings: &Settings) -> Draws {
        Draws(Mt::new(settings.seed))
    }

    /// From 1 to `most`, negative half of the time.
    pub(super) fn signed(&mut self, most: u32) -> i32 {
        let size = 1 + self.below(most) as i32;
        if self.below(2) == 0 { size } else { -size }
    }

    pub(super) fn below(&mut self, end: u32) -> u32 {
        ((u64::from(self.0.next_u32()) * u64::from(end)) >> 32) as u32
    }
}

/// Rows of activations, in float64.
type Rows = Vec<Vec<f64>>;

/// Draws a problem to work by hand.
pub(super) fn problem(settings: &Settings) -> Result<Problem> {
    let mut draws = Draws::new(settings);
    for _ in 0..SHEETS {
        let Some((input, weights)) = numbers(settings, &mut draws)? else {
            continue;
        };
        let problem = with_targets(settings, input, weights, &mut draws)?;
        if mistakes_show(&Work::new(&problem)?) {
            return Ok(problem);
        }
    }
    Err(Error::Unsupported(format!(
        "no numbers were found in {SHEETS} draws with which layers {:?} and batch {} can be worked \
         by hand; take another seed, smaller layers or fewer rows",
        settings.layers, settings.batch
    )))
}

/// The problem of this batch and these weights; its targets are drawn.
pub(super) fn with_targets(
    settings: &Settings,
    input: Tensor,
    weights: BTreeMap<String, Tensor>,
    draws: &mut Draws,
) -> Result<Problem> {
    let gives = settings.layers.last().copied().unwrap_or(1);
    let target = (0..settings.batch * gives).map(|_| draws.below(2) as f32);
    Ok(Problem {
        network: Network::parse(&settings.network())?,
        loss: Loss::parse("BCELoss()")?,
        weights,
        input,
        target: Tensor::new(&[settings.batch, gives], target.collect())?,
    })
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
    let mut rows: Rows = input
        .chunks(takes)
        .map(|row| row.iter().map(|v| f64::from(*v)).collect())
        .collect();
    let mut weights = BTreeMap::new();
    for (i, gives) in settings.layers.iter().skip(1).enumerate() {
        let relu = settings.is_relu(i);
        let mut weight: Vec<f32> = Vec::new();
        let mut next: Rows = vec![Vec::new(); rows.len()];
        for _ in 0..*gives {
            let Some((unit, out)) = unit(&rows, relu, draws) else {
                return Ok(None);
            };
            weight.extend(unit.iter().map(|w| *w as f32 / 10.0));
            for (row, z) in next.iter_mut().zip(out) {
                row.push(z);
            }
        }
        let alive = |row: &Vec<f64>| row.iter().any(|z| *z > 0.0);
        if relu && !(next.iter().all(alive) && next.iter().flatten().any(|z| *z < 0.0)) {
            return Ok(None);
        }
        let takes = settings.layers[i];
        weights.insert(
            format!("{}.weight", 2 * i),
            Tensor::new(&[*gives, takes], weight)?,
        );
        let activate = |z: f64| match relu {
            true => z.max(0.0),
            false => 1.0 / (1.0 + (-z).exp()),
        };
        rows = next
            .into_iter()
            .map(|row| row.into_iter().map(activate).collect())
            .collect();
    }
    let input = Tensor::new(&[settings.batch, takes], input)?;
    Ok(Some((input, weights)))
}

/// The weights of one unit in tenths, and what it makes of each row.
fn unit(rows: &Rows, relu: bool, draws: &mut Draws) -> Option<(Vec<i32>, Vec<f64>)> {
    let takes = rows.first().map_or(0, Vec::len);
    let range = if relu { RELU } else { SIGMOID };
    (0..UNITS).find_map(|_| {
        let unit: Vec<i32> = (0..takes).map(|_| draws.signed(9)).collect();
        let out: Vec<f64> = rows
            .iter()
            .map(|row| {
                row.iter()
                    .zip(&unit)
                    .map(|(x, w)| x * f64::from(*w) / 10.0)
                    .sum()
            })
            .collect();
        out.iter()
            .all(|z: &f64| range.contains(&z.abs()))
            .then_some((unit, out))
    })
}
