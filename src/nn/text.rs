//! From text to a list of layers. A network is given as people have it at
//! hand: PyTorch code (`nn.Sequential(nn.Linear(4, 2), nn.ReLU())`) or what
//! `print(model)` shows. Both are nested calls, so one small reader of calls
//! serves both, and losses too; which layers and arguments exist is the
//! business of the tables, not of this module.
//!
//! The text may come from anywhere: its size, its depth and the number of
//! layers are bounded, and nothing here panics.

mod reader;

use std::collections::HashSet;

use super::source::{Place, Source, quoted};
use super::token::{Tokens, in_key};
use crate::error::{Error, Result};
use reader::Reader;

/// The longest text that is read, in bytes.
pub const MAX_TEXT: usize = 1 << 20;
/// The most layers that a network may have.
pub const MAX_LAYERS: usize = 10_000;
/// The most `Sequential`s inside one another.
pub const MAX_DEPTH: usize = 32;
/// The longest name of a layer (`fc1`), in bytes.
pub const MAX_NAME: usize = 100;
// A Sequential of an OrderedDict opens four brackets; the layer opens more.
const MAX_BRACKETS: usize = 4 * MAX_DEPTH + 4;

const EXAMPLE: &str =
    "write layers as in PyTorch: Sequential(Linear(4, 2), ReLU(), Linear(2, 1), Sigmoid())";

const LOSS_EXAMPLE: &str = "write a loss as in PyTorch: BCELoss(reduction='sum')";

/// The layers of a network, in the order in which they are applied.
#[derive(Clone, PartialEq, Debug)]
pub struct Spec {
    /// The layers, nested `Sequential`s flattened.
    pub layers: Vec<LayerSpec>,
}

/// One layer as it was written; its name and arguments are not yet checked.
#[derive(Clone, PartialEq, Debug)]
pub struct LayerSpec {
    /// The layer's kind without its module: `Linear`.
    pub kind: String,
    /// The prefix of its parameters' keys in a state dict: `0`, `fc1`, `1.0`;
    /// empty for a layer that stands alone.
    pub key: String,
    /// Its arguments, in order.
    pub args: Vec<Item>,
    /// Where its kind is written.
    pub place: Place,
}

/// What stands between the brackets of a call or a list.
#[derive(Clone, PartialEq, Debug)]
pub struct Item {
    /// `name=` or `(name):` before the value.
    pub label: Option<Label>,
    /// The value.
    pub value: Value,
    /// Where the value begins.
    pub place: Place,
}

/// The name before a value.
#[derive(Clone, PartialEq, Debug)]
pub struct Label {
    /// The name.
    pub name: String,
    /// Whether it is `(name):`, the name of a layer, and not `name=`.
    pub child: bool,
    /// Where it is.
    pub place: Place,
}

/// A value as it was written.
#[derive(Clone, PartialEq, Debug)]
pub enum Value {
    /// A whole number.
    Int(i64),
    /// A number with a point or an exponent.
    Float(f64),
    /// `True` or `False`.
    Bool(bool),
    /// `None`.
    None,
    /// A string.
    Text(String),
    /// A call, or a bare name (`args` is `None`).
    Call {
        /// What is called, modules included.
        name: String,
        /// What it is called with.
        args: Option<Vec<Item>>,
    },
    /// A list or a tuple.
    List(Vec<Item>),
}

impl Value {
    /// The value as a message shows it.
    pub fn describe(&self) -> String {
        match self {
            Value::Int(v) => v.to_string(),
            Value::Float(v) => format!("{v:?}"),
            Value::Bool(true) => "True".to_string(),
            Value::Bool(false) => "False".to_string(),
            Value::None => "None".to_string(),
            Value::Text(v) => format!("the string {}", quoted(v)),
            Value::Call { name, args: None } => quoted(name),
            Value::Call { name, .. } => format!("a call of {}", quoted(name)),
            Value::List(_) => "a list".to_string(),
        }
    }
}

