//! Whether weights from elsewhere fit a network. Everything that is wrong is
//! said at once, with what there is and how to mend it: a state dict is rarely
//! wrong in one key only.

use std::collections::BTreeMap;

use super::Network;
use crate::error::{Error, Result};
use crate::number::printable;
use crate::shape::Shape;
use crate::tensor::Tensor;

/// The most problems of a kind that are spelled out.
const MOST: usize = 8;

impl Network {
    /// Checks that `weights` has a tensor of the right shape for each
    /// state-dict key of the network, and nothing else (PyTorch's
    /// `load_state_dict(strict=True)`).
    ///
    /// # Errors
    ///
    /// [`Error::Data`], naming keys, expected and found shapes, and a fix.
    pub fn check_weights(&self, weights: &BTreeMap<String, Tensor>) -> Result<()> {
        let expected: BTreeMap<String, Shape> = self.parameters().into_iter().collect();
        let missing: Vec<_> = expected
            .keys()
            .filter(|key| !weights.contains_key(*key))
            .collect();
        let unexpected: Vec<_> = weights
            .keys()
            .filter(|key| !expected.contains_key(*key))
            .collect();
        let wrong: Vec<_> = expected
            .iter()
            .filter_map(|(key, shape)| Some((key, shape, weights.get(key)?.shape())))
            .filter(|(_, expected, found)| expected != found)
            .collect();
        if missing.is_empty() && unexpected.is_empty() && wrong.is_empty() {
            return Ok(());
        }

        let mut text = "the weights do not fit the network".to_string();
        if !missing.is_empty() {
            let lines = missing
                .iter()
                .map(|key| format!("{key} of shape {}", expected[*key]));
            list(&mut text, "missing", lines);
        }
        if !unexpected.is_empty() {
            let lines = unexpected
                .iter()
                .map(|key| format!("{key} of shape {}", weights[*key].shape()));
            list(&mut text, "not of the network", lines);
        }
        if !wrong.is_empty() {
            let lines = wrong.iter().map(|(key, expected, found)| {
                let fix = match (expected.dims(), found.dims()) {
                    ([a, b], [c, d]) if a == d && b == c => {
                        "; transpose it, PyTorch's Linear holds [out_features, in_features]"
                    }
                    _ if expected.numel() == found.numel() => "; reshape it",
                    _ => "",
                };
                format!("{key} must have shape {expected}, found {found}{fix}")
            });
            list(&mut text, "of another shape", lines);
        }

        let all_biases = |keys: &[&String]| keys.iter().all(|key| key.ends_with("bias"));
        let hint = if let Some(prefix) = common_prefix(&missing, weights) {
            format!(
                "the keys begin with `{}`; remove that from each",
                printable(prefix)
            )
        } else if !missing.is_empty() && unexpected.is_empty() && all_biases(&missing) {
            "write bias=False in the layers that have none".to_string()
        } else if !missing.is_empty() && unexpected.is_empty() && !weights.is_empty() {
            let there: Vec<_> = weights.keys().take(MOST).map(|k| printable(k)).collect();
            let more = if weights.len() > MOST { ", ..." } else { "" };
            format!("the weights hold {}{more}", there.join(", "))
        } else if missing.is_empty() && wrong.is_empty() && all_biases(&unexpected) {
            "write bias=True in the layers that have one".to_string()
        } else if missing.is_empty() && wrong.is_empty() {
            "remove them, or give the network that they are of".to_string()
        } else if weights.is_empty() {
            "there are no weights at all; give a state dict, or a seed for PyTorch's own"
                .to_string()
        } else if !missing.is_empty() {
            "give the layers the names in the weights' keys, as print(model) shows them".to_string()
        } else {
            "give the layers the sizes that these weights were trained with".to_string()
        };
        text.push_str("\n  hint: ");
        text.push_str(&hint);
        Err(Error::Data(text))
    }
}

fn list(text: &mut String, title: &str, lines: impl ExactSizeIterator<Item = String>) {
    let count = lines.len();
    text.push_str("\n  ");
    text.push_str(title);
    text.push(':');
    for line in lines.take(MOST) {
        text.push_str("\n    ");
        text.push_str(&printable(&line));
    }
    if count > MOST {
        text.push_str(&format!("\n    and {} more", count - MOST));
    }
}

/// What stands before the missing keys in the weights (`module.`), if it is
/// the same for all.
fn common_prefix<'w>(
    missing: &[&String],
    weights: &'w BTreeMap<String, Tensor>,
) -> Option<&'w str> {
    let first = missing.first()?;
    let mut prefixes = weights
        .keys()
        .filter_map(|key| key.strip_suffix(first.as_str()))
        .filter(|prefix| prefix.ends_with('.'));
    prefixes.find(|prefix| {
        missing
            .iter()
            .all(|key| weights.contains_key(&format!("{prefix}{key}")))
    })
}
