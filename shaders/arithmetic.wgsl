// Elementwise arithmetic. The planner writes the kernel around each function.

fn add(a: f32, b: f32) -> f32 {
    return a + b;
}

fn sub(a: f32, b: f32) -> f32 {
    return a - b;
}

fn mul(a: f32, b: f32) -> f32 {
    return a * b;
}

fn neg(a: f32) -> f32 {
    return -a;
}

fn scale(a: f32, factor: f32) -> f32 {
    return factor * a;
}
