// SPDX-License-Identifier: Apache-2.0

//! The roles of a network that trains one model together, and the commands around them.
//!
//! A process of `pol-trainer` is a **trainer** or a **validator**. It follows the blocks of a node
//! ([`pol_chain`]), exchanges models, payloads and shards with other members ([`pol_swarm`]) and
//! trains, packs, replays and measures with [`pol_engine`]. Terms are explained in
//! `docs/glossary.md`.
//!
//! - [`roles`] holds the roles. [`roles::run`] calls a [`roles::BlockHandler`] at every block;
//!   [`roles::trainer::Trainer`] and [`roles::validator::Validator`] are the two of a network.
//! - [`Strategy`] holds the choices that the protocol can check but not force.
//!   [`HonestStrategy`], which the program uses, follows the protocol.
//! - [`context::NodeContext`] bundles the chain client, the swarm and the state folder of a
//!   process.
//! - [`state::StateFolder`] is the folder from which a process goes on after any end.
//! - [`model::ModelKeeper`] computes or fetches the model at the head. [`data::ShardReader`]
//!   fetches shards. [`held_out_eval`] and [`metrics`] measure models.
//! - [`error::RoleError`] separates errors that time mends from those that need a person.
//! - [`process::run`] runs a program from its start to its end; [`cli`], [`options`] and
//!   [`commands`] are the command line.
//!
//! # Example
//!
//! A trainer that deviates from the protocol: it withholds the states that audits ask for, and
//! loses its bond for it. Such strategies are for tests of the protocol.
//!
//! ```no_run
//! use pol_chain::AccountId;
//! use pol_primitives::audit::Case;
//! use pol_trainer::Strategy;
//!
//! #[derive(Clone)]
//! struct Withholding;
//!
//! impl Strategy for Withholding {
//!     fn serves_states(&self, _case: &Case<AccountId>) -> bool {
//!         false
//!     }
//! }
//! ```

mod api;
mod blocking_blob;
pub mod cli;
pub mod commands;
pub mod context;
mod control;
pub mod data;
mod disk;
pub mod display;
mod documents;
pub mod error;
mod files;
pub mod held_out_eval;
mod keyring;
pub mod metrics;
pub mod model;
mod monitoring;
pub mod options;
mod password;
mod preset;
pub mod process;
mod reports;
pub mod roles;
pub mod state;
pub mod strategy;
mod traces;

pub use strategy::{HonestStrategy, Strategy};
