// What is read back after the run. Places are counted in blocks of four elements.
@group(0) @binding(1) var<storage, read_write> data: array<vec4<f32>>;
// Leaves and computed values, at the same places: a driver in software reads
// texels for all lanes at once, and a buffer lane by lane.
@group(0) @binding(2) var image: texture_storage_2d<rgba32float, read_write>;

fn texel(i: u32) -> vec2<u32> {
    return vec2<u32>(i % {WIDTH}u, i / {WIDTH}u);
}

fn fetch(i: u32) -> vec4<f32> {
    return textureLoad(image, texel(i));
}

// A single element, by its place.
fn one_of(e: u32) -> f32 {
    return fetch(e / 4u)[e % 4u];
}

fn put(i: u32, four: vec4<f32>) {
    textureStore(image, texel(i), four);
}

// An output that no phase reads.
fn give(i: u32, four: vec4<f32>) {
    data[i] = four;
}

fn put_and_give(i: u32, four: vec4<f32>) {
    put(i, four);
    give(i, four);
}
