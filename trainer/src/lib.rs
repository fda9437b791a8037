//! Everything `pol-trainer` does: the roles of a network that trains one model, and the commands
//! around them.
//!
//! | module | what it holds |
//! |---|---|
//! | [`roles`] | trainer and validator as state machines driven by the chain's blocks |
//! | [`strategy`] | what a member can do otherwise than the protocol says; the released program does nothing otherwise |
//! | [`context`] | one process: its account, its view of the chain, its place in the swarm |
//! | [`state`] | the folder that a process may be started again from at any moment |
//! | [`model`], [`data`], [`held_out_eval`] | the global model, shards, and how well the one predicts the others |
//! | [`process`] | a program from its start to its end |
//! | [`cli`], [`commands`] | what can be asked for on the command line |

pub mod cli;
pub mod commands;
pub mod context;
pub mod data;
pub mod display;
pub mod error;
pub mod held_out_eval;
pub mod metrics;
pub mod model;
pub mod process;
pub mod roles;
pub mod state;
pub mod strategy;

pub use strategy::{HonestStrategy, Strategy};
