//! What the node serves over JSON-RPC, besides what every Substrate node does (`system`, `chain`,
//! `state`, `author`, and the methods of the JSON-RPC specification for Polkadot).
//!
//! | methods | what for |
//! |---|---|
//! | `pol_…` | the learning network, readable: see [`pol`] |
//! | `system_accountNextIndex`, `system_dryRun` | signing |
//! | `payment_…` | fees |
//! | `babe_…`, `grandpa_…` | block production and finality |

pub mod json;
mod pol;

use crate::service::{FullBackend, FullClient, FullPool, FullSelectChain};
use jsonrpsee::RpcModule;
use pol::{Pol, PolServer};
use pol_runtime::{BlockNumber, Hash, opaque::Block};
use polkadot_sdk::{
    pallet_transaction_payment_rpc::{TransactionPayment, TransactionPaymentApiServer},
    sc_consensus_babe::BabeWorkerHandle,
    sc_consensus_babe_rpc::{Babe, BabeApiServer},
    sc_consensus_grandpa::{
        FinalityProofProvider, GrandpaJustificationStream, SharedAuthoritySet, SharedVoterState,
    },
    sc_consensus_grandpa_rpc::{Grandpa, GrandpaApiServer},
    sc_rpc::SubscriptionTaskExecutor,
    sp_keystore::KeystorePtr,
    substrate_frame_rpc_system::{System, SystemApiServer},
};
use std::{error::Error, sync::Arc};

/// What the methods answer from.
pub struct Deps {
    /// Blocks, states and the runtime.
    pub client: Arc<FullClient>,
    /// Transactions waiting for a block.
    pub pool: Arc<FullPool>,
    /// Which fork is the best.
    pub select_chain: FullSelectChain,
    /// The node's keys.
    pub keystore: KeystorePtr,
    /// Epochs of BABE.
    pub babe_worker: BabeWorkerHandle<Block>,
    /// GRANDPA's voters.
    pub authority_set: SharedAuthoritySet<Hash, BlockNumber>,
    /// GRANDPA's round under way.
    pub voter_state: SharedVoterState,
    /// Proofs of finality as they are made.
    pub justifications: GrandpaJustificationStream<Block>,
    /// Proofs of finality made earlier.
    pub finality_proofs: Arc<FinalityProofProvider<FullBackend, Block>>,
}

/// All methods; `executor` runs their subscriptions.
pub fn create(
    deps: &Deps,
    executor: SubscriptionTaskExecutor,
) -> Result<RpcModule<()>, Box<dyn Error + Send + Sync>> {
    let client = || deps.client.clone();
    let mut module = RpcModule::new(());
    module.merge(System::new(client(), deps.pool.clone()).into_rpc())?;
    module.merge(TransactionPayment::new(client()).into_rpc())?;
    module.merge(
        Babe::new(
            client(),
            deps.babe_worker.clone(),
            deps.keystore.clone(),
            deps.select_chain.clone(),
        )
        .into_rpc(),
    )?;
    module.merge(
        Grandpa::new(
            executor,
            deps.authority_set.clone(),
            deps.voter_state.clone(),
            deps.justifications.clone(),
            deps.finality_proofs.clone(),
        )
        .into_rpc(),
    )?;
    module.merge(Pol::new(client()).into_rpc())?;
    Ok(module)
}
