//! A compiled plan: made once, run many times. Everything a run needs exists
//! before the first one, and a run is one submission.

mod compile;
mod outputs;
#[cfg(not(target_arch = "wasm32"))]
mod timeline;

use std::collections::HashMap;
use std::ops::Range;
use std::time::Duration;
#[cfg(not(target_arch = "wasm32"))]
use std::time::Instant;

use self::compile::write;
pub use self::outputs::Outputs;
#[cfg(not(target_arch = "wasm32"))]
pub use self::timeline::{Phase, Span, Task, Timeline};
use super::clock::Clock;
#[cfg(not(target_arch = "wasm32"))]
use super::clock::Timing;
use super::device::{Fault, Gpu};
use super::image::Image;
use super::pipelines::Pipeline;
use super::signal::Signal;
#[cfg(not(target_arch = "wasm32"))]
use super::signal::block_on;
use crate::error::{Error, Result};
use crate::graph::NodeId;
use crate::plan::{BufferId, Plan, stride};
use crate::run::{Feeds, check_feed, missing_feed};
use crate::shape::Shape;
use crate::tensor::Tensor;

use std::sync::Arc;

struct Dispatch {
    pipeline: Arc<Pipeline>,
    bind_group: wgpu::BindGroup,
    grid: [u32; 2],
}

impl Dispatch {
    fn record(&self, pass: &mut wgpu::ComputePass<'_>) {
        pass.set_pipeline(&self.pipeline.pipeline);
        pass.set_bind_group(0, &self.bind_group, &[]);
        pass.dispatch_workgroups(self.grid[0], self.grid[1], 1);
    }
}

/// Dispatches that follow each other, and the buffers whose images are copied
/// before them.
struct Segment {
    copies: Vec<BufferId>,
    dispatches: Range<usize>,
}

/// Where a value is on the device.
pub(super) struct Place {
    pub buffer: wgpu::Buffer,
    pub offset: u64,
    pub bytes: u64,
    /// Where kernels read it as an image.
    image: Option<Image>,
}

/// A plan with its pipelines, bind groups and buffers on one device.
pub struct Program {
    gpu: Gpu,
    plan: Plan,
    /// Where each label is among the plan's feeds.
    feeds: HashMap<String, usize>,
    /// A leaf's values with the gaps that replicas have between them; kept so that
    /// the next value needs no memory.
    padded: Vec<f32>,
    buffers: Vec<Place>,
    dispatches: Vec<Dispatch>,
    segments: Vec<Segment>,
    staging: wgpu::Buffer,
    /// Bytes of each output on the device, all replicas together.
    sizes: Vec<u64>,
    /// Which outputs the present run reads back.
    reading: Vec<bool>,
    given: Vec<bool>,
    outputs: Outputs,
    signal: Arc<Signal>,
    /// How long the last run's wait took, or 0 where that is not known, and of how
    /// many steps.
    usual: (u32, Duration),
    /// Made by the first timed run, where the adapter has timestamps.
    #[cfg_attr(target_arch = "wasm32", allow(dead_code))] // no timed runs there
    clock: Option<Clock>,
    /// Made by the first traced step, likewise.
    #[cfg(not(target_arch = "wasm32"))]
    stamps: Option<Clock>,
}

impl Program {
    /// The plan that this is.
    pub fn plan(&self) -> &Plan {
        &self.plan
    }

    /// The values that were last read back; 0 before the first run.
    pub fn outputs(&self) -> &Outputs {
        &self.outputs
    }

    /// Gives a leaf its value for the runs to come. With
    /// [replicas](crate::plan::PlanOptions::replicas) that is the values of all,
    /// along a leading axis, or one value for all.
    ///
    /// # Errors
    /// There is no such leaf in the plan, or the shape is another.
    pub fn set(&mut self, label: &str, value: &Tensor) -> Result<()> {
        let Some(&i) = self.feeds.get(label) else {
            let known: Vec<_> = self.plan.feeds.iter().map(|f| f.label.as_str()).collect();
            return Err(Error::Graph(format!(
                "this program takes no value `{label}`; it takes {}",
                known.join(", ")
            )));
        };
        self.fill(i, value)
    }

