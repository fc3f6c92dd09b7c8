//! Answers from a file: numbers with as many digits as were written.

use std::collections::BTreeMap;
use std::path::Path;

use serde::Deserialize;
use serde_json::value::RawValue;

use super::Sheet;
use super::template::index;
use super::work::{Asked, Work};
use crate::error::{Error, Result};
use crate::io;
use crate::number::printable;

/// The longest file of answers, in bytes.
const MOST_BYTES: u64 = 1 << 20;
/// The longest number, in characters.
const MOST_DIGITS: usize = 40;

/// A number as it was written.
#[derive(Clone, PartialEq, Debug)]
pub struct Written {
    /// Its text.
    pub text: String,
    /// Its value.
    pub value: f64,
    /// Half a unit of its last digit.
    pub half: f64,
}

/// The answer for one value: a number or nothing for each element.
#[derive(Clone, PartialEq, Debug)]
pub struct Answer {
    /// The elements, row by row.
    pub cells: Vec<Option<Written>>,
    /// Whether rows and columns are swapped (a weight's gradient of the transpose's
    /// shape).
    pub swapped: bool,
}

impl Written {
    /// A decimal number.
    fn read(text: &str) -> Result<Written, String> {
        let shown = || printable(text);
        if text.len() > MOST_DIGITS {
            return Err(format!("a number of more than {MOST_DIGITS} characters"));
        }
        // Not "nan" or "inf", which Rust would read.
        let plain = text
            .chars()
            .all(|c| c.is_ascii_digit() || "+-.eE".contains(c));
        let value: f64 = match text.parse() {
            Ok(value) if plain => value,
            _ => return Err(format!("`{}` is no decimal number", shown())),
        };
        if !value.is_finite() {
            return Err(format!("`{}` is beyond any float64", shown()));
        }
        let (digits, exponent) = text.split_once(['e', 'E']).unwrap_or((text, "0"));
        let decimals = digits.split_once('.').map_or(0, |(_, d)| d.len());
        // At most `MOST_DIGITS` characters; what is beyond i32 is 0 or infinite anyway.
        let exponent: i32 = exponent.parse().unwrap_or(0);
        Ok(Written {
            text: text.to_string(),
            value,
            half: 0.5 * 10f64.powi(exponent.saturating_sub(decimals as i32)),
        })
    }
}

#[derive(Deserialize)]
struct File {
    sheet: Option<serde_json::Value>,
    answers: Option<BTreeMap<String, Box<RawValue>>>,
}

/// Reads the answers to a sheet, in the order of [`Work::asked`].
///
/// # Errors
/// [`Error::File`]: not a file of answers; answers to another sheet; a value that is
/// not there or not asked for, of another shape, or no number.
pub fn read(path: &Path, sheet: &Sheet, work: &Work) -> Result<Vec<Answer>> {
    let text = io::read_text(path, MOST_BYTES)?;
    parse(&text, sheet, work).map_err(|reason| Error::file(path, reason))
}

/// As [`read`], from a text.
///
/// # Errors
/// What is wrong with the text.
pub fn parse(text: &str, sheet: &Sheet, work: &Work) -> Result<Vec<Answer>, String> {
    let file: File = serde_json::from_str(text).map_err(|e| {
        format!(
            "no file of answers: {e}; start from answers.template.json, and write numbers or, \
             where there is no answer, null (JSON has no NaN)"
        )
    })?;
    if let Some(of) = &file.sheet
        && *of != sheet.about
    {
        return Err(format!(
            "answers to another sheet, {}; this one is {}",
            printable(&of.to_string()),
            sheet.about
        ));
    }
    let answers = file.answers.ok_or(
        "there is no \"answers\" in it; start from answers.template.json, whose \"answers\" are \
         to be filled in",
    )?;
    let names = || {
        let names: Vec<_> = work.asked.iter().map(|a| a.name.as_str()).collect();
        names.join(", ")
    };
    if let Some(name) = answers
        .keys()
        .find(|k| work.asked.iter().all(|a| a.name != **k))
    {
        let name = printable(name);
        return Err(format!(
            "`{name}` is not asked for; it asks for {}",
            names()
        ));
    }
    let mut all = Vec::with_capacity(work.asked.len());
    for asked in &work.asked {
        let Some(raw) = answers.get(&asked.name) else {
            return Err(format!(
                "`{}` is missing; where there is no answer, leave null (it asks for {})",
                asked.name,
                names()
            ));
        };
        let answer = answer(raw, asked, work).map_err(|e| format!("`{}`: {e}", asked.name))?;
        all.push(answer);
    }
    Ok(all)
}

