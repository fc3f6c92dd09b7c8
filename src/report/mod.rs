//! What was computed, for people and for scripts: a report is a solution with
//! what it is held against, and the verdict on both. [`text`] writes it for a
//! terminal, [`json`] for a program.

#[cfg(not(target_arch = "wasm32"))]
pub mod bench;
#[cfg(not(target_arch = "wasm32"))]
pub mod card;
#[cfg(feature = "cli")]
pub mod grade;
#[cfg(feature = "pictures")]
mod heat;
pub mod json;
#[cfg(feature = "pictures")]
mod math;
#[cfg(feature = "pictures")]
pub mod page;
pub mod palette;
#[cfg(feature = "pictures")]
pub mod picture;
#[cfg(not(target_arch = "wasm32"))]
pub mod profile;
#[cfg(feature = "cli")]
mod table;
#[cfg(feature = "pictures")]
mod templates;
#[cfg(feature = "cli")]
pub mod terminal;
#[cfg(feature = "cli")]
pub mod text;

use std::collections::BTreeMap;

use crate::check::cases::close;
use crate::check::ulps;
use crate::exercise::{Figure, Match};
#[cfg(feature = "cli")]
use crate::graph::Precision;
#[cfg(feature = "cli")]
use crate::run::gpu::AdapterDescription;
use crate::solution::{Engine, Solution, Step};
use crate::trace::Finding;

/// A solution and what it is held against.
#[derive(Clone, Debug)]
pub struct Report {
    /// The solution.
    pub solution: Solution,
    /// PyTorch's values by public name, where they are known.
    pub pytorch: BTreeMap<String, Vec<f32>>,
    /// PyTorch's version, where its values are known.
    pub pytorch_version: Option<String>,
    /// The figures of the printed sheet, where there is one.
    pub figures: Vec<Figure>,
    /// The first value that is not finite; `None` if nobody looked, and
    /// `Some(None)` if there is none.
    pub nonfinite: Option<Option<Finding>>,
}

/// How many values were held against something, and how many agreed.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Tally {
    /// Values within the bounds of the reference, step by step and end to end,
    /// of all.
    pub reference: (usize, usize),
    /// Of these, values for which their own step has no bound.
    pub unbounded: usize,
    /// Values that agree with PyTorch by its own float32 rule, of all.
    pub pytorch: (usize, usize),
    /// Figures of the sheet that are met, of all.
    pub sheet: (usize, usize),
    /// Figures of the sheet that the engine meets digit for digit.
    pub sheet_digits: usize,
}

impl Tally {
    /// All values that agreed, and all.
    pub fn total(&self) -> (usize, usize) {
        let parts = [self.reference, self.pytorch, self.sheet];
        parts
            .iter()
            .fold((0, 0), |sum, part| (sum.0 + part.0, sum.1 + part.1))
    }

    /// Whether all agreed.
    pub fn passed(&self) -> bool {
        let (good, all) = self.total();
        good == all
    }
}

impl Report {
    /// A report on a solution alone.
    pub fn new(solution: Solution) -> Report {
        Report {
            solution,
            pytorch: BTreeMap::new(),
            pytorch_version: None,
            figures: Vec::new(),
            nonfinite: None,
        }
    }

    /// PyTorch's values for a step, if they are known.
    pub fn pytorch_of(&self, step: &Step) -> Option<&[f32]> {
        self.pytorch.iter().find_map(|(name, values)| {
            let known = self.solution.step(name)?;
            (known.node == step.node).then_some(values.as_slice())
        })
    }

    /// The largest distance of a step's value from the reference and from
    /// PyTorch, in ULPs of float32; `None` if it was held against neither.
    pub fn max_ulps(&self, step: &Step) -> Option<f64> {
        let from_reference = step.comparison.as_ref().map(|c| c.max_ulps);
        let pytorch = self.pytorch_of(step).unwrap_or(&[]).iter();
        let from_pytorch = step
            .value
            .data()
            .iter()
            .zip(pytorch)
            .map(|(&got, &want)| ulps(got, f64::from(want)));
        from_reference
            .into_iter()
            .chain(from_pytorch)
            .reduce(f64::max)
    }

    /// The verdict.
    pub fn tally(&self) -> Tally {
        let mut tally = Tally::default();
        let on_gpu = matches!(self.solution.engine, Engine::Gpu(_));
        for step in &self.solution.steps {
            if let (Some(c), true) = (&step.comparison, on_gpu) {
                let failures = step.comparisons().map(|c| c.failures).max().unwrap_or(0);
                tally.reference.0 += c.elements - failures;
                tally.reference.1 += c.elements;
                tally.unbounded += step.local.as_ref().map_or(0, |local| local.unbounded);
            }
            for (got, want) in step
                .value
                .data()
                .iter()
                .zip(self.pytorch_of(step).unwrap_or(&[]))
            {
                let close = close(f64::from(*got), f64::from(*want));
                tally.pytorch.0 += usize::from(close);
                tally.pytorch.1 += 1;
            }
        }
        for figure in &self.figures {
            tally.sheet.0 += usize::from(figure.met != Match::No);
            tally.sheet.1 += 1;
            tally.sheet_digits += usize::from(figure.met == Match::Engine);
        }
        tally
    }
}

/// An adapter, in two lines.
#[cfg(feature = "cli")]
fn adapter_lines(d: &AdapterDescription) -> String {
    let (name, kind, backend, driver) = (&d.name, &d.kind, &d.backend, &d.driver);
    format!("adapter  {name}\n         {kind}, {backend}, driver {driver}\n")
}

/// The precision of products of matrices, where it is not float32.
#[cfg(feature = "cli")]
fn precision_line(precision: Precision) -> String {
    match precision {
        Precision::F32 => String::new(),
        half => {
            let text = format!("matrix products: {}", half.describe());
            format!("{}\n", table::hanging(&text, 9))
        }
    }
}
