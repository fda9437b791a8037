// SPDX-License-Identifier: Apache-2.0

//! Files and answers about data: shards, records and proofs of documents, their index,
//! descriptions of data sets, tokenizers.

use crate::Target;
use pol_corpus::DocumentRecord;
use pol_data::{
    HELD_OUT, SPLITS, ShardFolder, TOKENIZER_FILE, TRAIN, Tokenizer, body_hashes, decode_shard,
    documents::{
        DocumentIndex, DocumentProof, DocumentQuery, DocumentWriter, INDEX_FOLDER, RECORDS_FILE,
        Texts, croissant::SourceDescription, encode_record, parse_record,
    },
};
use pol_primitives::{
    data::ManifestInfo,
    lineage::{Activity, Derivation, ToolName},
};
use serde_json::{Value, json};
use std::{fs, path::Path, sync::LazyLock};
use tempfile::TempDir;

pub(crate) const TARGETS: &[Target] = &[
    Target { name: "shard", run: shard, seeds: || vec![[&[3, 9][..], &tokens(3)].concat()] },
    Target { name: "shard_folder", run: shard_folder, seeds: shard_folder_seeds },
    Target { name: "document_record", run: document_record, seeds: document_record_seeds },
    Target { name: "document_proof", run: document_proof, seeds: document_proof_seeds },
    Target { name: "document_index", run: document_index, seeds: || vec![INGESTED.files()] },
    Target { name: "croissant", run: croissant, seeds: croissant_seeds },
    Target { name: "tokenizer", run: tokenizer, seeds: tokenizer_seeds },
    Target { name: "texts", run: texts, seeds: || vec![record_lines()] },
];

/// Number of tokens that a shard trains on.
const SHARD_TOKENS: u32 = 4;

/// Returns `count` shards of the tokens 0, 1, … of two bytes, as one file has them.
fn tokens(count: u16) -> Vec<u8> {
    (0..=count * SHARD_TOKENS as u16).flat_map(u16::to_le_bytes).collect()
}

/// Reads bytes as a shard, behind its number of tokens and the vocabulary. Written again in one of
/// both widths, its tokens are the bytes.
fn shard(bytes: &[u8]) -> bool {
    let Some((&[shard_tokens, vocabulary], bytes)) = bytes.split_first_chunk() else {
        return false;
    };
    let (shard_tokens, vocabulary) = (u32::from(shard_tokens) * 4, u32::from(vocabulary) * 257);
    let hashes = body_hashes(bytes, shard_tokens);
    assert!(hashes.is_err() || hashes.is_ok_and(|hashes| hashes.concat() == bytes));
    let Ok(tokens) = decode_shard(bytes, shard_tokens, vocabulary) else { return false };
    assert_eq!(tokens.len(), shard_tokens as usize + 1);
    assert!(tokens.iter().all(|&token| token < vocabulary));
    let four: Vec<u8> = tokens.iter().flat_map(|token| token.to_le_bytes()).collect();
    let two: Vec<u8> = tokens.iter().flat_map(|&token| (token as u16).to_le_bytes()).collect();
    assert!(bytes == four || bytes == two);
    true
}

/// Reads bytes as the two files of a manifest, behind the width of the tokens and the number of
/// hashes. A shard that is read has the hash of the manifest.
fn shard_folder(bytes: &[u8]) -> bool {
    let Some((&[width, hashes], bytes)) = bytes.split_first_chunk() else { return false };
    let (body, shards) = bytes.split_at((usize::from(hashes) * 32).min(bytes.len()));
    let folder = tempfile::tempdir().expect("a folder");
    write(folder.path(), body, shards, if width % 2 == 0 { "shards.u16" } else { "shards.u32" });
    let Ok(manifest) = ShardFolder::open(folder.path()) else { return false };
    assert_eq!((manifest.body(), manifest.len() as usize), (body, body.len() / 32));
    let all = manifest.tokens(0..u64::MAX).expect("the disk can be read");
    assert!(all.len() <= shards.len() / 2);
    (0..manifest.len()).all(|index| {
        let Ok(shard) = manifest.read(index) else { return false };
        assert_eq!(Some(*blake3::hash(&shard).as_bytes()), manifest.shard_hash(index));
        decode_shard(&shard, manifest.shard_tokens(), u32::MAX).is_ok()
    })
}

