//! What is computed: the works of the table, the numbers that every contestant
//! gets, and what wgrad wants to reach.

use anyhow::{Result, bail};

/// One row of the table.
#[derive(Clone, Debug)]
pub struct Work {
    /// What `--only` calls it.
    pub name: &'static str,
    /// How it is measured.
    pub kind: Kind,
    /// What wgrad wants to reach.
    pub goals: &'static [Goal],
}

/// How a work is measured.
#[derive(Clone, Copy, Debug)]
pub enum Kind {
    /// Steady state, contestants in turn.
    Steady {
        /// What one step computes.
        task: Task,
        /// How many steps go by before the loss is read.
        steps: usize,
    },
    /// A fresh process without caches, up to the end of its first step.
    Cold {
        /// What the step computes.
        task: Task,
        /// Whether burn is measured too; it takes its time.
        burn: bool,
    },
    /// One contestant, wgrad, at two batches.
    Growth {
        /// The layers.
        sizes: &'static [usize],
        /// The small batch and the large one.
        batches: [usize; 2],
    },
}

/// What one step computes.
#[derive(Clone, Copy, Debug)]
pub enum Task {
    /// Forward, BCELoss (mean) and the gradients of all weights and biases of
    /// `Linear` layers with ReLU between and a sigmoid at the end.
    Net {
        /// The widths, from the input to the output.
        sizes: &'static [usize],
        /// Rows.
        batch: usize,
    },
    /// The product of two square matrices.
    Matmul {
        /// Rows and columns.
        size: usize,
    },
}

