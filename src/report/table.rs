//! Tables as the command line prints them: columns with two spaces between them, no
//! lines, and no wider than where they are shown.
//!
//! Nothing is cut off. Where a table is too wide, texts go over several lines, broken
//! between words; numbers and other short cells are never broken. What is still too wide
//! comes as several tables, one below the other, each beginning with the columns that
//! name the rows.

use std::fmt::Write;

use comfy_table::{
    CellAlignment, ColumnConstraint, ContentArrangement, Row, Table, Width, presets,
};

use super::{palette, terminal};

/// A cell of so many columns or fewer is never broken.
const SHORT: u16 = 16;
/// A text has so many columns, at least, while there is another way.
const FAIR: u16 = 24;
/// Before each line; a column has a space on either side, too.
const INDENT: &str = "   ";

/// A table without lines; what every table of the command line is made of.
pub fn plain_table() -> Table {
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    table.set_content_arrangement(ContentArrangement::Disabled);
    table
}

/// Writes a table, its first column to the left and all others to the right.
pub fn write_table(out: &mut String, table: &Table) {
    for line in lines(table, 1, terminal::width()) {
        // A String takes every write.
        let _ = writeln!(out, "{line}");
    }
}

/// As [`write_table`], where the last column is words, which stay at the left.
pub fn write_described(out: &mut String, table: &Table) {
    let last = Grid::of(table).rows.first().map_or(0, Vec::len);
    let left = |column| column == 0 || column + 1 == last;
    for line in arranged(table, left, terminal::width()) {
        let _ = writeln!(out, "{line}");
    }
}

/// Writes a table whose first `left` columns are to the left, with the verdicts in it in
/// their colours.
pub fn write_verdicts(out: &mut String, table: &Table, left: usize) {
    for line in lines(table, left, terminal::width()) {
        let _ = writeln!(out, "{}", palette::verdicts(&line));
    }
}

/// Writes a paragraph, broken between words; a line of more than 100 columns is hard to
/// read.
pub fn write_paragraph(out: &mut String, text: &str) {
    for line in broken(text, terminal::width().saturating_sub(1).min(100)) {
        let _ = writeln!(out, "{line}");
    }
}

/// A text that begins in column `indent`, broken between words if it is too long: its
/// further lines begin there, too.
pub fn hanging(text: &str, indent: usize) -> String {
    let lines = broken(text, terminal::width().saturating_sub(indent));
    lines.join(&format!("\n{:indent$}", ""))
}

/// The lines of a text, none longer than `most` columns if no word is and `most` is not
/// very small.
fn broken(text: &str, most: usize) -> Vec<String> {
    const LEAST: usize = 20;
    let most = u16::try_from(most.max(LEAST)).unwrap_or(u16::MAX);
    let mut table = plain_table();
    table.set_content_arrangement(ContentArrangement::Dynamic);
    table.set_width(most);
    table.add_row([terminal::shown(text)]);
    if let Some(column) = table.column_mut(0) {
        column.set_padding((0, 0));
    }
    let lines = table.lines();
    lines.map(|line| line.trim_end().to_string()).collect()
}

/// A table's cells as they are shown, row by row, the header first.
struct Grid {
    rows: Vec<Vec<String>>,
    header: bool,
}

impl Grid {
    fn of(table: &Table) -> Grid {
        let header = table.header();
        let rows = || header.into_iter().chain(table.row_iter());
        let count = rows().map(|row| row.cell_iter().count()).max().unwrap_or(0);
        let cells = |row: &Row| {
            let mut cells: Vec<String> = row
                .cell_iter()
                .map(|cell| terminal::shown(&cell.content()).into_owned())
                .collect();
            cells.resize(count, String::new());
            cells
        };
        Grid {
            rows: rows().map(cells).collect(),
            header: header.is_some(),
        }
    }

    fn body(&self) -> &[Vec<String>] {
        &self.rows[usize::from(self.header).min(self.rows.len())..]
    }

    /// Some columns as a table.
    fn table(&self, columns: &[usize], change: impl Fn(&str) -> String) -> Table {
        let mut table = plain_table();
        for (i, row) in self.rows.iter().enumerate() {
            let cells: Vec<String> = columns.iter().map(|&c| change(&row[c])).collect();
            match i == 0 && self.header {
                true => table.set_header(cells),
                false => table.add_row(cells),
            };
        }
        table
    }

