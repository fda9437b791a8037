// SPDX-License-Identifier: Apache-2.0

//! Sources, manifests and the consumption of every shard exactly once.
//!
//! Providers register sources of text and manifests of shards made from them. An origin of the
//! runtime's choice admits a manifest as text of a kind. The pallet keeps the pool of admitted
//! shards that can be leased, and ensures that each shard becomes part of the model at most once.
//! The learning pallet uses it through [`ShardPool`](pol_primitives::traits::ShardPool). The pallet
//! reads the current round through [`Rounds`](pol_primitives::traits::Rounds), the format of data
//! through [`DataFormat`](pol_primitives::traits::DataFormat), and stakes through
//! [`ValidatorStakes`](pol_primitives::traits::ValidatorStakes).
//!
//! # Key terms
//!
//! - **Source**: a registered origin of text, a [`Source`](pol_primitives::data::Source).
//! - **Shard**: a piece of tokenized text of fixed length.
//! - **Manifest**: a registered list of shards, a [`Manifest`](pol_primitives::data::Manifest).
//! - **Admission**: the decision that a manifest is text of a kind.
//! - **Pool**: admitted manifests whose shards can be leased, by kind.
//! - **Free, leased, consumed**: the three states of a shard.
//! - **Held out**: never leased; the network measures itself on such shards.
//! - **Paused**: taken out of the pool until it is resumed.
//! - **Retired**: taken out of the pool for good, for a reason, a
//!   [`Retirement`](pol_primitives::lineage::Retirement).
//! - **Derivation**: the activity and the program that made a text, a
//!   [`Derivation`](pol_primitives::lineage::Derivation).
//! - **Documents**: the tree over the records of the documents of a text,
//!   [`Documents`](pol_primitives::lineage::Documents).
//! - **Record**: the round, update and effect of a consumed shard, a
//!   [`ShardRecord`](pol_primitives::data::ShardRecord).
//!
//! # Where to look
//!
//! - [`Config`], [`Pallet`] (calls), [`Event`], [`Error`]; [`PoolEntry`], [`ShardBitmap`],
//!   [`ShardRecords`] and [`UnavailabilityReport`], the values of the larger storage items.
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
#[cfg(test)]
mod tests;
#[cfg(any(feature = "std", feature = "try-runtime"))]
mod try_state;
mod types;
pub mod weights;

pub use pallet::*;
pub use types::{
    PauseReason, PoolEntry, RECORDS_PER_CHUNK, ShardBitmap, ShardRecords, UnavailabilityReport,
};
pub use weights::WeightInfo;

/// Maximum number of manifests of one kind in the pool.
pub const MAX_POOL_MANIFESTS: u32 = 64;

/// Target of the pallet's log messages.
const LOG_TARGET: &str = "runtime::pol-lineage";

/// The pallet's declarations. The crate re-exports all public items.
#[allow(clippy::expect_used, reason = "the macro's expansion uses it")]
#[polkadot_sdk::frame_support::pallet]
pub mod pallet {
    use super::{
        MAX_POOL_MANIFESTS, PauseReason, PoolEntry, ShardBitmap, ShardRecords,
        UnavailabilityReport, WeightInfo,
    };
    use alloc::boxed::Box;
    use pol_primitives::{
        Balance, Hash, Ppm, RoundNumber,
        data::{Manifest, ManifestId, ManifestInfo, ShortText, Source, SourceId, SourceKind},
        lineage::Retirement,
        traits::{DataFormat, Rounds, ValidatorStakes},
    };
    use polkadot_sdk::{
        frame_support::{pallet_prelude::*, traits::fungible},
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
        /// Currency of the deposits.
        type Currency: fungible::MutateHold<
                Self::AccountId,
                Reason = Self::RuntimeHoldReason,
                Balance = Balance,
            >;
        /// Hold reasons of the runtime.
        type RuntimeHoldReason: From<HoldReason>;
        /// Deposit for a source, and for a manifest without its shards.
        #[pallet::constant]
        type ManifestDeposit: Get<Balance>;
        /// Deposit for each shard of a manifest.
        #[pallet::constant]
        type ShardDeposit: Get<Balance>;
        /// Maximum share of one provider in a lease or a probe while others have data.
        #[pallet::constant]
        type ProviderShare: Get<Ppm>;
        /// Number of measured shards after which a manifest that did not improve the model by them
        /// is paused.
        #[pallet::constant]
        type EffectWindow: Get<u32>;
        /// Number of blocks in which reports about a manifest must reach a quorum. Shorter than the
        /// wait for a bond, so that no stake counts twice.
        #[pallet::constant]
        type ReportWindow: Get<BlockNumberFor<Self>>;
        /// Number of rounds for which a manifest is kept after its end, with the records of its
        /// shards. Longer than a lease and its audit take.
        #[pallet::constant]
        type KeptRounds: Get<RoundNumber>;
        /// Source of the current round.
        type Rounds: Rounds;
        /// Source of the data format of the recipe.
        type Recipe: DataFormat;
        /// Source of the stakes of validators.
        type Validators: ValidatorStakes<Self::AccountId>;
        /// Origin that may admit, pause, resume and retire manifests.
        type AdmissionOrigin: EnsureOrigin<Self::RuntimeOrigin>;
        /// Weights of the calls.
        type WeightInfo: WeightInfo;
    }

