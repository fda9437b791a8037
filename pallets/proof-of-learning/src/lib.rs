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

mod audits;
mod impls;
mod metrics;
#[cfg(test)]
mod mock;
#[cfg(test)]
mod tests;
#[cfg(any(feature = "std", feature = "try-runtime"))]
mod try_state;
pub mod types;
pub mod weights;

pub use pallet::*;
pub use weights::WeightInfo;

use polkadot_sdk::{frame_support, frame_system};

/// Rounds, leases, commitments, audits and the head.
#[allow(clippy::expect_used, reason = "in what the storage macro generates")]
#[frame_support::pallet]
pub mod pallet {
    use super::*;
    use crate::types::{Attested, Found};
    use codec::Encode;
    use frame_support::{pallet_prelude::*, traits::Randomness};
    use frame_system::pallet_prelude::*;
    use pol_primitives::{
        Balance, Hash, MAX_LEASE_SHARDS, MAX_SUBMISSIONS, RoundNumber,
        audit::{
            self, Audit, AuditConfig, AuditId, Evidence, Excision, MAX_AUDITED, MAX_SEATS,
            MAX_SERVED, OpenedEnd, Served,
        },
        head::{Head, RoundRecord},
        lease::Lease,
        metrics::{MAX_REPORTS, MeasuredHead, ModelMetrics, Report},
        recipe::{self, InvalidRecipe, InvalidSuccessor, Tier},
        rewrite::Rewrite,
        round::{BlockNumber, Phase, Round, RoundConfig, is_quorum},
        sketch::{Binding, MAX_SKETCHED, SketchedEnd},
        submission::{Claims, Included, Opened, Outcome, Reveal, Settled, Status, Submission},
        trace::{Proof, merkle_verify, state_leaf},
        traits::{self, Bonds as _, ShardPool as _},
        view::Standing,
    };
    use polkadot_sdk::sp_runtime::SaturatedConversion;

    /// Version of the storage below.
    pub const STORAGE_VERSION: StorageVersion = StorageVersion::new(1);
    /// Attestations and tallies of a past phase that one block clears.
    pub const SWEEP: u32 = 32;
    /// Open audits from which on no round opens: learning waits for what it has not checked.
    pub const MAX_BEHIND: u32 = 32;
    /// Updates that wait for a draw: those of a head, and as many that a first draw left undecided.
    pub const MAX_UNDRAWN: u32 = 2 * MAX_SUBMISSIONS;
    /// Updates that wait to be taken out of the model. Where a round opens, at most
    /// `MAX_BEHIND - 1` audits and half of [`MAX_UNDRAWN`] are not settled, of 64 updates each. A
    /// head adds 64, and takes out as many as wait, up to 64. So the unsettled ones and those that
    /// wait are never more than this.
    pub const MAX_EXCISABLE: u32 = (MAX_BEHIND + 2) * MAX_SUBMISSIONS;

    /// The pallet.
    #[pallet::pallet]
    #[pallet::storage_version(STORAGE_VERSION)]
    pub struct Pallet<T>(_);

    /// What the pallet needs of the runtime.
    #[pallet::config]
    pub trait Config:
        polkadot_sdk::frame_system::Config<
            RuntimeEvent: From<Event<Self>>,
            Hash: Into<pol_primitives::Hash>,
        >
    {
        /// Where a round's seed comes from. It should not be known before the round opens.
        type Randomness: Randomness<Self::Hash, BlockNumberFor<Self>>;
        /// Bonded trainers and validators.
        type Bonds: traits::Bonds<Self::AccountId>;
        /// The shards to train on.
        type Pool: traits::ShardPool<Self::AccountId>;
        /// Where heads, audits and fines are settled in money.
        type Payouts: traits::Payouts<Self::AccountId>;
        /// Who sets the recipe, the lengths of rounds and how much is audited.
        type GovernanceOrigin: EnsureOrigin<Self::RuntimeOrigin>;
        /// What a trainer loses for not opening its commitment, in the smallest unit of the token.
        #[pallet::constant]
        type NoShowPenalty: Get<Balance>;
        /// What a trainer loses for a lease that it committed nothing to, in the smallest unit of
        /// the token. It should be more than the fees of holding up a round, and less than an
        /// honest trainer minds that was too slow or was cut off.
        #[pallet::constant]
        type LapsePenalty: Get<Balance>;
        /// What a trainer loses for an update that replays to something else, besides all that
        /// waits in escrow for it.
        #[pallet::constant]
        type InvalidPenalty: Get<Balance>;
        /// What a trainer loses for not showing what an audit asks for. It must be more than what
        /// is gained by aborting once it is known which segments are drawn.
        #[pallet::constant]
        type WithheldPenalty: Get<Balance>;
        /// What a validator loses for a seat in which it was silent or wrong, from the
        /// [`Config::SeatStrikes`]th in a row on.
        #[pallet::constant]
        type SeatPenalty: Get<Balance>;
        /// Seats in a row in which a validator is silent or wrong, before it loses more than their
        /// pay.
        #[pallet::constant]
        type SeatStrikes: Get<u32>;
        /// What calls and hooks cost.
        type WeightInfo: WeightInfo;
    }

    // ---------------------------------------------------------------- storage

    /// The recipe in force; none before governance set one. One value.
    #[pallet::storage]
    pub type Recipe<T> = StorageValue<_, recipe::Recipe>;

    /// The recipe that the next opening puts in force. One value.
    #[pallet::storage]
    pub type PendingRecipe<T> = StorageValue<_, recipe::Recipe>;

    /// Every recipe that was ever in force, by [`recipe::Recipe::hash`], a cryptographic hash that
    /// needs no other: leases, audits and the model's history name them. One entry of about 200
    /// bytes for every recipe that governance set.
    #[pallet::storage]
    pub type Recipes<T> = StorageMap<_, Identity, Hash, recipe::Recipe>;

    /// The first round of the recipe in force: leases that earlier rounds gave ended with the
    /// recipe before. One value.
    #[pallet::storage]
    pub type RecipeSince<T> = StorageValue<_, RoundNumber, ValueQuery>;

    /// The round whose head was the first of the present architecture. Carries of this round or
    /// earlier ones are of another, and count as none. One value.
    #[pallet::storage]
    pub type ModelSince<T> = StorageValue<_, RoundNumber, ValueQuery>;

    /// Lengths of the phases, in blocks. One value.
    #[pallet::storage]
    pub type Lengths<T> = StorageValue<_, RoundConfig, ValueQuery>;

    /// The round under way. One value.
    #[pallet::storage]
    pub type CurrentRound<T> = StorageValue<_, Round, ValueQuery>;

    /// The global model; none before round zero's quorum. One value.
    #[pallet::storage]
    pub type CurrentHead<T> = StorageValue<_, Head>;

    /// Open leases by account, until they are concluded. Anybody can own an account, hence the
    /// keyed hasher; bounded by the bonded trainers, each of which has at most one.
    #[pallet::storage]
    pub type Leases<T: Config> = StorageMap<_, Blake2_128Concat, T::AccountId, Lease>;

