//! The pallet's accounting, as equations.

use crate::pallet::*;
use alloc::collections::BTreeMap;
use pol_primitives::{
    RoundNumber,
    head::Head,
    round::{Phase, Round},
    submission::Status,
};
use polkadot_sdk::{frame_support::ensure, sp_runtime::TryRuntimeError};

impl<T: Config> Pallet<T> {
    /// Checks that the parts of the storage agree with each other.
    pub fn do_try_state() -> Result<(), TryRuntimeError> {
        let round = CurrentRound::<T>::get();
        Self::check_round(&round)?;
        Self::check_leases(&round)?;
        Self::check_attestations(&round)?;
        Self::check_lineage(&round)
    }

    /// Counters of the round = what they count.
    fn check_round(round: &Round) -> Result<(), TryRuntimeError> {
        let submissions = Self::submissions(round.number);
        let revealed = Revealed::<T>::get();
        ensure!(submissions.len() == round.committed as usize, "committed = submissions of the round");
        ensure!(revealed.len() == round.revealed as usize, "revealed = opened submissions of the round");
        ensure!(round.revealed <= round.committed && round.committed <= round.due, "revealed <= committed <= due");
        for (account, submission) in submissions {
            ensure!(submission.opened.is_some() == (submission.status == Status::Revealed), "opened = revealed");
            if let Some(opened) = submission.opened {
                ensure!(revealed.get(usize::from(opened.index)) == Some(&account), "reveals are in the order of their index");
                ensure!(SeenPayloads::<T>::contains_key(opened.payload_hash), "a revealed payload is a seen one");
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
            ensure!(lease.round <= lease.due_round && lease.round <= round.number, "a lease is of a round that was");
            if lease.due_round >= round.number {
                let count = due.entry(lease.due_round).or_default();
                *count = count.saturating_add(1);
            }
        }
        let mut counted: BTreeMap<_, _> = Due::<T>::iter().collect();
        if round.due > 0 {
            ensure!(counted.insert(round.number, round.due).is_none(), "leases of a round are counted once");
        }
        ensure!(due == counted, "due = leases due, in every round");
        ensure!(due.keys().all(|&r| r <= LastDue::<T>::get().max(round.number)), "no lease is due after the last one");
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
        ensure!(tallies == Tallies::<T>::iter_prefix(phase).collect(), "tallies = sums of attested stakes");
        ensure!(tallies.is_empty() || round.phase == Phase::Attest, "attestations are of an attest phase");
        Ok(())
    }

    /// Every round before this one has a record, and each head follows from the one before it.
    fn check_lineage(round: &Round) -> Result<(), TryRuntimeError> {
        let mut head: Option<Head> = None;
        for number in 0..round.number {
            let record = Records::<T>::get(number).ok_or("every concluded round has a record")?;
            if let Some(made) = record.head {
                let updates = Self::updates(number, &record.revealed, &record.included);
                ensure!(updates.len() == record.included.len() as usize, "everything included was revealed");
                let expected = Head::next(head.as_ref(), number, made.root, made.recipe_hash, &updates);
                ensure!(made == expected, "the lineage continues");
                head = Some(made);
            }
        }
        ensure!(head == CurrentHead::<T>::get(), "the head is the last one recorded");
        ensure!(Records::<T>::iter_keys().all(|number| number < round.number), "only concluded rounds have records");
        Ok(())
    }
}
