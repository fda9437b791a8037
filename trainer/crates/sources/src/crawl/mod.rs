// SPDX-License-Identifier: Apache-2.0

//! Crawler of web sites.
//!
//! A crawl starts at its seeds and the sitemaps of their sites, and follows links within its scope.
//! Hosts take turns. Each is visited at its own pace and within its own budget.
//!
//! Sites that have endlessly many pages are bounded in several ways: by depth, by the number of
//! pages of a host, by the number of addresses that differ in numbers or values of a query only,
//! and by signs in the address. A host that fails several times in a row rests for ten minutes, as
//! the own line may be the reason, and is left after three such rests.

mod address;
mod frontier;
mod page;
mod sitemap;
mod visit;

pub use visit::{Page, Visit, Visitor};

use crate::{Batch, Source, SourceError, Step, http::Validators};
use address::normalise;
use async_trait::async_trait;
use frontier::{Entry, Frontier, Limits};
use pol_corpus::{Origin, Refusal};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::{
    collections::{BTreeMap, BTreeSet},
    time::{Duration, SystemTime},
};
use tokio::{task::JoinSet, time::Instant};
use url::Url;

/// Most redirects in a row, and most sitemaps within each other.
const MAX_HOPS: u32 = 5;
/// Most visits to a page whose server is busy.
const MAX_TRIES: u32 = 3;
/// Most bytes of the cursor for pages that are visited again.
const MAX_KNOWN_BYTES: usize = 5 << 20;
/// Longest time that all hosts may rest before the caller decides whether to wait.
const MAX_SLEEP: Duration = Duration::from_secs(30);
/// Longest time for which a server is left alone.
const MAX_REST: Duration = Duration::from_secs(24 * 3600);
/// Time for which a host is left alone that fails again and again.
const FAILURE_REST: Duration = Duration::from_secs(600);
/// Most such rests of a host without a visit between them that succeeds.
const MAX_FAILURE_RESTS: u32 = 3;
/// Most hosts whose rests are part of the cursor, which bounds its size.
const MAX_RESTS: usize = 1000;

/// Hosts to which links are followed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Scope {
    /// Hosts of the seeds.
    Hosts,
    /// Hosts of the seeds, and all hosts below them.
    Sites,
    /// All hosts.
    Anywhere,
}

/// Options of a crawl.
#[derive(Clone, Debug)]
pub struct CrawlOptions {
    /// Name of the source.
    pub name: String,
    /// Pages to start at.
    pub seeds: Vec<Url>,
    /// Sitemaps to start at, beside those that robots.txt names.
    pub sitemaps: Vec<Url>,
    /// Hosts to which links are followed.
    pub scope: Scope,
    /// Beginnings of the paths that are followed. All are, if there is none.
    pub path_prefixes: Vec<String>,
    /// Most links from a seed to a page.
    pub max_depth: u32,
    /// Most visits.
    pub max_pages: u64,
    /// Most visits to a host.
    pub max_pages_per_host: u32,
    /// Most pages whose addresses differ in numbers or values of a query only.
    pub max_pages_per_shape: u32,
    /// Most pages that wait for a visit.
    pub max_queued: usize,
    /// Most visits at one time.
    pub concurrency: usize,
    /// Most visits to a host at one time. The client has a limit of its own.
    pub host_concurrency: usize,
    /// Failures in a row after which a host rests, and is left at last.
    pub max_failures: u32,
    /// Time from the begin of a round to the next, in which all pages are asked for changes. There
    /// is one round only if there is none.
    pub revisit: Option<Duration>,
}

impl CrawlOptions {
    /// Creates the options of a crawl of the sites that `seeds` are on.
    pub fn new(name: impl Into<String>, seeds: Vec<Url>) -> Self {
        Self {
            name: name.into(),
            seeds,
            sitemaps: Vec::new(),
            scope: Scope::Hosts,
            path_prefixes: Vec::new(),
            max_depth: 8,
            max_pages: 10_000,
            max_pages_per_host: 5_000,
            max_pages_per_shape: 2_000,
            max_queued: 20_000,
            concurrency: 16,
            host_concurrency: 1,
            max_failures: 5,
            revisit: None,
        }
    }
}

