//! The values that a sheet asks for, and the graph evaluated with some values given
//! and some rules replaced.

use std::collections::{BTreeMap, BTreeSet};

use ndarray::{ArrayD, IxDyn};

use super::mistakes::{SLIPS, Site};
use crate::error::{Error, Result};
use crate::graph::{Kind, Node, NodeId};
use crate::number;
use crate::run::cpu::{self, RefValue};
use crate::solution::{Prepared, Problem};
use crate::tensor::Tensor;

/// The most numbers that a sheet may ask for.
const MOST_ASKED: usize = 2_000;

/// A value to work out.
#[derive(Clone, PartialEq, Debug)]
pub struct Asked {
    /// Its symbol, which is its key in the answers (`h0`, `dL/dW0`).
    pub name: String,
    /// Its node.
    pub node: NodeId,
    /// Its shape.
    pub dims: Vec<usize>,
}

impl Asked {
    /// How many numbers it has.
    pub fn count(&self) -> usize {
        self.dims.iter().product()
    }
}

/// A rule that is replaced: a place in [`SLIPS`], and the nodes where it is.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Edit {
    pub slip: usize,
    pub sites: BTreeSet<usize>,
}

/// A problem with what is asked of it, in float64 from the numbers as they are
/// printed: by hand 0.1 is a tenth, not the float32 beside it.
#[derive(Debug)]
pub struct Work {
    /// The graph.
    pub prepared: Prepared,
    /// A symbol for each node of the graph.
    pub symbols: Vec<String>,
    /// What is asked, each after what it follows from.
    pub asked: Vec<Asked>,
    leaves: BTreeMap<usize, RefValue>,
    /// The node of each gradient and what it is the gradient of.
    primals: BTreeMap<usize, usize>,
}

/// An array whose error is `error` everywhere.
pub(super) fn given(value: ArrayD<f64>, error: f64) -> RefValue {
    let error = ArrayD::from_elem(IxDyn(value.shape()), error);
    RefValue { value, error }
}

/// The values as they are printed, in float64.
fn printed(tensor: &Tensor) -> RefValue {
    let wide = cpu::widened(tensor);
    let shown = wide.mapv(|v| number::show(v as f32).parse().unwrap_or(v));
    given(shown, 0.0)
}

impl Work {
    /// The work that a problem asks for: the value of each layer, the loss, and the
    /// gradient of each layer and each parameter.
    ///
    /// # Errors
    /// As [`Problem::prepare`]; more than 2,000 numbers; two values with one symbol.
    pub fn new(problem: &Problem) -> Result<Work> {
        let prepared = problem.prepare()?;
        let symbols = prepared.symbols()?;
        let mut nodes: BTreeSet<NodeId> = BTreeSet::new();
        for (name, node) in &prepared.named {
            if name != "grad.input" && prepared.graph.node(*node)?.op().is_some() {
                nodes.insert(*node);
            }
        }
        let mut asked = Vec::with_capacity(nodes.len());
        for node in nodes {
            asked.push(Asked {
                name: symbols[node.index()].clone(),
                node,
                dims: prepared.graph.shape(node)?.dims().to_vec(),
            });
        }
        let names: BTreeSet<&str> = asked.iter().map(|a| a.name.as_str()).collect();
        if names.len() < asked.len() {
            return Err(Error::Unsupported(
                "two values of this network have one symbol; number its layers, as Sequential does"
                    .to_string(),
            ));
        }
        let count: usize = asked.iter().map(Asked::count).sum();
        if count > MOST_ASKED {
            return Err(Error::Limit(format!(
                "a sheet that asks for {count} numbers, more than {MOST_ASKED}; make the layers or \
                 the batch smaller"
            )));
        }
        let leaves = prepared.leaves().map(|(id, _, v)| (id.index(), printed(v)));
        let leaves = leaves.collect();
        let mut primals: BTreeMap<usize, usize> =
            prepared.gradients().map(|(of, by)| (by, of)).collect();
        if let Some(seed) = prepared.graph.find("d/d loss") {
            primals.insert(seed.index(), prepared.loss_node.index());
        }
        Ok(Work {
            symbols,
            asked,
            leaves,
            primals,
            prepared,
        })
    }

