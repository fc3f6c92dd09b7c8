//! An open device: its queue, its cache of pipelines, and the state that turns
//! wgpu's ways of failing (panics, callbacks, scopes) into typed errors.

use std::collections::HashMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::adapter::{AdapterDescription, Adapters, Selection};
use crate::error::{Error, Result};
use crate::graph::Target;
use crate::plan::KernelSource;

/// How a [`Gpu`] is opened.
#[derive(Clone, PartialEq, Debug)]
pub struct GpuOptions {
    /// Which adapter.
    pub selection: Selection,
    /// How long a run may take before it is given up.
    pub timeout: Duration,
    /// Ask only for the limits that every WebGPU implementation has, instead
    /// of all that the adapter offers.
    pub default_limits: bool,
}

impl Default for GpuOptions {
    fn default() -> Self {
        GpuOptions {
            selection: Selection::default(),
            timeout: Duration::from_secs(600),
            default_limits: false,
        }
    }
}

/// What a device has made so far.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Stats {
    /// Buffers.
    pub buffers: u64,
    /// Pipelines.
    pub pipelines: u64,
    /// Bind groups.
    pub bind_groups: u64,
    /// Submissions.
    pub submissions: u64,
}

/// An open device. Cheap to clone; clones share the device.
#[derive(Clone)]
pub struct Gpu {
    pub(super) inner: Arc<Inner>,
}

pub(super) struct Inner {
    pub device: wgpu::Device,
    pub queue: wgpu::Queue,
    pub limits: wgpu::Limits,
    pub timeout: Duration,
    pub target: Target,
    description: AdapterDescription,
    pipelines: Mutex<HashMap<(String, String), Arc<Pipeline>>>,
    lost: Arc<Mutex<Option<String>>>,
    fault: Arc<Mutex<Option<Error>>>,
    pub made: Counters,
}

/// A compute pipeline with the layout of its bindings.
pub(super) struct Pipeline {
    pub pipeline: wgpu::ComputePipeline,
    pub layout: wgpu::BindGroupLayout,
}

#[derive(Default)]
pub(super) struct Counters {
    pub buffers: AtomicU64,
    pub pipelines: AtomicU64,
    pub bind_groups: AtomicU64,
    pub submissions: AtomicU64,
}

/// A lock that goes on after another thread's panic: what it guards is a plain
/// value that is never left half-written.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// wgpu's error as ours.
fn typed(error: wgpu::Error) -> Error {
    match error {
        wgpu::Error::OutOfMemory { source } => Error::OutOfMemory(source.to_string()),
        wgpu::Error::Validation { description, .. } | wgpu::Error::Internal { description, .. } => {
            Error::Gpu(description)
        }
    }
}

/// Features that make kernels faster or time them; each is used only where
/// the adapter has it.
const WANTED: wgpu::Features = wgpu::Features::SUBGROUP
    .union(wgpu::Features::TIMESTAMP_QUERY)
    .union(wgpu::Features::PIPELINE_CACHE);

/// The format of images: four floats a texel.
pub(super) const IMAGE: wgpu::TextureFormat = wgpu::TextureFormat::Rgba32Float;

/// What a plan must know of a device with these features and limits.
fn target(
    info: &wgpu::AdapterInfo,
    limits: &wgpu::Limits,
    features: wgpu::Features,
    images: bool,
) -> Target {
    let fixed = info.subgroup_min_size == info.subgroup_max_size && info.subgroup_min_size > 1;
    Target {
        subgroup_size: (features.contains(wgpu::Features::SUBGROUP) && fixed)
            .then_some(info.subgroup_min_size),
        software: info.device_type == wgpu::DeviceType::Cpu,
        workgroup_invocations: limits.max_compute_invocations_per_workgroup,
        workgroup_bytes: limits.max_compute_workgroup_storage_size,
        storage_buffers: limits.max_storage_buffers_per_shader_stage,
        binding_bytes: limits.max_storage_buffer_binding_size,
        // A GPU reads buffers as fast.
        image_side: (images && info.device_type == wgpu::DeviceType::Cpu)
            .then_some(limits.max_texture_dimension_2d),
        choices: Default::default(),
    }
}

