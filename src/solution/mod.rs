//! From a problem (a network, a loss, weights, a batch) to its worked
//! solution: every value and every gradient, how each follows from others, and
//! how it compares with the reference. Data only; `report` shows it.

mod parts;
mod problem;
mod rounding;
mod symbols;

pub use parts::{cut, plan_of_part, split};
pub use problem::{Prepared, Problem};

use std::collections::BTreeMap;

use ndarray::ArrayD;

use crate::batches::Cut;
use crate::check::rounding::Rounding;
use crate::check::{self, Comparison, compare};
use crate::error::Result;
use crate::graph::{Kind, NodeId, Role};
use crate::number;
use crate::plan::Plan;
use crate::run::cpu::{self, RefValue};
use crate::run::gpu::{AdapterDescription, Gpu};
use crate::tensor::Tensor;
use crate::watch::Watch;

/// Tensors up to this many elements are shown element by element.
pub const SHOWN_ELEMENTS: usize = 24;

/// What computed the values of a solution.
#[derive(Clone, PartialEq, Debug)]
pub enum Engine {
    /// A GPU, or a software adapter in its place.
    Gpu(AdapterDescription),
    /// The CPU reference, in float64, rounded to float32 at the end.
    Reference,
}

/// One node of the computation with its value.
#[derive(Clone, Debug)]
pub struct Step {
    /// The node.
    pub node: NodeId,
    /// Its label.
    pub label: String,
    /// Its op (`matmul[transpose_b]`).
    pub op: String,
    /// Its symbol in formulas (`h0`, `dL/dh0`).
    pub symbol: String,
    /// The rule, in symbols (`dL/dh2 = dL/dh3 * h3 * (1 - h3)`).
    pub rule: String,
    /// Forward or backward.
    pub role: Role,
    /// The numbers put in, an element a line; empty for large tensors.
    pub numbers: Vec<String>,
    /// The value that the engine computed.
    pub value: Tensor,
    /// The float64 value with its bound, if the reference was run; not kept of large
    /// values by row of a batch that ran in sub-batches.
    pub reference: Option<RefValue>,
    /// How the two compare, end to end: the bound is carried from the leaves.
    pub comparison: Option<Comparison>,
    /// How the value compares with float64 arithmetic on the operands that the
    /// engine itself had: the bound is that of this step alone.
    pub local: Option<Comparison>,
    /// What of the reference passes float32's range, if anything does.
    pub beyond: Option<Beyond>,
}

/// Values of the reference that are finite and past float32's range.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Beyond {
    /// How many.
    pub count: usize,
    /// The first of them.
    pub first: f64,
}

impl Beyond {
    fn of(values: &ArrayD<f64>) -> Option<Beyond> {
        let most = f64::from(f32::MAX);
        let is_beyond = |v: &&f64| v.is_finite() && v.abs() > most;
        let first = *values.iter().find(is_beyond)?;
        let count = values.iter().filter(is_beyond).count();
        Some(Beyond { count, first })
    }

    /// Those of two sub-batches, in order.
    fn joined(before: Option<Beyond>, after: Option<Beyond>) -> Option<Beyond> {
        match (before, after) {
            (Some(before), Some(after)) => Some(Beyond {
                count: before.count + after.count,
                ..before
            }),
            (before, after) => before.or(after),
        }
    }
}

/// What became of one node.
struct Computed {
    value: Tensor,
    reference: Option<RefValue>,
    comparison: Option<Comparison>,
    local: Option<Comparison>,
    beyond: Option<Beyond>,
}

impl Step {
    /// Both comparisons, as far as they were made.
    pub fn comparisons(&self) -> impl Iterator<Item = &Comparison> {
        self.comparison.iter().chain(&self.local)
    }
}

/// A leaf of the computation: data, a target, a parameter.
#[derive(Clone, Debug)]
pub struct Leaf {
    /// Its label.
    pub label: String,
    /// Its symbol in formulas.
    pub symbol: String,
    /// Its value.
    pub value: Tensor,
}

