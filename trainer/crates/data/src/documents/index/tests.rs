// SPDX-License-Identifier: Apache-2.0

use super::*;
use crate::{
    documents::{MAX_PROOF_BYTES, Presence, record::tests::record},
    shards::ShardWriter,
};
use pol_corpus::Place;
use pol_primitives::{
    data::ManifestInfo,
    lineage::{Activity, Derivation, ToolName},
};
use proptest::prelude::*;
use std::fs;

const SHARD_TOKENS: u32 = 4;
/// Number of tokens of each side: five shards and a rest of two tokens.
const TOKENS: u32 = 5 * SHARD_TOKENS + 3;

/// Returns a folder with shards of both sides and the index of `records`.
fn folder(records: &[DocumentRecord]) -> (tempfile::TempDir, DocumentIndex) {
    let folder = tempfile::tempdir().unwrap();
    for (name, first) in [(TRAIN, 0), (HELD_OUT, 100)] {
        let mut shards = ShardWriter::create(folder.path().join(name), SHARD_TOKENS, 200).unwrap();
        shards.write(&(first..first + TOKENS).collect::<Vec<_>>()).unwrap();
        shards.finish(name, "").unwrap();
    }
    let mut writer = DocumentWriter::create(folder.path()).unwrap();
    records.iter().for_each(|record| writer.add(record).unwrap());
    let documents = writer.finish().unwrap();
    let index = DocumentIndex::open(folder.path()).unwrap();
    assert_eq!(index.documents(), documents);
    (folder, index)
}

/// Returns what the chain says about one side of a folder.
fn registered(index: &DocumentIndex, held_out: bool) -> ManifestInfo {
    let side = if held_out { HELD_OUT } else { TRAIN };
    let summary = *ShardFolder::open(&index.folder.join(side)).unwrap().summary();
    ManifestInfo {
        source: 0,
        merkle_root: summary.merkle_root,
        content_hash: summary.content_hash,
        tokenizer: [0; 32],
        shards: summary.shards,
        shard_tokens: SHARD_TOKENS,
        parents: Default::default(),
        quality: 0,
        held_out,
        derivation: Derivation {
            activity: Activity::Collection,
            tool: ToolName::default(),
            version: ToolName::default(),
            configuration: [0; 32],
        },
        documents: Some(index.documents()),
    }
}

fn at(side: Side, start: u64, tokens: u64) -> Option<Place> {
    Some(Place { side, start, tokens })
}

/// Returns a document of each fate.
fn examples() -> Vec<DocumentRecord> {
    vec![
        record(1, 11, at(Side::Train, 0, 3)),
        record(2, 12, None),
        record(3, 13, at(Side::Train, 3, 6)),
        record(3, 14, at(Side::Train, 9, 4)),
        record(4, 15, at(Side::HeldOut, 0, 23)),
        record(5, 16, at(Side::Train, 21, 2)),
        record(6, 13, None),
    ]
}

#[test]
fn documents_are_found_by_hash_text_and_position() {
    let (_folder, index) = folder(&examples());
    let locations = |query: DocumentQuery| -> Vec<u8> {
        index.find(&query).unwrap().iter().map(|record| record.raw[0]).collect()
    };
    assert_eq!(locations(DocumentQuery::Raw([3; 32])), [3, 3]);
    assert!(locations(DocumentQuery::Raw([7; 32])).is_empty());
    assert_eq!(locations(DocumentQuery::Text([13; 32])), [3, 6]);
    let train = |token| locations(DocumentQuery::Position { side: Side::Train, token });
    assert_eq!([0, 2, 3, 8, 9, 21].map(train), [[1], [1], [3], [3], [3], [5]]);
    assert!([13, 20, 23].map(train).iter().all(Vec::is_empty), "between documents");
    let held_out = |token| locations(DocumentQuery::Position { side: Side::HeldOut, token });
    assert_eq!(held_out(7), [4]);
    let read: Vec<_> = index.records().unwrap().map(Result::unwrap).collect();
    assert_eq!(read, examples());
}

