// SPDX-License-Identifier: Apache-2.0

//! Rounds, leases, commitments, audits and the head of the one global model.
//!
//! In each round, trainers lease data, train the head on it, and commit to and reveal compressed
//! updates. Validators report the updates that they hold, compute the next head from those that
//! enough of them hold, and attest its hash; the head advances once 67 % of the stake agrees.
//! Later, validators drawn by stake replay randomly drawn parts of every included update, and the
//! pallet decides which updates are paid, fined or removed from the model. It reaches staking, data
//! and money only through [`pol_primitives::traits`].
//!
//! # Key terms
//!
//! - **Round**: numbered cycle of the phases train, reveal, hold and attest. It yields a head or is
//!   void.
//! - **Head**: hash of the model's parameters, with the history that led to them.
//! - **Recipe**: everything that training depends on, set by governance and named by its hash.
//! - **Lease**: shards assigned to one trainer for one update, due in a given round.
//! - **Carry**: hash of the optimiser state that a trainer takes from one update to the next.
//! - **Submission**: commitment to an update, then its reveal.
//! - **Audit**: replay of drawn segments of a round's included updates. Each update is a **case**
//!   with **seats**, which are drawn among the validators by stake.
//! - **Excision**: removal of an update from the model by a later head.
//!
//! # Where to look
//!
//! - [`Config`] lists the pallet's parameters, [`Call`] its calls, [`Event`] and [`Error`] their
//!   results. [`types`] has the types that only this pallet stores.
//! - The pallet's `README.md` describes lifecycle, storage, invariants and security.
//! - `docs/protocol.md` and `docs/glossary.md` of the repository cover the whole protocol.

#![cfg_attr(not(feature = "std"), no_std)]
// Stricter than the workspace: the chain must neither panic nor overflow on hostile input.
#![cfg_attr(
    not(test),
    deny(clippy::expect_used, clippy::indexing_slicing, clippy::arithmetic_side_effects)
)]

extern crate alloc;

mod calls;
mod errors;
mod events;
mod extension;
mod impls;
#[cfg(test)]
mod mock;
mod storage;
#[cfg(test)]
mod tests;
#[cfg(any(feature = "std", feature = "try-runtime"))]
mod try_state;
pub mod types;
pub mod weights;

pub use extension::{CheckAdmission, OperationalCalls};
pub use pallet::*;
pub use weights::WeightInfo;

use polkadot_sdk::frame_support::pallet_macros::import_section;

/// The pallet's declarations. The crate re-exports all public items.
#[import_section(errors::errors)]
#[import_section(events::events)]
#[import_section(storage::storage)]
#[allow(clippy::expect_used, reason = "the macro's expansion uses it")]
#[allow(clippy::large_enum_variant, reason = "a call with a recipe is rare")]
#[polkadot_sdk::frame_support::pallet]
pub mod pallet {
    use crate::types::{
        self, PendingAudits, PendingExcisions, SeatFinding, SeatedStakes, StakedAttestation,
    };
    use crate::weights::WeightInfo;
    use pol_primitives::{
        Balance, Hash, MAX_LEASE_SHARDS, MAX_SUBMISSIONS, RoundNumber,
        audit::{
            Audit, AuditConfig, AuditId, AuditResponse, Binding, Evidence, LeafProof,
            MAX_AUDITED_SEGMENTS, MAX_SEATS, MAX_SERVED_STATES, MAX_SKETCHED_SEGMENTS, SeatTally,
            SketchedEnd, StateProof,
        },
        clock::Clock,
        head::{Head, RoundRecord},
        inclusion::StakeCount,
        lease::Lease,
        metrics::{HeadMeasurement, MAX_REPORTS, MetricsReport, ModelMetrics},
        places::Places,
        recipe::{self, Tier},
        round::{BlockNumber, Round, RoundConfig},
        standing::Standing,
        submission::{Reveal, RevealSet, Submission, SubmissionRecord, TrainingClaims},
        trace::MerkleProof,
        traits,
    };
    use polkadot_sdk::{
        frame_support::{self, pallet_prelude::*, traits::Randomness},
        frame_system::pallet_prelude::*,
        sp_runtime::{Perbill, SaturatedConversion},
    };

