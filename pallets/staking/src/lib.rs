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
pub use types::Ledger;
pub use weights::WeightInfo;

/// Most accounts that stand for election; also the most that can be elected.
pub const MAX_CANDIDATES: u32 = 128;

/// The pallet itself; everything public is re-exported by the crate.
#[allow(clippy::expect_used)] // What the macro writes uses it.
#[polkadot_sdk::frame_support::pallet]
pub mod pallet {
    use super::{Ledger, MAX_CANDIDATES, WeightInfo};
    use alloc::vec::Vec;
    use pol_primitives::{
        Balance,
        peer::{Endpoint, Role},
        traits::Rounds,
    };
    use polkadot_sdk::{
        frame_support::{
            self,
            pallet_prelude::*,
            traits::{ValidatorRegistration, fungible, tokens::Precision},
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
        /// What bonds are held in.
        type Currency: fungible::MutateHold<
                Self::AccountId,
                Reason = Self::RuntimeHoldReason,
                Balance = Balance,
            >;
        /// The runtime's reasons for holds.
        type RuntimeHoldReason: From<HoldReason>;
        /// The round under way.
        type Rounds: Rounds;
        /// Who has set session keys: the session pallet. Nobody else is elected.
        type SessionKeys: ValidatorRegistration<Self::AccountId>;
        /// Blocks between the end of a role and the release of its bond. Longer than two sessions
        /// and than any submission can wait for its audit, or cheats leave unpunished.
        #[pallet::constant]
        type UnbondingPeriod: Get<u32>;
        /// Most accounts that take part in attesting.
        #[pallet::constant]
        type MaxValidators: Get<u32>;
        /// Most accounts elected for a session; at most [`MAX_CANDIDATES`].
        #[pallet::constant]
        type MaxAuthorities: Get<u32>;
        /// Weights of the calls.
        type WeightInfo: WeightInfo;
    }

    /// Why the pallet holds funds.
    #[pallet::composite_enum]
    pub enum HoldReason {
        /// The bond of a role.
        #[codec(index = 0)]
        Bond,
    }

    /// Everybody bonded, or waiting for the bond: account to ledger.
    ///
    /// Accounts are chosen by their owners, hence the hash against grinding of trie paths. Bounded
    /// by deposit: each entry was opened with at least the smallest bond.
    #[pallet::storage]
    pub type Ledgers<T: Config> = StorageMap<_, Blake2_128Concat, T::AccountId, Ledger>;

    /// Where bonded accounts serve blobs: account to endpoint.
    ///
    /// Hashed like [`Ledgers`], of whose keys these are a part; one endpoint per account, of at
    /// most four addresses.
    #[pallet::storage]
    pub type Endpoints<T: Config> = StorageMap<_, Blake2_128Concat, T::AccountId, Endpoint>;

    /// Those who take part in attesting with their bonds, sorted by account: bonded enough in a
    /// role that attests, reachable and not chilled.
    ///
    /// One value, since it is read whole to rotate the lead and to draw seats; bounded by
    /// `MaxValidators`.
    #[pallet::storage]
    pub type Validators<T: Config> =
        StorageValue<_, BoundedVec<(T::AccountId, Balance), T::MaxValidators>, ValueQuery>;

    /// Sum of the bonds of exactly the [`Validators`]. One number.
    #[pallet::storage]
    pub type TotalStake<T: Config> = StorageValue<_, Balance, ValueQuery>;

    /// Those who stand for election, sorted: bonded enough as authorities.
    ///
    /// One value, since an election reads it whole; bounded by [`MAX_CANDIDATES`].
    #[pallet::storage]
    pub type Candidates<T: Config> =
        StorageValue<_, BoundedVec<T::AccountId, ConstU32<MAX_CANDIDATES>>, ValueQuery>;

    /// Who is bonded from the start.
    #[pallet::genesis_config]
    #[derive(frame_support::DefaultNoBound)]
    pub struct GenesisConfig<T: Config> {
        /// Account, role and bond. The accounts must own more than their bonds: balances come
        /// before this pallet.
        pub members: Vec<(T::AccountId, Role, Balance)>,
    }

    #[pallet::genesis_build]
    impl<T: Config> BuildGenesisConfig for GenesisConfig<T> {
        fn build(&self) {
            for (who, role, amount) in &self.members {
                if let Err(error) = Pallet::<T>::open(who, *role, *amount) {
                    panic!("the genesis bond of {who:?} as {role:?} is impossible: {error:?}");
                }
            }
        }
    }

    /// What happened.
    #[pallet::event]
    #[pallet::generate_deposit(pub(crate) fn deposit_event)]
    pub enum Event<T: Config> {
        /// An account took a role.
        Bonded {
            /// Who.
            who: T::AccountId,
            /// As what.
            role: Role,
            /// The bond.
            amount: Balance,
        },
        /// A bond was raised.
        BondRaised {
            /// Whose.
            who: T::AccountId,
            /// By how much.
            amount: Balance,
        },
        /// A role ended.
        Unbonded {
            /// Whose.
            who: T::AccountId,
            /// Block from which the bond can be withdrawn.
            free_at: u32,
        },
        /// A bond was released.
        Withdrawn {
            /// Whose.
            who: T::AccountId,
            /// How much was left of it.
            amount: Balance,
        },
        /// An account said where it serves blobs.
        EndpointSet {
            /// Who.
            who: T::AccountId,
        },
        /// An account's stake in attesting changed.
        StakeChanged {
            /// Whose.
            who: T::AccountId,
            /// The new stake; none when the account no longer takes part.
            stake: Option<Balance>,
        },
        /// A validator was set aside for missing attest phases.
        Chilled {
            /// Who.
            who: T::AccountId,
        },
        /// A validator came back.
        Unchilled {
            /// Who.
            who: T::AccountId,
        },
        /// Part of a bond was burned.
        Slashed {
            /// Whose.
            who: T::AccountId,
            /// How much.
            amount: Balance,
        },
        /// Part of a bond was taken, to be shared out.
        Seized {
            /// Whose.
            who: T::AccountId,
            /// How much.
            amount: Balance,
            /// Where it went.
            to: T::AccountId,
        },
    }

    /// Why a call was refused.
    #[pallet::error]
    pub enum Error<T> {
        /// The account has a role already, or waits for its bond. Unbond and withdraw first; to
        /// raise a bond call `bond_extra`.
        AlreadyBonded,
        /// The account has no bond. Call `bond` first.
        NotBonded,
        /// The bond is below the role's minimum.
        BondTooSmall,
        /// The account's free balance does not cover the bond and the existential deposit.
        InsufficientFunds,
        /// The role has ended. Withdraw the bond, then bond again.
        RoleEnded,
        /// The role has not ended. Call `unbond` first.
        RoleNotEnded,
        /// The unbonding period is not over. Its end was in the `Unbonded` event.
        StillUnbonding,
        /// An endpoint needs at least one address.
        NoAddress,
        /// A quorum is being counted, while which stakes may not change. Try again after the attest
        /// phase.
        StakeIsFrozen,
        /// The account does not take part in attesting.
        NotActive,
        /// The validator has not missed enough attest phases.
        IsAlive,
        /// The account is not chilled.
        NotChilled,
        /// There are as many active validators as allowed. Try again when one has left.
        TooManyValidators,
        /// There are as many authorities as can stand for election. Try again when one has left.
        TooManyCandidates,
    }

    #[pallet::hooks]
    impl<T: Config> Hooks<BlockNumberFor<T>> for Pallet<T> {
        fn integrity_test() {
            assert!(T::MaxValidators::get() > 0, "MaxValidators is zero, so nobody could attest");
            assert!(
                (1..=MAX_CANDIDATES).contains(&T::MaxAuthorities::get()),
                "MaxAuthorities must be in 1..={MAX_CANDIDATES}"
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
        /// Takes `role` and puts `amount` on hold for it.
        ///
        /// - Origin: signed, by an account without a role.
        /// - Effect: a ledger is opened. A trainer can join rounds at once; a validator or
        ///   authority takes part in attesting once it has called [`Pallet::set_endpoint`]; an
        ///   authority stands for election, in which it counts once it has set session keys.
        /// - Events: [`Event::Bonded`].
        /// - Errors: [`Error::AlreadyBonded`]; [`Error::BondTooSmall`] below
        ///   [`Role::minimum_bond`]; [`Error::InsufficientFunds`]; [`Error::TooManyCandidates`].
        #[pallet::call_index(0)]
        #[pallet::weight(T::WeightInfo::bond())]
        pub fn bond(origin: OriginFor<T>, role: Role, amount: Balance) -> DispatchResult {
            let who = ensure_signed(origin)?;
            Self::open(&who, role, amount)
        }

        /// Adds `amount` to the caller's bond.
        ///
        /// - Origin: signed, by a bonded account.
        /// - Effect: more is on hold and, for those who attest, the stake grows. A role that a
        ///   slash had put out of action works again once its bond is at the minimum.
        /// - Events: [`Event::BondRaised`]; [`Event::StakeChanged`] for those who attest.
        /// - Errors: [`Error::NotBonded`]; [`Error::RoleEnded`]; [`Error::InsufficientFunds`];
        ///   [`Error::StakeIsFrozen`] for those who attest, during the attest phase;
        ///   [`Error::TooManyValidators`] and [`Error::TooManyCandidates`] when the account comes
        ///   back and its place is taken.
        #[pallet::call_index(1)]
        #[pallet::weight(T::WeightInfo::bond_extra())]
        pub fn bond_extra(origin: OriginFor<T>, amount: Balance) -> DispatchResult {
            let who = ensure_signed(origin)?;
            Self::update_unless_frozen(&who, |ledger| {
                ensure!(ledger.free_at.is_none(), Error::<T>::RoleEnded);
                Self::hold(&who, ledger, amount)
            })?;
            Self::deposit_event(Event::BondRaised { who, amount });
            Ok(())
        }

        /// Ends the caller's role.
        ///
        /// - Origin: signed, by a bonded account.
        /// - Effect: the account leaves the validators and the candidates. The bond stays on hold,
        ///   and can be slashed, for `UnbondingPeriod` blocks. An elected authority serves the
        ///   sessions it was elected for, so keep the node running until then.
        /// - Events: [`Event::Unbonded`]; [`Event::StakeChanged`] for those who attest.
        /// - Errors: [`Error::NotBonded`]; [`Error::RoleEnded`]; [`Error::StakeIsFrozen`] for those
        ///   who attest, during the attest phase.
        #[pallet::call_index(2)]
        #[pallet::weight(T::WeightInfo::unbond())]
        pub fn unbond(origin: OriginFor<T>) -> DispatchResult {
            let who = ensure_signed(origin)?;
            let free_at = Self::now().saturating_add(T::UnbondingPeriod::get());
            Self::update_unless_frozen(&who, |ledger| {
                ensure!(ledger.free_at.is_none(), Error::<T>::RoleEnded);
                ledger.free_at = Some(free_at);
                Ok(())
            })?;
            Self::deposit_event(Event::Unbonded { who, free_at });
            Ok(())
        }

        /// Releases the caller's bond.
        ///
        /// - Origin: signed, by an account whose role has ended.
        /// - Effect: what is left of the bond is free, and ledger and endpoint are removed.
        /// - Events: [`Event::Withdrawn`].
        /// - Errors: [`Error::NotBonded`]; [`Error::RoleNotEnded`]; [`Error::StillUnbonding`]
        ///   before the block in [`Event::Unbonded`].
        #[pallet::call_index(3)]
        #[pallet::weight(T::WeightInfo::withdraw())]
        pub fn withdraw(origin: OriginFor<T>) -> DispatchResult {
            use fungible::MutateHold;
            let who = ensure_signed(origin)?;
            let ledger = Ledgers::<T>::take(&who).ok_or(Error::<T>::NotBonded)?;
            let free_at = ledger.free_at.ok_or(Error::<T>::RoleNotEnded)?;
            ensure!(Self::now() >= free_at, Error::<T>::StillUnbonding);
            let amount = T::Currency::release(
                &HoldReason::Bond.into(),
                &who,
                ledger.bond,
                Precision::Exact,
            )?;
            Endpoints::<T>::remove(&who);
            Self::deposit_event(Event::Withdrawn { who, amount });
            Ok(())
        }

        /// Says where the caller serves blobs.
        ///
        /// - Origin: signed, by a bonded account; also by one that waits for its bond, since it may
        ///   still owe blobs.
        /// - Effect: replaces the endpoint. With its first one a validator or authority takes part
        ///   in attesting.
        /// - Events: [`Event::EndpointSet`]; [`Event::StakeChanged`] for who now attests.
        /// - Errors: [`Error::NotBonded`]; [`Error::NoAddress`]; with the first endpoint of a
        ///   validator [`Error::StakeIsFrozen`] during the attest phase, and
        ///   [`Error::TooManyValidators`].
        #[pallet::call_index(4)]
        #[pallet::weight(T::WeightInfo::set_endpoint())]
        pub fn set_endpoint(origin: OriginFor<T>, endpoint: Endpoint) -> DispatchResult {
            let who = ensure_signed(origin)?;
            ensure!(!endpoint.addresses.is_empty(), Error::<T>::NoAddress);
            Self::update_unless_frozen(&who, |_| {
                Endpoints::<T>::insert(&who, endpoint);
                Ok(())
            })?;
            Self::deposit_event(Event::EndpointSet { who });
            Ok(())
        }

        /// Sets a validator aside that missed too many attest phases in a row, so that the dead
        /// cannot block the living.
        ///
        /// - Origin: signed, by anybody.
        /// - Effect: the validator leaves [`Validators`]; its bond and role stay.
        /// - Events: [`Event::Chilled`], [`Event::StakeChanged`].
        /// - Errors: [`Error::NotBonded`]; [`Error::NotActive`]; [`Error::IsAlive`] before
        ///   [`Rounds::missable`] attest phases ended without it; [`Error::StakeIsFrozen`] during
        ///   the attest phase.
        #[pallet::call_index(5)]
        #[pallet::weight(T::WeightInfo::chill())]
        pub fn chill(origin: OriginFor<T>, validator: T::AccountId) -> DispatchResult {
            ensure_signed(origin)?;
            Self::update_unless_frozen(&validator, |ledger| {
                ensure!(Self::stake(&validator, ledger).is_some(), Error::<T>::NotActive);
                let missed = T::Rounds::attest_phases().saturating_sub(ledger.attested);
                ensure!(missed >= T::Rounds::missable(), Error::<T>::IsAlive);
                ledger.chilled = true;
                Ok(())
            })?;
            Self::deposit_event(Event::Chilled { who: validator });
            Ok(())
        }

        /// Brings the caller back after it was chilled.
        ///
        /// - Origin: signed, by the validator itself, which shows that it lives.
        /// - Effect: it takes part in attesting again, with nothing missed so far.
        /// - Events: [`Event::Unchilled`]; [`Event::StakeChanged`], unless a slash left too little
        ///   of the bond.
        /// - Errors: [`Error::NotBonded`]; [`Error::NotChilled`]; [`Error::StakeIsFrozen`] during
        ///   the attest phase; [`Error::TooManyValidators`].
        #[pallet::call_index(6)]
        #[pallet::weight(T::WeightInfo::unchill())]
        pub fn unchill(origin: OriginFor<T>) -> DispatchResult {
            let who = ensure_signed(origin)?;
            Self::update_unless_frozen(&who, |ledger| {
                ensure!(ledger.chilled, Error::<T>::NotChilled);
                ledger.chilled = false;
                Ok(())
            })?;
            Self::deposit_event(Event::Unchilled { who });
            Ok(())
        }
    }
}
