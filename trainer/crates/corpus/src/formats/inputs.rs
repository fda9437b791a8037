// SPDX-License-Identifier: Apache-2.0

//! Inputs that paths name.

use std::{
    ffi::OsStr,
    fs::{self, File},
    path::{Path, PathBuf},
};

use walkdir::{DirEntry, WalkDir};

use super::{Content, Documents, EMPTY, Input, NO_TEXT, ReadOptions};
use crate::{CorpusError, Document, Origin, Refusal, error::IoContext as _};

/// Path that stands for standard input.
const STANDARD_INPUT: &str = "-";
/// Reasons for which something in a folder or archive is left out that nobody meant.
const UNMEANT: [&str; 2] =
    ["metadata that macOS keeps beside a file", "hidden; name it on its own if it is meant"];
/// Deepest folder that is entered.
const MAX_DEPTH: usize = 64;

/// Turns paths into inputs, in the order of the paths and, within a folder, of its names. `-` is
/// standard input. Hidden files in folders are refused, and so is everything that is no file or
/// cannot be read.
///
/// Locations are relative to the folder that holds the path, so that they are the same on all
/// machines.
///
/// # Errors
///
/// An item is an error if a path itself cannot be read or is a device, or if `-` is named twice.
pub fn inputs(
    paths: &[PathBuf],
) -> impl Iterator<Item = Result<Result<Input, Refusal>, CorpusError>> + '_ {
    paths.iter().enumerate().flat_map(|(at, path)| -> Box<dyn Iterator<Item = _>> {
        if path.as_os_str() == STANDARD_INPUT {
            let again = paths[..at].iter().any(|path| path.as_os_str() == STANDARD_INPUT);
            return Box::new(std::iter::once(standard_input(again)));
        }
        match fs::metadata(path).io_context("read", path) {
            Ok(metadata) if metadata.is_dir() => Box::new(folder(path)),
            Ok(metadata) if metadata.is_file() || is_pipe(&metadata) => {
                Box::new(std::iter::once(Ok(Ok(file(path, path.file_name())))))
            }
            Ok(_) => Box::new(std::iter::once(Err(CorpusError::InvalidOption(format!(
                "{} is a device or socket; name files, folders, or pipes",
                path.display()
            ))))),
            Err(error) => Box::new(std::iter::once(Err(error))),
        }
    })
}

/// Returns `true` if a path is that of a pipe, which can be read once.
#[cfg(unix)]
pub fn is_pipe(facts: &fs::Metadata) -> bool {
    use std::os::unix::fs::FileTypeExt as _;
    facts.file_type().is_fifo()
}

/// Returns `true` if a path is that of a pipe, which can be read once.
#[cfg(not(unix))]
pub fn is_pipe(_: &fs::Metadata) -> bool {
    false
}

/// Reads the documents of all inputs that paths name, in order.
///
/// # Errors
///
/// An item is an error if an input cannot be read.
pub fn documents<'a>(
    paths: &'a [PathBuf],
    options: &'a ReadOptions,
) -> impl Iterator<Item = Result<Result<Document, Refusal>, CorpusError>> + 'a {
    inputs(paths).flat_map(move |input| -> Box<dyn Iterator<Item = _>> {
        let opened = match input {
            Ok(Ok(input)) => Documents::open(input, options),
            Ok(Err(refusal)) => return Box::new(std::iter::once(Ok(Err(refusal)))),
            Err(error) => Err(error),
        };
        match opened {
            Ok(documents) => Box::new(documents),
            Err(error) => Box::new(std::iter::once(Err(error))),
        }
    })
}

fn standard_input(again: bool) -> Result<Result<Input, Refusal>, CorpusError> {
    if again {
        let reason = "`-` is named twice, but standard input can be read only once";
        return Err(CorpusError::InvalidOption(reason.into()));
    }
    let content = Content::Stream(Box::new(std::io::stdin()));
    Ok(Ok(Input { origin: origin("standard input".into()), media: None, content }))
}

fn origin(location: String) -> Origin {
    Origin { source: "files".into(), location, ..Origin::default() }
}

