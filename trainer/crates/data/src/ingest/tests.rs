// SPDX-License-Identifier: Apache-2.0

use super::*;
use crate::{
    HELD_OUT, MIN_VOCABULARY, SPLITS, ShardFolder, TRAIN, Tokenizer, decode_shard,
    documents::{DocumentIndex, search},
    tokenizer_trainer::tests::many_words,
};
use pol_corpus::{
    Origin, RawDocument, RawStore, Side,
    filters::{CleanConfig, Preset},
};
use pol_primitives::MILLION;
use std::{
    ops::ControlFlow,
    sync::{Mutex, Once},
};

/// Returns a folder with three documents of different text, and a configuration for them.
fn corpus() -> (tempfile::TempDir, IngestConfig) {
    let folder = tempfile::tempdir().unwrap();
    let input = folder.path().join("corpus");
    fs::create_dir(&input).unwrap();
    let text = many_words(60_000);
    let third = text.len() / 3;
    for (i, name) in ["a.txt", "b.txt", "c.txt"].iter().enumerate() {
        fs::write(input.join(name), &text[i * third..(i + 1) * third]).unwrap();
    }
    let corpus = PipelineConfig { held_out: 100_000, ..PipelineConfig::default() };
    let config =
        IngestConfig { corpus, ..IngestConfig::small(input, folder.path().join("deep/out")) };
    (folder, config)
}

/// Returns the path of the first input.
fn input(config: &IngestConfig) -> &Path {
    match &config.inputs[0] {
        Supply::Path(path) | Supply::Store(path, _) | Supply::Spool { path, .. } => path,
    }
}

