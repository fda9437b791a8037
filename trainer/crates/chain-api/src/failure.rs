// SPDX-License-Identifier: Apache-2.0

//! Failures of requests.

use axum::response::{IntoResponse, Response};
use pol_api::ApiError;
use pol_chain::ChainError;
use pol_index::IndexError;
use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

/// Time after which a client asks again for what is not there yet.
const RETRY: Duration = Duration::from_secs(5);

/// Failure of a request.
#[derive(Debug)]
pub(crate) struct Failure(pub(crate) ApiError);

impl Failure {
    /// Creates the failure of a request that needs a node while none answers.
    pub(crate) fn node_away() -> Self {
        Self(ApiError::Unavailable {
            name: "node-away",
            detail:
                "no node of the chain answers: start one, or wait until it is back; what comes \
                     from the index alone still works"
                    .into(),
            retry: RETRY,
        })
    }

    /// Creates the failure of a request before the index has what it needs.
    pub(crate) fn indexing(trouble: &Trouble) -> Self {
        let detail = trouble.get().map_or_else(
            || {
                "the index has no block yet: wait until its follower has read some, and see the \
                 log of the server if that does not happen"
                    .into()
            },
            |Reason { text, .. }| {
                format!("the index has no block yet, and its follower failed: {text}")
            },
        );
        Self(ApiError::Unavailable { name: "indexing", detail, retry: RETRY })
    }

    /// Creates the failure of a request while the index is that of another chain.
    fn other_chain(detail: String) -> Self {
        Self(ApiError::Unavailable { name: "other-chain", detail, retry: RETRY })
    }
}

/// Kind of a failure of the follower.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum ReasonKind {
    /// The node does not answer, which the endpoints tell by themselves.
    NodeAway,
    /// The index has a part of the chain, and cannot go on.
    Stuck,
    /// The index has another chain.
    OtherChain,
}

impl From<&IndexError> for ReasonKind {
    fn from(error: &IndexError) -> Self {
        match error {
            IndexError::OtherChain { .. } | IndexError::OtherHistory { .. } => Self::OtherChain,
            IndexError::Chain(ChainError::Node(_) | ChainError::Unreachable { .. }) => {
                Self::NodeAway
            }
            _ => Self::Stuck,
        }
    }
}

/// Reason why the follower failed.
#[derive(Clone, Debug)]
struct Reason {
    kind: ReasonKind,
    text: String,
}

/// Last failure of the follower of the chain, until it adds blocks again. Clones share it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Trouble(Arc<Mutex<Option<Reason>>>);

impl Trouble {
    /// Notes why the follower failed.
    pub(crate) fn note(&self, error: &IndexError) {
        self.set(Some(Reason { kind: error.into(), text: error.to_string() }));
    }

    /// Notes that the follower works.
    pub(crate) fn clear(&self) {
        self.set(None);
    }

    /// Returns the reason why the index does not go on while the node answers, if there is one.
    ///
    /// # Errors
    ///
    /// Fails if the index is that of another chain, which nobody should take for the node's.
    pub(crate) fn check(&self) -> Result<Option<String>, Failure> {
        match self.get() {
            Some(Reason { kind: ReasonKind::OtherChain, text }) => Err(Failure::other_chain(text)),
            Some(Reason { kind: ReasonKind::Stuck, text }) => Ok(Some(text)),
            Some(Reason { kind: ReasonKind::NodeAway, .. }) | None => Ok(None),
        }
    }

    fn set(&self, reason: Option<Reason>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = reason;
    }

    fn get(&self) -> Option<Reason> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl From<ApiError> for Failure {
    fn from(error: ApiError) -> Self {
        Self(error)
    }
}

impl From<IndexError> for Failure {
    fn from(error: IndexError) -> Self {
        Self(ApiError::Internal(error.to_string()))
    }
}

impl From<ChainError> for Failure {
    fn from(error: ChainError) -> Self {
        match error {
            ChainError::Node(_) | ChainError::Unreachable { .. } => {
                tracing::debug!(%error, "the node failed");
                Self::node_away()
            }
            error => Self(ApiError::Internal(error.to_string())),
        }
    }
}

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        self.0.into_response()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reasons_of_the_index_are_told_and_those_of_the_node_are_not() {
        let trouble = Trouble::default();
        assert_eq!(trouble.check().unwrap(), None);
        let pruned = IndexError::Pruned { number: 7 };
        trouble.note(&pruned);
        assert_eq!(trouble.check().unwrap(), Some(pruned.to_string()));
        let (url, reason) = ("ws://x".to_owned(), "refused".to_owned());
        trouble.note(&ChainError::Unreachable { url, reason }.into());
        assert_eq!(trouble.check().unwrap(), None);
        trouble.note(&pruned);
        trouble.clear();
        assert_eq!(trouble.check().unwrap(), None);
    }

    #[test]
    fn an_index_of_another_chain_is_refused() {
        let trouble = Trouble::default();
        for error in [
            IndexError::OtherChain { indexed: [1; 32], node: [2; 32] },
            IndexError::OtherHistory { number: 7 },
        ] {
            trouble.note(&error);
            let Failure(refused) = trouble.check().unwrap_err();
            assert!(matches!(refused, ApiError::Unavailable { name: "other-chain", .. }));
            assert_eq!(refused.to_string(), error.to_string());
        }
    }
}
