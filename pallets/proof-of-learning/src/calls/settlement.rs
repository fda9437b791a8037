// SPDX-License-Identifier: Apache-2.0

//! Settlement of audited updates: verdict, outcome, and their consequences for model, data and
//! money.

use crate::{calls::CheckedAudit, pallet::*, types::SeatFinding, weights::WeightInfo};
use alloc::{collections::BTreeMap, vec::Vec};
use pol_primitives::{
    Balance, Hash, MAX_SUBMISSIONS, RoundNumber,
    audit::{
        Audit, AuditId, AuditResponse, Case, EarlierSeat, PendingAudit, Seat, SeatResult, Stage,
        UpdateMeasurement, Verdict, exact, native, verdict_of_draw,
    },
    head::Excision,
    lease::Lease,
    recipe::Numerics,
    rewards::{RoundEarnings, training_weight},
    sketch::Sketch,
    submission::{Outcome, RevealRecord, Submission, SubmissionRecord},
    traits::{Bonds, Payouts, ShardPool},
};
use polkadot_sdk::{
    frame_support::{dispatch::WithPostDispatchInfo, pallet_prelude::*},
    sp_runtime::SaturatedConversion,
};

/// Seats on a case: account, and the finding if it was revealed.
type Panel<AccountId> = Vec<(AccountId, Option<SeatFinding>)>;

/// Earnings of each account from one update.
type Earnings<AccountId> = BTreeMap<AccountId, RoundEarnings>;

/// Decision of a panel on an update.
struct PanelDecision {
    verdict: Verdict,
    /// For each seat, `true` if it found what two thirds of them found.
    right: Vec<bool>,
    /// Opinion of each seat.
    opinions: Vec<Option<Verdict>>,
    /// Effect of a valid update; zero for any other.
    measure: UpdateMeasurement,
}

impl PanelDecision {
    /// Compares the seats' findings in a draw with the ends that the trainer opened; `shown` is
    /// none if it opened none.
    fn new<AccountId>(
        draw: u8,
        numerics: Numerics,
        shown: Option<&AuditResponse>,
        panel: &Panel<AccountId>,
    ) -> Self {
        let seats: Vec<Seat> = panel.iter().map(seat).collect();
        let (found, right, opinions, measure) = match numerics {
            Numerics::Exact => {
                let ends = shown.map(|shown| shown.ends.as_slice());
                let measure = ends.map(|ends| exact::consensus(ends, &seats));
                let right = exact::right_seats(ends, &seats);
                (exact::judge(ends, &seats), right, exact::opinions(ends, &seats), measure)
            }
            Numerics::Native { tolerance } => {
                let ends: Option<Vec<Sketch>> =
                    shown.map(|shown| shown.sketched.iter().map(|end| end.sketch).collect());
                let ends = ends.as_deref();
                let measure = ends.map(|ends| native::consensus(ends, tolerance, &seats));
                let right = native::right_seats(ends, tolerance, &seats);
                let opinions = native::opinions(ends, tolerance, &seats);
                (native::judge(ends, tolerance, &seats), right, opinions, measure)
            }
        };
        let verdict = verdict_of_draw(draw, found, &opinions);
        let measure = measure.filter(|_| verdict == Verdict::Valid).unwrap_or_default();
        Self { verdict, right, opinions, measure }
    }

    /// Returns `true` if seats are right or wrong about the update.
    ///
    /// None is about an update that was not replayed. Seats that report a state as unavailable are
    /// not paid either, since they might not have tried to fetch it.
    fn is_replayed(&self) -> bool {
        matches!(self.verdict, Verdict::Valid | Verdict::Invalid)
    }

    /// Returns the accounts with seats on a replayed update, each once, with its result.
    ///
    /// Seats of an `earlier` draw are among them where the decision says something about them.
    fn judged_accounts<AccountId: Clone + Ord>(
        &self,
        panel: &Panel<AccountId>,
        earlier: &[EarlierSeat<AccountId>],
    ) -> BTreeMap<AccountId, SeatResult> {
        let earlier = earlier
            .iter()
            .filter_map(|seat| Some((seat.account.clone(), seat.result(self.verdict)?)));
        let found = self.right.iter().zip(&self.opinions);
        let seats = panel.iter().zip(found).map(|((account, _), (&is_right, &opinion))| {
            (account.clone(), SeatResult::new(is_right, opinion))
        });
        SeatResult::by_account(earlier.chain(seats).filter(|_| self.is_replayed()))
    }
}

