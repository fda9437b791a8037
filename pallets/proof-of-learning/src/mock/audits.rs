// SPDX-License-Identifier: Apache-2.0

//! Audits of the tests, from their draw to their settlement.

use super::*;
use crate::types::SECOND_DRAW_WAIT;
use alloc::collections::BTreeSet;
use pol_primitives::{
    BoundedVec,
    audit::{
        Audit, AuditId, Evidence, Finding, LeafProof, MEASURED_SHARDS, Stage, StateProof,
        UpdateMeasurement, evidence_commitment,
    },
};

/// Blocks in which an undecided update is drawn again.
pub(crate) const AGAIN: BlockNumber = 1 + SECOND_DRAW_WAIT;

pub(crate) fn audit(id: AuditId) -> Audit<AccountId> {
    Learning::audits(0).into_iter().find(|(other, _)| *other == id).unwrap().1
}

/// Returns the case of `trainer`, its place in the audit, and its lease.
pub(crate) fn case(
    id: AuditId,
    trainer: AccountId,
) -> (pol_primitives::audit::Case<AccountId>, u8, Lease) {
    let audit = audit(id);
    let at = audit.cases.iter().position(|case| case.trainer == trainer).unwrap();
    (audit.cases[at].clone(), at as u8, Learning::audited_lease(audit.round, &trainer).unwrap())
}

/// Returns the validators with seats on `trainer`'s case, each once.
pub(crate) fn panel(id: AuditId, trainer: AccountId) -> Vec<AccountId> {
    let audit = audit(id);
    let seats = &audit.case(&trainer).unwrap().seats;
    let accounts: BTreeSet<_> =
        seats.iter().map(|&seat| audit.holders[usize::from(seat)].account).collect();
    accounts.into_iter().collect()
}

/// Returns the states that an honest `trainer` shows.
pub(crate) fn served(id: AuditId, trainer: AccountId) -> Vec<StateProof> {
    let (case, _, lease) = case(id, trainer);
    let states = states(trainer, &lease, case.trace_segments);
    let leaves: Vec<Hash> = states.iter().map(TraceState::digest).collect();
    let serve = |leaf: u16| StateProof {
        state: states[usize::from(leaf)],
        proof: merkle_proof(&leaves, leaf.into()).unwrap(),
    };
    case.served_leaves().into_iter().map(serve).collect()
}

/// Returns the ends that an honest `trainer` opens.
pub(crate) fn ends(id: AuditId, trainer: AccountId) -> Vec<LeafProof> {
    let (case, _, lease) = case(id, trainer);
    let leaves: Vec<Hash> =
        states(trainer, &lease, case.trace_segments).iter().map(TraceState::digest).collect();
    let open = |leaf: u16| LeafProof {
        digest: leaves[usize::from(leaf)],
        proof: merkle_proof(&leaves, leaf.into()).unwrap(),
    };
    case.opened_leaves().into_iter().map(open).collect()
}

/// Returns the measurement of an honest update.
pub(crate) fn measure(shards: usize) -> UpdateMeasurement {
    let part = |at| if at < MEASURED_SHARDS { 100 + at as i32 } else { 0 };
    let shards = (0..shards).map(part).collect::<Vec<_>>();
    UpdateMeasurement {
        gain: 1_000,
        own: 1_500,
        quality: 800_000,
        shards: BoundedVec::try_from(shards).unwrap(),
    }
}

/// Returns the finding of an honest seat on an honest update.
pub(crate) fn finding(id: AuditId, trainer: AccountId) -> Finding {
    let shards = case(id, trainer).2.shards.len();
    let ends = ends(id, trainer).into_iter().map(|end| end.digest).collect::<Vec<_>>();
    Finding::Replayed {
        ends: BoundedVec::try_from(ends).unwrap(),
        packed: true,
        measure: measure(shards),
    }
}

/// Returns the finding of every seat that replays a dishonest update.
pub(crate) fn other(id: AuditId, trainer: AccountId) -> Finding {
    match finding(id, trainer) {
        Finding::Replayed { packed, measure, ends } => {
            let ends = ends.iter().map(|_| [0xba; 32]).collect::<Vec<_>>();
            Finding::Replayed { packed, measure, ends: BoundedVec::try_from(ends).unwrap() }
        }
        other => other,
    }
}

