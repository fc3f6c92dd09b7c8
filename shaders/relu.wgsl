// relu(x) = max(0, x)
//
// Written with a comparison of bits, not with max(): max(NaN, 0) is 0 on the
// drivers we tried, and a compiler may assume that NaN does not occur. A NaN
// must come out as NaN, or a broken network looks healthy.
//
// As integers, -0 to -infinity are all up to -0x800000, and a NaN with a sign is
// above it: one comparison for both.
fn relu(x: f32) -> f32 {
    return select(x, 0.0, bitcast<i32>(x) <= -0x800000);
}

// dL/dx = dL/dy where x > 0, else 0. At x = 0 the derivative is 0 by
// convention; a NaN in x lets the cotangent through. (Where relu(x) is at hand, a
// compiler takes it from there.)
fn relu_backward(g: f32, x: f32) -> f32 {
    return select(g, 0.0, bitcast<u32>(relu(x)) == 0u);
}
