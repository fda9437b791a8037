// SPDX-License-Identifier: Apache-2.0

use crate::{
    SourceError,
    crawl::{Crawl, CrawlOptions, Visitor},
};
use std::time::Duration;
use url::Url;

/// Time after which pages are asked for changes.
const REVISIT: Duration = Duration::from_secs(7 * 24 * 3600);

/// Technical documentation by its sitemap, such as `https://docs.rs/sitemap.xml`.
///
/// Source of the shape: sitemaps.org, protocol 0.9. Sites such as docs.rs list their pages so, by
/// way of an index of sitemaps. Pages are read that a sitemap lists, and no links are followed.
/// The licence is the one that a page states: documentation mostly has that of its software.
#[derive(Clone, Debug)]
pub struct Documentation {
    /// Sitemaps, or indexes of them.
    pub sitemaps: Vec<Url>,
    /// Beginnings of the paths that are read. All are, if there is none.
    pub path_prefixes: Vec<String>,
    /// Most pages that are read.
    pub max_pages: u64,
}

impl Documentation {
    /// Creates the source, which visits pages through `visitor` and again after a week.
    ///
    /// # Errors
    ///
    /// Fails if there is no sitemap.
    pub fn source(self, visitor: Visitor) -> Result<Crawl, SourceError> {
        let host = self.sitemaps.first().and_then(Url::host_str).unwrap_or_default();
        let options = CrawlOptions {
            path_prefixes: self.path_prefixes,
            // Pages of a sitemap are one step away from it.
            max_depth: 1,
            max_pages: self.max_pages,
            max_pages_per_host: u32::try_from(self.max_pages).unwrap_or(u32::MAX),
            // Versions and names of packages are parts of the addresses.
            max_pages_per_shape: u32::MAX,
            revisit: Some(REVISIT),
            ..CrawlOptions::new(format!("documentation/{host}"), Vec::new())
        };
        Crawl::new(visitor, CrawlOptions { sitemaps: self.sitemaps, ..options })
    }
}
