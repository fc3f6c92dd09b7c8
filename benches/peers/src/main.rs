//! wgrad beside burn, ndarray and PyTorch, interleaved in one run. README.md
//! says what is measured and how to read the table.

mod burn_peer;
mod cold;
mod ndarray_peer;
mod peer;
mod race;
mod report;
mod stats;
mod torch_peer;
mod wgrad_peer;
mod work;

use std::path::PathBuf;
use std::process::{Command, ExitCode};
use std::time::Duration;

use anyhow::{Context, Result};
use clap::{Parser, Subcommand, ValueEnum};
use time::OffsetDateTime;
use time::macros::format_description;

use burn_peer::Burn;
use ndarray_peer::{Ndarray, reference};
use peer::Peer;
use race::{Entry, race};
use report::{Cell, LARGE, Report, Row, State};
use torch_peer::Torch;
use wgrad::run::gpu::DeviceKind;
use wgrad_peer::Wgrad;
use work::{Kind, Problem, Task, Work};

/// Runs wgrad, burn, ndarray and PyTorch on the same works, in turn, checks
/// that they agree, and prints the table as Markdown.
///
/// The exit code is 1 if a contestant disagrees or breaks down, 2 if nothing
/// can be measured.
#[derive(Parser)]
#[command(args_conflicts_with_subcommands = true)]
struct Args {
    #[command(subcommand)]
    command: Option<Extra>,
    #[command(flatten)]
    run: Run,
}

#[derive(Subcommand)]
enum Extra {
    /// One table of the JSON files of several runs; the last row of each work
    /// counts.
    Merge {
        /// What `--export-json` wrote.
        #[arg(required = true)]
        files: Vec<PathBuf>,
    },
    /// Computes one step of a work and says so: what a cold start times.
    Cold {
        /// wgrad or burn.
        contestant: String,
        /// The work's name.
        work: String,
        /// The kind of adapter, in wgrad's words.
        #[arg(long, default_value = "")]
        kind: String,
        /// The adapter's name.
        #[arg(long, default_value = "")]
        adapter: String,
    },
}

#[derive(clap::Args)]
struct Run {
    /// Only this work, or all whose names begin with it and a `/`.
    #[arg(long, value_name = "WORK", value_delimiter = ',')]
    only: Vec<String>,
    /// How long each work is timed, in seconds, after checks and warm-up.
    #[arg(long, value_name = "S", default_value_t = 20.0)]
    seconds: f64,
    /// PyTorch on the CPU also where wgrad is on a hardware GPU.
    #[arg(long)]
    torch_on_cpu: bool,
    /// Leaves a contestant out.
    #[arg(long, value_delimiter = ',')]
    without: Vec<Out>,
    /// Writes the table to a file too.
    #[arg(long, value_name = "FILE")]
    export_markdown: Option<PathBuf>,
    /// Writes all figures to a file.
    #[arg(long, value_name = "FILE")]
    export_json: Option<PathBuf>,
}

/// A contestant that can be left out.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Out {
    Burn,
    Torch,
    Ndarray,
}

fn main() -> ExitCode {
    let args = Args::parse();
    let done = match args.command {
        Some(Extra::Merge { files }) => merge(&files),
        Some(Extra::Cold {
            contestant,
            work,
            kind,
            adapter,
        }) => cold::child(&contestant, &work, &kind, &adapter).map(|()| true),
        None => run(&args.run),
    };
    match done {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::from(1),
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::from(2)
        }
    }
}

fn merge(files: &[PathBuf]) -> Result<bool> {
    let read = |file: &PathBuf| -> Result<Report> {
        let text = std::fs::read_to_string(file)
            .with_context(|| format!("cannot read `{}`", file.display()))?;
        serde_json::from_str(&text)
            .with_context(|| format!("`{}` is no report of peers", file.display()))
    };
    let whole = Report::merged(files.iter().map(read).collect::<Result<_>>()?);
    print!("{}", whole.markdown());
    Ok(!whole.is_bad())
}

/// Measures; whether all agreed.
fn run(args: &Run) -> Result<bool> {
    let budget = Duration::try_from_secs_f64(args.seconds).context("no time to measure in")?;
    let wgrad = Wgrad::new()?;
    let hardware = wgrad.adapter().kind != DeviceKind::Software;
    let works = work::choose(&args.only, hardware)?;
    let steady = works
        .iter()
        .any(|work| matches!(work.kind, Kind::Steady { .. }));
    let (mut places, torch) = places(args, &wgrad, steady);
    let mut report = Report {
        header: header(&wgrad, &torch),
        rows: Vec::new(),
    };
    for work in &works {
        eprint!("{}:", work.name);
        let row = measure(work, &wgrad, &mut places, args, budget);
        eprintln!();
        for cell in &row.cells {
            if let State::Wrong(reason) | State::Failed(reason) = &cell.state {
                eprintln!("{} at {}: {reason}", cell.contestant, work.name);
            }
        }
        report.rows.push(row);
    }
    let text = report.markdown();
    print!("{text}");
    let write = |file: &Option<PathBuf>, text: &str| match file {
        Some(file) => wgrad::io::write(file, text.as_bytes()).context("the figures are not kept"),
        None => Ok(()),
    };
    write(&args.export_markdown, &text)?;
    write(&args.export_json, &serde_json::to_string_pretty(&report)?)?;
    Ok(!report.is_bad())
}

