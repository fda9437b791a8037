// SPDX-License-Identifier: Apache-2.0

//! HTTP requests to a hub.

use super::{HubError, HubId, RepoKind, files::escape, id::is_commit, redirects};
use crate::http::{FetchError, MinRate};
use indicatif::ProgressBar;
use reqwest::{
    StatusCode,
    blocking::{Client, Response},
    header::{CONTENT_RANGE, HeaderMap, LINK, RANGE, RETRY_AFTER},
};
use serde::{Deserialize, de::DeserializeOwned};
use sha1::{Digest, Sha1};
use sha2::Sha256;
use std::{
    error::Error as _,
    fmt::Write as _,
    fs::{self, File, OpenOptions, TryLockError},
    io::{self, ErrorKind, Read, Write},
    path::Path,
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

/// Time to establish a connection.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(30);
/// Time until the headers of a response, and then until each of its next bytes. [`Body`] limits the
/// time of all.
const READ_TIMEOUT: Duration = Duration::from_secs(60);
/// Number of bytes read at a time.
const CHUNK_BYTES: usize = 1 << 18;
/// Maximum size of a JSON answer, in bytes.
const MAX_ANSWER_BYTES: u64 = 1 << 28;
/// Maximum number of times that a request is repeated.
const MAX_RETRIES: u32 = 4;
/// Delay before the first retry; it doubles with each.
const RETRY_DELAY: Duration = Duration::from_millis(400);
/// Longest delay that a hub can ask for by `Retry-After`. A longer one is an error.
const MAX_RETRY_DELAY: Duration = Duration::from_secs(300);

/// Function that answers in the place of a hub: requests of an address, or of a range of it.
#[doc(hidden)]
pub type HubAnswers = Arc<dyn Fn(&str, Option<&str>) -> Response + Send + Sync>;

/// Way to a hub.
enum Transport {
    Network(Client),
    Answers(HubAnswers),
}

/// HTTP client of a hub.
pub struct HubClient {
    transport: Transport,
    endpoint: String,
    token: Option<String>,
    /// Slowest transfer that is waited for.
    min_rate: MinRate,
}

/// A file as a hub describes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HubFile {
    /// Path in the repository.
    pub path: String,
    /// Size in bytes.
    pub size: Option<u64>,
    /// Hash of the content, if the hub states one.
    pub checksum: Option<Checksum>,
}

/// Hash of a file as a hub states it, in hexadecimal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Checksum {
    /// SHA-256 of a file in large file storage.
    Sha256(String),
    /// Name of the blob that Git keeps of a file: the SHA-1 of its kind, size, and content.
    GitBlob(String),
}

/// Error of a request or of its response.
#[derive(Debug, thiserror::Error)]
pub(super) enum RequestError {
    /// The response has a status of 400 or above, and may ask to wait.
    #[error("http status: {0}")]
    Status(u16, Option<Duration>),
    /// The request failed.
    #[error("{}", with_causes(.0))]
    Request(reqwest::Error),
    /// The response broke off.
    #[error(transparent)]
    Transfer(#[from] io::Error),
    /// The response is not what was asked for.
    #[error("{0}")]
    Answer(String),
    /// The response could not be stored.
    #[error(transparent)]
    Disk(io::Error),
}

impl RequestError {
    /// Returns the delay after which the same request may succeed.
    fn retry_after(&self, attempt: u32) -> Option<Duration> {
        let default = RETRY_DELAY * (1 << attempt);
        match self {
            _ if attempt >= MAX_RETRIES => None,
            Self::Status(429 | 503, Some(delay)) if *delay > MAX_RETRY_DELAY => None,
            Self::Status(429 | 503, Some(delay)) => Some(default.max(*delay)),
            Self::Status(status, _) => (*status == 429 || *status >= 500).then_some(default),
            // The same redirect would come again.
            Self::Request(error) if error.is_redirect() => None,
            Self::Request(_) | Self::Transfer(_) => Some(default),
            Self::Answer(_) | Self::Disk(_) => None,
        }
    }

