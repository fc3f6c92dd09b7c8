//! Networks: from the text that people have at hand to a graph, with PyTorch's
//! names, losses and initial weights.

mod args;
mod init;
mod layer;
mod loss;
mod source;
mod text;
mod token;

use std::collections::BTreeMap;
use std::fmt;

pub use layer::{LAYERS, Layer, Parameter};
pub use loss::{Loss, Reduction};

use crate::error::{Error, Result};
use crate::graph::{Graph, NodeId};
use crate::tensor::Tensor;
use args::Bound;
use source::Source;

/// A network: layers applied one after the other.
#[derive(Clone)]
pub struct Network {
    layers: Vec<Placed>,
}

/// A layer of a network.
#[derive(Clone)]
struct Placed {
    layer: &'static Layer,
    args: Vec<Bound>,
    /// The prefix of its parameters in the state dict; empty for a layer that
    /// stands alone.
    key: String,
}

/// A network in a graph.
#[derive(Clone, Debug)]
pub struct Built {
    /// The nodes of the parameters with their state-dict keys.
    pub parameters: Vec<(String, NodeId)>,
    /// The layers in order.
    pub layers: Vec<BuiltLayer>,
    /// The output of the last layer.
    pub output: NodeId,
}

/// A layer in a graph.
#[derive(Clone, Debug)]
pub struct BuiltLayer {
    /// Its key and kind, which is the label of its node: `0 (Linear)`.
    pub title: String,
    /// Its output.
    pub node: NodeId,
}

impl Network {
    /// Reads a network: PyTorch code, or what `print(model)` shows.
    ///
    /// ```
    /// let net = wgrad::nn::Network::parse("nn.Sequential(nn.Linear(4, 2), nn.ReLU())")?;
    /// assert_eq!(net.to_string(), "Sequential(Linear(4, 2), ReLU())");
    /// # Ok::<(), wgrad::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::Text`], pointing at the place: text that does not parse, an
    /// unknown layer or argument.
    pub fn parse(text: &str) -> Result<Network> {
        let source = Source {
            what: "network",
            text,
        };
        let mut layers = Vec::new();
        for spec in text::parse_network(text)?.layers {
            let layer = layer::find(source, &spec)?;
            layers.push(Placed {
                layer,
                args: args::bind(source, layer.name, spec.place, &spec.args, layer.arguments)?,
                key: spec.key,
            });
        }
        Ok(Network { layers })
    }

    /// Every parameter with its state-dict key, in the state dict's order.
    pub fn parameters(&self) -> Vec<(String, Parameter)> {
        let of = |placed: &Placed| -> Vec<(String, Parameter)> {
            let list = (placed.layer.parameters)(&placed.args).into_iter();
            list.map(|p| (join(&placed.key, p.name), p)).collect()
        };
        self.layers.iter().flat_map(of).collect()
    }

    /// The weights that PyTorch gives the network after
    /// `torch.manual_seed(seed)`, bit for bit.
    ///
    /// # Errors
    /// A parameter with more elements than a tensor may have.
    pub fn init(&self, seed: u64) -> Result<BTreeMap<String, Tensor>> {
        let mut generator = init::Generator::new(seed);
        let mut weights = BTreeMap::new();
        for (key, parameter) in self.parameters() {
            let count = crate::shape::Shape::new(&parameter.shape)?.numel();
            let data = generator.uniform(parameter.fan_in, count);
            weights.insert(key, Tensor::new(&parameter.shape, data)?);
        }
        Ok(weights)
    }

