//! `--precision f16` as a user meets it: labelled wherever there are results, held
//! against its own definition, with the distance from exact products; and not a byte
//! of difference where it is not asked for.

use std::fmt::Write;
use std::fs;

use assert_cmd::Command;
use predicates::prelude::*;
use predicates::str::contains;
use serde_json::Value;

const LABEL: &str = "operands rounded to float16, sums in float32";
const NET: &str = "Sequential(Linear(8, 24), ReLU(), Linear(24, 1))";

fn wgrad(arguments: &[&str]) -> Command {
    let mut command = Command::cargo_bin("wgrad").unwrap();
    command
        .env_remove("WGPU_BACKEND")
        .env_remove("WGPU_ADAPTER_NAME")
        .env_remove("COLUMNS")
        .env("LC_ALL", "C.UTF-8")
        .env("WGRAD_CACHE_DIR", "")
        .args(arguments);
    command
}

fn stdout(arguments: &[&str]) -> String {
    let output = wgrad(arguments).output().unwrap();
    let told = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.success(), "{arguments:?}: {told}");
    String::from_utf8(output.stdout).unwrap()
}

fn json(arguments: &[&str]) -> Value {
    serde_json::from_str(&stdout(&[arguments, &["--json"]].concat())).unwrap()
}

/// A CSV of so many rows of eight features and a target.
fn rows(folder: &tempfile::TempDir, rows: usize) -> String {
    let mut text = String::new();
    for row in 0..rows {
        for column in 0..8 {
            let _ = write!(
                text,
                "{},",
                ((row * 31 + column * 17) % 97) as f32 / 48.5 - 1.0
            );
        }
        let _ = writeln!(text, "{}", row % 2);
    }
    let path = folder.path().join("rows.csv");
    fs::write(&path, text).unwrap();
    path.display().to_string()
}

#[test]
fn the_exercise_says_what_is_rounded_and_what_that_costs() {
    let output = wgrad(&["--precision", "f16"]).output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let told = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.success(), "{text}{told}");
    assert!(text.contains(LABEL), "{text}");
    assert!(text.contains("h0 = f16(x) @ f16(W0)ᵀ"), "{text}");
    // What is put in is what is multiplied: -0.3 is no float16.
    assert!(text.contains("(-0.30004883)*(-0.2529297)"), "{text}");
    let (_, end) = text.split_once("PRODUCTS IN FLOAT16").unwrap();
    // Last digits are the adapter's.
    let masked = |line: &str| line.replace(|c: char| c.is_ascii_digit(), "0");
    let cells = |line: &str| {
        line.split_whitespace()
            .map(str::to_string)
            .collect::<Vec<_>>()
    };
    let lines: Vec<_> = end.lines().map(cells).filter(|c| !c.is_empty()).collect();
    assert_eq!(
        lines[1].join(" "),
        "value largest difference of its largest value"
    );
    let names: Vec<_> = lines[2..lines.len() - 1]
        .iter()
        .map(|c| c[0].as_str())
        .collect();
    let want = "loss grad.0 grad.1 grad.2 grad.3 grad.input grad.0.weight grad.2.weight";
    assert_eq!(names.join(" "), want);
    assert!(
        lines[2..10]
            .iter()
            .all(|c| c.len() == 3 && c[2].ends_with('%')),
        "{end}"
    );
    let closing = masked(end.lines().last().unwrap());
    assert_eq!(
        closing,
        "PASS 00/00 values: 00 within the derived bounds of the f00 reference (each step at most \
         00% of its own); matrix products in float00, by that definition"
    );
    assert!(
        told.contains("not compared with those in float16"),
        "{told}"
    );
}

#[test]
fn json_has_the_distance_of_every_gradient() {
    let all = json(&["--precision", "f16"]);
    let precision = &all["precision"];
    assert_eq!(precision["matrix_products"], "f16");
    assert_eq!(precision["products"], 6);
    assert!(precision["meaning"].as_str().unwrap().starts_with(LABEL));
    let gaps = precision["from_exact"].as_array().unwrap();
    let names: Vec<_> = gaps.iter().map(|g| g["value"].as_str().unwrap()).collect();
    let named = all["named"].as_object().unwrap().keys();
    let gradients = named.filter(|name| name.starts_with("grad.")).count();
    assert_eq!(names.len(), 1 + gradients, "{names:?}");
    for gap in gaps {
        let share = gap["share_of_largest_value"].as_f64().unwrap();
        // Each of two operands is off by 2^-11 at most, in each of two layers.
        assert!(share > 0.0 && share < 4.0 / 1024.0, "{gap}");
    }
    assert_eq!(all["summary"]["passed"], true);
    assert_eq!(
        all["summary"]["pytorch_float32_rule"],
        serde_json::json!([0, 0])
    );
}

