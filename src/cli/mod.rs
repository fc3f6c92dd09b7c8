//! What the command line offers: its arguments, and what each subcommand does
//! with them. The work itself is the library's.

mod adapters;
mod bench;
mod check;
mod exercise;
mod export;
mod grad;
mod graph;
mod inspect;
mod interrupt;
mod manual;
mod output;
mod problem;
mod progress;
mod report;
mod sheet;
mod trace;
mod tune;

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand, ValueEnum};
use wgrad::graph::Precision;
use wgrad::nn::Network;
use wgrad::nn::text::MAX_TEXT;
use wgrad::plan::Plan;
use wgrad::run::gpu::{
    AdapterDescription, Adapters, Backend, DeviceKind, Gpu, GpuOptions, Selection,
};
use wgrad::solution::{Prepared, Problem};
use wgrad::tune::Tuned;
use wgrad::{Error, Result, io};

const EXIT_CODES: &str = "\
Exit codes:
  0  all is well
  1  values differ (or a case is unsupported, or a kernel is wrong)
  2  usage: the command line, the network's text, shapes that do not fit
  3  no adapter
  4  a bad file, or bad data in one
  5  device lost, out of memory, over a limit, or timed out

Environment:
  WGPU_BACKEND       backends to look at (vulkan,metal,dx12,gl)
  WGPU_ADAPTER_NAME  a part of the adapter's name, or its index
  WGRAD_CACHE_DIR    where caches are kept; empty for nowhere
  COLUMNS            the width of tables, in place of the terminal's
  LC_ALL, LC_CTYPE, LANG  not UTF-8: all texts in ASCII
  NO_COLOR           no colours; CLICOLOR_FORCE=1: colours also into a pipe
  RUST_LOG           logging of wgrad and wgpu (off by default)";

/// Exact, inspectable, fast gradients on any GPU, in plain WGSL.
///
/// Without a subcommand, solves the exercise that wgrad was born from and
/// compares every number with the CPU reference, PyTorch and the printed sheet.
#[derive(Parser)]
#[command(version, after_help = EXIT_CODES, max_term_width = 100)]
struct Cli {
    #[command(subcommand)]
    command: Option<Command>,

    #[command(flatten, next_help_heading = "Engine")]
    engine: EngineArgs,

    /// JSON on stdout instead of text
    #[arg(long, global = true, help_heading = "Output")]
    json: bool,

    /// Colours
    #[arg(long, global = true, help_heading = "Output", value_enum, default_value_t = Color::Auto)]
    color: Color,

    /// Texts in ASCII, with escapes for other letters in names [default: where the
    /// locale is not UTF-8]
    #[arg(long, global = true, help_heading = "Output")]
    ascii: bool,

    /// Results and errors only: no notices, no progress
    #[arg(
        long,
        short,
        global = true,
        help_heading = "Output",
        conflicts_with = "verbose"
    )]
    quiet: bool,

    /// Say more on stderr: the adapter and its driver, the plan with its kernels and
    /// memory, what took how long, the caches
    #[arg(long, short, global = true, help_heading = "Output")]
    verbose: bool,
}

#[derive(Subcommand)]
enum Command {
    /// Values and gradients of your own network on your own data
    Grad(grad::GradArgs),
    /// A picture of a computation graph, of the exercise or of your own network: SVG,
    /// DOT, Mermaid, JSON or text
    Graph(graph::GraphArgs),
    /// The worked solution of the exercise or of your own network as one HTML file
    Report(report::ReportArgs),
    /// A random exercise to work by hand, with its solution: a page to fill in, blank
    /// answers, the weights
    Sheet(sheet::SheetArgs),
    /// Mark the answers to a sheet, and name the known mistake where one is wrong
    Grade(sheet::GradeArgs),
    /// Time steps of networks on an adapter, each checked first
    Bench(bench::BenchArgs),
    /// Where the time of a step goes, kernel by kernel: tables, and a trace for
    /// ui.perfetto.dev or chrome://tracing
    Trace(trace::TraceArgs),
    /// Measure which kernels are the fastest for the products of a network, each
    /// checked first; later runs take them
    Tune(tune::TuneArgs),
    /// Examine an adapter: every op, gradient and kernel against float64; or run
    /// gradient cases from a folder
    Check(check::CheckArgs),
    /// List what a .pth, .safetensors or .npy file holds, executing nothing
    Inspect {
        /// The file
        file: PathBuf,
    },
    /// List the adapters, and mark the one that a plain run takes
    Adapters,
    /// A script by which a shell completes subcommands and options
    Completions(manual::CompletionsArgs),
    /// The man page, or a page for each subcommand
    Man(manual::ManArgs),
}

