use super::*;

fn keys(text: &str) -> Vec<(String, String)> {
    let spec = parse_network(text).unwrap();
    spec.layers.into_iter().map(|l| (l.key, l.kind)).collect()
}

fn refused(text: &str) -> String {
    parse_network(text).unwrap_err().to_string()
}

fn pairs(list: &[(&str, &str)]) -> Vec<(String, String)> {
    let own = |&(a, b): &(&str, &str)| (a.to_string(), b.to_string());
    list.iter().map(own).collect()
}

#[test]
fn code_as_people_write_it() {
    let expected = pairs(&[("0", "Linear"), ("1", "ReLU"), ("2", "Linear")]);
    for text in [
        "Sequential(Linear(4, 2, bias=False), ReLU(), Linear(2, 1))",
        "nn.Sequential(nn.Linear(4, 2), nn.ReLU(inplace=True), nn.Linear(2, 1),)",
        "model = torch.nn.Sequential(\n  torch.nn.Linear(4, 2),  # in\n  ReLU,\n  Linear(2, 1,),\n)\n",
        "self.net = Sequential(Linear(in_features=4, out_features=2), ReLU(), Linear(2, 1))",
        "Linear(4, 2), ReLU(), Linear(2, 1)",
        "(0): Linear(4, 2)\n(1): ReLU()\n(2): Linear(2, 1)",
        "\u{a0}Sequential(\r\n\tLinear(4, 2),\r\n\tReLU(),\r\n\tLinear(2, 1)\r\n)\r\n",
    ] {
        assert_eq!(keys(text), expected, "{text}");
    }
    assert_eq!(keys("Linear(4, 2)"), pairs(&[("", "Linear")]));
    assert_eq!(keys("Sequential(Linear(4, 2))"), pairs(&[("0", "Linear")]));
}

#[test]
fn printed_models_give_the_keys() {
    let text = "Sequential(
  (fc1): Linear(in_features=4, out_features=2, bias=False)
  (act): ReLU()
  (2): Sequential(
    (0): Linear(in_features=2, out_features=1, bias=True)
    (1): Sequential()
    (2): Sigmoid()
  )
)";
    let expected = pairs(&[
        ("fc1", "Linear"),
        ("act", "ReLU"),
        ("2.0", "Linear"),
        ("2.2", "Sigmoid"),
    ]);
    assert_eq!(keys(text), expected);
}

#[test]
fn ordered_dicts_give_the_keys() {
    let text = "nn.Sequential(OrderedDict([
            ('fc-1', nn.Linear(4, 2)), ('rest', nn.Sequential(nn.ReLU())),]))";
    let expected = pairs(&[("fc-1", "Linear"), ("rest.0", "ReLU")]);
    assert_eq!(keys(text), expected);
    let alone = "OrderedDict([('a', ReLU()), ('b', ReLU())])";
    assert_eq!(keys(alone), pairs(&[("a", "ReLU"), ("b", "ReLU")]));
    assert!(refused("Sequential(OrderedDict(ReLU()))").contains("expected OrderedDict(["));
    assert!(
        refused("Sequential(OrderedDict([('a.b', ReLU())]))").contains("cannot be called `a.b`")
    );
}

#[test]
fn values_and_places() {
    let spec = parse_network("Sequential(\n  L(4, -0.5, b=True, c='x', d=y, e=(1, [2]), f=None))")
        .unwrap();
    let layer = &spec.layers[0];
    assert_eq!(
        (layer.place.offset, layer.place.line, layer.place.column),
        (14, 2, 3)
    );
    let values: Vec<_> = layer.args.iter().map(|a| a.value.describe()).collect();
    assert_eq!(
        values,
        [
            "4",
            "-0.5",
            "True",
            "the string `x`",
            "`y`",
            "a list",
            "None"
        ]
    );
}

