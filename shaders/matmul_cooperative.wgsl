// C = op(A) op(B) with the adapter's matrix units, which multiply 16 by 16 float16 numbers by as
// many and add float32 sums: for products whose operands are rounded to float16.
//
// A workgroup owns a tile of C. Its invocations read slices of A and B, DEPTH of the inner axis
// each, round them, and copy them to workgroup memory as float16. A subgroup of 32 invocations
// holds BLOCKS_M by BLOCKS_N blocks of 16 by 16 of C between them and multiplies from there; the
// next slice is on its way from memory meanwhile.
//
// The lines between `repeat` and `end` stand for copies of themselves: a block of C is a variable
// of its own.

const SUBGROUPS_M: u32 = {SUBGROUPS_M}u;
const SUBGROUPS_N: u32 = {SUBGROUPS_N}u;
const WG_SIZE: u32 = 32u * SUBGROUPS_M * SUBGROUPS_N;
const ROWS: u32 = 16u * {BLOCKS_M}u * SUBGROUPS_M;
const COLUMNS: u32 = 16u * {BLOCKS_N}u * SUBGROUPS_N;
const DEPTH: u32 = 32u;
// A unit may cut off where it should round, so it adds up no more than this many products by
// itself; their sums are added as any other float32 numbers.
const BLOCK: u32 = 64u;

// A slice of A lies row by row, one of B likewise with k as the row, in vectors of four. Two
// vectors after each row keep eight rows apart in the banks of the memory.
const A_LINE: u32 = DEPTH / 4u + 2u;
const B_LINE: u32 = COLUMNS / 4u + 2u;
var<workgroup> slice_a: array<vec4<f16>, ROWS * A_LINE>;
var<workgroup> slice_b: array<vec4<f16>, DEPTH * B_LINE>;
// A block of C for each subgroup, on its way to the buffer.
var<workgroup> finished: array<f32, 256u * SUBGROUPS_M * SUBGROUPS_N>;

// The place of block i of four by four in a slice: four rows of A or columns of B (x), and four
// of k (y). Neighbouring invocations read neighbours in memory.
fn block_place(i: u32, fours: u32, along_k: bool) -> vec2<u32> {
    let first_k = vec2<u32>(i / (DEPTH / 4u), i % (DEPTH / 4u));
    let first_x = vec2<u32>(i % fours, i / fours);
    return select(first_x, first_k, along_k);
}

// What one invocation copies of a slice: four rows of A, each along k, and four k of B, each along
// the columns.
struct Blocks {
    a: mat4x4<f32>,
    b: mat4x4<f32>,
}

// Past the end of the part it is 0.
fn fetch(j: Job, lane: u32, k0: u32) -> Blocks {
    let at_a = block_place(lane, ROWS / 4u, {A_ALONG_K}u == 1u);
    let at_b = block_place(lane, COLUMNS / 4u, {B_ALONG_K}u == 1u);
    let ka = k0 + 4u * at_a.y;
    let kb = k0 + 4u * at_b.y;
    let a = rows_of_a(j, j.row + 4u * at_a.x, ka);
    let b = rows_of_b(j, kb, j.column + 4u * at_b.x);
    let zero = vec4<f32>();
    let inside = (vec4<u32>(ka) + vec4<u32>(0u, 1u, 2u, 3u)) < vec4<u32>(j.k_end);
    return Blocks(
        mat4x4<f32>(
            select(zero, a[0], inside),
            select(zero, a[1], inside),
            select(zero, a[2], inside),
            select(zero, a[3], inside),
        ),
        mat4x4<f32>(
            select(zero, b[0], kb < j.k_end),
            select(zero, b[1], kb + 1u < j.k_end),
            select(zero, b[2], kb + 2u < j.k_end),
            select(zero, b[3], kb + 3u < j.k_end),
        ),
    );
}

// These are float16 numbers already, so the conversion rounds nothing.
fn keep(lane: u32, blocks: Blocks) {
    let at_a = block_place(lane, ROWS / 4u, {A_ALONG_K}u == 1u);
    let at_b = block_place(lane, COLUMNS / 4u, {B_ALONG_K}u == 1u);
//: repeat i in 4
    slice_a[(4u * at_a.x + {i}u) * A_LINE + at_a.y] = vec4<f16>(blocks.a[{i}]);
    slice_b[(4u * at_b.y + {i}u) * B_LINE + at_b.x] = vec4<f16>(blocks.b[{i}]);
//: end
}

// Stores the block of C that a subgroup has left in workgroup memory.
fn store_block(j: Job, row: u32, column: u32, from_: u32, lane: u32) {
    for (var i = lane; i < 64u; i += 32u) {
        let at = from_ + 4u * i;
        let four = vec4<f32>(finished[at], finished[at + 1u], finished[at + 2u], finished[at + 3u]);
        store4(j, row + i / 4u, column + 4u * (i % 4u), four);
    }
}

@compute @workgroup_size(WG_SIZE)
fn matmul_cooperative(
    @builtin(workgroup_id) wid: vec3<u32>,
    @builtin(num_workgroups) count: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
    @builtin(subgroup_id) subgroup: u32,
    @builtin(subgroup_invocation_id) within: u32,
) {
    let j = job(workgroup_index(wid, count), ROWS, COLUMNS);
    let row = 16u * {BLOCKS_M}u * (subgroup / SUBGROUPS_N);
    let column = 16u * {BLOCKS_N}u * (subgroup % SUBGROUPS_N);

    // total_p_q: block p of rows, q of columns.
//: repeat p in BLOCKS_M
//: repeat q in BLOCKS_N
    var total_{p}_{q} = coop_mat16x16<f32, C>();
//: end
//: end
    var next = fetch(j, lane, j.k_begin);
    for (var begin = j.k_begin; begin < j.k_end; begin += BLOCK) {
        let end = min(j.k_end, begin + BLOCK);
//: repeat p in BLOCKS_M
//: repeat q in BLOCKS_N
        var sum_{p}_{q} = coop_mat16x16<f32, C>();
//: end
//: end
        for (var k0 = begin; k0 < end; k0 += DEPTH) {
            keep(lane, next);
            workgroupBarrier();
            next = fetch(j, lane, k0 + DEPTH);
            for (var k = 0u; k < DEPTH; k += 16u) {
//: repeat p in BLOCKS_M
                let a{p} = coopLoadT<coop_mat16x16<f16, A>>(
                    &slice_a[(row + 16u * {p}u) * A_LINE + k / 4u],
                    A_LINE,
                );
//: end
//: repeat q in BLOCKS_N
                let b{q} = coopLoadT<coop_mat16x16<f16, B>>(
                    &slice_b[k * B_LINE + (column + 16u * {q}u) / 4u],
                    B_LINE,
                );
//: end
//: repeat p in BLOCKS_M
//: repeat q in BLOCKS_N
                sum_{p}_{q} = coopMultiplyAdd(a{p}, b{q}, sum_{p}_{q});
//: end
//: end
            }
            // All have read the slice before the next one takes its place.
            workgroupBarrier();
        }
//: repeat p in BLOCKS_M
//: repeat q in BLOCKS_N
        total_{p}_{q} = total_{p}_{q} + sum_{p}_{q};
//: end
//: end
    }
    let own = 256u * subgroup;
//: repeat p in BLOCKS_M
//: repeat q in BLOCKS_N
    coopStoreT(total_{p}_{q}, &finished[own], 16u);
    workgroupBarrier();
    store_block(j, j.row + row + 16u * {p}u, j.column + column + 16u * {q}u, own, within);
    workgroupBarrier();
//: end
//: end
}
