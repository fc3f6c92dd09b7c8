//! Files that a command writes when it is done.

use std::path::{Path, PathBuf};

use wgrad::{Result, io};

/// A file that is written at the end and known to be writable before. It takes
/// its name when it is complete.
pub struct Export(PathBuf);

impl Export {
    pub fn to(path: &Path) -> Result<Export> {
        io::check_writable(path)?;
        Ok(Export(path.to_path_buf()))
    }

    pub fn path(&self) -> &Path {
        &self.0
    }

    pub fn write(self, text: &str) -> Result<()> {
        io::write(&self.0, text.as_bytes())
    }
}
