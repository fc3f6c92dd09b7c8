//! Marks for answers. An answer is held against the right value, then against what
//! follows from the answers before it, then against what each known mistake gives.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use ndarray::{ArrayD, IxDyn};

use super::answers::{Answer, Written};
use super::mistakes::{Mistake, SLIPS};
use super::work::{Asked, Base, Edit, Value, Work};
use crate::run::cpu::RefValue;

/// How far float32 arithmetic may be from the value, as a share of it: an answer with
/// all digits of a float32 is right.
const FLOAT32: f64 = 1e-6;
/// The same for a program, whose sums are long: a share of the largest element.
const FLOAT32_SUMS: f64 = 2e-5;
/// The share of an answer that half a unit of its last digit may be: two digits.
const TWO_DIGITS: f64 = 0.05;
/// The share of a value by which the rounding of earlier answers may move it. What
/// mistakes change on a drawn sheet is several times as much.
const MOST_ROUNDING: f64 = 0.005;

/// What becomes of the answer for one value.
#[derive(Clone, PartialEq, Debug)]
pub enum Verdict {
    /// Right, to the digits that are given.
    Right,
    /// Nothing is filled in.
    Blank,
    /// What is filled in is right; some is not.
    Incomplete,
    /// It could be right and has fewer than two digits.
    Coarse,
    /// Wrong, and what follows from wrong answers before it, which are named.
    Carried(Vec<String>),
    /// Wrong, and what one of these mistakes gives.
    Mistaken(Vec<Found>),
    /// Wrong, and none of the known mistakes.
    Unknown,
    /// Wrong, and it cannot be told whether it follows from these wrong answers before
    /// it, of which only some elements are known.
    Unclear(Vec<String>),
}

impl Verdict {
    /// Its name for programs.
    pub fn name(&self) -> &'static str {
        match self {
            Verdict::Right => "right",
            Verdict::Blank => "blank",
            Verdict::Incomplete => "incomplete",
            Verdict::Coarse => "too_few_digits",
            Verdict::Carried(_) => "consistent",
            Verdict::Mistaken(_) => "mistake",
            Verdict::Unknown => "wrong",
            Verdict::Unclear(_) => "unclear",
        }
    }
}

/// A mistake that gives an answer.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Found {
    /// Which.
    pub mistake: Mistake,
    /// The symbols of the values at which it was made.
    pub at: Vec<String>,
    /// Wrong answers before it that went into it.
    pub with: Vec<String>,
}

/// An element of an answer.
#[derive(Clone, PartialEq, Debug)]
pub struct Element {
    /// Its index.
    pub index: Vec<usize>,
    /// As it was written.
    pub given: Option<String>,
    /// The right value.
    pub want: f64,
    /// Whether it is right to its digits.
    pub right: bool,
}

/// The mark of one value.
#[derive(Clone, PartialEq, Debug)]
pub struct Mark {
    /// Its symbol.
    pub name: String,
    /// The verdict.
    pub verdict: Verdict,
    /// Its elements, row by row.
    pub elements: Vec<Element>,
}

/// How an answer fits a value.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Fit {
    No,
    /// It would fit with more digits.
    Coarse,
    Yes,
}

/// How an answer fits a value from which float32 may be `exact` away.
fn fit(written: &Written, value: f64, exact: f64, slack: f64) -> Fit {
    let off = (written.value - value).abs();
    // A comparison with NaN is false: what has no value fits nothing.
    if off <= exact {
        return Fit::Yes;
    }
    if off <= written.half * (1.0 + 1e-9) + exact + slack {
        return match written.half <= TWO_DIGITS * value.abs() {
            true => Fit::Yes,
            false => Fit::Coarse,
        };
    }
    Fit::No
}

/// A value as answers are held against it: the elements that are asked for.
struct Held {
    value: Vec<f64>,
    error: Vec<f64>,
    /// The largest element of the whole value; 0 where that does not count.
    sums: f64,
}

impl Held {
    fn of(work: &Work, asked: &Asked, value: &RefValue) -> Held {
        let largest = |m: f64, v: &f64| m.max(v.abs());
        Held {
            sums: match work.for_program {
                true => FLOAT32_SUMS * value.value.iter().fold(0.0, largest),
                false => 0.0,
            },
            value: asked.of(&value.value),
            error: asked.of(&value.error),
        }
    }

    /// How far float32 may be from an element.
    fn exact(&self, value: f64) -> f64 {
        match self.sums > 0.0 {
            true => self.sums,
            false => FLOAT32 * value.abs().max(0.1),
        }
    }

    /// How the answer for the element at `place` fits.
    fn one(&self, written: &Written, place: usize) -> Fit {
        let value = self.value.get(place).copied().unwrap_or(f64::NAN);
        fit(written, value, self.exact(value), 0.0)
    }

