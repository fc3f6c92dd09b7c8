// exp(x) for float32. Needs float.wgsl.
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
//      flushed to zero on the way; a subnormal result is rounded by hand.
//
// Whether the compiler contracts a * b + c into fused multiply-adds does not matter: where the
// product must be exact it already is, and elsewhere contraction only removes a rounding.

const LOG2_E: f32 = 1.442695;
const LN2_HI: f32 = 0.69314575; // 45426 / 65536
const LN2_LO: f32 = 1.4286068e-6; // ln 2 - LN2_HI

fn exp_f32(x: f32) -> f32 {
    // Beyond these limits the result is 0 or infinity anyway; inside them k fits its 8 bits.
    let a = clamp(x, -104.0, 89.0);
    let k = floor(a * LOG2_E + 0.5);
    let r_hi = rounded(a - k * LN2_HI);
    let r_lo = k * LN2_LO;
    let r = r_hi - r_lo;

    var q = 0.00019790135;
    q = q * r + 0.0013944869;
    q = q * r + 0.008333499;
    q = q * r + 0.04166629;
    q = q * r + 0.16666666;
    q = q * r + 0.5;
    // Small terms first, so that their roundings stay small: 1 + (r_hi + (r^2 q - r_lo)). Unfenced,
    // one driver tried regroups this to (r_hi - r_lo) + r^2 q and loses 0.17 ULP. In [0.70, 1.42].
    let s = rounded(r_hi + rounded(r * r * q - r_lo));
    let p = bitcast<i32>(1.0 + s);

    let shift = i32(k);
    let exponent = (p >> 23u) + shift;
    var bits = bitcast<u32>(p + (shift << 23u));
    if exponent < 1 {
        // Subnormal: move the 24-bit significand right, rounding to nearest.
        let n = u32(clamp(1 - exponent, 1, 31));
        let significand = (bitcast<u32>(p) & 0x007fffffu) | 0x00800000u;
        bits = (significand + (1u << (n - 1u))) >> n;
    }
    bits = select(bits, INF_BITS, exponent > 254);
    bits = select(bits, bitcast<u32>(x), is_nan(x));
    return bitcast<f32>(bits);
}
