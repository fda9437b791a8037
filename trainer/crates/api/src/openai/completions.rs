// SPDX-License-Identifier: Apache-2.0

use super::{
    form::{ResponseFormat, refuse_receipt},
    inputs::Inputs,
    texts::{Ending, Envelope, Form, StreamOptions, Texts, finite, log_probability, token_text},
};
use crate::{
    body::JsonBody,
    clients::ClientName,
    engine::Models,
    error::{ApiError, Problem},
    parameters::{LogitBias, Parameters, SamplingControls, Seed, Strings},
    tokenize::{constrain, encode},
    worker::Part,
};
use axum::{extract::State, response::Response};
use pol_generate::{Request, Sampling, TextTokenizer};
use pol_metrics::Operation;
use pol_receipt::ReceiptFile;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::collections::BTreeMap;
use utoipa::ToSchema;

/// Number of tokens of a completion for which no number is given, as OpenAI has it.
const DEFAULT_TOKENS: usize = 16;

/// Request for the continuation of texts.
#[derive(Clone, Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct CompletionRequest {
    /// Name of the model; the newest one if it is missing.
    model: Option<String>,
    /// Text to continue, or several: strings, or the ids of their tokens.
    prompt: Inputs,
    /// Largest number of tokens of each text.
    max_tokens: Option<usize>,
    /// Divisor of the logits; 0 takes the likeliest token.
    #[schema(minimum = 0)]
    temperature: Option<f32>,
    /// Share of the probability that is drawn from.
    #[schema(exclusive_minimum = 0, maximum = 1)]
    top_p: Option<f32>,
    /// Number of likeliest tokens that are drawn from; 0 for all.
    top_k: Option<usize>,
    /// Smallest probability relative to the likeliest token.
    #[schema(minimum = 0, maximum = 1)]
    min_p: Option<f32>,
    /// Penalty on tokens that occurred.
    #[schema(exclusive_minimum = 0)]
    repetition_penalty: Option<f32>,
    /// Number, -2 to 2, that is subtracted from the logit of a token for each time that the text
    /// has it [default: 0].
    #[schema(minimum = -2, maximum = 2)]
    frequency_penalty: Option<f32>,
    /// Number, -2 to 2, that is subtracted from the logits of all tokens that the text has
    /// [default: 0].
    #[schema(minimum = -2, maximum = 2)]
    presence_penalty: Option<f32>,
    /// Numbers, -100 to 100, that are added to the logits of tokens, by their ids.
    #[schema(value_type = Option<Object>)]
    logit_bias: Option<LogitBias>,
    /// Controls of sampling that other servers have under many names.
    controls: Option<SamplingControls>,
    /// Number of texts for each prompt.
    n: Option<usize>,
    /// Seed. With the prompt, the parameters, and the fingerprint it fixes the text.
    #[schema(value_type = Option<i64>)]
    seed: Option<Seed>,
    /// String before which a text ends, or several.
    stop: Option<Strings>,
    /// Set if the texts are sent as events while they are made.
    stream: Option<bool>,
    /// Options of the stream.
    stream_options: Option<StreamOptions>,
    /// Number of likely tokens beside each token, which has its probability then.
    logprobs: Option<u8>,
    /// Form of the texts.
    response_format: Option<ResponseFormat>,
    /// Set if each text has a receipt, from which anybody can verify that the model made it.
    pol_receipt: Option<bool>,
    /// Not supported, except as `false`.
    echo: Option<bool>,
    /// Ignored.
    #[schema(value_type = Option<String>)]
    #[expect(dead_code, reason = "clients send it")]
    user: Option<Value>,
}

impl CompletionRequest {
    /// Checks all that can be checked without the model.
    ///
    /// # Errors
    ///
    /// Fails if a parameter is out of range or not supported.
    pub fn check(&self) -> Result<(), ApiError> {
        self.parameters()?.check(Sampling::default()).map(drop)
    }

    fn parameters(&self) -> Result<Parameters, ApiError> {
        if self.echo == Some(true) {
            let remedy = "put the prompt before the text yourself";
            return Err(ApiError::Unsupported { parameter: "echo", remedy });
        }
        let has_form = self.response_format.clone().and_then(ResponseFormat::schema).is_some();
        refuse_receipt(self.pol_receipt.unwrap_or(false), has_form)?;
        Ok(Parameters {
            max_tokens: Some(self.max_tokens.unwrap_or(DEFAULT_TOKENS)),
            temperature: self.temperature,
            top_k: self.top_k,
            top_p: self.top_p,
            min_p: self.min_p,
            repetition_penalty: self.repetition_penalty,
            controls: SamplingControls::with(
                self.controls.as_ref(),
                self.logit_bias.as_ref(),
                [self.frequency_penalty, self.presence_penalty],
            ),
            sensitivity: 0.0,
            seed: self.seed,
            stop: self.stop.clone().map(Strings::into_vec).unwrap_or_default(),
            choices: self.prompt.count().saturating_mul(self.n.unwrap_or(1)),
            top: self.logprobs,
        })
    }
}

