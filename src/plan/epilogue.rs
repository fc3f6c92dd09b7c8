//! A group of elementwise ops as the epilogue of the op that it reads: two
//! functions through which that op's kernel passes what it would store. The
//! product then makes no trip through memory.
//!
//! The kernel declares `struct Params { ..., epilogue: Epilogue }` with the last
//! member at a multiple of four words, and calls
//! `epilogue4(v: vec4<f32>, i: u32) -> vec4<f32>` for four neighbours, the first
//! of them element `i` (a multiple of 4) of its row-major output, or
//! `epilogue(v: f32, i: u32) -> f32` for one; once for each element, and never
//! for one outside.

use super::access::Access;
use super::chain::Chain;
use super::chain_text;
use super::fuse::{self, Group, Groups};
use super::nodes::Nodes;
use crate::error::Result;
use crate::graph::{Graph, NodeId};

/// What a kernel is given to end with a group.
#[derive(Debug)]
pub(super) struct Epilogue {
    /// The ops' functions, `struct Epilogue`, the bindings and the two functions.
    pub source: String,
    /// The words of `struct Epilogue`, whole blocks of four.
    pub params: Vec<u32>,
    /// The holders of the buffers that are read, in the order of bindings.
    pub reads: Vec<NodeId>,
    /// The nodes whose values are written beside the kernel's own output, in the
    /// order of bindings, after `reads`.
    pub writes: Vec<NodeId>,
    /// The node whose value the kernel's own output is now.
    pub output: NodeId,
}

/// `group` as the epilogue of `product`, with its buffers from `first_binding`
/// on; `None` if it cannot be one: it does not read the product element by
/// element, or needs something that is computed after it.
pub(super) fn of(
    graph: &Graph,
    nodes: &Nodes<'_>,
    groups: &Groups,
    group: &Group,
    product: NodeId,
    first_binding: u32,
) -> Result<Option<Epilogue>> {
    let (chain, loads) = fuse::chain(graph, nodes, group)?;
    let Some(at) = product_load(&chain, &loads, product) else {
        return Ok(None);
    };
    let others = || loads.iter().copied().filter(|&load| load != product);
    let Some(&output) = group.members.last() else {
        return Ok(None);
    };
    if others().any(|load| groups.stored_at(load) > product) {
        return Ok(None);
    }
    // What else reads the product still has to find it in memory.
    let inside = |reader: &NodeId| group.members.binary_search(reader).is_ok();
    let keep = nodes.is_output(product)
        || !nodes.readers(product).iter().all(inside)
        || groups.are_copied(nodes.readers(product));
    let mut writes: Vec<NodeId> = group.stores.clone();
    writes.retain(|&store| store != output);
    writes.extend(keep.then_some(product));
    Ok(Some(Epilogue {
        source: chain_text::epilogue(&chain, at, keep, first_binding),
        params: chain.params(chain.elements as u32, true),
        reads: others().collect(),
        writes,
        output,
    }))
}

