// SPDX-License-Identifier: Apache-2.0

//! Tests of the store, each on SQLite and on PostgreSQL.

mod blocks;
mod made;
mod pages;
mod postgres;
mod reports;
mod summaries;

pub(crate) use made::{Made, Visitor};

use crate::{
    BlockFacts, Index, WriterLock,
    facts::{self, TABLES},
    lookups::{Measurements, Movements},
};
use futures::{FutureExt, future::LocalBoxFuture};
use pol_chain::BlockInfo;
use pol_primitives::POL;
use sqlx::{AssertSqlSafe, Column, Row};
use std::time::{Duration, Instant};

/// Test with an empty index.
type Scenario = fn(Index) -> LocalBoxFuture<'static, ()>;

/// Declares the tests.
macro_rules! scenarios {
    ($($module:ident::$name:ident,)*) => {
        const SCENARIOS: &[(&str, Scenario)] =
            &[$((stringify!($name), |index| $module::$name(index).boxed_local())),*];

        mod sqlite {
            $(
                #[tokio::test]
                async fn $name() {
                    let folder = tempfile::tempdir().unwrap();
                    let path = folder.path().join("index.db");
                    let index = crate::Index::open(path.to_str().unwrap()).await.unwrap();
                    super::$module::$name(index).await;
                }
            )*
        }
    };
}

scenarios! {
    blocks::blocks_follow_each_other,
    blocks::a_block_is_taken_back_with_its_facts,
    blocks::states_hold_again_when_their_successor_is_taken_back,
    blocks::final_blocks_stay,
    blocks::many_blocks_are_added_as_one_by_one,
    blocks::a_reorganised_index_is_the_one_of_the_new_chain,
    blocks::all_blocks_of_a_batch_are_added_or_none,
    made::facts_are_read_as_written,
    made::amounts_and_texts_of_any_size_are_kept,
    pages::pages_show_every_fact_once,
    pages::states_are_listed_by_their_keys,
    pages::blocks_are_listed,
    reports::an_update_is_told_from_lease_to_end,
    reports::sums_are_those_of_the_rows,
    summaries::earnings_are_sums_of_rounds,
    summaries::blocks_and_steps_are_counted,
    summaries::consumption_is_counted_by_manifest,
    summaries::leased_shards_are_those_of_updates_without_an_end,
    summaries::several_selections_are_read_at_once,
}

#[tokio::test]
async fn postgres_passes_the_same_tests() {
    let server = postgres::Server::start();
    for (name, scenario) in SCENARIOS {
        println!("{name} on PostgreSQL");
        let index = Index::open(&server.database(name).await).await.unwrap();
        scenario(index).await;
    }
}

#[tokio::test]
async fn one_process_fills_an_index() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("index.db");
    let server = postgres::Server::start();
    let database = server.database("locked").await;
    let other = server.database("other").await;
    let _other = WriterLock::take(&other).await.unwrap().unwrap();
    for address in [file.to_str().unwrap(), database.as_str()] {
        Index::open(address).await.unwrap().close().await;
        let first = WriterLock::take(address).await.unwrap();
        assert!(first.is_some(), "{address}");
        assert!(WriterLock::take(address).await.unwrap().is_none(), "{address}");
        let refused = WriterLock::require(address).await.err().unwrap().to_string();
        assert!(
            refused.contains("another process") && refused.contains("--no-follow"),
            "{refused}"
        );
        // Others may read it.
        Index::open_existing(address).await.unwrap().close().await;
        drop(first);
        // A server ends the session once it has seen that the client is gone.
        let end = Instant::now() + Duration::from_secs(60);
        while WriterLock::take(address).await.unwrap().is_none() {
            assert!(Instant::now() < end, "{address} stays locked");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }
}

#[tokio::test]
async fn a_lock_that_cannot_be_made_is_named() {
    let error = WriterLock::take("/no/such/folder/index.db").await.err().unwrap().to_string();
    assert!(error.contains("/no/such/folder/index.db.lock"), "{error}");
    assert!(WriterLock::take("mysql://localhost/pol").await.is_err());
}

