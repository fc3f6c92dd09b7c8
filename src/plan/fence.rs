//! What stands between two ops in one kernel.

/// The WGSL of `kept(v)`: the value of one op before it goes to the next. `zero`
/// names a parameter that is always 0, which a compiler does not know.
///
/// Left alone, drivers carry algebra from one op into the next (`a + (b - c)` of
/// two ops becomes `(a + b) - c`), and the roundings that were promised for each
/// op are others. No algebra goes through integers.
pub(super) fn fence(zero: &str) -> String {
    format!(
        "// The value of one op, before it goes to the next: the same bits, but a
// compiler does not know that, and cannot merge the roundings of two ops.
fn kept(v: f32) -> f32 {{
    return bitcast<f32>(bitcast<u32>(v) | {zero});
}}
"
    )
}

/// The WGSL of `kept4(v)`: the same for four values.
pub(super) fn fence4(zero: &str) -> String {
    format!(
        "fn kept4(v: vec4<f32>) -> vec4<f32> {{
    return bitcast<vec4<f32>>(bitcast<vec4<u32>>(v) | vec4<u32>({zero}));
}}
"
    )
}
