//! How wgrad behaves on a terminal and off it: completions, man pages, what is said and
//! what is not, characters, colours, widths, bars.

mod common;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use common::tool;
use tempfile::TempDir;
use wgrad::report::{terminal, text};

/// `wgrad` with none of the caller's settings, in a UTF-8 locale.
fn wgrad() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_wgrad"));
    for name in [
        "WGPU_BACKEND",
        "WGPU_ADAPTER_NAME",
        "RUST_LOG",
        "COLUMNS",
        "NO_COLOR",
        "CLICOLOR",
        "CLICOLOR_FORCE",
        "LC_CTYPE",
    ] {
        command.env_remove(name);
    }
    command
        .env("LC_ALL", "C.UTF-8")
        .env("TERM", "xterm")
        .env("WGRAD_CACHE_DIR", "");
    command
}

/// What a run wrote to stdout and to stderr, and its exit code.
struct Ran {
    out: String,
    err: String,
    code: i32,
}

fn run(command: &mut Command) -> Ran {
    let output = command.output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    Ran {
        out: text(output.stdout),
        err: text(output.stderr),
        code: output.status.code().unwrap(),
    }
}

fn stdout(args: &[&str]) -> String {
    let ran = run(wgrad().args(args));
    assert_eq!((ran.code, &*ran.err), (0, ""), "{args:?}");
    ran.out
}

/// The names of the subcommands, as the help lists them.
fn subcommands() -> Vec<String> {
    let help = stdout(&["-h"]);
    let list = help.split("Commands:\n").nth(1).unwrap();
    let list = list.split("\n\n").next().unwrap();
    let starts = |l: &&str| l.starts_with("  ") && !l.starts_with("   ");
    let words = list.lines().filter(starts);
    let names: Vec<_> = words
        .map(|l| l.split_whitespace().next().unwrap().to_string())
        .filter(|name| name != "help")
        .collect();
    assert!(names.len() >= 12, "{names:?}");
    names
}

/// The long options of a command, as its help lists them.
fn options(subcommand: Option<&str>) -> Vec<String> {
    let help = match subcommand {
        Some(name) => stdout(&[name, "-h"]),
        None => stdout(&["-h"]),
    };
    let found = help.lines().filter_map(|line| {
        let line = line.trim_start();
        let option = line.split_whitespace().find(|word| word.starts_with('-'))?;
        let long = match line.starts_with('-') {
            true => line.split_whitespace().find(|w| w.starts_with("--"))?,
            false => return None,
        };
        let end = long.find(|c: char| !c.is_alphanumeric() && c != '-');
        (!option.is_empty()).then(|| long[..end.unwrap_or(long.len())].to_string())
    });
    let found: Vec<_> = found.collect();
    assert!(found.len() >= 5, "{found:?}");
    found
}

#[test]
fn bash_completes_subcommands_and_options() {
    let Some(bash) = tool("bash", "bash", "bash_completes_subcommands_and_options") else {
        return;
    };
    let folder = TempDir::new().unwrap();
    let script = folder.path().join("wgrad.bash");
    fs::write(&script, stdout(&["completions", "bash"])).unwrap();
    let parsed = run(Command::new(&bash).arg("-n").arg(&script));
    assert_eq!((parsed.code, &*parsed.err), (0, ""));
    let complete = |words: &[&str]| -> Vec<String> {
        // As bash itself calls it: the command, the word, the word before.
        let line = format!(
            "source '{}'; COMP_WORDS=({}); COMP_CWORD={}; \
             _wgrad wgrad \"${{COMP_WORDS[COMP_CWORD]}}\" \"${{COMP_WORDS[COMP_CWORD-1]}}\"; \
             printf '%s\\n' \"${{COMPREPLY[@]}}\"",
            script.display(),
            words.join(" "),
            words.len() - 1,
        );
        let ran = run(Command::new(&bash).args(["--norc", "-c", &line]));
        assert_eq!(ran.err, "", "{words:?}");
        ran.out.lines().map(str::to_string).collect()
    };
    assert_eq!(complete(&["wgrad", "insp"]), ["inspect"]);
    let all = complete(&["wgrad", "''"]);
    for name in subcommands() {
        assert!(all.contains(&name), "{name}: {all:?}");
    }
    assert_eq!(complete(&["wgrad", "grad", "--expl"]), ["--explain"]);
    assert_eq!(
        complete(&["wgrad", "graph", "--format", "mer"]),
        ["mermaid"]
    );
    assert_eq!(complete(&["wgrad", "bench", "--no-tu"]), ["--no-tune"]);
    for name in subcommands() {
        let offered = complete(&["wgrad", &name, "--"]);
        for option in options(Some(&name)) {
            assert!(offered.contains(&option), "{name} {option}: {offered:?}");
        }
    }
}

