// SPDX-License-Identifier: Apache-2.0

//! Texts on their way to shards, to manifests on chain, and into the model.

use super::{
    admission::{
        self, AdmitOptions, KindOption, ListOptions, ManifestOptions, ReportOptions, RetireOptions,
    },
    governance::describe_decision,
};
use crate::{
    display::short_hash,
    options::{KeyOptions, NodeOptions},
};
use anyhow::{Context, Result, bail, ensure};
use clap::{Args, Subcommand};
use pol_chain::{AccountId, Call, Chain, Signer, format_account};
use pol_data::{EndOfText, IngestConfig, IngestRecord, ManifestSummary};
use pol_import::describe;
use pol_primitives::{
    Hash, MILLION, Ppm,
    data::{
        Manifest, ManifestId, ManifestInfo, ShardId, ShardRecord, ShortText, Source, SourceId,
        SourceKind,
    },
    head::Head,
};
use serde_json::json;
use std::path::{Path, PathBuf};

const INGEST_EXAMPLES: &str = "\
Examples:
  pol-trainer data ingest --input texts --out data
      train a tokenizer on the texts and cut them into shards
  pol-trainer data ingest --input texts --out data --tokenizer smollm2/tokenizer.json
      use the tokenizer of an imported model";

const REGISTER_EXAMPLES: &str = "\
Examples:
  pol-trainer data register --dev-account alice --data data --admit dataset
      on a dev chain, where alice decides
  pol-trainer data register --key-file key.json --data data \\
      --address https://example.org/texts --licence CC-BY-4.0

A registered manifest waits until governance admits it. Members fetch the shards from you: pass
--data to `pol-trainer` to serve them.";

const DATA_EXAMPLES: &str = "\
Examples, from texts to the pool:
  pol-trainer data ingest --input texts --out data
  pol-trainer data register --key-file key.json --data data --licence CC-BY-4.0
  pol-trainer --data data --key-file key.json
      serve the shards, as a trainer
  pol-trainer data list
      the numbers of the manifests, and what became of them
  pol-trainer data admit 3 --kind web --key-file authority.json
      as two thirds of the authorities; on a dev chain: --dev-account alice
  pol-trainer data trace 3/17
      what a shard did to the model";

const ADMIT_EXAMPLES: &str = "\
Examples:
  pol-trainer data admit 3 --dev-account alice
      put manifest 3 into the pool, as a data set
  pol-trainer data admit 3 --kind synthetic --key-file authority.json
      propose it as synthetic text, or vote for that. Trainers lease pretrained corpora first, then
      data sets, web text, and synthetic text";

const PAUSE_EXAMPLES: &str = "\
Examples:
  pol-trainer data pause 3 --key-file authority.json
      no trainer leases from manifest 3 any more; open leases go on
  pol-trainer data resume 3 --key-file authority.json
      put it back, also if it was paused because its text had no effect";

const RETIRE_EXAMPLES: &str = "\
Examples:
  pol-trainer data retire 3 --key-file authority.json
      for good; the provider gets its deposit back
  pol-trainer data retire 3 --for-cause --key-file authority.json
      the deposit is burned";

const REPORT_EXAMPLES: &str = "\
Examples:
  pol-trainer data report 3 --key-file validator.json
      try to fetch shards of manifest 3; if none can be had, say so on the chain. Reports of 67 % of
      the stake pause the manifest and burn its deposit
  pol-trainer data report 3 --shard 17 --key-file validator.json
      the same for a shard whose bytes are no text of the recipe";

const LIST_EXAMPLES: &str = "\
Examples:
  pol-trainer data list --json    one JSON object per line";

const TRACE_EXAMPLES: &str = "\
Examples:
  pol-trainer data trace 0/17    shard 17 of manifest 0";

/// Subcommands of `data`.
#[derive(Subcommand)]
#[command(after_help = DATA_EXAMPLES)]
pub(crate) enum DataCommand {
    /// Clean texts, train or reuse a tokenizer, and cut the tokens into shards.
    Ingest(IngestOptions),
    /// Register an ingested folder on the chain: a source, a training manifest and a held-out one.
    Register(RegisterOptions),
    /// List all manifests, with their stages and kinds.
    #[command(after_help = LIST_EXAMPLES)]
    List(ListOptions),
    /// Admit a registered manifest to the pool, as governance.
    #[command(after_help = ADMIT_EXAMPLES)]
    Admit(AdmitOptions),
    /// Take a manifest out of the pool for now, as governance.
    #[command(after_help = PAUSE_EXAMPLES)]
    Pause(ManifestOptions),
    /// Put a paused manifest back into the pool, as governance.
    #[command(after_help = PAUSE_EXAMPLES)]
    Resume(ManifestOptions),
    /// Refuse a registered manifest, or retire an admitted one for good, as governance.
    #[command(after_help = RETIRE_EXAMPLES)]
    Retire(RetireOptions),
    /// Report as a validator that a manifest cannot be read, after trying it.
    #[command(after_help = REPORT_EXAMPLES)]
    Report(ReportOptions),
    /// Show the origin of a shard and its effect on the model.
    Trace(TraceOptions),
}

