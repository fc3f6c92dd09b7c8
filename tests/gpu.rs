//! The GPU engine beyond single ops: sizes past the limits of drivers, bit
//! identity, no allocation in steady state, and typed errors for faults.

mod common;

use std::collections::BTreeMap;

use common::{Random, gpu};
use wgrad::check::{compare, steps};
use wgrad::plan::{Plan, PlanOptions};
use wgrad::run::cpu;
use wgrad::run::gpu::GpuOptions;
use wgrad::{Error, Feeds, Gpu, Graph, NodeId, Tensor, gradient};

/// A multi-layer network with a BCE loss and all its gradients.
fn network(sizes: &[usize], batch: usize, bias: bool) -> (Graph, Vec<NodeId>, Feeds) {
    let mut random = Random::new(7);
    let mut g = Graph::new();
    let mut feeds = Feeds::new();
    let mut leaf = |g: &mut Graph, label: &str, dims: &[usize], range| {
        feeds.insert(label.to_string(), random.tensor(dims, range));
        g.parameter(label, dims).unwrap()
    };
    let mut h = leaf(&mut g, "x", &[batch, sizes[0]], (-1.0, 1.0));
    let mut wrt = vec![h];
    for (i, pair) in sizes.windows(2).enumerate() {
        let b = 1.0 / (pair[0] as f32).sqrt();
        let w = leaf(&mut g, &format!("{i}.weight"), &[pair[1], pair[0]], (-b, b));
        wrt.push(w);
        let bias = bias.then(|| leaf(&mut g, &format!("{i}.bias"), &[pair[1]], (-b, b)));
        wrt.extend(bias);
        h = g.linear(h, w, bias).unwrap();
        if i + 2 < sizes.len() {
            h = g.relu(h).unwrap();
        }
    }
    let p = g.sigmoid(h).unwrap();
    let dims = g.shape(p).unwrap().dims().to_vec();
    let y = leaf(&mut g, "y", &dims, (0.0, 1.0));
    let l = g.bce(p, y).unwrap();
    let loss = g.mean_all(l).unwrap();
    let mut wanted = vec![loss, p];
    wanted.extend(gradient(&mut g, loss, &wrt).unwrap());
    (g, wanted, feeds)
}

/// Every step against float64 arithmetic on its own operands, and the outputs
/// end to end.
fn check_all(g: &Graph, wanted: &[NodeId], feeds: &Feeds) {
    check_with(g, wanted, feeds, &PlanOptions::default());
}

fn check_with(g: &Graph, wanted: &[NodeId], feeds: &Feeds, options: &PlanOptions) {
    let all = steps::nodes(g, wanted).unwrap();
    let plan = Plan::with_options(g, &all, gpu().target(), options).unwrap();
    let mut program = pollster::block_on(gpu().compile_plan(plan)).unwrap();
    program.set_all(feeds).unwrap();
    let outputs = program.run().unwrap();
    let values: BTreeMap<_, _> = all
        .iter()
        .map(|&id| (id, outputs.get(id).unwrap().clone()))
        .collect();
    for c in steps::verify(g, feeds, &values).unwrap().values() {
        eprintln!(
            "{}: {:.1}% of the step's bound",
            c.label,
            100.0 * c.max_share
        );
        assert!(c.passed() && c.unbounded == 0, "{c:#?}");
    }
    let reference = cpu::evaluate(g, feeds, wanted).unwrap();
    for &id in wanted {
        let c = compare("", &values[&id], reference.get(id).unwrap()).unwrap();
        assert!(c.passed() && c.unbounded == 0, "{c:#?}");
    }
}

#[test]
fn a_wide_network_agrees_with_the_reference() {
    let (g, wanted, feeds) = network(&[784, 512, 256, 1], 256, true);
    check_all(&g, &wanted, &feeds);
}

#[test]
fn a_batch_of_100_000_rows_agrees_with_the_reference() {
    let (g, wanted, feeds) = network(&[4, 2, 1], 100_000, false);
    check_all(&g, &wanted, &feeds);
}

