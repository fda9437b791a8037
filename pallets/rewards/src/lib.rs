// SPDX-License-Identifier: Apache-2.0

//! Emission of every round, its escrow and claims, and the burning of fines.
//!
//! Time emits: a round that moves the head emits for the blocks that it took, in four fixed shares,
//! and never more than the cap in all. The treasury receives its share at once. The other shares
//! stay in escrow until audits have settled who earned them. The learning pallet uses this pallet
//! through [`Payouts`](pol_primitives::traits::Payouts). The pallet reads the current round through
//! [`Rounds`](pol_primitives::traits::Rounds), and the work that a reward is for through
//! [`WorkRecords`](pol_primitives::traits::WorkRecords).
//!
//! # Key terms
//!
//! - **Emission**: tokens minted for a round, by the [`EmissionSchedule`] and the blocks it took.
//! - **Pot**: one of the three sums of a round that are shared by weight, for trainers, validators
//!   and data providers. Also the account that holds all of them.
//! - **Round pool**: the three pots of a round, a [`RoundPool`].
//! - **Earnings**: weights of an account in the pots of a round, a [`RoundEarnings`].
//! - **Escrow**: rounds that pass before a reward can be claimed.
//! - **Fine**: a seized bond. It is burned, so that nobody earns by a conviction.
//! - **Ledger**: totals of all funds, a [`Ledger`](pol_primitives::rewards::Ledger).
//!
//! # Where to look
//!
//! - [`Config`], [`Pallet`] (calls), [`Event`], [`Error`].
//! - The pallet's `README.md`: lifecycle, calls, storage, invariants and security.
//! - `docs/protocol.md` and `docs/glossary.md` of the repository.
//!
//! [`EmissionSchedule`]: pol_primitives::rewards::EmissionSchedule
//! [`RoundPool`]: pol_primitives::rewards::RoundPool
//! [`RoundEarnings`]: pol_primitives::rewards::RoundEarnings

#![cfg_attr(not(feature = "std"), no_std)]
// Stricter than the workspace: the chain must neither panic nor overflow on hostile input.
#![cfg_attr(
    not(test),
    deny(clippy::expect_used, clippy::indexing_slicing, clippy::arithmetic_side_effects)
)]

extern crate alloc;

mod calls;
mod impls;
#[cfg(test)]
mod mock;
#[cfg(test)]
mod tests;
#[cfg(any(feature = "std", feature = "try-runtime"))]
mod try_state;
mod types;
pub mod weights;

pub use pallet::*;
pub use types::DescendingRound;
pub use weights::WeightInfo;

/// Maximum number of rounds with unsettled updates.
///
/// A round opens while fewer than 32 audits are open and at most 64 updates wait for their draw,
/// which may be of as many rounds. Its own head adds one.
pub const MAX_UNSETTLED_ROUNDS: u32 = 31 + MAX_SUBMISSIONS + 1;
/// Maximum number of rewards and rounds that one block lets expire.
///
/// A thousand validators and 64 trainers with as many providers leave 141 a block in rounds of
/// eight blocks, if nobody claims.
pub const MAX_EXPIRED: u32 = 192;
/// Maximum number of rewards that one query returns.
pub const MAX_REWARDS_PER_QUERY: usize = 1_024;

/// Target of the pallet's log messages.
const LOG_TARGET: &str = "runtime::pol-rewards";

use pol_primitives::MAX_SUBMISSIONS;

/// The pallet's declarations. The crate re-exports all public items.
#[allow(clippy::expect_used, reason = "the macro's expansion uses it")]
#[polkadot_sdk::frame_support::pallet]
pub mod pallet {
    use super::{DescendingRound, MAX_UNSETTLED_ROUNDS, WeightInfo};
    use pol_primitives::{
        Balance, RoundNumber,
        rewards::{self, EmissionSchedule, EmissionShares, RoundEarnings, RoundPool},
        round::BlockNumber,
        traits::{Rounds, WorkRecords},
    };
    use polkadot_sdk::{
        frame_support::{
            self, PalletId,
            pallet_prelude::*,
            traits::fungible::{self, Inspect, Mutate},
        },
        frame_system::pallet_prelude::*,
    };

    /// Storage version of the pallet.
    const STORAGE_VERSION: StorageVersion = StorageVersion::new(1);

    /// The pallet.
    #[pallet::pallet]
    #[pallet::storage_version(STORAGE_VERSION)]
    pub struct Pallet<T>(_);

    // ---- Config ----

