// softplus(x) = log(1 + exp(x)) = max(x, 0) + log1p(exp(-|x|)): the exponential
// never overflows, and both terms are positive, so nothing cancels.
fn softplus4(x: vec4<f32>) -> vec4<f32> {
    return select(x, vec4<f32>(), x <= vec4<f32>()) + softplus_neg_abs4(x);
}

fn softplus(x: f32) -> f32 {
    return softplus4(vec4<f32>(x)).x;
}
