//! Kernels that compute several ops against the same ops one by one: the same
//! functions in the same order, so the same bits where a compiler keeps to them,
//! and the derived bounds everywhere.

mod common;

use common::{Random, gpu};
use wgrad::bench::Work;
use wgrad::check::{compare, steps};
use wgrad::graph::Target;
use wgrad::nn::{Loss, Network};
use wgrad::plan::{KernelSource, Plan, PlanOptions};
use wgrad::run::cpu;
use wgrad::{Feeds, Graph, NodeId, Tensor, gradient};

/// The values of `outputs`, by a plan that fuses and one that does not.
fn both(g: &Graph, outputs: &[NodeId], feeds: &Feeds, target: &Target) -> [Vec<Tensor>; 2] {
    let run = |plan: Plan| {
        let mut program = pollster::block_on(gpu().compile_plan(plan)).unwrap();
        program.set_all(feeds).unwrap();
        let values = program.run().unwrap();
        let get = |&id: &NodeId| values.get(id).unwrap().clone();
        outputs.iter().map(get).collect()
    };
    let separate = PlanOptions {
        fuse: false,
        ..PlanOptions::default()
    };
    let all = steps::nodes(g, outputs).unwrap();
    [
        run(Plan::with_options(g, outputs, target, &without_rows()).unwrap()),
        run(Plan::with_options(g, &all, target, &separate).unwrap()),
    ]
}

/// Row programs and workgroup programs add up in orders of their own.
fn without_rows() -> PlanOptions {
    PlanOptions {
        rows: false,
        workgroup: false,
        ..PlanOptions::default()
    }
}

fn bits(t: &Tensor) -> Vec<u32> {
    t.data().iter().map(|v| v.to_bits()).collect()
}

/// Both are within the bounds, and equal to the bit where that was observed.
fn agree(g: &Graph, outputs: &[NodeId], feeds: &Feeds, target: &Target) {
    let [fused, separate] = both(g, outputs, feeds, target);
    let reference = cpu::evaluate(g, feeds, outputs).unwrap();
    for ((&id, a), b) in outputs.iter().zip(&fused).zip(&separate) {
        for value in [a, b] {
            let c = compare("", value, reference.get(id).unwrap()).unwrap();
            assert!(c.passed(), "{c:#?}\n{g}");
        }
        // Observed on lavapipe. A GPU may contract a product and a sum.
        if gpu().adapter().name.contains("llvmpipe") {
            assert_eq!(bits(a), bits(b), "{}\n{g}", g.node(id).unwrap().label);
        }
    }
}

/// Elementwise graphs with broadcasting of every kind, views, fan-out.
#[test]
fn random_elementwise_graphs_and_their_gradients() {
    let shapes: [&[usize]; 8] = [
        &[3, 8],
        &[8],
        &[3, 1],
        &[],
        &[2, 3, 8],
        &[2, 1, 8],
        &[5],
        &[3, 5],
    ];
    let mut kernels = 0;
    let mut fewer = 0;
    for seed in 0..15 {
        let mut random = Random::new(1000 + seed);
        let mut g = Graph::new();
        let mut feeds = Feeds::new();
        let mut pool = Vec::new();
        for (i, dims) in shapes.iter().enumerate() {
            let label = format!("x{i}");
            pool.push(g.input(&label, dims).unwrap());
            feeds.insert(label, random.tensor(dims, (0.1, 0.9)));
        }
        let leaves = pool.clone();
        for _ in 0..30 {
            let mut pick = || pool[(random.bits() % pool.len() as u64) as usize];
            let (a, b, c) = (pick(), pick(), pick());
            let dims = g.shape(a).unwrap().dims().to_vec();
            let made = match random.bits() % 12 {
                0 => g.add(a, b),
                1 => g.sub(a, b),
                2 => g.mul(a, b),
                3 => g.relu(a),
                4 => g.sigmoid(a),
                5 => g.neg(a),
                6 => g.scale(a, 0.75),
                7 => g.relu_backward(a, b),
                8 => g.sigmoid_backward(a, b),
                9 => g.expand(a, &[&[2], &dims[..]].concat()),
                10 => g.reshape(a, &[dims.iter().product()]),
                _ => g.bce_with_logits_weighted(a, b, c),
            };
            match made {
                Ok(id) if g.shape(id).unwrap().numel() <= 2000 => pool.push(id),
                _ => {}
            }
        }
        let made = &pool[leaves.len()..];
        let mut loss = g.constant(Tensor::scalar(0.0));
        for &id in made.iter().rev().take(3) {
            let dims = g.shape(id).unwrap().dims().to_vec();
            let weight = g.constant(random.tensor(&dims, (-1.0, 1.0)));
            let m = g.mul(id, weight).unwrap();
            let s = g.sum_all(m).unwrap();
            loss = g.add(loss, s).unwrap();
        }
        let mut outputs = vec![loss];
        outputs.extend(gradient(&mut g, loss, &leaves).unwrap());
        outputs.extend(made.last());
        // Some gradients are zeros, constants.
        outputs.retain(|&id| g.node(id).unwrap().op().is_some());
        let target = gpu().target();
        agree(&g, &outputs, &feeds, target);
        let plan = Plan::with_options(&g, &outputs, target, &without_rows()).unwrap();
        let separate = PlanOptions {
            fuse: false,
            ..PlanOptions::default()
        };
        let long = Plan::with_options(&g, &outputs, target, &separate).unwrap();
        kernels += plan.kernels.len();
        fewer += long.steps.len() - plan.steps.len();
    }
    eprintln!("{kernels} kernels, {fewer} steps fewer than one by one");
    assert!(fewer > 150, "only {fewer} steps were saved");
}

