//! What wgrad says to bad calls: of the library, of each reader, and of the
//! command line. Every call is in one table with the text of its error, in
//! `tests/snapshots/bad_calls__bad_calls.snap`, to be read: a text names the
//! place, the shapes or values, and a fix.

mod common;

use std::collections::BTreeMap;
use std::fmt::{Display, Write};
use std::path::Path;

use assert_cmd::Command;
use common::gpu;
use ndarray::ArrayD;
use wgrad::bench::baseline::Baseline;
use wgrad::check::cases::Folder;
use wgrad::check::{compare, difference, steps};
use wgrad::graph::Target;
use wgrad::io::csv::{self, ColumnRef};
use wgrad::nn::{Loss, Network, Reduction};
use wgrad::plan::{Plan, PlanOptions};
use wgrad::run::cpu;
use wgrad::solution::Problem;
use wgrad::{Feeds, Graph, NodeId, Shape, Tensor, exercise, gradient, io, profile, tune, vjp};

/// Calls and what they say.
#[derive(Default)]
struct Table {
    text: String,
    calls: Vec<String>,
    /// Those that were no errors.
    good: Vec<String>,
}

impl Table {
    fn section(&mut self, title: &str) {
        write!(self.text, "\n== {title}\n").unwrap();
    }

    fn add<T, E: Display>(&mut self, call: &str, result: Result<T, E>) {
        let call = call.split_whitespace().collect::<Vec<_>>().join(" ");
        let Err(error) = result else {
            self.good.push(call);
            return;
        };
        let error = error.to_string();
        write!(self.text, "\n{call}\n").unwrap();
        for line in error.lines() {
            let indent = if line.is_empty() { "" } else { "    " };
            writeln!(self.text, "{indent}{line}").unwrap();
        }
        assert!(!self.calls.contains(&call), "{call} is there twice");
        self.calls.push(call);
    }
}

/// Adds calls, each written as it is made.
macro_rules! bad {
    ($table:ident; $($call:expr;)+) => {
        $( $table.add(stringify!($call), $call); )+
    };
}

#[test]
fn bad_calls() {
    let mut table = Table::default();
    shapes_and_tensors(&mut table);
    labels_and_nodes(&mut table);
    operands_that_do_not_fit(&mut table);
    nodes_of_another_graph(&mut table);
    products_and_layers(&mut table);
    shapes_and_axes(&mut table);
    losses(&mut table);
    gradients(&mut table);
    plans(&mut table);
    references(&mut table);
    programs(&mut table);
    network_texts(&mut table);
    loss_texts(&mut table);
    weights(&mut table);
    data(&mut table);
    arrays(&mut table);
    safetensors_files(&mut table);
    pickles(&mut table);
    tables(&mut table);
    listings(&mut table);
    command_line(&mut table);
    assert_eq!(table.good, [""; 0], "these are no errors");
    let count = table.calls.len();
    assert!(count >= 300, "{count} bad calls");
    insta::assert_snapshot!(table.text);
}

fn shapes_and_tensors(t: &mut Table) {
    t.section("Shapes and tensors");
    let value = |n: usize| vec![0.0; n];
    bad!(t;
        Shape::new(&[1; 9]);
        Shape::new(&[2, 1, 1, 1, 1, 1, 1, 1, 1, 3]);
        Shape::new(&[65_536, 65_536]);
        Shape::new(&[4_294_967_296]);
        Shape::new(&[usize::MAX, 2]);
        Shape::new(&[0, 1 << 20, 1 << 20]);
        Tensor::new(&[2, 3], value(5));
        Tensor::new(&[2, 3], value(7));
        Tensor::new(&[], value(0));
        Tensor::new(&[], value(2));
        Tensor::new(&[0, 3], value(3));
        Tensor::new(&[1; 9], value(1));
        Tensor::new(&[65_536, 65_536], value(0));
    );
}

fn labels_and_nodes(t: &mut Table) {
    t.section("Leaves and labels: `x` is an input, `w` a parameter, `y` is relu of `x`");
    let mut g = Graph::new();
    let x = g.input("x", &[2, 3]).unwrap();
    g.parameter("w", &[3]).unwrap();
    let y = g.relu(x).unwrap();
    let y = g.name(y, "y").unwrap();
    let foreign = Graph::new().input("far", &[2]).unwrap();
    bad!(t;
        g.input("x", &[2]);
        g.input("w", &[2]);
        g.input("y", &[2, 3]);
        g.parameter("x", &[2, 3]);
        g.parameter("w", &[3]);
        g.input("large", &[1 << 16, 1 << 16]);
        g.parameter("large", &[1 << 31, 4]);
        g.input("deep", &[1; 9]);
        g.parameter("deep", &[1; 12]);
        g.name(x, "w");
        g.name(y, "x");
        g.name(foreign, "z");
        g.node(foreign);
        g.shape(foreign);
        g.reachable(&[x, foreign]);
    );
}

/// A graph with leaves of many shapes, each named by its sizes.
struct Leaves {
    g: Graph,
    s: NodeId,
    v2: NodeId,
    v3: NodeId,
    v4: NodeId,
    m23: NodeId,
    m32: NodeId,
    m45: NodeId,
    m43: NodeId,
    b234: NodeId,
    b345: NodeId,
    column: NodeId,
    row: NodeId,
    far: NodeId,
}

const SIZES: &str = "s is a scalar, v3 has shape [3], m23 [2, 3], b234 [2, 3, 4], \
                     column [65536, 1], row [1, 65537]";

fn leaves() -> Leaves {
    let mut g = Graph::new();
    let mut leaf = |label: &str, dims: &[usize]| g.input(label, dims).unwrap();
    Leaves {
        s: leaf("s", &[]),
        v2: leaf("v2", &[2]),
        v3: leaf("v3", &[3]),
        v4: leaf("v4", &[4]),
        m23: leaf("m23", &[2, 3]),
        m32: leaf("m32", &[3, 2]),
        m45: leaf("m45", &[4, 5]),
        m43: leaf("m43", &[4, 3]),
        b234: leaf("b234", &[2, 3, 4]),
        b345: leaf("b345", &[3, 4, 5]),
        column: leaf("column", &[65_536, 1]),
        row: leaf("row", &[1, 65_537]),
        far: Graph::new().input("far", &[2, 3]).unwrap(),
        g,
    }
}

