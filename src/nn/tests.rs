//! Networks and losses from text to graph: names, shapes, texts, refusals, and
//! that weights and reductions are PyTorch's.

use std::collections::BTreeMap;

use ndarray::{ArrayD, IxDyn};
use proptest::prelude::*;

use super::*;
use crate::tensor::Tensor;

fn refused(text: &str) -> String {
    Network::parse(text).unwrap_err().to_string()
}

fn shapes(network: &Network) -> Vec<String> {
    let parameters = network.parameters().into_iter();
    parameters
        .map(|(key, shape)| format!("{key} {shape}"))
        .collect()
}

const SMALL: &str = "Sequential(Linear(4, 2, bias=False), ReLU(), Linear(2, 1), Sigmoid())";

#[test]
fn keys_and_shapes_are_those_of_the_state_dict() {
    let network = Network::parse(SMALL).unwrap();
    assert_eq!(
        shapes(&network),
        ["0.weight [2, 4]", "2.weight [1, 2]", "2.bias [1]"]
    );
    assert_eq!(network.in_features(), Some(4));
    assert_eq!(network.out_features(), Some(1));
    let network = Network::parse("Linear(out_features=2, in_features=4)").unwrap();
    assert_eq!(shapes(&network), ["weight [2, 4]", "bias [2]"]);
    let network = Network::parse("Sequential(ReLU(), Sequential((a): Linear(3, 3)))").unwrap();
    assert_eq!(shapes(&network), ["1.a.weight [3, 3]", "1.a.bias [3]"]);
    assert_eq!(network.in_features(), Some(3));
    let network = Network::parse("ReLU").unwrap();
    assert_eq!(
        (network.in_features(), network.out_features()),
        (None, None)
    );
}

#[test]
fn every_node_of_interest_has_its_name() {
    let network = Network::parse(SMALL).unwrap();
    let mut g = Graph::new();
    let x = g.input("x", &[3, 5, 4]).unwrap();
    let built = network.build(&mut g, x).unwrap();
    assert_eq!(g.shape(built.output).unwrap().dims(), [3, 5, 1]);
    let labels: Vec<_> = built
        .layers
        .iter()
        .map(|l| &g.node(l.node).unwrap().label)
        .collect();
    assert_eq!(
        labels,
        ["0 (Linear)", "1 (ReLU)", "2 (Linear)", "3 (Sigmoid)"]
    );
    for (key, node) in &built.parameters {
        assert_eq!(g.find(key), Some(*node));
        assert!(matches!(
            g.node(*node).unwrap().kind,
            crate::graph::Kind::Parameter
        ));
    }
    let keys: Vec<_> = built.parameters.into_iter().map(|(key, _)| key).collect();
    let expected: Vec<_> = network
        .parameters()
        .into_iter()
        .map(|(key, _)| key)
        .collect();
    assert_eq!(keys, expected);

    let y = g.input("y", &[3, 5, 1]).unwrap();
    let loss = Loss::parse("nn.BCELoss()")
        .unwrap()
        .build(&mut g, built.output, y)
        .unwrap();
    assert_eq!(g.find("loss"), Some(loss));
    assert_eq!(g.shape(loss).unwrap().rank(), 0);
    let w = g.find("0.weight").unwrap();
    let dw = crate::gradient(&mut g, loss, &[w]).unwrap()[0];
    assert_eq!(g.shape(dw).unwrap().dims(), [2, 4]);
}

#[test]
fn a_layer_that_adds_nothing_renames_nothing() {
    let network = Network::parse("Identity(), ReLU(), Identity(), Identity()").unwrap();
    let mut g = Graph::new();
    let x = g.input("x", &[2, 2]).unwrap();
    let built = network.build(&mut g, x).unwrap();
    let labels: Vec<_> = g.nodes().map(|(_, node)| node.label.as_str()).collect();
    assert_eq!(labels, ["x", "1 (ReLU)"]);
    assert_eq!(built.layers[3].node, built.layers[1].node);
    assert_eq!(built.layers[3].title, "3 (Identity)");
}

#[test]
fn an_input_that_does_not_fit_names_the_layer() {
    let network = Network::parse(SMALL).unwrap();
    let mut g = Graph::new();
    let x = g.input("x", &[3, 5]).unwrap();
    assert_eq!(
        network.build(&mut g, x).unwrap_err().to_string(),
        "linear: input [3, 5] has 5 features in its last axis, weight [2, 4] takes 4; give one \
         of them the other's number, 5 or 4 (applied to `x`) (at node `0 (Linear)`)"
    );
}

