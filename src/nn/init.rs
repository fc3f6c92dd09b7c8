//! PyTorch's default initial weights, bit for bit, so that a seed means the
//! same here and there: MT19937 (Matsumoto and Nishimura, 1998) seeded with the
//! low 32 bits of the seed, 24 bits a draw, uniform in +-1 / sqrt(fan_in).

use rand_mt::Mt;

/// PyTorch's generator after `torch.manual_seed(seed)`.
pub struct Generator {
    bits: Mt,
}

impl Generator {
    /// Seeds it; PyTorch uses the low 32 bits.
    pub fn new(seed: u64) -> Generator {
        Generator {
            bits: Mt::new(seed as u32),
        }
    }

    /// `count` values, uniform in +-1 / sqrt(fan_in), in PyTorch's arithmetic.
    pub fn uniform(&mut self, fan_in: usize, count: usize) -> Vec<f32> {
        // The bound is a Python float; `uniform_` takes both ends to float32.
        let bound = (1.0 / (fan_in as f64).sqrt()) as f32;
        let draw = |bits: u32| (bits & 0x00ff_ffff) as f32 * (1.0 / 16_777_216.0);
        // Rounded once, as PyTorch's compiled loop does it.
        (0..count)
            .map(|_| draw(self.bits.next_u32()).mul_add(2.0 * bound, -bound))
            .collect()
    }
}
