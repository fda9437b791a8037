// SPDX-License-Identifier: Apache-2.0

//! Configuration of the pallets.

#![warn(missing_docs)]

mod congestion;
mod governance;
mod learning;
mod offences;

use crate::*;
use frame_support::{
    PalletId, derive_impl,
    dispatch::DispatchClass,
    parameter_types,
    traits::{
        ConstU8, ConstU32, ConstU64, ConstU128, Contains, Imbalance, InstanceFilter, OnUnbalanced,
        fungible::Balanced, fungible::Credit,
    },
    weights::{
        ConstantMultiplier, IdentityFee, Weight,
        constants::{ParityDbWeight, WEIGHT_REF_TIME_PER_MILLIS},
    },
};
use frame_system::limits::{BlockLength, BlockWeights};
use pallet_session::{SessionManager, historical};
use pallet_transaction_payment::{FungibleAdapter, Multiplier, TargetedFeeAdjustment};
use sp_runtime::{
    FixedPointNumber, Perbill, Perquintill,
    traits::{AccountIdLookup, Bounded, Convert, ConvertInto, OpaqueKeys},
};
use sp_staking::SessionIndex;

pub use congestion::{CongestedShare, ReservedCalls};
pub use governance::{AuthorityCouncil, GovernanceOrigin};
pub use learning::BlockRandomness;
pub use offences::{KeyOwners, SlashEquivocation};
use offences::{NewOffenders, Offender, ReportWeight, Verified};

/// Share of a block for signed calls. The rest is reserved for operational calls and inherents.
const NORMAL_SHARE: Perbill = Perbill::from_percent(75);
/// Compute of a block: a third of a slot. The rest is for propagation, and for machines slower than
/// the one that weights were measured on.
const BLOCK_COMPUTE: Weight =
    Weight::from_parts(SLOT_DURATION / 3 * WEIGHT_REF_TIME_PER_MILLIS, u64::MAX);
/// Maximum size of a block, in bytes.
const BLOCK_BYTES: u32 = 5 * 1024 * 1024;

parameter_types! {
    /// Number of recent block hashes that are kept.
    pub const BlockHashCount: BlockNumber = 2_400;
    /// Version of the runtime.
    pub const Version: RuntimeVersion = VERSION;
    /// Weight limits of a block.
    pub RuntimeBlockWeights: BlockWeights =
        BlockWeights::with_sensible_defaults(BLOCK_COMPUTE, NORMAL_SHARE);
    /// Length limits of a block.
    pub RuntimeBlockLength: BlockLength = BlockLength::builder()
        .max_length(BLOCK_BYTES)
        .modify_max_length_for_class(DispatchClass::Normal, |bytes| *bytes = NORMAL_SHARE * *bytes)
        .build();
}

/// Filter of calls. The session pallet's call that purges keys could leave a session without
/// authorities; `PolStaking::purge_session_keys` replaces it. A motion needs the votes that decide,
/// no more and no fewer, so that a third of the council can reject it.
pub struct SafeCalls;

impl Contains<RuntimeCall> for SafeCalls {
    fn contains(call: &RuntimeCall) -> bool {
        match call {
            RuntimeCall::Session(pallet_session::Call::purge_keys {}) => false,
            RuntimeCall::Council(pallet_collective::Call::propose { threshold, .. }) => {
                *threshold == governance::votes_needed()
            }
            _ => true,
        }
    }
}

#[derive_impl(frame_system::config_preludes::SolochainDefaultConfig)]
impl frame_system::Config for Runtime {
    type BaseCallFilter = SafeCalls;
    type Block = Block;
    type BlockWeights = RuntimeBlockWeights;
    type BlockLength = RuntimeBlockLength;
    type AccountId = AccountId;
    type Nonce = Nonce;
    type Hash = Hash;
    type Lookup = AccountIdLookup<AccountId, ()>;
    type BlockHashCount = BlockHashCount;
    type DbWeight = ParityDbWeight;
    type Version = Version;
    type AccountData = pallet_balances::AccountData<Balance>;
    type SystemWeightInfo = frame_system::weights::SubstrateWeight<Runtime>;
    type ExtensionsWeightInfo = frame_system::SubstrateExtensionsWeight<Runtime>;
    type SS58Prefix = frame_support::traits::ConstU16<SS58_PREFIX>;
    type SingleBlockMigrations = migrations::SingleBlockMigrations;
}