    /// The pallet.
    #[pallet::pallet]
    #[pallet::storage_version(types::STORAGE_VERSION)]
    pub struct Pallet<T>(_);

    // ---- Config ----

    /// Configuration of the pallet. Amounts are in the smallest unit of the token.
    #[pallet::config]
    pub trait Config:
        polkadot_sdk::frame_system::Config<
            RuntimeEvent: From<Event<Self>>,
            Hash: Into<pol_primitives::Hash>,
        >
    {
        /// Source of the seeds of rounds and audits. Its output should not be known before the
        /// round opens.
        type Randomness: Randomness<Self::Hash, BlockNumberFor<Self>>;
        /// Beacon whose pulse completes the randomness of a draw.
        type Beacon: traits::Beacon;
        /// Bonds of trainers and validators.
        type Bonds: traits::Bonds<Self::AccountId>;
        /// Pool of shards to train on.
        type Pool: traits::ShardPool<Self::AccountId>;
        /// Settlement of heads, audits and fines in money.
        type Payouts: traits::Payouts<Self::AccountId>;
        /// Origin that sets the recipe, the lengths of phases and the parameters of audits.
        type GovernanceOrigin: EnsureOrigin<Self::RuntimeOrigin>;
        /// Least amount slashed for a commitment that is not revealed, which is a lapse too.
        #[pallet::constant]
        type NoShowPenalty: Get<Balance>;
        /// Amount slashed for the first lease without a commitment, or whose update validators left
        /// out, that no included update makes up for. Each further one costs twice the one before
        /// ([`Standing::note_lapse`]). It should
        /// exceed the fees of holding up a round, and stay bearable for an honest trainer that was
        /// too slow or was cut off.
        #[pallet::constant]
        type LapsePenalty: Get<Balance>;
        /// Amount seized for an update that replays to something else, in addition to everything
        /// that waits in escrow for its trainer. As much of the bond is locked for each lease and
        /// each unsettled update, so no other penalty for an update may exceed it.
        #[pallet::constant]
        type InvalidPenalty: Get<Balance>;
        /// Amount seized for withholding what an audit asks for. It must exceed the gain from
        /// aborting once the drawn segments are known.
        #[pallet::constant]
        type WithheldPenalty: Get<Balance>;
        /// Amount seized for each wrong finding of a validator in a round, up to [`MAX_FINES`], and
        /// for a round in which it was mostly silent from the [`Config::SeatStrikes`]th strike on.
        ///
        /// [`MAX_FINES`]: pol_primitives::audit::MAX_FINES
        #[pallet::constant]
        type SeatPenalty: Get<Balance>;
        /// Number of strikes ([`SeatTally::strikes_after`]) from which on a silent validator loses
        /// more than the pay of its seats.
        #[pallet::constant]
        type SeatStrikes: Get<u32>;
        /// Amount burned of a validator's bond for a root that contradicts the head, from the
        /// [`Config::WrongRootStrikes`]th time in a row on.
        #[pallet::constant]
        type WrongRootPenalty: Get<Balance>;
        /// Number of wrong roots in a row that cost a validator part of its bond.
        #[pallet::constant]
        type WrongRootStrikes: Get<u32>;
        /// Share of a block's limits from which on the block counts as congested, and deadlines
        /// stand still. It should leave room for the largest call that has a deadline and no
        /// reserved room.
        #[pallet::constant]
        type CongestedShare: Get<Perbill>;
        /// Number of rounds for which the records of a round are kept. Longer than updates wait for
        /// their settlement and excision.
        #[pallet::constant]
        type KeptRounds: Get<RoundNumber>;
        /// Slot of this block. Deadlines stand still after empty slots.
        type CurrentSlot: Get<u64>;
        /// Maximum number of congested blocks in a row for which deadlines stand still.
        #[pallet::constant]
        type MaxStandstill: Get<BlockNumber>;
        /// Weights of calls and hooks.
        type WeightInfo: WeightInfo;
    }

