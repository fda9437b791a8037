// SPDX-License-Identifier: Apache-2.0

//! Search for duplicates from signatures to clusters.

#![allow(clippy::unwrap_used, reason = "helpers of tests fail by panicking")]

use pol_corpus::{
    CorpusError,
    dedup::{
        DedupConfig, Deduplicator, Entry, ManifestSignatureWriter, Membership, Signature,
        SignatureFile,
    },
};
use pol_primitives::{Hash, MILLION};
use proptest::prelude::*;
use std::{fs, path::Path, thread};

const INPUTS: Hash = [1; 32];

fn hash(text: &str) -> Hash {
    *blake3::hash(text.as_bytes()).as_bytes()
}

/// A text of 200 words of which every `every`th is another one.
fn text(subject: u32, edition: u32, every: u32) -> String {
    (0..200)
        .map(|n| {
            let edition = if every > 0 && n % every == every - 1 { edition } else { 0 };
            format!("w{subject}x{n}e{edition} ")
        })
        .collect()
}

fn entry(id: u64) -> Entry {
    Entry { id, group: id, quality: 500_000 }
}

fn open(folder: &Path) -> Deduplicator {
    Deduplicator::open(folder, DedupConfig::default(), &INPUTS).unwrap()
}

fn finish(dedup: Deduplicator) -> Vec<Membership> {
    let mut clusters = dedup.finish().unwrap();
    let mut found = Vec::new();
    for id in 0..1000 {
        found.extend(clusters.get(id).unwrap());
    }
    assert_eq!(found.len() as u64, clusters.documents());
    found
}

fn find(documents: &[(Entry, String)]) -> Vec<Membership> {
    let folder = tempfile::tempdir().unwrap();
    let mut dedup = open(folder.path());
    for (entry, text) in documents {
        dedup.add(*entry, text).unwrap();
    }
    finish(dedup)
}

fn survivors(found: &[Membership]) -> Vec<Option<u64>> {
    found.iter().map(|one| one.duplicate.as_ref().and_then(|d| d.survivor)).collect()
}

#[test]
fn the_best_and_then_the_earliest_of_a_cluster_survives() {
    let texts = [text(1, 0, 0), text(2, 0, 0), text(1, 1, 50), text(1, 0, 0).to_uppercase()];
    let mut documents: Vec<_> =
        texts.iter().zip(3..).map(|(text, id)| (entry(id), text.clone())).collect();
    let found = find(&documents);
    assert_eq!(survivors(&found), [None, None, Some(3), Some(3)]);
    assert!(found.iter().zip([0, 1, 0, 0]).all(|(one, of)| one.cluster == hash(&texts[of])));
    let [near, exact] = [2, 3].map(|n| found[n].duplicate.clone().unwrap());
    assert!(exact.exact && exact.similarity == MILLION && exact.text == hash(&texts[0]));
    assert!(!near.exact && (800_000..990_000).contains(&near.similarity), "{near:?}");

    documents[2].0.quality += 1;
    let found = find(&documents);
    assert_eq!(survivors(&found), [Some(5), None, None, Some(5)]);
    assert_eq!(found[3].cluster, hash(&texts[2]));
}

#[test]
fn nothing_is_dropped_because_of_a_chain() {
    // Each edition changes four more words, so the ends have little in common.
    let chain: Vec<_> = (0..12u32)
        .map(|edition| {
            let words = (0..200u32).map(|n| format!("w{n}e{} ", u32::from(n % 100 < 2 * edition)));
            (entry(edition.into()), words.collect::<String>())
        })
        .collect();
    let found = find(&chain);
    assert!(found.iter().all(|one| one.cluster == found[0].cluster), "one cluster");
    let kept = found.iter().filter(|one| one.duplicate.is_none()).count();
    assert!((2..12).contains(&kept), "{kept}");
}

