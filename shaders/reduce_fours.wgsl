// Sums along axes in a fixed order (lib/sums.wgsl says what is summed), four
// neighbours at a time: for drivers in software, where a load costs as much for
// four elements as for one, and a barrier more than either.
//
// An invocation adds a chunk: blocks of 16, 16 such sums in a row, and then the
// sums of 256, so that the error grows with the depth of that tree.

@group(0) @binding(1) var<storage, read> input: array<vec4<f32>>;
//: if ROWS
@group(0) @binding(2) var<storage, read_write> output: array<f32>;
//: else
@group(0) @binding(2) var<storage, read_write> output: array<vec4<f32>>;
//: end

// Few to a workgroup, so that small sums too have one for each core.
const WG_SIZE: u32 = 16u;
// What one invocation adds in a pass, in loads: CHUNK terms.
const LOADS: u32 = {CHUNK}u / {TERMS}u;
const BLOCK: u32 = 16u;
const BLOCKS: u32 = 256u;

// The loads from `begin` to `end` of a row that starts at `base`; each is
// TERMS terms.
fn added(base: u32, stride: u32, begin: u32, end: u32) -> vec4<f32> {
    var total = vec4<f32>();
    for (var first = begin; first < end; first += BLOCKS) {
        var sum = vec4<f32>();
        let last = min(end, first + BLOCKS);
        for (var start = first; start < last; start += BLOCK) {
            var block = vec4<f32>();
            let stop = min(last, start + BLOCK);
            for (var i = start; i < stop; i += 1u) {
                block += input[(base + reduced_offset({TERMS}u * i, stride)) / 4u];
            }
            sum += block;
        }
        total += sum;
    }
    return total;
}

//: if ROWS
// Terms lie next to each other: a row an invocation, and the four sums at its
// end.
@compute @workgroup_size(WG_SIZE)
fn sum_rows(
    @builtin(workgroup_id) wid: vec3<u32>,
    @builtin(num_workgroups) count: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let stride = reduced_stride();
    let job = workgroup_index(wid, count) * WG_SIZE + lane;
    if (job >= params.outputs * params.chunks) {
        return;
    }
    let begin = job / params.outputs * LOADS;
    let end = min(params.terms / 4u, begin + LOADS);
    let sum = added(kept_offset(job % params.outputs), stride, begin, end);
    output[job] = epilogue(finish((sum.x + sum.y) + (sum.z + sum.w)), job);
}
//: else
// Rows lie next to each other: four rows an invocation.
@compute @workgroup_size(WG_SIZE)
fn sum_columns(
    @builtin(workgroup_id) wid: vec3<u32>,
    @builtin(num_workgroups) count: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let stride = reduced_stride();
    let job = workgroup_index(wid, count) * WG_SIZE + lane;
    let fours = params.outputs / 4u;
    if (job >= fours * params.chunks) {
        return;
    }
    let begin = job / fours * LOADS;
    let end = min(params.terms, begin + LOADS);
    let sum = added(kept_offset(job % fours * 4u), stride, begin, end);
    let result = vec4<f32>(finish(sum.x), finish(sum.y), finish(sum.z), finish(sum.w));
    output[job] = epilogue4(result, 4u * job);
}
//: end
