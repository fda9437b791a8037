// SPDX-License-Identifier: Apache-2.0

//! `data fetch-held-out`: the text that a network measures its models on, so that providers can
//! keep passages of it out of their data.

use super::ingest::end_of_text_beside;
use crate::{
    context::NodeContext,
    data::ShardReader,
    error::RoleError,
    options::{NodeOptions, SwarmOptions},
    state::StateFolder,
};
use anyhow::{Context, Result, ensure};
use clap::Args;
use pol_chain::{AccountId, Chain};
use pol_data::{EndOfText, network::texts_of_tokens};
use pol_primitives::{
    data::{Manifest, ManifestId, ShardId},
    recipe::Recipe,
};
use serde_json::json;
use std::{
    fs,
    io::{BufWriter, Write},
    path::{Path, PathBuf},
};
use tempfile::NamedTempFile;

/// Label of the blobs.
const TAG: &str = "held-out-text";
/// Largest tokenizer, in bytes.
const MAX_TOKENIZER_BYTES: u64 = 1 << 26;

const FETCH_EXAMPLES: &str = "\
Examples:
  pol-trainer data fetch-held-out --out held-out.jsonl
      the text that the recipe in force names, from the members that serve it
  pol-trainer data ingest --input texts --out data --decontaminate held-out.jsonl
      drop documents that share a passage with it
  pol-trainer data fetch-held-out --manifest 3 --manifest 5 --out held-out.jsonl
      text that others hold out

All of it is verified by what the chain holds. A configuration of `data acquire` names the file in \
its field decontaminate.";

/// Options of `data fetch-held-out`.
#[derive(Args)]
#[command(after_help = FETCH_EXAMPLES)]
pub(crate) struct FetchHeldOutOptions {
    #[command(flatten)]
    node: NodeOptions,
    /// File to write, a JSON object with the field text per line. One that exists is replaced.
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
    /// Held-out manifest to read. Can be repeated. [default: the one that the recipe names]
    #[arg(long, value_name = "MANIFEST")]
    manifest: Vec<ManifestId>,
    /// Tokenizer of the network. [default: fetched from a member]
    #[arg(long, value_name = "FILE")]
    tokenizer: Option<PathBuf>,
    /// Token that separates texts, if it is not the well-known one.
    #[arg(long, value_name = "TOKEN")]
    end_of_text: Option<String>,
}

impl FetchHeldOutOptions {
    /// Writes the texts, and prints their number.
    pub(crate) async fn run(self) -> Result<()> {
        let chain = self.node.connect().await?;
        let recipe = chain.recipe().await?.context(
            "the chain has no recipe yet, so no text is held out; set one with `pol-trainer \
             recipe set`",
        )?;
        let manifests = self.manifests(&chain, &recipe).await?;
        let scratch = tempfile::tempdir().context("cannot make a temporary folder for text")?;
        let state = StateFolder::open(scratch.path())?;
        let context = NodeContext::start(chain, &SwarmOptions::fetch_only(), state).await?;
        let fetched = self.texts(&context, &recipe, &manifests).await;
        context.swarm.clone().shutdown().await?;
        let texts = fetched?;
        write(&self.out, &texts)?;
        println!("{}: {} texts that are held out", self.out.display(), texts.len());
        Ok(())
    }

    /// Returns the manifests to read.
    async fn manifests(
        &self,
        chain: &Chain,
        recipe: &Recipe,
    ) -> Result<Vec<(ManifestId, Manifest<AccountId>)>> {
        let mut ids = self.manifest.clone();
        if ids.is_empty() {
            let content = recipe.held_out.context(
                "the recipe names no held-out text; name manifests with --manifest, of those that \
                 `pol-trainer data list` prints",
            )?;
            let id = chain.manifest_of_content(&content).await?;
            ids.push(id.context("the held-out text that the recipe names is not registered yet")?);
        }
        let mut manifests = Vec::new();
        for id in ids {
            let manifest = chain.manifest(id).await?;
            let manifest = manifest.with_context(|| {
                format!("the chain has no manifest {id}; `pol-trainer data list` prints those")
            })?;
            check(id, &manifest, recipe)?;
            manifests.push((id, manifest));
        }
        Ok(manifests)
    }

