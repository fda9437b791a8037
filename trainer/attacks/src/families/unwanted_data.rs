// SPDX-License-Identifier: Apache-2.0

//! Data that nobody admitted, put forward to be trained on and measured on, and data that nobody
//! can fetch or read.

use super::floods;
use crate::{
    attackers::{FUNDS, accounts},
    network::{self, Network, TRAINERS, VALIDATORS},
    scenario::{Family, Scenario, Setup},
    scripted::ScriptedTrainer,
    sites,
    tally::Tally,
};
use anyhow::{Context, Result};
use futures::{FutureExt, future::join_all};
use pol_chain::{AccountId, Call, ChainError, Signer};
use pol_primitives::{
    Balance, Hash, POL, RoundNumber,
    data::{MAX_SHARDS, ManifestId, ManifestInfo, ManifestStatus, ShortText, SourceKind},
    lineage::{Retirement, RetirementReason},
    member::Role,
    submission::Outcome,
    trace::merkle_root,
};
use pol_trainer::{
    context::NodeContext, error::RoleError, options::SwarmOptions, state::StateFolder,
};
use std::net::UdpSocket;
use tokio::task::JoinHandle;

pub(super) static FAMILY: Family = Family {
    name: "unwanted-data",
    scenarios: &[
        Scenario {
            name: "flooded-pool",
            setup: Setup::Quiet(|network| flood_pool(network).boxed_local()),
            act: "Registers the largest manifest there can be, tries to admit it, copies the \
                  content hash of the honest data, and reports that data as unavailable.",
            expect: "Only the registration is included. Leases and probes of the next rounds hold \
                     honest shards only.",
        },
        Scenario {
            name: "unserved-data",
            setup: Setup::NodeAttack(|network| starve(network).boxed_local()),
            act: "Has three manifests admitted: serves one to nobody, of another one only the list \
                  of shards at 4 KB/s, and of the third shards that are no text.",
            expect: "Updates whose probe is of these shards are valid, validators' reports burn \
                     all deposits, no honest member loses 1 POL, and both honest trainers are in \
                     a head again.",
        },
    ],
};

/// Manifest of the network's data.
const HONEST: ManifestId = 0;
/// Rounds whose leases are looked at.
const ROUNDS: u32 = 2;

async fn flood_pool(network: &Network) -> Result<Tally> {
    let stranger = network::signer("ferdie")?;
    let flood = register_flood(network, &stranger).await?;
    let refusals = refused_calls(network, &stranger, flood).await?;
    let foreign = foreign_shards(network).await?;
    let passed = refusals.iter().all(|(expected, found)| expected == found) && foreign == 0;
    let found: Vec<_> = refusals.iter().map(|(_, found)| found.as_str()).collect();
    let note = format!(
        "refused with {}; {foreign} foreign shards in leases and probes of {ROUNDS} rounds",
        found.join(", ")
    );
    let count = refusals.len() as u64;
    let refused = refusals.iter().filter(|(expected, found)| expected == found).count() as u64;
    Ok(Tally::tried(count, refused).passed(passed, note))
}

/// Registers a manifest of a million shards and returns its id.
async fn register_flood(network: &Network, stranger: &Signer) -> Result<ManifestId> {
    let (address, licence) = (ShortText::default(), ShortText::default());
    network.chain.submit(stranger, Call::RegisterSource { address, licence }).await?;
    let info = stranger_info(network).await?;
    let content_hash = pol_primitives::digest(b"pol/attacks/near duplicates", &0);
    let flood = ManifestInfo { content_hash, shards: MAX_SHARDS, documents: None, ..info };
    network.chain.submit(stranger, Call::RegisterManifest(Box::new(flood))).await?;
    Ok(network.chain.manifest_count().await?.saturating_sub(1))
}

/// Returns the description of the honest data, as if made from the newest source.
async fn stranger_info(network: &Network) -> Result<ManifestInfo> {
    let honest = network.chain.manifest(HONEST).await?.context("the data is registered")?;
    let source = network.chain.source_count().await?.saturating_sub(1);
    Ok(ManifestInfo { source, ..honest.info })
}

