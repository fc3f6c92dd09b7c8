//! Writing: data to stdout, words about it to stderr, colours where wanted, and nothing
//! but ASCII where that is all that can be shown. Every text leaves through here.

use std::io::{self, ErrorKind, IsTerminal, Write};
use std::sync::atomic::{AtomicU8, Ordering};

use wgrad::report::palette::{DETAIL, MISMATCH, NOTICE, PLAIN};
use wgrad::report::{Report, json as as_json, terminal, text as as_text};
use wgrad::{Error, Result, number};

use super::export::Export;
use super::{Color, Outcome, progress};

/// How much is told on stderr beside errors.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Talk {
    Quiet,
    Usual,
    Verbose,
}

static TALK: AtomicU8 = AtomicU8::new(Talk::Usual as u8);

/// Decides on how much is told.
pub fn set_talk(talk: Talk) {
    TALK.store(talk as u8, Ordering::Relaxed);
}

fn talk(least: Talk) -> bool {
    TALK.load(Ordering::Relaxed) >= least as u8
}

/// Whether more is to be told than usual.
pub fn is_verbose() -> bool {
    talk(Talk::Verbose)
}

/// Whether nothing but results and errors is to be told.
pub fn is_quiet() -> bool {
    !talk(Talk::Usual)
}

/// Decides on colours for both streams. `auto` heeds NO_COLOR, CLICOLOR_FORCE and
/// whether the stream is a terminal.
pub fn set_color(color: Color) {
    let choice = match color {
        Color::Auto => anstream::ColorChoice::Auto,
        Color::Always => anstream::ColorChoice::Always,
        Color::Never => anstream::ColorChoice::Never,
    };
    choice.write_global();
}

/// Finds out how wide the terminal is and whether it shows more than ASCII.
pub fn set_terminal(ascii: bool) {
    terminal::set(width(), ascii || !is_utf8(|name| std::env::var(name).ok()));
}

/// COLUMNS, else the terminal's width, else that of files and pipes.
fn width() -> usize {
    /// Of a terminal that does not say.
    const USUAL: usize = 80;
    let positive = |width: &usize| *width > 0;
    let asked = std::env::var("COLUMNS").ok();
    if let Some(width) = asked.and_then(|text| text.parse().ok()).filter(positive) {
        return width;
    }
    match io::stdout().is_terminal() {
        true => terminal_size::terminal_size_of(io::stdout())
            .map_or(USUAL, |(width, _)| usize::from(width.0)),
        false => terminal::WIDTH,
    }
}

/// Whether the locale's characters are those of Unicode: the first of the variables that
/// is set decides, as POSIX has it, and none is the locale C. The console of Windows
/// takes Unicode whatever its code page is.
fn is_utf8(variable: impl Fn(&str) -> Option<String>) -> bool {
    let names = ["LC_ALL", "LC_CTYPE", "LANG"];
    let mut set = names
        .iter()
        .filter_map(|name| variable(name))
        .filter(|v| !v.is_empty());
    match set.next() {
        None => cfg!(windows),
        Some(locale) => {
            let charset = locale.split('.').nth(1).unwrap_or_default();
            let charset = charset.split('@').next().unwrap_or_default();
            cfg!(windows) || ["utf-8", "utf8"].contains(&&*charset.to_ascii_lowercase())
        }
    }
}

/// Writes a text for a person to stdout.
pub fn data(text: &str) -> Result<()> {
    write_out(&terminal::shown(text))
}

/// Writes a document that another program reads to stdout, as it is; only on a terminal
/// it is a text like others.
pub fn document(text: &str) -> Result<()> {
    match io::stdout().is_terminal() {
        true => data(text),
        false => write_out(text),
    }
}

/// Writes a JSON document to stdout.
pub fn json(value: &serde_json::Value) -> Result<()> {
    json_text(&format!("{value:#}\n"))
}

fn json_text(text: &str) -> Result<()> {
    match terminal::is_ascii() {
        true => write_out(&terminal::ascii_json(text)),
        false => write_out(text),
    }
}

/// A reader that has gone away (`wgrad | head`) ends the output and is no error.
fn write_out(text: &str) -> Result<()> {
    let written = progress::aside(|| {
        let mut out = anstream::stdout().lock();
        out.write_all(text.as_bytes()).and_then(|()| out.flush())
    });
    match written {
        Err(e) if e.kind() != ErrorKind::BrokenPipe => Err(Error::file("stdout", e.to_string())),
        _ => Ok(()),
    }
}

/// What sort of text goes to stdout where no file was named.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Sort {
    /// For a person.
    Text,
    Json,
    /// For another program, in an encoding of its own.
    Document,
}

/// Writes a document to the file that was asked for, or else to stdout.
pub fn text(file: Option<Export>, text: &str) -> Result<()> {
    sorted(file, text, Sort::Document)
}

