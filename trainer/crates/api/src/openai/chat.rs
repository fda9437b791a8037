// SPDX-License-Identifier: Apache-2.0

use super::{
    completions::refuse_penalties,
    texts::{Envelope, Form, StreamOptions, Texts, finite, log_probability, token_text},
};
use crate::{
    body::JsonBody,
    engine::Models,
    error::{ApiError, Problem},
    parameters::{Parameters, Strings},
    tokenize::encode,
    worker::Part,
};
use axum::{extract::State, response::Response};
use pol_generate::{ChatTurn, Sampling, TextTokenizer};
use pol_metrics::Operation;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;

/// Most messages of a conversation.
const MAX_MESSAGES: usize = 1_024;

/// Request for the next message of a conversation.
#[derive(Clone, Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ChatRequest {
    /// Name of the model; the one that is served if it is missing.
    model: Option<String>,
    /// Messages so far, oldest first.
    messages: Vec<Message>,
    /// Largest number of tokens of the answer; all that fit if it is missing.
    max_completion_tokens: Option<usize>,
    /// Older name of `max_completion_tokens`.
    max_tokens: Option<usize>,
    /// Divisor of the logits; 0 takes the likeliest token.
    temperature: Option<f32>,
    /// Share of the probability that is drawn from.
    top_p: Option<f32>,
    /// Number of likeliest tokens that are drawn from; 0 for all.
    top_k: Option<usize>,
    /// Smallest probability relative to the likeliest token.
    min_p: Option<f32>,
    /// Penalty on tokens that occurred.
    repetition_penalty: Option<f32>,
    /// Number of answers.
    n: Option<usize>,
    /// Seed. With the messages, the parameters, and the fingerprint it fixes the answer.
    seed: Option<i64>,
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
    /// Only `{"type": "text"}` is supported.
    #[schema(value_type = Option<Object>)]
    response_format: Option<Value>,
    /// Not supported, except as 0.
    frequency_penalty: Option<f32>,
    /// Not supported, except as 0.
    presence_penalty: Option<f32>,
    /// Not supported, except as an empty list.
    #[schema(value_type = Option<Vec<Object>>)]
    tools: Option<Value>,
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

/// Message of a conversation.
#[derive(Clone, Debug, Deserialize, ToSchema)]
pub(crate) struct Message {
    role: Role,
    content: Content,
}

/// Speaker of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
enum Role {
    /// The operator.
    System,
    /// The operator, as newer clients call it.
    Developer,
    /// The user.
    User,
    /// The model.
    Assistant,
}

/// Content of a message.
#[derive(Clone, Debug, Deserialize, ToSchema)]
#[serde(untagged)]
enum Content {
    /// A text.
    Text(String),
    /// Parts of a text.
    Parts(Vec<ContentPart>),
}

/// Part of a message. Parts other than text are not supported.
#[derive(Clone, Debug, Deserialize, ToSchema)]
#[serde(tag = "type", rename_all = "lowercase")]
enum ContentPart {
    /// A text.
    Text {
        /// The text.
        text: String,
    },
}

impl Message {
    fn turn(self) -> ChatTurn {
        let role = match self.role {
            Role::System | Role::Developer => "system",
            Role::User => "user",
            Role::Assistant => "assistant",
        };
        let text = match self.content {
            Content::Text(text) => text,
            Content::Parts(parts) => {
                parts.into_iter().map(|ContentPart::Text { text }| text).collect::<String>()
            }
        };
        ChatTurn { role: role.into(), text }
    }
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
        refuse_penalties(self.frequency_penalty, self.presence_penalty)?;
        let format = self.response_format.as_ref();
        if format.is_some_and(|format| !format.is_null() && format["type"] != "text") {
            let remedy = "ask for the form in the messages, and check the answer";
            return Err(ApiError::Unsupported { parameter: "response_format", remedy });
        }
        let tools = self.tools.as_ref();
        if tools
            .is_some_and(|tools| !tools.is_null() && tools.as_array().is_none_or(|t| !t.is_empty()))
        {
            let remedy = "POST /generate has the tools of the model";
            return Err(ApiError::Unsupported { parameter: "tools", remedy });
        }
        if self.messages.is_empty() || self.messages.len() > MAX_MESSAGES {
            let detail = format!("a conversation has 1 to {MAX_MESSAGES} messages");
            return Err(ApiError::parameter("messages", detail));
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
            sensitivity: 0.0,
            seed: self.seed,
            stop: self.stop.clone().map(Strings::into_vec).unwrap_or_default(),
            choices: self.n.unwrap_or(1),
            top: has_logprobs.then(|| self.top_logprobs.unwrap_or(0)),
        })
    }
}

