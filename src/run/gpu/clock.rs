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

/// Stamps of one query set; more take several sets. Even, so that both stamps of a
/// span are in one set, as a pass demands.
const SET: u32 = wgpu::QUERY_SET_MAX_QUERIES;

/// Bytes of a stamp.
const STAMP: u64 = 8;

/// Timestamps by pairs, the begin and the end of each span, and the buffers that
/// they reach the host through.
pub(super) struct Clock {
    sets: Vec<wgpu::QuerySet>,
    size: u64,
    resolved: wgpu::Buffer,
    staging: wgpu::Buffer,
    /// The first tick that was ever read: seconds count from it.
    zero: Option<u64>,
}

// A browser has no clock of ours, so no timed runs.
#[cfg_attr(target_arch = "wasm32", allow(dead_code))]
impl Clock {
    /// A clock for so many spans; the device must have timestamps.
    pub fn new(inner: &Inner, spans: u32) -> Clock {
        let usage = wgpu::BufferUsages::QUERY_RESOLVE | wgpu::BufferUsages::COPY_SRC;
        let staging = wgpu::BufferUsages::MAP_READ | wgpu::BufferUsages::COPY_DST;
        let stamps = 2 * spans.max(1);
        let set = |first: u32| {
            inner.device.create_query_set(&wgpu::QuerySetDescriptor {
                label: Some("begins and ends"),
                ty: wgpu::QueryType::Timestamp,
                count: (stamps - first).min(SET),
            })
        };
        let size = u64::from(stamps) * STAMP;
        Clock {
            sets: (0..stamps).step_by(SET as usize).map(set).collect(),
            size,
            resolved: inner.buffer("timestamps", size, usage),
            staging: inner.buffer("timestamps to read", size, staging),
            zero: None,
        }
    }

    /// What tells a pass to stamp the `begin` of a span where it begins, and the
    /// `end` where it ends.
    pub fn writes(
        &self,
        span: u32,
        begin: bool,
        end: bool,
    ) -> Option<wgpu::ComputePassTimestampWrites<'_>> {
        let stamp = 2 * span;
        let first = stamp % SET;
        (begin || end).then(|| wgpu::ComputePassTimestampWrites {
            query_set: &self.sets[(stamp / SET) as usize],
            beginning_of_pass_write_index: begin.then_some(first),
            end_of_pass_write_index: end.then_some(first + 1),
        })
    }

    /// Sends the stamps to where the host can read them.
    pub fn resolve(&self, encoder: &mut wgpu::CommandEncoder) {
        let (mut left, mut offset) = ((self.size / STAMP) as u32, 0);
        for set in &self.sets {
            let count = left.min(SET);
            encoder.resolve_query_set(set, 0..count, &self.resolved, offset);
            left -= count;
            offset += u64::from(count) * STAMP;
        }
        encoder.copy_buffer_to_buffer(&self.resolved, 0, &self.staging, 0, self.size);
    }

    /// Seconds between the stamps of the only span of a submission that is done.
    pub async fn elapsed(
        &mut self,
        inner: &Inner,
        done: wgpu::SubmissionIndex,
        signal: &Arc<Signal>,
    ) -> Result<Option<f64>> {
        let mut span = [[0.0; 2]];
        self.read(inner, done, signal, &mut span).await?;
        let [[begin, end]] = span;
        // A counter that wrapped around or stood still says nothing.
        Ok((end > begin).then_some(end - begin))
    }

    /// Reads the first spans of a submission that is done: begin and end of each,
    /// in seconds since the first stamp that this clock ever read.
    pub async fn read(
        &mut self,
        inner: &Inner,
        done: wgpu::SubmissionIndex,
        signal: &Arc<Signal>,
        spans: &mut [[f64; 2]],
    ) -> Result<()> {
        let mapped = inner
            .map(&self.staging, self.size, done, signal, Duration::ZERO)
            .await;
        let result = mapped.and_then(|_| {
            let view = self
                .staging
                .get_mapped_range(..)
                .map_err(|e| Error::DeviceLost(format!("the timestamps are gone: {e}")))?;
            let period = f64::from(inner.queue.get_timestamp_period()) * 1e-9;
            let stamps = view.chunks_exact(STAMP as usize).map(|bytes| {
                let word = bytes.first_chunk::<8>().copied().unwrap_or_default();
                u64::from_le_bytes(word)
            });
            for (seconds, ticks) in spans.as_flattened_mut().iter_mut().zip(stamps) {
                let zero = *self.zero.get_or_insert(ticks);
                // The difference as a signed number: a stamp may be before the zero.
                *seconds = ticks.wrapping_sub(zero).cast_signed() as f64 * period;
            }
            Ok(())
        });
        self.staging.unmap();
        result
    }
}
