//! The command line as a user meets it: every subcommand, and bad input of
//! every kind. Each failure must name the place and a fix, and end with the
//! documented code, never with a panic.

use std::fs;
use std::path::{Path, PathBuf};

use assert_cmd::Command;
use predicates::prelude::*;
use predicates::str::contains;
use tempfile::TempDir;

const NET: &str =
    "Sequential(Linear(4, 2, bias=False), ReLU(), Linear(2, 1, bias=False), Sigmoid())";

fn wgrad() -> Command {
    let mut command = Command::cargo_bin("wgrad").unwrap();
    command
        .env_remove("WGPU_BACKEND")
        .env_remove("WGPU_ADAPTER_NAME")
        .env_remove("COLUMNS")
        .env("LC_ALL", "C.UTF-8")
        .env("WGRAD_CACHE_DIR", "");
    command
}

fn data(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("data/exercise")
        .join(name)
}

/// `wgrad grad` on the exercise's files, with room for changes.
fn grad(weights: &str) -> Command {
    let mut command = wgrad();
    command
        .args(["grad", "--net", NET, "--loss", "BCELoss"])
        .arg("--weights")
        .arg(data(weights))
        .arg("--input")
        .arg(data("in_features.npy"))
        .arg("--target")
        .arg(data("target.npy"));
    command
}

fn failure(mut command: Command, code: i32) -> assert_cmd::assert::Assert {
    command
        .assert()
        .code(code)
        .stderr(contains("error:").and(contains("panicked").not()))
}

fn file(folder: &TempDir, name: &str, content: impl AsRef<[u8]>) -> PathBuf {
    let path = folder.path().join(name);
    fs::write(&path, content).unwrap();
    path
}

/// Every figure that the sheet prints, as text.
fn printed_figures() -> Vec<String> {
    fn walk(value: &serde_json::Value, short: bool, found: &mut Vec<String>) {
        match value {
            serde_json::Value::Array(list) => list.iter().for_each(|v| walk(v, short, found)),
            other => {
                let number = other.as_f64().unwrap();
                found.push(if short {
                    format!("{number:.4}")
                } else {
                    number.to_string()
                });
            }
        }
    }
    let text = fs::read_to_string(data("expected.json")).unwrap();
    let expected: serde_json::Value = serde_json::from_str(&text).unwrap();
    let mut found = Vec::new();
    for (name, value) in expected["printed_by_the_exercise"].as_object().unwrap() {
        let short = name.contains("4 decimals") || name.starts_with('W');
        walk(value, short, &mut found);
    }
    found
}

#[test]
fn the_exercise_passes_and_shows_every_figure_of_the_sheet() {
    let assert = wgrad().assert().success();
    let out = String::from_utf8(assert.get_output().stdout.clone()).unwrap();
    let figures = printed_figures();
    assert_eq!(figures.len(), 31);
    for figure in figures {
        assert!(out.contains(&figure), "{figure} does not appear");
    }
    let last = out.lines().last().unwrap();
    assert!(last.starts_with("PASS "), "{last}");
    assert!(out.contains("adapter "), "the adapter is not named");
    assert!(out.contains("driver "), "the driver is not named");
    for rule in [
        "dL/dh2 = dL/dh3 * h3 * (1 - h3)",
        "h0 = x @ W0ᵀ",
        "h1 = max(0, h0)",
    ] {
        assert!(out.contains(rule), "`{rule}` does not appear");
    }
}

#[test]
fn the_exercise_as_json() {
    let assert = wgrad().arg("--json").assert().success();
    let report: serde_json::Value = serde_json::from_slice(&assert.get_output().stdout).unwrap();
    assert_eq!(report["summary"]["passed"], true);
    assert_eq!(report["summary"]["values"], report["summary"]["of"]);
    assert_eq!(report["sheet"].as_array().unwrap().len(), 31);
    assert!(
        report["sheet"]
            .as_array()
            .unwrap()
            .iter()
            .all(|f| f["met"] != "no")
    );
    assert!(report["engine"]["adapter"]["driver"].is_string());
    // A hardware GPU may fuse multiplications with additions, and so be one
    // float32 beside the sheet; the software adapters do not.
    if report["engine"]["adapter"]["type"] == "software" {
        assert_eq!(report["summary"]["sheet_digit_for_digit"], 29);
        let met = |f: &serde_json::Value| f["met"].as_str().unwrap().to_string();
        let figures = report["sheet"].as_array().unwrap().iter();
        assert!(figures.map(met).all(|m| m.starts_with("digit for digit")));
    }
    let backward = report["steps"].as_array().unwrap().iter();
    assert!(backward.filter(|s| s["role"] == "backward").count() >= 6);
}

#[test]
fn the_exercise_on_the_reference_alone_says_so() {
    wgrad()
        .arg("--cpu")
        .assert()
        .success()
        .stdout(contains("no GPU was used"));
}

#[test]
fn grad_reads_every_form_of_weights() {
    for weights in [
        "initial_model.pth",
        "initial_model_legacy.pth",
        "initial_model.safetensors",
    ] {
        grad(weights)
            .assert()
            .success()
            .stdout(contains("PASS ").and(contains("grad.0.weight")));
    }
}

#[test]
fn grad_explains_and_saves() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("grads.safetensors");
    grad("initial_model.pth")
        .args(["--explain", "--save"])
        .arg(&path)
        .assert()
        .success()
        .stdout(contains("dL/dW0 = dL/dh0ᵀ @ x").and(contains("(-2)*")));
    let bytes = fs::read(&path).unwrap();
    let saved = safetensors::SafeTensors::deserialize(&bytes).unwrap();
    let mut names = saved.names();
    names.sort_unstable();
    let mut want = vec![
        "grad.0",
        "grad.0.weight",
        "grad.1",
        "grad.2",
        "grad.2.weight",
        "grad.3",
        "grad.input",
        "loss",
        "output",
        "value.0",
        "value.1",
        "value.2",
        "value.3",
    ];
    want.sort_unstable();
    assert_eq!(names, want);
    let loss = saved.tensor("loss").unwrap();
    assert_eq!(loss.shape(), [] as [usize; 0]);
    let loss = f32::from_le_bytes(loss.data().try_into().unwrap());
    assert_eq!(loss.to_string(), "0.56354564");
    // Nothing else is left in the folder: the file was renamed into place.
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    wgrad().arg("inspect").arg(&path).assert().success().stdout(
        contains("grad.0.weight")
            .and(contains("[2, 4]"))
            .and(contains("float32")),
    );
}

#[test]
fn grad_takes_a_printed_model_from_a_file_a_seed_and_a_csv() {
    let folder = TempDir::new().unwrap();
    let net = file(
        &folder,
        "net.txt",
        "Sequential(\n  (0): Linear(in_features=2, out_features=3, bias=True)\n  (1): ReLU()\n  \
         (2): Linear(in_features=3, out_features=1, bias=True)\n)\n",
    );
    let table = file(
        &folder,
        "rows.csv",
        "a,b,label\n0.5,-1,1\n2,0.25,0\n-0.5,0.75,1\n",
    );
    wgrad()
        .args([
            "grad",
            "--loss",
            "BCEWithLogitsLoss(reduction='sum')",
            "--seed",
            "42",
        ])
        .args(["--target-column", "label"])
        .arg("--net")
        .arg(&net)
        .arg("--input")
        .arg(&table)
        .assert()
        .success()
        .stdout(contains("PASS ").and(contains("grad.2.bias")))
        .stderr(contains("torch.manual_seed(42)"));
    for loss in ["MSELoss", "nn.MSELoss(reduction='none')"] {
        wgrad()
            .args(["grad", "--loss", loss, "--target-column", "2", "--json"])
            .arg("--net")
            .arg(&net)
            .arg("--input")
            .arg(&table)
            .assert()
            .success()
            .stdout(contains("\"passed\": true"));
    }
}

#[test]
fn no_check_compares_nothing_and_says_so() {
    grad("initial_model.pth")
        .arg("--no-check")
        .assert()
        .success()
        .stdout(contains("NOT COMPARED"));
}

