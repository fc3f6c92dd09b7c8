//! What a card leaves out, and why: kernels that this adapter cannot be given, and
//! what a short card has no time for. Counted and told, so that a card that passes
//! does not seem to say more than it does.

use super::{Options, facts};
use crate::error::Result;
use crate::graph::Precision;
use crate::run::gpu::Gpu;

/// Something that was not checked.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Skip {
    /// What.
    pub what: &'static str,
    /// Why not.
    pub reason: String,
}

pub(super) fn skipped(gpu: &Gpu, options: &Options) -> Result<Vec<Skip>> {
    let target = gpu.target();
    let mut all = Vec::new();
    let mut skip = |what, reason: String| all.push(Skip { what, reason });
    let lanes = match target.subgroup_size {
        Some(4 | 8) => None,
        Some(lanes) => Some(format!("subgroups have {lanes} invocations here")),
        None => Some("no subgroups that all have one size".to_string()),
    };
    const SUBGROUP: &str = "matmul_subgroup, and tiles of a subgroup in workgroup programs";
    const IMAGES: &str = "products that read their operands as images";
    match (target.software, lanes) {
        (false, _) => {
            let reason = "only drivers in software are given them";
            skip(SUBGROUP, reason.to_string());
            skip(IMAGES, reason.to_string());
        }
        (true, Some(lanes)) => {
            skip(SUBGROUP, format!("{lanes}; they need 4 or 8"));
            skip(IMAGES, format!("{lanes}; they need 4 or 8"));
        }
        (true, None) if target.image_side.is_none() => {
            skip(IMAGES, "no textures of four floats to read".to_string());
        }
        (true, None) => {}
    }
    if facts::flushes_copies(gpu)? {
        skip(
            "subnormal arguments and results of the elementary functions",
            "the device makes them zero where it only copies them".to_string(),
        );
    }
    match options.precision {
        Precision::F32 => {}
        Precision::F16 => skip(
            "matmul_cooperative",
            "no matrix units of 16 by 16 float16 numbers with float32 sums, and subgroups of 32"
                .to_string(),
        ),
        Precision::F16Units => {}
    }
    if options.precision.is_half() {
        skip(
            "the rules of products in float16 against central differences, and products in row \
             programs and workgroup programs",
            "rounding has no derivative: the rule is that of a product, and is checked in float32; \
             such products have kernels of their own"
                .to_string(),
        );
    }
    if options.quick {
        skip(
            "sums and products over 65,537 terms, and most sizes and batches",
            "a short card".to_string(),
        );
    }
    Ok(all)
}
