//! wgrad: exact, inspectable, fast gradients on any GPU, in plain WGSL.
//!
//! Build a graph, differentiate it, compile it for a GPU, run it as often as
//! you like:
//!
//! ```
//! use wgrad::{Gpu, Graph, Tensor, gradient};
//!
//! let mut g = Graph::new();
//! let x = g.input("x", &[2, 3])?;
//! let w = g.parameter("w", &[1, 3])?;
//! let z = g.linear(x, w, None)?; // x @ wᵀ, as in PyTorch
//! let s = g.sigmoid(z)?;
//! let loss = g.sum_all(s)?;
//! let dw = gradient(&mut g, loss, &[w])?[0];
//!
//! let mut program = Gpu::new()?.compile(&g, &[loss, dw])?;
//! program.set("x", &Tensor::new(&[2, 3], vec![1.0, -1.0, 0.5, 0.0, 2.0, -0.5])?)?;
//! program.set("w", &Tensor::new(&[1, 3], vec![0.0, 0.0, 0.0])?)?;
//! let outputs = program.run()?;
//! assert_eq!(outputs.get(loss)?.item(), Some(1.0));
//! assert_eq!(outputs.get(dw)?.data(), [0.25, 0.25, 0.0]);
//! # Ok::<(), wgrad::Error>(())
//! ```
//!
//! How far a result may be from the truth is derived and checked: [`run::cpu`]
//! evaluates the same graph in float64 with a bound beside every value, and
//! [`check`] compares. docs/ARCHITECTURE.md says how the modules lie on one
//! another, docs/NUMERICS.md what is promised of the numbers, docs/BROWSER.md how
//! to call it where nothing may wait.

#![warn(missing_docs)]
#![deny(unsafe_code)]

/// The example of docs/BROWSER.md, run as a test.
#[cfg(doctest)]
#[doc = include_str!("../docs/BROWSER.md")]
struct InABrowser;

pub mod autodiff;
pub mod batches;
#[cfg(not(target_arch = "wasm32"))]
pub mod bench;
#[cfg(not(target_arch = "wasm32"))]
pub mod cache;
pub mod check;
pub mod error;
pub mod exercise;
#[cfg(not(target_arch = "wasm32"))]
pub mod file;
pub mod graph;
pub mod io;
pub mod nn;
pub mod number;
pub mod ops;
pub mod plan;
#[cfg(not(target_arch = "wasm32"))]
pub mod profile;
pub mod report;
pub mod run;
pub mod shape;
#[cfg(not(target_arch = "wasm32"))]
pub mod sheet;
pub mod solution;
pub mod tensor;
pub mod trace;
#[cfg(not(target_arch = "wasm32"))]
pub mod tune;
mod watch;

pub use autodiff::{gradient, vjp};
pub use error::{Error, Result};
pub use graph::{Graph, NodeId};
pub use run::Feeds;
pub use run::gpu::{Gpu, GpuOptions, Program};
pub use shape::Shape;
pub use tensor::Tensor;