/// A solved problem.
#[derive(Clone, Debug)]
pub struct Solution {
    /// What computed it.
    pub engine: Engine,
    /// The network, as text.
    pub network: String,
    /// The loss, as text.
    pub loss: String,
    /// What was given.
    pub leaves: Vec<Leaf>,
    /// What was computed, in order: forward, then backward.
    pub steps: Vec<Step>,
    /// The values with a public name (`loss`, `value.0`, `grad.0.weight`), as
    /// places in `steps`, or the tensor itself where no step computes it.
    pub named: Vec<(String, Named)>,
    /// What the user should know.
    pub warnings: Vec<String>,
    /// How the batch was cut into sub-batches; `None` if it ran whole.
    pub cut: Option<Cut>,
    /// How far the loss and the gradients are from exact ones, where products of
    /// matrices are rounded.
    pub rounding: Option<Rounding>,
}

/// Where a named value is.
#[derive(Clone, Debug)]
pub enum Named {
    /// A step's value.
    Step(usize),
    /// A value that nothing computes: a gradient that is zero, or the batch
    /// itself behind layers that change nothing.
    Given(Tensor),
}

/// What to compute and keep.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Detail {
    /// Show every step with the numbers put in.
    pub every_step: bool,
    /// Compare every step with the reference. With neither, only the values
    /// with a public name are read back.
    pub check: bool,
}

impl Prepared {
    /// A short symbol for each node of the graph, by its place: `x`, `W0`, `h0`,
    /// `L`, `dL/dh0`; the label where there is none.
    ///
    /// # Errors
    /// None in practice: the nodes are the graph's own.
    pub fn symbols(&self) -> Result<Vec<String>> {
        symbols::assign(self)
    }
}

impl Solution {
    /// The value with this public name.
    pub fn value(&self, name: &str) -> Option<&Tensor> {
        let found = self.named.iter().find(|(n, _)| n == name);
        found.map(|(_, named)| match named {
            Named::Step(i) => &self.steps[*i].value,
            Named::Given(value) => value,
        })
    }

    /// The step behind a public name.
    pub fn step(&self, name: &str) -> Option<&Step> {
        self.named
            .iter()
            .find(|(n, _)| n == name)
            .and_then(|(_, named)| match named {
                Named::Step(i) => self.steps.get(*i),
                Named::Given(_) => None,
            })
    }

    /// Whether every value is within its bound (true if none was checked).
    pub fn passed(&self) -> bool {
        self.steps
            .iter()
            .flat_map(Step::comparisons)
            .all(Comparison::passed)
    }
}

/// The plan by which [`solve`] computes on `gpu`.
///
/// # Errors
/// As [`Plan::with_target`].
pub fn plan(prepared: &Prepared, gpu: &Gpu, detail: Detail) -> Result<Plan> {
    let nodes = wanted(prepared, detail)?;
    Plan::with_target(&prepared.graph, &nodes, gpu.target())
}

/// Solves a prepared problem on a GPU, or by the reference alone; in sub-batches
/// where it has to be ([`cut`]).
///
/// # Errors
/// As [`cut`], [`Gpu::compile_plan`] and a run.
pub async fn solve(prepared: &Prepared, gpu: Option<&Gpu>, detail: Detail) -> Result<Solution> {
    let cut = cut(prepared, gpu, detail, false)?;
    solve_cut(prepared, gpu, detail, cut).await
}

/// The values of a batch that runs whole.
async fn compute(
    prepared: &Prepared,
    gpu: Option<&Gpu>,
    detail: Detail,
) -> Result<BTreeMap<NodeId, Computed>> {
    let graph = &prepared.graph;
    let nodes = wanted(prepared, detail)?;
    let watch = Watch::start();
    let reference = if detail.check || gpu.is_none() {
        Some(cpu::evaluate(graph, &prepared.feeds, &nodes)?)
    } else {
        None
    };
    if reference.is_some() {
        log::info!("the float64 reference took {watch}");
    }
    let mut values: BTreeMap<NodeId, Tensor> = BTreeMap::new();
    match gpu {
        Some(gpu) => {
            let watch = Watch::start();
            let plan = plan(prepared, gpu, detail)?;
            log::info!("planned in {watch}: {}", plan.summary());
            let (watch, before) = (Watch::start(), gpu.stats().pipelines);
            let mut program = gpu.compile_plan(plan).await?;
            let new = gpu.stats().pipelines - before;
            log::info!("compiled in {watch}, {new} new pipelines");
            let watch = Watch::start();
            program.set_all(&prepared.feeds)?;
            let outputs = program.run_async().await?;
            log::info!("ran in {watch}, with the values' way there and back");
            for &id in &nodes {
                values.insert(id, outputs.get(id)?.clone());
            }
        }
        None => {
            if let Some(reference) = &reference {
                for &id in &nodes {
                    values.insert(id, reference.rounded(id)?);
                }
            }
        }
    }
    let mut local = match (gpu, detail.check) {
        (Some(_), true) => {
            let watch = Watch::start();
            let verified = check::steps::verify(graph, &prepared.feeds, &values)?;
            log::info!("each step verified from its operands in {watch}");
            verified
        }
        _ => BTreeMap::new(),
    };
    let mut computed = BTreeMap::new();
    for (id, value) in values {
        let reference = match &reference {
            Some(reference) => Some(reference.get(id)?.clone()),
            None => None,
        };
        let comparison = match (&reference, gpu) {
            (Some(reference), Some(_)) => Some(compare(&graph.node(id)?.label, &value, reference)?),
            _ => None,
        };
        let one = Computed {
            value,
            comparison,
            local: local.remove(&id),
            beyond: reference.as_ref().and_then(|r| Beyond::of(&r.value)),
            reference,
        };
        computed.insert(id, one);
    }
    Ok(computed)
}

