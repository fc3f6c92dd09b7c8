// The second half of a row program on a GPU: adds up the sums that its workgroups
// left, a workgroup a sum. The parts lie as [parts, sums]. An invocation adds up
// every 128th part; then the upper half of the invocations hands its sum to the
// lower half, until one is left, which divides (a mean) and puts it in its place.

struct Params {
    sums: u32,
    parts: u32,
    unused_a: u32,
    unused_b: u32,
    // For each sum: where it goes, and what it is divided by, as a float.
    place: array<vec4<u32>, {FOURS}>,
    divisor: array<vec4<f32>, {FOURS}>,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> parts: array<f32>;
@group(0) @binding(2) var<storage, read_write> sums: array<f32>;

const LANES: u32 = 128u;
// Parts added in a row, before the sum of those is added to the others.
const BLOCK: u32 = 16u;

var<workgroup> lane_sums: array<f32, LANES>;

@compute @workgroup_size(LANES)
fn rows_finish_tree(
    @builtin(workgroup_id) wid: vec3<u32>,
    @builtin(num_workgroups) count: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let i = workgroup_index(wid, count);
    var sum = 0.0;
    var p = lane;
    while (p < params.parts) {
        var block = 0.0;
        let stop = min(params.parts, p + BLOCK * LANES);
        while (p < stop) {
            block += parts[p * params.sums + i];
            p += LANES;
        }
        sum += block;
    }
    lane_sums[lane] = sum;
    workgroupBarrier();
    for (var half = LANES / 2u; half > 0u; half /= 2u) {
        if (lane < half) {
            lane_sums[lane] += lane_sums[lane + half];
        }
        workgroupBarrier();
    }
    if (lane == 0u && i < params.sums) {
        sums[params.place[i / 4u][i % 4u]] = divided(lane_sums[0], params.divisor[i / 4u][i % 4u]);
    }
}
