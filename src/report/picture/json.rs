//! A picture as JSON, for programs.

use serde_json::{Value, json};

use super::{Picture, Sort};
use crate::graph::Role;
use crate::report::json::of_tensor;

/// The picture as JSON. Nodes are numbered by their place in the graph, buffers and
/// kernels by their place in the lists here.
pub fn json(picture: &Picture) -> Value {
    let nodes: Vec<_> = (picture.nodes.iter())
        .map(|n| {
            json!({
                "id": n.id,
                "symbol": n.symbol,
                "label": n.label,
                "kind": match n.sort {
                    Sort::Input => "input",
                    Sort::Parameter => "parameter",
                    Sort::Constant => "constant",
                    Sort::Op => "op",
                },
                "op": n.op,
                "shape": n.shape,
                "role": match n.role { Role::Forward => "forward", Role::Backward => "backward" },
                "inputs": n.inputs,
                "gradient": n.gradient,
                "values": n.value.as_ref().map(of_tensor),
                "kernels": n.kernels,
                "buffer": n.buffer,
            })
        })
        .collect();
    let kernels: Vec<_> = (picture.kernels.iter())
        .map(|k| {
            json!({
                "name": k.name,
                "grid": k.grid,
                "nodes": k.nodes,
                "reads": k.reads,
                "writes": k.writes,
            })
        })
        .collect();
    let buffers: Vec<_> = (picture.buffers.iter())
        .map(|b| {
            json!({
                "label": b.label,
                "bytes": b.bytes,
                "content": b.content,
                "part_of": b.part_of,
            })
        })
        .collect();
    json!({ "nodes": nodes, "kernels": kernels, "buffers": buffers })
}
