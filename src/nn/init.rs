//! PyTorch's default initialisation, bit for bit: with the same seed, a
//! network starts from the weights that PyTorch would give it, so that two
//! training runs can be laid side by side.
//!
//! `torch.manual_seed(S)` seeds MT19937 with the low 32 bits of `S`, and
//! `Linear` draws its weight, row-major, then its bias, each uniformly from
//! [-b, b) with b = 1 / sqrt(in_features). (`kaiming_uniform_(a=sqrt(5))` is
//! written otherwise and gives the same float32 b for every size below 2^26.)
//! A value is made of the low 24 bits `n` of a draw: b is rounded to float32
//! first, then `n * 2^-24 * 2b - b` is computed in float64 and rounded once.

use std::collections::BTreeMap;

use rand_mt::Mt;

use super::Network;
use crate::error::{Error, Result};
use crate::tensor::Tensor;

impl Network {
    /// The weights that PyTorch gives the network after
    /// `torch.manual_seed(seed)`, by state-dict key.
    ///
    /// # Errors
    ///
    /// [`Error::Limit`] if a tensor does not fit into memory.
    pub fn init(&self, seed: u64) -> Result<BTreeMap<String, Tensor>> {
        // PyTorch keeps the low 32 bits too.
        let mut draws = Mt::new(seed as u32);
        let mut weights = BTreeMap::new();
        for part in self.parts() {
            for (key, parameter) in part.parameters() {
                let count = parameter.dims.iter().product();
                let mut values = Vec::new();
                values.try_reserve_exact(count).map_err(|_| {
                    Error::Limit(format!(
                        "{key} of shape {:?} does not fit into memory",
                        parameter.dims
                    ))
                })?;
                let bound = (1.0 / (parameter.fan_in as f64).sqrt()) as f32;
                values.extend((0..count).map(|_| uniform(&mut draws, bound)));
                weights.insert(key, Tensor::new(&parameter.dims, values)?);
            }
        }
        Ok(weights)
    }
}

/// The next value of PyTorch's `uniform_(-bound, bound)` for float32.
fn uniform(draws: &mut Mt, bound: f32) -> f32 {
    const UNIT: f64 = 1.0 / (1 << 24) as f64;
    let x = f64::from(draws.next_u32() & 0xff_ffff) * UNIT;
    // Twice a float32 is exact, as in PyTorch's `to - from`.
    (x * f64::from(bound + bound) - f64::from(bound)) as f32
}

#[cfg(test)]
mod tests {
    use super::*;
    use safetensors::SafeTensors;

    const TRUTH: &[u8] = include_bytes!("../../tests/data/init/linear_init.safetensors");

    /// The Sequential whose state dict has these shapes.
    fn stack(truth: &SafeTensors<'_>, seed: &str) -> String {
        let mut layers = Vec::new();
        for index in (0..).step_by(2) {
            let Ok(weight) = truth.tensor(&format!("{seed}.{index}.weight")) else {
                break;
            };
            let bias = truth.tensor(&format!("{seed}.{index}.bias")).is_ok();
            let bias = if bias { "True" } else { "False" };
            let (out, fan_in) = (weight.shape()[0], weight.shape()[1]);
            layers.push(format!("Linear({fan_in}, {out}, bias={bias})"));
        }
        format!("Sequential({})", layers.join(", Sigmoid(), "))
    }

    #[test]
    fn the_draws_are_pytorchs_bit_for_bit() {
        let truth = SafeTensors::deserialize(TRUTH).unwrap();
        let mut seeds: Vec<_> = truth
            .names()
            .into_iter()
            .map(|name| name.split('.').next().unwrap().to_string())
            .collect();
        seeds.sort();
        seeds.dedup();
        assert_eq!(seeds, ["seed0", "seed123456789", "seed42", "seed7"]);
        let mut checked = 0;
        for seed in seeds {
            let network = Network::parse(&stack(&truth, &seed)).unwrap();
            let weights = network.init(seed[4..].parse().unwrap()).unwrap();
            for (key, got) in &weights {
                let want = truth.tensor(&format!("{seed}.{key}")).unwrap();
                assert_eq!(got.dims(), want.shape());
                let got: Vec<u8> = got.data().iter().flat_map(|v| v.to_le_bytes()).collect();
                assert!(got == want.data(), "{seed}.{key}");
                checked += 1;
            }
        }
        assert_eq!(checked, truth.len());
    }

    #[test]
    fn only_the_low_bits_of_the_seed_count() {
        let network = Network::parse("Linear(3, 2)").unwrap();
        assert_eq!(
            network.init(5).unwrap(),
            network.init((1 << 32) + 5).unwrap()
        );
        assert_ne!(network.init(5).unwrap(), network.init(6).unwrap());
    }
}
