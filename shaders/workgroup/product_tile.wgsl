// Four rows by four columns of a {M} x {N} product over an inner axis of {K}.
fn phase{P}(i: u32, a_at: u32, b_at: u32, c_at: u32) {
    let row = i / {N4}u;
    let column = i % {N4}u;
//: repeat r in 4
    var sum{r} = vec4<f32>();
//: end
//: if LONG
    // Sums of 64 products are added up by themselves.
//: repeat r in 4
    var total{r} = vec4<f32>();
//: end
//: end
    var k = 0u;
    loop {
        let a = rows_of_a{P}(a_at, row, k);
        let b = rows_of_b{P}(b_at, k, column);
//: repeat r in 4
        sum{r} += (a[{r}].x * b[0] + a[{r}].y * b[1]) + (a[{r}].z * b[2] + a[{r}].w * b[3]);
//: end
//: if LONG
        if (k % 64u == 60u) {
//: repeat r in 4
            total{r} += sum{r};
            sum{r} = vec4<f32>();
//: end
        }
//: end
        k += 4u;
        if (k == {K}u) {
            break;
        }
    }
//: if LONG
//: repeat r in 4
    sum{r} += total{r};
//: end
//: end
    let at = c_at + 4u * row * {N4}u + column;
//: repeat r in 4
    {PUT}(at + {r}u * {N4}u, kept4(sum{r}));
//: end
}
