//! Pipelines: made on several threads, once for each kernel's text.

use std::sync::Arc;
use std::sync::atomic::Ordering;
#[cfg(not(target_arch = "wasm32"))]
use std::sync::atomic::{AtomicBool, AtomicUsize};

#[cfg(not(target_arch = "wasm32"))]
use super::adapter::Backend;
use super::device::{Inner, lock};
use super::image::IMAGE;
#[cfg(not(target_arch = "wasm32"))]
use super::pipeline_cache::PipelineCache;
#[cfg(not(target_arch = "wasm32"))]
use super::signal::block_on;
use crate::error::{Error, Result};
use crate::plan::KernelSource;

/// A compute pipeline with the layout of its bindings.
pub(super) struct Pipeline {
    pub pipeline: wgpu::ComputePipeline,
    pub layout: wgpu::BindGroupLayout,
}

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

impl Inner {
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
            block_on(self.pipeline(kernel))
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
    #[cfg(not(target_arch = "wasm32"))]
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
        let image = |access| wgpu::BindingType::StorageTexture {
            access,
            format: IMAGE,
            view_dimension: wgpu::TextureViewDimension::D2,
        };
        for i in 0..kernel.reads {
            let mut read = entry(i + 1, wgpu::BufferBindingType::Storage { read_only: true });
            if kernel.images.contains(&i) {
                read.ty = image(wgpu::StorageTextureAccess::ReadOnly);
            }
            entries.push(read);
        }
        for i in 0..kernel.writes {
            entries.push(entry(
                kernel.reads + 1 + i,
                wgpu::BufferBindingType::Storage { read_only: false },
            ));
        }
        for _ in kernel.images.iter().filter(|&&i| i >= kernel.reads) {
            entries.push(wgpu::BindGroupLayoutEntry {
                ty: image(wgpu::StorageTextureAccess::ReadWrite),
                ..entry(entries.len(), wgpu::BufferBindingType::Uniform)
            });
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
                cache: self.drivers_cache(),
            });
        Pipeline { pipeline, layout }
    }

    /// Where the driver's compiler looks first.
    #[cfg(not(target_arch = "wasm32"))]
    fn drivers_cache(&self) -> Option<&wgpu::PipelineCache> {
        let cache = self.pipeline_cache.as_ref();
        cache.map(PipelineCache::for_a_new_one)
    }

    /// A browser keeps one of its own.
    #[cfg(target_arch = "wasm32")]
    fn drivers_cache(&self) -> Option<&wgpu::PipelineCache> {
        None
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
