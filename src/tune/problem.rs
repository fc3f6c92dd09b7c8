//! Which products to tune: those of a graph for which the choice matters, or
//! one that is named; and the sizes at which a kernel must prove itself.

use crate::error::{Error, Result};
use crate::graph::{Graph, Lowering, Meaning, NodeId, Precision, Target};
use crate::ops::matmul::{Candidate, Problem, candidates};
use crate::plan::Plan;
use crate::shape::Shape;

/// The products that `outputs` of `graph` take and for which `target` has more
/// than one kernel, each once. One that is a part of a row program has no
/// kernel of its own, and is not among them.
///
/// # Errors
/// As [`Plan::with_target`].
pub fn products(graph: &Graph, outputs: &[NodeId], target: &Target) -> Result<Vec<Problem>> {
    let fresh = Target {
        choices: Default::default(),
        quarantined: Default::default(),
        ..target.clone()
    };
    let plan = Plan::with_target(graph, outputs, &fresh)?;
    let needed = graph.reachable(outputs)?;
    let mut found = Vec::new();
    for (id, _) in graph.nodes().filter(|(id, _)| needed[id.index()]) {
        let Some(problem) = product(graph, id, &fresh)? else {
            continue;
        };
        if found.contains(&problem) {
            continue;
        }
        for other in candidates(&problem, &fresh).iter().skip(1) {
            let mut target = fresh.clone();
            let choice = (problem.to_string(), other.to_string());
            target.choices = [choice].into();
            if Plan::with_target(graph, outputs, &target)? != plan {
                found.push(problem);
                break;
            }
        }
    }
    Ok(found)
}

/// The product that a node is.
fn product(graph: &Graph, id: NodeId, target: &Target) -> Result<Option<Problem>> {
    let node = graph.node(id)?;
    let Some(op) = node.op() else {
        return Ok(None);
    };
    let mut inputs = Vec::with_capacity(node.inputs.len());
    for &input in &node.inputs {
        inputs.push(graph.shape(input)?);
    }
    let lowering = op.lower(&inputs, graph.shape(id)?, target);
    let Lowering::Calls {
        meaning:
            Meaning::Product {
                transpose_a,
                transpose_b,
                precision,
            },
        ..
    } = lowering
    else {
        return Ok(None);
    };
    let ([.., a0, a1], [.., n0, n1]) = (inputs[0].dims(), inputs[1].dims()) else {
        return Ok(None);
    };
    let (m, k) = if transpose_a { (*a1, *a0) } else { (*a0, *a1) };
    let n = if transpose_b { *n0 } else { *n1 };
    Ok(Some(Problem {
        m,
        n,
        k,
        transpose_a,
        transpose_b,
        precision,
    }))
}

/// A product as its name says it: `matmul 256x512x784 nt`, with or without the
/// first word; rows, columns, inner size, and whether A and B lie as they are
/// (n) or transposed (t).
///
/// # Errors
/// The text is none, or a size is 0 or beyond what a tensor may have.
pub fn parse(text: &str) -> Result<Problem> {
    let wrong = |what: &str| {
        Error::Text(format!(
            "`{text}` is no product: {what}; write rows, columns and inner size, and n or t for \
             each operand: 256x512x784 nt"
        ))
    };
    let words: Vec<&str> = text.split_whitespace().collect();
    let words = words.strip_prefix(&["matmul"]).unwrap_or(&words);
    let (sizes, turns, precision) = match *words {
        [sizes, turns] => (sizes, turns, Precision::F32),
        [sizes, turns, "f16"] => (sizes, turns, Precision::F16),
        [sizes, turns, "f16,units"] => (sizes, turns, Precision::F16Units),
        _ => return Err(wrong("it needs two words")),
    };
    let sizes: Option<Vec<usize>> = sizes.split('x').map(|s| s.parse().ok()).collect();
    let [m, n, k] = sizes.as_deref().unwrap_or_default() else {
        return Err(wrong("the sizes are not three whole numbers"));
    };
    let (transpose_a, transpose_b) = match turns {
        "nn" => (false, false),
        "nt" => (false, true),
        "tn" => (true, false),
        "tt" => (true, true),
        _ => return Err(wrong("the last word is not nn, nt, tn or tt")),
    };
    if [m, n, k].contains(&&0) {
        return Err(wrong("a size of 0 leaves nothing to multiply"));
    }
    if *k == 1 && !transpose_a && !transpose_b {
        return Err(wrong(
            "with an inner size of 1 it is elementwise, so there is no kernel to choose",
        ));
    }
    for pair in [[*m, *k], [*n, *k], [*m, *n]] {
        Shape::new(&pair).map_err(|e| wrong(&format!("an operand of shape {}", e.reason)))?;
    }
    Ok(Problem {
        m: *m,
        n: *n,
        k: *k,
        transpose_a,
        transpose_b,
        precision,
    })
}

