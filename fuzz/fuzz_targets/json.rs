//! The JSON that wgrad reads: an earlier benchmark, and the kernels that were
//! chosen for an adapter.

#![no_main]

use std::path::Path;

use libfuzzer_sys::fuzz_target;
use wgrad::bench::baseline::Baseline;
use wgrad::run::gpu::{AdapterDescription, Backend, DeviceKind};
use wgrad::tune::Tuned;

fuzz_target!(|bytes: &[u8]| {
    if let Ok(baseline) = Baseline::read_slice(bytes, Path::new("b.json")) {
        for step in baseline.results.iter().filter_map(|row| row.step_s) {
            assert!(0.0 < step.p10 && step.p10 <= step.median && step.median <= step.p90);
        }
    }
    let adapter = AdapterDescription {
        index: 0,
        name: "a card".to_string(),
        kind: DeviceKind::Discrete,
        backend: Backend::Vulkan,
        driver: "driver 1".to_string(),
        max_binding: 1,
        max_buffer: 1,
        max_invocations: 1,
        workgroup_memory: 1,
    };
    let _ = Tuned::from_json(bytes, &adapter);
});
