// SPDX-License-Identifier: Apache-2.0

//! `data trace`: from a shard or a passage back to its source and forward to the model, and from a
//! round back to its shards.

use crate::{
    display::short_hash,
    documents::{documents_of_shard, parse_shard_id, shards_of, side_folder},
    options::NodeOptions,
};
use anyhow::{Context, Result, ensure};
use clap::Args;
use pol_chain::{AccountId, Chain, format_account};
use pol_corpus::{DocumentRecord, Side, Verdict};
use pol_data::{IngestRecord, ShardFolder, documents::search};
use pol_primitives::{
    RoundNumber,
    data::{Manifest, ShardId, ShardRecord, ShortText, Source},
    head::{Head, RoundRecord},
};
use serde_json::{Value, json};
use std::{
    collections::{BTreeMap, btree_map::Entry},
    ops::ControlFlow,
    path::{Path, PathBuf},
};

use super::progress::progress_bar;

const TRACE_EXAMPLES: &str = "\
Examples:
  pol-trainer data trace 0/17
      shard 17 of manifest 0: its source, and the update that trained on it
  pol-trainer data trace 0/17 --data data
      the documents in it as well, as its provider
  pol-trainer data trace --data data --passage 'It was the best of times'
      the documents that say so: their pages, and the heads that learned from them
  pol-trainer data trace --round 7
      the shards that the updates of round 7 trained on";

/// Documents that a passage is looked for in, at most.
const MAX_DOCUMENTS: usize = 20;

/// Options of `data trace`.
#[derive(Args)]
#[command(after_help = TRACE_EXAMPLES)]
pub(crate) struct TraceOptions {
    #[command(flatten)]
    node: NodeOptions,
    /// Shard: the number of its manifest and its index in it.
    #[arg(value_name = "MANIFEST/INDEX", value_parser = parse_shard_id)]
    #[arg(required_unless_present_any = ["passage", "round"])]
    shard: Option<ShardId>,
    /// Folder made by `data ingest`, which holds the records of the documents.
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
    /// Passage to look for in the folder.
    #[arg(long, value_name = "TEXT", requires = "data", conflicts_with = "shard")]
    passage: Option<String>,
    /// Round to follow back to the shards that its updates trained on.
    #[arg(long, value_name = "N", conflicts_with_all = ["shard", "data"])]
    round: Option<RoundNumber>,
    /// Print JSON, an object per line.
    #[arg(long)]
    json: bool,
}

impl TraceOptions {
    /// Prints the lineage of a shard, a passage, or a round.
    pub(crate) async fn run(self) -> Result<()> {
        if let Some(folder) = &self.data {
            // Another folder is told by its name.
            IngestRecord::read(folder)?;
        }
        if let Some(shard) = self.shard {
            let chain = self.node.connect().await?;
            let trace = ShardTrace::read(&chain, shard).await?;
            let documents = match self.data {
                Some(folder) => trace.documents(&folder)?,
                None => Vec::new(),
            };
            if self.json {
                println!("{}", trace.json(&documents));
            } else {
                trace.print();
                documents.iter().for_each(print_document);
            }
            return Ok(());
        }
        if let Some(round) = self.round {
            return trace_round(&self.node.connect().await?, round, self.json).await;
        }
        let (Some(folder), Some(passage)) = (self.data, self.passage) else {
            anyhow::bail!("name a shard, a round, or a passage with --passage and --data");
        };
        ensure!(!passage.trim().is_empty(), "the passage is empty; give some words of it");
        let bar = progress_bar(self.json, "{spinner} {pos} documents searched");
        let found = tokio::task::spawn_blocking({
            let folder = folder.clone();
            move || {
                let found = search(&folder, &passage, MAX_DOCUMENTS, |number| {
                    bar.set_position(number);
                    ControlFlow::Continue(())
                });
                bar.finish_and_clear();
                found
            }
        });
        let found = found.await??;
        ensure!(
            !found.is_empty(),
            "no document in {} has this passage; it may have been cut by a rule, or be spread over \
             two pieces of a long document",
            folder.display()
        );
        let chain = self.node.connect().await?;
        for record in &found {
            trace_document(&chain, &folder, record, self.json).await?;
        }
        Ok(())
    }
}

