//! From text to a list of layers. A network is given as people have it at
//! hand: PyTorch code (`nn.Sequential(nn.Linear(4, 2), nn.ReLU())`) or what
//! `print(model)` shows. Both are nested calls, so one small reader of calls
//! serves both, and losses too; which layers and arguments exist is the
//! business of the tables, not of this module.
//!
//! The text may come from anywhere: its size, its depth and the number of
//! layers are bounded, and nothing here panics.

use std::collections::HashSet;

use super::source::{Place, Source, quoted};
use super::token::{Token, Tokens, Word, in_key};
use crate::error::{Error, Result};

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

struct Reader<'t> {
    tokens: Tokens<'t>,
    /// The brackets that are open. Their number bounds the recursion.
    open: Vec<Token<'t>>,
}

impl<'t> Reader<'t> {
    fn error(&self, place: Place, message: impl AsRef<str>, hint: &str) -> Error {
        self.tokens.source.error(place, message, hint)
    }

    /// The mark that closes the innermost bracket; `None` at the top.
    fn closing(&self) -> Option<char> {
        let open = self.open.last()?;
        Some(if open.word == Word::Mark('[') {
            ']'
        } else {
            ')'
        })
    }

    /// The items up to the closing mark, or to the end of the text.
    fn items(&mut self) -> Result<Vec<Item>> {
        let mut items = Vec::new();
        loop {
            if self.at_end()? {
                return Ok(items);
            }
            items.push(self.item()?);
            if self.tokens.take_mark(',')?.is_some() || self.at_child()? {
                continue;
            }
            if self.at_end()? {
                return Ok(items);
            }
            // At the end of the text `at_end` is true or an error.
            let Some(token) = self.tokens.peek()? else {
                return Ok(items);
            };
            let expected = match self.closing() {
                Some(mark) => format!("expected `,` or `{mark}`, found {}", found(token)),
                None => format!("expected `,` or the end, found {}", found(token)),
            };
            let hint = match (token.word, self.open.last()) {
                (Word::Mark(')' | ']'), Some(open)) => format!(
                    "the bracket opened at line {}, column {} is closed by another kind",
                    open.place.line, open.place.column
                ),
                (Word::Mark(')' | ']'), None) => "no bracket is open here".to_string(),
                (Word::Mark(_), _) => String::new(),
                (_, None) => {
                    format!("give one {} and nothing else", self.tokens.source.what)
                }
                _ => "a comma may be missing before it".to_string(),
            };
            return Err(self.error(token.place, expected, &hint));
        }
    }

    fn at_child(&mut self) -> Result<bool> {
        let token = self.tokens.peek()?;
        Ok(matches!(token.map(|t| t.word), Some(Word::Child(_))))
    }

    /// Takes the closing mark, if it is next. The end of the text closes the
    /// top, and is an error in a bracket.
    fn at_end(&mut self) -> Result<bool> {
        let Some(open) = self.open.last() else {
            return Ok(self.tokens.peek()?.is_none());
        };
        let place = open.place;
        if self.tokens.peek()?.is_none() {
            return Err(self.error(
                place,
                "this bracket is never closed",
                "the text ends inside it; is its end missing?",
            ));
        }
        let Some(mark) = self.closing() else {
            return Ok(false);
        };
        let closed = self.tokens.take_mark(mark)?.is_some();
        if closed {
            self.open.pop();
        }
        Ok(closed)
    }

    fn item(&mut self) -> Result<Item> {
        let first = self.next("a value")?;
        let label = match first.word {
            Word::Child(name) => Some((name, true)),
            Word::Name(name) if self.tokens.take_mark('=')?.is_some() => Some((name, false)),
            _ => None,
        };
        let Some((name, child)) = label else {
            return self.value(first, None);
        };
        let label = Label {
            name: name.to_string(),
            child,
            place: first.place,
        };
        let first = self.next("a value")?;
        self.value(first, Some(label))
    }

