// SPDX-License-Identifier: Apache-2.0

use super::service::{Endpoint, Failure, Page, Post, Service, Then, parse_json, passing_failure};
use crate::{
    Batch,
    http::{HttpClient, Request, Response},
};
use async_trait::async_trait;
use reqwest::header::{ACCEPT, HeaderName, HeaderValue};
use serde::{Deserialize, Serialize};
use std::{env, time::Duration};
use url::Url;

/// Repositories of a page of the search, the maximum.
const PAGE_SIZE: &str = "100";
/// Number of the last page of a search, which ends after a thousand repositories.
const LAST_PAGE: u32 = 10;
/// READMEs of a page.
const PAGE_READMES: usize = 10;
/// Largest README, in bytes.
const MAX_README_BYTES: u64 = 1 << 20;
/// Time to wait if the rate is limited and the end of the limit is not stated.
const RATE_WAIT: Duration = Duration::from_secs(60);
/// Longest time until a limit of the rate ends.
const RATE_WINDOW: Duration = Duration::from_secs(3600);
/// Version of the API.
const VERSION: (&str, &str) = ("x-github-api-version", "2022-11-28");

/// READMEs of the repositories that a search finds.
///
/// Source of the shapes: *GitHub REST API*, `GET /search/repositories`,
/// `GET /repos/{owner}/{repo}/readme`, and *Rate limits for the REST API*. Only repositories are
/// read that state a licence by its SPDX name.
pub struct GithubReadmes {
    endpoint: Endpoint,
    query: String,
    found: Option<Found>,
}

/// Place in the results of a search.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct SearchPlace {
    /// Pages that were read.
    pages: u32,
    /// Repositories of the next page that were read.
    read: usize,
}

/// A page of the results of a search.
struct Found {
    /// Pages before it.
    pages: u32,
    repositories: Vec<Repository>,
}

/// Results of a search in the shape of the service.
#[derive(Deserialize)]
struct SearchResults {
    items: Vec<Repository>,
}

/// A repository in the shape of the service.
#[derive(Clone, Deserialize)]
struct Repository {
    full_name: String,
    #[serde(default)]
    private: bool,
    #[serde(default)]
    fork: bool,
    license: Option<License>,
}

/// A licence in the shape of the service.
#[derive(Clone, Deserialize)]
struct License {
    spdx_id: Option<String>,
}

impl Repository {
    /// Returns the licence that the repository states.
    fn licence(&self) -> Option<&str> {
        let licence = self.license.as_ref()?.spdx_id.as_deref()?;
        (licence != "NOASSERTION").then_some(licence)
    }

    /// Returns the reason why the README must not be read.
    fn objection(&self) -> Option<&'static str> {
        if self.private {
            Some("it is not public")
        } else if self.fork {
            Some("it is a copy of another repository")
        } else if self.licence().is_none() {
            Some("it states no licence that is known")
        } else {
            None
        }
    }
}

impl GithubReadmes {
    /// Address of the service, with the token in `GITHUB_TOKEN`, which raises the limit of requests
    /// from 60 to 5,000 an hour.
    pub fn public() -> Endpoint {
        let token = env::var("GITHUB_TOKEN").ok().filter(|token| !token.is_empty());
        // The documentation asks for a second between requests.
        Endpoint { token, ..Endpoint::new("https://api.github.com", Duration::from_secs(1)) }
    }

    /// Creates a source of the READMEs that the search `query` finds, such as
    /// `license:mit stars:>100`. A search ends after a thousand repositories.
    pub fn new(endpoint: Endpoint, query: &str) -> Self {
        Self { endpoint, query: query.to_owned(), found: None }
    }

    async fn get(
        &self,
        http: &HttpClient,
        url: Url,
        accept: &'static str,
    ) -> Result<Response, Failure> {
        let change = |request: Request| {
            request
                .header(ACCEPT, HeaderValue::from_static(accept))
                .header(HeaderName::from_static(VERSION.0), HeaderValue::from_static(VERSION.1))
                .max_bytes(16 * MAX_README_BYTES)
                .without_retries()
        };
        let response = self.endpoint.get(http, url, change).await?;
        match response.status {
            401 => Err(Failure::Service("it refuses the token; correct GITHUB_TOKEN".into())),
            403 | 429 if is_limited(&response) => Err(Failure::Busy(until_reset(&response))),
            _ => match passing_failure(&response) {
                Some(time) => Err(Failure::Busy(time)),
                None => Ok(response),
            },
        }
    }

