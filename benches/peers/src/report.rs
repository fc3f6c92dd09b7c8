//! The table: Markdown for people, JSON for programs.

use std::fmt::Write;

use serde::{Deserialize, Serialize};

use crate::race::{EXACT, TOLERANCE};
use crate::stats::Spread;
use crate::work::{Goal, Task};

/// Contestants, in the order of the columns.
pub const CONTESTANTS: [&str; 4] = ["wgrad", "burn", "ndarray", "torch"];

/// wgrad at the larger of two batches, in a row about growth.
pub const LARGE: &str = "wgrad, large batch";

/// A whole run.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Report {
    /// The circumstances, as name and value.
    pub header: Vec<(String, String)>,
    /// The works.
    pub rows: Vec<Row>,
}

/// One work.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Row {
    /// Its name.
    pub work: String,
    /// Multiplications and additions a step, where a rate is shown.
    pub flops: Option<f64>,
    /// When it was measured.
    pub date: String,
    /// A cell for each contestant that has to do with it.
    pub cells: Vec<Cell>,
    /// The goals.
    pub verdicts: Vec<Verdict>,
}

/// One contestant on one work.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Cell {
    /// Whose.
    pub contestant: String,
    /// What came of it.
    pub state: State,
}

/// What came of a contestant.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// Entered, not timed: another contestant broke the race off.
    Waiting,
    /// Not run, and why.
    Absent(String),
    /// It could not finish.
    Failed(String),
    /// Its answer is wrong, so its time says nothing.
    Wrong(String),
    /// Timed.
    Measured {
        /// A step.
        seconds: Spread,
        /// How many times wgrad's time that is, by round.
        times: Option<Spread>,
        /// Rounds.
        rounds: usize,
        /// Steps in a burst.
        steps: usize,
        /// The largest error, as a share of its tensor's largest value.
        error: Option<f64>,
    },
}

/// A goal and what was measured.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Verdict {
    /// The goal, in words.
    pub goal: String,
    /// The figure that it speaks of, in words.
    pub measured: Option<String>,
    /// Whether it was met.
    pub met: Option<bool>,
}

impl Row {
    /// Judges the goals.
    pub fn new(
        work: &str,
        task: Option<Task>,
        date: String,
        cells: Vec<Cell>,
        goals: &[Goal],
    ) -> Row {
        let verdicts = goals.iter().map(|goal| judge(goal, &cells)).collect();
        Row {
            work: work.to_string(),
            flops: task.and_then(|task| task.flops()),
            date,
            cells,
            verdicts,
        }
    }

    /// Whether a contestant was wrong or broke down.
    pub fn is_bad(&self) -> bool {
        let bad = |cell: &Cell| matches!(cell.state, State::Wrong(_) | State::Failed(_));
        self.cells.iter().any(bad)
    }
}

fn measured<'a>(cells: &'a [Cell], who: &str) -> Option<(&'a Spread, Option<&'a Spread>)> {
    let cell = cells.iter().find(|cell| cell.contestant == who)?;
    match &cell.state {
        State::Measured { seconds, times, .. } => Some((seconds, times.as_ref())),
        _ => None,
    }
}

fn judge(goal: &Goal, cells: &[Cell]) -> Verdict {
    let times = |who| measured(cells, who).and_then(|(_, times)| times);
    let (text, figure, met) = match *goal {
        Goal::Times(who, least) => {
            let figure = times(who);
            let met = figure.map(|f| f.median >= least);
            let text = format!(">= {least}x {}", title(who));
            (text, figure.map(|f| factor(f.median)), met)
        }
        Goal::Share(who, least) => {
            let figure = times(who);
            let met = figure.map(|f| f.median >= least);
            let text = format!(">= {:.0}% of {}", least * 100.0, title(who));
            (text, figure.map(|f| percent(f.median)), met)
        }
        Goal::Seconds(most) => {
            let figure = measured(cells, "wgrad").map(|(seconds, _)| seconds.median);
            let met = figure.map(|f| f <= most);
            (format!("<= {most} s"), figure.map(time_text), met)
        }
        Goal::Growth(most) => {
            let figure = times(LARGE);
            let met = figure.map(|f| f.median <= most);
            let text = format!("<= {most}x the small batch");
            (text, figure.map(spread_of_factors), met)
        }
    };
    Verdict {
        goal: text,
        measured: figure,
        met,
    }
}

/// What people call a contestant.
fn title(contestant: &str) -> &str {
    match contestant {
        "torch" => "PyTorch",
        other => other,
    }
}

