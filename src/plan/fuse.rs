//! Which elementwise ops share a kernel.
//!
//! Every group of ops becomes one pass over memory. The walk goes from the last
//! node to the first, so that a node's readers have their groups before it is
//! asked where it belongs:
//!
//! - *Nobody else needs its value in memory*: it joins the group of its reader.
//!   With readers in up to [`MOST_COPIES`] groups it joins each of them, if that
//!   is cheaper than storing it: the function needs no exponential or logarithm,
//!   and its operands take no more loading than its value would.
//! - *Others read it too* (a product of matrices, another group): it is stored,
//!   by the group of its first reader if every other reader comes after that
//!   group, by a group of its own if not.
//! - *It is read back*: it is computed by itself, and its readers load it. So a
//!   plan with every node as an output computes each from the very operands that
//!   are read back, and a check can judge each alone.
//!
//! A group runs at the place of its last node. What it loads was stored by
//! groups with an earlier last node, or by ops before it; so no order has to be
//! searched for, and the walk is linear: a node is in at most [`MOST_COPIES`]
//! groups, a group has at most [`MOST_WEIGHT`] nodes.

use super::access::Access;
use super::chain::{Argument, Chain, Link};
use super::nodes::Nodes;
use crate::error::{Error, Result};
use crate::graph::{Graph, Lowering, MapCall, NodeId, Target};
use crate::ops::shader_lib::FLOAT;

/// The most groups that compute the same node anew.
const MOST_COPIES: usize = 4;

/// The most work in one kernel, where a function without exponentials and
/// logarithms counts 1 and any other [`HEAVY`]: it bounds the text, and with it
/// the time that a driver takes to compile it.
const MOST_WEIGHT: usize = 48;
const HEAVY: usize = 8;

/// The most buffers that a kernel binds, where a device would allow more.
const MOST_BUFFERS: usize = 12;

/// What a group loads: the holders, and how each is read.
type Loads = Vec<(NodeId, Access)>;

/// Ops that one kernel computes.
#[derive(Clone, Debug)]
pub(super) struct Group {
    /// In the order of the plan; the last is stored, whatever else is.
    pub members: Vec<NodeId>,
    /// The members whose values are stored, in the order of the plan.
    pub stores: Vec<NodeId>,
}

/// The groups, by their last member.
pub(super) struct Groups {
    groups: Vec<Group>,
    by_last: Vec<Option<usize>>,
    stored_at: Vec<NodeId>,
    /// The groups that each node is in.
    of: Vec<Vec<usize>>,
}

impl Groups {
    /// The node at whose place the value of `id` is stored: itself, but for
    /// elementwise ops the last node of the group that stores it.
    pub fn stored_at(&self, id: NodeId) -> NodeId {
        self.stored_at[id.index()]
    }

    /// The group that all of `ids` are in, and in no other.
    pub fn only(&self, ids: &[NodeId]) -> Option<&Group> {
        let [first, ..] = ids else { return None };
        let [group] = self.of[first.index()][..] else {
            return None;
        };
        let inside = |id: &NodeId| self.of[id.index()] == [group];
        ids.iter().all(inside).then(|| &self.groups[group])
    }

    /// The group whose last member is `id`. It runs at the place of that node.
    pub fn ending_at(&self, id: NodeId) -> Option<&Group> {
        self.by_last[id.index()].map(|i| &self.groups[i])
    }
}

/// Puts every elementwise op into a group; each into one of its own unless
/// `fuse`.
pub(super) fn groups(
    graph: &Graph,
    nodes: &Nodes<'_>,
    target: &Target,
    fuse: bool,
) -> Result<Groups> {
    let most = (target.storage_buffers as usize).saturating_sub(1);
    let mut walk = Walk {
        graph,
        nodes,
        most_buffers: most.min(MOST_BUFFERS),
        drafts: Vec::new(),
        of: vec![Vec::new(); graph.len()],
    };
    for (id, _) in nodes.held().rev() {
        if let Some(Lowering::Map(call)) = nodes.lowering(id) {
            if fuse {
                walk.place(id, call)?;
            } else {
                walk.start(id, call)?;
            }
        }
    }
    let mut by_last = vec![None; graph.len()];
    let mut stored_at: Vec<NodeId> = graph.nodes().map(|(id, _)| id).collect();
    let finish = |(i, draft): (usize, Draft)| {
        by_last[draft.last.index()] = Some(i);
        for store in &draft.stores {
            stored_at[store.index()] = draft.last;
        }
        Group {
            members: draft.members.into_iter().rev().collect(),
            stores: draft.stores.into_iter().rev().collect(),
        }
    };
    let of = walk.of;
    let groups = walk.drafts.into_iter().enumerate().map(finish).collect();
    Ok(Groups {
        groups,
        by_last,
        stored_at,
        of,
    })
}

