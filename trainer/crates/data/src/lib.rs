//! Text in, tokenised shards and manifests out.
//!
//! [`ingest`] reads text files, cleans them, learns a tokenizer from them or takes a given one, and
//! writes a folder:
//!
//! ```text
//! tokenizer.json         the tokenizer, which the recipe names by its BLAKE3 hash
//! train/body.bin         the training manifest: BLAKE3 hashes of its shards
//! train/shards.bin       its shards
//! held-out/body.bin      the manifest that the network measures itself on, of text that is in no training shard
//! held-out/shards.bin    its shards
//! ingest.json            what was written, as [`Ingested`]
//! ```
//!
//! The same files and options give the same folder, byte for byte, on any machine. [`ShardFolder`]
//! serves the shards to peers, and [`decode_shard`] turns what a peer sent into tokens.
#![deny(missing_docs)]

mod clean;
mod corpus;
mod error;
mod shards;
mod tokenizer;

pub use error::DataError;
pub use shards::{ManifestSummary, ShardFolder, body_hashes, decode_shard};
pub use tokenizer::{END_OF_TEXT, EndOfText, SMALLEST_VOCABULARY, Tokenizer};

use corpus::{Block, Corpus, Counts};
use error::At;
use indicatif::{ProgressBar, ProgressStyle};
use pol_primitives::{Hash, MILLION, Ppm, data::MAX_SHARD_TOKENS};
use serde::{Deserialize, Serialize};
use shards::ShardWriter;
use std::{
    fs, io,
    path::{Path, PathBuf},
};
use tokenizer::Learner;

/// The folder of the training manifest, in an ingestion's folder.
pub const TRAIN: &str = "train";
/// The folder of the held-out manifest.
pub const HELD_OUT: &str = "held-out";
/// The folders of both manifests.
pub const PARTS: [&str; 2] = [TRAIN, HELD_OUT];
/// The tokenizer's file.
pub const TOKENIZER_FILE: &str = "tokenizer.json";
/// The file that says what was ingested.
pub const RECORD_FILE: &str = "ingest.json";

/// Blocks tokenised at once.
const BATCH: usize = 256;

/// What to ingest, and how.
#[derive(Clone, Debug)]
pub struct IngestOptions {
    /// Files, and folders of `.txt` files, which are searched for them at any depth.
    pub inputs: Vec<PathBuf>,
    /// The folder to write.
    pub out: PathBuf,
    /// Entries of the vocabulary to learn. A given `tokenizer` has its own.
    pub vocabulary: u32,
    /// Tokens of a training sequence.
    pub sequence: u16,
    /// Tokens a shard trains on; a multiple of `sequence`.
    pub shard_tokens: u32,
    /// Share of the text that is held out; zero for none.
    pub held_out: Ppm,
    /// A `tokenizer.json` to use instead of learning one.
    pub tokenizer: Option<PathBuf>,
    /// Which of its tokens to put between texts; one that is learned has [`END_OF_TEXT`].
    pub end_of_text: EndOfText,
    /// Replace an earlier ingestion in `out` that had other inputs or options.
    pub force: bool,
}

impl IngestOptions {
    fn validate(&self) -> Result<(), DataError> {
        let Self { sequence, shard_tokens, held_out, .. } = *self;
        if sequence == 0
            || shard_tokens == 0
            || shard_tokens > MAX_SHARD_TOKENS
            || shard_tokens % u32::from(sequence) != 0
        {
            return Err(DataError::Option(format!(
                "a shard of {shard_tokens} tokens must be a multiple of the sequence of {sequence}, and at most {MAX_SHARD_TOKENS}"
            )));
        }
        if held_out >= MILLION {
            return Err(DataError::Option(
                "the held-out share must leave something to train on".into(),
            ));
        }
        Ok(())
    }

    /// Digest of everything that decides what is written.
    fn digest(&self, corpus: &Corpus, tokenizer: Option<&Tokenizer>) -> Hash {
        let mut hasher = blake3::Hasher::new();
        hasher.update(b"pol/ingest/1");
        match tokenizer {
            Some(tokenizer) => hasher.update(&[1]).update(&tokenizer.hash()),
            None => hasher.update(&[0]).update(&self.vocabulary.to_le_bytes()),
        };
        // The usual end goes without saying, as it did before there were others.
        if let Some(end) =
            tokenizer.map(Tokenizer::end_of_text_name).filter(|&end| end != END_OF_TEXT)
        {
            hasher.update(&[2]).update(&(end.len() as u64).to_le_bytes()).update(end.as_bytes());
        }
        hasher
            .update(&self.sequence.to_le_bytes())
            .update(&self.shard_tokens.to_le_bytes())
            .update(&self.held_out.to_le_bytes());
        for hash in corpus.hashes() {
            hasher.update(hash);
        }
        *hasher.finalize().as_bytes()
    }
}

