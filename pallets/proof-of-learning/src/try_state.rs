// SPDX-License-Identifier: Apache-2.0

//! Invariants of the pallet's storage.

use crate::pallet::*;
use alloc::{
    collections::{BTreeMap, BTreeSet},
    vec::Vec,
};
use codec::Encode;
use pol_primitives::{
    Hash, MILLION, RoundNumber,
    audit::{Audit, AuditId, AuditResponse, Case, Stage},
    head::{Excision, Head, RoundRecord},
    recipe::{Numerics, Recipe as Spec},
    round::{Phase, Round},
    submission::{Outcome, SubmissionStatus},
};
use polkadot_sdk::{
    frame_support::{ensure, traits::Get},
    frame_system::{self, pallet_prelude::BlockNumberFor},
    sp_runtime::TryRuntimeError,
};

/// Result of a check; the error names the violated invariant.
type Check = Result<(), TryRuntimeError>;

impl<T: Config> Pallet<T> {
    /// Checks that the parts of the storage agree with each other.
    ///
    /// # Errors
    ///
    /// If an invariant is violated. The error names it.
    pub fn do_try_state() -> Check {
        let round = CurrentRound::<T>::get();
        Self::check_round(&round)?;
        Self::check_leases(&round)?;
        Self::check_count(&round)?;
        Self::check_attestations(&round)?;
        Self::check_lineage(&round)?;
        Self::check_submissions(&round)?;
        Self::check_audits()?;
        Self::check_metrics()?;
        Self::check_clock()?;
        Self::check_excisions()
    }
}

// ---- The round under way ----

impl<T: Config> Pallet<T> {
    /// Counters of the round = entries that they count.
    fn check_round(round: &Round) -> Check {
        let submissions = Self::submissions(round.number);
        let revealed = Revealed::<T>::get();
        ensure!(
            submissions.len() == round.committed as usize,
            "committed = submissions of the round"
        );
        ensure!(
            revealed.len() == round.revealed as usize,
            "revealed = revealed submissions of the round"
        );
        ensure!(
            round.revealed <= round.committed && round.committed <= round.due,
            "revealed <= committed <= due"
        );
        for (account, submission) in submissions {
            ensure!(
                submission.opened.is_some() == (submission.status == SubmissionStatus::Revealed),
                "opened = revealed"
            );
            if let Some(opened) = submission.opened {
                ensure!(
                    revealed.get(usize::from(opened.index)) == Some(&account),
                    "reveals are in the order of their index"
                );
                ensure!(
                    SeenPayloads::<T>::contains_key(opened.payload_hash),
                    "a revealed payload is a seen one"
                );
            }
        }
        Ok(())
    }

    /// Time is at most the height, and the clock has not stood still for too long.
    fn check_clock() -> Check {
        let (clock, height) =
            (ProtocolClock::<T>::get(), frame_system::Pallet::<T>::block_number());
        ensure!(BlockNumberFor::<T>::from(clock.now) <= height, "time <= height");
        ensure!(clock.standstill <= T::MaxStandstill::get(), "a standstill ends");
        Ok(())
    }

    /// Leases due in a round = leases counted for it. Those of an earlier recipe are due in none.
    fn check_leases(round: &Round) -> Check {
        let mut due = BTreeMap::<RoundNumber, u32>::new();
        let mut taken = BTreeSet::new();
        for (account, lease) in Leases::<T>::iter() {
            if lease.round == round.number {
                taken.insert((account.encode(), lease.due_round));
            }
            ensure!(!lease.shards.is_empty(), "a lease holds data");
            ensure!(lease.nonce < Standings::<T>::get(&account).nonce, "a lease was counted");
            ensure!(
                lease.round <= lease.due_round && lease.round <= round.number,
                "a lease is of this round or an earlier one"
            );
            ensure!(Recipes::<T>::contains_key(lease.recipe), "the recipe of a lease is kept");
            let is_current = lease.round >= RecipeSince::<T>::get();
            ensure!(
                !is_current || Self::recipe_hash() == Some(lease.recipe),
                "a lease given under the recipe in force is of that recipe"
            );
            let (since, fresh) = (ModelSince::<T>::get(), lease.carry == Hash::default());
            ensure!(
                fresh || lease.carry_round > since || lease.round <= since,
                "a lease continues from a carry of its model"
            );
            if lease.due_round >= round.number && is_current {
                let count = due.entry(lease.due_round).or_default();
                *count = count.saturating_add(1);
            }
        }
        let places = TakenPlaces::<T>::get();
        let places = places.taken().iter().map(|place| (place.account.encode(), place.due_round));
        ensure!(places.clone().count() == taken.len(), "an account has one place");
        ensure!(places.collect::<BTreeSet<_>>() == taken, "places = leases of the round");
        let mut counted: BTreeMap<_, _> = DueLeases::<T>::iter().collect();
        if round.due > 0 {
            ensure!(
                counted.insert(round.number, round.due).is_none(),
                "leases of a round are counted once"
            );
        }
        ensure!(due == counted, "due = leases due, in every round");
        ensure!(
            due.keys().all(|&r| r <= LastDueRound::<T>::get().max(round.number)),
            "no lease is due after the last one"
        );
        Ok(())
    }