#[test]
fn a_stranger_learns_the_fate_of_each_document() {
    let (_folder, index) = folder(&examples());
    let presence = |key: u8| {
        let proof = index.prove(&[key; 32]).unwrap();
        let json = serde_json::to_vec(&proof).unwrap();
        let proof = DocumentProof::parse(&json).unwrap();
        let info = [false, true]
            .map(|held_out| registered(&index, held_out))
            .into_iter()
            .find(|info| info.content_hash == proof.manifest())
            .unwrap();
        (info.held_out, proof.verify(&info).unwrap())
    };
    assert_eq!(presence(1), (false, Presence::InShards(vec![0])));
    assert_eq!(presence(2), (false, Presence::LeftOut));
    assert_eq!(presence(3), (false, Presence::InShards(vec![0, 1, 2, 3])));
    assert_eq!(presence(4), (true, Presence::InShards(vec![0, 1, 2, 3, 4])));
    assert_eq!(presence(5), (false, Presence::LeftOut), "it filled no shard");
    assert_eq!(presence(6), (false, Presence::LeftOut));
    assert_eq!([0, 7].map(presence), [(false, Presence::Unknown), (false, Presence::Unknown)]);
}

/// Returns all JSON values that differ from `value` in one number, text, or item of a list.
fn mutations(value: &serde_json::Value) -> Vec<serde_json::Value> {
    use serde_json::Value;
    match value {
        Value::Number(number) => vec![(number.as_u64().unwrap() + 1).into()],
        Value::String(text) => {
            let last = text.chars().last().unwrap_or('a');
            let other = if last == '0' { '1' } else { '0' };
            let rest: String = text.chars().take(text.chars().count().saturating_sub(1)).collect();
            vec![Value::String(format!("{rest}{other}"))]
        }
        Value::Array(items) => {
            let mut all = Vec::new();
            for (at, item) in items.iter().enumerate() {
                let mut without = items.clone();
                without.remove(at);
                all.push(Value::Array(without));
                for mutation in mutations(item) {
                    let mut other = items.clone();
                    other[at] = mutation;
                    all.push(Value::Array(other));
                }
            }
            all
        }
        Value::Object(fields) => {
            let mut all = Vec::new();
            for (name, field) in fields {
                let mut without = fields.clone();
                without.remove(name);
                all.push(Value::Object(without));
                for mutation in mutations(field) {
                    let mut other = fields.clone();
                    other[name] = mutation;
                    all.push(Value::Object(other));
                }
            }
            all
        }
        Value::Bool(_) | Value::Null => Vec::new(),
    }
}

#[test]
fn every_change_of_a_proof_is_noticed() {
    let (_folder, index) = folder(&examples());
    for key in [2, 3, 7] {
        let proof = index.prove(&[key; 32]).unwrap();
        let info = registered(&index, false);
        assert!(proof.verify(&info).is_ok());
        let all = mutations(&serde_json::to_value(&proof).unwrap());
        assert!(all.len() > 10);
        for mutation in all {
            let json = serde_json::to_vec(&mutation).unwrap();
            let verified = DocumentProof::parse(&json).and_then(|other| {
                // A proof of absence may hold for another document, too.
                let is_other = other != proof && other.document() == proof.document();
                if is_other { other.verify(&info) } else { Err(DataError::NoDocuments) }
            });
            assert!(verified.is_err(), "{mutation}");
        }
        for other in [
            ManifestInfo { documents: None, ..info.clone() },
            ManifestInfo { documents: Some(Documents { root: [0; 32], count: 7 }), ..info.clone() },
            registered(&index, true),
        ] {
            assert!(matches!(proof.verify(&other), Err(DataError::InvalidProof(_))));
        }
    }
}

#[test]
fn proofs_that_are_no_proofs_are_refused() {
    let refused = |json: &[u8]| {
        assert!(matches!(DocumentProof::parse(json), Err(DataError::InvalidProof(_))));
    };
    refused(b"");
    refused(b"{}");
    refused(&vec![b' '; MAX_PROOF_BYTES + 1]);
    let (_folder, index) = folder(&examples());
    let json = serde_json::to_string(&index.prove(&[1; 32]).unwrap()).unwrap();
    refused(json.replace("proof/1", "proof/2").as_bytes());
    refused(json.replacen('{', "{\"more\":1,", 1).as_bytes());
}

#[test]
fn many_records_take_several_frames_and_the_index_is_built_again() {
    let records: Vec<_> = (0..1_500u32)
        .map(|number| {
            let mut record = record(0, 0, at(Side::Train, u64::from(number), 1));
            record.raw = *blake3::hash(&number.to_le_bytes()).as_bytes();
            record
        })
        .collect();
    let (dir, index) = folder(&records);
    let sought = &records[1_234];
    let find = |index: &DocumentIndex| index.find(&DocumentQuery::Raw(sought.raw)).unwrap();
    assert_eq!(find(&index), std::slice::from_ref(sought));
    let again = tempfile::tempdir().unwrap();
    let documents = DocumentIndex::rebuild(&dir.path().join(RECORDS_FILE), again.path()).unwrap();
    assert_eq!(documents, index.documents());
    assert_eq!(find(&DocumentIndex::open(again.path()).unwrap()), std::slice::from_ref(sought));
    for file in [RAW_FILE, TEXT_FILE, PLACE_FILE, TREE_FILE] {
        let read = |dir: &Path| fs::read(dir.join(INDEX_FOLDER).join(file)).unwrap();
        assert_eq!(read(dir.path()), read(again.path()));
    }
}

