//! What the runs of a guarded plan say of each word of its memory.

use super::layout::{Guarded, Mark, Memory, Span};
use super::{Mistake, Runs};
use crate::number;
use crate::plan::BufferId;
use crate::tensor::Tensor;

/// What is wrong with a word; the worst comes first.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
enum Wrong {
    /// It was written, and is no computed value's.
    Written,
    /// Nothing wrote it.
    Unwritten,
    /// It is another with another pattern.
    Depends,
    /// It is another with the same pattern.
    Unsteady,
}

fn bits(words: &Tensor) -> &[u32] {
    bytemuck::cast_slice(words.data())
}

/// Words of one memory that are wrong, after all steps or after some.
struct Look<'a> {
    memory: &'a Memory,
    before: Vec<&'a [u32]>,
    after: Vec<&'a [u32]>,
    again: Option<&'a [u32]>,
}

impl<'a> Look<'a> {
    fn new(guarded: &'a Guarded, runs: &'a Runs, i: usize) -> Look<'a> {
        let of = |all: &'a [Vec<Tensor>]| all.iter().map(|run| bits(&run[i])).collect();
        Look {
            memory: &guarded.memories[i],
            before: of(&runs.before),
            after: of(&runs.after),
            again: runs.again.get(i).map(bits),
        }
    }

    /// The words that are wrong, in order.
    fn all(&self) -> impl Iterator<Item = (usize, Wrong)> + '_ {
        let ranges = self.memory.ranges.iter().filter(|(mark, range)| {
            let part = |words: &&'a [u32]| &words[range.clone()];
            let first = part(&self.after[0]);
            // Most are as they should be: whole stretches are compared at once.
            match mark {
                Mark::Padding => false,
                Mark::Computed => self.after.iter().any(|run| part(run) != first),
                Mark::Outside | Mark::Given => {
                    let mut runs = self.before.iter().zip(&self.after);
                    runs.any(|(before, after)| part(before) != part(after))
                }
            }
        });
        ranges.flat_map(|(mark, range)| {
            let words = range.clone();
            words.filter_map(|word| Some((word, self.judge(*mark, word)?)))
        })
    }

    fn judge(&self, mark: Mark, word: usize) -> Option<Wrong> {
        let mut runs = self.before.iter().zip(&self.after);
        match mark {
            Mark::Padding => None,
            Mark::Outside | Mark::Given => runs
                .any(|(before, after)| before[word] != after[word])
                .then_some(Wrong::Written),
            Mark::Computed => {
                let first = self.after[0][word];
                if self.after.iter().all(|run| run[word] == first) {
                    return None;
                }
                if runs.all(|(before, after)| before[word] == after[word]) {
                    return Some(Wrong::Unwritten);
                }
                let last = self.after.last()?[word];
                Some(match self.again.is_some_and(|run| run[word] != last) {
                    true => Wrong::Unsteady,
                    false => Wrong::Depends,
                })
            }
        }
    }

    /// In words. A word before the guard belongs to a value or lies behind one.
    fn describe(&self, guarded: &Guarded, word: usize, wrong: Wrong) -> String {
        let numbers = |runs: &[&[u32]]| {
            let all = runs
                .iter()
                .map(|run| number::show(f32::from_bits(run[word])));
            all.collect::<Vec<_>>().join(", ")
        };
        let place = place(guarded, self.memory, word);
        let holds = numbers(&self.before);
        match wrong {
            Wrong::Written => format!(
                "{place} was written: it held {holds} before three runs, and {} after",
                numbers(&self.after)
            ),
            Wrong::Unwritten => format!("{place} was never written"),
            Wrong::Depends => format!(
                "{place} is {} where memory that was not written held {holds}: it was read",
                numbers(&self.after)
            ),
            Wrong::Unsteady => format!("{place} is another in two equal runs"),
        }
    }
}

/// How many words are wrong after all steps.
pub(super) fn count(guarded: &Guarded, runs: &Runs) -> u64 {
    let all = 0..guarded.memories.len();
    all.map(|i| Look::new(guarded, runs, i).all().count() as u64)
        .sum()
}

/// The first mistake after so many steps, of which those before had none.
pub(super) fn first(guarded: &Guarded, runs: &Runs, done: usize) -> Option<Mistake> {
    let steps = &guarded.plain.steps;
    let mut found: Option<(Wrong, usize, usize)> = None;
    for i in 0..guarded.memories.len() {
        let writes = |ids: &[BufferId]| ids.iter().any(|&id| guarded.memory_of(id) == Some(i));
        let last = steps.iter().rposition(|step| writes(&step.outputs));
        let complete = last.is_none_or(|last| last < done);
        let look = Look::new(guarded, runs, i);
        let mut wrong = look
            .all()
            .filter(|(_, w)| *w != Wrong::Unwritten || complete);
        let worst = wrong.next().map(|first| {
            let (word, wrong) = wrong.fold(first, |a, b| if b.1 < a.1 { b } else { a });
            (wrong, i, word)
        });
        found = found.into_iter().chain(worst).min();
    }
    let (wrong, i, word) = found?;
    let what = Look::new(guarded, runs, i).describe(guarded, word, wrong);
    let named = |k: usize| {
        let step = &steps[k];
        let kernel = &guarded.plain.kernels[step.kernel].label;
        format!(
            "{kernel} (step {} of {}, `{}`)",
            k + 1,
            steps.len(),
            step.label
        )
    };
    // What was not written is the fault of all that should have.
    let culprits: Vec<String> = match wrong {
        Wrong::Unwritten => (0..steps.len())
            .filter(|&k| {
                let mut ids = steps[k].outputs.iter();
                ids.any(|&id| guarded.memory_of(id) == Some(i))
            })
            .map(named)
            .collect(),
        _ => done.checked_sub(1).map(named).into_iter().collect(),
    };
    let kernel = (!culprits.is_empty()).then(|| culprits.join(", then "));
    Some(Mistake { what, kernel })
}

/// A word of memory, for people.
fn place(guarded: &Guarded, memory: &Memory, word: usize) -> String {
    let name = |span: &Span| {
        let label = &guarded.plain.buffers[span.buffer.index()].label;
        match span.replica {
            Some(replica) => format!("`{label}` of replica {replica}"),
            None => format!("`{label}`"),
        }
    };
    let mut before = memory.spans.iter().rev().filter(|span| span.first <= word);
    let holds = |span: &&Span| word < span.first + span.elements;
    let Some(span) = before.clone().find(holds).or(before.next()) else {
        let first = memory.spans.first();
        return match first {
            Some(span) => format!("word {} before {}", span.first - word, name(span)),
            None => format!("word {word} of memory without values"),
        };
    };
    let end = span.first + span.elements;
    match word < end {
        true => format!(
            "element {} of {} of {}",
            word - span.first,
            span.elements,
            name(span)
        ),
        false => format!(
            "word {} behind the {} elements of {}{}",
            word - end,
            span.elements,
            name(span),
            if word >= memory.guard {
                ", in the guard zone,"
            } else {
                ""
            }
        ),
    }
}
