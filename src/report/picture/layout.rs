//! Where nodes stand and how edges run. The forward walk goes from left to right;
//! below it the reverse walk goes from right to left, each gradient under the value
//! that it is of, as far as that goes. Each half is laid out by dagre (layers by
//! network simplex, few crossings): the lower one with its edges turned round.

use std::collections::BTreeMap;

use dagre::graph::{Graph, GraphOptions};
use dagre::{EdgeLabel, LayoutOptions, NodeLabel, RankDir};

use super::{Node, Picture};
use crate::graph::Role;

/// Between layers, between the nodes of one, and between the halves.
const ACROSS: f64 = 38.0;
const DOWN: f64 = 22.0;
const HALVES: f64 = 64.0;

/// A point of the picture.
pub(super) type Point = [f64; 2];

/// An edge as drawn.
pub(super) struct Line {
    pub from: usize,
    pub to: usize,
    /// Its points; the tangents are horizontal at all, or vertical if `between`.
    pub points: Vec<Point>,
    /// From the forward to the reverse walk.
    pub between: bool,
}

/// All places.
pub(super) struct Places {
    /// The centre of each node.
    pub centres: BTreeMap<usize, Point>,
    pub lines: Vec<Line>,
    pub width: f64,
    pub height: f64,
    /// Where the lower half begins, if there is one.
    pub lower: Option<f64>,
}

/// One half, from its own corner.
struct Half {
    centres: BTreeMap<usize, Point>,
    /// The points of each edge between its ends, as it is drawn.
    bends: BTreeMap<(usize, usize), Vec<Point>>,
    width: f64,
    height: f64,
}

/// Places the nodes of a picture, of the given sizes.
pub(super) fn place(picture: &Picture, size: impl Fn(&Node) -> Point) -> Places {
    let mut upper = half(picture, Role::Forward, &size, &|_, _| 1);
    leaves_first(picture, &mut upper);
    let columns = columns(picture, &upper);
    // Two gradients are as many layers apart as their values are.
    let apart = |from: usize, to: usize| match (columns.get(&from), columns.get(&to)) {
        (Some(from), Some(to)) => (from - to).max(1),
        _ => 1,
    };
    let lower = half(picture, Role::Backward, &size, &apart);
    let shift = align(picture, &upper, &lower);
    let (left, top) = (shift.min(0.0).abs(), upper.height + HALVES);
    let mut centres = BTreeMap::new();
    let mut lines = Vec::new();
    let offsets = [[left, 0.0], [left + shift, top]];
    for (half, [dx, dy]) in [&upper, &lower].into_iter().zip(offsets) {
        centres.extend(
            half.centres
                .iter()
                .map(|(id, [x, y])| (*id, [x + dx, y + dy])),
        );
        for ((from, to), bends) in &half.bends {
            let points: Vec<Point> = bends.iter().map(|[x, y]| [x + dx, y + dy]).collect();
            lines.push((*from, *to, points));
        }
    }
    let mut drawn = Vec::new();
    let box_of = |id: usize| {
        let node = picture.node(id)?;
        Some((node, centres.get(&id).copied()?, size(node)))
    };
    for (from, to, bends) in lines {
        let (Some((a, [ax, ay], [aw, _])), Some((_, [bx, by], [bw, _]))) =
            (box_of(from), box_of(to))
        else {
            continue;
        };
        let side = if a.role == Role::Forward { 0.5 } else { -0.5 };
        let mut points = vec![[ax + side * aw, ay]];
        points.extend(bends);
        points.push([bx - side * bw, by]);
        drawn.push(Line {
            from,
            to,
            points,
            between: false,
        });
    }
    for node in &picture.nodes {
        for &input in &node.inputs {
            let Some((of, [ax, ay], [_, ah])) = box_of(input) else {
                continue;
            };
            if of.role == node.role {
                continue;
            }
            let Some((_, [bx, by], [_, bh])) = box_of(node.id) else {
                continue;
            };
            let points = vec![[ax, ay + ah / 2.0], [bx, by - bh / 2.0]];
            drawn.push(Line {
                from: input,
                to: node.id,
                points,
                between: true,
            });
        }
    }
    let has_lower = !lower.centres.is_empty();
    Places {
        centres,
        lines: drawn,
        width: (left + upper.width).max(left + shift + lower.width),
        height: if has_lower {
            top + lower.height
        } else {
            upper.height
        },
        lower: has_lower.then_some(top),
    }
}

