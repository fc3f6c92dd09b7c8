//! `.pth`: a pickled state dict with raw storages beside it, as `torch.save`
//! writes it: in a zip archive, or (the older form) in one stream.
//!
//! A pickle is a program. Here it is read by a small interpreter of an
//! allow-list of opcodes and globals ([`pickle`]), which builds plain data and
//! can do nothing else; [`state`] makes tensors of that data.

mod pickle;
#[cfg(not(target_arch = "wasm32"))]
mod save;
mod state;
#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::io::{Cursor, Read};

use zip::{CompressionMethod, ZipArchive};

use super::{Format, TensorFile};
use pickle::Value;
#[cfg(not(target_arch = "wasm32"))]
pub use save::save_pth;
use state::{Object, Storages};

/// The longest pickle that is interpreted: a state dict with a million keys
/// has less.
const MOST_PICKLE: usize = 256 << 20;
/// The most entries of an archive.
const MOST_ENTRIES: usize = 1_000_000;

/// What the older form starts with: a pickle (protocol 2) of this number, a
/// ten-byte LONG1.
const MAGIC: &[u8] = &[
    0x80, 0x02, 0x8a, 0x0a, 0x6c, 0xfc, 0x9c, 0x46, 0xf9, 0x20, 0x6a, 0xa8, 0x50, 0x19, 0x2e,
];

/// Whether bytes start as the older form does (or as any pickle).
pub fn looks_legacy(bytes: &[u8]) -> bool {
    bytes.starts_with(&[0x80]) && bytes.get(1).is_some_and(|v| (2..=5).contains(v))
}

/// Reads the zip form.
pub fn read_zip(bytes: &[u8]) -> Result<TensorFile, String> {
    let mut archive = ZipArchive::new(Cursor::new(bytes))
        .map_err(|e| format!("a damaged zip archive: {e}; was the file cut off?"))?;
    if archive.len() > MOST_ENTRIES {
        return Err(format!("an archive of {} entries", archive.len()));
    }
    let mut entries: HashMap<String, (usize, usize)> = HashMap::new();
    let mut root: Option<String> = None;
    for i in 0..archive.len() {
        let entry = archive
            .by_index_raw(i)
            .map_err(|e| format!("entry {i} of the archive is damaged: {e}"))?;
        let name = entry
            .name()
            .map_err(|e| format!("entry {i} of the archive has no readable name: {e}"))?
            .to_string();
        if name.starts_with('/') || name.contains('\\') || name.split('/').any(|p| p == "..") {
            return Err(format!(
                "entry `{name}` points outside the archive and is refused"
            ));
        }
        if entry.encrypted() || entry.compression() != CompressionMethod::Stored {
            return Err(format!(
                "entry `{name}` is compressed or encrypted, which torch.save never does, and is refused"
            ));
        }
        let start = entry
            .data_start()
            .and_then(|s| usize::try_from(s).ok())
            .ok_or_else(|| format!("entry `{name}` has no data"))?;
        let size =
            usize::try_from(entry.size()).map_err(|_| format!("entry `{name}` is too large"))?;
        let inside = start
            .checked_add(size)
            .is_some_and(|end| end <= bytes.len());
        if !inside {
            return Err(format!("entry `{name}` reaches past the end of the file"));
        }
        if let Some(base) = name.strip_suffix("data.pkl")
            && root.replace(base.to_string()).is_some()
        {
            return Err("two entries named data.pkl".to_string());
        }
        if entries.insert(name.clone(), (start, size)).is_some() {
            return Err(format!("two entries named `{name}`"));
        }
    }
    let root = root.ok_or("no data.pkl inside: this zip file was not written by torch.save")?;
    let place = |name: &str| entries.get(&format!("{root}{name}")).copied();
    let content = |(start, size): (usize, usize)| bytes.get(start..start + size).unwrap_or(&[]);
    if place("byteorder").is_some_and(|p| content(p) == b"big") {
        return Err(
            "written on a big-endian machine; save it again on a little-endian one".to_string(),
        );
    }
    let pickled = place("data.pkl").map(content).unwrap_or_default();
    check_sum(&mut archive, &format!("{root}data.pkl"))?;
    if pickled.len() > MOST_PICKLE {
        return Err(format!(
            "data.pkl has {} bytes, more than {MOST_PICKLE}",
            pickled.len()
        ));
    }
    let (value, heap, _) = pickle::load(pickled).map_err(|e| format!("in data.pkl: {e}"))?;
    let object = Object { value, heap };
    let mut storages = Storages::default();
    for key in object.storage_types()?.into_keys() {
        let name = format!("data/{key}");
        let found = place(&name).ok_or_else(|| format!("the storage `{root}{name}` is missing"))?;
        check_sum(&mut archive, &format!("{root}{name}"))?;
        storages.insert(key, content(found));
    }
    state::tensors(&object, &storages, Format::Pth)
}

