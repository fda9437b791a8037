// SPDX-License-Identifier: Apache-2.0

//! Consequences of audits in model, storage and money.

use super::{SEAT, all_three, assert_gone, earned, seats_only};
use crate::{mock::*, pallet::*};
use codec::MaxEncodedLen;
use pol_primitives::{
    Hash,
    audit::{Finding, Stage, UpdateMeasurement},
    head::Excision,
    recipe::Tier,
    rewards::{RoundEarnings, training_weight},
    round::Phase,
    standing::Standing,
    submission::{Outcome, SubmissionRecord, SubmissionStatus},
    traits::ShardPool,
};
use polkadot_sdk::{
    frame_support::{
        assert_noop, assert_ok,
        dispatch::{GetDispatchInfo, Pays},
        storage::storage_prefix,
        traits::PalletInfoAccess,
    },
    sp_io,
};

/// Score 1,000, at a bonus of 900,000 and a quality of 800,000 millionths.
const WORTH: u128 = 1_000 * 720_000;

/// Gives this finding for every seat and update.
fn all(finding: Finding) -> impl Fn(AccountId, AccountId) -> Option<Finding> {
    move |_, _| Some(finding.clone())
}

#[test]
fn a_valid_update_stays_and_earns() {
    in_round_one(|| {
        train(&[1]);
        let lease = lease_of(1);
        let opened = Learning::submissions(1)[0].1.opened.unwrap();
        adopt([5; 32]);
        run(1);
        let (audit, panel) = (audit(0), panel(0, 1));
        examine(0, HONEST);
        settle(0, 1);
        assert_event(Event::Settled {
            audit: 0,
            account: 1,
            round: 1,
            outcome: Outcome::Valid,
            score: 1_000,
        });
        assert_event(Event::AuditEnded { audit: 0 });
        assert_gone(0, 1, 1);

        let settled = SubmissionRecord {
            outcome: Outcome::Valid,
            tier: Tier::Participant,
            staleness: 0,
            index: 0,
            payload_hash: opened.payload_hash,
            data_hash: lease.data_hash(),
            tokens: 8_192,
            gain: 1_000,
        };
        assert_eq!(Learning::history(1), [(1, settled)]);
        let consumed: Vec<_> = lease
            .shards
            .iter()
            .zip(measure(lease.shards.len()).shards)
            .map(|(&shard, delta)| (shard, 1, 0, delta))
            .collect();
        assert_eq!(Consumed::get(), consumed);
        assert_eq!(Shards::free_shards(), SHARDS - 8);
        assert!(
            audit.probe.iter().all(|shard| FreeShards::get().contains(shard)),
            "the probe was only looked at"
        );

        assert_eq!(training_weight(1_000, BONUS, 800_000), WORTH);
        let mut expected = seats_only(&panel);
        expected.insert(0, (1, RoundEarnings { training: WORTH, ..Default::default() }));
        let deltas: Vec<_> = consumed.iter().map(|&(.., delta)| delta).collect();
        expected.extend(
            Shards::effects(&lease.shards, &deltas)
                .into_iter()
                .map(|(owner, effect)| (owner, RoundEarnings { effect, ..Default::default() })),
        );
        assert_eq!(Earnings::get(), [(1, expected)]);
        assert_eq!(
            (Trainings::get(), Fines::get(), Forfeits::get()),
            (vec![(1, true)], vec![], vec![])
        );
        assert!(panel.iter().all(|validator| Strikes::get(validator) == 0));
        // 1,500 - 1,000 / 2 is above zero: (7 · 0 + 1,000,000) / 8.
        let standing = Standing {
            nonce: 1,
            carry: opened.carry_hash,
            carry_round: 1,
            valid: 1,
            advantage: 125_000,
            lapses: -1,
        };
        assert_eq!(Learning::standing(&1), standing);
        assert_eq!((Trainers::get(1), Excisions::<Test>::get().len()), (Some(10), 0));
    });
}

#[test]
fn a_lease_is_concluded_before_or_with_the_settlement() {
    in_round_one(|| {
        let id = audited(&[1, 2]);
        assert_ok!(Learning::conclude(signed(9), 1));
        assert_eq!((Learning::lease(&1), AuditedLeases::<Test>::iter().count()), (None, 1));
        examine(id, HONEST);
        System::reset_events();
        settle(id, 1);
        let concluded = |account| Event::Concluded {
            account,
            round: 1,
            status: Some(SubmissionStatus::Included),
        };
        assert!(!System::events().iter().any(|record| record.event == concluded(1).into()));
        let lease = lease_of(2);
        settle(id, 2);
        assert_event(concluded(2));
        assert_eq!((Learning::lease(&2), AuditedLeases::<Test>::iter().count()), (None, 0));
        assert_eq!(Learning::standing(&2).carry_round, 1);
        assert_eq!(Consumed::get().len(), 16);
        assert_eq!(lease.data_hash(), kept(1, 2).data_hash);
    });
}

