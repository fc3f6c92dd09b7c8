//! Sheets worked with plain loops, apart from the graph and its rules, right and with
//! each mistake.

#![allow(dead_code)] // each test file uses a part

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use assert_cmd::Command;
use predicates::str::contains;
use serde_json::{Value, json};
use tempfile::TempDir;
use wgrad::Tensor;
use wgrad::sheet::{Activation, Mark, Mistake, Settings, Sheet, Work, grade, read_answers};

pub type Matrix = Vec<Vec<f64>>;
pub type Answers = BTreeMap<String, Matrix>;

/// A mistake, the value at which it is made, and which way to make it.
pub type Wrong<'a> = Option<(Mistake, &'a str, usize)>;

pub fn settings(seed: u32, layers: &[usize], activation: Activation, batch: usize) -> Settings {
    Settings {
        seed,
        layers: layers.to_vec(),
        activation,
        batch,
    }
}

/// For a program the float32 numbers as they are in the files.
pub fn exact(tensor: &Tensor) -> Matrix {
    let row = |r: &[f32]| r.iter().map(|v| f64::from(*v)).collect();
    tensor.data().chunks(tensor.dims()[1]).map(row).collect()
}

/// What a printed number means: 0.1 is a tenth.
pub fn rows(tensor: &Tensor) -> Matrix {
    let across = tensor.dims()[1];
    let number = |v: &f32| v.to_string().parse().unwrap();
    let row = |r: &[f32]| r.iter().map(number).collect();
    tensor.data().chunks(across).map(row).collect()
}

pub fn transposed(a: &Matrix) -> Matrix {
    (0..a[0].len())
        .map(|j| a.iter().map(|row| row[j]).collect())
        .collect()
}

pub fn product(a: &Matrix, b: &Matrix) -> Matrix {
    let columns = transposed(b);
    let dot = |r: &Vec<f64>, c: &Vec<f64>| r.iter().zip(c).map(|(x, y)| x * y).sum();
    a.iter()
        .map(|r| columns.iter().map(|c| dot(r, c)).collect())
        .collect()
}

pub fn zip(a: &Matrix, b: &Matrix, f: impl Fn(f64, f64) -> f64) -> Matrix {
    let row = |(r, s): (&Vec<f64>, &Vec<f64>)| r.iter().zip(s).map(|(x, y)| f(*x, *y)).collect();
    a.iter().zip(b).map(row).collect()
}

/// The numbers of `a`, row by row, in rows of the length that `like` has.
pub fn in_shape(a: &Matrix, like: &Matrix) -> Matrix {
    let all: Vec<f64> = a.concat();
    all.chunks(like[0].len()).map(<[f64]>::to_vec).collect()
}

pub fn logistic(z: f64) -> f64 {
    1.0 / (1.0 + (-z).exp())
}

/// Four significant digits, as one writes them.
pub fn written(value: f64, digits: i32) -> String {
    if value == 0.0 {
        return "0".to_string();
    }
    let decimals = digits - 1 - value.abs().log10().floor() as i32;
    format!("{value:.*}", decimals.max(0) as usize)
}

