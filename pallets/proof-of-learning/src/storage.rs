// SPDX-License-Identifier: Apache-2.0

//! Storage of the pallet, which [`crate::pallet`] imports.

#![allow(unreachable_pub, reason = "the section's macro is exported to the pallet module only")]

use polkadot_sdk::frame_support::pallet_macros::pallet_section;

#[pallet_section]
mod storage {
    /// Recipe in force; none before governance set one. One value.
    #[pallet::storage]
    pub type Recipe<T> = StorageValue<_, recipe::Recipe>;

    /// Recipe that comes into force when the next round opens. One value.
    #[pallet::storage]
    pub type PendingRecipe<T> = StorageValue<_, recipe::Recipe>;

    /// All recipes that have been in force, by [`recipe::Recipe::hash`], a cryptographic hash that
    /// needs no other. About 200 bytes for each recipe that governance set, kept because leases,
    /// audits and the model's history name them.
    #[pallet::storage]
    pub type Recipes<T> = StorageMap<_, Identity, Hash, recipe::Recipe>;

    /// First round of the recipe in force. Leases of earlier rounds ended with the recipe before.
    /// One value.
    #[pallet::storage]
    pub type RecipeSince<T> = StorageValue<_, RoundNumber, ValueQuery>;

    /// Round that made the first head of the present architecture. Carries of this round and
    /// earlier ones belong to another architecture and count as none. One value.
    #[pallet::storage]
    pub type ModelSince<T> = StorageValue<_, RoundNumber, ValueQuery>;

    /// Lengths of the phases, in blocks. One value.
    #[pallet::storage]
    pub type PhaseLengths<T> = StorageValue<_, RoundConfig, ValueQuery>;

    /// Round under way. One value.
    #[pallet::storage]
    pub type CurrentRound<T> = StorageValue<_, Round, ValueQuery>;

    /// The global model; none before round zero's quorum. One value.
    #[pallet::storage]
    pub type CurrentHead<T> = StorageValue<_, Head>;

    /// Open leases by account, each until it is concluded. Accounts are chosen by their owners,
    /// hence the keyed hasher. Bounded by the bonded trainers, each of which has at most one lease.
    #[pallet::storage]
    pub type Leases<T: Config> = StorageMap<_, Blake2_128Concat, T::AccountId, Lease>;

    /// Number of leases due in each round that has not opened yet, but for those of an earlier
    /// recipe. The chain counts the keys, so the hasher is a fast one. Bounded by the longest
    /// cadence, at most 255 rounds ahead.
    #[pallet::storage]
    pub type DueLeases<T> = StorageMap<_, Twox64Concat, RoundNumber, u32, ValueQuery>;

    /// Last round in which a lease of an earlier round and the same recipe was or is due. One
    /// value.
    #[pallet::storage]
    pub type LastDueRound<T> = StorageValue<_, RoundNumber, ValueQuery>;

    /// Places that accounts took in the round under way, each with a lease. One value of at most
    /// [`MAX_PLACES`](pol_primitives::places::MAX_PLACES) entries of 45 bytes, cleared when the
    /// round ends.
    #[pallet::storage]
    pub type TakenPlaces<T: Config> = StorageValue<_, Places<T::AccountId>, ValueQuery>;

    /// State that accounts bring into their next lease. Keyed like [`Leases`]. At most 49 bytes for
    /// each bonded trainer, removed with its bond.
    #[pallet::storage]
    pub type Standings<T: Config> =
        StorageMap<_, Blake2_128Concat, T::AccountId, Standing, ValueQuery>;

    /// Submissions by round and account. The chain counts rounds; accounts are keyed like
    /// [`Leases`]. At most 64 a round, each until its lease is concluded without inclusion, or its
    /// audit is settled.
    #[pallet::storage]
    pub type Submissions<T: Config> =
        StorageDoubleMap<_, Twox64Concat, RoundNumber, Blake2_128Concat, T::AccountId, Submission>;

    /// Accounts that have revealed in this round, by the index of their reveal. One value of at
    /// most 64 accounts, cleared when the round ends.
    #[pallet::storage]
    pub type Revealed<T: Config> =
        StorageValue<_, BoundedVec<T::AccountId, ConstU32<MAX_SUBMISSIONS>>, ValueQuery>;