/// Crawl of web sites.
pub struct Crawl {
    visitor: Visitor,
    options: CrawlOptions,
    state: State,
    /// Times until which hosts are left alone.
    rests: BTreeMap<String, Instant>,
    /// Pages of hosts that are left alone for long, with the reason.
    resting: Vec<Refusal>,
    /// Failed visits to hosts in a row.
    failures: BTreeMap<String, Vec<Entry>>,
    visits: JoinSet<(Entry, Outcome)>,
    /// Bytes that the known pages take in the cursor.
    known_bytes: usize,
}

/// State of a crawl that later runs need.
#[derive(Debug, Default, Serialize, Deserialize)]
struct State {
    frontier: Frontier,
    /// Pages of earlier visits, if they are visited again.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    known: BTreeMap<String, Known>,
    /// Time at which the round began, in seconds since 1970.
    #[serde(default)]
    begun: u64,
    /// Rests of hosts.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    rests: BTreeMap<String, Rest>,
}

/// Rest of a host.
#[derive(Debug, Default, Serialize, Deserialize)]
struct Rest {
    /// Time until which the host is left alone, in seconds since 1970.
    end: u64,
    /// Number of rests since the last visit that succeeded, for failures.
    failures: u32,
}

#[derive(Debug, Serialize, Deserialize)]
struct Known {
    depth: u32,
    #[serde(flatten)]
    validators: Validators,
}

impl Known {
    /// Returns an estimate of the bytes that it takes in the cursor.
    fn bytes(&self, url: &str) -> usize {
        let Validators { etag, last_modified } = &self.validators;
        let text = |text: &Option<String>| text.as_ref().map_or(0, String::len);
        url.len() + text(etag) + text(last_modified) + 64
    }
}

/// Result of the visit to an entry.
enum Outcome {
    Page(Visit),
    Sitemap(Result<sitemap::Sitemap, Visit>),
}

impl Crawl {
    /// Creates a crawl.
    ///
    /// # Errors
    ///
    /// Fails if there is nothing to start at.
    pub fn new(visitor: Visitor, options: CrawlOptions) -> Result<Self, SourceError> {
        if options.seeds.is_empty() && options.sitemaps.is_empty() {
            return Err(SourceError::InvalidOption(
                "a crawl needs a page or a sitemap to start at".to_owned(),
            ));
        }
        let mut crawl = Self {
            visitor,
            options,
            state: State { begun: now(), ..State::default() },
            rests: BTreeMap::new(),
            resting: Vec::new(),
            failures: BTreeMap::new(),
            visits: JoinSet::new(),
            known_bytes: 0,
        };
        crawl.offer_seeds();
        Ok(crawl)
    }

    fn limits(&self) -> Limits {
        Limits {
            pages_per_host: self.options.max_pages_per_host,
            pages_per_shape: self.options.max_pages_per_shape,
            queued: self.options.max_queued,
        }
    }

    fn offer_seeds(&mut self) {
        let limits = self.limits();
        for url in self.options.seeds.clone() {
            self.state.frontier.offer(Entry::new(normalise(url)), &limits);
        }
        for url in self.options.sitemaps.clone() {
            self.offer_sitemap(url, 0);
        }
    }

    fn offer_sitemap(&mut self, url: Url, hops: u32) {
        let url = normalise(url);
        if hops <= MAX_HOPS && self.has_host(&url) {
            let entry = Entry { hops, is_sitemap: true, ..Entry::new(url) };
            let limits = self.limits();
            self.state.frontier.offer(entry, &limits);
        }
    }

    fn offer_page(&mut self, url: Url, depth: u32, hops: u32) -> bool {
        let path = url.path();
        let prefixes = &self.options.path_prefixes;
        let is_inside = prefixes.is_empty() || prefixes.iter().any(|start| path.starts_with(start));
        if depth > self.options.max_depth || !is_inside || !self.has_host(&url) {
            return false;
        }
        let limits = self.limits();
        self.state.frontier.offer(Entry { depth, hops, ..Entry::new(url) }, &limits)
    }