/// `wgrad grad` on a network without weights, the batch and targets in CSVs.
fn grad_rows(net: &str, loss: &str, rows: &str, folder: &TempDir) -> Command {
    let table = file(folder, "rows.csv", rows);
    let mut command = wgrad();
    command
        .args(["grad", "--net", net, "--loss", loss, "--target-column", "y"])
        .arg("--input")
        .arg(table);
    command
}

#[test]
fn a_layer_that_changes_nothing_has_values_too() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("s.safetensors");
    grad_rows("Identity()", "MSELoss", "x,y\n3,1\n-2,0\n", &folder)
        .arg("--save")
        .arg(&path)
        .assert()
        .success();
    let bytes = fs::read(&path).unwrap();
    let saved = safetensors::SafeTensors::deserialize(&bytes).unwrap();
    let floats: Vec<u8> = [3f32, -2.0].iter().flat_map(|v| v.to_le_bytes()).collect();
    for name in ["output", "value.0"] {
        assert_eq!(saved.tensor(name).unwrap().data(), floats, "{name}");
    }
    // They are checked as other outputs are.
    let rows = "x,y\n3,1\n-2,0\n";
    failure(grad_rows("Identity()", "BCELoss", rows, &folder), 4)
        .stderr(contains("3").and(contains("[0, 1]").or(contains("BCEWithLogitsLoss"))));
}

#[test]
fn what_was_not_compared_has_no_distance() {
    let folder = TempDir::new().unwrap();
    let rows: String = (0..30).map(|i| format!("{i},1\n")).collect();
    let command = || {
        let mut command = grad_rows("Linear(1, 1)", "MSELoss", &format!("x,y\n{rows}"), &folder);
        command.args(["--no-check", "--explain"]);
        command
    };
    command().assert().success().stdout(
        contains("largest difference")
            .not()
            .and(contains(" 0.0\n").not()),
    );
    let assert = command().arg("--json").assert().success();
    let report: serde_json::Value = serde_json::from_slice(&assert.get_output().stdout).unwrap();
    assert!(report["summary"]["passed"].is_null());
}

#[test]
fn no_rows_and_numbers_beyond_float32_earn_a_notice() {
    let folder = TempDir::new().unwrap();
    // npy files of no rows.
    let header = |shape: &str| {
        let text = format!("{{'descr': '<f4', 'fortran_order': False, 'shape': {shape}, }}");
        let text = format!("{text:117}\n");
        [b"\x93NUMPY\x01\0\x76\0".as_slice(), text.as_bytes()].concat()
    };
    let x = file(&folder, "x.npy", header("(0, 1)"));
    let mut command = wgrad();
    command.args(["grad", "--net", "Linear(1, 1)", "--loss", "MSELoss"]);
    command.arg("--input").arg(&x).arg("--target").arg(&x);
    command
        .assert()
        .stdout(contains("-0 ").not())
        .stderr(contains("the mean of nothing"));
    grad_rows(
        "Sequential(Linear(1, 1), Linear(1, 1))",
        "MSELoss",
        "x,y\n3e38,0\n-3e38,0\n",
        &folder,
    )
    .assert()
    .stderr(contains("passes float32's range").and(contains("scale the batch")));
}

#[test]
fn seeds_as_torch_takes_them() {
    let folder = TempDir::new().unwrap();
    let rows = "x,y\n1,0\n2,1\n";
    let run = |seed: &str| {
        let mut command = grad_rows("Linear(1, 1)", "MSELoss", rows, &folder);
        command.args(["--seed", seed]);
        command
    };
    let out = |seed: &str| run(seed).assert().success().get_output().stdout.clone();
    assert_eq!(out("-1"), out("18446744073709551615"));
    failure(run("18446744073709551616"), 2).stderr(contains("2^64 - 1"));
    grad("initial_model.pth")
        .args(["--seed", "3"])
        .assert()
        .success()
        .stderr(contains("--seed is not used"));
}

#[test]
fn networks_as_python_files() {
    let folder = TempDir::new().unwrap();
    let net = file(
        &folder,
        "net.py",
        "import torch\nfrom torch import nn\n\nmodel = nn.Sequential(\n    nn.Linear(4, 1),\n)\n",
    );
    let run = |net: &Path| with_net(net.to_str().unwrap(), "MSELoss");
    run(&net).assert().success();
    let net = file(&folder, "bad.py", "import torch\n\nLiner(4, 1)\n");
    failure(run(&net), 2).stderr(contains("line 3").and(contains("did you mean `Linear`")));
    for nothing in ["", "  "] {
        failure(with_net(nothing, "MSELoss"), 2).stderr(contains("--net is empty"));
    }
}

#[cfg(target_os = "linux")]
#[test]
fn names_that_are_no_utf8() {
    use std::os::unix::ffi::OsStringExt;
    let folder = TempDir::new().unwrap();
    let named = |start: &str, end: &str| {
        let name = [start.as_bytes(), b"\xff", end.as_bytes()].concat();
        folder.path().join(std::ffi::OsString::from_vec(name))
    };
    let (net, x, y) = (named("n", ".txt"), named("x", ".npy"), named("y", ".st"));
    fs::write(&net, NET).unwrap();
    fs::copy(data("in_features.npy"), &x).unwrap();
    let target =
        safetensors::tensor::TensorView::new(safetensors::Dtype::F32, vec![1, 1], &[0, 0, 128, 63])
            .unwrap();
    let views = [("a", target.clone()), ("b", target)];
    fs::write(&y, safetensors::serialize(views, None).unwrap()).unwrap();
    let mut key = y.into_os_string();
    key.push(":b");
    let mut command = wgrad();
    command
        .args(["grad", "--loss", "BCELoss", "--net"])
        .arg(net);
    command.arg("--input").arg(x).arg("--target").arg(key);
    command.assert().success().stdout(contains("PASS "));
}

#[cfg(target_os = "linux")]
#[test]
fn a_stderr_that_takes_nothing_is_no_panic() {
    let full = || {
        fs::OpenOptions::new()
            .write(true)
            .open("/dev/full")
            .unwrap()
    };
    let mut command = std::process::Command::new(assert_cmd::cargo::cargo_bin("wgrad"));
    command.args(["inspect", "/no/such/file"]).stderr(full());
    assert_eq!(command.status().unwrap().code(), Some(4));
    let mut command = std::process::Command::new(assert_cmd::cargo::cargo_bin("wgrad"));
    command.arg("--cpu").stderr(full()).stdout(full());
    assert_eq!(command.status().unwrap().code(), Some(4));
}

#[cfg(target_os = "linux")]
#[test]
fn what_has_no_end_is_not_read_to_its_end() {
    let mut command = wgrad();
    command
        .args(["grad", "--loss", "MSELoss", "--net", "/dev/zero"])
        .args(["--input", "x.npy", "--target", "y.npy"]);
    failure(command, 4).stderr(contains("more than the 1048576 that are read"));
}

#[test]
fn a_file_commands_no_terminal() {
    let folder = TempDir::new().unwrap();
    let key = "0.weight\u{1b}[31mX\nerror: no";
    let view = safetensors::tensor::TensorView::new(safetensors::Dtype::F32, vec![0], &[]);
    let bytes = safetensors::serialize([(key, view.unwrap())], None).unwrap();
    let path = file(&folder, "c.safetensors", bytes);
    let clean = || contains("\u{1b}").not().and(contains("\\u{1b}[31mX\\n"));
    inspect(&path).assert().success().stdout(clean());
    let mut command = with_net("Linear(4, 1)", "MSELoss");
    command.arg("--weights").arg(&path);
    failure(command, 4).stderr(clean());
    // A global of a hostile pickle.
    let pickle = b"\x80\x02cos\n\x1b[2Jsystem\n.";
    let path = file(&folder, "c.pth", zipped("a/data.pkl", pickle));
    failure(inspect(&path), 4).stderr(contains("\u{1b}").not().and(contains("\\u{1b}[2J")));
    let path = file(&folder, "c.csv", "a,b\n1,\u{1b}[2J\n");
    let mut command = wgrad();
    command.args(["grad", "--net", "Linear(1, 1)", "--loss", "MSELoss"]);
    command.args(["--target-column", "b", "--input"]).arg(path);
    failure(command, 4).stderr(contains("\u{1b}").not().and(contains("\\u{1b}[2J")));
}

