// SPDX-License-Identifier: Apache-2.0

//! Addresses of pages: one normal form for each, and signs of traps.

use url::Url;

/// Longest address that is followed, in bytes.
const MAX_URL_BYTES: usize = 1024;
/// Most segments of a path.
const MAX_SEGMENTS: usize = 16;
/// Most times that a path may hold the same segment.
const MAX_REPETITIONS: usize = 2;
/// Most parameters of a query.
const MAX_PARAMETERS: usize = 8;

/// Parameters that name where a visitor came from, by the programs that add them: Google's and
/// Microsoft's advertisements, Facebook, Mailchimp, Instagram, Yandex, HubSpot.
const TRACKING: [&str; 13] = [
    "gclid", "gclsrc", "dclid", "msclkid", "fbclid", "mc_cid", "mc_eid", "igshid", "yclid", "_ga",
    "_gl", "_hsenc", "_hsmi",
];
/// Parameters that number a visit.
const SESSIONS: [&str; 4] = ["phpsessid", "jsessionid", "aspsessionid", "sessionid"];

/// Returns the normal form of an address (RFC 3986, 6.2), without what does not change its page:
/// fragment, user, tracking parameters, numbers of sessions.
pub(crate) fn normalise(mut url: Url) -> Url {
    url.set_fragment(None);
    // These fail for addresses without a host only, which have no user either.
    let _ = url.set_username("");
    let _ = url.set_password(None);
    if let Some(host) = url.host_str().and_then(|host| host.strip_suffix('.')).map(str::to_owned) {
        let _ = url.set_host(Some(&host));
    }
    let path = without_session(url.path());
    let path = normal_escapes(path);
    url.set_path(&path);
    let query = url.query().map(|query| {
        let kept = query.split('&').filter(|parameter| !is_ballast(parameter));
        normal_escapes(&kept.collect::<Vec<_>>().join("&"))
    });
    url.set_query(query.as_deref().filter(|query| !query.is_empty()));
    url
}

/// Returns `true` if a parameter of a query does not change the page.
fn is_ballast(parameter: &str) -> bool {
    let name = parameter.split('=').next().unwrap_or_default().to_ascii_lowercase();
    name.is_empty()
        || name.starts_with("utm_")
        || TRACKING.contains(&name.as_str())
        || SESSIONS.contains(&name.as_str())
}

/// Returns a path without `;jsessionid=…`.
fn without_session(path: &str) -> &str {
    let at = path.char_indices().find(|(at, character)| {
        *character == ';'
            && path
                .get(at + 1..at + 12)
                .is_some_and(|name| name.eq_ignore_ascii_case("jsessionid="))
    });
    at.map_or(path, |(at, _)| &path[..at])
}

/// Decodes escapes of characters that need none, and writes the others in capitals.
fn normal_escapes(text: &str) -> String {
    let mut normal = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find('%') {
        normal.push_str(&rest[..at]);
        let byte = rest.get(at + 1..at + 3).and_then(|digits| {
            // A sign is no digit, but a part of what numbers may be parsed from.
            let is_hex = digits.bytes().all(|digit| digit.is_ascii_hexdigit());
            is_hex.then(|| u8::from_str_radix(digits, 16).ok()).flatten()
        });
        match byte {
            Some(byte) if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) => {
                normal.push(byte.into());
            }
            Some(byte) => normal.push_str(&format!("%{byte:02X}")),
            // A sign that begins no escape stands for itself.
            None => normal.push_str("%25"),
        }
        rest = &rest[at + if byte.is_some() { 3 } else { 1 }..];
    }
    normal.push_str(rest);
    normal
}

/// Returns `true` if both addresses are of one site: one host is the other, or is below it.
pub(crate) fn is_same_site(one: &Url, other: &Url) -> bool {
    let (Some(one), Some(other)) = (one.domain(), other.domain()) else {
        return one.host() == other.host() && one.port() == other.port();
    };
    let is_below = |low: &str, high: &str| {
        low.strip_suffix(high).is_some_and(|rest| rest.is_empty() || rest.ends_with('.'))
            && high.contains('.')
    };
    one == other || is_below(one, other) || is_below(other, one)
}

/// Returns the sign by which an address looks like one of endlessly many, if there is one.
pub(crate) fn trap(url: &Url) -> Option<&'static str> {
    if url.as_str().len() > MAX_URL_BYTES {
        return Some("its address is over 1024 bytes long");
    }
    let mut segments: Vec<_> = url.path_segments()?.filter(|segment| !segment.is_empty()).collect();
    if segments.len() > MAX_SEGMENTS {
        return Some("its path has over 16 segments");
    }
    segments.sort_unstable();
    if segments.chunk_by(|one, other| one == other).any(|same| same.len() > MAX_REPETITIONS) {
        return Some("its path repeats a segment");
    }
    if url.query().is_some_and(|query| query.split('&').count() > MAX_PARAMETERS) {
        return Some("its query has over 8 parameters");
    }
    None
}

