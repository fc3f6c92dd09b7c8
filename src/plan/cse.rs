//! Common subexpressions: which node holds the value of which others.
//!
//! An op prints its identity, so two nodes that print the same and read the
//! same values have the same value. A view holds nothing: its value is its
//! input's. One walk in the order of the plan, with a look-up a node.

use std::collections::HashMap;
use std::collections::hash_map::DefaultHasher;
use std::hash::{Hash, Hasher};

use super::order::{Item, Order};
use crate::graph::{Graph, Kind, Lowering, NodeId};
use crate::tensor::Tensor;

/// What makes two ops equal: what they print, and the holders and shapes of
/// what they read. (A view changes the shape and not the holder.)
type Key<'g> = (String, Vec<(NodeId, &'g [usize])>);

/// For each node the node that holds its value: itself, or one before it with
/// the same elements in the same order. What row programs compute they hold.
pub(super) fn holders(graph: &Graph, order: &Order, lowering: &[Option<Lowering>]) -> Vec<NodeId> {
    let mut holder: Vec<NodeId> = graph.nodes().map(|(id, _)| id).collect();
    let mut ops: HashMap<Key<'_>, NodeId> = HashMap::new();
    let mut constants = Constants::default();
    for item in &order.items {
        let Item::Node(id) = *item else { continue };
        // Items are nodes of the graph.
        let Ok(node) = graph.node(id) else { continue };
        holder[id.index()] = match (&node.kind, &lowering[id.index()]) {
            (Kind::Constant(value), _) => constants.first_equal(id, value),
            (Kind::Op(_), Some(Lowering::View)) => holder[node.inputs[0].index()],
            (Kind::Op(op), Some(_)) => {
                let reads = node.inputs.iter().map(|input| {
                    // Inputs belong to the graph, so the shape is there.
                    let dims = graph.shape(*input).map_or(&[][..], |s| s.dims());
                    (holder[input.index()], dims)
                });
                *ops.entry((op.to_string(), reads.collect())).or_insert(id)
            }
            _ => id,
        };
    }
    holder
}

/// Constants by a hash of their bits. Shapes do not count: the data is shared,
/// and each reader has the shape from the node that it reads.
#[derive(Default)]
struct Constants<'g> {
    by_hash: HashMap<u64, Vec<(NodeId, &'g Tensor)>>,
}

impl<'g> Constants<'g> {
    fn first_equal(&mut self, id: NodeId, value: &'g Tensor) -> NodeId {
        let bits = |t: &'g Tensor| t.data().iter().map(|v| v.to_bits());
        let mut hasher = DefaultHasher::new();
        value.data().len().hash(&mut hasher);
        bits(value).for_each(|b| b.hash(&mut hasher));
        let known = self.by_hash.entry(hasher.finish()).or_default();
        match known.iter().find(|(_, other)| bits(other).eq(bits(value))) {
            Some((first, _)) => *first,
            None => {
                known.push((id, value));
                id
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::graph::Graph;
    use crate::plan::without_rows;
    use crate::tensor::Tensor;

    #[test]
    fn what_is_equal_is_computed_once() {
        let mut g = Graph::new();
        let x = g.input("x", &[3, 2]).unwrap();
        let a = g.relu(x).unwrap();
        let b = g.relu(x).unwrap();
        let c = g.scale(a, 2.0).unwrap();
        let d = g.scale(b, 2.0).unwrap();
        let e = g.scale(b, 3.0).unwrap();
        let plan = without_rows(&g, &[a, b, c, d, e]).unwrap();
        assert_eq!(plan.steps.len(), 3, "{plan}");
        let at: Vec<_> = plan.outputs.iter().map(|o| o.buffer).collect();
        assert_eq!((at[0], at[2]), (at[1], at[3]));
        assert_ne!(at[3], at[4]);
    }

    #[test]
    fn views_of_views_hold_nothing_and_their_shape_still_counts() {
        let mut g = Graph::new();
        let x = g.input("x", &[2, 3]).unwrap();
        let y = g.input("y", &[3]).unwrap();
        let flat = g.reshape(x, &[6]).unwrap();
        let back = g.reshape(flat, &[2, 3]).unwrap();
        let turned = g.reshape(flat, &[2, 1, 3]).unwrap();
        let a = g.add(x, y).unwrap();
        let same = g.add(back, y).unwrap();
        // The same data and another shape: [2, 1, 3] with [3].
        let other = g.add(turned, y).unwrap();
        let plan = without_rows(&g, &[a, same, other]).unwrap();
        let at: Vec<_> = plan.outputs.iter().map(|o| o.buffer).collect();
        assert_eq!(at[0], at[1]);
        assert_ne!(at[0], at[2]);
        assert_eq!(plan.outputs[2].shape.dims(), [2, 1, 3]);
    }

    #[test]
    fn constants_are_equal_bit_for_bit() {
        let mut g = Graph::new();
        let mut of = |values: &[f32]| g.constant(Tensor::new(&[2], values.to_vec()).unwrap());
        let ids = [
            of(&[0.0, f32::NAN]),
            of(&[0.0, f32::NAN]),
            of(&[-0.0, f32::NAN]),
        ];
        let turned = g.constant(Tensor::new(&[2, 1], vec![0.0, f32::NAN]).unwrap());
        let plan = without_rows(&g, &[ids[0], ids[1], ids[2], turned]).unwrap();
        let at: Vec<_> = plan.outputs.iter().map(|o| o.buffer).collect();
        assert_eq!((at[0], at[0]), (at[1], at[3]));
        assert_ne!(at[0], at[2]);
        assert_eq!(plan.buffers.len(), 2);
    }
}
