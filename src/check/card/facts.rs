//! What a driver does where WGSL leaves it a choice, and what wgrad does about
//! it. Told on the card; nothing here can fail.

use crate::check::ulps;
use crate::error::Result;
use crate::plan::single::single;
use crate::run::gpu::Gpu;
use crate::tensor::Tensor;

const SOURCE: &str = include_str!("../../../shaders/facts.wgsl");

/// Turns of a loop that some drivers end after 65,535.
const TURNS: u32 = 70_000;
const SEED: u32 = 12_345;
const ANSWERS: usize = 11;
/// Where the built-in exponential is asked.
const EXPONENT: f32 = -60.3;

/// One thing about a driver.
#[derive(Clone, PartialEq, Debug)]
pub struct Fact {
    /// What was asked.
    pub name: &'static str,
    /// The answer.
    pub found: String,
    /// What wgrad does about it.
    pub answer: &'static str,
}

/// The driver's answers, as bits.
fn answers(gpu: &Gpu) -> Result<Vec<u32>> {
    let near_one = 1.0 + 1.0 / 4096.0f32;
    let given = [
        f32::MIN_POSITIVE.to_bits(),
        1 << 20,
        f32::to_bits((2.0f32).powi(127)),
        f32::NAN.to_bits(),
        0,
        near_one.to_bits(),
        (near_one * near_one).to_bits(),
        EXPONENT.to_bits(),
        SEED,
        TURNS,
    ];
    let given: Vec<f32> = given.into_iter().map(f32::from_bits).collect();
    let sizes = [given.len(), ANSWERS];
    let (plan, output) = single("facts", SOURCE.to_string(), vec![0; 4], sizes, 1)?;
    let mut program = pollster::block_on(gpu.compile_plan(plan))?;
    program.set("given", &Tensor::new(&[given.len()], given)?)?;
    let made = program.run()?.get(output)?;
    Ok(made.data().iter().map(|v| v.to_bits()).collect())
}

/// Whether a subnormal becomes zero even where it is only copied.
pub(super) fn flushes_copies(gpu: &Gpu) -> Result<bool> {
    Ok(answers(gpu)?[2] != 1 << 20)
}

/// Asks the driver.
pub(super) fn ask(gpu: &Gpu) -> Result<Vec<Fact>> {
    let bits = answers(gpu)?;
    let number = |i: usize| f32::from_bits(bits[i]);
    let kept = |yes: bool| if yes { "kept" } else { "flushed to zero" };
    let state = (0..TURNS).fold(SEED, |s, _| {
        s.wrapping_mul(1_664_525).wrapping_add(1_013_904_223)
    });
    let target = gpu.target();
    let fact = |name, found: String, answer| Fact {
        name,
        found,
        answer,
    };
    Ok(vec![
        fact(
            "subgroups",
            match target.subgroup_size {
                Some(lanes) => format!("{lanes} invocations, always"),
                None => "none, or of several sizes".to_string(),
            },
            "kernels use them only where all have one size",
        ),
        fact(
            "subnormal results",
            kept(bits[0] != 0).to_string(),
            "every bound has 2^-126 added",
        ),
        fact(
            "subnormal operands",
            kept(bits[1] != 0).to_string(),
            "one counts as uncertain by its own size",
        ),
        fact(
            "subnormals copied",
            kept(bits[2] != 0).to_string(),
            "exp and log read and make them with integers",
        ),
        fact(
            "v != v for NaN",
            match bits[3] {
                1 => "true".to_string(),
                _ => "false: the compiler assumes that there is no NaN".to_string(),
            },
            "NaN is tested by its bits",
        ),
        fact(
            "max(NaN, 0)",
            format!("{}", number(4)),
            "ReLU is a comparison, and lets NaN through",
        ),
        fact(
            "log(0), built in",
            format!("{}", number(5)),
            "wgrad has a logarithm of its own, and handles 0 as a case",
        ),
        fact(
            "a * b - c",
            match bits[6] & 0x7fff_ffff {
                0 => "rounded twice".to_string(),
                _ => "fused: rounded once".to_string(),
            },
            "bounds hold either way; bits are promised for one adapter only",
        ),
        fact(
            "overflow",
            format!("{}", number(7)),
            "a value past the largest float32 may be either",
        ),
        fact(
            "exp(-60.3), built in",
            format!(
                "off by {:.1} ULP",
                ulps(number(8), f64::from(EXPONENT).exp())
            ),
            "wgrad has an exponential of its own",
        ),
        fact(
            "a loop of 70,000 turns",
            match bits[10] == state {
                true => format!("runs all {}", bits[9]),
                false => format!("ends after {}, without a word", bits[9]),
            },
            "no invocation loops for more than 60,000",
        ),
        fact(
            "limits asked for",
            format!(
                "{} bytes a binding, {} a buffer, {} invocations and {} bytes a workgroup, {} \
                 buffers a kernel",
                target.binding_bytes,
                gpu.max_buffer(),
                target.workgroup_invocations,
                target.workgroup_bytes,
                target.storage_buffers
            ),
            "a plan that needs more is refused before it runs",
        ),
    ])
}
