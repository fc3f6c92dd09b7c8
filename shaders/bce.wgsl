// Binary cross entropy of a probability p and a target y:
//   L = -(y log p + (1 - y) log(1 - p)), each log at least -100.
//
// The clamps are written as cases, not with max(): log(0) is -inf on some
// drivers and a large finite number on others, and only the case is exact.

// log(p), or log(1 - p) where `other`, of which `reduced` is the argument.
fn bce_log_kernel4(reduced: Reduced4, p: vec4<f32>, other: vec4<bool>) -> vec4<f32> {
    // Below p = 1/2 the difference 1 - p is rounded. It serves to choose k, and the f of the
    // exact difference is one: 1 - p - 1, or 2 (1 - p) - 1.
    let exact = select(-p, 1.0 - 2.0 * p, reduced.k < vec4<i32>(0));
    let f = select(reduced.f, exact, other & (p < vec4<f32>(0.5)));
    return log_kernel4(f, vec4<f32>(reduced.k));
}

// The same; at least -100. Of a p that is not finite it does not count.
fn bce_log4(p: vec4<f32>, other: vec4<bool>) -> vec4<f32> {
    let x = select(p, 1.0 - p, other);
    var y = bce_log_kernel4(log_reduced4(x), p, other);
    // log(1 - p) rounds to -p, which arithmetic might flush.
    y = select(y, -p, other & (bitcast<vec4<u32>>(p) < vec4<u32>(0x33000000u)));
    // log(x) < -100 for x < 27 * 2^-149, which are the bits of 0 to 26, and the bits of an x
    // below zero are an integer below zero.
    return select(y, vec4<f32>(-100.0), bitcast<vec4<i32>>(x) < vec4<i32>(27));
}

// Of classes, and 2^-126 <= p < 1: no number is subnormal, and no logarithm below -88.
fn bce_of_classes4(p: vec4<f32>, other: vec4<bool>) -> vec4<f32> {
    return -bce_log_kernel4(log_normal_reduced4(select(p, 1.0 - p, other)), p, other);
}

fn bce4(p: vec4<f32>, y: vec4<f32>) -> vec4<f32> {
    // Of a class, 0 or 1, one logarithm counts: the other has the weight 0. Only a y between
    // them takes a second turn. (A loop, since drivers in software leave out the rest of one
    // that all have left, but nothing of an `if`.)
    let classes = all((y == vec4<f32>(0.0)) | (y == vec4<f32>(1.0)));
    let above = bitcast<vec4<u32>>(p) - vec4<u32>(0x00800000u); // a large number where p is below
    if (SHORTCUTS && classes && all(above < vec4<u32>(0x3f800000u - 0x00800000u))) {
        return bce_of_classes4(p, y == vec4<f32>(0.0));
    }
    var loss = vec4<f32>(0.0);
    var second = false;
    loop {
        let other = (y == vec4<f32>(0.0)) != vec4<bool>(second);
        loss -= select(y, 1.0 - y, other) * bce_log4(p, other);
        if (classes || second) {
            break;
        }
        second = true;
    }
    // NaN is no probability, and infinity neither.
    let bits = bitcast<vec4<u32>>(p);
    let nan = bitcast<vec4<f32>>(bits | vec4<u32>(NAN_BITS));
    return select(loss, nan, (bits & vec4<u32>(ABS_MASK)) >= vec4<u32>(INF_BITS));
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
    let logit = bce_log4(four, vec4<bool>(true)).x - bce_log4(four, vec4<bool>(false)).x;
    return select(bitcast<f32>(bitcast<u32>(p) | NAN_BITS), logit, is_finite(p));
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