    /// Tallies = sums of attested stakes.
    fn check_attestations(round: &Round) -> Check {
        let (swept, phase) = (SweptPhases::<T>::get(), AttestPhases::<T>::get());
        ensure!(swept <= phase, "only past phases are cleared");
        let is_past = |phase_: u32| (swept..phase).contains(&phase_);
        ensure!(AdoptedRoots::<T>::iter_keys().all(is_past), "heads are kept of uncleared phases");
        let count = CurrentCount::<T>::get();
        let mut tallies = BTreeMap::new();
        for (account, attestation) in Attestations::<T>::iter_prefix(phase) {
            let voter = count.voters().iter().find(|voter| voter.account == account);
            ensure!(
                voter.is_some_and(|voter| voter.counts && voter.stake == attestation.stake),
                "attested stakes are counted ones"
            );
            let tally = tallies.entry(attestation.root).or_insert(0u128);
            *tally = tally.saturating_add(attestation.stake);
        }
        ensure!(
            tallies == Tallies::<T>::iter_prefix(phase).collect(),
            "tallies = sums of attested stakes"
        );
        ensure!(
            tallies.is_empty() || round.phase == Phase::Attest,
            "attestations are of an attest phase"
        );
        Ok(())
    }

    /// A count is under way in the phases hold and attest only, and the round agrees with it.
    fn check_count(round: &Round) -> Check {
        let counts = matches!(round.phase, Phase::Hold | Phase::Attest);
        ensure!(CurrentCount::<T>::exists() == counts, "stakes are counted to hold and attest");
        let count = CurrentCount::<T>::get();
        ensure!(round.stake == count.whole(), "stake = stakes that count");
        let (revealed, phase) = (round.revealed, round.phase);
        let decided = phase != Phase::Hold || round.decided == count.is_decided(revealed);
        ensure!(decided, "decided = reports that decide");
        let reported = count.voters().iter().filter_map(|voter| voter.held.as_ref());
        ensure!(
            reported.chain([&round.included]).all(|set| set.is_canonical(revealed)),
            "only reveals are held and included"
        );
        let computes = phase == Phase::Attest && !round.attests_only();
        ensure!(round.included.is_empty() != computes, "a head that is trained includes something");
        ensure!(
            !computes || round.included == count.included(revealed, round.attempt),
            "included = held by enough of the stake"
        );
        Ok(())
    }
}

// ---- History ----

impl<T: Config> Pallet<T> {
    /// Returns the first concluded round whose record is there.
    fn first_record(number: RoundNumber) -> RoundNumber {
        let first = FirstKept::<T>::get();
        let is_old = first.saturating_add(T::KeptRounds::get()) < number;
        // The record goes first, then the submissions.
        let is_leaving = is_old && !Records::<T>::contains_key(first);
        first.saturating_add(is_leaving.into())
    }

