//! Sheets and marks. The right and the wrong answers are worked out here with plain
//! loops, apart from the graph and its rules.

#[path = "common/by_hand.rs"]
mod by_hand;

use std::collections::BTreeMap;
use std::fs;

use by_hand::{
    drawn, file_of, folder, grading, logistic, marks_of, mistakes, product, rows, settings,
    transposed, wgrad, worked, zip,
};
use predicates::prelude::*;
use predicates::str::contains;
use serde_json::{Value, json};
use wgrad::io;
use wgrad::sheet::{Activation, Mistake, Settings, Sheet, Verdict, Work};

fn some_settings() -> Vec<Settings> {
    vec![
        settings(7, &[4, 2, 1], Activation::Relu, 1),
        settings(8, &[4, 3, 1], Activation::Relu, 2),
        settings(9, &[3, 3, 2], Activation::Sigmoid, 2),
        settings(10, &[4, 3, 2, 2], Activation::Mixed, 3),
        settings(11, &[2, 2, 2, 2], Activation::Relu, 2),
    ]
}

/// The numbers of a seed are the same in every version.
#[test]
fn sheets_of_a_seed_stay_as_they_are() {
    let mut text = String::new();
    for settings in some_settings() {
        let (sheet, work) = drawn(&settings);
        for (key, weight) in &sheet.problem.weights {
            text += &format!("{key} {:?}\n", weight.data());
        }
        text += &format!("{}\n", sheet.template(&work));
    }
    insta::assert_snapshot!("sheets", text);
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

#[test]
fn the_command_line_draws_and_grades() {
    let (root, at) = folder(
        &["--layers", "4,3,1", "--batch", "2"],
        &["sheet.html", "solution.html"],
    );
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
    let (_kept, other) = folder(
        &["--layers", "4,3,1", "--batch", "2"],
        &["sheet.html", "solution.html"],
    );
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

/// What one works with by hand is on the page in digits, however much it is.
#[test]
fn the_page_to_fill_in_has_every_number_that_is_given() {
    let (sheet, work) = drawn(&settings(3, &[8, 5, 1], Activation::Relu, 2));
    let page = wgrad::report::page::sheet(&sheet, &work, "title").unwrap();
    let weights = sheet.problem.weights.values();
    for value in weights.chain([&sheet.problem.input]).flat_map(|t| t.data()) {
        let digits = value.to_string().replace('-', "\u{2212}");
        assert!(page.contains(&format!("<mn>{digits}</mn>")), "{digits}");
    }
    let count = page.matches("<mtd><mn>").count();
    assert_eq!(count, 8 * 5 + 5 + 2 * 8 + 2);
    assert!(!page.contains("class=\"heat-map\""));
}

#[test]
fn bad_answers_are_named_with_their_place() {
    let (root, at) = folder(&[], &["sheet.html", "solution.html"]);
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
    let cases: [(&[&str], &str); 9] = [
        (&["--layers", "4"], "give 2 to 6"),
        (&["--layers", "4,0,1"], "whole numbers from 1"),
        (
            &["--layers", "2049,2048,1"],
            "4198400 weights, of which a sheet has at most 4194304",
        ),
        (&["--layers", "9,8,8,8,8,8,1"], "give 2 to 6"),
        (&["--layers", "1048575,1"], "makes 2097152 numbers"),
        (&["--layers", "4,1,1"], "a single ReLU"),
        (&["--batch", "0"], "1 to 8 rows to work by hand, up to 4096"),
        (
            &["--batch", "4097"],
            "1 to 8 rows to work by hand, up to 4096",
        ),
        (&["--activation", "tanh"], "possible values"),
    ];
    for (arguments, want) in cases {
        wgrad()
            .args(["sheet", "--cpu", "-o"])
            .arg(root.path().join("s"))
            .args(
                ["--batch", "2"]
                    .iter()
                    .filter(|_| !arguments.contains(&"--batch")),
            )
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
