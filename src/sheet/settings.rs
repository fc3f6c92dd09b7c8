//! What a sheet is drawn from, and how large one may be.

use std::fmt;

use serde_json::{Value, json};

use crate::error::{Error, Result};

/// The largest layer and batch that one can work by hand.
const BY_HAND: usize = 8;
/// The most sizes of layers, the input's among them.
const MOST_LAYERS: usize = 6;
/// The most rows, weights, and numbers in the input and all layers of a sheet for a
/// program: it is drawn and marked within seconds.
const MOST_BATCH: usize = 4_096;
const MOST_WEIGHTS: usize = 1 << 22;
const MOST_ACTIVATIONS: usize = 1 << 20;

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

    /// Whether it is worked by hand: no layer and no batch of more than 8. Larger ones are
    /// for a program.
    pub fn by_hand(&self) -> bool {
        self.batch <= BY_HAND && self.layers.iter().all(|size| *size <= BY_HAND)
    }

    /// Whether the layer with this number is followed by a ReLU.
    pub(super) fn is_relu(&self, layer: usize) -> bool {
        let last = layer + 2 == self.layers.len();
        !last
            && match self.activation {
                Activation::Relu => true,
                Activation::Sigmoid => false,
                Activation::Mixed => layer.is_multiple_of(2),
            }
    }

    pub(super) fn check(&self) -> Result<()> {
        let count = self.layers.len();
        let bad = |text: String| Err(Error::Text(text));
        if !(2..=MOST_LAYERS).contains(&count) {
            return bad(format!(
                "{count} layer sizes; give 2 to {MOST_LAYERS}, the input's first: 4,3,1"
            ));
        }
        if self.layers.contains(&0) {
            return bad("a layer of 0 has no values; give sizes from 1".to_string());
        }
        if !(1..=MOST_BATCH).contains(&self.batch) {
            return bad(format!(
                "a batch of {}; give 1 to {BY_HAND} rows to work by hand, up to {MOST_BATCH} for \
                 a program",
                self.batch
            ));
        }
        let pairs = self.layers.windows(2).map(|w| w[0].saturating_mul(w[1]));
        let weights = pairs.fold(0usize, usize::saturating_add);
        if weights > MOST_WEIGHTS {
            return bad(format!(
                "{weights} weights, of which a sheet has at most {MOST_WEIGHTS}; give smaller \
                 layers"
            ));
        }
        let features = self.layers.iter().fold(0usize, |n, s| n.saturating_add(*s));
        let values = features.saturating_mul(self.batch);
        if values > MOST_ACTIVATIONS {
            return bad(format!(
                "a batch of {} rows through layers of {features} features makes {values} numbers, \
                 of which a sheet has at most {MOST_ACTIVATIONS}; give fewer rows or smaller layers",
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
    pub(super) fn network(&self) -> String {
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
