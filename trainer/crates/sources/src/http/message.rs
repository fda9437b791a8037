// SPDX-License-Identifier: Apache-2.0

//! Requests, responses, and the reasons why there is none.

use super::guard::Blocked;
use reqwest::header::{
    CONTENT_TYPE, ETAG, HeaderMap, HeaderName, HeaderValue, LAST_MODIFIED, LOCATION, RETRY_AFTER,
};
use serde::{Deserialize, Serialize};
use std::{
    error::Error as _,
    fmt::Write as _,
    time::{Duration, SystemTime, UNIX_EPOCH},
};
use url::Url;

/// Longest validator that is kept, in bytes.
const MAX_VALIDATOR_BYTES: usize = 512;

/// Validators of a response, by which a later request asks for changes only (RFC 9110, 8.8).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Validators {
    /// Entity tag, as the server wrote it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub etag: Option<String>,
    /// Date of the last change, as the server wrote it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_modified: Option<String>,
}

/// GET request.
#[derive(Clone, Debug)]
pub struct Request {
    pub(super) url: Url,
    pub(super) headers: HeaderMap,
    pub(super) validators: Validators,
    pub(super) max_bytes: Option<u64>,
    pub(super) delay: Duration,
    pub(super) follow: bool,
    pub(super) retry: bool,
}

impl Request {
    /// Creates a request for `url` that follows redirects and is repeated if the server is busy.
    pub fn new(url: Url) -> Self {
        Self {
            url,
            headers: HeaderMap::new(),
            validators: Validators::default(),
            max_bytes: None,
            delay: Duration::ZERO,
            follow: true,
            retry: true,
        }
    }

    /// Adds a header, such as an access token. A redirect to another origin drops it.
    #[must_use]
    pub fn header(mut self, name: HeaderName, value: HeaderValue) -> Self {
        self.headers.insert(name, value);
        self
    }

    /// Asks for changes since the response that had `validators`.
    #[must_use]
    pub fn validators(mut self, validators: Validators) -> Self {
        self.validators = validators;
        self
    }

    /// Limits the body to `max_bytes` instead of the client's limit.
    #[must_use]
    pub fn max_bytes(mut self, max_bytes: u64) -> Self {
        self.max_bytes = Some(max_bytes);
        self
    }

    /// Keeps the next request to the host away for `delay`, if that is longer than the client's.
    #[must_use]
    pub fn delay(mut self, delay: Duration) -> Self {
        self.delay = delay;
        self
    }

    /// Hands redirects on to the caller.
    #[must_use]
    pub fn without_redirects(mut self) -> Self {
        self.follow = false;
        self
    }

    /// Hands the answer of a busy server on to the caller.
    #[must_use]
    pub fn without_retries(mut self) -> Self {
        self.retry = false;
        self
    }
}

/// Response with its whole body.
#[derive(Clone, Debug)]
pub struct Response {
    /// URL that was read, after redirects.
    pub url: Url,
    /// Status.
    pub status: u16,
    /// Headers.
    pub headers: HeaderMap,
    /// Body, decompressed.
    pub body: Vec<u8>,
    /// Time of the request, in seconds since 1970.
    pub fetched: u64,
}

impl Response {
    /// Returns `true` if the status is a success.
    pub fn is_success(&self) -> bool {
        (200..300).contains(&self.status)
    }

    /// Returns the response itself.
    ///
    /// # Errors
    ///
    /// Fails if the status is no success.
    pub fn success(self) -> Result<Self, FetchError> {
        if self.is_success() { Ok(self) } else { Err(FetchError::Status(self.status)) }
    }

    /// Returns the text of a header, if it has such a one.
    pub fn header(&self, name: impl reqwest::header::AsHeaderName) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }

    /// Returns the media type that the server states.
    pub fn media(&self) -> Option<&str> {
        self.header(CONTENT_TYPE)
    }

    /// Returns the time for which the server wants to be left alone, if it says so.
    pub fn retry_after(&self) -> Option<Duration> {
        retry_after(&self.headers, SystemTime::now())
    }

    /// Returns the validators for the next request of the same URL.
    pub fn validators(&self) -> Validators {
        let keep = |name| {
            self.header(name).filter(|value| value.len() <= MAX_VALIDATOR_BYTES).map(str::to_owned)
        };
        Validators { etag: keep(ETAG), last_modified: keep(LAST_MODIFIED) }
    }

    /// Returns the target of a redirect.
    pub fn redirect(&self) -> Option<Url> {
        redirect(&self.url, self.status, &self.headers)
    }
}