/// Some drivers stop a loop after 65,535 turns and go on with wrong numbers.
#[test]
fn inner_sizes_and_batches_just_above_65_535() {
    let mut random = Random::new(8);
    for n in [65_534, 65_535, 65_536, 65_537, 65_600] {
        for (a, b, ta, tb) in [
            ([3, n], [n, 2], false, false),
            ([n, 3], [n, 2], true, false),
            ([3, n], [2, n], false, true),
            ([n, 3], [2, n], true, true),
            ([n, 2], [2, 3], false, false),
            ([3, 2], [n, 2], false, true),
        ] {
            let mut g = Graph::new();
            let x = g.input("a", &a).unwrap();
            let y = g.input("b", &b).unwrap();
            let z = g.matmul_with(x, y, ta, tb).unwrap();
            let all = g.sum_all(z).unwrap();
            let axis0 = g.sum(x, &[0]).unwrap();
            let axis1 = g.mean(y, &[1]).unwrap();
            let grads = gradient(&mut g, all, &[x, y]).unwrap();
            let feeds = Feeds::from([
                ("a".to_string(), random.tensor(&a, (-1.0, 1.0))),
                ("b".to_string(), random.tensor(&b, (0.0, 1.0))),
            ]);
            check_all(&g, &[z, all, axis0, axis1, grads[0], grads[1]], &feeds);
        }
    }
}

/// The longest part of an inner axis that one workgroup takes: as long as it
/// gets for products of over a million outputs, tried on a small one.
#[test]
fn the_longest_part_of_a_product_stays_below_the_limit_on_loops() {
    const LONGEST: usize = 32_768;
    let mut random = Random::new(12);
    for (m, n, kernel) in [
        (17, 18, "matmul_tiled 64x64 by 4x4"),
        (17, 18, "matmul_tiled 128x64 by 8x8"),
        (17, 18, "matmul_subgroup 32x32"),
        (5, 66, "matmul_16"),
        (66, 3, "matmul_rows"),
        (2, 70, "matmul_rows"),
        (3, 2, "matmul_tall"),
        (5, 13, "matmul_tall"),
    ] {
        let mut g = Graph::new();
        let a = g.input("a", &[m, LONGEST]).unwrap();
        let b = g.input("b", &[LONGEST, n]).unwrap();
        let c = g.matmul(a, b).unwrap();
        let feeds = Feeds::from([
            ("a".to_string(), random.tensor(&[m, LONGEST], (-1.0, 1.0))),
            ("b".to_string(), random.tensor(&[LONGEST, n], (-1.0, 1.0))),
        ]);
        let mut target = gpu().target().clone();
        if kernel.contains("subgroup") && !matches!(target.subgroup_size, Some(4 | 8)) {
            eprintln!("skipped {kernel}: no subgroups of 4 or 8 on this adapter");
            continue;
        }
        target.software = true;
        target.choices = [("matmul".to_string(), kernel.to_string())].into();
        let mut plan = Plan::with_target(&g, &[c], &target).unwrap();
        // The fourth parameter is the length of a part. With the whole axis in
        // the first part, the others are empty and add zeros.
        assert_eq!(plan.steps[0].params[3], 4096);
        let label = &plan.kernels[plan.steps[0].kernel].label;
        assert!(kernel.starts_with(label.as_str()), "{label} for {kernel}");
        plan.steps[0].params[3] = LONGEST as u32;
        let mut program = pollster::block_on(gpu().compile_plan(plan)).unwrap();
        program.set_all(&feeds).unwrap();
        let got = program.run().unwrap().get(c).unwrap().clone();
        let mut want = cpu::evaluate(&g, &feeds, &[c])
            .unwrap()
            .get(c)
            .unwrap()
            .clone();
        // A tree of 512 + 18 additions in place of one of 64 + 18 and 8 parts.
        want.error *= 6.0;
        let comparison = compare("c", &got, &want).unwrap();
        assert!(comparison.passed(), "{comparison:#?}");
    }
}

