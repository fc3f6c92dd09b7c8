//! Where texts are shown: how wide that is, and whether it can show more than ASCII.
//! Both belong to the process, as its stdout does: the command line sets them once,
//! before anything is written.

use std::borrow::Cow;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

/// The width where nobody says another: of files and pipes.
pub const WIDTH: usize = 160;

static WIDE: AtomicUsize = AtomicUsize::new(WIDTH);
static ASCII: AtomicBool = AtomicBool::new(false);

/// Sets the width of tables, in columns, and whether all texts are to be ASCII.
pub fn set(width: usize, ascii: bool) {
    WIDE.store(width, Ordering::Relaxed);
    ASCII.store(ascii, Ordering::Relaxed);
}

/// The width of tables, in columns.
pub fn width() -> usize {
    WIDE.load(Ordering::Relaxed)
}

/// Whether all texts are to be ASCII.
pub fn is_ascii() -> bool {
    ASCII.load(Ordering::Relaxed)
}

/// A text as it may be shown here.
pub fn shown(text: &str) -> Cow<'_, str> {
    match is_ascii() {
        true => ascii(text),
        false => Cow::Borrowed(text),
    }
}

/// What stands for the characters of our own texts.
const REPLACED: [(char, &str); 38] = [
    // Of formulas.
    ('\u{1d40}', "^T"),    // transposed
    ('\u{2113}', "l"),     // the loss beside a network's own L
    ('\u{2202}', "d"),     // partial
    ('\u{d7}', "x"),       // times
    ('\u{b7}', "*"),       // middle dot
    ('\u{22c5}', "*"),     // dot operator
    ('\u{b1}', "+-"),      // plus or minus
    ('\u{2212}', "-"),     // minus
    ('\u{2264}', "<="),    // at most
    ('\u{2265}', ">="),    // at least
    ('\u{2260}', "!="),    // not equal
    ('\u{2248}', "~"),     // about
    ('\u{221e}', "inf"),   // infinity
    ('\u{221a}', "sqrt "), // root
    ('\u{2211}', "sum "),  // sum
    ('\u{3c3}', "sigma"),
    ('\u{b2}', "^2"),
    ('\u{b3}', "^3"),
    ('\u{b5}', "u"),  // micro
    ('\u{3bc}', "u"), // mu
    ('\u{2192}', "->"),
    ('\u{2190}', "<-"),
    // Of sentences.
    ('\u{a0}', " "),
    ('\u{2013}', "-"),
    ('\u{2014}', "--"),
    ('\u{2018}', "'"),
    ('\u{2019}', "'"),
    ('\u{201c}', "\""),
    ('\u{201d}', "\""),
    ('\u{2022}', "*"),
    ('\u{2026}', "..."),
    // Of bars and frames.
    ('\u{2500}', "-"),
    ('\u{2502}', "|"),
    ('\u{253c}', "+"),
    ('\u{2550}', "="),
    ('\u{2588}', "#"),
    ('\u{2591}', "."),
    ('\u{256a}', "+"),
];

/// A text in ASCII: our own signs by others (`^T`), and letters that came with a
/// name or a file escaped (`\u{e9}`), so that none is lost.
pub fn ascii(text: &str) -> Cow<'_, str> {
    if text.is_ascii() {
        return Cow::Borrowed(text);
    }
    let mut out = String::with_capacity(text.len() + 16);
    for c in text.chars() {
        match REPLACED.iter().find(|(sign, _)| *sign == c) {
            Some((_, instead)) => out.push_str(instead),
            None if c.is_ascii() => out.push(c),
            None => out.extend(c.escape_unicode()),
        }
    }
    Cow::Owned(out)
}

/// JSON in ASCII: the same document, with escapes in its strings.
pub fn ascii_json(text: &str) -> Cow<'_, str> {
    if text.is_ascii() {
        return Cow::Borrowed(text);
    }
    let mut out = String::with_capacity(text.len() + 16);
    for c in text.chars() {
        match c.is_ascii() {
            true => out.push(c),
            // Only strings hold such characters.
            false => {
                let mut pair = [0; 2];
                for unit in c.encode_utf16(&mut pair) {
                    out.push_str(&format!("\\u{unit:04x}"));
                }
            }
        }
    }
    Cow::Owned(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signs_are_replaced_and_letters_escaped() {
        assert_eq!(ascii("h0 = x @ W0\u{1d40}"), "h0 = x @ W0^T");
        assert_eq!(ascii("\u{2202}L/\u{2202}x \u{2264} 1"), "dL/dx <= 1");
        assert_eq!(ascii("caf\u{e9}.npy"), "caf\\u{e9}.npy");
        assert!(matches!(ascii("plain"), Cow::Borrowed(_)));
        assert!(REPLACED.iter().all(|(_, instead)| instead.is_ascii()));
    }

    #[test]
    fn json_in_ascii_is_the_same_document() {
        let value = serde_json::json!({ "\u{e9}": ["\u{1d40}\"\\", "\u{1f600}"] });
        let text = format!("{value:#}");
        let plain = ascii_json(&text);
        assert!(
            plain.is_ascii() && plain.contains("\\ud83d\\ude00"),
            "{plain}"
        );
        let back: serde_json::Value = serde_json::from_str(&plain).unwrap();
        assert_eq!(back, value);
    }

    /// A sign that a text of ours has and this table has not would be escaped.
    #[test]
    fn every_sign_of_our_own_texts_has_one_in_its_place() {
        fn walk(folder: &std::path::Path, seen: &mut usize) {
            for entry in std::fs::read_dir(folder).unwrap() {
                let path = entry.unwrap().path();
                if path.is_dir() {
                    walk(&path, seen);
                    continue;
                }
                let text = std::fs::read_to_string(&path).unwrap();
                let code = text.split("#[cfg(test)]").next().unwrap();
                let lines = code.lines().map(str::trim);
                for line in lines.filter(|line| !line.starts_with("//")) {
                    for sign in line.chars().filter(|c| !c.is_ascii()) {
                        let known = REPLACED.iter().any(|(known, _)| *known == sign);
                        assert!(known, "{}: {sign} in {line}", path.display());
                        *seen += 1;
                    }
                }
            }
        }
        let mut seen = 0;
        let src = concat!(env!("CARGO_MANIFEST_DIR"), "/src");
        walk(src.as_ref(), &mut seen);
        assert!(seen >= 4, "{seen} signs: does this test still look?");
    }
}
