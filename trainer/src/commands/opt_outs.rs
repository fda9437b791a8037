// SPDX-License-Identifier: Apache-2.0

//! `data opt-outs`: documents in shards whose owners opted out since.

use super::data_report::data_folders;
use crate::{
    documents::{indices, side_folder},
    options::NodeOptions,
};
use anyhow::{Context, Result};
use clap::Args;
use pol_chain::Chain;
use pol_corpus::{
    DocumentRecord, Side,
    filters::{OptOutList, OptOutMatch},
};
use pol_data::{IngestRecord, ShardFolder, documents::DocumentIndex};
use pol_primitives::{
    Hash,
    data::{ManifestId, ManifestStatus},
};
use serde::Serialize;
use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
};

const OPT_OUTS_EXAMPLES: &str = "\
Examples:
  pol-trainer data opt-outs --list opt-out.txt data
      the documents in the shards of a folder that the list has now
  pol-trainer data opt-outs --list opt-out.txt acquired --node ws://127.0.0.1:9944
      those of all sources of `data acquire`, with the numbers of their manifests
  pol-trainer data retire 3 --reason opt-out --evidence DIGEST --key-file authority.json
      what governance does then. Nothing can be made from a manifest that was retired so";

/// Options of `data opt-outs`.
#[derive(Args)]
#[command(after_help = OPT_OUTS_EXAMPLES)]
pub(crate) struct OptOutsOptions {
    /// List of hosts, addresses, and hashes whose owners do not want them to be trained on.
    #[arg(long, value_name = "FILE")]
    list: PathBuf,
    /// Folder of `data ingest`, or the folder of all sources of `data acquire`. Can be repeated.
    #[arg(value_name = "DIR", required = true)]
    folders: Vec<PathBuf>,
    #[command(flatten)]
    node: NodeOptions,
    /// Print JSON, an object per manifest.
    #[arg(long)]
    json: bool,
}

/// Manifest with documents that are opted out.
#[derive(Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
struct AffectedManifest {
    folder: PathBuf,
    held_out: bool,
    #[serde(with = "pol_primitives::hex_hash")]
    content_hash: Hash,
    /// Number and stage on the chain, if it was asked and has admitted the manifest.
    manifest: Option<ManifestId>,
    status: Option<ManifestStatus>,
    /// Digest of the list, which a retirement can name as its evidence.
    #[serde(with = "pol_primitives::hex_hash")]
    evidence: Hash,
    shards: BTreeSet<u32>,
    documents: Vec<OptedOut>,
}

/// Document in shards that is opted out.
#[derive(Debug, PartialEq, Eq, Serialize)]
struct OptedOut {
    /// Place that it came from.
    place: String,
    /// BLAKE3 of the raw document.
    #[serde(with = "pol_primitives::hex_hash")]
    raw: Hash,
    /// Rule that drops it from later data.
    rule: String,
    /// Place of the opted-out document that this one is like, if it is not opted out itself.
    #[serde(skip_serializing_if = "Option::is_none")]
    like: Option<String>,
    shards: Vec<u32>,
}

/// Documents that were dropped because others are like them: the clean text of those that stay, and
/// places and entries of those that are opted out.
type Survivors = BTreeMap<Hash, (String, OptOutMatch)>;

impl OptOutsOptions {
    /// Prints the manifests, shards, and documents that a list has.
    pub(crate) async fn run(self) -> Result<()> {
        let list = OptOutList::open(&self.list)?;
        let mut folders = Vec::new();
        for folder in &self.folders {
            folders.extend(data_folders(folder)?);
        }
        let count = folders.len();
        let task = tokio::task::spawn_blocking(move || find_all(&list, &folders));
        let mut affected = task.await??;
        if self.node.is_given() {
            let chain = self.node.connect().await?;
            for manifest in &mut affected {
                manifest.ask(&chain).await?;
            }
        }
        for manifest in &affected {
            if self.json {
                println!("{}", serde_json::to_string(manifest)?);
            } else {
                print!("{}", manifest.text());
            }
        }
        if affected.is_empty() && !self.json {
            println!("no shard in {count} folders has text that {} names", self.list.display());
        }
        Ok(())
    }
}

/// Finds the documents in the shards of `folders` that a list has. One that was dropped because
/// another is like it counts as that one: its text is in the shards all the same.
fn find_all(list: &OptOutList, folders: &[PathBuf]) -> Result<Vec<AffectedManifest>> {
    let mut survivors = Survivors::new();
    for folder in folders {
        for record in records(folder)? {
            let record = record?;
            if let (Some(survivor), Some(found)) = (record.survivor, entry_of(list, &record)) {
                survivors.entry(survivor).or_insert_with(|| (record.origin.place(), found));
            }
        }
    }
    let mut affected = Vec::new();
    for folder in folders {
        affected.extend(find(list, folder, &survivors)?);
    }
    Ok(affected)
}

/// Returns the records of the documents of a folder.
fn records(folder: &Path) -> Result<impl Iterator<Item = Result<DocumentRecord>>> {
    // Another folder is told by its name.
    IngestRecord::read(folder)?;
    let records = DocumentIndex::open(folder).and_then(|index| index.records());
    let records = records.with_context(|| {
        format!("{} has no records of its documents; ingest them again", folder.display())
    })?;
    Ok(records.map(|record| Ok(record?)))
}