#[test]
fn a_saturated_sigmoid_earns_a_warning() {
    let folder = TempDir::new().unwrap();
    let table = file(&folder, "rows.csv", "x,y\n900,0\n0.5,1\n");
    wgrad()
        .args([
            "grad",
            "--net",
            "Sequential(Linear(1, 1), Sigmoid())",
            "--loss",
            "BCELoss",
        ])
        .args(["--target-column", "y", "--seed", "2"])
        .arg("--input")
        .arg(&table)
        .assert()
        .stderr(
            contains("saturated in 1 of 2 outputs")
                .and(contains("row 0"))
                .and(contains("the target 0"))
                .and(contains("BCEWithLogitsLoss")),
        );
    // A target that is met asks for no gradient.
    let folder = TempDir::new().unwrap();
    grad_rows(
        "Sequential(Linear(1, 1), Sigmoid())",
        "BCELoss",
        "x,y\n900,1\n0.5,1\n",
        &folder,
    )
    .args(["--seed", "2"])
    .assert()
    .stderr(contains("saturated").not());
}

/// `wgrad grad` on a batch and targets of binary files.
fn grad_on(net: &str, loss: &str, input: &Path, target: &Path) -> Command {
    let mut command = wgrad();
    command
        .args(["grad", "--net", net, "--loss", loss, "--input"])
        .arg(input)
        .arg("--target")
        .arg(target);
    command
}

/// The exercise's batch with another value at its end.
fn batch_with(value: f32, folder: &TempDir) -> PathBuf {
    let mut bytes = fs::read(data("in_features.npy")).unwrap();
    let end = bytes.len();
    bytes[end - 4..].copy_from_slice(&value.to_le_bytes());
    file(folder, "batch.npy", bytes)
}

#[test]
fn the_first_value_that_is_not_finite_is_named() {
    let folder = TempDir::new().unwrap();
    let net = "Sequential(Linear(4, 2), ReLU(), Linear(2, 1))";
    let target = data("target.npy");
    // In the batch: no error with the switch, and the usual exit code.
    let nan = batch_with(f32::NAN, &folder);
    grad_on(net, "MSELoss", &nan, &target)
        .arg("--trace-nonfinite")
        .assert()
        .success()
        .stderr(contains("`input` [0, 3] is NaN"))
        .stdout(
            contains("THE FIRST VALUE THAT IS NOT FINITE")
                .and(contains("row 0, column 3"))
                .and(contains("the first computed value")),
        );
    // BCELoss refuses what comes of it, as ever; the origin was told before.
    let sigmoid = "Sequential(Linear(4, 1), Sigmoid())";
    let mut command = grad_on(sigmoid, "BCELoss", &nan, &target);
    command.arg("--trace-nonfinite");
    failure(command, 4)
        .stderr(contains("`input` [0, 3] is NaN").and(contains("BCELoss: the input")));
    // By overflow, as JSON.
    let huge = batch_with(3e38, &folder);
    let output = grad_on(net, "MSELoss", &huge, &target)
        .args(["--trace-nonfinite", "--json", "--seed", "1"])
        .output()
        .unwrap();
    let json: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let found = &json["nonfinite"];
    assert_eq!(found["op"], "mse", "{found:#}");
    assert_eq!(found["index"], serde_json::json!([0, 0]));
    assert_eq!(found["value"], "inf");
    assert!(found["reason"].as_str().unwrap().contains("overflow"));
    assert!(found["operands"][1]["value"].is_number(), "{found:#}");
    // And where all is finite.
    grad("initial_model.pth")
        .arg("--trace-nonfinite")
        .assert()
        .success()
        .stdout(contains("ALL VALUES ARE FINITE"));
    let output = grad("initial_model.pth")
        .args(["--trace-nonfinite", "--json"])
        .output()
        .unwrap();
    let json: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert!(json["nonfinite"].is_null() && json.get("nonfinite").is_some());
    failure(
        {
            let mut command = grad("initial_model.pth");
            command.args(["--trace-nonfinite", "--cpu"]);
            command
        },
        2,
    );
}

/// A batch of rows of one value, as CSV with a header.
fn rows_of_one(count: i32) -> String {
    let rows = (0..count).map(|i| format!("{},{}\n", f64::from(i) / 512.0, i % 3));
    format!("x,y\n{}", rows.collect::<String>())
}

#[test]
fn a_batch_that_needs_more_memory_than_allowed_runs_in_sub_batches() {
    let folder = TempDir::new().unwrap();
    let rows = rows_of_one(20_000);
    let run = |most: &str, more: &[&str]| {
        let mut command = grad_rows("Linear(1, 1)", "MSELoss", &rows, &folder);
        command.args(["--max-memory", most]).args(more);
        command
    };
    let saved = |name: &str| folder.path().join(name).display().to_string();
    let (whole, parts) = (saved("whole.safetensors"), saved("parts.safetensors"));
    let at_once = run("1GiB", &["--json", "--save", &whole])
        .assert()
        .success();
    let at_once: serde_json::Value = serde_json::from_slice(&at_once.get_output().stdout).unwrap();
    assert!(at_once["split"].is_null() && at_once.get("split").is_some());
    let split = run("200KiB", &["--json", "--save", &parts])
        .assert()
        .success()
        .stderr(
            contains("the batch is split, 20000 rows in ")
                .and(contains("204800 bytes (200.0 KiB) that it was allowed")),
        );
    let split: serde_json::Value = serde_json::from_slice(&split.get_output().stdout).unwrap();
    let how = &split["split"];
    assert_eq!(how["rows"], 20_000, "{how}");
    let of = |key: &str| how[key].as_u64().unwrap();
    let (count, each, last) = (of("sub_batches"), of("rows_of_each"), of("rows_of_last"));
    assert!(count > 1 && each >= last, "{how}");
    assert_eq!((count - 1) * each + last, 20_000, "{how}");
    assert!(
        how["reason"]
            .as_str()
            .unwrap()
            .contains("memory on the device")
    );
    // Every value is compared, as without.
    assert_eq!(split["summary"], at_once["summary"]);
    let [whole, parts] = [whole, parts].map(|path| wgrad::io::read(Path::new(&path)).unwrap());
    assert_eq!(whole.tensors.len(), parts.tensors.len());
    for stored in &whole.tensors {
        let (a, b) = (stored, parts.get(&stored.key).unwrap());
        assert_eq!(a.shape, b.shape, "{}", a.key);
        let (a, b) = (a.to_f64().unwrap(), b.to_f64().unwrap());
        let near = |(a, b): (&f64, &f64)| (a - b).abs() <= 1e-5 * a.abs();
        assert!(a.iter().zip(&b).all(near), "{}", stored.key);
    }
    // As text, with the worked solution, the kernels, and a look for NaN.
    let kernels = saved("kernels");
    run(
        "200KiB",
        &["--explain", "--trace-nonfinite", "--dump-shaders", &kernels],
    )
    .assert()
    .success()
    .stdout(
        contains("split    20000 rows in ")
            .and(contains("since the plan needs"))
            .and(contains("FORWARD").and(contains("[20000, 1]")))
            .and(contains("ALL VALUES ARE FINITE"))
            .and(contains("PASS 120005/120005")),
    );
    assert!(folder.path().join("kernels/plan.txt").is_file());
    assert_eq!(
        folder.path().join("kernels/last/plan.txt").is_file(),
        each != last
    );
    run("200KiB", &["--no-check"])
        .assert()
        .success()
        .stdout(contains("NOT COMPARED").and(contains("split    20000 rows")));

    // One row is not less than one row.
    let none = run("16", &[]);
    failure(none, 5).stderr(contains("not even one row fits"));
    let mut one = grad("initial_model.pth");
    one.args(["--max-memory", "16"]);
    failure(one, 5).stderr(contains("there is one row only"));
}