/// More workgroups than one axis of a dispatch may have.
#[test]
fn grids_of_two_axes() {
    let n = 65_535 * 64 * 4 + 4 * 64 + 3;
    let mut random = Random::new(9);
    let mut g = Graph::new();
    let x = g.input("x", &[n]).unwrap();
    let y = g.relu(x).unwrap();
    let total = g.sum_all(y).unwrap();
    let batch = g.input("batch", &[70_000, 2, 3]).unwrap();
    let weight = g.input("weight", &[3, 2]).unwrap();
    let product = g.matmul(batch, weight).unwrap();
    let feeds = Feeds::from([
        ("x".to_string(), random.tensor(&[n], (-1.0, 1.0))),
        (
            "batch".to_string(),
            random.tensor(&[70_000, 2, 3], (-1.0, 1.0)),
        ),
        ("weight".to_string(), random.tensor(&[3, 2], (-1.0, 1.0))),
    ]);
    // Each op by itself: a row program would need fewer workgroups.
    let options = PlanOptions {
        fuse: false,
        ..PlanOptions::default()
    };
    let wanted = [y, total, product];
    let plan = Plan::with_options(&g, &wanted, gpu().target(), &options).unwrap();
    let folded = plan.steps.iter().filter(|s| s.grid[1] > 1).count();
    assert!(folded >= 2, "{plan}");
    check_with(&g, &wanted, &feeds, &options);
    check_all(&g, &wanted, &feeds);
}

#[test]
fn the_same_bits_every_time_and_nothing_made_after_the_first_run() {
    let (g, wanted, feeds) = network(&[33, 17, 5], 1000, true);
    let mut program = gpu().compile(&g, &wanted).unwrap();
    program.set_all(&feeds).unwrap();
    let bits = |outputs: &wgrad::run::gpu::Outputs| -> Vec<u32> {
        let values = outputs.iter().flat_map(|(_, t)| t.data().to_vec());
        values.map(f32::to_bits).collect()
    };
    let first = bits(program.run().unwrap());
    for _ in 0..20 {
        assert_eq!(bits(program.run().unwrap()), first);
    }
    // A program of the same plan shares the pipelines, and has the same bits.
    let own = Gpu::new().unwrap();
    let mut program = own.compile(&g, &wanted).unwrap();
    program.set_all(&feeds).unwrap();
    assert_eq!(bits(program.run().unwrap()), first);
    let before = own.stats();
    for _ in 0..5 {
        program.run().unwrap();
    }
    let after = own.stats();
    assert_eq!(after.submissions, before.submissions + 5);
    assert_eq!(
        (after.buffers, after.pipelines, after.bind_groups),
        (before.buffers, before.pipelines, before.bind_groups)
    );
    let again = own.compile(&g, &wanted).unwrap();
    assert_eq!(own.stats().pipelines, after.pipelines, "{}", again.plan());
}

#[test]
fn steps_in_one_submission_read_back_only_what_is_asked_for() {
    let (g, wanted, mut feeds) = network(&[4, 3, 1], 5, true);
    let own = Gpu::new().unwrap();
    let mut program = own.compile(&g, &wanted).unwrap();
    program.set_all(&feeds).unwrap();
    let value = |outputs: &wgrad::run::gpu::Outputs, i: usize| {
        let id: NodeId = wanted[i];
        outputs.get(id).unwrap().clone()
    };
    let first = program.run().unwrap().clone();
    let x = Random::new(3).tensor(&[5, 4], (-1.0, 1.0));
    feeds.insert("x".to_string(), x);
    program.set("x", &feeds["x"]).unwrap();
    let before = own.stats();
    // The last output and the first: not neighbours, not in order, one twice.
    let last = wanted.len() - 1;
    let read = [wanted[last], wanted[0], wanted[last]];
    let some = program.run_steps(7, &read).unwrap().clone();
    assert_eq!(own.stats().submissions, before.submissions + 1);
    assert_eq!(own.stats().buffers, before.buffers);
    assert_eq!(value(&some, 1), value(&first, 1), "not read: the old value");
    let second = program.run().unwrap().clone();
    for i in [0, last] {
        assert_eq!(value(&some, i), value(&second, i));
        assert_ne!(value(&some, i), value(&first, i));
    }
    assert_ne!(value(&second, 1), value(&first, 1));
    // Nothing read back is a run too.
    program.run_steps(2, &[]).unwrap();

    let error = program.run_steps(0, &read).unwrap_err().to_string();
    assert!(error.contains("0 steps"), "{error}");
    let hidden = g.find("x").unwrap();
    let error = program.run_steps(1, &[hidden]).unwrap_err().to_string();
    assert!(error.contains("not among the outputs"), "{error}");
    assert_eq!(value(program.run().unwrap(), 0), value(&second, 0));
}

