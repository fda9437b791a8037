// SPDX-License-Identifier: Apache-2.0

//! Services as sources: the loop that is the same for all.

use crate::{
    Batch, Reader, ResumableSource, SourceError, Step,
    http::{FetchError, HttpClient, Request, Response},
};
use async_trait::async_trait;
use pol_corpus::{Origin, RawDocument, Refusal};
use reqwest::header::{AUTHORIZATION, HeaderValue};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use std::time::Duration;
use tokio::time::Instant;
use url::Url;

/// Longest time that a service's wish to wait is followed within a step. After a longer one the
/// source has nothing new for now.
const MAX_PAUSE: Duration = Duration::from_secs(300);

/// Service that gives documents a page at a time.
#[async_trait]
pub trait Service: Send {
    /// Place in the service, behind the pages that were returned.
    type Place: Clone + Default + Serialize + DeserializeOwned + Send + Sync;

    /// Returns the name of the source, as in [`pol_corpus::Origin::source`].
    fn name(&self) -> &str;

    /// Returns the choice of documents. A place belongs to one choice.
    fn choice(&self) -> String;

    /// Returns the page at `place`.
    ///
    /// # Errors
    ///
    /// Fails if the service wants to be left alone for a time, refuses, or answers with something
    /// else than documented.
    async fn page(
        &mut self,
        http: &HttpClient,
        place: &Self::Place,
    ) -> Result<Page<Self::Place>, Failure>;
}

/// Documents of a service, and what comes next.
#[derive(Clone, Debug)]
pub struct Page<P> {
    /// Documents.
    pub batch: Batch,
    /// Place behind them.
    pub place: P,
    /// Step after this page.
    pub then: Then,
}

/// Step after a page.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Then {
    /// The next page, after this time.
    Next(Duration),
    /// Nothing, until this time has passed.
    Wait(Duration),
    /// Nothing at all.
    End,
}

/// Reason why there is no page.
#[derive(Debug)]
pub enum Failure {
    /// The service wants to be left alone for this time.
    Busy(Duration),
    /// The client's budget is used up.
    Spent,
    /// The service refuses, or answers with something else than documented.
    Service(String),
}

impl From<FetchError> for Failure {
    fn from(error: FetchError) -> Self {
        match error {
            FetchError::Budget => Self::Spent,
            error => Self::Service(format!(
                "{error}; check the network and the address, or try again later"
            )),
        }
    }
}

/// Address of a service, and the access to it.
#[derive(Clone)]
pub struct Endpoint {
    /// Address, without a slash at its end.
    pub url: String,
    /// Time between two requests, if it is longer than the client's.
    pub pace: Duration,
    /// Access token.
    pub token: Option<String>,
}

impl Endpoint {
    /// Creates an endpoint without a token.
    pub fn new(url: &str, pace: Duration) -> Self {
        Self { url: url.trim_end_matches('/').to_owned(), pace, token: None }
    }

    /// Returns the address of `path` with the parameters `query`.
    pub(super) fn address(&self, path: &str, query: &[(&str, &str)]) -> Result<Url, Failure> {
        let text = format!("{}{path}", self.url);
        let mut url = Url::parse(&text)
            .map_err(|error| Failure::Service(format!("{text} is no address: {error}")))?;
        if !query.is_empty() {
            url.query_pairs_mut().extend_pairs(query);
        }
        Ok(url)
    }

    /// Requests `url`. Returns the response whatever its status.
    pub(super) async fn get(
        &self,
        http: &HttpClient,
        url: Url,
        change: impl FnOnce(Request) -> Request + Send,
    ) -> Result<Response, Failure> {
        let mut request = Request::new(url).delay(self.pace);
        if let Some(token) = &self.token {
            let value = HeaderValue::from_str(&format!("Bearer {token}"))
                .map_err(|_| Failure::Service("the token has line ends; correct it".into()))?;
            request = request.header(AUTHORIZATION, value);
        }
        Ok(http.get(&change(request)).await?)
    }

    /// Requests the JSON at `url`.
    pub(super) async fn json<T: DeserializeOwned>(
        &self,
        http: &HttpClient,
        url: Url,
    ) -> Result<(T, Response), Failure> {
        let response = self.get(http, url, |request| request).await?.success()?;
        let value = parse_json(&response)?;
        Ok((value, response))
    }
}