    /// Gives the leaf at this place its value.
    fn fill(&mut self, i: usize, value: &Tensor) -> Result<()> {
        let feed = &self.plan.feeds[i];
        let label = feed.label.as_str();
        let replicas = self.plan.replicas;
        let of_each = (&replicas, feed.shape.dims());
        let for_each = replicas > 1 && value.dims().split_first() == Some(of_each);
        if !for_each && *value.shape() != feed.shape {
            check_feed(label, &of_all(&feed.shape, replicas)?, value)?;
        }
        self.gpu.inner.check()?;
        let place = &self.buffers[feed.buffer.index()];
        let numel = feed.shape.numel();
        if replicas == 1 || (for_each && stride(numel) == numel) {
            write(&self.gpu.inner, place, value.data());
        } else {
            self.padded.clear();
            self.padded.resize(padded(numel, replicas), 0.0);
            let each = self.padded.chunks_mut(stride(numel).max(1));
            for (i, own) in each.enumerate() {
                let first = if for_each { i * numel } else { 0 };
                own[..numel].copy_from_slice(&value.data()[first..first + numel]);
            }
            write(&self.gpu.inner, place, &self.padded);
        }
        self.given[i] = true;
        Ok(())
    }

    /// Gives every leaf of the plan its value; values for other leaves are
    /// left alone.
    pub fn set_all(&mut self, feeds: &Feeds) -> Result<()> {
        for i in 0..self.plan.feeds.len() {
            if let Some(value) = feeds.get(&self.plan.feeds[i].label) {
                self.fill(i, value)?;
            }
        }
        Ok(())
    }

    /// Runs the plan in one submission and waits for the outputs. The second
    /// and every later run makes no GPU object and takes no memory for values.
    ///
    /// # Errors
    /// A leaf without a value; [`Error::DeviceLost`], [`Error::OutOfMemory`],
    /// [`Error::Timeout`].
    #[cfg(not(target_arch = "wasm32"))]
    pub fn run(&mut self) -> Result<&Outputs> {
        block_on(self.run_async())
    }

    /// As [`run`](Program::run), to be awaited.
    pub async fn run_async(&mut self) -> Result<&Outputs> {
        self.reading.fill(true);
        self.go(1).await
    }

    /// Runs the plan `steps` times in one submission and reads back only the
    /// outputs that `read` lists. The others are computed too, and keep in
    /// [`Outputs`] the values that were last read.
    ///
    /// Every step starts from the same leaves. Some systems reset a device
    /// that is busy for 2 s: keep a submission well below that.
    ///
    /// # Errors
    /// As [`run`](Program::run); no step, or a node in `read` that is not
    /// among the outputs.
    #[cfg(not(target_arch = "wasm32"))]
    pub fn run_steps(&mut self, steps: u32, read: &[NodeId]) -> Result<&Outputs> {
        block_on(self.run_steps_async(steps, read))
    }

    /// As [`run_steps`](Program::run_steps), to be awaited.
    pub async fn run_steps_async(&mut self, steps: u32, read: &[NodeId]) -> Result<&Outputs> {
        self.select(steps, read)?;
        self.go(steps).await
    }

    /// As [`run_steps`](Program::run_steps), and says where the time went. The
    /// first call makes what the timestamps need, where the adapter has them.
    ///
    /// # Errors
    /// As [`run_steps`](Program::run_steps).
    #[cfg(not(target_arch = "wasm32"))]
    pub fn time_steps(&mut self, steps: u32, read: &[NodeId]) -> Result<Timing> {
        block_on(self.time_steps_async(steps, read))
    }

