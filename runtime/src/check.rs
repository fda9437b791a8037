//! Whether a state adds up: the accounting of every pallet, and what has to hold between them.
//!
//! Reads every entry of the storage, so it is for nodes and tests, not for the chain.

use crate::*;
use alloc::{
    collections::{BTreeMap, BTreeSet},
    format,
    string::String,
};
use pol_primitives::{
    RoundNumber,
    data::ManifestId,
    head::Head,
    rewards::Books,
    round::Phase,
    submission::{Settled, Status},
};
use sp_runtime::TryRuntimeError;

/// A state that adds up, in figures.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Summary {
    /// Height of its block.
    pub block: BlockNumber,
    /// The round under way.
    pub round: RoundNumber,
    /// What the network does in it.
    pub phase: Phase,
    /// The global model; none before round zero is attested.
    pub head: Option<Head>,
    /// Shards under a lease.
    pub leased: u32,
    /// Audits that are not settled.
    pub audits: u32,
    /// All money there is.
    pub issuance: Balance,
    /// Bonds and deposits.
    pub held: Balance,
    /// Where all money of learning went.
    pub books: Books,
}

/// Why a state does not add up.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Broken {
    /// It was made by another runtime, whose storage may mean something else.
    #[error(
        "the state is of runtime version {0}, and this binary checks version {own}: use the binary of that version",
        own = VERSION.spec_version
    )]
    OtherVersion(u32),
    /// An equation does not hold.
    #[error("the state does not add up ({part}): {equation}")]
    Equation {
        /// The pallet, or pallets, whose storage it is about.
        part: &'static str,
        /// What should hold, with what was found.
        equation: String,
    },
}

type Check = fn() -> Result<(), String>;

/// Checks the state that the current externalities hold.
///
/// # Errors
/// The first equation that does not hold.
pub fn check_state() -> Result<Summary, Broken> {
    let version = System::last_runtime_upgrade_spec_version();
    if version != VERSION.spec_version {
        return Err(Broken::OtherVersion(version));
    }
    let of_pallet =
        |tried: Result<(), TryRuntimeError>| tried.map_err(|error| <&str>::from(error).into());
    let pallets = [
        ("PolStaking", of_pallet(PolStaking::do_try_state())),
        ("Lineage", of_pallet(Lineage::do_try_state())),
        ("Rewards", of_pallet(Rewards::do_try_state())),
        ("ProofOfLearning", of_pallet(ProofOfLearning::do_try_state())),
    ];
    let between: [(&str, Check); 5] = [
        ("Balances", check_issuance),
        ("Balances, PolStaking and Lineage", check_holds),
        ("Lineage and ProofOfLearning", check_leases),
        ("Lineage and ProofOfLearning", check_consumption),
        ("Rewards and ProofOfLearning", check_settlements),
    ];
    let checks =
        pallets.into_iter().chain(between.into_iter().map(|(part, check)| (part, check())));
    for (part, checked) in checks {
        checked.map_err(|equation| Broken::Equation { part, equation })?;
    }
    let pol_primitives::view::Overview { now, round, head, .. } = ProofOfLearning::overview();
    Ok(Summary {
        block: now,
        round: round.number,
        phase: round.phase,
        head,
        leased: pallet_pol_lineage::Manifests::<Runtime>::iter_values()
            .map(|manifest| manifest.leased)
            .sum(),
        audits: pallet_proof_of_learning::Audits::<Runtime>::count(),
        issuance: Balances::total_issuance(),
        held: bonds().saturating_add(deposits()),
        books: Rewards::books(),
    })
}

fn sum(amounts: impl Iterator<Item = Balance>) -> Balance {
    amounts.fold(0, Balance::saturating_add)
}

fn ensure(holds: bool, equation: impl FnOnce() -> String) -> Result<(), String> {
    if holds { Ok(()) } else { Err(equation()) }
}

/// All money is in accounts, and what is on hold in one is reserved there.
fn check_issuance() -> Result<(), String> {
    let owned = sum(frame_system::Account::<Runtime>::iter_values()
        .map(|info| info.data.free.saturating_add(info.data.reserved)));
    let issued = Balances::total_issuance();
    ensure(owned == issued, || format!("what accounts own ({owned}) = what is issued ({issued})"))?;
    for (account, holds) in pallet_balances::Holds::<Runtime>::iter() {
        let (held, reserved) =
            (sum(holds.iter().map(|hold| hold.amount)), Balances::reserved_balance(&account));
        ensure(held <= reserved, || {
            format!("of {account}: on hold ({held}) <= reserved ({reserved})")
        })?;
    }
    Ok(())
}

/// What staking says is bonded.
fn bonds() -> Balance {
    sum(pallet_pol_staking::Ledgers::<Runtime>::iter_values().map(|ledger| ledger.bond))
}

/// What lineage says is deposited.
fn deposits() -> Balance {
    let manifests = pallet_pol_lineage::ManifestDeposits::<Runtime>::iter_values();
    sum(manifests.chain(pallet_pol_lineage::SourceDeposits::<Runtime>::iter_values()))
}

/// Bonds and deposits are all that is on hold for them: no hold has lost its reason.
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
            format!("on hold for {reason:?} ({held}) = what its pallet knows of ({stated})")
        })?;
    }
    Ok(())
}

/// What the leases hold, each shard once, is what the pool has lent.
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
        let (held, lent) = (held.remove(&id).unwrap_or(0), manifest.leased);
        ensure(held == lent, || {
            format!("shards of manifest {id} in leases ({held}) = lent ({lent})")
        })?;
    }
    ensure(held.is_empty(), || {
        format!("leases hold shards of registered manifests only, not of {:?}", held.keys())
    })
}

/// Every shard that is part of the model was made so by an update that stayed in it.
fn check_consumption() -> Result<(), String> {
    let mut updates = BTreeSet::new();
    for records in pallet_pol_lineage::Consumed::<Runtime>::iter_values() {
        updates.extend(
            records
                .places()
                .filter_map(|place| records.get(place))
                .map(|record| (record.round, record.index)),
        );
    }
    for (round, index) in updates {
        let trainer = ProofOfLearning::round_record(round)
            .and_then(|record| record.revealed.get(usize::from(index)).cloned());
        let settled = trainer
            .and_then(|trainer| pallet_proof_of_learning::History::<Runtime>::get(round, trainer));
        let stays = settled.is_some_and(|Settled { outcome, .. }| outcome.stays());
        ensure(stays, || {
            format!("update {index} of round {round} stayed in the model, as its shards did")
        })?;
    }
    Ok(())
}

/// What a round's rewards wait for are the updates that are not settled.
fn check_settlements() -> Result<(), String> {
    for (round, pool) in pallet_pol_rewards::Pools::<Runtime>::iter() {
        let submissions =
            pallet_proof_of_learning::Submissions::<Runtime>::iter_prefix_values(round);
        let open = submissions.filter(|submission| submission.status == Status::Included).count();
        let unsettled = pool.unsettled;
        ensure(open == unsettled as usize, || {
            format!(
                "updates that the rewards of round {round} wait for ({unsettled}) = updates not settled ({open})"
            )
        })?;
    }
    Ok(())
}
