// SPDX-License-Identifier: Apache-2.0

//! `GET /documents`: documents in the data on this machine, and the shards that hold them.
//!
//! Chains know data by hashes. Records of documents are in the folder that `data ingest` made, on
//! the machine of the provider.

use crate::{
    documents::{documents_of_shard, indices, parse_shard_id, side_folder},
    reports::{ReportSums, read_report},
};
use anyhow::{Context, Result, ensure};
use axum::{
    Json,
    extract::{Query, State, rejection::QueryRejection},
};
use pol_api::{ApiError, Problem};
use pol_chain_api::ChainState;
use pol_corpus::{DocumentRecord, Side, Verdict};
use pol_data::{
    DataError, REPORT_FILE, SPLITS, ShardFolder,
    documents::{DocumentIndex, DocumentQuery, RECORDS_FILE, Records, search},
};
use pol_primitives::{
    Hash, MILLION,
    data::{ManifestId, ShardId},
    hex_hash,
};
use serde::{Deserialize, Serialize};
use std::{
    collections::{BTreeMap, btree_map::Entry},
    fs, io,
    ops::ControlFlow,
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, Instant},
};
use tokio::{sync::Semaphore, time::timeout};
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::{router::OpenApiRouter, routes};

/// Most documents of an answer.
const MAX_FOUND: usize = 50;
/// Most shards that a document is told with.
const MAX_SHARDS: usize = 64;
/// Longest words to look for, in bytes.
const MAX_WORDS: usize = 400;
/// Most folders of data that are looked into.
const MAX_FOLDERS: usize = 256;
/// Longest look through the records of all documents.
const SEARCH_TIME: Duration = Duration::from_secs(8);

/// Request for documents, which has exactly one of these.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(default)]
struct Asked {
    /// BLAKE3 of the raw bytes of a document, or of its clean text.
    hash: Option<String>,
    /// Part of the source, of the address, or of the title or number within what the address
    /// names. Large and small letters are the same.
    #[param(example = "hamlet")]
    address: Option<String>,
    /// Words of the text.
    #[param(example = "It was the best of times")]
    passage: Option<String>,
    /// Shard: the number of its manifest, a slash, and its index there.
    #[param(example = "3/17")]
    shard: Option<String>,
}

/// Checked request.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Wanted {
    Hash(Hash),
    Address(String),
    Passage(String),
    Shard(ShardId),
}

impl Asked {
    fn check(self) -> Result<Wanted, ApiError> {
        let words = |name: &'static str, text: String| {
            let text = text.trim().to_owned();
            if text.is_empty() || text.len() > MAX_WORDS {
                let detail = format!("{name} has 1 to {MAX_WORDS} bytes");
                return Err(ApiError::parameter(name, detail));
            }
            Ok(text)
        };
        match (self.hash, self.address, self.passage, self.shard) {
            (Some(hash), None, None, None) => {
                let detail = "a hash has 64 hexadecimal digits, and may begin with 0x";
                let invalid = || ApiError::parameter("hash", detail);
                hex_hash::parse(&hash).map(Wanted::Hash).ok_or_else(invalid)
            }
            (None, Some(address), None, None) => {
                Ok(Wanted::Address(words("address", address)?.to_lowercase()))
            }
            (None, None, Some(passage), None) => Ok(Wanted::Passage(words("passage", passage)?)),
            (None, None, None, Some(shard)) => parse_shard_id(&shard)
                .map(Wanted::Shard)
                .map_err(|detail| ApiError::parameter("shard", detail)),
            _ => {
                let detail = "give exactly one of hash, address, passage, and shard";
                Err(ApiError::parameter("hash", detail))
            }
        }
    }
}

/// Documents that were found.
#[derive(Debug, Serialize, ToSchema)]
struct Documents {
    /// Documents; at most 50.
    items: Vec<Document>,
    /// Number of records in the data on this machine.
    #[schema(example = 40_213)]
    documents: u64,
    /// `false` if the search ended early: after 50 documents, or after eight seconds.
    complete: bool,
}

