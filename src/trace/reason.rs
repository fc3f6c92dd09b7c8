//! Why a value is not finite, in words: what float64 arithmetic makes of the
//! same numbers says whether float32's range or the formula is at fault.

use ndarray::ArrayD;

use super::Operand;
use crate::graph::{Op, Values};
use crate::number;

/// What a person can do about a value that is too large.
const SCALE: &str = "scale the batch or the weights, or take smaller steps";

/// Of a value that was given.
pub(super) fn of_leaf(label: &str, index: &[usize]) -> String {
    let at = match index {
        [] => String::new(),
        [only] => format!(" at element {only}"),
        [row, column] => format!(" at row {row}, column {column}"),
        [row, rest @ ..] => format!(" at row {row}, element {rest:?} of it"),
    };
    format!(
        "`{label}` was given so{at} (counted from 0): no kernel made it; remove or replace that \
         value where it comes from"
    )
}

/// Of what an op computed from operands that are all finite.
pub(super) fn of_op(
    op: &dyn Op,
    values: &[Values<'_>],
    operands: &[Operand],
    index: &[usize],
) -> String {
    let wide: Vec<ArrayD<f64>> = values.iter().map(|v| v.mapv(f64::from)).collect();
    let eval = |wide: &[ArrayD<f64>]| {
        let views: Vec<_> = wide.iter().map(|v| v.view()).collect();
        op.eval(&views)
    };
    let at = |made: &ArrayD<f64>| made.get(index).copied().unwrap_or(f64::NAN);
    let made = eval(&wide);
    let exact = at(&made);
    if let Some(text) = of_bce(op.name(), operands, exact) {
        return text;
    }
    if op.name() == "mean" && values.iter().all(|v| v.is_empty()) {
        return "the mean of no values is NaN; give at least one row".to_string();
    }
    let most = f64::from(f32::MAX);
    let what = match op.name() {
        "matmul" => "a sum of products",
        "sum" | "mean" => "a sum",
        "mul" | "scale" => "a product",
        "mse" => "a square",
        _ => "the result",
    };
    if exact.is_nan() {
        return format!(
            "the formula has no value for these numbers (0 / 0, or an infinity less an infinity); \
             {SCALE}"
        );
    }
    if exact.abs() > most {
        return format!(
            "overflow: {what} passes float32's largest number, {}; it is {}; {SCALE}",
            number::show(f32::MAX),
            number::show_wide(exact)
        );
    }
    // Terms that cancel may pass the range on the way.
    let sizes: Vec<_> = wide.iter().map(|v| v.mapv(f64::abs)).collect();
    let sizes = at(&eval(&sizes));
    let terms = match (op.name(), values.first()) {
        // Divided only at the end.
        ("mean", Some(first)) => sizes * (first.len() / made.len().max(1)) as f64,
        _ => sizes,
    };
    if terms > most {
        return format!(
            "overflow on the way: {what} is {}, but parts of it pass float32's largest number, {}; \
             {SCALE}",
            number::show_wide(exact),
            number::show(f32::MAX)
        );
    }
    format!(
        "float64 arithmetic on the same numbers gives {}: this kernel or the driver is wrong; \
         `wgrad check` examines the adapter",
        number::show_wide(exact)
    )
}

/// Of BCELoss and its backward, whose logs and quotients have edges at 0 and 1.
fn of_bce(op: &str, operands: &[Operand], exact: f64) -> Option<String> {
    let p = match op {
        "bce" | "bce_logit" => operands.first(),
        "bce_backward" | "bce_slope" | "bce_slope_backward" => operands.get(1),
        _ => None,
    };
    let (at, p) = p?.element.as_ref()?;
    let fix = "use BCEWithLogitsLoss on what comes before the Sigmoid";
    if !(0.0..=1.0).contains(p) {
        return Some(format!(
            "BCELoss of what is no probability: p is {} at {at:?}, outside [0, 1]; end the network \
             with Sigmoid(), or use BCEWithLogitsLoss",
            number::show(*p)
        ));
    }
    let edge = match *p {
        0.0 => "log of 0",
        1.0 => "log(1 - p) of 1 - p = 0",
        _ => return None,
    };
    // The clamps of PyTorch keep it finite unless what it is multiplied with is huge.
    Some(format!(
        "{edge} in BCELoss: p is exactly {} at {at:?}, and the clamped value or its derivative (up \
         to 1e12) times the rest is {}; {fix}",
        number::show(*p),
        number::show_wide(exact)
    ))
}
