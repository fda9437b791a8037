// SPDX-License-Identifier: Apache-2.0

//! Answers of an OAI-PMH service with articles in JATS.
//!
//! Sources: *The Open Archives Initiative Protocol for Metadata Harvesting*, version 2.0, and
//! ANSI/NISO Z39.96, *JATS: Journal Article Tag Suite*.

use crate::signals::licence_of_url;
use quick_xml::{
    Reader,
    events::{BytesRef, BytesStart, Event},
};
use url::Url;

/// Most elements within each other.
const MAX_DEPTH: usize = 256;
/// Elements of an article that are left out: apparatus, formulas, and what stands beside the text.
const LEFT_OUT: [&str; 14] = [
    "back",
    "disp-formula",
    "fig",
    "fig-group",
    "fn-group",
    "inline-formula",
    "math",
    "ref-list",
    "response",
    "sub-article",
    "supplementary-material",
    "table-wrap",
    "table-wrap-group",
    "tex-math",
];
/// Elements that end a paragraph of text.
const BLOCKS: [&str; 9] = [
    "abstract",
    "article-title",
    "disp-quote",
    "list-item",
    "p",
    "preformat",
    "sec",
    "title",
    "verse-line",
];

/// A page of an answer.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Records {
    /// Records, in order.
    pub(super) records: Vec<Record>,
    /// Token of the next page.
    pub(super) token: Option<String>,
    /// Code of the error that the answer is.
    pub(super) error: Option<String>,
}

/// An article.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Record {
    /// Identifier, such as `oai:pubmedcentral.nih.gov:13901`.
    pub(super) identifier: String,
    /// Date of the last change.
    pub(super) datestamp: String,
    /// The article was withdrawn.
    pub(super) is_deleted: bool,
    /// Licence, as an SPDX expression.
    pub(super) licence: Option<String>,
    /// Title, abstract and body, with an empty line between paragraphs.
    pub(super) text: String,
}

/// Reads an answer.
///
/// # Errors
///
/// Fails with the reason if `body` is no XML, or is cut off.
pub(super) fn read(body: &[u8]) -> Result<Records, String> {
    let text = std::str::from_utf8(body).map_err(|error| error.to_string())?;
    let mut reader = Reader::from_str(text);
    let mut parser = Parser::default();
    loop {
        match reader.read_event().map_err(|error| error.to_string())? {
            Event::Start(tag) => parser.open(&tag, tag.local_name().as_ref())?,
            Event::Empty(tag) => {
                parser.open(&tag, tag.local_name().as_ref())?;
                parser.close();
            }
            Event::Text(text) => parser.text(&text),
            Event::CData(text) => parser.text(&text),
            Event::GeneralRef(name) => parser.text(&resolve(&name)),
            Event::End(_) => parser.close(),
            Event::Eof if parser.path.is_empty() => return Ok(parser.records),
            Event::Eof => return Err("it ends too early".into()),
            _ => {}
        }
    }
}

/// Returns the character that a reference stands for. JATS has those of XML; others are left out.
fn resolve(name: &BytesRef<'_>) -> String {
    if let Ok(Some(char)) = name.resolve_char_ref() {
        return char.into();
    }
    quick_xml::escape::resolve_xml_entity(name).unwrap_or_default().to_owned()
}

/// State of reading.
#[derive(Default)]
struct Parser {
    /// Names of the elements that are open.
    path: Vec<String>,
    records: Records,
    record: Record,
    /// Text of the element or paragraph that is being read.
    current: String,
}

impl Parser {
    fn is_in(&self, name: &str) -> bool {
        self.path.iter().any(|open| open == name)
    }

    /// Returns `true` if text here belongs to the article.
    fn is_article(&self) -> bool {
        let is_kept = self.is_in("body")
            || self.is_in("abstract")
            || (self.is_in("title-group") && self.is_in("article-title"));
        is_kept && !self.path.iter().any(|open| LEFT_OUT.contains(&open.as_str()))
    }

    fn open(&mut self, tag: &BytesStart<'_>, name: &str) -> Result<(), String> {
        if self.path.len() >= MAX_DEPTH {
            return Err(format!("it has over {MAX_DEPTH} elements within each other"));
        }
        if BLOCKS.contains(&name) {
            self.end_paragraph();
        }
        self.path.push(name.to_owned());
        let attribute = |name| {
            let found = tag.try_get_attribute(name).ok().flatten();
            found.map(|attribute| attribute.value.into_owned())
        };
        match name {
            "record" => self.record = Record::default(),
            "header" => self.record.is_deleted = attribute("status").as_deref() == Some("deleted"),
            "error" if !self.is_in("article") => self.records.error = attribute("code"),
            "license" | "ext-link" if self.is_in("permissions") => {
                self.note_licence(attribute("xlink:href").as_deref());
            }
            _ => {}
        }
        if matches!(name, "identifier" | "datestamp" | "resumptionToken" | "license_ref") {
            self.current.clear();
        }
        Ok(())
    }

