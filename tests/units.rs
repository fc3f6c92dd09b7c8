//! The kernel for matrix units on an adapter that has none: its text, with what units
//! do written out. All but the units themselves is then run and checked: how slices are
//! read and rounded, where they lie, what is masked, how results are stored.

mod common;

use common::{Random, gpu};
use wgrad::check::compare;
use wgrad::graph::{Precision, Target};
use wgrad::ops::matmul::{Problem, candidates};
use wgrad::plan::Plan;
use wgrad::run::cpu;
use wgrad::{Feeds, Graph};

/// A unit in WGSL. A block of 16 by 16 lies in workgroup memory from a vector on, by
/// rows or by columns, with so many vectors from line to line; of a block of C an
/// invocation holds eight neighbours.
const UNIT: &str = "
struct Block {
    by_rows: bool,
    start: u32,
    line: u32,
}

fn packed(v: vec4<f32>) -> vec2<u32> {
    return vec2<u32>(pack2x16float(v.xy), pack2x16float(v.zw));
}

fn place(block: Block, row: u32, column: u32) -> u32 {
    let major = select(column, row, block.by_rows);
    let minor = select(row, column, block.by_rows);
    return 4u * (block.start + block.line * major) + minor;
}

fn element(four: vec2<u32>, i: u32) -> f32 {
    let two = unpack2x16float(four[i / 2u]);
    return two[i % 2u];
}

fn add_product(a: Block, b: Block, sum: array<f32, 8>, within: u32) -> array<f32, 8> {
    var result = sum;
    for (var i = 0u; i < 8u; i += 1u) {
        let row = (8u * within + i) / 16u;
        let column = (8u * within + i) % 16u;
        for (var k = 0u; k < 16u; k += 1u) {
            let at_a = place(a, row, k);
            let at_b = place(b, k, column);
            let left = element(slice_a[at_a / 4u], at_a % 4u);
            result[i] += left * element(slice_b[at_b / 4u], at_b % 4u);
        }
    }
    return result;
}

fn both(a: array<f32, 8>, b: array<f32, 8>) -> array<f32, 8> {
    var result = a;
    for (var i = 0u; i < 8u; i += 1u) {
        result[i] += b[i];
    }
    return result;
}

fn put(block: array<f32, 8>, start: u32, within: u32) {
    var own = block;
    for (var i = 0u; i < 8u; i += 1u) {
        finished[start + 8u * within + i] = own[i];
    }
}
";

/// The kernel's text with that in place of units.
fn written_out(source: &str) -> String {
    let mut text = String::new();
    for line in source.lines() {
        let words: Vec<&str> = line.split_whitespace().collect();
        match words[..] {
            ["enable", _] => {}
            ["@builtin(subgroup_id)", ..] | ["@builtin(subgroup_invocation_id)", ..] => {}
            // Blocks of C are added as any numbers.
            [total, "=", same, "+", sum] if total == same && total.starts_with("total_") => {
                let sum = sum.trim_end_matches(';');
                text.push_str(&format!("{total} = both({total}, {sum});\n"));
            }
            _ => {
                text.push_str(line);
                text.push('\n');
            }
        }
    }
    let own = "    let j = job(workgroup_index(wid, count), ROWS, COLUMNS);\n";
    let with = format!("{own}let subgroup = lane / 32u;\nlet within = lane % 32u;\n");
    let mut changes = vec![
        (own.to_string(), with),
        ("mat4x4<f16>".to_string(), "array<vec2<u32>, 4>".to_string()),
        ("vec4<f16>(".to_string(), "packed(".to_string()),
        ("vec4<f16>".to_string(), "vec2<u32>".to_string()),
        (
            "coop_mat16x16<f32, C>()".to_string(),
            "array<f32, 8>()".to_string(),
        ),
        ("coopMultiplyAdd(".to_string(), "add_product(".to_string()),
        ("coopStoreT(".to_string(), "put(".to_string()),
        (
            ", &finished[own], 16u)".to_string(),
            ", own, within)".to_string(),
        ),
    ];
    for (role, slice) in [("A", "slice_a"), ("B", "slice_b")] {
        for (load, by_rows) in [("coopLoadT", true), ("coopLoad", false)] {
            let load = format!("{load}<coop_mat16x16<f16, {role}>>(");
            changes.push((load, format!("Block({by_rows},")));
        }
        changes.push((format!("&{slice}["), "(".to_string()));
        let line = format!("{role}_LINE,\n");
        let end = format!("],\n                    {line}");
        changes.push((end, format!("),\n{line}")));
    }
    for (from, to) in changes {
        text = text.replace(&from, &to);
    }
    // The last operand of a product is who computes.
    let lines = text
        .lines()
        .map(|line| match line.contains("add_product(") {
            true => line.replace(");", ", within);"),
            false => line.to_string(),
        });
    let text: Vec<String> = lines.collect();
    let text = text.join("\n");
    for rest in [
        "coop_mat",
        "coopLoad<",
        "coopLoadT<",
        "coopMul",
        "coopStore",
        "f16>",
    ] {
        assert!(!text.contains(rest), "{rest}: {text}");
    }
    [&text, UNIT].concat()
}

