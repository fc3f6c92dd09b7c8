//! Pictures of graphs, without a device: their forms as snapshots, DOT through
//! Graphviz, and names that try to be more than text.

mod common;

use std::io::Write;
use std::process::{Command, Stdio};

use common::tool;
use wgrad::exercise;
use wgrad::plan::Plan;
use wgrad::report::picture::{self, Picture};
use wgrad::solution::{Detail, solve};
use wgrad::{Graph, NodeId, gradient};

/// The exercise with values (by the reference) and the plan for any device.
fn exercise_picture() -> Picture {
    let prepared = exercise::problem().unwrap().prepare().unwrap();
    let detail = Detail {
        every_step: true,
        check: false,
    };
    let solution = pollster::block_on(solve(&prepared, None, detail)).unwrap();
    let outputs: Vec<NodeId> = prepared.named.iter().map(|(_, id)| *id).collect();
    let mut picture = Picture::of_problem(&prepared, true).unwrap();
    picture.set_values(&prepared, &solution);
    picture.set_plan(&Plan::new(&prepared.graph, &outputs).unwrap());
    picture
}

/// A graph whose labels are what an attacker would call them.
const HOSTILE: [&str; 4] = [
    "</text><script>alert(1)</script>",
    "a\"];}\nsubgraph x { evil [label=\"",
    "\"]\nclick n0 href \"javascript:alert(1)\"",
    "\u{1b}[31m\\N\\G &amp; #quot; ]]> <!--",
];

fn hostile_picture() -> Picture {
    let mut g = Graph::new();
    let mut at = g.input(HOSTILE[0], &[2]).unwrap();
    for label in &HOSTILE[1..] {
        let other = g.parameter(label, &[2]).unwrap();
        at = g.add(at, other).unwrap();
    }
    let loss = g.sum_all(at).unwrap();
    let wrt: Vec<_> = HOSTILE.iter().map(|l| g.find(l).unwrap()).collect();
    let mut roots = gradient(&mut g, loss, &wrt).unwrap();
    roots.push(loss);
    let symbols: Vec<String> = g.nodes().map(|(_, n)| n.label.clone()).collect();
    let mut picture = Picture::new(&g, &symbols, &roots).unwrap();
    picture.set_plan(&Plan::new(&g, &roots).unwrap());
    picture
}

#[test]
fn the_exercise_as_text() {
    let picture = exercise_picture();
    insta::assert_snapshot!("picture_text", picture::text(&picture));
    insta::assert_snapshot!("picture_dot", picture::dot(&picture, "The \"exercise\""));
    insta::assert_snapshot!("picture_mermaid", picture::mermaid(&picture));
}

#[test]
fn json_says_who_reads_whom() {
    let picture = exercise_picture();
    let json = picture::json(&picture);
    let nodes = json["nodes"].as_array().unwrap();
    let by = |symbol: &str| nodes.iter().find(|n| n["symbol"] == symbol).unwrap();
    assert_eq!(
        by("h0")["inputs"],
        serde_json::json!([by("x")["id"], by("W0")["id"]])
    );
    assert_eq!(by("h0")["gradient"], by("dL/dh0")["id"]);
    assert_eq!(by("x")["gradient"], by("dL/dx")["id"]);
    assert_eq!(by("W0")["values"].as_array().unwrap().len(), 8);
    // One kernel does it all, and says so of each computed node.
    let kernels = json["kernels"].as_array().unwrap();
    assert_eq!(by("h3")["kernels"], serde_json::json!([0]));
    assert!(
        kernels[0]["nodes"]
            .as_array()
            .unwrap()
            .contains(&by("h3")["id"])
    );
    let buffer = by("W0")["buffer"].as_u64().unwrap() as usize;
    assert_eq!(json["buffers"][buffer]["label"], "0.weight");
}

#[test]
fn what_is_not_asked_for_is_not_there() {
    let prepared = exercise::problem().unwrap().prepare().unwrap();
    let picture = Picture::of_problem(&prepared, false).unwrap();
    let text = picture::text(&picture);
    assert!(text.contains("FORWARD") && !text.contains("BACKWARD") && !text.contains("PLAN"));
    assert_eq!(picture.nodes.len(), 10);
    let svg = picture::svg(&picture, "t").unwrap();
    assert!(!svg.contains("GRADIENTS") && !svg.contains("class=\"cell\""));
}

/// Graphviz draws each node, each edge and each fused group.
#[test]
fn graphviz_reads_the_dot() {
    let Some(dot) = tool("dot", "graphviz", "graphviz_reads_the_dot") else {
        return;
    };
    for (picture, title) in [
        (exercise_picture(), "exercise"),
        (hostile_picture(), HOSTILE[1]),
    ] {
        let mut child = Command::new(&dot)
            .arg("-Tsvg")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let text = picture::dot(&picture, title);
        child
            .stdin
            .take()
            .unwrap()
            .write_all(text.as_bytes())
            .unwrap();
        let output = child.wait_with_output().unwrap();
        let complaint = String::from_utf8_lossy(&output.stderr);
        assert!(
            output.status.success() && complaint.is_empty(),
            "{complaint}\n{text}"
        );
        let svg = String::from_utf8(output.stdout).unwrap();
        let count = |class: &str| svg.matches(&format!("class=\"{class}\"")).count();
        let edges: usize = picture.nodes.iter().map(|n| n.inputs.len()).sum();
        let groups = picture.kernels.iter().filter(|k| k.nodes.len() > 1).count();
        assert_eq!(
            (count("node"), count("edge"), count("cluster")),
            (picture.nodes.len(), edges, groups)
        );
        assert!(groups > 0 && !svg.contains("<script"));
    }
}

#[test]
fn names_are_text_and_nothing_else() {
    let picture = hostile_picture();
    let svg = picture::svg(&picture, HOSTILE[0]).unwrap();
    assert!(
        !svg.contains("<script") && !svg.contains('\u{1b}') && !svg.contains("<!--"),
        "{svg}"
    );
    assert!(svg.contains("&lt;script&gt;"));
    let dot = picture::dot(&picture, HOSTILE[1]);
    // Every quote inside a label is escaped: a line has those of its label alone.
    let lines = dot.lines().filter(|l| l.contains("[label="));
    for line in lines {
        let bare = line.replace("\\\\", "").replace("\\\"", "");
        assert!([2, 4].contains(&bare.matches('"').count()), "{line}");
    }
    let mermaid = picture::mermaid(&picture);
    assert!(
        !mermaid.contains("<script")
            && !mermaid.lines().any(|l| l.trim_start().starts_with("click"))
    );
    for line in mermaid.lines().filter(|l| l.contains("[\"")) {
        assert_eq!(line.matches('"').count(), 2, "{line}");
    }
    for text in [dot, mermaid, picture::text(&picture)] {
        assert!(!text.contains('\u{1b}'));
    }
}
