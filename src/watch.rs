//! How long something takes, for the log.

use std::fmt;
#[cfg(not(target_arch = "wasm32"))]
use std::time::Instant;

/// Runs from when it was made. In a browser, where the standard library has no clock, it
/// shows nothing but that.
#[derive(Clone, Copy)]
pub(crate) struct Watch {
    #[cfg(not(target_arch = "wasm32"))]
    begun: Instant,
}

impl Watch {
    pub(crate) fn start() -> Watch {
        Watch {
            #[cfg(not(target_arch = "wasm32"))]
            begun: Instant::now(),
        }
    }
}

impl fmt::Display for Watch {
    #[cfg(not(target_arch = "wasm32"))]
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.begun.elapsed().as_secs_f64() {
            s if s >= 1.0 => write!(f, "{s:.2} s"),
            s => write!(f, "{:.2} ms", s * 1e3),
        }
    }

    #[cfg(target_arch = "wasm32")]
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a time unknown")
    }
}
