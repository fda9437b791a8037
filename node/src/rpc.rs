// SPDX-License-Identifier: Apache-2.0

//! JSON-RPC methods of the node, in addition to those of every Substrate node (`system`, `chain`,
//! `state`, `author`, and the JSON-RPC specification for Polkadot).
//!
//! | methods | purpose |
//! |---|---|
//! | `pol_…` | state of the learning network, as readable JSON: see [`pol`] |
//! | `system_accountNextIndex`, `system_dryRun` | signing |
//! | `payment_…` | fees |
//! | `babe_…`, `grandpa_…` | block production and finality |

mod address;
mod explanation;
pub(crate) mod json;
mod pol;

use crate::client::{FullBackend, FullClient, FullPool, FullSelectChain};
use address::{Checked, NoncesServer, REPLACED};
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

/// Components of the node that the methods need.
pub(crate) struct Deps {
    /// Access to blocks, states and the runtime.
    pub(crate) client: Arc<FullClient>,
    /// Pool of transactions that wait for a block.
    pub(crate) pool: Arc<FullPool>,
    /// Rule that picks the best fork.
    pub(crate) select_chain: FullSelectChain,
    /// Keys of the node.
    pub(crate) keystore: KeystorePtr,
    /// Source of BABE epoch data.
    pub(crate) babe_worker: BabeWorkerHandle<Block>,
    /// Voters of GRANDPA.
    pub(crate) authority_set: SharedAuthoritySet<Hash, BlockNumber>,
    /// Current voting round of GRANDPA.
    pub(crate) voter_state: SharedVoterState,
    /// Stream of new finality proofs.
    pub(crate) justifications: GrandpaJustificationStream<Block>,
    /// Stored finality proofs.
    pub(crate) finality_proofs: Arc<FinalityProofProvider<FullBackend, Block>>,
}

/// Creates the module with all methods. `executor` runs their subscriptions.
pub(crate) fn create(
    deps: &Deps,
    executor: SubscriptionTaskExecutor,
) -> Result<RpcModule<()>, Box<dyn Error + Send + Sync>> {
    let client = || deps.client.clone();
    let mut module = RpcModule::new(());
    let system = || System::<_, _, Block>::new(client(), deps.pool.clone());
    let mut methods = system().into_rpc();
    for name in REPLACED {
        methods.remove_method(name);
    }
    module.merge(methods)?;
    module.merge(Checked(system()).into_rpc())?;
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
