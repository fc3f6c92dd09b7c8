//! A benchmark as JSON: every figure, times in seconds.

use serde_json::{Value, json as make};

use crate::bench::{Results, Row, Summary};
use crate::report::json::{adapter, of_rounding};

/// The whole of it. What was not measured is null: all times of a row that is
/// wrong, and `gpu_s` where the adapter has no timestamps.
pub fn json(results: &Results) -> Value {
    let peaks = &results.peaks;
    make!({
        "adapter": results.adapter.name,
        "driver": results.adapter.driver,
        "adapter_details": adapter(&results.adapter),
        "wgrad": env!("CARGO_PKG_VERSION"),
        "counted": super::COUNTED,
        "peaks": {
            "copy_gbytes_per_s": peaks.copy_bytes_per_s / 1e9,
            "read_gbytes_per_s": peaks.read_bytes_per_s / 1e9,
            "multiply_add_gflops": peaks.flops_per_s / 1e9,
        },
        "results": results.rows.iter().map(|row| one(results, row)).collect::<Vec<_>>(),
    })
}

fn summary(s: &Summary) -> Value {
    make!({
        "median": s.median,
        "p10": s.p10,
        "p90": s.p90,
        "runs": s.runs,
        "warmups": s.warmups,
        "outliers": s.outliers,
    })
}

/// JSON has no infinity.
fn finite(value: f64) -> Value {
    match value.is_finite() {
        true => make!(value),
        false => make!("inf"),
    }
}

fn one(results: &Results, row: &Row) -> Value {
    let verdict = &row.verdict;
    let t = row.times.as_ref();
    let shares = results.shares(row);
    let mut all = make!({
        "net": row.net,
        "network": row.network,
        "loss": row.loss,
        "batch": row.batch,
        "replicas": row.replicas,
        "correct": verdict.passed(),
        "wrong": verdict.wrong,
        "values_checked": verdict.values,
        "values_wrong": verdict.failures,
        "values_without_bound": verdict.unbounded,
        "max_ulp": finite(verdict.max_ulps),
        "max_share_of_bound": finite(verdict.max_share),
        "step_s": t.map(|t| summary(&t.step)),
        "forward_s": t.map(|t| t.forward.median),
        "backward_s": t.map(|t| t.backward_s),
        "queued_step_s": t.and_then(|t| t.queued).map(|q| q.step_s),
        "queued_steps": t.and_then(|t| t.queued).map(|q| q.steps),
        "encode_s": t.map(|t| t.encode_s),
        "submit_s": t.map(|t| t.submit_s),
        "wait_s": t.map(|t| t.wait_s),
        "readback_s": t.map(|t| t.read_s),
        "gpu_s": t.and_then(|t| t.gpu_s),
        "cpu_f32_s": t.and_then(|t| t.cpu_f32).map(|s| summary(&s)),
        "first_step_s": row.first_step_s,
        "steps_per_s": row.steps_per_s(),
        "gradients": row.gradients,
        "gradients_per_s": row.gradients_per_s(),
        "flops": row.cost.flops,
        "bytes": row.cost.bytes,
        "gflops": row.flops_per_s().map(|r| r / 1e9),
        "gbytes_per_s": row.bytes_per_s().map(|r| r / 1e9),
        // The larger of the two: how close the step is to the nearer limit.
        "peak_share": shares.map(|s| s[0].max(s[1])),
        "gflops_share": shares.map(|s| s[0]),
        "gbytes_share": shares.map(|s| s[1]),
        "plan_bytes": row.plan_bytes,
        "dispatches": row.dispatches,
        "kernels": row.kernels,
    });
    if let Some(rounding) = &row.rounding {
        all["precision"] = of_rounding(rounding);
    }
    all
}
