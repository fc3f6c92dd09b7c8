//! The parser: tokens to items, without meaning.

use super::super::source::{Place, quoted};
use super::super::token::{Token, Tokens, Word};
use super::{Item, Label, MAX_BRACKETS, Value};
use crate::error::{Error, Result};

pub(super) struct Reader<'t> {
    pub tokens: Tokens<'t>,
    /// The brackets that are open. Their number bounds the recursion.
    pub open: Vec<Token<'t>>,
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
    pub fn items(&mut self) -> Result<Vec<Item>> {
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
