// SPDX-License-Identifier: Apache-2.0

use proptest::prelude::*;

use super::*;

fn document(number: usize, bytes: &[u8]) -> RawDocument {
    let origin = Origin {
        source: "web".into(),
        location: format!("https://example.org/{number}"),
        fetched: Some(7),
        signals: vec!["x-robots-tag: noarchive".into()],
        ..Origin::default()
    };
    RawDocument { origin, media: Some("text/plain".into()), bytes: bytes.to_vec() }
}

fn store(folder: &Path, segment_bytes: u64) -> RawStore {
    let mut store = RawStore::create_or_open(folder).unwrap();
    store.segment_bytes = segment_bytes;
    store
}

fn read(store: &RawStore) -> Vec<RawDocument> {
    store.documents().map(Result::unwrap).collect()
}

/// Bytes that do not shrink.
fn noise(number: usize, length: usize) -> Vec<u8> {
    let mut bytes = vec![0; length];
    blake3::Hasher::new().update(&number.to_le_bytes()).finalize_xof().fill(&mut bytes);
    bytes
}

fn copy(from: &Path, to: &Path) {
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        fs::copy(entry.path(), to.join(entry.file_name())).unwrap();
    }
}

#[test]
fn documents_and_cursor_survive() {
    let folder = tempfile::tempdir().unwrap();
    let documents: Vec<_> = (0..40).map(|number| document(number, &noise(number, 100))).collect();
    for (number, part) in documents.chunks(7).enumerate() {
        let mut store = store(folder.path(), 1_000);
        assert_eq!(store.len(), 7 * number as u64);
        for document in part {
            store.append(document).unwrap();
        }
        assert_eq!(store.len(), 7 * number as u64);
        store.commit(&serde_json::json!({ "page": number })).unwrap();
        assert_eq!(read(&store), documents[..7 * number + part.len()]);
    }
    let store = store(folder.path(), 1_000);
    assert_eq!(store.cursor(), &serde_json::json!({ "page": 5 }));
    assert!(store.head.segment > 1 && !store.is_empty());
    for position in [0, 1, 13, 39, 40, 100] {
        let rest: Vec<_> = store.documents_from(position as u64).map(Result::unwrap).collect();
        assert_eq!(rest, documents[position.min(40)..]);
    }
    let others: Vec<_> = RawDocuments::open(folder.path()).unwrap().map(Result::unwrap).collect();
    assert_eq!(others, documents);
}

#[test]
fn contents_are_those_of_all_segments_and_not_of_the_cursor() {
    let digest_of = |changed: usize| {
        let folder = tempfile::tempdir().unwrap();
        let mut store = store(folder.path(), 1_000);
        for number in 0..40 {
            let bytes = noise(number + usize::from(number == changed) * 100, 100);
            store.append(&document(number, &bytes)).unwrap();
            store.commit(&number.into()).unwrap();
        }
        assert!(store.head.segment > 1);
        let digest = store.contents().unwrap();
        store.commit(&"elsewhere".into()).unwrap();
        assert_eq!(store.contents().unwrap(), digest);
        digest
    };
    let digests = [digest_of(40), digest_of(40), digest_of(0), digest_of(39)];
    assert_eq!(digests[0], digests[1]);
    assert!(!digests[2..].contains(&digests[0]) && digests[2] != digests[3]);
}

#[test]
fn what_no_commit_reached_is_dropped() {
    let folder = tempfile::tempdir().unwrap();
    let committed = document(0, b"One.");
    let mut first = store(folder.path(), 200);
    first.append(&committed).unwrap();
    first.commit(&1.into()).unwrap();
    for number in 0..9 {
        first.append(&document(number, &noise(number, 3 * FRAME_BYTES / 2))).unwrap();
    }
    assert!(segment_path(folder.path(), 1).exists());
    drop(first);
    let mut second = store(folder.path(), 200);
    assert_eq!(read(&second), std::slice::from_ref(&committed));
    assert!(!segment_path(folder.path(), 1).exists());
    let next = document(1, b"Two.");
    second.append(&next).unwrap();
    second.commit(&2.into()).unwrap();
    assert_eq!(read(&second), [committed, next]);
}

