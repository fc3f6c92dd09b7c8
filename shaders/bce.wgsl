// Binary cross entropy of a probability p and a target y:
//   L = -(y log p + (1 - y) log(1 - p)), each log at least -100.
//
// The clamps are written as cases, not with max(): log(0) is -inf on some
// drivers and a large finite number on others, and only the case is exact.

fn bce_clamped_log(p: f32) -> f32 {
    // log(p) < -100 for every p below the smallest normal number's square;
    // of the float32 values only 0 and the last subnormals come near it.
    let l = log_f32(p);
    return select(l, -100.0, p <= 0.0 || (l < -100.0 && !is_nan(l)));
}

fn bce_clamped_log1p_neg(p: f32) -> f32 {
    let l = log1p_f32(-p);
    return select(l, -100.0, p >= 1.0 || (l < -100.0 && !is_nan(l)));
}

fn bce(p: f32, y: f32) -> f32 {
    let loss = (y - 1.0) * bce_clamped_log1p_neg(p) - y * bce_clamped_log(p);
    return select(loss, p, is_nan(p));
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
    let logit = bce_clamped_log1p_neg(p) - bce_clamped_log(p);
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
