//! The values that a sheet asks for, and the graph evaluated with some values given
//! and some rules replaced.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, OnceLock};

use ndarray::{ArrayD, IxDyn};

use super::mistakes::{SLIPS, Site};
use crate::error::{Error, Result};
use crate::graph::{Kind, Node, NodeId, Role};
use crate::number;
use crate::run::cpu::{self, RefValue};
use crate::solution::{Prepared, Problem};
use crate::tensor::Tensor;

/// The most numbers that a sheet may ask for.
const MOST_ASKED: usize = 2_000;
/// The most numbers in all values of a graph: 128 MiB in float64, and as much again
/// for their errors.
const MOST_VALUES: usize = 1 << 24;

/// The elements that are asked for, by symbol, of those values of which only some are.
pub type Picks = BTreeMap<String, Vec<Vec<usize>>>;

/// A value with its error, shared by the evaluations that do not change it.
pub(super) type Value = Arc<RefValue>;

/// A value to work out.
#[derive(Clone, PartialEq, Debug)]
pub struct Asked {
    /// Its symbol, which is its key in the answers (`h0`, `dL/dW0`).
    pub name: String,
    /// Its node.
    pub node: NodeId,
    /// Its shape.
    pub dims: Vec<usize>,
    /// The elements that are asked for, by their place row by row; `None` for all.
    pub picks: Option<Vec<usize>>,
}

impl Asked {
    /// How many numbers are asked for.
    pub fn count(&self) -> usize {
        match &self.picks {
            Some(picks) => picks.len(),
            None => self.dims.iter().product(),
        }
    }

    /// The index of the number at `place` among those that are asked for.
    pub fn index(&self, place: usize) -> Vec<usize> {
        let mut rest = match &self.picks {
            Some(picks) => picks.get(place).copied().unwrap_or(0),
            None => place,
        };
        let mut index: Vec<usize> = (self.dims.iter().rev())
            .map(|size| {
                let at = rest % size.max(&1);
                rest /= size.max(&1);
                at
            })
            .collect();
        index.reverse();
        index
    }

    /// The numbers that are asked for, of an array of the value's shape.
    pub fn of(&self, value: &ArrayD<f64>) -> Vec<f64> {
        match &self.picks {
            None => value.iter().copied().collect(),
            // An array of another layout is read by its order, too.
            Some(picks) => {
                let at = |place: usize| match value.as_slice() {
                    Some(all) => all.get(place).copied(),
                    None => value.iter().nth(place).copied(),
                };
                picks.iter().map(|p| at(*p).unwrap_or(f64::NAN)).collect()
            }
        }
    }
}

/// A rule that is replaced: a place in [`SLIPS`], and the nodes where it is.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Edit {
    pub slip: usize,
    pub sites: BTreeSet<usize>,
}

/// An evaluation: values that are taken as they are, rules that are replaced, and what
/// comes of it for every node.
pub(super) struct Base {
    pins: BTreeMap<usize, Value>,
    edits: Vec<Edit>,
    pub values: Vec<Value>,
}

/// A problem with what is asked of it, in float64. On a sheet to work by hand from the
/// numbers as they are printed: there 0.1 is a tenth, not the float32 beside it.
#[derive(Debug)]
pub struct Work {
    /// The graph.
    pub prepared: Prepared,
    /// A symbol for each node of the graph.
    pub symbols: Vec<String>,
    /// What is asked, each after what it follows from.
    pub asked: Vec<Asked>,
    /// Whether it is an exercise for a program, beyond what one works by hand.
    pub for_program: bool,
    leaves: BTreeMap<usize, Value>,
    /// The node of each gradient and what it is the gradient of.
    primals: BTreeMap<usize, usize>,
    right: OnceLock<Vec<Value>>,
}

/// An array whose error is `error` everywhere.
pub(super) fn given(value: ArrayD<f64>, error: f64) -> RefValue {
    let error = ArrayD::from_elem(IxDyn(value.shape()), error);
    RefValue { value, error }
}

/// The values as they are printed, in float64.
fn printed(tensor: &Tensor) -> ArrayD<f64> {
    let wide = cpu::widened(tensor);
    wide.mapv(|v| number::show(v as f32).parse().unwrap_or(v))
}

impl Work {
    /// The work that a problem asks for by hand: the value of each layer, the loss, and
    /// the gradient of each layer and each parameter.
    ///
    /// # Errors
    /// As [`Problem::prepare`]; more than 2,000 numbers; two values with one symbol.
    pub fn new(problem: &Problem) -> Result<Work> {
        Work::of(problem, false, &Picks::new())
    }