/// Document that was ingested on this machine.
#[derive(Debug, Serialize, ToSchema)]
struct Document {
    /// Name of the source, as the ingestion has it.
    #[schema(example = "web/example.org")]
    source: String,
    /// Address within the source.
    #[schema(example = "https://example.org/hamlet")]
    address: String,
    /// Position within what the address names: a member of an archive, a row, or the title of a
    /// book. Null for the whole.
    #[schema(example = "Hamlet")]
    part: Option<String>,
    /// BLAKE3 of the raw bytes.
    raw: String,
    /// BLAKE3 of the clean text.
    text: String,
    /// Number of the piece of a long document.
    piece: u32,
    /// Length of the clean text, in bytes.
    bytes: u64,
    /// Licence that the source states.
    #[schema(example = "CC-BY-4.0")]
    licence: Option<String>,
    /// Language, as an ISO 639-3 code.
    #[schema(example = "eng")]
    language: Option<String>,
    /// Quality of the text, from 0 to 1.
    #[schema(example = 0.83)]
    quality: Option<f64>,
    /// Rule that dropped it; null for a document in shards.
    #[schema(example = "gopher.symbols")]
    dropped_by: Option<String>,
    /// Clean text of the document that it is a near duplicate of, by its BLAKE3.
    survivor: Option<String>,
    /// Number of its tokens; null for a document that was dropped.
    #[schema(example = 812)]
    tokens: Option<u64>,
    /// Set if the tokens are held out, and never trained on.
    held_out: bool,
    /// BLAKE3 of the body of the manifest with its tokens.
    content: Option<String>,
    /// Number of that manifest on the chain; null if it is not registered, or if this process does
    /// not follow a chain.
    #[schema(example = 3)]
    manifest: Option<ManifestId>,
    /// Indices of the shards that hold its tokens; at most 64.
    #[schema(example = json!([17, 18]))]
    shards: Vec<u32>,
}

/// Documents in the data on this machine.
#[derive(Clone)]
pub(super) struct DataSearch {
    folder: Arc<Path>,
    chain: Option<ChainState>,
    /// One search at a time reads the disk.
    turn: Arc<Semaphore>,
}

/// Record of a document, and the folder that it is in.
type Found = (PathBuf, DocumentRecord);

impl DataSearch {
    /// Creates the search in a `folder` of `data ingest`, or in one whose folders have such.
    pub(super) fn new(folder: PathBuf, chain: Option<ChainState>) -> Self {
        Self { folder: folder.into(), chain, turn: Arc::new(Semaphore::new(1)) }
    }

    async fn find(&self, wanted: Wanted) -> Result<Documents, ApiError> {
        let content = match (&wanted, &self.chain) {
            (Wanted::Shard(shard), Some(chain)) => {
                let content = chain.content_of_manifest(shard.manifest).await?;
                let Some(content) = content else {
                    let detail = format!("the index knows no manifest {}", shard.manifest);
                    return Err(ApiError::Missing(detail));
                };
                Some(content)
            }
            (Wanted::Shard(_), None) => {
                let reason = "this process follows no chain, so that it cannot tell the manifest \
                              of a shard; start it with --node";
                return Err(ApiError::Conflict(reason.into()));
            }
            _ => None,
        };
        let look = move |folder: &Path| Look::new(folder, SEARCH_TIME)?.find(&wanted, content);
        let mut documents = self.read(look).await?;
        self.name_manifests(&mut documents.items).await?;
        Ok(documents)
    }

    /// Returns the sums of the reports in all folders.
    pub(super) async fn sum_up(&self) -> Result<ReportSums, ApiError> {
        self.read(sum_up).await
    }

    /// Reads something in the folder, once nobody else does.
    async fn read<T: Send + 'static>(
        &self,
        read: impl FnOnce(&Path) -> io::Result<T> + Send + 'static,
    ) -> Result<T, ApiError> {
        let turn = timeout(SEARCH_TIME, Arc::clone(&self.turn).acquire_owned()).await;
        let turn = turn.map_err(|_| ApiError::Busy)?;
        let folder = Arc::clone(&self.folder);
        let looked = tokio::task::spawn_blocking(move || {
            let _turn = turn;
            read(&folder)
        });
        let looked = looked.await.map_err(|error| ApiError::Internal(error.to_string()))?;
        looked.map_err(|error| ApiError::Internal(error.to_string()))
    }

    /// Adds the numbers of manifests on the chain.
    async fn name_manifests(&self, items: &mut [Document]) -> Result<(), ApiError> {
        let Some(chain) = &self.chain else { return Ok(()) };
        let mut known = BTreeMap::new();
        for item in items {
            let Some(content) = item.content.as_deref().and_then(hex_hash::parse) else { continue };
            if let Entry::Vacant(place) = known.entry(content) {
                place.insert(chain.manifest_of_content(content).await?);
            }
            item.manifest = known.get(&content).copied().flatten();
        }
        Ok(())
    }
}

