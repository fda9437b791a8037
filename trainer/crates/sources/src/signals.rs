// SPDX-License-Identifier: Apache-2.0

//! Statements of pages about the use of their text.
//!
//! - `X-Robots-Tag` and `<meta name="robots">`: `noindex`, `nofollow`, `noai`, ….
//! - The reservation of the right to text and data mining by the TDM Reservation Protocol of the
//!   W3C's community group, as a header and as `<meta name="tdm-reservation">`.
//! - Licences by `rel="license"`, of elements and of the header `Link`.

use crate::http::AGENT;
use reqwest::header::{HeaderMap, LINK};
use url::Url;

/// Most statements that are kept of a page, and the longest one in bytes.
const MAX_STATEMENTS: usize = 32;
const MAX_STATEMENT_BYTES: usize = 300;

/// Signals that are obeyed. All others are recorded only.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Obeyed {
    /// A page with `noindex` is not stored.
    pub noindex: bool,
    /// A page with `noai` or `noml` is not stored.
    pub noai: bool,
    /// Links of a page with `nofollow`, and links with it, are not followed.
    pub nofollow: bool,
    /// A page that reserves text and data mining is not stored.
    pub tdm_reservation: bool,
}

impl Default for Obeyed {
    fn default() -> Self {
        Self { noindex: true, noai: true, nofollow: true, tdm_reservation: true }
    }
}

/// Statements of a page.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Signals {
    statements: Vec<String>,
}

impl Signals {
    /// Reads the headers of a response.
    pub fn of_headers(headers: &HeaderMap) -> Self {
        let mut signals = Self::default();
        for (name, value) in headers {
            if let Ok(value) = value.to_str() {
                signals.add_named(name.as_str(), value, "x-robots-tag");
            }
        }
        signals
    }

    /// Adds a `<meta>` element.
    pub(crate) fn add_meta(&mut self, name: &str, content: &str) {
        let name = name.to_ascii_lowercase();
        let name = if name == AGENT { "robots" } else { &name };
        self.add_named(name, content, "robots");
    }

    /// Adds the licences that the `Link` headers of a response name (RFC 8288), and returns the
    /// first that is known. `url` is the address of the response.
    pub(crate) fn add_linked_licences(&mut self, headers: &HeaderMap, url: &Url) -> Option<String> {
        let values = headers.get_all(LINK).iter().filter_map(|value| value.to_str().ok());
        let links = values.flat_map(|value| split(value, ','));
        let licences = links.filter_map(|link| linked_licence(link, url));
        licences.fold(None, |first, licence| {
            let known = self.add_licence(&licence);
            first.or(known)
        })
    }

    /// Adds a licence, and returns its name if it is known.
    pub(crate) fn add_licence(&mut self, licence: &Url) -> Option<String> {
        self.add(format!("license: {licence}"));
        licence_of_url(licence)
    }

    /// Adds a statement of any kind.
    pub(crate) fn add(&mut self, statement: String) {
        let fits = statement.len() <= MAX_STATEMENT_BYTES;
        if fits && self.statements.len() < MAX_STATEMENTS && !self.statements.contains(&statement) {
            self.statements.push(statement);
        }
    }

    fn add_named(&mut self, name: &str, value: &str, robots: &str) {
        match name {
            name if name == robots => {
                for directive in directives(value) {
                    self.add(format!("{name}: {directive}"));
                }
            }
            "tdm-reservation" | "tdm-policy" => self.add(format!("{name}: {}", value.trim())),
            _ => {}
        }
    }

    /// Returns the statements, in the order in which they were found.
    pub fn into_statements(self) -> Vec<String> {
        self.statements
    }

    /// Returns the statement by which the page must not be stored, if there is one.
    pub fn forbids_storing(&self, obeyed: &Obeyed) -> Option<&str> {
        self.find(|directive| match directive {
            "noindex" | "none" => obeyed.noindex,
            "noai" | "noml" => obeyed.noai,
            _ => false,
        })
        .or_else(|| {
            let is_reserved =
                |text: &&String| obeyed.tdm_reservation && *text == "tdm-reservation: 1";
            self.statements.iter().find(is_reserved).map(String::as_str)
        })
    }

    /// Returns `true` if the page's links must not be followed.
    pub fn forbids_following(&self, obeyed: &Obeyed) -> bool {
        obeyed.nofollow && self.find(|directive| matches!(directive, "nofollow" | "none")).is_some()
    }

    /// Returns the first statement for robots whose directive is `wanted`.
    fn find(&self, wanted: impl Fn(&str) -> bool) -> Option<&str> {
        let mut statements = self.statements.iter().map(String::as_str);
        statements.find(|statement| {
            statement
                .strip_prefix("robots: ")
                .or_else(|| statement.strip_prefix("x-robots-tag: "))
                .is_some_and(&wanted)
        })
    }
}

