// SPDX-License-Identifier: Apache-2.0

//! Explanations of rewards, compared with what waits and with what was paid.

use crate::harness::Network;
use pol_chain::{AccountId, BlockInfo, Chain, ChainEvent, Signer, format_account};
use pol_primitives::{
    Balance, RoundNumber,
    explanation::{Explanation, RewardState},
};

/// Blocks whose state every node keeps.
const KEPT_BLOCKS: u32 = 200;
/// Most by which other claims in the same block change an amount.
const ROUNDING: Balance = 100;

/// Checks that explanations add up to the rewards that wait, and to those that were paid.
#[tokio::main(flavor = "current_thread")]
pub(crate) async fn check(network: &Network) {
    let chain = network.chain().await;
    let best = chain.best_block().await.unwrap();
    let trainer = Signer::from_uri("//Trainer//1").unwrap().account();
    check_waiting(&chain.at(best.hash), trainer).await;
    let (mut paid, mut trained) = (0, false);
    for number in best.number.saturating_sub(KEPT_BLOCKS)..=best.number {
        let hash = chain.block_hash(number).await.unwrap().unwrap();
        let block = chain.block_content(BlockInfo { number, hash }).await.unwrap();
        for event in block.events {
            let ChainEvent::Claimed { who, round, amount } = event.event else { continue };
            let before = chain.at(block.parent).explain(&who, round).await.unwrap();
            check_sum(&before);
            assert!(before.amount.unwrap().abs_diff(amount) <= ROUNDING, "{before:#?} {amount}");
            trained |= before.training.worth().is_some();
            let after = chain.at(hash).explain(&who, round).await.unwrap();
            assert_eq!((after.state, after.amount), (RewardState::Empty, Some(0)));
            if paid == 0 {
                check_command(network, who, round);
            }
            paid += 1;
        }
    }
    let named = ["explain", "--dev-account", "trainer-1", "--round", "1"];
    assert!(network.run(&named).contains("\ntraining "));
    assert!(paid > 2 && trained, "{paid} claims, for training: {trained}");
}

/// Checks the rewards of a trainer that wait at a block.
async fn check_waiting(here: &Chain, trainer: AccountId) {
    for reward in here.pending_rewards(&trainer).await.unwrap() {
        let explained = here.explain(&trainer, reward.round).await.unwrap();
        assert_eq!((explained.amount, explained.from), (reward.amount, reward.from));
        check_sum(&explained);
        let waits = explained.state == RewardState::Unsettled;
        assert_eq!((explained.amount.is_none(), !explained.unsettled.is_empty()), (waits, waits));
    }
}

/// Checks that the amounts of the parts add up, each to its share of its pot.
fn check_sum(explained: &Explanation<AccountId>) {
    let Explanation { training, seats, data, .. } = explained;
    let shares = [training.share, seats.share, data.share];
    let sum: Option<Balance> = shares.iter().map(|share| share.amount).sum();
    assert_eq!(sum, explained.amount, "{explained:#?}");
    for share in shares.iter().filter(|share| share.weights > 0) {
        let amount = share.pot * share.weight / share.weights;
        assert!(share.amount.is_none_or(|known| known == amount), "{explained:#?}");
    }
}

/// Checks that the command explains the same reward.
fn check_command(network: &Network, account: AccountId, round: RoundNumber) {
    let (account, round) = (format_account(&account), round.to_string());
    let command = ["explain", "--account", &account, "--round", &round];
    let json = network.run_json(&[&command[..], &["--json"]].concat());
    assert_eq!((&json["account"], &json["state"]), (&account.as_str().into(), &"empty".into()));
    let text = network.run(&command);
    assert!(text.contains("has claimed it") && text.contains("\ntraining "), "{text}");
}
