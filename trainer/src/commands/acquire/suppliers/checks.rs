// SPDX-License-Identifier: Apache-2.0

//! Bounds of the values of suppliers.

use super::{
    super::bounds::{check_path, check_range},
    CrawlConfig, DocumentationConfig, FeedsConfig, MastodonConfig, NewsConfig, PubmedConfig,
    SearchConfig, StackExchangeConfig, Supplier,
};
use anyhow::{Result, bail, ensure};
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
    pub(in super::super) fn validate(self) -> Result<()> {
        match self {
            Self::Files(paths) => {
                ensure!(!paths.is_empty(), "files: there is none; name files or folders");
                paths.iter().try_for_each(|path| check_path("files", path))
            }
            Self::Hub(hub) => hub.spec().map(drop),
            Self::Croissant(croissant, text_fields) => croissant.validate(text_fields),
            Self::Crawl(crawl) => crawl.validate(),
            Self::Feeds(feeds) => feeds.validate(),
            Self::Documentation(pages) => pages.validate(),
            Self::News(news) => news.validate(),
            Self::Arxiv(search) => search.validate("arxiv.query"),
            Self::Github(search) => search.validate("github.query"),
            Self::Pubmed(pubmed) => pubmed.validate(),
            Self::HackerNews(news) => check_range("hacker_news.from", Some(news.from), 0..=1 << 40),
            Self::StackExchange(site) => site.validate(),
            Self::Mastodon(mastodon) => mastodon.validate(),
            Self::Synthesis(synthesis) => synthesis.load().map(drop),
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
    fn validate(&self) -> Result<()> {
        ensure!(
            !(self.seeds.is_empty() && self.sitemaps.is_empty()),
            "crawl.seeds: there is none; name a page to begin at"
        );
        check_range("crawl.depth", self.depth.map(u64::from), 0..=1_000)?;
        check_range("crawl.max_pages", self.max_pages, 1..=MAX_PAGES)?;
        let per_host = self.max_pages_per_host.map(u64::from);
        check_range("crawl.max_pages_per_host", per_host, 1..=MAX_PAGES)?;
        check_range("crawl.revisit_days", self.revisit_days, 1..=MAX_REVISIT_DAYS)?;
        check_prefixes("crawl.path_prefixes", &self.path_prefixes)
    }
}

impl FeedsConfig {
    fn validate(&self) -> Result<()> {
        ensure!(!self.addresses.is_empty(), "feeds.addresses: there is none; name a feed");
        check_range("feeds.min_minutes", self.min_minutes, 1..=MAX_FEED_MINUTES)?;
        ensure!(
            self.follow != Some(Follow::ShorterThan(0)),
            "feeds.follow: no entry is shorter than 0 bytes; write \"never\""
        );
        Ok(())
    }
}

impl DocumentationConfig {
    fn validate(&self) -> Result<()> {
        ensure!(!self.sitemaps.is_empty(), "documentation.sitemaps: there is none; name a sitemap");
        check_range("documentation.max_pages", Some(self.max_pages), 1..=MAX_PAGES)?;
        check_prefixes("documentation.path_prefixes", &self.path_prefixes)
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
    fn validate(&self) -> Result<()> {
        ensure!(
            !self.instance.is_empty() && url::Host::parse(&self.instance).is_ok(),
            "mastodon.instance: {:?} is no host, such as mastodon.social",
            self.instance
        );
        let is_number =
            |from: &String| !from.is_empty() && from.bytes().all(|b| b.is_ascii_digit());
        ensure!(
            self.from.as_ref().is_none_or(is_number),
            "mastodon.from: it is no number of a status, in quotes"
        );
        Ok(())
    }
}

/// Fails if a beginning of paths is none.
fn check_prefixes(field: &str, prefixes: &[String]) -> Result<()> {
    let wrong = prefixes.iter().find(|prefix| !prefix.starts_with('/'));
    wrong.map_or(Ok(()), |prefix| bail!("{field}: {prefix:?} begins no path; write /{prefix}"))
}
