//! Files that make a later run faster and on which no result depends: where
//! they are, how they are written, and how damage is found. Nothing is read or
//! written unless a caller names the folder.
//!
//! A file that is not there, is damaged, or was written for something else is
//! not used, and that is never an error.

use std::ffi::OsString;
use std::fs::{self, File};
use std::io::{Read, Write};
use std::path::{Path, PathBuf};

use crate::error::{Error, Result};
use crate::file::{Access, Draft};

/// The folder of the user's caches for wgrad, after this system's custom:
/// `$XDG_CACHE_HOME/wgrad` or `~/.cache/wgrad`, `~/Library/Caches/wgrad`,
/// `%LOCALAPPDATA%\wgrad\cache`. `WGRAD_CACHE_DIR` names another, or none where
/// it is set and empty.
pub fn user_folder() -> Option<PathBuf> {
    folder_on(std::env::consts::OS, |name| std::env::var_os(name))
}

fn folder_on(os: &str, var: impl Fn(&str) -> Option<OsString>) -> Option<PathBuf> {
    if let Some(own) = var("WGRAD_CACHE_DIR") {
        return (!own.is_empty()).then(|| own.into());
    }
    // A relative path would mean another folder in every directory.
    let base = |name: &str| var(name).map(PathBuf::from).filter(|p| p.is_absolute());
    match os {
        "windows" => base("LOCALAPPDATA").map(|p| p.join("wgrad").join("cache")),
        "macos" | "ios" => base("HOME").map(|p| p.join("Library/Caches/wgrad")),
        _ => base("XDG_CACHE_HOME")
            .or_else(|| base("HOME").map(|p| p.join(".cache")))
            .map(|p| p.join("wgrad")),
    }
}

/// The FNV-1a hash of `bytes`. It finds damage; it is no protection from a
/// person who writes to the file on purpose.
pub fn hash(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, &byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    })
}

/// The name of the file that holds `kind` for what `identity` names, so that
/// two of them never share one.
pub fn file_name(kind: &str, identity: &str, ending: &str) -> String {
    format!("{kind}-{:016x}.{ending}", hash(identity.as_bytes()))
}

/// What a file holds, if it is there and has at most `most` bytes.
///
/// # Errors
/// It is there and cannot be used, in words.
pub fn read(path: &Path, most: u64) -> Result<Option<Vec<u8>>, String> {
    let file = match File::open(path) {
        Ok(file) => file,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(e) => return Err(e.to_string()),
    };
    let mut bytes = Vec::new();
    let read = file.take(most + 1).read_to_end(&mut bytes);
    read.map_err(|e| e.to_string())?;
    match bytes.len() as u64 > most {
        true => Err(format!("it has more than {most} bytes")),
        false => Ok(Some(bytes)),
    }
}

/// Writes a file under another name first, so that it is there whole or not at
/// all. The folder is made where it is missing, for this user alone.
///
/// # Errors
/// [`Error::File`].
pub fn write(path: &Path, bytes: &[u8]) -> Result<()> {
    let wrong = |e: std::io::Error| Error::file(path, e.to_string());
    let folder = path.parent().unwrap_or(Path::new("."));
    let mut builder = fs::DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(folder).map_err(wrong)?;
    let mut draft = Draft::new(folder, Access::Private).map_err(wrong)?;
    draft
        .file()
        .and_then(|file| file.write_all(bytes))
        .map_err(wrong)?;
    draft.finish(path).map_err(wrong)
}

/// Removes the oldest of the files of this kind and ending, so that `most` are
/// left: adapters, drivers and versions come and go.
pub fn forget_oldest(folder: &Path, kind: &str, ending: &str, most: usize) {
    let Ok(entries) = fs::read_dir(folder) else {
        return;
    };
    let ours = |name: &str| {
        let rest = name.strip_prefix(kind).and_then(|n| n.strip_prefix('-'));
        let hash = rest.and_then(|n| n.strip_suffix(ending)?.strip_suffix('.'));
        hash.is_some_and(|h| h.len() == 16 && h.bytes().all(|b| b.is_ascii_hexdigit()))
    };
    let mut files: Vec<_> = entries
        .flatten()
        .filter(|entry| entry.file_name().to_str().is_some_and(ours))
        .filter_map(|entry| Some((entry.metadata().ok()?.modified().ok()?, entry.path())))
        .collect();
    files.sort();
    let many = files.len().saturating_sub(most);
    for (_, path) in &files[..many] {
        // Another process may have been quicker.
        let _ = fs::remove_file(path);
    }
}

/// The beginning of a sealed file. The number changes with its layout.
const MAGIC: &[u8] = b"wgrad cache 1\n";

