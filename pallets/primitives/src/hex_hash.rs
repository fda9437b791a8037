//! Hashes as `0x…` in JSON: `#[serde(with = "crate::hex_hash")]`.

use crate::Hash;
use alloc::string::String;
use serde::{Deserialize, Deserializer, Serializer, de::Error};

/// Writes 64 lower-case digits after `0x`.
pub fn serialize<S: Serializer>(hash: &Hash, serializer: S) -> Result<S::Ok, S::Error> {
    let mut text = String::with_capacity(66);
    text.push_str("0x");
    for byte in hash {
        for nibble in [byte >> 4, byte & 15] {
            text.extend(char::from_digit(nibble.into(), 16));
        }
    }
    serializer.serialize_str(&text)
}

/// Reads what [`serialize`] writes.
pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Hash, D::Error> {
    let text = String::deserialize(deserializer)?;
    parse(&text).ok_or_else(|| D::Error::custom("a hash is 0x and 64 hexadecimal digits"))
}

/// The hash that `text` names: 64 hexadecimal digits, with or without `0x`.
pub fn parse(text: &str) -> Option<Hash> {
    let digits = text.strip_prefix("0x").unwrap_or(text).as_bytes();
    let (pairs, rest) = digits.as_chunks::<2>();
    let mut hash = Hash::default();
    if pairs.len() != hash.len() || !rest.is_empty() {
        return None;
    }
    for (byte, [high, low]) in hash.iter_mut().zip(pairs) {
        let digit = |c: &u8| char::from(*c).to_digit(16);
        *byte = u8::try_from(digit(high)? << 4 | digit(low)?).ok()?;
    }
    Some(hash)
}

/// The same for a hash that may be missing.
pub mod option {
    use super::*;

    /// Writes the hash or `null`.
    pub fn serialize<S: Serializer>(hash: &Option<Hash>, serializer: S) -> Result<S::Ok, S::Error> {
        match hash {
            Some(hash) => super::serialize(hash, serializer),
            None => serializer.serialize_none(),
        }
    }

    /// Reads what [`serialize`] writes.
    pub fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Option<Hash>, D::Error> {
        Option::<String>::deserialize(deserializer)?
            .map(|text| {
                parse(&text)
                    .ok_or_else(|| D::Error::custom("a hash is 0x and 64 hexadecimal digits"))
            })
            .transpose()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hashes_are_read_as_written() {
        #[derive(serde::Serialize, Deserialize, PartialEq, Debug)]
        struct Both(#[serde(with = "super")] Hash, #[serde(with = "super::option")] Option<Hash>);
        let both = Both([0xa7; 32], None);
        let text = serde_json::to_string(&both).unwrap();
        assert!(text.starts_with("[\"0xa7a7"));
        assert_eq!(serde_json::from_str::<Both>(&text).unwrap(), both);
        assert!(serde_json::from_str::<Both>("[\"0x12\", null]").is_err());
        assert_eq!(parse(&"g".repeat(64)), None);
    }
}
