// SPDX-License-Identifier: Apache-2.0

use super::{
    form::{ResponseFormat, refuse_receipt},
    functions::{Call, Functions, Tool, ToolChoice},
    messages::Message,
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
use pol_generate::{ChatMessage, Request, Sampling, TextTokenizer};
use pol_metrics::Operation;
use pol_receipt::ReceiptFile;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;

/// Most messages of a conversation.
const MAX_MESSAGES: usize = 1_024;

/// Request for the next message of a conversation.
#[derive(Clone, Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ChatRequest {
    /// Name of the model; the newest one if it is missing.
    model: Option<String>,
    /// Messages so far, oldest first.
    messages: Vec<Message>,
    /// Documents that the chat template quotes, such as objects with `title` and `text`.
    #[schema(value_type = Option<Vec<Object>>)]
    documents: Option<Vec<Value>>,
    /// Largest number of tokens of the answer; all that fit if it is missing.
    max_completion_tokens: Option<usize>,
    /// Older name of `max_completion_tokens`.
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
    /// Number, -2 to 2, that is subtracted from the logit of a token for each time that the answer
    /// has it [default: 0].
    #[schema(minimum = -2, maximum = 2)]
    frequency_penalty: Option<f32>,
    /// Number, -2 to 2, that is subtracted from the logits of all tokens that the answer has
    /// [default: 0].
    #[schema(minimum = -2, maximum = 2)]
    presence_penalty: Option<f32>,
    /// Numbers, -100 to 100, that are added to the logits of tokens, by their ids.
    #[schema(value_type = Option<Object>)]
    logit_bias: Option<LogitBias>,
    /// Controls of sampling that other servers have under many names.
    controls: Option<SamplingControls>,
    /// Number of answers.
    n: Option<usize>,
    /// Seed. With the messages, the parameters, and the fingerprint it fixes the answer.
    #[schema(value_type = Option<i64>)]
    seed: Option<Seed>,
    /// String before which the answer ends, or several.
    stop: Option<Strings>,
    /// Set if the answer is sent as events while it is made.
    stream: Option<bool>,
    /// Options of the stream.
    stream_options: Option<StreamOptions>,
    /// Set if each token has its probability.
    logprobs: Option<bool>,
    /// Number of likely tokens beside each token.
    top_logprobs: Option<u8>,
    /// Form of the answer.
    response_format: Option<ResponseFormat>,
    /// Functions that the model may call.
    tools: Option<Vec<Tool>>,
    /// Choice of calls [default: `auto`].
    tool_choice: Option<ToolChoice>,
    /// Set if an answer may have several calls [default: true].
    parallel_tool_calls: Option<bool>,
    /// Set if the answer has a receipt, from which anybody can verify that the model made it.
    pol_receipt: Option<bool>,
    /// Ignored.
    #[schema(value_type = Option<String>)]
    #[expect(dead_code, reason = "clients send it")]
    user: Option<Value>,
    /// Ignored.
    #[schema(value_type = Option<Object>)]
    #[expect(dead_code, reason = "clients send it")]
    metadata: Option<Value>,
    /// Ignored: nothing is stored.
    #[expect(dead_code, reason = "clients send it")]
    store: Option<bool>,
}

impl ChatRequest {
    /// Checks all that can be checked without the model.
    ///
    /// # Errors
    ///
    /// Fails if a parameter is out of range or not supported.
    pub fn check(&self) -> Result<(), ApiError> {
        self.parameters()?.check(Sampling::default()).map(drop)
    }

    fn parameters(&self) -> Result<Parameters, ApiError> {
        let schema = self.schema(&self.functions()?);
        refuse_receipt(self.pol_receipt.unwrap_or(false), schema.is_some())?;
        self.messages.iter().try_for_each(Message::check)?;
        if self.messages.is_empty() || self.messages.len() > MAX_MESSAGES {
            let detail = format!("a conversation has 1 to {MAX_MESSAGES} messages");
            return Err(ApiError::parameter("messages", detail));
        }
        if self.documents.as_ref().is_some_and(|documents| documents.len() > MAX_MESSAGES) {
            let detail = format!("a conversation has at most {MAX_MESSAGES} documents");
            return Err(ApiError::parameter("documents", detail));
        }
        let has_logprobs = self.logprobs.unwrap_or(false);
        if self.top_logprobs.is_some() && !has_logprobs {
            return Err(ApiError::parameter("top_logprobs", "top_logprobs needs logprobs: true"));
        }
        Ok(Parameters {
            max_tokens: self.max_completion_tokens.or(self.max_tokens),
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
            choices: self.n.unwrap_or(1),
            top: has_logprobs.then(|| self.top_logprobs.unwrap_or(0)),
        })
    }
}

impl ChatRequest {
    /// Returns the functions that the model may call.
    fn functions(&self) -> Result<Functions, ApiError> {
        Functions::new(self.tools.as_deref(), self.tool_choice.as_ref())
    }

