// SPDX-License-Identifier: Apache-2.0

//! Texts of completions and chats, which differ in the form of their parts.

use super::functions::{Call, CallFilter, parse_calls};
use crate::{
    answers,
    clients::ClientName,
    engine::Engine,
    error::ApiError,
    events,
    parameters::check_reports,
    worker::{Answer, Part},
};
use axum::{
    Json,
    response::{IntoResponse, Response, sse::Event},
};
use futures::{StreamExt, stream};
use pol_generate::{Completion, FinishReason, Request, TextTokenizer, TokenReport};
use pol_metrics::Operation;
use pol_receipt::ReceiptFile;
use serde::{Deserialize, Serialize};
use std::{
    sync::Arc,
    time::{SystemTime, UNIX_EPOCH},
};
use tokio::sync::mpsc::Receiver;
use utoipa::ToSchema;

/// Smallest logarithm of a probability, since JSON has no infinity.
const MIN_LOG_PROBABILITY: f64 = -9_999.0;

/// Numbers of tokens.
#[derive(Clone, Copy, Debug, Default, Serialize, ToSchema)]
pub(crate) struct Usage {
    pub(crate) prompt_tokens: usize,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) completion_tokens: Option<usize>,
    pub(crate) total_tokens: usize,
}

/// Options of a stream.
#[derive(Clone, Copy, Debug, Default, Deserialize, ToSchema)]
pub(crate) struct StreamOptions {
    /// Set if the last event has the numbers of tokens.
    #[serde(default)]
    pub(crate) include_usage: bool,
}

/// Answer, or event of a stream, with choices of one form.
#[derive(Serialize, ToSchema)]
pub(crate) struct Envelope<C> {
    id: String,
    object: &'static str,
    created: u64,
    model: String,
    /// Root of the model and its decoder. With prompt, parameters, and seed they fix the text.
    system_fingerprint: String,
    choices: Vec<C>,
    #[serde(skip_serializing_if = "Option::is_none")]
    usage: Option<Usage>,
}

/// Form of texts.
pub(crate) trait Form: 'static {
    /// Start of the names of answers.
    const ID: &'static str;
    /// Operation, as it is counted.
    const OPERATION: Operation;
    /// Names of whole answers and of events.
    const OBJECTS: [&'static str; 2];
    /// Part of an answer.
    type Choice: Serialize + Send;
    /// Part of an event.
    type Delta: Serialize + Send;

    /// Returns the part of an answer for a whole text.
    fn choice(index: usize, part: Part, ending: Ending, text: &TextTokenizer) -> Self::Choice;

    /// Returns the first part of a stream, if it has one before the text.
    fn first(_index: usize) -> Option<Self::Delta> {
        None
    }

    /// Returns the part of an event. `offset` is the length, in characters, of the tokens before.
    fn delta(
        index: usize,
        part: Part,
        ending: Option<Ending>,
        offset: usize,
        text: &TextTokenizer,
    ) -> Self::Delta;

    /// Returns the part of an event with calls of functions, if texts have them.
    fn calls(_index: usize, _calls: Vec<Call>) -> Option<Self::Delta> {
        None
    }
}

/// End of a text.
pub(crate) struct Ending {
    /// Reason, as clients of OpenAI know it.
    pub(crate) finish: &'static str,
    /// Text before calls of functions, and the calls, if there are any.
    pub(crate) calls: Option<(String, Vec<Call>)>,
    /// Receipt, if the request asks for one.
    pub(crate) receipt: Option<ReceiptFile>,
}

/// Texts that a request asks for.
pub(crate) struct Texts {
    pub(crate) engine: Arc<Engine>,
    /// Client that asks.
    pub(crate) client: ClientName,
    /// Prompts, each of which gets as many texts.
    pub(crate) prompts: Vec<Vec<u32>>,
    pub(crate) each: usize,
    /// Request without prompt and largest number of tokens.
    pub(crate) base: Request,
    /// Largest number of tokens; `None` for all that fit.
    pub(crate) max_tokens: Option<usize>,
    /// Set if the texts are sent while they are made.
    pub(crate) stream: Option<StreamOptions>,
    /// Names of the functions that the model may call.
    pub(crate) functions: Vec<String>,
    /// Set if a text may have several calls.
    pub(crate) parallel: bool,
    /// Set if each text has a receipt.
    pub(crate) receipts: bool,
}