#[test]
fn pieces_of_one_document_are_on_one_side() {
    let mut documents = Vec::new();
    for id in 0..40u64 {
        let group = Entry { group: id / 10, ..entry(id) };
        documents.push((group, text(id as u32, 0, 0)));
    }
    // A piece of another document that two editions have in common.
    documents.push((Entry { group: 9, ..entry(40) }, text(3, 1, 60)));
    documents.push((Entry { group: 9, ..entry(41) }, text(77, 0, 0)));
    let found = find(&documents);
    for (one, (entry, _)) in found.iter().zip(&documents) {
        let first = if entry.group == 9 { 0 } else { entry.group * 10 };
        assert_eq!(one.cluster, hash(&documents[first as usize].1));
        assert_eq!(one.cluster, found[first as usize].cluster);
        assert_eq!(one.duplicate.is_some(), one.id == 40);
    }
}

#[test]
fn documents_of_other_manifests_survive_before_the_own_ones() {
    let folder = tempfile::tempdir().unwrap();
    let theirs = folder.path().join("theirs.signatures");
    let mut other = open(&folder.path().join("other"));
    for (id, text) in [(0, text(1, 0, 0)), (1, text(1, 1, 90)), (2, text(5, 0, 0))] {
        other.add(entry(id), &text).unwrap();
    }
    other.finish().unwrap().save_signatures(&theirs).unwrap();
    let load = || SignatureFile::open(&theirs, &DedupConfig::default()).unwrap();
    assert_eq!(load().documents(), 2, "survivors only");

    let own = folder.path().join("own");
    let mut dedup = open(&own);
    let better = Entry { quality: MILLION, ..entry(8) };
    for (entry, text) in [
        (entry(7), text(2, 0, 0)),
        (better, text(1, 2, 90)),
        (entry(9), text(5, 0, 0)),
        (entry(10), text(2, 1, 90)),
    ] {
        dedup.add(entry, &text).unwrap();
    }
    dedup.against(load());
    let found = finish(dedup);
    assert_eq!(survivors(&found), [None, None, None, Some(7)]);
    let of: Vec<_> = found.iter().map(|one| one.duplicate.as_ref().map(|d| d.text)).collect();
    let [one, two, five] = [1, 2, 5].map(|subject| Some(hash(&text(subject, 0, 0))));
    assert_eq!(of, [None, one, five, two]);

    // The folder is filled: the same documents against nothing are searched without them.
    let dedup = open(&own);
    assert!(dedup.is_filled());
    assert_eq!(survivors(&finish(dedup)), [None, None, None, Some(7)]);
}

#[test]
fn of_many_manifests_the_first_with_a_document_has_the_survivor() {
    let folder = tempfile::tempdir().unwrap();
    let config = DedupConfig::default();
    // More files than are open at a time. Both documents are in two of them, in another edition.
    let manifest = |number: u8| [number.wrapping_add(1); 32];
    let open = |number: u8| {
        let path = folder.path().join(format!("{number}.signatures"));
        let mut writer =
            ManifestSignatureWriter::open(&path, &config, &manifest(number), 0).unwrap();
        // Some hold nothing.
        if number % 7 != 3 {
            writer.write(&text(100 + u32::from(number), 0, 0)).unwrap();
        }
        match number {
            1 | 140 => writer.write(&text(1, number.into(), 90)).unwrap(),
            129 | 149 => writer.write(&text(2, number.into(), 90)).unwrap(),
            _ => {}
        }
        writer.commit().unwrap();
        SignatureFile::open(&path, &config).unwrap()
    };
    let mut dedup = self::open(&folder.path().join("own"));
    for (id, text) in [(0, text(1, 0, 0)), (1, text(2, 0, 0)), (2, text(3, 0, 0))] {
        dedup.add(entry(id), &text).unwrap();
    }
    dedup.add(entry(3), &text(3, 1, 90)).unwrap();
    (0..150).for_each(|number| dedup.against(open(number)));
    let found = finish(dedup);
    let survivor = |at: usize| found[at].duplicate.as_ref().map(|of| (of.text, of.manifest));
    assert_eq!(survivor(0), Some((hash(&text(1, 1, 90)), Some(manifest(1)))));
    assert_eq!(survivor(1), Some((hash(&text(2, 129, 90)), Some(manifest(129)))));
    assert_eq!(survivor(2), None);
    assert_eq!(survivor(3), Some((hash(&text(3, 0, 0)), None)), "it is an own one");
}

