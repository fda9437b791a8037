// SPDX-License-Identifier: Apache-2.0

//! Bodies of responses, within limits of size, time, and rate.

use super::message::FetchError;
use flate2::read::MultiGzDecoder;
use reqwest::{
    StatusCode,
    header::{CONTENT_ENCODING, CONTENT_RANGE, HeaderMap},
};
use std::{
    io::Read,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};
use tokio::{sync::OwnedSemaphorePermit, time::Instant};

/// Longest time over which the rate of a transfer is measured.
const MAX_WINDOW: Duration = Duration::from_secs(3600);

/// Slowest transfer that is waited for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MinRate {
    /// Time over which the rate is measured, at most an hour.
    pub window: Duration,
    /// Bytes that have to arrive in each window.
    pub bytes: u64,
}

impl Default for MinRate {
    /// Returns the rate of a kilobyte a second, which every line has.
    fn default() -> Self {
        Self { window: Duration::from_secs(10), bytes: 10_000 }
    }
}

/// Body of a response that is being received. Until its end it counts as a request to its host.
pub struct Body {
    pub(super) response: reqwest::Response,
    pub(super) received: Received,
    pub(super) min_rate: MinRate,
    pub(super) max_bytes: u64,
    /// Time at which the whole body must have arrived.
    pub(super) deadline: Option<Instant>,
    pub(super) window: Window,
    pub(super) permit: Option<OwnedSemaphorePermit>,
}

/// Bytes that a client received, and their limit.
#[derive(Clone)]
pub(super) struct Received {
    bytes: Arc<AtomicU64>,
    budget: Option<u64>,
}

impl Received {
    pub(super) fn new(budget: Option<u64>) -> Self {
        Self { bytes: Arc::default(), budget }
    }

    pub(super) fn bytes(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed)
    }

    /// Adds received bytes. Fails if they are more than the budget.
    pub(super) fn add(&self, bytes: u64) -> Result<(), FetchError> {
        let total = self.bytes.fetch_add(bytes, Ordering::Relaxed).saturating_add(bytes);
        if self.budget.is_some_and(|budget| total > budget) {
            return Err(FetchError::Budget);
        }
        Ok(())
    }
}

/// Window of time in which bytes are counted.
pub(super) struct Window {
    end: Instant,
    bytes: u64,
}

impl Window {
    pub(super) fn new(rate: MinRate) -> Self {
        Self { end: Instant::now() + rate.window.min(MAX_WINDOW), bytes: 0 }
    }
}

impl Body {
    /// Returns the number of bytes of the file before the first of this body, which is a part of
    /// the file if the request had a range (RFC 9110, 14.4).
    pub(super) fn first_byte(&self) -> u64 {
        if self.response.status() != StatusCode::PARTIAL_CONTENT {
            return 0;
        }
        let range = self.response.headers().get(CONTENT_RANGE);
        range.and_then(|range| first_byte(range.to_str().ok()?)).unwrap_or(0)
    }

    /// Returns `true` if the body is compressed with gzip. Stores of objects send what they keep,
    /// also where that was not asked for.
    ///
    /// # Errors
    ///
    /// Fails if it is compressed in another way.
    pub fn is_gzip(&self) -> Result<bool, FetchError> {
        is_gzip(self.response.headers())
    }

    /// Returns the next bytes as they came over the network, or `None` after the last.
    ///
    /// # Errors
    ///
    /// Fails if the body is larger, slower or later than allowed, or if the connection breaks.
    pub async fn chunk(&mut self) -> Result<Option<Vec<u8>>, FetchError> {
        loop {
            let limit = self.deadline.map_or(self.window.end, |end| end.min(self.window.end));
            match tokio::time::timeout_at(limit, self.response.chunk()).await {
                Ok(Ok(Some(chunk))) => {
                    self.count(chunk.len() as u64)?;
                    return Ok(Some(chunk.into()));
                }
                Ok(Ok(None)) => {
                    self.permit = None;
                    return Ok(None);
                }
                Ok(Err(error)) => return Err(FetchError::transport(error)),
                Err(_) => self.check_rate()?,
            }
        }
    }

    /// Accounts for received bytes.
    fn count(&mut self, bytes: u64) -> Result<(), FetchError> {
        self.received.add(bytes)?;
        let limit = self.max_bytes;
        self.max_bytes = limit.checked_sub(bytes).ok_or(FetchError::TooLarge)?;
        self.window.bytes += bytes;
        if Instant::now() >= self.window.end { self.check_rate() } else { Ok(()) }
    }

