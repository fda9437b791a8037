// SPDX-License-Identifier: Apache-2.0

//! Checks of the payloads of a round in the background.

use crate::{
    blocking_blob::BlockingBlob,
    context::{NodeContext, payload_tag},
    error::{Result, RoleError, explain, note_full_disk},
};
use anyhow::anyhow;
use pol_chain::{AccountId, format_account};
use pol_engine::{EngineError, read_payload};
use pol_primitives::{
    Hash, RoundNumber,
    payload::encoded_size,
    recipe::Recipe,
    submission::{RevealRecord, RevealSet},
};
use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};
use tokio::task::JoinSet;

/// Payloads that are fetched and checked at a time.
const CONCURRENT_CHECKS: usize = 16;
/// Longest try to fetch and check a payload. What arrived is kept for the next one.
const CHECK_TIME: Duration = Duration::from_secs(24);
/// Time after the end of a try in which it stores what arrived.
const CHECK_GRACE: Duration = Duration::from_secs(2);
/// Pause after a failed try. Each further failure doubles it, up to sixteen times as long.
const RETRY_PAUSE: Duration = Duration::from_secs(3);

/// Progress with one payload.
#[derive(Clone, Copy, Debug)]
enum Check {
    /// The payload is not here. It is tried from that time on.
    Missing { failures: u32, from: Instant },
    /// A task fetches and checks the payload.
    Running { failures: u32 },
    /// The payload is here; set if it can be aggregated.
    Checked(bool),
}

/// Checks of the payloads of one round, each in a task of its own, so that a peer that does not
/// deliver holds up no other. The tasks end when this value is dropped.
pub(super) struct PayloadChecks {
    context: NodeContext,
    round: RoundNumber,
    checks: BTreeMap<Hash, Check>,
    tasks: JoinSet<(AccountId, Hash, Result<bool>)>,
}

impl PayloadChecks {
    /// Creates checks of `round`, of which no reveal is known yet. They wait for the downloads of
    /// no other role.
    pub(super) fn new(context: &NodeContext, round: RoundNumber) -> Self {
        let context = context.with_own_turns();
        Self { context, round, checks: BTreeMap::new(), tasks: JoinSet::new() }
    }

    /// Notes the checks that are done and starts others. `reports` name the validators that hold
    /// the reveals.
    ///
    /// # Errors
    ///
    /// Fails if this machine is at fault, such as with a damaged store.
    pub(super) fn advance(
        &mut self,
        recipe: &Recipe,
        round: RoundNumber,
        reveals: &[(AccountId, RevealRecord)],
        reports: &[(AccountId, RevealSet)],
    ) -> Result<()> {
        if self.round != round {
            *self = Self::new(&self.context, round);
        }
        while let Some(done) = self.tasks.try_join_next() {
            let (account, payload, checked) = done?;
            self.note(&account, payload, checked)?;
        }
        for (account, reveal) in self.due(reveals) {
            let room = CONCURRENT_CHECKS.saturating_sub(self.tasks.len());
            if room == 0 {
                break;
            }
            self.start(recipe, account, &reveal, reports);
        }
        Ok(())
    }

    /// Returns the reveals whose payloads are here and can be aggregated.
    pub(super) fn held(&self, reveals: &[(AccountId, RevealRecord)]) -> RevealSet {
        let is_held = |reveal: &RevealRecord| {
            matches!(self.checks.get(&reveal.payload_hash), Some(Check::Checked(true)))
        };
        let held = reveals.iter().filter(|(_, reveal)| is_held(reveal));
        RevealSet::from_indices(held.map(|(_, reveal)| reveal.index))
    }

    /// Returns `true` if every payload has been checked, or could not be fetched in one whole try.
    pub(super) fn are_decided(&self, reveals: &[(AccountId, RevealRecord)]) -> bool {
        reveals.iter().all(|(_, reveal)| match self.checks.get(&reveal.payload_hash) {
            Some(Check::Checked(_)) => true,
            Some(Check::Missing { failures, .. } | Check::Running { failures }) => *failures > 0,
            None => false,
        })
    }

    /// Returns the reveals to check now, those with the fewest failures first.
    fn due(&self, reveals: &[(AccountId, RevealRecord)]) -> Vec<(AccountId, RevealRecord)> {
        let now = Instant::now();
        let failures = |reveal: &RevealRecord| match self.checks.get(&reveal.payload_hash) {
            None => Some(0),
            Some(Check::Missing { failures, from }) if *from <= now => Some(*failures),
            Some(_) => None,
        };
        let due = reveals.iter().filter_map(|entry| Some((failures(&entry.1)?, *entry)));
        let mut due: Vec<(u32, (AccountId, RevealRecord))> = due.collect();
        due.sort_by_key(|(failures, _)| *failures);
        due.into_iter().map(|(_, entry)| entry).collect()
    }

