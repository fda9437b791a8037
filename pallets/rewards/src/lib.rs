#![doc = include_str!("../README.md")]
#![cfg_attr(not(feature = "std"), no_std)]
#![deny(missing_docs)]
#![deny(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::arithmetic_side_effects)]
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::arithmetic_side_effects))]

mod impls;
#[cfg(test)]
mod mock;
#[cfg(test)]
mod tests;
pub mod weights;

pub use pallet::*;
pub use weights::WeightInfo;

/// The pallet itself; everything public is re-exported by the crate.
#[allow(clippy::expect_used)] // What the macro writes uses it.
#[polkadot_sdk::frame_support::pallet]
pub mod pallet {
    use super::WeightInfo;
    use pol_primitives::{
        Balance, RoundNumber,
        rewards::{self, Shares},
    };
    use polkadot_sdk::{
        frame_support::{self, PalletId, pallet_prelude::*, traits::fungible},
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
        /// Names the account that holds the escrow.
        #[pallet::constant]
        type PotId: Get<PalletId>;
        /// Who may change the emission.
        type GovernanceOrigin: EnsureOrigin<Self::RuntimeOrigin>;
        /// Weights of the calls.
        type WeightInfo: WeightInfo;
    }

    /// How much a round emits, and its fixed shares. One value.
    #[pallet::storage]
    pub type Emission<T: Config> = StorageValue<_, rewards::Emission, ValueQuery>;

    /// What waits for its round to be settled: round to its emission, split.
    ///
    /// Rounds count up and nobody chooses them, so a fast hash does. One entry of 64 bytes for each round that made a head.
    #[pallet::storage]
    pub type Escrow<T: Config> = StorageMap<_, Twox64Concat, RoundNumber, Shares>;

    /// Sum of everything in [`Escrow`]. One number.
    #[pallet::storage]
    pub type EscrowTotal<T: Config> = StorageValue<_, Balance, ValueQuery>;

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
            assert!(self.emission.is_valid(), "the shares of the genesis emission are more than the whole, or it is too large");
            Emission::<T>::put(self.emission);
        }
    }

    /// What happened.
    #[pallet::event]
    #[pallet::generate_deposit(pub(crate) fn deposit_event)]
    pub enum Event<T: Config> {
        /// A round's emission was minted into escrow.
        Escrowed {
            /// The round.
            round: RoundNumber,
            /// Its emission, split.
            shares: Shares,
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
        /// The shares add up to more than a million parts, or the emission is too large to be split.
        InvalidEmission,
    }

    #[pallet::hooks]
    impl<T: Config> Hooks<BlockNumberFor<T>> for Pallet<T> {
        #[cfg(feature = "try-runtime")]
        fn try_state(_: BlockNumberFor<T>) -> Result<(), polkadot_sdk::sp_runtime::TryRuntimeError> {
            Self::do_try_state()
        }
    }

    #[pallet::call]
    impl<T: Config> Pallet<T> {
        /// Changes what the rounds to come emit. What is in escrow stays as it is.
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
    }
}