fn operands_that_do_not_fit(t: &mut Table) {
    t.section(&format!("Operands that do not broadcast: {SIZES}"));
    #[rustfmt::skip]
    let Leaves { mut g, v2, v3, v4, m23, m32, m45, b234, b345, column, row, .. } = leaves();
    bad!(t;
        g.add(m23, m32);
        g.add(m23, v2);
        g.add(v4, m23);
        g.add(b234, m23);
        g.add(b234, b345);
        g.add(column, row);
        g.sub(m23, m45);
        g.sub(v2, v3);
        g.sub(b345, v4);
        g.sub(row, column);
        g.mul(m23, m32);
        g.mul(v3, v4);
        g.mul(b234, v3);
        g.mul(column, row);
        g.mse(m23, m32);
        g.mse(v2, v3);
        g.mse(m23, v2);
        g.bce(m23, m32);
        g.bce(v2, v3);
        g.bce(b234, m23);
        g.bce_with_logits(m23, m45);
        g.bce_with_logits(v3, v2);
        g.bce_with_logits_weighted(m32, m23, v3);
        g.bce_with_logits_weighted(m23, m23, v2);
        g.relu_backward(m23, m32);
        g.relu_backward(v2, v3);
        g.sigmoid_backward(m23, m45);
        g.sigmoid_backward(v4, v3);
        g.mse_backward(m32, m23, m23);
        g.mse_backward(m23, m32, m23);
        g.mse_backward(m23, m23, m32);
        g.bce_backward(v2, m23, m23);
        g.bce_backward(m23, m23, v4);
        g.bce_slope(m23, m32);
        g.bce_slope_backward(v2, v3);
        g.bce_with_logits_backward(m32, m23, m23);
        g.bce_with_logits_backward(m23, m23, m45);
        g.bce_with_logits_weighted_backward(m23, m23, m32, v3);
        g.bce_with_logits_weighted_backward(m23, m23, m23, v2);
    );
}

fn nodes_of_another_graph(t: &mut Table) {
    t.section("Operands of another graph: `far` is one");
    let Leaves {
        mut g, m23, far, ..
    } = leaves();
    let of = g.shape(m23).unwrap().clone();
    bad!(t;
        g.relu(far);
        g.sigmoid(far);
        g.softplus(far);
        g.neg(far);
        g.scale(far, 2.0);
        g.add(m23, far);
        g.sub(far, m23);
        g.mul(far, far);
        g.matmul(m23, far);
        g.matmul_with(far, m23, true, false);
        g.linear(far, m23, None);
        g.linear(m23, far, None);
        g.linear(m23, m23, Some(far));
        g.reshape(far, &[6]);
        g.expand(far, &[2, 2, 3]);
        g.sum(far, &[0]);
        g.mean(far, &[1]);
        g.sum_all(far);
        g.mean_all(far);
        g.sum_to(far, &of);
        g.mse(far, m23);
        g.bce(m23, far);
        g.bce_logit(far);
        g.bce_with_logits(far, m23);
        g.bce_loss(far, m23, None, Reduction::Mean);
        g.bce_with_logits_loss(m23, m23, Some(far), None, Reduction::Sum);
        g.mse_loss(m23, far, Reduction::None);
    );
}

fn products_and_layers(t: &mut Table) {
    t.section(&format!("Products and linear layers: {SIZES}"));
    #[rustfmt::skip]
    let Leaves { mut g, s, v2, v3, v4, m23, m32, m45, m43, b234, b345, column, row, .. } = leaves();
    bad!(t;
        g.matmul(s, m23);
        g.matmul(m23, s);
        g.matmul(s, s);
        g.matmul(v2, v3);
        g.matmul(v3, m23);
        g.matmul(m23, v2);
        g.matmul(m23, m23);
        g.matmul(m23, m43);
        g.matmul(m32, m32);
        g.matmul(m23, m45);
        g.matmul(b234, m23);
        g.matmul(m32, b234);
        g.matmul(b234, b345);
        g.matmul(column, row);
        g.matmul_with(m23, m32, true, false);
        g.matmul_with(m23, m32, false, true);
        g.matmul_with(m23, m45, true, true);
        g.matmul_with(v3, m32, false, false);
        g.matmul_with(m23, v3, false, true);
        g.matmul_with(s, s, false, false);
        g.linear(s, m23, None);
        g.linear(v2, m23, None);
        g.linear(m45, m23, None);
        g.linear(m32, m23, None);
        g.linear(m23, v3, None);
        g.linear(m23, s, None);
        g.linear(m23, b234, None);
        g.linear(m23, m43, Some(v3));
        g.linear(m23, m43, Some(m23));
        g.linear(b234, m45, Some(v4));
        g.linear(v3, m43, Some(v2));
    );
}

fn shapes_and_axes(t: &mut Table) {
    t.section(&format!("Shapes and axes: {SIZES}"));
    let Leaves {
        mut g,
        s,
        v3,
        m23,
        b234,
        ..
    } = leaves();
    let shape = |dims: &[usize]| Shape::new(dims).unwrap();
    bad!(t;
        g.reshape(m23, &[5]);
        g.reshape(m23, &[]);
        g.reshape(m23, &[0]);
        g.reshape(s, &[2]);
        g.reshape(m23, &[6, 1, 1, 1, 1, 1, 1, 1, 1]);
        g.reshape(m23, &[1 << 16, 1 << 16]);
        g.expand(m23, &[3, 3]);
        g.expand(m23, &[2, 4]);
        g.expand(m23, &[3]);
        g.expand(v3, &[3, 2]);
        g.expand(s, &[1 << 16, 1 << 16]);
        g.expand(b234, &[3, 4]);
        g.sum(m23, &[2]);
        g.sum(m23, &[0, 0]);
        g.sum(m23, &[0, 1, 2]);
        g.sum(s, &[0]);
        g.sum(v3, &[usize::MAX]);
        g.mean(m23, &[5]);
        g.mean(b234, &[1, 1]);
        g.mean(s, &[1]);
        g.sum_to(m23, &shape(&[2]));
        g.sum_to(m23, &shape(&[2, 2]));
        g.sum_to(v3, &shape(&[2, 3]));
        g.sum_to(s, &shape(&[1]));
    );
}

