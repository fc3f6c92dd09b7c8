//! A picture as text for a terminal: a line a node, then the plan.

use std::fmt::Write;

use super::dot::more;
use super::{Picture, pretty};
use crate::graph::Role;
use crate::number;
use crate::report::palette::{HEADING, PLAIN, walk};

/// The picture as text.
pub fn text(picture: &Picture) -> String {
    written(picture, false)
}

/// The picture as text in the colours of a terminal.
pub fn coloured(picture: &Picture) -> String {
    written(picture, true)
}

fn written(picture: &Picture, colours: bool) -> String {
    let paint = |colour: &str, text: &str| match colours {
        true => format!("{colour}{text}{PLAIN}"),
        false => text.to_string(),
    };
    let mut out = String::new();
    let symbol = |id: &usize| {
        let text = picture
            .node(*id)
            .map_or("?".to_string(), |n| pretty(&n.symbol));
        number::printable(&text).into_owned()
    };
    for (role, title) in [(Role::Forward, "FORWARD"), (Role::Backward, "BACKWARD")] {
        let nodes: Vec<_> = picture.nodes.iter().filter(|n| n.role == role).collect();
        if nodes.is_empty() {
            continue;
        }
        let title = paint(&format!("{HEADING}{}", walk(role)), title);
        let _ = writeln!(out, "{title}\n");
        for node in nodes {
            let inputs: Vec<_> = node.inputs.iter().map(symbol).collect();
            let call = match inputs.is_empty() {
                true => node.op.clone(),
                false => format!("{}({})", node.op, inputs.join(", ")),
            };
            let _ = writeln!(
                out,
                "  {} = {call}    {}    {}",
                paint(walk(role), &number::printable(&pretty(&node.symbol))),
                node.shape,
                number::printable(&node.label)
            );
            for line in more(picture, node) {
                let _ = writeln!(out, "      {line}");
            }
        }
        out.push('\n');
    }
    if picture.kernels.is_empty() {
        return out;
    }
    let _ = writeln!(out, "{}\n", paint(HEADING, "PLAN"));
    for (i, k) in picture.kernels.iter().enumerate() {
        let buffers = |ids: &[usize]| {
            ids.iter()
                .map(|b| format!("b{b}"))
                .collect::<Vec<_>>()
                .join(" ")
        };
        let nodes: Vec<_> = k.nodes.iter().map(symbol).collect();
        let _ = writeln!(
            out,
            "  k{i} {} on {}x{}: {} -> {}",
            k.name,
            k.grid[0],
            k.grid[1],
            buffers(&k.reads),
            buffers(&k.writes)
        );
        if !nodes.is_empty() {
            let _ = writeln!(out, "      computes {}", nodes.join(", "));
        }
    }
    out.push('\n');
    for (i, b) in picture.buffers.iter().enumerate() {
        let part = b
            .part_of
            .map_or(String::new(), |whole| format!(", in b{whole}"));
        let label = number::printable(&b.label);
        let _ = writeln!(
            out,
            "  b{i}  {} bytes, {}{part}  {label}",
            b.bytes, b.content
        );
    }
    out
}
