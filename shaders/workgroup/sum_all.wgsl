// The sum of all {TERMS} elements: every lane adds up fours of its own, in blocks
// of 16, chunks of 16 blocks, and then these; a tree adds up the lanes.
fn phase{P}(lane: u32, x_at: u32, c_at: u32, divisor: f32) {
    var total = vec4<f32>();
    for (var chunk = lane; chunk < {TERMS4}u; chunk += 256u * LANES) {
        var sum = vec4<f32>();
        for (var begin = chunk; begin < min({TERMS4}u, chunk + 256u * LANES); begin += 16u * LANES) {
            var block = vec4<f32>();
            for (var t = begin; t < min({TERMS4}u, begin + 16u * LANES); t += LANES) {
//: if ODD
                let inside = 4u * t + vec4<u32>(0u, 1u, 2u, 3u) < vec4<u32>({TERMS}u);
                block += select(vec4<f32>(), fetch(x_at + t), inside);
//: else
                block += fetch(x_at + t);
//: end
            }
            sum += block;
        }
        total += sum;
    }
    lane_sums[lane] = (total.x + total.y) + (total.z + total.w);
    workgroupBarrier();
    for (var half = LANES / 2u; half > 0u; half /= 2u) {
        if (lane < half) {
            lane_sums[lane] += lane_sums[lane + half];
        }
        workgroupBarrier();
    }
    if (lane == 0u) {
        {PUT}(c_at, kept4(vec4<f32>(divided(lane_sums[0], divisor))));
    }
}
