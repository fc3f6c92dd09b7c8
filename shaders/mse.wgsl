// L = (a - y)^2
fn mse(a: f32, y: f32) -> f32 {
    let d = a - y;
    return d * d;
}

// dL/da = 2 (a - y)
fn mse_backward(g: f32, a: f32, y: f32) -> f32 {
    return g * (2.0 * (a - y));
}