/// A contestant, or why it does not run.
type Place = (&'static str, Result<Box<dyn Peer>, String>);

/// The contestants, and what the header says of PyTorch.
fn places(args: &Run, wgrad: &Wgrad, steady: bool) -> (Vec<Place>, String) {
    let wanted = |who| {
        if args.without.contains(&who) {
            Err("left out by --without".to_string())
        } else if steady {
            Ok(())
        } else {
            Err("not needed".to_string())
        }
    };
    let text = |error: anyhow::Error| format!("{error:#}");
    let burn = wanted(Out::Burn).and_then(|()| {
        let adapter = wgrad.adapter();
        Burn::new(&adapter.kind.to_string(), &adapter.name).map_err(text)
    });
    let ndarray = wanted(Out::Ndarray).map(|()| Ndarray::default());
    let gpu = wgrad.adapter().kind != DeviceKind::Software && !args.torch_on_cpu;
    let torch = wanted(Out::Torch).and_then(|()| Torch::start(cores(), gpu).map_err(text));
    let described = match &torch {
        Ok(torch) => torch.description.clone(),
        Err(reason) => format!("PyTorch absent ({reason})"),
    };
    let places: Vec<Place> = vec![
        ("wgrad", Ok(Box::new(wgrad.again()))),
        ("burn", burn.map(|b| Box::new(b) as Box<dyn Peer>)),
        ("ndarray", ndarray.map(|n| Box::new(n) as Box<dyn Peer>)),
        ("torch", torch.map(|t| Box::new(t) as Box<dyn Peer>)),
    ];
    (places, described)
}

fn measure(work: &Work, wgrad: &Wgrad, places: &mut [Place], args: &Run, budget: Duration) -> Row {
    let (task, cells) = match work.kind {
        Kind::Steady { task, steps } => {
            let problem = Problem::new(task);
            let truth = reference(&problem);
            let mut entries = Vec::new();
            for (name, peer) in places {
                let peer = match peer {
                    Ok(peer) => Ok(peer.as_mut() as &mut dyn Peer),
                    Err(reason) => Err(reason.as_str()),
                };
                let (problem, truth) = (&problem, truth.as_slice());
                entries.push(Entry {
                    name,
                    peer,
                    problem,
                    truth,
                });
            }
            (Some(task), race(entries, steps, budget))
        }
        Kind::Cold { task, burn } => {
            let burn = burn && !args.without.contains(&Out::Burn);
            let contestants = if burn {
                &["wgrad", "burn"][..]
            } else {
                &["wgrad"]
            };
            let cells = cold::measure(contestants, work.name, wgrad.adapter(), budget);
            (Some(task), cells)
        }
        Kind::Growth { sizes, batches } => {
            let tasks = batches.map(|batch| Task::Net { sizes, batch });
            (None, growth(wgrad, tasks, budget))
        }
    };
    Row::new(work.name, task, now(), cells, work.goals)
}

/// wgrad against itself at another batch.
fn growth(wgrad: &Wgrad, tasks: [Task; 2], budget: Duration) -> Vec<Cell> {
    let problems = tasks.map(Problem::new);
    let truths: [Vec<Vec<f64>>; 2] = problems.each_ref().map(reference);
    let mut peers = [wgrad.again(), wgrad.again()];
    let entry = |(i, peer): (usize, _)| Entry {
        name: ["wgrad", LARGE][i],
        peer: Ok(peer as &mut dyn Peer),
        problem: &problems[i],
        truth: &truths[i],
    };
    let entries = peers.iter_mut().enumerate().map(entry).collect();
    race(entries, 1, budget)
}

fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

fn now() -> String {
    let format = format_description!("[year]-[month]-[day] [hour]:[minute] UTC");
    // Formatting into a string fails only for parts that a date lacks.
    let text = OffsetDateTime::now_utc().format(format);
    text.unwrap_or_else(|_| "unknown".to_string())
}

fn header(wgrad: &Wgrad, torch: &str) -> Vec<(String, String)> {
    let adapter = wgrad.adapter();
    let versions = format!(
        "wgrad {}{}, burn {} (wgpu, autodiff, fusion, autotune), ndarray {}, wgpu {}, {torch}",
        version("wgrad"),
        commit(),
        version("burn"),
        version("ndarray"),
        version("wgpu"),
    );
    let command: Vec<_> = std::env::args().skip(1).collect();
    [
        (
            "adapter",
            format!("{} ({}, {})", adapter.name, adapter.kind, adapter.backend),
        ),
        ("driver", adapter.driver.clone()),
        ("versions", versions),
        ("processor", format!("{} cores, {}", cores(), processor())),
        ("date", now()),
        (
            "command",
            format!("sh benches/peers/run.sh {}", command.join(" "))
                .trim()
                .to_string(),
        ),
    ]
    .map(|(name, value)| (name.to_string(), value))
    .to_vec()
}

/// The version that was built in.
fn version(package: &str) -> String {
    let lock = include_str!("../Cargo.lock");
    let start = format!("name = \"{package}\"\nversion = \"");
    // The lock file is sorted, and what is used here directly is the newest.
    let newest = lock.rsplit(&start).next();
    let newest = newest.filter(|rest| rest.len() < lock.len());
    let text = newest.and_then(|rest| rest.split('"').next());
    text.unwrap_or("unknown").to_string()
}

/// The commit that wgrad is at, where git knows.
fn commit() -> String {
    let described = Command::new("git")
        .args(["-C", env!("CARGO_MANIFEST_DIR")])
        .args(["describe", "--always", "--dirty", "--exclude", "*"])
        .output();
    match described {
        Ok(out) if out.status.success() => {
            format!(" ({})", String::from_utf8_lossy(&out.stdout).trim())
        }
        _ => String::new(),
    }
}

/// The processor's name, where the system has it in a file.
fn processor() -> String {
    let info = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let line = info.lines().find(|line| line.starts_with("model name"));
    let name = line.and_then(|line| line.split(": ").nth(1));
    name.unwrap_or(std::env::consts::ARCH).to_string()
}