/// What wgrad wants to reach.
#[derive(Clone, Copy, Debug)]
pub enum Goal {
    /// At least so many times as fast as a peer.
    Times(&'static str, f64),
    /// At least such a share of the rate of a peer, 1 being all of it.
    Share(&'static str, f64),
    /// At most so many seconds.
    Seconds(f64),
    /// The large batch takes at most so many times as long as the small one.
    Growth(f64),
}

const EXERCISE: &[usize] = &[4, 2, 1];
const SMALL: &[usize] = &[64, 64, 64, 1];
const DIGITS: &[usize] = &[784, 512, 256, 1];
const WIDE: &[usize] = &[1024, 1024, 1024, 1];

/// Every row, in the order of the table. Goals are those for an adapter in software, or
/// for a hardware GPU, where PyTorch runs on the same one; some rows are only for that.
pub fn works(hardware: bool) -> Vec<Work> {
    use Goal::{Growth, Seconds, Share, Times};
    let net = |sizes, batch| Task::Net { sizes, batch };
    let steady = |name, task, steps, software, gpu| {
        let kind = Kind::Steady { task, steps };
        let goals = if hardware { gpu } else { software };
        Work { name, kind, goals }
    };
    let cold = |name, task, burn| Work {
        name,
        kind: Kind::Cold { task, burn },
        goals: &[Seconds(3.0)],
    };
    let product = |name, size, software, gpu| steady(name, Task::Matmul { size }, 4, software, gpu);
    let mut list = vec![
        steady("4-2-1/1", net(EXERCISE, 1), 1, &[Times("burn", 15.0)], &[]),
        steady(
            "4-2-1/64",
            net(EXERCISE, 64),
            1,
            &[Times("burn", 25.0)],
            &[Times("torch", 5.0)],
        ),
        steady(
            "4-2-1/1024",
            net(EXERCISE, 1024),
            1,
            &[Times("burn", 25.0)],
            &[],
        ),
        steady(
            "4-2-1/65536",
            net(EXERCISE, 65_536),
            1,
            &[Times("torch", 5.0), Times("burn", 150.0)],
            &[],
        ),
        steady(
            "4-2-1-queued/64",
            net(EXERCISE, 64),
            64,
            &[Times("torch", 2.0)],
            &[],
        ),
        steady(
            "64-64-64-1/64",
            net(SMALL, 64),
            1,
            &[Times("burn", 12.0)],
            &[],
        ),
        steady(
            "784-512-256-1/256",
            net(DIGITS, 256),
            1,
            &[Times("burn", 5.0)],
            &[],
        ),
        steady(
            "1024-1024-1024-1/1024",
            net(WIDE, 1024),
            1,
            &[Times("burn", 3.5)],
            &[],
        ),
        product("matmul/1024", 1024, &[Share("torch", 0.12)], &[]),
        cold("cold/4-2-1/64", net(EXERCISE, 64), true),
        cold("cold/64-64-64-1/64", net(SMALL, 64), false),
        cold("cold/784-512-256-1/256", net(DIGITS, 256), true),
        cold("cold/1024-1024-1024-1/1024", net(WIDE, 1024), false),
    ];
    if hardware {
        list.push(steady("4-2-1/4194304", net(EXERCISE, 1 << 22), 1, &[], &[]));
        list.push(product("matmul/4096", 4096, &[], &[Share("torch", 0.7)]));
    } else {
        list.push(Work {
            name: "growth/4-2-1",
            kind: Kind::Growth {
                sizes: EXERCISE,
                batches: [1, 65_536],
            },
            goals: &[Growth(6.0)],
        });
    }
    list
}

/// The works that `only` names: all for none, else those with this name or
/// whose name begins with it and a `/`.
pub fn choose(only: &[String], hardware: bool) -> Result<Vec<Work>> {
    let all = works(hardware);
    let named = |work: &Work, wish: &String| {
        let rest = work.name.strip_prefix(wish.as_str());
        rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    };
    for wish in only {
        if !all.iter().any(|work| named(work, wish)) {
            let names: Vec<_> = all.iter().map(|work| work.name).collect();
            bail!("there is no work `{wish}`; there are {}", names.join(", "));
        }
    }
    let wanted = |work: &Work| only.is_empty() || only.iter().any(|wish| named(work, wish));
    Ok(all.into_iter().filter(wanted).collect())
}

impl Task {
    /// Multiplications and additions of a matrix product; nothing for a net,
    /// where time is what counts.
    pub fn flops(&self) -> Option<f64> {
        match self {
            Task::Net { .. } => None,
            Task::Matmul { size } => Some(2.0 * (*size as f64).powi(3)),
        }
    }
}

/// The numbers of a task, the same for every contestant.
#[derive(Clone, Debug)]
pub enum Problem {
    /// A network with its data.
    Net(Net),
    /// Two square matrices, by rows.
    Matmul {
        /// Rows and columns.
        size: usize,
        /// The left one.
        a: Vec<f32>,
        /// The right one.
        b: Vec<f32>,
    },
}

/// A network with its data.
#[derive(Clone, Debug)]
pub struct Net {
    /// The widths, from the input to the output.
    pub sizes: Vec<usize>,
    /// Rows.
    pub batch: usize,
    /// The input, `[batch, sizes[0]]`.
    pub x: Vec<f32>,
    /// The targets, 0 or 1.
    pub y: Vec<f32>,
    /// Weights `[out, in]` and biases `[out]`, as PyTorch keeps them.
    pub layers: Vec<(Vec<f32>, Vec<f32>)>,
}

/// Weights are multiples of this.
const WEIGHT_UNIT: f32 = 1.0 / 128.0;
/// Inputs are multiples of this.
const INPUT_UNIT: f32 = 1.0 / 8.0;

impl Problem {
    /// The numbers of `task`: inputs of variance 1, weights of He's variance
    /// 2 / in, from a fixed generator.
    ///
    /// All lie on a grid so coarse that float32 holds every pre-activation of
    /// the first two layers exactly, in whatever order a contestant adds; and
    /// biases lie half a unit beside the grid, so that none of them is 0.
    /// Otherwise about one of the two million of the widest net would lie so
    /// close to 0 that contestants differ on the side of the ReLU, rightly, and
    /// gradients that differ by a whole row could not be told from wrong ones.
    pub fn new(task: Task) -> Problem {
        let mut random = Random(0x2545_f491_4f6c_dd1d);
        match task {
            Task::Matmul { size } => Problem::Matmul {
                size,
                a: random.grid(size * size, 14, INPUT_UNIT, 0.0),
                b: random.grid(size * size, 14, INPUT_UNIT, 0.0),
            },
            Task::Net { sizes, batch } => {
                let x = random.grid(batch * sizes[0], 14, INPUT_UNIT, 0.0);
                let coins = random.grid(batch, 1, 1.0, 0.5);
                let y = coins.into_iter().map(|v| f32::from(v > 0.0)).collect();
                let mut unit = INPUT_UNIT;
                let mut layers = Vec::new();
                for pair in sizes.windows(2) {
                    // Uniform on [-a, a] has the variance a² / 3.
                    let most = (6.0 / pair[0] as f32).sqrt() / WEIGHT_UNIT;
                    let w = random.grid(pair[0] * pair[1], most as i64, WEIGHT_UNIT, 0.0);
                    unit *= WEIGHT_UNIT;
                    let most = (0.1 / unit) as i64;
                    let b = random.grid(pair[1], most, unit, 0.5);
                    unit *= 0.5;
                    layers.push((w, b));
                }
                Problem::Net(Net {
                    sizes: sizes.to_vec(),
                    batch,
                    x,
                    y,
                    layers,
                })
            }
        }
    }
}

/// splitmix64: any generator does, as long as it gives the same everywhere.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// `count` values `(i + shift) * unit`, i uniform in `-most..=most`.
    fn grid(&mut self, count: usize, most: i64, unit: f32, shift: f32) -> Vec<f32> {
        let width = 2 * most as u64 + 1;
        let value = |bits: u64| (((bits >> 11) % width) as i64 - most) as f32;
        (0..count)
            .map(|_| (value(self.next()) + shift) * unit)
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The promise of `Problem::new`: hidden pre-activations are exact and
    /// never 0.
    #[test]
    fn relus_are_decided() {
        for work in works(true) {
            let Kind::Steady {
                task: task @ Task::Net { batch, .. },
                ..
            } = work.kind
            else {
                continue;
            };
            let Problem::Net(net) = Problem::new(task) else {
                unreachable!("a net was asked for");
            };
            let rows = batch.min(64);
            let mut narrow = net.x[..rows * net.sizes[0]].to_vec();
            for (pair, (w, b)) in net
                .sizes
                .windows(2)
                .zip(&net.layers)
                .take(net.sizes.len() - 2)
            {
                let mut next = Vec::new();
                for row in narrow.chunks_exact(pair[0]) {
                    for (w, &bias) in w.chunks_exact(pair[0]).zip(b) {
                        let terms = || row.iter().zip(w);
                        let forth: f32 = terms().map(|(a, b)| a * b).sum::<f32>() + bias;
                        let back: f32 = terms().rev().map(|(a, b)| a * b).sum::<f32>() + bias;
                        let wide: f64 = terms().map(|(&a, &b)| f64::from(a) * f64::from(b)).sum();
                        let wide = wide + f64::from(bias);
                        assert_eq!(f64::from(forth), wide, "{}", work.name);
                        assert_eq!(f64::from(back), wide, "{}", work.name);
                        assert_ne!(wide, 0.0, "{}", work.name);
                        next.push(forth.max(0.0));
                    }
                }
                narrow = next;
            }
        }
    }
}
