//! Writing: data to stdout, words about it to stderr, colours where wanted.

use std::io::{ErrorKind, Write};

use wgrad::report::{Report, json as as_json, text as as_text};
use wgrad::{Error, Result, number};

use super::export::Export;
use super::{Color, Outcome};

/// Decides on colours for both streams. `auto` heeds NO_COLOR and whether the
/// stream is a terminal.
pub fn set_color(color: Color) {
    let choice = match color {
        Color::Auto => anstream::ColorChoice::Auto,
        Color::Always => anstream::ColorChoice::Always,
        Color::Never => anstream::ColorChoice::Never,
    };
    choice.write_global();
}

/// Writes to stdout. A reader that has gone away (`wgrad | head`) ends the
/// output and is no error.
pub fn data(text: &str) -> Result<()> {
    let mut out = anstream::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(e) if e.kind() != ErrorKind::BrokenPipe => Err(Error::file("stdout", e.to_string())),
        _ => Ok(()),
    }
}

/// Writes a document that another program reads to stdout.
pub fn document(text: &str) -> Result<()> {
    data(text)
}

/// Writes a text to the file that was asked for, or else to stdout.
pub fn text(file: Option<Export>, text: &str) -> Result<()> {
    match file {
        Some(file) => {
            let path = file.path().display().to_string();
            file.write(text)?;
            notice(&format!(
                "wrote {path}, {}",
                number::bytes(text.len() as u64)
            ));
            Ok(())
        }
        None => data(text),
    }
}

/// Writes a JSON document to stdout.
pub fn json(value: &serde_json::Value) -> Result<()> {
    data(&format!("{value:#}\n"))
}

/// How much of a report is written as text.
#[derive(Clone, Copy)]
pub struct Parts {
    /// The worked solution.
    pub worked: bool,
    /// The table of the values with a public name.
    pub overview: bool,
}

/// Writes a report, and says whether it is good.
pub fn report(report: &Report, in_json: bool, parts: Parts) -> Result<Outcome> {
    if in_json {
        json(&as_json::report(report))?;
    } else {
        data(&as_text::heading(report))?;
        if parts.worked {
            data(&as_text::worked_solution(report))?;
        }
        data(&as_text::sheet(report))?;
        if parts.overview {
            data(&as_text::overview(report))?;
        }
        data(&as_text::nonfinite(report))?;
        data(&as_text::failures(report))?;
        data(&format!("\n{}", as_text::closing(report)))?;
    }
    Ok(if report.tally().passed() {
        Outcome::Good
    } else {
        Outcome::Differs
    })
}

/// Tells something that is no error.
pub fn notice(text: &str) {
    tell("\x1b[33mnotice:\x1b[0m", text);
}

/// Tells what is being done.
pub fn progress(text: &str) {
    anstream::eprintln!("{text}");
}

/// Tells what went wrong.
pub fn error(text: &str) {
    tell("\x1b[31merror:\x1b[0m", text);
}

/// Writes to stderr. Where that is closed or full there is nobody to tell, and
/// the exit code says the rest.
fn tell(word: &str, text: &str) {
    // Names of files and options may hold anything; lines are our own.
    let lines: Vec<_> = text.split('\n').map(number::escaped).collect();
    let _ = writeln!(anstream::stderr().lock(), "{word} {}", lines.join("\n"));
}
