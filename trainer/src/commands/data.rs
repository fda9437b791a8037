// SPDX-License-Identifier: Apache-2.0

//! Texts on their way to shards, to manifests on chain, and into the model.

use super::{
    acquire::{AcquireOptions, FetchSignaturesOptions},
    admission::{
        self, AdmitOptions, KindOption, ListOptions, ManifestOptions, ReportOptions, RetireOptions,
    },
    catalogue::CatalogueOptions,
    data_report::SummaryOptions,
    describe::DescribeOptions,
    governance::govern,
    held_out_text::FetchHeldOutOptions,
    ingest::IngestOptions,
    opt_outs::OptOutsOptions,
    parents::{DerivingActivity, StatedParents},
    prove::{ProveOptions, VerifyOptions},
    redraw::RedrawOptions,
    registration::{Registrar, Terms, UNKNOWN_LICENCE},
    trace::TraceOptions,
    train_quality::TrainQualityOptions,
    withdrawal::WithdrawOptions,
};
use crate::options::{KeyOptions, NodeOptions};
use anyhow::Result;
use clap::{Args, Subcommand};
use pol_chain::{Call, Chain, Signer};
use pol_primitives::data::{ManifestId, ManifestStatus, SourceKind};
use std::path::PathBuf;

const REGISTER_EXAMPLES: &str = "\
Examples:
  pol-trainer data register --dev-account alice --data data --admit dataset
      on a dev chain, where alice decides
  pol-trainer data register --key-file key.json --data data \\
      --address https://example.org/texts --licence CC-BY-4.0
  pol-trainer data register --key-file key.json --data translated --licence CC-BY-4.0 \\
      --parent 3 --activity transformation
      text that was made from that of manifest 3

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
  pol-trainer data retire 3 --reason licence --for-cause --key-file authority.json
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
  pol-trainer data list --json
      one JSON object per line
  pol-trainer data list --parent 3
      what was made from manifest 3, to retire it too when manifest 3 is";

/// Subcommands of `data`.
#[derive(Subcommand)]
#[command(after_help = DATA_EXAMPLES)]
pub(crate) enum DataCommand {
    /// Fill a network's data from its sources: files, data sets, the web, and recipes.
    Acquire(AcquireOptions),
    /// Show data sets of a hub that `data acquire` knows by a name.
    Catalogue(CatalogueOptions),
    /// Clean texts, train or reuse a tokenizer, and cut the tokens into shards.
    Ingest(IngestOptions),
    /// Make signatures of what others registered, to compare texts with.
    FetchSignatures(FetchSignaturesOptions),
    /// Fetch the text that models are measured on, to keep passages of it out of new data.
    FetchHeldOut(FetchHeldOutOptions),
    /// Train a model of quality on good and poor texts, and measure it.
    TrainQuality(TrainQualityOptions),
    /// Sum up ingested folders: sources, quality, drops, and languages.
    Summary(SummaryOptions),
    /// Register an ingested folder on the chain: a source, a training manifest and a held-out one.
    Register(RegisterOptions),
    /// List manifests, with their stages and kinds.
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
    /// Find documents in shards whose owners opted out since, and their manifests.
    OptOuts(OptOutsOptions),
    /// Withdraw manifests and sources of this account, and get their deposits back.
    Withdraw(WithdrawOptions),
    /// Follow a shard or a passage back to its source and forward to the model.
    Trace(TraceOptions),
    /// Prove that a document is in the shards of a folder, or is not.
    Prove(ProveOptions),
    /// Verify such a proof against the chain.
    Verify(VerifyOptions),
    /// Describe a manifest in the Croissant format.
    Describe(DescribeOptions),
    /// Make documents of a recipe again, and compare them with those of a folder.
    Redraw(RedrawOptions),
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
    /// SPDX identifier of the licence. By default the chain is told that nothing is stated about
    /// it.
    #[arg(long, value_name = "SPDX", default_value = UNKNOWN_LICENCE)]
    licence: String,
    /// Number of a manifest that the text was made from. Can be repeated, up to 8 times.
    ///
    /// Manifests of this chain that documents name as those that they were derived from are parents
    /// too, as those of a data set that `data describe` described. No text can be made from a
    /// manifest that was retired for an opt-out, a licence, a contamination, or for cause.
    #[arg(long, value_name = "MANIFEST")]
    parent: Vec<ManifestId>,
    /// Way in which the text was made from that of its parents. [default: selection]
    #[arg(long, value_enum, value_name = "ACTIVITY")]
    activity: Option<DerivingActivity>,
}

/// Runs a subcommand of `data`.
pub(crate) async fn run(command: DataCommand) -> Result<()> {
    match command {
        DataCommand::Acquire(options) => options.run().await,
        DataCommand::Catalogue(options) => options.run(),
        DataCommand::Ingest(options) => tokio::task::spawn_blocking(move || options.run()).await?,
        DataCommand::FetchSignatures(options) => options.run().await,
        DataCommand::FetchHeldOut(options) => options.run().await,
        DataCommand::TrainQuality(options) => {
            tokio::task::spawn_blocking(move || options.run()).await?
        }
        DataCommand::Summary(options) => options.run().await,
        DataCommand::Register(options) => register(options).await,
        DataCommand::List(options) => admission::list(options).await,
        DataCommand::Admit(options) => admission::admit(options).await,
        DataCommand::Pause(options) => options.pause().await,
        DataCommand::Resume(options) => options.resume().await,
        DataCommand::Retire(options) => admission::retire(options).await,
        DataCommand::Report(options) => options.report().await,
        DataCommand::OptOuts(options) => options.run().await,
        DataCommand::Withdraw(options) => options.run().await,
        DataCommand::Trace(options) => options.run().await,
        DataCommand::Prove(options) => tokio::task::spawn_blocking(move || options.run()).await?,
        DataCommand::Verify(options) => options.run().await,
        DataCommand::Describe(options) => options.run().await,
        DataCommand::Redraw(options) => tokio::task::spawn_blocking(move || options.run()).await?,
    }
}

/// Registers a source and its manifests on the chain, as far as they are not there.
async fn register(options: RegisterOptions) -> Result<()> {
    let signer = options.key.signer()?;
    let parents = StatedParents::new(&options.parent, options.activity)?;
    let terms = Terms::new(&options.address, &options.licence)?.with_parents(parents);
    let chain = options.node.connect().await?;
    let registrar = Registrar { chain: &chain, signer: &signer, held_out: true, limit: None };
    let registration = registrar.register(&options.data, &terms, async || Ok(())).await?;
    for manifest in registration.manifests {
        let id = manifest.id;
        println!(
            "{} manifest {id}: {} shards of {}{}",
            if manifest.is_new { "registered" } else { "registered before:" },
            manifest.shards,
            options.data.display(),
            if manifest.held_out { ", held out" } else { "" }
        );
        if manifest.status == ManifestStatus::Proposed {
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
    let outcome = govern(chain, signer, Call::AdmitManifest { manifest, kind }).await?;
    println!("manifest {manifest}: {}", outcome.describe("admitted"));
    Ok(())
}