    /// Returns the JSON Schema of answers, if they have one.
    fn schema(&self, functions: &Functions) -> Option<Value> {
        functions.schema(self.response_format.clone().and_then(ResponseFormat::schema))
    }
}

/// Answer to a conversation.
#[derive(Serialize, ToSchema)]
pub(crate) struct ChatChoice {
    index: usize,
    message: Answer,
    logprobs: Option<ChatLogprobs>,
    /// `stop`, `length`, or `tool_calls`.
    finish_reason: &'static str,
    /// Receipt, which `pol-trainer verify-receipt` reads.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Object>)]
    pol_receipt: Option<ReceiptFile>,
}

/// Message of the model.
#[derive(Serialize, ToSchema)]
pub(crate) struct Answer {
    #[schema(example = "assistant")]
    role: &'static str,
    content: Option<String>,
    /// Calls of functions.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    tool_calls: Vec<Call>,
}

/// Part of an answer, in an event.
#[derive(Serialize, ToSchema)]
pub(crate) struct ChatDelta {
    index: usize,
    delta: Delta,
    logprobs: Option<ChatLogprobs>,
    finish_reason: Option<&'static str>,
    /// Receipt, with the reason for the end.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Object>)]
    pol_receipt: Option<ReceiptFile>,
}

/// New part of a message.
#[derive(Default, Serialize, ToSchema)]
pub(crate) struct Delta {
    #[serde(skip_serializing_if = "Option::is_none")]
    role: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    content: Option<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    tool_calls: Vec<Call>,
}

/// Probabilities of tokens.
#[derive(Serialize, ToSchema)]
pub(crate) struct ChatLogprobs {
    content: Vec<TokenLogprob>,
}

/// Token with the logarithm of its probability.
#[derive(Serialize, ToSchema)]
pub(crate) struct TokenLogprob {
    token: String,
    logprob: f64,
    bytes: Vec<u8>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(no_recursion)]
    top_logprobs: Option<Vec<TokenLogprob>>,
}

fn probabilities(part: &Part, text: &TextTokenizer) -> Option<ChatLogprobs> {
    let entry = |token, logprob, top_logprobs| TokenLogprob {
        token: token_text(text, token),
        logprob,
        bytes: text.bytes(token).to_vec(),
        top_logprobs,
    };
    let one = |report: &pol_generate::TokenReport| {
        let top = report.top.iter().map(|&(token, log)| entry(token, finite(log), None));
        entry(report.token, log_probability(report), Some(top.collect()))
    };
    let content: Vec<TokenLogprob> = part.reports.iter().map(one).collect();
    (!content.is_empty()).then_some(ChatLogprobs { content })
}

struct Chats;

