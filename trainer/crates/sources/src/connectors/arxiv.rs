// SPDX-License-Identifier: Apache-2.0

use super::{
    service::{Endpoint, Failure, PLAIN, Page, Post, Service, Then},
    text::titled,
};
use crate::{Batch, http::HttpClient};
use async_trait::async_trait;
use feed_rs::model::Entry;
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// Entries of a page.
const PAGE_ENTRIES: u64 = 100;
/// Entries after which a query starts anew at the date of the last one. Queries slow down with the
/// distance from their start, and end after 30,000.
const MAX_START: u64 = 10_000;
/// Time after which new papers are asked for: the service is updated once a day.
const NEW_PAPERS: Duration = Duration::from_secs(24 * 3600);
/// Time to wait if the service gives fewer entries than it counts, which happens under load.
const INCOMPLETE: Duration = Duration::from_secs(60);
/// Start of the addresses that name papers.
const PAPER: &str = "arxiv.org/abs/";

/// Titles and abstracts of papers that a search of arXiv finds, oldest first.
///
/// Source of the shapes: *arXiv API User's Manual*, which asks for three seconds between requests.
/// The terms of the API put metadata, with abstracts, under CC0. The papers themselves have their
/// authors' licences and are not read.
pub struct Arxiv {
    endpoint: Endpoint,
    query: String,
}

/// Place among the results of a search.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct PaperPlace {
    /// Minute of submission from which the query starts, in the notation of the service.
    from: Option<String>,
    /// Results of the query that were read.
    start: u64,
}

impl Arxiv {
    /// Address of the service.
    pub fn public() -> Endpoint {
        Endpoint::new("https://export.arxiv.org", Duration::from_secs(3))
    }

    /// Creates a source of what the search `query` finds, such as `cat:cs.CL`.
    pub fn new(endpoint: Endpoint, query: &str) -> Self {
        Self { endpoint, query: query.to_owned() }
    }

    async fn ask(&self, http: &HttpClient, place: &PaperPlace) -> Result<Answer, Failure> {
        let query = match &place.from {
            Some(from) => {
                format!("({}) AND submittedDate:[{from} TO 999912312359]", self.query)
            }
            None => self.query.clone(),
        };
        let query = [
            ("search_query", query.as_str()),
            ("start", &place.start.to_string()),
            ("max_results", &PAGE_ENTRIES.to_string()),
            ("sortBy", "submittedDate"),
            ("sortOrder", "ascending"),
        ];
        let url = self.endpoint.address("/api/query", &query)?;
        let response = self.endpoint.get(http, url, |request| request).await?;
        let feed = feed_rs::parser::parse(response.body.as_slice()).map_err(|error| {
            Failure::Service(format!("it answers with status {}: {error}", response.status))
        })?;
        let total = total_results(&response.body)
            .ok_or_else(|| Failure::Service("it does not count its results".into()))?;
        Ok(Answer { entries: feed.entries, total, fetched: response.fetched })
    }
}

/// Page of the results of a search.
struct Answer {
    entries: Vec<Entry>,
    total: u64,
    fetched: u64,
}

/// Returns the value of the element `opensearch:totalResults`.
fn total_results(body: &[u8]) -> Option<u64> {
    let text = std::str::from_utf8(body).ok()?;
    let (_, rest) = text.split_once("totalResults")?;
    let (_, rest) = rest.split_once('>')?;
    rest.split_once('<')?.0.trim().parse().ok()
}

/// Returns the reason of an entry that stands for an error.
fn error_of(entry: &Entry) -> Option<String> {
    let title = entry.title.as_ref().map(|title| title.content.trim());
    let is_error = title == Some("Error") && !entry.id.contains(PAPER);
    is_error
        .then(|| entry.summary.as_ref().map_or_else(String::new, |text| one_line(&text.content)))
}

/// Joins the lines of a text, which the service breaks at some width.
fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

fn to_post(entry: Entry) -> Post {
    let text = match entry.summary {
        Some(summary) if !summary.content.trim().is_empty() => {
            let title = entry.title.map(|title| one_line(&title.content));
            Ok(titled(title.as_deref(), &one_line(&summary.content)))
        }
        _ => Err("it has no abstract".to_owned()),
    };
    Post {
        location: entry.id,
        media: PLAIN,
        text,
        licence: Some("CC0-1.0".into()),
        signals: Vec::new(),
    }
}

#[async_trait]
impl Service for Arxiv {
    type Place = PaperPlace;

    fn name(&self) -> &str {
        "arxiv"
    }

    fn choice(&self) -> String {
        format!("papers of {}", self.query)
    }

    async fn page(
        &mut self,
        http: &HttpClient,
        place: &PaperPlace,
    ) -> Result<Page<PaperPlace>, Failure> {
        let answer = self.ask(http, place).await?;
        if let Some(reason) = answer.entries.first().and_then(error_of) {
            return Err(Failure::Service(format!("it refuses the search: {reason}")));
        }
        let count = answer.entries.len() as u64;
        let expected = answer.total.saturating_sub(place.start).min(PAGE_ENTRIES);
        if count < expected {
            return Err(Failure::Busy(INCOMPLETE));
        }
        // The time in the notation of the service.
        let minute = |entry: &Entry| Some(entry.published?.format("%Y%m%d%H%M").to_string());
        let last = answer.entries.last().and_then(minute);
        let mut batch = Batch::default();
        for entry in answer.entries {
            to_post(entry).add_to(&mut batch, self.name(), answer.fetched);
        }
        let mut place = PaperPlace { start: place.start.saturating_add(count), ..place.clone() };
        let is_end = place.start >= answer.total;
        if let Some(from) = last.filter(|from| place.from.as_ref() != Some(from))
            && place.start >= MAX_START
        {
            // Papers of that minute come once more.
            place = PaperPlace { from: Some(from), start: 0 };
        }
        let then = if is_end { Then::Wait(NEW_PAPERS) } else { Then::Next(Duration::ZERO) };
        Ok(Page { batch, place, then })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_are_counted() {
        let body = b"<feed><opensearch:totalResults xmlns:opensearch=\"x\">1000</opensearch:\
            totalResults>";
        assert_eq!(total_results(body), Some(1000));
        assert_eq!(total_results(b"<feed/>"), None);
        assert_eq!(total_results(b"<totalResults>x</totalResults>"), None);
        assert_eq!(total_results(&[0xff]), None);
    }
}
