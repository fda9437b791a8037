//! How a round moves on, how leases end, and what others read.

use crate::{pallet::*, weights::WeightInfo};
use alloc::vec::Vec;
use codec::Encode;
use pol_primitives::{
    Hash, RoundNumber, digest,
    head::{Head, RoundRecord, Update},
    lease::Lease,
    recipe,
    round::{BlockNumber, Phase, Round, RoundConfig, Step},
    submission::{Included, Status, Submission},
    traits::{Bonds, DataFormat, Payouts, Rounds, ShardPool},
    view::{Attestation, Overview, Standing},
};
use polkadot_sdk::{
    frame_support::{pallet_prelude::*, traits::Randomness},
    frame_system::{self, pallet_prelude::BlockNumberFor},
    sp_runtime::{SaturatedConversion, traits::Zero},
};

// ---------------------------------------------------------------- rounds

impl<T: Config> Pallet<T> {
    /// This block.
    pub(crate) fn now() -> BlockNumber {
        frame_system::Pallet::<T>::block_number().saturated_into()
    }

    /// What this block changes of the round.
    pub(crate) fn advance() -> Weight {
        let (now, lengths, round) = (Self::now(), Lengths::<T>::get(), CurrentRound::<T>::get());
        match round.step(&lengths, now) {
            Step::Stay if round.phase == Phase::Idle && round.deadline.is_none_or(|over| now >= over) => {
                Self::open(round.number, &lengths, now);
                T::WeightInfo::open()
            }
            Step::Stay => T::WeightInfo::stay(),
            Step::Enter(phase, deadline) => {
                let stake = if phase == Phase::Attest { T::Bonds::total_validator_stake() } else { 0 };
                Self::enter(Round { phase, phase_since: now, deadline: Some(deadline), stake, ..round });
                T::WeightInfo::step()
            }
            Step::Void => {
                if CurrentHead::<T>::exists() {
                    Self::deposit_event(Event::RoundVoid { number: round.number });
                    Self::close(round, None, Included::default());
                } else {
                    // There is no model to go on with, so round zero opens again. In between stakes can change: validators can
                    // come and absent ones be set aside, or whoever was bonded first could hold up the chain for good.
                    Self::end_attest_phase();
                    let deadline = Some(now.saturating_add(lengths.lead));
                    Self::enter(Round { phase_since: now, deadline, ..Default::default() });
                }
                T::WeightInfo::step()
            }
        }
    }

    /// Stores the round with its new phase or deadline.
    pub(crate) fn enter(round: Round) {
        Self::deposit_event(Event::PhaseEntered { number: round.number, phase: round.phase, deadline: round.deadline });
        CurrentRound::<T>::put(round);
    }

    /// Whether `head` was made by `round` and is the model with parameters `root` made of `included`.
    pub(crate) fn is_newest_head(head: Option<Head>, round: RoundNumber, root: Hash, included: &Included) -> bool {
        head.is_some_and(|head| (head.round, head.root) == (round, root))
            && Records::<T>::get(round).is_some_and(|record| record.included == *included)
    }

    /// Opens round `number` if there is something to do in it.
    fn open(number: RoundNumber, lengths: &RoundConfig, now: BlockNumber) {
        if let Some(recipe) = PendingRecipe::<T>::take() {
            Self::deposit_event(Event::RecipeAdopted { hash: recipe.hash() });
            Recipe::<T>::put(recipe);
        }
        if !Recipe::<T>::exists() {
            return;
        }
        let (randomness, _) = T::Randomness::random(b"pol/round");
        let seed = digest(b"pol/round-seed/1", &(randomness, number));
        let mut round = Round { number, seed, opened_at: now, phase_since: now, ..Default::default() };
        if let Some(head) = CurrentHead::<T>::get() {
            let last_due = LastDue::<T>::get();
            if T::Pool::free() == 0 && last_due < number {
                return;
            }
            round.phase = Phase::Train;
            round.base_root = head.root;
            let due = Due::<T>::take(number);
            if due > 0 {
                round.lease_due(lengths, now);
                round.due = due;
            } else if last_due > number {
                round.lease_later(lengths, now);
            }
        } else {
            round.stake = T::Bonds::total_validator_stake();
            if round.stake == 0 {
                return;
            }
            round.phase = Phase::Attest;
            round.deadline = Some(now.saturating_add(lengths.attest));
        }
        Self::deposit_event(Event::RoundOpened { number, seed });
        Self::enter(round);
    }

