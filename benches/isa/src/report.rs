//! The tables.

use comfy_table::presets::ASCII_MARKDOWN;
use comfy_table::{CellAlignment, Table};

use crate::family::Family;
use crate::row::{Loop, Row};

const NONE: &str = "-";

/// What the columns are.
pub const LEGEND: &str = "\
spills: vector registers that were stored to memory; LDS: bytes of workgroup memory; scratch:
bytes of memory for registers and arrays, a subgroup; waves: subgroups that a SIMD holds at once;
lanes: invocations of a subgroup. The loop is the innermost one that reads memory, of most
instructions, each counted once, whatever branch or inner loop it stands in; a row: on the
shortest way through it that makes all loads. fma: float multiply-adds; mul/add: other float
products and sums; special: transcendental functions, reciprocals, conversions; vector: all else that is done
for each lane; scalar: what is done once a subgroup. load to wait: instructions from a load to the
first wait for it, for the load with fewest and for that with most; fma and mul/add among them.";

/// The two tables of a family.
pub fn text(family: &Family) -> String {
    let mut text = format!("## {}\n\n{}\n\n", family.device, family.driver);
    if family.rows.is_empty() {
        return text + "no kernel compiles\n";
    }
    let mut whole = table(
        &[
            "",
            "kernel",
            "problems",
            "compile ms",
            "lanes",
            "instructions",
            "VGPRs",
            "spills",
        ],
        &["LDS", "scratch", "waves"],
    );
    let mut loops = table(
        &[
            "", "kernel", "loop", "fma", "mul/add", "special", "vector", "load", "store", "LDS",
        ],
        &[
            "scratch",
            "scalar",
            "branch",
            "wait",
            "load to wait",
            "fma, mul/add",
            "remark",
        ],
    );
    for (i, row) in family.rows.iter().enumerate() {
        let number = (i + 1).to_string();
        whole.add_row(whole_cells(&number, row));
        loops.add_row(loop_cells(&number, row));
    }
    align(&mut whole, &[1, 2]);
    align(&mut loops, &[1, 16]);
    text += &format!("{whole}\n\n{loops}\n");
    text
}

fn table(first: &[&str], rest: &[&str]) -> Table {
    let mut table = Table::new();
    table
        .load_style(ASCII_MARKDOWN)
        .set_header(first.iter().chain(rest));
    table
}

