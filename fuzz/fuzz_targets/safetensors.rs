//! safetensors: reading, and making float32 of what was read.

#![no_main]

use std::path::Path;

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    if let Ok(file) = wgrad::io::read_slice(bytes, Path::new("x.safetensors")) {
        for stored in &file.tensors {
            let _ = stored.to_tensor();
        }
    }
});