    /// As [`time_steps`](Program::time_steps), to be awaited. Not in a browser,
    /// where the standard library has no clock.
    #[cfg(not(target_arch = "wasm32"))]
    pub async fn time_steps_async(&mut self, steps: u32, read: &[NodeId]) -> Result<Timing> {
        self.select(steps, read)?;
        self.check_given()?;
        let inner = &self.gpu.inner;
        if self.clock.is_none() && inner.has_timestamps() {
            self.clock = Some(inner.scoped(|| Clock::new(inner, 1)).await?);
        }
        let timed = || {
            let start = Instant::now();
            let commands = self.encode(steps, self.clock.as_ref());
            let encoded = Instant::now();
            let submission = self.submit(commands);
            (submission, start, encoded, Instant::now())
        };
        let (submission, start, encoded, submitted) = inner.scoped(timed).await?;
        self.wait(steps, submission.clone()).await?;
        let waited = Instant::now();
        self.take()?;
        let done = Instant::now();
        let gpu_s = match &mut self.clock {
            Some(clock) => {
                clock
                    .elapsed(&self.gpu.inner, submission, &self.signal)
                    .await?
            }
            None => None,
        };
        Ok(Timing {
            encode_s: (encoded - start).as_secs_f64(),
            submit_s: (submitted - encoded).as_secs_f64(),
            wait_s: (waited - submitted).as_secs_f64(),
            read_s: (done - waited).as_secs_f64(),
            gpu_s,
        })
    }

    /// Marks what the run to come reads back.
    fn select(&mut self, steps: u32, read: &[NodeId]) -> Result<()> {
        if steps == 0 {
            return Err(Error::Graph(
                "a run of 0 steps computes nothing; ask for 1 or more".to_string(),
            ));
        }
        self.reading.fill(false);
        for &node in read {
            let place = self.outputs.place(node)?;
            self.reading[place] = true;
        }
        Ok(())
    }

    async fn go(&mut self, steps: u32) -> Result<&Outputs> {
        self.check_given()?;
        // Scopes, so that this run's errors are this run's, whoever else uses
        // the device meanwhile.
        let submission = self
            .gpu
            .inner
            .scoped(|| self.submit(self.encode(steps, None)))
            .await?;
        self.wait(steps, submission).await?;
        self.take()?;
        Ok(&self.outputs)
    }

    fn check_given(&self) -> Result<()> {
        match self.given.iter().position(|given| !given) {
            Some(i) => {
                let feed = &self.plan.feeds[i];
                Err(missing_feed(&feed.label, &feed.shape))
            }
            None => Ok(()),
        }
    }

    fn encode(&self, steps: u32, clock: Option<&Clock>) -> wgpu::CommandBuffer {
        let mut encoder = self.encoder();
        // One pass, but for copies, which no pass may contain.
        let copying = self.segments.iter().filter(|s| !s.copies.is_empty());
        let last = steps as usize * copying.count();
        let mut segments = (0..steps).flat_map(|_| &self.segments).peekable();
        let mut passes = 0;
        while let Some(segment) = segments.next() {
            for &id in &segment.copies {
                self.copy_image(&mut encoder, id);
            }
            let mut pass = encoder.begin_compute_pass(&wgpu::ComputePassDescriptor {
                label: Some("forward, then reverse"),
                timestamp_writes: clock.and_then(|c| c.writes(0, passes == 0, passes == last)),
            });
            let mut next = Some(segment);
            while let Some(segment) = next {
                for dispatch in &self.dispatches[segment.dispatches.clone()] {
                    dispatch.record(&mut pass);
                }
                next = segments.next_if(|s| s.copies.is_empty());
            }
            passes += 1;
        }
        self.copy_outputs(&mut encoder);
        if let Some(clock) = clock {
            clock.resolve(&mut encoder);
        }
        encoder.finish()
    }

    fn encoder(&self) -> wgpu::CommandEncoder {
        let device = &self.gpu.inner.device;
        device.create_command_encoder(&wgpu::CommandEncoderDescriptor {
            label: Some("wgrad run"),
        })
    }

    /// Brings the image of a buffer up to date, if it has one.
    fn copy_image(&self, encoder: &mut wgpu::CommandEncoder, id: BufferId) {
        let place = &self.buffers[id.index()];
        if let Some(image) = &place.image {
            image.copy(encoder, place);
        }
    }

