// What a driver does where WGSL leaves it a choice. The card (src/check/card)
// asks and reports; nothing in wgrad depends on an answer. What is computed from
// comes as data, so that a compiler cannot know it.

@group(0) @binding(0) var<uniform> params: vec4<u32>;
@group(0) @binding(1) var<storage, read> given: array<u32>;
@group(0) @binding(2) var<storage, read_write> made: array<u32>;

fn number(i: u32) -> f32 {
    return bitcast<f32>(given[i]);
}

@compute @workgroup_size(1)
fn facts() {
    let least = number(0u); // the least normal number
    let subnormal = number(1u);
    let large = number(2u); // 2^127
    let nan = number(3u);
    let zero = number(4u);
    let near_one = number(5u); // 1 + 2^-12
    let its_square = number(6u); // rounded to float32
    made[0] = bitcast<u32>(least * 0.5);
    made[1] = bitcast<u32>(subnormal * large);
    made[2] = bitcast<u32>(subnormal);
    made[3] = select(0u, 1u, nan != nan);
    made[4] = bitcast<u32>(max(nan, zero));
    made[5] = bitcast<u32>(log(zero));
    made[6] = bitcast<u32>(near_one * near_one - its_square);
    made[7] = bitcast<u32>(large * 4.0);
    made[8] = bitcast<u32>(exp(number(7u)));
    // As many turns as asked for, if the driver lets a loop have them.
    var state = given[8];
    var turns = 0u;
    for (var i = 0u; i < given[9]; i += 1u) {
        state = state * 1664525u + 1013904223u;
        turns += 1u;
    }
    made[9] = turns;
    made[10] = state;
}
