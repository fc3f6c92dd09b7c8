//! RADV without a GPU, through Vulkan itself. With `RADV_FORCE_FAMILY` set the driver
//! opens a device that can run nothing but compiles for GPUs of that family. wgpu asks
//! such a device for more than it has (timeline semaphores), so it is not used here;
//! the features and flags that change code are those that wgpu's `vulkan` backend sets.
#![allow(unsafe_code)]

use std::collections::BTreeMap;
use std::ffi::{CStr, CString};
use std::time::Instant;

use anyhow::{Context, Result, bail, ensure};
use ash::khr::pipeline_executable_properties as executables;
use ash::{ext, vk};
use wgrad::graph::Target;

use crate::spirv::{Checks, Resource, Wgsl};

/// An open device. It lives as long as the process.
pub struct Device {
    // The loader must outlive what it loaded.
    _entry: ash::Entry,
    _instance: ash::Instance,
    device: ash::Device,
    executables: executables::Device,
    /// Its name.
    pub name: String,
    /// Its driver.
    pub driver: String,
    /// Whether its counter of loads counts stores, too: AMD GPUs with subgroups of 64
    /// alone have one counter for both.
    pub stores_count: bool,
    /// What wgrad plans for on such a GPU.
    pub target: Target,
    checks: Checks,
}

/// What the driver made of a kernel.
pub struct Compiled {
    /// The time of the driver's compiler.
    pub milliseconds: f64,
    /// Invocations of a subgroup.
    pub subgroup: u32,
    /// The driver's statistics, by its names.
    pub statistics: BTreeMap<String, u64>,
    /// The text of the machine's code.
    pub assembly: String,
}

impl Device {
    /// Opens RADV's device.
    pub fn open() -> Result<Device> {
        // SAFETY: the library that is loaded is the system's Vulkan loader, whose
        // initialisers do nothing but set it up.
        let entry = unsafe { ash::Entry::load() }
            .context("there is no Vulkan loader (Debian package libvulkan1)")?;
        let app = vk::ApplicationInfo::default().api_version(vk::API_VERSION_1_3);
        let create = vk::InstanceCreateInfo::default().application_info(&app);
        // SAFETY: `create` and what it points to live until the call is over.
        let instance = unsafe { entry.create_instance(&create, None) }
            .context("the Vulkan loader finds no driver")?;
        // SAFETY: the instance is alive, here and below.
        let all = unsafe { instance.enumerate_physical_devices() }
            .context("the driver lists no device")?;
        for physical in all {
            let mut driver = vk::PhysicalDeviceDriverProperties::default();
            let mut sizes = vk::PhysicalDeviceSubgroupSizeControlProperties::default();
            let mut asked = vk::PhysicalDeviceProperties2::default()
                .push_next(&mut driver)
                .push_next(&mut sizes);
            // SAFETY: both structures may extend this query.
            unsafe { instance.get_physical_device_properties2(physical, &mut asked) };
            let properties = asked.properties;
            if driver.driver_id == vk::DriverId::MESA_RADV {
                return Device::of(entry, instance, physical, &properties, &driver, &sizes);
            }
        }
        bail!("no device of the driver RADV is listed")
    }