    /// Leases due in a round that has not opened yet, by its number. The chain counts the keys, so
    /// the hasher is a fast one; bounded by the longest cadence, at most 255 rounds ahead.
    #[pallet::storage]
    pub type Due<T> = StorageMap<_, Twox64Concat, RoundNumber, u32, ValueQuery>;

    /// The last round that a lease of an earlier one was or is due in. One value.
    #[pallet::storage]
    pub type LastDue<T> = StorageValue<_, RoundNumber, ValueQuery>;

    /// What accounts bring into their next lease. Keyed as the leases; one entry of 48 bytes for
    /// every account that ever had one.
    #[pallet::storage]
    pub type Standings<T: Config> =
        StorageMap<_, Blake2_128Concat, T::AccountId, Standing, ValueQuery>;

    /// Submissions by round, which the chain counts, and account: at most 64 a round, each until
    /// its lease is concluded without it, or its audit settled.
    #[pallet::storage]
    pub type Submissions<T: Config> =
        StorageDoubleMap<_, Twox64Concat, RoundNumber, Blake2_128Concat, T::AccountId, Submission>;

    /// Accounts whose commitments of this round are open, by [`Opened::index`]. One value of at
    /// most 64 accounts, cleared when the round ends.
    #[pallet::storage]
    pub type Revealed<T: Config> =
        StorageValue<_, BoundedVec<T::AccountId, ConstU32<MAX_SUBMISSIONS>>, ValueQuery>;

    /// Hashes of all payloads ever revealed. Trainers choose them, hence the keyed hasher; at most
    /// 64 more a round, kept so that none is accepted twice.
    #[pallet::storage]
    pub type SeenPayloads<T> = StorageMap<_, Blake2_128Concat, Hash, ()>;

    /// Attestations by attest phase, counted by the chain, and validator. Bounded by the bonded
    /// validators; those of past phases no longer count and are cleared [`SWEEP`] a block.
    #[pallet::storage]
    pub type Attestations<T: Config> =
        StorageDoubleMap<_, Twox64Concat, u32, Blake2_128Concat, T::AccountId, Attested>;

    /// Stake for a head by attest phase and [`Attested::digest`], a cryptographic hash that needs
    /// no other. At most as many as attestations; cleared with them.
    #[pallet::storage]
    pub type Tallies<T> =
        StorageDoubleMap<_, Twox64Concat, u32, Identity, Hash, Balance, ValueQuery>;

    /// Attest phases that have ended, with or without a head; also the key of the one under way.
    /// One value.
    #[pallet::storage]
    pub type AttestPhases<T> = StorageValue<_, u32, ValueQuery>;

    /// Attest phases whose attestations have been cleared. One value, at most [`AttestPhases`].
    #[pallet::storage]
    pub type SweptPhases<T> = StorageValue<_, u32, ValueQuery>;

    /// What is kept of each concluded round, by number, which the chain counts. One entry a round,
    /// kept as the model's history.
    #[pallet::storage]
    pub type Records<T: Config> =
        StorageMap<_, Twox64Concat, RoundNumber, RoundRecord<T::AccountId>>;

    /// How much is audited, and how long it may take. One value.
    #[pallet::storage]
    pub type AuditSettings<T> = StorageValue<_, AuditConfig, ValueQuery>;

    /// Included updates that wait for their seats to be drawn, with the block since which they do.
    /// One value of at most [`MAX_UNDRAWN`] entries, which later blocks take out, those of one
    /// round and draw at a time.
    #[pallet::storage]
    pub type Undrawn<T: Config> = StorageValue<
        _,
        BoundedVec<(audit::Undrawn<T::AccountId>, BlockNumber), ConstU32<MAX_UNDRAWN>>,
        ValueQuery,
    >;

    /// Randomness of all blocks in which an update waited for its draw, mixed. One hash.
    #[pallet::storage]
    pub type Mixed<T> = StorageValue<_, Hash, ValueQuery>;

    /// Number of the next audit. One value.
    #[pallet::storage]
    pub type NextAudit<T> = StorageValue<_, AuditId, ValueQuery>;

    /// Open audits, by number, which the chain counts; removed with the last case. No round opens
    /// while there are [`MAX_BEHIND`]; each can lead to one more for every update that it leaves
    /// undecided. Their stage is that of the last call.
    #[pallet::storage]
    pub type Audits<T: Config> = CountedStorageMap<_, Twox64Concat, AuditId, Audit<T::AccountId>>;

    /// What trainers have shown, by audit and account; at most one entry for each case, until it is
    /// settled.
    #[pallet::storage]
    pub type Shown<T: Config> =
        StorageDoubleMap<_, Twox64Concat, AuditId, Blake2_128Concat, T::AccountId, audit::Shown>;

    /// Hidden evidence by audit and validator; at most one entry for each holder of seats, until it
    /// is revealed or one of its cases is settled without.
    #[pallet::storage]
    pub type Commits<T: Config> =
        StorageDoubleMap<_, Twox64Concat, AuditId, Blake2_128Concat, T::AccountId, Hash>;

    /// What seats found, by audit and by the places of case and holder in it, all counted by the
    /// chain; at most one entry for each seat of an open case, until it is settled.
    #[pallet::storage]
    pub type Findings<T> =
        StorageDoubleMap<_, Twox64Concat, AuditId, Twox64Concat, (u8, u16), Found>;

    /// Concluded leases of included updates, keyed as the submissions, until they are settled.
    #[pallet::storage]
    pub type AuditedLeases<T: Config> =
        StorageDoubleMap<_, Twox64Concat, RoundNumber, Blake2_128Concat, T::AccountId, Lease>;

    /// What is kept of each submission, keyed as they are: under 128 bytes, at most 64 times a
    /// round, kept as the model's history.
    #[pallet::storage]
    pub type History<T: Config> =
        StorageDoubleMap<_, Twox64Concat, RoundNumber, Blake2_128Concat, T::AccountId, Settled>;

    /// Updates to be taken out of the model, with the block that settled them, oldest first, until
    /// a head did. One value of at most [`MAX_EXCISABLE`] entries of 9 bytes.
    #[pallet::storage]
    pub type Excisions<T> =
        StorageValue<_, BoundedVec<(Excision, BlockNumber), ConstU32<MAX_EXCISABLE>>, ValueQuery>;

    /// What the reasoning probes of the newest head are drawn by, with the round that made it:
    /// fixed in the block after it. One value.
    #[pallet::storage]
    pub type ProbeSeed<T> = StorageValue<_, (RoundNumber, Hash)>;

    /// What validators report of the newest head, until holders of 67 % of the stake have, or there
    /// is a newer one. One value of at most [`MAX_REPORTS`] entries of 87 bytes, those with the
    /// most stake.
    #[pallet::storage]
    pub type HeadReports<T: Config> =
        StorageValue<_, BoundedVec<Report<T::AccountId>, ConstU32<MAX_REPORTS>>, ValueQuery>;

