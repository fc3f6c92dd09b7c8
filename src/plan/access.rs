//! How a kernel reads an operand: which element belongs to which element of
//! the output. The kind is part of a kernel's text, the numbers are parameters.

use crate::ops::reduce::merge;
use crate::shape::{MAX_RANK, Shape};

/// How the element of an operand follows from the place in the output.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub(super) enum Access {
    /// Element by element: the same place.
    Same,
    /// One element for all.
    One,
    /// A row that repeats (a bias): `place % size`.
    Row(usize),
    /// An element for each row: `place / size`.
    Column(usize),
    /// By strides: (size, stride) of each axis, outermost first.
    Strided(Vec<(usize, usize)>),
}

impl Access {
    /// How a tensor of shape `from` is read as one of shape `to`; `None` if it
    /// does not broadcast to it.
    pub fn of(from: &Shape, to: &Shape) -> Option<Access> {
        let strides = from.strides_as(to)?;
        if from.numel() == to.numel() {
            return Some(Access::Same);
        }
        if from.numel() == 1 {
            return Some(Access::One);
        }
        let axes = merge(to.dims().iter().copied().zip(strides).collect());
        Some(match axes[..] {
            [(_, 0), (size, 1)] => Access::Row(size),
            [(_, 1), (size, 0)] => Access::Column(size),
            _ => Access::Strided(axes),
        })
    }

    /// Whether four neighbours of the output read four neighbours here, or one
    /// element all four, so that no place has to be found for each.
    pub fn is_wide(&self) -> bool {
        match self {
            Access::Same | Access::One => true,
            Access::Row(size) | Access::Column(size) => size % 4 == 0,
            Access::Strided(_) => false,
        }
    }

    /// A letter for a kernel's name.
    pub fn letter(&self) -> char {
        match self {
            Access::Same => 's',
            Access::One => '1',
            Access::Row(_) if self.is_wide() => 'R',
            Access::Row(_) => 'r',
            Access::Column(_) if self.is_wide() => 'C',
            Access::Column(_) => 'c',
            Access::Strided(_) => 'b',
        }
    }

    /// The parameters: single words, then words in blocks of four.
    pub fn params(&self) -> (Option<u32>, Vec<u32>) {
        let words = |values: &mut dyn Iterator<Item = usize>| {
            let mut words: Vec<u32> = values.map(|v| v as u32).collect();
            words.resize(MAX_RANK, 0);
            words
        };
        match self {
            Access::Same | Access::One => (None, Vec::new()),
            // Counted in blocks of four where it is read so.
            Access::Row(size) | Access::Column(size) if self.is_wide() => {
                (Some(*size as u32 / 4), Vec::new())
            }
            Access::Row(size) | Access::Column(size) => (Some(*size as u32), Vec::new()),
            Access::Strided(axes) => {
                let sizes = words(&mut axes.iter().map(|a| a.0));
                let strides = words(&mut axes.iter().map(|a| a.1));
                (Some(axes.len() as u32), [sizes, strides].concat())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_common_ways_to_broadcast_need_no_strides() {
        let access = |from: &[usize], to: &[usize]| {
            Access::of(&Shape::new(from).unwrap(), &Shape::new(to).unwrap())
        };
        assert_eq!(access(&[3, 5], &[3, 5]), Some(Access::Same));
        assert_eq!(access(&[5], &[1, 5]), Some(Access::Same));
        assert_eq!(access(&[1, 1], &[3, 5]), Some(Access::One));
        assert_eq!(access(&[5], &[2, 3, 5]), Some(Access::Row(5)));
        assert_eq!(access(&[3, 5], &[2, 3, 5]), Some(Access::Row(15)));
        assert_eq!(access(&[3, 1], &[3, 5]), Some(Access::Column(5)));
        assert_eq!(
            access(&[2, 3, 1, 1], &[2, 3, 4, 5]),
            Some(Access::Column(20))
        );
        assert_eq!(
            access(&[3, 1], &[2, 3, 5]),
            Some(Access::Strided(vec![(2, 0), (3, 1), (5, 0)]))
        );
        assert_eq!(access(&[3], &[5]), None);
    }
}
