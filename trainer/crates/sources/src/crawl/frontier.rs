// SPDX-License-Identifier: Apache-2.0

//! Pages that a crawl still has to visit, and those that it knows.

use super::address::{shape, trap};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    fmt::Write as _,
    ops::Bound,
};
use url::Url;

/// Most addresses that are remembered, of 8 bytes each.
const MAX_SEEN: usize = 1 << 17;
/// Most bytes of addresses that wait. With the others, this keeps the cursor below 16 MiB, the
/// longest that a store takes.
const MAX_QUEUED_BYTES: usize = 5 << 20;
/// Bytes of an entry in the cursor beside its address.
const ENTRY_BYTES: usize = 64;
/// Most shapes whose addresses are counted.
const MAX_SHAPES: usize = 1 << 15;
/// Most hosts.
const MAX_HOSTS: usize = 10_000;

/// Limits of a crawl.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limits {
    pub(super) pages_per_host: u32,
    pub(super) pages_per_shape: u32,
    pub(super) queued: usize,
}

/// Page to visit.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Entry {
    pub(super) url: Url,
    /// Number of links from a seed.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub(super) depth: u32,
    /// Number of redirects, or of sitemaps within each other, that led here.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub(super) hops: u32,
    /// Number of visits at which the server was busy or failed.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub(super) tries: u32,
    /// The address is one of a sitemap.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(super) is_sitemap: bool,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "the signature that serde asks for")]
fn is_zero(number: &u32) -> bool {
    *number == 0
}

impl Entry {
    /// Creates an entry for a page to which nothing has led yet.
    pub(super) fn new(url: Url) -> Self {
        Self { url, depth: 0, hops: 0, tries: 0, is_sitemap: false }
    }
}

/// Queues of all hosts. Its serialised form holds all that a later run needs.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Frontier {
    hosts: BTreeMap<String, Host>,
    /// Fingerprints of all addresses that were ever queued.
    seen: Fingerprints,
    /// Number of addresses for each shape, by its fingerprint.
    shapes: BTreeMap<u64, u32>,
    /// Number of visits.
    visits: u64,
    /// Host that was served last.
    last: String,
    /// Size of all queues.
    #[serde(skip)]
    queued: Size,
}

/// Number of entries, and their bytes in the cursor.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Size {
    entries: usize,
    bytes: usize,
}

impl Size {
    fn add(&mut self, entry: &Entry) {
        self.entries += 1;
        self.bytes += entry.url.as_str().len() + ENTRY_BYTES;
    }

    fn remove(&mut self, entry: &Entry) {
        self.entries = self.entries.saturating_sub(1);
        self.bytes = self.bytes.saturating_sub(entry.url.as_str().len() + ENTRY_BYTES);
    }
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Host {
    /// Visits that were begun.
    visits: u32,
    queue: VecDeque<Entry>,
    /// Visits under way. After a kill they are to be done again.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    active: Vec<Entry>,
}

impl Frontier {
    /// Queues a page, unless it is known, looks like a trap, or exceeds a limit. Returns `true` if
    /// it was queued.
    pub(super) fn offer(&mut self, entry: Entry, limits: &Limits) -> bool {
        let host = entry.url.authority();
        let is_full = self.queued.entries >= limits.queued
            || self.queued.bytes >= MAX_QUEUED_BYTES
            || self.seen.0.len() >= MAX_SEEN
            || (self.hosts.len() >= MAX_HOSTS && !self.hosts.contains_key(host))
            || self.hosts.get(host).is_some_and(|host| {
                u64::from(host.visits) + host.queue.len() as u64 >= limits.pages_per_host.into()
            });
        if is_full || trap(&entry.url).is_some() || self.seen.0.contains(&key(entry.url.as_str())) {
            return false;
        }
        if let Some(shape) = shape(&entry.url).map(|shape| key(&shape))
            && (self.shapes.len() < MAX_SHAPES || self.shapes.contains_key(&shape))
        {
            let count = self.shapes.entry(shape).or_default();
            if *count >= limits.pages_per_shape {
                return false;
            }
            *count += 1;
        }
        self.mark(&entry.url);
        self.queued.add(&entry);
        let queue = &mut self.hosts.entry(host.to_owned()).or_default().queue;
        // Sitemaps name the pages of a site better than its links.
        if entry.is_sitemap {
            queue.push_front(entry)
        } else {
            queue.push_back(entry)
        }
        true
    }