fn losses(t: &mut Table) {
    t.section(&format!("Losses: {SIZES}"));
    use Reduction::{Mean, None as Each, Sum};
    #[rustfmt::skip]
    let Leaves { mut g, s, v2, v3, m23, m32, m45, b234, .. } = leaves();
    let named = g.sum_all(m23).unwrap();
    g.name(named, "loss").unwrap();
    let mse = Loss::parse("MSELoss()").unwrap();
    bad!(t;
        g.bce_loss(m23, m32, None, Mean);
        g.bce_loss(m23, v3, None, Sum);
        g.bce_loss(m23, m45, None, Each);
        g.bce_loss(m23, m23, Some(v2), Mean);
        g.bce_loss(m23, m23, Some(b234), Sum);
        g.bce_with_logits_loss(m23, m32, None, None, Mean);
        g.bce_with_logits_loss(s, v2, None, None, Mean);
        g.bce_with_logits_loss(m23, m23, Some(m32), None, Mean);
        g.bce_with_logits_loss(m23, m23, None, Some(v2), Sum);
        g.mse_loss(m23, m32, Mean);
        g.mse_loss(m23, s, Mean);
        g.mse_loss(v2, v3, Each);
        mse.build(&mut g, m23, m32);
        mse.build(&mut g, m23, m23);
    );
}

fn gradients(t: &mut Table) {
    t.section("Gradients: `loss` is a scalar, `z` has shape [2, 3]");
    let Leaves {
        mut g,
        s,
        v3,
        m23,
        far,
        ..
    } = leaves();
    let z = g.sigmoid(m23).unwrap();
    let z = g.name(z, "z").unwrap();
    let loss = g.sum_all(z).unwrap();
    let loss = g.name(loss, "loss").unwrap();
    bad!(t;
        gradient(&mut g, z, &[m23]);
        gradient(&mut g, m23, &[m23]);
        gradient(&mut g, far, &[m23]);
        gradient(&mut g, loss, &[far]);
        vjp(&mut g, z, v3, &[m23]);
        vjp(&mut g, z, s, &[m23]);
        vjp(&mut g, loss, v3, &[m23]);
        vjp(&mut g, z, far, &[m23]);
        vjp(&mut g, far, z, &[m23]);
        vjp(&mut g, z, m23, &[far]);
    );
}

fn plans(t: &mut Table) {
    t.section("Plans: `sum` is that of m23, `product` has shape [4000, 4000]");
    let Leaves {
        mut g, m23, far, ..
    } = leaves();
    let sum = g.sum_all(m23).unwrap();
    let wide = g.input("wide", &[4000, 4000]).unwrap();
    let product = g.matmul(wide, wide).unwrap();
    let (any, plain) = (Target::default(), PlanOptions::default());
    let of = |replicas| PlanOptions {
        replicas,
        ..plain.clone()
    };
    bad!(t;
        Plan::new(&g, &[far]);
        Plan::new(&g, &[sum, far]);
        Plan::with_options(&g, &[sum], &any, &of(0));
        Plan::with_options(&g, &[product], &any, &of(2));
    );
}

fn references(t: &mut Table) {
    t.section("The reference: `y` is relu of m23, which a run must be given");
    let Leaves {
        mut g,
        m23,
        v3,
        far,
        ..
    } = leaves();
    let y = g.relu(m23).unwrap();
    let y = g.name(y, "y").unwrap();
    let loss = g.sum_all(y).unwrap();
    let tensor = |dims: &[usize]| Tensor::full(&Shape::new(dims).unwrap(), 1.0);
    let feeds = |dims: &[usize]| Feeds::from([("m23".to_string(), tensor(dims))]);
    let wide = |dims: &[usize]| BTreeMap::from([("m23".to_string(), ArrayD::zeros(dims))]);
    let good = cpu::evaluate(&g, &feeds(&[2, 3]), &[y]).unwrap();
    let kept = |id: NodeId, dims: &[usize]| BTreeMap::from([(id, tensor(dims))]);
    bad!(t;
        cpu::evaluate(&g, &Feeds::new(), &[y]);
        cpu::evaluate(&g, &feeds(&[3, 2]), &[y]);
        cpu::evaluate(&g, &feeds(&[2, 4]), &[y]);
        cpu::evaluate(&g, &feeds(&[]), &[y]);
        cpu::evaluate(&g, &feeds(&[2, 3]), &[far]);
        cpu::evaluate_wide(&g, &BTreeMap::new(), &[y]);
        cpu::evaluate_wide(&g, &wide(&[3, 2]), &[y]);
        cpu::evaluate_wide(&g, &wide(&[2, 3]), &[far]);
        good.get(v3);
        good.get(loss);
        good.get(far);
        good.rounded(v3);
        good.rounded(far);
        difference::gradient(&g, &wide(&[2, 3]), loss, "m32");
        difference::gradient(&g, &wide(&[2, 3]), far, "m23");
        compare("y", &tensor(&[2, 4]), good.get(y).unwrap());
        steps::nodes(&g, &[far]);
        steps::verify(&g, &Feeds::new(), &kept(y, &[2, 3]));
        steps::verify(&g, &feeds(&[2, 3]), &kept(y, &[3]));
        steps::verify(&g, &feeds(&[2, 3]), &kept(loss, &[]));
        steps::verify(&g, &feeds(&[2, 3]), &kept(far, &[2, 3]));
    );
}

