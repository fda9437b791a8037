// SPDX-License-Identifier: Apache-2.0

//! `POST /generate`: a text with all that the model tells about it.

use crate::{
    answers,
    body::JsonBody,
    clients::ClientName,
    engine::{Engine, Models},
    error::{ApiError, Problem},
    events,
    openai::messages::Message,
    parameters::{LogitBias, Parameters, SamplingControls, Seed, Strings, check_reports},
    tokenize::{constrain, encode},
    worker::{Answer, Part},
};
use axum::{
    Json,
    extract::State,
    response::{IntoResponse, Response, sse::Event},
};
use futures::StreamExt;
use pol_generate::{
    ChatMessage, Completion, Prompt, ReasoningResult, Request, Sampling, SearchOptions,
    TextTokenizer, TokenReport, ToolCall,
};
use pol_metrics::Operation;
use pol_receipt::ReceiptFile;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::{slice, sync::Arc};
use tokio::sync::mpsc::Receiver;
use utoipa::ToSchema;
use utoipa_axum::{router::OpenApiRouter, routes};

/// Number of tokens of a text for which no number is given, as of `pol-trainer generate`.
const DEFAULT_TOKENS: usize = 256;
/// Tokens of reasoning for which no budget is given.
const DEFAULT_BUDGET: usize = 512;
/// Largest budget of reasoning.
const MAX_BUDGET: usize = 4_096;
/// Most branches and points of a tree.
const MAX_BRANCHES: usize = 8;
/// Most messages of a conversation.
const MAX_MESSAGES: usize = 1_024;
/// Sampling for which nothing is given, as of `pol-trainer generate`.
const SAMPLING: Sampling = Sampling {
    temperature: 0.7,
    top_k: 0,
    top_p: 0.95,
    min_p: 0.0,
    repetition_penalty: 1.1,
    seed: 0,
};

/// Request for a text with its insights.
#[derive(Clone, Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({"prompt": "The capital of France is", "max_tokens": 20, "seed": 7}))]
pub struct GenerateRequest {
    /// Name of the model; the newest one if it is missing.
    model: Option<String>,
    /// Text to continue, or with `chat` a message to answer.
    prompt: Option<String>,
    /// Messages of a conversation, of which the last is the user's, in place of a prompt.
    messages: Option<Vec<Message>>,
    /// Set if the prompt is a user's message in a conversation.
    #[serde(default)]
    chat: bool,
    /// System message before the conversation.
    system: Option<String>,
    /// Largest number of tokens [default: 256, if the server allows as many].
    max_tokens: Option<usize>,
    /// Divisor of the logits; 0 takes the likeliest token [default: 0.7].
    #[schema(minimum = 0)]
    temperature: Option<f32>,
    /// Number of likeliest tokens that are drawn from; 0 for all.
    top_k: Option<usize>,
    /// Share of the probability that is drawn from [default: 0.95].
    #[schema(exclusive_minimum = 0, maximum = 1)]
    top_p: Option<f32>,
    /// Smallest probability relative to the likeliest token.
    #[schema(minimum = 0, maximum = 1)]
    min_p: Option<f32>,
    /// Penalty on tokens that occurred; 1 for none [default: 1.1].
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
    /// Strength, 0 to 1, with which surprise lowers the temperature.
    #[serde(default)]
    sensitivity: f64,
    /// Seed [default: a random one, which the answer names].
    #[schema(value_type = Option<i64>)]
    seed: Option<Seed>,
    /// String before which the text ends, or several.
    stop: Option<Strings>,
    /// Set if generation goes on after a token that ends a text.
    #[serde(default)]
    ignore_end: bool,
    /// Set if the model may call its tools.
    #[serde(default)]
    tools: bool,
    /// JSON Schema of the text, which is JSON then.
    #[schema(value_type = Option<Object>)]
    schema: Option<Value>,
    /// Set if the answer has a receipt, from which anybody can verify that the model made the text.
    #[serde(default)]
    receipt: bool,
    /// Number of likely tokens beside each token.
    #[serde(default)]
    alternatives: u8,
    /// Order in which the model reasons; no reasoning if it is missing.
    reason: Option<Reasoning>,
    /// Largest number of tokens of all steps [default: 512].
    budget: Option<usize>,
    /// Steps that a tree tries at each point [default: 3]. All of them have to fit into the memory
    /// of the server.
    branches: Option<usize>,
    /// Points from which a tree goes on at each depth [default: 2].
    width: Option<usize>,
    /// Set if the text is sent as events while it is made.
    #[serde(default)]
    stream: bool,
}