/// The load that is the product, if it is read as it lies and in no other way.
fn product_load(chain: &Chain, loads: &[NodeId], product: NodeId) -> Option<usize> {
    let mut found = (0..loads.len()).filter(|&i| loads[i] == product);
    let first = found.next()?;
    let alone = found.next().is_none() && chain.loads[first] == Access::Same;
    alone.then_some(first)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::graph::{Role, Target};
    use crate::plan::{BufferSpec, Content, Feed, KernelSource, Output, Plan, PlanOptions, Step};
    use crate::run::gpu::Gpu;
    use crate::tensor::Tensor;

    /// relu(z + b) * y for a product z that others read too.
    fn graph(columns: usize) -> (Graph, [NodeId; 6]) {
        let mut g = Graph::new();
        let x = g.input("x", &[6, 2]).unwrap();
        let w = g.input("w", &[2, columns]).unwrap();
        let b = g.input("b", &[columns]).unwrap();
        let y = g.input("y", &[6, 1]).unwrap();
        let z = g.matmul(x, w).unwrap();
        let a = g.add(z, b).unwrap();
        let h = g.relu(a).unwrap();
        let p = g.sigmoid(h).unwrap();
        let m = g.mul(p, y).unwrap();
        let t = g.matmul_with(p, m, true, false).unwrap();
        let u = g.matmul_with(z, t, false, false).unwrap();
        (g, [z, b, y, p, m, u])
    }

    fn made(g: &Graph, ids: [NodeId; 6]) -> Epilogue {
        let [z, _, _, _, m, u] = ids;
        let target = Target::default();
        let nodes = Nodes::new(g, &[u], &target, true).unwrap();
        let groups = fuse::groups(g, &nodes, &target, true).unwrap();
        let group = groups.ending_at(m).unwrap();
        of(g, &nodes, &groups, group, z, 2).unwrap().unwrap()
    }

    #[test]
    fn it_reads_and_writes_what_the_group_does() {
        let (g, ids) = graph(8);
        let [z, b, y, p, m, _] = ids;
        let e = made(&g, ids);
        assert_eq!((&e.reads[..], &e.writes[..]), (&[b, y][..], &[p, z][..]));
        assert_eq!(e.output, m);
        assert_eq!(
            e.params,
            [48, 0, 2, 2],
            "elements, zero, fours of b, fours of y"
        );
        assert!(
            e.source
                .contains("@binding(5) var<storage, read_write> ey1")
        );
    }

    #[test]
    fn a_group_that_needs_later_values_is_none() {
        let mut g = Graph::new();
        let x = g.input("x", &[4, 4]).unwrap();
        let z = g.matmul(x, x).unwrap();
        let s = g.sigmoid(x).unwrap();
        let later = g.matmul(s, x).unwrap();
        let a = g.add(z, later).unwrap();
        let target = Target::default();
        let nodes = Nodes::new(&g, &[a], &target, true).unwrap();
        let groups = fuse::groups(&g, &nodes, &target, true).unwrap();
        let group = groups.ending_at(a).unwrap();
        let of = |product| of(&g, &nodes, &groups, group, product, 2).unwrap();
        assert!(of(z).is_none());
        assert_eq!(of(later).unwrap().reads, [z]);
        assert!(of(x).is_none());
    }

    /// A kernel that only passes values through the epilogue, on a device,
    /// against the ops one by one.
    #[test]
    fn what_goes_through_it_has_the_same_bits() {
        let gpu = Gpu::new().unwrap();
        for columns in [8, 5] {
            let (g, ids) = graph(columns);
            let [z, b, y, p, m, _] = ids;
            let e = made(&g, ids);
            let options = PlanOptions {
                fuse: false,
                share: false,
            };
            let leaf = |g: &Graph, id: NodeId, seed: usize| {
                let shape = g.shape(id).unwrap();
                let data = (0..shape.numel()).map(|i| ((i * 7 + seed) % 13) as f32 / 6.0 - 1.0);
                Tensor::new(shape.dims(), data.collect()).unwrap()
            };
            let run = |plan: Plan, feeds: &[(&str, Tensor)], wanted: &[NodeId]| {
                let mut program = pollster::block_on(gpu.compile_plan(plan)).unwrap();
                for (label, value) in feeds {
                    program.set(label, value).unwrap();
                }
                let outputs = program.run().unwrap();
                let bits = |t: &Tensor| t.data().iter().map(|v| v.to_bits()).collect::<Vec<_>>();
                let get = |&id: &NodeId| bits(outputs.get(id).unwrap());
                wanted.iter().map(get).collect::<Vec<_>>()
            };
            let x = g.find("x").unwrap();
            let w = g.find("w").unwrap();
            let plan = Plan::with_options(&g, &[z, p, m], &Target::default(), &options).unwrap();
            let given = [("x", x), ("w", w), ("b", b), ("y", y)];
            let feeds: Vec<_> = given
                .iter()
                .enumerate()
                .map(|(i, &(label, id))| (label, leaf(&g, id, i)))
                .collect();
            let want = run(plan, &feeds, &[z, p, m]);
            let product = Tensor::new(
                g.shape(z).unwrap().dims(),
                want[0].iter().map(|&bits| f32::from_bits(bits)).collect(),
            )
            .unwrap();
            let feeds = [
                ("z", product),
                ("b", feeds[2].1.clone()),
                ("y", feeds[3].1.clone()),
            ];
            for by_fours in [true, false] {
                let plan = stub(&g, &e, z, by_fours);
                let got = run(plan, &feeds, &[z, p, m]);
                assert_eq!(got, want, "{columns} columns, by fours: {by_fours}");
            }
        }
    }

    fn stub(g: &Graph, e: &Epilogue, z: NodeId, by_fours: bool) -> Plan {
        let store = if by_fours {
            "out[i] = epilogue4(z[i], 4u * i);"
        } else {
            "for (var l = 0u; l < 4u && 4u * i + l < params.epilogue.elements; l += 1u) {
                 out[i][l] = epilogue(z[i][l], 4u * i + l);
             }"
        };
        // Binding 2 is the epilogue's first; the output comes after its own.
        let last = 2 + e.reads.len() + e.writes.len();
        let source = format!(
            "{}
             struct Params {{ a: u32, b: u32, c: u32, d: u32, epilogue: Epilogue }}
             @group(0) @binding(0) var<uniform> params: Params;
             @group(0) @binding(1) var<storage, read> z: array<vec4<f32>>;
             @group(0) @binding({last}) var<storage, read_write> out: array<vec4<f32>>;
             @compute @workgroup_size(64)
             fn main(@builtin(global_invocation_id) gid: vec3<u32>) {{
                 let i = gid.x;
                 if (4u * i < params.epilogue.elements) {{ {store} }}
             }}",
            e.source
        );
        let mut plan = Plan {
            buffers: Vec::new(),
            kernels: vec![KernelSource {
                label: "stub".to_string(),
                entry: "main".to_string(),
                source,
                reads: 1 + e.reads.len(),
                writes: e.writes.len() + 1,
            }],
            steps: Vec::new(),
            feeds: Vec::new(),
            outputs: Vec::new(),
            peak_bytes: 0,
        };
        let mut step = Step {
            label: "stub".to_string(),
            op: "stub".to_string(),
            role: Role::Forward,
            kernel: 0,
            params: [&[0; 4], &e.params[..]].concat(),
            inputs: Vec::new(),
            outputs: Vec::new(),
            grid: [1, 1],
        };
        let add = |plan: &mut Plan, id: NodeId, content: Content| {
            let node = g.node(id).unwrap();
            plan.buffers.push(BufferSpec {
                label: node.label.clone(),
                elements: node.shape.numel(),
                content,
            });
            crate::plan::BufferId(plan.buffers.len() as u32 - 1)
        };
        for &id in [z].iter().chain(&e.reads) {
            let buffer = add(&mut plan, id, Content::Fed);
            step.inputs.push(buffer);
            let label = if id == z {
                "z"
            } else {
                &g.node(id).unwrap().label
            };
            plan.feeds.push(Feed {
                label: label.to_string(),
                shape: g.shape(id).unwrap().clone(),
                buffer,
            });
        }
        for &id in e.writes.iter().chain([&e.output]) {
            let buffer = add(&mut plan, id, Content::Computed);
            step.outputs.push(buffer);
            plan.outputs.push(Output {
                node: id,
                label: g.node(id).unwrap().label.clone(),
                shape: g.shape(id).unwrap().clone(),
                buffer,
            });
        }
        plan.steps.push(step);
        plan
    }
}
