// SPDX-License-Identifier: Apache-2.0

//! Feeds in RSS, Atom and JSON, watched for new entries.
//!
//! An entry with its full text is a document. The page of a shorter one is visited instead. A feed
//! is asked for changes only, more often while it has news and more rarely while it has none.

use crate::{
    Batch, Source, SourceError, Step,
    crawl::{Visit, Visitor},
    http::{Validators, unix_seconds},
    signals::{Obeyed, Signals, licence_of_url},
};
use async_trait::async_trait;
use feed_rs::model::{Entry, Feed, Link, Text};
use pol_corpus::{Origin, RawDocument, Refusal};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::{
    collections::{BTreeMap, VecDeque},
    time::{Duration, SystemTime},
};
use url::Url;

/// Largest feed, in bytes.
const MAX_BYTES: u64 = 8 << 20;
/// Most entries of a feed that are read at one time.
const MAX_ENTRIES: usize = 1000;
/// Entries that are remembered of a short feed. Of others, twice as many are as it has.
const MIN_SEEN: usize = 100;
/// Longest address and name of an entry, in bytes.
const MAX_NAME_BYTES: usize = 2048;
/// Longest media type and statement of rights, in bytes.
const MAX_STATEMENT_BYTES: usize = 300;
/// Most redirects to a feed or a page.
const MAX_HOPS: usize = 5;
/// Most visits to a page whose server is busy or fails.
const MAX_TRIES: u32 = 3;
/// Time after which a page is visited again whose server fails.
const FAILURE_WAIT: Duration = Duration::from_secs(600);
/// Longest time until a page is visited again.
const MAX_PAGE_WAIT: Duration = Duration::from_secs(24 * 3600);

/// Entries whose pages are visited.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Follow {
    /// None: each entry is a document as it stands in the feed.
    Never,
    /// Entries that are shorter than a number of bytes.
    ShorterThan(usize),
    /// All.
    Always,
}

/// Options of a watch.
#[derive(Clone, Debug)]
pub struct FeedOptions {
    /// Name of the source.
    pub name: String,
    /// Feeds.
    pub feeds: Vec<Url>,
    /// Entries whose pages are visited.
    pub follow: Follow,
    /// Shortest time between two requests of a feed.
    pub min_interval: Duration,
    /// Longest time between two requests of a feed.
    pub max_interval: Duration,
}

impl FeedOptions {
    /// Creates the options of a polite watch of `feeds`.
    pub fn new(name: impl Into<String>, feeds: Vec<Url>) -> Self {
        Self {
            name: name.into(),
            feeds,
            follow: Follow::ShorterThan(1500),
            min_interval: Duration::from_secs(300),
            max_interval: Duration::from_secs(24 * 3600),
        }
    }
}

/// Watch of feeds.
pub struct Feeds {
    visitor: Visitor,
    options: FeedOptions,
    state: State,
}

/// State that later runs need.
#[derive(Debug, Default, Serialize, Deserialize)]
struct State {
    feeds: BTreeMap<String, FeedState>,
    /// Pages of entries to visit.
    pages: VecDeque<PendingPage>,
}

/// Page of an entry to visit.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "SavedPage")]
struct PendingPage {
    url: Url,
    /// Number of visits at which the server was busy or failed.
    tries: u32,
    /// Time of the next visit, in seconds since 1970.
    due: u64,
}

/// Forms of a [`PendingPage`] in a cursor.
#[derive(Deserialize)]
#[serde(untagged)]
enum SavedPage {
    /// Form in which pages had one visit only.
    Url(Url),
    Page {
        url: Url,
        tries: u32,
        due: u64,
    },
}

impl From<SavedPage> for PendingPage {
    fn from(page: SavedPage) -> Self {
        match page {
            SavedPage::Url(url) => Self::new(url),
            SavedPage::Page { url, tries, due } => Self { url, tries, due },
        }
    }
}

impl PendingPage {
    /// Creates a page that was not visited.
    fn new(url: Url) -> Self {
        Self { url, tries: 0, due: 0 }
    }
}