    fn of(
        entry: ash::Entry,
        instance: ash::Instance,
        physical: vk::PhysicalDevice,
        properties: &vk::PhysicalDeviceProperties,
        driver: &vk::PhysicalDeviceDriverProperties,
        sizes: &vk::PhysicalDeviceSubgroupSizeControlProperties,
    ) -> Result<Device> {
        ensure!(
            properties.api_version >= vk::API_VERSION_1_3,
            "this RADV is older than Vulkan 1.3; Mesa 22.0 or later has that"
        );
        // SAFETY: the physical device is one of this instance.
        let extensions = unsafe { instance.enumerate_device_extension_properties(physical) }
            .context("the driver lists no extensions")?;
        let has = |name: &CStr| {
            let mut names = extensions.iter().map(|e| e.extension_name_as_c_str());
            names.any(|own| own == Ok(name))
        };
        ensure!(
            has(executables::NAME),
            "this RADV does not tell what it compiled (VK_KHR_pipeline_executable_properties)"
        );
        let robust2 = has(ext::robustness2::NAME);

        // What there is, then all of it that changes code and that wgpu asks for.
        let mut robustness = vk::PhysicalDeviceRobustness2FeaturesEXT::default();
        let mut f12 = vk::PhysicalDeviceVulkan12Features::default();
        let mut f13 = vk::PhysicalDeviceVulkan13Features::default();
        let mut features = vk::PhysicalDeviceFeatures2::default()
            .push_next(&mut f12)
            .push_next(&mut f13);
        if robust2 {
            features = features.push_next(&mut robustness);
        }
        // SAFETY: all structures may extend this query, and the extension is there.
        unsafe { instance.get_physical_device_features2(physical, &mut features) };
        let core = features.features;
        let checks = Checks {
            robust_buffers: robustness.robust_buffer_access2 == vk::TRUE,
            robust_images: match robust2 {
                true => robustness.robust_image_access2 == vk::TRUE,
                false => f13.robust_image_access == vk::TRUE,
            },
        };

        let on = |there: vk::Bool32| there == vk::TRUE;
        let mut names = vec![executables::NAME.as_ptr()];
        let mut told = vk::PhysicalDevicePipelineExecutablePropertiesFeaturesKHR::default()
            .pipeline_executable_info(true);
        let mut wanted_robustness = vk::PhysicalDeviceRobustness2FeaturesEXT::default()
            .robust_buffer_access2(checks.robust_buffers)
            .robust_image_access2(on(robustness.robust_image_access2));
        let mut wanted_12 =
            vk::PhysicalDeviceVulkan12Features::default().shader_float16(on(f12.shader_float16));
        let mut wanted_13 = vk::PhysicalDeviceVulkan13Features::default()
            .robust_image_access(on(f13.robust_image_access))
            .subgroup_size_control(on(f13.subgroup_size_control))
            .shader_zero_initialize_workgroup_memory(
                on(f13.shader_zero_initialize_workgroup_memory),
            )
            .maintenance4(on(f13.maintenance4));
        let core = vk::PhysicalDeviceFeatures::default()
            .robust_buffer_access(on(core.robust_buffer_access));
        let queues = [vk::DeviceQueueCreateInfo::default()
            .queue_family_index(0)
            .queue_priorities(&[1.0])];
        if robust2 {
            names.push(ext::robustness2::NAME.as_ptr());
        }
        let mut create = vk::DeviceCreateInfo::default()
            .queue_create_infos(&queues)
            .enabled_extension_names(&names)
            .enabled_features(&core)
            .push_next(&mut told)
            .push_next(&mut wanted_12)
            .push_next(&mut wanted_13);
        if robust2 {
            create = create.push_next(&mut wanted_robustness);
        }
        // SAFETY: what is asked for is there, and all that is pointed to lives on.
        let device = unsafe { instance.create_device(physical, &create, None) }
            .context("the driver lists a device and does not open it")?;
        let text = |text: std::result::Result<&CStr, _>| match text {
            Ok(text) => text.to_string_lossy().into_owned(),
            Err(_) => String::new(),
        };
        Ok(Device {
            executables: executables::Device::new(&instance, &device),
            name: text(properties.device_name_as_c_str()),
            driver: text(driver.driver_info_as_c_str()),
            stores_count: sizes.min_subgroup_size == 64,
            target: target(&properties.limits, sizes),
            _entry: entry,
            _instance: instance,
            device,
            checks,
        })
    }

    /// The SPIR-V of an entry point for this device.
    pub fn spirv(&self, wgsl: &Wgsl, entry: &str) -> Result<Vec<u32>> {
        wgsl.spirv(entry, self.checks)
    }

    /// Compiles an entry point.
    pub fn compile(&self, wgsl: &Wgsl, entry: &str, spirv: &[u32]) -> Result<Compiled> {
        let mut layouts = Vec::new();
        let compiled = self
            .layouts(wgsl, &mut layouts)
            .and_then(|()| self.with_layouts(wgsl, entry, spirv, &layouts));
        for layout in layouts {
            // SAFETY: made by this device, and nothing that uses it is left.
            unsafe { self.device.destroy_descriptor_set_layout(layout, None) };
        }
        compiled
    }

