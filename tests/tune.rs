//! Tuning: a kernel that is wrong anywhere is found and never taken, however
//! fast it is; what is taken gives values within the bounds.

mod common;

use std::cell::RefCell;

use common::{Random, gpu};
use wgrad::check::compare;
use wgrad::graph::Target;
use wgrad::ops::matmul::{Candidate, Problem, candidates};
use wgrad::plan::{Plan, PlanOptions};
use wgrad::run::cpu;
use wgrad::tune::{self, Kernels, Options, Own, Tuned, Tuner, Verdict};
use wgrad::{Feeds, Graph, NodeId, Result};

/// A change of a kernel's text, for some plans.
struct Fault {
    kernel: Candidate,
    /// Whether it is there in a plan, by its text.
    applies: fn(&str) -> bool,
    from: &'static str,
    to: &'static str,
}

/// Two kernels for every problem, one of which may have a fault.
struct Planted {
    offered: [Candidate; 2],
    fault: Option<Fault>,
    planted: RefCell<usize>,
}

impl Planted {
    fn new(offered: [Candidate; 2], fault: Option<Fault>) -> Planted {
        Planted {
            offered,
            fault,
            planted: RefCell::default(),
        }
    }
}

impl Kernels for Planted {
    fn candidates(&self, problem: &Problem, target: &Target) -> Vec<Candidate> {
        let all = Own.candidates(problem, target);
        let offered = self.offered.iter().filter(|c| all.contains(c));
        offered.copied().collect()
    }

    fn plan(
        &self,
        graph: &Graph,
        output: NodeId,
        target: &Target,
        candidate: Candidate,
    ) -> Result<Plan> {
        let mut plan = Own.plan(graph, output, target, candidate)?;
        if let Some(fault) = self.fault.as_ref().filter(|f| f.kernel == candidate) {
            for kernel in &mut plan.kernels {
                if kernel.entry == candidate.entry() && (fault.applies)(&kernel.source) {
                    let faulty = kernel.source.replacen(fault.from, fault.to, 1);
                    assert_ne!(faulty, kernel.source, "the fault was not planted");
                    kernel.source = faulty;
                    *self.planted.borrow_mut() += 1;
                }
            }
        }
        Ok(plan)
    }
}

const QUICK: Options = Options {
    seconds: 0.0,
    rounds: 3,
};

/// A problem with the default, which is not `matmul_16`, and that one.
fn subject() -> (Problem, [Candidate; 2]) {
    let problem = tune::parse("40x48x52 nt").unwrap();
    let default = candidates(&problem, gpu().target())[0];
    assert_ne!(default, Candidate::Small);
    (problem, [default, Candidate::Small])
}

fn always(_: &str) -> bool {
    true
}

#[test]
fn kernels_that_are_right_are_timed() {
    let (problem, offered) = subject();
    let kernels = Planted::new(offered, None);
    let outcome = Tuner::new(gpu(), &kernels, QUICK).tune(problem).unwrap();
    assert_eq!(outcome.trials.len(), 2);
    for trial in &outcome.trials {
        assert!(trial.values > 40 * 48, "{trial:?}");
        assert!(trial.seconds().is_some_and(|s| s > 0.0), "{trial:?}");
    }
    assert!(outcome.chosen.is_some());
    assert_eq!(outcome.wrong().count(), 0);
    let mut tuned = Tuned::new(gpu().adapter());
    tuned.add(&outcome, "2026-11-25");
    assert_eq!((tuned.products.len(), tuned.quarantined.len()), (1, 0));
}

/// Each fault is one that a single test of one size could miss.
#[test]
fn a_wrong_kernel_is_found_and_never_taken() {
    let (problem, offered) = subject();
    for (what, applies, from, to) in [
        // Very fast, and wrong everywhere.
        (
            "does nothing",
            always as fn(&str) -> bool,
            "c[at] = result;",
            ";",
        ),
        // Off by a little.
        (
            "a little off",
            always,
            "c[at] = result;",
            "c[at] = result * 1.00002;",
        ),
        // Past the first tile only.
        (
            "one element past a tile",
            always,
            "c[at] = result;",
            "c[at] = select(result, 0.0, row == 16u);",
        ),
        // Only with what stands before in its kernel.
        (
            "without the bias of an operand",
            |source| source.contains("struct PrologueA"),
            "prologue_a(a[at], at)",
            "a[at]",
        ),
        // Only with what follows in its kernel.
        (
            "with a bias and a ReLU",
            |source| source.contains("fn relu("),
            "c[at] = result;",
            "c[at] = result + 0.001;",
        ),
    ] {
        let fault = Fault {
            kernel: Candidate::Small,
            applies,
            from,
            to,
        };
        let kernels = Planted::new(offered, Some(fault));
        let outcome = Tuner::new(gpu(), &kernels, QUICK).tune(problem).unwrap();
        assert!(kernels.planted.into_inner() > 0);
        let [good, bad] = &outcome.trials[..] else {
            panic!("{outcome:?}");
        };
        assert!(matches!(good.verdict, Verdict::Timed { .. }), "{what}");
        let Verdict::Wrong(wrong) = &bad.verdict else {
            panic!("{what} was not found: {bad:?}");
        };
        assert_eq!(wrong.kernel, "matmul_16");
        assert!(tune::parse(&wrong.problem).is_ok(), "{wrong:?}");
        assert!(wrong.reason.contains("the worst at ["), "{wrong:?}");
        assert_eq!(outcome.chosen, Some(0), "{what}");
        // It is not offered any more, for any problem.
        let mut tuned = Tuned::new(gpu().adapter());
        tuned.add(&outcome, "2026-11-25");
        let after = gpu().with_target(|target| tuned.apply(target));
        for sizes in ["40x48x52 nt", "5x6x7 nn", "500x500x500 tt"] {
            let offered = candidates(&tune::parse(sizes).unwrap(), after.target());
            assert!(!offered.is_empty() && !offered.contains(&Candidate::Small));
        }
    }
}

