//! The losses: one row each, as PyTorch names them, and builders on `Graph`.

use std::fmt;

use super::args::{self, Argument, Bound, Kind};
use super::source::{Source, quoted, suggestion};
use super::text::parse_call;
use crate::error::{Error, Result, ShapeError};
use crate::graph::{Graph, NodeId};
use crate::tensor::Tensor;

/// How the losses of the elements become one.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Reduction {
    /// Their mean.
    Mean,
    /// Their sum.
    Sum,
    /// They stay as they are.
    None,
}

const REDUCTION: &[Argument] = &[Argument {
    name: "reduction",
    kind: Kind::Word(&["mean", "sum", "none"]),
}];

/// All about one loss.
struct Row {
    name: &'static str,
    build: fn(&mut Graph, NodeId, NodeId, Reduction) -> Result<NodeId>,
    /// Whether targets (and inputs) must be probabilities.
    probabilities: Need,
}

/// How a loss feels about targets outside [0, 1].
#[derive(Clone, Copy, PartialEq, Eq)]
enum Need {
    /// They are an error, as in PyTorch.
    Required,
    /// They are allowed and rarely meant.
    Expected,
    /// They are fine.
    No,
}

static LOSSES: &[Row] = &[
    Row {
        name: "BCELoss",
        build: |g, p, y, reduction| g.bce_loss(p, y, None, reduction),
        probabilities: Need::Required,
    },
    Row {
        name: "BCEWithLogitsLoss",
        build: |g, x, y, reduction| g.bce_with_logits_loss(x, y, None, None, reduction),
        probabilities: Need::Expected,
    },
    Row {
        name: "MSELoss",
        build: |g, a, y, reduction| g.mse_loss(a, y, reduction),
        probabilities: Need::No,
    },
];

/// A loss with its reduction.
#[derive(Clone, Copy)]
pub struct Loss {
    row: &'static Row,
    reduction: Reduction,
}

impl fmt::Display for Loss {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let word = match self.reduction {
            Reduction::Mean => "",
            Reduction::Sum => "reduction='sum'",
            Reduction::None => "reduction='none'",
        };
        write!(f, "{}({word})", self.row.name)
    }
}

impl fmt::Debug for Loss {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Loss {
    /// Reads a loss as PyTorch code writes it: `BCELoss`,
    /// `nn.MSELoss(reduction='sum')`.
    ///
    /// # Errors
    /// [`Error::Text`], pointing at the place.
    pub fn parse(text: &str) -> Result<Loss> {
        let source = Source { what: "loss", text };
        let (name, place, items) = parse_call(source)?;
        let row = LOSSES.iter().find(|row| row.name == name).ok_or_else(|| {
            let names: Vec<_> = LOSSES.iter().map(|row| row.name).collect();
            let near = suggestion(&name, names.iter().copied());
            let message = format!("unknown loss {}", quoted(&name));
            source.error(
                place,
                message,
                format!("{near}known are {}", names.join(", ")),
            )
        })?;
        let bound = args::bind(source, row.name, place, &items, REDUCTION)?;
        let reduction = match bound.first() {
            Some(Bound::Word("sum")) => Reduction::Sum,
            Some(Bound::Word("none")) => Reduction::None,
            _ => Reduction::Mean,
        };
        Ok(Loss { row, reduction })
    }

    /// PyTorch's name.
    pub fn name(&self) -> &'static str {
        self.row.name
    }

    /// Builds the loss of `output` against `target`, a node labelled `loss`.
    ///
    /// # Errors
    /// The shapes differ.
    pub fn build(&self, g: &mut Graph, output: NodeId, target: NodeId) -> Result<NodeId> {
        let loss = (self.row.build)(g, output, target, self.reduction)?;
        g.name(loss, "loss")
    }

    /// Checks the values of the targets; what is allowed and rarely meant comes
    /// back as a warning.
    ///
    /// # Errors
    /// [`Error::Data`]: NaN, or (BCELoss) a value outside [0, 1].
    pub fn check_target(&self, target: &Tensor) -> Result<Option<String>> {
        let data = target.data();
        let first = |bad: fn(f32) -> bool| data.iter().position(|v| bad(*v));
        if let Some(i) = first(f32::is_nan) {
            return Err(Error::Data(format!(
                "the target's element {i} is NaN; remove such rows"
            )));
        }
        let outside = |v: f32| !(0.0..=1.0).contains(&v);
        let (Some(i), false) = (first(outside), self.row.probabilities == Need::No) else {
            return Ok(None);
        };
        let count = data.iter().filter(|v| outside(**v)).count();
        let text = format!(
            "{count} of {} targets of {} are outside [0, 1] (the first: element {i} is {})",
            data.len(),
            self.row.name,
            data[i]
        );
        if self.row.probabilities == Need::Required {
            return Err(Error::Data(format!("{text}; scale them, or use MSELoss")));
        }
        Ok(Some(text))
    }
}

impl Graph {
    fn reduced(&mut self, losses: NodeId, reduction: Reduction) -> Result<NodeId> {
        match reduction {
            Reduction::Mean => self.mean_all(losses),
            Reduction::Sum => self.sum_all(losses),
            Reduction::None => Ok(losses),
        }
    }