    #[pallet::extra_constants]
    impl<T: Config> Pallet<T> {
        /// Least share of the stake that attests a model, in percent.
        #[pallet::constant_name(QuorumPercent)]
        fn quorum_percent() -> u32 {
            pol_primitives::round::QUORUM_PERCENT
        }
    }

    // ---- Storage, events and errors: storage.rs, events.rs, errors.rs ----

    // ---- Genesis ----

    /// Initial state.
    #[pallet::genesis_config]
    #[derive(frame_support::DefaultNoBound)]
    pub struct GenesisConfig<T: Config> {
        /// Lengths of the phases.
        pub lengths: RoundConfig,
        /// Extent of audits and lengths of their stages.
        pub audits: AuditConfig,
        /// First recipe; governance can set it later.
        pub recipe: Option<recipe::Recipe>,
        #[doc(hidden)]
        #[serde(skip)]
        pub _config: PhantomData<T>,
    }

    #[pallet::genesis_build]
    impl<T: Config> BuildGenesisConfig for GenesisConfig<T> {
        fn build(&self) {
            Pallet::<T>::build_genesis(self.lengths, self.audits, self.recipe.as_ref());
        }
    }

    // ---- Hooks ----

    #[pallet::hooks]
    impl<T: Config> Hooks<BlockNumberFor<T>> for Pallet<T> {
        fn on_initialize(_: BlockNumberFor<T>) -> Weight {
            // The clock goes first, since the others read it.
            Self::tick()
                .saturating_add(Self::draw_audit())
                .saturating_add(Self::advance_round())
                .saturating_add(Self::sweep())
                .saturating_add(Self::expire())
        }

        fn on_finalize(_: BlockNumberFor<T>) {
            Self::note_congestion();
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
        /// Sets the recipe of the rounds that open from now on.
        ///
        /// Once there is a head, only a rewrite changes the model: a recipe of another model names
        /// the rewrite that leads to it from the head's. The first round of that recipe trains
        /// nothing and makes the rewritten model the head. Until that round has a head, another
        /// recipe cancels the rewrite.
        ///
        /// - Origin: `GovernanceOrigin`.
        /// - Effect: the recipe replaces any other that waits. Round zero starts over, and a round
        ///   that rewrites is void, each with its attestations.
        /// - Events: [`Event::RecipeSet`]; [`Event::RecipeAdopted`] when it comes into force.
        /// - Errors: `Recipe…Invalid` unless [`recipe::Recipe::validate`] accepts it;
        ///   [`Error::ModelIsFixed`]; [`Error::RewriteDoesNotFit`];
        ///   [`Error::RewriteOfAnotherModel`]; [`Error::RewriteUnused`];
        ///   [`Error::DataOfAnotherFormat`].
        #[pallet::call_index(0)]
        #[pallet::weight(T::WeightInfo::set_recipe())]
        pub fn set_recipe(origin: OriginFor<T>, recipe: recipe::Recipe) -> DispatchResult {
            T::GovernanceOrigin::ensure_origin(origin)?;
            Self::do_set_recipe(recipe)
        }

        /// Sets the lengths of phases that begin from now on.
        ///
        /// - Origin: `GovernanceOrigin`.
        /// - Events: [`Event::LengthsSet`].
        /// - Errors: [`Error::InvalidLengths`].
        #[pallet::call_index(1)]
        #[pallet::weight(T::WeightInfo::set_lengths())]
        pub fn set_lengths(origin: OriginFor<T>, lengths: RoundConfig) -> DispatchResult {
            T::GovernanceOrigin::ensure_origin(origin)?;
            Self::do_set_lengths(lengths)
        }

        /// Asks for a place in round `number + cadence - 1`, and leases data for the update that is
        /// to be committed there.
        ///
        /// - Origin: signed by a bonded trainer.
        /// - Effect: a lease that is over is concluded first. If all places are taken, the
        ///   holder of the highest [`Rank`](pol_primitives::places::Rank) makes room for a lower
        ///   one: it loses its lease and no more.
        /// - Events: [`Event::Leased`]; [`Event::PhaseEntered`] if it starts the round's clock;
        ///   [`Event::Concluded`] for the past lease; [`Event::PlaceLost`] for who makes room.
        /// - Errors: [`Error::NotATrainer`]; [`Error::BondIsLocked`]; [`Error::NotJoining`] outside
        ///   the train phase or after joining closed; [`Error::AlreadyLeased`];
        ///   [`Error::RoundIsFull`]; [`Error::NoData`].
        #[pallet::call_index(2)]
        #[pallet::weight(
            T::WeightInfo::join_round(MAX_LEASE_SHARDS)
                .saturating_add(T::WeightInfo::conclude(MAX_LEASE_SHARDS).saturating_mul(2))
        )]
        pub fn join_round(origin: OriginFor<T>, tier: Tier) -> DispatchResultWithPostInfo {
            let who = ensure_signed(origin)?;
            Self::do_join_round(who, tier)
        }

