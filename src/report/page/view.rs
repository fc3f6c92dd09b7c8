//! Steps and leaves as the page's template takes them.

use std::collections::BTreeMap;

use serde::Serialize;

use super::chain::{self, Chain};
use crate::check::ulps;
use crate::error::Result;
use crate::graph::{NodeId, Role};
use crate::number;
use crate::report::heat::{self, Heat};
use crate::report::picture::pretty;
use crate::report::{Report, math};
use crate::solution::{Engine, Leaf, Prepared, SHOWN_ELEMENTS, Step as Solved};
use crate::tensor::Tensor;

/// A step of the page.
#[derive(Serialize)]
pub(super) struct Step {
    pub id: usize,
    pub number: usize,
    pub backward: bool,
    pub symbol: String,
    /// The symbol as plain text.
    pub spoken: String,
    pub label: String,
    pub op: String,
    pub shape: String,
    pub formula: String,
    pub chain: Option<Chain>,
    pub numbers: Vec<String>,
    pub table: Option<Table>,
    pub heat: Option<Heat>,
    pub largest: Option<String>,
    pub share: Option<String>,
    pub failed: usize,
}

impl Step {
    pub fn is_heat(&self) -> bool {
        self.heat.is_some()
    }
}

/// Values side by side.
#[derive(Serialize)]
pub(super) struct Table {
    pub header: Vec<&'static str>,
    pub rows: Vec<Vec<String>>,
}

/// A leaf of the page.
#[derive(Serialize)]
pub(super) struct Given {
    pub id: Option<usize>,
    pub symbol: String,
    pub label: String,
    pub shape: String,
    pub matrix: Option<String>,
    pub heat: Option<Heat>,
}

impl Given {
    pub fn is_heat(&self) -> bool {
        self.heat.is_some()
    }
}

/// What is given, as digits up to `most` elements.
pub(super) fn given(prepared: &Prepared, leaf: &Leaf, most: usize) -> Result<Given> {
    let small = leaf.value.data().len() <= most;
    Ok(Given {
        id: prepared.graph.find(&leaf.label).map(NodeId::index),
        symbol: format!("<math>{}</math>", math::symbol(&leaf.symbol)),
        label: leaf.label.clone(),
        shape: leaf.value.shape().to_string(),
        matrix: small.then(|| matrix(&leaf.symbol, &leaf.value)),
        heat: if small {
            None
        } else {
            heat::heat(&leaf.value)?
        },
    })
}

/// One step.
pub(super) fn step(
    prepared: &Prepared,
    report: &Report,
    symbols: &[String],
    gradients: &BTreeMap<usize, usize>,
    place: usize,
    step: &Solved,
) -> Result<Step> {
    let graph = &prepared.graph;
    let node = graph.node(step.node)?;
    let name = |at: &str| {
        let input = at.parse().ok().and_then(|i: usize| node.inputs.get(i));
        input.map_or("?".to_string(), |i| symbols[i.index()].clone())
    };
    let rule = node.op().map(|op| op.explain().formula).unwrap_or_default();
    let small = step.value.data().len() <= SHOWN_ELEMENTS;
    let indices = indices(&step.value);
    let numbers = (step.numbers.iter().zip(&indices))
        .map(|(text, index)| {
            let symbol = math::symbol(&step.symbol);
            let left = match index.as_str() {
                "" => symbol,
                // Under an index, a fraction stands in parentheses.
                _ if symbol.starts_with("<mfrac>") => {
                    let symbol = math::fenced('(', &symbol, ')');
                    format!("<msub>{symbol}<mtext>{index}</mtext></msub>")
                }
                _ => format!("<msub><mrow>{symbol}</mrow><mtext>{index}</mtext></msub>"),
            };
            let right = math::formula(text, &|_| "?".to_string());
            format!("<math><mrow>{left}<mo>=</mo>{right}</mrow></math>")
        })
        .collect();
    let primal = gradients.get(&step.node.index());
    let primal = primal.and_then(|p| graph.nodes().nth(*p)).map(|(id, _)| id);
    let chain = match primal.filter(|_| step.role == Role::Backward) {
        Some(primal) => chain::chain(graph, symbols, prepared.loss_node, primal)?,
        None => None,
    };
    Ok(Step {
        id: step.node.index(),
        number: place + 1,
        backward: step.role == Role::Backward,
        symbol: format!("<math>{}</math>", math::symbol(&step.symbol)),
        spoken: pretty(&step.symbol),
        label: step.label.clone(),
        op: step.op.clone(),
        shape: step.value.shape().to_string(),
        formula: math::equation(&step.symbol, &math::formula(&rule, &name), true),
        chain,
        numbers,
        table: small.then(|| table(report, step, &indices)),
        heat: if small {
            None
        } else {
            heat::heat(&step.value)?
        },
        largest: report.max_ulps(step).map(ulp_text),
        share: step
            .local
            .as_ref()
            .map(|c| format!("{:.0}%", c.max_share * 100.0)),
        failed: step.comparisons().map(|c| c.failures).max().unwrap_or(0),
    })
}