    /// The columns that tell the rows apart: as many of the first as it takes.
    fn keys(&self) -> usize {
        const MOST: usize = 3;
        let body = self.body();
        let count = body.first().map_or(0, Vec::len);
        let tells = |n: &usize| {
            let mut keys: Vec<_> = body.iter().map(|row| &row[..*n]).collect();
            keys.sort();
            let empty = |key: &&[String]| key.iter().all(String::is_empty);
            keys.windows(2).all(|pair| pair[0] != pair[1]) && !keys.iter().any(empty)
        };
        match body.len() {
            0 | 1 => 1,
            _ => (1..=MOST.min(count)).find(tells).unwrap_or(1),
        }
    }
}

/// What a column takes: as it is, so that it reads well, and at least.
#[derive(Clone, Copy)]
struct Takes {
    whole: u16,
    fair: u16,
    least: u16,
}

/// The columns of the terminal that columns of a table of these widths take.
fn taken(widths: impl Iterator<Item = u16>) -> usize {
    INDENT.len() + widths.map(|w| usize::from(w) + 2).sum::<usize>() - 1
}

/// The lines of a table whose first `left` columns are to the left.
fn lines(table: &Table, left: usize, most: usize) -> Vec<String> {
    arranged(table, |column| column < left, most)
}

/// The lines of a table that is no wider than `most`, where that can be.
fn arranged(table: &Table, left: impl Fn(usize) -> bool, most: usize) -> Vec<String> {
    let grid = Grid::of(table);
    let all: Vec<usize> = (0..grid.rows.first().map_or(0, Vec::len)).collect();
    if all.is_empty() {
        return Vec::new();
    }
    let whole = grid.table(&all, str::to_string).column_max_content_widths();
    let words = |cell: &str| cell.split_whitespace().collect::<Vec<_>>().join("\n");
    let broken = Grid {
        rows: (grid.rows.iter().enumerate())
            .map(|(i, row)| {
                let heading = i == 0 && grid.header;
                let keep = |cell: &String| !heading && cell.chars().count() <= SHORT.into();
                row.iter()
                    .map(|cell| match keep(cell) {
                        true => cell.clone(),
                        false => words(cell),
                    })
                    .collect()
            })
            .collect(),
        header: grid.header,
    };
    let least = broken
        .table(&all, str::to_string)
        .column_max_content_widths();
    let takes: Vec<Takes> = (whole.iter().zip(&least))
        .map(|(&whole, &least)| {
            // What is not broken is a word, and so are the headings' words.
            let text = whole > SHORT && least < whole;
            let fair = if text {
                least.max(FAIR.min(whole))
            } else {
                least
            };
            Takes { whole, fair, least }
        })
        .collect();
    let mut out = Vec::new();
    for columns in blocks(&takes, grid.keys(), most) {
        if !out.is_empty() {
            out.push(String::new());
        }
        let widths = widths(&columns.iter().map(|&c| takes[c]).collect::<Vec<_>>(), most);
        let mut block = grid.table(&columns, str::to_string);
        // Widths that are given need an arrangement that heeds them.
        block.set_content_arrangement(ContentArrangement::Dynamic);
        block.set_width(u16::MAX);
        for (i, column) in block.column_iter_mut().enumerate() {
            if !left(columns[i]) {
                column.set_cell_alignment(CellAlignment::Right);
            }
            // The space on either side counts.
            let width = widths[i] + 2;
            column.set_constraint(ColumnConstraint::Absolute(Width::Fixed(width)));
        }
        let shown = block.lines();
        out.extend(shown.map(|line| format!("{INDENT}{}", line.trim_end())));
    }
    out
}

/// The columns of each table to make of one: all, or the first `keys` with as many
/// others as there is room for.
fn blocks(takes: &[Takes], keys: usize, most: usize) -> Vec<Vec<usize>> {
    let keys: Vec<usize> = (0..keys.min(takes.len())).collect();
    let fair = |columns: &[usize]| taken(columns.iter().map(|&c| takes[c].fair));
    let mut all = Vec::new();
    let mut block = keys.clone();
    for column in keys.len()..takes.len() {
        block.push(column);
        if fair(&block) > most && block.len() > keys.len() + 1 {
            block.pop();
            all.push(std::mem::replace(&mut block, keys.clone()));
            block.push(column);
        }
    }
    all.push(block);
    all
}

