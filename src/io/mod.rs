//! Reading and writing tensors: `.pth`, `.safetensors`, `.npy`, `.csv`. Every
//! reader treats its file as hostile: sizes are checked before memory is taken,
//! nothing is executed, and an error names the file, the place and a fix.

pub mod csv;
mod npy;
mod pth;
#[cfg(not(target_arch = "wasm32"))]
mod put;
pub mod safetensors;
#[cfg(not(target_arch = "wasm32"))]
pub mod shaders;

use std::fmt;
#[cfg(not(target_arch = "wasm32"))]
use std::fs::File;
#[cfg(not(target_arch = "wasm32"))]
use std::io::{ErrorKind, Read};
use std::path::Path;

use half::{bf16, f16};

#[cfg(not(target_arch = "wasm32"))]
pub use npy::save_npy;
#[cfg(not(target_arch = "wasm32"))]
pub use pth::save_pth;
#[cfg(not(target_arch = "wasm32"))]
pub use put::{check_writable, write};

use crate::error::{Error, Result};
use crate::number::{printable, show_wide};
use crate::tensor::Tensor;

/// The largest file that is read. A state dict of this size has a quarter of a
/// billion parameters.
#[cfg(not(target_arch = "wasm32"))]
pub(crate) const MOST_BYTES: u64 = 1 << 32;

/// The type of a stored element, by PyTorch's names.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Dtype {
    /// float64
    F64,
    /// float32
    F32,
    /// float16
    F16,
    /// bfloat16
    Bf16,
    /// int64
    I64,
    /// int32
    I32,
    /// int16
    I16,
    /// int8
    I8,
    /// uint8
    U8,
    /// bool
    Bool,
}

impl Dtype {
    /// Bytes of an element.
    pub fn size(self) -> usize {
        match self {
            Dtype::F64 | Dtype::I64 => 8,
            Dtype::F32 | Dtype::I32 => 4,
            Dtype::F16 | Dtype::Bf16 | Dtype::I16 => 2,
            Dtype::I8 | Dtype::U8 | Dtype::Bool => 1,
        }
    }
}

impl fmt::Display for Dtype {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Dtype::F64 => "float64",
            Dtype::F32 => "float32",
            Dtype::F16 => "float16",
            Dtype::Bf16 => "bfloat16",
            Dtype::I64 => "int64",
            Dtype::I32 => "int32",
            Dtype::I16 => "int16",
            Dtype::I8 => "int8",
            Dtype::U8 => "uint8",
            Dtype::Bool => "bool",
        })
    }
}

/// What kind of file a tensor came from.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Format {
    /// `torch.save`'s zip form.
    Pth,
    /// `torch.save`'s older form: pickles, then raw storages.
    PthLegacy,
    /// safetensors.
    Safetensors,
    /// NumPy's `.npy`.
    Npy,
}

impl fmt::Display for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Format::Pth => "pth (zip form)",
            Format::PthLegacy => "pth (older form)",
            Format::Safetensors => "safetensors",
            Format::Npy => "npy",
        })
    }
}

/// One stored tensor, as the file has it.
#[derive(Clone, PartialEq, Debug)]
pub struct Stored {
    /// Its key.
    pub key: String,
    /// Its sizes, outermost first.
    pub shape: Vec<usize>,
    /// The type of its elements.
    pub dtype: Dtype,
    /// Its elements, row-major, little-endian.
    bytes: Vec<u8>,
}

/// A stored tensor as float32.
#[derive(Clone, PartialEq, Debug)]
pub struct Converted {
    /// The values.
    pub tensor: Tensor,
    /// What the conversion changed, if it was one.
    pub notice: Option<String>,
}

impl Stored {
    /// A stored tensor; `bytes` must hold exactly its elements.
    fn new(key: String, shape: Vec<usize>, dtype: Dtype, bytes: Vec<u8>) -> Result<Stored, String> {
        let count = element_count(&shape)?;
        let size = count.checked_mul(dtype.size());
        if size != Some(bytes.len()) {
            return Err(format!(
                "`{key}` of shape {shape:?} and type {dtype} does not fill {} bytes",
                bytes.len()
            ));
        }
        Ok(Stored {
            key,
            shape,
            dtype,
            bytes,
        })
    }

