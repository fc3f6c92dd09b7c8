//! Sheets that are too large to work by hand: exercises for a program. What such a
//! program would give is worked out here with plain loops.

#[path = "common/by_hand.rs"]
mod by_hand;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;

use by_hand::{drawn, exact, file_of, folder, grading, marks_of, mistakes, settings, worked};
use predicates::prelude::*;
use predicates::str::contains;
use serde_json::{Value, json};
use wgrad::io;
use wgrad::sheet::{
    Activation, Mark, Mistake, Settings, Sheet, Verdict, Work, grade, parse_answers,
};

fn some_settings() -> Vec<Settings> {
    vec![
        settings(7, &[20, 12, 9, 1], Activation::Relu, 12),
        settings(8, &[16, 16, 16, 2], Activation::Mixed, 16),
        settings(9, &[9, 3, 1], Activation::Sigmoid, 2),
    ]
}

#[test]
fn right_answers_are_right_in_both_precisions() {
    for settings in some_settings() {
        let (sheet, work) = drawn(&settings);
        assert!(sheet.for_program && work.for_program);
        let all = worked(&sheet, None, None);
        for (right, asked) in work.right().iter().zip(&work.asked) {
            let here = all[&asked.name].concat();
            assert_eq!(right.len(), here.len());
            for (a, b) in right.iter().zip(&here) {
                assert!((a - b).abs() < 1e-12, "{}: {a} and {b}", asked.name);
            }
            let size: usize = asked.dims.iter().product();
            assert_eq!(asked.picks.is_some(), size > 64, "{}", asked.name);
            assert!(
                asked.count() == size || asked.count() == 8,
                "{}",
                asked.name
            );
        }
        for digits in [2, 4, 7, 16] {
            for mark in marks_of(&sheet, &work, &file_of(&sheet, &work, &all, digits)) {
                assert_eq!(mark.verdict, Verdict::Right, "{digits}: {}", mark.name);
                assert!(mark.elements.iter().all(|e| e.right && e.given.is_some()));
            }
        }
        // All digits of a program in float32.
        let narrow = worked(&sheet, None, Some(7));
        for mark in marks_of(&sheet, &work, &file_of(&sheet, &work, &narrow, 12)) {
            assert_eq!(mark.verdict, Verdict::Right, "{}", mark.name);
        }
    }
}

/// Marks of a program in which one mistake is made.
fn check_marks(marks: &[Mark], mistake: Mistake, at: &str, case: &str) {
    let first = marks.iter().position(|m| m.name == at).unwrap();
    for (i, mark) in marks.iter().enumerate() {
        match (&mark.verdict, i == first) {
            (Verdict::Mistaken(found), true) => {
                assert_eq!(found.len(), 1, "{case}: {found:?}");
                assert_eq!(found[0].mistake, mistake, "{case}");
                assert_eq!(found[0].at, [at], "{case}");
                assert!(found[0].with.is_empty(), "{case}");
            }
            (Verdict::Right, false) => {}
            (Verdict::Carried(from), false) => {
                assert!(i > first && !from.is_empty(), "{case}: {from:?}");
            }
            (verdict, _) => panic!("{case}: {} is {verdict:?}", mark.name),
        }
    }
}

/// Each mistake, at each place where it can be made and in each way, is called by its
/// name, though of most values only a few elements are known, and what comes after it is
/// right or follows from it.
#[test]
fn every_mistake_is_named_from_a_few_elements() {
    let mut seen = BTreeSet::new();
    for settings in some_settings() {
        let (sheet, work) = drawn(&settings);
        for (mistake, at, way) in mistakes(&sheet) {
            let answers = worked(&sheet, Some((mistake, &at, way)), None);
            let marks = marks_of(&sheet, &work, &file_of(&sheet, &work, &answers, 8));
            let case = format!("{mistake:?} {way} at {at} of {settings:?}");
            if mistake == Mistake::ProductOrder && way == 1 {
                // Where the transpose has no such element there is no answer.
                let mark = marks.iter().find(|m| m.name == at).unwrap();
                let blank = mark.elements.iter().filter(|e| e.given.is_none()).count();
                assert!(blank <= 4, "{case}: {blank}");
            }
            check_marks(&marks, mistake, &at, &case);
            seen.insert(format!("{mistake:?}"));
        }
    }
    assert_eq!(seen.len(), Mistake::ALL.len(), "{seen:?}");
}

