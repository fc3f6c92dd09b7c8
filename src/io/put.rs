//! Writing files so that each is there whole or not at all, whenever the
//! process ends.

use std::fs;
use std::io::{self, Write};
use std::path::Path;

use crate::error::{Error, Result};

/// Writes a file: by way of a temporary one beside it, which takes its name when
/// it is complete. A file that is there keeps its permissions, a link stays.
///
/// # Errors
/// [`Error::File`].
pub fn write(path: &Path, bytes: &[u8]) -> Result<()> {
    whole(path, bytes).map_err(|reason| Error::file(path, reason))
}

/// Writes a file: by way of a temporary one beside it, or straight on where
/// the path is a device, a pipe or a link to nowhere.
fn whole(path: &Path, bytes: &[u8]) -> Result<(), String> {
    let said = |e: io::Error| e.to_string();
    let old = fs::metadata(path).ok();
    let special = match &old {
        Some(old) => !old.is_file(),
        // The link of a link to nowhere stays; what it names is made.
        None => fs::symlink_metadata(path).is_ok(),
    };
    if old.as_ref().is_some_and(fs::Metadata::is_dir) {
        return Err("this directory is no file; name a file in it".to_string());
    }
    if special {
        return fs::write(path, bytes).map_err(said);
    }
    // A link stays too, and what it leads to is replaced.
    let path = match &old {
        Some(_) => &path.canonicalize().map_err(said)?,
        None => path,
    };
    let folder = path.parent().filter(|p| !p.as_os_str().is_empty());
    let folder = folder.unwrap_or(Path::new("."));
    let mut builder = tempfile::Builder::new();
    // As any program's files: 0666 under the umask. A temporary file's own
    // 0600 would keep the group out.
    #[cfg(unix)]
    let public = <fs::Permissions as std::os::unix::fs::PermissionsExt>::from_mode(0o666);
    #[cfg(unix)]
    builder.permissions(public);
    // Its own text would name the temporary file.
    let mut file = builder.tempfile_in(folder).map_err(|e| {
        let (folder, kind) = (folder.display(), e.kind());
        format!("no file can be made in {folder}: {kind}; name a folder that is there")
    })?;
    if let Some(old) = old {
        let kept = file.as_file().set_permissions(old.permissions());
        kept.map_err(said)?;
    }
    file.as_file_mut().write_all(bytes).map_err(said)?;
    file.persist(path).map_err(|e| said(e.error))?;
    Ok(())
}
