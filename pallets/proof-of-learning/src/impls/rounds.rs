// SPDX-License-Identifier: Apache-2.0

//! Progress of a round from block to block: opening, phases, closing.

use crate::{
    pallet::*,
    types::{MAX_SWEEP, SWEEP_BATCH, StakedAttestation},
    weights::WeightInfo,
};
use alloc::vec::Vec;
use pol_primitives::{
    Balance, BoundedVec, ConstU32, Hash, RoundNumber, digest,
    head::{Excision, Head, MAX_EXCISIONS, RoundRecord, head_inputs},
    inclusion::StakeCount,
    recipe::Recipe as Spec,
    round::{BlockNumber, Phase, Round, RoundConfig, Transition},
    submission::RevealSet,
    traits::{Bonds, ShardPool},
};
use polkadot_sdk::{
    frame_support::{pallet_prelude::*, traits::Randomness},
    sp_runtime::SaturatedConversion,
};

// ---- Phases ----

impl<T: Config> Pallet<T> {
    /// Applies the changes that this block makes to the round.
    pub(crate) fn advance_round() -> Weight {
        let (now, lengths, round) =
            (Self::now(), PhaseLengths::<T>::get(), CurrentRound::<T>::get());
        match round.transition(&lengths, now) {
            Transition::Stay
                if round.phase == Phase::Idle && round.deadline.is_none_or(|over| now >= over) =>
            {
                Self::open(round.number, &lengths, now)
            }
            Transition::Stay => T::WeightInfo::stay(),
            Transition::Enter(phase, deadline) => Self::change_phase(round, phase, deadline, now),
            Transition::Void => {
                let pauses = round.attests_only();
                Self::end_without_head(round);
                if pauses {
                    // The next round attests the same model again. In the pause stakes can change:
                    // validators can come and absent ones be chilled. Without it, whoever was
                    // bonded first could hold up the chain for good.
                    let deadline = Some(now.saturating_add(lengths.pause));
                    Self::enter(Round { phase_since: now, deadline, ..CurrentRound::<T>::get() });
                }
                T::WeightInfo::step()
            }
        }
    }

    /// Ends the phase of the round and begins `phase`.
    fn change_phase(round: Round, phase: Phase, deadline: BlockNumber, now: BlockNumber) -> Weight {
        let next = Round { phase, phase_since: now, deadline: Some(deadline), ..round.clone() };
        match phase {
            Phase::Hold => Self::begin_holding(&round, next),
            Phase::Attest => {
                let included = CurrentCount::<T>::get().included(round.revealed, round.attempt);
                if included.is_empty() {
                    Self::end_without_head(round);
                } else {
                    return Self::begin_computing(next, included);
                }
            }
            Phase::Idle | Phase::Train | Phase::Reveal => Self::enter(next),
        }
        T::WeightInfo::step()
    }

    /// Stores the round with its new phase or deadline.
    pub(crate) fn enter(round: Round) {
        Self::deposit_event(Event::PhaseEntered {
            number: round.number,
            phase: round.phase,
            deadline: round.deadline,
        });
        CurrentRound::<T>::put(round);
    }
}

// ---- Counts of stake ----

impl<T: Config> Pallet<T> {
    /// Fixes the stakes that count until the round has a head or the attempt has failed. Returns
    /// their sum.
    fn begin_count() -> Balance {
        let count = StakeCount::new(T::Bonds::stakes(), &T::Bonds::newcomers());
        let stake = count.whole();
        CurrentCount::<T>::put(count);
        stake
    }

    /// Begins the hold phase `next`, after the reveals or after an attest phase without a head.
    fn begin_holding(before: &Round, next: Round) {
        let failed = before.phase == Phase::Attest;
        if failed {
            Self::end_attest_phase(None);
        }
        Self::enter(Round {
            stake: Self::begin_count(),
            decided: false,
            attempt: next.attempt.saturating_add(failed.into()),
            included: RevealSet::default(),
            inputs: Hash::default(),
            ..next
        });
    }