    fn layouts(&self, wgsl: &Wgsl, layouts: &mut Vec<vk::DescriptorSetLayout>) -> Result<()> {
        let groups = wgsl.bindings()?;
        let last = groups.keys().next_back().copied();
        for group in 0..last.map_or(0, |last| last + 1) {
            let own = groups.get(&group).into_iter().flatten();
            let bindings = own.map(|(&number, resource)| {
                let kind = match resource {
                    Resource::Uniform => vk::DescriptorType::UNIFORM_BUFFER,
                    Resource::Storage => vk::DescriptorType::STORAGE_BUFFER,
                    Resource::Sampled => vk::DescriptorType::SAMPLED_IMAGE,
                    Resource::Image => vk::DescriptorType::STORAGE_IMAGE,
                    Resource::Sampler => vk::DescriptorType::SAMPLER,
                };
                vk::DescriptorSetLayoutBinding::default()
                    .binding(number)
                    .descriptor_type(kind)
                    .descriptor_count(1)
                    .stage_flags(vk::ShaderStageFlags::COMPUTE)
            });
            let bindings: Vec<_> = bindings.collect();
            let create = vk::DescriptorSetLayoutCreateInfo::default().bindings(&bindings);
            // SAFETY: the bindings live until the call is over.
            let layout = unsafe { self.device.create_descriptor_set_layout(&create, None) };
            layouts.push(layout.context("the driver takes no such bindings")?);
        }
        Ok(())
    }

    fn with_layouts(
        &self,
        wgsl: &Wgsl,
        entry: &str,
        spirv: &[u32],
        layouts: &[vk::DescriptorSetLayout],
    ) -> Result<Compiled> {
        /// What every Vulkan driver takes.
        const IMMEDIATES: u32 = 128;
        let range = [vk::PushConstantRange::default()
            .stage_flags(vk::ShaderStageFlags::COMPUTE)
            .size(IMMEDIATES)];
        let mut create = vk::PipelineLayoutCreateInfo::default().set_layouts(layouts);
        if wgsl.has_immediates() {
            create = create.push_constant_ranges(&range);
        }
        // SAFETY: the layouts are alive.
        let layout = unsafe { self.device.create_pipeline_layout(&create, None) }
            .context("the driver takes no such bindings")?;
        let create = vk::ShaderModuleCreateInfo::default().code(spirv);
        // SAFETY: naga wrote the code from a module that its validator passed.
        let compiled = unsafe { self.device.create_shader_module(&create, None) }
            .context("the driver does not take the SPIR-V")
            .and_then(|module| {
                let compiled = self.pipeline(entry, module, layout);
                // SAFETY: made by this device; no pipeline needs it any more.
                unsafe { self.device.destroy_shader_module(module, None) };
                compiled
            });
        // SAFETY: made by this device; no pipeline needs it any more.
        unsafe { self.device.destroy_pipeline_layout(layout, None) };
        compiled
    }

    fn pipeline(
        &self,
        entry: &str,
        module: vk::ShaderModule,
        layout: vk::PipelineLayout,
    ) -> Result<Compiled> {
        use vk::PipelineCreateFlags as Flags;
        let name = CString::new(entry).context("an entry point's name with a zero in it")?;
        let stage = vk::PipelineShaderStageCreateInfo::default()
            .flags(vk::PipelineShaderStageCreateFlags::ALLOW_VARYING_SUBGROUP_SIZE)
            .stage(vk::ShaderStageFlags::COMPUTE)
            .module(module)
            .name(&name);
        let keep = Flags::CAPTURE_STATISTICS_KHR | Flags::CAPTURE_INTERNAL_REPRESENTATIONS_KHR;
        let create = [vk::ComputePipelineCreateInfo::default()
            .flags(keep)
            .stage(stage)
            .layout(layout)];
        let start = Instant::now();
        // SAFETY: module, layout and name are alive, and of this device.
        let made = unsafe {
            self.device
                .create_compute_pipelines(vk::PipelineCache::null(), &create, None)
        };
        let milliseconds = start.elapsed().as_secs_f64() * 1e3;
        let pipelines = made
            .map_err(|(_, code)| code)
            .context("the driver makes no pipeline of it")?;
        let told = self.tell(pipelines[0]);
        // SAFETY: it was never used.
        unsafe { self.device.destroy_pipeline(pipelines[0], None) };
        let (subgroup, statistics, assembly) =
            told.context("the driver does not tell what it made")?;
        Ok(Compiled {
            milliseconds,
            subgroup,
            statistics,
            assembly,
        })
    }

