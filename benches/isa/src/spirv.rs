//! WGSL as the SPIR-V that wgpu 30 hands to a Vulkan driver: the options of its
//! `vulkan` backend, with the one setting that wgrad changes.

use std::collections::BTreeMap;

use anyhow::{Context, Result, bail};
use naga::back::spv;
use naga::proc::{BoundsCheckPolicies, BoundsCheckPolicy};
use naga::valid::{Capabilities, ModuleInfo, ShaderStages, SubgroupOperationSet};
use naga::valid::{ValidationFlags, Validator};
use naga::{AddressSpace, ImageClass, Module, ShaderStage, TypeInner};

/// What a binding of a kernel is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Resource {
    Uniform,
    Storage,
    Sampled,
    Image,
    Sampler,
}

/// A valid WGSL text.
pub struct Wgsl {
    module: Module,
    info: ModuleInfo,
}

/// What a device says of itself that changes the code.
#[derive(Clone, Copy, Debug)]
pub struct Checks {
    /// The device itself keeps accesses inside a buffer's range.
    pub robust_buffers: bool,
    /// And inside an image.
    pub robust_images: bool,
}

impl Wgsl {
    /// Reads and validates a text.
    pub fn parse(text: &str) -> Result<Wgsl> {
        let mut frontend = naga::front::wgsl::Frontend::new();
        frontend.set_options(naga::front::wgsl::Options {
            capabilities: Capabilities::all(),
            ..naga::front::wgsl::Options::new()
        });
        let located = |message: String| anyhow::anyhow!("not valid WGSL:\n{}", message.trim_end());
        let module = frontend
            .parse(text)
            .map_err(|e| located(e.emit_to_string(text)))?;
        let info = Validator::new(ValidationFlags::all(), Capabilities::all())
            .subgroup_operations(SubgroupOperationSet::all())
            .subgroup_stages(ShaderStages::all())
            .validate(&module)
            .map_err(|e| located(e.emit_to_string(text)))?;
        Ok(Wgsl { module, info })
    }

    /// Its compute entry points.
    pub fn entries(&self) -> Vec<String> {
        let points = self.module.entry_points.iter();
        let compute = points.filter(|e| e.stage == ShaderStage::Compute);
        compute.map(|e| e.name.clone()).collect()
    }

    /// The bindings of each group, by number.
    pub fn bindings(&self) -> Result<BTreeMap<u32, BTreeMap<u32, Resource>>> {
        let mut groups: BTreeMap<u32, BTreeMap<u32, Resource>> = BTreeMap::new();
        for (_, variable) in self.module.global_variables.iter() {
            let Some(place) = variable.binding else {
                continue;
            };
            let resource = match (variable.space, &self.module.types[variable.ty].inner) {
                (AddressSpace::Uniform, _) => Resource::Uniform,
                (AddressSpace::Storage { .. }, _) => Resource::Storage,
                (
                    _,
                    TypeInner::Image {
                        class: ImageClass::Storage { .. },
                        ..
                    },
                ) => Resource::Image,
                (_, TypeInner::Image { .. }) => Resource::Sampled,
                (_, TypeInner::Sampler { .. }) => Resource::Sampler,
                (_, other) => bail!(
                    "group {}, binding {}: a binding of {other:?} is none that this program \
                     makes a layout for",
                    place.group,
                    place.binding
                ),
            };
            groups
                .entry(place.group)
                .or_default()
                .insert(place.binding, resource);
        }
        Ok(groups)
    }

    /// Whether it reads immediates (Vulkan's push constants).
    pub fn has_immediates(&self) -> bool {
        let mut all = self.module.global_variables.iter();
        all.any(|(_, v)| v.space == AddressSpace::Immediate)
    }