/// Result of a visit to the page of an entry.
enum PageVisit {
    /// The page is done with.
    Done(Batch),
    /// The page may be had after this time. The reason is for the last try.
    Later(Duration, String),
    /// The client's budget is used up.
    Spent,
}

/// State of a feed. Times are in seconds.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
struct FeedState {
    #[serde(flatten)]
    validators: Validators,
    interval: u64,
    /// Time of the next request, since 1970.
    due: u64,
    /// Hashes of the entries that were read, oldest first.
    seen: VecDeque<u64>,
}

/// Entry of a feed, as far as it matters here.
struct News {
    key: u64,
    page: Option<Url>,
    document: RawDocument,
}

impl Feeds {
    /// Creates a watch.
    ///
    /// # Errors
    ///
    /// Fails if there is no feed, or if the intervals contradict each other.
    pub fn new(visitor: Visitor, options: FeedOptions) -> Result<Self, SourceError> {
        let invalid = |reason: &str| Err(SourceError::InvalidOption(reason.to_owned()));
        if options.feeds.is_empty() {
            return invalid("a watch needs the address of a feed");
        }
        if options.min_interval.is_zero() || options.min_interval > options.max_interval {
            return invalid("the shortest interval of feeds must be above 0 and below the longest");
        }
        Ok(Self { visitor, options, state: State::default() })
    }

    /// Returns the feed that is to be asked next, and the time until then.
    fn next_feed(&mut self) -> Option<(Url, Duration)> {
        // A clock that was set back must not stop the watch for longer than an interval.
        let (now, longest) = (now(), self.options.max_interval.as_secs());
        for feed in self.state.feeds.values_mut() {
            feed.due = feed.due.min(now.saturating_add(longest));
        }
        let due = |url: &Url| self.state.feeds.get(url.as_str()).map_or(0, |feed| feed.due);
        let url = self.options.feeds.iter().min_by_key(|url| due(url))?;
        Some((url.clone(), Duration::from_secs(due(url).saturating_sub(now))))
    }

    /// Asks a feed for changes.
    async fn poll(&mut self, url: Url) -> Result<Step, SourceError> {
        let mut feed = self.state.feeds.get(url.as_str()).cloned().unwrap_or_default();
        let mut batch = Batch::default();
        let (min, max) = (self.options.min_interval.as_secs(), self.options.max_interval.as_secs());
        let interval = feed.interval.clamp(min.max(1), max.max(1));
        let longer = interval.saturating_add(interval / 2);
        let (interval, wait) = match self.request(&url, &feed.validators).await {
            Ok((news, validators, ttl)) => {
                feed.validators = validators;
                let has_news = self.take_news(news, &mut feed, &mut batch);
                let next = if has_news { interval / 2 } else { longer };
                (next.max(ttl), 0)
            }
            Err(Visit::Busy(time)) => {
                let seconds = time.as_secs();
                let reason = format!("its server is away or busy for {seconds} seconds");
                batch.refused.push(self.refusal(&url, reason));
                (interval, seconds)
            }
            Err(Visit::Spent) => return Ok(Step::Spent),
            Err(Visit::Refused(reason) | Visit::Failed(reason)) => {
                batch.refused.push(self.refusal(&url, reason));
                (interval.saturating_mul(2), 0)
            }
            Err(_) => (longer, 0),
        };
        feed.interval = interval.clamp(min, max);
        feed.due = now().saturating_add(feed.interval.max(wait.min(max)));
        self.state.feeds.insert(url.into(), feed);
        Ok(Step::Batch(batch))
    }

    /// Takes the entries over that are new. Returns `true` if there are any.
    fn take_news(&mut self, news: Vec<News>, feed: &mut FeedState, batch: &mut Batch) -> bool {
        let mut has_news = false;
        let remembered = MIN_SEEN.max(2 * news.len());
        for News { key, page, document } in news {
            if feed.seen.contains(&key) {
                continue;
            }
            has_news = true;
            feed.seen.push_back(key);
            let follows = match self.options.follow {
                Follow::Never => false,
                Follow::ShorterThan(bytes) => document.bytes.len() < bytes,
                Follow::Always => true,
            };
            match page.filter(|_| follows && self.state.pages.len() < MAX_ENTRIES) {
                Some(page) => self.state.pages.push_back(PendingPage::new(page)),
                None if !document.bytes.is_empty() => batch.documents.push(document),
                None => {}
            }
        }
        while feed.seen.len() > remembered {
            feed.seen.pop_front();
        }
        has_news
    }

