// SPDX-License-Identifier: Apache-2.0

//! Pages about a network for browsers, embedded in the program that serves them.
//!
//! The pages are plain HTML, CSS, and modules of JavaScript, which browsers run as they are
//! written. They ask the endpoints of the server that they come from, and follow its events. The
//! files hold nothing of a network, so that they need no token; the endpoints behind them do.
//!
//! # Example
//!
//! ```
//! let router: axum::Router = pol_dashboard::routes();
//! # let _ = router;
//! ```

mod files;

#[cfg(test)]
mod tests;

use axum::{
    Router,
    extract::Path,
    http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header},
    response::{IntoResponse, Redirect, Response},
    routing::get,
};
use files::{File, INDEX, find};

/// Address of the first page.
const HOME: &str = "/dashboard/network";
/// Names of the pages, each of which is the same file: its modules tell them apart.
const PAGES: [&str; 7] = ["network", "learning", "data", "economy", "audits", "talk", "machine"];
/// Policy of the pages: nothing from elsewhere, no inline scripts or styles, no frames, and no
/// markup that is made from texts.
const POLICY: HeaderValue = HeaderValue::from_static(
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; \
     base-uri 'none'; form-action 'none'; frame-ancestors 'none'; \
     require-trusted-types-for 'script'; trusted-types 'none'",
);
/// Other sites cannot hold a window of the pages.
const OPENER: (HeaderName, HeaderValue) = (
    HeaderName::from_static("cross-origin-opener-policy"),
    HeaderValue::from_static("same-origin"),
);
/// Browsers keep files and ask each time whether they are still the same, so that a newer program
/// never meets older pages.
const ASK: HeaderValue = HeaderValue::from_static("no-cache");

/// Returns the routes of the pages: `/`, `/dashboard`, and what is below.
pub fn routes() -> Router {
    Router::new()
        .route("/", get(|| async { Redirect::temporary(HOME) }))
        .route("/dashboard", get(|| async { Redirect::temporary(HOME) }))
        .route("/dashboard/{page}", get(page))
        .route("/dashboard/assets/{name}", get(asset))
}

async fn page(Path(name): Path<String>, headers: HeaderMap) -> Response {
    if PAGES.contains(&name.as_str()) {
        respond(&INDEX, &headers)
    } else {
        (StatusCode::NOT_FOUND, "There is no such page. Go to /dashboard/network.").into_response()
    }
}

async fn asset(Path(name): Path<String>, headers: HeaderMap) -> Response {
    match find(&name) {
        Some(file) => respond(file, &headers),
        None => StatusCode::NOT_FOUND.into_response(),
    }
}

/// Returns a file, or that it is the one that the browser has.
fn respond(file: &File, headers: &HeaderMap) -> Response {
    let tag = file.tag();
    let fixed = [
        (header::CONTENT_SECURITY_POLICY, POLICY),
        (header::CACHE_CONTROL, ASK),
        OPENER,
        (header::ETAG, tag.clone()),
    ];
    let mut known = headers.get_all(header::IF_NONE_MATCH).iter();
    if known.any(|known| lists(known, &tag)) {
        return (StatusCode::NOT_MODIFIED, fixed).into_response();
    }
    (fixed, [(header::CONTENT_TYPE, file.media.clone())], file.bytes).into_response()
}

/// Returns `true` if a list of tags has this one. A proxy may have made it a weak one.
fn lists(known: &HeaderValue, tag: &HeaderValue) -> bool {
    let (Ok(known), Ok(tag)) = (known.to_str(), tag.to_str()) else { return false };
    known.split(',').any(|one| one.trim().trim_start_matches("W/") == tag)
}