/// How a member of a group of `elements` elements reads its operands: holders,
/// with the way. A member of one element among many is computed once for all.
fn operands(graph: &Graph, nodes: &Nodes<'_>, id: NodeId, elements: usize) -> Result<Loads> {
    let node = graph.node(id)?;
    let single = is_single(node.shape.numel(), elements);
    let operand = |&input: &NodeId| {
        let from = graph.shape(input)?;
        let access = if single {
            Some(Access::One)
        } else {
            Access::of(from, &node.shape)
        };
        let access = access.ok_or_else(|| {
            Error::Graph(format!(
                "`{}`: {from} does not broadcast to {}",
                node.label, node.shape
            ))
        })?;
        Ok((nodes.holder(input), access))
    };
    nodes.inputs(id).iter().map(operand).collect()
}

/// A group as calls and loads, and the holders of what it loads.
pub(super) fn chain(
    graph: &Graph,
    nodes: &Nodes<'_>,
    group: &Group,
) -> Result<(Chain, Vec<NodeId>)> {
    let mut loads: Loads = Vec::new();
    let mut chain = Chain::default();
    if let Some(&last) = group.members.last() {
        chain.elements = graph.shape(last)?.numel();
    }
    for &id in &group.members {
        let Some(Lowering::Map(call)) = nodes.lowering(id) else {
            let label = &graph.node(id)?.label;
            return Err(Error::Graph(format!("`{label}` is not elementwise")));
        };
        let mut arguments = Vec::new();
        for load in operands(graph, nodes, id, chain.elements)? {
            let link = group.members.iter().position(|&m| m == load.0);
            arguments.push(if let Some(link) = link {
                Argument::Link(link)
            } else if let Some(known) = loads.iter().position(|l| *l == load) {
                Argument::Load(known)
            } else {
                loads.push(load);
                Argument::Load(loads.len() - 1)
            });
        }
        if group.stores.contains(&id) {
            chain.stores.push(chain.links.len());
        }
        chain.links.push(Link {
            call: call.clone(),
            arguments,
            single: is_single(graph.shape(id)?.numel(), chain.elements),
        });
    }
    let holders;
    (holders, chain.loads) = loads.into_iter().unzip();
    Ok((chain, holders))
}

/// Whether a value of `own` elements is one for all of `elements`.
fn is_single(own: usize, elements: usize) -> bool {
    own == 1 && elements != 1
}

/// A group in the making, last member first.
struct Draft {
    last: NodeId,
    elements: usize,
    members: Vec<NodeId>,
    stores: Vec<NodeId>,
    loads: Loads,
    weight: usize,
}

struct Walk<'a, 'g> {
    graph: &'g Graph,
    nodes: &'a Nodes<'g>,
    most_buffers: usize,
    drafts: Vec<Draft>,
    /// The groups that each node is in.
    of: Vec<Vec<usize>>,
}

impl Walk<'_, '_> {
    fn place(&mut self, id: NodeId, call: &MapCall) -> Result<()> {
        if self.nodes.is_output(id) {
            return self.start(id, call);
        }
        // Where its readers are: elementwise ones in groups, others not.
        let mut groups: Vec<usize> = Vec::new();
        let mut others = Vec::new();
        for &reader in self.nodes.readers(id) {
            let of = &self.of[reader.index()];
            if of.is_empty() {
                others.push(reader);
            }
            for group in of {
                if !groups.contains(group) {
                    groups.push(*group);
                }
            }
            if groups.len() > MOST_COPIES {
                break;
            }
        }
        let alone = others.is_empty() && groups.len() == 1;
        let copied = others.is_empty() && groups.len() <= MOST_COPIES && self.is_light(id, call)?;
        if alone || copied {
            let joins = self.joins(&groups, id, call, false)?;
            if let Some(joins) = joins {
                for (group, loads) in groups.into_iter().zip(joins) {
                    self.join(group, id, call, loads, false);
                }
                return Ok(());
            }
        }
        // Stored by the first group that reads it, or by one of its own.
        let first = groups
            .iter()
            .copied()
            .min_by_key(|&g| self.nodes.time(self.drafts[g].last));
        if let Some(first) = first {
            let complete = groups.len() <= MOST_COPIES;
            let last = self.nodes.time(self.drafts[first].last);
            let after = complete && others.iter().all(|&r| self.nodes.time(r) > last);
            if after
                && self.graph.shape(id)?.numel() == self.drafts[first].elements
                && let Some(mut loads) = self.joins(&[first], id, call, true)?
                && let Some(loads) = loads.pop()
            {
                self.join(first, id, call, loads, true);
                return Ok(());
            }
        }
        self.start(id, call)
    }