    /// Hashes of the payloads revealed in kept rounds, with the last round of each, so that none is
    /// accepted for a later lease. Trainers choose the keys, hence the keyed hasher. At most 64 a
    /// round, each until its record in [`History`] is removed.
    #[pallet::storage]
    pub type SeenPayloads<T> = StorageMap<_, Blake2_128Concat, Hash, RoundNumber>;

    /// Stakes of the count under way, with the reports of held updates; none outside the phases
    /// hold and attest. One value of at most 59 bytes for each active validator.
    #[pallet::storage]
    pub type CurrentCount<T: Config> = StorageValue<_, StakeCount<T::AccountId>, ValueQuery>;

    /// Attestations by attest phase and validator. The chain counts phases; accounts are keyed like
    /// [`Leases`]. Bounded by the bonded validators. Those of past phases no longer count; up to
    /// [`types::MAX_SWEEP`] are compared with the head and cleared a block.
    #[pallet::storage]
    pub type Attestations<T: Config> =
        StorageDoubleMap<_, Twox64Concat, u32, Blake2_128Concat, T::AccountId, StakedAttestation>;

    /// Stake for each candidate head, by attest phase and root. Validators choose the roots, hence
    /// the keyed hasher. At most as many entries as attestations, and cleared with them.
    #[pallet::storage]
    pub type Tallies<T> =
        StorageDoubleMap<_, Twox64Concat, u32, Blake2_128Concat, Hash, Balance, ValueQuery>;

    /// Round and root of the head that a past attest phase made, by phase, until its attestations
    /// are cleared. The chain counts phases.
    #[pallet::storage]
    pub type AdoptedRoots<T> = StorageMap<_, Twox64Concat, u32, (RoundNumber, Hash)>;

    /// Number of attest phases that have ended, with or without a head; also the key of the phase
    /// under way. One value.
    #[pallet::storage]
    pub type AttestPhases<T> = StorageValue<_, u32, ValueQuery>;

    /// Number of attest phases whose attestations have been cleared; at most [`AttestPhases`]. One
    /// value.
    #[pallet::storage]
    pub type SweptPhases<T> = StorageValue<_, u32, ValueQuery>;

    /// First round of which records are kept. Those of earlier rounds were removed
    /// [`Config::KeptRounds`] later. One value.
    #[pallet::storage]
    pub type FirstKept<T> = StorageValue<_, RoundNumber, ValueQuery>;

    /// Record of each concluded round, by number. The chain counts the keys. One entry for each
    /// kept round.
    #[pallet::storage]
    pub type Records<T: Config> =
        StorageMap<_, Twox64Concat, RoundNumber, RoundRecord<T::AccountId>>;

    /// Extent of audits and lengths of their stages. One value.
    #[pallet::storage]
    pub type AuditSettings<T> = StorageValue<_, AuditConfig, ValueQuery>;

    /// Included updates that wait for their seats to be drawn, each with the block in which it
    /// began to wait. One value of at most [`types::MAX_PENDING_AUDITS`] entries. Later blocks take
    /// out the updates of one round and draw at a time.
    #[pallet::storage]
    pub type UndrawnUpdates<T: Config> = StorageValue<_, PendingAudits<T::AccountId>, ValueQuery>;

    /// Stakes that seats are drawn from, by round and draw, as they were when the first update
    /// began to wait for that draw. Nobody can change them once anything of the seed is known. The
    /// chain counts the keys. One entry of at most 48 bytes for each active validator, until no
    /// update waits for the draw.
    #[pallet::storage]
    pub type SeatStakes<T: Config> =
        StorageMap<_, Twox64Concat, (RoundNumber, u8), SeatedStakes<T::AccountId>, ValueQuery>;

    /// Mixed randomness of all blocks in which an update waited for its draw. One hash.
    #[pallet::storage]
    pub type MixedRandomness<T> = StorageValue<_, Hash, ValueQuery>;

    /// Mixture that the next draws use together with the beacon's pulse, and the block that sealed
    /// it; none while no draw waits for a pulse. One value.
    #[pallet::storage]
    pub type SealedMixture<T> = StorageValue<_, (BlockNumber, Hash)>;

    /// Number of the next audit. One value.
    #[pallet::storage]
    pub type NextAudit<T> = StorageValue<_, AuditId, ValueQuery>;

