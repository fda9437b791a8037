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
            |trouble| format!("the index has no block yet, and its follower failed: {trouble}"),
        );
        Self(ApiError::Unavailable { name: "indexing", detail, retry: RETRY })
    }
}

/// Why the follower of the chain failed last, until it adds blocks again. Clones share it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Trouble(Arc<Mutex<Option<String>>>);

impl Trouble {
    pub(crate) fn set(&self, trouble: Option<String>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = trouble;
    }

    fn get(&self) -> Option<String> {
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
