//! Products of matrices in float16: every kernel against the definition, and the
//! kernels for matrix units as far as they can be checked without such units.

mod common;

use common::{Random, gpu};
use half::f16;
use wgrad::check::{Comparison, compare};
use wgrad::graph::{Precision, Target};
use wgrad::ops::matmul::{Candidate, Problem, candidates};
use wgrad::plan::{KernelSource, Plan, PlanOptions, Prologues};
use wgrad::run::cpu;
use wgrad::{Feeds, Graph, NodeId, Tensor};

/// A GPU with matrix units, as far as a plan is concerned.
fn with_units() -> Target {
    Target {
        subgroup_size: Some(32),
        workgroup_bytes: 48 << 10,
        matrix_units: true,
        ..Target::default()
    }
}

/// The kernels of a product alone, or with a bias on either operand, a bias and a ReLU
/// behind, all in its kernel.
fn kernels(problem: &Problem, followed: bool, target: &Target) -> Vec<KernelSource> {
    let &Problem { m, n, k, .. } = problem;
    let (ta, tb) = (problem.transpose_a, problem.transpose_b);
    let mut g = Graph::with_precision(problem.precision);
    let mut operands = [("a", ta, [m, k]), ("b", tb, [k, n])].map(|(label, turned, [x, y])| {
        let dims = if turned { [y, x] } else { [x, y] };
        (g.input(label, &dims).unwrap(), dims[1])
    });
    if followed {
        for (operand, columns) in &mut operands {
            let row = g.input(&format!("row of {operand}"), &[*columns]).unwrap();
            *operand = g.add(*operand, row).unwrap();
        }
    }
    let [(a, _), (b, _)] = operands;
    let mut c = g.matmul_with(a, b, ta, tb).unwrap();
    if followed {
        let bias = g.input("bias", &[n]).unwrap();
        c = g.add(c, bias).unwrap();
        c = g.relu(c).unwrap();
    }
    let options = PlanOptions {
        prologues: Prologues::All,
        ..PlanOptions::default()
    };
    let plan = Plan::with_options(&g, &[c], target, &options).unwrap();
    plan.kernels
}

/// Parses and validates a kernel as wgpu does, and writes SPIR-V.
fn spirv(kernel: &KernelSource) -> Vec<u32> {
    use naga::valid::{Capabilities, ValidationFlags, Validator};
    let module = naga::front::wgsl::parse_str(&kernel.source)
        .unwrap_or_else(|e| panic!("{}", e.emit_to_string(&kernel.source)));
    let needed =
        Capabilities::SUBGROUP | Capabilities::SHADER_FLOAT16 | Capabilities::COOPERATIVE_MATRIX;
    let info = Validator::new(ValidationFlags::all(), needed)
        .validate(&module)
        .unwrap_or_else(|e| panic!("{}", e.emit_to_string(&kernel.source)));
    let options = naga::back::spv::Options {
        lang_version: (1, 6),
        ..Default::default()
    };
    let entry = naga::back::spv::PipelineOptions {
        shader_stage: naga::ShaderStage::Compute,
        entry_point: kernel.entry.clone(),
    };
    naga::back::spv::write_vec(&module, &info, &options, Some(&entry)).unwrap()
}

#[test]
fn every_kernel_for_matrix_units_is_valid_down_to_spirv() {
    let mut texts = Vec::new();
    for [m, n, k] in [[64, 64, 64], [63, 65, 67], [1024, 1024, 128]] {
        for turn in 0..4 {
            let problem = Problem {
                m,
                n,
                k,
                transpose_a: turn & 1 != 0,
                transpose_b: turn & 2 != 0,
                precision: Precision::F16Units,
            };
            let all = candidates(&problem, &with_units());
            let units = |c: &&Candidate| matches!(c, Candidate::Cooperative { .. });
            assert_eq!(all.iter().filter(units).count(), 4, "{problem}");
            for candidate in all.iter().filter(units) {
                for followed in [false, true] {
                    let mut target = with_units();
                    target.choices = [("matmul".to_string(), candidate.to_string())].into();
                    let kernel = kernels(&problem, followed, &target).remove(0);
                    assert_eq!(kernel.entry, "matmul_cooperative");
                    assert_eq!(kernel.label.contains("+add+relu"), followed && k <= 256);
                    let before = kernel.label.starts_with("add(a)+add(b)+");
                    assert_eq!(before, followed, "{}", kernel.label);
                    let words = spirv(&kernel);
                    assert!(!words.is_empty());
                    if !texts.contains(&kernel.source) {
                        texts.push(kernel.source);
                    }
                }
            }
        }
    }
    // Whole fours or not, turned or not, four tiles, followed or not.
    assert_eq!(texts.len(), 64);
}

