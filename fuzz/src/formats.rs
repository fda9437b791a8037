// SPDX-License-Identifier: Apache-2.0

//! Formats of documents, and files beside them: raw stores, models of quality, signatures, lists of
//! opt-outs.

use crate::Target;
use flate2::{
    Compression,
    write::{DeflateEncoder, GzEncoder},
};
use parquet::{
    data_type::{ByteArray, ByteArrayType},
    file::writer::SerializedFileWriter,
    schema::parser::parse_message_type,
};
use pol_corpus::{
    Content, Documents, Input, Limits, MAX_PIECE_BYTES, Origin, RawDocument, RawDocuments,
    RawStore, ReadOptions,
    dedup::{
        DecontaminationConfig, DecontaminatorBuilder, DedupConfig, Deduplicator, Entry,
        ManifestSignatureWriter, SignatureFile,
    },
    filters::{CleanConfig, Cleaner, OptOutList, Preset},
    quality::{ExampleFile, QualityModel},
};
use rawzip::{CompressionMethod, ZipArchiveWriter};
use std::{fs, io::Write, path::Path, sync::LazyLock};

pub(crate) const TARGETS: &[Target] = &[
    Target { name: "csv", run: |bytes| read("a.csv", bytes), seeds: csv_seeds },
    Target { name: "gzip", run: |bytes| read("a.gz", bytes), seeds: gzip_seeds },
    Target { name: "html", run: |bytes| read("a.html", bytes), seeds: html_seeds },
    Target { name: "json", run: |bytes| read("a.json", bytes), seeds: json_seeds },
    Target { name: "json_lines", run: |bytes| read("a.jsonl", bytes), seeds: json_seeds },
    Target { name: "parquet", run: parquet, seeds: || vec![parquet_table()] },
    Target { name: "tar", run: tar, seeds: tar_seeds },
    Target { name: "text", run: |bytes| read("a", bytes), seeds: text_seeds },
    Target { name: "warc", run: |bytes| read("a.warc", bytes), seeds: warc_seeds },
    Target { name: "zip", run: zip, seeds: zip_seeds },
    Target { name: "zstd", run: |bytes| read("a.zst", bytes), seeds: || vec![zstd(LINES)] },
    Target { name: "store", run: store, seeds: store_seeds },
    Target { name: "quality_model", run: quality_model, seeds: quality_model_seeds },
    Target { name: "examples", run: examples, seeds: example_seeds },
    Target { name: "signatures", run: signatures, seeds: signature_seeds },
    Target { name: "opt_out", run: opt_out, seeds: opt_out_seeds },
    Target { name: "clean", run: clean, seeds: text_seeds },
    Target { name: "decontamination", run: decontamination, seeds: text_seeds },
];

const LINES: &[u8] =
    b"{\"text\": \"One.\\n\\nTwo.\", \"url\": \"https://a.org\"}\n{\"text\": \"3\"}\n";
const PAGE: &str = "<!DOCTYPE html><html><head><title>Rain</title></head><body><nav><a href=/>Home\
    </a></nav><article><p>The rain fell on the old town, and nobody was out, as it had fallen \
    the day before, on the roofs and on the river.</p><p>It stopped at noon.</p></article></body>\
    </html>";
/// Most items that are read of an input.
const MAX_ITEMS: usize = 2_000;

/// Reads bytes as an input with a name. Documents are within bounds, and all of them together are
/// not much longer than the limits on what is made of an input.
fn read(location: &str, bytes: &[u8]) -> bool {
    let limits = Limits {
        free: 1 << 20,
        row: 1 << 20,
        page: 1 << 18,
        parquet_page: 1 << 20,
        ..Limits::default()
    };
    let most = limits.free.saturating_add(limits.expansion.saturating_mul(bytes.len() as u64));
    let origin = Origin { location: location.into(), ..Origin::default() };
    let input = Input { origin, media: None, content: Content::Bytes(bytes.to_vec()) };
    let options = ReadOptions { limits, ..ReadOptions::default() };
    let (mut documents, mut total) = (0, 0);
    for item in Documents::open(input, &options).expect("memory can be read").take(MAX_ITEMS) {
        let Ok(document) = item.expect("memory can be read") else { continue };
        assert!(document.text.len() <= MAX_PIECE_BYTES);
        assert!(!document.text.contains('\r'));
        documents += 1;
        total += document.text.len() as u64;
    }
    // A byte of an old encoding may be three of UTF-8.
    assert!(total <= most.saturating_mul(3), "{total} bytes of text");
    documents > 0
}

fn csv_seeds() -> Vec<Vec<u8>> {
    vec![
        b"id,\"text\",url\n1,\"One, \"\"two\"\"\nthree\",https://a.org\n2,Four,\n".into(),
        b"text\tid\nOne\t1\n".into(),
    ]
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(bytes).expect("memory can be written");
    encoder.finish().expect("memory can be written")
}

