//! A small network that is trained with its weights on the host.

use wgrad::{Feeds, Gpu, Graph, NodeId, Program, Result, gradient};

use crate::common::Random;

/// 4-2-1 on 7 rows, trained by gradient descent; what a person would keep is on
/// the host.
pub struct Training {
    graph: Graph,
    weights: [(&'static str, NodeId); 2],
    feeds: Feeds,
}

impl Training {
    pub fn new() -> Training {
        let mut random = Random::new(31);
        let mut g = Graph::new();
        let x = g.input("x", &[7, 4]).unwrap();
        let w1 = g.parameter("w1", &[2, 4]).unwrap();
        let w2 = g.parameter("w2", &[1, 2]).unwrap();
        let y = g.input("y", &[7, 1]).unwrap();
        let h = g.linear(x, w1, None).unwrap();
        let h = g.relu(h).unwrap();
        let z = g.linear(h, w2, None).unwrap();
        let p = g.sigmoid(z).unwrap();
        let l = g.bce(p, y).unwrap();
        let loss = g.mean_all(l).unwrap();
        let d = gradient(&mut g, loss, &[w1, w2]).unwrap();
        let mut feeds = Feeds::new();
        for (label, rows, columns, range) in [
            ("x", 7, 4, (-1.0, 1.0)),
            ("y", 7, 1, (0.0, 1.0)),
            ("w1", 2, 4, (-0.5, 0.5)),
            ("w2", 1, 2, (-0.5, 0.5)),
        ] {
            feeds.insert(label.to_string(), random.tensor(&[rows, columns], range));
        }
        Training {
            graph: g,
            weights: [("w1", d[0]), ("w2", d[1])],
            feeds,
        }
    }

    pub fn compile(&self, gpu: &Gpu) -> Result<Program> {
        let outputs = self.weights.map(|(_, d)| d);
        let mut program = gpu.compile(&self.graph, &outputs)?;
        program.set_all(&self.feeds)?;
        Ok(program)
    }

    /// One submission; the weights change only if all of it went well.
    pub fn step(&mut self, program: &mut Program) -> Result<()> {
        for (label, _) in self.weights {
            program.set(label, &self.feeds[label])?;
        }
        let outputs = program.run()?;
        let mut new = Vec::new();
        for (label, d) in self.weights {
            let mut weight = self.feeds[label].clone();
            for (w, d) in weight.data_mut().iter_mut().zip(outputs.get(d)?.data()) {
                *w -= 0.5 * d;
            }
            new.push((label.to_string(), weight));
        }
        self.feeds.extend(new);
        Ok(())
    }

    pub fn bits(&self) -> Vec<u32> {
        let all = self
            .weights
            .iter()
            .flat_map(|(label, _)| self.feeds[*label].data());
        all.map(|v| v.to_bits()).collect()
    }
}