/// The device's own target, and the other that it can run kernels of.
fn targets() -> [Target; 2] {
    let own = gpu().target().clone();
    [false, true].map(|software| Target {
        software,
        ..own.clone()
    })
}

/// Tiles that only repeat lines of smaller ones, and take long to compile here.
const LARGE: [&str; 4] = ["64x32", "32x64", "128x64 by 8x8", "128x128 by 8x8"];

/// A product of two leaves in float16.
struct Product {
    problem: Problem,
    graph: Graph,
    output: NodeId,
    dims: [[usize; 2]; 2],
}

impl Product {
    fn new([m, n, k]: [usize; 3], [transpose_a, transpose_b]: [bool; 2]) -> Product {
        let problem = Problem {
            m,
            n,
            k,
            transpose_a,
            transpose_b,
            precision: Precision::F16,
        };
        let dims = [
            if transpose_a { [k, m] } else { [m, k] },
            if transpose_b { [n, k] } else { [k, n] },
        ];
        let mut graph = Graph::with_precision(Precision::F16);
        let a = graph.input("a", &dims[0]).unwrap();
        let b = graph.input("b", &dims[1]).unwrap();
        let output = graph.matmul_with(a, b, transpose_a, transpose_b).unwrap();
        Product {
            problem,
            graph,
            output,
            dims,
        }
    }

    /// What each kernel makes of these operands.
    fn each(&self, feeds: &Feeds, mut then: impl FnMut(&Candidate, Tensor)) {
        for mut target in targets() {
            for candidate in candidates(&self.problem, &target) {
                let name = candidate.to_string();
                if LARGE.iter().any(|tile| name.ends_with(tile)) {
                    continue;
                }
                target.choices = [("matmul".to_string(), name)].into();
                let plan = Plan::with_target(&self.graph, &[self.output], &target).unwrap();
                assert_eq!(plan.kernels[0].label, candidate.entry());
                then(&candidate, self.run(plan, feeds));
            }
        }
    }

    fn run(&self, plan: Plan, feeds: &Feeds) -> Tensor {
        let mut program = pollster::block_on(gpu().compile_plan(plan)).unwrap();
        program.set_all(feeds).unwrap();
        program.run().unwrap().get(self.output).unwrap().clone()
    }

    fn compare(&self, feeds: &Feeds, got: &Tensor) -> Comparison {
        let reference = cpu::evaluate(&self.graph, feeds, &[self.output]).unwrap();
        compare("c", got, reference.get(self.output).unwrap()).unwrap()
    }
}

fn feeds(a: Tensor, b: Tensor) -> Feeds {
    [("a".to_string(), a), ("b".to_string(), b)].into()
}

/// Values of all sizes that float16 has, ties and subnormal ones among them.
fn mixed(random: &mut Random, dims: &[usize]) -> Tensor {
    let scales = random.tensor(dims, (-27.0, 9.0));
    let mut values = random.tensor(dims, (-1.0, 1.0));
    for (value, scale) in values.data_mut().iter_mut().zip(scales.data()) {
        let power = 2f32.powi(*scale as i32);
        *value = match (*scale * 8.0) as i32 % 4 {
            // Of 12 bits: often a tie.
            0 => (*value * 4096.0).round() / 2048.0 * power,
            _ => *value * power,
        };
    }
    values
}