/// Then the next is taken, however slow.
#[test]
fn a_wrong_default_is_left() {
    let (problem, [other, _]) = subject();
    let fault = Fault {
        kernel: Candidate::Small,
        applies: always,
        from: "c[at] = result;",
        to: ";",
    };
    let kernels = Planted::new([Candidate::Small, other], Some(fault));
    let outcome = Tuner::new(gpu(), &kernels, QUICK).tune(problem).unwrap();
    assert_eq!((outcome.wrong().count(), outcome.chosen), (1, Some(1)));
    // With all of them wrong there is nothing to take.
    let fault = Fault {
        kernel: Candidate::Small,
        applies: always,
        from: "c[at] = result;",
        to: ";",
    };
    let kernels = Planted::new([Candidate::Small; 2], Some(fault));
    let outcome = Tuner::new(gpu(), &kernels, QUICK).tune(problem).unwrap();
    assert_eq!((outcome.wrong().count(), outcome.chosen), (2, None));
    let mut tuned = Tuned::new(gpu().adapter());
    tuned.add(&outcome, "2026-11-25");
    assert_eq!((tuned.products.len(), tuned.quarantined.len()), (0, 1));
}

/// What a file asks for and the device does not offer changes nothing; what it
/// may ask for gives values within the same bounds.
#[test]
fn choices_of_a_file_are_taken_if_they_are_offered() {
    let mut random = Random::new(5);
    let mut g = Graph::new();
    let x = g.input("x", &[40, 52]).unwrap();
    let w = g.input("w", &[48, 52]).unwrap();
    let z = g.linear(x, w, None).unwrap();
    let h = g.relu(z).unwrap();
    let feeds = Feeds::from([
        ("x".to_string(), random.tensor(&[40, 52], (-1.0, 1.0))),
        ("w".to_string(), random.tensor(&[48, 52], (-1.0, 1.0))),
    ]);
    let reference = cpu::evaluate(&g, &feeds, &[h]).unwrap();
    let problem = tune::parse("40x48x52 nt").unwrap();
    let options = PlanOptions {
        rows: false,
        ..PlanOptions::default()
    };
    let plan = |target: &Target| Plan::with_options(&g, &[h], target, &options).unwrap();
    let default = plan(gpu().target());
    let with = |kernel: &str| {
        let mut tuned = Tuned::new(gpu().adapter());
        tuned.products.push(wgrad::tune::Product {
            problem: problem.to_string(),
            kernel: kernel.to_string(),
            ns: 1,
            default: "another".to_string(),
            default_ns: None,
        });
        gpu().with_target(|target| tuned.apply(target))
    };
    for nonsense in ["", "matmul_fast", "matmul_subgroup 8x8", "sum_serial"] {
        assert_eq!(plan(with(nonsense).target()), default, "{nonsense}");
    }
    let tuned = with("matmul_16");
    let other = plan(tuned.target());
    assert_ne!(other, default);
    let run = |plan: Plan| {
        let mut program = pollster::block_on(tuned.compile_plan(plan)).unwrap();
        program.set_all(&feeds).unwrap();
        let value = program.run().unwrap().get(h).unwrap().clone();
        let compared = compare("h", &value, reference.get(h).unwrap()).unwrap();
        assert!(compared.passed(), "{compared:?}");
        value
    };
    let bits = |t: &wgrad::Tensor| t.data().iter().map(|v| v.to_bits()).collect::<Vec<_>>();
    let tuned_value = run(other.clone());
    assert_eq!(bits(&tuned_value), bits(&run(other)));
    // Without the file everything is as it was, bit for bit.
    assert_eq!(
        bits(&run(default.clone())),
        bits(&run(plan(gpu().target())))
    );
}
