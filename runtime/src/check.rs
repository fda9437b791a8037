// SPDX-License-Identifier: Apache-2.0

//! Checks of a state: the invariants of every pallet, and those between pallets.
//!
//! They read every storage entry, so they are for nodes and tests, not for the chain.

#![warn(missing_docs)]

use crate::*;
use alloc::{
    collections::{BTreeMap, BTreeSet},
    format,
    string::String,
};
use frame_support::traits::Get;
use pol_primitives::{
    RoundNumber,
    data::ManifestId,
    head::Head,
    rewards::Ledger,
    round::Phase,
    submission::{SubmissionRecord, SubmissionStatus},
};
use sp_runtime::TryRuntimeError;

/// Key figures of a consistent state.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StateSummary {
    /// Height of the block.
    pub block: BlockNumber,
    /// Number of the current round.
    pub round: RoundNumber,
    /// Phase of the current round.
    pub phase: Phase,
    /// Head, the current global model; none before round zero is attested.
    pub head: Option<Head>,
    /// Number of leased shards.
    pub leased: u32,
    /// Number of open audits.
    pub audits: u32,
    /// Total issuance.
    pub issuance: Balance,
    /// Sum of all bonds and deposits.
    pub held: Balance,
    /// Totals of all rewards.
    pub books: Ledger,
}

/// Error of a state that is not consistent or cannot be checked.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StateError {
    /// Another runtime version wrote the state, and its storage layout may differ.
    #[error(
        "the state has runtime version {0}, but this binary checks version {own}: use the binary \
         of version {0}",
        own = VERSION.spec_version
    )]
    VersionMismatch(u32),
    /// An invariant does not hold.
    #[error("the state does not add up ({part}): {equation}")]
    BrokenEquation {
        /// Pallets that the invariant is about.
        part: &'static str,
        /// Expected equation, with the values found.
        equation: String,
    },
}

type Check = fn() -> Result<(), String>;

/// Checks the state in the current externalities.
///
/// # Errors
///
/// Fails with the first invariant that does not hold, or if another runtime version wrote the
/// state.
pub fn check_state() -> Result<StateSummary, StateError> {
    let version = System::last_runtime_upgrade_spec_version();
    if version != VERSION.spec_version {
        return Err(StateError::VersionMismatch(version));
    }
    let of_pallet =
        |tried: Result<(), TryRuntimeError>| tried.map_err(|error| <&str>::from(error).into());
    let pallets = [
        ("PolStaking", of_pallet(PolStaking::do_try_state())),
        ("Lineage", of_pallet(Lineage::do_try_state())),
        ("Rewards", of_pallet(Rewards::do_try_state())),
        ("ProofOfLearning", of_pallet(ProofOfLearning::do_try_state())),
        ("Beacon", of_pallet(Beacon::do_try_state())),
    ];
    let between: [(&str, Check); 10] = [
        ("PolStaking and Session", check_authorities),
        ("Council and Session", check_council),
        ("Balances", check_issuance),
        ("Balances, PolStaking and Lineage", check_holds),
        ("Lineage and ProofOfLearning", check_leases),
        ("Lineage and ProofOfLearning", check_consumption),
        ("Rewards and ProofOfLearning", check_settlements),
        ("PolStaking and ProofOfLearning", check_locks),
        ("PolStaking and ProofOfLearning", check_standings),
        ("Beacon and ProofOfLearning", check_pulse),
    ];
    let checks =
        pallets.into_iter().chain(between.into_iter().map(|(part, check)| (part, check())));
    for (part, checked) in checks {
        checked.map_err(|equation| StateError::BrokenEquation { part, equation })?;
    }
    let pol_primitives::queries::Overview { height, round, head, .. } = ProofOfLearning::overview();
    Ok(StateSummary {
        block: height,
        round: round.number,
        phase: round.phase,
        head,
        leased: pallet_pol_lineage::Manifests::<Runtime>::iter_values()
            .map(|manifest| manifest.leased)
            .sum(),
        audits: pallet_proof_of_learning::Audits::<Runtime>::count(),
        issuance: Balances::total_issuance(),
        held: bonds().saturating_add(deposits()),
        books: Rewards::ledger(),
    })
}