/// The widths of columns in a table of `most` columns: the widest give up first, and
/// none reads badly before all others have given what they can.
fn widths(takes: &[Takes], most: usize) -> Vec<u16> {
    let mut widths: Vec<u16> = takes.iter().map(|t| t.whole).collect();
    for down_to in [|t: &Takes| t.fair, |t: &Takes| t.least] {
        while taken(widths.iter().copied()) > most {
            let can = (0..widths.len()).filter(|&i| widths[i] > down_to(&takes[i]));
            let Some(widest) = can.max_by_key(|&i| widths[i]) else {
                break;
            };
            widths[widest] -= 1;
        }
    }
    widths
}

#[cfg(test)]
mod tests {
    use super::*;

    fn example() -> Table {
        let mut table = plain_table();
        table.set_header(vec!["net", "batch", "step", "remark", "of the bound"]);
        table.add_row(vec!["4-2-1", "1", "90.7 us", "same digits", "11%"]);
        let long = "1 ULP beside; f64 has the digits, as it should";
        table.add_row(vec!["4-2-1", "64", "91.7 us", long, "2%"]);
        table
    }

    #[test]
    fn a_table_that_fits_is_one_of_lines() {
        assert_eq!(
            lines(&example(), 1, 160),
            [
                "    net    batch     step                                          remark  of the bound",
                "    4-2-1      1  90.7 us                                     same digits           11%",
                "    4-2-1     64  91.7 us  1 ULP beside; f64 has the digits, as it should            2%",
            ]
        );
    }

    #[test]
    fn texts_give_way_before_numbers() {
        assert_eq!(
            lines(&example(), 1, 60),
            [
                "    net    batch     step                    remark   of the",
                "                                                       bound",
                "    4-2-1      1  90.7 us               same digits      11%",
                "    4-2-1     64  91.7 us     1 ULP beside; f64 has       2%",
                "                           the digits, as it should",
            ]
        );
    }

    #[test]
    fn what_is_still_too_wide_is_several_tables_with_the_names() {
        let narrow = lines(&example(), 1, 30);
        assert_eq!(
            narrow[..4],
            [
                "    net    batch     step",
                "    4-2-1      1  90.7 us",
                "    4-2-1     64  91.7 us",
                "",
            ]
        );
        assert!(narrow[4].starts_with("    net    batch"), "{narrow:?}");
    }

    /// Whatever the width, each word of each cell is there, and no line is too long if
    /// the widest word with the names is not.
    #[test]
    fn nothing_is_cut_at_any_width() {
        let table = example();
        let words = |text: &str| {
            let mut words: Vec<_> = text.split_whitespace().map(str::to_string).collect();
            words.sort();
            words.dedup();
            words
        };
        let all = words(&lines(&table, 1, 1000).join(" "));
        for most in 1..140 {
            let shown = lines(&table, 1, most);
            assert_eq!(words(&shown.join(" ")), all, "{most}: {shown:#?}");
            let longest = shown.iter().map(|l| l.chars().count()).max().unwrap();
            assert!(longest <= most.max(36), "{most}: {longest} {shown:#?}");
        }
    }

    #[test]
    fn words_in_the_last_column_stay_at_the_left() {
        let mut table = plain_table();
        table.set_header(["part", "time", ""]);
        table.add_row(["wait", "1 us", "until the device"]);
        table.add_row(["submit", "10 us", "the driver"]);
        let mut out = String::new();
        write_described(&mut out, &table);
        let wanted = "    part     time\n    wait     1 us  until the device\n    submit  10 us  the \
                      driver\n";
        assert_eq!(out, wanted);
    }

    #[test]
    fn paragraphs_break_between_words() {
        let mut out = String::new();
        let text = "word ".repeat(100);
        write_paragraph(&mut out, text.trim());
        assert!(out.lines().all(|l| l.len() <= 100 && l.ends_with("word")));
        assert_eq!(out.split_whitespace().count(), 100);
        let mut out = String::new();
        write_paragraph(&mut out, "short");
        assert_eq!(out, "short\n");
        assert_eq!(
            broken("one two three four five", 1),
            ["one two three four", "five"]
        );
        assert_eq!(hanging("one line", 4), "one line");
    }
}