/// What was ingested. Written to `ingest.json`, hashes in hexadecimal.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ingested {
    /// Digest of the inputs and options.
    #[serde(with = "pol_primitives::hex_hash")]
    pub request: Hash,
    /// BLAKE3 of `tokenizer.json`.
    #[serde(with = "pol_primitives::hex_hash")]
    pub tokenizer: Hash,
    /// Entries of its vocabulary.
    pub vocabulary: u32,
    /// The token that stands between texts.
    #[serde(default = "usual_end")]
    pub end_of_text: String,
    /// Tokens of a training sequence.
    pub sequence: u16,
    /// Tokens each shard trains on.
    pub shard_tokens: u32,
    /// The training manifest.
    pub train: ManifestSummary,
    /// The held-out manifest; without shards where nothing was held out.
    pub held_out: ManifestSummary,
    /// Input files.
    pub documents: u32,
    /// Blocks of text, of at most 8 KiB, without repeated ones.
    pub blocks: u64,
    /// Repeated blocks, which were left out.
    pub duplicate_blocks: u64,
    /// Bytes of clean text.
    pub bytes: u64,
    /// Sequences of bytes that were not UTF-8.
    pub invalid: u64,
    /// Tokens of the text, with those that filled no shard.
    pub tokens: u64,
}

/// The end of text of records that do not name one.
fn usual_end() -> String {
    END_OF_TEXT.into()
}

impl Ingested {
    /// Reads the record in an ingestion's folder.
    pub fn read(folder: &Path) -> Result<Self, DataError> {
        let path = folder.join(RECORD_FILE);
        let unreadable = |reason: String| DataError::Record { path: folder.to_owned(), reason };
        let json = fs::read(&path).map_err(|error| unreadable(error.to_string()))?;
        serde_json::from_slice(&json).map_err(|error| unreadable(error.to_string()))
    }
}

/// Turns text files into shards and manifests. Returns at once when `out` holds just that already.
///
/// `out` appears as a whole or not at all. Where standard error is a terminal, a bar on it shows
/// the bytes read.
pub fn ingest(options: &IngestOptions) -> Result<Ingested, DataError> {
    let style = ProgressStyle::with_template("{msg} {wide_bar} {bytes} of {total_bytes}");
    let progress =
        ProgressBar::new(0).with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
    let ingested = run(options, &progress);
    progress.finish_and_clear();
    ingested
}

fn run(options: &IngestOptions, progress: &ProgressBar) -> Result<Ingested, DataError> {
    options.validate()?;
    let given = options
        .tokenizer
        .as_deref()
        .map(|path| Tokenizer::load(path, &options.end_of_text))
        .transpose()?;
    progress.set_message("reading");
    let corpus = Corpus::open(&options.inputs)?;
    let request = options.digest(&corpus, given.as_ref());
    if let Some(ingested) = earlier(options, &request)? {
        return Ok(ingested);
    }

    let parent = options
        .out
        .parent()
        .filter(|parent| !parent.as_os_str().is_empty())
        .unwrap_or(Path::new("."));
    fs::create_dir_all(parent).at("make the folder", parent)?;
    let scratch =
        tempfile::Builder::new().prefix(".ingest-").tempdir_in(parent).at("write to", parent)?;
    let folder = scratch.path().join("new");
    fs::create_dir(&folder).at("make the folder", &folder)?;

    progress.set_length(corpus.bytes * if given.is_some() { 1 } else { 2 });
    let tokenizer = match given {
        Some(tokenizer) => tokenizer,
        None => learn(&corpus, options, progress)?,
    };
    shards::write(&folder.join(TOKENIZER_FILE), tokenizer.json())?;
    progress.set_message("tokenising");
    let ingested = tokenise(&corpus, &tokenizer, options, request, &folder, progress)?;
    let record = serde_json::to_vec_pretty(&ingested)
        .map_err(io::Error::from)
        .at("write", &folder.join(RECORD_FILE))?;
    shards::write(&folder.join(RECORD_FILE), &record)?;
    put(&folder, &options.out, &scratch.path().join("old"))?;
    if ingested.invalid > 0 {
        tracing::warn!(
            sequences = ingested.invalid,
            "some bytes were not UTF-8 and were replaced by U+FFFD"
        );
    }
    tracing::info!(
        documents = ingested.documents,
        tokens = ingested.tokens,
        shards = ingested.train.shards,
        "ingested"
    );
    Ok(ingested)
}