/// Works a sheet, with a mistake if so wished; each value is rounded before it is used
/// where `rounded` says to how many digits.
pub fn worked(sheet: &Sheet, wrong: Wrong, rounded: Option<i32>) -> Answers {
    let keep = |m: Matrix| -> Matrix {
        let Some(digits) = rounded else { return m };
        let number = |v: f64| written(v, digits).parse().unwrap();
        m.into_iter()
            .map(|r| r.into_iter().map(number).collect())
            .collect()
    };
    let is = |mistake: Mistake, at: &str, way: usize| wrong == Some((mistake, at, way));
    let problem = &sheet.problem;
    let read = if sheet.for_program { exact } else { rows };
    let weights: Vec<Matrix> = (0..problem.weights.len())
        .map(|i| read(&problem.weights[&format!("{}.weight", 2 * i)]))
        .collect();
    let text = problem.network.to_string();
    let relu = |i: usize| text.contains(&format!("({}): ReLU", 2 * i + 1));
    let mut all = Answers::new();
    let mut h = vec![read(&problem.input)];
    // What a table of W gives when it is read the other way.
    let turned = |w: &Matrix| in_shape(&transposed(w), w);
    // A flat list of W counted as if its rows were inputs.
    let reshaped = |w: &Matrix| transposed(&in_shape(w, &transposed(w)));
    let mistaken = |w: &Matrix, at: &str| {
        if is(Mistake::NotTransposed, at, 0) {
            turned(w)
        } else if is(Mistake::NotTransposed, at, 1) {
            reshaped(w)
        } else {
            w.clone()
        }
    };
    for (i, w) in weights.iter().enumerate() {
        let name = format!("h{}", 2 * i);
        let w = mistaken(w, &name);
        let z = keep(product(h.last().unwrap(), &transposed(&w)));
        let act = |v: f64, _| if relu(i) { v.max(0.0) } else { logistic(v) };
        let a = keep(zip(&z, &z, act));
        all.insert(name, z.clone());
        all.insert(format!("h{}", 2 * i + 1), a.clone());
        h.extend([z, a]);
    }
    let (p, y) = (h.last().unwrap(), read(&problem.target));
    let n = p.concat().len() as f64;
    let each = zip(p, &y, |p, y| -(y * p.ln() + (1.0 - y) * (1.0 - p).ln()));
    let mut loss = each.concat().iter().sum::<f64>() / n;
    if is(Mistake::BceSign, "L", 0) {
        loss = -loss;
    }
    if is(Mistake::OneOverN, "L", 0) {
        loss *= n;
    }
    all.insert("L".to_string(), keep(vec![vec![loss]]));
    let last = 2 * weights.len() - 1;
    let at = format!("dL/dh{last}");
    let sign = if is(Mistake::BceSign, &at, 0) {
        -1.0
    } else {
        1.0
    };
    let share = if is(Mistake::OneOverN, &at, 0) {
        1.0
    } else {
        n
    };
    let mut g = zip(p, &y, |p, y| sign * (p - y) / (p * (1.0 - p)) / share);
    if is(Mistake::ForwardValue, &at, 1) {
        g = p.clone();
    }
    g = keep(g);
    all.insert(at, g.clone());
    for (i, w) in weights.iter().enumerate().rev() {
        // h[0] is x.
        let (x, z, a) = (&h[2 * i], &h[2 * i + 1], &h[2 * i + 2]);
        let name = format!("dL/dh{}", 2 * i);
        let from = match is(Mistake::ForwardValue, &name, 0) {
            true => a.clone(),
            false => g.clone(),
        };
        let slope = |z: f64, a: f64| match relu(i) {
            true if is(Mistake::ReluMask, &name, 0) => 1.0,
            true => f64::from(u8::from(z > 0.0)),
            false if is(Mistake::SigmoidPoint, &name, 0) => z * (1.0 - z),
            false if is(Mistake::SigmoidPoint, &name, 1) => logistic(a) * (1.0 - logistic(a)),
            false => a * (1.0 - a),
        };
        let mut dz = zip(&from, &zip(z, a, slope), |g, s| g * s);
        if is(Mistake::ForwardValue, &name, 1) {
            dz = z.clone();
        }
        let dz = keep(dz);
        all.insert(name, dz.clone());
        let name = format!("dL/dW{}", 2 * i);
        let of = match is(Mistake::ForwardValue, &name, 0) {
            true => z,
            false => &dz,
        };
        let mut dw = product(&transposed(of), x);
        if is(Mistake::ProductOrder, &name, 0) {
            dw = in_shape(&product(&transposed(x), of), w);
        }
        if is(Mistake::ProductOrder, &name, 1) {
            // The transpose at the same index, as far as it has one.
            let other = product(&transposed(x), of);
            let at = |i: usize, j: usize| other.get(i).and_then(|r| r.get(j)).copied();
            let row = |i: usize| {
                (0..w[0].len())
                    .map(|j| at(i, j).unwrap_or(f64::NAN))
                    .collect()
            };
            dw = (0..w.len()).map(row).collect();
        }
        all.insert(name, keep(dw));
        if i == 0 {
            break;
        }
        let name = format!("dL/dh{}", 2 * i - 1);
        let w = mistaken(w, &name);
        let of = match is(Mistake::ForwardValue, &name, 0) {
            true => z,
            false => &dz,
        };
        g = product(of, &w);
        if is(Mistake::ProductOrder, &name, 0) {
            g = product(&w, of);
        }
        if is(Mistake::ForwardValue, &name, 1) {
            g = x.clone();
        }
        g = keep(g);
        all.insert(name, g.clone());
    }
    all
}