/// Sends calls that must be refused; returns the expected and the actual error of each.
async fn refused_calls(
    network: &Network,
    stranger: &Signer,
    flood: ManifestId,
) -> Result<Vec<(&'static str, String)>> {
    let copied = ManifestInfo { merkle_root: [7; 32], ..stranger_info(network).await? };
    let retirement =
        Retirement { reason: RetirementReason::Other, evidence: None, for_cause: true };
    let calls = [
        (Call::AdmitManifest { manifest: flood, kind: SourceKind::Pretrained }, "BadOrigin"),
        (Call::RegisterManifest(Box::new(copied)), "AlreadyAdmitted"),
        (Call::ReportManifest(HONEST), "NotValidator"),
        (Call::RetireManifest { manifest: HONEST, retirement }, "BadOrigin"),
    ];
    let mut refusals = Vec::new();
    for (call, expected) in calls {
        let found = match network.chain.submit(stranger, call).await {
            Ok(_) => "nothing".to_owned(),
            Err(ChainError::Refused { error, .. }) => error,
            Err(error) => return Err(error.into()),
        };
        refusals.push((expected, found));
    }
    Ok(refusals)
}

/// Returns the number of shards of other manifests in the leases and probes of the next rounds.
async fn foreign_shards(network: &Network) -> Result<usize> {
    let (honest, mut foreign) = (accounts(TRAINERS)?, 0);
    let first = network.chain.overview().await?.round.number + 1;
    for round in first..first + ROUNDS {
        let train = || async {
            let overview = network.chain.overview().await?;
            Ok((overview.round.number > round).then_some(()))
        };
        network.until("rounds go on beside a flood of proposals", 90, train).await?;
        for account in &honest {
            let lease = network.chain.audited_lease(round, account).await?;
            let shards = lease.into_iter().flat_map(|lease| lease.shards);
            foreign += shards.filter(|shard| shard.manifest != HONEST).count();
        }
        let audits = network.chain.audits().await?;
        let probes = audits.iter().flat_map(|(_, audit)| &audit.probe);
        foreign += probes.filter(|shard| shard.manifest != HONEST).count();
    }
    Ok(foreign)
}

// ---- Data that nobody can fetch or read ----

/// Provider of shards that are no text.
const NOISE: &str = "noise-provider";
/// Provider that serves nothing.
const UNSERVED: &str = "attacker-unserved";
/// Provider that serves slowly.
const TARPIT: &str = "attacker-tarpit";
/// Bytes that pass to and from the slow provider in a second.
const DRIP: u32 = 4_000;
/// Shards of each of the manifests. Their list has 128 KiB.
const SHARDS: u32 = 4_096;
/// Smallest deposit of a manifest.
const DEPOSIT: Balance = 100 * POL;
/// Longest wait in blocks for the settlement of a round.
const SETTLEMENT_BLOCKS: u32 = 160;
/// Longest wait in blocks for a lease of the next round.
const LEASE_BLOCKS: u32 = 90;
/// Longest wait in blocks for reports to be counted.
const REPORT_BLOCKS: u32 = 20;

