//! A process that is stopped leaves no half-written file: the real program is
//! stopped at many moments of its writing, and what is left is looked at.
#![cfg(unix)]

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use wgrad::Tensor;

/// The tests that wait for a moment of a run take turns: beside another run they would see
/// it too late.
static TURN: Mutex<()> = Mutex::new(());

fn turn() -> MutexGuard<'static, ()> {
    TURN.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The files of a folder and their sizes.
fn held(folder: &Path) -> BTreeMap<String, u64> {
    let Ok(entries) = fs::read_dir(folder) else {
        return BTreeMap::new(); // not made yet
    };
    entries
        .flatten()
        .filter_map(|entry| {
            // What is renamed meanwhile has no size under its old name.
            let size = entry.metadata().ok()?.len();
            Some((entry.file_name().into_string().ok()?, size))
        })
        .collect()
}

/// The size of what is being written, if something is.
fn draft(folder: &Path) -> Option<u64> {
    let mut held = held(folder).into_iter();
    held.find_map(|(name, size)| name.starts_with(".tmp").then_some(size))
}

/// Runs wgrad and sends it `signal` as soon as `now` says so. How it ended, and
/// whether the signal was sent.
fn stopped(args: &[&str], signal: i32, now: impl Fn() -> bool) -> (ExitStatus, bool) {
    // What runs in the background of a shell inherits that SIGINT is ignored, and wgrad
    // leaves that so; a child of these tests must not.
    for heeded in [libc::SIGINT, libc::SIGTERM] {
        // SAFETY: the default action has no handler.
        #[allow(unsafe_code)]
        unsafe {
            libc::signal(heeded, libc::SIG_DFL)
        };
    }
    let mut child = Command::new(env!("CARGO_BIN_EXE_wgrad"))
        .args(args)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    while !now() {
        if let Some(status) = child.try_wait().unwrap() {
            return (status, false);
        }
        std::thread::sleep(Duration::from_micros(100));
    }
    // SAFETY: the child has not been waited for, so its number is its own.
    #[allow(unsafe_code)]
    let sent = unsafe { libc::kill(child.id() as libc::pid_t, signal) };
    assert_eq!(sent, 0);
    (child.wait().unwrap(), true)
}

/// A run that saves some 32 MiB to `out`.
struct Large {
    folder: tempfile::TempDir,
    input: String,
    out: PathBuf,
}

/// What is at `out`.
#[derive(PartialEq, Debug)]
enum Left {
    Nothing,
    Old,
    New,
}

impl Large {
    const OLD: &[u8] = b"what was there before";
    const ROWS: usize = 1 << 21;

    fn new() -> Large {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        let values = (0..Self::ROWS).map(|i| (i % 1000) as f32).collect();
        let values = Tensor::new(&[Self::ROWS, 1], values).unwrap();
        // In a folder of its own, so that only what is written lies beside `out`.
        fs::create_dir(at("in")).unwrap();
        fs::create_dir(at("out")).unwrap();
        let input = at("in").join("x.safetensors");
        let tensors = [("input".to_string(), values)];
        wgrad::io::safetensors::save(&input, &tensors, &BTreeMap::new()).unwrap();
        Large {
            input: input.to_str().unwrap().to_string(),
            out: at("out").join("values.safetensors"),
            folder,
        }
    }

    fn beside(&self) -> &Path {
        self.out.parent().unwrap()
    }