    /// Holds weights against the network's parameters.
    ///
    /// # Errors
    /// Missing, superfluous or misshapen ones, all named.
    pub fn check_weights(&self, weights: &BTreeMap<String, Tensor>) -> Result<()> {
        let wanted = self.parameters();
        let list = |keys: Vec<&str>| -> String {
            let more = keys.len().saturating_sub(8);
            let mut text = keys[..keys.len() - more].join(", ");
            if more > 0 {
                text.push_str(&format!(" and {more} more"));
            }
            text
        };
        let have = || list(weights.keys().map(String::as_str).collect());
        let missing: Vec<&str> = wanted
            .iter()
            .map(|(key, _)| key.as_str())
            .filter(|key| !weights.contains_key(*key))
            .collect();
        if !missing.is_empty() {
            return Err(Error::Graph(format!(
                "no weights for {}; there are {}; do the network and the file belong together \
                 (bias=False)?",
                list(missing),
                have()
            )));
        }
        for (key, parameter) in &wanted {
            let shape = weights.get(key).map_or(&[][..], Tensor::dims);
            if shape != parameter.shape {
                return Err(Error::Graph(format!(
                    "`{key}` must have shape {:?}, the weights given have {shape:?}",
                    parameter.shape
                )));
            }
        }
        let extra: Vec<&str> = weights
            .keys()
            .map(String::as_str)
            .filter(|key| wanted.iter().all(|(k, _)| k != key))
            .collect();
        if !extra.is_empty() {
            return Err(Error::Graph(format!(
                "the network has no parameter for {}; it has {}",
                list(extra),
                list(wanted.iter().map(|(k, _)| k.as_str()).collect())
            )));
        }
        Ok(())
    }

    /// Builds the network on `x`: a parameter for each key, and a node labelled
    /// `0 (Linear)` for each layer.
    ///
    /// # Errors
    /// Shapes that do not fit, naming the layer.
    pub fn build(&self, g: &mut Graph, x: NodeId) -> Result<Built> {
        let mut parameters = Vec::new();
        let mut layers = Vec::with_capacity(self.layers.len());
        let mut at = x;
        for placed in &self.layers {
            let mut own = Vec::new();
            for p in (placed.layer.parameters)(&placed.args) {
                let key = join(&placed.key, p.name);
                let node = g.parameter(&key, &p.shape)?;
                own.push(node);
                parameters.push((key, node));
            }
            let title = if placed.key.is_empty() {
                placed.layer.name.to_string()
            } else {
                format!("{} ({})", placed.key, placed.layer.name)
            };
            let node = (placed.layer.build)(g, at, &own).map_err(|e| match e {
                Error::Shape(mut shape) => {
                    shape.node = Some(title.clone());
                    Error::Shape(shape)
                }
                other => other,
            })?;
            // A layer that is the identity has no node of its own to name.
            if node != at {
                g.name(node, &title)?;
            }
            layers.push(BuiltLayer { title, node });
            at = node;
        }
        Ok(Built {
            parameters,
            layers,
            output: at,
        })
    }
}

fn join(key: &str, name: &str) -> String {
    if key.is_empty() {
        name.to_string()
    } else {
        format!("{key}.{name}")
    }
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let one = |placed: &Placed| {
            let arguments = args::show(placed.layer.arguments, &placed.args);
            format!("{}({arguments})", placed.layer.name)
        };
        if let [only] = &self.layers[..]
            && only.key.is_empty()
        {
            return write!(f, "{}", one(only));
        }
        // Names that are not the places in order are shown as print() shows
        // them; dots come from nesting, which is flattened here.
        let plain = self
            .layers
            .iter()
            .enumerate()
            .all(|(i, l)| l.key == i.to_string());
        let parts: Vec<_> = self
            .layers
            .iter()
            .map(|l| {
                if plain {
                    one(l)
                } else {
                    format!("({}): {}", l.key, one(l))
                }
            })
            .collect();
        write!(f, "Sequential({})", parts.join(", "))
    }
}

