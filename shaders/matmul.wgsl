// C = op(A) op(B) for products that are small or thin, which would leave the
// tiles of matmul_subgroup.wgsl and matmul_tiled.wgsl nearly empty. Elements
// outside the matrices count as zero.

const DEPTH: u32 = 16u;
// Products are added in a shallow tree, which keeps the error small: four by
// pairs, then 16 such sums in a row, then these sums of 64.
const BLOCK: u32 = 64u;
const SLICES_PER_BLOCK: u32 = BLOCK / DEPTH;

fn load_a(j: Job, row: u32, k: u32) -> f32 {
    // Without a branch: a load inside one is slow on some drivers. Element 0
    // always exists.
    let inside = row < j.m && k < j.k_end;
    let at = select(0u, j.a_offset + row * j.a_m + k * j.a_k, inside);
//: if HALF
    return select(0.0, to_half(prologue_a(a[at], at)), inside);
//: else
    return select(0.0, prologue_a(a[at], at), inside);
//: end
}

fn load_b(j: Job, k: u32, column: u32) -> f32 {
    let inside = column < j.n && k < j.k_end;
    let at = select(0u, j.b_offset + k * j.b_k + column * j.b_n, inside);
//: if HALF
    return select(0.0, to_half(prologue_b(b[at], at)), inside);
//: else
    return select(0.0, prologue_b(b[at], at), inside);
//: end
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
    let j = job(workgroup_index(wid, count), 16u, 16u);
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

// Products with at most 4 columns: an invocation owns one whole row of C.
@compute @workgroup_size(64)
fn matmul_rows(
    @builtin(workgroup_id) wid: vec3<u32>,
    @builtin(num_workgroups) count: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    // Its columns are all there are.
    let j = job(workgroup_index(wid, count), 64u, 4u);
    let row = j.row + lane;
    if (row >= j.m) {
        return;
    }
    var total = vec4<f32>();
    for (var begin = j.k_begin; begin < j.k_end; begin += BLOCK) {
        // Four running sums, of every fourth product each: as deep as sums of
        // four neighbours, but what is added is smaller, and so is the error.
        var s0 = vec4<f32>();
        var s1 = vec4<f32>();
        var s2 = vec4<f32>();
        var s3 = vec4<f32>();
        let end = min(j.k_end, begin + BLOCK);
        for (var k = begin; k < end; k += 4u) {
            s0 += load_a(j, row, k) * load_b4(j, k, 0u);
            s1 += load_a(j, row, k + 1u) * load_b4(j, k + 1u, 0u);
            s2 += load_a(j, row, k + 2u) * load_b4(j, k + 2u, 0u);
            s3 += load_a(j, row, k + 3u) * load_b4(j, k + 3u, 0u);
        }
        total += (s0 + s1) + (s2 + s3);
    }
    store4(j, row, 0u, total);
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
    let j = job(workgroup_index(wid, count), 4u, 4u);
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