    /// Returns `true` if the host of `url` is within the scope.
    fn has_host(&self, url: &Url) -> bool {
        let mut roots = self.options.seeds.iter().chain(&self.options.sitemaps);
        matches!(url.scheme(), "http" | "https")
            && match self.options.scope {
                Scope::Hosts => roots.any(|root| root.authority() == url.authority()),
                Scope::Sites => roots.any(|root| {
                    let below = root.domain().zip(url.domain()).is_some_and(|(root, host)| {
                        host.strip_suffix(root).is_some_and(|rest| rest.ends_with('.'))
                    });
                    below || root.authority() == url.authority()
                }),
                Scope::Anywhere => true,
            }
    }

    /// Leaves a host alone for `time`, also in later runs. Returns its rest, if there is room for
    /// it in the cursor.
    fn rest(&mut self, host: &str, time: Duration) -> Option<&mut Rest> {
        let time = time.min(MAX_REST);
        self.rests.insert(host.to_owned(), Instant::now() + time);
        let (now, rests) = (now(), &mut self.state.rests);
        rests.retain(|_, rest| rest.end > now || rest.failures > 0);
        if rests.len() >= MAX_RESTS && !rests.contains_key(host) {
            return None;
        }
        let rest = rests.entry(host.to_owned()).or_default();
        rest.end = now.saturating_add(time.as_secs());
        Some(rest)
    }

    /// Leaves the hosts alone that were so when the state was saved.
    fn restore_rests(&mut self) {
        let now = now();
        // A clock that was set back must not stop the crawl for longer than the longest rest.
        let latest = now.saturating_add(MAX_REST.as_secs());
        for (host, rest) in &mut self.state.rests {
            rest.end = rest.end.min(latest);
            let time = Duration::from_secs(rest.end.saturating_sub(now));
            self.rests.insert(host.clone(), Instant::now() + time);
        }
    }

    /// Begins as many visits as may run at one time.
    fn begin_visits(&mut self) {
        let now = Instant::now();
        self.rests.retain(|_, end| *end > now);
        while self.visits.len() < self.options.concurrency.max(1)
            && self.state.frontier.visits() < self.options.max_pages
        {
            let rests = |host: &str| self.rests.contains_key(host);
            let concurrency = self.options.host_concurrency.max(1);
            let Some(entry) = self.state.frontier.take(concurrency, rests) else { return };
            let validators =
                self.state.known.get(entry.url.as_str()).map(|known| known.validators.clone());
            let (visitor, source) = (self.visitor.clone(), self.options.name.clone());
            self.visits.spawn(async move {
                let outcome = visit(&visitor, &source, &entry, validators.unwrap_or_default());
                let outcome = outcome.await;
                (entry, outcome)
            });
        }
    }

    /// Takes the result of a visit over.
    fn absorb(&mut self, entry: Entry, outcome: Outcome) -> Step {
        let mut batch = Batch::default();
        match outcome {
            Outcome::Page(Visit::Page(page)) => self.absorb_page(&entry, *page, &mut batch),
            Outcome::Sitemap(Ok(sitemap)) => {
                self.note_success(&entry);
                for url in sitemap.sitemaps {
                    self.offer_sitemap(url, entry.hops + 1);
                }
                for url in sitemap.pages {
                    self.offer_page(normalise(url), entry.depth.saturating_add(1), 0);
                }
            }
            Outcome::Page(visit) | Outcome::Sitemap(Err(visit)) => match visit {
                Visit::Page(_) | Visit::Unchanged => self.note_success(&entry),
                Visit::Moved(target) => {
                    self.note_success(&entry);
                    self.absorb_redirect(&entry, target, &mut batch);
                }
                Visit::Busy(time) if entry.tries < MAX_TRIES => {
                    if time > MAX_SLEEP {
                        let seconds = time.as_secs();
                        let reason = format!("its server is away or busy for {seconds} seconds");
                        self.resting.push(self.refusal(&entry, reason));
                    }
                    self.rest(entry.url.authority(), time);
                    let tries = entry.tries + 1;
                    self.state.frontier.put_back(Entry { tries, ..entry });
                    return Step::Batch(batch);
                }
                Visit::Busy(_) => {
                    self.absorb_failure(&entry, "its server is busy or fails", &mut batch)
                }
                Visit::Failed(reason) => self.absorb_failure(&entry, &reason, &mut batch),
                Visit::Refused(reason) => batch.refused.push(self.refusal(&entry, reason)),
                Visit::Spent => {
                    self.state.frontier.put_back(entry);
                    return Step::Spent;
                }
            },
        }
        self.state.frontier.finish(&entry);
        Step::Batch(batch)
    }

