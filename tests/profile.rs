//! Traces of steps: events that a viewer understands, each kernel of each step among
//! them, and figures that can be derived by hand. With the adapter's timestamps and
//! without.

mod common;

use std::collections::{BTreeMap, HashSet};
use std::time::Instant;

use assert_cmd::Command;
use common::gpu;
use serde_json::Value;
use wgrad::graph::Target;
use wgrad::plan::{Plan, PlanOptions};
use wgrad::run::gpu::{Phase, Task};
use wgrad::{Graph, Tensor};

const NET: &str =
    "Sequential(Linear(784, 512), ReLU(), Linear(512, 256), ReLU(), Linear(256, 1), Sigmoid())";

/// What a command prints as JSON, and the trace that it writes.
struct Traced {
    figures: Value,
    trace: Value,
    told: String,
}

fn traced(options: &[&str]) -> Traced {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("t.json");
    let mut command = Command::cargo_bin("wgrad").unwrap();
    command
        .env("WGRAD_CACHE_DIR", "")
        .args(["trace", "--json", "-o"]);
    let output = command.arg(&file).args(options).output().unwrap();
    let told = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.success(), "{told}");
    Traced {
        figures: serde_json::from_slice(&output.stdout).unwrap(),
        trace: serde_json::from_slice(&std::fs::read(&file).unwrap()).unwrap(),
        told,
    }
}

/// An event of phase `X`, in whole nanoseconds.
struct Complete<'a> {
    event: &'a Value,
    begin: i64,
    end: i64,
}

impl<'a> Complete<'a> {
    fn of(event: &'a Value) -> Complete<'a> {
        let nanoseconds = |key: &str| (event[key].as_f64().unwrap() * 1e3).round() as i64;
        let (begin, duration) = (nanoseconds("ts"), nanoseconds("dur"));
        assert!(begin >= 0 && duration >= 0, "{event}");
        Complete {
            event,
            begin,
            end: begin + duration,
        }
    }

    fn is(&self, category: &str) -> bool {
        self.event["cat"] == category
    }

    fn name(&self) -> &str {
        self.event["name"].as_str().unwrap()
    }
}

/// The complete events by track, after a look at what every event must have.
fn tracks(trace: &Value) -> BTreeMap<u64, Vec<Complete<'_>>> {
    let mut named = HashSet::new();
    let mut tracks: BTreeMap<u64, Vec<Complete<'_>>> = BTreeMap::new();
    for event in trace["traceEvents"].as_array().unwrap() {
        assert!(event["name"].is_string() && event["pid"] == 1, "{event}");
        assert!(
            event["ts"].is_number() && event["args"].is_object(),
            "{event}"
        );
        let track = event["tid"].as_u64().unwrap();
        match event["ph"].as_str().unwrap() {
            "M" if event["name"] == "thread_name" => {
                assert!(event["args"]["name"].is_string());
                assert!(named.insert(track), "track {track} is named twice");
            }
            "M" => {}
            "X" => tracks.entry(track).or_default().push(Complete::of(event)),
            other => panic!("phase {other}"),
        }
    }
    let known: HashSet<u64> = tracks.keys().copied().collect();
    assert_eq!(known, named, "every track that is used has a name");
    tracks
}