fn programs(t: &mut Table) {
    t.section("Programs: `p` computes y = m23 + v3 and takes both");
    let Leaves {
        mut g,
        m23,
        v3,
        s,
        far,
        ..
    } = leaves();
    let y = g.add(m23, v3).unwrap();
    let mut p = gpu().compile(&g, &[y]).unwrap();
    let tensor = |dims: &[usize]| Tensor::full(&Shape::new(dims).unwrap(), 1.0);
    let feeds = |label: &str, dims: &[usize]| Feeds::from([(label.to_string(), tensor(dims))]);
    bad!(t;
        gpu().compile(&g, &[far]);
        p.run();
        p.set("M23", &tensor(&[2, 3]));
        p.set("", &tensor(&[2, 3]));
        p.set("m32", &tensor(&[3, 2]));
        p.set("m23", &tensor(&[3, 2]));
        p.set("m23", &tensor(&[2, 4]));
        p.set("v3", &tensor(&[1, 2, 3]));
        p.set_all(&feeds("v3", &[2]));
    );
    p.set("m23", &tensor(&[2, 3])).unwrap();
    let now = std::time::Instant::now();
    bad!(t;
        p.run_steps(1, &[y]);
        p.time_steps(1, &[y]);
        p.trace_step(&[y], now, false);
    );
    p.set("v3", &tensor(&[3])).unwrap();
    bad!(t;
        p.run_steps(0, &[y]);
        p.run_steps(1, &[m23]);
        p.time_steps(0, &[]);
        p.time_steps(2, &[far]);
        p.trace_step(&[far], now, false);
        p.run().unwrap().get(s);
        p.run().unwrap().get(far);
    );
    let exercise = exercise::problem().unwrap();
    let options = |steps| profile::Options {
        steps,
        ..profile::Options::default()
    };
    bad!(t;
        profile::profile(gpu(), &exercise, &options(0));
    );
}

fn network_texts(t: &mut Table) {
    t.section("Texts of networks");
    for text in [
        "",
        "   # nothing\n",
        "Sequential()",
        "Sequential(Sequential())",
        "Liner(4, 2)",
        "linear(4, 2)",
        "Relu()",
        "Conv2d(3, 8, 3)",
        "Softmax(dim=1)",
        "Dropout(0.5)",
        "nn.functional.relu(x)",
        "Linear",
        "Linear()",
        "Linear(4)",
        "Linear(out_features=2)",
        "Linear(4, 2, True, 7)",
        "Linear(4, out_feature=2)",
        "Linear(4, 2, dtype=float32)",
        "Linear(4, in_features=4, out_features=2)",
        "Linear(4, 2, bias=True, bias=False)",
        "Linear(in_features=4, 2)",
        "Linear(4.0, 2)",
        "Linear('4', 2)",
        "Linear(n, 2)",
        "Linear(None, 2)",
        "Linear([4], 2)",
        "Linear(4, 0)",
        "Linear(-4, 2)",
        "Linear(4, 1e3)",
        "Linear(4, 99999999999999999999)",
        "Linear(65536, 65536)",
        "Linear(4, 2, bias=1)",
        "Linear(4, 2, bias=None)",
        "Linear(4, 2, bias=false)",
        "Linear(4, 2, bias='False')",
        "ReLU(4)",
        "ReLU(inplace=yes)",
        "ReLU(True, False)",
        "Sigmoid(1)",
        "Sigmoid(dim=1)",
        "Identity(54)",
        "Sequential(Linear(4, 2), Linear(3, 1))",
        "Sequential(Linear(4, 2), ReLU(), Sequential(Sigmoid(), Linear(4, 2)))",
        "Sequential(Linear(4, 2), ReLU()",
        "Sequential(Linear(4, 2)",
        "Sequential(Linear(4, 2],",
        "Sequential(Linear(4, 2)))",
        "Sequential(Linear(4 2))",
        "Sequential(Linear(4, 2) ReLU())",
        "Sequential(,)",
        "Sequential(Linear(4,, 2))",
        "Sequential([Linear(4, 2), ReLU()])",
        "Sequential(4, 2)",
        "Sequential('relu')",
        "Sequential(True)",
        "Sequential(layers=Linear(4, 2))",
        "Linear(4, 2) Linear(2, 1)",
        "a = Linear(4, 2), b = Linear(2, 1)",
        "model =",
        "model = 4",
        "Sequential((fc): Linear(4, 2), (fc): Linear(2, 1))",
        "Sequential((a b): Linear(4, 2))",
        "Sequential(OrderedDict([('fc.1', Linear(4, 2))]))",
        "Sequential(OrderedDict([('', Linear(4, 2))]))",
        "Sequential(OrderedDict(Linear(4, 2)))",
        "Sequential(OrderedDict([Linear(4, 2)]))",
        "Sequential(OrderedDict([(fc, Linear(4, 2))]))",
        "Sequential(OrderedDict([('fc', Linear(4, 2), 3)]))",
        "Net(\n  (fc): Linear(in_features=4, out_features=2, bias=True)\n)",
        "Linear(4, 'two",
        "Linear(4, 2) @",
        "Linear(4; 2)",
        "Linear{4, 2}",
        "Linear(4, 2)\n\n  .relu()",
        "\u{1f600}",
    ] {
        t.add(&format!("Network::parse({text:?})"), Network::parse(text));
    }
    let deep = format!("{}ReLU(){}", "Sequential(".repeat(33), ")".repeat(33));
    let (long, many) = (" ".repeat((1 << 20) + 1), "ReLU(),".repeat(10_001));
    let name = format!("Sequential(({}): ReLU())", "n".repeat(101));
    bad!(t;
        Network::parse(&deep);
        Network::parse(&"(".repeat(200));
        Network::parse(&long);
        Network::parse(&many);
        Network::parse(&name);
    );
}

fn loss_texts(t: &mut Table) {
    t.section("Texts of losses");
    for text in [
        "",
        " ",
        "# BCELoss",
        "4",
        "'BCELoss'",
        "[BCELoss()]",
        "True",
        "BCELos()",
        "bceloss",
        "CrossEntropyLoss()",
        "L1Loss()",
        "nn.functional.mse_loss(a, b)",
        "BCELoss('sum')",
        "BCELoss(reduction=sum)",
        "BCELoss(reduction='max')",
        "BCELoss(reduction='')",
        "BCELoss(reduction=None)",
        "BCELoss(reduction='mean', reduction='sum')",
        "BCELoss(reduce=True)",
        "BCELoss(weight=w)",
        "BCELoss(pos_weight=w)",
        "BCEWithLogitsLoss(weight=w)",
        "BCEWithLogitsLoss(pos_weight=3)",
        "BCEWithLogitsLoss(redution='sum')",
        "MSELoss(weight=w)",
        "MSELoss(size_average=False)",
        "MSELoss(4)",
        "MSELoss(), BCELoss()",
        "MSELoss() BCELoss()",
        "MSELoss(",
        "MSELoss)",
        "MSELoss!",
        "MSELoss(reduction='sum)",
        "criterion =",
    ] {
        t.add(&format!("Loss::parse({text:?})"), Loss::parse(text));
    }
    let long = "#".repeat((1 << 20) + 1);
    bad!(t;
        Loss::parse(&long);
    );
}

