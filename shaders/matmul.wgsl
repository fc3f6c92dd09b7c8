// C = op(A) op(B), for batches of matrices of any size.
//
// A workgroup owns one tile of C and one part of the inner axis. In matmul_64
// and matmul_16 it copies a slice of A and of B to workgroup memory, 16 columns
// deep, and every invocation multiplies from there. matmul_rows and matmul_tall
// are for thin products, which would leave such tiles nearly empty. Transposes
// are a matter of strides. Elements outside the matrices count as zero.

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
    unused: u32,
    batch_sizes: array<vec4<u32>, 2>,
    a_batch: array<vec4<u32>, 2>,
    b_batch: array<vec4<u32>, 2>,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> a: array<f32>;
@group(0) @binding(2) var<storage, read> b: array<f32>;
@group(0) @binding(3) var<storage, read_write> c: array<f32>;

const DEPTH: u32 = 16u;
// Products are added in a shallow tree, which keeps the error small: four by
// pairs, then 16 such sums in a row, then these sums of 64.
const SLICES_PER_BLOCK: u32 = 4u;

// What a workgroup works on.
struct Job {
    row: u32,
    column: u32,
    a_offset: u32,
    b_offset: u32,
    c_offset: u32,
    k_begin: u32,
    k_end: u32,
    live: bool,
}

