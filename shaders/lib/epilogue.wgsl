// What becomes of a result on its way to memory: nothing, unless a planner puts
// other functions of these names in their place (a bias, an activation, the
// backward of one). i is the place of the result, or of the first of four
// neighbours, in the row-major output. It may lie past the end, where nothing
// will be stored.
fn epilogue(value: f32, i: u32) -> f32 {
    return value;
}

fn epilogue4(value: vec4<f32>, i: u32) -> vec4<f32> {
    return value;
}