async fn starve(network: &Network) -> Result<Tally> {
    let members = VALIDATORS.iter().map(|(name, _)| *name).chain(TRAINERS);
    let (members, owners) = (accounts(members)?, accounts([UNSERVED, TARPIT, NOISE])?);
    let before = network.holds(&members).await?;
    network.fund([UNSERVED, TARPIT, NOISE], FUNDS).await?;
    let (tarpit, noise) = (Tarpit::start(network).await?, serve_noise(network).await?);
    let manifests = [
        propose(network, UNSERVED, &invented_hashes(UNSERVED)).await?,
        propose(network, TARPIT, &invented_hashes(TARPIT)).await?,
        propose(network, NOISE, &noise_hashes(network)).await?,
    ];
    // The leases of this round are of honest data. Its probe is drawn from all.
    let round = floods::wait_for_training(network).await?;
    let kind = SourceKind::Dataset;
    let admit = |manifest| Call::AdmitManifest { manifest, kind };
    network.govern(manifests.map(admit)).await?;
    let probed = foreign_probe(network, round, &manifests).await?;
    // The registrations are final by now.
    let deposits = network.holds(&owners).await?;
    let leased = foreign_lease(network, round, &manifests).await?;
    report_all(network, &manifests).await?;
    let outcomes = honest_outcomes(network, round).await?;
    let now = network.chain.overview().await?.round.number;
    floods::wait_for_honest_heads(network, now, 1).await?;
    tarpit.stop(network).await?;
    noise.submit(Call::Unbond).await?;
    let burned = lost(&deposits, &network.holds(&owners).await?);
    let wronged = lost(&before, &network.holds(&members).await?);
    let wronged = wronged.into_iter().filter(|lost| *lost >= POL).count();
    let valid = outcomes.iter().filter(|outcome| **outcome == Outcome::Valid).count();
    let passed = (probed > 0 && valid > 0 && valid == outcomes.len())
        && burned.iter().all(|lost| *lost >= DEPOSIT)
        && wronged == 0;
    let note = format!(
        "{probed} shards of a probe and {leased} of a lease were of no use; {valid} of {} \
         honest updates valid; deposits of {} POL burned; {wronged} honest members lost 1 POL",
        outcomes.len(),
        burned.iter().sum::<Balance>() / POL
    );
    Ok(Tally::tried(3, 3).slashed(3).false_positives(wronged as u64).passed(passed, note))
}

/// Returns the difference of each balance.
fn lost(before: &[Balance], after: &[Balance]) -> Vec<Balance> {
    before.iter().zip(after).map(|(before, after)| before.saturating_sub(*after)).collect()
}

/// Returns the hashes of shards that do not exist.
fn invented_hashes(owner: &str) -> Vec<Hash> {
    let hash = |shard: u32| pol_primitives::digest(b"pol/attacks/shard", &(owner, shard));
    (0..SHARDS).map(hash).collect()
}

/// Returns a shard of the right length whose tokens are in no vocabulary.
fn noise_shard(network: &Network) -> Vec<u8> {
    vec![u8::MAX; (network.recipe.shard_tokens as usize + 1) * size_of::<u32>()]
}

/// Returns the hashes of shards that are all the same noise.
fn noise_hashes(network: &Network) -> Vec<Hash> {
    vec![*blake3::hash(&noise_shard(network)).as_bytes(); SHARDS as usize]
}

/// Starts a member that serves noise.
async fn serve_noise(network: &Network) -> Result<ScriptedTrainer<'_>> {
    let member = ScriptedTrainer::start(network, NOISE).await?;
    member.add_blob(noise_hashes(network).concat()).await?;
    member.add_blob(noise_shard(network)).await?;
    Ok(member)
}

/// Registers a manifest of shards with these hashes, and returns its id.
async fn propose(network: &Network, owner: &str, hashes: &[Hash]) -> Result<ManifestId> {
    let signer = network::signer(owner)?;
    let (address, licence) = (ShortText::default(), ShortText::default());
    network.chain.submit(&signer, Call::RegisterSource { address, licence }).await?;
    let info = ManifestInfo {
        content_hash: *blake3::hash(&hashes.concat()).as_bytes(),
        merkle_root: merkle_root(hashes),
        shards: SHARDS,
        documents: None,
        ..stranger_info(network).await?
    };
    network.chain.submit(&signer, Call::RegisterManifest(Box::new(info))).await?;
    Ok(network.chain.manifest_count().await?.saturating_sub(1))
}

/// A member that serves the list of its shards over a slow path.
struct Tarpit {
    context: NodeContext,
    path: JoinHandle<()>,
}

