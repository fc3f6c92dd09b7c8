//! Writing the zip form of `.pth`: a pickle of protocol 2 and a raw storage for each
//! tensor, every entry uncompressed, as PyTorch reads it.

use std::io::{Cursor, Write};
use std::path::Path;

use zip::write::SimpleFileOptions;
use zip::{CompressionMethod, ZipWriter};

use crate::error::{Error, Result};
use crate::io::write;
use crate::tensor::Tensor;

/// Writes a state dict that `torch.load(path, weights_only=True)` reads: float32
/// tensors under their keys, in this order. The same tensors give the same bytes.
///
/// # Errors
/// [`Error::File`]: the file cannot be written, or a key or a size is beyond what
/// these pickles hold (2^31).
pub fn save_pth(path: &Path, tensors: &[(&str, &Tensor)]) -> Result<()> {
    let bytes = archive(tensors).map_err(|reason| Error::file(path, reason))?;
    write(path, &bytes)
}

fn archive(tensors: &[(&str, &Tensor)]) -> Result<Vec<u8>, String> {
    let mut writer = ZipWriter::new(Cursor::new(Vec::new()));
    // PyTorch aligns storages so that a file can be mapped into memory.
    let stored = SimpleFileOptions::default()
        .compression_method(CompressionMethod::Stored)
        .with_alignment(64);
    let mut entry = |name: &str, data: &[u8]| -> Result<(), String> {
        let started = writer.start_file(format!("model/{name}"), stored);
        started.map_err(|e| e.to_string())?;
        writer.write_all(data).map_err(|e| e.to_string())
    };
    entry("data.pkl", &pickle(tensors)?)?;
    entry("byteorder", b"little")?;
    for (i, (_, tensor)) in tensors.iter().enumerate() {
        let data: Vec<u8> = tensor.data().iter().flat_map(|v| v.to_le_bytes()).collect();
        entry(&format!("data/{i}"), &data)?;
    }
    entry("version", b"3\n")?;
    let done = writer.finish().map_err(|e| e.to_string())?;
    Ok(done.into_inner())
}

/// `OrderedDict([(key, tensor), ...])`, opcode by opcode.
fn pickle(tensors: &[(&str, &Tensor)]) -> Result<Vec<u8>, String> {
    const EMPTY_DICT: &[u8] = b"ccollections\nOrderedDict\n)R";
    let mut out = vec![0x80, 2];
    out.extend(EMPTY_DICT);
    out.push(b'(');
    for (i, (key, tensor)) in tensors.iter().enumerate() {
        out.extend(text(key)?);
        out.extend(b"ctorch._utils\n_rebuild_tensor_v2\n((");
        out.extend(text("storage")?);
        out.extend(b"ctorch\nFloatStorage\n");
        out.extend(text(&i.to_string())?);
        out.extend(text("cpu")?);
        out.extend(int(tensor.data().len())?);
        out.extend(b"tQ");
        out.extend(int(0)?);
        for sizes in [tensor.dims(), &tensor.shape().strides()] {
            out.push(b'(');
            for &size in sizes {
                out.extend(int(size)?);
            }
            out.push(b't');
        }
        // requires_grad, then the hooks.
        out.push(0x89);
        out.extend(EMPTY_DICT);
        out.extend(b"tR");
    }
    out.extend(b"u.");
    Ok(out)
}

fn text(text: &str) -> Result<Vec<u8>, String> {
    let length = u32::try_from(text.len()).map_err(|_| "a key is too long".to_string())?;
    Ok([b"X", &length.to_le_bytes()[..], text.as_bytes()].concat())
}

fn int(value: usize) -> Result<Vec<u8>, String> {
    let value = i32::try_from(value)
        .map_err(|_| format!("a tensor's size, {value}, is beyond 2^31; save it as safetensors"))?;
    Ok([b"J", &value.to_le_bytes()[..]].concat())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_back_and_is_not_compressed() {
        let a = Tensor::new(&[2, 3], vec![0.1, -0.2, 0.3, 0.4, -0.5, f32::NAN]).unwrap();
        let b = Tensor::scalar(7.0);
        let bytes = archive(&[("10.weight", &a), ("fc.b", &b)]).unwrap();
        assert_eq!(bytes, archive(&[("10.weight", &a), ("fc.b", &b)]).unwrap());
        // The reader refuses entries that are compressed.
        let file = crate::io::read_slice(&bytes, Path::new("m.pth")).unwrap();
        assert!(file.notices.is_empty());
        assert_eq!(file.tensors.len(), 2);
        let first = file.get("10.weight").unwrap();
        assert_eq!(first.shape, [2, 3]);
        let values = first.to_tensor().unwrap().tensor;
        let bits = |t: &Tensor| t.data().iter().map(|v| v.to_bits()).collect::<Vec<_>>();
        assert_eq!(bits(&values), bits(&a));
        let last = file.get("fc.b").unwrap().to_tensor().unwrap().tensor;
        assert_eq!(last.item(), Some(7.0));
    }
}