/// The record of an earlier ingestion that makes this one needless; none when `out` is free or to
/// be replaced.
fn earlier(options: &IngestOptions, request: &Hash) -> Result<Option<Ingested>, DataError> {
    let out = &options.out;
    match fs::read_dir(out) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(_) if out.is_file() => return Err(DataError::Foreign(out.clone())),
        Err(error) => return Err(error).at("read", out),
        Ok(mut entries) => {
            if entries.next().is_none() {
                return Ok(None);
            }
        }
    }
    let Ok(ingested) = Ingested::read(out) else { return Err(DataError::Foreign(out.clone())) };
    let reason = if ingested.request != *request {
        "has other inputs or options".to_owned()
    } else {
        match intact(out, &ingested) {
            Ok(true) => return Ok(Some(ingested)),
            Ok(false) => "does not agree with its record".to_owned(),
            Err(error) => format!("is damaged ({error})"),
        }
    };
    if options.force { Ok(None) } else { Err(DataError::Occupied { path: out.clone(), reason }) }
}

fn intact(out: &Path, ingested: &Ingested) -> Result<bool, DataError> {
    let tokenizer = out.join(TOKENIZER_FILE);
    Ok(blake3::hash(&fs::read(&tokenizer).at("read the tokenizer", &tokenizer)?)
        == ingested.tokenizer
        && ShardFolder::open(&out.join(TRAIN))?.summary() == &ingested.train
        && ShardFolder::open(&out.join(HELD_OUT))?.summary() == &ingested.held_out)
}

/// Learns a tokenizer from the training part.
fn learn(
    corpus: &Corpus,
    options: &IngestOptions,
    progress: &ProgressBar,
) -> Result<Tokenizer, DataError> {
    progress.set_message("counting words");
    let mut learner = Learner::default();
    corpus.read(progress, |block| {
        if block.is_held_out(options.held_out) { Ok(()) } else { learner.read(block.text) }
    })?;
    progress.set_message("learning the tokenizer");
    learner.learn(options.vocabulary)
}

/// One of the two parts of the text.
struct Part {
    shards: ShardWriter,
    /// Document and place of the last block.
    last: Option<(u32, u32)>,
    waiting: Vec<String>,
    /// Which of the waiting blocks do not continue the one before.
    fresh: Vec<bool>,
    tokens: u64,
}

impl Part {
    fn create(path: PathBuf, shard_tokens: u32) -> Result<Self, DataError> {
        Ok(Self {
            shards: ShardWriter::create(path, shard_tokens)?,
            last: None,
            waiting: Vec::new(),
            fresh: Vec::new(),
            tokens: 0,
        })
    }

    fn add(&mut self, block: &Block<'_>, tokenizer: &Tokenizer) -> Result<(), DataError> {
        self.fresh.push(self.last.is_none_or(|(document, place)| {
            (document, place + 1) != (block.document, block.place)
        }));
        self.last = Some((block.document, block.place));
        self.waiting.push(block.text.to_owned());
        if self.waiting.len() < BATCH { Ok(()) } else { self.flush(tokenizer) }
    }

    fn flush(&mut self, tokenizer: &Tokenizer) -> Result<(), DataError> {
        for (tokens, fresh) in tokenizer.encode_all(&self.waiting)?.iter().zip(self.fresh.drain(..))
        {
            if fresh {
                self.shards.write(&[tokenizer.end_of_text()])?;
            }
            self.shards.write(tokens)?;
            self.tokens += tokens.len() as u64 + u64::from(fresh);
        }
        self.waiting.clear();
        Ok(())
    }
}

