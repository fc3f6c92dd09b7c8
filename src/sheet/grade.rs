//! Marks for answers. An answer is held against the right value, then against what
//! follows from the answers before it, then against what each known mistake gives.

use std::collections::{BTreeMap, BTreeSet};

use ndarray::{ArrayD, IxDyn};

use super::answers::{Answer, Written};
use super::mistakes::{Mistake, SLIPS};
use super::work::{Asked, Edit, Work};
use crate::run::cpu::RefValue;

/// How far float32 arithmetic may be from the value, as a share of it: an answer with
/// all digits of a float32 is right.
const FLOAT32: f64 = 1e-6;
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

fn fit(written: &Written, value: f64, slack: f64) -> Fit {
    let exact = FLOAT32 * value.abs().max(0.1);
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

/// How what is filled in fits, all together. `rounding` says that the value follows
/// from rounded answers.
fn fits(cells: &[Option<Written>], value: &RefValue, rounding: bool) -> Fit {
    let largest = value.value.iter().fold(0.0, |m: f64, v| m.max(v.abs()));
    let each = cells.iter().zip(value.value.iter().zip(&value.error));
    let each = each.filter_map(|(cell, (&v, &error))| {
        // Where there is no bound, the most that is allowed.
        let error = if error.is_nan() { f64::INFINITY } else { error };
        let slack = match rounding {
            true => error.min(MOST_ROUNDING * largest),
            false => 0.0,
        };
        Some(fit(cell.as_ref()?, v, slack))
    });
    each.min().unwrap_or(Fit::No)
}

/// What is known when an answer's turn comes.
struct Grader<'a> {
    work: &'a Work,
    right: Vec<RefValue>,
    sites: Vec<BTreeSet<usize>>,
    /// Complete answers so far, by node.
    pins: BTreeMap<usize, RefValue>,
    /// Values whose answers are wrong, by node.
    wrong: BTreeSet<usize>,
    /// Mistakes that were found so far.
    made: Vec<Edit>,
}

/// Marks answers, which are in the order of [`Work::asked`].
pub fn grade(work: &Work, answers: &[Answer]) -> Vec<Mark> {
    let mut grader = Grader {
        work,
        right: work.run(&BTreeMap::new(), &[]),
        sites: (0..SLIPS.len()).map(|slip| work.sites(slip)).collect(),
        pins: BTreeMap::new(),
        wrong: BTreeSet::new(),
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
        let verdict = self.verdict(node, answer);
        let rounding = self.follows(node);
        let right = &self.right[node].value;
        let cells = answer.cells.iter().zip(right.indexed_iter());
        // An element may be right by the rounding of what it follows from.
        let fits_one = |cell: &Written, i: usize| {
            let values = rounding.iter().map(|r| &r.value).chain([right]);
            let mut here = values.filter_map(|v| v.iter().nth(i));
            here.any(|v| fit(cell, *v, 0.0) == Fit::Yes)
        };
        let elements = cells
            .enumerate()
            .map(|(i, (cell, (index, &want)))| Element {
                index: ndarray::Dimension::slice(&index).to_vec(),
                given: cell.as_ref().map(|c| c.text.clone()),
                want,
                right: verdict == Verdict::Right
                    || !answer.swapped && cell.as_ref().is_some_and(|c| fits_one(c, i)),
            });
        let elements = elements.collect();
        // A complete answer is what the later ones are held against.
        let values: Option<Vec<f64>> = answer
            .cells
            .iter()
            .map(|c| Some(c.as_ref()?.value))
            .collect();
        let halves = answer.cells.iter().flatten().map(|c| c.half).collect();
        let shaped = |list| ArrayD::from_shape_vec(IxDyn(right.shape()), list).ok();
        if let (Some(value), Some(error)) = (values.and_then(shaped), shaped(halves)) {
            self.pins.insert(node, RefValue { value, error });
        }
        if !matches!(
            verdict,
            Verdict::Right | Verdict::Blank | Verdict::Incomplete
        ) {
            self.wrong.insert(node);
        }
        Mark {
            name: asked.name.clone(),
            verdict,
            elements,
        }
    }

    /// What follows from the answers before, if none of these is wrong.
    fn follows(&self, node: usize) -> Option<RefValue> {
        let stops: BTreeSet<usize> = self.pins.keys().copied().collect();
        let [_, met] = self.work.behind(node, &stops);
        let good = met.is_disjoint(&self.wrong);
        good.then(|| self.work.run(&self.pins, &[]).swap_remove(node))
    }

    fn verdict(&mut self, node: usize, answer: &Answer) -> Verdict {
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
            false => fits(cells, &self.right[node], false),
        };
        if plain == Fit::Yes {
            return good;
        }
        // What follows from the answers before it.
        let stops: BTreeSet<usize> = self.pins.keys().copied().collect();
        let [region, met] = self.work.behind(node, &stops);
        let pins = self.pins.clone();
        let with: Vec<String> = (met.intersection(&self.wrong))
            .map(|at| self.work.symbols[*at].clone())
            .collect();
        if !answer.swapped {
            let follows = &self.work.run(&pins, &[])[node];
            if fits(cells, follows, true) == Fit::Yes {
                return match with.is_empty() {
                    true => good,
                    false => Verdict::Carried(with),
                };
            }
            // The same without the rounding of those answers, which mistakes explain.
            let [all, _] = self.work.behind(node, &BTreeSet::new());
            let before: Vec<String> = (all.intersection(&self.wrong))
                .map(|at| self.work.symbols[*at].clone())
                .collect();
            let follows = &self.work.run(&BTreeMap::new(), &self.made)[node];
            if !before.is_empty() && fits(cells, follows, false) == Fit::Yes {
                return Verdict::Carried(before);
            }
        }
        // A mistake on the way from those answers, or anywhere before.
        let near = self.matching(node, answer, &region, &pins);
        let found = match near.is_empty() {
            false => near,
            true => {
                let [all, _] = self.work.behind(node, &BTreeSet::new());
                self.matching(node, answer, &all, &BTreeMap::new())
            }
        };
        if found.is_empty() {
            return match plain {
                Fit::Coarse => Verdict::Coarse,
                _ => Verdict::Unknown,
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

    /// The mistakes within `region` that give an answer: each at one place, then at all.
    fn matching(
        &self,
        node: usize,
        answer: &Answer,
        region: &BTreeSet<usize>,
        pins: &BTreeMap<usize, RefValue>,
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
                let value = &self.work.run(pins, std::slice::from_ref(&edit))[node];
                if fits(&answer.cells, value, !pins.is_empty()) == Fit::Yes {
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
