// C = op(A) op(B) on a GPU: a workgroup owns a tile of C, copies slices of A and B to
// workgroup memory, DEPTH of the inner axis each, and every invocation multiplies from
// there. Meanwhile the next slice is on its way from memory (WIDE: a form for GPUs; drivers
// in software have nothing to wait for, and take long to compile what is written out).
//
// What comes from memory is looked at when it is copied on, after the arithmetic: a mask or
// a prologue next to the load would wait for it there. Where workgroup memory has room for
// two slices (TWO_BUFFERS), one is filled while others still read the one before, and each
// slice takes one barrier in place of two.
//
// An invocation owns ROW_BLOCKS by COLUMN_BLOCKS blocks of four by four of C, in
// registers.
//
// The lines between `repeat` and `end` stand for copies of themselves: sums in an array
// would not surely be in registers.

const WG_SIZE: u32 = {LANES_M}u * {LANES_N}u;
const ROWS: u32 = 4u * {LANES_M}u * {ROW_BLOCKS}u;
const COLUMNS: u32 = 4u * {LANES_N}u * {COLUMN_BLOCKS}u;
const DEPTH: u32 = 16u;

// A slice has a line of DEPTH vectors for each four rows of A or columns of B. One vector
// more keeps the lines apart in the banks of the memory. The place in a line is a constant
// where it is read, so that it needs no check against the line's length.
const LINE: u32 = DEPTH + 1u;
const BUFFERS: u32 = 1u + {TWO_BUFFERS}u;
var<workgroup> slice_a: array<array<vec4<f32>, LINE>, BUFFERS * ROWS / 4u>;
var<workgroup> slice_b: array<array<vec4<f32>, LINE>, BUFFERS * COLUMNS / 4u>;

// Each block of four by four is copied by one invocation: first those of A.
const FOURS_OF_K: u32 = DEPTH / 4u;
const A_BLOCKS: u32 = FOURS_OF_K * ROWS / 4u;
const B_BLOCKS: u32 = FOURS_OF_K * COLUMNS / 4u;

// The place of block i in a slice of `width` lines: the line, and k in fours. Neighbouring
// invocations copy neighbours in memory.
fn block_place(i: u32, width: u32, along_k: bool) -> vec2<u32> {
    let first_k = vec2<u32>(i / FOURS_OF_K, i % FOURS_OF_K);
    let first_x = vec2<u32>(i % width, i / width);
    return select(first_x, first_k, along_k);
}

// Block i of the slices that start at k0, as it is in memory. Past the last block it is
// the last one again: a value of its own would wait for the loads that it is in place of.
fn fetch(j: Job, i: u32, k0: u32) -> mat4x4<f32> {
    if (i < A_BLOCKS) {
        let at = block_place(i, ROWS / 4u, {A_ALONG_K}u == 1u);
        return stored_lines_of_a(j, place_of_a(j, j.row + 4u * at.x, k0 + 4u * at.y));
    }
    let at = block_place(min(i - A_BLOCKS, B_BLOCKS - 1u), COLUMNS / 4u, {B_ALONG_K}u == 1u);
    return stored_lines_of_b(j, place_of_b(j, k0 + 4u * at.y, j.column + 4u * at.x));
}

// A block of four k from k on, without those past the end of the part.
fn until_end(j: Job, block: mat4x4<f32>, k: u32) -> mat4x4<f32> {
    if (k + 4u <= j.k_end) {
        return block;
    }
    let zero = vec4<f32>();
    return mat4x4<f32>(
        select(zero, block[0], k < j.k_end),
        select(zero, block[1], k + 1u < j.k_end),
        select(zero, block[2], k + 2u < j.k_end),
        zero,
    );
}

