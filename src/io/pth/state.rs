//! From a pickle's plain data to tensors: nested dicts are flattened, strides
//! and offsets are honoured, and storages may be shared.

use std::collections::{BTreeMap, HashMap};

use super::super::{Dtype, Format, Stored, TensorFile, element_count};
use super::pickle::{Heap, TensorRef, Value};
use crate::number::printable;

/// A tensor may repeat its storage (stride 0), but all tensors together may not
/// take more than this beyond the size of the storages.
const MOST_EXPANSION: usize = 32 << 20;
/// Dicts within dicts.
const MOST_NESTING: usize = 16;
/// Entries looked at; a dict that is shared counts at each place.
const MOST_ENTRIES: usize = 1_000_000;
/// Bytes of all full names together. A pickle can use one long key again and
/// again for two bytes each time, so this is not bounded by the file's size.
const MOST_NAME_BYTES: usize = 32 << 20;
/// Entries that are no tensors, shown by name.
const SHOWN_OTHERS: usize = 5;

/// The storages of a file, by key.
#[derive(Default)]
pub struct Storages<'a> {
    data: HashMap<String, &'a [u8]>,
}

impl<'a> Storages<'a> {
    pub fn insert(&mut self, key: String, data: &'a [u8]) {
        self.data.insert(key, data);
    }
}

/// An object as a pickle left it.
pub struct Object {
    pub value: Value,
    pub heap: Heap,
}

/// What a dict holds, flattened.
#[derive(Default)]
struct Flat<'v> {
    tensors: Vec<(String, &'v TensorRef)>,
    /// The first few entries that are no tensors, and how many there are.
    others: Vec<String>,
    others_count: usize,
    seen: usize,
    name_bytes: usize,
}

impl Flat<'_> {
    /// The full name of an entry, if there is room for it.
    fn path(&mut self, prefix: &str, key: &Value) -> Result<String, String> {
        let number;
        let name = match key {
            Value::Text(text) => &**text,
            Value::Int(n) => {
                number = n.to_string();
                &number
            }
            _ => "?",
        };
        self.name_bytes += prefix.len() + 1 + name.len();
        if self.name_bytes > MOST_NAME_BYTES {
            return Err(format!(
                "its keys make more than {} MiB of names; no state dict has such keys",
                MOST_NAME_BYTES >> 20
            ));
        }
        Ok(if prefix.is_empty() {
            name.to_string()
        } else {
            format!("{prefix}.{name}")
        })
    }
}

impl Object {
    fn flatten(&self, dict: &Value) -> Result<Flat<'_>, String> {
        let mut flat = Flat::default();
        self.walk(dict, "", 0, &mut flat)?;
        Ok(flat)
    }

    fn walk<'v>(
        &'v self,
        dict: &Value,
        prefix: &str,
        depth: usize,
        flat: &mut Flat<'v>,
    ) -> Result<(), String> {
        if depth > MOST_NESTING {
            return Err(format!(
                "dicts nested more than {MOST_NESTING} deep, at `{}`",
                printable(prefix)
            ));
        }
        for (key, value) in self.heap.entries(dict).unwrap_or(&[]) {
            flat.seen += 1;
            if flat.seen > MOST_ENTRIES {
                return Err(format!("more than {MOST_ENTRIES} entries"));
            }
            match value {
                Value::Tensor(tensor) => {
                    let path = flat.path(prefix, key)?;
                    flat.tensors.push((path, tensor));
                }
                Value::Dict(_) => {
                    let path = flat.path(prefix, key)?;
                    self.walk(value, &path, depth + 1, flat)?;
                }
                _ => {
                    flat.others_count += 1;
                    if flat.others.len() < SHOWN_OTHERS {
                        let path = flat.path(prefix, key)?;
                        flat.others.push(path);
                    }
                }
            }
        }
        Ok(())
    }
}

/// A state dict may lie inside a checkpoint, under one of these keys.
const WRAPPERS: [&str; 3] = ["state_dict", "model_state_dict", "model"];

