//! Imports point one way: a module knows the ones below it and none above.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

/// The layers of docs/ARCHITECTURE.md. A module may import from its own layer.
fn layers() -> BTreeMap<&'static str, u32> {
    let list: [(u32, &[&str]); 8] = [
        (
            0,
            &[
                "error", "shape", "tensor", "number", "file", "cache", "watch",
            ],
        ),
        (1, &["graph"]),
        (2, &["ops"]),
        (3, &["autodiff"]),
        (4, &["plan", "io", "nn"]),
        (5, &["run"]),
        (
            6,
            &[
                "batches", "check", "solution", "exercise", "sheet", "bench", "tune", "trace",
                "profile",
            ],
        ),
        (7, &["report"]),
    ];
    list.iter()
        .flat_map(|(layer, names)| names.iter().map(|name| (*name, *layer)))
        .collect()
}

/// What the crate's root re-exports, and from where.
fn home(name: &str) -> &str {
    match name {
        "Error" | "Result" => "error",
        "Shape" => "shape",
        "Tensor" => "tensor",
        "Graph" | "NodeId" => "graph",
        "gradient" | "vjp" => "autodiff",
        "Feeds" | "Gpu" | "GpuOptions" | "Program" => "run",
        other => other,
    }
}

fn rust_files(folder: &Path, found: &mut Vec<std::path::PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            rust_files(&path, found);
        } else if path.extension().is_some_and(|e| e == "rs") {
            found.push(path);
        }
    }
}

#[test]
fn no_import_points_up() {
    let layers = layers();
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut files = Vec::new();
    rust_files(&src, &mut files);
    let mut arrows = 0;
    let mut seen = Vec::new();
    for file in files {
        let relative = file.strip_prefix(&src).unwrap();
        let module = relative.iter().next().unwrap().to_str().unwrap();
        let module = module.trim_end_matches(".rs");
        if ["lib", "main", "cli"].contains(&module) {
            continue; // the top: may import everything
        }
        let own = *layers.get(module).unwrap_or_else(|| {
            panic!("module `{module}` has no layer: add it here and to the docs")
        });
        seen.push(module.to_string());
        let text = fs::read_to_string(&file).unwrap();
        // Tests may look anywhere.
        let code = text.split("#[cfg(test)]").next().unwrap();
        for (number, line) in code.lines().enumerate() {
            let line = line.trim();
            if line.starts_with("//") {
                continue;
            }
            if line.contains("wgpu::") && module != "run" {
                panic!("{relative:?}:{}: only run/gpu speaks to wgpu", number + 1);
            }
            for part in line.split("crate::").skip(1) {
                let name: String = part
                    .chars()
                    .take_while(|c| c.is_alphanumeric() || *c == '_')
                    .collect();
                let target = home(&name);
                let Some(&layer) = layers.get(target) else {
                    panic!("{relative:?}:{}: unknown `crate::{name}`", number + 1);
                };
                arrows += 1;
                assert!(
                    layer <= own,
                    "{relative:?}:{}: `{module}` (layer {own}) imports `{target}` (layer {layer})",
                    number + 1
                );
            }
        }
    }
    assert!(
        arrows > 50,
        "only {arrows} imports found: does this test still read them?"
    );
    for name in layers.keys() {
        assert!(
            seen.iter().any(|s| s == name),
            "layer names `{name}`, which does not exist"
        );
    }
}
