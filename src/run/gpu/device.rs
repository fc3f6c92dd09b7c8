//! An open device: its queue, its cache of pipelines, and the state that turns
//! wgpu's ways of failing (panics, callbacks, scopes) into typed errors.

use std::collections::HashMap;
#[cfg(not(target_arch = "wasm32"))]
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::adapter::{AdapterDescription, Adapters, Selection};
use super::image::IMAGE;
#[cfg(not(target_arch = "wasm32"))]
use super::pipeline_cache::PipelineCache;
use super::pipelines::Pipeline;
#[cfg(not(target_arch = "wasm32"))]
use super::signal::block_on;
use crate::error::{Error, Result};
use crate::graph::Target;

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
    /// A folder in which the driver's compiled pipelines are kept for the next
    /// process, where the driver offers that; `None` touches no disk.
    /// [`cache::user_folder`](crate::cache::user_folder) is the usual one. Not in
    /// a browser, which keeps them by itself.
    #[cfg(not(target_arch = "wasm32"))]
    pub pipeline_cache: Option<PathBuf>,
    /// The bytes that a plan may take on the device; `None` for what there is,
    /// as far as that is known ([`Gpu::memory`]).
    pub max_memory: Option<u64>,
    /// Ask for the adapter's matrix units, where it has such that multiply 16 by 16
    /// float16 numbers and add in float32: for products of
    /// [`Precision::F16Units`](crate::graph::Precision). wgpu calls them
    /// experimental. [`Target::matrix_units`] says whether they are there.
    pub matrix_units: bool,
}