const NET: &str = "Sequential(Linear(4, 2), ReLU(), Linear(2, 1))";

fn weights(t: &mut Table) {
    t.section(&format!("Networks, weights and inputs: `net` is {NET}"));
    let net = Network::parse(NET).unwrap();
    let tensor = |dims: &[usize]| Tensor::full(&Shape::new(dims).unwrap(), 0.5);
    let of = |list: &[(&str, &[usize])]| -> BTreeMap<String, Tensor> {
        let each = list.iter();
        each.map(|(key, dims)| (key.to_string(), tensor(dims)))
            .collect()
    };
    let good: [(&str, &[usize]); 4] = [
        ("0.weight", &[2, 4]),
        ("0.bias", &[2]),
        ("2.weight", &[1, 2]),
        ("2.bias", &[1]),
    ];
    let with = |key: &'static str, dims: &'static [usize]| {
        let mut all = of(&good);
        all.insert(key.to_string(), tensor(dims));
        all
    };
    let prefixed = of(&good)
        .into_iter()
        .map(|(k, v)| (format!("module.{k}"), v));
    let prefixed = prefixed.collect();
    let fresh = |dims: &[usize]| {
        let mut g = Graph::new();
        let x = g.input("x", dims).unwrap();
        (g, x)
    };
    let build = |dims: &[usize]| {
        let (mut g, x) = fresh(dims);
        net.build(&mut g, x)
    };
    let twice = || {
        let (mut g, x) = fresh(&[3, 4]);
        net.build(&mut g, x).unwrap();
        net.build(&mut g, x)
    };
    let elsewhere = || net.build(&mut Graph::new(), fresh(&[3, 4]).1);
    let solve = |input: &[usize], target: &[usize], loss: &str| {
        Problem {
            network: net.clone(),
            loss: Loss::parse(loss).unwrap(),
            weights: of(&good),
            input: tensor(input),
            target: tensor(target),
        }
        .prepare()
    };
    bad!(t;
        net.check_weights(&BTreeMap::new());
        net.check_weights(&of(&good[..2]));
        net.check_weights(&of(&[("0.weight", &[2, 4]), ("2.weight", &[1, 2])]));
        net.check_weights(&with("0.weight", &[4, 2]));
        net.check_weights(&with("0.weight", &[8]));
        net.check_weights(&with("0.weight", &[3, 4]));
        net.check_weights(&with("4.weight", &[1, 1]));
        net.check_weights(&with("1.bias", &[2]));
        net.check_weights(&prefixed);
        net.check_weights(&of(&[("fc1.weight", &[2, 4])]));
        build(&[3, 5]);
        build(&[4, 3]);
        build(&[]);
        twice();
        elsewhere();
        solve(&[3, 4], &[3], "MSELoss");
        solve(&[3, 4], &[2, 1], "MSELoss");
        solve(&[3, 4], &[3, 1, 1], "BCELoss");
        solve(&[3, 3], &[3, 1], "MSELoss");
    );
}

fn data(t: &mut Table) {
    t.section("Data outside of a loss's domain");
    let loss = |text: &str| Loss::parse(text).unwrap();
    let column = |values: &[f32]| Tensor::new(&[values.len(), 1], values.to_vec()).unwrap();
    let nan = f32::NAN;
    bad!(t;
        loss("BCELoss").check_target(&column(&[0.0, 1.5, 2.0]));
        loss("BCELoss").check_target(&column(&[0.0, -1.0]));
        loss("BCELoss").check_target(&column(&[nan]));
        loss("BCELoss").check_target(&column(&[f32::INFINITY, 0.0]));
        loss("BCELoss").check_input(&column(&[0.5, 3.0]));
        loss("BCELoss").check_input(&column(&[0.5, nan, nan]));
        loss("BCEWithLogitsLoss").check_target(&column(&[0.0, nan]));
        loss("MSELoss").check_target(&column(&[1.0, 2.0, nan, nan]));
    );
}

fn npy(header: &str, data: &[u8]) -> Vec<u8> {
    let length = header.len() as u16;
    [
        b"\x93NUMPY\x01\x00",
        &length.to_le_bytes()[..],
        header.as_bytes(),
        data,
    ]
    .concat()
}

fn array(descr: &str, order: &str, shape: &str, data: &[u8]) -> Vec<u8> {
    let header = format!("{{'descr': {descr}, 'fortran_order': {order}, 'shape': {shape}, }}\n");
    npy(&header, data)
}

