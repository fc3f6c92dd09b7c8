//! Random exercises that can be worked by hand: inputs in halves, weights in tenths,
//! ReLUs of which some are dead, sigmoids that are not saturated, and gradients in which
//! every known mistake shows.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use ndarray::ArrayD;
use rand_mt::Mt;
use serde_json::{Value, json};

use super::mistakes::SLIPS;
use super::work::{Edit, Work};
use crate::error::{Error, Result};
use crate::nn::{Loss, Network};
use crate::solution::Problem;
use crate::tensor::Tensor;

/// The largest layer, batch and number of layers that one can work by hand.
const MOST_WIDE: usize = 8;
const MOST_ROWS: usize = 8;
const MOST_LAYERS: usize = 6;
/// How often whole sheets, and the weights of one unit, are drawn anew.
const SHEETS: usize = 2_000;
const UNITS: usize = 300;
/// Where the inputs of sigmoids lie: an output from 0.11 to 0.89.
const SIGMOID: std::ops::RangeInclusive<f64> = 0.05..=2.1;
/// Where those of ReLUs lie, above and below 0.
const RELU: std::ops::RangeInclusive<f64> = 0.04..=4.5;
/// What a mistake must change: a share of the largest element.
const SHOWS: f64 = 0.03;

/// What stands between the Linear layers; the last layer is followed by a Sigmoid.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Activation {
    /// ReLU.
    #[default]
    Relu,
    /// Sigmoid.
    Sigmoid,
    /// ReLU and Sigmoid in turn.
    Mixed,
}

impl fmt::Display for Activation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Activation::Relu => "relu",
            Activation::Sigmoid => "sigmoid",
            Activation::Mixed => "mixed",
        })
    }
}

/// What a sheet is drawn from.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Settings {
    /// The seed.
    pub seed: u32,
    /// The features of the input, then of each layer.
    pub layers: Vec<usize>,
    /// What stands between the layers.
    pub activation: Activation,
    /// Rows of the batch.
    pub batch: usize,
}

impl Settings {
    /// What tells the sheet from others.
    pub fn about(&self) -> Value {
        json!({
            "seed": self.seed,
            "layers": self.layers,
            "activation": self.activation.to_string(),
            "batch": self.batch,
        })
    }

    /// Whether the layer with this number is followed by a ReLU.
    fn is_relu(&self, layer: usize) -> bool {
        let last = layer + 2 == self.layers.len();
        !last
            && match self.activation {
                Activation::Relu => true,
                Activation::Sigmoid => false,
                Activation::Mixed => layer.is_multiple_of(2),
            }
    }

    fn check(&self) -> Result<()> {
        let count = self.layers.len();
        let bad = |text: String| Err(Error::Text(text));
        if !(2..=MOST_LAYERS).contains(&count) {
            return bad(format!(
                "{count} layer sizes; give 2 to {MOST_LAYERS}, the input's first: 4,3,1"
            ));
        }
        if let Some(size) = self.layers.iter().find(|s| !(1..=MOST_WIDE).contains(*s)) {
            return bad(format!(
                "a layer of {size} is not for working by hand; give sizes from 1 to {MOST_WIDE}"
            ));
        }
        if !(1..=MOST_ROWS).contains(&self.batch) {
            return bad(format!(
                "a batch of {} is not for working by hand; give 1 to {MOST_ROWS} rows",
                self.batch
            ));
        }
        let narrow = |layer: &usize| self.layers[layer + 1] == 1 && self.is_relu(*layer);
        if let Some(layer) = (0..count - 1).find(narrow) {
            return bad(format!(
                "size {} of the layers is a single ReLU, and where that is dead nothing flows; give \
                 2 or more, or --activation sigmoid",
                layer + 2
            ));
        }
        Ok(())
    }

    /// The network, as PyTorch writes it.
    fn network(&self) -> String {
        let parts: Vec<_> = (0..self.layers.len() - 1)
            .map(|i| {
                let (takes, gives) = (self.layers[i], self.layers[i + 1]);
                let then = if self.is_relu(i) { "ReLU" } else { "Sigmoid" };
                format!("Linear({takes}, {gives}, bias=False), {then}()")
            })
            .collect();
        format!("Sequential({})", parts.join(", "))
    }
}

/// Whole numbers at random. The top bits of the generator's words are used.
struct Draws(Mt);

impl Draws {
    /// From 1 to `most`, negative half of the time.
    fn signed(&mut self, most: u32) -> i32 {
        let size = 1 + self.below(most) as i32;
        if self.below(2) == 0 { size } else { -size }
    }

    fn below(&mut self, end: u32) -> u32 {
        ((u64::from(self.0.next_u32()) * u64::from(end)) >> 32) as u32
    }
}

/// Rows of activations, in float64.
type Rows = Vec<Vec<f64>>;

/// Draws a problem.
pub(super) fn problem(settings: &Settings) -> Result<Problem> {
    settings.check()?;
    let network = Network::parse(&settings.network())?;
    let loss = Loss::parse("BCELoss()")?;
    let mut draws = Draws(Mt::new(settings.seed));
    for _ in 0..SHEETS {
        let Some((input, weights)) = numbers(settings, &mut draws)? else {
            continue;
        };
        let gives = settings.layers.last().copied().unwrap_or(1);
        let target = (0..settings.batch * gives).map(|_| draws.below(2) as f32);
        let problem = Problem {
            network: network.clone(),
            loss: loss.clone(),
            weights,
            input,
            target: Tensor::new(&[settings.batch, gives], target.collect())?,
        };
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

/// Whether each mistake that can be made changes the next value that is asked for, and
/// differently from the others.
fn mistakes_show(work: &Work) -> bool {
    let right = work.run(&BTreeMap::new(), &[]);
    let stops: BTreeSet<usize> = work.asked.iter().map(|a| a.node.index()).collect();
    let sites: Vec<_> = (0..SLIPS.len()).map(|slip| work.sites(slip)).collect();
    work.asked.iter().all(|asked| {
        let node = asked.node.index();
        let mut others = stops.clone();
        others.remove(&node);
        let [region, _] = work.behind(node, &others);
        let mut wrong: Vec<(usize, ArrayD<f64>)> = Vec::new();
        for (slip, sites) in sites.iter().enumerate() {
            for at in sites.intersection(&region) {
                let edit = Edit {
                    slip,
                    sites: BTreeSet::from([*at]),
                };
                let all = work.run(&BTreeMap::new(), &[edit]);
                wrong.push((slip, all[node].value.clone()));
            }
        }
        let right = &right[node].value;
        wrong.iter().enumerate().all(|(i, (slip, value))| {
            // A vector's transpose has the same numbers in the same order.
            if value == right {
                return true;
            }
            let before = wrong[..i]
                .iter()
                .filter(|(s, _)| SLIPS[*s].mistake != SLIPS[*slip].mistake);
            differs(value, right) && before.into_iter().all(|(_, other)| differs(value, other))
        })
    })
}

fn differs(a: &ArrayD<f64>, b: &ArrayD<f64>) -> bool {
    let largest = b.iter().fold(0.0, |m: f64, v| m.max(v.abs()));
    let mut pairs = a.iter().zip(b);
    pairs.any(|(a, b)| (a - b).abs() > SHOWS * largest && (a - b).abs() > 1e-3)
}
