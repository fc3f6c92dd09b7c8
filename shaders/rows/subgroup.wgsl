// Adds up the sums of all lanes of a workgroup that is one subgroup: in each
// round every lane adds what the lane `step` places away has, so that after
// the last round all hold the whole. The order is fixed: a tree.
fn sum_lanes(lane: u32) {
    for (var i = 0u; i < SUMS; i += 1u) {
        var sum = total[i];
        for (var step = 1u; step < LANES; step *= 2u) {
            sum += subgroupShuffleXor(sum, step);
        }
        total[i] = sum;
    }
}