    /// The same of a sheet, whose `picks` are asked for.
    ///
    /// # Errors
    /// As [`Work::new`]; a pick that there is not; more numbers in all values than 2^24.
    pub(super) fn of(problem: &Problem, for_program: bool, picks: &Picks) -> Result<Work> {
        let mut work = Work::unasked(problem, for_program)?;
        work.ask(picks)?;
        Ok(work)
    }

    /// The same, where the numbers that are asked for are not yet counted.
    pub(super) fn unasked(problem: &Problem, for_program: bool) -> Result<Work> {
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
                picks: None,
            });
        }
        let names: BTreeSet<&str> = asked.iter().map(|a| a.name.as_str()).collect();
        if names.len() < asked.len() {
            return Err(Error::Unsupported(
                "two values of this network have one symbol; number its layers, as Sequential does"
                    .to_string(),
            ));
        }
        let sizes = prepared.graph.nodes().map(|(_, n)| n.shape.numel());
        let values = sizes.fold(0usize, usize::saturating_add);
        if values > MOST_VALUES {
            return Err(Error::Limit(format!(
                "a sheet whose values are {values} numbers, more than {MOST_VALUES}; make the \
                 layers or the batch smaller"
            )));
        }
        let leaves = prepared.leaves().map(|(id, _, v)| {
            let value = match for_program {
                true => cpu::widened(v),
                false => printed(v),
            };
            (id.index(), Arc::new(given(value, 0.0)))
        });
        let leaves = leaves.collect();
        let mut primals: BTreeMap<usize, usize> =
            prepared.gradients().map(|(of, by)| (by, of)).collect();
        if let Some(seed) = prepared.graph.find("d/d loss") {
            primals.insert(seed.index(), prepared.loss_node.index());
        }
        Ok(Work {
            symbols,
            asked,
            for_program,
            leaves,
            primals,
            prepared,
            right: OnceLock::new(),
        })
    }

    /// Asks for these elements alone of the values that they name, and for all of the
    /// others.
    pub(super) fn ask(&mut self, picks: &Picks) -> Result<()> {
        let bad = |text: String| Err(Error::Text(text));
        if let Some(name) = picks
            .keys()
            .find(|k| self.asked.iter().all(|a| a.name != **k))
        {
            return bad(format!(
                "elements of `{}` are asked for, which this network does not have; draw the \
                 sheet again",
                number::printable(name)
            ));
        }
        for asked in &mut self.asked {
            asked.picks = None;
            let Some(of) = picks.get(&asked.name) else {
                continue;
            };
            let mut places = Vec::with_capacity(of.len());
            for index in of {
                let within = index.len() == asked.dims.len()
                    && index.iter().zip(&asked.dims).all(|(i, size)| i < size);
                let place = (index.iter().zip(&asked.dims)).fold(0, |n, (i, size)| n * size + i);
                if !within || places.contains(&place) {
                    return bad(format!(
                        "`{}`: the element {index:?} is asked for twice or is not in shape {:?}; \
                         draw the sheet again",
                        asked.name, asked.dims
                    ));
                }
                places.push(place);
                if places.len() > MOST_ASKED {
                    break;
                }
            }
            if places.is_empty() {
                return bad(format!(
                    "`{}`: no element is asked for; draw the sheet again",
                    asked.name
                ));
            }
            asked.picks = Some(places);
        }
        let counts = self.asked.iter().map(Asked::count);
        let count = counts.fold(0usize, usize::saturating_add);
        if count > MOST_ASKED {
            return Err(Error::Limit(format!(
                "a sheet that asks for {count} numbers, more than {MOST_ASKED}; make the layers or \
                 the batch smaller"
            )));
        }
        Ok(())
    }

    /// Whether a value is the gradient of a weight.
    pub(super) fn is_of_weight(&self, node: usize) -> bool {
        let of = self.primal(node);
        let node = of.and_then(|of| self.prepared.graph.nodes().nth(of));
        node.is_some_and(|(_, n)| matches!(n.kind, Kind::Parameter))
    }

    /// The node that this one is the gradient of.
    pub(super) fn primal(&self, gradient: usize) -> Option<usize> {
        self.primals.get(&gradient).copied()
    }

    /// The right values, whole, in the order of [`Work::asked`].
    pub fn right(&self) -> Vec<ArrayD<f64>> {
        let all = self.values();
        let of = |a: &Asked| all[a.node.index()].value.clone();
        self.asked.iter().map(of).collect()
    }

    /// The right value of every node.
    pub(super) fn values(&self) -> &[Value] {
        self.right.get_or_init(|| {
            let nodes = self.prepared.graph.nodes().map(|(id, _)| id.index());
            self.walk(&[], &BTreeMap::new(), &[], &nodes.collect(), None)
        })
    }

    /// The value of every node (up to `target`, if that is named, and as far as it is
    /// needed), where `pins` are taken as they are and the rules of `edits` are applied
    /// in place of the right ones. What does not follow from a pin or an edit is right.
    pub(super) fn base(
        &self,
        pins: &BTreeMap<usize, Value>,
        edits: &[Edit],
        target: Option<usize>,
    ) -> Base {
        let sites = edits.iter().flat_map(|e| e.sites.iter().copied());
        let dirty = pins.keys().copied().chain(sites).collect();
        Base {
            values: self.walk(self.values(), pins, edits, &dirty, target),
            pins: pins.clone(),
            edits: edits.to_vec(),
        }
    }

    /// The value of `node` where one more rule is replaced.
    pub(super) fn with(&self, base: &Base, edit: &Edit, node: usize) -> Value {
        let mut edits = vec![edit.clone()];
        edits.extend_from_slice(&base.edits);
        let mut values = self.walk(&base.values, &base.pins, &edits, &edit.sites, Some(node));
        values.swap_remove(node)
    }

    /// Evaluates the nodes that are `dirty` and those that follow from them; the others
    /// have their value in `from`.
    fn walk(
        &self,
        from: &[Value],
        pins: &BTreeMap<usize, Value>,
        edits: &[Edit],
        dirty: &BTreeSet<usize>,
        target: Option<usize>,
    ) -> Vec<Value> {
        let graph = &self.prepared.graph;
        let needed = target.map(|t| {
            let [seen, _] = self.behind(t, &BTreeSet::new());
            seen
        });
        let mut changed = vec![false; graph.len()];
        let mut values: Vec<Value> = Vec::with_capacity(graph.len());
        for (id, node) in graph.nodes() {
            let at = id.index();
            if target.is_some_and(|t| at > t) {
                break;
            }
            let edit = edits.iter().find(|e| e.sites.contains(&at));
            let follows = dirty.contains(&at)
                || node.inputs.iter().any(|i| changed[i.index()])
                // A wrong rule may read any value before it.
                || edit.is_some() && changed.contains(&true);
            // The rules of gradients may read the value of any layer.
            let wanted = node.role == Role::Forward
                || needed.as_ref().is_none_or(|needed| needed.contains(&at));
            let value = match (pins.get(&at), &node.kind, from.get(at)) {
                (Some(pin), ..) => {
                    changed[at] = dirty.contains(&at);
                    pin.clone()
                }
                (None, _, Some(value)) if !(follows && wanted) => value.clone(),
                (None, Kind::Op(op), _) => {
                    changed[at] = true;
                    let mut site = self.site(at, node, op.as_ref(), &values);
                    // Values that nothing rounded have no error to carry on.
                    site.bounded = !pins.is_empty();
                    let wrong = edit.and_then(|e| (SLIPS[e.slip].rule)(&site));
                    Arc::new(wrong.unwrap_or_else(|| site.apply(&site.operands)))
                }
                (None, Kind::Constant(tensor), _) => Arc::new(given(cpu::widened(tensor), 0.0)),
                // Every input and parameter of a prepared problem has its value.
                (None, ..) => self.leaves.get(&at).cloned().unwrap_or_else(|| {
                    let nothing = ArrayD::from_elem(IxDyn(node.shape.dims()), f64::NAN);
                    Arc::new(given(nothing, 0.0))
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
        values: &'a [Value],
    ) -> Site<'a> {
        Site {
            work: self,
            at,
            node,
            op,
            operands: node.inputs.iter().map(|i| &*values[i.index()]).collect(),
            values,
            bounded: false,
        }
    }

    /// The nodes at which a slip can be made: where its rule is another one.
    pub(super) fn sites(&self, slip: usize) -> BTreeSet<usize> {
        let values = self.values();
        let graph = &self.prepared.graph;
        let at = graph.nodes().filter_map(|(id, node)| {
            let site = self.site(id.index(), node, node.op()?, values);
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
