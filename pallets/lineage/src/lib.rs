// SPDX-License-Identifier: Apache-2.0

//! Sources, manifests and the consumption of every shard exactly once.
//!
//! Providers register sources of text and manifests of shards made from them. The pallet keeps the
//! pool of shards that can be leased, and ensures that each shard becomes part of the model at most
//! once. The learning pallet uses it through [`ShardPool`](pol_primitives::traits::ShardPool). The
//! pallet reads the current round through [`Rounds`](pol_primitives::traits::Rounds), and the
//! format of data through [`DataFormat`](pol_primitives::traits::DataFormat).
//!
//! # Key terms
//!
//! - **Source**: a registered origin of text, a [`Source`](pol_primitives::data::Source).
//! - **Shard**: a piece of tokenized text of fixed length.
//! - **Manifest**: a registered list of shards, a [`Manifest`](pol_primitives::data::Manifest).
//! - **Pool**: manifests whose shards can be leased, by kind of source.
//! - **Free, leased, consumed**: the three states of a shard.
//! - **Held out**: never leased; the network measures itself on such shards.
//! - **Retired**: taken out of the pool by governance.
//! - **Record**: the round, update and effect of a consumed shard, a
//!   [`ShardRecord`](pol_primitives::data::ShardRecord).
//!
//! # Where to look
//!
//! - [`Config`], [`Pallet`] (calls), [`Event`], [`Error`]; [`PoolEntry`], [`ShardBitmap`] and
//!   [`ShardRecords`], the values of the larger storage items.
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
pub use types::{PoolEntry, RECORDS_PER_CHUNK, ShardBitmap, ShardRecords};
pub use weights::WeightInfo;

/// Maximum number of manifests of one kind in the pool.
pub const MAX_POOL_MANIFESTS: u32 = 64;

/// Target of the pallet's log messages.
const LOG_TARGET: &str = "runtime::pol-lineage";

/// The pallet's declarations. The crate re-exports all public items.
#[allow(clippy::expect_used, reason = "the macro's expansion uses it")]
#[polkadot_sdk::frame_support::pallet]
pub mod pallet {
    use super::{MAX_POOL_MANIFESTS, PoolEntry, ShardBitmap, ShardRecords, WeightInfo};
    use pol_primitives::{
        Balance, Hash,
        data::{Manifest, ManifestId, ManifestInfo, ShortText, Source, SourceId, SourceKind},
        traits::{DataFormat, Rounds},
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
        /// Deposit for a source, and for a manifest.
        #[pallet::constant]
        type ManifestDeposit: Get<Balance>;
        /// Source of the current round.
        type Rounds: Rounds;
        /// Source of the data format of the recipe.
        type Recipe: DataFormat;
        /// Origin that may retire manifests.
        type GovernanceOrigin: EnsureOrigin<Self::RuntimeOrigin>;
        /// Weights of the calls.
        type WeightInfo: WeightInfo;
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
    /// Ids count up, so a fast hash is enough. Each entry costs a deposit, and goes only when an
    /// untouched manifest is withdrawn.
    #[pallet::storage]
    pub type Manifests<T: Config> = StorageMap<_, Twox64Concat, ManifestId, Manifest<T::AccountId>>;

    /// Number of manifests ever registered, and so the id of the next one.
    #[pallet::storage]
    pub type ManifestCount<T: Config> = StorageValue<_, u32, ValueQuery>;

    /// Manifests by content hash, so that no data is registered twice.
    ///
    /// Providers choose the hashes, so a cryptographic hash keeps the trie balanced. One entry for
    /// each manifest.
    #[pallet::storage]
    pub type ManifestOfContent<T: Config> = StorageMap<_, Blake2_128Concat, Hash, ManifestId>;

    /// Amount on hold for each manifest, by id. A runtime upgrade may change the deposit of later
    /// manifests.
    ///
    /// Hashed like [`Manifests`]; one entry for each manifest.
    #[pallet::storage]
    pub type ManifestDeposits<T: Config> =
        StorageMap<_, Twox64Concat, ManifestId, Balance, ValueQuery>;

    /// Amount on hold for each source, by id.
    ///
    /// Hashed like [`Sources`]; one entry for each source.
    #[pallet::storage]
    pub type SourceDeposits<T: Config> = StorageMap<_, Twox64Concat, SourceId, Balance, ValueQuery>;

    /// Manifests whose shards can be leased, by kind of source.
    ///
    /// There are four keys, so a fast hash is enough. A draw reads a list whole, and its length is
    /// bounded by [`MAX_POOL_MANIFESTS`]. A manifest that is not held out is in the pool from its
    /// registration until its last shard is consumed, or it is retired or withdrawn.
    #[pallet::storage]
    pub type Pool<T: Config> = StorageMap<
        _,
        Twox64Concat,
        SourceKind,
        BoundedVec<PoolEntry, ConstU32<MAX_POOL_MANIFESTS>>,
        ValueQuery,
    >;

    /// Manifests that governance has taken out of the pool, by id.
    ///
    /// Hashed like [`Manifests`], since its keys are a subset. An entry stays.
    #[pallet::storage]
    pub type RetiredManifests<T: Config> = StorageMap<_, Twox64Concat, ManifestId, ()>;

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
    /// shards, of at most 1.3 kB each. Records are kept forever: they are the lineage of the model.
    #[pallet::storage]
    pub type ConsumedShards<T: Config> =
        StorageDoubleMap<_, Twox64Concat, ManifestId, Twox64Concat, u32, ShardRecords>;

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
            /// Kind of the source.
            kind: SourceKind,
        },
        /// A source without manifests was withdrawn.
        SourceWithdrawn {
            /// Id of the source.
            source: SourceId,
        },
        /// A manifest was registered.
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
        /// An untouched manifest was withdrawn.
        ManifestWithdrawn {
            /// Id of the manifest.
            manifest: ManifestId,
        },
        /// Governance took a manifest out of the pool.
        ManifestRetired {
            /// Id of the manifest.
            manifest: ManifestId,
        },
        /// The last shard of a manifest was consumed.
        ManifestConsumed {
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
        /// A manifest with this content is already registered.
        AlreadyRegistered,
        /// The pool holds the maximum number of manifests of this kind. Try again when one is
        /// consumed, or merge small manifests into one.
        PoolIsFull,
        /// A shard of the manifest was leased, or the manifest was retired, so it cannot be
        /// withdrawn.
        InUse,
        /// The manifest is not in the pool: it is held out, consumed or retired.
        NotPooled,
        /// The source has manifests. Withdraw them first.
        HasManifests,
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
            kind: SourceKind,
            address: ShortText,
            licence: ShortText,
        ) -> DispatchResult {
            let owner = ensure_signed(origin)?;
            Self::do_register_source(owner, kind, address, licence)
        }

