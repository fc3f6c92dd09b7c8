//! What many timings of one thing come to. Medians and percentiles, since a
//! machine that does other things makes some runs long and none short.

use crate::error::Result;
use std::time::Instant;

/// Timings of one thing, in seconds.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Summary {
    /// The middle one.
    pub median: f64,
    /// A tenth of the runs took no longer.
    pub p10: f64,
    /// Nine tenths of the runs took no longer.
    pub p90: f64,
    /// Runs that count.
    pub runs: usize,
    /// Runs before them, which do not.
    pub warmups: usize,
    /// Runs that took unusually long or short: more than one and a half times
    /// the middle half's width outside it. They are counted, not left out.
    pub outliers: usize,
}

impl Summary {
    /// The summary of `samples`; all zero if there are none.
    pub fn of(mut samples: Vec<f64>, warmups: usize) -> Summary {
        samples.sort_by(f64::total_cmp);
        let [low, high] = [0.25, 0.75].map(|q| quantile(&samples, q));
        let reach = 1.5 * (high - low);
        let unusual = |s: &&f64| **s < low - reach || **s > high + reach;
        Summary {
            median: quantile(&samples, 0.5),
            p10: quantile(&samples, 0.1),
            p90: quantile(&samples, 0.9),
            runs: samples.len(),
            warmups,
            outliers: samples.iter().filter(unusual).count(),
        }
    }
}

/// The value below which a share `q` of the ascending `sorted` lies, between
/// two of them in proportion; 0 for nothing.
fn quantile(sorted: &[f64], q: f64) -> f64 {
    let Some(last) = sorted.len().checked_sub(1) else {
        return 0.0;
    };
    let at = q * last as f64;
    let below = at.floor() as usize;
    let above = (below + 1).min(last);
    sorted[below] + (sorted[above] - sorted[below]) * (at - below as f64)
}

/// How long to go on measuring one thing.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Budget {
    /// Seconds for the runs that count; warm-ups take up to a quarter more.
    pub seconds: f64,
    /// Runs that count, at least, however long they take.
    pub least: usize,
}

/// Past this many runs the figures do not change any more.
const MOST: usize = 20_000;

/// Calls `run`, which says what it took, until the budget is spent. The first
/// calls warm up: two at least, or one where a single call takes all of the
/// budget.
pub fn sample<T>(budget: Budget, mut run: impl FnMut() -> Result<T>) -> Result<(Vec<T>, usize)> {
    let start = Instant::now();
    let mut warmups = 0;
    loop {
        run()?;
        warmups += 1;
        let spent = start.elapsed().as_secs_f64();
        if spent > budget.seconds || (warmups >= 2 && spent > budget.seconds / 4.0) {
            break;
        }
    }
    let start = Instant::now();
    let mut samples = Vec::new();
    while samples.len() < MOST
        && (samples.len() < budget.least || start.elapsed().as_secs_f64() < budget.seconds)
    {
        samples.push(run()?);
    }
    Ok((samples, warmups))
}

/// The summary of how long `run` takes by the host's clock.
pub fn time(budget: Budget, mut run: impl FnMut() -> Result<()>) -> Result<Summary> {
    let (samples, warmups) = sample(budget, || {
        let start = Instant::now();
        run()?;
        Ok(start.elapsed().as_secs_f64())
    })?;
    Ok(Summary::of(samples, warmups))
}

/// The median of what `of` takes from each sample; `None` if one has nothing.
pub fn median_of<T>(samples: &[T], of: impl Fn(&T) -> Option<f64>) -> Option<f64> {
    let values: Option<Vec<f64>> = samples.iter().map(of).collect();
    let mut values = values.filter(|v| !v.is_empty())?;
    values.sort_by(f64::total_cmp);
    Some(quantile(&values, 0.5))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Error;

    #[test]
    fn quantiles_lie_between_the_samples() {
        let s = Summary::of((1..=11).rev().map(f64::from).collect(), 2);
        assert_eq!((s.median, s.p10, s.p90), (6.0, 2.0, 10.0));
        assert_eq!((s.runs, s.warmups, s.outliers), (11, 2, 0));
        assert_eq!(quantile(&[1.0, 2.0], 0.5), 1.5);
        assert_eq!(quantile(&[3.0], 0.9), 3.0);
        assert_eq!(Summary::of(Vec::new(), 0).median, 0.0);
    }

    #[test]
    fn outliers_are_counted_and_stay() {
        let mut samples = vec![1.0; 20];
        samples.extend([1.1, 50.0, 0.01]);
        let s = Summary::of(samples, 0);
        assert_eq!((s.outliers, s.runs, s.median), (3, 23, 1.0));
    }

    #[test]
    fn a_budget_bounds_the_runs_and_errors_end_them() {
        let budget = Budget {
            seconds: 0.0,
            least: 5,
        };
        let mut calls = 0;
        let (samples, warmups) = sample(budget, || {
            calls += 1;
            Ok(calls)
        })
        .unwrap();
        assert_eq!((samples.len(), warmups, calls), (5, 1, 6));
        let short = Budget {
            seconds: 0.02,
            least: 3,
        };
        let (samples, warmups) = sample(short, || Ok(())).unwrap();
        assert!(samples.len() > 3 && warmups >= 2);
        let failed = time(budget, || Err(Error::Gpu("no".to_string())));
        assert!(failed.is_err());
    }

    #[test]
    fn what_is_missing_once_is_missing() {
        let all = [Some(1.0), Some(3.0), Some(2.0)];
        assert_eq!(median_of(&all, |v| *v), Some(2.0));
        assert_eq!(median_of(&[Some(1.0), None], |v| *v), None);
        assert_eq!(median_of(&[] as &[Option<f64>], |v| *v), None);
    }
}
