// C = op(A) op(B) with an inner axis of at most four, such as the product of a
// column and a row, for drivers in software: little is computed, so each number
// is read once for a block of four by four, and stored in fours.

fn one_of_a(at: u32) -> f32 {
    return prologue_a(a[at], at);
}

//: if B_FOURS
//: else
fn one_of_b(at: u32) -> f32 {
    return prologue_b(b[at], at);
}

//: end
// Numbers as they are multiplied.
fn taken(v: vec4<f32>) -> vec4<f32> {
//: if HALF
    return to_half4(v);
//: else
    return v;
//: end
}

@compute @workgroup_size(64)
fn matmul_outer(
    @builtin(workgroup_id) wid: vec3<u32>,
    @builtin(num_workgroups) count: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let j = job(workgroup_index(wid, count), 32u, 32u);
    let row = j.row + 4u * (lane / 8u);
    let column = j.column + 4u * (lane % 8u);
    var sum = mat4x4<f32>();
    for (var k = j.k_begin; k < j.k_end; k += 1u) {
        let at_a = j.a_offset + row * j.a_m + k * j.a_k;
        let at_b = j.b_offset + column * j.b_n + k * j.b_k;
//: if B_FOURS
        let four = four_of_b(at_b);
//: else
        let four = taken(vec4<f32>(
            one_of_b(at_b),
            one_of_b(at_b + j.b_n),
            one_of_b(at_b + 2u * j.b_n),
            one_of_b(at_b + 3u * j.b_n),
        ));
//: end
        let own = taken(vec4<f32>(
            one_of_a(at_a),
            one_of_a(at_a + j.a_m),
            one_of_a(at_a + 2u * j.a_m),
            one_of_a(at_a + 3u * j.a_m),
        ));
        sum[0] += own.x * four;
        sum[1] += own.y * four;
        sum[2] += own.z * four;
        sum[3] += own.w * four;
    }
    store4(j, row, column, sum[0]);
    store4(j, row + 1u, column, sum[1]);
    store4(j, row + 2u, column, sum[2]);
    store4(j, row + 3u, column, sum[3]);
}