impl Object {
    /// The type of each storage that a tensor uses, wherever in the object.
    pub fn storage_types(&self) -> Result<BTreeMap<String, Dtype>, String> {
        let flat = self.flatten(&self.value)?;
        let types = flat.tensors.iter();
        Ok(types
            .map(|(_, t)| (t.storage.to_string(), t.dtype))
            .collect())
    }

    /// The dict with the parameters, and the key that it was found under.
    fn parameters(&self) -> (&Value, Option<&'static str>) {
        for wrapper in WRAPPERS {
            if let Some(inner @ Value::Dict(_)) = self.heap.get(&self.value, wrapper) {
                return (inner, Some(wrapper));
            }
        }
        (&self.value, None)
    }
}

/// The tensors of a state dict.
pub fn tensors(
    object: &Object,
    storages: &Storages<'_>,
    format: Format,
) -> Result<TensorFile, String> {
    if !matches!(object.value, Value::Dict(_)) {
        return Err("it does not hold a state dict; save `model.state_dict()`".to_string());
    }
    let (inner, wrapper) = object.parameters();
    let mut notices: Vec<String> = wrapper
        .map(|key| format!("read the state dict under `{key}`"))
        .into_iter()
        .collect();
    let Flat {
        tensors: found,
        others,
        others_count,
        ..
    } = object.flatten(inner)?;
    if others_count > 0 {
        let mut shown: Vec<_> = others.iter().map(|name| printable(name)).collect();
        if others_count > shown.len() {
            shown.push("...".into());
        }
        notices.push(format!(
            "{others_count} entries that are no tensors were left out ({})",
            shown.join(", ")
        ));
    }
    let mut room = MOST_EXPANSION + storages.data.values().map(|d| d.len()).sum::<usize>();
    let mut tensors: Vec<Stored> = Vec::with_capacity(found.len());
    let mut keys = std::collections::HashSet::new();
    for (key, tensor) in found {
        if !keys.insert(key.clone()) {
            return Err(format!("two tensors named `{}`", printable(&key)));
        }
        let bytes = gather(tensor, storages, &mut room)
            .map_err(|e| format!("`{}`: {e}", printable(&key)))?;
        tensors.push(Stored::new(key, tensor.shape.clone(), tensor.dtype, bytes)?);
    }
    Ok(TensorFile {
        format,
        tensors,
        notices,
    })
}

/// The elements of a strided tensor, row-major.
fn gather(
    tensor: &TensorRef,
    storages: &Storages<'_>,
    room: &mut usize,
) -> Result<Vec<u8>, String> {
    let data = storages
        .data
        .get(&*tensor.storage)
        .ok_or_else(|| format!("its storage `{}` is missing", tensor.storage))?;
    let size = tensor.dtype.size();
    let count = element_count(&tensor.shape)?;
    if count == 0 {
        return Ok(Vec::new());
    }
    // The last element reached must lie in the storage; then all do.
    let mut last = tensor.offset;
    for (&d, &stride) in tensor.shape.iter().zip(&tensor.strides) {
        let reach = (d - 1)
            .checked_mul(stride)
            .and_then(|r| last.checked_add(r));
        last = reach.ok_or("its strides overflow")?;
    }
    let held = data.len() / size;
    if last >= held {
        return Err(format!(
            "shape {:?} with strides {:?} from {} reaches element {last} of a storage of {held}",
            tensor.shape, tensor.strides, tensor.offset
        ));
    }
    let bytes = count.checked_mul(size).filter(|b| b <= room);
    let bytes = bytes.ok_or_else(|| {
        format!(
            "{count} elements is too much for this file, which repeats few; save \
             `tensor.clone()`, or the small one"
        )
    })?;
    *room -= bytes;
    let mut out = Vec::with_capacity(bytes);
    let mut index = vec![0usize; tensor.shape.len()];
    let mut at = tensor.offset;
    for _ in 0..count {
        out.extend_from_slice(&data[at * size..(at + 1) * size]);
        // The next index, the last axis fastest.
        for axis in (0..index.len()).rev() {
            index[axis] += 1;
            at += tensor.strides[axis];
            if index[axis] < tensor.shape[axis] {
                break;
            }
            at -= tensor.strides[axis] * tensor.shape[axis];
            index[axis] = 0;
        }
    }
    Ok(out)
}
