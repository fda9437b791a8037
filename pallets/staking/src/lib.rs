// SPDX-License-Identifier: Apache-2.0

//! Roles, bonds, endpoints and the election of authorities.
//!
//! Every member of the network bonds funds for one role. The pallet holds the bonds, keeps the set
//! of validators with their stakes and the endpoint of every member, and elects the authorities of
//! each session. The learning pallet uses it through [`Bonds`](pol_primitives::traits::Bonds). It
//! reads the current round through [`Rounds`](pol_primitives::traits::Rounds).
//!
//! # Key terms
//!
//! - **Role**: a [`Role`](pol_primitives::member::Role), one of trainer, validator and authority.
//! - **Bond**: funds on hold for a role, which penalties are taken from.
//! - **Active validator**: a bonded validator or authority that has an endpoint and is not chilled.
//! - **Lock**: part of a trainer's bond that backs an unsettled update.
//! - **Stake**: the bond of an active validator, its weight in quorums and in the draw of seats.
//! - **Newcomer**: an active validator that has not acted yet. Its stake does not count until then.
//! - **Chilled**: excluded from attesting after too many missed attest phases in a row.
//! - **Candidate**: a bonded authority that elections consider. Its
//!   [`Candidacy`](pol_primitives::election::Candidacy) records its readiness over the sessions.
//! - **Absent**: a candidate that produced no or too few blocks in its sessions.
//! - **Barred**: an authority that equivocated, and is no candidate for the unbonding period.
//! - **Reputation**: a moving average of verified contribution, which raises the election weight.
//!
//! # Where to look
//!
//! - [`Config`], [`Pallet`] (calls), [`Event`], [`Error`] and [`StakingLedger`], the record of a
//!   member.
//! - The pallet's `README.md`: lifecycle, calls, storage, invariants and security.
//! - `docs/protocol.md` and `docs/glossary.md` of the repository.

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
mod sessions;
#[cfg(test)]
mod tests;
#[cfg(any(feature = "std", feature = "try-runtime"))]
mod try_state;
mod types;
pub mod weights;

pub use pallet::*;
pub use sessions::Sessions;
pub use types::{Bar, StakingLedger};
pub use weights::WeightInfo;

/// Maximum number of candidates, and so of elected authorities.
pub const MAX_CANDIDATES: u32 = 128;

/// Target of the pallet's log messages.
const LOG_TARGET: &str = "runtime::pol-staking";

/// The pallet's declarations. The crate re-exports all public items.
#[allow(clippy::expect_used, reason = "the macro's expansion uses it")]
#[polkadot_sdk::frame_support::pallet]
pub mod pallet {
    use super::{MAX_CANDIDATES, Sessions, StakingLedger, WeightInfo};
    use alloc::vec::Vec;
    use pol_primitives::{
        Balance,
        election::Candidacy,
        member::{Endpoint, Role},
        traits::{Departures, Rounds},
    };
    use polkadot_sdk::{
        frame_support::{self, pallet_prelude::*, traits::fungible},
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
        /// Currency of the bonds.
        type Currency: fungible::MutateHold<
                Self::AccountId,
                Reason = Self::RuntimeHoldReason,
                Balance = Balance,
            >;
        /// Hold reasons of the runtime.
        type RuntimeHoldReason: From<HoldReason>;
        /// Source of the current round.
        type Rounds: Rounds;
        /// Watcher of members that withdraw their bonds.
        type Departures: Departures<Self::AccountId>;
        /// The session pallet. Only accounts with session keys are elected.
        type Sessions: Sessions<Self::AccountId>;
        /// Origin that sets the number of authorities.
        type GovernanceOrigin: EnsureOrigin<Self::RuntimeOrigin>;
        /// Number of blocks between the end of a role and the release of its bond. It must be
        /// longer than two sessions and than the longest wait of a submission for its audit.
        /// Otherwise a cheat could withdraw its bond before the penalty.
        #[pallet::constant]
        type UnbondingPeriod: Get<u32>;
        /// Maximum number of active validators. At least one.
        #[pallet::constant]
        type MaxValidators: Get<u32>;
        /// Maximum number of authorities of a session, in `1..=`[`MAX_CANDIDATES`].
        #[pallet::constant]
        type MaxAuthorities: Get<u32>;
        /// Number of authorities that elections aim at until governance sets another, in
        /// `1..=MaxAuthorities`.
        #[pallet::constant]
        type DefaultTarget: Get<u32>;
        /// Amount burned of the bond of an authority that counts as absent. Each further absence
        /// costs twice the one before. It should make it expensive to slow the network by silence,
        /// and stay bearable for an honest authority whose machine has failed.
        #[pallet::constant]
        type AbsencePenalty: Get<Balance>;
        /// Weights of the calls.
        type WeightInfo: WeightInfo;
    }

