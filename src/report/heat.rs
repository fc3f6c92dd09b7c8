//! A tensor as a picture: each value a colour, from blue (negative) through white
//! (zero) to red (positive), a scale that people who are colour-blind can read.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Serialize;

use crate::error::{Error, Result};
use crate::number;
use crate::tensor::Tensor;

/// The most cells of a heat map, down and across. A larger tensor is drawn with
/// blocks of values as cells.
const MOST: [usize; 2] = [64, 96];

/// Colours from the most negative value to the most positive one: ColorBrewer's
/// scale "RdBu" of seven, turned round, with linear steps between.
const SCALE: [[u8; 3]; 7] = [
    [0x21, 0x66, 0xac],
    [0x67, 0xa9, 0xcf],
    [0xd1, 0xe5, 0xf0],
    [0xf7, 0xf7, 0xf7],
    [0xfd, 0xdb, 0xc7],
    [0xef, 0x8a, 0x62],
    [0xb2, 0x18, 0x2b],
];

/// What is not finite.
const NOT_FINITE: [u8; 3] = [0x22, 0x22, 0x22];

/// Steps of the scale to each side of zero.
const STEPS: usize = 127;

/// A heat map.
#[derive(Clone, Serialize, PartialEq, Debug)]
pub struct Heat {
    /// The picture as a `data:` address, a pixel a cell.
    pub image: String,
    /// Cells across.
    pub columns: usize,
    /// Cells down.
    pub rows: usize,
    /// The size at which a page shows it, in its pixels.
    pub size: [usize; 2],
    /// The largest magnitude, which has the darkest colours.
    pub most: String,
    /// What a cell is, in words.
    pub cells: String,
    /// Values that are not finite; they are black.
    pub not_finite: usize,
}

/// The heat map of a tensor: rows are all axes but the last. `None` if it has no
/// values.
///
/// # Errors
/// None in practice: the picture is written to memory.
pub fn heat(tensor: &Tensor) -> Result<Option<Heat>> {
    let across = tensor.dims().last().copied().unwrap_or(1);
    let Some(down) = tensor.data().len().checked_div(across).filter(|n| *n > 0) else {
        return Ok(None);
    };
    let finite = tensor.data().iter().filter(|v| v.is_finite());
    let most = finite.fold(0.0f32, |most, v| most.max(v.abs()));
    let (rows, columns) = (down.min(MOST[0]), across.min(MOST[1]));
    let mut pixels = Vec::with_capacity(rows * columns);
    for r in 0..rows {
        for c in 0..columns {
            let down = r * down / rows..(r + 1) * down / rows;
            let across_cell = c * across / columns..(c + 1) * across / columns;
            let cell = down.flat_map(|i| {
                let row = &tensor.data()[i * across..];
                &row[across_cell.clone()]
            });
            pixels.push(index(largest(cell), most));
        }
    }
    let block = [down.div_ceil(rows), across.div_ceil(columns)];
    Ok(Some(Heat {
        image: png(&pixels, columns, rows)?,
        columns,
        rows,
        size: {
            // Square cells, no larger than a line of text is high.
            let cell = (560 / columns).min(320 / rows).clamp(1, 20);
            [columns * cell, (rows * cell).max(cell.max(12))]
        },
        most: number::show(most),
        cells: match block {
            [1, 1] => format!("one cell a value, {down} x {across}"),
            [i, j] => format!(
                "downsampled from {down} x {across} values: a cell is the value of the largest \
                 magnitude among up to {i} x {j}"
            ),
        },
        not_finite: tensor.data().iter().filter(|v| !v.is_finite()).count(),
    }))
}

/// The value that a cell shows: one that is not finite, or else the first of the
/// largest magnitude.
fn largest<'a>(cell: impl Iterator<Item = &'a f32>) -> f32 {
    let mut found = 0.0f32;
    for &v in cell {
        if !v.is_finite() {
            return f32::NAN;
        }
        if v.abs() > found.abs() {
            found = v;
        }
    }
    found
}

