// SPDX-License-Identifier: Apache-2.0

//! Making of an ingested folder, as the chain registers it.

use pol_corpus::Tool;
use pol_primitives::{
    Hash,
    lineage::{Activity, Derivation, Documents, ToolName},
};
use serde::{Deserialize, Serialize};

/// Making of the text in a folder, and its documents.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LineageRecord {
    /// Activity that made the text.
    pub activity: Activity,
    /// Program that made it.
    pub tool: Tool,
    /// BLAKE3 of the configuration or recipe that the program followed.
    #[serde(with = "pol_primitives::hex_hash")]
    pub configuration: Hash,
    /// Tree over the records of documents, if there are any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub documents: Option<Documents>,
}

impl LineageRecord {
    /// Creates the record of text that this program collected, as `request` names it.
    pub fn of_request(request: Hash) -> Self {
        Self {
            activity: Activity::Collection,
            tool: Tool {
                name: env!("CARGO_PKG_NAME").into(),
                version: env!("CARGO_PKG_VERSION").into(),
            },
            configuration: request,
            documents: None,
        }
    }

    /// Returns the digest of the making, without the documents.
    pub(crate) fn digest(&self) -> Hash {
        pol_primitives::digest(b"pol/making/1", &self.derivation())
    }

    /// Returns the making as the chain registers it. Names that are too long are cut.
    pub fn derivation(&self) -> Derivation {
        Derivation {
            activity: self.activity,
            tool: bounded(&self.tool.name),
            version: bounded(&self.tool.version),
            configuration: self.configuration,
        }
    }
}

/// Returns the start of a name, cut between two characters.
fn bounded(name: &str) -> ToolName {
    let end = name.floor_char_boundary(ToolName::bound());
    ToolName::truncate_from(name.as_bytes().iter().take(end).copied().collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_derivation_is_registered_whatever_the_names() {
        let mut record = LineageRecord::of_request([7; 32]);
        assert!(record.derivation().is_named());
        assert_eq!(record.derivation().configuration, [7; 32]);
        record.tool.name = "ä".repeat(40) + "b";
        assert_eq!(record.derivation().tool.len(), 64);
        record.tool.name = "b".to_owned() + &"ä".repeat(40);
        assert_eq!(record.derivation().tool.len(), 63);
        assert!(record.derivation().is_named());
        let json = serde_json::to_string(&record).unwrap();
        assert_eq!(serde_json::from_str::<LineageRecord>(&json).unwrap(), record);
    }
}
