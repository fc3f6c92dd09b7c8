// C = op(A) op(B) on a GPU: a workgroup of 16 by 16 invocations owns a tile of
// C, copies slices of A and B to workgroup memory, DEPTH of the inner axis
// each, and every invocation multiplies from there.
//
// An invocation owns ROW_BLOCKS by COLUMN_BLOCKS blocks of four by four of C,
// in registers. The slices are double: while all multiply from one, the next
// is on its way from memory, so a step takes one barrier.
//
// The lines between `repeat` and `end` stand for copies of themselves: sums in
// an array would not surely be in registers.

const SIDE: u32 = 16u;
const WG_SIZE: u32 = 256u;
const ROWS: u32 = 4u * SIDE * {ROW_BLOCKS}u;
const COLUMNS: u32 = 4u * SIDE * {COLUMN_BLOCKS}u;
const DEPTH: u32 = {DEPTH}u;
// Sums of so many products are added up by themselves, then to the total: the
// error grows with the longest path from a product to the result.
const BLOCK: u32 = 64u;

// Slices lie k first, as vectors of four rows or columns.
const A_WIDTH: u32 = ROWS / 4u;
const B_WIDTH: u32 = COLUMNS / 4u;
const A_SLICE: u32 = A_WIDTH * DEPTH;
const B_SLICE: u32 = B_WIDTH * DEPTH;
var<workgroup> slice_a: array<vec4<f32>, 2u * A_SLICE>;
var<workgroup> slice_b: array<vec4<f32>, 2u * B_SLICE>;

// Each block of four by four is copied by one invocation: first those of A.
const A_BLOCKS: u32 = A_SLICE / 4u;
const B_BLOCKS: u32 = B_SLICE / 4u;
const FOURS_OF_K: u32 = DEPTH / 4u;

// Where vector x of row k of a slice lies. Eight neighbouring invocations reach
// workgroup memory at once, and eight vectors span its banks. Where these
// invocations copy blocks along k, x alone would put them all on the same
// banks; so each four of k has its own order of x.
fn place(x: u32, k: u32, width: u32) -> u32 {
    return k * width + (x ^ ((k / 4u) * (8u / FOURS_OF_K)));
}

// The place of block i in a slice of `width` vectors: x, and k in fours.
// Neighbouring invocations copy neighbours in memory.
fn block_place(i: u32, width: u32, along_k: bool) -> vec2<u32> {
    let first_k = vec2<u32>(i / FOURS_OF_K, i % FOURS_OF_K);
    let first_x = vec2<u32>(i % width, i / width);
    return select(first_x, first_k, along_k);
}

// This invocation's block of the slices that start at k: column by column of A
// or row by row of B, one for each k. Past the end of the part it is 0.
fn fetch(j: Job, lane: u32, k0: u32) -> mat4x4<f32> {
    var block = mat4x4<f32>();
    var k = k0;
    if (lane < A_BLOCKS) {
        let at = block_place(lane, A_WIDTH, {A_ALONG_K}u == 1u);
        k = k0 + 4u * at.y;
        block = columns_of_a(j, j.row + 4u * at.x, k);
    } else if (lane < A_BLOCKS + B_BLOCKS) {
        let at = block_place(lane - A_BLOCKS, B_WIDTH, {B_ALONG_K}u == 1u);
        k = k0 + 4u * at.y;
        block = rows_of_b(j, k, j.column + 4u * at.x);
    }
    let zero = vec4<f32>();
    return mat4x4<f32>(
        select(zero, block[0], k < j.k_end),
        select(zero, block[1], k + 1u < j.k_end),
        select(zero, block[2], k + 2u < j.k_end),
        select(zero, block[3], k + 3u < j.k_end),
    );
}