impl Tarpit {
    async fn start(network: &Network) -> Result<Self> {
        // The port is free again once the socket is gone.
        let listen = UdpSocket::bind("127.0.0.1:0")?.local_addr()?;
        let entry = tokio::net::UdpSocket::bind("127.0.0.1:0").await?;
        let swarm = SwarmOptions { listen, advertise: vec![entry.local_addr()?] };
        let folder = StateFolder::open(&network.path(TARPIT))?;
        let context = NodeContext::start(network.chain.clone(), &swarm, folder).await?;
        let member = context.ensure_member(&network::signer(TARPIT)?, Role::Trainer).await;
        member.map_err(RoleError::into_inner)?;
        context.swarm.add(invented_hashes(TARPIT).concat().into(), "tarpit").await?;
        let path = tokio::spawn(sites::relay_slowly(entry, listen, DRIP));
        Ok(Self { context, path })
    }

    async fn stop(self, network: &Network) -> Result<()> {
        self.path.abort();
        network.chain.submit(&network::signer(TARPIT)?, Call::Unbond).await?;
        Ok(self.context.swarm.shutdown().await?)
    }
}

/// Waits until the audit of a round is drawn, and returns the number of shards of the manifests in
/// its probe.
async fn foreign_probe(
    network: &Network,
    round: RoundNumber,
    manifests: &[ManifestId],
) -> Result<usize> {
    let drawn = || async {
        let audits = network.chain.audits().await?;
        let audit = audits.into_iter().find(|(_, audit)| audit.round == round);
        let count = |(_, audit): (_, pol_primitives::audit::Audit<AccountId>)| {
            audit.probe.iter().filter(|shard| manifests.contains(&shard.manifest)).count()
        };
        Ok(audit.map(count))
    };
    network.until("the round's audit is drawn", LEASE_BLOCKS, drawn).await
}

/// Waits until an honest trainer has a lease with shards of the manifests, and returns their
/// number.
async fn foreign_lease(
    network: &Network,
    after: RoundNumber,
    manifests: &[ManifestId],
) -> Result<usize> {
    let honest = accounts(TRAINERS)?;
    let leased = || async {
        for account in &honest {
            let lease = network.chain.lease(account).await?;
            let shards = lease.into_iter().filter(|lease| lease.due_round > after);
            let shards = shards.flat_map(|lease| lease.shards);
            let foreign = shards.filter(|shard| manifests.contains(&shard.manifest)).count();
            if foreign > 0 {
                return Ok(Some(foreign));
            }
        }
        Ok(None)
    };
    network.until("a lease has shards that nobody serves", LEASE_BLOCKS, leased).await
}

/// Lets every honest validator try to fetch the manifests' shards and report what it cannot, as the
/// released program does.
async fn report_all(network: &Network, manifests: &[ManifestId]) -> Result<()> {
    let names = VALIDATORS.iter().map(|(name, _)| *name);
    let pairs = names.flat_map(|name| manifests.iter().map(move |manifest| (name, manifest)));
    let reports = join_all(pairs.map(|(name, manifest)| async move {
        network.run_as(name, &["data", "report", &manifest.to_string()]).await
    }));
    // A report after the quorum is refused.
    let failures: Vec<String> =
        reports.await.into_iter().filter_map(|report| Some(report.err()?.to_string())).collect();
    let paused = || async {
        for manifest in manifests {
            let record = network.chain.manifest(*manifest).await?;
            if record.is_none_or(|record| record.status != ManifestStatus::Paused) {
                return Ok(None);
            }
        }
        Ok(Some(()))
    };
    let paused = network.until("the reported manifests are paused", REPORT_BLOCKS, paused).await;
    paused.with_context(|| failures.join("; "))
}

/// Waits until all updates of a round are settled, and returns the outcomes of honest ones.
async fn honest_outcomes(network: &Network, round: RoundNumber) -> Result<Vec<Outcome>> {
    let honest = accounts(TRAINERS)?;
    let settled = || async {
        if !network.chain.submissions(round).await?.is_empty() {
            return Ok(None);
        }
        let history = network.chain.history(round).await?;
        let own = history.into_iter().filter(|(account, _)| honest.contains(account));
        Ok(Some(own.map(|(_, record)| record.outcome).collect()))
    };
    network.until("the probed round is settled", SETTLEMENT_BLOCKS, settled).await
}