impl Default for GpuOptions {
    fn default() -> Self {
        GpuOptions {
            selection: Selection::default(),
            timeout: Duration::from_secs(600),
            default_limits: false,
            #[cfg(not(target_arch = "wasm32"))]
            pipeline_cache: None,
            max_memory: None,
            matrix_units: false,
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

/// A fault that a test plants in a device, to see what becomes of it.
#[doc(hidden)]
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Fault {
    /// The device is destroyed while it works.
    Destroy,
    /// What is to be mapped is gone.
    Map,
    /// The wait for the submission takes too long.
    Wait,
}

/// An open device. Cheap to clone; clones share the device.
#[derive(Clone)]
pub struct Gpu {
    pub(super) inner: Arc<Inner>,
    target: Arc<Target>,
}

pub(super) struct Inner {
    pub device: wgpu::Device,
    pub queue: wgpu::Queue,
    pub limits: wgpu::Limits,
    pub timeout: Duration,
    pub max_memory: Option<u64>,
    pub description: AdapterDescription,
    pub pipelines: Mutex<HashMap<(String, String), Arc<Pipeline>>>,
    #[cfg(not(target_arch = "wasm32"))]
    pub pipeline_cache: Option<PipelineCache>,
    notices: Vec<String>,
    lost: Arc<Mutex<Option<String>>>,
    fault: Arc<Mutex<Option<Error>>>,
    planted: Mutex<Option<(u64, Fault)>>,
    /// The next wait ends as if its time were up.
    pub stalled: AtomicBool,
    pub made: Counters,
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
pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
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
#[cfg(not(target_arch = "wasm32"))]
const WANTED: wgpu::Features = wgpu::Features::SUBGROUP
    .union(wgpu::Features::TIMESTAMP_QUERY)
    .union(wgpu::Features::PIPELINE_CACHE)
    .union(MORE_FORMATS);

/// A browser's WGSL wants `enable subgroups;`, a line that wgpu's own compiler
/// rejects, so kernels are without it; and there is no timing and no cache of ours.
#[cfg(target_arch = "wasm32")]
const WANTED: wgpu::Features = wgpu::Features::empty();

/// What a kernel needs that reads and writes an image of [`IMAGE`]: WebGPU by
/// itself allows one or the other.
const MORE_FORMATS: wgpu::Features = wgpu::Features::TEXTURE_ADAPTER_SPECIFIC_FORMAT_FEATURES;

/// What kernels need that multiply with matrix units.
const UNITS: wgpu::Features =
    wgpu::Features::EXPERIMENTAL_COOPERATIVE_MATRIX.union(wgpu::Features::SHADER_F16);

/// Whether the adapter has matrix units of the one kind that kernels are written
/// for, by subgroups of 32.
fn has_units(adapter: &wgpu::Adapter) -> bool {
    use wgpu::CooperativeScalarType::{F16, F32};
    let info = adapter.get_info();
    let ours = |p: &wgpu::CooperativeMatrixProperties| {
        [p.m_size, p.n_size, p.k_size] == [16; 3] && (p.ab_type, p.cr_type) == (F16, F32)
    };
    [info.subgroup_min_size, info.subgroup_max_size] == [32; 2]
        && (adapter.features()).contains(UNITS | wgpu::Features::SUBGROUP)
        && adapter.cooperative_matrix_properties().iter().any(ours)
}

/// The token without which wgpu gives no experimental feature, for the one that
/// was asked for.
fn token(features: wgpu::Features) -> wgpu::ExperimentalFeatures {
    if !features.contains(UNITS) {
        return wgpu::ExperimentalFeatures::disabled();
    }
    // SAFETY: the one such feature that is asked for is cooperative matrices; wgpu's
    // condition is that its bugs there are known to be possible. One kernel uses them
    // (shaders/matmul_cooperative.wgsl): with whole blocks in its own workgroup memory,
    // in uniform control flow, and every result of it is compared with the reference.
    #[allow(unsafe_code)]
    unsafe {
        wgpu::ExperimentalFeatures::enabled()
    }
}

/// What a plan must know of a device with these features and limits.
fn target(
    info: &wgpu::AdapterInfo,
    limits: &wgpu::Limits,
    features: wgpu::Features,
    images: wgpu::TextureFormatFeatureFlags,
) -> Target {
    use wgpu::TextureFormatFeatureFlags as Flags;
    // A GPU reads buffers as fast.
    let software = info.device_type == wgpu::DeviceType::Cpu;
    let fixed = info.subgroup_min_size == info.subgroup_max_size && info.subgroup_min_size > 1;
    Target {
        subgroup_size: (features.contains(wgpu::Features::SUBGROUP) && fixed)
            .then_some(info.subgroup_min_size),
        software,
        workgroup_invocations: limits.max_compute_invocations_per_workgroup,
        workgroup_bytes: limits.max_compute_workgroup_storage_size,
        storage_buffers: limits.max_storage_buffers_per_shader_stage,
        binding_bytes: limits.max_storage_buffer_binding_size,
        image_side: (software && images.contains(Flags::STORAGE_READ_ONLY))
            .then_some(limits.max_texture_dimension_2d),
        image_writes: software
            && features.contains(MORE_FORMATS)
            && images.contains(Flags::STORAGE_READ_WRITE),
        matrix_units: features.contains(UNITS),
        choices: Default::default(),
        quarantined: Default::default(),
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
        block_on(Gpu::open(GpuOptions {
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
        let downlevel = adapter.get_downlevel_capabilities();
        if !downlevel
            .flags
            .contains(wgpu::DownlevelFlags::COMPUTE_SHADERS)
        {
            return Err(Error::NoAdapter(format!(
                "{description} has no compute shaders (with OpenGL they come with 4.3, or ES 3.1); \
                 take another adapter: `wgrad adapters` lists them, --adapter chooses"
            )));
        }
        let limits = if options.default_limits {
            wgpu::Limits::default()
        } else {
            adapter.limits()
        };
        let features = if options.default_limits {
            wgpu::Features::empty()
        } else {
            let units = options.matrix_units && has_units(&adapter);
            let units = if units {
                UNITS
            } else {
                wgpu::Features::empty()
            };
            adapter.features() & (WANTED | units)
        };
        let images = adapter.get_texture_format_features(IMAGE);
        let bound = wgpu::TextureUsages::STORAGE_BINDING;
        let images = match images.allowed_usages.contains(bound) {
            true => images.flags,
            false => wgpu::TextureFormatFeatureFlags::empty(),
        };
        let target = target(&adapter.get_info(), &limits, features, images);
        let (device, queue) = adapter
            .request_device(&wgpu::DeviceDescriptor {
                label: Some("wgrad"),
                required_features: features,
                required_limits: limits.clone(),
                experimental_features: token(features),
                ..Default::default()
            })
            .await
            .map_err(|e| {
                let text = format!("{description} would not open a device: {e}");
                // wgpu tells this kind of failure by its words alone.
                match text.contains("memory") {
                    true => Error::OutOfMemory(text),
                    false => Error::NoAdapter(text),
                }
            })?;
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
        #[cfg(not(target_arch = "wasm32"))]
        let (pipeline_cache, notice) = {
            let has_cache = features.contains(wgpu::Features::PIPELINE_CACHE);
            match options.pipeline_cache.filter(|_| has_cache) {
                Some(folder) => PipelineCache::open(&device, &adapter.get_info(), folder).await,
                None => (None, None),
            }
        };
        #[cfg(target_arch = "wasm32")]
        let notice = None;
        Ok(Gpu {
            inner: Arc::new(Inner {
                device,
                queue,
                limits,
                timeout: options.timeout,
                max_memory: options.max_memory,
                description,
                pipelines: Mutex::new(HashMap::new()),
                #[cfg(not(target_arch = "wasm32"))]
                pipeline_cache,
                notices: notice.into_iter().collect(),
                lost,
                fault,
                planted: Mutex::new(None),
                stalled: AtomicBool::new(false),
                made: Counters::default(),
            }),
            target: Arc::new(target),
        })
    }

    /// The adapter that this device runs on.
    pub fn adapter(&self) -> &AdapterDescription {
        &self.inner.description
    }

    /// What there is to say about opening it: a cache that was not used.
    pub fn notices(&self) -> &[String] {
        &self.inner.notices
    }

    /// What plans for this device may use.
    pub fn target(&self) -> &Target {
        &self.target
    }

    /// The largest buffer that was asked for, in bytes.
    pub fn max_buffer(&self) -> u64 {
        self.inner.limits.max_buffer_size
    }

    /// The same device, planned for with what `change` makes of the target: the
    /// kernels that a measurement chose, say.
    #[must_use]
    pub fn with_target(&self, change: impl FnOnce(&mut Target)) -> Gpu {
        let mut target = Target::clone(&self.target);
        change(&mut target);
        Gpu {
            inner: Arc::clone(&self.inner),
            target: Arc::new(target),
        }
    }

    /// Whether the device can say when a pass began and ended.
    pub fn has_timestamps(&self) -> bool {
        self.inner.has_timestamps()
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

    /// Plants a fault right behind a submission, counted as [`Stats`] counts
    /// them, from 0. For tests.
    #[doc(hidden)]
    pub fn plant(&self, submission: u64, fault: Fault) {
        *lock(&self.inner.planted) = Some((submission, fault));
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

    /// Counts a submission. The fault that was planted behind it takes effect,
    /// but for a failing map, which is the caller's.
    pub fn submitted(&self) -> Option<Fault> {
        let index = self.made.submissions.fetch_add(1, Ordering::Relaxed);
        let mut planted = lock(&self.planted);
        let (_, fault) = planted.take_if(|(at, _)| *at == index)?;
        match fault {
            Fault::Destroy => self.device.destroy(),
            Fault::Wait => self.stalled.store(true, Ordering::Relaxed),
            Fault::Map => {}
        }
        Some(fault)
    }

    /// Whether the device can say when a pass began and ended.
    #[cfg_attr(target_arch = "wasm32", allow(dead_code))] // no timed runs there
    pub fn has_timestamps(&self) -> bool {
        let features = self.device.features();
        features.contains(wgpu::Features::TIMESTAMP_QUERY)
    }

    /// Runs `make` and returns what wgpu had to say about it.
    pub async fn scoped<T>(&self, make: impl FnOnce() -> T) -> Result<T> {
        self.check()?;
        self.caught(make).await
    }

    /// As [`scoped`](Inner::scoped), whatever trouble there was before.
    pub async fn caught<T>(&self, make: impl FnOnce() -> T) -> Result<T> {
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