    /// A group of its own.
    fn start(&mut self, id: NodeId, call: &MapCall) -> Result<()> {
        let elements = self.graph.shape(id)?.numel();
        let mut loads = Vec::new();
        add_new(&mut loads, operands(self.graph, self.nodes, id, elements)?);
        self.of[id.index()].push(self.drafts.len());
        self.drafts.push(Draft {
            last: id,
            elements,
            members: vec![id],
            stores: vec![id],
            loads,
            weight: weight(call),
        });
        Ok(())
    }

    /// What each of `groups` loads once `id` is computed in it; `None` if it
    /// cannot be in all of them.
    fn joins(
        &self,
        groups: &[usize],
        id: NodeId,
        call: &MapCall,
        store: bool,
    ) -> Result<Option<Vec<Loads>>> {
        let own = self.graph.shape(id)?.numel();
        let mut all = Vec::with_capacity(groups.len());
        for &group in groups {
            let draft = &self.drafts[group];
            let fits = own == draft.elements || (is_single(own, draft.elements) && is_cheap(call));
            let mut loads: Vec<_> = draft.loads.iter().filter(|l| l.0 != id).cloned().collect();
            add_new(
                &mut loads,
                operands(self.graph, self.nodes, id, draft.elements)?,
            );
            let buffers = loads.len() + draft.stores.len() + usize::from(store);
            if !fits || buffers > self.most_buffers || draft.weight + weight(call) > MOST_WEIGHT {
                return Ok(None);
            }
            all.push(loads);
        }
        Ok(Some(all))
    }

    fn join(&mut self, group: usize, id: NodeId, call: &MapCall, loads: Loads, store: bool) {
        self.of[id.index()].push(group);
        let draft = &mut self.drafts[group];
        draft.members.push(id);
        draft.loads = loads;
        draft.weight += weight(call);
        if store {
            draft.stores.push(id);
        }
    }

    /// Whether computing it again costs no more than loading it.
    fn is_light(&self, id: NodeId, call: &MapCall) -> Result<bool> {
        let elements = self.graph.shape(id)?.numel();
        let mut loads = Vec::new();
        add_new(&mut loads, operands(self.graph, self.nodes, id, elements)?);
        let full = loads.iter().filter(|l| l.1 == Access::Same).count();
        Ok(is_cheap(call) && (full <= 1 || elements == 1))
    }
}

fn add_new(loads: &mut Loads, more: Loads) {
    for load in more {
        if !loads.contains(&load) {
            loads.push(load);
        }
    }
}

/// Whether a function needs no exponential and no logarithm.
pub(super) fn is_cheap(call: &MapCall) -> bool {
    call.libs.iter().all(|lib| *lib == FLOAT)
}

