//! A group of elementwise ops as the prologue of the products of matrices that read
//! its value: functions through which a product's kernel passes what it reads
//! (`shaders/lib/prologue.wgsl`). The group then takes no dispatch, and its value
//! makes no trip through memory.
//!
//! It may be done where nothing but products reads that value, nobody asks for it,
//! and the functions are short. But a kernel reads an element once for each tile
//! that it goes into, and computes the functions as often: whether that pays depends
//! on the sizes ([`pays`]).

use std::collections::{HashMap, HashSet};

use super::Prologues;
use super::access::Access;
use super::chain::Chain;
use super::epilogue::{Epilogue, is_short};
use super::fold;
use super::fuse::{self, Group, Groups};
use super::hooks;
use super::nodes::Nodes;
use crate::error::Result;
use crate::graph::{Call, Graph, Lowering, NodeId, Operand, Target};

/// The most products that compute the same group.
const MOST_READERS: usize = 2;

/// What a kernel is given to begin with a group.
#[derive(Clone, Debug)]
pub(super) struct Prologue {
    /// Which of the op's inputs it computes.
    pub operand: Operand,
    /// The ops.
    pub chain: Chain,
    /// The load that the kernel reads in place of the operand, as it lies, and the
    /// holder of its buffer.
    pub given: usize,
    pub given_by: NodeId,
    /// The holders of the buffers that it reads besides, in order.
    pub reads: Vec<NodeId>,
    /// The nodes that it computes, in order.
    pub members: Vec<NodeId>,
}

/// The prologues of a plan.
#[derive(Default)]
pub(super) struct Found {
    of: HashMap<NodeId, Vec<Prologue>>,
    computed: HashSet<NodeId>,
}

impl Found {
    /// Those of a product.
    pub fn of(&self, product: NodeId) -> &[Prologue] {
        self.of.get(&product).map_or(&[], Vec::as_slice)
    }

    /// Whether the group that ends at `id` is computed by those who read it.
    pub fn computes(&self, id: NodeId) -> bool {
        self.computed.contains(&id)
    }
}

/// A product that reads a value: one of its operands.
struct Reader<'a> {
    product: NodeId,
    operand: Operand,
    call: &'a Call,
    /// How many times it reads each element, and whether always four at once.
    repeats: u64,
    fours: bool,
}

/// Finds the groups that products compute as they read. `epilogues` are those of
/// all ops; what they compute is none.
pub(super) fn find(
    graph: &Graph,
    nodes: &Nodes<'_>,
    groups: &Groups,
    epilogues: &HashMap<NodeId, Epilogue>,
    target: &Target,
    which: Prologues,
) -> Result<Found> {
    let mut found = Found::default();
    if which == Prologues::None {
        return Ok(found);
    }
    let calls: HashMap<NodeId, &[Call]> = nodes
        .held()
        .filter_map(|(id, _)| match nodes.lowering(id)? {
            Lowering::Calls { calls, .. } => Some((id, calls.as_slice())),
            _ => None,
        })
        .collect();
    let followed: HashSet<NodeId> = epilogues.values().filter_map(Epilogue::output).collect();
    let most = target.storage_buffers as usize;
    // Buffers that prologues add to those of the products.
    let mut added: HashMap<NodeId, usize> = HashMap::new();
    for (id, _) in nodes.held() {
        let Some(group) = groups.ending_at(id) else {
            continue;
        };
        if group.stores.len() > 1 || followed.contains(&id) || nodes.is_output(id) {
            continue;
        }
        let Some(readers) = readers(nodes, &calls, id) else {
            continue;
        };
        let Some(prologue) = made(graph, nodes, group)? else {
            continue;
        };
        let fits = |reader: &Reader<'_>| {
            let epilogue = epilogues.get(&reader.product).map_or(0, |e| e.reads.len());
            let before = added.get(&reader.product).unwrap_or(&0) + prologue.reads.len();
            reader.call.inputs.len() + 1 + epilogue + before <= most
        };
        let wanted = which == Prologues::All || pays(&prologue, &readers, target);
        if !wanted || !readers.iter().all(fits) {
            continue;
        }
        found.computed.insert(id);
        for reader in readers {
            *added.entry(reader.product).or_insert(0) += prologue.reads.len();
            found.of.entry(reader.product).or_default().push(Prologue {
                operand: reader.operand,
                ..prologue.clone()
            });
        }
    }
    Ok(found)
}