// Copies that block to slices in workgroup memory that start at these lines: column by
// column of A or row by row of B, one for each k.
fn keep(j: Job, i: u32, k0: u32, stored: mat4x4<f32>, line_a: u32, line_b: u32) {
    if (i < A_BLOCKS) {
        let at = block_place(i, ROWS / 4u, {A_ALONG_K}u == 1u);
        let k = k0 + 4u * at.y;
        let place = place_of_a(j, j.row + 4u * at.x, k);
        let block = until_end(j, columns_from_a(j, stored, place), k);
//: repeat q in 4
        slice_a[line_a + at.x][4u * at.y + {q}u] = block[{q}];
//: end
    } else if (i < A_BLOCKS + B_BLOCKS) {
        let at = block_place(i - A_BLOCKS, COLUMNS / 4u, {B_ALONG_K}u == 1u);
        let k = k0 + 4u * at.y;
        let place = place_of_b(j, k, j.column + 4u * at.x);
        let block = until_end(j, rows_from_b(j, stored, place), k);
//: repeat q in 4
        slice_b[line_b + at.x][4u * at.y + {q}u] = block[{q}];
//: end
    }
}

//: if WIDE
// What this invocation has stored there in the turns before.
//: if C_FOURS
fn stored4(j: Job, row: u32, column: u32) -> vec4<f32> {
    return c[(j.c_offset + row * j.c_m + column * j.c_n) / 4u];
}
//: else
fn stored4(j: Job, row: u32, column: u32) -> vec4<f32> {
    let at = j.c_offset + row * j.c_m + column * j.c_n;
    return vec4<f32>(
        c[at],
        c[at + j.c_n],
        c[at + 2u * j.c_n],
        c[at + 3u * j.c_n],
    );
}
//: end

// Stores a sum that is not the last: as it is.
//: if C_FOURS
fn hold4(j: Job, row: u32, column: u32, value: vec4<f32>) {
    if (row < j.m && column < j.n) {
        c[(j.c_offset + row * j.c_m + column * j.c_n) / 4u] = value;
    }
}
//: else
fn hold4(j: Job, row: u32, column: u32, value: vec4<f32>) {
    for (var i = 0u; i < 4u; i += 1u) {
        if (row < j.m && column + i < j.n) {
            c[j.c_offset + row * j.c_m + (column + i) * j.c_n] = value[i];
        }
    }
}
//: end
//: end

