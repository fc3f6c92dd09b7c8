//! burn: the wgpu backend with autodiff, fusion and autotune.

use std::time::Instant;

use anyhow::{Context, Result, bail};
use burn::tensor::activation::{relu, sigmoid};
use burn::tensor::module::linear;
use burn::tensor::{Device, DeviceKind, Tensor, TensorData};

use crate::peer::{Peer, Values, names};
use crate::work::{Net, Problem};

/// burn on one adapter.
pub struct Burn {
    device: Device,
    ready: Option<Ready>,
}

struct Ready {
    task: Task,
    names: Vec<String>,
}

enum Task {
    Net {
        x: Tensor<2>,
        y: Tensor<2>,
        /// Weights `[in, out]`, as burn keeps them.
        layers: Vec<(Tensor<2>, Tensor<1>)>,
    },
    Matmul {
        a: Tensor<2>,
        b: Tensor<2>,
    },
}

/// What a step leaves behind. burn computes lazily and need not compute what
/// nobody holds, so all of it is held until the loss has been read.
struct Step {
    result: Tensor<2>,
    gradients: Vec<(Tensor<2>, Tensor<1>)>,
}

impl Burn {
    /// On an adapter of wgrad's `kind`, which must be the one of this `name`
    /// unless that is empty.
    pub fn new(kind: &str, name: &str) -> Result<Burn> {
        let kind = match kind {
            "discrete GPU" => DeviceKind::DiscreteGpu(0),
            "integrated GPU" => DeviceKind::IntegratedGpu(0),
            "virtual GPU" => DeviceKind::VirtualGpu(0),
            "software" => DeviceKind::Cpu,
            _ => DeviceKind::DefaultDevice,
        };
        let (device, setup) = Device::wgpu_options()
            .device_kind(kind)
            .init_with_setup()
            .context("burn finds no adapter")?;
        let info = setup.adapter.get_info();
        if !name.is_empty() && info.name != name {
            bail!(
                "burn took the adapter `{}` and wgrad `{name}`; set WGPU_ADAPTER_NAME for wgrad",
                info.name
            );
        }
        Ok(Burn {
            device: device.autodiff(),
            ready: None,
        })
    }

    fn matrix(&self, data: &[f32], dims: [usize; 2]) -> Tensor<2> {
        Tensor::from_data(TensorData::new(data.to_vec(), dims), &self.device)
    }

    fn network(&self, net: &Net) -> Task {
        let layer = |(i, (w, b)): (usize, &(Vec<f32>, Vec<f32>))| {
            let (fan_in, fan_out) = (net.sizes[i], net.sizes[i + 1]);
            let w = self.matrix(&transposed(w, fan_out, fan_in), [fan_in, fan_out]);
            let b: Tensor<1> =
                Tensor::from_data(TensorData::new(b.clone(), [fan_out]), &self.device);
            (w.require_grad(), b.require_grad())
        };
        Task::Net {
            x: self.matrix(&net.x, [net.batch, net.sizes[0]]),
            y: self.matrix(&net.y, [net.batch, 1]),
            layers: net.layers.iter().enumerate().map(layer).collect(),
        }
    }
}

fn transposed(data: &[f32], rows: usize, columns: usize) -> Vec<f32> {
    let column = |j: usize| (0..rows).map(move |i| data[i * columns + j]);
    (0..columns).flat_map(column).collect()
}

impl Task {
    fn step(&self) -> Result<Step> {
        let (x, y, layers) = match self {
            Task::Matmul { a, b } => {
                return Ok(Step {
                    result: a.clone().matmul(b.clone()),
                    gradients: Vec::new(),
                });
            }
            Task::Net { x, y, layers } => (x, y, layers),
        };
        let mut h = x.clone();
        for (i, (w, b)) in layers.iter().enumerate() {
            h = linear(h, w.clone(), Some(b.clone()));
            if i + 1 < layers.len() {
                h = relu(h);
            }
        }
        let p = sigmoid(h);
        // As burn's own BinaryCrossEntropyLoss, less its conversion of integer
        // targets in each step.
        let loss = (y.clone() - 1) * p.clone().neg().log1p().clamp_min(-100.0)
            - y.clone() * p.log().clamp_min(-100.0);
        let loss = loss.mean();
        let mut all = loss.backward();
        let mut gradients = Vec::with_capacity(layers.len());
        for (w, b) in layers {
            let dw = w.grad_remove(&mut all);
            let db = b.grad_remove(&mut all);
            gradients.push(dw.zip(db).context("burn gave no gradient for a layer")?);
        }
        Ok(Step {
            result: loss.unsqueeze(),
            gradients,
        })
    }
}

fn read<const D: usize>(tensor: Tensor<D>) -> Result<Vec<f32>> {
    let data = tensor.try_into_data().context("burn cannot read")?;
    let values = data.try_into_vec::<f32>();
    values.map_err(|e| anyhow::anyhow!("burn's values are not float32: {e:?}"))
}

impl Peer for Burn {
    fn name(&self) -> &'static str {
        "burn"
    }

    fn prepare(&mut self, problem: &Problem) -> Result<()> {
        let task = match problem {
            Problem::Net(net) => self.network(net),
            Problem::Matmul { size, a, b } => Task::Matmul {
                a: self.matrix(a, [*size; 2]),
                b: self.matrix(b, [*size; 2]),
            },
        };
        self.ready = Some(Ready {
            task,
            names: names(problem),
        });
        Ok(())
    }

    fn answer(&mut self) -> Result<Values> {
        let ready = self.ready.as_ref().context("burn has no problem yet")?;
        let step = ready.task.step()?;
        let mut values = vec![read(step.result)?];
        for (w, b) in step.gradients {
            let [rows, columns] = w.dims();
            values.push(transposed(&read(w)?, rows, columns));
            values.push(read(b)?);
        }
        Ok(ready.names.iter().cloned().zip(values).collect())
    }

    fn burst(&mut self, reads: usize, steps: usize) -> Result<f64> {
        let ready = self.ready.as_ref().context("burn has no problem yet")?;
        let began = Instant::now();
        for _ in 0..reads {
            let mut held = Vec::with_capacity(steps);
            for _ in 0..steps {
                held.push(ready.task.step()?);
            }
            match (held.last(), &ready.task) {
                (Some(last), Task::Net { .. }) => drop(read(last.result.clone())?),
                // A product stays on the device.
                _ => self.device.sync().context("burn cannot wait")?,
            }
        }
        // A read waits for what was queued before it, backward included; should
        // anything be left all the same, its time counts.
        self.device.sync().context("burn cannot wait")?;
        Ok(began.elapsed().as_secs_f64())
    }
}
