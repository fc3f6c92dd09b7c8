//! The known mistakes, each as the wrong rule itself: what takes the place of an op
//! when the graph is evaluated. Where a rule does not apply, or is the right one, it
//! is `None`.

use ndarray::{Array2, ArrayD, Ix2, IxDyn};

use super::work::{Value, Work};
use crate::graph::{Kind, Node, Op, Role};
use crate::run::cpu::{self, RefValue};

/// A mistake that learners make.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Mistake {
    /// The gradient passes a ReLU whose input is not above 0.
    ReluMask,
    /// A weight is read the other way round.
    NotTransposed,
    /// The mean is taken for a sum.
    OneOverN,
    /// BCE without its minus.
    BceSign,
    /// The sigmoid's derivative is taken at its input, or at its output as if that
    /// were its input.
    SigmoidPoint,
    /// A value stands where its gradient should.
    ForwardValue,
    /// A product's operands are swapped.
    ProductOrder,
}

impl Mistake {
    /// All of them.
    pub const ALL: [Mistake; 7] = [
        Mistake::ReluMask,
        Mistake::NotTransposed,
        Mistake::OneOverN,
        Mistake::BceSign,
        Mistake::SigmoidPoint,
        Mistake::ForwardValue,
        Mistake::ProductOrder,
    ];

    /// Its name for programs.
    pub fn name(self) -> &'static str {
        match self {
            Mistake::ReluMask => "relu_mask_forgotten",
            Mistake::NotTransposed => "weight_not_transposed",
            Mistake::OneOverN => "mean_without_1_over_n",
            Mistake::BceSign => "bce_sign",
            Mistake::SigmoidPoint => "sigmoid_derivative_at_wrong_point",
            Mistake::ForwardValue => "forward_value_for_gradient",
            Mistake::ProductOrder => "product_in_wrong_order",
        }
    }

    /// What is wrong, and what would be right.
    pub fn words(self) -> &'static str {
        match self {
            Mistake::ReluMask => {
                "ReLU mask forgotten: where a ReLU's input is not above 0 the gradient is 0"
            }
            Mistake::NotTransposed => {
                "W not transposed: forward it is x @ Wᵀ, back it is the gradient @ W, W being \
                 [outputs, inputs]"
            }
            Mistake::OneOverN => "1/N forgotten: the loss is the mean over all N outputs",
            Mistake::BceSign => "BCE's sign: it is -(y log p + (1 - y) log(1 - p))",
            Mistake::SigmoidPoint => {
                "sigmoid's derivative at the wrong point: it is s(1 - s) of the sigmoid's own \
                 output s"
            }
            Mistake::ForwardValue => "forward value used in place of the gradient",
            Mistake::ProductOrder => {
                "product in the wrong order: dL/dW is (gradient)ᵀ @ input, of the shape of W"
            }
        }
    }
}

/// A node in the middle of an evaluation.
pub(super) struct Site<'a> {
    pub work: &'a Work,
    pub at: usize,
    pub node: &'a Node,
    pub op: &'a dyn Op,
    pub operands: Vec<&'a RefValue>,
    /// The values of all nodes before it.
    pub values: &'a [Value],
    /// Whether errors are carried on; else they are 0.
    pub bounded: bool,
}

impl Site<'_> {
    /// The right rule on these operands.
    pub fn apply(&self, operands: &[&RefValue]) -> RefValue {
        if self.bounded {
            return cpu::apply_bounded(self.op, operands);
        }
        let views: Vec<_> = operands.iter().map(|v| v.value.view()).collect();
        super::work::given(self.op.eval(&views), 0.0)
    }
}