    /// Makes the model with parameters `root` the head after `round`.
    pub(crate) fn adopt(round: Round, previous: Option<Head>, root: Hash, included: Included) -> DispatchResult {
        let recipe_hash = Self::recipe_hash().ok_or(DispatchError::Corruption)?;
        let updates = Self::updates(round.number, &Revealed::<T>::get(), &included);
        let head = Head::next(previous.as_ref(), round.number, root, recipe_hash, &updates);
        let number = round.number;
        CurrentHead::<T>::put(head);
        Self::close(round, Some(head), included);
        if previous.is_some() {
            T::Payouts::round_concluded(number);
        }
        Self::deposit_event(Event::HeadAdvanced { head });
        Ok(())
    }

    /// The `included` ones of a round's reveals, in account order.
    pub(crate) fn updates(round: RoundNumber, revealed: &[T::AccountId], included: &Included) -> Vec<Update<T::AccountId>> {
        let update = |index: u8| {
            let account = revealed.get(usize::from(index))?;
            let Submission { data_hash, staleness, opened, .. } = Submissions::<T>::get(round, account)?;
            let opened = opened?;
            Some(Update {
                account: account.clone(),
                payload_hash: opened.payload_hash,
                data_hash,
                tokens: opened.tokens,
                staleness,
            })
        };
        let mut updates: Vec<_> = included.indices().filter_map(update).collect();
        updates.sort_by_cached_key(|update| update.account.encode());
        updates
    }

    /// Records `round`; the next one opens with the next block.
    fn close(round: Round, head: Option<Head>, included: Included) {
        if round.phase == Phase::Attest {
            Self::end_attest_phase();
        }
        let record = RoundRecord {
            head,
            included,
            revealed: Revealed::<T>::take(),
            opened_at: round.opened_at,
            concluded_at: Self::now(),
        };
        Records::<T>::insert(round.number, record);
        CurrentRound::<T>::put(Round { number: round.number.saturating_add(1), ..Default::default() });
    }

    /// From here on the attestations so far belong to the past.
    pub(crate) fn end_attest_phase() {
        AttestPhases::<T>::mutate(|phases| *phases = phases.saturating_add(1));
    }

    /// Clears a bounded part of what past attest phases left.
    pub(crate) fn sweep() -> Weight {
        let phase = SweptPhases::<T>::get();
        if phase >= AttestPhases::<T>::get() {
            return T::WeightInfo::sweep(0);
        }
        // Without a cursor each call starts over, which is right from block to block: what was cleared is gone.
        let attestations = Attestations::<T>::clear_prefix(phase, SWEEP, None);
        let tallies = Tallies::<T>::clear_prefix(phase, SWEEP, None);
        if attestations.maybe_cursor.is_none() && tallies.maybe_cursor.is_none() {
            SweptPhases::<T>::put(phase.saturating_add(1));
        }
        T::WeightInfo::sweep(SWEEP)
    }
}

// ---------------------------------------------------------------- leases

impl<T: Config> Pallet<T> {
    /// Concludes `account`'s lease if it has one of a round before `number`; refuses if it has a later one.
    pub(crate) fn conclude_past(account: &T::AccountId, number: RoundNumber) -> Result<Weight, Error<T>> {
        match Leases::<T>::get(account) {
            None => Ok(Weight::zero()),
            Some(lease) if lease.due_round < number => Ok(Self::conclude_lease(account, lease)),
            Some(_) => Err(Error::<T>::AlreadyLeased),
        }
    }