    /// How what is filled in fits, all together. `rounding` says that the value follows
    /// from rounded answers.
    fn all(&self, cells: &[Option<Written>], rounding: bool) -> Fit {
        let largest = self.value.iter().fold(0.0, |m: f64, v| m.max(v.abs()));
        let each = cells.iter().zip(self.value.iter().zip(&self.error));
        let each = each.filter_map(|(cell, (&v, &error))| {
            // Where there is no bound, the most that is allowed.
            let error = if error.is_nan() { f64::INFINITY } else { error };
            let slack = match rounding {
                true => error.min(MOST_ROUNDING * largest),
                false => 0.0,
            };
            Some(fit(cell.as_ref()?, v, self.exact(v), slack))
        });
        each.min().unwrap_or(Fit::No)
    }
}

/// What is known when an answer's turn comes.
struct Grader<'a> {
    work: &'a Work,
    sites: Vec<BTreeSet<usize>>,
    /// Complete answers so far, by node. Of a value that is asked for in part there is
    /// none.
    pins: BTreeMap<usize, Value>,
    /// Values whose answers are wrong, by node.
    wrong: BTreeSet<usize>,
    /// Those of them that no mistake explains and that are not pinned: what follows from
    /// them is not known.
    lost: BTreeSet<usize>,
    /// Mistakes that were found so far.
    made: Vec<Edit>,
}

/// Marks answers, which are in the order of [`Work::asked`].
pub fn grade(work: &Work, answers: &[Answer]) -> Vec<Mark> {
    let mut grader = Grader {
        work,
        sites: Vec::new(),
        pins: BTreeMap::new(),
        wrong: BTreeSet::new(),
        lost: BTreeSet::new(),
        made: Vec::new(),
    };
    let pairs = work.asked.iter().zip(answers);
    pairs
        .map(|(asked, answer)| grader.mark(asked, answer))
        .collect()
}