        /// Commits the trainer to its update for `round` without showing it.
        ///
        /// `commitment` is [`Reveal::commitment`]. `claims` are kept as information only.
        ///
        /// - Origin: signed by an account with a lease due in `round`.
        /// - Events: [`Event::Committed`].
        /// - Errors: [`Error::WrongRound`]; [`Error::NotTraining`] after the deadline;
        ///   [`Error::NoLease`]; [`Error::NotDue`]; [`Error::RecipeChanged`];
        ///   [`Error::AlreadyCommitted`].
        #[pallet::call_index(3)]
        #[pallet::weight((T::WeightInfo::commit(), DispatchClass::Operational))]
        pub fn commit(
            origin: OriginFor<T>,
            round: RoundNumber,
            commitment: Hash,
            claims: TrainingClaims,
        ) -> DispatchResult {
            let who = ensure_signed(origin)?;
            Self::do_commit(who, round, commitment, claims)
        }

        /// Reveals the update that the trainer committed to. Validators then fetch the payload by
        /// its hash.
        ///
        /// - Origin: signed by an account with a commitment in `round`.
        /// - Events: [`Event::Revealed`].
        /// - Errors: [`Error::WrongRound`]; [`Error::NotRevealing`]; [`Error::NotCommitted`];
        ///   [`Error::AlreadyRevealed`]; [`Error::WrongOpening`]; [`Error::WrongSteps`];
        ///   [`Error::WrongFirstLeaf`]; [`Error::PayloadSeen`].
        #[pallet::call_index(4)]
        #[pallet::weight((T::WeightInfo::reveal(), DispatchClass::Operational))]
        pub fn reveal(origin: OriginFor<T>, round: RoundNumber, reveal: Reveal) -> DispatchResult {
            let who = ensure_signed(origin)?;
            Self::do_reveal(who, round, reveal)
        }