/// Returns the kind of the entry that a list has of a document, as an ingestion would find it.
fn entry_of(list: &OptOutList, record: &DocumentRecord) -> Option<OptOutMatch> {
    list.matches(&record.origin, &record.raw).or_else(|| list.matches_hash(&record.text))
}

/// Finds the documents in the shards of a folder that a list has, or that survived instead of such.
fn find(list: &OptOutList, folder: &Path, survivors: &Survivors) -> Result<Vec<AffectedManifest>> {
    let mut sides = Vec::new();
    for side in [Side::Train, Side::HeldOut] {
        let shards = ShardFolder::open(&side_folder(folder, side))?;
        let affected = AffectedManifest {
            folder: folder.to_owned(),
            held_out: side == Side::HeldOut,
            content_hash: shards.summary().content_hash,
            manifest: None,
            status: None,
            evidence: list.digest(),
            shards: BTreeSet::new(),
            documents: Vec::new(),
        };
        sides.push((side, shards, affected));
    }
    for record in records(folder)? {
        let record = record?;
        let Some(place) = record.place else { continue };
        let (like, entry) = match (entry_of(list, &record), survivors.get(&record.text)) {
            (Some(entry), _) => (None, entry),
            (None, Some((like, entry))) => (Some(like.clone()), *entry),
            (None, None) => continue,
        };
        let side = sides.iter_mut().find(|(side, ..)| *side == place.side);
        let Some((_, shards, affected)) = side else { continue };
        // Tokens at the end of a side may have filled no shard.
        let shards = indices(shards, place);
        if shards.is_empty() {
            continue;
        }
        affected.shards.extend(&shards);
        let (place, rule) = (record.origin.place(), entry.decision().rule.into_owned());
        affected.documents.push(OptedOut { place, raw: record.raw, rule, like, shards });
    }
    let affected = sides.into_iter().map(|(_, _, affected)| affected);
    Ok(affected.filter(|manifest| !manifest.documents.is_empty()).collect())
}

impl AffectedManifest {
    /// Asks the chain for the number and the stage.
    async fn ask(&mut self, chain: &Chain) -> Result<()> {
        self.manifest = chain.manifest_of_content(&self.content_hash).await?;
        if let Some(id) = self.manifest {
            self.status = chain.manifest(id).await?.map(|manifest| manifest.status);
        }
        Ok(())
    }

    /// Returns the manifest with its documents, for people.
    fn text(&self) -> String {
        let name = match self.manifest {
            Some(id) => format!("manifest {id}"),
            None => format!("manifest of the content 0x{}", hex::encode(self.content_hash)),
        };
        let status = self.status.map(|status| format!(", {status:?}").to_lowercase());
        let mut text = format!(
            "{name}{}: {} text of {}; opted out: {} documents, in {} shards\n",
            status.unwrap_or_default(),
            if self.held_out { "held-out" } else { "training" },
            self.folder.display(),
            self.documents.len(),
            self.shards.len()
        );
        for OptedOut { place, rule, like, shards, .. } in &self.documents {
            let like = like.as_ref().map(|like| format!(", like {like}")).unwrap_or_default();
            text += &format!("  {place} ({rule}{like}): shards {shards:?}\n");
        }
        if let Some(id) = self.manifest.filter(|_| self.status != Some(ManifestStatus::Retired)) {
            text += &format!(
                "  governance can retire it: pol-trainer data retire {id} --reason opt-out \
                 --evidence {}\n",
                hex::encode(self.evidence)
            );
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn affected_manifests_are_told_with_what_to_do() {
        let document = |like: Option<&str>| OptedOut {
            place: "posts.jsonl › row 1".into(),
            raw: [1; 32],
            rule: "opt_out.host".into(),
            like: like.map(str::to_owned),
            shards: vec![4, 5],
        };
        let mut manifest = AffectedManifest {
            folder: "data".into(),
            held_out: false,
            content_hash: [2; 32],
            manifest: None,
            status: None,
            evidence: [3; 32],
            shards: BTreeSet::from([4, 5]),
            documents: vec![document(None), document(Some("https://a.org/"))],
        };
        let text = manifest.text();
        assert!(text.starts_with("manifest of the content 0x0202"), "{text}");
        assert!(text.contains("training text of data; opted out: 2 documents, in 2 shards\n"));
        assert!(text.contains("  posts.jsonl › row 1 (opt_out.host): shards [4, 5]\n"), "{text}");
        assert!(text.contains("(opt_out.host, like https://a.org/)"), "{text}");
        assert!(!text.contains("data retire"), "{text}");
        (manifest.manifest, manifest.status) = (Some(7), Some(ManifestStatus::Consumed));
        let text = manifest.text();
        assert!(text.starts_with("manifest 7, consumed: training text of data"), "{text}");
        assert!(text.contains("data retire 7 --reason opt-out --evidence 0303"), "{text}");
        manifest.status = Some(ManifestStatus::Retired);
        assert!(!manifest.text().contains("data retire"));
    }
}
