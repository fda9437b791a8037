// SPDX-License-Identifier: Apache-2.0

//! Measures the extractor of readable text on labelled pages.
//!
//! ```sh
//! cargo run --release -p pol-sources --example readable            # pages made by templates
//! cargo run --release -p pol-sources --example readable -- FOLDER  # NAME.html with NAME.txt
//! ```
//!
//! It prints the F1 of words, counted as often as they occur, and the time a page takes.
//! `scripts/bench-data.sh --readable` runs others on the same pages.

mod measure;
mod pages;

use pol_corpus::{DomSmoothie, HtmlExtractor};
use std::io;

fn main() -> io::Result<()> {
    measure::measure("pol", |html| DomSmoothie.extract(html, None).unwrap_or_default())
}
