#![doc = include_str!("../README.md")]
#![cfg_attr(not(feature = "std"), no_std)]
#![deny(missing_docs)]
#![deny(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects
)]
#![cfg_attr(
    test,
    allow(
        clippy::unwrap_used,
        clippy::expect_used,
        clippy::indexing_slicing,
        clippy::arithmetic_side_effects
    )
)]

extern crate alloc;

mod impls;
#[cfg(test)]
mod mock;
#[cfg(test)]
mod tests;
mod types;
pub mod weights;

pub use pallet::*;
pub use types::NewestFirst;
pub use weights::WeightInfo;

/// Most rounds whose rewards one finding takes: the newest ones. Rewards wait for few rounds, so
/// there are hardly ever more.
pub const MAX_FORFEITED: usize = 32;
/// Most rewards that one query returns.
pub const MAX_REWARDS: usize = 1_024;

/// The pallet itself; everything public is re-exported by the crate.
#[allow(clippy::expect_used)] // What the macro writes uses it.
#[polkadot_sdk::frame_support::pallet]
pub mod pallet {
    use super::{NewestFirst, WeightInfo};
    use pol_primitives::{
        Balance, RoundNumber,
        rewards::{self, Earned, RoundPool, Shares},
        traits::Rounds,
    };
    use polkadot_sdk::{
        frame_support::{
            self, PalletId,
            pallet_prelude::*,
            traits::fungible::{self, Inspect, Mutate},
        },
        frame_system::pallet_prelude::*,
    };

    const STORAGE_VERSION: StorageVersion = StorageVersion::new(1);

    #[pallet::pallet]
    #[pallet::storage_version(STORAGE_VERSION)]
    pub struct Pallet<T>(_);

    /// What the runtime decides.
    #[pallet::config]
    pub trait Config: polkadot_sdk::frame_system::Config {
        /// What is emitted.
        type Currency: fungible::Mutate<Self::AccountId, Balance = Balance>;
        /// Names the account that holds what waits.
        #[pallet::constant]
        type PotId: Get<PalletId>;
        /// Names the account of the treasury.
        #[pallet::constant]
        type TreasuryId: Get<PalletId>;
        /// The round under way, and how long rewards wait.
        type Rounds: Rounds;
        /// Who may change the emission.
        type GovernanceOrigin: EnsureOrigin<Self::RuntimeOrigin>;
        /// Weights of the calls.
        type WeightInfo: WeightInfo;
    }

    /// How much a round emits, and its fixed shares. One value.
    #[pallet::storage]
    pub type Emission<T: Config> = StorageValue<_, rewards::Emission, ValueQuery>;

    /// What is left of the emission of each round, and the weights it is shared by: round to pool.
    ///
    /// Rounds count up and nobody chooses them, so a fast hash does. One entry of at most 100 bytes
    /// for each round that made a head, until its last share is claimed.
    #[pallet::storage]
    pub type Pools<T: Config> = StorageMap<_, Twox64Concat, RoundNumber, RoundPool>;

    /// What everybody earned and has not claimed: account and round to weights in the round's pool.
    ///
    /// Accounts are chosen by their owners, hence the hash against grinding of trie paths. Rounds
    /// count up and are stored as they are, so that those of an account iterate from the newest on,
    /// which bounds what a finding has to read. At most as many entries for a round as seats,
    /// trainers and owners of its shards.
    #[pallet::storage]
    pub type Earnings<T: Config> =
        StorageDoubleMap<_, Blake2_128Concat, T::AccountId, Identity, NewestFirst, Earned>;

    /// Where all money of learning went. One value.
    #[pallet::storage]
    pub type Books<T: Config> = StorageValue<_, rewards::Books, ValueQuery>;

    /// The last round that emitted anything; no earlier one does any more. One number.
    #[pallet::storage]
    pub type LastEmitted<T: Config> = StorageValue<_, RoundNumber>;

    /// The emission from the start.
    #[pallet::genesis_config]
    #[derive(frame_support::DefaultNoBound)]
    pub struct GenesisConfig<T: Config> {
        /// How much a round emits.
        pub emission: rewards::Emission,
        /// Nothing; ties the configuration to the runtime.
        #[serde(skip)]
        pub _config: PhantomData<T>,
    }

    #[pallet::genesis_build]
    impl<T: Config> BuildGenesisConfig for GenesisConfig<T> {
        fn build(&self) {
            assert!(
                self.emission.is_valid(),
                "the shares of the genesis emission are more than the whole, or it is too large"
            );
            Emission::<T>::put(self.emission);
            // Both accounts live from the start, so that neither the first nor the last unit gets
            // lost on the way.
            for account in [Pallet::<T>::pot(), Pallet::<T>::treasury()] {
                let missing =
                    T::Currency::minimum_balance().saturating_sub(T::Currency::balance(&account));
                let minted = T::Currency::mint_into(&account, missing);
                assert!(
                    minted.is_ok(),
                    "the existential deposits of pot and treasury cannot be minted: {minted:?}"
                );
            }
        }
    }

