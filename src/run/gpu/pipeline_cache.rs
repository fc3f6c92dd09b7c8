//! What the driver has compiled, kept from one process to the next, where the
//! driver lets it be kept (Vulkan). Only if a folder was given.
//!
//! Drivers of desktops mostly keep a cache of their own; others leave it to
//! the program.

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::cache;
use crate::error::{Error, Result};

/// More than this is not kept: the driver starts anew.
const MOST_BYTES: u64 = 64 << 20;
/// Files for other adapters, drivers and versions that are left in place.
const MOST_FILES: usize = 8;

const KIND: &str = "pipelines";
const ENDING: &str = "bin";

pub(super) struct PipelineCache {
    cache: wgpu::PipelineCache,
    path: PathBuf,
    identity: String,
    /// Whether a pipeline was made since the file was read or written.
    changed: AtomicBool,
}

impl PipelineCache {
    /// The cache of a device that has the feature, filled from the folder; and
    /// what was wrong with the file there, if something was.
    pub async fn open(
        device: &wgpu::Device,
        info: &wgpu::AdapterInfo,
        folder: PathBuf,
    ) -> (Option<PipelineCache>, Option<String>) {
        let identity = identity(info);
        let path = folder.join(cache::file_name(KIND, &identity, ENDING));
        let read = cache::read(&path, MOST_BYTES);
        let found = match &read {
            Ok(Some(bytes)) => cache::unseal(&identity, bytes).map(Some),
            Ok(None) => Ok(None),
            Err(reason) => Err(reason.clone()),
        };
        let (data, wrong) = match found {
            Ok(data) => (data, None),
            Err(reason) => (
                None,
                Some(format!("{} is not used: {reason}", path.display())),
            ),
        };
        log::info!(
            "pipelines that the driver compiled before: {} bytes in {}",
            data.map_or(0, <[u8]>::len),
            path.display()
        );
        let scope = device.push_error_scope(wgpu::ErrorFilter::Validation);
        let cache = filled(device, data);
        if let Some(error) = scope.pop().await {
            return (None, Some(format!("no pipelines are kept: {error}")));
        }
        let made = PipelineCache {
            cache,
            path,
            identity,
            changed: AtomicBool::new(false),
        };
        (Some(made), wrong)
    }

    /// For the descriptor of a pipeline, which then becomes part of the cache.
    pub fn for_a_new_one(&self) -> &wgpu::PipelineCache {
        self.changed.store(true, Ordering::Relaxed);
        &self.cache
    }

    /// Writes the file if there is something new.
    ///
    /// # Errors
    /// It could not be written.
    pub fn save(&self) -> Result<()> {
        if !self.changed.swap(false, Ordering::Relaxed) {
            return Ok(());
        }
        let Some(data) = self.cache.get_data() else {
            return Ok(());
        };
        let sealed = cache::seal(&self.identity, &data);
        if sealed.len() as u64 > MOST_BYTES {
            // The next process begins an empty one.
            return match std::fs::remove_file(&self.path) {
                Err(e) if e.kind() != std::io::ErrorKind::NotFound => {
                    Err(Error::file(&self.path, e.to_string()))
                }
                _ => Ok(()),
            };
        }
        cache::write(&self.path, &sealed)?;
        if let Some(folder) = self.path.parent() {
            cache::forget_oldest(folder, KIND, ENDING, MOST_FILES);
        }
        Ok(())
    }
}

/// What a compiled pipeline depends on besides its text. The driver checks its
/// own version, too.
fn identity(info: &wgpu::AdapterInfo) -> String {
    format!(
        "wgrad {}\n{}\n{:?}\n{:x}:{:x}\n{}\n{}",
        env!("CARGO_PKG_VERSION"),
        info.name,
        info.backend,
        info.vendor,
        info.device,
        info.driver,
        info.driver_info
    )
}

#[allow(unsafe_code)] // wgpu offers no other way
fn filled(device: &wgpu::Device, data: Option<&[u8]>) -> wgpu::PipelineCache {
    let descriptor = wgpu::PipelineCacheDescriptor {
        label: Some("wgrad"),
        data,
        // What the driver does not accept makes an empty cache, no error.
        fallback: true,
    };
    // SAFETY: the data must be what `get_data` returned earlier. It comes from a
    // file that only `save` writes, with such data; its length, its hash and the
    // adapter, driver and version that it was written for have been compared, so
    // neither damage nor another program's file gets here. That holds as long as
    // nobody forges a file, hash and all: who can write to the user's cache
    // folder could do so, which is why it is made for this user alone. wgpu and
    // the driver then check headers of their own.
    unsafe { device.create_pipeline_cache(&descriptor) }
}
