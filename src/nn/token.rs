//! The words of a network's text: names, numbers, strings, marks, and the
//! `(name):` with which `print(model)` announces a layer. Read one at a time,
//! so that a text costs no memory beyond its own.

use winnow::Parser;
use winnow::Result as Read;
use winnow::combinator::{alt, delimited, opt, repeat};
use winnow::token::{one_of, take_till, take_while};

use super::source::{Place, Source};
use crate::error::Result;

/// One word of the text.
#[derive(Clone, Copy, PartialEq, Debug)]
pub enum Word<'t> {
    /// A name, dots included: `nn.Linear`.
    Name(&'t str),
    /// A number as it was written.
    Number(&'t str),
    /// The inside of a string.
    Text(&'t str),
    /// The name in `(name):`.
    Child(&'t str),
    /// One of `( ) [ ] , = :`.
    Mark(char),
}

/// A word and its place.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Token<'t> {
    /// The word.
    pub word: Word<'t>,
    /// Where it is.
    pub place: Place,
}

/// The tokens of a text, with one token of look-ahead.
pub struct Tokens<'t> {
    /// The text, for errors.
    pub source: Source<'t>,
    rest: &'t str,
    line: usize,
    column: usize,
    ahead: Option<Token<'t>>,
}

impl<'t> Tokens<'t> {
    /// The tokens of `source`.
    pub fn new(source: Source<'t>) -> Self {
        Tokens {
            source,
            rest: source.text,
            line: 1,
            column: 1,
            ahead: None,
        }
    }

    /// The next token without taking it; `None` at the end of the text.
    pub fn peek(&mut self) -> Result<Option<Token<'t>>> {
        if self.ahead.is_none() {
            self.ahead = self.read()?;
        }
        Ok(self.ahead)
    }

    /// Takes the next token.
    pub fn take(&mut self) -> Result<Option<Token<'t>>> {
        let token = self.peek()?;
        self.ahead = None;
        Ok(token)
    }

    /// Takes the next token if it is this mark.
    pub fn take_mark(&mut self, mark: char) -> Result<Option<Token<'t>>> {
        match self.peek()? {
            Some(token) if token.word == Word::Mark(mark) => self.take(),
            _ => Ok(None),
        }
    }

    /// The end of what has been read, for errors about a missing rest.
    pub fn end(&self) -> Place {
        self.here(0)
    }

    fn here(&self, length: usize) -> Place {
        Place {
            offset: self.source.text.len() - self.rest.len(),
            length,
            line: self.line,
            column: self.column,
        }
    }

    fn read(&mut self) -> Result<Option<Token<'t>>> {
        let mut rest = self.rest;
        // `blank` matches nothing at worst; it cannot fail.
        if blank.parse_next(&mut rest).is_ok() {
            self.advance_to(rest);
        }
        let Some(first) = self.rest.chars().next() else {
            return Ok(None);
        };
        let mut rest = self.rest;
        let Ok(word) = word.parse_next(&mut rest) else {
            let place = self.here(first.len_utf8());
            return Err(match first {
                '\'' | '"' => self.source.error(
                    place,
                    "this string is not closed on its line, or holds a backslash",
                    format!("close it with {first}"),
                ),
                _ => self.source.error(
                    place,
                    format!("unexpected character {first:?}"),
                    match self.source.what {
                        "loss" => "write a loss as in PyTorch: BCELoss(reduction='sum')",
                        _ => {
                            "write layers as in PyTorch: \
                             Sequential(Linear(4, 2), ReLU(), Linear(2, 1))"
                        }
                    },
                ),
            });
        };
        let place = self.here(self.rest.len() - rest.len());
        self.advance_to(rest);
        Ok(Some(Token { word, place }))
    }

    fn advance_to(&mut self, rest: &'t str) {
        let passed = &self.rest[..self.rest.len() - rest.len()];
        let last = match passed.rfind('\n') {
            Some(at) => {
                self.line += passed.matches('\n').count();
                self.column = 1;
                &passed[at + 1..]
            }
            None => passed,
        };
        self.column += last.chars().count();
        self.rest = rest;
    }
}

