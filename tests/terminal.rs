//! How wgrad behaves on a terminal and off it: completions, man pages, what is said and
//! what is not, characters, colours, widths, bars.

mod common;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use common::tool;
use tempfile::TempDir;

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
    command.env("LC_ALL", "C.UTF-8").env("WGRAD_CACHE_DIR", "");
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
