// SPDX-License-Identifier: Apache-2.0

//! Visits of single pages, by the rules of their sites.

use super::{
    address::{is_same_site, normalise},
    page,
};
use crate::{
    http::{FetchError, HttpClient, Request, Response, Validators},
    robots::Robots,
    signals::{Obeyed, Signals},
};
use pol_corpus::{Origin, RawDocument, Refusal, filters::OptOutList};
use std::{sync::Arc, time::Duration};
use url::Url;

/// Visitor of pages: the client, the rules of sites, and the wishes to obey.
#[derive(Clone)]
pub struct Visitor {
    /// Client.
    pub client: HttpClient,
    /// Rules of sites.
    pub robots: Robots,
    /// Signals to obey.
    pub obeyed: Obeyed,
    /// Sites and pages that are not asked for anything.
    pub opt_out: Arc<OptOutList>,
}

/// Result of a visit.
#[derive(Debug)]
pub enum Visit {
    /// A page.
    Page(Box<Page>),
    /// The page has not changed since the last visit.
    Unchanged,
    /// The page is elsewhere.
    Moved(Url),
    /// The server wants to be left alone for this time, or does not tell its rules for now.
    Busy(Duration),
    /// The server does not answer as servers do, with the reason.
    Failed(String),
    /// There is no page to store, with the reason.
    Refused(String),
    /// The client's budget is used up.
    Spent,
}

/// Page that was read.
#[derive(Debug)]
pub struct Page {
    /// Page as a document, unless it must not be stored, with the reason.
    pub document: Result<RawDocument, Refusal>,
    /// Validators for the next visit.
    pub validators: Validators,
    /// Addresses that it links to and that may be followed, in normal form.
    pub links: Vec<Url>,
    /// Address of the page by its own words, if it is on the same site.
    pub canonical: Option<Url>,
    /// Sitemaps that the site names in robots.txt.
    pub sitemaps: Vec<Url>,
}

/// Time for which a server is left alone that does not say how long it wants to be.
const DEFAULT_WAIT: Duration = Duration::from_secs(60);

impl Visitor {
    /// Creates a visitor that obeys all signals. Its list of opt-outs is empty.
    pub fn new(client: HttpClient) -> Self {
        Self {
            robots: Robots::new(client.clone()),
            client,
            obeyed: Obeyed::default(),
            opt_out: Arc::default(),
        }
    }

    /// Requests what is at `url`, if the site's rules allow it. `source` is the name of the source
    /// that asks.
    pub async fn visit(&self, source: &str, url: &Url, validators: Validators) -> Visit {
        let fetched = match self.fetch(url, validators, None).await {
            Ok(fetched) => fetched,
            Err(visit) => return visit,
        };
        let (visitor, source) = (self.clone(), source.to_owned());
        // A page of megabytes takes a while. A panic of the parser ends this visit only.
        let page = tokio::task::spawn_blocking(move || visitor.read(&source, fetched)).await;
        page.unwrap_or_else(|_| Visit::Refused("its markup cannot be read".to_owned()))
    }

    /// Requests what is at `url`, if the site's rules allow it, and returns it if it is new.
    pub(crate) async fn fetch(
        &self,
        url: &Url,
        validators: Validators,
        max_bytes: Option<u64>,
    ) -> Result<Fetched, Visit> {
        let refused = |error: FetchError| match error {
            FetchError::Budget => Visit::Spent,
            FetchError::Transport(_) | FetchError::TooSlow => Visit::Failed(error.to_string()),
            error => Visit::Refused(error.to_string()),
        };
        if self.opt_out.matches_url(url.as_str()).is_some() {
            return Err(Visit::Refused("its owner opted out".to_owned()));
        }
        let rules = self.robots.rules(url).await.map_err(refused)?;
        if let Some(time) = rules.retry_after() {
            return Err(Visit::Busy(time));
        }
        if let Some(reason) = rules.refusal(url) {
            return Err(Visit::Refused(reason.to_owned()));
        }
        let mut request =
            Request::new(url.clone()).validators(validators).delay(rules.delay).without_redirects();
        if let Some(max_bytes) = max_bytes {
            request = request.max_bytes(max_bytes);
        }
        let response = self.client.get(&request).await.map_err(refused)?;
        if let Some(target) = response.redirect() {
            return Err(Visit::Moved(target));
        }
        match response.status {
            304 => Err(Visit::Unchanged),
            429 | 503 => Err(Visit::Busy(response.retry_after().unwrap_or(DEFAULT_WAIT))),
            _ => {
                let response = response.success().map_err(refused)?;
                Ok(Fetched { response, sitemaps: rules.sitemaps.clone() })
            }
        }
    }

