// SPDX-License-Identifier: Apache-2.0

//! Generation of text for clients.
//!
//! Names, labels, and buckets follow the [semantic conventions for generative AI][conventions] of
//! OpenTelemetry, in the spelling that its exporter for Prometheus gives them. The model is no
//! label: a server serves one model, and its heads are as many as rounds.
//!
//! [conventions]: https://opentelemetry.io/docs/specs/semconv/gen-ai/gen-ai-metrics/

use crate::{
    Histograms, Labels, Level, SPANS,
    family::{Entered, label, metrics},
};
use std::time::Instant;
use tracing::field::Empty;

/// Seconds of a request.
const REQUEST_SECONDS: [f64; 14] =
    [0.01, 0.02, 0.04, 0.08, 0.16, 0.32, 0.64, 1.28, 2.56, 5.12, 10.24, 20.48, 40.96, 81.92];
/// Seconds until the first token.
const FIRST_TOKEN_SECONDS: [f64; 16] =
    [0.001, 0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0];
/// Seconds for each token after the first.
const TOKEN_SECONDS: [f64; 13] =
    [0.01, 0.025, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.75, 1.0, 2.5];
/// Tokens of a request.
const TOKENS: [f64; 14] = [
    1.0,
    4.0,
    16.0,
    64.0,
    256.0,
    1_024.0,
    4_096.0,
    16_384.0,
    65_536.0,
    262_144.0,
    1_048_576.0,
    4_194_304.0,
    16_777_216.0,
    67_108_864.0,
];

label! {
    /// Operation that a client asks for.
    Operation "gen_ai_operation_name" {
        Chat "chat", TextCompletion "text_completion", Embeddings "embeddings",
    }
}
label! {
    /// Provider of the model, for the tools that tell providers apart.
    Provider "gen_ai_provider_name" { Pol "pol", }
}
label! {
    /// Direction of tokens.
    TokenType "gen_ai_token_type" { Input "input", Output "output", }
}
label! {
    /// End of a request.
    RequestEnd "error_type" {
        Success "",
        Cancelled "cancelled",
        Timeout "timeout",
        Overloaded "overloaded",
        InvalidRequest "invalid_request",
        Other "_OTHER",
    }
}

metrics! {
    /// Generation of text, by the names of OpenTelemetry.
    GenerationMetrics generation_metrics "gen_ai" {
        /// Tokens of a request: those of the prompt and those of the answer.
        client_token_usage: Histograms<((Operation, Provider), TokenType)> = TOKENS,
        /// Time from a request to the end of its answer, in seconds. Without an error, its type is
        /// empty.
        server_request_duration_seconds: Histograms<((Operation, Provider), RequestEnd)>
            = REQUEST_SECONDS,
        /// Time from a request to the first token of its answer, in seconds.
        server_time_to_first_token_seconds: Histograms<(Operation, Provider)> = FIRST_TOKEN_SECONDS,
        /// Time for each token after the first one, in seconds, as a mean over the answer.
        server_time_per_output_token_seconds: Histograms<(Operation, Provider)> = TOKEN_SECONDS,
    }
}

metrics! {
    /// Load of the server that generates text.
    GenerationLoad generation_load "pol_generation" {
        /// Requests that are being answered.
        active_requests: Level,
    }
}

/// A request for one text while it is answered. It counts when it is dropped, and as cancelled
/// unless another [end](Self::set_end) is set. It is a span of traces too, below the span in which
/// it begins.
///
/// ```
/// use pol_metrics::{GenerationRequest, Operation, RequestEnd};
///
/// let mut request = GenerationRequest::begin(Operation::Chat, 17);
/// for _ in 0..3 {
///     request.token();
/// }
/// request.set_end(RequestEnd::Success);
/// drop(request);
/// assert!(pol_metrics::encode().contains("gen_ai_server_time_to_first_token_seconds_count"));
/// ```
pub struct GenerationRequest {
    operation: Operation,
    started: Instant,
    /// Times of the first and of the newest token.
    tokens: Option<(Instant, Instant)>,
    output_tokens: u32,
    end: RequestEnd,
    span: tracing::Span,
    _active: Entered,
}

impl GenerationRequest {
    /// Begins a request whose prompt has `input_tokens`.
    pub fn begin(operation: Operation, input_tokens: usize) -> Self {
        let labels = ((operation, Provider::Pol), TokenType::Input);
        generation_metrics().client_token_usage.record(labels, input_tokens as f64);
        Self {
            operation,
            started: Instant::now(),
            tokens: None,
            output_tokens: 0,
            end: RequestEnd::Cancelled,
            span: tracing::info_span!(
                target: SPANS,
                "generation",
                otel.name = name_of(operation),
                gen_ai.operation.name = name_of(operation),
                gen_ai.provider.name = name_of(Provider::Pol),
                gen_ai.usage.input_tokens = input_tokens,
                gen_ai.usage.output_tokens = Empty,
                error.type = Empty,
            ),
            _active: generation_load().active_requests.enter(),
        }
    }

    /// Notes tokens of the answer.
    pub fn tokens(&mut self, count: usize) {
        if count > 0 {
            self.token();
            let further = u32::try_from(count - 1).unwrap_or(u32::MAX);
            self.output_tokens = self.output_tokens.saturating_add(further);
        }
    }

    /// Notes a token of the answer.
    pub fn token(&mut self) {
        let now = Instant::now();
        let first = self.tokens.map_or(now, |(first, _)| first);
        if self.tokens.is_none() {
            let seconds = now.duration_since(self.started).as_secs_f64();
            let labels = (self.operation, Provider::Pol);
            generation_metrics().server_time_to_first_token_seconds.record(labels, seconds);
        }
        self.tokens = Some((first, now));
        self.output_tokens = self.output_tokens.saturating_add(1);
    }

    /// Sets the end with which the request counts once it is dropped.
    pub fn set_end(&mut self, end: RequestEnd) {
        self.end = end;
    }
}

impl Drop for GenerationRequest {
    fn drop(&mut self) {
        let (metrics, labels) = (generation_metrics(), (self.operation, Provider::Pol));
        let seconds = self.started.elapsed().as_secs_f64();
        metrics.server_request_duration_seconds.record((labels, self.end), seconds);
        if self.operation != Operation::Embeddings {
            let usage = (labels, TokenType::Output);
            metrics.client_token_usage.record(usage, f64::from(self.output_tokens));
        }
        if let Some((first, last)) = self.tokens
            && self.output_tokens > 1
        {
            let seconds = last.duration_since(first).as_secs_f64();
            let mean = seconds / f64::from(self.output_tokens - 1);
            metrics.server_time_per_output_token_seconds.record(labels, mean);
        }
        self.span.record("gen_ai.usage.output_tokens", self.output_tokens);
        if self.end != RequestEnd::Success {
            self.span.record("error.type", name_of(self.end));
        }
    }
}

/// Returns the value of a single label.
fn name_of(label: impl Labels) -> &'static str {
    label.values().first().copied().unwrap_or_default()
}