/// Order of reasoning.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
enum Reasoning {
    /// One step after the other.
    Chain,
    /// Several steps at each point, of which the best are continued.
    Tree,
}

impl GenerateRequest {
    /// Checks all that can be checked without the model.
    ///
    /// # Errors
    ///
    /// Fails if a parameter is out of range.
    pub fn check(&self) -> Result<(), ApiError> {
        self.search()?;
        self.request().map(drop)
    }

    /// Refuses parameters that would change nothing.
    fn refuse_idle(&self) -> Result<(), ApiError> {
        let (reasons, is_tree) = (self.reason.is_some(), self.reason == Some(Reasoning::Tree));
        let has_schema = self.schema.is_some();
        let has_messages = self.messages.is_some();
        let idle = [
            ("prompt", self.prompt.is_some() && has_messages, "messages take its place"),
            ("system", self.system.is_some() && has_messages, "it is the first of messages"),
            ("system", self.system.is_some() && !self.chat, "it needs chat: true"),
            ("budget", self.budget.is_some() && !reasons, "it needs reason"),
            ("branches", self.branches.is_some() && !is_tree, "it needs reason: \"tree\""),
            ("width", self.width.is_some() && !is_tree, "it needs reason: \"tree\""),
            ("max_tokens", self.max_tokens.is_some() && reasons, "with reason, set budget"),
            ("stop", self.stop.is_some() && reasons, "steps of reasoning end with their lines"),
            ("alternatives", self.alternatives > 0 && reasons, "steps have no insights"),
            ("schema", has_schema && reasons, "steps of reasoning are no JSON"),
            ("receipt", self.receipt && reasons, "a receipt names one text, not a search"),
            ("receipt", self.receipt && has_schema, "a receipt cannot name a schema"),
            ("tools", self.tools && has_schema, "their results would be no part of the JSON"),
            ("ignore_end", self.ignore_end && has_schema, "the end of the JSON is the text's"),
        ];
        match idle.into_iter().find(|(_, is_idle, _)| *is_idle) {
            Some((name, _, reason)) => {
                let detail = format!("{name} has no effect here: {reason}; or leave it out");
                Err(ApiError::parameter(name, detail))
            }
            None => Ok(()),
        }
    }

    /// Checks that there is a prompt, or a conversation in which the user spoke last.
    fn check_prompt(&self) -> Result<(), ApiError> {
        let Some(messages) = &self.messages else {
            let missing = || ApiError::parameter("prompt", "a request has a prompt, or messages");
            return self.prompt.as_ref().map(drop).ok_or_else(missing);
        };
        messages.iter().try_for_each(Message::check)?;
        if messages.len() > MAX_MESSAGES || !messages.last().is_some_and(Message::is_of_user) {
            let detail = format!("there are 1 to {MAX_MESSAGES} messages, the last of the user");
            return Err(ApiError::parameter("messages", detail));
        }
        Ok(())
    }

    fn request(&self) -> Result<Request, ApiError> {
        self.check_prompt()?;
        self.refuse_idle()?;
        let parameters = Parameters {
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
            sensitivity: self.sensitivity,
            seed: self.seed,
            stop: self.stop.clone().map(Strings::into_vec).unwrap_or_default(),
            choices: 1,
            top: Some(self.alternatives),
        };
        let request = parameters.check(SAMPLING)?;
        let max_tokens = parameters.max_tokens.unwrap_or(DEFAULT_TOKENS);
        Ok(Request { tools: self.tools, ignore_end: self.ignore_end, max_tokens, ..request })
    }

