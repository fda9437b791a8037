// SPDX-License-Identifier: Apache-2.0

//! Serde format of hashes and keys as `0x…` strings: `#[serde(with = "crate::hex_hash")]`.

use crate::Hash;
use alloc::{format, string::String};
use serde::{Deserialize, Deserializer, Serializer, de::Error};

/// Serializes bytes as `0x` and lower-case hexadecimal digits.
///
/// # Errors
///
/// Fails if the serializer fails.
pub fn serialize<S: Serializer, const N: usize>(
    bytes: &[u8; N],
    serializer: S,
) -> Result<S::Ok, S::Error> {
    let mut text = String::from("0x");
    for byte in bytes {
        for nibble in [byte >> 4, byte & 15] {
            text.extend(char::from_digit(nibble.into(), 16));
        }
    }
    serializer.serialize_str(&text)
}

/// Deserializes bytes that [`parse_bytes`] accepts.
///
/// # Errors
///
/// Fails if the input is not a string of two hexadecimal digits for each byte, with or without
/// `0x`.
pub fn deserialize<'de, D: Deserializer<'de>, const N: usize>(
    deserializer: D,
) -> Result<[u8; N], D::Error> {
    let text = String::deserialize(deserializer)?;
    let digits = N.saturating_mul(2);
    let expected = || D::Error::custom(format!("expected 0x and {digits} hexadecimal digits"));
    parse_bytes(&text).ok_or_else(expected)
}

/// Parses 64 hexadecimal digits, with or without `0x`. Returns `None` for any other text.
pub fn parse(text: &str) -> Option<Hash> {
    parse_bytes(text)
}

/// Parses two hexadecimal digits for each byte, with or without `0x`. Returns `None` for any other
/// text.
pub fn parse_bytes<const N: usize>(text: &str) -> Option<[u8; N]> {
    let digits = text.strip_prefix("0x").unwrap_or(text).as_bytes();
    let (pairs, rest) = digits.as_chunks::<2>();
    let mut bytes = [0; N];
    if pairs.len() != bytes.len() || !rest.is_empty() {
        return None;
    }
    for (byte, [high, low]) in bytes.iter_mut().zip(pairs) {
        let digit = |c: &u8| char::from(*c).to_digit(16);
        *byte = u8::try_from(digit(high)? << 4 | digit(low)?).ok()?;
    }
    Some(bytes)
}

/// Serde format of an optional hash.
pub mod option {
    use super::{Deserialize, Deserializer, Error, Hash, Serializer, String, parse};

    /// Serializes the hash, or `null` for `None`.
    ///
    /// # Errors
    ///
    /// Fails if the serializer fails.
    pub fn serialize<S: Serializer>(hash: &Option<Hash>, serializer: S) -> Result<S::Ok, S::Error> {
        match hash {
            Some(hash) => super::serialize(hash, serializer),
            None => serializer.serialize_none(),
        }
    }

    /// Deserializes a hash or `null`.
    ///
    /// # Errors
    ///
    /// Fails if the input is neither `null` nor a hash that [`parse`] accepts.
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
