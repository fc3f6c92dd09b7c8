// The sum of what all lanes of a workgroup that is one subgroup have: in each
// round every lane adds what the lane `step` places away has, so that after
// the last round all hold the whole. The order is fixed: a tree.
fn sum_of_lanes(own: f32) -> f32 {
    var sum = own;
    for (var step = 1u; step < LANES; step *= 2u) {
        sum += subgroupShuffleXor(sum, step);
    }
    return sum;
}