        /// Registers a manifest made from one of the caller's sources.
        ///
        /// - Origin: signed by the owner of the source.
        /// - Effect: the manifest gets the next id. Its deposit is put on hold. Its shards can be
        ///   leased from now on, unless it is held out.
        /// - Events: [`Event::ManifestRegistered`].
        /// - Errors: [`Error::UnknownSource`]; [`Error::NotOwner`]; [`Error::InvalidShards`];
        ///   [`Error::InvalidQuality`]; [`Error::NoRecipe`]; [`Error::WrongFormat`];
        ///   [`Error::UnknownParent`]; [`Error::AlreadyRegistered`]; [`Error::InsufficientFunds`];
        ///   [`Error::PoolIsFull`].
        #[pallet::call_index(1)]
        #[pallet::weight(T::WeightInfo::register_manifest())]
        pub fn register_manifest(origin: OriginFor<T>, info: ManifestInfo) -> DispatchResult {
            let owner = ensure_signed(origin)?;
            Self::do_register_manifest(owner, info)
        }

        /// Withdraws a manifest none of whose shards was ever leased.
        ///
        /// - Origin: signed by the owner of the manifest.
        /// - Effect: removes the manifest, its content hash and its shards in the pool, and
        ///   releases the deposit. The id is not reused, so manifests that name it as a parent name
        ///   no other.
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

        /// Takes a manifest out of the pool permanently, because no peer serves its data or the
        /// model should not learn it.
        ///
        /// - Origin: governance.
        /// - Effect: its shards are no longer leased. Open leases end as usual, and consumed shards
        ///   stay in the model. Manifest and deposit are kept, so the same content cannot be
        ///   registered again.
        /// - Events: [`Event::ManifestRetired`].
        /// - Errors: [`Error::UnknownManifest`]; [`Error::NotPooled`].
        #[pallet::call_index(4)]
        #[pallet::weight(T::WeightInfo::retire_manifest())]
        pub fn retire_manifest(origin: OriginFor<T>, manifest: ManifestId) -> DispatchResult {
            T::GovernanceOrigin::ensure_origin(origin)?;
            Self::do_retire_manifest(manifest)
        }
    }
}
