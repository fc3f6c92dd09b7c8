//! Sheets and marks. The right and the wrong answers are worked out here with plain
//! loops, apart from the graph and its rules.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use assert_cmd::Command;
use predicates::prelude::*;
use predicates::str::contains;
use serde_json::{Value, json};
use tempfile::TempDir;
use wgrad::sheet::{
    Activation, Mark, Mistake, Settings, Sheet, Verdict, Work, grade, read_answers,
};
use wgrad::{Tensor, io};

type Matrix = Vec<Vec<f64>>;
type Answers = BTreeMap<String, Matrix>;

/// A mistake, the value at which it is made, and which way to make it.
type Wrong<'a> = Option<(Mistake, &'a str, usize)>;

fn settings(seed: u32, layers: &[usize], activation: Activation, batch: usize) -> Settings {
    Settings {
        seed,
        layers: layers.to_vec(),
        activation,
        batch,
    }
}

fn some_settings() -> Vec<Settings> {
    vec![
        settings(7, &[4, 2, 1], Activation::Relu, 1),
        settings(8, &[4, 3, 1], Activation::Relu, 2),
        settings(9, &[3, 3, 2], Activation::Sigmoid, 2),
        settings(10, &[4, 3, 2, 2], Activation::Mixed, 3),
        settings(11, &[2, 2, 2, 2], Activation::Relu, 2),
    ]
}

/// What a printed number means: 0.1 is a tenth.
fn rows(tensor: &Tensor) -> Matrix {
    let across = tensor.dims()[1];
    let number = |v: &f32| v.to_string().parse().unwrap();
    let row = |r: &[f32]| r.iter().map(number).collect();
    tensor.data().chunks(across).map(row).collect()
}

fn transposed(a: &Matrix) -> Matrix {
    (0..a[0].len())
        .map(|j| a.iter().map(|row| row[j]).collect())
        .collect()
}

fn product(a: &Matrix, b: &Matrix) -> Matrix {
    let columns = transposed(b);
    let dot = |r: &Vec<f64>, c: &Vec<f64>| r.iter().zip(c).map(|(x, y)| x * y).sum();
    a.iter()
        .map(|r| columns.iter().map(|c| dot(r, c)).collect())
        .collect()
}

fn zip(a: &Matrix, b: &Matrix, f: impl Fn(f64, f64) -> f64) -> Matrix {
    let row = |(r, s): (&Vec<f64>, &Vec<f64>)| r.iter().zip(s).map(|(x, y)| f(*x, *y)).collect();
    a.iter().zip(b).map(row).collect()
}

/// The numbers of `a`, row by row, in rows of the length that `like` has.
fn in_shape(a: &Matrix, like: &Matrix) -> Matrix {
    let all: Vec<f64> = a.concat();
    all.chunks(like[0].len()).map(<[f64]>::to_vec).collect()
}

fn logistic(z: f64) -> f64 {
    1.0 / (1.0 + (-z).exp())
}

/// Four significant digits, as one writes them.
fn written(value: f64, digits: i32) -> String {
    if value == 0.0 {
        return "0".to_string();
    }
    let decimals = digits - 1 - value.abs().log10().floor() as i32;
    format!("{value:.*}", decimals.max(0) as usize)
}

