//! The losses, one row of a table each, and their builders: PyTorch's weights
//! and reductions, composed from the elementwise ops. Also the checks of data
//! that PyTorch makes when a loss runs; on a GPU nothing could raise.

use super::args::{self, Args, Argument, Setting, Type};
use super::source::{Source, quoted, suggestion};
use super::text;
use crate::error::{Error, Result};
use crate::graph::{Graph, NodeId};
use crate::number;
use crate::tensor::Tensor;

/// How the losses of the elements become the loss.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Reduction {
    /// Their sum divided by their number (NaN for none): PyTorch's default.
    #[default]
    Mean,
    /// Their sum.
    Sum,
    /// Not at all: a loss for each element.
    None,
}

impl Reduction {
    const NAMES: &'static [&'static str] = &["mean", "sum", "none"];

    /// PyTorch's name of it.
    pub fn name(self) -> &'static str {
        match self {
            Reduction::Mean => "mean",
            Reduction::Sum => "sum",
            Reduction::None => "none",
        }
    }

    /// `name` is one of `NAMES`: the argument takes nothing else.
    fn of(name: &str) -> Reduction {
        match name {
            "sum" => Reduction::Sum,
            "none" => Reduction::None,
            _ => Reduction::Mean,
        }
    }
}

/// What values a loss can make sense of. NaN is never one.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Domain {
    /// Any number.
    Real,
    /// [0, 1]; PyTorch refuses others.
    Unit,
    /// [0, 1]; PyTorch computes with others, which is rarely meant.
    UnitAdvised,
}

/// A kind of loss: everything that is known about it.
pub struct LossRow {
    /// PyTorch's name of it.
    pub name: &'static str,
    /// What it takes. The first is the reduction.
    pub arguments: &'static [Argument],
    /// What its input may be.
    pub input: Domain,
    /// What its target may be.
    pub target: Domain,
    /// Appends the loss to a graph: output of the network, target, reduction.
    pub build: fn(&mut Graph, NodeId, NodeId, Reduction) -> Result<NodeId>,
}

impl std::fmt::Debug for LossRow {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name)
    }
}

// PyTorch puts `weight` and deprecated arguments before it.
static REDUCTION: [Argument; 1] = [Argument {
    name: "reduction",
    ty: Type::Choice(Reduction::NAMES),
    default: Some(Setting::Choice("mean")),
    by_name: true,
    shown: false,
}];

/// Every loss.
pub static LOSSES: &[LossRow] = &[
    LossRow {
        name: "BCELoss",
        arguments: &REDUCTION,
        input: Domain::Unit,
        target: Domain::Unit,
        build: |g, p, y, reduction| g.bce_loss(p, y, None, reduction),
    },
    LossRow {
        name: "BCEWithLogitsLoss",
        arguments: &REDUCTION,
        input: Domain::Real,
        target: Domain::UnitAdvised,
        build: |g, x, y, reduction| g.bce_with_logits_loss(x, y, None, None, reduction),
    },
    LossRow {
        name: "MSELoss",
        arguments: &REDUCTION,
        input: Domain::Real,
        target: Domain::Real,
        build: |g, a, y, reduction| g.mse_loss(a, y, reduction),
    },
];

/// A checked loss. `Display` writes it as PyTorch code, which parses back.
#[derive(Clone, Debug)]
pub struct Loss {
    row: &'static LossRow,
    args: Args,
}

impl PartialEq for Loss {
    fn eq(&self, other: &Loss) -> bool {
        self.row.name == other.row.name && self.args == other.args
    }
}

impl std::fmt::Display for Loss {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&args::printed(
            self.row.name,
            self.row.arguments,
            &self.args,
        ))
    }
}

