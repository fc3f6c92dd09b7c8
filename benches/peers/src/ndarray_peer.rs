//! The CPU baseline: forward and backward by hand. Buffers are made once,
//! products are ndarray's (matrixmultiply, on its threads), and what lies
//! between two products is one pass. A net too thin for products goes through
//! in blocks of rows that stay in the first cache.
//!
//! Generic in the float type: in f64 it is what every answer is compared with.

use std::time::Instant;

use anyhow::{Context, Result};
use ndarray::linalg::{general_mat_mul, general_mat_vec_mul};
use ndarray::parallel::prelude::*;
use ndarray::{Array1, Array2, ArrayView2, Axis, NdFloat};

use crate::peer::{Peer, Values, names};
use crate::work::{Net, Problem};

/// The baseline in float32.
#[derive(Default)]
pub struct Ndarray {
    ready: Option<(Job<f32>, Vec<String>)>,
}

/// The answer in float64, rounded at no step.
pub fn reference(problem: &Problem) -> Vec<Vec<f64>> {
    let mut job = Job::<f64>::new(problem);
    job.step();
    job.values()
}

enum Job<F> {
    Thin(Thin<F>),
    Wide(Wide<F>),
    Matmul {
        a: Array2<F>,
        b: Array2<F>,
        c: Array2<F>,
    },
}

impl<F: NdFloat> Job<F> {
    fn new(problem: &Problem) -> Job<F> {
        match problem {
            Problem::Matmul { size, a, b } => Job::Matmul {
                a: matrix(a, *size, *size),
                b: matrix(b, *size, *size),
                c: Array2::zeros((*size, *size)),
            },
            Problem::Net(net) if net.sizes.iter().all(|&size| size <= THIN) => {
                Job::Thin(Thin::new(net))
            }
            Problem::Net(net) => Job::Wide(Wide::new(net)),
        }
    }

    /// One step; the loss.
    fn step(&mut self) -> F {
        match self {
            Job::Thin(net) => net.step(),
            Job::Wide(net) => net.step(),
            Job::Matmul { a, b, c } => {
                general_mat_mul(F::one(), a, b, F::zero(), c);
                c[[0, 0]]
            }
        }
    }

    /// All values of the last step.
    fn values(&self) -> Vec<Vec<F>> {
        match self {
            Job::Thin(net) => net.values(),
            Job::Wide(net) => net.values(),
            Job::Matmul { c, .. } => vec![c.iter().copied().collect()],
        }
    }
}

fn float<F: NdFloat>(value: f32) -> F {
    F::from(value).expect("f32 and f64 hold every f32")
}

fn matrix<F: NdFloat>(data: &[f32], rows: usize, columns: usize) -> Array2<F> {
    Array2::from_shape_fn((rows, columns), |(i, j)| float(data[i * columns + j]))
}

fn vector<F: NdFloat>(data: &[f32]) -> Array1<F> {
    data.iter().map(|&v| float(v)).collect()
}

/// Sigmoid and BCELoss of one row: the loss, and the derivative by z.
#[inline(always)]
fn sigmoid_bce<F: NdFloat>(z: F, y: F) -> (F, F) {
    let e = (-z.abs()).exp();
    let small = e / (F::one() + e);
    let p = if z >= F::zero() {
        F::one() - small
    } else {
        small
    };
    (z.max(F::zero()) - z * y + e.ln_1p(), p - y)
}

/// A net of products.
struct Wide<F> {
    y: Array1<F>,
    w: Vec<Array2<F>>,
    b: Vec<Array1<F>>,
    /// The input, then each hidden layer's output.
    h: Vec<Array2<F>>,
    /// Derivatives by each hidden layer's pre-activation.
    d: Vec<Array2<F>>,
    /// The last layer's pre-activation, then the derivative by it.
    last: Array1<F>,
    loss: F,
    dw: Vec<Array2<F>>,
    db: Vec<Array1<F>>,
}

impl<F: NdFloat> Wide<F> {
    fn new(net: &Net) -> Wide<F> {
        let hidden = &net.sizes[1..net.sizes.len() - 1];
        let zeros = |&size: &usize| Array2::zeros((net.batch, size));
        let mut h = vec![matrix(&net.x, net.batch, net.sizes[0])];
        h.extend(hidden.iter().map(zeros));
        let layers = || net.layers.iter().zip(net.sizes.windows(2));
        Wide {
            y: vector(&net.y),
            w: layers().map(|((w, _), p)| matrix(w, p[1], p[0])).collect(),
            b: layers().map(|((_, b), _)| vector(b)).collect(),
            h,
            d: hidden.iter().map(zeros).collect(),
            last: Array1::zeros(net.batch),
            loss: F::zero(),
            dw: layers().map(|(_, p)| Array2::zeros((p[1], p[0]))).collect(),
            db: layers().map(|(_, p)| Array1::zeros(p[1])).collect(),
        }
    }