/// As [`solve`], in the sub-batches of `cut`.
///
/// # Errors
/// As [`Gpu::compile_plan`] and a run.
pub async fn solve_cut(
    prepared: &Prepared,
    gpu: Option<&Gpu>,
    detail: Detail,
    cut: Option<Cut>,
) -> Result<Solution> {
    solve_telling(prepared, gpu, detail, cut, &mut |_, _| ()).await
}

/// As [`solve_cut`], and tells after each sub-batch how many rows are done, of how many.
///
/// # Errors
/// As [`Gpu::compile_plan`] and a run.
pub async fn solve_telling(
    prepared: &Prepared,
    gpu: Option<&Gpu>,
    detail: Detail,
    cut: Option<Cut>,
    tell: &mut dyn FnMut(usize, usize),
) -> Result<Solution> {
    let graph = &prepared.graph;
    let nodes = wanted(prepared, detail)?;
    let mut computed = match &cut {
        Some(cut) => parts::compute(prepared, gpu, detail, cut, tell).await?,
        None => compute(prepared, gpu, detail).await?,
    };
    let engine = match gpu {
        Some(gpu) => Engine::Gpu(gpu.adapter().clone()),
        None => Engine::Reference,
    };
    let mut numbers = BTreeMap::new();
    if detail.every_step {
        for &id in &nodes {
            numbers.insert(id, put_in(prepared, id, &computed)?);
        }
    }
    let symbols = symbols::assign(prepared)?;
    let mut steps = Vec::with_capacity(nodes.len());
    for &id in &nodes {
        let node = graph.node(id)?;
        let Some(op) = node.op() else { continue };
        let Some(own) = computed.remove(&id) else {
            continue;
        };
        let names: Vec<_> = node
            .inputs
            .iter()
            .map(|i| symbols[i.index()].clone())
            .collect();
        let right = number::fill(&op.explain().formula, &names);
        let symbol = symbols[id.index()].clone();
        steps.push(Step {
            node: id,
            label: node.label.clone(),
            op: op.to_string(),
            rule: format!("{symbol} = {right}"),
            symbol,
            role: node.role,
            numbers: numbers.remove(&id).unwrap_or_default(),
            value: own.value,
            reference: own.reference,
            comparison: own.comparison,
            local: own.local,
            beyond: own.beyond,
        });
    }
    let named = prepared
        .named
        .iter()
        .filter_map(|(name, id)| {
            let place = steps.iter().position(|s| s.node == *id);
            let found = match place {
                Some(i) => Named::Step(i),
                None => Named::Given(given(prepared, *id)?),
            };
            Some((name.clone(), found))
        })
        .collect();
    let leaves = prepared
        .leaves()
        .map(|(id, label, value)| Leaf {
            label: label.to_string(),
            symbol: symbols[id.index()].clone(),
            value: value.clone(),
        })
        .collect();
    let mut solution = Solution {
        engine,
        network: prepared.network.clone(),
        loss: prepared.loss.clone(),
        leaves,
        steps,
        named,
        warnings: Vec::new(),
        cut,
        rounding: None,
    };
    solution.rounding = rounding::of(prepared, &solution, detail)?;
    solution.warnings.extend(saturation(prepared, &solution));
    solution.warnings.extend(overflow(&solution));
    Ok(solution)
}

