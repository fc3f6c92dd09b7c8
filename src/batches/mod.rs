//! Batches that are too large for a device, or whose float64 reference is too
//! large for the host, run in sub-batches: the same graph for fewer rows at a time.
//!
//! [`Split`] finds out from the graph which values go row by row (they are put one
//! behind the other) and which are sums over the rows (they are added up, [`Sum`]),
//! and refuses a graph that mixes rows in another way. [`Cut`] is how many rows go
//! at a time, and why. [`run`] does all of it:
//!
//! ```
//! use wgrad::{Feeds, Gpu, GpuOptions, Graph, Tensor, batches, gradient};
//!
//! let mut g = Graph::new();
//! let x = g.input("x", &[60_000, 1])?;
//! let w = g.parameter("w", &[1, 1])?;
//! let y = g.linear(x, w, None)?;
//! let each = g.mul(y, y)?;
//! let loss = g.mean_all(each)?;
//! let dw = gradient(&mut g, loss, &[w])?[0];
//! let feeds = Feeds::from([
//!     ("x".to_string(), Tensor::new(&[60_000, 1], vec![1.0; 60_000])?),
//!     ("w".to_string(), Tensor::new(&[1, 1], vec![2.0])?),
//! ]);
//! let options = GpuOptions { max_memory: Some(200_000), ..GpuOptions::default() };
//! let gpu = pollster::block_on(Gpu::open(options))?;
//! let run = pollster::block_on(batches::run(&gpu, &g, &feeds, &[loss, dw], &["x"]))?;
//! assert_eq!(run.get(dw)?.data(), [4.0]);
//! assert!(run.cut.is_some_and(|cut| cut.sizes.len() > 1));
//! # Ok::<(), wgrad::Error>(())
//! ```

mod cut;
mod joiner;
mod rules;
mod split;

use std::cell::OnceCell;
use std::collections::BTreeMap;

pub use cut::{Cut, Need};
pub use joiner::{Joiner, Sum};
pub use split::{Joined, Part, Split};

use crate::error::{Error, Result};
use crate::graph::{Graph, NodeId};
use crate::plan::Plan;
use crate::run::Feeds;
use crate::run::gpu::{Gpu, Outputs, Program};
use crate::tensor::Tensor;

/// The values of a batch, however it ran.
#[derive(Debug)]
pub struct Run {
    values: BTreeMap<NodeId, Tensor>,
    /// How the batch was cut; `None` if it ran whole.
    pub cut: Option<Cut>,
}

impl Run {
    /// The value of an output.
    ///
    /// # Errors
    /// The node is not among the outputs.
    pub fn get(&self, id: NodeId) -> Result<&Tensor> {
        self.values.get(&id).ok_or_else(|| {
            Error::Graph(format!(
                "node {id} is not among the outputs of this run; name it when you run"
            ))
        })
    }
}

/// One sub-batch that ran.
pub struct Done<'a> {
    /// Its graph.
    pub part: &'a Part,
    /// The values of its leaves.
    pub feeds: &'a Feeds,
    /// Its first row in the whole batch.
    pub first: usize,
    /// What was read back.
    pub outputs: &'a Outputs,
}

/// Runs `graph` on `gpu`: whole if the device can hold it, else in sub-batches as
/// large as it can. Axis 0 of the leaves `batched` is the batch.
///
/// # Errors
/// As [`Split::new`], [`Cut::find`], [`Gpu::compile_plan`] and a run.
pub async fn run(
    gpu: &Gpu,
    graph: &Graph,
    feeds: &Feeds,
    outputs: &[NodeId],
    batched: &[&str],
) -> Result<Run> {
    let split = OnceCell::new();
    let split = || once(&split, || Split::new(graph, outputs, batched));
    let rows = split::rows_of(graph, batched)?;
    let cut = Cut::find(rows, Some(gpu), |n| {
        let plan = match n == rows {
            true => Plan::with_target(graph, outputs, gpu.target())?,
            false => {
                let part = split()?.part(n)?;
                Plan::with_target(&part.graph, &part.nodes(outputs)?, gpu.target())?
            }
        };
        Ok(Need::of_plans(vec![plan]))
    })?;
    let mut values = BTreeMap::new();
    let Some(cut) = cut else {
        let mut program = gpu
            .compile_plan(Plan::with_target(graph, outputs, gpu.target())?)
            .await?;
        program.set_all(feeds)?;
        let got = program.run_async().await?;
        for &id in outputs {
            values.insert(id, got.get(id)?.clone());
        }
        return Ok(Run { values, cut: None });
    };
    let split = split()?;
    let mut joiners = BTreeMap::new();
    for &id in outputs {
        joiners.insert(id, Joiner::new(split.joined(id), graph.shape(id)?));
    }
    let plan = |part: &Part| Plan::with_target(&part.graph, &part.nodes(outputs)?, gpu.target());
    each(gpu, split, &cut, feeds, plan, |done| {
        for (&id, joiner) in &mut joiners {
            joiner.add(done.outputs.get(done.part.node(id)?)?);
        }
        Ok(())
    })
    .await?;
    for (id, joiner) in joiners {
        values.insert(id, joiner.finish()?);
    }
    Ok(Run {
        values,
        cut: Some(cut),
    })
}

/// What is made when it is first asked for.
pub(crate) fn once<T>(cell: &OnceCell<T>, make: impl FnOnce() -> Result<T>) -> Result<&T> {
    match cell.get() {
        Some(made) => Ok(made),
        None => {
            let made = make()?;
            Ok(cell.get_or_init(|| made))
        }
    }
}

/// Runs the sub-batches of `cut`, one after the other, by the plans that `plan`
/// makes, and hands each to `then`. A program is made once for all sub-batches of
/// a size.
///
/// # Errors
/// As [`Gpu::compile_plan`] and a run; those of `plan` and `then`.
pub async fn each(
    gpu: &Gpu,
    split: &Split<'_>,
    cut: &Cut,
    feeds: &Feeds,
    plan: impl Fn(&Part) -> Result<Plan>,
    mut then: impl FnMut(&Done<'_>) -> Result<()>,
) -> Result<()> {
    let mut made: Option<(Part, Program)> = None;
    for (first, rows) in cut.ranges() {
        if made.as_ref().is_none_or(|(part, _)| part.rows != rows) {
            // The memory of the last is free before the next takes its own.
            drop(made.take());
            let part = split.part(rows)?;
            let program = gpu.compile_plan(plan(&part)?).await?;
            made = Some((part, program));
        }
        let Some((part, program)) = &mut made else {
            continue;
        };
        let feeds = split.feeds(feeds, first, rows)?;
        program.set_all(&feeds)?;
        let outputs = program.run_async().await?;
        then(&Done {
            part,
            feeds: &feeds,
            first,
            outputs,
        })?;
    }
    Ok(())
}