#[test]
fn timed_steps_say_where_the_time_went() {
    let (g, wanted, feeds) = network(&[64, 64, 1], 64, true);
    let own = Gpu::new().unwrap();
    let mut program = own.compile(&g, &wanted).unwrap();
    program.set_all(&feeds).unwrap();
    let one = program.time_steps(1, &wanted).unwrap();
    let before = own.stats();
    let many = program.time_steps(20, &wanted[..1]).unwrap();
    assert_eq!(own.stats().buffers, before.buffers, "made once");
    for t in [one, many] {
        for part in [t.encode_s, t.submit_s, t.wait_s, t.read_s] {
            assert!(part >= 0.0 && part < t.total_s() + 1e-9, "{t:?}");
        }
        // The device cannot have been busy for longer than the host waited.
        assert!(t.gpu_s.is_none_or(|s| s > 0.0 && s < t.total_s()), "{t:?}");
    }
    eprintln!("1 step: {one:?}\n20 steps: {many:?}");
}

#[test]
fn a_new_batch_changes_the_result() {
    let (g, wanted, mut feeds) = network(&[4, 2, 1], 3, false);
    let mut program = gpu().compile(&g, &wanted).unwrap();
    program.set_all(&feeds).unwrap();
    let first = program.run().unwrap().get(wanted[0]).unwrap().clone();
    feeds.insert(
        "x".to_string(),
        Random::new(99).tensor(&[3, 4], (-1.0, 1.0)),
    );
    program.set("x", &feeds["x"]).unwrap();
    let second = program.run().unwrap().get(wanted[0]).unwrap().clone();
    assert_ne!(first, second);
    let reference = cpu::evaluate(&g, &feeds, &wanted).unwrap();
    assert!(
        compare("loss", &second, reference.get(wanted[0]).unwrap())
            .unwrap()
            .passed()
    );
}

/// The same with only the limits that every WebGPU implementation has.
#[test]
fn default_limits_are_enough() {
    let options = GpuOptions {
        default_limits: true,
        ..GpuOptions::default()
    };
    let gpu = pollster::block_on(Gpu::open(options)).unwrap();
    let (g, wanted, feeds) = network(&[65, 33, 1], 100, true);
    let mut program = gpu.compile(&g, &wanted).unwrap();
    program.set_all(&feeds).unwrap();
    let outputs = program.run().unwrap();
    let reference = cpu::evaluate(&g, &feeds, &wanted).unwrap();
    for &id in &wanted {
        let c = compare("", outputs.get(id).unwrap(), reference.get(id).unwrap()).unwrap();
        assert!(c.passed(), "{c:?}");
    }
}

#[test]
fn misuse_is_an_error_with_a_name_in_it() {
    let (g, wanted, feeds) = network(&[4, 2, 1], 3, false);
    let mut program = gpu().compile(&g, &wanted).unwrap();
    let error = program.run().unwrap_err().to_string();
    assert!(error.contains("no value was given for"), "{error}");
    let error = program
        .set("z", &Tensor::scalar(0.0))
        .unwrap_err()
        .to_string();
    assert!(
        error.contains("takes no value `z`") && error.contains("0.weight"),
        "{error}"
    );
    let error = program
        .set("x", &Tensor::scalar(0.0))
        .unwrap_err()
        .to_string();
    assert!(error.contains("[3, 4]") && error.contains("`x`"), "{error}");
    program.set_all(&feeds).unwrap();
    let other = Graph::new().constant(Tensor::scalar(1.0));
    assert!(program.run().unwrap().get(other).is_err());
}

