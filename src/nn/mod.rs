//! From network text to graph: what PyTorch's users already have (code, or
//! what `print(model)` shows) becomes a checked [`Network`], which knows its
//! state-dict keys, draws PyTorch's initial weights, checks weights that come
//! from elsewhere, and builds itself into a [`Graph`]. Losses come from text
//! in the same way.
//!
//! ```
//! use wgrad::{Graph, nn::{Loss, Network}};
//!
//! let network = Network::parse("Sequential(Linear(4, 2, bias=False), ReLU(), Linear(2, 1), Sigmoid())")?;
//! let mut g = Graph::new();
//! let x = g.input("x", &[16, 4])?;
//! let y = g.input("y", &[16, 1])?;
//! let built = network.build(&mut g, x)?;
//! let loss = Loss::parse("BCELoss()")?.build(&mut g, built.output, y)?;
//! assert_eq!(built.layers[2].title, "2 (Linear)");
//! assert_eq!(g.find("2 (Linear)"), Some(built.layers[2].node));
//! assert_eq!(g.shape(loss)?.rank(), 0);
//! # Ok::<(), wgrad::Error>(())
//! ```

pub mod args;
mod init;
pub mod layer;
mod linear;
pub mod loss;
mod source;
pub mod text;
mod token;
mod weights;

use std::fmt;

use args::Args;
use layer::{LAYERS, Layer, Parameter};
pub use loss::{LOSSES, Loss, Reduction};
pub use source::Place;
use source::{Source, quoted, suggestion};

use crate::error::{Error, Result};
use crate::graph::{Graph, NodeId, Precision};
use crate::shape::Shape;

/// A checked network: layers applied one after the other.
///
/// `Display` writes it as PyTorch's `print(model)` does; that text parses back
/// to the same network.
#[derive(Clone, PartialEq, Debug)]
pub struct Network {
    parts: Vec<Part>,
    /// Of its products; that of the graph where nothing else was asked for.
    precision: Option<Precision>,
}

/// One layer of a network.
#[derive(Clone, Debug)]
pub struct Part {
    layer: &'static Layer,
    args: Args,
    key: String,
    title: String,
}

impl PartialEq for Part {
    fn eq(&self, other: &Part) -> bool {
        self.layer.name == other.layer.name && self.args == other.args && self.key == other.key
    }
}

impl Part {
    /// What kind of layer it is.
    pub fn layer(&self) -> &'static Layer {
        self.layer
    }

    /// Its arguments.
    pub fn args(&self) -> &Args {
        &self.args
    }

    /// The prefix of its keys in a state dict: `0`, `fc1`, `1.0`; empty for a
    /// layer that is the whole network.
    pub fn key(&self) -> &str {
        &self.key
    }

    /// How reports call it: `0 (Linear)`, `fc1 (Linear)`.
    pub fn title(&self) -> &str {
        &self.title
    }

    /// What it learns, with the full state-dict key of each.
    pub fn parameters(&self) -> Vec<(String, Parameter)> {
        (self.layer.parameters)(&self.args)
            .into_iter()
            .map(|parameter| {
                let key = if self.key.is_empty() {
                    parameter.name.to_string()
                } else {
                    format!("{}.{}", self.key, parameter.name)
                };
                (key, parameter)
            })
            .collect()
    }

    fn features(&self) -> Option<[usize; 2]> {
        (self.layer.features)(&self.args)
    }
}

impl fmt::Display for Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = args::printed(self.layer.name, self.layer.arguments, &self.args);
        f.write_str(&text)
    }
}

/// What [`Network::build`] added to a graph.
#[derive(Clone, Debug)]
pub struct Built {
    /// State-dict keys and the graph's parameters of the same names.
    pub parameters: Vec<(String, NodeId)>,
    /// The layers, in order.
    pub layers: Vec<BuiltLayer>,
    /// The output of the last layer.
    pub output: NodeId,
}