fn file(path: &Path, location: Option<&OsStr>) -> Input {
    let location = location.unwrap_or(path.as_os_str()).to_string_lossy().into_owned();
    Input { origin: origin(location), media: None, content: Content::File(path.to_owned()) }
}

fn folder(root: &Path) -> impl Iterator<Item = Result<Result<Input, Refusal>, CorpusError>> + '_ {
    // The deepest folders are refused, not passed over.
    let walk = WalkDir::new(root).follow_links(true).max_depth(MAX_DEPTH + 1);
    let mut walk = walk.sort_by_file_name().into_iter();
    std::iter::from_fn(move || {
        loop {
            let entry = match walk.next()? {
                Ok(entry) => entry,
                Err(error) => return Some(unread(root, error)),
            };
            let location = location(root, entry.path());
            if let Some(reason) = refusal(&entry) {
                if entry.file_type().is_dir() {
                    walk.skip_current_dir();
                }
                return Some(Ok(Err(Refusal { origin: origin(location), reason })));
            }
            if entry.file_type().is_file() {
                return Some(Ok(Ok(file(entry.path(), Some(OsStr::new(&location))))));
            }
        }
    })
}

/// Returns the reason for which something in a folder is no input.
fn refusal(entry: &DirEntry) -> Option<String> {
    let kind = entry.file_type();
    let inside = entry.depth() > 0;
    if let Some(reason) = inside.then(|| hidden(&entry.file_name().to_string_lossy())).flatten() {
        return Some(reason.to_owned());
    }
    if kind.is_dir() {
        let is_deep = entry.depth() == MAX_DEPTH;
        return is_deep.then(|| format!("over {MAX_DEPTH} folders deep; name it on its own"));
    }
    if !kind.is_file() {
        return Some("neither a file nor a folder".to_owned());
    }
    File::open(entry.path()).err().map(|error| format!("cannot be read: {error}"))
}

/// Returns the refusal of something in a folder that cannot be read, or the error of the folder.
fn unread(root: &Path, error: walkdir::Error) -> Result<Result<Input, Refusal>, CorpusError> {
    let path = error.path().unwrap_or(root).to_owned();
    let reason = if let Some(ancestor) = error.loop_ancestor() {
        format!("leads back to {}", location(root, ancestor))
    } else if error.depth() == 0 {
        return Err(CorpusError::Io { action: "read", path, source: error.into() });
    } else if is_dead_link(&error) {
        "a link to something that is not there".to_owned()
    } else {
        // Without the path, which other machines do not have.
        let error = error.into_io_error();
        format!("cannot be read: {}", error.map_or_else(String::new, |error| error.to_string()))
    };
    Ok(Err(Refusal { origin: origin(location(root, &path)), reason }))
}

/// Returns the reason for which a name within a folder or archive is left out.
pub(super) fn hidden(name: &str) -> Option<&'static str> {
    if name.starts_with("._") || name == "__MACOSX" {
        Some(UNMEANT[0])
    } else if name.starts_with('.') && name != "." && name != ".." {
        Some(UNMEANT[1])
    } else {
        None
    }
}

/// Returns `true` if a refusal leaves out what a folder or archive hides.
pub(crate) fn is_hidden(refusal: &Refusal) -> bool {
    UNMEANT.contains(&refusal.reason.as_str())
}

/// Returns `true` if a refusal leaves out something without a text.
pub(crate) fn is_blank(refusal: &Refusal) -> bool {
    [EMPTY, NO_TEXT].contains(&refusal.reason.as_str())
}

/// Returns a path from the folder that holds the root, with slashes on all systems.
fn location(root: &Path, path: &Path) -> String {
    let below = path.strip_prefix(root).unwrap_or(path);
    root.file_name()
        .into_iter()
        .chain(below.iter())
        .map(OsStr::to_string_lossy)
        .collect::<Vec<_>>()
        .join("/")
}

fn is_dead_link(error: &walkdir::Error) -> bool {
    error.path().is_some_and(Path::is_symlink)
        && error.io_error().is_some_and(|error| error.kind() == std::io::ErrorKind::NotFound)
}
