//! Which adapter a run takes. A real GPU comes before a software one, and the
//! faster kind first; what the user names is matched here, by our own rules,
//! so that a name which matches nothing is an error with a list and never a
//! panic or another adapter.

use std::fmt;
use std::str::FromStr;

use crate::error::{Error, Result};

/// A graphics interface that an adapter is reached through.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Backend {
    /// Vulkan: Linux, Windows, Android.
    Vulkan,
    /// Metal: macOS and iOS.
    Metal,
    /// Direct3D 12: Windows.
    Dx12,
    /// OpenGL ES: a last resort.
    Gl,
    /// A browser's WebGPU.
    WebGpu,
}

impl Backend {
    const ALL: [Backend; 5] = [
        Backend::Vulkan,
        Backend::Metal,
        Backend::Dx12,
        Backend::Gl,
        Backend::WebGpu,
    ];
}

impl fmt::Display for Backend {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Backend::Vulkan => "Vulkan",
            Backend::Metal => "Metal",
            Backend::Dx12 => "DX12",
            Backend::Gl => "GL",
            Backend::WebGpu => "WebGPU",
        })
    }
}

impl FromStr for Backend {
    type Err = Error;

    fn from_str(text: &str) -> Result<Backend> {
        match text.trim().to_ascii_lowercase().as_str() {
            "vulkan" | "vk" => Ok(Backend::Vulkan),
            "metal" | "mtl" => Ok(Backend::Metal),
            "dx12" | "d3d12" => Ok(Backend::Dx12),
            "gl" | "gles" | "opengl" => Ok(Backend::Gl),
            "webgpu" => Ok(Backend::WebGpu),
            _ => Err(Error::Text(format!(
                "unknown backend `{text}`; known are vulkan, metal, dx12, gl, webgpu"
            ))),
        }
    }
}

/// What sort of device an adapter is.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum DeviceKind {
    /// A GPU with memory of its own.
    Discrete,
    /// A GPU that shares the processor's memory.
    Integrated,
    /// A GPU passed into a virtual machine.
    Virtual,
    /// Something else.
    Other,
    /// The CPU fallback adapter: a driver in software (lavapipe, WARP).
    Software,
}

impl fmt::Display for DeviceKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            DeviceKind::Discrete => "discrete GPU",
            DeviceKind::Integrated => "integrated GPU",
            DeviceKind::Virtual => "virtual GPU",
            DeviceKind::Other => "other",
            DeviceKind::Software => "software",
        })
    }
}

/// An adapter, for people: what it is and the limits that matter here.
#[derive(Clone, PartialEq, Debug)]
pub struct AdapterDescription {
    /// Its place in the list; `--adapter N` takes it.
    pub index: usize,
    /// Its name.
    pub name: String,
    /// What sort of device it is.
    pub kind: DeviceKind,
    /// Through which interface.
    pub backend: Backend,
    /// The driver and its version.
    pub driver: String,
    /// The largest buffer that a kernel can bind, in bytes.
    pub max_binding: u64,
    /// The largest buffer, in bytes.
    pub max_buffer: u64,
    /// The most invocations of a workgroup.
    pub max_invocations: u32,
    /// The workgroup memory, in bytes.
    pub workgroup_memory: u32,
}

impl fmt::Display for AdapterDescription {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} ({}, {}, driver {})",
            self.name, self.kind, self.backend, self.driver
        )
    }
}

/// What the user asked for.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct Selection {
    /// An index of the list, or a part of a name (case does not matter).
    pub adapter: Option<String>,
    /// The backends to look at; empty for all.
    pub backends: Vec<Backend>,
}

impl Selection {
    /// What `WGPU_ADAPTER_NAME` and `WGPU_BACKEND` (a list with commas) ask
    /// for; unset or empty means no wish.
    ///
    /// # Errors
    /// A backend that does not exist.
    pub fn from_env() -> Result<Selection> {
        let mut backends = Vec::new();
        if let Some(list) = wish("WGPU_BACKEND") {
            for text in list.split(',').filter(|t| !t.trim().is_empty()) {
                let backend = text
                    .parse()
                    .map_err(|e| Error::Text(format!("in WGPU_BACKEND: {e}")))?;
                backends.push(backend);
            }
        }
        Ok(Selection {
            adapter: Self::adapter_from_env(),
            backends,
        })
    }

    /// What `WGPU_ADAPTER_NAME` alone asks for.
    pub fn adapter_from_env() -> Option<String> {
        wish("WGPU_ADAPTER_NAME")
    }

    fn allows(&self, backend: Backend) -> bool {
        self.backends.is_empty() || self.backends.contains(&backend)
    }
}

/// An environment variable that is set and not blank.
fn wish(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|v| !v.trim().is_empty())
}

/// The adapters of this machine, best first.
pub struct Adapters {
    found: Vec<(wgpu::Adapter, AdapterDescription)>,
}

