//! `wgrad grad`: the user's own network and data.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};

use clap::Args;
use wgrad::batches::Cut;
use wgrad::io::csv::ColumnRef;
use wgrad::nn::{Loss, Network};
use wgrad::number::{self, printable};
use wgrad::report::Report;
use wgrad::solution::{self, Detail, Prepared, Problem, Solution, plan, solve_telling};
use wgrad::trace::{self, Finding};
use wgrad::{Error, Gpu, NodeId, Result, Tensor, io};

use super::{EngineArgs, Outcome, output, progress};

/// What to differentiate, and on what.
#[derive(Args, Default)]
pub struct GradArgs {
    /// The network: PyTorch code, what print(model) shows, or a file of either
    #[arg(long, value_name = "TEXT|FILE")]
    pub(super) net: OsString,

    /// BCELoss, BCEWithLogitsLoss or MSELoss, with reduction='mean'|'sum'|'none'
    #[arg(long)]
    pub(super) loss: String,

    /// A state dict: .pth or .safetensors; without it, PyTorch's own
    /// initialisation from --seed
    #[arg(long, value_name = "FILE")]
    pub(super) weights: Option<PathBuf>,

    /// The batch: .npy, .safetensors (FILE:KEY picks a tensor) or .csv
    #[arg(long, value_name = "FILE")]
    pub(super) input: OsString,

    /// The targets: .npy, .safetensors (FILE:KEY) or .csv
    #[arg(long, value_name = "FILE", required_unless_present = "target_column")]
    pub(super) target: Option<OsString>,

    /// The column of the --input CSV that holds the targets
    #[arg(long, value_name = "NAME|N", conflicts_with = "target")]
    pub(super) target_column: Option<String>,

    /// Save loss, output, value.<i>, grad.<i>, grad.input and grad.<key>
    #[arg(long, value_name = "FILE.safetensors")]
    pub(super) save: Option<PathBuf>,

    /// Write the WGSL of every kernel that runs, and the plan
    #[arg(long, value_name = "DIR", conflicts_with = "cpu")]
    pub(super) dump_shaders: Option<PathBuf>,

    /// Show the worked solution
    #[arg(long)]
    pub(super) explain: bool,

    /// Do not compare with the CPU reference
    #[arg(long)]
    pub(super) no_check: bool,

    /// Find the first value that is NaN or infinite: its element, what it was made
    /// of, and the likely reason. An --input that is not finite is then no error,
    /// and the exit code is what it is without this
    #[arg(long, conflicts_with = "cpu")]
    pub(super) trace_nonfinite: bool,

    /// The seed of the initial weights, as torch.manual_seed(S) [default: 0]
    #[arg(long, value_name = "S", value_parser = seed, allow_negative_numbers = true)]
    pub(super) seed: Option<Seed>,
}

/// A seed as PyTorch takes it: from -2^63 to 2^64 - 1.
#[derive(Clone, Copy, Default)]
pub(super) struct Seed {
    pub(super) given: i128,
    /// Negative ones in two's complement.
    pub(super) bits: u64,
}

pub(super) fn seed(text: &str) -> Result<Seed, String> {
    let given: i128 = text
        .parse()
        .map_err(|_| "no whole number; torch.manual_seed takes -2^63 to 2^64 - 1".to_string())?;
    let signed = i64::try_from(given).map(|v| v as u64);
    let bits = signed.or_else(|_| u64::try_from(given));
    let bits = bits.map_err(|_| "torch.manual_seed takes -2^63 to 2^64 - 1".to_string())?;
    Ok(Seed { given, bits })
}

