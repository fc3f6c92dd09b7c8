//! An interpreter for the small part of pickle that a state dict needs. It
//! builds [`Value`]s and nothing else: no import, no call, no object. An opcode
//! or a global outside the list ends the reading with an error that names it.

use std::collections::HashMap;
use std::rc::Rc;

use super::super::Dtype;

/// Limits that no honest state dict comes near.
const MOST_STACK: usize = 1_000_000;
const MOST_MEMO: usize = 4_000_000;
const MOST_CONTAINERS: usize = 4_000_000;
/// Values in all containers together beyond one for each byte of the pickle; a
/// dict's entry is two. A value takes a byte at least, but calls copy what is in
/// a list, so without this a short pickle could fill the memory.
const MORE_VALUES: usize = 500_000;
const MOST_TEXT: usize = 1 << 20;
const MOST_AXES: usize = 64;
/// A storage's key is a small number; it is looked up for every tensor.
const MOST_KEY: usize = 256;

/// Plain data. Containers are places in a [`Heap`], since pickles fill them
/// after they are shared; so nothing here is nested, however deep the file is.
#[derive(Clone, PartialEq, Debug)]
pub enum Value {
    None,
    Bool(bool),
    Int(i64),
    Float(f64),
    Text(Rc<str>),
    Tuple(usize),
    List(usize),
    Dict(usize),
    Global(Global),
    /// A reference to a storage: its type and key.
    Storage(Dtype, Rc<str>),
    /// A tensor over a storage.
    Tensor(Rc<TensorRef>),
}

/// The containers of one pickle.
#[derive(Default)]
pub struct Heap {
    sequences: Vec<Vec<Value>>,
    dicts: Vec<Vec<(Value, Value)>>,
    /// Values put into containers so far, and the most that may be.
    held: usize,
    most: usize,
}

impl Heap {
    /// The items of a tuple or a list.
    pub fn items(&self, value: &Value) -> Option<&[Value]> {
        match value {
            Value::Tuple(at) | Value::List(at) => self.sequences.get(*at).map(Vec::as_slice),
            _ => None,
        }
    }

    /// The entries of a dict.
    pub fn entries(&self, value: &Value) -> Option<&[(Value, Value)]> {
        match value {
            Value::Dict(at) => self.dicts.get(*at).map(Vec::as_slice),
            _ => None,
        }
    }

    /// The entry of a dict with a text key.
    pub fn get(&self, dict: &Value, key: &str) -> Option<&Value> {
        let found = self.entries(dict)?.iter().find(|(k, _)| match k {
            Value::Text(text) => &**text == key,
            _ => false,
        });
        found.map(|(_, value)| value)
    }

    /// Counts values that are about to be put into a container.
    fn hold(&mut self, values: usize) -> Result<(), String> {
        self.held = self.held.saturating_add(values);
        if self.held > self.most {
            return Err(format!("more than {} values in its containers", self.most));
        }
        Ok(())
    }

    fn sequence(&mut self, items: Vec<Value>) -> Result<usize, String> {
        self.hold(items.len())?;
        if self.sequences.len() >= MOST_CONTAINERS {
            return Err("too many containers".to_string());
        }
        self.sequences.push(items);
        Ok(self.sequences.len() - 1)
    }

    fn dict(&mut self, entries: Vec<(Value, Value)>) -> Result<usize, String> {
        if self.dicts.len() >= MOST_CONTAINERS {
            return Err("too many containers".to_string());
        }
        self.dicts.push(entries);
        Ok(self.dicts.len() - 1)
    }
}

/// A tensor as the pickle describes it.
#[derive(Clone, PartialEq, Debug)]
pub struct TensorRef {
    pub dtype: Dtype,
    pub storage: Rc<str>,
    pub offset: usize,
    pub shape: Vec<usize>,
    pub strides: Vec<usize>,
}

/// The globals that a state dict may name.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Global {
    OrderedDict,
    RebuildTensor,
    RebuildParameter,
    Storage(Dtype),
    Size,
}

