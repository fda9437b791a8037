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
pub use types::{Bitmap, PoolEntry, RECORDS, Records};
pub use weights::WeightInfo;

/// Most manifests of one kind in the pool.
pub const MAX_POOLED: u32 = 64;

/// The pallet itself; everything public is re-exported by the crate.
#[allow(clippy::expect_used)] // What the macro writes uses it.
#[polkadot_sdk::frame_support::pallet]
pub mod pallet {
    use super::{Bitmap, MAX_POOLED, PoolEntry, Records, WeightInfo};
    use pol_primitives::{
        Balance, Hash, MILLION,
        data::{
            MAX_SHARDS, Manifest, ManifestId, ManifestInfo, Source, SourceId, SourceKind, Text,
        },
        traits::{DataFormat, Rounds},
    };
    use polkadot_sdk::{
        frame_support::{pallet_prelude::*, traits::fungible},
        frame_system::pallet_prelude::*,
        sp_runtime::ArithmeticError,
    };

    const STORAGE_VERSION: StorageVersion = StorageVersion::new(1);

    #[pallet::pallet]
    #[pallet::storage_version(STORAGE_VERSION)]
    pub struct Pallet<T>(_);

    /// What the runtime decides.
    #[pallet::config]
    pub trait Config: polkadot_sdk::frame_system::Config {
        /// What deposits are held in.
        type Currency: fungible::MutateHold<
                Self::AccountId,
                Reason = Self::RuntimeHoldReason,
                Balance = Balance,
            >;
        /// The runtime's reasons for holds.
        type RuntimeHoldReason: From<HoldReason>;
        /// Deposit for a source, and for a manifest.
        #[pallet::constant]
        type ManifestDeposit: Get<Balance>;
        /// The round under way.
        type Rounds: Rounds;
        /// The data that the recipe can be trained on.
        type Recipe: DataFormat;
        /// Who may retire manifests.
        type GovernanceOrigin: EnsureOrigin<Self::RuntimeOrigin>;
        /// Weights of the calls.
        type WeightInfo: WeightInfo;
    }

    /// Why the pallet holds funds.
    #[pallet::composite_enum]
    pub enum HoldReason {
        /// The deposit of a source or a manifest.
        #[codec(index = 0)]
        Deposit,
    }

    /// Where text comes from: number to source.
    ///
    /// Nobody chooses the numbers, they count up, so a fast hash does. Bounded by a deposit per
    /// source.
    #[pallet::storage]
    pub type Sources<T: Config> = StorageMap<_, Twox64Concat, SourceId, Source<T::AccountId>>;

    /// Number of the next source. One number.
    #[pallet::storage]
    pub type NextSource<T: Config> = StorageValue<_, SourceId, ValueQuery>;

    /// Manifests registered from a source: its number to their count; absent for none.
    ///
    /// Hashed like [`Sources`], of whose keys these are a part.
    #[pallet::storage]
    pub type ManifestsOf<T: Config> = StorageMap<_, Twox64Concat, SourceId, u32, ValueQuery>;

    /// Registered manifests and the state of their shards: number to manifest.
    ///
    /// The numbers count up, so a fast hash does. Bounded by a deposit per manifest.
    #[pallet::storage]
    pub type Manifests<T: Config> = StorageMap<_, Twox64Concat, ManifestId, Manifest<T::AccountId>>;

    /// Manifests ever registered, so also the number of the next one. One number.
    #[pallet::storage]
    pub type ManifestCount<T: Config> = StorageValue<_, u32, ValueQuery>;

    /// Who is known by its content: a manifest's content hash to its number, so that no data is
    /// registered twice.
    ///
    /// Providers choose the hashes, hence the hash against grinding of trie paths. One entry per
    /// manifest.
    #[pallet::storage]
    pub type ContentSeen<T: Config> = StorageMap<_, Blake2_128Concat, Hash, ManifestId>;

    /// What is on hold for a manifest: its number to the deposit, which a runtime upgrade may
    /// change for later ones.
    ///
    /// Hashed like [`Manifests`]; one entry per manifest.
    #[pallet::storage]
    pub type ManifestDeposits<T: Config> =
        StorageMap<_, Twox64Concat, ManifestId, Balance, ValueQuery>;

    /// What is on hold for a source: its number to the deposit.
    ///
    /// Hashed like [`Sources`]; one entry per source.
    #[pallet::storage]
    pub type SourceDeposits<T: Config> = StorageMap<_, Twox64Concat, SourceId, Balance, ValueQuery>;

