// SPDX-License-Identifier: Apache-2.0

//! Errors of requests, as problem details (RFC 9457).

use axum::{
    http::{HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use serde::Serialize;
use std::time::Duration;
use utoipa::ToSchema;

/// Media type of problem details.
const PROBLEM_JSON: HeaderValue = HeaderValue::from_static("application/problem+json");

/// Type of errors, as clients of OpenAI know it, of requests that are not allowed.
const DENIED: &str = "permission_error";

/// Error of a request.
#[derive(Debug, thiserror::Error)]
pub enum ApiError {
    /// The body is not the JSON that the endpoint takes, or a parameter is out of range.
    #[error("{detail}")]
    Invalid {
        /// Parameter at fault, if it is one.
        parameter: Option<&'static str>,
        /// Description of the fault and the remedy.
        detail: String,
    },
    /// The endpoint does not support a feature.
    #[error("{parameter} is not supported: {remedy}")]
    Unsupported {
        /// Parameter that asks for the feature.
        parameter: &'static str,
        /// Alternative.
        remedy: &'static str,
    },
    /// The prompt leaves no room in the context.
    #[error(transparent)]
    ContextLength(pol_generate::Error),
    /// The branches of a tree need more memory than the server has for all sequences.
    #[error(
        "the branches of the tree take memory for {tokens} tokens, and the server has it for \
         {limit}; ask for fewer branches, or a smaller width or budget, shorten the prompt, or \
         start the server with more --memory"
    )]
    SearchSize {
        /// Tokens of all branches.
        tokens: usize,
        /// Tokens that the server has memory for.
        limit: usize,
    },
    /// The request names a model that is not served.
    #[error("the model '{asked}' is not served here; GET /v1/models lists '{served}'")]
    Model {
        /// Name in the request.
        asked: String,
        /// Names of the served models.
        served: String,
    },
    /// There is no token, or it is unknown or revoked.
    #[error("send a valid token as `Authorization: Bearer …`; `pol-trainer tokens add` makes one")]
    Unauthorized,
    /// The token lacks a scope.
    #[error("the token lacks the scope '{0}'; make one with `pol-trainer tokens add --scope {0}`")]
    Forbidden(&'static str),
    /// A request without a token names a host that is not this machine.
    #[error("the host of the request is not this machine; ask for localhost, or use tokens")]
    Host,
    /// A page of another site asks, whose origin is not allowed.
    #[error(
        "a page of another site asks; open the server's own page, or start the server with \
         --allow-origin and the origin of that site"
    )]
    Site,
    /// There is no such endpoint.
    #[error("there is no such endpoint; GET /openapi.json lists all")]
    NotFound,
    /// The endpoint has no such method.
    #[error("the endpoint does not have this method; GET /openapi.json lists all")]
    Method,
    /// The body is too large.
    #[error("the body is larger than {0} bytes; send less")]
    BodySize(usize),
    /// The body is not declared as JSON.
    #[error("send the body with `Content-Type: application/json`")]
    MediaType,
    /// The request is not one of HTTP/1.1.
    #[error("the request cannot be read ({0}); send it as HTTP/1.1")]
    Malformed(String),
    /// The head of the request is too large.
    #[error("the head of the request has more than {bytes} bytes or {count} headers; send less")]
    HeadSize {
        /// Largest size, in bytes.
        bytes: usize,
        /// Largest number of headers.
        count: usize,
    },
    /// The head of the request did not arrive in time.
    #[error("the head of the request did not arrive within {} s; send it faster", .0.as_secs())]
    SlowHead(Duration),
    /// The body did not arrive in time.
    #[error("the body did not arrive within {} s; send it faster", .0.as_secs())]
    Slow(Duration),
    /// Too many requests of this client.
    #[error("too many requests; try again in {} s", .0.as_secs().max(1))]
    Rate(Duration),
    /// Too many connections of this client.
    #[error(
        "this client has {0} connections, and more are refused; close some, use one for several \
         requests, or start a server behind a proxy with a larger --client-connections"
    )]
    Connections(usize),
    /// The client has its share of the places and of the queue.
    #[error(
        "this client has {0} texts under way or waiting, and more are refused, so that others are \
         served too; try again once one of them has ended"
    )]
    Share(usize),
    /// All places are taken, and the queue is full.
    #[error("all places are taken and the queue is full; try again in a few seconds")]
    Busy,
    /// No model is loaded yet.
    #[error("no model is loaded yet; try again once the chain has one, see GET /v1/models")]
    NoModel,
    /// The request does not fit the state of this process.
    #[error("{0}")]
    Conflict(String),
    /// The thing that the path names does not exist.
    #[error("{0}")]
    Missing(String),
    /// A part of the server is not ready, or away.
    #[error("{detail}")]
    Unavailable {
        /// Name of the kind of problem.
        name: &'static str,
        /// Description and remedy.
        detail: String,
        /// Time after which the client may try again.
        retry: Duration,
    },
    /// The server is at fault.
    #[error("{0}")]
    Internal(String),
}

