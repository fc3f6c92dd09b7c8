//! A picture as SVG: laid out here, with nothing to install. Large values are heat
//! maps, small ones digits. Inside a page the same drawing has links and what a
//! script needs to show the way of a gradient.

use std::collections::BTreeMap;
use std::fmt::Write;

use serde::Serialize;
use serde_json::json;

use super::layout::{self, Line, Places, Point};
use super::{Node, Picture, Sort, line, pretty, rows, short};
use crate::error::Result;
use crate::graph::Role;
use crate::report::heat::{self, Heat};
use crate::report::templates;
use crate::tensor::Tensor;

// Sizes in the picture's own units, which are pixels at its full size.
const MARGIN: f64 = 24.0;
const PADDING: f64 = 10.0;
const HEAD: f64 = 48.0;
const ROW: f64 = 15.0;
const CELL: f64 = 56.0;
const NARROW: f64 = 96.0;
const HEAT: [f64; 2] = [160.0, 64.0];

/// How a picture is framed.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(in crate::report) enum Frame {
    /// A file of its own, with its own style.
    File,
    /// Inside a page that has the style and steps to link to.
    Page,
}

/// The picture as an SVG file.
///
/// # Errors
/// None in practice: the template is fixed.
pub fn svg(picture: &Picture, title: &str) -> Result<String> {
    drawing(picture, title, Frame::File)
}

#[derive(Serialize)]
struct Block {
    /// The node whose value it is.
    of: usize,
    title: String,
    y: f64,
    cells: Vec<Cell>,
    heat: Option<Tile>,
}

#[derive(Serialize)]
struct Cell {
    x: f64,
    y: f64,
    text: String,
}

#[derive(Serialize)]
struct Tile {
    image: String,
    x: f64,
    y: f64,
    width: f64,
    height: f64,
    note: String,
}

#[derive(Serialize)]
struct View {
    id: usize,
    class: String,
    x: f64,
    y: f64,
    width: f64,
    height: f64,
    symbol: String,
    op: String,
    shape: String,
    place: String,
    words: String,
    inputs: String,
    path: String,
    blocks: Vec<Block>,
}

#[derive(Serialize)]
struct Group {
    index: usize,
    colour: usize,
    boxes: Vec<[f64; 4]>,
    joins: Vec<String>,
}

pub(in crate::report) fn drawing(picture: &Picture, title: &str, frame: Frame) -> Result<String> {
    let sizes: BTreeMap<usize, Point> = (picture.nodes.iter())
        .map(|n| (n.id, [width(picture, n), height(picture, n)]))
        .collect();
    let size = |node: &Node| sizes.get(&node.id).copied().unwrap_or([NARROW, HEAD]);
    let places = layout::place(picture, size);
    let mut views = Vec::with_capacity(picture.nodes.len());
    for node in &picture.nodes {
        let [x, y] = places.centres.get(&node.id).copied().unwrap_or([0.0; 2]);
        let [w, h] = size(node);
        views.push(view(picture, node, [x - w / 2.0, y - h / 2.0], [w, h])?);
    }
    let edges: Vec<_> = places.lines.iter().map(|l| edge(picture, l)).collect();
    let legend: Vec<String> = picture
        .kernels
        .iter()
        .enumerate()
        .map(|k| kernel(picture, k))
        .collect();
    let legend_height = match legend.len() {
        0 => 0.0,
        n => 26.0 + 18.0 * n as f64,
    };
    let widest = legend.iter().map(|l| l.chars().count()).max().unwrap_or(0);
    let full = [
        places.width.max(widest as f64 * 7.0) + 2.0 * MARGIN,
        places.height + legend_height + 2.0 * MARGIN,
    ];
    templates::render(
        "graph.svg",
        &json!({
            "in_file": frame == Frame::File,
            "title": title,
            "summary": summary(picture),
            "margin": MARGIN,
            "width": full[0],
            "height": full[1],
            "lower": places.lower,
            "places_width": places.width,
            "nodes": views,
            "edges": edges,
            "groups": groups(picture, &places, size),
            "legend": legend,
            "legend_y": places.height + 24.0,
        }),
    )
}

/// A node is as wide as what it shows and as its gradient, so that both fill the
/// same column.
fn width(picture: &Picture, node: &Node) -> f64 {
    let partner = match node.role {
        Role::Forward => node.gradient.and_then(|g| picture.node(g)),
        Role::Backward => picture.nodes.iter().find(|n| n.gradient == Some(node.id)),
    };
    let own = |n: &Node| {
        let value = n.value.as_ref().map_or(0.0, |t| match rows(t) {
            Some(rows) => rows[0].len() as f64 * CELL,
            None => HEAT[0],
        });
        let long = |text: &str, each: f64| text.chars().count() as f64 * each;
        let name = long(&pretty(&n.symbol), 9.6) + long(&place(n), 6.6) + 10.0;
        let op = long(op(n), 6.3) + long(&n.shape, 6.0) + 14.0;
        value.max(name).max(op)
    };
    let widest = own(node).max(partner.map_or(0.0, own));
    widest.clamp(NARROW, 260.0) + 2.0 * PADDING
}

