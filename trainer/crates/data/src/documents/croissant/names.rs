// SPDX-License-Identifier: Apache-2.0

//! Names of manifests in descriptions and in the records of documents.

use pol_primitives::{Hash, data::ManifestId, hex_hash};
use std::fmt;

/// Start of the name of everything that is on a chain.
const START: &str = "urn:pol:";
/// Part before the content hash or the id.
const MANIFEST: &str = "manifest:";
/// Start of the statement that a document was derived from what is named behind it, among the
/// signals of its origin.
const DERIVED_FROM: &str = "prov:wasDerivedFrom: ";

/// Name of a manifest among all chains.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum ManifestName {
    /// By its content hash, on any chain: `urn:pol:manifest:HASH`.
    Content(Hash),
    /// By its id on a chain: `urn:pol:GENESIS:manifest:ID`.
    OnChain {
        /// Hash of the first block of the chain, which names it.
        genesis: Hash,
        /// Id of the manifest.
        id: ManifestId,
    },
}

impl ManifestName {
    /// Returns the manifest that has this name, if it is that of one.
    pub fn parse(name: &str) -> Option<Self> {
        let name = name.strip_prefix(START)?;
        if let Some(hash) = name.strip_prefix(MANIFEST) {
            return hex_hash::parse(hash).map(Self::Content);
        }
        let (genesis, rest) = name.split_once(':')?;
        let id = rest.strip_prefix(MANIFEST)?.parse().ok()?;
        Some(Self::OnChain { genesis: hex_hash::parse(genesis)?, id })
    }

    /// Returns the manifest that a signal of a document names as the one that it was derived from.
    pub fn of_signal(signal: &str) -> Option<Self> {
        Self::parse(signal.strip_prefix(DERIVED_FROM)?)
    }
}

impl fmt::Display for ManifestName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Content(hash) => write!(f, "{START}{MANIFEST}{}", hex::encode(hash)),
            Self::OnChain { genesis, id } => {
                write!(f, "{START}{}:{MANIFEST}{id}", hex::encode(genesis))
            }
        }
    }
}

/// Returns the signal of a document that it was derived from what has this name.
pub fn derivation_signal(name: impl fmt::Display) -> String {
    format!("{DERIVED_FROM}{name}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn names_are_read_as_they_are_written() {
        for name in [
            ManifestName::Content([7; 32]),
            ManifestName::OnChain { genesis: [8; 32], id: u32::MAX },
        ] {
            assert_eq!(ManifestName::parse(&name.to_string()), Some(name));
            assert_eq!(ManifestName::of_signal(&derivation_signal(name)), Some(name));
            assert_eq!(ManifestName::of_signal(&name.to_string()), None);
        }
        let hash = "07".repeat(32);
        for other in [
            "urn:dataset:books".to_owned(),
            format!("urn:pol:manifest:{}", &hash[1..]),
            format!("urn:pol:{hash}:manifest:"),
            format!("urn:pol:{hash}:manifest:4294967296"),
            format!("urn:pol:{hash}:source:1"),
            format!("urn:pol:{hash}"),
        ] {
            assert_eq!(ManifestName::parse(&other), None, "{other}");
        }
    }

    proptest! {
        #[test]
        fn no_text_panics(text: String) {
            let _ = ManifestName::parse(&text);
            let _ = ManifestName::of_signal(&derivation_signal(&text));
        }
    }
}
