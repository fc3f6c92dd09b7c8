//! A step takes no memory: not one allocation of wgrad's own from the second step
//! on, whatever is set, run and read. wgpu's own are listed for a person to read.
//! Whose an allocation is, its backtrace says. A test of its own process: the
//! allocator is the process's.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::collections::{BTreeMap, HashMap};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};

use wgrad::plan::{Plan, PlanOptions};
use wgrad::{Feeds, Graph, NodeId, Program, gradient};

mod common;
use common::{Random, gpu};

/// The system's allocator, which keeps the backtrace of each allocation.
struct Watching;

/// Where an allocation was made: the innermost places in code, as addresses.
/// Names are looked up later. (The standard library's own backtraces take a lock
/// that wgpu holds while it makes some of its own.)
#[derive(Clone, Copy)]
struct Trace([usize; 96]);

static WATCHED: AtomicBool = AtomicBool::new(false);
static SEEN: Mutex<Vec<Trace>> = Mutex::new(Vec::new());

thread_local! {
    /// Whether this thread is keeping a backtrace, which may take memory itself.
    static KEEPING: Cell<bool> = const { Cell::new(false) };
}

fn keep() {
    if !WATCHED.load(Ordering::Relaxed) || KEEPING.try_with(|k| k.replace(true)) != Ok(false) {
        return;
    }
    let mut trace = Trace([0; 96]);
    let mut places = trace.0.iter_mut();
    // SAFETY: what is not synchronized is a library of Windows; there only one
    // thread of this test takes backtraces.
    unsafe {
        backtrace::trace_unsynchronized(|frame| match places.next() {
            Some(place) => {
                *place = frame.ip() as usize;
                true
            }
            None => false,
        });
    }
    SEEN.lock().unwrap().push(trace);
    KEEPING.set(false);
}

// SAFETY: every call is handed to the system's allocator as it came.
unsafe impl GlobalAlloc for Watching {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        keep();
        // SAFETY: the caller's promise is the system's.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, place: *mut u8, layout: Layout) {
        // SAFETY: as above.
        unsafe { System.dealloc(place, layout) }
    }

    unsafe fn realloc(&self, place: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        keep();
        // SAFETY: as above.
        unsafe { System.realloc(place, layout, size) }
    }
}

#[global_allocator]
static ALLOCATOR: Watching = Watching;

/// Who took memory.
#[derive(PartialEq, Eq, PartialOrd, Ord, Debug)]
enum Whose {
    /// A place in this crate or this test; also what a crate took for it that is
    /// not of wgpu's.
    Ours(String),
    /// What of wgpu was called to do so.
    Wgpu(String),
}

/// The functions at the addresses that were looked up, with their files and lines;
/// one that others were inlined into comes after these.
#[derive(Default)]
struct Symbols(HashMap<usize, Vec<(String, String, u32)>>);

impl Symbols {
    fn at(&mut self, place: usize) -> Vec<(String, String, u32)> {
        let look_up = || {
            let mut found = Vec::new();
            backtrace::resolve(place as *mut _, |symbol| {
                let name = symbol.name().map(|name| format!("{name:#}"));
                let file = symbol.filename().map(|file| file.display().to_string());
                let line = symbol.lineno().unwrap_or_default();
                found.push((name.unwrap_or_default(), file.unwrap_or_default(), line));
            });
            found
        };
        self.0.entry(place).or_insert_with(look_up).clone()
    }
}

/// Whose an allocation is: of the frames from the inside out, the first of wgpu's
/// crates or of ours decides. Then the place of ours that called it, or for wgpu
/// the outermost function of its own before that.
fn whose(trace: &Trace, known: &mut Symbols) -> Whose {
    let mut theirs = None;
    let places = trace.0.iter().filter(|&&place| place != 0);
    for (function, file, line) in places.flat_map(|&place| known.at(place)) {
        let of_wgpu = ["/wgpu-", "/wgpu_", "/naga-"];
        if of_wgpu.iter().any(|name| file.contains(name)) {
            theirs = Some(function.clone());
        } else if let Some(own) = file.strip_prefix(env!("CARGO_MANIFEST_DIR")) {
            // The allocator of this test is in every backtrace.
            let allocator = ["allocations::keep", "allocations::Watching", "__rust_"];
            if allocator.iter().any(|name| function.contains(name)) {
                continue;
            }
            return match theirs {
                Some(function) => Whose::Wgpu(function),
                None => Whose::Ours(format!("{function} at {own}:{line}")),
            };
        }
    }
    match theirs {
        Some(function) => Whose::Wgpu(function),
        None => Whose::Ours("a place without symbols".to_string()),
    }
}

/// What `work` gives, and who took memory meanwhile, how often.
fn watched<T>(known: &mut Symbols, work: impl FnOnce() -> T) -> (T, BTreeMap<Whose, usize>) {
    WATCHED.store(true, Ordering::SeqCst);
    let result = work();
    WATCHED.store(false, Ordering::SeqCst);
    let seen = std::mem::take(&mut *SEEN.lock().unwrap());
    let mut counts = BTreeMap::new();
    for trace in &seen {
        *counts.entry(whose(trace, known)).or_default() += 1;
    }
    (result, counts)
}