        /// Counts the validator's stake for the head with parameters `root`, which it computed from
        /// `inputs`: [`pol_primitives::head::head_inputs`] of the included updates and excisions.
        ///
        /// - Origin: signed by a validator of the count under way.
        /// - Effect: replaces the validator's earlier attestation. The quorum adopts the head.
        ///   After the quorum, a validator may attest the new head until the next round ends: it
        ///   counts as present in the phase that made the head, and no stake moves. A root that
        ///   contradicts the head costs `WrongRootPenalty` from `WrongRootStrikes` in a row on.
        /// - Events: [`Event::Attested`]; [`Event::HeadAdvanced`] with the quorum; later
        ///   [`Event::WrongRoot`].
        /// - Errors: [`Error::WrongRound`]; [`Error::NotAttesting`]; [`Error::NotAValidator`];
        ///   [`Error::WrongInputs`]; [`Error::AlreadyAttested`].
        #[pallet::call_index(5)]
        #[pallet::weight((
            T::WeightInfo::attest_head().saturating_add(T::WeightInfo::adopt(MAX_SUBMISSIONS)),
            DispatchClass::Operational,
        ))]
        pub fn attest_head(
            origin: OriginFor<T>,
            round: RoundNumber,
            inputs: Hash,
            root: Hash,
        ) -> DispatchResultWithPostInfo {
            let who = ensure_signed(origin)?;
            Self::do_attest_head(who, round, inputs, root)
        }

        /// Concludes `account`'s lease once the round it is due in is over, or its recipe was
        /// replaced.
        ///
        /// - Origin: signed by anybody.
        /// - Effect: an included update becomes the account's carry, and its shards stay leased
        ///   until it is settled. Any other submission is settled, and its shards return to the
        ///   pool. A lease without a commitment costs `LapsePenalty` or more unless the recipe
        ///   changed meanwhile. So does an update that validators left out, and a commitment that
        ///   was not revealed, but `NoShowPenalty` at least.
        /// - Events: [`Event::Concluded`].
        /// - Errors: [`Error::NothingToConclude`].
        #[pallet::call_index(6)]
        #[pallet::weight(T::WeightInfo::conclude(MAX_LEASE_SHARDS))]
        pub fn conclude(origin: OriginFor<T>, account: T::AccountId) -> DispatchResultWithPostInfo {
            ensure_signed(origin)?;
            Self::do_conclude(&account)
        }

        /// Clears the caller's carry, so that its next lease starts with a fresh optimiser. It is
        /// for a trainer that lost its state.
        ///
        /// - Origin: signed.
        /// - Effect: a lease that is over is concluded first.
        /// - Events: [`Event::CarryReset`]; [`Event::Concluded`] for the past lease.
        /// - Errors: [`Error::AlreadyLeased`].
        #[pallet::call_index(7)]
        #[pallet::weight(
            T::WeightInfo::reset_carry()
                .saturating_add(T::WeightInfo::conclude(MAX_LEASE_SHARDS))
        )]
        pub fn reset_carry(origin: OriginFor<T>) -> DispatchResultWithPostInfo {
            let who = ensure_signed(origin)?;
            Self::do_reset_carry(who)
        }

        /// Sets the extent of audits and the lengths of their stages.
        ///
        /// - Origin: `GovernanceOrigin`.
        /// - Effect: the lengths hold at once, for open audits too. Seats and segments that are
        ///   drawn stay.
        /// - Events: [`Event::AuditsSet`].
        /// - Errors: [`Error::InvalidAudits`]; [`Error::AuditsUnderWay`] if a stage gets shorter
        ///   and an audit is open.
        #[pallet::call_index(8)]
        #[pallet::weight(T::WeightInfo::set_audits())]
        pub fn set_audits(origin: OriginFor<T>, config: AuditConfig) -> DispatchResult {
            T::GovernanceOrigin::ensure_origin(origin)?;
            Self::do_set_audits(config)
        }

        /// Shows the states of `Case::served_leaves`, in that order, by hashes and proofs. Seats
        /// fetch the states from peers by these hashes.
        ///
        /// - Origin: signed by the trainer of an update under audit, in stage `Serve`.
        /// - Events: [`Event::StatesServed`].
        /// - Errors: [`Error::NoSuchAudit`]; [`Error::WrongStage`]; [`Error::NotUnderAudit`];
        ///   [`Error::AlreadyServed`]; [`Error::WrongStates`]; [`Error::WrongProof`].
        #[pallet::call_index(9)]
        #[pallet::weight((T::WeightInfo::serve_states(), DispatchClass::Operational))]
        pub fn serve_states(
            origin: OriginFor<T>,
            audit: AuditId,
            states: BoundedVec<StateProof, ConstU32<MAX_SERVED_STATES>>,
        ) -> DispatchResult {
            let who = ensure_signed(origin)?;
            Self::do_serve_states(audit, who, &states)
        }

        /// Commits the validator to its findings in all its seats of the audit. `commitment` is
        /// [`pol_primitives::audit::evidence_commitment`].
        ///
        /// - Origin: signed by a validator with a seat on an update whose trainer showed its
        ///   states, in stage `Replay`.
        /// - Events: [`Event::AuditCommitted`].
        /// - Errors: [`Error::NoSuchAudit`]; [`Error::WrongStage`]; [`Error::NoSeat`];
        ///   [`Error::SeatCommitted`].
        #[pallet::call_index(10)]
        #[pallet::weight((T::WeightInfo::commit_audit(), DispatchClass::Operational))]
        pub fn commit_audit(
            origin: OriginFor<T>,
            audit: AuditId,
            commitment: Hash,
        ) -> DispatchResult {
            let who = ensure_signed(origin)?;
            Self::do_commit_audit(audit, who, commitment)
        }

        /// Opens the ends of the drawn segments, `Case::opened_leaves`, in that order.
        ///
        /// - Origin: signed by the trainer of an update under audit that has shown its states, in
        ///   stage `Open`.
        /// - Events: [`Event::SegmentsOpened`].
        /// - Errors: [`Error::NoSuchAudit`]; [`Error::WrongStage`]; [`Error::NotUnderAudit`];
        ///   [`Error::NotServed`]; [`Error::AlreadyOpened`]; [`Error::WrongEnds`];
        ///   [`Error::WrongProof`]; [`Error::OtherProfile`].
        #[pallet::call_index(11)]
        #[pallet::weight((T::WeightInfo::open_segments(), DispatchClass::Operational))]
        pub fn open_segments(
            origin: OriginFor<T>,
            audit: AuditId,
            ends: BoundedVec<LeafProof, ConstU32<MAX_AUDITED_SEGMENTS>>,
        ) -> DispatchResult {
            let who = ensure_signed(origin)?;
            Self::do_open_segments(audit, who, &ends)
        }

        /// Reveals the validator's findings, at most one for each case on which it has seats and
        /// whose trainer showed its states, ascending by case.
        ///
        /// A validator leaves out what it could not judge. There it counts as silent.
        ///
        /// - Origin: signed by a validator that committed, in stage `Reveal`.
        /// - Events: [`Event::AuditRevealed`].
        /// - Errors: [`Error::NoSuchAudit`]; [`Error::WrongStage`]; [`Error::NoSeat`];
        ///   [`Error::SeatNotCommitted`]; [`Error::SeatRevealed`]; [`Error::WrongEvidence`];
        ///   [`Error::BadEvidence`]; [`Error::OtherProfile`].
        #[pallet::call_index(12)]
        #[pallet::weight((
            T::WeightInfo::reveal_audit(evidence.len().saturated_into()),
            DispatchClass::Operational,
        ))]
        pub fn reveal_audit(
            origin: OriginFor<T>,
            audit: AuditId,
            evidence: Evidence,
            salt: Hash,
        ) -> DispatchResult {
            let who = ensure_signed(origin)?;
            Self::do_reveal_audit(audit, who, evidence, salt)
        }

        /// Compares the findings of the seats on `trainer`'s update with what it opened, and
        /// settles the update: applies shards, score, fines and excision.
        ///
        /// - Origin: signed by anybody, in stage `Settle`.
        /// - Effect: concludes the update's lease first if it is still open. An update that the
        ///   first draw does not acquit waits for a second one, and costs nobody anything before.
        ///   Seized bonds are burned.
        /// - Events: [`Event::Settled`] or [`Event::Undecided`]; [`Event::SeatFailed`] for
        ///   each that failed; [`Event::Fined`] for each that is fined; [`Event::AuditEnded`] with
        ///   the last case.
        /// - Errors: [`Error::NoSuchAudit`]; [`Error::WrongStage`]; [`Error::NotUnderAudit`];
        ///   [`Error::AlreadySettled`]; [`Error::EarlierUnsettled`]; [`Error::TooManyUndrawn`].
        #[pallet::call_index(13)]
        #[pallet::weight(
            T::WeightInfo::settle(MAX_LEASE_SHARDS, MAX_SEATS)
                .saturating_add(T::WeightInfo::judge_earlier(MAX_SEATS))
                .saturating_add(T::WeightInfo::forfeit())
        )]
        pub fn settle(
            origin: OriginFor<T>,
            audit: AuditId,
            trainer: T::AccountId,
        ) -> DispatchResultWithPostInfo {
            ensure_signed(origin)?;
            Self::do_settle(audit, &trainer)
        }

        /// Opens the ends of the drawn segments under the native profile: the states at
        /// `Case::opened_leaves`, in that order, with sketches of what the segments changed. Seats
        /// fetch the states from peers.
        ///
        /// - Origin: signed by the trainer of an update under audit that has shown its states, in
        ///   stage `Open`.
        /// - Events: [`Event::SegmentsOpened`].
        /// - Errors: those of [`Pallet::open_segments`]; [`Error::DoesNotFollow`].
        #[pallet::call_index(14)]
        #[pallet::weight((T::WeightInfo::open_sketches(), DispatchClass::Operational))]
        pub fn open_sketches(
            origin: OriginFor<T>,
            audit: AuditId,
            ends: BoundedVec<(SketchedEnd, MerkleProof), ConstU32<MAX_SKETCHED_SEGMENTS>>,
        ) -> DispatchResult {
            let who = ensure_signed(origin)?;
            Self::do_open_sketches(audit, who, ends.into_inner())
        }

        /// Reveals the validator's findings under the native profile, as [`Pallet::reveal_audit`]
        /// does, with one binding for each finding: the seat's judgement of the ends that were
        /// opened since. A binding has no effect where no ends were opened.
        ///
        /// - Origin: signed by a validator that committed, in stage `Reveal`.
        /// - Events: [`Event::AuditRevealed`].
        /// - Errors: those of [`Pallet::reveal_audit`].
        #[pallet::call_index(15)]
        #[pallet::weight((
            T::WeightInfo::reveal_sketches(evidence.len().saturated_into()),
            DispatchClass::Operational,
        ))]
        pub fn reveal_sketches(
            origin: OriginFor<T>,
            audit: AuditId,
            evidence: Evidence,
            bindings: BoundedVec<Binding, ConstU32<MAX_SUBMISSIONS>>,
            salt: Hash,
        ) -> DispatchResult {
            let who = ensure_signed(origin)?;
            Self::do_reveal_sketches(audit, who, evidence, &bindings, salt)
        }

        /// Reports the validator's measurements of the newest head, which `round` made. Nothing is
        /// paid or decided by them.
        ///
        /// - Origin: signed by a validator that takes part in attesting.
        /// - Effect: once holders of 67 % of the stake have reported, or a newer head is adopted,
        ///   the median by stake is kept as the head's measurement.
        /// - Events: [`Event::HeadReported`]; [`Event::HeadMeasured`] with the quorum.
        /// - Errors: [`Error::NotAValidator`]; [`Error::NotTheHead`]; [`Error::HeadIsMeasured`];
        ///   [`Error::MetricsOutOfRange`]; [`Error::HeadReported`]; [`Error::TooManyReports`].
        #[pallet::call_index(16)]
        #[pallet::weight(T::WeightInfo::measure_head())]
        pub fn measure_head(
            origin: OriginFor<T>,
            round: RoundNumber,
            metrics: ModelMetrics,
        ) -> DispatchResult {
            let who = ensure_signed(origin)?;
            Self::do_measure_head(who, round, metrics)
        }

        /// Reports the reveals of the round whose payloads the validator has fetched and found
        /// sound. What more than half of the stake holds is included, and in a second attempt, what
        /// 67 % hold.
        ///
        /// - Origin: signed by a validator of the count under way.
        /// - Effect: a report adds to the validator's earlier one. The phase ends with the block
        ///   after the one in which all have reported, or 67 % hold every reveal.
        /// - Events: [`Event::HeldReported`].
        /// - Errors: [`Error::WrongRound`]; [`Error::NotHolding`]; [`Error::BadHeld`];
        ///   [`Error::NotAValidator`]; [`Error::NothingMoreHeld`].
        #[pallet::call_index(17)]
        #[pallet::weight((T::WeightInfo::report_held(), DispatchClass::Operational))]
        pub fn report_held(
            origin: OriginFor<T>,
            round: RoundNumber,
            held: RevealSet,
        ) -> DispatchResult {
            let who = ensure_signed(origin)?;
            Self::do_report_held(who, round, held)
        }
    }
}