    /// The values in float64: exact for every type (int64 beyond 2^53 is an
    /// error).
    pub fn to_f64(&self) -> Result<Vec<f64>> {
        fn each<const N: usize>(bytes: &[u8], read: impl Fn([u8; N]) -> f64) -> Vec<f64> {
            // Every chunk has the size that `chunks_exact` was asked for.
            let chunks = bytes.chunks_exact(N);
            chunks
                .map(|c| read(c.try_into().unwrap_or([0; N])))
                .collect()
        }
        let b = &self.bytes[..];
        Ok(match self.dtype {
            Dtype::F64 => each(b, f64::from_le_bytes),
            Dtype::F32 => each(b, |c| f64::from(f32::from_le_bytes(c))),
            Dtype::F16 => each(b, |c| f16::from_le_bytes(c).to_f64()),
            Dtype::Bf16 => each(b, |c| bf16::from_le_bytes(c).to_f64()),
            Dtype::I64 => {
                let wide = each(b, |c: [u8; 8]| i64::from_le_bytes(c) as f64);
                let most = 9_007_199_254_740_992.0; // 2^53
                if let Some(i) = wide.iter().position(|v| v.abs() > most) {
                    return Err(Error::Data(format!(
                        "`{}`: element {i} is an integer beyond 2^53; save it as float32",
                        printable(&self.key)
                    )));
                }
                wide
            }
            Dtype::I32 => each(b, |c| f64::from(i32::from_le_bytes(c))),
            Dtype::I16 => each(b, |c| f64::from(i16::from_le_bytes(c))),
            Dtype::I8 => each(b, |c| f64::from(i8::from_le_bytes(c))),
            Dtype::U8 => each(b, |c: [u8; 1]| f64::from(c[0])),
            Dtype::Bool => each(b, |c: [u8; 1]| f64::from(u8::from(c[0] != 0))),
        })
    }

    /// The values in float32, with a notice if that is another type. Float64 is
    /// rounded; integers must be exact.
    ///
    /// # Errors
    /// A float64 too large for float32, an integer that float32 does not have,
    /// a shape that wgrad cannot hold.
    pub fn to_tensor(&self) -> Result<Converted> {
        let is_float = matches!(
            self.dtype,
            Dtype::F64 | Dtype::F32 | Dtype::F16 | Dtype::Bf16
        );
        let wide = self.to_f64()?;
        let mut data = Vec::with_capacity(wide.len());
        for (i, &value) in wide.iter().enumerate() {
            let narrow = value as f32;
            let lost = if is_float {
                value.is_finite() && !narrow.is_finite()
            } else {
                f64::from(narrow) != value
            };
            if lost {
                return Err(Error::Data(format!(
                    "`{}`: element {i} is {}",
                    printable(&self.key),
                    match is_float {
                        true => format!(
                            "{}, beyond float32's range; scale the values",
                            show_wide(value)
                        ),
                        false => format!(
                            "{value}, which float32 does not have; save it as float32, which \
                             rounds"
                        ),
                    }
                )));
            }
            data.push(narrow);
        }
        let notice = (self.dtype != Dtype::F32).then(|| {
            format!(
                "`{}`: {} converted to float32",
                printable(&self.key),
                self.dtype
            )
        });
        Ok(Converted {
            tensor: Tensor::new(&self.shape, data).map_err(|mut e| {
                e.node = Some(printable(&self.key).into_owned());
                e
            })?,
            notice,
        })
    }
}

/// The number of elements of a shape, or that it is impossible.
fn element_count(shape: &[usize]) -> Result<usize, String> {
    let count = shape.iter().try_fold(1usize, |n, &d| n.checked_mul(d));
    count.ok_or_else(|| format!("shape {shape:?} has more elements than can be counted"))
}