/// Look into folders of data.
struct Look {
    folders: Vec<PathBuf>,
    end: Instant,
    complete: bool,
}

impl Look {
    fn new(folder: &Path, time: Duration) -> io::Result<Self> {
        Ok(Self { folders: folders(folder)?, end: Instant::now() + time, complete: true })
    }

    fn find(mut self, wanted: &Wanted, content: Option<Hash>) -> Result<Documents, io::Error> {
        let (mut found, mut documents) = (Vec::new(), 0);
        for folder in std::mem::take(&mut self.folders) {
            // A folder may be in the middle of being made.
            let index = match DocumentIndex::open(&folder) {
                Ok(index) => index,
                Err(error) => {
                    tracing::debug!("{} is not searched: {error}", folder.display());
                    continue;
                }
            };
            documents += u64::from(index.documents().count);
            let left = MAX_FOUND.saturating_sub(found.len());
            let records = if left == 0 {
                self.complete = false;
                Vec::new()
            } else {
                self.records(&folder, &index, wanted, content, left).map_err(io::Error::other)?
            };
            found.extend(records.into_iter().map(|record| (folder.clone(), record)));
        }
        let mut sides = BTreeMap::new();
        let items = found.into_iter().map(|one| document(one, &mut sides));
        let items = items.collect::<Result<_, _>>().map_err(io::Error::other)?;
        Ok(Documents { items, documents, complete: self.complete })
    }

    /// Returns up to `most` records of a folder.
    fn records(
        &mut self,
        folder: &Path,
        index: &DocumentIndex,
        wanted: &Wanted,
        content: Option<Hash>,
        most: usize,
    ) -> Result<Vec<DocumentRecord>, DataError> {
        let mut found = match wanted {
            Wanted::Hash(hash) => {
                let mut found = index.find(&DocumentQuery::Raw(*hash))?;
                let texts = index.find(&DocumentQuery::Text(*hash))?;
                // Plain text is its own raw document.
                let new = |record: &DocumentRecord| record.raw != *hash;
                found.extend(texts.into_iter().filter(new));
                found
            }
            Wanted::Address(words) => self.by_address(index.records()?, words, most)?,
            Wanted::Passage(words) => {
                let (end, complete) = (self.end, &mut self.complete);
                search(folder, words, most + 1, |_| watch(end, complete))?
            }
            Wanted::Shard(shard) => {
                let mut found = Vec::new();
                for (side, name) in [Side::Train, Side::HeldOut].into_iter().zip(SPLITS) {
                    let is_side = folder.join(name).is_dir()
                        && Some(ShardFolder::open(&folder.join(name))?.summary().content_hash)
                            == content;
                    if is_side {
                        found = documents_of_shard(folder, side, shard.index, most + 1)?;
                    }
                }
                found
            }
        };
        if found.len() > most {
            found.truncate(most);
            self.complete = false;
        }
        Ok(found)
    }

    /// Returns the first records whose origin has the `words`, one more than `most` at most.
    fn by_address(
        &mut self,
        records: Records,
        words: &str,
        most: usize,
    ) -> Result<Vec<DocumentRecord>, DataError> {
        let mut found = Vec::new();
        for record in records {
            if watch(self.end, &mut self.complete).is_break() || found.len() > most {
                break;
            }
            let record = record?;
            let origin = &record.origin;
            let names = [&origin.source, &origin.location].into_iter().chain(&origin.part);
            if names.into_iter().any(|name| name.to_lowercase().contains(words)) {
                found.push(record);
            }
        }
        Ok(found)
    }
}

/// Ends a search whose time is over, and notes that it is not complete.
fn watch(end: Instant, complete: &mut bool) -> ControlFlow<()> {
    if Instant::now() < end {
        return ControlFlow::Continue(());
    }
    *complete = false;
    ControlFlow::Break(())
}