impl Adapters {
    /// Lists the adapters of the backends that `selection` allows. The order,
    /// and so the index, is ours: kind, then backend, then as the driver says.
    /// All adapters are counted, so that one has the same index whatever is
    /// asked for.
    pub async fn list(selection: &Selection) -> Adapters {
        let mut descriptor = wgpu::InstanceDescriptor::new_without_display_handle();
        descriptor.backends = wgpu::Backends::all();
        descriptor.flags = wgpu::InstanceFlags::empty();
        let instance = wgpu::Instance::new(descriptor);
        let mut found: Vec<_> = instance
            .enumerate_adapters(wgpu::Backends::all())
            .await
            .into_iter()
            .filter_map(|adapter| describe(&adapter).map(|d| (adapter, d)))
            .collect();
        let rank = |d: &AdapterDescription| {
            let backend = Backend::ALL.iter().position(|b| *b == d.backend);
            // OpenGL lacks parts of WebGPU, so even a GPU seen through it
            // comes after the same kind seen through anything else.
            (d.kind, backend)
        };
        found.sort_by_key(|(_, d)| rank(d));
        for (index, (_, d)) in found.iter_mut().enumerate() {
            d.index = index;
        }
        found.retain(|(_, d)| selection.allows(d.backend));
        Adapters { found }
    }

    /// The adapters, best first.
    pub fn descriptions(&self) -> impl ExactSizeIterator<Item = &AdapterDescription> {
        self.found.iter().map(|(_, d)| d)
    }

    /// The index of the adapter that `selection` means.
    ///
    /// # Errors
    /// [`Error::NoAdapter`] if there is none at all, or none that matches.
    pub fn choose(&self, selection: &Selection) -> Result<usize> {
        if self.found.is_empty() {
            return Err(Error::NoAdapter(none_at_all(
                &selection.backends,
                HERE,
                &linux_family(),
            )));
        }
        let found = match &selection.adapter {
            None => self.descriptions().next(),
            Some(wanted) => match wanted.parse::<usize>() {
                Ok(index) => self.descriptions().find(|d| d.index == index),
                Err(_) => {
                    let lower = wanted.to_lowercase();
                    self.descriptions()
                        .find(|d| d.name.to_lowercase().contains(&lower))
                }
            },
        };
        found.map(|d| d.index).ok_or_else(|| {
            let wanted = selection.adapter.as_deref().unwrap_or_default();
            let what = match wanted.parse::<usize>() {
                Ok(index) => format!("there is no adapter {index}"),
                Err(_) => format!("no adapter's name contains `{wanted}`"),
            };
            let backends = match &selection.backends[..] {
                [] => String::new(),
                some => format!(" of {}", names(some)),
            };
            Error::NoAdapter(format!("{what}{backends}; found:\n{}", self.listing()))
        })
    }

    /// The adapter of an index that [`choose`](Adapters::choose) gave.
    pub(super) fn take(mut self, index: usize) -> Result<(wgpu::Adapter, AdapterDescription)> {
        match self.found.iter().position(|(_, d)| d.index == index) {
            Some(place) => Ok(self.found.swap_remove(place)),
            None => Err(Error::NoAdapter(format!("there is no adapter {index}"))),
        }
    }

    fn listing(&self) -> String {
        let lines: Vec<_> = self
            .descriptions()
            .map(|d| format!("  {}: {d}", d.index))
            .collect();
        lines.join("\n")
    }
}

fn describe(adapter: &wgpu::Adapter) -> Option<AdapterDescription> {
    let info = adapter.get_info();
    let limits = adapter.limits();
    let backend = match info.backend {
        wgpu::Backend::Vulkan => Backend::Vulkan,
        wgpu::Backend::Metal => Backend::Metal,
        wgpu::Backend::Dx12 => Backend::Dx12,
        wgpu::Backend::Gl => Backend::Gl,
        wgpu::Backend::BrowserWebGpu => Backend::WebGpu,
        // The "noop" backend computes nothing.
        _ => return None,
    };
    let kind = match info.device_type {
        wgpu::DeviceType::DiscreteGpu => DeviceKind::Discrete,
        wgpu::DeviceType::IntegratedGpu => DeviceKind::Integrated,
        wgpu::DeviceType::VirtualGpu => DeviceKind::Virtual,
        wgpu::DeviceType::Cpu => DeviceKind::Software,
        wgpu::DeviceType::Other => DeviceKind::Other,
    };
    let driver = [info.driver, info.driver_info]
        .into_iter()
        .filter(|part| !part.is_empty())
        .collect::<Vec<_>>()
        .join(" ");
    Some(AdapterDescription {
        index: 0,
        name: info.name,
        kind,
        backend,
        driver: if driver.is_empty() {
            "unknown".to_string()
        } else {
            driver
        },
        max_binding: limits.max_storage_buffer_binding_size,
        max_buffer: limits.max_buffer_size,
        max_invocations: limits.max_compute_invocations_per_workgroup,
        workgroup_memory: limits.max_compute_workgroup_storage_size,
    })
}

fn names(backends: &[Backend]) -> String {
    let names: Vec<_> = backends.iter().map(|b| b.to_string()).collect();
    names.join(", ")
}

