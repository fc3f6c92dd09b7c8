//! An open device: its queue, its cache of pipelines, and the state that turns
//! wgpu's ways of failing (panics, callbacks, scopes) into typed errors.

use std::collections::HashMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
#[cfg(not(target_arch = "wasm32"))]
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
#[cfg(not(target_arch = "wasm32"))]
use std::time::Instant;

#[cfg(not(target_arch = "wasm32"))]
use super::adapter::Backend;
use super::adapter::{AdapterDescription, Adapters, Selection};
use super::pipeline_cache::PipelineCache;
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
    /// A folder in which the driver's compiled pipelines are kept for the next
    /// process, where the driver offers that; `None` touches no disk.
    /// [`cache::user_folder`](crate::cache::user_folder) is the usual one.
    pub pipeline_cache: Option<PathBuf>,
    /// The bytes that a plan may take on the device; `None` for what there is,
    /// as far as that is known ([`Gpu::memory`]).
    pub max_memory: Option<u64>,
}

impl Default for GpuOptions {
    fn default() -> Self {
        GpuOptions {
            selection: Selection::default(),
            timeout: Duration::from_secs(600),
            default_limits: false,
            pipeline_cache: None,
            max_memory: None,
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
    description: AdapterDescription,
    pipelines: Mutex<HashMap<(String, String), Arc<Pipeline>>>,
    pipeline_cache: Option<PipelineCache>,
    notices: Vec<String>,
    lost: Arc<Mutex<Option<String>>>,
    fault: Arc<Mutex<Option<Error>>>,
    planted: Mutex<Option<(u64, Fault)>>,
    /// The next wait ends as if its time were up.
    stalled: AtomicBool,
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

/// How long a run's wait stays awake. Waking a thread, and the processor that it
/// slept on, takes tens of microseconds: a third of a small network's step.
#[cfg(not(target_arch = "wasm32"))]
const AWAKE: Duration = Duration::from_micros(200);

/// How late a sleeping thread may wake.
#[cfg(not(target_arch = "wasm32"))]
const LATE: Duration = Duration::from_micros(60);

/// Threads that make pipelines, at most: memory for a compiler each.
#[cfg(not(target_arch = "wasm32"))]
const MOST_THREADS: usize = 16;

/// What `make` makes of each item, in order, on so many threads. Of several
/// errors it is that of the first item: items are taken in order, none after an
/// error was seen, and all that were taken are waited for.
#[cfg(not(target_arch = "wasm32"))]
fn in_parallel<T: Sync, M: Send>(
    threads: usize,
    items: &[T],
    make: impl Fn(&T) -> Result<M> + Sync,
) -> Result<Vec<M>> {
    let next = AtomicUsize::new(0);
    let failed = AtomicBool::new(false);
    let work = || {
        let mut own = Vec::new();
        while !failed.load(Ordering::Relaxed) {
            let i = next.fetch_add(1, Ordering::Relaxed);
            let Some(item) = items.get(i) else { break };
            let made = make(item);
            failed.fetch_or(made.is_err(), Ordering::Relaxed);
            own.push((i, made));
        }
        own
    };
    let mut made = std::thread::scope(|scope| {
        // This thread is one of them.
        let others: Vec<_> = (1..threads.min(items.len()))
            // Where no thread is to be had, fewer do the work.
            .filter_map(|_| std::thread::Builder::new().spawn_scoped(scope, work).ok())
            .collect();
        let mut all = work();
        for other in others {
            match other.join() {
                Ok(own) => all.extend(own),
                Err(panic) => std::panic::resume_unwind(panic),
            }
        }
        all
    });
    made.sort_by_key(|(i, _)| *i);
    made.into_iter().map(|(_, made)| made).collect()
}
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
        let has_cache = features.contains(wgpu::Features::PIPELINE_CACHE);
        let folder = options.pipeline_cache.filter(|_| has_cache);
        let (pipeline_cache, notice) = match folder {
            Some(folder) => PipelineCache::open(&device, &adapter.get_info(), folder).await,
            None => (None, None),
        };
        Ok(Gpu {
            inner: Arc::new(Inner {
                device,
                queue,
                limits,
                timeout: options.timeout,
                max_memory: options.max_memory,
                description,
                pipelines: Mutex::new(HashMap::new()),
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

    /// The pipelines of these kernels, in their order.
    ///
    /// # Errors
    /// That of the first kernel in the list that has one, however many have.
    #[cfg(not(target_arch = "wasm32"))]
    pub async fn pipelines(&self, kernels: &[KernelSource]) -> Result<Vec<Arc<Pipeline>>> {
        let threads = match self.description.backend {
            // OpenGL's context belongs to one thread at a time.
            Backend::Gl => 1,
            _ => std::thread::available_parallelism().map_or(1, |n| n.get().min(MOST_THREADS)),
        };
        in_parallel(threads, kernels, |kernel| {
            // Ready at once: only a browser makes one wait for errors. They
            // belong to the thread that asks.
            pollster::block_on(self.pipeline(kernel))
        })
    }

    /// The pipelines of these kernels, in their order.
    #[cfg(target_arch = "wasm32")]
    pub async fn pipelines(&self, kernels: &[KernelSource]) -> Result<Vec<Arc<Pipeline>>> {
        let mut made = Vec::with_capacity(kernels.len());
        for kernel in kernels {
            made.push(self.pipeline(kernel).await?);
        }
        Ok(made)
    }

    /// The pipeline of a kernel, made at its first use.
    async fn pipeline(&self, kernel: &KernelSource) -> Result<Arc<Pipeline>> {
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

    /// Keeps the new pipelines for the next process, where that was asked for.
    pub fn save_pipelines(&self) {
        if let Some(Err(error)) = self.pipeline_cache.as_ref().map(PipelineCache::save) {
            // The next process will compile them again: no reason to fail.
            log::warn!("the compiled pipelines are not kept: {error}");
        }
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
                // Every kernel writes its workgroup memory before it reads it.
                // In GLSL a first value is one expression of all elements, which
                // Mesa compiles for a minute where a tile is large.
                compilation_options: wgpu::PipelineCompilationOptions {
                    zero_initialize_workgroup_memory: false,
                    ..Default::default()
                },
                cache: self
                    .pipeline_cache
                    .as_ref()
                    .map(PipelineCache::for_a_new_one),
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

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Barrier;

    #[test]
    fn items_are_made_side_by_side_and_come_in_order() {
        // Two that wait for each other need two threads.
        let both = Barrier::new(2);
        let made = in_parallel(2, &[3, 4], |n| {
            both.wait();
            Ok(n * 10)
        });
        assert_eq!(made.unwrap(), [30, 40]);
        let items: Vec<usize> = (0..100).collect();
        for threads in [0, 1, 3, 200] {
            let made = in_parallel(threads, &items, |n| Ok(*n)).unwrap();
            assert_eq!(made, items);
        }
        assert!(in_parallel(4, &[] as &[u8], |_| Ok(())).unwrap().is_empty());
    }

    #[test]
    fn of_two_errors_the_first_in_order_is_told() {
        let both = Barrier::new(2);
        let second_is_done = Barrier::new(2);
        let made = in_parallel(2, &[0, 1, 2, 3], |n| -> Result<()> {
            both.wait();
            if *n == 0 {
                second_is_done.wait();
            }
            if *n == 1 {
                second_is_done.wait();
            }
            Err(Error::Gpu(n.to_string()))
        });
        assert_eq!(made, Err(Error::Gpu("0".to_string())));
    }

    #[test]
    fn nothing_is_begun_after_an_error() {
        let begun = AtomicUsize::new(0);
        let made = in_parallel(1, &[0, 1, 2], |n| {
            match begun.fetch_add(1, Ordering::Relaxed) {
                0 => Ok(*n),
                _ => Err(Error::Gpu(n.to_string())),
            }
        });
        assert_eq!(made, Err(Error::Gpu("1".to_string())));
        assert_eq!(begun.into_inner(), 2);
    }
}