/// Three digits that count.
fn digits(value: f64) -> String {
    let places = 2 - value.abs().max(1e-9).log10().floor() as i32;
    format!("{value:.*}", places.clamp(0, 6) as usize)
}

fn factor(value: f64) -> String {
    format!("{}x", digits(value))
}

fn percent(value: f64) -> String {
    format!("{}%", digits(value * 100.0))
}

fn time_text(seconds: f64) -> String {
    let (scale, unit) = scale(seconds);
    format!("{} {unit}", digits(seconds * scale))
}

fn scale(seconds: f64) -> (f64, &'static str) {
    if seconds >= 1.0 {
        (1.0, "s")
    } else if seconds >= 1e-4 {
        (1e3, "ms")
    } else {
        (1e6, "us")
    }
}

fn range(spread: Spread, unit: &str) -> String {
    let Spread { median, p10, p90 } = spread;
    if p10 == p90 {
        return format!("{}{unit}", digits(median));
    }
    format!("{}{unit} ({}-{})", digits(median), digits(p10), digits(p90))
}

fn spread_of_factors(spread: &Spread) -> String {
    range(*spread, "x")
}

fn seconds_text(seconds: Spread) -> String {
    let (scale, unit) = scale(seconds.median);
    range(seconds.map(|s| s * scale), &format!(" {unit}"))
}

impl Row {
    fn cell(&self, who: &str) -> [String; 2] {
        let Some(cell) = self.cells.iter().find(|cell| cell.contestant == who) else {
            return ["-", "-"].map(String::from);
        };
        let (first, second) = match &cell.state {
            State::Waiting => ("not timed".to_string(), None),
            State::Absent(_) => ("absent".to_string(), None),
            State::Failed(_) => ("**FAILED**".to_string(), None),
            State::Wrong(_) => ("**WRONG**".to_string(), None),
            State::Measured { seconds, times, .. } => match self.flops {
                Some(flops) => (
                    range(seconds.map(|s| flops / s * 1e-9), " GFLOP/s"),
                    times.map(|t| range(t.map(|t| t * 100.0), "%")),
                ),
                None => (seconds_text(*seconds), times.map(|t| range(t, "x"))),
            },
        };
        let inexact = match &cell.state {
            State::Measured { error, .. } => error.is_some_and(|error| error > EXACT),
            _ => false,
        };
        let first = if inexact { first + ", inexact" } else { first };
        [first, second.unwrap_or_else(|| "-".to_string())]
    }

    fn markdown(&self) -> String {
        let mut columns = vec![self.work.clone()];
        for who in CONTESTANTS {
            let [first, second] = self.cell(who);
            if who == "wgrad" {
                let large = measured(&self.cells, LARGE);
                let large = large.map(|(s, _)| format!("; large {}", seconds_text(*s)));
                columns.push(first + &large.unwrap_or_default());
            } else {
                columns.extend([first, second]);
            }
        }
        let verdict = |verdict: &Verdict| {
            let found = match (&verdict.measured, verdict.met) {
                (Some(figure), Some(true)) => format!("{figure}, met"),
                (Some(figure), Some(false)) => format!("{figure}, **not met**"),
                _ => "not measured".to_string(),
            };
            format!("{}: {found}", verdict.goal)
        };
        columns.push(
            self.verdicts
                .iter()
                .map(verdict)
                .collect::<Vec<_>>()
                .join("; "),
        );
        format!("| {} |", columns.join(" | "))
    }
}

impl Report {
    /// Whether a contestant was wrong or broke down.
    pub fn is_bad(&self) -> bool {
        self.rows.iter().any(Row::is_bad)
    }

    /// For people.
    pub fn markdown(&self) -> String {
        let mut text = String::new();
        for (name, value) in &self.header {
            // Writing to a string cannot fail.
            let _ = writeln!(text, "- {name}: {value}");
        }
        text += "\nTime of one step: median (p10-p90) over bursts in turn; x is a peer's time as a \
                 multiple of wgrad's, by round, so that above 1 wgrad is faster. For the matrix \
                 product the rate, and % is wgrad's rate as a share of the peer's.\n\n";
        text += "| work | wgrad |";
        let peers = &CONTESTANTS[1..];
        for who in peers {
            let _ = write!(text, " {} | /wgrad |", title(who));
        }
        text += " goals |\n| --- | --- |";
        text += &" --- | --- |".repeat(peers.len());
        text += " --- |\n";
        for row in &self.rows {
            text += &row.markdown();
            text.push('\n');
        }
        text.push('\n');
        text += &self.remarks();
        text
    }