fn global(module: &str, name: &str) -> Option<Global> {
    match (module, name) {
        ("collections", "OrderedDict") => Some(Global::OrderedDict),
        ("torch._utils", "_rebuild_tensor_v2") => Some(Global::RebuildTensor),
        ("torch._utils", "_rebuild_parameter") => Some(Global::RebuildParameter),
        ("torch", "Size") => Some(Global::Size),
        ("torch", _) => {
            let dtype = match name {
                "DoubleStorage" => Dtype::F64,
                "FloatStorage" => Dtype::F32,
                "HalfStorage" => Dtype::F16,
                "BFloat16Storage" => Dtype::Bf16,
                "LongStorage" => Dtype::I64,
                "IntStorage" => Dtype::I32,
                "ShortStorage" => Dtype::I16,
                "CharStorage" => Dtype::I8,
                "ByteStorage" => Dtype::U8,
                "BoolStorage" => Dtype::Bool,
                _ => return None,
            };
            Some(Global::Storage(dtype))
        }
        _ => None,
    }
}

struct Machine<'a> {
    bytes: &'a [u8],
    at: usize,
    stack: Vec<Value>,
    marks: Vec<usize>,
    memo: HashMap<u32, Value>,
    heap: Heap,
}

/// Interprets one pickle: its value, the containers, and the bytes it took.
pub fn load(bytes: &[u8]) -> Result<(Value, Heap, usize), String> {
    let mut machine = Machine {
        bytes,
        at: 0,
        stack: Vec::new(),
        marks: Vec::new(),
        memo: HashMap::new(),
        heap: Heap {
            most: MORE_VALUES + bytes.len(),
            ..Heap::default()
        },
    };
    loop {
        let place = machine.at;
        match machine.step() {
            Ok(Some(value)) => return Ok((value, machine.heap, machine.at)),
            Ok(None) => {}
            Err(reason) => {
                let place = format!("at byte {place} of the pickle");
                return Err(match reason.split_once("; ") {
                    Some((what, fix)) => format!("{what}, {place}; {fix}"),
                    None => format!("{reason}, {place}"),
                });
            }
        }
        if machine.stack.len() > MOST_STACK || machine.marks.len() > MOST_STACK {
            return Err(format!("nested too deeply, at byte {place} of the pickle"));
        }
    }
}

