//! PyTorch's `Linear` as a composition of ops.

use crate::error::Result;
use crate::graph::{Graph, NodeId};

impl Graph {
    /// `x @ weightᵀ + bias`, PyTorch's `Linear`: weight `[out, in]`, bias
    /// `[out]`, `x` of shape `[..., in]`.
    pub fn linear(&mut self, x: NodeId, weight: NodeId, bias: Option<NodeId>) -> Result<NodeId> {
        let dims = self.operand("linear", x)?.dims().to_vec();
        let of_weight = self.operand("linear", weight)?.dims().to_vec();
        let [.., size] = dims[..] else {
            let reason = "needs an input of shape [..., in], got a scalar; reshape it to [1]";
            return Err(self.misfit("linear", reason.to_string(), x)?);
        };
        let [out, fan_in] = of_weight[..] else {
            let reason = format!("the weight must be [out, in], got {of_weight:?}; reshape it");
            return Err(self.misfit("linear", reason, x)?);
        };
        if size != fan_in {
            let fix = match size == out {
                true => "the weight is [out, in]: was it transposed?".to_string(),
                false => format!("give one of them the other's number, {size} or {fan_in}"),
            };
            let reason = format!(
                "input {dims:?} has {size} features in its last axis, weight {of_weight:?} takes \
                 {fan_in}; {fix}"
            );
            return Err(self.misfit("linear", reason, x)?);
        }
        // A wider one would broadcast the product, which is never meant.
        if let Some(bias) = bias
            && !matches!(self.operand("linear", bias)?.dims(), [] | [1])
            && self.shape(bias)?.dims() != [out]
        {
            let reason = format!(
                "the bias must be [{out}], one value for each output of weight {of_weight:?}, \
                 got {}; reshape it",
                self.shape(bias)?
            );
            return Err(self.misfit("linear", reason, x)?);
        }
        // One product of two matrices, whatever the batch axes are.
        let rows = dims[..dims.len() - 1].iter().product();
        let flat = self.reshape(x, &[rows, size])?;
        let mut z = self.matmul_with(flat, weight, false, true)?;
        if let Some(bias) = bias {
            z = self.add(z, bias)?;
        }
        let mut to = dims;
        if let Some(last) = to.last_mut() {
            *last = out;
        }
        self.reshape(z, &to)
    }
}