    /// Begins the attest phase `round`, in which the head of the `included` updates is computed.
    fn begin_computing(round: Round, included: RevealSet) -> Weight {
        let updates = Self::updates_of(round.number, &Revealed::<T>::get(), &included);
        let recipe = Self::recipe_hash().unwrap_or_default();
        let excised = Self::excisable(&round);
        let inputs = head_inputs(round.number, &round.base_root, &recipe, &updates, &excised);
        let count = included.len();
        Self::deposit_event(Event::InclusionDecided {
            round: round.number,
            included: included.clone(),
            inputs,
        });
        Self::enter(Round { included, inputs, ..round });
        T::WeightInfo::step().saturating_add(T::WeightInfo::begin_computing(count))
    }
}

// ---- Opening ----

impl<T: Config> Pallet<T> {
    /// Opens round `number` if there is something to do in it.
    fn open(number: RoundNumber, lengths: &RoundConfig, now: BlockNumber) -> Weight {
        Self::seed_probes();
        let weight = T::WeightInfo::open().saturating_add(Self::adopt_recipe(number));
        let Some(recipe) = Recipe::<T>::get() else { return weight };
        let (randomness, _) = T::Randomness::random(b"pol/round");
        let seed = digest(b"pol/round-seed/1", &(randomness, number));
        let head = CurrentHead::<T>::get();
        let base_root = head.map(|head| head.root).unwrap_or_default();
        let mut round = Round {
            number,
            seed,
            base_root,
            opened_at: now,
            phase_since: now,
            ..Default::default()
        };
        let trains = head.is_some_and(|head| Self::keeps_model(&recipe, &head));
        let opens = if trains {
            Self::begin_training(&mut round, lengths)
        } else {
            Self::begin_attesting(&mut round, lengths)
        };
        if opens {
            Self::deposit_event(Event::RoundOpened { number, seed });
            Self::enter(round);
        }
        weight
    }

    /// Puts the pending recipe in force from round `number` on.
    fn adopt_recipe(number: RoundNumber) -> Weight {
        let Some(recipe) = PendingRecipe::<T>::take() else { return Weight::zero() };
        Self::deposit_event(Event::RecipeAdopted { hash: recipe.hash() });
        let changes = Self::recipe_hash() != Some(recipe.hash());
        Self::put_in_force(&recipe);
        if changes {
            RecipeSince::<T>::put(number);
            Self::forget_due_leases(number)
        } else {
            Weight::zero()
        }
    }

    /// Forgets the leases due in round `number` and later ones. They ended with the recipe before,
    /// so no round waits for them, and they take no place.
    fn forget_due_leases(number: RoundNumber) -> Weight {
        // Round zero has no leases.
        let rounds = number.max(1)..LastDueRound::<T>::take().saturating_add(1);
        let count = rounds.len().saturated_into();
        rounds.for_each(DueLeases::<T>::remove);
        T::WeightInfo::forget_due_leases(count)
    }

    /// Returns `true` if `recipe` keeps the architecture of `head`, and does not rewrite it.
    fn keeps_model(recipe: &Spec, head: &Head) -> bool {
        Recipes::<T>::get(head.recipe_hash).is_none_or(|before| before.model == recipe.model)
    }

    /// Begins the train phase of a round that opens. Returns `false` if the round has to wait for
    /// data, or for audits that are too far behind.
    fn begin_training(round: &mut Round, lengths: &RoundConfig) -> bool {
        let (number, now, last_due) = (round.number, round.opened_at, LastDueRound::<T>::get());
        if (T::Pool::free_shards() == 0 && last_due < number) || Self::is_behind() {
            return false;
        }
        round.phase = Phase::Train;
        let due = DueLeases::<T>::take(number);
        if due > 0 {
            round.count_due_lease(lengths, now);
            round.due = due;
        } else if last_due > number {
            round.note_later_lease(lengths, now);
        }
        true
    }

    /// Begins the attest phase of a round that makes the first model of an architecture. Returns
    /// `false` if there is no stake to attest it.
    fn begin_attesting(round: &mut Round, lengths: &RoundConfig) -> bool {
        if T::Bonds::total_validator_stake() == 0 {
            return false;
        }
        round.stake = Self::begin_count();
        round.inputs = head_inputs::<T::AccountId>(
            round.number,
            &round.base_root,
            &Self::recipe_hash().unwrap_or_default(),
            &[],
            &[],
        );
        round.phase = Phase::Attest;
        round.deadline = Some(round.opened_at.saturating_add(lengths.attest));
        true
    }
}

