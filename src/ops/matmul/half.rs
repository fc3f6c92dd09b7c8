//! Operands that are rounded to float16: the definition in float64, and how far a
//! rounded operand may be off when the operand itself is.

use ndarray::{ArrayD, ArrayViewD, Zip};

use crate::graph::{Bounded, Precision};

/// The smallest float16 that is not subnormal, 2^-14; below it a step is 2^-24.
const LEAST_NORMAL: f64 = 1.0 / 16_384.0;
/// From here on the nearest float16 is infinity: halfway from 65504, the largest, to
/// 65536. (The tie goes up: the last bit of 65504 is odd.)
const OVERFLOW: f64 = 65_520.0;

/// The float16 that is nearest to `v`; of two the one whose last bit is 0. Exact:
/// it scales by powers of two alone, and rounds once. (The crate `half` goes from
/// float64 by way of float32 or drops bits, which rounds twice.)
pub(super) fn round(v: f64) -> f64 {
    let size = v.abs();
    if size >= OVERFLOW {
        return f64::INFINITY.copysign(v);
    }
    if size.is_nan() || size == 0.0 {
        return v;
    }
    // The last of 11 bits at this size.
    let exponent = ((size.max(LEAST_NORMAL).to_bits() >> 52) as i32) - 1023;
    let step = 2f64.powi(exponent - 10);
    ((size / step).round_ties_even() * step).copysign(v)
}

/// An operand as a product of this precision takes it.
pub(super) fn taken(precision: Precision, operand: &ArrayViewD<'_, f64>) -> ArrayD<f64> {
    match precision {
        Precision::F32 => operand.to_owned(),
        Precision::F16 | Precision::F16Units => operand.mapv(round),
    }
}

/// How far the taken operand may be off. Rounding is monotone, so what lies within
/// `e` of `v` is rounded to something between the rounded ends of that interval.
pub(super) fn error(precision: Precision, operand: &Bounded<'_>) -> ArrayD<f64> {
    let mut error = operand.error.to_owned();
    if precision == Precision::F32 {
        return error;
    }
    Zip::from(&mut error).and(&operand.value).for_each(|e, &v| {
        let at = round(v);
        if *e != 0.0 {
            // The ends are computed in float64, outward by more than that rounds.
            let far = *e + (v.abs() + *e) * 2f64.powi(-50);
            let (low, high) = (round(v - far), round(v + far));
            *e = if low == high {
                0.0
            } else {
                (high - at).max(at - low)
            };
        }
        // A matrix unit may read a subnormal float16 as 0.
        if precision == Precision::F16Units && at.abs() < LEAST_NORMAL {
            *e += at.abs();
        }
    });
    error
}

#[cfg(test)]
mod tests {
    use super::*;
    use half::f16;

    /// Every float16, the midpoint after each, and its neighbours in float32.
    #[test]
    fn rounding_is_that_of_half_at_every_midpoint() {
        for bits in 0..=0x7c00u16 {
            let at = f16::from_bits(bits);
            let exact = f64::from(at.to_f32());
            assert_eq!(round(exact), exact);
            if bits >= 0x7bff {
                continue; // 65504 and infinity: the next test
            }
            let next = f64::from(f16::from_bits(bits + 1).to_f32());
            let middle = f64::midpoint(exact, next);
            let even = if bits % 2 == 0 { exact } else { next };
            assert_eq!(round(middle), even);
            assert_eq!(round(-middle), -even);
            // One float64 step beside it: what a rounding by way of float32 loses.
            assert_eq!(round(middle.next_down()), exact);
            assert_eq!(round(middle.next_up()), next);
            for v in [middle as f32, (middle as f32).next_up()] {
                assert_eq!(round(f64::from(v)), f64::from(f16::from_f32(v).to_f32()));
            }
        }
    }

    #[test]
    fn rounding_overflows_and_keeps_signs_and_nan() {
        assert_eq!(round(65_519.999), 65_504.0);
        assert_eq!(round(65_520.0), f64::INFINITY);
        assert_eq!(round(-1e30), f64::NEG_INFINITY);
        assert_eq!(round(f64::NEG_INFINITY), f64::NEG_INFINITY);
        assert!(round(f64::NAN).is_nan());
        assert!(round(-0.0).is_sign_negative() && round(-1e-9).is_sign_negative());
        assert_eq!(round(1e-9), 0.0);
    }

    #[test]
    fn random_floats_round_as_in_half() {
        let mut draws = rand_mt::Mt::new(5);
        for _ in 0..1_000_000 {
            let v = f32::from_bits(draws.next_u32());
            let want = f64::from(f16::from_f32(v).to_f32());
            let got = round(f64::from(v));
            assert!(got == want || got.is_nan() && want.is_nan(), "{v:e}");
        }
    }

    #[test]
    fn an_uncertain_operand_may_fall_on_either_side_of_a_midpoint() {
        let spread = |v: f64, e: f64, precision| {
            let value = ndarray::arr1(&[v]).into_dyn();
            let bound = ndarray::arr1(&[e]).into_dyn();
            let operand = Bounded {
                value: value.view(),
                error: bound.view(),
            };
            error(precision, &operand)[[0]]
        };
        let step = 2f64.powi(-10);
        let middle = 1.0 + step / 2.0;
        assert_eq!(spread(1.0 + step / 4.0, step / 8.0, Precision::F16), 0.0);
        assert_eq!(spread(middle, 0.0, Precision::F16), 0.0);
        assert_eq!(spread(middle, 1e-12, Precision::F16), step);
        assert_eq!(spread(1.0, 3.0 * step, Precision::F16), 3.0 * step);
        assert_eq!(spread(65_519.0, 2.0, Precision::F16), f64::INFINITY);
        assert_eq!(spread(1e6, 2.0, Precision::F16), 0.0);
        let tiny = 2f64.powi(-20);
        assert_eq!(spread(tiny, 0.0, Precision::F16), 0.0);
        assert_eq!(spread(tiny, 0.0, Precision::F16Units), tiny);
        assert_eq!(spread(1.0, 0.25, Precision::F32), 0.25);
    }
}
