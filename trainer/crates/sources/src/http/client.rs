// SPDX-License-Identifier: Apache-2.0

//! Client for the web.

use super::{
    body::{Body, MinRate, Received, Window},
    guard::{Blocked, Guard, GuardedResolver, Lookup, SystemLookup},
    message::{FetchError, Request, Response, Validators, redirect, retry_after, unix_seconds},
    pace::Pacer,
};
use crate::SourceError;
use reqwest::{
    Client,
    header::{
        ACCEPT_ENCODING, HeaderMap, HeaderName, HeaderValue, IF_MODIFIED_SINCE, IF_NONE_MATCH,
    },
    redirect::Policy,
};
use std::{
    collections::BTreeSet,
    sync::Arc,
    time::{Duration, SystemTime},
};
use tokio::time::{Instant, timeout};
use url::Url;

/// Name by which the client presents itself, and by which robots.txt addresses it.
pub const AGENT: &str = "pol-trainer";

/// Largest headers of a response, in bytes.
const MAX_HEADER_BYTES: usize = 1 << 16;

/// Options of a client.
#[derive(Clone, Debug)]
pub struct HttpOptions {
    /// Address of a page or mailbox at which the operators of sites reach who runs the client.
    pub contact: String,
    /// Time to establish a connection.
    pub connect_timeout: Duration,
    /// Time until all headers have arrived.
    pub header_timeout: Duration,
    /// Time until a body that is read at once has arrived.
    pub body_timeout: Duration,
    /// Slowest transfer that is waited for.
    pub min_rate: MinRate,
    /// Largest body that is read at once, in bytes, both packed and unpacked.
    pub max_bytes: u64,
    /// Most redirects in a row.
    pub max_redirects: usize,
    /// Most repetitions of a request to a busy server.
    pub max_retries: u32,
    /// Time until the first of them, if the server asks for none. Each next one waits for twice the
    /// time.
    pub retry_wait: Duration,
    /// Longest time that a busy server may ask to be left alone. If it asks for more, the request
    /// fails.
    pub max_wait: Duration,
    /// Time between two requests to a host.
    pub host_delay: Duration,
    /// Most requests to a host at one time.
    pub host_concurrency: usize,
    /// Most bytes that the client receives in all.
    pub budget_bytes: Option<u64>,
    /// Hosts that are reached whatever their address and port: the operator's own, and those of
    /// tests. All others have to be on the public internet.
    pub allowed_hosts: BTreeSet<String>,
}

impl HttpOptions {
    /// Creates the options of a polite client.
    pub fn new(contact: impl Into<String>) -> Self {
        Self {
            contact: contact.into(),
            connect_timeout: Duration::from_secs(15),
            header_timeout: Duration::from_secs(30),
            body_timeout: Duration::from_secs(120),
            min_rate: MinRate::default(),
            max_bytes: 16 << 20,
            max_redirects: 10,
            max_retries: 3,
            retry_wait: Duration::from_secs(2),
            max_wait: Duration::from_secs(300),
            host_delay: Duration::from_secs(1),
            host_concurrency: 1,
            budget_bytes: None,
            allowed_hosts: BTreeSet::new(),
        }
    }
}

/// Client that reads public web sites, politely and within limits. Clones share pace and budget.
///
/// It uses no proxy: a proxy would connect to addresses that the client cannot check.
#[derive(Clone)]
pub struct HttpClient(Arc<Inner>);

struct Inner {
    transport: Transport,
    guard: Arc<Guard>,
    pacer: Pacer,
    received: Received,
    options: HttpOptions,
}

/// Function that answers in the place of all servers.
#[doc(hidden)]
pub type Answers = Arc<dyn Fn(&Url) -> reqwest::Response + Send + Sync>;

/// Way to servers.
enum Transport {
    Network(Client),
    Answers(Answers),
}

impl Transport {
    async fn get(&self, url: &Url, headers: HeaderMap) -> reqwest::Result<reqwest::Response> {
        match self {
            Self::Network(client) => client.get(url.clone()).headers(headers).send().await,
            Self::Answers(answers) => Ok(answers(url)),
        }
    }
}

impl HttpClient {
    /// Creates a client that resolves names as the system does.
    ///
    /// # Errors
    ///
    /// Fails if the contact is missing, or if the system has no root certificates.
    pub fn new(options: HttpOptions) -> Result<Self, SourceError> {
        Self::with_lookup(options, Arc::new(SystemLookup))
    }

