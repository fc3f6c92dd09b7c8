//! What is promised of each elementary function of `shaders/lib/`:
//! docs/NUMERICS.md has the same figures (tested).

use crate::ops::shader_lib::{EXP, FLOAT, LOG, SIGMOID, TARGET};

/// One function of the library and all that is known about it.
pub struct Function {
    /// Its name.
    pub name: &'static str,
    /// Its name in WGSL.
    pub wgsl: &'static str,
    /// Promised: no result is further than this many ULP from the exact one.
    pub bound: f64,
    /// The definition.
    pub exact: fn(f64) -> f64,
    /// Inputs near which every float is tried: roots, poles, branch points, over-
    /// and underflow.
    pub hard_spots: &'static [f32],
    /// Results that are exact by definition, both sides as bits.
    pub special: &'static [(u32, u32)],
}

/// The WGSL of all of them.
pub fn source() -> String {
    [FLOAT, TARGET, EXP, LOG, SIGMOID].concat()
}

const NAN: u32 = 0x7fc0_0000;
const INF: u32 = 0x7f80_0000;
const NEG_INF: u32 = 0xff80_0000;
const ZERO: u32 = 0;
const NEG_ZERO: u32 = 0x8000_0000;
const ONE: u32 = 0x3f80_0000;

/// The functions.
pub static FUNCTIONS: [Function; 5] = [
    Function {
        name: "exp",
        wgsl: "exp_f32",
        bound: 1.0,
        exact: f64::exp,
        hard_spots: &[
            0.0, -0.0, 0.34657, -0.34657, 1.0397, 1.0, -1.0, 88.7228, -87.3365, -88.0, -95.0,
            -103.0, -103.9721, -104.0, 89.0,
        ],
        special: &[
            (ZERO, ONE),
            (NEG_ZERO, ONE),
            (1, ONE),
            (INF, INF),
            (NEG_INF, ZERO),
            (0x42b1_7218, INF),         // the first float above ln(f32::MAX)
            (0x42b1_7217, 0x7f7f_ff84), // ln(f32::MAX), rounded down
            (0xc2cf_f1b4, 1),           // -103.97208: the last to give 2^-149
            (0xc2cf_f1b5, ZERO),
            (0x7f7f_ffff, INF),
            (0xff7f_ffff, ZERO),
        ],
    },
    Function {
        name: "log",
        wgsl: "log_f32",
        bound: 1.0,
        exact: f64::ln,
        hard_spots: &[
            0.0,
            1e-44,
            1e-40,
            1.175_494_4e-38,
            1.0,
            0.75,
            1.5,
            0.5,
            2.0,
            3.0,
            0.375,
            3.4e38,
        ],
        special: &[
            (ONE, ZERO),
            (ZERO, NEG_INF),
            (NEG_ZERO, NEG_INF),
            (0x8000_0001, NAN),
            (0xbf80_0000, NAN),
            (NEG_INF, NAN),
            (INF, INF),
        ],
    },
    Function {
        name: "log1p",
        wgsl: "log1p_f32",
        bound: 1.0,
        exact: f64::ln_1p,
        hard_spots: &[
            0.0,
            -0.0,
            2.98e-8,
            -2.98e-8,
            0.5,
            -0.25,
            2.0,
            5.0,
            -0.625,
            -0.8125,
            -0.999,
            -1.0,
            8388608.0,
            1.6777216e7,
            3.3554432e7,
            3.4e38,
        ],
        special: &[
            (ZERO, ZERO),
            (NEG_ZERO, NEG_ZERO),
            (1, 1),
            (0x8000_0001, 0x8000_0001),
            (0xbf80_0000, NEG_INF),
            (0xbf80_0001, NAN),
            (NEG_INF, NAN),
            (INF, INF),
        ],
    },
    Function {
        name: "sigmoid",
        wgsl: "sigmoid_f32",
        bound: 2.5,
        exact: crate::ops::sigmoid::sigmoid,
        hard_spots: &[
            0.0, -0.0, 0.3466, -0.3466, 2.0, -2.0, -17.0, 17.0, -20.79, -87.3365, -88.8, -103.9721,
        ],
        special: &[
            (ZERO, 0x3f00_0000),
            (NEG_ZERO, 0x3f00_0000),
            (INF, ONE),
            (0x4448_0000, ONE), // 800
            (NEG_INF, ZERO),
            (0xc448_0000, ZERO),
        ],
    },
    Function {
        name: "softplus_neg_abs",
        wgsl: "softplus_neg_abs",
        bound: 2.0,
        exact: |x| (-x.abs()).exp().ln_1p(),
        hard_spots: &[
            0.0, -0.0, 0.3466, 0.69, -1.3863, 17.0, -17.33, 87.3365, -95.0, 103.9721,
        ],
        special: &[
            (INF, ZERO),
            (NEG_INF, ZERO),
            (ZERO, 0x3f31_7218), // ln 2
            (NEG_ZERO, 0x3f31_7218),
        ],
    },
];

/// NaNs of either sign, quiet and signalling: each function must answer each with a NaN.
pub static NANS: [u32; 5] = [NAN, 0xffc0_0000, 0x7f80_0001, 0xff80_0001, 0x7fff_ffff];
