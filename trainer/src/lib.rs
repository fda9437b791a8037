//! Everything `pol-trainer` does: the roles of a network that trains one model, and the commands
//! around them.
//!
//! | module | what it holds |
//! |---|---|
//! | [`roles`] | trainer and validator as state machines driven by the chain's blocks |
//! | [`conduct`] | what a member can do otherwise than the protocol says; the released program does nothing otherwise |
//! | [`peer`] | one process: its account, its view of the chain, its place in the swarm |
//! | [`state`] | the folder that a process may be started again from at any moment |
//! | [`model`], [`data`], [`heldout`] | the global model, shards, and how well the one predicts the others |
//! | [`process`] | a program from its start to its end |
//! | [`cli`], [`commands`] | what can be asked for on the command line |

pub mod cli;
pub mod commands;
pub mod conduct;
pub mod data;
pub mod failure;
pub mod heldout;
pub mod model;
pub mod peer;
pub mod process;
pub mod roles;
pub mod state;

pub use conduct::{Conduct, Honest};