/// Works a sheet, with a mistake if so wished; each value is rounded before it is used
/// where `rounded` says to how many digits.
fn worked(sheet: &Sheet, wrong: Wrong, rounded: Option<i32>) -> Answers {
    let keep = |m: Matrix| -> Matrix {
        let Some(digits) = rounded else { return m };
        let number = |v: f64| written(v, digits).parse().unwrap();
        m.into_iter()
            .map(|r| r.into_iter().map(number).collect())
            .collect()
    };
    let is = |mistake: Mistake, at: &str, way: usize| wrong == Some((mistake, at, way));
    let problem = &sheet.problem;
    let weights: Vec<Matrix> = (0..problem.weights.len())
        .map(|i| rows(&problem.weights[&format!("{}.weight", 2 * i)]))
        .collect();
    let text = problem.network.to_string();
    let relu = |i: usize| text.contains(&format!("({}): ReLU", 2 * i + 1));
    let mut all = Answers::new();
    let mut h = vec![rows(&problem.input)];
    // What a table of W gives when it is read the other way.
    let turned = |w: &Matrix| in_shape(&transposed(w), w);
    for (i, w) in weights.iter().enumerate() {
        let name = format!("h{}", 2 * i);
        let w = match is(Mistake::NotTransposed, &name, 0) {
            true => turned(w),
            false => w.clone(),
        };
        let z = keep(product(h.last().unwrap(), &transposed(&w)));
        let act = |v: f64, _| if relu(i) { v.max(0.0) } else { logistic(v) };
        let a = keep(zip(&z, &z, act));
        all.insert(name, z.clone());
        all.insert(format!("h{}", 2 * i + 1), a.clone());
        h.extend([z, a]);
    }
    let (p, y) = (h.last().unwrap(), rows(&problem.target));
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
        all.insert(name, keep(dw));
        if i == 0 {
            break;
        }
        let name = format!("dL/dh{}", 2 * i - 1);
        let w = match is(Mistake::NotTransposed, &name, 0) {
            true => turned(w),
            false => w.clone(),
        };
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
fn mistakes(sheet: &Sheet) -> Vec<(Mistake, String, usize)> {
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
            all.push((ProductOrder, dw, 0));
        }
        if i > 0 {
            let da = format!("dL/dh{}", 2 * i - 1);
            all.extend([(ForwardValue, da.clone(), 0), (ForwardValue, da.clone(), 1)]);
            if wide {
                all.push((NotTransposed, da.clone(), 0));
            }
            if dims[0] == dims[1] && dims[0] == batch && wide {
                all.push((ProductOrder, da, 0));
            }
        }
    }
    all
}

fn file_of(sheet: &Sheet, work: &Work, answers: &Answers, digits: i32) -> Value {
    let mut map = serde_json::Map::new();
    for asked in &work.asked {
        let of = &answers[&asked.name];
        // In quotes, so that zeros at the end stay.
        let cell = |v: &f64| json!(written(*v, digits));
        let list: Vec<Vec<Value>> = of.iter().map(|r| r.iter().map(cell).collect()).collect();
        let value = match asked.dims.is_empty() {
            true => list[0][0].clone(),
            false => json!(list),
        };
        map.insert(asked.name.clone(), value);
    }
    json!({ "sheet": sheet.about, "answers": map })
}

fn marks_of(sheet: &Sheet, work: &Work, file: &Value) -> Vec<Mark> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("answers.json");
    fs::write(&path, file.to_string()).unwrap();
    grade(work, &read_answers(&path, sheet, work).unwrap())
}

fn drawn(settings: &Settings) -> (Sheet, Work) {
    let sheet = Sheet::draw(settings).unwrap();
    let work = Work::new(&sheet.problem).unwrap();
    (sheet, work)
}

#[test]
fn right_answers_are_right_to_any_digits() {
    for settings in some_settings() {
        let (sheet, work) = drawn(&settings);
        let exact = worked(&sheet, None, None);
        for (right, asked) in work.right().iter().zip(&work.asked) {
            let here = exact[&asked.name].concat();
            assert_eq!(right.len(), here.len());
            for (a, b) in right.iter().zip(&here) {
                assert!((a - b).abs() < 1e-12, "{}: {a} and {b}", asked.name);
            }
        }
        for digits in 2..12 {
            let marks = marks_of(&sheet, &work, &file_of(&sheet, &work, &exact, digits));
            for mark in &marks {
                assert_eq!(mark.verdict, Verdict::Right, "{digits}: {}", mark.name);
                assert!(mark.elements.iter().all(|e| e.right && e.given.is_some()));
            }
        }
        // Worked on with what was written down.
        for digits in [4, 6] {
            let by_hand = worked(&sheet, None, Some(digits));
            for mark in marks_of(&sheet, &work, &file_of(&sheet, &work, &by_hand, digits)) {
                assert_eq!(mark.verdict, Verdict::Right, "{digits}: {}", mark.name);
            }
        }
    }
}