    /// Returns `true` if no connection could be made.
    fn is_connect(&self) -> bool {
        matches!(self, Self::Request(error) if error.is_connect())
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
    pub(super) fn new(endpoint: String, token: Option<String>) -> Result<Self, HubError> {
        // An error means that the process has chosen its provider already.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let client = Client::builder()
            .connect_timeout(CONNECT_TIMEOUT)
            .timeout(READ_TIMEOUT)
            .referer(false)
            .redirect(redirects::policy(&endpoint))
            .user_agent(concat!("pol-trainer/", env!("CARGO_PKG_VERSION")))
            .build()
            .map_err(RequestError::from);
        match client {
            Ok(client) => Ok(Self::over(Transport::Network(client), endpoint, token)),
            Err(error) => Err(HubError::of_request(RepoKind::Model, &endpoint, error)),
        }
    }

    /// Creates a client that `answers` answers.
    pub(super) fn answered_by(endpoint: String, answers: HubAnswers) -> Self {
        Self::over(Transport::Answers(answers), endpoint, None)
    }

    fn over(transport: Transport, endpoint: String, token: Option<String>) -> Self {
        Self { transport, endpoint, token, min_rate: MinRate::default() }
    }

    /// Returns the address of the hub.
    pub fn endpoint(&self) -> &str {
        &self.endpoint
    }

    /// Returns the commit of `id` at its revision, and its description. `query` selects the parts
    /// of the description.
    ///
    /// # Errors
    ///
    /// Fails if the hub cannot be reached, refuses access, has no such repository, or answers with
    /// something else than a `T`.
    pub fn revision<T: DeserializeOwned>(
        &self,
        kind: RepoKind,
        id: &HubId,
        query: &str,
    ) -> Result<(String, T), HubError> {
        #[derive(Deserialize)]
        struct Revision<T> {
            sha: String,
            #[serde(flatten)]
            description: T,
        }
        let revision = id.revision().replace('/', "%2F");
        let path = format!("{}/{}/revision/{revision}?{query}", kind.api(), id.name());
        let (Revision { sha, description }, _) =
            self.json(kind, &format!("{}/{path}", self.endpoint))?;
        // A commit that was asked for is no other one.
        let is_asked = !id.is_pinned() || sha.eq_ignore_ascii_case(id.revision());
        if is_commit(&sha) && is_asked {
            return Ok((sha, description));
        }
        Err(HubError::Answer {
            endpoint: self.endpoint.clone(),
            reason: format!("says that the commit of {id} is {sha:?}"),
        })
    }

    /// Returns the JSON at `url`, and the address of the next page if the answer names one.
    pub(super) fn json<T: DeserializeOwned>(
        &self,
        kind: RepoKind,
        url: &str,
    ) -> Result<(T, Option<String>), HubError> {
        let mut attempt = 0;
        let (body, next) = loop {
            let error = match self.get_bytes(url) {
                Ok(answer) => break answer,
                Err(error) => error,
            };
            match error.retry_after(attempt) {
                Some(delay) if !error.is_connect() => thread::sleep(delay),
                _ => return Err(HubError::of_request(kind, &self.endpoint, error)),
            }
            attempt += 1;
        };
        let value = serde_json::from_slice(&body).map_err(|error| HubError::Answer {
            endpoint: self.endpoint.clone(),
            reason: format!("answers with something else than a {kind}: {error}"),
        })?;
        Ok((value, next))
    }

    /// Downloads `file` of `id` at `commit` to `path`, which appears whole and as the hub describes
    /// it. A broken transfer is resumed. `bar` counts bytes. The call blocks and must not be made
    /// from asynchronous code.
    ///
    /// # Errors
    ///
    /// Fails if the hub cannot be reached or refuses access, if the file differs from its stated
    /// size or hash, or if `path` cannot be written.
    pub fn fetch_file(
        &self,
        kind: RepoKind,
        id: &HubId,
        commit: &str,
        file: &HubFile,
        path: &Path,
        bar: &ProgressBar,
    ) -> Result<(), HubError> {
        if path.is_file() {
            bar.inc(file.size.unwrap_or(0));
            return Ok(());
        }
        let part = path.with_added_extension("part");
        let url = self.file_url(kind, id, commit, &file.path);
        let mut attempt = 0;
        while let Err(error) = self.download(&url, &part, file.size, bar) {
            if let RequestError::Disk(source) = error {
                return Err(HubError::Io { action: "write", path: part, source });
            }
            let Some(delay) = error.retry_after(attempt) else {
                return Err(HubError::of_request(kind, &self.endpoint, error).at(&file.path));
            };
            thread::sleep(delay);
            attempt += 1;
        }
        let mismatch = file.check(&part).and_then(|mismatch| {
            match mismatch {
                None => fs::rename(&part, path)?,
                // A damaged part would fail again after resuming.
                Some(_) => fs::remove_file(&part)?,
            }
            Ok(mismatch)
        });
        match mismatch {
            Ok(None) => Ok(()),
            Ok(Some(reason)) => Err(HubError::File { path: file.path.clone(), reason }),
            Err(source) => Err(HubError::Io { action: "keep", path: path.to_owned(), source }),
        }
    }

    /// Returns the address of a file. Names in it are as the hub gave them, escaped.
    pub(super) fn file_url(&self, kind: RepoKind, id: &HubId, commit: &str, path: &str) -> String {
        let mut url = format!("{}/{}{}/resolve/{commit}", self.endpoint, kind.files(), id.name());
        for name in path.split('/') {
            url.push('/');
            url.push_str(&escape(name));
        }
        url
    }

    /// Returns `length` bytes from `start` on of a file of `size` bytes. A broken transfer is
    /// resumed.
    pub(super) fn read_range(
        &self,
        url: &str,
        start: u64,
        length: usize,
        size: u64,
    ) -> Result<Vec<u8>, HubError> {
        let mut bytes = Vec::new();
        let mut attempt = 0;
        while bytes.len() < length {
            let error = match self.append_range(url, start, length, size, &mut bytes) {
                Ok(()) => continue,
                Err(error) => error,
            };
            let Some(delay) = error.retry_after(attempt) else {
                return Err(HubError::of_request(RepoKind::Dataset, &self.endpoint, error));
            };
            thread::sleep(delay);
            attempt += 1;
        }
        Ok(bytes)
    }

    /// Appends to `bytes` what is missing of the `length` bytes from `start` on.
    fn append_range(
        &self,
        url: &str,
        start: u64,
        length: usize,
        size: u64,
        bytes: &mut Vec<u8>,
    ) -> Result<(), RequestError> {
        let (from, to) = (start + bytes.len() as u64, start + length as u64 - 1);
        let response = self.get(url, Some(format!("bytes={from}-{to}")))?;
        let range = response.headers().get(CONTENT_RANGE).and_then(|range| range.to_str().ok());
        let expected = format!("bytes {from}-{to}/{size}");
        if response.status() != StatusCode::PARTIAL_CONTENT || range != Some(&expected) {
            return Err(RequestError::Answer(format!(
                "it answers {} with the range {:?} and not {expected:?}; fetch whole files instead",
                response.status().as_u16(),
                range.unwrap_or("none")
            )));
        }
        let missing = (length - bytes.len()) as u64;
        let read = self.body(response).take(missing).read_to_end(bytes)?;
        if (read as u64) < missing {
            return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into());
        }
        Ok(())
    }

