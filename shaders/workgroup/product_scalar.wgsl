// Four neighbours of a {M} x {N} product over an inner axis of {K}, by strides.
fn phase{P}(i: u32, a_at: u32, b_at: u32, c_at: u32) {
    let e = 4u * i + vec4<u32>(0u, 1u, 2u, 3u);
    let a = 4u * a_at + e / {N}u * {A_M}u;
    let b = 4u * b_at + e % {N}u * {B_N}u;
    var total = vec4<f32>();
    for (var begin = 0u; begin < {K}u; begin += 64u) {
        var block = vec4<f32>();
        for (var k = begin; k < min({K}u, begin + 64u); k += 4u) {
//: repeat t in 4
            let p{t} = four_of(a + (k + {t}u) * {A_K}u) * four_of(b + (k + {t}u) * {B_K}u);
//: end
//: if K_ODD
            let inside = vec4<u32>(k, k + 1u, k + 2u, k + 3u) < vec4<u32>({K}u);
            let zero = vec4<f32>();
            block += (select(zero, p0, inside.x) + select(zero, p1, inside.y))
                + (select(zero, p2, inside.z) + select(zero, p3, inside.w));
//: else
            block += (p0 + p1) + (p2 + p3);
//: end
        }
        total += block;
    }
    {PUT}(c_at + i, kept4(total));
}
