// C = op(A) b, a matrix and a vector, for drivers in software: loads are of four
// elements, and the vector's are used for four rows.
//
// A workgroup is one subgroup, so that small products too have one for each
// core; an invocation owns four rows.

const LANES: u32 = {LANES}u;
// Sums of so many products are added up by themselves, then to the total: the
// error grows with the longest path from a product to the result.
const BLOCK: u32 = 64u;

@compute @workgroup_size({LANES})
fn matmul_vector(
    @builtin(workgroup_id) wid: vec3<u32>,
    @builtin(num_workgroups) count: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let j = job(workgroup_index(wid, count), 4u * LANES, 1u);
    let row = j.row + 4u * lane;
    var total = vec4<f32>();
    for (var begin = j.k_begin; begin < j.k_end; begin += BLOCK) {
        var sum = vec4<f32>();
        let end = min(j.k_end, begin + BLOCK);
        for (var k = begin; k < end; k += 4u) {
            let block = columns_of_a(j, row, k);
            let four = four_of_b(j.b_offset + k);
            sum += (block[0] * four.x + block[1] * four.y)
                + (block[2] * four.z + block[3] * four.w);
        }
        total += sum;
    }
    store(j, row, 0u, total.x);
    store(j, row + 1u, 0u, total.y);
    store(j, row + 2u, 0u, total.z);
    store(j, row + 3u, 0u, total.w);
}
