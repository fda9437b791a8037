// SPDX-License-Identifier: Apache-2.0

//! Lists of texts that nobody may take in.

use std::{collections::BTreeSet, fs, ops::Bound, path::Path};

use pol_primitives::Hash;
use url::{Host, Position, Url};

use crate::{CorpusError, Decision, Origin, Verdict, error::IoContext};

/// List of hosts, URLs, and contents whose owners opted out.
///
/// A file has one entry a line, of three kinds. Lines that are empty or start with `#` are
/// comments.
///
/// ```text
/// host example.org                       # this host and all below it
/// url https://example.com/private/       # all URLs that start so, by HTTP or HTTPS
/// hash 5feceb66ffc86f38d952786c6d696c79c2dbc239dd4e91b46729d73a27fb57e9
/// ```
///
/// A `hash` is the BLAKE3 of raw bytes or of a clean text. URLs are compared in the normal form of
/// the WHATWG's standard, without scheme, credentials, and fragment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OptOutList {
    hosts: BTreeSet<String>,
    /// Beginnings of URLs, of which none begins with another.
    prefixes: BTreeSet<String>,
    hashes: BTreeSet<Hash>,
    digest: Hash,
}

/// Kind of the entry by which something is opted out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OptOutMatch {
    /// Its host, or one above it.
    Host,
    /// Beginning of its URL.
    Url,
    /// Its content.
    Hash,
}

impl OptOutMatch {
    /// Returns the decision to drop a document for this reason.
    #[must_use]
    pub fn decision(self) -> Decision {
        let rule = match self {
            Self::Host => "opt_out.host",
            Self::Url => "opt_out.url",
            Self::Hash => "opt_out.hash",
        };
        Decision { rule: rule.into(), verdict: Verdict::Dropped, measured: None }
    }
}

impl Default for OptOutList {
    fn default() -> Self {
        Self::of(BTreeSet::new(), BTreeSet::new(), BTreeSet::new())
    }
}

impl OptOutList {
    /// Reads a file.
    ///
    /// # Errors
    ///
    /// [`CorpusError::Io`], if it cannot be read, and [`CorpusError::Damaged`], which names the
    /// line, if an entry cannot be understood.
    pub fn open(path: &Path) -> Result<Self, CorpusError> {
        let text = fs::read_to_string(path).io_context("read the opt-out list", path)?;
        Self::parse(&text).map_err(|reason| CorpusError::Damaged { path: path.to_owned(), reason })
    }

    fn parse(text: &str) -> Result<Self, String> {
        let (mut hosts, mut urls, mut hashes) = Default::default();
        for (number, line) in text.trim_start_matches('\u{FEFF}').lines().enumerate() {
            let entry = line.split(" #").next().unwrap_or_default().trim();
            if entry.is_empty() || entry.starts_with('#') {
                continue;
            }
            let (kind, value) = entry.split_once(char::is_whitespace).unwrap_or((entry, ""));
            let added = match kind {
                "host" => host(value).map(|host| BTreeSet::insert(&mut hosts, host)),
                "url" => web_url(value).map(|url| BTreeSet::insert(&mut urls, normal(&url))),
                "hash" => hash(value).map(|hash| BTreeSet::insert(&mut hashes, hash)),
                _ => None,
            };
            added.ok_or_else(|| {
                format!(
                    "line {} is `{entry}`; write `host NAME`, `url HTTP-ADDRESS`, or `hash` and 64 \
                     hexadecimal digits",
                    number + 1
                )
            })?;
        }
        Ok(Self::of(hosts, urls, hashes))
    }

