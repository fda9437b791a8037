// SPDX-License-Identifier: Apache-2.0

//! HTTP requests to a hub.

use indicatif::ProgressBar;
use reqwest::{
    StatusCode,
    blocking::{Client, Response},
    header::RANGE,
};
use std::{
    error::Error as _,
    fmt::Write as _,
    fs::{File, OpenOptions},
    io::{self, Read, Write},
    path::Path,
    time::Duration,
};

/// Time to establish a connection.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(30);
/// Time until the headers of a response, and then until each of its next bytes.
const READ_TIMEOUT: Duration = Duration::from_secs(60);
/// Number of bytes read at a time.
const CHUNK_BYTES: usize = 1 << 18;

/// HTTP client of a hub.
pub(super) struct HubClient {
    client: Client,
    token: Option<String>,
}

/// Error of a request or of its response.
#[derive(Debug, thiserror::Error)]
pub(super) enum RequestError {
    /// The response has a status of 400 or above.
    #[error("http status: {0}")]
    Status(u16),
    /// The request failed.
    #[error("{}", with_causes(.0))]
    Request(reqwest::Error),
    /// The response could not be read or stored.
    #[error(transparent)]
    Io(#[from] io::Error),
}

impl RequestError {
    /// Returns `true` if the same request may succeed later.
    pub(super) fn is_transient(&self) -> bool {
        !matches!(self, Self::Status(status) if *status < 500)
    }
}

impl From<reqwest::Error> for RequestError {
    fn from(error: reqwest::Error) -> Self {
        // URLs that a hub redirects to contain signatures, which do not belong in a message.
        Self::Request(error.without_url())
    }
}

/// Returns the message of `error` and of all its causes.
fn with_causes(error: &reqwest::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let _ = write!(text, ": {error}");
        cause = error.source();
    }
    text
}

impl HubClient {
    /// Creates a client. `token` is sent to the hub, and to other hosts never: a redirect to
    /// another scheme, host or port drops it.
    ///
    /// # Errors
    ///
    /// Fails if the system has no root certificates.
    pub(super) fn new(token: Option<String>) -> Result<Self, RequestError> {
        // An error means that the process has chosen its provider already.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let client = Client::builder()
            .connect_timeout(CONNECT_TIMEOUT)
            .timeout(READ_TIMEOUT)
            .referer(false)
            .user_agent(concat!("pol-trainer/", env!("CARGO_PKG_VERSION")))
            .build()?;
        Ok(Self { client, token })
    }

    /// Requests `url`, from byte `offset` on.
    fn get(&self, url: &str, offset: u64) -> Result<Response, RequestError> {
        let mut request = self.client.get(url);
        if offset > 0 {
            request = request.header(RANGE, format!("bytes={offset}-"));
        }
        if let Some(token) = &self.token {
            request = request.bearer_auth(token);
        }
        let response = request.send()?;
        let status = response.status();
        if status.is_client_error() || status.is_server_error() {
            return Err(RequestError::Status(status.as_u16()));
        }
        Ok(response)
    }

    /// Requests `url` and returns the body, which has at most `max_bytes`.
    pub(super) fn get_bytes(&self, url: &str, max_bytes: u64) -> Result<Vec<u8>, RequestError> {
        let mut body = Vec::new();
        self.get(url, 0)?.take(max_bytes + 1).read_to_end(&mut body)?;
        if body.len() as u64 > max_bytes {
            return Err(io::Error::other(format!("its answer exceeds {max_bytes} bytes")).into());
        }
        Ok(body)
    }

    /// Downloads `url` to the file `part`. If `part` has content, the download continues after it.
    /// `size` is the stated size of the file.
    pub(super) fn download(
        &self,
        url: &str,
        part: &Path,
        size: Option<u64>,
        bar: &ProgressBar,
    ) -> Result<(), RequestError> {
        let mut file = OpenOptions::new().create(true).append(true).open(part)?;
        let mut offset = file.metadata()?.len();
        if size.is_some_and(|size| offset > size) {
            file.set_len(0)?;
            offset = 0;
        }
        if offset > 0 && size == Some(offset) {
            return Ok(());
        }
        let mut response = self.get(url, offset)?;
        if offset > 0 && response.status() != StatusCode::PARTIAL_CONTENT {
            // The server ignores ranges and sends the whole file.
            file.set_len(0)?;
            offset = 0;
        }
        let position = bar.position();
        bar.inc(offset);
        let max_bytes = size.map_or(u64::MAX, |size| size.saturating_sub(offset));
        let copied = copy(&mut response, &mut file, max_bytes, bar);
        if copied.is_err() {
            bar.set_position(position);
        }
        Ok(copied?)
    }
}

/// Appends `body` to `file`. Fails if the body has more than `max_bytes`.
fn copy(
    body: &mut impl Read,
    file: &mut File,
    max_bytes: u64,
    bar: &ProgressBar,
) -> io::Result<()> {
    let mut buffer = vec![0; CHUNK_BYTES];
    let mut remaining = max_bytes;
    loop {
        let read = body.read(&mut buffer)?;
        if read == 0 {
            return file.sync_all();
        }
        remaining = remaining
            .checked_sub(read as u64)
            .ok_or_else(|| io::Error::other("more bytes come than the file has"))?;
        file.write_all(&buffer[..read])?;
        bar.inc(read as u64);
    }
}
