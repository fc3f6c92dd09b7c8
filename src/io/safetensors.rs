//! safetensors: a JSON header and raw little-endian data. Reading is the
//! `safetensors` crate's; saving goes to a temporary file that is renamed, so
//! that no half-written file is ever left where a file can be renamed.

use std::collections::{BTreeMap, HashMap};
use std::path::Path;

use safetensors::tensor::TensorView;
use safetensors::{Dtype as Theirs, SafeTensors};

use super::{Dtype, Format, Stored, TensorFile};
use crate::error::{Error, Result};
use crate::tensor::Tensor;

/// Whether bytes start like a safetensors file: a header length that fits,
/// then a JSON object.
pub(super) fn looks_like(bytes: &[u8]) -> bool {
    let length = bytes.first_chunk::<8>().map(|b| u64::from_le_bytes(*b));
    length.is_some_and(|n| n < 1 << 32) && bytes.get(8) == Some(&b'{')
}

pub(super) fn read(bytes: &[u8]) -> Result<TensorFile, String> {
    let file = SafeTensors::deserialize(bytes)
        .map_err(|e| format!("a damaged safetensors file: {e}; was it cut off?"))?;
    let mut views: Vec<_> = file.iter().collect();
    views.sort_by(|a, b| a.0.cmp(b.0));
    let mut tensors = Vec::with_capacity(views.len());
    for (key, view) in views {
        let dtype = match view.dtype() {
            Theirs::F64 => Dtype::F64,
            Theirs::F32 => Dtype::F32,
            Theirs::F16 => Dtype::F16,
            Theirs::BF16 => Dtype::Bf16,
            Theirs::I64 => Dtype::I64,
            Theirs::I32 => Dtype::I32,
            Theirs::I16 => Dtype::I16,
            Theirs::I8 => Dtype::I8,
            Theirs::U8 => Dtype::U8,
            Theirs::BOOL => Dtype::Bool,
            other => {
                return Err(format!(
                    "`{key}` has the type {other:?}, which is not read; save it as float32"
                ));
            }
        };
        let bytes = view.data().to_vec();
        tensors.push(Stored::new(
            key.to_string(),
            view.shape().to_vec(),
            dtype,
            bytes,
        )?);
    }
    Ok(TensorFile {
        format: Format::Safetensors,
        tensors,
        notices: Vec::new(),
    })
}

/// Saves tensors under their keys, with `metadata` in the header.
///
/// # Errors
/// [`Error::File`]: two tensors have one key, or the folder cannot be written.
#[cfg(not(target_arch = "wasm32"))]
pub fn save(
    path: &Path,
    tensors: &[(String, Tensor)],
    metadata: &BTreeMap<String, String>,
) -> Result<()> {
    super::write(path, &serialize(path, tensors, metadata)?)
}

/// As [`save`], to bytes. Errors name `path`.
///
/// # Errors
/// [`Error::File`]: two tensors have one key.
pub fn serialize(
    path: &Path,
    tensors: &[(String, Tensor)],
    metadata: &BTreeMap<String, String>,
) -> Result<Vec<u8>> {
    let failed = |e: String| Error::file(path, e);
    let mut views: BTreeMap<&str, TensorView<'_>> = BTreeMap::new();
    for (key, tensor) in tensors {
        let data: &[u8] = bytemuck::cast_slice(tensor.data());
        let view = TensorView::new(Theirs::F32, tensor.dims().to_vec(), data)
            .map_err(|e| failed(e.to_string()))?;
        if views.insert(key, view).is_some() {
            return Err(failed(format!(
                "two tensors named `{key}`; name each otherwise"
            )));
        }
    }
    let metadata: HashMap<String, String> = metadata.clone().into_iter().collect();
    safetensors::serialize(views, Some(metadata)).map_err(|e| failed(e.to_string()))
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn what_is_saved_is_read() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x.safetensors");
        let tensors = vec![
            ("loss".to_string(), Tensor::scalar(0.5)),
            ("w".to_string(), Tensor::new(&[2, 0], vec![]).unwrap()),
            (
                "v".to_string(),
                Tensor::new(&[3], vec![1.0, f32::NAN, -0.0]).unwrap(),
            ),
        ];
        save(&path, &tensors, &BTreeMap::new()).unwrap();
        let file = super::super::read(&path).unwrap();
        assert_eq!(file.tensors.len(), 3);
        for (key, tensor) in &tensors {
            let got = file.get(key).unwrap().to_tensor().unwrap().tensor;
            assert_eq!(got.shape(), tensor.shape());
            let bits = |t: &Tensor| t.data().iter().map(|v| v.to_bits()).collect::<Vec<_>>();
            assert_eq!(bits(&got), bits(tensor));
        }
        let lost = folder.path().join("no/such/folder.safetensors");
        let error = save(&lost, &tensors, &BTreeMap::new()).unwrap_err();
        let error = error.to_string();
        assert!(error.contains("folder.safetensors: no file"), "{error}");
        assert!(error.contains("no/such: entity not found; "), "{error}");
        let twice = [tensors[0].clone(), tensors[0].clone()];
        assert!(save(&path, &twice, &BTreeMap::new()).is_err());
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[cfg(unix)]
    #[test]
    fn what_is_there_stays_what_it_is() {
        use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};

        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        let put = |name: &str| save(&at(name), &[], &BTreeMap::new());
        let mode = |name: &str| fs::metadata(at(name)).unwrap().mode() & 0o777;
        // A new file is as any other program's, whatever the umask is.
        fs::write(at("plain"), "").unwrap();
        put("new").unwrap();
        assert_eq!(mode("new"), mode("plain"));
        // An old one keeps its mode.
        fs::set_permissions(at("plain"), fs::Permissions::from_mode(0o640)).unwrap();
        put("plain").unwrap();
        assert_eq!(mode("plain"), 0o640);
        assert!(fs::metadata(at("plain")).unwrap().len() > 0);
        // Links stay links, to something or to nothing yet.
        symlink(at("plain"), at("link")).unwrap();
        symlink(at("later"), at("dangling")).unwrap();
        for (link, end) in [("link", "plain"), ("dangling", "later")] {
            fs::write(at("plain"), "").unwrap();
            put(link).unwrap();
            assert!(fs::symlink_metadata(at(link)).unwrap().is_symlink());
            assert!(fs::metadata(at(end)).unwrap().len() > 0, "{end}");
        }
        // A device is written to.
        save(Path::new("/dev/null"), &[], &BTreeMap::new()).unwrap();
        assert!(!fs::metadata("/dev/null").unwrap().is_file());
        let error = put("").unwrap_err().to_string();
        assert!(error.contains("directory"), "{error}");
    }
}