fn sum(amounts: impl Iterator<Item = Balance>) -> Balance {
    amounts.fold(0, Balance::saturating_add)
}

fn ensure(holds: bool, equation: impl FnOnce() -> String) -> Result<(), String> {
    if holds { Ok(()) } else { Err(equation()) }
}

/// Checks that the accounts own the total issuance, and that each reserves its holds.
fn check_issuance() -> Result<(), String> {
    let owned = sum(frame_system::Account::<Runtime>::iter_values()
        .map(|info| info.data.free.saturating_add(info.data.reserved)));
    let issued = Balances::total_issuance();
    ensure(owned == issued, || {
        format!("balances of all accounts ({owned}) = total issuance ({issued})")
    })?;
    for (account, holds) in pallet_balances::Holds::<Runtime>::iter() {
        let (held, reserved) =
            (sum(holds.iter().map(|hold| hold.amount)), Balances::reserved_balance(&account));
        ensure(held <= reserved, || {
            format!("of {account}: on hold ({held}) <= reserved ({reserved})")
        })?;
    }
    Ok(())
}

/// Checks that the council is the set of authorities that was elected last.
fn check_council() -> Result<(), String> {
    let members = pallet_collective::Members::<Runtime, configs::AuthorityCouncil>::get();
    let queued = pallet_session::QueuedKeys::<Runtime>::get();
    let elected: BTreeSet<_> = queued.into_iter().map(|(account, _)| account).collect();
    ensure(elected.iter().eq(&members), || {
        format!("members of the council ({members:?}) = elected authorities ({elected:?})")
    })
}

/// Checks that somebody produces blocks and somebody finalises them.
fn check_authorities() -> Result<(), String> {
    let sets = [
        ("Session", Session::validators().len()),
        ("Babe", Babe::authorities().len()),
        ("Grandpa", Grandpa::grandpa_authorities().len()),
    ];
    sets.into_iter().try_for_each(|(pallet, authorities)| {
        ensure(authorities > 0, || format!("authorities of {pallet} (0) > 0"))
    })
}

/// Returns the sum of all bonds in the staking pallet.
fn bonds() -> Balance {
    sum(pallet_pol_staking::Ledgers::<Runtime>::iter_values().map(|ledger| ledger.bond))
}

/// Returns the sum of all deposits in the lineage pallet.
fn deposits() -> Balance {
    let manifests = pallet_pol_lineage::ManifestDeposits::<Runtime>::iter_values();
    sum(manifests.chain(pallet_pol_lineage::SourceDeposits::<Runtime>::iter_values()))
}

/// Checks that the holds of each reason add up to the bonds and deposits of its pallet.
fn check_holds() -> Result<(), String> {
    let reasons: [(RuntimeHoldReason, Balance); 2] = [
        (pallet_pol_staking::HoldReason::Bond.into(), bonds()),
        (pallet_pol_lineage::HoldReason::Deposit.into(), deposits()),
    ];
    for (reason, stated) in reasons {
        let holds = pallet_balances::Holds::<Runtime>::iter_values()
            .flatten()
            .filter(|hold| hold.id == reason);
        let held = sum(holds.map(|hold| hold.amount));
        ensure(held == stated, || {
            format!("on hold for {reason:?} ({held}) = recorded by its pallet ({stated})")
        })?;
    }
    Ok(())
}

/// Checks that the shards in leases, each in one lease only, are the leased shards of the pool.
fn check_leases() -> Result<(), String> {
    use pallet_proof_of_learning::{AuditedLeases, Leases};
    let mut seen = BTreeSet::new();
    let mut held: BTreeMap<ManifestId, u32> = BTreeMap::new();
    for shard in Leases::<Runtime>::iter_values()
        .chain(AuditedLeases::<Runtime>::iter_values())
        .flat_map(|lease| lease.shards)
    {
        ensure(seen.insert((shard.manifest, shard.index)), || {
            format!("{shard:?} is in one lease only")
        })?;
        let count = held.entry(shard.manifest).or_default();
        *count = count.saturating_add(1);
    }
    for (id, manifest) in pallet_pol_lineage::Manifests::<Runtime>::iter() {
        let (held, leased) = (held.remove(&id).unwrap_or(0), manifest.leased);
        ensure(held == leased, || {
            format!("shards of manifest {id} in leases ({held}) = leased from the pool ({leased})")
        })?;
    }
    ensure(held.is_empty(), || {
        format!("leases hold shards of registered manifests only, not of {:?}", held.keys())
    })
}