    fn search(&self) -> Result<Option<SearchOptions>, ApiError> {
        let Some(reasoning) = self.reason else { return Ok(None) };
        let budget = self.budget.unwrap_or(DEFAULT_BUDGET);
        if !(1..=MAX_BUDGET).contains(&budget) {
            return Err(ApiError::parameter("budget", format!("budget is 1 to {MAX_BUDGET}")));
        }
        let tree = SearchOptions::tree(budget);
        let options = match reasoning {
            Reasoning::Chain => return Ok(Some(SearchOptions::chain(budget))),
            Reasoning::Tree => SearchOptions {
                branches: self.branches.unwrap_or(tree.branches),
                width: self.width.unwrap_or(tree.width),
                ..tree
            },
        };
        for (name, value) in [("branches", options.branches), ("width", options.width)] {
            if !(1..=MAX_BRANCHES).contains(&value) {
                return Err(ApiError::parameter(name, format!("{name} is 1 to {MAX_BRANCHES}")));
            }
        }
        Ok(Some(options))
    }
}

/// Text with its insights.
#[derive(Serialize, ToSchema)]
pub(crate) struct Generated {
    /// Name of the model, with the first digits of its root.
    #[schema(example = "smollm2@7d3a0c51")]
    model: String,
    /// Root of the model and its decoder. With prompt, parameters, and seed they fix the text.
    system_fingerprint: String,
    prompt_tokens: usize,
    seed: i64,
    /// Text, its end (`end`, `length`, `context`, or a stop string), calls of tools, and affect.
    #[serde(flatten)]
    #[schema(value_type = Option<Object>)]
    completion: Option<Completion>,
    /// Probability, surprise, and confidence of each token.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    insights: Vec<Insight>,
    /// Steps of reasoning on the best path, and the answer.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Object>)]
    reasoned: Option<ReasoningResult>,
    /// Receipt, which `pol-trainer verify-receipt` reads.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Object>)]
    receipt: Option<ReceiptFile>,
}

/// Report of a token.
#[derive(Serialize, ToSchema)]
pub(crate) struct Insight {
    /// Text of the token.
    text: String,
    /// Its number, its `log_probability` in nats, the `expected_loss` before it was drawn, the
    /// `surprise` at it, and the `confidence` of the model.
    #[serde(flatten)]
    #[schema(value_type = Object)]
    report: TokenReport,
    /// Likely tokens with the logarithms of their probabilities.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schema(value_type = Vec<Object>)]
    alternatives: Vec<(String, f64)>,
}

/// Part of a text, in an event.
#[derive(Serialize, ToSchema)]
pub(crate) struct GeneratedPart {
    text: String,
    /// Probability, surprise, and confidence of each token.
    insights: Vec<Insight>,
    /// Calls of tools.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schema(value_type = Vec<Object>)]
    calls: Vec<ToolCall>,
}

fn insights(reports: Vec<TokenReport>, text: &TextTokenizer) -> Vec<Insight> {
    let spelled = |token| String::from_utf8_lossy(text.bytes(token)).into_owned();
    let insight = |report: TokenReport| Insight {
        text: spelled(report.token),
        alternatives: report.top.iter().map(|&(token, log)| (spelled(token), log)).collect(),
        report,
    };
    reports.into_iter().map(insight).collect()
}

/// Answer under way.
struct Answering {
    engine: Arc<Engine>,
    prompt_tokens: usize,
    seed: u64,
    /// Request, if the answer has a receipt.
    receipted: Option<Request>,
}

impl Answering {
    fn generated(&self) -> Generated {
        let card = self.engine.card();
        Generated {
            model: card.id(),
            system_fingerprint: card.fingerprint(),
            prompt_tokens: self.prompt_tokens,
            seed: Seed::answered(self.seed),
            completion: None,
            insights: Vec::new(),
            reasoned: None,
            receipt: None,
        }
    }