/// Whether events of one track lie in each other or beside each other, as a viewer
/// draws them.
fn check_nesting(events: &[Complete<'_>]) {
    let mut open: Vec<i64> = Vec::new();
    let mut last = 0;
    for e in events {
        assert!(
            e.begin >= last,
            "{} begins before what is listed before",
            e.event
        );
        last = e.begin;
        while open.last().is_some_and(|&end| end <= e.begin) {
            open.pop();
        }
        assert!(open.last().is_none_or(|&end| e.end <= end), "{}", e.event);
        open.push(e.end);
    }
}

/// Everything that holds of any trace of so many steps.
fn check(made: &Traced, steps: usize) {
    let tracks = tracks(&made.trace);
    assert_eq!(tracks.keys().copied().collect::<Vec<_>>(), [1, 2]);
    tracks.values().for_each(|events| check_nesting(events));
    let (host, device) = (&tracks[&1], &tracks[&2]);
    for wanted in ["plan", "compile", "first step", "check against float64"] {
        assert!(
            host.iter().any(|e| e.is("setup") && e.name() == wanted),
            "{wanted}"
        );
    }
    let kernels = made.figures["kernels"].as_array().unwrap();
    let dispatches = kernels.iter().filter(|k| k["kind"] == "kernel").count();
    let of_step = |events: &[Complete<'_>]| events.iter().filter(|e| e.is("step")).count();
    assert_eq!([of_step(host), of_step(device)], [steps, steps]);
    let drawn: Vec<_> = device.iter().filter(|e| e.is("kernel")).collect();
    assert_eq!(drawn.len(), dispatches * steps);
    for (i, step) in device.iter().filter(|e| e.is("step")).enumerate() {
        let on_host = host.iter().filter(|e| e.is("step")).nth(i).unwrap();
        assert_eq!(on_host.name(), step.name());
        // The device works while the host is at this step.
        assert!(
            on_host.begin <= step.begin && step.end <= on_host.end,
            "{}",
            step.event
        );
        let inside = |e: &&&Complete<'_>| step.begin <= e.begin && e.end <= step.end;
        let own: Vec<_> = drawn.iter().filter(inside).collect();
        let places: Vec<_> = own
            .iter()
            .map(|e| e.event["args"]["plan_step"].as_u64())
            .collect();
        let want: Vec<_> = (0..dispatches as u64).map(Some).collect();
        assert_eq!(places, want, "each dispatch of the plan once, in order");
        let names: HashSet<&str> = own.iter().map(|e| e.name()).collect();
        assert_eq!(names.len(), dispatches, "a name means one dispatch");
        for e in own {
            let args = &e.event["args"];
            assert_eq!(args["step"], i + 1);
            assert!(
                args["flops"].is_u64() && args["bytes"].as_u64() > Some(0),
                "{args}"
            );
            assert!(["arithmetic", "memory", "latency"].contains(&args["bound"].as_str().unwrap()));
            // The event's time is rounded to nanoseconds, its rate is not.
            let seconds = (e.end - e.begin) as f64 * 1e-9;
            let flops = args["flops"].as_f64().unwrap();
            match args["gflops"].as_f64() {
                Some(rate) => {
                    let off = (rate * 1e9 * seconds - flops).abs();
                    assert!(off <= flops * 1e-8 / seconds, "{args}");
                }
                None => assert_eq!(e.begin, e.end, "{args}"),
            }
        }
    }
    for phase in ["encode", "submit", "wait", "readback"] {
        let count = host
            .iter()
            .filter(|e| e.is("host") && e.name() == phase)
            .count();
        assert!(count >= steps, "{phase}: {count}");
    }
    assert_eq!(made.figures["steps"], steps);
    assert_eq!(made.figures["correct"], true);
    let parts = &made.figures["step_s"];
    let part = |name: &str| parts[name].as_f64().unwrap();
    assert!(part("whole") > 0.0 && part("gpu") >= part("gpu_kernels") && part("gpu") > 0.0);
}

fn flops(made: &Traced) -> u64 {
    let all = made.figures["kernels"].as_array().unwrap().iter();
    let sum = all.map(|k| k["flops"].as_u64().unwrap()).sum();
    assert_eq!(made.figures["flops"], sum);
    sum
}

/// One row through 4-2-1, by hand: products 2*4*2 + 2*2*1 forward, 2*2*1 and 2*4*2
/// for the weights, 2*2*1 back through the second layer; ReLU and its backward 2 each;
/// sigmoid, BCE, their backwards and the mean 1 each. The mean of one value hands its
/// gradient on as it is.
#[test]
fn the_exercise() {
    let made = traced(&["--steps", "3"]);
    check(&made, 3);
    assert_eq!(made.figures["timestamps"], gpu().has_timestamps());
    assert_eq!(made.figures["net"], "4-2-1");
    let products = (16 + 4) + (4 + 16) + 4;
    assert_eq!(flops(&made), products + 4 + 5);
    let [program, copy] = &made.figures["kernels"].as_array().unwrap()[..] else {
        panic!("{}", made.figures);
    };
    // One dispatch for all nodes, which are all named.
    assert_eq!(program["nodes"].as_array().unwrap().len(), 13);
    assert_eq!(program["name"], "0 (Linear) .. d/d 0.weight (13 nodes)");
    assert_eq!(copy["kind"], "copy of outputs");
    assert_eq!(copy["bytes"], 8);
}

/// 784-512-256-1 on B rows: each layer's product forward, for the weights, and, but for
/// the first, for its input; biases added and summed; ReLU, its backward; and once a row
/// sigmoid, BCE, their backwards, the mean, the loss's gradient spread; one scale.
#[test]
fn a_network_of_several_kernels() {
    let net = [
        "--net", NET, "--loss", "BCELoss", "--batch", "64", "--steps", "2",
    ];
    let made = traced(&net);
    check(&made, 2);
    let (b, layers) = (64, [(784, 512), (512, 256), (256, 1)]);
    let product = |&(takes, gives): &(u64, u64)| 2 * b * takes * gives;
    let products: u64 =
        layers.iter().map(product).sum::<u64>() * 2 + layers[1..].iter().map(product).sum::<u64>();
    let biases = 2 * b * (512 + 256 + 1);
    let relus = 2 * b * (512 + 256);
    assert_eq!(flops(&made), products + biases + relus + 6 * b + 1);

    let kernels = made.figures["kernels"].as_array().unwrap();
    let find = |name: &str| kernels.iter().find(|k| k["name"] == name).unwrap();
    // The largest product, by itself: 2mnk, and A, B and C once.
    let last = find("d/d 0.weight");
    assert_eq!(last["flops"], 2 * 512 * 784 * 64);
    assert_eq!(last["bytes"], 4 * (64 * 512 + 64 * 784 + 512 * 784));
    let shapes = last["nodes"][0].as_str().unwrap();
    assert!(
        shapes.ends_with("([64, 512], [64, 784]) -> [512, 784]"),
        "{shapes}"
    );
    assert_eq!(last["walk"], "backward");
    // What the plan copies into images is seen, and so is what it is a copy of.
    let plan_copies = kernels.iter().filter(|k| k["kind"] == "image copy");
    assert_eq!(plan_copies.count(), copies_of(64), "{kernels:?}");
    assert!(
        made.trace["otherData"]["clock"]
            .as_str()
            .unwrap()
            .contains("timestamps")
    );
}

/// Copies into images in the plan of that network on this adapter.
fn copies_of(batch: usize) -> usize {
    let work = wgrad::bench::Work {
        network: wgrad::nn::Network::parse(NET).unwrap(),
        loss: wgrad::nn::Loss::parse("BCELoss").unwrap(),
        batch,
        replicas: 1,
    };
    let plan = work.plan(gpu().target()).unwrap();
    let copies = wgrad::plan::image::copies(&plan);
    copies.iter().map(Vec::len).sum()
}

/// A device that was asked for no features has no timestamps: each kernel is then
/// submitted alone, and it is said.
#[test]
fn without_timestamps_the_hosts_clock_serves_and_it_is_said() {
    let net = [
        "--net",
        "Sequential(Linear(300, 70), ReLU(), Linear(70, 3))",
        "--loss",
        "MSELoss",
    ];
    let rest = ["--batch", "33", "--steps", "2", "--default-limits"];
    let made = traced(&[&net[..], &rest[..]].concat());
    check(&made, 2);
    assert_eq!(made.figures["timestamps"], false);
    assert!(made.told.contains("no GPU timestamps"), "{}", made.told);
    let clock = made.trace["otherData"]["clock"].as_str().unwrap();
    assert!(
        clock.starts_with("the host's") && clock.contains("submitted alone"),
        "{clock}"
    );
    // As many submissions as there are kernels and copies.
    let tracks = tracks(&made.trace);
    let submits = tracks[&1].iter().filter(|e| e.name() == "submit").count();
    let items = made.figures["kernels"].as_array().unwrap().len();
    assert!(items > 1);
    assert_eq!(submits, 2 * items);
}

#[test]
fn tables_for_a_person() {
    let folder = tempfile::tempdir().unwrap();
    let mut command = Command::cargo_bin("wgrad").unwrap();
    command
        .current_dir(folder.path())
        .env("WGRAD_CACHE_DIR", "");
    let output = command.args(["trace", "--steps", "2"]).output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success(), "{text}");
    for words in [
        "THE COSTLIEST KERNELS AND COPIES, 2 of 2 a step (medians of 2 steps)",
        "(13 nodes)",
        "WHERE A STEP'S TIME GOES",
        "encode",
        "GPU: gaps",
        "untraced",
        "a launch",
        "counted: ",
    ] {
        assert!(text.contains(words), "`{words}` is not in\n{text}");
    }
    let written = std::fs::read_to_string(folder.path().join("trace.json")).unwrap();
    assert!(serde_json::from_str::<Value>(&written).is_ok());
}

/// What does not fit is told by its own size, before the adapter is measured with
/// buffers that would not fit either.
#[test]
fn a_step_that_does_not_fit_is_told_and_has_no_trace() {
    let folder = tempfile::tempdir().unwrap();
    let trace = |memory: &str| {
        let mut command = Command::cargo_bin("wgrad").unwrap();
        command
            .current_dir(folder.path())
            .env("WGRAD_CACHE_DIR", "")
            .args(["trace", "--net", "Linear(2, 1)", "--loss", "MSELoss"])
            .args(["--batch", "64", "--steps", "1", "--max-memory", memory]);
        let output = command.output().unwrap();
        let told = String::from_utf8(output.stderr).unwrap();
        (output.status.code(), told)
    };
    let (code, told) = trace("1000");
    assert_eq!(code, Some(5), "{told}");
    assert!(
        told.contains("more than the 1000 bytes that it was allowed"),
        "{told}"
    );
    let needed = told.split("the plan needs ").nth(1).unwrap();
    let needed: u64 = needed.split(' ').next().unwrap().parse().unwrap();
    assert!(needed < 1 << 20, "{told}");
    assert!(!folder.path().join("trace.json").exists());
    // The measure of the adapter makes do with what is allowed.
    let (code, told) = trace("1MiB");
    assert_eq!(code, Some(0), "{told}");
    assert!(folder.path().join("trace.json").exists());
}

/// More stamps than one set of queries holds.
#[test]
fn every_dispatch_of_a_long_plan_is_stamped() {
    let mut g = Graph::new();
    let x = g.input("x", &[8]).unwrap();
    let mut y = x;
    for _ in 0..2100 {
        y = g.neg(y).unwrap();
    }
    let options = PlanOptions {
        fuse: false,
        ..PlanOptions::default()
    };
    let plan = Plan::with_options(&g, &[y], &Target::default(), &options).unwrap();
    assert_eq!(plan.steps.len(), 2100);
    let mut program = pollster::block_on(gpu().compile_plan(plan)).unwrap();
    program
        .set("x", &Tensor::full(&g.shape(x).unwrap().clone(), 2.5))
        .unwrap();
    let origin = Instant::now();
    for host_clock in [false, true] {
        let timeline = program.trace_step(&[y], origin, host_clock).unwrap();
        assert_eq!(timeline.stamped, !host_clock && gpu().has_timestamps());
        assert_eq!(timeline.spans.len(), 2101);
        let mut last = f64::NEG_INFINITY;
        for (i, span) in timeline.spans.iter().enumerate() {
            let want = if i < 2100 {
                Task::Dispatch(i)
            } else {
                Task::Readback
            };
            assert_eq!(span.task, want);
            assert!(
                span.end_s >= span.begin_s && span.begin_s >= last,
                "{i}: {span:?}"
            );
            last = span.end_s;
        }
        let submits = timeline.phases.iter().filter(|(p, ..)| *p == Phase::Submit);
        assert_eq!(submits.count(), if timeline.stamped { 1 } else { 2101 });
        assert_eq!(program.outputs().get(y).unwrap().data(), [2.5; 8]);
    }
}