fn answer(raw: &RawValue, asked: &Asked, work: &Work) -> Result<Answer, String> {
    if raw.get().trim() == "null" {
        return Ok(Answer {
            cells: vec![None; asked.count()],
            swapped: false,
        });
    }
    if asked.picks.is_some() {
        return Ok(Answer {
            cells: picked(raw, asked)?,
            swapped: false,
        });
    }
    let mut cells = Vec::with_capacity(asked.count());
    let Err(reason) = fill(raw, &asked.dims, &mut cells) else {
        return Ok(Answer {
            cells,
            swapped: false,
        });
    };
    // A product in the wrong order has the shape of the transpose.
    if let ([rows, columns], true) = (&asked.dims[..], work.is_of_weight(asked.node.index()))
        && rows != columns
    {
        cells.clear();
        if fill(raw, &[*columns, *rows], &mut cells).is_ok() {
            return Ok(Answer {
                cells,
                swapped: true,
            });
        }
    }
    Err(reason)
}

/// The numbers by the index of their elements.
fn picked(raw: &RawValue, asked: &Asked) -> Result<Vec<Option<Written>>, String> {
    let text = raw.get().trim();
    let names: Vec<String> = (0..asked.count())
        .map(|i| format!("{:?}", asked.index(i)))
        .collect();
    let wanted = || {
        format!(
            "numbers by index are wanted, {{\"{}\": ..}}, for {}",
            names.first().map_or("", String::as_str),
            names.join(", ")
        )
    };
    if !text.starts_with('{') {
        return Err(format!("{}; got {}", wanted(), brief(text)));
    }
    let entries: BTreeMap<String, &RawValue> =
        serde_json::from_str(text).map_err(|e| e.to_string())?;
    let mut cells: Vec<Option<Option<Written>>> = vec![None; names.len()];
    for (key, value) in entries {
        let at = index(&key).map(|index| format!("{index:?}"));
        let place = at.and_then(|at| names.iter().position(|name| *name == at));
        let Some(place) = place else {
            let key = printable(&key).into_owned();
            return Err(format!("{}; `{key}` is none of them", wanted()));
        };
        if cells[place].is_some() {
            return Err(format!("{} is answered twice", names[place]));
        }
        let cell = number(value.get().trim()).map_err(|e| format!("{}: {e}", names[place]))?;
        cells[place] = Some(cell);
    }
    let missing = cells.iter().position(Option::is_none);
    match missing {
        Some(place) => Err(format!(
            "{} is missing; where there is no answer, leave null",
            names[place]
        )),
        None => Ok(cells.into_iter().flatten().collect()),
    }
}

/// Appends the numbers of nested lists of this shape.
fn fill(raw: &RawValue, dims: &[usize], cells: &mut Vec<Option<Written>>) -> Result<(), String> {
    let text = raw.get().trim();
    let [size, rest @ ..] = dims else {
        cells.push(number(text)?);
        return Ok(());
    };
    let wanted = || match rest {
        [] => format!("a list of {size} numbers is wanted"),
        _ => format!("a list of rows is wanted, {size} of {rest:?} numbers"),
    };
    if !text.starts_with('[') {
        return Err(format!("{}, got {}", wanted(), brief(text)));
    }
    let items: Vec<&RawValue> = serde_json::from_str(text).map_err(|e| e.to_string())?;
    if items.len() != *size {
        return Err(format!("{}, got {} items", wanted(), items.len()));
    }
    items
        .into_iter()
        .try_for_each(|item| fill(item, rest, cells))
}

/// A number, one in quotes (which keeps its zeros in any program), or null.
fn number(text: &str) -> Result<Option<Written>, String> {
    if text == "null" {
        return Ok(None);
    }
    if text.starts_with('[') || text.starts_with('{') {
        return Err(format!("a number is wanted, got {}", brief(text)));
    }
    let inner = match text.starts_with('"') {
        true => serde_json::from_str(text).map_err(|e| e.to_string())?,
        false => text.to_string(),
    };
    Written::read(inner.trim()).map(Some)
}

fn brief(text: &str) -> String {
    let start: String = text.chars().take(40).collect();
    let more = if start.len() < text.len() { ".." } else { "" };
    format!("{}{more}", printable(&start))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_is_as_precise_as_it_is_written() {
        for (text, value, half) in [
            ("0.50", 0.5, 0.005),
            ("-3", -3.0, 0.5),
            ("1.25e-3", 0.00125, 0.000005),
            ("7.", 7.0, 0.5),
            ("2E2", 200.0, 50.0),
        ] {
            let written = Written::read(text).unwrap();
            assert_eq!(written.value, value);
            assert!((written.half - half).abs() <= 1e-12 * half, "{written:?}");
        }
        for text in [
            "nan",
            "inf",
            "",
            "1,5",
            "1e999",
            "0x1",
            "e",
            &"1".repeat(41),
        ] {
            assert!(Written::read(text).is_err(), "{text}");
        }
    }
}