    /// Remembers a page, if there is room for one. Returns `true` if it is new.
    pub(super) fn mark(&mut self, url: &Url) -> bool {
        let key = key(url.as_str());
        let is_new = !self.seen.0.contains(&key);
        if is_new && self.seen.0.len() < MAX_SEEN {
            self.seen.0.insert(key);
        }
        is_new
    }

    /// Begins the next visit, at the next host that has less than `concurrency` visits under way
    /// and does not rest.
    pub(super) fn take(
        &mut self,
        concurrency: usize,
        rests: impl Fn(&str) -> bool,
    ) -> Option<Entry> {
        let is_ready = |(name, host): &(&String, &Host)| {
            !host.queue.is_empty() && host.active.len() < concurrency && !rests(name)
        };
        let last = self.last.as_str();
        let after = self.hosts.range::<str, _>((Bound::Excluded(last), Bound::Unbounded));
        let until = self.hosts.range::<str, _>((Bound::Unbounded, Bound::Included(last)));
        let mut hosts = after.chain(until);
        let name = hosts.find(is_ready)?.0.clone();
        let host = self.hosts.get_mut(&name)?;
        let entry = host.queue.pop_front()?;
        self.queued.remove(&entry);
        host.active.push(entry.clone());
        host.visits = host.visits.saturating_add(1);
        self.visits = self.visits.saturating_add(1);
        self.last = name;
        Some(entry)
    }

    /// Ends a visit.
    pub(super) fn finish(&mut self, entry: &Entry) {
        if let Some(host) = self.hosts.get_mut(entry.url.authority()) {
            host.active.retain(|active| active.url != entry.url);
        }
    }

    /// Ends a visit that has to be repeated.
    pub(super) fn put_back(&mut self, entry: Entry) {
        self.finish(&entry);
        if let Some(host) = self.hosts.get_mut(entry.url.authority()) {
            self.queued.add(&entry);
            host.queue.push_front(entry);
        }
    }

    /// Queues a page whose visit has ended for another one, behind all others of its host.
    pub(super) fn requeue(&mut self, entry: Entry) {
        if let Some(host) = self.hosts.get_mut(entry.url.authority()) {
            self.queued.add(&entry);
            host.queue.push_back(entry);
        }
    }

    /// Leaves out all that is queued for a host, and returns it.
    pub(super) fn drop_host(&mut self, host: &str) -> VecDeque<Entry> {
        let queue = self.hosts.get_mut(host).map(|host| std::mem::take(&mut host.queue));
        let queue = queue.unwrap_or_default();
        queue.iter().for_each(|entry| self.queued.remove(entry));
        queue
    }

    /// Completes a frontier that was read: visits that a killed run had begun are queued again, and
    /// count as not begun, so that stops use up no limit.
    pub(super) fn restart(&mut self) {
        self.queued = Size::default();
        for host in self.hosts.values_mut() {
            for entry in host.active.drain(..).rev() {
                host.queue.push_front(entry);
                host.visits = host.visits.saturating_sub(1);
                self.visits = self.visits.saturating_sub(1);
            }
            host.queue.iter().for_each(|entry| self.queued.add(entry));
        }
    }

    /// Returns the hosts that have pages to visit.
    pub(super) fn waiting_hosts(&self) -> impl Iterator<Item = &str> {
        self.hosts.iter().filter(|(_, host)| !host.queue.is_empty()).map(|(name, _)| name.as_str())
    }

    /// Returns the number of visits that were begun.
    pub(super) fn visits(&self) -> u64 {
        self.visits
    }
}

/// Returns the fingerprint of a text.
fn key(text: &str) -> u64 {
    let hash = blake3::hash(text.as_bytes());
    let mut key = [0; 8];
    key.copy_from_slice(&hash.as_bytes()[..8]);
    u64::from_be_bytes(key)
}

/// Set of fingerprints, written as one string of hexadecimal digits.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Fingerprints(BTreeSet<u64>);

impl Serialize for Fingerprints {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut text = String::with_capacity(16 * self.0.len());
        for fingerprint in &self.0 {
            let _ = write!(text, "{fingerprint:016x}");
        }
        serializer.serialize_str(&text)
    }
}