/// Numbers stand on the right, words on the left.
fn align(table: &mut Table, words: &[usize]) {
    for (i, column) in table.column_iter_mut().enumerate() {
        if !words.contains(&i) {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
}

/// The works, each with all layouts that it has the kernel for.
fn problems(all: &[String]) -> String {
    let mut grouped: Vec<String> = Vec::new();
    let mut last = "";
    for problem in all {
        let (work, layout) = problem.split_once(' ').unwrap_or((problem, ""));
        match grouped
            .last_mut()
            .filter(|_| work == last && !layout.is_empty())
        {
            Some(text) => *text += &format!(" {layout}"),
            None => grouped.push(problem.clone()),
        }
        last = work;
    }
    grouped.join(", ")
}

fn whole_cells(number: &str, row: &Row) -> Vec<String> {
    let of = |name: &str| {
        row.statistic(name)
            .map_or(NONE.to_string(), |n| n.to_string())
    };
    vec![
        number.to_string(),
        row.kernel.clone(),
        problems(&row.problems),
        format!("{:.0}", row.compile_ms),
        row.subgroup.to_string(),
        of("Instructions"),
        of("VGPRs"),
        of("Spilled VGPRs"),
        of("LDS size"),
        of("Scratch size"),
        of("Subgroups per SIMD"),
    ]
}

fn loop_cells(number: &str, row: &Row) -> Vec<String> {
    let mut cells = vec![number.to_string(), row.kernel.clone()];
    let Some(found) = &row.hottest else {
        cells.extend(std::iter::repeat_n(NONE.to_string(), 14));
        cells.push(remark(row));
        return cells;
    };
    let c = &found.counts;
    cells.push(found.instructions.to_string());
    let kinds = [
        c.multiply_add,
        c.multiply_or_add,
        c.special,
        c.vector,
        c.load,
        c.store,
    ];
    let others = [c.lds, c.scratch, c.scalar, c.branch, c.wait];
    cells.extend(kinds.iter().chain(&others).map(u64::to_string));
    cells.extend(overlap_cells(found));
    cells.push(remark(row));
    cells
}

fn overlap_cells(found: &Loop) -> [String; 2] {
    let range = |least: usize, most: usize| match least == most {
        true => least.to_string(),
        false => format!("{least} to {most}"),
    };
    match &found.overlap {
        Some(o) if o.unwaited as u64 == found.counts.load => {
            ["no wait".to_string(), NONE.to_string()]
        }
        Some(o) => [
            range(o.least, o.most),
            range(o.least_arithmetic, o.most_arithmetic),
        ],
        None => [NONE.to_string(), NONE.to_string()],
    }
}

fn remark(row: &Row) -> String {
    let mut parts = Vec::new();
    match &row.hottest {
        None => parts.push("no loop".to_string()),
        Some(found) => {
            if let Some(share) = found.multiply_add_share {
                parts.push(format!("{:.0}% fma", share * 100.0));
            }
            if let Some(each) = found.instructions_a_row {
                parts.push(format!("{each:.1} instructions a row"));
            }
            match found.overlap {
                Some(o) if o.unwaited > 0 => {
                    parts.push(format!("{} loads without a wait", o.unwaited))
                }
                _ => {}
            }
        }
    }
    if row.whole.unknown > 0 {
        parts.push(format!("{} unknown instructions", row.whole.unknown));
    }
    if let Some(listed) = row.listed_otherwise {
        parts.push(format!("the assembly has {listed} instructions"));
    }
    if row.far_jumps > 0 {
        parts.push("far jumps: a loop may be missed".to_string());
    }
    parts.join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kind::Counts;
    use crate::waits::Overlap;

    fn row(hottest: Option<Loop>) -> Row {
        Row {
            kernel: "matmul_x".to_string(),
            entry: "matmul_x".to_string(),
            problems: vec!["a nt".to_string(), "b nn".to_string()],
            compile_ms: 12.4,
            subgroup: 32,
            statistics: [("VGPRs", 77), ("Instructions", 4)]
                .map(|(name, n)| (name.to_string(), n))
                .into(),
            whole: Counts {
                unknown: 2,
                ..Counts::default()
            },
            hottest,
            listed_otherwise: Some(7),
            far_jumps: 1,
        }
    }

    #[test]
    fn a_work_is_named_once() {
        let all = ["a/1 nt", "a/1 tn", "b", "a/1 nn"].map(String::from);
        assert_eq!(problems(&all), "a/1 nt tn, b, a/1 nn");
    }

    #[test]
    fn each_row_has_a_cell_for_each_column() {
        let overlap = Overlap {
            least: 5,
            most: 9,
            least_arithmetic: 0,
            most_arithmetic: 3,
            unwaited: 1,
        };
        let found = Loop {
            instructions: 321,
            counts: Counts {
                multiply_add: 200,
                load: 3,
                ..Counts::default()
            },
            shortest_turn: 41,
            multiply_add_share: Some(0.623),
            instructions_a_row: Some(10.25),
            overlap: Some(overlap),
        };
        let family = Family {
            family: "F".to_string(),
            device: "D".to_string(),
            driver: "M".to_string(),
            rows: vec![row(Some(found)), row(None)],
            failed: Vec::new(),
        };
        let text = text(&family);
        let none = Family {
            rows: Vec::new(),
            ..family.clone()
        };
        assert!(super::text(&none).ends_with("no kernel compiles\n"));
        let lines: Vec<&str> = text.lines().filter(|l| l.starts_with('|')).collect();
        let bars = |line: &&str| line.matches('|').count();
        let (whole, loops) = lines.split_at(4);
        assert!(whole.iter().all(|l| bars(l) == 12), "{text}");
        assert!(
            loops.iter().all(|l| bars(l) == 18) && loops.len() == 4,
            "{text}"
        );
        for want in [
            "a nt, b nn",
            " 12 ",
            " 77 ",
            " 321 ",
            "5 to 9",
            "0 to 3",
            "62% fma",
        ] {
            assert!(text.contains(want), "{want}\n{text}");
        }
        let remarks = [
            "10.2 instructions a row",
            "1 loads without a wait",
            "2 unknown",
            "no loop",
        ];
        assert!(remarks.iter().all(|want| text.contains(want)), "{text}");
    }
}
