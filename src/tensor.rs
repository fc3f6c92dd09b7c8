//! A host tensor: a shape and its float32 values, row-major. What goes into a
//! run and what comes out of one.

use crate::error::ShapeError;
use crate::shape::Shape;

/// Float32 values with a shape, row-major.
#[derive(Clone, PartialEq, Debug)]
pub struct Tensor {
    shape: Shape,
    data: Vec<f32>,
}

impl Tensor {
    /// A tensor of shape `dims` over `data`, which must hold exactly as many
    /// values as the shape has elements.
    pub fn new(dims: &[usize], data: Vec<f32>) -> Result<Tensor, ShapeError> {
        let shape = Shape::new(dims)?;
        if shape.numel() != data.len() {
            return Err(ShapeError::new(
                "tensor",
                format!(
                    "shape {shape} has {} elements, the data {}; give as many values as the \
                     shape has elements",
                    shape.numel(),
                    data.len()
                ),
            ));
        }
        Ok(Tensor { shape, data })
    }

    /// A scalar (rank 0).
    pub fn scalar(value: f32) -> Tensor {
        Tensor {
            shape: Shape::scalar(),
            data: vec![value],
        }
    }

    /// A tensor of `shape` with every element `value`.
    pub fn full(shape: &Shape, value: f32) -> Tensor {
        Tensor {
            shape: shape.clone(),
            data: vec![value; shape.numel()],
        }
    }

    /// The shape.
    pub fn shape(&self) -> &Shape {
        &self.shape
    }

    /// The sizes, outermost first.
    pub fn dims(&self) -> &[usize] {
        self.shape.dims()
    }

    /// The values, row-major.
    pub fn data(&self) -> &[f32] {
        &self.data
    }

    /// The values, row-major, to write to.
    pub fn data_mut(&mut self) -> &mut [f32] {
        &mut self.data
    }

    /// The values, without a copy.
    pub fn into_data(self) -> Vec<f32> {
        self.data
    }

    /// The only value of a tensor with one element (whatever its rank).
    pub fn item(&self) -> Option<f32> {
        match self.data[..] {
            [value] => Some(value),
            _ => None,
        }
    }
}
