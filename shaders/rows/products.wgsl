// The sum and four products, one after the other: a GPU makes one step of each.
fn with_products(sum: f32, a: vec4<f32>, b: vec4<f32>) -> f32 {
    return (((sum + a.x * b.x) + a.y * b.y) + a.z * b.z) + a.w * b.w;
}
