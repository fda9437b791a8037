// SPDX-License-Identifier: Apache-2.0

//! An ingestion from its inputs to its output folder.

mod record;
mod tokenise;
mod watched;

pub use record::IngestRecord;

use crate::{
    EndOfText, RECORD_FILE, REPORT_FILE, SIGNATURES_FILE, TOKENIZER_FILE,
    documents::LineageRecord,
    end_of_text::{END_OF_TEXT, IngestTokenizer},
    error::{DataError, IoContext},
    shards::write_synced,
    tokenizer_trainer::check_vocabulary,
    verify::{verify, watched_file_hash},
};
use pol_corpus::{
    Content, CorpusError, ReadOptions, inputs, is_pipe,
    pipeline::{Pipeline, PipelineConfig, Progress, References, Selection, Stage, Supply},
};
use pol_primitives::{Hash, data::MAX_SHARD_TOKENS};
use serde::Serialize;
use std::{
    fs::{self, File, TryLockError},
    io::{self, Read, Write},
    path::{Path, PathBuf},
};
use tokenise::{Tokenised, kept_tokenizer, tokenise};
use watched::WatchedInputs;

/// Domain of the digest of an ingestion. A change by which some inputs give other data raises it,
/// unless the digest of the pipeline shows the change.
const DOMAIN: &[u8] = b"pol/ingest/3";
/// Start of the names of folders in which ingestions are made.
const WORK: &str = ".ingest-";
/// File in such a folder that holds the path of the output, and that a run locks.
const LOCK: &str = "lock";
/// Longest path that is compared, in bytes.
const MAX_PATH_BYTES: u64 = 1 << 16;
/// Path that stands for standard input.
const STANDARD_INPUT: &str = "-";

/// Inputs and options of an ingestion.
#[derive(Clone, Debug)]
pub struct IngestConfig {
    /// Files, folders, standard input, and stores that sources filled.
    pub inputs: Vec<Supply>,
    /// Output folder.
    pub out: PathBuf,
    /// Cleaning, deduplication, and the share that is held out.
    pub corpus: PipelineConfig,
    /// Fields of tables that hold the text of a document. If none is named, the usual names are
    /// tried.
    pub text_fields: Vec<String>,
    /// Entries of the vocabulary to train. Ignored if `tokenizer` is given.
    pub vocabulary: u32,
    /// Tokens of a training sequence.
    pub sequence: u16,
    /// Tokens that a shard trains on, a multiple of `sequence`.
    pub shard_tokens: u32,
    /// `tokenizer.json` to use. If `None`, a tokenizer is trained on the text.
    pub tokenizer: Option<PathBuf>,
    /// Separator of texts in a given tokenizer. Trained tokenizers have
    /// [`END_OF_TEXT`](crate::END_OF_TEXT).
    pub end_of_text: EndOfText,
    /// Replace an earlier ingestion in `out` that had other inputs or options.
    pub force: bool,
    /// Making of the text, if something else than this program made it, such as a recipe.
    pub lineage: Option<LineageRecord>,
}

impl IngestConfig {
    fn validate(&self) -> Result<(), DataError> {
        let Self { sequence, shard_tokens, .. } = *self;
        if sequence == 0
            || shard_tokens == 0
            || shard_tokens > MAX_SHARD_TOKENS
            || shard_tokens % u32::from(sequence) != 0
        {
            return Err(DataError::InvalidOption(format!(
                "a shard of {shard_tokens} tokens must be a multiple of the sequence of \
                 {sequence}, and at most {MAX_SHARD_TOKENS}"
            )));
        }
        if self.inputs.is_empty() {
            return Err(DataError::NoText("no input".into()));
        }
        if self.tokenizer.is_none() { check_vocabulary(self.vocabulary) } else { Ok(()) }
    }

    /// Returns the digest of everything that determines the output. `pipeline` and `contents` are
    /// those of the documents.
    fn digest(&self, pipeline: &Hash, contents: &Hash, given: Option<&IngestTokenizer>) -> Hash {
        let mut hasher = blake3::Hasher::new();
        hasher.update(DOMAIN).update(pipeline).update(contents);
        match given {
            Some(tokenizer) => hasher.update(&[1]).update(&tokenizer.hash()),
            None => hasher.update(&[0]).update(&self.vocabulary.to_le_bytes()),
        };
        let end = given.map_or(END_OF_TEXT, IngestTokenizer::end_of_text_name);
        hasher
            .update(&(end.len() as u64).to_le_bytes())
            .update(end.as_bytes())
            .update(&self.sequence.to_le_bytes())
            .update(&self.shard_tokens.to_le_bytes());
        if let Some(lineage) = &self.lineage {
            hasher.update(&lineage.digest());
        }
        *hasher.finalize().as_bytes()
    }
}

