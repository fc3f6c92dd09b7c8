//! Waiting for a device: awake at first, then asleep, and never longer than was
//! allowed.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;
#[cfg(not(target_arch = "wasm32"))]
use std::time::Instant;

use super::device::Inner;
use super::signal::Signal;
use crate::error::{Error, Result};

/// How long a run's wait stays awake. Waking a thread, and the processor that it
/// slept on, takes tens of microseconds: a third of a small network's step.
#[cfg(not(target_arch = "wasm32"))]
const AWAKE: Duration = Duration::from_micros(200);

/// How late a sleeping thread may wake.
#[cfg(not(target_arch = "wasm32"))]
const LATE: Duration = Duration::from_micros(60);

impl Inner {
    /// Lets the device work until `submission` is done.
    pub fn wait(&self, submission: wgpu::SubmissionIndex) -> Result<()> {
        self.poll(wgpu::PollType::Wait {
            submission_index: Some(submission),
            timeout: Some(self.timeout),
        })
    }

    /// Asks the device for a short while whether it is `done`, without sleeping.
    /// `usual` is what the same work took the last time, or 0: the first part of it
    /// is slept through, for a driver in software, which needs this processor too.
    /// Returns whether the work was done before the sleep was over, so that nobody
    /// knows how long it took.
    #[cfg(not(target_arch = "wasm32"))]
    pub fn watch(&self, usual: Duration, done: impl Fn() -> bool) -> Result<bool> {
        let start = Instant::now();
        if self.stalled.load(Ordering::Relaxed) {
            return Ok(false); // the wait to come is the one to fail
        }
        let nap = (usual * 3 / 4).saturating_sub(LATE);
        let mut overslept = false;
        if nap > LATE && !done() {
            std::thread::sleep(nap.min(self.timeout));
            self.poll(wgpu::PollType::Poll)?;
            overslept = done();
        }
        let awake = nap + AWAKE.max(usual / 2).min(10 * AWAKE);
        while !done() && start.elapsed() < awake.min(self.timeout) {
            self.poll(wgpu::PollType::Poll)?;
            // A driver in software works on the same processors.
            std::thread::yield_now();
        }
        Ok(overslept)
    }

    fn poll(&self, poll: wgpu::PollType) -> Result<()> {
        // wgpu panics here when a device is really lost, handler or not.
        let polled = match self.stalled.swap(false, Ordering::Relaxed) {
            true => Ok(Err(wgpu::PollError::Timeout)),
            false => catch_unwind(AssertUnwindSafe(|| self.device.poll(poll))),
        };
        self.check()?;
        match polled {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(wgpu::PollError::Timeout)) => Err(Error::Timeout(format!(
                "the device was still busy after {} s",
                self.timeout.as_secs_f32()
            ))),
            Ok(Err(error)) => Err(Error::Gpu(error.to_string())),
            Err(_) => Err(Error::DeviceLost(
                "the driver gave up while waiting".to_string(),
            )),
        }
    }

    /// Maps the first `size` bytes of `buffer` for reading once `submission`
    /// is done; the answer comes by `signal`. The caller unmaps, also after an
    /// error. `usual` is what the same work took before, or 0. Returns whether
    /// that was too long.
    pub async fn map(
        &self,
        buffer: &wgpu::Buffer,
        size: u64,
        submission: wgpu::SubmissionIndex,
        signal: &Arc<Signal>,
        usual: Duration,
    ) -> Result<bool> {
        let sender = signal.arm();
        buffer.map_async(wgpu::MapMode::Read, ..size, move |result| {
            sender.send(result.map_err(|e| format!("mapping failed: {e}")));
        });
        #[cfg(not(target_arch = "wasm32"))]
        let overslept = self.watch(usual, || signal.is_answered())?;
        #[cfg(target_arch = "wasm32")]
        let overslept = {
            let _ = usual; // nobody watches
            false
        };
        // The answer may come from another thread's wait, a moment after ours;
        // in a browser it comes by itself.
        if !signal.is_answered() {
            self.wait(submission)?;
        }
        let answer = signal.answer().await;
        if answer.is_err() {
            // What wgpu has to say of it is this run's error, not the next one's.
            self.check()?;
        }
        answer.map_err(Error::DeviceLost)?;
        Ok(overslept)
    }
}