    fn of(hosts: BTreeSet<String>, urls: BTreeSet<String>, hashes: BTreeSet<Hash>) -> Self {
        let mut hasher = blake3::Hasher::new();
        let lines = hosts.iter().map(|host| format!("host {host}\n"));
        let lines = lines.chain(urls.iter().map(|url| format!("url {url}\n")));
        let hexadecimal = |hash: &Hash| blake3::Hash::from_bytes(*hash).to_hex();
        let lines = lines.chain(hashes.iter().map(|it| format!("hash {}\n", hexadecimal(it))));
        for line in lines {
            hasher.update(line.as_bytes());
        }
        let digest = *hasher.finalize().as_bytes();
        let mut prefixes = BTreeSet::new();
        // Ascending, each beginning comes before the URLs that it covers.
        for url in urls {
            if !covers(&prefixes, &url) {
                prefixes.insert(url);
            }
        }
        Self { hosts, prefixes, hashes, digest }
    }

    /// Returns the BLAKE3 of the entries in normal form, sorted, one a line. Comments and order do
    /// not change it.
    #[must_use]
    pub fn digest(&self) -> Hash {
        self.digest
    }

    /// Tells whether a URL is opted out, and by which kind of entry. A crawler asks before it
    /// fetches, and again for each redirect.
    #[must_use]
    pub fn matches_url(&self, address: &str) -> Option<OptOutMatch> {
        let url = web_url(address)?;
        let host = url.host_str()?.trim_end_matches('.');
        let above = host.match_indices('.').map(|(at, _)| &host[at + 1..]);
        if std::iter::once(host).chain(above).any(|host| self.hosts.contains(host)) {
            return Some(OptOutMatch::Host);
        }
        covers(&self.prefixes, &normal(&url)).then_some(OptOutMatch::Url)
    }

    /// Tells whether raw bytes or a text with this BLAKE3 are opted out.
    #[must_use]
    pub fn matches_hash(&self, content: &Hash) -> Option<OptOutMatch> {
        self.hashes.contains(content).then_some(OptOutMatch::Hash)
    }

    /// Tells whether a document is opted out by its place or its content. Rows of tables and
    /// records of WARC files state the address of their page as a part of the file that they are
    /// in, so that all parts of the place count.
    #[must_use]
    pub fn matches(&self, origin: &Origin, content: &Hash) -> Option<OptOutMatch> {
        let mut addresses = std::iter::once(&origin.location).chain(&origin.part);
        addresses
            .find_map(|address| self.matches_url(address))
            .or_else(|| self.matches_hash(content))
    }
}

/// Tells whether a text starts with an entry of a set, of which none starts with another. The
/// last entry before the text is the only one that can.
fn covers(prefixes: &BTreeSet<String>, text: &str) -> bool {
    let last = prefixes.range::<str, _>((Bound::Unbounded, Bound::Included(text))).next_back();
    last.is_some_and(|prefix| text.starts_with(prefix.as_str()))
}

/// Returns a host's name in the form that URLs have it.
fn host(name: &str) -> Option<String> {
    let name = name.trim_start_matches("*.").trim_end_matches('.');
    let is_name = !name.is_empty() && !name.contains([':', '/', '@', '?', '#']);
    let host = Host::parse(name).ok().filter(|_| is_name)?;
    Some(host.to_string())
}

fn web_url(address: &str) -> Option<Url> {
    let url = Url::parse(address).ok()?;
    (matches!(url.scheme(), "http" | "https") && url.has_host()).then_some(url)
}

/// Returns host, port, path, and query. Port 80 or 443 is the scheme's own.
fn normal(url: &Url) -> String {
    let host = url.host_str().unwrap_or_default().trim_end_matches('.');
    let port = url.port().map(|port| format!(":{port}")).unwrap_or_default();
    format!("{host}{port}{}", &url[Position::BeforePath..Position::AfterQuery])
}

