// SPDX-License-Identifier: Apache-2.0

//! Decisions about manifests: admission, pauses, retirement and reports.

use super::*;
use polkadot_sdk::{
    frame_support::traits::fungible::Inspect,
    sp_runtime::{DispatchError::BadOrigin, DispatchResult},
};

fn proposal(shards: u32) -> ManifestId {
    propose(info(source(), shards))
}

fn report(validator: AccountId, id: ManifestId) -> DispatchResult {
    Lineage::report_manifest(Origin::signed(validator), id)
}

fn total_balance(who: AccountId) -> u128 {
    <Balances as Inspect<AccountId>>::total_balance(&who)
}

#[test]
fn an_admitted_manifest_is_leased_as_the_given_kind() {
    run(|| {
        let id = proposal(40);
        assert_eq!(Lineage::lease(5, &mut prf(1)), []);
        take_events();
        admit(id, SourceKind::Dataset);
        assert_eq!(
            take_events(),
            [Event::ManifestAdmitted { manifest: id, kind: SourceKind::Dataset }]
        );
        assert_eq!(*Pool::<Test>::get(SourceKind::Dataset), [entry(id, 40)]);
        let record = Lineage::manifest(id).unwrap();
        assert_eq!(
            (record.status, record.kind),
            (ManifestStatus::Admitted, Some(SourceKind::Dataset))
        );
        assert_eq!(Lineage::manifest_of_content(record.info.content_hash), Some(id));
        assert_eq!((Lineage::free_shards(), Lineage::lease(5, &mut prf(1)).len()), (40, 5));
    });
}

#[test]
fn admission_is_refused_for_each_reason() {
    run(|| {
        let admit = |id| Lineage::admit_manifest(Origin::root(), id, SourceKind::Web);
        let id = proposal(4);
        assert_noop!(Lineage::admit_manifest(Origin::signed(1), id, SourceKind::Web), BadOrigin);
        assert_noop!(admit(9), PalletError::UnknownManifest);
        RecipeFormat::set(None);
        assert_noop!(admit(id), PalletError::NoRecipe);
        RecipeFormat::set(Some((FORMAT.0, [9; 32])));
        assert_noop!(admit(id), PalletError::WrongFormat);
        RecipeFormat::set(Some(FORMAT));
        assert_ok!(admit(id));
        assert_noop!(admit(id), PalletError::NotProposed);
    });
}

#[test]
fn a_flood_of_claimed_shards_is_not_leased() {
    run(|| {
        // The largest manifest there can be waits for a decision like any other.
        let flood = propose(info(source(), MAX_SHARDS));
        let honest = manifest_of(2, SourceKind::Web, 40);
        assert_eq!((Lineage::free_shards(), held(1)), (40, DEPOSIT + deposit(MAX_SHARDS)));
        let leased = |seed| {
            let shards = Lineage::lease(10, &mut prf(seed));
            Lineage::release(&shards);
            shards.iter().filter(|shard| shard.manifest == flood).count()
        };
        assert_eq!(leased(1), 0);
        // Even admitted as the first kind it gives no more than half of a lease or a probe.
        admit(flood, SourceKind::Pretrained);
        assert_eq!((2..6).map(leased).collect::<Vec<_>>(), [5; 4]);
        let probe = Lineage::sample(4, &mut prf(6));
        assert_eq!(probe.iter().filter(|shard| shard.manifest == honest).count(), 2);
    });
}

#[test]
fn a_squatted_content_hash_stops_nobody() {
    run(|| {
        let honest = info(source_of(2), 4);
        // A stranger that saw the registration proposes the hash first, with roots of its own.
        let squatted = propose(ManifestInfo { merkle_root: [9; 32], ..info(source(), 4) });
        assert_eq!(Lineage::manifest(squatted).unwrap().info.content_hash, honest.content_hash);
        let content_hash = honest.content_hash;
        assert_ok!(Lineage::register_manifest(Origin::signed(2), Box::new(honest)));
        admit(1, SourceKind::Web);
        assert_eq!(Lineage::manifest_of_content(content_hash), Some(1));
        assert_noop!(
            Lineage::admit_manifest(Origin::root(), squatted, SourceKind::Web),
            PalletError::AlreadyAdmitted
        );
        assert_ok!(Lineage::retire_manifest(Origin::root(), squatted, retirement(true)));
        assert_eq!((held(1), Lineage::manifest(squatted)), (DEPOSIT, None));
    });
}