    /// Reads the page of a response.
    fn read(&self, source: &str, fetched: Fetched) -> Visit {
        let Fetched { response, sitemaps } = fetched;
        let media = response.media().map(str::to_owned);
        let kind = Kind::of(media.as_deref(), &response.body);
        if kind == Kind::Other {
            let media = media.unwrap_or_default();
            return Visit::Refused(format!("it is no text but {media}"));
        }
        let mut signals = Signals::of_headers(&response.headers);
        let linked_licence = signals.add_linked_licences(&response.headers, &response.url);
        let mut facts = page::PageFacts::default();
        if kind == Kind::Html {
            // Addresses are ASCII in all encodings of the web but UTF-16.
            let html = String::from_utf8_lossy(&response.body);
            facts = page::read(&html, &response.url, self.obeyed.nofollow, &mut signals);
        }
        let canonical = facts
            .canonical
            .map(normalise)
            .filter(|canonical| is_same_site(canonical, &response.url));
        if signals.forbids_following(&self.obeyed) {
            facts.links.clear();
        }
        let forbidden = signals.forbids_storing(&self.obeyed).map(str::to_owned);
        let validators = response.validators();
        let origin = Origin {
            source: source.to_owned(),
            location: response.url.into(),
            fetched: Some(response.fetched),
            // What stands in the page is closer to its text.
            licence: facts.licence.or(linked_licence),
            signals: signals.into_statements(),
            ..Origin::default()
        };
        let document = match forbidden {
            Some(reason) => Err(Refusal { origin, reason }),
            None => Ok(RawDocument { origin, media, bytes: response.body }),
        };
        let links = facts.links.into_iter().map(normalise).collect();
        Visit::Page(Box::new(Page { document, validators, links, canonical, sitemaps }))
    }
}

/// Response to a request that the site's rules allow.
pub(crate) struct Fetched {
    pub(crate) response: Response,
    pub(crate) sitemaps: Vec<Url>,
}

/// Kind of a response's content.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Kind {
    Html,
    Text,
    Other,
}

impl Kind {
    /// Returns the kind of a body by its stated media type, or by its first bytes if it has none.
    fn of(media: Option<&str>, body: &[u8]) -> Self {
        let essence = media.unwrap_or_default().split(';').next().unwrap_or_default();
        match essence.trim().to_ascii_lowercase().as_str() {
            "text/html" | "application/xhtml+xml" => Self::Html,
            "" => {
                let start = String::from_utf8_lossy(&body[..body.len().min(512)]);
                let start = start.trim_start().to_ascii_lowercase();
                let is_html = ["<!doctype html", "<html", "<head", "<body"];
                let is_html = is_html.iter().any(|tag| start.starts_with(tag));
                if is_html { Self::Html } else { Self::Text }
            }
            "application/json" | "application/xml" | "application/ld+json" => Self::Text,
            text if text.starts_with("text/")
                && !matches!(text, "text/css" | "text/javascript") =>
            {
                Self::Text
            }
            _ => Self::Other,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_are_told_by_media_type_or_first_bytes() {
        for (media, body, kind) in [
            (Some("Text/HTML; charset=latin1"), "", Kind::Html),
            (Some("application/xhtml+xml"), "", Kind::Html),
            (Some("text/plain"), "<html>", Kind::Text),
            (Some("application/json"), "{}", Kind::Text),
            (Some("text/css"), "", Kind::Other),
            (Some("image/png"), "", Kind::Other),
            (Some("application/pdf"), "%PDF", Kind::Other),
            (None, "\n<!DOCTYPE HTML>", Kind::Html),
            (None, "some text", Kind::Text),
        ] {
            assert_eq!(Kind::of(media, body.as_bytes()), kind, "{media:?} {body}");
        }
    }
}