    #[pallet::extra_constants]
    impl<T: Config> Pallet<T> {
        /// Weight in rewards of training on text of the kind pretrained, in millionths.
        #[pallet::constant_name(PretrainedBonus)]
        fn pretrained_bonus() -> Ppm {
            SourceKind::Pretrained.bonus()
        }

        /// Weight in rewards of training on text of the kind dataset, in millionths.
        #[pallet::constant_name(DatasetBonus)]
        fn dataset_bonus() -> Ppm {
            SourceKind::Dataset.bonus()
        }

        /// Weight in rewards of training on text of the kind web, in millionths.
        #[pallet::constant_name(WebBonus)]
        fn web_bonus() -> Ppm {
            SourceKind::Web.bonus()
        }

        /// Weight in rewards of training on text of the kind synthetic, in millionths.
        #[pallet::constant_name(SyntheticBonus)]
        fn synthetic_bonus() -> Ppm {
            SourceKind::Synthetic.bonus()
        }
    }

    /// Reasons for which the pallet holds funds.
    #[pallet::composite_enum]
    pub enum HoldReason {
        /// Deposit of a source or a manifest.
        #[codec(index = 0)]
        Deposit,
    }

    // ---- Storage ----

    /// Sources of text, by id.
    ///
    /// Ids count up and no user chooses them, so a fast hash is enough. Each entry costs a deposit,
    /// and goes when the source is withdrawn.
    #[pallet::storage]
    pub type Sources<T: Config> = StorageMap<_, Twox64Concat, SourceId, Source<T::AccountId>>;

    /// Id of the next source.
    #[pallet::storage]
    pub type NextSource<T: Config> = StorageValue<_, SourceId, ValueQuery>;

    /// Number of manifests registered from each source, by id; no entry for zero.
    ///
    /// Hashed like [`Sources`], since its keys are a subset.
    #[pallet::storage]
    pub type ManifestsOf<T: Config> = StorageMap<_, Twox64Concat, SourceId, u32, ValueQuery>;

    /// Registered manifests and the counts of their shards, by id.
    ///
    /// Ids count up, so a fast hash is enough. Each entry costs a deposit, and goes when a manifest
    /// is withdrawn, retired before it was admitted, or ended [`Config::KeptRounds`] ago.
    #[pallet::storage]
    pub type Manifests<T: Config> = StorageMap<_, Twox64Concat, ManifestId, Manifest<T::AccountId>>;

    /// Number of manifests ever registered, and so the id of the next one.
    #[pallet::storage]
    pub type ManifestCount<T: Config> = StorageValue<_, u32, ValueQuery>;

    /// Admitted manifests by content hash, so that no data is admitted twice.
    ///
    /// Providers choose the hashes, so a cryptographic hash keeps the trie balanced. One entry for
    /// each manifest that was admitted and not withdrawn, also if it is no longer kept. A proposal
    /// has none, so that nobody can occupy the hash of another's text.
    #[pallet::storage]
    pub type ManifestOfContent<T: Config> = StorageMap<_, Blake2_128Concat, Hash, ManifestId>;

    /// Admitted manifests by the root over their documents and their side of the split (`true` if
    /// held out), so that no documents are admitted twice.
    ///
    /// Hashed and kept like [`ManifestOfContent`].
    #[pallet::storage]
    pub type ManifestOfDocuments<T: Config> =
        StorageDoubleMap<_, Blake2_128Concat, Hash, Twox64Concat, bool, ManifestId>;