    /// Configuration of the pallet.
    #[pallet::config]
    pub trait Config: polkadot_sdk::frame_system::Config {
        /// Currency of emission, rewards and fines.
        type Currency: fungible::Mutate<Self::AccountId, Balance = Balance>;
        /// Maximum sum of all emissions. No governance changes it.
        #[pallet::constant]
        type MaxEmission: Get<Balance>;
        /// Id of the account that holds all funds in escrow. It must differ from `TreasuryId`.
        #[pallet::constant]
        type PotId: Get<PalletId>;
        /// Id of the treasury's account.
        #[pallet::constant]
        type TreasuryId: Get<PalletId>;
        /// Number of rounds after which an unclaimed reward expires. Longer than the escrow and
        /// than updates wait for their settlement.
        #[pallet::constant]
        type KeptRounds: Get<RoundNumber>;
        /// Source of the current round and of the length of the escrow.
        type Rounds: Rounds;
        /// Work that explanations of rewards name.
        type Work: WorkRecords<Self::AccountId>;
        /// Origin that may change the emission.
        type GovernanceOrigin: EnsureOrigin<Self::RuntimeOrigin>;
        /// Weights of the calls.
        type WeightInfo: WeightInfo;
    }

    // ---- Storage ----

    /// Emission schedule of future rounds.
    #[pallet::storage]
    pub type Emission<T: Config> = StorageValue<_, EmissionSchedule, ValueQuery>;

    /// Unclaimed emission of each round with the weights that share it, by round.
    ///
    /// Rounds count up and no user chooses them, so a fast hash is enough. One entry of at most 117
    /// bytes for each round that moved the head, until its last share is claimed or expires.
    #[pallet::storage]
    pub type Pools<T: Config> = StorageMap<_, Twox64Concat, RoundNumber, RoundPool>;

    /// Unclaimed earnings of each account, by account and round.
    ///
    /// Users choose the accounts, so a cryptographic hash keeps the trie balanced. Rounds are
    /// stored without a hash, so that those of an account are listed from the newest on. A round
    /// has at most as many entries as seats, trainers and owners of its shards. An entry goes when
    /// it is claimed or forfeited, or expires.
    #[pallet::storage]
    pub type Earnings<T: Config> = StorageDoubleMap<
        _,
        Blake2_128Concat,
        T::AccountId,
        Identity,
        DescendingRound,
        RoundEarnings,
    >;

    /// Accounts with unclaimed earnings, by round and account, so that those of old rounds are
    /// found.
    ///
    /// Hashed like [`Pools`] and [`Earnings`], and with as many entries as these.
    #[pallet::storage]
    pub type Earners<T: Config> =
        StorageDoubleMap<_, Twox64Concat, RoundNumber, Blake2_128Concat, T::AccountId, ()>;

    /// First round whose rewards have not expired.
    #[pallet::storage]
    pub type FirstKept<T: Config> = StorageValue<_, RoundNumber, ValueQuery>;

    /// Totals of all funds: emitted, seized, paid, burned and waiting.
    #[pallet::storage]
    pub type RewardLedger<T: Config> = StorageValue<_, rewards::Ledger, ValueQuery>;

    /// Last round that emitted, and the time at its end. No round up to this one emits again, and
    /// no block up to this time.
    #[pallet::storage]
    pub type LastEmitted<T: Config> = StorageValue<_, (RoundNumber, BlockNumber)>;

    /// Rounds in [`Pools`] with unsettled updates, in ascending order.
    ///
    /// A single value of at most [`MAX_UNSETTLED_ROUNDS`] numbers, which a finding reads whole.
    #[pallet::storage]
    pub type UnsettledRounds<T: Config> =
        StorageValue<_, BoundedVec<RoundNumber, ConstU32<MAX_UNSETTLED_ROUNDS>>, ValueQuery>;

    // ---- Genesis ----

    /// Emission at genesis.
    #[pallet::genesis_config]
    #[derive(frame_support::DefaultNoBound)]
    pub struct GenesisConfig<T: Config> {
        /// Emission schedule of the first rounds.
        pub emission: EmissionSchedule,
        /// Marker that ties the configuration to the runtime.
        #[serde(skip)]
        pub _config: PhantomData<T>,
    }

    #[pallet::genesis_build]
    impl<T: Config> BuildGenesisConfig for GenesisConfig<T> {
        fn build(&self) {
            assert!(
                self.emission.is_valid(),
                "the genesis emission is invalid: its shares exceed the whole, or it is too large"
            );
            Emission::<T>::put(self.emission);
            // Both accounts exist from the start, so that they can receive and send any amount.
            for account in [Pallet::<T>::pot_account(), Pallet::<T>::treasury_account()] {
                let missing =
                    T::Currency::minimum_balance().saturating_sub(T::Currency::balance(&account));
                let minted = T::Currency::mint_into(&account, missing);
                assert!(
                    minted.is_ok(),
                    "cannot mint the existential deposits of pot and treasury: {minted:?}"
                );
            }
        }
    }