impl Texts {
    /// Generates the texts and answers in the form `F`.
    pub(crate) async fn respond<F: Form>(self) -> Result<Response, ApiError> {
        let texts = self.prompts.len().saturating_mul(self.each);
        self.engine.check_texts(&self.client, texts, "n")?;
        let requests = self.requests()?;
        if self.stream.is_none() {
            check_reports(&requests)?;
        }
        let kept = if self.receipts { requests.clone() } else { Vec::new() };
        let ask = |request| self.engine.generate(&self.client, F::OPERATION, request);
        let receivers: Vec<_> = requests.into_iter().map(ask).collect::<Result<_, _>>()?;
        let head = Head::new::<F>(&self.engine);
        let prompt_tokens = self.prompts.iter().map(Vec::len).sum();
        let Self { engine, functions, parallel, .. } = self;
        let finisher = Finisher { engine, functions, parallel, requests: kept };
        if let Some(options) = self.stream {
            let prompt_tokens = options.include_usage.then_some(prompt_tokens);
            return Ok(stream_texts::<F>(finisher, receivers, head, prompt_tokens));
        }
        let (mut choices, mut generated) = (Vec::new(), 0);
        for (index, receiver) in receivers.into_iter().enumerate() {
            let (completion, part) = answers::collect(receiver).await?;
            generated += completion.tokens;
            let ending = finisher.end(index, &completion)?;
            choices.push(F::choice(index, part, ending, finisher.engine.text()));
        }
        let usage = usage(prompt_tokens, generated);
        Ok(Json(head.envelope(F::OBJECTS[0], choices, Some(usage))).into_response())
    }

    /// Returns the requests for all texts.
    fn requests(&self) -> Result<Vec<Request>, ApiError> {
        let texts = self.prompts.iter().flat_map(|prompt| std::iter::repeat_n(prompt, self.each));
        let context = self.engine.card().context;
        let limit = self.engine.options().max_tokens;
        let request = |(prompt, stream): (&Vec<u32>, u64)| {
            if prompt.len() >= context {
                let tokens = prompt.len();
                return Err(pol_generate::Error::Prompt { tokens, context }.into());
            }
            let max_tokens = self.max_tokens.unwrap_or(usize::MAX).min(limit);
            let max_tokens = max_tokens.min(context - prompt.len());
            let prompt = prompt.clone();
            let request = Request { prompt, stream, max_tokens, ..self.base.clone() };
            if self.receipts {
                self.engine.receipts("pol_receipt")?.check(&request, self.engine.text())?;
            }
            Ok(request)
        };
        texts.zip(0..).map(request).collect()
    }
}

/// Maker of the ends of texts.
struct Finisher {
    engine: Arc<Engine>,
    functions: Vec<String>,
    parallel: bool,
    /// Requests of all texts, if they have receipts.
    requests: Vec<Request>,
}

impl Finisher {
    fn end(&self, index: usize, completion: &Completion) -> Result<Ending, ApiError> {
        let receipt = self.requests.get(index).map(|request| {
            let receipts = self.engine.receipts("pol_receipt")?;
            receipts.file(request, self.engine.text(), completion)
        });
        let calls = (!self.functions.is_empty())
            .then(|| parse_calls(&completion.text, &self.functions))
            .flatten();
        let calls = calls.map(|(before, mut calls)| {
            calls.truncate(if self.parallel { calls.len() } else { 1 });
            (before, calls)
        });
        let finish = if calls.is_some() { "tool_calls" } else { finish_name(&completion.finish) };
        Ok(Ending { finish, calls, receipt: receipt.transpose()? })
    }
}

/// Common fields of an answer and its events.
struct Head {
    id: String,
    created: u64,
    model: String,
    fingerprint: String,
}

impl Head {
    fn new<F: Form>(engine: &Engine) -> Self {
        let mut bytes = [0; 12];
        // Without random bytes answers have one name, which harms nobody.
        let _ = getrandom::fill(&mut bytes);
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Self {
            id: format!("{}-{}", F::ID, hex::encode(bytes)),
            created: now.as_secs(),
            model: engine.card().id(),
            fingerprint: engine.card().fingerprint(),
        }
    }

    fn envelope<C>(
        &self,
        object: &'static str,
        choices: Vec<C>,
        usage: Option<Usage>,
    ) -> Envelope<C> {
        Envelope {
            id: self.id.clone(),
            object,
            created: self.created,
            model: self.model.clone(),
            system_fingerprint: self.fingerprint.clone(),
            choices,
            usage,
        }
    }
}

/// State of a stream.
struct Streaming {
    finisher: Finisher,
    head: Head,
    /// Tokens of the prompts, if the last event has the usage.
    prompt_tokens: Option<usize>,
    generated: usize,
    /// Length of the tokens of each text so far, in characters.
    offsets: Vec<usize>,
    /// Parts of each text that may be calls of functions, if there are any.
    filters: Vec<CallFilter>,
    has_failed: bool,
}

