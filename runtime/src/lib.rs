// SPDX-License-Identifier: Apache-2.0

//! The state transition function of the POL chain: BABE and GRANDPA under an elected set of
//! authorities, the usual account pallets, and the five pallets of the learning protocol.
#![cfg_attr(not(feature = "std"), no_std)]
// The modules with items of our own turn the lint on again.
#![allow(missing_docs, reason = "FRAME's macros generate items without documentation")]
// `#[runtime]` and its tuples of pallets recurse deeply.
#![recursion_limit = "512"]

#[cfg(feature = "std")]
include!(concat!(env!("OUT_DIR"), "/wasm_binary.rs"));

extern crate alloc;

pub mod apis;
#[cfg(feature = "std")]
pub mod check;
pub mod configs;
pub mod genesis_config_presets;
pub mod migrations;
#[cfg(test)]
mod tests;

use alloc::{borrow::Cow, vec::Vec};
use polkadot_sdk::*;
use sp_runtime::{
    MultiAddress, MultiSignature, generic, impl_opaque_keys,
    traits::{BlakeTwo256, IdentifyAccount, Verify},
};
use sp_version::RuntimeVersion;

pub use apis::{RUNTIME_API_VERSIONS, RuntimeApi};
pub use pol_primitives::{Balance, POL};

/// Height of a block.
pub type BlockNumber = pol_primitives::round::BlockNumber;
/// Signature of any of the usual schemes.
pub type Signature = MultiSignature;
/// Account: the public key of its signatures, or a hash of it.
pub type AccountId = <<Signature as Verify>::Signer as IdentifyAccount>::AccountId;
/// Account in an extrinsic.
pub type Address = MultiAddress<AccountId, ()>;
/// Number of extrinsics that an account has signed.
pub type Nonce = u32;
/// Hash of the chain.
pub type Hash = sp_core::H256;
/// Header of a block.
pub type Header = generic::Header<BlockNumber, BlakeTwo256>;
/// Transaction extensions, which a signature covers in addition to the call.
pub type TxExtension = (
    frame_system::CheckNonZeroSender<Runtime>,
    frame_system::CheckSpecVersion<Runtime>,
    frame_system::CheckTxVersion<Runtime>,
    frame_system::CheckGenesis<Runtime>,
    frame_system::CheckEra<Runtime>,
    frame_system::CheckNonce<Runtime>,
    pallet_proof_of_learning::CheckAdmission<Runtime, configs::ReservedCalls>,
    frame_system::CheckWeight<Runtime>,
    pallet_transaction_payment::ChargeTransactionPayment<Runtime>,
    frame_metadata_hash_extension::CheckMetadataHash<Runtime>,
    frame_system::WeightReclaim<Runtime>,
);
/// Extrinsic.
pub type UncheckedExtrinsic =
    generic::UncheckedExtrinsic<Address, RuntimeCall, Signature, TxExtension>;
/// Payload that is signed.
pub type SignedPayload = generic::SignedPayload<RuntimeCall, TxExtension>;
/// Block.
pub type Block = generic::Block<Header, UncheckedExtrinsic>;
/// Executor of blocks.
pub type Executive = frame_executive::Executive<
    Runtime,
    Block,
    frame_system::ChainContext<Runtime>,
    Runtime,
    AllPalletsWithSystem,
>;

/// Types of the node, which do not depend on the calls of this runtime, so that the node keeps
/// working after runtime upgrades.
pub mod opaque {
    use super::*;

    pub use sp_runtime::OpaqueExtrinsic as UncheckedExtrinsic;

    /// Block with opaque extrinsics.
    pub type Block = generic::Block<Header, UncheckedExtrinsic>;
}

impl_opaque_keys! {
    /// Session keys of an authority.
    pub struct SessionKeys {
        /// Key that signs blocks.
        pub babe: Babe,
        /// Key that signs finality votes.
        pub grandpa: Grandpa,
    }
}

/// Version of the runtime. Every change of behaviour or metadata raises `spec_version`. Every
/// change of the encoding of calls or signatures raises `transaction_version`.
#[sp_version::runtime_version]
pub const VERSION: RuntimeVersion = RuntimeVersion {
    spec_name: Cow::Borrowed("pol"),
    impl_name: Cow::Borrowed("pol"),
    authoring_version: 1,
    spec_version: 12,
    impl_version: 1,
    apis: RUNTIME_API_VERSIONS,
    transaction_version: 7,
    system_version: 1,
};