    /// Every kept round before this one has a record, and each head follows from the one before it.
    fn check_lineage(round: &Round) -> Check {
        let mut head: Option<Head> = None;
        let (mut since, mut before) = (0, None::<Spec>);
        let first = Self::first_record(round.number);
        for number in first..round.number {
            let record = Records::<T>::get(number).ok_or("every kept round has a record")?;
            let Some(made) = record.head else {
                ensure!(
                    record.included.is_empty() && record.excised.is_empty(),
                    "a void round changes nothing"
                );
                continue;
            };
            let recipe =
                Recipes::<T>::get(made.recipe_hash).ok_or("the recipe of a head is kept")?;
            if first > 0 && head.is_none() {
                // The one before it is not kept.
                since = ModelSince::<T>::get();
            } else {
                let is_first = Self::is_first_model(before.as_ref(), &recipe)?;
                Self::check_head(number, &record, &made, head.as_ref(), is_first)?;
                since = if is_first { number } else { since };
            }
            before = Some(recipe);
            head = Some(made);
        }
        ensure!(head == CurrentHead::<T>::get(), "the head is the last one recorded");
        ensure!(
            Records::<T>::iter_keys().all(|number| (first..round.number).contains(&number)),
            "only kept rounds have records"
        );
        ensure!(
            since == ModelSince::<T>::get(),
            "the model has had its architecture since the last rewrite"
        );
        Self::check_recipes(round, before.as_ref())
    }

    /// The head `made` by round `number` follows from the one before it.
    fn check_head(
        number: RoundNumber,
        record: &RoundRecord<T::AccountId>,
        made: &Head,
        before: Option<&Head>,
        is_first: bool,
    ) -> Check {
        let updates = Self::updates(number);
        ensure!(
            updates.len() == record.included.len() as usize,
            "everything included was revealed"
        );
        let (root, recipe) = (made.root, made.recipe_hash);
        let expected = Head::next(before, number, root, recipe, &updates, &record.excised);
        ensure!(*made == expected, "the lineage continues");
        ensure!(
            updates.is_empty() == is_first,
            "a head is trained, or the first of its architecture"
        );
        ensure!(
            !is_first || record.excised.is_empty(),
            "the first head of an architecture takes nothing out"
        );
        Ok(())
    }

    /// The recipe in force and the pending one continue from the model of `before`, the last head's
    /// recipe.
    fn check_recipes(round: &Round, before: Option<&Spec>) -> Check {
        ensure!(
            Self::recipe_hash().is_none_or(Recipes::<T>::contains_key),
            "the recipe in force is kept"
        );
        if let Some(recipe) = Recipe::<T>::get() {
            let is_first = Self::is_first_model(before, &recipe)?;
            let fits = round.phase == Phase::Idle || round.attests_only() == is_first;
            ensure!(fits, "a round trains, or makes the first model of an architecture");
        }
        if let Some(pending) = PendingRecipe::<T>::get() {
            Self::is_first_model(before, &pending)?;
        }
        ensure!(
            RecipeSince::<T>::get() <= round.number,
            "the recipe in force is of this round or an earlier one"
        );
        Ok(())
    }

    /// Returns `true` if a head of `recipe` is the first of its architecture: the first of all, or
    /// one that rewrites the model of `before`.
    fn is_first_model(before: Option<&Spec>, recipe: &Spec) -> Result<bool, TryRuntimeError> {
        let rewrite = before.map(|before| recipe.rewrite_from(before)).transpose();
        Ok(rewrite
            .map_err(|_| "a recipe continues from the model of the head")?
            .is_none_or(|rewrite| rewrite.is_some()))
    }

    /// Submissions of past rounds = those whose lease is not concluded + those that wait for a draw
    /// or a settlement, which are the included ones.
    fn check_submissions(round: &Round) -> Check {
        let mut unsettled = BTreeSet::new();
        for (number, account, submission) in Submissions::<T>::iter() {
            ensure!(
                number <= round.number && !History::<T>::contains_key(number, &account),
                "settled once, or not yet"
            );
            let included = submission.status == SubmissionStatus::Included;
            let opened = submission.opened.filter(|_| number < round.number);
            let record = Records::<T>::get(number);
            let is_in = opened.is_some_and(|opened| {
                record.is_some_and(|record| record.included.contains(opened.index))
            });
            ensure!(included == is_in, "included = part of the record");
            let lease = Self::audited_lease(number, &account).ok_or("a submission has a lease")?;
            ensure!(
                lease.due_round == number && lease.data_hash() == submission.data_hash,
                "a submission has its lease"
            );
            ensure!(
                included || !AuditedLeases::<T>::contains_key(number, &account),
                "only included updates are audited"
            );
            if included {
                ensure!(
                    unsettled.insert((number, account.encode())),
                    "one submission a round and account"
                );
            }
        }
        let leases = AuditedLeases::<T>::iter_keys()
            .all(|(number, account)| unsettled.contains(&(number, account.encode())));
        ensure!(leases, "a lease is kept until its update is settled");
        for update in Self::waiting_updates() {
            ensure!(unsettled.remove(&update), "an update waits in one place");
        }
        ensure!(unsettled.is_empty(), "every included update waits for a draw or a settlement");
        Ok(())
    }