pub fn run(args: &GradArgs, engine: &EngineArgs, as_json: bool) -> Result<Outcome> {
    let (problem, prepared, gpu) = engine.prepare(read_problem(args)?)?;
    if gpu.is_none() {
        output::notice("--cpu: the CPU reference alone, in float64; nothing ran on a GPU");
    }
    let detail = Detail {
        every_step: args.explain,
        check: !args.no_check,
    };
    let cut = cut(&prepared, gpu.as_ref(), detail, args.trace_nonfinite)?;
    if let (Some(folder), Some(gpu)) = (&args.dump_shaders, &gpu) {
        dump(folder, &prepared, gpu, detail, cut.as_ref())?;
    }
    let mut nonfinite = match &gpu {
        Some(gpu) if args.trace_nonfinite => Some(look(&prepared, gpu, detail, cut.as_ref())?),
        _ => None,
    };
    let solution = solve(&prepared, gpu.as_ref(), detail, cut)?;
    if nonfinite == Some(None) && solution.cut.is_some() {
        nonfinite = Some(in_sums(&prepared, &solution)?);
    }
    if let Some(values) = solution.value("output")
        && let Some(warning) = problem.loss.check_input(values)?
    {
        output::notice(&warning);
    }
    let mut report = Report::new(solution);
    report.nonfinite = nonfinite;
    for warning in &report.solution.warnings {
        output::notice(warning);
    }
    if let Some(path) = &args.save {
        save(path, &report.solution)?;
    }
    output::report(
        &report,
        as_json,
        output::Parts {
            worked: args.explain,
            overview: true,
        },
    )
}

/// Computes all values, and says how far that is.
pub(super) fn solve(
    prepared: &Prepared,
    gpu: Option<&Gpu>,
    detail: Detail,
    cut: Option<Cut>,
) -> Result<Solution> {
    progress::doing(match detail.check {
        true => "computing, and comparing with the reference",
        false => "computing",
    });
    let mut tell = |rows, of| progress::done(rows as u64, of as u64);
    pollster::block_on(solve_telling(prepared, gpu, detail, cut, &mut tell))
}

/// How the batch is split, where it has to be, which is told.
pub(super) fn cut(
    prepared: &Prepared,
    gpu: Option<&Gpu>,
    detail: Detail,
    traced: bool,
) -> Result<Option<Cut>> {
    progress::doing("planning");
    let cut = solution::cut(prepared, gpu, detail, traced)?;
    if let Some(cut) = &cut {
        output::notice(&format!("the batch is split, {cut}: {}", cut.reason));
    }
    Ok(cut)
}

/// Writes the kernels that run: of sub-batches those of the first, and in a folder
/// of its own those of the last, if it has another size.
fn dump(
    folder: &Path,
    prepared: &Prepared,
    gpu: &Gpu,
    detail: Detail,
    cut: Option<&Cut>,
) -> Result<()> {
    let Some(cut) = cut else {
        io::shaders::save(folder, &plan(prepared, gpu, detail)?)?;
        output::notice(&format!("wrote the kernels to {}", folder.display()));
        return Ok(());
    };
    let split = solution::split(prepared, detail)?;
    let [first, .., last] = cut.sizes[..] else {
        return Ok(());
    };
    let mut folders = vec![(folder.to_path_buf(), first)];
    if last != first {
        folders.push((folder.join("last"), last));
    }
    for (folder, rows) in folders {
        let plan = solution::plan_of_part(&split, &split.part(rows)?, gpu)?;
        io::shaders::save(&folder, &plan)?;
        output::notice(&format!(
            "wrote the kernels of a sub-batch of {rows} rows to {}",
            folder.display()
        ));
    }
    Ok(())
}

/// Looks for the first value that is not finite. It is told at once: what
/// follows may be an error.
fn look(
    prepared: &Prepared,
    gpu: &Gpu,
    detail: Detail,
    cut: Option<&Cut>,
) -> Result<Option<Finding>> {
    progress::doing("looking for values that are not finite");
    let found = match cut {
        Some(cut) => {
            let split = solution::split(prepared, detail)?;
            let outputs = split.outputs();
            let looking = trace::nonfinite_in_parts(gpu, &split, cut, &prepared.feeds, outputs);
            pollster::block_on(looking)?
        }
        None => {
            let named: Vec<NodeId> = prepared.named.iter().map(|(_, id)| *id).collect();
            let looking = trace::nonfinite(gpu, &prepared.graph, &prepared.feeds, &named);
            pollster::block_on(looking)?
        }
    };
    if let Some(f) = &found {
        tell_finding(f);
    }
    Ok(found)
}

/// Looks at the sums over sub-batches that are all finite.
fn in_sums(prepared: &Prepared, solution: &Solution) -> Result<Option<Finding>> {
    for step in &solution.steps {
        let found = trace::nonfinite_sum(&prepared.graph, step.node, &step.value)?;
        if let Some(f) = &found {
            tell_finding(f);
            return Ok(found);
        }
    }
    Ok(None)
}

