//! The GPU engine, and the only place that speaks to wgpu. An adapter is
//! chosen by our own rules ([`Selection`]), a [`Gpu`] is opened on it, and a
//! [`Program`] is a plan with everything built: pipelines, bind groups and
//! buffers, so that a run is one submission and allocates nothing.
//!
//! What waits is `async`; the blocking twins are for programs without an
//! executor.

mod adapter;
mod clock;
mod device;
mod image;
mod memory;
#[cfg(not(target_arch = "wasm32"))]
mod pipeline_cache;
mod pipelines;
mod program;
mod signal;
mod waiting;

pub use adapter::{AdapterDescription, Adapters, Backend, DeviceKind, Selection};
pub use clock::Timing;
#[doc(hidden)]
pub use device::Fault;
pub use device::{Gpu, GpuOptions, Stats};
pub(crate) use memory::{batch_that_fits, needed};
pub use program::{Outputs, Program};
#[cfg(not(target_arch = "wasm32"))]
pub use program::{Phase, Span, Task, Timeline};
