// Sums along axes in a fixed order (lib/sums.wgsl says what is summed), element
// by element.

@group(0) @binding(1) var<storage, read> input: array<f32>;
@group(0) @binding(2) var<storage, read_write> output: array<f32>;

const WG_SIZE: u32 = 64u;
// Terms of a chunk: per workgroup in sum_tree, per invocation in sum_serial.
const TREE_CHUNK: u32 = 2048u;
const SERIAL_CHUNK: u32 = 256u;
const SERIAL_BLOCK: u32 = 16u;

var<workgroup> partial: array<f32, 64>;

// One workgroup a chunk: each invocation adds every 64th term, then the 64
// sums are added in a tree.
@compute @workgroup_size(64)
fn sum_tree(
    @builtin(workgroup_id) wid: vec3<u32>,
    @builtin(num_workgroups) count: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let stride = reduced_stride();
    let job = workgroup_index(wid, count);
    let row = job % params.outputs;
    let chunk = job / params.outputs;
    var sum = 0.0;
    if (chunk < params.chunks) {
        let base = kept_offset(row);
        let end = min(params.terms, (chunk + 1u) * TREE_CHUNK);
        for (var t = chunk * TREE_CHUNK + lane; t < end; t += WG_SIZE) {
            sum += input[base + reduced_offset(t, stride)];
        }
    }
    partial[lane] = sum;
    workgroupBarrier();
    for (var half = WG_SIZE / 2u; half > 0u; half /= 2u) {
        if (lane < half) {
            partial[lane] += partial[lane + half];
        }
        workgroupBarrier();
    }
    if (lane == 0u && chunk < params.chunks) {
        output[job] = epilogue(finish(partial[0]), job);
    }
}

// One invocation a chunk: blocks of 16 terms, then the blocks.
@compute @workgroup_size(64)
fn sum_serial(
    @builtin(workgroup_id) wid: vec3<u32>,
    @builtin(num_workgroups) count: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let stride = reduced_stride();
    let job = workgroup_index(wid, count) * WG_SIZE + lane;
    if (job >= params.outputs * params.chunks) {
        return;
    }
    let base = kept_offset(job % params.outputs);
    let chunk = job / params.outputs;
    let end = min(params.terms, (chunk + 1u) * SERIAL_CHUNK);
    var sum = 0.0;
    for (var start = chunk * SERIAL_CHUNK; start < end; start += SERIAL_BLOCK) {
        var block = 0.0;
        let stop = min(end, start + SERIAL_BLOCK);
        for (var t = start; t < stop; t += 1u) {
            block += input[base + reduced_offset(t, stride)];
        }
        sum += block;
    }
    output[job] = epilogue(finish(sum), job);
}
