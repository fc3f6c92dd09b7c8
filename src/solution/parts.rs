//! A batch in sub-batches: each is computed and compared by itself, and what is
//! kept is what a batch that ran whole has. The float64 reference, which takes far
//! more memory than the values, is there for one sub-batch at a time.

use std::cell::OnceCell;
use std::collections::BTreeMap;

use ndarray::{ArrayD, IxDyn};

use super::problem::{INPUT, TARGET};
use super::{Beyond, Computed, Detail, Prepared, wanted};
use crate::batches::{Cut, Done, Joined, Joiner, Need, Part, Split, each, once};
use crate::check::{self, Comparison, compare};
use crate::error::Result;
use crate::graph::NodeId;
use crate::plan::Plan;
use crate::run::cpu::{self, RefValue};
use crate::run::gpu::Gpu;
use crate::tensor::Tensor;
use crate::trace;
use crate::watch::Watch;

/// References by row of more elements than this are not kept: each sub-batch's is
/// compared and dropped.
const KEPT: usize = 10_000;

/// The values of a prepared problem that go by rows, and those that are sums over
/// the rows.
///
/// # Errors
/// As [`Split::new`].
pub fn split(prepared: &Prepared, detail: Detail) -> Result<Split<'_>> {
    let nodes = wanted(prepared, detail)?;
    Split::new(&prepared.graph, &nodes, &[INPUT, TARGET])
}

/// How the batch is cut so that the device can hold it and the host its reference;
/// `None` if it runs whole. `traced`: what is not finite will be looked for, too.
///
/// # Errors
/// As [`Cut::find`].
pub fn cut(
    prepared: &Prepared,
    gpu: Option<&Gpu>,
    detail: Detail,
    traced: bool,
) -> Result<Option<Cut>> {
    let graph = &prepared.graph;
    let nodes = wanted(prepared, detail)?;
    let named: Vec<NodeId> = prepared.named.iter().map(|(_, id)| *id).collect();
    let mut kept = 0;
    for &id in &nodes {
        // What has a name may be saved, which takes copies.
        let copies = if named.contains(&id) { 3 } else { 1 };
        kept += 4 * copies * graph.shape(id)?.numel() as u64;
    }
    // A batch of rank 0 or 1 is one row.
    let rows = match prepared.feeds.get(INPUT).map(Tensor::dims) {
        Some([rows, _, ..]) => *rows,
        _ => 1,
    };
    let made = OnceCell::new();
    Cut::find(rows, gpu, |n| {
        let part;
        let (graph, nodes, named) = if n == rows {
            (graph, nodes.clone(), named.clone())
        } else {
            let split = once(&made, || split(prepared, detail))?;
            part = split.part(n)?;
            // A gradient that is zero, say, is in no part: nothing computes it.
            let own = named.iter().filter_map(|&id| part.node(id).ok());
            (&part.graph, own_nodes(split, &part, &nodes)?, own.collect())
        };
        let mut need = Need::default();
        if let Some(gpu) = gpu {
            need.plans
                .push(Plan::with_target(graph, &nodes, gpu.target())?);
            if traced {
                need.plans.push(trace::plan(graph, &named, gpu.target())?);
            }
        }
        let mut values = 0;
        for &id in &nodes {
            values += graph.shape(id)?.numel() as u64;
        }
        // Read back, and copied.
        need.host = kept + 8 * values;
        if detail.check || gpu.is_none() {
            need.host += cpu::bytes(graph, &nodes)?;
            // The exact values of a whole batch beside those of rounded products, without
            // bounds.
            if prepared.exact.is_some() && n == rows {
                need.host += cpu::bytes(graph, &nodes)? / 2;
            }
        }
        Ok(need)
    })
}

/// The plan of a part.
///
/// # Errors
/// As [`Plan::with_target`].
pub fn plan_of_part(split: &Split<'_>, part: &Part, gpu: &Gpu) -> Result<Plan> {
    let nodes = own_nodes(split, part, split.outputs())?;
    Plan::with_target(&part.graph, &nodes, gpu.target())
}

/// The ops of a part that stand for `nodes`, and all that these need if they are
/// all ops: a step is verified from its operands.
fn own_nodes(split: &Split<'_>, part: &Part, nodes: &[NodeId]) -> Result<Vec<NodeId>> {
    let own = part.nodes(nodes)?;
    let all = check::steps::nodes(split.graph(), nodes)?;
    match all.len() == nodes.len() {
        true => check::steps::nodes(&part.graph, &own),
        false => Ok(own),
    }
}

