//! The same work on the CPU in float32: what one would write with ndarray when
//! speed matters (products of matrices by `matrixmultiply`, buffers that are
//! made once, activations in place). It is a measure, not a reference: whether
//! values are right is decided by `run::cpu` in float64.

use ndarray::linalg::general_mat_mul;
use ndarray::{Array1, Array2, Zip};

use super::work::{INPUT, Step, TARGET, Work};
use crate::error::{Error, Result};
use crate::nn::Reduction;
use crate::tensor::Tensor;

/// One operation, from one value buffer to the next.
enum Layer {
    /// Weight, bias and their gradients.
    Linear(Box<Linear>),
    /// Max with 0, in place.
    ReLU,
    /// In place.
    Sigmoid,
    /// A copy, for an activation that must not overwrite its input.
    Copy,
}

struct Linear {
    key: String,
    weight: Array2<f32>,
    weight_gradient: Array2<f32>,
    bias: Option<Array1<f32>>,
    bias_gradient: Array1<f32>,
}

#[derive(Clone, Copy)]
enum Loss {
    Bce,
    BceWithLogits,
    Mse,
}

/// A network of Linear, ReLU, Sigmoid and Identity with its loss, ready to run.
pub(super) struct Host {
    layers: Vec<Layer>,
    loss: Loss,
    /// What the sum over the elements is multiplied by.
    scale: f32,
    target: Array2<f32>,
    /// The input, then what each Linear and Copy writes.
    values: Vec<Array2<f32>>,
    /// The cotangent of each; that of the input stays empty.
    cotangents: Vec<Array2<f32>>,
}

fn matrix(tensor: &Tensor) -> Result<Array2<f32>> {
    let dims = tensor.dims();
    let wrong = || Error::Graph(format!("shape {dims:?} is no matrix"));
    let [rows, columns] = dims[..] else {
        return Err(wrong());
    };
    Array2::from_shape_vec((rows, columns), tensor.data().to_vec()).map_err(|_| wrong())
}

impl Host {
    /// The network of `work`; `None` if it has a layer or a loss that is not
    /// written here.
    pub fn new(work: &Work, step: &Step) -> Result<Option<Host>> {
        let loss = match work.loss.row().name {
            "BCELoss" => Loss::Bce,
            "BCEWithLogitsLoss" => Loss::BceWithLogits,
            "MSELoss" => Loss::Mse,
            _ => return Ok(None),
        };
        // One network; that of the first replica.
        let [feeds, ..] = &step.feeds[..] else {
            return Ok(None);
        };
        let feed = |label: &str| {
            feeds
                .get(label)
                .ok_or_else(|| Error::Graph(format!("`{label}` has no value")))
        };
        let mut values = vec![matrix(feed(INPUT)?)?];
        let mut layers = Vec::new();
        // Whether the newest value may be overwritten.
        let mut fresh = false;
        for part in work.network.parts() {
            let last = &values[values.len() - 1];
            match part.layer().name {
                "Linear" => {
                    let named = |name: &str| match part.key() {
                        "" => name.to_string(),
                        key => format!("{key}.{name}"),
                    };
                    let weight = matrix(feed(&named("weight"))?)?;
                    let bias = feeds.get(&named("bias"));
                    let bias = bias.map(|b| Array1::from_vec(b.data().to_vec()));
                    values.push(Array2::zeros((work.batch, weight.nrows())));
                    layers.push(Layer::Linear(Box::new(Linear {
                        key: part.key().to_string(),
                        weight_gradient: Array2::zeros(weight.raw_dim()),
                        bias_gradient: Array1::zeros(weight.nrows()),
                        weight,
                        bias,
                    })));
                    fresh = true;
                }
                "Identity" => {}
                name @ ("ReLU" | "Sigmoid") => {
                    if !fresh {
                        let copy = Array2::zeros(last.raw_dim());
                        values.push(copy);
                        layers.push(Layer::Copy);
                    }
                    layers.push(match name {
                        "ReLU" => Layer::ReLU,
                        _ => Layer::Sigmoid,
                    });
                    fresh = false;
                }
                _ => return Ok(None),
            }
        }
        let target = matrix(feed(TARGET)?)?;
        let scale = match work.loss.reduction() {
            Reduction::Mean => 1.0 / target.len() as f32,
            _ => 1.0,
        };
        let cotangents = values
            .iter()
            .enumerate()
            .map(|(i, v)| match i {
                0 => Array2::zeros((0, 0)),
                _ => Array2::zeros(v.raw_dim()),
            })
            .collect();
        Ok(Some(Host {
            layers,
            loss,
            scale,
            target,
            values,
            cotangents,
        }))
    }