/// The op nodes to compute and keep: those with a public name or, to show or
/// to verify every step, all that these need.
fn wanted(prepared: &Prepared, detail: Detail) -> Result<Vec<NodeId>> {
    let named: Vec<NodeId> = prepared.named.iter().map(|(_, id)| *id).collect();
    let mut nodes = check::steps::nodes(&prepared.graph, &named)?;
    if !detail.every_step && !detail.check {
        nodes.retain(|id| named.contains(id));
    }
    Ok(nodes)
}

/// The value of a node that nothing computes.
fn given(prepared: &Prepared, id: NodeId) -> Option<Tensor> {
    let node = prepared.graph.node(id).ok()?;
    match &node.kind {
        Kind::Constant(value) => Some(value.clone()),
        Kind::Op(_) => None,
        _ => prepared.feeds.get(&node.label).cloned(),
    }
}

/// The numbers put in, an element a line.
fn put_in(
    prepared: &Prepared,
    id: NodeId,
    values: &BTreeMap<NodeId, Computed>,
) -> Result<Vec<String>> {
    let graph = &prepared.graph;
    let node = graph.node(id)?;
    let Some(op) = node.op() else {
        return Ok(Vec::new());
    };
    if node.shape.numel() > SHOWN_ELEMENTS {
        return Ok(Vec::new());
    }
    let mut operands = Vec::with_capacity(node.inputs.len());
    for &input in &node.inputs {
        let of = graph.node(input)?;
        let tensor = match &of.kind {
            Kind::Constant(value) => Some(value),
            Kind::Op(_) => values.get(&input).map(|c| &c.value),
            _ => prepared.feeds.get(&of.label),
        };
        let Some(tensor) = tensor else {
            return Ok(Vec::new());
        };
        operands.push(view(tensor)?);
    }
    let lines = ndarray::indices(ndarray::IxDyn(node.shape.dims())).into_iter();
    Ok(lines
        .map(|index| op.substitute(&operands, ndarray::Dimension::slice(&index)))
        .collect())
}

fn view(tensor: &Tensor) -> Result<ndarray::ArrayViewD<'_, f32>> {
    ndarray::ArrayViewD::from_shape(ndarray::IxDyn(tensor.dims()), tensor.data())
        .map_err(|e| crate::Error::Graph(e.to_string()))
}

/// A sigmoid that saturates before BCELoss has a gradient of zero, whatever
/// the target: PyTorch's behaviour, and rarely what is wanted. Where the target
/// is met nothing is lost.
fn saturation(prepared: &Prepared, solution: &Solution) -> Option<String> {
    let output = solution
        .value("output")
        .filter(|_| prepared.sigmoid_then_bce)?;
    let target = prepared.feeds.get(problem::TARGET)?;
    let pairs = output.data().iter().zip(target.data()).enumerate();
    let mut stuck = pairs.filter(|(_, (p, y))| (**p == 0.0 || **p == 1.0) && p != y);
    let (first, (p, y)) = stuck.next()?;
    let count = 1 + stuck.count();
    let strides = output.shape().strides();
    let axes = strides.iter().zip(output.dims());
    let at: Vec<_> = axes.map(|(stride, size)| first / stride % size).collect();
    let place = match &at[..] {
        [row, 0] if output.dims()[1] == 1 => format!("row {row}"),
        [row, column] => format!("row {row}, column {column}"),
        _ => format!("element {at:?}"),
    };
    Some(format!(
        "the sigmoid before BCELoss is saturated in {count} of {} outputs whose target is another; \
         the first is {place} (counted from 0): p is {}, the target {}. Its gradient there is \
         zero, and nothing is learned from it; drop the Sigmoid and use BCEWithLogitsLoss",
        output.data().len(),
        number::show(*p),
        number::show(*y)
    ))
}

/// A value beyond float32 passes every comparison as an infinity, which is its
/// right answer, and makes what follows from it infinite or NaN: the first such
/// step is named.
fn overflow(solution: &Solution) -> Option<String> {
    solution.steps.iter().find_map(|step| {
        let Beyond { count, first } = step.beyond?;
        Some(format!(
            "`{}` passes float32's range in {count} of {} values (the first is {}): they and what \
             follows from them are infinite or NaN; scale the batch or the weights",
            step.label,
            step.value.data().len(),
            number::show_wide(first)
        ))
    })
}