/// Turns texts into shards and manifests. Returns at once if `out` already holds exactly this
/// ingestion.
///
/// `out` appears as a whole or not at all. Prepared documents are kept beside it until then, so
/// that the same ingestion goes on where it was killed, and one with other shards or another
/// tokenizer where it failed. Memory does not grow with the inputs.
///
/// # Errors
///
/// Fails if an option is out of its range, if the text is too little for the vocabulary or for a
/// shard, if `out` holds other files, if a file cannot be read or written, or if an input changes
/// while it is read.
pub fn ingest(
    config: &IngestConfig,
    references: References,
    watch: &(dyn Fn(Progress) + Sync),
) -> Result<IngestRecord, DataError> {
    config.validate()?;
    let given = config
        .tokenizer
        .as_deref()
        .map(|path| IngestTokenizer::load(path, &config.end_of_text))
        .transpose()?;
    let parent = config
        .out
        .parent()
        .filter(|parent| !parent.as_os_str().is_empty())
        .unwrap_or(Path::new("."));
    fs::create_dir_all(parent).io_context("create the folder", parent)?;
    refuse_own_output(config)?;
    let (supplies, _spools) = spool_pipes(&config.inputs, parent)?;
    let inputs = WatchedInputs::new(&supplies)?;
    let contents = digest_of(&supplies, watch)?;
    let options = ReadOptions { text_fields: config.text_fields.clone(), ..ReadOptions::default() };
    // Named by what the documents depend on: another tokenizer finds them prepared. It may find a
    // trained tokenizer too, which is one of this version.
    let name = blake3::Hasher::new()
        .update(DOMAIN)
        .update(serde_json::to_string(&config.corpus).unwrap_or_default().as_bytes())
        .update(&contents)
        .finalize()
        .to_hex();
    let work = parent.join(format!("{WORK}{}", &name[..16]));
    let pipeline = Pipeline::open(&work, config.corpus.clone(), references, options)?;
    let lock = lock(&work, &config.out)?;
    let request = config.digest(&pipeline.digest(), &contents, given.as_ref());
    let record = match existing_ingestion(config, &request) {
        Ok(None) => make(config, given, pipeline, &inputs, request, &work, watch),
        Ok(Some(record)) => Ok(record),
        Err(error) => Err(error),
    };
    match &record {
        Err(error) if serves_next(error) && holds_documents(&work) => tracing::warn!(
            "{} keeps the prepared documents, from which the next ingestion of the same inputs by \
             the same rules goes on; remove it if there is none",
            work.display()
        ),
        _ => fs::remove_dir_all(&work).io_context("remove", &work)?,
    }
    drop(lock);
    let record = record?;
    if record.invalid > 0 {
        tracing::warn!(
            sequences = record.invalid,
            "some bytes could not be decoded and were replaced by U+FFFD"
        );
    }
    Ok(record)
}

/// Makes the output of an ingestion in the folder `work`, and moves it to its place.
fn make(
    config: &IngestConfig,
    given: Option<IngestTokenizer>,
    pipeline: Pipeline,
    inputs: &WatchedInputs<'_>,
    request: Hash,
    work: &Path,
    watch: &(dyn Fn(Progress) + Sync),
) -> Result<IngestRecord, DataError> {
    remove_superseded(work, &config.out)?;
    let selection = pipeline.run(inputs.supplies(), watch);
    // A change tells why reading failed, too.
    inputs.check_unchanged()?;
    let mut selection = selection?;
    let folder = work.join("new");
    if folder.exists() {
        fs::remove_dir_all(&folder).io_context("remove", &folder)?;
    }
    fs::create_dir(&folder).io_context("create the folder", &folder)?;
    let tokenizer = match given {
        Some(tokenizer) => Ok(tokenizer),
        None => kept_tokenizer(&mut selection, config.vocabulary, work, watch),
    };
    let written = tokenizer
        .and_then(|tokenizer| write(config, &tokenizer, &mut selection, request, &folder, watch));
    if written.is_err() {
        // The next run makes these files anew. If they cannot be removed, it says so.
        let _ = fs::remove_dir_all(&folder);
    }
    let record = written?;
    move_into_place(&folder, &config.out, &work.join("old"))?;
    Ok(record)
}

