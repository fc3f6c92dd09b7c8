//! Where the time of one step goes, task by task: each dispatch and each copy has a
//! span of the device's clock. Without timestamps each is submitted alone and the
//! host's clock is around it.

use std::time::{Duration, Instant};

use super::{Clock, Program};
use crate::error::Result;
use crate::graph::NodeId;
use crate::plan::BufferId;
use crate::run::gpu::signal::block_on;

/// Something that the device does in a step.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Task {
    /// The dispatch at this place of [`Plan::steps`](crate::plan::Plan::steps).
    Dispatch(usize),
    /// The copy of a buffer into its image.
    Image(BufferId),
    /// The copies of what is read back to where the host can map it.
    Readback,
}

/// A task and when it was done.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Span {
    /// The task.
    pub task: Task,
    /// When it began: seconds of the device's clock, whose zero is its own, or of
    /// the host's ([`Timeline::stamped`] says which).
    pub begin_s: f64,
    /// When it had ended, likewise.
    pub end_s: f64,
}

/// What the host does in a step.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Phase {
    /// It records commands.
    Encode,
    /// It hands them to the driver.
    Submit,
    /// It waits for the device.
    Wait,
    /// It copies what was read into the outputs.
    Readback,
}

/// One step, as the host and the device lived through it.
#[derive(Clone, PartialEq, Debug)]
pub struct Timeline {
    /// What the host did and from when to when, in seconds since the instant that
    /// was given. In order, and without overlap.
    pub phases: Vec<(Phase, f64, f64)>,
    /// What the device did, in order. Empty if its timestamps were nonsense.
    pub spans: Vec<Span>,
    /// Whether spans are by the device's timestamps. If not, each task was
    /// submitted alone, and its span goes from its submission to the answer by the
    /// host's clock, in seconds since the instant that was given.
    pub stamped: bool,
}

impl Program {
    /// What the device does in a step that reads back something, in order.
    pub fn tasks(&self) -> impl Iterator<Item = Task> + '_ {
        let all = self.segments.iter().flat_map(|segment| {
            let copies = segment.copies.iter().map(|&id| Task::Image(id));
            copies.chain(segment.dispatches.clone().map(Task::Dispatch))
        });
        all.chain(std::iter::once(Task::Readback))
    }

    /// Runs one step, reads back the outputs that `read` lists, and says when each
    /// task was done; times of the host are seconds since `origin`. The first call
    /// makes what the timestamps need. With `host_clock`, or where the adapter has
    /// no timestamps, each task is submitted alone.
    ///
    /// # Errors
    /// As [`run_steps`](Program::run_steps).
    pub fn trace_step(
        &mut self,
        read: &[NodeId],
        origin: Instant,
        host_clock: bool,
    ) -> Result<Timeline> {
        block_on(self.trace_step_async(read, origin, host_clock))
    }

    /// As [`trace_step`](Program::trace_step), to be awaited.
    pub async fn trace_step_async(
        &mut self,
        read: &[NodeId],
        origin: Instant,
        host_clock: bool,
    ) -> Result<Timeline> {
        self.select(1, read)?;
        self.check_given()?;
        let tasks: Vec<Task> = self.tasks().collect();
        let mut host = Host {
            origin,
            phases: Vec::new(),
        };
        if host_clock || !self.gpu.inner.has_timestamps() {
            self.one_by_one(&tasks, host).await
        } else {
            let spans = self.stamped(&tasks, &mut host).await?;
            Ok(Timeline {
                phases: host.phases,
                spans,
                stamped: true,
            })
        }
    }

    /// All tasks in one submission, with stamps around each.
    async fn stamped(&mut self, tasks: &[Task], host: &mut Host) -> Result<Vec<Span>> {
        let inner = &self.gpu.inner;
        if self.stamps.is_none() {
            let made = inner.scoped(|| Clock::new(inner, tasks.len() as u32));
            self.stamps = Some(made.await?);
        }
        let timed = || {
            let commands = host.timed(Phase::Encode, || self.encode_stamped(tasks));
            host.timed(Phase::Submit, || self.submit(commands))
        };
        let submission = inner.scoped(timed).await?;
        let start = host.now();
        self.wait(1, submission.clone()).await?;
        host.since(Phase::Wait, start);
        let start = host.now();
        self.take()?;
        host.since(Phase::Readback, start);
        let mut times = vec![[0.0; 2]; tasks.len()];
        if let Some(clock) = &mut self.stamps {
            let (inner, signal) = (&self.gpu.inner, &self.signal);
            clock.read(inner, submission, signal, &mut times).await?;
        }
        let span = |(&task, [begin_s, end_s]): (&Task, [f64; 2])| Span {
            task,
            begin_s,
            end_s,
        };
        let spans: Vec<Span> = tasks.iter().zip(times).map(span).collect();
        Ok(if is_sound(&spans) { spans } else { Vec::new() })
    }

    fn encode_stamped(&self, tasks: &[Task]) -> wgpu::CommandBuffer {
        let mut encoder = self.encoder();
        let clock = self.stamps.as_ref();
        for (i, &task) in tasks.iter().enumerate() {
            let i = i as u32;
            if let Task::Dispatch(_) = task {
                let writes = clock.and_then(|c| c.writes(i, true, true));
                self.add(&mut encoder, task, writes);
            } else {
                // No stamp stands outside of a pass, so two that do nothing are
                // around a copy.
                empty_pass(&mut encoder, clock.and_then(|c| c.writes(i, true, false)));
                self.add(&mut encoder, task, None);
                empty_pass(&mut encoder, clock.and_then(|c| c.writes(i, false, true)));
            }
        }
        if let Some(clock) = clock {
            clock.resolve(&mut encoder);
        }
        encoder.finish()
    }

    /// Adds one task to the commands. A dispatch gets a pass of its own.
    fn add(
        &self,
        encoder: &mut wgpu::CommandEncoder,
        task: Task,
        timestamp_writes: Option<wgpu::ComputePassTimestampWrites<'_>>,
    ) {
        match task {
            Task::Dispatch(i) => {
                let label = Some(self.plan.steps[i].label.as_str());
                let mut pass = encoder.begin_compute_pass(&wgpu::ComputePassDescriptor {
                    label,
                    timestamp_writes,
                });
                self.dispatches[i].record(&mut pass);
            }
            Task::Image(id) => self.copy_image(encoder, id),
            Task::Readback => self.copy_outputs(encoder),
        }
    }

    /// Each task in a submission of its own, by the host's clock.
    async fn one_by_one(&mut self, tasks: &[Task], mut host: Host) -> Result<Timeline> {
        let mut spans = Vec::with_capacity(tasks.len());
        // What whole steps took says nothing of the wait for one task.
        self.usual = (0, Duration::ZERO);
        for &task in tasks {
            let inner = &self.gpu.inner;
            let timed = || {
                let commands = host.timed(Phase::Encode, || {
                    let mut encoder = self.encoder();
                    self.add(&mut encoder, task, None);
                    encoder.finish()
                });
                let start = host.now();
                let submission = self.submit(commands);
                host.since(Phase::Submit, start);
                (submission, start)
            };
            let (submission, begin_s) = inner.scoped(timed).await?;
            let start = host.now();
            match task {
                Task::Readback => self.wait(1, submission).await?,
                _ => inner.wait(submission)?,
            }
            host.since(Phase::Wait, start);
            spans.push(Span {
                task,
                begin_s,
                end_s: host.now(),
            });
        }
        self.usual = (0, Duration::ZERO);
        let start = host.now();
        self.take()?;
        host.since(Phase::Readback, start);
        Ok(Timeline {
            phases: host.phases,
            spans,
            stamped: false,
        })
    }
}

