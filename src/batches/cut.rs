//! How many rows go at a time.

use crate::error::{Error, Result};
use crate::number;
use crate::plan::Plan;
use crate::run::gpu::{Gpu, batch_that_fits, needed};
use crate::run::host;

/// What a batch of some size takes.
#[derive(Debug, Default)]
pub struct Need {
    /// Plans that run one after the other on the device.
    pub plans: Vec<Plan>,
    /// Bytes of the host's memory.
    pub host: u64,
}

impl Need {
    /// Nothing but what these plans take.
    pub fn of_plans(plans: Vec<Plan>) -> Need {
        Need { plans, host: 0 }
    }
}

/// How a batch is cut into sub-batches.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Cut {
    /// The rows of each sub-batch, in order.
    pub sizes: Vec<usize>,
    /// What the whole batch needs and is not there.
    pub reason: String,
}

/// Sub-batches have a multiple of so many rows where that is to be had: kernels
/// read whole blocks.
const BLOCK: usize = 64;

impl Cut {
    /// Finds the sub-batches of a batch of `rows` rows: none if all of it fits, else
    /// as few as there can be, of equal size but for the last. `need` says what a
    /// batch of so many rows takes; `gpu` is `None` where only the host computes.
    ///
    /// # Errors
    /// [`Error::Limit`] if not even one row fits, or `need` says that the batch
    /// cannot be split; other errors of `need`.
    pub fn find(
        rows: usize,
        gpu: Option<&Gpu>,
        need: impl Fn(usize) -> Result<Need>,
    ) -> Result<Option<Cut>> {
        let free = host::memory();
        let refusal = |n: usize| -> Result<Option<String>> {
            match need(n) {
                Ok(need) => refusal(gpu, &need, free),
                Err(Error::Limit(text)) => Ok(Some(what(&text))),
                Err(other) => Err(other),
            }
        };
        let Some(reason) = refusal(rows)? else {
            return Ok(None);
        };
        if rows < 2 {
            return Err(Error::Limit(format!(
                "{reason}; there is one row only, so the batch cannot be split: make the network \
                 smaller, or allow more memory"
            )));
        }
        let of_one = match refusal(1) {
            Err(Error::Unsupported(why)) => {
                return Err(Error::Limit(format!("{reason}; {why}")));
            }
            other => other?,
        };
        if let Some(of_one) = of_one {
            return Err(Error::Limit(format!(
                "{reason}; not even one row fits: {of_one}; make the network smaller, or allow \
                 more memory"
            )));
        }
        let most = batch_that_fits(rows, |n| Ok(refusal(n)?.is_none()))?;
        Ok(Some(Cut {
            sizes: sizes(rows, most.max(1)),
            reason,
        }))
    }

    /// The first row and the number of rows of each sub-batch.
    pub fn ranges(&self) -> impl Iterator<Item = (usize, usize)> {
        self.sizes.iter().scan(0, |next, &rows| {
            let first = *next;
            *next += rows;
            Some((first, rows))
        })
    }

    /// Rows of the whole batch.
    pub fn rows(&self) -> usize {
        self.sizes.iter().sum()
    }
}

/// `50000 rows in 3 sub-batches of 16704 (the last of 16592)`.
impl std::fmt::Display for Cut {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let [first, .., last] = self.sizes[..] else {
            return write!(f, "{} rows at once", self.rows());
        };
        let (rows, parts) = (self.rows(), self.sizes.len());
        write!(f, "{rows} rows in {parts} sub-batches of {first}")?;
        match first == last {
            true => Ok(()),
            false => write!(f, " (the last of {last})"),
        }
    }
}

