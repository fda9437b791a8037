// SPDX-License-Identifier: Apache-2.0

//! Providers that compare their documents with those of each other.

use super::*;
use crate::{
    DataError, EndOfText, HELD_OUT, IngestConfig, IngestRecord, SPLITS, ShardFolder,
    TOKENIZER_FILE, TRAIN,
    documents::DocumentIndex,
    ingest, load_references,
    tokenizer_trainer::tests::{many_words, trained},
};
use pol_corpus::{
    DocumentRecord,
    dedup::DedupConfig,
    pipeline::{PipelineConfig, ReferenceFiles, References},
};
use pol_primitives::{
    Hash,
    data::{ManifestId, ManifestInfo},
    lineage::{Activity, Derivation, ToolName},
    trace::merkle_root,
};
use proptest::prelude::*;
use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    fs,
    path::{Path, PathBuf},
    sync::LazyLock,
    time::Duration,
};

/// Error of a test's update.
#[derive(Debug, thiserror::Error)]
enum Failed {
    #[error(transparent)]
    Data(#[from] DataError),
    #[error("stopped")]
    Stopped,
}

/// Stand-in for a chain and for the members that serve its data.
#[derive(Default)]
struct Network {
    listed: Vec<ListedManifest>,
    blobs: HashMap<Hash, Vec<u8>>,
    /// Accounts that do not answer.
    away: BTreeSet<[u8; 32]>,
    /// Number of requests for blobs of each manifest.
    requests: BTreeMap<ManifestId, u32>,
    /// Number of requests after which the operator stops the update.
    stop_after: Option<u32>,
}

impl Network {
    /// Registers the manifests of an ingested folder, and serves them.
    fn register(&mut self, folder: &Path, owner: u8) {
        let record = IngestRecord::read(folder).unwrap();
        let lineage = record.lineage();
        for split in SPLITS {
            let shards = ShardFolder::open(&folder.join(split)).unwrap();
            if shards.is_empty() {
                continue;
            }
            let mut blobs: Vec<_> = (0..shards.len()).map(|at| shards.read(at).unwrap()).collect();
            blobs.push(shards.body().to_vec());
            blobs.push(fs::read(folder.join(TOKENIZER_FILE)).unwrap());
            self.blobs.extend(blobs.into_iter().map(|blob| (hash(&blob), blob)));
            let summary = *shards.summary();
            let info = ManifestInfo {
                source: 0,
                merkle_root: summary.merkle_root,
                content_hash: summary.content_hash,
                tokenizer: record.tokenizer,
                shards: summary.shards,
                shard_tokens: record.shard_tokens,
                parents: Default::default(),
                quality: 0,
                held_out: split == HELD_OUT,
                derivation: lineage.derivation(),
                documents: lineage.documents,
            };
            self.list(owner, info);
        }
    }

    fn list(&mut self, owner: u8, info: ManifestInfo) {
        let id = self.listed.len() as ManifestId;
        self.listed.push(ListedManifest { id, owner: [owner; 32], info });
    }

    fn fetch(&mut self, of: &ListedManifest, hashes: &[Hash]) -> Result<Fetched, Failed> {
        *self.requests.entry(of.id).or_default() += 1;
        if self.stop_after.is_some_and(|most| self.requests.values().sum::<u32>() > most) {
            return Err(Failed::Stopped);
        }
        if self.away.contains(&of.owner) {
            return Ok(Fetched::Unavailable("its provider does not answer".into()));
        }
        let blobs = hashes.iter().map(|hash| self.blobs.get(hash).cloned().unwrap_or_default());
        Ok(Fetched::Blobs(blobs.collect()))
    }