impl fmt::Debug for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;

    /// Every stack and seed of the truth file: keys `seed<S>.<layer>.weight`,
    /// layer numbers as with an activation between the layers.
    #[test]
    fn initial_weights_are_pytorchs_bit_for_bit() {
        let path =
            Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/init/linear_init.safetensors");
        let file = crate::io::read(&path).unwrap();
        let mut stacks: BTreeMap<u64, BTreeMap<String, Tensor>> = BTreeMap::new();
        for stored in &file.tensors {
            let (seed, key) = stored.key.split_once('.').unwrap();
            let seed = seed.strip_prefix("seed").unwrap().parse().unwrap();
            let tensor = stored.to_tensor().unwrap().tensor;
            stacks
                .entry(seed)
                .or_default()
                .insert(key.to_string(), tensor);
        }
        assert!(stacks.len() >= 2, "{stacks:?}");
        for (seed, truth) in stacks {
            let mut layers = Vec::new();
            let last = truth
                .keys()
                .filter_map(|k| k.split('.').next()?.parse().ok())
                .max();
            for i in 0..=last.unwrap_or(0) {
                layers.push(match truth.get(&format!("{i}.weight")) {
                    Some(w) => {
                        let bias = if truth.contains_key(&format!("{i}.bias")) {
                            "True"
                        } else {
                            "False"
                        };
                        format!("Linear({}, {}, bias={bias})", w.dims()[1], w.dims()[0])
                    }
                    None => "ReLU()".to_string(),
                });
            }
            let text = format!("Sequential({})", layers.join(", "));
            let got = Network::parse(&text).unwrap().init(seed).unwrap();
            assert_eq!(
                got.keys().collect::<Vec<_>>(),
                truth.keys().collect::<Vec<_>>()
            );
            for (key, want) in &truth {
                let bits = |t: &Tensor| t.data().iter().map(|v| v.to_bits()).collect::<Vec<_>>();
                assert_eq!(bits(&got[key]), bits(want), "seed {seed}, {key}");
            }
        }
    }

    #[test]
    fn networks_are_shown_as_they_are_read() {
        for (text, shown) in [
            ("nn.Linear(4, 2)", "Linear(4, 2)"),
            (
                "Sequential(Linear(4, 2, bias=False), nn.ReLU(inplace=True), Sigmoid())",
                "Sequential(Linear(4, 2, bias=False), ReLU(inplace=True), Sigmoid())",
            ),
            (
                "Sequential((fc1): Linear(in_features=4, out_features=2, bias=True)\n(act): ReLU())",
                "Sequential((fc1): Linear(4, 2), (act): ReLU())",
            ),
        ] {
            let net = Network::parse(text).unwrap();
            assert_eq!(net.to_string(), shown);
            assert_eq!(Network::parse(shown).unwrap().to_string(), shown);
        }
    }

    #[test]
    fn what_is_wrong_is_named() {
        for (text, part) in [
            (
                "Sequential(Linear(4, 2), Relu())",
                "did you mean `ReLU`? known are Linear, ReLU",
            ),
            ("Linear(4)", "Linear needs `out_features`"),
            ("Linear(4, 2, 3)", "`bias` must be True or False, found 3"),
            ("Linear(4, 2, True, 1)", "Linear takes 3 arguments"),
            (
                "Linear(0, 2)",
                "`in_features` must be a whole number from 1",
            ),
            ("Linear(4.0, 2)", "found 4.0"),
            (
                "Linear(4, 2, in_features=4)",
                "`in_features` is given twice",
            ),
            ("Linear(in_features=4, 2)", "by position follows"),
            ("Linear(4, out=2)", "has no argument `out`"),
            ("Sigmoid(3)", "takes no arguments"),
        ] {
            let error = Network::parse(text).unwrap_err().to_string();
            assert!(error.contains(part), "{text}: {error}");
        }
    }

    #[test]
    fn shapes_that_do_not_fit_name_the_layer() {
        let mut g = Graph::new();
        let x = g.input("x", &[1, 4]).unwrap();
        let net = Network::parse("Sequential(Linear(4, 2), ReLU(), Linear(3, 1))").unwrap();
        let error = net.build(&mut g, x).unwrap_err().to_string();
        assert!(
            error.contains("2 (Linear)") && error.contains("takes 3"),
            "{error}"
        );
    }

    #[test]
    fn weights_are_held_against_the_network() {
        let net = Network::parse("Sequential(Linear(4, 2), ReLU())").unwrap();
        let good = net.init(0).unwrap();
        net.check_weights(&good).unwrap();
        let mut bad = good.clone();
        bad.remove("0.bias");
        let error = net.check_weights(&bad).unwrap_err().to_string();
        assert!(
            error.contains("0.bias") && error.contains("there are 0.weight"),
            "{error}"
        );
        let mut bad = good.clone();
        bad.insert("1.weight".to_string(), Tensor::scalar(0.0));
        let error = net.check_weights(&bad).unwrap_err().to_string();
        assert!(error.contains("no parameter for 1.weight"), "{error}");
        let mut bad = good;
        bad.insert("0.bias".to_string(), Tensor::scalar(0.0));
        let error = net.check_weights(&bad).unwrap_err().to_string();
        assert!(error.contains("must have shape [2]"), "{error}");
    }
}
