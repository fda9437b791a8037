// SPDX-License-Identifier: Apache-2.0

//! Pulses of a beacon of public randomness, for draws that nobody can steer.
//!
//! A beacon is a group outside of this chain that signs the number of each of its rounds at a fixed
//! time. A draw first seals what this chain contributes to its seed, and then waits for a pulse
//! that is not due yet. So nobody knows the seed while it can still be changed. The learning pallet
//! uses this pallet through [`Beacon`](pol_primitives::traits::Beacon), without knowing the scheme.
//!
//! # Key terms
//!
//! - **Beacon**: a group of servers of which a threshold signs together; a [`BeaconConfig`].
//! - **Round**: a number that the beacon signs, at a time that follows from it.
//! - **Pulse**: the signature of a round. Its hash is its randomness.
//! - **Margin**: time between the block that begins to wait and the awaited pulse.
//! - **Patience**: number of blocks after which a draw goes on without the pulse.
//!
//! # Where to look
//!
//! - [`Config`], [`Pallet`] (calls), [`Event`], [`Error`], [`scheme`] (verification).
//! - The pallet's `README.md`: lifecycle, calls, storage, invariants and security.
//! - `docs/protocol.md` and `docs/glossary.md` of the repository.
//!
//! [`BeaconConfig`]: pol_primitives::beacon::BeaconConfig

#![cfg_attr(not(feature = "std"), no_std)]
// Stricter than the workspace: the chain must neither panic nor overflow on hostile input.
#![cfg_attr(
    not(test),
    deny(clippy::expect_used, clippy::indexing_slicing, clippy::arithmetic_side_effects)
)]

mod calls;
mod impls;
#[cfg(test)]
mod mock;
pub mod scheme;
#[cfg(test)]
mod tests;
#[cfg(any(feature = "std", feature = "try-runtime"))]
mod try_state;
pub mod weights;

pub use pallet::*;
pub use weights::WeightInfo;

/// The pallet's declarations. The crate re-exports all public items.
#[allow(clippy::expect_used, reason = "the macro's expansion uses it")]
#[polkadot_sdk::frame_support::pallet]
pub mod pallet {
    use super::WeightInfo;
    use pol_primitives::{
        Hash,
        beacon::{self, BeaconConfig, BeaconRound, PulseSignature},
        round::BlockNumber,
    };
    use polkadot_sdk::{
        frame_support::{self, pallet_prelude::*, traits::Time},
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
        /// Clock of the chain, in milliseconds since 1970.
        type Time: Time<Moment = u64>;
        /// Time between two blocks, in milliseconds.
        #[pallet::constant]
        type BlockTime: Get<u64>;
        /// Origin that may replace the beacon.
        type GovernanceOrigin: EnsureOrigin<Self::RuntimeOrigin>;
        /// Weights of the calls.
        type WeightInfo: WeightInfo;
    }

    // ---- Storage ----

    /// The beacon; none where draws use the randomness of this chain alone. One value.
    #[pallet::storage]
    pub type Beacon<T> = StorageValue<_, BeaconConfig>;

    /// The pulse that draws wait for, or use now that it has arrived; none between draws. One value
    /// of at most 45 bytes.
    #[pallet::storage]
    pub type AwaitedPulse<T> = StorageValue<_, beacon::AwaitedPulse>;

    // ---- Genesis ----

    /// Beacon at genesis.
    #[pallet::genesis_config]
    #[derive(frame_support::DefaultNoBound)]
    pub struct GenesisConfig<T: Config> {
        /// The beacon; none for draws without one.
        pub beacon: Option<BeaconConfig>,
        /// Marker that ties the configuration to the runtime.
        #[serde(skip)]
        pub _config: PhantomData<T>,
    }

    #[pallet::genesis_build]
    impl<T: Config> BuildGenesisConfig for GenesisConfig<T> {
        fn build(&self) {
            let set = Pallet::<T>::do_set_beacon(self.beacon.clone());
            assert!(set.is_ok(), "the genesis beacon is invalid: {set:?}");
        }
    }

    // ---- Events ----

