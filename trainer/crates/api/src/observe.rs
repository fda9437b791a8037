// SPDX-License-Identifier: Apache-2.0

//! Names, lines of the log, metrics, and traces of requests.

use crate::error::ApiError;
use axum::{
    body::{Body, Bytes, to_bytes},
    extract::{MatchedPath, Request},
    http::{HeaderName, HeaderValue, header},
    middleware::Next,
    response::{IntoResponse, Response},
};
use hyper::body::{Body as HttpBody, Frame, SizeHint};
use pol_metrics::{Entered, HttpMethod, SPANS};
use std::{
    pin::Pin,
    task::{Context, Poll},
    time::{Instant, SystemTime},
};
use tracing::{Instrument, field::Empty};

/// Name of a request in answers and logs.
const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
/// Headers of every answer: no guess of types, no place in frames, no address to other sites.
const FIXED: [(HeaderName, HeaderValue); 3] = [
    (header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff")),
    (header::X_FRAME_OPTIONS, HeaderValue::from_static("DENY")),
    (header::REFERRER_POLICY, HeaderValue::from_static("no-referrer")),
];

/// Names a request, logs and measures it, and adds the headers of every answer.
pub(crate) async fn observe(request: Request, next: Next) -> Response {
    let (id, started) = (request_id(), Instant::now());
    let (method, path) = (request.method().clone(), request.uri().path().to_owned());
    let route = request.extensions().get::<MatchedPath>();
    let route = route.map_or(String::new(), |route| route.as_str().to_owned());
    let active = pol_metrics::http().active_requests.enter();
    let traced = tracing::info_span!(
        target: SPANS,
        "request",
        otel.name = format!("{method} {route}"),
        otel.kind = "server",
        http.request.method = method.as_str(),
        http.route = route,
        http.response.status_code = Empty,
        error.type = Empty,
    );
    let span = traced.in_scope(|| tracing::info_span!("request", %id, client = Empty));
    let answer = next.run(request).instrument(span.clone()).instrument(traced.clone());
    let mut response = answer.await;
    let (status, time) = (response.status(), started.elapsed());
    let method_label = HttpMethod::named(method.as_str());
    let durations = &pol_metrics::http().request_duration_seconds;
    durations.record(&route, method_label, status.as_u16(), time);
    traced.record("http.response.status_code", status.as_u16());
    if status.is_server_error() {
        traced.record("error.type", status.as_str());
    }
    let (code, milliseconds) = (status.as_u16(), time.as_millis());
    span.in_scope(|| tracing::info!("{method} {path:.80} {code} after {milliseconds} ms"));
    add_headers(&mut response, &id);
    response.map(|body| Body::new(SentBody { body, _active: active }))
}

/// Returns the bytes of the answer to a request that could not be read, or is not.
pub(crate) async fn refuse(error: ApiError) -> Vec<u8> {
    let id = request_id();
    let reason = match &error {
        ApiError::Connections(_) => "a client with too many connections",
        _ => "a request that cannot be read",
    };
    let mut response = error.into_response();
    add_headers(&mut response, &id);
    let (head, body) = response.into_parts();
    let code = head.status.as_u16();
    tracing::info_span!("request", %id).in_scope(|| tracing::info!("{code} for {reason}"));
    let body = to_bytes(body, usize::MAX).await.unwrap_or_default();
    let date = httpdate::fmt_http_date(SystemTime::now());
    let mut bytes = format!(
        "HTTP/1.1 {}\r\nconnection: close\r\ncontent-length: {}\r\ndate: {date}\r\n",
        head.status,
        body.len()
    )
    .into_bytes();
    for (name, value) in &head.headers {
        bytes.extend([name.as_str().as_bytes(), b": ", value.as_bytes(), b"\r\n"].concat());
    }
    bytes.extend(b"\r\n");
    bytes.extend(body);
    bytes
}

fn request_id() -> String {
    let mut bytes = [0; 12];
    // Without random bytes requests have one name, which harms nobody.
    let _ = getrandom::fill(&mut bytes);
    hex::encode(bytes)
}

fn add_headers(response: &mut Response, id: &str) {
    let headers = response.headers_mut();
    headers.extend(FIXED);
    headers.entry(header::CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
    if let Ok(id) = HeaderValue::from_str(id) {
        headers.insert(REQUEST_ID, id);
    }
}

/// Body of an answer, whose request is active until it is sent.
struct SentBody {
    body: Body,
    _active: Entered,
}

impl HttpBody for SentBody {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        Pin::new(&mut self.body).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
