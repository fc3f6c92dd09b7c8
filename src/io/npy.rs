//! NumPy's `.npy` (NEP 1): a header that is a Python dict of three fields, then
//! the elements in C or Fortran order. The fields are looked up in the text;
//! docs/REJECTED.md says why no library does it.

use super::{Dtype, Format, Stored, TensorFile, element_count};
#[cfg(not(target_arch = "wasm32"))]
use crate::tensor::Tensor;

/// Writes a float32 array that `numpy.load` reads. The same tensor gives the same bytes.
///
/// # Errors
/// [`Error::File`](crate::Error::File): the file cannot be written.
#[cfg(not(target_arch = "wasm32"))]
pub fn save_npy(path: &std::path::Path, tensor: &Tensor) -> crate::Result<()> {
    super::write(path, &written(tensor))
}

/// An array as a file of version 1.
#[cfg(not(target_arch = "wasm32"))]
fn written(tensor: &Tensor) -> Vec<u8> {
    // A tuple of one has a comma.
    let sizes: String = tensor.dims().iter().map(|d| format!("{d}, ")).collect();
    let header = format!("{{'descr': '<f4', 'fortran_order': False, 'shape': ({sizes}), }}");
    // The elements begin at a multiple of 64, after a newline.
    let start = (10 + header.len() + 1).next_multiple_of(64);
    let mut out = b"\x93NUMPY\x01\x00".to_vec();
    // A tensor has few axes, and its header some hundred characters.
    out.extend(((start - 10) as u16).to_le_bytes());
    out.extend(header.as_bytes());
    out.resize(start - 1, b' ');
    out.push(b'\n');
    out.extend(tensor.data().iter().flat_map(|v| v.to_le_bytes()));
    out
}

pub(super) fn read(bytes: &[u8], stem: &str) -> Result<TensorFile, String> {
    let (header, start) = header(bytes)?;
    let descr = field(header, "descr").ok_or("its header names no type")?;
    let descr = descr.trim_matches(['\'', '"']);
    if let Some(width) = descr.strip_prefix('>') {
        return Err(format!(
            "big-endian values ({descr}); save with dtype='<{width}'"
        ));
    }
    let code = descr.trim_start_matches(['<', '|', '=']);
    let dtype = match code {
        "f8" => Dtype::F64,
        "f4" => Dtype::F32,
        "f2" => Dtype::F16,
        "i8" => Dtype::I64,
        "i4" => Dtype::I32,
        "i2" => Dtype::I16,
        "i1" => Dtype::I8,
        "u1" => Dtype::U8,
        "b1" => Dtype::Bool,
        _ => {
            return Err(format!(
                "values of type `{descr}`; save with .astype('float32')"
            ));
        }
    };
    let shape = shape(header)?;
    // The shape's own claim, against the file's size and before any memory is
    // taken.
    let size = element_count(&shape)?.checked_mul(dtype.size());
    let end = size.and_then(|size| start.checked_add(size));
    let data = end.and_then(|end| bytes.get(start..end)).ok_or_else(|| {
        format!("shape {shape:?} of {dtype} is more than the file holds; was it cut off?")
    })?;
    // A shape that leaves values over is another's, or damaged.
    let over = bytes.len() - start - data.len();
    if over > 0 {
        return Err(format!(
            "{over} bytes follow the elements of shape {shape:?} of {dtype}; is the header \
             damaged? (Of several arrays in one file none is read)"
        ));
    }
    let data = match field(header, "fortran_order") {
        Some("False") => data.to_vec(),
        Some("True") => row_major(data, &shape, dtype.size()),
        _ => return Err("its header does not say fortran_order: True or False".to_string()),
    };
    Ok(TensorFile {
        format: Format::Npy,
        tensors: vec![Stored::new(stem.to_string(), shape, dtype, data)?],
        notices: Vec::new(),
    })
}

/// The header's text, and where the elements begin.
fn header(bytes: &[u8]) -> Result<(&str, usize), String> {
    let cut = "cut off in its header";
    let major = *bytes.get(6).ok_or(cut)?;
    let (start, length) = match major {
        1 => {
            let b = bytes.get(8..10).ok_or(cut)?;
            (10, usize::from(u16::from_le_bytes([b[0], b[1]])))
        }
        2 | 3 => {
            let b = bytes.get(8..12).ok_or(cut)?;
            (12, u32::from_le_bytes([b[0], b[1], b[2], b[3]]) as usize)
        }
        other => return Err(format!("version {other} of the npy format")),
    };
    let text = bytes.get(start..start + length).ok_or(cut)?;
    let text = std::str::from_utf8(text).map_err(|_| "a header that is not UTF-8".to_string())?;
    Ok((text, start + length))
}