    /// What validators found of each head, by its round, which the chain counts: at most 43 bytes a
    /// round, kept as the model's history.
    #[pallet::storage]
    pub type HeadMetrics<T> = StorageMap<_, Twox64Concat, RoundNumber, MeasuredHead>;

    // ---------------------------------------------------------------- genesis

    /// The state to start from.
    #[pallet::genesis_config]
    #[derive(frame_support::DefaultNoBound)]
    pub struct GenesisConfig<T: Config> {
        /// Lengths of the phases.
        pub lengths: RoundConfig,
        /// How much is audited, and how long it may take.
        pub audits: AuditConfig,
        /// The first recipe; governance can set it later.
        pub recipe: Option<recipe::Recipe>,
        #[doc(hidden)]
        #[serde(skip)]
        pub _config: PhantomData<T>,
    }

    #[pallet::genesis_build]
    impl<T: Config> BuildGenesisConfig for GenesisConfig<T> {
        fn build(&self) {
            assert!(
                self.lengths.is_valid(),
                "lengths of phases must be positive, join < train and lead <= attest"
            );
            Lengths::<T>::put(self.lengths);
            assert!(
                self.audits.is_valid(),
                "numbers of audits must be positive and within limits, with more_seats above seats"
            );
            AuditSettings::<T>::put(self.audits);
            if let Some(recipe) = &self.recipe {
                if let Err(invalid) = recipe.validate() {
                    panic!("the recipe of the genesis state is invalid: {invalid}");
                }
                assert!(
                    recipe.rewrite.is_none(),
                    "the recipe of the genesis state has no model to rewrite"
                );
                Pallet::<T>::put_in_force(recipe);
            }
        }
    }

    // ---------------------------------------------------------------- events and errors

    /// What happened.
    #[pallet::event]
    #[pallet::generate_deposit(pub(crate) fn deposit_event)]
    pub enum Event<T: Config> {
        /// Governance set a recipe; the next opening puts it in force.
        RecipeSet {
            /// The recipe's name.
            hash: Hash,
        },
        /// A recipe is in force.
        RecipeAdopted {
            /// The recipe's name.
            hash: Hash,
        },
        /// Governance set the lengths of phases.
        LengthsSet {
            /// The lengths, in blocks.
            lengths: RoundConfig,
        },
        /// A round opened.
        RoundOpened {
            /// Its number.
            number: RoundNumber,
            /// Its randomness.
            seed: Hash,
        },
        /// A phase began, or its deadline moved.
        PhaseEntered {
            /// The round.
            number: RoundNumber,
            /// The phase.
            phase: Phase,
            /// First block after it; none while the round waits for its first lease.
            deadline: Option<BlockNumber>,
        },
        /// A trainer leased data.
        Leased {
            /// The trainer.
            account: T::AccountId,
            /// The round its update is for.
            due_round: RoundNumber,
            /// Number of shards.
            shards: u32,
        },
        /// A trainer committed to an update.
        Committed {
            /// The trainer.
            account: T::AccountId,
            /// The round.
            round: RoundNumber,
        },
        /// A trainer opened its commitment.
        Revealed {
            /// The trainer.
            account: T::AccountId,
            /// The round.
            round: RoundNumber,
            /// The payload's address among peers.
            payload_hash: Hash,
            /// Its place among the round's reveals.
            index: u8,
        },
        /// A validator attested the next head.
        Attested {
            /// The validator.
            account: T::AccountId,
            /// The round.
            round: RoundNumber,
            /// Root of the head it computed.
            root: Hash,
        },
        /// The model moved on.
        HeadAdvanced {
            /// The new head.
            head: Head,
        },
        /// A round ended without a head.
        RoundVoid {
            /// Its number.
            number: RoundNumber,
        },
        /// A lease ended.
        Concluded {
            /// The trainer.
            account: T::AccountId,
            /// The round it was due in.
            round: RoundNumber,
            /// How far the submission had come, which decides its outcome: [`Outcome::NoShow`] if
            /// it was committed only, and [`Outcome::Excluded`] if opened only; an included one is
            /// audited. None when there was none.
            status: Option<Status>,
        },
        /// A trainer forgot its optimiser state.
        CarryReset {
            /// The trainer.
            account: T::AccountId,
        },
        /// Governance set how much is audited.
        AuditsSet {
            /// The numbers.
            config: AuditConfig,
        },
        /// Seats and segments were drawn.
        AuditDrawn {
            /// The audit.
            audit: AuditId,
            /// The round that included its updates.
            round: RoundNumber,
            /// 0 for the first draw, 1 for the second.
            draw: u8,
            /// Number of updates.
            cases: u32,
        },
        /// A trainer showed the states that its drawn segments start from.
        StatesServed {
            /// The audit.
            audit: AuditId,
            /// The trainer.
            account: T::AccountId,
        },
        /// A validator committed to what it found in its seats.
        AuditCommitted {
            /// The audit.
            audit: AuditId,
            /// The validator.
            account: T::AccountId,
        },
        /// A trainer opened the ends of its drawn segments.
        SegmentsOpened {
            /// The audit.
            audit: AuditId,
            /// The trainer.
            account: T::AccountId,
        },
        /// A validator revealed what it found in its seats.
        AuditRevealed {
            /// The audit.
            audit: AuditId,
            /// The validator.
            account: T::AccountId,
        },
        /// No quorum of an update's seats found the same: it waits for a second, larger draw.
        Undecided {
            /// The audit.
            audit: AuditId,
            /// The trainer.
            account: T::AccountId,
            /// The round that included the update.
            round: RoundNumber,
        },
        /// It is decided what became of an included update.
        Settled {
            /// The audit.
            audit: AuditId,
            /// The trainer.
            account: T::AccountId,
            /// The round that included the update.
            round: RoundNumber,
            /// What became of it.
            outcome: Outcome,
            /// What is paid for, in millionths of a nat a token.
            score: u32,
        },
        /// A validator was silent or wrong in a seat on an update that is decided.
        SeatFailed {
            /// The audit.
            audit: AuditId,
            /// The validator.
            account: T::AccountId,
            /// The trainer of the update.
            trainer: T::AccountId,
        },
        /// Part of a bond was seized.
        Fined {
            /// The audit.
            audit: AuditId,
            /// The trainer or validator.
            account: T::AccountId,
            /// What was taken, in the smallest unit of the token; less than the penalty if the bond
            /// was.
            amount: Balance,
        },
        /// All cases of an audit are settled.
        AuditEnded {
            /// The audit.
            audit: AuditId,
        },
        /// The head is the one before it, rewritten. Carries of earlier rounds are forgotten.
        ModelRewritten {
            /// The round that made it.
            round: RoundNumber,
            /// What was rewritten.
            rewrite: Rewrite,
        },
        /// It is fixed what the newest head's reasoning probes are drawn by.
        ProbesDrawn {
            /// The round that made the head.
            round: RoundNumber,
            /// What they are drawn by.
            seed: Hash,
        },
        /// A validator reported what it measured of the head.
        HeadReported {
            /// The validator.
            account: T::AccountId,
            /// The round that made the head.
            round: RoundNumber,
        },
        /// It is decided what was measured of a head.
        HeadMeasured {
            /// The round that made it.
            round: RoundNumber,
            /// What was found, and by how much of the stake.
            measured: MeasuredHead,
        },
    }