#[test]
fn a_flagged_trainer_is_not_paid() {
    in_round_one(|| {
        let id = audited(&[1]);
        assert_ok!(Learning::conclude(signed(1), 1));
        Standings::<Test>::mutate(1, |standing| {
            (standing.valid, standing.advantage) = (7, -1_000_000)
        });
        let panel = panel(id, 1);
        examine(id, HONEST);
        settle(id, 1);
        assert!(Learning::standing(&1).is_flagged());
        assert_eq!(
            (kept(1, 1).outcome, Consumed::get().len()),
            (Outcome::Valid, 8),
            "it is part of the model all the same"
        );
        assert!(earned().iter().all(|(account, earned)| *account != 1 && earned.training == 0));
        assert!(panel.iter().all(|validator| earned().contains(&(*validator, SEAT))));
    });
}

#[test]
fn an_update_without_improvement_earns_nothing() {
    in_round_one(|| {
        let id = audited(&[1]);
        let useless = |_, trainer| match finding(0, trainer) {
            Finding::Replayed { ends, packed, measure } => Some(Finding::Replayed {
                ends,
                packed,
                measure: UpdateMeasurement { gain: -1, ..measure },
            }),
            _ => None,
        };
        examine(id, &useless);
        settle(id, 1);
        assert_event(Event::Settled {
            audit: id,
            account: 1,
            round: 1,
            outcome: Outcome::Valid,
            score: 0,
        });
        assert_eq!((kept(1, 1).gain, Improved::get()), (-1, vec![]));
        // Seats that replayed it are paid, and nobody else, also if some shards had an effect.
        let panel: Vec<_> = earned().into_iter().map(|(account, _)| account).collect();
        assert!(!panel.is_empty() && panel.iter().all(|who| (11..=13).contains(who)));
    });
}

#[test]
fn an_invalid_update_costs_the_bond_and_everything_in_escrow() {
    for kind in 0..3 {
        in_round_one(|| {
            let id = audited(&[1, 2]);
            let find = |_, trainer| {
                let id = NextAudit::<Test>::get() - 1;
                match (kind, finding(id, trainer)) {
                    _ if trainer == 2 => None,
                    (0, _) => Some(other(id, trainer)),
                    (1, Finding::Replayed { ends, measure, .. }) => {
                        Some(Finding::Replayed { ends, packed: false, measure })
                    }
                    _ => Some(Finding::Impossible),
                }
            };
            examine(id, &find);
            settle(id, 2);
            let strangers = Earnings::get();
            let (again, seated) = convict(id, 1, &find);
            assert_event(Event::Settled {
                audit: again,
                account: 1,
                round: 1,
                outcome: Outcome::Invalid,
                score: 0,
            });
            assert_event(Event::Fined { audit: again, account: 1, amount: 8 });
            assert_eq!(Trainers::get(1), Some(2));
            assert_eq!((Fines::get(), Forfeits::get()), (vec![8], vec![1]));
            assert_eq!(
                (Trainings::get(), Earnings::get()),
                (vec![(2, true), (1, false)], [strangers, vec![(1, seats_only(&seated))]].concat())
            );
            assert!(
                seated.iter().all(|validator| Strikes::get(validator) == 0),
                "finding an update invalid is right too"
            );
            let settled = kept(1, 1);
            assert_eq!(
                (settled.outcome, settled.gain, settled.tokens),
                (Outcome::Invalid, 0, 8_192)
            );
            assert_eq!(
                (Consumed::get().len() as u32, Shards::free_shards()),
                (8, SHARDS - 8),
                "one lease is returned, and one consumed"
            );
            let excision = Excision { round: 1, index: 0 };
            assert_eq!(Excisions::<Test>::get().to_vec(), [(excision, System::block_number())]);
            assert_eq!(
                Learning::standing(&1),
                Standing { nonce: 1, carry_round: 1, lapses: -1, ..Default::default() }
            );
            // The other update is not affected.
            [id, again].into_iter().for_each(|id| assert_gone(id, 1, 1));
            assert_eq!(
                (kept(1, 2).outcome, Trainers::get(2), Fines::get().len()),
                (Outcome::Valid, Some(10), 1)
            );
        });
    }
}