/// Returns `true` if a run that failed so has prepared documents that another one can use: when the
/// disk has room again, or with other shards or another tokenizer.
fn serves_next(error: &DataError) -> bool {
    match error {
        DataError::Corpus(error) => matches!(error, CorpusError::Io { .. }),
        // Documents of an input that changed are those of no state of it.
        DataError::ChangedInput(_)
        | DataError::NothingLeft(_)
        | DataError::LongRecord { .. }
        | DataError::TooManyDocuments => false,
        _ => true,
    }
}

/// Returns `true` if the folder of a run holds more than the file that locks it.
fn holds_documents(work: &Path) -> bool {
    fs::read_dir(work).is_ok_and(|entries| entries.count() > 1)
}

/// Writes the output of an ingestion into `folder`.
fn write(
    config: &IngestConfig,
    tokenizer: &IngestTokenizer,
    selection: &mut Selection,
    request: Hash,
    folder: &Path,
    watch: &(dyn Fn(Progress) + Sync),
) -> Result<IngestRecord, DataError> {
    write_synced(&folder.join(TOKENIZER_FILE), tokenizer.json())?;
    let holds_out = config.corpus.held_out > 0;
    let Tokenised { train, held_out, tokens, documents, report } =
        tokenise(selection, tokenizer, config.shard_tokens, holds_out, folder, watch)?;
    selection.save_signatures(&folder.join(SIGNATURES_FILE))?;
    let record = IngestRecord {
        request,
        tokenizer: tokenizer.hash(),
        vocabulary: tokenizer.vocabulary(),
        end_of_text: tokenizer.end_of_text_name().into(),
        sequence: config.sequence,
        shard_tokens: config.shard_tokens,
        train,
        held_out,
        documents: report.train.documents + report.held_out.documents,
        dropped: report.dropped.values().sum(),
        refused: report.refused,
        bytes: report.train.bytes + report.held_out.bytes,
        invalid: report.invalid,
        tokens,
        quality: report.mean_quality(),
        lineage: Some(LineageRecord {
            documents: Some(documents),
            ..config.lineage.clone().unwrap_or_else(|| LineageRecord::of_request(request))
        }),
    };
    write_json(&folder.join(REPORT_FILE), &report)?;
    write_json(&folder.join(RECORD_FILE), &record)?;
    Ok(record)
}

fn write_json(path: &Path, value: &impl Serialize) -> Result<(), DataError> {
    let json =
        serde_json::to_vec_pretty(value).map_err(io::Error::from).io_context("write", path)?;
    write_synced(path, &json)
}

/// Fails if the output is within an input: the next ingestion would learn from it, and from the
/// text that it holds out.
fn refuse_own_output(config: &IngestConfig) -> Result<(), DataError> {
    let absolute = |path: &Path| std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    let out = absolute(&config.out);
    for input in &config.inputs {
        if let Supply::Path(path) = input
            && path.is_dir()
            && out.starts_with(absolute(path))
        {
            return Err(DataError::InvalidOption(format!(
                "the output {} is within the input {}; choose a folder beside it",
                config.out.display(),
                path.display()
            )));
        }
    }
    Ok(())
}

/// Keeps other processes from the folder of a run, while the file is open. It names the output.
fn lock(work: &Path, out: &Path) -> Result<File, DataError> {
    let path = work.join(LOCK);
    let options = File::options().read(true).write(true).create(true).truncate(false).open(&path);
    let mut file = options.io_context("create", &path)?;
    match file.try_lock() {
        Ok(()) => {
            let named = file.set_len(0).and_then(|()| file.write_all(&name_of(out)));
            named.io_context("write", &path)?;
            Ok(file)
        }
        Err(TryLockError::WouldBlock) => Err(DataError::InvalidOption(
            "the same ingestion is running in another process; wait for it, or stop it".into(),
        )),
        Err(TryLockError::Error(error)) => Err(error).io_context("lock", &path),
    }
}