/// Every mistake that can be made on a sheet: at which value, in which way.
pub fn mistakes(sheet: &Sheet) -> Vec<(Mistake, String, usize)> {
    use Mistake::{
        BceSign, ForwardValue, NotTransposed, OneOverN, ProductOrder, ReluMask, SigmoidPoint,
    };
    let text = sheet.problem.network.to_string();
    let count = sheet.problem.weights.len();
    let batch = sheet.problem.input.dims()[0];
    let mut all = Vec::new();
    let n = sheet.problem.target.data().len();
    let last = format!("dL/dh{}", 2 * count - 1);
    all.extend([
        (BceSign, "L".to_string(), 0),
        (BceSign, last.clone(), 0),
        (ForwardValue, last.clone(), 1),
    ]);
    if n > 1 {
        all.extend([(OneOverN, "L".to_string(), 0), (OneOverN, last, 0)]);
    }
    for i in 0..count {
        let dims = sheet.problem.weights[&format!("{}.weight", 2 * i)].dims();
        let wide = dims.iter().all(|d| *d > 1);
        let oblong = sheet.for_program && dims[0] != dims[1];
        let dz = format!("dL/dh{}", 2 * i);
        all.extend([(ForwardValue, dz.clone(), 0), (ForwardValue, dz.clone(), 1)]);
        if text.contains(&format!("({}): ReLU", 2 * i + 1)) {
            all.push((ReluMask, dz, 0));
        } else {
            all.extend([(SigmoidPoint, dz.clone(), 0), (SigmoidPoint, dz, 1)]);
        }
        let dw = format!("dL/dW{}", 2 * i);
        all.push((ForwardValue, dw.clone(), 0));
        if wide {
            all.push((NotTransposed, format!("h{}", 2 * i), 0));
            all.push((ProductOrder, dw.clone(), 0));
        }
        // Of values that are given whole the shape is another.
        if wide && oblong {
            all.push((NotTransposed, format!("h{}", 2 * i), 1));
            if sheet.picks.contains_key(&dw) {
                all.push((ProductOrder, dw, 1));
            }
        }
        if i > 0 {
            let da = format!("dL/dh{}", 2 * i - 1);
            all.extend([(ForwardValue, da.clone(), 0), (ForwardValue, da.clone(), 1)]);
            if wide {
                all.push((NotTransposed, da.clone(), 0));
            }
            if wide && oblong {
                all.push((NotTransposed, da.clone(), 1));
            }
            if dims[0] == dims[1] && dims[0] == batch && wide {
                all.push((ProductOrder, da, 0));
            }
        }
    }
    all
}

pub fn file_of(sheet: &Sheet, work: &Work, answers: &Answers, digits: i32) -> Value {
    let mut map = serde_json::Map::new();
    for asked in &work.asked {
        let of = &answers[&asked.name];
        // In quotes, so that zeros at the end stay.
        let cell = |v: &f64| match v.is_nan() {
            true => Value::Null,
            false => json!(written(*v, digits)),
        };
        if asked.picks.is_some() {
            let one = |k| {
                let index = asked.index(k);
                let key = format!("[{}, {}]", index[0], index[1]);
                (key, cell(&of[index[0]][index[1]]))
            };
            let list = (0..asked.count()).map(one).collect();
            map.insert(asked.name.clone(), Value::Object(list));
            continue;
        }
        let list: Vec<Vec<Value>> = of.iter().map(|r| r.iter().map(cell).collect()).collect();
        let value = match asked.dims.is_empty() {
            true => list[0][0].clone(),
            false => json!(list),
        };
        map.insert(asked.name.clone(), value);
    }
    json!({ "sheet": sheet.about, "answers": map })
}

pub fn marks_of(sheet: &Sheet, work: &Work, file: &Value) -> Vec<Mark> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("answers.json");
    fs::write(&path, file.to_string()).unwrap();
    grade(work, &read_answers(&path, sheet, work).unwrap())
}

pub fn drawn(settings: &Settings) -> (Sheet, Work) {
    let sheet = Sheet::draw(settings).unwrap();
    let work = sheet.work().unwrap();
    (sheet, work)
}

pub fn wgrad() -> Command {
    let mut command = Command::cargo_bin("wgrad").unwrap();
    command
        .env("WGRAD_CACHE_DIR", "")
        .env("LC_ALL", "C.UTF-8")
        .env_remove("COLUMNS");
    command
}

/// A sheet in a folder, as the command line writes it and tells of these files.
pub fn folder(arguments: &[&str], files: &[&str]) -> (TempDir, PathBuf) {
    let root = tempfile::tempdir().unwrap();
    let sheet = root.path().join("sheet");
    let mut drawn = wgrad()
        .args(["sheet", "--seed", "7", "--cpu", "-o"])
        .arg(&sheet)
        .args(arguments)
        .assert()
        .success();
    for file in files {
        drawn = drawn.stdout(contains(*file));
    }
    (root, sheet)
}

pub fn grading(answers: &Path, sheet: &Path) -> Command {
    let mut command = wgrad();
    command.arg("grade").arg(answers).arg("--sheet").arg(sheet);
    command
}