fn run(config: &IngestConfig) -> Result<IngestRecord, DataError> {
    ingest(config, References::default(), &|_| ())
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
fn the_shards_hold_the_text_and_the_sides_share_none_of_it() {
    let (_folder, config) = corpus();
    let record = run(&config).unwrap();
    let out = &config.out;
    assert_eq!((record.documents, record.dropped, record.vocabulary), (3, 0, 400));
    let tokenizer = IngestTokenizer::load(&out.join(TOKENIZER_FILE), &EndOfText::Known).unwrap();
    assert_eq!(tokenizer.hash(), record.tokenizer);

    let plain = Tokenizer::from_json(tokenizer.json()).unwrap();
    let mut texts = [String::new(), String::new()];
    let index = DocumentIndex::open(out).unwrap();
    let mut ends = 0;
    for document in index.records().unwrap() {
        let document = document.unwrap();
        let name = document.origin.location.rsplit('/').next().unwrap();
        let place = document.place.unwrap();
        let text = fs::read_to_string(input(&config).join(name)).unwrap();
        texts[usize::from(place.side == Side::HeldOut)].push_str(&text);
        ends += usize::from(place.side == Side::Train);
    }
    let mut tokens = 0;
    for (name, text, summary) in
        [(TRAIN, &texts[0], record.train), (HELD_OUT, &texts[1], record.held_out)]
    {
        let stream = stream(&out.join(name), 400);
        assert_eq!(stream[0], tokenizer.end_of_text());
        assert_eq!(stream.len() as u32, summary.shards * 64 + 1);
        let decoded = plain.decode(&stream).unwrap();
        assert!(text.starts_with(decoded.trim_end_matches(char::REPLACEMENT_CHARACTER)), "{name}");
        assert!(text.len() - decoded.len() < 64 * 20);
        tokens += stream.len() as u64;
    }
    assert!(record.tokens >= tokens && record.tokens < tokens + 2 * 64);

    // A separator starts each document.
    let separators = stream(&out.join(TRAIN), 400)
        .iter()
        .filter(|&&token| token == tokenizer.end_of_text())
        .count();
    assert_eq!(separators, ends);
}

#[test]
fn the_record_of_a_document_names_the_place_of_its_tokens() {
    let (_folder, config) = corpus();
    run(&config).unwrap();
    let tokenizer = Tokenizer::from_json(&fs::read(config.out.join(TOKENIZER_FILE)).unwrap());
    let tokenizer = tokenizer.unwrap();
    let index = DocumentIndex::open(&config.out).unwrap();
    for document in index.records().unwrap() {
        let document = document.unwrap();
        let place = document.place.unwrap();
        let name = if place.side == Side::Train { TRAIN } else { HELD_OUT };
        let stream = stream(&config.out.join(name), 400);
        let end = usize::try_from(place.start + place.tokens).unwrap().min(stream.len());
        let tokens = &stream[usize::try_from(place.start).unwrap()..end];
        let path = input(&config).join(document.origin.location.rsplit('/').next().unwrap());
        let text = fs::read_to_string(path).unwrap();
        let decoded = tokenizer.decode(tokens).unwrap();
        assert!(text.starts_with(decoded.trim_end_matches(char::REPLACEMENT_CHARACTER)));
        assert!(tokens.len() as u64 + 64 > place.tokens);
    }
}

#[test]
fn a_passage_is_found_in_its_document() {
    let (_folder, config) = corpus();
    run(&config).unwrap();
    let text = fs::read_to_string(input(&config).join("b.txt")).unwrap();
    let start = text[1_000..].find(' ').unwrap() + 1_001;
    let passage = text[start..start + 80].replace(' ', "\n ");
    let found = search(&config.out, &passage, 9, |_| ControlFlow::Continue(())).unwrap();
    assert_eq!(found.len(), 1);
    assert_eq!(found[0].origin.location, "corpus/b.txt");
    let all = |_| ControlFlow::Continue(());
    assert!(search(&config.out, "this is nowhere", 9, all).unwrap().is_empty());
    let none = search(&config.out, &passage, 9, |_| ControlFlow::Break(()));
    assert!(none.unwrap().is_empty(), "a search may end early");
}

#[test]
fn the_same_text_gives_the_same_folder() {
    let (folder, mut config) = corpus();
    let first = run(&config).unwrap();
    let files = contents(&config.out);
    assert!(files.len() >= 9, "{files:?}");
    assert_eq!(IngestRecord::read(&config.out).unwrap(), first);
    // No temporary files remain.
    assert_eq!(fs::read_dir(folder.path().join("deep")).unwrap().count(), 1);

    // A second run changes nothing, not even the time of a file.
    let time = fs::metadata(config.out.join(RECORD_FILE)).unwrap().modified().unwrap();
    assert_eq!(run(&config).unwrap(), first);
    assert_eq!(fs::metadata(config.out.join(RECORD_FILE)).unwrap().modified().unwrap(), time);

    // A moved corpus gives the same files in another folder.
    let moved = folder.path().join("moved/corpus");
    fs::create_dir(folder.path().join("moved")).unwrap();
    fs::rename(input(&config), &moved).unwrap();
    config.inputs = vec![Supply::Path(moved)];
    config.out = folder.path().join("elsewhere");
    assert_eq!(run(&config).unwrap(), first);
    let bytes = |files: Vec<(PathBuf, Vec<u8>)>| {
        files.into_iter().map(|(_, bytes)| bytes).collect::<Vec<_>>()
    };
    assert_eq!(bytes(contents(&config.out)), bytes(files));
}

#[test]
fn documents_are_compared_again_with_earlier_data_that_changed() {
    let (folder, mut config) = corpus();
    let earlier = |text: &str| {
        let (path, out) = (folder.path().join("earlier.txt"), folder.path().join("earlier"));
        fs::write(&path, text).unwrap();
        let corpus = PipelineConfig::default();
        let signatures = vec![out.join(SIGNATURES_FILE)];
        let (inputs, vocabulary) = (vec![Supply::Path(path)], MIN_VOCABULARY);
        run(&IngestConfig { inputs, out, corpus, vocabulary, force: true, ..config.clone() })
            .unwrap();
        signatures
    };
    let ingest_against = |config: &IngestConfig, against: Vec<PathBuf>| {
        ingest(config, References { against, ..References::default() }, &|_| ())
    };
    let against = earlier(&"Nothing of the corpus is like this text. ".repeat(40));
    let first = ingest_against(&config, against.clone()).unwrap();
    assert_eq!((first.documents, first.dropped), (3, 0));
    assert_eq!(ingest_against(&config, against.clone()).unwrap(), first, "nothing changed");

    // The same file has other signatures now, with a text of the corpus among them.
    let text = fs::read_to_string(input(&config).join("b.txt")).unwrap();
    assert_eq!(earlier(&text), against);
    let refused = ingest_against(&config, against.clone());
    assert!(matches!(refused, Err(DataError::Occupied { .. })), "{refused:?}");
    config.force = true;
    let second = ingest_against(&config, against.clone()).unwrap();
    assert_eq!((second.documents, second.dropped), (2, 1));
    assert_ne!(second.request, first.request);
    let entries = fs::read_dir(config.out.parent().unwrap()).unwrap();
    assert_eq!(entries.count(), 1, "nothing but the output stays");
}

#[test]
fn a_store_is_named_by_its_contents() {
    let (folder, mut config) = corpus();
    let raw = folder.path().join("raw");
    let collect = |text: String| {
        let mut store = RawStore::create_or_open(&raw).unwrap();
        store.append(&RawDocument::of_text(Origin::default(), text)).unwrap();
        store.commit(&"end".into()).unwrap();
    };
    config.inputs = vec![Supply::Store(raw.clone(), 0)];
    collect(many_words(60_000));
    let first = run(&config).unwrap();
    assert_eq!(run(&config).unwrap(), first);
    fs::remove_dir_all(&raw).unwrap();
    collect(many_words(59_000));
    assert!(matches!(run(&config), Err(DataError::Occupied { .. })));
}

#[cfg(unix)]
#[test]
fn a_pipe_is_named_by_its_contents() {
    let (folder, mut config) = corpus();
    let pipe = folder.path().join("pipe");
    let made = std::process::Command::new("mkfifo").arg(&pipe).status().unwrap();
    assert!(made.success());
    config.inputs = vec![Supply::Path(pipe.clone())];
    config.out = folder.path().join("piped");
    let piped = |text: String| {
        let pipe = pipe.clone();
        std::thread::spawn(move || fs::write(pipe, text).unwrap());
        run(&config)
    };
    let first = piped(many_words(60_000)).unwrap();
    assert!(first.train.shards > 0 && first.held_out.shards > 0);
    assert_eq!(piped(many_words(60_000)).unwrap(), first);
    assert!(matches!(piped(many_words(59_000)), Err(DataError::Occupied { .. })));
    assert_eq!(
        fs::read_dir(folder.path()).unwrap().count(),
        3,
        "nothing but the corpus, the pipe and the output"
    );
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
fn what_a_stopped_ingestion_left_goes_with_the_next_one_into_the_same_output() {
    let (_folder, config) = corpus();
    let stop = |config: &IngestConfig| {
        let watch = |progress: Progress| match progress.stage {
            Stage::Hashing => (),
            stage => panic!("killed while {stage:?}"),
        };
        let run = std::panic::AssertUnwindSafe(|| ingest(config, References::default(), &watch));
        assert!(std::panic::catch_unwind(run).is_err());
    };
    let left = || {
        let entries = fs::read_dir(config.out.parent().unwrap()).unwrap();
        let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
        names.filter(|name| name.starts_with(WORK)).count()
    };
    stop(&config);
    fs::write(input(&config).join("d.txt"), many_words(20_000)).unwrap();
    stop(&IngestConfig { out: config.out.with_file_name("other"), ..config.clone() });
    fs::write(input(&config).join("e.txt"), many_words(10_000)).unwrap();
    assert_eq!(left(), 2);
    run(&config).unwrap();
    assert_eq!(left(), 1, "another output's may go on");

    // A run that may not replace the output leaves it to one that may.
    fs::write(input(&config).join("f.txt"), many_words(5_000)).unwrap();
    let forced = IngestConfig { force: true, ..config.clone() };
    stop(&forced);
    assert!(matches!(run(&config), Err(DataError::Occupied { .. })));
    assert_eq!(left(), 2);
    run(&forced).unwrap();
    assert_eq!(left(), 1);
}

#[test]
fn a_tokenizer_is_trained_once() {
    let (folder, config) = corpus();
    let fresh = IngestConfig { out: folder.path().join("fresh"), ..config.clone() };
    let whole = run(&fresh).unwrap();
    let stop = |progress: Progress| assert_ne!(progress.stage, Stage::Tokens, "killed");
    let run = std::panic::AssertUnwindSafe(|| ingest(&config, References::default(), &stop));
    assert!(std::panic::catch_unwind(run).is_err());
    let stages = Mutex::new(Vec::new());
    let watch = |progress: Progress| stages.lock().unwrap().push(progress.stage);
    assert_eq!(ingest(&config, References::default(), &watch).unwrap(), whole);
    let stages = stages.lock().unwrap().clone();
    assert!(!stages.contains(&Stage::Tokenizer) && stages.contains(&Stage::Tokens), "{stages:?}");

    // One that is damaged is trained again.
    let other = IngestConfig { out: folder.path().join("other"), ..config };
    let run = std::panic::AssertUnwindSafe(|| ingest(&other, References::default(), &stop));
    assert!(std::panic::catch_unwind(run).is_err());
    let name = format!("tokenizer-{}.json", other.vocabulary);
    let files = contents(folder.path()).into_iter().map(|(path, _)| path);
    let kept: Vec<_> = files.filter(|path| path.ends_with(&name)).collect();
    let [kept] = &kept[..] else { panic!("{kept:?}") };
    fs::write(kept, "{").unwrap();
    assert_eq!(ingest(&other, References::default(), &watch).unwrap(), whole);
}

#[test]
fn the_hashing_of_the_inputs_is_shown() {
    let (_folder, config) = corpus();
    let sizes = ["a", "b", "c"]
        .map(|name| fs::metadata(input(&config).join(format!("{name}.txt"))).unwrap().len());
    let seen = Mutex::new(Vec::new());
    let watch = |progress| seen.lock().unwrap().push(progress);
    ingest(&config, References::default(), &watch).unwrap();
    let mut seen = seen.into_inner().unwrap();
    seen.truncate(seen.iter().take_while(|progress| progress.stage == Stage::Hashing).count());
    // More often than once for a file: one alone may take minutes.
    assert!(seen.len() > 2 * sizes.len() && seen.is_sorted_by_key(|progress| progress.done));
    let total = sizes.iter().sum();
    assert_eq!(seen.last(), Some(&Progress { stage: Stage::Hashing, done: total, total }));
}

#[test]
fn an_input_that_changes_while_it_is_read_is_refused() {
    let (folder, config) = corpus();
    let (texts, grown) = (input(&config).to_owned(), input(&config).join("b.txt"));
    let append = || {
        let mut file = File::options().append(true).open(&grown).unwrap();
        file.write_all(b" And it came to pass.").unwrap();
    };
    let add = || fs::write(texts.join("d.txt"), many_words(9_000)).unwrap();
    let remove = || fs::remove_file(texts.join("d.txt")).unwrap();
    let cases: [(&(dyn Fn() + Sync), &Path); 3] =
        [(&append, &grown), (&add, &texts), (&remove, &texts)];
    for (change, named) in cases {
        let once = Once::new();
        let watch = |progress: Progress| {
            if progress.stage == Stage::Reading {
                once.call_once(change);
            }
        };
        let error = ingest(&config, References::default(), &watch).unwrap_err();
        assert!(once.is_completed(), "{error}");
        assert!(matches!(&error, DataError::ChangedInput(path) if path == named), "{error}");
        // What was read is of no use to the next run.
        assert_eq!(fs::read_dir(config.out.parent().unwrap()).unwrap().count(), 0);
    }
    let record = run(&config).unwrap();
    let fresh = IngestConfig { out: folder.path().join("fresh"), ..config };
    assert_eq!(run(&fresh).unwrap(), record, "it is named by the bytes that are in it");
}

#[test]
fn prepared_documents_stay_for_other_shards_and_tokenizers() {
    let (folder, mut config) = corpus();
    config.vocabulary = MIN_VOCABULARY;
    fs::write(input(&config).join("d.txt"), many_words(260_000)).unwrap();
    let fresh = IngestConfig { out: folder.path().join("fresh"), ..config.clone() };
    run(&fresh).unwrap();
    let named = |out: &Path| {
        let files = contents(out).into_iter();
        let relative = |path: PathBuf| path.strip_prefix(out).unwrap().to_owned();
        files.map(|(path, bytes)| (relative(path), bytes)).collect::<Vec<_>>()
    };
    type Case = (fn(&mut IngestConfig), fn(&DataError) -> bool);
    let cases: [Case; 3] = [
        (|o| o.vocabulary = 1 << 20, |error| matches!(error, DataError::VocabularyTooLarge { .. })),
        (|o| (o.sequence, o.shard_tokens) = (1, 1), |e| matches!(e, DataError::TooManyShards)),
        (|o| o.shard_tokens = 1 << 20, |error| matches!(error, DataError::TooLittleText { .. })),
    ];
    for (change, is_expected) in cases {
        let mut failing = config.clone();
        change(&mut failing);
        let error = run(&failing).unwrap_err();
        assert!(is_expected(&error), "{error}");
        let kept: Vec<_> = fs::read_dir(config.out.parent().unwrap()).unwrap().collect();
        let [Ok(work)] = &kept[..] else { panic!("{error}: {kept:?}") };
        assert!(!work.path().join("new").exists(), "{error}: useless files take room");

        let stages = Mutex::new(Vec::new());
        let watch = |progress: Progress| stages.lock().unwrap().push(progress.stage);
        ingest(&config, References::default(), &watch).unwrap();
        let stages = stages.into_inner().unwrap();
        let is_early = |stage: &Stage| matches!(stage, Stage::Reading | Stage::Comparing);
        assert!(!stages.iter().any(is_early), "{error}: {stages:?}");
        assert!(named(&config.out) == named(&fresh.out), "{error}: other bytes");
        assert!(!work.path().exists());
        fs::remove_dir_all(&config.out).unwrap();
    }
}

#[test]
fn an_ingestion_may_hold_nothing_out() {
    let (_folder, mut config) = corpus();
    config.corpus.held_out = 0;
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
    let Err(error) = IngestRecord::read(input(&config)) else { panic!("read") };
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

    // So is what an earlier version made, whose records said less.
    let record = config.out.join(RECORD_FILE);
    let mut old: serde_json::Value = serde_json::from_slice(&fs::read(&record).unwrap()).unwrap();
    old["blocks"] = 7.into();
    for unknown in ["dropped", "refused", "lineage", "quality"] {
        old.as_object_mut().unwrap().remove(unknown);
    }
    fs::write(&record, old.to_string()).unwrap();
    fs::rename(config.out.join("train/shards.u16"), config.out.join("train/shards.bin")).unwrap();
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
fn an_ingestion_does_not_learn_from_its_own_output() {
    let (_folder, mut config) = corpus();
    config.out = input(&config).join("out");
    let error = run(&config).unwrap_err().to_string();
    assert!(error.contains("is within the input"), "{error}");
    assert!(!config.out.exists());
}

#[test]
fn reasons_are_given_if_nothing_is_left() {
    let (folder, mut config) = corpus();
    let (empty, picture) = (folder.path().join("empty"), folder.path().join("a.png"));
    fs::create_dir(&empty).unwrap();
    fs::write(&picture, b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR").unwrap();
    for (path, expected) in [(&empty, "the inputs are empty"), (&picture, "a.png: ")] {
        config.inputs = vec![Supply::Path(path.clone())];
        let error = run(&config).unwrap_err();
        assert!(matches!(error, DataError::NothingLeft(_)), "{error}");
        assert!(error.to_string().contains(expected), "{error}");
    }
    config.inputs = vec![Supply::Path(folder.path().join("corpus"))];
    config.corpus.clean = CleanConfig::of(Preset::Web);
    let error = run(&config).unwrap_err().to_string();
    assert!(error.contains("dropped by "), "{error}");
}

#[test]
fn one_process_works_on_an_ingestion() {
    let (folder, config) = corpus();
    let (work, out) = (folder.path().join("work"), &config.out);
    fs::create_dir(&work).unwrap();
    let held = lock(&work, out).unwrap();
    let error = lock(&work, out).unwrap_err().to_string();
    assert!(error.contains("another process"), "{error}");
    drop(held);
    assert!(lock(&work, out).is_ok());
    run(&config).unwrap();
}

#[test]
fn each_failure_is_named_and_leaves_no_output() {
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
    assert!(matches!(fails(&|o| o.corpus.held_out = MILLION), DataError::Corpus(_)));
    assert!(matches!(fails(&|o| o.vocabulary = 256), DataError::InvalidOption(_)));
    assert!(matches!(
        fails(&|o| o.vocabulary = 1 << 20),
        DataError::VocabularyTooLarge { requested: 1_048_576, .. }
    ));
    assert!(matches!(
        fails(&|o| {
            o.corpus.held_out = 1;
            o.inputs = vec![Supply::Path(input(o).join("a.txt"))];
        }),
        DataError::TooLittleText { split: "held-out", .. }
    ));
    assert!(matches!(
        fails(&|o| o.shard_tokens = 1 << 20),
        DataError::TooLittleText { split: "training", needed: 1_048_577, .. }
    ));
    assert!(matches!(fails(&|o| o.inputs.clear()), DataError::NoText(_)));
    assert!(matches!(
        fails(&|o| o.inputs = vec![Supply::Path(input(o).join("none"))]),
        DataError::Corpus(_)
    ));
    assert!(matches!(
        fails(&|o| o.tokenizer = Some(input(o).join("a.txt"))),
        DataError::InvalidTokenizer { .. }
    ));
    assert!(matches!(fails(&|o| o.out = input(o).join("a.txt/out")), DataError::Io { .. }));
    // The prepared documents serve the next run, and then nothing but the output stays.
    let count = || fs::read_dir(folder.path().join("deep")).unwrap().count();
    assert_eq!(count(), 1);
    run(&config).unwrap();
    assert_eq!((count(), config.out.exists()), (1, true));
}
