//! From texts to manifests on chain.

use crate::{
    cli::{DataCommand, IngestOptions, RegisterOptions, TraceOptions},
    peer::short,
};
use anyhow::{Context, Result, ensure};
use pol_chain::{Call, Chain, format_account};
use pol_data::{EndOfText, IngestOptions as Ingest, Ingested, ManifestSummary};
use pol_import::describe;
use pol_primitives::{
    MILLION, Ppm,
    data::{ManifestInfo, ShardId, SourceId, Text},
};
use serde_json::json;
use std::path::Path;

pub async fn run(command: DataCommand) -> Result<()> {
    match command {
        DataCommand::Ingest(options) => {
            tokio::task::spawn_blocking(move || ingest(options)).await?
        }
        DataCommand::Register(options) => register(options).await,
        DataCommand::Trace(options) => trace(options).await,
    }
}

fn ingest(options: IngestOptions) -> Result<()> {
    ensure!((0.0..=50.0).contains(&options.held_out), "--held-out is a share in percent, 0 to 50");
    let json = options.json;
    let out = options.out.clone();
    let end_of_text = match (options.end_of_text, &options.tokenizer) {
        (Some(name), _) => EndOfText::Named(name),
        (None, Some(tokenizer)) => ends_beside(tokenizer),
        (None, None) => EndOfText::Known,
    };
    let ingested = pol_data::ingest(&Ingest {
        inputs: options.input,
        out: options.out,
        vocabulary: options.vocabulary,
        sequence: options.sequence,
        shard_tokens: options.shard_tokens,
        held_out: (options.held_out / 100.0 * f64::from(MILLION)) as Ppm,
        tokenizer: options.tokenizer,
        end_of_text,
        force: options.force,
    })?;
    if json {
        println!("{}", serde_json::to_string(&ingested)?);
    } else {
        println!(
            "{}: {} shards to train on, {} held out, {} tokens each, vocabulary {}, {} between texts",
            out.display(),
            ingested.train.shards,
            ingested.held_out.shards,
            ingested.shard_tokens,
            ingested.vocabulary,
            ingested.end_of_text
        );
    }
    Ok(())
}

/// What the model whose folder a tokenizer is in ends its texts with, if it is an imported one.
fn ends_beside(tokenizer: &Path) -> EndOfText {
    let model = tokenizer.parent().and_then(|folder| describe(folder).ok());
    model.map_or(EndOfText::Known, |(_, report)| EndOfText::Model(report.special.end))
}

async fn register(options: RegisterOptions) -> Result<()> {
    let signer = options.key.signer()?;
    let ingested = Ingested::read(&options.data)?;
    let chain = Chain::connect(&options.node.url).await?;
    let text = |text: &str, flag: &str| {
        Text::try_from(text.as_bytes().to_vec())
            .ok()
            .with_context(|| format!("{flag} is longer than 256 bytes"))
    };
    let call = Call::RegisterSource {
        kind: options.kind.into(),
        address: text(&options.address, "--address")?,
        licence: text(&options.licence, "--licence")?,
    };
    chain.submit(&signer, call).await?;
    // The newest source of this account is the one just made, whatever others registered meanwhile.
    let mut source = None;
    for id in 0.. {
        let Some(found) = chain.source(id).await? else { break };
        if found.owner == signer.account() {
            source = Some(id);
        }
    }
    let source = source.context("the source is not on the best chain any more; run this again")?;
    for (part, held_out) in [(&ingested.train, false), (&ingested.held_out, true)] {
        if part.shards > 0 {
            chain
                .submit(
                    &signer,
                    Call::RegisterManifest(manifest(&ingested, part, source, held_out)),
                )
                .await?;
            println!(
                "registered {} shards of {}{}",
                part.shards,
                options.data.display(),
                if held_out { ", held out" } else { "" }
            );
        }
    }
    Ok(())
}

/// Follows a shard from where its text was found to what it did to the model.
async fn trace(options: TraceOptions) -> Result<()> {
    let chain = Chain::connect(&options.node.url).await?;
    let ShardId { manifest: id, index } = options.shard;
    let manifest =
        chain.manifest(id).await?.with_context(|| format!("the chain has no manifest {id}"))?;
    let info = &manifest.info;
    ensure!(index < info.shards, "manifest {id} has shards 0 to {}", info.shards.saturating_sub(1));
    let source = chain
        .source(info.source)
        .await?
        .with_context(|| format!("the chain has no source {}", info.source))?;
    let [address, licence] =
        [&source.address, &source.licence].map(|text| String::from_utf8_lossy(text).into_owned());
    let consumed = match chain.shard(options.shard).await? {
        Some(shard) => {
            let record = chain
                .round_record(shard.round)
                .await?
                .with_context(|| format!("no record of round {}", shard.round))?;
            let trainer = record.revealed.get(usize::from(shard.index)).map(format_account);
            Some((shard, trainer.context("the round has no such update")?, record.head))
        }
        None => None,
    };
    let kind = source.kind;
    if options.json {
        let consumed = consumed.map(|(shard, trainer, head)| {
            let delta = f64::from(shard.delta) / 1e6;
            json!({ "round": shard.round, "trainer": trainer, "delta": delta, "head": head })
        });
        println!(
            "{}",
            json!({
                "shard": options.shard,
                "source": { "id": info.source, "kind": kind, "address": address, "licence": licence, "owner": format_account(&source.owner) },
                "manifest": {
                    "id": id, "owner": format_account(&manifest.owner), "parents": info.parents.as_slice(), "registered": manifest.registered,
                    "contentHash": format!("0x{}", hex::encode(info.content_hash)), "heldOut": info.held_out,
                },
                "consumed": consumed,
            })
        );
        return Ok(());
    }
    println!(
        "source {}: {address} ({kind:?}, {licence}), registered by {}",
        info.source,
        format_account(&source.owner)
    );
    let parents = if info.parents.is_empty() {
        String::new()
    } else {
        format!(", made from manifests {:?}", info.parents)
    };
    println!(
        "manifest {id}: {} shards, content {}{parents}",
        info.shards,
        short(&info.content_hash)
    );
    match consumed {
        Some((shard, trainer, head)) => {
            let head = head.map_or(String::new(), |head| {
                format!(", which is part of the model {}", short(&head.root))
            });
            println!("shard {index}: trained on by {trainer} in round {}{head}", shard.round);
            println!("improvement on it: {:+.6} nats a token", f64::from(shard.delta) / 1e6);
        }
        None if info.held_out => println!("shard {index}: held out, never trained on"),
        None => println!("shard {index}: not part of the model"),
    }
    Ok(())
}

fn manifest(
    ingested: &Ingested,
    part: &ManifestSummary,
    source: SourceId,
    held_out: bool,
) -> ManifestInfo {
    ManifestInfo {
        source,
        merkle_root: part.merkle_root,
        content_hash: part.content_hash,
        tokenizer: ingested.tokenizer,
        shards: part.shards,
        shard_tokens: ingested.shard_tokens,
        parents: Default::default(),
        quality: MILLION,
        held_out,
    }
}
