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

// The value `v`, rounded to float32 here and now.
//
// WGSL lets a compiler regroup a sum as if arithmetic were exact, which turns `(1 + x) - 1` into
// `x` and loses whatever such a step was written for. No rule of algebra carries a sum through a
// minimum of its bits, so this is a fence; all that it changes is one NaN, into another. With it,
// devices that do not fuse multiply and add agree bit for bit.
fn rounded(v: f32) -> f32 {
    return bitcast<f32>(min(bitcast<u32>(v), 0xfffffffeu));
}

fn rounded4(v: vec4<f32>) -> vec4<f32> {
    return bitcast<vec4<f32>>(min(bitcast<vec4<u32>>(v), vec4<u32>(0xfffffffeu)));
}
