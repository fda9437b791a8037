// SPDX-License-Identifier: Apache-2.0

//! Checks that the fuzz targets make on arbitrary bytes.

use pol_corpus::{Content, Documents, Input, MAX_PIECE_BYTES, Origin, RawDocuments, ReadOptions};

/// Reads bytes that start with `start`, and checks that all documents are within bounds.
///
/// # Panics
///
/// Panics if one is not, or if bytes in memory cannot be read.
pub fn read(location: &str, start: &[u8], bytes: &[u8]) {
    let origin = Origin { location: location.into(), ..Origin::default() };
    let content = Content::Bytes([start, bytes].concat());
    let input = Input { origin, media: None, content };
    for item in Documents::open(input, &ReadOptions::default()).expect("memory can be read") {
        if let Ok(document) = item.expect("memory can be read") {
            assert!(document.text.len() <= MAX_PIECE_BYTES);
            assert!(!document.text.contains('\r'));
        }
    }
}

/// Reads bytes as an archive whose first header is valid.
pub fn read_tar(bytes: &[u8]) {
    let mut bytes = bytes.to_vec();
    if bytes.len() < 512 {
        return;
    }
    bytes[148..156].fill(b' ');
    let sum: u32 = bytes[..512].iter().map(|byte| u32::from(*byte)).sum();
    bytes[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    read("a.tar", &[], &bytes);
}

/// Reads bytes as the one segment of a store with a valid head.
///
/// # Panics
///
/// Panics if files cannot be written.
pub fn read_store(bytes: &[u8]) {
    let folder = tempfile::tempdir().expect("a folder for the store");
    let head = serde_json::json!({
        "format": 1,
        "segment": 0,
        "bytes": bytes.len(),
        "blake3": blake3::hash(bytes).to_hex().as_str(),
        "segment_documents": 3,
        "documents": 3,
        "cursor": null,
    });
    std::fs::write(folder.path().join("head.json"), head.to_string()).expect("a head");
    std::fs::write(folder.path().join("000000.zst"), bytes).expect("a segment");
    let documents = RawDocuments::open(folder.path()).expect("the head is valid");
    assert!(documents.take(4).count() <= 3);
}
