// Counts the values of a buffer that are not finite, by their bits: a compiler
// may assume that there is no NaN, and then `v != v` is false. Integer atomics
// give the same counts in any order; where all is finite none is touched.

struct Params {
    // How many values there are.
    elements: u32,
}

struct Counts {
    nan: atomic<u32>,
    infinite: atomic<u32>,
    // The smallest index of either, counted down from the largest number: 0 is
    // none at all.
    first: atomic<u32>,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> values: array<vec4<u32>>;
@group(0) @binding(2) var<storage, read_write> counts: Counts;

const INFINITE = 0x7f800000u;
const LAST = 0xffffffffu;
// Blocks of four that an invocation looks at.
const BLOCKS = 8u;

fn ones(marks: vec4<bool>) -> u32 {
    let each = select(vec4<u32>(0u), vec4<u32>(1u), marks);
    return each.x + each.y + each.z + each.w;
}

@compute @workgroup_size(64)
fn count_nonfinite(
    @builtin(workgroup_id) wid: vec3<u32>,
    @builtin(num_workgroups) count: vec3<u32>,
    @builtin(local_invocation_index) lid: u32,
) {
    let start = workgroup_index(wid, count) * 64u * BLOCKS + lid;
    let end = (params.elements + 3u) / 4u;
    for (var i = 0u; i < BLOCKS; i++) {
        let block = start + i * 64u;
        let bits = values[min(block, end - 1u)] & vec4<u32>(0x7fffffffu);
        let place = 4u * block + vec4<u32>(0u, 1u, 2u, 3u);
        // A buffer ends with a whole block, whose last values may be anything.
        let inside = place < vec4<u32>(params.elements);
        let bad = (bits >= vec4<u32>(INFINITE)) & inside & vec4<bool>(block < end);
        if any(bad) {
            let infinite = bad & (bits == vec4<u32>(INFINITE));
            atomicAdd(&counts.infinite, ones(infinite));
            atomicAdd(&counts.nan, ones(bad) - ones(infinite));
            let before = select(vec4<u32>(0u), LAST - place, bad);
            atomicMax(&counts.first, max(max(before.x, before.y), max(before.z, before.w)));
        }
    }
}