/// Why this does not fit, if it does not.
fn refusal(gpu: Option<&Gpu>, need: &Need, free: Option<u64>) -> Result<Option<String>> {
    let mut shared = 0;
    for plan in gpu.iter().flat_map(|_| &need.plans) {
        let Some(gpu) = gpu else { continue };
        match gpu.check(plan) {
            Ok(()) => {}
            Err(Error::Limit(text)) => return Ok(Some(what(&text))),
            Err(other) => return Err(other),
        }
        // A driver in software takes the host's memory, too.
        if gpu.target().software {
            shared = shared.max(needed(plan));
        }
    }
    // A quarter is left for what is not counted here.
    let most = free.map(|free| free / 4 * 3);
    Ok(match most {
        Some(most) if need.host > 0 && need.host + shared > most => Some(format!(
            "the values and their comparison with the float64 reference take about {} of the \
             host's memory, more than the {} that are three quarters of what this process has left",
            number::bytes(need.host + shared),
            number::bytes(most)
        )),
        _ => None,
    })
}

/// A refusal without its advice, which stands behind the last semicolon.
fn what(text: &str) -> String {
    let found = text.rsplit_once("; ");
    found.map_or(text, |(what, _)| what).to_string()
}

/// As few sub-batches as there can be of at most `most` rows, evenly large.
fn sizes(rows: usize, most: usize) -> Vec<usize> {
    let even = rows.div_ceil(rows.div_ceil(most));
    let in_blocks = even.next_multiple_of(BLOCK);
    let each = if in_blocks <= most { in_blocks } else { even };
    let mut sizes = vec![each; rows / each];
    sizes.extend(Some(rows % each).filter(|&rest| rest > 0));
    sizes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sub_batches_are_few_and_even() {
        assert_eq!(sizes(10, 3), [3, 3, 3, 1]);
        assert_eq!(sizes(10, 9), [5, 5]);
        assert_eq!(sizes(3, 1), [1, 1, 1]);
        assert_eq!(sizes(50_000, 30_000), [25_024, 24_976]);
        for rows in 1..300 {
            for most in 1..rows {
                let all = sizes(rows, most);
                assert_eq!(all.iter().sum::<usize>(), rows);
                assert_eq!(all.len(), rows.div_ceil(most), "{rows} by {most}");
                assert!(all.iter().all(|&n| 0 < n && n <= most), "{rows} by {most}");
            }
        }
    }

    #[test]
    fn what_the_host_has_not_got_is_found_and_told() {
        let need = |host| Need {
            plans: Vec::new(),
            host,
        };
        assert_eq!(refusal(None, &need(300), Some(400)).unwrap(), None);
        let why = refusal(None, &need(301), Some(400)).unwrap().unwrap();
        assert!(
            why.contains("301 bytes") && why.contains("300 bytes"),
            "{why}"
        );
        // Where nobody says what there is, nothing is refused.
        assert_eq!(refusal(None, &need(u64::MAX), None).unwrap(), None);
    }

    #[test]
    fn a_cut_is_found_by_what_fits() {
        let free = host::memory().unwrap_or(u64::MAX);
        let by = |each: u64| {
            move |n: usize| {
                Ok(Need {
                    plans: Vec::new(),
                    host: each.saturating_mul(n as u64),
                })
            }
        };
        assert_eq!(Cut::find(5, None, by(1)).unwrap(), None);
        if free == u64::MAX {
            return; // nothing is refused where nobody knows what there is
        }
        // Half of what is allowed, but for what others take meanwhile.
        let cut = Cut::find(5, None, by(free / 4)).unwrap().unwrap();
        assert_eq!(cut.rows(), 5);
        assert!(cut.sizes.iter().all(|&n| n <= 3), "{cut:?}");
        assert!(cut.to_string().starts_with("5 rows in "), "{cut}");
        let error = Cut::find(5, None, by(2 * free)).unwrap_err().to_string();
        assert!(error.contains("not even one row fits"), "{error}");
        let error = Cut::find(1, None, by(2 * free)).unwrap_err().to_string();
        assert!(error.contains("one row only"), "{error}");
        let mixed = |n| match n {
            9 => Err(Error::Limit("too large; split it".to_string())),
            _ => Err(Error::Unsupported("rows are mixed".to_string())),
        };
        let error = Cut::find(9, None, mixed).unwrap_err();
        assert_eq!(error, Error::Limit("too large; rows are mixed".to_string()));
    }
}
