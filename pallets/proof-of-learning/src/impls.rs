//! How a round moves on, how leases end, and what others read.

use crate::{pallet::*, weights::WeightInfo};
use alloc::vec::Vec;
use codec::Encode;
use pol_primitives::{
    BoundedVec, ConstU32, Hash, RoundNumber,
    audit::Excision,
    digest,
    head::{Head, MAX_EXCISIONS, RoundRecord, Update},
    lease::Lease,
    recipe,
    round::{BlockNumber, Phase, Round, RoundConfig, Step},
    submission::{Included, Outcome, Settled, Status, Submission},
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
            Step::Stay
                if round.phase == Phase::Idle && round.deadline.is_none_or(|over| now >= over) =>
            {
                Self::open(round.number, &lengths, now);
                T::WeightInfo::open()
            }
            Step::Stay => T::WeightInfo::stay(),
            Step::Enter(phase, deadline) => {
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
            Step::Void => {
                let pauses = round.attests_only();
                Self::end_without_head(round);
                if pauses {
                    // The next round attests the same again. In between stakes can change:
                    // validators can come and absent ones be set aside, or whoever was bonded first
                    // could hold up the chain for good.
                    let deadline = Some(now.saturating_add(lengths.lead));
                    Self::enter(Round { phase_since: now, deadline, ..CurrentRound::<T>::get() });
                }
                T::WeightInfo::step()
            }
        }
    }

    /// Ends the round, which is void; before there is a model to go on with, round zero starts
    /// over.
    pub(crate) fn end_without_head(round: Round) {
        if CurrentHead::<T>::exists() {
            Self::deposit_event(Event::RoundVoid { number: round.number });
            Self::close(round, None, Included::default(), BoundedVec::new());
        } else {
            Self::end_attest_phase();
            CurrentRound::<T>::kill();
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

    /// Whether `head` was made by `round` and is the model with parameters `root` made of
    /// `included`.
    pub(crate) fn is_newest_head(
        head: Option<Head>,
        round: RoundNumber,
        root: Hash,
        included: &Included,
    ) -> bool {
        head.is_some_and(|head| (head.round, head.root) == (round, root))
            && Records::<T>::get(round).is_some_and(|record| record.included == *included)
    }

    /// Opens round `number` if there is something to do in it.
    fn open(number: RoundNumber, lengths: &RoundConfig, now: BlockNumber) {
        Self::seed_probes();
        if let Some(recipe) = PendingRecipe::<T>::take() {
            Self::deposit_event(Event::RecipeAdopted { hash: recipe.hash() });
            if Self::recipe_hash() != Some(recipe.hash()) {
                RecipeSince::<T>::put(number);
            }
            Self::put_in_force(&recipe);
        }
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
        if head.is_some_and(|head| Self::keeps_model(&recipe, &head)) {
            let last_due = LastDue::<T>::get();
            // Learning waits for data, and for audits that are too far behind.
            if (T::Pool::free() == 0 && last_due < number) || Self::is_behind() {
                return;
            }
            round.phase = Phase::Train;
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
            // Nothing is waited for: these leases ended with the recipe before.
            round.due = Due::<T>::take(number);
        }
        Self::deposit_event(Event::RoundOpened { number, seed });
        Self::enter(round);
    }

    /// Whether `recipe` goes on with the architecture of `head`, and does not rewrite it.
    fn keeps_model(recipe: &recipe::Recipe, head: &Head) -> bool {
        Recipes::<T>::get(head.recipe_hash).is_none_or(|before| before.model == recipe.model)
    }

    /// Makes the model with parameters `root` the head after `round`.
    pub(crate) fn adopt(
        round: Round,
        previous: Option<Head>,
        root: Hash,
        included: Included,
    ) -> DispatchResult {
        let recipe = Recipe::<T>::get().ok_or(DispatchError::Corruption)?;
        let number = round.number;
        if let Some(rewrite) = recipe.rewrite.filter(|_| previous.is_some() && round.attests_only())
        {
            ModelSince::<T>::put(number);
            Self::deposit_event(Event::ModelRewritten { round: number, rewrite });
        }
        if let Some(previous) = &previous {
            Self::decide_metrics(previous.round);
        }
        let excised = Self::take_excisions(&round);
        let revealed = Revealed::<T>::get();
        Self::include(number, &recipe, &revealed, &included)?;
        let updates = Self::updates_of(number, &revealed, &included);
        let head = Head::next(previous.as_ref(), number, root, recipe.hash(), &updates, &excised);
        CurrentHead::<T>::put(head);
        Self::close(round, Some(head), included, excised);
        if previous.is_some() {
            T::Payouts::round_concluded(number, updates.len().saturated_into());
        }
        Self::deposit_event(Event::HeadAdvanced { head });
        Ok(())
    }

    /// The `included` ones of a round's reveals, in account order.
    pub(crate) fn updates_of(
        round: RoundNumber,
        revealed: &[T::AccountId],
        included: &Included,
    ) -> Vec<Update<T::AccountId>> {
        let update = |index: u8| {
            let account = revealed.get(usize::from(index))?;
            let (payload_hash, data_hash, tokens, staleness) =
                match Submissions::<T>::get(round, account) {
                    Some(Submission { data_hash, staleness, opened, .. }) => {
                        let opened = opened?;
                        (opened.payload_hash, data_hash, opened.tokens, staleness)
                    }
                    None => {
                        let settled = History::<T>::get(round, account)?;
                        (settled.payload_hash, settled.data_hash, settled.tokens, settled.staleness)
                    }
                };
            Some(Update { account: account.clone(), payload_hash, data_hash, tokens, staleness })
        };
        let mut updates: Vec<_> = included.indices().filter_map(update).collect();
        updates.sort_by_cached_key(|update| update.account.encode());
        updates
    }

    /// Records `round`; the next one opens with the next block.
    fn close(
        round: Round,
        head: Option<Head>,
        included: Included,
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
        // Without a cursor each call starts over, which is right from block to block: what was
        // cleared is gone.
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
    /// Concludes `account`'s lease if it has one of a round before `number`; refuses if it has a
    /// later one.
    pub(crate) fn conclude_past(
        account: &T::AccountId,
        number: RoundNumber,
    ) -> Result<Weight, Error<T>> {
        match Leases::<T>::get(account) {
            None => Ok(Weight::zero()),
            Some(lease) if lease.due_round < number => Ok(Self::conclude_lease(account, lease)),
            Some(_) => Err(Error::<T>::AlreadyLeased),
        }
    }

    /// Ends `account`'s `lease`, the round of which is over.
    pub(crate) fn conclude_lease(account: &T::AccountId, lease: Lease) -> Weight {
        let round = lease.due_round;
        let submission = Submissions::<T>::get(round, account);
        let status = submission.as_ref().map(|submission| submission.status);
        let shards = lease.shards.len().saturated_into();
        Leases::<T>::remove(account);
        match submission {
            Some(Submission { status: Status::Included, opened, .. }) => {
                Standings::<T>::mutate(account, |standing| {
                    standing.carry = opened.map(|opened| opened.carry_hash).unwrap_or_default();
                    standing.carry_round = round;
                });
                AuditedLeases::<T>::insert(round, account, lease);
            }
            Some(submission) => {
                let outcome = if submission.opened.is_some() {
                    Outcome::Excluded
                } else {
                    T::Bonds::slash(account, T::NoShowPenalty::get());
                    Outcome::NoShow
                };
                T::Pool::release(&lease.shards);
                Submissions::<T>::remove(round, account);
                History::<T>::insert(round, account, Self::settled(&submission, outcome));
            }
            None => {
                // Nothing can be committed to a lease whose recipe has changed, which is no fault
                // of the trainer's.
                if lease.round >= RecipeSince::<T>::get() {
                    T::Bonds::slash(account, T::LapsePenalty::get());
                }
                T::Pool::release(&lease.shards);
            }
        }
        Self::deposit_event(Event::Concluded { account: account.clone(), round, status });
        T::WeightInfo::conclude(shards)
    }

    /// What is kept of a submission that nothing was measured of.
    pub(crate) fn settled(submission: &Submission, outcome: Outcome) -> Settled {
        let Submission { tier, staleness, data_hash, opened, .. } = *submission;
        let (index, payload_hash, tokens) = opened.map_or((0, Hash::default(), 0), |opened| {
            (opened.index, opened.payload_hash, opened.tokens)
        });
        Settled {
            outcome,
            tier,
            staleness,
            index,
            payload_hash,
            data_hash,
            tokens,
            gain: 0,
            error: 0,
        }
    }

    /// Rounds the lease's base is behind the head that `round` trains: none if rounds since were
    /// void.
    pub(crate) fn staleness(lease: &Lease, round: &Round) -> u8 {
        if lease.base_root == round.base_root {
            0
        } else {
            round.number.saturating_sub(lease.round).saturated_into()
        }
    }

    /// Name of this chain, which commitments bind.
    pub(crate) fn genesis_hash() -> Hash {
        // The system pallet prunes old block hashes except this one.
        frame_system::BlockHash::<T>::get(BlockNumberFor::<T>::zero()).into()
    }

    /// Puts a recipe in force, and keeps it for all that will name it.
    pub(crate) fn put_in_force(recipe: &recipe::Recipe) {
        Recipes::<T>::insert(recipe.hash(), recipe);
        Recipe::<T>::put(recipe);
    }

    /// Name of the recipe in force.
    pub(crate) fn recipe_hash() -> Option<Hash> {
        Recipe::<T>::get().map(|recipe| recipe.hash())
    }
}

/// The order in which peers go through accounts.
fn by_account<A: Encode, V>(entries: impl Iterator<Item = (A, V)>) -> Vec<(A, V)> {
    let mut entries: Vec<_> = entries.collect();
    entries.sort_by_cached_key(|(account, _)| account.encode());
    entries
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

    fn escrow() -> RoundNumber {
        AuditSettings::<T>::get().escrow
    }
}

impl<T: Config> DataFormat for Pallet<T> {
    fn shard_tokens_and_tokenizer() -> Option<(u32, Hash)> {
        PendingRecipe::<T>::get()
            .or_else(Recipe::<T>::get)
            .map(|recipe| (recipe.shard_tokens, recipe.tokenizer))
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

    /// A recipe that is or was in force.
    pub fn recipe_by_hash(hash: Hash) -> Option<recipe::Recipe> {
        Recipes::<T>::get(hash)
    }

    /// What the account brings into its next lease: no carry of a model that has been rewritten
    /// since, and none that goes on from an update that was taken out.
    pub fn standing(account: &T::AccountId) -> Standing {
        let mut standing = Standings::<T>::get(account);
        if standing.carry_round <= ModelSince::<T>::get()
            || Self::goes_on_from_taken_out(account, standing.carry_round)
        {
            standing.carry = Hash::default();
        }
        standing
    }

    /// Whether the account's update of `round`, or one that it goes on from, was taken out. Asks
    /// about no more updates than wait to be settled: the last that is settled tells for all before
    /// it.
    fn goes_on_from_taken_out(account: &T::AccountId, mut round: RoundNumber) -> bool {
        while let Some(lease) = AuditedLeases::<T>::get(round, account) {
            if lease.carry == Hash::default() {
                return false;
            }
            round = lease.carry_round;
        }
        History::<T>::get(round, account).is_some_and(|settled| !settled.outcome.stays())
    }

    /// Submissions to `round` that are not settled, by account; at most 64.
    pub fn submissions(round: RoundNumber) -> Vec<(T::AccountId, Submission)> {
        by_account(Submissions::<T>::iter_prefix(round))
    }

    /// Settled submissions to `round`, by account; at most 64.
    pub fn history(round: RoundNumber) -> Vec<(T::AccountId, Settled)> {
        by_account(History::<T>::iter_prefix(round))
    }

    /// The updates that the head of `round` was made of, by account, whatever became of them; none
    /// of a round without one.
    pub fn updates(round: RoundNumber) -> Vec<Update<T::AccountId>> {
        Records::<T>::get(round).map_or_else(Vec::new, |record| {
            Self::updates_of(round, &record.revealed, &record.included)
        })
    }

    /// What is kept of a concluded round.
    pub fn round_record(round: RoundNumber) -> Option<RoundRecord<T::AccountId>> {
        Records::<T>::get(round)
    }

    /// Attestations of the attest phase under way.
    pub fn attestations() -> Vec<Attestation<T::AccountId>> {
        Attestations::<T>::iter_prefix(AttestPhases::<T>::get())
            .map(|(account, attested)| Attestation {
                account,
                root: attested.root,
                included: attested.included,
            })
            .collect()
    }
}
