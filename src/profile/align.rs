//! The device's clock has a zero of its own. A step's work begins no sooner than its
//! submission and ends no later than the host has the answer; one offset that holds
//! for all steps is therefore known more closely than one step alone tells it.

use crate::run::gpu::{Phase, Timeline};

/// How the device's clock was laid over the host's.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Alignment {
    /// Seconds to add to the device's times of each step.
    shifts: Vec<f64>,
    /// Whether one offset holds for all steps: what the step with the promptest start
    /// begins with is at its submission, and no other before its own. If not, since
    /// the clocks drift, each step begins at its submission.
    pub common: bool,
    /// What the device did may be later than it is drawn by up to so many seconds.
    pub slack_s: f64,
}

impl Alignment {
    /// The alignment of stamped steps.
    pub(super) fn of(steps: &[Timeline]) -> Alignment {
        // From submission to answer, and from the first stamp to the last.
        let window = |t: &Timeline| {
            let submit = t.phases.iter().find(|(phase, ..)| *phase == Phase::Submit);
            let wait = t.phases.iter().find(|(phase, ..)| *phase == Phase::Wait);
            let begin = submit.map_or(0.0, |(_, begin, _)| *begin);
            [begin, wait.map_or(begin, |(.., end)| *end)]
        };
        let span = |t: &Timeline| {
            let begin = t.spans.first().map_or(0.0, |s| s.begin_s);
            [begin, t.spans.last().map_or(begin, |s| s.end_s)]
        };
        let bounds: Vec<[f64; 2]> = steps
            .iter()
            .map(|t| {
                let (window, span) = (window(t), span(t));
                [window[0] - span[0], window[1] - span[1]]
            })
            .collect();
        let least = bounds.iter().fold(f64::NEG_INFINITY, |a, b| a.max(b[0]));
        let most = bounds.iter().fold(f64::INFINITY, |a, b| a.min(b[1]));
        if least <= most {
            return Alignment {
                shifts: vec![least; bounds.len()],
                common: true,
                slack_s: most - least,
            };
        }
        let slack = bounds.iter().map(|[low, high]| high - low);
        Alignment {
            shifts: bounds.iter().map(|[low, _]| *low).collect(),
            common: false,
            slack_s: slack.fold(0.0, f64::max),
        }
    }

    /// What to add to the device's times of a step.
    pub(super) fn shift(&self, step: usize) -> f64 {
        self.shifts.get(step).copied().unwrap_or(0.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::run::gpu::{Span, Task};

    /// Submitted and answered by the host's clock, begun and ended by the device's.
    fn step(host: [f64; 2], device: [f64; 2]) -> Timeline {
        let [submit, answer] = host;
        let [begin_s, end_s] = device;
        let task = Task::Dispatch(0);
        Timeline {
            phases: vec![
                (Phase::Submit, submit, submit + 0.1),
                (Phase::Wait, submit + 0.1, answer),
            ],
            spans: vec![Span {
                task,
                begin_s,
                end_s,
            }],
            stamped: true,
        }
    }

    /// Two clocks 100 apart: the second step began 0.2 after its submission, the
    /// first 0.5, and so the offset is known to 0.2.
    #[test]
    fn one_offset_for_all_steps() {
        let steps = [
            step([10.0, 12.0], [-89.5, -88.5]),
            step([20.0, 22.0], [-79.8, -78.3]),
        ];
        let alignment = Alignment::of(&steps);
        assert!(alignment.common);
        assert!((alignment.shift(0) - 99.8).abs() < 1e-9, "{alignment:?}");
        assert!((alignment.shift(1) - 99.8).abs() < 1e-9);
        // The second was answered at 22 and is drawn as over by 21.5, the first at 12
        // and 11.3.
        assert!((alignment.slack_s - 0.5).abs() < 1e-9, "{alignment:?}");
        // Each lies between its submission and its answer.
        for (i, t) in steps.iter().enumerate() {
            let drawn = t.spans[0].begin_s + alignment.shift(i);
            assert!(drawn >= t.phases[0].1 - 1e-9, "{i}: {drawn}");
        }
    }

    /// The device's clock ran ahead by 5 between the steps: no offset serves both.
    #[test]
    fn clocks_that_drift_are_aligned_step_by_step() {
        let steps = [
            step([10.0, 12.0], [0.0, 1.0]),
            step([20.0, 22.0], [15.0, 16.0]),
        ];
        let alignment = Alignment::of(&steps);
        assert!(!alignment.common);
        assert_eq!([alignment.shift(0), alignment.shift(1)], [10.0, 5.0]);
        assert_eq!(alignment.slack_s, 1.0);
        assert_eq!(Alignment::default().shift(3), 0.0);
    }
}
