// SPDX-License-Identifier: Apache-2.0

use crate::{
    harness::{Network, has_model, head_round},
    process::Process,
};
use pol_chain::BlockInfo;
use pol_index::{
    BlockFacts, Index, Range, Updates,
    facts::{AuditStepKind, RoundEnd},
    lookups::{AuditSteps, Rounds},
};
use serde_json::Value;
use std::path::PathBuf;

/// Index of a network, and its follower.
pub(crate) struct Indexing {
    database: PathBuf,
    follower: Process,
}

impl Network {
    /// Starts a follower of the chain with an index in the folder of the network.
    pub(crate) fn index(&self) -> Indexing {
        let database = self.path("index.db");
        let mut command = self.trainer();
        command.args(["index", "--json", "--database"]).arg(&database);
        Indexing { database, follower: Process::start(&mut command, self.path("index.log")) }
    }
}

impl Indexing {
    /// Kills the follower, lets it catch up in steps, and compares the index with the chain.
    pub(crate) fn check(self, network: &Network) {
        self.follower.wait_for("\"facts\"", 0, 60);
        self.follower.kill();
        let database = self.database.to_str().unwrap();
        let node = ["index", "--json", "--database", database];
        network.run(&[&node[..], &["--once"]].concat());
        let checked = network.run(&[&node[..], &["--check"]].concat());
        let sums: Value = serde_json::from_str(checked.lines().last().unwrap()).unwrap();
        for name in ["emitted", "seized", "paid", "burned", "balances"] {
            let pair = &sums["sums"][name];
            assert_eq!(pair["index"], pair["chain"], "{name}: {sums:#}");
        }
        assert_ne!(sums["sums"]["emitted"]["index"], "0");
        let status = network.wait("the node answers", 60, &[], has_model);
        check_stories(database, &status);
        check_refusals(network, database);
    }
}

/// Checks that the index tells the rounds with their updates and audits.
#[tokio::main(flavor = "current_thread")]
async fn check_stories(database: &str, status: &Value) {
    let index = Index::open(database).await.unwrap();
    let heads: Vec<RoundEnd> = index
        .page(Rounds::All, Range::default())
        .await
        .unwrap()
        .items
        .into_iter()
        .map(|row| row.fact)
        .filter(|round| round.root.is_some())
        .collect();
    let newest = heads.first().unwrap();
    assert!(u64::from(newest.round) <= head_round(status) && newest.round > 2);
    let mut valid = 0;
    for head in heads.iter().filter(|head| head.included > 0) {
        let updates = index.updates(Updates::Round(head.round), Range::default()).await.unwrap();
        let revealed = updates.items.iter().filter(|update| update.reveal.is_some()).count();
        assert_eq!(revealed, usize::try_from(head.revealed).unwrap(), "round {}", head.round);
        for update in updates.items.iter().filter(|update| update.settlement.is_some()) {
            let settlement = update.settlement.as_ref().unwrap();
            let Some(audit) = settlement.audit else { continue };
            assert!(update.commit.as_ref().is_some_and(|commit| commit.first_loss > 0));
            let steps = index.page(AuditSteps::Audit(audit), Range::default()).await.unwrap();
            let kinds: Vec<_> = steps.items.iter().rev().map(|row| row.fact.kind).collect();
            for kind in [
                AuditStepKind::Drawn,
                AuditStepKind::Shown,
                AuditStepKind::Replayed,
                AuditStepKind::Opened,
                AuditStepKind::Revealed,
                AuditStepKind::Settled,
            ] {
                assert!(kinds.contains(&kind), "{kind:?} of audit {audit}: {kinds:?}");
            }
            valid += 1;
        }
    }
    assert!(valid > 2, "{heads:#?}");
}

/// Checks that indexes of other chains are refused.
fn check_refusals(network: &Network, database: &str) {
    let genesis = first_block(database);
    for (first, last, complaint, mode) in [
        ([7; 32], 1, "another chain", "--once"),
        (genesis, 1, "another block 1", "--once"),
        // The chain was started anew, and has fewer blocks than before.
        (genesis, 50_000, "started anew", "--once"),
        (genesis, 50_000, "started anew", "--check"),
    ] {
        let other = network.path(&format!("{complaint}{last}.db"));
        let other = other.to_str().unwrap();
        index_blocks(other, first, last);
        let output = network.try_run(&["index", mode, "--database", other]);
        let error = String::from_utf8_lossy(&output.stderr);
        assert!(!output.status.success() && error.contains(complaint), "{error}");
    }
}

#[tokio::main(flavor = "current_thread")]
async fn first_block(database: &str) -> [u8; 32] {
    Index::open(database).await.unwrap().block_hash(0).await.unwrap().unwrap()
}

/// Makes an index of final blocks, unless it is there.
#[tokio::main(flavor = "current_thread")]
async fn index_blocks(database: &str, first: [u8; 32], last: u32) {
    let hash = |number: u32| match number {
        0 => first,
        number => made_hash(number),
    };
    let block = |number: u32| {
        let parent = number.checked_sub(1).map_or([0; 32], hash);
        BlockFacts::new(BlockInfo { number, hash: hash(number) }, parent, 0, None)
    };
    let index = Index::open(database).await.unwrap();
    if index.last_block().await.unwrap().is_none() {
        index.apply(&(0..=last).map(block).collect::<Vec<_>>()).await.unwrap();
        index.finalise(last).await.unwrap();
    }
    index.close().await;
}

/// Returns the hash of a block that no chain has.
fn made_hash(number: u32) -> [u8; 32] {
    let mut hash = [8; 32];
    hash[..4].copy_from_slice(&number.to_le_bytes());
    hash
}
