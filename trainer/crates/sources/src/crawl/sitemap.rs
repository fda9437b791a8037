// SPDX-License-Identifier: Apache-2.0

//! Sitemaps (sitemaps.org protocol 0.9): lists of a site's pages, and lists of such lists.

use crate::http::gunzip;
use quick_xml::{Reader, events::Event};
use url::Url;

/// Largest sitemap, in bytes, and the most addresses in one, by the protocol.
pub(crate) const MAX_BYTES: u64 = 50 << 20;
const MAX_URLS: usize = 50_000;
/// Longest address, in bytes, by the protocol.
const MAX_URL_BYTES: usize = 2048;

/// Content of a sitemap.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Sitemap {
    /// Pages.
    pub(crate) pages: Vec<Url>,
    /// Further sitemaps.
    pub(crate) sitemaps: Vec<Url>,
}

/// Reads a sitemap: XML or a text with an address a line, both compressed or not. What comes before
/// a mistake in it counts.
///
/// # Errors
///
/// Fails if it holds no address, with the reason.
pub(crate) fn read(body: &[u8]) -> Result<Sitemap, String> {
    read_within(body, MAX_BYTES)
}

fn read_within(body: &[u8], max_bytes: u64) -> Result<Sitemap, String> {
    let unpacked;
    let mut body = body;
    if body.starts_with(&[0x1f, 0x8b]) {
        unpacked = gunzip(body, max_bytes).map_err(|error| error.to_string())?;
        body = &unpacked;
    }
    let body = body.strip_prefix(b"\xef\xbb\xbf").unwrap_or(body).trim_ascii_start();
    let mut sitemap = Sitemap::default();
    let text = String::from_utf8_lossy(body);
    if text.starts_with('<') {
        read_xml(&text, &mut sitemap);
    } else {
        text.lines().take(MAX_URLS).for_each(|line| add(&mut sitemap.pages, line));
    }
    if sitemap == Sitemap::default() {
        return Err("it is no sitemap: it lists no address".to_owned());
    }
    Ok(sitemap)
}

fn read_xml(text: &str, sitemap: &mut Sitemap) {
    let mut reader = Reader::from_str(text);
    let mut is_index = false;
    let mut location: Option<String> = None;
    let mut count = 0;
    while let Ok(event) = reader.read_event() {
        match event {
            Event::Start(tag) => match tag.local_name().as_ref() {
                "sitemap" => is_index = true,
                "url" => is_index = false,
                "loc" => location = Some(String::new()),
                _ => {}
            },
            Event::Text(text) => append(&mut location, &text),
            Event::CData(text) => append(&mut location, &text),
            Event::GeneralRef(name) => append(&mut location, entity(&name)),
            Event::End(tag) if tag.local_name().as_ref() == "loc" => {
                let list = if is_index { &mut sitemap.sitemaps } else { &mut sitemap.pages };
                add(list, &location.take().unwrap_or_default());
                count += 1;
            }
            Event::Eof => break,
            _ => {}
        }
        if count >= MAX_URLS {
            break;
        }
    }
}

/// Adds text to an address that is being read.
fn append(location: &mut Option<String>, text: &str) {
    if let Some(location) = location
        && location.len() <= MAX_URL_BYTES
    {
        location.push_str(text);
    }
}

/// Returns the character that one of the entities of XML stands for. Others are not in addresses.
fn entity(name: &str) -> &'static str {
    match name {
        "amp" => "&",
        "lt" => "<",
        "gt" => ">",
        "quot" => "\"",
        "apos" => "'",
        _ => "",
    }
}

fn add(list: &mut Vec<Url>, text: &str) {
    let text = text.trim();
    if text.len() <= MAX_URL_BYTES
        && let Ok(url) = Url::parse(text)
        && matches!(url.scheme(), "http" | "https")
    {
        list.push(url);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use flate2::{Compression, write::GzEncoder};
    use proptest::prelude::*;
    use std::io::Write;

    const PAGES: &str = "<?xml version='1.0'?><urlset xmlns='http://www.sitemaps.org/schemas/\
        sitemap/0.9'><url><loc> http://a.org/1?x=1&amp;y=2 </loc><lastmod>2024-01-01</lastmod>\
        </url><url><loc><![CDATA[http://a.org/2]]></loc></url><url><loc>ftp://a.org/3</loc></url>\
        </urlset>";

    fn strings(urls: &[Url]) -> Vec<&str> {
        urls.iter().map(Url::as_str).collect()
    }

    #[test]
    fn pages_and_indexes_are_read() {
        let sitemap = read(PAGES.as_bytes()).unwrap();
        assert_eq!(strings(&sitemap.pages), ["http://a.org/1?x=1&y=2", "http://a.org/2"]);
        let index = "<sitemapindex><sitemap><loc>http://a.org/s.xml.gz</loc></sitemap>";
        let sitemap = read(index.as_bytes()).unwrap();
        assert_eq!(strings(&sitemap.sitemaps), ["http://a.org/s.xml.gz"]);
        let sitemap = read(b"\xef\xbb\xbfhttp://a.org/1\r\nhttp://a.org/2\nnone\n").unwrap();
        assert_eq!(strings(&sitemap.pages), ["http://a.org/1", "http://a.org/2"]);
    }

    #[test]
    fn compressed_ones_are_unpacked_within_limits() {
        let gzip = |bytes: &[u8]| {
            let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
            encoder.write_all(bytes).unwrap();
            encoder.finish().unwrap()
        };
        assert_eq!(read(&gzip(PAGES.as_bytes())).unwrap().pages.len(), 2);
        let bomb = gzip(&[b' '; 10_001]);
        assert!(read_within(&bomb, 10_000).unwrap_err().contains("larger"));
    }

    #[test]
    fn what_is_no_sitemap_is_refused() {
        for body in ["", "<html><body>none</body></html>", "<urlset>", "text", "\u{1f}\u{8b}"] {
            assert!(read(body.as_bytes()).unwrap_err().contains("no sitemap"), "{body}");
        }
        assert!(read(&[0x1f, 0x8b, 8, 0]).is_err());
    }

    #[test]
    fn addresses_are_limited_in_number_and_length() {
        let many = "<url><loc>http://a.org/1</loc></url>".repeat(MAX_URLS + 10);
        assert_eq!(read(many.as_bytes()).unwrap().pages.len(), MAX_URLS);
        let long = format!("http://a.org/{}\nhttp://a.org/1", "x".repeat(3000));
        assert_eq!(read(long.as_bytes()).unwrap().pages.len(), 1);
        let laughs = "<!DOCTYPE a [<!ENTITY b 'x'><!ENTITY c '&b;&b;'>]><url><loc>http://a.org/\
                      &c;1</loc></url>";
        assert_eq!(strings(&read(laughs.as_bytes()).unwrap().pages), ["http://a.org/1"]);
    }

    proptest! {
        #[test]
        fn any_bytes_are_read(bytes: Vec<u8>, xml in "[<>/!a-z\\[\\]&;:. ]{0,80}") {
            let _ = read(&bytes);
            let _ = read(xml.as_bytes());
        }
    }
}
