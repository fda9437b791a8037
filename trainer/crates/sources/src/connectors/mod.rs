// SPDX-License-Identifier: Apache-2.0

//! Services with an interface of their own, each as a [`Source`](crate::Source).
//!
//! | service | documents | pace | licence of a document |
//! |---|---|---|---|
//! | [`Arxiv`] | titles and abstracts | 3 s | CC0, as the terms of the API have it |
//! | [`PubmedCentral`] | articles, from JATS | 1 s | the one that the article states |
//! | [`HackerNews`] | stories and comments with text | the client's | none stated |
//! | [`StackExchange`] | questions and answers | 1 s, and its `backoff` | CC BY-SA, by date |
//! | [`Mastodon`] | statuses of who wants to be found | 1 s, and its limit | none |
//! | [`GithubReadmes`] | READMEs | 1 s, and its limit | the one of the repository |
//! | [`News`] | articles of feeds | the client's | the one of the page or outlet |
//! | [`Documentation`] | pages of a sitemap | the site's | the one that the page states |
//!
//! The first six are a [`Service`] behind a [`Connector`], which has the loop that is the same for
//! all: a page, its place, and what comes next. Their addresses can be changed, for mirrors and for
//! tests.
//!
//! ```no_run
//! use pol_sources::{
//!     connectors::{Arxiv, Connector},
//!     http::{HttpClient, HttpOptions},
//! };
//!
//! # fn main() -> Result<(), pol_sources::SourceError> {
//! let client = HttpClient::new(HttpOptions::new("https://example.org/about-our-crawler"))?;
//! let source = Connector::new(Arxiv::new(Arxiv::public(), "cat:cs.CL"), client);
//! # Ok(())
//! # }
//! ```

mod arxiv;
mod documentation;
mod github;
mod hacker_news;
mod jats;
mod mastodon;
mod news;
mod pubmed;
mod service;
mod stack_exchange;
mod text;

pub use arxiv::Arxiv;
pub use documentation::Documentation;
pub use github::GithubReadmes;
pub use hacker_news::HackerNews;
pub use mastodon::Mastodon;
pub use news::{News, OUTLETS, Outlet};
pub use pubmed::PubmedCentral;
pub use service::{Connector, Endpoint, Failure, Page, Service, Then};
pub use stack_exchange::StackExchange;
