//! The passes of a sum: how each adds, and how deep its tree is.

use super::SOURCE;
use crate::graph::{Call, Kernel, Operand, Target};
use crate::ops::shader_lib::{EPILOGUE, GRID, SUMS};
use crate::shape::MAX_RANK;

const FOURS: &str = include_str!("../../../shaders/reduce_fours.wgsl");

/// Terms that one workgroup (`sum_tree`) or one invocation (`sum_serial`) adds
/// in a pass. The shader has the same numbers.
const TREE_CHUNK: usize = 2048;
const SERIAL_CHUNK: usize = 256;
const WORKGROUP: usize = 64;

/// Terms that an invocation of `sum_rows` and `sum_columns` adds at most, and
/// invocations of their workgroups.
const LONG_CHUNK: usize = 4096;
const FOURS_WORKGROUP: u64 = 16;
/// Elements that one core has added by the time that a second pass takes.
const SMALL_SUM: usize = 8192;

/// The longest path from a term to the result, in additions, for any of the
/// ways in which `n` terms are added: 32 in a row and 6 levels of a tree, or
/// 16 blocks of 16, in each pass. Up to 4,096 terms in fours are 16 sums of 16
/// blocks of 16: 48 additions, in place of two such passes (tested).
pub(crate) fn depth(n: usize) -> usize {
    let mut depth = 0;
    let mut left = n;
    while left > 1 {
        depth += 38;
        left = left.div_ceil(SERIAL_CHUNK);
    }
    depth.min(n.saturating_sub(1))
}

/// The calls that sum a contiguous row-major tensor of shape `dims` over
/// `axes`, dividing by `divisor`.
pub(crate) fn sum_calls(
    dims: &[usize],
    axes: &[usize],
    divisor: usize,
    [from, to]: [Operand; 2],
    first_scratch: usize,
    target: &Target,
) -> (Vec<usize>, Vec<Call>) {
    let all = strides(dims);
    let split = |wanted: bool| -> Vec<(usize, usize)> {
        let list = (0..dims.len())
            .filter(|axis| axes.contains(axis) == wanted)
            .map(|axis| (dims[axis], all[axis]));
        merge(list.collect())
    };
    let mut kept = split(false);
    let mut reduced = split(true);
    let outputs: usize = kept.iter().map(|d| d.0).product();
    let mut terms: usize = reduced.iter().map(|d| d.0).product();
    let mut scratch = Vec::new();
    let mut calls = Vec::new();
    let mut input = from;
    loop {
        let way = Way::of(&kept, &reduced, target);
        let chunk = way.chunk(outputs, terms);
        let chunks = terms.div_ceil(chunk).max(1);
        let last = chunks == 1;
        let output = if last {
            to
        } else {
            scratch.push(chunks * outputs);
            Operand::Scratch(first_scratch + scratch.len() - 1)
        };
        calls.push(Call {
            kernel: way.kernel(chunk, reduced.len() == 1),
            params: params(
                &kept,
                &reduced,
                outputs,
                terms,
                chunks,
                if last { divisor } else { 1 },
            ),
            inputs: vec![input],
            output,
            workgroups: way.workgroups(outputs as u64 * chunks as u64),
            epilogue: last,
            repeats: None,
        });
        if last {
            return (scratch, calls);
        }
        // The partial sums lie as [chunks, outputs].
        input = output;
        terms = chunks;
        kept = merge(vec![(outputs, 1)]);
        reduced = merge(vec![(chunks, outputs)]);
    }
}

/// How one pass adds: a kernel of shaders/reduce.wgsl or reduce_fours.wgsl.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Way {
    /// A workgroup a chunk.
    Tree,
    /// An invocation a chunk.
    Serial,
    /// An invocation a chunk, four terms at a time.
    Rows,
    /// An invocation a chunk of four outputs.
    Columns,
}

impl Way {
    /// Neighbouring invocations should read neighbouring elements: along the
    /// terms if these are contiguous (a tree), else along the outputs. A driver
    /// in software reads for each invocation by itself, and best in fours.
    fn of(kept: &[(usize, usize)], reduced: &[(usize, usize)], target: &Target) -> Way {
        let product = |axes: &[(usize, usize)]| axes.iter().map(|d| d.0).product::<usize>();
        let (outputs, terms) = (product(kept), product(reduced));
        let contiguous = |axes: &[(usize, usize)]| axes.last().is_some_and(|d| d.1 == 1);
        let fours = kept.iter().chain(reduced).all(|&(size, stride)| {
            let step = if stride == 1 { size } else { stride };
            step.is_multiple_of(4)
        });
        if target.software && fours && contiguous(reduced) {
            return Way::Rows;
        }
        if target.software && fours && contiguous(kept) {
            return Way::Columns;
        }
        let many = outputs >= WORKGROUP;
        if terms <= 16 || (many && (contiguous(kept) || target.software)) {
            Way::Serial
        } else {
            Way::Tree
        }
    }

    /// The terms that are added in one piece.
    fn chunk(self, outputs: usize, terms: usize) -> usize {
        let jobs = |outputs: usize| outputs * terms.div_ceil(LONG_CHUNK);
        match self {
            Way::Tree => TREE_CHUNK,
            Way::Serial => SERIAL_CHUNK,
            // Long, unless that leaves cores idle over a sum that is worth it.
            Way::Rows | Way::Columns => {
                let each = if self == Way::Columns { 4 } else { 1 };
                let idle = jobs(outputs / each) < WORKGROUP;
                if idle && outputs * terms > SMALL_SUM {
                    SERIAL_CHUNK
                } else {
                    LONG_CHUNK
                }
            }
        }
    }