/// `name` without PyTorch's module before it.
fn bare(name: &str) -> &str {
    ["torch.nn.", "nn."]
        .iter()
        .find_map(|module| name.strip_prefix(module))
        .unwrap_or(name)
}

/// Reads a network.
///
/// # Errors
///
/// [`Error::Text`], with the line and a mark under the place, for text that is
/// no list of layers, and for one beyond the limits of this module.
pub fn parse_network(text: &str) -> Result<Spec> {
    let source = Source {
        what: "network",
        text,
    };
    let mut items = read(source)?;
    // `model = ...` is a lone item, and not the name of a layer.
    let mut lone = false;
    if let [only] = &mut items[..]
        && only.label.as_ref().is_none_or(|label| !label.child)
    {
        only.label = None;
        lone = true;
    }
    for label in items.iter().filter_map(|item| item.label.as_ref()) {
        if !label.child {
            return Err(source.error(
                label.place,
                format!("{} = ... stands in a list of layers", quoted(&label.name)),
                "give one model, or only the layers",
            ));
        }
    }
    if lone {
        let sequential = items.iter_mut().find_map(|item| match &mut item.value {
            Value::Call { name, args } if bare(name) == "Sequential" => {
                Some(args.take().unwrap_or_default())
            }
            _ => None,
        });
        match sequential {
            Some(inside) => {
                items = inside;
                lone = false;
            }
            None => lone = !items.iter().all(is_ordered_dict),
        }
    }
    let mut layers = Vec::new();
    flatten(source, items, "", 1, &mut layers)?;
    if lone {
        // A layer that is the whole model: PyTorch's keys have no prefix.
        for layer in &mut layers {
            layer.key.clear();
        }
    }
    if layers.is_empty() {
        return Err(Error::Text(format!("the network has no layer; {EXAMPLE}")));
    }
    Ok(Spec { layers })
}

/// Reads a single call, such as a loss: its bare name, where it is written,
/// and its arguments.
///
/// # Errors
///
/// As [`parse_network`], and for more than one call.
pub(super) fn parse_call(source: Source<'_>) -> Result<(String, Place, Vec<Item>)> {
    let mut items = read(source)?;
    if items.len() > 1 {
        let hint = format!("give one {}", source.what);
        return Err(source.error(items[1].place, "this is a second one", hint));
    }
    match items.pop() {
        Some(Item {
            value: Value::Call { name, args },
            place,
            ..
        }) => Ok((bare(&name).to_string(), place, args.unwrap_or_default())),
        Some(item) => Err(source.error(
            item.place,
            format!(
                "expected the name of a {}, found {}",
                source.what,
                item.value.describe()
            ),
            LOSS_EXAMPLE,
        )),
        None => Err(Error::Text(format!(
            "the {} is empty; {LOSS_EXAMPLE}",
            source.what
        ))),
    }
}

/// The items of the whole text; at least one.
fn read(source: Source<'_>) -> Result<Vec<Item>> {
    if source.text.len() > MAX_TEXT {
        return Err(Error::Text(format!(
            "the text of the {} has {} bytes, more than {MAX_TEXT}; is it the right file?",
            source.what,
            source.text.len()
        )));
    }
    let items = Reader {
        tokens: Tokens::new(source),
        open: Vec::new(),
    }
    .items()?;
    if items.is_empty() {
        let example = match source.what {
            "network" => EXAMPLE,
            _ => LOSS_EXAMPLE,
        };
        return Err(Error::Text(format!(
            "the text of the {} is empty; {example}",
            source.what
        )));
    }
    Ok(items)
}