fn job(index: u32, tile: u32) -> Job {
    var rest = index;
    var j: Job;
    j.column = (rest % params.tiles_n) * tile;
    rest /= params.tiles_n;
    j.row = (rest % params.tiles_m) * tile;
    rest /= params.tiles_m;
    let batch = rest % params.batches;
    let part = rest / params.batches;
    j.live = part < params.parts;
    j.k_begin = part * params.part;
    j.k_end = min(params.k, j.k_begin + params.part);
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

fn load_a(j: Job, row: u32, k: u32) -> f32 {
    // Without a branch: a load inside one is slow on some drivers. Element 0
    // always exists.
    let inside = row < params.m && k < j.k_end;
    let at = select(0u, j.a_offset + row * params.a_m + k * params.a_k, inside);
    return select(0.0, a[at], inside);
}

fn load_b(j: Job, k: u32, column: u32) -> f32 {
    let inside = column < params.n && k < j.k_end;
    let at = select(0u, j.b_offset + k * params.b_k + column * params.b_n, inside);
    return select(0.0, b[at], inside);
}

fn store(j: Job, row: u32, column: u32, value: f32) {
    if (row < params.m && column < params.n) {
        c[j.c_offset + row * params.c_m + column * params.c_n] = value;
    }
}

// Slices of A and B, k first: 16 by 64 at most.
var<workgroup> slice_a: array<f32, 1024>;
var<workgroup> slice_b: array<vec4<f32>, 256>;

// Tiles of 64 by 64; an invocation owns 4 by 4 of it.
@compute @workgroup_size(256)
fn matmul_64(
    @builtin(workgroup_id) wid: vec3<u32>,
    @builtin(num_workgroups) count: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let j = job(workgroup_index(wid, count), 64u);
    if (!j.live) {
        return;
    }
    let tx = lane % 16u;
    let ty = lane / 16u;
    var total = array<vec4<f32>, 4>();
    var block = array<vec4<f32>, 4>();
    var slices = 0u;
    for (var k0 = j.k_begin; k0 < j.k_end; k0 += DEPTH) {
        for (var i = 0u; i < 4u; i += 1u) {
            // Neighbouring invocations read neighbouring elements.
            let t = lane + i * 256u;
            let along_k = vec2<u32>(t / DEPTH, t % DEPTH);
            let along_m = vec2<u32>(t % 64u, t / 64u);
            let at = select(along_m, along_k, params.a_k == 1u);
            slice_a[at.y * 64u + at.x] = load_a(j, j.row + at.x, k0 + at.y);
        }
        // Four neighbouring columns of one k.
        let kb = lane / 16u;
        let column = j.column + tx * 4u;
        slice_b[lane] = vec4<f32>(
            load_b(j, k0 + kb, column),
            load_b(j, k0 + kb, column + 1u),
            load_b(j, k0 + kb, column + 2u),
            load_b(j, k0 + kb, column + 3u),
        );
        workgroupBarrier();
        for (var k = 0u; k < DEPTH; k += 4u) {
            let b0 = slice_b[k * 16u + tx];
            let b1 = slice_b[k * 16u + 16u + tx];
            let b2 = slice_b[k * 16u + 32u + tx];
            let b3 = slice_b[k * 16u + 48u + tx];
            for (var i = 0u; i < 4u; i += 1u) {
                let at = k * 64u + ty * 4u + i;
                block[i] += (slice_a[at] * b0 + slice_a[at + 64u] * b1)
                    + (slice_a[at + 128u] * b2 + slice_a[at + 192u] * b3);
            }
        }
        workgroupBarrier();
        slices += 1u;
        if (slices == SLICES_PER_BLOCK) {
            slices = 0u;
            total[0] += block[0];
            total[1] += block[1];
            total[2] += block[2];
            total[3] += block[3];
            block = array<vec4<f32>, 4>();
        }
    }
    for (var i = 0u; i < 4u; i += 1u) {
        let value = total[i] + block[i];
        let row = j.row + ty * 4u + i;
        let column = j.column + tx * 4u;
        store(j, row, column, value.x);
        store(j, row, column + 1u, value.y);
        store(j, row, column + 2u, value.z);
        store(j, row, column + 3u, value.w);
    }
}

var<workgroup> small_a: array<f32, 256>;
var<workgroup> small_b: array<f32, 256>;

// Tiles of 16 by 16, one element an invocation: for small or thin products.
@compute @workgroup_size(256)
fn matmul_16(
    @builtin(workgroup_id) wid: vec3<u32>,
    @builtin(num_workgroups) count: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let j = job(workgroup_index(wid, count), 16u);
    if (!j.live) {
        return;
    }
    let tx = lane % 16u;
    let ty = lane / 16u;
    var total = 0.0;
    var block = 0.0;
    var slices = 0u;
    for (var k0 = j.k_begin; k0 < j.k_end; k0 += DEPTH) {
        small_a[lane] = load_a(j, j.row + ty, k0 + tx);
        small_b[lane] = load_b(j, k0 + ty, j.column + tx);
        workgroupBarrier();
        for (var k = 0u; k < DEPTH; k += 4u) {
            let at_a = ty * 16u + k;
            let at_b = k * 16u + tx;
            block += (small_a[at_a] * small_b[at_b] + small_a[at_a + 1u] * small_b[at_b + 16u])
                + (small_a[at_a + 2u] * small_b[at_b + 32u]
                    + small_a[at_a + 3u] * small_b[at_b + 48u]);
        }
        workgroupBarrier();
        slices += 1u;
        if (slices == SLICES_PER_BLOCK) {
            slices = 0u;
            total += block;
            block = 0.0;
        }
    }
    store(j, j.row + ty, j.column + tx, total + block);
}

// Four neighbouring columns of row k of B.
fn load_b4(j: Job, k: u32, column: u32) -> vec4<f32> {
    return vec4<f32>(
        load_b(j, k, column),
        load_b(j, k, column + 1u),
        load_b(j, k, column + 2u),
        load_b(j, k, column + 3u),
    );
}

fn store4(j: Job, row: u32, column: u32, value: vec4<f32>) {
    store(j, row, column, value.x);
    store(j, row, column + 1u, value.y);
    store(j, row, column + 2u, value.z);
    store(j, row, column + 3u, value.w);
}

// Products with at most 4 columns: an invocation owns one whole row of C.
@compute @workgroup_size(64)
fn matmul_rows(
    @builtin(workgroup_id) wid: vec3<u32>,
    @builtin(num_workgroups) count: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let j = job(workgroup_index(wid, count), 64u);
    let row = j.row + lane;
    if (!j.live || row >= params.m) {
        return;
    }
    var total = vec4<f32>();
    var block = vec4<f32>();
    var fours = 0u;
    for (var k = j.k_begin; k < j.k_end; k += 4u) {
        block += (load_a(j, row, k) * load_b4(j, k, 0u)
            + load_a(j, row, k + 1u) * load_b4(j, k + 1u, 0u))
            + (load_a(j, row, k + 2u) * load_b4(j, k + 2u, 0u)
                + load_a(j, row, k + 3u) * load_b4(j, k + 3u, 0u));
        fours += 1u;
        if (fours == 16u) {
            fours = 0u;
            total += block;
            block = vec4<f32>();
        }
    }
    store4(j, row, 0u, total + block);
}

var<workgroup> partial: array<vec4<f32>, 256>;

// Small products with a long inner axis (a weight gradient over a batch): a
// workgroup owns 4 by 4 elements of C. Each invocation adds every 64th product,
// then the 64 sums are added in a tree.
@compute @workgroup_size(64)
fn matmul_tall(
    @builtin(workgroup_id) wid: vec3<u32>,
    @builtin(num_workgroups) count: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let j = job(workgroup_index(wid, count), 4u);
    if (!j.live) {
        return;
    }
    var sum = array<vec4<f32>, 4>();
    for (var k = j.k_begin + lane; k < j.k_end; k += 64u) {
        let bv = load_b4(j, k, j.column);
        sum[0] += load_a(j, j.row, k) * bv;
        sum[1] += load_a(j, j.row + 1u, k) * bv;
        sum[2] += load_a(j, j.row + 2u, k) * bv;
        sum[3] += load_a(j, j.row + 3u, k) * bv;
    }
    for (var i = 0u; i < 4u; i += 1u) {
        partial[i * 64u + lane] = sum[i];
    }
    workgroupBarrier();
    for (var half = 32u; half > 0u; half /= 2u) {
        if (lane < half) {
            for (var i = 0u; i < 4u; i += 1u) {
                partial[i * 64u + lane] += partial[i * 64u + lane + half];
            }
        }
        workgroupBarrier();
    }
    if (lane < 4u) {
        store4(j, j.row + lane, j.column, partial[lane * 64u]);
    }
}