    /// Decisions to retire or refuse a manifest, by its id, also if it is no longer kept.
    ///
    /// Hashed like [`Manifests`]. Only [`Config::AdmissionOrigin`] adds entries, at most one for
    /// each manifest.
    #[pallet::storage]
    pub type Retirements<T: Config> = StorageMap<_, Twox64Concat, ManifestId, Retirement>;

    /// Amount on hold for each manifest, by id. A runtime upgrade may change the deposit of later
    /// manifests.
    ///
    /// Hashed like [`Manifests`]; one entry for each manifest that is proposed, admitted or paused
    /// and has not lost its deposit.
    #[pallet::storage]
    pub type ManifestDeposits<T: Config> =
        StorageMap<_, Twox64Concat, ManifestId, Balance, ValueQuery>;

    /// Amount on hold for each source, by id.
    ///
    /// Hashed like [`Sources`]; one entry for each source.
    #[pallet::storage]
    pub type SourceDeposits<T: Config> = StorageMap<_, Twox64Concat, SourceId, Balance, ValueQuery>;

    /// Manifests whose shards can be leased, by the kind that they were admitted as.
    ///
    /// There are four keys, so a fast hash is enough. A draw reads all lists, and the length of
    /// each is bounded by [`MAX_POOL_MANIFESTS`]. A manifest that is not held out is in the pool
    /// from its admission until its last shard is consumed, or it is paused, retired or withdrawn.
    #[pallet::storage]
    pub type Pool<T: Config> = StorageMap<
        _,
        Twox64Concat,
        SourceKind,
        BoundedVec<PoolEntry<T::AccountId>, ConstU32<MAX_POOL_MANIFESTS>>,
        ValueQuery,
    >;

    /// Reports that the shards of an admitted manifest cannot be fetched, by manifest.
    ///
    /// Hashed like [`Manifests`], since its keys are a subset. An entry is bounded by the number of
    /// validators, and goes when they reach a quorum, or the manifest leaves the pool.
    #[pallet::storage]
    pub type Reports<T: Config> = StorageMap<
        _,
        Twox64Concat,
        ManifestId,
        UnavailabilityReport<T::AccountId, BlockNumberFor<T>>,
    >;

    /// Number of free shards in the whole pool.
    #[pallet::storage]
    pub type FreeShards<T: Config> = StorageValue<_, u32, ValueQuery>;

    /// Free shards of each manifest in drawing order, by manifest and position.
    ///
    /// A position below the manifest's number of free shards that has no entry holds the shard of
    /// the same index, so a new manifest needs no entries. The keys are numbers that no user
    /// chooses, so fast hashes are enough. A lease or release adds at most one entry, and there are
    /// at most as many as free shards.
    #[pallet::storage]
    pub type Slots<T: Config> =
        StorageDoubleMap<_, Twox64Concat, ManifestId, Twox64Concat, u32, u32>;

    /// Leased shards of each manifest, by manifest and chunk; no entry for an empty set.
    ///
    /// The keys are numbers, so fast hashes are enough. A manifest has at most 512 chunks of 2,048
    /// shards, of 256 bytes each.
    #[pallet::storage]
    pub type LeasedShards<T: Config> =
        StorageDoubleMap<_, Twox64Concat, ManifestId, Twox64Concat, u32, ShardBitmap>;

    /// Records of the consumed shards of each manifest, by manifest and chunk.
    ///
    /// The keys are numbers, so fast hashes are enough. A manifest has at most 8,192 chunks of 128
    /// shards, of at most 1.3 kB each. They go with the manifest.
    #[pallet::storage]
    pub type ConsumedShards<T: Config> =
        StorageDoubleMap<_, Twox64Concat, ManifestId, Twox64Concat, u32, ShardRecords>;

    /// Manifest that was removed, and whose records and slots are being removed.
    #[pallet::storage]
    pub type LeavingManifest<T: Config> = StorageValue<_, ManifestId>;

    /// Id from which on the next block looks for a manifest to remove.
    #[pallet::storage]
    pub type NextChecked<T: Config> = StorageValue<_, ManifestId, ValueQuery>;

    // ---- Events ----