/// A network with biases at sizes that are and are not multiples of four.
#[test]
fn networks_with_biases() {
    let sizes = [(8, 12), (7, 13), (6, 1), (1, 5), (72, 100), (67, 45)];
    let both = |(hidden, batch)| [(hidden, batch, 1), (hidden, batch, 3)];
    for (hidden, batch, columns) in sizes.into_iter().flat_map(both) {
        let mut random = Random::new(hidden as u64);
        let mut g = Graph::new();
        let mut feeds = Feeds::new();
        let mut leaf = |g: &mut Graph, label: &str, dims: &[usize], range| {
            feeds.insert(label.to_string(), random.tensor(dims, range));
            g.parameter(label, dims).unwrap()
        };
        let x = leaf(&mut g, "x", &[batch, 5], (-1.0, 1.0));
        let w = leaf(&mut g, "w", &[hidden, 5], (-1.0, 1.0));
        let b = leaf(&mut g, "b", &[hidden], (-1.0, 1.0));
        let v = leaf(&mut g, "v", &[columns, hidden], (-1.0, 1.0));
        let c = leaf(&mut g, "c", &[columns], (-1.0, 1.0));
        let y = leaf(&mut g, "y", &[batch, columns], (0.0, 1.0));
        let z = g.linear(x, w, Some(b)).unwrap();
        let h = g.relu(z).unwrap();
        let o = g.linear(h, v, Some(c)).unwrap();
        let p = g.sigmoid(o).unwrap();
        let l = g.bce(p, y).unwrap();
        let loss = g.mean_all(l).unwrap();
        let mut outputs = vec![loss];
        outputs.extend(gradient(&mut g, loss, &[w, b, v, c]).unwrap());
        // The kernels for this device, and those for any.
        for target in [gpu().target(), &Target::default()] {
            agree(&g, &outputs, &feeds, target);
            let plan = Plan::with_options(&g, &outputs, target, &without_rows()).unwrap();
            let ends = |what: &str| plan.kernels.iter().any(|k| k.label.ends_with(what));
            assert!(ends("+add+relu"), "{plan}");
            // From one column back is an outer product, which is elementwise.
            let outer = |k: &KernelSource| k.label.starts_with("mul+relu_backward.");
            match columns {
                1 => assert!(plan.kernels.iter().any(outer), "{plan}"),
                _ => assert!(ends("+relu_backward"), "{plan}"),
            }
        }
    }
}

