//! `wgrad sheet`: a random exercise with its solution. `wgrad grade`: marks for answers.

use std::path::{Path, PathBuf};

use clap::{Args, ValueEnum};
use wgrad::report::Report;
use wgrad::report::grade::{self, Count};
use wgrad::report::page::{self, Made};
use wgrad::sheet::{self, Activation, Settings, Sheet, TEMPLATE, Work};
use wgrad::solution::{Detail, solve};
use wgrad::{Error, Result, io};

use super::{EngineArgs, Outcome, count, output, progress, report, tune};

/// The exercise to draw.
#[derive(Args)]
pub struct SheetArgs {
    /// The seed; the same seed gives the same sheet
    #[arg(long, value_name = "S", default_value_t = 0)]
    seed: u32,

    /// The features of the input, then of each layer: up to 8 to work by hand, more for
    /// a program of your own (784,512,256,1), of whose values some elements are asked for
    #[arg(long, value_name = "N,N,..", default_value = "4,2,1", value_delimiter = ',', value_parser = count::<usize>)]
    layers: Vec<usize>,

    /// What stands between the layers; the last is followed by a sigmoid
    #[arg(long, value_enum, default_value_t = Between::Relu)]
    activation: Between,

    /// Rows of the batch: up to 8 to work by hand, up to 4096 for a program
    #[arg(long, value_name = "N", default_value_t = 1)]
    batch: usize,

    /// Write sheet.html, answers.template.json, model.pth and solution.html into this
    /// folder, which is made if need be; for a program the batch and the weights as .npy
    /// files, too
    #[arg(long, short, value_name = "DIR")]
    output: PathBuf,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Between {
    Relu,
    Sigmoid,
    /// ReLU and sigmoid in turn
    Mixed,
}

/// What to mark.
#[derive(Args)]
pub struct GradeArgs {
    /// The answers: answers.template.json, filled in
    answers: PathBuf,

    /// The folder that wgrad sheet wrote
    #[arg(long, value_name = "DIR")]
    sheet: PathBuf,
}

pub fn run(args: &SheetArgs, engine: &EngineArgs, as_json: bool) -> Result<Outcome> {
    engine.needs_f32("a sheet is worked by hand, or by a program that is held to exact values")?;
    let settings = Settings {
        seed: args.seed,
        layers: args.layers.clone(),
        activation: match args.activation {
            Between::Relu => Activation::Relu,
            Between::Sigmoid => Activation::Sigmoid,
            Between::Mixed => Activation::Mixed,
        },
        batch: args.batch,
    };
    progress::doing("drawing numbers that are workable by hand");
    let drawn = Sheet::draw(&settings)?;
    let work = drawn.work()?;
    let gpu = engine.open()?;
    let detail = Detail {
        every_step: true,
        check: true,
    };
    progress::doing("solving it");
    let solution = pollster::block_on(solve(&work.prepared, gpu.as_ref(), detail))?;
    let solved = Report::new(solution);
    let title = title(&settings);
    let made = Made {
        title: format!("{title}: the solution"),
        date: tune::today(),
        command: report::command(),
    };
    progress::doing("writing the pages");
    let folder = args.output.as_path();
    std::fs::create_dir_all(folder).map_err(|e| {
        Error::file(
            folder,
            format!("{e}; name a folder that is there or can be made"),
        )
    })?;
    let write = |name: &str, text: &str| io::write(&folder.join(name), text.as_bytes());
    write("sheet.html", &page::sheet(&drawn, &work, &title)?)?;
    write(
        "solution.html",
        &page::page(&work.prepared, &solved, &made)?,
    )?;
    let data = drawn.write_data(folder)?;
    // Last, so that a folder with it is whole.
    write(TEMPLATE, &drawn.template(&work))?;
    tell(folder, &settings, &work, &data, as_json)?;
    Ok(match solved.tally().passed() {
        true => Outcome::Good,
        false => Outcome::Differs,
    })
}

fn title(settings: &Settings) -> String {
    let sizes: Vec<_> = settings.layers.iter().map(usize::to_string).collect();
    let how = if settings.by_hand() {
        "hand"
    } else {
        "program"
    };
    format!(
        "Gradients by {how}: {}, sheet {}",
        sizes.join("-"),
        settings.seed
    )
}

fn tell(
    folder: &Path,
    settings: &Settings,
    work: &Work,
    data: &[String],
    as_json: bool,
) -> Result<()> {
    let mut files = vec!["sheet.html", TEMPLATE];
    files.extend(data.iter().map(String::as_str));
    files.push("solution.html");
    let paths: Vec<String> = (files.into_iter())
        .map(|name| folder.join(name).display().to_string())
        .collect();
    let numbers: usize = work.asked.iter().map(sheet::Asked::count).sum();
    if as_json {
        return output::json(&serde_json::json!({
            "sheet": settings.about(),
            "files": paths,
            "asked": work.asked.iter().map(|a| &a.name).collect::<Vec<_>>(),
            "numbers": numbers,
        }));
    }
    output::data(&format!(
        "{}\n{} values to work out, {numbers} numbers\n{}\n",
        title(settings),
        work.asked.len(),
        paths
            .iter()
            .map(|path| format!("  {path}"))
            .collect::<Vec<_>>()
            .join("\n")
    ))
}

pub fn grade(args: &GradeArgs, as_json: bool) -> Result<Outcome> {
    let sheet = Sheet::read(&args.sheet)?;
    let work = sheet.work()?;
    let answers = sheet::read_answers(&args.answers, &sheet, &work)?;
    progress::doing("marking the answers");
    let marks = sheet::grade(&work, &answers);
    match as_json {
        true => output::json(&grade::json(&sheet, &marks))?,
        false => output::data(&grade::text(&sheet, &marks))?,
    }
    Ok(match Count::of(&marks).passed() {
        true => Outcome::Good,
        false => Outcome::Differs,
    })
}