    fn step(&mut self) -> F {
        let (zero, one) = (F::zero(), F::one());
        let hidden = self.d.len();
        for l in 0..hidden {
            let (before, after) = self.h.split_at_mut(l + 1);
            general_mat_mul(one, &before[l], &self.w[l].t(), zero, &mut after[0]);
            for mut row in after[0].rows_mut() {
                row.zip_mut_with(&self.b[l], |v, &b| *v = (*v + b).max(zero));
            }
        }
        // One output: products with a vector.
        general_mat_vec_mul(
            one,
            &self.h[hidden],
            &self.w[hidden].row(0),
            zero,
            &mut self.last,
        );
        let bias = self.b[hidden][0];
        let scale = one / F::from(self.y.len()).expect("a batch is far below 2^24");
        let (mut loss, mut sum) = (zero, zero);
        self.last.zip_mut_with(&self.y, |z, &y| {
            let (l, d) = sigmoid_bce(*z + bias, y);
            *z = d * scale;
            loss += l;
            sum += *z;
        });
        self.loss = loss * scale;
        self.db[hidden][0] = sum;
        let mut dw = self.dw[hidden].row_mut(0);
        general_mat_vec_mul(one, &self.h[hidden].t(), &self.last, zero, &mut dw);
        for l in (0..hidden).rev() {
            let (before, after) = self.d.split_at_mut(l + 1);
            let d = &mut before[l];
            let w = &self.w[l + 1];
            match after.first() {
                Some(next) => general_mat_mul(one, next, w, zero, d),
                None => {
                    for (mut row, &g) in d.rows_mut().into_iter().zip(&self.last) {
                        row.zip_mut_with(&w.row(0), |v, &w| *v = g * w);
                    }
                }
            }
            let db = &mut self.db[l];
            db.fill(zero);
            for (mut row, h) in d.rows_mut().into_iter().zip(self.h[l + 1].rows()) {
                row.zip_mut_with(&h, |v, &h| *v = if h > zero { *v } else { zero });
                *db += &row;
            }
            general_mat_mul(one, &d.t(), &self.h[l], zero, &mut self.dw[l]);
        }
        self.loss
    }

    fn values(&self) -> Vec<Vec<F>> {
        let layers = self.dw.iter().zip(&self.db);
        let gradients = layers.flat_map(|(w, b)| [w.iter().copied().collect(), b.to_vec()]);
        std::iter::once(vec![self.loss]).chain(gradients).collect()
    }
}

/// The widest layer of a thin net.
const THIN: usize = 8;
/// Rows that go through a thin net together.
const BLOCK: usize = 128;
/// Rows from which on a second thread pays.
const SHARE: usize = 8192;

/// One value of each row of a block.
type Lane<F> = [F; BLOCK];

/// A net in which every layer is thin.
struct Thin<F> {
    sizes: Vec<usize>,
    x: Array2<F>,
    y: Array1<F>,
    w: Vec<Array2<F>>,
    b: Vec<Array1<F>>,
    sums: Sums<F>,
}

/// Sums over rows: the loss, and each layer's gradients.
#[derive(Clone)]
struct Sums<F> {
    loss: F,
    dw: Vec<[[F; THIN]; THIN]>,
    db: Vec<[F; THIN]>,
}

impl<F: NdFloat> Sums<F> {
    fn zero(layers: usize) -> Sums<F> {
        Sums {
            loss: F::zero(),
            dw: vec![[[F::zero(); THIN]; THIN]; layers],
            db: vec![[F::zero(); THIN]; layers],
        }
    }

    fn add(mut self, other: Sums<F>) -> Sums<F> {
        self.loss += other.loss;
        let mine = self.dw.iter_mut().flatten().chain(&mut self.db);
        let theirs = other.dw.iter().flatten().chain(&other.db);
        for (a, b) in mine.flatten().zip(theirs.flatten()) {
            *a += *b;
        }
        self
    }
}

/// Sums in eight lanes, so that the compiler may use vectors.
#[inline(always)]
fn dot<F: NdFloat>(a: &[F], b: &[F]) -> F {
    let mut lanes = [F::zero(); 8];
    for (a, b) in a.chunks_exact(8).zip(b.chunks_exact(8)) {
        for k in 0..8 {
            lanes[k] += a[k] * b[k];
        }
    }
    lanes.into_iter().fold(F::zero(), |sum, v| sum + v)
}

impl<F: NdFloat> Thin<F> {
    fn new(net: &Net) -> Thin<F> {
        let layers = || net.layers.iter().zip(net.sizes.windows(2));
        Thin {
            sizes: net.sizes.clone(),
            x: matrix(&net.x, net.batch, net.sizes[0]),
            y: vector(&net.y),
            w: layers().map(|((w, _), p)| matrix(w, p[1], p[0])).collect(),
            b: layers().map(|((_, b), _)| vector(b)).collect(),
            sums: Sums::zero(net.layers.len()),
        }
    }

    fn step(&mut self) -> F {
        let batch = self.y.len();
        let this = &*self;
        let mut sums = if batch < SHARE {
            this.rows(this.x.view(), &this.y.to_vec())
        } else {
            let share = batch.div_ceil(rayon_threads()).next_multiple_of(BLOCK);
            let parts = this.x.axis_chunks_iter(Axis(0), share).into_par_iter();
            let targets = this.y.axis_chunks_iter(Axis(0), share).into_par_iter();
            parts
                .zip(targets)
                .map(|(x, y)| this.rows(x, y.as_slice().expect("made in one piece")))
                .reduce(|| Sums::zero(this.w.len()), Sums::add)
        };
        // The rows' loss was a sum.
        sums.loss /= F::from(batch).expect("a batch is far below 2^24");
        self.sums = sums;
        self.sums.loss
    }

