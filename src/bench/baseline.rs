//! Is it faster than last time? A row has moved if the middle parts of its
//! step times, from the 10th to the 90th percentile, do not overlap.

use std::fmt;
use std::path::Path;

use serde::Deserialize;

use super::{Results, Row};
use crate::error::{Error, Result};
use crate::io;

/// No benchmark writes a larger file.
const MOST_BYTES: u64 = 16 << 20;

/// An earlier run, as its JSON has it.
#[derive(Clone, PartialEq, Debug, Deserialize)]
pub struct Baseline {
    /// The adapter's name.
    pub adapter: String,
    /// Its driver.
    pub driver: String,
    /// The rows.
    pub results: Vec<Earlier>,
}

/// A row of an earlier run.
#[derive(Clone, PartialEq, Debug, Deserialize)]
pub struct Earlier {
    /// The sizes of the layers.
    pub net: String,
    /// The network.
    pub network: String,
    /// The loss.
    pub loss: String,
    /// Rows of the batch.
    pub batch: usize,
    /// Networks side by side.
    pub replicas: usize,
    /// Seconds of a step; nothing if the row was wrong.
    pub step_s: Option<Interval>,
}

/// Where the times of a step lay, in seconds.
#[derive(Clone, Copy, PartialEq, Debug, Deserialize)]
pub struct Interval {
    /// The middle one.
    pub median: f64,
    /// The 10th percentile.
    pub p10: f64,
    /// The 90th percentile.
    pub p90: f64,
}

/// What became of a row.
#[derive(Clone, Copy, PartialEq, Debug)]
pub enum Change {
    /// The intervals overlap.
    Noise,
    /// Faster, by this factor of the medians.
    Faster(f64),
    /// Slower, by this factor of the medians.
    Slower(f64),
    /// The baseline does not have it, or had it WRONG.
    New,
    /// Right in the baseline, and wrong now.
    Wrong,
    /// The baseline has it, this run has not.
    Gone,
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Change::Noise => f.write_str("within noise"),
            Change::Faster(by) => write!(f, "{by:.2} times faster"),
            Change::Slower(by) => write!(f, "{by:.2} times slower"),
            Change::New => f.write_str("not in the baseline"),
            Change::Wrong => f.write_str("WRONG now"),
            Change::Gone => f.write_str("only in the baseline"),
        }
    }
}

/// A row beside its earlier self.
#[derive(Clone, PartialEq, Debug)]
pub struct Moved {
    /// The sizes of the layers.
    pub net: String,
    /// Rows of the batch.
    pub batch: usize,
    /// The median step in seconds, then.
    pub before_s: Option<f64>,
    /// The median step in seconds, now.
    pub now_s: Option<f64>,
    /// What became of it.
    pub change: Change,
}

impl Interval {
    fn is_sound(&self) -> bool {
        self.p10 > 0.0 && self.p10 <= self.median && self.median <= self.p90
    }

    /// What became of this, given what it is now.
    pub fn change(&self, now: &Interval) -> Change {
        if now.p90 < self.p10 {
            Change::Faster(self.median / now.median)
        } else if now.p10 > self.p90 {
            Change::Slower(now.median / self.median)
        } else {
            Change::Noise
        }
    }
}

impl Earlier {
    fn is(&self, row: &Row) -> bool {
        (&self.net, &self.network, &self.loss) == (&row.net, &row.network, &row.loss)
            && (self.batch, self.replicas) == (row.batch, row.replicas)
    }
}

impl Baseline {
    /// Reads what `--export-json` wrote.
    ///
    /// # Errors
    /// [`Error::File`] if it cannot be read or is something else.
    pub fn read(path: &Path) -> Result<Baseline> {
        Baseline::read_slice(&io::read_bytes(path, MOST_BYTES)?, path)
    }

    /// As [`read`](Baseline::read), from the bytes of a file. Errors name `path`.
    ///
    /// # Errors
    /// As [`read`](Baseline::read).
    pub fn read_slice(bytes: &[u8], path: &Path) -> Result<Baseline> {
        let wrong = |reason: String| {
            Error::file(
                path,
                format!("not a benchmark's JSON: {reason}; write one with --export-json"),
            )
        };
        let baseline: Baseline = serde_json::from_slice(bytes).map_err(|e| wrong(e.to_string()))?;
        let unsound = |row: &&Earlier| row.step_s.is_some_and(|s| !s.is_sound());
        match baseline.results.iter().find(unsound) {
            Some(row) => Err(wrong(format!(
                "`step_s` of {}, batch {}, has no order: p10, median, p90 must ascend from above 0",
                row.net, row.batch
            ))),
            None => Ok(baseline),
        }
    }

    /// Whether the earlier run was on this run's adapter and driver.
    pub fn same_adapter(&self, results: &Results) -> bool {
        (&self.adapter, &self.driver) == (&results.adapter.name, &results.adapter.driver)
    }

