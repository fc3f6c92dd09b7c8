//! Which of several kernels to take, from their times. Machines are noisy, and
//! a default that is kept for no reason costs little: it is left only for a
//! kernel that is surely faster.

/// How much faster than the default a kernel must be, as a share of the
/// default's time.
pub const MARGIN: f64 = 0.05;

/// In which share of the rounds it must be faster, too.
const ROUNDS: f64 = 0.8;

/// The one to take of kernels that each had a turn in every round, the default
/// first: `rounds[kernel][round]` in seconds. `None` if there is none.
pub fn pick(rounds: &[Vec<f64>]) -> Option<usize> {
    let default = rounds.first()?;
    let mut best = (0, 1.0 - MARGIN);
    for (i, times) in rounds.iter().enumerate().skip(1) {
        let faster = times.iter().zip(default).filter(|(t, d)| t < d).count();
        let ratio = ratio(times, default);
        if ratio < best.1 && faster as f64 >= ROUNDS * times.len() as f64 {
            best = (i, ratio);
        }
    }
    Some(best.0)
}

/// The time of a kernel as a share of the default's, by rounds: what slows the
/// machine down slows both.
pub(super) fn ratio(times: &[f64], default: &[f64]) -> f64 {
    let ratios: Vec<f64> = times.iter().zip(default).map(|(t, d)| t / d).collect();
    median(&ratios)
}

/// The middle one; NaN of nothing.
pub(super) fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted.get(sorted.len() / 2).copied().unwrap_or(f64::NAN)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_surely_faster_is_taken() {
        let of = |rounds: &[&[f64]]| {
            let rounds: Vec<_> = rounds.iter().map(|r| r.to_vec()).collect();
            pick(&rounds)
        };
        assert_eq!(of(&[]), None);
        assert_eq!(of(&[&[1.0, 1.0]]), Some(0));
        assert_eq!(of(&[&[1.0; 4], &[0.96; 4]]), Some(0), "within the margin");
        assert_eq!(of(&[&[1.0; 4], &[0.94; 4], &[0.90; 4]]), Some(2));
        assert_eq!(of(&[&[1.0; 4], &[2.0; 4]]), Some(0));
        // The machine slowed down for a while.
        assert_eq!(of(&[&[1.0, 1.0, 9.0, 9.0], &[0.8, 0.8, 7.0, 7.0]]), Some(1));
        // Faster by the median, and not every time.
        let noisy = [0.5, 2.0, 0.5, 2.0, 0.5, 0.5];
        assert_eq!(of(&[&[1.0; 6], &noisy]), Some(0));
        // Times that mean nothing choose nothing.
        assert_eq!(of(&[&[1.0; 3], &[f64::NAN; 3]]), Some(0));
        assert_eq!(of(&[&[0.0; 3], &[0.0; 3]]), Some(0));
        assert_eq!(of(&[&[], &[]]), Some(0));
    }
}
