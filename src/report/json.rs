//! A report as JSON: the same as on the terminal, for scripts.

use serde_json::{Value, json};

use super::Report;
use crate::check::Comparison;
use crate::check::rounding::Rounding;
use crate::exercise::Match;
use crate::graph::{Precision, Role};
use crate::run::gpu::AdapterDescription;
use crate::solution::{Engine, Named};
use crate::tensor::Tensor;
use crate::trace::Finding;

/// Tensors up to this many elements are written whole, larger ones as a
/// summary: shape, first values, norm.
const WHOLE: usize = 10_000;
const FIRST: usize = 8;

/// An adapter with the limits that matter.
pub fn adapter(d: &AdapterDescription) -> Value {
    json!({
        "index": d.index,
        "name": d.name,
        "type": d.kind.to_string(),
        "backend": d.backend.to_string(),
        "driver": d.driver,
        "max_storage_buffer_binding_size": d.max_binding,
        "max_buffer_size": d.max_buffer,
        "max_compute_invocations_per_workgroup": d.max_invocations,
        "max_compute_workgroup_storage_size": d.workgroup_memory,
    })
}

/// The precision of products of matrices, where it is not float32.
pub(super) fn precision(precision: Precision) -> Value {
    json!({
        "matrix_products": precision.to_string(),
        "meaning": precision.describe(),
    })
}

/// What rounded products cost.
pub(super) fn of_rounding(rounding: &Rounding) -> Value {
    let mut all = precision(rounding.precision);
    all["products"] = json!(rounding.products);
    let gaps = rounding.gaps.iter().map(|gap| {
        json!({
            "value": gap.name,
            "largest_difference_from_exact": number(gap.difference),
            "share_of_largest_value": number(gap.share()),
        })
    });
    all["from_exact"] = gaps.collect();
    all["from_exact_unknown"] = json!(rounding.unknown);
    all
}

/// A number. NaN and infinities, for which JSON has none, become the strings
/// "nan", "inf" and "-inf".
fn number(value: f64) -> Value {
    if value.is_finite() {
        json!(value)
    } else if value.is_nan() {
        json!("nan")
    } else if value > 0.0 {
        json!("inf")
    } else {
        json!("-inf")
    }
}

/// Values, or their summary.
fn values<T: Copy + Into<f64>>(shape: &[usize], list: &[T]) -> Value {
    let each = |v: &T| number((*v).into());
    if list.len() <= WHOLE {
        return Value::Array(list.iter().map(each).collect());
    }
    let squares = list.iter().map(|&v| {
        let wide: f64 = v.into();
        wide * wide
    });
    let norm = number(squares.sum::<f64>().sqrt());
    json!({
        "shape": shape,
        "first": list[..FIRST].iter().map(each).collect::<Vec<_>>(),
        "norm": norm,
    })
}

pub(super) fn of_tensor(tensor: &Tensor) -> Value {
    values(tensor.dims(), tensor.data())
}

fn comparison(c: &Comparison) -> Value {
    let finite = |v: f64| {
        if v.is_finite() {
            json!(v)
        } else {
            json!("inf")
        }
    };
    json!({
        "elements": c.elements,
        "failures": c.failures,
        "unbounded": c.unbounded,
        "max_ulps": finite(c.max_ulps),
        "max_share_of_bound": finite(c.max_share),
    })
}

/// The first value that is not finite.
fn finding(f: &Finding) -> Value {
    let operands = f.operands.iter().map(|o| {
        let (index, value) = o.element.clone().unzip();
        json!({
            "label": o.label,
            "shape": o.shape.dims(),
            "index": index,
            "value": value.map(|v| number(v.into())),
            "largest": number(o.largest.into()),
        })
    });
    json!({
        "label": f.label,
        "op": f.op,
        "shape": f.shape.dims(),
        "nan": f.nan,
        "infinite": f.infinite,
        "index": f.index,
        "value": number(f.value.into()),
        "rule": f.rule,
        "numbers": f.numbers,
        "operands": operands.collect::<Vec<_>>(),
        "reaches": f.reaches,
        "reason": f.reason,
    })
}