#[test]
fn the_default_is_exact_to_the_last_byte() {
    let plain = stdout(&[]);
    assert_eq!(stdout(&["--precision", "f32"]), plain);
    assert!(!plain.contains("float16"), "{plain}");
    assert!(json(&[]).get("precision").is_none());
    let card = json(&["check", "--quick", "--only", "5-7-3"]);
    assert!(card.get("precision").is_none());
}

#[test]
fn where_nothing_is_multiplied_nothing_is_rounded() {
    let folder = tempfile::tempdir().unwrap();
    let input = rows(&folder, 3);
    let file = folder.path().join("target.csv");
    fs::write(&file, "0,0,0,0,0,0,0,0,0\n".repeat(3)).unwrap();
    let target = file.display().to_string();
    let net = [
        "grad", "--net", "ReLU()", "--loss", "MSELoss", "--input", &input,
    ];
    let text = stdout(&[&net[..], &["--target", &target, "--precision", "f16"]].concat());
    assert!(text.contains("nothing is rounded"), "{text}");
}

#[test]
fn sub_batches_are_checked_and_their_distance_is_not_known() {
    let folder = tempfile::tempdir().unwrap();
    let input = rows(&folder, 2000);
    let net = ["grad", "--net", NET, "--loss", "MSELoss", "--input", &input];
    let more = ["--target-column", "8", "--precision", "f16"];
    let saved = folder.path().join("g.safetensors");
    let save = ["--save", saved.to_str().unwrap()];
    let whole = json(&[&net[..], &more, &save].concat());
    // The file says it, too.
    let bytes = fs::read(&saved).unwrap();
    assert!(String::from_utf8_lossy(&bytes).contains(LABEL));
    assert_eq!(whole["summary"]["passed"], true);
    assert!(whole["split"].is_null());
    assert!(
        !whole["precision"]["from_exact"]
            .as_array()
            .unwrap()
            .is_empty()
    );
    let split = json(&[&net[..], &more, &["--max-memory", "512KiB"]].concat());
    assert_eq!(split["summary"]["passed"], true);
    assert!(split["split"].is_object());
    assert!(
        split["precision"]["from_exact"]
            .as_array()
            .unwrap()
            .is_empty()
    );
    let reason = split["precision"]["from_exact_unknown"].as_str().unwrap();
    assert!(reason.contains("sub-batches"), "{reason}");
}

#[test]
fn a_benchmark_and_a_trace_are_labelled() {
    let net = ["--net", NET, "--loss", "MSELoss", "--batch", "9"];
    let half = ["--precision", "f16"];
    let text = stdout(&[&["bench", "--quick"], &net[..], &half].concat());
    assert!(text.contains(LABEL), "{text}");
    let (_, end) = text.split_once("PRODUCTS IN FLOAT16").unwrap();
    assert!(end.contains("d/d ") && end.contains('%'), "{end}");
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("t.json").display().to_string();
    let trace = ["trace", "--steps", "1", "-o", &file];
    let text = stdout(&[&trace[..], &net, &half].concat());
    assert!(text.contains(LABEL), "{text}");
    assert!(fs::read_to_string(&file).unwrap().contains(LABEL));
}

#[test]
fn a_page_and_a_card_are_labelled() {
    let page = stdout(&["report", "--precision", "f16"]);
    assert!(page.contains(LABEL), "no label");
    assert!(page.contains("from exact products the loss and the gradients differ by at most"));
    let card = ["check", "--quick", "--only", "5-7-3", "--precision", "f16"];
    let text = stdout(&card);
    assert!(text.contains(LABEL), "{text}");
    assert!(text.contains(", products in float16, on "), "{text}");
    let all = json(&card);
    assert_eq!(all["precision"]["matrix_products"], "f16");
    let reasons = all["skipped"].to_string();
    assert!(reasons.contains("rounding has no derivative"), "{reasons}");
}

#[test]
fn what_cannot_be_in_float16_is_refused_with_a_reason() {
    let folder = tempfile::tempdir().unwrap();
    let sheet = folder.path().join("s").display().to_string();
    let cases = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/parity");
    for (arguments, reason, code) in [
        (&["sheet", "-o", &sheet][..], "a sheet is worked by hand", 2),
        (&["check", "--cases", cases], "PyTorch's float32 rule", 2),
        (
            &["bench", "--replicas", "2", "--batch", "4", "--quick"],
            "ask for 1 replica",
            5,
        ),
    ] {
        let command = [arguments, &["--precision", "f16"]].concat();
        wgrad(&command)
            .assert()
            .code(code)
            .stderr(contains(reason).and(contains("panicked").not()));
    }
    wgrad(&["--precision", "bf16"])
        .assert()
        .code(2)
        .stderr(contains("f32 or f16"));
}
