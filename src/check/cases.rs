//! Cases from elsewhere: folders of `cases.json` and `cases.safetensors`, each
//! case an operator of PyTorch with arguments, a cotangent, and the output and
//! gradients that PyTorch computed in float64. A float32 result is held to
//! PyTorch's own rule for float32, `|got - want| <= 1e-5 + 1.3e-6 |want|`. That rule
//! knows nothing of terms that cancel: of ten products of size 50 each may round by
//! 2e-6. A value that misses the rule is right all the same if it is within the bound
//! that is derived for it (`Op::error`), and is counted.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use serde_json::{Map, Value};

use super::operators::{self, Arguments};
use crate::autodiff::vjp;
use crate::error::{Error, Result};
use crate::graph::{Graph, NodeId};
use crate::io::{self, TensorFile};
use crate::number;
use crate::plan::Plan;
use crate::run::Feeds;
use crate::run::cpu::{self, Reference};
use crate::run::gpu::Gpu;

/// The longest cases.json that is read.
#[cfg(not(target_arch = "wasm32"))]
const MOST_LISTING: u64 = 256 << 20;

/// One case, as the file has it.
#[derive(Deserialize, Clone, Debug)]
pub struct Case {
    /// Its name, unique in the folder.
    #[serde(rename = "case")]
    pub name: String,
    /// PyTorch's name of the operator.
    pub op: String,
    args: Vec<Value>,
    kwargs: Map<String, Value>,
    cotangent: String,
    output: String,
    grads: BTreeMap<String, String>,
}

#[derive(Deserialize)]
struct Listing {
    #[serde(default)]
    source: String,
    cases: Vec<Case>,
}

impl Listing {
    /// From the text of the file `list`.
    fn parse(text: &str, list: &Path) -> Result<Listing> {
        let listing: Listing = serde_json::from_str(text).map_err(|e| {
            Error::file(
                list,
                format!("no list of cases: {e}; write it again, or restore the file"),
            )
        })?;
        // A run over nothing would pass and prove nothing.
        if listing.cases.is_empty() {
            return Err(Error::file(
                list,
                "it holds no case; put one into its list `cases`",
            ));
        }
        Ok(listing)
    }
}

/// A folder of cases with its tensors.
pub struct Folder {
    /// Where the cases come from, in words.
    pub source: String,
    /// The cases.
    pub cases: Vec<Case>,
    tensors: TensorFile,
    path: PathBuf,
}

/// How a case ended.
#[derive(Clone, PartialEq, Debug)]
pub enum Verdict {
    /// Output and every gradient agree.
    Passed {
        /// How many values were compared.
        values: usize,
        /// How many of these miss PyTorch's rule, and are within their derived bound.
        beyond: usize,
    },
    /// Something differs.
    Failed {
        /// What, tensor by tensor.
        reasons: Vec<String>,
    },
    /// wgrad does not have the operator, or not with these arguments.
    Unsupported(String),
}

impl Folder {
    /// Reads a folder.
    ///
    /// # Errors
    /// A file is missing or malformed.
    #[cfg(not(target_arch = "wasm32"))]
    pub fn read(path: &Path) -> Result<Folder> {
        let list = path.join("cases.json");
        let listing = Listing::parse(&io::read_text(&list, MOST_LISTING)?, &list)?;
        let path = path.join("cases.safetensors");
        Ok(Folder::of(listing, io::read(&path)?, path))
    }

    /// As [`read`](Folder::read), from the text of cases.json and the bytes of
    /// cases.safetensors. Errors name these in the folder `path`.
    ///
    /// # Errors
    /// One of them is malformed, or there is no case.
    pub fn read_slices(text: &str, tensors: &[u8], path: &Path) -> Result<Folder> {
        let listing = Listing::parse(text, &path.join("cases.json"))?;
        let path = path.join("cases.safetensors");
        Ok(Folder::of(listing, io::read_slice(tensors, &path)?, path))
    }

    fn of(listing: Listing, tensors: TensorFile, path: PathBuf) -> Folder {
        Folder {
            source: listing.source,
            cases: listing.cases,
            tensors,
            path,
        }
    }

