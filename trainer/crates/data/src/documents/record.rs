// SPDX-License-Identifier: Apache-2.0

//! The one encoding of a record, which its hash is of.

use crate::DataError;
use pol_corpus::DocumentRecord;
use pol_primitives::{Hash, lineage::DocumentLeaf};

/// Largest encoding of a record, in bytes.
pub const MAX_RECORD_BYTES: usize = 64 << 10;
/// Number of characters of an address that an error shows.
const SHOWN_CHARACTERS: usize = 80;

/// Returns the encoding of a record: JSON without spaces, with its fields in the order of their
/// declaration.
///
/// # Errors
///
/// Fails if the encoding is longer than [`MAX_RECORD_BYTES`].
pub fn encode_record(record: &DocumentRecord) -> Result<Vec<u8>, DataError> {
    let mut bytes = Vec::new();
    append_record(record, &mut bytes).map(|()| bytes)
}

/// Appends the encoding of a record to `bytes`, which an error leaves with a part of it.
pub(super) fn append_record(record: &DocumentRecord, bytes: &mut Vec<u8>) -> Result<(), DataError> {
    let before = bytes.len();
    serde_json::to_writer(&mut *bytes, record)
        .map_err(|error| DataError::InvalidDocument(error.to_string()))?;
    let length = bytes.len() - before;
    if length <= MAX_RECORD_BYTES {
        return Ok(());
    }
    let location = record.origin.location.chars().take(SHOWN_CHARACTERS).collect();
    Err(DataError::LongRecord { location, bytes: length, most: MAX_RECORD_BYTES })
}

/// Returns the record of an encoding.
///
/// # Errors
///
/// Fails if the bytes are not what [`encode_record`] returns for some record.
pub fn parse_record(bytes: &[u8]) -> Result<DocumentRecord, DataError> {
    let invalid = |reason: String| DataError::InvalidDocument(reason);
    if bytes.len() > MAX_RECORD_BYTES {
        return Err(invalid(format!("{} bytes are too many", bytes.len())));
    }
    let record: DocumentRecord =
        serde_json::from_slice(bytes).map_err(|error| invalid(error.to_string()))?;
    if encode_record(&record)? == bytes {
        Ok(record)
    } else {
        Err(invalid("it is encoded in another way, or by another version of this program".into()))
    }
}

/// Returns the leaf of a record with this encoding.
pub(super) fn leaf(raw: Hash, encoded: &[u8]) -> DocumentLeaf {
    DocumentLeaf { key: raw, record: *blake3::hash(encoded).as_bytes() }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use pol_corpus::{Decision, Origin, Place, Side, Tool, Verdict};
    use proptest::prelude::*;

    /// Returns a record of the document `raw`, of which some are dropped.
    pub(in super::super) fn record(raw: u8, text: u8, place: Option<Place>) -> DocumentRecord {
        DocumentRecord {
            origin: Origin {
                source: "files".into(),
                location: format!("{raw}.txt"),
                ..Default::default()
            },
            raw: [raw; 32],
            piece: 0,
            extractor: Tool { name: "text".into(), version: "1".into() },
            invalid: 0,
            text: [text; 32],
            bytes: 7,
            language: Some("eng".into()),
            quality: Some(500_000),
            decisions: vec![Decision {
                rule: "gopher.symbols".into(),
                verdict: if place.is_some() { Verdict::Passed } else { Verdict::Dropped },
                measured: Some(3),
            }],
            cluster: None,
            survivor: None,
            survivor_manifest: None,
            reference: None,
            place,
        }
    }

    proptest! {
        #[test]
        fn a_record_has_one_encoding(location: String, start: u64, tokens: u64, held_out: bool) {
            let side = if held_out { Side::HeldOut } else { Side::Train };
            let mut record = record(1, 2, Some(Place { side, start, tokens }));
            record.origin.location = location;
            let bytes = encode_record(&record).unwrap();
            prop_assert_eq!(parse_record(&bytes).unwrap(), record);
            let spaced = [b" ", &bytes[..]].concat();
            prop_assert!(matches!(parse_record(&spaced), Err(DataError::InvalidDocument(_))));
        }

        #[test]
        fn no_bytes_panic(bytes: Vec<u8>) {
            prop_assert!(parse_record(&bytes).is_err());
        }
    }

    #[test]
    fn unknown_fields_and_long_records_are_refused() {
        let bytes = encode_record(&record(1, 2, None)).unwrap();
        let text = String::from_utf8(bytes).unwrap();
        let more = text.replacen('{', "{\"colour\":1,", 1);
        assert!(matches!(parse_record(more.as_bytes()), Err(DataError::InvalidDocument(_))));
        let mut long = record(1, 2, None);
        long.origin.location = "x".repeat(MAX_RECORD_BYTES);
        let error = encode_record(&long).unwrap_err();
        assert!(matches!(&error, DataError::LongRecord { location, .. } if location.len() == 80));
        let bytes = serde_json::to_vec(&long).unwrap();
        assert!(matches!(parse_record(&bytes), Err(DataError::InvalidDocument(_))));
    }
}