// ---- Closing ----

impl<T: Config> Pallet<T> {
    /// Ends the round as void. Without a model to continue from, round zero starts over.
    pub(crate) fn end_without_head(round: Round) {
        if CurrentHead::<T>::exists() {
            Self::deposit_event(Event::RoundVoid { number: round.number });
            Self::close(round, None, RevealSet::default(), BoundedVec::new());
        } else {
            Self::end_attest_phase(None);
            CurrentCount::<T>::kill();
            CurrentRound::<T>::kill();
        }
    }

    /// Records `round`. The next one opens with the next block.
    pub(crate) fn close(
        round: Round,
        head: Option<Head>,
        included: RevealSet,
        excised: BoundedVec<Excision, ConstU32<MAX_EXCISIONS>>,
    ) {
        if round.phase == Phase::Attest {
            Self::end_attest_phase(head);
        }
        // An attest phase in vain says nothing about the updates.
        let reported = |count: StakeCount<_>| count.suffices(count.reported());
        let judged = head.is_some()
            || (round.phase == Phase::Hold
                && round.attempt == 0
                && reported(CurrentCount::<T>::get()));
        CurrentCount::<T>::kill();
        let record = RoundRecord {
            head,
            included,
            excised,
            judged,
            revealed: Revealed::<T>::take(),
            opened_at: round.opened_at,
            concluded_at: Self::now(),
        };
        Records::<T>::insert(round.number, record);
        TakenPlaces::<T>::kill();
        CurrentRound::<T>::put(Round {
            number: round.number.saturating_add(1),
            ..Default::default()
        });
    }

    /// Ends the attest phase, whose attestations no longer count. They are compared with the head
    /// that it made.
    fn end_attest_phase(head: Option<Head>) {
        let phase = AttestPhases::<T>::get();
        if let Some(head) = head {
            AdoptedRoots::<T>::insert(phase, (head.round, head.root));
        }
        AttestPhases::<T>::put(phase.saturating_add(1));
    }

    /// Judges and clears attestations of past attest phases, oldest first: the more phases wait,
    /// the more of them, up to [`MAX_SWEEP`].
    pub(crate) fn sweep() -> Weight {
        let (first, end) = (SweptPhases::<T>::get(), AttestPhases::<T>::get());
        let most = SWEEP_BATCH.saturating_mul(end.saturating_sub(first)).min(MAX_SWEEP);
        let (mut phase, mut room, mut fines) = (first, most, 0u32);
        while phase < end && room > 0 {
            let adopted = AdoptedRoots::<T>::get(phase);
            let batch: Vec<_> = Attestations::<T>::iter_prefix(phase).take(room as usize).collect();
            for (account, StakedAttestation { root, .. }) in &batch {
                Attestations::<T>::remove(phase, account);
                Tallies::<T>::remove(phase, root);
                let fined = adopted
                    .is_some_and(|(round, right)| Self::judge_root(account, round, *root == right));
                fines = fines.saturating_add(fined.into());
            }
            // A phase costs room too, so that empty ones do not add up.
            room = room.saturating_sub(batch.len() as u32).saturating_sub(1);
            if Attestations::<T>::iter_key_prefix(phase).next().is_none() {
                AdoptedRoots::<T>::remove(phase);
                phase = phase.saturating_add(1);
            }
        }
        if phase > first {
            SweptPhases::<T>::put(phase);
        }
        T::WeightInfo::sweep(most).saturating_add(T::WeightInfo::fine_roots(fines))
    }

    /// Notes the judgement of a root that the account attested in `round`. Returns `true` if it
    /// cost part of its bond.
    fn judge_root(account: &T::AccountId, round: RoundNumber, right: bool) -> bool {
        let wrong = T::Bonds::note_root(account, right);
        if right {
            return false;
        }
        let is_fined = wrong >= T::WrongRootStrikes::get();
        let penalty = T::WrongRootPenalty::get();
        let amount = if is_fined { T::Bonds::slash(account, penalty) } else { 0 };
        Self::deposit_event(Event::WrongRoot { account: account.clone(), round, amount });
        is_fined
    }
}
