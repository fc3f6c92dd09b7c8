//! A sweep of all floats that was interrupted goes on where it stopped: a file in
//! the folder of caches says how far it came and what it found. It is of one
//! function's kernel, adapter, driver and version, and goes when all is done.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use super::{Check, Examiner, Failure, Progress};
use crate::cache;
use crate::plan::Plan;

/// No file of ours is larger.
const MOST_BYTES: u64 = 1 << 16;
/// Of what is left when adapters, drivers and versions come and go.
const MOST_FILES: usize = 32;
/// An interruption loses no more work than this, and a chunk.
const EVERY: Duration = Duration::from_secs(1);

/// How far a sweep has come, and what it found. Fractions are bits: an infinity
/// is no JSON.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct State {
    done: u64,
    values: u64,
    failures: u64,
    max_ulps: u64,
    max_share: u64,
    worst: Option<String>,
    failure: Option<(String, Option<String>)>,
}

/// The file of a sweep; none where there is no folder for it.
pub(super) struct Resume {
    file: Option<PathBuf>,
    identity: String,
    saved: Option<Instant>,
}

impl Resume {
    /// The file of the sweep that `plan` makes over so many floats.
    pub fn new(examiner: &Examiner<'_>, name: &str, plan: &Plan, inputs: u64) -> Resume {
        let adapter = examiner.gpu.adapter();
        let text = plan.kernels.iter().map(|k| k.source.as_str());
        let identity = format!(
            "sweep of {name} over {inputs} floats\n{}\n{}\n{}\n{}\n{:016x}",
            adapter.name,
            adapter.backend,
            adapter.driver,
            env!("CARGO_PKG_VERSION"),
            cache::hash(text.collect::<String>().as_bytes()),
        );
        let folder = examiner.options.state.as_ref();
        Resume {
            file: folder.map(|f| f.join(cache::file_name("sweep", &identity, "bin"))),
            identity,
            saved: None,
        }
    }

    /// Takes up what an interrupted sweep found, and says at which float it goes on.
    pub fn take_up(
        &self,
        check: &mut Check,
        inputs: u64,
        restart: bool,
        progress: &mut dyn FnMut(Progress<'_>),
    ) -> u64 {
        let Some(file) = self.file.as_ref().filter(|_| !restart) else {
            return 0;
        };
        let read = cache::read(file, MOST_BYTES).and_then(|bytes| match bytes {
            Some(bytes) => self.state(&bytes, inputs).map(Some),
            None => Ok(None),
        });
        let state = match read {
            Ok(Some(state)) => state,
            Ok(None) => return 0,
            Err(reason) => {
                progress(Progress::Notice(&format!(
                    "{} is not used: {reason}; {} begins at the first float",
                    file.display(),
                    check.name
                )));
                return 0;
            }
        };
        progress(Progress::Notice(&format!(
            "{} goes on at {:.1}% of all floats, where a sweep was interrupted; --restart begins \
             at the first float",
            check.name,
            100.0 * state.done as f64 / inputs as f64
        )));
        check.values = state.values;
        check.failures = state.failures;
        check.max_ulps = f64::from_bits(state.max_ulps);
        check.max_share = f64::from_bits(state.max_share);
        check.worst = state.worst;
        check.failure = (state.failure).map(|(what, kernel)| Failure { what, kernel });
        state.done
    }

    fn state(&self, bytes: &[u8], inputs: u64) -> Result<State, String> {
        let data = cache::unseal(&self.identity, bytes)?;
        let state: State = serde_json::from_slice(data).map_err(|e| e.to_string())?;
        match state.done <= inputs && state.failures <= state.values {
            true => Ok(state),
            false => Err("it is damaged".to_string()),
        }
    }

    /// Keeps what was found so far, unless that was done a moment ago. All that was
    /// asked for is kept: the last of `inputs`, too.
    pub fn keep(
        &mut self,
        check: &Check,
        done: u64,
        inputs: u64,
        progress: &mut dyn FnMut(Progress<'_>),
    ) {
        let Some(file) = &self.file else { return };
        let lately = self.saved.is_some_and(|at| at.elapsed() < EVERY);
        if lately && done < inputs {
            return;
        }
        if self.saved.is_none()
            && let Some(folder) = file.parent()
        {
            cache::forget_oldest(folder, "sweep", "bin", MOST_FILES - 1);
        }
        self.saved = Some(Instant::now());
        let failure = check.failure.as_ref();
        let state = State {
            done,
            values: check.values,
            failures: check.failures,
            max_ulps: check.max_ulps.to_bits(),
            max_share: check.max_share.to_bits(),
            worst: check.worst.clone(),
            failure: failure.map(|f| (f.what.clone(), f.kernel.clone())),
        };
        // Strings and whole numbers alone, so it can be written.
        let data = serde_json::to_vec(&state).unwrap_or_default();
        if let Err(error) = cache::write(file, &cache::seal(&self.identity, &data)) {
            progress(Progress::Notice(&format!(
                "{error}; if this sweep is interrupted, it cannot go on"
            )));
            self.file = None;
        }
    }

    /// Removes the file: everything was found.
    pub fn done(self) {
        if let Some(file) = self.file {
            // One that stays is taken up by the next sweep, which says so.
            let _ = std::fs::remove_file(file);
        }
    }
}
