// Four elements, each by its own place.
fn four_of(e: vec4<u32>) -> vec4<f32> {
    return vec4<f32>(one_of(e.x), one_of(e.y), one_of(e.z), one_of(e.w));
}

fn divided4(sum: vec4<f32>, divisor: f32) -> vec4<f32> {
    return vec4<f32>(
        divided(sum.x, divisor),
        divided(sum.y, divisor),
        divided(sum.z, divisor),
        divided(sum.w, divisor),
    );
}
