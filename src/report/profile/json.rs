//! A profile as JSON: every figure, times in seconds.

use serde_json::{Value, json as make};

use super::{COUNTED, Rates, clock};
use crate::bench::Summary;
use crate::graph::Role;
use crate::profile::{Parts, Profile};
use crate::report::json::{adapter, precision};
use crate::run::gpu::{Task, Timing};

/// The whole of it. All times are null if the values are wrong.
pub fn json(profile: &Profile) -> Value {
    let peaks = &profile.roofline.peaks;
    let verdict = &profile.verdict;
    let places = 0..profile.items.len();
    let mut all = make!({
        "adapter": profile.adapter.name,
        "driver": profile.adapter.driver,
        "adapter_details": adapter(&profile.adapter),
        "wgrad": env!("CARGO_PKG_VERSION"),
        "counted": COUNTED,
        "net": profile.net,
        "network": profile.network,
        "loss": profile.loss,
        "batch": profile.batch,
        "timestamps": profile.stamped(),
        "clock": clock(profile),
        "peaks": {
            "copy_gbytes_per_s": peaks.copy_bytes_per_s / 1e9,
            "read_gbytes_per_s": peaks.read_bytes_per_s / 1e9,
            "multiply_add_gflops": peaks.flops_per_s / 1e9,
            "launch_s": profile.roofline.launch_s,
        },
        "correct": verdict.passed(),
        "wrong": verdict.wrong,
        "values_checked": verdict.values,
        "values_wrong": verdict.failures,
        "flops": profile.items.iter().map(|item| item.flops).sum::<u64>(),
        "steps": profile.steps.len(),
        "setup_s": profile.setup.iter().map(|lap| {
            make!({ "name": lap.name, "seconds": lap.end_s - lap.begin_s })
        }).collect::<Vec<_>>(),
        "step_s": step(profile),
        "step_without_stamps_s": plain(profile),
        "kernels": places.map(|i| one(profile, i)).collect::<Vec<_>>(),
    });
    if profile.precision.is_half() {
        all["precision"] = precision(profile.precision);
    }
    all
}

/// Medians of the parts of a step.
fn step(profile: &Profile) -> Option<Value> {
    if profile.steps.is_empty() {
        return None;
    }
    let median = |part: fn(&Parts) -> f64| profile.median(part);
    Some(make!({
        "whole": median(|p| p.whole),
        "encode": median(|p| p.encode),
        "submit": median(|p| p.submit),
        "wait": median(|p| p.wait),
        "readback": median(|p| p.readback),
        "gpu": median(|p| p.device),
        "gpu_kernels": median(|p| p.kernels),
        "gpu_image_copies": median(|p| p.images),
        "gpu_copy_of_outputs": median(|p| p.copy),
        "gpu_gaps": median(|p| p.gaps),
    }))
}

/// Medians of steps that are not traced.
fn plain(profile: &Profile) -> Option<Value> {
    let median = |of: fn(&Timing) -> Option<f64>| {
        let times: Option<Vec<f64>> = profile.plain.iter().map(of).collect();
        let times = times.filter(|t| !t.is_empty())?;
        Some(Summary::of(times, 0).median)
    };
    let whole = median(|t| Some(t.total_s()))?;
    Some(make!({ "whole": whole, "gpu": median(|t| t.gpu_s) }))
}

fn one(profile: &Profile, place: usize) -> Value {
    let item = &profile.items[place];
    let times = profile.times(place);
    let timed = (times.runs > 0).then_some(&times);
    let whole = profile.median(|p| p.whole);
    let rates = timed.and_then(|t| Rates::of(item, &profile.roofline, t.median));
    let rates = rates.as_ref();
    make!({
        "kind": match item.task {
            Task::Dispatch(_) => "kernel",
            Task::Image(_) => "image copy",
            Task::Readback => "copy of outputs",
        },
        "plan_step": match item.task {
            Task::Dispatch(step) => Some(step),
            _ => None,
        },
        "name": item.name,
        "op": item.op,
        "walk": match item.role {
            Role::Forward => "forward",
            Role::Backward => "backward",
        },
        "nodes": item.nodes,
        "kernel": item.kernel,
        "workgroups": item.workgroups,
        "flops": item.flops,
        "bytes": item.bytes,
        "time_s": timed.map(|t| make!({ "median": t.median, "p10": t.p10, "p90": t.p90 })),
        "share_of_step": timed.map(|t| t.median / whole),
        "gflops": rates.map(|r| r.flops_per_s / 1e9),
        "gbytes_per_s": rates.map(|r| r.bytes_per_s / 1e9),
        "gflops_share": rates.map(|r| r.flops_share),
        "gbytes_share": rates.map(|r| r.bytes_share),
        "bound": profile.roofline.bound(item).name(),
    })
}