/// `apart` says how many layers an edge of the graph spans at least.
fn half(
    picture: &Picture,
    role: Role,
    size: &impl Fn(&Node) -> Point,
    apart: &dyn Fn(usize, usize) -> i32,
) -> Half {
    let mut graph: Graph<NodeLabel, EdgeLabel> = Graph::with_options(GraphOptions {
        directed: true,
        multigraph: false,
        compound: false,
    });
    let own = || picture.nodes.iter().filter(|n| n.role == role);
    for node in own() {
        let [width, height] = size(node);
        let label = NodeLabel {
            width,
            height,
            ..NodeLabel::default()
        };
        graph.set_node(node.id.to_string(), Some(label));
    }
    let mut edges = Vec::new();
    for node in own() {
        for &input in &node.inputs {
            if picture.node(input).is_some_and(|n| n.role == role) {
                edges.push((input, node.id));
                let (a, b) = turned(role, input, node.id);
                let label = EdgeLabel {
                    minlen: apart(input, node.id),
                    ..EdgeLabel::default()
                };
                graph.set_edge(a.to_string(), b.to_string(), Some(label), None);
            }
        }
    }
    dagre::layout(
        &mut graph,
        Some(LayoutOptions {
            rankdir: RankDir::LR,
            nodesep: DOWN,
            ranksep: ACROSS,
            edgesep: 12.0,
            ..LayoutOptions::default()
        }),
    );
    let mut made = Half {
        centres: BTreeMap::new(),
        bends: BTreeMap::new(),
        width: 0.0,
        height: 0.0,
    };
    for node in own() {
        let at = graph.node(&node.id.to_string());
        let centre = at.and_then(|n| Some([n.x?, n.y?])).unwrap_or([0.0; 2]);
        let [width, height] = size(node);
        made.width = made.width.max(centre[0] + width / 2.0);
        made.height = made.height.max(centre[1] + height / 2.0);
        made.centres.insert(node.id, centre);
    }
    for (from, to) in edges {
        let (a, b) = turned(role, from, to);
        let edge = graph.edge(&a.to_string(), &b.to_string(), None);
        let points = edge.map_or(&[][..], |e| &e.points);
        // The first and the last are on the nodes. Between neighbouring layers
        // there is one more, which a curve does not need.
        let inner = points.get(1..points.len().saturating_sub(1)).unwrap_or(&[]);
        let mut bends: Vec<Point> = inner.iter().map(|p| [p.x, p.y]).collect();
        if bends.len() < 2 || straight(&bends) {
            bends.clear();
        }
        if role == Role::Backward {
            bends.reverse();
        }
        made.bends.insert((from, to), bends);
    }
    made
}

/// Points on one line across, which a curve does not need.
fn straight(points: &[Point]) -> bool {
    points.iter().all(|p| (p[1] - points[0][1]).abs() < 1.0)
}

/// The column of each gradient's value in the upper half, counted from the left.
fn columns(picture: &Picture, upper: &Half) -> BTreeMap<usize, i32> {
    let mut all: Vec<f64> = upper.centres.values().map(|p| p[0]).collect();
    all.sort_by(f64::total_cmp);
    all.dedup_by(|a, b| (*a - *b).abs() < 1.0);
    let place = |x: f64| all.iter().take_while(|at| **at < x - 1.0).count() as i32;
    let mut found = BTreeMap::new();
    for node in &picture.nodes {
        if let (Some(gradient), Some(at)) = (node.gradient, upper.centres.get(&node.id)) {
            // A gradient of several values stands under the last of them.
            let column = found.entry(gradient).or_insert(0);
            *column = place(at[0]).max(*column);
        }
    }
    found
}

fn turned(role: Role, from: usize, to: usize) -> (usize, usize) {
    match role {
        Role::Forward => (from, to),
        Role::Backward => (to, from),
    }
}