/// Whether stamps tell anything: a counter that wrapped around or stood still does not.
fn is_sound(spans: &[Span]) -> bool {
    let ordered = spans.iter().all(|s| s.end_s >= s.begin_s);
    let first = spans.first().map_or(0.0, |s| s.begin_s);
    ordered && spans.last().is_some_and(|s| s.end_s > first)
}

fn empty_pass(
    encoder: &mut wgpu::CommandEncoder,
    timestamp_writes: Option<wgpu::ComputePassTimestampWrites<'_>>,
) {
    drop(encoder.begin_compute_pass(&wgpu::ComputePassDescriptor {
        label: Some("a timestamp"),
        timestamp_writes,
    }));
}

/// The host's part, as it is lived through.
struct Host {
    origin: Instant,
    phases: Vec<(Phase, f64, f64)>,
}

impl Host {
    fn now(&self) -> f64 {
        self.origin.elapsed().as_secs_f64()
    }

    fn since(&mut self, phase: Phase, start: f64) {
        self.phases.push((phase, start, self.now()));
    }

    fn timed<T>(&mut self, phase: Phase, work: impl FnOnce() -> T) -> T {
        let start = self.now();
        let made = work();
        self.since(phase, start);
        made
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_counter_that_wraps_or_stands_still_is_found() {
        let spans = |times: &[[f64; 2]]| -> Vec<Span> {
            let span = |&[begin_s, end_s]: &[f64; 2]| Span {
                task: Task::Readback,
                begin_s,
                end_s,
            };
            times.iter().map(span).collect()
        };
        assert!(is_sound(&spans(&[[0.0, 1.0], [1.5, 1.5], [2.0, 3.0]])));
        // Passes may overlap.
        assert!(is_sound(&spans(&[[0.0, 2.0], [1.0, 3.0]])));
        assert!(!is_sound(&spans(&[[5.0, 6.0], [7.0, 0.5]])));
        assert!(!is_sound(&spans(&[[5.0, 6.0], [1.0, 2.0]])));
        assert!(!is_sound(&spans(&[[0.0, 0.0], [0.0, 0.0]])));
        assert!(!is_sound(&[]));
    }
}
