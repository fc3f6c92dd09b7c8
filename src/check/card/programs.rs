//! Whole networks, forward and backward, in each way that the planner has: a
//! kernel for each op, fused kernels, row programs, workgroup programs.

use super::run::{Subject, Way};
use super::values::Random;
use super::{Examiner, Section};
use crate::autodiff::gradient;
use crate::error::Result;
use crate::graph::{Graph, NodeId, Precision};
use crate::nn::{Loss, Network};
use crate::run::Feeds;

/// A network with its loss, and the batches to try it with.
pub(super) struct Net {
    pub name: &'static str,
    text: &'static str,
    loss: &'static str,
    /// The first is all that a short card has.
    batches: &'static [usize],
}

/// Small enough for row programs, for workgroup programs, and for neither.
pub(super) static NETS: [Net; 4] = [
    Net {
        name: "4-2-1",
        text: "Sequential(Linear(4, 2), ReLU(), Linear(2, 1), Sigmoid())",
        loss: "BCELoss()",
        batches: &[65, 1, 3, 64, 255, 256, 257, 1025, 65_537],
    },
    Net {
        name: "5-7-3",
        text: "Sequential(Linear(5, 7), Sigmoid(), Linear(7, 3, bias=False))",
        loss: "MSELoss(reduction='sum')",
        batches: &[33, 1, 31, 130],
    },
    Net {
        name: "16-16-1",
        text: "Sequential(Linear(16, 16), ReLU(), Linear(16, 1))",
        loss: "BCEWithLogitsLoss()",
        batches: &[31, 32],
    },
    Net {
        name: "67-45-2",
        text: "Sequential(Linear(67, 45), ReLU(), Linear(45, 2), Sigmoid())",
        loss: "BCELoss()",
        batches: &[13, 129],
    },
];

pub(super) fn names() -> impl Iterator<Item = &'static str> {
    NETS.iter().map(|net| net.name)
}

/// A step of a network: its graph, the loss and all gradients, and values.
pub(super) struct Step {
    pub graph: Graph,
    pub parts: Vec<(String, NodeId)>,
    pub feeds: Feeds,
}

impl Net {
    pub fn step(&self, batch: usize, precision: Precision) -> Result<Step> {
        let network = Network::parse(self.text)?;
        let loss = Loss::parse(self.loss)?;
        let mut graph = Graph::with_precision(precision);
        let mut random = Random::new(batch as u64);
        let mut feeds = Feeds::new();
        let (takes, gives) = (network.in_features(), network.out_features());
        let dims = [takes, gives].map(|n| [batch, n.unwrap_or(1)]);
        let x = graph.input("x", &dims[0])?;
        let y = graph.input("y", &dims[1])?;
        feeds.insert("x".to_string(), random.tensor(&dims[0], (-1.0, 1.0))?);
        feeds.insert("y".to_string(), random.tensor(&dims[1], (0.0, 1.0))?);
        let built = network.build(&mut graph, x)?;
        let loss = loss.build(&mut graph, built.output, y)?;
        let mut parts = vec![("loss".to_string(), loss)];
        let parameters: Vec<NodeId> = built.parameters.iter().map(|p| p.1).collect();
        let gradients = gradient(&mut graph, loss, &parameters)?;
        for ((key, id), gradient) in built.parameters.iter().zip(gradients) {
            let dims = graph.shape(*id)?.dims().to_vec();
            // As PyTorch draws them, so that no layer saturates.
            let most = 1.0 / (dims[dims.len() - 1] as f32).sqrt();
            feeds.insert(key.clone(), random.tensor(&dims, (-most, most))?);
            parts.push((format!("d/d {key}"), gradient));
        }
        Ok(Step {
            graph,
            parts,
            feeds,
        })
    }

    /// The batches of a short card or of a full one.
    pub fn batches(&self, quick: bool) -> &'static [usize] {
        match quick {
            true => &self.batches[..1],
            false => self.batches,
        }
    }
}

pub(super) fn examine(examiner: &mut Examiner<'_>) -> Result<Section> {
    let mut section = Section::new(
        "networks",
        "whole steps in every way of planning them, against float64",
    );
    for net in &NETS {
        if !examiner.wants(net.name) {
            continue;
        }
        examiner.progress(net.name);
        for &batch in net.batches(examiner.options.quick) {
            let step = net.step(batch, examiner.options.precision)?;
            let subject = Subject {
                name: net.name,
                graph: &step.graph,
                parts: &step.parts,
                feeds: &step.feeds,
                target: examiner.gpu.target(),
                what: &format!("batch {batch}"),
                memory: true,
            };
            let ways = [
                Way::Each,
                Way::Plain,
                Way::Whole,
                Way::Workgroup,
                Way::Fused,
            ];
            examiner.judge(&subject, &ways, &mut section)?;
        }
    }
    Ok(section)
}
