// SPDX-License-Identifier: Apache-2.0

//! Roles of a process in the network: state machines driven by the chain's blocks.
//!
//! At every block a role looks at the chain and does the one next thing. It remembers nothing that
//! the chain or the state folder could not tell, so a process may be killed and started again at
//! any moment.
//!
//! [`trainer`] and [`validator`] are the two roles. Each runs smaller ones in tasks of their own: a
//! trainer answers the audits of its updates, a validator audits updates, and both measure heads.

mod auditor;
mod case_work;
mod firm_audits;
mod follower;
mod housekeeping;
mod lease_states;
mod lease_training;
mod measurer;
mod payload_checks;
mod replay;
mod replay_input;
mod responder;
mod retries;
mod rewards;
mod runner;
mod settlement;
mod sole_process;
mod tasks;
pub mod trainer;
pub mod validator;
mod verification;

pub(crate) use rewards::RewardClaimer;
pub use runner::{BlockHandler, OverviewSender, run, shutdown_signal};
pub(crate) use sole_process::{SoleProcess, second_process};
pub(crate) use verification::{Replayed, ReplayedSegment, UpdateVerifier, Verification};
