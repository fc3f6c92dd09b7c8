// sigmoid(x) = 1 / (1 + exp(-x)) and log1p(exp(-|x|)) for float32. Needs float, target, exp
// and log.
//
// With e = exp(-|x|), which lies in [0, 1] and cannot overflow,
//   sigmoid(x) = 1 / (1 + e)  for x >= 0,      e / (1 + e)  for x < 0.
// WGSL lets a division be wrong by 2.5 ULP and 1 + e adds a rounding, so the quotient is made from
// a rough reciprocal and one exact remainder instead.

// The upper 12 of 24 significant bits. The product of two such numbers is exact in float32, and so
// is the product of one with a remaining 12-bit lower half, fused or not (Dekker, Veltkamp).
fn upper_half4(x: vec4<f32>) -> vec4<f32> {
    return bitcast<vec4<f32>>(bitcast<vec4<u32>>(x) & vec4<u32>(0xfffff000u));
}

// 1 / (1 + e) for 0 <= e <= 1, within 0.51 ULP of the given e whatever the built-in division does.
fn reciprocal_of_one_plus4(e: vec4<f32>) -> vec4<f32> {
    let sum = rounded4(1.0 + e);
    let lost = e - rounded_apart4(sum - 1.0); // what rounding the sum left out, exactly
    let r = upper_half4(1.0 / sum); // relative error below 2^-10
    // remainder = 1 - (1 + e) r, in parts that are exact or negligible
    let sum_hi = upper_half4(sum);
    let sum_lo = rounded4(sum - sum_hi) + lost;
    let remainder = rounded4(1.0 - sum_hi * r) - sum_lo * r;
    // 1 / (1 + e) = r / (1 - remainder) = r (1 + remainder + remainder^2 + ...)
    return r + rounded4(r * (remainder + remainder * remainder));
}

// Whether all are at most 87 in size: exp(-87) is still a normal number.
fn ordinary4(x: vec4<f32>) -> bool {
    return all((bitcast<vec4<u32>>(x) & vec4<u32>(ABS_MASK)) <= vec4<u32>(0x42ae0000u));
}

// exp(-|x|) of those. It stands before the question, so that a compiler takes it once for a loss
// and its derivative.
fn exp_of_ordinary4(x: vec4<f32>) -> vec4<f32> {
    return bitcast<vec4<f32>>(exp_normal_bits4(-abs(x)));
}

// exp(-|x|) as bits, of any number but NaN: no overflow.
fn exp_neg_abs_bits4(x: vec4<f32>) -> vec4<u32> {
    return exp_bits4(max(-abs(x), vec4<f32>(-104.0)));
}

// s(x) of any number, from exp(-|x|) and 1 / (1 + exp(-|x|)).
fn sigmoid_from4(x: vec4<f32>, e_bits: vec4<u32>, reciprocal: vec4<f32>) -> vec4<f32> {
    let e = bitcast<vec4<f32>>(e_bits);
    let bits = bitcast<vec4<u32>>(x);
    let negative = bits >= vec4<u32>(SIGN_BIT);
    var result = bitcast<vec4<u32>>(select(vec4<f32>(1.0), e, negative) * reciprocal);
    // Below 2^-30 the quotient is e itself; kept as bits, since arithmetic may flush a subnormal.
    result = select(result, e_bits, negative & (e_bits < vec4<u32>(0x30800000u)));
    result = select(result, bits, is_nan4(x));
    return bitcast<vec4<f32>>(result);
}

// s(x) and s(-x).
struct Sigmoids4 {
    plus: vec4<f32>,
    minus: vec4<f32>,
}

fn sigmoids4(x: vec4<f32>) -> Sigmoids4 {
    let e = exp_of_ordinary4(x);
    if (SHORTCUTS && ordinary4(x)) {
        let large = reciprocal_of_one_plus4(e);
        let small = e * large;
        let negative = bitcast<vec4<u32>>(x) >= vec4<u32>(SIGN_BIT);
        return Sigmoids4(select(large, small, negative), select(small, large, negative));
    }
    let e_bits = exp_neg_abs_bits4(x);
    let reciprocal = reciprocal_of_one_plus4(bitcast<vec4<f32>>(e_bits));
    return Sigmoids4(sigmoid_from4(x, e_bits, reciprocal), sigmoid_from4(-x, e_bits, reciprocal));
}

fn sigmoid_4(x: vec4<f32>) -> vec4<f32> {
    return sigmoids4(x).plus;
}

fn sigmoid_f32(x: f32) -> f32 {
    return sigmoid_4(vec4<f32>(x)).x;
}

// log(1 + exp(-|x|)): the part of softplus(x) = max(x, 0) + log(1 + exp(-|x|)), and of the binary
// cross-entropy of logits, that must not be computed by its formula.
fn softplus_neg_abs4(x: vec4<f32>) -> vec4<f32> {
    let e = exp_of_ordinary4(x);
    if (SHORTCUTS && ordinary4(x)) {
        return log1p_of_unit4(e);
    }
    let e_bits = exp_neg_abs_bits4(x);
    let y = log1p_of_unit4(bitcast<vec4<f32>>(e_bits));
    // Below 2^-25 log1p(e) rounds to e, which may be subnormal.
    let result = select(bitcast<vec4<u32>>(y), e_bits, e_bits < vec4<u32>(0x33000000u));
    return bitcast<vec4<f32>>(select(result, bitcast<vec4<u32>>(x), is_nan4(x)));
}

fn softplus_neg_abs(x: f32) -> f32 {
    return softplus_neg_abs4(vec4<f32>(x)).x;
}
