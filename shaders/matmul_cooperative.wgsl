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
const DEPTH: u32 = {DEPTH}u;
// A unit may cut off where it should round, so it adds up no more than this many products by
// itself; their sums are added as any other float32 numbers.
const BLOCK: u32 = 64u;

// A slice lies as the operand lies in memory, in lines of so many vectors of four: along the inner
// axis, or along the rows of A and the columns of B. Two vectors after each line keep eight lines
// apart in the banks of the memory.
//: if A_ALONG_K
const A_WIDTH: u32 = DEPTH / 4u;
const A_LINES: u32 = ROWS;
//: else
const A_WIDTH: u32 = ROWS / 4u;
const A_LINES: u32 = DEPTH;
//: end
//: if B_ALONG_K
const B_WIDTH: u32 = DEPTH / 4u;
const B_LINES: u32 = COLUMNS;
//: else
const B_WIDTH: u32 = COLUMNS / 4u;
const B_LINES: u32 = DEPTH;
//: end
const A_LINE: u32 = A_WIDTH + 2u;
const B_LINE: u32 = B_WIDTH + 2u;
var<workgroup> slice_a: array<vec4<f16>, A_LINES * A_LINE>;
var<workgroup> slice_b: array<vec4<f16>, B_LINES * B_LINE>;
// A block of C for each subgroup, on its way to the buffer.
var<workgroup> finished: array<f32, 256u * SUBGROUPS_M * SUBGROUPS_N>;

// What is read is rounded to float16 already, so a conversion to that type rounds nothing.

// Four elements along k, those past the end of the part as 0.
fn along_k(four: vec4<f32>, k: u32, k_end: u32) -> vec4<f16> {
    let inside = (vec4<u32>(k) + vec4<u32>(0u, 1u, 2u, 3u)) < vec4<u32>(k_end);
    return vec4<f16>(select(vec4<f32>(), four, inside));
}

// Four elements of one k.
fn of_k(four: vec4<f32>, k: u32, k_end: u32) -> vec4<f16> {
    return vec4<f16>(select(vec4<f32>(), four, k < k_end));
}

// A slice is copied in blocks of four lines by one vector, DEPTH / 32 of them by an invocation:
// its own number and WG_SIZE more. Neighbouring invocations read neighbours in memory.
fn fetch_a(j: Job, number: u32, k0: u32) -> mat4x4<f16> {
    let x = 4u * (number % A_WIDTH);
    let y = 4u * (number / A_WIDTH);
//: if A_ALONG_K
    let k = k0 + x;
    let block = rows_of_a(j, j.row + y, k);
    return mat4x4<f16>(
//: repeat i in 4
        along_k(block[{i}], k, j.k_end),
//: end
    );
//: else
    let k = k0 + y;
    let block = columns_of_a(j, j.row + x, k);
    return mat4x4<f16>(
//: repeat i in 4
        of_k(block[{i}], k + {i}u, j.k_end),
//: end
    );
//: end
}

fn fetch_b(j: Job, number: u32, k0: u32) -> mat4x4<f16> {
    let x = 4u * (number % B_WIDTH);
    let y = 4u * (number / B_WIDTH);
//: if B_ALONG_K
    let k = k0 + x;
    let at = place_of_b(j, k, j.column + y);
    let block = lines_of_b(j, stored_lines_of_b(j, at), at);
    return mat4x4<f16>(
//: repeat i in 4
        along_k(block[{i}], k, j.k_end),
//: end
    );
//: else
    let k = k0 + y;
    let block = rows_of_b(j, k, j.column + x);
    return mat4x4<f16>(
//: repeat i in 4
        of_k(block[{i}], k + {i}u, j.k_end),
//: end
    );
//: end
}

fn keep_a(number: u32, block: mat4x4<f16>) {
    let at = 4u * (number / A_WIDTH) * A_LINE + number % A_WIDTH;
//: repeat i in 4
    slice_a[at + {i}u * A_LINE] = block[{i}];
//: end
}

fn keep_b(number: u32, block: mat4x4<f16>) {
    let at = 4u * (number / B_WIDTH) * B_LINE + number % B_WIDTH;
//: repeat i in 4
    slice_b[at + {i}u * B_LINE] = block[{i}];
//: end
}

// Stores the block of C that a subgroup has left in workgroup memory.
fn store_block(j: Job, row: u32, column: u32, start: u32, lane: u32) {
    for (var i = lane; i < 64u; i += 32u) {
        let at = start + 4u * i;
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
//: repeat i in COPIES
    var a_{i} = fetch_a(j, {i}u * WG_SIZE + lane, j.k_begin);
    var b_{i} = fetch_b(j, {i}u * WG_SIZE + lane, j.k_begin);
//: end
    for (var begin = j.k_begin; begin < j.k_end; begin += BLOCK) {
        let end = min(j.k_end, begin + BLOCK);
//: repeat p in BLOCKS_M
//: repeat q in BLOCKS_N
        var sum_{p}_{q} = coop_mat16x16<f32, C>();
//: end
//: end
        for (var k0 = begin; k0 < end; k0 += DEPTH) {
//: repeat i in COPIES
            keep_a({i}u * WG_SIZE + lane, a_{i});
            keep_b({i}u * WG_SIZE + lane, b_{i});
//: end
            workgroupBarrier();
//: repeat i in COPIES
            a_{i} = fetch_a(j, {i}u * WG_SIZE + lane, k0 + DEPTH);
            b_{i} = fetch_b(j, {i}u * WG_SIZE + lane, k0 + DEPTH);
//: end
            for (var k = 0u; k < DEPTH; k += 16u) {
                // coopLoadT reads row by row, coopLoad column by column.
//: repeat p in BLOCKS_M
//: if A_ALONG_K
                let a{p} = coopLoadT<coop_mat16x16<f16, A>>(
                    &slice_a[(row + 16u * {p}u) * A_LINE + k / 4u],
                    A_LINE,
                );
//: else
                let a{p} = coopLoad<coop_mat16x16<f16, A>>(
                    &slice_a[k * A_LINE + (row + 16u * {p}u) / 4u],
                    A_LINE,
                );
//: end
//: end
//: repeat q in BLOCKS_N
//: if B_ALONG_K
                let b{q} = coopLoad<coop_mat16x16<f16, B>>(
                    &slice_b[(column + 16u * {q}u) * B_LINE + k / 4u],
                    B_LINE,
                );
//: else
                let b{q} = coopLoadT<coop_mat16x16<f16, B>>(
                    &slice_b[k * B_LINE + (column + 16u * {q}u) / 4u],
                    B_LINE,
                );
//: end
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
