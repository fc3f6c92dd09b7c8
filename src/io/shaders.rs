//! A plan as files that a person can read: each kernel's WGSL, and the list of
//! steps that use them.

use std::path::Path;

use crate::error::{Error, Result};
use crate::plan::Plan;

/// Writes each kernel of `plan` to `DIR/<nn>-<label>.wgsl`, numbered in the
/// order of the plan, and the plan itself to `DIR/plan.txt`. The folder is
/// made if it is not there; files of the same names are replaced.
///
/// # Errors
/// [`Error::File`] if the folder or a file cannot be written.
pub fn save(folder: &Path, plan: &Plan) -> Result<()> {
    std::fs::create_dir_all(folder).map_err(|e| Error::file(folder, e.to_string()))?;
    let write = |name: &str, text: &str| {
        let path = folder.join(name);
        super::write(&path, text.as_bytes())
    };
    for (i, kernel) in plan.kernels.iter().enumerate() {
        let name = format!("{i:02}-{}.wgsl", safe(&kernel.label));
        write(&name, &kernel.source)?;
    }
    write("plan.txt", &plan.to_string())
}

/// A label as part of a file's name on any system.
fn safe(label: &str) -> String {
    let keep = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
    let each = label.chars().map(|c| if keep(c) { c } else { '_' });
    each.take(80).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::graph::Graph;

    #[test]
    fn every_kernel_is_a_file() {
        let mut g = Graph::new();
        let x = g.input("x", &[3, 4]).unwrap();
        let y = g.relu(x).unwrap();
        let z = g.sum_all(y).unwrap();
        let plan = Plan::new(&g, &[z]).unwrap();
        let folder = tempfile::tempdir().unwrap();
        let inner = folder.path().join("a/b");
        save(&inner, &plan).unwrap();
        let names: Vec<_> = std::fs::read_dir(&inner).unwrap().collect();
        assert_eq!(names.len(), plan.kernels.len() + 1);
        let text = std::fs::read_to_string(inner.join("plan.txt")).unwrap();
        assert_eq!(text, plan.to_string());
        for entry in names {
            let path = entry.unwrap().path();
            let text = std::fs::read_to_string(&path).unwrap();
            let is_kernel = plan.kernels.iter().any(|k| k.source == text);
            assert!(is_kernel || path.ends_with("plan.txt"), "{path:?}");
        }
        let taken = folder.path().join("taken");
        std::fs::write(&taken, "").unwrap();
        assert!(matches!(save(&taken, &plan), Err(Error::File { .. })));
    }

    #[test]
    fn labels_become_names_of_files() {
        assert_eq!(safe("d/d 0 (Linear)"), "d_d_0__Linear_");
        assert_eq!(safe(&"x".repeat(300)).len(), 80);
    }
}