    /// Requests the entries of a feed, oldest first, with the time for which they hold.
    async fn request(
        &self,
        url: &Url,
        validators: &Validators,
    ) -> Result<(Vec<News>, Validators, u64), Visit> {
        let mut address = url.clone();
        for _ in 0..=MAX_HOPS {
            let visit = self.visitor.fetch(&address, validators.clone(), Some(MAX_BYTES)).await;
            let response = match visit {
                Err(Visit::Moved(target)) => {
                    address = target;
                    continue;
                }
                visit => visit?.response,
            };
            // A feed is no page to index, which many sites say. What it says of mining counts.
            let mut signals = Signals::of_headers(&response.headers);
            let licence = signals.add_linked_licences(&response.headers, &response.url);
            let obeyed = Obeyed { noindex: false, ..self.visitor.obeyed };
            if let Some(reason) = signals.forbids_storing(&obeyed) {
                return Err(Visit::Refused(reason.to_owned()));
            }
            let validators = response.validators();
            let origin = Origin {
                source: self.options.name.clone(),
                location: response.url.to_string(),
                fetched: Some(response.fetched),
                licence,
                signals: signals.into_statements(),
                ..Origin::default()
            };
            let read = move || parse(&response.body, &origin);
            let read = tokio::task::spawn_blocking(read).await;
            let read = read.unwrap_or_else(|_| Err("it is no feed".to_owned()));
            return read.map(|(news, ttl)| (news, validators, ttl)).map_err(Visit::Refused);
        }
        Err(Visit::Refused("it redirects without an end".to_owned()))
    }

    /// Returns the position of the next page that is due, if there is one, and the time until the
    /// first of the others is.
    fn next_page(&mut self) -> (Option<usize>, Option<Duration>) {
        let now = now();
        // A clock that was set back must not stop a page for longer than the longest wait.
        let latest = now.saturating_add(MAX_PAGE_WAIT.as_secs());
        for page in &mut self.state.pages {
            page.due = page.due.min(latest);
        }
        let position = self.state.pages.iter().position(|page| page.due <= now);
        let due = self.state.pages.iter().map(|page| page.due).filter(|due| *due > now).min();
        (position, due.map(|due| Duration::from_secs(due.saturating_sub(now))))
    }

    /// Visits a page that is due.
    async fn visit_next(&mut self, position: usize) -> Step {
        let Some(page) = self.state.pages.get(position).cloned() else {
            return Step::Batch(Batch::default());
        };
        let visit = self.visit(&page.url).await;
        let mut batch = Batch::default();
        match visit {
            PageVisit::Done(documents) => batch = documents,
            PageVisit::Later(time, _) if page.tries.saturating_add(1) < MAX_TRIES => {
                let due = now().saturating_add(time.min(MAX_PAGE_WAIT).as_secs());
                let host = page.url.authority();
                let pages = self.state.pages.iter_mut();
                for other in pages.filter(|other| other.url.authority() == host) {
                    other.due = other.due.max(due);
                }
                let tries = page.tries + 1;
                self.state.pages.push_back(PendingPage { tries, due, ..page });
            }
            PageVisit::Later(_, reason) => batch.refused.push(self.refusal(&page.url, reason)),
            PageVisit::Spent => return Step::Spent,
        }
        self.state.pages.remove(position);
        Step::Batch(batch)
    }

