// SPDX-License-Identifier: Apache-2.0

//! Answers of services with an interface of their own, in the shapes of their documentation:
//! *arXiv API User's Manual*, and *Stack Exchange API v2.3*.

use crate::site::{escape, html_paragraphs};
use serde_json::{Value, json};
use std::fmt::Write;

/// Returns an answer of arXiv with papers, each by its number, title, and abstract, out of `total`.
pub fn arxiv_feed(papers: impl Iterator<Item = (u64, String, String)>, total: u64) -> String {
    let mut entries = String::new();
    for (number, title, summary) in papers {
        let _ = write!(
            entries,
            "<entry><id>http://arxiv.org/abs/2401.{number:05}v1</id>\
             <published>2024-01-01T00:{:02}:00Z</published>\
             <updated>2024-01-01T00:00:00Z</updated><title>{}</title>\
             <summary>{}</summary>\
             <author><name>A. Author</name></author><category term=\"cs.CL\"/></entry>",
            number % 60,
            escape(&title),
            escape(&summary)
        );
    }
    format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?><feed xmlns=\"http://www.w3.org/2005/Atom\">\
         <id>http://arxiv.org/api/x</id><title>ArXiv Query</title>\
         <updated>2024-01-01T00:00:00Z</updated>\
         <opensearch:totalResults xmlns:opensearch=\"http://a9.com/-/spec/opensearch/1.1/\">{total}\
         </opensearch:totalResults>{entries}</feed>"
    )
}

/// Returns a question of Stack Exchange.
#[must_use]
pub fn stack_post(number: u64, title: &str, text: &str) -> Value {
    json!({
        "post_id": number, "post_type": "question", "creation_date": 1_600_000_000 + number,
        "content_license": "CC BY-SA 4.0", "title": title, "body": html_paragraphs(text),
        "link": format!("https://stackoverflow.com/q/{number}"),
    })
}