#[test]
fn a_document_can_have_too_many_records_or_shards() {
    let mut records = vec![record(1, 1, None); MAX_COPIES as usize + 1];
    records.push(record(2, 2, at(Side::Train, 0, u64::MAX)));
    let (_folder, index) = folder(&records);
    assert!(matches!(index.prove(&[1; 32]), Err(DataError::TooManyCopies)));
    assert_eq!(index.find(&DocumentQuery::Raw([1; 32])).unwrap().len(), MAX_COPIES as usize);
    let proof = index.prove(&[2; 32]).unwrap();
    let info = registered(&index, false);
    assert_eq!(proof.verify(&info).unwrap(), Presence::InShards(vec![0, 1, 2, 3, 4]));
    let many = ManifestInfo { shards: u32::MAX, ..info };
    assert!(matches!(proof.verify(&many), Err(DataError::TooManyProvenShards { .. })));
}

#[test]
fn damaged_files_are_named() {
    let (dir, index) = folder(&examples());
    drop(index);
    let open = || DocumentIndex::open(dir.path());
    let damaged = |opened: Result<DocumentIndex, DataError>| {
        assert!(matches!(opened, Err(DataError::Damaged { .. })));
    };
    for file in [RAW_FILE, TEXT_FILE, TREE_FILE] {
        let path = dir.path().join(INDEX_FOLDER).join(file);
        let bytes = fs::read(&path).unwrap();
        fs::write(&path, &bytes[..bytes.len() / 7 * 6]).unwrap();
        damaged(open());
        fs::write(&path, bytes).unwrap();
    }
    let path = dir.path().join(RECORDS_FILE);
    let bytes = fs::read(&path).unwrap();
    fs::write(&path, &bytes[..bytes.len() / 2]).unwrap();
    let index = open().unwrap();
    assert!(index.find(&DocumentQuery::Raw([1; 32])).is_err());
    let mut records = index.records().unwrap();
    assert!(records.next().unwrap().is_err() && records.next().is_none());
    fs::remove_file(&path).unwrap();
    assert!(matches!(index.records(), Err(DataError::Io { .. })));
    let again = DocumentWriter::create(dir.path());
    assert!(matches!(again, Err(DataError::Io { .. })));
}

#[test]
fn an_ingestion_without_documents_has_no_tree() {
    let folder = tempfile::tempdir().unwrap();
    let writer = DocumentWriter::create(folder.path()).unwrap();
    assert!(matches!(writer.finish(), Err(DataError::NoDocuments)));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(12))]
    #[test]
    fn every_key_is_proved_in_or_out(
        keys in prop::collection::vec((0u8..30, any::<bool>()), 1..40),
        sought in 0u8..31,
    ) {
        let records: Vec<_> = (0u8..)
            .zip(&keys)
            .map(|(number, (key, placed))| {
                let place = at(Side::Train, u64::from(number) % 20, 1).filter(|_| *placed);
                record(*key, number, place)
            })
            .collect();
        let (_folder, index) = folder(&records);
        let presence = index.prove(&[sought; 32]).unwrap().verify(&registered(&index, false));
        let found: Vec<_> = records.iter().filter(|record| record.raw[0] == sought).collect();
        match presence.unwrap() {
            Presence::Unknown => prop_assert!(found.is_empty()),
            Presence::LeftOut => {
                prop_assert!(!found.is_empty());
                prop_assert!(found.iter().all(|record| record.place.is_none()));
            }
            Presence::InShards(shards) => {
                let expected: std::collections::BTreeSet<_> = found
                    .iter()
                    .filter_map(|record| record.place)
                    .map(|place| place.start as u32 / SHARD_TOKENS)
                    .collect();
                prop_assert!(shards.into_iter().eq(expected));
            }
        }
    }

    #[test]
    fn no_bytes_panic(bytes: Vec<u8>) {
        prop_assert!(DocumentProof::parse(&bytes).is_err());
    }
}
