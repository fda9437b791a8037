// SPDX-License-Identifier: Apache-2.0

//! Speed of cleaning on one core, and the decisions of all rules.
//!
//! `clean_speed PATH [--piece BYTES] [--preset NAME]` cleans the files below a path in pieces of
//! the stated size, and prints megabytes a second: with all judgements made, and as the pipeline
//! stops at the first that drops, and the time that each rule takes by itself. `clean_speed PATH
//! --decisions` asks each rule by itself about each file as a whole, and prints a line of JSON for
//! each.

use std::{collections::BTreeMap, error::Error, fs};

use pol_corpus::filters::{CleanConfig, Cleaner, Preset, Setting};

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let path = arguments.next().ok_or("usage: clean_speed PATH [--piece BYTES] [--decisions]")?;
    let (mut piece, mut preset, mut is_list) = (usize::MAX, Preset::Web, false);
    while let Some(option) = arguments.next() {
        match option.as_str() {
            "--piece" => piece = arguments.next().ok_or("--piece needs a number")?.parse()?,
            "--preset" => {
                let name = arguments.next().ok_or("--preset needs a name")?;
                preset = serde_json::from_value(name.into())?;
            }
            "--decisions" => is_list = true,
            other => return Err(format!("unknown option {other}").into()),
        }
    }
    let mut files: Vec<_> = walkdir::WalkDir::new(path)
        .into_iter()
        .filter_map(Result::ok)
        .filter(|entry| entry.file_type().is_file())
        .map(walkdir::DirEntry::into_path)
        .collect();
    files.sort();
    let mut texts = Vec::new();
    for file in files {
        let name = file.file_name().unwrap_or_default().to_string_lossy().into_owned();
        texts.push((name, String::from_utf8_lossy(&fs::read(&file)?).into_owned()));
    }
    if is_list { print_decisions(&texts) } else { print_speed(&texts, piece, preset) }
}

/// Prints the measures and verdicts of each rule by itself.
fn print_decisions(texts: &[(String, String)]) -> Result<(), Box<dyn Error>> {
    let cleaners = each_rule(Preset::Web)?;
    for (name, text) in texts {
        let decisions: Vec<_> =
            cleaners.iter().flat_map(|cleaner| cleaner.clean(text.clone()).decisions).collect();
        println!("{}", serde_json::to_string(&(name, decisions))?);
    }
    Ok(())
}

/// Returns a cleaner for each rule of a preset.
fn each_rule(preset: Preset) -> Result<Vec<Cleaner>, Box<dyn Error>> {
    let mut cleaners = Vec::new();
    for rule in Cleaner::new(&CleanConfig::of(preset))?.rules() {
        let setting = Setting { on: Some(true), ..Setting::default() };
        let rules = BTreeMap::from([(rule.to_owned(), setting)]);
        cleaners.push(Cleaner::new(&CleanConfig { rules, ..CleanConfig::of(Preset::None) })?);
    }
    Ok(cleaners)
}

/// Prints megabytes a second.
fn print_speed(
    texts: &[(String, String)],
    piece: usize,
    preset: Preset,
) -> Result<(), Box<dyn Error>> {
    let pieces: Vec<&str> = texts.iter().flat_map(|(_, text)| pieces(text, piece)).collect();
    let bytes: usize = pieces.iter().map(|piece| piece.len()).sum();
    let config = CleanConfig::of(preset);
    // With the limits of all judgements open, none is spared. Changes have limits too.
    let is_change = |rule: &&str| ["c4.line_words", "c4.word_length"].contains(rule);
    let open = Setting { min: Some(0), max: Some(u64::MAX), ..Setting::default() };
    let rules = Cleaner::new(&config)?
        .rules()
        .filter(|rule| !is_change(rule))
        .map(|rule| (rule.to_owned(), open))
        .collect();
    let all = CleanConfig { rules, ..config.clone() };
    for (label, config) in [("all judgements", all), ("as configured", config)] {
        let cleaner = Cleaner::new(&config)?;
        let start = processor_nanoseconds();
        let kept =
            pieces.iter().filter(|&&piece| cleaner.clean(piece.to_owned()).text.is_some()).count();
        let seconds = (processor_nanoseconds() - start) as f64 / 1e9;
        println!(
            "{label}: {bytes} bytes, {} pieces, {kept} kept, {:.1} MB/s",
            pieces.len(),
            bytes as f64 / 1e6 / seconds
        );
    }
    for cleaner in each_rule(preset)? {
        let start = processor_nanoseconds();
        for &piece in &pieces {
            std::hint::black_box(cleaner.clean(piece.to_owned()));
        }
        let nanoseconds = (processor_nanoseconds() - start) as f64 / bytes as f64;
        println!("{:>8.2} ns/byte {}", nanoseconds, cleaner.rules().collect::<String>());
    }
    Ok(())
}

/// Returns the time that this thread had on a processor, which other work does not lengthen. Linux
/// states it.
fn processor_nanoseconds() -> u64 {
    let text = fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
    text.split(' ').next().and_then(|it| it.parse().ok()).unwrap_or(0)
}

/// Cuts a text at ends of lines into pieces of about so many bytes.
fn pieces(text: &str, bytes: usize) -> impl Iterator<Item = &str> {
    let mut rest = text;
    std::iter::from_fn(move || {
        let least = rest.floor_char_boundary(bytes);
        let end = rest[least..].find('\n').map_or(rest.len(), |end| least + end + 1);
        let (piece, behind) = rest.split_at(end);
        rest = behind;
        (!piece.is_empty()).then_some(piece)
    })
}
