//! What tuning found, as a file: JSON, one for an adapter, with a hash over what
//! it says. A file that is damaged or was written for another driver or version
//! is not used.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::Outcome;
use crate::cache;
use crate::error::{Error, Result};
use crate::graph::Target;
use crate::run::gpu::AdapterDescription;

/// No file of ours is larger.
const MOST_BYTES: u64 = 4 << 20;
/// Changes with the layout of the file.
const FORMAT: u32 = 1;

/// What was found on one adapter.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Tuned {
    /// The version of wgrad, whose kernels these are.
    pub wgrad: String,
    /// The adapter's name.
    pub adapter: String,
    /// The interface.
    pub backend: String,
    /// The driver and its version.
    pub driver: String,
    /// The day of the last measurement: `2026-11-25`.
    pub date: String,
    /// The products that were measured.
    pub products: Vec<Product>,
    /// The kernels that are not to be used.
    pub quarantined: Vec<Quarantined>,
}

/// A product and the kernel to take for it.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Product {
    /// Its name, as in [`Target::choices`].
    pub problem: String,
    /// The kernel to take.
    pub kernel: String,
    /// Its time in nanoseconds.
    pub ns: u64,
    /// The kernel that is taken without tuning.
    pub default: String,
    /// That one's time, if it is right.
    pub default_ns: Option<u64>,
}

/// A kernel that is wrong, and where it showed.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Quarantined {
    /// The kernel.
    pub kernel: String,
    /// The product that it computed.
    pub problem: String,
    /// Whether the kernel computed more: a bias added to either operand, a bias and
    /// a ReLU that followed.
    pub followed: bool,
    /// What is wrong, with the worst value.
    pub reason: String,
}

/// The file itself.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Sealed {
    format: u32,
    hash: String,
    tuned: Tuned,
}

impl Tuned {
    /// Nothing, for this adapter.
    pub fn new(adapter: &AdapterDescription) -> Tuned {
        Tuned {
            wgrad: env!("CARGO_PKG_VERSION").to_string(),
            adapter: adapter.name.clone(),
            backend: adapter.backend.to_string(),
            driver: adapter.driver.clone(),
            date: String::new(),
            products: Vec::new(),
            quarantined: Vec::new(),
        }
    }

    /// The file of this adapter. A new driver or version has the same one, so
    /// that its age is noticed.
    pub fn path(folder: &Path, adapter: &AdapterDescription) -> PathBuf {
        let identity = format!("{}\n{}", adapter.name, adapter.backend);
        folder.join(cache::file_name("tuned", &identity, "json"))
    }

    /// What the file of this adapter says; `None` if there is no file.
    ///
    /// # Errors
    /// There is one that cannot be used, in words.
    pub fn load(folder: &Path, adapter: &AdapterDescription) -> Result<Option<Tuned>, String> {
        let path = Tuned::path(folder, adapter);
        let read = cache::read(&path, MOST_BYTES).and_then(|bytes| match bytes {
            Some(bytes) => Tuned::from_json(&bytes, adapter).map(Some),
            None => Ok(None),
        });
        read.map_err(|reason| format!("{} is not used: {reason}", path.display()))
    }

    /// Writes the file of this adapter.
    ///
    /// # Errors
    /// [`Error::File`].
    pub fn save(&self, folder: &Path, adapter: &AdapterDescription) -> Result<PathBuf> {
        let path = Tuned::path(folder, adapter);
        cache::write(&path, self.to_json().as_bytes())?;
        Ok(path)
    }

    /// Removes the file of this adapter; says whether there was one.
    ///
    /// # Errors
    /// [`Error::File`].
    pub fn clear(folder: &Path, adapter: &AdapterDescription) -> Result<bool> {
        let path = Tuned::path(folder, adapter);
        match std::fs::remove_file(&path) {
            Ok(()) => Ok(true),
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(false),
            Err(e) => Err(Error::file(path, e.to_string())),
        }
    }

    fn hash(&self) -> String {
        // Strings and whole numbers alone, so it can be written.
        let text = serde_json::to_string(self).unwrap_or_default();
        format!("{:016x}", cache::hash(text.as_bytes()))
    }

    fn to_json(&self) -> String {
        let sealed = Sealed {
            format: FORMAT,
            hash: self.hash(),
            tuned: self.clone(),
        };
        // As in `hash`.
        serde_json::to_string_pretty(&sealed).unwrap_or_default() + "\n"
    }

