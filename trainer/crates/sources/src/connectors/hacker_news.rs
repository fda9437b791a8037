// SPDX-License-Identifier: Apache-2.0

use super::{
    service::{Endpoint, Failure, PLAIN, Page, Post, Service, Then, parse_json, passing_failure},
    text::{html_text, titled},
};
use crate::{Batch, http::HttpClient};
use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// Number of items of a page.
const PAGE_ITEMS: u64 = 25;
/// Number of the newest items that may not be visible yet.
const RECENT_ITEMS: u64 = 100;
/// Time after which new items are asked for.
const NEW_ITEMS: Duration = Duration::from_secs(60);

/// Stories and comments of Hacker News, in the order in which they were written.
///
/// Source of the shapes: *Hacker News API*, `github.com/HackerNews/API`. The service states no
/// licence, so documents have none.
pub struct HackerNews {
    endpoint: Endpoint,
    from: u64,
}

/// Place among the items of Hacker News.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Item {
    /// Number of the next item.
    next: Option<u64>,
    /// Largest number of an item, as last asked, or 0 if it has to be asked again.
    newest: u64,
}

/// An item in the shape of the service.
#[derive(Deserialize)]
struct Entry {
    id: u64,
    #[serde(default)]
    deleted: bool,
    #[serde(default)]
    dead: bool,
    title: Option<String>,
    text: Option<String>,
}

impl HackerNews {
    /// Address of the service, which states no limit of requests.
    pub fn public() -> Endpoint {
        Endpoint::new("https://hacker-news.firebaseio.com", Duration::ZERO)
    }

    /// Creates a source of the items from number `from` on.
    pub fn new(endpoint: Endpoint, from: u64) -> Self {
        Self { endpoint, from }
    }

    async fn newest(&self, http: &HttpClient) -> Result<u64, Failure> {
        let url = self.endpoint.address("/v0/maxitem.json", &[])?;
        Ok(self.endpoint.json(http, url).await?.0)
    }

    /// Adds item `number` to `batch`. Returns `false` if it `is_recent` and not visible yet.
    async fn read(
        &self,
        http: &HttpClient,
        number: u64,
        is_recent: bool,
        batch: &mut Batch,
    ) -> Result<bool, Failure> {
        let url = self.endpoint.address(&format!("/v0/item/{number}.json"), &[])?;
        let response = self.endpoint.get(http, url, |request| request).await?;
        if let Some(time) = passing_failure(&response) {
            return Err(Failure::Busy(time));
        }
        let text = match response.is_success().then(|| parse_json::<Option<Entry>>(&response)) {
            Some(Ok(Some(item))) if item.id == number => item.text(),
            Some(Ok(None)) if is_recent => return Ok(false),
            Some(Ok(_)) => Err("there is no such item".to_owned()),
            Some(Err(Failure::Service(reason))) => Err(reason),
            Some(Err(other)) => return Err(other),
            None => Err(format!("its server answers with status {}", response.status)),
        };
        let post = Post {
            location: format!("https://news.ycombinator.com/item?id={number}"),
            media: PLAIN,
            text,
            licence: None,
            signals: Vec::new(),
        };
        post.add_to(batch, self.name(), response.fetched);
        Ok(true)
    }
}

impl Entry {
    fn text(&self) -> Result<String, String> {
        if self.deleted || self.dead {
            return Err("it was deleted or hidden".into());
        }
        let html = self.text.as_deref().ok_or("it has no text of its own")?;
        Ok(titled(self.title.as_deref(), &html_text(html)?))
    }
}

#[async_trait]
impl Service for HackerNews {
    type Place = Item;

    fn name(&self) -> &str {
        "hacker-news"
    }

    fn choice(&self) -> String {
        format!("items from {}", self.from)
    }

    async fn page(&mut self, http: &HttpClient, place: &Item) -> Result<Page<Item>, Failure> {
        let mut place = place.clone();
        // The first item has number 1.
        let next = place.next.unwrap_or(self.from).max(1);
        if next > place.newest {
            place.newest = self.newest(http).await?;
        }
        let end = place.newest.saturating_add(1).min(next.saturating_add(PAGE_ITEMS)).max(next);
        let mut then =
            if end > place.newest { Then::Wait(NEW_ITEMS) } else { Then::Next(Duration::ZERO) };
        let (mut batch, mut number) = (Batch::default(), next);
        while number < end {
            let is_recent = place.newest.saturating_sub(number) < RECENT_ITEMS;
            match self.read(http, number, is_recent, &mut batch).await {
                Ok(true) => number += 1,
                Ok(false) => {
                    // An item that never appears is passed when it is recent no more.
                    (place.newest, then) = (0, Then::Wait(NEW_ITEMS));
                    break;
                }
                // The items so far are kept, and the next call meets the failure.
                Err(Failure::Busy(_)) if number > next => {
                    then = Then::Next(Duration::ZERO);
                    break;
                }
                Err(failure) => return Err(failure),
            }
        }
        place.next = Some(number);
        Ok(Page { batch, place, then })
    }
}