#[test]
fn what_is_not_finite_in_a_split_batch_is_named_by_its_row() {
    let folder = TempDir::new().unwrap();
    let rows = rows_of_one(20_000).replace("\n1.7578125,0\n", "\n3e38,0\n");
    let mut command = grad_rows("Linear(1, 1)", "MSELoss", &rows, &folder);
    command.args(["--trace-nonfinite", "--json", "--max-memory", "200KiB"]);
    let output = command.output().unwrap();
    let json: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert!(json["split"]["sub_batches"].as_u64().unwrap() > 2);
    let found = &json["nonfinite"];
    assert_eq!(found["index"], serde_json::json!([900, 0]), "{found:#}");
    assert_eq!(found["shape"], serde_json::json!([20000, 1]), "{found:#}");
}

#[test]
fn what_cannot_be_split_is_refused_before_it_starts() {
    let mut bench = wgrad();
    bench.args([
        "bench",
        "--quick",
        "--batch",
        "100000",
        "--max-memory",
        "1 MiB",
    ]);
    failure(bench, 5).stderr(
        contains("the largest batch that fits has").and(contains("a batch is timed whole")),
    );
    for (size, why) in [
        ("1TB", "KiB, MiB and GiB"),
        ("MiB", "whole"),
        ("99999999999GiB", "more"),
    ] {
        let mut command = grad("initial_model.pth");
        command.args(["--max-memory", size]);
        failure(command, 2).stderr(contains(why));
    }
}

/// A batch of 100,000 rows, and a process that may take so much memory.
#[cfg(target_os = "linux")]
fn under_a_limit(kib: usize, folder: &TempDir) -> Command {
    let save = |name: &str, columns: usize| {
        let path = folder.path().join(name);
        let data = vec![0.5; 100_000 * columns];
        let tensor = wgrad::Tensor::new(&[100_000, columns], data).unwrap();
        let tensors = [("x".to_string(), tensor)];
        wgrad::io::safetensors::save(&path, &tensors, &Default::default()).unwrap();
        path
    };
    let (input, target) = (save("x.safetensors", 64), save("y.safetensors", 1));
    let mut command = Command::new("sh");
    command
        .args(["-c", &format!("ulimit -v {kib}; exec \"$@\""), "sh"])
        .arg(assert_cmd::cargo::cargo_bin("wgrad"))
        .args(["grad", "--cpu", "--loss", "MSELoss", "--net"])
        .arg("Sequential(Linear(64, 64), ReLU(), Linear(64, 1))")
        .arg("--input")
        .arg(input)
        .arg("--target")
        .arg(target);
    command
}

/// The reference of the batch of 25 MB takes far more than there is: it runs in
/// sub-batches, or not at all where the values alone are too many.
#[cfg(target_os = "linux")]
#[test]
fn the_reference_takes_no_more_memory_than_there_is() {
    let folder = TempDir::new().unwrap();
    under_a_limit(1_000_000, &folder)
        .assert()
        .success()
        .stderr(contains("the batch is split, 100000 rows in ").and(contains("float64 reference")))
        .stdout(contains("split    100000 rows in "));
    failure(under_a_limit(300_000, &folder), 5).stderr(contains("not even one row fits"));
}

/// Under a real limit, which no budget foresees: the weights fit, and what is made
/// of them does not.
#[cfg(target_os = "linux")]
#[test]
fn memory_that_is_not_there_ends_with_a_message_and_a_code() {
    let mut command = Command::new("sh");
    command
        .args(["-c", "ulimit -v 90000; exec \"$@\"", "sh"])
        .arg(assert_cmd::cargo::cargo_bin("wgrad"))
        .args(["grad", "--cpu", "--loss", "MSELoss", "--net"])
        .arg("Sequential(Linear(4, 2000000), Linear(2000000, 1))")
        .arg("--input")
        .arg(data("in_features.npy"))
        .arg("--target")
        .arg(data("target.npy"));
    failure(command, 5).stderr(contains("out of memory"));
}

/// In a target and in a weight.
#[test]
fn nan_in_a_target_and_in_a_weight_is_named() {
    let folder = TempDir::new().unwrap();
    let mut bytes = fs::read(data("target.npy")).unwrap();
    let end = bytes.len();
    bytes[end - 4..].copy_from_slice(&f32::NAN.to_le_bytes());
    let target = file(&folder, "nan.npy", bytes);
    let mut command = grad_on("Linear(4, 1)", "MSELoss", &data("in_features.npy"), &target);
    command.arg("--trace-nonfinite");
    failure(command, 4).stderr(contains("the target at [0, 0] is NaN"));

    let weight = wgrad::Tensor::new(&[1, 4], vec![0.5, f32::INFINITY, 0.5, 0.5]).unwrap();
    let weights = folder.path().join("w.safetensors");
    let tensors = [("weight".to_string(), weight)];
    wgrad::io::safetensors::save(&weights, &tensors, &Default::default()).unwrap();
    let net = "Linear(4, 1, bias=False)";
    grad_on(
        net,
        "MSELoss",
        &data("in_features.npy"),
        &data("target.npy"),
    )
    .arg("--weights")
    .arg(&weights)
    .arg("--trace-nonfinite")
    .assert()
    .stderr(contains("`weight` [0, 1] is inf"));
}

#[test]
fn inspect_lists_what_is_there() {
    for (name, format) in [
        ("initial_model.pth", "0.weight"),
        ("initial_model_legacy.pth", "2.weight"),
        ("initial_model.safetensors", "0.weight"),
        ("in_features.npy", "in_features"),
    ] {
        wgrad()
            .arg("inspect")
            .arg(data(name))
            .assert()
            .success()
            .stdout(contains(format));
        wgrad()
            .args(["inspect", "--json"])
            .arg(data(name))
            .assert()
            .success()
            .stdout(contains("\"dtype\": \"float32\""));
    }
}

#[test]
fn adapters_are_listed_and_one_is_marked() {
    wgrad()
        .arg("adapters")
        .assert()
        .success()
        .stdout(contains("*").and(contains("max binding")));
    let assert = wgrad().args(["adapters", "--json"]).assert().success();
    let list: serde_json::Value = serde_json::from_slice(&assert.get_output().stdout).unwrap();
    let chosen = list
        .as_array()
        .unwrap()
        .iter()
        .filter(|a| a["chosen"] == true);
    assert_eq!(chosen.count(), 1);
}

#[test]
fn adapters_that_do_not_exist() {
    let mut command = wgrad();
    command.args(["--adapter", "GeForce 9999"]);
    failure(command, 3).stderr(contains("GeForce 9999").and(contains("found:")));
    let mut command = wgrad();
    command.args(["--adapter", "77"]);
    failure(command, 3).stderr(contains("no adapter 77"));
    let mut command = wgrad();
    command.env("WGPU_ADAPTER_NAME", "nosuchgpu");
    failure(command, 3).stderr(contains("nosuchgpu"));
    let mut command = wgrad();
    command.env("WGPU_BACKEND", "glide");
    failure(command, 2).stderr(contains("WGPU_BACKEND").and(contains("glide")));
    let mut command = wgrad();
    command.args(["--backend", "glide"]);
    failure(command, 2).stderr(contains("glide"));
    if cfg!(target_os = "linux") {
        let mut command = wgrad();
        command.args(["--backend", "metal"]);
        failure(command, 3).stderr(
            contains("no adapter was found")
                .and(contains("--cpu"))
                .and(contains("leave --backend"))
                .and(contains("install").not()),
        );
        // No driver at all: what to install is named.
        let mut command = wgrad();
        command
            .args(["--backend", "vulkan"])
            .env("VK_ICD_FILENAMES", "/nonexistent.json")
            .env("VK_DRIVER_FILES", "/nonexistent.json");
        failure(command, 3).stderr(contains("mesa-vulkan-drivers").or(contains("vulkan-swrast")));
    }
}

