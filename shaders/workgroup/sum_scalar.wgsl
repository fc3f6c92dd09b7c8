// Four neighbours of a sum over {TERMS} terms, by strides.
fn phase{P}(i: u32, x_at: u32, c_at: u32, divisor: f32) {
    let at = 4u * x_at + vec4<u32>(
        kept_place{P}(4u * i), kept_place{P}(4u * i + 1u),
        kept_place{P}(4u * i + 2u), kept_place{P}(4u * i + 3u));
    var total = vec4<f32>();
    for (var chunk = 0u; chunk < {TERMS}u; chunk += 256u) {
        var sum = vec4<f32>();
        for (var begin = chunk; begin < min({TERMS}u, chunk + 256u); begin += 16u) {
            var block = vec4<f32>();
            for (var t = begin; t < min({TERMS}u, begin + 16u); t += 1u) {
                block += four_of(at + term_place{P}(t));
            }
            sum += block;
        }
        total += sum;
    }
    {PUT}(c_at + i, kept4(divided4(total, divisor)));
}
