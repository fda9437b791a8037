// SPDX-License-Identifier: Apache-2.0

//! Pages of other origins that may use the server (CORS, as the Fetch standard has it).

use axum::{
    extract::Request,
    http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header},
    middleware::Next,
    response::{IntoResponse, Response},
};

/// Time for which a browser remembers that it may ask, in seconds.
const MAX_AGE: HeaderValue = HeaderValue::from_static("600");
/// Methods of all endpoints.
const METHODS: HeaderValue = HeaderValue::from_static("GET, POST");
/// Headers of answers that pages may read.
const EXPOSED: HeaderValue = HeaderValue::from_static("x-request-id, retry-after");

/// Answers a request, and lets pages of `origins` read the answer.
pub(crate) async fn share(origins: &[String], request: Request, next: Next) -> Response {
    let origin = request.headers().get(header::ORIGIN).cloned();
    let Some(origin) = origin.filter(|origin| origins.iter().any(|own| own == origin)) else {
        return next.run(request).await;
    };
    let asked = request.headers().get(header::ACCESS_CONTROL_REQUEST_HEADERS).cloned();
    let is_question = request.method() == Method::OPTIONS
        && request.headers().contains_key(header::ACCESS_CONTROL_REQUEST_METHOD);
    let mut response = if is_question {
        let headers: HeaderMap = [
            (header::ACCESS_CONTROL_ALLOW_METHODS, Some(METHODS)),
            (header::ACCESS_CONTROL_ALLOW_HEADERS, asked),
            (header::ACCESS_CONTROL_MAX_AGE, Some(MAX_AGE)),
        ]
        .into_iter()
        .filter_map(|(name, value): (HeaderName, _)| Some((name, value?)))
        .collect();
        (StatusCode::NO_CONTENT, headers).into_response()
    } else {
        next.run(request).await
    };
    let headers = response.headers_mut();
    headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin);
    headers.insert(header::ACCESS_CONTROL_EXPOSE_HEADERS, EXPOSED);
    headers.insert(header::VARY, HeaderValue::from_static("Origin"));
    response
}
