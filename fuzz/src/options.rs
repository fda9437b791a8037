// SPDX-License-Identifier: Apache-2.0

//! Options of an ingestion, as a provider hands them on beside a recipe.

use crate::Target;
use pol_corpus::{
    CorpusError, ReadOptions,
    dedup::RepeatConfig,
    filters::{CleanConfig, Preset, Setting},
    pipeline::{Pipeline, PipelineConfig, References, Supply},
};
use std::{collections::BTreeMap, fs};

pub(crate) const TARGETS: &[Target] =
    &[Target { name: "ingestion_options", run: options, seeds: option_seeds }];

/// Memory to sort in, in bytes. It is this machine's own.
const MEMORY: u64 = 1 << 16;
/// Number of documents.
const DOCUMENTS: usize = 5;

/// Reads bytes as options, and ingests a few texts by them, unless they are refused.
fn options(bytes: &[u8]) -> bool {
    let Ok(mut config) = serde_json::from_slice::<PipelineConfig>(bytes) else { return false };
    let json = serde_json::to_vec(&config).expect("options are JSON");
    assert_eq!(serde_json::from_slice::<PipelineConfig>(&json).expect("it was written"), config);
    config.dedup.memory = MEMORY;
    config.repeats.iter_mut().for_each(|repeats| repeats.memory = MEMORY);

    let folder = tempfile::tempdir().expect("a folder");
    let texts = folder.path().join("texts");
    fs::create_dir(&texts).expect("the disk can be written");
    for number in 0..DOCUMENTS {
        // The last two are alike.
        let of = number.min(DOCUMENTS - 2);
        let lines = (0..9).map(|line| format!("The {line} of {of} saw {} by it.\n", line * of));
        fs::write(texts.join(format!("{number}.txt")), lines.collect::<String>())
            .expect("the disk can be written");
    }
    let (work, read) = (folder.path().join("work"), ReadOptions::default());
    let Ok(pipeline) = Pipeline::open(&work, config, References::default(), read) else {
        return false;
    };
    let Ok(mut selection) = pipeline.run(&[Supply::Path(texts)], &|_| ()) else { return false };
    let mut documents = 0;
    let report = selection.for_each(|selected, _| {
        assert!(selected.kept.is_some() != selected.record.is_dropped());
        documents += 1;
        Ok::<_, CorpusError>(())
    });
    let report = report.expect("the disk can be read");
    let kept = report.train.documents + report.held_out.documents;
    // The end of a single text is a document of its own.
    assert!((DOCUMENTS..=DOCUMENTS + 1).contains(&documents) && kept <= documents as u64);
    true
}

fn option_seeds() -> Vec<Vec<u8>> {
    let off = Setting { on: Some(false), ..Setting::default() };
    let web = CleanConfig {
        languages: vec!["eng".to_owned()],
        rules: BTreeMap::from([("gopher.words".to_owned(), off)]),
        ..CleanConfig::of(Preset::Web)
    };
    let all = PipelineConfig {
        clean: web,
        min_quality: 1,
        repeats: Some(RepeatConfig::default()),
        held_out: 300_000,
        clean_held_out: true,
        ..PipelineConfig::default()
    };
    let json = |config: PipelineConfig| serde_json::to_vec(&config).expect("options are JSON");
    [PipelineConfig::default(), all].map(json).into()
}