fn arrays(t: &mut Table) {
    t.section("Files: `read` reads x.bin, `convert` makes its first tensor float32");
    let read = |bytes: &[u8]| io::read_slice(bytes, Path::new("x.bin"));
    let convert = |bytes: &[u8]| read(bytes).unwrap().tensors[0].to_tensor();
    bad!(t;
        read(b"");
        read(b"hello");
        read(b"\x93NUM");
        read(b"GIF89a");
        read(b"{\"a\": 1}");
        read(b"\x93NUMPY");
        read(b"\x93NUMPY\x01\x00");
        read(b"\x93NUMPY\x04\x00\x10\x00");
        read(b"\x93NUMPY\x01\x00\xff\xff{'descr'");
        read(b"\x93NUMPY\x02\x00\xff\xff\xff\xff{");
        read(b"\x93NUMPY\x01\x00\x02\x00\xff\xfe");
        read(&npy("{}", &[]));
        read(&npy("{'descr': '<f4'}", &[]));
        read(&npy("{'descr': '<f4', 'shape': (1,)}", &[0; 4]));
        read(&array("'>f4'", "False", "(1,)", &[0; 4]));
        read(&array("'<c8'", "False", "(1,)", &[0; 8]));
        read(&array("'|O'", "False", "(1,)", &[0; 8]));
        read(&array("'<U3'", "False", "(1,)", &[0; 12]));
        read(&array("[('a', '<f4')]", "False", "(1,)", &[0; 4]));
        read(&array("'<f4'", "Maybe", "(1,)", &[0; 4]));
        read(&array("'<f4'", "False", "(-1,)", &[0; 4]));
        read(&array("'<f4'", "False", "(2.0,)", &[0; 8]));
        read(&array("'<f4'", "False", "(3,)", &[0; 4]));
        read(&array("'<f4'", "False", "(1,)", &[0; 8]));
        read(&array("'<f4'", "False", "(1000000, 1000000)", &[0; 4]));
        read(&array("'<f4'", "True", "(18446744073709551615, 2)", &[0; 4]));
        convert(&array("'<f8'", "False", "(1,)", &1e300f64.to_le_bytes()));
        convert(&array("'<i8'", "False", "(1,)", &i64::MAX.to_le_bytes()));
        convert(&array("'<i4'", "False", "(1,)", &16_777_217i32.to_le_bytes()));
        convert(&array("'|u1'", "False", "(1, 1, 1, 1, 1, 1, 1, 1, 1)", &[7]));
    );
    bad!(t;
        io::read(Path::new("no/such/file.npy"));
        io::read(Path::new("tests"));
        io::read_bytes(Path::new("tests/data/init/linear_init.safetensors"), 10);
        io::read_text(Path::new("data/exercise/target.npy"), 1 << 20);
    );
}

fn tensors_file(header: &str, data: &[u8]) -> Vec<u8> {
    let length = (header.len() as u64).to_le_bytes();
    [&length, header.as_bytes(), data].concat()
}

fn safetensors_files(t: &mut Table) {
    t.section("safetensors: `header` is followed by eight bytes");
    let header = |text: &str| io::read_slice(&tensors_file(text, &[0; 8]), Path::new("x.bin"));
    for text in [
        "{",
        "{}",
        "{\"a\": 1}",
        r#"{"a": {"dtype": "F32", "shape": [2]}}"#,
        r#"{"a": {"dtype": "F32", "shape": [2], "data_offsets": [0, 4]}}"#,
        r#"{"a": {"dtype": "F32", "shape": [3], "data_offsets": [0, 8]}}"#,
        r#"{"a": {"dtype": "F32", "shape": [4], "data_offsets": [0, 16]}}"#,
        r#"{"a": {"dtype": "F32", "shape": [2], "data_offsets": [8, 0]}}"#,
        r#"{"a": {"dtype": "F32", "shape": [-2], "data_offsets": [0, 8]}}"#,
        r#"{"a": {"dtype": "F99", "shape": [2], "data_offsets": [0, 8]}}"#,
        r#"{"a": {"dtype": "U64", "shape": [1], "data_offsets": [0, 8]}}"#,
        r#"{"a": {"dtype": "F32", "shape": [18446744073709551615, 2], "data_offsets": [0, 8]}}"#,
    ] {
        t.add(&format!("header({text})"), header(text));
    }
    let read = |bytes: &[u8]| io::read_slice(bytes, Path::new("x.bin"));
    bad!(t;
        read(b"\xff\xff\xff\x7f\0\0\0\0{");
        read(b"\x08\0\0\0\0\0\0\0{");
    );
    let (one, again) = (Tensor::scalar(1.0), Tensor::scalar(2.0));
    let twice = [("a".to_string(), one), ("a".to_string(), again)];
    let save = |path: &str| io::safetensors::save(Path::new(path), &twice[..1], &BTreeMap::new());
    bad!(t;
        io::safetensors::save(Path::new("x.st"), &twice, &BTreeMap::new());
        save("no/such/folder/x.st");
        save("tests");
    );
}

fn zipped(entries: &[(&str, &[u8])]) -> Vec<u8> {
    use std::io::Write;
    let mut writer = zip::ZipWriter::new(std::io::Cursor::new(Vec::new()));
    let stored =
        zip::write::SimpleFileOptions::default().compression_method(zip::CompressionMethod::Stored);
    for (name, data) in entries {
        writer.start_file(*name, stored).unwrap();
        writer.write_all(data).unwrap();
    }
    writer.finish().unwrap().into_inner()
}

/// `{"w": tensor}`, its arguments as pickle.
fn tensor_pickle(storage: &[u8], rest: &[u8]) -> Vec<u8> {
    [
        b"\x80\x02}X\x01\0\0\0wctorch._utils\n_rebuild_tensor_v2\n((X\x07\0\0\0storagectorch\n",
        storage,
        b"X\x03\0\0\0cpuK\x01tQ",
        rest,
        b"tRs.",
    ]
    .concat()
}

