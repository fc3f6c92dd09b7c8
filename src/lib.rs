//! wgrad: exact, inspectable, fast gradients on any GPU, in plain WGSL.

pub mod autodiff;
pub mod check;
pub mod error;
pub mod graph;
pub mod number;
pub mod ops;
pub mod plan;
pub mod run;
pub mod shape;
pub mod tensor;

pub use autodiff::{gradient, vjp};
pub use error::{Error, Result};
pub use graph::{Graph, NodeId};
pub use run::Feeds;
pub use run::gpu::{Gpu, GpuOptions, Program};
pub use shape::Shape;
pub use tensor::Tensor;
