// Four neighbours of a {M} x {N} product over an inner axis of {K}, along which
// both operands lie side by side.
fn phase{P}(i: u32, a_at: u32, b_at: u32, c_at: u32) {
    let e = 4u * i + vec4<u32>(0u, 1u, 2u, 3u);
    let a = a_at + e / {N}u * {K4}u;
    let b = b_at + e % {N}u * {K4}u;
    var total = vec4<f32>();
    for (var begin = 0u; begin < {K4}u; begin += 16u) {
        var block = vec4<f32>();
        for (var k = begin; k < min({K4}u, begin + 16u); k += 1u) {
//: repeat t in 4
            let p{t} = fetch(a[{t}] + k) * fetch(b[{t}] + k);
//: end
            let p = transpose(mat4x4<f32>(p0, p1, p2, p3));
            block += (p[0] + p[1]) + (p[2] + p[3]);
        }
        total += block;
    }
    {PUT}(c_at + i, kept4(total));
}
