//! What is known before any run. Only what is exact by construction: a constant
//! that is repeated. Whatever rounds is left to the device, which is the one
//! that is judged.

use super::fuse::Group;
use super::nodes::Nodes;
use crate::error::Result;
use crate::graph::{Graph, Kind};
use crate::tensor::Tensor;

/// The most elements of a constant made here: a larger one costs more to hold
/// than to make anew.
const MOST_ELEMENTS: usize = 1 << 20;

/// The value of a group that only repeats a constant. (Where a kernel reads it,
/// it is part of that kernel's group and needs no value of its own.)
pub(super) fn repeated_constant(
    graph: &Graph,
    nodes: &Nodes<'_>,
    group: &Group,
) -> Result<Option<Tensor>> {
    let [id] = group.members[..] else {
        return Ok(None);
    };
    let node = graph.node(id)?;
    let (Some("expand"), [input]) = (node.op().map(|op| op.name()), nodes.inputs(id)) else {
        return Ok(None);
    };
    let Kind::Constant(value) = &graph.node(nodes.holder(*input))?.kind else {
        return Ok(None);
    };
    let strides = graph.shape(*input)?.strides_as(&node.shape);
    match strides {
        Some(strides) if node.shape.numel() <= MOST_ELEMENTS => {
            Ok(Some(repeated(value, &strides, node.shape.dims())?))
        }
        _ => Ok(None),
    }
}

/// The elements of `value`, read by `strides` as a tensor of shape `dims`.
fn repeated(value: &Tensor, strides: &[usize], dims: &[usize]) -> Result<Tensor> {
    let mut places = vec![0];
    for (&size, &stride) in dims.iter().zip(strides) {
        let along = |&place: &usize| (0..size).map(move |i| place + i * stride);
        places = places.iter().flat_map(along).collect();
    }
    let data = places.iter().map(|&place| value.data()[place]).collect();
    Ok(Tensor::new(dims, data)?)
}

#[cfg(test)]
mod tests {
    use crate::graph::{Graph, NodeId};
    use crate::plan::{Content, Plan, without_rows};
    use crate::tensor::Tensor;

    fn constants(plan: &Plan) -> Vec<&[f32]> {
        let all = plan.buffers.iter().filter_map(|b| match &b.content {
            Content::Constant(value) => Some(value.data()),
            _ => None,
        });
        all.collect()
    }

    fn row(g: &mut Graph) -> NodeId {
        g.constant(Tensor::new(&[2], vec![1.0, -0.0]).unwrap())
    }

    #[test]
    fn a_repeated_constant_takes_no_step() {
        let mut g = Graph::new();
        let x = g.input("x", &[4, 3]).unwrap();
        let c = row(&mut g);
        let column = g.reshape(c, &[2, 1]).unwrap();
        let wide = g.expand(column, &[2, 2, 3]).unwrap();
        let flat = g.reshape(wide, &[3, 4]).unwrap();
        let y = g.matmul(x, flat).unwrap();
        let plan = without_rows(&g, &[y]).unwrap();
        assert_eq!(plan.steps.len(), 1, "{plan}");
        let want = [
            1.0, 1.0, 1.0, -0.0, -0.0, -0.0, 1.0, 1.0, 1.0, -0.0, -0.0, -0.0,
        ];
        let bits = |v: &[f32]| v.iter().map(|v| v.to_bits()).collect::<Vec<_>>();
        assert_eq!(bits(constants(&plan)[1]), bits(&want));
    }

    #[test]
    fn a_kernel_that_reads_one_repeats_it_itself() {
        let mut g = Graph::new();
        let x = g.input("x", &[3, 2]).unwrap();
        let c = row(&mut g);
        let wide = g.expand(c, &[3, 2]).unwrap();
        let y = g.mul(x, wide).unwrap();
        let plan = without_rows(&g, &[y]).unwrap();
        assert_eq!((plan.steps.len(), constants(&plan).len()), (1, 1), "{plan}");
    }

    #[test]
    fn what_rounds_is_left_to_the_device() {
        let mut g = Graph::new();
        let c = row(&mut g);
        let y = g.scale(c, 1.0 / 3.0).unwrap();
        let plan = without_rows(&g, &[y]).unwrap();
        assert_eq!(plan.steps.len(), 1, "{plan}");
    }
}
