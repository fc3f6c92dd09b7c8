//! Each op and each of its gradients: on its samples, on lengths around those of
//! vectors, subgroups and workgroups, and on values at the edges of its domain.

use std::collections::BTreeSet;

use super::run::{Subject, Way};
use super::values::{Filling, Random};
use super::{Examiner, Section};
use crate::autodiff::vjp;
use crate::error::{Error, Result};
use crate::graph::{Graph, NodeId, Precision, Sample};
use crate::ops;

/// One below, at and above the sizes of vectors, subgroups and workgroups; and
/// primes.
const LENGTHS: [usize; 20] = [
    0, 1, 2, 3, 7, 13, 31, 32, 33, 63, 64, 65, 127, 255, 256, 257, 1021, 1023, 1024, 65_537,
];

/// The largest values at which gradients are examined.
const LARGE: f32 = 1e30;

/// The names of all ops.
pub(super) fn names() -> Vec<&'static str> {
    ops::ALL.iter().flat_map(|f| f.ops).copied().collect()
}

/// A sample's graph: leaves `x0`, `x1`, ..., the op, and its gradients.
pub(super) struct Built {
    pub graph: Graph,
    pub leaves: Vec<NodeId>,
    pub output: NodeId,
}

impl Built {
    pub fn new(sample: &Sample, precision: Precision) -> Result<Built> {
        let mut graph = Graph::with_precision(precision);
        let mut leaves = Vec::new();
        for (i, dims) in sample.shapes.iter().enumerate() {
            leaves.push(graph.input(&format!("x{i}"), dims)?);
        }
        let output = (sample.build)(&mut graph, &leaves)?;
        Ok(Built {
            graph,
            leaves,
            output,
        })
    }

    /// The op's name; nothing where the sample has nothing to compute.
    pub fn op(&self) -> Option<&'static str> {
        let node = self.graph.node(self.output).ok()?;
        node.op().map(|op| op.name())
    }
}

pub(super) fn examine(examiner: &mut Examiner<'_>) -> Result<Section> {
    let mut section = Section::new(
        "ops",
        "each op and each gradient, against float64, at awkward sizes and values",
    );
    let mut random = Random::new(1);
    for family in ops::ALL {
        if family.ops.iter().any(|name| examiner.wants(name)) {
            examiner.progress(family.name);
        }
        let mut seen = BTreeSet::new();
        for (n, mut sample) in (family.samples)().into_iter().enumerate() {
            let built = Built::new(&sample, examiner.options.precision)?;
            let Some(op) = built.op().filter(|op| examiner.wants(op)) else {
                continue;
            };
            let what = format!("sample {n} of {} {:?}", family.name, sample.shapes);
            on_sample(examiner, &mut section, &sample, op, &what, &mut random)?;
            let display = (built.graph.node(built.output)?.op()).map(|op| op.to_string());
            if seen.insert(display) && takes_any_length(&mut sample) {
                lengths(examiner, &mut section, &mut sample, op, &mut random)?;
            }
        }
    }
    Ok(section)
}

/// One sample with each filling, forward and backward.
fn on_sample(
    examiner: &Examiner<'_>,
    section: &mut Section,
    sample: &Sample,
    op: &str,
    what: &str,
    random: &mut Random,
) -> Result<()> {
    let Built {
        mut graph,
        leaves,
        output,
    } = Built::new(sample, examiner.options.precision)?;
    let dims = graph.shape(output)?.dims().to_vec();
    let cotangent = graph.input("cotangent", &dims)?;
    let mut parts = vec![("forward".to_string(), output)];
    for (i, &leaf) in leaves.iter().enumerate() {
        match vjp(&mut graph, output, cotangent, &[leaf]) {
            Ok(grads) => parts.extend(grads.into_iter().map(|id| (format!("d/d x{i}"), id))),
            // A rule that is written down as missing.
            Err(Error::Unsupported(_)) => {}
            Err(error) => return Err(error),
        }
    }
    let sums = matches!(op, "sum" | "mean" | "matmul");
    let fillings = [Filling::Random, Filling::Edges, Filling::Swamped];
    for filling in &fillings[..if sums { 3 } else { 2 }] {
        let mut feeds = filling.feeds(sample, random)?;
        let value = random.tensor(&dims, (-1.5, 1.5))?;
        feeds.insert("cotangent".to_string(), value);
        let edges = *filling == Filling::Edges;
        // Of infinities, and of what overflows on its way, no gradient is
        // promised: a sum of it depends on the order.
        let tame = |list: &Vec<f32>| list.iter().all(|v| v.abs() <= LARGE);
        let parts = match edges && !sample.edges.iter().all(tame) {
            true => &parts[..1],
            false => &parts[..],
        };
        let subject = Subject {
            name: op,
            graph: &graph,
            parts,
            feeds: &feeds,
            target: examiner.gpu.target(),
            what: &format!("{what}, {}", filling.name()),
            memory: *filling == Filling::Random,
        };
        // Where a bound is carried past an edge there may be none left.
        let ways: &[Way] = match edges {
            true => &[Way::Each],
            false => &[Way::Each, Way::Plain, Way::Whole],
        };
        examiner.judge(&subject, ways, section)?;
    }
    Ok(())
}

/// Whether the op is elementwise: it keeps a length that none of its samples has.
fn takes_any_length(sample: &mut Sample) -> bool {
    let mut shapes = vec![vec![29]; sample.shapes.len()];
    std::mem::swap(&mut shapes, &mut sample.shapes);
    let kept = Built::new(sample, Precision::F32).is_ok_and(|b| {
        b.graph
            .shape(b.output)
            .is_ok_and(|shape| shape.dims() == [29])
    });
    std::mem::swap(&mut shapes, &mut sample.shapes);
    kept
}

/// An elementwise op at each of [`LENGTHS`], and at its edges in all
/// combinations.
fn lengths(
    examiner: &Examiner<'_>,
    section: &mut Section,
    sample: &mut Sample,
    op: &str,
    random: &mut Random,
) -> Result<()> {
    let combinations: usize = sample.edges.iter().map(Vec::len).product();
    let most = if examiner.options.quick {
        1024
    } else {
        usize::MAX
    };
    let lengths = LENGTHS.iter().filter(|&&n| n <= most);
    let tries = lengths
        .map(|&n| (n, Filling::Random))
        .chain([(combinations, Filling::Edges)]);
    for (length, filling) in tries {
        for dims in &mut sample.shapes {
            *dims = vec![length];
        }
        let Built { graph, output, .. } = Built::new(sample, Precision::F32)?;
        let feeds = filling.feeds(sample, random)?;
        let subject = Subject {
            name: op,
            graph: &graph,
            parts: &[("forward".to_string(), output)],
            feeds: &feeds,
            target: examiner.gpu.target(),
            what: &format!("length {length}, {}", filling.name()),
            memory: filling == Filling::Random,
        };
        examiner.judge(&subject, &[Way::Each], section)?;
    }
    Ok(())
}
