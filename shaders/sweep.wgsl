// A function of shaders/lib/ at floats whose bits lie at equal distances. The
// card (src/check/card) appends `subject`, which calls it.

@group(0) @binding(0) var<uniform> params: vec4<u32>;
// The bits of the first float, and from each to the next.
@group(0) @binding(1) var<storage, read> given: array<u32>;
@group(0) @binding(2) var<storage, read_write> made: array<u32>;

@compute @workgroup_size(64)
fn sweep(
    @builtin(workgroup_id) wid: vec3<u32>,
    @builtin(num_workgroups) count: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let i = workgroup_index(wid, count) * 64u + lane;
    if (i >= arrayLength(&made)) {
        return;
    }
    made[i] = bitcast<u32>(subject(bitcast<f32>(given[0] + i * given[1])));
}