#[test]
fn mistakes_in_layers_are_explained() {
    assert_eq!(
        refused("Sequential(\n  Linaer(4, 2),\n)"),
        "network, line 2, column 3: unknown layer `Linaer`\n  \
           2 |   Linaer(4, 2),\n    \
             |   ^^^^^^\n  \
         hint: did you mean `Linear`? the layers are Linear, ReLU, Sigmoid, Identity, Sequential"
    );
    assert_eq!(
        refused("Linear(4, out_feature=2)"),
        "network, line 1, column 11: Linear has no argument `out_feature`\n  \
           1 | Linear(4, out_feature=2)\n    \
             |           ^^^^^^^^^^^\n  \
         hint: did you mean `out_features`? it is Linear(in_features, out_features, bias=True)"
    );
    assert_eq!(
        refused("Sequential(Linear(4, 2), ReLU(), Linear(3, 1))"),
        "network, line 1, column 34: this Linear takes 3 features, but 0 (Linear) gives 2\n  \
           1 | Sequential(Linear(4, 2), ReLU(), Linear(3, 1))\n    \
             |                                  ^^^^^^\n  \
         hint: give one of them the other's number, 2 or 3"
    );
    for (text, part) in [
        ("Linear(4)", "Linear needs `out_features`"),
        ("Linear", "Linear needs `in_features`"),
        (
            "Linear(4, 2, True, 1)",
            "Linear takes at most 3 arguments, this is number 4",
        ),
        ("Sigmoid(1)", "Sigmoid takes no argument, this is number 1"),
        (
            "Linear(4, 2, in_features=4)",
            "`in_features` is given twice",
        ),
        (
            "Linear(in_features=4, 2)",
            "without a name follows one with a name",
        ),
        ("Linear(4, 0)", "`out_features` must be 1 or more, got 0"),
        ("Linear(-4, 2)", "`in_features` must be 1 or more, got -4"),
        (
            "Linear(4.0, 2)",
            "`in_features` must be a whole number, got 4.0",
        ),
        (
            "Linear(n, 2)",
            "`in_features` must be a whole number, got `n`",
        ),
        (
            "Linear(4, 2, bias=1)",
            "`bias` must be True or False, got 1",
        ),
        (
            "Linear(4, 2, bias=false)",
            "`bias` must be True or False, got `false`",
        ),
        ("Linear(100000, 100000)", "the weight is too large"),
        ("F.relu(x)", "unknown layer `F.relu`"),
        (
            "Sequential((a): ReLU((b): ReLU()))",
            "holds layers but is not Sequential",
        ),
    ] {
        let error = refused(text);
        assert!(error.contains(part), "{text}\n{error}");
    }
}

#[test]
fn networks_print_as_pytorch_prints_them() {
    let text = "Sequential(
  (0): Linear(in_features=4, out_features=2, bias=False)
  (1): ReLU(inplace=True)
  (head): Sequential(
    (0): Sequential(
      (x): Linear(in_features=2, out_features=1, bias=True)
    )
    (1): ReLU()
  )
  (3): Sigmoid()
)";
    let network = Network::parse(text).unwrap();
    assert_eq!(network.to_string(), text);
    let single = "Linear(in_features=4, out_features=2, bias=True)";
    assert_eq!(
        Network::parse("nn.Linear(4, 2)").unwrap().to_string(),
        single
    );
    let deep = "Sequential(".repeat(text::MAX_DEPTH) + "ReLU" + &")".repeat(text::MAX_DEPTH);
    let network = Network::parse(&deep).unwrap();
    assert_eq!(Network::parse(&network.to_string()).unwrap(), network);
}

/// A network as nested lists: a layer's width and kind, or a Sequential.
#[derive(Clone, Debug)]
enum Tree {
    Layer(usize),
    Nested(Vec<(Option<String>, Tree)>),
}

fn tree() -> impl Strategy<Value = Tree> {
    let name = proptest::option::of("[a-z][a-z0-9_-]{0,5}");
    let leaf = (0usize..6).prop_map(Tree::Layer);
    leaf.prop_recursive(4, 24, 5, move |inner| {
        proptest::collection::vec((name.clone(), inner), 0..5).prop_map(Tree::Nested)
    })
}

