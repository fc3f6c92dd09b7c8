//! PyTorch's operators, by name, as compositions of our ops: what a case of
//! another project calls, and how it is built here. One row an operator.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::error::{Error, Result};
use crate::graph::{Graph, NodeId};
use crate::nn::Reduction;

/// An argument of a call.
#[derive(Clone, Debug)]
pub enum Argument {
    /// A tensor.
    Node(NodeId),
    /// A number, a string, a list, or nothing.
    Plain(Value),
}

/// The arguments of a call.
#[derive(Clone, Debug, Default)]
pub struct Arguments {
    /// In order.
    pub positional: Vec<Argument>,
    /// By keyword.
    pub named: BTreeMap<String, Argument>,
}

/// Builds a call in a graph.
pub type Operator = fn(&mut Graph, &Arguments) -> Result<NodeId>;

/// Every operator that cases may name, with its own keyword arguments: any
/// other one makes a case unsupported and is never dropped.
static OPERATORS: &[(&str, &[&str], Operator)] = &[
    ("matmul", &[], |g, a| g.matmul(a.node(0)?, a.node(1)?)),
    ("mm", &[], |g, a| g.matmul(a.node(0)?, a.node(1)?)),
    ("addmm", &["alpha", "beta"], addmm),
    ("nn.functional.linear", &[], linear),
    ("nn.functional.relu", &["inplace"], |g, a| {
        g.relu(a.node(0)?)
    }),
    ("sigmoid", &[], |g, a| g.sigmoid(a.node(0)?)),
    ("add", &["alpha"], |g, a| {
        let right = scaled(g, a.node(1)?, a.number("alpha")?)?;
        g.add(a.node(0)?, right)
    }),
    ("sub", &["alpha"], |g, a| {
        let right = scaled(g, a.node(1)?, a.number("alpha")?)?;
        g.sub(a.node(0)?, right)
    }),
    ("mul", &[], |g, a| g.mul(a.node(0)?, a.node(1)?)),
    ("neg", &[], |g, a| g.neg(a.node(0)?)),
    ("nn.functional.mse_loss", &["reduction"], |g, a| {
        let reduction = a.reduction()?;
        g.mse_loss(a.node(0)?, a.node(1)?, reduction)
    }),
    (
        "nn.functional.binary_cross_entropy",
        &["weight", "reduction"],
        |g, a| {
            let reduction = a.reduction()?;
            g.bce_loss(a.node(0)?, a.node(1)?, a.optional("weight")?, reduction)
        },
    ),
    (
        "nn.functional.binary_cross_entropy_with_logits",
        &["weight", "pos_weight", "reduction"],
        |g, a| {
            let (weight, pos_weight) = (a.optional("weight")?, a.optional("pos_weight")?);
            let reduction = a.reduction()?;
            g.bce_with_logits_loss(a.node(0)?, a.node(1)?, weight, pos_weight, reduction)
        },
    ),
];

/// The operator of a name.
///
/// # Errors
/// [`Error::Unsupported`] if there is none.
pub fn find(name: &str) -> Result<impl Fn(&mut Graph, &Arguments) -> Result<NodeId>> {
    let Some(&(_, known, build)) = OPERATORS.iter().find(|(n, _, _)| *n == name) else {
        return Err(Error::Unsupported(format!("no operator `{name}`")));
    };
    Ok(move |g: &mut Graph, arguments: &Arguments| {
        if let Some(extra) = arguments
            .named
            .keys()
            .find(|k| !known.contains(&k.as_str()))
        {
            return Err(Error::Unsupported(format!("argument `{extra}`")));
        }
        build(g, arguments)
    })
}

impl Arguments {
    /// The tensor at a place.
    fn node(&self, place: usize) -> Result<NodeId> {
        match self.positional.get(place) {
            Some(Argument::Node(id)) => Ok(*id),
            Some(Argument::Plain(value)) => Err(Error::Unsupported(format!(
                "argument {place} is {value}, not a tensor"
            ))),
            None => Err(Error::Unsupported(format!("argument {place} is missing"))),
        }
    }

    /// A tensor by keyword, or none.
    fn optional(&self, name: &str) -> Result<Option<NodeId>> {
        match self.named.get(name) {
            None | Some(Argument::Plain(Value::Null)) => Ok(None),
            Some(Argument::Node(id)) => Ok(Some(*id)),
            Some(Argument::Plain(value)) => Err(Error::Unsupported(format!(
                "argument `{name}` is {value}, not a tensor"
            ))),
        }
    }

    /// A number by keyword; 1 if it is not given.
    fn number(&self, name: &str) -> Result<f64> {
        match self.named.get(name) {
            None => Ok(1.0),
            Some(Argument::Plain(value)) if value.is_number() => Ok(value.as_f64().unwrap_or(1.0)),
            Some(other) => Err(Error::Unsupported(format!(
                "argument `{name}` is {other:?}, not a number"
            ))),
        }
    }

    fn reduction(&self) -> Result<Reduction> {
        let text = match self.named.get("reduction") {
            None => "mean",
            Some(Argument::Plain(Value::String(text))) => text.as_str(),
            Some(other) => return Err(Error::Unsupported(format!("reduction {other:?}"))),
        };
        match text {
            "mean" => Ok(Reduction::Mean),
            "sum" => Ok(Reduction::Sum),
            "none" => Ok(Reduction::None),
            other => Err(Error::Unsupported(format!("reduction `{other}`"))),
        }
    }
}

fn scaled(g: &mut Graph, x: NodeId, factor: f64) -> Result<NodeId> {
    if factor == 1.0 {
        Ok(x)
    } else {
        g.scale(x, factor)
    }
}

/// beta * bias + alpha * (a @ b)
fn addmm(g: &mut Graph, a: &Arguments) -> Result<NodeId> {
    let (bias, left, right) = (a.node(0)?, a.node(1)?, a.node(2)?);
    let product = g.matmul(left, right)?;
    let product = scaled(g, product, a.number("alpha")?)?;
    let bias = scaled(g, bias, a.number("beta")?)?;
    g.add(product, bias)
}

/// Also with a weight of rank 1, which makes the last axis disappear.
fn linear(g: &mut Graph, a: &Arguments) -> Result<NodeId> {
    let (x, weight) = (a.node(0)?, a.node(1)?);
    let bias = match a.positional.get(2) {
        Some(Argument::Node(id)) => Some(*id),
        _ => None,
    };
    if g.shape(weight)?.rank() == 1 {
        let product = g.matmul(x, weight)?;
        return match bias {
            Some(bias) => g.add(product, bias),
            None => Ok(product),
        };
    }
    g.linear(x, weight, bias)
}
