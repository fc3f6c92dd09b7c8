// Four neighbours of a sum over {TERMS} rows: blocks of 16 terms, then chunks of
// 16 blocks, then these.
fn phase{P}(i: u32, x_at: u32, c_at: u32, divisor: f32) {
    var total = vec4<f32>();
    for (var chunk = 0u; chunk < {TERMS}u; chunk += 256u) {
        var sum = vec4<f32>();
        for (var begin = chunk; begin < min({TERMS}u, chunk + 256u); begin += 16u) {
            var block = vec4<f32>();
            for (var t = begin; t < min({TERMS}u, begin + 16u); t += 1u) {
                block += fetch(x_at + t * {N4}u + i);
            }
            sum += block;
        }
        total += sum;
    }
    {PUT}(c_at + i, kept4(divided4(total, divisor)));
}