/// Which kernel computes a node and which buffer has it, where a plan is shown.
fn place(node: &Node) -> String {
    match (node.buffer, &node.kernels[..]) {
        (Some(b), []) => format!("b{b}"),
        (Some(b), [k, ..]) => format!("k{k} \u{2192} b{b}"),
        (None, [k, ..]) => format!("k{k}"),
        (None, []) => String::new(),
    }
}

/// The values that a node shows: its own and, forward, its gradient's.
fn shown<'a>(picture: &'a Picture, node: &'a Node) -> Vec<(&'static str, usize, &'a Tensor)> {
    let mut all = Vec::new();
    if let Some(value) = &node.value {
        let title = match node.role {
            Role::Forward => "value",
            Role::Backward => "",
        };
        all.push((title, node.id, value));
    }
    let gradient = node.gradient.filter(|_| node.role == Role::Forward);
    let gradient = gradient.and_then(|g| picture.node(g));
    if let Some((id, value)) = gradient.and_then(|n| Some((n.id, n.value.as_ref()?))) {
        all.push(("gradient", id, value));
    }
    all
}

fn tile(tensor: &Tensor) -> Point {
    let across = tensor.dims().last().copied().unwrap_or(1).max(1);
    let down = (tensor.data().len() / across).max(1);
    let ratio = (down as f64 / across as f64).clamp(0.05, 8.0);
    let width = HEAT[0].min(HEAT[1] / ratio).max(8.0);
    [width, (width * ratio).clamp(8.0, HEAT[1])]
}

fn block_height(title: &str, tensor: &Tensor) -> f64 {
    let head = if title.is_empty() { 0.0 } else { 14.0 };
    let body = match rows(tensor) {
        Some(rows) => rows.len() as f64 * ROW,
        None if tensor.data().is_empty() => ROW,
        None => tile(tensor)[1] + ROW,
    };
    head + body + 6.0
}

fn height(picture: &Picture, node: &Node) -> f64 {
    let blocks = shown(picture, node);
    let all: f64 = blocks
        .iter()
        .map(|(title, _, t)| block_height(title, t))
        .sum();
    HEAD + all + if blocks.is_empty() { 0.0 } else { 8.0 }
}

/// The op's name as a node shows it: without its settings where they are long.
fn op(node: &Node) -> &str {
    match node.op.split_once('[') {
        Some((name, _)) if node.op.chars().count() > 16 => name,
        _ => &node.op,
    }
}

fn view(picture: &Picture, node: &Node, [x, y]: Point, [width, height]: Point) -> Result<View> {
    let list = |ids: &[usize]| {
        ids.iter()
            .map(usize::to_string)
            .collect::<Vec<_>>()
            .join(" ")
    };
    let mut blocks = Vec::new();
    let mut at = HEAD;
    for (title, of, tensor) in shown(picture, node) {
        blocks.push(block((title, of), tensor, at, width)?);
        at += block_height(title, tensor);
    }
    let sort = match node.sort {
        Sort::Input => "input",
        Sort::Parameter => "parameter",
        Sort::Constant => "constant",
        Sort::Op => "computed",
    };
    let role = if node.role == Role::Backward {
        "backward"
    } else {
        "forward"
    };
    Ok(View {
        id: node.id,
        class: format!("node {role} {sort}"),
        x,
        y,
        width,
        height,
        symbol: pretty(&node.symbol),
        op: op(node).to_string(),
        shape: node.shape.clone(),
        place: place(node),
        words: words(picture, node),
        inputs: list(&node.inputs),
        path: list(&picture.path(node.id)),
        blocks,
    })
}

/// A node in words, for who hears it.
fn words(picture: &Picture, node: &Node) -> String {
    let mut out = format!(
        "{}, {}, shape {}",
        pretty(&node.symbol),
        node.op,
        node.shape
    );
    let of = |id: &usize| picture.node(*id).map(|n| pretty(&n.symbol));
    let inputs: Vec<_> = node.inputs.iter().filter_map(of).collect();
    if !inputs.is_empty() {
        let _ = write!(out, ", reads {}", inputs.join(" and "));
    }
    for (title, _, tensor) in shown(picture, node) {
        let title = if title.is_empty() { "value" } else { title };
        let _ = write!(out, ", {title} {}", line(tensor));
    }
    out
}

