// SPDX-License-Identifier: Apache-2.0

//! Services as sources: the loop that is the same for all.

use crate::{
    Batch, Reader, ResumableSource, SourceError, Step,
    http::{FetchError, HttpClient, Request, Response, unix_seconds},
};
use async_trait::async_trait;
use pol_corpus::{Origin, RawDocument, Refusal};
use reqwest::header::{AUTHORIZATION, HeaderValue};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use std::time::{Duration, SystemTime};
use tokio::time::Instant;
use url::Url;

/// Longest time that a service's wish to wait is followed within a step. After a longer one the
/// source has nothing new for now.
const MAX_PAUSE: Duration = Duration::from_secs(300);
/// Most such pauses in a row. A service that is busy after them has nothing new for now.
const MAX_PAUSES: u32 = 3;
/// Time for which a service that fails is left alone, unless it says how long it wants to be.
const FAILURE_WAIT: Duration = Duration::from_secs(60);
/// Longest time for which a service is not asked, which is that of services with news once a day.
const MAX_WAIT: Duration = Duration::from_secs(24 * 3600);

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

/// Returns the time for which a service is to be left alone, if its answer is a failure that may
/// pass.
pub(super) fn passing_failure(response: &Response) -> Option<Duration> {
    let is_failure = response.status == 429 || (500..600).contains(&response.status);
    is_failure.then(|| response.retry_after().unwrap_or(FAILURE_WAIT))
}

/// Documents of a [`Service`], as a [`Source`](crate::Source).
pub type Connector<S> = ResumableSource<ServiceReader<S>>;

/// Reader of the documents of a service.
pub struct ServiceReader<S: Service> {
    service: S,
    http: HttpClient,
    /// Time before which the service wants no request, within a step.
    pause: Option<Instant>,
    /// Number of times in a row that the service was busy.
    pauses: u32,
}

/// Place in the documents of a service.
#[derive(Clone, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ServiceCursor<P> {
    choice: String,
    place: P,
    has_ended: bool,
    /// Time before which the service is not asked, in seconds since 1970. It is a part of the
    /// place, since a later run must not ask earlier.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    not_before: Option<u64>,
}

impl<S: Service> Connector<S> {
    /// Creates a source of the documents of `service`, which is asked through `http`.
    pub fn new(service: S, http: HttpClient) -> Self {
        let (choice, place) = (service.choice(), S::Place::default());
        let cursor = ServiceCursor { choice, place, has_ended: false, not_before: None };
        Self::at(cursor, ServiceReader { service, http, pause: None, pauses: 0 })
    }
}

impl<S: Service> ServiceReader<S> {
    fn pause(&mut self, time: Duration) {
        self.pause = Instant::now().checked_add(time);
    }
}

impl<P> ServiceCursor<P> {
    /// Keeps the service from being asked for `time`.
    fn wait(&mut self, time: Duration) {
        let seconds = time.as_secs().saturating_add(u64::from(time.subsec_nanos() > 0));
        self.not_before = Some(now().saturating_add(seconds));
    }

    /// Returns the time for which the service is still not to be asked, if there is one.
    fn remaining(&mut self) -> Option<Duration> {
        let now = now();
        // A clock that was set back must not stop the source for longer than a wait.
        let latest = now.saturating_add(MAX_WAIT.as_secs());
        self.not_before = self.not_before.map(|time| time.min(latest)).filter(|time| *time > now);
        self.not_before.map(|time| Duration::from_secs(time.saturating_sub(now)))
    }
}

/// Returns the time, in seconds since 1970.
fn now() -> u64 {
    unix_seconds(SystemTime::now())
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
        if let Some(time) = cursor.remaining() {
            return Ok(Step::Wait(time));
        }
        if let Some(time) = self.pause {
            tokio::time::sleep_until(time).await;
            self.pause = None;
        }
        match self.service.page(&self.http, &cursor.place).await {
            Ok(page) => {
                cursor.place = page.place;
                cursor.has_ended = page.then == Then::End;
                self.pauses = 0;
                match page.then {
                    Then::Next(time) => self.pause(time),
                    Then::Wait(time) => cursor.wait(time),
                    Then::End => {}
                }
                Ok(Step::Batch(page.batch))
            }
            Err(Failure::Busy(time)) if time <= MAX_PAUSE && self.pauses < MAX_PAUSES => {
                self.pauses += 1;
                self.pause(time);
                Ok(Step::Batch(Batch::default()))
            }
            Err(Failure::Busy(time)) => {
                cursor.wait(time);
                Ok(Step::Wait(time))
            }
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

#[cfg(test)]
mod tests {
    use super::*;

    fn cursor(not_before: Option<u64>) -> ServiceCursor<u64> {
        ServiceCursor { choice: "all".into(), place: 1, has_ended: false, not_before }
    }

    #[test]
    fn a_wait_is_a_part_of_the_place() {
        let mut first = cursor(None);
        assert_eq!(first.remaining(), None);
        first.wait(Duration::from_millis(3_599_500));
        let saved = serde_json::to_value(&first).unwrap();
        let mut second: ServiceCursor<u64> = serde_json::from_value(saved).unwrap();
        let remaining = second.remaining().unwrap().as_secs();
        assert!((3590..=3600).contains(&remaining), "{remaining}");
        // Places without a wait are read, and written as they were.
        let old = serde_json::json!({"choice": "all", "place": 1, "has_ended": false});
        let mut read: ServiceCursor<u64> = serde_json::from_value(old.clone()).unwrap();
        assert_eq!(read.remaining(), None);
        assert_eq!(serde_json::to_value(&read).unwrap(), old);
    }

    #[test]
    fn a_clock_that_jumps_delays_a_service_by_a_day_at_most() {
        for time in [now() + 10 * 365 * 24 * 3600, u64::MAX] {
            assert_eq!(cursor(Some(time)).remaining(), Some(MAX_WAIT), "{time}");
        }
        for time in [0, now().saturating_sub(1)] {
            let mut cursor = cursor(Some(time));
            assert_eq!((cursor.remaining(), cursor.not_before), (None, None), "{time}");
        }
    }
}
