//! What is being done, while it is being done: a line at the foot of a terminal.
//!
//! There is one line for the whole process. [`start`] is called once; from then on any
//! part of a subcommand says what it does ([`doing`]) and how far it is ([`done`]), and
//! need not know whether anybody sees it. The line appears when a second has passed, only
//! on a terminal, not with --quiet, and is gone before anything else is written.

use std::io::{IsTerminal, Write, stderr};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use wgrad::check::card::Progress;
use wgrad::report::terminal;

use super::output;

/// What takes less is over before one has read what it is.
const PATIENCE: Duration = Duration::from_secs(1);
const TICK: Duration = Duration::from_millis(120);
/// Where stderr is no terminal, a line for each of so many parts of a sweep.
const PARTS: u64 = 16;

struct Line {
    bar: ProgressBar,
    /// Dropped to tell the thread that shows the line that it need not.
    _waiting: Sender<()>,
}

static LINE: Mutex<Option<Line>> = Mutex::new(None);
/// Whether it is to be seen.
static SHOWN: AtomicBool = AtomicBool::new(false);

fn line() -> MutexGuard<'static, Option<Line>> {
    LINE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Whether a line may be shown.
fn is_possible() -> bool {
    let dumb = std::env::var_os("TERM").is_some_and(|term| term == "dumb");
    stderr().is_terminal() && !dumb && !output::is_quiet()
}

/// Begins; nothing is to be seen yet.
pub fn start() {
    if !is_possible() {
        return;
    }
    let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::hidden());
    bar.set_style(style(false));
    let (waiting, ended) = channel();
    let own = bar.clone();
    let show = move || {
        if ended.recv_timeout(PATIENCE) == Err(RecvTimeoutError::Timeout) {
            // With the lock: the line may have ended in this moment.
            if line().is_some() {
                own.set_draw_target(ProgressDrawTarget::stderr());
                own.enable_steady_tick(TICK);
                SHOWN.store(true, Ordering::Relaxed);
            }
        }
    };
    *line() = Some(Line {
        bar,
        _waiting: waiting,
    });
    // Without the thread there is no line, and nothing is lost.
    let _ = std::thread::Builder::new().spawn(show);
}

/// Says what is being done from now on.
pub fn doing(what: &str) {
    output::detail(what);
    say(what);
}

/// Says how far it is: `done` of `of` parts. Of one part alone nobody knows.
pub fn done(done: u64, of: u64) {
    if of > 1
        && let Some(line) = &*line()
    {
        if line.bar.length() != Some(of) {
            line.bar.set_style(style(true));
            line.bar.set_length(of);
            line.bar.reset_eta();
        }
        line.bar.set_position(done);
    }
}

/// Leaves the terminal as it was.
pub fn end() {
    let line = line().take();
    if let Some(line) = line {
        line.bar.finish_and_clear();
        SHOWN.store(false, Ordering::Relaxed);
    }
}

/// As [`end`], for a process that is being stopped: takes no lock, since who has it may
/// wait for a reader for ever.
pub fn give_up() {
    if SHOWN.load(Ordering::Relaxed) {
        let _ = stderr().write_all(b"\r\x1b[2K");
    }
}

/// Does something to the terminal while the line is away.
pub fn aside<T>(write: impl FnOnce() -> T) -> T {
    let bar = line().as_ref().map(|line| line.bar.clone());
    match bar {
        Some(bar) => bar.suspend(write),
        None => write(),
    }
}

/// Says what is being done, on the line alone. How far that is, is not known yet.
fn say(what: &str) {
    if let Some(line) = &*line() {
        if line.bar.length().is_some() {
            line.bar.set_style(style(false));
            line.bar.unset_length();
        }
        set_message(&line.bar, what);
    }
}

fn set_message(bar: &ProgressBar, what: &str) {
    let what = wgrad::number::escaped(what);
    bar.set_message(short(&terminal::shown(&what)));
}

/// A text that leaves room on a line: of a long one the end, where a file's name is.
fn short(text: &str) -> String {
    const MOST: usize = 56;
    let count = text.chars().count();
    match count > MOST {
        true => format!("...{}", text.chars().skip(count - MOST).collect::<String>()),
        false => text.to_string(),
    }
}

const BAR: &str = "{spinner} {msg} {wide_bar} {percent}%, {elapsed}";
const SPINNER: &str = "{spinner} {msg} ({elapsed})";

/// How the line looks, with or without a bar.
fn style(bar: bool) -> ProgressStyle {
    // The templates are our own, and a test reads them.
    let style = ProgressStyle::with_template(if bar { BAR } else { SPINNER })
        .unwrap_or_else(|_| ProgressStyle::default_spinner());
    match terminal::is_ascii() {
        true => style.tick_chars("-\\|/ ").progress_chars("#>."),
        false => style.progress_chars("\u{2588}\u{2593}\u{2591}"),
    }
}

/// Tells what an examination does: on a terminal by the line. Elsewhere a sweep of all
/// floats, which takes minutes, has a line now and then.
#[derive(Default)]
pub struct Teller {
    parts: u64,
}

impl Teller {
    pub fn tell(&mut self, progress: Progress<'_>) {
        match progress {
            Progress::Next(what) => {
                doing(&format!("checking {what}"));
                self.parts = 0;
            }
            Progress::Notice(text) => output::notice(text),
            Progress::Sweep {
                name,
                done: position,
                of,
                left_s,
            } => {
                let text = format!(
                    "{name}: {:.1}% of all floats done, about {left_s:.0} s left",
                    100.0 * position as f64 / of as f64
                );
                if is_possible() {
                    if let Some(line) = &*line() {
                        set_message(&line.bar, &text);
                    }
                    done(position, of);
                } else if position * PARTS / of != self.parts {
                    output::line(&text);
                }
                self.parts = position * PARTS / of;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_templates_are_sound() {
        for template in [BAR, SPINNER] {
            ProgressStyle::with_template(template).unwrap();
        }
        style(true);
        style(false);
    }

    #[test]
    fn long_texts_leave_room() {
        let long = short(&format!("reading {}/x.npy", "a".repeat(300)));
        assert!(
            long.starts_with("...a") && long.ends_with("a/x.npy"),
            "{long}"
        );
        assert_eq!((long.len(), &*short("drawing")), (59, "drawing"));
    }

    #[test]
    fn off_a_terminal_there_is_no_line() {
        doing("nothing");
        done(1, 2);
        assert_eq!(aside(|| 3), 3);
        end();
    }
}