#[test]
fn an_adapter_has_one_index_whatever_is_asked_for() {
    let list = |args: &[&str]| -> Vec<serde_json::Value> {
        let mut command = wgrad();
        let assert = command.args(["adapters", "--json"]).args(args).assert();
        serde_json::from_slice(&assert.success().get_output().stdout).unwrap()
    };
    for adapter in list(&[]) {
        let backend = adapter["backend"].as_str().unwrap();
        let index = adapter["index"].to_string();
        let listed = list(&["--backend", backend, "--adapter", &index]);
        assert!(listed.iter().all(|a| a["backend"] == backend));
        let chosen: Vec<_> = listed.iter().filter(|a| a["chosen"] == true).collect();
        assert_eq!(chosen.len(), 1);
        assert_eq!(chosen[0]["index"], adapter["index"]);
        assert_eq!(chosen[0]["driver"], adapter["driver"]);
        // What the variable holds is no matter beside the flag.
        let mut command = wgrad();
        command.env("WGPU_BACKEND", "glide");
        command.args(["adapters", "--backend", backend]);
        command.assert().success();
    }
}

#[test]
fn usage_errors() {
    for (args, text) in [
        (vec!["grad"], "--net"),
        (vec!["frobnicate"], "frobnicate"),
        (vec!["--color", "mauve"], "mauve"),
        (vec!["--cpu", "--adapter", "0"], "cannot be used with"),
        (vec!["check", "--only", "frobnicate"], "matmul"),
        (vec!["check", "--allow-unsupported"], "--cases"),
        (
            vec!["check", "--quick", "--exhaustive"],
            "cannot be used with",
        ),
        (vec!["check", "--cpu"], "--cpu has nothing to check"),
    ] {
        let mut command = wgrad();
        command.args(args);
        failure(command, 2).stderr(contains(text));
    }
}

fn with_net(net: &str, loss: &str) -> Command {
    let mut command = wgrad();
    command
        .args(["grad", "--net", net, "--loss", loss])
        .arg("--input")
        .arg(data("in_features.npy"))
        .arg("--target")
        .arg(data("target.npy"));
    command
}

#[test]
fn networks_and_losses_that_do_not_parse() {
    failure(with_net("Sequential(Linear(4, 2), Relu6())", "BCELoss"), 2)
        .stderr(contains("Relu6").and(contains("ReLU")));
    failure(with_net("Sequential(Linear(4, 2), ReLU()", "BCELoss"), 2).stderr(contains("line 1"));
    failure(with_net("Linear(4, out=2)", "BCELoss"), 2).stderr(contains("out_features"));
    failure(with_net("Linear(4)", "BCELoss"), 2).stderr(contains("out_features"));
    failure(with_net("Linear(4, 1)", "HingeLoss"), 2).stderr(contains("BCEWithLogitsLoss"));
    failure(with_net("Linear(4, 1)", "MSELoss!"), 2)
        .stderr(contains("write a loss").and(contains("Linear").not()));
    failure(with_net("Linear(4, 1)", "MSELoss(reduction='average')"), 2).stderr(contains("mean"));
    failure(with_net("no_such_file.py", "MSELoss"), 4).stderr(contains("no_such_file.py"));
}

#[test]
fn shapes_that_do_not_fit() {
    failure(with_net("Linear(3, 1)", "MSELoss"), 2).stderr(contains("[1, 4]").and(contains("3")));
    failure(
        with_net("Sequential(Linear(4, 2), Linear(3, 1))", "MSELoss"),
        2,
    )
    .stderr(contains("3"));
    failure(with_net("Linear(4, 2)", "MSELoss"), 2)
        .stderr(contains("[1, 2]").and(contains("[1, 1]")));
}

#[test]
fn weights_that_do_not_fit() {
    let with_weights = |net: &str| {
        let mut command = with_net(net, "MSELoss");
        command.arg("--weights").arg(data("initial_model.pth"));
        command
    };
    failure(with_weights("Linear(4, 1)"), 4)
        .stderr(contains("initial_model.pth").and(contains("weight")));
    failure(
        with_weights("Sequential(Linear(4, 2), ReLU(), Linear(2, 1))"),
        4,
    )
    .stderr(contains("0.bias"));
    failure(
        with_weights("Sequential(Linear(4, 3, bias=False), ReLU(), Linear(3, 1, bias=False))"),
        4,
    )
    .stderr(
        contains("0.weight")
            .and(contains("[2, 4]"))
            .and(contains("[3, 4]")),
    );
}

#[test]
fn targets_outside_their_range_and_nan() {
    let folder = TempDir::new().unwrap();
    let run = |csv: &str, loss: &str| {
        let table = file(&folder, "t.csv", csv);
        let mut command = wgrad();
        command
            .args([
                "grad",
                "--net",
                "Sequential(Linear(1, 1), Sigmoid())",
                "--loss",
                loss,
            ])
            .args(["--target-column", "y", "--input"])
            .arg(table);
        command
    };
    failure(run("x,y\n1,1.5\n", "BCELoss"), 4).stderr(contains("1.5").and(contains("[0, 1]")));
    failure(run("x,y\n1,-1\n", "BCELoss"), 4).stderr(contains("-1"));
    failure(run("x,y\n1,nan\n", "MSELoss"), 4).stderr(contains("line 2"));
    failure(run("x,y\nnan,1\n", "MSELoss"), 4).stderr(contains("line 2"));
    failure(run("x,y\n", "MSELoss"), 4).stderr(contains("t.csv"));
    failure(run("", "MSELoss"), 4).stderr(contains("empty"));
    failure(run("x,z\n1,1\n", "MSELoss"), 4).stderr(contains("`y`").or(contains("y")));
    failure(run("x,y\n1,abc\n", "MSELoss"), 4).stderr(contains("abc").and(contains("line 2")));
    failure(run("x,y\n1\n", "MSELoss"), 4).stderr(contains("t.csv"));
    failure(run("1,x3\n5,6\n", "MSELoss"), 4).stderr(contains("line 1, column 1"));
    failure(run("y,x,y\n5,6,7\n", "MSELoss"), 4).stderr(contains("both named `y`"));
}

#[test]
fn nan_in_a_binary_file() {
    let folder = TempDir::new().unwrap();
    let mut bytes = fs::read(data("in_features.npy")).unwrap();
    let end = bytes.len();
    bytes[end - 4..].copy_from_slice(&f32::NAN.to_le_bytes());
    let path = file(&folder, "nan.npy", bytes);
    let mut command = wgrad();
    command
        .args([
            "grad",
            "--net",
            "Linear(4, 1)",
            "--loss",
            "MSELoss",
            "--input",
        ])
        .arg(path)
        .arg("--target")
        .arg(data("target.npy"));
    failure(command, 4).stderr(contains("[0, 3]").and(contains("NaN")));
}

fn inspect(path: &Path) -> Command {
    let mut command = wgrad();
    command.arg("inspect").arg(path);
    command
}

#[test]
fn files_that_are_not_there_or_not_what_they_seem() {
    let folder = TempDir::new().unwrap();
    failure(inspect(&folder.path().join("none.pth")), 4).stderr(contains("none.pth"));
    failure(inspect(&file(&folder, "empty.pth", "")), 4).stderr(contains("empty.pth"));
    failure(inspect(&file(&folder, "text.npy", "hello")), 4).stderr(contains("text.npy"));
    failure(inspect(&file(&folder, "j.safetensors", "{}")), 4).stderr(contains("j.safetensors"));
    failure(inspect(folder.path()), 4);
}

#[test]
fn truncated_files_are_errors_at_every_length() {
    let folder = TempDir::new().unwrap();
    for name in [
        "initial_model.pth",
        "initial_model_legacy.pth",
        "initial_model.safetensors",
    ] {
        let whole = fs::read(data(name)).unwrap();
        for part in [1, 2, 3, 5, 9] {
            let length = whole.len() * part / 10;
            failure(inspect(&file(&folder, name, &whole[..length])), 4).stderr(contains(name));
        }
    }
}

/// A protocol-2 pickle that would run a command if it were executed.
fn hostile_pickle() -> Vec<u8> {
    let mut bytes = vec![0x80, 2];
    bytes.extend(b"cposix\nsystem\n(X\x05\x00\x00\x00touch\x85R.");
    bytes
}

