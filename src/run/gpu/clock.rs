//! Where the time of a run goes: the host's clock around each part, and the
//! device's own timestamps at both ends of its passes, where it has them.

use std::sync::Arc;
use std::time::Duration;

use super::device::Inner;
use super::signal::Signal;
use crate::error::{Error, Result};

/// Where the time of one submission went, in seconds.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Timing {
    /// The host recorded the commands.
    pub encode_s: f64,
    /// The host handed them to the driver.
    pub submit_s: f64,
    /// The host waited: the rest of the device's work, the copy of what is
    /// read, and the answer that it is there.
    pub wait_s: f64,
    /// The host copied the values into the outputs.
    pub read_s: f64,
    /// The device's own time for all dispatches, from its timestamps; `None`
    /// where it has none, or nonsense.
    pub gpu_s: Option<f64>,
}

impl Timing {
    /// All that the host waited for, in seconds.
    pub fn total_s(&self) -> f64 {
        self.encode_s + self.submit_s + self.wait_s + self.read_s
    }
}

/// Bytes of two timestamps.
const SIZE: u64 = 16;

/// Two timestamps and the buffers that they reach the host through.
pub(super) struct Clock {
    set: wgpu::QuerySet,
    resolved: wgpu::Buffer,
    staging: wgpu::Buffer,
}

// A browser has no clock of ours, so no timed runs.
#[cfg_attr(target_arch = "wasm32", allow(dead_code))]
impl Clock {
    /// A clock; the device must have timestamps.
    pub fn new(inner: &Inner) -> Clock {
        let usage = wgpu::BufferUsages::QUERY_RESOLVE | wgpu::BufferUsages::COPY_SRC;
        let staging = wgpu::BufferUsages::MAP_READ | wgpu::BufferUsages::COPY_DST;
        Clock {
            set: inner.device.create_query_set(&wgpu::QuerySetDescriptor {
                label: Some("begin and end of the pass"),
                ty: wgpu::QueryType::Timestamp,
                count: 2,
            }),
            resolved: inner.buffer("timestamps", SIZE, usage),
            staging: inner.buffer("timestamps to read", SIZE, staging),
        }
    }

    /// What tells a pass to stamp its begin, if it is the `first`, and its end,
    /// if it is the `last`.
    pub fn writes(&self, first: bool, last: bool) -> Option<wgpu::ComputePassTimestampWrites<'_>> {
        (first || last).then_some(wgpu::ComputePassTimestampWrites {
            query_set: &self.set,
            beginning_of_pass_write_index: first.then_some(0),
            end_of_pass_write_index: last.then_some(1),
        })
    }

    /// Sends the stamps to where the host can read them.
    pub fn resolve(&self, encoder: &mut wgpu::CommandEncoder) {
        encoder.resolve_query_set(&self.set, 0..2, &self.resolved, 0);
        encoder.copy_buffer_to_buffer(&self.resolved, 0, &self.staging, 0, SIZE);
    }

    /// Seconds between the stamps of a submission that is done.
    pub async fn elapsed(
        &self,
        inner: &Inner,
        done: wgpu::SubmissionIndex,
        signal: &Arc<Signal>,
    ) -> Result<Option<f64>> {
        let mapped = inner
            .map(&self.staging, SIZE, done, signal, Duration::ZERO)
            .await;
        let result = mapped.and_then(|_| {
            let view = self
                .staging
                .get_mapped_range(..)
                .map_err(|e| Error::DeviceLost(format!("the timestamps are gone: {e}")))?;
            let [begin, end] = [&view[..8], &view[8..]].map(|bytes| {
                let word = bytes.first_chunk::<8>().copied().unwrap_or_default();
                u64::from_le_bytes(word)
            });
            let period = f64::from(inner.queue.get_timestamp_period()) * 1e-9;
            // A counter that wrapped around or stood still says nothing.
            let ticks = end.checked_sub(begin).filter(|&ticks| ticks > 0);
            Ok(ticks.map(|ticks| ticks as f64 * period))
        });
        self.staging.unmap();
        result
    }
}
