//! Files that are there whole or not at all, whenever the process ends: each is
//! written under another name in the same folder and renamed when it is complete.
//!
//! What is being written is listed, so that a program that is told to stop can
//! remove it first ([`give_up`]). The library itself handles no signals.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use tempfile::NamedTempFile;

/// The temporary files of this process.
static DRAFTS: Mutex<BTreeSet<PathBuf>> = Mutex::new(BTreeSet::new());

/// A list of names is never left half-changed, so a panic does not spoil it.
fn drafts() -> MutexGuard<'static, BTreeSet<PathBuf>> {
    DRAFTS.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Who may read a file.
pub(crate) enum Access {
    /// All whom this process's umask lets, as of any program's files.
    Public,
    /// This user alone.
    Private,
}

/// A new file of a name that nobody has.
#[cfg(unix)]
fn temporary(folder: &Path, access: Access) -> io::Result<NamedTempFile> {
    use std::os::unix::fs::PermissionsExt;
    let mut builder = tempfile::Builder::new();
    if let Access::Public = access {
        builder.permissions(fs::Permissions::from_mode(0o666));
    }
    builder.tempfile_in(folder)
}

/// A new file of a name that nobody has. Who may read it is the folder's affair.
#[cfg(not(unix))]
fn temporary(folder: &Path, _: Access) -> io::Result<NamedTempFile> {
    NamedTempFile::new_in(folder)
}

/// A file that is being written. Dropped unfinished, it is gone.
pub(crate) struct Draft {
    /// There until it is finished or dropped.
    file: Option<NamedTempFile>,
    path: PathBuf,
}

impl Draft {
    /// A file under a temporary name in this folder.
    pub fn new(folder: &Path, access: Access) -> io::Result<Draft> {
        // Made and listed at once: nobody gives up in between.
        let mut drafts = drafts();
        let file = temporary(folder, access)?;
        let path = file.path().to_path_buf();
        drafts.insert(path.clone());
        Ok(Draft {
            file: Some(file),
            path,
        })
    }

    /// To write to.
    pub fn file(&mut self) -> io::Result<&mut File> {
        let file = self.file.as_mut().map(NamedTempFile::as_file_mut);
        file.ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    /// Gives it its name. A file that has that name is replaced.
    pub fn finish(mut self, path: &Path) -> io::Result<()> {
        let mut drafts = drafts();
        let Some(file) = self.file.take() else {
            return Err(io::ErrorKind::NotFound.into());
        };
        // What cannot be renamed is removed here, with its entry.
        let renamed = file.persist(path).map(drop).map_err(|e| e.error);
        drafts.remove(&self.path);
        renamed
    }
}

impl Drop for Draft {
    fn drop(&mut self) {
        if let Some(file) = self.file.take() {
            let mut drafts = drafts();
            drop(file);
            drafts.remove(&self.path);
        }
    }
}

/// For a program that is about to end, from any thread: removes the files that
/// are being written, and lets none be begun or finished after that. A thread that
/// tries to will wait for the end of the process.
pub fn give_up() {
    let drafts = drafts();
    for path in &*drafts {
        // What cannot be removed is left: the end must come.
        let _ = fs::remove_file(path);
    }
    std::mem::forget(drafts);
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    #[test]
    fn a_draft_is_finished_or_gone() {
        let folder = tempfile::tempdir().unwrap();
        let count = || fs::read_dir(folder.path()).unwrap().count();
        let listed = |path: &Path| drafts().contains(path);
        let mut draft = Draft::new(folder.path(), Access::Public).unwrap();
        let temporary = draft.path.clone();
        draft.file().unwrap().write_all(b"whole").unwrap();
        assert!(temporary.exists() && listed(&temporary));
        let path = folder.path().join("file");
        draft.finish(&path).unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"whole");
        assert_eq!(count(), 1);
        assert!(!listed(&temporary));

        let draft = Draft::new(folder.path(), Access::Private).unwrap();
        let temporary = draft.path.clone();
        drop(draft);
        assert_eq!(count(), 1);
        assert!(!listed(&temporary));

        let draft = Draft::new(folder.path(), Access::Private).unwrap();
        let temporary = draft.path.clone();
        assert!(draft.finish(&folder.path().join("no/such")).is_err());
        assert_eq!(count(), 1);
        assert!(!listed(&temporary));
    }
}