// Copies that block to the first or second half of workgroup memory.
fn keep(lane: u32, half: u32, block: mat4x4<f32>) {
    if (lane < A_BLOCKS) {
        let at = block_place(lane, A_WIDTH, {A_ALONG_K}u == 1u);
        let start = half * A_SLICE;
        slice_a[start + place(at.x, 4u * at.y, A_WIDTH)] = block[0];
        slice_a[start + place(at.x, 4u * at.y + 1u, A_WIDTH)] = block[1];
        slice_a[start + place(at.x, 4u * at.y + 2u, A_WIDTH)] = block[2];
        slice_a[start + place(at.x, 4u * at.y + 3u, A_WIDTH)] = block[3];
    } else if (lane < A_BLOCKS + B_BLOCKS) {
        let at = block_place(lane - A_BLOCKS, B_WIDTH, {B_ALONG_K}u == 1u);
        let start = half * B_SLICE;
        slice_b[start + place(at.x, 4u * at.y, B_WIDTH)] = block[0];
        slice_b[start + place(at.x, 4u * at.y + 1u, B_WIDTH)] = block[1];
        slice_b[start + place(at.x, 4u * at.y + 2u, B_WIDTH)] = block[2];
        slice_b[start + place(at.x, 4u * at.y + 3u, B_WIDTH)] = block[3];
    }
}

@compute @workgroup_size(WG_SIZE)
fn matmul_tiled(
    @builtin(workgroup_id) wid: vec3<u32>,
    @builtin(num_workgroups) count: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let j = job(workgroup_index(wid, count), ROWS, COLUMNS);
    let tx = lane % SIDE;
    let ty = lane / SIDE;

    // total_h_r_v: row r of block h, columns of block v.
//: repeat h in ROW_BLOCKS
//: repeat r in 4
//: repeat v in COLUMN_BLOCKS
    var total_{h}_{r}_{v} = vec4<f32>();
//: end
//: end
//: end
    keep(lane, 0u, fetch(j, lane, j.k_begin));
    workgroupBarrier();
    var half = 0u;
    for (var begin = j.k_begin; begin < j.k_end; begin += BLOCK) {
        let end = min(j.k_end, begin + BLOCK);
//: repeat h in ROW_BLOCKS
//: repeat r in 4
//: repeat v in COLUMN_BLOCKS
        var sum_{h}_{r}_{v} = vec4<f32>();
//: end
//: end
//: end
        for (var k0 = begin; k0 < end; k0 += DEPTH) {
            let next = fetch(j, lane, k0 + DEPTH);
            for (var k = 0u; k < DEPTH; k += 4u) {
                let from_a = half * A_SLICE;
                let from_b = half * B_SLICE;
//: repeat q in 4
//: repeat h in ROW_BLOCKS
                let a{h}_{q} = slice_a[from_a + place({h}u * SIDE + ty, k + {q}u, A_WIDTH)];
//: end
//: repeat v in COLUMN_BLOCKS
                let b{v}_{q} = slice_b[from_b + place({v}u * SIDE + tx, k + {q}u, B_WIDTH)];
//: end
//: end
                // Four products one after the other, which a GPU does in four
                // instructions, and one addition to the sum.
//: repeat h in ROW_BLOCKS
//: repeat r in 4
//: repeat v in COLUMN_BLOCKS
                sum_{h}_{r}_{v} += a{h}_0[{r}] * b{v}_0 + a{h}_1[{r}] * b{v}_1
                    + a{h}_2[{r}] * b{v}_2 + a{h}_3[{r}] * b{v}_3;
//: end
//: end
//: end
            }
            half = 1u - half;
            keep(lane, half, next);
            workgroupBarrier();
        }
//: repeat h in ROW_BLOCKS
//: repeat r in 4
//: repeat v in COLUMN_BLOCKS
        total_{h}_{r}_{v} += sum_{h}_{r}_{v};
//: end
//: end
//: end
    }
//: repeat h in ROW_BLOCKS
//: repeat r in 4
//: repeat v in COLUMN_BLOCKS
    store4(
        j,
        j.row + 4u * ({h}u * SIDE + ty) + {r}u,
        j.column + 4u * ({v}u * SIDE + tx),
        total_{h}_{r}_{v},
    );
//: end
//: end
//: end
}