/// A row program that reads its batch as images has the bits of one that reads
/// it from buffers, with a last quad that is full and one that is not.
#[test]
fn rows_from_images() {
    let images = gpu().target();
    if images.image_side.is_none() {
        println!("{}: no images, nothing to compare", gpu().adapter().name);
        return;
    }
    let buffers = Target {
        image_side: None,
        ..images.clone()
    };
    for (batch, width) in [(1, 2), (64, 3), (67, 3), (4099, 2)] {
        let mut random = Random::new(batch as u64);
        let mut g = Graph::new();
        let mut feeds = Feeds::new();
        let mut leaf = |g: &mut Graph, label: &str, dims: &[usize]| {
            feeds.insert(label.to_string(), random.tensor(dims, (0.0, 1.0)));
            g.parameter(label, dims).unwrap()
        };
        let x = leaf(&mut g, "x", &[batch, width]);
        let w = leaf(&mut g, "w", &[2, width]);
        let y = leaf(&mut g, "y", &[batch, 2]);
        let z = g.linear(x, w, None).unwrap();
        let p = g.sigmoid(z).unwrap();
        let l = g.bce(p, y).unwrap();
        let loss = g.mean_all(l).unwrap();
        let mut outputs = vec![loss, p];
        outputs.extend(gradient(&mut g, loss, &[w, x]).unwrap());
        let run = |target: &Target, images: usize| {
            let plan = Plan::with_target(&g, &outputs, target).unwrap();
            assert_eq!(plan.kernels[0].images.len(), images, "{plan}");
            let mut program = pollster::block_on(gpu().compile_plan(plan)).unwrap();
            program.set_all(&feeds).unwrap();
            let values = program.run().unwrap();
            let get = |&id: &NodeId| bits(values.get(id).unwrap());
            outputs.iter().map(get).collect::<Vec<_>>()
        };
        assert_eq!(run(&buffers, 0), run(images, 2), "batch {batch}");
    }
}

/// Small networks of many kinds have a row program, by every form of its kernel, and its
/// loss and gradients are within their bounds: with four rows side by side and one by
/// one, with rows that are no multiple of four, with targets that are classes (one
/// logarithm) and that lie between (two).
#[test]
fn row_programs_of_wide_and_deep_networks() {
    let own = gpu().target();
    let hardware = Target::default();
    let buffers = Target {
        image_side: None,
        ..own.clone()
    };
    let mut random = Random::new(91);
    // Sums, whether GPUs take them in one kernel too, and then four rows side by side.
    for (text, sums, everywhere, four) in [
        (
            "Linear(4, 2), ReLU(), Linear(2, 1), Sigmoid()",
            14,
            true,
            true,
        ),
        (
            "Linear(4, 4), Sigmoid(), Linear(4, 1), Sigmoid()",
            26,
            true,
            true,
        ),
        (
            "Linear(8, 8), ReLU(), Linear(8, 1), Sigmoid()",
            82,
            true,
            false,
        ),
        (
            "Linear(8, 16), ReLU(), Linear(16, 1), Sigmoid()",
            162,
            false,
            false,
        ),
        (
            "Linear(3, 4), Sigmoid(), Linear(4, 4), Sigmoid(), Linear(4, 2), Sigmoid()",
            47,
            true,
            false,
        ),
    ] {
        let network = Network::parse(&format!("Sequential({text})")).unwrap();
        let takes = network.in_features().unwrap();
        let gives = network.out_features().unwrap();
        for (batch, between) in [(64, false), (131, true)] {
            let work = Work {
                network: network.clone(),
                loss: Loss::parse("BCELoss").unwrap(),
                batch,
                replicas: 1,
            };
            let (g, wanted) = work.graph().unwrap();
            let count: usize = wanted.iter().map(|&id| g.shape(id).unwrap().numel()).sum();
            assert_eq!(count, sums, "{text}");
            let mut feeds: Feeds = network.init(7).unwrap().into_iter().collect();
            feeds.insert("input".into(), random.tensor(&[batch, takes], (-2.0, 2.0)));
            let mut targets = random.tensor(&[batch, gives], (0.0, 1.0));
            if !between {
                targets.data_mut().iter_mut().for_each(|y| *y = y.round());
            }
            feeds.insert("target".into(), targets);
            let reference = cpu::evaluate(&g, &feeds, &wanted).unwrap();
            for target in [own, &buffers, &hardware] {
                let plan = Plan::with_target(&g, &wanted, target).unwrap();
                let whole = plan.steps.len() == 1 && plan.kernels[0].label.starts_with("rows[");
                assert_eq!(whole, everywhere || target.software, "{text}: {plan}");
                if !target.software && whole {
                    let found = plan.kernels[0].source.contains("fn four_rows(");
                    assert_eq!(found, four, "{text}: {plan}");
                }
                let mut program = pollster::block_on(gpu().compile_plan(plan)).unwrap();
                program.set_all(&feeds).unwrap();
                let outputs = program.run().unwrap();
                for &id in &wanted {
                    let c = compare("", outputs.get(id).unwrap(), reference.get(id).unwrap());
                    let c = c.unwrap();
                    assert!(c.passed(), "{text}, {batch} rows: {c:#?}");
                }
            }
        }
    }
}