fn zstd(bytes: &[u8]) -> Vec<u8> {
    zstd::bulk::compress(bytes, 3).expect("memory can be written")
}

fn gzip_seeds() -> Vec<Vec<u8>> {
    vec![gzip(LINES), [gzip(b"One. "), gzip(b"Two.")].concat(), gzip(&zstd(&archive()))]
}

fn html_seeds() -> Vec<Vec<u8>> {
    let charset = "<html><meta charset=latin1><body><table><tr><td>Caf\u{e9}</table><pre>x";
    vec![PAGE.into(), charset.chars().map(|char| char as u8).collect()]
}

fn json_seeds() -> Vec<Vec<u8>> {
    vec![
        LINES.into(),
        b"[\n  {\"text\": \"One \\\"}]\\\\\"},\n  5,\n  {\n\"text\": \"2\"}\n]".into(),
    ]
}

/// Reads bytes as a table between the marks of the format, which are at both of its ends.
fn parquet(bytes: &[u8]) -> bool {
    let bytes = bytes.strip_prefix(b"PAR1").unwrap_or(bytes);
    let bytes = bytes.strip_suffix(b"PAR1").unwrap_or(bytes);
    read("a.parquet", &[b"PAR1", bytes, b"PAR1"].concat())
}

/// Returns a table of three rows in Parquet.
pub(crate) fn parquet_table() -> Vec<u8> {
    let schema = "message rows { required binary text (STRING); }";
    let schema = parse_message_type(schema).expect("a schema");
    let table = || {
        let mut writer = SerializedFileWriter::new(Vec::new(), schema.into(), Default::default())?;
        let mut group = writer.next_row_group()?;
        let mut column = group.next_column()?.expect("a column");
        let rows = ["One.", "", "Three."].map(ByteArray::from);
        column.typed::<ByteArrayType>().write_batch(&rows, None, None)?;
        column.close()?;
        group.close()?;
        writer.into_inner()
    };
    table().expect("memory can be written")
}

