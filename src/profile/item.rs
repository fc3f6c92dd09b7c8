//! What each dispatch and copy of a plan is: its name, what it computes, how much
//! arithmetic that is, and how many bytes pass at least.

use std::collections::{HashMap, HashSet};

use crate::bench::arithmetic;
use crate::error::Result;
use crate::graph::{Graph, NodeId, Role};
use crate::plan::{BufferId, Plan, Step, image};
use crate::run::gpu::Task;

/// One thing that the device does in each step.
#[derive(Clone, PartialEq, Debug)]
pub struct Item {
    /// What it is in the plan.
    pub task: Task,
    /// Its name, which no other item has: the nodes that it computes.
    pub name: String,
    /// Its ops, in order.
    pub op: String,
    /// Each node that it computes with the shapes of its operands and its own:
    /// `h = relu([64, 512]) -> [64, 512]`.
    pub nodes: Vec<String>,
    /// The kernel's name; empty for a copy.
    pub kernel: String,
    /// Part of the forward or of the reverse walk.
    pub role: Role,
    /// Workgroups; 0 for a copy.
    pub workgroups: u64,
    /// Floating-point operations: 2mnk for a product of matrices, one for each
    /// element that an elementwise op writes or a sum reads. Of several dispatches
    /// for one product or sum the first has them all.
    pub flops: u64,
    /// Bytes of each buffer that it binds, once, however often it is read; of a
    /// copy those that are read and those that are written.
    pub bytes: u64,
}

/// The items of a plan, in the order of [`Program::tasks`](crate::Program::tasks).
pub(super) fn items(graph: &Graph, plan: &Plan) -> Result<Vec<Item>> {
    let mut items = Vec::new();
    let mut counted = HashSet::new();
    let copies = image::copies(plan);
    for (i, (step, copies)) in plan.steps.iter().zip(copies).enumerate() {
        items.extend(copies.iter().map(|&id| of_image(plan, id, step.role)));
        items.push(of_step(graph, plan, i, step, &mut counted)?);
    }
    items.push(Item {
        task: Task::Readback,
        name: "copy of the loss to be read".to_string(),
        op: "copy".to_string(),
        nodes: Vec::new(),
        kernel: String::new(),
        role: Role::Backward,
        workgroups: 0,
        flops: 0,
        bytes: 2 * plan.outputs.first().map_or(0, |o| bytes_of(plan, o.buffer)),
    });
    tell_apart(&mut items);
    Ok(items)
}

fn bytes_of(plan: &Plan, id: BufferId) -> u64 {
    4 * plan.buffers[id.index()].elements as u64
}

fn of_image(plan: &Plan, id: BufferId, role: Role) -> Item {
    let label = &plan.buffers[id.index()].label;
    Item {
        task: Task::Image(id),
        name: format!("image of {label}"),
        op: "copy into an image".to_string(),
        nodes: Vec::new(),
        kernel: String::new(),
        role,
        workgroups: 0,
        flops: 0,
        bytes: 2 * bytes_of(plan, id),
    }
}

fn of_step(
    graph: &Graph,
    plan: &Plan,
    place: usize,
    step: &Step,
    counted: &mut HashSet<NodeId>,
) -> Result<Item> {
    let (mut flops, mut nodes, mut labels) = (0, Vec::new(), Vec::new());
    for &id in &step.nodes {
        let arithmetic = arithmetic(graph, id)?;
        if !arithmetic.shared || counted.insert(id) {
            flops += arithmetic.flops;
        }
        let node = graph.node(id)?;
        let Some(op) = node.op() else { continue };
        let mut operands = Vec::with_capacity(node.inputs.len());
        for &input in &node.inputs {
            operands.push(graph.shape(input)?.to_string());
        }
        let operands = operands.join(", ");
        let (label, shape) = (&node.label, &node.shape);
        nodes.push(format!("{label} = {op}({operands}) -> {shape}"));
        // A view moves nothing, and is not what one looks for.
        if arithmetic.flops > 0 {
            labels.push(label.as_str());
        }
    }
    let name = match &labels[..] {
        [] => format!("{}, last pass", step.label),
        [one] => one.to_string(),
        [a, b] => format!("{a}, {b}"),
        [a, b, c] => format!("{a}, {b}, {c}"),
        [first, .., last] => format!("{first} .. {last} ({} nodes)", nodes.len()),
    };
    let bound = step.inputs.iter().chain(&step.outputs);
    let bound: HashSet<BufferId> = bound.copied().collect();
    Ok(Item {
        task: Task::Dispatch(place),
        name,
        op: step.op.clone(),
        nodes,
        kernel: plan.kernels[step.kernel].label.clone(),
        role: step.role,
        workgroups: step.grid.iter().map(|&n| u64::from(n)).product(),
        flops,
        bytes: bound.into_iter().map(|id| bytes_of(plan, id)).sum(),
    })
}