/// Runs a product with these tiles of the kernel, alone or with a bias and a ReLU
/// after it, and says which gave right values. The larger tiles are the same lines more
/// often, and take a driver in software a minute.
fn run(
    [m, n, k]: [usize; 3],
    batch: &[usize],
    [transpose_a, transpose_b]: [bool; 2],
    (tiles, followed): (&[&str], bool),
    random: &mut Random,
    tamper: Option<[&str; 2]>,
) -> Vec<bool> {
    let target = Target {
        software: false,
        subgroup_size: Some(32),
        matrix_units: true,
        ..gpu().target().clone()
    };
    let problem = Problem {
        m,
        n,
        k,
        transpose_a,
        transpose_b,
        precision: Precision::F16Units,
    };
    let a = [batch, &if transpose_a { [k, m] } else { [m, k] }].concat();
    let b = if transpose_b { [n, k] } else { [k, n] };
    let mut g = Graph::with_precision(Precision::F16Units);
    let x = g.input("a", &a).unwrap();
    let y = g.input("b", &b).unwrap();
    let mut c = g.matmul_with(x, y, transpose_a, transpose_b).unwrap();
    let mut feeds = Feeds::from([
        ("a".to_string(), random.tensor(&a, (-1.0, 1.0))),
        ("b".to_string(), random.tensor(&b, (-1.0, 1.0))),
    ]);
    if followed {
        let bias = g.input("bias", &[n]).unwrap();
        feeds.insert("bias".to_string(), random.tensor(&[n], (-1.0, 1.0)));
        c = g.add(c, bias).unwrap();
        c = g.relu(c).unwrap();
    }
    let reference = cpu::evaluate(&g, &feeds, &[c]).unwrap();
    let one = |tile: &&str| {
        let name = format!("matmul_cooperative {tile}");
        let mut target = target.clone();
        target.choices = [("matmul".to_string(), name.clone())].into();
        let all = candidates(&problem, &target);
        assert!(
            all.iter().any(|c| c.to_string() == name),
            "{name} is not offered"
        );
        let mut plan = Plan::with_target(&g, &[c], &target).unwrap();
        let kernel = &mut plan.kernels[0];
        assert_eq!(kernel.label.contains("+add+relu"), followed);
        kernel.source = written_out(&kernel.source);
        if let Some([line, wrong]) = tamper {
            assert!(kernel.source.contains(line), "{line}");
            kernel.source = kernel.source.replace(line, wrong);
        }
        let mut program = pollster::block_on(gpu().compile_plan(plan)).unwrap();
        program.set_all(&feeds).unwrap();
        let got = program.run().unwrap().get(c).unwrap().clone();
        let compared = compare("c", &got, reference.get(c).unwrap()).unwrap();
        let right = compared.passed();
        assert!(right || tamper.is_some(), "{name} {problem}: {compared:#?}");
        right
    };
    tiles.iter().map(one).collect()
}

const TURNS: [[bool; 2]; 4] = [[false, false], [false, true], [true, false], [true, true]];

const BOTH: [&str; 2] = ["64x64x32", "64x64x64"];

#[test]
fn all_but_the_units_is_right_at_the_edges_of_tiles() {
    let mut random = Random::new(71);
    for turn in TURNS {
        run([65, 63, 67], &[], turn, (&BOTH, false), &mut random, None);
        run([64, 132, 128], &[], turn, (&BOTH, true), &mut random, None);
    }
    run([8, 8, 8], &[], TURNS[0], (&BOTH, false), &mut random, None);
    run(
        [33, 36, 24],
        &[2, 3],
        TURNS[1],
        (&BOTH, false),
        &mut random,
        None,
    );
    // Parts of the inner axis, whose sums are added later.
    run(
        [33, 20, 1100],
        &[],
        TURNS[0],
        (&BOTH, false),
        &mut random,
        None,
    );
}

/// What the test above is for.
#[test]
fn planted_faults_around_the_units_are_caught() {
    let mut random = Random::new(72);
    for fault in [
        ["+ 1u * A_LINE] = block[1]", "+ 1u * A_LINE] = block[2]"],
        ["(subgroup / SUBGROUPS_N);", "(subgroup % SUBGROUPS_N);"],
        ["store4(j, row + i / 4u,", "store4(j, row + i / 8u,"],
        [
            "let end = min(j.k_end, begin + BLOCK);",
            "let end = begin + DEPTH;",
        ],
        // The slice that is there already in place of the next.
        ["k0 + DEPTH);", "k0);"],
    ] {
        let tile = (&BOTH[..1], false);
        let found = run([65, 67, 150], &[], TURNS[0], tile, &mut random, Some(fault));
        assert_eq!(found, [false], "{fault:?}");
    }
}
