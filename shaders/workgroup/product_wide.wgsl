// Four neighbours of a row of a {M} x {N} product over an inner axis of {K}: the
// four of B lie side by side.
fn phase{P}(i: u32, a_at: u32, b_at: u32, c_at: u32) {
    let b = b_at + i % {N4}u;
//: if A_FOURS
    let a = a_at + i / {N4}u * {K4}u;
//: else
    let a = 4u * a_at + i / {N4}u * {A_M}u;
//: end
    var total = vec4<f32>();
    for (var begin = 0u; begin < {K}u; begin += 64u) {
        var block = vec4<f32>();
        for (var k = begin; k < min({K}u, begin + 64u); k += 4u) {
//: if A_FOURS
            let x = fetch(a + k / 4u);
//: repeat t in 4
            let p{t} = x[{t}] * fetch(b + (k + {t}u) * {N4}u);
//: end
//: else
//: repeat t in 4
            let p{t} = one_of(a + (k + {t}u) * {A_K}u) * fetch(b + (k + {t}u) * {N4}u);
//: end
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