/// A second mistake is found on top of one that was made in a value of which only some
/// elements are known.
#[test]
fn a_mistake_is_found_on_top_of_another() {
    let (sheet, work) = drawn(&settings(7, &[20, 12, 9, 1], Activation::Relu, 12));
    let mut answers = worked(&sheet, Some((Mistake::NotTransposed, "h0", 1)), None);
    let unmasked = answers["dL/dh1"].clone();
    assert_ne!(unmasked, answers["dL/dh0"]);
    let x = exact(&sheet.problem.input);
    let dw = by_hand::product(&by_hand::transposed(&unmasked), &x);
    answers.insert("dL/dh0".to_string(), unmasked);
    answers.insert("dL/dW0".to_string(), dw);
    let marks = marks_of(&sheet, &work, &file_of(&sheet, &work, &answers, 8));
    let mistaken: Vec<_> = (marks.iter())
        .filter_map(|mark| match &mark.verdict {
            Verdict::Mistaken(found) => Some((mark.name.as_str(), found[0].mistake)),
            Verdict::Unknown | Verdict::Unclear(_) => panic!("{}", mark.name),
            _ => None,
        })
        .collect();
    let want = [
        ("h0", Mistake::NotTransposed),
        ("dL/dh0", Mistake::ReluMask),
    ];
    assert_eq!(mistaken, want);
    let last = marks.last().unwrap();
    assert!(
        matches!(&last.verdict, Verdict::Carried(from) if from.contains(&"dL/dh0".to_string())),
        "{:?}",
        last.verdict
    );
}

/// What follows from an error of no known kind can be told where the wrong value is
/// known whole; where it is not, that is said.
#[test]
fn an_unknown_error_in_part_is_said_to_leave_the_rest_unclear() {
    let (sheet, work) = drawn(&settings(7, &[20, 12, 9, 1], Activation::Relu, 12));
    let right = worked(&sheet, None, None);
    let mut answers = right.clone();
    let half = |m: &by_hand::Matrix| by_hand::zip(m, m, |v, _| 0.45 * v);
    // The loss's gradient is known whole, and so are those that follow from it.
    for (name, value) in &right {
        if name.starts_with("dL/") {
            answers.insert(name.clone(), half(value));
        }
    }
    for mark in marks_of(&sheet, &work, &file_of(&sheet, &work, &answers, 8)) {
        match mark.name.as_str() {
            "dL/dh5" => assert_eq!(mark.verdict, Verdict::Unknown),
            name if name.starts_with("dL/") => {
                assert!(
                    matches!(mark.verdict, Verdict::Carried(_)),
                    "{name}: {:?}",
                    mark.verdict
                );
            }
            name => assert_eq!(mark.verdict, Verdict::Right, "{name}"),
        }
    }
    // Of dL/dh2 only some elements are known.
    let mut answers = right.clone();
    for name in ["dL/dh2", "dL/dW2", "dL/dh1", "dL/dh0", "dL/dW0"] {
        answers.insert(name.to_string(), half(&right[name]));
    }
    for mark in marks_of(&sheet, &work, &file_of(&sheet, &work, &answers, 8)) {
        let from_it = matches!(
            mark.name.as_str(),
            "dL/dW2" | "dL/dh1" | "dL/dh0" | "dL/dW0"
        );
        match &mark.verdict {
            Verdict::Unknown => assert_eq!(mark.name, "dL/dh2"),
            Verdict::Unclear(from) => {
                assert!(
                    from_it && from.contains(&"dL/dh2".to_string()),
                    "{}",
                    mark.name
                );
            }
            verdict => assert!(
                *verdict == Verdict::Right && !from_it,
                "{}: {verdict:?}",
                mark.name
            ),
        }
    }
}

