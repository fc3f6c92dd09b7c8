// log(x) and log1p(x) = log(1 + x) for float32. Needs float.wgsl, and LN2_HI, LN2_LO of exp.wgsl.
//
// Why not the built-ins: WGSL's log may be wrong by 2^-21 near 1, where log(x) itself goes to zero,
// and WGSL has no log1p.
//
// Method: write the argument as 2^k (1 + f) with -1/4 <= f < 1/2, exactly. Then
//   log = k ln 2 + log(1 + f),    log(1 + f) = f - f^2 / 2 + f^3 p(f),
// with p the polynomial of degree 8 whose largest relative error in log(1 + f) over that interval is
// least (2^-30; 2^-27.5 once its coefficients are float32), found with the Remez exchange algorithm
// in 50-digit arithmetic. No division, and no table.
//
// Everything depends on f being exact. Where f is a difference, both terms lie within a factor of
// two of one another, and then a difference of floats has no rounding error (Sterbenz's lemma),
// fused or not. `rounded` keeps a compiler from regrouping the sums.

// k ln 2 + log(1 + f) for -1/4 <= f <= 1/2 and |k| <= 150.
fn log_kernel(f: f32, k: f32) -> f32 {
    var p = 0.037672915;
    p = p * f - 0.091161884;
    p = p * f + 0.11700659;
    p = p * f - 0.12727778;
    p = p * f + 0.1427624;
    p = p * f - 0.16655296;
    p = p * f + 0.19999605;
    p = p * f - 0.25000164;
    p = p * f + 0.3333334;
    // k LN2_HI is exact (see exp.wgsl), so only the last two additions round noticeably.
    let tail = rounded(f * f * (p * f - 0.5) + k * LN2_LO);
    return k * LN2_HI + rounded(f + tail);
}

// The k for which a positive normal number with these bits is 2^k times something in [3/4, 3/2):
// subtract the bits of 3/4, and the exponent field is left.
fn log_exponent(bits: u32) -> i32 {
    return (bitcast<i32>(bits) - 0x3f400000) >> 23u;
}

fn log_f32(x: f32) -> f32 {
    let bits = bitcast<u32>(x);
    let magnitude = bits & ABS_MASK;
    // A subnormal is fraction * 2^-149: shift the fraction up until its leading bit stands where a
    // normal number has its implicit one, and remember by how much. Arithmetic might flush it.
    let subnormal = magnitude < 0x00800000u;
    let up = select(0u, countLeadingZeros(max(magnitude, 1u)) - 8u, subnormal);
    let scaled = magnitude << up;

    let k = log_exponent(scaled);
    let m = bitcast<f32>(bitcast<i32>(scaled) - (k << 23u)); // in [3/4, 3/2)
    let y = log_kernel(rounded(m - 1.0), f32(k - i32(up)));

    var result = bitcast<u32>(y);
    result = select(result, NAN_BITS, bits > SIGN_BIT); // below zero
    result = select(result, NEG_INF_BITS, magnitude == 0u);
    result = select(result, bits, bits == INF_BITS || magnitude > INF_BITS);
    return bitcast<f32>(result);
}

// The usual correction, log(u) * x / (u - 1) with u = 1 + x, is not usable here: a compiler may
// replace u - 1 by x. Instead the sum 1 + x serves only to choose k; then
//   f = (1 + x) / 2^k - 1 = x / 2^k + (2^-k - 1)
// is one exact subtraction of two exact terms. For k = 0 it is x itself.
fn log1p_f32(x: f32) -> f32 {
    let bits = bitcast<u32>(x);
    let magnitude = bits & ABS_MASK;

    // Next to x = 1/2 the sum 1 + x may round up to 3/2. k = 1 would then leave an f too long for
    // 24 bits, so below 1/2 k = 0 is kept: f is x, and exact.
    let sum_k = log_exponent(bitcast<u32>(1.0 + x));
    let k = select(sum_k, min(sum_k, 0), x < 0.5);

    // x / 2^k through the exponent field: x is normal wherever k is not 0. Above k = 25, 2^-k - 1 is
    // -1 in float32, so stopping at 30 changes nothing and keeps 2^-k a normal number.
    let x_scaled = bitcast<f32>(bitcast<i32>(x) - (k << 23u));
    let power = bitcast<f32>((127 - min(k, 30)) << 23u);
    let f = rounded(x_scaled + rounded(power - 1.0));

    var result = bitcast<u32>(log_kernel(f, f32(k)));
    result = select(result, bits, magnitude < 0x33000000u); // |x| < 2^-25: log1p(x) rounds to x
    result = select(result, NAN_BITS, bits > 0xbf800000u); // below -1
    result = select(result, NEG_INF_BITS, bits == 0xbf800000u);
    result = select(result, bits, bits == INF_BITS || magnitude > INF_BITS);
    return bitcast<f32>(result);
}