    /// Requests `url`, or a range of it.
    fn get(&self, url: &str, range: Option<String>) -> Result<Response, RequestError> {
        let response = match &self.transport {
            Transport::Network(client) => {
                let mut request = client.get(url);
                if let Some(range) = range {
                    request = request.header(RANGE, range);
                }
                if let Some(token) = &self.token {
                    request = request.bearer_auth(token);
                }
                request.send()?
            }
            Transport::Answers(answers) => answers(url, range.as_deref()),
        };
        let status = response.status();
        if status.is_client_error() || status.is_server_error() {
            return Err(RequestError::Status(status.as_u16(), retry_delay(response.headers())));
        }
        Ok(response)
    }

    /// Returns the body of a response, which has to come at the least rate.
    fn body(&self, response: Response) -> Body<Response> {
        Body { bytes: response, min_rate: self.min_rate, waited: Duration::ZERO, received: 0 }
    }

    /// Requests `url` and returns the body and the address of the next page.
    fn get_bytes(&self, url: &str) -> Result<(Vec<u8>, Option<String>), RequestError> {
        let mut body = Vec::new();
        let response = self.get(url, None)?;
        let next = next_page(response.headers());
        self.body(response).take(MAX_ANSWER_BYTES + 1).read_to_end(&mut body)?;
        if body.len() as u64 > MAX_ANSWER_BYTES {
            let reason = format!("its answer exceeds {MAX_ANSWER_BYTES} bytes");
            return Err(RequestError::Answer(reason));
        }
        Ok((body, next))
    }

