//! The problem that a picture or a page shows: the exercise, or the user's own
//! network on the user's data or on random rows.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::Args;
use rand_mt::Mt;
use wgrad::nn::{Loss, Network};
use wgrad::report::Report;
use wgrad::solution::{Problem, Solution};
use wgrad::{Error, Result, Tensor, exercise};

use super::grad::{self, GradArgs, Seed};
use super::output;

/// What to show; without `--net`, the exercise.
#[derive(Args)]
pub struct ProblemArgs {
    /// The network: PyTorch code, what print(model) shows, or a file of either;
    /// without it, the exercise
    #[arg(long, value_name = "TEXT|FILE", requires = "loss")]
    net: Option<OsString>,

    /// BCELoss, BCEWithLogitsLoss or MSELoss, with reduction='mean'|'sum'|'none'
    #[arg(long, requires = "net")]
    loss: Option<String>,

    /// A state dict: .pth or .safetensors; without it, PyTorch's own
    /// initialisation from --seed
    #[arg(long, value_name = "FILE", requires = "net")]
    weights: Option<PathBuf>,

    /// The batch: .npy, .safetensors (FILE:KEY picks a tensor) or .csv; without it,
    /// random rows
    #[arg(long, value_name = "FILE", requires = "net")]
    input: Option<OsString>,

    /// The targets: .npy, .safetensors (FILE:KEY) or .csv
    #[arg(long, value_name = "FILE", requires = "input")]
    target: Option<OsString>,

    /// The column of the --input CSV that holds the targets
    #[arg(
        long,
        value_name = "NAME|N",
        conflicts_with = "target",
        requires = "input"
    )]
    target_column: Option<String>,

    /// Random rows, where there is no --input [default: 1]
    #[arg(long, value_name = "N", conflicts_with = "input", requires = "net", value_parser = clap::value_parser!(u32).range(1..))]
    batch: Option<u32>,

    /// The seed of the initial weights, as torch.manual_seed(S) [default: 0]
    #[arg(long, value_name = "S", value_parser = grad::seed, allow_negative_numbers = true, requires = "net")]
    seed: Option<Seed>,
}

impl ProblemArgs {
    /// Whether it is the exercise.
    pub fn is_exercise(&self) -> bool {
        self.net.is_none()
    }

    /// A title for it.
    pub fn title(&self, problem: &Problem) -> String {
        match self.is_exercise() {
            true => "Gradients by hand: Linear, ReLU, Linear, Sigmoid, BCELoss".to_string(),
            false => {
                let rows = match problem.input.dims() {
                    [] | [_] => 1,
                    [rows, ..] => *rows,
                };
                let s = if rows == 1 { "" } else { "s" };
                format!(
                    "Gradients of a network under {}, {rows} row{s}",
                    problem.loss
                )
            }
        }
    }

    /// The problem itself.
    pub fn read(&self) -> Result<Problem> {
        let (Some(net), Some(loss)) = (&self.net, &self.loss) else {
            return exercise::problem();
        };
        let mut args = GradArgs {
            net: net.clone(),
            loss: loss.clone(),
            weights: self.weights.clone(),
            seed: self.seed,
            ..GradArgs::default()
        };
        if let Some(input) = &self.input {
            if self.target.is_none() && self.target_column.is_none() {
                return Err(Error::Text(
                    "--input needs --target, or --target-column for a CSV".to_string(),
                ));
            }
            args.input.clone_from(input);
            args.target.clone_from(&self.target);
            args.target_column.clone_from(&self.target_column);
            return grad::read_problem(&args);
        }
        let network = Network::parse(&super::text_or_file(net)?)?;
        let weights = grad::weights(&args, &network)?;
        random(
            network,
            Loss::parse(loss)?,
            weights,
            self.batch.unwrap_or(1) as usize,
        )
    }

    /// The report on a solution: the exercise's is held against PyTorch and the
    /// printed sheet.
    pub fn report(&self, solution: Solution) -> Result<Report> {
        match self.is_exercise() {
            true => of_exercise(solution),
            false => Ok(Report::new(solution)),
        }
    }
}

/// The report on the exercise's solution, beside PyTorch's values and the printed
/// sheet's, which are of exact products.
pub(super) fn of_exercise(solution: Solution) -> Result<Report> {
    let mut report = Report::new(solution);
    if report.solution.rounding.is_some() {
        output::notice(
            "PyTorch's values and the sheet's figures are of exact products: not compared with \
             those in float16",
        );
        return Ok(report);
    }
    let (pytorch, version) = exercise::pytorch()?;
    report.pytorch = pytorch;
    report.pytorch_version = Some(version);
    report.figures = exercise::figures(&report.solution)?;
    Ok(report)
}

/// Random rows, uniform in [-1, 1), and targets 0 and 1.
fn random(
    network: Network,
    loss: Loss,
    weights: std::collections::BTreeMap<String, Tensor>,
    rows: usize,
) -> Result<Problem> {
    let (Some(takes), Some(gives)) = (network.in_features(), network.out_features()) else {
        return Err(Error::Text(
            "this network has no Linear, so it takes any number of features; give its data with \
             --input and --target"
                .to_string(),
        ));
    };
    // Both are bounded before anything is made of them.
    wgrad::Shape::new(&[rows, takes.max(gives)])?;
    output::notice(&format!(
        "no --input: random rows, {rows} of {takes} features"
    ));
    let mut draws = Mt::new(1);
    let input = (0..rows * takes).map(|_| (draws.next_u32() >> 8) as f32 / (1 << 23) as f32 - 1.0);
    let input = Tensor::new(&[rows, takes], input.collect())?;
    let target = (0..rows * gives)
        .map(|_| (draws.next_u32() >> 31) as f32)
        .collect();
    let target = Tensor::new(&[rows, gives], target)?;
    Ok(Problem {
        network,
        loss,
        weights,
        input,
        target,
    })
}