/// Writes the files of a manifest.
fn write(folder: &Path, body: &[u8], shards: &[u8], name: &str) {
    fs::write(folder.join("body.bin"), body).expect("the disk can be written");
    fs::write(folder.join(name), shards).expect("the disk can be written");
}

/// Returns the body of the manifest of a stream of shards.
fn body(shards: &[u8]) -> Vec<u8> {
    let shard = 2 * SHARD_TOKENS as usize;
    let windows = shards.windows(shard + 2).step_by(shard);
    windows.flat_map(|shard| *blake3::hash(shard).as_bytes()).collect()
}

fn shard_folder_seeds() -> Vec<Vec<u8>> {
    let shards = tokens(5);
    vec![vec![0, 0], [&[0, 5][..], &body(&shards), &shards].concat()]
}

/// Reads bytes as a record, which has one encoding.
fn document_record(bytes: &[u8]) -> bool {
    let Ok(record) = parse_record(bytes) else { return false };
    assert_eq!(encode_record(&record).expect("it was read"), bytes);
    true
}

fn document_record_seeds() -> Vec<Vec<u8>> {
    let records = RECORDS.iter().map(encode_record);
    records.map(|record| record.expect("a record is short")).collect()
}

/// Records of each fate: trained on, dropped, with a copy, held out, left over.
static RECORDS: LazyLock<Vec<DocumentRecord>> = LazyLock::new(|| {
    let places = [
        (1, json!({"side": "train", "start": 0, "tokens": 3})),
        (2, Value::Null),
        (3, json!({"side": "train", "start": 3, "tokens": 6})),
        (3, json!({"side": "train", "start": 9, "tokens": 4})),
        (4, json!({"side": "held_out", "start": 0, "tokens": 21})),
        (5, json!({"side": "train", "start": 21, "tokens": 2})),
    ];
    let record = |(number, (raw, place)): (usize, (u8, Value))| {
        let verdict = if place.is_null() { "dropped" } else { "passed" };
        let record = json!({
            "origin": {"source": "files", "location": format!("{number}.txt"), "part": ["1"]},
            "raw": format!("{raw:02x}").repeat(32),
            "piece": 0,
            "extractor": {"name": "text", "version": "1"},
            "invalid": 0,
            "text": format!("{number:02x}").repeat(32),
            "bytes": 7,
            "language": "eng",
            "quality": 500_000,
            "decisions": [{"rule": "gopher.symbols", "verdict": verdict, "measured": 3}],
            "place": place,
        });
        serde_json::from_value(record).expect("a record")
    };
    places.into_iter().enumerate().map(record).collect()
});

/// Folder with shards of both sides and the index of all records.
struct Ingested {
    folder: TempDir,
    index: DocumentIndex,
    /// Facts that the chain knows, of both sides.
    infos: Vec<ManifestInfo>,
}

static INGESTED: LazyLock<Ingested> = LazyLock::new(Ingested::new);

impl Ingested {
    fn new() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        write_shards(folder.path());
        let mut writer = DocumentWriter::create(folder.path()).expect("the disk can be written");
        RECORDS.iter().for_each(|record| writer.add(record).expect("the disk can be written"));
        writer.finish().expect("the disk can be written");
        let index = DocumentIndex::open(folder.path()).expect("it was written");
        let info = |side: &str| {
            let shards = ShardFolder::open(&folder.path().join(side)).expect("it was written");
            ManifestInfo {
                source: 0,
                merkle_root: shards.summary().merkle_root,
                content_hash: shards.summary().content_hash,
                tokenizer: [0; 32],
                shards: shards.len(),
                shard_tokens: SHARD_TOKENS,
                parents: Default::default(),
                quality: 0,
                held_out: side == HELD_OUT,
                derivation: Derivation {
                    activity: Activity::Collection,
                    tool: ToolName::default(),
                    version: ToolName::default(),
                    configuration: [0; 32],
                },
                documents: Some(index.documents()),
            }
        };
        let infos = SPLITS.map(info).into();
        Self { folder, index, infos }
    }

    /// Returns all files of the index, each behind its length.
    fn files(&self) -> Vec<u8> {
        let file = |name: &String| fs::read(self.folder.path().join(name)).expect("it was written");
        let files = index_files();
        let files = files.iter().map(file);
        files.flat_map(|file| [&(file.len() as u16).to_le_bytes()[..], &file].concat()).collect()
    }
}

