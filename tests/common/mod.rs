//! What the GPU tests share: one device for all, and random values.

#![allow(dead_code)] // each test file uses a part

use std::sync::OnceLock;

use wgrad::{Gpu, Tensor};

/// The device under test. Without one the tests fail: what is not run is not
/// tested.
pub fn gpu() -> &'static Gpu {
    static GPU: OnceLock<Gpu> = OnceLock::new();
    GPU.get_or_init(|| match Gpu::new() {
        Ok(gpu) => {
            eprintln!("adapter under test: {}", gpu.adapter());
            gpu
        }
        Err(error) => panic!("the GPU tests need an adapter: {error}"),
    })
}

/// A small random generator (xorshift64*), so that runs repeat.
pub struct Random(u64);

impl Random {
    pub fn new(seed: u64) -> Random {
        Random(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    pub fn bits(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    /// The toss of a coin.
    pub fn flag(&mut self) -> bool {
        self.bits() >> 63 == 1
    }

    /// A value in [low, high).
    pub fn value(&mut self, (low, high): (f32, f32)) -> f32 {
        let unit = (self.bits() >> 40) as f32 / (1u64 << 24) as f32;
        low + (high - low) * unit
    }

    pub fn tensor(&mut self, dims: &[usize], range: (f32, f32)) -> Tensor {
        let count = dims.iter().product();
        let data = (0..count).map(|_| self.value(range)).collect();
        Tensor::new(dims, data).unwrap()
    }
}

/// The path of a program that a test needs and Debian has as `package`. Without it
/// the test is left out, which is said and counted; with WGRAD_ALL_TOOLS set, as in
/// CI, that is a failure.
pub fn tool(name: &str, package: &str, test: &str) -> Option<std::path::PathBuf> {
    use std::sync::atomic::{AtomicUsize, Ordering};
    static SKIPPED: AtomicUsize = AtomicUsize::new(0);
    let path = std::env::var_os("PATH").unwrap_or_default();
    let found = std::env::split_paths(&path)
        .map(|folder| folder.join(name))
        .find(|file| file.is_file());
    if found.is_none() {
        let count = SKIPPED.fetch_add(1, Ordering::Relaxed) + 1;
        let words = format!("SKIPPED ({count}): {test} needs `{name}` (apt-get install {package})");
        assert!(std::env::var_os("WGRAD_ALL_TOOLS").is_none(), "{words}");
        eprintln!("{words}");
    }
    found
}