impl Grader<'_> {
    fn mark(&mut self, asked: &Asked, answer: &Answer) -> Mark {
        let node = asked.node.index();
        let right = Arc::clone(&self.work.values()[node]);
        let held = Held::of(self.work, asked, &right);
        let verdict = self.verdict(asked, answer, &held);
        // An element may be right by the rounding of what it follows from.
        let rounding = match verdict {
            Verdict::Right | Verdict::Blank => None,
            _ => self.follows(asked),
        };
        let fits_one = |cell: &Written, i: usize| {
            let mut values = rounding.iter().chain([&held]);
            values.any(|v| v.one(cell, i) == Fit::Yes)
        };
        let cells = answer.cells.iter().zip(&held.value).enumerate();
        let elements = cells.map(|(i, (cell, &want))| Element {
            index: asked.index(i),
            given: cell.as_ref().map(|c| c.text.clone()),
            want,
            right: verdict == Verdict::Right
                || !answer.swapped && cell.as_ref().is_some_and(|c| fits_one(c, i)),
        });
        let elements = elements.collect();
        // A complete answer is what the later ones are held against.
        if asked.picks.is_none() {
            self.pin(node, answer, right.value.shape());
        }
        if !matches!(
            verdict,
            Verdict::Right | Verdict::Blank | Verdict::Incomplete
        ) {
            self.wrong.insert(node);
        }
        if matches!(verdict, Verdict::Unknown | Verdict::Unclear(_))
            && self.work.for_program
            && !self.pins.contains_key(&node)
        {
            self.lost.insert(node);
        }
        Mark {
            name: asked.name.clone(),
            verdict,
            elements,
        }
    }

    fn pin(&mut self, node: usize, answer: &Answer, shape: &[usize]) {
        let values: Option<Vec<f64>> = (answer.cells.iter())
            .map(|c| Some(c.as_ref()?.value))
            .collect();
        let halves = answer.cells.iter().flatten().map(|c| c.half).collect();
        let shaped = |list| ArrayD::from_shape_vec(IxDyn(shape), list).ok();
        if let (Some(value), Some(error)) = (values.and_then(shaped), shaped(halves)) {
            self.pins.insert(node, Arc::new(RefValue { value, error }));
        }
    }

    /// What follows from the answers before, if none of these is wrong.
    fn follows(&self, asked: &Asked) -> Option<Held> {
        let node = asked.node.index();
        // The pins are those from before this answer.
        let stops: BTreeSet<usize> = self.pins.keys().copied().collect();
        let [_, met] = self.work.behind(node, &stops);
        let good = met.is_disjoint(&self.wrong);
        good.then(|| self.held(asked, &self.work.base(&self.pins, &[], Some(node))))
    }

    /// The elements that are asked for in an evaluation.
    fn held(&self, asked: &Asked, base: &Base) -> Held {
        Held::of(self.work, asked, &base.values[asked.node.index()])
    }

    fn verdict(&mut self, asked: &Asked, answer: &Answer, right: &Held) -> Verdict {
        let node = asked.node.index();
        let cells = &answer.cells;
        let filled = cells.iter().flatten().count();
        if filled == 0 {
            return Verdict::Blank;
        }
        let good = match filled == cells.len() {
            true => Verdict::Right,
            false => Verdict::Incomplete,
        };
        let plain = match answer.swapped {
            true => Fit::No,
            false => right.all(cells, false),
        };
        if plain == Fit::Yes {
            return good;
        }
        // What follows from the answers before it.
        let stops: BTreeSet<usize> = self.pins.keys().copied().collect();
        let [region, met] = self.work.behind(node, &stops);
        let [all, _] = self.work.behind(node, &BTreeSet::new());
        let names = |nodes: &BTreeSet<usize>| -> Vec<String> {
            let wrong = nodes.intersection(&self.wrong);
            wrong.map(|at| self.work.symbols[*at].clone()).collect()
        };
        let before = names(&all);
        let near = self.work.base(&self.pins, &[], Some(node));
        let rounded = !self.pins.is_empty();
        // Wrong answers that are not pinned go into it, too, as the mistakes that made
        // them: those of values that are asked for in part.
        let (mut with, mut on) = (names(&met), None);
        if self.work.for_program && !self.made.is_empty() {
            with.extend(names(&region));
            on = Some(self.work.base(&self.pins, &self.made, Some(node)));
        }
        // The same without the rounding of those answers, which mistakes explain.
        let made = || self.work.base(&BTreeMap::new(), &self.made, Some(node));
        if !answer.swapped {
            if self.held(asked, &near).all(cells, true) == Fit::Yes {
                return match names(&met) {
                    with if with.is_empty() => good,
                    with => Verdict::Carried(with),
                };
            }
            if let Some(on) = &on
                && !before.is_empty()
                && self.held(asked, on).all(cells, true) == Fit::Yes
            {
                return Verdict::Carried(if with.is_empty() { before } else { with });
            }
            if !before.is_empty() && self.held(asked, &made()).all(cells, false) == Fit::Yes {
                return Verdict::Carried(before);
            }
        }
        // A mistake on the way from those answers, or anywhere before.
        if self.sites.is_empty() {
            self.sites = (0..SLIPS.len()).map(|slip| self.work.sites(slip)).collect();
        }
        let mut found = self.matching(asked, answer, &region, &near, rounded);
        if let (Some(on), true) = (&on, found.is_empty()) {
            found = self.matching(asked, answer, &region, on, rounded);
        }
        if found.is_empty() {
            let nothing = self.work.base(&BTreeMap::new(), &[], Some(node));
            found = self.matching(asked, answer, &all, &nothing, false);
        }
        if found.is_empty() {
            let lost: Vec<String> = (region.intersection(&self.lost))
                .map(|at| self.work.symbols[*at].clone())
                .collect();
            return match plain {
                Fit::Coarse => Verdict::Coarse,
                _ if lost.is_empty() => Verdict::Unknown,
                _ => Verdict::Unclear(lost),
            };
        }
        let mut list: Vec<Found> = Vec::new();
        for edit in &found {
            let found = Found {
                mistake: SLIPS[edit.slip].mistake,
                at: edit.sites.iter().map(|at| self.place(*at)).collect(),
                with: with.clone(),
            };
            if !list.iter().any(|f| f.mistake == found.mistake) {
                list.push(found);
            }
        }
        self.made.extend(found.into_iter().take(1));
        Verdict::Mistaken(list)
    }

    /// The mistakes within `region` that give an answer on top of `base`: each at one
    /// place, then at all. `rounding` says that the base holds rounded answers.
    fn matching(
        &self,
        asked: &Asked,
        answer: &Answer,
        region: &BTreeSet<usize>,
        base: &Base,
        rounding: bool,
    ) -> Vec<Edit> {
        let mut found = Vec::new();
        for (slip, sites) in self.sites.iter().enumerate() {
            let sites: BTreeSet<usize> = sites.intersection(region).copied().collect();
            let order = SLIPS[slip].mistake == Mistake::ProductOrder;
            if answer.swapped && !order {
                continue;
            }
            let single = sites.iter().rev().map(|at| BTreeSet::from([*at]));
            let several = (sites.len() > 1).then(|| sites.clone());
            for sites in single.chain(several) {
                let edit = Edit { slip, sites };
                let value = self.work.with(base, &edit, asked.node.index());
                let held = Held::of(self.work, asked, &value);
                if held.all(&answer.cells, rounding) == Fit::Yes {
                    found.push(edit);
                    break;
                }
            }
        }
        found
    }

    /// What a node is called: its own symbol or that of the value it leads to.
    fn place(&self, at: usize) -> String {
        let asked = self.work.asked.iter().find(|a| {
            a.node.index() == at || {
                let stops = self.work.asked.iter().map(|a| a.node.index());
                let stops = stops.filter(|s| *s != a.node.index()).collect();
                self.work.behind(a.node.index(), &stops)[0].contains(&at)
            }
        });
        asked.map_or_else(|| self.work.symbols[at].clone(), |a| a.name.clone())
    }
}
