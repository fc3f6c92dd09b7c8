//! `.csv`: a row an example, a column a feature, with or without a header. The
//! `csv` crate splits; here the cells become numbers, and what is no number is
//! an error that names its line and column.

use std::path::Path;

use crate::error::{Error, Result};
use crate::number::printable;
use crate::tensor::Tensor;

/// A column, by its name in the header or its number from 0.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum ColumnRef {
    /// By name.
    Name(String),
    /// By number, from 0.
    Index(usize),
}

/// A table of numbers.
#[derive(Clone, PartialEq, Debug)]
pub struct Table {
    /// The header, if there is one.
    pub header: Option<Vec<String>>,
    /// The features, `[rows, columns]`.
    pub features: Tensor,
    /// The target column, `[rows, 1]`.
    pub target: Option<Tensor>,
    /// What is worth saying.
    pub notices: Vec<String>,
}

/// Reads a table. The first row is a header if none of its cells is a number.
///
/// # Errors
/// [`Error::File`], naming line and column: a cell that is no number or not
/// finite, a row of another length, no rows, a target column that is not there.
#[cfg(not(target_arch = "wasm32"))]
pub fn read(path: &Path, target: Option<&ColumnRef>) -> Result<Table> {
    read_slice(&super::read_bytes(path, super::MOST_BYTES)?, path, target)
}

/// As [`read`], from the bytes of a file. Errors name `path`.
///
/// # Errors
/// As [`read`].
pub fn read_slice(bytes: &[u8], path: &Path, target: Option<&ColumnRef>) -> Result<Table> {
    parse(bytes, target).map_err(|reason| Error::file(path, printable(&reason)))
}

fn parse(bytes: &[u8], target: Option<&ColumnRef>) -> Result<Table, String> {
    if bytes.iter().all(u8::is_ascii_whitespace) {
        return Err("the file is empty; give a row of numbers for each example".to_string());
    }
    let bytes = bytes.strip_prefix("\u{feff}".as_bytes()).unwrap_or(bytes);
    let mut reader = csv::ReaderBuilder::new()
        .has_headers(false)
        .flexible(true)
        .trim(csv::Trim::All)
        .from_reader(bytes);
    let mut header: Option<Vec<String>> = None;
    let mut width = 0;
    let mut cells: Vec<f32> = Vec::new();
    let mut rows = 0;
    for (number, record) in reader.records().enumerate() {
        let record = record.map_err(|e| format!("{e}; save the file as UTF-8"))?;
        let line = record.position().map_or(number as u64 + 1, |p| p.line());
        if number == 0 {
            width = record.len();
            let numbers = record.iter().filter(|c| c.parse::<f32>().is_ok()).count();
            if numbers == 0 && record.iter().any(|cell| !cell.is_empty()) {
                header = Some(record.iter().map(str::to_string).collect());
                continue;
            }
        }
        if record.len() != width {
            return Err(format!(
                "line {line} has {} cells, the first has {width}; give each row as many",
                record.len()
            ));
        }
        for (column, cell) in record.iter().enumerate() {
            let value = cell.parse::<f32>().map_err(|_| String::new());
            let fault = match value {
                Ok(v) if v.is_finite() => {
                    cells.push(v);
                    continue;
                }
                Ok(_) if cell.bytes().any(|b| b.is_ascii_digit()) => {
                    format!("is `{cell}`, beyond float32's range")
                }
                Ok(v) => format!("is {v}"),
                Err(_) if cell.is_empty() => "is empty".to_string(),
                Err(_) => format!("is `{cell}`, which is no number"),
            };
            let name = header.as_ref().and_then(|h| h.get(column));
            let name = name.map_or(String::new(), |n| format!(" (`{n}`)"));
            // Numbers beside something else make a broken row, not a header:
            // a row that is taken for a header is lost without a word.
            let header_fix = match number {
                _ if cell.contains([';', '\t']) => "; cells are separated by commas",
                0 => " (a header must have a name, and no number, for each column)",
                _ => "",
            };
            return Err(format!(
                "line {line}, column {column}{name} {fault}; remove the row or put a number \
                 there{header_fix}"
            ));
        }
        rows += 1;
    }
    if rows == 0 {
        return Err("there is a header and no row of numbers; add one or more".to_string());
    }
    let names = header.as_deref();
    let target = target.map(|t| find(t, names, width)).transpose()?;
    let keep = |wanted: bool| -> Vec<f32> {
        let numbered = cells.iter().enumerate();
        let part = numbered.filter(|(i, _)| (Some(i % width) == target) == wanted);
        part.map(|(_, v)| *v).collect()
    };
    let features = width - usize::from(target.is_some());
    let tensor = |dims: &[usize], data| Tensor::new(dims, data).map_err(|e| e.to_string());
    Ok(Table {
        features: tensor(&[rows, features], keep(false))?,
        target: match target {
            Some(_) => Some(tensor(&[rows, 1], keep(true))?),
            None => None,
        },
        header,
        notices: Vec::new(),
    })
}

