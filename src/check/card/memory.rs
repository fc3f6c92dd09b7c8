//! Memory: whether the plans of the other sections write all that they must, and
//! nothing else ([`poison`]). Each plan that is judged there, on random values, is
//! run here as well, as it is and with a place of its own for every value; networks
//! also side by side.

use super::programs::NETS;
use super::run::{Subject, Way};
use super::{Examiner, Failure, Section};
use crate::check::poison;
use crate::error::{Error, Result};
use crate::graph::{NodeId, Target};
use crate::plan::{Plan, PlanOptions};
use crate::run::Feeds;

/// Networks side by side.
const REPLICAS: usize = 3;

pub(super) fn section() -> Section {
    Section::new(
        "memory",
        "words of memory: every one of a value written, none beside it, none read before",
    )
}

/// Hands over what was found on the way, and adds networks side by side.
pub(super) fn examine(examiner: &mut Examiner<'_>) -> Result<Section> {
    for net in &NETS {
        if !examiner.wants(net.name) {
            continue;
        }
        examiner.progress(&format!("{} side by side", net.name));
        let step = net.step(net.batches(true)[0], examiner.options.precision)?;
        let mut done: Vec<Plan> = Vec::new();
        let wanted: Vec<NodeId> = step.parts.iter().map(|p| p.1).collect();
        let own = examiner.gpu.target();
        // Values that are in an image cannot be looked at, only what comes of them.
        let seen = Target {
            image_writes: false,
            ..own.clone()
        };
        // Row programs where they do it all, and workgroup programs.
        for (rows, share, target) in [
            (true, true, own),
            (false, true, own),
            (false, true, &seen),
            (false, false, &seen),
        ] {
            let options = PlanOptions {
                replicas: REPLICAS,
                rows,
                share,
                ..PlanOptions::default()
            };
            let plan = match Plan::with_options(&step.graph, &wanted, target, &options) {
                // One that does not fit a workgroup has no such plan.
                Err(Error::Limit(_)) => continue,
                plan => plan?,
            };
            if done.contains(&plan) {
                continue;
            }
            done.push(plan.clone());
            let what = format!("batch {}, {REPLICAS} networks", net.batches(true)[0]);
            examiner.look(net.name, plan, &step.feeds, &what)?;
        }
    }
    Ok(examiner.memory.replace(section()))
}

impl Examiner<'_> {
    /// Runs a plan of a subject with poison, and the same with a place of its own
    /// for every value: memory that two values share hides what the second leaves
    /// out.
    pub fn poison(
        &self,
        subject: &Subject<'_>,
        way: Way,
        outputs: &[NodeId],
        plan: &Plan,
    ) -> Result<()> {
        let options = PlanOptions {
            share: false,
            ..way.options()
        };
        let apart = Plan::with_options(subject.graph, outputs, subject.target, &options)?;
        let what = format!("{}, {}", subject.what, way.name());
        if apart != *plan {
            let what = format!("{what}, no memory shared");
            self.look(subject.name, apart, subject.feeds, &what)?;
        }
        self.look(subject.name, plan.clone(), subject.feeds, &what)
    }

    fn look(&self, name: &str, plan: Plan, feeds: &Feeds, what: &str) -> Result<()> {
        let found = poison::examine(self.gpu, self.tampered(plan), feeds)?;
        let mut section = self.memory.borrow_mut();
        let check = section.check(name, "every buffer");
        check.values += found.words;
        check.failures += found.wrong;
        if found.wrong > 0 {
            check.max_share = f64::INFINITY;
        }
        if let Some(mistake) = found.first {
            check.failure.get_or_insert_with(|| Failure {
                what: format!("{}; {what}", mistake.what),
                kernel: mistake.kernel,
            });
        }
        Ok(())
    }
}
