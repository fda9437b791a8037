// SPDX-License-Identifier: Apache-2.0

//! Settlement of audited updates: verdict, outcome, and their consequences for model, data and
//! money.

use crate::{pallet::*, types::SeatFinding, weights::WeightInfo};
use alloc::{collections::BTreeMap, vec::Vec};
use pol_primitives::{
    Balance, Hash, MAX_SUBMISSIONS, RoundNumber,
    audit::{
        Audit, AuditId, AuditResponse, Case, PendingAudit, Seat, Stage, UpdateMeasurement, Verdict,
        exact, native,
    },
    head::Excision,
    lease::Lease,
    recipe::Numerics,
    rewards::{RoundEarnings, training_weight},
    sketch::Sketch,
    submission::{Outcome, RevealRecord, Submission, SubmissionRecord},
    traits::{Bonds, Payouts, ShardPool},
};
use polkadot_sdk::{frame_support::pallet_prelude::*, sp_runtime::SaturatedConversion};

/// Seats on a case: account, stake, and the finding if it was revealed.
type Panel<AccountId> = Vec<(AccountId, Balance, Option<SeatFinding>)>;

/// Earnings of each account from one update.
type Earnings<AccountId> = BTreeMap<AccountId, RoundEarnings>;

/// Decision of a panel on an update.
struct PanelDecision {
    verdict: Verdict,
    /// For each seat, `true` if it found what the quorum found.
    right: Vec<bool>,
    /// Effect of a valid update; zero for any other.
    measure: UpdateMeasurement,
}

impl PanelDecision {
    /// Compares the seats' findings with the ends that the trainer opened; `shown` is none if it
    /// opened none.
    fn new<AccountId>(
        numerics: Numerics,
        shown: Option<&AuditResponse>,
        panel: &Panel<AccountId>,
    ) -> Self {
        let seats: Vec<Seat> = panel.iter().map(seat).collect();
        let (verdict, right, measure) = match numerics {
            Numerics::Exact => {
                let ends = shown.map(|shown| shown.ends.as_slice());
                let measure = ends.map(|ends| exact::consensus(ends, &seats));
                (exact::judge(ends, &seats), exact::right_seats(ends, &seats), measure)
            }
            Numerics::Native { tolerance } => {
                let ends: Option<Vec<Sketch>> =
                    shown.map(|shown| shown.sketched.iter().map(|end| end.sketch).collect());
                let ends = ends.as_deref();
                let measure = ends.map(|ends| native::consensus(ends, tolerance, &seats));
                let verdict = native::judge(ends, tolerance, &seats);
                (verdict, native::right_seats(ends, tolerance, &seats), measure)
            }
        };
        let measure = measure.filter(|_| verdict == Verdict::Valid).unwrap_or_default();
        Self { verdict, right, measure }
    }

    /// Returns `true` if seats are right or wrong about the update.
    ///
    /// None is about an update that was not replayed. Seats that report a state as unavailable are
    /// not paid either, since they might not have tried to fetch it.
    fn is_replayed(&self) -> bool {
        matches!(self.verdict, Verdict::Valid | Verdict::Invalid)
    }

    /// Returns the accounts of the `panel` that are right about a replayed update.
    fn right_accounts<AccountId: Clone>(&self, panel: &Panel<AccountId>) -> Vec<AccountId> {
        panel
            .iter()
            .zip(&self.right)
            .filter(|(_, right)| self.is_replayed() && **right)
            .map(|((account, ..), _)| account.clone())
            .collect()
    }
}

/// Returns stake, finding and binding of a seat.
fn seat<AccountId>((_, stake, found): &(AccountId, Balance, Option<SeatFinding>)) -> Seat<'_> {
    Seat {
        stake: *stake,
        finding: found.as_ref().map(|(finding, _)| finding),
        binding: found.as_ref().and_then(|(_, binding)| *binding),
    }
}

/// Update that is being settled.
struct AuditedUpdate<'a, AccountId> {
    audit: AuditId,
    round: RoundNumber,
    trainer: &'a AccountId,
    submission: Submission,
    opened: RevealRecord,
    lease: Lease,
}

// ---- Verdict and outcome ----

