//! A picture as Mermaid, which many sites draw from text. Fused groups are
//! subgraphs.

use std::fmt::Write;

use super::dot::more;
use super::{Node, Picture, Sort, pretty};
use crate::graph::Role;

/// The picture as a Mermaid flowchart.
pub fn mermaid(picture: &Picture) -> String {
    let mut out = String::from("flowchart LR\n");
    let mut placed = Vec::new();
    for (i, kernel) in picture.kernels.iter().enumerate() {
        if kernel.nodes.len() < 2 {
            continue;
        }
        let label = format!("k{i} {}", kernel.name);
        let _ = writeln!(out, "  subgraph k{i}[\"{}\"]", escaped(&label));
        for id in &kernel.nodes {
            if let Some(node) = picture.node(*id).filter(|_| !placed.contains(id)) {
                placed.push(*id);
                write_node(&mut out, picture, node, "    ");
            }
        }
        out.push_str("  end\n");
    }
    for node in picture.nodes.iter().filter(|n| !placed.contains(&n.id)) {
        write_node(&mut out, picture, node, "  ");
    }
    for node in &picture.nodes {
        for &input in &node.inputs {
            let Some(from) = picture.node(input) else {
                continue;
            };
            let arrow = match (from.role, node.role) {
                (Role::Forward, Role::Backward) => "-.->",
                _ => "-->",
            };
            let _ = writeln!(out, "  n{input} {arrow} n{}", node.id);
        }
    }
    out.push_str("  classDef backward stroke:#a8481c\n  classDef leaf fill:#f1f1ee\n");
    out
}

fn write_node(out: &mut String, picture: &Picture, node: &Node, indent: &str) {
    let mut lines = vec![pretty(&node.symbol), format!("{} {}", node.op, node.shape)];
    lines.extend(more(picture, node));
    let lines: Vec<_> = lines.iter().map(|l| escaped(l)).collect();
    let class = match (node.sort, node.role) {
        (Sort::Op, Role::Forward) => "",
        (Sort::Op, Role::Backward) => ":::backward",
        _ => ":::leaf",
    };
    let _ = writeln!(
        out,
        "{indent}n{}[\"{}\"]{class}",
        node.id,
        lines.join("<br/>")
    );
}

/// Text in a quoted label: all that Mermaid or HTML could take for its own, and all
/// control characters, as numbered entities.
fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            c if c.is_control() => out.push('\u{fffd}'),
            '"' | '#' | '&' | '<' | '>' | '\\' | '`' | ';' | '%' | '{' | '}' | '|' => {
                let _ = write!(out, "#{};", u32::from(c));
            }
            c => out.push(c),
        }
    }
    out
}