    /// Ends `account`'s `lease`, the round of which is over.
    pub(crate) fn conclude_lease(account: &T::AccountId, lease: Lease) -> Weight {
        let round = lease.due_round;
        let mut status = None;
        if let Some(mut submission) = Submissions::<T>::get(round, account) {
            submission.status = match submission.opened {
                None => {
                    T::Bonds::slash(account, T::NoShowPenalty::get());
                    Status::NoShow
                }
                Some(opened) if Records::<T>::get(round).is_some_and(|record| record.included.contains(opened.index)) => {
                    Standings::<T>::mutate(account, |standing| standing.carry = opened.carry_hash);
                    Status::Included
                }
                Some(_) => Status::Excluded,
            };
            status = Some(submission.status);
            Submissions::<T>::insert(round, account, submission);
        } else if Self::recipe_hash() == Some(lease.recipe) {
            // Nothing can be committed to a lease whose recipe has changed, which is no fault of the trainer's.
            T::Bonds::slash(account, T::LapsePenalty::get());
        }
        if status == Some(Status::Included) {
            T::Pool::consume(&lease.shards, round);
        } else {
            T::Pool::release(&lease.shards);
        }
        Leases::<T>::remove(account);
        Self::deposit_event(Event::Concluded { account: account.clone(), round, status });
        T::WeightInfo::conclude(lease.shards.len().saturated_into())
    }

    /// Rounds the lease's base is behind the head that `round` trains: none if rounds since were void.
    pub(crate) fn staleness(lease: &Lease, round: &Round) -> u8 {
        if lease.base_root == round.base_root { 0 } else { round.number.saturating_sub(lease.round).saturated_into() }
    }

    /// Name of this chain, which commitments bind.
    pub(crate) fn genesis_hash() -> Hash {
        // The system pallet prunes old block hashes except this one.
        frame_system::BlockHash::<T>::get(BlockNumberFor::<T>::zero()).into()
    }

    /// Name of the recipe in force.
    pub(crate) fn recipe_hash() -> Option<Hash> {
        Recipe::<T>::get().map(|recipe| recipe.hash())
    }
}

// ---------------------------------------------------------------- what others read

impl<T: Config> Rounds for Pallet<T> {
    fn number() -> RoundNumber {
        CurrentRound::<T>::get().number
    }

    fn attesting() -> bool {
        let round = CurrentRound::<T>::get();
        // Where no stake counts there is none to hold still, and validators must be able to come.
        round.phase == Phase::Attest && round.stake > 0
    }

    fn attest_phases() -> u32 {
        AttestPhases::<T>::get()
    }

    fn missable() -> u32 {
        Lengths::<T>::get().missed
    }
}

impl<T: Config> DataFormat for Pallet<T> {
    fn shard_tokens_and_tokenizer() -> Option<(u32, Hash)> {
        PendingRecipe::<T>::get().or_else(Recipe::<T>::get).map(|recipe| (recipe.shard_tokens, recipe.tokenizer))
    }
}

/// Answers for the runtime API.
impl<T: Config> Pallet<T> {
    /// The network at this block.
    pub fn overview() -> Overview<T::AccountId> {
        let (now, round, config) = (Self::now(), CurrentRound::<T>::get(), Lengths::<T>::get());
        let lead = match round.phase {
            Phase::Attest => T::Bonds::lead(&round.seed, round.turn(&config, now)),
            _ => None,
        };
        Overview {
            now,
            round,
            config,
            head: CurrentHead::<T>::get(),
            recipe_hash: Self::recipe_hash(),
            lead,
            free_shards: T::Pool::free(),
            validator_stake: T::Bonds::total_validator_stake(),
        }
    }

    /// The recipe in force.
    pub fn recipe() -> Option<recipe::Recipe> {
        Recipe::<T>::get()
    }

    /// The account's open lease.
    pub fn lease(account: &T::AccountId) -> Option<Lease> {
        Leases::<T>::get(account)
    }

    /// What the account brings into its next lease.
    pub fn standing(account: &T::AccountId) -> Standing {
        Standings::<T>::get(account)
    }

    /// Submissions to `round`, by account; at most 64.
    pub fn submissions(round: RoundNumber) -> Vec<(T::AccountId, Submission)> {
        let mut submissions: Vec<_> = Submissions::<T>::iter_prefix(round).collect();
        submissions.sort_by_cached_key(|(account, _)| account.encode());
        submissions
    }

    /// What is kept of a concluded round.
    pub fn round_record(round: RoundNumber) -> Option<RoundRecord<T::AccountId>> {
        Records::<T>::get(round)
    }

    /// Attestations of the attest phase under way.
    pub fn attestations() -> Vec<Attestation<T::AccountId>> {
        Attestations::<T>::iter_prefix(AttestPhases::<T>::get())
            .map(|(account, attested)| Attestation { account, root: attested.root, included: attested.included })
            .collect()
    }
}
