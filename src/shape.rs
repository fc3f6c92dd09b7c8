//! Checked shape arithmetic: element counts, strides, broadcasting.
//!
//! A shape is at most [`MAX_RANK`] sizes, row-major, rank 0 for a scalar; any
//! size may be 0. The number of elements fits a `u32`, because that is what a
//! WGSL kernel can count. Both limits are checked once, in [`Shape::new`], so
//! nothing downstream can overflow.

use std::fmt;

use crate::error::ShapeError;

/// The largest rank that a tensor may have.
pub const MAX_RANK: usize = 8;

/// The sizes of a tensor, outermost first.
#[derive(Clone, PartialEq, Eq, Hash, Default)]
pub struct Shape(Vec<usize>);

impl Shape {
    /// A checked shape: rank at most [`MAX_RANK`], at most `u32::MAX` elements.
    pub fn new(dims: &[usize]) -> Result<Shape, ShapeError> {
        if dims.len() > MAX_RANK {
            return Err(ShapeError::new(
                "shape",
                format!(
                    "{dims:?} has rank {}, more than {MAX_RANK}; merge axes with a reshape",
                    dims.len()
                ),
            ));
        }
        // Sizes of zero must not hide an overflow in the others: strides and
        // grids are computed from the non-zero sizes too.
        let mut count: u64 = 1;
        for &d in dims {
            count = match count.checked_mul(d.max(1) as u64) {
                Some(c) if c <= u64::from(u32::MAX) => c,
                _ => {
                    return Err(ShapeError::new(
                        "shape",
                        format!(
                            "{dims:?} has more than 2^32 - 1 elements, the most that a kernel \
                             counts; split it into several tensors"
                        ),
                    ));
                }
            };
        }
        Ok(Shape(dims.to_vec()))
    }

    /// The shape of a scalar: rank 0, one element.
    pub fn scalar() -> Shape {
        Shape(Vec::new())
    }

    /// The sizes, outermost first.
    pub fn dims(&self) -> &[usize] {
        &self.0
    }

    /// The number of axes.
    pub fn rank(&self) -> usize {
        self.0.len()
    }

    /// The number of elements (1 for a scalar, 0 if any size is 0).
    pub fn numel(&self) -> usize {
        self.0.iter().product()
    }

    /// Row-major strides in elements.
    pub fn strides(&self) -> Vec<usize> {
        let mut strides = vec![1; self.rank()];
        for i in (1..self.rank()).rev() {
            strides[i - 1] = strides[i] * self.0[i].max(1);
        }
        strides
    }

    /// The common shape under broadcasting (PyTorch's rule: align at the last
    /// axis; sizes must be equal or 1), or `None`.
    pub fn broadcast(&self, other: &Shape) -> Option<Shape> {
        let rank = self.rank().max(other.rank());
        let mut dims = vec![0; rank];
        for (i, d) in dims.iter_mut().enumerate() {
            let a = aligned(&self.0, rank, i);
            let b = aligned(&other.0, rank, i);
            *d = match (a, b) {
                (a, b) if a == b => a,
                (1, b) => b,
                (a, 1) => a,
                _ => return None,
            };
        }
        Shape::new(&dims).ok()
    }

    /// Strides with which a tensor of this shape is read as if it had shape
    /// `to`: 0 along broadcast axes. `None` if it does not broadcast to `to`.
    pub fn strides_as(&self, to: &Shape) -> Option<Vec<usize>> {
        if self.rank() > to.rank() {
            return None;
        }
        let lead = to.rank() - self.rank();
        let own = self.strides();
        let mut strides = vec![0; to.rank()];
        for (axis, &size) in to.0.iter().enumerate().skip(lead) {
            let mine = self.0[axis - lead];
            if mine == size {
                strides[axis] = if mine == 1 { 0 } else { own[axis - lead] };
            } else if mine != 1 {
                return None;
            }
        }
        Some(strides)
    }

    /// The axes of `to` along which a tensor of this shape is repeated when it
    /// broadcasts to `to`: the added leading axes, then those of size 1 here
    /// and another size there.
    pub fn broadcast_axes(&self, to: &Shape) -> Vec<usize> {
        let lead = to.rank().saturating_sub(self.rank());
        (0..to.rank())
            .filter(|&axis| axis < lead || (self.0[axis - lead] == 1 && to.0[axis] != 1))
            .collect()
    }
}

/// Size of `dims` at `axis` once aligned at the last axis in `rank` axes.
fn aligned(dims: &[usize], rank: usize, axis: usize) -> usize {
    let lead = rank - dims.len();
    if axis < lead { 1 } else { dims[axis - lead] }
}

impl fmt::Display for Shape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "[")?;
        for (i, d) in self.0.iter().enumerate() {
            if i > 0 {
                write!(f, ", ")?;
            }
            write!(f, "{d}")?;
        }
        write!(f, "]")
    }
}

impl fmt::Debug for Shape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shape(dims: &[usize]) -> Shape {
        Shape::new(dims).unwrap()
    }

    #[test]
    fn broadcasting_follows_pytorch() {
        assert_eq!(shape(&[5, 1]).broadcast(&shape(&[3])), Some(shape(&[5, 3])));
        assert_eq!(shape(&[0]).broadcast(&shape(&[1])), Some(shape(&[0])));
        assert_eq!(shape(&[2]).broadcast(&shape(&[3])), None);
        assert_eq!(shape(&[]).broadcast(&shape(&[2, 2])), Some(shape(&[2, 2])));
        assert_eq!(
            shape(&[3, 1]).strides_as(&shape(&[2, 3, 4])),
            Some(vec![0, 1, 0])
        );
        assert_eq!(shape(&[1]).broadcast_axes(&shape(&[2, 3])), vec![0, 1]);
    }

    #[test]
    fn limits_are_checked_even_behind_a_zero() {
        assert!(Shape::new(&[0, 1 << 20, 1 << 20]).is_err());
        let error = Shape::new(&[usize::MAX, 2]).unwrap_err();
        // It may be a weight, which no batch makes smaller.
        assert!(!error.reason.contains("batch"), "{}", error.reason);
        assert!(Shape::new(&[1; 9]).is_err());
        assert!(Shape::new(&[65_536, 65_535]).is_ok());
    }
}
