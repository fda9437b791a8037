// SPDX-License-Identifier: Apache-2.0

//! Effects of shards: what providers are paid for, and pauses of manifests without one.

use super::*;
use pol_primitives::data::EffectWindow;

fn shard(manifest: ManifestId, index: u32) -> ShardId {
    ShardId { manifest, index }
}

/// Leases `deltas.len()` shards and consumes them with these deltas.
fn consume(deltas: &[i32]) {
    let shards = Lineage::lease(deltas.len() as u32, &mut prf(1));
    assert_eq!(shards.len(), deltas.len());
    Lineage::consume(&shards, 1, 0, deltas);
}

#[test]
fn providers_earn_by_the_effect_of_their_shards() {
    run(|| {
        let first = manifest_of(2, SourceKind::Web, 4);
        let second = manifest_of(1, SourceKind::Web, 4);
        let third = manifest_of(2, SourceKind::Synthetic, 4);
        let useless = manifest_of(3, SourceKind::Pretrained, 4);
        let shards = [
            shard(first, 0),
            shard(second, 3),
            shard(third, 1),
            shard(first, 2),
            shard(useless, 0),
            shard(99, 0),
        ];
        assert_eq!(Lineage::effects(&shards, &[5, 7, 20, -9, -1, 4]), [(1, 7), (2, 25)]);
        assert_eq!(Lineage::effects(&shards, &[i32::MAX; 2]), [(1, 0x7fff_ffff), (2, 0x7fff_ffff)]);
        assert_eq!(Lineage::effects(&shards, &[]), []);
    });
}

#[test]
fn the_bonus_is_the_mean_over_the_shards() {
    run(|| {
        let [pretrained, dataset, web, synthetic] =
            SourceKind::ALL.map(|kind| manifest_of(1, kind, 4));
        assert_eq!(Lineage::bonus(&[shard(pretrained, 0), shard(dataset, 0)]), MILLION);
        assert_eq!(Lineage::bonus(&[shard(web, 0), shard(web, 1)]), 900_000);
        assert_eq!(Lineage::bonus(&[shard(synthetic, 0), shard(99, 0)]), 600_000);
        assert_eq!(
            Lineage::bonus(&[shard(dataset, 0), shard(web, 0), shard(web, 1), shard(synthetic, 2)]),
            850_000
        );
        assert_eq!(Lineage::bonus(&[]), 0);
    });
}

#[test]
fn a_manifest_without_effect_is_paused() {
    run(|| {
        let id = manifest(SourceKind::Web, 60);
        take_events();
        let half = WINDOW as usize / 2;
        consume(&vec![-1; half]);
        consume(&vec![9; half - 1]);
        assert_eq!((status(id), take_events()), (ManifestStatus::Admitted, vec![]));
        // The window is complete, and as many shards made the model worse as improved it, whatever
        // their figures are.
        consume(&[i32::MAX]);
        let reason = PauseReason::NoEffect;
        assert_eq!(take_events(), [Event::ManifestPaused { manifest: id, reason }]);
        assert_eq!((status(id), Lineage::free_shards()), (ManifestStatus::Paused, 0));
        assert_ok!(Lineage::resume_manifest(Origin::root(), id));
        // One more that improves it is enough, and the window starts again.
        consume(&vec![i32::MIN; half - 1]);
        consume(&vec![1; half + 1]);
        assert_eq!(status(id), ManifestStatus::Admitted);
    });
}

#[test]
fn shards_without_a_measurement_do_not_count() {
    run(|| {
        let id = manifest(SourceKind::Web, 64);
        let shards = Lineage::lease(2 * WINDOW, &mut prf(1));
        Lineage::consume(&shards[..WINDOW as usize], 1, 0, &[]);
        // Audits name every shard of a lease, and measure few of them.
        Lineage::consume(&shards[WINDOW as usize..], 2, 0, &[0; WINDOW as usize]);
        assert_eq!(status(id), ManifestStatus::Admitted);
        assert_eq!(Lineage::manifest(id).unwrap().effect, EffectWindow::default());
    });
}

#[test]
fn a_window_is_complete_with_its_last_measured_shard() {
    run(|| {
        let id = manifest(SourceKind::Web, 4 * WINDOW + 1);
        // Four shards in twenty, as in a lease of the network.
        let deltas: Vec<i32> = (0..WINDOW as i32).map(|at| -i32::from(at % 5 == 0)).collect();
        for _ in 0..4 {
            assert_eq!(status(id), ManifestStatus::Admitted);
            consume(&deltas);
        }
        assert_eq!((status(id), counts(id).2), (ManifestStatus::Admitted, 4 * WINDOW));
        let measured = WINDOW * 4 / 5;
        let effect = EffectWindow { shards: measured, sum: -i64::from(measured) };
        assert_eq!(Lineage::manifest(id).unwrap().effect, effect);
    });
}

#[test]
fn a_paused_manifest_is_consumed_by_its_last_lease() {
    run(|| {
        let id = manifest(SourceKind::Web, 2);
        let shards = Lineage::lease(2, &mut prf(1));
        assert_ok!(Lineage::pause_manifest(Origin::root(), id));
        Lineage::consume(&shards, 1, 0, &[1, 1]);
        assert_eq!((status(id), held(1)), (ManifestStatus::Consumed, DEPOSIT));
        assert_noop!(Lineage::pause_manifest(Origin::root(), id), PalletError::NotAdmitted);
    });
}
