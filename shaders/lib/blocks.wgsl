// Blocks of four by four elements of A and B, the unit in which the kernels for
// large products read. Four neighbours in memory come in one load where the
// rows in memory are whole fours (FOURS). Which axis they lie along is part of
// the kernel (A_ALONG_K, B_ALONG_K), and turning a block costs nothing: its
// sixteen numbers are in registers.
//
// Loads are never inside a condition, which some drivers make slow. Rows and
// columns outside the matrices read something, and what is computed from it is
// not stored; k outside is for the caller to mask.

// Where texel i of an image is.
fn texel(i: u32) -> vec2<u32> {
    return vec2<u32>(i % {IMAGE_WIDTH}u, i / {IMAGE_WIDTH}u);
}

//: if HALF
// What is multiplied is rounded to float16 as it is read.
fn four_of_a(at: u32) -> vec4<f32> {
    return to_half4(stored_four_of_a(at));
}

fn four_of_b(at: u32) -> vec4<f32> {
    return to_half4(stored_four_of_b(at));
}

fn stored_four_of_a(at: u32) -> vec4<f32> {
//: else
fn four_of_a(at: u32) -> vec4<f32> {
//: end
//: if A_IMAGE
    return prologue_a4(textureLoad(a, texel(at / 4u)), at);
//: else
//: if A_FOURS
    return prologue_a4(a[at / 4u], at);
//: else
    return prologue_a4(vec4<f32>(a[at], a[at + 1u], a[at + 2u], a[at + 3u]), at);
//: end
//: end
}

//: if HALF
fn stored_four_of_b(at: u32) -> vec4<f32> {
//: else
fn four_of_b(at: u32) -> vec4<f32> {
//: end
//: if B_IMAGE
    return prologue_b4(textureLoad(b, texel(at / 4u)), at);
//: else
//: if B_FOURS
    return prologue_b4(b[at / 4u], at);
//: else
    return prologue_b4(vec4<f32>(b[at], b[at + 1u], b[at + 2u], b[at + 3u]), at);
//: end
//: end
}

fn lines_of_a(at: u32, stride: u32) -> mat4x4<f32> {
    return mat4x4<f32>(
        four_of_a(at),
        four_of_a(at + stride),
        four_of_a(at + 2u * stride),
        four_of_a(at + 3u * stride),
    );
}

fn lines_of_b(at: u32, stride: u32) -> mat4x4<f32> {
    return mat4x4<f32>(
        four_of_b(at),
        four_of_b(at + stride),
        four_of_b(at + 2u * stride),
        four_of_b(at + 3u * stride),
    );
}

// Rows row to row + 3 of op(A); each is a vector along k.
fn rows_of_a(j: Job, row: u32, k: u32) -> mat4x4<f32> {
    let at = j.a_offset + row * params.a_m + k * params.a_k;
//: if A_ALONG_K
    return lines_of_a(at, params.a_m);
//: else
    return transpose(lines_of_a(at, params.a_k));
//: end
}

// The same block; each k is a vector along the rows.
fn columns_of_a(j: Job, row: u32, k: u32) -> mat4x4<f32> {
    let at = j.a_offset + row * params.a_m + k * params.a_k;
//: if A_ALONG_K
    return transpose(lines_of_a(at, params.a_m));
//: else
    return lines_of_a(at, params.a_k);
//: end
}

// Rows k to k + 3 of op(B); each is a vector along the columns.
fn rows_of_b(j: Job, k: u32, column: u32) -> mat4x4<f32> {
    let at = j.b_offset + k * params.b_k + column * params.b_n;
//: if B_ALONG_K
    return transpose(lines_of_b(at, params.b_n));
//: else
    return lines_of_b(at, params.b_k);
//: end
}