fn stream_texts<F: Form>(
    finisher: Finisher,
    receivers: Vec<Receiver<Answer>>,
    head: Head,
    prompt_tokens: Option<usize>,
) -> Response {
    let texts = receivers.len();
    let filtered = if finisher.functions.is_empty() { 0 } else { texts };
    let mut state = Streaming {
        finisher,
        head,
        prompt_tokens,
        generated: 0,
        offsets: vec![0; texts],
        filters: std::iter::repeat_with(CallFilter::default).take(filtered).collect(),
        has_failed: false,
    };
    let first: Vec<Event> =
        (0..texts).filter_map(F::first).map(|delta| state.event::<F>(delta)).collect();
    // `None` marks the end of all texts.
    let answers = answers::merge(receivers).map(Some).chain(stream::iter([None]));
    let rest = answers.flat_map(move |answer| {
        stream::iter(match answer {
            Some((index, answer)) => state.answer::<F>(index, answer),
            None => state.end::<F>(),
        })
    });
    events::respond(stream::iter(first).chain(rest))
}

impl Streaming {
    fn event<F: Form>(&self, delta: F::Delta) -> Event {
        events::json(&self.head.envelope(F::OBJECTS[1], vec![delta], None))
    }

    fn answer<F: Form>(&mut self, index: usize, answer: Answer) -> Vec<Event> {
        if self.has_failed {
            return Vec::new();
        }
        match answer {
            Answer::Part(part) => self.part::<F>(index, part).into_iter().collect(),
            Answer::Done(completion) => {
                self.generated += completion.tokens;
                match self.finisher.end(index, &completion) {
                    Ok(ending) => self.ending::<F>(index, ending),
                    Err(error) => self.fail(&error),
                }
            }
            Answer::Failed(error) => self.fail(&error.into()),
            Answer::Step(_) | Answer::Reasoned(_) | Answer::Embedding(_) => Vec::new(),
        }
    }

    /// Returns the event of a part, unless all of it is held back.
    fn part<F: Form>(&mut self, index: usize, mut part: Part) -> Option<Event> {
        if let Some(filter) = self.filters.get_mut(index) {
            part.text = filter.push(&part.text);
        }
        if part.text.is_empty() && part.reports.is_empty() {
            return None;
        }
        let text = self.finisher.engine.text();
        let offset = self.offsets[index];
        self.offsets[index] += part
            .reports
            .iter()
            .map(|report| token_text(text, report.token).chars().count())
            .sum::<usize>();
        Some(self.event::<F>(F::delta(index, part, None, offset, text)))
    }

    /// Returns the events at the end of a text: what was held back, or the calls that it is.
    fn ending<F: Form>(&mut self, index: usize, mut ending: Ending) -> Vec<Event> {
        let (text, offset) = (self.finisher.engine.text(), self.offsets[index]);
        let calls = ending.calls.take();
        let held = self.filters.get_mut(index).map(|filter| filter.finish(calls.is_some()));
        let held = held.filter(|held| !held.is_empty()).map(|held| {
            let part = Part { text: held, ..Part::default() };
            F::delta(index, part, None, offset, text)
        });
        let calls = calls.and_then(|(_, calls)| F::calls(index, calls));
        let last = F::delta(index, Part::default(), Some(ending), offset, text);
        let deltas = held.into_iter().chain(calls).chain([last]);
        deltas.map(|delta| self.event::<F>(delta)).collect()
    }

    fn fail(&mut self, error: &ApiError) -> Vec<Event> {
        self.has_failed = true;
        vec![events::json(&error.problem())]
    }

    fn end<F: Form>(&self) -> Vec<Event> {
        if self.has_failed {
            return Vec::new();
        }
        let usage = self.prompt_tokens.map(|prompt_tokens| {
            let usage = usage(prompt_tokens, self.generated);
            events::json(&self.head.envelope::<F::Delta>(F::OBJECTS[1], Vec::new(), Some(usage)))
        });
        usage.into_iter().chain([Event::default().data("[DONE]")]).collect()
    }
}

fn usage(prompt_tokens: usize, completion_tokens: usize) -> Usage {
    Usage {
        prompt_tokens,
        completion_tokens: Some(completion_tokens),
        total_tokens: prompt_tokens + completion_tokens,
    }
}

/// Returns the reason for an end, as clients of OpenAI know it.
fn finish_name(finish: &FinishReason) -> &'static str {
    match finish {
        FinishReason::End | FinishReason::Stop(_) => "stop",
        FinishReason::Length | FinishReason::Context | FinishReason::Cancelled => "length",
    }
}

/// Returns the text of a token on its own. A part of a character becomes U+FFFD.
pub(crate) fn token_text(text: &TextTokenizer, token: u32) -> String {
    String::from_utf8_lossy(text.bytes(token)).into_owned()
}

/// Returns the logarithm of the probability of the token that a report is about.
pub(crate) fn log_probability(report: &TokenReport) -> f64 {
    finite(report.log_probability)
}

/// Returns a logarithm that JSON can express.
pub(crate) fn finite(log: f64) -> f64 {
    log.max(MIN_LOG_PROBABILITY)
}
