// SPDX-License-Identifier: Apache-2.0

//! Random walks of calls, after each of which the invariants hold.

use crate::{mock::*, pallet::*};
use pol_primitives::{
    Balance, BoundedVec, Hash,
    audit::{Finding, Stage},
    metrics::ModelMetrics,
    recipe::{Recipe as Spec, Tier},
    rewrite::Rewrite,
    round::Phase,
    submission::{Reveal, TrainingClaims},
};
use polkadot_sdk::{frame_support::assert_ok, sp_runtime::traits::Dispatchable};
use proptest::prelude::*;
use std::collections::BTreeMap;

/// Returns the next call in an audit, mostly one that its stage is for.
fn audit_call(kind: u8, who: u8, choice: u8) -> Option<(RuntimeOrigin, Call<Test>)> {
    let audits = Learning::audits(0);
    let (id, audit) = audits.get(usize::from(choice) % audits.len().max(1))?;
    let case = &audit.cases[usize::from(who) % audit.cases.len()];
    let (id, trainer) = (*id, case.trainer);
    // The same whenever it is called: some updates are invalid, and some seats differ from all
    // others.
    let find = |validator: AccountId, trainer: AccountId| match (
        trainer + u64::from(id),
        validator + trainer + u64::from(id),
    ) {
        (_, odd) if odd % 7 == 0 => Some(Finding::Unavailable),
        (_, odd) if odd % 7 == 1 => Some(other(id, trainer)),
        (bad, _) if bad % 3 == 0 => Some(Finding::Impossible),
        _ => None,
    };
    let holder = audit
        .holders
        .get(usize::from(who) % audit.holders.len().max(1))
        .map(|holder| holder.account);
    let unsettled = Submissions::<Test>::contains_key(audit.round, trainer);
    let stage = if kind.is_multiple_of(8) { Stage::Settle } else { audit.stage };
    Some(match stage {
        Stage::Serve => {
            let mut states = served(id, trainer);
            if choice > 250 {
                states.pop();
            }
            (
                signed(trainer),
                Call::serve_states { audit: id, states: BoundedVec::try_from(states).unwrap() },
            )
        }
        Stage::Replay => {
            let evidence = evidence(id, holder?, &find);
            (
                signed(holder?),
                Call::commit_audit { audit: id, commitment: hide(id, holder?, &evidence) },
            )
        }
        Stage::Open => (
            signed(trainer),
            Call::open_segments {
                audit: id,
                ends: BoundedVec::try_from(ends(id, trainer)).unwrap(),
            },
        ),
        Stage::Reveal => {
            let salt = if choice > 250 { Hash::default() } else { SALT };
            (
                signed(holder?),
                Call::reveal_audit { audit: id, evidence: evidence(id, holder?, &find), salt },
            )
        }
        Stage::Settle if unsettled || choice > 200 => {
            (signed(9), Call::settle { audit: id, trainer })
        }
        Stage::Settle => return None,
    })
}

/// Returns a recipe that trains the head's model differently, or rewrites it.
fn next_recipe(choice: u8) -> Spec {
    let made_by =
        CurrentHead::<Test>::get().and_then(|head| Learning::recipe_by_hash(head.recipe_hash));
    let Spec { model, rewrite, .. } = made_by.unwrap_or_else(recipe);
    let tuned = Spec { model, rewrite, gradient_clip: 1 + u32::from(choice), ..recipe() };
    let rewrite = Rewrite::Widen { feed_forward: model.feed_forward + 1 };
    match rewrite.apply(&model) {
        Ok(model) if choice.is_multiple_of(3) => Spec { model, rewrite: Some(rewrite), ..tuned },
        _ => tuned,
    }
}