/// Prints a document, and what became of its shards.
async fn trace_document(
    chain: &Chain,
    folder: &Path,
    record: &DocumentRecord,
    as_json: bool,
) -> Result<()> {
    let mut traces = Vec::new();
    if let Some(place) = record.place {
        let (shards, indices) = shards_of(folder, place)?;
        if let Some(manifest) = chain.manifest_of_content(&shards.content_hash).await? {
            for index in indices {
                traces.push(ShardTrace::read(chain, ShardId { manifest, index }).await?);
            }
        }
    }
    if as_json {
        let shards: Vec<Value> = traces.iter().map(|trace| trace.json(&[])).collect();
        println!("{}", json!({ "document": record, "shards": shards }));
        return Ok(());
    }
    print_document(record);
    if traces.is_empty() {
        println!("  the chain has admitted no manifest with its shards");
    }
    for trace in &traces {
        trace.print();
    }
    Ok(())
}

/// Prints the shards of the updates of a round that are part of the model.
async fn trace_round(chain: &Chain, round: RoundNumber, as_json: bool) -> Result<()> {
    let record = chain
        .round_record(round)
        .await?
        .with_context(|| format!("the chain has no record of round {round}"))?;
    let shards = chain.shards_of_round(round).await?;
    ensure!(
        !shards.is_empty(),
        "no shard of round {round} is part of the model; audits of its updates may still be open"
    );
    let mut kinds = BTreeMap::new();
    for (id, shard) in shards {
        if let Entry::Vacant(entry) = kinds.entry(id.manifest) {
            entry.insert(chain.manifest(id.manifest).await?.and_then(|manifest| manifest.kind));
        }
        let (trainer, kind) = (trainer_of(&record, &shard)?, kinds[&id.manifest]);
        if as_json {
            let delta = f64::from(shard.delta) / 1e9;
            println!(
                "{}",
                json!({ "shard": id, "kind": kind, "trainer": trainer, "delta": delta })
            );
        } else {
            let kind = kind.map_or("no kind".into(), |kind| format!("{kind:?}").to_lowercase());
            println!("shard {}/{}: {kind}, trained on by {trainer}", id.manifest, id.index);
        }
    }
    Ok(())
}

/// Returns the address of the account whose update of a round trained on a shard.
fn trainer_of(record: &RoundRecord<AccountId>, shard: &ShardRecord) -> Result<String> {
    let trainer = record.revealed.get(usize::from(shard.index)).map(format_account);
    trainer.context("the round has no such update")
}

fn print_document(record: &DocumentRecord) {
    let origin = &record.origin;
    let part = if origin.part.is_empty() {
        String::new()
    } else {
        format!(", part {}", origin.part.join("/"))
    };
    println!("document {} of {}{part}", origin.location, origin.source);
    println!(
        "  raw {}, text {}, extracted by {} {}",
        short_hash(&record.raw),
        short_hash(&record.text),
        record.extractor.name,
        record.extractor.version
    );
    if let Some(licence) = &origin.licence {
        println!("  licence {licence}");
    }
    for signal in &origin.signals {
        println!("  signal {signal}");
    }
    if let Some(quality) = record.quality {
        println!("  quality {:.1} %", f64::from(quality) / 1e4);
    }
    let changed: Vec<&str> = record
        .decisions
        .iter()
        .filter(|decision| decision.verdict == Verdict::Changed)
        .map(|decision| &*decision.rule)
        .collect();
    if !changed.is_empty() {
        println!("  changed by {}", changed.join(", "));
    }
    if let Some(reference) = &record.reference {
        println!("  shares a passage with {}, which nobody may train on", short_hash(reference));
    }
}

/// History of a shard.
struct ShardTrace {
    id: ShardId,
    source: Source<AccountId>,
    manifest: Manifest<AccountId>,
    /// Consumption by a lease, if the shard is part of the model.
    consumption: Option<Consumption>,
}

/// Training of a shard as part of the model.
struct Consumption {
    shard: ShardRecord,
    trainer: String,
    head: Option<Head>,
}