    /// Visits the page of an entry.
    async fn visit(&self, page: &Url) -> PageVisit {
        let mut address = page.clone();
        let mut batch = Batch::default();
        for _ in 0..=MAX_HOPS {
            let visit = self.visitor.visit(&self.options.name, &address, Validators::default());
            match visit.await {
                Visit::Moved(target) => {
                    address = target;
                    continue;
                }
                Visit::Page(page) => match page.document {
                    Ok(document) => batch.documents.push(document),
                    Err(refusal) => batch.refused.push(refusal),
                },
                Visit::Spent => return PageVisit::Spent,
                Visit::Refused(reason) => batch.refused.push(self.refusal(page, reason)),
                Visit::Failed(reason) => return PageVisit::Later(FAILURE_WAIT, reason),
                Visit::Busy(time) => {
                    return PageVisit::Later(time, "its server is busy or fails".to_owned());
                }
                Visit::Unchanged => {
                    let reason = "its server sends no page".to_owned();
                    return PageVisit::Later(FAILURE_WAIT, reason);
                }
            }
            return PageVisit::Done(batch);
        }
        batch.refused.push(self.refusal(page, "it redirects without an end".to_owned()));
        PageVisit::Done(batch)
    }

    fn refusal(&self, url: &Url, reason: String) -> Refusal {
        let origin = Origin {
            source: self.options.name.clone(),
            location: url.to_string(),
            ..Origin::default()
        };
        Refusal { origin, reason }
    }
}

#[async_trait]
impl Source for Feeds {
    fn name(&self) -> &str {
        &self.options.name
    }

    fn resume(&mut self, cursor: Value) -> Result<(), String> {
        self.state = serde_json::from_value(cursor).map_err(|error| error.to_string())?;
        Ok(())
    }

    fn cursor(&self) -> Value {
        // A map with keys that are no strings is the only thing that JSON cannot express.
        serde_json::to_value(&self.state).unwrap_or_default()
    }

    async fn next(&mut self) -> Result<Step, SourceError> {
        let (page, page_wait) = self.next_page();
        if let Some(position) = page {
            return Ok(self.visit_next(position).await);
        }
        match self.next_feed() {
            Some((url, wait)) if wait.is_zero() => self.poll(url).await,
            Some((_, wait)) => Ok(Step::Wait(page_wait.map_or(wait, |time| time.min(wait)))),
            None => Ok(Step::Done),
        }
    }
}

/// Reads the entries of a feed, oldest first, and the time for which they hold, in seconds.
/// `origin` is that of the feed.
fn parse(body: &[u8], origin: &Origin) -> Result<(Vec<News>, u64), String> {
    let parser = feed_rs::parser::Builder::new()
        .base_uri(Some(&origin.location))
        // Generated names would differ from request to request.
        .id_generator(|_, _, _| String::new())
        .build();
    let feed = parser.parse(body).map_err(|error| format!("it is no feed: {error}"))?;
    let rights = rights(&feed);
    let entries = feed.entries.iter().take(MAX_ENTRIES).rev();
    let news = entries.map(|entry| news(entry, &rights, origin)).collect();
    // By RSS 2.0 in minutes.
    Ok((news, u64::from(feed.ttl.unwrap_or_default()).saturating_mul(60)))
}

/// Licence and statement of rights of a feed.
struct Rights {
    licence: Option<String>,
    statement: Option<String>,
}

fn rights(feed: &Feed) -> Rights {
    let statement = feed.rights.as_ref().map(|rights| rights.content.trim().to_owned());
    let licence = licence(&feed.links).or_else(|| licence_in(statement.as_deref()?));
    Rights { licence, statement }
}

fn licence(links: &[Link]) -> Option<String> {
    let licences = links.iter().filter(|link| link.rel.as_deref() == Some("license"));
    licences.filter_map(|link| Url::parse(&link.href).ok()).find_map(|url| licence_of_url(&url))
}

/// Returns the licence whose address is a word of `text`.
fn licence_in(text: &str) -> Option<String> {
    let mut words = text.split_whitespace().filter_map(|word| Url::parse(word).ok());
    words.find_map(|url| licence_of_url(&url))
}

