// softplus(x) = log(1 + exp(x)) = max(x, 0) + log1p(exp(-|x|)): the exponential
// never overflows, and both terms are positive, so nothing cancels.
fn softplus(x: f32) -> f32 {
    return select(x, 0.0, x <= 0.0) + softplus_neg_abs(x);
}