/// Writes a text to the file that was asked for, without colours and in UTF-8, or else
/// to stdout.
pub fn sorted(file: Option<Export>, text: &str, sort: Sort) -> Result<()> {
    let Some(file) = file else {
        return match sort {
            Sort::Text => data(text),
            Sort::Json => json_text(text),
            Sort::Document => document(text),
        };
    };
    let path = file.path().display().to_string();
    let plain = match sort {
        Sort::Text => anstream::adapter::strip_str(text).to_string(),
        _ => text.to_string(),
    };
    file.write(&plain)?;
    let size = number::bytes(plain.len() as u64);
    notice(&format!("wrote {path}, {size}"));
    Ok(())
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
    // What follows takes no time.
    progress::end();
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
        data(&as_text::rounding(report))?;
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
    if talk(Talk::Usual) {
        tell(&format!("{NOTICE}notice:{PLAIN} "), text);
    }
}

/// Tells what --verbose asks for.
pub fn detail(text: &str) {
    if talk(Talk::Verbose) {
        tell(&format!("{DETAIL}info:{PLAIN} "), text);
    }
}

/// Tells a line of something long.
pub fn line(text: &str) {
    if talk(Talk::Usual) {
        tell("", text);
    }
}

/// Writes a result to stderr, where stdout has JSON.
pub fn beside(text: &str) {
    write_err(text);
}

/// Tells what went wrong.
pub fn error(text: &str) {
    tell(&format!("{MISMATCH}error:{PLAIN} "), text);
}

/// Writes to stderr. Where that is closed or full there is nobody to tell, and
/// the exit code says the rest.
fn tell(word: &str, text: &str) {
    // Names of files and options may hold anything; lines are our own.
    let lines: Vec<_> = text.split('\n').map(number::escaped).collect();
    write_err(&format!("{word}{}\n", lines.join("\n")));
}

fn write_err(text: &str) {
    let text = terminal::shown(text);
    let _ = progress::aside(|| anstream::stderr().lock().write_all(text.as_bytes()));
}

/// Prints what clap has to say: help and the version to stdout, errors to stderr. The
/// exit code is clap's.
pub fn usage(error: &clap::Error) -> u8 {
    // The options were not read: those that matter here are looked for.
    let given: Vec<_> = std::env::args_os().skip(1).collect();
    set_terminal(given.iter().any(|a| a == "--ascii"));
    let has = |value: &str| {
        let joined = format!("--color={value}");
        let two = |pair: &[std::ffi::OsString]| pair[0] == "--color" && pair[1] == value;
        given.iter().any(|a| *a == *joined) || given.windows(2).any(two)
    };
    match (has("always"), has("never")) {
        (true, false) => set_color(Color::Always),
        (false, true) => set_color(Color::Never),
        _ => {}
    }
    let text = error.render().ansi().to_string();
    match error.use_stderr() {
        true => write_err(&text),
        // Where it cannot be written there is nobody to read it.
        false => drop(data(&text)),
    }
    u8::try_from(error.exit_code()).unwrap_or(2)
}

/// What the logger writes, on its way to stderr.
pub struct Log;

impl Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        write_err(&String::from_utf8_lossy(bytes));
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Listens to what the library and its drivers log: what RUST_LOG asks for, and for
/// --verbose what wgrad itself has to tell.
pub fn listen() {
    let mut logger = env_logger::Builder::new();
    logger.filter_level(log::LevelFilter::Off);
    if is_verbose() {
        logger.filter_module("wgrad", log::LevelFilter::Info);
    }
    logger
        .parse_default_env()
        .format(|out, record| {
            let text = record.args().to_string();
            let lines = number::escaped(&text);
            match (record.level(), record.target().starts_with("wgrad")) {
                (log::Level::Info, true) => writeln!(out, "{DETAIL}info:{PLAIN} {lines}"),
                (level, _) => writeln!(out, "[{level} {}] {lines}", record.target()),
            }
        })
        .target(env_logger::Target::Pipe(Box::new(Log)))
        .init();
}

#[cfg(test)]
mod tests {
    use super::is_utf8;

    #[test]
    fn the_first_variable_that_is_set_is_the_locale() {
        let of = |all: &str, ctype: &str, lang: &str| {
            is_utf8(|name| {
                let value = match name {
                    "LC_ALL" => all,
                    "LC_CTYPE" => ctype,
                    _ => lang,
                };
                Some(value.to_string())
            })
        };
        for (locale, wanted) in [
            (["", "", "de_DE.UTF-8"], true),
            (["", "", "C.utf8"], true),
            (["", "", "sr_RS.UTF-8@latin"], true),
            (["C", "", "de_DE.UTF-8"], false),
            (["", "POSIX", "de_DE.UTF-8"], false),
            (["en_US.UTF-8", "C", "C"], true),
            (["", "", "de_DE"], false),
            (["", "", "de_DE.ISO-8859-1"], false),
            (["", "", ""], false),
        ] {
            let [all, ctype, lang] = locale;
            assert_eq!(of(all, ctype, lang), wanted || cfg!(windows), "{locale:?}");
        }
    }
}