#[test]
fn what_is_wrong_is_pointed_at() {
    assert_eq!(
        refused("Sequential(\n  Linear(4, 2,\n  ReLU()"),
        "network, line 2, column 9: this bracket is never closed\n  \
               2 |   Linear(4, 2,\n    \
                 |         ^\n  \
             hint: the text ends inside it; is its end missing?"
    );
    assert_eq!(
        refused("Sequential(Linear(4 2))"),
        "network, line 1, column 21: expected `,` or `)`, found `2`\n  \
               1 | Sequential(Linear(4 2))\n    \
                 |                     ^\n  \
             hint: a comma may be missing before it"
    );
    for (text, part) in [
        ("", "the text of the network is empty; write layers"),
        ("# nothing", "the text of the network is empty"),
        ("Sequential()", "the network has no layer"),
        ("Sequential", "the network has no layer"),
        (
            "Sequential(ReLU()))",
            "column 19: expected `,` or the end, found `)`",
        ),
        ("Sequential(ReLU(])", "expected a value, found `]`"),
        (
            "Sequential([ReLU())",
            "column 19: expected `,` or `]`, found `)`",
        ),
        ("Sequential([ReLU()])", "without a list"),
        ("Sequential(ReLU(), 4)", "expected a layer, found 4"),
        ("Sequential(x=ReLU())", "Sequential has no argument `x`"),
        ("a = ReLU(), ReLU()", "stands in a list of layers"),
        (
            "a = ReLU()\nb = ReLU()",
            "give one network and nothing else",
        ),
        ("ReLU(a=", "expected a value, found the end of the text"),
        ("ReLU(,)", "expected a value, found `,`"),
        ("ReLU('a)", "string is not closed"),
        ("Sequential(*layers)", "unexpected character '*'"),
        (
            "Sequential((a): ReLU() (a): ReLU())",
            "a second layer is called `a`",
        ),
        (
            "Net((fc): Linear(2, 1))",
            "`Net` holds layers but is not Sequential",
        ),
        ("Linear(99999999999999999999)", "this number is too large"),
    ] {
        let error = refused(text);
        assert!(error.contains(part), "{text}\n{error}");
    }
}

#[test]
fn limits_hold_and_nothing_overflows() {
    let nested = |depth: usize| {
        let open = "Sequential(".repeat(depth);
        format!("{open}ReLU(){}", ")".repeat(depth))
    };
    assert_eq!(keys(&nested(MAX_DEPTH)).len(), 1);
    assert!(refused(&nested(MAX_DEPTH + 1)).contains("more than 32 Sequentials"));
    assert!(refused(&"(".repeat(MAX_TEXT)).contains("brackets are open"));
    assert!(refused(&"[".repeat(1000)).contains("brackets are open"));
    assert!(refused(&"(0):".repeat(1000)).contains("expected a value"));
    assert!(refused(&" ".repeat(MAX_TEXT + 1)).contains("more than 1048576"));
    assert_eq!(keys(&"ReLU(),".repeat(MAX_LAYERS)).len(), MAX_LAYERS);
    assert!(refused(&"ReLU(),".repeat(MAX_LAYERS + 1)).contains("more than 10000 layers"));
}

proptest::proptest! {
    #[test]
    fn any_text_is_read_or_refused(text in "[ -~\\n\u{e9}]{0,80}") {
        let _ = parse_network(&text);
    }

    #[test]
    fn any_words_are_read_or_refused(
        words in proptest::collection::vec(
            proptest::sample::select(vec![
                "Sequential", "Linear", "(", ")", "[", "]", ",", "=", "4", "-1e999", "'a'",
                "(0):", "OrderedDict", "\n", "#", "True",
            ]),
            0..40,
        )
    ) {
        if let Ok(spec) = parse_network(&words.concat()) {
            let keys: HashSet<_> = spec.layers.iter().map(|layer| &layer.key).collect();
            proptest::prop_assert_eq!(keys.len(), spec.layers.len());
        }
    }
}
