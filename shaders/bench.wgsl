// What an adapter can do at best, for the shares that a benchmark reports:
// bytes moved by copying and by reading, and multiply-adds. Every invocation
// does the same work without a branch; the sizes are multiples of the grid.

struct Params {
    // Turns of the loop in a `multiply_add`.
    turns: u32,
    // vec4 elements that one slice of a kernel with several slices covers.
    slice: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> given: array<vec4<f32>>;
@group(0) @binding(2) var<storage, read_write> made: array<vec4<f32>>;

// One vec4 an invocation.
@compute @workgroup_size(64)
fn copy_1(
    @builtin(workgroup_id) wid: vec3<u32>,
    @builtin(num_workgroups) count: vec3<u32>,
    @builtin(local_invocation_index) lid: u32,
) {
    let i = workgroup_index(wid, count) * 64u + lid;
    made[i] = given[i];
}

// Four, each in another quarter, so that neighbours stay neighbours.
@compute @workgroup_size(64)
fn copy_4(
    @builtin(workgroup_id) wid: vec3<u32>,
    @builtin(num_workgroups) count: vec3<u32>,
    @builtin(local_invocation_index) lid: u32,
) {
    let i = workgroup_index(wid, count) * 64u + lid;
    let a = given[i];
    let b = given[i + params.slice];
    let c = given[i + 2u * params.slice];
    let d = given[i + 3u * params.slice];
    made[i] = a;
    made[i + params.slice] = b;
    made[i + 2u * params.slice] = c;
    made[i + 3u * params.slice] = d;
}

// Eight are read and their sum is written: little but reading.
@compute @workgroup_size(64)
fn read_8(
    @builtin(workgroup_id) wid: vec3<u32>,
    @builtin(num_workgroups) count: vec3<u32>,
    @builtin(local_invocation_index) lid: u32,
) {
    let i = workgroup_index(wid, count) * 64u + lid;
    let a = given[i] + given[i + params.slice];
    let b = given[i + 2u * params.slice] + given[i + 3u * params.slice];
    let c = given[i + 4u * params.slice] + given[i + 5u * params.slice];
    let d = given[i + 6u * params.slice] + given[i + 7u * params.slice];
    made[i] = (a + b) + (c + d);
}

// Two chains of vec4: enough independent work for the units of a core, and few
// enough registers that nothing spills.
@compute @workgroup_size(64)
fn multiply_add_2(
    @builtin(workgroup_id) wid: vec3<u32>,
    @builtin(num_workgroups) count: vec3<u32>,
    @builtin(local_invocation_index) lid: u32,
) {
    let i = workgroup_index(wid, count) * 64u + lid;
    let m = given[0];
    let c = given[1];
    var x = given[2u + lid];
    var y = x + c;
    for (var t = 0u; t < params.turns; t++) {
        x = x * m + c;
        y = y * m + c;
        x = x * m + c;
        y = y * m + c;
        x = x * m + c;
        y = y * m + c;
        x = x * m + c;
        y = y * m + c;
    }
    made[i] = x + y;
}

// Four chains, for adapters with more registers.
@compute @workgroup_size(64)
fn multiply_add_4(
    @builtin(workgroup_id) wid: vec3<u32>,
    @builtin(num_workgroups) count: vec3<u32>,
    @builtin(local_invocation_index) lid: u32,
) {
    let i = workgroup_index(wid, count) * 64u + lid;
    let m = given[0];
    let c = given[1];
    var x = given[2u + lid];
    var y = x + c;
    var z = y + c;
    var w = z + c;
    for (var t = 0u; t < params.turns; t++) {
        x = x * m + c;
        y = y * m + c;
        z = z * m + c;
        w = w * m + c;
        x = x * m + c;
        y = y * m + c;
        z = z * m + c;
        w = w * m + c;
    }
    made[i] = (x + y) + (z + w);
}

// Eight chains and a longer body: what a GPU needs that starts one instruction a turn for
// each of its lanes (an H200: 43 TFLOP/s with four chains, 60 with eight).
@compute @workgroup_size(64)
fn multiply_add_8(
    @builtin(workgroup_id) wid: vec3<u32>,
    @builtin(num_workgroups) count: vec3<u32>,
    @builtin(local_invocation_index) lid: u32,
) {
    let i = workgroup_index(wid, count) * 64u + lid;
    let m = given[0];
    let c = given[1];
    var x = given[2u + lid];
    var y = x + c;
    var z = y + c;
    var w = z + c;
    var p = w + c;
    var q = p + c;
    var r = q + c;
    var s = r + c;
    for (var t = 0u; t < params.turns; t++) {
        x = x * m + c;
        y = y * m + c;
        z = z * m + c;
        w = w * m + c;
        p = p * m + c;
        q = q * m + c;
        r = r * m + c;
        s = s * m + c;
        x = x * m + c;
        y = y * m + c;
        z = z * m + c;
        w = w * m + c;
        p = p * m + c;
        q = q * m + c;
        r = r * m + c;
        s = s * m + c;
        x = x * m + c;
        y = y * m + c;
        z = z * m + c;
        w = w * m + c;
        p = p * m + c;
        q = q * m + c;
        r = r * m + c;
        s = s * m + c;
        x = x * m + c;
        y = y * m + c;
        z = z * m + c;
        w = w * m + c;
        p = p * m + c;
        q = q * m + c;
        r = r * m + c;
        s = s * m + c;
    }
    made[i] = ((x + y) + (z + w)) + ((p + q) + (r + s));
}
