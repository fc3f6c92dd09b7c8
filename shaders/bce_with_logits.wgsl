// Binary cross entropy of a logit x and a target y, positives weighted by w:
//   L = (1 - y) softplus(x) + w y softplus(-x)
// softplus(x) = max(x, 0) + log1p(exp(-|x|)): both are built from one
// exponential, and no term cancels another for y in [0, 1].

fn bce_with_logits_weighted4(x: vec4<f32>, y: vec4<f32>, w: vec4<f32>) -> vec4<f32> {
    let l = softplus_neg_abs4(x);
    let above = select(vec4<f32>(), x, x > vec4<f32>()) + l;
    let below = select(vec4<f32>(), -x, x < vec4<f32>()) + l;
    return (1.0 - y) * above + w * y * below;
}

fn bce_with_logits_weighted(x: f32, y: f32, w: f32) -> f32 {
    return bce_with_logits_weighted4(vec4<f32>(x), vec4<f32>(y), vec4<f32>(w)).x;
}

fn bce_with_logits4(x: vec4<f32>, y: vec4<f32>) -> vec4<f32> {
    return bce_with_logits_weighted4(x, y, vec4<f32>(1.0));
}

fn bce_with_logits(x: f32, y: f32) -> f32 {
    return bce_with_logits_weighted(x, y, 1.0);
}

// dL/dx = (1 - y) s(x) - w y s(-x), which is s(x) - y when w = 1.
fn bce_with_logits_weighted_backward4(
    g: vec4<f32>,
    x: vec4<f32>,
    y: vec4<f32>,
    w: vec4<f32>,
) -> vec4<f32> {
    let s = sigmoids4(x);
    return g * ((1.0 - y) * s.plus - w * y * s.minus);
}

fn bce_with_logits_weighted_backward(g: f32, x: f32, y: f32, w: f32) -> f32 {
    let four = vec4<f32>(x);
    return bce_with_logits_weighted_backward4(vec4<f32>(g), four, vec4<f32>(y), vec4<f32>(w)).x;
}

fn bce_with_logits_backward4(g: vec4<f32>, x: vec4<f32>, y: vec4<f32>) -> vec4<f32> {
    return bce_with_logits_weighted_backward4(g, x, y, vec4<f32>(1.0));
}

fn bce_with_logits_backward(g: f32, x: f32, y: f32) -> f32 {
    return bce_with_logits_weighted_backward(g, x, y, 1.0);
}