impl ShardTrace {
    async fn read(chain: &Chain, id: ShardId) -> Result<Self> {
        let manifest = chain
            .manifest(id.manifest)
            .await?
            .with_context(|| format!("the chain has no manifest {}", id.manifest))?;
        let info = &manifest.info;
        ensure!(
            id.index < info.shards,
            "manifest {} has shards 0 to {}",
            id.manifest,
            info.shards.saturating_sub(1)
        );
        let source = chain
            .source(info.source)
            .await?
            .with_context(|| format!("the chain has no source {}", info.source))?;
        let consumption = match chain.shard_record(id).await? {
            Some(shard) => Some(Consumption::read(chain, shard).await?),
            None => None,
        };
        Ok(Self { id, source, manifest, consumption })
    }

    /// Returns the documents of a folder whose tokens are in the shard.
    fn documents(&self, folder: &Path) -> Result<Vec<DocumentRecord>> {
        let side = if self.manifest.info.held_out { Side::HeldOut } else { Side::Train };
        let content = ShardFolder::open(&side_folder(folder, side))?.summary().content_hash;
        ensure!(
            content == self.manifest.info.content_hash,
            "{} does not hold manifest {}; name the folder that it was registered from",
            folder.display(),
            self.id.manifest
        );
        Ok(documents_of_shard(folder, side, self.id.index, usize::MAX)?)
    }

    fn json(&self, documents: &[DocumentRecord]) -> Value {
        let (source, manifest) = (&self.source, &self.manifest);
        let info = &manifest.info;
        let consumed = self.consumption.as_ref().map(|Consumption { shard, trainer, head }| {
            let delta = f64::from(shard.delta) / 1e9;
            json!({ "round": shard.round, "trainer": trainer, "delta": delta, "head": head })
        });
        json!({
                "shard": self.id,
                "source": {
                    "id": info.source,
                    "address": lossy(&source.address),
                    "licence": lossy(&source.licence),
                    "owner": format_account(&source.owner),
                },
                "manifest": {
                    "id": self.id.manifest,
                    "owner": format_account(&manifest.owner),
                    "parents": info.parents.as_slice(),
                    "registered": manifest.registered,
                    "contentHash": format!("0x{}", hex::encode(info.content_hash)),
                    "status": manifest.status,
                    "kind": manifest.kind,
                    "heldOut": info.held_out,
                },
                "consumed": consumed,
                "documents": documents,
        })
    }

    fn print(&self) {
        let (source, info, index) = (&self.source, &self.manifest.info, self.id.index);
        println!(
            "source {}: {} ({}), registered by {}",
            info.source,
            lossy(&source.address),
            lossy(&source.licence),
            format_account(&source.owner)
        );
        let parents = if info.parents.is_empty() {
            String::new()
        } else {
            format!(", made from manifests {:?}", info.parents)
        };
        println!(
            "manifest {}: {} shards, {}, content {}{parents}",
            self.id.manifest,
            info.shards,
            self.manifest.kind.map_or("no kind yet".into(), |kind| format!("{kind:?}")),
            short_hash(&info.content_hash)
        );
        match &self.consumption {
            Some(Consumption { shard, trainer, head }) => {
                let head = head.as_ref().map_or(String::new(), |head| {
                    format!(", which is part of the model {}", short_hash(&head.root))
                });
                println!("shard {index}: trained on by {trainer} in round {}{head}", shard.round);
                let improvement = f64::from(shard.delta) / 1e9;
                println!("improvement of its loss: {improvement:+.6} nats per token");
            }
            None if info.held_out => println!("shard {index}: held out, never trained on"),
            None => println!("shard {index}: not part of the model"),
        }
    }
}

impl Consumption {
    async fn read(chain: &Chain, shard: ShardRecord) -> Result<Self> {
        let record = chain
            .round_record(shard.round)
            .await?
            .with_context(|| format!("the chain has no record of round {}", shard.round))?;
        Ok(Self { shard, trainer: trainer_of(&record, &shard)?, head: record.head })
    }
}

fn lossy(text: &ShortText) -> String {
    String::from_utf8_lossy(text).into_owned()
}
