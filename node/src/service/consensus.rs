// SPDX-License-Identifier: Apache-2.0

//! Block production by BABE and finality by GRANDPA.

use super::{
    NodeHandles,
    equivocations::{NoReports, ReportingImport},
};
use crate::client::{FullBackend, FullClient, FullPool, FullSelectChain};
use pol_runtime::{BlockNumber, Hash, opaque::Block};
use polkadot_sdk::{
    sc_basic_authorship::ProposerFactory,
    sc_consensus::DefaultImportQueue,
    sc_consensus_babe::{
        self as babe, BabeBlockImport, BabeLink, BabeWorkerHandle, SlotProportion,
    },
    sc_consensus_grandpa::{self as grandpa, GrandpaBlockImport, LinkHalf, SharedVoterState},
    sc_consensus_slots::{BackoffAuthoringOnFinalizedHeadLagging, InherentDataProviderExt},
    sc_network::{
        ProtocolName,
        service::traits::{NetworkService, NotificationService},
    },
    sc_network_sync::SyncingService,
    sc_service::{Configuration, Role, TaskManager, config::PrometheusConfig, error::Error},
    sc_telemetry::Telemetry,
    sc_transaction_pool_api::OffchainTransactionPoolFactory,
    sp_blockchain::HeaderBackend,
    sp_consensus_babe::{
        Slot,
        inherents::{BabeCreateInherentDataProviders, InherentDataProvider as SlotProvider},
    },
    sp_inherents::CreateInherentDataProviders,
    sp_keystore::KeystorePtr,
    sp_timestamp::InherentDataProvider as TimestampProvider,
};
use std::{sync::Arc, time::Duration};

/// Longest distance between two finality proofs, in blocks; nodes sync from these proofs.
const JUSTIFICATION_PERIOD: u32 = 512;
/// Time in which a GRANDPA message is expected to reach all voters.
const GOSSIP_DURATION: Duration = Duration::from_millis(333);
/// Slower production while finality lags, so that few blocks are lost if it goes another way. A
/// session keeps some blocks, since elections replace absent authorities.
const BACKOFF: BackoffAuthoringOnFinalizedHeadLagging<BlockNumber> =
    BackoffAuthoringOnFinalizedHeadLagging {
        max_interval: 10,
        unfinalized_slack: 100,
        authoring_bias: 4,
    };
/// Part of a slot spent on proposing a block. The rest lets the block reach the other nodes.
const PROPOSAL_SLOT_PORTION: f32 = 0.5;

type FullGrandpaImport = GrandpaBlockImport<FullBackend, Block, FullClient, FullSelectChain>;
type Inherents = BabeCreateInherentDataProviders<Block>;
type FullBabeImport =
    BabeBlockImport<Block, FullClient, FullGrandpaImport, Inherents, FullSelectChain>;
type FullBlockImport = ReportingImport<FullBabeImport>;
type GrandpaLink = LinkHalf<Block, FullClient, FullSelectChain>;

/// Parts of consensus that every command builds.
pub(crate) struct ConsensusParts {
    pub(super) babe: BabeParts,
    pub(super) grandpa_link: GrandpaLink,
    pub(super) telemetry: Option<Telemetry>,
}

/// Parts of block production.
pub(super) struct BabeParts {
    block_import: FullBlockImport,
    inherents: Inherents,
    link: BabeLink<Block>,
    pub(super) worker: BabeWorkerHandle<Block>,
}

/// GRANDPA's notification protocol and the node's end of it.
pub(super) struct GrandpaChannel {
    pub(super) protocol: ProtocolName,
    pub(super) notifications: Box<dyn NotificationService>,
}

/// Settings of consensus from the command line.
pub(super) struct ConsensusSettings {
    pub(super) role: Role,
    pub(super) enable_grandpa: bool,
    force_authoring: bool,
    node_name: String,
    prometheus: Option<PrometheusConfig>,
}

impl ConsensusSettings {
    pub(super) fn new(config: &Configuration) -> Self {
        Self {
            role: config.role,
            enable_grandpa: !config.disable_grandpa,
            force_authoring: config.force_authoring,
            node_name: config.network.node_name.clone(),
            prometheus: config.prometheus_config.clone(),
        }
    }
}