/// Sums up the reports in the folders of `folder`.
fn sum_up(folder: &Path) -> io::Result<ReportSums> {
    let mut sums = ReportSums::default();
    for folder in folders(folder)? {
        // A folder may be in the middle of being made.
        match read_report(&folder.join(REPORT_FILE)) {
            Ok(report) => sums.add(&report),
            Err(error) => tracing::debug!("a report is not summed up: {error:#}"),
        }
    }
    Ok(sums)
}

/// Fails unless documents can be looked for in `folder`.
pub(crate) fn check_data(folder: &Path) -> Result<()> {
    let found = folders(folder).with_context(|| format!("cannot read {}", folder.display()))?;
    ensure!(
        !found.is_empty(),
        "{} has no ingested data, neither itself nor in the folders of sources; name a folder that \
         `data ingest` or `data acquire` filled",
        folder.display()
    );
    Ok(())
}

/// Returns the folders with records of documents: `folder` itself, or those one and two levels
/// below it, as `data acquire` makes them.
fn folders(folder: &Path) -> io::Result<Vec<PathBuf>> {
    let has_records = |path: &Path| path.join(RECORDS_FILE).is_file();
    if has_records(folder) {
        return Ok(vec![folder.to_owned()]);
    }
    let below = |path: &Path| -> io::Result<Vec<PathBuf>> {
        let mut paths = fs::read_dir(path)?
            .map(|entry| entry.map(|entry| entry.path()))
            .collect::<io::Result<Vec<_>>>()?;
        paths.retain(|path| path.is_dir());
        paths.sort();
        Ok(paths)
    };
    let mut found = Vec::new();
    for path in below(folder)? {
        // One that cannot be read, such as `lost+found`, has none.
        let inner = if has_records(&path) { vec![path] } else { below(&path).unwrap_or_default() };
        found.extend(inner.into_iter().filter(|path| has_records(path)));
    }
    found.truncate(MAX_FOLDERS);
    Ok(found)
}

/// Returns what an answer says about a document. `sides` has the manifests that were read so far.
fn document(
    (folder, record): Found,
    sides: &mut BTreeMap<PathBuf, ShardFolder>,
) -> Result<Document, DataError> {
    let dropped = record.decisions.iter().find(|decision| decision.verdict == Verdict::Dropped);
    let mut document = Document {
        source: record.origin.source,
        address: record.origin.location,
        part: Some(record.origin.part.join(" › ")).filter(|part| !part.is_empty()),
        raw: prefixed(&record.raw),
        text: prefixed(&record.text),
        piece: record.piece,
        bytes: record.bytes,
        licence: record.origin.licence,
        language: record.language,
        quality: record.quality.map(|quality| f64::from(quality) / f64::from(MILLION)),
        dropped_by: dropped.map(|decision| decision.rule.to_string()),
        survivor: record.survivor.as_ref().map(prefixed),
        tokens: record.place.map(|place| place.tokens),
        held_out: record.place.is_some_and(|place| place.side == Side::HeldOut),
        content: None,
        manifest: None,
        shards: Vec::new(),
    };
    if let Some(place) = record.place {
        let path = side_folder(&folder, place.side);
        if !sides.contains_key(&path) {
            sides.insert(path.clone(), ShardFolder::open(&path)?);
        }
        if let Some(shards) = sides.get(&path) {
            document.content = Some(prefixed(&shards.summary().content_hash));
            document.shards = indices(shards, place);
            document.shards.truncate(MAX_SHARDS);
        }
    }
    Ok(document)
}

fn prefixed(hash: &Hash) -> String {
    format!("0x{}", hex::encode(hash))
}

/// Finds documents in the data on this machine, with the shards that hold them.
#[utoipa::path(
    get,
    path = "/documents",
    tag = "This process",
    params(Asked),
    responses(
        (status = 200, body = Documents),
        (status = "default", body = Problem, content_type = "application/problem+json"),
    )
)]
async fn documents(
    State(data): State<DataSearch>,
    asked: Result<Query<Asked>, QueryRejection>,
) -> Result<Json<Documents>, ApiError> {
    let invalid = |rejection: QueryRejection| ApiError::Invalid {
        parameter: None,
        detail: rejection.body_text(),
    };
    let Query(asked) = asked.map_err(invalid)?;
    data.find(asked.check()?).await.map(Json)
}