    /// Events of the pallet.
    #[pallet::event]
    #[pallet::generate_deposit(pub(crate) fn deposit_event)]
    pub enum Event<T: Config> {
        /// A source was registered.
        SourceRegistered {
            /// Id of the source.
            source: SourceId,
            /// Account that owns the source.
            owner: T::AccountId,
        },
        /// A source without manifests was withdrawn.
        SourceWithdrawn {
            /// Id of the source.
            source: SourceId,
        },
        /// A manifest was registered, and waits for its admission.
        ManifestRegistered {
            /// Id of the manifest.
            manifest: ManifestId,
            /// Source that the manifest was made from.
            source: SourceId,
            /// Number of shards.
            shards: u32,
            /// `true` if the shards are never leased.
            held_out: bool,
        },
        /// A manifest was admitted as text of a kind.
        ManifestAdmitted {
            /// Id of the manifest.
            manifest: ManifestId,
            /// Kind of the text.
            kind: SourceKind,
        },
        /// An untouched manifest was withdrawn.
        ManifestWithdrawn {
            /// Id of the manifest.
            manifest: ManifestId,
        },
        /// A validator reported that the shards of a manifest cannot be fetched.
        ManifestReported {
            /// Id of the manifest.
            manifest: ManifestId,
            /// Account of the validator.
            validator: T::AccountId,
        },
        /// The deposit of a manifest was burned, because its shards cannot be fetched.
        DepositLost {
            /// Id of the manifest.
            manifest: ManifestId,
            /// Amount of the deposit.
            burned: Balance,
        },
        /// A manifest was taken out of the pool until it is resumed.
        ManifestPaused {
            /// Id of the manifest.
            manifest: ManifestId,
            /// Reason of the pause.
            reason: PauseReason,
        },
        /// A paused manifest was put back into the pool.
        ManifestResumed {
            /// Id of the manifest.
            manifest: ManifestId,
        },
        /// A manifest was refused, or taken out of the pool for good.
        ManifestRetired {
            /// Id of the manifest.
            manifest: ManifestId,
            /// Reason, with its evidence.
            retirement: Retirement,
            /// Deposit that was burned; the rest was released.
            burned: Balance,
        },
        /// The last shard of a manifest was consumed.
        ManifestConsumed {
            /// Id of the manifest.
            manifest: ManifestId,
        },
        /// A manifest that ended long ago was removed, and the records of its shards will be.
        ManifestForgotten {
            /// Id of the manifest.
            manifest: ManifestId,
        },
    }

    // ---- Errors ----

    /// Errors of the calls.
    #[pallet::error]
    pub enum Error<T> {
        /// No source has this id.
        UnknownSource,
        /// No manifest has this id.
        UnknownManifest,
        /// A parent is not registered. Register the parents first.
        UnknownParent,
        /// A parent was retired for a cause that holds for all text made from it. Derive the text
        /// from others.
        ParentRetired,
        /// Text that was selected or transformed names no parent.
        MissingParent,
        /// The program that made the text has no name or no version, or not in UTF-8.
        InvalidDerivation,
        /// The number of documents is not in `1..=2^24`.
        InvalidDocuments,
        /// The caller does not own the source or manifest.
        NotOwner,
        /// The account's free balance does not cover the deposit and the existential deposit.
        InsufficientFunds,
        /// The number of shards is not in `1..=2^20`.
        InvalidShards,
        /// The quality exceeds a million parts.
        InvalidQuality,
        /// No recipe is in force, so the data format is not known. Wait for a recipe.
        NoRecipe,
        /// The shard length or tokenizer differs from the recipe's. Prepare the data with those of
        /// the recipe.
        WrongFormat,
        /// A manifest with this content is or was admitted.
        AlreadyAdmitted,
        /// A manifest with these documents is or was admitted.
        DocumentsAlreadyAdmitted,
        /// The other side of the split of these documents has another source or derivation, or is
        /// no longer kept.
        ForeignDocuments,
        /// The pool holds the maximum number of manifests of this kind. Try again when one is
        /// consumed, or merge small manifests into one.
        PoolIsFull,
        /// A shard of the manifest was leased, or the manifest is held out, paused or retired, so
        /// it cannot be withdrawn.
        InUse,
        /// The manifest was decided about already.
        NotProposed,
        /// The manifest is not in the pool. Only admitted manifests are paused or reported.
        NotAdmitted,
        /// The manifest is not paused.
        NotPaused,
        /// The manifest was retired already.
        AlreadyRetired,
        /// The manifest is held out. A recipe names it, and nobody leases it.
        HeldOut,
        /// The caller is no active validator, or has not attested yet.
        NotValidator,
        /// The validator has reported the manifest already.
        AlreadyReported,
        /// The report holds the maximum number of validators.
        TooManyReports,
        /// The source has manifests. Withdraw them first.
        HasManifests,
    }