    #[pallet::extra_constants]
    impl<T: Config> Pallet<T> {
        /// Least bond of a trainer.
        #[pallet::constant_name(TrainerBond)]
        fn trainer_bond() -> Balance {
            Role::Trainer.minimum_bond()
        }

        /// Least bond of a validator.
        #[pallet::constant_name(ValidatorBond)]
        fn validator_bond() -> Balance {
            Role::Validator.minimum_bond()
        }

        /// Least bond of an authority.
        #[pallet::constant_name(AuthorityBond)]
        fn authority_bond() -> Balance {
            Role::Authority.minimum_bond()
        }
    }

    /// Reasons for which the pallet holds funds.
    #[pallet::composite_enum]
    pub enum HoldReason {
        /// Bond of a role.
        #[codec(index = 0)]
        Bond,
    }

    // ---- Storage ----

    /// Ledgers of all members, by account.
    ///
    /// Users choose the accounts, so a cryptographic hash keeps the trie balanced. Each entry costs
    /// at least the smallest bond, and goes when the bond is withdrawn.
    #[pallet::storage]
    pub type Ledgers<T: Config> = StorageMap<_, Blake2_128Concat, T::AccountId, StakingLedger>;

    /// Endpoints at which members serve blobs, by account.
    ///
    /// Hashed like [`Ledgers`], since its keys are a subset. An entry has at most four addresses,
    /// and goes together with the ledger.
    #[pallet::storage]
    pub type Endpoints<T: Config> = StorageMap<_, Blake2_128Concat, T::AccountId, Endpoint>;

    /// Active validators with their stakes, sorted by account.
    ///
    /// A single value, because counts of stake and the draw of seats read it whole. Bounded by
    /// [`Config::MaxValidators`].
    #[pallet::storage]
    pub type Validators<T: Config> =
        StorageValue<_, BoundedVec<(T::AccountId, Balance), T::MaxValidators>, ValueQuery>;

    /// Active validators that have not acted since they became active, sorted by account. Their
    /// stakes count in no quorum, so that an idle newcomer holds up nothing.
    ///
    /// A single value, because counts of stake read it whole. A subset of [`Validators`].
    #[pallet::storage]
    pub type Newcomers<T: Config> =
        StorageValue<_, BoundedVec<T::AccountId, T::MaxValidators>, ValueQuery>;

    /// Sum of the stakes in [`Validators`].
    #[pallet::storage]
    pub type TotalStake<T: Config> = StorageValue<_, Balance, ValueQuery>;

    /// Candidates for election with their readiness, sorted by account.
    ///
    /// A single value, because an election reads it whole. Bounded by [`MAX_CANDIDATES`].
    #[pallet::storage]
    pub type Candidates<T: Config> = StorageValue<
        _,
        BoundedVec<(T::AccountId, Candidacy), ConstU32<MAX_CANDIDATES>>,
        ValueQuery,
    >;

    /// Probations of authorities that were absent, by account. They outlast the candidacy, so that
    /// nobody forgets its absences by losing the place and asking for it again.
    ///
    /// Hashed like [`Ledgers`], since its keys are a subset. An entry goes together with the
    /// ledger.
    #[pallet::storage]
    pub type Probations<T: Config> = StorageMap<_, Blake2_128Concat, T::AccountId, u32>;

    /// Number of authorities that elections aim at; none until governance sets it.
    #[pallet::storage]
    pub type AuthorityTarget<T: Config> = StorageValue<_, u32>;

    /// Numbers of blocks that the authorities produced in this session, by account.
    ///
    /// Only authorities are keys, so a fast hash is enough. Bounded by [`Config::MaxAuthorities`],
    /// and emptied at the end of the session.
    #[pallet::storage]
    pub type Authored<T: Config> = StorageMap<_, Twox64Concat, T::AccountId, u32, ValueQuery>;

    // ---- Genesis ----

    /// Members at genesis.
    #[pallet::genesis_config]
    #[derive(frame_support::DefaultNoBound)]
    pub struct GenesisConfig<T: Config> {
        /// Account, role and bond of each member. An account must own more than its bond, so the
        /// genesis of balances must come before that of this pallet.
        pub members: Vec<(T::AccountId, Role, Balance)>,
    }