    fn absorb_page(&mut self, entry: &Entry, page: Page, batch: &mut Batch) {
        self.note_success(entry);
        let Page { document, validators, links, canonical, sitemaps } = page;
        for link in links {
            self.offer_page(link, entry.depth.saturating_add(1), 0);
        }
        for sitemap in sitemaps {
            self.offer_sitemap(sitemap, 0);
        }
        self.remember(entry, validators);
        let other = canonical.filter(|canonical| *canonical != entry.url);
        match (document, other) {
            (Err(refusal), _) => batch.refused.push(refusal),
            (Ok(_), Some(other)) if !self.state.frontier.mark(&other) => {
                batch.refused.push(self.refusal(entry, format!("it is a copy of {other}")));
            }
            (Ok(document), _) => batch.documents.push(document),
        }
    }

    fn absorb_redirect(&mut self, entry: &Entry, target: Url, batch: &mut Batch) {
        let target = normalise(target);
        let hops = entry.hops + 1;
        if target == entry.url || hops > MAX_HOPS {
            let reason = format!("it redirects without an end, at last to {target}");
            batch.refused.push(self.refusal(entry, reason));
        } else if !self.has_host(&target) {
            let reason = format!("it redirects to {target}, outside of the crawl");
            batch.refused.push(self.refusal(entry, reason));
        } else if entry.is_sitemap {
            self.offer_sitemap(target, hops);
        } else {
            self.offer_page(target, entry.depth, hops);
        }
    }

    fn absorb_failure(&mut self, entry: &Entry, reason: &str, batch: &mut Batch) {
        batch.refused.push(self.refusal(entry, reason.to_owned()));
        self.remember_unread(entry);
        let host = entry.url.authority();
        let row = self.failures.entry(host.to_owned()).or_default();
        row.push(entry.clone());
        if row.len() as u64 >= u64::from(self.options.max_failures) {
            let row = self.failures.remove(host).unwrap_or_default();
            self.absorb_outage(entry, row, batch);
        }
    }

    /// Lets the host of `entry` rest, which failed at all visits of a `row`, or leaves it.
    fn absorb_outage(&mut self, entry: &Entry, row: Vec<Entry>, batch: &mut Batch) {
        let host = entry.url.authority();
        let rests = self.state.rests.get(host).map_or(0, |rest| rest.failures);
        if rests < MAX_FAILURE_RESTS
            && let Some(rest) = self.rest(host, FAILURE_REST)
        {
            rest.failures += 1;
            for failed in row.into_iter().filter(|failed| failed.tries < MAX_TRIES) {
                let tries = failed.tries + 1;
                self.state.frontier.finish(&failed);
                self.state.frontier.requeue(Entry { tries, ..failed });
            }
            return;
        }
        self.state.rests.remove(host);
        let left = self.state.frontier.drop_host(host);
        for entry in &left {
            self.remember_unread(entry);
        }
        let left = left.len();
        let reason = format!("its host fails again and again: {left} further pages left out");
        batch.refused.push(self.refusal(entry, reason));
    }

    /// Notes that the host of `entry` does not fail.
    fn note_success(&mut self, entry: &Entry) {
        let host = entry.url.authority();
        self.failures.remove(host);
        if let Some(rest) = self.state.rests.get_mut(host) {
            rest.failures = 0;
        }
    }

    /// Remembers a page for the next round.
    fn remember(&mut self, entry: &Entry, validators: Validators) {
        let known = Known { depth: entry.depth, validators };
        if self.options.revisit.is_some() && self.known_bytes < MAX_KNOWN_BYTES {
            self.known_bytes += known.bytes(entry.url.as_str());
            if let Some(old) = self.state.known.insert(entry.url.to_string(), known) {
                self.known_bytes -= old.bytes(entry.url.as_str());
            }
        }
    }

    /// Remembers a page that was not read, so that the next round asks for it also where the pages
    /// that link to it have not changed.
    fn remember_unread(&mut self, entry: &Entry) {
        if !entry.is_sitemap && !self.state.known.contains_key(entry.url.as_str()) {
            self.remember(entry, Validators::default());
        }
    }

