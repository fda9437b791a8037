// SPDX-License-Identifier: Apache-2.0

//! Text of fragments of HTML, of which all is content.

use pol_corpus::{Content, Documents, HtmlExtractor, Input, Origin, ReadOptions, Tool};
use std::sync::Arc;

/// Extractor that keeps all text.
struct AllText;

impl HtmlExtractor for AllText {
    fn tool(&self) -> Tool {
        Tool { name: "dom_query".into(), version: "0.29".into() }
    }

    fn extract(&self, html: &str, _: Option<&str>) -> Option<String> {
        Some(dom_query::Document::from(html).formatted_text().to_string())
    }
}

/// Returns the text of a fragment of HTML.
///
/// # Errors
///
/// Returns the reason if it has none, or if it is too large or too deep.
pub(super) fn html_text(fragment: &str) -> Result<String, String> {
    let options = ReadOptions { html: Arc::new(AllText), ..ReadOptions::default() };
    let page = format!("<!DOCTYPE html><html><body>{fragment}</body></html>");
    let input = Input {
        origin: Origin::default(),
        media: Some("text/html; charset=utf-8".into()),
        content: Content::Bytes(page.into_bytes()),
    };
    let mut text = String::new();
    for item in Documents::open(input, &options).map_err(|error| error.to_string())? {
        match item.map_err(|error| error.to_string())? {
            Ok(document) => text.push_str(&document.text),
            Err(refusal) => return Err(refusal.reason),
        }
    }
    let text = text.trim();
    if text.is_empty() { Err("it has no text".into()) } else { Ok(text.to_owned()) }
}

/// Joins a title and the text below it.
pub(super) fn titled(title: Option<&str>, text: &str) -> String {
    match title.map(str::trim).filter(|title| !title.is_empty()) {
        Some(title) => format!("{title}\n\n{text}"),
        None => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_of_a_fragment_is_text() {
        let html = "I&#x27;m <i>sure</i>.<p>Second &amp; last.<pre><code>if x:\n    y</code></pre>";
        let text = html_text(html).unwrap();
        assert!(text.starts_with("I'm sure."), "{text}");
        assert!(text.contains("Second & last.") && text.contains("if x:\n    y"), "{text}");
        assert_eq!(html_text("short").unwrap(), "short");
        assert!(html_text("  <br> ").is_err());
        assert!(html_text(&"<div>".repeat(100_000)).is_err());
    }
}