/// Reads the body of `response`.
pub(super) fn parse_json<T: DeserializeOwned>(response: &Response) -> Result<T, Failure> {
    serde_json::from_slice(&response.body).map_err(|error| {
        Failure::Service(format!(
            "it answers with something else than documented: {error}; check the address"
        ))
    })
}

/// Documents of a [`Service`], as a [`Source`](crate::Source).
pub type Connector<S> = ResumableSource<ServiceReader<S>>;

/// Reader of the documents of a service.
pub struct ServiceReader<S: Service> {
    service: S,
    http: HttpClient,
    then: Then,
    /// Time before which the service wants no request.
    not_before: Option<Instant>,
}

/// Place in the documents of a service.
#[derive(Clone, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ServiceCursor<P> {
    choice: String,
    place: P,
    has_ended: bool,
}

impl<S: Service> Connector<S> {
    /// Creates a source of the documents of `service`, which is asked through `http`.
    pub fn new(service: S, http: HttpClient) -> Self {
        let (choice, place) = (service.choice(), S::Place::default());
        let cursor = ServiceCursor { choice, place, has_ended: false };
        let then = Then::Next(Duration::ZERO);
        Self::at(cursor, ServiceReader { service, http, then, not_before: None })
    }
}

impl<S: Service> ServiceReader<S> {
    fn pause(&mut self, time: Duration) {
        self.not_before = Instant::now().checked_add(time);
    }
}

#[async_trait]
impl<S: Service> Reader for ServiceReader<S> {
    type Cursor = ServiceCursor<S::Place>;

    fn name(&self) -> &str {
        self.service.name()
    }

    fn check(&self, cursor: &Self::Cursor, saved: &Self::Cursor) -> Result<(), String> {
        let is_same = saved.choice == cursor.choice;
        let other = || format!("it read {}, not {}", saved.choice, cursor.choice);
        is_same.then_some(()).ok_or_else(other)
    }

    async fn next(&mut self, cursor: &mut Self::Cursor) -> Result<Step, SourceError> {
        if cursor.has_ended {
            return Ok(Step::Done);
        }
        if let Then::Wait(time) = self.then {
            self.then = Then::Next(Duration::ZERO);
            return Ok(Step::Wait(time));
        }
        if let Some(time) = self.not_before {
            tokio::time::sleep_until(time).await;
            self.not_before = None;
        }
        match self.service.page(&self.http, &cursor.place).await {
            Ok(page) => {
                cursor.place = page.place;
                cursor.has_ended = page.then == Then::End;
                self.then = page.then;
                if let Then::Next(time) = page.then {
                    self.pause(time);
                }
                Ok(Step::Batch(page.batch))
            }
            Err(Failure::Busy(time)) if time <= MAX_PAUSE => {
                self.pause(time);
                Ok(Step::Batch(Batch::default()))
            }
            Err(Failure::Busy(time)) => Ok(Step::Wait(time)),
            Err(Failure::Spent) => Ok(Step::Spent),
            Err(Failure::Service(reason)) => {
                Err(SourceError::Service { service: self.service.name().to_owned(), reason })
            }
        }
    }
}

/// A document of a service on its way into a batch.
pub(super) struct Post {
    /// Address of the document.
    pub(super) location: String,
    /// Media type.
    pub(super) media: &'static str,
    /// Text, or the reason why there is none.
    pub(super) text: Result<String, String>,
    /// Licence, as an SPDX expression.
    pub(super) licence: Option<String>,
    /// Statements about the use of the text.
    pub(super) signals: Vec<String>,
}

/// Media type of text without markup.
pub(super) const PLAIN: &str = pol_corpus::EXTRACTED_TEXT;

impl Post {
    /// Adds the document, or its refusal, to `batch`.
    pub(super) fn add_to(self, batch: &mut Batch, source: &str, fetched: u64) {
        let origin = Origin {
            source: source.to_owned(),
            location: self.location,
            part: Vec::new(),
            fetched: Some(fetched),
            licence: self.licence,
            signals: self.signals,
        };
        match self.text {
            Ok(text) => batch.documents.push(RawDocument {
                origin,
                media: Some(self.media.to_owned()),
                bytes: text.into_bytes(),
            }),
            Err(reason) => batch.refused.push(Refusal { origin, reason }),
        }
    }
}
