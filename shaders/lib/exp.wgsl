// exp(x) for float32. Needs float.wgsl and target.wgsl.
//
// Why not the built-in: WGSL lets it be wrong by 3 + 2|x| units in the last place (ULP).
//
// Method (textbook argument reduction after Cody and Waite):
//   1. exp(x) = 2^k exp(r), with k the integer nearest to x / ln 2 and |r| <= ln 2 / 2.
//   2. r = x - k ln 2 is taken in two steps, ln 2 = LN2_HI + LN2_LO. LN2_HI has 16 significant bits
//      and k has 8, so k * LN2_HI is exact, and so is its difference from x, which is close to it.
//   3. exp(r) = 1 + r + r^2 q(r). q is the polynomial of degree 5 whose largest relative error in
//      exp(r) over |r| <= 0.3473 is least (2^-34; 2^-30 once its coefficients are float32). It was
//      found with the Remez exchange algorithm in 50-digit arithmetic.
//   4. The factor 2^k is added to the exponent field as an integer, so no step can overflow or be
//      flushed to zero on the way; a subnormal result is rounded as an integer.
//
// Whether the compiler contracts a * b + c into fused multiply-adds does not matter: where the
// product must be exact it already is, and elsewhere contraction only removes a rounding.

const LOG2_E: f32 = 1.442695;
const LN2_HI: f32 = 0.69314575; // 45426 / 65536
const LN2_LO: f32 = 1.4286068e-6; // ln 2 - LN2_HI
const ROUND: f32 = 12582912.0; // 1.5 * 2^23

// exp(a) for -87 <= a <= 89, as bits: four at a time, so that none waits for the steps of another.
// From 2^128 on the bits are INF_BITS or more.
fn exp_normal_bits4(a: vec4<f32>) -> vec4<u32> {
    // Next to ROUND neighbouring floats are 1 apart, so this sum rounds a / ln 2 to an integer,
    // which is also in its low bits.
    let sum = rounded4(a * LOG2_E + ROUND);
    let k = sum - ROUND;
    let r_hi = rounded4(a - k * LN2_HI);
    let r_lo = k * LN2_LO;
    let r = r_hi - r_lo;

    // In pairs of coefficients and powers of r^2, which are fewer steps one after the other.
    let r2 = r * r;
    let q = ((r * 0.00019790135 + 0.0013944869) * r2 + (r * 0.008333499 + 0.04166629)) * r2
        + (r * 0.16666666 + 0.5);
    // Small terms first, so that their roundings stay small: 1 + (r_hi + (r^2 q - r_lo)). Unfenced,
    // one driver tried regroups this to (r_hi - r_lo) + r^2 q and loses 0.17 ULP. In [0.70, 1.42].
    let s = rounded4(r_hi + rounded_apart4(r2 * q - r_lo));
    let p = bitcast<vec4<u32>>(1.0 + s);

    // The other bits of the sum are shifted out.
    return p + (bitcast<vec4<u32>>(sum) << vec4<u32>(23u));
}

// The same for -104 <= a <= 89. Of a subnormal result the exponent field above is below zero, as
// an integer.
fn exp_bits4(a: vec4<f32>) -> vec4<u32> {
    let normal = exp_normal_bits4(a);
    // Subnormal: 2^149 times the result is a normal number, and the float of its integer part is
    // the result's bits. Added to 2^23 it is rounded to that integer.
    let scaled = bitcast<vec4<f32>>(normal + vec4<u32>(149u << 23u));
    let subnormal = bitcast<vec4<u32>>(scaled + 8388608.0) - vec4<u32>(0x4b000000u);
    return select(normal, subnormal, bitcast<vec4<i32>>(normal) < vec4<i32>(0x00800000));
}

fn exp_4(x: vec4<f32>) -> vec4<f32> {
    // Beyond these limits the result is 0 or infinity anyway; inside them k fits its 8 bits.
    let bits = exp_bits4(clamp(x, vec4<f32>(-104.0), vec4<f32>(89.0)));
    let result = min(bits, vec4<u32>(INF_BITS));
    return bitcast<vec4<f32>>(select(result, bitcast<vec4<u32>>(x), is_nan4(x)));
}

fn exp_f32(x: f32) -> f32 {
    return exp_4(vec4<f32>(x)).x;
}