/// Makes the next call. Each call reads `choice` in its own way.
fn act(kind: u8, who: u8, choice: u8, committed: &mut BTreeMap<AccountId, Reveal>) {
    let (trainer, validator) = (1 + u64::from(who % 6), 11 + u64::from(who % 3));
    let number = round().number;
    let leased = Leases::<Test>::contains_key(trainer);
    // Half of the steps are those that the phase is for, so that rounds advance.
    let kind = match round().phase {
        _ if kind < 26 || (kind >= 60 && Audits::<Test>::count() > 0) => kind,
        Phase::Idle => 0,
        Phase::Train if leased => 8,
        Phase::Train => 6,
        Phase::Reveal => 12,
        Phase::Hold => 20,
        Phase::Attest => 16,
    };
    let (origin, call) = match kind {
        0..=5 => return run(1 + u32::from(choice % 2)),
        6..=7 => (signed(trainer), Call::join_round { tier: Tier::ALL[usize::from(choice % 4)] }),
        8..=11 if leased => {
            let reveal = work(trainer, 1 + u16::from(choice % 4));
            let commitment = commitment(trainer, &reveal);
            committed.insert(trainer, reveal);
            (
                signed(trainer),
                Call::commit { round: number, commitment, claims: TrainingClaims::default() },
            )
        }
        12..=15 if committed.contains_key(&trainer) => {
            (signed(trainer), Call::reveal { round: number, reveal: committed[&trainer].clone() })
        }
        16..=19 => {
            // There are few choices, so that validators often agree.
            let root = [number as u8 + u8::from(choice < 20); 32];
            let inputs = if choice == 255 { Hash::default() } else { round().inputs };
            (signed(validator), Call::attest_head { round: number, inputs, root })
        }
        20..=21 => {
            let revealed = round().revealed as u8;
            let held: Vec<u8> =
                if choice < 60 { (0..choice % 3).collect() } else { (0..revealed).collect() };
            (signed(validator), Call::report_held { round: number, held: included(&held) })
        }
        22 => (signed(trainer), Call::conclude { account: 1 + u64::from(choice % 6) }),
        23 => (signed(trainer), Call::reset_carry {}),
        24 => (RuntimeOrigin::root(), Call::set_recipe { recipe: next_recipe(choice) }),
        25 => {
            let metrics = ModelMetrics {
                loss: choice.into(),
                coherence: choice.is_multiple_of(2).then_some(u32::from(choice) * 5_000),
                ..Default::default()
            };
            (signed(validator), Call::measure_head { round: number.saturating_sub(1), metrics })
        }
        60.. => match audit_call(kind, who, choice) {
            Some(call) => call,
            None => return,
        },
        _ => return,
    };
    // The dispatcher reverts the changes of a failed call.
    let _ = RuntimeCall::Learning(call).dispatch(origin);
}

/// Asserts that every shard is in exactly one place.
fn assert_shards_are_kept() {
    let leased: usize = Leases::<Test>::iter_values().map(|lease| lease.shards.len()).sum();
    let audited: usize = AuditedLeases::<Test>::iter_values().map(|lease| lease.shards.len()).sum();
    let shards = FreeShards::get().len() + leased + audited + Consumed::get().len();
    assert_eq!(shards, SHARDS as usize);
}

/// Settles every update, oldest first.
fn settle_all() {
    for _ in 0..200 {
        run(1);
        for (id, audit) in Learning::audits(0) {
            for case in audit.cases {
                let _ = Learning::settle(signed(9), id, case.trainer);
            }
        }
    }
}

/// Asserts that audits left nothing but permanent records, and every update was settled once.
fn assert_all_settled() {
    assert_eq!((Audits::<Test>::count(), UndrawnUpdates::<Test>::exists()), (0, false));
    assert_eq!(AuditedLeases::<Test>::iter().count(), 0);
    assert_eq!(
        (AuditResponses::<Test>::iter().count(), AuditCommitments::<Test>::iter().count()),
        (0, 0)
    );
    assert_eq!((Findings::<Test>::iter().count(), SeatTallies::<Test>::iter().count()), (0, 0));
    let updates: usize = Paid::get().iter().map(|(_, _, updates)| *updates as usize).sum();
    assert_eq!(Earnings::get().len(), updates);
    for (account, locked) in Locked::iter() {
        let leases = Balance::from(Leases::<Test>::contains_key(account));
        assert_eq!(locked, leases * InvalidPenalty::get(), "a settled update locks nothing");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    #[test]
    fn the_invariants_hold_on_every_walk(
        steps in prop::collection::vec((0..90u8, any::<u8>(), any::<u8>()), 600)
    ) {
        on_chain(Some(recipe()), || {
            // The bonds are enough for all penalties of a walk.
            TRAINERS.for_each(|account| Trainers::insert(account, 10_000));
            let mut committed = BTreeMap::new();
            for (kind, who, choice) in steps {
                act(kind, who, choice, &mut committed);
                assert_ok!(Learning::do_try_state());
                assert_shards_are_kept();
                assert!(round().due <= 64);
            }
            settle_all();
            assert_all_settled();
        });
    }
}
