//! Values to try an op on: random ones, those at the edges of its domain, and
//! sums whose first term swamps the others.

use crate::error::Result;
use crate::graph::Sample;
use crate::run::Feeds;
use crate::tensor::Tensor;

/// A small random generator (xorshift64*), so that every card is of the same
/// values.
pub(super) struct Random(u64);

impl Random {
    pub fn new(seed: u64) -> Random {
        Random(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    /// A value in [low, high).
    fn value(&mut self, (low, high): (f32, f32)) -> f32 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        let bits = self.0.wrapping_mul(0x2545_f491_4f6c_dd1d);
        let unit = (bits >> 40) as f32 / (1u64 << 24) as f32;
        low + (high - low) * unit
    }

    pub fn tensor(&mut self, dims: &[usize], range: (f32, f32)) -> Result<Tensor> {
        let count = dims.iter().product();
        let data = (0..count).map(|_| self.value(range)).collect();
        Ok(Tensor::new(dims, data)?)
    }
}

/// What to fill an op's leaves with.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Filling {
    /// Random values from the sample's ranges.
    Random,
    /// Each leaf goes round its edges at its own pace, so that the edges meet in
    /// all combinations.
    Edges,
    /// Ones at the start of the longest axis, and less than half a ULP of one
    /// everywhere else: an order of adding that is too deep loses them. Further
    /// operands are ones.
    Swamped,
}

/// Just below half a ULP of 1.
const SWAMPED: f32 = 0.98 / (1 << 24) as f32;

impl Filling {
    pub fn name(self) -> &'static str {
        match self {
            Filling::Random => "random values",
            Filling::Edges => "values at the edges of the domain",
            Filling::Swamped => "a one and many small terms",
        }
    }

    /// Values for the leaves `x0`, `x1`, ...
    pub fn feeds(self, sample: &Sample, random: &mut Random) -> Result<Feeds> {
        let mut feeds = Feeds::new();
        let mut pace = 1;
        for (i, dims) in sample.shapes.iter().enumerate() {
            let count: usize = dims.iter().product();
            let value = match self {
                Filling::Random => random.tensor(dims, sample.ranges[i])?,
                Filling::Edges => {
                    let list = &sample.edges[i];
                    let data = (0..count).map(|k| list[(k / pace) % list.len()]).collect();
                    pace *= list.len();
                    Tensor::new(dims, data)?
                }
                Filling::Swamped if i == 0 => swamped(dims)?,
                Filling::Swamped => Tensor::new(dims, vec![1.0; count])?,
            };
            feeds.insert(format!("x{i}"), value);
        }
        Ok(feeds)
    }
}

fn swamped(dims: &[usize]) -> Result<Tensor> {
    // The stride and size of the longest axis; a scalar is its own start.
    let longest = (0..dims.len()).max_by_key(|&axis| dims[axis]).unwrap_or(0);
    let size = dims.get(longest).copied().unwrap_or(1).max(1);
    let stride: usize = dims.iter().skip(longest + 1).product();
    let count: usize = dims.iter().product();
    let start = |k: usize| (k / stride.max(1)).is_multiple_of(size);
    let data = (0..count).map(|k| if start(k) { 1.0 } else { SWAMPED });
    Ok(Tensor::new(dims, data.collect())?)
}