/// Returns the directives of a value that are addressed to all robots or to this one.
fn directives(value: &str) -> impl Iterator<Item = String> {
    const WITH_VALUES: [&str; 4] =
        ["unavailable_after", "max-snippet", "max-image-preview", "max-video-preview"];
    let mut is_ours = true;
    value.split(',').filter_map(move |part| {
        let mut part = part.trim().to_ascii_lowercase();
        if let Some((agent, directive)) = part.split_once(':')
            && !WITH_VALUES.contains(&agent.trim())
        {
            is_ours = agent.trim() == AGENT;
            part = directive.trim().to_owned();
        }
        (is_ours && !part.is_empty()).then_some(part)
    })
}

/// Splits the value of a header at a sign, except within addresses and quotation marks.
fn split(value: &str, sign: char) -> impl Iterator<Item = &str> {
    let (mut is_address, mut is_quoted, mut is_escaped) = (false, false, false);
    value.split(move |char| {
        let is_plain = !std::mem::take(&mut is_escaped);
        match char {
            '\\' if is_quoted => is_escaped = is_plain,
            '"' if is_plain && !is_address => is_quoted = !is_quoted,
            '<' if !is_quoted => is_address = true,
            '>' if !is_quoted => is_address = false,
            _ => return char == sign && !is_quoted && !is_address,
        }
        false
    })
}

/// Returns the address in a link of the response from `url`, if it is that of its licence.
fn linked_licence(link: &str, url: &Url) -> Option<Url> {
    let mut parts = split(link, ';').map(str::trim);
    let target = parts.next()?.strip_prefix('<')?.strip_suffix('>')?;
    let parameters = parts.filter_map(|part| part.split_once('='));
    let mut relation = None;
    for (name, value) in parameters {
        match name.trim().to_ascii_lowercase().as_str() {
            // The first one counts.
            "rel" => relation = relation.or(Some(value.trim().trim_matches('"'))),
            // The licence is that of something else.
            "anchor" => return None,
            _ => {}
        }
    }
    let mut relations = relation?.split_ascii_whitespace();
    let is_licence = relations.any(|relation| relation.eq_ignore_ascii_case("license"));
    let target = url.join(target.trim()).ok().filter(|_| is_licence)?;
    matches!(target.scheme(), "http" | "https").then_some(target)
}

