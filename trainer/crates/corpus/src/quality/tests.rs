// SPDX-License-Identifier: Apache-2.0

use super::*;
use pol_primitives::MILLION;
use proptest::prelude::*;
use std::fs;

const PROSE: &str = "The harbour lay still that morning. A few boats had gone out before dawn, and \
    the men who stayed behind mended their nets and said little, for they knew what the weather \
    would bring. When the first of the boats came back, its crew was tired but unhurt.";
const MENU: &str = "Home | About Us | Contact | Login | Register | Cart (0) | Search | FAQ | Help\n\
    Privacy Policy | Terms of Service | Sitemap | Facebook | Twitter | Instagram | RSS\n\
    Copyright 2019 Example Inc. All rights reserved.";

fn example(text: &str, good: bool) -> Result<Example, CorpusError> {
    Ok(Example { text: text.into(), good, kind: String::new(), source: String::new() })
}

fn examples() -> Vec<Result<Example, CorpusError>> {
    let prose = PROSE.split_inclusive(". ").map(|text| example(text, true));
    prose.chain(MENU.lines().map(|text| example(text, false))).collect()
}

fn config() -> TrainConfig {
    TrainConfig { bits: 10, ..TrainConfig::default() }
}

fn refusal(examples: Vec<Result<Example, CorpusError>>, config: TrainConfig) -> String {
    train(examples, &config, |_| ()).unwrap_err().to_string()
}

#[test]
fn scores_of_the_bundled_model_are_the_same_everywhere() {
    let model = QualityModel::bundled().unwrap();
    assert_eq!(
        blake3::Hash::from_bytes(model.hash()).to_hex().as_str(),
        "0ac11584e253135e21070495fd0a6de40c6acf3eab106c370782cb373c3f78dd"
    );
    let scores = [PROSE, MENU, "", "word"].map(|text| model.score(text));
    assert_eq!(scores, [953_564, 287, 500_000, 180_475]);
}

#[test]
fn the_same_examples_give_the_same_model_everywhere() {
    let model = train(examples(), &config(), |_| ()).unwrap();
    assert_eq!(
        blake3::Hash::from_bytes(model.hash()).to_hex().as_str(),
        "2d1baaea85b3186dc791915dcd640acecc6ba7cdc74754e6831e5711cf1d69c3"
    );
    assert_eq!(QualityModel::read(&model.to_bytes()).unwrap(), model);
    assert!(model.score(PROSE) > 600_000 && model.score(MENU) < 400_000);
    let other = TrainConfig { seed: 2, ..config() };
    assert_ne!(train(examples(), &other, |_| ()).unwrap(), model);
}

#[test]
fn texts_of_any_format_are_examples_of_which_a_share_is_held_out() {
    let folder = tempfile::tempdir().unwrap();
    let good = folder.path().join("good");
    fs::create_dir(&good).unwrap();
    fs::write(good.join("a.txt"), PROSE).unwrap();
    let row = |row| serde_json::json!({ "text": format!("{row} {MENU}") }).to_string() + "\n";
    fs::write(good.join("b.jsonl"), (0..200).map(row).collect::<String>()).unwrap();
    fs::write(good.join("c.png"), b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR").unwrap();
    let (paths, options) = ([good], crate::ReadOptions::default());
    let read: Vec<_> = labelled(&paths, true, &options).map(Result::unwrap).collect();
    let examples: Vec<Example> = read.iter().flatten().cloned().collect();
    assert_eq!((read.len(), examples.len()), (202, 201), "{:?}", read.last());
    assert_eq!((examples[0].text.as_str(), examples[0].kind.as_str()), (PROSE, "good"));
    let held_out = |seed, share| -> Vec<&Example> {
        examples.iter().filter(|example| example.is_held_out(seed, share)).collect()
    };
    assert_eq!((held_out(1, 0).len(), held_out(1, MILLION).len()), (0, 201));
    let (few, more) = (held_out(1, 200_000), held_out(1, 400_000));
    assert!((20..60).contains(&few.len()), "{}", few.len());
    assert!(few.iter().all(|example| more.contains(example)));
    assert_ne!(held_out(2, 200_000), few);
    let missing = [folder.path().join("none")];
    assert!(labelled(&missing, false, &options).any(|item| item.is_err()));
}

#[test]
fn progress_is_told() {
    let mut events = Vec::new();
    train(examples(), &config(), |event| events.push(event)).unwrap();
    assert_eq!(events[5], TrainProgress::Read { examples: 6 });
    assert_eq!(events.len(), 6 + 60);
    assert_eq!(events[65], TrainProgress::Learned { steps: 60, total: 60 });
}

#[test]
fn a_class_without_examples_is_refused() {
    let good = vec![example(PROSE, true), example(PROSE, true)];
    let message = "there are 2 good and 0 poor examples; training needs both";
    assert_eq!(refusal(good, config()), message);
    let message = "there are 0 good and 0 poor examples; training needs both";
    assert_eq!(refusal(Vec::new(), config()), message);
}

#[test]
fn options_out_of_range_are_refused() {
    let bits = TrainConfig { bits: 21, ..config() };
    let message = "bits of training is 21; give a number from 8 to 20";
    assert_eq!(refusal(examples(), bits), message);
    let passes = TrainConfig { passes: 0, ..config() };
    let message = "passes of training is 0; give a number from 1 to 1000";
    assert_eq!(refusal(examples(), passes), message);
    let rate = TrainConfig { rate: 10_001, ..config() };
    let message = "rate of training is 10001; give a number from 1 to 10000";
    assert_eq!(refusal(examples(), rate), message);
}

#[test]
fn extreme_options_and_examples_stay_in_range() {
    let long = "word ".repeat(40_000);
    let extremes = || [example("", true), example(&long, false), example(&long, true)];
    let config = TrainConfig { rate: 10_000, passes: 1000, bits: 8, ..config() };
    let model = train(extremes(), &config, |_| ()).unwrap();
    assert!(model.score(&long) <= MILLION);
}

#[test]
fn foreign_bytes_are_refused() {
    let message = QualityModel::read(b"text").unwrap_err().to_string();
    assert_eq!(message, "this is no model of quality: it is shorter than its digest");
}

#[test]
fn files_of_examples_are_read_line_by_line() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("examples.jsonl");
    let line = r#"{"text": "a", "good": true, "kind": "k", "source": "s"}"#;
    fs::write(&path, format!("{line}\n{{\"text\": 5}}\n{line}")).unwrap();
    let mut file = ExampleFile::open(&path).unwrap();
    let first = file.next().unwrap().unwrap();
    assert_eq!((first.text.as_str(), first.kind.as_str(), first.good), ("a", "k", true));
    let message = file.next().unwrap().unwrap_err().to_string();
    assert!(message.contains("line 2 is no example: "), "{message}");
    assert!(message.ends_with("each line is an object with `text` and `good`"), "{message}");
    assert_eq!(file.next().unwrap().unwrap(), first);
    assert!(file.next().is_none());
    let missing = ExampleFile::open(&folder.path().join("none")).err().unwrap();
    assert!(missing.to_string().starts_with("cannot open "));
}

#[test]
fn endless_lines_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("examples.jsonl");
    fs::write(&path, vec![b' '; (16 << 20) + 1]).unwrap();
    let message = ExampleFile::open(&path).unwrap().next().unwrap().unwrap_err().to_string();
    assert!(message.contains("line 1 is longer than 16 MiB"), "{message}");
}

proptest! {
    #[test]
    fn any_text_has_a_score(text: String) {
        prop_assert!(QualityModel::bundled().unwrap().score(&text) <= MILLION);
    }
}
