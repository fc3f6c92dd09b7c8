// s(x) = 1 / (1 + exp(-x)); sigmoid_f32 says how it stays accurate for all x.
fn sigmoid(x: f32) -> f32 {
    return sigmoid_f32(x);
}

fn sigmoid4(x: vec4<f32>) -> vec4<f32> {
    return sigmoid_4(x);
}

// ds/dx = s (1 - s), so dL/dx = dL/ds * s * (1 - s).
// Grouped as PyTorch groups it: (g * (1 - s)) * s.
fn sigmoid_backward(g: f32, s: f32) -> f32 {
    return g * (1.0 - s) * s;
}
