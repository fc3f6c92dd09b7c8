//! The text that a person gave, and errors that point into it. Every error of
//! this module's parsers shows the line in question with a mark under the
//! place, says what was expected, and how to mend it.

use crate::error::Error;

/// A piece of the text: where it starts and how long it is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Place {
    /// Bytes before it.
    pub offset: usize,
    /// Its length in bytes.
    pub length: usize,
    /// Its line, from 1.
    pub line: usize,
    /// Its column in characters, from 1.
    pub column: usize,
}

/// A text and what it is, for error messages.
#[derive(Clone, Copy, Debug)]
pub struct Source<'t> {
    /// What the text describes: `network` or `loss`.
    pub what: &'static str,
    /// The text itself.
    pub text: &'t str,
}

/// How much of a long line is shown on each side of the place, in characters.
const MOST_BEFORE: usize = 60;
const MOST_AFTER: usize = 60;

impl Source<'_> {
    /// An [`Error::Text`] that points at `place`: message, line, mark, hint.
    pub fn error(&self, place: Place, message: impl AsRef<str>, hint: impl AsRef<str>) -> Error {
        let (before, after) = self.text.split_at(place.offset);
        let before = before.rsplit('\n').next().unwrap_or_default();
        let after = after.split('\n').next().unwrap_or_default();
        let after = after.strip_suffix('\r').unwrap_or(after);

        let seen = before.chars().count();
        let mut shown = String::new();
        if seen > MOST_BEFORE {
            shown.push_str("...");
        }
        shown.extend(before.chars().skip(seen.saturating_sub(MOST_BEFORE)));
        let indent = shown.chars().count();
        shown.extend(after.chars().take(MOST_AFTER));
        if after.chars().nth(MOST_AFTER).is_some() {
            shown.push_str("...");
        }
        // Tabs and other controls would move the mark away from its place.
        let shown = shown.replace(|c: char| c.is_control(), " ");

        let marked = after.get(..place.length).unwrap_or(after);
        let marks = marked.chars().take(MOST_AFTER).count().max(1);
        let number = place.line.to_string();
        let mut text = format!(
            "{}, line {number}, column {}: {}\n  {number} | {shown}\n  {:width$} | {:indent$}{}",
            self.what,
            place.column,
            message.as_ref(),
            "",
            "",
            "^".repeat(marks),
            width = number.len(),
        );
        if !hint.as_ref().is_empty() {
            text.push_str("\n  hint: ");
            text.push_str(hint.as_ref());
        }
        Error::Text(text)
    }
}

/// A name from the text as a message shows it: quoted, cut when long.
pub fn quoted(name: &str) -> String {
    const MOST: usize = 40;
    if name.chars().nth(MOST).is_none() {
        return format!("`{name}`");
    }
    let start: String = name.chars().take(MOST).collect();
    format!("`{start}...`")
}

/// `did you mean ...? ` if one of `known` is close to `name`, else nothing.
pub fn suggestion<'a>(name: &str, known: impl Iterator<Item = &'a str>) -> String {
    let name: Vec<char> = name.to_lowercase().chars().take(64).collect();
    let near = known
        .map(|other| {
            let letters: Vec<char> = other.to_lowercase().chars().collect();
            (distance(&name, &letters), letters.len(), other)
        })
        .filter(|&(far, length, _)| far <= 1 + length / 4)
        .min_by_key(|&(far, ..)| far);
    match near {
        Some((.., other)) => format!("did you mean `{other}`? "),
        None => String::new(),
    }
}

/// Levenshtein's distance: the fewest letters to insert, delete or replace.
fn distance(a: &[char], b: &[char]) -> usize {
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.iter().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, y) in b.iter().enumerate() {
            let replaced = diagonal + usize::from(x != y);
            diagonal = row[j + 1];
            row[j + 1] = replaced.min(diagonal + 1).min(row[j] + 1);
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn near_names_are_suggested_and_far_ones_not() {
        let known = || ["Linear", "ReLU", "Sigmoid"].into_iter();
        assert_eq!(suggestion("linaer", known()), "did you mean `Linear`? ");
        assert_eq!(suggestion("Relu", known()), "did you mean `ReLU`? ");
        assert_eq!(suggestion("Conv2d", known()), "");
        assert_eq!(suggestion(&"x".repeat(100_000), known()), "");
    }

    #[test]
    fn long_lines_are_cut_around_the_place() {
        let text = format!("{}\u{e9}\t!{}", "a".repeat(100), "b".repeat(100));
        let source = Source {
            what: "network",
            text: &text,
        };
        let place = Place {
            offset: 103,
            length: 1,
            line: 1,
            column: 103,
        };
        let shown = source.error(place, "no", "").to_string();
        let lines: Vec<_> = shown.lines().collect();
        assert_eq!(lines[0], "network, line 1, column 103: no");
        let (at, mark) = (lines[1].find('!'), lines[2].find('^'));
        let column = |line: &str, byte| line[..byte].chars().count();
        assert_eq!(
            column(lines[1], at.unwrap()),
            column(lines[2], mark.unwrap())
        );
        assert!(lines[1].ends_with("b..."));
    }
}
