//! A compiled plan: made once, run many times. Everything a run needs exists
//! before the first one, and a run is one submission.

use std::sync::atomic::Ordering;

use futures_channel::oneshot;

use super::device::{Gpu, Inner, Pipeline};
use crate::error::{Error, Result};
#[cfg(not(target_arch = "wasm32"))]
use crate::graph::Graph;
use crate::graph::NodeId;
use crate::plan::{Content, Plan};
use crate::run::{Feeds, check_feed, missing_feed};
use crate::tensor::Tensor;

use std::sync::Arc;

/// The values that a program reads back, filled anew by each run.
#[derive(Clone, Debug)]
pub struct Outputs {
    values: Vec<(NodeId, String, Tensor)>,
}

impl Outputs {
    /// The value of a node that the program was compiled to read back.
    pub fn get(&self, node: NodeId) -> Result<&Tensor> {
        let found = self.values.iter().find(|(id, _, _)| *id == node);
        found.map(|(_, _, value)| value).ok_or_else(|| {
            Error::Graph(format!(
                "node {node} is not among the outputs that this program was compiled for"
            ))
        })
    }

    /// The value of the node with this label.
    pub fn find(&self, label: &str) -> Option<&Tensor> {
        let found = self.values.iter().find(|(_, l, _)| l == label);
        found.map(|(_, _, value)| value)
    }

    /// All values with their labels, in the order of compiling.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (&str, &Tensor)> {
        self.values
            .iter()
            .map(|(_, label, value)| (label.as_str(), value))
    }
}

struct Dispatch {
    pipeline: Arc<Pipeline>,
    bind_group: wgpu::BindGroup,
    grid: [u32; 2],
}

/// Where a value is on the device.
struct Place {
    buffer: wgpu::Buffer,
    offset: u64,
    bytes: u64,
}

/// A plan with its pipelines, bind groups and buffers on one device.
pub struct Program {
    gpu: Gpu,
    plan: Plan,
    buffers: Vec<Place>,
    dispatches: Vec<Dispatch>,
    staging: wgpu::Buffer,
    /// Where each output lies in the staging buffer, in bytes.
    offsets: Vec<u64>,
    given: Vec<bool>,
    outputs: Outputs,
}

impl Gpu {
    /// Compiles the part of `graph` that `outputs` need, and waits for it.
    ///
    /// # Errors
    /// [`Error::Limit`] if a tensor is too large for the adapter,
    /// [`Error::OutOfMemory`], [`Error::DeviceLost`].
    #[cfg(not(target_arch = "wasm32"))]
    pub fn compile(&self, graph: &Graph, outputs: &[NodeId]) -> Result<Program> {
        let plan = Plan::with_target(graph, outputs, self.target())?;
        pollster::block_on(self.compile_plan(plan))
    }

    /// Makes all that `plan` needs.
    pub async fn compile_plan(&self, plan: Plan) -> Result<Program> {
        let inner = &self.inner;
        check_limits(inner, &plan)?;
        let buffers = inner.scoped(|| make_buffers(inner, &plan)).await?;
        let mut pipelines = Vec::with_capacity(plan.kernels.len());
        for kernel in &plan.kernels {
            pipelines.push(inner.pipeline(kernel).await?);
        }
        let dispatches = inner
            .scoped(|| make_dispatches(inner, &plan, &buffers, &pipelines))
            .await?;
        let mut offsets = Vec::with_capacity(plan.outputs.len());
        let mut size = 0;
        for output in &plan.outputs {
            offsets.push(size);
            size += output.shape.numel() as u64 * 4;
        }
        if size > inner.limits.max_buffer_size {
            return Err(Error::Limit(format!(
                "reading back {size} bytes passes the adapter's largest buffer ({}); ask for \
                 fewer outputs or split the batch",
                inner.limits.max_buffer_size
            )));
        }
        let usage = wgpu::BufferUsages::MAP_READ | wgpu::BufferUsages::COPY_DST;
        let staging = inner
            .scoped(|| inner.buffer("staging", size.max(16), usage))
            .await?;
        let values = plan
            .outputs
            .iter()
            .map(|o| (o.node, o.label.clone(), Tensor::full(&o.shape, 0.0)))
            .collect();
        Ok(Program {
            gpu: self.clone(),
            given: vec![false; plan.feeds.len()],
            plan,
            buffers,
            dispatches,
            staging,
            offsets,
            outputs: Outputs { values },
        })
    }
}