    /// One step: forward, loss, every weight gradient. The loss.
    pub fn step(&mut self) -> f32 {
        self.forward();
        let loss = self.loss();
        self.backward();
        loss
    }

    fn forward(&mut self) {
        let mut at = 0;
        for layer in &self.layers {
            let (before, after) = self.values.split_at_mut(at + 1);
            match layer {
                Layer::Linear(linear) => {
                    let (x, z) = (&before[at], &mut after[0]);
                    let keep = match &linear.bias {
                        Some(bias) => {
                            z.assign(bias);
                            1.0
                        }
                        None => 0.0,
                    };
                    general_mat_mul(1.0, x, &linear.weight.t(), keep, z);
                    at += 1;
                }
                Layer::Copy => {
                    after[0].assign(&before[at]);
                    at += 1;
                }
                Layer::ReLU => before[at].mapv_inplace(|v| v.max(0.0)),
                Layer::Sigmoid => before[at].mapv_inplace(|v| 1.0 / (1.0 + (-v).exp())),
            }
        }
    }

    /// The loss, and the cotangent of the network's output.
    fn loss(&mut self) -> f32 {
        let last = self.values.len() - 1;
        let scale = self.scale;
        // A sum in float64: in float32 it would be wrong in the third digit
        // for a batch of this size, and it costs nothing here.
        let mut total = 0.0f64;
        let zip = Zip::from(&mut self.cotangents[last])
            .and(&self.values[last])
            .and(&self.target);
        match self.loss {
            Loss::Bce => zip.for_each(|g, &p, &y| {
                let (log_p, log_q) = (p.ln().max(-100.0), (-p).ln_1p().max(-100.0));
                total -= f64::from(y * log_p + (1.0 - y) * log_q);
                *g = scale * (p - y) / (p * (1.0 - p)).max(1e-12);
            }),
            Loss::BceWithLogits => zip.for_each(|g, &x, &y| {
                let e = (-x.abs()).exp();
                total += f64::from(x.max(0.0) - x * y + e.ln_1p());
                let s = if x >= 0.0 {
                    1.0 / (1.0 + e)
                } else {
                    e / (1.0 + e)
                };
                *g = scale * (s - y);
            }),
            Loss::Mse => zip.for_each(|g, &a, &y| {
                total += f64::from((a - y) * (a - y));
                *g = scale * 2.0 * (a - y);
            }),
        }
        (total * f64::from(scale)) as f32
    }

    fn backward(&mut self) {
        let mut at = self.values.len() - 1;
        for layer in self.layers.iter_mut().rev() {
            let value = &self.values[at];
            let (before, after) = self.cotangents.split_at_mut(at);
            let g = &mut after[0];
            match layer {
                Layer::Linear(linear) => {
                    let x = &self.values[at - 1];
                    general_mat_mul(1.0, &g.t(), x, 0.0, &mut linear.weight_gradient);
                    if linear.bias.is_some() {
                        linear.bias_gradient.fill(0.0);
                        for row in g.rows() {
                            linear.bias_gradient += &row;
                        }
                    }
                    // Nobody asks for the gradient of the batch.
                    if at > 1 {
                        general_mat_mul(1.0, g, &linear.weight, 0.0, &mut before[at - 1]);
                    }
                    at -= 1;
                }
                Layer::Copy => {
                    if at > 1 {
                        before[at - 1].assign(g);
                    }
                    at -= 1;
                }
                Layer::ReLU => Zip::from(g).and(value).for_each(|g, &h| {
                    if h <= 0.0 {
                        *g = 0.0;
                    }
                }),
                Layer::Sigmoid => Zip::from(g)
                    .and(value)
                    .for_each(|g, &s| *g *= s * (1.0 - s)),
            }
        }
    }

    /// The gradient of the parameter with this key, after a step.
    pub fn gradient(&self, key: &str) -> Option<Vec<f32>> {
        self.layers.iter().find_map(|layer| {
            let Layer::Linear(linear) = layer else {
                return None;
            };
            let name = match linear.key.as_str() {
                "" => key,
                own => key.strip_prefix(own)?.strip_prefix('.')?,
            };
            match name {
                "weight" => Some(linear.weight_gradient.iter().copied().collect()),
                "bias" => Some(linear.bias_gradient.to_vec()),
                _ => None,
            }
        })
    }
}
