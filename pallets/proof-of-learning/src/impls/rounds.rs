// SPDX-License-Identifier: Apache-2.0

//! Progress of a round from block to block: opening, phases, closing.

use crate::{pallet::*, types::SWEEP_BATCH, weights::WeightInfo};
use pol_primitives::{
    BoundedVec, ConstU32, RoundNumber, digest,
    head::{Excision, Head, MAX_EXCISIONS, RoundRecord},
    recipe::Recipe as Spec,
    round::{BlockNumber, Phase, Round, RoundConfig, Transition},
    submission::RevealSet,
    traits::{Bonds, ShardPool},
};
use polkadot_sdk::{
    frame_support::{pallet_prelude::*, traits::Randomness},
    frame_system,
    sp_runtime::SaturatedConversion,
};

// ---- Phases ----

impl<T: Config> Pallet<T> {
    /// Returns the number of this block.
    pub(crate) fn now() -> BlockNumber {
        frame_system::Pallet::<T>::block_number().saturated_into()
    }

    /// Applies the changes that this block makes to the round.
    pub(crate) fn advance_round() -> Weight {
        let (now, lengths, round) =
            (Self::now(), PhaseLengths::<T>::get(), CurrentRound::<T>::get());
        match round.transition(&lengths, now) {
            Transition::Stay
                if round.phase == Phase::Idle && round.deadline.is_none_or(|over| now >= over) =>
            {
                Self::open(round.number, &lengths, now);
                T::WeightInfo::open()
            }
            Transition::Stay => T::WeightInfo::stay(),
            Transition::Enter(phase, deadline) => {
                let stake =
                    if phase == Phase::Attest { T::Bonds::total_validator_stake() } else { 0 };
                Self::enter(Round {
                    phase,
                    phase_since: now,
                    deadline: Some(deadline),
                    stake,
                    ..round
                });
                T::WeightInfo::step()
            }
            Transition::Void => {
                let pauses = round.attests_only();
                Self::end_without_head(round);
                if pauses {
                    // The next round attests the same model again. In the pause stakes can change:
                    // validators can come and absent ones be chilled. Without it, whoever was
                    // bonded first could hold up the chain for good.
                    let deadline = Some(now.saturating_add(lengths.lead));
                    Self::enter(Round { phase_since: now, deadline, ..CurrentRound::<T>::get() });
                }
                T::WeightInfo::step()
            }
        }
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

// ---- Opening ----

impl<T: Config> Pallet<T> {
    /// Opens round `number` if there is something to do in it.
    fn open(number: RoundNumber, lengths: &RoundConfig, now: BlockNumber) {
        Self::seed_probes();
        Self::adopt_recipe(number);
        let Some(recipe) = Recipe::<T>::get() else { return };
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
    }

    /// Puts the pending recipe in force from round `number` on.
    fn adopt_recipe(number: RoundNumber) {
        let Some(recipe) = PendingRecipe::<T>::take() else { return };
        Self::deposit_event(Event::RecipeAdopted { hash: recipe.hash() });
        if Self::recipe_hash() != Some(recipe.hash()) {
            RecipeSince::<T>::put(number);
        }
        Self::put_in_force(&recipe);
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
        round.stake = T::Bonds::total_validator_stake();
        if round.stake == 0 {
            return false;
        }
        round.phase = Phase::Attest;
        round.deadline = Some(round.opened_at.saturating_add(lengths.attest));
        // These leases ended with the recipe before, so the round does not wait for them.
        round.due = DueLeases::<T>::take(round.number);
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
            Self::end_attest_phase();
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
            Self::end_attest_phase();
        }
        let record = RoundRecord {
            head,
            included,
            excised,
            revealed: Revealed::<T>::take(),
            opened_at: round.opened_at,
            concluded_at: Self::now(),
        };
        Records::<T>::insert(round.number, record);
        CurrentRound::<T>::put(Round {
            number: round.number.saturating_add(1),
            ..Default::default()
        });
    }

    /// Ends the attest phase, whose attestations no longer count.
    fn end_attest_phase() {
        AttestPhases::<T>::mutate(|phases| *phases = phases.saturating_add(1));
    }

    /// Clears up to [`SWEEP_BATCH`] attestations and as many tallies of past attest phases.
    pub(crate) fn sweep() -> Weight {
        let phase = SweptPhases::<T>::get();
        if phase >= AttestPhases::<T>::get() {
            return T::WeightInfo::sweep(0);
        }
        // A clearing without a cursor starts over, which is right from block to block, since what
        // was cleared is gone.
        let attestations = Attestations::<T>::clear_prefix(phase, SWEEP_BATCH, None);
        let tallies = Tallies::<T>::clear_prefix(phase, SWEEP_BATCH, None);
        if attestations.maybe_cursor.is_none() && tallies.maybe_cursor.is_none() {
            SweptPhases::<T>::put(phase.saturating_add(1));
        }
        T::WeightInfo::sweep(SWEEP_BATCH)
    }
}
