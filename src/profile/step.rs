//! One traced step, with the device's times laid over the host's.

use super::Item;
use crate::run::gpu::{Phase, Task, Timeline};

/// A step; times are seconds since the profile's zero.
#[derive(Clone, PartialEq, Debug)]
pub struct Step {
    /// What the host did, in order.
    pub phases: Vec<(Phase, f64, f64)>,
    /// When each item began and had ended, in the order of the profile's items, none
    /// before the last had ended.
    pub spans: Vec<[f64; 2]>,
}

/// Where the time of a step went, in seconds.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Parts {
    /// From the first command to the last value read.
    pub whole: f64,
    /// The host recorded commands.
    pub encode: f64,
    /// It handed them to the driver.
    pub submit: f64,
    /// It waited.
    pub wait: f64,
    /// It copied what was read.
    pub readback: f64,
    /// From the begin of the device's first item to the end of its last.
    pub device: f64,
    /// All dispatches.
    pub kernels: f64,
    /// All copies into images.
    pub images: f64,
    /// The copy of what is read.
    pub copy: f64,
    /// Between the items.
    pub gaps: f64,
}

impl Step {
    pub(super) fn new(timeline: Timeline, shift: f64) -> Step {
        // Passes that overlap are drawn one after the other.
        let mut last = f64::NEG_INFINITY;
        let spans = timeline.spans.iter().map(|span| {
            let begin = (span.begin_s + shift).max(last);
            last = (span.end_s + shift).max(begin);
            [begin, last]
        });
        Step {
            spans: spans.collect(),
            phases: timeline.phases,
        }
    }

    /// From when to when the host was at it.
    pub fn whole(&self) -> [f64; 2] {
        let begin = self.phases.first().map_or(0.0, |(_, begin, _)| *begin);
        [begin, self.phases.last().map_or(begin, |(.., end)| *end)]
    }

    /// From when to when the device was at it.
    pub fn device(&self) -> [f64; 2] {
        let begin = self.spans.first().map_or(0.0, |[begin, _]| *begin);
        [begin, self.spans.last().map_or(begin, |[_, end]| *end)]
    }

    /// Where the time went.
    pub fn parts(&self, items: &[Item]) -> Parts {
        let host = |wanted: Phase| -> f64 {
            let own = self.phases.iter().filter(|(phase, ..)| *phase == wanted);
            own.map(|(_, begin, end)| end - begin).sum()
        };
        let device = |wanted: fn(&Task) -> bool| -> f64 {
            let own = items.iter().zip(&self.spans);
            let own = own.filter(|(item, _)| wanted(&item.task));
            own.map(|(_, [begin, end])| end - begin).sum()
        };
        let [begin, end] = self.whole();
        let [first, last] = self.device();
        let kernels = device(|task| matches!(task, Task::Dispatch(_)));
        let images = device(|task| matches!(task, Task::Image(_)));
        let copy = device(|task| matches!(task, Task::Readback));
        Parts {
            whole: end - begin,
            encode: host(Phase::Encode),
            submit: host(Phase::Submit),
            wait: host(Phase::Wait),
            readback: host(Phase::Readback),
            device: last - first,
            kernels,
            images,
            copy,
            gaps: (last - first - kernels - images - copy).max(0.0),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::run::gpu::Span;

    #[test]
    fn spans_that_overlap_are_drawn_one_after_the_other() {
        let span = |begin_s, end_s| Span {
            task: Task::Readback,
            begin_s,
            end_s,
        };
        let timeline = Timeline {
            phases: vec![(Phase::Encode, 1.0, 2.0), (Phase::Wait, 3.0, 9.0)],
            spans: vec![
                span(0.0, 2.0),
                span(1.0, 3.0),
                span(1.5, 2.5),
                span(4.0, 4.5),
            ],
            stamped: true,
        };
        let step = Step::new(timeline, 2.0);
        assert_eq!(step.spans, [[2.0, 4.0], [4.0, 5.0], [5.0, 5.0], [6.0, 6.5]]);
        assert_eq!((step.whole(), step.device()), ([1.0, 9.0], [2.0, 6.5]));
        let parts = step.parts(&[]);
        assert_eq!((parts.whole, parts.encode, parts.wait), (8.0, 1.0, 6.0));
        assert_eq!((parts.device, parts.gaps), (4.5, 4.5));
    }
}
