//! wgrad: exact, inspectable, fast gradients on any GPU, in plain WGSL.

pub mod autodiff;
pub mod error;
pub mod graph;
pub mod number;
pub mod ops;
pub mod shape;
pub mod tensor;

pub use autodiff::{gradient, vjp};
pub use error::{Error, Result};
pub use graph::{Graph, NodeId};
pub use shape::Shape;
pub use tensor::Tensor;
