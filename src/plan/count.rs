//! The steps that count, behind each op, what is not finite in its value
//! (`PlanOptions::count_nonfinite`): one pass over the value where it lies, and
//! three words for the host.

use super::wgsl::join;
use super::{KernelSource, SLICE};
use crate::error::{Error, Result};
use crate::ops::shader_lib::GRID;
use crate::tensor::Tensor;

/// Words that a count takes.
pub(super) const WORDS: usize = 3;

/// Values that a workgroup of `count_nonfinite` looks at.
pub(super) const VALUES: usize = 64 * 8 * 4;

/// Words that a workgroup of `clear` sets to 0.
pub(super) const CLEARED: usize = 64;

// A part of the buffer of counts begins where a binding may.
const _: () = assert!(WORDS <= SLICE);

/// What is not finite in one value.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Nonfinite {
    /// NaN.
    pub nan: u32,
    /// Infinities of either sign.
    pub infinite: u32,
    /// The row-major index of the first of both.
    pub first: Option<usize>,
}

impl Nonfinite {
    /// The count that a plan with [`count_nonfinite`](super::PlanOptions) has as
    /// the output of a node: three integers, in the bits of the floats.
    ///
    /// # Errors
    /// The tensor is no count.
    pub fn read(output: &Tensor) -> Result<Nonfinite> {
        let [nan, infinite, first] = output.data() else {
            return Err(Error::Graph(format!(
                "a count of shape {} has no {WORDS} words; plan with count_nonfinite",
                output.shape()
            )));
        };
        let first = first.to_bits();
        Ok(Nonfinite {
            nan: nan.to_bits(),
            infinite: infinite.to_bits(),
            first: (first > 0).then(|| (u32::MAX - first) as usize),
        })
    }

    /// The same of values in the host's memory.
    pub fn of(values: &[f32]) -> Nonfinite {
        let count = |test: fn(&&f32) -> bool| values.iter().filter(test).count() as u32;
        Nonfinite {
            nan: count(|v| v.is_nan()),
            infinite: count(|v| v.is_infinite()),
            first: values.iter().position(|v| !v.is_finite()),
        }
    }
}

/// The kernel that counts.
pub(super) fn counting() -> KernelSource {
    KernelSource {
        label: "count_nonfinite".to_string(),
        entry: "count_nonfinite".to_string(),
        source: join(&[GRID], include_str!("../../shaders/count.wgsl")),
        reads: 1,
        images: Vec::new(),
        writes: 1,
    }
}

/// The kernel that sets all counts to 0.
pub(super) fn clearing() -> KernelSource {
    KernelSource {
        label: "clear".to_string(),
        entry: "clear".to_string(),
        source: join(&[GRID], include_str!("../../shaders/clear.wgsl")),
        reads: 0,
        images: Vec::new(),
        writes: 1,
    }
}