/// What is gathered of one value.
struct Gathered {
    id: NodeId,
    label: String,
    joined: Joined,
    value: Joiner,
    /// The float64 values and bounds so far: of rows only where they are kept.
    reference: Option<Wide>,
    /// The same from the engine's own operands, of a sum.
    own: Option<Wide>,
    comparison: Option<Comparison>,
    local: Option<Comparison>,
    beyond: Option<Beyond>,
}

/// Values in float64 with their bounds.
#[derive(Default)]
struct Wide {
    value: Vec<f64>,
    error: Vec<f64>,
}

impl Wide {
    fn append(&mut self, more: &RefValue) {
        self.value.extend(&more.value);
        self.error.extend(&more.error);
    }

    fn add(&mut self, more: &RefValue) {
        if self.value.is_empty() {
            return self.append(more);
        }
        let sums = [
            (&mut self.value, &more.value),
            (&mut self.error, &more.error),
        ];
        for (sum, more) in sums {
            sum.iter_mut().zip(more).for_each(|(sum, v)| *sum += v);
        }
    }

    fn shaped(self, dims: &[usize]) -> Option<RefValue> {
        let of = |list| ArrayD::from_shape_vec(IxDyn(dims), list).ok();
        Some(RefValue {
            value: of(self.value)?,
            error: of(self.error)?,
        })
    }
}

impl Gathered {
    fn new(split: &Split<'_>, id: NodeId) -> Result<Gathered> {
        let node = split.graph().node(id)?;
        let joined = split.joined(id);
        let keeps = joined != Joined::Rows || node.shape.numel() <= KEPT;
        Ok(Gathered {
            id,
            label: node.label.clone(),
            joined,
            value: Joiner::new(joined, &node.shape),
            reference: keeps.then(Wide::default),
            own: (joined == Joined::Total).then(Wide::default),
            comparison: None,
            local: None,
            beyond: None,
        })
    }

    /// Takes in a sub-batch's value with its reference; the first row is at `at`.
    fn add(
        &mut self,
        value: &Tensor,
        reference: Option<&RefValue>,
        at: usize,
        is_gpu: bool,
    ) -> Result<()> {
        self.value.add(value);
        let Some(reference) = reference else {
            return Ok(());
        };
        if is_gpu {
            let compared = compare(&self.label, value, reference)?;
            put(&mut self.comparison, self.joined, compared, at);
        }
        match (&mut self.reference, self.joined) {
            (Some(kept), Joined::Rows) => kept.append(reference),
            (Some(kept), Joined::Total) => kept.add(reference),
            (Some(kept), Joined::Shared) if kept.value.is_empty() => kept.append(reference),
            _ => {}
        }
        if self.joined == Joined::Rows {
            self.beyond = Beyond::joined(self.beyond, Beyond::of(&reference.value));
        }
        Ok(())
    }

    /// Takes in how a sub-batch's value compares with float64 arithmetic on its own
    /// operands.
    fn verify(&mut self, value: &Tensor, own: &RefValue, at: usize) -> Result<()> {
        let compared = compare(&self.label, value, own)?;
        put(&mut self.local, self.joined, compared, at);
        if let Some(sum) = &mut self.own {
            sum.add(own);
        }
        Ok(())
    }

    fn finish(self, split: &Split<'_>, is_gpu: bool) -> Result<(NodeId, Computed)> {
        let dims = split.graph().shape(self.id)?.dims().to_vec();
        let rounding: Option<Vec<f64>> = match &self.value {
            Joiner::Total(sum) => Some(sum.rounding().collect()),
            _ => None,
        };
        let mut value = self.value.finish()?;
        let reference = self.reference.and_then(|wide| wide.shaped(&dims));
        let own = self.own.and_then(|wide| wide.shaped(&dims));
        let (mut comparison, mut local) = (self.comparison, self.local);
        if let (Some(rounding), true) = (rounding, is_gpu) {
            // The sum itself: the parts' bounds together, and the sum's rounding.
            for (kept, truth) in [(&mut comparison, &reference), (&mut local, &own)] {
                let (Some(parts), Some(truth)) = (kept.take(), truth) else {
                    continue;
                };
                let mut truth = truth.clone();
                truth
                    .error
                    .iter_mut()
                    .zip(&rounding)
                    .for_each(|(e, r)| *e += r);
                let mut whole = compare(&self.label, &value, &truth)?;
                whole.join(parts);
                *kept = Some(whole);
            }
        }
        if let (Some(reference), false, Joined::Total) = (&reference, is_gpu, self.joined) {
            // The reference alone is rounded once.
            let rounded = reference.value.iter().map(|&v| v as f32).collect();
            value = Tensor::new(&dims, rounded)?;
        }
        let beyond = match (self.joined, &reference) {
            (Joined::Rows, _) | (_, None) => self.beyond,
            (_, Some(reference)) => Beyond::of(&reference.value),
        };
        let computed = Computed {
            value,
            reference,
            comparison,
            local,
            beyond,
        };
        Ok((self.id, computed))
    }
}