/// What a call adds to the length of a kernel.
pub(super) fn weight(call: &MapCall) -> usize {
    if is_cheap(call) { 1 } else { HEAVY }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::autodiff::gradient;
    use crate::plan::{Plan, PlanOptions, without_rows};
    use crate::tensor::Tensor;

    /// What each step computes.
    fn ops(plan: &Plan) -> Vec<&str> {
        plan.steps.iter().map(|s| s.op.as_str()).collect()
    }

    fn separate(g: &Graph, outputs: &[NodeId]) -> Plan {
        let options = PlanOptions {
            fuse: false,
            ..PlanOptions::default()
        };
        Plan::with_options(g, outputs, &Target::default(), &options).unwrap()
    }

    #[test]
    fn a_chain_is_one_step_and_its_outputs_break_it() {
        let mut g = Graph::new();
        let x = g.input("x", &[3, 5]).unwrap();
        let b = g.input("b", &[5]).unwrap();
        let a = g.add(x, b).unwrap();
        let r = g.relu(a).unwrap();
        let s = g.scale(r, 0.5).unwrap();
        let plan = without_rows(&g, &[s]).unwrap();
        assert_eq!(ops(&plan), ["add, relu, scale[0.5]"], "{plan}");
        assert_eq!(plan.kernels[0].label, "add+relu+scale.sr");
        assert_eq!(plan.buffers.len(), 3, "{plan}");
        let plan = without_rows(&g, &[r, s]).unwrap();
        assert_eq!(ops(&plan), ["add, relu", "scale[0.5]"], "{plan}");
        assert_eq!(separate(&g, &[s]).steps.len(), 3);
        // Every node as an output: nothing is fused.
        let plan = without_rows(&g, &[a, r, s]).unwrap();
        assert_eq!(plan.steps, separate(&g, &[a, r, s]).steps);
    }

    #[test]
    fn what_others_read_is_stored_on_the_way() {
        let mut g = Graph::new();
        let x = g.input("x", &[4, 4]).unwrap();
        let s = g.sigmoid(x).unwrap();
        let n = g.neg(s).unwrap();
        let m = g.matmul(s, n).unwrap();
        let plan = without_rows(&g, &[m]).unwrap();
        // `m` comes after the group, so that the group may store `s` for it.
        assert_eq!(ops(&plan), ["sigmoid, neg", "matmul"], "{plan}");
        assert_eq!(plan.steps[0].outputs.len(), 2);
        assert_eq!(plan.kernels[0].writes, 2);

        // Here a product lies between `s` and its elementwise reader.
        let mut g = Graph::new();
        let x = g.input("x", &[4, 4]).unwrap();
        let s = g.sigmoid(x).unwrap();
        let m = g.matmul(s, x).unwrap();
        let a = g.add(m, s).unwrap();
        let plan = without_rows(&g, &[a]).unwrap();
        assert_eq!(ops(&plan), ["sigmoid", "matmul, add"], "{plan}");
    }

    #[test]
    fn what_is_cheap_is_computed_again_and_what_is_not_is_stored() {
        for (heavy, want) in [
            (false, &["neg, relu", "sum[axes=[0]]", "neg, mul"][..]),
            (true, &["sigmoid, relu", "sum[axes=[0]]", "mul"][..]),
        ] {
            let mut g = Graph::new();
            let x = g.input("x", &[6]).unwrap();
            let n = if heavy { g.sigmoid(x) } else { g.neg(x) };
            let n = n.unwrap();
            let r = g.relu(n).unwrap();
            let s = g.sum_all(r).unwrap();
            let m = g.mul(n, s).unwrap();
            let plan = without_rows(&g, &[m]).unwrap();
            assert_eq!(ops(&plan), want, "{plan}");
        }
    }

    #[test]
    fn a_scalar_is_computed_once_for_four() {
        let mut g = Graph::new();
        let x = g.input("x", &[5]).unwrap();
        let loss = g.mean_all(x).unwrap();
        let dx = gradient(&mut g, loss, &[x]).unwrap()[0];
        let plan = without_rows(&g, &[dx]).unwrap();
        assert_eq!(ops(&plan), ["scale[0.2], expand[shape=[5]]"], "{plan}");
        let text = &plan.kernels[0].source;
        assert!(
            text.contains("let t0 = kept(scale(v0, params.c0));"),
            "{text}"
        );
        assert!(text.contains("        expand(t0),"), "{text}");
        // An exponential is not computed for each element anew.
        let s = g.constant(Tensor::scalar(0.3));
        let s = g.sigmoid(s).unwrap();
        let y = g.mul(x, s).unwrap();
        let plan = without_rows(&g, &[y]).unwrap();
        assert_eq!(ops(&plan), ["sigmoid", "mul"], "{plan}");
    }

    #[test]
    fn kernels_stay_within_their_buffers_and_their_length() {
        let mut g = Graph::new();
        let mut sum = g.input("x", &[8]).unwrap();
        for i in 0..40 {
            let y = g.input(&format!("y{i}"), &[8]).unwrap();
            sum = g.add(sum, y).unwrap();
        }
        let plan = without_rows(&g, &[sum]).unwrap();
        let most = Target::default().storage_buffers as usize;
        for kernel in &plan.kernels {
            assert!(kernel.reads + kernel.writes < most, "{plan}");
        }
        assert_eq!(plan.steps.len(), 8, "{plan}");
        assert_eq!(plan.kernels.len(), 1, "all of one text");

        let mut g = Graph::new();
        let mut y = g.input("x", &[7]).unwrap();
        for _ in 0..100 {
            y = g.relu(y).unwrap();
        }
        assert_eq!(without_rows(&g, &[y]).unwrap().steps.len(), 3);
        for _ in 0..10 {
            y = g.sigmoid(y).unwrap();
        }
        assert_eq!(without_rows(&g, &[y]).unwrap().steps.len(), 4);
    }

    #[test]
    fn a_value_is_not_computed_over_and_over() {
        // Each link is read by the next and by a sum: storing it is the end of
        // recomputing what came before it.
        let mut g = Graph::new();
        let mut y = g.input("x", &[3, 7]).unwrap();
        let mut outputs = Vec::new();
        for i in 0..100 {
            let other = g.input(&format!("y{i}"), &[3, 7]).unwrap();
            let m = g.mul(y, other).unwrap();
            outputs.push(g.sum_all(m).unwrap());
            y = g.neg(y).unwrap();
        }
        let plan = without_rows(&g, &outputs).unwrap();
        let computed: usize = plan.steps.iter().map(|s| s.op.split(", ").count()).sum();
        assert!(computed <= 100 * (MOST_COPIES + 2), "{computed}");
    }
}
