// What the kernels for C = op(A) op(B) share: parameters, buffers, the place of
// a workgroup, and stores. Transposes are a matter of strides.
//
// A kernel with FOURS reads or writes four neighbours at a time, which takes
// rows in memory of whole fours. An operand that is an image (IMAGE) is read in
// fours too: a texel is four neighbours.

struct Params {
    m: u32,
    n: u32,
    k: u32,
    // The length of a part of the inner axis.
    part: u32,
    a_m: u32,
    a_k: u32,
    b_k: u32,
    b_n: u32,
    tiles_m: u32,
    tiles_n: u32,
    batch_rank: u32,
    batches: u32,
    parts: u32,
    // Strides of C: a thin product may be computed as its transpose.
    c_m: u32,
    c_n: u32,
    // How much of a part matmul_tiled adds up before it goes through C.
    turn: u32,
    batch_sizes: array<vec4<u32>, 2>,
    a_batch: array<vec4<u32>, 2>,
    b_batch: array<vec4<u32>, 2>,
}

@group(0) @binding(0) var<uniform> params: Params;
//: if A_IMAGE
@group(0) @binding(1) var a: texture_storage_2d<rgba32float, read>;
//: else
//: if A_FOURS
@group(0) @binding(1) var<storage, read> a: array<vec4<f32>>;
//: else
@group(0) @binding(1) var<storage, read> a: array<f32>;
//: end
//: end
//: if B_IMAGE
@group(0) @binding(2) var b: texture_storage_2d<rgba32float, read>;
//: else
//: if B_FOURS
@group(0) @binding(2) var<storage, read> b: array<vec4<f32>>;
//: else
@group(0) @binding(2) var<storage, read> b: array<f32>;
//: end
//: end
//: if C_FOURS
@group(0) @binding(3) var<storage, read_write> c: array<vec4<f32>>;
//: else
@group(0) @binding(3) var<storage, read_write> c: array<f32>;
//: end

// What a workgroup works on: a tile of C and a part of the inner axis. And the sizes and
// strides of params, read before any loop or condition: inside one a driver in software
// fetches a uniform lane by lane, some 24 instructions each (docs/PERFORMANCE.md).
struct Job {
    m: u32,
    n: u32,
    a_m: u32,
    a_k: u32,
    b_k: u32,
    b_n: u32,
    c_m: u32,
    c_n: u32,
    row: u32,
    column: u32,
    a_offset: u32,
    b_offset: u32,
    c_offset: u32,
    k_begin: u32,
    k_end: u32,
}

fn job(index: u32, rows: u32, columns: u32) -> Job {
    var rest = index;
    var j: Job;
    j.m = params.m;
    j.n = params.n;
    j.a_m = params.a_m;
    j.a_k = params.a_k;
    j.b_k = params.b_k;
    j.b_n = params.b_n;
    j.c_m = params.c_m;
    j.c_n = params.c_n;
    j.column = (rest % params.tiles_n) * columns;
    rest /= params.tiles_n;
    j.row = (rest % params.tiles_m) * rows;
    rest /= params.tiles_m;
    let batch = rest % params.batches;
    let part = rest / params.batches;
    j.k_begin = part * params.part;
    j.k_end = min(params.k, j.k_begin + params.part);
    // The grid may have a few workgroups too many: these get rows that C does
    // not have, and no products to add.
    if (part >= params.parts) {
        j.row = params.m;
        j.k_begin = params.k;
        j.k_end = params.k;
    }
    j.c_offset = (part * params.batches + batch) * params.m * params.n;
    var left = batch;
    for (var i = params.batch_rank; i > 0u; i -= 1u) {
        let axis = i - 1u;
        let size = params.batch_sizes[axis / 4u][axis % 4u];
        let at = left % size;
        left /= size;
        j.a_offset += at * params.a_batch[axis / 4u][axis % 4u];
        j.b_offset += at * params.b_batch[axis / 4u][axis % 4u];
    }
    return j;
}

// Stores four neighbours of a row of C; what lies outside C is dropped.
//: if C_FOURS
fn store4(j: Job, row: u32, column: u32, value: vec4<f32>) {
    let at = j.c_offset + row * j.c_m + column;
    let result = epilogue4(value, at);
    if (row < j.m && column < j.n) {
        c[at / 4u] = result;
    }
}
//: else
fn store(j: Job, row: u32, column: u32, value: f32) {
    let at = j.c_offset + row * j.c_m + column * j.c_n;
    let result = epilogue(value, at);
    if (row < j.m && column < j.n) {
        c[at] = result;
    }
}

fn store4(j: Job, row: u32, column: u32, value: vec4<f32>) {
    store(j, row, column, value.x);
    store(j, row, column + 1u, value.y);
    store(j, row, column + 2u, value.z);
    store(j, row, column + 3u, value.w);
}
//: end