impl Loss {
    /// Reads a loss: `BCELoss`, `nn.BCEWithLogitsLoss()`,
    /// `MSELoss(reduction='sum')`.
    ///
    /// # Errors
    ///
    /// [`Error::Text`], showing the line and the place.
    pub fn parse(text: &str) -> Result<Loss> {
        let source = Source { what: "loss", text };
        let (name, place, items) = text::parse_call(source)?;
        let known = || LOSSES.iter().map(|row| row.name);
        let Some(row) = LOSSES.iter().find(|row| row.name == name) else {
            let all: Vec<_> = known().collect();
            let near = suggestion(&name, known());
            return Err(source.error(
                place,
                format!("unknown loss {}", quoted(&name)),
                format!("{near}the losses are {}", all.join(", ")),
            ));
        };
        // Tensors cannot be written in text; the builders take them.
        for label in items.iter().filter_map(|item| item.label.as_ref()) {
            let takes = match row.name {
                "BCELoss" => label.name == "weight",
                "BCEWithLogitsLoss" => label.name == "weight" || label.name == "pos_weight",
                _ => false,
            };
            if takes {
                return Err(source.error(
                    label.place,
                    format!("`{}` is a tensor and cannot be given in text", label.name),
                    "build the loss in Rust: Graph::bce_loss, Graph::bce_with_logits_loss",
                ));
            }
        }
        let args = args::bind(source, row.name, row.arguments, place, &items)?;
        Ok(Loss { row, args })
    }

    /// What kind of loss it is.
    pub fn row(&self) -> &'static LossRow {
        self.row
    }

    /// How it reduces.
    pub fn reduction(&self) -> Reduction {
        Reduction::of(self.args.choice(0))
    }

    /// Appends the loss of `output` against `target` (of the same shape) to
    /// `g` as a node named `loss`: a scalar, or with `reduction='none'` a
    /// value for each element.
    ///
    /// # Errors
    ///
    /// [`Error::Shape`] for unequal shapes, [`Error::Graph`] if `g` has a node
    /// `loss` already.
    pub fn build(&self, g: &mut Graph, output: NodeId, target: NodeId) -> Result<NodeId> {
        let loss = (self.row.build)(g, output, target, self.reduction())?;
        g.name(loss, "loss")
    }

    /// Checks the values of a target, as PyTorch does when the loss runs.
    /// `Some` is a warning: PyTorch computes, but hardly what was meant.
    ///
    /// # Errors
    ///
    /// [`Error::Data`] for NaN, and for `BCELoss` for values outside [0, 1],
    /// with the place and value of the first and their number.
    pub fn check_target(&self, target: &Tensor) -> Result<Option<String>> {
        let fix = match self.row.target {
            Domain::Real => "",
            _ => "; targets are classes 0 and 1 or probabilities: scale or clip them",
        };
        self.check(target, "target", self.row.target, fix)
    }

    /// Checks the values that the network gives to the loss, as PyTorch does.
    /// NaN is an error for `BCELoss` only, else a warning.
    ///
    /// # Errors
    ///
    /// [`Error::Data`] for `BCELoss` for NaN and values outside [0, 1].
    pub fn check_input(&self, input: &Tensor) -> Result<Option<String>> {
        let fix = "; end the network with Sigmoid(), or use BCEWithLogitsLoss";
        match self.row.input {
            Domain::Unit => self.check(input, "input", Domain::Unit, fix),
            _ => Ok(self.bad(input, "input", "NaN", f32::is_nan)),
        }
    }

    fn check(
        &self,
        tensor: &Tensor,
        what: &str,
        domain: Domain,
        fix: &str,
    ) -> Result<Option<String>> {
        if let Some(text) = self.bad(tensor, what, "NaN", f32::is_nan) {
            let fix = "; find out where it comes from";
            return Err(Error::Data(format!("{text}{fix}")));
        }
        if domain == Domain::Real {
            return Ok(None);
        }
        let outside = |v: f32| !(0.0..=1.0).contains(&v);
        match self.bad(tensor, what, "outside [0, 1]", outside) {
            Some(text) if domain == Domain::Unit => Err(Error::Data(format!("{text}{fix}"))),
            Some(text) => Ok(Some(format!("{text}{fix}"))),
            None => Ok(None),
        }
    }

    /// What is bad about `tensor`, if anything is.
    fn bad(
        &self,
        tensor: &Tensor,
        what: &str,
        why: &str,
        is_bad: impl Fn(f32) -> bool,
    ) -> Option<String> {
        let first = tensor.data().iter().position(|&v| is_bad(v))?;
        let count = tensor.data().iter().filter(|&&v| is_bad(v)).count();
        let value = tensor.data()[first];
        let index: Vec<String> = tensor
            .shape()
            .strides()
            .iter()
            .zip(tensor.dims())
            .map(|(&stride, &size)| (first / stride % size).to_string())
            .collect();
        let value = if value.is_nan() {
            "NaN".to_string()
        } else {
            format!("{}, {why}", number::show(value))
        };
        let so = match (count, tensor.data().len()) {
            (1, 1) => String::new(),
            (1, all) => format!(" (the only one of {all} elements)"),
            (n, all) => format!(" (the first of {n}, among {all} elements)"),
        };
        Some(format!(
            "{}: the {what} at [{}] is {value}{so}",
            self.row.name,
            index.join(", ")
        ))
    }
}

