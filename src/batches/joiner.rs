//! One value of the whole batch from those of its sub-batches.

use super::Joined;
use crate::error::Result;
use crate::shape::Shape;
use crate::tensor::Tensor;

/// A sum over sub-batches, in the order of the batch, in float64 and rounded to
/// float32 once, at the end.
///
/// Each sub-batch's own sum is in float32, by the fixed tree of its kernels. Adding
/// these on the host costs less than reading them back, needs no further kernel and
/// no tree: K of them in a row are within (K - 1) 2^-53 of the sum of their sizes,
/// far below float32's rounding, for any K that occurs.
#[derive(Clone, Debug)]
pub struct Sum {
    shape: Shape,
    sum: Vec<f64>,
    sizes: Vec<f64>,
    parts: usize,
}

impl Sum {
    /// A sum of nothing yet.
    pub fn new(shape: &Shape) -> Sum {
        Sum {
            shape: shape.clone(),
            sum: vec![0.0; shape.numel()],
            sizes: vec![0.0; shape.numel()],
            parts: 0,
        }
    }

    /// Adds a sub-batch's value, of the same shape.
    pub fn add(&mut self, value: &Tensor) {
        let each = self.sum.iter_mut().zip(&mut self.sizes);
        for ((sum, size), &v) in each.zip(value.data()) {
            let wide = f64::from(v);
            // A sum that begins with 0 would lose the sign of -0.
            *sum = if self.parts == 0 { wide } else { *sum + wide };
            *size += wide.abs();
        }
        self.parts += 1;
    }

    /// The sum, rounded to float32.
    ///
    /// # Errors
    /// None in practice: there is one value for each element.
    pub fn value(&self) -> Result<Tensor> {
        let rounded = self.sum.iter().map(|&v| v as f32).collect();
        Ok(Tensor::new(self.shape.dims(), rounded)?)
    }

    /// How far [`value`](Sum::value) may be from the exact sum of the float32 values
    /// that were added: half a ULP of the result, and the additions in float64.
    pub fn rounding(&self) -> impl Iterator<Item = f64> {
        let added = self.parts.saturating_sub(1) as f64 * f64::EPSILON / 2.0;
        let half_ulp = f64::from(f32::EPSILON) / 2.0;
        let least = 2f64.powi(-150);
        let each = self.sum.iter().zip(&self.sizes);
        each.map(move |(sum, size)| sum.abs() * half_ulp + size * added + least)
    }
}

/// A value of the whole batch in the making.
#[derive(Clone, Debug)]
pub enum Joiner {
    /// The first sub-batch's value, which is everyone's.
    Shared(Option<Tensor>),
    /// The values so far, and the whole shape.
    Rows(Vec<f32>, Shape),
    /// The sum so far.
    Total(Sum),
}

impl Joiner {
    /// For a value of the whole batch of this shape.
    pub fn new(joined: Joined, shape: &Shape) -> Joiner {
        match joined {
            Joined::Shared => Joiner::Shared(None),
            Joined::Rows => Joiner::Rows(Vec::with_capacity(shape.numel()), shape.clone()),
            Joined::Total => Joiner::Total(Sum::new(shape)),
        }
    }

    /// Takes in the value of the next sub-batch.
    pub fn add(&mut self, value: &Tensor) {
        match self {
            Joiner::Shared(known) => {
                known.get_or_insert_with(|| value.clone());
            }
            Joiner::Rows(rows, _) => rows.extend_from_slice(value.data()),
            Joiner::Total(sum) => sum.add(value),
        }
    }

    /// The value of the whole batch.
    ///
    /// # Errors
    /// Some sub-batch's value was not taken in.
    pub fn finish(self) -> Result<Tensor> {
        match self {
            Joiner::Shared(Some(value)) => Ok(value),
            Joiner::Shared(None) => Err(crate::Error::Graph(
                "no sub-batch ran; run one or more".to_string(),
            )),
            Joiner::Rows(rows, shape) => Ok(Tensor::new(shape.dims(), rows)?),
            Joiner::Total(sum) => sum.value(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tensor(values: &[f32]) -> Tensor {
        Tensor::new(&[values.len()], values.to_vec()).unwrap()
    }

    #[test]
    fn a_sum_is_rounded_once() {
        // In float32 each 2^-24 would be lost, one after the other.
        let mut sum = Sum::new(&Shape::new(&[1]).unwrap());
        sum.add(&tensor(&[1.0]));
        for _ in 0..1 << 12 {
            sum.add(&tensor(&[2f32.powi(-25)]));
        }
        let value = sum.value().unwrap();
        assert_eq!(value.data(), [1.0 + 2f32.powi(-13)]);
        let bound = sum.rounding().next().unwrap();
        assert!(
            bound > 2f64.powi(-25) && bound < 2f64.powi(-23),
            "{bound:e}"
        );
    }

    #[test]
    fn signs_of_zero_and_what_is_not_finite_pass_through() {
        let mut sum = Sum::new(&Shape::new(&[4]).unwrap());
        sum.add(&tensor(&[-0.0, f32::INFINITY, f32::NAN, f32::MAX]));
        sum.add(&tensor(&[-0.0, f32::NEG_INFINITY, 1.0, f32::MAX]));
        let value = sum.value().unwrap();
        assert_eq!(value.data()[0].to_bits(), (-0.0f32).to_bits());
        assert!(value.data()[1].is_nan() && value.data()[2].is_nan());
        assert_eq!(value.data()[3], f32::INFINITY);
    }

    #[test]
    fn rows_are_put_in_order() {
        let mut rows = Joiner::new(Joined::Rows, &Shape::new(&[3, 1]).unwrap());
        rows.add(&Tensor::new(&[2, 1], vec![1.0, 2.0]).unwrap());
        assert!(rows.clone().finish().is_err());
        rows.add(&Tensor::new(&[1, 1], vec![3.0]).unwrap());
        assert_eq!(rows.finish().unwrap().data(), [1.0, 2.0, 3.0]);
    }
}