/// Refuses a plan with a tensor that the adapter cannot bind, saying by how
/// much the batch is too large.
fn check_limits(inner: &Inner, plan: &Plan) -> Result<()> {
    let most = inner
        .limits
        .max_storage_buffer_binding_size
        .min(inner.limits.max_buffer_size);
    for spec in &plan.buffers {
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
    Ok(())
}

fn make_buffers(inner: &Inner, plan: &Plan) -> Vec<Place> {
    let usage =
        wgpu::BufferUsages::STORAGE | wgpu::BufferUsages::COPY_SRC | wgpu::BufferUsages::COPY_DST;
    let mut places: Vec<Place> = Vec::with_capacity(plan.buffers.len());
    for spec in &plan.buffers {
        let place = match spec.part_of {
            // The whole comes before its parts.
            Some((whole, first)) => Place {
                buffer: places[whole.index()].buffer.clone(),
                offset: first as u64 * 4,
                bytes: spec.bytes(),
            },
            None => Place {
                buffer: inner.buffer(&spec.label, spec.bytes(), usage),
                offset: 0,
                bytes: spec.bytes(),
            },
        };
        if let Content::Constant(value) = &spec.content {
            write(inner, &place, value);
        }
        places.push(place);
    }
    places
}

fn write(inner: &Inner, place: &Place, value: &Tensor) {
    if !value.data().is_empty() {
        let bytes = bytemuck::cast_slice(value.data());
        inner.queue.write_buffer(&place.buffer, place.offset, bytes);
    }
}

fn binding(place: &Place) -> wgpu::BindingResource<'_> {
    wgpu::BindingResource::Buffer(wgpu::BufferBinding {
        buffer: &place.buffer,
        offset: place.offset,
        size: wgpu::BufferSize::new(place.bytes),
    })
}

fn make_dispatches(
    inner: &Inner,
    plan: &Plan,
    buffers: &[Place],
    pipelines: &[Arc<Pipeline>],
) -> Vec<Dispatch> {
    // All parameters in one buffer, each step's at an aligned offset.
    let align = inner.limits.min_uniform_buffer_offset_alignment as usize;
    let mut words: Vec<u32> = Vec::new();
    let mut places = Vec::with_capacity(plan.steps.len());
    for step in &plan.steps {
        let start = (words.len() * 4).next_multiple_of(align) / 4;
        words.resize(start, 0);
        places.push(start as u64 * 4);
        words.extend(&step.params);
        words.resize(words.len().next_multiple_of(4), 0);
    }
    let usage = wgpu::BufferUsages::UNIFORM | wgpu::BufferUsages::COPY_DST;
    let size = (words.len() as u64 * 4).max(16);
    let params = inner.buffer("parameters", size, usage);
    if !words.is_empty() {
        inner
            .queue
            .write_buffer(&params, 0, bytemuck::cast_slice(&words));
    }
    let dispatch = |(step, &offset): (&crate::plan::Step, &u64)| {
        let pipeline = &pipelines[step.kernel];
        let bytes = (step.params.len() as u64 * 4).next_multiple_of(16);
        let mut entries = vec![wgpu::BindGroupEntry {
            binding: 0,
            resource: wgpu::BindingResource::Buffer(wgpu::BufferBinding {
                buffer: &params,
                offset,
                size: wgpu::BufferSize::new(bytes),
            }),
        }];
        let bound = step.inputs.iter().chain(&step.outputs);
        for (i, id) in bound.enumerate() {
            entries.push(wgpu::BindGroupEntry {
                binding: i as u32 + 1,
                resource: binding(&buffers[id.index()]),
            });
        }
        inner.made.bind_groups.fetch_add(1, Ordering::Relaxed);
        Dispatch {
            bind_group: inner.device.create_bind_group(&wgpu::BindGroupDescriptor {
                label: Some(&step.label),
                layout: &pipeline.layout,
                entries: &entries,
            }),
            pipeline: Arc::clone(pipeline),
            grid: step.grid,
        }
    };
    plan.steps.iter().zip(&places).map(dispatch).collect()
}

impl Program {
    /// The plan that this is.
    pub fn plan(&self) -> &Plan {
        &self.plan
    }