    /// The manifests that shards are leased from, by kind. A manifest is here from its registration
    /// until its last shard is consumed or it is retired, unless it is held out.
    ///
    /// Four keys, so a fast hash does; each list is read whole to draw from it and bounded by
    /// [`MAX_POOLED`].
    #[pallet::storage]
    pub type Pool<T: Config> = StorageMap<
        _,
        Twox64Concat,
        SourceKind,
        BoundedVec<PoolEntry, ConstU32<MAX_POOLED>>,
        ValueQuery,
    >;

    /// Manifests that governance took out of the pool: shards of them that are free stay so.
    ///
    /// Hashed like [`Manifests`], of whose keys these are a part.
    #[pallet::storage]
    pub type Retired<T: Config> = StorageMap<_, Twox64Concat, ManifestId, ()>;

    /// Shards nobody has, over the whole pool. One number.
    #[pallet::storage]
    pub type FreeShards<T: Config> = StorageValue<_, u32, ValueQuery>;

    /// The free shards of a manifest in drawing order: manifest and position to shard.
    ///
    /// A position below the manifest's count of free shards that has no entry holds the shard of
    /// the same number, so a fresh manifest has none. Numbers, so fast hashes do; a lease or
    /// release adds at most one entry, of which there are at most as many as free shards.
    #[pallet::storage]
    pub type Slots<T: Config> =
        StorageDoubleMap<_, Twox64Concat, ManifestId, Twox64Concat, u32, u32>;

    /// Which shards of a manifest are under a lease: manifest and chunk to a bitmap; absent for
    /// none.
    ///
    /// Numbers, so fast hashes do; at most 512 chunks of 2,048 shards each, 256 bytes long.
    #[pallet::storage]
    pub type Leased<T: Config> =
        StorageDoubleMap<_, Twox64Concat, ManifestId, Twox64Concat, u32, Bitmap>;

    /// What became of the shards of a manifest that are part of the model: manifest and chunk to
    /// records; absent for none.
    ///
    /// Numbers, so fast hashes do; at most 8,192 chunks of 128 shards each, at most 1.3 kB long.
    /// Kept forever: this is where the model's data came from.
    #[pallet::storage]
    pub type Consumed<T: Config> =
        StorageDoubleMap<_, Twox64Concat, ManifestId, Twox64Concat, u32, Records>;

    /// What happened.
    #[pallet::event]
    #[pallet::generate_deposit(pub(crate) fn deposit_event)]
    pub enum Event<T: Config> {
        /// A source was registered.
        SourceRegistered {
            /// Its number.
            source: SourceId,
            /// By whom.
            owner: T::AccountId,
            /// What kind of text it gives.
            kind: SourceKind,
        },
        /// A source without manifests was withdrawn.
        SourceWithdrawn {
            /// Its number.
            source: SourceId,
        },
        /// A manifest was registered.
        ManifestRegistered {
            /// Its number.
            manifest: ManifestId,
            /// The source it was made from.
            source: SourceId,
            /// Number of shards.
            shards: u32,
            /// Whether it is never leased.
            held_out: bool,
        },
        /// An untouched manifest was withdrawn.
        ManifestWithdrawn {
            /// Its number.
            manifest: ManifestId,
        },
        /// Governance took a manifest out of the pool.
        ManifestRetired {
            /// Its number.
            manifest: ManifestId,
        },
        /// The last shard of a manifest became part of the model.
        ManifestConsumed {
            /// Its number.
            manifest: ManifestId,
        },
    }

    /// Why a call was refused.
    #[pallet::error]
    pub enum Error<T> {
        /// There is no source of that number.
        UnknownSource,
        /// There is no manifest of that number.
        UnknownManifest,
        /// A parent is not registered. Register parents first.
        UnknownParent,
        /// Only the owner of the source or manifest may do this.
        NotOwner,
        /// The account's free balance does not cover the deposit and the existential deposit.
        InsufficientFunds,
        /// A manifest has between 1 and 2^20 shards.
        InvalidShards,
        /// Quality is at most a million.
        InvalidQuality,
        /// No recipe is in force yet, so no data can be said to fit it.
        NoRecipe,
        /// The shards' length or tokenizer is not the recipe's. Prepare the data anew with those of
        /// the recipe.
        WrongFormat,
        /// A manifest with this content is registered already.
        AlreadyRegistered,
        /// The pool holds as many manifests of this kind as it can. Try again when one is consumed,
        /// or join small ones into one.
        PoolIsFull,
        /// Shards of the manifest were leased, or it was retired, so it can no longer be withdrawn.
        InUse,
        /// The manifest is not in the pool: it is held out, consumed or retired.
        NotPooled,
        /// The source has manifests. Withdraw them first.
        HasManifests,
    }

