// SPDX-License-Identifier: Apache-2.0

//! Errors of the pallet, which [`crate::pallet`] imports.

#![allow(unreachable_pub, reason = "the section's macro is exported to the pallet module only")]

use crate::pallet::Error;
use pol_primitives::recipe::{InvalidRecipe, InvalidSuccessor};
use polkadot_sdk::frame_support::pallet_macros::pallet_section;

#[pallet_section]
mod errors {
    /// Errors of the pallet.
    #[pallet::error]
    pub enum Error<T> {
        /// The recipe's model is invalid: sizes must be at least 1, the width a multiple of the
        /// heads, and all of them within the protocol's limits.
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
        /// The tolerance of a recipe's native numerics must be 1,000 to 100,000 millionths.
        RecipeToleranceInvalid,
        /// There is a head. Keep the tokenizer, the seed and the shard size of its recipe, since
        /// data is cut to it, and change the model by a rewrite only.
        ModelIsFixed,
        /// The pool has shards of another length or tokenizer. Keep those, or have the manifests
        /// withdrawn first.
        DataOfAnotherFormat,
        /// Lengths must be positive, at most 201,600 blocks, and `join` below `train`.
        InvalidLengths,
        /// Only bonded trainers lease data. Bond as a trainer first, or raise a bond that penalties
        /// have used up.
        NotATrainer,
        /// Each lease and each unsettled update locks a part of the bond, and the rest does not
        /// cover another one. Raise the bond, or wait until an update is settled.
        BondIsLocked,
        /// Joining is closed. Wait for the next round to open.
        NotJoining,
        /// The account has a lease whose round is not over. Finish it, or wait for its round to
        /// end.
        AlreadyLeased,
        /// Accounts of lower rank have all places of the round that the lease would be due in. Ask
        /// again in the next round, in which ranks are drawn anew.
        RoundIsFull,
        /// The pool has no free shard. Wait for leases to return theirs or for new data.
        NoData,
        /// This is not the number of the round under way. Read it again.
        WrongRound,
        /// Commitments are accepted in the train phase only.
        NotTraining,
        /// The account has no lease. Join a round first.
        NoLease,
        /// The lease is due in another round. Commit in that one.
        NotDue,
        /// The recipe changed since the lease was given. Wait for the round that it is due in to
        /// end, and lease again.
        RecipeChanged,
        /// The account has committed in this round.
        AlreadyCommitted,
        /// Reveals are accepted in the reveal phase only.
        NotRevealing,
        /// The account did not commit in this round.
        NotCommitted,
        /// The account has revealed its update.
        AlreadyRevealed,
        /// The reveal does not match the commitment of this account, on this chain, for this round.
        WrongOpening,
        /// Steps must be whole segments, at least one and at most the tier's.
        WrongSteps,
        /// Leaf 0 of the trace must be the lease's base under the lease's carry, and the trace must
        /// have one more leaf than segments.
        WrongFirstLeaf,
        /// This payload was revealed before, by this account or another.
        PayloadSeen,
        /// Reports of held updates are accepted in the hold phase only.
        NotHolding,
        /// The set must name reveals of the round, in its canonical encoding.
        BadHeld,
        /// The report must name all that the validator's last one names, and more.
        NothingMoreHeld,
        /// Heads are attested in the attest phase only.
        NotAttesting,
        /// Only those can attest and report that are active validators, and were when the phase or
        /// the one before it began. Whoever measures a head has attested one.
        NotAValidator,
        /// The head was computed from something else than the chain states. Read the included
        /// updates and the excisions again.
        WrongInputs,
        /// The validator has attested this head already, or is late for a phase that it took part
        /// in or came after.
        AlreadyAttested,
        /// The account has no lease, or its round is not over.
        NothingToConclude,
        /// Parameters of audits must be positive and within the protocol's limits, and `more_seats`
        /// above `seats`.
        InvalidAudits,
        /// There is no such audit, or it has ended. Read the open ones again.
        NoSuchAudit,
        /// The audit is in another stage. Read it again, and wait if the stage comes later.
        WrongStage,
        /// The account has no update in this audit.
        NotUnderAudit,
        /// The trainer has shown its states.
        AlreadyServed,
        /// The states must be those of exactly the leaves that the case asks for, in its order.
        WrongStates,
        /// A proof does not place the state or end at its leaf of the trace.
        WrongProof,
        /// The validator has no seat in this audit on an update whose trainer showed its states.
        NoSeat,
        /// The validator has committed to its evidence, which it can do once only.
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
        /// The evidence does not match the commitment of this account, on this chain, for this
        /// audit.
        WrongEvidence,
        /// Evidence must have at least one finding, each on another update on which the validator
        /// has a seat and whose trainer showed its states, in their order. A finding of a replay
        /// has an end for each drawn segment and a figure for each leased shard.
        BadEvidence,
        /// The recipe has the other numerics profile. Use the calls of that profile, with a sketch
        /// for each drawn segment and a binding for each finding if it is native.
        OtherProfile,
        /// An opened state must be its segment's steps after the state shown as the start, with the
        /// same error feedback.
        DoesNotFollow,
        /// The case is settled.
        AlreadySettled,
        /// The update continues from the state of an earlier one that is not settled. Settle that
        /// one first.
        EarlierUnsettled,
        /// Too many updates wait for a draw. Settle again some blocks later.
        TooManyUndrawn,
        /// The recipe's rewrite cannot be applied to the head's model. Read the head's recipe, and
        /// choose a rewrite that fits it.
        RewriteDoesNotFit,
        /// The recipe's rewrite leads from the head's model to another model than the recipe's.
        RewriteOfAnotherModel,
        /// The recipe names a rewrite and keeps the model, or there is no model yet. Omit the
        /// rewrite, or give the recipe the model that it leads to.
        RewriteUnused,
        /// This round did not make the newest head, or the head was made in this very block. Read
        /// the pending measurement again.
        NotTheHead,
        /// Holders of 67 % of the stake have reported on this head, so that it is measured.
        HeadIsMeasured,
        /// The validator has reported on this head, which it can do once only.
        HeadReported,
        /// A share exceeds one million millionths.
        MetricsOutOfRange,
        /// This call may not use the room that blocks reserve for duties. Send each duty on its own
        /// or through a proxy: not in a batch of duties, as a derivative, by a multisig with a
        /// threshold of one, or as an announced proxy. Calls of the council are its members', and
        /// of 64 KiB at most.
        ReservedRoom,
        /// 128 validators with at least this stake have reported on the head.
        TooManyReports,
        /// A recipe of the native numerics profile names an arithmetic. Leave it out.
        RecipeArithmeticInvalid,
        /// Stages of audits can be made shorter only while no audit is under way. Make them
        /// longer, or try again once the open audits have ended.
        AuditsUnderWay,
    }
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
            InvalidRecipe::Arithmetic => Self::RecipeArithmeticInvalid,
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
