// SPDX-License-Identifier: Apache-2.0

use super::{
    service::{Endpoint, Failure, PLAIN, Page, Post, Service, Then, parse_json},
    text::{html_text, titled},
};
use crate::{Batch, http::HttpClient};
use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// Number of the last page of a query that is open without a key.
const LAST_PAGE: u32 = 25;
/// Posts of a page, the maximum.
const PAGE_SIZE: &str = "100";
/// Time after which new posts are asked for.
const NEW_POSTS: Duration = Duration::from_secs(3600);
/// Time between attempts when the quota of the day is used up.
const QUOTA_WAIT: Duration = Duration::from_secs(6 * 3600);
/// Name of the error of too many requests.
const THROTTLED: &str = "throttle_violation";
/// First seconds of the later versions of CC BY-SA: 2011-04-08 and 2018-05-02, by the page
/// *Licensing* of Stack Exchange's help centre.
const VERSION_3: u64 = 1_302_220_800;
const VERSION_4: u64 = 1_525_219_200;

/// Questions and answers of a site of Stack Exchange, in the order in which they were written.
///
/// Source of the shapes: *Stack Exchange API v2.3*, methods `/posts` and the common wrapper. A
/// `backoff` of an answer is waited for, and a used-up quota ends the work for now. Posts are under
/// the version of CC BY-SA of their date.
pub struct StackExchange {
    endpoint: Endpoint,
    name: String,
    site: String,
    key: Option<String>,
}

/// Place among the posts of a site.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct PostPlace {
    /// Time of the first post of page one, in seconds since 1970.
    from: u64,
    /// Pages that were read of the query from then on.
    pages: u32,
}

/// Common wrapper of the answers.
#[derive(Deserialize)]
struct Wrapper {
    #[serde(default)]
    items: Vec<Entry>,
    #[serde(default)]
    has_more: bool,
    backoff: Option<u64>,
    quota_remaining: Option<u64>,
    error_name: Option<String>,
    error_message: Option<String>,
}

/// A post in the shape of the service.
#[derive(Deserialize)]
struct Entry {
    post_id: u64,
    creation_date: u64,
    title: Option<String>,
    body: Option<String>,
    link: Option<String>,
    content_license: Option<String>,
}

impl StackExchange {
    /// Address of the service.
    pub fn public() -> Endpoint {
        Endpoint::new("https://api.stackexchange.com", Duration::from_secs(1))
    }

    /// Creates a source of the posts of `site`, such as `stackoverflow`. A `key` raises the quota
    /// of requests a day.
    pub fn new(endpoint: Endpoint, site: &str, key: Option<String>) -> Self {
        let name = format!("stack-exchange/{site}");
        Self { endpoint, name, site: site.to_owned(), key }
    }

    async fn ask(&self, http: &HttpClient, place: &PostPlace) -> Result<(Wrapper, u64), Failure> {
        let (page, from) = (place.pages.saturating_add(1).to_string(), place.from.to_string());
        let mut query = vec![
            ("site", self.site.as_str()),
            ("order", "asc"),
            ("sort", "creation"),
            ("filter", "withbody"),
            ("pagesize", PAGE_SIZE),
            ("page", &page),
            ("fromdate", &from),
        ];
        query.extend(self.key.as_deref().map(|key| ("key", key)));
        let url = self.endpoint.address("/2.3/posts", &query)?;
        let response = self.endpoint.get(http, url, |request| request).await?;
        let wrapper: Wrapper = parse_json(&response)?;
        match &wrapper.error_name {
            Some(name) if name == THROTTLED => Err(Failure::Busy(wrapper.throttle())),
            Some(name) => Err(Failure::Service(format!(
                "it refuses: {name}: {}",
                wrapper.error_message.as_deref().unwrap_or("no reason")
            ))),
            None if response.is_success() => Ok((wrapper, response.fetched)),
            None => Err(Failure::Service(format!("it answers with status {}", response.status))),
        }
    }
}

impl Wrapper {
    /// Returns the time after which requests are open again, which the message states.
    fn throttle(&self) -> Duration {
        let message = self.error_message.as_deref().unwrap_or_default();
        let seconds = message.split(' ').find_map(|word| word.parse().ok());
        seconds.map_or(QUOTA_WAIT, Duration::from_secs)
    }
}