#[test]
fn the_numbers_are_fit_for_a_program() {
    let mut sizes = some_settings();
    sizes.push(settings(1, &[30, 2, 1], Activation::Relu, 40));
    sizes.push(settings(2, &[3, 40, 3], Activation::Sigmoid, 500));
    sizes.push(settings(3, &[5000, 4, 1], Activation::Relu, 3));
    for settings in sizes {
        let (sheet, work) = drawn(&settings);
        let again = Sheet::draw(&settings).unwrap();
        assert_eq!(sheet.problem.weights, again.problem.weights);
        assert_eq!(sheet.problem.input, again.problem.input);
        assert_eq!(sheet.problem.target, again.problem.target);
        assert_eq!(sheet.picks, again.picks);
        let given = sheet.problem.weights.values().chain([&sheet.problem.input]);
        for v in given.flat_map(|t| t.data()) {
            assert!(v.to_string().len() <= 8 && *v != 0.0, "{v} of {settings:?}");
        }
        let text = sheet.problem.network.to_string();
        let values = worked(&sheet, None, None);
        for i in 0..settings.layers.len() - 1 {
            let z = values[&format!("h{}", 2 * i)].clone();
            // Exactly 0 is what comes of a row on which a whole layer is dead.
            let clear = |z: &f64| z.abs() > 5e-5 || *z == 0.0 && i > 0;
            assert!(z.concat().iter().all(clear), "{settings:?}");
            if text.contains(&format!("({}): ReLU", 2 * i + 1)) {
                let live = |r: &&Vec<f64>| r.iter().any(|z| *z > 0.0);
                assert!(2 * z.iter().filter(live).count() >= z.len(), "{settings:?}");
                assert!(z.concat().iter().any(|z| *z < 0.0), "{settings:?}");
                // One dead unit is asked for of each large value that has any.
                for name in [format!("h{}", 2 * i + 1), format!("dL/dh{}", 2 * i)] {
                    if let Some(picks) = sheet.picks.get(&name) {
                        let dead = |p: &&Vec<usize>| values[&name][p[0]][p[1]] == 0.0;
                        let count = picks.iter().filter(dead).count();
                        assert!((1..=4).contains(&count), "{name} of {settings:?}: {count}");
                    }
                }
            } else {
                let s = values[&format!("h{}", 2 * i + 1)].concat();
                assert!(s.iter().all(|s| (0.01..0.99).contains(s)), "{settings:?}");
            }
        }
        for asked in &work.asked {
            let of = values[&asked.name].concat();
            let largest = of.iter().fold(0.0, |m: f64, v| m.max(v.abs()));
            assert!(largest > 1e-4, "{} of {settings:?}: {largest}", asked.name);
        }
    }
    let one = Sheet::draw(&settings(1, &[9, 3, 1], Activation::Relu, 2)).unwrap();
    let two = Sheet::draw(&settings(2, &[9, 3, 1], Activation::Relu, 2)).unwrap();
    assert_ne!(one.problem.weights, two.problem.weights);
}

