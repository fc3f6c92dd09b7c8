// What the other files share about float32 as a bit pattern.
//
// A float32 is  sign (1 bit) | exponent + 127 (8 bits) | fraction (23 bits).
// Exponent field 255 means infinity (fraction 0) or NaN (any other fraction); exponent field 0
// means zero or a subnormal, fraction * 2^-149.
//
// WGSL lets a compiler assume that NaN and infinity never occur, and most use that: `x != x` is
// folded to false. A test on the bits is integer arithmetic, about which nothing may be assumed.

const SIGN_BIT: u32 = 0x80000000u;
const ABS_MASK: u32 = 0x7fffffffu;
const INF_BITS: u32 = 0x7f800000u;
const NAN_BITS: u32 = 0x7fc00000u;
const NEG_INF_BITS: u32 = 0xff800000u;

fn is_nan(x: f32) -> bool {
    return (bitcast<u32>(x) & ABS_MASK) > INF_BITS;
}

fn is_nan4(x: vec4<f32>) -> vec4<bool> {
    return (bitcast<vec4<u32>>(x) & vec4<u32>(ABS_MASK)) > vec4<u32>(INF_BITS);
}

fn is_inf(x: f32) -> bool {
    return (bitcast<u32>(x) & ABS_MASK) == INF_BITS;
}

fn is_finite(x: f32) -> bool {
    return (bitcast<u32>(x) & ABS_MASK) < INF_BITS;
}

// WGSL rejects a constant expression whose value is NaN or infinite. A `var` is not a constant
// expression, so these two are made when the shader runs.
fn nan_f32() -> f32 {
    var bits = NAN_BITS;
    return bitcast<f32>(bits);
}

fn inf_f32() -> f32 {
    var bits = INF_BITS;
    return bitcast<f32>(bits);
}