/// Returns finding and binding of a seat.
fn seat<AccountId>((_, found): &(AccountId, Option<SeatFinding>)) -> Seat<'_> {
    Seat {
        finding: found.as_ref().map(|(finding, _)| finding),
        binding: found.as_ref().and_then(|(_, binding)| *binding),
    }
}

/// An audit, and the place and the case of one of its updates.
type UnsettledCase<AccountId> = (CheckedAudit<AccountId>, u8, Case<AccountId>);

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
    /// Returns the audit, and the place and the case of an update that can be settled.
    pub(crate) fn unsettled_case(
        id: AuditId,
        trainer: &T::AccountId,
    ) -> Result<UnsettledCase<T::AccountId>, Error<T>> {
        let (audit, config) = Self::audit_in(id, Stage::Settle)?;
        let (case, at) = audit
            .cases
            .iter()
            .zip(0u8..)
            .find(|(case, _)| case.trainer == *trainer)
            .ok_or(Error::<T>::NotUnderAudit)?;
        ensure!(!case.settled, Error::<T>::AlreadySettled);
        let case = case.clone();
        Ok(((audit, config), at, case))
    }

    /// Body of [`Pallet::settle`].
    pub(crate) fn do_settle(id: AuditId, trainer: &T::AccountId) -> DispatchResultWithPostInfo {
        let ((mut audit, config), at, case) =
            Self::unsettled_case(id, trainer).map_err(Self::refused)?;
        let round = audit.round;
        let submission = Submissions::<T>::get(round, trainer).ok_or(DispatchError::Corruption)?;
        let opened = submission.opened.ok_or(DispatchError::Corruption)?;
        let lease = Self::audited_lease(round, trainer).ok_or(DispatchError::Corruption)?;
        let recipe = Recipes::<T>::get(lease.recipe).ok_or(DispatchError::Corruption)?;

        let shown = AuditResponses::<T>::get(id, trainer).filter(|_| case.opened);
        let panel = Self::panel(id, at, &audit, &case);
        let decision = PanelDecision::new(audit.draw, recipe.numerics, shown.as_ref(), &panel);
        let verdict = if shown.is_some() { decision.verdict } else { case.verdict_of_silence() };
        let seats = panel.len().saturated_into();
        let outcome = Self::outcome(verdict, audit.draw, trainer, &lease)
            .map_err(|error| error.with_weight(T::WeightInfo::settle(0, seats)))?;
        let judged = decision.judged_accounts(&panel, &case.earlier);
        let mut cost = T::WeightInfo::settle(lease.shards.len().saturated_into(), seats)
            .saturating_add(T::WeightInfo::judge_earlier(case.earlier.len().saturated_into()));
        if outcome == Some(Outcome::Invalid) {
            cost = cost.saturating_add(T::WeightInfo::forfeit());
        }

        Self::clear_case(id, at, &mut audit, &case, &panel);
        if let Some(outcome) = outcome {
            let update = AuditedUpdate { audit: id, round, trainer, submission, opened, lease };
            Self::settle_update(&update, outcome, &decision.measure, &judged)?;
        } else {
            Self::draw_again(round, &case, &panel, decision.opinions)?;
            Self::deposit_event(Event::Undecided { audit: id, account: trainer.clone(), round });
        }
        Self::judge_seats(id, &audit, &case, &panel);
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
            Some((holder.account.clone(), Findings::<T>::get(id, (at, *place))))
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
                let earlier = History::<T>::get(lease.carry_round, trainer);
                let is_kept = lease.carry_round >= FirstKept::<T>::get();
                ensure!(earlier.is_some() || !is_kept, Error::<T>::EarlierUnsettled);
                let stays = earlier.is_some_and(|earlier| earlier.outcome.stays());
                if stays { Outcome::Valid } else { Outcome::Tainted }
            }
            Verdict::Invalid => Outcome::Invalid,
            Verdict::Withheld => Outcome::Withheld,
            Verdict::Unresolved if draw > 0 => Outcome::Unresolved,
            Verdict::Unresolved => {
                let waiting = Self::waiting(1);
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
        panel.iter().for_each(|(account, _)| AuditCommitments::<T>::remove(id, account));
        if let Some(case) = audit.cases.get_mut(usize::from(at)) {
            case.settled = true;
        }
    }

    /// Makes the update wait for a second draw.
    fn draw_again(
        round: RoundNumber,
        case: &Case<T::AccountId>,
        panel: &Panel<T::AccountId>,
        opinions: Vec<Option<Verdict>>,
    ) -> DispatchResult {
        let accounts = panel.iter().map(|(account, _)| account.clone());
        let update = PendingAudit::second(round, case, accounts.zip(opinions));
        Self::hold_seat_stakes(round, update.draw);
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
        measure: &UpdateMeasurement,
        judged: &BTreeMap<T::AccountId, SeatResult>,
    ) -> DispatchResult {
        let AuditedUpdate { audit, round, trainer, .. } = *update;
        if let Some(lease) = Leases::<T>::get(trainer).filter(|lease| lease.due_round == round) {
            Self::conclude_lease(trainer, lease);
        }
        AuditedLeases::<T>::remove(round, trainer);
        Submissions::<T>::remove(round, trainer);
        Self::unlock_bond(trainer);
        let record = SubmissionRecord {
            gain: measure.gain,
            ..Self::submission_record(&update.submission, outcome)
        };
        History::<T>::insert(round, trainer, record);

        let mut earned = Earnings::new();
        Self::reward_seats(update, judged, &mut earned);
        if outcome == Outcome::Valid {
            Self::accept(update, measure, &mut earned);
        } else {
            Self::take_out(update)?;
        }
        match outcome {
            Outcome::Invalid => {
                Self::fine(audit, trainer, T::InvalidPenalty::get());
                T::Payouts::forfeit(trainer);
                T::Bonds::note_training(trainer, false);
            }
            Outcome::Withheld => {
                Self::fine(audit, trainer, T::WithheldPenalty::get());
                T::Bonds::note_training(trainer, false);
            }
            _ => {}
        }
        earned.retain(|_, earned| *earned != RoundEarnings::default());
        let improved = outcome == Outcome::Valid && measure.score() > 0;
        T::Payouts::record_settlement(round, improved, &earned.into_iter().collect::<Vec<_>>());
        Self::forget_stranger(trainer);
        Self::deposit_event(Event::Settled {
            audit,
            account: trainer.clone(),
            round,
            outcome,
            score: measure.score(),
        });
        Ok(())
    }

    /// Pays the validators that were right one seat each, whatever they found: one replay is one
    /// seat, worth a fixed amount if the round improves nothing. What the others did counts when
    /// the round is over for them ([`Pallet::judge_seats`]).
    fn reward_seats(
        update: &AuditedUpdate<'_, T::AccountId>,
        judged: &BTreeMap<T::AccountId, SeatResult>,
        earned: &mut Earnings<T::AccountId>,
    ) {
        for (account, &result) in judged {
            SeatTallies::<T>::mutate(update.round, account, |tally| tally.note(result));
            if result == SeatResult::Right {
                let earned = earned.entry(account.clone()).or_default();
                earned.seats = earned.seats.saturating_add(1);
                continue;
            }
            Self::deposit_event(Event::SeatFailed {
                audit: update.audit,
                account: account.clone(),
                trainer: update.trainer.clone(),
            });
        }
    }

    /// Judges the validators with seats on the settled `case` of whose seats nothing is left to
    /// decide: strikes, and fines from [`Config::SeatStrikes`] on.
    fn judge_seats(
        id: AuditId,
        audit: &Audit<T::AccountId>,
        case: &Case<T::AccountId>,
        panel: &Panel<T::AccountId>,
    ) {
        let undrawn = UndrawnUpdates::<T>::get();
        let is_open = |account| {
            let again = || undrawn.iter().any(|(update, _)| update.awaits(audit.round, account));
            audit.awaits(account) || again()
        };
        let earlier = case.earlier.iter().map(|seat| &seat.account);
        for account in panel.iter().map(|(account, _)| account).chain(earlier) {
            // An account with several seats comes several times. It has no tally if nothing was
            // decided.
            let tally = SeatTallies::<T>::try_get(audit.round, account).ok();
            let Some(tally) = tally.filter(|_| !is_open(account)) else { continue };
            SeatTallies::<T>::remove(audit.round, account);
            let strikes = T::Bonds::note_seats(account, &tally);
            let fines = tally.fines(strikes, T::SeatStrikes::get());
            if fines > 0 {
                Self::fine(id, account, T::SeatPenalty::get().saturating_mul(fines.into()));
            }
        }
    }

    /// Seizes up to `amount` of a bond and burns it, so that nobody earns by a conviction.
    fn fine(audit: AuditId, account: &T::AccountId, amount: Balance) {
        let amount = T::Bonds::seize(account, amount, &T::Payouts::pot_account());
        if amount > 0 {
            T::Payouts::burn_fine(amount);
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
        let weight = training_weight(measure.score(), bonus, measure.quality);
        // Shards of an update that improves nothing have no effect to be paid for.
        if measure.score() > 0 {
            for (provider, effect) in T::Pool::effects(&lease.shards, &measure.shards) {
                let earned = earned.entry(provider).or_default();
                earned.effect = earned.effect.saturating_add(effect);
            }
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
