//! The colours of what is written for a terminal: one for each meaning, as ANSI codes.
//! Whoever prints strips them where they are not wanted.

/// A heading.
pub const HEADING: &str = "\x1b[1m";
/// What belongs to the forward walk.
pub const FORWARD: &str = "\x1b[36m";
/// What belongs to the reverse walk.
pub const BACKWARD: &str = "\x1b[35m";
/// What agrees.
pub const GOOD: &str = "\x1b[32m";
/// What differs, and every other error.
pub const MISMATCH: &str = "\x1b[31m";
/// What wants attention and is no error.
pub const NOTICE: &str = "\x1b[33m";
/// What was asked for in so many words.
pub const DETAIL: &str = "\x1b[2m";
/// The end of a colour.
pub const PLAIN: &str = "\x1b[0m";

/// Words of verdicts, as tables have them in their cells.
const VERDICTS: [(&str, &str); 6] = [
    ("PASS", GOOD),
    ("ok", GOOD),
    ("FAIL", MISMATCH),
    ("WRONG", MISMATCH),
    ("DIFFERS", MISMATCH),
    ("OUTSIDE", MISMATCH),
];

/// A walk's colour.
pub fn walk(role: crate::graph::Role) -> &'static str {
    match role {
        crate::graph::Role::Forward => FORWARD,
        crate::graph::Role::Backward => BACKWARD,
    }
}

/// A line of a table with its verdicts in their colours.
pub fn verdicts(line: &str) -> String {
    let mut out = String::with_capacity(line.len());
    for word in line.split_inclusive(' ') {
        let bare = word.trim_end();
        match VERDICTS.iter().find(|(verdict, _)| *verdict == bare) {
            Some((_, colour)) => {
                out.extend([*colour, bare, PLAIN, &word[bare.len()..]]);
            }
            None => out.push_str(word),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn verdicts_are_coloured_and_nothing_else_is() {
        assert_eq!(
            verdicts("   loss  1  2 OUTSIDE"),
            "   loss  1  2 \x1b[31mOUTSIDE\x1b[0m"
        );
        assert_eq!(verdicts("PASS  a.ok"), "\x1b[32mPASS\x1b[0m  a.ok");
        assert_eq!(verdicts("PASSED token"), "PASSED token");
    }
}
