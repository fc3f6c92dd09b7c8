//! The steps as Chrome's Trace Event Format: an object with `traceEvents`, of which
//! those of phase `X` are complete (begin and duration, in microseconds) and those of
//! phase `M` give tracks their names. chrome://tracing and ui.perfetto.dev show it.

use serde_json::{Value, json as make};

use super::{COUNTED, Rates, clock};
use crate::graph::Role;
use crate::profile::{Item, Profile};
use crate::report::json::{adapter, precision};
use crate::run::gpu::{Phase, Task};

/// The one process.
const PROCESS: u32 = 1;
/// The track of the host.
const HOST: u32 = 1;
/// The track of the device.
const DEVICE: u32 = 2;

/// The document, an event a line.
pub fn trace(profile: &Profile) -> String {
    let mut events = names(profile);
    for lap in &profile.setup {
        let time = [lap.begin_s, lap.end_s];
        events.push(event(HOST, "setup", lap.name, time, make!({})));
    }
    for (i, step) in profile.steps.iter().enumerate() {
        let name = format!("step {}", i + 1);
        events.push(event(HOST, "step", &name, step.whole(), make!({})));
        for &(phase, begin, end) in &step.phases {
            events.push(event(HOST, "host", said(phase), [begin, end], make!({})));
        }
        events.push(event(DEVICE, "step", &name, step.device(), make!({})));
        for (item, &time) in profile.items.iter().zip(&step.spans) {
            let category = match item.task {
                Task::Dispatch(_) => "kernel",
                Task::Image(_) | Task::Readback => "copy",
            };
            let args = args(profile, item, i + 1, time);
            events.push(event(DEVICE, category, &item.name, time, args));
        }
    }
    let mut about = make!({
        "wgrad": env!("CARGO_PKG_VERSION"),
        "adapter": adapter(&profile.adapter),
        "network": profile.network,
        "loss": profile.loss,
        "batch": profile.batch,
        "clock": clock(profile),
        "counted": COUNTED,
    });
    if profile.precision.is_half() {
        about["precision"] = precision(profile.precision);
    }
    let lines: Vec<String> = events.iter().map(Value::to_string).collect();
    format!(
        "{{\"displayTimeUnit\":\"ns\",\"otherData\":{about},\"traceEvents\":[\n{}\n]}}\n",
        lines.join(",\n")
    )
}

/// The events that name the process and its tracks, and put these in order.
fn names(profile: &Profile) -> Vec<Value> {
    let title = format!(
        "wgrad: {}, batch {}, on {}",
        profile.net, profile.batch, profile.adapter.name
    );
    let device = match profile.stamped() {
        true => "GPU, by its timestamps",
        false => "GPU, by the host's clock",
    };
    let named = |kind: &str, track: u32, args: Value| {
        make!({
            "ph": "M", "name": kind, "pid": PROCESS, "tid": track, "ts": 0, "args": args,
        })
    };
    let track = |id: u32, name: &str| {
        [
            named("thread_name", id, make!({ "name": name })),
            named("thread_sort_index", id, make!({ "sort_index": id })),
        ]
    };
    let mut events = vec![named("process_name", 0, make!({ "name": title }))];
    events.extend(track(HOST, "host"));
    events.extend(track(DEVICE, device));
    events
}

fn said(phase: Phase) -> &'static str {
    match phase {
        Phase::Encode => "encode",
        Phase::Submit => "submit",
        Phase::Wait => "wait",
        Phase::Readback => "readback",
    }
}

/// A complete event. Whole nanoseconds, so that what lies inside another event does
/// so after rounding, too.
fn event(track: u32, category: &str, name: &str, time: [f64; 2], args: Value) -> Value {
    let [begin, end] = time.map(|s| (s * 1e9).round());
    make!({
        "ph": "X",
        "name": name,
        "cat": category,
        "pid": PROCESS,
        "tid": track,
        "ts": begin / 1e3,
        "dur": (end - begin).max(0.0) / 1e3,
        "args": args,
    })
}

fn args(profile: &Profile, item: &Item, step: usize, [begin, end]: [f64; 2]) -> Value {
    let rates = Rates::of(item, &profile.roofline, end - begin);
    let rates = rates.as_ref();
    let mut args = make!({
        "step": step,
        "op": item.op,
        "bytes": item.bytes,
        "gbytes_per_s": rates.map(|r| r.bytes_per_s / 1e9),
        "gbytes_share_of_peak": rates.map(|r| r.bytes_share),
        "bound": profile.roofline.bound(item).name(),
    });
    if let Task::Dispatch(place) = item.task {
        args["plan_step"] = make!(place);
        args["walk"] = make!(match item.role {
            Role::Forward => "forward",
            Role::Backward => "backward",
        });
        args["shapes"] = make!(item.nodes);
        args["kernel"] = make!(item.kernel);
        args["workgroups"] = make!(item.workgroups);
        args["flops"] = make!(item.flops);
        args["gflops"] = make!(rates.map(|r| r.flops_per_s / 1e9));
        args["gflops_share_of_peak"] = make!(rates.map(|r| r.flops_share));
    }
    args
}