/// Problems of the same layout around the edges of the kernel's tiles, and
/// whether a bias is added to either operand and a bias and a ReLU follow, all in its
/// kernel: one row and one column; one less,
/// as much and one more than a tile; primes; an inner axis that is not of whole
/// fours, and one that is long.
pub(super) fn edges(problem: &Problem, candidate: Candidate) -> Vec<(Problem, bool)> {
    let [rows, columns] = candidate.tile();
    [
        ([1, 1, 3], false),
        ([rows - 1, columns - 1, 7], false),
        ([rows, columns, 64], false),
        ([rows, columns, 64], true),
        ([rows + 1, columns + 1, 67], true),
        ([rows + 4, columns + 4, 66], false),
        ([41, 43, 131], false),
        ([3, 61, 263], false),
        ([4, 4, 320], true),
    ]
    .map(|([m, n, k], followed)| {
        let edge = Problem {
            m,
            n,
            k,
            ..*problem
        };
        (edge, followed)
    })
    .to_vec()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn products_have_names() {
        for name in [
            "matmul 256x512x784 nt",
            "matmul 1x2x3 nn",
            "matmul 4x5x6 tt",
            "matmul 4x5x6 nt f16",
            "matmul 4x5x6 tn f16,units",
        ] {
            assert_eq!(parse(name).unwrap().to_string(), name);
            assert_eq!(parse(&name[7..]).unwrap().to_string(), name);
        }
        for (text, what) in [
            ("", "two words"),
            ("1x2x3", "two words"),
            ("1x2 nn", "three whole numbers"),
            ("1x2x-3 nn", "three whole numbers"),
            ("1x2x3 nx", "nn, nt"),
            ("0x2x3 nn", "size of 0"),
            ("sum 1x2x3 nn", "two words"),
            ("5x6x1 nn", "elementwise"),
        ] {
            let error = parse(text).unwrap_err().to_string();
            assert!(error.contains(what) && error.contains("256x"), "{error}");
        }
        assert!(parse("4000000000x4000000000x2 nn").is_err());
    }

    #[test]
    fn a_graphs_products_are_found_where_the_choice_matters() {
        let mut g = Graph::new();
        let x = g.input("x", &[100, 50]).unwrap();
        let w = g.parameter("w", &[70, 50]).unwrap();
        let z = g.linear(x, w, None).unwrap();
        let s = g.sum_all(z).unwrap();
        let unused = g.matmul(x, x);
        assert!(unused.is_err());
        let found = products(&g, &[s], &Target::default()).unwrap();
        let names: Vec<_> = found.iter().map(Problem::to_string).collect();
        assert_eq!(names, ["matmul 100x70x50 nt"]);
        // Choices of earlier do not hide it.
        let tuned = Target {
            choices: [("matmul".to_string(), "matmul_16".to_string())].into(),
            ..Target::default()
        };
        assert_eq!(products(&g, &[s], &tuned).unwrap(), found);
        assert!(products(&g, &[x], &Target::default()).unwrap().is_empty());
    }
}
