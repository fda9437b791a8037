// SPDX-License-Identifier: Apache-2.0

use super::block;
use crate::{Consumption, Earning, Index, Order, facts::*, lookups::*};
use pol_primitives::{data::ShardId, recipe::Tier};

const ACCOUNT: [u8; 32] = [5; 32];
const OTHER: [u8; 32] = [6; 32];

fn reward(round: u32, account: [u8; 32], source: RewardSource, amount: u128) -> Reward {
    Reward { round, account, source, weight: 1, amount }
}

pub(super) async fn earnings_are_sums_of_rounds(index: Index) {
    let mut blocks = [block(0), block(1)];
    for round in 1..5 {
        blocks[0].push(&reward(round, ACCOUNT, RewardSource::Training, 999_999_999_999));
        blocks[1].push(&reward(round, OTHER, RewardSource::Seats, 1));
    }
    blocks[1].push(&reward(3, ACCOUNT, RewardSource::Data, 7));
    index.apply(&blocks).await.unwrap();
    let mut found = index.earnings(2, 3).await.unwrap();
    found.sort_by_key(|earning| earning.amount);
    let earning = |account, source, amount| Earning { account, source, amount };
    let expected = [
        earning(OTHER, RewardSource::Seats, 2),
        earning(ACCOUNT, RewardSource::Data, 7),
        earning(ACCOUNT, RewardSource::Training, 1_999_999_999_998),
    ];
    assert_eq!(found, expected);
    assert!(index.earnings(9, u32::MAX).await.unwrap().is_empty());
}

pub(super) async fn blocks_and_steps_are_counted(index: Index) {
    let mut blocks = [block(0), block(1), block(2)];
    for number in 0..3 {
        blocks[1].push(&Extrinsic {
            number,
            hash: [1; 32],
            signer: None,
            nonce: None,
            pallet: "Beacon".into(),
            call: "relay".into(),
            fee: 0,
            tip: 0,
            failure: None,
        });
    }
    let step = |audit, kind| AuditStep {
        audit,
        kind,
        account: None,
        trainer: None,
        outcome: None,
        amount: None,
    };
    for audit in 0..3 {
        blocks[2].push(&step(audit, AuditStepKind::Settled));
        blocks[2].push(&step(audit, AuditStepKind::Settled));
    }
    blocks[2].push(&step(1, AuditStepKind::Ended));
    let (account, cause) = (ACCOUNT, PenaltyCause::Lease);
    for amount in [1_500_000_000_000, 700_000_000_000] {
        let penalty = Penalty { account, cause, round: None, audit: None, amount, seized: false };
        blocks[2].push(&penalty);
    }
    index.apply(&blocks).await.unwrap();
    assert_eq!(index.authors(1).await.unwrap(), [([9; 32], 2)]);
    assert_eq!(index.extrinsic_counts(0, 2).await.unwrap(), [(1, 3)]);
    assert_eq!(index.penalty_sum(&ACCOUNT).await.unwrap(), 2_200_000_000_000);
    assert_eq!(index.penalty_sum(&OTHER).await.unwrap(), 0);
    let mut counts = index.audit_step_counts(&[0, 1, 9]).await.unwrap();
    counts.sort_by_key(|(audit, _, count)| (*audit, *count));
    let (settled, ended) = (AuditStepKind::Settled, AuditStepKind::Ended);
    assert_eq!(counts, [(0, settled, 2), (1, ended, 1), (1, settled, 2)]);
    assert!(index.audit_step_counts(&[]).await.unwrap().is_empty());
}

pub(super) async fn consumption_is_counted_by_manifest(index: Index) {
    assert!(index.consumptions().await.unwrap().is_empty());
    let mut first = block(0);
    for (manifest, shard, delta) in [(7, 1, 5), (7, 2, -9), (2, 1, 3)] {
        first.push(&ConsumedShard { manifest, shard, round: 1, account: ACCOUNT, delta });
    }
    index.apply(&[first]).await.unwrap();
    let of = |shards, effect| Consumption { shards, effect };
    assert_eq!(index.consumptions().await.unwrap(), [(2, of(1, 3)), (7, of(2, -4))]);
}

pub(super) async fn leased_shards_are_those_of_updates_without_an_end(index: Index) {
    assert!(index.leased_shards().await.unwrap().is_empty());
    let mut first = block(0);
    for (round, manifests) in [(1, [7, 7]), (2, [7, 2])] {
        let shards = manifests.map(|manifest| ShardId { manifest, index: round }).into();
        let tier = Tier::Miner;
        first.push(&Lease { round, account: ACCOUNT, granted: round, tier, shards });
    }
    index.apply(&[first]).await.unwrap();
    assert_eq!(index.leased_shards().await.unwrap(), [(2, 1), (7, 3)].into());
    let mut second = block(1);
    second.push(&Settlement {
        round: 1,
        account: ACCOUNT,
        outcome: None,
        audit: None,
        score: 0,
        gain: 0,
        tokens: 0,
        staleness: 0,
    });
    index.apply(&[second]).await.unwrap();
    assert_eq!(index.leased_shards().await.unwrap(), [(2, 1), (7, 1)].into());
}

pub(super) async fn several_selections_are_read_at_once(index: Index) {
    let mut blocks = [block(0), block(1)];
    for round in 0..120 {
        blocks[0].push(&reward(round, ACCOUNT, RewardSource::Training, round.into()));
        blocks[1].push(&reward(round, ACCOUNT, RewardSource::Seats, round.into()));
    }
    index.apply(&blocks).await.unwrap();
    let lookups: Vec<_> = (1..=110).map(Rewards::Round).collect();
    let all = index.first_of_each(&lookups, Order::OldestFirst, 5).await.unwrap();
    assert_eq!(all.len(), 220);
    assert!(all.windows(2).all(|pair| pair[0].at < pair[1].at));
    let newest = index.first_of_each(&lookups, Order::NewestFirst, 1).await.unwrap();
    assert!(newest.len() == 110 && newest.iter().all(|row| row.fact.source == RewardSource::Seats));
    assert!(newest.windows(2).all(|pair| pair[0].at > pair[1].at));
    let none: [Rewards; 0] = [];
    assert!(index.first_of_each(&none, Order::NewestFirst, 1).await.unwrap().is_empty());
    let unknown = [Rewards::Round(u32::MAX)];
    assert!(index.first_of_each(&unknown, Order::NewestFirst, 1).await.unwrap().is_empty());
}