#[test]
fn held_out_data_is_admitted_and_never_leased() {
    run(|| {
        let id = propose(ManifestInfo { held_out: true, ..info(source(), 40) });
        admit(id, SourceKind::Dataset);
        assert_eq!((Lineage::free_shards(), counts(id)), (0, (0, 0, 0)));
        assert!(Lineage::lease(5, &mut prf(1)).is_empty());
        assert_eq!(Lineage::manifest_of_content(content(0)), Some(id));
        // The recipe may name it, so its owner cannot take it away.
        assert_noop!(Lineage::withdraw_manifest(Origin::signed(1), id), PalletError::InUse);
        assert_noop!(Lineage::pause_manifest(Origin::root(), id), PalletError::HeldOut);
        assert_noop!(report(1, id), PalletError::HeldOut);
        assert_ok!(Lineage::retire_manifest(Origin::root(), id, retirement(false)));
        assert_eq!((held(1), status(id)), (DEPOSIT, ManifestStatus::Retired));
    });
}

#[test]
fn a_proposal_can_be_withdrawn() {
    run(|| {
        let id = proposal(4);
        assert_noop!(Lineage::withdraw_manifest(Origin::signed(2), id), PalletError::NotOwner);
        assert_ok!(Lineage::withdraw_manifest(Origin::signed(1), id));
        assert_eq!((held(1), Lineage::manifest(id)), (DEPOSIT, None));
        assert_ok!(Lineage::withdraw_source(Origin::signed(1), 0));
    });
}

#[test]
fn a_paused_manifest_comes_back() {
    run(|| {
        let id = manifest(SourceKind::Web, 8);
        let shards = Lineage::lease(3, &mut prf(1));
        assert_noop!(Lineage::pause_manifest(Origin::signed(1), id), BadOrigin);
        assert_noop!(Lineage::pause_manifest(Origin::root(), 9), PalletError::UnknownManifest);
        assert_noop!(Lineage::resume_manifest(Origin::root(), id), PalletError::NotPaused);
        take_events();
        assert_ok!(Lineage::pause_manifest(Origin::root(), id));
        let reason = PauseReason::Governance;
        assert_eq!(take_events(), [Event::ManifestPaused { manifest: id, reason }]);
        assert_noop!(Lineage::pause_manifest(Origin::root(), id), PalletError::NotAdmitted);
        assert_noop!(Lineage::withdraw_manifest(Origin::signed(1), id), PalletError::InUse);
        // Open leases end as usual.
        Lineage::release(&shards[..1]);
        Lineage::consume(&shards[1..], 1, 0, &[]);
        assert_eq!((Lineage::free_shards(), counts(id)), (0, (6, 0, 2)));
        assert_noop!(Lineage::resume_manifest(Origin::signed(1), id), BadOrigin);
        assert_noop!(Lineage::resume_manifest(Origin::root(), 9), PalletError::UnknownManifest);
        RecipeFormat::set(Some((FORMAT.0, [9; 32])));
        assert_noop!(Lineage::resume_manifest(Origin::root(), id), PalletError::WrongFormat);
        RecipeFormat::set(Some(FORMAT));
        take_events();
        assert_ok!(Lineage::resume_manifest(Origin::root(), id));
        assert_eq!(take_events(), [Event::ManifestResumed { manifest: id }]);
        assert_eq!(
            (Lineage::free_shards(), *Pool::<Test>::get(SourceKind::Web) == [entry(id, 6)]),
            (6, true)
        );
        assert_eq!(held(1), DEPOSIT + deposit(8), "the deposit was not lost");
    });
}

#[test]
fn a_retired_manifest_is_not_leased() {
    run(|| {
        let retire = |id| Lineage::retire_manifest(Origin::root(), id, retirement(false));
        let bad = manifest(SourceKind::Pretrained, 8);
        let good = manifest(SourceKind::Web, 8);
        let shards = Lineage::lease(5, &mut prf(1));
        assert!(shards.iter().all(|shard| shard.manifest == bad));
        let foreign = Lineage::retire_manifest(Origin::signed(1), bad, retirement(false));
        assert_noop!(foreign, BadOrigin);
        assert_noop!(retire(9), PalletError::UnknownManifest);
        take_events();
        assert!(!Lineage::is_stopped(&shards));
        assert_ok!(retire(bad));
        assert!(Lineage::is_stopped(&shards));
        let retired =
            Event::ManifestRetired { manifest: bad, retirement: retirement(false), burned: 0 };
        assert_eq!(take_events(), [retired]);
        assert_noop!(retire(bad), PalletError::AlreadyRetired);
        assert_eq!(held(1), 2 * DEPOSIT + deposit(8), "its deposit came back");
        assert_eq!((Lineage::free_shards(), counts(bad)), (8, (3, 5, 0)));
        // Open leases end as usual, and released shards stay free.
        Lineage::release(&shards[..3]);
        Lineage::consume(&shards[3..], 1, 0, &[]);
        assert_eq!((Lineage::free_shards(), counts(bad)), (8, (6, 0, 2)));
        assert!(Lineage::lease(9, &mut prf(2)).iter().all(|shard| shard.manifest == good));
        assert_noop!(Lineage::withdraw_manifest(Origin::signed(1), bad), PalletError::InUse);
        // Its content is not admitted again.
        let again = ManifestInfo { content_hash: content(0), ..info(1, 4) };
        assert_noop!(
            Lineage::register_manifest(Origin::signed(1), Box::new(again)),
            PalletError::AlreadyAdmitted
        );
    });
}

