//! Compiling a plan: everything that its runs need is made here, once.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use super::outputs::Outputs;
use super::{Dispatch, Place, Program, Segment, padded};
use crate::error::Result;
#[cfg(not(target_arch = "wasm32"))]
use crate::graph::Graph;
#[cfg(not(target_arch = "wasm32"))]
use crate::graph::NodeId;
use crate::plan::{Content, Output, Plan, image};
use crate::run::gpu::device::{Gpu, Inner};
use crate::run::gpu::image::Image;
use crate::run::gpu::pipelines::Pipeline;
#[cfg(not(target_arch = "wasm32"))]
use crate::run::gpu::signal::block_on;

impl Gpu {
    /// Compiles the part of `graph` that `outputs` need, and waits for it.
    ///
    /// # Errors
    /// [`Limit`](crate::Error::Limit) if a tensor is too large for the adapter,
    /// [`OutOfMemory`](crate::Error::OutOfMemory),
    /// [`DeviceLost`](crate::Error::DeviceLost).
    #[cfg(not(target_arch = "wasm32"))]
    pub fn compile(&self, graph: &Graph, outputs: &[NodeId]) -> Result<Program> {
        let plan = Plan::with_target(graph, outputs, self.target())?;
        block_on(self.compile_plan(plan))
    }

    /// Makes all that `plan` needs.
    pub async fn compile_plan(&self, plan: Plan) -> Result<Program> {
        let inner = &self.inner;
        self.check(&plan)?;
        let buffers = inner.scoped(|| make_buffers(inner, &plan)).await?;
        let pipelines = inner.pipelines(&plan.kernels).await?;
        #[cfg(not(target_arch = "wasm32"))]
        inner.save_pipelines();
        let segments = segments(&plan);
        let dispatches = inner
            .scoped(|| make_dispatches(inner, &plan, &buffers, &pipelines))
            .await?;
        let bytes = |o: &Output| 4 * padded(o.shape.numel(), plan.replicas) as u64;
        let sizes: Vec<u64> = plan.outputs.iter().map(bytes).collect();
        let size: u64 = sizes.iter().sum();
        let usage = wgpu::BufferUsages::MAP_READ | wgpu::BufferUsages::COPY_DST;
        let staging = inner
            .scoped(|| inner.buffer("staging", size.max(16), usage))
            .await?;
        let outputs = Outputs::of(&plan)?;
        // Of feeds with one label the first is meant.
        let mut feeds = HashMap::with_capacity(plan.feeds.len());
        for (i, feed) in plan.feeds.iter().enumerate() {
            feeds.entry(feed.label.clone()).or_insert(i);
        }
        Ok(Program {
            gpu: self.clone(),
            given: vec![false; plan.feeds.len()],
            reading: vec![true; plan.outputs.len()],
            sizes,
            plan,
            feeds,
            padded: Vec::new(),
            segments,
            buffers,
            dispatches,
            staging,
            outputs,
            signal: Arc::default(),
            usual: (0, Duration::ZERO),
            clock: None,
            #[cfg(not(target_arch = "wasm32"))]
            stamps: None,
        })
    }
}

fn make_buffers(inner: &Inner, plan: &Plan) -> Vec<Place> {
    let usage =
        wgpu::BufferUsages::STORAGE | wgpu::BufferUsages::COPY_SRC | wgpu::BufferUsages::COPY_DST;
    let mut places: Vec<Place> = Vec::with_capacity(plan.buffers.len());
    let imaged = image::imaged(plan);
    for (spec, imaged) in plan.buffers.iter().zip(imaged) {
        let image = imaged.then(|| Image::new(inner, &spec.label, spec.bytes()));
        let place = match spec.part_of {
            // The whole comes before its parts.
            Some((whole, first)) => {
                let (whole, offset) = (&places[whole.index()], first as u64 * 4);
                let of_whole = whole.image.as_ref().map(|image| image.part(offset));
                Place {
                    buffer: whole.buffer.clone(),
                    offset,
                    bytes: spec.bytes(),
                    image: image.or(of_whole),
                }
            }
            None => Place {
                buffer: inner.buffer(&spec.label, spec.bytes(), usage),
                offset: 0,
                bytes: spec.bytes(),
                image,
            },
        };
        if let Content::Constant(value) = &spec.content {
            write(inner, &place, value.data());
        }
        places.push(place);
    }
    places
}

pub(super) fn write(inner: &Inner, place: &Place, values: &[f32]) {
    if !values.is_empty() {
        let bytes = bytemuck::cast_slice(values);
        inner.queue.write_buffer(&place.buffer, place.offset, bytes);
        if let Some(image) = &place.image {
            image.write(inner, values);
        }
    }
}

/// The steps cut where images have to be copied.
fn segments(plan: &Plan) -> Vec<Segment> {
    let mut segments = vec![Segment {
        copies: Vec::new(),
        dispatches: 0..0,
    }];
    for (i, copies) in image::copies(plan).into_iter().enumerate() {
        if !copies.is_empty() {
            segments.push(Segment {
                copies,
                dispatches: i..i,
            });
        }
        if let Some(segment) = segments.last_mut() {
            segment.dispatches.end = i + 1;
        }
    }
    segments
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
        let images = &plan.kernels[step.kernel].images;
        let mut resources = Vec::new();
        let mut beside = Vec::new();
        for (i, id) in bound.enumerate() {
            let place = &buffers[id.index()];
            let image = place.image.as_ref().filter(|_| images.contains(&i));
            let image = image.map(|image| wgpu::BindingResource::TextureView(&image.view));
            match image {
                Some(image) if i < step.inputs.len() => resources.push(image),
                image => {
                    resources.push(binding(place));
                    beside.extend(image);
                }
            }
        }
        for resource in resources.into_iter().chain(beside) {
            entries.push(wgpu::BindGroupEntry {
                binding: entries.len() as u32,
                resource,
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