    /// Why a call was refused.
    #[pallet::error]
    pub enum Error<T> {
        /// The recipe's model is invalid: sizes of at least 1, a width of whole heads, within the
        /// protocol's limits.
        RecipeModelInvalid,
        /// A recipe's sequence must fit the model's context, and a shard must be a whole number of
        /// sequences.
        RecipeSequenceInvalid,
        /// A recipe's tiers need sizes of at least 1, steps of whole segments and data of at most
        /// 64 shards.
        RecipeTierInvalid,
        /// A constant of the recipe's optimiser, schedule or compression is out of its range.
        RecipeConstantInvalid,
        /// A recipe needs 1 to 64 segments.
        RecipeSegmentsInvalid,
        /// The tolerance of a recipe's native numerics is 1,000 to 100,000 millionths.
        RecipeToleranceInvalid,
        /// There is a head: keep the tokenizer, the seed and, since data is cut to it, the shard
        /// size of its recipe, and change the model by a rewrite only.
        ModelIsFixed,
        /// The pool has shards of another length or tokenizer: keep those, or have the manifests
        /// withdrawn first.
        DataOfAnotherFormat,
        /// Lengths must be positive, `join` below `train` and `lead` at most `attest`.
        InvalidLengths,
        /// Only bonded trainers lease data: bond as a trainer first, or raise a bond that penalties
        /// have used up.
        NotATrainer,
        /// Joining is closed: wait for the next round to open.
        NotJoining,
        /// The account has a lease whose round is not over: finish it, or wait for its round to
        /// end.
        AlreadyLeased,
        /// The round the lease would be due in has 64 leases: join a later one.
        RoundIsFull,
        /// The pool has no free shard: wait for leases to return theirs or for new data.
        NoData,
        /// This is not the number of the round under way: read it again.
        WrongRound,
        /// Commitments are taken in the train phase only.
        NotTraining,
        /// The account has no lease: join a round first.
        NoLease,
        /// The lease is due in another round: commit in that one.
        NotDue,
        /// The recipe changed since the lease was given: wait for the round that it is due in to
        /// end, and lease again.
        RecipeChanged,
        /// The account has committed in this round.
        AlreadyCommitted,
        /// Commitments are opened in the reveal phase only.
        NotRevealing,
        /// The account did not commit in this round.
        NotCommitted,
        /// The commitment is open.
        AlreadyRevealed,
        /// The reveal is not what was committed to, by this account, on this chain, for this round.
        WrongOpening,
        /// Steps must be whole segments, at least one and at most the tier's.
        WrongSteps,
        /// Leaf 0 of the trace must be the lease's base under the lease's carry, and the trace must
        /// have one leaf more than segments.
        WrongFirstLeaf,
        /// This payload was revealed before, by this account or another.
        PayloadSeen,
        /// Heads are attested in the attest phase only.
        NotAttesting,
        /// Only bonded validators that are not set aside attest.
        NotAValidator,
        /// The set must name reveals of the round in its one encoding: at least one, and none in
        /// round zero or where the model is rewritten.
        BadIncluded,
        /// The validator attested exactly this already.
        AlreadyAttested,
        /// The account has no lease, or its round is not over.
        NothingToConclude,
        /// Numbers of audits must be positive, within the protocol's limits, and `more_seats` above
        /// `seats`.
        InvalidAudits,
        /// There is no such audit, or it has ended: read the open ones again.
        NoSuchAudit,
        /// The audit is in another stage: read it again, and wait if it comes later.
        WrongStage,
        /// The account has no update in this audit.
        NotUnderAudit,
        /// The trainer has shown its states.
        AlreadyServed,
        /// The states must be those of exactly the leaves that the case asks for, in its order.
        WrongStates,
        /// A proof does not show the state or end to be where it must be on the trace.
        WrongProof,
        /// The validator has no seat in this audit on an update whose trainer showed its states.
        NoSeat,
        /// The validator has committed to its evidence, which is once only.
        SeatCommitted,
        /// The trainer did not show its states in time, so there are no ends to open.
        NotServed,
        /// The trainer has opened its ends.
        AlreadyOpened,
        /// The ends must be those of exactly the drawn segments, in their order.
        WrongEnds,
        /// The validator did not commit to evidence in time.
        SeatNotCommitted,
        /// The validator has revealed its evidence.
        SeatRevealed,
        /// The evidence is not what was committed to, by this account, on this chain, for this
        /// audit.
        WrongEvidence,
        /// Evidence has one finding, in order, for each seat on an update whose trainer showed its
        /// states; one that replayed has an end for each drawn segment and a figure for each leased
        /// shard.
        BadEvidence,
        /// The recipe is of the other numerics profile, whose ends are opened and whose evidence is
        /// revealed by calls of their own, with a sketch for each drawn segment and a binding for
        /// each finding.
        OtherProfile,
        /// An opened state must have the steps of its segment more than the start that was shown,
        /// and the same error feedback.
        DoesNotFollow,
        /// The case is settled.
        AlreadySettled,
        /// The update goes on from the state of an earlier one that is not settled: settle that one
        /// first.
        EarlierUnsettled,
        /// Too many updates wait for a draw: settle again some blocks later.
        TooManyUndrawn,
        /// The recipe's rewrite cannot be made of the head's model: read its recipe, and choose one
        /// that can.
        RewriteDoesNotFit,
        /// The recipe's rewrite leads from the head's model to another than the recipe's.
        RewriteOfAnotherModel,
        /// The recipe names a rewrite and keeps the model, or there is none yet: leave the rewrite
        /// out, or give the recipe the model that it leads to.
        RewriteUnused,
        /// This round did not make the newest head, or that was made in this very block: read what
        /// is to be measured again.
        NotTheHead,
        /// Holders of 67 % of the stake have reported on this head: it is measured, and nothing is
        /// left to report.
        HeadIsMeasured,
        /// The validator has reported on this head, which is once only.
        HeadReported,
        /// A share is more than a million millionths.
        MetricsOutOfRange,
        /// 128 validators with at least this stake have reported on the head.
        TooManyReports,
    }

    impl<T> From<InvalidRecipe> for Error<T> {
        fn from(invalid: InvalidRecipe) -> Self {
            match invalid {
                InvalidRecipe::Model(_) => Self::RecipeModelInvalid,
                InvalidRecipe::Sequence => Self::RecipeSequenceInvalid,
                InvalidRecipe::Tier => Self::RecipeTierInvalid,
                InvalidRecipe::Constant => Self::RecipeConstantInvalid,
                InvalidRecipe::Segments => Self::RecipeSegmentsInvalid,
                InvalidRecipe::Tolerance => Self::RecipeToleranceInvalid,
            }
        }
    }

