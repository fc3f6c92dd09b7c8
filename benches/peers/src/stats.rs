//! A median with what lies about it.

use serde::{Deserialize, Serialize};

/// The middle of measurements, and where four fifths of them lie.
#[derive(Clone, Copy, PartialEq, Debug, Serialize, Deserialize)]
pub struct Spread {
    /// Half of the measurements are below.
    pub median: f64,
    /// A tenth is below.
    pub p10: f64,
    /// A tenth is above.
    pub p90: f64,
}

impl Spread {
    /// Of at least one measurement; between two, the line through them counts.
    pub fn of(mut values: Vec<f64>) -> Spread {
        values.sort_by(f64::total_cmp);
        let at = |share: f64| {
            let place = share * (values.len() - 1) as f64;
            let (low, high) = (place.floor() as usize, place.ceil() as usize);
            values[low] + (values[high] - values[low]) * (place - low as f64)
        };
        Spread {
            median: at(0.5),
            p10: at(0.1),
            p90: at(0.9),
        }
    }

    /// The spread of `f` of the values; `f` may turn their order round.
    pub fn map(self, f: impl Fn(f64) -> f64) -> Spread {
        let (a, b) = (f(self.p10), f(self.p90));
        Spread {
            median: f(self.median),
            p10: a.min(b),
            p90: a.max(b),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles() {
        let spread = Spread::of((0..=10).rev().map(f64::from).collect());
        assert_eq!((spread.p10, spread.median, spread.p90), (1.0, 5.0, 9.0));
        let one = Spread::of(vec![2.0]);
        assert_eq!((one.p10, one.median, one.p90), (2.0, 2.0, 2.0));
        let turned = spread.map(|v| 1.0 / v);
        assert_eq!((turned.p10, turned.p90), (1.0 / 9.0, 1.0));
    }
}