fn zipped(name: &str, pickle: &[u8]) -> Vec<u8> {
    use std::io::Write;
    let mut writer = zip::ZipWriter::new(std::io::Cursor::new(Vec::new()));
    let stored =
        zip::write::SimpleFileOptions::default().compression_method(zip::CompressionMethod::Stored);
    writer.start_file(name, stored).unwrap();
    writer.write_all(pickle).unwrap();
    writer.finish().unwrap().into_inner()
}

#[test]
fn hostile_pickles_are_refused_and_not_executed() {
    let folder = TempDir::new().unwrap();
    let zip = file(
        &folder,
        "hostile.pth",
        zipped("archive/data.pkl", &hostile_pickle()),
    );
    failure(inspect(&zip), 4).stderr(contains("hostile.pth").and(contains("posix")));
    // An opcode outside the list (INST).
    let zip = file(
        &folder,
        "opcode.pth",
        zipped("archive/data.pkl", b"\x80\x02(iposix\nsystem\n."),
    );
    failure(inspect(&zip), 4).stderr(contains("opcode"));
    // A string of 4 GiB in a file of a few bytes.
    let zip = file(
        &folder,
        "huge.pth",
        zipped("archive/data.pkl", b"\x80\x02X\xff\xff\xff\xffab."),
    );
    failure(inspect(&zip), 4).stderr(contains("huge.pth"));
    let zip = file(
        &folder,
        "path.pth",
        zipped("../../etc/data.pkl", b"\x80\x02}."),
    );
    failure(inspect(&zip), 4).stderr(contains("path.pth"));
}

#[test]
fn colours_only_where_wanted() {
    let plain = wgrad().assert().success();
    assert!(!plain.get_output().stdout.contains(&0x1b));
    let coloured = wgrad().args(["--color", "always"]).assert().success();
    assert!(coloured.get_output().stdout.contains(&0x1b));
    let none = wgrad()
        .args(["--color", "auto"])
        .env("NO_COLOR", "1")
        .assert()
        .success();
    assert!(!none.get_output().stdout.contains(&0x1b));
}

#[test]
fn help_names_the_exit_codes() {
    wgrad()
        .arg("--help")
        .assert()
        .success()
        .stdout(contains("Exit codes").and(contains("no adapter")));
}

fn cases() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/parity")
}