/// Returns the bytes by which the folder of a run names its output.
fn name_of(out: &Path) -> Vec<u8> {
    let absolute = std::path::absolute(out).unwrap_or_else(|_| out.to_owned());
    absolute.into_os_string().into_encoded_bytes()
}

/// Removes what stopped ingestions into the same output left that had other texts or options: this
/// one takes their place.
fn remove_superseded(work: &Path, out: &Path) -> Result<(), DataError> {
    let parent = work.parent().unwrap_or(Path::new("."));
    for entry in fs::read_dir(parent).io_context("list", parent)? {
        let entry = entry.io_context("list", parent)?;
        let folder = entry.path();
        let is_work = entry.file_name().as_encoded_bytes().starts_with(WORK.as_bytes());
        if !is_work || folder == work {
            continue;
        }
        // One that cannot be read is not ours.
        let Ok(lock) = File::open(folder.join(LOCK)) else { continue };
        let mut named = Vec::new();
        let read = (&lock).take(MAX_PATH_BYTES).read_to_end(&mut named);
        if read.is_ok() && named == name_of(out) && lock.try_lock().is_ok() {
            tracing::warn!(
                "removing {}, which an ingestion of other texts or options into {} left when it \
                 was stopped",
                folder.display(),
                out.display()
            );
            fs::remove_dir_all(&folder).io_context("remove", &folder)?;
        }
    }
    Ok(())
}

/// Writes what pipes hold into temporary files in `folder`, since they can be read once and an
/// ingestion is named by its contents. Returns the inputs with these files, and the files.
fn spool_pipes(supplies: &[Supply], folder: &Path) -> Result<(Vec<Supply>, Vec<Spool>), DataError> {
    let mut spools = Vec::new();
    let mut spool = |supply: &Supply| {
        let Supply::Path(path) = supply else { return Ok(supply.clone()) };
        let is_standard = path.as_os_str() == STANDARD_INPUT;
        // Errors, and devices, are told by who reads the files.
        if !is_standard && !fs::metadata(path).is_ok_and(|facts| is_pipe(&facts)) {
            return Ok(supply.clone());
        }
        let mut spool = Spool::create(folder)?;
        let contents = if is_standard {
            copy_hashed(&mut io::stdin().lock(), spool.file())
        } else {
            File::open(path).and_then(|mut pipe| copy_hashed(&mut pipe, spool.file()))
        };
        let contents = contents.io_context("read", path)?;
        let location =
            if is_standard { "standard input".into() } else { path.display().to_string() };
        let path = spool.path();
        spools.push(spool);
        Ok::<_, DataError>(Supply::Spool { location, path, contents })
    };
    let supplies = supplies.iter().map(&mut spool).collect::<Result<_, _>>()?;
    Ok((supplies, spools))
}

/// Copies what `from` holds to `to`, and returns the BLAKE3 of it.
fn copy_hashed(from: &mut impl io::Read, to: &mut File) -> io::Result<Hash> {
    struct Hashed<'a>(&'a mut File, blake3::Hasher);

    impl Write for Hashed<'_> {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let written = self.0.write(bytes)?;
            self.1.update(&bytes[..written]);
            Ok(written)
        }

        fn flush(&mut self) -> io::Result<()> {
            self.0.flush()
        }
    }

    let mut hashed = Hashed(to, blake3::Hasher::new());
    io::copy(from, &mut hashed)?;
    Ok(hashed.1.finalize().into())
}

/// Temporary file that can be opened by its path, and that is gone after a kill where the system
/// allows.
struct Spool {
    #[cfg(target_os = "linux")]
    file: File,
    #[cfg(not(target_os = "linux"))]
    file: tempfile::NamedTempFile,
}

#[cfg(target_os = "linux")]
impl Spool {
    fn create(folder: &Path) -> Result<Self, DataError> {
        Ok(Self { file: tempfile::tempfile_in(folder).io_context("write to", folder)? })
    }

    fn file(&mut self) -> &mut File {
        &mut self.file
    }

    /// Returns the path of the descriptor: the file itself has no name.
    fn path(&self) -> PathBuf {
        use std::os::fd::AsRawFd;
        format!("/proc/self/fd/{}", self.file.as_raw_fd()).into()
    }
}