/// Error of a request as problem details, with the object by which clients of OpenAI know errors.
#[derive(Debug, Serialize, ToSchema)]
pub struct Problem {
    /// Kind of the problem, as a URN.
    #[serde(rename = "type")]
    #[schema(example = "urn:pol:problem:rate-limited")]
    kind: String,
    /// Name of the kind.
    title: &'static str,
    /// Status code.
    status: u16,
    /// Description of this occurrence, with the remedy.
    detail: String,
    /// Error in the form of OpenAI.
    error: OpenAiError,
}

/// Error in the form of OpenAI.
#[derive(Debug, Serialize, ToSchema)]
pub struct OpenAiError {
    message: String,
    #[serde(rename = "type")]
    kind: &'static str,
    param: Option<&'static str>,
    code: &'static str,
}

/// Constant parts of an error: status, name, title, and the type that clients of OpenAI know.
type Kind = (StatusCode, &'static str, &'static str, &'static str);

impl ApiError {
    /// Creates the error of a parameter that is out of range.
    pub fn parameter(name: &'static str, detail: impl Into<String>) -> Self {
        Self::Invalid { parameter: Some(name), detail: detail.into() }
    }

    fn kind(&self) -> Kind {
        const INVALID: &str = "invalid_request_error";
        const LIMIT: &str = "rate_limit_error";
        const UNKNOWN: &str = "authentication_error";
        const FAULT: &str = "server_error";
        let status = |status, name, title, kind| (status, name, title, kind);
        match self {
            Self::Invalid { .. } => {
                status(StatusCode::BAD_REQUEST, "invalid-request", "Invalid request", INVALID)
            }
            Self::Unsupported { .. } => {
                status(StatusCode::BAD_REQUEST, "unsupported", "Not supported", INVALID)
            }
            Self::ContextLength(_) => {
                let title = "Prompt too long";
                status(StatusCode::BAD_REQUEST, "context_length_exceeded", title, INVALID)
            }
            Self::SearchSize { .. } => {
                status(StatusCode::BAD_REQUEST, "search-too-large", "Search too large", INVALID)
            }
            Self::Model { .. } => {
                status(StatusCode::NOT_FOUND, "model_not_found", "Unknown model", INVALID)
            }
            Self::Unauthorized => {
                status(StatusCode::UNAUTHORIZED, "unauthorized", "Token required", UNKNOWN)
            }
            Self::Forbidden(_) => {
                status(StatusCode::FORBIDDEN, "forbidden", "Scope required", DENIED)
            }
            Self::Host => {
                status(StatusCode::MISDIRECTED_REQUEST, "host-refused", "Host refused", DENIED)
            }
            Self::Site => status(StatusCode::FORBIDDEN, "site-refused", "Site refused", DENIED),
            Self::NotFound | Self::Missing(_) => {
                status(StatusCode::NOT_FOUND, "not-found", "Not found", INVALID)
            }
            Self::Unavailable { name, .. } => {
                status(StatusCode::SERVICE_UNAVAILABLE, *name, "Not available", FAULT)
            }
            Self::Method => {
                status(StatusCode::METHOD_NOT_ALLOWED, "method", "Method not allowed", INVALID)
            }
            Self::BodySize(_) => {
                status(StatusCode::PAYLOAD_TOO_LARGE, "body-too-large", "Body too large", INVALID)
            }
            Self::MediaType => {
                let title = "JSON required";
                status(StatusCode::UNSUPPORTED_MEDIA_TYPE, "media-type", title, INVALID)
            }
            Self::Malformed(_) => {
                status(StatusCode::BAD_REQUEST, "malformed-request", "Malformed request", INVALID)
            }
            Self::HeadSize { .. } => {
                let code = StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE;
                status(code, "head-too-large", "Head too large", INVALID)
            }
            Self::SlowHead(_) => {
                status(StatusCode::REQUEST_TIMEOUT, "slow-head", "Head too slow", INVALID)
            }
            Self::Slow(_) => {
                status(StatusCode::REQUEST_TIMEOUT, "slow-body", "Body too slow", INVALID)
            }
            Self::Rate(_) => {
                status(StatusCode::TOO_MANY_REQUESTS, "rate-limited", "Too many requests", LIMIT)
            }
            Self::Connections(_) => {
                let title = "Too many connections";
                status(StatusCode::TOO_MANY_REQUESTS, "too-many-connections", title, LIMIT)
            }
            Self::Share(_) => {
                status(StatusCode::TOO_MANY_REQUESTS, "too-many-texts", "Too many texts", LIMIT)
            }
            Self::Busy => status(StatusCode::SERVICE_UNAVAILABLE, "busy", "Busy", FAULT),
            Self::NoModel => status(StatusCode::SERVICE_UNAVAILABLE, "no-model", "No model", FAULT),
            Self::Conflict(_) => status(StatusCode::CONFLICT, "conflict", "Conflict", INVALID),
            Self::Internal(_) => {
                status(StatusCode::INTERNAL_SERVER_ERROR, "internal", "Internal error", FAULT)
            }
        }
    }

    /// Returns the problem details of this error.
    pub fn problem(&self) -> Problem {
        let (status, code, title, kind) = self.kind();
        let param = match self {
            Self::Invalid { parameter, .. } => *parameter,
            Self::Unsupported { parameter, .. } => Some(*parameter),
            Self::SearchSize { .. } => Some("branches"),
            _ => None,
        };
        let detail = self.to_string();
        Problem {
            kind: format!("urn:pol:problem:{}", code.replace('_', "-")),
            title,
            status: status.as_u16(),
            error: OpenAiError { message: detail.clone(), kind, param, code },
            detail,
        }
    }
}

impl From<pol_generate::Error> for ApiError {
    fn from(error: pol_generate::Error) -> Self {
        use pol_generate::{Error, SamplingError};
        match error {
            Error::Prompt { .. } => Self::ContextLength(error),
            Error::Schema(_) | Error::Form(_) => Self::parameter("schema", error.to_string()),
            Error::Chat(_) => Self::parameter("messages", error.to_string()),
            Error::Documents => Self::parameter("documents", error.to_string()),
            Error::Empty | Error::Tokenizer(_) | Error::Sampling(SamplingError::Control { .. }) => {
                Self::Invalid { parameter: None, detail: error.to_string() }
            }
            _ => Self::Internal(error.to_string()),
        }
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        if let Self::Internal(reason) = &self {
            tracing::warn!("{reason}");
        }
        let (status, ..) = self.kind();
        let body = serde_json::to_string(&self.problem()).unwrap_or_default();
        let mut response = (status, [(header::CONTENT_TYPE, PROBLEM_JSON)], body).into_response();
        let wait = match &self {
            Self::Rate(wait) => Some(wait.as_secs().max(1)),
            Self::Busy | Self::Connections(_) | Self::Share(_) => Some(2),
            Self::NoModel => Some(5),
            Self::Unavailable { retry, .. } => Some(retry.as_secs().max(1)),
            _ => None,
        };
        let headers = response.headers_mut();
        if let Some(seconds) = wait {
            headers.insert(header::RETRY_AFTER, seconds.into());
        }
        if matches!(self, Self::Unauthorized) {
            headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        response
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_problem_serves_readers_of_both_forms() {
        let error = ApiError::parameter("temperature", "temperature must be 0 or more, not -1");
        let problem = serde_json::to_value(error.problem()).unwrap();
        assert_eq!(problem["type"], "urn:pol:problem:invalid-request");
        assert_eq!(
            (&problem["status"], &problem["title"]),
            (&400.into(), &"Invalid request".into())
        );
        assert_eq!(problem["detail"], "temperature must be 0 or more, not -1");
        assert_eq!(problem["error"]["message"], problem["detail"]);
        assert_eq!(problem["error"]["param"], "temperature");
        let response = ApiError::Rate(Duration::from_millis(10)).into_response();
        assert_eq!(response.status(), 429);
        assert_eq!(response.headers()["retry-after"], "1");
        assert_eq!(response.headers()["content-type"], "application/problem+json");
    }

    #[test]
    fn errors_of_texts_name_the_parameter() {
        use pol_generate::Error;
        for (error, name) in [
            (Error::Schema("x".into()), Some("schema")),
            (Error::Chat("x".into()), Some("messages")),
            (Error::Documents, Some("documents")),
            (Error::Empty, None),
        ] {
            let problem = serde_json::to_value(ApiError::from(error).problem()).unwrap();
            assert_eq!(
                (&problem["status"], &problem["error"]["param"]),
                (&400.into(), &name.into())
            );
        }
    }
}