fn hash(digits: &str) -> Option<Hash> {
    blake3::Hash::from_hex(digits).ok().map(|hash| *hash.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn list(text: &str) -> OptOutList {
        OptOutList::parse(text).unwrap()
    }

    #[test]
    fn hosts_and_those_below_are_out() {
        let list = list("# comment\n\nhost Example.org # why\nhost *.bücher.test.");
        for url in [
            "http://example.org/",
            "https://a.b.EXAMPLE.org:8080/x?y#z",
            "http://u:p@example.org.",
            "https://www.xn--bcher-kva.test/",
        ] {
            assert_eq!(list.matches_url(url), Some(OptOutMatch::Host), "{url}");
        }
        for url in [
            "http://notexample.org/",
            "http://example.org.evil.test/",
            "example.org",
            "",
            "ftp://example.org/",
        ] {
            assert_eq!(list.matches_url(url), None, "{url}");
        }
    }

    #[test]
    fn urls_that_start_so_are_out() {
        let list =
            list("url https://example.com/a/\nurl http://example.com/a/b\nurl http://x.y/?q");
        for url in [
            "http://example.com/a/",
            "https://EXAMPLE.com:443/c/../a/b?x",
            "https://x.y?q=1",
            "http://user@example.com/%61/../a/",
        ] {
            assert_eq!(list.matches_url(url), Some(OptOutMatch::Url), "{url}");
        }
        for url in ["https://example.com/a", "https://example.com:8080/a/", "https://x.y/z?q"] {
            assert_eq!(list.matches_url(url), None, "{url}");
        }
    }

    #[test]
    fn contents_are_out() {
        let raw = *blake3::hash(b"text").as_bytes();
        let list = list(&format!("hash {}", blake3::hash(b"text").to_hex().to_uppercase()));
        let origin = Origin { location: "a/b.txt".to_owned(), ..Origin::default() };
        let found = list.matches(&origin, &raw).unwrap();
        assert_eq!(found.decision().rule, "opt_out.hash");
        assert_eq!(list.matches(&origin, &[0; 32]), None);
    }

    #[test]
    fn addresses_of_rows_and_records_are_out() {
        let list = list("host example.org\nurl https://example.com/a/");
        let within = |part: &[&str]| Origin {
            location: "org/set/en/0.json.gz@main".to_owned(),
            part: part.iter().map(|&name| name.to_owned()).collect(),
            ..Origin::default()
        };
        for (part, found) in [
            (&["row 1", "https://www.example.org/x"][..], Some(OptOutMatch::Host)),
            (&["a.warc.gz", "record 2", "http://example.com/a/b"], Some(OptOutMatch::Url)),
            (&["row 1", "https://example.com/b"], None),
            (&["row 1", "id example.org"], None),
            (&[], None),
        ] {
            assert_eq!(list.matches(&within(part), &[0; 32]), found, "{part:?}");
        }
    }

    #[test]
    fn the_digest_is_of_the_entries() {
        let one = list("host a.b\nurl http://c.d/\n");
        assert_eq!(one.digest(), list("# x\nurl https://C.D\n\nhost A.B\nhost a.b").digest());
        assert_ne!(one.digest(), list("host a.b").digest());
        assert_eq!(list("").digest(), OptOutList::default().digest());
    }

    #[test]
    fn errors_name_the_line() {
        for entry in [
            "host",
            "host a b",
            "host http://a.b",
            "url a.b/c",
            "url ftp://a.b/",
            "hash 12",
            "example.org",
            "Host a.b",
        ] {
            let error = OptOutList::parse(&format!("host a.b\n{entry}")).unwrap_err();
            assert!(error.starts_with("line 2 is"), "{error}");
        }
    }

    #[test]
    fn files_are_read_or_named() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("opt-out.txt");
        let error = OptOutList::open(&path).unwrap_err().to_string();
        assert!(error.contains("cannot read the opt-out list"), "{error}");
        fs::write(&path, "nonsense").unwrap();
        let error = OptOutList::open(&path).unwrap_err().to_string();
        assert!(error.contains("opt-out.txt is damaged: line 1"), "{error}");
        fs::write(&path, "host a.b").unwrap();
        assert_eq!(OptOutList::open(&path).unwrap(), list("host a.b"));
    }
}