    fn start(
        &mut self,
        recipe: &Recipe,
        account: AccountId,
        reveal: &RevealRecord,
        reports: &[(AccountId, RevealSet)],
    ) {
        let failures = match self.checks.get(&reveal.payload_hash) {
            Some(Check::Missing { failures, .. }) => *failures,
            _ => 0,
        };
        self.checks.insert(reveal.payload_hash, Check::Running { failures });
        let first = sources(account, reveal, reports, self.context.swarm.endpoint().id[0]);
        let (context, payload, round) = (self.context.clone(), reveal.payload_hash, self.round);
        let shape = (recipe.compression.top_k, recipe.model.size());
        self.tasks.spawn(async move {
            let check = check(&context, round, shape, payload, &first);
            let checked = tokio::time::timeout(CHECK_TIME + CHECK_GRACE, check).await;
            let late = |_| Err(RoleError::transient(anyhow!("it did not arrive in time")));
            (account, payload, checked.unwrap_or_else(late))
        });
    }

    fn note(&mut self, account: &AccountId, payload: Hash, checked: Result<bool>) -> Result<()> {
        let name = format_account(account);
        let check = match checked {
            Ok(is_sound) => {
                if !is_sound {
                    tracing::warn!("round {}: the payload of {name} is malformed", self.round);
                }
                Check::Checked(is_sound)
            }
            Err(RoleError::Transient(error)) => {
                let failures = match self.checks.get(&payload) {
                    Some(Check::Running { failures }) => failures.saturating_add(1),
                    _ => 1,
                };
                if !note_full_disk(&error) {
                    let reason = explain(&error);
                    tracing::warn!("round {}: no payload of {name} yet: {reason}", self.round);
                }
                let pause = RETRY_PAUSE * (1 << failures.saturating_sub(1).min(4));
                Check::Missing { failures, from: Instant::now() + pause }
            }
            Err(fatal) => return Err(fatal),
        };
        self.checks.insert(payload, check);
        Ok(())
    }
}

/// Returns the accounts to ask for a payload first: its trainer, and then the validators that
/// reported it, beginning at a place that differs from member to member.
fn sources(
    trainer: AccountId,
    reveal: &RevealRecord,
    reports: &[(AccountId, RevealSet)],
    place: u8,
) -> Vec<AccountId> {
    let holders = reports.iter().filter(|(_, held)| held.contains(reveal.index));
    let mut holders: Vec<AccountId> = holders.map(|(account, _)| *account).collect();
    if let Some(start) = usize::from(place).checked_rem(holders.len()) {
        holders.rotate_left(start);
    }
    std::iter::once(trainer).chain(holders).collect()
}

/// Fetches a payload, and returns `true` if it can be aggregated. A part of it is in memory at a
/// time, and no model.
///
/// A payload that can be decoded is of finite values, which are clipped to what honest training
/// reaches. Neither it nor any mean of such payloads makes a parameter infinite.
async fn check(
    context: &NodeContext,
    round: RoundNumber,
    (top_k, values): (u16, u64),
    payload: Hash,
    first: &[AccountId],
) -> Result<bool> {
    let context = context.until(Instant::now() + CHECK_TIME);
    let (max_bytes, tag) = (encoded_size(top_k, values), payload_tag(round));
    context.hold_blob(&payload, max_bytes, first, &tag).await?;
    let read = move || {
        let failed = |source| EngineError::BlobRead { hash: payload, source };
        let blob = BlockingBlob::open(&context.swarm, &payload, max_bytes).map_err(failed)?;
        read_payload(&payload, blob, top_k, values, |_| {})
    };
    match tokio::task::spawn_blocking(read).await? {
        Ok(()) => Ok(true),
        Err(EngineError::Payload { .. }) => Ok(false),
        Err(error) => Err(error.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_trainer_is_asked_before_those_that_reported_its_update() {
        let reveal = RevealRecord {
            index: 2,
            payload_hash: [1; 32],
            trace_root: [2; 32],
            carry_hash: [3; 32],
            steps: 4,
            tokens: 5,
        };
        let held = |indices: &[u8]| RevealSet::from_indices(indices.iter().copied());
        let reports = [([1; 32], held(&[2])), ([2; 32], held(&[1])), ([3; 32], held(&[0, 2]))];
        assert_eq!(sources([9; 32], &reveal, &reports, 0), [[9; 32], [1; 32], [3; 32]]);
        assert_eq!(sources([9; 32], &reveal, &reports, 5), [[9; 32], [3; 32], [1; 32]]);
        assert_eq!(sources([9; 32], &reveal, &[], 5), [[9; 32]]);
    }
}
