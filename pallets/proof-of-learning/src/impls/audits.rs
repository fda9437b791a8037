// SPDX-License-Identifier: Apache-2.0

//! Drawing of audits, and their storage between calls.

use crate::{
    pallet::*,
    types::{MAX_OPEN_AUDITS, PendingAudits, SECOND_DRAW_WAIT, SeatedStakes},
    weights::WeightInfo,
};
use alloc::vec::Vec;
use pol_primitives::{
    Balance, Hash, MAX_SUBMISSIONS, RoundNumber,
    audit::{
        Audit, AuditConfig, AuditId, MAX_AUDITED_SEGMENTS, MAX_SKETCHED_SEGMENTS, PendingAudit,
        Stage,
    },
    beacon::Pulse,
    digest,
    prf::Prf,
    recipe::{Numerics, Recipe as Spec},
    round::BlockNumber,
    submission::{RevealRecord, RevealSet, SubmissionStatus},
    traits::{Beacon, ShardPool, ValidatorStakes},
};
use polkadot_sdk::{
    frame_support::{pallet_prelude::*, traits::Randomness},
    sp_runtime::SaturatedConversion,
};

/// Randomness for the draws of a block.
struct DrawSource {
    /// Block in which the mixture was sealed. It decides over the updates that waited longer.
    sealed_at: BlockNumber,
    /// Randomness of the seeds.
    randomness: Hash,
    /// `false` if a beacon's pulse is missing.
    has_pulse: bool,
}

// ---- Waiting and drawing ----

impl<T: Config> Pallet<T> {
    /// Returns `true` if too many updates are unsettled for another round to open.
    pub(crate) fn is_behind() -> bool {
        Audits::<T>::count() >= MAX_OPEN_AUDITS || Self::waiting(0) > MAX_SUBMISSIONS as usize
    }

    /// Returns the number of updates that wait for draw `draw`. The limits are of one draw each, so
    /// that full rounds in a row leave no room of the second draw to the first.
    pub(crate) fn waiting(draw: u8) -> usize {
        UndrawnUpdates::<T>::get().iter().filter(|(update, _)| update.draw == draw).count()
    }

    /// Marks the `included` ones of a round's reveals as part of the head. They wait for their
    /// seats from here on.
    pub(crate) fn include(
        round: RoundNumber,
        recipe: &Spec,
        revealed: &[T::AccountId],
        included: &RevealSet,
    ) -> DispatchResult {
        if included.is_empty() {
            return Ok(());
        }
        let mut undrawn = UndrawnUpdates::<T>::get();
        for index in included.indices() {
            let trainer = revealed.get(usize::from(index)).ok_or(DispatchError::Corruption)?;
            let mut submission =
                Submissions::<T>::get(round, trainer).ok_or(DispatchError::Corruption)?;
            let steps = submission.opened.ok_or(DispatchError::Corruption)?.steps;
            let segments =
                steps.checked_div(recipe.steps_per_segment(submission.tier)).unwrap_or(0);
            let update = PendingAudit::first(round, trainer.clone(), index, segments);
            undrawn.try_push((update, Self::now())).map_err(|_| DispatchError::Corruption)?;
            submission.status = SubmissionStatus::Included;
            Submissions::<T>::insert(round, trainer, submission);
        }
        UndrawnUpdates::<T>::put(undrawn);
        Self::hold_seat_stakes(round, 0);
        Ok(())
    }

    /// Holds the stakes of the present for a draw that an update begins to wait for. A draw from
    /// those of its own block would let whoever knows the seed first choose the seats: a bond that
    /// is raised by one unit changes them all.
    pub(crate) fn hold_seat_stakes(round: RoundNumber, draw: u8) {
        if !SeatStakes::<T>::contains_key((round, draw)) {
            let stakes = SeatedStakes::truncate_from(Self::stakes_that_count());
            SeatStakes::<T>::insert((round, draw), stakes);
        }
    }

    /// Returns the present stakes that seats are drawn from, in account order.
    pub(crate) fn stakes_that_count() -> Vec<(T::AccountId, Balance)> {
        <T::Bonds as ValidatorStakes<T::AccountId>>::stakes()
    }

    /// Draws the audit of the updates whose wait ends first, all of one round and draw, once enough
    /// blocks have given their randomness since, and after them the beacon.
    pub(crate) fn draw_audit() -> Weight {
        let undrawn = UndrawnUpdates::<T>::get();
        let config = AuditSettings::<T>::get();
        let mix_end = |since: BlockNumber| since.saturating_add(config.mix);
        let wait_end = |update: &PendingAudit<_>, since: BlockNumber| {
            mix_end(since).saturating_add(if update.draw > 0 { SECOND_DRAW_WAIT } else { 0 })
        };
        let waits = undrawn.iter().map(|(update, since)| (wait_end(update, *since), update));
        let Some((end, first)) = waits.min_by_key(|(end, _)| *end) else {
            return T::WeightInfo::draw(0);
        };
        let (round, draw) = (first.round, first.draw);
        let Some(source) = Self::draw_source(end) else { return T::WeightInfo::draw(0) };
        let (group, rest): (Vec<_>, Vec<_>) = undrawn.into_iter().partition(|(update, since)| {
            (update.round, update.draw) == (round, draw) && source.sealed_at > mix_end(*since)
        });
        let is_last = !rest.iter().any(|(update, at)| source.sealed_at > wait_end(update, *at));
        let more_wait = rest.iter().any(|(other, _)| (other.round, other.draw) == (round, draw));
        if is_last && SealedMixture::<T>::take().is_some() {
            T::Beacon::release();
        }
        if rest.is_empty() {
            UndrawnUpdates::<T>::kill();
        } else {
            UndrawnUpdates::<T>::put(PendingAudits::truncate_from(rest));
        }
        let group: Vec<_> = group.into_iter().map(|(update, _)| update).collect();
        if group.is_empty() {
            // Governance made the mix longer while the draw waited for the pulse.
            return T::WeightInfo::draw(0);
        }
        let seed = digest(b"pol/audit-seed/1", &(source.randomness, round, draw));
        let config = if source.has_pulse { config } else { config.with_one_seat_more() };
        let probe = T::Pool::sample(config.probe.into(), &mut Prf::new("pol/probe/1", &seed, &[]));
        let limit = Self::max_segments(&group);
        // An update that waited under an earlier runtime has none yet.
        Self::hold_seat_stakes(round, draw);
        let stakes = if more_wait {
            SeatStakes::<T>::get((round, draw))
        } else {
            SeatStakes::<T>::take((round, draw))
        };
        let audit = Audit::draw(&config, seed, Self::now(), &group, &stakes, probe, limit);
        let id = NextAudit::<T>::get();
        NextAudit::<T>::put(id.saturating_add(1));
        let cases = audit.cases.len().saturated_into();
        Audits::<T>::insert(id, audit);
        Self::deposit_event(Event::AuditDrawn { audit: id, round, draw, cases });
        T::WeightInfo::draw(cases)
    }

