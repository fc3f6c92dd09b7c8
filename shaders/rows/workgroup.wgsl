// Adds up the sums of all lanes of a workgroup in a tree: the upper half of the
// lanes hands its sums to the lower half, until one lane is left.
var<workgroup> shared_sums: array<f32, SUMS * LANES>;

fn sum_lanes(lane: u32) {
    for (var i = 0u; i < SUMS; i += 1u) {
        shared_sums[i * LANES + lane] = total[i];
    }
    workgroupBarrier();
    for (var half = LANES / 2u; half > 0u; half /= 2u) {
        if (lane < half) {
            for (var i = 0u; i < SUMS; i += 1u) {
                shared_sums[i * LANES + lane] += shared_sums[i * LANES + lane + half];
            }
        }
        workgroupBarrier();
    }
    for (var i = 0u; i < SUMS; i += 1u) {
        total[i] = shared_sums[i * LANES];
    }
}
