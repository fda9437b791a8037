// SPDX-License-Identifier: Apache-2.0

//! Events of the pallet, which [`crate::pallet`] imports.

#![allow(unreachable_pub, reason = "the section's macro is exported to the pallet module only")]

use polkadot_sdk::frame_support::pallet_macros::pallet_section;

#[pallet_section]
mod events {
    use pol_primitives::{
        rewrite::Rewrite,
        round::Phase,
        submission::{Outcome, SubmissionStatus},
    };

    /// Events of the pallet.
    #[pallet::event]
    #[pallet::generate_deposit(pub(crate) fn deposit_event)]
    pub enum Event<T: Config> {
        /// Governance set a recipe, which comes into force when the next round opens.
        RecipeSet {
            /// Hash of the recipe.
            hash: Hash,
        },
        /// A recipe came into force.
        RecipeAdopted {
            /// Hash of the recipe.
            hash: Hash,
        },
        /// Governance set the lengths of phases.
        LengthsSet {
            /// Lengths in blocks.
            lengths: RoundConfig,
        },
        /// A round opened.
        RoundOpened {
            /// Number of the round.
            number: RoundNumber,
            /// Seed of its draws.
            seed: Hash,
        },
        /// A phase began, or its deadline moved.
        PhaseEntered {
            /// Round.
            number: RoundNumber,
            /// Phase.
            phase: Phase,
            /// First block after the phase; none while the round waits for its first lease.
            deadline: Option<BlockNumber>,
        },
        /// A trainer leased data.
        Leased {
            /// Trainer.
            account: T::AccountId,
            /// Round that its update is due in.
            due_round: RoundNumber,
            /// Number of shards.
            shards: u32,
        },
        /// A trainer lost its place to one of lower rank, and with it its lease, for no penalty. It
        /// can ask again in the next round.
        PlaceLost {
            /// Trainer.
            account: T::AccountId,
            /// Round that its update was due in.
            due_round: RoundNumber,
        },
        /// A trainer committed to an update.
        Committed {
            /// Trainer.
            account: T::AccountId,
            /// Round.
            round: RoundNumber,
        },
        /// A trainer revealed its update.
        Revealed {
            /// Trainer.
            account: T::AccountId,
            /// Round.
            round: RoundNumber,
            /// Hash of the payload, by which peers fetch it.
            payload_hash: Hash,
            /// Index among the round's reveals.
            index: u8,
        },
        /// A validator reported the reveals that it holds.
        HeldReported {
            /// Validator.
            account: T::AccountId,
            /// Round.
            round: RoundNumber,
            /// Reveals whose payloads it has fetched and found sound.
            held: RevealSet,
        },
        /// The updates of the next head are fixed.
        InclusionDecided {
            /// Round.
            round: RoundNumber,
            /// Included reveals.
            included: RevealSet,
            /// Digest of all that the head is computed from.
            inputs: Hash,
        },
        /// A validator attested the next head.
        Attested {
            /// Validator.
            account: T::AccountId,
            /// Round.
            round: RoundNumber,
            /// Root of the head that it computed.
            root: Hash,
        },
        /// A validator attested a root that is not that of the head computed from the same updates.
        WrongRoot {
            /// Validator.
            account: T::AccountId,
            /// Round.
            round: RoundNumber,
            /// Amount burned of its bond, in the smallest unit of the token.
            amount: Balance,
        },
        /// The model has a new head.
        HeadAdvanced {
            /// New head.
            head: Head,
        },
        /// A round ended without a head.
        RoundVoid {
            /// Number of the round.
            number: RoundNumber,
        },
        /// A lease ended.
        Concluded {
            /// Trainer.
            account: T::AccountId,
            /// Round that the lease was due in.
            round: RoundNumber,
            /// Last status of the submission, which decides its outcome: [`Outcome::NoShow`] if it
            /// was only committed, [`Outcome::Excluded`] if it was revealed and not included. An
            /// included one is audited. None if there was no submission.
            status: Option<SubmissionStatus>,
        },
        /// A trainer cleared its carry.
        CarryReset {
            /// Trainer.
            account: T::AccountId,
        },
        /// Governance set the parameters of audits.
        AuditsSet {
            /// New parameters.
            config: AuditConfig,
        },
        /// Seats and segments of an audit were drawn.
        AuditDrawn {
            /// Audit.
            audit: AuditId,
            /// Round that included the updates.
            round: RoundNumber,
            /// 0 for the first draw, 1 for the second.
            draw: u8,
            /// Number of updates.
            cases: u32,
        },
        /// A trainer showed the states that its drawn segments start from.
        StatesServed {
            /// Audit.
            audit: AuditId,
            /// Trainer.
            account: T::AccountId,
        },
        /// A validator committed to its findings.
        AuditCommitted {
            /// Audit.
            audit: AuditId,
            /// Validator.
            account: T::AccountId,
        },
        /// A trainer opened the ends of its drawn segments.
        SegmentsOpened {
            /// Audit.
            audit: AuditId,
            /// Trainer.
            account: T::AccountId,
        },
        /// A validator revealed its findings.
        AuditRevealed {
            /// Audit.
            audit: AuditId,
            /// Validator.
            account: T::AccountId,
        },
        /// The seats of a first draw did not acquit an update, or one of them objected, so that it
        /// waits for a second, larger draw.
        Undecided {
            /// Audit.
            audit: AuditId,
            /// Trainer.
            account: T::AccountId,
            /// Round that included the update.
            round: RoundNumber,
        },
        /// An included update was settled.
        Settled {
            /// Audit.
            audit: AuditId,
            /// Trainer.
            account: T::AccountId,
            /// Round that included the update.
            round: RoundNumber,
            /// Outcome of the update.
            outcome: Outcome,
            /// Score that is paid for, in billionths of a nat per token.
            score: u32,
        },
        /// A validator was silent or wrong in a seat on an update that was decided.
        SeatFailed {
            /// Audit.
            audit: AuditId,
            /// Validator.
            account: T::AccountId,
            /// Trainer of the update.
            trainer: T::AccountId,
        },
        /// Part of a bond was seized.
        Fined {
            /// Audit.
            audit: AuditId,
            /// Trainer or validator.
            account: T::AccountId,
            /// Amount seized, in the smallest unit of the token. It is less than the penalty if the
            /// bond was.
            amount: Balance,
        },
        /// The last case of an audit was settled.
        AuditEnded {
            /// Audit.
            audit: AuditId,
        },
        /// The new head is the one before it, rewritten. Carries of earlier rounds no longer count.
        ModelRewritten {
            /// Round that made the head.
            round: RoundNumber,
            /// Rewrite.
            rewrite: Rewrite,
        },
        /// The seed of the newest head's reasoning probes was drawn.
        ProbesDrawn {
            /// Round that made the head.
            round: RoundNumber,
            /// Seed of the probes.
            seed: Hash,
        },
        /// A validator reported its measurements of the head.
        HeadReported {
            /// Validator.
            account: T::AccountId,
            /// Round that made the head.
            round: RoundNumber,
        },
        /// The measurement of a head was decided.
        HeadMeasured {
            /// Round that made the head.
            round: RoundNumber,
            /// Measurement, with the share of the stake that reported.
            measured: HeadMeasurement,
        },
    }
}
