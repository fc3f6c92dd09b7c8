// relu(x) = max(0, x)
//
// Written with a comparison by bits, not with max(): max(NaN, 0) is 0 on the
// drivers we tried, and a compiler may assume that NaN does not occur. A NaN
// must come out as NaN, or a broken network looks healthy.
fn relu(x: f32) -> f32 {
    return select(x, 0.0, (x <= 0.0) & !is_nan(x));
}

// dL/dx = dL/dy where x > 0, else 0. At x = 0 the derivative is 0 by
// convention; a NaN in x lets the cotangent through.
fn relu_backward(g: f32, x: f32) -> f32 {
    return select(g, 0.0, (x <= 0.0) & !is_nan(x));
}