/// Returns an empty block of the fork `fork`, whose parent is on the fork `parent`.
fn block_of(number: u32, fork: u8, parent: u8) -> BlockFacts {
    let parent = number.checked_sub(1).map_or([0; 32], |before| hash(before, parent));
    let block = BlockInfo { number, hash: hash(number, fork) };
    BlockFacts::new(block, parent, u64::from(number) * 3_000, Some([9; 32]))
}

/// Returns an empty block of the first fork.
fn block(number: u32) -> BlockFacts {
    block_of(number, 0, 0)
}

fn hash(number: u32, fork: u8) -> [u8; 32] {
    let mut hash = [fork; 32];
    hash[..4].copy_from_slice(&number.to_be_bytes());
    hash
}

/// Returns all rows of all tables as text.
async fn dump(index: &Index) -> Vec<String> {
    let mut lines = Vec::new();
    for table in ["blocks"].iter().chain(TABLES) {
        let order = if *table == "blocks" { "number" } else { "block, item" };
        let sql = format!("SELECT * FROM {table} ORDER BY {order}");
        let rows = sqlx::query(AssertSqlSafe(sql)).fetch_all(&index.pool).await.unwrap();
        for row in rows {
            let values = row.columns().iter().map(|column| {
                let value = row.try_get_raw(column.ordinal()).unwrap();
                format!("{}={value:?}", column.name())
            });
            lines.push(format!("{table}: {}", values.collect::<Vec<_>>().join(" ")));
        }
    }
    lines
}

#[tokio::test]
async fn every_lookup_has_an_index() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("index.db");
    let index = Index::open(path.to_str().unwrap()).await.unwrap();
    for crate::lookups::Selection { table, columns } in crate::lookups::SELECTIONS {
        let equal = (1..).zip(*columns).map(|(at, column)| format!("f.{column} = ${at} AND "));
        let range = crate::Range::default();
        let sql = format!(
            "EXPLAIN QUERY PLAN SELECT f.block FROM {table} f WHERE {}{}",
            equal.collect::<String>(),
            range.clause(columns.len() + 1)
        );
        let plan = sqlx::query(AssertSqlSafe(sql)).fetch_all(&index.pool).await.unwrap();
        let plan: Vec<String> = plan.iter().map(|row| row.try_get("detail").unwrap()).collect();
        let plan = plan.join("; ");
        assert!(plan.contains("SEARCH f USING"), "{table} by {columns:?}: {plan}");
        assert!(!plan.contains("TEMP B-TREE"), "{table} by {columns:?}: {plan}");
    }
}

#[tokio::test]
async fn every_summary_has_an_index() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("index.db");
    let index = Index::open(path.to_str().unwrap()).await.unwrap();
    for statement in crate::summaries::STATEMENTS.map(|statement| statement()) {
        let sql = format!("EXPLAIN QUERY PLAN {statement}");
        let plan = sqlx::query(AssertSqlSafe(sql)).fetch_all(&index.pool).await.unwrap();
        let plan: Vec<String> = plan.iter().map(|row| row.try_get("detail").unwrap()).collect();
        assert!(plan.iter().all(|step| !step.contains("SCAN")), "{statement}: {plan:?}");
    }
}

#[tokio::test]
async fn an_index_is_opened_again() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a b#c.db");
    let address = path.to_str().unwrap();
    let index = Index::open(address).await.unwrap();
    index.apply(&[block(0), block(1)]).await.unwrap();
    index.finalise(0).await.unwrap();
    index.close().await;
    let index = Index::open(address).await.unwrap();
    assert_eq!(index.last_block().await.unwrap(), Some(block(1).block));
    assert_eq!(index.finalised_block().await.unwrap(), Some(block(0).block));
}