    /// What the bytes of an adapter's file say.
    ///
    /// # Errors
    /// They cannot be used, in words.
    pub fn from_json(bytes: &[u8], adapter: &AdapterDescription) -> Result<Tuned, String> {
        let damaged = "it is damaged; run wgrad tune again";
        let sealed: Sealed = serde_json::from_slice(bytes).map_err(|_| damaged)?;
        if sealed.format != FORMAT || sealed.hash != sealed.tuned.hash() {
            return Err(damaged.to_string());
        }
        let tuned = sealed.tuned;
        let new = Tuned::new(adapter);
        if [&tuned.adapter, &tuned.backend] != [&new.adapter, &new.backend] {
            return Err(format!(
                "it is for {} ({}); run wgrad tune for this adapter",
                tuned.adapter, tuned.backend
            ));
        }
        if [&tuned.driver, &tuned.wgrad] != [&new.driver, &new.wgrad] {
            return Err(format!(
                "it was measured by wgrad {} with driver {}; run wgrad tune again",
                tuned.wgrad, tuned.driver
            ));
        }
        Ok(tuned)
    }

    /// Adds what was found, in place of what was found earlier for the same
    /// products and kernels.
    pub fn add(&mut self, outcome: &Outcome, date: &str) {
        self.date = date.to_string();
        let names = |list: &[Quarantined]| -> BTreeSet<String> {
            list.iter().map(|q| q.kernel.clone()).collect()
        };
        // One failure is enough, whatever passed elsewhere or earlier: only
        // `clear` lets a kernel out of quarantine.
        for q in outcome.wrong() {
            if !self
                .quarantined
                .iter()
                .any(|known| known.kernel == q.kernel)
            {
                self.quarantined.push(q.clone());
            }
        }
        let quarantined = names(&self.quarantined);
        let problem = outcome.problem.to_string();
        self.products
            .retain(|p| p.problem != problem && !quarantined.contains(&p.kernel));
        let ns = |seconds: f64| (seconds * 1e9).round() as u64;
        if let (Some(default), Some(chosen)) = (outcome.default_kernel(), outcome.chosen_kernel())
            && let Some(seconds) = chosen.seconds()
            && !quarantined.contains(&chosen.candidate.to_string())
        {
            self.products.push(Product {
                problem,
                kernel: chosen.candidate.to_string(),
                ns: ns(seconds),
                default: default.candidate.to_string(),
                default_ns: default.seconds().map(ns),
            });
        }
        self.products.sort_by(|a, b| a.problem.cmp(&b.problem));
    }

    /// The products for which another kernel than the default is taken.
    pub fn changed(&self) -> impl Iterator<Item = &Product> {
        self.products.iter().filter(|p| p.kernel != p.default)
    }

