//! Contestants take turns: a short burst each, many rounds. What the machine
//! does meanwhile then happens to all of them, and a ratio is one of bursts
//! that were neighbours.

use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::Result;

use crate::peer::{Peer, Values, warm_up};
use crate::report::{Cell, State};
use crate::stats::Spread;
use crate::work::Problem;

/// How far a value may be from the float64 reference, as a share of the
/// largest value of its tensor: what float32 can lose in a sum of 65,536
/// gradients that partly cancel. wgrad must keep to it.
pub const EXACT: f64 = 1e-4;

/// A peer that is farther off, but not farther than this, is timed and marked
/// as inexact: some rows of 65,536 are missing in its sums, so that its time
/// still says something. See "Inexact" in the README.
pub const TOLERANCE: f64 = 1e-3;

/// Before a burst: time for the threads of the one before to fall asleep.
const PAUSE: Duration = Duration::from_millis(20);

/// A place in the race.
pub struct Entry<'a> {
    /// What the table calls the contestant.
    pub name: &'static str,
    /// The contestant, or why it does not run.
    pub peer: Result<&'a mut dyn Peer, &'a str>,
    /// What it is to compute.
    pub problem: &'a Problem,
    /// What must come out.
    pub truth: &'a [Vec<f64>],
}

struct Runner<'a> {
    cell: usize,
    peer: &'a mut dyn Peer,
    reads: usize,
    error: f64,
    seconds: Vec<f64>,
}

/// Runs all contestants; one cell for each entry, the first of which the ratios
/// refer to.
pub fn race(entries: Vec<Entry>, steps: usize, budget: Duration) -> Vec<Cell> {
    let target = (budget / (25 * entries.len() as u32))
        .clamp(Duration::from_millis(10), Duration::from_millis(250));
    let mut cells = Vec::new();
    let mut runners = Vec::new();
    for (cell, entry) in entries.into_iter().enumerate() {
        let contestant = entry.name.to_string();
        let state = match entry.peer {
            Err(reason) => State::Absent(reason.to_string()),
            Ok(peer) => match enter(peer, entry.problem, entry.truth, steps, target) {
                Err(error) => State::Failed(format!("{error:#}")),
                Ok(Err(reason)) => State::Wrong(reason),
                Ok(Ok((error, reads))) => {
                    runners.push(Runner {
                        cell,
                        peer,
                        reads,
                        error,
                        seconds: Vec::new(),
                    });
                    State::Waiting
                }
            },
        };
        cells.push(Cell { contestant, state });
    }
    if let Err((cell, error)) = rounds(&mut runners, steps, budget) {
        cells[cell].state = State::Failed(format!("{error:#}"));
        runners.retain(|runner| runner.cell != cell);
    }
    let first = runners.iter().find(|runner| runner.cell == 0);
    let first = first.map(|runner| runner.seconds.clone());
    for runner in &runners {
        let ratios = first.as_ref().filter(|_| runner.cell != 0).map(|first| {
            let pairs = runner.seconds.iter().zip(first);
            pairs.map(|(theirs, ours)| theirs / ours).collect()
        });
        cells[runner.cell].state = State::Measured {
            seconds: Spread::of(runner.seconds.clone()),
            times: ratios.map(Spread::of),
            rounds: runner.seconds.len(),
            steps: runner.reads * steps,
            error: Some(runner.error),
        };
    }
    cells
}

/// Checks a contestant's answer and warms it up: its largest error and the
/// length of its bursts, or what is wrong with the answer.
fn enter(
    peer: &mut dyn Peer,
    problem: &Problem,
    truth: &[Vec<f64>],
    steps: usize,
    target: Duration,
) -> Result<Result<(f64, usize), String>> {
    eprint!(" {}", peer.name());
    let most = if peer.name() == "wgrad" {
        EXACT
    } else {
        TOLERANCE
    };
    peer.prepare(problem)?;
    let error = match compare(&peer.answer()?, truth, most) {
        Ok(error) => error,
        Err(reason) => return Ok(Err(reason)),
    };
    let reads = warm_up(peer, steps, target)?;
    // Tuning may have changed kernels meanwhile, so what is timed is checked.
    Ok(compare(&peer.answer()?, truth, most).map(|late| (error.max(late), reads)))
}

/// The largest error of an answer, or where it is above `most`.
fn compare(answer: &Values, truth: &[Vec<f64>], most: f64) -> Result<f64, String> {
    if answer.len() != truth.len() {
        return Err(format!(
            "{} values in place of {}",
            answer.len(),
            truth.len()
        ));
    }
    let mut worst = 0.0f64;
    for ((name, values), truth) in answer.iter().zip(truth) {
        if values.len() != truth.len() {
            return Err(format!(
                "{name} has {} elements, not {}",
                values.len(),
                truth.len()
            ));
        }
        let largest = truth
            .iter()
            .fold(f64::MIN_POSITIVE, |most, v| most.max(v.abs()));
        for (i, (&value, &truth)) in values.iter().zip(truth).enumerate() {
            let error = (f64::from(value) - truth).abs() / largest;
            // Written so that NaN is wrong.
            if !matches!(error.partial_cmp(&most), Some(order) if order.is_le()) {
                return Err(format!(
                    "{name}[{i}] is {value}, the reference has {truth}; that is {error:.1e} of \
                     the tensor's largest value, and {most:.0e} is allowed"
                ));
            }
            worst = worst.max(error);
        }
    }
    Ok(worst)
}

/// Bursts in turn until the time is up; on failure, whose.
fn rounds(
    runners: &mut [Runner],
    steps: usize,
    budget: Duration,
) -> Result<(), (usize, anyhow::Error)> {
    const LEAST: usize = 3;
    const MOST: usize = 200;
    let began = Instant::now();
    let count = runners.len();
    for round in 0..MOST {
        if round >= LEAST && began.elapsed() >= budget {
            break;
        }
        for turn in 0..count {
            // Another one begins each round, so that nobody always follows
            // the same neighbour.
            let runner = &mut runners[(round + turn) % count];
            let burst = runner.burst(steps);
            let seconds = burst.map_err(|error| (runner.cell, error))?;
            runner.seconds.push(seconds);
        }
    }
    Ok(())
}

impl Runner<'_> {
    /// Seconds a step, after steps that wake the contestant up.
    fn burst(&mut self, steps: usize) -> Result<f64> {
        sleep(PAUSE);
        if self.reads > 1 {
            self.peer.burst(self.reads.div_ceil(10), steps)?;
        }
        let seconds = self.peer.burst(self.reads, steps)?;
        Ok(seconds / (self.reads * steps) as f64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wrong_answers_are_seen() {
        let answer = |value| vec![("loss".to_string(), vec![0.5, value])];
        let truth = [vec![0.5, -0.25]];
        let check = |answer| compare(&answer, &truth, 1e-3);
        assert_eq!(check(answer(-0.25)), Ok(0.0));
        assert!(check(answer(-0.2501)).is_ok());
        assert!(check(answer(-0.251)).is_err());
        assert!(check(answer(f32::NAN)).is_err());
        assert!(check(Vec::new()).is_err());
    }
}