    /// Downloads `url` to the file `part`. If `part` has content, the download continues after it.
    /// `size` is the stated size of the file.
    fn download(
        &self,
        url: &str,
        part: &Path,
        size: Option<u64>,
        bar: &ProgressBar,
    ) -> Result<(), RequestError> {
        let disk = RequestError::Disk;
        let mut file = OpenOptions::new().create(true).append(true).open(part).map_err(disk)?;
        // File systems without locks have to do without.
        if let Err(TryLockError::WouldBlock) = file.try_lock() {
            return Err(disk(io::Error::other("another download of it is running; wait for it")));
        }
        let mut offset = file.metadata().map_err(disk)?.len();
        if size.is_some_and(|size| offset > size) {
            file.set_len(0).map_err(disk)?;
            offset = 0;
        }
        if offset > 0 && size == Some(offset) {
            return Ok(());
        }
        let response = self.get(url, (offset > 0).then(|| format!("bytes={offset}-")))?;
        if offset > 0 && response.status() != StatusCode::PARTIAL_CONTENT {
            // The server ignores ranges and sends the whole file.
            file.set_len(0).map_err(disk)?;
            offset = 0;
        }
        let position = bar.position();
        bar.inc(offset);
        let max_bytes = size.map_or(u64::MAX, |size| size.saturating_sub(offset));
        let copied = copy(&mut self.body(response), &mut file, max_bytes, bar);
        if copied.is_err() {
            bar.set_position(position);
        }
        copied
    }
}

impl HubFile {
    /// Compares the download at `path` with the stated size and hash. Returns the mismatch if there
    /// is one.
    fn check(&self, path: &Path) -> io::Result<Option<String>> {
        let mut file = File::open(path)?;
        let found = file.metadata()?.len();
        if let Some(size) = self.size.filter(|&size| size != found) {
            return Ok(Some(format!("{found} bytes came of {size}; try again")));
        }
        let (name, stated, digest) = match &self.checksum {
            None => return Ok(None),
            Some(Checksum::Sha256(stated)) => {
                ("SHA-256", stated, hex_digest(Sha256::new(), &mut file)?)
            }
            Some(Checksum::GitBlob(stated)) => {
                let kind_and_size = Sha1::new().chain_update(format!("blob {found}\0"));
                ("SHA-1", stated, hex_digest(kind_and_size, &mut file)?)
            }
        };
        Ok((!digest.eq_ignore_ascii_case(stated)).then(|| {
            format!("the received file has another {name} than the hub states; try again")
        }))
    }
}

/// Body that has to come at a least rate. The client limits the time of each read only, within
/// which a hub could send a byte at a time and have no end.
struct Body<R> {
    bytes: R,
    min_rate: MinRate,
    /// Time that was waited for bytes in this window. What is done with them takes none of it.
    waited: Duration,
    /// Bytes that came in this window.
    received: u64,
}

impl<R: Read> Read for Body<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let start = Instant::now();
        let read = self.bytes.read(buffer)?;
        self.waited += start.elapsed();
        self.received += read as u64;
        if read > 0 && self.waited >= self.min_rate.window {
            if self.received < self.min_rate.bytes {
                return Err(io::Error::new(ErrorKind::TimedOut, FetchError::TooSlow));
            }
            (self.waited, self.received) = (Duration::ZERO, 0);
        }
        Ok(read)
    }
}

/// Returns the digest of what a hasher was given and of the rest of a file, in hexadecimal.
fn hex_digest(mut hasher: impl Digest, file: &mut File) -> io::Result<String> {
    let mut buffer = vec![0; CHUNK_BYTES];
    loop {
        match file.read(&mut buffer)? {
            0 => break,
            read => hasher.update(&buffer[..read]),
        }
    }
    Ok(hasher.finalize().iter().map(|byte| format!("{byte:02x}")).collect())
}

/// Returns the delay that an answer asks for, in whole seconds.
fn retry_delay(headers: &HeaderMap) -> Option<Duration> {
    let seconds = headers.get(RETRY_AFTER)?.to_str().ok()?.trim().parse().ok()?;
    Some(Duration::from_secs(seconds))
}

