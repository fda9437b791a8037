//! safetensors: a JSON header that names tensors, and their bytes.
//! Format: <https://huggingface.co/docs/safetensors>.

use super::{Bytes, Encoding, Entry, FileError, Table, byte_length};
use serde::{
    Deserialize, Deserializer,
    de::{IgnoredAny, MapAccess, Visitor},
};
use std::fmt;

/// Longest header in bytes, as the format has it.
const MAX_HEADER: u64 = 100_000_000;
/// Bytes of the header's length.
const PREFIX: u64 = 8;
/// The key of what is not a tensor.
const METADATA: &str = "__metadata__";

fn malformed(reason: String) -> FileError {
    FileError::Malformed { format: "safetensors", reason }
}

/// Reads the header of `file` and checks it against the file's length.
pub fn read(file: Box<dyn Bytes>) -> Result<Table, FileError> {
    let mut prefix = [0; PREFIX as usize];
    let Some(rest) = file.size().checked_sub(PREFIX) else {
        return Err(malformed(format!(
            "it has {} bytes, less than the length of a header",
            file.size()
        )));
    };
    file.read_at(0, &mut prefix)?;
    let length = u64::from_le_bytes(prefix);
    if length > MAX_HEADER || length > rest {
        return Err(malformed(format!("its header should have {length} bytes, and {rest} follow")));
    }
    let mut header = vec![0; length as usize];
    file.read_at(PREFIX, &mut header)?;
    let Header(claims) = serde_json::from_slice(&header)
        .map_err(|error| malformed(format!("its header: {error}")))?;
    let start = PREFIX + length;
    let entries = claims.into_iter().map(|(name, claim)| {
        let entry =
            entry(claim, start).map_err(|reason| malformed(format!("tensor {name} {reason}")))?;
        Ok((name, entry))
    });
    let entries = entries.collect::<Result<_, FileError>>()?;
    Table::new(file, entries, start, true, malformed)
}

fn entry(claim: Claim, start: u64) -> Result<Entry, String> {
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
    Ok(Entry { shape: claim.shape, encoding, offset, bytes, file: 0 })
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

/// What a header says of a tensor.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Claim {
    dtype: String,
    shape: Vec<u64>,
    data_offsets: [u64; 2],
}

/// All claims in the order of the header; a map would silently keep one of two with the same name.
struct Header(Vec<(String, Claim)>);

impl<'de> Deserialize<'de> for Header {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Claims;
        impl<'de> Visitor<'de> for Claims {
            type Value = Header;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object of tensors")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Header, A::Error> {
                let mut claims = Vec::new();
                while let Some(name) = map.next_key::<String>()? {
                    if name == METADATA {
                        map.next_value::<IgnoredAny>()?;
                    } else {
                        claims.push((name, map.next_value()?));
                    }
                }
                Ok(Header(claims))
            }
        }
        deserializer.deserialize_map(Claims)
    }
}

/// The prefix and header of a file of float32 tensors that lie in the order given: all that comes
/// before their bytes. `tensors` are names and shapes.
pub fn header<'a>(tensors: impl IntoIterator<Item = (&'a str, &'a [u32])>) -> Vec<u8> {
    let mut offset = 0u64;
    let mut json = format!(r#"{{"{METADATA}":{{"format":"pt"}}"#);
    for (name, shape) in tensors {
        let end = offset + shape.iter().map(|&size| u64::from(size)).product::<u64>() * 4;
        let name = serde_json::Value::from(name);
        json.push_str(&format!(
            r#",{name}:{{"dtype":"F32","shape":{shape:?},"data_offsets":[{offset},{end}]}}"#
        ));
        offset = end;
    }
    json.push('}');
    // Spaces bring the first value to a multiple of eight bytes.
    let length = json.len().next_multiple_of(8);
    let mut bytes = (length as u64).to_le_bytes().to_vec();
    bytes.extend(json.into_bytes());
    bytes.resize(PREFIX as usize + length, b' ');
    bytes
}
