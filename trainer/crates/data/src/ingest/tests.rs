// SPDX-License-Identifier: Apache-2.0

use super::*;
use crate::{SPLITS, Tokenizer, decode_shard, tokenizer_trainer::tests::words};

/// Returns a folder with three documents of different text, and a configuration for them.
fn corpus() -> (tempfile::TempDir, IngestConfig) {
    let folder = tempfile::tempdir().unwrap();
    let input = folder.path().join("corpus");
    fs::create_dir(&input).unwrap();
    let text = words(60_000);
    let third = text.len() / 3;
    for (i, name) in ["a.txt", "b.txt", "c.txt"].iter().enumerate() {
        fs::write(input.join(name), &text[i * third..(i + 1) * third]).unwrap();
    }
    let config = IngestConfig {
        inputs: vec![input],
        out: folder.path().join("deep/out"),
        vocabulary: 400,
        sequence: 16,
        shard_tokens: 64,
        held_out: 100_000,
        tokenizer: None,
        end_of_text: EndOfText::Known,
        force: false,
    };
    (folder, config)
}

fn run(config: &IngestConfig) -> Result<IngestRecord, DataError> {
    ingest_with_progress(config, &ProgressBar::hidden())
}

/// Returns every file below a folder with its contents, sorted by path.
fn contents(folder: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    let mut files = Vec::new();
    for path in fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()) {
        if path.is_dir() {
            files.extend(contents(&path));
        } else {
            let bytes = fs::read(&path).unwrap();
            files.push((path, bytes));
        }
    }
    files.sort();
    files
}

/// Returns the tokens of all shards in a folder.
fn stream(folder: &Path, vocabulary: u32) -> Vec<u32> {
    let shards = ShardFolder::open(folder).unwrap();
    let mut tokens = Vec::new();
    for index in 0..shards.len() {
        tokens.pop();
        let shard = shards.read(index).unwrap();
        tokens.extend(decode_shard(&shard, shards.shard_tokens(), vocabulary).unwrap());
    }
    tokens
}

#[test]
fn the_shards_hold_the_text_and_the_splits_share_none_of_it() {
    let (_folder, config) = corpus();
    let record = run(&config).unwrap();
    let out = &config.out;
    assert_eq!((record.documents, record.duplicate_blocks, record.vocabulary), (3, 0, 400));
    let tokenizer = IngestTokenizer::load(&out.join(TOKENIZER_FILE), &EndOfText::Known).unwrap();
    assert_eq!(tokenizer.hash(), record.tokenizer);

    let plain = Tokenizer::from_json(tokenizer.json()).unwrap();
    let mut blocks = [Vec::new(), Vec::new()];
    Corpus::open(&config.inputs)
        .unwrap()
        .for_each_block(&ProgressBar::hidden(), |block| {
            blocks[usize::from(block.is_held_out(config.held_out))].push(block.text.to_owned());
            Ok(())
        })
        .unwrap();
    let mut tokens = 0;
    for (name, blocks, summary) in
        [(TRAIN, &blocks[0], record.train), (HELD_OUT, &blocks[1], record.held_out)]
    {
        let stream = stream(&out.join(name), 400);
        assert_eq!(stream[0], tokenizer.end_of_text());
        assert_eq!(stream.len() as u32, summary.shards * 64 + 1);
        let (decoded, text) = (plain.decode(&stream).unwrap(), blocks.concat());
        assert!(text.starts_with(decoded.trim_end_matches(char::REPLACEMENT_CHARACTER)), "{name}");
        assert!(text.len() - decoded.len() < 64 * 20);
        tokens += stream.len() as u64;
    }
    assert!(record.tokens >= tokens && record.tokens < tokens + 2 * 64);
    assert_eq!(record.blocks as usize, blocks[0].len() + blocks[1].len());
    assert!(blocks[1].iter().all(|block| !blocks[0].contains(block)));

    // A separator starts each document, and each block after one of the other split.
    let ends = stream(&out.join(TRAIN), 400)
        .iter()
        .filter(|&&token| token == tokenizer.end_of_text())
        .count();
    assert!(ends >= 3 && ends < blocks[0].len(), "{ends}");
}