/// Builds the queue that verifies and imports blocks.
pub(super) fn new_import_queue(
    config: &Configuration,
    client: &Arc<FullClient>,
    select_chain: &FullSelectChain,
    transaction_pool: &Arc<FullPool>,
    task_manager: &TaskManager,
    keystore: KeystorePtr,
    telemetry: Option<Telemetry>,
) -> Result<(DefaultImportQueue<Block>, ConsensusParts), Error> {
    let telemetry_handle = || telemetry.as_ref().map(Telemetry::handle);
    let (grandpa_import, grandpa_link) = grandpa::block_import(
        client.clone(),
        JUSTIFICATION_PERIOD,
        client,
        select_chain.clone(),
        telemetry_handle(),
    )?;

    let babe_config = babe::configuration(&**client)?;
    let slot_duration = babe_config.slot_duration();
    let inherents: Inherents = Arc::new(move |_, ()| async move {
        let timestamp = TimestampProvider::from_system_time();
        Ok((SlotProvider::from_timestamp_and_slot_duration(*timestamp, slot_duration), timestamp))
    });
    let (babe_import, link) = babe::block_import(
        babe_config,
        grandpa_import.clone(),
        client.clone(),
        inherents.clone(),
        select_chain.clone(),
        OffchainTransactionPoolFactory::new(NoReports),
    )?;
    let pool = OffchainTransactionPoolFactory::new(transaction_pool.clone());
    let block_import =
        ReportingImport::new(babe_import, client.clone(), keystore, pool, slot_duration);
    let (import_queue, worker) = babe::import_queue(babe::ImportQueueParams {
        link: link.clone(),
        block_import: block_import.clone(),
        justification_import: Some(Box::new(grandpa_import)),
        client: client.clone(),
        slot_duration,
        spawner: &task_manager.spawn_essential_handle(),
        registry: config.prometheus_registry(),
        telemetry: telemetry_handle(),
    })?;
    let babe = BabeParts { block_import, inherents, link, worker };
    Ok((import_queue, ConsensusParts { babe, grandpa_link, telemetry }))
}

/// Fails if the slot that this machine's clock says is before the slot of the block to build on.
///
/// The runtime would trap on such a block.
fn check_clock(
    client: &FullClient,
    parent: Hash,
    slot: Slot,
) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
    let header = client.expect_header(parent)?;
    let parent_slot = babe::find_pre_digest::<Block>(&header)?.slot();
    if slot < parent_slot {
        let number = header.number;
        return Err(format!(
            "the clock of this machine is behind that of others: block {number} is of slot \
             {parent_slot}, and the clock says {slot}; set the clock right, for example by NTP"
        )
        .into());
    }
    Ok(())
}

impl NodeHandles {
    /// Starts the task that produces blocks in the authority's slots.
    pub(super) fn start_block_production(
        &self,
        settings: &ConsensusSettings,
        babe: BabeParts,
        sync_service: Arc<SyncingService<Block>>,
    ) -> Result<(), Error> {
        let proposer_factory = ProposerFactory::new(
            self.spawn.clone(),
            self.client.clone(),
            self.transaction_pool.clone(),
            settings.prometheus.as_ref().map(|config| &config.registry),
            self.telemetry.clone(),
        );
        let (client, inherents) = (self.client.clone(), babe.inherents);
        let worker = babe::start_babe(babe::BabeParams {
            keystore: self.keystore.clone(),
            client: self.client.clone(),
            select_chain: self.select_chain.clone(),
            env: proposer_factory,
            block_import: babe.block_import,
            sync_oracle: sync_service.clone(),
            justification_sync_link: sync_service,
            create_inherent_data_providers: move |parent, ()| {
                let (client, inherents) = (client.clone(), inherents.clone());
                async move {
                    let inherents = inherents.create_inherent_data_providers(parent, ()).await?;
                    check_clock(&client, parent, inherents.slot())?;
                    Ok(inherents)
                }
            },
            force_authoring: settings.force_authoring,
            backoff_authoring_blocks: Some(BACKOFF),
            babe_link: babe.link,
            block_proposal_slot_portion: SlotProportion::new(PROPOSAL_SLOT_PORTION),
            max_block_proposal_slot_portion: None,
            telemetry: self.telemetry.clone(),
        })?;
        self.spawn_essential.spawn_blocking("babe-proposer", Some("block-authoring"), worker);
        Ok(())
    }

    /// Starts the task that votes on finality, or follows the votes if the node is no authority.
    pub(super) fn start_finality(
        &self,
        settings: &ConsensusSettings,
        link: GrandpaLink,
        channel: GrandpaChannel,
        network: Arc<dyn NetworkService>,
        sync_service: Arc<SyncingService<Block>>,
        voter_state: SharedVoterState,
    ) -> Result<(), Error> {
        let pool = OffchainTransactionPoolFactory::new(self.transaction_pool.clone());
        let voter = grandpa::run_grandpa_voter(grandpa::GrandpaParams {
            config: grandpa::Config {
                gossip_duration: GOSSIP_DURATION,
                justification_generation_period: JUSTIFICATION_PERIOD,
                observer_enabled: false,
                local_role: settings.role,
                name: Some(settings.node_name.clone()),
                // Without keys the node follows the votes and casts none.
                keystore: settings.role.is_authority().then(|| self.keystore.clone()),
                telemetry: self.telemetry.clone(),
                protocol_name: channel.protocol,
            },
            link,
            network,
            sync: Arc::new(sync_service),
            notification_service: channel.notifications,
            voting_rule: grandpa::VotingRulesBuilder::default().build(),
            prometheus_registry: settings.prometheus.as_ref().map(|config| config.registry.clone()),
            shared_voter_state: voter_state,
            telemetry: self.telemetry.clone(),
            offchain_tx_pool_factory: pool,
        })?;
        self.spawn_essential.spawn_blocking("grandpa-voter", None, voter);
        Ok(())
    }
}
