// SPDX-License-Identifier: Apache-2.0

//! Index of a chain's past, in SQLite or PostgreSQL.
//!
//! The state of a chain says what is, and forgets what was: rewards that were claimed, leases,
//! steps of audits, earlier balances. A [`Follower`] reads every block with its events and the
//! state after it, and keeps what follows from them as facts: one row for each, which names its
//! block.
//!
//! - **Only facts of the chain.** A block has the same rows on every machine, so that an index can
//!   be thrown away and built again.
//! - **Reorganisations are deletions.** Every table refers to the table of blocks. Taking a block
//!   back deletes its row there, and the database deletes the facts. States, such as balances,
//!   name the block that replaced them, and hold again once it is gone.
//! - **Every query has its index.** Facts are selected by a [`Lookup`] and read in pages that
//!   continue at a [`Position`], so that the last page costs as much as the first one.
//!
//! # Main types
//!
//! - [`Index`] is the database: [`Index::open`], [`Index::page`], [`Index::state`],
//!   [`Index::updates`].
//! - [`Follower`] fills it: [`Follower::run`], [`Follower::catch_up`].
//! - [`facts`] has the facts, and [`lookups`] the selections of them.
//!
//! # Example
//!
//! ```no_run
//! use pol_chain::{Chain, parse_account};
//! use pol_index::{Follower, Index, Range, lookups::Rewards};
//!
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! let chain = Chain::connect("ws://127.0.0.1:9944").await?;
//! let index = Index::open("index.db").await?;
//! Follower::new(index.clone()).catch_up(&chain, |_| {}).await?;
//!
//! let account = parse_account("5GrwvaEF5zXb26Fz9rcQpDWS57CtERHpNehXCPcNoHGKutQY")?;
//! for row in index.page(Rewards::Account(account), Range::default()).await?.items {
//!     println!("round {}: {:?} {}", row.fact.round, row.fact.source, row.fact.amount);
//! }
//! # Ok(())
//! # }
//! ```

mod error;
pub mod facts;
mod follower;
mod lock;
pub mod lookups;
mod query;
mod read;
mod reports;
mod schema;
mod store;
mod summaries;
#[cfg(test)]
mod tests;
mod value;

pub use error::IndexError;
pub use facts::{Fact, State};
pub use follower::{Follower, Progress};
pub use lock::WriterLock;
pub use lookups::Lookup;
pub use query::{IndexedBlock, InvalidPosition, MAX_PAGE, Order, Page, Position, Range, Row};
pub use reports::{Consumption, RewardSum, Sums, Update, Updates};
pub use store::{BlockFacts, Index};
pub use summaries::Earning;
