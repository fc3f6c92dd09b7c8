//! Writing files so that each is there whole or not at all, whenever the
//! process ends.

use std::fs::{self, Permissions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use crate::error::{Error, Result};
use crate::file::{Access, Draft};

/// Bytes that are written at once. A signal waits for the end of the write that the thread
/// is in, and after the last one the file has its name before anybody can give it up.
const PIECE: usize = 1 << 20;

/// Links that are followed, as by most systems.
const MOST_LINKS: usize = 40;

/// Writes a file: by way of a temporary one beside it, which takes its name when
/// it is complete. A file that is there keeps its permissions, a link stays. A
/// device or a pipe is written to as it is.
///
/// A program that may be interrupted removes the temporary file with
/// [`give_up`](crate::file::give_up).
///
/// # Errors
/// [`Error::File`].
pub fn write(path: &Path, bytes: &[u8]) -> Result<()> {
    whole(path, bytes).map_err(|reason| Error::file(path, reason))
}

/// Whether a file of this name could be written now; nothing is left behind.
///
/// # Errors
/// [`Error::File`]: it could not.
pub fn check_writable(path: &Path) -> Result<()> {
    let begun = place(path).and_then(|place| match place {
        Place::Special => Ok(()),
        Place::File { path, .. } => draft(&path).map(drop),
    });
    begun.map_err(|reason| Error::file(path, reason))
}

/// Where bytes for a path go.
enum Place {
    /// Straight on: it is no file.
    Special,
    /// To a file, new or with these permissions, at the end of the path's links.
    File {
        path: PathBuf,
        old: Option<Permissions>,
    },
}

fn said(e: io::Error) -> String {
    e.to_string()
}

fn place(path: &Path) -> Result<Place, String> {
    match fs::metadata(path) {
        Ok(old) if old.is_dir() => Err("this directory is no file; name a file in it".to_string()),
        // A link stays, and what it leads to is replaced.
        Ok(old) if old.is_file() => Ok(Place::File {
            path: path.canonicalize().map_err(said)?,
            old: Some(old.permissions()),
        }),
        Ok(_) => Ok(Place::Special),
        Err(_) => Ok(Place::File {
            path: end_of_links(path)?,
            old: None,
        }),
    }
}

/// The name that a link to nowhere leads to; any other name as it is.
fn end_of_links(path: &Path) -> Result<PathBuf, String> {
    let mut path = path.to_path_buf();
    for _ in 0..MOST_LINKS {
        match fs::read_link(&path) {
            Ok(next) => path = folder(&path).join(next),
            Err(_) => return Ok(path),
        }
    }
    Err("its links lead to one another; name a file".to_string())
}

fn folder(path: &Path) -> &Path {
    let folder = path.parent().filter(|p| !p.as_os_str().is_empty());
    folder.unwrap_or(Path::new("."))
}

fn draft(path: &Path) -> Result<Draft, String> {
    let folder = folder(path);
    // Its own text would name the temporary file.
    Draft::new(folder, Access::Public).map_err(|e| {
        let (folder, kind) = (folder.display(), e.kind());
        format!("no file can be made in {folder}: {kind}; name a folder that is there")
    })
}

fn whole(path: &Path, bytes: &[u8]) -> Result<(), String> {
    let Place::File { path, old } = place(path)? else {
        return fs::write(path, bytes).map_err(said);
    };
    let mut draft = draft(&path)?;
    let file = draft.file().map_err(said)?;
    if let Some(old) = old {
        file.set_permissions(old).map_err(said)?;
    }
    for piece in bytes.chunks(PIECE) {
        file.write_all(piece).map_err(said)?;
    }
    draft.finish(&path).map_err(said)
}