#[test]
fn every_shell_has_completions() {
    for shell in ["bash", "zsh", "fish", "powershell", "elvish"] {
        let script = stdout(&["completions", shell]);
        for name in subcommands() {
            assert!(script.contains(&name), "{shell}: {name}");
        }
        assert!(script.contains("trace-nonfinite"), "{shell}");
    }
}

/// A man page as a terminal shows it, without bold and underlined letters.
fn rendered(groff: &Path, page: &Path) -> String {
    let shown = run(Command::new(groff)
        .args(["-man", "-Tascii", "-P-cbou", "-ww", "-rLL=200n"])
        .arg(page));
    assert_eq!((shown.code, &*shown.err), (0, ""), "{}", page.display());
    shown.out
}

#[test]
fn man_pages_render_and_name_every_subcommand_and_option() {
    let folder = TempDir::new().unwrap();
    let pages = folder.path().join("made/man1");
    let told = stdout(&["man", "-o", pages.to_str().unwrap()]);
    let main = pages.join("wgrad.1");
    assert_eq!(fs::read_to_string(&main).unwrap(), stdout(&["man"]));
    let mut all: Vec<(Option<String>, PathBuf)> = vec![(None, main)];
    for name in subcommands() {
        let page = pages.join(format!("wgrad-{name}.1"));
        assert!(told.contains(page.to_str().unwrap()), "{told}");
        all.push((Some(name), page));
    }
    assert_eq!(told.lines().count(), all.len());
    let test = "man_pages_render_and_name_every_subcommand_and_option";
    let Some(groff) = tool("groff", "groff-base", test) else {
        return;
    };
    for (name, page) in &all {
        let text = rendered(&groff, page);
        for option in options(name.as_deref()) {
            assert!(text.contains(&option), "{name:?} {option}: {text}");
        }
        match name {
            Some(name) => assert!(text.contains(&format!("wgrad-{name} - ")), "{text}"),
            None => {
                for name in subcommands() {
                    assert!(text.contains(&format!("wgrad-{name}(1)")), "{name}: {text}");
                }
                // A list a line, not run together.
                assert!(text.contains("\nEXIT CODES\n"), "{text}");
                assert!(
                    text.lines().any(|l| l.trim() == "3      no adapter"),
                    "{text}"
                );
            }
        }
    }
}

/// A sheet with its blank answers, and the exercise's files, in a folder of their own.
fn folder_with_a_sheet() -> TempDir {
    let folder = TempDir::new().unwrap();
    let made = run(wgrad()
        .current_dir(folder.path())
        .args(["sheet", "--cpu", "--seed", "3", "-o", "sheet"]));
    assert_eq!(made.code, 0, "{}", made.err);
    for name in ["initial_model.pth", "in_features.npy", "target.npy"] {
        let data = Path::new(env!("CARGO_MANIFEST_DIR")).join("data/exercise");
        fs::copy(data.join(name), folder.path().join(name)).unwrap();
    }
    // A few of PyTorch's cases are enough here.
    let cases = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/parity");
    let own = folder.path().join("cases");
    fs::create_dir(&own).unwrap();
    let list = fs::read_to_string(cases.join("cases.json")).unwrap();
    let mut list: serde_json::Value = serde_json::from_str(&list).unwrap();
    list["cases"].as_array_mut().unwrap().truncate(3);
    fs::write(own.join("cases.json"), list.to_string()).unwrap();
    fs::copy(
        cases.join("cases.safetensors"),
        own.join("cases.safetensors"),
    )
    .unwrap();
    folder
}

