// Sums along axes in a fixed order. The input is seen as `outputs` rows of
// `terms` elements; each row is cut into `chunks`, and this pass writes the sum
// of chunk c of row o to element [c, o]. A second pass sums the chunks.

struct Params {
    outputs: u32,
    terms: u32,
    chunks: u32,
    // What the sum is divided by (a mean, in its last pass); 0: nothing to take
    // the mean of, the answer is `nan`.
    divisor: u32,
    kept_rank: u32,
    reduced_rank: u32,
    nan: f32,
    unused: u32,
    kept_sizes: array<vec4<u32>, 2>,
    kept_strides: array<vec4<u32>, 2>,
    reduced_sizes: array<vec4<u32>, 2>,
    reduced_strides: array<vec4<u32>, 2>,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> input: array<f32>;
@group(0) @binding(2) var<storage, read_write> output: array<f32>;

const WG_SIZE: u32 = 64u;
// Terms of a chunk: per workgroup in sum_tree, per invocation in sum_serial.
const TREE_CHUNK: u32 = 2048u;
const SERIAL_CHUNK: u32 = 256u;
const SERIAL_BLOCK: u32 = 16u;

fn kept_offset(row: u32) -> u32 {
    var rest = row;
    var offset = 0u;
    for (var i = params.kept_rank; i > 0u; i -= 1u) {
        let axis = i - 1u;
        let size = params.kept_sizes[axis / 4u][axis % 4u];
        offset += (rest % size) * params.kept_strides[axis / 4u][axis % 4u];
        rest /= size;
    }
    return offset;
}

fn reduced_offset(term: u32) -> u32 {
    if (params.reduced_rank == 1u) {
        return term * params.reduced_strides[0].x;
    }
    var rest = term;
    var offset = 0u;
    for (var i = params.reduced_rank; i > 0u; i -= 1u) {
        let axis = i - 1u;
        let size = params.reduced_sizes[axis / 4u][axis % 4u];
        offset += (rest % size) * params.reduced_strides[axis / 4u][axis % 4u];
        rest /= size;
    }
    return offset;
}

fn finish(sum: f32) -> f32 {
    if (params.divisor == 0u) {
        return params.nan;
    }
    if (params.divisor == 1u) {
        return sum;
    }
    return sum / f32(params.divisor);
}

var<workgroup> partial: array<f32, 64>;

// One workgroup a chunk: each invocation adds every 64th term, then the 64
// sums are added in a tree.
@compute @workgroup_size(64)
fn sum_tree(
    @builtin(workgroup_id) wid: vec3<u32>,
    @builtin(num_workgroups) count: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let job = workgroup_index(wid, count);
    let row = job % params.outputs;
    let chunk = job / params.outputs;
    var sum = 0.0;
    if (chunk < params.chunks) {
        let base = kept_offset(row);
        let end = min(params.terms, (chunk + 1u) * TREE_CHUNK);
        for (var t = chunk * TREE_CHUNK + lane; t < end; t += WG_SIZE) {
            sum += input[base + reduced_offset(t)];
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
            block += input[base + reduced_offset(t)];
        }
        sum += block;
    }
    output[job] = epilogue(finish(sum), job);
}
