// SPDX-License-Identifier: Apache-2.0

//! Web pages, and the extractor of their text.

use dom_smoothie::{CandidateSelectMode, Config, Readability, TextMode};
use encoding_rs::Encoding;

use super::{
    Context, Event, Next, Parser,
    encoding::{self, Charset},
    guarded, html_bounds,
    source::{Fault, Source},
};
use crate::Tool;

/// Bytes in which a page may name its encoding, by the HTML standard.
const PRESCAN: usize = 1024;

/// Extractor of the text that people read from a web page.
///
/// Pages reach it decoded and within bounds on length, depth, and number of elements.
pub trait HtmlExtractor: Send + Sync {
    /// Returns the program and its version. It has to change where extracted texts do.
    fn tool(&self) -> Tool;

    /// Returns the text of a page, if it has any. `url` is the address of the page.
    fn extract(&self, html: &str, url: Option<&str>) -> Option<String>;
}

/// Text above which an extraction counts as found, in characters. Readability's own 500 makes it
/// look again with less care on short pages, and take what stands around them.
const MIN_CHARACTERS: usize = 150;

/// Extraction by `dom_smoothie`, a port of Mozilla's Readability.
#[derive(Clone, Copy, Debug, Default)]
pub struct DomSmoothie;

impl HtmlExtractor for DomSmoothie {
    fn tool(&self) -> Tool {
        Tool { name: "dom_smoothie".into(), version: "0.19".into() }
    }

    fn extract(&self, html: &str, url: Option<&str>) -> Option<String> {
        let config = Config {
            text_mode: TextMode::Formatted,
            candidate_select_mode: CandidateSelectMode::DomSmoothie,
            char_threshold: MIN_CHARACTERS,
            ..Config::default()
        };
        let article = Readability::new(html, url, Some(config)).ok()?.parse().ok()?;
        Some(article.text_content.to_string())
    }
}

/// Parser of one page.
pub(super) struct Page {
    context: Context,
    source: Source,
    charset: Charset,
    mark: usize,
    read: bool,
}

impl Page {
    pub(super) fn new(context: Context, source: Source, charset: Charset, mark: usize) -> Self {
        Self { context, source, charset, mark, read: false }
    }
}

impl Parser for Page {
    fn next(&mut self) -> Next {
        if std::mem::replace(&mut self.read, true) {
            return Ok(None);
        }
        let limit = self.context.limits().page;
        let bytes = self.source.fill(limit + 1);
        if bytes.len() > limit {
            return Err(Fault::Refused(format!("a web page of over {limit} bytes")));
        }
        let raw = blake3::hash(bytes).into();
        let charset = match self.charset {
            _ if self.mark > 0 || self.context.hints.charset.is_some() => self.charset,
            guess => meta_charset(bytes, guess),
        };
        let (html, invalid) = encoding::decode(charset, &bytes[self.mark..]);
        self.source.end()?;
        html_bounds::check(&html).map_err(|reason| Fault::Refused(reason.into()))?;
        let origin = &self.context.origin;
        let mut places = origin.part.iter().rev().chain(Some(&origin.location));
        let url =
            places.find(|place| place.starts_with("http://") || place.starts_with("https://"));
        let extractor = &self.context.shared.options.html;
        let text = guarded(|| extractor.extract(&html, url.map(String::as_str)))?
            .map(encoding::normalise_line_ends)
            .filter(|text| !text.trim_ascii().is_empty())
            .ok_or_else(|| Fault::Refused("a web page without readable text".into()))?;
        let mut document = self.context.document(Vec::new(), "html", raw, invalid, text);
        document.extractor = extractor.tool();
        Ok(Some(Event::Document(document)))
    }
}

/// Returns the encoding that a page names in a `meta` element, or the guess. A page whose bytes
/// are valid UTF-8 beyond ASCII is UTF-8 whatever it names.
fn meta_charset(bytes: &[u8], guess: Charset) -> Charset {
    if encoding::is_utf_16(guess) || guess == Charset::Known(encoding_rs::UTF_8) {
        return guess;
    }
    let start = String::from_utf8_lossy(&bytes[..bytes.len().min(PRESCAN)]).to_ascii_lowercase();
    let decided = encoding::decide(bytes);
    if decided == Charset::Known(encoding_rs::UTF_8) {
        return decided;
    }
    let named = start.split("<meta").skip(1).find_map(|element| {
        let element = element.split('>').next()?;
        let value = element.split_once("charset")?.1.trim_start().strip_prefix('=')?;
        let value = value.trim_start().trim_start_matches(['"', '\'']);
        let end = value.find(['"', '\'', ' ', ';', '/']).unwrap_or(value.len());
        Encoding::for_label(&value.as_bytes()[..end])
    });
    match named {
        // A page whose ASCII can be read does not have the units of UTF-16.
        Some(encoding) if encoding.is_ascii_compatible() => Charset::Known(encoding),
        _ => decided,
    }
}
