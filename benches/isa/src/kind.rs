//! What an instruction of an AMD GPU is for, by its name.

use serde::{Deserialize, Serialize};

/// The kinds that are told apart; every instruction is of one.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    /// A float multiply-add, or a step of a product of matrices.
    MultiplyAdd,
    /// Another float product, sum or difference.
    MultiplyOrAdd,
    /// Transcendental functions, reciprocals, roots, conversions, rounding: what a
    /// GPU does at a fraction of its rate.
    Special,
    /// Other arithmetic for each lane: integers, selects, comparisons, moves.
    Vector,
    /// A load from memory, or from a texture.
    Load,
    /// A store to memory, or an atomic operation.
    Store,
    /// Workgroup memory.
    Lds,
    /// Registers that did not fit, or arrays of an invocation.
    Scratch,
    /// Arithmetic for all lanes at once, and loads of such values.
    Scalar,
    /// Branches, and the end.
    Branch,
    /// Waits, barriers and hints to the scheduler.
    Wait,
    /// What this program, or the disassembler, does not know.
    Unknown,
}

/// How many instructions there are of each kind.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Counts {
    pub multiply_add: u64,
    pub multiply_or_add: u64,
    pub special: u64,
    pub vector: u64,
    pub load: u64,
    pub store: u64,
    pub lds: u64,
    pub scratch: u64,
    pub scalar: u64,
    pub branch: u64,
    pub wait: u64,
    pub unknown: u64,
}

impl Counts {
    /// Those of these kinds.
    pub fn of(kinds: impl IntoIterator<Item = Kind>) -> Counts {
        let mut counts = Counts::default();
        for kind in kinds {
            *counts.slot(kind) += 1;
        }
        counts
    }

    fn slot(&mut self, kind: Kind) -> &mut u64 {
        match kind {
            Kind::MultiplyAdd => &mut self.multiply_add,
            Kind::MultiplyOrAdd => &mut self.multiply_or_add,
            Kind::Special => &mut self.special,
            Kind::Vector => &mut self.vector,
            Kind::Load => &mut self.load,
            Kind::Store => &mut self.store,
            Kind::Lds => &mut self.lds,
            Kind::Scratch => &mut self.scratch,
            Kind::Scalar => &mut self.scalar,
            Kind::Branch => &mut self.branch,
            Kind::Wait => &mut self.wait,
            Kind::Unknown => &mut self.unknown,
        }
    }
}

impl Kind {
    /// Whether it is float arithmetic at the full rate.
    pub fn is_arithmetic(self) -> bool {
        matches!(self, Kind::MultiplyAdd | Kind::MultiplyOrAdd)
    }

    /// The kind of the instruction of this name (`v_fmac_f32_e32`).
    pub fn of(name: &str) -> Kind {
        let starts = |prefixes: &[&str]| prefixes.iter().any(|p| name.starts_with(p));
        if let Some(rest) = name.strip_prefix("v_") {
            return vector(rest.strip_prefix("dual_").unwrap_or(rest));
        }
        if starts(&["s_wait", "s_barrier", "s_nop", "s_delay", "s_clause"])
            || starts(&["s_sleep", "s_sendmsg", "s_inst_prefetch", "s_set_inst"])
            || name.contains("_inv") && name.starts_with("buffer_gl")
            || starts(&["buffer_wb", "global_inv", "global_wb"])
        {
            return Kind::Wait;
        }
        if starts(&["s_branch", "s_cbranch", "s_setpc", "s_swappc", "s_endpgm"]) {
            return Kind::Branch;
        }
        if starts(&["s_"]) {
            return Kind::Scalar;
        }
        if starts(&["ds_"]) {
            return Kind::Lds;
        }
        if starts(&["scratch_"]) {
            return Kind::Scratch;
        }
        if starts(&["buffer_", "tbuffer_", "global_", "flat_", "image_"]) {
            let reads = ["_load", "_sample", "_gather"];
            return match reads.iter().any(|word| name.contains(word)) {
                true => Kind::Load,
                false => Kind::Store,
            };
        }
        Kind::Unknown
    }
}