/// Numbers the items whose names are the same: several dispatches for one op.
fn tell_apart(items: &mut [Item]) {
    let mut seen: HashMap<String, usize> = HashMap::new();
    for item in items {
        let count = seen.entry(item.name.clone()).or_default();
        *count += 1;
        if *count > 1 {
            item.name = format!("{} #{count}", item.name);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::graph::Target;
    use crate::plan::PlanOptions;

    /// z = x wᵀ + b, h = relu(z): one product with an epilogue.
    #[test]
    fn a_product_and_what_is_fused_into_it() {
        let mut g = Graph::new();
        let x = g.input("x", &[48, 40]).unwrap();
        let w = g.parameter("w", &[32, 40]).unwrap();
        let b = g.parameter("b", &[32]).unwrap();
        let z = g.linear(x, w, Some(b)).unwrap();
        let h = g.relu(z).unwrap();
        let options = PlanOptions {
            rows: false,
            workgroup: false,
            ..PlanOptions::default()
        };
        let plan = Plan::with_options(&g, &[h], &Target::default(), &options).unwrap();
        let items = items(&g, &plan).unwrap();
        let [product, readback] = &items[..] else {
            panic!("{plan}");
        };
        assert_eq!(product.flops, 2 * 48 * 32 * 40 + 48 * 32 + 48 * 32);
        assert_eq!(product.bytes, 4 * (48 * 40 + 32 * 40 + 32 + 48 * 32));
        assert_eq!(product.nodes.len(), 3, "{product:?}");
        assert!(
            product.nodes[0].ends_with("= matmul[transpose_b]([48, 40], [32, 40]) -> [48, 32]")
        );
        assert_eq!(product.name.matches(", ").count(), 2, "{}", product.name);
        assert_eq!((readback.flops, readback.bytes), (0, 2 * 4 * 48 * 32));
    }

    /// y = relu(x + b) wᵀ: one product with a prologue. Each element of the sum counts
    /// once, however often the kernel computes it; its value has no buffer.
    #[test]
    fn a_product_and_what_stands_before_it() {
        let mut g = Graph::new();
        let x = g.input("x", &[48, 40]).unwrap();
        let w = g.parameter("w", &[132, 40]).unwrap();
        let b = g.input("b", &[40]).unwrap();
        let a = g.add(x, b).unwrap();
        let h = g.relu(a).unwrap();
        let y = g.linear(h, w, None).unwrap();
        let options = PlanOptions {
            rows: false,
            workgroup: false,
            ..PlanOptions::default()
        };
        let plan = Plan::with_options(&g, &[y], &Target::default(), &options).unwrap();
        let items = items(&g, &plan).unwrap();
        let [product, _] = &items[..] else {
            panic!("{plan}");
        };
        assert_eq!(product.flops, 2 * 48 * 132 * 40 + 2 * 48 * 40);
        assert_eq!(product.bytes, 4 * (48 * 40 + 40 + 132 * 40 + 48 * 132));
        assert_eq!(product.nodes.len(), 3, "{product:?}");
        assert!(product.kernel.starts_with("add+relu(a)+matmul_"));
        assert!(product.nodes[1].contains("= relu("), "{product:?}");
    }

    /// A sum in several passes is counted once, in the first.
    #[test]
    fn dispatches_for_one_op_share_its_arithmetic() {
        let mut g = Graph::new();
        let x = g.input("x", &[1 << 20]).unwrap();
        let s = g.sum_all(x).unwrap();
        let plan = Plan::new(&g, &[s]).unwrap();
        let items = items(&g, &plan).unwrap();
        assert!(items.len() > 2, "{plan}");
        assert_eq!(items[0].flops, 1 << 20);
        assert!(items[1..].iter().all(|item| item.flops == 0));
        let names: HashSet<&str> = items.iter().map(|i| i.name.as_str()).collect();
        assert_eq!(names.len(), items.len(), "{names:?}");
    }
}
