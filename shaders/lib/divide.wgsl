// A mean is its sum divided by the number of terms. A sum is divided by 1,
// which is left out: WGSL lets a division be wrong by 2.5 ULP.
fn divided(sum: f32, divisor: f32) -> f32 {
    if (divisor == 1.0) {
        return sum;
    }
    return sum / divisor;
}
