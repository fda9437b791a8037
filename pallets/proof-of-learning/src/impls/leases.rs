// SPDX-License-Identifier: Apache-2.0

//! Conclusion of leases.

use crate::{pallet::*, weights::WeightInfo};
use pol_primitives::{
    Balance, Hash,
    lease::Lease,
    round::Round,
    submission::{Outcome, Submission, SubmissionRecord, SubmissionStatus},
    traits::{Bonds, ShardPool},
};
use polkadot_sdk::{frame_support::pallet_prelude::*, sp_runtime::SaturatedConversion};

impl<T: Config> Pallet<T> {
    /// Concludes `account`'s `lease`, which is over.
    pub(crate) fn conclude_lease(account: &T::AccountId, lease: Lease) -> Weight {
        let round = lease.due_round;
        let submission = Submissions::<T>::get(round, account);
        let status = submission.as_ref().map(|submission| submission.status);
        let shards = lease.shards.len().saturated_into();
        Leases::<T>::remove(account);
        match submission {
            Some(Submission { status: SubmissionStatus::Included, opened, .. }) => {
                Standings::<T>::mutate(account, |standing| {
                    standing.note_included();
                    standing.carry = opened.map(|opened| opened.carry_hash).unwrap_or_default();
                    standing.carry_round = round;
                });
                AuditedLeases::<T>::insert(round, account, lease);
            }
            Some(submission) => {
                Self::unlock_bond(account);
                let outcome = if submission.opened.is_some() {
                    // Otherwise a place would cost nothing to a trainer that serves no payload.
                    if Records::<T>::get(round).is_some_and(|record| record.judged) {
                        Self::punish_lapse(account, 0);
                    }
                    Outcome::Excluded
                } else {
                    // Otherwise a commitment would be the cheaper way to leave places unused.
                    Self::punish_lapse(account, T::NoShowPenalty::get());
                    Outcome::NoShow
                };
                T::Pool::release(&lease.shards);
                Submissions::<T>::remove(round, account);
                let record = Self::submission_record(&submission, outcome);
                History::<T>::insert(round, account, record);
            }
            None => {
                Self::unlock_bond(account);
                // Nothing can be committed to the lease after a change of the recipe, or trained on
                // data that cannot be fetched or read, which is not the trainer's fault.
                if lease.round >= RecipeSince::<T>::get() && !T::Pool::is_stopped(&lease.shards) {
                    Self::punish_lapse(account, 0);
                }
                T::Pool::release(&lease.shards);
            }
        }
        Self::forget_stranger(account);
        Self::deposit_event(Event::Concluded { account: account.clone(), round, status });
        T::WeightInfo::conclude(shards)
    }

    /// Unlocks the part of the bond that backed a lease or an update, before a penalty for it.
    pub(crate) fn unlock_bond(account: &T::AccountId) {
        T::Bonds::unlock(account, T::InvalidPenalty::get());
    }

    /// Slashes `account` for a lease that brought the model nothing, by `least` or more.
    fn punish_lapse(account: &T::AccountId, least: Balance) {
        let penalty =
            Standings::<T>::mutate(account, |standing| standing.note_lapse(T::LapsePenalty::get()));
        T::Bonds::slash(account, penalty.max(least));
    }

    /// Returns the record of a submission without a measurement.
    pub(crate) fn submission_record(submission: &Submission, outcome: Outcome) -> SubmissionRecord {
        let Submission { tier, staleness, data_hash, opened, .. } = *submission;
        let (index, payload_hash, tokens) = opened.map_or((0, Hash::default(), 0), |opened| {
            (opened.index, opened.payload_hash, opened.tokens)
        });
        SubmissionRecord {
            outcome,
            tier,
            staleness,
            index,
            payload_hash,
            data_hash,
            tokens,
            gain: 0,
        }
    }

    /// Returns the number of rounds that the lease's base is behind the head that `round` trains.
    /// It is zero if the rounds since were void.
    pub(crate) fn staleness(lease: &Lease, round: &Round) -> u8 {
        if lease.base_root == round.base_root {
            0
        } else {
            round.number.saturating_sub(lease.round).saturated_into()
        }
    }
}