    #[pallet::hooks]
    impl<T: Config> Hooks<BlockNumberFor<T>> for Pallet<T> {
        #[cfg(feature = "try-runtime")]
        fn try_state(
            _: BlockNumberFor<T>,
        ) -> Result<(), polkadot_sdk::sp_runtime::TryRuntimeError> {
            Self::do_try_state()
        }
    }

    #[pallet::call]
    impl<T: Config> Pallet<T> {
        /// Registers a source of text.
        ///
        /// - Origin: signed; the caller becomes the owner.
        /// - Effect: the source gets the next number; the deposit is put on hold.
        /// - Events: [`Event::SourceRegistered`].
        /// - Errors: [`Error::InsufficientFunds`].
        #[pallet::call_index(0)]
        #[pallet::weight(T::WeightInfo::register_source())]
        pub fn register_source(
            origin: OriginFor<T>,
            kind: SourceKind,
            address: Text,
            licence: Text,
        ) -> DispatchResult {
            let owner = ensure_signed(origin)?;
            let source = NextSource::<T>::get();
            NextSource::<T>::put(source.checked_add(1).ok_or(ArithmeticError::Overflow)?);
            SourceDeposits::<T>::insert(source, Self::hold(&owner)?);
            Sources::<T>::insert(source, Source { owner: owner.clone(), kind, address, licence });
            Self::deposit_event(Event::SourceRegistered { source, owner, kind });
            Ok(())
        }

        /// Registers a manifest made from one of the caller's sources.
        ///
        /// - Origin: signed, by the owner of the source.
        /// - Effect: the manifest gets the next number and the deposit is put on hold. Unless it is
        ///   held out, its shards can be leased from now on.
        /// - Events: [`Event::ManifestRegistered`].
        /// - Errors: [`Error::UnknownSource`]; [`Error::NotOwner`]; [`Error::InvalidShards`];
        ///   [`Error::InvalidQuality`]; [`Error::NoRecipe`]; [`Error::WrongFormat`];
        ///   [`Error::UnknownParent`]; [`Error::AlreadyRegistered`]; [`Error::InsufficientFunds`];
        ///   [`Error::PoolIsFull`].
        #[pallet::call_index(1)]
        #[pallet::weight(T::WeightInfo::register_manifest())]
        pub fn register_manifest(origin: OriginFor<T>, info: ManifestInfo) -> DispatchResult {
            let owner = ensure_signed(origin)?;
            let source = Sources::<T>::get(info.source).ok_or(Error::<T>::UnknownSource)?;
            ensure!(source.owner == owner, Error::<T>::NotOwner);
            ensure!((1..=MAX_SHARDS).contains(&info.shards), Error::<T>::InvalidShards);
            ensure!(info.quality <= MILLION, Error::<T>::InvalidQuality);
            let format = T::Recipe::shard_tokens_and_tokenizer().ok_or(Error::<T>::NoRecipe)?;
            ensure!(format == (info.shard_tokens, info.tokenizer), Error::<T>::WrongFormat);
            ensure!(
                info.parents.iter().all(Manifests::<T>::contains_key),
                Error::<T>::UnknownParent
            );
            ensure!(
                !ContentSeen::<T>::contains_key(info.content_hash),
                Error::<T>::AlreadyRegistered
            );

            let manifest = ManifestCount::<T>::get();
            ManifestCount::<T>::put(manifest.checked_add(1).ok_or(ArithmeticError::Overflow)?);
            ManifestDeposits::<T>::insert(manifest, Self::hold(&owner)?);
            ManifestsOf::<T>::mutate(info.source, |count| *count = count.saturating_add(1));
            ContentSeen::<T>::insert(info.content_hash, manifest);
            let free = if info.held_out { 0 } else { info.shards };
            if !info.held_out {
                Pool::<T>::try_mutate(source.kind, |entries| {
                    entries.try_push(PoolEntry { manifest, free })
                })
                .map_err(|_| Error::<T>::PoolIsFull)?;
                FreeShards::<T>::mutate(|total| *total = total.saturating_add(free));
            }
            Self::deposit_event(Event::ManifestRegistered {
                manifest,
                source: info.source,
                shards: info.shards,
                held_out: info.held_out,
            });
            let registered = T::Rounds::number();
            Manifests::<T>::insert(
                manifest,
                Manifest { owner, info, free, leased: 0, consumed: 0, registered },
            );
            Ok(())
        }