/// `data` with what is needed to know it again: what it was made for, its
/// length, and a hash of all.
pub fn seal(identity: &str, data: &[u8]) -> Vec<u8> {
    let mut bytes = MAGIC.to_vec();
    bytes.extend((identity.len() as u64).to_le_bytes());
    bytes.extend((data.len() as u64).to_le_bytes());
    bytes.extend(identity.as_bytes());
    bytes.extend(data);
    bytes.extend(hash(&bytes).to_le_bytes());
    bytes
}

/// The data of a sealed file.
///
/// # Errors
/// It is damaged, or was made for something else; in words.
pub fn unseal<'a>(identity: &str, bytes: &'a [u8]) -> Result<&'a [u8], String> {
    let damaged = || "it is damaged".to_string();
    let (body, sum) = bytes.split_last_chunk::<8>().ok_or_else(damaged)?;
    if u64::from_le_bytes(*sum) != hash(body) {
        return Err(damaged());
    }
    let rest = body.strip_prefix(MAGIC).ok_or_else(damaged)?;
    let (name, rest) = rest.split_first_chunk::<8>().ok_or_else(damaged)?;
    let (size, rest) = rest.split_first_chunk::<8>().ok_or_else(damaged)?;
    let [name, size] = [name, size].map(|n| u64::from_le_bytes(*n));
    if name.checked_add(size) != Some(rest.len() as u64) {
        return Err(damaged());
    }
    // The name is no longer than the rest, which is in memory.
    let (name, data) = rest.split_at(name as usize);
    match name == identity.as_bytes() {
        true => Ok(data),
        false => Err("it was made for another adapter, driver or version".to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_folder_is_where_each_system_has_it() {
        let on = |os: &str, vars: &[(&str, &str)]| {
            let path = folder_on(os, |name| {
                let found = vars.iter().find(|(n, _)| *n == name);
                found.map(|(_, value)| value.into())
            });
            path.map(|p| p.to_str().unwrap().replace('\\', "/"))
        };
        let some = |text: &str| Some(text.to_string());
        assert_eq!(on("linux", &[("HOME", "/h")]), some("/h/.cache/wgrad"));
        assert_eq!(
            on("linux", &[("HOME", "/h"), ("XDG_CACHE_HOME", "/c")]),
            some("/c/wgrad")
        );
        assert_eq!(
            on("linux", &[("HOME", "/h"), ("XDG_CACHE_HOME", "c")]),
            some("/h/.cache/wgrad")
        );
        assert_eq!(
            on("macos", &[("HOME", "/h"), ("XDG_CACHE_HOME", "/c")]),
            some("/h/Library/Caches/wgrad")
        );
        assert_eq!(
            on("windows", &[("LOCALAPPDATA", "/l"), ("HOME", "/h")]),
            some("/l/wgrad/cache")
        );
        assert_eq!(on("linux", &[]), None);
        let own = [("HOME", "/h"), ("WGRAD_CACHE_DIR", "here")];
        assert_eq!(on("linux", &own), some("here"));
        assert_eq!(
            on("linux", &[("HOME", "/h"), ("WGRAD_CACHE_DIR", "")]),
            None
        );
    }

    #[test]
    fn a_sealed_file_is_whole_or_not_used() {
        let bytes = seal("this", b"some data");
        assert_eq!(unseal("this", &bytes), Ok(&b"some data"[..]));
        assert_eq!(unseal("this", &seal("this", b"")), Ok(&b""[..]));
        assert!(unseal("that", &bytes).unwrap_err().contains("another"));
        for end in 0..bytes.len() {
            assert!(unseal("this", &bytes[..end]).is_err(), "the first {end}");
        }
        for bit in 0..8 * bytes.len() {
            let mut other = bytes.clone();
            other[bit / 8] ^= 1 << (bit % 8);
            assert!(unseal("this", &other).is_err(), "bit {bit}");
        }
        let mut longer = bytes.clone();
        longer.push(0);
        assert!(unseal("this", &longer).is_err());
    }

    #[test]
    fn files_are_written_whole_and_the_oldest_go() {
        let folder = tempfile::tempdir().unwrap();
        let inner = folder.path().join("a/b");
        let path = inner.join("file");
        assert_eq!(read(&path, 10), Ok(None));
        write(&path, b"first").unwrap();
        write(&path, b"second").unwrap();
        assert_eq!(read(&path, 6), Ok(Some(b"second".to_vec())));
        assert!(read(&path, 5).unwrap_err().contains("more than 5"));
        assert!(read(&inner, 5).is_err(), "a folder is no file");
        for i in 0..5 {
            write(&inner.join(file_name("kind", &i.to_string(), "bin")), b"").unwrap();
        }
        write(&inner.join("kind-of-mine.bin"), b"").unwrap();
        forget_oldest(&inner, "kind", "bin", 2);
        let count = fs::read_dir(&inner).unwrap().count();
        assert_eq!(count, 4, "two of five, and what is not ours");
        forget_oldest(Path::new("/nowhere/at/all"), "kind", "bin", 0);
    }
}
