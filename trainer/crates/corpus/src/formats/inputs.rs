// SPDX-License-Identifier: Apache-2.0

//! Inputs that paths name.

use std::{
    ffi::OsStr,
    fs,
    path::{Path, PathBuf},
};

use walkdir::{DirEntry, WalkDir};

use super::{Content, Documents, Input, ReadOptions};
use crate::{CorpusError, Document, Origin, Refusal, error::IoContext as _};

/// Path that stands for standard input.
const STANDARD_INPUT: &str = "-";
/// Deepest folder that is entered.
const MAX_DEPTH: usize = 64;

/// Turns paths into inputs, in the order of the paths and, within a folder, of its names. `-` is
/// standard input. Hidden files in folders are refused, and so is everything that is no file.
///
/// Locations are relative to the folder that holds the path, so that they are the same on all
/// machines.
///
/// # Errors
///
/// An item is an error if a path or folder cannot be read, or if `-` is named twice.
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
            Ok(_) => Box::new(std::iter::once(Ok(Ok(file(path, path.file_name()))))),
            Err(error) => Box::new(std::iter::once(Err(error))),
        }
    })
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
    let mut walk =
        WalkDir::new(root).follow_links(true).max_depth(MAX_DEPTH).sort_by_file_name().into_iter();
    std::iter::from_fn(move || {
        loop {
            let entry = match walk.next()? {
                Ok(entry) => entry,
                Err(error) if is_dead_link(&error) => {
                    let origin = origin(location(root, error.path().unwrap_or(root)));
                    let reason = "a link to something that is not there".into();
                    return Some(Ok(Err(Refusal { origin, reason })));
                }
                Err(error) => {
                    if let Some(ancestor) = error.loop_ancestor() {
                        let origin = origin(location(root, error.path().unwrap_or(root)));
                        let reason = format!("leads back to {}", ancestor.display());
                        return Some(Ok(Err(Refusal { origin, reason })));
                    }
                    return Some(Err(walk_error(root, error)));
                }
            };
            if let Some(reason) = refusal(&entry) {
                if entry.file_type().is_dir() {
                    walk.skip_current_dir();
                }
                let origin = origin(location(root, entry.path()));
                return Some(Ok(Err(Refusal { origin, reason: reason.into() })));
            }
            if entry.file_type().is_file() {
                let location = location(root, entry.path());
                return Some(Ok(Ok(file(entry.path(), Some(OsStr::new(&location))))));
            }
        }
    })
}

fn refusal(entry: &DirEntry) -> Option<&'static str> {
    let inside = entry.depth() > 0;
    let hidden = inside.then(|| hidden(&entry.file_name().to_string_lossy())).flatten();
    let kind = entry.file_type();
    let special = !kind.is_file() && !kind.is_dir();
    hidden.or_else(|| special.then_some("neither a file nor a folder"))
}

/// Returns the reason for which a name within a folder or archive is left out.
pub(super) fn hidden(name: &str) -> Option<&'static str> {
    if name.starts_with("._") || name == "__MACOSX" {
        Some("metadata that macOS keeps beside a file")
    } else if name.starts_with('.') && name != "." && name != ".." {
        Some("hidden; name it on its own if it is meant")
    } else {
        None
    }
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

fn walk_error(root: &Path, error: walkdir::Error) -> CorpusError {
    let path = error.path().unwrap_or(root).to_owned();
    CorpusError::Io { action: "read", path, source: error.into() }
}
