// SPDX-License-Identifier: Apache-2.0

//! Pages of other origins that may use the server (CORS, as the Fetch standard has it).

use crate::error::ApiError;
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

/// Header in which browsers name the relation of the page that asks to the server (Fetch Metadata).
const SITE: &str = "sec-fetch-site";
/// Header with the kind of a request of a browser.
const MODE: &str = "sec-fetch-mode";
/// Header with the use that a browser makes of the answer.
const DESTINATION: &str = "sec-fetch-dest";

/// Refuses a request that a page of another site makes, unless its origin is one of `origins`, or
/// the user opens a page. Browsers send simple requests without a question before, such as those
/// for pictures: they keep the answer to themselves, but the request would count for the user.
/// `is_endpoint` is set for what is described, which is no page.
pub(crate) fn check_site(
    origins: &[String],
    request: &Request,
    is_endpoint: bool,
) -> Result<(), ApiError> {
    let headers = request.headers();
    let is = |name: &str, value: &str| headers.get(name).is_some_and(|header| header == value);
    let is_opened = is(MODE, "navigate") && is(DESTINATION, "document") && !is_endpoint;
    let is_named = headers.get(header::ORIGIN).is_some_and(|origin| is_one_of(origins, origin));
    if is(SITE, "cross-site") && !is_opened && !is_named { Err(ApiError::Site) } else { Ok(()) }
}

fn is_one_of(origins: &[String], origin: &HeaderValue) -> bool {
    origins.iter().any(|own| own == origin)
}

/// Answers a request, and lets pages of `origins` read the answer.
pub(crate) async fn share(origins: &[String], request: Request, next: Next) -> Response {
    let origin = request.headers().get(header::ORIGIN).cloned();
    let Some(origin) = origin.filter(|origin| is_one_of(origins, origin)) else {
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