impl<'de> Deserialize<'de> for Fingerprints {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let digits = text.as_bytes().chunks(16);
        let parse = |digits: &[u8]| {
            let digits = std::str::from_utf8(digits).ok().filter(|digits| digits.len() == 16)?;
            u64::from_str_radix(digits, 16).ok()
        };
        let set = digits.map(parse).collect::<Option<_>>();
        set.map(Self).ok_or_else(|| de::Error::custom("its fingerprints are no hexadecimal digits"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: Limits = Limits { pages_per_host: 100, pages_per_shape: 10, queued: 1000 };

    fn entry(url: &str) -> Entry {
        Entry::new(Url::parse(url).unwrap())
    }

    fn take(frontier: &mut Frontier) -> Option<String> {
        frontier.take(1, |_| false).map(|entry| entry.url.into())
    }

    #[test]
    fn each_page_is_queued_once_and_hosts_take_turns() {
        let mut frontier = Frontier::default();
        for url in ["http://a/1", "http://a/2", "http://a/1", "http://b/1", "http://c/1"] {
            frontier.offer(entry(url), &LIMITS);
        }
        assert_eq!(frontier.queued.entries, 4);
        assert_eq!(take(&mut frontier).unwrap(), "http://a/1");
        assert_eq!(take(&mut frontier).unwrap(), "http://b/1");
        assert_eq!(frontier.take(1, |host| host == "c"), None);
        assert_eq!(take(&mut frontier).unwrap(), "http://c/1");
        assert_eq!(take(&mut frontier), None);
        frontier.finish(&entry("http://a/1"));
        assert_eq!(take(&mut frontier).unwrap(), "http://a/2");
    }

    #[test]
    fn limits_hold() {
        let mut frontier = Frontier::default();
        let numbered =
            (0..50).filter(|n| frontier.offer(entry(&format!("http://a/p/{n}")), &LIMITS));
        assert_eq!(numbered.count(), 10);
        let name = |n: u32| {
            let letters = [n / 26, n % 26].map(|n| char::from(b'a' + n as u8));
            String::from_iter(letters)
        };
        let named = |host: &str, frontier: &mut Frontier| {
            let urls = (0..600).map(|n| format!("http://{host}/{}", name(n)));
            urls.filter(|url| frontier.offer(entry(url), &LIMITS)).count()
        };
        assert_eq!(named("a", &mut frontier), 90);
        for host in ["b", "c", "d", "e", "f", "g", "h", "i", "j"] {
            assert_eq!(named(host, &mut frontier), 100);
        }
        assert_eq!(named("k", &mut frontier), 0);
        assert_eq!(frontier.queued.entries, 1000);
        assert_eq!(frontier.drop_host("b").len(), 100);
        assert_eq!(frontier.queued.entries, 900);
        assert!(!Frontier::default().offer(entry("http://a/x/x/x"), &LIMITS));
    }

    #[test]
    fn a_restored_frontier_repeats_the_visits_under_way() {
        let mut frontier = Frontier::default();
        for url in ["http://a/1", "http://a/2", "http://b/1"] {
            frontier.offer(Entry { depth: 3, ..entry(url) }, &LIMITS);
        }
        take(&mut frontier);
        take(&mut frontier);
        let json = serde_json::to_string(&frontier).unwrap();
        let mut restored: Frontier = serde_json::from_str(&json).unwrap();
        restored.restart();
        frontier.restart();
        assert_eq!(restored, frontier);
        assert_eq!((restored.queued.entries, restored.visits()), (3, 0));
        assert!(!restored.offer(entry("http://a/1"), &LIMITS));
        assert_eq!(restored.take(1, |_| false).unwrap().depth, 3);
    }

    #[test]
    fn a_page_that_is_queued_again_is_the_last() {
        let mut frontier = Frontier::default();
        for url in ["http://a/1", "http://a/2"] {
            frontier.offer(entry(url), &LIMITS);
        }
        let first = frontier.take(1, |_| false).unwrap();
        frontier.finish(&first);
        frontier.requeue(first);
        assert_eq!(frontier.queued.entries, 2);
        assert_eq!(take(&mut frontier).unwrap(), "http://a/2");
        frontier.finish(&entry("http://a/2"));
        assert_eq!(take(&mut frontier).unwrap(), "http://a/1");
    }

    #[test]
    fn damaged_fingerprints_are_refused() {
        for seen in ["0", "zzzzzzzzzzzzzzzz", "00000000000000000"] {
            let json =
                format!(r#"{{"hosts":{{}},"seen":"{seen}","shapes":{{}},"visits":0,"last":""}}"#);
            let error = serde_json::from_str::<Frontier>(&json).unwrap_err();
            assert!(error.to_string().contains("fingerprints"), "{error}");
        }
    }
}