/// Returns the licence at `url` as an SPDX expression, if it is one of Creative Commons.
pub fn licence_of_url(url: &Url) -> Option<String> {
    let host = url.host_str()?;
    if host.strip_prefix("www.").unwrap_or(host) != "creativecommons.org" {
        return None;
    }
    let mut path = url.path_segments()?;
    match (path.next()?, path.next()?, path.next()?) {
        ("publicdomain", "zero", "1.0") => Some("CC0-1.0".to_owned()),
        ("publicdomain", "mark", "1.0") => Some("LicenseRef-PDM-1.0".to_owned()),
        (
            "licenses",
            kind @ ("by" | "by-sa" | "by-nc" | "by-nd" | "by-nc-sa" | "by-nc-nd"),
            version @ ("1.0" | "2.0" | "2.5" | "3.0" | "4.0"),
        ) => Some(format!("CC-{}-{version}", kind.to_ascii_uppercase())),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use reqwest::header::{HeaderName, HeaderValue};

    fn of(values: &[(&'static str, &'static str)]) -> Signals {
        let mut headers = HeaderMap::new();
        for (name, value) in values {
            headers.append(HeaderName::from_static(name), HeaderValue::from_static(value));
        }
        Signals::of_headers(&headers)
    }

    #[test]
    fn directives_for_other_robots_do_not_count() {
        let signals = of(&[
            ("x-robots-tag", "googlebot: noindex, nofollow"),
            ("x-robots-tag", "pol-trainer: NoAI, noarchive"),
            ("x-robots-tag", "max-snippet: 20, unavailable_after: 25 Jun 2030 15:00:00 PST"),
        ]);
        assert_eq!(
            signals.clone().into_statements(),
            [
                "x-robots-tag: noai",
                "x-robots-tag: noarchive",
                "x-robots-tag: max-snippet: 20",
                "x-robots-tag: unavailable_after: 25 jun 2030 15:00:00 pst",
            ]
        );
        let obeyed = Obeyed::default();
        assert_eq!(signals.forbids_storing(&obeyed), Some("x-robots-tag: noai"));
        assert!(!signals.forbids_following(&obeyed));
        assert_eq!(signals.forbids_storing(&Obeyed { noai: false, ..obeyed }), None);
    }

    #[test]
    fn none_forbids_storing_and_following() {
        let mut signals = Signals::default();
        signals.add_meta("Robots", "none");
        assert!(signals.forbids_storing(&Obeyed::default()).is_some());
        assert!(signals.forbids_following(&Obeyed::default()));
        let nothing =
            Obeyed { noindex: false, noai: false, nofollow: false, tdm_reservation: false };
        assert!(signals.forbids_storing(&nothing).is_none());
        assert!(!signals.forbids_following(&nothing));
    }

    #[test]
    fn reservations_of_mining_are_obeyed() {
        let signals = of(&[("tdm-reservation", "1"), ("tdm-policy", "https://example.org/p")]);
        assert_eq!(signals.forbids_storing(&Obeyed::default()), Some("tdm-reservation: 1"));
        assert_eq!(of(&[("tdm-reservation", "0")]).forbids_storing(&Obeyed::default()), None);
    }

    #[test]
    fn statements_are_limited() {
        let mut signals = Signals::default();
        for number in 0..1000 {
            signals.add_meta("robots", &format!("a{number}"));
        }
        signals.add_meta("robots", &"x".repeat(1000));
        assert_eq!(signals.into_statements().len(), MAX_STATEMENTS);
    }

    /// Returns the first known licence that headers name, and all statements.
    fn licences(values: &[&'static str]) -> (Option<String>, Vec<String>) {
        let links = values.iter().map(|value| (LINK, HeaderValue::from_static(value)));
        let headers = links.fold(HeaderMap::new(), |mut headers, (name, value)| {
            headers.append(name, value);
            headers
        });
        let mut signals = Signals::default();
        let url = Url::parse("https://example.org/a/b").unwrap();
        (signals.add_linked_licences(&headers, &url), signals.into_statements())
    }

    #[test]
    fn licences_of_headers_are_read() {
        let by = "https://creativecommons.org/licenses/by/4.0/";
        for value in [
            "<https://creativecommons.org/licenses/by/4.0/>; rel=\"license\"",
            "<https://creativecommons.org/licenses/by/4.0/>;rel=license",
            "</a>; rel=\"up\", <https://creativecommons.org/licenses/by/4.0/> ; \
             title=\"a, \\\"b;\" ; REL=\"copyright License\"",
        ] {
            let (licence, statements) = licences(&[value]);
            assert_eq!(licence.as_deref(), Some("CC-BY-4.0"), "{value}");
            assert_eq!(statements, [format!("license: {by}")]);
        }
        let several = [
            "</terms,v2;x>; rel=license",
            "<https://creativecommons.org/publicdomain/zero/1.0/>; rel=license, \
             <https://creativecommons.org/licenses/by/4.0/>; rel=license",
        ];
        let (licence, statements) = licences(&several);
        assert_eq!(licence.as_deref(), Some("CC0-1.0"));
        assert_eq!(statements[0], "license: https://example.org/terms,v2;x");
        assert_eq!(statements.len(), 3);
    }

    #[test]
    fn other_links_are_no_licences() {
        for value in [
            "<https://creativecommons.org/licenses/by/4.0/>; rel=\"next\"",
            "<https://creativecommons.org/licenses/by/4.0/>; rel=next; rel=license",
            "<https://creativecommons.org/licenses/by/4.0/>; rel=license; anchor=\"/picture\"",
            "<https://creativecommons.org/licenses/by/4.0/>; title=\"; rel=license\"",
            "<https://creativecommons.org/licenses/by/4.0/",
            "https://creativecommons.org/licenses/by/4.0/; rel=license",
            "<mailto:us@example.org>; rel=license",
            "<http://[>; rel=license",
            "<>; rel",
            "\"\\",
            "",
        ] {
            assert_eq!(licences(&[value]), (None, vec![]), "{value}");
        }
    }

    #[test]
    fn licences_of_creative_commons_are_known() {
        let licence = |url| licence_of_url(&Url::parse(url).unwrap());
        let known = [
            ("https://creativecommons.org/licenses/by/4.0/", "CC-BY-4.0"),
            ("http://www.creativecommons.org/licenses/by-nc-sa/3.0/de/", "CC-BY-NC-SA-3.0"),
            ("https://creativecommons.org/publicdomain/zero/1.0/", "CC0-1.0"),
        ];
        for (url, name) in known {
            assert_eq!(licence(url).as_deref(), Some(name));
        }
        assert_eq!(licence("https://example.org/licenses/by/4.0/"), None);
        assert_eq!(licence("https://creativecommons.org/licenses/by-x/4.0/"), None);
        assert_eq!(licence("https://creativecommons.org/licenses/"), None);
    }
}