/// Returns the address of the next page from the `Link` header (RFC 8288).
fn next_page(headers: &HeaderMap) -> Option<String> {
    headers.get_all(LINK).iter().filter_map(|value| value.to_str().ok()).find_map(|value| {
        let (url, parameters) = value.split_once('>')?;
        let url = url.trim_start().strip_prefix('<')?;
        parameters.contains(r#"rel="next""#).then(|| url.to_owned())
    })
}

/// Appends `body` to `file`. Fails if the body has more than `max_bytes`.
fn copy(
    body: &mut impl Read,
    file: &mut File,
    max_bytes: u64,
    bar: &ProgressBar,
) -> Result<(), RequestError> {
    let mut buffer = vec![0; CHUNK_BYTES];
    let mut remaining = max_bytes;
    loop {
        let read = body.read(&mut buffer)?;
        if read == 0 {
            return file.sync_all().map_err(RequestError::Disk);
        }
        remaining = remaining.checked_sub(read as u64).ok_or_else(|| {
            RequestError::Answer("more bytes come than the file has; try again".into())
        })?;
        file.write_all(&buffer[..read]).map_err(RequestError::Disk)?;
        bar.inc(read as u64);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use reqwest::header::HeaderValue;
    use std::{
        io::{BufRead, BufReader},
        net::{TcpListener, TcpStream},
    };

    /// Sends a file of so many bytes, in pieces with pauses between them, until nobody reads it.
    fn drip(stream: TcpStream, length: usize, piece: usize) -> io::Result<()> {
        let mut stream = BufReader::new(stream);
        let request = stream.by_ref().lines();
        request.map_while(Result::ok).take_while(|line| !line.is_empty()).for_each(drop);
        let head = format!(
            "HTTP/1.1 206 Partial Content\r\nConnection: close\r\nContent-Length: {length}\r\n\
             Content-Range: bytes 0-{}/{length}\r\n\r\n",
            length - 1
        );
        stream.get_mut().write_all(head.as_bytes())?;
        for _ in 0..length / piece {
            thread::sleep(Duration::from_millis(20));
            stream.get_mut().write_all(&vec![b'x'; piece])?;
        }
        Ok(())
    }

    /// Returns a client of a hub that drips, which has to send 100 bytes a second, and the address
    /// of a file.
    fn dripping(length: usize, piece: usize) -> (HubClient, String) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = format!("http://{}", listener.local_addr().unwrap());
        thread::spawn(move || {
            for stream in listener.incoming() {
                // The client hangs up.
                let _ = drip(stream.unwrap(), length, piece);
            }
        });
        let min_rate = MinRate { window: Duration::from_secs(1), bytes: 100 };
        let client = HubClient::new(address.clone(), None).unwrap();
        (HubClient { min_rate, ..client }, format!("{address}/file"))
    }

    #[test]
    fn a_hub_that_drips_is_left() {
        const LENGTH: usize = 2_000;
        let (client, url) = dripping(LENGTH, 1);
        let (folder, size) = (tempfile::tempdir().unwrap(), LENGTH as u64);
        let (part, bar) = (folder.path().join("part"), ProgressBar::hidden());
        let errors = [
            client.download(&url, &part, Some(size), &bar).unwrap_err(),
            client.get_bytes(&url).unwrap_err(),
            client.append_range(&url, 0, LENGTH, size, &mut Vec::new()).unwrap_err(),
        ];
        for error in errors {
            assert!(matches!(error, RequestError::Transfer(_)), "{error:?}");
            assert_eq!(error.to_string(), FetchError::TooSlow.to_string());
            assert!(error.retry_after(0).is_some() && error.retry_after(MAX_RETRIES).is_none());
        }
        // The next attempt goes on behind what came.
        assert!(fs::metadata(&part).unwrap().len() > 0);

        let (client, url) = dripping(60_000, 1_000);
        assert_eq!(client.get_bytes(&url).unwrap().0.len(), 60_000);
    }

    #[test]
    fn requests_are_repeated_as_the_hub_asks() {
        let seconds = |seconds| Some(Duration::from_secs(seconds));
        let status = RequestError::Status;
        assert_eq!(status(429, seconds(7)).retry_after(0), seconds(7));
        assert_eq!(status(429, seconds(0)).retry_after(0), Some(RETRY_DELAY));
        assert_eq!(status(429, seconds(301)).retry_after(0), None);
        assert_eq!(status(500, None).retry_after(1), Some(2 * RETRY_DELAY));
        assert_eq!(status(500, None).retry_after(MAX_RETRIES), None);
        assert_eq!(status(404, None).retry_after(0), None);
        assert_eq!(RequestError::Answer("x".into()).retry_after(0), None);
        let full = RequestError::Disk(io::ErrorKind::StorageFull.into());
        assert_eq!(full.retry_after(0), None);
    }

    #[test]
    fn links_name_the_next_page() {
        let next = |value: &'static str| {
            next_page(&HeaderMap::from_iter([(LINK, HeaderValue::from_static(value))]))
        };
        let link = "<https://hub/api/datasets/a/b/tree/main?cursor=x>; rel=\"next\"";
        assert_eq!(next(link).unwrap(), "https://hub/api/datasets/a/b/tree/main?cursor=x");
        assert_eq!(next("<https://hub/first>; rel=\"first\""), None);
        assert_eq!(next("next"), None);
        assert_eq!(next_page(&HeaderMap::new()), None);
    }
}
