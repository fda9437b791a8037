// SPDX-License-Identifier: Apache-2.0

//! Manifests by their contents, for endpoints of other crates.

use crate::{failure::Failure, state::ChainState};
use pol_api::ApiError;
use pol_index::lookups::Manifests;
use pol_primitives::{Hash, data::ManifestId};

impl ChainState {
    /// Returns the newest manifest whose body has this BLAKE3 hash, if the index knows one.
    ///
    /// # Errors
    ///
    /// Fails if the index does, or is that of another chain.
    pub async fn manifest_of_content(&self, content: Hash) -> Result<Option<ManifestId>, ApiError> {
        self.check_index().map_err(|Failure(error)| error)?;
        let found = self.index().newest(Manifests::Content(content)).await;
        let found = found.map_err(|error| Failure::from(error).0)?;
        Ok(found.map(|row| row.fact.manifest))
    }

    /// Returns the BLAKE3 hash of the body of a manifest, if the index knows the manifest.
    ///
    /// # Errors
    ///
    /// Fails if the index does, or is that of another chain.
    pub async fn content_of_manifest(
        &self,
        manifest: ManifestId,
    ) -> Result<Option<Hash>, ApiError> {
        self.check_index().map_err(|Failure(error)| error)?;
        let found = self.index().newest(Manifests::Manifest(manifest)).await;
        let found = found.map_err(|error| Failure::from(error).0)?;
        Ok(found.map(|row| row.fact.content))
    }
}