    #[pallet::genesis_build]
    impl<T: Config> BuildGenesisConfig for GenesisConfig<T> {
        fn build(&self) {
            for (who, role, amount) in &self.members {
                if let Err(error) = Pallet::<T>::do_bond(who, *role, *amount) {
                    panic!("the genesis bond of {who:?} as {role:?} is impossible: {error:?}");
                }
                Ledgers::<T>::mutate_extant(who, |ledger| ledger.acted = true);
            }
            Candidates::<T>::mutate(|candidates| {
                candidates.iter_mut().for_each(|(_, candidacy)| *candidacy = Candidacy::founder());
            });
        }
    }

    // ---- Events ----

    /// Events of the pallet.
    #[pallet::event]
    #[pallet::generate_deposit(pub(crate) fn deposit_event)]
    pub enum Event<T: Config> {
        /// An account took a role.
        Bonded {
            /// Account that took the role.
            who: T::AccountId,
            /// Role taken.
            role: Role,
            /// Amount of the bond.
            amount: Balance,
        },
        /// A bond was raised.
        BondRaised {
            /// Account that owns the bond.
            who: T::AccountId,
            /// Amount added.
            amount: Balance,
        },
        /// A role ended.
        Unbonded {
            /// Account whose role ended.
            who: T::AccountId,
            /// First block in which the bond can be withdrawn.
            free_at: u32,
        },
        /// A bond was released.
        Withdrawn {
            /// Account that owns the bond.
            who: T::AccountId,
            /// Amount released.
            amount: Balance,
        },
        /// A member set the endpoint at which it serves blobs.
        EndpointSet {
            /// Account of the member.
            who: T::AccountId,
        },
        /// The stake of an account changed.
        StakeChanged {
            /// Account whose stake changed.
            who: T::AccountId,
            /// New stake; none if the account is no longer an active validator.
            stake: Option<Balance>,
        },
        /// A validator was chilled for missing attest phases.
        Chilled {
            /// Account of the validator.
            who: T::AccountId,
        },
        /// A member that was chilled, absent, barred or without a place returned.
        Unchilled {
            /// Account of the member.
            who: T::AccountId,
        },
        /// A validator or candidate has no place, because the list is full of others with more. It
        /// stays bonded, and takes a place with a higher bond or once there is room.
        Waiting {
            /// Account of the member.
            who: T::AccountId,
        },
        /// An authority produced no or too few blocks. It is elected again some time after it said
        /// that it is back.
        Absent {
            /// Account of the authority.
            who: T::AccountId,
        },
        /// An authority equivocated, and is no candidate for the unbonding period.
        Barred {
            /// Account of the authority.
            who: T::AccountId,
            /// First block in which it can be a candidate again.
            until: u32,
        },
        /// The number of authorities that elections aim at was set.
        AuthorityTargetSet {
            /// New number.
            target: u32,
        },
        /// Part of a bond was burned.
        Slashed {
            /// Account that owns the bond.
            who: T::AccountId,
            /// Amount burned.
            amount: Balance,
        },
        /// Part of a bond was moved to another account.
        Seized {
            /// Account that owns the bond.
            who: T::AccountId,
            /// Amount moved.
            amount: Balance,
            /// Account that received the amount.
            to: T::AccountId,
        },
    }

    // ---- Errors ----

    /// Errors of the calls.
    #[pallet::error]
    pub enum Error<T> {
        /// The account already has a role or an unreleased bond. Unbond and withdraw first, or
        /// raise the bond with `bond_extra`.
        AlreadyBonded,
        /// The account has no bond. Call `bond` first.
        NotBonded,
        /// The bond is below the role's minimum. Bond more.
        BondTooSmall,
        /// The account's free balance does not cover the bond and the existential deposit.
        InsufficientFunds,
        /// The role has ended. Withdraw the bond, then bond again.
        RoleEnded,
        /// The role has not ended. Call `unbond` first.
        RoleNotEnded,
        /// The unbonding period is not over, or the account still serves as an authority. The
        /// `Unbonded` event names the block in which the period ends.
        StillUnbonding,
        /// A lease is not concluded, or an update is not settled. Call `conclude` and `settle` of
        /// the learning pallet, as any account may, or wait.
        StillLocked,
        /// The endpoint has no address. Give at least one.
        NoAddress,
        /// The account is not an active validator.
        NotActive,
        /// The validator has not missed enough attest phases.
        IsAlive,
        /// The account has nothing to return from: it is active.
        NotChilled,
        /// All places are taken by members with more. Raise the bond, or try again when one has
        /// left.
        NoPlace,
        /// The authority equivocated. The `Barred` event names the block in which it can return.
        IsBarred,
        /// The number of authorities must be at least one, and at most the maximum.
        TargetOutOfRange,
        /// The session keys of authorities are in use. Unbond, withdraw, and wait until the last
        /// elected session is over.
        KeysInUse,
    }