    /// Gives a leaf its value for the runs to come.
    ///
    /// # Errors
    /// There is no such leaf in the plan, or the shape is another.
    pub fn set(&mut self, label: &str, value: &Tensor) -> Result<()> {
        let place = self.plan.feeds.iter().position(|f| f.label == label);
        let Some(i) = place else {
            let known: Vec<_> = self.plan.feeds.iter().map(|f| f.label.as_str()).collect();
            return Err(Error::Graph(format!(
                "this program takes no value `{label}`; it takes {}",
                known.join(", ")
            )));
        };
        let feed = &self.plan.feeds[i];
        check_feed(label, &feed.shape, value)?;
        self.gpu.inner.check()?;
        write(&self.gpu.inner, &self.buffers[feed.buffer.index()], value);
        self.given[i] = true;
        Ok(())
    }

    /// Gives every leaf of the plan its value; values for other leaves are
    /// left alone.
    pub fn set_all(&mut self, feeds: &Feeds) -> Result<()> {
        let labels: Vec<_> = self.plan.feeds.iter().map(|f| f.label.clone()).collect();
        for label in labels {
            if let Some(value) = feeds.get(&label) {
                self.set(&label, value)?;
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
        pollster::block_on(self.run_async())
    }

    /// As [`run`](Program::run), to be awaited.
    pub async fn run_async(&mut self) -> Result<&Outputs> {
        self.check_given()?;
        // Scopes, so that this run's errors are this run's, whoever else uses
        // the device meanwhile.
        let submission = self.gpu.inner.scoped(|| self.submit()).await?;
        self.read(submission).await?;
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

    fn submit(&self) -> wgpu::SubmissionIndex {
        let inner = &self.gpu.inner;
        let mut encoder = inner
            .device
            .create_command_encoder(&wgpu::CommandEncoderDescriptor {
                label: Some("wgrad run"),
            });
        {
            let mut pass = encoder.begin_compute_pass(&wgpu::ComputePassDescriptor {
                label: Some("forward, then reverse"),
                timestamp_writes: None,
            });
            for dispatch in &self.dispatches {
                pass.set_pipeline(&dispatch.pipeline.pipeline);
                pass.set_bind_group(0, &dispatch.bind_group, &[]);
                pass.dispatch_workgroups(dispatch.grid[0], dispatch.grid[1], 1);
            }
        }
        for (output, &offset) in self.plan.outputs.iter().zip(&self.offsets) {
            let bytes = output.shape.numel() as u64 * 4;
            if bytes > 0 {
                let from = &self.buffers[output.buffer.index()];
                encoder.copy_buffer_to_buffer(
                    &from.buffer,
                    from.offset,
                    &self.staging,
                    offset,
                    bytes,
                );
            }
        }
        let submission = inner.queue.submit([encoder.finish()]);
        inner.made.submissions.fetch_add(1, Ordering::Relaxed);
        submission
    }

    async fn read(&mut self, submission: wgpu::SubmissionIndex) -> Result<()> {
        let inner = &self.gpu.inner;
        let (send, receive) = oneshot::channel();
        self.staging
            .map_async(wgpu::MapMode::Read, .., move |result| {
                // The receiver is gone only if the wait below failed first.
                let _ = send.send(result);
            });
        // The answer may come from another thread's wait, a moment after ours;
        // in a browser it comes by itself.
        let waited = match inner.wait(submission) {
            Ok(()) => match receive.await {
                Ok(Ok(())) => Ok(()),
                Ok(Err(error)) => Err(Error::DeviceLost(format!("mapping failed: {error}"))),
                Err(_) => Err(Error::DeviceLost("the device never answered".to_string())),
            },
            Err(error) => Err(error),
        };
        let result = waited.and_then(|()| {
            let view = self
                .staging
                .get_mapped_range(..)
                .map_err(|e| Error::DeviceLost(format!("the mapped values are gone: {e}")))?;
            for ((_, _, value), &offset) in self.outputs.values.iter_mut().zip(&self.offsets) {
                let start = offset as usize;
                let bytes = &view[start..start + value.data().len() * 4];
                bytemuck::cast_slice_mut(value.data_mut()).copy_from_slice(bytes);
            }
            Ok(())
        });
        // A map that was asked for must be undone, also after a failure.
        self.staging.unmap();
        result
    }
}