/// One layer in a graph.
#[derive(Clone, Debug)]
pub struct BuiltLayer {
    /// Its place among the layers, from 0.
    pub index: usize,
    /// The prefix of its state-dict keys.
    pub key: String,
    /// `0 (Linear)`: the label of its output's node, unless the layer adds no
    /// node (an `Identity`).
    pub title: String,
    /// Its output.
    pub node: NodeId,
}

impl Network {
    /// Reads a network: PyTorch code (`nn.Sequential(nn.Linear(4, 2), ...)`,
    /// prefixes, keywords, comments and an assignment allowed), what
    /// `print(model)` shows, one layer, or a list of layers with commas.
    ///
    /// State-dict keys are PyTorch's: `0.weight` in a `Sequential`, `fc1.weight`
    /// where layers have names, `1.0.weight` in nested ones, and `weight` for
    /// a single layer that stands alone.
    ///
    /// # Errors
    ///
    /// [`Error::Text`], showing the line and the place: text that does not
    /// parse, an unknown layer or argument, a value out of range, layers whose
    /// features do not fit, and anything beyond the limits in [`text`].
    pub fn parse(text: &str) -> Result<Network> {
        let spec = text::parse_network(text)?;
        let source = Source {
            what: "network",
            text,
        };
        let mut parts: Vec<Part> = Vec::with_capacity(spec.layers.len());
        // The layer that fixed the number of features, and that number.
        let mut width: Option<(String, usize)> = None;
        for spec in spec.layers {
            let known = || LAYERS.iter().map(|layer| layer.name);
            let Some(layer) = layer::find(&spec.kind) else {
                let all: Vec<_> = known().collect();
                let near = suggestion(&spec.kind, known());
                return Err(source.error(
                    spec.place,
                    format!("unknown layer {}", quoted(&spec.kind)),
                    format!("{near}the layers are {}, Sequential", all.join(", ")),
                ));
            };
            let args = args::bind(source, layer.name, layer.arguments, spec.place, &spec.args)?;
            let title = match spec.key.as_str() {
                "" => format!("0 ({})", layer.name),
                key => format!("{key} ({})", layer.name),
            };
            let part = Part {
                layer,
                args,
                key: spec.key,
                title,
            };
            for (_, parameter) in part.parameters() {
                if let Err(e) = Shape::new(&parameter.dims) {
                    let message = format!("the {} is too large: {}", parameter.name, e.reason);
                    return Err(source.error(spec.place, message, "make the layer smaller"));
                }
            }
            if let Some([takes, gives]) = part.features() {
                if let Some((before, given)) = &width
                    && *given != takes
                {
                    return Err(source.error(
                        spec.place,
                        format!(
                            "this {} takes {takes} features, but {before} gives {given}",
                            layer.name
                        ),
                        format!("give one of them the other's number, {given} or {takes}"),
                    ));
                }
                width = Some((part.title.clone(), gives));
            }
            parts.push(part);
        }
        Ok(Network {
            parts,
            precision: None,
        })
    }

    /// The same network with products of matrices of this precision, forward and in
    /// its gradients; all else is in float32. Its text does not say so.
    ///
    /// ```
    /// use wgrad::graph::{Graph, Precision};
    /// use wgrad::nn::Network;
    ///
    /// let network = Network::parse("Linear(4, 2, bias=False)")?.with_precision(Precision::F16);
    /// let mut g = Graph::new();
    /// let x = g.input("x", &[16, 4])?;
    /// let built = network.build(&mut g, x)?;
    /// let product = g.node(built.output)?.op().unwrap().to_string();
    /// assert_eq!(product, "matmul[transpose_b,f16]");
    /// # Ok::<(), wgrad::Error>(())
    /// ```
    #[must_use]
    pub fn with_precision(self, precision: Precision) -> Network {
        Network {
            precision: Some(precision),
            ..self
        }
    }