/// A network of these widths on a batch, with a bias and a sigmoid at its end:
/// the loss and every weight gradient; values for all leaves.
fn network(batch: usize, widths: &[usize]) -> (Graph, Vec<NodeId>, Feeds) {
    let (mut g, mut random) = (Graph::new(), Random::new(7));
    let mut feeds = Feeds::new();
    let mut give = |label: &str, dims: &[usize], range| {
        feeds.insert(label.to_string(), random.tensor(dims, range));
    };
    let mut value = g.input("x", &[batch, widths[0]]).unwrap();
    give("x", &[batch, widths[0]], (-1.0, 1.0));
    let mut weights = Vec::new();
    for (i, pair) in widths.windows(2).enumerate() {
        let label = format!("w{i}");
        let w = g.parameter(&label, &[pair[1], pair[0]]).unwrap();
        give(&label, &[pair[1], pair[0]], (-0.1, 0.1));
        weights.push(w);
        value = g.linear(value, w, None).unwrap();
        if i + 2 < widths.len() {
            value = g.relu(value).unwrap();
        }
    }
    let last = widths[widths.len() - 1];
    let y = g.input("y", &[batch, last]).unwrap();
    give("y", &[batch, last], (0.0, 1.0));
    let p = g.sigmoid(value).unwrap();
    let l = g.bce(p, y).unwrap();
    let loss = g.mean_all(l).unwrap();
    let mut outputs = vec![loss];
    outputs.extend(gradient(&mut g, loss, &weights).unwrap());
    (g, outputs, feeds)
}

/// A step as a training loop makes it: every value set, by name and all at once,
/// a run, and everything read by node, by label and in turn.
fn step(program: &mut Program, feeds: &Feeds, outputs: &[NodeId]) -> f32 {
    for (label, value) in feeds {
        program.set(label, value).unwrap();
    }
    program.set_all(feeds).unwrap();
    let values = program.run().unwrap();
    let mut sum = 0.0;
    for &node in outputs {
        sum += values.get(node).unwrap().data()[0];
    }
    for (label, value) in values.iter() {
        sum += value.data()[0] + values.find(label).unwrap().data()[0];
    }
    // Queued steps, and a part of the outputs.
    let values = program.run_steps(3, &outputs[..1]).unwrap();
    sum + values.get(outputs[0]).unwrap().data()[0]
}

/// The subjects: a row program, a workgroup program, separate dispatches, large
/// products (whose operands are images where the driver is software), replicas.
fn subjects() -> Vec<(&'static str, Program, Feeds, Vec<NodeId>)> {
    let plain = PlanOptions::default();
    let unfused = PlanOptions {
        fuse: false,
        ..plain.clone()
    };
    let replicas = PlanOptions {
        replicas: 3,
        ..plain.clone()
    };
    [
        ("rows", 7, &[4, 2, 1][..], &plain),
        ("workgroup", 8, &[16, 24, 1], &plain),
        ("a kernel for each op", 7, &[4, 2, 1], &unfused),
        ("large products", 256, &[512, 256, 1], &plain),
        ("replicas", 7, &[4, 2, 1], &replicas),
    ]
    .into_iter()
    .map(|(name, batch, widths, options)| {
        let (g, outputs, mut feeds) = network(batch, widths);
        if options.replicas > 1 {
            // Weights of their own, and one batch for all.
            let mut random = Random::new(8);
            for value in feeds
                .iter_mut()
                .filter_map(|(l, v)| l.starts_with('w').then_some(v))
            {
                let dims = [&[options.replicas], value.dims()].concat();
                *value = random.tensor(&dims, (-0.1, 0.1));
            }
        }
        let plan = Plan::with_options(&g, &outputs, gpu().target(), options).unwrap();
        let program = pollster::block_on(gpu().compile_plan(plan)).unwrap();
        (name, program, feeds, outputs)
    })
    .collect()
}

#[test]
fn a_step_takes_no_memory_of_ours() {
    let mut known = Symbols::default();
    // An allocation of ours is seen, or the rest would prove nothing.
    let (made, seen) = watched(&mut known, || wgrad::Tensor::new(&[2], vec![1.0, 2.0]));
    made.unwrap();
    let ours = |w: &Whose| matches!(w, Whose::Ours(place) if place.contains("/src/"));
    assert!(
        seen.keys().any(ours),
        "no place in src/ was found; are there debug symbols? {seen:?}"
    );

    let mut wrong = Vec::new();
    for (name, mut program, feeds, outputs) in subjects() {
        for _ in 0..3 {
            step(&mut program, &feeds, &outputs);
        }
        let (sum, seen) = watched(&mut known, || step(&mut program, &feeds, &outputs));
        assert!(sum.is_finite(), "{name}: {sum}");
        eprintln!("{name}: {} dispatches", program.plan().steps.len());
        for (whose, count) in &seen {
            eprintln!("  {count:4} {whose:?}");
        }
        // wgpu takes memory for each run, so what it took must have been seen.
        let theirs = |w: &Whose| matches!(w, Whose::Wgpu(_));
        assert!(
            seen.keys().any(theirs),
            "{name}: nothing of wgpu's was seen"
        );
        wrong.extend(
            seen.into_iter()
                .filter(|(whose, _)| !theirs(whose))
                .map(|(whose, count)| format!("{name}: {count} times {whose:?}")),
        );
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