    // ---- Events ----

    /// Events of the pallet.
    #[pallet::event]
    #[pallet::generate_deposit(pub(crate) fn deposit_event)]
    pub enum Event<T: Config> {
        /// The emission of a round was minted. The treasury received its share, and the other
        /// shares are in escrow.
        Escrowed {
            /// Round that emitted.
            round: RoundNumber,
            /// Shares of the emission.
            shares: EmissionShares,
        },
        /// The last update of a round was settled, so the earnings of the round are final.
        RoundSettled {
            /// Round that was settled.
            round: RoundNumber,
            /// Amount that nobody earned, which was burned.
            unearned: Balance,
        },
        /// A reward was paid.
        Claimed {
            /// Account that was paid.
            who: T::AccountId,
            /// Round of the reward.
            round: RoundNumber,
            /// Amount paid.
            amount: Balance,
        },
        /// A seized bond was burned.
        Fined {
            /// Amount of the fine.
            amount: Balance,
        },
        /// An account forfeited its rewards in escrow.
        Forfeited {
            /// Account that lost the rewards.
            who: T::AccountId,
            /// Number of rounds whose rewards were forfeited.
            rounds: u32,
            /// Amount from settled rounds, which was burned. Rewards of unsettled rounds fall to
            /// the other earners.
            amount: Balance,
        },
        /// The emission of future rounds changed.
        EmissionSet {
            /// New emission schedule.
            emission: EmissionSchedule,
        },
        /// Rewards that nobody had claimed for long expired.
        Expired {
            /// Round of the rewards.
            round: RoundNumber,
            /// Amount, which was burned.
            amount: Balance,
        },
    }

    // ---- Errors ----

    /// Errors of the calls.
    #[pallet::error]
    pub enum Error<T> {
        /// The shares of the emission exceed a million parts, or the emission is too large. Lower
        /// them.
        InvalidEmission,
        /// The account has no reward in that round, has claimed or forfeited it, or it has expired.
        NothingToClaim,
        /// The reward is still in escrow. The runtime API method `rewards` returns the round from
        /// which it can be claimed.
        TooEarly,
        /// An update of that round is not settled. Settle it, as any account may, or wait.
        Unsettled,
    }

    // ---- Hooks ----

    #[pallet::hooks]
    impl<T: Config> Hooks<BlockNumberFor<T>> for Pallet<T> {
        fn on_initialize(_: BlockNumberFor<T>) -> Weight {
            Self::expire()
        }

        fn integrity_test() {
            assert!(
                Self::pot_account() != Self::treasury_account(),
                "PotId and TreasuryId are the same, so the treasury would never be paid"
            );
        }

        #[cfg(feature = "try-runtime")]
        fn try_state(
            _: BlockNumberFor<T>,
        ) -> Result<(), polkadot_sdk::sp_runtime::TryRuntimeError> {
            Self::do_try_state()
        }
    }

    // ---- Calls ----

    #[pallet::call]
    impl<T: Config> Pallet<T> {
        /// Changes the emission of future rounds.
        ///
        /// - Origin: governance.
        /// - Effect: replaces the emission schedule. Funds in escrow are not changed.
        /// - Events: [`Event::EmissionSet`].
        /// - Errors: [`Error::InvalidEmission`].
        #[pallet::call_index(0)]
        #[pallet::weight(T::WeightInfo::set_emission())]
        pub fn set_emission(origin: OriginFor<T>, emission: EmissionSchedule) -> DispatchResult {
            T::GovernanceOrigin::ensure_origin(origin)?;
            Self::do_set_emission(emission)
        }

        /// Pays the caller's reward of a round.
        ///
        /// - Origin: signed by an account with earnings in the round.
        /// - Effect: moves the caller's share of the unclaimed emission from the pot to the caller.
        /// - Events: [`Event::Claimed`].
        /// - Errors: [`Error::NothingToClaim`]; [`Error::TooEarly`] before the escrow is over;
        ///   [`Error::Unsettled`]; `Token::BelowMinimum` if the caller's account does not exist and
        ///   the reward is below the existential deposit. In that case the reward is kept.
        #[pallet::call_index(1)]
        #[pallet::weight(T::WeightInfo::claim())]
        pub fn claim(origin: OriginFor<T>, round: RoundNumber) -> DispatchResult {
            let who = ensure_signed(origin)?;
            Self::do_claim(who, round)
        }
    }
}
