// SPDX-License-Identifier: Apache-2.0

use super::block;
use crate::{Index, Order, Position, Range, facts::*, lookups::*};

const ACCOUNT: [u8; 32] = [5; 32];

/// Adds 40 movements of an account and as many of another one, several to a block.
async fn fill(index: &Index) {
    let mut blocks: Vec<_> = (0..10).map(block).collect();
    for number in 0..80u32 {
        let account = if number % 2 == 0 { ACCOUNT } else { [6; 32] };
        blocks[number as usize / 8].push(&Movement {
            account,
            kind: MovementKind::Received,
            amount: number.into(),
            other: None,
            extrinsic: None,
        });
    }
    index.apply(&blocks).await.unwrap();
}

pub(super) async fn pages_show_every_fact_once(index: Index) {
    fill(&index).await;
    for (order, limit) in
        [(Order::NewestFirst, 7), (Order::OldestFirst, 7), (Order::NewestFirst, 40)]
    {
        let (mut amounts, mut after, mut pages) = (Vec::new(), None, 0);
        loop {
            let range = Range { order, after, limit };
            let page = index.page(Movements::Account(ACCOUNT), range).await.unwrap();
            assert!(page.items.len() <= limit as usize);
            assert!(page.items.iter().all(|row| row.time == u64::from(row.at.block) * 3_000));
            amounts.extend(page.items.iter().map(|row| row.fact.amount));
            (after, pages) = (page.next, pages + 1);
            if after.is_none() {
                break;
            }
        }
        let mut expected: Vec<u128> = (0..80).step_by(2).collect();
        if order == Order::NewestFirst {
            expected.reverse();
        }
        assert_eq!((amounts, pages), (expected, 40u32.div_ceil(limit)));
    }
    let range = Range { after: Some(Position { block: 0, item: 0 }), ..Range::default() };
    let page = index.page(Movements::Account(ACCOUNT), range).await.unwrap();
    assert_eq!((page.items.len(), page.next), (0, None));
}

pub(super) async fn states_are_listed_by_their_keys(index: Index) {
    let mut blocks = [block(0), block(1)];
    let source = |source, withdrawn| SourceState {
        source,
        owner: ACCOUNT,
        address: "https://example.org".into(),
        licence: "MIT".into(),
        withdrawn,
    };
    for number in [3, 1, 2, 7] {
        blocks[0].push(&source(number, false));
    }
    blocks[1].push(&source(2, true));
    index.apply(&blocks).await.unwrap();
    let keys = async |after: Option<u32>, limit| {
        let states = index.states::<SourceState>(after.as_ref(), limit).await.unwrap();
        states.iter().map(|row| (row.fact.source, row.fact.withdrawn)).collect::<Vec<_>>()
    };
    assert_eq!(keys(None, 3).await, [(1, false), (2, true), (3, false)]);
    assert_eq!(keys(Some(3), 3).await, [(7, false)]);
    assert_eq!(keys(Some(7), 3).await, []);
    assert_eq!(keys(None, 0).await.len(), 1);
    let found = index.state::<SourceState>(&2).await.unwrap().unwrap();
    assert_eq!((found.at.block, found.fact.withdrawn), (1, true));
    assert!(index.state::<SourceState>(&9).await.unwrap().is_none());
    let history = index.page(Sources::Source(2), Range::default()).await.unwrap().items;
    assert_eq!(history.iter().map(|row| row.at.block).collect::<Vec<_>>(), [1, 0]);
}

pub(super) async fn blocks_are_listed(index: Index) {
    fill(&index).await;
    let blocks = index.blocks(None, 3).await.unwrap();
    assert_eq!(blocks.iter().map(|one| one.block.number).collect::<Vec<_>>(), [9, 8, 7]);
    assert_eq!((blocks[0].parent, blocks[0].author), (blocks[1].block.hash, Some([9; 32])));
    assert_eq!(index.blocks(Some(2), 100).await.unwrap().len(), 2);
    assert!(index.blocks(Some(0), 100).await.unwrap().is_empty());
}
