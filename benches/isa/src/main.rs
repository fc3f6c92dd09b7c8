//! What a GPU's compiler makes of wgrad's kernels, without a GPU. README.md says what the
//! tables tell and what they cannot.

mod family;
mod kind;
mod listing;
mod report;
mod row;
mod spirv;
mod vulkan;
mod waits;
mod works;

use std::io::{ErrorKind, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Result;
use clap::Parser;

/// Compiles kernels with Mesa's RADV for GPUs that need not be there, and counts what the
/// compiler made of them.
///
/// The exit code is 1 if a kernel does not compile, 2 if what is asked for makes no sense,
/// 3 if there is no RADV.
#[derive(Parser)]
#[command(name = "isa")]
struct Args {
    /// WGSL files; each entry point is compiled. Without any: the kernels of `wgrad bench`'s
    /// networks, of 4-2-1 at batch 4,194,304 and of products of 1024 and 4096.
    files: Vec<PathBuf>,
    /// Families of GPUs, by RADV's names.
    #[arg(
        long,
        value_name = "NAMES",
        value_delimiter = ',',
        default_value = "GFX1100,NAVI10,VEGA10"
    )]
    family: Vec<String>,
    /// Write each kernel's WGSL, SPIR-V and assembly to DIR/FAMILY.
    #[arg(long, value_name = "DIR")]
    asm: Option<PathBuf>,
    /// Print JSON, with all that the driver counts.
    #[arg(long)]
    json: bool,
    /// Compile for the family of the environment, and tell it to the process that asked.
    #[arg(long, hide = true)]
    compile: bool,
}

/// Why there is nothing to show.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// Some kernels do not compile.
    #[error("kernels that do not compile: {0}")]
    Kernels(usize),
    #[error("{0}")]
    Usage(String),
    #[error(
        "no RADV: {0}; install it (Debian and Ubuntu: apt-get install mesa-vulkan-drivers \
         libvulkan1) and start this by benches/isa/run.sh, which finds it"
    )]
    NoRadv(String),
}

impl Failure {
    /// The exit code.
    pub fn code(&self) -> u8 {
        match self {
            Failure::Kernels(_) => 1,
            Failure::Usage(_) => 2,
            Failure::NoRadv(_) => 3,
        }
    }
}

fn main() -> ExitCode {
    let args = Args::parse();
    match run(&args) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            let code = error.downcast_ref().map_or(2, Failure::code);
            ExitCode::from(code)
        }
    }
}

/// Prints a text and a line's end. Whoever reads may have had enough: that is no error.
fn show(text: &str) -> Result<()> {
    match writeln!(std::io::stdout(), "{text}") {
        Err(e) if e.kind() == ErrorKind::BrokenPipe => Ok(()),
        other => Ok(other?),
    }
}

fn run(args: &Args) -> Result<()> {
    if args.compile {
        return family::compile(&args.files, args.asm.as_deref());
    }
    let mut families = Vec::new();
    for name in &args.family {
        let found = family::of(name, &args.files, args.asm.as_deref())?;
        if !args.json {
            show(&report::text(&found))?;
        }
        for what in &found.failed {
            eprintln!("error: {}: {what}", found.device);
        }
        families.push(found);
    }
    if args.json {
        show(&serde_json::to_string_pretty(&families)?)?;
    } else {
        show(report::LEGEND)?;
    }
    match families.iter().map(|f| f.failed.len()).sum() {
        0 => Ok(()),
        n => Err(Failure::Kernels(n).into()),
    }
}