    fn next(&mut self, expected: &str) -> Result<Token<'t>> {
        match self.tokens.take()? {
            Some(token) => Ok(token),
            None => {
                let message = format!("expected {expected}, found the end of the text");
                Err(self.error(
                    self.tokens.end(),
                    message,
                    "is the end of the text missing?",
                ))
            }
        }
    }

    fn value(&mut self, first: Token<'t>, label: Option<Label>) -> Result<Item> {
        let value = match first.word {
            Word::Name("True") => Value::Bool(true),
            Word::Name("False") => Value::Bool(false),
            Word::Name("None") => Value::None,
            Word::Name(name) => {
                let args = match self.tokens.take_mark('(')? {
                    Some(open) => Some(self.inside(open)?),
                    None => None,
                };
                let name = name.to_string();
                Value::Call { name, args }
            }
            Word::Number(digits) => self.number(digits, first.place)?,
            Word::Text(text) => Value::Text(text.to_string()),
            Word::Mark('(' | '[') => Value::List(self.inside(first)?),
            Word::Mark(_) | Word::Child(_) => {
                let message = format!("expected a value, found {}", found(first));
                let hint = "a layer, a number, a string, True or False may stand here";
                return Err(self.error(first.place, message, hint));
            }
        };
        Ok(Item {
            label,
            value,
            place: first.place,
        })
    }

    fn inside(&mut self, open: Token<'t>) -> Result<Vec<Item>> {
        if self.open.len() == MAX_BRACKETS {
            return Err(self.error(
                open.place,
                format!("more than {MAX_BRACKETS} brackets are open here"),
                "nest less deeply; a Sequential of Sequentials computes what one flat one does",
            ));
        }
        self.open.push(open);
        self.items()
    }

    fn number(&self, digits: &str, place: Place) -> Result<Value> {
        let plain = digits.replace('_', "");
        if plain.contains(['.', 'e', 'E']) {
            if let Ok(value) = plain.parse() {
                return Ok(Value::Float(value));
            }
        } else if let Ok(value) = plain.parse() {
            return Ok(Value::Int(value));
        }
        Err(self.error(
            place,
            "this number is too large",
            "sizes have a handful of digits",
        ))
    }
}