    /// Returns the texts of manifests, from the members that serve them.
    async fn texts(
        &self,
        context: &NodeContext,
        recipe: &Recipe,
        manifests: &[(ManifestId, Manifest<AccountId>)],
    ) -> Result<Vec<String>> {
        let owners: Vec<_> = manifests.iter().map(|(_, manifest)| manifest.owner).collect();
        let tokenizer = match &self.tokenizer {
            Some(path) => {
                let json =
                    fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
                ensure!(
                    *blake3::hash(&json).as_bytes() == recipe.tokenizer,
                    "{} is not the tokenizer of the recipe; leave it out, and it is fetched",
                    path.display()
                );
                json
            }
            None => {
                let (hash, most) = (&recipe.tokenizer, MAX_TOKENIZER_BYTES);
                let fetched = context.fetch_blob(hash, most, &owners, TAG).await;
                fetched.map_err(RoleError::into_inner).context("cannot get the tokenizer")?.into()
            }
        };
        let end_of_text = match (&self.end_of_text, &self.tokenizer) {
            (Some(name), _) => EndOfText::Named(name.clone()),
            (None, Some(tokenizer)) => end_of_text_beside(tokenizer),
            (None, None) => EndOfText::Known,
        };
        let (mut reader, mut texts) = (ShardReader::new(context.clone()), Vec::new());
        for (id, manifest) in manifests {
            let mut tokens = Vec::new();
            for index in 0..manifest.info.shards {
                let shard = ShardId { manifest: *id, index };
                let read = reader.shard(recipe, shard, &[], TAG).await;
                // The last token of a shard is the first one of the next.
                tokens.pop();
                tokens.extend(read.map_err(RoleError::into_inner)?);
            }
            texts.extend(texts_of_tokens(&tokenizer, &end_of_text, &tokens)?);
        }
        Ok(texts)
    }
}

/// Fails unless a manifest holds text that the recipe can be measured on.
fn check(id: ManifestId, manifest: &Manifest<AccountId>, recipe: &Recipe) -> Result<()> {
    let info = &manifest.info;
    ensure!(
        info.held_out,
        "manifest {id} is text to train on; name one that `pol-trainer data list` shows as held out"
    );
    ensure!(
        info.tokenizer == recipe.tokenizer && info.shard_tokens == recipe.shard_tokens,
        "manifest {id} has another tokenizer or other lengths of shards than the recipe, so that \
         nobody measures models on it; leave it out"
    );
    Ok(())
}

/// Writes texts as JSON lines to a file, which appears whole.
fn write(path: &Path, texts: &[String]) -> Result<()> {
    let context = || format!("cannot write {}", path.display());
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
    let file = NamedTempFile::new_in(folder.unwrap_or(Path::new("."))).with_context(context)?;
    let mut writer = BufWriter::new(file);
    for text in texts {
        writeln!(writer, "{}", json!({ "text": text })).with_context(context)?;
    }
    let file = writer.into_inner().map_err(|error| error.into_error()).with_context(context)?;
    file.as_file().sync_all().with_context(context)?;
    file.persist(path).map_err(|error| error.error).with_context(context)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::{super::withdrawal::tests::manifest, *};
    use crate::preset::Preset;
    use pol_data::IngestRecord;
    use pol_primitives::data::ManifestStatus;

    #[test]
    fn only_held_out_text_of_the_recipe_is_read() {
        let data = IngestRecord { vocabulary: 8_192, sequence: 128, ..Default::default() };
        let recipe = Preset::Demo.sizes(&data).recipe([7; 32]);
        let mut held_out = manifest(ManifestStatus::Admitted, true, 0);
        held_out.info.tokenizer = recipe.tokenizer;
        held_out.info.shard_tokens = recipe.shard_tokens;
        assert!(check(3, &held_out, &recipe).is_ok());
        let reason = |change: fn(&mut Manifest<AccountId>)| {
            let mut other = held_out.clone();
            change(&mut other);
            check(3, &other, &recipe).unwrap_err().to_string()
        };
        let train = reason(|other| other.info.held_out = false);
        assert!(train.contains("manifest 3 is text to train on"), "{train}");
        for foreign in [
            reason(|other| other.info.tokenizer = [9; 32]),
            reason(|other| other.info.shard_tokens += 1),
        ] {
            assert!(foreign.contains("another tokenizer or other lengths"), "{foreign}");
        }
    }

    #[test]
    fn texts_are_written_as_lines() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("held-out.jsonl");
        for texts in [vec!["One.\nTwo.".to_owned(), "\"Three\"".to_owned()], Vec::new()] {
            write(&path, &texts).unwrap();
            let lines = fs::read_to_string(&path).unwrap();
            let read: Vec<String> = lines
                .lines()
                .map(|line| {
                    let line: serde_json::Value = serde_json::from_str(line).unwrap();
                    line["text"].as_str().unwrap().to_owned()
                })
                .collect();
            assert_eq!(read, texts);
        }
    }
}
