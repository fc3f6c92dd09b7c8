// Leaves and computed values. Places are counted in blocks of four elements.
@group(0) @binding(1) var<storage, read_write> data: array<vec4<f32>>;

fn fetch(i: u32) -> vec4<f32> {
    return data[i];
}

// A single element, by its place.
fn one_of(e: u32) -> f32 {
    return data[e / 4u][e % 4u];
}

fn put(i: u32, four: vec4<f32>) {
    data[i] = four;
}
