// SPDX-License-Identifier: Apache-2.0

use super::{
    service::{Endpoint, Failure, PLAIN, Page, Post, Service, Then, parse_json},
    text::{html_text, titled},
};
use crate::{
    Batch,
    http::{HttpClient, Response},
};
use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// Statuses of a page, the maximum.
const PAGE_SIZE: &str = "40";
/// Time after which new statuses are asked for.
const NEW_STATUSES: Duration = Duration::from_secs(60);
/// Time to wait if the rate is limited and the end of the limit is not stated: its whole window.
const RATE_WINDOW: Duration = Duration::from_secs(300);
/// Words in the description of an account by which people ask programs to keep away.
const OPT_OUTS: [&str; 6] = ["#nobot", "#noai", "#noindex", "#noarchive", "#nosearch", "#noscrape"];

/// Public statuses that the accounts of an instance of Mastodon wrote, from now on or from a given
/// status on.
///
/// Source of the shapes: *Mastodon documentation*, `GET /api/v1/timelines/public`, `Status`,
/// `Account`, *Pagination* and *Rate limits*. Only accounts are read that let search engines show
/// their statuses: those with `indexable`, or on an older instance those without `noindex`. Boosts,
/// programs, and people who ask programs to keep away are left out. Statuses have no licence but
/// their authors' rights.
pub struct Mastodon {
    endpoint: Endpoint,
    name: String,
    from: Option<String>,
}

/// Place in a timeline: the newest status that was read.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Newest {
    id: Option<String>,
}

/// A status in the shape of the service.
#[derive(Deserialize)]
struct Status {
    id: String,
    #[serde(default)]
    content: String,
    #[serde(default)]
    spoiler_text: String,
    #[serde(default)]
    visibility: String,
    url: Option<String>,
    #[serde(default)]
    uri: String,
    #[serde(default)]
    reblog: Option<serde::de::IgnoredAny>,
    account: Account,
}

/// Author of a status in the shape of the service.
#[derive(Deserialize)]
struct Account {
    #[serde(default)]
    bot: bool,
    #[serde(default)]
    note: String,
    noindex: Option<bool>,
    indexable: Option<bool>,
}

impl Account {
    /// Returns the reason why the author's statuses must not be read.
    fn objection(&self) -> Option<&'static str> {
        let note = self.note.to_lowercase();
        // Tags in a description are links: `#<span>nobot</span>`.
        let note = note.replace("<span>", "").replace("</span>", "");
        if self.noindex == Some(true) || self.indexable == Some(false) {
            Some("its author does not let search engines show it")
        } else if self.noindex.is_none() && self.indexable.is_none() {
            Some("its instance does not say whether its author wants to be found")
        } else if OPT_OUTS.iter().any(|word| note.contains(word)) {
            Some("its author asks programs to keep away")
        } else if self.bot {
            Some("a program wrote it")
        } else {
            None
        }
    }
}

impl Status {
    fn into_post(self) -> Post {
        let signals = [("indexable", self.account.indexable), ("noindex", self.account.noindex)];
        let signals = signals
            .iter()
            .filter_map(|(name, value)| Some(format!("mastodon: {name} {}", (*value)?)))
            .collect();
        let objection = match self.visibility.as_str() {
            "public" if self.reblog.is_none() => self.account.objection(),
            "public" => Some("it repeats another status"),
            _ => Some("it is not public"),
        };
        let text = match objection {
            Some(reason) => Err(reason.to_owned()),
            None => html_text(&self.content).map(|text| titled(Some(&self.spoiler_text), &text)),
        };
        Post { location: self.url.unwrap_or(self.uri), media: PLAIN, text, licence: None, signals }
    }
}

impl Mastodon {
    /// Address of the instance at `host`, whose limit is 300 requests in five minutes.
    pub fn instance(host: &str) -> Endpoint {
        Endpoint::new(&format!("https://{host}"), Duration::from_secs(1))
    }

    /// Creates a source of the public statuses after the one with the number `from`.
    pub fn new(endpoint: Endpoint, from: Option<String>) -> Self {
        let host = endpoint.url.split("://").last().unwrap_or_default();
        Self { name: format!("mastodon/{host}"), endpoint, from }
    }
}

#[async_trait]
impl Service for Mastodon {
    type Place = Newest;

    fn name(&self) -> &str {
        &self.name
    }

    fn choice(&self) -> String {
        format!("statuses from {}", self.from.as_deref().unwrap_or("now"))
    }

