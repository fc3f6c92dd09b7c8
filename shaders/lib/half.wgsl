// A float32 rounded to float16, and still a float32: to the nearest number that float16 has, and
// of two that are as near to the one whose last bit is 0, as IEEE 754 has it.
//
// WGSL's own ways (quantizeToF16, pack2x16float, f16(x)) leave to the driver which way it rounds,
// whether numbers below 2^-14 become 0, and what becomes of those above 65504: of 222,211 numbers
// one driver rounded 99,320 otherwise. Here a float32 addition rounds, which all bounds rely on.
//
// A float16 is  sign (1 bit) | exponent + 15 (5 bits) | fraction (10 bits).

fn to_half4(v: vec4<f32>) -> vec4<f32> {
    let bits = bitcast<vec4<u32>>(v);
    let size = bits & vec4<u32>(0x7fffffffu);
    // Float32's numbers from 2^13 times a power of two on are as far apart as float16's are from
    // that power on. From 2^-14 down float16's keep their distance.
    let power = max(size & vec4<u32>(0x7f800000u), vec4<u32>(0x38800000u));
    let far = bitcast<vec4<f32>>(power + vec4<u32>(13u << 23u));
    // So this sum is rounded as v must be, and the difference is exact. The maximum changes
    // nothing; it keeps a compiler from putting both together (target.wgsl, `rounded4`).
    let sum = max(bitcast<vec4<f32>>(size) + far, vec4<f32>(-1e30));
    let near = bitcast<vec4<u32>>(sum - far);
    // From 65520 on it is infinity, and NaN stays what it is.
    let large = max(size, vec4<u32>(0x7f800000u));
    let result = select(near, large, size >= vec4<u32>(0x477ff000u));
    return bitcast<vec4<f32>>(result | (bits & vec4<u32>(0x80000000u)));
}

fn to_half(v: f32) -> f32 {
    return to_half4(vec4<f32>(v)).x;
}