fn index_files() -> [String; 5] {
    let below = |name: &str| format!("{INDEX_FOLDER}/{name}");
    [RECORDS_FILE.into(), below("raw"), below("text"), below("place"), below("tree")]
}

fn write_shards(folder: &Path) {
    for (side, shards) in [(TRAIN, tokens(5)), (HELD_OUT, tokens(4))] {
        fs::create_dir(folder.join(side)).expect("the disk can be written");
        write(&folder.join(side), &body(&shards), &shards, "shards.u16");
    }
}

/// Reads bytes as a proof. One that holds has all records of its document and no other, and the
/// fate that they tell.
fn document_proof(bytes: &[u8]) -> bool {
    let Ok(proof) = DocumentProof::parse(bytes) else { return false };
    let json = serde_json::to_vec(&proof).expect("a proof is JSON");
    assert_eq!(DocumentProof::parse(&json).expect("it was written"), proof);
    let Ingested { index, infos, .. } = &*INGESTED;
    let mut holds = false;
    for info in infos {
        let Ok(presence) = proof.verify(info) else { continue };
        holds = true;
        let own = index.prove(&proof.document()).expect("the index is whole");
        assert!(proof.records().eq(own.records()));
        assert!(own.manifest() != proof.manifest() || own.verify(info).ok() == Some(presence));
    }
    holds
}

fn document_proof_seeds() -> Vec<Vec<u8>> {
    let proof = |key: u8| INGESTED.index.prove(&[key; 32]).expect("the index is whole");
    let json = |key| serde_json::to_vec(&proof(key)).expect("a proof is JSON");
    [0, 1, 2, 3, 4, 5, 7].map(json).into()
}

/// Reads bytes as the files of an index, each behind its length, and asks it for documents.
fn document_index(bytes: &[u8]) -> bool {
    let folder = tempfile::tempdir().expect("a folder");
    write_shards(folder.path());
    fs::create_dir(folder.path().join(INDEX_FOLDER)).expect("the disk can be written");
    let mut rest = bytes;
    for name in index_files() {
        let (length, behind) = rest.split_first_chunk().unwrap_or((&[0; 2], &[]));
        let length = usize::from(u16::from_le_bytes(*length)).min(behind.len());
        fs::write(folder.path().join(name), &behind[..length]).expect("the disk can be written");
        rest = &behind[length..];
    }
    let Ok(index) = DocumentIndex::open(folder.path()) else { return false };
    let is_read = index.records().is_ok_and(|mut records| records.all(|record| record.is_ok()));
    let found = |key: u8| {
        let position = |side| DocumentQuery::Position { side, token: key.into() };
        let queries = [
            DocumentQuery::Raw([key; 32]),
            DocumentQuery::Text([key; 32]),
            position(pol_corpus::Side::Train),
            position(pol_corpus::Side::HeldOut),
        ];
        queries.iter().all(|query| index.find(query).is_ok()) && index.prove(&[key; 32]).is_ok()
    };
    (0..6).all(found) && is_read
}

/// Reads bytes as a description of a data set. Files have addresses of the web, or stay below it.
/// Those that hold the text are some of them.
fn croissant(bytes: &[u8]) -> bool {
    let Ok(source) = SourceDescription::parse(bytes) else { return false };
    assert!(!source.files.is_empty());
    for location in source.files.iter().filter_map(|file| file.location.as_deref()) {
        let is_web = ["http://", "https://"].iter().any(|start| location.starts_with(start));
        assert!(is_web || location.split('/').all(|name| !name.is_empty() && name != ".."));
    }
    let names = source.records.iter().map(|records| Some(records.name.as_str()));
    for name in names.take(4).chain([None]) {
        for fields in [&[][..], &["text".to_owned()]] {
            let Ok(chosen) = source.choose(name, fields) else { continue };
            assert!(chosen.files.iter().all(|chosen| source.files.contains(&chosen.file)));
        }
    }
    true
}