/// Puts a sub-batch's comparison to those before it.
fn put(known: &mut Option<Comparison>, joined: Joined, compared: Comparison, at: usize) {
    match known {
        None => {
            let mut first = compared;
            if let Some(row) = first.worst.as_mut().and_then(|w| w.index.first_mut()) {
                *row += at;
            }
            *known = Some(first);
        }
        Some(known) if joined == Joined::Rows => known.append(compared, at),
        Some(known) => known.join(compared),
    }
}

/// Computes and compares each sub-batch, and puts their values together.
pub(super) async fn compute(
    prepared: &Prepared,
    gpu: Option<&Gpu>,
    detail: Detail,
    cut: &Cut,
    tell: &mut dyn FnMut(usize, usize),
) -> Result<BTreeMap<NodeId, Computed>> {
    let split = split(prepared, detail)?;
    let rows: usize = cut.sizes.iter().sum();
    let mut gathered = Vec::new();
    for &id in split.outputs() {
        gathered.push(Gathered::new(&split, id)?);
    }
    match gpu {
        Some(gpu) => {
            let plan = |part: &Part| {
                let plan = plan_of_part(&split, part, gpu)?;
                log::info!("planned for {} rows: {}", part.rows, plan.summary());
                Ok(plan)
            };
            let watch = Watch::start();
            each(gpu, &split, cut, &prepared.feeds, plan, |done| {
                of_gpu(&split, detail, done, &mut gathered)?;
                let end = done.first + done.part.rows;
                log::info!("{end} of {rows} rows done, {watch} so far");
                tell(end, rows);
                Ok(())
            })
            .await?;
        }
        None => of_reference(&split, prepared, cut, &mut gathered, tell)?,
    }
    let each = gathered.into_iter();
    each.map(|g| g.finish(&split, gpu.is_some())).collect()
}

/// Takes in what a sub-batch computed on a GPU.
fn of_gpu(
    split: &Split<'_>,
    detail: Detail,
    done: &Done<'_>,
    gathered: &mut [Gathered],
) -> Result<()> {
    let part = done.part;
    let nodes = own_nodes(split, part, split.outputs())?;
    let reference = match detail.check {
        true => Some(cpu::evaluate(&part.graph, done.feeds, &nodes)?),
        false => None,
    };
    let mut place = BTreeMap::new();
    for (i, g) in gathered.iter_mut().enumerate() {
        let own = part.node(g.id)?;
        place.insert(own, i);
        let truth = match &reference {
            Some(reference) => Some(reference.get(own)?),
            None => None,
        };
        let at = split.offset(g.id, done.first)?;
        g.add(done.outputs.get(own)?, truth, at, true)?;
    }
    drop(reference);
    if !detail.check {
        return Ok(());
    }
    let mut values = BTreeMap::new();
    for &id in &nodes {
        values.insert(id, done.outputs.get(id)?.clone());
    }
    check::steps::each(
        &part.graph,
        done.feeds,
        &values,
        |id, value, own| match place.get(&id).map(|&i| &mut gathered[i]) {
            Some(g) => {
                let at = split.offset(g.id, done.first)?;
                g.verify(value, &own, at)
            }
            None => Ok(()),
        },
    )
}

/// Computes the sub-batches by the reference alone.
fn of_reference(
    split: &Split<'_>,
    prepared: &Prepared,
    cut: &Cut,
    gathered: &mut [Gathered],
    tell: &mut dyn FnMut(usize, usize),
) -> Result<()> {
    let all = cut.sizes.iter().sum();
    for (first, rows) in cut.ranges() {
        let part = split.part(rows)?;
        let feeds = split.feeds(&prepared.feeds, first, rows)?;
        let nodes = part.nodes(split.outputs())?;
        let reference = cpu::evaluate(&part.graph, &feeds, &nodes)?;
        for g in gathered.iter_mut() {
            let own = part.node(g.id)?;
            let at = split.offset(g.id, first)?;
            g.add(
                &reference.rounded(own)?,
                Some(reference.get(own)?),
                at,
                false,
            )?;
        }
        tell(first + rows, all);
    }
    Ok(())
}
