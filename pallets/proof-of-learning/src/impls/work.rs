// SPDX-License-Identifier: Apache-2.0

//! Work in a round, for the explanation of its rewards.

use crate::pallet::*;
use alloc::vec::Vec;
use pol_primitives::{
    Balance, RoundNumber,
    audit::{Audit, AuditId},
    explanation::{OpenUpdate, RoundEnd, RoundWork, UpdateStatus, UpdateSummary},
    recipe::Tier,
    submission::{Outcome, Submission, SubmissionStatus},
    traits::WorkRecords,
};
use polkadot_sdk::{frame_support::traits::Get, sp_runtime::SaturatedConversion};

impl<T: Config> WorkRecords<T::AccountId> for Pallet<T> {
    /// Reads the round's submissions, and while one of them is not settled, the open audits.
    fn work(account: &T::AccountId, round: RoundNumber) -> RoundWork<T::AccountId> {
        let included: Vec<_> = Self::submissions(round)
            .into_iter()
            .filter(|(_, submission)| submission.status == SubmissionStatus::Included)
            .map(|(trainer, _)| trainer)
            .collect();
        let audits: Vec<_> = if included.is_empty() {
            Vec::new()
        } else {
            Audits::<T>::iter().filter(|(_, audit)| audit.round == round).collect()
        };
        RoundWork {
            end: Self::round_end(round),
            update: Self::update_summary(account, round),
            open_seats: open_seats(&audits, account),
            unsettled: Self::open_updates(round, included, &audits),
        }
    }
}

/// Returns the number of unsettled cases on which the account has seats.
fn open_seats<AccountId: codec::Encode + Ord + Clone>(
    audits: &[(AuditId, Audit<AccountId>)],
    account: &AccountId,
) -> u32 {
    let cases = audits.iter().filter_map(|(_, audit)| Some((audit.holder(account)?, &audit.cases)));
    let open = cases.flat_map(|(place, cases)| {
        cases.iter().filter(move |case| !case.settled && case.seats.contains(&place))
    });
    open.count().saturated_into()
}

impl<T: Config> Pallet<T> {
    fn round_end(round: RoundNumber) -> RoundEnd {
        match Records::<T>::get(round) {
            Some(record) if record.head.is_none() => RoundEnd::Void,
            Some(record) => RoundEnd::Head(record.included.len()),
            None if round < FirstKept::<T>::get() => RoundEnd::Forgotten,
            None => RoundEnd::Open,
        }
    }

    /// Returns the account's update to a round. A lease without a commitment is known until it is
    /// concluded.
    fn update_summary(account: &T::AccountId, round: RoundNumber) -> Option<UpdateSummary> {
        let flagged = Standings::<T>::get(account).is_flagged();
        let settled = History::<T>::get(round, account).map(|record| UpdateSummary {
            status: UpdateStatus::Settled(record.outcome),
            tier: record.tier,
            staleness: record.staleness,
            tokens: record.tokens,
            gain: record.gain,
            flagged,
            penalty: Self::penalty_of(record.outcome),
        });
        let open = || {
            let submission = Submissions::<T>::get(round, account)?;
            let tokens = submission.opened.map_or(0, |opened| opened.tokens);
            let status = match submission.status {
                SubmissionStatus::Committed => UpdateStatus::Committed,
                SubmissionStatus::Revealed => UpdateStatus::Revealed,
                SubmissionStatus::Included => UpdateStatus::Included,
            };
            let Submission { tier, staleness, .. } = submission;
            Some(UpdateSummary { staleness, tokens, ..unsettled(status, tier, flagged) })
        };
        let leased = || {
            let lease = Leases::<T>::get(account).filter(|lease| lease.due_round == round)?;
            Some(unsettled(UpdateStatus::Leased, lease.tier, flagged))
        };
        settled.or_else(open).or_else(leased)
    }

    fn penalty_of(outcome: Outcome) -> Balance {
        match outcome {
            Outcome::NoShow => T::NoShowPenalty::get(),
            Outcome::Invalid => T::InvalidPenalty::get(),
            Outcome::Withheld => T::WithheldPenalty::get(),
            Outcome::Excluded | Outcome::Valid | Outcome::Unresolved | Outcome::Tainted => 0,
        }
    }

    /// Returns the updates of these `trainers`, each with its audit, or with the draw that it waits
    /// for.
    fn open_updates(
        round: RoundNumber,
        trainers: Vec<T::AccountId>,
        audits: &[(AuditId, Audit<T::AccountId>)],
    ) -> Vec<OpenUpdate<T::AccountId>> {
        let undrawn = if trainers.is_empty() { Vec::new() } else { Self::undrawn(round) };
        let open = |trainer: T::AccountId| {
            let is_open = |audit: &Audit<_>| audit.case(&trainer).is_some_and(|case| !case.settled);
            let audited = audits.iter().find(|(_, audit)| is_open(audit));
            let waits = || undrawn.iter().find(|(other, _)| *other == trainer);
            let (draw, audit) = match audited {
                Some((id, audit)) => (audit.draw, Some(*id)),
                None => (waits().map_or(0, |(_, draw)| *draw), None),
            };
            OpenUpdate { trainer, draw, audit }
        };
        trainers.into_iter().map(open).collect()
    }

    /// Returns the trainers whose updates to a round wait for a draw, and the number of the draw.
    fn undrawn(round: RoundNumber) -> Vec<(T::AccountId, u8)> {
        let waiting = UndrawnUpdates::<T>::get().into_iter().map(|(update, _)| update);
        let of_round = waiting.filter(|update| update.round == round);
        of_round.map(|update| (update.trainer, update.draw)).collect()
    }
}

/// Creates the summary of an update of which nothing was measured.
fn unsettled(status: UpdateStatus, tier: Tier, flagged: bool) -> UpdateSummary {
    UpdateSummary { status, tier, staleness: 0, tokens: 0, gain: 0, flagged, penalty: 0 }
}
