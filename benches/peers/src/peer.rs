//! What every contestant can do.

use std::time::{Duration, Instant};

use anyhow::Result;

use crate::work::Problem;

/// Named values, by rows.
pub type Values = Vec<(String, Vec<f32>)>;

/// A contestant: given a problem, it computes steps of it.
pub trait Peer {
    /// What the table calls it.
    fn name(&self) -> &'static str;

    /// Takes the problem's numbers and makes everything that can be made once.
    fn prepare(&mut self, problem: &Problem) -> Result<()>;

    /// One step with everything read: the loss, then each layer's gradients of
    /// weight (`[out, in]`) and bias; or the product.
    fn answer(&mut self) -> Result<Values>;

    /// `reads` times `steps` steps, and the loss read after each `steps`.
    /// Returns the seconds that took: the whole work of the last step is done.
    fn burst(&mut self, reads: usize, steps: usize) -> Result<f64>;
}

/// The names of an answer's values.
pub fn names(problem: &Problem) -> Vec<String> {
    match problem {
        Problem::Matmul { .. } => vec!["product".to_string()],
        Problem::Net(net) => {
            let layers = 0..net.layers.len();
            let gradients = layers.flat_map(|i| [format!("d {i}.weight"), format!("d {i}.bias")]);
            std::iter::once("loss".to_string())
                .chain(gradients)
                .collect()
        }
    }
}

/// How many reads of `steps` steps make a burst of about `target`, after the
/// contestant is warm: compiled, tuned, its threads and caches awake.
pub fn warm_up(peer: &mut dyn Peer, steps: usize, target: Duration) -> Result<usize> {
    const WARM: Duration = Duration::from_millis(500);
    let target = target.as_secs_f64();
    let began = Instant::now();
    let mut reads = 1;
    let mut bursts = 0;
    // What takes seconds has had its first step in the check before.
    let enough = |seconds: f64| if seconds >= 1.0 { 2 } else { 3 };
    loop {
        let seconds = peer.burst(reads, steps)?;
        bursts += 1;
        if seconds < target / 2.0 {
            reads *= 2;
        } else if bursts >= enough(seconds) && began.elapsed() >= WARM {
            let fit = reads as f64 * target / seconds;
            return Ok((fit as usize).max(1));
        }
    }
}
