//! Running a graph in one of the ways that a planner has, and judging what came
//! out.

use std::collections::BTreeMap;

use super::{Examiner, Section, Worst};
use crate::check::{compare, steps};
use crate::error::Result;
use crate::graph::{Graph, NodeId, Target};
use crate::number;
use crate::plan::{BufferId, Plan, PlanOptions, Prologues};
use crate::run::gpu::Program;
use crate::run::{Feeds, cpu};
use crate::tensor::Tensor;

/// A way of planning the same computation.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Way {
    /// A kernel for each op, every value read back and judged on the operands
    /// that it had.
    Each,
    /// The kernels of a plain run, every value read back and judged likewise.
    Plain,
    /// The plain run: only what was asked for is read, and held against the
    /// reference from the leaves on.
    Whole,
    /// The same with kernels of several ops, as many as can be, but neither row
    /// programs nor workgroup programs.
    Fused,
    /// The same without row programs.
    Workgroup,
}

impl Way {
    pub fn options(self) -> PlanOptions {
        let all = PlanOptions::default();
        match self {
            Way::Each => PlanOptions { fuse: false, ..all },
            Way::Plain | Way::Whole => all,
            Way::Fused => PlanOptions {
                rows: false,
                workgroup: false,
                prologues: Prologues::All,
                ..all
            },
            Way::Workgroup => PlanOptions { rows: false, ..all },
        }
    }

    pub fn name(self) -> &'static str {
        match self {
            Way::Each => "a kernel for each op",
            Way::Plain => "the kernels of a plain run, every value read back",
            Way::Whole => "a plain run",
            Way::Fused => "fused kernels",
            Way::Workgroup => "without row programs",
        }
    }

    /// Whether each value is judged on its own operands.
    fn by_step(self) -> bool {
        matches!(self, Way::Each | Way::Plain)
    }
}

/// A computation whose values are to be judged.
pub(super) struct Subject<'a> {
    /// The name of its checks.
    pub name: &'a str,
    pub graph: &'a Graph,
    /// The values asked for, and the part of the check that each belongs to.
    pub parts: &'a [(String, NodeId)],
    pub feeds: &'a Feeds,
    pub target: &'a Target,
    /// What distinguishes it from others of its name: sizes and values.
    pub what: &'a str,
    /// Whether to look at what its plans do to memory: once, whatever the values.
    pub memory: bool,
}

impl Examiner<'_> {
    /// A plan as a program, with the planted fault if there is one.
    pub fn compile(&self, plan: Plan) -> Result<Program> {
        pollster::block_on(self.gpu.compile_plan(self.tampered(plan)))
    }

    /// A plan with the planted fault, if there is one.
    pub fn tampered(&self, mut plan: Plan) -> Plan {
        if let Some(tamper) = self.options.tamper {
            tamper(&mut plan);
        }
        plan
    }

    /// Runs the subject in these ways, and counts what came out in. A plan that
    /// one way shares with an earlier one is not run again.
    pub fn judge(&self, subject: &Subject<'_>, ways: &[Way], section: &mut Section) -> Result<()> {
        let wanted: Vec<NodeId> = subject.parts.iter().map(|p| p.1).collect();
        let owners = owners(subject)?;
        let mut done: Vec<Plan> = Vec::new();
        for &way in ways {
            let outputs = match way.by_step() {
                true => steps::nodes(subject.graph, &wanted)?,
                false => wanted.clone(),
            };
            let plan = Plan::with_options(subject.graph, &outputs, subject.target, &way.options())?;
            if done.contains(&plan) {
                continue;
            }
            done.push(plan.clone());
            if subject.memory {
                self.poison(subject, way, &outputs, &plan)?;
            }
            let mut program = self.compile(plan)?;
            program.set_all(subject.feeds)?;
            let outputs = program.run()?;
            let mut values = BTreeMap::new();
            for output in &done[done.len() - 1].outputs {
                values.insert(output.node, outputs.get(output.node)?.clone());
            }
            let found = match way.by_step() {
                true => steps::verify(subject.graph, subject.feeds, &values)?,
                false => {
                    let reference = cpu::evaluate(subject.graph, subject.feeds, &wanted)?;
                    let mut found = BTreeMap::new();
                    for (&id, value) in &values {
                        let label = &subject.graph.node(id)?.label;
                        found.insert(id, compare(label, value, reference.get(id)?)?);
                    }
                    found
                }
            };
            for (id, comparison) in &found {
                let part = owners.get(id).map_or("forward", |&i| &subject.parts[i].0);
                section.check(subject.name, part).see(
                    comparison,
                    |worst| describe(subject, *id, worst, way, &values),
                    || kernel_of(program.plan(), *id),
                );
            }
        }
        Ok(())
    }
}

/// The first part that needs each node.
fn owners(subject: &Subject<'_>) -> Result<BTreeMap<NodeId, usize>> {
    let mut owners = BTreeMap::new();
    for (i, (_, root)) in subject.parts.iter().enumerate() {
        for id in steps::nodes(subject.graph, &[*root])? {
            owners.entry(id).or_insert(i);
        }
        owners.entry(*root).or_insert(i);
    }
    Ok(owners)
}

/// The longest text of numbers put in that is shown.
const MOST_TEXT: usize = 90;

/// A value with the numbers that it came from.
fn describe(
    subject: &Subject<'_>,
    id: NodeId,
    worst: &Worst,
    way: Way,
    values: &BTreeMap<NodeId, Tensor>,
) -> String {
    let Ok(node) = subject.graph.node(id) else {
        return String::new();
    };
    let operands: Vec<_> = node
        .inputs
        .iter()
        .filter_map(|&input| {
            let label = &subject.graph.node(input).ok()?.label;
            values.get(&input).or_else(|| subject.feeds.get(label))
        })
        .collect();
    let views: Vec<_> = operands
        .iter()
        .filter_map(|t| ndarray::ArrayViewD::from_shape(t.dims(), t.data()).ok())
        .collect();
    let numbers = match node.op() {
        Some(op) if views.len() == node.inputs.len() => op.substitute(&views, &worst.index),
        _ => String::new(),
    };
    let numbers = match numbers.len() {
        1..=MOST_TEXT => format!(" = {numbers}"),
        _ => String::new(),
    };
    let op = node.op().map_or(String::new(), |op| format!(" ({op})"));
    format!(
        "`{}`{op} {:?}{numbers} is {}, exactly {}, may be off by {:.2e}; {}, {}",
        node.label,
        worst.index,
        number::show(worst.got),
        number::show_wide(worst.want),
        worst.bound,
        subject.what,
        way.name(),
    )
}

/// The kernels that compute an output, in order.
pub(super) fn kernel_of(plan: &Plan, node: NodeId) -> Option<String> {
    let output = plan.outputs.iter().find(|o| o.node == node)?;
    let whole = |id: BufferId| plan.buffers[id.index()].part_of.map_or(id, |part| part.0);
    let writes = |same: &dyn Fn(BufferId) -> bool| {
        let mut steps = plan.steps.iter().rev();
        steps.find(|s| s.outputs.iter().any(|&b| same(b)))
    };
    let last = writes(&|b| b == output.buffer)
        .or_else(|| writes(&|b| whole(b) == whole(output.buffer)))?;
    let mut names: Vec<&str> = Vec::new();
    for step in plan.steps.iter().filter(|s| s.label == last.label) {
        let name = plan.kernels[step.kernel].label.as_str();
        if !names.contains(&name) {
            names.push(name);
        }
    }
    Some(names.join(", then "))
}