#[test]
fn no_more_than_the_bond_is_taken() {
    in_round_one(|| {
        let id = audited(&[1, 2]);
        Trainers::insert(1, 3);
        Trainers::insert(2, 0);
        examine(id, &all(Finding::Impossible));
        [1, 2].into_iter().for_each(|trainer| settle(id, trainer));
        let again = examine_again(1, &all(Finding::Impossible));
        settle(again, 1);
        assert_event(Event::Fined { audit: again, account: 1, amount: 3 });
        assert_eq!((Trainers::get(1), Fines::get().len()), (Some(0), 1));
        settle(again, 2);
        assert_event(Event::Fined { audit: again, account: 2, amount: 0 });
        assert_eq!(Fines::get(), [3], "an empty fine is not burned");
        assert_eq!(Forfeits::get().len(), 2);
    });
}

/// Settles the last audit, of one update, as withheld after `examine`.
fn withheld(examine: impl FnOnce()) {
    in_round_one(|| {
        audited(&[1]);
        let carry = work(1, 4).carry_hash;
        assert_ok!(Learning::conclude(signed(1), 1));
        assert_eq!(Learning::standing(&1).carry, carry);
        examine();
        let id = NextAudit::<Test>::get() - 1;
        settle(id, 1);
        assert_event(Event::Settled {
            audit: id,
            account: 1,
            round: 1,
            outcome: Outcome::Withheld,
            score: 0,
        });
        assert_event(Event::Fined { audit: id, account: 1, amount: 4 });
        assert_gone(id, 1, 1);
        assert_eq!((Trainers::get(1), Fines::get(), Forfeits::get()), (Some(6), vec![4], vec![]));
        assert_eq!((Earnings::get(), Trainings::get()), (vec![(1, vec![])], vec![(1, false)]));
        assert!(
            VALIDATORS.iter().all(|(validator, _)| Strikes::get(validator) == 0),
            "seats neither gain nor lose"
        );
        assert_eq!(
            (kept(1, 1).outcome, Consumed::get().len(), Shards::free_shards()),
            (Outcome::Withheld, 0, SHARDS)
        );
        assert_eq!((Learning::standing(&1).carry, Excisions::<Test>::get().len()), ([0; 32], 1));
    });
}

#[test]
fn states_that_are_not_shown_are_withheld() {
    withheld(|| run(AUDITS.serve));
}

#[test]
fn ends_that_are_not_opened_are_withheld_whatever_was_found() {
    withheld(|| {
        serve(0, &[1]);
        for validator in panel(0, 1) {
            let hidden = hide(0, validator, &evidence(0, validator, HONEST));
            assert_ok!(Learning::commit_audit(signed(validator), 0, hidden));
        }
        run(AUDITS.open);
        for validator in panel(0, 1) {
            assert_ok!(Learning::reveal_audit(
                signed(validator),
                0,
                evidence(0, validator, HONEST),
                SALT
            ));
        }
    });
    // The same holds if no seat replayed.
    withheld(|| {
        serve(0, &[1]);
        run(AUDITS.replay + AUDITS.open);
        assert_eq!(audit(0).stage, Stage::Settle);
    });
}

#[test]
fn states_that_seats_of_both_draws_cannot_fetch_are_withheld() {
    withheld(|| {
        examine(0, &all(Finding::Unavailable));
        settle(0, 1);
        examine_again(1, &all(Finding::Unavailable));
    });
}

