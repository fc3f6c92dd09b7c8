// The four parts of a vector, added by pairs.
fn added(v: vec4<f32>) -> f32 {
    return (v.x + v.y) + (v.z + v.w);
}

fn divided4(sum: vec4<f32>, divisor: f32) -> vec4<f32> {
    return vec4<f32>(
        divided(sum.x, divisor),
        divided(sum.y, divisor),
        divided(sum.z, divisor),
        divided(sum.w, divisor),
    );
}