    /// Copies what is read: it lies in the staging buffer without gaps, from its
    /// start.
    fn copy_outputs(&self, encoder: &mut wgpu::CommandEncoder) {
        let mut offset = 0;
        let outputs = self.plan.outputs.iter().zip(&self.sizes);
        for ((output, &bytes), _) in outputs.zip(&self.reading).filter(picked) {
            if bytes > 0 {
                let from = &self.buffers[output.buffer.index()];
                encoder.copy_buffer_to_buffer(
                    &from.buffer,
                    from.offset,
                    &self.staging,
                    offset,
                    bytes,
                );
                offset += bytes;
            }
        }
    }

    fn submit(&self, commands: wgpu::CommandBuffer) -> wgpu::SubmissionIndex {
        let inner = &self.gpu.inner;
        let submission = inner.queue.submit([commands]);
        if inner.submitted() == Some(Fault::Map) {
            self.staging.destroy();
        }
        submission
    }

    /// Bytes that the present run reads back.
    fn read_size(&self) -> u64 {
        let sizes = self.sizes.iter().zip(&self.reading);
        sizes.filter(picked).map(|(size, _)| size).sum()
    }

    /// Waits until what the run reads back is mapped.
    async fn wait(&mut self, steps: u32, submission: wgpu::SubmissionIndex) -> Result<()> {
        let inner = &self.gpu.inner;
        let size = self.read_size();
        if size == 0 {
            return inner.wait(submission);
        }
        let usual = match self.usual {
            (of, time) if of == steps && self.gpu.target().software => time,
            _ => Duration::ZERO,
        };
        #[cfg(not(target_arch = "wasm32"))]
        let start = Instant::now();
        let mapped = inner
            .map(&self.staging, size, submission, &self.signal, usual)
            .await;
        // A map that was asked for must be undone after a failure too. What wgpu
        // says of that is told already.
        let overslept = match mapped {
            Ok(overslept) => overslept,
            Err(error) => {
                let _ = inner.caught(|| self.staging.unmap()).await;
                return Err(error);
            }
        };
        // A time that ran out is no usual one; nor is the first, in which drivers
        // compile, nor one that was slept through. Without one the next run is
        // watched from its start.
        #[cfg(not(target_arch = "wasm32"))]
        let took = start.elapsed();
        #[cfg(target_arch = "wasm32")]
        let took = Duration::ZERO; // nobody sleeps there
        let known = self.usual.0 == steps && !overslept;
        self.usual = (steps, if known { took } else { Duration::ZERO });
        Ok(())
    }

    /// Copies what is mapped into the outputs.
    fn take(&mut self) -> Result<()> {
        let size = self.read_size();
        if size == 0 {
            return Ok(());
        }
        let replicas = self.plan.replicas;
        let view = self.staging.get_mapped_range(..size);
        let taken = view.map(|view| {
            let mut start = 0;
            let outputs = self.plan.outputs.iter().zip(&mut self.outputs.values);
            let sized = outputs.zip(&self.sizes).zip(&self.reading);
            for (((output, value), &size), _) in sized.filter(|(_, reading)| **reading) {
                let from: &[f32] = bytemuck::cast_slice(&view[start..start + size as usize]);
                let numel = output.shape.numel();
                // Without replicas this is one chunk, of all that there is.
                let own = from.chunks(if replicas == 1 { numel } else { stride(numel) }.max(1));
                for (to, own) in value.data_mut().chunks_mut(numel.max(1)).zip(own) {
                    to.copy_from_slice(&own[..numel]);
                }
                start += size as usize;
            }
        });
        self.staging.unmap();
        taken.map_err(|e| Error::DeviceLost(format!("the mapped values are gone: {e}")))
    }
}

/// Elements that the values of all replicas take on the device.
fn padded(numel: usize, replicas: usize) -> usize {
    match replicas {
        1 => numel,
        n => n * stride(numel),
    }
}

/// The shape of the values of all replicas: a leading axis, if there are several.
fn of_all(shape: &Shape, replicas: usize) -> Result<Shape> {
    Ok(match replicas {
        1 => shape.clone(),
        n => Shape::new(&[&[n], shape.dims()].concat())?,
    })
}

/// Whether a thing is marked to be read back.
fn picked<T>((_, reading): &(T, &bool)) -> bool {
    **reading
}
