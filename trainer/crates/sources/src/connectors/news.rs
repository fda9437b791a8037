// SPDX-License-Identifier: Apache-2.0

use crate::{
    Source, SourceError, Step,
    crawl::Visitor,
    feeds::{FeedOptions, Feeds},
};
use async_trait::async_trait;
use serde_json::Value;
use url::Url;

/// News outlet that puts its articles under a licence.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Outlet {
    /// Name.
    pub name: &'static str,
    /// Address of its feed.
    pub feed: &'static str,
    /// Licence, as an SPDX expression, by the outlet's page on republication.
    pub licence: &'static str,
}

/// Outlets that are known to the program. Both except pictures, and articles of others.
pub const OUTLETS: [Outlet; 2] = [
    Outlet { name: "global-voices", feed: "https://globalvoices.org/feed/", licence: "CC-BY-3.0" },
    Outlet {
        name: "the-conversation",
        feed: "https://theconversation.com/articles.atom",
        licence: "CC-BY-ND-4.0",
    },
];

/// Feeds of a news outlet, watched for new articles.
///
/// An article has the licence that its page states, or else the one of the outlet.
pub struct News {
    feeds: Feeds,
    licence: Option<String>,
}

impl News {
    /// Creates a watch of `feeds` under the name `news/NAME`.
    ///
    /// # Errors
    ///
    /// Fails if there is no feed.
    pub fn new(
        visitor: Visitor,
        name: &str,
        feeds: Vec<Url>,
        licence: Option<String>,
    ) -> Result<Self, SourceError> {
        let options = FeedOptions::new(format!("news/{name}"), feeds);
        Ok(Self { feeds: Feeds::new(visitor, options)?, licence })
    }

    /// Creates a watch of an outlet that is known to the program.
    ///
    /// # Errors
    ///
    /// Fails if the address of its feed is malformed.
    pub fn of(visitor: Visitor, outlet: &Outlet) -> Result<Self, SourceError> {
        let feed = Url::parse(outlet.feed).map_err(|error| {
            SourceError::InvalidOption(format!("{} is no address: {error}", outlet.feed))
        })?;
        Self::new(visitor, outlet.name, vec![feed], Some(outlet.licence.to_owned()))
    }
}

#[async_trait]
impl Source for News {
    fn name(&self) -> &str {
        self.feeds.name()
    }

    fn resume(&mut self, cursor: Value) -> Result<(), String> {
        self.feeds.resume(cursor)
    }

    fn cursor(&self) -> Value {
        self.feeds.cursor()
    }

    async fn next(&mut self) -> Result<Step, SourceError> {
        let mut step = self.feeds.next().await?;
        if let Step::Batch(batch) = &mut step {
            for document in &mut batch.documents {
                let licence = &mut document.origin.licence;
                *licence = licence.take().or_else(|| self.licence.clone());
            }
        }
        Ok(step)
    }
}