#[test]
fn the_same_text_gives_the_same_folder() {
    let (folder, mut config) = corpus();
    let first = run(&config).unwrap();
    let files = contents(&config.out);
    assert_eq!(files.len(), 6);
    assert_eq!(IngestRecord::read(&config.out).unwrap(), first);
    // No temporary files remain.
    assert_eq!(fs::read_dir(folder.path().join("deep")).unwrap().count(), 1);

    // A second run changes nothing, not even the time of a file.
    let time = fs::metadata(config.out.join(RECORD_FILE)).unwrap().modified().unwrap();
    assert_eq!(run(&config).unwrap(), first);
    assert_eq!(fs::metadata(config.out.join(RECORD_FILE)).unwrap().modified().unwrap(), time);

    // A moved corpus gives the same files in another folder.
    let moved = folder.path().join("moved");
    fs::rename(&config.inputs[0], &moved).unwrap();
    config.inputs = vec![moved];
    config.out = folder.path().join("elsewhere");
    assert_eq!(run(&config).unwrap(), first);
    let bytes = |files: Vec<(PathBuf, Vec<u8>)>| {
        files.into_iter().map(|(_, bytes)| bytes).collect::<Vec<_>>()
    };
    assert_eq!(bytes(contents(&config.out)), bytes(files));
}

#[test]
fn a_given_tokenizer_is_used_as_it_is() {
    let (folder, mut config) = corpus();
    let first = run(&config).unwrap();
    let path = config.out.join(TOKENIZER_FILE);
    config = IngestConfig {
        tokenizer: Some(path.clone()),
        vocabulary: 0,
        out: folder.path().join("second"),
        ..config
    };
    let second = run(&config).unwrap();
    assert_eq!(
        (second.tokenizer, second.train, second.held_out),
        (first.tokenizer, first.train, first.held_out)
    );
    assert_ne!(second.request, first.request);
    assert_eq!(fs::read(config.out.join(TOKENIZER_FILE)).unwrap(), fs::read(path).unwrap());
}

#[test]
fn a_given_tokenizer_may_end_texts_in_its_own_way() {
    let (folder, mut config) = corpus();
    let first = run(&config).unwrap();
    let json = fs::read_to_string(config.out.join(TOKENIZER_FILE)).unwrap();
    let path = folder.path().join("other.json");
    let given = |config: &IngestConfig, end: &str, out: &str| IngestConfig {
        tokenizer: Some(path.clone()),
        end_of_text: EndOfText::Named(end.into()),
        out: folder.path().join(out),
        ..config.clone()
    };
    // A name that is not well known has to be given.
    fs::write(&path, json.replace(END_OF_TEXT, "[DONE]")).unwrap();
    let named = given(&config, "[DONE]", "named");
    let unnamed = IngestConfig { end_of_text: EndOfText::Known, ..named.clone() };
    assert!(run(&unnamed).unwrap_err().to_string().contains("--end-of-text"));
    let second = run(&named).unwrap();
    assert_eq!((second.end_of_text.as_str(), second.train), ("[DONE]", first.train));
    assert_eq!(run(&named).unwrap(), second);

    // The default separator needs no name. Records without a name have it.
    fs::write(&path, json).unwrap();
    config = given(&config, END_OF_TEXT, "usual");
    let usual = run(&config).unwrap();
    assert_eq!(usual.train, first.train);
    let path = config.out.join(RECORD_FILE);
    let before =
        fs::read_to_string(&path).unwrap().replace("  \"end_of_text\": \"<|endoftext|>\",\n", "");
    assert!(!before.contains("end_of_text"));
    fs::write(&path, before).unwrap();
    assert_eq!(run(&config).unwrap(), usual);
    assert_eq!(
        run(&IngestConfig { end_of_text: EndOfText::Known, ..config.clone() }).unwrap(),
        usual
    );
}

