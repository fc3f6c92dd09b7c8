//! Files that a command writes when it is done.

use std::path::{Path, PathBuf};

use wgrad::{Error, Result};

/// A file that is written at the end and known to be writable before. It takes
/// its name when it is complete.
pub struct Export(PathBuf);

impl Export {
    pub fn to(path: &Path) -> Result<Export> {
        let folder = path.parent().filter(|p| !p.as_os_str().is_empty());
        let folder = folder.unwrap_or(Path::new("."));
        // Its own text would name the temporary file.
        tempfile::NamedTempFile::new_in(folder).map_err(|e| {
            let (folder, kind) = (folder.display(), e.kind());
            let reason =
                format!("no file can be made in {folder}: {kind}; name a folder that is there");
            Error::file(path, reason)
        })?;
        Ok(Export(path.to_path_buf()))
    }

    pub fn path(&self) -> &Path {
        &self.0
    }

    pub fn write(self, text: &str) -> Result<()> {
        wgrad::io::write(&self.0, text.as_bytes())
    }
}