impl pallet_timestamp::Config for Runtime {
    type Moment = u64;
    type OnTimestampSet = Babe;
    type MinimumPeriod = ConstU64<{ SLOT_DURATION / 2 }>;
    type WeightInfo = pallet_timestamp::weights::SubstrateWeight<Runtime>;
}

impl pallet_balances::Config for Runtime {
    type RuntimeEvent = RuntimeEvent;
    type RuntimeHoldReason = RuntimeHoldReason;
    type RuntimeFreezeReason = RuntimeFreezeReason;
    type WeightInfo = pallet_balances::weights::SubstrateWeight<Runtime>;
    type Balance = Balance;
    type DustRemoval = ();
    type ExistentialDeposit = ConstU128<EXISTENTIAL_DEPOSIT>;
    type AccountStore = System;
    type ReserveIdentifier = [u8; 8];
    type FreezeIdentifier = RuntimeFreezeReason;
    type MaxLocks = ConstU32<50>;
    type MaxReserves = ConstU32<50>;
    type MaxFreezes = frame_support::traits::VariantCountOf<RuntimeFreezeReason>;
    type DoneSlashHandler = ();
}

/// Share of a fee for the author of the block. The rest is burned, so that nobody fills its own
/// blocks for nothing.
const AUTHOR_SHARE: Perbill = Perbill::from_percent(20);

/// Payment of tips, and of a share of fees, to the author of the block.
pub struct ToAuthor;

impl OnUnbalanced<Credit<AccountId, Balances>> for ToAuthor {
    fn on_unbalanceds(mut fee_then_tip: impl Iterator<Item = Credit<AccountId, Balances>>) {
        let Some(fee) = fee_then_tip.next() else { return };
        let share = AUTHOR_SHARE * fee.peek();
        let (mut earned, burned) = fee.split(share);
        drop(burned);
        fee_then_tip.for_each(|tip| earned.subsume(tip));
        Self::on_unbalanced(earned);
    }

    fn on_nonzero_unbalanced(earned: Credit<AccountId, Balances>) {
        if let Some(author) = Authorship::author() {
            // An amount that the author's account cannot take is burned, such as one below the
            // existential deposit.
            drop(Balances::resolve(&author, earned));
        }
    }
}

parameter_types! {
    /// Block fullness at which fees stay constant.
    pub const TargetBlockFullness: Perquintill = Perquintill::from_percent(25);
    /// Speed of fee changes: at most 30 % a day in full blocks.
    pub AdjustmentVariable: Multiplier = Multiplier::saturating_from_rational(1, 100_000);
    /// Lower limit of the fee multiplier: fees never fall below those of the weights.
    pub MinimumMultiplier: Multiplier = Multiplier::saturating_from_integer(1);
    /// Upper limit of the fee multiplier.
    pub MaximumMultiplier: Multiplier = Bounded::max_value();
}

impl pallet_transaction_payment::Config for Runtime {
    type RuntimeEvent = RuntimeEvent;
    type OnChargeTransaction = FungibleAdapter<Balances, ToAuthor>;
    // A second of compute costs one POL.
    type WeightToFee = IdentityFee<Balance>;
    // A megabyte costs one POL.
    type LengthToFee = ConstantMultiplier<Balance, ConstU128<1_000_000>>;
    type FeeMultiplierUpdate = TargetedFeeAdjustment<
        Runtime,
        TargetBlockFullness,
        AdjustmentVariable,
        MinimumMultiplier,
        MaximumMultiplier,
    >;
    type OperationalFeeMultiplier = ConstU8<5>;
    type WeightInfo = pallet_transaction_payment::weights::SubstrateWeight<Runtime>;
}

/// Number of blocks for which an equivocation can be reported. Its author's bond must stay
/// slashable for as long.
type ReportLongevity = ConstU64<{ UNBONDING_PERIOD as u64 }>;
/// Number of blocks between the end of a role and the release of its bond.
pub const UNBONDING_PERIOD: BlockNumber = 7 * DAYS;
/// Number of past sessions for which an equivocation can be proved.
const SLASHABLE_SESSIONS: SessionIndex = UNBONDING_PERIOD / EPOCH_DURATION + 1;
/// Maximum number of authorities of a session.
pub type MaxAuthorities = ConstU32<100>;

