//! A benchmark's results: the columns that the text and the Markdown share,
//! and the units in which times and rates are written. [`json`] writes all
//! there is.

mod json;
mod markdown;
#[cfg(feature = "cli")]
mod text;

pub use json::json;
pub use markdown::markdown;
#[cfg(feature = "cli")]
pub use text::{moved, text};

use crate::bench::{Results, Row, Times};
use crate::check::rounding::{Gap, Rounding};
use crate::graph::Precision;
use crate::number;

/// What the counted figures count, for whoever reads them.
pub const COUNTED: &str = "\
a step is forward, loss and every weight gradient, in one submission, the loss read back; \
backward is step minus forward; queued is one of several steps in one submission; \
flops are 2mnk for each matrix product, one for each element that an elementwise op writes or a \
sum reads; bytes are the leaves and the outputs, each once; rates are of the whole step; peaks are \
what a vec4 copy (read and written) and a multiply-add kernel reach in this run; wait is the \
rest of the device's work and its answer, readback the host's copy of what was read; CPU f32 is \
the same step with ndarray; a step with replicas is that of all networks side by side, and CPU \
f32 that of as many, one after the other";

/// A column: its heading and what it says of a row.
struct Column {
    head: &'static str,
    cell: fn(&Results, &Row) -> String,
}

/// A table: what it is about and its columns, after those that name the row.
struct Sheet {
    title: &'static str,
    columns: &'static [Column],
}

/// The columns of a sheet for these results.
fn columns(results: &Results, sheet: &'static Sheet) -> Vec<&'static Column> {
    let replicas = results.rows.iter().any(|row| row.replicas > 1);
    let names = NAMES.iter().chain(replicas.then_some(&REPLICAS));
    names.chain(sheet.columns).collect()
}

/// Shown where there are several.
static REPLICAS: Column = Column {
    head: "replicas",
    cell: |_, row| row.replicas.to_string(),
};

static NAMES: [Column; 2] = [
    Column {
        head: "net",
        cell: |_, row| row.net.clone(),
    },
    Column {
        head: "batch",
        cell: |_, row| row.batch.to_string(),
    },
];

/// The sheets for these results.
fn sheets(results: &Results) -> impl Iterator<Item = &'static Sheet> {
    let rounded = results.rows.iter().any(|row| row.rounding.is_some());
    SHEETS.iter().chain(rounded.then_some(&ROUNDED))
}

/// The precision of the products of matrices.
fn precision(results: &Results) -> Precision {
    let rounded = results.rows.iter().find_map(|row| row.rounding.as_ref());
    rounded.map_or(Precision::F32, |r| r.precision)
}

/// Shown where products are rounded.
static ROUNDED: Sheet = Sheet {
    title: "PRODUCTS IN FLOAT16, HOW FAR FROM EXACT ONES",
    columns: &[
        Column {
            head: "loss off by",
            cell: |_, row| off_by(row, |r| r.gaps.first()),
        },
        Column {
            head: "gradients off by, at most",
            cell: |_, row| off_by(row, Rounding::worst),
        },
        Column {
            head: "in",
            cell: |_, row| {
                let worst = row.rounding.as_ref().and_then(Rounding::worst);
                worst.map_or("-".to_string(), |gap| gap.name.clone())
            },
        },
    ],
};

/// The largest difference, as a share of the tensor's largest value.
fn off_by(row: &Row, which: fn(&Rounding) -> Option<&Gap>) -> String {
    let gap = row.rounding.as_ref().and_then(which);
    gap.map_or("-".to_string(), |gap| number::share(gap.share()))
}

static SHEETS: [Sheet; 4] = [
    Sheet {
        title: "STEPS",
        columns: &[
            Column {
                head: "step",
                cell: |_, row| match row.verdict.passed() {
                    true => timed(row, |t| Some(t.step.median)),
                    false => "WRONG".to_string(),
                },
            },
            Column {
                head: "p10",
                cell: |_, row| timed(row, |t| Some(t.step.p10)),
            },
            Column {
                head: "p90",
                cell: |_, row| timed(row, |t| Some(t.step.p90)),
            },
            Column {
                head: "forward",
                cell: |_, row| timed(row, |t| Some(t.forward.median)),
            },
            Column {
                head: "backward",
                cell: |_, row| timed(row, |t| Some(t.backward_s)),
            },
            Column {
                head: "queued",
                cell: |_, row| timed(row, |t| t.queued.map(|q| q.step_s)),
            },
            Column {
                head: "CPU f32",
                cell: |_, row| timed(row, |t| t.cpu_f32.map(|s| s.median)),
            },
            Column {
                head: "steps/s",
                cell: |_, row| rate(row.steps_per_s()),
            },
            Column {
                head: "gradients/s",
                cell: |_, row| rate(row.gradients_per_s()),
            },
        ],
    },
    Sheet {
        title: "AGAINST THE ADAPTER'S PEAK",
        columns: &[
            Column {
                head: "GFLOP/s",
                cell: |_, row| giga(row.flops_per_s()),
            },
            Column {
                head: "of peak",
                cell: |results, row| percent(results.shares(row).map(|s| s[0])),
            },
            Column {
                head: "GB/s",
                cell: |_, row| giga(row.bytes_per_s()),
            },
            Column {
                head: "of peak",
                cell: |results, row| percent(results.shares(row).map(|s| s[1])),
            },
            Column {
                head: "memory",
                cell: |_, row| bytes(row.plan_bytes),
            },
        ],
    },
    Sheet {
        title: "WHERE A STEP'S TIME GOES",
        columns: &[
            Column {
                head: "encode",
                cell: |_, row| timed(row, |t| Some(t.encode_s)),
            },
            Column {
                head: "submit",
                cell: |_, row| timed(row, |t| Some(t.submit_s)),
            },
            Column {
                head: "wait",
                cell: |_, row| timed(row, |t| Some(t.wait_s)),
            },
            Column {
                head: "readback",
                cell: |_, row| timed(row, |t| Some(t.read_s)),
            },
            Column {
                head: "GPU",
                cell: |_, row| timed(row, |t| t.gpu_s),
            },
            Column {
                head: "dispatches",
                cell: |_, row| row.dispatches.to_string(),
            },
            Column {
                head: "first step",
                cell: |_, row| seconds(Some(row.first_step_s)),
            },
        ],
    },
    Sheet {
        title: "CHECKED BEFORE TIMED",
        columns: &[
            Column {
                head: "values",
                cell: |_, row| row.verdict.values.to_string(),
            },
            Column {
                head: "wrong",
                cell: |_, row| row.verdict.failures.to_string(),
            },
            Column {
                head: "no bound",
                cell: |_, row| row.verdict.unbounded.to_string(),
            },
            Column {
                head: "max ULP",
                cell: |_, row| match row.verdict.max_ulps {
                    // Where terms cancel, ULPs of the result say little.
                    u if u >= 1e4 => format!("{u:.0e}"),
                    u => format!("{u:.1}"),
                },
            },
            Column {
                head: "of bound",
                cell: |_, row| percent(Some(row.verdict.max_share)),
            },
            Column {
                head: "runs",
                cell: |_, row| count(row, |t| t.step.runs),
            },
            Column {
                head: "warm-ups",
                cell: |_, row| count(row, |t| t.step.warmups),
            },
            Column {
                head: "outliers",
                cell: |_, row| count(row, |t| t.step.outliers),
            },
        ],
    },
];