fn croissant_seeds() -> Vec<Vec<u8>> {
    let description = json!({
        "@context": {"@vocab": "https://schema.org/"},
        "@type": "sc:Dataset",
        "name": "stories",
        "conformsTo": "http://mlcommons.org/croissant/1.1",
        "license": ["https://spdx.org/licenses/CC-BY-4.0.html", "ODC-By-1.0"],
        "url": "https://example.org/stories",
        "prov:wasDerivedFrom": {"@id": "urn:dataset:books"},
        "distribution": [
            {"@type": "cr:FileObject", "@id": "repo", "contentUrl": "https://a.org/b.git"},
            {"@type": "cr:FileSet", "@id": "set", "containedIn": {"@id": "repo"},
             "includes": "default/*/*.parquet"},
            {"@type": "cr:FileObject", "@id": "a.txt", "contentUrl": "data/a.txt",
             "contentSize": "25 B", "sha256": "07".repeat(32)},
        ],
        "recordSet": {"@type": "cr:RecordSet", "name": "rows", "field": [
            {"@type": "cr:Field", "name": "rows/text", "dataType": "sc:Text",
             "source": {"fileObject": {"@id": "a.txt"}, "extract": {"jsonPath": "$.a.text"}}},
        ]},
    });
    vec![description.to_string().into()]
}

/// Reads bytes as a tokenizer. Its tokens are below its vocabulary.
fn tokenizer(bytes: &[u8]) -> bool {
    let Ok(tokenizer) = Tokenizer::from_json(bytes) else { return false };
    let Ok(tokens) = tokenizer.encode("Hello, w\u{f6}rld 12!\n") else { return true };
    assert!(tokens.iter().all(|&token| token < tokenizer.vocabulary()));
    let _ = tokenizer.decode(&tokens);
    true
}

fn tokenizer_seeds() -> Vec<Vec<u8>> {
    let model = r#""model":{"type":"BPE","vocab":{"a":0,"b":1,"ab":2},"merges":["a b"]}"#;
    let level = r#""pre_tokenizer":{"type":"ByteLevel","add_prefix_space":false,
        "trim_offsets":true,"use_regex":true},"decoder":{"type":"ByteLevel",
        "add_prefix_space":true,"trim_offsets":true,"use_regex":true},"#;
    // Steps that make a text longer.
    let steps = r#"{"type":"Replace","pattern":{"String":"a"},"content":"ab"},
        {"type":"Replace","pattern":{"Regex":"l+"},"content":"a"}"#;
    let steps = format!(
        r#""normalizer":{{"type":"Sequence","normalizers":[{steps}]}},
        "decoder":{{"type":"Sequence","decoders":[{steps}]}},"#
    );
    ["", level, steps.as_str()]
        .map(|parts| format!(r#"{{"version":"1.0","added_tokens":[],{parts}{model}}}"#).into())
        .into()
}

/// Reads bytes as the records of a manifest whose other files are sound, and decodes their texts.
/// None has more tokens than there are.
fn texts(bytes: &[u8]) -> bool {
    let folder = tempfile::tempdir().expect("a folder");
    write_shards(folder.path());
    let write = |name: &str, bytes: &[u8]| {
        fs::write(folder.path().join(name), bytes).expect("the disk can be written");
    };
    write(TOKENIZER_FILE, &letters());
    write(RECORDS_FILE, &zstd::bulk::compress(bytes, 1).expect("bytes can be compressed"));
    let mut texts = Texts::open(folder.path()).expect("the other files are sound");
    let mut tokens = 0;
    let is_read = texts.all(|text| {
        let Ok((_, text)) = text else { return false };
        tokens += text.map_or(0, |text| text.chars().filter(char::is_ascii_lowercase).count());
        true
    });
    // Those of both sides, with one at the end of each.
    assert!(tokens <= 9 * SHARD_TOKENS as usize + 2);
    is_read
}

/// Returns the records as the file of a manifest holds them.
fn record_lines() -> Vec<u8> {
    let line = |record| [encode_record(record).expect("a record is short"), b"\n".into()].concat();
    RECORDS.iter().flat_map(line).collect()
}

/// Returns a tokenizer of a letter for each token of the shards.
fn letters() -> Vec<u8> {
    let letters = ('a'..='z').zip(0..).map(|(letter, token)| (letter.to_string(), json!(token)));
    let model = json!({ "type": "BPE", "vocab": Value::Object(letters.collect()), "merges": [] });
    json!({ "version": "1.0", "added_tokens": [], "model": model }).to_string().into()
}