/// Duration of a slot, which is the time between blocks, in milliseconds. Clients read it from the
/// metadata as the constant `ExpectedBlockTime` of `Babe`.
pub const SLOT_DURATION: u64 = 3_000;
/// Number of blocks in a minute.
pub const MINUTES: BlockNumber = 60_000 / SLOT_DURATION as BlockNumber;
/// Number of blocks in an hour.
pub const HOURS: BlockNumber = 60 * MINUTES;
/// Number of blocks in a day.
pub const DAYS: BlockNumber = 24 * HOURS;
/// Number of slots in a session. Changing it on a live chain stops block production.
pub const EPOCH_DURATION: BlockNumber = 10 * MINUTES;

/// One thousandth of a POL.
pub const MILLI_POL: Balance = POL / 1_000;
/// Minimum balance of an account.
pub const EXISTENTIAL_DEPOSIT: Balance = MILLI_POL;
/// SS58 address prefix: the generic one for Substrate chains.
pub const SS58_PREFIX: u16 = 42;

/// Returns the deposit for `items` storage items of `bytes` bytes in total.
pub const fn deposit(items: u32, bytes: u32) -> Balance {
    items as Balance * POL / 10 + bytes as Balance * MILLI_POL
}

#[frame_support::runtime]
mod runtime {
    use super::*;

    #[runtime::runtime]
    #[runtime::derive(
        RuntimeCall,
        RuntimeEvent,
        RuntimeError,
        RuntimeOrigin,
        RuntimeFreezeReason,
        RuntimeHoldReason,
        RuntimeSlashReason,
        RuntimeLockId,
        RuntimeTask,
        RuntimeViewFunction
    )]
    pub struct Runtime;

    #[runtime::pallet_index(0)]
    pub type System = frame_system::Pallet<Runtime>;
    #[runtime::pallet_index(1)]
    pub type Timestamp = pallet_timestamp::Pallet<Runtime>;

    // Balances come first, because later pallets hold funds at genesis.
    #[runtime::pallet_index(2)]
    pub type Balances = pallet_balances::Pallet<Runtime>;
    #[runtime::pallet_index(3)]
    pub type TransactionPayment = pallet_transaction_payment::Pallet<Runtime>;

    // Consensus. Staking comes before the session pallet, whose genesis asks for the authorities.
    #[runtime::pallet_index(10)]
    pub type Babe = pallet_babe::Pallet<Runtime>;
    // Not named `Staking`: wallets would treat it as Polkadot's staking pallet and query its eras.
    #[runtime::pallet_index(12)]
    pub type PolStaking = pallet_pol_staking::Pallet<Runtime>;
    #[runtime::pallet_index(13)]
    pub type Session = pallet_session::Pallet<Runtime>;
    // After the session pallet, since the first block of a session names its author by the place
    // in the new set.
    #[runtime::pallet_index(11)]
    pub type Authorship = pallet_authorship::Pallet<Runtime>;
    #[runtime::pallet_index(14)]
    pub type Historical = pallet_session::historical::Pallet<Runtime>;
    #[runtime::pallet_index(15)]
    pub type Grandpa = pallet_grandpa::Pallet<Runtime>;
    #[runtime::pallet_index(16)]
    pub type Offences = pallet_offences::Pallet<Runtime>;

    // Learning.
    #[runtime::pallet_index(20)]
    pub type Lineage = pallet_pol_lineage::Pallet<Runtime>;
    #[runtime::pallet_index(21)]
    pub type Rewards = pallet_pol_rewards::Pallet<Runtime>;
    #[runtime::pallet_index(22)]
    pub type ProofOfLearning = pallet_proof_of_learning::Pallet<Runtime>;
    #[runtime::pallet_index(24)]
    pub type Beacon = pallet_pol_beacon::Pallet<Runtime>;

    // Conveniences.
    #[runtime::pallet_index(30)]
    pub type Utility = pallet_utility::Pallet<Runtime>;
    #[runtime::pallet_index(31)]
    pub type Multisig = pallet_multisig::Pallet<Runtime>;
    #[runtime::pallet_index(32)]
    pub type Proxy = pallet_proxy::Pallet<Runtime>;

    // Governance of the development preset. Other chains have no sudo key.
    #[runtime::pallet_index(40)]
    pub type Sudo = pallet_sudo::Pallet<Runtime>;

    // Governance of other chains: the elected authorities.
    #[runtime::pallet_index(41)]
    pub type Council = pallet_collective::Pallet<Runtime, Instance1>;
    #[runtime::pallet_index(42)]
    pub type Whitelist = pallet_whitelist::Pallet<Runtime>;
}