    /// Refuses a target of another shape than the output.
    fn same_shape(&self, loss: &str, output: NodeId, target: NodeId) -> Result<()> {
        let (a, b) = (self.shape(output)?, self.shape(target)?);
        if a == b {
            return Ok(());
        }
        let hint = if a.numel() == b.numel() {
            "; reshape the target"
        } else {
            "; there must be a target for each output"
        };
        let reason = format!("the output has shape {a}, the target {b}{hint}");
        Err(ShapeError::new(loss, reason).into())
    }

    /// PyTorch's `BCELoss`: binary cross entropy of probabilities `p`, each
    /// element times `weight` (which broadcasts), reduced; the mean divides by
    /// the number of elements.
    ///
    /// # Errors
    /// `p` and `y` have different shapes.
    pub fn bce_loss(
        &mut self,
        p: NodeId,
        y: NodeId,
        weight: Option<NodeId>,
        reduction: Reduction,
    ) -> Result<NodeId> {
        self.same_shape("BCELoss", p, y)?;
        let mut losses = self.bce(p, y)?;
        if let Some(weight) = weight {
            losses = self.mul(losses, weight)?;
        }
        self.reduced(losses, reduction)
    }

    /// PyTorch's `BCEWithLogitsLoss`: binary cross entropy of logits `x`,
    /// positive examples times `pos_weight`, each element times `weight` (both
    /// broadcast), reduced.
    ///
    /// # Errors
    /// `x` and `y` have different shapes.
    pub fn bce_with_logits_loss(
        &mut self,
        x: NodeId,
        y: NodeId,
        weight: Option<NodeId>,
        pos_weight: Option<NodeId>,
        reduction: Reduction,
    ) -> Result<NodeId> {
        self.same_shape("BCEWithLogitsLoss", x, y)?;
        let mut losses = match pos_weight {
            Some(w) => self.bce_with_logits_weighted(x, y, w)?,
            None => self.bce_with_logits(x, y)?,
        };
        if let Some(weight) = weight {
            losses = self.mul(losses, weight)?;
        }
        self.reduced(losses, reduction)
    }

    /// PyTorch's `MSELoss`: squared error, reduced.
    ///
    /// # Errors
    /// `a` and `y` have different shapes (PyTorch broadcasts them and warns,
    /// since that is nearly always a mistake).
    pub fn mse_loss(&mut self, a: NodeId, y: NodeId, reduction: Reduction) -> Result<NodeId> {
        self.same_shape("MSELoss", a, y)?;
        let losses = self.mse(a, y)?;
        self.reduced(losses, reduction)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn losses_are_read_and_shown() {
        for (text, shown) in [
            ("BCELoss", "BCELoss()"),
            ("nn.BCELoss()", "BCELoss()"),
            (
                "torch.nn.MSELoss(reduction='sum')",
                "MSELoss(reduction='sum')",
            ),
            (
                "BCEWithLogitsLoss(\"none\")",
                "BCEWithLogitsLoss(reduction='none')",
            ),
        ] {
            let loss = Loss::parse(text).unwrap();
            assert_eq!(loss.to_string(), shown);
            assert_eq!(Loss::parse(shown).unwrap().to_string(), shown);
        }
        for (text, part) in [
            ("HingeLoss", "known are BCELoss, BCEWithLogitsLoss, MSELoss"),
            ("BCELos()", "did you mean `BCELoss`?"),
            ("MSELoss(reduction='average')", "'mean' or 'sum' or 'none'"),
            ("MSELoss(weight=2)", "has no argument `weight`"),
            ("", "empty"),
        ] {
            let error = Loss::parse(text).unwrap_err().to_string();
            assert!(error.contains(part), "{text}: {error}");
        }
    }

    #[test]
    fn targets_are_checked_as_pytorch_does() {
        let target = |v: &[f32]| Tensor::new(&[v.len()], v.to_vec()).unwrap();
        let bce = Loss::parse("BCELoss").unwrap();
        assert_eq!(bce.check_target(&target(&[0.0, 1.0, 0.5])).unwrap(), None);
        let error = bce
            .check_target(&target(&[0.0, 1.5, -1.0]))
            .unwrap_err()
            .to_string();
        assert!(
            error.contains("2 of 3") && error.contains("element 1 is 1.5"),
            "{error}"
        );
        let logits = Loss::parse("BCEWithLogitsLoss").unwrap();
        assert!(
            logits
                .check_target(&target(&[2.0]))
                .unwrap()
                .unwrap()
                .contains("[0, 1]")
        );
        let mse = Loss::parse("MSELoss").unwrap();
        assert_eq!(mse.check_target(&target(&[7.0])).unwrap(), None);
        for loss in [bce, logits, mse] {
            let error = loss.check_target(&target(&[f32::NAN])).unwrap_err();
            assert!(error.to_string().contains("NaN"));
        }
    }

    #[test]
    fn shapes_must_be_equal() {
        let mut g = Graph::new();
        let a = g.input("a", &[3, 1]).unwrap();
        let y = g.input("y", &[3]).unwrap();
        for name in ["BCELoss", "BCEWithLogitsLoss", "MSELoss"] {
            let error = Loss::parse(name)
                .unwrap()
                .build(&mut g, a, y)
                .unwrap_err()
                .to_string();
            assert!(
                error.contains("[3, 1]") && error.contains("reshape"),
                "{error}"
            );
        }
    }
}
