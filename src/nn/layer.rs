//! The layers, one row of a table each: the only place that knows a layer.
//! The reader, the printer, the initialisation, the check of weights and the
//! builder walk the table, so a new layer is a new row.

use super::args::{Args, Argument, Setting, Type};
use crate::error::Result;
use crate::graph::{Graph, NodeId};

/// A kind of layer: everything that is known about it.
pub struct Layer {
    /// PyTorch's name of it.
    pub name: &'static str,
    /// What it takes, in PyTorch's order.
    pub arguments: &'static [Argument],
    /// What it learns, in the order of PyTorch's state dict (and of the draws
    /// of its initialisation).
    pub parameters: fn(&Args) -> Vec<Parameter>,
    /// The sizes of the last axis of its input and output; `None` for a layer
    /// that takes any and keeps it.
    pub features: fn(&Args) -> Option<[usize; 2]>,
    /// Appends the layer to a graph: input, arguments, parameters in order.
    pub build: fn(&mut Graph, NodeId, &Args, &[NodeId]) -> Result<NodeId>,
}

impl std::fmt::Debug for Layer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name)
    }
}

/// A tensor that a layer learns.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Parameter {
    /// The last part of its key in a state dict: `weight`.
    pub name: &'static str,
    /// Its shape.
    pub dims: Vec<usize>,
    /// How many inputs an output has: the scale of its initial values.
    pub fan_in: usize,
}

/// Every layer.
pub static LAYERS: &[Layer] = &[
    // `x @ weightᵀ + bias`: [..., in_features] to [..., out_features].
    Layer {
        name: "Linear",
        arguments: &[
            Argument {
                name: "in_features",
                ty: Type::Size,
                default: None,
                by_name: false,
                shown: true,
            },
            Argument {
                name: "out_features",
                ty: Type::Size,
                default: None,
                by_name: false,
                shown: true,
            },
            Argument {
                name: "bias",
                ty: Type::Flag,
                default: Some(Setting::Flag(true)),
                by_name: false,
                shown: true,
            },
        ],
        parameters: |args| {
            let [fan_in, out] = [args.size(0), args.size(1)];
            let weight = Parameter {
                name: "weight",
                dims: vec![out, fan_in],
                fan_in,
            };
            let bias = Parameter {
                name: "bias",
                dims: vec![out],
                fan_in,
            };
            if args.flag(2) {
                vec![weight, bias]
            } else {
                vec![weight]
            }
        },
        features: |args| Some([args.size(0), args.size(1)]),
        build: |g, x, _, parameters| g.linear(x, parameters[0], parameters.get(1).copied()),
    },
    // `inplace` saves PyTorch a buffer; the values are the same.
    Layer {
        name: "ReLU",
        arguments: &[Argument {
            name: "inplace",
            ty: Type::Flag,
            default: Some(Setting::Flag(false)),
            by_name: false,
            shown: false,
        }],
        parameters: |_| Vec::new(),
        features: |_| None,
        build: |g, x, _, _| g.relu(x),
    },
    Layer {
        name: "Sigmoid",
        arguments: &[],
        parameters: |_| Vec::new(),
        features: |_| None,
        build: |g, x, _, _| g.sigmoid(x),
    },
    Layer {
        name: "Identity",
        arguments: &[],
        parameters: |_| Vec::new(),
        features: |_| None,
        build: |_, x, _, _| Ok(x),
    },
];

/// The layer of this name.
pub fn find(name: &str) -> Option<&'static Layer> {
    LAYERS.iter().find(|layer| layer.name == name)
}