    /// Whether a value is the gradient of a weight.
    pub(super) fn is_of_weight(&self, asked: &Asked) -> bool {
        let of = self.primal(asked.node.index());
        let node = of.and_then(|of| self.prepared.graph.nodes().nth(of));
        node.is_some_and(|(_, n)| matches!(n.kind, Kind::Parameter))
    }

    /// The node that this one is the gradient of.
    pub(super) fn primal(&self, gradient: usize) -> Option<usize> {
        self.primals.get(&gradient).copied()
    }

    /// The right values, in the order of [`Work::asked`].
    pub fn right(&self) -> Vec<ArrayD<f64>> {
        let all = self.run(&BTreeMap::new(), &[]);
        let of = |a: &Asked| all[a.node.index()].value.clone();
        self.asked.iter().map(of).collect()
    }

    /// The value of every node, where `pins` are taken as they are and the rules of
    /// `edits` are applied in place of the right ones.
    pub(super) fn run(&self, pins: &BTreeMap<usize, RefValue>, edits: &[Edit]) -> Vec<RefValue> {
        let graph = &self.prepared.graph;
        let mut values: Vec<RefValue> = Vec::with_capacity(graph.len());
        for (id, node) in graph.nodes() {
            let at = id.index();
            let value = match (pins.get(&at), &node.kind) {
                (Some(pin), _) => pin.clone(),
                (None, Kind::Constant(tensor)) => given(cpu::widened(tensor), 0.0),
                (None, Kind::Op(op)) => {
                    let mut site = self.site(at, node, op.as_ref(), &values);
                    // Values that nothing rounded have no error to carry on.
                    site.bounded = !pins.is_empty();
                    let edit = edits.iter().find(|e| e.sites.contains(&at));
                    let wrong = edit.and_then(|e| (SLIPS[e.slip].rule)(&site));
                    wrong.unwrap_or_else(|| site.apply(&site.operands))
                }
                // Every input and parameter of a prepared problem has its value.
                (None, _) => self.leaves.get(&at).cloned().unwrap_or_else(|| {
                    given(ArrayD::from_elem(IxDyn(node.shape.dims()), f64::NAN), 0.0)
                }),
            };
            values.push(value);
        }
        values
    }

    fn site<'a>(
        &'a self,
        at: usize,
        node: &'a Node,
        op: &'a dyn crate::graph::Op,
        values: &'a [RefValue],
    ) -> Site<'a> {
        Site {
            work: self,
            at,
            node,
            op,
            operands: node.inputs.iter().map(|i| &values[i.index()]).collect(),
            values,
            bounded: false,
        }
    }

    /// The nodes at which a slip can be made: where its rule is another one.
    pub(super) fn sites(&self, slip: usize) -> BTreeSet<usize> {
        let values = self.run(&BTreeMap::new(), &[]);
        let graph = &self.prepared.graph;
        let at = graph.nodes().filter_map(|(id, node)| {
            let site = self.site(id.index(), node, node.op()?, &values);
            (SLIPS[slip].rule)(&site).map(|_| id.index())
        });
        at.collect()
    }

    /// The nodes that `node` is computed from, itself included, as far as the first of
    /// `stops` on each way; and the stops that were met.
    pub(super) fn behind(&self, node: usize, stops: &BTreeSet<usize>) -> [BTreeSet<usize>; 2] {
        let (mut met, mut seen) = (BTreeSet::new(), BTreeSet::from([node]));
        let nodes: Vec<&Node> = self.prepared.graph.nodes().map(|(_, n)| n).collect();
        let mut open = vec![node];
        while let Some(at) = open.pop() {
            for input in nodes[at].inputs.iter().map(|i| i.index()) {
                if stops.contains(&input) {
                    met.insert(input);
                } else if seen.insert(input) {
                    open.push(input);
                }
            }
        }
        [seen, met]
    }
}
