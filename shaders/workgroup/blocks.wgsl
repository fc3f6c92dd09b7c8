// Four rows of A, four deep, and four columns of B: whichever axis they lie
// along in memory. What lies outside the matrices is read and not stored.
fn rows_of_a{P}(a_at: u32, row: u32, k: u32) -> mat4x4<f32> {
//: if A_ALONG_K
    let at = a_at + 4u * row * {K4}u + k / 4u;
    return mat4x4<f32>(
        fetch(at), fetch(at + {K4}u), fetch(at + 2u * {K4}u), fetch(at + 3u * {K4}u));
//: else
    let at = a_at + k * {M4}u + row;
    return transpose(mat4x4<f32>(
        fetch(at), fetch(at + {M4}u), fetch(at + 2u * {M4}u), fetch(at + 3u * {M4}u)));
//: end
}

fn rows_of_b{P}(b_at: u32, k: u32, column: u32) -> mat4x4<f32> {
//: if B_ALONG_K
    let at = b_at + 4u * column * {K4}u + k / 4u;
    return transpose(mat4x4<f32>(
        fetch(at), fetch(at + {K4}u), fetch(at + 2u * {K4}u), fetch(at + 3u * {K4}u)));
//: else
    let at = b_at + k * {N4}u + column;
    return mat4x4<f32>(
        fetch(at), fetch(at + {N4}u), fetch(at + 2u * {N4}u), fetch(at + 3u * {N4}u));
//: end
}

