// SPDX-License-Identifier: Apache-2.0

//! Made facts of every kind.

use super::block;
use crate::{
    BlockFacts, Index,
    facts::{self, *},
    query::read_row,
    value::Reader,
};
use pol_primitives::{
    data::{ShardId, SourceKind},
    lineage::Activity,
    member::{Address, Endpoint, Role},
    recipe::Tier,
    round::Phase,
    submission::Outcome,
};
use sqlx::AssertSqlSafe;
use std::fmt::Debug;

/// Value that is made of a number. Different numbers give different values where there are some.
pub(crate) trait Made {
    fn made(seed: u64) -> Self;
}

/// Something done with every kind of fact.
pub(crate) trait Visitor {
    async fn visit<F: Fact + Made + PartialEq + Debug>(&mut self);
}

macro_rules! made {
    ($($type:ty: $make:expr;)*) => {
        $(impl Made for $type {
            fn made(seed: u64) -> Self {
                let make: fn(u64) -> Self = $make;
                make(seed)
            }
        })*
    };
}

made! {
    u8: |seed| seed as u8;
    u32: |seed| u32::MAX - seed as u32;
    u64: |seed| (i64::MAX as u64) - seed;
    i32: |seed| i32::MIN + seed as i32;
    u128: |seed| 7_654_321_000_000_000_123 + u128::from(seed);
    bool: |seed| seed.is_multiple_of(2);
    String: |seed| format!("Straße {seed}'\"");
    [u8; 32]: |seed| [seed as u8; 32];
    Activity: |_| Activity::Transformation;
    Outcome: |_| Outcome::NoShow;
    Phase: |_| Phase::Attest;
    Role: |_| Role::Authority;
    SourceKind: |_| SourceKind::Synthetic;
    Tier: |_| Tier::Participant;
    Vec<ShardId>: |seed| vec![ShardId { manifest: seed as u32, index: 3 }; 2];
    Endpoint: |seed| Endpoint {
        id: [seed as u8; 32],
        addresses: vec![Address::V4([127, 0, 0, 1], 9)].try_into().unwrap(),
    };
    MovementKind: |_| MovementKind::HeldReceived;
    VoteKind: |_| VoteKind::WrongRoot;
    AuditStepKind: |_| AuditStepKind::SeatFailed;
    RewardSource: |_| RewardSource::Undivided;
    PaymentKind: |_| PaymentKind::Forfeited;
    PenaltyCause: |_| PenaltyCause::WrongRoot;
    ManifestStage: |_| ManifestStage::Forgotten;
}

impl<T: Made> Made for Option<T> {
    fn made(seed: u64) -> Self {
        (!seed.is_multiple_of(3)).then(|| T::made(seed))
    }
}

/// Adds a fact of every kind to a block.
pub(super) struct Adding<'a> {
    pub(super) block: &'a mut BlockFacts,
    pub(super) seed: u64,
}

impl Visitor for Adding<'_> {
    async fn visit<F: Fact + Made + PartialEq + Debug>(&mut self) {
        self.block.push(&F::made(self.seed));
    }
}

/// Reads the facts of block 0 of every kind.
struct Reading<'a>(&'a Index);

impl Visitor for Reading<'_> {
    async fn visit<F: Fact + Made + PartialEq + Debug>(&mut self) {
        let columns = F::columns().join(", f.");
        let sql =
            format!("SELECT f.block, f.item, 7, f.{columns} FROM {} f ORDER BY f.item", F::TABLE);
        let rows = sqlx::query(AssertSqlSafe(sql)).fetch_all(&self.0.pool).await.unwrap();
        let read = |row| read_row::<F>(&mut Reader::new(row)).unwrap().fact;
        assert_eq!(
            rows.iter().map(read).collect::<Vec<_>>(),
            (1..4).map(F::made).collect::<Vec<_>>()
        );
    }
}

pub(super) async fn facts_are_read_as_written(index: Index) {
    let mut first = block(0);
    for seed in 1..4 {
        facts::visit_all(&mut Adding { block: &mut first, seed }).await;
    }
    index.apply(&[first]).await.unwrap();
    facts::visit_all(&mut Reading(&index)).await;
}

pub(super) async fn amounts_and_texts_of_any_size_are_kept(index: Index) {
    let account = [7; 32];
    let amounts = [0, 1, 999_999_999_999, 1_000_000_000_000, 9_000_000_000_000_000_000_000_000];
    let mut first = block(0);
    for free in amounts {
        first.push(&AccountState { account, free, held: u128::MAX, frozen: 0 });
    }
    let call = "x".repeat(10_000) + "\0";
    first.push(&Extrinsic {
        number: 0,
        hash: [1; 32],
        signer: None,
        nonce: None,
        pallet: String::new(),
        call,
        fee: 0,
        tip: 0,
        failure: None,
    });
    index.apply(&[first]).await.unwrap();
    let range = crate::Range { order: crate::Order::OldestFirst, ..Default::default() };
    let page = index.page(crate::lookups::Balances::Account(account), range).await.unwrap();
    let read: Vec<_> = page.items.iter().map(|row| row.fact.free).collect();
    assert_eq!(read, amounts);
    let stored = page.items[0].fact.held;
    assert!(stored > u128::from(u64::MAX), "an amount beyond the columns is the largest one");
    let page = index.page(crate::lookups::Extrinsics::All, range).await.unwrap();
    assert_eq!(page.items[0].fact.call.chars().count(), 10_001);
}
