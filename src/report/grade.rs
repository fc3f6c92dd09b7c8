//! Marks, for a learner and for a program.

use std::fmt::Write;

use serde_json::{Value, json};

use super::palette::{GOOD, HEADING, MISMATCH, NOTICE, PLAIN};
use super::text::hanging;
use crate::number;
use crate::sheet::{Element, Mark, Sheet, Verdict};

// Writing to a `String` cannot fail, so the results of `write!` are dropped.

/// The wrong or missing elements that are spelled out for a value.
const MOST_SHOWN: usize = 8;

/// How many marks there are of each sort.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Count {
    /// Right.
    pub right: usize,
    /// Wrong by itself.
    pub wrong: usize,
    /// Consistent with wrong answers before.
    pub consistent: usize,
    /// Not or not wholly filled in, or with too few digits.
    pub open: usize,
}

impl Count {
    /// Counts marks.
    pub fn of(marks: &[Mark]) -> Count {
        let mut count = Count::default();
        for mark in marks {
            *match mark.verdict {
                Verdict::Right => &mut count.right,
                Verdict::Carried(_) => &mut count.consistent,
                Verdict::Mistaken(_) | Verdict::Unknown | Verdict::Unclear(_) => &mut count.wrong,
                Verdict::Blank | Verdict::Incomplete | Verdict::Coarse => &mut count.open,
            } += 1;
        }
        count
    }

    /// Whether all is right.
    pub fn passed(self) -> bool {
        self.wrong + self.consistent + self.open == 0
    }
}

/// A list in words.
fn and(names: &[String]) -> String {
    match names {
        [] => String::new(),
        [one] => one.clone(),
        [all @ .., last] => format!("{} and {last}", all.join(", ")),
    }
}

/// What is said of a mark, in lines.
fn words(mark: &Mark) -> Vec<String> {
    let filled = mark.elements.iter().filter(|e| e.given.is_some()).count();
    match &mark.verdict {
        Verdict::Right => Vec::new(),
        Verdict::Blank => vec!["no answer".to_string()],
        Verdict::Incomplete => vec![format!(
            "right so far, {} of {} numbers are not filled in",
            mark.elements.len() - filled,
            mark.elements.len()
        )],
        Verdict::Coarse => vec!["right so far, give more digits (at least two)".to_string()],
        Verdict::Carried(from) => {
            vec![format!("follows rightly from your {}", and(from))]
        }
        Verdict::Mistaken(found) => (found.iter().enumerate())
            .map(|(i, f)| {
                let or = if i == 0 { "" } else { "or " };
                let at = match &f.at[..] {
                    [at] if *at == mark.name => String::new(),
                    at => format!(" (at {})", and(at)),
                };
                let with = match f.with.is_empty() {
                    true => String::new(),
                    false => format!(", on top of your {}", and(&f.with)),
                };
                format!("{or}{}{at}{with}", f.mistake.words())
            })
            .collect(),
        Verdict::Unknown => vec!["matches none of the known mistakes".to_string()],
        Verdict::Unclear(from) => vec![format!(
            "not by a known mistake; it may follow from your {}, of which only some numbers are \
             known: put that right first",
            and(from)
        )],
    }
}

/// The marks for a terminal.
pub fn text(sheet: &Sheet, marks: &[Mark]) -> String {
    let mut out = String::new();
    let _ = writeln!(
        out,
        "sheet    {}\n",
        number::printable(&sheet.about.to_string())
    );
    let width = marks
        .iter()
        .map(|m| m.name.chars().count())
        .max()
        .unwrap_or(0);
    for mark in marks {
        let (colour, word) = match mark.verdict {
            Verdict::Right => (GOOD, "right"),
            Verdict::Carried(_) => (NOTICE, "consistent"),
            Verdict::Mistaken(_) | Verdict::Unknown | Verdict::Unclear(_) => (MISMATCH, "wrong"),
            Verdict::Blank | Verdict::Incomplete | Verdict::Coarse => (NOTICE, "open"),
        };
        let mut lines = words(mark).into_iter();
        let first = lines.next().unwrap_or_default();
        let gap = match first.is_empty() {
            true => 0,
            false => 12 - word.len(),
        };
        let name = &mark.name;
        let indent = " ".repeat(width + 16);
        let first = hanging(&first, indent.len());
        let _ = writeln!(
            out,
            "  {name:width$}  {colour}{word}{PLAIN}{:gap$}{first}",
            ""
        );
        for line in lines {
            let _ = writeln!(out, "{indent}{}", hanging(&line, indent.len()));
        }
        if matches!(mark.verdict, Verdict::Blank | Verdict::Right) {
            continue;
        }
        let open: Vec<&Element> = mark.elements.iter().filter(|e| !e.right).collect();
        for element in open.iter().take(MOST_SHOWN) {
            let index: Vec<_> = element.index.iter().map(usize::to_string).collect();
            let index = match index.is_empty() {
                true => String::new(),
                false => format!("[{}]", index.join(",")),
            };
            let given = element.given.as_deref().unwrap_or("no answer");
            let want = number::show(element.want as f32);
            let _ = writeln!(out, "{indent}{index} {given}, right is {want}");
        }
        if open.len() > MOST_SHOWN {
            let _ = writeln!(out, "{indent}and {} more", open.len() - MOST_SHOWN);
        }
    }
    let count = Count::of(marks);
    let (colour, all) = match count.passed() {
        true => (GOOD, "ALL RIGHT"),
        false => (MISMATCH, "NOT YET"),
    };
    let _ = writeln!(
        out,
        "\n{HEADING}{colour}{all}{PLAIN} {}/{} values right, {} consistent with an earlier error, {} \
         wrong, {} open",
        count.right,
        marks.len(),
        count.consistent,
        count.wrong,
        count.open
    );
    out
}

/// The marks for a program.
pub fn json(sheet: &Sheet, marks: &[Mark]) -> Value {
    let each = marks.iter().map(|mark| {
        let (mistakes, from) = match &mark.verdict {
            Verdict::Mistaken(found) => (&found[..], &[][..]),
            Verdict::Carried(from) => (&[][..], &from[..]),
            _ => (&[][..], &[][..]),
        };
        let mistakes: Vec<_> = mistakes
            .iter()
            .map(|f| json!({ "mistake": f.mistake.name(), "at": f.at, "on_top_of": f.with }))
            .collect();
        let elements: Vec<_> = (mark.elements.iter())
            .map(|e| {
                json!({ "index": e.index, "given": e.given, "value": e.want, "right": e.right })
            })
            .collect();
        json!({
            "name": mark.name,
            "verdict": mark.verdict.name(),
            "mistakes": mistakes,
            "consistent_with": from,
            "words": words(mark),
            "elements": elements,
        })
    });
    let count = Count::of(marks);
    json!({
        "sheet": sheet.about,
        "marks": each.collect::<Vec<_>>(),
        "summary": {
            "passed": count.passed(),
            "right": count.right,
            "consistent": count.consistent,
            "wrong": count.wrong,
            "open": count.open,
            "of": marks.len(),
        },
    })
}