impl Gpu {
    /// Opens the best adapter, or the one that `WGPU_ADAPTER_NAME` and
    /// `WGPU_BACKEND` ask for, and waits for it.
    ///
    /// # Errors
    /// [`Error::NoAdapter`], saying what to install.
    #[cfg(not(target_arch = "wasm32"))]
    pub fn new() -> Result<Gpu> {
        let selection = Selection::from_env()?;
        pollster::block_on(Gpu::open(GpuOptions {
            selection,
            ..GpuOptions::default()
        }))
    }

    /// Opens an adapter.
    ///
    /// # Errors
    /// [`Error::NoAdapter`] if none matches or the one that does will not open.
    pub async fn open(options: GpuOptions) -> Result<Gpu> {
        let adapters = Adapters::list(&options.selection).await;
        let index = adapters.choose(&options.selection)?;
        let (adapter, description) = adapters.take(index)?;
        let limits = if options.default_limits {
            wgpu::Limits::default()
        } else {
            adapter.limits()
        };
        let features = if options.default_limits {
            wgpu::Features::empty()
        } else {
            adapter.features() & WANTED
        };
        let images = adapter.get_texture_format_features(IMAGE);
        let images = images
            .allowed_usages
            .contains(wgpu::TextureUsages::STORAGE_BINDING)
            && (images.flags).contains(wgpu::TextureFormatFeatureFlags::STORAGE_READ_ONLY);
        let target = target(&adapter.get_info(), &limits, features, images);
        let (device, queue) = adapter
            .request_device(&wgpu::DeviceDescriptor {
                label: Some("wgrad"),
                required_features: features,
                required_limits: limits.clone(),
                ..Default::default()
            })
            .await
            .map_err(|e| Error::NoAdapter(format!("{description} would not open a device: {e}")))?;
        let lost = Arc::new(Mutex::new(None));
        let fault = Arc::new(Mutex::new(None));
        let lost_slot = Arc::clone(&lost);
        device.set_device_lost_callback(move |reason, message| {
            *lock(&lost_slot) = Some(format!("{reason:?}: {message}"));
        });
        let fault_slot = Arc::clone(&fault);
        device.on_uncaptured_error(Arc::new(move |error: wgpu::Error| {
            lock(&fault_slot).get_or_insert(typed(error));
        }));
        Ok(Gpu {
            inner: Arc::new(Inner {
                device,
                queue,
                limits,
                timeout: options.timeout,
                target,
                description,
                pipelines: Mutex::new(HashMap::new()),
                lost,
                fault,
                made: Counters::default(),
            }),
        })
    }

    /// The adapter that this device runs on.
    pub fn adapter(&self) -> &AdapterDescription {
        &self.inner.description
    }

    /// What plans for this device may use.
    pub fn target(&self) -> &Target {
        &self.inner.target
    }

    /// What has been made so far.
    pub fn stats(&self) -> Stats {
        let made = &self.inner.made;
        Stats {
            buffers: made.buffers.load(Ordering::Relaxed),
            pipelines: made.pipelines.load(Ordering::Relaxed),
            bind_groups: made.bind_groups.load(Ordering::Relaxed),
            submissions: made.submissions.load(Ordering::Relaxed),
        }
    }

    /// Destroys the device. Every later use of it is [`Error::DeviceLost`].
    pub fn destroy(&self) {
        self.inner.device.destroy();
        lock(&self.inner.lost).get_or_insert("destroyed".to_string());
    }
}

impl Inner {
    /// The device's own trouble, if there was any since the last look.
    pub fn check(&self) -> Result<()> {
        if let Some(reason) = lock(&self.lost).clone() {
            return Err(Error::DeviceLost(format!("{reason}; open a new device")));
        }
        match lock(&self.fault).take() {
            Some(error) => Err(error),
            None => Ok(()),
        }
    }

    /// Whether the device can say when a pass began and ended.
    pub fn has_timestamps(&self) -> bool {
        let features = self.device.features();
        features.contains(wgpu::Features::TIMESTAMP_QUERY)
    }