/// Each mistake, at each place where it can be made, is called by its name, and what
/// comes after it is right or follows from it.
#[test]
fn every_mistake_is_told_from_the_others() {
    let mut seen = BTreeMap::new();
    for settings in some_settings() {
        let (sheet, work) = drawn(&settings);
        for (mistake, at, way) in mistakes(&sheet) {
            for rounded in [Some(4), None] {
                let answers = worked(&sheet, Some((mistake, &at, way)), rounded);
                let marks = marks_of(&sheet, &work, &file_of(&sheet, &work, &answers, 4));
                let case = format!("{mistake:?} {way} at {at} of {settings:?}, {rounded:?}");
                let first = marks.iter().position(|m| m.name == at).unwrap();
                for (i, mark) in marks.iter().enumerate() {
                    match (&mark.verdict, i == first) {
                        (Verdict::Mistaken(found), true) => {
                            assert_eq!(found.len(), 1, "{case}: {found:?}");
                            assert_eq!(found[0].mistake, mistake, "{case}");
                            assert_eq!(found[0].at, [at.as_str()], "{case}");
                            assert!(found[0].with.is_empty(), "{case}");
                        }
                        (Verdict::Right, false) => {}
                        (Verdict::Carried(from), false) => {
                            assert!(i > first && !from.is_empty(), "{case}: {from:?}");
                        }
                        (verdict, _) => panic!("{case}: {} is {verdict:?}", mark.name),
                    }
                }
                *seen.entry(format!("{mistake:?}")).or_insert(0) += 1;
            }
        }
    }
    assert_eq!(seen.len(), Mistake::ALL.len(), "{seen:?}");
    eprintln!("{seen:?}");
}

/// The mistake alone, where nothing before it is filled in.
#[test]
fn a_mistake_before_the_first_answer_is_found() {
    let (sheet, work) = drawn(&settings(8, &[4, 3, 1], Activation::Relu, 2));
    let wrong = Some((Mistake::ReluMask, "dL/dh0", 0));
    let mut file = file_of(&sheet, &work, &worked(&sheet, wrong, None), 5);
    for asked in &work.asked {
        if asked.name != "dL/dW0" {
            file["answers"][&asked.name] = Value::Null;
        }
    }
    let marks = marks_of(&sheet, &work, &file);
    for mark in &marks {
        match &mark.verdict {
            Verdict::Blank => assert_ne!(mark.name, "dL/dW0"),
            Verdict::Mistaken(found) => {
                assert_eq!((found.len(), found[0].mistake), (1, Mistake::ReluMask));
                assert_eq!(found[0].at, ["dL/dh0"]);
            }
            other => panic!("{}: {other:?}", mark.name),
        }
    }
}

#[test]
fn a_transpose_in_place_of_a_gradient_is_the_wrong_order() {
    // Of a row of weights the transpose has the same numbers, and another shape.
    let (sheet, work) = drawn(&settings(8, &[4, 3, 1], Activation::Relu, 2));
    let mut file = file_of(&sheet, &work, &worked(&sheet, None, None), 5);
    let row = file["answers"]["dL/dW2"][0].as_array().unwrap().clone();
    file["answers"]["dL/dW2"] = row.into_iter().map(|v| json!([v])).collect();
    for mark in marks_of(&sheet, &work, &file) {
        match (&mark.verdict, mark.name.as_str()) {
            (Verdict::Mistaken(found), "dL/dW2") => {
                assert_eq!(found[0].mistake, Mistake::ProductOrder);
                assert!(mark.elements.iter().all(|e| !e.right));
            }
            (verdict, name) => assert_eq!((verdict, name != "dL/dW2"), (&Verdict::Right, true)),
        }
    }
}