#[tokio::test]
async fn an_index_that_is_only_read_has_to_be_there() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a b#c.db");
    let address = path.to_str().unwrap();
    let error = Index::open_existing(address).await.unwrap_err().to_string();
    assert!(error.contains(address) && error.contains("--no-follow"), "{error}");
    assert!(!path.exists(), "nothing is made");
    Index::open(address).await.unwrap().close().await;
    assert!(Index::open_existing(address).await.is_ok());
}

#[tokio::test]
async fn an_older_index_gains_its_fees() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("index.db");
    let address = path.to_str().unwrap();
    let index = Index::open(address).await.unwrap();
    let (signer, mut first) = ([7; 32], block(0));
    for (number, signer, fee) in [(1, Some(signer), POL - 1), (2, Some(signer), 0), (3, None, 1)] {
        first.push(&facts::Extrinsic {
            number,
            hash: [1; 32],
            signer,
            nonce: None,
            pallet: "System".into(),
            call: "remark".into(),
            fee,
            tip: fee.min(2),
            failure: None,
        });
    }
    index.apply(&[first]).await.unwrap();
    let forget = "DELETE FROM _sqlx_migrations WHERE version = 3";
    sqlx::query(forget).execute(&index.pool).await.unwrap();
    index.close().await;
    let index = Index::open(address).await.unwrap();
    let fees = index.page(Movements::Account(signer), crate::Range::default()).await.unwrap();
    let fees: Vec<_> = fees.items.into_iter().map(|row| row.fact).collect();
    let (kind, amount) = (facts::MovementKind::Fee, POL + 1);
    let fee = facts::Movement { account: signer, kind, amount, other: None, extrinsic: Some(1) };
    assert_eq!(fees, [fee]);
}

#[tokio::test]
async fn an_older_index_loses_levels_of_models_that_lack_a_part() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("index.db");
    let address = path.to_str().unwrap();
    let index = Index::open(address).await.unwrap();
    let whole = facts::Measurement {
        round: 1,
        share: 1_000_000,
        loss: 3_000_000,
        level: Some(210_000),
        self_awareness: Some(300_000),
        auroc: None,
        calibration_error: None,
        reasoning: Some(0),
        introspection: Some(300_000),
        coherence: Some(300_000),
        meta_cognition: Some(300_000),
        utilisation: Some(300_000),
    };
    let without = facts::Measurement { round: 2, utilisation: None, ..whole.clone() };
    let mut first = block(0);
    first.push(&whole);
    first.push(&without);
    index.apply(&[first]).await.unwrap();
    let forget = "DELETE FROM _sqlx_migrations WHERE version = 4";
    sqlx::query(forget).execute(&index.pool).await.unwrap();
    index.close().await;
    let index = Index::open(address).await.unwrap();
    for expected in [whole, facts::Measurement { level: None, ..without }] {
        let lookup = Measurements::Round(expected.round);
        let found = index.newest(lookup).await.unwrap().unwrap();
        assert_eq!(found.fact, expected);
    }
}

#[tokio::test]
async fn other_databases_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("index.db");
    let address = path.to_str().unwrap();
    let index = Index::open(address).await.unwrap();
    let newer = "INSERT INTO _sqlx_migrations (version, description, success, checksum, \
                 execution_time) VALUES (99, 'later', 1, x'00', 0)";
    sqlx::query(newer).execute(&index.pool).await.unwrap();
    index.close().await;
    let error = Index::open(address).await.unwrap_err();
    assert!(matches!(error, crate::IndexError::Newer(99)), "{error}");

    let missing = folder.path().join("missing/index.db");
    let error = Index::open(missing.to_str().unwrap()).await.unwrap_err();
    assert!(matches!(error, crate::IndexError::Unreachable { .. }), "{error}");

    let text = folder.path().join("text.db");
    std::fs::write(&text, "no database".repeat(1_000)).unwrap();
    assert!(Index::open(text.to_str().unwrap()).await.is_err());
}
