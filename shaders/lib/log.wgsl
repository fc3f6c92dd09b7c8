// log(x) and log1p(x) = log(1 + x) for float32. Needs float.wgsl, target.wgsl, and LN2_HI, LN2_LO
// of exp.wgsl.
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

// Four at a time, so that none waits for the steps of another.

// k ln 2 + log(1 + f) for -1/4 <= f <= 1/2 and |k| <= 150.
fn log_kernel4(f: vec4<f32>, k: vec4<f32>) -> vec4<f32> {
    // The upper terms in pairs and powers of f^2, which are fewer steps one after the other. The
    // lower ones are large, and are added one by one: each rounds once.
    let f2 = f * f;
    var p = (f * 0.037672915 - 0.091161884) * f2 + (f * 0.11700659 - 0.12727778);
    p = p * f2 + (f * 0.1427624 - 0.16655296);
    p = p * f + 0.19999605;
    p = p * f - 0.25000164;
    p = p * f + 0.3333334;
    // k LN2_HI is exact (see exp.wgsl), so only the last two additions round noticeably.
    let tail = rounded_apart4(f2 * (p * f - 0.5) + k * LN2_LO);
    return k * LN2_HI + rounded4(f + tail);
}

// The k for which a positive normal number with these bits is 2^k times something in [3/4, 3/2):
// subtract the bits of 3/4, and the exponent field is left.
fn log_exponent4(bits: vec4<u32>) -> vec4<i32> {
    return (bitcast<vec4<i32>>(bits) - 0x3f400000) >> vec4<u32>(23u);
}

// A positive number as 2^k (1 + f).
struct Reduced4 {
    f: vec4<f32>,
    k: vec4<i32>,
}

// Of a normal number.
fn log_normal_reduced4(x: vec4<f32>) -> Reduced4 {
    let bits = bitcast<vec4<u32>>(x);
    let k = log_exponent4(bits);
    let m = bitcast<vec4<f32>>(bitcast<vec4<i32>>(bits) - (k << vec4<u32>(23u))); // in [3/4, 3/2)
    return Reduced4(rounded4(m - 1.0), k);
}

fn log_reduced4(x: vec4<f32>) -> Reduced4 {
    let bits = bitcast<vec4<u32>>(x);
    // A subnormal is fraction * 2^-149, and its bits are the fraction: as a number of its own that
    // is exact, and normal. Arithmetic on the subnormal itself might flush it.
    let subnormal = bits < vec4<u32>(0x00800000u);
    let fraction = bitcast<vec4<u32>>(vec4<f32>(bitcast<vec4<i32>>(bits)));
    let reduced = log_normal_reduced4(bitcast<vec4<f32>>(select(bits, fraction, subnormal)));
    return Reduced4(reduced.f, reduced.k - select(vec4<i32>(0), vec4<i32>(149), subnormal));
}

// log(x) for x > 0, infinity too. What it makes of other numbers does not count.
fn log_above_zero4(x: vec4<f32>) -> vec4<f32> {
    let reduced = log_reduced4(x);
    let y = log_kernel4(reduced.f, vec4<f32>(reduced.k));
    return select(y, x, bitcast<vec4<u32>>(x) >= vec4<u32>(INF_BITS));
}

fn log_4(x: vec4<f32>) -> vec4<f32> {
    let bits = bitcast<vec4<u32>>(x);
    let magnitude = bits & vec4<u32>(ABS_MASK);
    var result = bitcast<vec4<u32>>(log_above_zero4(x));
    result = select(result, vec4<u32>(NAN_BITS), bits > vec4<u32>(SIGN_BIT)); // below zero
    result = select(result, vec4<u32>(NEG_INF_BITS), magnitude == vec4<u32>(0u));
    result = select(result, bits, is_nan4(x));
    return bitcast<vec4<f32>>(result);
}

fn log_f32(x: f32) -> f32 {
    return log_4(vec4<f32>(x)).x;
}

// log(1 + x) for x > -1, infinity too. What it makes of other numbers does not count.
//
// The usual correction, log(u) * x / (u - 1) with u = 1 + x, is not usable here: a compiler may
// replace u - 1 by x. Instead the sum 1 + x serves only to choose k; then
//   f = (1 + x) / 2^k - 1 = x / 2^k + (2^-k - 1)
// is one exact subtraction of two exact terms. For k = 0 it is x itself.
fn log1p_above_minus_one4(x: vec4<f32>) -> vec4<f32> {
    // Next to x = 1/2 the sum 1 + x may round up to 3/2. k = 1 would then leave an f too long for
    // 24 bits, so below 1/2 k = 0 is kept: f is x, and exact.
    let sum_k = log_exponent4(bitcast<vec4<u32>>(1.0 + x));
    let k = select(sum_k, min(sum_k, vec4<i32>(0)), x < vec4<f32>(0.5));

    // x / 2^k through the exponent field: x is normal wherever k is not 0. Above k = 25, 2^-k - 1 is
    // -1 in float32, so stopping at 30 changes nothing and keeps 2^-k a normal number.
    let x_scaled = bitcast<vec4<f32>>(bitcast<vec4<i32>>(x) - (k << vec4<u32>(23u)));
    let power = bitcast<vec4<f32>>((127 - min(k, vec4<i32>(30))) << vec4<u32>(23u));
    let f = rounded4(x_scaled + rounded_apart4(power - 1.0));
    let y = log_kernel4(f, vec4<f32>(k));

    // For |x| < 2^-25 log1p(x) rounds to x, and infinity stays: one comparison, since a difference
    // below zero is a large unsigned number.
    let above = (bitcast<vec4<u32>>(x) & vec4<u32>(ABS_MASK)) - 0x33000000u;
    return select(y, x, above >= vec4<u32>(INF_BITS - 0x33000000u));
}

// The same for normal numbers up to 1: k is 1 from 1/2 on, and where log1p(x) rounds to x all
// else that is added rounds away.
fn log1p_of_unit4(x: vec4<f32>) -> vec4<f32> {
    let upper = x >= vec4<f32>(0.5);
    let f = select(x, rounded4(0.5 * x - 0.5), upper);
    return log_kernel4(f, select(vec4<f32>(0.0), vec4<f32>(1.0), upper));
}

fn log1p_4(x: vec4<f32>) -> vec4<f32> {
    let bits = bitcast<vec4<u32>>(x);
    var result = bitcast<vec4<u32>>(log1p_above_minus_one4(x));
    result = select(result, vec4<u32>(NAN_BITS), bits > vec4<u32>(0xbf800000u)); // below -1
    result = select(result, vec4<u32>(NEG_INF_BITS), bits == vec4<u32>(0xbf800000u));
    result = select(result, bits, is_nan4(x));
    return bitcast<vec4<f32>>(result);
}

fn log1p_f32(x: f32) -> f32 {
    return log1p_4(vec4<f32>(x)).x;
}
