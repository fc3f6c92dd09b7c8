//! Is what is about to be timed right? The loss and every gradient, end to end
//! against the float64 reference and its bounds. A fast wrong answer is worth
//! nothing, so nothing is timed before this.

use crate::check::compare;
use crate::error::Result;
use crate::graph::{Graph, NodeId};
use crate::run::cpu::Reference;
use crate::tensor::Tensor;

/// How the outputs of a step compare with the reference.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Verdict {
    /// Values compared.
    pub values: usize,
    /// Values outside their bound.
    pub failures: usize,
    /// Values for which there is no bound.
    pub unbounded: usize,
    /// The largest difference, in ULPs of float32 at the reference's value.
    pub max_ulps: f64,
    /// The largest share of its bound that a difference takes.
    pub max_share: f64,
    /// The first output with a value outside its bound, and how far it is.
    pub wrong: Option<String>,
}

impl Verdict {
    /// Whether every value is within its bound.
    pub fn passed(&self) -> bool {
        self.failures == 0
    }

    /// Adds one output to the verdict.
    pub(crate) fn judge(
        &mut self,
        graph: &Graph,
        reference: &Reference,
        output: NodeId,
        got: &Tensor,
    ) -> Result<()> {
        let label = &graph.node(output)?.label;
        let c = compare(label, got, reference.get(output)?)?;
        self.values += c.elements;
        self.failures += c.failures;
        self.unbounded += c.unbounded;
        self.max_ulps = self.max_ulps.max(c.max_ulps);
        self.max_share = self.max_share.max(c.max_share);
        if let (Some(worst), false, None) = (&c.worst, c.passed(), &self.wrong) {
            self.wrong = Some(format!(
                "`{label}` {:?}: got {}, want {}, allowed {:.3e}",
                worst.index, worst.got, worst.want, worst.bound
            ));
        }
        Ok(())
    }
}