/// Reads bytes as an archive whose first header is valid.
fn tar(bytes: &[u8]) -> bool {
    let mut bytes = bytes.to_vec();
    let Some((header, _)) = bytes.split_first_chunk_mut::<512>() else { return false };
    header[148..156].fill(b' ');
    let sum: u32 = header.iter().map(|byte| u32::from(*byte)).sum();
    header[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    read("a.tar", &bytes)
}

fn archive() -> Vec<u8> {
    let long = format!("{}/a.txt", "folder".repeat(30));
    let mut builder = tar::Builder::new(Vec::new());
    for (name, content) in [("b.jsonl", LINES), (&long, b"One."), ("c.txt.gz", &gzip(b"Two."))] {
        let mut header = tar::Header::new_gnu();
        header.set_size(content.len() as u64);
        header.set_mode(0o644);
        builder.append_data(&mut header, name, content).expect("memory can be written");
    }
    builder.into_inner().expect("memory can be written")
}

fn tar_seeds() -> Vec<Vec<u8>> {
    vec![archive()]
}

/// Reads bytes as an archive, whose start and end have their marks.
fn zip(bytes: &[u8]) -> bool {
    let mut bytes = bytes.to_vec();
    let end = bytes.len().saturating_sub(22);
    if end < 4 {
        return false;
    }
    bytes[..4].copy_from_slice(b"PK\x03\x04");
    bytes[end..end + 4].copy_from_slice(b"PK\x05\x06");
    read("a.zip", &bytes)
}

fn zip_seeds() -> Vec<Vec<u8>> {
    let written = || {
        let mut writer = ZipArchiveWriter::new(Vec::new());
        for (name, content) in [("a/b.jsonl", LINES), ("c.txt", b"One."), ("d.tar", &archive())] {
            let file = writer.new_file(name).compression_method(CompressionMethod::DEFLATE);
            let (mut entry, config) = file.start()?;
            let mut packed = config.wrap(DeflateEncoder::new(&mut entry, Compression::default()));
            packed.write_all(content)?;
            let (packed, descriptor) = packed.finish()?;
            packed.finish()?;
            entry.finish(descriptor)?;
        }
        writer.finish()
    };
    vec![written().expect("memory can be written")]
}

fn text_seeds() -> Vec<Vec<u8>> {
    let utf_16 = "\u{feff}Gr\u{fc}\u{df}e.\r\nZwei.".encode_utf16().flat_map(u16::to_le_bytes);
    let book = "The Project Gutenberg eBook of A\n\n*** START OF THE PROJECT GUTENBERG EBOOK A \
        ***\n\nOne.\n\n*** END OF THE PROJECT GUTENBERG EBOOK A ***\n";
    vec![
        b"A line.\r\n\nAsk jane@doe.org at 192.168.1.1, or +1 202 555 0143.\n".into(),
        utf_16.collect(),
        book.into(),
        b"---\ntitle: x\n---\n# Heading\n\n- one\n- two\n".into(),
        "Der Regen fiel auf die alte Stadt, und niemand war da. ".repeat(20).into(),
    ]
}

fn warc_seeds() -> Vec<Vec<u8>> {
    let block = format!("HTTP/1.1 200 OK\r\nContent-Type: text/html\r\n\r\n{PAGE}");
    let record = |kind: &str, media: &str, block: &str| {
        format!(
            "WARC/1.0\r\nWARC-Type: {kind}\r\nWARC-Target-URI: https://a.org/1\r\n\
             WARC-Date: 2024-02-29T12:00:00Z\r\nContent-Type: {media}\r\nContent-Length: {}\r\n\
             \r\n{block}\r\n\r\n",
            block.len()
        )
    };
    let response = record("response", "application/http; msgtype=response", &block);
    let conversion = record("conversion", "text/plain", "One.");
    vec![[response, conversion].concat().into()]
}

/// Reads bytes as the one segment of a store with a valid head.
fn store(bytes: &[u8]) -> bool {
    let folder = tempfile::tempdir().expect("a folder");
    let head = serde_json::json!({
        "format": 1,
        "segment": 0,
        "bytes": bytes.len(),
        "blake3": blake3::hash(bytes).to_hex().as_str(),
        "segment_documents": 3,
        "documents": 3,
        "cursor": null,
    });
    fs::write(folder.path().join("head.json"), head.to_string()).expect("a head");
    fs::write(folder.path().join("000000.zst"), bytes).expect("a segment");
    let documents = RawDocuments::open(folder.path()).expect("the head is valid");
    let read: Vec<_> = documents.take(4).collect();
    assert!(read.len() <= 3 || read.iter().any(Result::is_err));
    read.len() == 3 && read.iter().all(Result::is_ok)
}

fn store_seeds() -> Vec<Vec<u8>> {
    let folder = tempfile::tempdir().expect("a folder");
    let written = || {
        let mut store = RawStore::create_or_open(folder.path())?;
        for text in ["One.", "", "Three."] {
            let origin = Origin { location: text.into(), ..Origin::default() };
            let media = Some("text/plain".into());
            store.append(&RawDocument { origin, media, bytes: text.into() })?;
        }
        store.commit(&serde_json::Value::Null)
    };
    written().expect("the disk can be written");
    vec![fs::read(folder.path().join("000000.zst")).expect("a segment")]
}

/// Reads bytes as a model of quality with a true digest. One that is accepted is the only encoding
/// of itself, and scores are shares.
fn quality_model(bytes: &[u8]) -> bool {
    let mut sealed = [&b"pol-qual\x01"[..], bytes].concat();
    let digest = blake3::hash(&sealed);
    sealed.extend(digest.as_bytes());
    let Ok(model) = QualityModel::read(&sealed) else { return false };
    assert_eq!(model.to_bytes(), sealed);
    assert!(model.score("A text of a few words.") <= 1_000_000);
    true
}

fn quality_model_seeds() -> Vec<Vec<u8>> {
    // Of 2¹⁰ weights, one is not zero. A zero is followed by the number of further ones: 1,022.
    vec![[&[10][..], &[7; 8], &[3, 0, 0xfe, 7]].concat()]
}

/// Reads bytes as examples that a model of quality is trained on.
fn examples(bytes: &[u8]) -> bool {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("examples.jsonl");
    fs::write(&path, bytes).expect("a file of examples");
    let mut examples = ExampleFile::open(&path).expect("the disk can be read").peekable();
    examples.peek().is_some() && examples.take(MAX_ITEMS).all(|example| example.is_ok())
}

fn example_seeds() -> Vec<Vec<u8>> {
    let good = r#"{"text": "One.", "good": true, "kind": "x", "source": "y"}"#;
    vec![format!("{good}\n{{\"text\": \"\", \"good\": false}}\n").into()]
}

static SIGNATURES: LazyLock<Vec<u8>> = LazyLock::new(|| {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("signatures.bin");
    let written = || {
        let mut search = search(folder.path())?;
        for (id, text) in
            ["one text of some words", "another text of more words"].iter().enumerate()
        {
            search.add(Entry { id: id as u64, group: id as u64, quality: 1 }, text)?;
        }
        search.finish()?.save_signatures(&path)
    };
    written().expect("the disk can be written");
    fs::read(path).expect("a file of signatures")
});

/// File of signatures of a registered manifest.
static MANIFEST_SIGNATURES: LazyLock<Vec<u8>> = LazyLock::new(|| {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("a.signatures");
    let written = || {
        let config = DedupConfig::default();
        let mut writer = ManifestSignatureWriter::open(&path, &config, &[7; 32], 0)?;
        writer.write("one text of some words")?;
        writer.commit()
    };
    written().expect("the disk can be written");
    fs::read(path).expect("a file of signatures")
});

fn search(folder: &Path) -> Result<Deduplicator, pol_corpus::CorpusError> {
    let config = DedupConfig { memory: 1 << 16, ..DedupConfig::default() };
    Deduplicator::open(&folder.join("search"), config, &[0; 32])
}

/// Reads bytes as signatures behind a valid head, which the first byte chooses, and before a true
/// checksum, and looks for documents like theirs.
fn signatures(bytes: &[u8]) -> bool {
    let Some((&kind, bytes)) = bytes.split_first() else { return false };
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("signatures.bin");
    let is_of_manifest = kind % 2 == 1;
    let head = if is_of_manifest { MANIFEST_SIGNATURES.as_slice() } else { &SIGNATURES };
    let mut file = [&head[..48], bytes].concat();
    let checksum = blake3::hash(&file);
    file.extend(checksum.as_bytes());
    fs::write(&path, &file).expect("a file of signatures");
    let Ok(foreign) = SignatureFile::open(&path, &DedupConfig::default()) else { return false };
    assert_eq!(foreign.checksum(), *checksum.as_bytes());
    assert_eq!(foreign.manifest().is_some(), is_of_manifest);
    let count = foreign.documents();
    assert!(count <= bytes.len() as u64);
    let found = || {
        let mut search = search(folder.path())?;
        search.add(Entry { id: 0, group: 0, quality: 1 }, "one text of some words")?;
        search.against(foreign);
        search.finish()?.get(0)
    };
    let membership = found().expect("the disk can be written").expect("it was added");
    assert!(count > 0 || membership.duplicate.is_none());
    true
}

fn signature_seeds() -> Vec<Vec<u8>> {
    [SIGNATURES.as_slice(), &MANIFEST_SIGNATURES]
        .iter()
        .zip(0u8..)
        .map(|(file, kind)| [&[kind][..], &file[48..file.len() - 32]].concat())
        .collect()
}

/// Reads bytes as a list of opt-outs. An address that is out is so in any case of its host.
fn opt_out(bytes: &[u8]) -> bool {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("list");
    fs::write(&path, bytes).expect("a list");
    let Ok(list) = OptOutList::open(&path) else { return false };
    let found = |address: &str| list.matches_url(address);
    assert_eq!(found("http://example.org/a/b?c"), found("https://u:p@EXAMPLE.ORG./a/b?c#d"));
    true
}

fn opt_out_seeds() -> Vec<Vec<u8>> {
    let hash = "ab".repeat(32);
    vec![format!("# why\nhost *.example.org\nurl http://example.org/a\nhash {hash}\n").into()]
}

/// Cleans bytes as a text by each preset.
fn clean(bytes: &[u8]) -> bool {
    static CLEANERS: LazyLock<Vec<Cleaner>> = LazyLock::new(|| {
        [Preset::Web, Preset::Books, Preset::Code, Preset::Dialogue]
            .map(|preset| Cleaner::new(&CleanConfig::of(preset)).expect("a preset is valid"))
            .into()
    });
    static MODEL: LazyLock<QualityModel> =
        LazyLock::new(|| QualityModel::bundled().expect("it is tested"));
    let text = String::from_utf8_lossy(bytes);
    assert!(MODEL.score(&text) <= 1_000_000);
    for cleaner in CLEANERS.iter() {
        let cleaned = cleaner.clean(text.clone().into_owned());
        assert!(cleaned.decisions.len() <= cleaner.rules().count());
        let Some(clean) = cleaned.text else { continue };
        // The shortest address that is replaced is not much shorter than its replacement.
        assert!(clean.len() <= 4 * text.len() + 64, "{} of {}", clean.len(), text.len());
    }
    true
}

/// Reads bytes as a text that nobody may train on. Whatever holds it shares a passage with it.
fn decontamination(bytes: &[u8]) -> bool {
    let text = String::from_utf8_lossy(bytes);
    let finder = || {
        let mut texts = DecontaminatorBuilder::new(DecontaminationConfig::default())?;
        texts.add(&Origin::default(), 0, &text)?;
        texts.finish()
    };
    let finder = finder().expect("it is short");
    let is_known = !finder.references().is_empty();
    assert_eq!(finder.runs() > 0, is_known);
    let within = format!("Before it.\n\n{text}\n\nBehind it.");
    for holder in [&*text, &within] {
        assert_eq!(finder.check(holder).is_some(), is_known);
    }
    true
}