fn table(report: &Report, step: &Solved, indices: &[String]) -> Table {
    let on_gpu = matches!(report.solution.engine, Engine::Gpu(_));
    let pytorch = report.pytorch_of(step);
    let mut header = vec![
        "element",
        if on_gpu { "GPU" } else { "CPU, float32" },
        "CPU reference (float64)",
    ];
    header.extend(pytorch.map(|_| "PyTorch"));
    let compared = on_gpu || pytorch.is_some();
    header.extend(compared.then_some("ULP"));
    let rows = (step.value.data().iter().enumerate())
        .map(|(i, &value)| {
            let wide = step.reference.as_ref();
            let wide = wide.and_then(|r| r.value.iter().nth(i).copied());
            let torch = pytorch.and_then(|v| v.get(i).copied());
            let against = [wide.filter(|_| on_gpu), torch.map(f64::from)];
            let most = against
                .into_iter()
                .flatten()
                .map(|want| ulps(value, want))
                .reduce(f64::max);
            let dash = || "\u{2013}".to_string();
            let mut row = vec![
                indices[i].clone(),
                number::show(value),
                wide.map_or_else(dash, number::show_wide),
            ];
            row.extend(pytorch.map(|_| torch.map_or_else(dash, number::show)));
            row.extend(compared.then(|| most.map_or_else(dash, ulp_text)));
            row
        })
        .collect();
    Table { header, rows }
}

/// A small tensor as a matrix; of more axes than two, the leading ones become rows.
fn matrix(symbol: &str, tensor: &Tensor) -> String {
    let across = tensor.dims().last().copied().unwrap_or(1).max(1);
    let number = |v: &f32| format!("<mtd><mn>{}</mn></mtd>", minus(&number::show(*v)));
    let rows: Vec<String> = (tensor.data().chunks(across))
        .map(|row| format!("<mtr>{}</mtr>", row.iter().map(number).collect::<String>()))
        .collect();
    let right = match (tensor.data(), tensor.dims().is_empty()) {
        ([only], true) => format!("<mn>{}</mn>", minus(&number::show(*only))),
        _ => format!(
            "<mrow><mo>[</mo><mtable columnalign=\"right\">{}</mtable><mo>]</mo></mrow>",
            rows.concat()
        ),
    };
    math::equation(symbol, &right, true)
}

fn indices(tensor: &Tensor) -> Vec<String> {
    if tensor.data().len() > SHOWN_ELEMENTS {
        return Vec::new();
    }
    let each = ndarray::indices(ndarray::IxDyn(tensor.dims())).into_iter();
    each.map(|index| bracket(ndarray::Dimension::slice(&index)))
        .collect()
}

/// An element's index as `[0,1]`; nothing for a scalar.
pub(super) fn bracket(index: &[usize]) -> String {
    if index.is_empty() {
        return String::new();
    }
    let parts: Vec<_> = index.iter().map(usize::to_string).collect();
    format!("[{}]", parts.join(","))
}

/// A number with a minus sign in place of a hyphen.
pub(super) fn minus(text: &str) -> String {
    text.replace('-', "\u{2212}")
}

fn ulp_text(ulps: f64) -> String {
    match ulps {
        u if u.is_infinite() => "inf".to_string(),
        u if u < 100.0 => format!("{u:.1}"),
        u => format!("{u:.0}"),
    }
}