/// Reads an entry through the archive, which compares its checksum.
fn check_sum(archive: &mut ZipArchive<Cursor<&[u8]>>, name: &str) -> Result<(), String> {
    let mut entry = archive
        .by_name(name)
        .map_err(|e| format!("entry `{name}`: {e}"))?;
    let mut buffer = vec![0; 1 << 16];
    loop {
        match entry.read(&mut buffer) {
            Ok(0) => return Ok(()),
            Ok(_) => {}
            Err(e) => return Err(format!("entry `{name}` is damaged: {e}")),
        }
    }
}

/// Reads the older form: magic number, protocol, system, the object, the
/// storage keys, then each storage as a 64-bit count and its elements.
pub fn read_legacy(bytes: &[u8]) -> Result<TensorFile, String> {
    if !bytes.starts_with(MAGIC) {
        return Err(
            "a pickle, but not one that torch.save wrote; it was not executed; save \
                    `model.state_dict()` with torch.save, or use safetensors"
                .to_string(),
        );
    }
    let mut at = MAGIC.len();
    let mut next = |what: &str| -> Result<Object, String> {
        let rest = bytes.get(at..).unwrap_or(&[]);
        let rest = &rest[..rest.len().min(MOST_PICKLE)];
        let (value, heap, used) = pickle::load(rest)
            .map_err(|e| format!("in the {what}, which starts at byte {at}: {e}"))?;
        at += used;
        Ok(Object { value, heap })
    };
    if next("protocol number")?.value != Value::Int(1001) {
        return Err("an unknown version of torch.save's older form".to_string());
    }
    let system = next("system description")?;
    if system.heap.get(&system.value, "little_endian") == Some(&Value::Bool(false)) {
        return Err(
            "written on a big-endian machine; save it again on a little-endian one".to_string(),
        );
    }
    let object = next("object")?;
    let keys = next("list of storages")?;
    let names = keys.heap.items(&keys.value);
    let names = names.ok_or("the list of storages is no list")?;
    let types = object.storage_types()?;
    let mut storages = Storages::default();
    for key in names {
        let Value::Text(key) = key else {
            return Err("a storage's key is no string".to_string());
        };
        let header = bytes.get(at..).and_then(|b| b.first_chunk::<8>());
        let header = header.ok_or("cut off before a storage")?;
        let count = u64::from_le_bytes(*header);
        let dtype = types
            .get(&**key)
            .ok_or_else(|| format!("storage `{key}` belongs to no tensor"))?;
        let size = usize::try_from(count)
            .ok()
            .and_then(|n| n.checked_mul(dtype.size()));
        let start = at + 8;
        let data = size
            .and_then(|size| start.checked_add(size))
            .and_then(|end| bytes.get(start..end))
            .ok_or_else(|| {
                format!("storage `{key}` of {count} elements at byte {at} reaches past the end of the file")
            })?;
        at = start + data.len();
        storages.insert(key.to_string(), data);
    }
    state::tensors(&object, &storages, Format::PthLegacy)
}