fn timed(row: &Row, of: fn(&Times) -> Option<f64>) -> String {
    seconds(row.times.as_ref().and_then(of))
}

fn count(row: &Row, of: fn(&Times) -> usize) -> String {
    let times = row.times.as_ref();
    times.map_or("-".to_string(), |t| of(t).to_string())
}

/// Three digits that count, at least.
pub(super) fn digits(value: f64) -> String {
    match value {
        v if v >= 99.95 => format!("{v:.0}"),
        v if v >= 9.995 => format!("{v:.1}"),
        v => format!("{v:.2}"),
    }
}

pub(super) fn seconds(value: Option<f64>) -> String {
    match value {
        None => "-".to_string(),
        Some(s) if s >= 1.0 => format!("{} s", digits(s)),
        Some(s) if s >= 1e-3 => format!("{} ms", digits(s * 1e3)),
        Some(s) => format!("{} us", digits(s * 1e6)),
    }
}

pub(super) fn rate(value: Option<f64>) -> String {
    match value {
        None => "-".to_string(),
        Some(r) if r >= 1e9 => format!("{}G", digits(r / 1e9)),
        Some(r) if r >= 1e6 => format!("{}M", digits(r / 1e6)),
        Some(r) if r >= 1e3 => format!("{}k", digits(r / 1e3)),
        Some(r) => digits(r),
    }
}

pub(super) fn giga(value: Option<f64>) -> String {
    match value {
        None => "-".to_string(),
        Some(r) if r >= 1e7 => digits(r / 1e9),
        Some(r) => format!("{:.4}", r / 1e9),
    }
}

pub(super) fn percent(share: Option<f64>) -> String {
    match share {
        None => "-".to_string(),
        Some(s) if s.is_infinite() => "inf".to_string(),
        Some(s) if s >= 0.0995 => format!("{:.0}%", s * 100.0),
        Some(s) => format!("{:.2}%", s * 100.0),
    }
}

pub(super) fn bytes(value: u64) -> String {
    match value {
        b if b >= 10 << 20 => format!("{} MiB", b >> 20),
        b if b >= 10 << 10 => format!("{} KiB", b >> 10),
        b => format!("{b} B"),
    }
}

fn peaks(results: &Results) -> String {
    let p = &results.peaks;
    format!(
        "copy {} GB/s (read and written), read {} GB/s, multiply-add {} GFLOP/s",
        digits(p.copy_bytes_per_s / 1e9),
        digits(p.read_bytes_per_s / 1e9),
        digits(p.flops_per_s / 1e9)
    )
}

/// What is wrong with the rows that are, a line each.
fn wrong(results: &Results) -> Vec<String> {
    let said = |row: &Row| {
        let reason = row.verdict.wrong.as_ref()?;
        let bad = row.verdict.failures;
        Some(format!(
            "WRONG {}, batch {}{}: {bad} of {} values; {reason}",
            row.net,
            row.batch,
            match row.replicas {
                1 => String::new(),
                n => format!(", {n} replicas"),
            },
            row.verdict.values
        ))
    };
    results.rows.iter().filter_map(said).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn units_fit_the_size() {
        let times = [2.5, 0.0123, 0.000_456, 9.9951e-3, 0.123].map(|s| seconds(Some(s)));
        assert_eq!(times, ["2.50 s", "12.3 ms", "456 us", "10.0 ms", "123 ms"]);
        assert_eq!(seconds(None), "-");
        let rates = [12.0, 1234.0, 5e6, 2e9].map(|r| rate(Some(r)));
        assert_eq!(rates, ["12.0", "1.23k", "5.00M", "2.00G"]);
        assert_eq!(giga(Some(123e3)), "0.0001");
        assert_eq!(giga(Some(12.34e9)), "12.3");
        let shares = [0.5, 0.0123, f64::INFINITY].map(|s| percent(Some(s)));
        assert_eq!(shares, ["50%", "1.23%", "inf"]);
        assert_eq!(bytes(100), "100 B");
        assert_eq!(bytes(20 << 20), "20 MiB");
    }
}