    /// Returns the updates that wait for a draw or a settlement, by round and encoded account.
    fn waiting_updates() -> Vec<(RoundNumber, Vec<u8>)> {
        let undrawn = UndrawnUpdates::<T>::get()
            .into_iter()
            .map(|(update, _)| (update.round, update.trainer.encode()));
        let cases = Audits::<T>::iter_values().flat_map(|audit| {
            let round = audit.round;
            audit
                .cases
                .into_iter()
                .filter(|case| !case.settled)
                .map(move |case| (round, case.trainer.encode()))
        });
        undrawn.chain(cases).collect()
    }
}

// ---- Audits ----

impl<T: Config> Pallet<T> {
    /// Audits hold what their unsettled cases need, and storage holds nothing for any other.
    fn check_audits() -> Check {
        ensure!(
            !SealedMixture::<T>::exists() || UndrawnUpdates::<T>::exists(),
            "a mixture is sealed for updates that wait"
        );
        let waiting: BTreeSet<_> = UndrawnUpdates::<T>::get()
            .iter()
            .map(|(update, _)| (update.round, update.draw))
            .collect();
        let held: BTreeSet<_> = SeatStakes::<T>::iter_keys().collect();
        ensure!(waiting == held, "stakes are held for the draws that updates wait for");
        ensure!(
            Audits::<T>::count() as usize == Audits::<T>::iter_keys().count(),
            "audits are counted"
        );
        for (id, audit) in Audits::<T>::iter() {
            ensure!(id < NextAudit::<T>::get(), "audits were numbered");
            ensure!(
                audit.cases.iter().any(|case| !case.settled),
                "an audit has something to settle"
            );
            ensure!(
                audit.stage == Stage::Settle || audit.cases.iter().all(|case| !case.settled),
                "settling comes last"
            );
            for case in audit.cases.iter() {
                Self::check_case(id, &audit, case)?;
            }
        }
        Self::check_audit_entries()
    }

    /// The trainer's response is stored as far as the case has come.
    fn check_case(id: AuditId, audit: &Audit<T::AccountId>, case: &Case<T::AccountId>) -> Check {
        let shown: Option<AuditResponse> = AuditResponses::<T>::get(id, &case.trainer);
        ensure!(
            shown.is_some() == (case.served && !case.settled),
            "shown = served and not settled"
        );
        let Some(shown) = shown else { return Ok(()) };
        ensure!(shown.states.len() == case.served_leaves().len(), "all states asked for are shown");
        let ends = if case.opened { case.segments.len() } else { 0 };
        ensure!(shown.ends.len() == ends, "all ends drawn are opened");
        let lease = Self::audited_lease(audit.round, &case.trainer).ok_or("a case has a lease")?;
        let recipe = Recipes::<T>::get(lease.recipe).ok_or("the recipe of a case is kept")?;
        let sketched = if recipe.numerics == Numerics::Exact { 0 } else { ends };
        ensure!(shown.sketched.len() == sketched, "ends are sketched if the recipe is native");
        let matches =
            shown.sketched.iter().zip(&shown.ends).all(|(end, leaf)| end.state.digest() == *leaf);
        ensure!(matches, "an opened state is its leaf's");
        Ok(())
    }