/// Text of a completion, or a part of it.
#[derive(Serialize, ToSchema)]
pub(crate) struct CompletionChoice {
    index: usize,
    text: String,
    logprobs: Option<CompletionLogprobs>,
    /// `stop`, `length`, or none while the text goes on.
    finish_reason: Option<&'static str>,
    /// Receipt, which `pol-trainer verify-receipt` reads.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Object>)]
    pol_receipt: Option<ReceiptFile>,
}

/// Probabilities of tokens.
#[derive(Serialize, ToSchema)]
pub(crate) struct CompletionLogprobs {
    tokens: Vec<String>,
    token_logprobs: Vec<f64>,
    top_logprobs: Vec<BTreeMap<String, f64>>,
    text_offset: Vec<usize>,
}

struct Completions;

impl Form for Completions {
    const ID: &'static str = "cmpl";
    const OPERATION: Operation = Operation::TextCompletion;
    const OBJECTS: [&'static str; 2] = ["text_completion", "text_completion"];
    type Choice = CompletionChoice;
    type Delta = CompletionChoice;

    fn choice(index: usize, part: Part, ending: Ending, text: &TextTokenizer) -> CompletionChoice {
        Self::delta(index, part, Some(ending), 0, text)
    }

    fn delta(
        index: usize,
        part: Part,
        ending: Option<Ending>,
        offset: usize,
        text: &TextTokenizer,
    ) -> CompletionChoice {
        let logprobs = (!part.reports.is_empty()).then(|| probabilities(&part, offset, text));
        let finish_reason = ending.as_ref().map(|ending| ending.finish);
        let pol_receipt = ending.and_then(|ending| ending.receipt);
        CompletionChoice { index, text: part.text, logprobs, finish_reason, pol_receipt }
    }
}

fn probabilities(part: &Part, mut offset: usize, text: &TextTokenizer) -> CompletionLogprobs {
    let mut all = CompletionLogprobs {
        tokens: Vec::new(),
        token_logprobs: Vec::new(),
        top_logprobs: Vec::new(),
        text_offset: Vec::new(),
    };
    for report in &part.reports {
        let token = token_text(text, report.token);
        all.text_offset.push(offset);
        offset += token.chars().count();
        all.tokens.push(token);
        all.token_logprobs.push(log_probability(report));
        let top = report.top.iter().map(|&(token, log)| (token_text(text, token), finite(log)));
        all.top_logprobs.push(top.collect());
    }
    all
}

/// Continues texts.
#[utoipa::path(
    post,
    path = "/completions",
    tag = "OpenAI",
    request_body = CompletionRequest,
    responses(
        (
            status = 200,
            description = "The texts, or events of the same form with `stream: true`",
            content(
                (Envelope<CompletionChoice> = "application/json"),
                (Envelope<CompletionChoice> = "text/event-stream"),
            )
        ),
        (status = "default", body = Problem, content_type = "application/problem+json"),
    )
)]
pub(crate) async fn create(
    State(models): State<Models>,
    client: ClientName,
    JsonBody(request): JsonBody<CompletionRequest>,
) -> Result<Response, ApiError> {
    let parameters = request.parameters()?;
    let base = parameters.check(Sampling::default())?;
    let engine = models.named(request.model.as_deref())?;
    request.prompt.check(engine.vocabulary(), "prompt")?;
    let schema = request.response_format.and_then(ResponseFormat::schema);
    let constraint = constrain(&engine, schema, Some("response_format")).await?;
    let begin = engine.begin();
    let prompts =
        encode(&engine, request.prompt.into_vec(), move |text, prompt| prompt.encode(text, begin));
    let texts = Texts {
        prompts: prompts.await?,
        engine,
        client,
        each: request.n.unwrap_or(1),
        base: Request { constraint, ..base },
        max_tokens: parameters.max_tokens,
        stream: request.stream.unwrap_or(false).then(|| request.stream_options.unwrap_or_default()),
        functions: Vec::new(),
        parallel: false,
        receipts: request.pol_receipt.unwrap_or(false),
    };
    texts.respond::<Completions>().await
}