/// Killed in the middle, as by a person who has had enough.
#[test]
fn a_sweep_that_was_killed_goes_on() {
    use std::io::{BufRead, BufReader};
    use std::process::{Command, Stdio};
    let folder = TempDir::new().unwrap();
    let start = || {
        let mut command = Command::new(assert_cmd::cargo::cargo_bin("wgrad"));
        command
            .args(["check", "--exhaustive", "--only", "exp"])
            .env_remove("WGPU_BACKEND")
            .env_remove("WGPU_ADAPTER_NAME")
            .env("WGRAD_CACHE_DIR", folder.path())
            .stderr(Stdio::piped())
            .stdout(Stdio::null());
        command.spawn().unwrap()
    };
    let is_kept = || {
        let files = fs::read_dir(folder.path()).into_iter().flatten();
        let mut names = files.map(|file| file.unwrap().file_name());
        names.any(|name| name.to_str().is_some_and(|n| n.starts_with("sweep-")))
    };
    let mut first = start();
    while !is_kept() {
        assert!(first.try_wait().unwrap().is_none(), "it ended by itself");
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
    first.kill().unwrap();
    first.wait().unwrap();
    let mut second = start();
    let lines = BufReader::new(second.stderr.take().unwrap()).lines();
    let told: Vec<String> = lines
        .map(|line| line.unwrap())
        .take_while(|line| !line.contains("exp goes on at "))
        .collect();
    let ended = second.try_wait().unwrap();
    second.kill().unwrap();
    second.wait().unwrap();
    assert!(ended.is_none(), "it began anew: {told:?}");
}

#[test]
fn check_runs_a_folder_of_cases() {
    wgrad()
        .args(["check", "--cases"])
        .arg(cases())
        .assert()
        .success()
        .stdout(contains("PASS 99/99 cases"));
}

/// The limits of every WebGPU implementation: other kernels, the same values; and
/// the card says which kernels it had no chance to check.
#[test]
fn the_limits_of_every_webgpu_are_enough() {
    wgrad().arg("--default-limits").assert().success();
    wgrad()
        .args(["check", "--default-limits", "--quick", "--only", "5-7-3"])
        .args(["--cases"])
        .arg(cases())
        .assert()
        .success()
        .stdout(
            contains("SKIPPED")
                .and(contains("matmul_subgroup"))
                .and(contains(
                    "256 invocations and 16384 bytes a workgroup, 8 buffers a kernel",
                ))
                .and(contains("matmul.13")),
        );
    let mut command = wgrad();
    command.args(["--default-limits", "--cpu"]);
    failure(command, 2).stderr(contains("--cpu"));
}

#[test]
fn unsupported_cases_are_counted_and_fail_unless_allowed() {
    let folder = TempDir::new().unwrap();
    let text = fs::read_to_string(cases().join("cases.json")).unwrap();
    let mut listing: serde_json::Value = serde_json::from_str(&text).unwrap();
    let list = listing["cases"].as_array_mut().unwrap();
    list.truncate(3);
    list[1]["op"] = "lgamma".into();
    file(&folder, "cases.json", listing.to_string());
    fs::copy(
        cases().join("cases.safetensors"),
        folder.path().join("cases.safetensors"),
    )
    .unwrap();
    wgrad()
        .args(["check", "--cases"])
        .arg(folder.path())
        .assert()
        .code(1)
        .stdout(contains("lgamma").and(contains("1 unsupported")));
    wgrad()
        .args(["check", "--allow-unsupported", "--cases"])
        .arg(folder.path())
        .assert()
        .success();
    let mut command = wgrad();
    command.args(["check", "--cases", "/no/such/folder"]);
    failure(command, 4).stderr(contains("cases.json"));
}

#[test]
fn a_folder_without_a_case_does_not_pass() {
    let folder = TempDir::new().unwrap();
    file(&folder, "cases.json", "{\"cases\": []}");
    fs::copy(
        cases().join("cases.safetensors"),
        folder.path().join("cases.safetensors"),
    )
    .unwrap();
    let mut command = wgrad();
    command.args(["check", "--cases"]).arg(folder.path());
    failure(command, 4).stderr(contains("cases.json: it holds no case"));
}

#[test]
fn a_wrong_truth_fails_the_check() {
    let folder = TempDir::new().unwrap();
    fs::copy(cases().join("cases.json"), folder.path().join("cases.json")).unwrap();
    let mut bytes = fs::read(cases().join("cases.safetensors")).unwrap();
    // One float64 of one output.
    let file_of_cases = safetensors::SafeTensors::deserialize(&bytes).unwrap();
    let output = file_of_cases.tensor("sigmoid.0.output").unwrap();
    let at = output.data().as_ptr() as usize - bytes.as_ptr() as usize;
    bytes[at..at + 8].copy_from_slice(&1e9f64.to_le_bytes());
    file(&folder, "cases.safetensors", bytes);
    wgrad()
        .args(["check", "--cases"])
        .arg(folder.path())
        .assert()
        .code(1)
        .stdout(contains("FAIL").and(contains("1e9")));
}

#[test]
fn check_prints_a_card_of_the_adapter() {
    let folder = TempDir::new().unwrap();
    let page = folder.path().join("card.md");
    wgrad()
        .args(["check", "--quick", "--only", "relu,log"])
        .arg("--markdown")
        .arg(&page)
        .assert()
        .success()
        .stdout(contains("PASS").and(contains("relu forward")))
        .stdout(contains("log special values").and(contains("max(NaN, 0)")));
    let page = fs::read_to_string(page).unwrap();
    assert!(page.contains("| PASS | relu forward |"), "{page}");
    let mut command = wgrad();
    command.args(["check", "--quick", "--only", "relu", "--all-adapters"]);
    let output = command.arg("--json").output().unwrap();
    let cards: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let cards = cards.as_array().unwrap();
    assert!(!cards.is_empty());
    // An adapter that cannot compute is named, with the reason.
    let told = |card: &&serde_json::Value| card["not_examined"].is_null();
    assert!(cards.iter().any(|card| told(&card)));
    for card in cards.iter().filter(told) {
        assert_eq!(card["sections"][0]["checks"][0]["name"], "relu");
        assert_eq!(card["partial"], true);
    }
}

/// Mesa takes compute shaders from its OpenGL driver if it is asked to. Where there is no
/// such adapter, all that are there are examined.
#[test]
fn an_adapter_without_compute_shaders_is_named_and_the_others_are_examined() {
    let without = ("MESA_EXTENSION_OVERRIDE", "-GL_ARB_compute_shader");
    let mut command = wgrad();
    command.env(without.0, without.1);
    command.args(["check", "--quick", "--only", "relu", "--all-adapters"]);
    let output = command.arg("--json").output().unwrap();
    let told = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{told}");
    let cards: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let cards = cards.as_array().unwrap();
    assert!(cards.iter().any(|card| card["passed"] == true));
    for card in cards {
        let Some(reason) = card["not_examined"].as_str() else {
            continue;
        };
        assert!(reason.contains("has no compute shaders"), "{reason}");
        assert!(told.contains("is not examined"), "{told}");
        wgrad()
            .env(without.0, without.1)
            .args(["--adapter", &card["adapter"]["index"].to_string()])
            .assert()
            .code(3)
            .stderr(contains("has no compute shaders"));
    }
}

#[test]
fn cases_are_a_part_of_the_card_when_asked_for() {
    wgrad()
        .args(["check", "--quick", "--only", "add", "--cases"])
        .arg(cases())
        .assert()
        .success()
        .stdout(contains("CASES").and(contains("add forward")))
        .stdout(contains("sigmoid.0"));
}

fn bench(args: &[&str]) -> Command {
    let mut command = wgrad();
    command.args(["bench", "--quick"]).args(args);
    command
}

#[test]
fn bench_measures_and_exports() {
    let folder = TempDir::new().unwrap();
    let json = folder.path().join("figures.json");
    let page = folder.path().join("figures.md");
    let shaders = folder.path().join("shaders");
    bench(&["--batch", "1,64", "--verbose"])
        .arg("--export-json")
        .arg(&json)
        .arg("--export-markdown")
        .arg(&page)
        .arg("--dump-shaders")
        .arg(&shaders)
        .assert()
        .success()
        .stdout(contains("GFLOP/s").and(contains("4-2-1")))
        .stderr(contains("info: measuring 4-2-1, batch 64"));
    let text = fs::read_to_string(&json).unwrap();
    let figures: serde_json::Value = serde_json::from_str(&text).unwrap();
    assert!(figures["adapter"].is_string() && figures["driver"].is_string());
    assert!(figures["peaks"]["multiply_add_gflops"].as_f64().unwrap() > 0.0);
    let rows = figures["results"].as_array().unwrap();
    assert_eq!(rows.len(), 2);
    for (row, batch) in rows.iter().zip([1, 64]) {
        assert_eq!(
            (&row["net"], &row["batch"]),
            (&"4-2-1".into(), &batch.into())
        );
        assert_eq!(
            (&row["correct"], &row["replicas"]),
            (&true.into(), &1.into())
        );
        let number = |value: &serde_json::Value| value.as_f64().unwrap();
        let step = &row["step_s"];
        assert!(number(&step["p10"]) <= number(&step["median"]));
        assert!(number(&step["median"]) <= number(&step["p90"]));
        for name in [
            "forward_s",
            "queued_step_s",
            "encode_s",
            "submit_s",
            "wait_s",
            "readback_s",
            "first_step_s",
            "steps_per_s",
            "gradients_per_s",
            "gflops",
            "gbytes_per_s",
            "peak_share",
            "plan_bytes",
            "max_ulp",
        ] {
            assert!(number(&row[name]) > 0.0, "{name}: {row:#}");
        }
        assert!(number(&row["backward_s"]) >= 0.0);
        assert!(number(&row["cpu_f32_s"]["median"]) > 0.0);
    }
    assert!(
        fs::read_to_string(&page)
            .unwrap()
            .contains("| net | batch |")
    );
    for batch in ["4-2-1-batch-1", "4-2-1-batch-64"] {
        let own = shaders.join(batch);
        assert!(own.join("plan.txt").is_file(), "{batch}");
        let kernels = fs::read_dir(own).unwrap().count() - 1;
        assert!(kernels > 0);
    }
    // What was written is a baseline.
    bench(&["--batch", "64,3", "--baseline"])
        .arg(&json)
        .assert()
        .success()
        .stdout(
            contains("SINCE THE BASELINE")
                .and(contains("not in the baseline"))
                .and(contains("only in the baseline")),
        );
}

#[test]
fn bench_measures_a_network_of_ones_own() {
    let net = "Sequential(Linear(3, 5), Sigmoid(), Linear(5, 2))";
    let assert = bench(&["--net", net, "--loss", "MSELoss", "--batch", "7", "--json"])
        .assert()
        .success();
    let figures: serde_json::Value = serde_json::from_slice(&assert.get_output().stdout).unwrap();
    assert_eq!(figures["results"][0]["net"], "3-5-2");
    assert_eq!(figures["results"][0]["gradients"], 15 + 5 + 10 + 2);
}

#[test]
fn bench_measures_networks_side_by_side() {
    let assert = bench(&["--replicas", "1,5", "--batch", "3", "--json"])
        .assert()
        .success();
    let figures: serde_json::Value = serde_json::from_slice(&assert.get_output().stdout).unwrap();
    let rows = figures["results"].as_array().unwrap();
    assert_eq!(rows.len(), 2);
    for (row, replicas) in rows.iter().zip([1, 5]) {
        assert_eq!(row["replicas"], replicas);
        assert_eq!(row["correct"], true);
        // Both weights, and the loss twice: of the step, and of the loss alone.
        assert_eq!(row["values_checked"], replicas * (8 + 2 + 2));
        assert_eq!(row["gradients"], replicas * 10);
        assert_eq!(row["dispatches"], 1);
    }
    let assert = bench(&["--replicas", "2", "--batch", "3"])
        .assert()
        .success();
    assert.stdout(contains("replicas").and(contains("WRONG").not()));
    // Not in one workgroup.
    failure(bench(&["--replicas", "2", "--batch", "1000000"]), 5)
        .stderr(contains("one workgroup each"));
}

#[test]
fn bench_refuses_what_it_cannot_measure() {
    let folder = TempDir::new().unwrap();
    for (args, text) in [
        (&["--replicas", "0"][..], "0"),
        (&["--batch", "0"], "0"),
        (&["--batch", "1,,2"], "--batch"),
        (&["--batch", "many"], "many"),
        (&["--net", "Linear(2, 1)"], "--loss"),
        (&["--loss", "MSELoss"], "--net"),
        (&["--cpu"], "nothing to measure"),
        (&["--net", "Relu6()", "--loss", "MSELoss"], "Relu6"),
        (&["--net", "ReLU()", "--loss", "MSELoss"], "Linear"),
        (
            &[
                "--net",
                "Linear(2, 1)",
                "--loss",
                "MSELoss(reduction='none')",
            ],
            "reduction='mean'",
        ),
    ] {
        failure(bench(args), 2).stderr(contains(text));
    }
    for (name, content) in [
        ("empty.json", ""),
        ("list.json", "[1, 2]"),
        ("other.json", "{\"adapter\": {\"name\": \"x\"}}"),
        (
            "cut.json",
            "{\"adapter\": \"x\", \"driver\": \"y\", \"results\": [{\"net\"",
        ),
    ] {
        let path = file(&folder, name, content);
        let mut command = bench(&["--batch", "1", "--baseline"]);
        command.arg(path);
        failure(command, 4).stderr(contains(name).and(contains("--export-json")));
    }
    let missing = folder.path().join("no/such/folder/figures.json");
    for option in ["--baseline", "--export-json", "--export-markdown"] {
        let mut command = bench(&["--batch", "1", option]);
        command.arg(&missing);
        failure(command, 4).stderr(contains("figures.json"));
    }
    // Larger than any adapter binds, and told before memory is filled.
    failure(bench(&["--batch", "99999999999999"]), 2).stderr(contains("99999999999999"));
}

#[test]
fn grad_writes_the_kernels_that_it_runs() {
    let folder = TempDir::new().unwrap();
    let shaders = folder.path().join("kernels");
    grad("initial_model.pth")
        .arg("--dump-shaders")
        .arg(&shaders)
        .assert()
        .success();
    let plan = fs::read_to_string(shaders.join("plan.txt")).unwrap();
    assert!(plan.contains("plan: ") && plan.contains("loss"), "{plan}");
    let names = fs::read_dir(&shaders).unwrap();
    let names: Vec<_> = names.map(|e| e.unwrap().file_name()).collect();
    let first = |n: &std::ffi::OsString| n.to_str().unwrap().starts_with("00-");
    assert!(names.iter().any(first), "{names:?}");
    let mut command = grad("initial_model.pth");
    command.args(["--cpu", "--dump-shaders"]).arg(&shaders);
    failure(command, 2).stderr(contains("--cpu"));
}

#[test]
fn the_readme_shows_the_example_as_it_is() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let readme = fs::read_to_string(root.join("README.md")).unwrap();
    let example = fs::read_to_string(root.join("examples/exercise.rs")).unwrap();
    assert!(
        readme.contains(example.trim()),
        "README.md and examples/exercise.rs differ"
    );
}

