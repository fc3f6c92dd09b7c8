// What becomes of an operand's element on its way into a product: nothing,
// unless a planner puts other functions of these names in their place (a
// scaling, an activation of the input). i is the place of the element, or of the
// first of four neighbours, in the row-major operand. It may lie past the end:
// what comes of it is not used.
//
// What counts as zero (k past its end) is made so after the function and not
// before: that of 0 need not be 0.
//: if PROLOGUE_A
//: else
fn prologue_a(value: f32, i: u32) -> f32 {
    return value;
}

fn prologue_a4(value: vec4<f32>, i: u32) -> vec4<f32> {
    return value;
}

//: end
//: if PROLOGUE_B
//: else
fn prologue_b(value: f32, i: u32) -> f32 {
    return value;
}

fn prologue_b4(value: vec4<f32>, i: u32) -> vec4<f32> {
    return value;
}
//: end