fn written(tree: &Tree) -> String {
    match tree {
        Tree::Layer(0) => "Linear(3, 3)".to_string(),
        Tree::Layer(1) => "nn.Linear(3, out_features=3, bias=False,)".to_string(),
        Tree::Layer(2) => "ReLU(inplace=True)".to_string(),
        Tree::Layer(3) => "ReLU()".to_string(),
        Tree::Layer(4) => "Identity".to_string(),
        Tree::Layer(_) => "torch.nn.Sigmoid()".to_string(),
        Tree::Nested(items) => {
            let items: Vec<_> = items
                .iter()
                .enumerate()
                .map(|(i, (name, item))| match name {
                    // The number keeps names apart.
                    Some(name) => format!("({name}_{i}): {}", written(item)),
                    None => written(item),
                })
                .collect();
            format!("Sequential({})", items.join(",\n"))
        }
    }
}

proptest! {
    #[test]
    fn what_is_printed_parses_back(tree in tree()) {
        // A Sequential without any layer is refused, and nothing else here.
        if let Ok(network) = Network::parse(&written(&tree)) {
            let again = Network::parse(&network.to_string()).unwrap();
            prop_assert_eq!(&again, &network);
            prop_assert_eq!(again.to_string(), network.to_string());
            let mut g = Graph::new();
            let x = g.input("x", &[2, 3]).unwrap();
            prop_assert!(network.build(&mut g, x).is_ok());
            prop_assert!(network.check_weights(&network.init(1).unwrap()).is_ok());
        } else {
            prop_assert!(refused(&written(&tree)).contains("has no layer"));
        }
    }
}

#[test]
fn every_row_is_consistent() {
    for layer in LAYERS {
        let values: Vec<_> = layer
            .arguments
            .iter()
            .filter(|a| a.default.is_none())
            .map(|a| format!("{}=3", a.name))
            .collect();
        let network = Network::parse(&format!("{}({})", layer.name, values.join(", "))).unwrap();
        let mut g = Graph::new();
        let x = g.input("x", &[2, 3]).unwrap();
        let built = network.build(&mut g, x).unwrap();
        let size = network.out_features().unwrap_or(3);
        assert_eq!(g.shape(built.output).unwrap().dims(), [2, size]);
    }
    for row in LOSSES {
        for reduction in ["mean", "sum", "none"] {
            let text = format!("torch.nn.{}(reduction=\"{reduction}\")", row.name);
            let loss = Loss::parse(&text).unwrap();
            assert_eq!(loss.reduction().name(), reduction);
            assert_eq!(Loss::parse(&loss.to_string()).unwrap(), loss);
            let mut g = Graph::new();
            let x = g.input("x", &[2, 3]).unwrap();
            let y = g.input("y", &[2, 3]).unwrap();
            let node = loss.build(&mut g, x, y).unwrap();
            let rank = if reduction == "none" { 2 } else { 0 };
            assert_eq!(g.shape(node).unwrap().rank(), rank);
            assert_eq!(g.node(node).unwrap().label, "loss");
            let last = g.node(node).unwrap().op().unwrap().name();
            let expected = if reduction == "none" { last } else { reduction };
            assert_eq!(last, expected);
        }
    }
}

fn weights(list: &[(&str, &[usize])]) -> BTreeMap<String, Tensor> {
    let tensor = |dims: &[usize]| Tensor::full(&Shape::new(dims).unwrap(), 0.5);
    list.iter()
        .map(|(key, dims)| (key.to_string(), tensor(dims)))
        .collect()
}

#[test]
fn weights_that_do_not_fit_are_explained() {
    let network = Network::parse(SMALL).unwrap();
    let error = |list: &[(&str, &[usize])]| match network.check_weights(&weights(list)) {
        Err(Error::Data(text)) => text,
        other => panic!("{other:?}"),
    };
    assert_eq!(
        error(&[("0.weight", &[4, 2]), ("2.weight", &[2]), ("2.b", &[1])]),
        "the weights do not fit the network
  missing:
    2.bias of shape [1]
  not of the network:
    2.b of shape [1]
  of another shape:
    0.weight must have shape [2, 4], found [4, 2]; transpose it, PyTorch's Linear holds [out_features, in_features]
    2.weight must have shape [1, 2], found [2]; reshape it
  hint: give the layers the names in the weights' keys, as print(model) shows them"
    );
    let hint = |list: &[(&str, &[usize])]| error(list).split("hint: ").last().unwrap().to_string();
    assert_eq!(
        hint(&[
            ("module.0.weight", &[2, 4]),
            ("module.2.weight", &[1, 2]),
            ("module.2.bias", &[1])
        ]),
        "the keys begin with `module.`; remove that from each"
    );
    assert_eq!(
        hint(&[("0.weight", &[2, 4]), ("2.weight", &[1, 2])]),
        "write bias=False in the layers that have none"
    );
    assert_eq!(
        hint(&[
            ("0.weight", &[2, 4]),
            ("0.bias", &[2]),
            ("2.weight", &[1, 2]),
            ("2.bias", &[1])
        ]),
        "write bias=True in the layers that have one"
    );
    assert_eq!(hint(&[("0.weight", &[2, 4])]), "the weights hold 0.weight");
    assert_eq!(
        hint(&[]),
        "there are no weights at all; give a state dict, or a seed for PyTorch's own"
    );
    assert_eq!(
        hint(&[
            ("0.weight", &[3, 4]),
            ("2.weight", &[1, 3]),
            ("2.bias", &[1])
        ]),
        "give the layers the sizes that these weights were trained with"
    );
}

