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

// Four neighbours as they are in memory.
fn stored_four_of_a(at: u32) -> vec4<f32> {
//: if A_IMAGE
    return textureLoad(a, texel(at / 4u));
//: else
//: if A_FOURS
    return a[at / 4u];
//: else
    return vec4<f32>(a[at], a[at + 1u], a[at + 2u], a[at + 3u]);
//: end
//: end
}

fn stored_four_of_b(at: u32) -> vec4<f32> {
//: if B_IMAGE
    return textureLoad(b, texel(at / 4u));
//: else
//: if B_FOURS
    return b[at / 4u];
//: else
    return vec4<f32>(b[at], b[at + 1u], b[at + 2u], b[at + 3u]);
//: end
//: end
}

// What is multiplied of them, rounded to float16 where products are (HALF).
fn factor_of_a(stored: vec4<f32>, at: u32) -> vec4<f32> {
//: if HALF
    return to_half4(prologue_a4(stored, at));
//: else
    return prologue_a4(stored, at);
//: end
}

fn factor_of_b(stored: vec4<f32>, at: u32) -> vec4<f32> {
//: if HALF
    return to_half4(prologue_b4(stored, at));
//: else
    return prologue_b4(stored, at);
//: end
}

fn four_of_b(at: u32) -> vec4<f32> {
    return factor_of_b(stored_four_of_b(at), at);
}

// The first element of a block in memory, and the step from a line of it to the next.
fn place_of_a(j: Job, row: u32, k: u32) -> u32 {
    return j.a_offset + row * j.a_m + k * j.a_k;
}

fn place_of_b(j: Job, k: u32, column: u32) -> u32 {
    return j.b_offset + k * j.b_k + column * j.b_n;
}

fn step_of_a(j: Job) -> u32 {
//: if A_ALONG_K
    return j.a_m;
//: else
    return j.a_k;
//: end
}

fn step_of_b(j: Job) -> u32 {
//: if B_ALONG_K
    return j.b_n;
//: else
    return j.b_k;
//: end
}

// The four lines of a block as they are in memory: nothing is computed from them yet, so
// that nothing has to wait until they are there.
fn stored_lines_of_a(j: Job, at: u32) -> mat4x4<f32> {
    let step = step_of_a(j);
    return mat4x4<f32>(
        stored_four_of_a(at),
        stored_four_of_a(at + step),
        stored_four_of_a(at + 2u * step),
        stored_four_of_a(at + 3u * step),
    );
}

fn stored_lines_of_b(j: Job, at: u32) -> mat4x4<f32> {
    let step = step_of_b(j);
    return mat4x4<f32>(
        stored_four_of_b(at),
        stored_four_of_b(at + step),
        stored_four_of_b(at + 2u * step),
        stored_four_of_b(at + 3u * step),
    );
}

// What is multiplied of them.
fn lines_of_a(j: Job, stored: mat4x4<f32>, at: u32) -> mat4x4<f32> {
    let step = step_of_a(j);
    return mat4x4<f32>(
        factor_of_a(stored[0], at),
        factor_of_a(stored[1], at + step),
        factor_of_a(stored[2], at + 2u * step),
        factor_of_a(stored[3], at + 3u * step),
    );
}

fn lines_of_b(j: Job, stored: mat4x4<f32>, at: u32) -> mat4x4<f32> {
    let step = step_of_b(j);
    return mat4x4<f32>(
        factor_of_b(stored[0], at),
        factor_of_b(stored[1], at + step),
        factor_of_b(stored[2], at + 2u * step),
        factor_of_b(stored[3], at + 3u * step),
    );
}

// The same, turned: each k of A is a vector along the rows ...
fn columns_from_a(j: Job, stored: mat4x4<f32>, at: u32) -> mat4x4<f32> {
//: if A_ALONG_K
    return transpose(lines_of_a(j, stored, at));
//: else
    return lines_of_a(j, stored, at);
//: end
}

// ... and each k of B a vector along the columns.
fn rows_from_b(j: Job, stored: mat4x4<f32>, at: u32) -> mat4x4<f32> {
//: if B_ALONG_K
    return transpose(lines_of_b(j, stored, at));
//: else
    return lines_of_b(j, stored, at);
//: end
}

// Rows row to row + 3 of op(A); each is a vector along k.
fn rows_of_a(j: Job, row: u32, k: u32) -> mat4x4<f32> {
    let at = place_of_a(j, row, k);
    let lines = lines_of_a(j, stored_lines_of_a(j, at), at);
//: if A_ALONG_K
    return lines;
//: else
    return transpose(lines);
//: end
}

// The same block; each k is a vector along the rows.
fn columns_of_a(j: Job, row: u32, k: u32) -> mat4x4<f32> {
    let at = place_of_a(j, row, k);
    return columns_from_a(j, stored_lines_of_a(j, at), at);
}

// Rows k to k + 3 of op(B); each is a vector along the columns.
fn rows_of_b(j: Job, k: u32, column: u32) -> mat4x4<f32> {
    let at = place_of_b(j, k, column);
    return rows_from_b(j, stored_lines_of_b(j, at), at);
}
