// SPDX-License-Identifier: Apache-2.0

//! Trains a model of quality, measures it on held-out sources, and writes it.
//!
//! ```sh
//! python3 scripts/quality-set --out set
//! cargo run --release -p pol-corpus --example train_quality -- \
//!     set/train.jsonl set/test.jsonl model
//! ```

use pol_corpus::{
    CorpusError,
    quality::{Example, ExampleFile, QualityModel, TrainConfig, auroc, train},
};
use std::{collections::BTreeMap, env, fs, path::Path, time::Instant};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let [examples, held_out, out] = arguments.first_chunk().ok_or("give TRAIN, TEST and OUT")?;
    let mut config = TrainConfig::default();
    for option in &arguments[3..] {
        let (name, value) = option.split_once('=').ok_or("options are NAME=NUMBER")?;
        match name {
            "bits" => config.bits = value.parse()?,
            "passes" => config.passes = value.parse()?,
            "rate" => config.rate = value.parse()?,
            "seed" => config.seed = value.parse()?,
            _ => return Err(format!("there is no option {name}").into()),
        }
    }
    let start = Instant::now();
    let model = train(ExampleFile::open(Path::new(examples))?, &config, |_| ())?;
    println!(
        "{config:?}: {:.1} s, {} bytes",
        start.elapsed().as_secs_f32(),
        model.to_bytes().len()
    );
    fs::write(out, model.to_bytes())?;
    report(&model, examples)?;
    report(&model, held_out)?;
    Ok(())
}

/// Prints how well the model tells the examples of a file apart, by their kinds.
fn report(model: &QualityModel, path: &str) -> Result<(), CorpusError> {
    let examples = ExampleFile::open(Path::new(path))?.collect::<Result<Vec<Example>, _>>()?;
    let mut kinds: BTreeMap<(bool, &str), Vec<u32>> = BTreeMap::new();
    let start = Instant::now();
    for example in &examples {
        kinds.entry((example.good, &example.kind)).or_default().push(model.score(&example.text));
    }
    let bytes: usize = examples.iter().map(|example| example.text.len()).sum();
    let speed = bytes as f32 / start.elapsed().as_secs_f32() / 1e6;
    let class = |of: bool| -> Vec<u32> {
        kinds.iter().filter(|((good, _), _)| *good == of).flat_map(|(_, s)| s.clone()).collect()
    };
    let (good, poor) = (class(true), class(false));
    println!("{path}: AUROC {:?}, {speed:.0} MB/s", auroc(&good, &poor));
    for threshold in [100_000, 250_000, 500_000] {
        let kept = |scores: &[u32]| {
            100 * scores.iter().filter(|&&score| score >= threshold).count() / scores.len().max(1)
        };
        println!("  {threshold} keeps {} % of good, {} % of poor", kept(&good), kept(&poor));
    }
    for ((is_good, kind), scores) in &mut kinds {
        let area = if *is_good { auroc(scores, &poor) } else { auroc(&good, scores) };
        scores.sort_unstable();
        let (label, median) = (if *is_good { "good" } else { "poor" }, scores[scores.len() / 2]);
        println!("  {label} {kind:16} {:5} AUROC {area:?} median {median}", scores.len());
    }
    Ok(())
}