    /// Runs one case on a GPU: forward, then every gradient.
    ///
    /// # Errors
    /// The folder lacks a tensor that the case names, or the device failed. A
    /// value that differs is no error but the verdict.
    pub async fn run(&self, case: &Case, gpu: &Gpu) -> Result<Verdict> {
        let mut built = Build {
            folder: self,
            graph: Graph::new(),
            feeds: Feeds::new(),
            leaves: BTreeMap::new(),
        };
        let output = match built.output(case) {
            Ok(output) => output,
            Err(Error::Unsupported(reason)) => return Ok(Verdict::Unsupported(reason)),
            Err(error) => return Err(self.within(case, &error)),
        };
        let cotangent = built.leaf(&case.cotangent)?;
        let keys: Vec<&String> = case.grads.keys().collect();
        let mut wrt = Vec::with_capacity(keys.len());
        for key in &keys {
            wrt.push(built.leaf(key)?);
        }
        let grads = vjp(&mut built.graph, output, cotangent, &wrt)
            .map_err(|error| self.within(case, &error))?;
        let mut wanted = vec![output];
        wanted.extend(&grads);
        let mut program = gpu
            .compile_plan(Plan::with_target(&built.graph, &wanted, gpu.target())?)
            .await?;
        program.set_all(&built.feeds)?;
        let outputs = program.run_async().await?;

        // The exact values with their bounds, where they are needed.
        let mut exact: Option<Reference> = None;
        let mut reasons = Vec::new();
        let (mut values, mut beyond) = (0, 0);
        let truths = std::iter::once(&case.output).chain(case.grads.values());
        for (&node, truth) in wanted.iter().zip(truths) {
            let got = outputs.get(node)?;
            let want = self.tensor(truth)?;
            let wide = want
                .to_f64()
                .map_err(|e| Error::file(&self.path, e.to_string()))?;
            values += wide.len();
            if got.dims() != want.shape {
                reasons.push(format!(
                    "{truth}: shape {}, not {:?}",
                    got.shape(),
                    want.shape
                ));
                continue;
            }
            let pairs = got.data().iter().zip(&wide).enumerate();
            let mut bad: Vec<usize> = pairs
                .filter(|(_, (g, w))| !close(f64::from(**g), **w))
                .map(|(i, _)| i)
                .collect();
            if !bad.is_empty() {
                let known = match exact.take() {
                    Some(known) => known,
                    None => cpu::evaluate(&built.graph, &built.feeds, &wanted)?,
                };
                let all = bad.len();
                let bounded = known.get(node)?;
                let bounds = bounded.value.iter().zip(&bounded.error).collect::<Vec<_>>();
                bad.retain(|&i| {
                    let (&value, &bound) = bounds[i];
                    !within_bound(f64::from(got.data()[i]), wide[i], value, bound)
                });
                beyond += all - bad.len();
                exact = Some(known);
            }
            if let Some(&i) = bad.first() {
                reasons.push(format!(
                    "{truth}: {} of {} values differ, first at {i}: got {}, want {}",
                    bad.len(),
                    wide.len(),
                    number::show(got.data()[i]),
                    number::show_wide(wide[i])
                ));
            }
        }
        Ok(if reasons.is_empty() {
            Verdict::Passed { values, beyond }
        } else {
            Verdict::Failed { reasons }
        })
    }

    fn tensor(&self, key: &str) -> Result<&io::Stored> {
        self.tensors.get(key).ok_or_else(|| {
            Error::file(
                &self.path,
                format!("there is no tensor `{key}`, which a case names; save it there"),
            )
        })
    }

    fn within(&self, case: &Case, error: &Error) -> Error {
        Error::file(&self.path, format!("case `{}`: {error}", case.name))
    }
}

/// PyTorch's own rule for float32 (`torch.testing.assert_close`).
pub fn close(got: f64, want: f64) -> bool {
    got == want
        || (got.is_nan() && want.is_nan())
        || (got - want).abs() <= 1e-5 + 1.3e-6 * want.abs()
}

/// Whether a float32 evaluation may give this where terms cancel: within the bound
/// derived for the exact value, which must be PyTorch's, too.
fn within_bound(got: f64, want: f64, exact: f64, bound: f64) -> bool {
    bound.is_finite() && (want - exact).abs() <= bound / 100.0 && (got - exact).abs() <= bound
}

/// A case on its way into a graph.
struct Build<'f> {
    folder: &'f Folder,
    graph: Graph,
    feeds: Feeds,
    leaves: BTreeMap<String, NodeId>,
}

impl Build<'_> {
    fn output(&mut self, case: &Case) -> Result<NodeId> {
        let operator = operators::find(&case.op)?;
        let mut arguments = Arguments::default();
        for value in &case.args {
            let argument = self.argument(value)?;
            arguments.positional.push(argument);
        }
        for (name, value) in &case.kwargs {
            let argument = self.argument(value)?;
            arguments.named.insert(name.clone(), argument);
        }
        operator(&mut self.graph, &arguments)
    }

    /// A tensor becomes a leaf of the graph; anything else stays what it is.
    fn argument(&mut self, value: &Value) -> Result<operators::Argument> {
        match value.get("tensor").and_then(Value::as_str) {
            Some(key) => Ok(operators::Argument::Node(self.leaf(key)?)),
            None => Ok(operators::Argument::Plain(value.clone())),
        }
    }

    fn leaf(&mut self, key: &str) -> Result<NodeId> {
        if let Some(&known) = self.leaves.get(key) {
            return Ok(known);
        }
        let stored = self.folder.tensor(key)?;
        let converted = stored
            .to_tensor()
            .map_err(|e| Error::file(&self.folder.path, e.to_string()))?;
        let id = self.graph.input(key, converted.tensor.dims())?;
        self.feeds.insert(key.to_string(), converted.tensor);
        self.leaves.insert(key.to_string(), id);
        Ok(id)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// matmul.11's element on an NVIDIA H200: ten products of size 50 that cancel.
    #[test]
    fn cancelling_terms_are_held_to_their_bound_and_to_nothing_wider() {
        let (want, bound) = (-0.218_739_084_7, 3.9e-4);
        let got = -0.218_723_3;
        assert!(!close(got, want));
        assert!(within_bound(got, want, want, bound));
        assert!(!within_bound(want + 1.01 * bound, want, want, bound));
        assert!(!within_bound(f64::NAN, want, want, bound));
        assert!(!within_bound(got, want, want, f64::INFINITY));
        // A truth that is not the exact value excuses nothing.
        assert!(!within_bound(got, got, want, bound));
    }
}
