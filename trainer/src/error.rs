//! What can go wrong while taking part, by what to do about it.

use pol_chain::ChainError;
use pol_swarm::SwarmError;

/// A failure of one step of a role.
#[derive(Debug, thiserror::Error)]
pub enum RoleError {
    /// The network's fault or a matter of time: logged, and tried again with the next block.
    #[error("{0:#}")]
    Transient(anyhow::Error),
    /// Only a person can help: the process stops, and its state stays.
    #[error("{0:#}")]
    Fatal(anyhow::Error),
}

/// What a step of a role comes to.
pub type Result<T, E = RoleError> = std::result::Result<T, E>;

impl RoleError {
    /// One that time may mend.
    pub fn transient(error: impl Into<anyhow::Error>) -> Self {
        Self::Transient(error.into())
    }

    /// One that only a person can mend.
    pub fn fatal(error: impl Into<anyhow::Error>) -> Self {
        Self::Fatal(error.into())
    }

    /// Logs what is passing, so that what comes next is done all the same.
    pub fn pass(self) -> Result<()> {
        match self {
            Self::Transient(error) => {
                tracing::warn!("{}; trying again with the next block", explain(&error));
                Ok(())
            }
            fatal => Err(fatal),
        }
    }

    /// The error, for commands that have no next block to wait for.
    pub fn into_inner(self) -> anyhow::Error {
        let (Self::Transient(error) | Self::Fatal(error)) = self;
        error
    }
}

/// The error and its causes, leaving out a cause that is named already.
pub fn explain(error: &anyhow::Error) -> String {
    let mut text = error.to_string();
    for cause in error.chain().skip(1).map(ToString::to_string) {
        if !text.contains(&cause) {
            text = format!("{text}: {cause}");
        }
    }
    text
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
            // A store that failed once fails until it is opened again.
            SwarmError::DiskFull(_) | SwarmError::Damaged { .. } | SwarmError::Store(_) => {
                Self::fatal(error)
            }
            _ => Self::transient(error),
        }
    }
}

// What this machine computes and keeps does not get better by trying again.
impl From<pol_engine::EngineError> for RoleError {
    fn from(error: pol_engine::EngineError) -> Self {
        // Except for what somebody else's update did.
        if matches!(error, pol_engine::EngineError::NotFinite { .. }) {
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
