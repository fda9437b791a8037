// SPDX-License-Identifier: Apache-2.0

//! safetensors: a JSON header that names tensors, followed by their bytes.
//! Format: <https://huggingface.co/docs/safetensors>.
//!
//! The `safetensors` crate is not used: its `read_metadata` needs the whole file in memory or
//! mapped, its header keeps one of two tensors with the same name, and its errors neither name the
//! tensor nor tell a truncated file.

use super::{
    Encoding, FileError, ReadAt, TensorEntry, TensorTable, byte_length, refuse_pointer_file,
};
use serde::{
    Deserialize, Deserializer,
    de::{IgnoredAny, MapAccess, Visitor},
};
use std::fmt;

/// Maximum length of the header in bytes, set by the format.
const MAX_HEADER_BYTES: u64 = 100_000_000;
/// Number of bytes of the header's length.
const PREFIX_BYTES: u64 = 8;
/// Key of the entry that is not a tensor.
const METADATA_KEY: &str = "__metadata__";

fn malformed(reason: String) -> FileError {
    FileError::Malformed { format: "safetensors", reason }
}

/// Reads the header of `file` and checks it against the file's length.
///
/// # Errors
///
/// Fails if the file cannot be read or violates the format.
pub fn read(file: Box<dyn ReadAt>) -> Result<TensorTable, FileError> {
    refuse_pointer_file(&*file)?;
    let mut prefix = [0; PREFIX_BYTES as usize];
    let Some(rest) = file.size().checked_sub(PREFIX_BYTES) else {
        return Err(malformed(format!(
            "it has {} bytes, less than the length of a header",
            file.size()
        )));
    };
    file.read_at(0, &mut prefix)?;
    let length = u64::from_le_bytes(prefix);
    if length > MAX_HEADER_BYTES || length > rest {
        return Err(malformed(format!("its header should have {length} bytes, and {rest} follow")));
    }
    let mut header = vec![0; length as usize];
    file.read_at(PREFIX_BYTES, &mut header)?;
    let Header(claims) = serde_json::from_slice(&header)
        .map_err(|error| malformed(format!("its header: {error}")))?;
    let start = PREFIX_BYTES + length;
    let entries = claims.into_iter().map(|(name, claim)| {
        let entry =
            entry(claim, start).map_err(|reason| malformed(format!("tensor {name} {reason}")))?;
        Ok((name, entry))
    });
    let entries = entries.collect::<Result<_, FileError>>()?;
    TensorTable::new(file, entries, start, true, malformed)
}

fn entry(claim: HeaderEntry, start: u64) -> Result<TensorEntry, String> {
    let encoding = encoding(&claim.dtype)
        .ok_or_else(|| format!("is of type {}, which is not known", claim.dtype))?;
    let bytes = byte_length(&claim.shape, encoding)?;
    let [from, to] = claim.data_offsets;
    if to.checked_sub(from) != Some(bytes) {
        return Err(format!(
            "of {encoding} {:?} takes {bytes} bytes, but lies from {from} to {to}",
            claim.shape
        ));
    }
    let offset =
        start.checked_add(from).ok_or_else(|| format!("lies at {from}, beyond any file"))?;
    Ok(TensorEntry { shape: claim.shape, encoding, offset, bytes, file: 0, is_big_endian: false })
}

fn encoding(dtype: &str) -> Option<Encoding> {
    let other = |name, bytes| Encoding::Other { name, bytes };
    Some(match dtype {
        "F64" => Encoding::F64,
        "F32" => Encoding::F32,
        "F16" => Encoding::F16,
        "BF16" => Encoding::Bf16,
        "BOOL" => other("BOOL", 1),
        "U8" => other("U8", 1),
        "I8" => other("I8", 1),
        "F8_E4M3" => other("F8_E4M3", 1),
        "F8_E5M2" => other("F8_E5M2", 1),
        "U16" => other("U16", 2),
        "I16" => other("I16", 2),
        "U32" => other("U32", 4),
        "I32" => other("I32", 4),
        "U64" => other("U64", 8),
        "I64" => other("I64", 8),
        _ => return None,
    })
}

/// Entry of the header.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct HeaderEntry {
    dtype: String,
    shape: Vec<u64>,
    data_offsets: [u64; 2],
}

/// All entries of the header in order. A map would silently keep one of two with the same name.
struct Header(Vec<(String, HeaderEntry)>);

impl<'de> Deserialize<'de> for Header {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct HeaderVisitor;
        impl<'de> Visitor<'de> for HeaderVisitor {
            type Value = Header;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object of tensors")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Header, A::Error> {
                let mut entries = Vec::new();
                while let Some(name) = map.next_key::<String>()? {
                    if name == METADATA_KEY {
                        map.next_value::<IgnoredAny>()?;
                    } else {
                        entries.push((name, map.next_value()?));
                    }
                }
                Ok(Header(entries))
            }
        }
        deserializer.deserialize_map(HeaderVisitor)
    }
}

/// Returns the bytes before the values of a file: the length and the header, padded to at least
/// `least` bytes. `tensors` has names, shapes, and encodings of scalars in the order of the values.
pub(crate) fn header<'a>(
    tensors: impl IntoIterator<Item = (&'a str, &'a [u64], Encoding)>,
    least: usize,
) -> Vec<u8> {
    let mut offset = 0u64;
    let mut json = format!(r#"{{"{METADATA_KEY}":{{"format":"pt"}}"#);
    for (name, shape, encoding) in tensors {
        let end = offset + shape.iter().product::<u64>() * encoding.block().1;
        let name = serde_json::Value::from(name);
        json.push_str(&format!(
            r#",{name}:{{"dtype":"{encoding}","shape":{shape:?},"data_offsets":[{offset},{end}]}}"#
        ));
        offset = end;
    }
    json.push('}');
    // Spaces align the first value to eight bytes.
    let prefix = PREFIX_BYTES as usize;
    let length = json.len().max(least.saturating_sub(prefix)).next_multiple_of(8);
    let mut bytes = (length as u64).to_le_bytes().to_vec();
    bytes.extend(json.into_bytes());
    bytes.resize(prefix + length, b' ');
    bytes
}