/// Returns the evidence of `validator`, with the findings of `find` on each trainer's update.
pub(crate) fn evidence(id: AuditId, validator: AccountId, find: Find) -> Evidence {
    let audit = audit(id);
    let findings = audit.seats_of(&validator).map(|(at, case)| {
        (at, find(validator, case.trainer).unwrap_or_else(|| finding(id, case.trainer)))
    });
    BoundedVec::try_from(findings.collect::<Vec<_>>()).unwrap()
}

pub(crate) fn hide(id: AuditId, validator: AccountId, evidence: &Evidence) -> Hash {
    let genesis = System::block_hash(0).0;
    evidence_commitment(&validator.encode(), &genesis, id, evidence, &SALT)
}

/// Salt of all evidence.
pub(crate) const SALT: Hash = [6; 32];

/// Lets `trainers` show their states.
pub(crate) fn serve(id: AuditId, trainers: &[AccountId]) {
    for &trainer in trainers {
        let states = BoundedVec::try_from(served(id, trainer)).unwrap();
        assert_ok!(Learning::serve_states(signed(trainer), id, states));
    }
}

/// Lets `trainers` open the ends of their drawn segments.
pub(crate) fn open(id: AuditId, trainers: &[AccountId]) {
    for &trainer in trainers {
        let ends = BoundedVec::try_from(ends(id, trainer)).unwrap();
        assert_ok!(Learning::open_segments(signed(trainer), id, ends));
    }
}

/// Finding of a validator on a trainer's update: none for the honest one on an honest update.
pub(crate) type Find<'a> = &'a dyn Fn(AccountId, AccountId) -> Option<Finding>;

/// Finds every update honest.
pub(crate) const HONEST: Find<'static> = &|_, _| None;

/// Takes an audit from its draw to settling. Trainers do all that is asked, and validators report
/// the findings of `find`.
pub(crate) fn examine(id: AuditId, find: Find) {
    let trainers: Vec<_> = audit(id).cases.iter().map(|case| case.trainer).collect();
    let holders: Vec<_> = audit(id).holders.iter().map(|holder| holder.account).collect();
    serve(id, &trainers);
    for &holder in &holders {
        let hidden = hide(id, holder, &evidence(id, holder, find));
        assert_ok!(Learning::commit_audit(signed(holder), id, hidden));
    }
    open(id, &trainers);
    for &holder in &holders {
        assert_ok!(Learning::reveal_audit(signed(holder), id, evidence(id, holder, find), SALT));
    }
    assert_eq!(audit(id).stage, Stage::Settle);
}

/// Takes the second draw of `trainer`'s update, which is made in time, to settling. Returns
/// the audit's number.
pub(crate) fn examine_again(trainer: AccountId, find: Find) -> AuditId {
    run(AGAIN);
    let id = NextAudit::<Test>::get() - 1;
    assert_eq!((audit(id).draw, audit(id).cases[0].trainer), (1, trainer));
    examine(id, find);
    id
}

/// Settles `trainer`'s update of the audit as what every seat of both draws finds. Returns the
/// number of the second audit and the validators with seats in either.
pub(crate) fn convict(id: AuditId, trainer: AccountId, find: Find) -> (AuditId, Vec<AccountId>) {
    let mut seated: BTreeSet<_> = panel(id, trainer).into_iter().collect();
    settle(id, trainer);
    let again = examine_again(trainer, find);
    seated.extend(panel(again, trainer));
    settle(again, trainer);
    (again, seated.into_iter().collect())
}

/// Trains a round of `accounts`, includes all, and lets the next block draw their audit. Returns
/// the audit's number.
pub(crate) fn audited(accounts: &[AccountId]) -> AuditId {
    train(accounts);
    adopt([round().number as u8 + 10; 32]);
    run(1);
    NextAudit::<Test>::get() - 1
}

pub(crate) fn settle(id: AuditId, trainer: AccountId) {
    assert_ok!(Learning::settle(signed(9), id, trainer));
}

/// Returns the record of `trainer`'s submission to `round`.
pub(crate) fn kept(
    round: RoundNumber,
    trainer: AccountId,
) -> pol_primitives::submission::SubmissionRecord {
    History::<Test>::get(round, trainer).unwrap()
}
