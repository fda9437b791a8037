//! The state transition function of the POL chain: BABE and GRANDPA under an elected set of
//! authorities, the usual account pallets, and the four pallets of the learning protocol.
#![cfg_attr(not(feature = "std"), no_std)]
// `#[runtime]` and the tuples of pallets behind it recurse deeply.
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

/// A block's height.
pub type BlockNumber = pol_primitives::round::BlockNumber;
/// A signature of any of the usual schemes.
pub type Signature = MultiSignature;
/// An account: the public key of its signatures, or a hash of it.
pub type AccountId = <<Signature as Verify>::Signer as IdentifyAccount>::AccountId;
/// An account in an extrinsic.
pub type Address = MultiAddress<AccountId, ()>;
/// How many extrinsics an account has signed.
pub type Nonce = u32;
/// A hash of the chain.
pub type Hash = sp_core::H256;
/// A block's header.
pub type Header = generic::Header<BlockNumber, BlakeTwo256>;
/// What a signature binds besides the call.
pub type TxExtension = (
    frame_system::CheckNonZeroSender<Runtime>,
    frame_system::CheckSpecVersion<Runtime>,
    frame_system::CheckTxVersion<Runtime>,
    frame_system::CheckGenesis<Runtime>,
    frame_system::CheckEra<Runtime>,
    frame_system::CheckNonce<Runtime>,
    frame_system::CheckWeight<Runtime>,
    pallet_transaction_payment::ChargeTransactionPayment<Runtime>,
    frame_metadata_hash_extension::CheckMetadataHash<Runtime>,
    frame_system::WeightReclaim<Runtime>,
);
/// An extrinsic.
pub type UncheckedExtrinsic =
    generic::UncheckedExtrinsic<Address, RuntimeCall, Signature, TxExtension>;
/// What is signed.
pub type SignedPayload = generic::SignedPayload<RuntimeCall, TxExtension>;
/// A block.
pub type Block = generic::Block<Header, UncheckedExtrinsic>;
/// Runs blocks.
pub type Executive = frame_executive::Executive<
    Runtime,
    Block,
    frame_system::ChainContext<Runtime>,
    Runtime,
    AllPalletsWithSystem,
>;

/// Types a node handles without knowing this runtime's calls, so that it survives upgrades.
pub mod opaque {
    use super::*;

    pub use sp_runtime::OpaqueExtrinsic as UncheckedExtrinsic;

    /// A block.
    pub type Block = generic::Block<Header, UncheckedExtrinsic>;
}

impl_opaque_keys! {
    /// The keys of an authority.
    pub struct SessionKeys {
        pub babe: Babe,
        pub grandpa: Grandpa,
    }
}

/// Raise `spec_version` with every change of behaviour, `transaction_version` with every change of
/// how calls or signatures are encoded.
#[sp_version::runtime_version]
pub const VERSION: RuntimeVersion = RuntimeVersion {
    spec_name: Cow::Borrowed("pol"),
    impl_name: Cow::Borrowed("pol"),
    authoring_version: 1,
    spec_version: 2,
    impl_version: 1,
    apis: RUNTIME_API_VERSIONS,
    transaction_version: 1,
    system_version: 1,
};

/// Milliseconds of a slot, and so between blocks.
pub const SLOT_DURATION: u64 = 3_000;
/// Blocks of a minute.
pub const MINUTES: BlockNumber = 60_000 / SLOT_DURATION as BlockNumber;
/// Blocks of an hour.
pub const HOURS: BlockNumber = 60 * MINUTES;
/// Blocks of a day.
pub const DAYS: BlockNumber = 24 * HOURS;
/// Slots of a session; changing it on a running chain stops block production.
pub const EPOCH_DURATION: BlockNumber = 10 * MINUTES;

/// A thousandth of a POL.
pub const MILLI_POL: Balance = POL / 1_000;
/// The least an account holds.
pub const EXISTENTIAL_DEPOSIT: Balance = MILLI_POL;
/// Address type of the chain in SS58: the one for chains without a number of their own.
pub const SS58_PREFIX: u16 = 42;

/// What `items` storage items of `bytes` bytes in all are worth while they are kept.
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

    // Money comes first: later pallets hold it at genesis.
    #[runtime::pallet_index(2)]
    pub type Balances = pallet_balances::Pallet<Runtime>;
    #[runtime::pallet_index(3)]
    pub type TransactionPayment = pallet_transaction_payment::Pallet<Runtime>;

    // Consensus. Bonds are known before the session asks who the authorities are, the author before
    // a session ends.
    #[runtime::pallet_index(10)]
    pub type Babe = pallet_babe::Pallet<Runtime>;
    #[runtime::pallet_index(11)]
    pub type Authorship = pallet_authorship::Pallet<Runtime>;
    // Not `Staking`: wallets take a pallet of that name for Polkadot's, and ask it for eras.
    #[runtime::pallet_index(12)]
    pub type PolStaking = pallet_pol_staking::Pallet<Runtime>;
    #[runtime::pallet_index(13)]
    pub type Session = pallet_session::Pallet<Runtime>;
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

    // Conveniences.
    #[runtime::pallet_index(30)]
    pub type Utility = pallet_utility::Pallet<Runtime>;
    #[runtime::pallet_index(31)]
    pub type Multisig = pallet_multisig::Pallet<Runtime>;
    #[runtime::pallet_index(32)]
    pub type Proxy = pallet_proxy::Pallet<Runtime>;

    // Governance of the dev preset; nobody holds its key anywhere else.
    #[runtime::pallet_index(40)]
    pub type Sudo = pallet_sudo::Pallet<Runtime>;
}