#[test]
fn every_kernel_in_float16_is_within_the_bounds_of_the_definition() {
    let mut random = Random::new(61);
    let mut seen = Vec::new();
    for sizes in [
        [3, 70, 5],
        [31, 32, 33],
        [65, 63, 66],
        [36, 64, 64],
        [5, 6, 300],
        [20, 24, 0],
        [40, 1, 132],
        [36, 40, 1],
        [33, 70, 3],
        [40, 516, 36],
    ] {
        for turn in [[false, false], [false, true], [true, false], [true, true]] {
            let product = Product::new(sizes, turn);
            let [a, b] = product.dims.map(|dims| mixed(&mut random, &dims));
            let feeds = feeds(a, b);
            product.each(&feeds, |candidate, got| {
                let found = product.compare(&feeds, &got);
                assert!(
                    found.passed(),
                    "{candidate} {}: {found:#?}",
                    product.problem
                );
                assert_eq!(found.unbounded, 0);
                if !seen.contains(&candidate.entry()) {
                    seen.push(candidate.entry());
                }
            });
        }
    }
    seen.sort_unstable();
    let all = ["matmul_16", "matmul_rows", "matmul_tall", "matmul_tiled"];
    assert!(all.iter().all(|name| seen.contains(name)), "{seen:?}");
    if matches!(gpu().target().subgroup_size, Some(4 | 8)) {
        let more = ["matmul_outer", "matmul_subgroup", "matmul_vector"];
        assert!(more.iter().all(|name| seen.contains(name)), "{seen:?}");
    } else {
        eprintln!("skipped matmul_subgroup: no subgroups of 4 or 8 on this adapter");
    }
}

/// Midpoints of neighbouring float16 numbers and the float32 numbers beside them, of
/// both signs, but for those that are infinite.
fn midpoints() -> Vec<f32> {
    let mut all = Vec::new();
    for bits in 0..0x7bffu16 {
        let ends = [bits, bits + 1].map(|b| f16::from_bits(b).to_f32());
        let middle = f32::midpoint(ends[0], ends[1]);
        all.extend([middle, middle.next_down(), middle.next_up(), ends[1]]);
        all.extend([-middle, -middle.next_down(), -middle.next_up()]);
    }
    all
}

/// A product with the identity is the other operand, rounded, to the last bit.
#[test]
fn kernels_round_every_midpoint_as_half_does() {
    let mut values = midpoints();
    const WIDE: usize = 64;
    let rows = values.len().div_ceil(WIDE);
    values.resize(rows * WIDE, 1.0);
    let want: Vec<u32> = (values.iter())
        .map(|&v| f16::from_f32(v).to_f32() + 0.0)
        .map(f32::to_bits)
        .collect();
    let mut unit = vec![0.0; WIDE * WIDE];
    for i in 0..WIDE {
        unit[i * WIDE + i] = 1.0;
    }
    let all = Tensor::new(&[rows, WIDE], values.clone()).unwrap();
    let unit = Tensor::new(&[WIDE, WIDE], unit).unwrap();
    let check = |candidate: &Candidate, got: Tensor, want: &[u32]| {
        let pairs = got.data().iter().zip(want);
        // The sum of a -0 and others is +0.
        let odd = (0..want.len())
            .zip(pairs)
            .find(|(_, (got, want))| (*got + 0.0).to_bits() != **want);
        assert!(
            odd.is_none(),
            "{candidate}: {odd:?} {}",
            values[odd.unwrap().0]
        );
    };
    let left = Product::new([rows, WIDE, WIDE], [false, false]);
    left.each(&feeds(all.clone(), unit.clone()), |candidate, got| {
        check(candidate, got, &want);
    });
    // As the right operand, transposed: C is transposed, too.
    let right = Product::new([WIDE, rows, WIDE], [false, true]);
    let turned: Vec<u32> = (0..WIDE)
        .flat_map(|i| (0..rows).map(move |r| r * WIDE + i))
        .map(|at| want[at])
        .collect();
    right.each(&feeds(unit, all), |candidate, got| {
        check(candidate, got, &turned);
    });
}

#[test]
fn overflow_and_what_is_not_finite_are_as_in_ieee() {
    let product = Product::new([1, 8, 1], [false, false]);
    let b = [
        65_519.0,
        65_520.0,
        -65_520.0,
        1e30,
        f32::INFINITY,
        f32::NAN,
        6e-8,
        2e-8,
    ];
    let b = Tensor::new(&[1, 8], b.to_vec()).unwrap();
    let feeds = feeds(Tensor::full(&wgrad::Shape::new(&[1, 1]).unwrap(), 1.0), b);
    let inf = f32::INFINITY;
    product.each(&feeds, |candidate, got| {
        let got = got.data();
        assert_eq!(got[..5], [65_504.0, inf, -inf, inf, inf], "{candidate}");
        assert!(got[5].is_nan(), "{candidate}");
        assert_eq!(got[6..], [2f32.powi(-24), 0.0], "{candidate}");
    });
}

