// Four neighbours of a row of a {M} x {N} product over an inner axis of {K}: one
// sum. The four of B lie side by side.
fn phase{P}(i: u32, a_at: u32, b_at: u32, c_at: u32) {
    let a = 4u * a_at + i / {N4}u * {A_M}u;
    let b = b_at + i % {N4}u;
    {PUT}(c_at + i, kept4(
        one_of(a) * fetch(b)
//: repeat t in REST
            + one_of(a + ({t}u + 1u) * {A_K}u) * fetch(b + ({t}u + 1u) * {N4}u)
//: end
    ));
}