        /// Withdraws a manifest of which nothing was ever leased.
        ///
        /// - Origin: signed, by its owner.
        /// - Effect: manifest and content are forgotten, the pool loses its shards, the deposit is
        ///   released. Its number is not given again, so manifests that name it as a parent still
        ///   name nothing else.
        /// - Events: [`Event::ManifestWithdrawn`].
        /// - Errors: [`Error::UnknownManifest`]; [`Error::NotOwner`]; [`Error::InUse`].
        #[pallet::call_index(2)]
        #[pallet::weight(T::WeightInfo::withdraw_manifest())]
        pub fn withdraw_manifest(origin: OriginFor<T>, manifest: ManifestId) -> DispatchResult {
            let who = ensure_signed(origin)?;
            let record = Manifests::<T>::take(manifest).ok_or(Error::<T>::UnknownManifest)?;
            ensure!(record.owner == who, Error::<T>::NotOwner);
            if !record.info.held_out {
                // Shards that came back from a lease may lie in another order, which is as good a
                // trace of the lease.
                let untouched = record.free == record.info.shards
                    && Slots::<T>::iter_key_prefix(manifest).next().is_none();
                ensure!(untouched && Self::unpool(&record.info, manifest), Error::<T>::InUse);
                FreeShards::<T>::mutate(|total| *total = total.saturating_sub(record.free));
            }
            ContentSeen::<T>::remove(record.info.content_hash);
            ManifestsOf::<T>::mutate_exists(record.info.source, |count| {
                *count = count.and_then(|count| count.checked_sub(1)).filter(|&left| left > 0);
            });
            Self::release_deposit(&who, ManifestDeposits::<T>::take(manifest))?;
            Self::deposit_event(Event::ManifestWithdrawn { manifest });
            Ok(())
        }

        /// Withdraws a source that has no manifests.
        ///
        /// - Origin: signed, by its owner.
        /// - Effect: the source is forgotten and the deposit is released.
        /// - Events: [`Event::SourceWithdrawn`].
        /// - Errors: [`Error::UnknownSource`]; [`Error::NotOwner`]; [`Error::HasManifests`].
        #[pallet::call_index(3)]
        #[pallet::weight(T::WeightInfo::withdraw_source())]
        pub fn withdraw_source(origin: OriginFor<T>, source: SourceId) -> DispatchResult {
            let who = ensure_signed(origin)?;
            let record = Sources::<T>::take(source).ok_or(Error::<T>::UnknownSource)?;
            ensure!(record.owner == who, Error::<T>::NotOwner);
            ensure!(ManifestsOf::<T>::get(source) == 0, Error::<T>::HasManifests);
            Self::release_deposit(&who, SourceDeposits::<T>::take(source))?;
            Self::deposit_event(Event::SourceWithdrawn { source });
            Ok(())
        }

        /// Takes a manifest out of the pool for good: data that nobody serves, or that should not
        /// be learned.
        ///
        /// - Origin: governance.
        /// - Effect: no more of its shards are leased. Leases that are out end as usual; what is
        ///   part of the model stays. The record and its deposit are kept, so the same content
        ///   cannot be registered again.
        /// - Events: [`Event::ManifestRetired`].
        /// - Errors: [`Error::UnknownManifest`]; [`Error::NotPooled`].
        #[pallet::call_index(4)]
        #[pallet::weight(T::WeightInfo::retire_manifest())]
        pub fn retire_manifest(origin: OriginFor<T>, manifest: ManifestId) -> DispatchResult {
            T::GovernanceOrigin::ensure_origin(origin)?;
            let record = Manifests::<T>::get(manifest).ok_or(Error::<T>::UnknownManifest)?;
            ensure!(Self::unpool(&record.info, manifest), Error::<T>::NotPooled);
            FreeShards::<T>::mutate(|total| *total = total.saturating_sub(record.free));
            Retired::<T>::insert(manifest, ());
            Self::deposit_event(Event::ManifestRetired { manifest });
            Ok(())
        }
    }
}