    /// Returns the randomness for the draws in this block. Returns `None` while every update waits:
    /// until block `wait_end` has passed, then until the beacon's pulse arrives or is
    /// given up.
    ///
    /// The mixture is sealed before the pulse is due, so that nobody knows the seed while a block
    /// that goes into it can still be withheld.
    fn draw_source(wait_end: BlockNumber) -> Option<DrawSource> {
        let mixed = Self::mix_randomness();
        let (sealed_at, mixture) = match SealedMixture::<T>::get() {
            Some(sealed) => sealed,
            None if Self::now() <= wait_end => return None,
            None => {
                let sealed = (Self::now(), mixed);
                if !T::Beacon::await_pulse() {
                    return Some(DrawSource {
                        sealed_at: sealed.0,
                        randomness: mixed,
                        has_pulse: true,
                    });
                }
                SealedMixture::<T>::put(sealed);
                sealed
            }
        };
        match T::Beacon::pulse() {
            Pulse::Awaited => None,
            Pulse::Arrived(pulse) => {
                let randomness = digest(b"pol/pulse/1", &(mixture, pulse));
                Some(DrawSource { sealed_at, randomness, has_pulse: true })
            }
            // Everybody knows the sealed mixture by now, but not this block's.
            Pulse::Missed => Some(DrawSource { sealed_at, randomness: mixed, has_pulse: false }),
        }
    }

    /// Mixes this block's randomness with that of the blocks before, and returns the mixture.
    fn mix_randomness() -> Hash {
        let (randomness, _) = T::Randomness::random(b"pol/audit");
        let mixed = digest(b"pol/mix/1", &(MixedRandomness::<T>::get(), randomness));
        MixedRandomness::<T>::put(mixed);
        mixed
    }

    /// Returns the maximum number of segments to draw of each of the `updates`, which are of one
    /// recipe.
    fn max_segments(updates: &[PendingAudit<T::AccountId>]) -> u32 {
        let recipe_of = |update: &PendingAudit<T::AccountId>| {
            Self::audited_recipe(update.round, &update.trainer).ok()
        };
        match updates.first().and_then(recipe_of).map(|recipe| recipe.numerics) {
            Some(Numerics::Native { .. }) => MAX_SKETCHED_SEGMENTS,
            _ => MAX_AUDITED_SEGMENTS,
        }
    }
}

// ---- Open audits ----

impl<T: Config> Pallet<T> {
    /// Returns the audit, which must be in `stage` by now, and the parameters of audits.
    pub(crate) fn audit_in(
        id: AuditId,
        stage: Stage,
    ) -> Result<(Audit<T::AccountId>, AuditConfig), Error<T>> {
        let config = AuditSettings::<T>::get();
        let mut audit = Audits::<T>::get(id).ok_or(Error::<T>::NoSuchAudit)?;
        audit.advance(&config, Self::now());
        ensure!(audit.stage == stage, Error::<T>::WrongStage);
        Ok((audit, config))
    }

    /// Stores the audit in the stage that it has reached, or removes it if all cases are settled.
    pub(crate) fn store_audit(id: AuditId, mut audit: Audit<T::AccountId>, config: &AuditConfig) {
        if audit.cases.iter().all(|case| case.settled) {
            Audits::<T>::remove(id);
            Self::deposit_event(Event::AuditEnded { audit: id });
        } else {
            audit.advance(config, Self::now());
            Audits::<T>::insert(id, audit);
        }
    }

    /// Returns the reveal of an update under audit.
    pub(crate) fn reveal_record(
        round: RoundNumber,
        trainer: &T::AccountId,
    ) -> Result<RevealRecord, DispatchError> {
        Submissions::<T>::get(round, trainer)
            .and_then(|submission| submission.opened)
            .ok_or(DispatchError::Corruption)
    }

    /// Returns the recipe of an update under audit.
    pub(crate) fn audited_recipe(
        round: RoundNumber,
        trainer: &T::AccountId,
    ) -> Result<Spec, DispatchError> {
        Self::audited_lease(round, trainer)
            .and_then(|lease| Recipes::<T>::get(lease.recipe))
            .ok_or(DispatchError::Corruption)
    }
}
