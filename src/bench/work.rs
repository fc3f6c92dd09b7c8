//! What is measured: a network with a loss on a batch, and the graph of one
//! step of it (forward, loss, every weight gradient).

use rand_mt::Mt;

use crate::autodiff::gradient;
use crate::error::{Error, Result};
use crate::graph::{Graph, NodeId, Precision, Target};
use crate::nn::{Loss, Network};
use crate::plan::{Plan, PlanOptions};
use crate::run::Feeds;
use crate::tensor::Tensor;

/// A network with a loss, on a batch of random rows.
#[derive(Clone, PartialEq, Debug)]
pub struct Work {
    /// The network.
    pub network: Network,
    /// The loss; it must give one value.
    pub loss: Loss,
    /// Rows.
    pub batch: usize,
    /// Networks side by side in one dispatch, each with weights and rows of its
    /// own.
    pub replicas: usize,
}

/// The graph of one step, and the values of its leaves.
#[derive(Debug)]
pub(super) struct Step {
    pub graph: Graph,
    /// Those of each replica.
    pub feeds: Vec<Feeds>,
    pub loss: NodeId,
    /// The gradient of each parameter, by the parameter's key.
    pub gradients: Vec<(String, NodeId)>,
}

/// The label of the batch in the graph.
pub(super) const INPUT: &str = "input";
/// The label of the targets in the graph.
pub(super) const TARGET: &str = "target";

/// The networks of a plain `wgrad bench`, and their batches: the exercise's,
/// and two that are bound by their matrix products.
const DEFAULTS: [(&str, &[usize]); 3] = [
    (EXERCISE, &BATCHES),
    (
        "Sequential(Linear(784, 512), ReLU(), Linear(512, 256), ReLU(), Linear(256, 1), Sigmoid())",
        &[256],
    ),
    (
        "Sequential(Linear(1024, 1024), ReLU(), Linear(1024, 1024), ReLU(), Linear(1024, 1), \
         Sigmoid())",
        &[1024],
    ),
];

const EXERCISE: &str =
    "Sequential(Linear(4, 2, bias=False), ReLU(), Linear(2, 1, bias=False), Sigmoid())";

/// The batches of a network for which none are given.
pub const BATCHES: [usize; 4] = [1, 64, 1024, 65_536];

impl Work {
    /// The works of a plain run; with `batches`, the exercise's network on
    /// these alone.
    ///
    /// # Errors
    /// None in practice: the texts are fixed, and tested.
    pub fn defaults(batches: Option<&[usize]>) -> Result<Vec<Work>> {
        let loss = Loss::parse("BCELoss")?;
        if let Some(batches) = batches {
            return Ok(Work::on(&Network::parse(EXERCISE)?, &loss, batches));
        }
        let mut works = Vec::new();
        for (text, own) in DEFAULTS {
            works.extend(Work::on(&Network::parse(text)?, &loss, own));
        }
        Ok(works)
    }

    /// One network on several batches.
    pub fn on(network: &Network, loss: &Loss, batches: &[usize]) -> Vec<Work> {
        let work = |&batch| Work {
            network: network.clone(),
            loss: loss.clone(),
            batch,
            replicas: 1,
        };
        batches.iter().map(work).collect()
    }

    /// As many networks side by side.
    pub fn with_replicas(self, replicas: usize) -> Work {
        Work { replicas, ..self }
    }

    /// The precision of its products of matrices.
    pub fn precision(&self) -> Precision {
        self.network.precision().unwrap_or_default()
    }

    /// The same work with exact products.
    pub(super) fn exact(&self) -> Work {
        let network = self.network.clone().with_precision(Precision::F32);
        Work {
            network,
            ..self.clone()
        }
    }

    /// The sizes of the layers: `784-512-256-1`.
    pub fn name(&self) -> String {
        let mut sizes = Vec::new();
        sizes.extend(self.network.in_features());
        for part in self.network.parts() {
            sizes.extend((part.layer().features)(part.args()).map(|[_, gives]| gives));
        }
        let sizes: Vec<_> = sizes.iter().map(usize::to_string).collect();
        sizes.join("-")
    }

    /// The graph of one step, and its outputs: the loss and every gradient.
    ///
    /// # Errors
    /// As [`plan`](Work::plan).
    pub fn graph(&self) -> Result<(Graph, Vec<NodeId>)> {
        let step = self.step()?;
        let outputs = step.outputs();
        Ok((step.graph, outputs))
    }

    /// The plan of one step on a device like `target`.
    ///
    /// # Errors
    /// A network or loss that cannot be measured, shapes that do not fit.
    pub fn plan(&self, target: &Target) -> Result<Plan> {
        let one = self.clone().with_replicas(1).step()?;
        self.plan_of(&one.graph, &one.outputs(), target)
    }

    /// The plan of these outputs for all replicas.
    pub(super) fn plan_of(
        &self,
        graph: &Graph,
        outputs: &[NodeId],
        target: &Target,
    ) -> Result<Plan> {
        if self.replicas > 1 && self.precision().is_half() {
            return Err(Error::Limit(
                "networks side by side are one workgroup each, and products in float16 have \
                 kernels of their own: ask for 1 replica, or for products in float32"
                    .to_string(),
            ));
        }
        let options = PlanOptions {
            replicas: self.replicas,
            ..PlanOptions::default()
        };
        Plan::with_options(graph, outputs, target, &options)
    }

