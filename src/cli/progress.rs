//! What an examination tells while it goes on: lines, and for a sweep of all
//! floats a bar on a terminal.

use std::io::{IsTerminal, stderr};

use indicatif::{ProgressBar, ProgressStyle};
use wgrad::check::card::Progress;

use super::output;

/// Where stderr is no terminal, a line for each of so many parts of a sweep.
const PARTS: u64 = 16;

/// Tells it.
#[derive(Default)]
pub struct Teller {
    bar: Option<ProgressBar>,
    parts: u64,
}

impl Teller {
    pub fn tell(&mut self, progress: Progress<'_>) {
        match progress {
            Progress::Next(what) => {
                self.end();
                output::progress(&format!("checking {what}"));
            }
            Progress::Notice(text) => {
                self.end();
                output::notice(text);
            }
            Progress::Sweep {
                name,
                done,
                of,
                left_s,
            } => {
                let line = format!(
                    "{name}: {:.1}% of all floats done, about {left_s:.0} s left",
                    100.0 * done as f64 / of as f64
                );
                if stderr().is_terminal() {
                    let bar = self.bar.get_or_insert_with(|| bar(of));
                    bar.set_message(line);
                    bar.set_position(done);
                } else if done * PARTS / of != self.parts {
                    output::progress(&line);
                }
                self.parts = done * PARTS / of;
                if done == of {
                    self.end();
                }
            }
        }
    }

    /// Leaves the terminal as it was.
    fn end(&mut self) {
        if let Some(bar) = self.bar.take() {
            bar.finish_and_clear();
        }
        self.parts = 0;
    }
}

fn bar(of: u64) -> ProgressBar {
    // A template of our own, so it can be read.
    let style = ProgressStyle::with_template("{wide_bar} {msg}");
    ProgressBar::new(of).with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()))
}