impl Form for Chats {
    const ID: &'static str = "chatcmpl";
    const OPERATION: Operation = Operation::Chat;
    const OBJECTS: [&'static str; 2] = ["chat.completion", "chat.completion.chunk"];
    type Choice = ChatChoice;
    type Delta = ChatDelta;

    fn choice(index: usize, part: Part, ending: Ending, text: &TextTokenizer) -> ChatChoice {
        let logprobs = probabilities(&part, text);
        let Ending { finish: finish_reason, calls, receipt: pol_receipt } = ending;
        let (content, tool_calls) = match calls {
            Some((before, calls)) => ((!before.is_empty()).then_some(before), calls),
            None => (Some(part.text), Vec::new()),
        };
        let message = Answer { role: "assistant", content, tool_calls };
        ChatChoice { index, message, logprobs, finish_reason, pol_receipt }
    }

    fn first(index: usize) -> Option<ChatDelta> {
        let delta =
            Delta { role: Some("assistant"), content: Some(String::new()), ..Delta::default() };
        Some(ChatDelta { index, delta, logprobs: None, finish_reason: None, pol_receipt: None })
    }

    fn delta(
        index: usize,
        part: Part,
        ending: Option<Ending>,
        _: usize,
        text: &TextTokenizer,
    ) -> ChatDelta {
        let logprobs = probabilities(&part, text);
        let delta = Delta { content: ending.is_none().then_some(part.text), ..Delta::default() };
        let finish_reason = ending.as_ref().map(|ending| ending.finish);
        let pol_receipt = ending.and_then(|ending| ending.receipt);
        ChatDelta { index, delta, logprobs, finish_reason, pol_receipt }
    }

    fn calls(index: usize, calls: Vec<Call>) -> Option<ChatDelta> {
        let calls = calls.into_iter().enumerate();
        let tool_calls = calls.map(|(index, call)| call.at(index)).collect();
        let delta = Delta { tool_calls, ..Delta::default() };
        Some(ChatDelta { index, delta, logprobs: None, finish_reason: None, pol_receipt: None })
    }
}

/// Answers a conversation.
#[utoipa::path(
    post,
    path = "/chat/completions",
    tag = "OpenAI",
    request_body = ChatRequest,
    responses(
        (
            status = 200,
            description = "The answer, or events of the form of `ChatDelta` with `stream: true`",
            content(
                (Envelope<ChatChoice> = "application/json"),
                (Envelope<ChatDelta> = "text/event-stream"),
            )
        ),
        (status = "default", body = Problem, content_type = "application/problem+json"),
    )
)]
pub(crate) async fn create(
    State(models): State<Models>,
    client: ClientName,
    JsonBody(request): JsonBody<ChatRequest>,
) -> Result<Response, ApiError> {
    let parameters = request.parameters()?;
    let base = parameters.check(Sampling::default())?;
    let engine = models.named(request.model.as_deref())?;
    let functions = request.functions()?;
    let (schema, source) = (request.schema(&functions), functions.schema_source());
    let constraint = constrain(&engine, schema, source).await?;
    let Functions { described, names, .. } = functions;
    let messages: Vec<ChatMessage> = request.messages.into_iter().map(Message::into).collect();
    let documents = request.documents.unwrap_or_default();
    let prompts = encode(&engine, vec![messages], move |text, turns| {
        text.encode_chat_about(&turns, &described, &documents)
    });
    let texts = Texts {
        prompts: prompts.await?,
        engine,
        client,
        each: parameters.choices,
        base: Request { constraint, ..base },
        max_tokens: parameters.max_tokens,
        stream: request.stream.unwrap_or(false).then(|| request.stream_options.unwrap_or_default()),
        functions: names,
        parallel: request.parallel_tool_calls.unwrap_or(true),
        receipts: request.pol_receipt.unwrap_or(false),
    };
    texts.respond::<Chats>().await
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::body::parse;

    fn check(json: &str) -> Result<(), ApiError> {
        parse::<ChatRequest>(json.as_bytes())?.check()
    }

    #[test]
    fn what_is_not_supported_is_named() {
        let with = |extra: &str| {
            let json = format!(r#"{{"messages": [{{"role": "user", "content": "x"}}], {extra}}}"#);
            check(&json).map_err(|error| error.to_string())
        };
        for fine in [
            r#""response_format": {"type": "text"}"#,
            r#""response_format": {"type": "json_object"}"#,
            r#""response_format": {"type": "json_schema", "json_schema": {"name": "n"}}"#,
            r#""tools": []"#,
            r#""tools": null, "tool_choice": "none""#,
            r#""tools": [{"type": "function", "function": {"name": "f"}}],
                "tool_choice": "required", "parallel_tool_calls": false"#,
            r#""presence_penalty": -2, "frequency_penalty": 0.5"#,
            r#""user": "u", "store": false, "metadata": {}"#,
            r#""logprobs": true, "top_logprobs": 5, "n": 4, "stop": "x", "seed": 1"#,
            r#""logit_bias": {}"#,
            r#""logit_bias": {"50256": -100, "7": 1.5}"#,
            r#""controls": {"typical_p": 0.9, "dry": {"multiplier": 0.8, "base": 2},
                "xtc": {"probability": 0.5}, "mirostat": {}}"#,
        ] {
            assert_eq!(with(fine), Ok(()), "{fine}");
        }
        for (wrong, name) in [
            (r#""response_format": {"type": "json_schema"}"#, "json_schema"),
            (r#""response_format": {"type": "xml"}"#, "response_format"),
            (r#""tools": [{}]"#, "tools"),
            (r#""tool_choice": "required""#, "tools"),
            (r#""tool_choice": "sometimes""#, "tool_choice"),
            (r#""pol_receipt": true, "response_format": {"type": "json_object"}"#, "pol_receipt"),
            (r#""frequency_penalty": 2.5"#, "frequency penalty"),
            (r#""presence_penalty": -3"#, "presence penalty"),
            (r#""logit_bias": {"x": 1}"#, "logit_bias"),
            (r#""logit_bias": {"7": 101}"#, "bias"),
            (r#""controls": {"typical": 0.5}"#, "typical"),
            (r#""controls": {"xtc": {}}"#, "probability"),
            (r#""controls": {"mirostat": {"target": -1}}"#, "mirostat"),
            (r#""top_logprobs": 5"#, "top_logprobs"),
            (r#""temperature": -1"#, "temperature"),
            (r#""temperature": "hot""#, "temperature"),
        ] {
            let error = with(wrong).unwrap_err();
            assert!(error.contains(name), "{wrong}: {error}");
        }
        assert!(check(r#"{"messages": []}"#).is_err());
        let picture = r#"{"messages": [{"role": "user", "content":
            [{"type": "image_url", "image_url": {"url": "x"}}]}]}"#;
        assert!(check(picture).is_err());
    }
}