fn corpus() -> Vec<(Entry, String)> {
    (0..60u32)
        .map(|n| {
            let quality = n * 7919 % 11;
            let id = u64::from(n) * 2;
            (Entry { id, group: id / 6, quality }, text(n % 23, n, 40 + n % 3 * 30))
        })
        .collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(6))]
    #[test]
    fn budgets_and_threads_do_not_show(memory in 0u64..20_000, threads in 1usize..5) {
        let documents = corpus();
        let folder = tempfile::tempdir().unwrap();
        let config = DedupConfig { memory, ..DedupConfig::default() };
        let mut dedup = Deduplicator::open(folder.path(), config, &INPUTS).unwrap();
        let signer = dedup.signer().clone();
        let signed: Vec<Signature> = thread::scope(|scope| {
            let parts = documents.chunks(documents.len().div_ceil(threads));
            let workers: Vec<_> = parts
                .map(|part| scope.spawn(|| part.iter().map(|(_, t)| signer.sign(t)).collect()))
                .collect();
            workers.into_iter().flat_map(|worker| -> Vec<_> { worker.join().unwrap() }).collect()
        });
        for ((entry, _), signature) in documents.iter().zip(&signed) {
            dedup.add_signed(*entry, signature).unwrap();
        }
        prop_assert_eq!(finish(dedup), find(&documents));
    }
}

#[test]
fn a_search_that_is_dropped_before_its_end_starts_anew() {
    let folder = tempfile::tempdir().unwrap();
    open(folder.path()).add(entry(5), "never finished").unwrap();
    let mut dedup = open(folder.path());
    assert!(!dedup.is_filled());
    dedup.add(entry(1), "finished").unwrap();
    assert_eq!(finish(dedup).len(), 1);
    // Other inputs: nothing of the old ones is left.
    let dedup = Deduplicator::open(folder.path(), DedupConfig::default(), &[2; 32]).unwrap();
    assert!(!dedup.is_filled());
    assert_eq!(finish(dedup), []);
}

#[test]
fn documents_out_of_order_and_foreign_signatures_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let mut dedup = open(folder.path());
    dedup.add(entry(4), "one").unwrap();
    let error = dedup.add(entry(4), "two").unwrap_err();
    assert!(error.to_string().contains("add documents in order"), "{error}");
    let other = DedupConfig { rows: 3, ..DedupConfig::default() };
    let other = Deduplicator::open(&folder.path().join("other"), other, &INPUTS).unwrap();
    let error = dedup.add_signed(entry(5), &other.signer().sign("three")).unwrap_err();
    assert!(error.to_string().contains("other options"), "{error}");
    dedup.finish().unwrap();
    let error = open(folder.path()).add(entry(6), "four").unwrap_err();
    assert!(error.to_string().contains("do not add them again"), "{error}");
    let config = DedupConfig { bands: 0, ..DedupConfig::default() };
    let error = Deduplicator::open(folder.path(), config, &INPUTS).err().unwrap();
    assert!(matches!(error, CorpusError::InvalidOption(_)));
}

#[test]
fn damaged_outputs_are_named() {
    let folder = tempfile::tempdir().unwrap();
    let mut dedup = open(folder.path());
    dedup.add(entry(4), "one").unwrap();
    dedup.finish().unwrap();
    for name in ["memberships", "signed"] {
        let file = fs::read_dir(folder.path()).unwrap().find_map(|file| {
            let path = file.unwrap().path();
            path.file_name().unwrap().to_str().unwrap().starts_with(name).then_some(path)
        });
        let file = file.unwrap();
        fs::write(&file, "torn").unwrap();
        let error = open(folder.path()).finish().err().unwrap();
        assert!(error.to_string().contains("delete it"), "{error}");
        fs::remove_file(&file).unwrap();
    }
}
