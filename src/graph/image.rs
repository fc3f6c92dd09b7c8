//! Images: buffers that kernels read as textures of four floats a texel, in the
//! order of the buffer.
//!
//! A driver in software checks each lane of a load from a buffer by itself, with
//! branches; texels it takes for eight lanes in a few instructions. So large
//! products read their operands as images there, and row programs their batch.

/// Texels of a row that carry values: texel i of a buffer is at column
/// i % WIDTH of row i / WIDTH.
pub const WIDTH: u32 = 512;

/// Texels that follow in each row. Rows of a matrix are often 4 KiB apart, and
/// the same column of each would go to the same few places of a cache; with
/// one more line a row they spread.
const GAP: u32 = 4;

/// Bytes of a texel.
pub const TEXEL: u64 = 16;

/// The columns and rows of the image of a buffer of this many bytes. Never a
/// power of two: a driver in software may compile a kernel anew for images
/// that are one.
pub fn size(bytes: u64) -> [u32; 2] {
    let rows = bytes.div_ceil(TEXEL * u64::from(WIDTH)).max(3) as u32;
    [WIDTH + GAP, rows + u32::from(rows.is_power_of_two())]
}

/// Whether a buffer of this many elements has an image of at most `side` rows.
pub fn fits(elements: usize, side: u32) -> bool {
    size(4 * elements as u64).iter().all(|&size| size <= side)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_and_limits() {
        assert_eq!(size(0), [516, 3]);
        assert_eq!(size(16 * 512 * 4), [516, 5]);
        assert_eq!(size(16 * 512 * 5 + 16), [516, 6]);
        assert!(fits(2048 * 600, 600) && !fits(2048 * 600 + 1, 600));
        assert!(fits(0, 516) && !fits(0, 515));
    }
}
