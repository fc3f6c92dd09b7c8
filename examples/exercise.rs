//! The exercise as a library user writes it: build, differentiate, run, read.

use wgrad::nn::Reduction;
use wgrad::{Gpu, Graph, Tensor, gradient};

fn main() -> wgrad::Result<()> {
    let mut g = Graph::new();
    let (x, y) = (g.input("x", &[1, 4])?, g.input("y", &[1, 1])?);
    let w1 = g.parameter("0.weight", &[2, 4])?;
    let w2 = g.parameter("2.weight", &[1, 2])?;
    let z1 = g.linear(x, w1, None)?;
    let h = g.relu(z1)?;
    let z2 = g.linear(h, w2, None)?;
    let s = g.sigmoid(z2)?;
    let loss = g.bce_loss(s, y, None, Reduction::Mean)?;
    let grads = gradient(&mut g, loss, &[w1, w2])?;
    let mut program = Gpu::new()?.compile(&g, &[loss, grads[0], grads[1]])?;
    program.set("x", &Tensor::new(&[1, 4], vec![-2.0, -0.3, 1.7, 0.2])?)?;
    program.set("y", &Tensor::new(&[1, 1], vec![1.0])?)?;
    let w = vec![
        0.1433, -0.2529, 0.22, 0.0073, -0.3766, 0.0989, -0.0612, 0.1814,
    ];
    program.set("0.weight", &Tensor::new(&[2, 4], w)?)?;
    program.set("2.weight", &Tensor::new(&[1, 2], vec![-0.5954, 0.5741])?)?;
    for (label, value) in program.run()?.iter() {
        println!("{label} {} = {:?}", value.shape(), value.data());
    }
    Ok(())
}