/// The products that read `id`, if all that read it are products with the
/// functions, each by one operand.
fn readers<'a>(
    nodes: &Nodes<'_>,
    calls: &HashMap<NodeId, &'a [Call]>,
    id: NodeId,
) -> Option<Vec<Reader<'a>>> {
    let all = nodes.readers(id);
    if all.is_empty() || all.len() > MOST_READERS {
        return None;
    }
    let reader = |&product: &NodeId| {
        let inputs = nodes.inputs(product);
        let mut places = (0..inputs.len()).filter(|&i| nodes.holder(inputs[i]) == id);
        let operand = Operand::Input(places.next()?);
        if places.next().is_some() {
            return None;
        }
        let mut reading = calls.get(&product)?.iter().filter_map(|call| {
            let place = call.inputs.iter().position(|&i| i == operand)?;
            Some((call, place))
        });
        let (call, place) = reading.next()?;
        let repeats = *call.repeats?.get(place)?;
        let fours = hooks::reads_fours(call, place);
        let alone = reading.next().is_none() && call.workgroups > 0;
        alone.then_some(Reader {
            product,
            operand,
            call,
            repeats,
            fours,
        })
    };
    all.iter().map(reader).collect()
}

/// The group as a prologue, of a first operand for now, if it can be one.
fn made(graph: &Graph, nodes: &Nodes<'_>, group: &Group) -> Result<Option<Prologue>> {
    if fold::repeated_constant(graph, nodes, group)?.is_some() {
        return Ok(None);
    }
    let (chain, mut reads) = fuse::chain(graph, nodes, group)?;
    let given = chain.loads.iter().position(|load| *load == Access::Same);
    let (Some(given), true) = (given, is_short(&chain, group) && chain.elements > 0) else {
        return Ok(None);
    };
    let given_by = reads.remove(given);
    Ok(Some(Prologue {
        operand: Operand::Input(0),
        chain,
        given,
        given_by,
        reads,
        members: group.members.clone(),
    }))
}

/// Whether computing the functions anew for each tile costs less than a dispatch
/// and the value's trip through memory.
fn pays(prologue: &Prologue, readers: &[Reader<'_>], target: &Target) -> bool {
    let elements = prologue.chain.elements as f64;
    let more = prologue.reads.len() as f64;
    if target.software {
        let spared = DISPATCH + elements * (TRIP + TRIP_READ * more);
        let again = |reader: &Reader<'_>| {
            let read = if reader.fours {
                AGAIN_READ
            } else {
                AGAIN_READ_ONE
            };
            reader.repeats as f64 * (AGAIN + read * more)
        };
        elements * readers.iter().map(again).sum::<f64>() < spared
    } else {
        let times: f64 = readers.iter().map(|reader| reader.repeats as f64).sum();
        let again = times * (1.0 + more);
        again <= MOST_TIMES || elements * again <= FEW_ELEMENTS
    }
}

/// Nanoseconds on lavapipe with two cores (docs/PERFORMANCE.md, Prologues): what a
/// dispatch costs where the next one is waiting; an element that is loaded, computed
/// and stored, and each further load for it;
const DISPATCH: f64 = 30_000.0;
const TRIP: f64 = 2.0;
const TRIP_READ: f64 = 1.0;
/// an element that is computed once more, and each load that takes besides, which a
/// driver in software makes lane by lane: one for four elements, or one for each.
const AGAIN: f64 = 0.12;
const AGAIN_READ: f64 = 1.2;
const AGAIN_READ_ONE: f64 = 3.6;

