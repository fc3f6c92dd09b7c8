// What each kind of target does in its own way; this is the way that suits all.

// Whether to ask first if four numbers are ordinary ones, for which there is a shorter way to the
// same result. Drivers in software take both ways and choose afterwards.
const SHORTCUTS: bool = false;

// The value `v`, rounded to float32 here and now.
//
// WGSL lets a compiler regroup a sum as if arithmetic were exact, which turns `(1 + x) - 1` into
// `x` and loses whatever such a step was written for. No rule of algebra carries a sum through a
// minimum of its bits, so this is a fence; all that it changes is one NaN, into another. With it,
// devices that do not fuse multiply and add agree bit for bit.
fn rounded4(v: vec4<f32>) -> vec4<f32> {
    return bitcast<vec4<f32>>(min(bitcast<vec4<u32>>(v), vec4<u32>(0xfffffffeu)));
}

// The same, for a value that meets one of `rounded4` in a sum.
fn rounded_apart4(v: vec4<f32>) -> vec4<f32> {
    return rounded4(v);
}