    /// What the cells have no room for.
    fn remarks(&self) -> String {
        let mut lines: Vec<String> = Vec::new();
        let mut worst: Vec<(&str, f64, &str)> = Vec::new();
        for row in &self.rows {
            for cell in &row.cells {
                let who = title(&cell.contestant);
                let line = match &cell.state {
                    State::Absent(reason) => format!("- {who} is absent: {reason}\n"),
                    State::Failed(reason) => format!("- {who} FAILED at {}: {reason}\n", row.work),
                    State::Wrong(reason) => format!("- {who} is WRONG at {}: {reason}\n", row.work),
                    State::Measured {
                        error: Some(error), ..
                    } => {
                        match worst.iter_mut().find(|(known, _, _)| *known == who) {
                            Some((_, most, _)) if *error <= *most => {}
                            Some(known) => *known = (who, *error, &row.work),
                            None => worst.push((who, *error, &row.work)),
                        }
                        continue;
                    }
                    _ => continue,
                };
                if !lines.contains(&line) {
                    lines.push(line);
                }
            }
        }
        if !worst.is_empty() {
            let list = worst
                .iter()
                .map(|(who, error, work)| format!("{who} {error:.1e} ({work})"));
            lines.push(format!(
                "- Losses and gradients are compared with a float64 reference, as a share of \
                 the largest value of their tensor: above {EXACT:.0e} a peer is inexact, above \
                 {TOLERANCE:.0e} it is wrong and not timed. The largest errors: {}.\n",
                list.collect::<Vec<_>>().join(", ")
            ));
        }
        lines.concat()
    }

    /// One report of the rows of several; each work's last measurement counts.
    pub fn merged(reports: Vec<Report>) -> Report {
        let mut whole = Report {
            header: Vec::new(),
            rows: Vec::new(),
        };
        for report in reports {
            for (name, value) in report.header {
                match whole.header.iter_mut().find(|(known, _)| *known == name) {
                    Some((_, values)) if values.split("; ").any(|v| v == value) => {}
                    Some((_, values)) => *values += &format!("; {value}"),
                    None => whole.header.push((name, value)),
                }
            }
            for row in report.rows {
                match whole.rows.iter_mut().find(|known| known.work == row.work) {
                    Some(known) => *known = row,
                    None => whole.rows.push(row),
                }
            }
        }
        whole
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn timed(contestant: &str, seconds: f64, times: Option<f64>) -> Cell {
        let state = State::Measured {
            seconds: Spread::of(vec![seconds]),
            times: times.map(|t| Spread::of(vec![t])),
            rounds: 1,
            steps: 1,
            error: Some(1e-6),
        };
        Cell {
            contestant: contestant.to_string(),
            state,
        }
    }

    #[test]
    fn losses_and_absences_are_in_the_table() {
        let torch = Cell {
            contestant: "torch".to_string(),
            state: State::Absent("no torch".to_string()),
        };
        let cells = vec![
            timed("wgrad", 2e-3, None),
            timed("burn", 1e-3, Some(0.5)),
            torch,
        ];
        let goals = [Goal::Times("burn", 15.0), Goal::Times("torch", 2.0)];
        let row = Row::new("a net", None, "today".to_string(), cells, &goals);
        let report = Report {
            header: vec![("adapter".to_string(), "none".to_string())],
            rows: vec![row],
        };
        let text = report.markdown();
        assert!(text.contains(
            "| a net | 2.00 ms | 1.00 ms | 0.500x | - | - | absent | - | >= 15x burn: 0.500x, \
             **not met**; >= 2x PyTorch: not measured |"
        ));
        assert!(text.contains("PyTorch is absent: no torch"));
        assert!(!report.is_bad());
    }

    #[test]
    fn merging_keeps_the_last_of_each_work() {
        let report = |seconds, date: &str| {
            let cells = vec![timed("wgrad", seconds, None)];
            Report {
                header: vec![("date".to_string(), date.to_string())],
                rows: vec![Row::new("a net", None, date.to_string(), cells, &[])],
            }
        };
        let whole = Report::merged(vec![report(1.0, "a"), report(2.0, "b"), report(3.0, "a")]);
        assert_eq!(whole.header, [("date".to_string(), "a; b".to_string())]);
        assert_eq!(whole.rows.len(), 1);
        assert!(whole.markdown().contains("| 3.00 s |"));
    }

    #[test]
    fn three_digits() {
        let texts = [0.0451, 0.1432, 9.876, 45.12, 1427.3].map(digits);
        assert_eq!(texts, ["0.0451", "0.143", "9.88", "45.1", "1427"]);
    }
}