    // ---- Hooks ----

    #[pallet::hooks]
    impl<T: Config> Hooks<BlockNumberFor<T>> for Pallet<T> {
        fn on_initialize(_: BlockNumberFor<T>) -> Weight {
            Self::expire()
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
        /// Registers a source of text.
        ///
        /// - Origin: signed; the caller becomes the owner.
        /// - Effect: the source gets the next id. Its deposit is put on hold.
        /// - Events: [`Event::SourceRegistered`].
        /// - Errors: [`Error::InsufficientFunds`].
        #[pallet::call_index(0)]
        #[pallet::weight(T::WeightInfo::register_source())]
        pub fn register_source(
            origin: OriginFor<T>,
            address: ShortText,
            licence: ShortText,
        ) -> DispatchResult {
            let owner = ensure_signed(origin)?;
            Self::do_register_source(owner, address, licence)
        }

        /// Proposes a manifest made from one of the caller's sources.
        ///
        /// - Origin: signed by the owner of the source.
        /// - Effect: the manifest gets the next id and waits for its admission. Its deposit, which
        ///   grows with its shards, is put on hold.
        /// - Events: [`Event::ManifestRegistered`].
        /// - Errors: [`Error::UnknownSource`]; [`Error::NotOwner`]; [`Error::InvalidShards`];
        ///   [`Error::InvalidQuality`]; [`Error::InvalidDerivation`]; [`Error::InvalidDocuments`];
        ///   [`Error::MissingParent`]; [`Error::UnknownParent`]; [`Error::ParentRetired`];
        ///   [`Error::NoRecipe`]; [`Error::WrongFormat`]; [`Error::AlreadyAdmitted`];
        ///   [`Error::DocumentsAlreadyAdmitted`]; [`Error::ForeignDocuments`];
        ///   [`Error::InsufficientFunds`].
        #[pallet::call_index(1)]
        #[pallet::weight(T::WeightInfo::register_manifest())]
        pub fn register_manifest(origin: OriginFor<T>, info: Box<ManifestInfo>) -> DispatchResult {
            let owner = ensure_signed(origin)?;
            Self::do_register_manifest(owner, *info)
        }

        /// Withdraws a manifest that was not admitted, or none of whose shards was ever leased.
        ///
        /// - Origin: signed by the owner of the manifest.
        /// - Effect: removes the manifest, its content hash, its documents and its shards in the
        ///   pool, and releases the deposit. The id is not reused, so manifests that name it as a
        ///   parent name no other.
        /// - Events: [`Event::ManifestWithdrawn`].
        /// - Errors: [`Error::UnknownManifest`]; [`Error::NotOwner`]; [`Error::InUse`].
        #[pallet::call_index(2)]
        #[pallet::weight(T::WeightInfo::withdraw_manifest())]
        pub fn withdraw_manifest(origin: OriginFor<T>, manifest: ManifestId) -> DispatchResult {
            let who = ensure_signed(origin)?;
            Self::do_withdraw_manifest(who, manifest)
        }

        /// Withdraws a source without manifests.
        ///
        /// - Origin: signed by the owner of the source.
        /// - Effect: removes the source and releases the deposit.
        /// - Events: [`Event::SourceWithdrawn`].
        /// - Errors: [`Error::UnknownSource`]; [`Error::NotOwner`]; [`Error::HasManifests`].
        #[pallet::call_index(3)]
        #[pallet::weight(T::WeightInfo::withdraw_source())]
        pub fn withdraw_source(origin: OriginFor<T>, source: SourceId) -> DispatchResult {
            let who = ensure_signed(origin)?;
            Self::do_withdraw_source(who, source)
        }

        /// Refuses a proposed manifest, or takes an admitted one out of the pool for good.
        ///
        /// - Origin: `AdmissionOrigin`.
        /// - Effect: stores the decision for good. A proposed manifest is removed. The shards of
        ///   an admitted one are no longer leased; open leases end as usual, consumed shards stay
        ///   in the model, and its content and documents cannot be admitted again. The deposit is
        ///   burned if the manifest is retired for cause, and released otherwise. A manifest whose
        ///   shards are all consumed can be retired too, which bars text derived from it.
        /// - Events: [`Event::ManifestRetired`].
        /// - Errors: [`Error::UnknownManifest`]; [`Error::AlreadyRetired`].
        #[pallet::call_index(4)]
        #[pallet::weight(T::WeightInfo::retire_manifest())]
        pub fn retire_manifest(
            origin: OriginFor<T>,
            manifest: ManifestId,
            retirement: Retirement,
        ) -> DispatchResult {
            T::AdmissionOrigin::ensure_origin(origin)?;
            Self::do_retire_manifest(manifest, retirement)
        }

        /// Admits a proposed manifest as text of `kind`.
        ///
        /// - Origin: `AdmissionOrigin`.
        /// - Effect: its shards can be leased from now on. A held-out manifest is never leased, but
        ///   a recipe can name it.
        /// - Events: [`Event::ManifestAdmitted`].
        /// - Errors: [`Error::UnknownManifest`]; [`Error::NotProposed`]; [`Error::NoRecipe`];
        ///   [`Error::WrongFormat`]; [`Error::ParentRetired`]; [`Error::AlreadyAdmitted`];
        ///   [`Error::DocumentsAlreadyAdmitted`]; [`Error::ForeignDocuments`];
        ///   [`Error::PoolIsFull`].
        #[pallet::call_index(5)]
        #[pallet::weight(T::WeightInfo::admit_manifest())]
        pub fn admit_manifest(
            origin: OriginFor<T>,
            manifest: ManifestId,
            kind: SourceKind,
        ) -> DispatchResult {
            T::AdmissionOrigin::ensure_origin(origin)?;
            Self::do_admit_manifest(manifest, kind)
        }

        /// Takes a manifest out of the pool until it is resumed.
        ///
        /// - Origin: `AdmissionOrigin`.
        /// - Effect: its shards are no longer leased. Open leases end as usual.
        /// - Events: [`Event::ManifestPaused`].
        /// - Errors: [`Error::UnknownManifest`]; [`Error::HeldOut`]; [`Error::NotAdmitted`].
        #[pallet::call_index(6)]
        #[pallet::weight(T::WeightInfo::pause_manifest())]
        pub fn pause_manifest(origin: OriginFor<T>, manifest: ManifestId) -> DispatchResult {
            T::AdmissionOrigin::ensure_origin(origin)?;
            Self::do_pause_manifest(manifest)
        }

        /// Puts a paused manifest back into the pool.
        ///
        /// - Origin: `AdmissionOrigin`.
        /// - Effect: its shards can be leased again. If its deposit was lost, its owner pays
        ///   another one.
        /// - Events: [`Event::ManifestResumed`].
        /// - Errors: [`Error::UnknownManifest`]; [`Error::NotPaused`]; [`Error::NoRecipe`];
        ///   [`Error::WrongFormat`]; [`Error::InsufficientFunds`]; [`Error::PoolIsFull`].
        #[pallet::call_index(7)]
        #[pallet::weight(T::WeightInfo::resume_manifest())]
        pub fn resume_manifest(origin: OriginFor<T>, manifest: ManifestId) -> DispatchResult {
            T::AdmissionOrigin::ensure_origin(origin)?;
            Self::do_resume_manifest(manifest)
        }

        /// Reports that the shards of a manifest cannot be fetched.
        ///
        /// - Origin: signed by an active validator.
        /// - Effect: counts the validator's stake. Once validators with 67 % of the stake reported
        ///   the manifest within [`Config::ReportWindow`], it is paused and its deposit is burned.
        /// - Events: [`Event::ManifestReported`]; with the quorum, also [`Event::ManifestPaused`]
        ///   and [`Event::DepositLost`].
        /// - Errors: [`Error::NotValidator`]; [`Error::UnknownManifest`]; [`Error::HeldOut`];
        ///   [`Error::NotAdmitted`]; [`Error::AlreadyReported`]; [`Error::TooManyReports`].
        #[pallet::call_index(8)]
        #[pallet::weight(T::WeightInfo::report_manifest())]
        pub fn report_manifest(origin: OriginFor<T>, manifest: ManifestId) -> DispatchResult {
            let validator = ensure_signed(origin)?;
            Self::do_report_manifest(validator, manifest)
        }
    }
}
