//! The card of an adapter: that it passes here, that it finds faults which are
//! planted, and how it reads.

mod common;

use common::gpu;
use wgrad::check::card::{
    Card, Check, Fact, Failure, Options, Progress, Section, Skip, examine, functions,
};
use wgrad::graph::{NodeId, Role};
use wgrad::plan::{BufferId, BufferSpec, Content, Plan};
use wgrad::report::card as report;
use wgrad::run::gpu::{AdapterDescription, Backend, DeviceKind};
use wgrad::{Graph, Tensor};

fn card(options: &Options) -> Card {
    let mut told = 0;
    let card = examine(gpu(), options, &mut |_| told += 1).unwrap();
    assert!(told > 0, "progress was not told");
    card
}

fn quick(only: &[&str]) -> Options {
    Options {
        quick: true,
        only: only.iter().map(|s| s.to_string()).collect(),
        ..Options::default()
    }
}

#[test]
fn a_card_counts_values_past_pytorchs_rule() {
    let mut card = card(&quick(&["relu"]));
    let verdicts = [0, 2].map(|beyond| wgrad::check::cases::Verdict::Passed { values: 9, beyond });
    card.add_cases(["as_it_says", "cancels"].into_iter().zip(&verdicts), false);
    let told = report::text(&card);
    assert_eq!(told.matches("past PyTorch's rule").count(), 1, "{told}");
    assert!(told.contains("cancels 2 past PyTorch's rule, within the bound"));
    assert!(card.passed());
}

#[test]
fn a_short_card_of_this_adapter_passes() {
    let card = card(&quick(&[]));
    assert!(card.passed(), "{}", report::text(&card));
    let names: Vec<_> = card.sections.iter().map(|s| s.name).collect();
    let all = [
        "ops",
        "kernels",
        "networks",
        "memory",
        "gradients",
        "bits",
        "functions",
    ];
    assert_eq!(names, all);
    // Nothing that is listed compares nothing.
    for (section, check) in card.checks() {
        assert!(check.values > 0, "{}: {check:?}", section.name);
    }
    // Every op is there, forward; and it is judged by a bound that it may meet.
    for family in wgrad::ops::ALL {
        for op in family.ops {
            let found = card.sections[0].checks.iter();
            let mut found = found.filter(|c| c.name == *op && c.part == "forward");
            assert!(found.next().is_some(), "{op} is not on the card");
        }
    }
    assert!(card.facts.len() >= 10);
}

/// A fault, and the check that must find it.
struct Fault {
    name: &'static str,
    section: &'static str,
    check: &'static str,
    /// A part of the kernel's name; empty where no kernel is at fault.
    kernel: &'static str,
    tamper: Option<fn(&mut Plan)>,
    tamper_rule: Option<fn(&mut Graph, &mut NodeId)>,
}

/// Replaces text in every kernel.
fn edit(plan: &mut Plan, from: &str, to: &str) {
    for kernel in &mut plan.kernels {
        kernel.source = kernel.source.replace(from, to);
    }
}

