// SPDX-License-Identifier: Apache-2.0

//! Tokens of prompts and grammars of texts, which are computed beside the threads that serve
//! connections.

use crate::{engine::Engine, error::ApiError};
use pol_generate::{Constraint, Error, TextTokenizer};
use serde_json::Value;
use std::sync::Arc;

/// Returns the tokens of each prompt, by `encode`.
pub(crate) async fn encode<P: Send + 'static>(
    engine: &Engine,
    prompts: Vec<P>,
    encode: impl Fn(&TextTokenizer, P) -> Result<Vec<u32>, Error> + Send + 'static,
) -> Result<Vec<Vec<u32>>, ApiError> {
    compute(engine, move |text| prompts.into_iter().map(|prompt| encode(text, prompt)).collect())
        .await
}

/// Returns the constraint of texts to a JSON Schema, if there is one. An error of the schema names
/// the `parameter` of the request that has it.
pub(crate) async fn constrain(
    engine: &Engine,
    schema: Option<Value>,
    parameter: Option<&'static str>,
) -> Result<Option<Constraint>, ApiError> {
    let Some(schema) = schema else { return Ok(None) };
    let made = compute(engine, move |text| text.constraint(&schema)).await;
    made.map(Some).map_err(|error| match error {
        ApiError::Invalid { detail, .. } => ApiError::Invalid { parameter, detail },
        error => error,
    })
}

/// Performs `work`. Waits while as many others do as the engine allows, which bounds the memory
/// that texts of any length take.
async fn compute<T: Send + 'static>(
    engine: &Engine,
    work: impl FnOnce(&TextTokenizer) -> Result<T, Error> + Send + 'static,
) -> Result<T, ApiError> {
    let text = Arc::clone(engine.text());
    // The semaphore is never closed. A client that goes away does not stop the thread, which
    // therefore keeps the place.
    let place = Arc::clone(engine.encoders()).acquire_owned().await;
    let work = move || {
        let _place = place;
        work(&text)
    };
    let computed = tokio::task::spawn_blocking(work).await;
    let computed = computed
        .map_err(|error| ApiError::Internal(format!("the request cannot be read: {error}")))?;
    Ok(computed?)
}