#[test]
fn what_is_no_known_mistake_is_called_none() {
    let (sheet, work) = drawn(&settings(8, &[4, 3, 1], Activation::Relu, 2));
    let mut answers = worked(&sheet, None, Some(5));
    answers.get_mut("dL/dW0").unwrap()[1][2] += 0.0713;
    answers.get_mut("L").unwrap()[0][0] += 0.0391;
    for mark in marks_of(&sheet, &work, &file_of(&sheet, &work, &answers, 5)) {
        let slipped = ["dL/dW0", "L"].contains(&mark.name.as_str());
        let want = if slipped {
            Verdict::Unknown
        } else {
            Verdict::Right
        };
        assert_eq!(mark.verdict, want, "{}", mark.name);
        let wrong = mark.elements.iter().filter(|e| !e.right).count();
        assert_eq!(wrong, usize::from(slipped), "{}", mark.name);
    }
    // A slip in the first value is carried through all that follows from it.
    let (sheet, work) = drawn(&settings(9, &[3, 3, 2], Activation::Sigmoid, 2));
    let mut answers = worked(&sheet, None, None);
    answers.get_mut("h0").unwrap()[0][0] += 0.25;
    let z = answers["h0"].clone();
    answers.insert("h1".to_string(), zip(&z, &z, |z, _| logistic(z)));
    let marks = marks_of(&sheet, &work, &file_of(&sheet, &work, &answers, 6));
    assert_eq!(marks[0].verdict, Verdict::Unknown);
    assert_eq!(marks[1].verdict, Verdict::Carried(vec!["h0".to_string()]));
}

/// A second mistake is found on top of what the first one made wrong.
#[test]
fn a_mistake_is_found_on_top_of_another() {
    let (sheet, work) = drawn(&settings(8, &[4, 3, 1], Activation::Relu, 2));
    let mut answers = worked(&sheet, Some((Mistake::NotTransposed, "h0", 0)), Some(5));
    let unmasked = answers["dL/dh1"].clone();
    let dw = product(&transposed(&unmasked), &rows(&sheet.problem.input));
    assert_ne!(unmasked, answers["dL/dh0"]);
    answers.insert("dL/dh0".to_string(), unmasked);
    answers.insert("dL/dW0".to_string(), dw);
    let marks = marks_of(&sheet, &work, &file_of(&sheet, &work, &answers, 5));
    let mistaken: Vec<_> = marks
        .iter()
        .filter_map(|mark| match &mark.verdict {
            Verdict::Mistaken(found) => {
                Some((mark.name.as_str(), found[0].mistake, found[0].with.len()))
            }
            Verdict::Unknown => panic!("{}", mark.name),
            _ => None,
        })
        .collect();
    assert_eq!(
        mistaken,
        [
            ("h0", Mistake::NotTransposed, 0),
            ("dL/dh0", Mistake::ReluMask, 2)
        ]
    );
    let last = marks.last().unwrap();
    assert_eq!(last.verdict, Verdict::Carried(vec!["dL/dh0".to_string()]));
}

#[test]
fn few_digits_and_gaps_are_not_yet_right() {
    let (sheet, work) = drawn(&settings(7, &[4, 2, 1], Activation::Relu, 1));
    let exact = worked(&sheet, None, None);
    let mut file = file_of(&sheet, &work, &exact, 5);
    // A sigmoid's output is 0 or 1 to no decimals.
    file["answers"]["h3"] = json!([[exact["h3"][0][0].round()]]).clone();
    file["answers"]["h0"][0][1] = Value::Null;
    let marks = marks_of(&sheet, &work, &file);
    let verdict = |name: &str| &marks.iter().find(|m| m.name == name).unwrap().verdict;
    assert_eq!(verdict("h0"), &Verdict::Incomplete);
    assert_eq!(verdict("h1"), &Verdict::Right);
    // `1.0` is one decimal, and too far from a value below 0.95.
    assert!(matches!(verdict("h3"), Verdict::Unknown | Verdict::Coarse));
    let text = file
        .to_string()
        .replace("1.0", "1")
        .replace("[[0.0]]", "[[0]]");
    let marks = marks_of(&sheet, &work, &serde_json::from_str(&text).unwrap());
    let h3 = marks.iter().find(|m| m.name == "h3").unwrap();
    assert_eq!(h3.verdict, Verdict::Coarse);
}

