//! Arguments of a layer or a loss: what a table row declares, matched with what
//! was written, by position or by keyword, as Python does it.

use super::source::{Place, Source, quoted, suggestion};
use super::text::{Item, Value};
use crate::error::Result;

/// What an argument may be, and what it is if it is left out.
#[derive(Clone, Copy, PartialEq, Debug)]
pub enum Kind {
    /// A number of features: 1 or more, and required.
    Size,
    /// True or False, with this default.
    Flag(bool),
    /// One of these words, the first being the default.
    Word(&'static [&'static str]),
}

/// An argument that a row declares.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Argument {
    /// Its name.
    pub name: &'static str,
    /// What it may be.
    pub kind: Kind,
}

/// The value of an argument.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Bound {
    /// Of a [`Kind::Size`].
    Size(usize),
    /// Of a [`Kind::Flag`].
    Flag(bool),
    /// Of a [`Kind::Word`].
    Word(&'static str),
}

/// The largest number of features of a layer.
const MOST_FEATURES: i64 = 1 << 24;

/// Matches `items` with `declared`: a value for each, in the declared order.
///
/// # Errors
/// [`Error::Text`](crate::Error::Text): an unknown, repeated, missing or
/// ill-typed argument, or too many.
pub fn bind(
    source: Source<'_>,
    owner: &str,
    place: Place,
    items: &[Item],
    declared: &[Argument],
) -> Result<Vec<Bound>> {
    let names: Vec<_> = declared.iter().map(|a| a.name).collect();
    let takes = if names.is_empty() {
        format!("{owner} takes no arguments")
    } else {
        format!("{owner} takes {}", names.join(", "))
    };
    let mut values: Vec<Option<Bound>> = vec![None; declared.len()];
    let mut by_keyword = false;
    for (i, item) in items.iter().enumerate() {
        let slot = match &item.label {
            Some(label) => {
                by_keyword = true;
                names.iter().position(|n| *n == label.name).ok_or_else(|| {
                    let near = suggestion(&label.name, names.iter().copied());
                    let message = format!("{owner} has no argument {}", quoted(&label.name));
                    source.error(label.place, message, format!("{near}{takes}"))
                })?
            }
            None if by_keyword => {
                let message = "a value by position follows one by keyword";
                return Err(source.error(item.place, message, &takes));
            }
            None if i < declared.len() => i,
            None => {
                let message = format!("{owner} takes {} arguments", declared.len());
                return Err(source.error(item.place, message, &takes));
            }
        };
        if values[slot].is_some() {
            let message = format!("`{}` is given twice", declared[slot].name);
            return Err(source.error(item.place, message, ""));
        }
        values[slot] = Some(value(source, &declared[slot], item)?);
    }
    let mut bound = Vec::with_capacity(declared.len());
    for (value, argument) in values.into_iter().zip(declared) {
        bound.push(match (value, argument.kind) {
            (Some(value), _) => value,
            (None, Kind::Flag(default)) => Bound::Flag(default),
            (None, Kind::Word(words)) if !words.is_empty() => Bound::Word(words[0]),
            (None, _) => {
                let message = format!("{owner} needs `{}`", argument.name);
                return Err(source.error(place, message, &takes));
            }
        });
    }
    Ok(bound)
}

fn value(source: Source<'_>, argument: &Argument, item: &Item) -> Result<Bound> {
    let wrong = |want: &str| {
        let message = format!(
            "`{}` must be {want}, found {}",
            argument.name,
            item.value.describe()
        );
        source.error(item.place, message, "")
    };
    match (argument.kind, &item.value) {
        (Kind::Size, Value::Int(n)) if (1..=MOST_FEATURES).contains(n) => {
            // Checked: from 1 to 2^24.
            Ok(Bound::Size(usize::try_from(*n).unwrap_or(1)))
        }
        (Kind::Size, _) => Err(wrong(&format!("a whole number from 1 to {MOST_FEATURES}"))),
        (Kind::Flag(_), Value::Bool(flag)) => Ok(Bound::Flag(*flag)),
        (Kind::Flag(_), _) => Err(wrong("True or False")),
        (Kind::Word(words), Value::Text(text)) => {
            let found = words.iter().find(|w| **w == text.as_str());
            found
                .map(|w| Bound::Word(w))
                .ok_or_else(|| wrong(&format!("'{}'", words.join("' or '"))))
        }
        (Kind::Word(words), _) => Err(wrong(&format!("'{}'", words.join("' or '")))),
    }
}

impl std::fmt::Display for Bound {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Bound::Size(n) => write!(f, "{n}"),
            Bound::Flag(true) => write!(f, "True"),
            Bound::Flag(false) => write!(f, "False"),
            Bound::Word(word) => write!(f, "'{word}'"),
        }
    }
}

/// The values as Python would write them, those that are their default left
/// out; what is left out cannot be required, so positions stay right only
/// through keywords.
pub fn show(declared: &[Argument], values: &[Bound]) -> String {
    let mut parts = Vec::new();
    for (argument, value) in declared.iter().zip(values) {
        match (argument.kind, value) {
            (Kind::Size, value) => parts.push(value.to_string()),
            (Kind::Flag(default), Bound::Flag(flag)) if default == *flag => {}
            (Kind::Word(words), Bound::Word(word)) if words.first() == Some(word) => {}
            (_, value) => parts.push(format!("{}={value}", argument.name)),
        }
    }
    parts.join(", ")
}
