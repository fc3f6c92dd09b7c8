//! Arguments of layers and losses: what a table row declares, what the text
//! gives, and the check of one against the other. Layers and losses share it,
//! so that both take positional and keyword values by Python's rules and
//! explain a mistake in the same words.

use super::source::{Place, Source, quoted, suggestion};
use super::text::{Item, Value};
use crate::error::{Error, Result};

/// One argument that a layer or a loss takes.
#[derive(Debug)]
pub struct Argument {
    /// Its name, PyTorch's.
    pub name: &'static str,
    /// What values it takes.
    pub ty: Type,
    /// Its value where none is given; `None` if one must be given.
    pub default: Option<Setting>,
    /// Whether it can only be given by name.
    pub by_name: bool,
    /// Whether a printed model shows it even at its default.
    pub shown: bool,
}

/// What values an argument takes.
#[derive(Debug)]
pub enum Type {
    /// A whole number, 1 or more.
    Size,
    /// `True` or `False`.
    Flag,
    /// One of these strings.
    Choice(&'static [&'static str]),
}

/// The checked value of an argument.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Setting {
    /// Of [`Type::Size`].
    Size(usize),
    /// Of [`Type::Flag`].
    Flag(bool),
    /// Of [`Type::Choice`].
    Choice(&'static str),
}

impl std::fmt::Display for Setting {
    /// As Python writes it.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Setting::Size(size) => write!(f, "{size}"),
            Setting::Flag(true) => write!(f, "True"),
            Setting::Flag(false) => write!(f, "False"),
            Setting::Choice(choice) => write!(f, "'{choice}'"),
        }
    }
}

/// The checked arguments of one layer or loss, in the order of its row.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Args(Vec<Setting>);

// Rows read their own arguments by position. A row that asks for one it does
// not declare is a defect of the row; every row is built in the tests.
impl Args {
    /// The size at `index` in the row; 0 if the row declares no such argument.
    pub fn size(&self, index: usize) -> usize {
        match self.0.get(index) {
            Some(&Setting::Size(size)) => size,
            _ => {
                debug_assert!(false, "argument {index} is no size");
                0
            }
        }
    }

    /// The flag at `index` in the row; false if the row declares no such one.
    pub fn flag(&self, index: usize) -> bool {
        match self.0.get(index) {
            Some(&Setting::Flag(flag)) => flag,
            _ => {
                debug_assert!(false, "argument {index} is no flag");
                false
            }
        }
    }

    /// The choice at `index` in the row; empty if the row declares none.
    pub fn choice(&self, index: usize) -> &'static str {
        match self.0.get(index) {
            Some(&Setting::Choice(choice)) => choice,
            _ => {
                debug_assert!(false, "argument {index} is no choice");
                ""
            }
        }
    }

    /// All values, in the order of the row.
    pub fn settings(&self) -> &[Setting] {
        &self.0
    }
}

/// `Linear(in_features, out_features, bias=True)`.
pub fn signature(name: &str, arguments: &[Argument]) -> String {
    let list: Vec<_> = arguments
        .iter()
        .map(|argument| match &argument.default {
            Some(default) => format!("{}={default}", argument.name),
            None => argument.name.to_string(),
        })
        .collect();
    format!("{name}({})", list.join(", "))
}

/// The call as PyTorch prints it: `Linear(in_features=4, ...)`, `ReLU()`.
pub fn printed(name: &str, arguments: &[Argument], args: &Args) -> String {
    let list: Vec<_> = arguments
        .iter()
        .zip(args.settings())
        .filter(|(argument, setting)| argument.shown || argument.default != Some(**setting))
        .map(|(argument, setting)| format!("{}={setting}", argument.name))
        .collect();
    format!("{name}({})", list.join(", "))
}

/// The values of `arguments` that `items` give to `name`, written at `place`.
///
/// # Errors
///
/// [`Error::Text`] for an argument that is unknown, missing, given twice, of
/// the wrong type or out of its range.
pub(super) fn bind(
    source: Source<'_>,
    name: &str,
    arguments: &[Argument],
    place: Place,
    items: &[Item],
) -> Result<Args> {
    let takes = format!("it is {}", signature(name, arguments));
    let mut settings: Vec<Option<Setting>> = vec![None; arguments.len()];
    let mut named = false;
    for (i, item) in items.iter().enumerate() {
        let index = match &item.label {
            Some(label) => {
                named = true;
                let index = arguments.iter().position(|a| a.name == label.name);
                index.ok_or_else(|| {
                    let near = suggestion(&label.name, arguments.iter().map(|a| a.name));
                    let message = format!("{name} has no argument {}", quoted(&label.name));
                    source.error(label.place, message, format!("{near}{takes}"))
                })?
            }
            None if named => {
                let message = "a value without a name follows one with a name";
                return Err(source.error(item.place, message, takes));
            }
            None if i >= arguments.len() => {
                let count = match arguments.len() {
                    0 => "no argument".to_string(),
                    1 => "at most 1 argument".to_string(),
                    n => format!("at most {n} arguments"),
                };
                let message = format!("{name} takes {count}, this is number {}", i + 1);
                return Err(source.error(item.place, message, takes));
            }
            None => i,
        };
        let argument = &arguments[index];
        if item.label.is_none() && argument.by_name {
            let message = format!("give {name}'s `{}` by name", argument.name);
            return Err(source.error(item.place, message, takes));
        }
        if settings[index].is_some() {
            let message = format!("`{}` is given twice", argument.name);
            let at = item.label.as_ref().map_or(item.place, |label| label.place);
            return Err(source.error(at, message, takes));
        }
        settings[index] = Some(convert(source, argument, item, &takes)?);
    }
    let settings: Result<Vec<_>> = arguments
        .iter()
        .zip(settings)
        .map(|(argument, setting)| {
            setting.or(argument.default).ok_or_else(|| {
                let message = format!("{name} needs `{}`", argument.name);
                source.error(place, message, &takes)
            })
        })
        .collect();
    Ok(Args(settings?))
}

fn convert(source: Source<'_>, argument: &Argument, item: &Item, takes: &str) -> Result<Setting> {
    let wrong = |expected: &str| -> Error {
        let message = format!(
            "`{}` must be {expected}, got {}",
            argument.name,
            item.value.describe()
        );
        source.error(item.place, message, takes)
    };
    match (&argument.ty, &item.value) {
        (Type::Size, Value::Int(0)) => Err(source.error(
            item.place,
            format!("`{}` must be 1 or more, got 0", argument.name),
            "PyTorch lets this pass with a warning; such a layer has nothing to learn",
        )),
        (Type::Size, &Value::Int(value)) => match usize::try_from(value) {
            Ok(size) => Ok(Setting::Size(size)),
            Err(_) => Err(wrong("1 or more")),
        },
        (Type::Size, _) => Err(wrong("a whole number")),
        (Type::Flag, &Value::Bool(flag)) => Ok(Setting::Flag(flag)),
        (Type::Flag, _) => Err(wrong("True or False")),
        (Type::Choice(choices), value) => {
            let chosen = match value {
                Value::Text(text) => choices.iter().find(|choice| *choice == text),
                _ => None,
            };
            let quoted: Vec<_> = choices.iter().map(|c| format!("'{c}'")).collect();
            match chosen {
                Some(choice) => Ok(Setting::Choice(choice)),
                None => Err(wrong(&format!("one of {}", quoted.join(", ")))),
            }
        }
    }
}
