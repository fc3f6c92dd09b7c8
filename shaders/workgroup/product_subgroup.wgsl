// A tile of a {M} x {N} product over an inner axis of {K}: each lane reads four
// rows and four columns, and every lane's rows are broadcast to all.
fn phase{P}(tile: u32, lane: u32, a_at: u32, b_at: u32, c_at: u32) {
    let rows = tile / {TILES_N}u * {LANES}u;
    let column = tile % {TILES_N}u * {LANES}u + lane;
//: repeat l in ROW_LANES
//: repeat r in 4
    var sum_{l}_{r} = vec4<f32>();
//: end
//: end
//: if LONG
    // Sums of 64 products are added up by themselves.
//: repeat l in ROW_LANES
//: repeat r in 4
    var total_{l}_{r} = vec4<f32>();
//: end
//: end
//: end
    var k = 0u;
    loop {
        let a = rows_of_a{P}(a_at, rows + lane, k);
        let b = rows_of_b{P}(b_at, k, column);
//: repeat l in ROW_LANES
//: repeat r in 4
        let a_{l}_{r} = subgroupBroadcast(a[{r}], {l}u);
        sum_{l}_{r} += (a_{l}_{r}.x * b[0] + a_{l}_{r}.y * b[1])
            + (a_{l}_{r}.z * b[2] + a_{l}_{r}.w * b[3]);
//: end
//: end
//: if LONG
        if (k % 64u == 60u) {
//: repeat l in ROW_LANES
//: repeat r in 4
            total_{l}_{r} += sum_{l}_{r};
            sum_{l}_{r} = vec4<f32>();
//: end
//: end
        }
//: end
        k += 4u;
        if (k == {K}u) {
            break;
        }
    }
//: if LONG
//: repeat l in ROW_LANES
//: repeat r in 4
    sum_{l}_{r} += total_{l}_{r};
//: end
//: end
//: end
//: if RAGGED
    if (column >= {N4}u) {
        return;
    }
//: end
    let at = c_at + column;
//: repeat l in ROW_LANES
//: if RAGGED
    if (4u * (rows + {l}u) < {M}u) {
//: else
    {
//: end
        let row = at + 4u * (rows + {l}u) * {N4}u;
//: repeat r in 4
        {PUT}(row + {r}u * {N4}u, kept4(sum_{l}_{r}));
//: end
    }
//: end
}
