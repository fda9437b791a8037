// SPDX-License-Identifier: Apache-2.0

//! `data describe`: manifests in the Croissant format.

use crate::options::NodeOptions;
use anyhow::{Context, Result, ensure};
use clap::Args;
use pol_chain::{Chain, format_account};
use pol_data::{
    HELD_OUT, ShardFolder, TRAIN,
    documents::croissant::{FileFacts, ManifestFacts, ParentFacts, describe},
};
use pol_primitives::data::{Manifest, ManifestId};
use std::path::{Path, PathBuf};

const DESCRIBE_EXAMPLES: &str = "\
Examples:
  pol-trainer data describe 0 > manifest.json
      what the chain knows of manifest 0: licence, provider, parents, program, and retirement
  pol-trainer data describe 0 --data data > data/manifest.json
      with the files of the folder and their digests, as the provider; their names are relative to
      the description, so it belongs into the folder";

/// Media type of files that have none of their own.
const BINARY: &str = "application/octet-stream";

/// Options of `data describe`.
#[derive(Args)]
#[command(after_help = DESCRIBE_EXAMPLES)]
pub(crate) struct DescribeOptions {
    #[command(flatten)]
    node: NodeOptions,
    /// Number of the manifest.
    #[arg(value_name = "MANIFEST")]
    manifest: ManifestId,
    /// Folder that the manifest was registered from.
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
}

impl DescribeOptions {
    /// Prints the description.
    pub(crate) async fn run(self) -> Result<()> {
        let chain = self.node.connect().await?;
        let id = self.manifest;
        let manifest =
            chain.manifest(id).await?.with_context(|| format!("the chain has no manifest {id}"))?;
        let source = chain
            .source(manifest.info.source)
            .await?
            .with_context(|| format!("the chain has no source {}", manifest.info.source))?;
        let files = match &self.data {
            Some(folder) => files_of(folder, &manifest)?,
            None => Vec::new(),
        };
        let [address, licence] =
            [&source.address, &source.licence].map(|text| String::from_utf8_lossy(text));
        let facts = ManifestFacts {
            genesis: chain.genesis_hash(),
            id,
            info: &manifest.info,
            kind: manifest.kind,
            owner: &format_account(&manifest.owner),
            address: &address,
            licence: &licence,
            published: None,
            parents: &parents_of(&chain, &manifest).await?,
            usage: &[],
            retirement: chain.retirement(id).await?,
            files: &files,
        };
        println!("{}", serde_json::to_string_pretty(&describe(&facts))?);
        Ok(())
    }
}

/// Returns the manifests that `manifest` was made from, with their contents as far as the chain
/// keeps them.
async fn parents_of<AccountId>(
    chain: &Chain,
    manifest: &Manifest<AccountId>,
) -> Result<Vec<ParentFacts>> {
    let mut parents = Vec::new();
    for &id in &manifest.info.parents {
        let parent = chain.manifest(id).await?;
        parents.push(ParentFacts { id, content_hash: parent.map(|found| found.info.content_hash) });
    }
    Ok(parents)
}

/// Returns the files of the folder that `manifest` was registered from.
fn files_of<AccountId>(folder: &Path, manifest: &Manifest<AccountId>) -> Result<Vec<FileFacts>> {
    let side = if manifest.info.held_out { HELD_OUT } else { TRAIN };
    let shards = ShardFolder::open(&folder.join(side))?;
    ensure!(
        shards.summary().content_hash == manifest.info.content_hash,
        "{} does not hold this manifest; name the folder that it was registered from",
        folder.display()
    );
    let read = |(name, media): (String, &str)| Ok(FileFacts::read(folder, &name, media)?);
    file_names(side, &shards).into_iter().map(read).collect()
}

/// Returns the names of the files of a side, with their media types.
pub(super) fn file_names(side: &str, shards: &ShardFolder) -> [(String, &'static str); 4] {
    [
        (format!("{side}/body.bin"), BINARY),
        (format!("{side}/{}", shards.file_name()), BINARY),
        (pol_data::TOKENIZER_FILE.to_owned(), "application/json"),
        (pol_data::documents::RECORDS_FILE.to_owned(), "application/zstd"),
    ]
}
