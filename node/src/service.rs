// SPDX-License-Identifier: Apache-2.0

//! Assembly of a node from its components.

mod consensus;
mod equivocations;
mod reserved_peers;

use crate::{
    client::{FullBackend, FullClient, FullPool, FullSelectChain},
    rpc,
};
use consensus::{ConsensusParts, ConsensusSettings, GrandpaChannel};
use futures::FutureExt;
use pol_runtime::{Hash, RuntimeApi, opaque::Block};
use polkadot_sdk::{
    sc_client_api::{Backend, BlockBackend},
    sc_consensus::{DefaultImportQueue, LongestChain},
    sc_consensus_grandpa::{self as grandpa, FinalityProofProvider, SharedVoterState},
    sc_network::{
        NetworkBackend, NotificationMetrics, config::FullNetworkConfiguration,
        service::traits::NetworkService,
    },
    sc_offchain::{OffchainWorkerOptions, OffchainWorkers},
    sc_service::{
        self, BuildNetworkParams, Configuration, PartialComponents, SpawnEssentialTaskHandle,
        SpawnTaskHandle, SpawnTasksParams, TaskManager, WarpSyncConfig, error::Error,
    },
    sc_telemetry::{self, Telemetry, TelemetryHandle, TelemetryWorker},
    sc_transaction_pool,
    sc_transaction_pool_api::OffchainTransactionPoolFactory,
    sp_keystore::KeystorePtr,
};
use reserved_peers::keep_reserved_peers;
use std::sync::Arc;

/// Capacity of the telemetry worker's queue, in messages.
const TELEMETRY_QUEUE_SIZE: usize = 16;

/// Components that every command builds.
pub(crate) type PartialService = PartialComponents<
    FullClient,
    FullBackend,
    FullSelectChain,
    DefaultImportQueue<Block>,
    FullPool,
    ConsensusParts,
>;

/// Builds the components that run without a network.
pub(crate) fn new_partial(config: &Configuration) -> Result<PartialService, Error> {
    let telemetry = new_telemetry(config)?;
    let (client, backend, keystore_container, task_manager) =
        sc_service::new_full_parts::<Block, RuntimeApi, _>(
            config,
            telemetry.as_ref().map(|(_, telemetry)| telemetry.handle()),
            sc_service::new_wasm_executor(&config.executor),
            // Blocks with finality proofs outlive pruning, so that others can sync from them.
            vec![Arc::new(grandpa::GrandpaPruningFilter)],
        )?;
    let client = Arc::new(client);
    let telemetry = telemetry.map(|(worker, telemetry)| {
        task_manager.spawn_handle().spawn("telemetry", None, worker.run());
        telemetry
    });
    let select_chain = LongestChain::new(backend.clone());
    let transaction_pool = Arc::new(
        sc_transaction_pool::Builder::new(
            task_manager.spawn_essential_handle(),
            client.clone(),
            config.role.is_authority().into(),
        )
        .with_options(config.transaction_pool.clone())
        .with_prometheus(config.prometheus_registry())
        .build(),
    );
    let (import_queue, consensus) = consensus::new_import_queue(
        config,
        &client,
        &select_chain,
        &transaction_pool,
        &task_manager,
        keystore_container.keystore(),
        telemetry,
    )?;
    Ok(PartialComponents {
        client,
        backend,
        task_manager,
        import_queue,
        keystore_container,
        select_chain,
        transaction_pool,
        other: consensus,
    })
}

/// Creates the telemetry worker, if the configuration names endpoints.
fn new_telemetry(
    config: &Configuration,
) -> Result<Option<(TelemetryWorker, Telemetry)>, sc_telemetry::Error> {
    let endpoints = config.telemetry_endpoints.clone();
    endpoints
        .filter(|endpoints| !endpoints.is_empty())
        .map(|endpoints| {
            let worker = TelemetryWorker::new(TELEMETRY_QUEUE_SIZE)?;
            let telemetry = worker.handle().new_telemetry(endpoints);
            Ok((worker, telemetry))
        })
        .transpose()
}

/// Builds and starts a node.
pub(crate) fn new_full<N: NetworkBackend<Block, Hash>>(
    config: Configuration,
) -> Result<TaskManager, Error> {
    let parts = new_partial(&config)?;
    let handles = NodeHandles::new(&parts);
    let setup = NetworkSetup::<N>::new(&config, &parts)?;
    let PartialComponents { mut task_manager, import_queue, other: mut consensus, .. } = parts;
    let (network, system_rpc_tx, tx_handler_controller, sync_service, _) =
        sc_service::build_network(BuildNetworkParams {
            config: &config,
            net_config: setup.net_config,
            client: handles.client.clone(),
            transaction_pool: handles.transaction_pool.clone(),
            spawn_handle: handles.spawn.clone(),
            spawn_essential_handle: handles.spawn_essential.clone(),
            import_queue,
            block_announce_validator_builder: None,
            warp_sync_config: Some(setup.warp_sync),
            block_relay: None,
            metrics: setup.metrics,
            gap_sync_body_policy: None,
        })?;
    if config.offchain_worker.enabled {
        handles.start_offchain_workers(config.role.is_authority(), network.clone());
    }

    let reserved = &config.network.default_peers_set.reserved_nodes;
    let reserved = reserved.iter().map(|peer| peer.peer_id).collect();
    let keep = keep_reserved_peers(handles.client.clone(), network.clone(), reserved);
    handles.spawn.spawn("reserved-peers", None, keep);

    let settings = ConsensusSettings::new(&config);
    let voter_state = SharedVoterState::empty();
    let rpc_deps = handles.rpc_deps(&consensus, &voter_state);
    sc_service::spawn_tasks(SpawnTasksParams {
        config,
        client: handles.client.clone(),
        backend: handles.backend.clone(),
        task_manager: &mut task_manager,
        keystore: handles.keystore.clone(),
        transaction_pool: handles.transaction_pool.clone(),
        rpc_builder: Box::new(move |executor| rpc::create(&rpc_deps, executor).map_err(Into::into)),
        network: network.clone(),
        system_rpc_tx,
        tx_handler_controller,
        sync_service: sync_service.clone(),
        telemetry: consensus.telemetry.as_mut(),
        tracing_execute_block: None,
    })?;

    if settings.role.is_authority() {
        handles.start_block_production(&settings, consensus.babe, sync_service.clone())?;
    }
    if settings.enable_grandpa {
        let (link, channel) = (consensus.grandpa_link, setup.grandpa);
        handles.start_finality(&settings, link, channel, network, sync_service, voter_state)?;
    }
    Ok(task_manager)
}