    /// Creates a client that resolves names through `lookup`.
    ///
    /// # Errors
    ///
    /// Fails if the contact is missing, or if the system has no root certificates.
    pub fn with_lookup(options: HttpOptions, lookup: Arc<dyn Lookup>) -> Result<Self, SourceError> {
        let agent = user_agent(&options.contact)?;
        // An error means that the process has chosen its provider already.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let guard = Arc::new(Guard::new(options.allowed_hosts.clone(), lookup));
        let client = Client::builder()
            .user_agent(agent)
            .redirect(Policy::none())
            .no_proxy()
            .referer(false)
            .connect_timeout(options.connect_timeout)
            .dns_resolver(Arc::new(GuardedResolver(guard.clone())))
            .build()
            .map_err(|error| SourceError::Service {
                service: "the HTTP client".to_owned(),
                reason: FetchError::transport(error).to_string(),
            })?;
        Ok(Self::over(Transport::Network(client), guard, options))
    }

    /// Creates a client that `answers` answers, for fuzz targets. All else is as on the network.
    #[doc(hidden)]
    pub fn answered_by(options: HttpOptions, answers: Answers) -> Self {
        let guard = Guard::new(options.allowed_hosts.clone(), Arc::new(SystemLookup));
        Self::over(Transport::Answers(answers), Arc::new(guard), options)
    }

    fn over(transport: Transport, guard: Arc<Guard>, options: HttpOptions) -> Self {
        Self(Arc::new(Inner {
            transport,
            guard,
            pacer: Pacer::new(options.host_concurrency),
            received: Received::new(options.budget_bytes),
            options,
        }))
    }

    /// Returns the number of bytes received so far.
    pub fn received_bytes(&self) -> u64 {
        self.0.received.bytes()
    }

    /// Requests a page and returns it whole, whatever its status.
    ///
    /// # Errors
    ///
    /// Fails if there is no response within the limits, with the reason.
    pub async fn get(&self, request: &Request) -> Result<Response, FetchError> {
        let fetched = unix_seconds(SystemTime::now());
        let (url, body) = self.send(request, "gzip").await?;
        let status = body.response.status().as_u16();
        let headers = body.response.headers().clone();
        Ok(Response { url, status, headers, body: body.read().await?, fetched })
    }

    /// Requests a file that is too large to be read at once. The body has no limit of time but the
    /// rate, and no limit of size but the one of the request. A status of 400 or more is an error.
    ///
    /// # Errors
    ///
    /// Fails if there is no response within the limits, with the reason.
    pub async fn open(&self, request: &Request) -> Result<Body, FetchError> {
        let (_, mut body) = self.send(request, "identity").await?;
        let status = body.response.status().as_u16();
        if status >= 400 {
            return Err(FetchError::Status(status));
        }
        body.deadline = None;
        body.max_bytes = request.max_bytes.unwrap_or(u64::MAX);
        Ok(body)
    }

    /// Sends `request`, and again while its server is busy.
    async fn send(
        &self,
        request: &Request,
        encoding: &'static str,
    ) -> Result<(Url, Body), FetchError> {
        let options = &self.0.options;
        let mut retries = if request.retry { options.max_retries } else { 0 };
        let mut backoff = options.retry_wait;
        loop {
            let result = self.follow(request, encoding).await;
            let asked = match &result {
                Ok((_, body)) if is_busy(body) => {
                    retry_after(body.response.headers(), SystemTime::now())
                }
                Err(FetchError::Transport(_)) => None,
                _ => return result,
            };
            let wait = asked.unwrap_or(backoff);
            backoff = backoff.saturating_mul(2);
            let host = result.as_ref().map_or(&request.url, |(url, _)| url).authority();
            if asked.is_some() {
                self.0.pacer.pause(host, wait.min(options.max_wait));
            }
            if retries == 0 || wait > options.max_wait {
                return result;
            }
            retries -= 1;
            drop(result);
            tokio::time::sleep(wait).await;
        }
    }

    /// Sends `request`, and follows redirects.
    async fn follow(
        &self,
        request: &Request,
        encoding: &'static str,
    ) -> Result<(Url, Body), FetchError> {
        let mut url = request.url.clone();
        let mut seen = BTreeSet::new();
        loop {
            let headers = headers(request, &url, encoding);
            let body = self.send_once(&url, headers, request).await?;
            let status = body.response.status().as_u16();
            let target = redirect(&url, status, body.response.headers());
            let Some(target) = target.filter(|_| request.follow) else { return Ok((url, body)) };
            seen.insert(std::mem::replace(&mut url, target));
            if seen.contains(&url) || seen.len() > self.0.options.max_redirects {
                return Err(FetchError::Redirects(url.into()));
            }
        }
    }