#[test]
fn sheets_can_be_worked_by_hand() {
    let activations = [Activation::Relu, Activation::Sigmoid, Activation::Mixed];
    for seed in 0..12 {
        for activation in activations {
            let layers: &[usize] = [&[4, 2, 1][..], &[4, 3, 1], &[3, 4, 3, 2]][seed as usize % 3];
            let settings = settings(seed, layers, activation, 1 + seed as usize % 3);
            let (sheet, _) = drawn(&settings);
            let again = Sheet::draw(&settings).unwrap();
            assert_eq!(sheet.problem.weights, again.problem.weights);
            assert_eq!(sheet.problem.input, again.problem.input);
            let text = sheet.problem.network.to_string();
            let values = worked(&sheet, None, None);
            for i in 0..layers.len() - 1 {
                let z = values[&format!("h{}", 2 * i)].concat();
                let a = values[&format!("h{}", 2 * i + 1)].concat();
                if text.contains(&format!("({}): ReLU", 2 * i + 1)) {
                    assert!(z.iter().any(|z| *z < 0.0), "a dead ReLU: {settings:?}");
                    assert!(z.iter().all(|z| z.abs() > 0.01), "{settings:?}");
                } else {
                    assert!(a.iter().all(|s| (0.1..0.9).contains(s)), "{settings:?}");
                }
            }
            for weight in sheet.problem.weights.values() {
                assert!(weight.data().iter().all(|w| w.to_string().len() <= 4));
            }
            assert!(
                sheet
                    .problem
                    .input
                    .data()
                    .iter()
                    .all(|x| x.to_string().len() <= 4)
            );
        }
    }
    let one = Sheet::draw(&settings(1, &[4, 2, 1], Activation::Relu, 1)).unwrap();
    let two = Sheet::draw(&settings(2, &[4, 2, 1], Activation::Relu, 1)).unwrap();
    assert_ne!(one.problem.weights, two.problem.weights);
}

fn wgrad() -> Command {
    let mut command = Command::cargo_bin("wgrad").unwrap();
    command
        .env("WGRAD_CACHE_DIR", "")
        .env("LC_ALL", "C.UTF-8")
        .env_remove("COLUMNS");
    command
}

/// A sheet in a folder, as the command line writes it.
fn folder(arguments: &[&str]) -> (TempDir, PathBuf) {
    let root = tempfile::tempdir().unwrap();
    let sheet = root.path().join("sheet");
    wgrad()
        .args(["sheet", "--seed", "7", "--cpu", "-o"])
        .arg(&sheet)
        .args(arguments)
        .assert()
        .success()
        .stdout(contains("sheet.html").and(contains("solution.html")));
    (root, sheet)
}

fn grading(answers: &Path, sheet: &Path) -> Command {
    let mut command = wgrad();
    command.arg("grade").arg(answers).arg("--sheet").arg(sheet);
    command
}