fn tell_finding(f: &Finding) {
    output::notice(&format!(
        "the first value that is not finite: `{}` {:?} is {}: {}",
        f.label,
        f.index,
        number::show(f.value),
        f.reason
    ));
}

fn save(path: &Path, solution: &Solution) -> Result<()> {
    progress::doing(&format!("writing {}", path.display()));
    let tensors: Vec<(String, Tensor)> = solution
        .named
        .iter()
        .filter_map(|(name, _)| Some((name.clone(), solution.value(name)?.clone())))
        .collect();
    let mut metadata = BTreeMap::from([
        ("network".to_string(), solution.network.clone()),
        ("loss".to_string(), solution.loss.clone()),
    ]);
    if let Some(rounding) = &solution.rounding {
        metadata.insert("precision".to_string(), rounding.sentence());
    }
    io::safetensors::save(path, &tensors, &metadata)?;
    output::notice(&format!(
        "saved {} tensors to {}",
        tensors.len(),
        path.display()
    ));
    Ok(())
}

pub(super) fn read_problem(args: &GradArgs) -> Result<Problem> {
    let network = Network::parse(&super::text_or_file(&args.net)?)?;
    let loss = Loss::parse(&args.loss)?;
    let weights = weights(args, &network)?;
    let (input, from_csv) = read_input(args)?;
    let target = match (&args.target, from_csv) {
        (Some(target), _) => read_tensor(target, &["target", "y"])?,
        (None, Some(target)) => target,
        (None, None) => {
            return Err(Error::Text(
                "--target-column needs a .csv as --input; give --target otherwise".to_string(),
            ));
        }
    };
    if !args.trace_nonfinite {
        finite("--input", &args.input, &input)?;
    }
    Ok(Problem {
        network,
        loss,
        weights,
        input,
        target,
    })
}

/// The weights that are given, or PyTorch's initial ones.
pub(super) fn weights(args: &GradArgs, network: &Network) -> Result<BTreeMap<String, Tensor>> {
    Ok(match &args.weights {
        Some(path) => {
            let weights = read_weights(path)?;
            let fits = network.check_weights(&weights);
            fits.map_err(|e| Error::file(path, e.to_string()))?;
            if args.seed.is_some() {
                output::notice("--seed is not used: --weights gives the weights");
            }
            weights
        }
        None => {
            let seed = args.seed.unwrap_or_default();
            output::notice(&format!(
                "no --weights: PyTorch's initialisation after torch.manual_seed({})",
                seed.given
            ));
            network.init(seed.bits)?
        }
    })
}

fn read_weights(path: &Path) -> Result<BTreeMap<String, Tensor>> {
    reading(path);
    let file = io::read(path)?;
    tell(&file.notices);
    let mut weights = BTreeMap::new();
    for stored in &file.tensors {
        let converted = stored
            .to_tensor()
            .map_err(|e| Error::file(path, e.to_string()))?;
        tell(converted.notice.as_slice());
        let tensor = converted.tensor;
        let bad = tensor.data().iter().filter(|v| !v.is_finite()).count();
        if bad > 0 {
            output::notice(&format!(
                "`{}` holds {bad} values that are not finite",
                printable(&stored.key)
            ));
        }
        weights.insert(stored.key.clone(), tensor);
    }
    Ok(weights)
}

/// The batch and, if the file is a CSV with a target column, the targets.
fn read_input(args: &GradArgs) -> Result<(Tensor, Option<Tensor>)> {
    if !is_csv(Path::new(&args.input)) {
        return Ok((read_tensor(&args.input, &["input", "x"])?, None));
    }
    let column = args.target_column.as_ref().map(|text| match text.parse() {
        Ok(index) => ColumnRef::Index(index),
        Err(_) => ColumnRef::Name(text.clone()),
    });
    reading(Path::new(&args.input));
    let table = io::csv::read(Path::new(&args.input), column.as_ref())?;
    tell(&table.notices);
    Ok((table.features, table.target))
}