fn tokenise(
    corpus: &Corpus,
    tokenizer: &Tokenizer,
    options: &IngestOptions,
    request: Hash,
    folder: &Path,
    progress: &ProgressBar,
) -> Result<Ingested, DataError> {
    let mut train = Part::create(folder.join(TRAIN), options.shard_tokens)?;
    let mut held_out = Part::create(folder.join(HELD_OUT), options.shard_tokens)?;
    let Counts { documents, blocks, duplicate_blocks, bytes, invalid } =
        corpus.read(progress, |block| {
            let part = if block.is_held_out(options.held_out) { &mut held_out } else { &mut train };
            part.add(block, tokenizer)
        })?;
    train.flush(tokenizer)?;
    held_out.flush(tokenizer)?;
    Ok(Ingested {
        request,
        tokenizer: tokenizer.hash(),
        vocabulary: tokenizer.vocabulary(),
        end_of_text: tokenizer.end_of_text_name().into(),
        sequence: options.sequence,
        shard_tokens: options.shard_tokens,
        tokens: train.tokens + held_out.tokens,
        train: train.shards.finish("training", "or hold out a smaller share")?,
        held_out: if options.held_out == 0 {
            held_out.shards.close()?
        } else {
            held_out.shards.finish("held-out", "or hold out a larger share")?
        },
        documents,
        blocks,
        duplicate_blocks,
        bytes,
        invalid,
    })
}