#[test]
fn the_command_line_draws_and_grades() {
    let (root, at) = folder(&["--layers", "4,3,1", "--batch", "2"]);
    let sheet = Sheet::read(&at).unwrap();
    let work = Work::new(&sheet.problem).unwrap();
    let (same, _) = drawn(&settings(7, &[4, 3, 1], Activation::Relu, 2));
    assert_eq!(sheet.problem.weights, same.problem.weights);
    assert_eq!(sheet.problem.input, same.problem.input);
    assert_eq!(sheet.problem.target, same.problem.target);
    assert_eq!(sheet.about, same.about);
    let model = io::read(&at.join("model.pth")).unwrap();
    let keys: Vec<_> = model.tensors.iter().map(|t| t.key.as_str()).collect();
    assert_eq!(keys, ["0.weight", "2.weight"]);

    let page = fs::read_to_string(at.join("sheet.html")).unwrap();
    let page = page.replace("&#x2f;", "/");
    for asked in &work.asked {
        assert!(page.contains(&format!("<code>{}</code>", asked.name)));
    }
    assert!(page.contains("<svg") && !page.contains("<script"));
    // The page to fill in gives nothing away.
    let solution = fs::read_to_string(at.join("solution.html")).unwrap();
    let loss = (work.right()[4].first().copied().unwrap() as f32).to_string();
    assert!(solution.contains(&loss) && !page.contains(&loss[..6]));

    // Twice the same files, but for the solution's date and command.
    let (_kept, other) = folder(&["--layers", "4,3,1", "--batch", "2"]);
    for name in ["sheet.html", "answers.template.json", "model.pth"] {
        let [a, b] = [&at, &other].map(|f| fs::read(f.join(name)).unwrap());
        assert!(a == b, "{name}");
    }

    let blank = at.join("answers.template.json");
    grading(&blank, &at)
        .assert()
        .code(1)
        .stdout(contains("11 open"));
    let answers = root.path().join("answers.json");
    let right = file_of(&sheet, &work, &worked(&sheet, None, None), 5);
    fs::write(&answers, right.to_string()).unwrap();
    grading(&answers, &at)
        .assert()
        .success()
        .stdout(contains("ALL RIGHT").and(contains("11/11")));
    let wrong = worked(&sheet, Some((Mistake::OneOverN, "dL/dh3", 0)), Some(5));
    fs::write(&answers, file_of(&sheet, &work, &wrong, 5).to_string()).unwrap();
    grading(&answers, &at).assert().code(1).stdout(
        contains("1/N forgotten")
            .and(contains("follows rightly from your dL/dh3"))
            .and(contains("5 consistent")),
    );
    let output = grading(&answers, &at).arg("--json").assert().code(1);
    let json: Value = serde_json::from_slice(&output.get_output().stdout).unwrap();
    assert_eq!(json["summary"]["wrong"], 1);
    let mark = &json["marks"][5];
    assert_eq!(
        (&mark["name"], &mark["verdict"]),
        (&json!("dL/dh3"), &json!("mistake"))
    );
    assert_eq!(mark["mistakes"][0]["mistake"], "mean_without_1_over_n");
    assert_eq!(json["marks"][6]["consistent_with"], json!(["dL/dh3"]));
}