impl Entry {
    /// Returns the licence that the post states, or the one of its date.
    fn licence(&self) -> String {
        let stated = self.content_license.as_deref().and_then(|licence| {
            let version = licence.strip_prefix("CC BY-SA ")?;
            matches!(version, "2.5" | "3.0" | "4.0").then_some(version)
        });
        let version = stated.unwrap_or(match self.creation_date {
            VERSION_4.. => "4.0",
            VERSION_3.. => "3.0",
            _ => "2.5",
        });
        format!("CC-BY-SA-{version}")
    }

    fn to_post(&self, site: &str) -> Post {
        let text = match &self.body {
            Some(body) => html_text(body).map(|text| titled(self.title.as_deref(), &text)),
            None => Err("it has no text".into()),
        };
        let location = format!("https://{site}/posts/{}", self.post_id);
        Post {
            location: self.link.clone().unwrap_or(location),
            media: PLAIN,
            text,
            licence: Some(self.licence()),
            signals: Vec::new(),
        }
    }
}

#[async_trait]
impl Service for StackExchange {
    type Place = PostPlace;

    fn name(&self) -> &str {
        &self.name
    }

    fn choice(&self) -> String {
        format!("posts of {}", self.site)
    }

    async fn page(
        &mut self,
        http: &HttpClient,
        place: &PostPlace,
    ) -> Result<Page<PostPlace>, Failure> {
        let (wrapper, fetched) = self.ask(http, place).await?;
        let mut batch = Batch::default();
        for entry in &wrapper.items {
            entry.to_post(&self.site).add_to(&mut batch, &self.name, fetched);
        }
        let mut place = place.clone();
        let newest = wrapper.items.iter().map(|entry| entry.creation_date).max();
        place.pages = place.pages.saturating_add(1);
        if wrapper.has_more && place.pages >= LAST_PAGE {
            // The next query starts at the newest post, which comes once more.
            let newest = newest.filter(|&newest| newest > place.from);
            place = PostPlace { from: newest.unwrap_or(place.from.saturating_add(1)), pages: 0 };
        } else if !wrapper.has_more {
            place = PostPlace {
                from: newest.map_or(place.from, |newest| newest.saturating_add(1)),
                pages: 0,
            };
        }
        let then = match (wrapper.quota_remaining, wrapper.has_more) {
            (Some(0), _) => Then::Wait(QUOTA_WAIT),
            (_, true) => Then::Next(Duration::from_secs(wrapper.backoff.unwrap_or(0))),
            (_, false) => Then::Wait(NEW_POSTS),
        };
        Ok(Page { batch, place, then })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(creation_date: u64, licence: Option<&str>) -> Entry {
        Entry {
            post_id: 1,
            creation_date,
            title: None,
            body: None,
            link: None,
            content_license: licence.map(str::to_owned),
        }
    }

    #[test]
    fn licences_are_of_the_date_unless_stated() {
        assert_eq!(entry(0, None).licence(), "CC-BY-SA-2.5");
        assert_eq!(entry(VERSION_3 - 1, None).licence(), "CC-BY-SA-2.5");
        assert_eq!(entry(VERSION_3, None).licence(), "CC-BY-SA-3.0");
        assert_eq!(entry(VERSION_4, None).licence(), "CC-BY-SA-4.0");
        assert_eq!(entry(0, Some("CC BY-SA 4.0")).licence(), "CC-BY-SA-4.0");
        assert_eq!(entry(0, Some("something")).licence(), "CC-BY-SA-2.5");
    }

    #[test]
    fn the_message_states_the_time_to_wait() {
        let wrapper = |message: &str| -> Wrapper {
            serde_json::from_value(serde_json::json!({"error_message": message})).unwrap()
        };
        let message = "too many requests from this IP, more requests available in 4711 seconds";
        assert_eq!(wrapper(message).throttle(), Duration::from_secs(4711));
        assert_eq!(wrapper("").throttle(), QUOTA_WAIT);
    }
}