/// Whether `c` may stand inside a layer's name in a model: `fc1`, `layer-2`.
pub fn in_key(c: char) -> bool {
    in_name(c) || c == '-'
}

fn in_name(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

/// White space, comments, and Python's joined lines.
fn blank<'t>(input: &mut &'t str) -> Read<&'t str> {
    let space = take_while(1.., char::is_whitespace).void();
    let comment = ('#', take_till(0.., '\n')).void();
    let joined = ('\\', opt('\r'), '\n').void();
    repeat::<_, _, (), _, _>(0.., alt((space, comment, joined)))
        .take()
        .parse_next(input)
}

fn word<'t>(input: &mut &'t str) -> Read<Word<'t>> {
    alt((
        child.map(Word::Child),
        number.map(Word::Number),
        name.map(Word::Name),
        string('\'').map(Word::Text),
        string('"').map(Word::Text),
        one_of(['(', ')', '[', ']', ',', '=', ':']).map(Word::Mark),
    ))
    .parse_next(input)
}

fn child<'t>(input: &mut &'t str) -> Read<&'t str> {
    delimited('(', take_while(1.., in_key), (')', blank, ':')).parse_next(input)
}

fn name<'t>(input: &mut &'t str) -> Read<&'t str> {
    let start = one_of(|c: char| c.is_alphabetic() || c == '_');
    (start, take_while(0.., |c| in_name(c) || c == '.'))
        .take()
        .parse_next(input)
}

fn digits<'t>(input: &mut &'t str) -> Read<&'t str> {
    (
        one_of('0'..='9'),
        take_while(0.., |c: char| c.is_ascii_digit() || c == '_'),
    )
        .take()
        .parse_next(input)
}

fn number<'t>(input: &mut &'t str) -> Read<&'t str> {
    let sign = |input: &mut &'t str| opt(one_of(['+', '-'])).parse_next(input);
    let whole = (digits, opt(('.', opt(digits)))).void();
    let fraction = ('.', digits).void();
    let exponent = (one_of(['e', 'E']), sign, digits);
    (sign, alt((whole, fraction)), opt(exponent))
        .take()
        .parse_next(input)
}

fn string<'t>(quote: char) -> impl FnMut(&mut &'t str) -> Read<&'t str> {
    move |input| {
        let inside = take_till(0.., move |c| c == quote || c == '\n' || c == '\\');
        delimited(quote, inside, quote).parse_next(input)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(text: &str) -> Vec<Word<'_>> {
        let mut tokens = Tokens::new(Source {
            what: "network",
            text,
        });
        std::iter::from_fn(|| tokens.take().unwrap().map(|t| t.word)).collect()
    }

    #[test]
    fn every_kind_of_word() {
        use Word::*;
        assert_eq!(
            words("nn.A (fc-1) : # all\n ('b', -1_0.5e-3) .5 \\\n\"c\" x=[4]"),
            [
                Name("nn.A"),
                Child("fc-1"),
                Mark('('),
                Text("b"),
                Mark(','),
                Number("-1_0.5e-3"),
                Mark(')'),
                Number(".5"),
                Text("c"),
                Name("x"),
                Mark('='),
                Mark('['),
                Number("4"),
                Mark(']'),
            ]
        );
        assert_eq!(words("4e"), [Number("4"), Name("e")]);
        assert_eq!(words(" # nothing"), []);
    }

    #[test]
    fn places_count_lines_and_characters() {
        let mut tokens = Tokens::new(Source {
            what: "network",
            text: "\u{e9}a\r\n\t\u{e9} b",
        });
        let mut places = Vec::new();
        while let Some(token) = tokens.take().unwrap() {
            let p = token.place;
            places.push((p.offset, p.length, p.line, p.column));
        }
        assert_eq!(places, [(0, 3, 1, 1), (6, 2, 2, 2), (9, 1, 2, 4)]);
    }
}
