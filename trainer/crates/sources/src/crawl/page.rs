// SPDX-License-Identifier: Apache-2.0

//! Links of a web page, and what it says about itself.

use crate::signals::Signals;
use html5ever::{
    Attribute, LocalName,
    tendril::StrTendril,
    tokenizer::{
        BufferQueue, Tag, TagKind, Token, TokenSink, TokenSinkResult, Tokenizer, TokenizerOpts,
        states::{Rawtext, Rcdata, ScriptData},
    },
};
use std::cell::RefCell;
use url::Url;

/// Most links of a page that are followed.
const MAX_LINKS: usize = 2000;

/// Facts about a page that its elements state.
#[derive(Debug, Default)]
pub(crate) struct PageFacts {
    /// Addresses that it links to, without those that ask not to be followed.
    pub(crate) links: Vec<Url>,
    /// Address that it names as its own.
    pub(crate) canonical: Option<Url>,
    /// Licence that it names.
    pub(crate) licence: Option<String>,
}

/// Reads the elements of the page at `url`, and adds its signals to `signals`. Links with
/// `rel="nofollow"` are left out if `obeys_nofollow`.
///
/// The page is read as a sequence of tags, so that neither depth nor broken nesting matter.
pub(crate) fn read(
    html: &str,
    url: &Url,
    obeys_nofollow: bool,
    signals: &mut Signals,
) -> PageFacts {
    let state = State { base: url.clone(), facts: PageFacts::default(), obeys_nofollow, signals };
    let sink = Sink(RefCell::new(state));
    let tokenizer = Tokenizer::new(sink, TokenizerOpts::default());
    let input = BufferQueue::default();
    input.push_back(StrTendril::from_slice(html));
    let _ = tokenizer.feed(&input);
    tokenizer.end();
    tokenizer.sink.0.into_inner().facts
}

struct Sink<'a>(RefCell<State<'a>>);

struct State<'a> {
    base: Url,
    facts: PageFacts,
    obeys_nofollow: bool,
    signals: &'a mut Signals,
}

impl TokenSink for Sink<'_> {
    type Handle = ();

    fn process_token(&self, token: Token, _line: u64) -> TokenSinkResult<()> {
        let Token::TagToken(tag) = token else { return TokenSinkResult::Continue };
        if tag.kind == TagKind::EndTag {
            return TokenSinkResult::Continue;
        }
        self.0.borrow_mut().read(&tag);
        match &*tag.name {
            "script" => TokenSinkResult::RawData(ScriptData),
            "title" | "textarea" => TokenSinkResult::RawData(Rcdata),
            "style" | "xmp" | "iframe" | "noembed" | "noframes" => {
                TokenSinkResult::RawData(Rawtext)
            }
            "plaintext" => TokenSinkResult::Plaintext,
            _ => TokenSinkResult::Continue,
        }
    }
}

impl State<'_> {
    fn read(&mut self, tag: &Tag) {
        let value = |name: &str| attribute(&tag.attrs, name);
        let relation = value("rel").unwrap_or_default().to_ascii_lowercase();
        let is = |wanted: &str| relation.split_ascii_whitespace().any(|word| word == wanted);
        match &*tag.name {
            "base" => {
                if let Some(base) = value("href").and_then(|href| self.base.join(href).ok()) {
                    self.base = base;
                }
            }
            "meta" => {
                if let (Some(name), Some(content)) = (value("name"), value("content")) {
                    self.signals.add_meta(name, content);
                }
            }
            name @ ("a" | "area" | "link") => {
                let target = value("href").and_then(|href| self.base.join(href.trim()).ok());
                let Some(target) = target.filter(|url| matches!(url.scheme(), "http" | "https"))
                else {
                    return;
                };
                if is("license") {
                    let known = self.signals.add_licence(&target);
                    self.facts.licence = self.facts.licence.take().or(known);
                }
                if name != "link" {
                    if !(self.obeys_nofollow && is("nofollow"))
                        && self.facts.links.len() < MAX_LINKS
                    {
                        self.facts.links.push(target);
                    }
                } else if is("canonical") {
                    self.facts.canonical.get_or_insert(target);
                }
            }
            _ => {}
        }
    }
}

fn attribute<'a>(attributes: &'a [Attribute], name: &str) -> Option<&'a str> {
    let name = LocalName::from(name);
    attributes.iter().find(|attribute| attribute.name.local == name).map(|found| &*found.value)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::signals::Obeyed;
    use proptest::prelude::*;

    fn facts(html: &str) -> (PageFacts, Signals) {
        let url = Url::parse("http://example.org/dir/page").unwrap();
        let mut signals = Signals::default();
        (read(html, &url, true, &mut signals), signals)
    }

    fn links(html: &str) -> Vec<String> {
        facts(html).0.links.into_iter().map(Into::into).collect()
    }

    #[test]
    fn links_are_relative_to_the_base() {
        assert_eq!(
            links("<a href='a'>1<A HREF=\"/b?x=1&amp;y=2\">2</a><area href=//x.org/c>"),
            ["http://example.org/dir/a", "http://example.org/b?x=1&y=2", "http://x.org/c"]
        );
        assert_eq!(links("<base href='/root/'><a href='a'>"), ["http://example.org/root/a"]);
    }

    #[test]
    fn what_is_no_link_is_left_out() {
        let html = "<a href='mailto:x@y'>m</a><a href='javascript:void(0)'>j</a><a>n</a>\
                    <script>'<a href=/s>'</script><!-- <a href=/c> --><title><a href=/t></title>\
                    <a rel='external NOFOLLOW' href=/n>n</a><a href='http://['>b</a>";
        assert!(links(html).is_empty());
    }

    #[test]
    fn the_head_is_read() {
        let (facts, signals) = facts(
            "<link rel=canonical href=/c><link rel='license' \
             href='https://creativecommons.org/licenses/by/4.0/'><link rel=alternate href=feed>\
             <meta name=robots content='noai, noindex'>",
        );
        assert_eq!(facts.canonical.unwrap().as_str(), "http://example.org/c");
        assert_eq!(facts.licence.as_deref(), Some("CC-BY-4.0"));
        assert_eq!(signals.forbids_storing(&Obeyed::default()), Some("robots: noai"));
    }

    #[test]
    fn broken_and_endless_pages_are_read() {
        assert_eq!(links("<div<a href=/x><p><a href='/y><b>").len(), 0);
        assert_eq!(links("</p></b><table><a href=/y>").len(), 1);
        assert_eq!(links(&"<a href=/x>".repeat(3000)).len(), MAX_LINKS);
        assert_eq!(links(&("<div>".repeat(50_000) + "<a href=/x>")).len(), 1);
    }

    proptest! {
        #[test]
        fn any_text_is_read(text in "\\PC{0,60}", tags in "[<>/!a-z\"'=&;# \\-]{0,120}") {
            facts(&text);
            facts(&tags);
            facts(&format!("<a href='{text}'><meta name=robots content='{text}'>"));
        }
    }
}
