//! A picture as DOT, the language of Graphviz. Fused groups are clusters.

use std::fmt::Write;

use super::{Node, Picture, Sort, line, pretty};
use crate::graph::Role;

/// The picture as DOT.
pub fn dot(picture: &Picture, title: &str) -> String {
    let mut out = String::from("digraph wgrad {\n");
    let _ = writeln!(out, "  label={};", quoted(title));
    out.push_str(
        "  labelloc=t;\n  rankdir=LR;\n  fontname=\"sans-serif\";\n  \
         node [shape=box, style=\"rounded,filled\", fillcolor=white, fontname=\"sans-serif\"];\n",
    );
    let mut placed = Vec::new();
    for (i, kernel) in picture.kernels.iter().enumerate() {
        if kernel.nodes.len() < 2 {
            continue;
        }
        let _ = writeln!(out, "  subgraph cluster_k{i} {{");
        let label = format!("k{i} {}", kernel.name);
        let _ = writeln!(
            out,
            "    label={}; style=\"rounded,filled\"; fillcolor=\"#eef3fa\";",
            quoted(&label)
        );
        for id in &kernel.nodes {
            if let Some(node) = picture.node(*id).filter(|_| !placed.contains(id)) {
                placed.push(*id);
                write_node(&mut out, picture, node, "    ");
            }
        }
        out.push_str("  }\n");
    }
    for node in picture.nodes.iter().filter(|n| !placed.contains(&n.id)) {
        write_node(&mut out, picture, node, "  ");
    }
    for node in &picture.nodes {
        for &input in &node.inputs {
            let Some(from) = picture.node(input) else {
                continue;
            };
            let look = match (from.role, node.role) {
                (Role::Forward, Role::Forward) => "",
                (Role::Backward, _) => " [color=\"#a8481c\"]",
                // What the reverse walk reads of the forward walk does not say
                // where it stands.
                (Role::Forward, Role::Backward) => {
                    " [style=dashed, color=\"#767676\", constraint=false]"
                }
            };
            let _ = writeln!(out, "  n{input} -> n{}{look};", node.id);
        }
    }
    for (i, buffer) in picture.buffers.iter().enumerate() {
        let _ = writeln!(
            out,
            "  // b{i}: {} bytes, {}, {}",
            buffer.bytes,
            buffer.content,
            comment(&buffer.label)
        );
    }
    for (i, k) in picture.kernels.iter().enumerate() {
        let _ = writeln!(
            out,
            "  // k{i}: {} on {}x{}, reads {:?}, writes {:?}",
            comment(&k.name),
            k.grid[0],
            k.grid[1],
            k.reads,
            k.writes
        );
    }
    out.push_str("}\n");
    out
}

fn write_node(out: &mut String, picture: &Picture, node: &Node, indent: &str) {
    let mut label = format!("{}\n{} {}", pretty(&node.symbol), node.op, node.shape);
    for line in more(picture, node) {
        label.push('\n');
        label.push_str(&line);
    }
    let look = match (node.sort, node.role) {
        (Sort::Op, Role::Forward) => "",
        (Sort::Op, Role::Backward) => ", color=\"#a8481c\"",
        _ => ", fillcolor=\"#f1f1ee\"",
    };
    let _ = writeln!(
        out,
        "{indent}n{} [label={}{look}];",
        node.id,
        quoted(&label)
    );
}

/// What a node says below its shape: kernel and buffer, value, gradient.
pub(super) fn more(picture: &Picture, node: &Node) -> Vec<String> {
    let mut lines = Vec::new();
    let mut places: Vec<String> = node.kernels.iter().map(|k| format!("k{k}")).collect();
    places.extend(node.buffer.map(|b| format!("b{b}")));
    if !places.is_empty() {
        lines.push(places.join(" "));
    }
    if let Some(value) = &node.value {
        lines.push(line(value));
    }
    if let Some(gradient) = node.gradient.and_then(|g| picture.node(g)?.value.as_ref()) {
        lines.push(format!("gradient {}", line(gradient)));
    }
    lines
}

/// A string of DOT. Line ends become line breaks; other control characters are
/// not let through.
fn quoted(text: &str) -> String {
    let mut out = String::from("\"");
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            c if c.is_control() => out.push('\u{fffd}'),
            c => out.push(c),
        }
    }
    out.push('"');
    out
}

fn comment(text: &str) -> String {
    text.chars()
        .map(|c| if c.is_control() { '\u{fffd}' } else { c })
        .collect()
}
