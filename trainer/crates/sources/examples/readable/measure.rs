// SPDX-License-Identifier: Apache-2.0

//! Words of main text that an extractor finds, and its speed.

use crate::pages::{self, Labelled};
use std::{
    collections::BTreeMap,
    env, fs, io,
    path::Path,
    time::{Duration, Instant},
};

/// Pages for each layout, and the seed of their words.
const PAGES: u64 = 30;
const SEED: u64 = 1;

/// Sums over the pages of a layout.
#[derive(Default)]
struct Sums {
    pages: f64,
    bytes: usize,
    precision: f64,
    recall: f64,
    f1: f64,
    time: Duration,
}

/// Measures an extractor on the pages in the folder that the first argument names, or on made ones,
/// and prints a table.
pub(crate) fn measure(name: &str, extract: impl Fn(&str) -> String) -> io::Result<()> {
    let pages = match env::args_os().nth(1) {
        Some(folder) => read(Path::new(&folder))?,
        None => pages::labelled(PAGES, SEED),
    };
    let mut layouts: BTreeMap<&str, Sums> = BTreeMap::new();
    for page in &pages {
        let start = Instant::now();
        let text = extract(&page.html);
        let time = start.elapsed();
        let (precision, recall) = compare(&text, &page.text);
        for layout in [page.layout, "all"] {
            let sums = layouts.entry(layout).or_default();
            sums.pages += 1.0;
            sums.bytes += page.html.len();
            sums.precision += precision;
            sums.recall += recall;
            sums.f1 += if precision + recall > 0.0 {
                2.0 * precision * recall / (precision + recall)
            } else {
                0.0
            };
            sums.time += time;
        }
    }
    println!("{name}\nlayout     pages  KiB a page  precision  recall     F1  ms a page");
    for (layout, sums) in layouts {
        let Sums { pages, bytes, precision, recall, f1, time } = sums;
        println!(
            "{layout:10} {pages:5} {:11.1} {:10.3} {:7.3} {:6.3} {:10.2}",
            bytes as f64 / 1024.0 / pages,
            precision / pages,
            recall / pages,
            f1 / pages,
            time.as_secs_f64() * 1000.0 / pages,
        );
    }
    Ok(())
}

/// Reads pages and their texts from a folder.
fn read(folder: &Path) -> io::Result<Vec<Labelled>> {
    let mut pages = Vec::new();
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == "html") {
            let html = String::from_utf8_lossy(&fs::read(&path)?).into_owned();
            let text = fs::read_to_string(path.with_extension("txt"))?;
            pages.push(Labelled { layout: "files", html, text });
        }
    }
    Ok(pages)
}

/// Returns the share of the words of `text` that are in `truth`, and the reverse.
fn compare(text: &str, truth: &str) -> (f64, f64) {
    let (text, truth) = (words(text), words(truth));
    let common: usize =
        text.iter().map(|(word, count)| truth.get(word).map_or(0, |other| *count.min(other))).sum();
    let share = |words: &BTreeMap<String, usize>| {
        common as f64 / words.values().sum::<usize>().max(1) as f64
    };
    (share(&text), share(&truth))
}

fn words(text: &str) -> BTreeMap<String, usize> {
    let mut words = BTreeMap::new();
    for word in text.split(|character: char| !character.is_alphanumeric()) {
        if !word.is_empty() {
            *words.entry(word.to_lowercase()).or_default() += 1;
        }
    }
    words
}