/// What a file of tensors holds.
#[derive(Clone, PartialEq, Debug)]
pub struct TensorFile {
    /// The kind of file.
    pub format: Format,
    /// Its tensors.
    pub tensors: Vec<Stored>,
    /// What is worth saying about it.
    pub notices: Vec<String>,
}

impl TensorFile {
    /// The tensor of a key.
    pub fn get(&self, key: &str) -> Option<&Stored> {
        self.tensors.iter().find(|t| t.key == key)
    }
}

/// Reads a file of tensors. Its kind is told by its content.
///
/// # Errors
/// [`Error::File`]: it cannot be read, it is none of the kinds, or malformed.
#[cfg(not(target_arch = "wasm32"))]
pub fn read(path: &Path) -> Result<TensorFile> {
    read_slice(&read_bytes(path, MOST_BYTES)?, path)
}

/// As [`read`], from the bytes of a file. Errors name `path`, and a lone tensor
/// has its stem as key.
///
/// # Errors
/// [`Error::File`]: it is none of the kinds, or malformed.
pub fn read_slice(bytes: &[u8], path: &Path) -> Result<TensorFile> {
    let stem = path
        .file_stem()
        .map_or("tensor".into(), |s| s.to_string_lossy().into_owned());
    parse(bytes, &stem).map_err(|reason| Error::file(path, printable(&reason)))
}

/// `reason` with a fix behind it, unless it says one itself.
fn with_fix(reason: String, fix: &str) -> String {
    match reason.contains("; ") {
        true => reason,
        false => format!("{reason}; {fix}"),
    }
}

/// The most that is read of what has no length: a pipe, a device.
#[cfg(not(target_arch = "wasm32"))]
const MOST_STREAM: u64 = 1 << 30;

/// Reads a file of at most `most` bytes.
///
/// # Errors
/// [`Error::File`]: it cannot be read, or there is more.
#[cfg(not(target_arch = "wasm32"))]
pub fn read_bytes(path: &Path, most: u64) -> Result<Vec<u8>> {
    let failed = |e: std::io::Error| match e.kind() {
        ErrorKind::NotFound => Error::file(path, "there is no such file; check the path"),
        ErrorKind::IsADirectory => Error::file(path, "this is a folder; name a file in it"),
        _ => Error::file(path, e.to_string()),
    };
    let file = File::open(path).map_err(failed)?;
    let metadata = file.metadata().map_err(failed)?;
    let most = match metadata.is_file() {
        true => most,
        false => most.min(MOST_STREAM),
    };
    let too_long = |length: u64, word: &str| {
        Error::file(
            path,
            format!("{word}{length} bytes is more than the {most} that are read; split the file"),
        )
    };
    if metadata.is_file() && metadata.len() > most {
        return Err(too_long(metadata.len(), ""));
    }
    // The length is a claim: a device has none, and a file may grow.
    let mut bytes = Vec::new();
    let mut part = file.take(most.saturating_add(1));
    part.read_to_end(&mut bytes).map_err(failed)?;
    match bytes.len() as u64 {
        length if length > most => Err(too_long(length, "at least ")),
        _ => Ok(bytes),
    }
}

/// Reads a text of at most `most` bytes.
///
/// # Errors
/// As [`read_bytes`], and for a file that is not UTF-8.
#[cfg(not(target_arch = "wasm32"))]
pub fn read_text(path: &Path, most: u64) -> Result<String> {
    String::from_utf8(read_bytes(path, most)?).map_err(|e| {
        Error::file(
            path,
            format!("not UTF-8: {}; save it as UTF-8", e.utf8_error()),
        )
    })
}

