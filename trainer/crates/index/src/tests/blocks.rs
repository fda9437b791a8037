// SPDX-License-Identifier: Apache-2.0

use super::{block, block_of, dump, made::Adding};
use crate::{BlockFacts, Index, IndexError, facts, facts::*, lookups::*};
use pol_primitives::data::ManifestId;

fn balance(account: u8, free: u128) -> AccountState {
    AccountState { account: [account; 32], free, held: 0, frozen: 0 }
}

async fn free(index: &Index, account: u8) -> Option<u128> {
    let state = index.state::<AccountState>(&[account; 32]).await.unwrap();
    state.map(|row| row.fact.free)
}

pub(super) async fn blocks_follow_each_other(index: Index) {
    assert_eq!(index.last_block().await.unwrap(), None);
    let error = index.apply(&[block(1)]).await.unwrap_err();
    assert!(matches!(error, IndexError::NotNext { number: 1 }), "{error}");
    index.apply(&[block(0), block(1)]).await.unwrap();
    for next in [block(0), block(1), block(3), block_of(2, 1, 1)] {
        let error = index.apply(&[next]).await.unwrap_err();
        assert!(error.to_string().contains("another follower"), "{error}");
    }
    index.apply(&[block(2)]).await.unwrap();
    assert_eq!(index.last_block().await.unwrap(), Some(block(2).block));
    assert_eq!(index.block_hash(1).await.unwrap(), Some(block(1).block.hash));
    assert_eq!(index.block_hash(3).await.unwrap(), None);
    index.apply(&[]).await.unwrap();
}

pub(super) async fn a_block_is_taken_back_with_its_facts(index: Index) {
    let mut second = block(1);
    facts::visit_all(&mut Adding { block: &mut second, seed: 1 }).await;
    index.apply(&[block(0)]).await.unwrap();
    let before = dump(&index).await;
    index.apply(&[second]).await.unwrap();
    assert_eq!(dump(&index).await.len(), 2 + TABLES.len());

    let other = block_of(1, 1, 0).block;
    for wrong in [block(0).block, other, block(2).block] {
        let error = index.retract(wrong).await.unwrap_err();
        assert!(matches!(error, IndexError::NotLast { .. }), "{error}");
    }
    index.retract(block(1).block).await.unwrap();
    assert_eq!(dump(&index).await, before);
}

pub(super) async fn states_hold_again_when_their_successor_is_taken_back(index: Index) {
    let mut blocks = [block(0), block(1), block(2), block(3)];
    blocks[0].push(&balance(1, 10));
    blocks[0].push(&balance(2, 20));
    blocks[1].push(&balance(1, 11));
    blocks[3].push(&balance(1, 13));
    blocks[3].push(&balance(1, 14));
    index.apply(&blocks).await.unwrap();
    assert_eq!((free(&index, 1).await, free(&index, 2).await), (Some(14), Some(20)));
    index.retract(blocks[3].block).await.unwrap();
    assert_eq!(free(&index, 1).await, Some(11));
    index.retract(blocks[2].block).await.unwrap();
    index.retract(blocks[1].block).await.unwrap();
    assert_eq!((free(&index, 1).await, free(&index, 2).await), (Some(10), Some(20)));
    index.retract(blocks[0].block).await.unwrap();
    assert_eq!(free(&index, 1).await, None);
    assert_eq!(dump(&index).await, Vec::<String>::new());
}

pub(super) async fn final_blocks_stay(index: Index) {
    index.apply(&[block(0), block(1), block(2)]).await.unwrap();
    assert_eq!(index.finalised_block().await.unwrap(), None);
    index.finalise(1).await.unwrap();
    index.finalise(0).await.unwrap();
    assert_eq!(index.finalised_block().await.unwrap(), Some(block(1).block));
    index.retract(block(2).block).await.unwrap();
    let error = index.retract(block(1).block).await.unwrap_err();
    assert!(matches!(error, IndexError::NotLast { number: 1 }), "{error}");
    assert!(index.finalise(2).await.is_err(), "the index does not have it");
    assert_eq!(index.last_block().await.unwrap(), Some(block(1).block));
}

/// Returns a chain of `length` blocks with facts, of which those from `from` on are of `fork`.
async fn chain(length: u32, from: u32, fork: u8) -> Vec<BlockFacts> {
    let mut blocks = Vec::new();
    for number in 0..length {
        let fork_at = |number: u32| if number < from { 0 } else { fork };
        let parent = number.checked_sub(1).map_or(0, fork_at);
        let mut block = block_of(number, fork_at(number), parent);
        let seed = u64::from(number) * 4 + u64::from(fork_at(number));
        facts::visit_all(&mut Adding { block: &mut block, seed }).await;
        // Keys that come back after some blocks.
        block.push(&balance((number % 3) as u8, seed.into()));
        blocks.push(block);
    }
    blocks
}

pub(super) async fn many_blocks_are_added_as_one_by_one(index: Index) {
    let blocks = chain(12, 12, 0).await;
    index.apply(&blocks).await.unwrap();
    let together = dump(&index).await;
    for block in blocks.iter().rev() {
        index.retract(block.block).await.unwrap();
    }
    assert_eq!(dump(&index).await, Vec::<String>::new());
    for block in &blocks {
        index.apply(std::slice::from_ref(block)).await.unwrap();
    }
    assert_eq!(dump(&index).await, together);
}

pub(super) async fn a_reorganised_index_is_the_one_of_the_new_chain(index: Index) {
    let kept = chain(9, 4, 2).await;
    index.apply(&kept).await.unwrap();
    let expected = dump(&index).await;
    for block in kept[2..].iter().rev() {
        index.retract(block.block).await.unwrap();
    }
    // Forks of several lengths, from several blocks, each left for the next.
    for (length, from, fork) in [(5, 2, 1), (9, 3, 3), (7, 6, 1), (10, 4, 3), (9, 4, 2)] {
        let fork = chain(length, from, fork).await;
        while let Some(last) = index.last_block().await.unwrap() {
            let same = fork.get(last.number as usize).is_some_and(|block| block.block == last);
            if same {
                break;
            }
            index.retract(last).await.unwrap();
        }
        let next = index.last_block().await.unwrap().map_or(0, |last| last.number + 1);
        index.apply(&fork[next as usize..]).await.unwrap();
    }
    assert_eq!(dump(&index).await, expected);
}

pub(super) async fn all_blocks_of_a_batch_are_added_or_none(index: Index) {
    let mut first = block(0);
    let (parent, child): (ManifestId, ManifestId) = (1, 2);
    first.push(&DerivedFrom { parent, child });
    let error = index.apply(&[first.clone(), block(2)]).await.unwrap_err();
    assert!(matches!(error, IndexError::NotNext { number: 2 }), "{error}");
    assert_eq!(index.last_block().await.unwrap(), None);
    assert!(index.newest(Derivations::Parent(1)).await.unwrap().is_none());
    index.apply(&[first]).await.unwrap();
    let found = index.newest(Derivations::Child(2)).await.unwrap().unwrap();
    assert_eq!(found.fact, DerivedFrom { parent, child });
}
