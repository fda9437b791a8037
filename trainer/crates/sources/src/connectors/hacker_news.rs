// SPDX-License-Identifier: Apache-2.0

use super::{
    service::{Endpoint, Failure, PLAIN, Page, Post, Service, Then, parse_json},
    text::{html_text, titled},
};
use crate::{Batch, http::HttpClient};
use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// Number of items of a page.
const PAGE_ITEMS: u64 = 25;
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
    /// Largest number of an item, as last asked.
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

    /// Adds item `number` to `batch`.
    async fn read(&self, http: &HttpClient, number: u64, batch: &mut Batch) -> Result<(), Failure> {
        let url = self.endpoint.address(&format!("/v0/item/{number}.json"), &[])?;
        let response = self.endpoint.get(http, url, |request| request).await?;
        let text = match response.is_success().then(|| parse_json::<Option<Entry>>(&response)) {
            Some(Ok(Some(item))) if item.id == number => item.text(),
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
        Ok(())
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
        let next = place.next.unwrap_or(self.from);
        if next > place.newest {
            place.newest = self.newest(http).await?;
        }
        let end = place.newest.saturating_add(1).min(next.saturating_add(PAGE_ITEMS)).max(next);
        let mut batch = Batch::default();
        for number in next..end {
            self.read(http, number, &mut batch).await?;
        }
        place.next = Some(end);
        let then =
            if end > place.newest { Then::Wait(NEW_ITEMS) } else { Then::Next(Duration::ZERO) };
        Ok(Page { batch, place, then })
    }
}