#[test]
fn a_tensor_past_the_limits_is_refused_with_its_name() {
    let mut g = Graph::new();
    let options = GpuOptions {
        default_limits: true,
        ..GpuOptions::default()
    };
    let gpu = pollster::block_on(Gpu::open(options)).unwrap();
    let x = g.input("huge", &[1 << 26]).unwrap();
    let y = g.relu(x).unwrap();
    match gpu.compile(&g, &[y]) {
        Err(Error::Limit(text)) => {
            assert!(
                text.contains("`huge`")
                    && text.contains("if it grows with the batch")
                    && text.contains("into 2 parts"),
                "{text}"
            );
        }
        Err(other) => panic!("{other}"),
        Ok(_) => panic!("a buffer of 256 MiB was bound under a limit of 128 MiB"),
    }
}

/// Pipelines are made on several threads; which of two errors is told does not
/// depend on them, and nobody else gets the other.
#[test]
fn of_several_broken_kernels_the_first_is_told() {
    let (g, wanted, _) = network(&[40, 30, 20, 10], 50, true);
    let own = Gpu::new().unwrap();
    let options = PlanOptions {
        workgroup: false,
        ..PlanOptions::default()
    };
    let good = Plan::with_options(&g, &wanted, own.target(), &options).unwrap();
    assert!(good.kernels.len() > 3, "{good}");
    for first in 0..good.kernels.len() - 1 {
        let mut plan = good.clone();
        for (i, kernel) in plan.kernels.iter_mut().enumerate().skip(first) {
            kernel.label = format!("broken {i}");
            kernel.source.push_str(&format!("fn broken{i}( {{"));
        }
        match pollster::block_on(own.compile_plan(plan)) {
            Err(Error::Gpu(text)) => {
                assert!(
                    text.starts_with(&format!("kernel `broken {first}`")),
                    "{text}"
                );
            }
            Err(other) => panic!("{other}"),
            Ok(_) => panic!("a shader that does not parse was compiled"),
        }
    }
    pollster::block_on(own.compile_plan(good.clone())).unwrap();
    let known = own.stats().pipelines;
    pollster::block_on(own.compile_plan(good)).unwrap();
    assert_eq!(own.stats().pipelines, known);
}

#[test]
fn a_library_touches_no_disk_unless_it_is_given_a_folder() {
    let (g, wanted, feeds) = network(&[40, 30, 10], 50, true);
    let folder = tempfile::tempdir().unwrap();
    let selection = wgrad::run::gpu::Selection::from_env().unwrap();
    let open = || {
        pollster::block_on(Gpu::open(GpuOptions {
            selection: selection.clone(),
            pipeline_cache: Some(folder.path().to_path_buf()),
            ..GpuOptions::default()
        }))
        .unwrap()
    };
    assert_eq!(GpuOptions::default().pipeline_cache, None);
    let run = |gpu: &Gpu| {
        assert_eq!(gpu.notices(), [] as [String; 0]);
        let mut program = gpu.compile(&g, &wanted).unwrap();
        program.set_all(&feeds).unwrap();
        let outputs = program.run().unwrap();
        let bits = |(_, t): (&str, &Tensor)| t.data().iter().map(|v| v.to_bits()).collect();
        outputs.iter().map(bits).collect::<Vec<Vec<u32>>>()
    };
    let first = run(&open());
    // The pipelines of one process, if the driver gives any, serve the next.
    assert_eq!(run(&open()), first);
    assert_eq!(run(gpu()), first);
    let files = std::fs::read_dir(folder.path()).unwrap().count();
    eprintln!("{files} files of pipelines");
    assert!(files <= 1);
}

