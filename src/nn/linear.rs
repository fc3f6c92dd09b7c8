//! PyTorch's `Linear` as a composition of ops.

use crate::error::{Result, ShapeError};
use crate::graph::{Graph, NodeId};

impl Graph {
    /// `x @ weightᵀ + bias`, PyTorch's `Linear`: weight `[out, in]`, bias
    /// `[out]`, `x` of shape `[..., in]`.
    pub fn linear(&mut self, x: NodeId, weight: NodeId, bias: Option<NodeId>) -> Result<NodeId> {
        let dims = self.shape(x)?.dims().to_vec();
        let of_weight = self.shape(weight)?.dims().to_vec();
        let [.., size] = dims[..] else {
            let reason = "needs an input of shape [..., in], got a scalar".to_string();
            return Err(ShapeError::new("linear", reason).into());
        };
        let [out, fan_in] = of_weight[..] else {
            let reason = format!("the weight must be [out, in], got {of_weight:?}");
            return Err(ShapeError::new("linear", reason).into());
        };
        if size != fan_in {
            let reason = format!(
                "input {dims:?} has {size} features in its last axis, weight {of_weight:?} takes {fan_in}"
            );
            return Err(ShapeError::new("linear", reason).into());
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