    fn update(
        &mut self,
        folder: &mut SignatureFolder,
        options: &UpdateOptions,
    ) -> Result<UpdateReport, Failed> {
        let listed = self.listed.clone();
        self.requests.clear();
        folder
            .update(&listed, &BTreeSet::new(), options, &mut |of, hashes, _| self.fetch(of, hashes))
    }
}

fn hash(bytes: &[u8]) -> Hash {
    *blake3::hash(bytes).as_bytes()
}

fn options() -> UpdateOptions {
    UpdateOptions {
        tokenizer: None,
        end_of_text: EndOfText::Known,
        max_bytes: u64::MAX,
        max_time: Duration::MAX,
        turn: Duration::MAX,
        retry: false,
        now: 1_000_000,
    }
}

fn folder(path: PathBuf) -> SignatureFolder {
    SignatureFolder::new(path, [1; 32], DedupConfig::default())
}

/// Number of texts that the providers have among them.
const TEXTS: usize = 14;

/// Returns one of some texts that have nothing in common.
fn text(number: usize) -> String {
    let all = many_words(3_000 * TEXTS as u32);
    let part = all.len() / TEXTS;
    all[number * part..(number + 1) * part].to_owned()
}

/// Returns another edition of a text.
fn edition(number: usize) -> String {
    text(number).replacen("w0", "W1 ", 9)
}

/// Makes data of texts in the folder `name`, with the tokenizer of the first data.
fn data_of(
    scratch: &Path,
    name: &str,
    texts: &[String],
    held_out: u32,
    against: Vec<PathBuf>,
) -> IngestRecord {
    let input = scratch.join(format!("{name}-texts"));
    fs::create_dir(&input).unwrap();
    for (number, text) in texts.iter().enumerate() {
        fs::write(input.join(format!("{number:02}.txt")), text).unwrap();
    }
    let tokenizer = scratch.join("a").join(TOKENIZER_FILE);
    let config = IngestConfig {
        corpus: PipelineConfig { held_out, ..PipelineConfig::default() },
        tokenizer: tokenizer.is_file().then_some(tokenizer),
        ..IngestConfig::small(input, scratch.join(name))
    };
    let files = ReferenceFiles { against, ..ReferenceFiles::default() };
    let references = load_references(&files).unwrap();
    ingest(&config, References { quality: None, ..references }, &|_| ()).unwrap()
}

/// Returns the records of the documents of an ingested folder, by the names of their files.
fn records(folder: &Path) -> BTreeMap<String, DocumentRecord> {
    let index = DocumentIndex::open(folder).unwrap();
    let records = index.records().unwrap().map(|record| record.unwrap());
    let named = |record: DocumentRecord| {
        (record.origin.location.rsplit('/').next().unwrap().to_owned(), record)
    };
    records.map(named).collect()
}

/// Returns a network of two providers. The second one has a text of the first one too.
fn two_providers() -> (tempfile::TempDir, Network) {
    let scratch = tempfile::tempdir().unwrap();
    let mut network = Network::default();
    let texts: Vec<_> = (0..6).map(text).collect();
    data_of(scratch.path(), "a", &texts, 250_000, Vec::new());
    let texts = [edition(0), text(6), text(7), text(8)];
    data_of(scratch.path(), "b", &texts, 0, Vec::new());
    network.register(&scratch.path().join("a"), 1);
    network.register(&scratch.path().join("b"), 2);
    assert_eq!(network.listed.len(), 3);
    (scratch, network)
}

/// Returns the signatures in a folder, by their names.
fn contents(folder: &SignatureFolder) -> Vec<(ManifestKey, Vec<u8>)> {
    let files = folder.signatures().unwrap();
    files.into_iter().map(|(key, path)| (key, fs::read(path).unwrap())).collect()
}

#[test]
fn documents_of_other_providers_are_dropped_and_say_of_which_manifest() {
    let (scratch, mut network) = two_providers();
    let path = scratch.path().join("network");
    let mut signatures = folder(path.clone());
    let report = network.update(&mut signatures, &options()).unwrap();
    assert_eq!((report.compared, report.documents, report.has_changed), (3, 10, true));
    assert!(report.skipped.is_empty(), "{report:?}");
    let again = network.update(&mut signatures, &options()).unwrap();
    assert_eq!((again.fetched_bytes, again.has_changed, again.documents), (0, false, 10));
    assert!(network.requests.is_empty());

    // Editions of all that the others have, whichever side it is on, and two texts more.
    let texts: Vec<_> = (0..9).map(edition).chain([text(9), text(10)]).collect();
    let record = data_of(scratch.path(), "c", &texts, 0, vec![path]);
    assert_eq!((record.documents, record.dropped), (2, 9));
    let [theirs, second, own] = ["a", "b", "c"].map(|name| records(&scratch.path().join(name)));
    let manifest = |at: usize| Some(network.listed[at].info.content_hash);
    let (mut sides, mut cut) = (BTreeSet::new(), 0);
    for number in 0..6 {
        let name = format!("{number:02}.txt");
        let (own, survivor) = (&own[&name], &theirs[&name]);
        let is_held_out = survivor.place.unwrap().side == pol_corpus::Side::HeldOut;
        sides.insert(is_held_out);
        assert_eq!(own.survivor_manifest, manifest(usize::from(is_held_out)), "{name}");
        let last = own.decisions.last().unwrap();
        assert!(own.is_dropped() && last.rule == "duplicate.near" && last.measured > Some(800_000));
        cut += usize::from(own.survivor != Some(survivor.text));
    }
    // The end of the last text of a side filled no shard.
    assert!(cut <= 2, "{cut} of 6 survivors are not named by their texts");
    assert_eq!(sides.len(), 2, "both sides are compared with");
    for (number, of) in [(6, "01.txt"), (7, "02.txt")] {
        let own = &own[&format!("{number:02}.txt")];
        assert_eq!(own.survivor_manifest, manifest(2));
        assert_eq!(own.survivor, Some(second[of].text));
    }
    assert!(["09.txt", "10.txt"].iter().all(|name| own[*name].survivor_manifest.is_none()));
    crate::verify(&scratch.path().join("c")).unwrap();
}

#[test]
fn everybody_makes_the_same_signatures_also_in_parts() {
    let (scratch, mut network) = two_providers();
    let mut whole = folder(scratch.path().join("whole"));
    let tokenizer = scratch.path().join("a").join(TOKENIZER_FILE);
    let options = UpdateOptions { tokenizer: Some(tokenizer), ..options() };
    assert_eq!(network.update(&mut whole, &options).unwrap().compared, 3);
    let expected = contents(&whole);

    let path = scratch.path().join("parts");
    let mut updates = 0;
    loop {
        // Another process each time, which may fetch little.
        let options = UpdateOptions { max_bytes: 40_000, ..options.clone() };
        let report = network.update(&mut folder(path.clone()), &options).unwrap();
        updates += 1;
        if report.skipped.is_empty() {
            break;
        }
        assert!(report.skipped.iter().all(|it| it.reason.contains("the next one goes on")));
        assert!(updates < 50, "nothing goes on");
    }
    assert!(updates > 3, "{updates} updates");
    assert_eq!(contents(&folder(path)), expected);

    let mut turns = folder(scratch.path().join("turns"));
    let late = UpdateOptions { max_time: Duration::ZERO, ..options.clone() };
    let report = network.update(&mut turns, &late).unwrap();
    assert!(report.skipped.len() == 3 && network.requests.is_empty());
    let options_of_turns = UpdateOptions { turn: Duration::ZERO, ..options.clone() };
    assert_eq!(network.update(&mut turns, &options_of_turns).unwrap().compared, 3);
    assert_eq!(contents(&turns), expected);

    let stopped = scratch.path().join("stopped");
    let mut tries = 0;
    loop {
        network.stop_after = Some(2 + tries % 3);
        match network.update(&mut folder(stopped.clone()), &options) {
            Err(Failed::Stopped) => tries += 1,
            done => {
                assert!(done.unwrap().skipped.is_empty());
                break;
            }
        }
        assert!(tries < 50, "nothing goes on");
    }
    assert!(tries > 2, "{tries} tries");
    assert_eq!(contents(&folder(stopped)), expected);
}

#[test]
fn who_does_not_answer_is_skipped_and_asked_again_later() {
    let (scratch, mut network) = two_providers();
    let mut signatures = folder(scratch.path().join("network"));
    network.away = [[1; 32]].into();
    let first = network.update(&mut signatures, &options()).unwrap();
    let said: Vec<_> = first.skipped.iter().map(|it| (it.id, it.is_new)).collect();
    assert_eq!((first.compared, said), (1, vec![(0, true), (1, true)]));
    assert!(first.skipped[0].reason.contains("does not answer"));

    network.away.clear();
    let soon = network.update(&mut signatures, &options()).unwrap();
    assert!(network.requests.is_empty() && soon.skipped.iter().all(|it| !it.is_new));
    let forced = UpdateOptions { retry: true, max_bytes: 1, ..options() };
    let forced = network.update(&mut signatures, &forced).unwrap();
    assert!(forced.skipped[1].reason.contains("used up"), "{forced:?}");
    let later = UpdateOptions { now: options().now + 600, ..options() };
    let later = network.update(&mut signatures, &later).unwrap();
    assert!(later.compared == 3 && later.skipped.is_empty() && later.has_changed, "{later:?}");

    // What is damaged on the disk is made again, and what is no longer listed goes.
    let (key, path) = signatures.signatures().unwrap().pop_first().unwrap();
    let good = fs::read(&path).unwrap();
    fs::write(&path, &good[..good.len() / 2]).unwrap();
    let mut reopened = folder(scratch.path().join("network"));
    network.update(&mut reopened, &options()).unwrap();
    assert_eq!(fs::read(&path).unwrap(), good);
    let kept = [key].into();
    let listed = network.listed[2..].to_vec();
    let mut fetch = |of: &ListedManifest, hashes: &[Hash], _: u64| network.fetch(of, hashes);
    let report = reopened.update(&listed, &kept, &options(), &mut fetch).unwrap();
    assert!(report.has_changed && report.compared == 2 && path.exists());
    reopened.update(&listed, &BTreeSet::new(), &options(), &mut fetch).unwrap();
    assert_eq!(reopened.manifests().unwrap(), [listed[0].key()].into());
}

#[test]
fn a_clock_that_was_set_back_holds_up_nothing() {
    let (scratch, mut network) = two_providers();
    let mut signatures = folder(scratch.path().join("network"));
    network.away = [[1; 32]].into();
    let report = network.update(&mut signatures, &options()).unwrap();
    assert_eq!(report.skipped.len(), 2);
    network.away.clear();
    let back = UpdateOptions { now: 0, ..options() };
    let report = network.update(&mut signatures, &back).unwrap();
    assert!(report.compared == 3 && report.skipped.is_empty(), "{report:?}");
}

#[test]
fn bytes_that_the_chain_does_not_name_are_never_used() {
    let (scratch, mut network) = two_providers();
    let mut signatures = folder(scratch.path().join("network"));
    network.listed[0].info.merkle_root[0] ^= 1;
    network.listed[1].info.shards += 1;
    let shards = ShardFolder::open(&scratch.path().join("b").join(TRAIN)).unwrap();
    let forged = shards.shard_hash(3).unwrap();
    let good = network.blobs.insert(forged, b"Another text.".to_vec()).unwrap();
    let report = network.update(&mut signatures, &options()).unwrap();
    let reasons: Vec<_> = report.skipped.iter().map(|it| it.reason.as_str()).collect();
    let [root, length, other] = reasons.as_slice() else { panic!("{report:?}") };
    assert!(root.contains("not the registered ones"), "{root}");
    assert!(length.contains("not a manifest of"), "{length}");
    assert!(other.contains("other bytes came"), "{other}");
    assert!(contents(&signatures).is_empty());

    // What was registered never changes, and what came may.
    network.blobs.insert(forged, good);
    let retry = UpdateOptions { retry: true, ..options() };
    let report = network.update(&mut signatures, &retry).unwrap();
    assert_eq!(network.requests.keys().collect::<Vec<_>>(), [&2]);
    assert_eq!((report.compared, report.skipped.len()), (1, 2));
}

#[test]
fn other_rules_make_signatures_anew() {
    let (scratch, mut network) = two_providers();
    let path = scratch.path().join("network");
    network.update(&mut folder(path.clone()), &options()).unwrap();
    let first = contents(&folder(path.clone()));
    let dedup = DedupConfig { seed: 1, ..DedupConfig::default() };
    let mut seeded = SignatureFolder::new(path.clone(), [1; 32], dedup);
    let report = network.update(&mut seeded, &options()).unwrap();
    assert!(report.compared == 3 && report.has_changed);
    assert_ne!(contents(&seeded), first);
    let end_of_text = EndOfText::Named("<|none|>".into());
    let named = UpdateOptions { end_of_text, ..options() };
    let report = network.update(&mut seeded, &named).unwrap();
    assert!(report.skipped.iter().all(|it| it.reason.contains("has no token <|none|>")));
    assert_eq!((report.compared, report.skipped.len()), (0, 3));
}

/// Tokenizer of a network of hostile providers.
static TOKENIZER: LazyLock<Vec<u8>> =
    LazyLock::new(|| trained(&many_words(8_000), 600).unwrap().json().to_vec());

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn any_registered_bytes_are_signed_or_refused(
        shards in prop::collection::vec(prop::collection::vec(0u16..700, 0..12), 0..7),
        shard_tokens in 0u32..12,
        lie in 0u32..4,
        odd in any::<bool>(),
    ) {
        let mut network = Network::default();
        let bytes = |shard: &Vec<u16>| -> Vec<u8> {
            let whole = shard.iter().copied().cycle().take(shard_tokens as usize + 1);
            let mut bytes: Vec<u8> = whole.flat_map(u16::to_le_bytes).collect();
            if odd {
                bytes.push(7);
            }
            bytes
        };
        let blobs: Vec<Vec<u8>> = shards.iter().map(bytes).collect();
        let hashes: Vec<Hash> = blobs.iter().map(|blob| hash(blob)).collect();
        let body = hashes.concat();
        let info = ManifestInfo {
            source: 0,
            merkle_root: merkle_root(&hashes),
            content_hash: hash(&body),
            tokenizer: hash(&TOKENIZER),
            shards: if lie == 3 { 3 } else { hashes.len() as u32 },
            shard_tokens,
            parents: Default::default(),
            quality: 0,
            held_out: false,
            derivation: Derivation {
                activity: Activity::Collection,
                tool: ToolName::default(),
                version: ToolName::default(),
                configuration: [0; 32],
            },
            documents: None,
        };
        network.list(1, info);
        let all = blobs.into_iter().chain([body, TOKENIZER.clone()]);
        network.blobs = all.map(|blob| (hash(&blob), blob)).collect();
        let scratch = tempfile::tempdir().unwrap();
        let mut signatures = folder(scratch.path().join("network"));
        let report = network.update(&mut signatures, &options()).unwrap();
        prop_assert_eq!(report.compared + report.skipped.len() as u64, 1);
        prop_assert_eq!(contents(&signatures).len() as u64, report.compared);
        // The same again, from what is remembered.
        let again = network.update(&mut signatures, &options()).unwrap();
        prop_assert_eq!(again.compared, report.compared);
        prop_assert!(again.skipped.iter().all(|it| !it.is_new));
    }
}
