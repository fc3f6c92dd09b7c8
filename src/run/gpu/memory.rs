//! How much memory a plan may take: what the caller allows, or what there is. A
//! driver often hands out more than it has, and fails later and worse.

use super::device::{Gpu, Inner};
use crate::error::{Error, Result};
use crate::graph::image::size;
use crate::number::bytes;
use crate::plan::{Output, Plan, image, stride};
use crate::run::host;

impl Gpu {
    /// Refuses a plan that this device cannot hold: it passes a limit of the
    /// adapter, or takes more than [`memory`](Gpu::memory). Compiling asks this, too.
    ///
    /// # Errors
    /// [`Error::Limit`]: what is too large, and by how much; behind the last
    /// semicolon what to do.
    pub fn check(&self, plan: &Plan) -> Result<()> {
        check_limits(&self.inner, plan)?;
        self.check_memory(plan)
    }

    /// The bytes that a plan may take:
    /// [`GpuOptions::max_memory`](super::GpuOptions) and, for a software adapter
    /// on Linux, what the system has left for this process, whichever is less.
    /// `None` where neither is known: no adapter says how much memory it has.
    pub fn memory(&self) -> Option<u64> {
        let own = self.inner.max_memory;
        let left = self.target().software.then(host::memory).flatten();
        own.into_iter().chain(left).min()
    }

    /// Refuses a plan that takes more than [`memory`](Gpu::memory).
    ///
    /// # Errors
    /// [`Error::Limit`] with both figures.
    pub fn check_memory(&self, plan: &Plan) -> Result<()> {
        let (needs, most) = (needed(plan), self.memory());
        let Some(most) = most.filter(|&most| needs > most) else {
            return Ok(());
        };
        let whose = match self.inner.max_memory == Some(most) {
            true => "it was allowed",
            false => "this process has left",
        };
        Err(Error::Limit(format!(
            "the plan needs {} of memory on the device, more than the {} that {whose}; make the \
             batch smaller, or ask for fewer values",
            bytes(needs),
            bytes(most)
        )))
    }

    /// The largest batch of fewer than `rows` rows whose plan this device can hold
    /// ([`check`](Gpu::check)); 0 if none does. `plan` makes the plan of so many.
    ///
    /// # Errors
    /// Those of `plan`, but for [`Error::Limit`]: what passes a limit does not fit.
    pub fn largest_batch(
        &self,
        rows: usize,
        plan: impl Fn(usize) -> Result<Plan>,
    ) -> Result<usize> {
        batch_that_fits(rows, |n| match plan(n).and_then(|plan| self.check(&plan)) {
            Ok(()) => Ok(true),
            Err(Error::Limit(_)) => Ok(false),
            Err(other) => Err(other),
        })
    }
}

/// The largest batch of fewer than `rows` rows that fits, where a smaller one
/// does, too; 0 if none does.
pub(crate) fn batch_that_fits(rows: usize, fits: impl Fn(usize) -> Result<bool>) -> Result<usize> {
    let (mut most, mut too_many) = (0, rows);
    while most + 1 < too_many {
        let middle = most + (too_many - most) / 2;
        match fits(middle)? {
            true => most = middle,
            false => too_many = middle,
        }
    }
    Ok(most)
}

/// The bytes that a program of this plan takes on the device: its buffers, and
/// the one through which outputs are read back.
pub(crate) fn needed(plan: &Plan) -> u64 {
    let read: u64 = sizes(plan).sum();
    plan.bytes() + read
}

/// Refuses a plan with a tensor that the adapter cannot bind, saying by how
/// much the batch is too large.
fn check_limits(inner: &Inner, plan: &Plan) -> Result<()> {
    let most = inner
        .limits
        .max_storage_buffer_binding_size
        .min(inner.limits.max_buffer_size);
    let side = inner.limits.max_texture_dimension_2d;
    for (spec, imaged) in plan.buffers.iter().zip(image::imaged(plan)) {
        let [_, rows] = size(spec.bytes());
        if imaged && rows > side {
            return Err(Error::Limit(format!(
                "`{}` needs an image of {rows} rows, but this adapter has at most {side}; split \
                 the batch, or choose another kernel",
                spec.label
            )));
        }
        if spec.bytes() > most {
            return Err(Error::Limit(format!(
                "`{}` needs a buffer of {} bytes, but this adapter binds at most {most}; if it \
                 grows with the batch, split the batch into {} parts or more",
                spec.label,
                spec.bytes(),
                spec.bytes().div_ceil(most)
            )));
        }
    }
    let size: u64 = sizes(plan).sum();
    if size > inner.limits.max_buffer_size {
        return Err(Error::Limit(format!(
            "reading back {size} bytes passes the adapter's largest buffer ({}); ask for fewer \
             outputs or split the batch",
            inner.limits.max_buffer_size
        )));
    }
    Ok(())
}

/// The bytes of each output where it is read back.
pub(super) fn sizes(plan: &Plan) -> impl Iterator<Item = u64> {
    let numel = |o: &Output| match plan.replicas {
        1 => o.shape.numel(),
        n => n * stride(o.shape.numel()),
    };
    plan.outputs.iter().map(move |o| 4 * numel(o) as u64)
}