/// One tensor of a file: the only one, the one of the usual name, or the one
/// that `FILE:KEY` names.
fn read_tensor(given: &OsStr, usual: &[&str]) -> Result<Tensor> {
    let (path, key) = match file_and_key(given) {
        Some((path, key)) if !Path::new(given).exists() && path.exists() => (path, Some(key)),
        _ => (PathBuf::from(given), None),
    };
    let path = path.as_path();
    let key = key.as_deref();
    reading(path);
    if is_csv(path) {
        let table = io::csv::read(path, None)?;
        tell(&table.notices);
        return Ok(table.features);
    }
    let file = io::read(path)?;
    tell(&file.notices);
    let stored = match (key, &file.tensors[..]) {
        (Some(key), _) => file.get(key),
        (None, [only]) => Some(only),
        (None, _) => usual.iter().find_map(|name| file.get(name)),
    };
    let stored = stored.ok_or_else(|| {
        let keys: Vec<_> = file.tensors.iter().map(|t| printable(&t.key)).collect();
        let wanted = key.map_or_else(
            || format!("several tensors and none named {}", usual.join(" or ")),
            |key| format!("no tensor `{key}`"),
        );
        Error::file(
            path,
            format!("{wanted}; it holds {}; write FILE:KEY", keys.join(", ")),
        )
    })?;
    let converted = stored
        .to_tensor()
        .map_err(|e| Error::file(path, e.to_string()))?;
    tell(converted.notice.as_slice());
    Ok(converted.tensor)
}

/// `FILE:KEY` in its parts. The file's name may be no UTF-8, the key is.
fn file_and_key(given: &OsStr) -> Option<(PathBuf, String)> {
    #[cfg(unix)]
    {
        use std::os::unix::ffi::OsStrExt;
        let bytes = given.as_bytes();
        let at = bytes.iter().rposition(|&b| b == b':')?;
        let key = std::str::from_utf8(&bytes[at + 1..]).ok()?;
        Some((OsStr::from_bytes(&bytes[..at]).into(), key.to_string()))
    }
    #[cfg(not(unix))]
    {
        let (path, key) = given.to_str()?.rsplit_once(':')?;
        Some((path.into(), key.to_string()))
    }
}

/// Says so: a large file takes its time.
pub(super) fn reading(path: &Path) {
    progress::doing(&format!("reading {}", path.display()));
}

fn tell(notices: &[String]) {
    for notice in notices {
        output::notice(notice);
    }
}

fn is_csv(path: &Path) -> bool {
    path.extension()
        .is_some_and(|e| e.eq_ignore_ascii_case("csv"))
}

/// Refuses data that is not finite, naming the first such element.
fn finite(option: &str, path: &OsStr, tensor: &Tensor) -> Result<()> {
    let Some(i) = tensor.data().iter().position(|v| !v.is_finite()) else {
        return Ok(());
    };
    let at: Vec<_> = tensor
        .shape()
        .strides()
        .iter()
        .zip(tensor.dims())
        .map(|(s, d)| i / s % d)
        .collect();
    Err(Error::Data(format!(
        "{option} {}: element {at:?} is {}; remove or replace such rows (--trace-nonfinite shows \
         where it leads)",
        path.display(),
        tensor.data()[i]
    )))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn imports_become_blank_lines() {
        for (text, want) in [
            ("import torch\nfrom torch import nn\nReLU()", "\n\nReLU()"),
            (
                "# a net\r\n\nfrom torch.nn import (  # (\n  Linear,\n  ReLU,\n)\nm = ReLU()\n",
                "\n\n\n\n\n\nm = ReLU()\n",
            ),
            (
                "from a import \\\n  b\nReLU()\nimport c\n",
                "\n\nReLU()\nimport c\n",
            ),
            ("ReLU()", "ReLU()"),
            ("importance()", "importance()"),
            ("import a", ""),
        ] {
            assert_eq!(super::super::without_imports(text), want, "{text:?}");
        }
    }

    #[test]
    fn seeds_are_as_in_pytorch() {
        let bits = |text: &str| seed(text).map(|s| s.bits);
        assert_eq!(bits("7"), Ok(7));
        assert_eq!(bits("-1"), Ok(u64::MAX));
        assert_eq!(bits("18446744073709551615"), Ok(u64::MAX));
        assert_eq!(bits("-9223372036854775808"), Ok(1 << 63));
        assert!(bits("-9223372036854775809").is_err());
        assert!(bits("18446744073709551616").is_err());
        assert!(bits("x").is_err());
    }
}