#[test]
fn what_wgpu_refuses_is_an_error_with_the_kernels_name() {
    let (g, wanted, feeds) = network(&[4, 2, 1], 3, false);
    let mut plan = Plan::new(&g, &wanted).unwrap();
    let label = plan.kernels[0].label.clone();
    plan.kernels[0].source.push_str("fn broken( {");
    match pollster::block_on(gpu().compile_plan(plan)) {
        Err(Error::Gpu(text)) => assert!(text.contains(&format!("kernel `{label}`")), "{text}"),
        Err(other) => panic!("{other}"),
        Ok(_) => panic!("a shader that does not parse was compiled"),
    }
    // A grid past the limits, found only when the work is encoded.
    let mut plan = Plan::new(&g, &wanted).unwrap();
    plan.steps[0].grid = [65_536, 1];
    let mut program = pollster::block_on(gpu().compile_plan(plan)).unwrap();
    program.set_all(&feeds).unwrap();
    assert!(matches!(program.run(), Err(Error::Gpu(_))));
    // The device is none the worse for it.
    let mut program = gpu().compile(&g, &wanted).unwrap();
    program.set_all(&feeds).unwrap();
    program.run().unwrap();
}

#[test]
fn a_lost_device_is_an_error_and_a_new_one_works() {
    let (g, wanted, feeds) = network(&[4, 2, 1], 3, false);
    let gpu = Gpu::new().unwrap();
    let mut program = gpu.compile(&g, &wanted).unwrap();
    program.set_all(&feeds).unwrap();
    program.run().unwrap();
    gpu.destroy();
    assert!(matches!(program.run(), Err(Error::DeviceLost(_))));
    assert!(matches!(
        program.set("x", &feeds["x"]),
        Err(Error::DeviceLost(_))
    ));
    assert!(matches!(
        gpu.compile(&g, &wanted),
        Err(Error::DeviceLost(_))
    ));
    let gpu = Gpu::new().unwrap();
    let mut program = gpu.compile(&g, &wanted).unwrap();
    program.set_all(&feeds).unwrap();
    program.run().unwrap();
}

#[test]
fn a_run_that_takes_too_long_is_a_timeout() {
    let options = GpuOptions {
        timeout: std::time::Duration::from_nanos(1),
        ..GpuOptions::default()
    };
    let gpu = pollster::block_on(Gpu::open(options)).unwrap();
    let mut random = Random::new(10);
    let mut g = Graph::new();
    let x = g.input("x", &[1024, 1024]).unwrap();
    let mut y = x;
    for _ in 0..4 {
        y = g.matmul(y, x).unwrap();
    }
    let s = g.sum_all(y).unwrap();
    let mut program = gpu.compile(&g, &[s]).unwrap();
    program
        .set("x", &random.tensor(&[1024, 1024], (-0.01, 0.01)))
        .unwrap();
    match program.run() {
        Err(Error::Timeout(text)) => assert!(text.contains("busy"), "{text}"),
        other => panic!("{other:?}"),
    }
}

#[test]
fn second_derivatives() {
    // L = sum(sigmoid(x)^2), H v by differentiating <dL/dx, v>.
    let mut random = Random::new(11);
    let mut g = Graph::new();
    let x = g.input("x", &[7]).unwrap();
    let s = g.sigmoid(x).unwrap();
    let s2 = g.mul(s, s).unwrap();
    let loss = g.sum_all(s2).unwrap();
    let dx = gradient(&mut g, loss, &[x]).unwrap()[0];
    let v = g.input("v", &[7]).unwrap();
    let dv = g.mul(dx, v).unwrap();
    let inner = g.sum_all(dv).unwrap();
    let hv = gradient(&mut g, inner, &[x]).unwrap()[0];
    let feeds = Feeds::from([
        ("x".to_string(), random.tensor(&[7], (-2.0, 2.0))),
        ("v".to_string(), random.tensor(&[7], (-1.0, 1.0))),
    ]);
    check_all(&g, &[dx, hv], &feeds);
    let reference = cpu::evaluate(&g, &feeds, &[hv]).unwrap();
    for (i, &got) in reference.get(hv).unwrap().value.iter().enumerate() {
        let x = f64::from(feeds["x"].data()[i]);
        let s = 1.0 / (1.0 + (-x).exp());
        // (s^2)'' = 2 s^2 (1 - s) (2 - 3 s)
        let want = 2.0 * s * s * (1.0 - s) * (2.0 - 3.0 * s) * f64::from(feeds["v"].data()[i]);
        approx::assert_relative_eq!(got, want, max_relative = 1e-12);
    }
}
