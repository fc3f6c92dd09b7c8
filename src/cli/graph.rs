//! `wgrad graph`: a picture of a computation graph.

use std::path::{Path, PathBuf};

use clap::{Args, ValueEnum};
use wgrad::Result;
use wgrad::plan::Plan;
use wgrad::report::picture::{self, Picture};
use wgrad::solution::{self, Detail};

use super::export::Export;
use super::output::Sort;
use super::problem::ProblemArgs;
use super::{EngineArgs, Outcome, grad, output, progress};

/// What to draw, and how.
#[derive(Args)]
pub struct GraphArgs {
    #[command(flatten)]
    problem: ProblemArgs,

    /// The form [default: that of --output's name, else text]
    #[arg(long, value_enum, value_name = "F")]
    format: Option<Format>,

    /// Write to this file, not to stdout
    #[arg(long, short, value_name = "FILE")]
    output: Option<PathBuf>,

    /// Show the reverse walk: every gradient
    #[arg(long)]
    backward: bool,

    /// Compute, and show the values: large ones as heat maps (SVG) or in short
    #[arg(long)]
    values: bool,

    /// Show the plan by which the adapter computes: kernels, what is fused into
    /// one, buffers. Includes --backward
    #[arg(long)]
    plan: bool,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Format {
    /// A drawing that browsers show; nothing to install
    Svg,
    /// For Graphviz
    Dot,
    /// For sites that draw Mermaid
    Mermaid,
    Json,
    Text,
}

impl Format {
    fn of(path: &Path) -> Option<Format> {
        match path.extension()?.to_str()?.to_ascii_lowercase().as_str() {
            "svg" => Some(Format::Svg),
            "dot" | "gv" => Some(Format::Dot),
            "mmd" | "mermaid" => Some(Format::Mermaid),
            "json" => Some(Format::Json),
            _ => None,
        }
    }
}

pub fn run(args: &GraphArgs, engine: &EngineArgs, as_json: bool) -> Result<Outcome> {
    let named = args.output.as_deref().and_then(Format::of);
    let format = match as_json {
        true => Format::Json,
        false => args.format.or(named).unwrap_or(Format::Text),
    };
    let file = args.output.as_deref().map(Export::to).transpose()?;
    let mut problem = args.problem.read()?;
    // A picture of the graph alone needs no adapter.
    let (problem, prepared, gpu) = match args.values || args.plan {
        true => engine.prepare(problem)?,
        false => {
            problem.network = engine.with_precision(problem.network, None);
            let prepared = problem.prepare()?;
            for warning in &prepared.warnings {
                output::notice(warning);
            }
            (problem, prepared, None)
        }
    };
    let mut drawn = Picture::of_problem(&prepared, args.backward || args.plan)?;
    if args.values {
        let detail = Detail {
            every_step: true,
            check: false,
        };
        let cut = grad::cut(&prepared, gpu.as_ref(), detail, false)?;
        let solved = grad::solve(&prepared, gpu.as_ref(), detail, cut)?;
        for warning in &solved.warnings {
            output::notice(warning);
        }
        drawn.set_values(&prepared, &solved);
    }
    if args.plan {
        let plan = match &gpu {
            Some(gpu) => {
                let plain = Detail {
                    every_step: false,
                    check: false,
                };
                progress::doing("planning");
                solution::plan(&prepared, gpu, plain)?
            }
            None => {
                output::notice("--cpu: the plan for any device that WebGPU allows");
                let outputs: Vec<_> = prepared.named.iter().map(|(_, id)| *id).collect();
                Plan::new(&prepared.graph, &outputs)?
            }
        };
        output::detail(&plan.summary());
        drawn.set_plan(&plan);
    }
    progress::doing("drawing");
    let title = args.problem.title(&problem);
    let text = match format {
        Format::Svg => picture::svg(&drawn, &title)?,
        Format::Dot => picture::dot(&drawn, &title),
        Format::Mermaid => picture::mermaid(&drawn),
        Format::Json => format!("{:#}\n", picture::json(&drawn)),
        Format::Text => picture::coloured(&drawn),
    };
    let sort = match format {
        Format::Text => Sort::Text,
        Format::Json => Sort::Json,
        Format::Svg | Format::Dot | Format::Mermaid => Sort::Document,
    };
    output::sorted(file, &text, sort)?;
    Ok(Outcome::Good)
}