impl<T: Config> Pallet<T> {
    /// Body of [`Pallet::settle`].
    pub(crate) fn do_settle(id: AuditId, trainer: &T::AccountId) -> DispatchResultWithPostInfo {
        let (mut audit, config) = Self::audit_in(id, Stage::Settle)?;
        let (case, at) = audit
            .cases
            .iter()
            .zip(0u8..)
            .find(|(case, _)| case.trainer == *trainer)
            .ok_or(Error::<T>::NotUnderAudit)?;
        ensure!(!case.settled, Error::<T>::AlreadySettled);
        let (round, case) = (audit.round, case.clone());
        let submission = Submissions::<T>::get(round, trainer).ok_or(DispatchError::Corruption)?;
        let opened = submission.opened.ok_or(DispatchError::Corruption)?;
        let lease = Self::audited_lease(round, trainer).ok_or(DispatchError::Corruption)?;
        let recipe = Recipes::<T>::get(lease.recipe).ok_or(DispatchError::Corruption)?;

        let shown = AuditResponses::<T>::get(id, trainer).filter(|_| case.opened);
        let panel = Self::panel(id, at, &audit, &case);
        let decision = PanelDecision::new(recipe.numerics, shown.as_ref(), &panel);
        let outcome = Self::outcome(decision.verdict, audit.draw, trainer, &lease)?;
        let cost = T::WeightInfo::settle(
            lease.shards.len().saturated_into(),
            panel.len().saturated_into(),
        );

        Self::clear_case(id, at, &mut audit, &case, &panel);
        if let Some(outcome) = outcome {
            let update = AuditedUpdate { audit: id, round, trainer, submission, opened, lease };
            Self::settle_update(&update, outcome, &decision, &panel)?;
        } else {
            Self::draw_again(round, &case)?;
            Self::deposit_event(Event::Undecided { audit: id, account: trainer.clone(), round });
        }
        Self::store_audit(id, audit, &config);
        Ok(Some(cost).into())
    }

    /// Returns the seats on the case at `at`.
    fn panel(
        id: AuditId,
        at: u8,
        audit: &Audit<T::AccountId>,
        case: &Case<T::AccountId>,
    ) -> Panel<T::AccountId> {
        let seat = |place: &u16| {
            let holder = audit.holders.get(usize::from(*place))?;
            Some((holder.account.clone(), holder.stake, Findings::<T>::get(id, (at, *place))))
        };
        case.seats.iter().filter_map(seat).collect()
    }

    /// Returns the outcome of the update, none if it waits for a second draw.
    fn outcome(
        verdict: Verdict,
        draw: u8,
        trainer: &T::AccountId,
        lease: &Lease,
    ) -> Result<Option<Outcome>, Error<T>> {
        Ok(Some(match verdict {
            Verdict::Valid if lease.carry == Hash::default() => Outcome::Valid,
            Verdict::Valid => {
                let earlier = History::<T>::get(lease.carry_round, trainer)
                    .ok_or(Error::<T>::EarlierUnsettled)?;
                if earlier.outcome.stays() { Outcome::Valid } else { Outcome::Tainted }
            }
            Verdict::Invalid => Outcome::Invalid,
            Verdict::Withheld => Outcome::Withheld,
            Verdict::Unresolved if draw > 0 => Outcome::Unresolved,
            Verdict::Unresolved => {
                // Half of the places stay free for the updates of the next head.
                let waiting = UndrawnUpdates::<T>::decode_len().unwrap_or(0);
                ensure!(waiting < MAX_SUBMISSIONS as usize, Error::<T>::TooManyUndrawn);
                return Ok(None);
            }
        }))
    }

    /// Marks the case as settled, and removes what the audit stored for it. A commitment of its
    /// seats that was not revealed goes with it.
    fn clear_case(
        id: AuditId,
        at: u8,
        audit: &mut Audit<T::AccountId>,
        case: &Case<T::AccountId>,
        panel: &Panel<T::AccountId>,
    ) {
        AuditResponses::<T>::remove(id, &case.trainer);
        case.seats.iter().for_each(|&place| Findings::<T>::remove(id, (at, place)));
        panel.iter().for_each(|(account, ..)| AuditCommitments::<T>::remove(id, account));
        if let Some(case) = audit.cases.get_mut(usize::from(at)) {
            case.settled = true;
        }
    }

    /// Makes the update wait for a second draw, of segments whose ends are not known.
    fn draw_again(round: RoundNumber, case: &Case<T::AccountId>) -> DispatchResult {
        let known = case.served_leaves().into_iter().chain(case.opened_leaves()).collect();
        let update = PendingAudit {
            round,
            draw: 1,
            trainer: case.trainer.clone(),
            index: case.index,
            segments: case.trace_segments,
            known: BoundedVec::truncate_from(known),
        };
        UndrawnUpdates::<T>::try_append((update, Self::now()))
            .map_err(|()| DispatchError::Corruption)
    }
}

// ---- Consequences ----