/// Turns a half upside down if its leaves are below what is computed: the space
/// between the halves is for the lines between values and their gradients.
fn leaves_first(picture: &Picture, half: &mut Half) {
    let mean = |leaves: bool| {
        let ids = picture
            .nodes
            .iter()
            .filter(|n| n.inputs.is_empty() == leaves);
        let heights: Vec<f64> = ids
            .filter_map(|n| Some(half.centres.get(&n.id)?[1]))
            .collect();
        heights.iter().sum::<f64>() / heights.len().max(1) as f64
    };
    if mean(true) > mean(false) {
        let height = half.height;
        let bends = half.bends.values_mut().flatten();
        for point in half.centres.values_mut().chain(bends) {
            point[1] = height - point[1];
        }
    }
}

/// How far right the lower half goes, so that most gradients stand under their
/// values: the median of what each would take.
fn align(picture: &Picture, upper: &Half, lower: &Half) -> f64 {
    let wanted = picture.nodes.iter().filter_map(|node| {
        let value = upper.centres.get(&node.id)?;
        let gradient = lower.centres.get(&node.gradient?)?;
        Some(value[0] - gradient[0])
    });
    let mut wanted: Vec<f64> = wanted.collect();
    wanted.sort_by(f64::total_cmp);
    wanted.get(wanted.len() / 2).copied().unwrap_or(0.0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::exercise;
    use crate::nn::{Loss, Network};
    use crate::solution::{Prepared, Problem};
    use crate::tensor::Tensor;

    fn network(text: &str, takes: usize, gives: usize) -> Prepared {
        let network = Network::parse(text).unwrap();
        let problem = Problem {
            weights: network.init(0).unwrap(),
            network,
            loss: Loss::parse("MSELoss").unwrap(),
            input: Tensor::new(&[3, takes], vec![0.5; 3 * takes]).unwrap(),
            target: Tensor::new(&[3, gives], vec![0.5; 3 * gives]).unwrap(),
        };
        problem.prepare().unwrap()
    }

    /// No two nodes touch, values run to the right and gradients to the left, and
    /// the halves do not meet.
    #[test]
    fn nodes_stand_apart_and_edges_run_their_way() {
        let deep = format!(
            "Sequential({} Linear(4, 1))",
            "Linear(4, 4), ReLU(),".repeat(30)
        );
        for prepared in [
            exercise::problem().unwrap().prepare().unwrap(),
            network("Linear(2, 3)", 2, 3),
            network(&deep, 4, 1),
        ] {
            let picture = Picture::of_problem(&prepared, true).unwrap();
            let size = |node: &Node| [100.0 + node.symbol.len() as f64 * 9.0, 40.0];
            let places = place(&picture, size);
            assert_eq!(places.centres.len(), picture.nodes.len());
            let lower = places.lower.unwrap();
            for (i, a) in picture.nodes.iter().enumerate() {
                let ([ax, ay], [aw, ah]) = (places.centres[&a.id], size(a));
                assert!(ax - aw / 2.0 > -0.1 && ax + aw / 2.0 < places.width + 0.1);
                assert!(ay - ah / 2.0 > -0.1 && ay + ah / 2.0 < places.height + 0.1);
                assert_eq!(ay > lower, a.role == Role::Backward);
                for b in &picture.nodes[..i] {
                    let ([bx, by], [bw, bh]) = (places.centres[&b.id], size(b));
                    let apart =
                        (ax - bx).abs() > (aw + bw) / 2.0 || (ay - by).abs() > (ah + bh) / 2.0;
                    assert!(apart, "{} and {}", a.label, b.label);
                }
            }
            let edges: usize = picture.nodes.iter().map(|n| n.inputs.len()).sum();
            assert_eq!(places.lines.len(), edges);
            for line in places.lines.iter().filter(|l| !l.between) {
                let forward = picture.node(line.to).unwrap().role == Role::Forward;
                let (first, last) = (line.points[0], line.points[line.points.len() - 1]);
                assert_eq!(forward, first[0] < last[0]);
            }
        }
    }

    #[test]
    fn gradients_stand_under_their_values() {
        let prepared = exercise::problem().unwrap().prepare().unwrap();
        let picture = Picture::of_problem(&prepared, true).unwrap();
        let places = place(&picture, |_| [100.0, 40.0]);
        for node in picture.nodes.iter().filter(|n| n.role == Role::Forward) {
            let Some(gradient) = node.gradient else {
                continue;
            };
            let apart = places.centres[&node.id][0] - places.centres[&gradient][0];
            assert!(apart.abs() < 1.0, "{}: {apart}", node.label);
        }
    }
}