/// A kernel with one line changed must be found wrong.
#[test]
fn planted_faults_of_rounding_are_caught() {
    let mut random = Random::new(62);
    let product = Product::new([40, 48, 64], [false, true]);
    let [a, b] = product.dims.map(|dims| random.tensor(&dims, (-1.0, 1.0)));
    let feeds = feeds(a, b);
    let plan = Plan::with_target(&product.graph, &[product.output], gpu().target()).unwrap();
    let result = "return bitcast<vec4<f32>>(result | (bits & vec4<u32>(0x80000000u)));";
    for (what, line, wrong) in [
        ("as it is", result, result),
        ("no rounding", result, "return v;"),
        (
            "one operand alone",
            "return to_half4(prologue_b4(stored, at));",
            "return prologue_b4(stored, at);",
        ),
        (
            "truncation",
            "let near = bitcast<vec4<u32>>(sum - far);",
            "let near = size & vec4<u32>(0xffffe000u);",
        ),
        ("one bit too few", "(13u << 23u)", "(14u << 23u)"),
    ] {
        let mut tampered = plan.clone();
        let source = &mut tampered.kernels[0].source;
        assert!(source.contains(line), "{what}");
        *source = source.replace(line, wrong);
        let found = product.compare(&feeds, &product.run(tampered, &feeds));
        assert_eq!(found.passed(), what == "as it is", "{what}: {found:?}");
    }
}

#[test]
fn gradients_have_the_precision_of_their_network() {
    use wgrad::nn::{Loss, Network};
    let network = Network::parse("Sequential(Linear(9, 7), ReLU(), Linear(7, 3))").unwrap();
    let mut g = Graph::new();
    let x = g.input("x", &[5, 9]).unwrap();
    let y = g.input("y", &[5, 3]).unwrap();
    let built = network
        .with_precision(Precision::F16)
        .build(&mut g, x)
        .unwrap();
    let loss = Loss::parse("MSELoss").unwrap();
    let loss = loss.build(&mut g, built.output, y).unwrap();
    // What is added outside of the network is in the graph's own precision.
    let own = g.matmul_with(x, x, true, false).unwrap();
    let wrt: Vec<NodeId> = built.parameters.iter().map(|p| p.1).chain([x]).collect();
    let grads = wgrad::gradient(&mut g, loss, &wrt).unwrap();
    let ops = g.nodes().filter_map(|(id, n)| Some((id, n.op()?)));
    let products: Vec<_> = ops.filter(|(_, op)| op.name() == "matmul").collect();
    assert_eq!(products.len(), 7);
    for (id, op) in products {
        assert_eq!(op.to_string().contains("f16"), id != own, "{op}");
    }
    // Row programs and workgroup programs leave them alone.
    let plan = Plan::with_target(&g, &grads, gpu().target()).unwrap();
    let mut seen = 0;
    for step in &plan.steps {
        let products = step.nodes.iter().filter(|&&id| {
            let op = g.node(id).unwrap().op();
            op.is_some_and(|op| op.name() == "matmul")
        });
        let count = products.count();
        let kernel = &plan.kernels[step.kernel].entry;
        assert!(count == 0 || kernel.starts_with("matmul_"), "{kernel}");
        seen += count;
    }
    assert_eq!(seen, 6, "{plan}");
}

#[test]
fn products_in_float32_know_nothing_of_it() {
    for turn in 0..4 {
        for [m, n, k] in [[40, 50, 60], [3, 70, 5], [64, 64, 4], [64, 1, 64]] {
            let problem = |precision| Problem {
                m,
                n,
                k,
                transpose_a: turn & 1 != 0,
                transpose_b: turn & 2 != 0,
                precision,
            };
            for target in targets() {
                let exact = kernels(&problem(Precision::F32), false, &target);
                assert!(!exact.iter().any(|kernel| kernel.source.contains("to_half")));
                let half = kernels(&problem(Precision::F16), false, &target);
                assert_eq!(half[0].label, exact[0].label);
                assert!(half[0].source.contains("to_half"));
            }
        }
    }
}

