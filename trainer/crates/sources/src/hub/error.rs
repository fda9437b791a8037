// SPDX-License-Identifier: Apache-2.0

use super::{RepoKind, client::RequestError};
use std::{io, path::PathBuf};

/// Error of a hub or of what it serves. Messages say what to do.
#[derive(Debug, thiserror::Error)]
pub enum HubError {
    /// The hub refuses access.
    #[error(
        "{endpoint} refuses it; if it is not public, accept its terms there and set HF_TOKEN to \
         your access token"
    )]
    Refused {
        /// Address of the hub.
        endpoint: String,
    },
    /// The hub gives a data set only to who accepted its terms.
    #[error(
        "{id} is gated: accept its terms at {endpoint}/datasets/{id}, and set HF_TOKEN to an \
         access token of that account"
    )]
    Gated {
        /// Address of the hub.
        endpoint: String,
        /// Name of the data set.
        id: String,
    },
    /// The hub does not know the repository, the revision or the file.
    #[error("{endpoint} has no such {kind}, revision or file")]
    NotFound {
        /// Address of the hub.
        endpoint: String,
        /// Kind of repository.
        kind: RepoKind,
    },
    /// The hub asks to come back later, also after several attempts.
    #[error(
        "{endpoint} limits the rate of requests; try again in {seconds} seconds, or set HF_TOKEN, \
         which raises the limit"
    )]
    Limited {
        /// Address of the hub.
        endpoint: String,
        /// Delay that the hub asks for, in seconds.
        seconds: u64,
    },
    /// The hub cannot be reached.
    #[error(
        "{endpoint} cannot be reached: {reason}; check the network, or set HF_ENDPOINT to a \
         mirror, or give a folder or file"
    )]
    Unreachable {
        /// Address of the hub.
        endpoint: String,
        /// Failure of the request.
        reason: String,
    },
    /// The answer of the hub is malformed.
    #[error("{endpoint} {reason}")]
    Answer {
        /// Address of the hub.
        endpoint: String,
        /// Violation.
        reason: String,
    },
    /// The data set has no such configuration, split or column, or cannot be read.
    #[error("{id}: {reason}")]
    Dataset {
        /// Name and revision of the data set.
        id: String,
        /// Failure and remedy.
        reason: String,
    },
    /// A file could not be fetched, or is not as the hub describes it.
    #[error("{path}: {reason}")]
    File {
        /// Path in the repository.
        path: String,
        /// Failure and remedy.
        reason: String,
    },
    /// An operation of the file system failed.
    #[error("cannot {action} {}: {source}", .path.display())]
    Io {
        /// Operation as a verb.
        action: &'static str,
        /// File or folder.
        path: PathBuf,
        /// Error of the system.
        source: io::Error,
    },
}

impl HubError {
    /// Describes the failure of a request for a repository of `kind`.
    pub(super) fn of_request(kind: RepoKind, endpoint: &str, error: RequestError) -> Self {
        let endpoint = endpoint.to_owned();
        match error {
            RequestError::Status(401 | 403, _) => Self::Refused { endpoint },
            RequestError::Status(416, _) => {
                let reason = "has fewer bytes of the file than it states; try again".into();
                Self::Answer { endpoint, reason }
            }
            RequestError::Status(404, _) => Self::NotFound { endpoint, kind },
            RequestError::Status(429, delay) => {
                Self::Limited { endpoint, seconds: delay.map_or(60, |delay| delay.as_secs()) }
            }
            RequestError::Answer(reason) => Self::Answer { endpoint, reason },
            error => Self::Unreachable { endpoint, reason: error.to_string() },
        }
    }

    /// Says that the error is about the file at `path`.
    pub(super) fn at(self, path: &str) -> Self {
        Self::File { path: path.to_owned(), reason: self.to_string() }
    }
}