fn find(target: &ColumnRef, header: Option<&[String]>, width: usize) -> Result<usize, String> {
    match (target, header) {
        (ColumnRef::Index(i), _) if *i < width => Ok(*i),
        (ColumnRef::Index(i), _) => Err(format!(
            "no column {i}: there are {width}; give a number from 0 to {}",
            width.saturating_sub(1)
        )),
        (ColumnRef::Name(name), Some(header)) => {
            let places: Vec<_> = (0..width).filter(|&i| header[i] == *name).collect();
            match places[..] {
                [only] => Ok(only),
                [] => Err(format!(
                    "no column `{name}`; the columns are {}",
                    header.join(", ")
                )),
                [first, second, ..] => Err(format!(
                    "columns {first} and {second} are both named `{name}`; give the column's \
                     number, or rename one"
                )),
            }
        }
        (ColumnRef::Name(name), None) => Err(format!(
            "no column `{name}`: the file has no header; give the column's number, 0 to {}",
            width.saturating_sub(1)
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tables_with_and_without_a_header() {
        let named = ColumnRef::Name("y".to_string());
        let table = parse(b"a, y ,b\n1,0,2\n3,1,4\n", Some(&named)).unwrap();
        assert_eq!(table.features.data(), [1.0, 2.0, 3.0, 4.0]);
        assert_eq!(table.features.dims(), [2, 2]);
        assert_eq!(table.target.unwrap().data(), [0.0, 1.0]);
        let table = parse(b"1,2\r\n3,4", Some(&ColumnRef::Index(1))).unwrap();
        assert_eq!(table.header, None);
        assert_eq!(table.target.unwrap().data(), [2.0, 4.0]);
        assert_eq!(parse(b"1,2\n3,4\n", None).unwrap().features.dims(), [2, 2]);
    }

    #[test]
    fn errors_name_the_place() {
        let y = ColumnRef::Name("y".to_string());
        for (text, target, want) in [
            ("", None, "the file is empty"),
            ("a,b\n", None, "no row"),
            ("a,b\n1,x\n", None, "line 2, column 1 (`b`) is `x`"),
            ("a,b\n1,\n", None, "line 2, column 1 (`b`) is empty"),
            ("a,b\n1,2\n1\n", None, "line 3 has 1 cells"),
            ("a,b\n1,nan\n", None, "line 2, column 1 (`b`) is NaN"),
            ("a,b\n1,inf\n", None, "is inf"),
            (
                "a,b\n1,2\n",
                Some(&y),
                "no column `y`; the columns are a, b",
            ),
            (
                "y,a,y\n1,2,3\n",
                Some(&y),
                "columns 0 and 2 are both named `y`",
            ),
            ("1,2\n", Some(&y), "no header"),
            // A broken first row is no header.
            ("1,x3\n5,6\n", None, "line 1, column 1 is `x3`"),
            ("1,\n5,6\n", None, "line 1, column 1 is empty"),
            (",\n5,6\n", None, "line 1, column 0 is empty"),
            ("a,b,0\n1,2,3\n", None, "a header must have a name"),
            ("1,2\n", Some(&ColumnRef::Index(2)), "no column 2"),
        ] {
            let error = parse(text.as_bytes(), target).unwrap_err();
            assert!(error.contains(want), "{text:?}: {error}");
        }
    }
}
