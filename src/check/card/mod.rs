//! The card: does this adapter compute what wgrad promises? Every op and every
//! gradient, every kernel that the adapter may be given, at awkward sizes and
//! values, held against float64 with derived bounds; the rules themselves
//! against central differences; the bits of one run against those of the next;
//! the elementary functions over a sweep of all floats. What a driver does with
//! NaN, subnormals and the like is told beside it and fails nothing.

mod bits;
mod facts;
pub mod functions;
mod gradients;
mod memory;
mod ops;
mod products;
mod programs;
mod resume;
mod run;
mod skipped;
mod unary;
mod values;

pub use facts::Fact;
pub use skipped::Skip;

use std::cell::RefCell;
use std::path::PathBuf;

use super::cases::Verdict;
use super::{Comparison, Worst};
use crate::error::{Error, Result};
use crate::graph::{Graph, NodeId, Precision};
use crate::number::escaped;
use crate::plan::Plan;
use crate::run::gpu::{AdapterDescription, Gpu};

/// How to examine an adapter.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// Fewer sizes, kernels and repetitions: seconds in place of minutes.
    pub quick: bool,
    /// Every float32 there is for each elementary function: minutes a function.
    pub exhaustive: bool,
    /// Of products of matrices, where the adapter computes them.
    pub precision: Precision,
    /// The checks to make, by name ([`Check::name`]); none named: all.
    pub only: Vec<String>,
    /// Where an exhaustive sweep keeps how far it has come, so that one that was
    /// interrupted goes on there; `None` keeps nothing.
    pub state: Option<PathBuf>,
    /// Begin such a sweep at the first float all the same.
    pub restart: bool,
    /// Of an exhaustive sweep only so many floats, for tests.
    #[doc(hidden)]
    pub floats: Option<u64>,
    /// Interrupts a sweep after so many, for tests.
    #[doc(hidden)]
    pub interrupt: Option<u64>,
    /// A planted fault, so that tests can show that each is found: alters a
    /// plan before it is compiled.
    #[doc(hidden)]
    pub tamper: Option<fn(&mut Plan)>,
    /// The same for the gradients that the rules have appended to a graph.
    #[doc(hidden)]
    pub tamper_rule: Option<fn(&mut Graph, &mut NodeId)>,
}

impl Options {
    /// Refuses a name in [`only`](Options::only) that no check has.
    ///
    /// # Errors
    /// [`Error::Text`], listing those there are.
    pub fn verify(&self) -> Result<()> {
        let known = names();
        match self.only.iter().find(|n| !known.contains(&n.as_str())) {
            Some(odd) => Err(Error::Text(format!(
                "there is no check `{odd}`; there are {}",
                known.join(", ")
            ))),
            None => Ok(()),
        }
    }
}

/// What an examination tells while it goes on.
#[derive(Clone, Copy, PartialEq, Debug)]
pub enum Progress<'a> {
    /// What comes next.
    Next(&'a str),
    /// What a person should know.
    Notice(&'a str),
    /// How far the sweep of all floats has come.
    Sweep {
        /// The function.
        name: &'a str,
        /// Floats done, by this examination or an interrupted one.
        done: u64,
        /// Of so many.
        of: u64,
        /// About how many seconds are left.
        left_s: f64,
    },
}

/// What an examination found.
#[derive(Clone, PartialEq, Debug)]
pub struct Card {
    /// The adapter.
    pub adapter: AdapterDescription,
    /// The day, where the caller says it: `2026-11-25`.
    pub date: Option<String>,
    /// Whether it was a short examination.
    pub quick: bool,
    /// Whether only some checks were asked for.
    pub partial: bool,
    /// Of the products of matrices in it.
    pub precision: Precision,
    /// What was checked.
    pub sections: Vec<Section>,
    /// What was not, and why.
    pub skipped: Vec<Skip>,
    /// What the driver does where WGSL leaves it a choice.
    pub facts: Vec<Fact>,
}

/// Checks of one kind.
#[derive(Clone, PartialEq, Debug)]
pub struct Section {
    /// A short name.
    pub name: &'static str,
    /// What is checked, and against what.
    pub title: &'static str,
    /// The checks.
    pub checks: Vec<Check>,
}

/// One line of a card.
#[derive(Clone, PartialEq, Debug)]
pub struct Check {
    /// The op, function or network; [`Options::only`] takes it.
    pub name: String,
    /// Which part of it: `forward`, `d/d x0`, `1000 runs`.
    pub part: String,
    /// Values compared.
    pub values: u64,
    /// Values that are wrong.
    pub failures: u64,
    /// Values for which nothing can be promised.
    pub unbounded: u64,
    /// The largest distance, in ULPs of float32 at the exact value.
    pub max_ulps: f64,
    /// The largest share of its bound that a value takes.
    pub max_share: f64,
    /// Where that was.
    pub worst: Option<String>,
    /// The first that is wrong.
    pub failure: Option<Failure>,
}

/// A wrong value, and what computed it.
#[derive(Clone, PartialEq, Debug)]
pub struct Failure {
    /// Which value, what it is and what it must be.
    pub what: String,
    /// The kernel that computed it; nothing where no kernel did.
    pub kernel: Option<String>,
}

impl Card {
    /// Whether nothing is wrong.
    pub fn passed(&self) -> bool {
        self.checks().all(|(_, check)| check.passed())
    }

    /// All checks with their sections.
    pub fn checks(&self) -> impl Iterator<Item = (&Section, &Check)> {
        let sections = self.sections.iter();
        sections.flat_map(|s| s.checks.iter().map(move |check| (s, check)))
    }

    /// Adds cases from elsewhere, each with its verdict: one that is unsupported
    /// fails unless that is `allowed`.
    pub fn add_cases<'a>(
        &mut self,
        cases: impl IntoIterator<Item = (&'a str, &'a Verdict)>,
        allowed: bool,
    ) {
        let mut section = Section::new("cases", "cases from elsewhere, by PyTorch's float32 rule");
        for (name, verdict) in cases {
            // Names come from a file, and may hold what a terminal would obey.
            let beyond = match verdict {
                Verdict::Passed { beyond, .. } if *beyond > 0 => {
                    format!("{beyond} past PyTorch's rule, within the bound")
                }
                _ => String::new(),
            };
            let check = section.check(&escaped(name), &beyond);
            let mut fail = |text: &str| check.fail(escaped(text).into_owned(), None);
            match verdict {
                Verdict::Passed { values, .. } => check.values += *values as u64,
                Verdict::Failed { reasons } => fail(&reasons.join("; ")),
                Verdict::Unsupported(_) if allowed => {}
                Verdict::Unsupported(reason) => fail(&format!("unsupported: {reason}")),
            }
        }
        self.sections.push(section);
    }
}

