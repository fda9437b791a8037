// SPDX-License-Identifier: Apache-2.0

//! Owners of shards and the bonus of their kinds.

use super::*;

/// Registers a source of `owner` and a manifest of `shards` shards from it. Returns the id of the
/// manifest.
fn manifest_of(owner: AccountId, kind: SourceKind, shards: u32) -> ManifestId {
    let (id, source) = (Lineage::manifest_count(), crate::NextSource::<Test>::get());
    assert_ok!(Lineage::register_source(
        Origin::signed(owner),
        kind,
        text("https://example.org"),
        text("CC0-1.0")
    ));
    assert_ok!(Lineage::register_manifest(Origin::signed(owner), info(source, shards)));
    id
}

fn shard(manifest: ManifestId, index: u32) -> ShardId {
    ShardId { manifest, index }
}

#[test]
fn owners_are_counted_over_their_manifests() {
    run(|| {
        let first = manifest_of(2, SourceKind::Web, 4);
        let second = manifest_of(1, SourceKind::Web, 4);
        let third = manifest_of(2, SourceKind::Synthetic, 4);
        let shards =
            [shard(first, 0), shard(second, 3), shard(third, 1), shard(first, 2), shard(99, 0)];
        assert_eq!(Lineage::owners(&shards), [(1, 1), (2, 3)]);
        assert_eq!(Lineage::owners(&[]), []);
    });
}

#[test]
fn the_bonus_is_the_mean_over_the_shards() {
    run(|| {
        let [pretrained, dataset, web, synthetic] =
            SourceKind::ALL.map(|kind| manifest_of(1, kind, 4));
        assert_eq!(Lineage::bonus(&[shard(pretrained, 0), shard(dataset, 0)]), MILLION);
        assert_eq!(Lineage::bonus(&[shard(web, 0), shard(web, 1)]), 900_000);
        assert_eq!(Lineage::bonus(&[shard(synthetic, 0)]), 600_000);
        assert_eq!(
            Lineage::bonus(&[shard(dataset, 0), shard(web, 0), shard(web, 1), shard(synthetic, 2)]),
            850_000
        );
        assert_eq!(Lineage::bonus(&[]), 0);
    });
}
