//! wgrad: exact, inspectable, fast gradients on any GPU, in plain WGSL.

pub mod error;
pub mod shape;
pub mod tensor;

pub use error::{Error, Result};
pub use shape::Shape;
pub use tensor::Tensor;