    /// The graph of one step, with PyTorch's initial weights after
    /// `torch.manual_seed(r)` for replica r, rows uniform in [-1, 1) and targets
    /// 0 and 1.
    ///
    /// # Errors
    /// A network that learns nothing or takes any number of features, a loss
    /// for each element, shapes that do not fit, a batch too large for memory.
    pub(super) fn step(&self) -> Result<Step> {
        let (Some(takes), Some(gives)) = (self.network.in_features(), self.network.out_features())
        else {
            return Err(Error::Text(
                "this network has no layer with weights, so there is no gradient to measure; \
                 give it a Linear"
                    .to_string(),
            ));
        };
        let mut graph = Graph::new();
        let x = graph.input(INPUT, &[self.batch, takes])?;
        let built = self.network.build(&mut graph, x)?;
        let y = graph.input(TARGET, &[self.batch, gives])?;
        let loss = self.loss.build(&mut graph, built.output, y)?;
        if graph.shape(loss)?.rank() != 0 {
            return Err(Error::Text(format!(
                "{} gives a loss for each element; a step needs one: use reduction='mean' or \
                 reduction='sum'",
                self.loss
            )));
        }
        let mut draws = Mt::new(1);
        let mut feeds = Vec::with_capacity(self.replicas);
        for replica in 0..self.replicas {
            let mut own: Feeds = self.network.init(replica as u64)?.into_iter().collect();
            let rows = values(&[self.batch, takes], || {
                (draws.next_u32() >> 8) as f32 / (1 << 23) as f32 - 1.0
            })?;
            own.insert(INPUT.to_string(), rows);
            let classes = values(&[self.batch, gives], || (draws.next_u32() >> 31) as f32)?;
            own.insert(TARGET.to_string(), classes);
            feeds.push(own);
        }
        let wrt: Vec<NodeId> = built.parameters.iter().map(|(_, id)| *id).collect();
        let nodes = gradient(&mut graph, loss, &wrt)?;
        let keys = built.parameters.into_iter().map(|(key, _)| key);
        Ok(Step {
            gradients: keys.zip(nodes).collect(),
            graph,
            feeds,
            loss,
        })
    }
}

impl Step {
    /// The loss and every gradient.
    pub fn outputs(&self) -> Vec<NodeId> {
        let gradients = self.gradients.iter().map(|(_, id)| *id);
        std::iter::once(self.loss).chain(gradients).collect()
    }

    /// The values of all replicas along a leading axis, as a program takes them.
    pub fn all_feeds(&self) -> Result<Feeds> {
        let [first, rest @ ..] = &self.feeds[..] else {
            return Ok(Feeds::new());
        };
        let mut all = first.clone();
        for (label, value) in all.iter_mut().filter(|_| !rest.is_empty()) {
            let own = self.feeds.iter().filter_map(|f| f.get(label));
            let data = own.flat_map(|t| t.data().iter().copied()).collect();
            *value = Tensor::new(&[&[self.feeds.len()], value.dims()].concat(), data)?;
        }
        Ok(all)
    }

    /// The part of an output that is replica `r`'s.
    pub fn own(&self, output: &Tensor, r: usize) -> Result<Tensor> {
        if self.feeds.len() == 1 {
            return Ok(output.clone());
        }
        let dims = &output.dims()[1..];
        let numel: usize = dims.iter().product();
        let data = output.data()[r * numel..(r + 1) * numel].to_vec();
        Ok(Tensor::new(dims, data)?)
    }
}

fn values(dims: &[usize], mut next: impl FnMut() -> f32) -> Result<Tensor> {
    let count = crate::shape::Shape::new(dims)?.numel();
    let mut data = Vec::new();
    data.try_reserve_exact(count).map_err(|_| {
        Error::Limit(format!(
            "a batch of shape {dims:?} does not fit into memory; make it smaller"
        ))
    })?;
    data.extend((0..count).map(|_| next()));
    Ok(Tensor::new(dims, data)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_defaults_are_the_three_networks() {
        let works = Work::defaults(None).unwrap();
        let names: Vec<_> = works.iter().map(|w| (w.name(), w.batch)).collect();
        let want = [
            ("4-2-1", 1),
            ("4-2-1", 64),
            ("4-2-1", 1024),
            ("4-2-1", 65_536),
            ("784-512-256-1", 256),
            ("1024-1024-1024-1", 1024),
        ];
        assert_eq!(names, want.map(|(name, batch)| (name.to_string(), batch)));
        let some = Work::defaults(Some(&[7, 9])).unwrap();
        assert!(some.iter().all(|w| w.name() == "4-2-1"));
        assert_eq!(some.iter().map(|w| w.batch).collect::<Vec<_>>(), [7, 9]);
    }

    #[test]
    fn a_step_has_its_loss_and_every_gradient() {
        let step = Work::defaults(Some(&[3])).unwrap()[0].step().unwrap();
        let keys: Vec<_> = step.gradients.iter().map(|(key, _)| key.as_str()).collect();
        assert_eq!(keys, ["0.weight", "2.weight"]);
        assert_eq!(step.outputs().len(), 3);
        let rows = step.feeds[0][INPUT].data();
        assert!(rows.iter().all(|v| (-1.0..1.0).contains(v)) && rows.len() == 12);
        assert!(
            step.feeds[0][TARGET]
                .data()
                .iter()
                .all(|&v| v == 0.0 || v == 1.0)
        );
    }

    #[test]
    fn what_cannot_be_measured_is_an_error() {
        let of = |network: &str, loss: &str| Work {
            network: Network::parse(network).unwrap(),
            loss: Loss::parse(loss).unwrap(),
            batch: 2,
            replicas: 1,
        };
        let error = of("ReLU()", "MSELoss").step().unwrap_err().to_string();
        assert!(error.contains("Linear"), "{error}");
        let error = of("Linear(2, 1)", "MSELoss(reduction='none')").step();
        assert!(error.unwrap_err().to_string().contains("'sum'"));
    }
}