/// Options of `data ingest`.
#[derive(Args)]
#[command(after_help = INGEST_EXAMPLES)]
pub(crate) struct IngestOptions {
    /// Text file, or folder to search for .txt files. Can be repeated.
    #[arg(long, value_name = "PATH", required = true)]
    input: Vec<PathBuf>,
    /// Folder to make.
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    /// Entries of the vocabulary.
    #[arg(long, value_name = "N", default_value_t = 8_192)]
    vocabulary: u32,
    /// Tokens of a training sequence.
    #[arg(long, value_name = "N", default_value_t = 128)]
    sequence: u16,
    /// Tokens of a shard, a multiple of the sequence.
    #[arg(long, value_name = "N", default_value_t = 4_096)]
    shard_tokens: u32,
    /// Share of the text that is never trained on, in percent.
    #[arg(long, value_name = "PERCENT", default_value_t = 2.0)]
    held_out: f64,
    /// Tokenizer to use instead of training one.
    #[arg(long, value_name = "FILE")]
    tokenizer: Option<PathBuf>,
    /// Token of that tokenizer that separates texts.
    /// [default: the token with which the imported model in the tokenizer's folder ends texts;
    /// otherwise the first of the well-known tokens that end texts, or else turns of conversations]
    #[arg(long, value_name = "TOKEN", requires = "tokenizer")]
    end_of_text: Option<String>,
    /// Replace a folder made with other texts or options.
    #[arg(long)]
    force: bool,
    /// Print the result as JSON.
    #[arg(long)]
    json: bool,
}

/// Options of `data register`.
#[derive(Args)]
#[command(after_help = REGISTER_EXAMPLES)]
pub(crate) struct RegisterOptions {
    #[command(flatten)]
    node: NodeOptions,
    #[command(flatten)]
    key: KeyOptions,
    /// Folder made by `data ingest`.
    #[arg(long, value_name = "DIR")]
    data: PathBuf,
    /// Admit the text as this kind, as governance.
    #[arg(long, value_enum, value_name = "KIND")]
    admit: Option<KindOption>,
    /// Origin of the text, such as a URL; at most 256 bytes.
    #[arg(long, value_name = "TEXT", default_value = "local")]
    address: String,
    /// SPDX identifier of the licence.
    #[arg(long, value_name = "SPDX", default_value = "LicenseRef-Public-Domain")]
    licence: String,
}