#[test]
fn losses_are_read_or_explained() {
    for text in [
        "BCELoss",
        "nn.BCELoss()",
        "criterion = torch.nn.BCELoss()  # mean",
    ] {
        assert_eq!(Loss::parse(text).unwrap().to_string(), "BCELoss()");
    }
    let refused = |text: &str| Loss::parse(text).unwrap_err().to_string();
    assert_eq!(
        refused("BCELoss(reduction='max')"),
        "loss, line 1, column 19: `reduction` must be one of 'mean', 'sum', 'none', got the \
         string `max`\n  \
           1 | BCELoss(reduction='max')\n    \
             |                   ^^^^^\n  \
         hint: it is BCELoss(reduction='mean')"
    );
    for (text, part) in [
        (
            "BCELos()",
            "did you mean `BCELoss`? the losses are BCELoss, BCEWithLogitsLoss, MSELoss",
        ),
        ("BCELoss('sum')", "give BCELoss's `reduction` by name"),
        ("BCELoss(), MSELoss()", "this is a second one"),
        (
            "BCELoss(weight=w)",
            "`weight` is a tensor and cannot be given in text",
        ),
        ("MSELoss(weight=w)", "MSELoss has no argument `weight`"),
        ("", "the text of the loss is empty"),
        ("4", "expected the name of a loss, found 4"),
    ] {
        let error = refused(text);
        assert!(error.contains(part), "{text}\n{error}");
    }
}

#[test]
fn losses_refuse_shapes_that_pytorch_refuses_or_warns_of() {
    let mut g = Graph::new();
    let x = g.input("x", &[8, 1]).unwrap();
    let y = g.input("y", &[8]).unwrap();
    let t = g.input("t", &[8, 1]).unwrap();
    let mean = Reduction::Mean;
    assert_eq!(
        g.bce_loss(x, y, None, mean).unwrap_err().to_string(),
        "bce_loss: the input has shape [8, 1], the target [8]; reshape the target to [8, 1] \
         (applied to `x`)"
    );
    assert!(g.bce_with_logits_loss(x, y, None, None, mean).is_err());
    assert!(g.mse_loss(x, y, mean).is_err());
    assert_eq!(
        g.bce_loss(x, t, Some(y), mean).unwrap_err().to_string(),
        "bce_loss: weight of shape [8] does not broadcast to the input's shape [8, 1]; reshape it \
         (applied to `x`)"
    );
    assert!(g.bce_with_logits_loss(x, t, None, Some(y), mean).is_err());
    let w = g.input("w", &[1]).unwrap();
    let loss = g.bce_with_logits_loss(x, t, Some(w), Some(w), Reduction::None);
    assert_eq!(g.shape(loss.unwrap()).unwrap().dims(), [8, 1]);
    let loss = g.bce_loss(x, t, Some(w), Reduction::Sum);
    assert_eq!(g.shape(loss.unwrap()).unwrap().rank(), 0);
}

