//! The WGSL that ops share: `shaders/lib/`, one constant a file. WGSL has no
//! include, so a kernel lists the files it needs, each after those it uses.

/// Bitwise tests for NaN and infinity, and both as values.
pub const FLOAT: &str = include_str!("../../shaders/lib/float.wgsl");
/// `rounded4`, and whether shortcuts are worth their tests, as suits every target.
pub const TARGET: &str = include_str!("../../shaders/lib/target.wgsl");
/// The same as suits a GPU: to be put in the place of [`TARGET`], in a kernel that has
/// `params.one` and `params.unit`.
pub const TARGET_GPU: &str = include_str!("../../shaders/lib/target_gpu.wgsl");
/// `exp_f32`; needs [`FLOAT`] and [`TARGET`].
pub const EXP: &str = include_str!("../../shaders/lib/exp.wgsl");
/// `log_f32` and `log1p_f32`; needs [`FLOAT`], [`TARGET`] and [`EXP`].
pub const LOG: &str = include_str!("../../shaders/lib/log.wgsl");
/// `sigmoid_f32` and `softplus_neg_abs`; needs [`EXP`] and [`LOG`].
pub const SIGMOID: &str = include_str!("../../shaders/lib/sigmoid.wgsl");
/// `epilogue` and `epilogue4`: what becomes of a result before it is stored. A
/// planner may put functions of its own in this one's place where a call says
/// so ([`Call::epilogue`](crate::graph::Call::epilogue)); the setting EPILOGUE
/// then is 1, else 0.
pub const EPILOGUE: &str = include_str!("../../shaders/lib/epilogue.wgsl");
/// `prologue_a`, `prologue_a4` and the same of b: what becomes of an operand's
/// elements once they are read. A planner may give functions of its own where a
/// call says so ([`Call::repeats`](crate::graph::Call::repeats)); the setting
/// PROLOGUE_A or PROLOGUE_B then is 1, else 0. A template.
pub const PROLOGUE: &str = include_str!("../../shaders/lib/prologue.wgsl");
/// The parameters, buffers and stores of a matrix product; needs [`GRID`],
/// [`EPILOGUE`] and [`PROLOGUE`]. A template.
pub const PRODUCT: &str = include_str!("../../shaders/lib/product.wgsl");
/// Blocks of four by four elements of a product's operands; needs [`PRODUCT`].
/// A template.
pub const BLOCKS: &str = include_str!("../../shaders/lib/blocks.wgsl");
/// `to_half` and `to_half4`: a float32 rounded to float16, for [`BLOCKS`] and
/// kernels with the setting HALF.
pub const HALF: &str = include_str!("../../shaders/lib/half.wgsl");
/// What a kernel enables that uses an adapter's matrix units; it must come first.
pub const UNITS: &str = include_str!("../../shaders/lib/units.wgsl");
/// `divided`: a sum by its number of terms.
pub const DIVIDE: &str = include_str!("../../shaders/lib/divide.wgsl");
/// The parameters of a sum, and the places of its terms.
pub const SUMS: &str = include_str!("../../shaders/lib/sums.wgsl");
/// `workgroup_index`: the place of a workgroup along one line.
pub const GRID: &str = include_str!("../../shaders/lib/grid.wgsl");