    impl<T> From<InvalidSuccessor> for Error<T> {
        fn from(invalid: InvalidSuccessor) -> Self {
            match invalid {
                InvalidSuccessor::Fixed => Self::ModelIsFixed,
                InvalidSuccessor::Rewrite(_) => Self::RewriteDoesNotFit,
                InvalidSuccessor::OtherModel => Self::RewriteOfAnotherModel,
            }
        }
    }

    // ---------------------------------------------------------------- hooks

    #[pallet::hooks]
    impl<T: Config> Hooks<BlockNumberFor<T>> for Pallet<T> {
        fn on_initialize(_: BlockNumberFor<T>) -> Weight {
            Self::draw().saturating_add(Self::advance()).saturating_add(Self::sweep())
        }

        #[cfg(feature = "try-runtime")]
        fn try_state(
            _: BlockNumberFor<T>,
        ) -> Result<(), polkadot_sdk::sp_runtime::TryRuntimeError> {
            Self::do_try_state()
        }
    }

    // ---------------------------------------------------------------- calls

    #[pallet::call]
    impl<T: Config> Pallet<T> {
        /// Sets the recipe of the rounds that open from now on.
        ///
        /// With a head, the model changes by a rewrite only: a recipe of another model than the
        /// head's names the rewrite that leads to it, and its first round trains nothing but makes
        /// the head's model that one. Until that round has a head, another recipe takes the rewrite
        /// back.
        ///
        /// Origin: `GovernanceOrigin`. Emits [`Event::RecipeSet`], and [`Event::RecipeAdopted`]
        /// when it comes into force. A recipe set while another one waits replaces that one. Round
        /// zero starts over, and a round that rewrites is void, each with its attestations.
        ///
        /// Errors: `Recipe…Invalid` unless [`recipe::Recipe::validate`] accepts it;
        /// [`Error::ModelIsFixed`]; [`Error::RewriteDoesNotFit`]; [`Error::RewriteOfAnotherModel`];
        /// [`Error::RewriteUnused`]; [`Error::DataOfAnotherFormat`].
        #[pallet::call_index(0)]
        #[pallet::weight(T::WeightInfo::set_recipe())]
        pub fn set_recipe(origin: OriginFor<T>, recipe: recipe::Recipe) -> DispatchResult {
            T::GovernanceOrigin::ensure_origin(origin)?;
            recipe.validate().map_err(Error::<T>::from)?;
            if let Some(head) = CurrentHead::<T>::get() {
                let before =
                    Recipes::<T>::get(head.recipe_hash).ok_or(DispatchError::Corruption)?;
                let rewrites = recipe.rewrite_from(&before).map_err(Error::<T>::from)?.is_some();
                let kept = recipe.rewrite.is_none() || recipe.rewrite == before.rewrite;
                ensure!(rewrites || kept, Error::<T>::RewriteUnused);
            } else {
                ensure!(recipe.rewrite.is_none(), Error::<T>::RewriteUnused);
                let format = (recipe.shard_tokens, recipe.tokenizer);
                let fits = <Self as traits::DataFormat>::shard_tokens_and_tokenizer()
                    .is_none_or(|other| other == format);
                ensure!(fits || T::Pool::free() == 0, Error::<T>::DataOfAnotherFormat);
            }
            let round = CurrentRound::<T>::get();
            if round.attests_only() {
                // What was attested so far is the model of another recipe.
                Self::end_without_head(round);
            }
            Self::deposit_event(Event::RecipeSet { hash: recipe.hash() });
            PendingRecipe::<T>::put(recipe);
            Ok(())
        }

        /// Sets the lengths of phases. Deadlines already set stay.
        ///
        /// Origin: `GovernanceOrigin`. Emits [`Event::LengthsSet`]. Errors:
        /// [`Error::InvalidLengths`].
        #[pallet::call_index(1)]
        #[pallet::weight(T::WeightInfo::set_lengths())]
        pub fn set_lengths(origin: OriginFor<T>, lengths: RoundConfig) -> DispatchResult {
            T::GovernanceOrigin::ensure_origin(origin)?;
            ensure!(lengths.is_valid(), Error::<T>::InvalidLengths);
            Lengths::<T>::put(lengths);
            Self::deposit_event(Event::LengthsSet { lengths });
            Ok(())
        }