/// Options of `data trace`.
#[derive(Args)]
#[command(after_help = TRACE_EXAMPLES)]
pub(crate) struct TraceOptions {
    #[command(flatten)]
    node: NodeOptions,
    /// Shard: the number of its manifest and its index in it.
    #[arg(value_name = "MANIFEST/INDEX", value_parser = parse_shard_id)]
    shard: ShardId,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

fn parse_shard_id(text: &str) -> Result<ShardId, String> {
    let parts = text
        .split_once('/')
        .and_then(|(manifest, index)| Some((manifest.parse().ok()?, index.parse().ok()?)));
    parts
        .map(|(manifest, index)| ShardId { manifest, index })
        .ok_or_else(|| "a shard is MANIFEST/INDEX, such as 0/17".into())
}

/// Runs a subcommand of `data`.
pub(crate) async fn run(command: DataCommand) -> Result<()> {
    match command {
        DataCommand::Ingest(options) => {
            tokio::task::spawn_blocking(move || ingest(options)).await?
        }
        DataCommand::Register(options) => register(options).await,
        DataCommand::List(options) => admission::list(options).await,
        DataCommand::Admit(options) => admission::admit(options).await,
        DataCommand::Pause(options) => options.pause().await,
        DataCommand::Resume(options) => options.resume().await,
        DataCommand::Retire(options) => admission::retire(options).await,
        DataCommand::Report(options) => options.report().await,
        DataCommand::Trace(options) => trace(options).await,
    }
}

/// Ingests texts and prints a summary.
fn ingest(options: IngestOptions) -> Result<()> {
    ensure!((0.0..=50.0).contains(&options.held_out), "--held-out is a share in percent, 0 to 50");
    let end_of_text = match (options.end_of_text, &options.tokenizer) {
        (Some(name), _) => EndOfText::Named(name),
        (None, Some(tokenizer)) => end_of_text_beside(tokenizer),
        (None, None) => EndOfText::Known,
    };
    let config = IngestConfig {
        inputs: options.input,
        out: options.out,
        vocabulary: options.vocabulary,
        sequence: options.sequence,
        shard_tokens: options.shard_tokens,
        held_out: (options.held_out / 100.0 * f64::from(MILLION)) as Ppm,
        tokenizer: options.tokenizer,
        end_of_text,
        force: options.force,
    };
    let record = pol_data::ingest(&config)?;
    if options.json {
        println!("{}", serde_json::to_string(&record)?);
    } else {
        println!(
            "{}: {} shards to train on, {} held out, {} tokens each, vocabulary {}, {} between \
             texts",
            config.out.display(),
            record.train.shards,
            record.held_out.shards,
            record.shard_tokens,
            record.vocabulary,
            record.end_of_text
        );
    }
    Ok(())
}

/// Returns the choice of an imported model, if the tokenizer is in the folder of one.
fn end_of_text_beside(tokenizer: &Path) -> EndOfText {
    let model = tokenizer.parent().and_then(|folder| describe(folder).ok());
    model.map_or(EndOfText::Known, |(_, report)| EndOfText::Model(report.special.end))
}

/// Registers a source and its manifests on the chain.
async fn register(options: RegisterOptions) -> Result<()> {
    let signer = options.key.signer()?;
    let record = IngestRecord::read(&options.data)?;
    let chain = options.node.connect().await?;
    let text = |text: &str, flag: &str| {
        ShortText::try_from(text.as_bytes().to_vec())
            .ok()
            .with_context(|| format!("{flag} is longer than 256 bytes"))
    };
    let call = Call::RegisterSource {
        address: text(&options.address, "--address")?,
        licence: text(&options.licence, "--licence")?,
    };
    chain.submit(&signer, call).await?;
    let source = newest_source(&chain, &signer).await?;
    for (split, held_out) in [(&record.train, false), (&record.held_out, true)] {
        if split.shards > 0 {
            let info = manifest_info(&record, split, source, held_out);
            chain.submit(&signer, Call::RegisterManifest(info)).await?;
            let id = newest_manifest(&chain, split.content_hash, source).await?;
            println!(
                "registered manifest {id}: {} shards of {}{}",
                split.shards,
                options.data.display(),
                if held_out { ", held out" } else { "" }
            );
            admit(&chain, &signer, id, options.admit).await?;
        }
    }
    Ok(())
}

/// Admits a manifest as governance, or says that it waits for that.
async fn admit(
    chain: &Chain,
    signer: &Signer,
    manifest: ManifestId,
    kind: Option<KindOption>,
) -> Result<()> {
    let Some(kind) = kind.map(SourceKind::from) else {
        println!(
            "manifest {manifest} waits until governance admits it: pol-trainer data admit \
             {manifest}"
        );
        return Ok(());
    };
    let decision = chain.govern(signer, Call::AdmitManifest { manifest, kind }).await?;
    println!("manifest {manifest}: {}", describe_decision(decision, "admitted"));
    Ok(())
}

/// Returns the newest manifest of this content from `source`.
async fn newest_manifest(
    chain: &Chain,
    content_hash: Hash,
    source: SourceId,
) -> Result<ManifestId> {
    for id in (0..chain.manifest_count().await?).rev() {
        let manifest = chain.manifest(id).await?;
        if manifest.is_some_and(|manifest| {
            (manifest.info.content_hash, manifest.info.source) == (content_hash, source)
        }) {
            return Ok(id);
        }
    }
    bail!("the manifest is not on the best chain any more; run this command again")
}

/// Returns the newest source of the signer's account. Other accounts may have registered sources
/// since.
async fn newest_source(chain: &Chain, signer: &Signer) -> Result<SourceId> {
    for id in (0..chain.source_count().await?).rev() {
        if chain.source(id).await?.is_some_and(|source| source.owner == signer.account()) {
            return Ok(id);
        }
    }
    bail!("the source is not on the best chain any more; run this command again")
}

fn manifest_info(
    record: &IngestRecord,
    split: &ManifestSummary,
    source: SourceId,
    held_out: bool,
) -> ManifestInfo {
    ManifestInfo {
        source,
        merkle_root: split.merkle_root,
        content_hash: split.content_hash,
        tokenizer: record.tokenizer,
        shards: split.shards,
        shard_tokens: record.shard_tokens,
        parents: Default::default(),
        quality: MILLION,
        held_out,
    }
}

/// Prints the origin of a shard and its effect on the model.
async fn trace(options: TraceOptions) -> Result<()> {
    let chain = options.node.connect().await?;
    let trace = ShardTrace::read(&chain, options.shard).await?;
    if options.json {
        trace.print_json();
    } else {
        trace.print();
    }
    Ok(())
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

    fn print_json(&self) {
        let (source, manifest) = (&self.source, &self.manifest);
        let info = &manifest.info;
        let consumed = self.consumption.as_ref().map(|Consumption { shard, trainer, head }| {
            let delta = f64::from(shard.delta) / 1e9;
            json!({ "round": shard.round, "trainer": trainer, "delta": delta, "head": head })
        });
        println!(
            "{}",
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
            })
        );
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
        let trainer = record.revealed.get(usize::from(shard.index)).map(format_account);
        let trainer = trainer.context("the round has no such update")?;
        Ok(Self { shard, trainer, head: record.head })
    }
}

fn lossy(text: &ShortText) -> String {
    String::from_utf8_lossy(text).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shards_have_a_manifest_and_an_index() {
        assert_eq!(parse_shard_id("3/17"), Ok(ShardId { manifest: 3, index: 17 }));
        for text in ["", "3", "3/", "/3", "3/x", "3/1/2", "-1/2"] {
            assert!(parse_shard_id(text).is_err(), "{text}");
        }
    }
}