fn block((title, of): (&str, usize), tensor: &Tensor, at: f64, width: f64) -> Result<Block> {
    let top = at + if title.is_empty() { 0.0 } else { 14.0 };
    let mut cells = Vec::new();
    let mut heat_map = None;
    if let Some(rows) = rows(tensor) {
        for (r, row) in rows.iter().enumerate() {
            for (c, value) in row.iter().enumerate() {
                // Numbers stand to the right, as in a column.
                cells.push(Cell {
                    x: width - PADDING - CELL * (row.len() - 1 - c) as f64,
                    y: top + ROW * r as f64 + 11.0,
                    text: short(*value).replace('-', "\u{2212}"),
                });
            }
        }
    } else if let Some(Heat {
        image,
        most,
        cells: note,
        ..
    }) = heat::heat(tensor)?
    {
        let [w, h] = tile(tensor);
        heat_map = Some(Tile {
            image,
            x: PADDING,
            y: top,
            width: w,
            height: h,
            note,
        });
        cells.push(Cell {
            x: width - PADDING,
            y: top + h + 12.0,
            text: format!("\u{b1} {most}"),
        });
    } else {
        cells.push(Cell {
            x: width - PADDING,
            y: top + 11.0,
            text: "no values".to_string(),
        });
    }
    Ok(Block {
        of,
        title: title.to_string(),
        y: at + 9.0,
        cells,
        heat: heat_map,
    })
}

/// A curve through points whose tangents are all horizontal, or all vertical.
fn curve(points: &[Point], vertical: bool) -> String {
    let mut out = String::new();
    for (i, [x, y]) in points.iter().enumerate() {
        match i.checked_sub(1).map(|before| points[before]) {
            None => {
                let _ = write!(out, "M{x:.1} {y:.1}");
            }
            Some([px, py]) if vertical => {
                let middle = (py + y) / 2.0;
                let _ = write!(out, "C{px:.1} {middle:.1} {x:.1} {middle:.1} {x:.1} {y:.1}");
            }
            Some([px, py]) => {
                let middle = (px + x) / 2.0;
                let _ = write!(out, "C{middle:.1} {py:.1} {middle:.1} {y:.1} {x:.1} {y:.1}");
            }
        }
    }
    out
}

#[derive(Serialize)]
struct Edge {
    from: usize,
    to: usize,
    class: &'static str,
    marker: &'static str,
    curve: String,
}

fn edge(picture: &Picture, line: &Line) -> Edge {
    let backward = picture
        .node(line.to)
        .is_some_and(|n| n.role == Role::Backward);
    let (class, marker) = match (line.between, backward) {
        (true, _) => ("edge between", "between"),
        (false, true) => ("edge backward", "backward"),
        (false, false) => ("edge forward", "forward"),
    };
    // The arrow's tip is on the node.
    Edge {
        from: line.from,
        to: line.to,
        class,
        marker,
        curve: curve(&line.points, line.between),
    }
}

/// Fused groups: the boxes of their nodes and the lines between these, to be drawn
/// as one area below all else.
fn groups(picture: &Picture, places: &Places, size: impl Fn(&Node) -> Point) -> Vec<Group> {
    const AROUND: f64 = 9.0;
    let mut all = Vec::new();
    for (index, kernel) in picture.kernels.iter().enumerate() {
        if kernel.nodes.len() < 2 {
            continue;
        }
        let boxes = kernel.nodes.iter().filter_map(|id| {
            let ([x, y], [w, h]) = (places.centres.get(id)?, size(picture.node(*id)?));
            let corner = [x - w / 2.0 - AROUND, y - h / 2.0 - AROUND];
            Some([corner[0], corner[1], w + 2.0 * AROUND, h + 2.0 * AROUND])
        });
        let joins = (places.lines.iter())
            .filter(|l| kernel.nodes.contains(&l.from) && kernel.nodes.contains(&l.to));
        all.push(Group {
            index,
            colour: all.len() % 6,
            boxes: boxes.collect(),
            joins: joins.map(|l| curve(&l.points, l.between)).collect(),
        });
    }
    all
}

fn kernel(picture: &Picture, (i, kernel): (usize, &super::Kernel)) -> String {
    let [x, y] = kernel.grid;
    let list = |ids: &[usize]| {
        ids.iter()
            .map(|b| format!("b{b}"))
            .collect::<Vec<_>>()
            .join(" ")
    };
    let symbols: Vec<_> = (kernel.nodes.iter())
        .filter_map(|id| picture.node(*id).map(|n| pretty(&n.symbol)))
        .collect();
    let what = match symbols.len() {
        0 => "ends the one before".to_string(),
        1..=6 => symbols.join(", "),
        n => format!("{}, ... {n} values", symbols[..5].join(", ")),
    };
    format!(
        "k{i}  {}  {x} x {y} workgroups  reads {}  writes {}  computes {what}",
        kernel.name,
        list(&kernel.reads),
        list(&kernel.writes)
    )
}

fn summary(picture: &Picture) -> String {
    let count = |role| picture.nodes.iter().filter(|n| n.role == role).count();
    let mut out = format!(
        "A computation graph with {} nodes of the forward walk, from left to right",
        count(Role::Forward)
    );
    if count(Role::Backward) > 0 {
        let _ = write!(
            out,
            ", and {} of the reverse walk below, from right to left",
            count(Role::Backward)
        );
    }
    if !picture.kernels.is_empty() {
        let count = picture.kernels.len();
        let _ = write!(
            out,
            "; {count} dispatch{}",
            if count == 1 { "" } else { "es" }
        );
    }
    out
}
