// SPDX-License-Identifier: Apache-2.0

//! Bounds of the values of suppliers.

use super::{
    super::bounds::{Mistakes, check_path, check_range},
    CrawlConfig, DocumentationConfig, FeedsConfig, MastodonConfig, NewsConfig, PubmedConfig,
    SearchConfig, StackExchangeConfig, Supplier,
};
use anyhow::{Context, Result, bail, ensure};
use pol_sources::{connectors::OUTLETS, feeds::Follow};

/// Most pages of a crawl.
const MAX_PAGES: u64 = 1_000_000_000;
/// Longest time between two requests of a feed, in minutes: a day.
const MAX_FEED_MINUTES: u64 = 24 * 60;
/// Longest time between two visits to a page, in days: ten years.
const MAX_REVISIT_DAYS: u64 = 3_650;
/// Longest search, in bytes.
const MAX_QUERY_BYTES: usize = 1_000;

impl Supplier<'_> {
    /// Checks the description.
    pub(in super::super) fn check(self, mistakes: &mut Mistakes) {
        match self {
            Self::Files(paths) => {
                mistakes.require(!paths.is_empty(), || {
                    "files: there is none; name files or folders".into()
                });
                paths.iter().for_each(|path| mistakes.check(check_path("files", path)));
            }
            Self::Hub(hub) => {
                mistakes.check(hub.spec().and_then(|spec| spec.validate().context("hub")));
            }
            Self::Croissant(croissant, text_fields) => {
                mistakes.check(croissant.validate(text_fields));
            }
            Self::Crawl(crawl) => crawl.check(mistakes),
            Self::Feeds(feeds) => feeds.check(mistakes),
            Self::Documentation(pages) => pages.check(mistakes),
            Self::News(news) => mistakes.check(news.validate()),
            Self::Arxiv(search) => mistakes.check(search.validate("arxiv.query")),
            Self::Github(search) => mistakes.check(search.validate("github.query")),
            Self::Pubmed(pubmed) => mistakes.check(pubmed.validate()),
            Self::HackerNews(news) => {
                mistakes.check(check_range("hacker_news.from", Some(news.from), 0..=1 << 40));
            }
            Self::StackExchange(site) => mistakes.check(site.validate()),
            Self::Mastodon(mastodon) => mastodon.check(mistakes),
            Self::Synthesis(synthesis) => mistakes.check(synthesis.load().map(drop)),
        }
    }

    /// Returns `true` if the text may be in fields of tables.
    pub(in super::super) fn has_tables(self) -> bool {
        matches!(
            self,
            Self::Files(_)
                | Self::Croissant(..)
                | Self::Crawl(_)
                | Self::Feeds(_)
                | Self::Documentation(_)
                | Self::News(_)
        )
    }
}

impl CrawlConfig {
    fn check(&self, mistakes: &mut Mistakes) {
        mistakes.require(!(self.seeds.is_empty() && self.sitemaps.is_empty()), || {
            "crawl.seeds: there is none; name a page to begin at".into()
        });
        mistakes.check(check_range("crawl.depth", self.depth.map(u64::from), 0..=1_000));
        mistakes.check(check_range("crawl.max_pages", self.max_pages, 1..=MAX_PAGES));
        let per_host = self.max_pages_per_host.map(u64::from);
        mistakes.check(check_range("crawl.max_pages_per_host", per_host, 1..=MAX_PAGES));
        let days = check_range("crawl.revisit_days", self.revisit_days, 1..=MAX_REVISIT_DAYS);
        mistakes.check(days);
        check_prefixes("crawl.path_prefixes", &self.path_prefixes, mistakes);
    }
}

impl FeedsConfig {
    fn check(&self, mistakes: &mut Mistakes) {
        mistakes.require(!self.addresses.is_empty(), || {
            "feeds.addresses: there is none; name a feed".into()
        });
        let minutes = check_range("feeds.min_minutes", self.min_minutes, 1..=MAX_FEED_MINUTES);
        mistakes.check(minutes);
        mistakes.require(self.follow != Some(Follow::ShorterThan(0)), || {
            "feeds.follow: no entry is shorter than 0 bytes; write \"never\"".into()
        });
    }
}

impl DocumentationConfig {
    fn check(&self, mistakes: &mut Mistakes) {
        mistakes.require(!self.sitemaps.is_empty(), || {
            "documentation.sitemaps: there is none; name a sitemap".into()
        });
        let pages = check_range("documentation.max_pages", Some(self.max_pages), 1..=MAX_PAGES);
        mistakes.check(pages);
        check_prefixes("documentation.path_prefixes", &self.path_prefixes, mistakes);
    }
}

impl NewsConfig {
    fn validate(&self) -> Result<()> {
        let known = OUTLETS.iter().find(|outlet| outlet.name == self.outlet);
        match known {
            Some(outlet) => ensure!(
                self.licence.is_none() || !self.feeds.is_empty(),
                "news.licence: that of {} is known, {}; leave it out, or give the feeds too",
                outlet.name,
                outlet.licence
            ),
            None if self.feeds.is_empty() => {
                let names = OUTLETS.map(|outlet| outlet.name);
                bail!(
                    "news.outlet: {} is not known; give its feeds, or one of {}",
                    self.outlet,
                    names.join(", ")
                )
            }
            None => {}
        }
        Ok(())
    }
}

impl SearchConfig {
    fn validate(&self, field: &str) -> Result<()> {
        let length = self.query.trim().len();
        ensure!(
            (1..=MAX_QUERY_BYTES).contains(&length),
            "{field}: it has {length} bytes; write a search of 1 to {MAX_QUERY_BYTES}"
        );
        Ok(())
    }
}

impl PubmedConfig {
    fn validate(&self) -> Result<()> {
        let Some(date) = &self.from else { return Ok(()) };
        let shape: String =
            date.chars().map(|c| if c.is_ascii_digit() { '0' } else { c }).collect();
        ensure!(shape == "0000-00-00", "pubmed.from: {date:?} is no date such as 2024-05-01");
        Ok(())
    }
}

impl StackExchangeConfig {
    fn validate(&self) -> Result<()> {
        let is_name = |c: char| c.is_ascii_alphanumeric() || c == '.' || c == '-';
        ensure!(
            !self.site.is_empty() && self.site.chars().all(is_name),
            "stack_exchange.site: {:?} is no name of a site, such as stackoverflow",
            self.site
        );
        Ok(())
    }
}

impl MastodonConfig {
    fn check(&self, mistakes: &mut Mistakes) {
        let is_host = !self.instance.is_empty() && url::Host::parse(&self.instance).is_ok();
        mistakes.require(is_host, || {
            format!("mastodon.instance: {:?} is no host, such as mastodon.social", self.instance)
        });
        let is_number =
            |from: &String| !from.is_empty() && from.bytes().all(|b| b.is_ascii_digit());
        mistakes.require(self.from.as_ref().is_none_or(is_number), || {
            "mastodon.from: it is no number of a status, in quotes".into()
        });
    }
}

/// Checks beginnings of paths.
fn check_prefixes(field: &str, prefixes: &[String], mistakes: &mut Mistakes) {
    for prefix in prefixes {
        mistakes.require(prefix.starts_with('/'), || {
            format!("{field}: {prefix:?} begins no path; write /{prefix}")
        });
    }
}