    /// Open audits by number, in the stage of the last call that changed them. The chain counts the
    /// keys. No round opens while there are [`types::MAX_OPEN_AUDITS`]; each can lead to one more
    /// for every update that it does not acquit. Removed with the last case.
    #[pallet::storage]
    pub type Audits<T: Config> = CountedStorageMap<_, Twox64Concat, AuditId, Audit<T::AccountId>>;

    /// States and segment ends that trainers have shown, by audit and account. The chain counts
    /// audits; accounts are keyed like [`Leases`]. At most one entry for each case, until it is
    /// settled.
    #[pallet::storage]
    pub type AuditResponses<T: Config> =
        StorageDoubleMap<_, Twox64Concat, AuditId, Blake2_128Concat, T::AccountId, AuditResponse>;

    /// Commitments to evidence, by audit and validator. Keyed like [`AuditResponses`]. At most one
    /// entry for each holder of seats, until it reveals or one of its cases is settled without.
    #[pallet::storage]
    pub type AuditCommitments<T: Config> =
        StorageDoubleMap<_, Twox64Concat, AuditId, Blake2_128Concat, T::AccountId, Hash>;

    /// Findings of seats, by audit and by the places of case and holder in it. The chain counts all
    /// keys. At most one entry for each seat of a case, until the case is settled.
    #[pallet::storage]
    pub type Findings<T> =
        StorageDoubleMap<_, Twox64Concat, AuditId, Twox64Concat, (u8, u16), SeatFinding>;

    /// Results of seats on decided updates, by round and validator. Keyed like [`Submissions`]. At
    /// most one entry for each account with seats, until nothing is left to decide about them.
    #[pallet::storage]
    pub type SeatTallies<T: Config> = StorageDoubleMap<
        _,
        Twox64Concat,
        RoundNumber,
        Blake2_128Concat,
        T::AccountId,
        SeatTally,
        ValueQuery,
    >;

    /// Concluded leases of included updates, each until its update is settled. Keyed like
    /// [`Submissions`].
    #[pallet::storage]
    pub type AuditedLeases<T: Config> =
        StorageDoubleMap<_, Twox64Concat, RoundNumber, Blake2_128Concat, T::AccountId, Lease>;

    /// Record of each settled submission. Keyed like [`Submissions`]. Under 128 bytes, at most 64
    /// in each kept round.
    #[pallet::storage]
    pub type History<T: Config> = StorageDoubleMap<
        _,
        Twox64Concat,
        RoundNumber,
        Blake2_128Concat,
        T::AccountId,
        SubmissionRecord,
    >;

    /// Updates to be taken out of the model, each with the block that settled it, oldest first,
    /// until a head takes them out. One value of at most [`types::MAX_PENDING_EXCISIONS`] entries
    /// of 9 bytes.
    #[pallet::storage]
    pub type Excisions<T> = StorageValue<_, PendingExcisions, ValueQuery>;

    /// Seed of the newest head's reasoning probes, with the round that made the head. Fixed in the
    /// block after the head. One value.
    #[pallet::storage]
    pub type ProbeSeed<T> = StorageValue<_, (RoundNumber, Hash)>;

    /// Reports of validators on the newest head, until holders of 67 % of the stake have reported
    /// or a newer head is adopted. One value of at most [`MAX_REPORTS`] entries of 87 bytes, those
    /// with the most stake.
    #[pallet::storage]
    pub type HeadReports<T: Config> =
        StorageValue<_, BoundedVec<MetricsReport<T::AccountId>, ConstU32<MAX_REPORTS>>, ValueQuery>;

    /// Measurement of each head, by its round. The chain counts the keys. At most 43 bytes for each
    /// kept round.
    #[pallet::storage]
    pub type HeadMetrics<T> = StorageMap<_, Twox64Concat, RoundNumber, HeadMeasurement>;

    // ---- Full blocks ----

    /// Clock of all deadlines. One value.
    #[pallet::storage]
    pub type ProtocolClock<T> = StorageValue<_, Clock, ValueQuery>;

    /// Accounts of the duties in this block, one entry for each call. One value of at most
    /// [`types::MAX_DUTIES`] accounts, cleared with the next block.
    #[pallet::storage]
    pub type DutiesInBlock<T: Config> =
        StorageValue<_, BoundedVec<T::AccountId, ConstU32<{ types::MAX_DUTIES }>>, ValueQuery>;
}
