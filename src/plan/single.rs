//! A plan of one kernel that belongs to no graph: for measuring an adapter and
//! for asking it what it does.

use super::{
    BufferId, BufferSpec, Content, Feed, KernelSource, MAX_WORKGROUPS, Output, Plan, Step,
};
use crate::error::Result;
use crate::graph::{Graph, NodeId, Role};

/// A kernel `label` of `source` that reads a buffer of `given` elements, fed as
/// `given`, and writes one of `made`; and the node by which the latter is known.
pub(crate) fn single(
    label: &str,
    source: String,
    params: Vec<u32>,
    [given, made]: [usize; 2],
    workgroups: usize,
) -> Result<(Plan, NodeId)> {
    // An output is known by a node; nothing else needs this graph.
    let mut graph = Graph::new();
    let input = graph.input("given", &[given])?;
    let output = graph.input("made", &[made])?;
    let buffer = |label: &str, elements: usize, content: Content| BufferSpec {
        label: label.to_string(),
        elements,
        content,
        part_of: None,
        apart: None,
    };
    let rows = workgroups.div_ceil(MAX_WORKGROUPS as usize).max(1);
    let plan = Plan {
        replicas: 1,
        buffers: vec![
            buffer("given", given, Content::Fed),
            buffer("made", made, Content::Computed),
        ],
        kernels: vec![KernelSource {
            label: label.to_string(),
            entry: label.to_string(),
            source,
            reads: 1,
            images: Vec::new(),
            writes: 1,
        }],
        steps: vec![Step {
            label: label.to_string(),
            op: label.to_string(),
            nodes: Vec::new(),
            role: Role::Forward,
            kernel: 0,
            params,
            inputs: vec![BufferId(0)],
            outputs: vec![BufferId(1)],
            grid: [workgroups.div_ceil(rows) as u32, rows as u32],
        }],
        feeds: vec![Feed {
            label: "given".to_string(),
            shape: graph.shape(input)?.clone(),
            buffer: BufferId(0),
        }],
        outputs: vec![Output {
            node: output,
            label: "made".to_string(),
            shape: graph.shape(output)?.clone(),
            buffer: BufferId(1),
        }],
        peak_bytes: 4 * (given + made) as u64,
    };
    Ok((plan, output))
}