    /// The precision of its products of matrices, if it is not that of the graph it
    /// is built into.
    pub fn precision(&self) -> Option<Precision> {
        self.precision
    }

    /// The layers, in order.
    pub fn parts(&self) -> &[Part] {
        &self.parts
    }

    /// The state-dict keys and shapes of what the network learns, in the order
    /// of PyTorch's state dict.
    pub fn parameters(&self) -> Vec<(String, Shape)> {
        self.parts
            .iter()
            .flat_map(Part::parameters)
            .filter_map(|(key, parameter)| {
                // `parse` has checked every shape.
                Some((key, Shape::new(&parameter.dims).ok()?))
            })
            .collect()
    }

    /// The size that the input's last axis must have; `None` if any will do.
    pub fn in_features(&self) -> Option<usize> {
        let mut features = self.parts.iter().filter_map(Part::features);
        features.next().map(|[takes, _]| takes)
    }

    /// The size of the output's last axis; `None` if it is the input's.
    pub fn out_features(&self) -> Option<usize> {
        let mut features = self.parts.iter().rev().filter_map(Part::features);
        features.next().map(|[_, gives]| gives)
    }

    /// Appends the network to `g`, applied to `x` of shape
    /// `[..., in_features]`: a parameter for each state-dict key, with the key
    /// as its label, and each layer's output named by the layer's title.
    ///
    /// # Errors
    ///
    /// [`Error::Shape`], naming the layer, for an input that does not fit;
    /// [`Error::Graph`] if `g` has a node of one of these labels already.
    pub fn build(&self, g: &mut Graph, x: NodeId) -> Result<Built> {
        let precision = self.precision.unwrap_or(g.precision());
        g.in_precision(precision, |g| self.build_parts(g, x))
    }

    fn build_parts(&self, g: &mut Graph, x: NodeId) -> Result<Built> {
        let mut parameters = Vec::new();
        let mut layers = Vec::with_capacity(self.parts.len());
        let mut output = x;
        for (index, part) in self.parts.iter().enumerate() {
            let mut nodes = Vec::new();
            for (key, parameter) in part.parameters() {
                let node = g.parameter(&key, &parameter.dims)?;
                nodes.push(node);
                parameters.push((key, node));
            }
            let before = g.len();
            let node = (part.layer.build)(g, output, &part.args, &nodes).map_err(|e| match e {
                Error::Shape(mut e) => {
                    e.node = Some(part.title.clone());
                    Error::Shape(e)
                }
                e => e,
            })?;
            // A layer that adds nothing returns a node that has its name.
            if node.index() >= before {
                g.name(node, &part.title)?;
            }
            output = node;
            layers.push(BuiltLayer {
                index,
                key: part.key.clone(),
                title: part.title.clone(),
                node,
            });
        }
        Ok(Built {
            parameters,
            layers,
            output,
        })
    }
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let [only] = &self.parts[..]
            && only.key.is_empty()
        {
            return write!(f, "{only}");
        }
        writeln!(f, "Sequential(")?;
        // The Sequentials that are open inside the outer one.
        let mut open: Vec<&str> = Vec::new();
        let indent = |depth: usize| "  ".repeat(depth);
        for part in &self.parts {
            let mut path: Vec<&str> = part.key.split('.').collect();
            let name = path.pop().unwrap_or_default();
            let shared = open.iter().zip(&path).take_while(|(a, b)| a == b).count();
            while open.len() > shared {
                writeln!(f, "{})", indent(open.len()))?;
                open.pop();
            }
            for &outer in &path[shared..] {
                open.push(outer);
                writeln!(f, "{}({outer}): Sequential(", indent(open.len()))?;
            }
            writeln!(f, "{}({name}): {part}", indent(open.len() + 1))?;
        }
        for depth in (1..=open.len()).rev() {
            writeln!(f, "{})", indent(depth))?;
        }
        write!(f, ")")
    }
}

#[cfg(test)]
mod tests;