    fn refusal(&self, entry: &Entry, reason: String) -> Refusal {
        let origin = Origin {
            source: self.options.name.clone(),
            location: entry.url.to_string(),
            ..Origin::default()
        };
        Refusal { origin, reason }
    }

    /// Returns the step after the last visit of a round.
    fn end_round(&mut self) -> Option<Step> {
        let Some(interval) = self.options.revisit else { return Some(Step::Done) };
        let (interval, now) = (interval.as_secs().max(1), now());
        // A clock that was set back must not stop the crawl for longer than a round.
        self.state.begun = self.state.begun.min(now);
        let wait = self.state.begun.saturating_add(interval).saturating_sub(now);
        if wait > 0 {
            return Some(Step::Wait(Duration::from_secs(wait)));
        }
        self.state.begun = now;
        self.state.frontier = Frontier::default();
        self.state.rests.values_mut().for_each(|rest| rest.failures = 0);
        let known: BTreeSet<_> =
            self.state.known.iter().map(|(url, known)| (known.depth, url.clone())).collect();
        let limits = self.limits();
        for (depth, url) in known {
            if let Ok(url) = Url::parse(&url) {
                self.state.frontier.offer(Entry { depth, ..Entry::new(url) }, &limits);
            }
        }
        self.offer_seeds();
        None
    }
}

/// Visits the page or sitemap of an entry.
async fn visit(visitor: &Visitor, source: &str, entry: &Entry, validators: Validators) -> Outcome {
    if !entry.is_sitemap {
        return Outcome::Page(visitor.visit(source, &entry.url, validators).await);
    }
    let fetched = visitor.fetch(&entry.url, validators, Some(sitemap::MAX_BYTES)).await;
    Outcome::Sitemap(match fetched {
        Err(visit) => Err(visit),
        Ok(fetched) => {
            let read = move || sitemap::read(&fetched.response.body);
            let read = tokio::task::spawn_blocking(read).await;
            let read = read.unwrap_or_else(|_| Err("it is no sitemap".to_owned()));
            read.map_err(Visit::Refused)
        }
    })
}

/// Returns the time, in seconds since 1970.
fn now() -> u64 {
    crate::http::unix_seconds(SystemTime::now())
}

#[async_trait]
impl Source for Crawl {
    fn name(&self) -> &str {
        &self.options.name
    }

    fn resume(&mut self, cursor: Value) -> Result<(), String> {
        self.state = serde_json::from_value(cursor).map_err(|error| error.to_string())?;
        self.state.frontier.restart();
        self.restore_rests();
        let known = self.state.known.iter();
        self.known_bytes = known.map(|(url, known)| known.bytes(url)).sum();
        self.offer_seeds();
        Ok(())
    }

    fn cursor(&self) -> Value {
        // A map with keys that are no strings is the only thing that JSON cannot express.
        serde_json::to_value(&self.state).unwrap_or_default()
    }

    async fn next(&mut self) -> Result<Step, SourceError> {
        loop {
            self.begin_visits();
            let is_spent = self.state.frontier.visits() >= self.options.max_pages;
            let wakes = self.state.frontier.waiting_hosts().filter_map(|host| self.rests.get(host));
            let wake = wakes.min().copied().filter(|_| !is_spent);
            let rest = wake.map(|wake| wake.saturating_duration_since(Instant::now()));
            if let Some(rest) = rest.filter(|rest| self.visits.is_empty() && *rest > MAX_SLEEP) {
                let refused = std::mem::take(&mut self.resting);
                let is_told = refused.is_empty();
                let told = Step::Batch(Batch { refused, ..Batch::default() });
                return Ok(if is_told { Step::Wait(rest) } else { told });
            }
            tokio::select! {
                Some(visit) = self.visits.join_next() => {
                    // Visits neither panic nor are they cancelled: pages are parsed elsewhere.
                    if let Ok((entry, outcome)) = visit {
                        return Ok(self.absorb(entry, outcome));
                    }
                }
                () = tokio::time::sleep_until(wake.unwrap_or_else(Instant::now)),
                    if wake.is_some() => {}
                else => if let Some(step) = self.end_round() {
                    return Ok(step);
                },
            }
        }
    }
}