    /// The SPIR-V of one entry point.
    pub fn spirv(&self, entry: &str, checks: Checks) -> Result<Vec<u32>> {
        use BoundsCheckPolicy::{Restrict, Unchecked};
        let unless = |robust| if robust { Unchecked } else { Restrict };
        let options = spv::Options {
            // Of Vulkan 1.3.
            lang_version: (1, 6),
            flags: spv::WriterFlags::empty(),
            // With no map of bindings they keep their numbers.
            fake_missing_bindings: true,
            bounds_check_policies: BoundsCheckPolicies {
                index: Restrict,
                buffer: unless(checks.robust_buffers),
                image_load: unless(checks.robust_images),
                binding_array: Unchecked,
            },
            // wgrad asks for no first values (docs/REJECTED.md).
            zero_initialize_workgroup_memory: spv::ZeroInitializeWorkgroupMemoryMode::None,
            force_loop_bounding: true,
            ..spv::Options::default()
        };
        let pipeline = spv::PipelineOptions {
            shader_stage: ShaderStage::Compute,
            entry_point: entry.to_string(),
        };
        let (module, info) = naga::back::pipeline_constants::process_overrides(
            &self.module,
            &self.info,
            Some((ShaderStage::Compute, entry)),
            &Default::default(),
        )
        .context("an override has no value")?;
        spv::write_vec(&module, &info, &options, Some(&pipeline)).context("no SPIR-V of it")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "
        @group(0) @binding(0) var<uniform> n: vec4<u32>;
        @group(0) @binding(2) var<storage, read_write> y: array<f32>;
        @group(1) @binding(0) var t: texture_storage_2d<rgba32float, read>;
        @compute @workgroup_size(64) fn first(@builtin(global_invocation_id) id: vec3<u32>) {
            y[id.x] = textureLoad(t, id.xy).x + f32(n.x);
        }
        @compute @workgroup_size(1) fn second() { y[0] = 1.0; }";

    const ROBUST: Checks = Checks {
        robust_buffers: true,
        robust_images: true,
    };

    #[test]
    fn bindings_and_entries_are_those_of_the_text() {
        let wgsl = Wgsl::parse(TEXT).unwrap();
        assert_eq!(wgsl.entries(), ["first", "second"]);
        let bindings = wgsl.bindings().unwrap();
        let want = [(0, Resource::Uniform), (2, Resource::Storage)];
        assert_eq!(bindings[&0], BTreeMap::from(want));
        assert_eq!(bindings[&1], BTreeMap::from([(0, Resource::Image)]));
        assert!(!wgsl.has_immediates());
    }

    #[test]
    fn a_device_without_robust_buffers_gets_longer_code() {
        let wgsl = Wgsl::parse(TEXT).unwrap();
        let robust = wgsl.spirv("first", ROBUST).unwrap();
        let checked = Checks {
            robust_buffers: false,
            ..ROBUST
        };
        assert!(wgsl.spirv("first", checked).unwrap().len() > robust.len());
        assert!(wgsl.spirv("third", ROBUST).is_err());
    }

    #[test]
    fn what_is_wrong_with_a_text_is_told_with_its_line() {
        for text in [
            "fn f( {",
            "@compute @workgroup_size(1) fn f() { let x: i32 = 1.5; }",
        ] {
            let error = Wgsl::parse(text).err().unwrap().to_string();
            assert!(
                error.contains("not valid WGSL") && error.contains(":1:"),
                "{error}"
            );
        }
    }

    /// Other versions would compile other code than wgpu's.
    #[test]
    fn naga_and_ash_are_those_of_wgrad() {
        let version = |lock: &str, name: &str| -> String {
            let head = format!("name = \"{name}\"\nversion = ");
            let (_, rest) = lock.split_once(&head).unwrap();
            rest.lines().next().unwrap().to_string()
        };
        let own = include_str!("../Cargo.lock");
        let wgrads = include_str!("../../../Cargo.lock");
        for name in ["naga", "ash", "wgpu-hal"] {
            assert_eq!(version(own, name), version(wgrads, name), "{name}");
        }
    }
}