/// As [`read`], from bytes; `stem` becomes the key of a lone tensor.
fn parse(bytes: &[u8], stem: &str) -> Result<TensorFile, String> {
    if bytes.is_empty() {
        return Err("the file is empty; save or copy it again".to_string());
    }
    let torch = |reason| with_fix(reason, "save `model.state_dict()` again with torch.save");
    if bytes.starts_with(b"PK") {
        return pth::read_zip(bytes).map_err(torch);
    }
    if bytes.starts_with(b"\x93NUMPY") {
        return npy::read(bytes, stem).map_err(|e| with_fix(e, "save it again with numpy.save"));
    }
    if pth::looks_legacy(bytes) {
        return pth::read_legacy(bytes).map_err(torch);
    }
    if safetensors::looks_like(bytes) {
        return safetensors::read(bytes).map_err(|e| with_fix(e, "save it again"));
    }
    Err(
        "this is no .pth, .safetensors or .npy file (or it is damaged at its start); write one \
         with torch.save(model.state_dict(), ...), safetensors or numpy.save"
            .to_string(),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stored(dtype: Dtype, bytes: &[u8]) -> Stored {
        let count = bytes.len() / dtype.size();
        Stored::new("k".to_string(), vec![count], dtype, bytes.to_vec()).unwrap()
    }

    #[test]
    fn types_are_converted_with_a_notice_or_refused() {
        let one_half = stored(Dtype::F16, &f16::from_f32(0.5).to_le_bytes())
            .to_tensor()
            .unwrap();
        assert_eq!(one_half.tensor.data(), [0.5]);
        assert_eq!(
            one_half.notice.unwrap(),
            "`k`: float16 converted to float32"
        );
        let brain = stored(Dtype::Bf16, &bf16::from_f32(-3.0).to_le_bytes())
            .to_tensor()
            .unwrap();
        assert_eq!(brain.tensor.data(), [-3.0]);
        let wide = stored(Dtype::F64, &0.1f64.to_le_bytes())
            .to_tensor()
            .unwrap();
        assert_eq!(wide.tensor.data(), [0.1]);
        assert!(
            stored(Dtype::F64, &1e300f64.to_le_bytes())
                .to_tensor()
                .is_err()
        );
        assert!(
            stored(Dtype::F64, &f64::INFINITY.to_le_bytes())
                .to_tensor()
                .is_ok()
        );
        assert!(
            stored(Dtype::I64, &16_777_217i64.to_le_bytes())
                .to_tensor()
                .is_err()
        );
        let plain = stored(Dtype::F32, &7f32.to_le_bytes()).to_tensor().unwrap();
        assert_eq!(plain.notice, None);
    }

    #[test]
    fn every_truncation_and_every_flipped_bit_is_survived() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("data/exercise");
        for name in [
            "initial_model.pth",
            "initial_model_legacy.pth",
            "initial_model.safetensors",
            "in_features.npy",
            "target.npy",
        ] {
            let whole = std::fs::read(folder.join(name)).unwrap();
            assert!(parse(&whole, "x").is_ok(), "{name}");
            for length in 0..whole.len() {
                // Either an error or all that the file held: never a panic.
                let _ = parse(&whole[..length], "x");
            }
            for bit in 0..whole.len() * 8 {
                let mut damaged = whole.clone();
                damaged[bit / 8] ^= 1 << (bit % 8);
                if let Ok(file) = parse(&damaged, "x") {
                    for tensor in &file.tensors {
                        let _ = tensor.to_tensor();
                    }
                }
            }
        }
    }

    #[test]
    fn all_forms_of_the_exercise_hold_the_same_weights() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("data/exercise");
        let files = [
            "initial_model.pth",
            "initial_model_legacy.pth",
            "initial_model.safetensors",
        ]
        .map(|name| read(&folder.join(name)).unwrap());
        for file in &files {
            for key in ["0.weight", "2.weight"] {
                assert_eq!(file.get(key), files[0].get(key));
            }
        }
        assert_eq!(files[0].get("0.weight").unwrap().shape, [2, 4]);
        let weight = files[1]
            .get("2.weight")
            .unwrap()
            .to_tensor()
            .unwrap()
            .tensor;
        assert_eq!(weight.data(), [-0.595_422_6, 0.574_146]);
    }
}
