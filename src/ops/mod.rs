//! The operations: one file per op or per family, each listed once in [`ALL`].
//!
//! To add one, write `src/ops/NAME.rs` (an `impl Op`, or rows of the
//! elementwise table of [`map`]; a builder on `Graph`; a [`Family`]) and
//! `shaders/NAME.wgsl`, and add `NAME` to the list below. The tests, the
//! conformance run and the documentation table walk the list.

pub mod map;
pub(crate) mod shader_lib;
pub(crate) mod template;

use crate::graph::Sample;

/// One file of ops: what the tests and the documentation need to know of it.
pub struct Family {
    /// The file's name.
    pub name: &'static str,
    /// The names of the ops in it.
    pub ops: &'static [&'static str],
    /// The WGSL that computes them.
    pub source: &'static str,
    /// Shapes and values worth testing; together they cover every op named.
    pub samples: fn() -> Vec<Sample>,
}

/// Declares the modules and lists their families, so that an op is one line.
macro_rules! list {
    ($($module:ident),* $(,)?) => {
        $(pub mod $module;)*

        /// Every family of ops, in the order of the documentation.
        pub static ALL: &[&Family] = &[$(&$module::FAMILY),*];
    };
}

list! {
    arithmetic,
    matmul,
    reduce,
    layout,
    relu,
    sigmoid,
    softplus,
    bce,
    bce_with_logits,
    mse,
}