    fn tell(&self, pipeline: vk::Pipeline) -> Result<(u32, BTreeMap<String, u64>, String)> {
        let info = vk::PipelineInfoKHR::default().pipeline(pipeline);
        // SAFETY: the pipeline is alive, and was made to keep all of this.
        let parts = unsafe { self.executables.get_pipeline_executable_properties(&info) }?;
        let [part] = &parts[..] else {
            bail!(
                "it has {} parts, where a compute pipeline has one",
                parts.len()
            );
        };
        let info = vk::PipelineExecutableInfoKHR::default().pipeline(pipeline);
        // SAFETY: as above.
        let found = unsafe { self.executables.get_pipeline_executable_statistics(&info) }?;
        let mut statistics = BTreeMap::new();
        for one in &found {
            let name = one.name_as_c_str()?.to_string_lossy().into_owned();
            // SAFETY: `format` says which of the union's members was written.
            let value = unsafe {
                match one.format {
                    vk::PipelineExecutableStatisticFormatKHR::UINT64 => one.value.u64,
                    vk::PipelineExecutableStatisticFormatKHR::INT64 => one.value.i64.max(0) as u64,
                    vk::PipelineExecutableStatisticFormatKHR::BOOL32 => one.value.b32.into(),
                    _ => continue,
                }
            };
            statistics.insert(name, value);
        }
        Ok((part.subgroup_size, statistics, self.assembly(&info)?))
    }

    fn assembly(&self, info: &vk::PipelineExecutableInfoKHR) -> Result<String> {
        // SAFETY: the pipeline is alive, and was made to keep its texts.
        let mut texts = unsafe {
            self.executables
                .get_pipeline_executable_internal_representations(info)
        }?;
        let mut bytes: Vec<Vec<u8>> = texts.iter().map(|t| vec![0; t.data_size]).collect();
        for (text, bytes) in texts.iter_mut().zip(&mut bytes) {
            text.p_data = bytes.as_mut_ptr().cast();
        }
        let mut count = texts.len() as u32;
        let fetch = self
            .executables
            .fp()
            .get_pipeline_executable_internal_representations_khr;
        // SAFETY: `count` structures, each with memory of the size that it asked for.
        unsafe { fetch(self.device.handle(), info, &mut count, texts.as_mut_ptr()) }.result()?;
        let is_assembly = |t: &vk::PipelineExecutableInternalRepresentationKHR| {
            t.name_as_c_str() == Ok(c"Assembly")
        };
        let at = texts
            .iter()
            .position(is_assembly)
            .context("no text named Assembly")?;
        let text = bytes[at].split(|&b| b == 0).next().unwrap_or_default();
        Ok(String::from_utf8_lossy(text).into_owned())
    }
}

/// What wgrad plans for on a GPU of these limits, as it reads them through wgpu.
fn target(
    limits: &vk::PhysicalDeviceLimits,
    sizes: &vk::PhysicalDeviceSubgroupSizeControlProperties,
) -> Target {
    let [least, most] = [sizes.min_subgroup_size, sizes.max_subgroup_size];
    let buffers = limits.max_per_stage_descriptor_storage_buffers;
    Target {
        subgroup_size: (least == most && least > 1).then_some(least),
        software: false,
        workgroup_invocations: limits.max_compute_work_group_invocations,
        workgroup_bytes: limits.max_compute_shared_memory_size,
        storage_buffers: buffers.min(limits.max_descriptor_set_storage_buffers),
        binding_bytes: limits.max_storage_buffer_range.min(i32::MAX as u32).into(),
        ..Target::default()
    }
}