#[test]
fn bad_answers_are_named_with_their_place() {
    let (root, at) = folder(&[]);
    let template = fs::read_to_string(at.join("answers.template.json")).unwrap();
    let h0 = r#""h0": [[null, null]]"#;
    assert!(template.contains(h0));
    let deep = format!(r#""h0": {}1{}"#, "[".repeat(100_000), "]".repeat(100_000));
    let long = format!(r#""h0": [[{}, 1]]"#, "1".repeat(100));
    let many = format!(r#""h0": [{}]"#, vec!["[1, 2]"; 10_000].join(","));
    let swap = |with: &str| template.replace(h0, with);
    let cases: Vec<(String, &str)> = vec![
        (
            swap(r#""h0": [[1, 2, 3]]"#),
            "`h0`: a list of 2 numbers is wanted, got 3 items",
        ),
        (
            swap(r#""h0": [1, 2]"#),
            "a list of rows is wanted, 1 of [2] numbers, got 2 items",
        ),
        (swap(r#""h0": [[1, [2]]]"#), "a number is wanted, got [2]"),
        (
            swap(r#""h0": 3"#),
            "a list of rows is wanted, 1 of [2] numbers, got 3",
        ),
        (swap(r#""h0": [[NaN, 1]]"#), "JSON has no NaN"),
        (swap(r#""h0": [["NaN", 1]]"#), "`NaN` is no decimal number"),
        (swap(r#""h0": [["1e999", 1]]"#), "beyond any float64"),
        (
            swap(r#""h0": [[1e999, 1]]"#),
            "`1e999` is beyond any float64",
        ),
        (swap(r#""h0": [[true, 1]]"#), "`true` is no decimal number"),
        (swap(&long), "more than 40 characters"),
        (swap(&many), "got 10000 items"),
        (swap(&deep), "a list of 2 numbers is wanted, got 1 items"),
        (
            swap(r#""h9": [[1, 2]]"#),
            "`h9` is not asked for; it asks for h0, h1",
        ),
        (template.replace(&format!("{h0},"), ""), "`h0` is missing"),
        (
            template.replace(r#""seed": 7"#, r#""seed": 8"#),
            "answers to another sheet",
        ),
        (
            template.replace(r#""answers""#, r#""answer""#),
            "no \"answers\" in it",
        ),
        (template.replace('}', ""), "no file of answers"),
        ("[]".to_string(), "no file of answers"),
        (String::new(), "no file of answers"),
        (" ".repeat(2 << 20), "1048576"),
    ];
    for (i, (text, want)) in cases.iter().enumerate() {
        assert!(*text != template, "case {i} changes nothing");
        let path = root.path().join("bad.json");
        fs::write(&path, text).unwrap();
        grading(&path, &at).assert().code(4).stderr(
            contains(*want)
                .and(contains("bad.json"))
                .and(contains("panicked").not()),
        );
    }
    // Numbers beyond all sense are wrong, and no error.
    let path = root.path().join("large.json");
    fs::write(&path, swap(r#""h0": [[1e308, -1e308]]"#)).unwrap();
    grading(&path, &at)
        .assert()
        .code(1)
        .stdout(contains("none of the known mistakes"));
    let nowhere = root.path().join("nowhere");
    grading(&path, &nowhere)
        .assert()
        .code(4)
        .stderr(contains("wgrad sheet wrote"));
    grading(&nowhere, &at)
        .assert()
        .code(4)
        .stderr(contains("nowhere"));
    let template = at.join("answers.template.json");
    let text = fs::read_to_string(&template).unwrap();
    for (old, new, want) in [
        ("ReLU", "Roulade", "unknown layer"),
        ("BCELoss", "Loss", "loss"),
        (
            r#""x": [["#,
            r#""x": [["a", "#,
            "`x`: a list of rows of numbers is wanted",
        ),
        (r#""y": "#, r#""z": "#, "there is no \"y\" given"),
        ("{", "", "answers.template.json"),
    ] {
        assert!(text.contains(old));
        fs::write(&template, text.replace(old, new)).unwrap();
        grading(&path, &at).assert().code(4).stderr(contains(want));
    }
    fs::write(&template, text).unwrap();
    fs::write(at.join("model.pth"), b"PK nothing").unwrap();
    grading(&path, &at)
        .assert()
        .code(4)
        .stderr(contains("model.pth"));
}

#[test]
fn sheets_that_cannot_be_are_refused() {
    let root = tempfile::tempdir().unwrap();
    let cases: [(&[&str], &str); 7] = [
        (&["--layers", "4"], "give 2 to 6"),
        (&["--layers", "4,0,1"], "whole numbers from 1"),
        (&["--layers", "400,2,1"], "sizes from 1 to 8"),
        (&["--layers", "4,1,1"], "a single ReLU"),
        (&["--batch", "0"], "1 to 8 rows"),
        (&["--batch", "9"], "1 to 8 rows"),
        (&["--activation", "tanh"], "possible values"),
    ];
    for (arguments, want) in cases {
        wgrad()
            .args(["sheet", "--cpu", "-o"])
            .arg(root.path().join("s"))
            .args(arguments)
            .assert()
            .code(2)
            .stderr(contains(want));
    }
    let file = root.path().join("file");
    fs::write(&file, "").unwrap();
    wgrad()
        .args(["sheet", "--cpu", "-o"])
        .arg(file.join("below"))
        .assert()
        .code(4)
        .stderr(contains("name a folder"));
}
