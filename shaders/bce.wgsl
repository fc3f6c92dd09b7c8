// Binary cross entropy of a probability p and a target y:
//   L = -(y log p + (1 - y) log(1 - p)), each log at least -100.
//
// The clamps are written as cases, not with max(): log(0) is -inf on some
// drivers and a large finite number on others, and only the case is exact.

fn bce_clamped_log4(p: vec4<f32>) -> vec4<f32> {
    // log(p) < -100 for p < 27 * 2^-149, which are the bits of 0 to 26, and the
    // bits of a p below zero are an integer below zero.
    let clamped = bitcast<vec4<i32>>(p) < vec4<i32>(27);
    return select(log_above_zero4(p), vec4<f32>(-100.0), clamped);
}

fn bce_clamped_log1p_neg4(p: vec4<f32>) -> vec4<f32> {
    // 1 - p is 0 or at least 2^-24, whose log is -16.6.
    return select(log1p_above_minus_one4(-p), vec4<f32>(-100.0), p >= vec4<f32>(1.0));
}

fn bce4(p: vec4<f32>, y: vec4<f32>) -> vec4<f32> {
    let loss = (y - 1.0) * bce_clamped_log1p_neg4(p) - y * bce_clamped_log4(p);
    return select(loss, p, is_nan4(p));
}

fn bce(p: f32, y: f32) -> f32 {
    return bce4(vec4<f32>(p), vec4<f32>(y)).x;
}

// p (1 - p), kept away from 0 as PyTorch does it.
fn bce_spread(p: f32) -> f32 {
    return max((1.0 - p) * p, 1e-12);
}

// dL/dp = (p - y) / (p (1 - p)). The quotient comes first: g (p - y) may fall
// below the range of normal numbers where the whole does not.
fn bce_backward(g: f32, p: f32, y: f32) -> f32 {
    return g * ((p - y) / bce_spread(p));
}

// dL/dy = log(1 - p) - log(p).
fn bce_logit(p: f32) -> f32 {
    let four = vec4<f32>(p);
    let logit = bce_clamped_log1p_neg4(four).x - bce_clamped_log4(four).x;
    return select(logit, p, is_nan(p));
}

// What second derivatives need: g / (p (1 - p)), ...
fn bce_slope(g: f32, p: f32) -> f32 {
    return g / bce_spread(p);
}

// ... and its derivative by p, times g. The clamped part is constant.
fn bce_slope_backward(g: f32, p: f32) -> f32 {
    let d = bce_spread(p);
    // Divided twice: the square of the spread would fall below the range of
    // normal numbers.
    return select(-(g * (1.0 - 2.0 * p) / d) / d, 0.0, (1.0 - p) * p < 1e-12);
}
