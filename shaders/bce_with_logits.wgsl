// Binary cross entropy of a logit x and a target y, positives weighted by w:
//   L = (1 - y) softplus(x) + w y softplus(-x)
// softplus(x) = max(x, 0) + log1p(exp(-|x|)): both are built from one
// exponential, and no term cancels another for y in [0, 1].

fn bce_with_logits_weighted(x: f32, y: f32, w: f32) -> f32 {
    let l = softplus_neg_abs(x);
    let above = select(0.0, x, x > 0.0) + l;
    let below = select(0.0, -x, x < 0.0) + l;
    return (1.0 - y) * above + w * y * below;
}

fn bce_with_logits(x: f32, y: f32) -> f32 {
    return bce_with_logits_weighted(x, y, 1.0);
}

// dL/dx = (1 - y) s(x) - w y s(-x), which is s(x) - y when w = 1.
fn bce_with_logits_weighted_backward(g: f32, x: f32, y: f32, w: f32) -> f32 {
    return g * ((1.0 - y) * sigmoid_f32(x) - w * y * sigmoid_f32(-x));
}

fn bce_with_logits_backward(g: f32, x: f32, y: f32) -> f32 {
    return bce_with_logits_weighted_backward(g, x, y, 1.0);
}