#[cfg(not(target_os = "linux"))]
impl Spool {
    fn create(folder: &Path) -> Result<Self, DataError> {
        let file = tempfile::NamedTempFile::new_in(folder).io_context("write to", folder)?;
        Ok(Self { file })
    }

    fn file(&mut self) -> &mut File {
        self.file.as_file_mut()
    }

    fn path(&self) -> PathBuf {
        self.file.path().to_owned()
    }
}

/// Returns the digest of the inputs: names and contents of files, and what stores hold.
fn digest_of(supplies: &[Supply], watch: &(dyn Fn(Progress) + Sync)) -> Result<Hash, DataError> {
    let sizes: Vec<u64> = supplies.iter().map(Supply::bytes).collect::<Result<_, _>>()?;
    let (total, mut done) = (sizes.iter().fold(0, |sum: u64, size| sum.saturating_add(*size)), 0);
    let mut count = |bytes: u64| {
        done = total.min(bytes.saturating_add(done));
        watch(Progress { stage: Stage::Hashing, done, total });
    };
    let mut hasher = blake3::Hasher::new();
    for (supply, size) in supplies.iter().zip(sizes) {
        match supply {
            Supply::Path(path) => {
                for input in inputs(std::slice::from_ref(path)) {
                    let Ok(input) = input? else { continue };
                    hasher.update(&digest_of_text(&input.origin.location));
                    if let Content::File(path) = &input.content {
                        hasher.update(&watched_file_hash(path, &mut count)?);
                    }
                }
            }
            Supply::Spool { location, contents, .. } => {
                hasher.update(&digest_of_text(location)).update(contents);
                count(size);
            }
            Supply::Store(folder, passed) => {
                hasher.update(&passed.to_le_bytes());
                let store = pol_corpus::RawStore::create_or_open(folder)?;
                hasher.update(&store.len().to_le_bytes());
                hasher.update(&store.contents()?);
                hasher.update(&digest_of_text(&store.cursor().to_string()));
                count(size);
            }
        }
    }
    Ok(*hasher.finalize().as_bytes())
}

fn digest_of_text(text: &str) -> Hash {
    *blake3::hash(text.as_bytes()).as_bytes()
}

/// Returns the record of an identical earlier ingestion in `out`, or `None` if `out` is free or is
/// to be replaced.
fn existing_ingestion(
    config: &IngestConfig,
    request: &Hash,
) -> Result<Option<IngestRecord>, DataError> {
    let out = &config.out;
    match fs::read_dir(out) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(_) if out.is_file() => return Err(DataError::Foreign(out.clone())),
        Err(error) => return Err(error).io_context("read", out),
        Ok(mut entries) => {
            if entries.next().is_none() {
                return Ok(None);
            }
        }
    }
    let Ok(record) = IngestRecord::read(out) else { return Err(DataError::Foreign(out.clone())) };
    let reason = if record.request != *request {
        "has other inputs or options".to_owned()
    } else {
        match verify(out) {
            Ok(record) => return Ok(Some(record)),
            Err(error) => format!("is damaged ({error})"),
        }
    };
    if config.force { Ok(None) } else { Err(DataError::Occupied { path: out.clone(), reason }) }
}

/// Moves `new` to `out`. An earlier `out` is moved to `old`, and back if the move fails.
fn move_into_place(new: &Path, out: &Path, old: &Path) -> Result<(), DataError> {
    let replaces = out.exists();
    if replaces {
        fs::rename(out, old).io_context("replace", out)?;
    }
    let moved = fs::rename(new, out).io_context("write", out);
    if moved.is_err() && replaces {
        fs::rename(old, out).io_context("restore", out)?;
    }
    moved
}

#[cfg(test)]
impl IngestConfig {
    /// Returns a configuration for little text.
    pub(crate) fn small(input: PathBuf, out: PathBuf) -> Self {
        Self {
            inputs: vec![Supply::Path(input)],
            out,
            corpus: PipelineConfig::default(),
            text_fields: Vec::new(),
            vocabulary: 400,
            sequence: 16,
            shard_tokens: 64,
            tokenizer: None,
            end_of_text: EndOfText::Known,
            force: false,
            lineage: None,
        }
    }
}

#[cfg(test)]
mod tests;