fn pickles(t: &mut Table) {
    t.section("pth: `pickle` is the data.pkl of an archive that holds one storage, of one float32");
    let one = 1f32.to_le_bytes();
    let in_zip = |entries: &[(&str, &[u8])]| io::read_slice(&zipped(entries), Path::new("m.pth"));
    let pickle = |bytes: &[u8]| in_zip(&[("m/data.pkl", bytes), ("m/data/0", &one)]);
    let float = b"FloatStorage\nX\x01\0\0\x000";
    let tensor = |rest: &[u8]| pickle(&tensor_pickle(float, rest));
    bad!(t;
        pickle(b"");
        pickle(b"\x80\x07}.");
        pickle(b"\x80\x02}");
        pickle(b"\x80\x02.");
        pickle(b"\x80\x02K\x01.");
        pickle(b"\x80\x02].");
        pickle(b"\x80\x02cposix\nsystem\n.");
        pickle(b"\x80\x02cbuiltins\neval\n.");
        pickle(b"\x80\x02c__main__\nNet\n)R.");
        pickle(b"\x80\x02ctorch\nComplexFloatStorage\n.");
        pickle(b"\x80\x02c\xff\n");
        pickle(b"\x80\x02(iposix\nsystem\n.");
        pickle(b"\x80\x02\x82\x01.");
        pickle(b"\x80\x02X\xff\xff\xff\xffab.");
        pickle(b"\x80\x02X\x10\0\0\0ab.");
        pickle(b"\x80\x02X\x01\0\0\0\xff.");
        pickle(b"\x80\x02h\x07.");
        pickle(b"\x80\x02t.");
        pickle(b"\x80\x02}(K\x01u.");
        pickle(b"\x80\x02K\x01(NNu.");
        pickle(b"\x80\x02NQ.");
        pickle(b"\x80\x02NNR.");
        pickle(b"\x80\x02\x8a\x09aaaaaaaaa.");
        tensor(b"K\x00(K\x02t(K\x01t");
        tensor(b"K\x05(K\x01t(K\x01t");
        tensor(b"J\xff\xff\xff\xff(K\x01t(K\x01t");
        tensor(b"K\x00(K\x01t(K\x01K\x01t");
        tensor(b"K\x00(Nt(K\x01t");
        tensor(b"K\x00(J\xff\xff\xff\x7ft(K\x00t");
        pickle(&tensor_pickle(b"FloatStorage\nX\x01\0\0\x007", b"K\x00(K\x01t(K\x01t"));
        pickle(&tensor_pickle(b"FloatStorage\nX\x02\0\0\0..", b"K\x00(K\x01t(K\x01t"));
        pickle(&tensor_pickle(b"DoubleStorage\nX\x01\0\0\x000", b"K\x00(K\x01t(K\x01t"));
        in_zip(&[("m/other", &one)]);
        in_zip(&[("../data.pkl", b"\x80\x02}.")]);
        in_zip(&[("/m/data.pkl", b"\x80\x02}.")]);
        in_zip(&[("m/data.pkl", b"\x80\x02}."), ("n/data.pkl", b"\x80\x02}.")]);
        in_zip(&[("m/data.pkl", b"\x80\x02}."), ("m/byteorder", b"big")]);
        in_zip(&[]);
    );
    let legacy = |rest: &[u8]| {
        let magic = b"\x80\x02\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19.";
        io::read_slice(&[magic, rest].concat(), Path::new("m.pth"))
    };
    let read = |bytes: &[u8]| io::read_slice(bytes, Path::new("m.pth"));
    bad!(t;
        read(b"PK\x03\x04");
        read(b"\x80\x02}.");
        read(b"\x80\x04\x95");
        legacy(b"");
        legacy(b"\x80\x02K\x01.");
        legacy(b"\x80\x02M\xe9\x03.\x80\x02}X\x0d\0\0\0little_endian\x89s.");
        legacy(b"\x80\x02M\xe9\x03.\x80\x02}.\x80\x02}.\x80\x02}.");
        legacy(b"\x80\x02M\xe9\x03.\x80\x02}.\x80\x02}.\x80\x02](K\x01e.");
        legacy(b"\x80\x02M\xe9\x03.\x80\x02}.\x80\x02}.\x80\x02]X\x01\0\0\x000a.");
        legacy(b"\x80\x02M\xe9\x03.\x80\x02}.\x80\x02}.\x80\x02]X\x01\0\0\x000a.\x01\0\0\0\0\0\0\0");
    );
}

fn tables(t: &mut Table) {
    t.section("CSV: `of` reads a text, its targets by name or number");
    let name = |text: &str| Some(ColumnRef::Name(text.to_string()));
    let of = |text: &str, target: Option<ColumnRef>| {
        csv::read_slice(text.as_bytes(), Path::new("x.csv"), target.as_ref())
    };
    bad!(t;
        of("", None);
        of(" \n\n", None);
        of("a,b\n", None);
        of("a,b\n1,x\n", None);
        of("a,b\n1,\n", None);
        of("a,b\n1,2\n1\n", None);
        of("a,b\n1,2\n1,2,3\n", None);
        of("a,b\n1,nan\n", None);
        of("a,b\n1,-inf\n", None);
        of("a,b\n1,1e99\n", None);
        of("a;b\n1;2\n", None);
        of("1,x3\n5,6\n", None);
        of(",\n5,6\n", None);
        of("a,b,0\n1,2,3\n", None);
        of("a,b\n1,2\n", name("y"));
        of("y,a,y\n1,2,3\n", name("y"));
        of("1,2\n", name("y"));
        of("1,2\n", Some(ColumnRef::Index(2)));
        csv::read_slice(b"a\n\xff\xfe\n", Path::new("x.csv"), None);
        csv::read(Path::new("no/such/table.csv"), None);
    );
}

fn listings(t: &mut Table) {
    t.section("JSON and names of products");
    let baseline = |text: &str| Baseline::read_slice(text.as_bytes(), Path::new("b.json"));
    let row = |step: &str| {
        let row = r#""net": "n", "network": "N", "loss": "L", "batch": 1, "replicas": 1"#;
        let text = format!(
            r#"{{"adapter": "a", "driver": "d", "results": [{{{row}, "step_s": {step}}}]}}"#
        );
        baseline(&text)
    };
    bad!(t;
        baseline("");
        baseline("[]");
        baseline("{\"adapter\": 3}");
        baseline("{\"adapter\": \"a\", \"driver\": \"d\"}");
        baseline("{\"adapter\": \"a\", \"driver\": \"d\", \"results\": [{}]}");
        row("{\"median\": \"fast\"}");
        row("{\"median\": 2, \"p10\": 3, \"p90\": 4}");
        row("{\"median\": 0, \"p10\": 0, \"p90\": 4}");
        Baseline::read(Path::new("no/such/baseline.json"));
        tune::parse("");
        tune::parse("5x6 nn");
        tune::parse("5x6x7");
        tune::parse("5x6x7x8 nn");
        tune::parse("5x6xk nn");
        tune::parse("5x-6x7 nn");
        tune::parse("5x0x7 nt");
        tune::parse("5x6x7 xy");
        tune::parse("5x6x1 nn");
        tune::parse("65536x65536x2 nn");
        tune::parse("sum 5x6x7 nn");
    );
    let folder = tempfile::tempdir().unwrap();
    let cases = |text: &str| {
        std::fs::write(folder.path().join("cases.json"), text).unwrap();
        let read = Folder::read(folder.path())
            .map(drop)
            .map_err(|e| e.to_string());
        // The folder has another name each time.
        read.map_err(|e| e.replace(&folder.path().display().to_string(), "DIR"))
    };
    bad!(t;
        cases("");
        cases("{}");
        cases("{\"cases\": []}");
        cases("{\"cases\": [{\"case\": \"a\"}]}");
        cases("{\"cases\": 3}");
        Folder::read(Path::new("no/such/folder"));
    );
}