/// Answer to a conversation.
#[derive(Serialize, ToSchema)]
pub(crate) struct ChatChoice {
    index: usize,
    message: Answer,
    logprobs: Option<ChatLogprobs>,
    /// `stop` or `length`.
    finish_reason: &'static str,
}

/// Message of the model.
#[derive(Serialize, ToSchema)]
pub(crate) struct Answer {
    #[schema(example = "assistant")]
    role: &'static str,
    content: String,
}

/// Part of an answer, in an event.
#[derive(Serialize, ToSchema)]
pub(crate) struct ChatDelta {
    index: usize,
    delta: Delta,
    logprobs: Option<ChatLogprobs>,
    finish_reason: Option<&'static str>,
}

/// New part of a message.
#[derive(Default, Serialize, ToSchema)]
pub(crate) struct Delta {
    #[serde(skip_serializing_if = "Option::is_none")]
    role: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    content: Option<String>,
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

    fn choice(index: usize, part: Part, finish: &'static str, text: &TextTokenizer) -> ChatChoice {
        let logprobs = probabilities(&part, text);
        let message = Answer { role: "assistant", content: part.text };
        ChatChoice { index, message, logprobs, finish_reason: finish }
    }

    fn first(index: usize) -> Option<ChatDelta> {
        let delta = Delta { role: Some("assistant"), content: Some(String::new()) };
        Some(ChatDelta { index, delta, logprobs: None, finish_reason: None })
    }

    fn delta(
        index: usize,
        part: Part,
        finish: Option<&'static str>,
        _: usize,
        text: &TextTokenizer,
    ) -> ChatDelta {
        let logprobs = probabilities(&part, text);
        let content = finish.is_none().then_some(part.text);
        let delta = Delta { role: None, content };
        ChatDelta { index, delta, logprobs, finish_reason: finish }
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
    JsonBody(request): JsonBody<ChatRequest>,
) -> Result<Response, ApiError> {
    let parameters = request.parameters()?;
    let base = parameters.check(Sampling::default())?;
    let engine = models.named(request.model.as_deref())?;
    let turns: Vec<ChatTurn> = request.messages.into_iter().map(Message::turn).collect();
    let prompts = encode(&engine, vec![turns], |text, turns| text.encode_chat(&turns));
    let texts = Texts {
        prompts: prompts.await?,
        engine,
        each: parameters.choices,
        base,
        max_tokens: parameters.max_tokens,
        stream: request.stream.unwrap_or(false).then(|| request.stream_options.unwrap_or_default()),
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
    fn messages_have_several_forms() {
        let request: ChatRequest = parse(
            br#"{"messages": [{"role": "developer", "content": "Be brief."},
                {"role": "user", "content": [{"type": "text", "text": "a"},
                    {"type": "text", "text": "b"}], "name": "x"}]}"#,
        )
        .unwrap();
        let turns: Vec<ChatTurn> = request.messages.into_iter().map(Message::turn).collect();
        assert_eq!((turns[0].role.as_str(), turns[0].text.as_str()), ("system", "Be brief."));
        assert_eq!((turns[1].role.as_str(), turns[1].text.as_str()), ("user", "ab"));
    }

    #[test]
    fn what_is_not_supported_is_named() {
        let with = |extra: &str| {
            let json = format!(r#"{{"messages": [{{"role": "user", "content": "x"}}], {extra}}}"#);
            check(&json).map_err(|error| error.to_string())
        };
        for fine in [
            r#""response_format": {"type": "text"}"#,
            r#""tools": []"#,
            r#""tools": null"#,
            r#""presence_penalty": 0, "user": "u", "store": false, "metadata": {}"#,
            r#""logprobs": true, "top_logprobs": 5, "n": 4, "stop": "x", "seed": 1"#,
        ] {
            assert_eq!(with(fine), Ok(()), "{fine}");
        }
        for (wrong, name) in [
            (r#""response_format": {"type": "json_schema"}"#, "response_format"),
            (r#""tools": [{}]"#, "tools"),
            (r#""frequency_penalty": 0.5"#, "frequency_penalty"),
            (r#""logit_bias": {}"#, "logit_bias"),
            (r#""top_logprobs": 5"#, "top_logprobs"),
            (r#""temperature": -1"#, "temperature"),
            (r#""temperature": "hot""#, "temperature"),
        ] {
            let error = with(wrong).unwrap_err();
            assert!(error.contains(name), "{wrong}: {error}");
        }
        assert!(check(r#"{"messages": []}"#).is_err());
        assert!(check(r#"{"messages": [{"role": "tool", "content": "x"}]}"#).is_err());
        let picture = r#"{"messages": [{"role": "user", "content":
            [{"type": "image_url", "image_url": {"url": "x"}}]}]}"#;
        assert!(check(picture).is_err());
    }
}