impl<T: Config> Pallet<T> {
    /// Records the outcome of the update and carries it out.
    fn settle_update(
        update: &AuditedUpdate<'_, T::AccountId>,
        outcome: Outcome,
        decision: &PanelDecision,
        panel: &Panel<T::AccountId>,
    ) -> DispatchResult {
        let AuditedUpdate { audit, round, trainer, .. } = *update;
        let measure = &decision.measure;
        if let Some(lease) = Leases::<T>::get(trainer).filter(|lease| lease.due_round == round) {
            Self::conclude_lease(trainer, lease);
        }
        AuditedLeases::<T>::remove(round, trainer);
        Submissions::<T>::remove(round, trainer);
        let record = SubmissionRecord {
            gain: measure.gain,
            error: measure.error,
            ..Self::submission_record(&update.submission, outcome)
        };
        History::<T>::insert(round, trainer, record);

        let mut earned = Earnings::new();
        let right = decision.right_accounts(panel);
        if decision.is_replayed() {
            Self::reward_seats(update, panel, &right, &mut earned);
        }
        if outcome == Outcome::Valid {
            Self::accept(update, measure, &mut earned);
        } else {
            Self::take_out(update)?;
        }
        match outcome {
            Outcome::Invalid => {
                Self::fine(audit, trainer, T::InvalidPenalty::get(), &right);
                T::Payouts::forfeit(trainer, &right);
                T::Bonds::note_training(trainer, false);
            }
            Outcome::Withheld => {
                Self::fine(audit, trainer, T::WithheldPenalty::get(), &[]);
                T::Bonds::note_training(trainer, false);
            }
            _ => {}
        }
        earned.retain(|_, earned| *earned != RoundEarnings::default());
        T::Payouts::record_settlement(round, &earned.into_iter().collect::<Vec<_>>());
        Self::deposit_event(Event::Settled {
            audit,
            account: trainer.clone(),
            round,
            outcome,
            score: measure.score(),
        });
        Ok(())
    }

    /// Pays the seats in `right` for a replayed update. The other seats on it get a strike, and
    /// from the [`Config::SeatStrikes`]th in a row on a fine.
    fn reward_seats(
        update: &AuditedUpdate<'_, T::AccountId>,
        panel: &Panel<T::AccountId>,
        right: &[T::AccountId],
        earned: &mut Earnings<T::AccountId>,
    ) {
        for (account, ..) in panel {
            let is_right = right.contains(account);
            let strikes = T::Bonds::note_seat(account, is_right);
            if is_right {
                let earned = earned.entry(account.clone()).or_default();
                earned.seats = earned.seats.saturating_add(1);
                continue;
            }
            Self::deposit_event(Event::SeatFailed {
                audit: update.audit,
                account: account.clone(),
                trainer: update.trainer.clone(),
            });
            if strikes >= T::SeatStrikes::get() {
                Self::fine(update.audit, account, T::SeatPenalty::get(), right);
            }
        }
    }

    /// Seizes up to `amount` of a bond and distributes it.
    fn fine(audit: AuditId, account: &T::AccountId, amount: Balance, provers: &[T::AccountId]) {
        let amount = T::Bonds::seize(account, amount, &T::Payouts::pot_account());
        if amount > 0 {
            T::Payouts::distribute_fine(amount, provers);
        }
        Self::deposit_event(Event::Fined { audit, account: account.clone(), amount });
    }

    /// Consumes the data of a valid update for good, and adds its earnings to `earned`.
    fn accept(
        update: &AuditedUpdate<'_, T::AccountId>,
        measure: &UpdateMeasurement,
        earned: &mut Earnings<T::AccountId>,
    ) {
        let AuditedUpdate { round, trainer, opened, lease, .. } = update;
        let bonus = T::Pool::bonus(&lease.shards);
        let weight = training_weight(measure.score(), opened.tokens, bonus, measure.quality);
        for (owner, shards) in T::Pool::owners(&lease.shards) {
            let earned = earned.entry(owner).or_default();
            earned.shards = earned.shards.saturating_add(shards);
        }
        T::Pool::consume(&lease.shards, *round, opened.index, &measure.shards);
        let is_flagged = Standings::<T>::mutate(trainer, |standing| {
            standing.note_valid(measure);
            standing.is_flagged()
        });
        if !is_flagged {
            earned.entry((*trainer).clone()).or_default().training = weight;
        }
        T::Bonds::note_training(trainer, true);
    }

    /// Schedules the update's excision by a later head, and returns its data to the pool.
    fn take_out(update: &AuditedUpdate<'_, T::AccountId>) -> DispatchResult {
        T::Pool::release(&update.lease.shards);
        let excision = Excision { round: update.round, index: update.opened.index };
        Excisions::<T>::try_append((excision, Self::now())).map_err(|()| DispatchError::Corruption)
    }
}
