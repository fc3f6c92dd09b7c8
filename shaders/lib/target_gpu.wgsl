// What each kind of target does in its own way (target.wgsl); this suits GPUs, in a kernel whose
// parameters have `one` and `unit`, floats that are always 1, which a compiler does not know.

const SHORTCUTS: bool = true;

// The value `v`, rounded to float32 here and now. A product with a number that could be any cannot
// be taken out of a sum, so `(1 + x) * one - 1` stays as it is. A GPU multiplies twice as fast as
// it compares, and makes one step of the product and a sum after it, which rounds as before, since
// a product with 1 has nothing to round.
fn rounded4(v: vec4<f32>) -> vec4<f32> {
    return v * params.one;
}

// The same, for a value that meets one of `rounded4` in a sum: `a * one + b * one` is
// `(a + b) * one` to a compiler (Mesa's, for one), and both were rounded for nothing.
fn rounded_apart4(v: vec4<f32>) -> vec4<f32> {
    return v * params.unit;
}
