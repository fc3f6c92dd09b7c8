// What the kernels for sums share: parameters and places. The input is seen as
// `outputs` rows of `terms` elements; each row is cut into `chunks`, and a pass
// writes the sum of chunk c of row o to element [c, o]. A second pass sums the
// chunks.

struct Params {
    outputs: u32,
    terms: u32,
    chunks: u32,
    // What the sum is divided by (a mean, in its last pass); 0: nothing to take
    // the mean of, the answer is `nan`.
    divisor: u32,
    kept_rank: u32,
    reduced_rank: u32,
    nan: f32,
    unused: u32,
    kept_sizes: array<vec4<u32>, 2>,
    kept_strides: array<vec4<u32>, 2>,
    reduced_sizes: array<vec4<u32>, 2>,
    reduced_strides: array<vec4<u32>, 2>,
}

@group(0) @binding(0) var<uniform> params: Params;

fn kept_offset(row: u32) -> u32 {
    var rest = row;
    var offset = 0u;
    for (var i = params.kept_rank; i > 0u; i -= 1u) {
        let axis = i - 1u;
        let size = params.kept_sizes[axis / 4u][axis % 4u];
        offset += (rest % size) * params.kept_strides[axis / 4u][axis % 4u];
        rest /= size;
    }
    return offset;
}

// From a term to the next where one axis is reduced. Read before any loop or condition:
// lib/product.wgsl says why.
fn reduced_stride() -> u32 {
    return params.reduced_strides[0].x;
}

//: if ONE_AXIS
fn reduced_offset(term: u32, stride: u32) -> u32 {
    return term * stride;
}
//: else
fn reduced_offset(term: u32, stride: u32) -> u32 {
    var rest = term;
    var offset = 0u;
    for (var i = params.reduced_rank; i > 0u; i -= 1u) {
        let axis = i - 1u;
        let size = params.reduced_sizes[axis / 4u][axis % 4u];
        offset += (rest % size) * params.reduced_strides[axis / 4u][axis % 4u];
        rest /= size;
    }
    return offset;
}
//: end

fn finish(sum: f32) -> f32 {
    if (params.divisor == 0u) {
        return params.nan;
    }
    if (params.divisor == 1u) {
        return sum;
    }
    return sum / f32(params.divisor);
}
