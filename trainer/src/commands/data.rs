//! From texts to manifests on chain.

use crate::cli::{DataCommand, IngestOptions, RegisterOptions};
use anyhow::{Context, Result, ensure};
use pol_chain::{Call, Chain};
use pol_data::{IngestOptions as Ingest, Ingested, ManifestSummary};
use pol_primitives::{
    MILLION, Ppm,
    data::{ManifestInfo, SourceId, Text},
};

pub async fn run(command: DataCommand) -> Result<()> {
    match command {
        DataCommand::Ingest(options) => tokio::task::spawn_blocking(move || ingest(options)).await?,
        DataCommand::Register(options) => register(options).await,
    }
}

fn ingest(options: IngestOptions) -> Result<()> {
    ensure!((0.0..=50.0).contains(&options.held_out), "--held-out is a share in percent, 0 to 50");
    let json = options.json;
    let out = options.out.clone();
    let ingested = pol_data::ingest(&Ingest {
        inputs: options.input,
        out: options.out,
        vocabulary: options.vocabulary,
        sequence: options.sequence,
        shard_tokens: options.shard_tokens,
        held_out: (options.held_out / 100.0 * f64::from(MILLION)) as Ppm,
        tokenizer: options.tokenizer,
        force: options.force,
    })?;
    if json {
        println!("{}", serde_json::to_string(&ingested)?);
    } else {
        println!(
            "{}: {} shards to train on, {} held out, {} tokens each, vocabulary {}",
            out.display(),
            ingested.train.shards,
            ingested.held_out.shards,
            ingested.shard_tokens,
            ingested.vocabulary
        );
    }
    Ok(())
}

async fn register(options: RegisterOptions) -> Result<()> {
    let signer = options.key.signer()?;
    let ingested = Ingested::read(&options.data)?;
    let chain = Chain::connect(&options.node.url).await?;
    let text = |text: &str, flag: &str| {
        Text::try_from(text.as_bytes().to_vec()).ok().with_context(|| format!("{flag} is longer than 256 bytes"))
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
            chain.submit(&signer, Call::RegisterManifest(manifest(&ingested, part, source, held_out))).await?;
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

fn manifest(ingested: &Ingested, part: &ManifestSummary, source: SourceId, held_out: bool) -> ManifestInfo {
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