    /// Runs `make` and returns what wgpu had to say about it.
    pub async fn scoped<T>(&self, make: impl FnOnce() -> T) -> Result<T> {
        self.check()?;
        let filters = [
            wgpu::ErrorFilter::OutOfMemory,
            wgpu::ErrorFilter::Validation,
            wgpu::ErrorFilter::Internal,
        ];
        let scopes = filters.map(|filter| self.device.push_error_scope(filter));
        let made = make();
        // Scopes close in the reverse order, all before the first wait: they
        // belong to this thread.
        let [memory, validation, internal] = scopes;
        let pending = (internal.pop(), validation.pop(), memory.pop());
        let first = pending.0.await.or(pending.1.await).or(pending.2.await);
        match first {
            Some(error) => Err(typed(error)),
            None => Ok(made),
        }
    }

    /// Lets the device work until `submission` is done.
    pub fn wait(&self, submission: wgpu::SubmissionIndex) -> Result<()> {
        let poll = wgpu::PollType::Wait {
            submission_index: Some(submission),
            timeout: Some(self.timeout),
        };
        // wgpu panics here when a device is really lost, handler or not.
        let polled = catch_unwind(AssertUnwindSafe(|| self.device.poll(poll)));
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

    /// The pipeline of a kernel, made at its first use.
    pub async fn pipeline(&self, kernel: &KernelSource) -> Result<Arc<Pipeline>> {
        let key = (kernel.entry.clone(), kernel.source.clone());
        if let Some(known) = lock(&self.pipelines).get(&key) {
            return Ok(Arc::clone(known));
        }
        let made =
            self.scoped(|| self.make_pipeline(kernel))
                .await
                .map_err(|error| match error {
                    Error::Gpu(text) => Error::Gpu(format!("kernel `{}`: {text}", kernel.label)),
                    other => other,
                })?;
        self.made.pipelines.fetch_add(1, Ordering::Relaxed);
        let made = Arc::new(made);
        lock(&self.pipelines).insert(key, Arc::clone(&made));
        Ok(made)
    }

    fn make_pipeline(&self, kernel: &KernelSource) -> Pipeline {
        let label = Some(kernel.label.as_str());
        let module = self
            .device
            .create_shader_module(wgpu::ShaderModuleDescriptor {
                label,
                source: wgpu::ShaderSource::Wgsl(kernel.source.as_str().into()),
            });
        let entry = |binding: usize, ty: wgpu::BufferBindingType| wgpu::BindGroupLayoutEntry {
            binding: binding as u32,
            visibility: wgpu::ShaderStages::COMPUTE,
            ty: wgpu::BindingType::Buffer {
                ty,
                has_dynamic_offset: false,
                min_binding_size: None,
            },
            count: None,
        };
        let mut entries = vec![entry(0, wgpu::BufferBindingType::Uniform)];
        for i in 0..kernel.reads {
            let mut read = entry(i + 1, wgpu::BufferBindingType::Storage { read_only: true });
            if kernel.images.contains(&i) {
                read.ty = wgpu::BindingType::StorageTexture {
                    access: wgpu::StorageTextureAccess::ReadOnly,
                    format: IMAGE,
                    view_dimension: wgpu::TextureViewDimension::D2,
                };
            }
            entries.push(read);
        }
        for i in 0..kernel.writes {
            entries.push(entry(
                kernel.reads + 1 + i,
                wgpu::BufferBindingType::Storage { read_only: false },
            ));
        }
        let layout = self
            .device
            .create_bind_group_layout(&wgpu::BindGroupLayoutDescriptor {
                label,
                entries: &entries,
            });
        let pipeline_layout = self
            .device
            .create_pipeline_layout(&wgpu::PipelineLayoutDescriptor {
                label,
                bind_group_layouts: &[Some(&layout)],
                ..Default::default()
            });
        let pipeline = self
            .device
            .create_compute_pipeline(&wgpu::ComputePipelineDescriptor {
                label,
                layout: Some(&pipeline_layout),
                module: &module,
                entry_point: Some(&kernel.entry),
                compilation_options: Default::default(),
                cache: None,
            });
        Pipeline { pipeline, layout }
    }

    /// A new buffer.
    pub fn buffer(&self, label: &str, size: u64, usage: wgpu::BufferUsages) -> wgpu::Buffer {
        self.made.buffers.fetch_add(1, Ordering::Relaxed);
        self.device.create_buffer(&wgpu::BufferDescriptor {
            label: Some(label),
            size,
            usage,
            mapped_at_creation: false,
        })
    }
}