/// One way to make a mistake.
pub(super) struct Slip {
    pub mistake: Mistake,
    pub rule: fn(&Site<'_>) -> Option<RefValue>,
}

/// Every way that is looked for, the likelier first.
pub(super) static SLIPS: [Slip; 11] = [
    Slip {
        mistake: Mistake::ReluMask,
        rule: no_mask,
    },
    Slip {
        mistake: Mistake::NotTransposed,
        rule: not_transposed,
    },
    Slip {
        mistake: Mistake::OneOverN,
        rule: no_mean,
    },
    Slip {
        mistake: Mistake::BceSign,
        rule: other_sign,
    },
    Slip {
        mistake: Mistake::SigmoidPoint,
        rule: slope_of_input,
    },
    Slip {
        mistake: Mistake::SigmoidPoint,
        rule: slope_twice,
    },
    Slip {
        mistake: Mistake::ForwardValue,
        rule: value_put_in,
    },
    Slip {
        mistake: Mistake::ForwardValue,
        rule: value_itself,
    },
    Slip {
        mistake: Mistake::ProductOrder,
        rule: swapped,
    },
    Slip {
        mistake: Mistake::NotTransposed,
        rule: reshaped,
    },
    Slip {
        mistake: Mistake::ProductOrder,
        rule: swapped_as_read,
    },
];

/// Without bounds of its own: a wrong rule is compared by its value alone.
fn plain(value: ArrayD<f64>) -> Option<RefValue> {
    Some(super::work::given(value, 0.0))
}

/// `op` on these operands in place of its own.
fn with(site: &Site<'_>, place: usize, other: &RefValue) -> RefValue {
    let mut operands = site.operands.clone();
    operands[place] = other;
    site.apply(&operands)
}

/// `relu_backward(g, x) = g`.
fn no_mask(site: &Site<'_>) -> Option<RefValue> {
    let [g, _] = site.operands[..] else {
        return None;
    };
    (site.op.name() == "relu_backward").then(|| g.clone())
}

/// The numbers of W written column by column into W's shape: the transpose of a square
/// W, and of another what one gets by reading its table the other way.
fn not_transposed(site: &Site<'_>) -> Option<RefValue> {
    let w = weight_read(site)?;
    let other = refilled(w.t().iter().copied(), w.dim())?;
    (other != w).then(|| with(site, 1, &super::work::given(other.into_dyn(), 0.0)))
}

/// For a program: the numbers of W, `[outputs, inputs]`, read as `[inputs, outputs]` and
/// turned. That is `W.reshape(inputs, outputs)` in place of `W.T`, or an index into the
/// flat list that counts the other way. A square W read so is its transpose.
fn reshaped(site: &Site<'_>) -> Option<RefValue> {
    let w = weight_read(site).filter(|w| site.work.for_program && !w.is_square())?;
    let (rows, columns) = w.dim();
    let read = refilled(w.iter().copied(), (columns, rows))?;
    let other = read.t().as_standard_layout().to_owned();
    (other != w).then(|| with(site, 1, &super::work::given(other.into_dyn(), 0.0)))
}

/// The weight that a product reads as its second operand.
fn weight_read(site: &Site<'_>) -> Option<Array2<f64>> {
    let weight = *site.node.inputs.get(1)?;
    let node = site.work.prepared.graph.node(weight).ok()?;
    match site.op.name() == "matmul" && matches!(node.kind, Kind::Parameter) {
        true => matrix(site.operands[1]),
        false => None,
    }
}

/// A mean without its division, forward; the factor 1/N left out, back.
fn no_mean(site: &Site<'_>) -> Option<RefValue> {
    let operand = *site.operands.first()?;
    match site.op.name() {
        "mean" if operand.value.len() > 1 => {
            let mean = site.apply(&site.operands);
            let n = operand.value.len() as f64 / mean.value.len() as f64;
            Some(RefValue {
                value: mean.value * n,
                error: mean.error * n,
            })
        }
        "scale" if site.node.role == Role::Backward => {
            // The cotangent of the loss itself, where the way back begins.
            let of = site.work.primal(site.node.inputs.first()?.index())?;
            let loss = site.work.prepared.loss_node.index();
            (of == loss).then(|| operand.clone())
        }
        _ => None,
    }
}

/// BCE, or its derivative, negated.
fn other_sign(site: &Site<'_>) -> Option<RefValue> {
    if !matches!(site.op.name(), "bce" | "bce_backward") {
        return None;
    }
    let right = site.apply(&site.operands);
    Some(RefValue {
        value: -right.value,
        error: right.error,
    })
}

/// `g z (1 - z)` with the sigmoid's input z in place of its output.
fn slope_of_input(site: &Site<'_>) -> Option<RefValue> {
    let [g, _] = site.operands[..] else {
        return None;
    };
    if site.op.name() != "sigmoid_backward" {
        return None;
    }
    let sigmoid = site.work.prepared.graph.node(site.node.inputs[1]).ok()?;
    let z = &site.values[sigmoid.inputs.first()?.index()].value;
    plain(&g.value * z * &z.mapv(|z| 1.0 - z))
}

/// `g sigmoid(s) (1 - sigmoid(s))`: the derivative at s, which is the output.
fn slope_twice(site: &Site<'_>) -> Option<RefValue> {
    let [g, s] = site.operands[..] else {
        return None;
    };
    let slope = |s: f64| {
        let p = 1.0 / (1.0 + (-s).exp());
        p * (1.0 - p)
    };
    match site.op.name() {
        "sigmoid_backward" => plain(&g.value * &s.value.mapv(slope)),
        _ => None,
    }
}

/// The right rule, with the value of a layer where its gradient should be.
fn value_put_in(site: &Site<'_>) -> Option<RefValue> {
    let gradient = site.node.inputs.first()?.index();
    let value = site.values.get(layer_of(site, gradient)?)?;
    (site.node.role == Role::Backward).then(|| with(site, 0, value))
}

/// The value of a layer given as its gradient.
fn value_itself(site: &Site<'_>) -> Option<RefValue> {
    let value = site.values.get(layer_of(site, site.at)?)?;
    Some(RefValue::clone(value))
}

/// The layer whose gradient a node is.
fn layer_of(site: &Site<'_>, gradient: usize) -> Option<usize> {
    let of = site.work.primal(gradient)?;
    let mut layers = site.work.prepared.layers.iter();
    layers.any(|(_, id)| id.index() == of).then_some(of)
}

/// `xᵀ @ g` for a weight's gradient `gᵀ @ x`: the numbers in the other order. For other
/// products `B @ A` for `A @ B`, where all are square and so no shape warns.
fn swapped(site: &Site<'_>) -> Option<RefValue> {
    if site.op.name() != "matmul" {
        return None;
    }
    let right = matrix(&site.apply(&site.operands))?;
    let (a, b) = (matrix(site.operands[0])?, matrix(site.operands[1])?);
    let settings = site.op.to_string();
    let a = match settings.contains("transpose_a") {
        true => a.t().to_owned(),
        false => a,
    };
    let b = match settings.contains("transpose_b") {
        true => b.t().to_owned(),
        false => b,
    };
    let of_weight = site.work.is_of_weight(site.at);
    let other = if of_weight {
        refilled(b.t().dot(&a.t()).iter().copied(), right.dim())?
    } else if a.is_square() && a.dim() == b.dim() {
        b.dot(&a)
    } else {
        return None;
    };
    (other != right || of_weight).then(|| plain(other.into_dyn()))?
}

/// For a program, of which single elements are asked: `xᵀ @ g` read at the index of
/// `gᵀ @ x`. NaN where the transpose has no such element.
fn swapped_as_read(site: &Site<'_>) -> Option<RefValue> {
    if site.op.name() != "matmul" || !(site.work.for_program && site.work.is_of_weight(site.at)) {
        return None;
    }
    let right = matrix(&site.apply(&site.operands))?;
    let (rows, columns) = right.dim();
    // Of a vector there is nothing to read the other way; of a square the transpose is
    // what `swapped` gives.
    if rows < 2 || columns < 2 || rows == columns {
        return None;
    }
    let read = |(i, j): (usize, usize)| right.get((j, i)).copied().unwrap_or(f64::NAN);
    plain(Array2::from_shape_fn((rows, columns), read).into_dyn())
}

fn matrix(value: &RefValue) -> Option<Array2<f64>> {
    value.value.clone().into_dimensionality::<Ix2>().ok()
}

/// The numbers in this order, in a shape that has room for them.
fn refilled(numbers: impl Iterator<Item = f64>, dim: (usize, usize)) -> Option<Array2<f64>> {
    let all = ArrayD::from_shape_vec(IxDyn(&[dim.0, dim.1]), numbers.collect()).ok()?;
    all.into_dimensionality::<Ix2>().ok()
}
