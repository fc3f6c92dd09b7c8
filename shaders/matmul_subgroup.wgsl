// C = op(A) op(B) without workgroup memory: a workgroup is one subgroup, and
// its lanes show each other what they have read.
//
// A lane reads four rows of A and four columns of B, four k deep. In turn each
// lane's rows of A are broadcast to all, and every lane multiplies them by its
// own columns. So a subgroup of 8 lanes makes a tile of 32 by 32 from 64
// vectors of four a step: each number that was read is used 32 times. Drivers
// in software run a subgroup as one thread with vectors over the lanes, where a
// broadcast is one instruction and a barrier would be dear.
//
// ROW_BLOCKS and COLUMN_BLOCKS blocks of four a lane make the tile larger.
// The lines between `repeat` and `end` stand for copies of themselves: a
// broadcast must name its lane, and sums in an array would not be in registers.

const LANES: u32 = {LANES}u;
const ROWS: u32 = 4u * LANES * {ROW_BLOCKS}u;
const COLUMNS: u32 = 4u * LANES * {COLUMN_BLOCKS}u;
// Sums of so many products are added up by themselves, then to the total: the
// error grows with the longest path from a product to the result.
const BLOCK: u32 = 64u;

// Stores four neighbours of a row of C as they are; an epilogue follows later.
//: if C_FOURS
fn keep4(j: Job, row: u32, column: u32, value: vec4<f32>) {
    if (row < j.m && column < j.n) {
        c[(j.c_offset + row * j.c_m + column) / 4u] = value;
    }
}
//: else
fn keep(j: Job, row: u32, column: u32, value: f32) {
    if (row < j.m && column < j.n) {
        c[j.c_offset + row * j.c_m + column] = value;
    }
}

fn keep4(j: Job, row: u32, column: u32, value: vec4<f32>) {
    keep(j, row, column, value.x);
    keep(j, row, column + 1u, value.y);
    keep(j, row, column + 2u, value.z);
    keep(j, row, column + 3u, value.w);
}
//: end

// Passes what keep4 has stored through the epilogue.
fn finish4(j: Job, row: u32, column: u32) {
    let at = j.c_offset + row * j.c_m + column;
//: if C_FOURS
    if (column < j.n) {
        c[at / 4u] = epilogue4(c[at / 4u], at);
    }
//: else
    for (var i = 0u; i < 4u && column + i < j.n; i += 1u) {
        c[at + i] = epilogue(c[at + i], at + i);
    }
//: end
}

//: if A_IMAGE
// Elements of a cache line, and lines that a row of the tile lies in.
const LINE: u32 = 16u;
const LINES: u32 = COLUMNS / LINE;

// Returns 0, after a look at each cache line of C that the tile goes to: rows of C are
// far apart, so nothing fetches them ahead, and a store that misses the cache holds up
// those after it. (m is never 0 here, which a compiler cannot know.)
fn touch(j: Job, lane: u32) -> f32 {
    var seen = 0u;
    var line = lane;
    loop {
        let row = j.row + line / LINES;
        let column = j.column + line % LINES * LINE;
        if (row < j.m && column < j.n) {
            let at = j.c_offset + row * j.c_m + column;
//: if C_FOURS
            seen |= bitcast<u32>(c[at / 4u].x);
//: else
            seen |= bitcast<u32>(c[at]);
//: end
        }
        line += LANES;
        if (line >= ROWS * LINES) {
            break;
        }
    }
    return bitcast<f32>(select(0u, seen, j.m == 0u));
}
//: else
// Not for small products, nor where the rows of A are no whole fours.
fn touch(j: Job, lane: u32) -> f32 {
    return 0.0;
}
//: end