impl Machine<'_> {
    fn take(&mut self, count: usize) -> Result<&[u8], String> {
        let end = self.at.checked_add(count);
        let part = end.and_then(|end| self.bytes.get(self.at..end));
        let part = part.ok_or_else(|| format!("cut off where {count} bytes should follow"))?;
        self.at += count;
        Ok(part)
    }

    fn byte(&mut self) -> Result<u8, String> {
        Ok(self.take(1)?[0])
    }

    fn int4(&mut self) -> Result<u32, String> {
        let part = self.take(4)?;
        // `take` gave the four bytes it was asked for.
        Ok(u32::from_le_bytes(part.try_into().unwrap_or_default()))
    }

    fn text(&mut self, length: usize) -> Result<Value, String> {
        if length > MOST_TEXT {
            return Err(format!("a string of {length} bytes"));
        }
        let part = self.take(length)?.to_vec();
        let text = String::from_utf8(part).map_err(|_| "a string that is not UTF-8")?;
        Ok(Value::Text(text.into()))
    }

    fn line(&mut self) -> Result<String, String> {
        let rest = self.bytes.get(self.at..).unwrap_or(&[]);
        let most = rest.len().min(256);
        let end = rest[..most].iter().position(|&b| b == b'\n');
        let end = end.ok_or("a name without an end")?;
        let text = std::str::from_utf8(&rest[..end]).map_err(|_| "a name that is not UTF-8")?;
        self.at += end + 1;
        Ok(text.to_string())
    }

    fn push(&mut self, value: Value) {
        self.stack.push(value);
    }

    fn pop(&mut self) -> Result<Value, String> {
        let floor = self.marks.last().copied().unwrap_or(0);
        if self.stack.len() <= floor {
            return Err("an empty stack".to_string());
        }
        // The stack is longer than its floor, so it has a last value.
        self.stack.pop().ok_or_else(|| "an empty stack".to_string())
    }

    fn pop_many(&mut self, count: usize) -> Result<Vec<Value>, String> {
        let floor = self.marks.last().copied().unwrap_or(0);
        let from = self
            .stack
            .len()
            .checked_sub(count)
            .filter(|&from| from >= floor);
        Ok(self.stack.split_off(from.ok_or("an empty stack")?))
    }

    fn pop_mark(&mut self) -> Result<Vec<Value>, String> {
        let from = self.marks.pop().ok_or("no mark")?;
        Ok(self.stack.split_off(from.min(self.stack.len())))
    }

    fn remember(&mut self, place: u32) -> Result<(), String> {
        if self.memo.len() >= MOST_MEMO {
            return Err("too many memo entries".to_string());
        }
        let top = self.stack.last().ok_or("an empty stack")?.clone();
        self.memo.insert(place, top);
        Ok(())
    }

    fn recall(&mut self, place: u32) -> Result<(), String> {
        let value = self.memo.get(&place).cloned();
        let value = value.ok_or_else(|| format!("memo entry {place} does not exist"))?;
        self.push(value);
        Ok(())
    }

    /// Adds entries to the dict on top of the stack.
    fn set_items(&mut self, items: Vec<Value>) -> Result<(), String> {
        if !items.len().is_multiple_of(2) {
            return Err("a key without a value".to_string());
        }
        self.heap.hold(items.len())?;
        let dict = match self.stack.last() {
            Some(Value::Dict(at)) => self.heap.dicts.get_mut(*at),
            _ => None,
        };
        let dict = dict.ok_or("entries for something that is no dict")?;
        let mut items = items.into_iter();
        while let (Some(key), Some(value)) = (items.next(), items.next()) {
            dict.push((key, value));
        }
        Ok(())
    }

    /// Adds items to the list on top of the stack.
    fn append(&mut self, items: Vec<Value>) -> Result<(), String> {
        self.heap.hold(items.len())?;
        let list = match self.stack.last() {
            Some(Value::List(at)) => self.heap.sequences.get_mut(*at),
            _ => None,
        };
        list.ok_or("items for something that is no list")?
            .extend(items);
        Ok(())
    }

    fn tuple(&mut self, items: Vec<Value>) -> Result<(), String> {
        let at = self.heap.sequence(items)?;
        self.push(Value::Tuple(at));
        Ok(())
    }

    /// One opcode; the value at STOP.
    fn step(&mut self) -> Result<Option<Value>, String> {
        let opcode = self.byte()?;
        match opcode {
            0x80 => match self.byte()? {
                2..=5 => {}
                version => return Err(format!("pickle protocol {version}")),
            },
            // FRAME: a hint about buffering.
            0x95 => {
                self.take(8)?;
            }
            b'(' => self.marks.push(self.stack.len()),
            b'.' => return self.pop().map(Some),
            b'N' => self.push(Value::None),
            0x88 => self.push(Value::Bool(true)),
            0x89 => self.push(Value::Bool(false)),
            b'K' => {
                let v = self.byte()?;
                self.push(Value::Int(i64::from(v)));
            }
            b'M' => {
                let part = self.take(2)?;
                let v = i64::from(part[0]) | i64::from(part[1]) << 8;
                self.push(Value::Int(v));
            }
            b'J' => {
                let v = self.int4()? as i32;
                self.push(Value::Int(i64::from(v)));
            }
            // LONG1: little-endian two's complement.
            0x8a => {
                let length = usize::from(self.byte()?);
                if length > 8 {
                    return Err(format!("an integer of {length} bytes"));
                }
                let mut v: i64 = 0;
                let part = self.take(length)?;
                for (i, &b) in part.iter().enumerate() {
                    v |= i64::from(b) << (8 * i);
                }
                if length > 0 && length < 8 && part[length - 1] & 0x80 != 0 {
                    v -= 1 << (8 * length);
                }
                self.push(Value::Int(v));
            }
            b'G' => {
                let part = self.take(8)?;
                // `take` gave the eight bytes it was asked for.
                let v = f64::from_be_bytes(part.try_into().unwrap_or_default());
                self.push(Value::Float(v));
            }
            b'X' => {
                let length = self.int4()? as usize;
                let text = self.text(length)?;
                self.push(text);
            }
            0x8c => {
                let length = usize::from(self.byte()?);
                let text = self.text(length)?;
                self.push(text);
            }
            b')' => self.tuple(Vec::new())?,
            b']' => {
                let at = self.heap.sequence(Vec::new())?;
                self.push(Value::List(at));
            }
            b'}' => {
                let at = self.heap.dict(Vec::new())?;
                self.push(Value::Dict(at));
            }
            b't' => {
                let items = self.pop_mark()?;
                self.tuple(items)?;
            }
            0x85..=0x87 => {
                let items = self.pop_many(usize::from(opcode - 0x84))?;
                self.tuple(items)?;
            }
            b'a' => {
                let item = self.pop()?;
                self.append(vec![item])?;
            }
            b'e' => {
                let items = self.pop_mark()?;
                self.append(items)?;
            }
            b's' => {
                let items = self.pop_many(2)?;
                self.set_items(items)?;
            }
            b'u' => {
                let items = self.pop_mark()?;
                self.set_items(items)?;
            }
            b'q' => {
                let place = u32::from(self.byte()?);
                self.remember(place)?;
            }
            b'r' => {
                let place = self.int4()?;
                self.remember(place)?;
            }
            // MEMOIZE: the next free place.
            0x94 => {
                let place = self.memo.len() as u32;
                self.remember(place)?;
            }
            b'h' => {
                let place = u32::from(self.byte()?);
                self.recall(place)?;
            }
            b'j' => {
                let place = self.int4()?;
                self.recall(place)?;
            }
            b'c' => {
                let (module, name) = (self.line()?, self.line()?);
                self.push_global(&module, &name)?;
            }
            0x93 => {
                let names = self.pop_many(2)?;
                let [Value::Text(module), Value::Text(name)] = &names[..] else {
                    return Err("a global without a name".to_string());
                };
                self.push_global(module, name)?;
            }
            b'Q' => {
                let id = self.pop()?;
                let found = self.storage(&id)?;
                self.push(found);
            }
            b'R' => {
                let arguments = self.pop()?;
                let called = self.pop()?;
                let value = self.reduce(&called, &arguments)?;
                self.push(value);
            }
            // BUILD: the attributes of an OrderedDict (`_metadata`), not needed.
            b'b' => {
                self.pop()?;
                match self.stack.last() {
                    Some(Value::Dict(_) | Value::Tensor(_)) => {}
                    _ => return Err("attributes for something that is no dict".to_string()),
                }
            }
            other => {
                let shown = if other.is_ascii_graphic() {
                    format!("`{}` ({other:#04x})", other as char)
                } else {
                    format!("{other:#04x}")
                };
                return Err(format!(
                    "opcode {shown} is not one that a state dict needs; the file was not executed; \
                     save `model.state_dict()` only, or use safetensors"
                ));
            }
        }
        Ok(None)
    }

    fn push_global(&mut self, module: &str, name: &str) -> Result<(), String> {
        let known = global(module, name).ok_or_else(|| {
            format!(
                "global `{module}.{name}` is not one that a state dict needs; nothing was executed; \
                 save `model.state_dict()` (not the model) with torch.save, or use safetensors"
            )
        })?;
        self.push(Value::Global(known));
        Ok(())
    }

    /// A persistent id: ("storage", type, key, location, count).
    fn storage(&self, id: &Value) -> Result<Value, String> {
        let parts = self.heap.items(id).unwrap_or(&[]);
        let [
            Value::Text(kind),
            Value::Global(Global::Storage(dtype)),
            Value::Text(key),
            rest @ ..,
        ] = parts
        else {
            return Err("a persistent id that names no storage".to_string());
        };
        // In the older form a view of a storage may follow; only whole
        // storages are read.
        if &**kind != "storage" || matches!(rest.get(2), Some(v) if *v != Value::None) {
            return Err("a persistent id that names no whole storage".to_string());
        }
        if key.is_empty() || key.contains(['/', '\\']) || key.contains("..") {
            return Err(format!("a storage named `{key}`"));
        }
        if key.len() > MOST_KEY {
            return Err(format!("a storage with a key of {} bytes", key.len()));
        }
        Ok(Value::Storage(*dtype, Rc::clone(key)))
    }

    /// The few calls that a state dict makes, as constructions of plain data.
    fn reduce(&mut self, called: &Value, arguments: &Value) -> Result<Value, String> {
        let Value::Global(called) = called else {
            return Err("a call of something that is no global".to_string());
        };
        let count = |heap: &Heap, list: &Value| heap.items(list).map_or(0, <[Value]>::len);
        // What the call copies is counted before it is copied: a call costs
        // the pickle a few bytes, however much it copies.
        let copied = match (called, self.heap.items(arguments).unwrap_or(&[])) {
            (Global::OrderedDict, [pairs]) => 2 * count(&self.heap, pairs),
            (Global::RebuildTensor, [_, _, shape, ..]) => 4 + count(&self.heap, shape),
            _ => 0,
        };
        self.heap.hold(copied)?;
        let arguments = self.heap.items(arguments).unwrap_or(&[]);
        match (called, arguments) {
            (Global::OrderedDict, []) => Ok(Value::Dict(self.heap.dict(Vec::new())?)),
            // OrderedDict([[key, value], ...])
            (Global::OrderedDict, [pairs @ Value::List(_)]) => {
                let mut entries = Vec::new();
                for pair in self.heap.items(pairs).unwrap_or(&[]) {
                    match self.heap.items(pair) {
                        Some([key, value]) => entries.push((key.clone(), value.clone())),
                        _ => return Err("an OrderedDict of something else than pairs".to_string()),
                    }
                }
                Ok(Value::Dict(self.heap.dict(entries)?))
            }
            (Global::Size, [sizes]) => Ok(sizes.clone()),
            (Global::RebuildParameter, [tensor @ Value::Tensor(_), ..]) => Ok(tensor.clone()),
            (
                Global::RebuildTensor,
                [
                    Value::Storage(dtype, key),
                    Value::Int(offset),
                    shape,
                    strides,
                    ..,
                ],
            ) => {
                let (shape, strides) = (self.sizes(shape)?, self.sizes(strides)?);
                if shape.len() != strides.len() {
                    return Err(format!(
                        "{} sizes and {} strides",
                        shape.len(),
                        strides.len()
                    ));
                }
                let offset =
                    usize::try_from(*offset).map_err(|_| format!("an offset of {offset}"))?;
                Ok(Value::Tensor(Rc::new(TensorRef {
                    dtype: *dtype,
                    storage: Rc::clone(key),
                    offset,
                    shape,
                    strides,
                })))
            }
            (which, _) => Err(format!("{which:?} with unexpected arguments")),
        }
    }

    fn sizes(&self, list: &Value) -> Result<Vec<usize>, String> {
        let items = self.heap.items(list).ok_or("sizes that are no tuple")?;
        if items.len() > MOST_AXES {
            return Err(format!("a tensor of {} axes", items.len()));
        }
        let size = |value: &Value| match value {
            Value::Int(n) => usize::try_from(*n).map_err(|_| format!("a size of {n}")),
            _ => Err("a size that is no integer".to_string()),
        };
        items.iter().map(size).collect()
    }
}
