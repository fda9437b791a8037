// SPDX-License-Identifier: Apache-2.0

//! Errors of configurations.

use crate::MAX_BYTES;
use std::{fmt, io, path::PathBuf};

/// Error of one key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// The key with its section, such as `node.port`.
    pub key: String,
    /// The reason, and the remedy.
    pub reason: String,
}

impl Problem {
    /// Creates the error of a key.
    pub fn new(key: impl Into<String>, reason: impl Into<String>) -> Self {
        Self { key: key.into(), reason: reason.into() }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.key, self.reason)
    }
}

/// Error of a configuration.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("cannot read it: {0}")]
    File(#[source] io::Error),
    /// The file is too large.
    #[error(
        "it is larger than {MAX_BYTES} bytes; a configuration names files, it does not hold them"
    )]
    TooLarge,
    /// The text is neither TOML nor JSON.
    #[error("it is no {format}: {reason}")]
    Syntax {
        /// Format that was expected.
        format: &'static str,
        /// Place and reason, by the parser.
        reason: String,
    },
    /// The text is JSON, and no object.
    #[error(
        "it is JSON without keys; a configuration is TOML, or a JSON object such as \
         {{\"node\": {{}}}}"
    )]
    NoKeys,
    /// The file is a folder, a pipe, or a device.
    #[error("it is no regular file; write the configuration to one, and name that")]
    Special,
    /// Keys that are unknown, refused, or have a wrong value. There is at least one.
    #[error("{}", list(.0))]
    Problems(Vec<Problem>),
    /// Error of a file.
    #[error("{}: {source}", path.display())]
    At {
        /// Path of the file.
        path: PathBuf,
        /// Its error.
        source: Box<ConfigError>,
    },
}

/// Maximum number of problems that are printed.
const MAX_LISTED: usize = 50;

/// Returns one problem on the same line, several on a line each.
fn list(problems: &[Problem]) -> String {
    if let [problem] = problems {
        return problem.to_string();
    }
    let mut text = format!("{} keys have to change", problems.len());
    for problem in problems.iter().take(MAX_LISTED) {
        text.push_str(&format!("\n  {problem}"));
    }
    if problems.len() > MAX_LISTED {
        text.push_str("\n  …");
    }
    text
}