#[test]
fn data_that_pytorch_refuses_is_refused() {
    let tensor = |dims: &[usize], data: &[f32]| Tensor::new(dims, data.to_vec()).unwrap();
    let loss = |text: &str| Loss::parse(text).unwrap();
    let good = tensor(&[2, 2], &[0.0, 1.0, 0.5, -0.0]);
    let outside = tensor(&[2, 2], &[0.0, 1.0, 1.5, -2.0]);
    let nan = tensor(&[2, 2], &[0.0, f32::NAN, 1.5, 0.0]);
    for text in ["BCELoss", "BCEWithLogitsLoss", "MSELoss"] {
        assert_eq!(loss(text).check_target(&good), Ok(None));
        assert_eq!(loss(text).check_input(&good), Ok(None));
        assert_eq!(loss(text).check_target(&tensor(&[0, 3], &[])), Ok(None));
        let error = loss(text).check_target(&nan).unwrap_err().to_string();
        assert_eq!(
            error,
            format!(
                "{text}: the target at [0, 1] is NaN (the only one of 4 elements); find out \
                 where it comes from"
            )
        );
    }
    assert_eq!(
        loss("BCELoss").check_target(&outside).unwrap_err(),
        Error::Data(
            "BCELoss: the target at [1, 0] is 1.5, outside [0, 1] (the first of 2, among 4 \
             elements); targets are classes 0 and 1 or probabilities: scale or clip them"
                .to_string()
        )
    );
    assert_eq!(
        loss("BCELoss")
            .check_input(&Tensor::scalar(-2.0))
            .unwrap_err()
            .to_string(),
        "BCELoss: the input at [] is -2, outside [0, 1]; end the network with Sigmoid(), or use \
         BCEWithLogitsLoss"
    );
    assert!(loss("BCELoss").check_input(&nan).is_err());
    assert!(
        loss("BCEWithLogitsLoss")
            .check_target(&outside)
            .unwrap()
            .is_some()
    );
    assert!(
        loss("BCEWithLogitsLoss")
            .check_input(&outside)
            .unwrap()
            .is_none()
    );
    assert!(loss("MSELoss").check_target(&outside).unwrap().is_none());
    assert!(loss("MSELoss").check_input(&nan).unwrap().is_some());
}

/// The value of `node` by the ops' own definitions, the leaves given by label.
fn value(g: &Graph, node: NodeId, leaves: &[(&str, &[f64])]) -> Vec<f64> {
    let mut values: Vec<ArrayD<f64>> = Vec::new();
    for (_, node) in g.nodes() {
        let value = match node.op() {
            Some(op) => {
                let inputs: Vec<_> = node
                    .inputs
                    .iter()
                    .map(|i| values[i.index()].view())
                    .collect();
                op.eval(&inputs)
            }
            None => {
                let data = leaves
                    .iter()
                    .find(|(label, _)| *label == node.label)
                    .unwrap()
                    .1;
                ArrayD::from_shape_vec(IxDyn(node.shape.dims()), data.to_vec()).unwrap()
            }
        };
        values.push(value);
    }
    values[node.index()].iter().copied().collect()
}

#[test]
fn weights_multiply_before_the_reduction_and_the_mean_counts_elements() {
    const P: [f64; 4] = [0.2, 0.9, 0.5, 0.7];
    const Y: [f64; 4] = [0.0, 1.0, 0.25, 1.0];
    // One weight for each column, so that the broadcast matters.
    const W: [f64; 2] = [2.0, 5.0];
    const POS: [f64; 2] = [3.0, 0.5];
    let leaves: [(&str, &[f64]); 4] = [("p", &P), ("y", &Y), ("w", &W), ("pos", &POS)];
    let each = |f: &dyn Fn(usize) -> f64| (0..4).map(f).collect::<Vec<_>>();
    let bce = each(&|i| -(Y[i] * P[i].ln() + (1.0 - Y[i]) * (1.0 - P[i]).ln()) * W[i % 2]);
    let s = |i: usize| 1.0 / (1.0 + f64::exp(-P[i]));
    let logits =
        each(&|i| -(POS[i % 2] * Y[i] * s(i).ln() + (1.0 - Y[i]) * (1.0 - s(i)).ln()) * W[i % 2]);
    let mse = each(&|i| (P[i] - Y[i]) * (P[i] - Y[i]));

    for reduction in [Reduction::Mean, Reduction::Sum, Reduction::None] {
        let mut g = Graph::new();
        let p = g.input("p", &[2, 2]).unwrap();
        let y = g.input("y", &[2, 2]).unwrap();
        let w = g.input("w", &[2]).unwrap();
        let pos = g.input("pos", &[2]).unwrap();
        let built = [
            (g.bce_loss(p, y, Some(w), reduction), &bce),
            (
                g.bce_with_logits_loss(p, y, Some(w), Some(pos), reduction),
                &logits,
            ),
            (g.mse_loss(p, y, reduction), &mse),
        ];
        for (node, each) in built {
            let got = value(&g, node.unwrap(), &leaves);
            let sum: f64 = each.iter().sum();
            let want = match reduction {
                Reduction::Mean => vec![sum / 4.0],
                Reduction::Sum => vec![sum],
                Reduction::None => each.clone(),
            };
            assert_eq!(got.len(), want.len());
            for (got, want) in got.iter().zip(&want) {
                approx::assert_relative_eq!(got, want, max_relative = 1e-12);
            }
        }
    }
}
