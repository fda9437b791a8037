// SPDX-License-Identifier: Apache-2.0

//! Client of a POL node: typed reads, signed calls, and new blocks.
//!
//! Reads go through the runtime API `PolApi`, writes through [`Call`]. Arguments and answers are
//! the SCALE types of `pol-primitives`, so nothing is generated from a node's metadata: metadata
//! only gives calls their indices and errors their names.
//!
//! A node may restart at any time. Reads wait for it; [`Chain::blocks`] subscribes again;
//! [`Chain::submit`] never lets one call take effect twice, not even after a reorganisation. Of
//! several nodes, another one takes over: [`Chain::connect_any`].
//!
//! # Main types
//!
//! - [`Chain`] is the client: [`Chain::connect`], reads such as [`Chain::overview`] and
//!   [`Chain::lease`], [`Chain::blocks`], [`Chain::rules`].
//! - [`Call`] lists the extrinsics of participants; [`Chain::submit`] sends one and returns a
//!   [`CallReceipt`].
//! - [`Signer`] holds the key of an account, or of its proxy; [`parse_account`] and
//!   [`format_account`] convert [`AccountId`]s.
//! - [`ChainError`] and [`KeyError`] name the remedy in their messages.
//!
//! The workspace's terms are explained in `docs/glossary.md`.
//!
//! # Example
//!
//! `examples/watch.rs` is a complete program that runs against a local node.
//!
//! ```no_run
//! use pol_chain::{Call, Chain, Signer};
//! use pol_primitives::recipe::Tier;
//!
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! let chain = Chain::connect("ws://127.0.0.1:9944").await?;
//! let signer = Signer::from_uri("//Alice")?;
//! if chain.lease(&signer.account()).await?.is_none() {
//!     let receipt = chain.submit(&signer, Call::JoinRound { tier: Tier::Miner }).await?;
//!     println!("joined in block {}", receipt.block.number);
//! }
//! # Ok(())
//! # }
//! ```

mod account;
mod blocks;
mod call;
mod client;
mod council;
mod error;
mod events;
pub mod explanation;
mod failover;
mod node_facts;
mod past;
mod providing;
mod proxies;
mod queries;
mod rules;
mod sent;
mod signer;
mod submit;

pub use account::{AccountId, InvalidAccount, format_account, parse_account};
pub use blocks::BlockInfo;
pub use call::{Call, Permission};
pub use client::Chain;
pub use council::{Argument, Decision, Motion, MotionCall};
pub use error::ChainError;
pub use events::ChainEvent;
pub use node_facts::{Hold, ListedPeer, NodeStatus, redacted_addresses};
pub use past::{AccountBalance, BlockContent, BlockEvent, BlockExtrinsic};
pub use providing::{DataEarnings, DepositRates, PooledManifest};
pub use proxies::Proxy;
pub use rules::Rules;
pub use signer::{KeyError, Signer};
pub use submit::CallReceipt;