/// Returns the shape of an address, which endlessly many pages of a calendar or a search have in
/// common: numbers and values of queries are left out. `None` if it has neither.
pub(crate) fn shape(url: &Url) -> Option<String> {
    let has_digit = url.path().bytes().any(|byte| byte.is_ascii_digit());
    if !has_digit && url.query().is_none() {
        return None;
    }
    let mut shape = url.authority().to_owned();
    let mut was_digit = false;
    for character in url.path().chars() {
        let is_digit = character.is_ascii_digit();
        match (is_digit, was_digit) {
            (true, true) => {}
            (true, false) => shape.push('0'),
            (false, _) => shape.push(character),
        }
        was_digit = is_digit;
    }
    for parameter in url.query().unwrap_or_default().split('&') {
        shape.extend(["&", parameter.split('=').next().unwrap_or_default()]);
    }
    Some(shape)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn normal(url: &str) -> String {
        normalise(Url::parse(url).unwrap()).into()
    }

    #[test]
    fn addresses_of_one_page_have_one_form() {
        for url in [
            "HTTP://Example.ORG:80/%7Eann/./x/../page?b=1&a=2#top",
            "http://user:word@example.org/~ann/page?utm_source=x&b=1&fbclid=y&a=2",
            "http://example.org./%7eann/page;jsessionid=0A?b=1&a=2&PHPSESSID=3",
            "http://example.org/~ann/page?&b=1&&a=2&",
        ] {
            assert_eq!(normal(url), "http://example.org/~ann/page?b=1&a=2", "{url}");
        }
    }

    #[test]
    fn what_changes_a_page_stays() {
        for url in ["https://example.org/a%2Fb/?q=a%26b", "https://example.org:8443/A?utm=1"] {
            assert_eq!(normal(url), url);
        }
        assert_eq!(normal("https://example.org/%zz%+1"), "https://example.org/%25zz%25+1");
        assert_eq!(normal("https://example.org/?utm_medium=x"), "https://example.org/");
        assert_eq!(normal("https://example.org/a?q=%c3%a4"), "https://example.org/a?q=%C3%A4");
    }

    #[test]
    fn hosts_below_each_other_are_one_site() {
        let same = |one, other| {
            let url = |host: &str| Url::parse(&format!("http://{host}/")).unwrap();
            is_same_site(&url(one), &url(other))
        };
        assert!(same("example.org", "www.example.org"));
        assert!(same("en.example.org", "example.org"));
        assert!(!same("example.org", "badexample.org"));
        assert!(!same("example.org", "org"));
        assert!(!same("a.example.org", "b.example.org"));
        assert!(same("127.0.0.1:81", "127.0.0.1:81"));
        assert!(!same("127.0.0.1:81", "127.0.0.1:82"));
    }

    #[test]
    fn traps_are_told_by_their_address() {
        let trap = |path: &str| trap(&Url::parse(&format!("http://example.org{path}")).unwrap());
        assert_eq!(trap("/2024/05/12/a-page?id=1"), None);
        assert!(trap("/a/b/a/b/a/b").is_some());
        assert!(trap(&format!("/{}", "x".repeat(1100))).is_some());
        assert!(trap(&(0..20).map(|n| format!("/{n}")).collect::<String>()).is_some());
        assert!(trap("/?a=1&b=1&c=1&d=1&e=1&f=1&g=1&h=1&i=1").is_some());
    }

    #[test]
    fn numbered_pages_have_one_shape() {
        let shape = |url: &str| shape(&Url::parse(url).unwrap());
        assert_eq!(shape("http://a.org/cal/2024/01"), shape("http://a.org/cal/2931/12"));
        assert_eq!(shape("http://a.org/?day=1"), shape("http://a.org/?day=2x"));
        assert_ne!(shape("http://a.org/a/1"), shape("http://a.org/b/1"));
        assert_eq!(shape("http://a.org/about"), None);
    }

    proptest! {
        #[test]
        fn normal_forms_are_stable(path in "\\PC{0,40}", query in "[a-z=&%0-9A-F]{0,30}") {
            if let Ok(url) = Url::parse(&format!("http://example.org/{path}?{query}")) {
                let once = normalise(url);
                let _ = (trap(&once), shape(&once));
                prop_assert_eq!(normalise(once.clone()), once);
            }
        }
    }
}
