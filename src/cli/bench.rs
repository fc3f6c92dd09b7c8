//! `wgrad bench`: how fast, checked first.

use std::path::{Path, PathBuf};

use clap::Args;
use wgrad::bench::baseline::Baseline;
use wgrad::bench::{BATCHES, Options, Results, Work};
use wgrad::nn::{Loss, Network};
use wgrad::report::bench as report;
use wgrad::{Error, Gpu, Result};

use super::export::Export;
use super::{EngineArgs, Outcome, output, progress};

/// What to measure, and what to do with the figures.
#[derive(Args)]
pub struct BenchArgs {
    /// The network, as for grad; without it, the exercise's network and two
    /// larger ones
    #[arg(long, value_name = "TEXT|FILE", requires = "loss")]
    net: Option<std::ffi::OsString>,

    /// The loss, as for grad, with reduction='mean' or 'sum'
    #[arg(long, requires = "net")]
    loss: Option<String>,

    /// Rows of each batch [default: 1,64,1024,65536]; without --net, the
    /// exercise's network alone is measured on them
    #[arg(long, value_name = "N,N..", value_delimiter = ',', value_parser = super::count::<u64>)]
    batch: Option<Vec<u64>>,

    /// Networks computed side by side in one dispatch, each with weights and rows
    /// of its own; without --net, the exercise's network alone
    #[arg(long, value_name = "M,M..", value_delimiter = ',', default_value = "1", value_parser = super::count::<u32>)]
    replicas: Vec<u32>,

    /// Less time for each row: a first impression
    #[arg(long)]
    quick: bool,

    /// Write every figure as JSON
    #[arg(long, value_name = "FILE")]
    export_json: Option<PathBuf>,

    /// Write the tables as Markdown
    #[arg(long, value_name = "FILE")]
    export_markdown: Option<PathBuf>,

    /// Compare with the JSON of an earlier run
    #[arg(long, value_name = "FILE")]
    baseline: Option<PathBuf>,

    /// Write the WGSL of every kernel, and the plan; a folder for each row
    /// where there are several
    #[arg(long, value_name = "DIR")]
    dump_shaders: Option<PathBuf>,
}

pub fn run(args: &BenchArgs, engine: &EngineArgs, as_json: bool) -> Result<Outcome> {
    let mut works = works(args)?;
    // What would fail at the end fails before anything is measured.
    let baseline = args.baseline.as_deref().map(Baseline::read).transpose()?;
    let json = args.export_json.as_deref().map(Export::to).transpose()?;
    let markdown = args.export_markdown.as_deref();
    let markdown = markdown.map(Export::to).transpose()?;
    let Some(gpu) = engine.open()? else {
        return Err(Error::Text(
            "--cpu has nothing to measure: a benchmark times an adapter, and shows the CPU beside \
             it; leave --cpu out"
                .to_string(),
        ));
    };
    for work in &mut works {
        work.network = engine.with_precision(work.network.clone(), Some(&gpu));
    }
    if let Some(folder) = &args.dump_shaders {
        dump(folder, &works, &gpu)?;
    }
    // Nothing is measured if something will not fit.
    for work in &works {
        super::with_largest_batch(&gpu, work.batch, |batch| {
            let some = Work {
                batch,
                ..work.clone()
            };
            some.plan(gpu.target())
        })?;
    }
    let options = match args.quick {
        true => Options::quick(),
        false => Options::full(),
    };
    progress::doing("measuring the adapter");
    let mut results = Results::new(&gpu, &options)?;
    let measured = works.iter().enumerate().try_for_each(|(i, work)| {
        progress::doing(&format!("measuring {}{}", named(work), of_replicas(work)));
        progress::done(i as u64, works.len() as u64);
        results.measure(&gpu, work, &options).map(drop)
    });
    // What was measured before an error is worth showing.
    let all = report::json(&results);
    if as_json {
        output::json(&all)?;
    } else {
        output::data(&report::text(&results))?;
    }
    if let Some(baseline) = &baseline
        && measured.is_ok()
    {
        let text = report::moved(baseline, &results, &baseline.compare(&results.rows));
        match as_json {
            true => output::beside(&text),
            false => output::data(&text)?,
        }
    }
    measured?;
    if let Some(file) = json {
        file.write(&format!("{all:#}\n"))?;
    }
    if let Some(file) = markdown {
        file.write(&report::markdown(&results))?;
    }
    Ok(outcome(&results))
}

