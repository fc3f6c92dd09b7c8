// A float32 rounded to float16, and still a float32: to the nearest number that float16 has, and
// of two that are as near to the one whose last bit is 0, as IEEE 754 has it.
//
// WGSL's own ways (quantizeToF16, pack2x16float, f16(x)) leave to the driver which way it rounds,
// whether numbers below 2^-14 become 0, and what becomes of those above 65504. Here integers do it,
// so it is the same everywhere.
//
// A float16 is  sign (1 bit) | exponent + 15 (5 bits) | fraction (10 bits).

fn to_half4(v: vec4<f32>) -> vec4<f32> {
    let bits = bitcast<vec4<u32>>(v);
    let size = bits & vec4<u32>(0x7fffffffu);
    // Of 23 bits of the fraction 13 go. What is added is half of the last bit that stays, and one
    // less where that bit is 0, so that a tie ends at a 0. A carry goes on into the exponent,
    // which is right.
    let odd = (size >> vec4<u32>(13u)) & vec4<u32>(1u);
    let near = (size + vec4<u32>(0xfffu) + odd) & vec4<u32>(0xffffe000u);
    // 65536 and more is infinity.
    let normal = select(near, vec4<u32>(0x7f800000u), near >= vec4<u32>(0x47800000u));
    // Below 2^-14 float16's numbers are 2^-24 apart. Both factors are powers of two, so only
    // round() rounds, and of two it takes the even one.
    let steps = round(bitcast<vec4<f32>>(size) * 16777216.0);
    let tiny = bitcast<vec4<u32>>(steps * (1.0 / 16777216.0));
    let number = select(normal, tiny, size < vec4<u32>(0x38800000u));
    // NaN stays what it is.
    let result = select(number, size, size > vec4<u32>(0x7f800000u));
    return bitcast<vec4<f32>>(result | (bits & vec4<u32>(0x80000000u)));
}

fn to_half(v: f32) -> f32 {
    return to_half4(vec4<f32>(v)).x;
}
