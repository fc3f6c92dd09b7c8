//! The rules as gradients: each op's, and where it has one that of its gradient,
//! against central differences in float64. No adapter takes part.

use ndarray::{ArrayD, IxDyn};

use super::ops::Built;
use super::values::{Filling, Random};
use super::{Examiner, Failure, Section};
use crate::autodiff::gradient;
use crate::check::difference::{self, WideFeeds};
use crate::error::{Error, Result};
use crate::graph::{Graph, NodeId, Precision};
use crate::ops;
use crate::run::{Feeds, cpu};
use crate::tensor::Tensor;

/// Leaves with more elements take long, and a rule does not see sizes.
const MOST: usize = 200;
const QUICK_MOST: usize = 20;

/// What differences of fourth order leave uncertain: relative, and absolute.
const RELATIVE: f64 = 1e-6;
const ABSOLUTE: f64 = 1e-7;

pub(super) fn examine(examiner: &mut Examiner<'_>) -> Result<Section> {
    let mut section = Section::new(
        "gradients",
        "the rules against central differences, in float64 (share of 1e-7 + 1e-6 |value|)",
    );
    let most = if examiner.options.quick {
        QUICK_MOST
    } else {
        MOST
    };
    let mut random = Random::new(3);
    for family in ops::ALL {
        if family.ops.iter().any(|name| examiner.wants(name)) {
            examiner.progress(&format!("the rules of {}", family.name));
        }
        for sample in (family.samples)() {
            let size: usize = sample
                .shapes
                .iter()
                .map(|d| d.iter().product::<usize>())
                .sum();
            let built = Built::new(&sample, Precision::F32)?;
            let Some(op) = built.op().filter(|op| examiner.wants(op)) else {
                continue;
            };
            if size == 0 || size > most {
                continue;
            }
            let feeds = Filling::Random.feeds(&sample, &mut random)?;
            let check = Rule {
                examiner,
                op,
                what: format!("{:?}", sample.shapes),
            };
            check.of(
                built.graph,
                &built.leaves,
                built.output,
                &feeds,
                &mut section,
            )?;
            // The same leaf for every operand: its parts must all arrive.
            let same = sample.shapes.windows(2).all(|w| w[0] == w[1]);
            if same && sample.shapes.len() > 1 {
                let mut graph = Graph::new();
                let x = graph.input("x0", &sample.shapes[0])?;
                let all = vec![x; sample.shapes.len()];
                let output = (sample.build)(&mut graph, &all)?;
                // The narrowest range serves every operand.
                let low = sample.ranges.iter().map(|r| r.0).fold(f32::MIN, f32::max);
                let high = sample.ranges.iter().map(|r| r.1).fold(f32::MAX, f32::min);
                let value = random.tensor(&sample.shapes[0], (low, high))?;
                let feeds = [("x0".to_string(), value)].into();
                let check = Rule {
                    what: format!("{:?}, one leaf for all operands", sample.shapes[0]),
                    ..check
                };
                check.of(graph, &[x], output, &feeds, &mut section)?;
            }
        }
    }
    Ok(section)
}

fn wide(tensor: &Tensor) -> ArrayD<f64> {
    let values = tensor.data().iter().map(|&v| f64::from(v)).collect();
    // A tensor holds as many values as its shape has elements.
    ArrayD::from_shape_vec(IxDyn(tensor.dims()), values).expect("one value an element")
}

struct Rule<'a, 'g> {
    examiner: &'a Examiner<'g>,
    op: &'static str,
    what: String,
}

impl Rule<'_, '_> {
    /// Mid-graph, fan-out 2, random weights: L = sum(c * (f(x) + f(x)^2 / 4)),
    /// then the same of dL/dx.
    fn of(
        &self,
        mut graph: Graph,
        leaves: &[NodeId],
        output: NodeId,
        feeds: &Feeds,
        section: &mut Section,
    ) -> Result<()> {
        let mut feeds: WideFeeds = feeds.iter().map(|(k, v)| (k.clone(), wide(v))).collect();
        let square = graph.mul(output, output)?;
        let part = graph.scale(square, 0.25)?;
        let total = graph.add(output, part)?;
        let loss = weighted(&mut graph, total, "c", &mut feeds)?;
        for (i, &leaf) in leaves.iter().enumerate() {
            let Some(first) = self.gradient(&mut graph, loss, leaf)? else {
                continue;
            };
            self.compare(&graph, &feeds, (loss, i), first, "d/d", section)?;
            let slope = weighted(&mut graph, first, &format!("c{i}"), &mut feeds)?;
            if let Some(second) = self.gradient(&mut graph, slope, leaf)? {
                self.compare(&graph, &feeds, (slope, i), second, "second d/d", section)?;
            }
        }
        Ok(())
    }

    /// The gradient by the rules; nothing where one is written down as missing.
    fn gradient(&self, graph: &mut Graph, of: NodeId, by: NodeId) -> Result<Option<NodeId>> {
        match gradient(graph, of, &[by]) {
            Ok(mut found) => {
                if let (Some(tamper), Some(id)) =
                    (self.examiner.options.tamper_rule, found.first_mut())
                {
                    tamper(graph, id);
                }
                Ok(found.pop())
            }
            Err(Error::Unsupported(_)) => Ok(None),
            Err(error) => Err(error),
        }
    }

    fn compare(
        &self,
        graph: &Graph,
        feeds: &WideFeeds,
        (of, leaf): (NodeId, usize),
        gradient: NodeId,
        part: &str,
        section: &mut Section,
    ) -> Result<()> {
        let label = format!("x{leaf}");
        let rule = cpu::evaluate_wide(graph, feeds, &[gradient])?;
        let want = difference::gradient(graph, feeds, of, &label)?;
        let check = section.check(self.op, &format!("{part} {label}"));
        for ((index, got), want) in rule[0].indexed_iter().zip(&want) {
            check.values += 1;
            let share = (got - want).abs() / (ABSOLUTE + RELATIVE * want.abs());
            let wrong = share.is_nan() || share > 1.0;
            let what = || {
                format!(
                    "{:?}: the rule gives {got:.9}, differences {want:.9}; {}",
                    ndarray::Dimension::slice(&index),
                    self.what
                )
            };
            if share > check.max_share {
                check.max_share = share;
                check.worst = Some(what());
            }
            if wrong {
                check.failures += 1;
                check.failure.get_or_insert_with(|| Failure {
                    what: what(),
                    kernel: None,
                });
            }
        }
        Ok(())
    }
}

/// `sum(c * node)` with values for `c`.
fn weighted(graph: &mut Graph, node: NodeId, label: &str, feeds: &mut WideFeeds) -> Result<NodeId> {
    let dims = graph.shape(node)?.dims().to_vec();
    let c = graph.input(label, &dims)?;
    let value = Random::new(dims.len() as u64 + 7).tensor(&dims, (-1.0, 1.0))?;
    feeds.insert(label.to_string(), wide(&value));
    let product = graph.mul(node, c)?;
    graph.sum_all(product)
}
