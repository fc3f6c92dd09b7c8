//! What rounded operands cost: how far the values of a network with products in
//! float16 are from the exact ones of the same network. No bound decides here; it is
//! told, so that nobody takes the one for the other.

use ndarray::ArrayD;

use crate::error::Result;
use crate::graph::{Graph, NodeId, Precision};
use crate::number;
use crate::run::Feeds;
use crate::run::cpu;
use crate::tensor::Tensor;

/// What is said of a network with rounded products.
#[derive(Clone, PartialEq, Debug)]
pub struct Rounding {
    /// That of its products.
    pub precision: Precision,
    /// Products of matrices in the graph; where there are none, nothing is rounded.
    pub products: usize,
    /// How far each value is from the exact one; empty where `unknown` says why.
    pub gaps: Vec<Gap>,
    /// Why that is not known.
    pub unknown: Option<String>,
}

/// How far one tensor is from the exact one.
#[derive(Clone, PartialEq, Debug)]
pub struct Gap {
    /// The tensor's public name.
    pub name: String,
    /// The largest difference of an element.
    pub difference: f64,
    /// The largest size of an exact element.
    pub largest: f64,
}

impl Rounding {
    /// With no gaps yet.
    pub fn new(graph: &Graph, precision: Precision) -> Rounding {
        let ops = graph.nodes().filter_map(|(_, node)| node.op());
        Rounding {
            precision,
            products: ops.filter(|op| op.name() == "matmul").count(),
            gaps: Vec::new(),
            unknown: None,
        }
    }

    /// All that is to be said, in a sentence.
    pub fn sentence(&self) -> String {
        let precision = self.precision.describe();
        let cost = match (self.products, &self.unknown, self.worst()) {
            (0, ..) => "there is none here: nothing is rounded".to_string(),
            (_, Some(reason), _) => format!("how far from exact products is not known: {reason}"),
            (_, None, None) => "nothing was held against exact products".to_string(),
            (_, None, Some(gap)) => format!(
                "from exact products the loss and the gradients differ by at most {} of a \
                 tensor's largest value (`{}`)",
                number::share(gap.share()),
                gap.name
            ),
        };
        format!("matrix products: {precision}; {cost}")
    }

    /// The gap that is the largest share of its tensor; NaN counts as the largest.
    pub fn worst(&self) -> Option<&Gap> {
        let order = |gap: &&Gap| match gap.share() {
            share if share.is_nan() => f64::INFINITY,
            share => share,
        };
        let all = self.gaps.iter();
        all.max_by(|a, b| order(a).total_cmp(&order(b)))
    }
}

impl Gap {
    /// The gap between a tensor and the exact one.
    pub fn between(name: &str, got: &Tensor, exact: &ArrayD<f64>) -> Gap {
        let pairs = got.data().iter().zip(exact);
        // A maximum that does not lose NaN. Infinities that are the same differ by 0.
        let most = |most: f64, v: f64| if most.is_nan() || v <= most { most } else { v };
        let difference = pairs.map(|(&got, &exact)| match f64::from(got) {
            got if got == exact => 0.0,
            got => (got - exact).abs(),
        });
        Gap {
            name: name.to_string(),
            difference: difference.fold(0.0, most),
            largest: exact.iter().map(|v| v.abs()).fold(0.0, most),
        }
    }

    /// The difference as a share of the largest exact value.
    pub fn share(&self) -> f64 {
        match self.difference == 0.0 {
            true => 0.0,
            false => self.difference / self.largest,
        }
    }

    /// The larger share of two of the same name.
    #[must_use]
    pub fn or_larger(self, other: Gap) -> Gap {
        match other.share() > self.share() || other.share().is_nan() {
            true => other,
            false => self,
        }
    }
}

/// The exact values of `outputs`: in float64, of a graph whose products are exact.
///
/// # Errors
/// As [`cpu::evaluate_wide`].
pub fn exact(graph: &Graph, feeds: &Feeds, outputs: &[NodeId]) -> Result<Vec<ArrayD<f64>>> {
    let wide = feeds.iter().map(|(k, v)| (k.clone(), cpu::widened(v)));
    cpu::evaluate_wide(graph, &wide.collect(), outputs)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn gap(got: &[f32], exact: &[f64]) -> Gap {
        let got = Tensor::new(&[got.len()], got.to_vec()).unwrap();
        Gap::between("x", &got, &ndarray::arr1(exact).into_dyn())
    }

    #[test]
    fn the_largest_difference_is_a_share_of_the_largest_value() {
        let found = gap(&[1.0, -7.5, 0.5], &[1.25, -8.0, 0.5]);
        assert_eq!((found.difference, found.largest), (0.5, 8.0));
        assert_eq!(found.share(), 0.0625);
        assert_eq!(gap(&[], &[]).share(), 0.0);
        assert_eq!(gap(&[0.0], &[0.0]).share(), 0.0);
        assert_eq!(
            gap(&[f32::INFINITY, 1.0], &[f64::INFINITY, 1.0]).share(),
            0.0
        );
        assert_eq!(gap(&[f32::INFINITY], &[1e30]).share(), f64::INFINITY);
        assert!(gap(&[f32::NAN, 1.0], &[1.0, 2.0]).share().is_nan());
    }

    #[test]
    fn the_worst_gap_is_the_largest_share() {
        let mut rounding = Rounding::new(&Graph::new(), Precision::F16);
        assert!(rounding.worst().is_none() && rounding.products == 0);
        let (small, large) = (gap(&[1.0], &[1.5]), gap(&[10.0], &[11.0]));
        rounding.gaps = vec![large.clone(), small.clone()];
        assert_eq!(rounding.worst(), Some(&small));
        assert_eq!(large.or_larger(small.clone()), small);
        rounding.gaps.push(gap(&[f32::NAN], &[1.0]));
        assert!(rounding.worst().unwrap().share().is_nan());
    }
}