#[test]
fn an_ingestion_may_hold_nothing_out() {
    let (_folder, mut config) = corpus();
    config.held_out = 0;
    let record = run(&config).unwrap();
    assert!(record.held_out.shards == 0 && record.train.shards > 0);
    for (split, summary) in SPLITS.into_iter().zip([record.train, record.held_out]) {
        let shards = ShardFolder::open(&config.out.join(split)).unwrap();
        assert_eq!(
            (shards.summary(), shards.len(), shards.is_empty()),
            (&summary, summary.shards, summary.shards == 0)
        );
    }
    assert_eq!(run(&config).unwrap(), record);
    let Err(error) = IngestRecord::read(&config.inputs[0]) else { panic!("read") };
    assert!(error.to_string().contains("data ingest"), "{error}");
}

#[test]
fn existing_files_are_kept_unless_forced() {
    let (_folder, mut config) = corpus();
    fs::create_dir_all(&config.out).unwrap();
    let first = run(&config).unwrap();

    config.shard_tokens = 32;
    let Err(error) = run(&config) else { panic!("replaced") };
    assert!(matches!(&error, DataError::Occupied { path, .. } if *path == config.out));
    assert!(error.to_string().contains("--force"), "{error}");
    assert_eq!(ShardFolder::open(&config.out.join(TRAIN)).unwrap().summary(), &first.train);
    config.force = true;
    let second = run(&config).unwrap();
    assert_eq!(ShardFolder::open(&config.out.join(TRAIN)).unwrap().summary(), &second.train);
    assert_eq!((second.shard_tokens, second.train.shards / first.train.shards), (32, 2));

    // Damage is noticed, and repaired by force.
    config.force = false;
    fs::write(config.out.join(TRAIN).join("body.bin"), [0; 64]).unwrap();
    assert!(matches!(run(&config), Err(DataError::Occupied { .. })));
    config.force = true;
    assert_eq!(run(&config).unwrap(), second);

    // Files that no ingestion wrote are never touched.
    for foreign in ["folder", "file"] {
        config.out = config.out.with_file_name(foreign);
        let kept =
            if foreign == "folder" { config.out.join(RECORD_FILE) } else { config.out.clone() };
        fs::create_dir_all(kept.parent().unwrap()).unwrap();
        fs::write(&kept, "mine").unwrap();
        assert!(matches!(run(&config), Err(DataError::Foreign(path)) if path == config.out));
        assert_eq!(fs::read(kept).unwrap(), b"mine");
    }
}

#[test]
fn each_failure_is_named_and_leaves_nothing() {
    let (folder, config) = corpus();
    let fails = |change: &dyn Fn(&mut IngestConfig)| {
        let mut config = config.clone();
        change(&mut config);
        let error = run(&config).unwrap_err();
        assert!(!config.out.exists(), "{error}");
        error
    };
    assert!(matches!(fails(&|o| o.sequence = 0), DataError::InvalidOption(_)));
    assert!(matches!(fails(&|o| o.sequence = 24), DataError::InvalidOption(_)));
    assert!(matches!(
        fails(&|o| o.shard_tokens = MAX_SHARD_TOKENS + 16),
        DataError::InvalidOption(_)
    ));
    assert!(matches!(fails(&|o| o.held_out = MILLION), DataError::InvalidOption(_)));
    assert!(matches!(fails(&|o| o.vocabulary = 256), DataError::InvalidOption(_)));
    assert!(matches!(
        fails(&|o| o.vocabulary = 1 << 20),
        DataError::VocabularyTooLarge { requested: 1_048_576, .. }
    ));
    assert!(matches!(
        fails(&|o| o.held_out = 1),
        DataError::TooLittleText { split: "held-out", .. }
    ));
    assert!(matches!(
        fails(&|o| o.shard_tokens = 1 << 20),
        DataError::TooLittleText { split: "training", needed: 1_048_577, .. }
    ));
    assert!(matches!(fails(&|o| o.inputs.clear()), DataError::NoText(_)));
    assert!(matches!(fails(&|o| o.inputs[0].push("none")), DataError::Io { .. }));
    assert!(matches!(
        fails(&|o| o.tokenizer = Some(o.inputs[0].join("a.txt"))),
        DataError::InvalidTokenizer { .. }
    ));
    assert!(matches!(fails(&|o| o.out = o.inputs[0].join("a.txt/out")), DataError::Io { .. }));
    assert_eq!(fs::read_dir(folder.path().join("deep")).unwrap().count(), 0);
}
