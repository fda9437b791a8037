// SPDX-License-Identifier: Apache-2.0

//! Errors of roles, by the remedy: time or a person, and the form of errors of commands.

use pol_chain::ChainError;
use pol_swarm::SwarmError;

/// An error in one step of a role.
#[derive(Debug, thiserror::Error)]
pub enum RoleError {
    /// The network is at fault or time will help: the error is logged and the step is tried again
    /// with the next block.
    #[error("{0:#}")]
    Transient(anyhow::Error),
    /// Only a person can help: the process stops and keeps its state.
    #[error("{0:#}")]
    Fatal(anyhow::Error),
}

/// The result of one step of a role.
pub type Result<T, E = RoleError> = std::result::Result<T, E>;

impl RoleError {
    /// Creates an error that time may mend.
    pub fn transient(error: impl Into<anyhow::Error>) -> Self {
        Self::Transient(error.into())
    }

    /// Creates an error that only a person can mend.
    pub fn fatal(error: impl Into<anyhow::Error>) -> Self {
        Self::Fatal(error.into())
    }

    /// Logs a transient error, so that the caller can go on.
    ///
    /// # Errors
    ///
    /// Returns the error if it is fatal.
    pub fn log_transient(self) -> Result<()> {
        match self {
            Self::Transient(error) => {
                tracing::warn!("{}; trying again with the next block", explain(&error));
                Ok(())
            }
            fatal => Err(fatal),
        }
    }

    /// Returns `true` if a blob is larger than it may be. Its hash proves the size.
    pub fn is_too_large(&self) -> bool {
        let (Self::Transient(error) | Self::Fatal(error)) = self;
        matches!(error.downcast_ref(), Some(SwarmError::TooLarge { .. }))
    }

    /// Returns the inner error, for commands that have no next block to wait for.
    pub fn into_inner(self) -> anyhow::Error {
        let (Self::Transient(error) | Self::Fatal(error)) = self;
        error
    }
}

/// Returns the error and its causes on one line, without causes that the line names already.
pub fn explain(error: &anyhow::Error) -> String {
    let mut text = error.to_string();
    for cause in error.chain().skip(1).map(ToString::to_string) {
        if !text.contains(&cause) {
            text = format!("{text}: {cause}");
        }
    }
    text
}

/// Form of the error that a program ends with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ErrorFormat {
    /// Line for people.
    Text,
    /// Object in JSON with the field `error`.
    Json,
}

impl ErrorFormat {
    /// Prints an error of the program `name` to standard error.
    pub(crate) fn print(self, name: &str, error: &str) {
        match self {
            Self::Text => eprintln!("{name}: {error}"),
            Self::Json => eprintln!("{}", serde_json::json!({ "error": error })),
        }
    }
}

impl From<ChainError> for RoleError {
    fn from(error: ChainError) -> Self {
        if matches!(error, ChainError::Unfunded { .. }) {
            Self::fatal(error)
        } else {
            Self::transient(error)
        }
    }
}

impl From<SwarmError> for RoleError {
    fn from(error: SwarmError) -> Self {
        match error {
            // A failed store keeps failing until it is opened again.
            SwarmError::DiskFull(_) | SwarmError::Damaged { .. } | SwarmError::Store(_) => {
                Self::fatal(error)
            }
            _ => Self::transient(error),
        }
    }
}

// Retrying does not mend the computation or the files of this machine.
impl From<pol_engine::EngineError> for RoleError {
    fn from(error: pol_engine::EngineError) -> Self {
        use pol_engine::EngineError::{Diverged, NotFinite};
        // These come from other members' updates and data.
        if matches!(error, NotFinite { .. } | Diverged { .. }) {
            Self::transient(error)
        } else {
            Self::fatal(error)
        }
    }
}

impl From<crate::state::StateError> for RoleError {
    fn from(error: crate::state::StateError) -> Self {
        Self::fatal(error)
    }
}

impl From<tokio::task::JoinError> for RoleError {
    fn from(error: tokio::task::JoinError) -> Self {
        Self::fatal(anyhow::Error::new(error).context("a worker thread failed"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn causes_are_named_once() {
        #[derive(Debug, thiserror::Error)]
        #[error("file: {0}")]
        struct Named(#[source] std::io::Error);
        let error =
            anyhow::Error::new(Named(std::io::Error::other("lost"))).context("cannot go on");
        assert_eq!(explain(&error), "cannot go on: file: lost");
    }
}