const GRAD: &str = "grad --loss BCELoss --weights initial_model.pth --input in_features.npy \
                    --target target.npy --net";
const NET: &str =
    "Sequential(Linear(4, 2, bias=False), ReLU(), Linear(2, 1, bias=False), Sigmoid())";

/// A line for each subcommand, and its exit code: what it prints is a text.
fn texts() -> Vec<(Vec<String>, i32)> {
    let words = |line: &str| {
        line.split_whitespace()
            .map(str::to_string)
            .collect::<Vec<_>>()
    };
    let mut tune = words("tune --seconds 0 --dry-run --problem");
    tune.push("64x4x64 nt".to_string());
    let mut grad = words(GRAD);
    grad.extend([NET.to_string(), "--explain".to_string()]);
    vec![
        (Vec::new(), 0),
        (grad, 0),
        (words("graph --values --plan --format text"), 0),
        (words("report -o page.html"), 0),
        (words("sheet --seed 5 -o other"), 0),
        (words("grade sheet/answers.template.json --sheet sheet"), 1),
        (words("bench --quick --batch 1"), 0),
        (tune, 0),
        (words("check --only relu --quick"), 0),
        (words("check --cases cases --allow-unsupported"), 0),
        (words("trace --steps 2 -o trace.json"), 0),
        (words("inspect initial_model.pth"), 0),
        (words("adapters"), 0),
        (words("completions fish"), 0),
        (words("man"), 0),
        (words("--help"), 0),
        (words("--version"), 0),
        (words("inspect caf\u{e9}.pth"), 4),
        (words("caf\u{e9}"), 2),
    ]
}

/// That the list above has a line for each subcommand.
fn all_are_there(lines: &[(Vec<String>, i32)]) {
    for name in subcommands() {
        // What is written for a program is looked at elsewhere.
        let is_there = lines.iter().any(|(words, _)| words.first() == Some(&name));
        assert!(is_there, "no line for {name}");
    }
}

/// Three runs of each line: with --quiet, as usual, and with --verbose where only ASCII
/// can be shown.
#[test]
fn every_subcommand_quiet_verbose_and_in_ascii() {
    let folder = folder_with_a_sheet();
    let lines = texts();
    all_are_there(&lines);
    for (words, code) in lines {
        let own = |locale: &str, more: &[&str]| {
            let mut command = wgrad();
            command.current_dir(folder.path()).env("LC_ALL", locale);
            run(command.args(&words).args(more))
        };
        let quiet = own("C.UTF-8", &["-q"]);
        let usual = own("C.UTF-8", &[]);
        let ascii = own("C", &["--verbose"]);
        let codes = (quiet.code, usual.code, ascii.code);
        assert_eq!(codes, (code, code, code), "{words:?}: {}", quiet.err);
        // Nothing but stderr changes; times differ from run to run.
        if !words
            .iter()
            .any(|w| ["bench", "tune", "trace"].contains(&&**w))
        {
            assert_eq!(quiet.out, usual.out, "{words:?}");
            assert_eq!(terminal::ascii(&usual.out), ascii.out, "{words:?}");
        }
        match code {
            0 | 1 => assert_eq!(quiet.err, "", "{words:?}"),
            _ => assert!(quiet.err.starts_with("error:"), "{words:?}: {}", quiet.err),
        }
        assert!(!usual.err.contains("info:"), "{words:?}: {}", usual.err);
        let told = format!("{}{}", ascii.out, ascii.err);
        assert!(told.is_ascii(), "{words:?}: {told}");
        // Letters of names are escaped, and nothing of our own.
        let given = words.iter().any(|word| !word.is_ascii());
        assert_eq!(told.contains("\\u{"), given, "{words:?}: {told}");
        let computes = ["grad", "report", "sheet", "bench", "tune", "trace", "check"];
        if words.is_empty() || computes.contains(&&*words[0]) {
            let adapter = ascii.err.lines().find(|l| l.starts_with("info: adapter "));
            let is_named = adapter.is_some_and(|l| l.contains("driver "));
            assert!(is_named, "{words:?}: {}", ascii.err);
        }
    }
}

