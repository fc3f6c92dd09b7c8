//! The layers: one row each, with all that is known of it. To add one, add its
//! row to [`LAYERS`].

use super::args::{Argument, Bound, Kind};
use super::source::{Source, suggestion};
use super::text::LayerSpec;
use crate::error::Result;
use crate::graph::{Graph, NodeId};

/// A parameter of a layer.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Parameter {
    /// Its name in the state dict, after the layer's key: `weight`.
    pub name: &'static str,
    /// Its shape.
    pub shape: Vec<usize>,
    /// The number of inputs of a unit: PyTorch draws the initial values from
    /// +-1 / sqrt(fan_in).
    pub fan_in: usize,
}

/// All about one kind of layer.
pub struct Layer {
    /// Its name, as PyTorch's.
    pub name: &'static str,
    /// Its arguments.
    pub arguments: &'static [Argument],
    /// Its parameters, in the order of the state dict.
    pub parameters: fn(&[Bound]) -> Vec<Parameter>,
    /// Builds it on `x`, given the nodes of its parameters in their order.
    pub build: fn(&mut Graph, NodeId, &[NodeId]) -> Result<NodeId>,
}

/// Every layer.
pub static LAYERS: &[Layer] = &[
    Layer {
        name: "Linear",
        arguments: &[
            Argument {
                name: "in_features",
                kind: Kind::Size,
            },
            Argument {
                name: "out_features",
                kind: Kind::Size,
            },
            Argument {
                name: "bias",
                kind: Kind::Flag(true),
            },
        ],
        parameters: |args| match *args {
            [Bound::Size(fan_in), Bound::Size(out), Bound::Flag(bias)] => {
                let weight = Parameter {
                    name: "weight",
                    shape: vec![out, fan_in],
                    fan_in,
                };
                let bias = bias.then(|| Parameter {
                    name: "bias",
                    shape: vec![out],
                    fan_in,
                });
                [Some(weight), bias].into_iter().flatten().collect()
            }
            _ => Vec::new(),
        },
        build: |g, x, parameters| match *parameters {
            [weight] => g.linear(x, weight, None),
            [weight, bias, ..] => g.linear(x, weight, Some(bias)),
            [] => Ok(x),
        },
    },
    Layer {
        name: "ReLU",
        arguments: &[Argument {
            name: "inplace",
            kind: Kind::Flag(false),
        }],
        parameters: |_| Vec::new(),
        build: |g, x, _| g.relu(x),
    },
    Layer {
        name: "Sigmoid",
        arguments: &[],
        parameters: |_| Vec::new(),
        build: |g, x, _| g.sigmoid(x),
    },
];

/// The row of a layer that was written.
///
/// # Errors
/// [`Error::Text`](crate::Error::Text), listing the layers that there are.
pub fn find(source: Source<'_>, spec: &LayerSpec) -> Result<&'static Layer> {
    LAYERS.iter().find(|l| l.name == spec.kind).ok_or_else(|| {
        let names: Vec<_> = LAYERS.iter().map(|l| l.name).collect();
        let near = suggestion(&spec.kind, names.iter().copied());
        let message = format!("unknown layer {}", super::source::quoted(&spec.kind));
        source.error(
            spec.place,
            message,
            format!("{near}known are {}", names.join(", ")),
        )
    })
}