@compute @workgroup_size({LANES})
fn matmul_subgroup(
    @builtin(workgroup_id) wid: vec3<u32>,
    @builtin(num_workgroups) count: vec3<u32>,
    @builtin(subgroup_invocation_id) lane: u32,
) {
    let j = job(workgroup_index(wid, count), ROWS, COLUMNS);
//: repeat h in ROW_BLOCKS
    let row{h} = j.row + 4u * ({h}u * LANES + lane);
//: end
//: repeat v in COLUMN_BLOCKS
    let column{v} = j.column + 4u * ({v}u * LANES + lane);
//: end

    let zero = vec4<f32>(touch(j, lane));
    // total_h_l_r_v: row r of block h of lane l, and this lane's columns v.
//: repeat h in ROW_BLOCKS
//: repeat l in LANES
//: repeat r in 4
//: repeat v in COLUMN_BLOCKS
    var total_{h}_{l}_{r}_{v} = zero;
//: end
//: end
//: end
//: end
    // Loops end where they are left: where a condition stands at the head, drivers
    // in software run the body once more, for nobody, one time in 17 here.
    var begin = j.k_begin;
    loop {
        // Nothing to add up: an inner axis of no elements.
        if (begin >= j.k_end) {
            break;
        }
        let end = min(j.k_end, begin + BLOCK);
//: repeat h in ROW_BLOCKS
//: repeat l in LANES
//: repeat r in 4
//: repeat v in COLUMN_BLOCKS
        var sum_{h}_{l}_{r}_{v} = vec4<f32>();
//: end
//: end
//: end
//: end
        var k = begin;
        loop {
//: if K_ODD
            // The inner axis is not of whole fours: what is past its end is 0.
            let inside = vec4<u32>(k, k + 1u, k + 2u, k + 3u) < vec4<u32>(end);
//: end
//: repeat h in ROW_BLOCKS
            var a{h} = rows_of_a(j, row{h}, k);
//: if K_ODD
//: repeat r in 4
            a{h}[{r}] = select(vec4<f32>(), a{h}[{r}], inside);
//: end
//: end
//: end
//: repeat v in COLUMN_BLOCKS
            var b{v} = rows_of_b(j, k, column{v});
//: if K_ODD
//: repeat r in 4
            b{v}[{r}] = select(vec4<f32>(), b{v}[{r}], inside[{r}]);
//: end
//: end
//: end
//: repeat h in ROW_BLOCKS
//: repeat l in LANES
//: repeat r in 4
            let a_{h}_{l}_{r} = subgroupBroadcast(a{h}[{r}], {l}u);
//: repeat v in COLUMN_BLOCKS
            sum_{h}_{l}_{r}_{v} +=
                (a_{h}_{l}_{r}.x * b{v}[0] + a_{h}_{l}_{r}.y * b{v}[1])
                + (a_{h}_{l}_{r}.z * b{v}[2] + a_{h}_{l}_{r}.w * b{v}[3]);
//: end
//: end
//: end
//: end
            k += 4u;
            if (k >= end) {
                break;
            }
        }
//: repeat h in ROW_BLOCKS
//: repeat l in LANES
//: repeat r in 4
//: repeat v in COLUMN_BLOCKS
        total_{h}_{l}_{r}_{v} += sum_{h}_{l}_{r}_{v};
//: end
//: end
//: end
//: end
        begin = end;
    }
//: repeat h in ROW_BLOCKS
//: repeat l in LANES
//: repeat r in 4
//: repeat v in COLUMN_BLOCKS
    keep4(j, j.row + 4u * ({h}u * LANES + {l}u) + {r}u, column{v}, total_{h}_{l}_{r}_{v});
//: end
//: end
//: end
//: end
//: if EPILOGUE
    // In a loop over what this lane has just stored: as many copies of an
    // epilogue as there are stores take a compiler as long as all the rest.
    var row = j.row;
    loop {
//: repeat v in COLUMN_BLOCKS
        finish4(j, row, column{v});
//: end
        row += 1u;
        if (row >= min(j.row + ROWS, j.m)) {
            break;
        }
    }
//: end
}
