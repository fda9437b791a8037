//! The pallet's accounting, as equations.

use crate::pallet::*;
use alloc::collections::{BTreeMap, BTreeSet};
use codec::Encode;
use pol_primitives::{
    Hash, RoundNumber,
    audit::{Excision, Stage},
    head::Head,
    recipe::{Numerics, Recipe as Spec},
    round::{Phase, Round},
    submission::{Outcome, Status},
};
use polkadot_sdk::{frame_support::ensure, sp_runtime::TryRuntimeError};

impl<T: Config> Pallet<T> {
    /// Checks that the parts of the storage agree with each other.
    pub fn do_try_state() -> Result<(), TryRuntimeError> {
        let round = CurrentRound::<T>::get();
        Self::check_round(&round)?;
        Self::check_leases(&round)?;
        Self::check_attestations(&round)?;
        Self::check_lineage(&round)?;
        Self::check_submissions(&round)?;
        Self::check_audits()?;
        Self::check_metrics()?;
        Self::check_excisions()
    }

    /// Counters of the round = what they count.
    fn check_round(round: &Round) -> Result<(), TryRuntimeError> {
        let submissions = Self::submissions(round.number);
        let revealed = Revealed::<T>::get();
        ensure!(
            submissions.len() == round.committed as usize,
            "committed = submissions of the round"
        );
        ensure!(
            revealed.len() == round.revealed as usize,
            "revealed = opened submissions of the round"
        );
        ensure!(
            round.revealed <= round.committed && round.committed <= round.due,
            "revealed <= committed <= due"
        );
        for (account, submission) in submissions {
            ensure!(
                submission.opened.is_some() == (submission.status == Status::Revealed),
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

    /// Leases due in a round = leases counted for it.
    fn check_leases(round: &Round) -> Result<(), TryRuntimeError> {
        let mut due = BTreeMap::<RoundNumber, u32>::new();
        for (account, lease) in Leases::<T>::iter() {
            ensure!(!lease.shards.is_empty(), "a lease holds data");
            ensure!(lease.nonce < Standings::<T>::get(&account).nonce, "a lease was counted");
            ensure!(
                lease.round <= lease.due_round && lease.round <= round.number,
                "a lease is of a round that was"
            );
            ensure!(Recipes::<T>::contains_key(lease.recipe), "the recipe of a lease is kept");
            let is_current = lease.round >= RecipeSince::<T>::get();
            ensure!(
                !is_current || Self::recipe_hash() == Some(lease.recipe),
                "a lease of the recipe's time is of the recipe"
            );
            let (since, fresh) = (ModelSince::<T>::get(), lease.carry == Hash::default());
            ensure!(
                fresh || lease.carry_round > since || lease.round <= since,
                "a lease goes on from a carry of its model"
            );
            if lease.due_round >= round.number {
                let count = due.entry(lease.due_round).or_default();
                *count = count.saturating_add(1);
            }
        }
        let mut counted: BTreeMap<_, _> = Due::<T>::iter().collect();
        if round.due > 0 {
            ensure!(
                counted.insert(round.number, round.due).is_none(),
                "leases of a round are counted once"
            );
        }
        ensure!(due == counted, "due = leases due, in every round");
        ensure!(
            due.keys().all(|&r| r <= LastDue::<T>::get().max(round.number)),
            "no lease is due after the last one"
        );
        Ok(())
    }

    /// Sum of tallies = sum of attested stakes.
    fn check_attestations(round: &Round) -> Result<(), TryRuntimeError> {
        let phase = AttestPhases::<T>::get();
        ensure!(SweptPhases::<T>::get() <= phase, "only past phases are cleared");
        let mut tallies = BTreeMap::new();
        for attested in Attestations::<T>::iter_prefix_values(phase) {
            let tally = tallies.entry(attested.digest()).or_insert(0u128);
            *tally = tally.saturating_add(attested.stake);
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

    /// Every round before this one has a record, and each head follows from the one before it.
    fn check_lineage(round: &Round) -> Result<(), TryRuntimeError> {
        let mut head: Option<Head> = None;
        let (mut since, mut before) = (0, None::<Spec>);
        for number in 0..round.number {
            let record = Records::<T>::get(number).ok_or("every concluded round has a record")?;
            if let Some(made) = record.head {
                let updates = Self::updates(number);
                ensure!(
                    updates.len() == record.included.len() as usize,
                    "everything included was revealed"
                );
                let expected = Head::next(
                    head.as_ref(),
                    number,
                    made.root,
                    made.recipe_hash,
                    &updates,
                    &record.excised,
                );
                ensure!(made == expected, "the lineage continues");
                let recipe =
                    Recipes::<T>::get(made.recipe_hash).ok_or("the recipe of a head is kept")?;
                let is_first = Self::rewrites(before.as_ref(), &recipe)?;
                ensure!(
                    updates.is_empty() == is_first,
                    "a head is trained, or the first of its architecture"
                );
                ensure!(
                    !is_first || record.excised.is_empty(),
                    "the first head of an architecture takes nothing out"
                );
                since = if is_first { number } else { since };
                before = Some(recipe);
                head = Some(made);
            } else {
                ensure!(
                    record.included.is_empty() && record.excised.is_empty(),
                    "a void round changes nothing"
                );
            }
        }
        ensure!(head == CurrentHead::<T>::get(), "the head is the last one recorded");
        ensure!(
            Records::<T>::iter_keys().all(|number| number < round.number),
            "only concluded rounds have records"
        );
        ensure!(
            Self::recipe_hash().is_none_or(Recipes::<T>::contains_key),
            "the recipe in force is kept"
        );
        ensure!(
            since == ModelSince::<T>::get(),
            "the model has been of its architecture since the last rewrite"
        );
        if let Some(recipe) = Recipe::<T>::get() {
            let rewrites = Self::rewrites(before.as_ref(), &recipe)?;
            let fits = round.phase == Phase::Idle || round.attests_only() == rewrites;
            ensure!(fits, "a round trains, or makes the first model of an architecture");
        }
        if let Some(pending) = PendingRecipe::<T>::get() {
            Self::rewrites(before.as_ref(), &pending)?;
        }
        ensure!(
            RecipeSince::<T>::get() <= round.number,
            "the recipe in force is of a round that was"
        );
        Ok(())
    }

    /// Whether a head of `recipe` is the first of its architecture: the model's first, or one that
    /// rewrites the one of `before`.
    fn rewrites(before: Option<&Spec>, recipe: &Spec) -> Result<bool, TryRuntimeError> {
        let rewrite = before.map(|before| recipe.rewrite_from(before)).transpose();
        Ok(rewrite
            .map_err(|_| "a recipe goes on from the model of the head")?
            .is_none_or(|rewrite| rewrite.is_some()))
    }

    /// Submissions of past rounds = those whose lease is not concluded + those that wait for a draw
    /// or a settlement, and the latter are the included ones.
    fn check_submissions(round: &Round) -> Result<(), TryRuntimeError> {
        let mut unsettled = BTreeSet::new();
        for (number, account, submission) in Submissions::<T>::iter() {
            ensure!(
                number <= round.number && !History::<T>::contains_key(number, &account),
                "settled once, or not yet"
            );
            let included = submission.status == Status::Included;
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
                "what is audited is included"
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
        let undrawn = Undrawn::<T>::get()
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
        for update in undrawn.chain(cases) {
            ensure!(unsettled.remove(&update), "an update waits in one place");
        }
        ensure!(unsettled.is_empty(), "every included update waits for a draw or a settlement");
        Ok(())
    }

    /// Audits hold what their cases still need, and nothing else is left of any.
    fn check_audits() -> Result<(), TryRuntimeError> {
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
                let shown = Shown::<T>::get(id, &case.trainer);
                ensure!(
                    shown.is_some() == (case.served && !case.settled),
                    "shown = served and not settled"
                );
                let Some(shown) = shown else { continue };
                ensure!(
                    shown.states.len() == case.served_leaves().len(),
                    "all states asked for are shown"
                );
                let ends = if case.opened { case.segments.len() } else { 0 };
                ensure!(shown.ends.len() == ends, "all ends drawn are opened");
                let lease =
                    Self::audited_lease(audit.round, &case.trainer).ok_or("a case has a lease")?;
                let recipe =
                    Recipes::<T>::get(lease.recipe).ok_or("the recipe of a case is kept")?;
                let sketched = if recipe.numerics == Numerics::Exact { 0 } else { ends };
                ensure!(
                    shown.sketched.len() == sketched,
                    "ends are sketched where the recipe is native"
                );
                let named = shown
                    .sketched
                    .iter()
                    .zip(&shown.ends)
                    .all(|(end, leaf)| end.state.digest() == *leaf);
                ensure!(named, "an opened state is its leaf's");
            }
        }
        for (id, account) in Shown::<T>::iter_keys() {
            let audit = Audits::<T>::get(id).ok_or("states are shown in open audits")?;
            ensure!(audit.case(&account).is_some(), "states are shown by trainers of cases");
        }
        for (id, account) in Commits::<T>::iter_keys() {
            let audit = Audits::<T>::get(id).ok_or("commitments are in open audits")?;
            let holder =
                audit.holder(&account).and_then(|place| audit.holders.get(usize::from(place)));
            ensure!(
                holder.is_some_and(|holder| holder.committed && !holder.revealed),
                "commitments are of those yet to reveal"
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
        Ok(())
    }

    /// Updates that did not stay = those taken out + those that wait for it.
    fn check_excisions() -> Result<(), TryRuntimeError> {
        let mut out = BTreeSet::new();
        for (round, account, settled) in History::<T>::iter() {
            let record = Records::<T>::get(round)
                .ok_or("only submissions of concluded rounds are settled")?;
            let included =
                record.included.contains(settled.index) && settled.outcome != Outcome::NoShow;
            ensure!(
                included != matches!(settled.outcome, Outcome::NoShow | Outcome::Excluded),
                "what was included is audited"
            );
            if included {
                ensure!(
                    record.revealed.get(usize::from(settled.index)) == Some(&account),
                    "the index is the one revealed"
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
        for excision in done.chain(waiting.iter().map(|(excision, _)| *excision)) {
            ensure!(out.remove(&excision), "what is taken out did not stay, and is taken out once");
        }
        ensure!(out.is_empty(), "what did not stay is taken out, or waits for it");
        Ok(())
    }
}
