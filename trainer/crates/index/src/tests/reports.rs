// SPDX-License-Identifier: Apache-2.0

use super::block;
use crate::{Consumption, Index, Range, Sums, Updates, facts::*};
use pol_primitives::{data::ShardId, recipe::Tier, submission::Outcome};

const TRAINER: [u8; 32] = [5; 32];
const OTHER: [u8; 32] = [6; 32];

fn lease(round: u32, account: [u8; 32]) -> Lease {
    let shards = vec![ShardId { manifest: 1, index: round }];
    Lease { round, account, granted: round, tier: Tier::Whale, shards }
}

fn penalty(round: Option<u32>, amount: u128, seized: bool) -> Penalty {
    let cause = PenaltyCause::Audit;
    Penalty { account: TRAINER, cause, round, audit: Some(1), amount, seized }
}

pub(super) async fn an_update_is_told_from_lease_to_end(index: Index) {
    let mut blocks = [block(0), block(1), block(2)];
    let [first, second, third] = &mut blocks;
    first.push(&lease(1, TRAINER));
    first.push(&lease(1, OTHER));
    second.push(&lease(2, TRAINER));
    let (round, account) = (1, TRAINER);
    second.push(&Commit { round, account, first_loss: 4, last_loss: 3, tokens_per_second: 700 });
    let reveal = Reveal { round, account, number: 2, payload: [3; 32], steps: 20, tokens: 1_000 };
    second.push(&reveal);
    let settlement = Settlement {
        round,
        account,
        outcome: Some(Outcome::Invalid),
        audit: Some(1),
        score: 0,
        gain: -5,
        tokens: 1_000,
        staleness: 1,
    };
    third.push(&settlement);
    third.push(&penalty(Some(1), 700_000_000_000, true));
    third.push(&penalty(Some(1), 600_000_000_000, true));
    third.push(&penalty(Some(2), 5, true));
    index.apply(&blocks).await.unwrap();

    let of = async |updates| index.updates(updates, Range::default()).await.unwrap().items;
    let updates = of(Updates::Account(TRAINER)).await;
    assert_eq!(updates.len(), 2);
    assert_eq!((updates[0].lease.fact.round, updates[0].slashed), (2, 5));
    assert!(updates[0].commit.is_none() && updates[0].settlement.is_none());
    let update = &updates[1];
    assert_eq!(update.lease.fact, lease(1, TRAINER));
    assert_eq!(update.commit.as_ref().unwrap().tokens_per_second, 700);
    assert_eq!(update.reveal, Some(reveal));
    assert_eq!(update.settlement, Some(settlement));
    assert_eq!(update.slashed, 1_300_000_000_000);
    assert_eq!(of(Updates::AccountRound(TRAINER, 1)).await, std::slice::from_ref(update));
    let accounts: Vec<_> =
        of(Updates::Round(1)).await.iter().map(|update| update.lease.fact.account).collect();
    assert_eq!(accounts, [OTHER, TRAINER]);

    let range = Range { limit: 1, ..Range::default() };
    let page = index.updates(Updates::Account(TRAINER), range).await.unwrap();
    let range = Range { after: page.next, ..range };
    let page = index.updates(Updates::Account(TRAINER), range).await.unwrap();
    assert_eq!((page.items, page.next), (vec![update.clone()], None));
}

pub(super) async fn sums_are_those_of_the_rows(index: Index) {
    assert_eq!(index.sums().await.unwrap(), Sums::default());
    assert_eq!(index.consumption(1).await.unwrap(), Consumption::default());
    let mut blocks = [block(0), block(1)];
    let [first, second] = &mut blocks;
    let unit = 999_999_999_999;
    first.push(&Emission {
        round: 1,
        trainers: unit,
        validators: unit,
        providers: 2,
        treasury: unit,
    });
    let reward = |source, amount| Reward { round: 1, account: TRAINER, source, weight: 1, amount };
    first.push(&reward(RewardSource::Training, unit));
    first.push(&reward(RewardSource::Training, unit));
    first.push(&reward(RewardSource::Data, 3));
    let payment = |kind, amount| Payment { account: None, kind, round: Some(1), amount };
    second.push(&payment(PaymentKind::Claimed, unit));
    second.push(&payment(PaymentKind::Forfeited, 10));
    second.push(&payment(PaymentKind::Expired, 20));
    second.push(&penalty(Some(1), unit, true));
    second.push(&penalty(None, 7, false));
    for (shard, delta) in [(1, 5), (2, -9)] {
        let (manifest, round, account) = (1, 1, TRAINER);
        second.push(&ConsumedShard { manifest, shard, round, account, delta });
    }
    for (block, free) in [(&mut *first, 1), (&mut *second, unit)] {
        block.push(&AccountState { account: TRAINER, free, held: 4, frozen: 4 });
    }
    first.push(&AccountState { account: OTHER, free: 1, held: 0, frozen: 0 });
    index.apply(&blocks).await.unwrap();

    let sums = index.sums().await.unwrap();
    let expected = Sums {
        emitted: 3 * unit + 2,
        seized: unit,
        paid: 2 * unit,
        burned: unit + 30,
        slashed: 7,
        balances: unit + 5,
    };
    assert_eq!(sums, expected);
    let used = index.consumption(1).await.unwrap();
    assert_eq!(used, Consumption { shards: 2, effect: -4 });
    let sums = index.reward_sums(&TRAINER).await.unwrap();
    let sums: Vec<_> = sums.iter().map(|sum| (sum.source, sum.rewards, sum.amount)).collect();
    assert_eq!(sums, [(RewardSource::Data, 1, 3), (RewardSource::Training, 2, 2 * unit)]);
    assert!(index.reward_sums(&OTHER).await.unwrap().is_empty());
}