/// What this runs on.
#[cfg(not(target_arch = "wasm32"))]
const HERE: &str = std::env::consts::OS;
#[cfg(target_arch = "wasm32")]
const HERE: &str = "browser";

/// The backends that a system can have; nothing installs another.
fn backends_of(os: &str) -> &'static [Backend] {
    match os {
        "macos" | "ios" => &[Backend::Metal],
        "windows" => &[Backend::Dx12, Backend::Vulkan, Backend::Gl],
        "browser" => &[Backend::WebGpu],
        _ => &[Backend::Vulkan, Backend::Gl],
    }
}

/// What to do when there is no adapter, for the system that this runs on.
fn none_at_all(asked_for: &[Backend], os: &str, family: &str) -> String {
    let mut text = String::from("no adapter was found");
    if !asked_for.is_empty() {
        text.push_str(&format!(
            " for the backend asked for ({})",
            names(asked_for)
        ));
    }
    text.push_str("; ");
    let there = backends_of(os);
    if asked_for.is_empty() || asked_for.iter().any(|b| there.contains(b)) {
        text.push_str(&install_hint(os, family));
    } else {
        text.push_str(&format!(
            "this system can have {}: leave --backend (or WGPU_BACKEND) out to look at all",
            names(there)
        ));
    }
    text.push_str(match os {
        "browser" => "; or evaluate the graph with run::cpu, the CPU reference",
        _ => "; or run with --cpu to use the CPU reference alone",
    });
    text
}

/// The ID and ID_LIKE words of /etc/os-release; empty elsewhere.
fn linux_family() -> String {
    let text = std::fs::read_to_string("/etc/os-release").unwrap_or_default();
    let values = text.lines().filter_map(|line| {
        let (key, value) = line.split_once('=')?;
        matches!(key, "ID" | "ID_LIKE").then(|| value.trim_matches('"').to_string())
    });
    values.collect::<Vec<_>>().join(" ")
}

fn install_hint(os: &str, family: &str) -> String {
    let has = |word: &str| family.split_whitespace().any(|w| w == word);
    match os {
        "linux" if has("debian") || has("ubuntu") => {
            "install a software one with: sudo apt-get install mesa-vulkan-drivers".to_string()
        }
        "linux" if has("fedora") || has("rhel") => {
            "install a software one with: sudo dnf install mesa-vulkan-drivers".to_string()
        }
        "linux" if has("arch") => {
            "install a software one with: sudo pacman -S vulkan-swrast".to_string()
        }
        "linux" => "install your GPU's Vulkan driver, or Mesa's software one (lavapipe): \
                    mesa-vulkan-drivers on Debian (apt-get) and Fedora (dnf), vulkan-swrast on \
                    Arch (pacman -S)"
            .to_string(),
        "macos" => "every Mac since 2012 has a Metal adapter; inside a virtual machine, enable \
                    its paravirtualized graphics device"
            .to_string(),
        "windows" => "Windows has a software adapter (WARP) built in; if it is missing, run: \
                      DISM /Online /Add-Capability /CapabilityName:Tools.Graphics.DirectX~~~~0.0.1.0"
            .to_string(),
        "browser" => "this page is given no WebGPU: serve it over https or from localhost, \
                      and use a browser that has WebGPU, with its graphics acceleration on"
            .to_string(),
        _ => "install a Vulkan driver for your GPU".to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_system_gets_its_own_hint() {
        assert!(install_hint("linux", "debian").contains("apt-get install mesa-vulkan-drivers"));
        assert!(install_hint("linux", "linuxmint ubuntu debian").contains("apt-get"));
        assert!(install_hint("linux", "fedora").contains("dnf"));
        assert!(install_hint("linux", "endeavouros arch").contains("pacman"));
        assert!(install_hint("linux", "gentoo").contains("lavapipe"));
        assert!(install_hint("macos", "").contains("Metal"));
        assert!(install_hint("windows", "").contains("WARP"));
        let text = none_at_all(&[], "browser", "");
        assert!(
            text.contains("https") && text.contains("run::cpu"),
            "{text}"
        );
        assert!(!text.contains("--cpu"), "{text}");
    }

    #[test]
    fn what_no_driver_can_give_is_not_to_be_installed() {
        let on_linux = |asked_for: &[Backend]| none_at_all(asked_for, "linux", "debian");
        assert!(on_linux(&[]).contains("apt-get"));
        assert!(on_linux(&[Backend::Metal, Backend::Gl]).contains("apt-get"));
        let text = on_linux(&[Backend::Metal]);
        assert!(text.contains("(Metal)") && text.contains("can have Vulkan, GL"));
        assert!(text.contains("leave --backend") && !text.contains("install"));
        assert!(none_at_all(&[Backend::Vulkan], "macos", "").contains("can have Metal"));
    }

    #[test]
    fn backends_parse_or_list_what_is_known() {
        assert_eq!("Vulkan".parse::<Backend>().unwrap(), Backend::Vulkan);
        let error = "glide".parse::<Backend>().unwrap_err().to_string();
        assert!(error.contains("glide") && error.contains("dx12"), "{error}");
    }
}
