//! One tensor against its reference, element by element.

use crate::error::{Error, Result};
use crate::run::cpu::RefValue;
use crate::tensor::Tensor;

/// How a tensor compares with its reference.
#[derive(Clone, PartialEq, Debug)]
pub struct Comparison {
    /// The label of the node.
    pub label: String,
    /// Elements compared.
    pub elements: usize,
    /// Elements outside their bound.
    pub failures: usize,
    /// Elements for which no bound can be promised (a saturated logarithm,
    /// say); they are not failures, and they prove nothing.
    pub unbounded: usize,
    /// The largest difference, in ULPs of float32 at the reference's value.
    pub max_ulps: f64,
    /// The largest share of its bound that a difference takes; above 1 is a
    /// failure.
    pub max_share: f64,
    /// The element with the largest share.
    pub worst: Option<Worst>,
}

/// An element that differs.
#[derive(Clone, PartialEq, Debug)]
pub struct Worst {
    /// Its index.
    pub index: Vec<usize>,
    /// The value under test.
    pub got: f32,
    /// The reference.
    pub want: f64,
    /// The bound on their difference.
    pub bound: f64,
}

impl Comparison {
    /// Whether every element is within its bound.
    pub fn passed(&self) -> bool {
        self.failures == 0
    }

    /// Takes in a comparison of further elements of the same value, which begin at
    /// `first` along axis 0.
    pub fn append(&mut self, other: Comparison, first: usize) {
        self.elements += other.elements;
        self.failures += other.failures;
        self.unbounded += other.unbounded;
        self.max_ulps = self.max_ulps.max(other.max_ulps);
        let shifted = other.worst.map(|mut worst| {
            if let Some(row) = worst.index.first_mut() {
                *row += first;
            }
            worst
        });
        self.take_worst(other.max_share, shifted);
    }

    /// Takes in another comparison of the same elements: of values that they are
    /// made of, each with a bound of its own. An element is good if it is in both.
    pub fn join(&mut self, other: Comparison) {
        self.failures = self.failures.max(other.failures);
        self.unbounded = self.unbounded.max(other.unbounded);
        self.take_worst(other.max_share, other.worst);
    }

    fn take_worst(&mut self, share: f64, worst: Option<Worst>) {
        if share > self.max_share {
            self.max_share = share;
            self.worst = worst;
        }
    }
}

/// One ULP of float32 at `value`: the spacing of float32 numbers there, no
/// less than that of subnormals.
fn ulp_at(value: f64) -> f64 {
    let size = value.abs().min(f64::from(f32::MAX));
    // The field of the exponent: a logarithm would round up just below a power
    // of two.
    let exponent = ((size.to_bits() >> 52) as i32 - 1023).max(-126);
    2f64.powi(exponent - 23)
}

/// The distance of `got` from `want`, in ULPs of float32 at `want`.
pub fn ulps(got: f32, want: f64) -> f64 {
    if got.is_nan() || want.is_nan() {
        return if got.is_nan() && want.is_nan() {
            0.0
        } else {
            f64::INFINITY
        };
    }
    if f64::from(got) == want || (got.is_infinite() && got == want as f32) {
        return 0.0;
    }
    (f64::from(got) - want).abs() / ulp_at(want)
}

/// What share of its bound a difference takes.
fn share(got: f32, want: f64, bound: f64) -> f64 {
    if want.is_nan() || got.is_nan() {
        return if want.is_nan() && got.is_nan() {
            0.0
        } else {
            f64::INFINITY
        };
    }
    let difference = if got.is_infinite() {
        // Beyond the largest float32, infinity is the right answer; below it,
        // only if the bound reaches there.
        let edge = f64::from(f32::MAX).copysign(f64::from(got));
        if got.is_sign_positive() == (want >= 0.0) {
            (edge.abs() - want.abs()).max(0.0)
        } else {
            return f64::INFINITY;
        }
    } else if want.abs() > f64::from(f32::MAX) {
        let edge = f64::from(f32::MAX).copysign(want);
        (f64::from(got) - edge).abs()
    } else {
        (f64::from(got) - want).abs()
    };
    if difference == 0.0 {
        0.0
    } else if bound > 0.0 {
        difference / bound
    } else {
        f64::INFINITY
    }
}

