// SPDX-License-Identifier: Apache-2.0

//! Measures other extractors on the pages of the example `readable`: `rs-trafilatura`, and
//! `dom_smoothie` with the settings that it comes with.

#[path = "../../../trainer/crates/sources/examples/readable/measure.rs"]
mod measure;
#[path = "../../../trainer/crates/sources/examples/readable/pages.rs"]
mod pages;

use std::io;

fn main() -> io::Result<()> {
    measure::measure("dom_smoothie, as it comes", |html| {
        let reader = dom_smoothie::Readability::new(html, None, None);
        let article = reader.ok().and_then(|mut reader| reader.parse().ok());
        article.map(|article| article.text_content.to_string()).unwrap_or_default()
    })?;
    measure::measure("rs-trafilatura", |html| {
        rs_trafilatura::extract(html).map(|found| found.content_text).unwrap_or_default()
    })
}
