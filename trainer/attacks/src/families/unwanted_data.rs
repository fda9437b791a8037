// SPDX-License-Identifier: Apache-2.0

//! Data that nobody admitted, put forward to be trained on and measured on.

use crate::{
    attackers::accounts,
    network::{self, Network, TRAINERS},
    scenario::{Family, Scenario, Setup},
    tally::Tally,
};
use anyhow::{Context, Result};
use futures::FutureExt;
use pol_chain::{Call, ChainError, Signer};
use pol_primitives::data::{MAX_SHARDS, ManifestId, ManifestInfo, ShortText, SourceKind};

pub(super) static FAMILY: Family = Family {
    name: "unwanted-data",
    scenarios: &[Scenario {
        name: "flooded-pool",
        setup: Setup::NodeAttack(|network| flood_pool(network).boxed_local()),
        act: "Registers the largest manifest there can be, tries to admit it, copies the content \
              hash of the honest data, and reports that data as unavailable.",
        expect: "Only the registration is included. Leases and probes of the next rounds hold \
                 honest shards only.",
    }],
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
    let flood = ManifestInfo { content_hash, shards: MAX_SHARDS, ..info };
    network.chain.submit(stranger, Call::RegisterManifest(flood)).await?;
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
    let calls = [
        (Call::AdmitManifest { manifest: flood, kind: SourceKind::Pretrained }, "BadOrigin"),
        (Call::RegisterManifest(copied), "AlreadyAdmitted"),
        (Call::ReportManifest(HONEST), "NotValidator"),
        (Call::RetireManifest { manifest: HONEST, for_cause: true }, "BadOrigin"),
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
