// SPDX-License-Identifier: Apache-2.0

//! Sources and manifests.

use super::BlockReader;
use crate::facts::{DerivedFrom, ManifestStage, ManifestState, SourceState};
use pol_chain::{AccountId, ChainError, ChainEvent};
use pol_primitives::data::{Manifest, ManifestId, ManifestStatus, ShortText, SourceId};

impl BlockReader {
    /// Notes an event about data.
    pub(super) async fn note_data(&mut self, event: &ChainEvent) -> Result<(), ChainError> {
        let (manifest, stage) = match *event {
            ChainEvent::SourceRegistered { source, .. } => {
                return self.add_source(source, false).await;
            }
            ChainEvent::SourceWithdrawn { source } => return self.add_source(source, true).await,
            ChainEvent::ManifestRegistered { manifest, .. } => {
                self.add_derivations(manifest).await?;
                (manifest, None)
            }
            ChainEvent::ManifestAdmitted { manifest, .. }
            | ChainEvent::ManifestPaused { manifest, .. }
            | ChainEvent::ManifestChanged { manifest } => (manifest, None),
            ChainEvent::ManifestRetired { manifest, .. } => {
                (manifest, Some(ManifestStage::Retired))
            }
            ChainEvent::ManifestWithdrawn { manifest } => {
                (manifest, Some(ManifestStage::Withdrawn))
            }
            ChainEvent::ManifestForgotten { manifest } => {
                (manifest, Some(ManifestStage::Forgotten))
            }
            _ => return Ok(()),
        };
        let noted = self.manifests.entry(manifest).or_default();
        *noted = stage.or(*noted);
        Ok(())
    }

    async fn add_source(&mut self, id: SourceId, withdrawn: bool) -> Result<(), ChainError> {
        let state = if withdrawn { &self.before } else { &self.here };
        // One that was registered and withdrawn in one block leaves no trace.
        if let Some(source) = state.source(id).await? {
            self.facts.push(&SourceState {
                source: id,
                owner: source.owner,
                address: text(&source.address),
                licence: text(&source.licence),
                withdrawn,
            });
        }
        Ok(())
    }

    async fn add_derivations(&mut self, child: ManifestId) -> Result<(), ChainError> {
        let manifest = self.here.manifest(child).await?;
        for parent in manifest.into_iter().flat_map(|manifest| manifest.info.parents) {
            self.facts.push(&DerivedFrom { parent, child });
        }
        Ok(())
    }

    /// Adds the manifests whose stage changed.
    pub(super) async fn add_manifests(&mut self) -> Result<(), ChainError> {
        for (id, gone) in std::mem::take(&mut self.manifests) {
            let found = match self.here.manifest(id).await? {
                Some(manifest) => Some((stage_of(manifest.status), manifest)),
                None => self.before.manifest(id).await?.zip(gone).map(|(one, stage)| (stage, one)),
            };
            if let Some((stage, manifest)) = found {
                self.facts.push(&state(id, stage, &manifest));
            }
        }
        Ok(())
    }
}

fn stage_of(status: ManifestStatus) -> ManifestStage {
    match status {
        ManifestStatus::Proposed => ManifestStage::Proposed,
        ManifestStatus::Admitted => ManifestStage::Admitted,
        ManifestStatus::Paused => ManifestStage::Paused,
        ManifestStatus::Retired => ManifestStage::Retired,
        ManifestStatus::Consumed => ManifestStage::Consumed,
    }
}

fn state(id: ManifestId, stage: ManifestStage, manifest: &Manifest<AccountId>) -> ManifestState {
    let info = &manifest.info;
    ManifestState {
        manifest: id,
        source: info.source,
        owner: manifest.owner,
        stage,
        kind: manifest.kind,
        shards: info.shards,
        shard_tokens: info.shard_tokens,
        held_out: info.held_out,
        quality: info.quality,
        activity: info.derivation.activity,
        content: info.content_hash,
        tokenizer: info.tokenizer,
        documents: info.documents.map(|documents| documents.root),
        registered: manifest.registered,
    }
}

fn text(bytes: &ShortText) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_of_strangers_are_shown_as_they_can_be() {
        let short = |bytes: &[u8]| ShortText::try_from(bytes.to_vec()).unwrap();
        assert_eq!(text(&short("Straße".as_bytes())), "Straße");
        assert_eq!(text(&short(&[b'a', 0xff])), "a\u{fffd}");
    }
}