    /// Responses, commitments and findings are of open audits, and tallies of rounds with something
    /// to decide.
    fn check_audit_entries() -> Check {
        for (id, account) in AuditResponses::<T>::iter_keys() {
            let audit = Audits::<T>::get(id).ok_or("states are shown in open audits")?;
            ensure!(audit.case(&account).is_some(), "states are shown by trainers of cases");
        }
        for (id, account) in AuditCommitments::<T>::iter_keys() {
            let audit = Audits::<T>::get(id).ok_or("commitments are in open audits")?;
            let holder =
                audit.holder(&account).and_then(|place| audit.holders.get(usize::from(place)));
            ensure!(
                holder.is_some_and(|holder| holder.committed && !holder.revealed),
                "commitments are of holders that have not revealed"
            );
        }
        for (id, (case, place)) in Findings::<T>::iter_keys() {
            let audit = Audits::<T>::get(id).ok_or("findings are in open audits")?;
            let case = audit.cases.get(usize::from(case)).ok_or("findings are about cases")?;
            ensure!(
                case.served && !case.settled && case.seats.contains(&place),
                "findings are of seats on open cases"
            );
            ensure!(
                audit.holders.get(usize::from(place)).is_some_and(|holder| holder.revealed),
                "findings were revealed"
            );
        }
        let open: Vec<_> = Audits::<T>::iter_values().collect();
        let undrawn = UndrawnUpdates::<T>::get();
        for (round, account) in SeatTallies::<T>::iter_keys() {
            let awaits = open.iter().any(|audit| audit.round == round && audit.awaits(&account))
                || undrawn.iter().any(|(update, _)| update.awaits(round, &account));
            ensure!(awaits, "tallied seats wait for a decision");
        }
        Ok(())
    }
}

// ---- Metrics and excisions ----

impl<T: Config> Pallet<T> {
    /// Reports are on the head, one of each validator, and wait for a quorum; only heads are
    /// measured.
    fn check_metrics() -> Check {
        let (reports, head) = (HeadReports::<T>::get(), CurrentHead::<T>::get());
        ensure!(reports.iter().all(|report| report.metrics.is_valid()), "shares are at most one");
        let accounts: BTreeSet<_> = reports.iter().map(|report| report.account.encode()).collect();
        ensure!(accounts.len() == reports.len(), "one report of each validator");
        let seeded = ProbeSeed::<T>::get().map(|(round, _)| round);
        ensure!(
            seeded.is_none_or(|seeded| head.is_some_and(|head| seeded <= head.round)),
            "probes are drawn for heads"
        );
        if !reports.is_empty() {
            let round = seeded.filter(|&seeded| head.is_some_and(|head| head.round == seeded));
            let round = round.ok_or("reports are on the head, whose probes are drawn")?;
            ensure!(
                !HeadMetrics::<T>::contains_key(round),
                "a head is reported on until it is measured"
            );
        }
        for (round, measured) in HeadMetrics::<T>::iter() {
            ensure!(
                measured.metrics.is_valid() && measured.share <= MILLION,
                "shares are at most one"
            );
            let made = Records::<T>::get(round).is_some_and(|record| record.head.is_some());
            ensure!(made, "only heads are measured");
        }
        Ok(())
    }

    /// Updates of kept rounds that did not stay = those taken out + those that wait for it.
    fn check_excisions() -> Check {
        let mut out = BTreeSet::new();
        let first = Self::first_record(CurrentRound::<T>::get().number);
        for (round, account, settled) in History::<T>::iter() {
            ensure!(round >= FirstKept::<T>::get(), "only submissions of kept rounds have records");
            if round < first {
                continue;
            }
            let record = Records::<T>::get(round)
                .ok_or("only submissions of concluded rounds are settled")?;
            let included =
                record.included.contains(settled.index) && settled.outcome != Outcome::NoShow;
            ensure!(
                included != matches!(settled.outcome, Outcome::NoShow | Outcome::Excluded),
                "included updates are audited"
            );
            if included {
                ensure!(
                    record.revealed.get(usize::from(settled.index)) == Some(&account),
                    "the index is that of the reveal"
                );
                if !settled.outcome.stays() {
                    out.insert(Excision { round, index: settled.index });
                }
            }
        }
        let waiting = Excisions::<T>::get();
        ensure!(
            waiting.is_sorted_by_key(|(_, settled_at)| *settled_at),
            "excisions wait in the order of their settlement"
        );
        let done = Records::<T>::iter_values().flat_map(|record| record.excised);
        let all = done.chain(waiting.iter().map(|(excision, _)| *excision));
        for excision in all.filter(|excision| excision.round >= first) {
            ensure!(
                out.remove(&excision),
                "only updates that did not stay are taken out, each once"
            );
        }
        ensure!(out.is_empty(), "every update that did not stay is taken out, or waits for it");
        Ok(())
    }
}