        /// Leases data for one update, to be committed in round `number + cadence - 1`. A lease of
        /// a past round is concluded first.
        ///
        /// Origin: signed by a bonded trainer. Emits [`Event::Leased`], [`Event::PhaseEntered`]
        /// when it starts the round's clock, and [`Event::Concluded`] for the past lease.
        ///
        /// Errors: [`Error::NotATrainer`]; [`Error::NotJoining`] outside the train phase or after
        /// joining closed; [`Error::AlreadyLeased`]; [`Error::RoundIsFull`]; [`Error::NoData`].
        #[pallet::call_index(2)]
        #[pallet::weight(
            T::WeightInfo::join_round(MAX_LEASE_SHARDS).saturating_add(T::WeightInfo::conclude(MAX_LEASE_SHARDS))
        )]
        pub fn join_round(origin: OriginFor<T>, tier: Tier) -> DispatchResultWithPostInfo {
            let who = ensure_signed(origin)?;
            let (now, lengths, mut round) =
                (Self::now(), Lengths::<T>::get(), CurrentRound::<T>::get());
            ensure!(round.joinable(now), Error::<T>::NotJoining);
            let concluded = Self::conclude_past(&who, round.number)?;
            // Only now, since the past lease may have cost part of the bond.
            ensure!(T::Bonds::is_trainer(&who), Error::<T>::NotATrainer);

            // A train phase has both.
            let recipe = Recipe::<T>::get().ok_or(DispatchError::Corruption)?;
            let head = CurrentHead::<T>::get().ok_or(DispatchError::Corruption)?;
            let later = u32::from(recipe.tier(tier).cadence).saturating_sub(1);
            let due_round = round.number.saturating_add(later);
            let due = if later == 0 { round.due } else { Due::<T>::get(due_round) };
            ensure!(due < MAX_SUBMISSIONS, Error::<T>::RoundIsFull);

            let mut standing = Self::standing(&who);
            let mut prf = Lease::draw(&round.seed, &who.encode(), standing.nonce);
            let shards = T::Pool::lease(recipe.shards_per_lease(tier), &mut prf);
            let shards = BoundedVec::try_from(shards).map_err(|_| DispatchError::Corruption)?;
            ensure!(!shards.is_empty(), Error::<T>::NoData);

            let clock = round.deadline;
            if later == 0 {
                round.lease_due(&lengths, now);
            } else {
                Due::<T>::insert(due_round, due.saturating_add(1));
                LastDue::<T>::mutate(|last| *last = due_round.max(*last));
                round.lease_later(&lengths, now);
            }
            if round.deadline == clock {
                CurrentRound::<T>::put(&round);
            } else {
                Self::enter(round.clone());
            }
            let leased = shards.len().saturated_into();
            let lease = Lease {
                nonce: standing.nonce,
                tier,
                round: round.number,
                due_round,
                seed: round.seed,
                base_root: round.base_root,
                head_tokens: head.tokens,
                recipe: recipe.hash(),
                carry: standing.carry,
                carry_round: standing.carry_round,
                shards,
            };
            Leases::<T>::insert(&who, lease);
            standing.nonce = standing.nonce.saturating_add(1);
            Standings::<T>::insert(&who, standing);
            Self::deposit_event(Event::Leased { account: who, due_round, shards: leased });
            Ok(Some(T::WeightInfo::join_round(leased).saturating_add(concluded)).into())
        }

        /// Commits the trainer to its update for `round` without showing it: `commitment` is
        /// [`Reveal::commitment`]. `claims` are kept as information.
        ///
        /// Origin: signed, with a lease due in `round`. Emits [`Event::Committed`].
        ///
        /// Errors: [`Error::WrongRound`]; [`Error::NotTraining`] after the deadline;
        /// [`Error::NoLease`]; [`Error::NotDue`]; [`Error::RecipeChanged`];
        /// [`Error::AlreadyCommitted`].
        #[pallet::call_index(3)]
        #[pallet::weight(T::WeightInfo::commit())]
        pub fn commit(
            origin: OriginFor<T>,
            round: RoundNumber,
            commitment: Hash,
            claims: Claims,
        ) -> DispatchResult {
            let who = ensure_signed(origin)?;
            let mut current = CurrentRound::<T>::get();
            ensure!(round == current.number, Error::<T>::WrongRound);
            ensure!(current.phase == Phase::Train, Error::<T>::NotTraining);
            let lease = Leases::<T>::get(&who).ok_or(Error::<T>::NoLease)?;
            ensure!(lease.due_round == round, Error::<T>::NotDue);
            ensure!(lease.round >= RecipeSince::<T>::get(), Error::<T>::RecipeChanged);
            ensure!(!Submissions::<T>::contains_key(round, &who), Error::<T>::AlreadyCommitted);

            let submission = Submission {
                commitment,
                tier: lease.tier,
                staleness: Self::staleness(&lease, &current),
                claims,
                data_hash: lease.data_hash(),
                status: Status::Committed,
                opened: None,
            };
            Submissions::<T>::insert(round, &who, submission);
            current.committed = current.committed.saturating_add(1);
            CurrentRound::<T>::put(current);
            Self::deposit_event(Event::Committed { account: who, round });
            Ok(())
        }

        /// Opens the trainer's commitment. From now on validators fetch the payload by its hash.
        ///
        /// Origin: signed, with a commitment in `round`. Emits [`Event::Revealed`].
        ///
        /// Errors: [`Error::WrongRound`]; [`Error::NotRevealing`]; [`Error::NotCommitted`];
        /// [`Error::AlreadyRevealed`]; [`Error::WrongOpening`]; [`Error::WrongSteps`];
        /// [`Error::WrongFirstLeaf`]; [`Error::PayloadSeen`].
        #[pallet::call_index(4)]
        #[pallet::weight(T::WeightInfo::reveal())]
        pub fn reveal(origin: OriginFor<T>, round: RoundNumber, reveal: Reveal) -> DispatchResult {
            let who = ensure_signed(origin)?;
            let mut current = CurrentRound::<T>::get();
            ensure!(round == current.number, Error::<T>::WrongRound);
            ensure!(current.phase == Phase::Reveal, Error::<T>::NotRevealing);
            let mut submission =
                Submissions::<T>::get(round, &who).ok_or(Error::<T>::NotCommitted)?;
            ensure!(submission.status == Status::Committed, Error::<T>::AlreadyRevealed);
            let commitment = reveal.commitment(&who.encode(), &Self::genesis_hash(), round);
            ensure!(commitment == submission.commitment, Error::<T>::WrongOpening);

            // A commitment has a lease, and its round a recipe, until the round is over.
            let lease = Leases::<T>::get(&who).ok_or(DispatchError::Corruption)?;
            let recipe = Recipe::<T>::get().ok_or(DispatchError::Corruption)?;
            let segment = recipe.steps_per_segment(lease.tier);
            let whole = reveal.steps.checked_rem(segment) == Some(0);
            ensure!(
                whole && (1..=recipe.tier(lease.tier).inner_steps).contains(&reveal.steps),
                Error::<T>::WrongSteps
            );
            let segments = u32::from(reveal.steps.checked_div(segment).unwrap_or(0));
            let first = state_leaf(&lease.base_root, &lease.carry);
            let proved = merkle_verify(
                &reveal.trace_root,
                segments.saturating_add(1),
                0,
                &first,
                &reveal.first_leaf,
            );
            ensure!(proved, Error::<T>::WrongFirstLeaf);
            ensure!(!SeenPayloads::<T>::contains_key(reveal.payload_hash), Error::<T>::PayloadSeen);

            let mut revealed = Revealed::<T>::get();
            let index = u8::try_from(revealed.len()).map_err(|_| DispatchError::Corruption)?;
            revealed.try_push(who.clone()).map_err(|_| DispatchError::Corruption)?;
            Revealed::<T>::put(revealed);
            SeenPayloads::<T>::insert(reveal.payload_hash, ());
            let Reveal { payload_hash, trace_root, carry_hash, steps, .. } = reveal;
            let tokens = lease.tokens(&recipe, steps);
            submission.opened =
                Some(Opened { index, payload_hash, trace_root, carry_hash, steps, tokens });
            submission.status = Status::Revealed;
            Submissions::<T>::insert(round, &who, submission);
            current.revealed = current.revealed.saturating_add(1);
            CurrentRound::<T>::put(current);
            Self::deposit_event(Event::Revealed { account: who, round, payload_hash, index });
            Ok(())
        }

        /// Counts the validator's stake for the head with parameters `root`, made of the round's
        /// reveals in `included`; in round zero, for the initial model, and where the recipe
        /// rewrites the model, for the rewritten one. An attestation replaces the validator's
        /// earlier one. The quorum adopts the head. A validator that comes after the quorum may
        /// attest the new head until the next round ends: it counts as having taken part in the
        /// phase that made it, and no stake moves.
        ///
        /// Origin: signed by a validator that takes part in attesting. Emits [`Event::Attested`],
        /// and [`Event::HeadAdvanced`] with the quorum.
        ///
        /// Errors: [`Error::WrongRound`]; [`Error::NotAttesting`]; [`Error::NotAValidator`];
        /// [`Error::BadIncluded`]; [`Error::AlreadyAttested`].
        #[pallet::call_index(5)]
        #[pallet::weight(T::WeightInfo::attest_head().saturating_add(T::WeightInfo::adopt(MAX_SUBMISSIONS)))]
        pub fn attest_head(
            origin: OriginFor<T>,
            round: RoundNumber,
            root: Hash,
            included: Included,
        ) -> DispatchResultWithPostInfo {
            let who = ensure_signed(origin)?;
            let (current, head, phase) =
                (CurrentRound::<T>::get(), CurrentHead::<T>::get(), AttestPhases::<T>::get());
            // Until the round after it ends, the phase that made a head is the last one that ended.
            // To count for a later one would let somebody who never helps a quorum pass for alive.
            let late = round.checked_add(1) == Some(current.number)
                && Self::is_newest_head(head, round, root, &included);
            if late {
                ensure!(T::Bonds::validator_stake(&who).is_some(), Error::<T>::NotAValidator);
                T::Bonds::note_attested(&who, phase.saturating_sub(1));
                Self::deposit_event(Event::Attested { account: who, round, root });
                return Ok(Some(T::WeightInfo::attest_head()).into());
            }
            ensure!(round == current.number, Error::<T>::WrongRound);
            ensure!(current.phase == Phase::Attest, Error::<T>::NotAttesting);
            let stake = T::Bonds::validator_stake(&who).ok_or(Error::<T>::NotAValidator)?;
            let fits = included.is_canonical(current.revealed)
                && included.is_empty() == current.attests_only();
            ensure!(fits, Error::<T>::BadIncluded);

            let attested = Attested { root, included, stake };
            let digest = attested.digest();
            if let Some(earlier) = Attestations::<T>::get(phase, &who) {
                let other = earlier.digest();
                ensure!(other != digest, Error::<T>::AlreadyAttested);
                let rest = Tallies::<T>::get(phase, other).saturating_sub(earlier.stake);
                if rest == 0 {
                    Tallies::<T>::remove(phase, other);
                } else {
                    Tallies::<T>::insert(phase, other, rest);
                }
            }
            let tally = Tallies::<T>::get(phase, digest).saturating_add(stake);
            Tallies::<T>::insert(phase, digest, tally);
            Attestations::<T>::insert(phase, &who, &attested);
            T::Bonds::note_attested(&who, phase);
            Self::deposit_event(Event::Attested { account: who, round, root });

            let mut weight = T::WeightInfo::attest_head();
            if is_quorum(tally, current.stake) {
                weight = weight.saturating_add(T::WeightInfo::adopt(attested.included.len()));
                Self::adopt(current, head, root, attested.included)?;
            }
            Ok(Some(weight).into())
        }

        /// Ends `account`'s lease once the round it is due in is over: an included update becomes
        /// the account's carry, and its shards stay with it until it is settled; any other returns
        /// them and is settled with that; an unopened commitment costs `NoShowPenalty`, and none at
        /// all `LapsePenalty`, unless the recipe changed meanwhile.
        ///
        /// Origin: signed by anybody. Emits [`Event::Concluded`]. Errors:
        /// [`Error::NothingToConclude`].
        #[pallet::call_index(6)]
        #[pallet::weight(T::WeightInfo::conclude(MAX_LEASE_SHARDS))]
        pub fn conclude(origin: OriginFor<T>, account: T::AccountId) -> DispatchResultWithPostInfo {
            ensure_signed(origin)?;
            let over = |lease: &Lease| lease.due_round < CurrentRound::<T>::get().number;
            let lease =
                Leases::<T>::get(&account).filter(over).ok_or(Error::<T>::NothingToConclude)?;
            Ok(Some(Self::conclude_lease(&account, lease)).into())
        }

        /// Forgets the carry: the next lease starts with a fresh optimiser. For a trainer that lost
        /// its state. A lease of a past round is concluded first.
        ///
        /// Origin: signed. Emits [`Event::CarryReset`], and [`Event::Concluded`] for the past
        /// lease. Errors: [`Error::AlreadyLeased`].
        #[pallet::call_index(7)]
        #[pallet::weight(T::WeightInfo::reset_carry().saturating_add(T::WeightInfo::conclude(MAX_LEASE_SHARDS)))]
        pub fn reset_carry(origin: OriginFor<T>) -> DispatchResultWithPostInfo {
            let who = ensure_signed(origin)?;
            let concluded = Self::conclude_past(&who, CurrentRound::<T>::get().number)?;
            Standings::<T>::mutate_exists(&who, |standing| {
                if let Some(standing) = standing {
                    standing.carry = Hash::default();
                }
            });
            Self::deposit_event(Event::CarryReset { account: who });
            Ok(Some(T::WeightInfo::reset_carry().saturating_add(concluded)).into())
        }

        /// Sets how much is audited and how long it may take. Seats and segments drawn stay; the
        /// lengths of stages hold at once.
        ///
        /// Origin: `GovernanceOrigin`. Emits [`Event::AuditsSet`]. Errors:
        /// [`Error::InvalidAudits`].
        #[pallet::call_index(8)]
        #[pallet::weight(T::WeightInfo::set_audits())]
        pub fn set_audits(origin: OriginFor<T>, config: AuditConfig) -> DispatchResult {
            T::GovernanceOrigin::ensure_origin(origin)?;
            ensure!(config.is_valid(), Error::<T>::InvalidAudits);
            AuditSettings::<T>::put(config);
            Self::deposit_event(Event::AuditsSet { config });
            Ok(())
        }

        /// Shows the states of [`audit::Case::served_leaves`], in that order, by hashes and proofs:
        /// seats fetch the states themselves from peers by these hashes.
        ///
        /// Origin: signed by the trainer of an update under audit, in stage
        /// [`audit::Stage::Serve`]. Emits [`Event::StatesServed`].
        ///
        /// Errors: [`Error::NoSuchAudit`]; [`Error::WrongStage`]; [`Error::NotUnderAudit`];
        /// [`Error::AlreadyServed`]; [`Error::WrongStates`]; [`Error::WrongProof`].
        #[pallet::call_index(9)]
        #[pallet::weight(T::WeightInfo::serve_states())]
        pub fn serve_states(
            origin: OriginFor<T>,
            audit: AuditId,
            states: BoundedVec<Served, ConstU32<MAX_SERVED>>,
        ) -> DispatchResult {
            let who = ensure_signed(origin)?;
            Self::serve(audit, &who, &states)?;
            Self::deposit_event(Event::StatesServed { audit, account: who });
            Ok(())
        }

        /// Commits the validator to what it found in all its seats of the audit: `commitment` is
        /// [`audit::evidence_commitment`].
        ///
        /// Origin: signed by a validator with a seat on an update whose trainer showed its states,
        /// in stage [`audit::Stage::Replay`]. Emits [`Event::AuditCommitted`].
        ///
        /// Errors: [`Error::NoSuchAudit`]; [`Error::WrongStage`]; [`Error::NoSeat`];
        /// [`Error::SeatCommitted`].
        #[pallet::call_index(10)]
        #[pallet::weight(T::WeightInfo::commit_audit())]
        pub fn commit_audit(
            origin: OriginFor<T>,
            audit: AuditId,
            commitment: Hash,
        ) -> DispatchResult {
            let who = ensure_signed(origin)?;
            Self::commit_evidence(audit, &who, commitment)?;
            Self::deposit_event(Event::AuditCommitted { audit, account: who });
            Ok(())
        }

        /// Opens the ends of the drawn segments, [`audit::Case::opened_leaves`], in that order.
        ///
        /// Origin: signed by the trainer of an update under audit that has shown its states, in
        /// stage [`audit::Stage::Open`]. Emits [`Event::SegmentsOpened`].
        ///
        /// Errors: [`Error::NoSuchAudit`]; [`Error::WrongStage`]; [`Error::NotUnderAudit`];
        /// [`Error::NotServed`]; [`Error::AlreadyOpened`]; [`Error::WrongEnds`];
        /// [`Error::WrongProof`]; [`Error::OtherProfile`].
        #[pallet::call_index(11)]
        #[pallet::weight(T::WeightInfo::open_segments())]
        pub fn open_segments(
            origin: OriginFor<T>,
            audit: AuditId,
            ends: BoundedVec<OpenedEnd, ConstU32<MAX_AUDITED>>,
        ) -> DispatchResult {
            let who = ensure_signed(origin)?;
            Self::open_ends(audit, &who, &ends, &[])?;
            Self::deposit_event(Event::SegmentsOpened { audit, account: who });
            Ok(())
        }

        /// Reveals what the validator found in its seats: a finding for each case whose trainer
        /// showed its states, ascending.
        ///
        /// Origin: signed by a validator that committed, in stage [`audit::Stage::Reveal`]. Emits
        /// [`Event::AuditRevealed`].
        ///
        /// Errors: [`Error::NoSuchAudit`]; [`Error::WrongStage`]; [`Error::NoSeat`];
        /// [`Error::SeatNotCommitted`]; [`Error::SeatRevealed`]; [`Error::WrongEvidence`];
        /// [`Error::BadEvidence`]; [`Error::OtherProfile`].
        #[pallet::call_index(12)]
        #[pallet::weight(T::WeightInfo::reveal_audit(evidence.len().saturated_into()))]
        pub fn reveal_audit(
            origin: OriginFor<T>,
            audit: AuditId,
            evidence: Evidence,
            salt: Hash,
        ) -> DispatchResult {
            let who = ensure_signed(origin)?;
            Self::reveal_evidence(audit, &who, evidence, &[], salt)?;
            Self::deposit_event(Event::AuditRevealed { audit, account: who });
            Ok(())
        }

        /// Compares what the seats on `trainer`'s update found with what it opened, and lets follow
        /// what follows: shards, score, fines, excision. What no quorum found the same about in the
        /// first draw waits for a second one. A lease of the update that is not concluded is so
        /// first.
        ///
        /// Origin: signed by anybody, in stage [`audit::Stage::Settle`]. Emits [`Event::Settled`]
        /// or [`Event::Undecided`]; [`Event::SeatFailed`] and [`Event::Fined`] for each that was;
        /// [`Event::AuditEnded`] with the last case.
        ///
        /// Errors: [`Error::NoSuchAudit`]; [`Error::WrongStage`]; [`Error::NotUnderAudit`];
        /// [`Error::AlreadySettled`]; [`Error::EarlierUnsettled`]; [`Error::TooManyUndrawn`].
        #[pallet::call_index(13)]
        #[pallet::weight(T::WeightInfo::settle(MAX_LEASE_SHARDS, MAX_SEATS))]
        pub fn settle(
            origin: OriginFor<T>,
            audit: AuditId,
            trainer: T::AccountId,
        ) -> DispatchResultWithPostInfo {
            ensure_signed(origin)?;
            Ok(Some(Self::settle_case(audit, &trainer)?).into())
        }

        /// Opens the ends of the drawn segments under the native profile: the states at
        /// [`audit::Case::opened_leaves`], in that order, with what the segments changed. Seats
        /// fetch the states themselves from peers.
        ///
        /// Origin: signed by the trainer of an update under audit that has shown its states, in
        /// stage [`audit::Stage::Open`]. Emits [`Event::SegmentsOpened`].
        ///
        /// Errors: those of [`Pallet::open_segments`]; [`Error::DoesNotFollow`].
        #[pallet::call_index(14)]
        #[pallet::weight(T::WeightInfo::open_sketches())]
        pub fn open_sketches(
            origin: OriginFor<T>,
            audit: AuditId,
            ends: BoundedVec<(SketchedEnd, Proof), ConstU32<MAX_SKETCHED>>,
        ) -> DispatchResult {
            let who = ensure_signed(origin)?;
            let (sketched, ends): (alloc::vec::Vec<_>, alloc::vec::Vec<_>) = ends
                .into_iter()
                .map(|(end, proof)| (end, OpenedEnd { digest: end.state.digest(), proof }))
                .unzip();
            Self::open_ends(audit, &who, &ends, &sketched)?;
            Self::deposit_event(Event::SegmentsOpened { audit, account: who });
            Ok(())
        }

        /// Reveals what the validator found in its seats under the native profile, as
        /// [`Pallet::reveal_audit`] does, and for each finding what it says of the ends that were
        /// opened since; where none were, that does not matter.
        ///
        /// Origin: signed by a validator that committed, in stage [`audit::Stage::Reveal`]. Emits
        /// [`Event::AuditRevealed`].
        ///
        /// Errors: those of [`Pallet::reveal_audit`].
        #[pallet::call_index(15)]
        #[pallet::weight(T::WeightInfo::reveal_sketches(evidence.len().saturated_into()))]
        pub fn reveal_sketches(
            origin: OriginFor<T>,
            audit: AuditId,
            evidence: Evidence,
            bindings: BoundedVec<Binding, ConstU32<MAX_SUBMISSIONS>>,
            salt: Hash,
        ) -> DispatchResult {
            let who = ensure_signed(origin)?;
            Self::reveal_evidence(audit, &who, evidence, &bindings, salt)?;
            Self::deposit_event(Event::AuditRevealed { audit, account: who });
            Ok(())
        }

        /// Reports what the validator measured of the newest head, which `round` made. Once holders
        /// of 67 % of the stake have reported, or there is a newer head, the median by stake is
        /// kept as what was found of it. Nothing is paid or decided by it.
        ///
        /// Origin: signed by a validator that takes part in attesting. Emits
        /// [`Event::HeadReported`], and [`Event::HeadMeasured`] with the quorum.
        ///
        /// Errors: [`Error::NotAValidator`]; [`Error::NotTheHead`]; [`Error::HeadIsMeasured`];
        /// [`Error::MetricsOutOfRange`]; [`Error::HeadReported`]; [`Error::TooManyReports`].
        #[pallet::call_index(16)]
        #[pallet::weight(T::WeightInfo::measure_head())]
        pub fn measure_head(
            origin: OriginFor<T>,
            round: RoundNumber,
            metrics: ModelMetrics,
        ) -> DispatchResult {
            let who = ensure_signed(origin)?;
            Self::report_metrics(who, round, metrics)
        }
    }
}