    /// Every row of this run and of the earlier one, side by side.
    pub fn compare(&self, rows: &[Row]) -> Vec<Moved> {
        let now_of = |row: &Row| {
            row.times.as_ref().map(|t| Interval {
                median: t.step.median,
                p10: t.step.p10,
                p90: t.step.p90,
            })
        };
        let mut moved = Vec::new();
        for row in rows {
            let before = self.results.iter().find(|e| e.is(row));
            let before = before.and_then(|e| e.step_s);
            let now = now_of(row);
            let change = match (&before, &now) {
                (Some(before), Some(now)) => before.change(now),
                (Some(_), None) => Change::Wrong,
                (None, _) => Change::New,
            };
            moved.push(Moved {
                net: row.net.clone(),
                batch: row.batch,
                before_s: before.map(|i| i.median),
                now_s: now.map(|i| i.median),
                change,
            });
        }
        let left = |e: &&Earlier| !rows.iter().any(|row| e.is(row));
        moved.extend(self.results.iter().filter(left).map(|e| Moved {
            net: e.net.clone(),
            batch: e.batch,
            before_s: e.step_s.map(|i| i.median),
            now_s: None,
            change: Change::Gone,
        }));
        moved
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::{Cost, Summary, Times, Verdict};

    fn row(batch: usize, times: Option<[f64; 3]>) -> Row {
        let summary = |[p10, median, p90]: [f64; 3]| Summary {
            median,
            p10,
            p90,
            runs: 9,
            warmups: 2,
            outliers: 0,
        };
        Row {
            net: "4-2-1".to_string(),
            network: "N".to_string(),
            loss: "L".to_string(),
            batch,
            replicas: 1,
            gradients: 10,
            cost: Cost::default(),
            dispatches: 1,
            kernels: 1,
            plan_bytes: 0,
            first_step_s: 1.0,
            verdict: Verdict::default(),
            rounding: None,
            times: times.map(|t| Times {
                step: summary(t),
                forward: summary(t),
                backward_s: 0.0,
                queued: None,
                encode_s: 0.0,
                submit_s: 0.0,
                wait_s: 0.0,
                read_s: 0.0,
                gpu_s: None,
                cpu_f32: None,
            }),
        }
    }

    fn read(text: &str) -> Result<Baseline> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("b.json");
        std::fs::write(&path, text).unwrap();
        Baseline::read(&path)
    }

    fn entry(batch: usize, step: &str) -> String {
        format!(
            r#"{{"net": "4-2-1", "network": "N", "loss": "L", "batch": {batch}, "replicas": 1,
                "step_s": {step}, "gpu_s": null}}"#
        )
    }

    fn document(entries: &[String]) -> String {
        let list = entries.join(", ");
        format!(r#"{{"adapter": "A", "driver": "D", "results": [{list}]}}"#)
    }

    #[test]
    fn a_row_moves_when_the_intervals_part() {
        let spread = r#"{"median": 2.0, "p10": 1.5, "p90": 3.0, "runs": 7}"#;
        let entries: Vec<_> = (1..=5).map(|batch| entry(batch, spread)).collect();
        let baseline = read(&document(&entries)).unwrap();
        let rows = [
            row(1, Some([2.9, 4.0, 5.0])),
            row(2, Some([0.5, 1.0, 1.4])),
            row(3, Some([3.5, 4.0, 5.0])),
            row(4, None),
            row(6, Some([1.0, 1.0, 1.0])),
        ];
        let moved = baseline.compare(&rows);
        let changes: Vec<_> = moved.iter().map(|m| (m.batch, m.change)).collect();
        assert_eq!(
            changes,
            [
                (1, Change::Noise),
                (2, Change::Faster(2.0)),
                (3, Change::Slower(2.0)),
                (4, Change::Wrong),
                (6, Change::New),
                (5, Change::Gone),
            ]
        );
        assert_eq!(moved[1].change.to_string(), "2.00 times faster");
    }

    #[test]
    fn another_network_or_loss_is_another_row() {
        let spread = r#"{"median": 2.0, "p10": 1.5, "p90": 3.0}"#;
        let baseline = read(&document(&[entry(1, spread)])).unwrap();
        let mut other = row(1, Some([1.0; 3]));
        other.network = "M".to_string();
        let changes: Vec<_> = baseline
            .compare(&[other])
            .iter()
            .map(|m| m.change)
            .collect();
        assert_eq!(changes, [Change::New, Change::Gone]);
    }

    #[test]
    fn a_wrong_row_of_the_baseline_is_no_measure() {
        let baseline = read(&document(&[entry(1, "null")])).unwrap();
        let moved = baseline.compare(&[row(1, Some([1.0; 3]))]);
        assert_eq!(moved[0].change, Change::New);
    }

    #[test]
    fn files_that_are_no_baseline_are_named() {
        for text in [
            "",
            "[]",
            "{\"adapter\": 3}",
            r#"{"adapter": "A", "driver": "D"}"#,
            &document(&[entry(1, r#"{"median": 2.0, "p10": 3.0, "p90": 4.0}"#)]),
            &document(&[entry(1, r#"{"median": 0.0, "p10": 0.0, "p90": 4.0}"#)]),
            &document(&[entry(1, r#"{"median": "fast"}"#)]),
        ] {
            let error = read(text).unwrap_err();
            assert!(matches!(error, Error::File { .. }), "{error}");
            assert!(error.to_string().contains("--export-json"), "{error}");
        }
        let error = Baseline::read(Path::new("/no/such/file.json")).unwrap_err();
        assert!(error.to_string().contains("/no/such/file.json"), "{error}");
    }
}