/// On a GPU, not measured yet: how many times an element may be read, by all products
/// together; and of few elements so many reads cost less than any dispatch.
const MOST_TIMES: f64 = 8.0;
const FEW_ELEMENTS: f64 = 65_536.0;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::{Plan, PlanOptions};

    fn plan(g: &Graph, outputs: &[NodeId], prologues: Prologues) -> Plan {
        let options = PlanOptions {
            rows: false,
            workgroup: false,
            prologues,
            ..PlanOptions::default()
        };
        Plan::with_options(g, outputs, &Target::default(), &options).unwrap()
    }

    /// What each step computes where all prologues are taken.
    fn ops(g: &Graph, outputs: &[NodeId]) -> Vec<String> {
        let plan = plan(g, outputs, Prologues::All);
        plan.steps.iter().map(|s| s.op.clone()).collect()
    }

    fn leaves(g: &mut Graph) -> [NodeId; 2] {
        let x = g.input("x", &[6, 20]).unwrap();
        [x, g.input("w", &[20, 8]).unwrap()]
    }

    #[test]
    fn what_stands_before_a_product_is_computed_as_it_reads() {
        let mut g = Graph::new();
        let [x, w] = leaves(&mut g);
        let s = g.scale(x, 0.5).unwrap();
        let r = g.relu(s).unwrap();
        let z = g.matmul(r, w).unwrap();
        let read = plan(&g, &[z], Prologues::All);
        assert_eq!(ops(&g, &[z]), ["scale[0.5], relu, matmul"]);
        let [step] = &read.steps[..] else {
            panic!("{read}");
        };
        let kernel = &read.kernels[step.kernel];
        assert_eq!(kernel.label, format!("scale+relu(a)+{}", kernel.entry));
        assert_eq!((kernel.reads, kernel.writes), (2, 1));
        assert_eq!(
            (read.buffers.len(), read.bytes()),
            (3, 4 * (120 + 160 + 48))
        );
        assert_eq!(step.nodes, [s, r, z]);
        assert_eq!(step.params.len() % 4, 0);
        assert_eq!(plan(&g, &[z], Prologues::None).steps.len(), 2);
        // What a shape does not change lies where it lay.
        let flat = g.reshape(r, &[120]).unwrap();
        let wide = g.reshape(flat, &[12, 10]).unwrap();
        let v = g.input("v", &[10, 3]).unwrap();
        let y = g.matmul(wide, v).unwrap();
        assert_eq!(ops(&g, &[y]), ["scale[0.5], relu, matmul"]);
    }

    #[test]
    fn both_operands_and_an_epilogue_share_a_kernel() {
        let mut g = Graph::new();
        let [x, w] = leaves(&mut g);
        let bias = g.input("bias", &[20]).unwrap();
        let a = g.add(x, bias).unwrap();
        let b = g.neg(w).unwrap();
        let z = g.matmul(a, b).unwrap();
        let h = g.relu(z).unwrap();
        assert_eq!(ops(&g, &[h]), ["add, neg, matmul, relu"]);
        let plan = plan(&g, &[h], Prologues::All);
        let label = &plan.kernels[0].label;
        assert!(label.starts_with("add(a)+neg(b)+matmul_") && label.ends_with("+relu"));
        assert_eq!(plan.kernels[0].reads, 3, "{plan}");
        // A kernel binds no more than its target allows: here all but one operand's.
        let target = Target {
            storage_buffers: 3,
            ..Target::default()
        };
        let options = PlanOptions {
            rows: false,
            workgroup: false,
            prologues: Prologues::All,
            ..PlanOptions::default()
        };
        let few = Plan::with_options(&g, &[h], &target, &options).unwrap();
        let ops: Vec<_> = few.steps.iter().map(|s| s.op.as_str()).collect();
        assert_eq!(ops, ["add", "neg, matmul, relu"], "{few}");
    }

    /// Whether a chain before a product of these sizes is taken.
    fn taken(
        sizes: [usize; 3],
        loads: usize,
        second: bool,
        readers: usize,
        software: bool,
    ) -> bool {
        let [m, n, k] = sizes;
        let mut g = Graph::new();
        let x = g.input("x", &if second { [n, k] } else { [m, k] }).unwrap();
        let mut value = g.relu(x).unwrap();
        for i in 0..loads {
            let row = g.input(&format!("row{i}"), &[k]).unwrap();
            value = g.add(value, row).unwrap();
        }
        let mut outputs = Vec::new();
        for i in 0..readers {
            let label = format!("w{i}");
            let w = g
                .input(&label, &if second { [m, k] } else { [n, k] })
                .unwrap();
            let (a, b) = if second { (w, value) } else { (value, w) };
            outputs.push(g.matmul_with(a, b, false, true).unwrap());
        }
        let target = match software {
            true => Target {
                software,
                subgroup_size: Some(8),
                image_side: Some(16_384),
                ..Target::default()
            },
            false => Target::default(),
        };
        let options = PlanOptions {
            rows: false,
            workgroup: false,
            ..PlanOptions::default()
        };
        let plan = Plan::with_options(&g, &outputs, &target, &options).unwrap();
        let inside = |op: &str| op.contains("relu") && op.contains("matmul");
        plan.steps.iter().any(|step| inside(&step.op))
    }

    #[test]
    fn it_pays_where_little_is_computed_again() {
        let cases = [
            // Small: a dispatch is dear.
            ([64, 64, 64], 0, false, 1, true, true),
            ([64, 64, 64], 1, false, 1, true, true),
            ([64, 64, 64], 0, false, 2, true, true),
            // Each element is read once.
            ([4096, 1, 1024], 0, false, 1, true, true),
            ([4096, 1, 1024], 1, false, 1, true, true),
            ([2048, 32, 1024], 1, false, 2, true, true),
            ([8, 512, 512], 0, true, 1, true, true),
            // And 1024 times.
            ([4096, 1, 1024], 0, true, 1, false, false),
            // In 16 tiles it is as good either way, with a load it is not; nor in 32.
            ([256, 512, 784], 0, false, 1, true, true),
            ([256, 512, 784], 1, false, 1, false, false),
            ([256, 512, 784], 0, false, 2, false, false),
            ([1024, 1024, 1024], 0, false, 1, false, false),
            // Lines that are not of whole fours are read one by one.
            ([33, 67, 129], 0, false, 1, true, true),
            ([33, 67, 129], 1, false, 1, false, true),
        ];
        for (sizes, loads, second, readers, on_lavapipe, on_a_gpu) in cases {
            let what = format!("{sizes:?} {loads} {second} {readers}");
            let got = [true, false].map(|software| taken(sizes, loads, second, readers, software));
            assert_eq!(got, [on_lavapipe, on_a_gpu], "{what}");
        }
    }

    #[test]
    fn what_others_need_is_stored() {
        let mut g = Graph::new();
        let [x, w] = leaves(&mut g);
        let r = g.relu(x).unwrap();
        let z = g.matmul(r, w).unwrap();
        // It is asked for.
        assert_eq!(ops(&g, &[r, z]), ["relu", "matmul"]);
        // A sum reads it, or another elementwise op.
        let s = g.sum_all(r).unwrap();
        assert_eq!(ops(&g, &[z, s])[..2], ["relu", "matmul"]);
        let q = g.sigmoid(r).unwrap();
        assert_eq!(ops(&g, &[z, q]), ["relu", "matmul", "sigmoid"]);
        // The product reads it twice.
        let twice = g.matmul_with(r, r, false, true).unwrap();
        assert_eq!(ops(&g, &[twice]), ["relu", "matmul[transpose_b]"]);
        // Two products do: each may compute it; three are too many.
        assert_eq!(ops(&g, &[z, twice])[0], "relu");
        let v = g.input("v", &[20, 4]).unwrap();
        let y = g.matmul(r, v).unwrap();
        assert_eq!(ops(&g, &[z, y]), ["relu, matmul", "relu, matmul"]);
        let u = g.input("u", &[3, 6]).unwrap();
        let t = g.matmul(u, r).unwrap();
        assert_eq!(ops(&g, &[z, y, t])[0], "relu");
        // It is long, or nothing that it reads lies as it does.
        let s = g.sigmoid(x).unwrap();
        let z = g.matmul(s, w).unwrap();
        assert_eq!(ops(&g, &[z]), ["sigmoid", "matmul"]);
        let row = g.input("row", &[20]).unwrap();
        let e = g.expand(row, &[6, 20]).unwrap();
        let z = g.matmul(e, w).unwrap();
        assert_eq!(ops(&g, &[z]).len(), 2);
        // It is the epilogue of another product: computed once an element.
        let p = g.matmul(x, w).unwrap();
        let h = g.relu(p).unwrap();
        let k = g.input("k", &[8, 2]).unwrap();
        let y = g.matmul(h, k).unwrap();
        assert_eq!(ops(&g, &[y]), ["matmul, relu", "matmul"]);
    }
}
