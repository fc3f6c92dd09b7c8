// The second half of a row program: adds up the sums that its workgroups left,
// a lane a sum. The parts lie as [parts, sums]. A long list is added in passes
// of CHUNK parts; the last pass divides (a mean) and puts each sum in its place.

struct Params {
    sums: u32,
    parts: u32,
    // 1 in the last pass.
    last: u32,
    unused: u32,
    // For each sum: where it goes, and what it is divided by, as a float.
    place: array<vec4<u32>, {FOURS}>,
    divisor: array<vec4<f32>, {FOURS}>,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> parts: array<f32>;
@group(0) @binding(2) var<storage, read_write> sums: array<f32>;

const CHUNK: u32 = 256u;
// Parts added in a row, before the sum of those is added to the others.
const BLOCK: u32 = 16u;

@compute @workgroup_size(32)
fn rows_finish(
    @builtin(workgroup_id) wid: vec3<u32>,
    @builtin(num_workgroups) count: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let chunk = workgroup_index(wid, count);
    // Read before any loop or condition (lib/product.wgsl says why).
    let sums_a_part = params.sums;
    let end = min(params.parts, (chunk + 1u) * CHUNK);
    for (var i = lane; i < sums_a_part; i += 32u) {
        var sum = 0.0;
        for (var start = chunk * CHUNK; start < end; start += BLOCK) {
            var block = 0.0;
            let stop = min(end, start + BLOCK);
            for (var p = start; p < stop; p += 1u) {
                block += parts[p * sums_a_part + i];
            }
            sum += block;
        }
        if (params.last == 1u) {
            sums[params.place[i / 4u][i % 4u]] = divided(sum, params.divisor[i / 4u][i % 4u]);
        } else if (chunk * CHUNK < params.parts) {
            sums[chunk * sums_a_part + i] = sum;
        }
    }
}