#[test]
fn silent_and_wrong_seats_earn_nothing_and_wrong_ones_lose() {
    in_round_one(|| {
        all_three();
        // 11 and 12 are a quorum. 13 is wrong, silent, wrong, wrong, then right.
        for round in 1..=6u32 {
            let id = audited(&[1]);
            if round == 2 {
                serve(id, &[1]);
                for validator in [11, 12] {
                    let hidden = hide(id, validator, &evidence(id, validator, HONEST));
                    assert_ok!(Learning::commit_audit(signed(validator), id, hidden));
                }
                // It commits and does not reveal.
                assert_ok!(Learning::commit_audit(signed(13), id, [0; 32]));
                open(id, &[1]);
                for validator in [11, 12] {
                    assert_ok!(Learning::reveal_audit(
                        signed(validator),
                        id,
                        evidence(id, validator, HONEST),
                        SALT
                    ));
                }
                run(AUDITS.reveal);
                assert_eq!(AuditCommitments::<Test>::iter_prefix(id).count(), 1);
            } else {
                examine(id, &|validator, trainer| {
                    (validator == 13 && round < 5).then(|| other(id, trainer))
                });
            }
            settle(id, 1);
            // An objection leads to a second draw, and silence does not.
            let id = if [1, 3, 4].contains(&round) {
                let id = examine_again(1, &|validator, trainer| {
                    (validator == 13).then(|| other(NextAudit::<Test>::get() - 1, trainer))
                });
                System::reset_events();
                settle(id, 1);
                id
            } else {
                id
            };
            assert_gone(id, round, 1);
            assert_eq!(kept(round, 1).outcome, Outcome::Valid);
            let failed = Event::SeatFailed { audit: id, account: 13, trainer: 1 }.into();
            let fined = Event::Fined { audit: id, account: 13, amount: 5 }.into();
            let has =
                |event: &RuntimeEvent| System::events().iter().any(|record| record.event == *event);
            assert_eq!((has(&failed), has(&fined)), (round < 5, [1, 3, 4].contains(&round)));
            let seats: Vec<_> = earned()
                .into_iter()
                .filter(|(_, earned)| earned.seats > 0)
                .map(|(account, _)| account)
                .collect();
            assert_eq!(seats, if round < 5 { vec![11, 12] } else { vec![11, 12, 13] });
        }
        assert_eq!((Validators::get(13), Strikes::get(13)), (Some(20 - 15), 0));
        assert_eq!(Fines::get(), [5; 3]);
        assert_eq!(Trainers::get(1), Some(10), "a false accuser costs the accused nothing");
    });
}

/// Takes an audit to settling while `away` does nothing.
fn examine_without(id: u32, trainers: &[AccountId], away: AccountId, find: Find) {
    let validators = [11, 12, 13].into_iter().filter(|validator| *validator != away);
    serve(id, trainers);
    for validator in validators.clone() {
        let hidden = hide(id, validator, &evidence(id, validator, find));
        assert_ok!(Learning::commit_audit(signed(validator), id, hidden));
    }
    run(AUDITS.replay);
    open(id, trainers);
    for validator in validators {
        let evidence = evidence(id, validator, find);
        assert_ok!(Learning::reveal_audit(signed(validator), id, evidence, SALT));
    }
    assert_eq!(audit(id).stage, Stage::Settle);
}

#[test]
fn an_outage_costs_one_strike_however_many_updates_it_hits() {
    in_round_one(|| {
        all_three();
        let trainers = [1, 2, 3, 4];
        for (strikes, fines) in [(1, 0), (2, 0), (3, 1)] {
            let id = audited(&trainers);
            examine_without(id, &trainers, 13, HONEST);
            for trainer in trainers {
                assert_eq!(Strikes::get(13), strikes - 1, "judged when the last update is settled");
                settle(id, trainer);
            }
            assert_eq!((Strikes::get(13), Fines::get().len()), (strikes, fines));
        }
        assert_eq!(Validators::get(13), Some(20 - 5));
    });
}

#[test]
fn an_outage_costs_one_strike_if_others_object_meanwhile() {
    in_round_one(|| {
        all_three();
        let trainers = [1, 2, 3, 4];
        let id = audited(&trainers);
        examine_without(id, &trainers, 13, &|validator, trainer| {
            (validator == 12 && trainer < 4).then(|| other(id, trainer))
        });
        trainers.iter().for_each(|&trainer| settle(id, trainer));
        assert_eq!(Strikes::get(13), 0, "three updates wait for a second draw");
        run(AGAIN);
        let again = NextAudit::<Test>::get() - 1;
        assert_eq!(audit(again).cases.len(), 3);
        examine_without(again, &[1, 2, 3], 13, HONEST);
        [1, 2, 3].iter().for_each(|&trainer| settle(again, trainer));
        assert_eq!((Strikes::get(13), Strikes::get(12)), (1, 0));
        assert_eq!((Validators::get(13), Fines::get()), (Some(20), vec![15]), "each lie is fined");
    });
}