impl pallet_babe::Config for Runtime {
    type EpochDuration = ConstU64<{ EPOCH_DURATION as u64 }>;
    type ExpectedBlockTime = ConstU64<SLOT_DURATION>;
    type EpochChangeTrigger = pallet_babe::ExternalTrigger;
    type DisabledValidators = Session;
    type WeightInfo = ReportWeight;
    type MaxAuthorities = MaxAuthorities;
    type MaxNominators = ConstU32<0>;
    type KeyOwnerProof = sp_session::MembershipProof;
    type EquivocationReportSystem = Verified<
        pallet_babe::EquivocationReportSystem<Self, NewOffenders, KeyOwners, ReportLongevity>,
    >;
}

impl pallet_grandpa::Config for Runtime {
    type RuntimeEvent = RuntimeEvent;
    type WeightInfo = ReportWeight;
    type MaxAuthorities = MaxAuthorities;
    type MaxNominators = ConstU32<0>;
    type MaxSetIdSessionEntries = ConstU64<{ SLASHABLE_SESSIONS as u64 }>;
    type KeyOwnerProof = sp_session::MembershipProof;
    type EquivocationReportSystem = Verified<
        pallet_grandpa::EquivocationReportSystem<Self, NewOffenders, KeyOwners, ReportLongevity>,
    >;
}

impl pallet_authorship::Config for Runtime {
    type FindAuthor = pallet_session::FindAccountFromAuthorIndex<Self, Babe>;
    type EventHandler = PolStaking;
}

impl pallet_session::Config for Runtime {
    type RuntimeEvent = RuntimeEvent;
    type ValidatorId = AccountId;
    type ValidatorIdOf = ConvertInto;
    type ShouldEndSession = Babe;
    type NextSessionRotation = Babe;
    type SessionManager = historical::NoteHistoricalRoot<Self, Elections>;
    type SessionHandler = <SessionKeys as OpaqueKeys>::KeyTypeIdProviders;
    type Keys = SessionKeys;
    type DisablingStrategy = pallet_session::disabling::UpToLimitDisablingStrategy;
    type WeightInfo = pallet_session::weights::SubstrateWeight<Runtime>;
    type Currency = Balances;
    type KeyDeposit = ConstU128<{ deposit(3, 128) }>;
}

/// Session manager that records the authorities of past sessions for proofs of equivocation. An
/// authority is identified by its account alone. Sessions too old to be slashed for are pruned.
pub struct Elections;

impl Convert<AccountId, Option<()>> for Elections {
    fn convert(_: AccountId) -> Option<()> {
        Some(())
    }
}

impl SessionManager<AccountId> for Elections {
    fn new_session(index: SessionIndex) -> Option<Vec<AccountId>> {
        PolStaking::new_session(index)
    }

    fn new_session_genesis(index: SessionIndex) -> Option<Vec<AccountId>> {
        PolStaking::new_session_genesis(index)
    }

    fn start_session(index: SessionIndex) {
        PolStaking::start_session(index);
    }

    fn end_session(index: SessionIndex) {
        PolStaking::end_session(index);
    }
}

impl historical::SessionManager<AccountId, ()> for Elections {
    fn new_session(index: SessionIndex) -> Option<Vec<(AccountId, ())>> {
        PolStaking::new_session(index).map(elected)
    }

    fn new_session_genesis(index: SessionIndex) -> Option<Vec<(AccountId, ())>> {
        PolStaking::new_session_genesis(index).map(elected)
    }

    fn start_session(index: SessionIndex) {
        PolStaking::start_session(index);
    }

    fn end_session(index: SessionIndex) {
        PolStaking::end_session(index);
        if let Some(first) = index.checked_sub(SLASHABLE_SESSIONS) {
            Historical::prune_up_to(first);
        }
    }
}

/// Makes elected authorities the council, and returns them with their identification.
fn elected(authorities: Vec<AccountId>) -> Vec<(AccountId, ())> {
    governance::seat_council(&authorities);
    authorities.into_iter().map(|account| (account, ())).collect()
}