    async fn send_once(
        &self,
        url: &Url,
        headers: HeaderMap,
        request: &Request,
    ) -> Result<Body, FetchError> {
        let Inner { transport, guard, pacer, received, options } = &*self.0;
        let blocked = |error: Blocked| FetchError::Blocked(error.0);
        guard.check_url(url).map_err(blocked)?;
        received.add(0)?;
        let delay = options.host_delay.max(request.delay);
        let permit = pacer.enter(url.authority(), delay).await;
        let response = timeout(options.header_timeout, transport.get(url, headers))
            .await
            .map_err(|_| FetchError::TooSlow)?
            .map_err(FetchError::transport)?;
        // The resolver saw to this, unless the URL has no name or the connection is an old one.
        if let Some(address) = response.remote_addr() {
            guard.check_address(url, address.ip()).map_err(blocked)?;
        }
        let size: usize = response.headers().iter().map(|(k, v)| k.as_str().len() + v.len()).sum();
        if size > MAX_HEADER_BYTES {
            return Err(FetchError::TooLarge);
        }
        Ok(Body {
            response,
            received: received.clone(),
            min_rate: options.min_rate,
            max_bytes: request.max_bytes.unwrap_or(options.max_bytes),
            deadline: Instant::now().checked_add(options.body_timeout),
            window: Window::new(options.min_rate),
            permit,
        })
    }
}

/// Returns the headers of a request for `url`, to which `request` has led.
fn headers(request: &Request, url: &Url, encoding: &'static str) -> HeaderMap {
    let mut headers = if url.origin() == request.url.origin() {
        request.headers.clone()
    } else {
        HeaderMap::new()
    };
    headers.insert(ACCEPT_ENCODING, HeaderValue::from_static(encoding));
    let Validators { etag, last_modified } = &request.validators;
    let mut set = |name: HeaderName, value: &Option<String>| {
        if let Some(value) = value.as_ref().and_then(|value| HeaderValue::from_str(value).ok()) {
            headers.insert(name, value);
        }
    };
    set(IF_NONE_MATCH, etag);
    set(IF_MODIFIED_SINCE, last_modified);
    headers
}

/// Returns `true` if a server says that the same request may succeed later.
fn is_busy(body: &Body) -> bool {
    matches!(body.response.status().as_u16(), 429 | 502 | 503 | 504)
}

/// Returns the name of the client with its contact.
fn user_agent(contact: &str) -> Result<HeaderValue, SourceError> {
    let scheme = if is_mailbox(contact) { "mailto:" } else { "" };
    let address = format!("{scheme}{contact}");
    let is_address = Url::parse(&address).is_ok_and(|url| {
        matches!(url.scheme(), "http" | "https" | "mailto") && address.len() <= 200
    });
    let agent = format!("{AGENT}/{} (+{address})", env!("CARGO_PKG_VERSION"));
    HeaderValue::from_str(&agent).ok().filter(|_| is_address).ok_or_else(|| {
        SourceError::InvalidOption(format!(
            "contact {contact:?} is no address: give the page, as https://example.org/about, or \
             the mailbox at which operators of web sites reach you"
        ))
    })
}

/// Returns `true` for the plain address of a mailbox, such as `jane@example.org`.
fn is_mailbox(contact: &str) -> bool {
    let is_part = |part: &str| !part.is_empty() && !part.contains([':', '/', '@', ' ', '<', '>']);
    contact.split_once('@').is_some_and(|(name, host)| is_part(name) && is_part(host))
}

#[cfg(test)]
mod tests {
    use super::*;
    use reqwest::header::AUTHORIZATION;

    #[test]
    fn the_user_agent_has_a_contact() {
        let agent = user_agent("https://example.org/bot").unwrap();
        let agent = agent.to_str().unwrap();
        assert!(agent.starts_with("pol-trainer/") && agent.ends_with("(+https://example.org/bot)"));
        for contact in ["jane@example.org", "mailto:jane@example.org"] {
            let agent = user_agent(contact).unwrap();
            assert!(agent.to_str().unwrap().ends_with("(+mailto:jane@example.org)"));
        }
        for contact in ["", "me", "ftp://example.org/", "mailto:a@b\nX: y", "a@b@c", "@b", "a b"] {
            let agent = user_agent(contact);
            assert!(matches!(agent, Err(SourceError::InvalidOption(_))), "{contact:?}");
        }
    }

    #[test]
    fn other_origins_get_no_secrets() {
        let url = Url::parse("https://example.org/a").unwrap();
        let secret = HeaderValue::from_static("Bearer x");
        let request = Request::new(url).header(AUTHORIZATION, secret);
        let has_secret = |url: &str| {
            headers(&request, &Url::parse(url).unwrap(), "gzip").contains_key(AUTHORIZATION)
        };
        assert!(has_secret("https://example.org/b"));
        assert!(!has_secret("http://example.org/b"));
        assert!(!has_secret("https://example.org:8443/b"));
        assert!(!has_secret("https://www.example.org/b"));
    }

    #[test]
    fn validators_are_sent_if_headers_can_hold_them() {
        let url = Url::parse("https://example.org/a").unwrap();
        let validators =
            Validators { etag: Some("\"x\"".to_owned()), last_modified: Some("a\nb".to_owned()) };
        let headers = headers(&Request::new(url.clone()).validators(validators), &url, "gzip");
        assert_eq!(headers[IF_NONE_MATCH], "\"x\"");
        assert!(!headers.contains_key(IF_MODIFIED_SINCE));
    }
}