    // ---- Hooks ----

    #[pallet::hooks]
    impl<T: Config> Hooks<BlockNumberFor<T>> for Pallet<T> {
        /// Reserves the count of the author's block, which the authorship pallet does not charge.
        fn on_initialize(_: BlockNumberFor<T>) -> Weight {
            T::DbWeight::get().reads_writes(1, 1)
        }

        fn integrity_test() {
            assert!(T::MaxValidators::get() > 0, "MaxValidators must be at least 1");
            assert!(
                (1..=MAX_CANDIDATES).contains(&T::MaxAuthorities::get()),
                "MaxAuthorities must be in 1..={MAX_CANDIDATES}"
            );
            assert!(
                (1..=T::MaxAuthorities::get()).contains(&T::DefaultTarget::get()),
                "DefaultTarget must be in 1..=MaxAuthorities"
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
        /// Takes a role and puts its bond on hold.
        ///
        /// - Origin: signed by an account without a role.
        /// - Effect: opens a ledger. A trainer can join rounds at once. A validator or authority
        ///   becomes an active validator with [`Pallet::set_endpoint`]. An authority also becomes a
        ///   candidate. It can be elected once it has had session keys and an endpoint for a full
        ///   session.
        /// - Events: [`Event::Bonded`]; [`Event::Waiting`] for an authority if the list of
        ///   candidates is full, or for the candidate that made room.
        /// - Errors: [`Error::AlreadyBonded`]; [`Error::BondTooSmall`] below
        ///   [`Role::minimum_bond`]; [`Error::InsufficientFunds`].
        #[pallet::call_index(0)]
        #[pallet::weight(T::WeightInfo::bond())]
        pub fn bond(origin: OriginFor<T>, role: Role, amount: Balance) -> DispatchResult {
            let who = ensure_signed(origin)?;
            Self::do_bond(&who, role, amount)
        }

        /// Adds an amount to the caller's bond.
        ///
        /// - Origin: signed by a member.
        /// - Effect: the stake of an active validator grows. A member whose bond was below the
        ///   minimum after a penalty can act again once the bond is back at the minimum. A member
        ///   without a place takes that of whoever has least, if its own bond is higher now.
        /// - Events: [`Event::BondRaised`]; [`Event::StakeChanged`] for a validator;
        ///   [`Event::Waiting`] for a member that has no place or made room.
        /// - Errors: [`Error::NotBonded`]; [`Error::RoleEnded`]; [`Error::InsufficientFunds`].
        #[pallet::call_index(1)]
        #[pallet::weight(T::WeightInfo::bond_extra())]
        pub fn bond_extra(origin: OriginFor<T>, amount: Balance) -> DispatchResult {
            let who = ensure_signed(origin)?;
            Self::do_bond_extra(who, amount)
        }

        /// Ends the caller's role.
        ///
        /// - Origin: signed by a member.
        /// - Effect: the account leaves the validators and the candidates. The bond stays on hold
        ///   and open to penalties for [`Config::UnbondingPeriod`] blocks. An elected authority
        ///   serves the sessions it was elected for, so its node must keep running until then.
        /// - Events: [`Event::Unbonded`]; [`Event::StakeChanged`] for a validator.
        /// - Errors: [`Error::NotBonded`]; [`Error::RoleEnded`].
        #[pallet::call_index(2)]
        #[pallet::weight(T::WeightInfo::unbond())]
        pub fn unbond(origin: OriginFor<T>) -> DispatchResult {
            let who = ensure_signed(origin)?;
            Self::do_unbond(who)
        }

        /// Releases the caller's bond.
        ///
        /// - Origin: signed by an account whose role has ended.
        /// - Effect: the rest of the bond is free. Ledger and endpoint are removed.
        /// - Events: [`Event::Withdrawn`].
        /// - Errors: [`Error::NotBonded`]; [`Error::RoleNotEnded`]; [`Error::StillUnbonding`]
        ///   before the block named in [`Event::Unbonded`]; [`Error::StillLocked`] while an update
        ///   is unsettled.
        #[pallet::call_index(3)]
        #[pallet::weight(T::WeightInfo::withdraw())]
        pub fn withdraw(origin: OriginFor<T>) -> DispatchResult {
            let who = ensure_signed(origin)?;
            Self::do_withdraw(who)
        }

        /// Sets the endpoint at which the caller serves blobs.
        ///
        /// - Origin: signed by a member, or by an account that waits for its bond and may still
        ///   have to serve blobs.
        /// - Effect: replaces the endpoint. The first endpoint makes a validator or authority an
        ///   active validator, unless all places are taken by higher stakes.
        /// - Events: [`Event::EndpointSet`]; [`Event::StakeChanged`] for a new active validator;
        ///   [`Event::Waiting`] for one that has no place or made room.
        /// - Errors: [`Error::NotBonded`]; [`Error::NoAddress`].
        #[pallet::call_index(4)]
        #[pallet::weight(T::WeightInfo::set_endpoint())]
        pub fn set_endpoint(origin: OriginFor<T>, endpoint: Endpoint) -> DispatchResult {
            let who = ensure_signed(origin)?;
            Self::do_set_endpoint(who, endpoint)
        }

        /// Chills a validator that missed too many attest phases in a row, so that absent stake
        /// does not block quorums.
        ///
        /// - Origin: signed by any account.
        /// - Effect: the validator leaves [`Validators`] and keeps its bond and role.
        /// - Events: [`Event::Chilled`]; [`Event::StakeChanged`].
        /// - Errors: [`Error::NotBonded`]; [`Error::NotActive`]; [`Error::IsAlive`] before
        ///   [`Rounds::max_missed_phases`] attest phases ended without it.
        #[pallet::call_index(5)]
        #[pallet::weight(T::WeightInfo::chill())]
        pub fn chill(origin: OriginFor<T>, validator: T::AccountId) -> DispatchResult {
            ensure_signed(origin)?;
            Self::do_chill(validator)
        }

        /// Returns the caller after it was chilled, absent, barred or without a place.
        ///
        /// - Origin: signed by the member.
        /// - Effect: a chilled validator attests again. Its count of missed attest phases starts at
        ///   zero. An absent authority is considered again after a probation, which doubles with
        ///   each absence. A barred one is a candidate again once its time is over. A member that
        ///   waits takes a place if there is one.
        /// - Events: [`Event::Unchilled`]; [`Event::StakeChanged`] unless penalties left too small
        ///   a bond; [`Event::Waiting`] for a member that has no place or made room.
        /// - Errors: [`Error::NotBonded`]; [`Error::NotChilled`]; [`Error::IsBarred`];
        ///   [`Error::NoPlace`].
        #[pallet::call_index(6)]
        #[pallet::weight(T::WeightInfo::unchill())]
        pub fn unchill(origin: OriginFor<T>) -> DispatchResult {
            let who = ensure_signed(origin)?;
            Self::do_unchill(who)
        }

        /// Sets the number of authorities that elections aim at.
        ///
        /// - Origin: governance.
        /// - Effect: elections from the next session on choose up to this number.
        /// - Events: [`Event::AuthorityTargetSet`].
        /// - Errors: [`Error::TargetOutOfRange`].
        #[pallet::call_index(7)]
        #[pallet::weight(T::WeightInfo::set_authority_target())]
        pub fn set_authority_target(origin: OriginFor<T>, target: u32) -> DispatchResult {
            T::GovernanceOrigin::ensure_origin(origin)?;
            Self::do_set_authority_target(target)
        }

        /// Removes the caller's session keys and releases their deposit. The session pallet's own
        /// call could leave a session without authorities.
        ///
        /// - Origin: signed by an account that is no authority, and serves in neither this session
        ///   nor the next.
        /// - Effect: the keys are free for another account.
        /// - Events: those of the session pallet.
        /// - Errors: [`Error::KeysInUse`]; those of the session pallet if there are no keys.
        #[pallet::call_index(8)]
        #[pallet::weight(T::WeightInfo::purge_session_keys())]
        pub fn purge_session_keys(origin: OriginFor<T>) -> DispatchResult {
            let who = ensure_signed(origin)?;
            Self::do_purge_session_keys(who)
        }
    }
}