/// Compares `got` with its reference. An element passes if it lies within the
/// reference's bound; NaN must meet NaN.
///
/// # Errors
/// The shapes differ.
pub fn compare(label: &str, got: &Tensor, want: &RefValue) -> Result<Comparison> {
    if got.dims() != want.value.shape() {
        return Err(Error::Graph(format!(
            "`{label}`: shape {} against a reference of shape {:?}; compare values of one node",
            got.shape(),
            want.value.shape()
        )));
    }
    let mut result = Comparison {
        label: label.to_string(),
        elements: got.data().len(),
        failures: 0,
        unbounded: 0,
        max_ulps: 0.0,
        max_share: 0.0,
        worst: None,
    };
    let pairs = want.value.indexed_iter().zip(want.error.iter());
    for (&got, ((index, &want), &bound)) in got.data().iter().zip(pairs) {
        result.max_ulps = result.max_ulps.max(ulps(got, want));
        let open = !bound.is_finite();
        let share = if open && !got.is_nan() {
            result.unbounded += usize::from(!want.is_nan());
            if want.is_nan() { f64::INFINITY } else { 0.0 }
        } else {
            share(got, want, bound)
        };
        if share > 1.0 {
            result.failures += 1;
        }
        if share > result.max_share {
            result.max_share = share;
            result.worst = Some(Worst {
                index: ndarray::Dimension::slice(&index).to_vec(),
                got,
                want,
                bound,
            });
        }
    }
    Ok(result)
}

#[cfg(test)]
mod tests {
    use super::*;
    use ndarray::arr1;

    fn reference(values: &[f64], bound: f64) -> RefValue {
        let value = arr1(values).into_dyn();
        let error = value.mapv(|_| bound);
        RefValue { value, error }
    }

    #[test]
    fn ulps_are_counted_at_the_reference() {
        assert_eq!(ulps(1.0 + f32::EPSILON, 1.0), 1.0);
        assert_eq!(ulps(f32::from_bits(3), f64::from(f32::from_bits(1))), 2.0);
        assert_eq!(ulps(f32::NAN, f64::NAN), 0.0);
        assert_eq!(ulps(0.0, f64::NAN), f64::INFINITY);
        assert_eq!(ulps(f32::INFINITY, 1e300), 0.0);
    }

    #[test]
    fn bounds_decide() {
        let got = Tensor::new(&[3], vec![1.0, 2.0, 3.1]).unwrap();
        let c = compare("x", &got, &reference(&[1.0, 2.05, 3.0], 0.06)).unwrap();
        assert_eq!((c.failures, c.elements), (1, 3));
        assert_eq!(c.worst.unwrap().index, vec![2]);
    }

    #[test]
    fn nan_and_infinity_must_match() {
        for (got, want, passes) in [
            (f32::NAN, f64::NAN, true),
            (0.0, f64::NAN, false),
            (f32::NAN, 0.0, false),
            (f32::INFINITY, 1e39, true),
            (f32::INFINITY, -1e39, false),
            (f32::MAX, 1e39, true),
            (1.0, 1e39, false),
            (f32::INFINITY, 1.0, false),
            (f32::INFINITY, f64::INFINITY, true),
        ] {
            let tensor = Tensor::new(&[1], vec![got]).unwrap();
            let c = compare("x", &tensor, &reference(&[want], 1e-3)).unwrap();
            assert_eq!(c.passed(), passes, "{got} against {want}");
        }
    }

    #[test]
    fn comparisons_of_rows_are_put_together() {
        let of = |values: &[f32], want: &[f64]| {
            let got = Tensor::new(&[values.len()], values.to_vec()).unwrap();
            compare("x", &got, &reference(want, 0.1)).unwrap()
        };
        let mut all = of(&[1.0, 2.05], &[1.0, 2.0]);
        all.append(of(&[3.0, 4.0, 5.5], &[3.0, 4.0, 5.0]), 2);
        assert_eq!((all.elements, all.failures), (5, 1));
        assert_eq!(all.worst.clone().unwrap().index, [4]);
        // A part that is wrong is not made good by the sum.
        let mut sum = of(&[6.0], &[6.0]);
        sum.join(of(&[1.5], &[1.0]));
        sum.join(of(&[4.5], &[5.0]));
        assert_eq!((sum.elements, sum.failures), (1, 1));
        assert!(sum.max_share > 1.0 && !sum.passed());
    }

    #[test]
    fn what_has_no_bound_is_counted() {
        let got = Tensor::new(&[1], vec![5.0]).unwrap();
        let c = compare("x", &got, &reference(&[1.0], f64::INFINITY)).unwrap();
        assert_eq!((c.failures, c.unbounded), (0, 1));
    }
}
