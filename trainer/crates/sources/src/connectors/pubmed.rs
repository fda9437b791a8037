// SPDX-License-Identifier: Apache-2.0

use super::{
    jats::{self, Record},
    service::{Endpoint, Failure, PLAIN, Page, Post, Service, Then},
};
use crate::{Batch, http::HttpClient};
use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use std::{collections::BTreeSet, time::Duration};

/// Largest answer, in bytes: some ten articles as a rule.
const MAX_BYTES: u64 = 64 << 20;
/// Time after which new articles are asked for.
const NEW_ARTICLES: Duration = Duration::from_secs(24 * 3600);
/// Most articles of a day that are remembered, of some 20 bytes each in the cursor. More are read
/// again at worst.
const MAX_REMEMBERED: usize = 1 << 16;

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
    /// Fingerprints of the articles of that date that were read. A list that begins at a date has
    /// the articles of this date, so they come again.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    read: BTreeSet<u64>,
}

impl ArticlePlace {
    /// Moves behind `record`. Returns `false` if it was read before.
    fn pass(&mut self, record: &Record) -> bool {
        let newest = self.newest.as_deref().unwrap_or_default();
        if self.newest.is_none() || record.datestamp.as_str() > newest {
            self.newest = Some(record.datestamp.clone());
            self.read.clear();
        } else if record.datestamp.as_str() < newest {
            return true;
        }
        let key = fingerprint(record);
        if self.read.contains(&key) {
            return false;
        }
        if self.read.len() < MAX_REMEMBERED {
            self.read.insert(key);
        }
        true
    }
}

/// Returns the fingerprint of a record. It depends on the text, as an article may change once more
/// on the same day.
fn fingerprint(record: &Record) -> u64 {
    let Record { identifier, datestamp: _, is_deleted, licence, text } = record;
    let licence = licence.as_deref().unwrap_or_default();
    let all = format!("{identifier}\n{is_deleted}\n{licence}\n{text}");
    let mut key = [0; 8];
    key.copy_from_slice(&blake3::hash(all.as_bytes()).as_bytes()[..8]);
    u64::from_be_bytes(key)
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
        let mut place = ArticlePlace { token: records.token, ..place.clone() };
        let then = match records.error.as_deref() {
            None if place.token.is_some() => Then::Next(Duration::ZERO),
            None | Some("noRecordsMatch") => Then::Wait(NEW_ARTICLES),
            // Tokens expire. The list starts anew at the newest change.
            Some("badResumptionToken") if place.newest.is_some() => Then::Next(Duration::ZERO),
            Some(code) => return Err(Failure::Service(format!("it refuses: {code}"))),
        };
        let mut batch = Batch::default();
        for record in records.records {
            if place.pass(&record) {
                to_post(record).add_to(&mut batch, self.name(), fetched);
            }
        }
        Ok(Page { batch, place, then })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(number: u32, datestamp: &str, text: &str) -> Record {
        Record {
            identifier: format!("oai:pubmedcentral.nih.gov:{number}"),
            datestamp: datestamp.into(),
            text: text.into(),
            ..Record::default()
        }
    }

    #[test]
    fn articles_of_the_newest_day_are_passed_once() {
        let mut place = ArticlePlace::default();
        assert!(place.pass(&record(1, "2024-05-01", "a")));
        assert!(place.pass(&record(2, "2024-05-02", "b")));
        assert!(place.pass(&record(3, "2024-05-02", "c")));
        // The order within a list is not promised.
        assert!(place.pass(&record(4, "2024-05-01", "d")));
        let saved = serde_json::to_value(&place).unwrap();
        let mut place: ArticlePlace = serde_json::from_value(saved).unwrap();
        assert!(!place.pass(&record(2, "2024-05-02", "b")));
        assert!(!place.pass(&record(3, "2024-05-02", "c")));
        assert!(place.pass(&record(3, "2024-05-02", "changed")));
        assert!(place.pass(&record(2, "2024-05-03", "b")));
        assert_eq!((place.newest.as_deref(), place.read.len()), (Some("2024-05-03"), 1));
        let old = serde_json::json!({"token": null, "newest": "2024-05-03"});
        let mut place: ArticlePlace = serde_json::from_value(old).unwrap();
        assert!(place.pass(&record(2, "2024-05-03", "b")));
    }

    #[test]
    fn the_place_is_bounded() {
        let mut place = ArticlePlace::default();
        place.read.extend(0..MAX_REMEMBERED as u64);
        place.newest = Some("2024-05-01".into());
        assert!(place.pass(&record(1, "2024-05-01", "a")));
        assert_eq!(place.read.len(), MAX_REMEMBERED);
    }
}
