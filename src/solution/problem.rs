//! What is given: network, loss, weights, a batch. Preparing it checks all of
//! it and builds the graph with every gradient.

use std::collections::BTreeMap;

use crate::autodiff::{gradient, vjp};
use crate::error::Result;
use crate::graph::{Graph, NodeId, Precision};
use crate::nn::{Loss, Network, Reduction};
use crate::run::Feeds;
use crate::tensor::Tensor;

/// A network with its loss, weights and batch.
#[derive(Clone, Debug)]
pub struct Problem {
    /// The network.
    pub network: Network,
    /// The loss.
    pub loss: Loss,
    /// A tensor for every parameter key of the network.
    pub weights: BTreeMap<String, Tensor>,
    /// The batch, `[..., features]`.
    pub input: Tensor,
    /// The targets, of the shape of the network's output.
    pub target: Tensor,
}

/// The graph of a problem, gradients included, and the values of its leaves.
#[derive(Debug)]
pub struct Prepared {
    /// The graph.
    pub graph: Graph,
    /// The values of its leaves.
    pub feeds: Feeds,
    /// Public names and their nodes: `loss`, `output`, `value.<i>`, `grad.<i>`,
    /// `grad.input`, `grad.<key>`.
    pub named: Vec<(String, NodeId)>,
    /// The network, as text.
    pub network: String,
    /// The loss, as text.
    pub loss: String,
    /// What the data made worth saying.
    pub warnings: Vec<String>,
    /// The node of the loss.
    pub loss_node: NodeId,
    /// Layers in order: title and output node.
    pub layers: Vec<(String, NodeId)>,
    /// Whether the network ends in a sigmoid and the loss is BCELoss.
    pub(super) sigmoid_then_bce: bool,
    /// The same with exact products, where those of the network are rounded.
    pub(super) exact: Option<Exact>,
}

/// A graph, and the nodes of [`Prepared::named`] in it.
#[derive(Debug)]
pub(super) struct Exact {
    pub precision: Precision,
    pub graph: Graph,
    pub nodes: Vec<NodeId>,
}

/// The label of the batch in the graph.
pub(super) const INPUT: &str = "input";
/// The label of the targets in the graph.
pub(super) const TARGET: &str = "target";

impl Problem {
    /// Checks weights and data and builds the graph with its gradients.
    ///
    /// # Errors
    /// A missing, superfluous or misshapen weight; shapes that do not fit; a
    /// target or a value outside the loss's domain.
    pub fn prepare(&self) -> Result<Prepared> {
        let mut prepared = self.built()?;
        let precision = self.network.precision().unwrap_or_default();
        if precision.is_half() {
            let network = self.network.clone().with_precision(Precision::F32);
            let same = Problem {
                network,
                ..self.clone()
            };
            let Prepared { graph, named, .. } = same.built()?;
            prepared.exact = Some(Exact {
                precision,
                graph,
                nodes: named.into_iter().map(|(_, id)| id).collect(),
            });
        }
        Ok(prepared)
    }

    fn built(&self) -> Result<Prepared> {
        self.network.check_weights(&self.weights)?;
        let mut warnings = Vec::new();
        let mut graph = Graph::new();
        let x = graph.input(INPUT, self.input.dims())?;
        let built = self.network.build(&mut graph, x)?;
        let y = graph.input(TARGET, self.target.dims())?;
        let loss = self.loss.build(&mut graph, built.output, y)?;
        warnings.extend(self.loss.check_target(&self.target)?);
        if self.target.data().is_empty() && self.loss.reduction() == Reduction::Mean {
            warnings.push(
                "there are no values to take the loss of: it is the mean of nothing, NaN; give \
                 at least one row"
                    .to_string(),
            );
        }

        let mut wrt = vec![x];
        wrt.extend(built.parameters.iter().map(|(_, id)| *id));
        wrt.extend(built.layers.iter().map(|layer| layer.node));
        let grads = if graph.shape(loss)?.rank() == 0 {
            gradient(&mut graph, loss, &wrt)?
        } else {
            // reduction='none': a cotangent of ones.
            let ones = Tensor::full(&graph.shape(loss)?.clone(), 1.0);
            let ones = graph.constant(ones);
            vjp(&mut graph, loss, ones, &wrt)?
        };

        let mut named = vec![
            ("loss".to_string(), loss),
            ("output".to_string(), built.output),
        ];
        for (i, layer) in built.layers.iter().enumerate() {
            named.push((format!("value.{i}"), layer.node));
        }
        let (of_input, rest) = (grads[0], &grads[1..]);
        let (of_parameters, of_layers) = rest.split_at(built.parameters.len());
        for (i, id) in of_layers.iter().enumerate() {
            named.push((format!("grad.{i}"), *id));
        }
        named.push(("grad.input".to_string(), of_input));
        for ((key, _), id) in built.parameters.iter().zip(of_parameters) {
            named.push((format!("grad.{key}"), *id));
        }
        let mut feeds = Feeds::from([
            (INPUT.to_string(), self.input.clone()),
            (TARGET.to_string(), self.target.clone()),
        ]);
        feeds.extend(self.weights.iter().map(|(k, v)| (k.clone(), v.clone())));
        let layers: Vec<_> = built
            .layers
            .iter()
            .map(|l| (l.title.clone(), l.node))
            .collect();
        let ends_in_sigmoid = graph
            .node(built.output)?
            .op()
            .is_some_and(|op| op.name() == "sigmoid");
        Ok(Prepared {
            sigmoid_then_bce: ends_in_sigmoid && self.loss.row().name == "BCELoss",
            graph,
            feeds,
            named,
            network: self.network.to_string(),
            loss: self.loss.to_string(),
            warnings,
            loss_node: loss,
            layers,
            exact: None,
        })
    }
}

impl Prepared {
    /// The leaves that a run is given, with their values.
    pub fn leaves(&self) -> impl Iterator<Item = (NodeId, &str, &Tensor)> {
        self.graph.nodes().filter_map(|(id, node)| {
            let value = self.feeds.get(&node.label).filter(|_| node.is_fed())?;
            Some((id, node.label.as_str(), value))
        })
    }

    /// Nodes and the nodes of their gradients, by their places in the graph, as far
    /// as these have public names.
    pub fn gradients(&self) -> impl Iterator<Item = (usize, usize)> {
        let node = |name: &str| {
            let found = self.named.iter().find(|(n, _)| n == name);
            found.map(|(_, id)| *id)
        };
        self.named.iter().filter_map(move |(name, gradient)| {
            let of = name.strip_prefix("grad.")?;
            let of = node(&format!("value.{of}")).or_else(|| self.graph.find(of))?;
            Some((of.index(), gradient.index()))
        })
    }
}