/// Where to compute.
#[derive(Args)]
struct EngineArgs {
    /// The adapter: its index in `wgrad adapters`, or a part of its name
    #[arg(long, global = true, value_name = "N|NAME")]
    adapter: Option<String>,

    /// Look at this backend only: vulkan, metal, dx12, gl
    #[arg(long, global = true, value_name = "B")]
    backend: Option<Backend>,

    /// Use the CPU reference alone, in float64; no GPU
    #[arg(long, global = true, conflicts_with_all = ["adapter", "backend"])]
    cpu: bool,

    /// Where to keep what makes later runs faster [default: the user's cache
    /// folder]
    #[arg(long, global = true, value_name = "DIR", value_parser = folder)]
    cache_dir: Option<PathBuf>,

    /// Neither read nor write anything there
    #[arg(long, global = true, conflicts_with = "cache_dir")]
    no_cache: bool,

    /// Take no more memory on the device, in bytes or as 512MiB, 4GiB: grad runs a
    /// larger batch in sub-batches, the others refuse it [default: of a software
    /// adapter, the memory that is free]
    #[arg(long, global = true, value_name = "SIZE", value_parser = size, conflicts_with = "cpu")]
    max_memory: Option<u64>,

    /// Ask only for the limits that every WebGPU implementation has, and no
    /// features: no subgroups, 8 buffers a kernel, 256 invocations a workgroup
    #[arg(long, global = true, conflicts_with = "cpu")]
    default_limits: bool,

    /// Take the kernels of a plain installation, not those that wgrad tune chose
    #[arg(long, global = true)]
    no_tune: bool,

    /// Of products of matrices: f32, exact as everything else; or f16, operands
    /// rounded to float16 and sums in float32, by an adapter's matrix units where it
    /// has them
    #[arg(
        long,
        global = true,
        value_name = "f32|f16",
        default_value = "f32",
        hide_default_value = true
    )]
    precision: Precision,
}

fn folder(text: &str) -> Result<PathBuf, String> {
    match text.is_empty() {
        true => Err("it is empty; --no-cache keeps nothing".to_string()),
        false => Ok(text.into()),
    }
}

/// One of a list of numbers, each 1 or more.
fn count<T: std::str::FromStr + PartialOrd + Default>(text: &str) -> Result<T, String> {
    match text.trim().parse() {
        Ok(n) if n > T::default() => Ok(n),
        _ => Err("give whole numbers from 1, with commas between them: 1,64".to_string()),
    }
}

/// A number of bytes: `1000000`, `512MiB`, `4 GiB`.
fn size(text: &str) -> Result<u64, String> {
    let end = text.find(|c: char| !c.is_ascii_digit());
    let (number, unit) = text.split_at(end.unwrap_or(text.len()));
    let unit: u64 = match unit.trim().to_ascii_lowercase().as_str() {
        "" | "b" => 1,
        "kib" => 1 << 10,
        "mib" => 1 << 20,
        "gib" => 1 << 30,
        _ => return Err("the units are KiB, MiB and GiB".to_string()),
    };
    let number: u64 = number.parse().map_err(|_| "no whole number".to_string())?;
    let bytes = number.checked_mul(unit);
    bytes.ok_or_else(|| "that is more than any memory".to_string())
}

