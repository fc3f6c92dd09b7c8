//! How a product of matrices takes its operands: a part of what is computed, and
//! so of an op's identity.

use std::fmt;
use std::str::FromStr;

/// How products of matrices take their operands and add.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub enum Precision {
    /// Float32 operands, and sums in float32.
    #[default]
    F32,
    /// Each element of an operand is rounded to float16 first (to nearest, ties to
    /// even; infinite from 65520 on). Products are exact, and added in float32.
    F16,
    /// The same values as [`F16`](Precision::F16), and an adapter's matrix units may
    /// add them up, in an order of their own and with truncation: the bound on the
    /// error of a sum is wider (docs/NUMERICS.md).
    F16Units,
}

impl Precision {
    /// Whether operands are rounded to float16.
    pub fn is_half(self) -> bool {
        self != Precision::F32
    }

    /// What a report says about products of this precision.
    pub fn describe(self) -> &'static str {
        match self {
            Precision::F32 => "operands and sums in float32",
            Precision::F16 => {
                "operands rounded to float16, sums in float32; compared with that definition"
            }
            Precision::F16Units => {
                "operands rounded to float16, sums in float32, by the adapter's matrix units where \
                 they fit (wider bounds); compared with that definition"
            }
        }
    }
}

/// `f32`, `f16`, `f16,units`: as in the names of ops.
impl fmt::Display for Precision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Precision::F32 => "f32",
            Precision::F16 => "f16",
            Precision::F16Units => "f16,units",
        })
    }
}

/// What a user may ask for; whether an adapter's matrix units take part is the
/// adapter's affair.
impl FromStr for Precision {
    type Err = String;

    fn from_str(text: &str) -> Result<Precision, String> {
        match text {
            "f32" => Ok(Precision::F32),
            "f16" => Ok(Precision::F16),
            _ => Err("products of matrices are in f32 or f16".to_string()),
        }
    }
}