/// A vector instruction, without `v_`.
fn vector(name: &str) -> Kind {
    let starts = |prefixes: &[&str]| prefixes.iter().any(|p| name.starts_with(p));
    // `mad_u32` and its like are for integers.
    if starts(&[
        "fma",
        "mac_f",
        "mac_legacy",
        "mad_f",
        "mad_legacy",
        "madak",
        "madmk",
    ]) || starts(&["mad_mix", "pk_fma", "dot2", "wmma", "mfma"])
    {
        return Kind::MultiplyAdd;
    }
    if starts(&[
        "mul_f",
        "mul_legacy",
        "mul_dx9",
        "add_f",
        "sub_f",
        "subrev_f",
    ]) || starts(&["pk_mul_f", "pk_add_f"])
    {
        return Kind::MultiplyOrAdd;
    }
    // Some have a form for all lanes: `v_s_rcp_f32`.
    let own = name.strip_prefix("s_").unwrap_or(name);
    const SPECIAL: [&str; 16] = [
        "exp_", "log_", "rcp_", "rsq_", "sqrt_", "sin_", "cos_", "cvt_", "frexp_", "ldexp_",
        "rndne_", "trunc_", "floor_", "ceil_", "fract_", "div_",
    ];
    match SPECIAL.iter().any(|p| own.starts_with(p)) {
        true => Kind::Special,
        false => Kind::Vector,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_all_generations_have_their_kind() {
        use Kind::*;
        let cases: [(Kind, &[&str]); 12] = [
            (
                MultiplyAdd,
                &[
                    "v_fma_f32",
                    "v_fmac_f32_e32",
                    "v_mac_f32_e32",
                    "v_mad_f32",
                    "v_fmaak_f32",
                    "v_madmk_f32",
                    "v_pk_fma_f16",
                    "v_dual_fmac_f32",
                    "v_fma_mix_f32",
                ],
            ),
            (
                MultiplyOrAdd,
                &[
                    "v_mul_f32_e64",
                    "v_add_f32_e32",
                    "v_subrev_f32_e32",
                    "v_dual_mul_f32",
                ],
            ),
            (
                Special,
                &[
                    "v_exp_f32_e32",
                    "v_rcp_f32_e32",
                    "v_cvt_f32_u32_e32",
                    "v_div_fmas_f32",
                    "v_s_rcp_f32",
                ],
            ),
            (
                Vector,
                &[
                    "v_mad_u32_u24",
                    "v_mul_lo_u32",
                    "v_add_nc_u32_e32",
                    "v_cndmask_b32_e64",
                    "v_max_f32_e32",
                    "v_mov_b32_e32",
                    "v_cmpx_gt_u32_e32",
                    "v_dual_mov_b32",
                ],
            ),
            (
                Load,
                &[
                    "buffer_load_b128",
                    "buffer_load_dwordx4",
                    "global_load_b32",
                    "image_sample_lz",
                ],
            ),
            (
                Store,
                &[
                    "buffer_store_dwordx4",
                    "global_atomic_add_u32",
                    "image_store",
                ],
            ),
            (Lds, &["ds_load_b128", "ds_read_b128", "ds_write_b32"]),
            (Scratch, &["scratch_load_b32", "scratch_store_dword"]),
            (
                Scalar,
                &[
                    "s_add_u32",
                    "s_buffer_load_b64",
                    "s_load_dwordx4",
                    "s_and_saveexec_b64",
                ],
            ),
            (Branch, &["s_branch", "s_cbranch_scc0", "s_endpgm"]),
            (
                Wait,
                &[
                    "s_waitcnt",
                    "s_waitcnt_vscnt",
                    "s_wait_loadcnt",
                    "s_barrier",
                    "s_nop",
                    "s_delay_alu",
                    "s_clause",
                    "buffer_gl0_inv",
                    "buffer_wbinvl1",
                ],
            ),
            (Unknown, &["(invalid", "xyz"]),
        ];
        for (kind, names) in cases {
            for name in names {
                assert_eq!(Kind::of(name), kind, "{name}");
            }
        }
    }

    #[test]
    fn counts_add_up() {
        let kinds = ["v_fma_f32", "v_fma_f32", "s_nop", "ds_read_b32", "?"].map(Kind::of);
        let want = Counts {
            multiply_add: 2,
            wait: 1,
            lds: 1,
            unknown: 1,
            ..Counts::default()
        };
        assert_eq!(Counts::of(kinds), want);
    }
}