/// Returns the endpoint.
pub(super) fn routes(data: DataSearch) -> OpenApiRouter {
    OpenApiRouter::new().routes(routes!(documents)).with_state(data)
}

#[cfg(test)]
mod tests {
    use super::*;
    use pol_corpus::pipeline::{PipelineConfig, References, Supply};
    use pol_data::{EndOfText, IngestConfig};
    use proptest::{prelude::*, test_runner::Config};

    /// Ingests three plays, and returns the folder above and the ingested one.
    fn ingested() -> (tempfile::TempDir, PathBuf) {
        let plays = [("hamlet", "skull"), ("macbeth", "dagger"), ("othello", "napkin")];
        let play = |(name, word): (&'static str, &str)| -> (&'static str, String) {
            let lines =
                (0..900).map(|at| format!("{name} has the {word} {at} and says {}. ", at * 7));
            (name, lines.collect())
        };
        ingest(&plays.map(play))
    }

    /// Ingests texts with their names, and returns the folder above and the ingested one.
    fn ingest(texts: &[(&str, String)]) -> (tempfile::TempDir, PathBuf) {
        let folder = tempfile::tempdir().unwrap();
        let input = folder.path().join("plays");
        fs::create_dir(&input).unwrap();
        for (name, text) in texts {
            fs::write(input.join(format!("{name}.txt")), text).unwrap();
        }
        let out = folder.path().join("source/data");
        fs::create_dir_all(out.parent().unwrap()).unwrap();
        let config = IngestConfig {
            inputs: vec![Supply::Path(input)],
            out: out.clone(),
            corpus: PipelineConfig::default(),
            text_fields: Vec::new(),
            vocabulary: 400,
            sequence: 16,
            shard_tokens: 64,
            tokenizer: None,
            end_of_text: EndOfText::Known,
            force: false,
            lineage: None,
        };
        pol_data::ingest(&config, References::default(), &|_| ()).unwrap();
        (folder, out)
    }

    #[test]
    fn folders_without_data_are_refused() {
        let (folder, out) = ingested();
        check_data(folder.path()).unwrap();
        check_data(&out).unwrap();
        let plays = folder.path().join("plays");
        for path in [plays.join("hamlet.txt"), plays, folder.path().join("missing")] {
            let refused = check_data(&path).unwrap_err().to_string();
            assert!(refused.contains(&path.display().to_string()), "{refused}");
        }
    }

    async fn find(folder: &Path, asked: Asked) -> Documents {
        DataSearch::new(folder.to_owned(), None).find(asked.check().unwrap()).await.unwrap()
    }

    #[tokio::test]
    async fn documents_are_found_by_hash_address_and_passage() {
        let (folder, out) = ingested();
        // The folder itself, and one with folders of sources.
        for place in [out.as_path(), folder.path()] {
            let address = Some("HAMLET".to_owned());
            let found = find(place, Asked { address, ..Asked::default() }).await;
            let [document] = &found.items[..] else { panic!("{found:?}") };
            assert_eq!((found.documents, found.complete), (3, true));
            assert_eq!(document.address, "plays/hamlet.txt");
            let first = document.shards[0];
            let tokens = document.tokens.unwrap();
            assert!(document.shards.len() as u64 >= tokens / 64 || document.shards.len() == 64);
            for hash in [&document.raw, &document.text] {
                let again = find(place, Asked { hash: Some(hash.clone()), ..Asked::default() });
                assert_eq!(again.await.items[0].raw, document.raw);
            }
            let passage = Some("the\n dagger 17 and".to_owned());
            let found = find(place, Asked { passage, ..Asked::default() }).await;
            assert_eq!(found.items.len(), 1, "{found:?}");
            assert_eq!(found.items[0].address, "plays/macbeth.txt");
            let side = if document.held_out { Side::HeldOut } else { Side::Train };
            let back = documents_of_shard(&out, side, first, 9).unwrap();
            assert!(back.iter().any(|one| prefixed(&one.raw) == document.raw));
        }
        let none = find(&out, Asked { hash: Some("0".repeat(64)), ..Asked::default() }).await;
        assert!(none.items.is_empty() && none.complete);
    }