    /// Returns the end of an answer.
    fn completed(&self, completion: Completion) -> Result<Generated, ApiError> {
        let receipt = match &self.receipted {
            Some(request) => {
                let receipts = self.engine.receipts("receipt")?;
                Some(receipts.file(request, self.engine.text(), &completion)?)
            }
            None => None,
        };
        Ok(Generated { completion: Some(completion), receipt, ..self.generated() })
    }

    async fn whole(
        self,
        mut answers: Receiver<Answer>,
        reasons: bool,
    ) -> Result<Response, ApiError> {
        if !reasons {
            let (completion, part) = answers::collect(answers).await?;
            let insights = insights(part.reports, self.engine.text());
            let whole = Generated { insights, ..self.completed(completion)? };
            return Ok(Json(whole).into_response());
        }
        while let Some(answer) = answers.recv().await {
            match answer {
                Answer::Reasoned(reasoned) => {
                    let whole = Generated { reasoned: Some(reasoned), ..self.generated() };
                    return Ok(Json(whole).into_response());
                }
                Answer::Failed(error) => return Err(error.into()),
                _ => {}
            }
        }
        Err(answers::stopped())
    }

    fn stream(self, answers: Receiver<Answer>) -> Response {
        let events = answers::merge(vec![answers]).map(move |(_, answer)| self.event(answer));
        events::respond(events)
    }

    fn event(&self, answer: Answer) -> Event {
        match answer {
            Answer::Part(Part { text, reports, calls }) => {
                let insights = insights(reports, self.engine.text());
                events::json(&GeneratedPart { text, insights, calls }).event("text")
            }
            Answer::Step(step) => events::json(&step).event("step"),
            Answer::Done(completion) => match self.completed(completion) {
                Ok(whole) => events::json(&whole).event("done"),
                Err(error) => events::json(&error.problem()).event("error"),
            },
            Answer::Reasoned(reasoned) => {
                let whole = Generated { reasoned: Some(reasoned), ..self.generated() };
                events::json(&whole).event("done")
            }
            Answer::Failed(error) => events::json(&ApiError::from(error).problem()).event("error"),
            Answer::Embedding(_) => Event::default().comment(""),
        }
    }
}

/// Generates a text with its insights.
///
/// With `stream: true` the answer is events: `text` with a part and its insights, `step` with a
/// step of reasoning, and at last `done` with the whole, or `error` with a problem.
#[utoipa::path(
    post,
    path = "/generate",
    tag = "Generation",
    request_body = GenerateRequest,
    responses(
        (
            status = 200,
            description = "The text, or events with `stream: true`, with `GeneratedPart` for parts",
            content(
                (Generated = "application/json"),
                (GeneratedPart = "text/event-stream"),
            )
        ),
        (status = "default", body = Problem, content_type = "application/problem+json"),
    )
)]
async fn generate(
    State(models): State<Models>,
    client: ClientName,
    JsonBody(asked): JsonBody<GenerateRequest>,
) -> Result<Response, ApiError> {
    let (request, search) = (asked.request()?, asked.search()?);
    let engine = models.named(asked.model.as_deref())?;
    let limit = engine.options().max_tokens;
    if let Some(asked) = asked.max_tokens.filter(|&asked| asked > limit) {
        let detail = format!("this server generates at most {limit} tokens, not {asked}");
        return Err(ApiError::parameter("max_tokens", detail));
    }
    let constraint = constrain(&engine, asked.schema.clone(), Some("schema")).await?;
    let (is_stream, has_receipt, begin) = (asked.stream, asked.receipt, engine.begin());
    let prompts = encode(&engine, vec![asked], move |text, asked| {
        let chat = asked.chat || asked.messages.is_some();
        let mut history: Vec<ChatMessage> =
            asked.messages.into_iter().flatten().map(Message::into).collect();
        let last = history.pop().map(|message| message.content).or(asked.prompt);
        let prompt = Prompt {
            text: last.as_deref().unwrap_or_default(),
            chat,
            system: asked.system.as_deref(),
            history: &history,
            reason: asked.reason.is_some(),
            tools: asked.tools,
        };
        prompt.encode(text, begin)
    });
    let prompt = prompts.await?.pop().unwrap_or_default();
    let (tokens, context) = (prompt.len(), engine.card().context);
    if tokens >= context {
        return Err(pol_generate::Error::Prompt { tokens, context }.into());
    }
    let max_tokens = request.max_tokens.min(limit);
    let request = Request { prompt, max_tokens, constraint, ..request };
    if !is_stream && search.is_none() {
        check_reports(slice::from_ref(&request))?;
    }
    if has_receipt {
        engine.receipts("receipt")?.check(&request, engine.text())?;
    }
    let (seed, receipted) = (request.sampling.seed, has_receipt.then(|| request.clone()));
    let answers = match search {
        Some(search) => engine.reason(&client, request, search)?,
        None => engine.generate(&client, Operation::TextCompletion, request)?,
    };
    let answering = Answering { engine, prompt_tokens: tokens, seed, receipted };
    if is_stream {
        Ok(answering.stream(answers))
    } else {
        answering.whole(answers, search.is_some()).await
    }
}

