// SPDX-License-Identifier: Apache-2.0

//! Tokens of prompts, which are computed beside the threads that serve connections.

use crate::{engine::Engine, error::ApiError};
use pol_generate::{Error, TextTokenizer};
use std::sync::Arc;

/// Returns the tokens of each prompt, by `encode`. Waits while as many others are encoded as the
/// engine allows, which bounds the memory that texts of any length take.
pub(crate) async fn encode<P: Send + 'static>(
    engine: &Engine,
    prompts: Vec<P>,
    encode: impl Fn(&TextTokenizer, P) -> Result<Vec<u32>, Error> + Send + 'static,
) -> Result<Vec<Vec<u32>>, ApiError> {
    let text = Arc::clone(engine.text());
    // The semaphore is never closed. A client that goes away does not stop the thread, which
    // therefore keeps the place.
    let place = Arc::clone(engine.encoders()).acquire_owned().await;
    let all = move || {
        let _place = place;
        prompts.into_iter().map(|prompt| encode(&text, prompt)).collect()
    };
    let tokens: Result<Vec<Vec<u32>>, Error> = tokio::task::spawn_blocking(all)
        .await
        .map_err(|error| ApiError::Internal(format!("a prompt cannot be encoded: {error}")))?;
    Ok(tokens?)
}