#[test]
fn the_order_of_settlements_changes_no_strike_and_no_fine() {
    for order in [[1, 2, 3, 4], [4, 1, 2, 3], [2, 4, 3, 1]] {
        in_round_one(|| {
            all_three();
            Strikes::insert(13, 2);
            let id = audited(&order);
            // It accuses three of four updates.
            let accuse: Find =
                &|validator, trainer| (validator == 13 && trainer < 4).then(|| other(id, trainer));
            examine(id, accuse);
            order.iter().for_each(|&trainer| settle(id, trainer));
            run(AGAIN);
            let again = NextAudit::<Test>::get() - 1;
            examine(again, HONEST);
            for trainer in order.into_iter().filter(|trainer| *trainer < 4) {
                assert_eq!(Fines::get().len(), 0, "the round is not over");
                settle(again, trainer);
            }
            assert_eq!((Strikes::get(13), Fines::get()), (1, vec![15]), "one fine for each lie");
            let paid = Earnings::get().into_iter().flat_map(|(_, earned)| earned);
            assert_eq!(paid.filter(|(account, _)| *account == 13).count(), 1, "for the truth");
        });
    }
}

#[test]
fn a_seat_that_covers_for_a_cheat_fails() {
    in_round_one(|| {
        all_three();
        let id = audited(&[1]);
        let find: Find = &|validator, _| (validator != 13).then_some(Finding::Impossible);
        examine(id, find);
        let (again, _) = convict(id, 1, find);
        assert_event(Event::SeatFailed { audit: again, account: 13, trainer: 1 });
        assert_eq!((kept(1, 1).outcome, earned()), (Outcome::Invalid, seats_only(&[11, 12])));
        let mut fines = Fines::get();
        fines.sort_unstable();
        assert_eq!((fines, Validators::get(13)), (vec![5, 8], Some(15)));
        assert_eq!(Forfeits::get(), [1]);
    });
}

#[test]
fn a_trainer_without_its_bond_cannot_join() {
    in_round_one(|| {
        let id = audited(&[1]);
        Trainers::insert(1, 8);
        examine(id, &all(Finding::Impossible));
        convict(id, 1, &all(Finding::Impossible));
        assert_eq!(round().phase, Phase::Train);
        assert_noop!(
            weightless(Learning::join_round(signed(1), Tier::Participant)),
            Error::<Test>::NotATrainer
        );
    });
}

#[test]
fn settling_refunds_unused_weight() {
    in_round_one(|| {
        let id = audited(&[1]);
        examine(id, HONEST);
        let most = Call::<Test>::settle { audit: id, trainer: 1 }.get_dispatch_info().call_weight;
        let paid = Learning::settle(signed(9), id, 1).unwrap();
        let actual = paid.actual_weight.unwrap();
        assert!(actual.all_gt(0.into()) && actual.all_lt(most));
        assert_eq!(paid.pays_fee, Pays::Yes);
    });
}

/// Returns the number of bytes in all keys and values of the pallet.
fn stored() -> usize {
    let prefix = storage_prefix(Learning::name().as_bytes(), b"")[..16].to_vec();
    let (mut key, mut bytes) = (prefix.clone(), 0);
    while let Some(next) = sp_io::storage::next_key(&key).filter(|next| next.starts_with(&prefix)) {
        bytes += next.len() + sp_io::storage::get(&next).map_or(0, |value| value.len());
        key = next;
    }
    bytes
}

#[test]
fn a_submission_leaves_less_than_a_kilobyte() {
    // A round of one submission, which bears the cost of the round's record alone, and one of
    // several.
    for (trainers, most) in [(vec![1], 1_024), (vec![1, 2, 3, 4], 512)] {
        in_round_one(|| {
            let mut rounds = Vec::new();
            for number in 1..=3 {
                let id = audited(&trainers);
                examine(id, &|_, trainer| {
                    (trainer == 1 && number == 2).then_some(Finding::Impossible)
                });
                trainers.iter().for_each(|&trainer| settle(id, trainer));
                if number == 2 {
                    settle(examine_again(1, &all(Finding::Impossible)), 1);
                }
                TRAINERS.for_each(|account| Trainers::insert(account, 10));
                rounds.push(stored());
            }
            // Accounts are 8 bytes here and 32 on a real chain: in the keys and value of the
            // record, the history and the payload.
            let each = (rounds[2] - rounds[0]) / (2 * trainers.len()) + 3 * 24;
            assert!(each < most, "{each} bytes for each submission");
            assert_eq!(
                Audits::<Test>::iter_keys().count() + Findings::<Test>::iter_keys().count(),
                0
            );
        });
    }
    assert!(SubmissionRecord::max_encoded_len() < 128);
}

#[test]
fn stored_seeds_differ_between_draws() {
    in_round_one(|| {
        let first = audited(&[1]);
        let seed = audit(first).seed;
        let second = audited(&[2]);
        assert_ne!(seed, audit(second).seed);
        assert_ne!(seed, Hash::default());
    });
}