    async fn page(&mut self, http: &HttpClient, place: &Newest) -> Result<Page<Newest>, Failure> {
        let mut query = vec![("local", "true"), ("limit", PAGE_SIZE)];
        let newest = place.id.as_deref().or(self.from.as_deref());
        query.extend(newest.map(|id| ("min_id", id)));
        let url = self.endpoint.address("/api/v1/timelines/public", &query)?;
        let response = self.endpoint.get(http, url, |request| request.without_retries()).await?;
        match response.status {
            429 => return Err(Failure::Busy(until_reset(&response))),
            401 | 403 | 422 => {
                let reason = "it shows its timeline only to members; give an access token";
                return Err(Failure::Service(reason.into()));
            }
            _ => {}
        }
        let response = response.success()?;
        let statuses: Vec<Status> = parse_json(&response)?;
        let is_empty = statuses.is_empty();
        let newest = newest_of(&response)
            .or_else(|| statuses.iter().map(|status| status.id.clone()).max_by(by_number));
        let mut batch = Batch::default();
        // A page has its newest status first.
        for status in statuses.into_iter().rev() {
            status.into_post().add_to(&mut batch, &self.name, response.fetched);
        }
        let then = match response.header("x-ratelimit-remaining") {
            _ if is_empty => Then::Wait(NEW_STATUSES),
            Some("0") => Then::Next(until_reset(&response)),
            _ => Then::Next(Duration::ZERO),
        };
        let id = newest.filter(|_| !is_empty).or_else(|| place.id.clone());
        Ok(Page { batch, place: Newest { id }, then })
    }
}

/// Compares numbers that are written without leading zeros.
fn by_number(left: &String, right: &String) -> std::cmp::Ordering {
    left.len().cmp(&right.len()).then_with(|| left.cmp(right))
}

/// Returns the status from which the page of newer ones starts, by the `Link` header.
fn newest_of(response: &Response) -> Option<String> {
    let links = response.header("link")?;
    let link = links.split(',').find(|link| link.contains(r#"rel="prev""#))?;
    let (_, url) = link.split_once('<')?;
    let url = url::Url::parse(url.split_once('>')?.0).ok()?;
    let id = url.query_pairs().find(|(name, _)| name == "min_id")?.1.into_owned();
    (!id.is_empty() && id.bytes().all(|byte| byte.is_ascii_digit())).then_some(id)
}

/// Returns the time until the limit of the rate ends, which is stated as a date. It is taken as
/// relative to the server's own clock.
fn until_reset(response: &Response) -> Duration {
    let reset = response.header("x-ratelimit-reset").and_then(iso_seconds);
    let now = response.header("date").and_then(|date| httpdate::parse_http_date(date).ok());
    let now = now.and_then(|now| now.duration_since(std::time::UNIX_EPOCH).ok());
    match (reset, now) {
        (Some(reset), Some(now)) => {
            Duration::from_secs(reset.saturating_sub(now.as_secs())).min(RATE_WINDOW)
        }
        _ => RATE_WINDOW,
    }
}

/// Returns the seconds since 1970 of a time in UTC as ISO 8601, such as
/// `2026-11-28T13:00:00.000Z`.
fn iso_seconds(text: &str) -> Option<u64> {
    let (date, time) = text.trim_end_matches('Z').split_once('T')?;
    let numbers = |text: &str, mark| -> Option<Vec<u64>> {
        text.split(mark).map(|part| part.parse().ok()).collect()
    };
    let [year, month, day] = numbers(date, '-')?.try_into().ok()?;
    let [hour, minute, second] = numbers(time.split('.').next()?, ':')?.try_into().ok()?;
    let is_valid = (1970..10_000).contains(&year)
        && (1..=12).contains(&month)
        && (1..=31).contains(&day)
        && hour < 24
        && minute < 60
        && second < 61;
    // Days of the civil calendar, counted from March so that leap days come last in a year.
    let (year, month) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    let days = 365 * year + year / 4 - year / 100 + year / 400 + (153 * month + 2) / 5 + day;
    is_valid.then(|| (days - 719_469) * 86_400 + hour * 3_600 + minute * 60 + second)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn account(noindex: Option<bool>, indexable: Option<bool>, note: &str) -> Account {
        Account { bot: false, note: note.into(), noindex, indexable }
    }

    #[test]
    fn people_who_object_are_left_out() {
        for (noindex, indexable, note, is_read) in [
            (Some(false), Some(true), "", true),
            (Some(false), None, "I write", true),
            (None, Some(true), "", true),
            (Some(true), Some(true), "", false),
            (Some(false), Some(false), "", false),
            (None, None, "", false),
            (None, Some(true), "<p>hello <a>#<span>NoBot</span></a></p>", false),
            (None, Some(true), "Please #noai", false),
        ] {
            let account = account(noindex, indexable, note);
            assert_eq!(account.objection().is_none(), is_read, "{noindex:?} {indexable:?} {note}");
        }
        let bot = Account { bot: true, ..account(Some(false), Some(true), "") };
        assert_eq!(bot.objection(), Some("a program wrote it"));
    }

    #[test]
    fn dates_are_seconds_since_1970() {
        assert_eq!(iso_seconds("1970-01-01T00:00:00Z"), Some(0));
        assert_eq!(iso_seconds("2000-02-29T12:00:00.500Z"), Some(951_825_600));
        assert_eq!(iso_seconds("2026-11-28T13:06:50.000000Z"), Some(1_795_871_210));
        for text in ["", "2026", "2026-13-01T00:00:00Z", "2026-01-01T25:00:00Z", "x-01-01T0:0:0"] {
            assert_eq!(iso_seconds(text), None, "{text}");
        }
    }
}