#[test]
fn the_locale_or_an_option_asks_for_ascii() {
    let asked = run(wgrad().args(["--cpu", "--ascii"]));
    assert!(
        asked.out.is_ascii() && asked.out.contains("h0 = x @ W0^T"),
        "{}",
        asked.out
    );
    let utf8 = run(wgrad().arg("--cpu"));
    assert!(utf8.out.contains("h0 = x @ W0\u{1d40}"), "{}", utf8.out);
    let drawn = run(wgrad().args(["graph", "--backward", "--ascii"]));
    assert!(drawn.out.contains("dL/dh0"), "{}", drawn.out);
    let lang = run(wgrad()
        .env_remove("LC_ALL")
        .env("LANG", "de_DE")
        .arg("--cpu"));
    assert_eq!(lang.out, asked.out);
}

#[test]
fn documents_keep_their_encoding_and_json_its_content() {
    let folder = TempDir::new().unwrap();
    let both = |line: &str| {
        let of = |locale: &str| {
            let mut command = wgrad();
            command.current_dir(folder.path()).env("LC_ALL", locale);
            run(command.args(line.split_whitespace())).out
        };
        (of("C"), of("C.UTF-8"))
    };
    for line in [
        "graph --backward --format svg",
        "graph --backward --format dot",
        "graph --backward --format mermaid",
        "report --cpu",
    ] {
        let (c, utf8) = both(line);
        assert!(!utf8.is_ascii(), "{line}");
        assert_eq!(c, utf8, "{line}");
    }
    for line in ["graph --backward --format json", "--cpu --json"] {
        let (c, utf8) = both(line);
        assert!(c.is_ascii() && !utf8.is_ascii(), "{line}");
        let of = |text: &str| serde_json::from_str::<serde_json::Value>(text).unwrap();
        assert_eq!(of(&c), of(&utf8), "{line}");
    }
    // Files are the same, and a text in one has no colours.
    for locale in ["C", "C.UTF-8"] {
        let mut command = wgrad();
        command.current_dir(folder.path()).env("LC_ALL", locale);
        let name = format!("{locale}.txt");
        run(command.args(["graph", "--backward", "--color", "always", "-o", &name]));
    }
    let read = |name: &str| fs::read_to_string(folder.path().join(name)).unwrap();
    assert_eq!(read("C.txt"), read("C.UTF-8.txt"));
    assert!(read("C.txt").contains('\u{2202}') && !read("C.txt").contains('\x1b'));
}

#[test]
fn verbose_tells_of_the_plan_its_memory_the_times_and_the_caches() {
    let folder = TempDir::new().unwrap();
    let ran = run(wgrad().env("WGRAD_CACHE_DIR", folder.path()).arg("-v"));
    let own = folder.path().display().to_string();
    for wanted in [
        "planned in ",
        " kernels, ",
        " buffers, ",
        " alive at once)",
        "compiled in ",
        "ran in ",
        "the float64 reference took ",
        "kernels: the defaults; nothing is tuned in ",
        &own,
    ] {
        assert!(ran.err.contains(wanted), "{wanted}: {}", ran.err);
    }
}

const RED: &str = "\x1b[31m";
const GREEN: &str = "\x1b[32m";
const CYAN: &str = "\x1b[36m";
const MAGENTA: &str = "\x1b[35m";

