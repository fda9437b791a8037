// SPDX-License-Identifier: Apache-2.0

use super::{
    jats::{self, Record},
    service::{Endpoint, Failure, PLAIN, Page, Post, Service, Then},
};
use crate::{Batch, http::HttpClient};
use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// Largest answer, in bytes: some ten articles as a rule.
const MAX_BYTES: u64 = 64 << 20;
/// Time after which new articles are asked for.
const NEW_ARTICLES: Duration = Duration::from_secs(24 * 3600);

/// Articles of PubMed Central's open-access subset, in the order of their last change.
///
/// Source of the shapes: *PMC OAI-PMH service*, whose set `pmc-open` has the articles that may be
/// used under a licence. The licence is the one that an article states; articles without one of
/// Creative Commons are left out. NCBI asks for at most three requests a second.
pub struct PubmedCentral {
    endpoint: Endpoint,
    from: Option<String>,
}

/// Place among the articles.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct ArticlePlace {
    /// Token of the next page.
    token: Option<String>,
    /// Date of the newest change that was read.
    newest: Option<String>,
}

impl PubmedCentral {
    /// Address of the service.
    pub fn public() -> Endpoint {
        Endpoint::new("https://pmc.ncbi.nlm.nih.gov/api/oai/v1/mh", Duration::from_secs(1))
    }

    /// Creates a source of the articles that were changed from the date `from` on, such as
    /// `2024-05-01`.
    pub fn new(endpoint: Endpoint, from: Option<String>) -> Self {
        Self { endpoint, from }
    }
}

fn to_post(record: Record) -> Post {
    let number = record.identifier.rsplit(':').next().unwrap_or_default();
    let text = match (record.is_deleted, &record.licence) {
        (true, _) => Err("it was withdrawn".to_owned()),
        (false, None) => Err("it states no licence of Creative Commons".to_owned()),
        _ if record.text.is_empty() => Err("it has no text".to_owned()),
        _ => Ok(record.text),
    };
    Post {
        location: format!("https://pmc.ncbi.nlm.nih.gov/articles/PMC{number}/"),
        media: PLAIN,
        text,
        licence: record.licence,
        signals: Vec::new(),
    }
}

#[async_trait]
impl Service for PubmedCentral {
    type Place = ArticlePlace;

    fn name(&self) -> &str {
        "pubmed-central"
    }

    fn choice(&self) -> String {
        format!("articles from {}", self.from.as_deref().unwrap_or("the first"))
    }

    async fn page(
        &mut self,
        http: &HttpClient,
        place: &ArticlePlace,
    ) -> Result<Page<ArticlePlace>, Failure> {
        let mut query = vec![("verb", "ListRecords")];
        let from = place.newest.as_deref().or(self.from.as_deref());
        match &place.token {
            Some(token) => query.push(("resumptionToken", token)),
            None => {
                query.extend([("metadataPrefix", "pmc"), ("set", "pmc-open")]);
                query.extend(from.map(|from| ("from", from)));
            }
        }
        let url = self.endpoint.address("/", &query)?;
        let response = self.endpoint.get(http, url, |request| request.max_bytes(MAX_BYTES)).await?;
        let response = response.success()?;
        let (body, fetched) = (response.body, response.fetched);
        let read = tokio::task::spawn_blocking(move || jats::read(&body)).await;
        let records = read
            .unwrap_or_else(|error| Err(error.to_string()))
            .map_err(|reason| Failure::Service(format!("its answer cannot be read: {reason}")))?;
        let mut place = ArticlePlace { token: records.token, newest: place.newest.clone() };
        let then = match records.error.as_deref() {
            None if place.token.is_some() => Then::Next(Duration::ZERO),
            None | Some("noRecordsMatch") => Then::Wait(NEW_ARTICLES),
            // Tokens expire. The list starts anew at the newest change.
            Some("badResumptionToken") if place.newest.is_some() => Then::Next(Duration::ZERO),
            Some(code) => return Err(Failure::Service(format!("it refuses: {code}"))),
        };
        let mut batch = Batch::default();
        for record in records.records {
            place.newest = place.newest.max(Some(record.datestamp.clone()));
            to_post(record).add_to(&mut batch, self.name(), fetched);
        }
        Ok(Page { batch, place, then })
    }
}