    /// Begins a new window, if the past one had enough bytes.
    fn check_rate(&mut self) -> Result<(), FetchError> {
        let is_late = self.deadline.is_some_and(|deadline| Instant::now() >= deadline);
        if is_late || self.window.bytes < self.min_rate.bytes {
            return Err(FetchError::TooSlow);
        }
        self.window = Window::new(self.min_rate);
        Ok(())
    }

    /// Returns the whole body, decompressed.
    pub(super) async fn read(mut self) -> Result<Vec<u8>, FetchError> {
        let max_bytes = self.max_bytes;
        if self.response.content_length().is_some_and(|length| length > max_bytes) {
            return Err(FetchError::TooLarge);
        }
        let is_gzip = self.is_gzip()?;
        let mut body = Vec::new();
        while let Some(chunk) = self.chunk().await? {
            body.extend_from_slice(&chunk);
        }
        if is_gzip { gunzip(&body, max_bytes) } else { Ok(body) }
    }
}

/// Returns the first position of a range such as `bytes 7-9/10`.
fn first_byte(range: &str) -> Option<u64> {
    range.trim().strip_prefix("bytes ")?.split_once('-')?.0.trim().parse().ok()
}

/// Returns `true` if a body is compressed, and fails if it is so in a way that was not asked for.
fn is_gzip(headers: &HeaderMap) -> Result<bool, FetchError> {
    let mut codings = headers
        .get_all(CONTENT_ENCODING)
        .iter()
        .flat_map(|value| value.as_bytes().split(|&byte| byte == b','))
        .map(|coding| coding.trim_ascii().to_ascii_lowercase())
        .filter(|coding| !coding.is_empty() && coding != b"identity");
    match (codings.next().as_deref(), codings.next()) {
        (None, _) => Ok(false),
        (Some(b"gzip" | b"x-gzip"), None) => Ok(true),
        (Some(other), _) => Err(FetchError::Encoding(String::from_utf8_lossy(other).into_owned())),
    }
}

/// Returns the content of `bytes`, which has at most `max_bytes`.
///
/// # Errors
///
/// Fails if it has more, or if `bytes` are no gzip.
pub fn gunzip(bytes: &[u8], max_bytes: u64) -> Result<Vec<u8>, FetchError> {
    let content = gunzip_start(bytes, max_bytes.saturating_add(1))?;
    if content.len() as u64 > max_bytes {
        return Err(FetchError::TooLarge);
    }
    Ok(content)
}

/// Returns the first `length` bytes of the content of `bytes`, or all that there are.
///
/// # Errors
///
/// Fails if `bytes` are no gzip up to there.
pub(crate) fn gunzip_start(bytes: &[u8], length: u64) -> Result<Vec<u8>, FetchError> {
    let mut content = Vec::new();
    match MultiGzDecoder::new(bytes).take(length).read_to_end(&mut content) {
        Err(error) if (content.len() as u64) < length => {
            Err(FetchError::Encoding(format!("gzip, damaged: {error}")))
        }
        _ => Ok(content),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use flate2::{Compression, write::GzEncoder};
    use reqwest::header::HeaderValue;
    use std::io::Write;

    fn gzip(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    }

    #[test]
    fn gzip_is_unpacked_up_to_the_limit() {
        let packed = gzip(&vec![7; 100_000]);
        assert!(packed.len() < 1000);
        assert_eq!(gunzip(&packed, 100_000).unwrap().len(), 100_000);
        assert_eq!(gunzip(&packed, 99_999), Err(FetchError::TooLarge));
        assert!(matches!(gunzip(&packed[..50], 100_000), Err(FetchError::Encoding(_))));
        assert!(matches!(gunzip(b"plain", 100), Err(FetchError::Encoding(_))));
    }

    #[test]
    fn ranges_begin_at_their_first_byte() {
        assert_eq!(first_byte("bytes 7-9/10"), Some(7));
        assert_eq!(first_byte("bytes 0-9/*"), Some(0));
        for range in ["", "bytes */10", "7-9/10", "bytes x-9/10", "bytes -1-9/10"] {
            assert_eq!(first_byte(range), None, "{range}");
        }
    }

    #[test]
    fn codings_are_told_apart() {
        let coding = |values: &[&'static str]| {
            let mut headers = HeaderMap::new();
            for value in values {
                headers.append(CONTENT_ENCODING, HeaderValue::from_static(value));
            }
            is_gzip(&headers)
        };
        assert_eq!(coding(&[]), Ok(false));
        assert_eq!(coding(&["identity"]), Ok(false));
        assert_eq!(coding(&["X-GZIP"]), Ok(true));
        assert_eq!(coding(&["br"]), Err(FetchError::Encoding("br".to_owned())));
        assert!(coding(&["gzip, gzip"]).is_err());
        assert!(coding(&["gzip", "gzip"]).is_err());
    }
}