/// Returns the endpoint.
pub(crate) fn routes(models: Models) -> OpenApiRouter {
    OpenApiRouter::new().routes(routes!(generate)).with_state(models)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::body::parse;

    #[test]
    fn reasoning_is_bounded() {
        let check = |json: &str| parse::<GenerateRequest>(json.as_bytes())?.check();
        assert!(check(r#"{"prompt": "x", "reason": "tree", "branches": 4, "width": 2}"#).is_ok());
        assert!(check(r#"{"prompt": "x", "reason": "chain", "budget": 4096}"#).is_ok());
        for wrong in [
            r#"{"prompt": "x", "reason": "tree", "branches": 9}"#,
            r#"{"prompt": "x", "reason": "tree", "width": 0}"#,
            r#"{"prompt": "x", "reason": "chain", "budget": 5000}"#,
            r#"{"prompt": "x", "reason": "maze"}"#,
            r#"{"prompt": "x", "alternatives": 21}"#,
            r#"{"prompt": ["x"]}"#,
            r#"{}"#,
            r#"{"messages": []}"#,
            r#"{"messages": [{"role": "assistant", "content": "x"}]}"#,
            r#"{"messages": [{"role": "user", "content": "x"}], "system": "s"}"#,
        ] {
            assert!(check(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn parameters_without_effect_are_refused_by_name() {
        for (more, name) in [
            (r#""system": "s""#, "system"),
            (r#""budget": 9"#, "budget"),
            (r#""reason": "chain", "branches": 2"#, "branches"),
            (r#""reason": "chain", "width": 2"#, "width"),
            (r#""reason": "tree", "max_tokens": 2"#, "max_tokens"),
            (r#""reason": "tree", "stop": "x""#, "stop"),
            (r#""reason": "tree", "alternatives": 2"#, "alternatives"),
            (r#""reason": "tree", "receipt": true"#, "receipt"),
            (r#""reason": "tree", "schema": {}"#, "schema"),
            (r#""receipt": true, "schema": {}"#, "receipt"),
            (r#""tools": true, "schema": {}"#, "tools"),
            (r#""ignore_end": true, "schema": {}"#, "ignore_end"),
            (r#""stop": [""]"#, "stop"),
            (r#""messages": [{"role": "user", "content": "y"}]"#, "prompt"),
        ] {
            let body = format!(r#"{{"prompt": "x", {more}}}"#);
            let request = parse::<GenerateRequest>(body.as_bytes()).unwrap();
            match request.check() {
                Err(ApiError::Invalid { parameter, .. }) => assert_eq!(parameter, Some(name)),
                other => panic!("{more}: {other:?}"),
            }
        }
    }
}