/// Returns an entry as a document.
fn news(entry: &Entry, rights: &Rights, origin: &Origin) -> News {
    let is_page = |link: &&Link| matches!(link.rel.as_deref(), None | Some("alternate"));
    let page = entry.links.iter().find(is_page).and_then(|link| Url::parse(&link.href).ok());
    let page = page.filter(|page| {
        matches!(page.scheme(), "http" | "https") && page.as_str().len() <= MAX_NAME_BYTES
    });
    let content = || {
        let content = entry.content.as_ref()?;
        Some((content.content_type.to_string(), content.body.as_ref()?))
    };
    let text = |text: &Option<Text>| {
        text.as_ref().map(|text| (text.content_type.to_string(), text.content.clone()))
    };
    let (media, text) = content()
        .map(|(media, text)| (media, text.clone()))
        .or_else(|| text(&entry.summary))
        .or_else(|| text(&entry.title))
        .unwrap_or_default();
    let media = Some(format!("{media}; charset=utf-8")).filter(|m| m.len() <= MAX_STATEMENT_BYTES);
    let statement = entry.rights.as_ref().map(|rights| rights.content.trim().to_owned());
    let statement = statement.or_else(|| rights.statement.clone());
    let statement = statement.filter(|text| text.len() <= MAX_STATEMENT_BYTES);
    let mut signals = origin.signals.clone();
    signals.extend(statement.map(|text| format!("rights: {text}")));
    let location = page.as_ref().map_or(origin.location.clone(), Url::to_string);
    let name = if entry.id.is_empty() { &text } else { &entry.id };
    let key = blake3::hash(format!("{location}\n{name}").as_bytes());
    let has_name = page.is_none() && (1..=MAX_NAME_BYTES).contains(&entry.id.len());
    let part = if has_name { vec![entry.id.clone()] } else { vec![] };
    let licence = licence(&entry.links).or_else(|| rights.licence.clone());
    let licence = licence.or_else(|| origin.licence.clone());
    let origin = Origin { location, part, licence, signals, ..origin.clone() };
    let mut short = [0; 8];
    short.copy_from_slice(&key.as_bytes()[..8]);
    News {
        key: u64::from_be_bytes(short),
        page,
        document: RawDocument { origin, media, bytes: text.into_bytes() },
    }
}

/// Returns the time, in seconds since 1970.
fn now() -> u64 {
    unix_seconds(SystemTime::now())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const STARTS: [&str; 2] =
        ["<rss version='2.0'><channel>", "<feed xmlns='http://www.w3.org/2005/Atom'>"];

    #[test]
    fn long_names_do_not_reach_the_store() {
        let long = "x".repeat(1 << 20);
        let feed = format!(
            "<rss version='2.0'><channel><title>t</title><item><guid \
             isPermaLink='false'>{long}</guid><description>text</description></item><item>\
             <link>http://example.org/{long}</link><title>title</title></item></channel></rss>"
        );
        let origin = Origin { location: "http://example.org/feed".to_owned(), ..Origin::default() };
        let (news, _) = parse(feed.as_bytes(), &origin).unwrap();
        assert_eq!(news.len(), 2);
        for entry in &news {
            assert_eq!(entry.document.origin, origin);
            assert_eq!(entry.page, None);
        }
        assert_ne!(news[0].key, news[1].key);
    }

    #[test]
    fn pages_of_earlier_versions_are_read() {
        let old = r#"{"feeds":{},"pages":["http://example.org/a"]}"#;
        let mut state: State = serde_json::from_str(old).unwrap();
        let url = Url::parse("http://example.org/a").unwrap();
        assert_eq!(state.pages, [PendingPage::new(url.clone())]);
        state.pages[0] = PendingPage { url, tries: 2, due: 7 };
        let saved = serde_json::to_value(&state).unwrap();
        let read: State = serde_json::from_value(saved).unwrap();
        assert_eq!(read.pages, state.pages);
    }

    proptest! {
        #[test]
        fn any_bytes_are_read(bytes: Vec<u8>, xml in "[<>/!a-z\\[\\]&;:'= ]{0,80}") {
            let origin = Origin { location: "http://example.org/".to_owned(), ..Origin::default() };
            let _ = parse(&bytes, &origin);
            for start in STARTS {
                let _ = parse(format!("{start}{xml}").as_bytes(), &origin);
            }
        }
    }
}