#[test]
fn colours_have_meanings() {
    let folder = folder_with_a_sheet();
    let exercise = run(wgrad().args(["--color", "always"]));
    for wanted in [
        format!("{CYAN}FORWARD\x1b[0m"),
        format!("{CYAN}h0 = x @ "),
        format!("{MAGENTA}BACKWARD\x1b[0m"),
        format!("{MAGENTA}dL/dh2 = "),
        format!("{GREEN}PASS\x1b[0m"),
    ] {
        assert!(
            exercise.out.contains(&wanted),
            "{wanted:?}: {}",
            exercise.out
        );
    }
    assert!(
        !exercise.out.contains(RED),
        "nothing differs: {}",
        exercise.out
    );
    // A mismatch.
    let wrong = wrong_answers(&folder);
    let mark = |color: &[&str], env: &[(&str, &str)]| {
        let mut command = wgrad();
        command.current_dir(folder.path()).envs(env.iter().copied());
        run(command
            .args(["grade", &wrong, "--sheet", "sheet"])
            .args(color))
        .out
    };
    let always = mark(&["--color", "always"], &[]);
    assert!(always.contains(&format!("{RED}wrong\x1b[0m")), "{always}");
    assert!(always.contains(&format!("{RED}NOT YET\x1b[0m")), "{always}");
    assert!(mark(&[], &[("CLICOLOR_FORCE", "1")]).contains(RED));
    for (color, env) in [
        (&[][..], &[][..]),
        (&["--color", "never"], &[("CLICOLOR_FORCE", "1")]),
        (&["--color", "auto"], &[("NO_COLOR", "1")]),
        (&[], &[("NO_COLOR", "1"), ("CLICOLOR_FORCE", "1")]),
    ] {
        let plain = mark(color, env);
        assert!(
            plain.contains("wrong") && !plain.contains('\x1b'),
            "{color:?} {env:?}: {plain}"
        );
    }
    // What --help and errors say has the same rules.
    let error = |color: &str| run(wgrad().args(["frobnicate", "--color", color])).err;
    assert!(error("always").contains('\x1b') && !error("never").contains('\x1b'));
    assert!(!run(wgrad().arg("frobnicate")).err.contains('\x1b'));
    let notice = run(wgrad()
        .args(["--cpu", "--color", "always", GRAD_RANDOM[0]])
        .args(&GRAD_RANDOM[1..]));
    assert!(
        notice.err.contains("\x1b[33mnotice:\x1b[0m "),
        "{}",
        notice.err
    );
}

#[test]
fn a_value_outside_its_bound_is_a_mismatch() {
    let prepared = wgrad::exercise::problem().unwrap().prepare().unwrap();
    let detail = wgrad::solution::Detail {
        every_step: true,
        check: true,
    };
    let solving = wgrad::solution::solve(&prepared, Some(common::gpu()), detail);
    let mut report = wgrad::report::Report::new(pollster::block_on(solving).unwrap());
    assert_eq!(text::failures(&report), "");
    assert!(!text::overview(&report).contains(RED));
    let place = report.solution.steps.iter().position(|s| s.label == "loss");
    let step = &mut report.solution.steps[place.unwrap_or(0)];
    step.comparison.as_mut().unwrap().failures = 1;
    let label = step.label.clone();
    let failures = text::failures(&report);
    assert!(
        failures.contains(&format!("{RED}{label}\x1b[0m")),
        "{failures}"
    );
    assert!(text::closing(&report).contains(&format!("{RED}FAIL\x1b[0m")));
}

const GRAD_RANDOM: [&str; 5] = ["graph", "--net", "Linear(2, 1)", "--loss", "MSELoss"];

/// The answers of a sheet, all of them 7.
fn wrong_answers(folder: &TempDir) -> String {
    let blank = folder.path().join("sheet/answers.template.json");
    let text = fs::read_to_string(blank)
        .unwrap()
        .replace("null", "\"7.00\"");
    fs::write(folder.path().join("wrong.json"), text).unwrap();
    "wrong.json".to_string()
}

#[test]
fn tables_fit_the_width_and_nothing_is_lost() {
    let at = |columns: &str, args: &[&str]| run(wgrad().env("COLUMNS", columns).args(args)).out;
    let words = |text: &str| {
        let mut all: Vec<_> = text.split_whitespace().map(str::to_string).collect();
        all.sort();
        all.dedup();
        all
    };
    let wide = stdout(&["adapters"]);
    assert_eq!(at("160", &["adapters"]), wide);
    for columns in ["120", "100", "80", "60"] {
        let text = at(columns, &["adapters"]);
        let most: usize = columns.parse().unwrap();
        for line in text.lines().filter(|l| !l.contains("taken by a plain run")) {
            assert!(line.chars().count() <= most, "{columns}: {line}");
        }
        assert_eq!(words(&text), words(&wide), "{columns}: {text}");
    }
    // What is no width is not one.
    for columns in ["0", "-1", "wide", ""] {
        assert_eq!(at(columns, &["adapters"]), wide, "{columns}");
    }
}