/// Checks that every consumed shard belongs to an update that is still part of the model, as far as
/// the records of its round are kept.
fn check_consumption() -> Result<(), String> {
    // The record of the first round may be gone, too.
    let first = pallet_proof_of_learning::FirstKept::<Runtime>::get();
    let is_kept = |round| round > first || ProofOfLearning::round_record(round).is_some();
    let mut updates = BTreeSet::new();
    for records in pallet_pol_lineage::ConsumedShards::<Runtime>::iter_values() {
        updates.extend(
            records
                .places()
                .filter_map(|place| records.get(place))
                .map(|record| (record.round, record.index)),
        );
    }
    for (round, index) in updates.into_iter().filter(|(round, _)| is_kept(*round)) {
        let trainer = ProofOfLearning::round_record(round)
            .and_then(|record| record.revealed.get(usize::from(index)).cloned());
        let settled = trainer
            .and_then(|trainer| pallet_proof_of_learning::History::<Runtime>::get(round, trainer));
        let stays = settled.is_some_and(|SubmissionRecord { outcome, .. }| outcome.stays());
        ensure(stays, || {
            format!("update {index} of round {round} is part of the model, like its shards")
        })?;
    }
    Ok(())
}

/// Checks that the rewards of each round wait for exactly its unsettled updates.
fn check_settlements() -> Result<(), String> {
    for (round, pool) in pallet_pol_rewards::Pools::<Runtime>::iter() {
        let submissions =
            pallet_proof_of_learning::Submissions::<Runtime>::iter_prefix_values(round);
        let open = submissions
            .filter(|submission| submission.status == SubmissionStatus::Included)
            .count();
        let unsettled = pool.unsettled;
        ensure(open == unsettled as usize, || {
            format!(
                "updates that the rewards of round {round} wait for ({unsettled}) = unsettled \
                 updates ({open})"
            )
        })?;
    }
    Ok(())
}

/// Checks that each bond backs the open lease and the unsettled updates of its owner, once each.
fn check_locks() -> Result<(), String> {
    use pallet_proof_of_learning::{AuditedLeases, Config, Leases};
    let penalty = <Runtime as Config>::InvalidPenalty::get();
    let mut due: BTreeMap<AccountId, Balance> = BTreeMap::new();
    let audited = AuditedLeases::<Runtime>::iter_keys().map(|(_, trainer)| trainer);
    for trainer in Leases::<Runtime>::iter_keys().chain(audited) {
        let sum = due.entry(trainer).or_default();
        *sum = sum.saturating_add(penalty);
    }
    for (who, ledger) in pallet_pol_staking::Ledgers::<Runtime>::iter() {
        let (due, locked) = (due.remove(&who).unwrap_or(0), ledger.locked);
        ensure(due == locked, || {
            format!("of {who}: locked ({locked}) = penalties for leases and updates ({due})")
        })?;
    }
    ensure(due.is_empty(), || format!("bonds back leases and updates, of {:?} too", due.keys()))
}

/// Checks that only members, and accounts with a lease, have a standing.
fn check_standings() -> Result<(), String> {
    use pallet_proof_of_learning::{Leases, Standings};
    for account in Standings::<Runtime>::iter_keys() {
        let is_member = pallet_pol_staking::Ledgers::<Runtime>::contains_key(&account);
        ensure(is_member || Leases::<Runtime>::contains_key(&account), || {
            format!("{account} has a standing and neither a bond nor a lease")
        })?;
    }
    Ok(())
}

/// Checks that a pulse is awaited only for a mixture that draws wait with.
fn check_pulse() -> Result<(), String> {
    let (awaited, sealed) = (
        Beacon::awaited_pulse().is_some(),
        pallet_proof_of_learning::SealedMixture::<Runtime>::exists(),
    );
    ensure(sealed || !awaited, || {
        format!("a pulse is awaited ({awaited}) for a sealed mixture ({sealed})")
    })
}