fn command_line(t: &mut Table) {
    t.section("The command line");
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, bytes: &[u8]| std::fs::write(folder.path().join(name), bytes).unwrap();
    write("x.npy", &array("'<f4'", "False", "(1, 4)", &[0; 16]));
    write("y.npy", &array("'<f4'", "False", "(1, 1)", &[0; 4]));
    write("nan.npy", &array("'<f4'", "False", "(1, 4)", &[0xff; 16]));
    write("rows.csv", b"a,y\n1,0\n");
    write("bad.py", b"import torch\n\nLiner(4, 1)\n");
    let two = r#"{"a": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]},
        "b": {"dtype": "F32", "shape": [1], "data_offsets": [4, 8]}}"#;
    write("two.safetensors", &tensors_file(two, &[0; 8]));
    write("cut.npy", b"\x93NUMPY\x01");
    write("text.json", b"[1, 2]");
    let net = "'Linear(4, 1)'";
    let grad = "grad --loss MSELoss --input x.npy --target y.npy --net";
    for line in [
        "frobnicate",
        "grad",
        "--cpu --adapter 0",
        "--cpu --backend vulkan",
        "--color mauve",
        "--quiet --verbose",
        "--backend glide",
        "--cache-dir",
        "--cache-dir ''",
        "--no-cache --cache-dir here",
        "--jsn",
        "inspect",
        "inspect a.pth b.pth",
        "inspect none.pth",
        "inspect .",
        "inspect cut.npy",
        "inspect rows.csv",
        "adapters now",
        &format!("{grad} ''"),
        &format!("{grad} none.py"),
        &format!("{grad} bad.py"),
        &format!("{grad} 'Liner(4, 1)'"),
        &format!("{grad} 'Linear(3, 1)'"),
        &format!("{grad} 'Linear(4, 2)'"),
        &format!("{grad} {net} --seed none"),
        &format!("{grad} {net} --seed 18446744073709551616"),
        &format!("{grad} {net} --target-column y"),
        &format!("{grad} {net} --weights two.safetensors"),
        &format!("{grad} {net} --weights x.npy"),
        &format!("{grad} {net} --weights none.pth"),
        &format!("{grad} {net} --cpu --dump-shaders d"),
        &format!("grad --net {net} --loss Hinge --input x.npy --target y.npy"),
        &format!("grad --net {net} --loss MSELoss --input x.npy"),
        &format!("grad --net {net} --loss MSELoss --input x.npy --target-column y"),
        &format!("grad --net {net} --loss MSELoss --input rows.csv --target-column z"),
        &format!("grad --net {net} --loss MSELoss --input rows.csv --target-column 7"),
        &format!("grad --net {net} --loss MSELoss --input nan.npy --target y.npy"),
        &format!("grad --net {net} --loss MSELoss --input two.safetensors --target y.npy"),
        &format!("grad --net {net} --loss MSELoss --input two.safetensors:c --target y.npy"),
        "bench --cpu",
        "bench --batch 0",
        "bench --batch 1,,2",
        "bench --batch many",
        "bench --replicas 0",
        "bench --net 'Linear(2, 1)'",
        "bench --loss MSELoss",
        "bench --net 'ReLU()' --loss MSELoss --export-json no/such/folder/f.json",
        "bench --baseline none.json",
        "bench --baseline text.json",
        "bench --export-markdown no/such/folder/f.md",
        "trace --cpu",
        "trace --steps 0",
        "trace --steps 1001",
        "trace --steps some",
        "trace --net 'Linear(2, 1)'",
        "trace --loss MSELoss",
        "trace --batch 4",
        "trace --net 'Liner(2, 1)' --loss MSELoss",
        "trace --net 'ReLU()' --loss MSELoss",
        "trace --net 'Linear(2, 1)' --loss Hinge",
        "trace --net 'Linear(2, 1)' --loss MSELoss --batch 0",
        "trace -o no/such/folder/t.json",
        "trace -o .",
        "tune --cpu",
        "tune --problem '5x6 nn'",
        "tune --problem '5x6x7 nn' --kernel matmul_16",
        "tune --seconds -1",
        "tune --seconds=soon",
        "tune --net 'Linear(2, 1)'",
        "tune --clear --dry-run",
        "tune --batch 4",
        "sheet -o s --layers 4",
        "sheet -o s --layers 4,1,1",
        "sheet -o s --layers 20,9,9,9,9,9,1",
        "sheet -o s --layers 4096,1025,1",
        "sheet -o s --layers 784,512,256,1 --batch 4096",
        "sheet -o s --batch 4097",
        "grade none.json --sheet .",
        "completions",
        "completions tcsh",
        "completions bash --json",
        "man grad",
        "man --json",
        "man -o x.npy",
    ] {
        let mut command = Command::cargo_bin("wgrad").unwrap();
        command
            .current_dir(folder.path())
            .env("WGRAD_CACHE_DIR", "")
            .env("LC_ALL", "C.UTF-8");
        for name in ["WGPU_BACKEND", "WGPU_ADAPTER_NAME", "RUST_LOG", "COLUMNS"] {
            command.env_remove(name);
        }
        let output = command.args(words(line)).output().unwrap();
        let code = output.status.code().unwrap();
        let text = String::from_utf8(output.stderr).unwrap();
        assert!((2..=5).contains(&code), "{line}: {code}: {text}");
        assert!(text.contains("error:"), "{line}: {text}");
        assert!(!text.contains("panicked"), "{line}: {text}");
        let result: Result<(), String> = Err(format!("{}\n[exit code {code}]", text.trim_end()));
        t.add(&format!("wgrad {line}"), result);
    }
}

/// The words of a line, as a shell takes them apart.
fn words(line: &str) -> Vec<String> {
    let mut words = Vec::new();
    for (i, part) in line.split('\'').enumerate() {
        match i % 2 {
            1 => words.push(part.to_string()),
            _ => words.extend(part.split_whitespace().map(str::to_string)),
        }
    }
    words
}