    /// Ensures that the page of the search after `pages` is here.
    async fn search(&mut self, http: &HttpClient, pages: u32) -> Result<&[Repository], Failure> {
        if self.found.as_ref().is_none_or(|found| found.pages != pages) {
            let page = pages.saturating_add(1).to_string();
            let query = [
                ("q", self.query.as_str()),
                ("sort", "stars"),
                ("order", "desc"),
                ("per_page", PAGE_SIZE),
                ("page", &page),
            ];
            let url = self.endpoint.address("/search/repositories", &query)?;
            let response = self.get(http, url, "application/vnd.github+json").await?;
            if response.status == 422 {
                let reason = format!("it does not understand the search {:?}", self.query);
                return Err(Failure::Service(reason));
            }
            let results: SearchResults = parse_json(&response.success()?)?;
            self.found = Some(Found { pages, repositories: results.items });
        }
        Ok(self.found.as_ref().map_or(&[], |found| found.repositories.as_slice()))
    }

    /// Adds the README of `repository` to `batch`.
    async fn read(
        &self,
        http: &HttpClient,
        repository: &Repository,
        batch: &mut Batch,
    ) -> Result<(), Failure> {
        let (text, fetched) = match repository.objection() {
            Some(reason) => (Err(reason.to_owned()), 0),
            None => {
                let path = format!("/repos/{}/readme", repository.full_name);
                let url = self.endpoint.address(&path, &[])?;
                let response = self.get(http, url, "application/vnd.github.raw+json").await?;
                let text = match response.status {
                    404 => Err("it has no README".to_owned()),
                    status if !response.is_success() => {
                        Err(format!("its server answers with status {status}"))
                    }
                    _ if response.body.len() as u64 > MAX_README_BYTES => {
                        Err(format!("its README has more than {MAX_README_BYTES} bytes"))
                    }
                    _ => String::from_utf8(response.body)
                        .map_err(|_| "its README is not UTF-8".to_owned()),
                };
                (text, response.fetched)
            }
        };
        let post = Post {
            location: format!("https://github.com/{}#readme", repository.full_name),
            media: "text/markdown; charset=utf-8",
            text,
            licence: repository.licence().map(str::to_owned),
            signals: Vec::new(),
        };
        post.add_to(batch, self.name(), fetched);
        Ok(())
    }
}

#[async_trait]
impl Service for GithubReadmes {
    type Place = SearchPlace;

    fn name(&self) -> &str {
        "github-readmes"
    }

    fn choice(&self) -> String {
        format!("READMEs of {}", self.query)
    }

    async fn page(
        &mut self,
        http: &HttpClient,
        place: &SearchPlace,
    ) -> Result<Page<SearchPlace>, Failure> {
        let found = self.search(http, place.pages).await?;
        let (count, is_last) = (found.len(), place.pages.saturating_add(1) >= LAST_PAGE);
        let wanted: Vec<_> = found.iter().skip(place.read).take(PAGE_READMES).cloned().collect();
        let (mut batch, mut place) = (Batch::default(), place.clone());
        for repository in &wanted {
            match self.read(http, repository, &mut batch).await {
                // The READMEs so far are kept, and the next call meets the limit.
                Err(Failure::Busy(_)) if !is_empty(&batch) => break,
                result => result?,
            }
            place.read += 1;
        }
        let mut then = Then::Next(Duration::ZERO);
        if place.read >= count {
            place = SearchPlace { pages: place.pages.saturating_add(1), read: 0 };
            if count == 0 || is_last {
                then = Then::End;
            }
        }
        Ok(Page { batch, place, then })
    }
}

fn is_empty(batch: &Batch) -> bool {
    batch.documents.is_empty() && batch.refused.is_empty()
}

/// Returns `true` if a refusal is because of the rate of requests.
fn is_limited(response: &Response) -> bool {
    response.status == 429
        || response.header("retry-after").is_some()
        || response.header("x-ratelimit-remaining") == Some("0")
}

/// Returns the time until the limit of the rate ends.
fn until_reset(response: &Response) -> Duration {
    let seconds = |name: &str| response.header(name)?.trim().parse::<u64>().ok();
    let wait = seconds("retry-after")
        .or_else(|| Some(seconds("x-ratelimit-reset")?.saturating_sub(response.fetched)));
    wait.map_or(RATE_WAIT, Duration::from_secs).min(RATE_WINDOW)
}