/// Configuration of the network, with the protocol of GRANDPA.
struct NetworkSetup<N: NetworkBackend<Block, Hash>> {
    net_config: FullNetworkConfiguration<Block, Hash, N>,
    metrics: NotificationMetrics,
    warp_sync: WarpSyncConfig<Block>,
    grandpa: GrandpaChannel,
}

impl<N: NetworkBackend<Block, Hash>> NetworkSetup<N> {
    fn new(config: &Configuration, parts: &PartialService) -> Result<Self, Error> {
        let metrics = N::register_notification_metrics(config.prometheus_registry());
        let mut net_config = FullNetworkConfiguration::<Block, _, N>::new(
            &config.network,
            config.prometheus_registry().cloned(),
        );
        let genesis = parts
            .client
            .block_hash(0)?
            .ok_or_else(|| Error::Other("the database has no genesis block".into()))?;
        let protocol = grandpa::protocol_standard_name(&genesis, &config.chain_spec);
        let (peers, notifications) = grandpa::grandpa_peers_set_config::<_, N>(
            protocol.clone(),
            metrics.clone(),
            net_config.peer_store_handle(),
        );
        net_config.add_notification_protocol(peers);
        let warp_sync = Arc::new(grandpa::warp_proof::NetworkProvider::new(
            parts.backend.clone(),
            parts.other.grandpa_link.shared_authority_set().clone(),
            Vec::default(),
        ));
        Ok(Self {
            net_config,
            metrics,
            warp_sync: WarpSyncConfig::WithProvider(warp_sync),
            grandpa: GrandpaChannel { protocol, notifications },
        })
    }
}

/// Handles to the node's components, used by the steps that start it.
struct NodeHandles {
    client: Arc<FullClient>,
    backend: Arc<FullBackend>,
    select_chain: FullSelectChain,
    transaction_pool: Arc<FullPool>,
    keystore: KeystorePtr,
    spawn: SpawnTaskHandle,
    spawn_essential: SpawnEssentialTaskHandle,
    telemetry: Option<TelemetryHandle>,
}

impl NodeHandles {
    fn new(parts: &PartialService) -> Self {
        Self {
            client: parts.client.clone(),
            backend: parts.backend.clone(),
            select_chain: parts.select_chain.clone(),
            transaction_pool: parts.transaction_pool.clone(),
            keystore: parts.keystore_container.keystore(),
            spawn: parts.task_manager.spawn_handle(),
            spawn_essential: parts.task_manager.spawn_essential_handle(),
            telemetry: parts.other.telemetry.as_ref().map(Telemetry::handle),
        }
    }

    /// Starts the off-chain workers. A system without certificates has none: the library asks for
    /// those although no worker may make requests.
    fn start_offchain_workers(&self, is_validator: bool, network: Arc<dyn NetworkService>) {
        let pool = OffchainTransactionPoolFactory::new(self.transaction_pool.clone());
        let workers = match OffchainWorkers::new(OffchainWorkerOptions {
            runtime_api_provider: self.client.clone(),
            is_validator,
            keystore: Some(self.keystore.clone()),
            offchain_db: self.backend.offchain_storage(),
            transaction_pool: Some(pool),
            network_provider: Arc::new(network),
            enable_http_requests: false,
            custom_extensions: |_| Vec::new(),
        }) {
            Ok(workers) => workers,
            Err(error) => {
                log::warn!("off-chain workers do not run: {error}; install ca-certificates");
                return;
            }
        };
        self.spawn.spawn(
            "offchain-workers-runner",
            "offchain-worker",
            workers.run(self.client.clone(), self.spawn.clone()).boxed(),
        );
    }

    fn rpc_deps(&self, consensus: &ConsensusParts, voter_state: &SharedVoterState) -> rpc::Deps {
        let authority_set = consensus.grandpa_link.shared_authority_set();
        rpc::Deps {
            client: self.client.clone(),
            pool: self.transaction_pool.clone(),
            select_chain: self.select_chain.clone(),
            keystore: self.keystore.clone(),
            babe_worker: consensus.babe.worker.clone(),
            authority_set: authority_set.clone(),
            voter_state: voter_state.clone(),
            justifications: consensus.grandpa_link.justification_stream(),
            finality_proofs: FinalityProofProvider::new_for_service(
                self.backend.clone(),
                Some(authority_set.clone()),
            ),
        }
    }
}