    /// Stops the run, and looks at what it left.
    fn stopped(&self, old: bool, signal: i32, now: impl Fn() -> bool) -> (ExitStatus, bool, Left) {
        let _ = fs::remove_file(&self.out);
        if old {
            fs::write(&self.out, Self::OLD).unwrap();
        }
        let cache = self.folder.path().join("cache");
        let args = [
            "grad",
            "--net=Sequential(ReLU())",
            "--loss=MSELoss",
            "--no-check",
            "--input",
            &self.input,
            "--target",
            &self.input,
            "--save",
            self.out.to_str().unwrap(),
            "--cache-dir",
            cache.to_str().unwrap(),
        ];
        let (status, sent) = stopped(&args, signal, now);
        let left = match fs::read(&self.out) {
            Err(_) => Left::Nothing,
            Ok(bytes) if bytes == Self::OLD => Left::Old,
            Ok(bytes) => {
                let file = wgrad::io::read_slice(&bytes, &self.out).unwrap();
                let output = file.get("output").unwrap();
                assert_eq!(output.shape, [Self::ROWS, 1], "half-written");
                Left::New
            }
        };
        assert!(old || left != Left::Old);
        assert!(!old || left != Left::Nothing, "what was there is gone");
        let caches = held(&cache);
        let drafts = caches.keys().filter(|name| name.starts_with(".tmp"));
        assert_eq!(drafts.count(), 0, "{caches:?}");
        (status, sent, left)
    }
}

#[test]
fn a_stopped_run_leaves_the_old_file_or_the_new_one() {
    let _turn = turn();
    let large = Large::new();
    let (status, _, left) = large.stopped(false, libc::SIGINT, || false);
    assert!(status.success(), "{status}");
    assert_eq!(left, Left::New);
    let whole = fs::metadata(&large.out).unwrap().len();
    assert!(whole > 24 << 20, "{whole} bytes are soon written");

    // Before it is begun, at its begin, after so many hundredths, and at its end.
    let written = |hundredths: u64| {
        let beside = large.beside();
        move || draft(beside).is_some_and(|size| size >= whole / 100 * hundredths)
    };
    let is_new = || fs::metadata(&large.out).is_ok_and(|m| m.len() == whole);
    let mut met = 0;
    for round in 0..10 {
        for hundredths in [0, 5, 20, 50, 80, 95] {
            let old = (round + hundredths / 5) % 2 == 0;
            let signal = match round % 3 {
                0 | 1 => libc::SIGINT,
                _ => libc::SIGTERM,
            };
            let (status, sent, left) = large.stopped(old, signal, written(hundredths));
            assert_eq!(draft(large.beside()), None, "{status}, {left:?}");
            assert!(
                status.signal() == Some(signal) || status.success(),
                "{status}"
            );
            if sent && left != Left::New {
                assert_eq!(status.signal(), Some(signal));
                met += 1;
            }
        }
        if met >= 4 {
            break;
        }
    }
    assert!(met >= 4, "only {met} runs were stopped while they wrote");
    for old in [false, true] {
        let (status, _, left) = large.stopped(old, libc::SIGINT, || true);
        assert_eq!(status.signal(), Some(libc::SIGINT));
        assert_ne!(left, Left::New);
        let (_, _, left) = large.stopped(old, libc::SIGINT, is_new);
        assert_eq!(left, Left::New);
        assert_eq!(held(large.beside()).len(), 1);
    }
}

/// What this file looks for is there to be found: a process that is killed has no
/// time to remove anything. What was there before is left alone even so.
#[test]
fn a_killed_run_leaves_its_draft_and_the_old_file() {
    let _turn = turn();
    let large = Large::new();
    for _ in 0..20 {
        let begun = || draft(large.beside()).is_some();
        let (_, _, left) = large.stopped(true, libc::SIGKILL, begun);
        if draft(large.beside()).is_some() {
            assert_eq!(left, Left::Old);
            return;
        }
    }
    panic!("no run was killed while it wrote");
}