/// The net of the README, from the command line alone: what the files hold is what was
/// drawn, a program's answers are right, and its mistake is named.
#[test]
fn a_net_of_half_a_million_weights_is_drawn_and_graded() {
    let (root, at) = folder(
        &["--layers", "784,512,256,1", "--batch", "64"],
        &["input.npy", "W0.npy"],
    );
    let sheet = Sheet::read(&at).unwrap();
    let (same, work) = drawn(&settings(7, &[784, 512, 256, 1], Activation::Relu, 64));
    assert_eq!(sheet.problem.weights, same.problem.weights);
    assert_eq!(sheet.problem.input, same.problem.input);
    assert_eq!(sheet.problem.target, same.problem.target);
    assert_eq!((&sheet.about, &sheet.picks), (&same.about, &same.picks));
    for (name, tensor) in [
        ("input.npy", &same.problem.input),
        ("target.npy", &same.problem.target),
        ("W0.npy", &same.problem.weights["0.weight"]),
        ("W4.npy", &same.problem.weights["4.weight"]),
    ] {
        let file = io::read(&at.join(name)).unwrap();
        assert_eq!(
            &file.tensors[0].to_tensor().unwrap().tensor,
            tensor,
            "{name}"
        );
    }
    let size = |name: &str| fs::metadata(at.join(name)).unwrap().len();
    assert!(size("answers.template.json") < 20_000);
    let page = fs::read_to_string(at.join("sheet.html")).unwrap();
    let page = page.replace("&#x2f;", "/");
    assert!(page.len() < 200_000, "{}", page.len());
    for asked in &work.asked {
        assert!(page.contains(&format!("<code>{}</code>", asked.name)));
    }
    for word in [
        "input.npy",
        "target.npy",
        "W2.npy",
        "model.pth",
        "class=\"heat-map\"",
        "a program",
    ] {
        assert!(page.contains(word), "{word}");
    }
    assert!(!page.contains("by hand") && !page.contains("<script"));

    let answers = root.path().join("answers.json");
    let right = file_of(&sheet, &work, &worked(&sheet, None, None), 9);
    fs::write(&answers, right.to_string()).unwrap();
    grading(&answers, &at)
        .assert()
        .success()
        .stdout(contains("ALL RIGHT").and(contains("16/16")));
    // The longest way for a mistake to go.
    let wrong = worked(&sheet, Some((Mistake::NotTransposed, "h0", 1)), None);
    let wrong = file_of(&sheet, &work, &wrong, 9);
    fs::write(&answers, wrong.to_string()).unwrap();
    let output = grading(&answers, &at).arg("--json").assert().code(1);
    let json: Value = serde_json::from_slice(&output.get_output().stdout).unwrap();
    assert_eq!(json["summary"]["wrong"], 1, "{}", json["summary"]);
    assert_eq!(json["marks"][0]["name"], "h0");
    assert_eq!(
        json["marks"][0]["mistakes"][0]["mistake"],
        "weight_not_transposed"
    );
    // And the mistake that is likeliest.
    let marks = marks_of(
        &sheet,
        &work,
        &file_of(
            &sheet,
            &work,
            &worked(&sheet, Some((Mistake::ReluMask, "dL/dh0", 0)), None),
            9,
        ),
    );
    check_marks(&marks, Mistake::ReluMask, "dL/dh0", "784-512-256-1");
}

