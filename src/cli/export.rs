//! Files that a command writes when it is done.

use std::io::Write;
use std::path::{Path, PathBuf};

use wgrad::{Error, Result};

/// A file that is written at the end and known to be writable before. It takes
/// its name when it is complete.
pub struct Export {
    path: PathBuf,
    file: tempfile::NamedTempFile,
}

impl Export {
    pub fn to(path: &Path) -> Result<Export> {
        let folder = path.parent().filter(|p| !p.as_os_str().is_empty());
        let folder = folder.unwrap_or(Path::new("."));
        let file = tempfile::NamedTempFile::new_in(folder);
        Ok(Export {
            path: path.to_path_buf(),
            // Its own text would name the temporary file.
            file: file.map_err(|e| {
                let (folder, kind) = (folder.display(), e.kind());
                let reason =
                    format!("no file can be made in {folder}: {kind}; name a folder that is there");
                Error::file(path, reason)
            })?,
        })
    }

    pub fn write(mut self, text: &str) -> Result<()> {
        let written = self.file.write_all(text.as_bytes());
        written.map_err(|e| Error::file(&self.path, e.to_string()))?;
        let kept = self.file.persist(&self.path);
        kept.map_err(|e| Error::file(&self.path, e.to_string()))?;
        Ok(())
    }
}