/// Moves `new` to `out`. What is there is moved to `old`, and back if something fails.
fn put(new: &Path, out: &Path, old: &Path) -> Result<(), DataError> {
    let replaces = out.exists();
    if replaces {
        fs::rename(out, old).at("replace", out)?;
    }
    let moved = fs::rename(new, out).at("write", out);
    if moved.is_err() && replaces {
        fs::rename(old, out).at("restore", out)?;
    }
    moved
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tokenizer::tests::text;

    /// A folder with three documents of different text, and options that fit them.
    fn corpus() -> (tempfile::TempDir, IngestOptions) {
        let folder = tempfile::tempdir().unwrap();
        let input = folder.path().join("corpus");
        fs::create_dir(&input).unwrap();
        let text = text(60_000);
        let third = text.len() / 3;
        for (i, name) in ["a.txt", "b.txt", "c.txt"].iter().enumerate() {
            fs::write(input.join(name), &text[i * third..(i + 1) * third]).unwrap();
        }
        let options = IngestOptions {
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
        (folder, options)
    }

    fn run(options: &IngestOptions) -> Result<Ingested, DataError> {
        super::run(options, &ProgressBar::hidden())
    }

    /// Every file below a folder, by name.
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
    fn the_shards_hold_the_text_and_the_parts_share_none_of_it() {
        let (_folder, options) = corpus();
        let ingested = run(&options).unwrap();
        let out = &options.out;
        assert_eq!(
            (ingested.documents, ingested.duplicate_blocks, ingested.vocabulary),
            (3, 0, 400)
        );
        let tokenizer = Tokenizer::load(&out.join(TOKENIZER_FILE), &EndOfText::Known).unwrap();
        assert_eq!(tokenizer.hash(), ingested.tokenizer);

        let mut blocks = [Vec::new(), Vec::new()];
        Corpus::open(&options.inputs)
            .unwrap()
            .read(&ProgressBar::hidden(), |block| {
                blocks[usize::from(block.is_held_out(options.held_out))]
                    .push(block.text.to_owned());
                Ok(())
            })
            .unwrap();
        let mut tokens = 0;
        for (name, blocks, summary) in
            [(TRAIN, &blocks[0], ingested.train), (HELD_OUT, &blocks[1], ingested.held_out)]
        {
            let stream = stream(&out.join(name), 400);
            assert_eq!(stream[0], tokenizer.end_of_text());
            assert_eq!(stream.len() as u32, summary.shards * 64 + 1);
            let (decoded, text) = (tokenizer.decode(&stream).unwrap(), blocks.concat());
            assert!(
                text.starts_with(decoded.trim_end_matches(char::REPLACEMENT_CHARACTER)),
                "{name}"
            );
            assert!(text.len() - decoded.len() < 64 * 20);
            tokens += stream.len() as u64;
        }
        assert!(ingested.tokens >= tokens && ingested.tokens < tokens + 2 * 64);
        assert_eq!(ingested.blocks as usize, blocks[0].len() + blocks[1].len());
        assert!(blocks[1].iter().all(|block| !blocks[0].contains(block)));

        // Each document begins anew, and so does what follows a block of the other part.
        let ends = stream(&out.join(TRAIN), 400)
            .iter()
            .filter(|&&token| token == tokenizer.end_of_text())
            .count();
        assert!(ends >= 3 && ends < blocks[0].len(), "{ends}");
    }

    #[test]
    fn the_same_text_gives_the_same_folder() {
        let (folder, mut options) = corpus();
        let first = run(&options).unwrap();
        let files = contents(&options.out);
        assert_eq!(files.len(), 6);
        assert_eq!(Ingested::read(&options.out).unwrap(), first);
        // Nothing is left beside it.
        assert_eq!(fs::read_dir(folder.path().join("deep")).unwrap().count(), 1);

        // Run again it changes nothing, not even a file's time.
        let time = fs::metadata(options.out.join(RECORD_FILE)).unwrap().modified().unwrap();
        assert_eq!(run(&options).unwrap(), first);
        assert_eq!(fs::metadata(options.out.join(RECORD_FILE)).unwrap().modified().unwrap(), time);

        // Elsewhere, from a moved corpus, it is the same.
        let moved = folder.path().join("moved");
        fs::rename(&options.inputs[0], &moved).unwrap();
        options.inputs = vec![moved];
        options.out = folder.path().join("elsewhere");
        assert_eq!(run(&options).unwrap(), first);
        let bytes = |files: Vec<(PathBuf, Vec<u8>)>| {
            files.into_iter().map(|(_, bytes)| bytes).collect::<Vec<_>>()
        };
        assert_eq!(bytes(contents(&options.out)), bytes(files));
    }

    #[test]
    fn a_given_tokenizer_is_used_as_it_is() {
        let (folder, mut options) = corpus();
        let first = run(&options).unwrap();
        let path = options.out.join(TOKENIZER_FILE);
        options = IngestOptions {
            tokenizer: Some(path.clone()),
            vocabulary: 0,
            out: folder.path().join("second"),
            ..options
        };
        let second = run(&options).unwrap();
        assert_eq!(
            (second.tokenizer, second.train, second.held_out),
            (first.tokenizer, first.train, first.held_out)
        );
        assert_ne!(second.request, first.request);
        assert_eq!(fs::read(options.out.join(TOKENIZER_FILE)).unwrap(), fs::read(path).unwrap());
    }

    #[test]
    fn a_given_tokenizer_may_end_texts_in_its_own_way() {
        let (folder, mut options) = corpus();
        let first = run(&options).unwrap();
        let json = fs::read_to_string(options.out.join(TOKENIZER_FILE)).unwrap();
        let path = folder.path().join("other.json");
        let given = |options: &IngestOptions, end: &str, out: &str| IngestOptions {
            tokenizer: Some(path.clone()),
            end_of_text: EndOfText::Named(end.into()),
            out: folder.path().join(out),
            ..options.clone()
        };
        // Not a name that is known: it has to be given, and is then as good as any.
        fs::write(&path, json.replace(END_OF_TEXT, "[DONE]")).unwrap();
        let named = given(&options, "[DONE]", "named");
        let unnamed = IngestOptions { end_of_text: EndOfText::Known, ..named.clone() };
        assert!(run(&unnamed).unwrap_err().to_string().contains("--end-of-text"));
        let second = run(&named).unwrap();
        assert_eq!((second.end_of_text.as_str(), second.train), ("[DONE]", first.train));
        assert_eq!(run(&named).unwrap(), second);

        // The usual end needs no name, and records that name none had it.
        fs::write(&path, json).unwrap();
        options = given(&options, END_OF_TEXT, "usual");
        let usual = run(&options).unwrap();
        assert_eq!(usual.train, first.train);
        let record = options.out.join(RECORD_FILE);
        let before = fs::read_to_string(&record)
            .unwrap()
            .replace("  \"end_of_text\": \"<|endoftext|>\",\n", "");
        assert!(!before.contains("end_of_text"));
        fs::write(&record, before).unwrap();
        assert_eq!(run(&options).unwrap(), usual);
        assert_eq!(
            run(&IngestOptions { end_of_text: EndOfText::Known, ..options.clone() }).unwrap(),
            usual
        );
    }

    #[test]
    fn nothing_need_be_held_out() {
        let (_folder, mut options) = corpus();
        options.held_out = 0;
        let ingested = run(&options).unwrap();
        assert!(ingested.held_out.shards == 0 && ingested.train.shards > 0);
        for (part, summary) in PARTS.into_iter().zip([ingested.train, ingested.held_out]) {
            let shards = ShardFolder::open(&options.out.join(part)).unwrap();
            assert_eq!(
                (shards.summary(), shards.len(), shards.is_empty()),
                (&summary, summary.shards, summary.shards == 0)
            );
        }
        assert_eq!(run(&options).unwrap(), ingested);
        let Err(error) = Ingested::read(&options.inputs[0]) else { panic!("read") };
        assert!(error.to_string().contains("data ingest"), "{error}");
    }

    #[test]
    fn what_is_in_the_way_is_kept_unless_forced() {
        let (_folder, mut options) = corpus();
        fs::create_dir_all(&options.out).unwrap();
        let first = run(&options).unwrap();

        options.shard_tokens = 32;
        let Err(error) = run(&options) else { panic!("replaced") };
        assert!(matches!(&error, DataError::Occupied { path, .. } if *path == options.out));
        assert!(error.to_string().contains("--force"), "{error}");
        assert_eq!(ShardFolder::open(&options.out.join(TRAIN)).unwrap().summary(), &first.train);
        options.force = true;
        let second = run(&options).unwrap();
        assert_eq!(ShardFolder::open(&options.out.join(TRAIN)).unwrap().summary(), &second.train);
        assert_eq!((second.shard_tokens, second.train.shards / first.train.shards), (32, 2));

        // A damaged one is noticed, and made good by force.
        options.force = false;
        fs::write(options.out.join(TRAIN).join("body.bin"), [0; 64]).unwrap();
        assert!(matches!(run(&options), Err(DataError::Occupied { .. })));
        options.force = true;
        assert_eq!(run(&options).unwrap(), second);

        // What ingestion did not write is never touched.
        for foreign in ["folder", "file"] {
            options.out = options.out.with_file_name(foreign);
            let kept = if foreign == "folder" {
                options.out.join(RECORD_FILE)
            } else {
                options.out.clone()
            };
            fs::create_dir_all(kept.parent().unwrap()).unwrap();
            fs::write(&kept, "mine").unwrap();
            assert!(matches!(run(&options), Err(DataError::Foreign(path)) if path == options.out));
            assert_eq!(fs::read(kept).unwrap(), b"mine");
        }
    }

    #[test]
    fn each_failure_is_named_and_leaves_nothing() {
        let (folder, options) = corpus();
        let fails = |change: &dyn Fn(&mut IngestOptions)| {
            let mut options = options.clone();
            change(&mut options);
            let error = run(&options).unwrap_err();
            assert!(!options.out.exists(), "{error}");
            error
        };
        assert!(matches!(fails(&|o| o.sequence = 0), DataError::Option(_)));
        assert!(matches!(fails(&|o| o.sequence = 24), DataError::Option(_)));
        assert!(matches!(fails(&|o| o.shard_tokens = MAX_SHARD_TOKENS + 16), DataError::Option(_)));
        assert!(matches!(fails(&|o| o.held_out = MILLION), DataError::Option(_)));
        assert!(matches!(fails(&|o| o.vocabulary = 256), DataError::Option(_)));
        assert!(matches!(
            fails(&|o| o.vocabulary = 1 << 20),
            DataError::Vocabulary { asked: 1_048_576, .. }
        ));
        assert!(matches!(
            fails(&|o| o.held_out = 1),
            DataError::TooLittle { part: "held-out", .. }
        ));
        assert!(matches!(
            fails(&|o| o.shard_tokens = 1 << 20),
            DataError::TooLittle { part: "training", needed: 1_048_577, .. }
        ));
        assert!(matches!(fails(&|o| o.inputs.clear()), DataError::NoText(_)));
        assert!(matches!(fails(&|o| o.inputs[0].push("none")), DataError::Io { .. }));
        assert!(matches!(
            fails(&|o| o.tokenizer = Some(o.inputs[0].join("a.txt"))),
            DataError::Tokenizer { .. }
        ));
        assert!(matches!(fails(&|o| o.out = o.inputs[0].join("a.txt/out")), DataError::Io { .. }));
        assert_eq!(fs::read_dir(folder.path().join("deep")).unwrap().count(), 0);
    }
}
