//! Measuring: how long a step takes and where the time goes, each work checked
//! before it is timed and held against what the adapter can do at best and
//! what the CPU does with the same work. [`baseline`] compares with an earlier
//! run.

pub mod baseline;
mod count;
mod host;
mod peak;
mod row;
mod stats;
mod verdict;
mod wake;
mod work;

pub use count::{Arithmetic, Cost, arithmetic, cost};
pub use peak::{Peaks, launch, measure as peaks};
pub use row::{Queued, Row, Times};
pub use stats::{Budget, Summary, time};
pub use verdict::Verdict;
pub use wake::wake;
pub use work::{BATCHES, Work};

use crate::error::Result;
use crate::run::gpu::{AdapterDescription, Gpu};
use crate::tensor::Tensor;

/// Changes the value of the node with this label before it is checked.
pub type Tamper = fn(&str, &mut Tensor);

/// How to measure.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// Seconds of timing for each row, shared among its measurements.
    pub seconds: f64,
    /// Runs of each measurement at least, however long they take.
    pub least: usize,
    /// A planted fault, so that tests can show that a wrong row is found.
    #[doc(hidden)]
    pub tamper: Option<Tamper>,
}

impl Options {
    /// Figures that repeat within a few percent on a quiet machine.
    pub fn full() -> Options {
        Options {
            seconds: 2.0,
            least: 5,
            tamper: None,
        }
    }

    /// A first impression.
    pub fn quick() -> Options {
        Options {
            seconds: 0.2,
            least: 3,
            tamper: None,
        }
    }
}

/// What was measured on one adapter.
#[derive(Clone, PartialEq, Debug)]
pub struct Results {
    /// The adapter.
    pub adapter: AdapterDescription,
    /// What it can do at best.
    pub peaks: Peaks,
    /// A row for each work.
    pub rows: Vec<Row>,
}

impl Results {
    /// Measures the adapter itself; rows are added with
    /// [`measure`](Results::measure).
    ///
    /// # Errors
    /// The device failed, or computes wrong values even here.
    pub fn new(gpu: &Gpu, options: &Options) -> Result<Results> {
        Ok(Results {
            adapter: gpu.adapter().clone(),
            peaks: peak::measure(gpu, options.seconds)?,
            rows: Vec::new(),
        })
    }

    /// Checks and times one work, and adds its row.
    ///
    /// # Errors
    /// A work that makes no sense or does not fit the adapter; the device
    /// failed. Wrong values are no error but the row's verdict.
    pub fn measure(&mut self, gpu: &Gpu, work: &Work, options: &Options) -> Result<&Row> {
        let row = row::measure(gpu, work, options)?;
        self.rows.push(row);
        Ok(&self.rows[self.rows.len() - 1])
    }

    /// Whether every row is right.
    pub fn passed(&self) -> bool {
        self.rows.iter().all(|row| row.verdict.passed())
    }

    /// The shares of the adapter's peak that a row reaches: operations, bytes.
    pub fn shares(&self, row: &Row) -> Option<[f64; 2]> {
        Some([
            row.flops_per_s()? / self.peaks.flops_per_s,
            row.bytes_per_s()? / self.peaks.copy_bytes_per_s,
        ])
    }
}