fn found(token: Token<'_>) -> String {
    match token.word {
        Word::Name(name) => quoted(name),
        Word::Number(digits) => quoted(digits),
        Word::Text(text) => format!("the string {}", quoted(text)),
        Word::Child(name) => quoted(&format!("({name}):")),
        Word::Mark(mark) => format!("`{mark}`"),
    }
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
mod tests {
    use super::*;

    fn keys(text: &str) -> Vec<(String, String)> {
        let spec = parse_network(text).unwrap();
        spec.layers.into_iter().map(|l| (l.key, l.kind)).collect()
    }

    fn refused(text: &str) -> String {
        parse_network(text).unwrap_err().to_string()
    }

    fn pairs(list: &[(&str, &str)]) -> Vec<(String, String)> {
        let own = |&(a, b): &(&str, &str)| (a.to_string(), b.to_string());
        list.iter().map(own).collect()
    }

    #[test]
    fn code_as_people_write_it() {
        let expected = pairs(&[("0", "Linear"), ("1", "ReLU"), ("2", "Linear")]);
        for text in [
            "Sequential(Linear(4, 2, bias=False), ReLU(), Linear(2, 1))",
            "nn.Sequential(nn.Linear(4, 2), nn.ReLU(inplace=True), nn.Linear(2, 1),)",
            "model = torch.nn.Sequential(\n  torch.nn.Linear(4, 2),  # in\n  ReLU,\n  Linear(2, 1,),\n)\n",
            "self.net = Sequential(Linear(in_features=4, out_features=2), ReLU(), Linear(2, 1))",
            "Linear(4, 2), ReLU(), Linear(2, 1)",
            "(0): Linear(4, 2)\n(1): ReLU()\n(2): Linear(2, 1)",
            "\u{a0}Sequential(\r\n\tLinear(4, 2),\r\n\tReLU(),\r\n\tLinear(2, 1)\r\n)\r\n",
        ] {
            assert_eq!(keys(text), expected, "{text}");
        }
        assert_eq!(keys("Linear(4, 2)"), pairs(&[("", "Linear")]));
        assert_eq!(keys("Sequential(Linear(4, 2))"), pairs(&[("0", "Linear")]));
    }

    #[test]
    fn printed_models_give_the_keys() {
        let text = "Sequential(
  (fc1): Linear(in_features=4, out_features=2, bias=False)
  (act): ReLU()
  (2): Sequential(
    (0): Linear(in_features=2, out_features=1, bias=True)
    (1): Sequential()
    (2): Sigmoid()
  )
)";
        let expected = pairs(&[
            ("fc1", "Linear"),
            ("act", "ReLU"),
            ("2.0", "Linear"),
            ("2.2", "Sigmoid"),
        ]);
        assert_eq!(keys(text), expected);
    }

    #[test]
    fn ordered_dicts_give_the_keys() {
        let text = "nn.Sequential(OrderedDict([
            ('fc-1', nn.Linear(4, 2)), ('rest', nn.Sequential(nn.ReLU())),]))";
        let expected = pairs(&[("fc-1", "Linear"), ("rest.0", "ReLU")]);
        assert_eq!(keys(text), expected);
        let alone = "OrderedDict([('a', ReLU()), ('b', ReLU())])";
        assert_eq!(keys(alone), pairs(&[("a", "ReLU"), ("b", "ReLU")]));
        assert!(refused("Sequential(OrderedDict(ReLU()))").contains("expected OrderedDict(["));
        assert!(
            refused("Sequential(OrderedDict([('a.b', ReLU())]))")
                .contains("cannot be called `a.b`")
        );
    }

    #[test]
    fn values_and_places() {
        let spec =
            parse_network("Sequential(\n  L(4, -0.5, b=True, c='x', d=y, e=(1, [2]), f=None))")
                .unwrap();
        let layer = &spec.layers[0];
        assert_eq!(
            (layer.place.offset, layer.place.line, layer.place.column),
            (14, 2, 3)
        );
        let values: Vec<_> = layer.args.iter().map(|a| a.value.describe()).collect();
        assert_eq!(
            values,
            [
                "4",
                "-0.5",
                "True",
                "the string `x`",
                "`y`",
                "a list",
                "None"
            ]
        );
    }

    #[test]
    fn what_is_wrong_is_pointed_at() {
        assert_eq!(
            refused("Sequential(\n  Linear(4, 2,\n  ReLU()"),
            "network, line 2, column 9: this bracket is never closed\n  \
               2 |   Linear(4, 2,\n    \
                 |         ^\n  \
             hint: the text ends inside it; is its end missing?"
        );
        assert_eq!(
            refused("Sequential(Linear(4 2))"),
            "network, line 1, column 21: expected `,` or `)`, found `2`\n  \
               1 | Sequential(Linear(4 2))\n    \
                 |                     ^\n  \
             hint: a comma may be missing before it"
        );
        for (text, part) in [
            ("", "the text of the network is empty; write layers"),
            ("# nothing", "the text of the network is empty"),
            ("Sequential()", "the network has no layer"),
            ("Sequential", "the network has no layer"),
            (
                "Sequential(ReLU()))",
                "column 19: expected `,` or the end, found `)`",
            ),
            ("Sequential(ReLU(])", "expected a value, found `]`"),
            (
                "Sequential([ReLU())",
                "column 19: expected `,` or `]`, found `)`",
            ),
            ("Sequential([ReLU()])", "without a list"),
            ("Sequential(ReLU(), 4)", "expected a layer, found 4"),
            ("Sequential(x=ReLU())", "Sequential has no argument `x`"),
            ("a = ReLU(), ReLU()", "stands in a list of layers"),
            (
                "a = ReLU()\nb = ReLU()",
                "give one network and nothing else",
            ),
            ("ReLU(a=", "expected a value, found the end of the text"),
            ("ReLU(,)", "expected a value, found `,`"),
            ("ReLU('a)", "string is not closed"),
            ("Sequential(*layers)", "unexpected character '*'"),
            (
                "Sequential((a): ReLU() (a): ReLU())",
                "a second layer is called `a`",
            ),
            (
                "Net((fc): Linear(2, 1))",
                "`Net` holds layers but is not Sequential",
            ),
            ("Linear(99999999999999999999)", "this number is too large"),
        ] {
            let error = refused(text);
            assert!(error.contains(part), "{text}\n{error}");
        }
    }

    #[test]
    fn limits_hold_and_nothing_overflows() {
        let nested = |depth: usize| {
            let open = "Sequential(".repeat(depth);
            format!("{open}ReLU(){}", ")".repeat(depth))
        };
        assert_eq!(keys(&nested(MAX_DEPTH)).len(), 1);
        assert!(refused(&nested(MAX_DEPTH + 1)).contains("more than 32 Sequentials"));
        assert!(refused(&"(".repeat(MAX_TEXT)).contains("brackets are open"));
        assert!(refused(&"[".repeat(1000)).contains("brackets are open"));
        assert!(refused(&"(0):".repeat(1000)).contains("expected a value"));
        assert!(refused(&" ".repeat(MAX_TEXT + 1)).contains("more than 1048576"));
        assert_eq!(keys(&"ReLU(),".repeat(MAX_LAYERS)).len(), MAX_LAYERS);
        assert!(refused(&"ReLU(),".repeat(MAX_LAYERS + 1)).contains("more than 10000 layers"));
    }

    proptest::proptest! {
        #[test]
        fn any_text_is_read_or_refused(text in "[ -~\\n\u{e9}]{0,80}") {
            let _ = parse_network(&text);
        }

        #[test]
        fn any_words_are_read_or_refused(
            words in proptest::collection::vec(
                proptest::sample::select(vec![
                    "Sequential", "Linear", "(", ")", "[", "]", ",", "=", "4", "-1e999", "'a'",
                    "(0):", "OrderedDict", "\n", "#", "True",
                ]),
                0..40,
            )
        ) {
            if let Ok(spec) = parse_network(&words.concat()) {
                let keys: HashSet<_> = spec.layers.iter().map(|layer| &layer.key).collect();
                proptest::prop_assert_eq!(keys.len(), spec.layers.len());
            }
        }
    }
}