    /// Events of the pallet.
    #[pallet::event]
    #[pallet::generate_deposit(pub(crate) fn deposit_event)]
    pub enum Event<T: Config> {
        /// A draw waits for a pulse.
        PulseAwaited {
            /// Round of the pulse.
            round: BeaconRound,
            /// Time at which the beacon signs the round, in seconds since 1970.
            due: u64,
            /// Last block in which the pulse is accepted.
            until: BlockNumber,
        },
        /// The awaited pulse arrived.
        PulseAccepted {
            /// Round of the pulse.
            round: BeaconRound,
            /// Randomness of the pulse.
            randomness: Hash,
        },
        /// No pulse arrived in time, and draws went on without it.
        PulseMissed {
            /// Round of the pulse.
            round: BeaconRound,
        },
        /// The beacon was replaced. Draws that waited for its pulse go on without it.
        BeaconSet {
            /// The new beacon.
            beacon: Option<BeaconConfig>,
        },
    }

    // ---- Errors ----

    /// Errors of the calls.
    #[pallet::error]
    pub enum Error<T> {
        /// No draw waits for a pulse. The runtime API method `awaited_pulse` returns the round that
        /// one waits for.
        NotAwaited,
        /// The draw waits for the pulse of another round.
        WrongRound,
        /// The pulse has arrived already.
        PulseKnown,
        /// The draw waits no longer.
        TooLate,
        /// The signature is not the encoding of a point of G1.
        MalformedPulse,
        /// The beacon did not sign this for the round.
        ForgedPulse,
        /// The period and the patience of a beacon are at least 1.
        NoRounds,
        /// The key is no compressed point of G2, or zero.
        InvalidKey,
        /// The patience is more than 100 blocks, or no longer than the margin and the period.
        WrongPatience,
    }

    // ---- Hooks ----

    #[pallet::hooks]
    impl<T: Config> Hooks<BlockNumberFor<T>> for Pallet<T> {
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
        /// Shows the awaited pulse.
        ///
        /// - Origin: none. Anybody sends it without an account and without a fee.
        /// - Effect: keeps the randomness of the pulse until the draws that wait for it are made.
        /// - Events: [`Event::PulseAccepted`].
        /// - Errors: [`Error::NotAwaited`]; [`Error::WrongRound`]; [`Error::PulseKnown`];
        ///   [`Error::TooLate`]; [`Error::MalformedPulse`]; [`Error::ForgedPulse`].
        #[pallet::call_index(0)]
        // Nobody pays, since a bare call has no account. The chain takes one pulse for each that it
        // awaits, and refuses all others before a block, for which it verifies each once more.
        #[pallet::weight((
            T::WeightInfo::submit_pulse().saturating_mul(2),
            DispatchClass::Operational,
            Pays::No,
        ))]
        pub fn submit_pulse(
            origin: OriginFor<T>,
            round: BeaconRound,
            signature: PulseSignature,
        ) -> DispatchResult {
            ensure_none(origin)?;
            Self::do_submit_pulse(round, &signature)
        }

        /// Replaces the beacon, or removes it.
        ///
        /// - Origin: `GovernanceOrigin`.
        /// - Effect: draws that wait for a pulse of the beacon before go on without it.
        /// - Events: [`Event::BeaconSet`].
        /// - Errors: [`Error::NoRounds`]; [`Error::WrongPatience`]; [`Error::InvalidKey`].
        #[pallet::call_index(1)]
        #[pallet::weight(T::WeightInfo::set_beacon())]
        pub fn set_beacon(origin: OriginFor<T>, beacon: Option<BeaconConfig>) -> DispatchResult {
            T::GovernanceOrigin::ensure_origin(origin)?;
            Self::do_set_beacon(beacon)
        }
    }

    // Like BABE and GRANDPA of this release, whose reports are transactions without signatures too.
    #[allow(deprecated)]
    #[pallet::validate_unsigned]
    impl<T: Config> ValidateUnsigned for Pallet<T> {
        type Call = Call<T>;

        fn validate_unsigned(_: TransactionSource, call: &Self::Call) -> TransactionValidity {
            Self::validate_bare(call)
        }

        fn pre_dispatch(call: &Self::Call) -> Result<(), TransactionValidityError> {
            Self::check_bare(call).map(drop)
        }
    }
}
