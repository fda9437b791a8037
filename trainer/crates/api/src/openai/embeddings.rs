// SPDX-License-Identifier: Apache-2.0

use super::{inputs::Inputs, texts::Usage};
use crate::{
    answers::stopped,
    body::JsonBody,
    clients::ClientName,
    engine::Models,
    error::{ApiError, Problem},
    tokenize::encode,
    worker::Answer,
};
use axum::{Json, extract::State};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;

/// Most texts of a request.
const MAX_TEXTS: usize = 16;

/// Request for the embeddings of texts.
#[derive(Clone, Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct EmbeddingRequest {
    /// Name of the model; the newest one if it is missing.
    model: Option<String>,
    /// Text, or several: strings, or the ids of their tokens.
    input: Inputs,
    /// Form of the numbers.
    #[serde(default)]
    encoding_format: Encoding,
    /// Number of dimensions, which has to be the width of the model.
    dimensions: Option<usize>,
    /// Ignored.
    #[schema(value_type = Option<String>)]
    #[expect(dead_code, reason = "clients send it")]
    user: Option<Value>,
}

impl EmbeddingRequest {
    /// Checks all that can be checked without the model.
    ///
    /// # Errors
    ///
    /// Fails if there are too many texts or none.
    pub fn check(&self) -> Result<(), ApiError> {
        if (1..=MAX_TEXTS).contains(&self.input.count()) {
            return Ok(());
        }
        Err(ApiError::parameter("input", format!("a request has 1 to {MAX_TEXTS} texts")))
    }
}

/// Form of numbers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
enum Encoding {
    /// Numbers in JSON.
    #[default]
    Float,
    /// Little-endian float32 numbers in Base64, which clients of OpenAI ask for.
    Base64,
}

/// Embeddings of texts.
#[derive(Serialize, ToSchema)]
pub(crate) struct Embeddings {
    #[schema(example = "list")]
    object: &'static str,
    data: Vec<Entry>,
    model: String,
    /// Root of the model and its decoder.
    system_fingerprint: String,
    usage: Usage,
}

/// Embedding of a text.
#[derive(Serialize, ToSchema)]
pub(crate) struct Entry {
    #[schema(example = "embedding")]
    object: &'static str,
    index: usize,
    embedding: Values,
}

/// Numbers in one of the forms.
#[derive(Serialize, ToSchema)]
#[serde(untagged)]
enum Values {
    /// Numbers.
    Float(Vec<f32>),
    /// The same in Base64.
    Base64(String),
}

/// Embeds texts: the mean of the final hidden states of a text, scaled to the length 1.
#[utoipa::path(
    post,
    path = "/embeddings",
    tag = "OpenAI",
    request_body = EmbeddingRequest,
    responses(
        (status = 200, body = Embeddings),
        (status = "default", body = Problem, content_type = "application/problem+json"),
    )
)]
pub(crate) async fn create(
    State(models): State<Models>,
    client: ClientName,
    JsonBody(request): JsonBody<EmbeddingRequest>,
) -> Result<Json<Embeddings>, ApiError> {
    request.check()?;
    let engine = models.named(request.model.as_deref())?;
    request.input.check(engine.vocabulary(), "input")?;
    engine.check_texts(&client, request.input.count(), "input")?;
    let begin = engine.begin();
    let texts =
        encode(&engine, request.input.into_vec(), move |text, input| input.encode(text, begin));
    let texts = texts.await?;
    let tokens = texts.iter().map(Vec::len).sum();
    let receivers: Vec<_> =
        texts.into_iter().map(|tokens| engine.embed(&client, tokens)).collect::<Result<_, _>>()?;
    let mut data = Vec::new();
    for (index, mut receiver) in receivers.into_iter().enumerate() {
        let values = match receiver.recv().await {
            Some(Answer::Embedding(values)) => values,
            Some(Answer::Failed(error)) => return Err(error.into()),
            _ => return Err(stopped()),
        };
        if request.dimensions.is_some_and(|dimensions| dimensions != values.len()) {
            let detail = format!("this model has {} dimensions", values.len());
            return Err(ApiError::parameter("dimensions", detail));
        }
        let embedding = match request.encoding_format {
            Encoding::Float => Values::Float(values),
            Encoding::Base64 => {
                let bytes: Vec<u8> = values.into_iter().flat_map(f32::to_le_bytes).collect();
                Values::Base64(STANDARD.encode(bytes))
            }
        };
        data.push(Entry { object: "embedding", index, embedding });
    }
    Ok(Json(Embeddings {
        object: "list",
        data,
        model: engine.card().id(),
        system_fingerprint: engine.card().fingerprint(),
        usage: Usage { prompt_tokens: tokens, completion_tokens: None, total_tokens: tokens },
    }))
}