/// Shaders, cards and figures: each file that is there is that of a whole run.
#[test]
fn every_command_that_writes_files_leaves_whole_ones() {
    let _turn = turn();
    let folder = tempfile::tempdir().unwrap();
    let (whole, part) = (folder.path().join("whole"), folder.path().join("part"));
    let cache = folder.path().join("cache");
    for command in ["shaders", "card", "figures"] {
        let args = |folder: &Path| -> Vec<String> {
            let at = |name: &str| folder.join(name).to_str().unwrap().to_string();
            let data = |name: &str| {
                let data = Path::new(env!("CARGO_MANIFEST_DIR")).join("data/exercise");
                data.join(name).to_str().unwrap().to_string()
            };
            let mut args: Vec<String> = match command {
                "shaders" => vec![
                    "grad".into(),
                    "--net=Sequential(Linear(4, 2, bias=False), ReLU())".into(),
                    "--loss=MSELoss(reduction='sum')".into(),
                    "--input".into(),
                    data("in_features.npy"),
                    "--target".into(),
                    at("../y.csv"),
                    "--dump-shaders".into(),
                    at(""),
                ],
                "card" => vec![
                    "check".into(),
                    "--quick".into(),
                    "--only=relu".into(),
                    "--markdown".into(),
                    at("card.md"),
                ],
                _ => vec![
                    "bench".into(),
                    "--quick".into(),
                    "--net=Sequential(Linear(2, 1))".into(),
                    "--loss=MSELoss".into(),
                    "--batch=1".into(),
                    "--export-json".into(),
                    at("f.json"),
                    "--export-markdown".into(),
                    at("f.md"),
                ],
            };
            args.extend(["--cache-dir".into(), cache.to_str().unwrap().into()]);
            args
        };
        let run = |folder: &Path, now: &dyn Fn() -> bool| {
            let _ = fs::remove_dir_all(folder);
            fs::create_dir(folder).unwrap();
            let args = args(folder);
            let args: Vec<_> = args.iter().map(String::as_str).collect();
            stopped(&args, libc::SIGINT, now)
        };
        fs::write(folder.path().join("y.csv"), "0.5,-1\n").unwrap();
        let (status, _) = run(&whole, &|| false);
        assert!(status.success(), "{command}: {status}");
        let all = held(&whole);
        assert!(!all.is_empty(), "{command}");
        let is_named = |name: &String| !name.starts_with(".tmp");
        let moments: [&dyn Fn() -> bool; 3] = [
            &|| !held(&part).is_empty(),
            &|| held(&part).keys().any(is_named),
            &|| held(&part).keys().filter(|name| is_named(name)).count() >= all.len(),
        ];
        for (i, now) in moments.into_iter().enumerate() {
            let (status, _) = run(&part, now);
            let left = held(&part);
            assert!(
                left.keys().all(|name| all.contains_key(name)),
                "{command}, moment {i}, {status}: {left:?}"
            );
            for name in left.keys() {
                let of = |folder: &Path| fs::read_to_string(folder.join(name)).unwrap();
                let (got, want) = (of(&part), of(&whole));
                // Figures differ from run to run; a whole file ends in the same way.
                let same = match name.rsplit('.').next() {
                    Some("json") => serde_json::from_str::<serde_json::Value>(&got).is_ok(),
                    Some("md") => {
                        got.ends_with('\n') && got.lines().count() == want.lines().count()
                    }
                    _ => got == want,
                };
                assert!(same, "{command}, moment {i}: {name} is half-written");
            }
        }
        let caches = held(&cache);
        assert!(caches.keys().all(is_named), "{command}: {caches:?}");
    }
}

/// Files are written in one place alone, so that what holds for it holds for all.
#[test]
fn nothing_else_writes_files() {
    let mut folders = vec![Path::new(env!("CARGO_MANIFEST_DIR")).join("src")];
    let mut read = 0;
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
                continue;
            }
            let text = fs::read_to_string(&path).unwrap();
            read += 1;
            let code = text.split("#[cfg(test)]").next().unwrap();
            let ends = |name: &str| path.ends_with(name);
            for (word, allowed) in [
                // A device or a pipe has no other name.
                ("fs::write(", ends("io/put.rs")),
                ("tempfile", ends("src/file.rs") || ends("pth/tests.rs")),
                ("File::create", false),
                ("OpenOptions", false),
            ] {
                let found = code
                    .lines()
                    .any(|line| line.contains(word) && !line.trim_start().starts_with("//"));
                assert!(!found || allowed, "{path:?} has `{word}`");
            }
        }
    }
    assert!(read > 100, "only {read} files were read");
}