/// Appends the layers of one `Sequential`, `prefix` before their keys. The
/// recursion is bounded by the reader, and `depth` by [`MAX_DEPTH`].
fn flatten(
    source: Source<'_>,
    items: Vec<Item>,
    prefix: &str,
    depth: usize,
    layers: &mut Vec<LayerSpec>,
) -> Result<()> {
    let mut names = HashSet::new();
    for (i, item) in ordered(source, items)?.into_iter().enumerate() {
        let name = match item.label {
            Some(label) if label.child => {
                check_name(source, &label)?;
                label.name
            }
            Some(label) => {
                let hint = "it takes layers, separated by commas";
                let message = format!("Sequential has no argument {}", quoted(&label.name));
                return Err(source.error(label.place, message, hint));
            }
            None => i.to_string(),
        };
        let Value::Call { name: kind, args } = item.value else {
            let message = format!("expected a layer, found {}", item.value.describe());
            let hint = match item.value {
                Value::List(_) => "Sequential takes the layers themselves, without a list",
                _ => EXAMPLE,
            };
            return Err(source.error(item.place, message, hint));
        };
        let key = format!("{prefix}{name}");
        if !names.insert(name) {
            let message = format!("a second layer is called {}", quoted(&key));
            return Err(source.error(item.place, message, "give each layer a name of its own"));
        }
        let kind = bare(&kind).to_string();
        let args = args.unwrap_or_default();
        if kind == "Sequential" {
            if depth == MAX_DEPTH {
                return Err(source.error(
                    item.place,
                    format!("more than {MAX_DEPTH} Sequentials are inside one another"),
                    "one flat Sequential computes the same",
                ));
            }
            flatten(source, args, &format!("{key}."), depth + 1, layers)?;
            continue;
        }
        let holds_layers = |item: &Item| item.label.as_ref().is_some_and(|label| label.child);
        if args.iter().any(holds_layers) {
            return Err(source.error(
                item.place,
                format!("{} holds layers but is not Sequential", quoted(&kind)),
                "its printout does not tell what its forward() computes; if it applies these \
                 layers one after the other, write Sequential in its place",
            ));
        }
        if layers.len() == MAX_LAYERS {
            let message = format!("more than {MAX_LAYERS} layers");
            let hint = "no network of this library has so many; is the text repeated?";
            return Err(source.error(item.place, message, hint));
        }
        layers.push(LayerSpec {
            kind,
            key,
            args,
            place: item.place,
        });
    }
    Ok(())
}

/// The items of a `Sequential`; `OrderedDict([('name', layer), ...])` becomes
/// named layers.
fn ordered(source: Source<'_>, items: Vec<Item>) -> Result<Vec<Item>> {
    if !(items.len() == 1 && items.iter().all(is_ordered_dict)) {
        return Ok(items);
    }
    let wrong = |place| {
        source.error(
            place,
            "expected OrderedDict([('name', layer), ...])",
            "a list of pairs, each a name in quotes and a layer",
        )
    };
    let mut named = Vec::new();
    for dict in items {
        let mut args = match dict.value {
            Value::Call { args, .. } => args.unwrap_or_default(),
            _ => return Err(wrong(dict.place)),
        };
        let pairs = match (args.pop(), args.is_empty()) {
            (
                Some(Item {
                    label: None,
                    value: Value::List(pairs),
                    ..
                }),
                true,
            ) => pairs,
            _ => return Err(wrong(dict.place)),
        };
        for pair in pairs {
            let Value::List(pair_items) = pair.value else {
                return Err(wrong(pair.place));
            };
            let Ok([key, mut layer]) = <[Item; 2]>::try_from(pair_items) else {
                return Err(wrong(pair.place));
            };
            let Value::Text(name) = key.value else {
                return Err(wrong(key.place));
            };
            layer.label = Some(Label {
                name,
                child: true,
                place: key.place,
            });
            named.push(layer);
        }
    }
    Ok(named)
}

fn is_ordered_dict(item: &Item) -> bool {
    matches!(&item.value, Value::Call { name, .. }
        if name == "OrderedDict" || name == "collections.OrderedDict")
}

fn check_name(source: Source<'_>, label: &Label) -> Result<()> {
    let name = &label.name;
    if name.is_empty() || name.len() > MAX_NAME || !name.chars().all(in_key) {
        return Err(source.error(
            label.place,
            format!("a layer cannot be called {}", quoted(name)),
            format!("use letters, digits, `_` and `-`, {MAX_NAME} bytes at most"),
        ));
    }
    Ok(())
}

#[cfg(test)]
mod tests;
