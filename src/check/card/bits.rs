//! The same bits: from run to run, after other plans have run, and from a plan
//! that is compiled anew.

use super::programs::NETS;
use super::run::kernel_of;
use super::{Check, Examiner, Section};
use crate::error::Result;
use crate::graph::NodeId;
use crate::number;
use crate::plan::{Plan, PlanOptions};
use crate::run::gpu::Program;
use crate::tensor::Tensor;

const RUNS: usize = 1000;
const QUICK_RUNS: usize = 100;

type Values = Vec<(NodeId, String, Tensor)>;

pub(super) fn examine(examiner: &mut Examiner<'_>) -> Result<Section> {
    let mut section = Section::new("bits", "the same plan gives the same bits");
    let quick = examiner.options.quick;
    let runs = if quick { QUICK_RUNS } else { RUNS };
    let mut earlier: Vec<(&str, Program, Values)> = Vec::new();
    for net in &NETS {
        if !examiner.wants(net.name) {
            continue;
        }
        examiner.progress(&format!("{} again and again", net.name));
        let step = net.step(net.batches(true)[0], examiner.options.precision)?;
        let wanted: Vec<NodeId> = step.parts.iter().map(|p| p.1).collect();
        let target = examiner.gpu.target();
        // A plain run, and one with a kernel for each op: other kernels.
        for (kind, fuse) in [("", true), (", a kernel for each op", false)] {
            let options = PlanOptions {
                fuse,
                ..PlanOptions::default()
            };
            let plan = Plan::with_options(&step.graph, &wanted, target, &options)?;
            let mut program = examiner.compile(plan.clone())?;
            program.set_all(&step.feeds)?;
            let first = values(&mut program, &wanted)?;
            let check = section.check(net.name, &format!("{runs} runs{kind}"));
            for run in 2..=runs {
                let again = program.run()?;
                same(
                    check,
                    &plan,
                    &first,
                    |id| again.get(id),
                    || format!("run {run} of the same program"),
                )?;
            }
            let mut anew = examiner.compile(plan.clone())?;
            anew.set_all(&step.feeds)?;
            let again = anew.run()?;
            let check = section.check(net.name, "compiled anew");
            same(
                check,
                &plan,
                &first,
                |id| again.get(id),
                || "the same plan compiled anew".to_string(),
            )?;
            earlier.push((net.name, program, first));
        }
    }
    // All others have run since, and each runs now after the one before it.
    for (name, program, first) in &mut earlier {
        let plan = program.plan().clone();
        let again = program.run()?;
        let check = section.check(name, "after other plans");
        same(
            check,
            &plan,
            first,
            |id| again.get(id),
            || "after other plans had run".to_string(),
        )?;
    }
    Ok(section)
}

fn values(program: &mut Program, wanted: &[NodeId]) -> Result<Values> {
    let outputs = program.run()?.clone();
    let labels: Vec<String> = outputs.iter().map(|(label, _)| label.to_string()).collect();
    let mut values = Vec::with_capacity(wanted.len());
    for (&id, label) in wanted.iter().zip(labels) {
        values.push((id, label, outputs.get(id)?.clone()));
    }
    Ok(values)
}

/// Counts the values that have other bits than at first.
fn same<'a>(
    check: &mut Check,
    plan: &Plan,
    first: &Values,
    now: impl Fn(NodeId) -> Result<&'a Tensor>,
    when: impl Fn() -> String,
) -> Result<()> {
    for (id, label, before) in first {
        let after = now(*id)?;
        let pairs = before.data().iter().zip(after.data());
        check.values += before.data().len() as u64;
        for (i, (a, b)) in pairs
            .enumerate()
            .filter(|(_, (a, b))| a.to_bits() != b.to_bits())
        {
            check.values -= 1; // counted by `fail`
            let ulps = number::ulps_between(*a, *b) as f64;
            check.max_ulps = check.max_ulps.max(ulps);
            let what = format!(
                "{}: `{label}` element {i} is {}, and was {} before",
                when(),
                number::show(*b),
                number::show(*a)
            );
            check.fail(what, kernel_of(plan, *id));
        }
    }
    Ok(())
}