/// A command with stderr on a terminal, and what becomes of it.
#[cfg(target_os = "linux")]
mod on_a_terminal {
    use super::*;
    use std::fs::File;
    use std::io::Read;
    use std::os::fd::{FromRawFd, OwnedFd};
    use std::os::unix::process::ExitStatusExt;
    use std::process::{ExitStatus, Stdio};

    /// Both ends of a terminal, 100 columns wide.
    fn pair() -> (File, OwnedFd) {
        let (mut ours, mut theirs) = (-1, -1);
        let size = libc::winsize {
            ws_row: 24,
            ws_col: 100,
            ws_xpixel: 0,
            ws_ypixel: 0,
        };
        // SAFETY: the places outlive the call, and the ends are ours alone afterwards.
        unsafe {
            let no_name = std::ptr::null_mut();
            let done = libc::openpty(&mut ours, &mut theirs, no_name, std::ptr::null(), &size);
            assert_eq!(done, 0);
            (File::from_raw_fd(ours), OwnedFd::from_raw_fd(theirs))
        }
    }

    /// What came to the terminal on stderr, and how it ended. `seen` is shown all that
    /// came so far, with the process.
    fn on_terminal(command: &mut Command, seen: impl FnMut(&str, u32)) -> (String, ExitStatus) {
        let (ours, theirs) = pair();
        command.stdout(Stdio::null());
        spawned(command.stderr(theirs), ours, seen)
    }

    /// `seen` is shown all that came to the terminal so far, with the process.
    fn spawned(
        command: &mut Command,
        mut ours: File,
        mut seen: impl FnMut(&str, u32),
    ) -> (String, ExitStatus) {
        let mut child = command.stdin(Stdio::null()).spawn().unwrap();
        // Else our own copies of the end would keep it open.
        command.stdout(Stdio::null()).stderr(Stdio::null());
        let mut told = String::new();
        let mut bytes = [0; 4096];
        // The end of a terminal whose other end is closed is an error.
        while let Ok(n @ 1..) = ours.read(&mut bytes) {
            told.push_str(&String::from_utf8_lossy(&bytes[..n]));
            seen(&told, child.id());
        }
        (told, child.wait().unwrap())
    }

    /// The lines that are left on the terminal: it knows returns, erased lines, and the
    /// way up.
    fn left(told: &str) -> Vec<String> {
        let mut lines = vec![String::new()];
        let mut row = 0;
        let mut rest = told.chars().peekable();
        let mut column = 0;
        while let Some(c) = rest.next() {
            match c {
                '\r' => column = 0,
                '\n' => {
                    row += 1;
                    if row == lines.len() {
                        lines.push(String::new());
                    }
                }
                '\x1b' => {
                    assert_eq!(rest.next(), Some('['));
                    let mut code = String::new();
                    while rest.peek().is_some_and(|c| !c.is_ascii_alphabetic()) {
                        code.extend(rest.next());
                    }
                    match rest.next() {
                        Some('K') => lines[row].clear(),
                        Some('A') => row -= code.parse::<usize>().unwrap_or(1).min(row),
                        // Colours.
                        Some('m') => {}
                        other => panic!("{other:?} in {told:?}"),
                    }
                }
                c => {
                    let mut cells: Vec<char> = lines[row].chars().collect();
                    cells.resize(cells.len().max(column + 1), ' ');
                    cells[column] = c;
                    lines[row] = cells.into_iter().collect();
                    column += 1;
                }
            }
        }
        let text = |line: String| line.trim_end().to_string();
        lines
            .into_iter()
            .map(text)
            .filter(|l| !l.is_empty())
            .collect()
    }

