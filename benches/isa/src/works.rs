//! Which kernels are looked at: those that a GPU gets for `wgrad bench`'s networks and
//! for large products of matrices, or those of WGSL files.

use std::path::Path;

use anyhow::{Context, Result};
use wgrad::bench::Work;
use wgrad::graph::{Graph, Target};
use wgrad::plan::Plan;
use wgrad::tune;

use crate::spirv::Wgsl;

/// The exercise's network on a batch that fills a GPU.
const LARGE_BATCH: usize = 1 << 22;

const PRODUCTS: [&str; 6] = [
    "1024x1024x1024 nt",
    "1024x1024x1024 nn",
    "1024x1024x1024 tn",
    "4096x4096x4096 nt",
    "4096x4096x4096 nn",
    "4096x4096x4096 tn",
];

/// A kernel, and what it is for.
#[derive(Clone, PartialEq, Debug)]
pub struct Kernel {
    /// A short name.
    pub label: String,
    pub entry: String,
    pub source: String,
    /// The works whose steps use it.
    pub problems: Vec<String>,
}

/// The kernels that a GPU like `target` gets, each text once.
pub fn defaults(target: &Target) -> Result<Vec<Kernel>> {
    let mut kernels = Vec::new();
    let mut works = Work::defaults(None)?;
    works.extend(Work::defaults(Some(&[LARGE_BATCH]))?);
    for work in works {
        let name = format!("{}/{}", work.name(), work.batch);
        let plan = work
            .plan(target)
            .with_context(|| format!("no plan of {name}"))?;
        add(&mut kernels, &name, &plan);
    }
    for product in PRODUCTS {
        let plan = product_plan(product, target)
            .with_context(|| format!("no plan of the product {product}"))?;
        // The layout comes from the step.
        let sizes = product.split(' ').next().unwrap_or(product);
        add(&mut kernels, sizes, &plan);
    }
    Ok(kernels)
}

fn product_plan(text: &str, target: &Target) -> Result<Plan> {
    let problem = tune::parse(text)?;
    let turned = |on: bool, [rows, columns]: [usize; 2]| match on {
        true => [columns, rows],
        false => [rows, columns],
    };
    let (turn_a, turn_b) = (problem.transpose_a, problem.transpose_b);
    let mut graph = Graph::new();
    let a = graph.input("a", &turned(turn_a, [problem.m, problem.k]))?;
    let b = graph.input("b", &turned(turn_b, [problem.k, problem.n]))?;
    let c = graph.matmul_with(a, b, turn_a, turn_b)?;
    Ok(Plan::with_target(&graph, &[c], target)?)
}

/// Adds the kernels of a plan's steps, or what else they are for.
fn add(kernels: &mut Vec<Kernel>, work: &str, plan: &Plan) {
    for step in &plan.steps {
        let kernel = &plan.kernels[step.kernel];
        let problem = match layout(&step.op).filter(|_| is_product(&kernel.entry)) {
            Some(layout) => format!("{work} {layout}"),
            None => work.to_string(),
        };
        let same = |k: &&mut Kernel| (&k.entry, &k.source) == (&kernel.entry, &kernel.source);
        match kernels.iter_mut().find(same) {
            Some(known) if known.problems.contains(&problem) => {}
            Some(known) => known.problems.push(problem),
            None => kernels.push(Kernel {
                label: kernel.label.clone(),
                entry: kernel.entry.clone(),
                source: kernel.source.clone(),
                problems: vec![problem],
            }),
        }
    }
}

/// How the operands of a step's product lie: `nt` is the second transposed.
fn layout(op: &str) -> Option<String> {
    let own = op.split(", ").find(|own| own.starts_with("matmul"))?;
    let letter = |axis: &str| if own.contains(axis) { 't' } else { 'n' };
    Some(
        [letter("transpose_a"), letter("transpose_b")]
            .iter()
            .collect(),
    )
}

/// Whether an entry point is one of wgrad's products of matrices.
pub fn is_product(entry: &str) -> bool {
    entry.starts_with("matmul")
}

/// Rows that a turn of a row program's loop computes; nothing for other kernels.
pub fn rows_a_turn(kernel: &Kernel) -> Option<u64> {
    let one_by_one = kernel.source.contains("\nfn row(");
    (kernel.entry == "rows").then_some(if one_by_one { 1 } else { 4 })
}

/// The kernels of a WGSL file: one for each of its compute entry points. A text that is
/// not valid is one kernel, so that it fails where the others are compiled.
pub fn file(path: &Path) -> Result<Vec<Kernel>> {
    let source =
        std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
    let name = path.display().to_string();
    let kernel = |label: String, entry: String| Kernel {
        label,
        entry,
        source: source.clone(),
        problems: vec![name.clone()],
    };
    let Ok(wgsl) = Wgsl::parse(&source) else {
        return Ok(vec![kernel(name.clone(), String::new())]);
    };
    let entries = wgsl.entries();
    anyhow::ensure!(
        !entries.is_empty(),
        "{name} has no @compute entry point, so there is nothing to compile"
    );
    Ok(entries.into_iter().map(|e| kernel(e.clone(), e)).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kernel_is_there_once_and_knows_its_works() {
        let kernels = defaults(&Target::default()).unwrap();
        for (i, a) in kernels.iter().enumerate() {
            assert!(
                kernels[i + 1..]
                    .iter()
                    .all(|b| a.source != b.source || a.entry != b.entry)
            );
            assert!(Wgsl::parse(&a.source).unwrap().entries().contains(&a.entry));
        }
        let problems: Vec<_> = kernels.iter().flat_map(|k| &k.problems).collect();
        let all = ["nt", "nn", "tn"].map(|l| format!("4096x4096x4096 {l}"));
        let works = ["4-2-1/1", "4-2-1/4194304", "784-512-256-1/256 nt"].map(String::from);
        for want in all.iter().chain(&works) {
            assert!(problems.contains(&want), "{want}: {problems:?}");
        }
        assert!(kernels.iter().any(|k| rows_a_turn(k) == Some(4)));
    }

    #[test]
    fn a_product_says_how_its_operands_lie() {
        assert_eq!(layout("matmul[transpose_b], add, relu").unwrap(), "nt");
        assert_eq!(layout("matmul").unwrap(), "nn");
        assert_eq!(layout("mul, matmul[transpose_a]").unwrap(), "tn");
        assert_eq!(
            layout("matmul[transpose_a,transpose_b,f16], relu").unwrap(),
            "tt"
        );
        assert_eq!(layout("sum[axes=[0]]"), None);
    }

    #[test]
    fn a_file_gives_each_entry_point_or_says_why_not() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("k.wgsl");
        let write = |text: &str| std::fs::write(&path, text).unwrap();
        write("@compute @workgroup_size(1) fn a() {} @compute @workgroup_size(1) fn b() {}");
        let entries: Vec<_> = file(&path).unwrap().into_iter().map(|k| k.entry).collect();
        assert_eq!(entries, ["a", "b"]);
        write("fn helper() {}");
        assert!(
            file(&path)
                .unwrap_err()
                .to_string()
                .contains("no @compute entry point")
        );
        write("fn (");
        assert_eq!(file(&path).unwrap().len(), 1);
        let error = file(&folder.path().join("none.wgsl")).unwrap_err();
        assert!(error.to_string().contains("none.wgsl"), "{error}");
    }
}