/// A file of the pipelines that a driver has compiled is kept only where that is
/// wanted, and a damaged one is told of and written anew.
#[test]
fn compiled_pipelines_are_kept_where_they_may_be() {
    let folder = TempDir::new().unwrap();
    let place = folder.path().join("new/folder");
    let files = || -> Vec<PathBuf> {
        let entries = fs::read_dir(&place).into_iter().flatten();
        entries.map(|e| e.unwrap().path()).collect()
    };
    let run = || {
        let mut command = wgrad();
        command.env("WGRAD_CACHE_DIR", &place);
        command
    };
    run().arg("--no-cache").assert().success();
    assert_eq!(files(), Vec::<PathBuf>::new());
    run().assert().success().stderr(contains("not used").not());
    let made = files();
    let [file] = &made[..] else {
        eprintln!("skipped: this adapter keeps no pipelines");
        return;
    };
    run().assert().success().stderr(contains("not used").not());
    let good = fs::read(file).unwrap();
    for bad in [&good[..good.len() - 1], b"", b"something else"] {
        fs::write(file, bad).unwrap();
        run()
            .assert()
            .success()
            .stderr(contains("is not used: it is damaged"));
        assert_eq!(fs::read(file).unwrap().len(), good.len());
    }
    let other = folder.path().join("other");
    run()
        .args(["--cache-dir".as_ref(), other.as_os_str()])
        .assert()
        .success();
    assert!(other.join(file.file_name().unwrap()).is_file());
    // Where nothing can be written, nothing is kept, and all else goes on.
    let blocked = self::file(&folder, "a file", "");
    run()
        .args(["--cache-dir".as_ref(), blocked.as_os_str()])
        .assert()
        .success();
    let mut empty = wgrad();
    empty.args(["adapters", "--cache-dir", ""]);
    failure(empty, 2).stderr(contains("--no-cache"));
}

/// `wgrad` with a folder of its own for what it keeps.
fn with_cache(folder: &Path) -> Command {
    let mut command = wgrad();
    command.env("WGRAD_CACHE_DIR", folder);
    command
}

#[test]
fn what_tuning_found_is_kept_shown_and_taken() {
    let folder = TempDir::new().unwrap();
    let tune = |args: &[&str]| {
        let mut command = with_cache(folder.path());
        command.args(["tune", "--problem", "5x6x7 nn", "--seconds", "0"]);
        command.args(args);
        command
    };
    let json = |mut command: Command| -> serde_json::Value {
        let assert = command.arg("--json").assert().success();
        serde_json::from_slice(&assert.get_output().stdout).unwrap()
    };
    let tuned = || -> Vec<PathBuf> {
        let entries = fs::read_dir(folder.path()).unwrap();
        let paths = entries.map(|e| e.unwrap().path());
        paths
            .filter(|p| p.extension().is_some_and(|e| e == "json"))
            .collect()
    };
    // One kernel, nothing kept.
    let one = tune(&["--dry-run", "--kernel", "matmul_16"])
        .assert()
        .success();
    one.stdout(
        contains("matmul 5x6x7 nn")
            .and(contains("default, taken"))
            .and(contains("tuned: 0 of 1 products"))
            .and(contains("matmul_subgroup").not()),
    );
    assert_eq!(tuned(), Vec::<PathBuf>::new());
    // All of them.
    let found = json(tune(&[]));
    let kernels = found["products"][0]["kernels"].as_array().unwrap();
    assert!(kernels.len() > 1, "{found}");
    assert!(kernels.iter().all(|k| k["wrong"].is_null()), "{found}");
    assert!(kernels.iter().all(|k| k["seconds"].as_f64() > Some(0.0)));
    assert_eq!(found["tuned"]["products"][0]["problem"], "matmul 5x6x7 nn");
    let [file] = &tuned()[..] else {
        panic!("{:?}", tuned());
    };
    assert_eq!(found["file"], file.to_str().unwrap());
    // It is told of, shown, and left alone where that is wanted.
    let told = contains("of 1 products take another kernel");
    let plain = |args: &[&str]| with_cache(folder.path()).args(args).assert().success();
    plain(&[]).stderr(told.clone());
    plain(&["--no-tune"]).stderr(told.clone().not());
    plain(&["--no-cache"]).stderr(told.clone().not());
    plain(&["adapters"]).stdout(told.clone());
    let mut adapters = with_cache(folder.path());
    adapters.arg("adapters");
    let chosen = json(adapters);
    let chosen = chosen
        .as_array()
        .unwrap()
        .iter()
        .find(|a| a["chosen"] == true);
    assert_eq!(chosen.unwrap()["tuned"], found["tuned"]);
    // What is damaged is told of, and is no reason to fail.
    let good = fs::read(file).unwrap();
    fs::write(file, &good[..good.len() / 2]).unwrap();
    plain(&[]).stderr(contains("is not used: it is damaged").and(told.clone().not()));
    plain(&["adapters"]).stderr(contains("is not used: it is damaged"));
    let text = String::from_utf8(good).unwrap();
    fs::write(file, text.replacen("5x6x7", "5x6x8", 1)).unwrap();
    plain(&["--no-tune"]).stderr(contains("not used").not());
    plain(&[]).stderr(contains("is not used: it is damaged"));
    // And forgotten.
    plain(&["tune", "--clear"]).stderr(contains("forgotten"));
    assert_eq!(tuned(), Vec::<PathBuf>::new());
    plain(&["tune", "--clear"]).stderr(contains("nothing was kept"));
}

#[test]
fn tuning_refuses_what_it_cannot_do() {
    for (args, code, what) in [
        (
            &["--problem", "5x6 nn", "--dry-run"][..],
            2,
            "256x512x784 nt",
        ),
        (
            &["--problem", "5x6x7 nn"],
            2,
            "--cache-dir DIR, or --dry-run",
        ),
        (
            &["--problem", "5x6x7 nn", "--kernel", "matmul_16"],
            2,
            "--dry-run",
        ),
        (
            &["--problem", "5x6x7 nn", "--dry-run", "--kernel", "sum"],
            2,
            "there are matmul_16",
        ),
        (&["--net", NET, "--dry-run"], 2, "--loss"),
        (&["--dry-run", "--cpu"], 2, "--cpu has nothing to tune"),
        (&["--dry-run", "--seconds=-1"], 2, "0 to 600"),
        (&["--clear", "--dry-run"], 2, "--clear"),
    ] {
        let mut command = wgrad();
        command.arg("tune").args(args);
        let assert = command.assert().code(code);
        assert.stderr(contains("error:").and(contains(what)));
    }
    // A network without a choice is no failure.
    wgrad()
        .args([
            "tune",
            "--dry-run",
            "--net",
            NET,
            "--loss",
            "BCELoss",
            "--batch",
            "4",
        ])
        .assert()
        .success()
        .stderr(contains("nothing to tune"));
}