/// Refuses a batch that the device cannot hold, and says which it could.
fn with_largest_batch(gpu: &Gpu, rows: usize, plan: impl Fn(usize) -> Result<Plan>) -> Result<()> {
    // What cannot be planned at all is told by whoever needs the plan.
    let Ok(whole) = plan(rows) else {
        return Ok(());
    };
    let Err(error) = gpu.check(&whole) else {
        return Ok(());
    };
    let most = match gpu.largest_batch(rows, plan)? {
        0 => "not even one row fits".to_string(),
        most => format!("the largest batch that fits has {most} rows of {rows}"),
    };
    Err(Error::Limit(format!(
        "{error}; {most}; a batch is timed whole, only `wgrad grad` runs one in sub-batches"
    )))
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Color {
    /// Where the output is a terminal and NO_COLOR is unset
    Auto,
    Always,
    Never,
}

impl EngineArgs {
    /// What the flags ask for, and where they are silent the environment.
    fn selection(&self) -> Result<Selection> {
        // A flag's variable is not even read: what is wrong in it is no matter.
        let mut selection = match self.backend {
            Some(backend) => Selection {
                adapter: Selection::adapter_from_env(),
                backends: vec![backend],
            },
            None => Selection::from_env()?,
        };
        if self.adapter.is_some() {
            selection.adapter.clone_from(&self.adapter);
        }
        Ok(selection)
    }

    /// Where caches are, if they may be used.
    fn cache_folder(&self) -> Option<PathBuf> {
        match self.no_cache {
            true => None,
            false => self.cache_dir.clone().or_else(wgrad::cache::user_folder),
        }
    }

    /// The device to compute on, as installed; `None` for the CPU reference,
    /// which only `--cpu` chooses.
    fn open_untuned(&self) -> Result<Option<Gpu>> {
        if self.cpu {
            return Ok(None);
        }
        self.open_selected(self.selection()?).map(Some)
    }

    /// The device that a selection means, as installed.
    fn open_selected(&self, selection: Selection) -> Result<Gpu> {
        let options = GpuOptions {
            selection,
            pipeline_cache: self.cache_folder(),
            max_memory: self.max_memory,
            default_limits: self.default_limits,
            matrix_units: self.precision.is_half(),
            ..GpuOptions::default()
        };
        progress::doing("opening the adapter");
        let gpu = pollster::block_on(Gpu::open(options))?;
        output::detail(&format!("adapter {}", gpu.adapter()));
        if let Some(most) = gpu.memory() {
            let most = wgrad::number::bytes(most);
            output::detail(&format!("memory that may be used: {most}"));
        }
        for notice in gpu.notices() {
            output::notice(notice);
        }
        if gpu.adapter().kind == DeviceKind::Software {
            output::notice(&format!(
                "{} is a software adapter: its numbers count, its speed is not a GPU's",
                gpu.adapter().name
            ));
        }
        Ok(gpu)
    }

    /// The device to compute on, with the kernels that were chosen for it.
    fn open(&self) -> Result<Option<Gpu>> {
        Ok(self.open_untuned()?.map(|gpu| self.with_tuned(gpu)))
    }

    /// A device with the kernels that were chosen for it.
    fn with_tuned(&self, gpu: Gpu) -> Gpu {
        match self.tuned(gpu.adapter()) {
            Some(tuned) => {
                output::notice(&tune::summary(&tuned));
                output::detail(tune::choices(&tuned).trim_end());
                gpu.with_target(|target| tuned.apply(target))
            }
            None => gpu,
        }
    }

    /// What was measured on an adapter, if it may be used. What cannot be is
    /// told and left alone.
    fn tuned(&self, adapter: &AdapterDescription) -> Option<Tuned> {
        let Some(folder) = self.cache_folder().filter(|_| !self.no_tune) else {
            output::detail("kernels: the defaults; no tuning is looked for");
            return None;
        };
        match Tuned::load(&folder, adapter) {
            Ok(Some(tuned)) => {
                let path = Tuned::path(&folder, adapter);
                output::detail(&format!("kernels as tuned: {}", path.display()));
                Some(tuned)
            }
            Ok(None) => {
                let folder = folder.display();
                output::detail(&format!(
                    "kernels: the defaults; nothing is tuned in {folder}"
                ));
                None
            }
            Err(reason) => {
                output::notice(&reason);
                None
            }
        }
    }

    /// The precision of products of matrices on this device.
    fn precision_on(&self, gpu: Option<&Gpu>) -> Precision {
        match self.precision {
            Precision::F32 => Precision::F32,
            _ if gpu.is_some_and(|gpu| gpu.target().matrix_units) => Precision::F16Units,
            _ => Precision::F16,
        }
    }

    /// A network with products of the precision that was asked for.
    fn with_precision(&self, network: Network, gpu: Option<&Gpu>) -> Network {
        match self.precision_on(gpu) {
            Precision::F32 => network,
            precision => network.with_precision(precision),
        }
    }

    /// A problem made ready for the device, which is opened if all is well with it.
    fn prepare(&self, mut problem: Problem) -> Result<(Problem, Prepared, Option<Gpu>)> {
        let mut prepared = problem.prepare()?;
        for warning in &prepared.warnings {
            output::notice(warning);
        }
        let gpu = self.open()?;
        if self.precision.is_half() {
            // What the adapter can do decides on the bound that is promised.
            problem.network = self.with_precision(problem.network, gpu.as_ref());
            prepared = problem.prepare()?;
        }
        Ok((problem, prepared, gpu))
    }

    /// Refuses another precision where it would mean nothing.
    fn needs_f32(&self, why: &str) -> Result<()> {
        match self.precision {
            Precision::F32 => Ok(()),
            _ => Err(Error::Text(format!(
                "--precision f16 is not for this: {why}; leave it out"
            ))),
        }
    }

    /// All adapters, and the one that these arguments choose.
    fn list(&self) -> Result<(Adapters, Result<usize>)> {
        let selection = self.selection()?;
        let adapters = pollster::block_on(Adapters::list(&selection));
        let chosen = adapters.choose(&selection);
        Ok((adapters, chosen))
    }
}

/// How a subcommand ended, if it ended by itself.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Outcome {
    Good,
    Differs,
}