/// A GPU's row programs ask first whether four numbers are ordinary, and then leave out
/// what others need. Floats of all kinds as logits and as probabilities, next to
/// neighbours (four ordinary ones) and to strangers, of classes and targets between.
#[test]
fn shortcuts_change_no_value() {
    const ROWS: usize = 1 << 20;
    let float = |i: usize| f32::from_bits((i as u32).wrapping_mul(4099));
    let logits: Vec<f32> = (0..ROWS)
        .map(|i| match i % 32 {
            // In three eighths of the quads all are ordinary, or all but next to the limit.
            0..12 => (i / 32) as f32 * (180.0 / 32768.0) - 90.0 + (i % 4) as f32 * 0.1,
            _ => float(i * 0x1234 + i / 64),
        })
        .collect();
    let probabilities: Vec<f32> = (0..ROWS)
        .map(|i| match i % 32 {
            0..12 => (i as f32 + 0.5) / ROWS as f32,
            // Below 1 and next to it, and next to 0: where logarithms have their cases.
            12..16 => f32::from_bits(0x3f80_0000 - (i / 32 % 64) as u32),
            16..20 => f32::from_bits(0x3300_0000 - 4 + (i / 32 % 8) as u32),
            20..24 => f32::from_bits(0x0080_0000 - 4 + (i / 32 % 8) as u32),
            _ => float(i * 0x4321 + i / 64).abs(),
        })
        .collect();
    let targets: Vec<f32> = (0..ROWS)
        .map(|i| match i / 4 % 16 {
            7 => 0.25,
            _ => (i % 3 % 2) as f32,
        })
        .collect();
    let mut g = Graph::new();
    let mut feeds = Feeds::new();
    let mut leaf = |label: &str, values: Vec<f32>| {
        feeds.insert(label.into(), Tensor::new(&[ROWS, 1], values).unwrap());
        g.input(label, &[ROWS, 1]).unwrap()
    };
    let x = leaf("x", logits);
    let q = leaf("q", probabilities);
    let y = leaf("y", targets);
    let p = g.sigmoid(x).unwrap();
    let of_p = g.bce(p, y).unwrap();
    let of_q = g.bce(q, y).unwrap();
    let of_x = g.bce_with_logits(x, y).unwrap();
    let smooth = g.softplus(x).unwrap();
    let whole = g.add(of_p, of_q).unwrap();
    let whole = g.add(whole, of_x).unwrap();
    let loss = g.mean_all(whole).unwrap();
    let of_x_alone = g.mean_all(of_x).unwrap();
    let dx = gradient(&mut g, of_x_alone, &[x]).unwrap()[0];
    let outputs = [p, of_p, of_q, of_x, smooth, dx, loss];
    let by_row = &outputs[..6];

    let target = Target::default();
    let plan = Plan::with_target(&g, &outputs, &target).unwrap();
    for part in ["const SHORTCUTS: bool = true;", "fn four_rows("] {
        let has = |k: &KernelSource| k.source.contains(part);
        assert!(plan.kernels.iter().any(has), "{part} {plan}");
    }
    let separate = PlanOptions {
        fuse: false,
        ..without_rows()
    };
    let alone = Plan::with_options(&g, &outputs, &target, &separate).unwrap();
    let run = |plan: Plan| {
        let mut program = pollster::block_on(gpu().compile_plan(plan)).unwrap();
        program.set_all(&feeds).unwrap();
        let values = program.run().unwrap();
        let get = |&id: &NodeId| values.get(id).unwrap().clone();
        outputs.iter().map(get).collect::<Vec<_>>()
    };
    let (rows, alone) = (run(plan), run(alone));
    let reference = cpu::evaluate(&g, &feeds, by_row).unwrap();
    for (i, &id) in by_row.iter().enumerate() {
        let label = &g.node(id).unwrap().label;
        let values = [&rows[i], &alone[i]];
        for value in values {
            let c = compare(label, value, reference.get(id).unwrap()).unwrap();
            assert!(c.passed(), "{c:#?}");
        }
        // Observed on lavapipe, as in `agree`. (Any NaN is as good as another.)
        if gpu().adapter().name.contains("llvmpipe") {
            let [a, b] = values.map(Tensor::data);
            let differ = |i: &usize| a[*i].to_bits() != b[*i].to_bits();
            let wrong = (0..ROWS)
                .filter(differ)
                .find(|&i| !(a[i].is_nan() && b[i].is_nan()));
            assert_eq!(wrong.map(|i| (i, a[i], b[i])), None, "{label}");
        }
    }
}

