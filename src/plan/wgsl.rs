//! What all generated kernels share: the files that they need, and the rule of a
//! node as a comment.

use crate::graph::{MapCall, Node};
use crate::number;

/// The text of these files one after the other, each once: WGSL has no include.
/// One file may be a library of several.
pub(super) fn files(all: impl IntoIterator<Item = &'static str>) -> String {
    let mut done: Vec<&str> = Vec::new();
    let mut text = String::new();
    for file in all {
        if !done.contains(&file) {
            done.push(file);
            text.push_str(file);
            text.push('\n');
        }
    }
    text
}

/// WGSL has no include: the files one after the other.
pub(super) fn join(libs: &[&str], source: &str) -> String {
    let mut text = String::new();
    for lib in libs {
        text.push_str(lib);
        text.push('\n');
    }
    text.push_str(source);
    text
}

/// The files that a function needs, its own last.
pub(super) fn files_of(call: &MapCall) -> impl Iterator<Item = &'static str> {
    call.libs.iter().copied().chain([call.source])
}

/// The rule of a node whose inputs are these, with the labels put in:
/// `"relu_5" = max(0, "matmul_4")`; nothing for a leaf.
pub(super) fn rule<'g>(node: &Node, inputs: impl IntoIterator<Item = &'g Node>) -> String {
    let Some(op) = node.op() else {
        return String::new();
    };
    let inputs = inputs.into_iter();
    let labels: Vec<String> = inputs.map(|i| format!("\"{}\"", i.label)).collect();
    let rule = number::fill(&op.explain().formula, &labels);
    format!("\"{}\" = {rule}", node.label)
}