@compute @workgroup_size(WG_SIZE)
fn matmul_tiled(
    @builtin(workgroup_id) wid: vec3<u32>,
    @builtin(num_workgroups) count: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let j = job(workgroup_index(wid, count), ROWS, COLUMNS);
    let tx = lane % {LANES_N}u;
    let ty = lane / {LANES_N}u;
    let row = j.row + 4u * ty;
    let column = j.column + 4u * tx;

    // The error grows with the longest path from a product to the result. So each slice is
    // added up by itself, and the slices of a turn.
//: if WIDE
    // There are at most four turns, and between them the sums are in C: registers are few.
//: repeat i in LOADS
    var next_{i} = fetch(j, {i}u * WG_SIZE + lane, j.k_begin);
//: end
//: end
    // Where the slices in use start.
    var line_a = 0u;
    var line_b = 0u;
    // total_h_r_v: row r of block h, columns of block v.
//: repeat h in ROW_BLOCKS
//: repeat r in 4
//: repeat v in COLUMN_BLOCKS
    var total_{h}_{r}_{v} = vec4<f32>();
//: end
//: end
//: end
    var begin = j.k_begin;
    loop {
        let end = min(j.k_end, begin + params.turn);
//: repeat h in ROW_BLOCKS
//: repeat r in 4
//: repeat v in COLUMN_BLOCKS
        var turn_{h}_{r}_{v} = vec4<f32>();
//: end
//: end
//: end
        for (var k0 = begin; k0 < end; k0 += DEPTH) {
//: if TWO_BUFFERS
            // All have read the slice before the last.
            line_a = ROWS / 4u - line_a;
            line_b = COLUMNS / 4u - line_b;
//: else
            // All have read the slice before.
            workgroupBarrier();
//: end
//: if WIDE
//: repeat i in LOADS
            keep(j, {i}u * WG_SIZE + lane, k0, next_{i}, line_a, line_b);
//: end
            workgroupBarrier();
//: repeat i in LOADS
            next_{i} = fetch(j, {i}u * WG_SIZE + lane, k0 + DEPTH);
//: end
//: else
            for (var i = lane; i < A_BLOCKS + B_BLOCKS; i += WG_SIZE) {
                keep(j, i, k0, fetch(j, i, k0), line_a, line_b);
            }
            workgroupBarrier();
//: end
//: if SHORT
//: else
//: repeat h in ROW_BLOCKS
//: repeat r in 4
//: repeat v in COLUMN_BLOCKS
            var sum_{h}_{r}_{v} = vec4<f32>();
//: end
//: end
//: end
//: end
//: repeat g in GROUPS
//: if WIDE
            {
                const k = 4u * {g}u;
//: else
            for (var k = 0u; k < DEPTH; k += 4u) {
//: end
//: if SHORT
//: repeat h in ROW_BLOCKS
//: repeat r in 4
//: repeat v in COLUMN_BLOCKS
                var sum_{h}_{r}_{v} = vec4<f32>();
//: end
//: end
//: end
//: end
//: repeat q in 4
//: repeat h in ROW_BLOCKS
                let a{h}_{q} = slice_a[line_a + {h}u * {LANES_M}u + ty][k + {q}u];
//: end
//: repeat v in COLUMN_BLOCKS
                let b{v}_{q} = slice_b[line_b + {v}u * {LANES_N}u + tx][k + {q}u];
//: end
//: repeat h in ROW_BLOCKS
//: repeat r in 4
//: repeat v in COLUMN_BLOCKS
                sum_{h}_{r}_{v} += a{h}_{q}[{r}] * b{v}_{q};
//: end
//: end
//: end
//: end
//: if SHORT
//: repeat h in ROW_BLOCKS
//: repeat r in 4
//: repeat v in COLUMN_BLOCKS
                turn_{h}_{r}_{v} += sum_{h}_{r}_{v};
//: end
//: end
//: end
//: end
            }
//: end
//: if SHORT
//: else
//: repeat h in ROW_BLOCKS
//: repeat r in 4
//: repeat v in COLUMN_BLOCKS
            turn_{h}_{r}_{v} += sum_{h}_{r}_{v};
//: end
//: end
//: end
//: end
        }
//: if WIDE
        if (begin > j.k_begin) {
//: repeat h in ROW_BLOCKS
//: repeat r in 4
//: repeat v in COLUMN_BLOCKS
            turn_{h}_{r}_{v} += stored4(
                j,
                row + 4u * {h}u * {LANES_M}u + {r}u,
                column + 4u * {v}u * {LANES_N}u,
            );
//: end
//: end
//: end
        }
        if (end < j.k_end) {
//: repeat h in ROW_BLOCKS
//: repeat r in 4
//: repeat v in COLUMN_BLOCKS
            hold4(
                j,
                row + 4u * {h}u * {LANES_M}u + {r}u,
                column + 4u * {v}u * {LANES_N}u,
                turn_{h}_{r}_{v},
            );
//: end
//: end
//: end
        }
//: repeat h in ROW_BLOCKS
//: repeat r in 4
//: repeat v in COLUMN_BLOCKS
        total_{h}_{r}_{v} = turn_{h}_{r}_{v};
//: end
//: end
//: end
//: else
//: repeat h in ROW_BLOCKS
//: repeat r in 4
//: repeat v in COLUMN_BLOCKS
        total_{h}_{r}_{v} += turn_{h}_{r}_{v};
//: end
//: end
//: end
//: end
        begin = end;
        if (begin == j.k_end) {
            break;
        }
    }
//: repeat h in ROW_BLOCKS
//: repeat r in 4
//: repeat v in COLUMN_BLOCKS
    store4(
        j,
        row + 4u * {h}u * {LANES_M}u + {r}u,
        column + 4u * {v}u * {LANES_N}u,
        total_{h}_{r}_{v},
    );
//: end
//: end
//: end
}