/// The text after a key of the header, up to the next comma outside of
/// parentheses.
fn field<'h>(header: &'h str, key: &str) -> Option<&'h str> {
    let at = header.find(&format!("'{key}'"))?;
    let rest = header[at..].split_once(':')?.1.trim_start();
    let mut depth = 0;
    let end = rest.find(|c| {
        match c {
            '(' => depth += 1,
            ')' => depth -= 1,
            _ => {}
        }
        depth == 0 && (c == ',' || c == '}')
    });
    Some(rest[..end.unwrap_or(rest.len())].trim())
}

fn shape(header: &str) -> Result<Vec<usize>, String> {
    let text = field(header, "shape").ok_or("its header names no shape")?;
    let inner = text.strip_prefix('(').and_then(|t| t.strip_suffix(')'));
    let wrong = || format!("a shape of `{text}`, which is no tuple of sizes");
    let inner = inner.ok_or_else(wrong)?;
    inner
        .split(',')
        .map(str::trim)
        .filter(|part| !part.is_empty())
        .map(|part| part.parse().map_err(|_| wrong()))
        .collect()
}

/// Elements in column-major order (the first axis fastest), put in row-major
/// order.
fn row_major(data: &[u8], shape: &[usize], size: usize) -> Vec<u8> {
    let mut out = Vec::with_capacity(data.len());
    let mut index = vec![0usize; shape.len()];
    for _ in 0..data.len() / size {
        let place = index
            .iter()
            .zip(shape)
            .rev()
            .fold(0, |at, (i, d)| at * d + i);
        out.extend_from_slice(&data[place * size..(place + 1) * size]);
        for axis in (0..index.len()).rev() {
            index[axis] += 1;
            if index[axis] < shape[axis] {
                break;
            }
            index[axis] = 0;
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use half::f16;

    use super::*;

    fn npy(descr: &str, fortran: bool, shape: &str, data: &[u8]) -> Vec<u8> {
        let order = if fortran { "True" } else { "False" };
        let mut header =
            format!("{{'descr': '{descr}', 'fortran_order': {order}, 'shape': {shape}, }}");
        while (header.len() + 11) % 64 != 0 {
            header.push(' ');
        }
        header.push('\n');
        let mut bytes = b"\x93NUMPY\x01\x00".to_vec();
        bytes.extend((header.len() as u16).to_le_bytes());
        bytes.extend(header.as_bytes());
        bytes.extend(data);
        bytes
    }

    fn values(bytes: &[u8]) -> Result<Vec<f64>, String> {
        let file = read(bytes, "x")?;
        file.tensors[0].to_f64().map_err(|e| e.to_string())
    }

    #[test]
    fn types_and_orders() {
        let f4: Vec<u8> = (0..6).flat_map(|i| (i as f32).to_le_bytes()).collect();
        assert_eq!(
            values(&npy("<f4", false, "(2, 3)", &f4)).unwrap(),
            [0., 1., 2., 3., 4., 5.]
        );
        assert_eq!(
            values(&npy("<f4", true, "(2, 3)", &f4)).unwrap(),
            [0., 2., 4., 1., 3., 5.]
        );
        let f2: Vec<u8> = (0..6)
            .flat_map(|i| f16::from_f32(i as f32).to_le_bytes())
            .collect();
        assert_eq!(
            values(&npy("<f2", false, "(6,)", &f2)).unwrap(),
            [0., 1., 2., 3., 4., 5.]
        );
        assert_eq!(
            values(&npy("<f2", true, "(2, 3)", &f2)).unwrap(),
            [0., 2., 4., 1., 3., 5.]
        );
        assert_eq!(
            values(&npy("|u1", false, "(2,)", &[7, 255])).unwrap(),
            [7., 255.]
        );
        assert_eq!(
            values(&npy("|b1", false, "(2,)", &[0, 1])).unwrap(),
            [0., 1.]
        );
        assert_eq!(
            values(&npy("<i8", false, "()", &(-3i64).to_le_bytes())).unwrap(),
            [-3.]
        );
    }

    #[test]
    fn what_cannot_be_read_says_why() {
        for (bytes, text) in [
            (npy(">f4", false, "(1,)", &[0; 4]), "big-endian"),
            (npy("<c8", false, "(1,)", &[0; 8]), "astype"),
            (npy("\u{e9}", false, "(1,)", &[0; 8]), "astype"),
            (npy("", false, "(1,)", &[0; 8]), "astype"),
            (
                npy("<f4", false, "(1000000000000,)", &[0; 4]),
                "more than the file holds",
            ),
            (
                npy("<f4", false, "(18446744073709551615, 2)", &[0; 4]),
                "more elements",
            ),
            (npy("<f4", false, "(-1,)", &[0; 4]), "shape"),
            (npy("<f4", false, "(3,)", &[0; 4]), "cut off"),
            (npy("<f4", false, "(0,)", &[0; 4]), "4 bytes follow"),
        ] {
            let error = read(&bytes, "x").unwrap_err();
            assert!(error.contains(text), "{error}");
        }
    }
}
