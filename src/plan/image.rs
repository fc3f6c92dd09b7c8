//! Which buffers of a plan have images (`graph::image`), and when these are
//! brought up to date: what the host gives is written to both; what a step
//! computed is copied between two passes, which costs as little as any copy of
//! memory.

use super::{BufferId, Content, Plan};
use crate::graph::image;

/// Marks the buffers that have images.
pub fn imaged(plan: &Plan) -> Vec<bool> {
    let mut marks = vec![false; plan.buffers.len()];
    for step in &plan.steps {
        let bound: Vec<_> = step.inputs.iter().chain(&step.outputs).collect();
        for &i in &plan.kernels[step.kernel].images {
            marks[bound[i].index()] = true;
        }
    }
    marks
}

/// The bytes of all images of a plan.
pub(super) fn bytes(plan: &Plan) -> u64 {
    let marks = imaged(plan);
    let specs = plan.buffers.iter().zip(marks).filter(|(_, image)| *image);
    let bytes = specs.map(|(spec, _)| {
        let [columns, rows] = image::size(spec.bytes());
        image::TEXEL * u64::from(columns) * u64::from(rows)
    });
    bytes.sum()
}

/// For each step the buffers whose images have to be copied before it: those
/// that it reads as images and that were written since.
pub fn copies(plan: &Plan) -> Vec<Vec<BufferId>> {
    let memory = |id: BufferId| match plan.buffers[id.index()].part_of {
        Some((whole, _)) => whole,
        None => id,
    };
    let imaged = imaged(plan);
    let all = (0..plan.buffers.len() as u32).map(BufferId);
    let images: Vec<BufferId> = all.filter(|id| imaged[id.index()]).collect();
    let mut stale: Vec<bool> = plan
        .buffers
        .iter()
        .map(|spec| spec.content == Content::Computed)
        .collect();
    let mut copies = Vec::with_capacity(plan.steps.len());
    for step in &plan.steps {
        let mut list = Vec::new();
        for &i in &plan.kernels[step.kernel].images {
            // What a kernel writes in an image is there.
            let Some(&id) = step.inputs.get(i) else {
                continue;
            };
            if std::mem::take(&mut stale[id.index()]) {
                list.push(id);
            }
        }
        copies.push(list);
        for &written in &step.outputs {
            for &image in &images {
                if memory(image) == memory(written) {
                    stale[image.index()] = true;
                }
            }
        }
    }
    copies
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::graph::{Graph, Target};
    use crate::plan::without_rows;

    fn target() -> Target {
        Target {
            software: true,
            subgroup_size: Some(8),
            image_side: Some(16_384),
            ..Target::default()
        }
    }

    /// y = a b, z = y b, w = y y: what is fed is never copied, what is computed
    /// once, before it is first read as an image.
    #[test]
    fn what_is_computed_is_copied_once() {
        let mut g = Graph::new();
        let a = g.input("a", &[256, 256]).unwrap();
        let b = g.input("b", &[256, 256]).unwrap();
        let y = g.matmul(a, b).unwrap();
        let z = g.matmul(y, b).unwrap();
        let w = g.matmul(y, y).unwrap();
        let plan = Plan::with_target(&g, &[z, w], &target()).unwrap();
        let [first, second, third] = &plan.steps[..] else {
            panic!("{plan}");
        };
        let y = first.outputs[0];
        assert_eq!((second.inputs[0], third.inputs[1]), (y, y));
        assert_eq!(copies(&plan), [vec![], vec![y], vec![]], "{plan}");
        assert_eq!(imaged(&plan).iter().filter(|m| **m).count(), 3);
        let image = 516 * 33 * 16;
        assert_eq!(plan.bytes(), 5 * 256 * 256 * 4 + 3 * image);
        assert!(plan.to_string().contains("fed, with an image  \"b\""));
        // Elsewhere nothing is an image.
        let plain = without_rows(&g, &[z, w]).unwrap();
        assert!(!imaged(&plain).contains(&true));
        assert!(copies(&plain).iter().all(Vec::is_empty));
    }

    /// A buffer that holds one value after the other is copied for each.
    #[test]
    fn what_is_written_again_is_copied_again() {
        let mut g = Graph::new();
        let a = g.input("a", &[256, 256]).unwrap();
        let mut y = a;
        for _ in 0..4 {
            y = g.matmul(y, a).unwrap();
        }
        let plan = Plan::with_target(&g, &[y], &target()).unwrap();
        let counts: Vec<_> = copies(&plan).iter().map(Vec::len).collect();
        assert_eq!(counts, [0, 1, 1, 1], "{plan}");
        assert_eq!(plan.steps[0].outputs, plan.steps[2].outputs, "{plan}");
    }
}