    /// What happened.
    #[pallet::event]
    #[pallet::generate_deposit(pub(crate) fn deposit_event)]
    pub enum Event<T: Config> {
        /// A round's emission was minted; the treasury has its share, the others wait.
        Escrowed {
            /// The round.
            round: RoundNumber,
            /// Its emission, split.
            shares: Shares,
        },
        /// The last update of a round is settled: what everybody gets of its emission is fixed.
        RoundSettled {
            /// The round.
            round: RoundNumber,
            /// What nobody earned, which was burned.
            unearned: Balance,
        },
        /// A reward was paid.
        Claimed {
            /// To whom.
            who: T::AccountId,
            /// For which round.
            round: RoundNumber,
            /// How much.
            amount: Balance,
        },
        /// What a cheat lost was shared out: half was burned, the rest went to those who proved it
        /// and to the treasury.
        Fined {
            /// All of it.
            amount: Balance,
            /// What those got who proved it.
            to_provers: Balance,
        },
        /// An account lost the rewards that it could not have claimed yet.
        Forfeited {
            /// Whose.
            who: T::AccountId,
            /// Of how many rounds.
            rounds: u32,
            /// What they were worth, without those of rounds that are not settled, which fall to
            /// others.
            amount: Balance,
        },
        /// The emission of rounds to come changed.
        EmissionSet {
            /// The new emission.
            emission: rewards::Emission,
        },
    }

    /// Why a call was refused.
    #[pallet::error]
    pub enum Error<T> {
        /// The shares add up to more than a million parts, or the emission is too large to be
        /// split.
        InvalidEmission,
        /// The account earned nothing in that round, or has claimed it or lost it.
        NothingToClaim,
        /// The reward still waits. The query `rewards` tells from which round on it can be claimed.
        TooEarly,
        /// An update of that round is not settled. Settle it, which anybody may, or wait.
        Unsettled,
    }

    #[pallet::hooks]
    impl<T: Config> Hooks<BlockNumberFor<T>> for Pallet<T> {
        fn integrity_test() {
            assert!(
                Self::pot() != Self::treasury(),
                "pot and treasury are one account, so nothing paid would leave the pot"
            );
        }

        #[cfg(feature = "try-runtime")]
        fn try_state(
            _: BlockNumberFor<T>,
        ) -> Result<(), polkadot_sdk::sp_runtime::TryRuntimeError> {
            Self::do_try_state()
        }
    }

    #[pallet::call]
    impl<T: Config> Pallet<T> {
        /// Changes what the rounds to come emit. What waits stays as it is.
        ///
        /// - Origin: governance.
        /// - Effect: replaces the emission.
        /// - Events: [`Event::EmissionSet`].
        /// - Errors: [`Error::InvalidEmission`].
        #[pallet::call_index(0)]
        #[pallet::weight(T::WeightInfo::set_emission())]
        pub fn set_emission(origin: OriginFor<T>, emission: rewards::Emission) -> DispatchResult {
            T::GovernanceOrigin::ensure_origin(origin)?;
            ensure!(emission.is_valid(), Error::<T>::InvalidEmission);
            Emission::<T>::put(emission);
            Self::deposit_event(Event::EmissionSet { emission });
            Ok(())
        }

        /// Pays the caller what it earned in a round.
        ///
        /// - Origin: signed, by whoever earned it.
        /// - Effect: the caller's share of what is left of the round's emission moves from the pot
        ///   to its account.
        /// - Events: [`Event::Claimed`].
        /// - Errors: [`Error::NothingToClaim`]; [`Error::TooEarly`] before `escrow` rounds have
        ///   passed; [`Error::Unsettled`]; `Token::BelowMinimum` when the caller's account is gone
        ///   and the reward below the existential deposit: the reward goes on waiting.
        #[pallet::call_index(1)]
        #[pallet::weight(T::WeightInfo::claim())]
        pub fn claim(origin: OriginFor<T>, round: RoundNumber) -> DispatchResult {
            let who = ensure_signed(origin)?;
            let earned = Earnings::<T>::take(&who, NewestFirst::from(round))
                .ok_or(Error::<T>::NothingToClaim)?;
            let mut pool = Pools::<T>::get(round).ok_or(Error::<T>::NothingToClaim)?;
            ensure!(T::Rounds::number() >= Self::matures(round), Error::<T>::TooEarly);
            ensure!(pool.unsettled == 0, Error::<T>::Unsettled);
            let amount = pool.take(&earned);
            Self::put_pool(round, pool);
            Self::pay(&who, amount)?;
            Self::deposit_event(Event::Claimed { who, round, amount });
            Ok(())
        }
    }
}
