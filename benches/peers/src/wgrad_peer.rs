//! wgrad: the graph of a step, compiled once.

use std::time::Instant;

use anyhow::{Context, Result};
use wgrad::nn::Reduction;
use wgrad::run::gpu::AdapterDescription;
use wgrad::{Gpu, Graph, NodeId, Program, Tensor, gradient};

use crate::peer::{Peer, Values, names};
use crate::work::{Net, Problem};

/// wgrad on one adapter.
pub struct Wgrad {
    gpu: Gpu,
    ready: Option<Ready>,
}

struct Ready {
    program: Program,
    outputs: Vec<NodeId>,
    names: Vec<String>,
}

impl Wgrad {
    /// On the adapter that the environment asks for, or the best.
    pub fn new() -> Result<Wgrad> {
        let gpu = Gpu::new()?;
        Ok(Wgrad { gpu, ready: None })
    }

    /// Another contestant on the same device.
    pub fn again(&self) -> Wgrad {
        let gpu = self.gpu.clone();
        Wgrad { gpu, ready: None }
    }

    /// The adapter.
    pub fn adapter(&self) -> &AdapterDescription {
        self.gpu.adapter()
    }
}

/// A graph, what it is to give, and the values of its leaves.
struct Model {
    graph: Graph,
    outputs: Vec<NodeId>,
    feeds: Vec<(String, Tensor)>,
}

fn network(net: &Net) -> Result<Model> {
    let mut g = Graph::new();
    let mut feeds = Vec::new();
    let x = g.input("x", &[net.batch, net.sizes[0]])?;
    let y = g.input("y", &[net.batch, 1])?;
    let tensor = Tensor::new(&[net.batch, net.sizes[0]], net.x.clone())?;
    feeds.push(("x".to_string(), tensor));
    feeds.push((
        "y".to_string(),
        Tensor::new(&[net.batch, 1], net.y.clone())?,
    ));
    let mut parameters = Vec::new();
    let mut h = x;
    for (i, (w, b)) in net.layers.iter().enumerate() {
        let (fan_in, fan_out) = (net.sizes[i], net.sizes[i + 1]);
        let (weight, bias) = (format!("{i}.weight"), format!("{i}.bias"));
        let nodes = [
            g.parameter(&weight, &[fan_out, fan_in])?,
            g.parameter(&bias, &[fan_out])?,
        ];
        feeds.push((weight, Tensor::new(&[fan_out, fan_in], w.clone())?));
        feeds.push((bias, Tensor::new(&[fan_out], b.clone())?));
        h = g.linear(h, nodes[0], Some(nodes[1]))?;
        if i + 1 < net.layers.len() {
            h = g.relu(h)?;
        }
        parameters.extend(nodes);
    }
    let p = g.sigmoid(h)?;
    let loss = g.bce_loss(p, y, None, Reduction::Mean)?;
    let mut outputs = vec![loss];
    outputs.extend(gradient(&mut g, loss, &parameters)?);
    Ok(Model {
        graph: g,
        outputs,
        feeds,
    })
}

fn product(size: usize, a: &[f32], b: &[f32]) -> Result<Model> {
    let mut g = Graph::new();
    let dims = [size, size];
    let (left, right) = (g.input("a", &dims)?, g.input("b", &dims)?);
    let c = g.matmul(left, right)?;
    let feeds = vec![
        ("a".to_string(), Tensor::new(&dims, a.to_vec())?),
        ("b".to_string(), Tensor::new(&dims, b.to_vec())?),
    ];
    Ok(Model {
        graph: g,
        outputs: vec![c],
        feeds,
    })
}

impl Peer for Wgrad {
    fn name(&self) -> &'static str {
        "wgrad"
    }

    fn prepare(&mut self, problem: &Problem) -> Result<()> {
        let model = match problem {
            Problem::Net(net) => network(net)?,
            Problem::Matmul { size, a, b } => product(*size, a, b)?,
        };
        let mut program = self.gpu.compile(&model.graph, &model.outputs)?;
        for (label, value) in &model.feeds {
            program.set(label, value)?;
        }
        self.ready = Some(Ready {
            program,
            outputs: model.outputs,
            names: names(problem),
        });
        Ok(())
    }

    fn answer(&mut self) -> Result<Values> {
        let ready = self.ready.as_mut().context("wgrad has no problem yet")?;
        let values = ready.program.run()?;
        let read = |(name, &node): (&String, &NodeId)| {
            Ok((name.clone(), values.get(node)?.data().to_vec()))
        };
        ready.names.iter().zip(&ready.outputs).map(read).collect()
    }

    fn burst(&mut self, reads: usize, steps: usize) -> Result<f64> {
        let ready = self.ready.as_mut().context("wgrad has no problem yet")?;
        let count = steps.try_into()?;
        // A product stays on the device; the call waits for it all the same.
        let losses = usize::from(ready.names[0] == "loss");
        let began = Instant::now();
        for _ in 0..reads {
            ready.program.run_steps(count, &ready.outputs[..losses])?;
        }
        Ok(began.elapsed().as_secs_f64())
    }
}