impl Graph {
    /// PyTorch's `binary_cross_entropy` of probabilities `p` and targets `y`
    /// of the same shape. `weight`, which broadcasts to that shape, multiplies
    /// each element's loss before the reduction; the mean divides by the
    /// number of elements, whatever the weights.
    ///
    /// # Errors
    ///
    /// [`Error::Shape`] for unequal shapes or a weight that does not broadcast.
    pub fn bce_loss(
        &mut self,
        p: NodeId,
        y: NodeId,
        weight: Option<NodeId>,
        reduction: Reduction,
    ) -> Result<NodeId> {
        same_shape(self, "bce_loss", p, y)?;
        broadcasts(self, "bce_loss", "weight", weight, p)?;
        let each = self.bce(p, y)?;
        reduced(self, each, weight, reduction)
    }

    /// PyTorch's `binary_cross_entropy_with_logits` of logits `x` and targets
    /// `y` of the same shape. `weight` is as in [`Graph::bce_loss`];
    /// `pos_weight`, which broadcasts to the shape (usually one value for each
    /// class, the last axis), weights the positive part.
    ///
    /// # Errors
    ///
    /// [`Error::Shape`] for unequal shapes or weights that do not broadcast.
    pub fn bce_with_logits_loss(
        &mut self,
        x: NodeId,
        y: NodeId,
        weight: Option<NodeId>,
        pos_weight: Option<NodeId>,
        reduction: Reduction,
    ) -> Result<NodeId> {
        const OP: &str = "bce_with_logits_loss";
        same_shape(self, OP, x, y)?;
        broadcasts(self, OP, "weight", weight, x)?;
        broadcasts(self, OP, "pos_weight", pos_weight, x)?;
        let each = match pos_weight {
            Some(pos_weight) => self.bce_with_logits_weighted(x, y, pos_weight)?,
            None => self.bce_with_logits(x, y)?,
        };
        reduced(self, each, weight, reduction)
    }

    /// PyTorch's `mse_loss` of `a` and `y` of the same shape: `(a - y)^2`,
    /// reduced. (PyTorch broadcasts unequal shapes with a warning that this is
    /// likely wrong; here they are refused.)
    ///
    /// # Errors
    ///
    /// [`Error::Shape`] for unequal shapes.
    pub fn mse_loss(&mut self, a: NodeId, y: NodeId, reduction: Reduction) -> Result<NodeId> {
        same_shape(self, "mse_loss", a, y)?;
        let each = self.mse(a, y)?;
        reduced(self, each, None, reduction)
    }
}

fn reduced(
    g: &mut Graph,
    each: NodeId,
    weight: Option<NodeId>,
    reduction: Reduction,
) -> Result<NodeId> {
    let each = match weight {
        Some(weight) => g.mul(each, weight)?,
        None => each,
    };
    match reduction {
        Reduction::Mean => g.mean_all(each),
        Reduction::Sum => g.sum_all(each),
        Reduction::None => Ok(each),
    }
}

fn same_shape(g: &Graph, op: &str, input: NodeId, target: NodeId) -> Result<()> {
    let (a, b) = (g.operand(op, input)?, g.operand(op, target)?);
    if a == b {
        return Ok(());
    }
    let fix = if a.numel() == b.numel() {
        format!("reshape the target to {a}")
    } else {
        format!("give one target for each output, of shape {a}")
    };
    let reason = format!("the input has shape {a}, the target {b}; {fix}");
    Err(g.misfit(op, reason, input)?)
}

fn broadcasts(
    g: &Graph,
    op: &str,
    what: &str,
    weight: Option<NodeId>,
    input: NodeId,
) -> Result<()> {
    let Some(weight) = weight else {
        return Ok(());
    };
    let (own, shape) = (g.operand(op, weight)?, g.operand(op, input)?);
    if own.strides_as(shape).is_some() {
        return Ok(());
    }
    let reason = format!(
        "{what} of shape {own} does not broadcast to the input's shape {shape}; reshape it"
    );
    Err(g.misfit(op, reason, input)?)
}