    #[tokio::test]
    async fn duplicates_are_counted() {
        let text = |word: &str| -> String {
            (0..900).map(|at| format!("The {word} {at} says {}. ", at * 7)).collect()
        };
        let (hamlet, near) = (text("skull"), text("skull").replacen("skull 17", "skull none", 1));
        let texts = [
            ("a", hamlet.clone()),
            ("b", hamlet.clone()),
            ("c", hamlet),
            ("d", near),
            ("e", text("dagger")),
        ];
        let (folder, out) = ingest(&texts);
        let search = DataSearch::new(folder.path().to_owned(), None);
        let sums = search.sum_up().await.unwrap();
        assert_eq!((sums.folders, sums.train.documents + sums.held_out.documents), (1, 2));
        let dropped = [("duplicate.exact".to_owned(), 2), ("duplicate.near".to_owned(), 1)];
        assert_eq!((sums.duplicates, sums.dropped), (3, dropped.into()));
        // A folder that is being made has no report yet, and a damaged one harms no others.
        fs::create_dir(folder.path().join("source/data-2")).unwrap();
        fs::copy(out.join(RECORDS_FILE), folder.path().join("source/data-2").join(RECORDS_FILE))
            .unwrap();
        assert_eq!(search.sum_up().await.unwrap().folders, 1);
        fs::write(out.join(REPORT_FILE), "{").unwrap();
        assert_eq!(search.sum_up().await.unwrap().folders, 0);
    }

    #[test]
    fn a_search_ends_in_time_and_says_so() {
        let (_folder, out) = ingested();
        for wanted in [Wanted::Address("plays".into()), Wanted::Passage("says".into())] {
            let found = Look::new(&out, Duration::ZERO).unwrap().find(&wanted, None).unwrap();
            assert!(found.items.is_empty() && !found.complete, "{found:?}");
        }
    }

    #[test]
    fn any_text_is_looked_for_or_refused() {
        let (_folder, out) = ingested();
        let search = DataSearch::new(out, None);
        let runtime = tokio::runtime::Runtime::new().unwrap();
        let config = Config { cases: 64, failure_persistence: None, ..Config::default() };
        let texts = prop_oneof!["\\PC{0,60}", "[0-9a-fx/. ]{0,70}", "[0-9]{1,20}/[0-9]{1,20}"];
        proptest!(config, |(text in texts, field in 0..4usize)| {
            let mut asked = Asked::default();
            let fields =
                [&mut asked.hash, &mut asked.address, &mut asked.passage, &mut asked.shard];
            if let Some(field) = fields.into_iter().nth(field) {
                *field = Some(text.clone());
            }
            // Whatever it is, the server is not at fault.
            if let Ok(wanted) = asked.check() {
                let found = runtime.block_on(search.find(wanted));
                prop_assert!(!matches!(found, Err(ApiError::Internal(_))), "{}: {:?}", text, found);
            }
        });
    }

    #[tokio::test]
    async fn requests_that_cannot_be_met_are_explained() {
        let text = |text: &str| Some(text.to_owned());
        for (asked, expected) in [
            (Asked::default(), "exactly one of"),
            (Asked { hash: text("0x12"), ..Asked::default() }, "64 hexadecimal digits"),
            (Asked { address: text("  "), ..Asked::default() }, "address has 1 to 400"),
            (Asked { passage: text(&"x".repeat(401)), ..Asked::default() }, "passage has 1 to"),
            (Asked { shard: text("3"), ..Asked::default() }, "MANIFEST/INDEX"),
            (Asked { shard: text("3/1"), hash: text("1"), ..Asked::default() }, "exactly one"),
        ] {
            let error = asked.check().unwrap_err().to_string();
            assert!(error.contains(expected), "{error}");
        }
        let folder = tempfile::tempdir().unwrap();
        let search = DataSearch::new(folder.path().to_owned(), None);
        let shard = Wanted::Shard(ShardId { manifest: 3, index: 1 });
        let error = search.find(shard).await.unwrap_err().to_string();
        assert!(error.contains("start it with --node"), "{error}");
    }
}