/// The whole report.
pub fn report(report: &Report) -> Value {
    let solution = &report.solution;
    let engine = match &solution.engine {
        Engine::Gpu(d) => json!({ "kind": "gpu", "adapter": adapter(d) }),
        Engine::Reference => json!({ "kind": "cpu reference (float64)" }),
    };
    let leaves: Vec<_> = solution
        .leaves
        .iter()
        .map(|leaf| {
            json!({
                "label": leaf.label,
                "symbol": leaf.symbol,
                "shape": leaf.value.dims(),
                "values": of_tensor(&leaf.value),
            })
        })
        .collect();
    let steps: Vec<_> = solution
        .steps
        .iter()
        .map(|step| {
            let reference = step.reference.as_ref().map(|r| {
                let list: Vec<f64> = r.value.iter().copied().collect();
                values(r.value.shape(), &list)
            });
            json!({
                "label": step.label,
                "symbol": step.symbol,
                "op": step.op,
                "rule": step.rule,
                "role": match step.role { Role::Forward => "forward", Role::Backward => "backward" },
                "shape": step.value.dims(),
                "numbers": step.numbers,
                "values": of_tensor(&step.value),
                "reference": reference,
                "pytorch": report.pytorch_of(step).map(|v| values(step.value.dims(), v)),
                "end_to_end": step.comparison.as_ref().map(comparison),
                "this_step": step.local.as_ref().map(comparison),
            })
        })
        .collect();
    let mut named = serde_json::Map::new();
    for (name, place) in &solution.named {
        let value = match place {
            Named::Step(i) => json!({ "step": i }),
            Named::Given(tensor) => json!({ "values": of_tensor(tensor) }),
        };
        named.insert(name.clone(), value);
    }
    let sheet: Vec<_> = report
        .figures
        .iter()
        .map(|f| {
            json!({
                "figure": f.name,
                "index": f.index,
                "sheet": f.sheet,
                "engine": f.engine,
                "reference": f.reference,
                "ulps": f.ulps,
                "met": match f.met {
                    Match::Engine => "digit for digit",
                    Match::Reference => "digit for digit by the float64 reference",
                    Match::Bound => "within the float32 bound",
                    Match::No => "no",
                },
            })
        })
        .collect();
    let tally = report.tally();
    let (good, all) = tally.total();
    let mut whole = json!({
        "engine": engine,
        "network": solution.network,
        "loss": solution.loss,
        "split": solution.cut.as_ref().map(|cut| json!({
            "rows": cut.rows(),
            "sub_batches": cut.sizes.len(),
            "rows_of_each": cut.sizes.first(),
            "rows_of_last": cut.sizes.last(),
            "reason": cut.reason,
        })),
        "pytorch_version": report.pytorch_version,
        "leaves": leaves,
        "steps": steps,
        "named": named,
        "sheet": sheet,
        "warnings": solution.warnings,
        "summary": {
            // Nothing is known of values that were held against nothing.
            "passed": (all > 0).then(|| tally.passed()),
            "values": good,
            "of": all,
            "within_bound_of_reference": [tally.reference.0, tally.reference.1],
            "without_bound": tally.unbounded,
            "pytorch_float32_rule": [tally.pytorch.0, tally.pytorch.1],
            "sheet_figures": [tally.sheet.0, tally.sheet.1],
            "sheet_digit_for_digit": tally.sheet_digits,
        },
    });
    if let Some(rounding) = &solution.rounding {
        whole["precision"] = of_rounding(rounding);
    }
    if let Some(looked) = &report.nonfinite {
        whole["nonfinite"] = looked.as_ref().map_or(Value::Null, finding);
    }
    whole
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_json_has_no_number_for_is_a_word() {
        assert_eq!(
            values(&[2], &[0.5f32, f32::NAN]).to_string(),
            r#"[0.5,"nan"]"#
        );
        for (value, word) in [(f32::NAN, "nan"), (f32::NEG_INFINITY, "inf")] {
            let mut list = vec![0f32; WHOLE + 1];
            list[WHOLE] = value;
            assert_eq!(values(&[WHOLE + 1], &list)["norm"], word);
        }
    }
}