/// The place of a value in the palette: 0 is not finite, then the scale.
fn index(value: f32, most: f32) -> u8 {
    if !value.is_finite() {
        return 0;
    }
    let share = if most > 0.0 { value / most } else { 0.0 };
    // A share is from -1 to 1, so this is from 1 to 255.
    (128.0 + share * STEPS as f32).round() as u8
}

fn palette() -> Vec<u8> {
    let mut colours = NOT_FINITE.to_vec();
    for step in 0..=2 * STEPS {
        let place = step as f32 / (2 * STEPS) as f32 * (SCALE.len() - 1) as f32;
        let left = (place as usize).min(SCALE.len() - 2);
        let part = place - left as f32;
        for (a, b) in SCALE[left].iter().zip(SCALE[left + 1]) {
            let mixed = f32::from(*a) + (f32::from(b) - f32::from(*a)) * part;
            colours.push(mixed.round() as u8);
        }
    }
    colours
}

fn png(pixels: &[u8], width: usize, height: usize) -> Result<String> {
    let mut bytes = Vec::new();
    let mut encoder = png::Encoder::new(&mut bytes, width as u32, height as u32);
    encoder.set_color(png::ColorType::Indexed);
    encoder.set_depth(png::BitDepth::Eight);
    encoder.set_palette(palette());
    let fault = |e: png::EncodingError| Error::Graph(format!("a heat map: {e}"));
    let mut writer = encoder.write_header().map_err(fault)?;
    writer.write_image_data(pixels).map_err(fault)?;
    writer.finish().map_err(fault)?;
    Ok(format!("data:image/png;base64,{}", STANDARD.encode(bytes)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pixels(heat: &Heat) -> Vec<[u8; 3]> {
        let text = heat.image.strip_prefix("data:image/png;base64,").unwrap();
        let bytes = STANDARD.decode(text).unwrap();
        let mut decoder = png::Decoder::new(std::io::Cursor::new(bytes));
        decoder.set_transformations(png::Transformations::EXPAND);
        let mut reader = decoder.read_info().unwrap();
        let mut out = vec![0; reader.output_buffer_size().unwrap()];
        let info = reader.next_frame(&mut out).unwrap();
        assert_eq!(
            (info.width as usize, info.height as usize),
            (heat.columns, heat.rows)
        );
        out.chunks(3).map(|p| [p[0], p[1], p[2]]).collect()
    }

    #[test]
    fn the_ends_zero_and_what_is_not_finite_have_their_colours() {
        let t = Tensor::new(&[2, 2], vec![-3.0, 0.0, 3.0, f32::NAN]).unwrap();
        let h = heat(&t).unwrap().unwrap();
        assert_eq!(pixels(&h), [SCALE[0], SCALE[3], SCALE[6], NOT_FINITE]);
        assert_eq!((h.most.as_str(), h.not_finite), ("3", 1));
        assert_eq!(h.cells, "one cell a value, 2 x 2");
    }

    #[test]
    fn a_large_tensor_is_downsampled_and_keeps_its_extremes() {
        let mut data = vec![0.0; 640 * 960];
        data[639 * 960 + 959] = -2.0;
        data[5] = 1.0;
        let h = heat(&Tensor::new(&[640, 960], data).unwrap())
            .unwrap()
            .unwrap();
        let pixels = pixels(&h);
        assert_eq!(pixels.last(), Some(&SCALE[0]));
        assert_ne!(pixels[0], SCALE[3]);
        assert_eq!(
            pixels.iter().filter(|p| **p == SCALE[3]).count(),
            64 * 96 - 2
        );
        assert!(h.cells.contains("up to 10 x 10"), "{}", h.cells);
        assert!(h.image.len() < 16_000);
    }

    #[test]
    fn nothing_and_a_scalar() {
        assert_eq!(heat(&Tensor::new(&[0, 4], vec![]).unwrap()).unwrap(), None);
        assert_eq!(heat(&Tensor::new(&[4, 0], vec![]).unwrap()).unwrap(), None);
        let h = heat(&Tensor::scalar(0.0)).unwrap().unwrap();
        assert_eq!((h.columns, h.rows), (1, 1));
    }
}
