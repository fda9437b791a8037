// SPDX-License-Identifier: Apache-2.0

//! Types of the node's client, shared by the service and JSON-RPC.

use pol_runtime::{RuntimeApi, opaque::Block};
use polkadot_sdk::{
    sc_consensus::LongestChain,
    sc_executor::WasmExecutor,
    sc_service::{TFullBackend, TFullClient},
    sc_transaction_pool::TransactionPoolHandle,
    sp_io::SubstrateHostFunctions,
};
use sp_crypto_ec_utils::bls12_381;

/// Host functions beside those of every Substrate node: pairings, for pulses of the beacon.
pub(crate) type PairingFunctions = bls12_381::host_calls::HostFunctions;
/// Host functions of the runtime.
pub(crate) type HostFunctions = (SubstrateHostFunctions, PairingFunctions);
/// Client: database, state and runtime.
pub(crate) type FullClient = TFullClient<Block, RuntimeApi, WasmExecutor<HostFunctions>>;
/// Storage of blocks and states.
pub(crate) type FullBackend = TFullBackend<Block>;
/// Rule that picks the best fork: the longest one.
pub(crate) type FullSelectChain = LongestChain<FullBackend, Block>;
/// Pool of transactions that wait for a block.
pub(crate) type FullPool = TransactionPoolHandle<Block, FullClient>;