/// An invocation on a GPU takes one quad, some, or none, in one workgroup or many, with a
/// last quad that is full and one that is not. All numbers are small integers, so sums are
/// exact, and a row that is left out or taken twice shows.
#[test]
fn row_programs_of_gpus_take_every_row_once() {
    let network = "Sequential(Linear(4, 2, bias=False), ReLU(), Linear(2, 1, bias=False))";
    let network = Network::parse(network).unwrap();
    let mut random = Random::new(17);
    // Whether there is a loop, and whether the workgroups are several.
    for (batch, loops, several) in [
        (1, false, false),
        (512, false, false),
        (515, true, false),
        (2048, true, false),
        (2052, false, true),
        (66_001, false, true),
        (262_144, false, true),
        (262_148, true, true),
        (600_003, true, true),
    ] {
        let work = Work {
            network: network.clone(),
            loss: Loss::parse("MSELoss(reduction='sum')").unwrap(),
            batch,
            replicas: 1,
        };
        let (g, wanted) = work.graph().unwrap();
        let x: Vec<f32> = (0..4 * batch).map(|_| (random.bits() % 2) as f32).collect();
        let one_off = |row: &[f32]| {
            let off = f32::from(u8::from(random.bits().is_multiple_of(4)));
            row.iter().sum::<f32>() + off
        };
        let y: Vec<f32> = x.chunks(4).map(one_off).collect();
        let first = vec![1.0, 0.0, 1.0, 0.0, 0.0, 1.0, 0.0, 1.0];
        let feeds = Feeds::from([
            ("input".into(), Tensor::new(&[batch, 4], x).unwrap()),
            ("target".into(), Tensor::new(&[batch, 1], y).unwrap()),
            ("0.weight".into(), Tensor::new(&[2, 4], first).unwrap()),
            (
                "2.weight".into(),
                Tensor::new(&[1, 2], vec![1.0, 1.0]).unwrap(),
            ),
        ]);
        let plan = Plan::with_target(&g, &wanted, &Target::default()).unwrap();
        let text = &plan.kernels[0].source;
        assert_eq!(text.contains("quad += LANES;"), loops, "{batch}: {text}");
        assert_eq!(plan.steps.len() > 1, several, "{batch}: {plan}");
        let mut program = pollster::block_on(gpu().compile_plan(plan)).unwrap();
        program.set_all(&feeds).unwrap();
        let outputs = program.run().unwrap();
        let reference = cpu::evaluate(&g, &feeds, &wanted).unwrap();
        for &id in &wanted {
            let exact = reference.rounded(id).unwrap();
            assert_eq!(outputs.get(id).unwrap(), &exact, "{batch} rows");
        }
        assert!(batch < 64 || outputs.get(wanted[0]).unwrap().data()[0] > 0.0);
    }
}