    #[test]
    fn tables_are_as_wide_as_the_terminal_and_documents_are_texts_on_it() {
        let shown = |args: &[&str], locale: &str| {
            let (ours, theirs) = pair();
            let mut command = wgrad();
            command.args(args).env("LC_ALL", locale);
            spawned(command.stdout(theirs), ours, |_, _| ()).0
        };
        let table = shown(&["adapters"], "C.UTF-8").replace("\r\n", "\n");
        let asked = run(wgrad().env("COLUMNS", "100").arg("adapters")).out;
        assert_eq!(table, asked);
        assert_ne!(
            table,
            stdout(&["adapters"]),
            "it is narrower than in a pipe"
        );
        let drawn = ["graph", "--backward", "--format", "dot"];
        assert!(shown(&drawn, "C").is_ascii() && !shown(&drawn, "C.UTF-8").is_ascii());
        // Colours need not be asked for.
        assert!(shown(&["graph"], "C").contains(CYAN));
    }

    /// Takes as many seconds as it is told, at least.
    fn long(seconds: &str, more: &[&str]) -> Command {
        let mut command = wgrad();
        command
            .args([
                "tune",
                "--problem",
                "64x4x64 nt",
                "--dry-run",
                "--seconds",
                seconds,
            ])
            .args(more);
        command
    }

    const DOING: &str = "1 of 1: matmul 64x4x64 nt";

    #[test]
    fn what_takes_long_says_what_it_does_and_leaves_nothing_behind() {
        let (told, status) = on_terminal(&mut long("3", &[]), |_, _| ());
        assert!(status.success());
        assert!(told.contains(DOING), "{told:?}");
        // Not before a second has passed.
        assert!(!told.contains("(0s)"), "{told:?}");
        let lines = left(&told);
        assert!(!lines.is_empty(), "a notice is told, too: {told:?}");
        for line in lines {
            assert!(line.starts_with("notice:"), "{line:?} is left of {told:?}");
        }
    }

    #[test]
    fn off_a_terminal_and_when_quiet_there_is_no_bar() {
        let piped = run(&mut long("3", &[]));
        assert!(!piped.err.contains(DOING), "{}", piped.err);
        assert!(!piped.err.contains('\x1b'), "{}", piped.err);
        let (told, status) = on_terminal(&mut long("3", &["--quiet"]), |_, _| ());
        assert!(status.success() && told.is_empty(), "{told:?}");
        let (told, _) = on_terminal(
            long("3", &["--color", "never"]).env("TERM", "dumb"),
            |_, _| (),
        );
        assert!(!told.contains(DOING) && !told.contains('\x1b'), "{told:?}");
    }

    #[test]
    fn a_process_that_is_stopped_leaves_no_bar() {
        let mut stopped = false;
        // What runs in the background of a shell inherits that SIGINT is ignored, and wgrad
        // leaves that so; this child must not.
        // SAFETY: the default action has no handler.
        unsafe { libc::signal(libc::SIGINT, libc::SIG_DFL) };
        let (told, status) = on_terminal(&mut long("60", &[]), |told, id| {
            if told.contains(DOING) && !stopped {
                stopped = true;
                // SAFETY: a signal to our own child, which has not been waited for.
                unsafe { libc::kill(id as i32, libc::SIGINT) };
            }
        });
        assert_eq!(status.signal(), Some(libc::SIGINT));
        assert!(told.ends_with("\r\x1b[2K"), "{told:?}");
    }

    #[test]
    fn of_several_parts_a_bar_says_how_many_are_done() {
        let second = ["--problem", "65x4x64 nt", "--ascii"];
        let (told, status) = on_terminal(&mut long("3", &second), |_, _| ());
        assert!(status.success(), "{told}");
        for wanted in [
            "1 of 2: matmul 64x4x64 nt",
            "2 of 2: matmul 65x4x64 nt",
            " 50%, ",
        ] {
            assert!(told.contains(wanted), "{wanted}: {told:?}");
        }
        assert!(told.contains("##>") && told.is_ascii(), "{told:?}");
    }
}