    /// The sums over some rows.
    fn rows(&self, x: ArrayView2<F>, y: &[F]) -> Sums<F> {
        let layers = self.w.len();
        let scale = F::one() / F::from(self.y.len()).expect("a batch is far below 2^24");
        let mut sums = Sums::zero(layers);
        let mut h = vec![[[F::zero(); BLOCK]; THIN]; layers + 1];
        let mut d = [[F::zero(); BLOCK]; THIN];
        for (x, y) in x.axis_chunks_iter(Axis(0), BLOCK).zip(y.chunks(BLOCK)) {
            let n = y.len();
            // Whole groups of eight; rows beyond the last one weigh nothing.
            let even = n.next_multiple_of(8);
            for (r, row) in x.rows().into_iter().enumerate() {
                for (i, &v) in row.iter().enumerate() {
                    h[0][i][r] = v;
                }
            }
            for l in 0..layers {
                self.forward(l, &mut h, even);
            }
            for (r, &y) in y.iter().enumerate() {
                let (loss, dz) = sigmoid_bce(h[layers][0][r], y);
                sums.loss += loss;
                d[0][r] = dz * scale;
            }
            d[0][n..even].fill(F::zero());
            for l in (0..layers).rev() {
                self.backward(l, &h, &mut d, even, &mut sums);
            }
        }
        sums
    }

    fn forward(&self, l: usize, h: &mut [[Lane<F>; THIN]], rows: usize) {
        let (before, after) = h.split_at_mut(l + 1);
        for (o, z) in after[0][..self.sizes[l + 1]].iter_mut().enumerate() {
            let z = &mut z[..rows];
            z.fill(self.b[l][o]);
            for (i, h) in before[l][..self.sizes[l]].iter().enumerate() {
                let w = self.w[l][[o, i]];
                z.iter_mut().zip(&h[..rows]).for_each(|(z, &h)| *z += w * h);
            }
            if l + 1 < self.w.len() {
                z.iter_mut().for_each(|z| *z = z.max(F::zero()));
            }
        }
    }

    /// Adds layer `l`'s gradients, and turns the derivatives by its
    /// pre-activations into those by the layer's before.
    fn backward(
        &self,
        l: usize,
        h: &[[Lane<F>; THIN]],
        d: &mut [Lane<F>; THIN],
        rows: usize,
        sums: &mut Sums<F>,
    ) {
        let (fan_in, fan_out) = (self.sizes[l], self.sizes[l + 1]);
        for o in 0..fan_out {
            let d = &d[o][..rows];
            for (sum, h) in sums.dw[l][o][..fan_in].iter_mut().zip(&h[l]) {
                *sum += dot(d, &h[..rows]);
            }
            sums.db[l][o] += dot(d, &[F::one(); BLOCK][..rows]);
        }
        if l == 0 {
            return;
        }
        let mut before = [[F::zero(); BLOCK]; THIN];
        for (i, g) in before[..fan_in].iter_mut().enumerate() {
            for (o, d) in d[..fan_out].iter().enumerate() {
                let w = self.w[l][[o, i]];
                g.iter_mut().zip(&d[..rows]).for_each(|(g, &d)| *g += w * d);
            }
            let h = h[l][i][..rows].iter();
            g.iter_mut().zip(h).for_each(|(g, &h)| {
                *g = if h > F::zero() { *g } else { F::zero() };
            });
        }
        *d = before;
    }

    fn values(&self) -> Vec<Vec<F>> {
        let mut values = vec![vec![self.sums.loss]];
        for (l, pair) in self.sizes.windows(2).enumerate() {
            let rows = self.sums.dw[l][..pair[1]].iter();
            values.push(rows.flat_map(|row| row[..pair[0]].to_vec()).collect());
            values.push(self.sums.db[l][..pair[1]].to_vec());
        }
        values
    }
}

/// Threads of the pool that ndarray's parallel iterators use.
fn rayon_threads() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

impl Peer for Ndarray {
    fn name(&self) -> &'static str {
        "ndarray"
    }

    fn prepare(&mut self, problem: &Problem) -> Result<()> {
        self.ready = Some((Job::new(problem), names(problem)));
        Ok(())
    }

    fn answer(&mut self) -> Result<Values> {
        let (job, names) = self.ready.as_mut().context("ndarray has no problem yet")?;
        job.step();
        Ok(names.iter().cloned().zip(job.values()).collect())
    }

    fn burst(&mut self, reads: usize, steps: usize) -> Result<f64> {
        let (job, _) = self.ready.as_mut().context("ndarray has no problem yet")?;
        let began = Instant::now();
        for _ in 0..reads * steps {
            std::hint::black_box(job.step());
        }
        Ok(began.elapsed().as_secs_f64())
    }
}