#[test]
fn bad_files_are_named_with_their_fix() {
    let (root, at) = folder(
        &["--layers", "20,12,9,1", "--batch", "12"],
        &["input.npy", "W0.npy"],
    );
    let path = at.join("answers.template.json");
    let template = fs::read_to_string(&path).unwrap();
    let (sheet, work) = drawn(&settings(7, &[20, 12, 9, 1], Activation::Relu, 12));
    assert_eq!(template, sheet.template(&work));
    let mut all: Value = serde_json::from_str(&template).unwrap();
    let first = all["answers"]["h0"]
        .as_object()
        .unwrap()
        .keys()
        .next()
        .unwrap()
        .clone();
    let close = first.replace(", ", ",");
    let mut with = |h0: Value| {
        all["answers"]["h0"] = h0;
        all.to_string()
    };
    let blank = sheet_cells(&template);
    let (mut twice, mut other, mut less, mut list) =
        (blank.clone(), blank.clone(), blank.clone(), blank.clone());
    twice.insert(close, json!(1));
    other.insert("[99, 0]".to_string(), json!(1));
    less.remove(&first);
    list.insert(first.clone(), json!([1]));
    let cases = [
        (with(json!([[1, 2]])), "numbers by index are wanted"),
        (with(json!(3)), "numbers by index are wanted"),
        (with(json!(twice)), "is answered twice"),
        (with(json!(other)), "`[99, 0]` is none of them"),
        (
            with(json!(less)),
            "is missing; where there is no answer, leave null",
        ),
        (with(json!(list)), "a number is wanted, got [1]"),
    ];
    let answers = root.path().join("bad.json");
    for (text, want) in &cases {
        fs::write(&answers, text).unwrap();
        grading(&answers, &at).assert().code(4).stderr(
            contains(*want)
                .and(contains("`h0`"))
                .and(contains("bad.json"))
                .and(contains("panicked").not()),
        );
    }
    // Spaces in an index do not matter, and null stands for a whole value.
    let spaced = template.replace(&format!("\"{first}\""), &format!("\" {first}\""));
    assert_ne!(spaced, template);
    for text in [spaced, with(Value::Null)] {
        fs::write(&answers, text).unwrap();
        grading(&answers, &at)
            .assert()
            .code(1)
            .stdout(contains("16 open"));
    }
    // The template and the files beside it.
    let pick = format!("\"{first}\"");
    for (old, new, want) in [
        ("\"input.npy\"", "\"../input.npy\"", "`x`: a list of rows"),
        ("\"input.npy\"", "\"target.npy\"", "`x`: a list of rows"),
        (&*pick, "\"[99, 0]\"", "draw the sheet again"),
        (&pick, "\"[0]\"", "draw the sheet again"),
        (&pick, "\"0, 0\"", "`0, 0` is no index"),
        (&pick, "\"[18446744073709551616, 0]\"", "is no index"),
        ("\"h0\": {", "\"h9\": {", "which this network does not have"),
    ] {
        assert!(template.contains(old), "{old}");
        fs::write(&path, template.replace(old, new)).unwrap();
        grading(&answers, &at).assert().stderr(
            contains(want)
                .and(contains("error:"))
                .and(contains("panicked").not()),
        );
    }
    fs::write(&path, &template).unwrap();
    let input = fs::read(at.join("input.npy")).unwrap();
    let target = fs::read(at.join("target.npy")).unwrap();
    let mut nan = input.clone();
    let last = nan.len() - 4;
    nan[last..].copy_from_slice(&f32::NAN.to_le_bytes());
    for (name, bytes, want) in [
        ("input.npy", None, "draw the sheet again with the same seed"),
        (
            "target.npy",
            None,
            "draw the sheet again with the same seed",
        ),
        (
            "input.npy",
            Some(&input[..input.len() - 1]),
            "was it cut off",
        ),
        ("input.npy", Some(&input[..5]), "input.npy"),
        (
            "input.npy",
            Some(&nan),
            "element 239 is not a finite number",
        ),
        ("input.npy", Some(&target), "[12, 1]"),
        ("target.npy", Some(&input), "[12, 20]"),
    ] {
        let whole = if name == "input.npy" { &input } else { &target };
        match bytes {
            Some(bytes) => fs::write(at.join(name), bytes).unwrap(),
            None => fs::remove_file(at.join(name)).unwrap(),
        }
        grading(&path, &at)
            .assert()
            .failure()
            .stderr(contains(want).and(contains("panicked").not()));
        fs::write(at.join(name), whole).unwrap();
    }
    grading(&path, &at)
        .assert()
        .code(1)
        .stdout(contains("16 open"));
}

fn sheet_cells(template: &str) -> serde_json::Map<String, Value> {
    let all: Value = serde_json::from_str(template).unwrap();
    all["answers"]["h0"].as_object().unwrap().clone()
}

/// A template without its files is an error, and with other ones is held against them.
#[test]
fn a_template_is_read_with_the_arrays_that_it_names() {
    let (sheet, work) = drawn(&settings(9, &[9, 3, 1], Activation::Sigmoid, 2));
    let text = sheet.template(&work);
    let read =
        |batch: &BTreeMap<_, _>| Sheet::from_template(&text, sheet.problem.weights.clone(), batch);
    assert!(
        read(&BTreeMap::new())
            .unwrap_err()
            .contains("input.npy is not there")
    );
    let batch = BTreeMap::from([
        ("input.npy".to_string(), sheet.problem.input.clone()),
        ("target.npy".to_string(), sheet.problem.target.clone()),
    ]);
    let again = read(&batch).unwrap();
    assert!(again.for_program);
    let work: Work = again.work().unwrap();
    let blank = parse_answers(&text, &again, &work).unwrap();
    assert!(
        grade(&work, &blank)
            .iter()
            .all(|m| m.verdict == Verdict::Blank)
    );
}