/// Two products that differ in their precision alone are two values.
#[test]
fn equal_products_of_two_precisions_are_not_one() {
    let mut g = Graph::new();
    let a = g.input("a", &[20, 20]).unwrap();
    let exact = g.matmul_in(Precision::F32, [a, a], [false, true]).unwrap();
    let half = g.matmul_in(Precision::F16, [a, a], [false, true]).unwrap();
    let same = g.matmul_in(Precision::F16, [a, a], [false, true]).unwrap();
    let plan = Plan::with_target(&g, &[exact, half, same], gpu().target()).unwrap();
    let at: Vec<_> = plan.outputs.iter().map(|o| o.buffer).collect();
    assert!(at[0] != at[1] && at[1] == at[2], "{plan}");
}

/// What a matrix unit makes of a product, as it was measured on some: products are
/// exact, `group` of them are added to the running sum with each term cut off below
/// 24 bits of the largest, and the result is cut off.
fn by_units(a: &[f64], b: &[f64], group: usize) -> f32 {
    let cut = |v: f64, step: f64| (v / step).trunc() * step;
    let step = |v: f64| 2f64.powi(((v.to_bits() >> 52) & 0x7ff) as i32 - 1023 - 23);
    let mut total = 0f32;
    for (a, b) in a.chunks(64).zip(b.chunks(64)) {
        let mut sum = 0f64;
        for (a, b) in a.chunks(group).zip(b.chunks(group)) {
            let products = a.iter().zip(b).map(|(a, b)| a * b);
            let terms: Vec<f64> = products.chain([sum]).collect();
            let largest = terms.iter().map(|t| t.abs()).fold(0.0, f64::max);
            let all = terms.iter().map(|&t| cut(t, step(largest))).sum::<f64>();
            sum = cut(all, step(all));
        }
        total += sum as f32;
    }
    total
}

/// The bound that is promised where units add holds for that model: for terms of one
/// sign, and for terms that are cut off whole, for which the narrower one does not.
#[test]
fn the_bound_of_matrix_units_holds_where_every_term_is_cut_off() {
    const M: usize = 16;
    const N: usize = 16;
    const K: usize = 1024;
    let product = |precision: Precision| {
        let mut g = Graph::with_precision(precision);
        let a = g.input("a", &[M, K]).unwrap();
        let b = g.input("b", &[N, K]).unwrap();
        let c = g.matmul_with(a, b, false, true).unwrap();
        (g, c)
    };
    let of = |precision: Precision, [x, y]: &[Tensor; 2], group: usize| {
        let (g, c) = product(precision);
        let feeds = feeds(x.clone(), y.clone());
        let reference = cpu::evaluate(&g, &feeds, &[c]).unwrap();
        let row = |t: &Tensor, i: usize| -> Vec<f64> {
            let row = &t.data()[i * K..(i + 1) * K];
            let half = row.iter().map(|&v| f16::from_f32(v).to_f32());
            half.map(f64::from).collect()
        };
        let data = (0..M * N).map(|i| by_units(&row(x, i / N), &row(y, i % N), group));
        let got = Tensor::new(&[M, N], data.collect()).unwrap();
        compare("c", &got, reference.get(c).unwrap()).unwrap()
    };
    let mut random = Random::new(63);
    let positive = [M, N].map(|rows| random.tensor(&[rows, K], (0.1, 1.0)));
    // A 1, then products just below the last of its bits, in each block of 64.
    let lost = [(M, 12), (N, 11)].map(|(rows, power)| {
        let value = |i: usize| match i % 64 {
            0 => 1.0,
            _ => (1.0 - 2f32.powi(-9)) * 2f32.powi(-power),
        };
        Tensor::new(&[rows, K], (0..rows * K).map(value).collect()).unwrap()
    });
    for group in [4, 8, 16] {
        let found = of(Precision::F16Units, &positive, group);
        assert!(found.passed(), "{group}: {found:?}");
        let found = of(Precision::F16Units, &lost, group);
        assert!(found.passed(), "{group}: {found:?}");
        assert!(found.max_share > 0.5, "{group}: {found:?}");
        let narrow = of(Precision::F16, &lost, group);
        assert!(!narrow.passed(), "{group}: {narrow:?}");
    }
}