#[test]
fn a_manifest_retired_for_cause_loses_its_deposit() {
    run(|| {
        let id = manifest(SourceKind::Web, 8);
        let (issued, before) = (Balances::total_issuance(), total_balance(1));
        take_events();
        assert_ok!(Lineage::retire_manifest(Origin::root(), id, retirement(true)));
        let (retirement, burned) = (retirement(true), deposit(8));
        assert_eq!(take_events(), [Event::ManifestRetired { manifest: id, retirement, burned }]);
        assert_eq!(
            (Balances::total_issuance(), total_balance(1)),
            (issued - burned, before - burned)
        );
        assert_eq!(held(1), DEPOSIT, "the deposit of the source");
    });
}

#[test]
fn validators_report_what_cannot_be_fetched() {
    run(|| {
        let id = manifest(SourceKind::Web, 8);
        let shards = Lineage::lease(2, &mut prf(1));
        assert_noop!(report(4, id), PalletError::NotValidator);
        assert_noop!(report(1, 9), PalletError::UnknownManifest);
        take_events();
        assert_ok!(report(1, id));
        assert_noop!(report(1, id), PalletError::AlreadyReported);
        assert_ok!(report(2, id));
        let reported = |validator| Event::ManifestReported { manifest: id, validator };
        assert_eq!(take_events(), [reported(1), reported(2)], "two thirds are no quorum");
        assert_eq!(*Reports::<Test>::get(id).unwrap().validators, [1, 2]);
        assert_ok!(report(3, id));
        let (reason, burned) = (PauseReason::Unavailable, deposit(8));
        assert_eq!(
            take_events(),
            [
                reported(3),
                Event::ManifestPaused { manifest: id, reason },
                Event::DepositLost { manifest: id, burned },
            ]
        );
        assert_eq!((held(1), status(id)), (DEPOSIT, ManifestStatus::Paused));
        assert_eq!(Reports::<Test>::get(id), None);
        assert_noop!(report(1, id), PalletError::NotAdmitted);
        assert!(Lineage::is_stopped(&shards));
        Lineage::release(&shards);
        // It comes back for another deposit.
        assert_ok!(Lineage::resume_manifest(Origin::root(), id));
        assert!(!Lineage::is_stopped(&shards));
        assert_eq!((held(1), Lineage::free_shards()), (DEPOSIT + deposit(8), 8));
    });
}

#[test]
fn resuming_needs_another_deposit_in_place_of_a_lost_one() {
    run(|| {
        let id = manifest(SourceKind::Web, 8);
        for validator in 1..=3 {
            assert_ok!(report(validator, id));
        }
        let free = Balances::free_balance(1);
        assert_ok!(Balances::transfer_allow_death(Origin::signed(1), 2, free - 2 * POL));
        assert_noop!(Lineage::resume_manifest(Origin::root(), id), PalletError::InsufficientFunds);
    });
}

#[test]
fn stake_that_left_after_its_report_does_not_count() {
    run(|| {
        let id = manifest(SourceKind::Web, 8);
        assert_ok!(report(1, id));
        assert_ok!(report(2, id));
        // The stake of 1 moved to 4, which reports as well.
        Validators::set(vec![2, 3, 4]);
        assert_noop!(report(1, id), PalletError::NotValidator);
        assert_ok!(report(4, id));
        assert_eq!(status(id), ManifestStatus::Admitted);
        assert_ok!(report(3, id));
        assert_eq!(status(id), ManifestStatus::Paused);
    });
}

#[test]
fn a_day_has_only_so_many_reports() {
    run(|| {
        let id = manifest(SourceKind::Web, 8);
        let (first, most) = (100, u64::from(pol_primitives::MAX_VALIDATORS));
        for validator in first..first + most {
            // Each one leaves after its report, so that there is never a quorum.
            Validators::set(vec![1, 2, validator]);
            assert_ok!(report(validator, id));
        }
        assert_noop!(report(1, id), PalletError::TooManyReports);
    });
}

#[test]
fn old_reports_do_not_count() {
    run(|| {
        let id = manifest(SourceKind::Web, 8);
        assert_ok!(report(1, id));
        assert_ok!(report(2, id));
        System::set_block_number(2 + REPORT_WINDOW);
        assert_ok!(report(3, id));
        assert_eq!(status(id), ManifestStatus::Admitted);
        assert_eq!(*Reports::<Test>::get(id).unwrap().validators, [3]);
        assert_ok!(Lineage::withdraw_manifest(Origin::signed(1), id));
        assert_eq!(Reports::<Test>::iter().count(), 0);
    });
}