/// Returns the target of a redirect.
pub(super) fn redirect(url: &Url, status: u16, headers: &HeaderMap) -> Option<Url> {
    if !matches!(status, 301 | 302 | 303 | 307 | 308) {
        return None;
    }
    // Servers write addresses that are not ASCII as UTF-8.
    let target = std::str::from_utf8(headers.get(LOCATION)?.as_bytes()).ok()?;
    url.join(target).ok()
}

/// Returns the time that a server wants to be left alone (RFC 9110, 10.2.3).
pub(super) fn retry_after(headers: &HeaderMap, now: SystemTime) -> Option<Duration> {
    let value = headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
    if let Ok(seconds) = value.parse() {
        return Some(Duration::from_secs(seconds));
    }
    let date = httpdate::parse_http_date(value).ok()?;
    Some(date.duration_since(now).unwrap_or_default())
}

/// Returns the time, in seconds since 1970.
pub(crate) fn unix_seconds(time: SystemTime) -> u64 {
    time.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

/// Reason why there is no response.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FetchError {
    /// The URL must not be requested.
    #[error("{0}")]
    Blocked(String),
    /// The redirects lead in a circle, or there are too many of them.
    #[error("it redirects without an end, at last to {0}")]
    Redirects(String),
    /// The headers or the body are larger than allowed.
    #[error("its answer is larger than allowed")]
    TooLarge,
    /// The headers or the body come too slowly.
    #[error("its answer comes too slowly")]
    TooSlow,
    /// The body is encoded in a way that was not asked for, or is damaged.
    #[error("its answer has an encoding that cannot be read: {0}")]
    Encoding(String),
    /// The connection failed.
    #[error("it cannot be read: {0}")]
    Transport(String),
    /// The server answered with an error.
    #[error("its server answers with status {0}")]
    Status(u16),
    /// All bytes that may be received were received.
    #[error("the budget of bytes to receive is used up: raise it to go on")]
    Budget,
}

impl FetchError {
    /// Returns the reason of a failed request.
    pub(super) fn transport(error: reqwest::Error) -> Self {
        let error = error.without_url();
        let mut text = error.to_string();
        let mut cause = error.source();
        while let Some(error) = cause {
            if let Some(blocked) = error.downcast_ref::<Blocked>() {
                return Self::Blocked(blocked.0.clone());
            }
            let _ = write!(text, ": {error}");
            cause = error.source();
        }
        Self::Transport(text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(name: HeaderName, value: &str) -> HeaderMap {
        HeaderMap::from_iter([(name, HeaderValue::from_bytes(value.as_bytes()).unwrap())])
    }

    #[test]
    fn retry_after_is_read_as_seconds_and_as_date() {
        let now = UNIX_EPOCH + Duration::from_secs(784_111_700);
        let wait = |value| retry_after(&headers(RETRY_AFTER, value), now);
        assert_eq!(wait("120"), Some(Duration::from_secs(120)));
        assert_eq!(wait("Sun, 06 Nov 1994 08:49:37 GMT"), Some(Duration::from_secs(77)));
        assert_eq!(wait("Tue, 06 Nov 1984 08:49:37 GMT"), Some(Duration::ZERO));
        assert_eq!(wait("-1"), None);
        assert_eq!(wait("soon"), None);
    }

    #[test]
    fn redirects_are_relative_to_their_page() {
        let url = Url::parse("http://example.org/a/b").unwrap();
        let target = |status, value: &str| redirect(&url, status, &headers(LOCATION, value));
        assert_eq!(target(301, "../c").unwrap().as_str(), "http://example.org/c");
        assert_eq!(target(308, "//x.org/ö").unwrap().as_str(), "http://x.org/%C3%B6");
        assert_eq!(target(200, "/c"), None);
        assert_eq!(target(304, "/c"), None);
        assert_eq!(target(302, "http://"), None);
    }
}