    /// Lets plans for `target` take what was found.
    pub fn apply(&self, target: &mut Target) {
        for product in self.changed() {
            let choice = (product.problem.clone(), product.kernel.clone());
            target.choices.extend([choice]);
        }
        let wrong = self.quarantined.iter().map(|q| q.kernel.clone());
        target.quarantined.extend(wrong);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::matmul::{Candidate, Problem};
    use crate::run::gpu::{Backend, DeviceKind};
    use crate::tune::{Trial, Verdict};

    fn adapter() -> AdapterDescription {
        AdapterDescription {
            index: 0,
            name: "a card".to_string(),
            kind: DeviceKind::Discrete,
            backend: Backend::Vulkan,
            driver: "driver 1.2".to_string(),
            max_binding: 1,
            max_buffer: 1,
            max_invocations: 1,
            workgroup_memory: 1,
        }
    }

    fn outcome(sizes: [usize; 3], trials: &[(Candidate, Option<f64>)], chosen: usize) -> Outcome {
        let [m, n, k] = sizes;
        let problem = Problem {
            m,
            n,
            k,
            transpose_a: false,
            transpose_b: true,
            precision: crate::graph::Precision::F32,
        };
        let trials = trials.iter().map(|&(candidate, seconds)| Trial {
            candidate,
            values: 1,
            verdict: match seconds {
                Some(seconds) => Verdict::Timed {
                    seconds,
                    share: 1.0,
                },
                None => Verdict::Wrong(Quarantined {
                    kernel: candidate.to_string(),
                    problem: problem.to_string(),
                    followed: false,
                    reason: "1 of 2 values are wrong".to_string(),
                }),
            },
        });
        Outcome {
            problem,
            trials: trials.collect(),
            chosen: Some(chosen),
        }
    }

    fn tuned() -> Tuned {
        let mut tuned = Tuned::new(&adapter());
        let trials = [
            (Candidate::Tall, Some(0.003)),
            (Candidate::Small, Some(0.001)),
            (Candidate::Rows, None),
        ];
        tuned.add(&outcome([8, 9, 300], &trials, 1), "2026-11-25");
        tuned
    }

    #[test]
    fn what_was_found_comes_back() {
        let folder = tempfile::tempdir().unwrap();
        let tuned = tuned();
        assert_eq!(Tuned::load(folder.path(), &adapter()), Ok(None));
        let path = tuned.save(folder.path(), &adapter()).unwrap();
        assert_eq!(Tuned::load(folder.path(), &adapter()), Ok(Some(tuned)));
        // Readable by anything that reads JSON.
        let value: serde_json::Value =
            serde_json::from_str(&std::fs::read_to_string(&path).unwrap()).unwrap();
        assert_eq!(value["tuned"]["products"][0]["kernel"], "matmul_16");
        assert_eq!(value["tuned"]["products"][0]["ns"], 1_000_000);
        assert_eq!(value["tuned"]["quarantined"][0]["kernel"], "matmul_rows");
        assert_eq!(Tuned::clear(folder.path(), &adapter()), Ok(true));
        assert_eq!(Tuned::clear(folder.path(), &adapter()), Ok(false));
    }

    #[test]
    fn damage_is_found_wherever_it_is() {
        let good = tuned();
        let bytes = good.to_json().into_bytes();
        let read = |bytes: &[u8]| Tuned::from_json(bytes, &adapter());
        assert_eq!(read(&bytes).as_ref(), Ok(&good));
        // The last byte is a line break.
        for end in 0..bytes.len() - 1 {
            assert!(read(&bytes[..end]).is_err(), "the first {end} bytes");
        }
        let mut refused = 0;
        for bit in 0..8 * bytes.len() {
            let mut other = bytes.clone();
            other[bit / 8] ^= 1 << (bit % 8);
            // A blank may become a line break: then it says the same.
            match read(&other) {
                Ok(tuned) => assert_eq!(tuned, good, "bit {bit}"),
                Err(reason) => {
                    assert!(reason.contains("damaged"), "{reason}");
                    refused += 1;
                }
            }
        }
        assert!(refused > 8 * bytes.len() / 2);
        assert!(read(b"").is_err() && read(b"{}").is_err() && read(b"[1, 2]").is_err());
    }

    #[test]
    fn what_is_for_others_is_not_used() {
        let json = tuned().to_json();
        let with = |change: fn(&mut AdapterDescription)| {
            let mut other = adapter();
            change(&mut other);
            Tuned::from_json(json.as_bytes(), &other)
        };
        assert!(with(|_| ()).is_ok());
        let error = with(|a| a.driver = "driver 1.3".to_string()).unwrap_err();
        assert!(error.contains("driver 1.2; run wgrad tune"), "{error}");
        assert!(with(|a| a.name = "another".to_string()).is_err());
        assert!(with(|a| a.backend = Backend::Dx12).is_err());
        let old = Tuned {
            wgrad: "0.0.1".to_string(),
            ..tuned()
        };
        let error = Tuned::from_json(old.to_json().as_bytes(), &adapter()).unwrap_err();
        assert!(error.contains("wgrad 0.0.1"), "{error}");
    }

    #[test]
    fn later_findings_take_the_place_of_earlier_ones() {
        let mut tuned = tuned();
        let choice = |tuned: &Tuned| {
            let mut target = Target::default();
            tuned.apply(&mut target);
            target.choices.into_iter().collect::<Vec<_>>()
        };
        let pair = |a: &str, b: &str| (a.to_string(), b.to_string());
        let first = pair("matmul 8x9x300 nt", "matmul_16");
        assert_eq!(choice(&tuned), std::slice::from_ref(&first));
        let both = [(Candidate::Tall, Some(2.0)), (Candidate::Small, Some(1.0))];
        tuned.add(&outcome([9, 9, 300], &both, 1), "2026-11-26");
        assert_eq!(choice(&tuned).len(), 2);
        // The default is kept now: nothing to choose.
        tuned.add(&outcome([9, 9, 300], &both, 0), "2026-11-27");
        assert_eq!(choice(&tuned), [first]);
        assert_eq!(
            (tuned.products.len(), tuned.date.as_str()),
            (2, "2026-11-27")
        );
        // Wrong once is wrong for all, those chosen earlier too.
        let wrong = [(Candidate::Tall, Some(2.0)), (Candidate::Small, None)];
        tuned.add(&outcome([10, 9, 300], &wrong, 0), "2026-11-28");
        assert_eq!(choice(&tuned), []);
        let mut target = Target::default();
        tuned.apply(&mut target);
        assert!(target.quarantined.contains("matmul_16"));
        // And stays so, though it passes elsewhere.
        tuned.add(&outcome([9, 9, 300], &both, 1), "2026-11-29");
        assert_eq!(choice(&tuned), []);
        assert_eq!(tuned.quarantined.len(), 2);
    }
}