impl Section {
    fn new(name: &'static str, title: &'static str) -> Section {
        Section {
            name,
            title,
            checks: Vec::new(),
        }
    }

    /// The check with this name and part, made at its first use.
    fn check(&mut self, name: &str, part: &str) -> &mut Check {
        let known = self.checks.iter();
        let place = known
            .clone()
            .position(|c| c.name == name && c.part == part)
            .unwrap_or(known.len());
        if place == self.checks.len() {
            self.checks.push(Check {
                name: name.to_string(),
                part: part.to_string(),
                values: 0,
                failures: 0,
                unbounded: 0,
                max_ulps: 0.0,
                max_share: 0.0,
                worst: None,
                failure: None,
            });
        }
        &mut self.checks[place]
    }
}

impl Check {
    /// Whether nothing is wrong.
    pub fn passed(&self) -> bool {
        self.failures == 0
    }

    /// Counts a comparison in. `describe` says what a value is, `kernel` what
    /// computed it; they are asked only where that will be told.
    fn see(
        &mut self,
        found: &Comparison,
        describe: impl Fn(&Worst) -> String,
        kernel: impl FnOnce() -> Option<String>,
    ) {
        self.values += found.elements as u64;
        self.failures += found.failures as u64;
        self.unbounded += found.unbounded as u64;
        self.max_ulps = self.max_ulps.max(found.max_ulps);
        let Some(worst) = &found.worst else { return };
        if found.max_share > self.max_share {
            self.max_share = found.max_share;
            self.worst = Some(describe(worst));
        }
        if !found.passed() && self.failure.is_none() {
            self.failure = Some(Failure {
                what: describe(worst),
                kernel: kernel(),
            });
        }
    }

    /// Counts one wrong value in.
    fn fail(&mut self, what: String, kernel: Option<String>) {
        self.values += 1;
        self.failures += 1;
        self.max_share = f64::INFINITY;
        self.failure.get_or_insert(Failure { what, kernel });
    }
}

/// An examination under way.
struct Examiner<'a> {
    gpu: &'a Gpu,
    options: &'a Options,
    /// Told what happens.
    tell: &'a mut dyn FnMut(Progress<'_>),
    /// What the other sections' plans do to memory, found on the way.
    memory: RefCell<Section>,
}

impl Examiner<'_> {
    /// Tells what comes next.
    fn progress(&mut self, what: &str) {
        (self.tell)(Progress::Next(what));
    }

    /// Whether checks of this name were asked for.
    fn wants(&self, name: &str) -> bool {
        let only = &self.options.only;
        only.is_empty() || only.iter().any(|wanted| wanted == name)
    }
}

/// Every name that [`Options::only`] knows, in the order of the card.
pub fn names() -> Vec<&'static str> {
    let mut all = ops::names();
    all.extend(programs::names());
    // A function may be an op as well.
    let functions = functions::FUNCTIONS.iter().map(|f| f.name);
    let own: Vec<_> = functions.filter(|name| !all.contains(name)).collect();
    all.extend(own);
    all
}

/// Examines an adapter. `tell` is told what happens meanwhile.
///
/// # Errors
/// A name in [`Options::only`] that no check has; the device failed. A wrong
/// value is no error but the card's verdict.
pub fn examine(gpu: &Gpu, options: &Options, tell: &mut dyn FnMut(Progress<'_>)) -> Result<Card> {
    options.verify()?;
    let mut examiner = Examiner {
        gpu,
        options,
        tell,
        memory: RefCell::new(memory::section()),
    };
    let parts: [fn(&mut Examiner<'_>) -> Result<Section>; 7] = [
        ops::examine,
        products::examine,
        programs::examine,
        memory::examine,
        gradients::examine,
        bits::examine,
        unary::examine,
    ];
    let mut sections = Vec::new();
    for part in parts {
        let section = part(&mut examiner)?;
        if !section.checks.is_empty() {
            sections.push(section);
        }
    }
    examiner.progress("the driver");
    Ok(Card {
        adapter: gpu.adapter().clone(),
        date: None,
        quick: options.quick,
        partial: !options.only.is_empty(),
        precision: options.precision,
        sections,
        skipped: skipped::skipped(gpu, options)?,
        facts: facts::ask(gpu)?,
    })
}