fn outcome(results: &Results) -> Outcome {
    match results.passed() {
        true => Outcome::Good,
        false => Outcome::Differs,
    }
}

fn works(args: &BenchArgs) -> Result<Vec<Work>> {
    let batches: Option<Vec<usize>> = match &args.batch {
        None => None,
        Some(list) => {
            let sizes = list.iter().map(|&n| {
                usize::try_from(n)
                    .map_err(|_| Error::Text(format!("--batch {n} is more than memory can hold")))
            });
            Some(sizes.collect::<Result<_>>()?)
        }
    };
    let alone = match (&args.net, &args.loss) {
        (Some(net), Some(loss)) => {
            let network = Network::parse(&super::text_or_file(net)?)?;
            let loss = Loss::parse(loss)?;
            Work::on(&network, &loss, batches.as_deref().unwrap_or(&BATCHES))
        }
        // clap lets neither come without the other.
        _ if args.replicas == [1] => Work::defaults(batches.as_deref())?,
        _ => Work::defaults(Some(batches.as_deref().unwrap_or(&[1, 64])))?,
    };
    let mut works = Vec::with_capacity(alone.len() * args.replicas.len());
    for work in alone {
        let all = args.replicas.iter();
        works.extend(all.map(|&m| work.clone().with_replicas(m as usize)));
    }
    Ok(works)
}

/// `4-2-1, batch 64`.
fn named(work: &Work) -> String {
    format!("{}, batch {}", work.name(), work.batch)
}

fn of_replicas(work: &Work) -> String {
    match work.replicas {
        1 => String::new(),
        n => format!(", {n} replicas"),
    }
}

fn dump(folder: &Path, works: &[Work], gpu: &Gpu) -> Result<()> {
    for work in works {
        let plan = work.plan(gpu.target())?;
        match works {
            [_] => wgrad::io::shaders::save(folder, &plan)?,
            _ => {
                let replicas = match work.replicas {
                    1 => String::new(),
                    n => format!("-replicas-{n}"),
                };
                let own = format!("{}-batch-{}{replicas}", work.name(), work.batch);
                wgrad::io::shaders::save(&folder.join(own), &plan)?;
            }
        }
    }
    output::notice(&format!("wrote the kernels to {}", folder.display()));
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// No option can plant a fault, so this does it behind the command line.
    #[test]
    fn a_wrong_row_is_wrong_and_is_not_timed() {
        let gpu = Gpu::new().unwrap();
        let works = Work::defaults(Some(&[3, 4])).unwrap();
        let mut options = Options::quick();
        options.seconds = 0.01;
        let mut results = Results::new(&gpu, &options).unwrap();
        results.measure(&gpu, &works[0], &options).unwrap();
        assert!(outcome(&results) == Outcome::Good);
        options.tamper = Some(|label, value| {
            if label == "d/d 2.weight" {
                value.data_mut()[1] += 1e-3;
            }
        });
        let row = results.measure(&gpu, &works[1], &options).unwrap();
        assert!(row.times.is_none() && row.verdict.failures == 1, "{row:?}");
        assert!(outcome(&results) == Outcome::Differs);
        let text = report::text(&results);
        let wrong: Vec<_> = text.lines().filter(|l| l.contains("WRONG")).collect();
        assert_eq!(wrong.len(), 2, "{text}");
        assert!(wrong[1].contains("`d/d 2.weight` [0, 1]"), "{text}");
        assert!(report::markdown(&results).contains("| 4-2-1 | 4 | WRONG | - |"));
        let json = report::json(&results);
        assert_eq!(json["results"][0]["correct"], true);
        assert_eq!(json["results"][1]["correct"], false);
        assert!(json["results"][1]["step_s"].is_null());
    }
}
