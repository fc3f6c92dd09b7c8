//! Checking: is this float32 value what the float64 reference says it must be?
//! [`compare`] judges one tensor by its derived bound, [`steps`] a whole run step
//! by step; [`cases`] runs folders of cases from elsewhere, [`difference`]
//! differentiates numerically; [`card`] examines an adapter with all of these.

#[cfg(not(target_arch = "wasm32"))]
pub mod card;
pub mod cases;
mod compare;
pub mod difference;
mod operators;
#[cfg(not(target_arch = "wasm32"))]
pub mod poison;
pub mod rounding;
pub mod steps;

pub use compare::{Comparison, Worst, compare, ulps};