    /// Workgroups for so many chunks.
    fn workgroups(self, chunks: u64) -> u64 {
        match self {
            Way::Tree => chunks,
            Way::Serial => chunks.div_ceil(WORKGROUP as u64),
            Way::Rows => chunks.div_ceil(FOURS_WORKGROUP),
            Way::Columns => (chunks / 4).div_ceil(FOURS_WORKGROUP),
        }
    }

    fn kernel(self, chunk: usize, one_axis: bool) -> Kernel {
        let rows = self == Way::Rows;
        let settings = vec![
            ("ROWS", u32::from(rows)),
            ("CHUNK", chunk as u32),
            ("TERMS", if rows { 4 } else { 1 }),
            // Known to the text: a driver in software computes both sides of a branch, and
            // a division for each load takes longer than the load.
            ("ONE_AXIS", u32::from(one_axis)),
        ];
        let (entry, source) = match self {
            Way::Tree => ("sum_tree", SOURCE),
            Way::Serial => ("sum_serial", SOURCE),
            Way::Rows => ("sum_rows", FOURS),
            Way::Columns => ("sum_columns", FOURS),
        };
        Kernel {
            entry,
            source,
            libs: &[GRID, EPILOGUE, SUMS],
            settings,
            images: Vec::new(),
        }
    }
}

/// Strides of a contiguous row-major tensor.
pub(crate) fn strides(dims: &[usize]) -> Vec<usize> {
    let mut strides = vec![1; dims.len()];
    for i in (1..dims.len()).rev() {
        strides[i - 1] = strides[i] * dims[i].max(1);
    }
    strides
}

/// Axes as (size, stride) with sizes of 1 dropped and neighbours merged that
/// are contiguous with each other.
pub(crate) fn merge(axes: Vec<(usize, usize)>) -> Vec<(usize, usize)> {
    let mut merged: Vec<(usize, usize)> = Vec::new();
    for (size, stride) in axes.into_iter().filter(|a| a.0 != 1) {
        match merged.last_mut() {
            Some(outer) if outer.1 == size * stride => *outer = (outer.0 * size, stride),
            _ => merged.push((size, stride)),
        }
    }
    merged
}

/// The words of `Params` in `shaders/reduce.wgsl`.
fn params(
    kept: &[(usize, usize)],
    reduced: &[(usize, usize)],
    outputs: usize,
    terms: usize,
    chunks: usize,
    divisor: usize,
) -> Vec<u32> {
    let mut words = vec![
        outputs as u32,
        terms as u32,
        chunks as u32,
        divisor as u32,
        kept.len() as u32,
        reduced.len() as u32,
        // A mean of nothing is NaN. The bits travel as data, since a compiler
        // may assume that its own arithmetic makes no NaN.
        f32::NAN.to_bits(),
        0,
    ];
    for axes in [kept, reduced] {
        for part in [|a: &(usize, usize)| a.0, |a: &(usize, usize)| a.1] {
            let mut list: Vec<u32> = axes.iter().map(|a| part(a) as u32).collect();
            list.resize(MAX_RANK, 0);
            words.extend(list);
        }
    }
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The longest path through a loop that adds `n` terms in groups of `sizes`,
    /// each group's sum to the next: the first of each is added to 0.
    fn nested(n: usize, sizes: &[usize]) -> usize {
        match sizes {
            [] => n.saturating_sub(1),
            [size, rest @ ..] => n.min(*size).saturating_sub(1) + nested(n.div_ceil(*size), rest),
        }
    }

    /// The longest path of a call, and the terms that it leaves.
    fn path(call: &Call) -> (usize, usize) {
        let (terms, chunks) = (call.params[1] as usize, call.params[2] as usize);
        let settings = &call.kernel.settings;
        let chunk = settings.iter().find(|s| s.0 == "CHUNK").map_or(0, |s| s.1) as usize;
        let most = terms.min(chunk);
        let path = match call.kernel.entry {
            "sum_rows" => nested(most.div_ceil(4), &[16, 16]) + 2,
            "sum_columns" => nested(most, &[16, 16]),
            "sum_serial" => nested(most, &[16]),
            _ => nested(most.div_ceil(WORKGROUP), &[]) + most.min(WORKGROUP).ilog2() as usize + 1,
        };
        (path, chunks)
    }

    /// The bound knows no target and no layout, so it must hold for all.
    #[test]
    fn no_way_of_adding_is_deeper_than_the_bound() {
        let mut ways = Vec::new();
        for software in [false, true] {
            let target = Target {
                software,
                ..Target::default()
            };
            for n in (2..600).chain([1024, 4096, 4097, 4100, 65_536, 65_540, 1 << 20, 1 << 26]) {
                for (dims, axis) in [
                    (vec![n], 0),
                    (vec![n, 3], 0),
                    (vec![n, 8], 0),
                    (vec![n, 1024], 0),
                    (vec![8, n], 1),
                    (vec![100, n], 1),
                    (vec![4096, n], 1),
                ] {
                    let ends = [Operand::Input(0), Operand::Output];
                    let (_, calls) = sum_calls(&dims, &[axis], 1, ends, 0, &target);
                    let mut whole = 0;
                    let mut left = n;
                    for call in &calls {
                        assert_eq!(call.params[1] as usize, left);
                        let (path, chunks) = path(call);
                        whole += path;
                        left = chunks;
                        if !ways.contains(&call.kernel.entry) {
                            ways.push(call.kernel.entry);
                        }
                    }
                    assert_eq!(left, 1);
                    assert!(whole <= depth(n), "{dims:?} over {axis}: {whole}");
                }
            }
        }
        assert_eq!(ways.len(), 4, "{ways:?}");
    }
}