impl historical::Config for Runtime {
    type RuntimeEvent = RuntimeEvent;
    type FullIdentification = ();
    type FullIdentificationOf = Elections;
}

impl pallet_offences::Config for Runtime {
    type RuntimeEvent = RuntimeEvent;
    type IdentificationTuple = Offender;
    type OnOffenceHandler = SlashEquivocation;
}

impl<C> frame_system::offchain::CreateTransactionBase<C> for Runtime
where
    RuntimeCall: From<C>,
{
    type Extrinsic = UncheckedExtrinsic;
    type RuntimeCall = RuntimeCall;
}

impl<C> frame_system::offchain::CreateBare<C> for Runtime
where
    RuntimeCall: From<C>,
{
    fn create_bare(call: RuntimeCall) -> UncheckedExtrinsic {
        UncheckedExtrinsic::new_bare(call)
    }
}

impl pallet_utility::Config for Runtime {
    type RuntimeEvent = RuntimeEvent;
    type RuntimeCall = RuntimeCall;
    type PalletsOrigin = OriginCaller;
    type WeightInfo = pallet_utility::weights::SubstrateWeight<Runtime>;
}

impl pallet_multisig::Config for Runtime {
    type RuntimeEvent = RuntimeEvent;
    type RuntimeCall = RuntimeCall;
    type Currency = Balances;
    type DepositBase = ConstU128<{ deposit(1, 88) }>;
    type DepositFactor = ConstU128<{ deposit(0, 32) }>;
    type MaxSignatories = ConstU32<100>;
    type WeightInfo = pallet_multisig::weights::SubstrateWeight<Runtime>;
    type BlockNumberProvider = System;
}

/// Permission of a proxy.
#[derive(
    Clone,
    Copy,
    Debug,
    Default,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    codec::Encode,
    codec::Decode,
    codec::DecodeWithMemTracking,
    codec::MaxEncodedLen,
    scale_info::TypeInfo,
)]
pub enum ProxyType {
    /// All calls.
    #[default]
    #[codec(index = 0)]
    Any,
    /// Calls of rounds and audits, claims of the principal's rewards, and what keeps a member in
    /// its role: its endpoint, and its return after it was absent. The key on a training machine
    /// then can neither transfer funds nor put more of them at risk, as a larger bond would.
    #[codec(index = 1)]
    Learning,
}

impl InstanceFilter<RuntimeCall> for ProxyType {
    fn filter(&self, call: &RuntimeCall) -> bool {
        match self {
            Self::Any => true,
            Self::Learning => matches!(
                call,
                RuntimeCall::ProofOfLearning(..)
                    | RuntimeCall::Rewards(pallet_pol_rewards::Call::claim { .. })
                    | RuntimeCall::PolStaking(
                        pallet_pol_staking::Call::unchill { .. }
                            | pallet_pol_staking::Call::set_endpoint { .. }
                    )
                    | RuntimeCall::Utility(
                        // The filter applies to the calls in a batch too.
                        pallet_utility::Call::batch { .. }
                            | pallet_utility::Call::batch_all { .. }
                            | pallet_utility::Call::force_batch { .. }
                    )
            ),
        }
    }

    fn is_superset(&self, other: &Self) -> bool {
        self == other || *self == Self::Any
    }
}

impl pallet_proxy::Config for Runtime {
    type RuntimeEvent = RuntimeEvent;
    type RuntimeCall = RuntimeCall;
    type Currency = Balances;
    type ProxyType = ProxyType;
    type ProxyDepositBase = ConstU128<{ deposit(1, 8) }>;
    type ProxyDepositFactor = ConstU128<{ deposit(0, 33) }>;
    type MaxProxies = ConstU32<32>;
    type WeightInfo = pallet_proxy::weights::SubstrateWeight<Runtime>;
    type MaxPending = ConstU32<32>;
    type CallHasher = BlakeTwo256;
    type AnnouncementDepositBase = ConstU128<{ deposit(1, 8) }>;
    type AnnouncementDepositFactor = ConstU128<{ deposit(0, 66) }>;
    type BlockNumberProvider = System;
}

impl pallet_sudo::Config for Runtime {
    type RuntimeEvent = RuntimeEvent;
    type RuntimeCall = RuntimeCall;
    type WeightInfo = pallet_sudo::weights::SubstrateWeight<Runtime>;
}