#[test]
fn tails_torn_at_every_byte_are_dropped() {
    let folder = tempfile::tempdir().unwrap();
    let documents = [document(0, &noise(0, 60)), document(1, &noise(1, 60))];
    let mut first = store(folder.path(), SEGMENT_BYTES);
    first.append(&documents[0]).unwrap();
    first.commit(&1.into()).unwrap();
    let head = fs::read(folder.path().join(HEAD)).unwrap();
    first.append(&documents[1]).unwrap();
    first.commit(&2.into()).unwrap();
    drop(first);
    let path = segment_path(folder.path(), 0);
    let bytes = fs::read(&path).unwrap();
    fs::write(folder.path().join(HEAD), head).unwrap();
    let committed = read_head(folder.path()).unwrap().unwrap().bytes as usize;
    for end in 0..=bytes.len() {
        fs::write(&path, &bytes[..end]).unwrap();
        let opened = RawStore::create_or_open(folder.path());
        if end < committed {
            assert!(opened.unwrap_err().to_string().contains("restore it from a copy"), "{end}");
            continue;
        }
        let mut opened = opened.unwrap();
        assert_eq!(read(&opened), documents[..1]);
        opened.append(&documents[1]).unwrap();
        opened.writer.as_mut().unwrap().flush().unwrap();
        assert_eq!(fs::read(&path).unwrap(), bytes);
    }
}

#[test]
fn damage_is_told() {
    let folder = tempfile::tempdir().unwrap();
    let mut sound = store(folder.path(), 300);
    for number in 0..12 {
        sound.append(&document(number, &noise(number, 100))).unwrap();
        sound.commit(&number.into()).unwrap();
    }
    let last = sound.head.segment;
    drop(sound);
    assert!(last > 1);
    let told = |change: &dyn Fn(&Path)| {
        let broken = tempfile::tempdir().unwrap();
        copy(folder.path(), broken.path());
        change(broken.path());
        let store = RawStore::create_or_open(broken.path());
        let error = store.and_then(|store| store.documents().collect::<Result<Vec<_>, _>>());
        error.unwrap_err().to_string()
    };
    let flip = |path: &Path, at: usize| {
        let mut bytes = fs::read(path).unwrap();
        bytes[at] ^= 1;
        fs::write(path, bytes).unwrap();
    };
    for segment in [0, last] {
        let length = fs::metadata(segment_path(folder.path(), segment)).unwrap().len() as usize;
        for at in (0..length).step_by(11).chain([length - 1]) {
            let told = told(&|broken| flip(&segment_path(broken, segment), at));
            assert!(told.contains("restore it from a copy"), "{segment} {at}: {told}");
        }
    }
    let missing = |file: &'static str| told(&|broken| fs::remove_file(broken.join(file)).unwrap());
    assert!(missing("head.json").contains("head.json is damaged: it is missing"));
    assert!(missing("000000.zst").contains("000000.zst"));
    let swapped = told(&|broken| {
        fs::copy(segment_path(broken, 1), segment_path(broken, 0)).unwrap();
    });
    assert!(swapped.contains("footer"));
    let format = told(&|broken| {
        let head = fs::read_to_string(broken.join(HEAD)).unwrap();
        fs::write(broken.join(HEAD), head.replace("\"format\":1", "\"format\":9")).unwrap();
    });
    assert!(format.contains("format 9"));
    assert!(RawDocuments::open(folder.path().join("none")).is_err());
}

#[test]
fn one_process_writes() {
    let folder = tempfile::tempdir().unwrap();
    let first = RawStore::create_or_open(folder.path()).unwrap();
    let second = RawStore::create_or_open(folder.path()).unwrap_err().to_string();
    assert!(second.contains("another process writes"), "{second}");
    drop(first);
    RawStore::create_or_open(folder.path()).unwrap();
}

#[test]
fn descriptions_are_bounded() {
    let folder = tempfile::tempdir().unwrap();
    let mut store = RawStore::create_or_open(folder.path()).unwrap();
    let mut long = document(0, b"");
    long.origin.location = "x".repeat(MAX_HEADER_BYTES);
    assert!(store.append(&long).unwrap_err().to_string().contains("description"));
    let cursor = serde_json::Value::String("x".repeat(MAX_CURSOR_BYTES));
    assert!(store.commit(&cursor).unwrap_err().to_string().contains("cursor"));
    store.append(&document(0, b"")).unwrap();
    store.commit(&serde_json::Value::Null).unwrap();
    assert_eq!(read(&store), [document(0, b"")]);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn any_documents_come_back(
        documents in prop::collection::vec(
            (any::<Vec<u8>>(), ".{0,20}", any::<Option<u64>>(), any::<bool>()),
            0..20,
        ),
        segment_bytes in 1u64..2_000,
    ) {
        let folder = tempfile::tempdir().unwrap();
        let mut store = store(folder.path(), segment_bytes);
        let mut all = Vec::new();
        for (bytes, location, fetched, commit) in documents {
            let origin = Origin { location, fetched, ..Origin::default() };
            all.push(RawDocument { origin, media: None, bytes });
            store.append(&all[all.len() - 1]).unwrap();
            if commit {
                store.commit(&all.len().into()).unwrap();
                prop_assert_eq!(read(&store), all.clone());
            }
        }
        store.commit(&all.len().into()).unwrap();
        prop_assert_eq!(read(&store), all);
    }
}