    fn note_licence(&mut self, address: Option<&str>) {
        if self.record.licence.is_none() {
            let url = address.and_then(|address| Url::parse(address.trim()).ok());
            self.record.licence = url.and_then(|url| licence_of_url(&url));
        }
    }

    fn text(&mut self, text: &str) {
        let is_field = self.path.last().is_some_and(|open| {
            matches!(open.as_str(), "identifier" | "datestamp" | "resumptionToken" | "license_ref")
        });
        if is_field || self.is_article() {
            self.current.push_str(text);
        }
    }

    fn close(&mut self) {
        let Some(name) = self.path.last().cloned() else { return };
        let is_in_article = self.is_in("article");
        match name.as_str() {
            "identifier" if !is_in_article => self.record.identifier = self.take(),
            "datestamp" if !is_in_article => self.record.datestamp = self.take(),
            "resumptionToken" => {
                self.records.token = Some(self.take()).filter(|token| !token.is_empty());
            }
            "license_ref" => {
                let address = self.take();
                self.note_licence(Some(&address));
            }
            "record" => self.records.records.push(std::mem::take(&mut self.record)),
            name if BLOCKS.contains(&name) => self.end_paragraph(),
            _ => {}
        }
        self.path.pop();
    }

    fn take(&mut self) -> String {
        std::mem::take(&mut self.current).trim().to_owned()
    }

    /// Adds the paragraph that was read to the article.
    fn end_paragraph(&mut self) {
        let words: Vec<&str> = self.current.split_whitespace().collect();
        if !words.is_empty() {
            if !self.record.text.is_empty() {
                self.record.text.push_str("\n\n");
            }
            self.record.text.push_str(&words.join(" "));
        }
        self.current.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// An answer in the shape of PubMed Central's service.
    const ANSWER: &str = r#"<?xml version="1.0"?>
<OAI-PMH xmlns="http://www.openarchives.org/OAI/2.0/"><ListRecords>
<record><header><identifier>oai:pubmedcentral.nih.gov:1</identifier>
<datestamp>2024-05-01</datestamp><setSpec>pmc-open</setSpec></header>
<metadata><article xmlns:xlink="x" xmlns:mml="m"><front>
<journal-meta><journal-title>Journal</journal-title></journal-meta>
<article-meta><title-group><article-title>On <italic>E. coli</italic></article-title></title-group>
<contrib-group><contrib>Somebody</contrib></contrib-group>
<permissions><copyright-statement>C</copyright-statement>
<license license-type="open-access" xlink:href="http://creativecommons.org/licenses/by/4.0/">
<license-p>Open.</license-p></license></permissions>
<abstract><title>Abstract</title><p>Short &amp; clear&#x2014;here.</p></abstract></article-meta>
</front>
<body><sec><title>Methods</title><p>We measured<xref>[1]</xref>
it <inline-formula><mml:math><mml:mi>x</mml:mi></mml:math></inline-formula>twice.</p>
<fig><caption><p>A figure.</p></caption></fig></sec></body>
<back><ref-list><title>References</title></ref-list></back></article></metadata></record>
<record><header status="deleted"><identifier>oai:pubmedcentral.nih.gov:2</identifier>
<datestamp>2024-05-02</datestamp></header></record>
<resumptionToken>next!token</resumptionToken></ListRecords></OAI-PMH>"#;

    #[test]
    fn articles_become_text() {
        let records = read(ANSWER.as_bytes()).unwrap();
        assert_eq!(records.token.as_deref(), Some("next!token"));
        let [article, deleted] = records.records.as_slice() else { panic!("{records:?}") };
        assert_eq!(
            article.text,
            "On E. coli\n\nAbstract\n\nShort & clear\u{2014}here.\n\nMethods\n\nWe measured[1] it \
             twice."
        );
        assert_eq!(article.identifier, "oai:pubmedcentral.nih.gov:1");
        assert_eq!(article.licence.as_deref(), Some("CC-BY-4.0"));
        assert!(!article.is_deleted && deleted.is_deleted);
        assert_eq!(deleted.datestamp, "2024-05-02");
        assert_eq!(deleted.text, "");
    }

    #[test]
    fn errors_have_a_code() {
        let body = r#"<OAI-PMH><error code="noRecordsMatch">None</error></OAI-PMH>"#;
        assert_eq!(read(body.as_bytes()).unwrap().error.as_deref(), Some("noRecordsMatch"));
    }

    #[test]
    fn what_is_cut_off_or_too_deep_is_refused() {
        assert!(read(&ANSWER.as_bytes()[..ANSWER.len() / 2]).is_err());
        assert!(read(b"<a></b>").is_err());
        let deep = "<p>".repeat(MAX_DEPTH + 1);
        assert!(read(deep.as_bytes()).unwrap_err().contains("256"));
    }

    proptest! {
        #[test]
        fn any_xml_is_read(body in "[<>/&;#!a-z \\[\\]\"=]{0,80}") {
            let _ = read(body.as_bytes());
        }
    }
}