fn planted(
    name: &'static str,
    [section, check, kernel]: [&'static str; 3],
    tamper: fn(&mut Plan),
) -> Fault {
    Fault {
        name,
        section,
        check,
        kernel,
        tamper: Some(tamper),
        tamper_rule: None,
    }
}

fn faults() -> Vec<Fault> {
    vec![
        Fault {
            name: "a rule drops one of two cotangents",
            section: "gradients",
            check: "mul",
            kernel: "",
            tamper: None,
            tamper_rule: Some(|graph, id| {
                let node = graph.node(*id).unwrap();
                if node.op().is_some_and(|op| op.name() == "add") {
                    *id = node.inputs[0];
                }
            }),
        },
        planted(
            "a backward step adds nothing in place of the second cotangent",
            ["ops", "bce_backward", "add"],
            |plan| {
                let nothing = BufferId(plan.buffers.len() as u32);
                let mut elements = 0;
                for step in &mut plan.steps {
                    if step.op == "add" && step.role == Role::Backward {
                        let part = &plan.buffers[step.inputs[1].index()];
                        elements = elements.max(part.elements);
                        step.inputs[1] = nothing;
                    }
                }
                if elements > 0 {
                    plan.buffers.push(BufferSpec {
                        label: "nothing".to_string(),
                        elements,
                        content: Content::Constant(
                            Tensor::new(&[elements], vec![0.0; elements]).unwrap(),
                        ),
                        part_of: None,
                        apart: None,
                    });
                }
            },
        ),
        planted(
            "swapped transposes",
            ["kernels", "matmul", "matmul"],
            |plan| {
                for step in &mut plan.steps {
                    if plan.kernels[step.kernel].label.starts_with("matmul") {
                        step.params.swap(4, 5);
                    }
                }
            },
        ),
        planted(
            "a bound that is one too small",
            ["ops", "sum", "sum_"],
            |plan| {
                edit(plan, "min(params.terms, ", "min(params.terms - 1u, ");
            },
        ),
        planted(
            "a product that forgets what stands before it",
            ["kernels", "matmul", "add(a)+add(b)+"],
            |plan| {
                edit(plan, "prologue_a(a[at], at)", "a[at]");
            },
        ),
        planted("a missing barrier", ["ops", "sum", "sum_tree"], |plan| {
            edit(plan, "workgroupBarrier();", "");
        }),
        planted(
            "a tail that is not written",
            ["ops", "scale", "scale"],
            |plan| {
                for step in &mut plan.steps {
                    step.grid[0] -= u32::from(step.grid[0] > 1);
                }
            },
        ),
        planted(
            "a sum in one long row",
            ["ops", "sum", "sum_serial"],
            |plan| {
                edit(
                    plan,
                    "SERIAL_BLOCK: u32 = 16u",
                    "SERIAL_BLOCK: u32 = 65536u",
                );
            },
        ),
        planted("max, which drops NaN", ["ops", "relu", "relu"], |plan| {
            edit(
                plan,
                "select(x, 0.0, bitcast<i32>(x) <= -0x800000)",
                "max(x, 0.0)",
            );
        }),
        planted("a log without its clamp", ["ops", "bce", "bce"], |plan| {
            edit(
                plan,
                "return select(y, vec4<f32>(-100.0), bitcast<vec4<i32>>(x) < vec4<i32>(27));",
                "return y;",
            );
        }),
        planted(
            "the driver's own exponential",
            ["functions", "exp", "exp_f32"],
            |plan| {
                edit(plan, "return exp_f32(x);", "return exp(x);");
            },
        ),
        planted("a mean of one term more", ["ops", "mean", "sum_"], |plan| {
            for step in &mut plan.steps {
                if plan.kernels[step.kernel].label.starts_with("sum_") && step.params[3] > 1 {
                    step.params[3] += 1;
                }
            }
        }),
        planted(
            "a tail that nothing writes",
            ["memory", "scale", "scale"],
            |plan| {
                for step in &mut plan.steps {
                    step.grid[0] -= u32::from(step.grid[0] > 1);
                }
            },
        ),
        planted(
            "a block of four behind the last",
            ["memory", "relu", "relu"],
            |plan| {
                edit(
                    plan,
                    "        y0[i] = ",
                    "        y0[params.items] = vec4<f32>(1.5);\n        y0[i] = ",
                );
            },
        ),
        planted(
            "a sum that begins with what the last run left",
            ["bits", "4-2-1", ""],
            |plan| {
                edit(
                    plan,
                    "output[job] = ",
                    "output[job] = 0.001 * output[job] + ",
                );
            },
        ),
    ]
}

#[test]
fn every_planted_fault_is_found_and_named() {
    let mut missed = Vec::new();
    for fault in faults() {
        let mut options = quick(&[fault.check]);
        let healthy = card(&options);
        assert!(healthy.passed(), "{}", report::text(&healthy));
        options.tamper = fault.tamper;
        options.tamper_rule = fault.tamper_rule;
        let card = card(&options);
        let text = report::text(&card);
        let named = card.checks().any(|(section, check)| {
            section.name == fault.section
                && check.name == fault.check
                && check.failure.as_ref().is_some_and(|f| match &f.kernel {
                    Some(kernel) => kernel.contains(fault.kernel),
                    None => fault.kernel.is_empty(),
                })
        });
        let alone = format!("wgrad check --quick --only {} --adapter", fault.check);
        if card.passed() || !named || !text.contains(&alone) {
            missed.push(format!("{}:\n{text}", fault.name));
        } else {
            let first = card.checks().find(|(_, c)| !c.passed()).unwrap();
            eprintln!("{}: {}", fault.name, first.1.failure.as_ref().unwrap().what);
        }
    }
    assert!(missed.is_empty(), "{}", missed.join("\n"));
}

/// The first floats of the exhaustive sweep of exp: its check, what was told, and
/// the first float that was done.
fn sweep(options: &Options) -> (wgrad::Result<Check>, Vec<String>, Option<u64>) {
    let options = Options {
        exhaustive: true,
        only: vec!["exp".to_string()],
        floats: Some(3 << 20),
        ..options.clone()
    };
    let (mut notices, mut first) = (Vec::new(), None);
    let card = examine(gpu(), &options, &mut |told| match told {
        Progress::Notice(text) => notices.push(text.to_string()),
        Progress::Sweep {
            done, of, left_s, ..
        } => {
            assert!(done <= of && of == 3 << 20 && left_s >= 0.0);
            first.get_or_insert(done);
        }
        Progress::Next(_) => {}
    });
    let check = card.map(|card| {
        let mut checks = card.checks().map(|(_, check)| check);
        checks.find(|c| c.part == "every float").unwrap().clone()
    });
    (check, notices, first)
}

#[test]
fn an_interrupted_sweep_goes_on_where_it_stopped() {
    const CHUNK: u64 = 1 << 20;
    let folder = tempfile::tempdir().unwrap();
    let files = || std::fs::read_dir(folder.path()).unwrap().count();
    // One that finds nothing, and one whose findings must be kept.
    let wrong = |plan: &mut Plan| edit(plan, "return exp_f32(x);", "return 3.0;");
    for tamper in [None, Some(wrong as fn(&mut Plan))] {
        let none = Options {
            tamper,
            ..Options::default()
        };
        let (whole, _, first) = sweep(&none);
        let whole = whole.unwrap();
        assert_eq!((whole.values, first), (3 * CHUNK, Some(CHUNK)));
        assert_eq!(whole.passed(), tamper.is_none());

        let kept = Options {
            state: Some(folder.path().to_path_buf()),
            ..none
        };
        let interrupted = Options {
            interrupt: Some(CHUNK),
            ..kept.clone()
        };
        let interrupt = || {
            assert_eq!(
                sweep(&interrupted).0.unwrap_err().to_string(),
                "interrupted"
            );
            assert_eq!(files(), 1);
        };
        interrupt();
        // Another kernel's sweep is another's.
        let other = Options {
            tamper: Some(|plan| edit(plan, "return exp_f32(x);", "return exp_f32(x) ;")),
            ..kept.clone()
        };
        assert_eq!(sweep(&other).2, Some(CHUNK));
        let (again, notices, first) = sweep(&kept);
        assert_eq!((again.unwrap(), first), (whole.clone(), Some(2 * CHUNK)));
        let [notice] = &notices[..] else {
            panic!("{notices:?}");
        };
        assert!(
            notice.contains("exp goes on at 33.3% of all floats"),
            "{notice}"
        );
        assert!(notice.contains("--restart"), "{notice}");
        // Done: the next begins anew.
        assert_eq!(files(), 0);

        interrupt();
        let path = std::fs::read_dir(folder.path()).unwrap().next().unwrap();
        let path = path.unwrap().path();
        let mut bytes = std::fs::read(&path).unwrap();
        let middle = bytes.len() / 2;
        bytes[middle] ^= 1;
        std::fs::write(&path, bytes).unwrap();
        let (again, notices, first) = sweep(&kept);
        assert_eq!((again.unwrap(), first), (whole.clone(), Some(CHUNK)));
        assert!(
            notices[0].contains("is not used: it is damaged"),
            "{notices:?}"
        );

        interrupt();
        let restart = Options {
            restart: true,
            ..kept.clone()
        };
        let (again, notices, first) = sweep(&restart);
        assert_eq!((again.unwrap(), first), (whole, Some(CHUNK)));
        assert!(notices.is_empty(), "{notices:?}");
    }
}

#[test]
fn an_unknown_check_is_refused_with_a_list() {
    let error = quick(&["frobnicate"]).verify().unwrap_err().to_string();
    assert!(error.contains("`frobnicate`"), "{error}");
    for name in ["matmul", "4-2-1", "log1p"] {
        assert!(error.contains(name), "{error}");
        quick(&[name]).verify().unwrap();
    }
}

/// docs/NUMERICS.md promises what the card holds the functions to.
#[test]
fn the_promises_are_those_of_the_documentation() {
    let text = include_str!("../docs/NUMERICS.md");
    for function in &functions::FUNCTIONS {
        let start = format!("| `{}(x)`", function.wgsl);
        let lines: Vec<_> = text.lines().filter(|l| l.starts_with(&start)).collect();
        let promised = format!("| {:.1} |", function.bound);
        assert!(
            lines.iter().any(|line| line.contains(&promised)),
            "{}: {lines:?}",
            function.wgsl
        );
    }
}

/// A card that does not depend on the adapter, with a check of each kind.
fn made_up() -> Card {
    let check = |name: &str, part: &str| Check {
        name: name.to_string(),
        part: part.to_string(),
        values: 1234,
        failures: 0,
        unbounded: 2,
        max_ulps: 0.5,
        max_share: 0.25,
        worst: Some("`x|y` [1]".to_string()),
        failure: None,
    };
    let wrong = Check {
        failures: 3,
        max_ulps: 123_456.0,
        max_share: f64::INFINITY,
        failure: Some(Failure {
            what: "`relu_1` (relu) [3] = max(0, NaN) is 0, exactly NaN".to_string(),
            kernel: Some("relu.v4".to_string()),
        }),
        ..check("relu", "forward")
    };
    let rule = Check {
        failures: 1,
        max_share: 11.0,
        failure: Some(Failure {
            what: "[0]: the rule gives 1, differences 2".to_string(),
            kernel: None,
        }),
        ..check("relu", "d/d x0")
    };
    Card {
        adapter: AdapterDescription {
            index: 1,
            name: "Example GPU".to_string(),
            kind: DeviceKind::Discrete,
            backend: Backend::Vulkan,
            driver: "example 1.2".to_string(),
            max_binding: 1 << 30,
            max_buffer: 1 << 31,
            max_invocations: 256,
            workgroup_memory: 32_768,
        },
        date: Some("2026-11-25".to_string()),
        quick: false,
        partial: false,
        precision: Default::default(),
        sections: vec![
            Section {
                name: "ops",
                title: "each op",
                checks: vec![check("add", "forward"), wrong],
            },
            Section {
                name: "gradients",
                title: "the rules",
                checks: vec![rule],
            },
        ],
        skipped: vec![Skip {
            what: "products through subgroups",
            reason: "subgroups have 64 invocations here".to_string(),
        }],
        facts: vec![Fact {
            name: "max(NaN, 0)",
            found: "0".to_string(),
            answer: "ReLU is a comparison",
        }],
    }
}

#[test]
fn how_a_card_reads() {
    let card = made_up();
    let text = report::text(&card);
    assert!(text.contains("\x1b[31mFAIL\x1b[0m"), "{text:?}");
    let plain = anstream::adapter::strip_str(&text).to_string();
    insta::assert_snapshot!("card_text", plain);
    insta::assert_snapshot!("card_json", format!("{:#}", report::json(&card)));
    insta::assert_snapshot!("card_markdown", report::markdown(&card));
}