/// The text itself, or that of the file it names.
fn text_or_file(given: &OsStr) -> Result<String> {
    let path = Path::new(given);
    let text = match given.to_str() {
        Some(text) if text.trim().is_empty() => {
            return Err(Error::Text(
                "--net is empty; give a network's text or a file with it".to_string(),
            ));
        }
        // A network has parentheses; a name that has none can only be a file.
        Some(text) if text.contains('(') && !path.is_file() => text.to_string(),
        _ => io::read_text(path, MAX_TEXT as u64).map_err(|e| match e {
            Error::File { path, reason } => Error::file(
                path,
                format!("{reason}; --net takes a network's text or a file with it"),
            ),
            other => other,
        })?,
    };
    Ok(without_imports(&text))
}

/// A Python text with blank lines in place of the imports at its start, so
/// that errors still name the right line.
fn without_imports(text: &str) -> String {
    let mut kept = String::with_capacity(text.len());
    // Inside `from torch import (`, and after a line that ends in a backslash.
    let (mut bracket, mut joined) = (false, false);
    let mut lines = text.split_inclusive('\n').peekable();
    while let Some(line) = lines.peek() {
        let code = line.split('#').next().unwrap_or_default().trim();
        let begins = code.starts_with("import ") || code.starts_with("from ");
        // What stands behind a semicolon may be the network.
        if !bracket && !joined && !code.is_empty() && (!begins || code.contains(';')) {
            break;
        }
        if begins || bracket {
            bracket = (bracket || code.contains('(')) && !code.contains(')');
        }
        joined = (begins || joined) && code.ends_with('\\');
        if line.ends_with('\n') {
            kept.push('\n');
        }
        lines.next();
    }
    kept.extend(lines);
    kept
}

fn code(error: &Error) -> u8 {
    match error {
        Error::NoAdapter(_) => 3,
        Error::File { .. } | Error::Data(_) => 4,
        Error::Limit(_)
        | Error::OutOfMemory(_)
        | Error::DeviceLost(_)
        | Error::Timeout(_)
        | Error::Gpu(_) => 5,
        _ => 2,
    }
}

/// Parses the command line and does what it says.
pub fn run() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => return ExitCode::from(output::usage(&error)),
    };
    interrupt::clean_up_when_stopped();
    output::set_color(cli.color);
    output::set_terminal(cli.ascii);
    output::set_talk(match (cli.quiet, cli.verbose) {
        (true, _) => output::Talk::Quiet,
        (_, true) => output::Talk::Verbose,
        _ => output::Talk::Usual,
    });
    output::listen();
    progress::start();
    let result = match &cli.command {
        None => exercise::run(&cli.engine, cli.json),
        Some(Command::Grad(args)) => grad::run(args, &cli.engine, cli.json),
        Some(Command::Graph(args)) => graph::run(args, &cli.engine, cli.json),
        Some(Command::Report(args)) => report::run(args, &cli.engine, cli.json),
        Some(Command::Sheet(args)) => sheet::run(args, &cli.engine, cli.json),
        Some(Command::Grade(args)) => sheet::grade(args, cli.json),
        Some(Command::Bench(args)) => bench::run(args, &cli.engine, cli.json),
        Some(Command::Trace(args)) => trace::run(args, &cli.engine, cli.json),
        Some(Command::Tune(args)) => tune::run(args, &cli.engine, cli.json),
        Some(Command::Check(args)) => check::run(args, &cli.engine, cli.json),
        Some(Command::Inspect { file }) => inspect::run(file, cli.json),
        Some(Command::Adapters) => adapters::run(&cli.engine, cli.json),
        Some(Command::Completions(args)) => manual::completions(args, cli.json),
        Some(Command::Man(args)) => manual::man(args, cli.json),
    };
    progress::end();
    match result {
        Ok(Outcome::Good) => ExitCode::SUCCESS,
        Ok(Outcome::Differs) => ExitCode::from(1),
        Err(error) => {
            output::error(&error.to_string());
            ExitCode::from(code(&error))
        }
    }
}
